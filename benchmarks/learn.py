"""Learning: nanoseconds a value, and the peak of memory on a file larger than it. `python -m benchmarks.learn [--out FILE]`.

Writes a Parquet file of 20 float columns into a temporary directory, reads and learns it, each in a process of its own. `--only-values`
leaves the file out: it learns batches that are in memory already, so its figure is the learner's alone. `--package DIR` learns with
another version of guardproxy, by that directory's `guardproxy`, for a comparison on one machine.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe

ROWS = 10_000_000
BATCH = 65_536
COLUMNS = 20
BAR_NS = 50.0


def main() -> None:
    """Run both cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the file")
    parser.add_argument("--only-values", action="store_true", help="do not write and read a file")
    parser.add_argument("--package", type=Path, default=Path.cwd(), help="where the guardproxy to measure is")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(_child(given.child)))
        return
    results = [_run("memory", given.package)]
    if not given.only_values:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.parquet"
            _write(file, given.rows)
            results.append(_run(str(file), given.package) | {"file_bytes": file.stat().st_size})
    table = Table("case", "rows", "ns a value", "finish s", "peak MiB", title="learning 20 float columns")
    for item in results:
        figures = (f"{item['ns_per_value']:.1f}", f"{item['finish_s']:.2f}", f"{item['peak_mib']:.0f}")
        table.add_row(item["case"], f"{item['rows']:,}", *figures)
    Console().print(table)
    if given.out is not None:
        report = {"machine": describe(), "bar_ns_per_value": BAR_NS, "results": results}
        given.out.write_text(json.dumps(report, indent=2) + "\n")


def columns(rows: int, seed: int) -> dict[str, Any]:
    """Return 20 float columns: 15 of continuous values, a price in cents, counts, an hour, a number with gaps, a large code."""
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {f"normal_{number}": rng.normal(size=rows) for number in range(12)}
    made |= {f"amount_{number}": rng.lognormal(size=rows) for number in range(3)}
    made["price"] = np.round(rng.lognormal(3.0, 1.0, rows), 2)
    made["visits"] = rng.poisson(3.0, rows).astype(float)
    made["hour"] = rng.integers(0, 24, rows).astype(float)
    made["gaps"] = np.where(rng.random(rows) < 0.05, np.nan, rng.normal(size=rows))
    made["code"] = rng.integers(0, 100_000, rows).astype(float)
    return made


def _run(what: str, package: Path) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": f"{package.resolve()}{os.pathsep}{Path.cwd()}"}
    command = [sys.executable, "-m", "benchmarks.learn", "--child", what]
    done = subprocess.run(command, env=environment, cwd="/", check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _child(what: str) -> dict[str, Any]:
    from guardproxy.profile.learn import Learner
    from guardproxy.profile.model import Provenance

    learner = Learner("bench", rng=np.random.default_rng(0))
    spent = 0.0
    batches = _batches(what)
    while True:
        started = time.process_time()
        batch = next(batches, None)
        if batch is None:
            break
        if what == "memory":
            started = time.process_time()
        learner.update(batch)
        spent += time.process_time() - started
    rows = learner.rows
    started = time.process_time()
    learner.finish(Provenance())
    return {
        "case": "batches in memory" if what == "memory" else "Parquet, read and learned",
        "rows": rows,
        "ns_per_value": spent / (rows * COLUMNS) * 1e9,
        "finish_s": time.process_time() - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _batches(what: str) -> Iterator[Any]:
    from guardproxy.profile.columns import NumberColumn

    if what != "memory":
        from guardproxy.stores.dataset import open_dataset

        with open_dataset(Path(what)) as dataset:
            yield from dataset
        return
    made = [columns(BATCH, seed) for seed in range(8)]
    for turn in range(32):
        yield {name: NumberColumn(values) for name, values in made[turn % len(made)].items()}


def _write(file: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for seed, start in enumerate(range(0, rows, 10 * BATCH)):
        table = pa.table(columns(min(10 * BATCH, rows - start), seed))
        if writer is None:
            writer = pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


if __name__ == "__main__":
    main()
