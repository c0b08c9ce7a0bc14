"""One field's limits, and where a single cell stands against them.

Decides how a field's profile becomes a comparison, and the position of a cell that is no plain number. Comparing whole
blocks is left to `check`, saying it in words to `explain`.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

import numpy as np

from guardproxy.profile.model import NUMERIC, FieldKind, FieldProfile, MissingKind, Role, TimeForm
from guardproxy.profile.shapes import char_matcher, matcher
from guardproxy.profile.times import EPOCHS, UNITS, read_moment
from guardproxy.table import Cell, Vector


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
    TOO_SHORT = 10
    CHARACTERS = 11
    PATTERN = 12
    TOO_RECENT = 13
    TOO_OLD = 14
    NORM_BELOW = 15
    NORM_ABOVE = 16
    APART = 17


@dataclass(frozen=True, slots=True)
class Limit:
    """One field's comparison: `numeric` fields by block, others cell by cell.

    A `required` field has no missing cell; an `expected` one may not be wanting as a whole. `closed` is the set of
    allowed values, None where any is; `shortest` and `longest` bound a text's characters or an array's members, `chars` and `pattern`
    its characters and its form. `low` and `high` bound numbers, an array's members, or the lag of a moment in seconds.
    `sentinels` are inside wherever the bounds stand.
    """

    profile: FieldProfile
    low: float
    high: float
    numeric: bool
    required: bool = False
    expected: bool = False
    whole: bool = False
    closed: frozenset[Cell] | None = None
    shortest: int = 0
    longest: int | None = None
    chars: re.Pattern[str] | None = None
    pattern: re.Pattern[str] | None = None
    forms: frozenset[TimeForm] = frozenset()
    timed: bool = False
    sentinels: frozenset[float] = frozenset()


_MOST: Final = float(np.finfo(np.float64).max)
_FLOAT32_MOST: Final = 3e38
_ISO_ONLY: Final = frozenset({TimeForm.ISO})


def limit_of(profile: FieldProfile, band: tuple[float, float] | None) -> Limit | None:
    """Return how a field is compared; None when it is not. `band` are percentiles in the place of the bounds."""
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
        shortest=profile.min_length or 0,
        longest=profile.max_length,
        chars=char_matcher(profile.charset) if profile.charset else None,
        pattern=None if profile.pattern is None else matcher(profile.pattern, profile.charset),
        forms=frozenset(profile.formats) or _ISO_ONLY,
        timed=profile.kind is FieldKind.TIMESTAMP and (profile.low is not None or profile.high is not None),
        sentinels=frozenset(value for value, _ in profile.sentinels) if bounded else frozenset(),
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


def position_of(limit: Limit, cell: Cell, at: float = math.nan) -> Position:
    """Return the position of one cell of a field that is no number.

    `at` is when its row happened, in Unix seconds, NaN where that is unknown: then the lag of a moment is not judged.
    """
    if cell is None:
        return Position.MISSING if limit.required else Position.INSIDE
    return _POSITIONS.get(limit.profile.kind, _of_text)(limit, cell, at)


def number_position(limit: Limit, cell: Cell) -> Position:
    """Return the position of one cell that a number field keeps exact: text, yes/no, a vector, a huge whole number."""
    if cell is None:
        return Position.MISSING if limit.required else Position.INSIDE
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return Position.TYPE
    if cell in limit.sentinels:
        return Position.INSIDE
    if cell in (float("inf"), float("-inf")):
        return Position.NOT_FINITE
    if cell < limit.low:
        return Position.BELOW
    if cell > limit.high:
        return Position.ABOVE
    if limit.whole and cell != int(cell):
        return Position.NOT_WHOLE
    return Position.UNSEEN if limit.closed is not None and cell not in limit.closed else Position.INSIDE


def lag_of(limit: Limit, cell: Cell, at: float) -> float:
    """Return by how many seconds a moment lies before `at`, NaN where either is unknown."""
    moment = _moment(limit, cell)
    return math.nan if moment is None else at - moment[1]


def norm_of(vector: Vector) -> float:
    """Return the Euclidean norm of an array, NaN where a member is missing."""
    members = np.array(vector, dtype=np.float64)
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.dot(members, members)))


def _of_text(limit: Limit, cell: Cell, _: float) -> Position:
    if not isinstance(cell, str):
        return Position.TYPE
    if limit.closed is not None and cell not in limit.closed:
        return Position.UNSEEN
    if limit.longest is not None and len(cell) > limit.longest:
        return Position.TOO_LONG
    if len(cell) < limit.shortest:
        return Position.TOO_SHORT
    if limit.pattern is not None and limit.pattern.fullmatch(cell) is not None:
        # The pattern's letters are those of the characters that may occur, and all else in it was learned.
        return Position.INSIDE
    if limit.chars is not None and limit.chars.fullmatch(cell) is None:
        return Position.CHARACTERS
    return Position.INSIDE if limit.pattern is None else Position.PATTERN


def _of_boolean(_limit: Limit, cell: Cell, _: float) -> Position:
    # Tensors and data frames carry yes and no as 1 and 0.
    return Position.INSIDE if isinstance(cell, bool) or cell in (0, 1) else Position.TYPE


def _of_moment(limit: Limit, cell: Cell, at: float) -> Position:
    moment = _moment(limit, cell)
    if moment is None or moment[0] not in limit.forms:
        return Position.TYPE
    lag = at - moment[1]
    if not limit.timed or lag != lag:
        return Position.INSIDE
    if lag < limit.low:
        return Position.TOO_RECENT
    return Position.TOO_OLD if lag > limit.high else Position.INSIDE


def _moment(limit: Limit, cell: Cell) -> tuple[TimeForm, float] | None:
    if isinstance(cell, str):
        return read_moment(cell)
    if isinstance(cell, (bool, tuple)) or cell is None:
        return None
    for form, (low, high) in EPOCHS.items():
        if form in limit.forms and low <= cell < high:
            return form, float(cell) * UNITS[form]
    return None


def _of_array(limit: Limit, cell: Cell, _: float) -> Position:
    if not isinstance(cell, tuple):
        return Position.TYPE
    if limit.longest is not None and len(cell) > limit.longest:
        return Position.TOO_LONG
    if len(cell) < limit.shortest:
        return Position.TOO_SHORT
    members = np.array(cell, dtype=np.float64)
    if not len(members):
        return Position.INSIDE
    least, most = float(members.min()), float(members.max())
    if least != least or most - most != 0.0 or least - least != 0.0:
        broken = MissingKind.NAN in dict(limit.profile.missing_kinds)
        return Position.INSIDE if broken else Position.NOT_FINITE
    if least < limit.low:
        return Position.BELOW
    if most > limit.high:
        return Position.ABOVE
    return _of_norm(limit.profile, cell)


def _of_norm(profile: FieldProfile, cell: Vector) -> Position:
    if profile.norm_low is None and profile.norm_high is None:
        return Position.INSIDE
    norm = norm_of(cell)
    if profile.norm_low is not None and norm < profile.norm_low:
        return Position.NORM_BELOW
    return (
        Position.NORM_ABOVE if profile.norm_high is not None and norm > profile.norm_high else Position.INSIDE
    )


_POSITIONS: Final[Mapping[FieldKind, Callable[[Limit, Cell, float], Position]]] = MappingProxyType(
    {
        FieldKind.BOOLEAN: _of_boolean,
        FieldKind.TIMESTAMP: _of_moment,
        FieldKind.ARRAY: _of_array,
    }
)
