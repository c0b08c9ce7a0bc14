"""Layouts and streams of counts for tests of drift."""

from collections.abc import Sequence

import numpy as np

from guardproxy.profile.cells import Cells, season_cell
from guardproxy.stats.counts import Sums
from guardproxy.stats.detector import Detector
from guardproxy.stats.detector_state import DetectorState
from guardproxy.stats.layout import Layout, Span
from guardproxy.table import Cell, Floats

REFERENCE = 20_000
EDGES = tuple(np.quantile(np.random.default_rng(0).normal(size=REFERENCE), np.arange(1, 16) / 16).tolist())


def number_cells(reference: Floats | None = None, season: Floats | None = None) -> Cells:
    """Return sixteen cells of standard normal numbers; `season` has the Unix seconds of the reference's rows."""
    values = np.random.default_rng(0).normal(size=REFERENCE) if reference is None else reference
    bare = Cells(edges=EDGES, low=float(values.min()), high=float(values.max()))
    codes = bare.of_numbers(values)
    table = np.zeros((48, bare.size), dtype=np.int64)
    if season is not None:
        np.add.at(table, ([season_cell(at) for at in season.tolist()], codes), 1)
    return Cells(
        edges=EDGES,
        low=bare.low,
        high=bare.high,
        counts=tuple(np.bincount(codes, minlength=bare.size).tolist()),
        season=() if season is None else tuple(map(tuple, table.tolist())),
    )


def value_cells(counts: dict[Cell, int], other: int = 0) -> Cells:
    """Return the cells of values without an order."""
    return Cells(values=tuple(counts), counts=(*counts.values(), other, 0, 0, 0))


def layout_of(*cells: Cells) -> Layout:
    """Return the layout of fields `x0`, `x1`, ..."""
    spans, start = [], 0
    for place, each in enumerate(cells):
        spans.append(Span(f"x{place}", start, each))
        start += each.size
    return Layout("0000000a", start, tuple(spans), ())


def counted(layout: Layout, columns: Sequence[Floats]) -> Sums:
    """Count one bucket of numbers, a column for each field."""
    counts = np.zeros(layout.size, dtype=np.int64)
    for span, values in zip(layout.spans, columns, strict=True):
        counts[span.part] = np.bincount(span.cells.of_numbers(values), minlength=span.cells.size)
    return counts


def run(detector: Detector, state: DetectorState, buckets: Sequence[Sums], first: int = 0) -> DetectorState:
    """Step through buckets from number `first` on."""
    for number, counts in enumerate(buckets, first):
        state = detector.step(state, number, counts)
    return state
