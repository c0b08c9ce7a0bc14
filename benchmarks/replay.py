"""Replay: `guardproxy rules replay` over recordings of growing length, as a user runs it. `python -m benchmarks.replay`.

Each run is a process of its own: its seconds include reading the recording, and its peak memory is what must not grow
with the number of rows. The exchanges have one row of 20 features and 3 predictions and an entity's past; both sides
have 50 rules, one row in twenty violates one, one in a hundred is held.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from benchmarks.machine import describe
from guardproxy.decision import Decision, RequestFacts
from guardproxy.recording import Draft, Options, Recorder
from guardproxy.table import Cell, Table, table_from_records

FEATURES: Final = tuple(f"x{i}" for i in range(18))
START: Final = 1_700_000_000.0
STEP_S: Final = 6.0
SIZES: Final = (10_000, 100_000, 300_000)
BAR_S: Final = 20.0
HEAD: Final = """\
guardproxy: 1
model: bench
owner: ops
lists:
  labels: [plain, special]
kpis:
  cover: {title: Cover, expr: features.x0 / output.demand, expect: {min: -10, max: 10}}
rules:
"""
KINDS: Final = (
    "range: {{field: features.x{i}, min: -4, max: {far}}}",
    "require: features.x{i} + features.x{j} < {far}",
    "when: features.x{i} > 2\n    require: output.demand > features.x{j} - {far}",
    "order: [output.p10, output.demand, output.p90]",
    'one_of: {{field: features.kind, values: [plain, special, "n{i}"]}}',
    "max_change: {{field: output.demand, against: previous, by: [features.store], up: {wide}%, down: {wide}%}}",
    "forbid: kpi.cover > 100{far} or features.kind not in labels",
    "range: {{field: output.demand, max: 107.{i}}}\n    action: hold\n    hold: {{meanwhile: fallback}}\n    fallback: [previous]",
    "range: {{field: output.demand, max: 107}}\n    mode: canary 20%\n    action: fallback\n    fallback: [{{expr: features.x{i} + 100}}]",
    (
        "require: output.demand > 1 and features.x{i} < {far}\n    unless:\n"
        '      - {{id: known, when: features.kind == "special", until: 2030-01-01, owner: ops, why: known}}'
    ),
)


def main() -> None:
    """Run every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument(
        "--batch-rules", action="store_true", help="add a batch rule, so that exchanges are judged alone"
    )
    arguments = parser.parse_args()
    results = []
    print(f"{'rows':>9} {'seconds':>9} {'rows/s':>9} {'max RSS MiB':>12}")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as name:
            result = _measure(Path(name), size, batch=arguments.batch_rules)
        results.append(result)
        print(
            f"{size:>9,} {result['seconds']:>9.2f} {size / result['seconds']:>9,.0f} {result['rss_mib']:>12.0f}"
        )
    if arguments.out is not None:
        arguments.out.write_text(
            json.dumps({"machine": describe(), "bar_s": BAR_S, "results": results}, indent=2) + "\n"
        )


def rules(far: int, count: int = 50, *, batch: bool = False) -> str:
    """Return a rule file of `count` rules; with another `far` the bounds are others."""
    made = [
        f"  - id: rule-{n}\n    "
        + KINDS[n % len(KINDS)].format(i=n % 18, j=(n * 7 + 1) % 18, far=far, wide=far * 3)
        for n in range(count - batch)
    ]
    if batch:
        made.append("  - id: flat\n    scope: batch\n    require: batch_share(output.demand == 0) <= 40%")
    return HEAD + "\n".join(made) + "\n"


def record(folder: Path, count: int) -> None:
    """Write a recording of `count` exchanges, none left out."""
    rng = np.random.default_rng(7)
    numbers = rng.normal(size=(2_000, 18))
    demand = 100 + 3 * rng.normal(size=2_000)
    quiet = Decision(
        "bench", "0123456789ab", 1, np.zeros(1, np.uint8), ("rule-0",), np.zeros((1, 1), np.uint8)
    )
    tables = []
    for row in range(2_000):
        features: dict[str, Cell] = dict(zip(FEATURES, numbers[row].tolist(), strict=True))
        features |= {"store": f"s{row % 50}", "kind": "special" if row % 9 == 0 else "plain"}
        value = float(demand[row])
        tables.append(
            (
                table_from_records([features]),
                table_from_records([{"demand": value, "p10": value - 1, "p90": value + 1}]),
            )
        )
    recorder = Recorder(
        Options(folder, per_minute=40_000, low_water_bytes=0, max_pending_bytes=1 << 30), Random(7)
    )
    for number in range(count):
        at = START + number * STEP_S
        make = _draft(number, at, tables[number % 2_000], quiet, float(demand[(number + 50) % 2_000]))
        if not recorder.offer("bench", at, loud=False, make=lambda made=make: made):  # type: ignore[misc]
            raise SystemExit("an exchange was left out")
        if number % 6_000 == 0:
            recorder.flush(at)
    recorder.flush(START + count * STEP_S + 3_600)
    recorder.close()


def _draft(number: int, at: float, tables: tuple[Table, Table], decision: Decision, before: float) -> Draft:
    hour = int(at // 3600)
    facts = RequestFacts(at, hour % 24, hour // 24 % 7, f"2023-11-{14 + hour // 24 % 16}")
    past = {("store",): ({"demand": before, "p10": before - 1, "p90": before + 1},)}
    return Draft(f"dec_{number:026d}", facts, decision, *tables, past, identity=b"%d" % number)


def _measure(folder: Path, size: int, *, batch: bool) -> dict[str, Any]:
    (folder / "old.guard.yaml").write_text(rules(4, batch=batch))
    (folder / "new.guard.yaml").write_text(rules(3, batch=batch))
    record(folder / "recorded", size)
    command = [
        sys.executable, "-m", "guardproxy", "rules", "replay", "--recorded", str(folder / "recorded"),
        "--rules", str(folder / "old.guard.yaml"), "--candidate", str(folder / "new.guard.yaml"), "--format", "json",
    ]  # fmt: skip
    began = time.perf_counter()
    with (folder / "said.json").open("wb") as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    (said,) = json.loads((folder / "said.json").read_text())["models"]
    if process.returncode or said["rows"] != size:
        raise SystemExit(f"the replay ended with {process.returncode} after {said['rows']} rows")
    return {
        "rows": size,
        "seconds": seconds,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "rss_mib": usage.ru_maxrss / 1024,
        "differing": said["differing_rows"],
        "held_per_day": said["held_per_day"],
    }


if __name__ == "__main__":
    main()
