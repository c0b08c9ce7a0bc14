"""One field's limits, and where a single cell stands against them.

Decides how a field's profile becomes a comparison, and the position of a cell that is no plain number. Comparing whole
blocks is left to `check`, saying it in words to `explain`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from guardproxy.profile.fit import TIMESTAMP
from guardproxy.profile.model import NUMERIC, FieldKind, FieldProfile, Role
from guardproxy.table import Cell


class Position(IntEnum):
    """Where a cell stands against its field's profile."""

    INSIDE = 0
    MISSING = 1
    TYPE = 2
    NOT_FINITE = 3
    BELOW = 4
    ABOVE = 5
    NOT_WHOLE = 6
    UNSEEN = 7
    ABSENT = 8
    TOO_LONG = 9


@dataclass(frozen=True, slots=True)
class Limit:
    """One field's comparison: `numeric` fields by block, others cell by cell.

    A `required` field has no missing cell; an `expected` one may not be wanting as a whole. `closed` is the set of
    allowed values, None where any is; `longest` bounds a text's characters.
    """

    profile: FieldProfile
    low: float
    high: float
    numeric: bool
    required: bool = False
    expected: bool = False
    whole: bool = False
    closed: frozenset[Cell] | None = None
    longest: int | None = None


_MOST: Final = float(np.finfo(np.float64).max)
_FLOAT32_MOST: Final = 3e38


def limit_of(profile: FieldProfile, band: tuple[float, float] | None) -> Limit | None:
    bounded = profile.kind in NUMERIC
    if band is not None:
        low, high = profile.percentile(band[0]), profile.percentile(band[1])
        if low is None or high is None or not bounded:
            return None
        return Limit(profile, low=_below(low), high=_above(high), numeric=True)
    value = profile.domain[0] if profile.domain else None
    if profile.kind is FieldKind.CONSTANT and value is None:
        return None
    low = -_MOST if profile.low is None else profile.low
    high = _MOST if profile.high is None else profile.high
    closed = frozenset(profile.domain) if profile.closed and profile.domain is not None else None
    # A target may be counted in whole numbers; what a regression says of it is not.
    whole = profile.whole and not (profile.role is Role.OUTPUT and bounded)
    if profile.role is Role.OUTPUT and bounded:
        closed = None
    if closed is not None and bounded and _gapless(closed, low, high):
        closed = None
    return Limit(
        profile=profile,
        numeric=bounded or profile.kind is FieldKind.IDENTIFIER or isinstance(value, float),
        required=profile.required,
        expected=profile.required or (profile.missing_rate == 0.0 and profile.rows > 0),
        low=low if whole else _below(low),
        high=high if whole else _above(high),
        whole=whole,
        closed=closed,
        longest=profile.max_length,
    )


def _below(bound: float) -> float:
    """Step a bound down by what rounding to float32 on a client's side may take."""
    return (
        float(np.nextafter(np.float32(bound), np.float32(-np.inf)))
        if 0.0 < abs(bound) < _FLOAT32_MOST
        else bound
    )


def _above(bound: float) -> float:
    return -_below(-bound)


def _gapless(closed: frozenset[Cell], low: float, high: float) -> bool:
    """Tell whether a set is every whole number from low to high, which the bounds say already."""
    return len(closed) == high - low + 1 and all(
        isinstance(value, int | float) and low <= value <= high and value == int(value) for value in closed
    )


def position_of(limit: Limit, cell: Cell) -> Position:
    """Return the position of one cell of a field that is no number."""
    if cell is None:
        return Position.MISSING if limit.required else Position.INSIDE
    if not _fits(limit.profile, cell):
        return Position.TYPE
    if limit.closed is not None and cell not in limit.closed:
        return Position.UNSEEN
    if limit.longest is not None and isinstance(cell, str) and len(cell) > limit.longest:
        return Position.TOO_LONG
    return Position.INSIDE


def number_position(limit: Limit, cell: Cell) -> Position:
    """Return the position of one cell that a number field keeps exact: text, yes/no, a vector, a huge whole number."""
    if cell is None:
        return Position.MISSING if limit.required else Position.INSIDE
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return Position.TYPE
    if cell in (float("inf"), float("-inf")):
        return Position.NOT_FINITE
    if cell < limit.low:
        return Position.BELOW
    if cell > limit.high:
        return Position.ABOVE
    if limit.whole and cell != int(cell):
        return Position.NOT_WHOLE
    return Position.UNSEEN if limit.closed is not None and cell not in limit.closed else Position.INSIDE


def _fits(profile: FieldProfile, cell: Cell) -> bool:
    kind = profile.kind
    number = isinstance(cell, int | float) and not isinstance(cell, bool)
    if kind is FieldKind.BOOLEAN:
        # Tensors and data frames carry yes and no as 1 and 0.
        return isinstance(cell, bool) or (number and cell in (0, 1))
    if kind is FieldKind.TIMESTAMP:
        return isinstance(cell, str) and TIMESTAMP.fullmatch(cell) is not None
    return isinstance(cell, str)
