"""The joint check as a detector of odd rows, beside k nearest neighbours. `python -m benchmarks.joint FOLDER [--out FILE]`.

One class is learned from, and rows of it are to be told from those of another: the classes of tables that scikit-learn brings, and of
those that `benchmarks.tables` gathered in FOLDER. The figure is the area under the ROC curve, the mean over seeds. The neighbour
rule (the mean distance to the 5 nearest of all learned rows, every column standardised) keeps all rows; the joint check keeps
none. Its two parts are shown beside its misfit, the larger of the two, each in units of a rare value: the distance orders all rows, the residual
tells single wrong numbers. The cost is the processor time of one row that fits, asked alone and among 1,000.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table as Shown

from benchmarks.machine import describe
from benchmarks.tables import CLASSES, LabelledTable, load
from guardproxy.profile.joint import Joint
from guardproxy.profile.joint_bound import BoundJoint, bind_joint
from guardproxy.profile.joint_fit import fit_joint
from guardproxy.table import Floats, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEEDS: Final = (0, 1, 2)
ALPHA: Final = 0.0005
NEIGHBOURS: Final = 5
LEARNED: Final = 8_000
ASKED: Final = 3_000
REPEATS: Final = 40
BAR: Final = {"behind_neighbours": 0.01, "single_us": 10.0}


def main() -> None:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where benchmarks.tables put its tables")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    tables = {**_bundled(), **load(options.folder, CLASSES)}
    results = [_compare(name, table) for name, table in sorted(tables.items())]
    ways = [way for way in results[0] if way != "table"]
    means = {way: float(np.mean([result[way] for result in results])) for way in ways}
    costs = [_cost(fields) for fields in (10, 20, 30, 100)]
    shown = Shown("table", *ways, title="area under the ROC curve")
    for result in (*results, {"table": "mean", **means}):
        shown.add_row(result["table"], *(f"{result[way]:.3f}" for way in ways))
    Console().print(shown)
    for cost in costs:
        print(", ".join(f"{key}: {value:.3g}" for key, value in cost.items()))
    if options.out is not None:
        found = {"machine": describe(), "bar": BAR, "mean": means, "results": results, "costs": costs}
        options.out.write_text(json.dumps(found, indent=2) + "\n")


def area(usual: Floats, odd: Floats) -> float:
    """Return how often an odd row scores above a usual one, a tie counting half."""
    ordered = np.sort(usual)
    below = np.searchsorted(ordered, odd) + np.searchsorted(ordered, odd, side="right")
    return float(below.mean() / 2.0 / len(ordered))


def neighbours(learned: Floats, rows: Floats) -> Floats:
    """Return each row's mean distance to its nearest learned rows; a missing number is an average one."""
    mean, spread = np.nanmean(learned, axis=0), np.nanstd(learned, axis=0)
    known, asked = (np.nan_to_num((part - mean) / spread) for part in (learned, rows))
    lengths = np.square(known).sum(axis=1)
    found = []
    for at in range(0, len(asked), 500):
        part = asked[at : at + 500]
        squares = np.square(part).sum(axis=1)[:, None] + lengths - 2.0 * (part @ known.T)
        nearest = np.partition(squares, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        found.append(np.sqrt(np.maximum(nearest, 0.0)).mean(axis=1))
    return np.concatenate(found)


def _compare(name: str, table: LabelledTable) -> dict[str, Any]:
    runs = [_areas(table, seed) for seed in SEEDS]
    return {"table": name, **{way: statistics.fmean(run[way] for run in runs) for way in runs[0]}}


def _areas(table: LabelledTable, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    usual, odd = (rng.permutation(table.numbers[which]) for which in (~table.odd, table.odd))
    count = min(LEARNED, int(0.6 * len(usual)))
    learned, clean, odd = usual[:count], usual[count : count + ASKED], odd[:ASKED]
    joint = _fit(learned, rng)
    kept = [int(field) for field in joint.fields]
    learned, clean, odd = learned[:, kept], clean[:, kept], odd[:, kept]
    check = _bound(joint)
    judged = [check.scorer.judge(np.ascontiguousarray(rows.T)) for rows in (clean, odd)]
    near = [neighbours(learned, rows) for rows in (clean, odd)]
    return {
        f"{NEIGHBOURS} neighbours": area(*near),
        "distance": area(*(part.distance for part in judged)),
        "residual": area(*(part.residuals.max(axis=0) for part in judged)),
        "misfit": area(*(np.maximum(part.residuals.max(axis=0), part.distance) for part in judged)),
    }


def _fit(rows: Floats, rng: np.random.Generator) -> Joint:
    """Learn a check of numbered columns. Which rows give the threshold has no influence on the order of rows."""
    names = [str(at) for at in range(rows.shape[1])]
    held = rows[np.arange(2_000) % len(rows)]
    joint, note = fit_joint(names, rows, held, ALPHA, rng)
    if joint is None:
        raise SystemExit(note)
    return joint


def _bound(joint: Joint) -> BoundJoint:
    check = bind_joint(joint, joint.fields)
    if check is None:
        raise SystemExit("the check lacks its own fields")
    return check


def _cost(fields: int) -> dict[str, float]:
    rng = np.random.default_rng(fields)
    mixing = rng.normal(size=(fields, fields)) / np.sqrt(fields) + np.eye(fields)
    rows = rng.normal(size=(13_000, fields)) @ mixing
    joint, _ = fit_joint([str(at) for at in range(fields)], rows[:9_000], rows[9_000:12_000], ALPHA, rng)
    if joint is None:
        raise SystemExit("no joint check of the benchmark's own rows")
    check, names = _bound(joint), joint.fields
    singles = [Table(names, 1, None, single=row) for row in rows[12_000:12_200].tolist()]
    many = Table(names, 1_000, np.ascontiguousarray(rows[12_000:].T))
    alone = _fastest(lambda: [check.odd(table) for table in singles]) / len(singles)
    return {"fields": fields, "single_us": alone, "among_1000_us": _fastest(lambda: check.odd(many)) / 1_000}


def _fastest(run: Callable[[], object]) -> float:
    """Return the processor time of a call in microseconds: that of a repeat which few others disturbed."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time_ns()
        run()
        times.append((time.process_time_ns() - began) / 1_000)
    return statistics.quantiles(times, n=10)[0]


def _bundled() -> dict[str, LabelledTable]:
    """Return those of scikit-learn's own tables that have rows enough, each class in turn as the usual one."""
    from sklearn import datasets

    found = {}
    for name in ("digits", "breast_cancer"):
        numbers, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
        classes: NDArray[np.int64] = np.unique(labels)
        for usual in classes if len(classes) > 2 else classes[1:]:
            columns = tuple(f"{name}-{at}" for at in range(numbers.shape[1]))
            found[f"{name} {usual}"] = LabelledTable(numbers, columns, labels != usual)
    return found


if __name__ == "__main__":
    main()
