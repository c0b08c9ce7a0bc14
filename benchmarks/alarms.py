"""False alarms of learned profiles on real tables, and the faults they catch. `python -m benchmarks.alarms FOLDER [--out FILE]`.

FOLDER holds the tables that `benchmarks.tables` gathered. Of each table, and each of some seeds, a profile is learned from so many
random rows; other rows, at most 20,000, are then clean requests. Every share is one of requests: a row with any field
outside what was learned, or whose numbers do not fit together. Faults are put into clean rows; a row that the fault leaves as it
was is not counted, since there is nothing in it to find. What the method leaves to choose (the units of a residual, the part of
alpha that a threshold aims at) was chosen on seeds 0 to 6, which are not among SEEDS.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table as Shown

from benchmarks.machine import describe
from benchmarks.tables import TABLES, load
from guardproxy.profile.columns import NumberColumn
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import Profile, Provenance
from guardproxy.proxy.facts import facts_at
from guardproxy.rules import View
from guardproxy.rules.inside import bind_inside
from guardproxy.rules.model import Check
from guardproxy.table import Floats, Mask, Table

ALPHA: Final = 0.001
SIZES: Final = (2_000, 10_000)
SEEDS: Final = (7, 8, 9, 10, 11)
CLEAN: Final = 20_000
FAULTY: Final = 5_000
BARS: Final = {"mean": 0.001, "worst at 2,000": 0.0025, "worst at 10,000": 0.002}
FAULT_BARS: Final = {"one number x10": 0.82, "two numbers swapped": 0.70, "half a row of another": 0.03}


class Split(NamedTuple):
    """Rows that are learned from, and others that are clean requests."""

    name: str
    columns: tuple[str, ...]
    learned: Floats
    clean: Floats


def main() -> None:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where benchmarks.tables put its tables")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    runs = [
        _run(split, size, seed)
        for size in SIZES
        for seed in SEEDS
        for split in _splits(options.folder, size, seed)
    ]
    results = [_summary(runs, size) for size in SIZES]
    _print(results)
    if options.out is not None:
        found = {"machine": describe(), "alpha": ALPHA, "tables": sorted({run["table"] for run in runs})}
        found |= {"bars": BARS, "fault_bars": FAULT_BARS, "results": results, "runs": runs}
        options.out.write_text(json.dumps(found, indent=2) + "\n")


def learn(columns: tuple[str, ...], rows: Floats, seed: int) -> Profile:
    """Learn a profile of rows (rows, columns), in their order."""
    learner = Learner("bench", alpha=ALPHA, rng=np.random.default_rng(seed))
    learner.update({name: NumberColumn(rows[:, at]) for at, name in enumerate(columns)})
    return learner.finish(Provenance())


def flagged(profile: Profile, columns: tuple[str, ...], rows: Floats) -> Mask:
    """Return which rows the rule `profile: {fields: features.*}` finds, as the proxy asks it."""
    inside = bind_inside(Check("profile", every="features"), profile, columns, ())
    table = Table(columns, len(rows), np.ascontiguousarray(rows.T))
    few = inside.few(View(table, None, facts_at(1_700_000_000.0), lambda *_: None), 1)
    return np.zeros(len(rows), dtype=np.bool_) if few is None else ~few


def faults(rows: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """Return the rows with each of the faults."""
    count, columns = rows.shape
    every, donor = np.arange(count), rng.permutation(count)
    one = rng.integers(0, columns, count)
    two = (one + rng.integers(1, columns, count)) % columns
    tenfold, swapped, cell = rows.copy(), rows.copy(), rows.copy()
    tenfold[every, one] *= 10.0
    swapped[every, one], swapped[every, two] = rows[every, two], rows[every, one]
    cell[every, one] = rows[donor, one]
    half = np.where(rng.random(rows.shape) < 0.5, rows[donor], rows)
    names = ("one number x10", "two numbers swapped", "one number of another row", "half a row of another")
    return dict(zip(names, (tenfold, swapped, cell, half), strict=True))


def _splits(folder: Path, size: int, seed: int) -> Iterator[Split]:
    tables = load(folder, TABLES)
    if not tables:
        raise SystemExit(f"no tables in {folder}: run benchmarks.tables first")
    for name, table in tables.items():
        order = np.random.default_rng(seed).permutation(len(table.numbers))
        rows = table.numbers[order[: size + CLEAN]]
        yield Split(name, table.columns, rows[:size], rows[size:])


def _run(split: Split, size: int, seed: int) -> dict[str, Any]:
    profile = learn(split.columns, split.learned, seed)
    ranges = replace(profile, joint=None)
    found: dict[str, Any] = {
        "table": split.name,
        "rows": size,
        "seed": seed,
        "joint": profile.joint is not None,
    }
    found["clean"] = {
        "guardproxy": float(flagged(profile, split.columns, split.clean).mean()),
        "its ranges alone": float(flagged(ranges, split.columns, split.clean).mean()),
        **{name: float(rule(split.learned, split.clean).mean()) for name, rule in _OTHERS.items()},
    }
    sample = split.clean[:FAULTY]
    found["caught"] = {}
    for name, rows in faults(sample, np.random.default_rng(seed)).items():
        changed = ((rows != sample) & ~(np.isnan(rows) & np.isnan(sample))).any(axis=1)
        broken = rows[changed]
        found["caught"][name] = {
            "guardproxy": float(flagged(profile, split.columns, broken).mean()),
            "its ranges alone": float(flagged(ranges, split.columns, broken).mean()),
            "min and max": float(_min_max(split.learned, broken).mean()),
        }
    return found


def _summary(runs: list[dict[str, Any]], size: int) -> dict[str, Any]:
    """Return means over tables and seeds; the worst is the table whose mean over the seeds is highest."""
    own = [run for run in runs if run["rows"] == size]
    tables = sorted({run["table"] for run in own})
    clean, caught = {}, {}
    for way in own[0]["clean"]:
        by_table = [np.mean([run["clean"][way] for run in own if run["table"] == name]) for name in tables]
        worst = int(np.argmax(by_table))
        clean[way] = {
            "mean": float(np.mean(by_table)),
            "worst": float(by_table[worst]),
            "worst_table": tables[worst],
            "worst_run": max(run["clean"][way] for run in own),
        }
    for fault, ways in own[0]["caught"].items():
        caught[fault] = {way: float(np.mean([run["caught"][fault][way] for run in own])) for way in ways}
    return {"rows": size, "clean": clean, "caught": caught}


def _print(results: list[dict[str, Any]]) -> None:
    for result in results:
        shown = Shown(
            "rule", "mean", "worst", "table", title=f"clean requests flagged, {result['rows']:,} rows learned"
        )
        for way, figures in result["clean"].items():
            shown.add_row(way, f"{figures['mean']:.3%}", f"{figures['worst']:.3%}", figures["worst_table"])
        Console().print(shown)
        shown = Shown("fault", *next(iter(result["caught"].values())), title="faulty requests flagged")
        for fault, ways in result["caught"].items():
            shown.add_row(fault, *(f"{share:.3f}" for share in ways.values()))
        Console().print(shown)


def _outside(rows: Floats, low: Floats, high: Floats) -> Mask:
    return np.asarray(((rows < low) | (rows > high)).any(axis=1))


def _min_max(learned: Floats, rows: Floats) -> Mask:
    return _outside(rows, np.nanmin(learned, axis=0), np.nanmax(learned, axis=0))


def _sigmas(learned: Floats, rows: Floats) -> Mask:
    mean, spread = np.nanmean(learned, axis=0), 3.0 * np.nanstd(learned, axis=0)
    return _outside(rows, mean - spread, mean + spread)


def _fences(learned: Floats, rows: Floats) -> Mask:
    low, high = np.nanpercentile(learned, [25.0, 75.0], axis=0)
    return _outside(rows, low - 1.5 * (high - low), high + 1.5 * (high - low))


_OTHERS: Final[Mapping[str, Callable[[Floats, Floats], Mask]]] = MappingProxyType(
    {"min and max": _min_max, "3 sigma": _sigmas, "1.5 IQR": _fences}
)


if __name__ == "__main__":
    main()
