"""Learn a profile where the data lie, with Dask: one part per file on the workers, merged here.

    python examples/learn_with_dask.py data/*.parquet --model demand --target demand --out demand.profile.yaml

Every other option is that of `guardproxy learn`. A part is a few megabytes however many rows it was learned from, and only parts
travel. A worker needs guardproxy and a way to read the files; with `--scheduler` the workers are those of a cluster that runs already.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from distributed import Client, LocalCluster

from guardproxy.cli.learn import learn


def learn_part(file: str, options: Sequence[str]) -> bytes:
    """Learn a part from a file, on a worker, with the command that would do it by hand; return its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "learned.part"
        learn.main([file, *options, "--part", "--out", str(out)], standalone_mode=False)
        return out.read_bytes()


def learn_parts(client: Client, files: Sequence[str], options: Sequence[str], out: str) -> None:
    """Learn a part of each file side by side, and merge them into a profile.

    The files stand in the order of their rows' time: without `--time`, the last one's are taken for the most recent.
    """
    waiting = [client.submit(learn_part, file, options, pure=False) for file in files]
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder) / f"{number:05}-{Path(file).stem}.part" for number, file in enumerate(files)]
        for part, future in zip(parts, waiting, strict=True):
            part.write_bytes(future.result())
        learn.main(["--merge", *map(str, parts), "--out", out], standalone_mode=False)


def main() -> None:
    """Start workers, or find them, and learn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", help="CSV or Parquet files with the same columns")
    parser.add_argument("--out", required=True, help="where the profile goes")
    parser.add_argument("--workers", type=int, default=2, help="how many worker processes to start")
    parser.add_argument("--scheduler", help="the address of a Dask scheduler, in place of workers here")
    known, options = parser.parse_known_args()
    cluster = None
    if known.scheduler is None:
        cluster = LocalCluster(n_workers=known.workers, threads_per_worker=1, dashboard_address=None)
    try:
        with Client(cluster or known.scheduler) as client:
            learn_parts(client, known.files, options, known.out)
    except click.ClickException as error:
        raise SystemExit(f"Error: {error.message}") from None
    finally:
        if cluster is not None:
            cluster.close()


if __name__ == "__main__":
    main()
