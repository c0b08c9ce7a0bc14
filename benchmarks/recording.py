"""Recording: what an offer costs, and how fast a recording is written and read. `python -m benchmarks.recording [--out FILE]`.

The exchanges are those of the shared case: one row of 20 features and 3 predictions, a rule violated in one of twenty.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from benchmarks.machine import describe
from guardproxy.decision import Decision, Outcome, RequestFacts, Verdict
from guardproxy.recording import Draft, Options, Recorder, Skipped, read_recording
from guardproxy.table import Table

FEATURES: Final = tuple(f"x{i}" for i in range(20))
OUTPUTS: Final = ("demand", "p10", "p90")
RULES: Final = tuple(f"rule-{i}" for i in range(10))
START: Final = 1_700_000_000.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read is not None:
        _read(arguments.read)
        return
    results = {**_offers(), **_disk(arguments.records)}
    for name, value in results.items():
        print(f"{name:<44} {value:>12,.2f}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps({"machine": describe(), "results": results}, indent=2) + "\n")


def drafts(seed: int = 7) -> Callable[[int], Draft]:
    """Return a function from a number to an exchange."""
    rng = np.random.default_rng(seed)
    features, outputs = rng.normal(size=(1_000, 20)).tolist(), rng.normal(size=(1_000, 3)).tolist()
    quiet = Decision("bench", "0123456789ab", 1, np.zeros(1, np.uint8), RULES, np.zeros((10, 1), np.uint8))
    verdicts = np.zeros((10, 1), np.uint8)
    verdicts[3] = Verdict.VIOLATED
    loud = Decision("bench", "0123456789ab", 1, np.full(1, Outcome.HELD, np.uint8), RULES, verdicts)

    def make(number: int) -> Draft:
        pick = number % 1_000
        return Draft(
            f"dec_{number:026d}",
            RequestFacts(START + number / 100, 12, 3, "2023-11-14"),
            loud if number % 20 == 0 else quiet,
            Table(FEATURES, 1, None, single=features[pick]),
            Table(OUTPUTS, 1, None, single=outputs[pick]),
            {},
            identity=b"%d" % number,
        )

    return make


def record(folder: Path, count: int) -> float:
    """Write a recording of `count` exchanges, none left out; return the seconds that the writes took."""
    make = drafts()
    options = Options(folder, per_minute=40_000, low_water_bytes=0, max_pending_bytes=1 << 30)
    recorder = Recorder(options, Random(7))
    spent = 0.0
    for number in range(count):
        draft = make(number)
        if not recorder.offer("bench", draft.facts.at, number % 20 == 0, lambda draft=draft: draft):  # type: ignore[misc]
            raise SystemExit("an exchange was left out")
        if number % 6_000 == 0:
            began = time.perf_counter()
            recorder.flush(draft.facts.at)
            spent += time.perf_counter() - began
    began = time.perf_counter()
    recorder.close()
    return spent + time.perf_counter() - began


def _offers() -> dict[str, float]:
    """Microseconds of an offer that is not drawn, and of one that is."""
    draft = drafts()(1)
    found: dict[str, float] = {}
    for name, per_minute, redact in (
        ("offer, not drawn (us)", 2, ()),
        ("offer, drawn (us)", 400_000, ()),
        ("offer, drawn, two fields redacted (us)", 400_000, ("features.x3", "output.p90")),
    ):
        with tempfile.TemporaryDirectory() as folder:
            options = Options(Path(folder), per_minute=per_minute, redact=redact, max_pending_bytes=1 << 30)
            recorder = Recorder(options, Random(7))
            for _ in range(2_000):
                recorder.offer("bench", START, False, lambda: draft)  # noqa: FBT003 - the request path's own call
            found[name] = statistics.median(_repeat(recorder, draft) for _ in range(50))
    return found


def _repeat(recorder: Recorder, draft: Draft) -> float:
    count = 500
    began = time.process_time()
    for _ in range(count):
        recorder.offer("bench", START, False, lambda: draft)  # noqa: FBT003
    return (time.process_time() - began) / count * 1e6


def _disk(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        few, many = Path(place) / "few", Path(place) / "many"
        record(few, count // 10)
        wrote = record(many, count)
        size = sum(path.stat().st_size for path in many.iterdir())
        (_, small), (took, large) = _read_apart(few, count // 10), _read_apart(many, count)
    return {
        "write, one-row exchanges (per second)": count / wrote,
        "disk, one-row exchange (bytes)": size / count,
        "read, one-row exchanges (per second)": count / took,
        "read, largest memory, a tenth of them (MiB)": small,
        "read, largest memory, all of them (MiB)": large,
    }


def _read_apart(folder: Path, count: int) -> tuple[float, float]:
    """Read a recording in a process of its own; return its processor seconds and the largest memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.recording", "--read", str(folder)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if said["rows"] != count or said["skipped"]:
        raise SystemExit(f"read {said['rows']} of {count} rows; skipped: {said['skipped']}")
    return said["seconds"], said["mib"]


def _read(folder: Path) -> None:
    skipped = Skipped()
    began = time.process_time()
    rows = sum(one.features.rows for one in read_recording([folder], skipped=skipped))
    seconds = time.process_time() - began
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "mib": mib, "skipped": dict(skipped)}))


if __name__ == "__main__":
    main()
