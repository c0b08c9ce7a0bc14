"""What sort of values a column holds, and which of its numbers stand for a missing value.

Decides from a summary alone. Where the bounds of each kind stand is left to `fit`.
"""

import copy
from typing import Final, NamedTuple

from guardproxy.profile.model import FieldKind
from guardproxy.profile.numbers import NumberSummary
from guardproxy.profile.summary import FieldSummary
from guardproxy.profile.texts import MAX_TEXT, TextSummary
from guardproxy.profile.times import UNITS

BOOLEAN_TEXTS: Final = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})
STRAY_TEXTS: Final = 0.01
"""Up to this share of texts (`?`, `n/a`) in a column of numbers are read as missing."""

UNENFORCED: Final = frozenset({FieldKind.CONSTANT, FieldKind.IDENTIFIER})
"""The kinds that are checked for their type alone, and need no share of the budget."""

MIN_LAGS: Final = 100
"""So many moments must have a lag before it is bounded."""

_MONOTONE: Final = 0.99
_STEADY: Final = 0.5
_RECURS: Final = 5
_MANY: Final = 10


class Usual(NamedTuple):
    """The numbers of a field without those that stand for a missing value, and these with their counts."""

    numbers: NumberSummary
    sentinels: tuple[tuple[float, int], ...]


def usual_numbers(summary: FieldSummary) -> Usual:
    """Tell a field's numbers from its signs for a missing value.

    A sign recurs, and stands apart: further from the other numbers than these reach, or as the one negative number
    below many that are not. All others are put back among the numbers, as if they had come last.
    """
    if summary.usual is None or not summary.usual.count:
        return Usual(summary.numbers, ())
    signs = {
        value: cells.count
        for value, cells in summary.apart.items()
        if _stands_apart(value, cells, summary.usual)
    }
    if not signs:
        return Usual(summary.numbers, ())
    numbers = summary.usual
    others = [cells for value, cells in summary.apart.items() if value not in signs]
    if others:
        numbers = copy.deepcopy(numbers)
        for cells in others:
            numbers.absorb(cells)
    return Usual(numbers, tuple(sorted(signs.items())))


def kind_of(summary: FieldSummary) -> FieldKind:
    """Decide what sort of values a column holds."""
    numbers, texts = usual_numbers(summary).numbers, summary.texts
    present = summary.numbers.count + texts.count
    if summary.arrays.count:
        return FieldKind.ARRAY
    if present == 0 or (present == texts.count and texts.exact and len(texts.counts) == 1):
        return FieldKind.CONSTANT
    if texts.count <= STRAY_TEXTS * present and not summary.literal:
        return _kind_of_numbers(summary, numbers)
    return _kind_of_texts(summary.numbers, texts)


def _kind_of_numbers(summary: FieldSummary, numbers: NumberSummary) -> FieldKind:
    if summary.numbers.at_minimum == summary.numbers.count:
        return FieldKind.CONSTANT
    if _of_epoch(summary):
        return FieldKind.TIMESTAMP
    if max(numbers.rises, numbers.falls) >= _MONOTONE * (numbers.count - 1):
        return FieldKind.IDENTIFIER
    return FieldKind.INTEGER if numbers.whole else FieldKind.NUMBER


def _of_epoch(summary: FieldSummary) -> bool:
    """Tell whether numbers are moments: each may be one, and they move with the time column."""
    if (
        summary.epoch is None
        or summary.texts.count
        or summary.lags.count < max(MIN_LAGS, summary.numbers.count)
    ):
        return False
    return summary.lags.std < _STEADY * summary.numbers.std * UNITS[summary.epoch]


def _stands_apart(value: float, cells: NumberSummary, usual: NumberSummary) -> bool:
    reach = usual.maximum - usual.minimum
    gap = max(usual.minimum - value, value - usual.maximum)
    if cells.count < _RECURS or gap <= 0.0 or reach <= 0.0:
        return False
    if value < 0.0 <= usual.minimum and usual.sketch.estimate() >= _MANY:
        return True
    return value != -1.0 and gap >= reach


def _kind_of_texts(numbers: NumberSummary, texts: TextSummary) -> FieldKind:
    if numbers.count == 0:
        if texts.exact and texts.counts.keys() <= BOOLEAN_TEXTS:
            return FieldKind.BOOLEAN
        if texts.shape.forms:
            return FieldKind.TIMESTAMP
    distinct = len(texts.counts) + (len(numbers.distinct) if numbers.distinct is not None else 10**9)
    few = distinct <= 20 or distinct * 5 <= texts.count + numbers.count
    short = texts.lengths.maximum <= MAX_TEXT
    return FieldKind.CATEGORY if texts.exact and few and short else FieldKind.TEXT
