"""Profiles with cells, samples of them, and a ledger's pending blobs read back, for tests of what is counted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from guardproxy.decision import Decision, Outcome, Reason
from guardproxy.profile.cells import Cells, Measure
from guardproxy.profile.model import FieldKind, FieldProfile, Profile, Role
from guardproxy.stats.layout import Layout
from guardproxy.stats.ledger import Pending
from guardproxy.stats.rollup import Part, part_of, total_of
from guardproxy.stats.windows import Sample
from guardproxy.table import Cell, Table, table_from_records

NUMBER = Cells(edges=(1.0, 2.0, 5.0), low=0.0, high=10.0, counts=(1,) * 8)
WORDS = Cells(values=("dairy", "fish"), known=frozenset({"meat"}), counts=(1,) * 6)


def profile(
    features: Mapping[str, tuple[FieldKind, Cells | None]] | None = None, version: str = "0badcafe"
) -> Profile:
    """Return a profile of `x` (numbers), `kind` (words) and the output `demand`, or of other features."""
    features = features or {"x": (FieldKind.NUMBER, NUMBER), "kind": (FieldKind.CATEGORY, WORDS)}
    return Profile(
        "demand",
        version,
        1_000,
        0.001,
        {name: FieldProfile(name, kind, cells=cells) for name, (kind, cells) in features.items()},
        {"demand": FieldProfile("demand", FieldKind.NUMBER, Role.OUTPUT, cells=NUMBER)},
    )


def lengths(edges: tuple[float, ...] = (3.0, 6.0)) -> Cells:
    """Return the cells of a text's length."""
    return Cells(measure=Measure.LENGTH, edges=edges, low=1.0, high=9.0, counts=(1,) * (len(edges) + 5))


def decision(outcomes: Sequence[Outcome], reason: Reason | None = None) -> Decision:
    """Return a decision of so many rows."""
    codes = np.array(outcomes, dtype=np.uint8)
    return Decision(
        "demand", "f" * 8, len(outcomes), codes, (), np.zeros((0, len(outcomes)), np.uint8), reason=reason
    )


def sample(
    at: float, rows: Sequence[Mapping[str, Cell]], answers: Sequence[Cell] | None = None, **more: Any
) -> Sample:
    """Return an exchange of allowed rows; its predictions are `demand`."""
    predictions = None if answers is None else table_from_records([{"demand": value} for value in answers])
    return Sample(at, decision([Outcome.ALLOWED] * len(rows)), _table(rows), predictions, **more)


def stored(layout: Layout, written: Iterable[Pending]) -> dict[int, Part]:
    """Return what a store would have of each bucket after these writes: of each writer the last."""
    blobs: dict[int, dict[str, dict[str, bytes]]] = {}
    for each in written:
        for series, blob in each.blobs.items():
            blobs.setdefault(each.bucket, {}).setdefault(series, {})[each.writer] = blob
    return {bucket: part_of(layout, found) for bucket, found in blobs.items()}


def everything(layout: Layout, parts: Mapping[int, Part]) -> Part:
    """Return the sum of all buckets."""
    return total_of(layout, [parts[bucket] for bucket in sorted(parts)])


def _table(rows: Sequence[Mapping[str, Cell]]) -> Table:
    return table_from_records(rows)
