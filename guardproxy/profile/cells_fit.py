"""From a summary to a field's cells: where their edges stand, and what the reference data had in each.

Decides which fields are counted and in how many cells. What the data say of days and hours is left to `seasons`, what a
change of the counts means to `stats`.

The counts are true observations, since the width of a drift alarm's band follows from their number: exact counts where the
summary has them, else those of the reservoir, never scaled up to all rows. A rare value that only one row has counts as unseen: to
all other rows it is, and as often live rows bring values that no row of the reference had (Good, 1953).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.cells import MAX_CELLS, SPECIAL_CELLS, UNSEEN, Cells, Measure
from guardproxy.profile.columns import number_text
from guardproxy.profile.kinds import STRAY_TEXTS
from guardproxy.profile.model import FieldKind, FieldProfile, Role
from guardproxy.profile.numbers import NumberSummary
from guardproxy.profile.seasons import seasons_of
from guardproxy.profile.summary import FieldSummary
from guardproxy.profile.tails import ATOM_SHARE
from guardproxy.profile.texts import MAX_TEXT
from guardproxy.table import Cell, Floats

INTERVALS: Final = 16
"""How many intervals of equal share a field with an order has, beside those of single values."""

MAX_VALUES: Final = 16
"""So many values have a cell each; of more, the commonest have, and the others are known."""

MAX_KNOWN: Final = 4_096
"""So many rarer values are remembered; beyond, the rarest count as unseen, in the reference data too."""

_MAX_INTERVALS: Final = MAX_CELLS - SPECIAL_CELLS
_MAX_ATOMS: Final = 8
_STANDS_OUT: Final = 4.0
_ROUNDING: Final = 1e-6
_NO_TIMES: Final = np.empty(0)


class _Known(NamedTuple):
    """What is known of one field."""

    field: FieldProfile
    summary: FieldSummary
    sample: Floats


class _Counted(NamedTuple):
    """Distinct numbers, ascending, with the rows of each; then the rows that had none, and those of another type."""

    values: Floats
    rows: NDArray[np.int64]
    missing: int
    other_type: int


def fit_cells(
    field: FieldProfile,
    summary: FieldSummary,
    sample: Floats,
    times: Floats = _NO_TIMES,
    labels: Sequence[Cell] = (),
) -> Cells | None:
    """Return how a field is counted, or None for what has nothing to count (keys, identifiers, texts of unknown length).

    `sample` holds the field's reservoir, shape (rows,), NaN where a row has no such number: the number itself; of a text its
    length in characters; of a vector its norm; of a moment its lag in seconds. `times` are the Unix seconds of the
    same rows, NaN where unknown, or empty without a time column. `labels` are the same rows' values of a field without an order
    (texts, True and False, None where missing), or empty where the reservoir does not keep them: then nothing is known of its days and seasons.
    """
    if field.role is Role.KEY or field.kind not in _FITS:
        return None
    cells = _FITS[field.kind](_Known(field, summary, sample))
    if cells is None or not len(times):
        return cells
    codes = _codes(cells, sample, labels, _once(cells, summary))
    if len(codes) != len(times):
        return cells
    found = seasons_of(codes, cells.size, times)
    return replace(cells, spread=found.spread, season=found.season)


def _number(known: _Known) -> Cells | None:
    numbers, strays = known.summary.numbers, known.summary.texts.count
    if numbers.distinct is not None:
        seen = sorted((value, entry[0]) for value, entry in numbers.distinct.items())
        counted = _counted(seen, known.summary.missing, strays)
    else:
        counted = _of_sample(known.sample, strays / max(1, strays + known.summary.missing))
    if known.field.whole and len(counted.values) <= MAX_VALUES:
        return _values(dict(_pairs(counted)), counted.missing, counted.other_type)
    return _intervals(Measure.VALUE, counted, numbers, whole=known.field.whole)


def _category(known: _Known) -> Cells | None:
    return _values(_seen(known.summary), known.summary.missing, 0)


def _seen(summary: FieldSummary) -> dict[Cell, int]:
    """Return the rows of each text, numbers among them as texts."""
    seen: dict[Cell, int] = {
        text: entry[0] for text, entry in summary.texts.counts.items() if len(text) <= MAX_TEXT
    }
    for value, entry in (summary.numbers.distinct or {}).items():
        text = number_text(value)
        seen[text] = seen.get(text, 0) + entry[0]
    return seen


def _once(cells: Cells, summary: FieldSummary) -> frozenset[Cell]:
    """Return the rarer values that only one row has."""
    return frozenset(text for text, rows in _seen(summary).items() if rows == 1 and text in cells.known)


def _boolean(known: _Known) -> Cells | None:
    seen: dict[Cell, int] = {False: 0, True: 0}
    for text, entry in known.summary.texts.counts.items():
        seen[text.lower() == "true"] += entry[0]
    return _values(seen, known.summary.missing, known.summary.numbers.count)


def _constant(known: _Known) -> Cells | None:
    value = known.field.domain[0] if known.field.domain else None
    rows = known.summary.numbers.count + known.summary.texts.count
    if value is None:
        return Cells(counts=(0, 0, 0, known.summary.missing, 0))
    if isinstance(value, float) and not value.is_integer():
        # Such a number may reach us rounded to float32.
        low, high = _ends(value, value, whole=False)
        return Cells(low=low, high=high, counts=(rows, 0, 0, known.summary.missing, 0))
    return _values({value: rows}, known.summary.missing, 0)


def _text(known: _Known) -> Cells | None:
    lengths, numbers = known.summary.texts.lengths, known.summary.numbers.count
    if numbers > STRAY_TEXTS * (numbers + lengths.count):
        # Texts that read as numbers, in a file without types: how long they were is not known.
        return None
    if lengths.distinct is not None:
        seen = sorted((value, entry[0]) for value, entry in lengths.distinct.items())
        counted = _counted(seen, known.summary.missing, known.summary.numbers.count)
    else:
        counted = _of_sample(
            known.sample,
            known.summary.numbers.count / max(1, known.summary.numbers.count + known.summary.missing),
        )
    return _intervals(Measure.LENGTH, counted, lengths, whole=True)


def _lag(known: _Known) -> Cells | None:
    return _intervals(Measure.LAG, _of_sample(known.sample, 0.0), None, whole=False)


def _norm(known: _Known) -> Cells | None:
    return _intervals(Measure.NORM, _of_sample(known.sample, 0.0), None, whole=False)


_FITS: Final[Mapping[FieldKind, Callable[[_Known], Cells | None]]] = MappingProxyType(
    {
        FieldKind.NUMBER: _number,
        FieldKind.INTEGER: _number,
        FieldKind.BOOLEAN: _boolean,
        FieldKind.CATEGORY: _category,
        FieldKind.TEXT: _text,
        FieldKind.TIMESTAMP: _lag,
        FieldKind.ARRAY: _norm,
        FieldKind.CONSTANT: _constant,
    }
)
"""What counts a field of each kind; an identifier's values never come back."""


def _values(seen: Mapping[Cell, int], missing: int, other_type: int) -> Cells:
    """Give the commonest values cells of their own, in the order of the values."""
    ranked = sorted(seen.items(), key=lambda item: (-item[1], str(item[0])))
    # Sorted by number where they are numbers: `2` stands before `10`.
    chosen = sorted(ranked[:MAX_VALUES], key=lambda item: (not isinstance(item[0], float), item[0]))
    known, beyond = ranked[MAX_VALUES:MAX_KNOWN], ranked[MAX_KNOWN:]
    once = sum(count == 1 for _, count in known)
    return Cells(
        values=tuple(value for value, _ in chosen),
        known=frozenset(value for value, _ in known),
        counts=(
            *(count for _, count in chosen),
            sum(count for _, count in known) - once,
            sum(count for _, count in beyond) + once,
            missing,
            other_type,
        ),
    )


def _intervals(
    measure: Measure, counted: _Counted, extremes: NumberSummary | None, *, whole: bool
) -> Cells | None:
    """Cut the numbers into intervals. The ends are the summary's own extremes, which a reservoir may lack."""
    if not len(counted.values):
        return None
    edges = _edges(counted.values, counted.rows)
    rows = np.bincount(
        np.searchsorted(edges, counted.values, side="right"), counted.rows, minlength=len(edges) + 1
    )
    least, most = float(counted.values[0]), float(counted.values[-1])
    if extremes is not None and extremes.count:
        least, most = min(least, extremes.minimum), max(most, extremes.maximum)
    low, high = _ends(least, most, whole=whole)
    return Cells(
        measure=measure,
        edges=edges,
        low=low,
        high=high,
        counts=(*(int(count) for count in rows), 0, 0, counted.missing, counted.other_type),
    )


def _edges(values: Floats, rows: NDArray[np.int64]) -> tuple[float, ...]:
    """Return ascending edges that stand between neighbouring values, so that rounding moves nothing across them."""
    last = len(values) - 1
    if last < _MAX_INTERVALS:
        cuts = set(range(last))
    else:
        atoms = _atoms(rows)
        around = {cut for atom in atoms for cut in (atom - 1, atom) if 0 <= cut < last}
        rest = rows.copy()
        rest[list(atoms)] = 0
        cuts = around
        for intervals in range(INTERVALS, 0, -1):
            cuts = around | _quantile_cuts(rest, intervals)
            if len(cuts) < _MAX_INTERVALS:
                break
    return tuple(_between(float(values[cut]), float(values[cut + 1])) for cut in sorted(cuts))


def _atoms(rows: NDArray[np.int64]) -> list[int]:
    """Return the places of single values that hold a good share of the rows, and far more than values mostly do."""
    needed = max(ATOM_SHARE * float(rows.sum()), _STANDS_OUT * float(np.median(rows)))
    found = np.flatnonzero(rows >= needed)
    largest: list[int] = found[np.argsort(-rows[found], kind="stable")][:_MAX_ATOMS].tolist()
    return largest


def _quantile_cuts(rows: NDArray[np.int64], intervals: int) -> set[int]:
    """Return after which values to cut for intervals of nearly equal share; values are never cut apart."""
    below = np.cumsum(rows)
    total = int(below[-1])
    cuts = set()
    for part in range(1, intervals if total else 1):
        target = part * total / intervals
        cut = int(np.searchsorted(below, target))
        if cut and target - below[cut - 1] < below[cut] - target:
            cut -= 1
        if cut < len(rows) - 1:
            cuts.add(cut)
    return cuts


def _between(left: float, right: float) -> float:
    """Return a short number above `left` and at most `right`."""
    middle = left / 2.0 + right / 2.0
    short = float(f"{middle:.6g}")
    if left < short < right:
        return short
    return middle if left < middle < right else right


def _ends(least: float, most: float, *, whole: bool) -> tuple[float, float]:
    """Return the extremes with room for rounding to float32, where they have fractions."""
    if whole:
        return least, most
    room = max(abs(least), abs(most)) * _ROUNDING
    low, high = float(f"{least - room:.9g}"), float(f"{most + room:.9g}")
    return (low if np.isfinite(low) else least), (high if np.isfinite(high) else most)


def _counted(seen: Sequence[tuple[float, int]], missing: int, other_type: int) -> _Counted:
    values = np.array([value for value, _ in seen], dtype=np.float64)
    return _Counted(values, np.array([rows for _, rows in seen], dtype=np.int64), missing, other_type)


def _of_sample(sample: Floats, strays: float) -> _Counted:
    """Count the reservoir; of its rows without a number the share `strays` held something else."""
    finite = sample[np.isfinite(sample)]
    values, rows = np.unique(finite, return_counts=True)
    without = len(sample) - len(finite)
    other_type = round(strays * without)
    return _Counted(values, rows, without - other_type, other_type)


def _pairs(counted: _Counted) -> list[tuple[float, int]]:
    return list(zip(counted.values.tolist(), counted.rows.tolist(), strict=True))


def _codes(cells: Cells, sample: Floats, labels: Sequence[Cell], once: frozenset[Cell]) -> NDArray[np.uint8]:
    """Return the cell of each reservoir row; nothing where the reservoir does not have the field's values."""
    kept = any(label is not None for label in labels)
    if not kept and not np.isfinite(sample).any():
        return np.empty(0, dtype=np.uint8)
    if kept and not cells.values:
        return np.empty(0, dtype=np.uint8)
    if kept:
        codes = cells.of_values(labels)
        codes[[label in once for label in labels]] = len(cells.values) + UNSEEN
        return codes
    if not cells.values:
        return cells.of_numbers(sample)
    return cells.of_values([None if value != value else value for value in sample.tolist()])
