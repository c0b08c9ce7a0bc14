"""Where the bounds of a field's numbers stand: each side on its own, given the false alarms allowed.

Decides what a side is read from (the common sign, a mass point, the tail, the growth of the extreme), how much room the held-back rows
gave it, and how a bound is rounded. Which numbers of a field are bounded so is left to `fit`, the arithmetic of tails to `tails`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Final, NamedTuple

import numpy as np

from guardproxy.profile.model import KNOTS, Method, Sign
from guardproxy.profile.numbers import NumberSummary, Places
from guardproxy.profile.tails import ATOM_SHARE, gpd_bound, growth
from guardproxy.table import Floats

_EXACT_DIGITS: Final = 6
_LONGEST: Final = 2**31


@dataclass(frozen=True, slots=True)
class Slack:
    """How much room beyond its tail the held-back rows asked for a field.

    `low` and `high` count the doublings of that side's margin, `length` and `short` those of the longest and the shortest length,
    `norm` those of an array's norm on both sides; the rest gives up a fact.
    """

    low: int = 0
    high: int = 0
    length: int = 0
    short: int = 0
    norm: int = 0
    opened: bool = False
    optional: bool = False
    fractional: bool = False
    formless: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """The false alarms allowed: `row` for all fields of a row together, `field` for one of them."""

    row: float
    field: float


class Bounds(NamedTuple):
    """Two inclusive bounds and where each comes from."""

    low: float
    low_method: Method
    high: float
    high_method: Method


def bounds_of(
    numbers: NumberSummary, sign: Sign, alpha: float, low_slack: int, high_slack: int, *, closed: bool = False
) -> Bounds:
    """Return the bounds that a next number is beyond with probability `alpha` a side.

    `closed` says that the numbers seen are all there are, so nothing is added to their extremes. Only where there are numbers.
    """
    low, low_method = _lower(numbers, sign, closed, alpha, low_slack)
    high, high_method = _upper(numbers, sign, closed, alpha, high_slack)
    return Bounds(low, low_method, high, high_method)


def sign_of(numbers: NumberSummary) -> Sign:
    """Return the sign class that all numbers share."""
    low, high = numbers.minimum, numbers.maximum
    if low >= 0.0:
        return Sign.POSITIVE if low > 0.0 else Sign.NON_NEGATIVE
    if high <= 0.0:
        return Sign.NEGATIVE if high < 0.0 else Sign.NON_POSITIVE
    return Sign.ANY


def _upper(
    numbers: NumberSummary, sign: Sign, closed: bool, alpha: float, slack: int
) -> tuple[float, Method]:
    if sign is Sign.NON_POSITIVE:
        return 0.0, Method.STRUCTURAL
    half = numbers.course.half()
    turn = _log_distance if sign is Sign.NEGATIVE else np.positive
    side = _Side(
        turn(numbers.largest), numbers.largest_at, numbers.count, numbers.at_maximum, closed, alpha, slack
    )
    bound, method = _extend(side, None if half is None else (float(turn(np.float64(half[1]))), half[2]))
    if bound <= side.largest[0]:
        return numbers.maximum, method
    return (-math.exp(-bound) if sign is Sign.NEGATIVE else bound), method


def _lower(
    numbers: NumberSummary, sign: Sign, closed: bool, alpha: float, slack: int
) -> tuple[float, Method]:
    if sign is Sign.NON_NEGATIVE:
        return 0.0, Method.STRUCTURAL
    half = numbers.course.half()
    # The logarithm keeps the bound of positive values above zero.
    turn = _log_distance if sign is Sign.POSITIVE else np.negative
    side = _Side(
        turn(numbers.smallest), numbers.smallest_at, numbers.count, numbers.at_minimum, closed, alpha, slack
    )
    bound, method = _extend(side, None if half is None else (float(turn(np.float64(half[0]))), half[2]))
    if bound <= side.largest[0]:
        return numbers.minimum, method
    return (math.exp(-bound) if sign is Sign.POSITIVE else -bound), method


def _log_distance(values: Any) -> Any:
    """Return how near values of one sign are to zero, growing without end as they come nearer."""
    return -np.log(np.abs(values))


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a field, turned so that the bound is an upper one."""

    largest: Floats
    at: Places
    count: int
    at_most: int
    closed: bool
    alpha: float
    slack: int


def _extend(side: _Side, half: tuple[float, int] | None) -> tuple[float, Method]:
    """Place the bound of one side: at the extreme, at its tail's end, or as far as the extreme has been growing."""
    most = float(side.largest[0])
    bound, method = most, Method.DOMAIN
    if not side.closed and side.at_most < ATOM_SHARE * side.count:
        bound, method = gpd_bound(side.largest, side.count, side.alpha, side.at), Method.GPD
    if half is not None and not side.closed:
        grown = growth(side.largest, side.count, half[0], side.count - half[1])
        if most + grown > bound:
            bound, method = most + grown, Method.GROWTH
    if side.slack:
        spread = most - float(side.largest[-1])
        margin = max(bound - most, 0.05 * spread, 0.01 * abs(most))
        bound, method = most + margin * 2.0**side.slack, Method.WIDENED
    return bound, method


def longest_of(lengths: NumberSummary, alpha: float, slack: int) -> int:
    """Bound a length from above: by the tail of the logarithms of the lengths, at least the longest one."""
    if lengths.count == 0:
        return 0
    logs = np.log(lengths.largest + 1.0)
    longest = lengths.maximum
    atom = lengths.at_maximum >= ATOM_SHARE * lengths.count
    bound = longest if atom else math.exp(min(gpd_bound(logs, lengths.count, alpha), 20.0)) - 1.0
    if slack:
        bound = longest + max(bound - longest, 0.1 * longest, 1.0) * 2.0**slack
    return min(math.ceil(bound), _LONGEST)


def shortest_of(lengths: NumberSummary, alpha: float, slack: int) -> int:
    """Bound a length from below: by the tail of the logarithms of the lengths, at most the shortest one."""
    if lengths.count == 0:
        return 0
    logs = -np.log(lengths.smallest + 1.0)
    shortest = lengths.minimum
    atom = lengths.at_minimum >= ATOM_SHARE * lengths.count
    bound = shortest if atom else math.exp(-gpd_bound(logs, lengths.count, alpha)) - 1.0
    if slack:
        bound = shortest - max(shortest - bound, 0.1 * shortest, 1.0) * 2.0**slack
    return max(0, math.floor(bound + 1e-9))


def knots_of(sample: Floats, numbers: NumberSummary) -> tuple[float, ...]:
    """Return the percentiles KNOTS: exactly where all values are counted or the extremes reach, else from the sample."""
    finite = sample[~np.isnan(sample)]
    if numbers.distinct:
        counted = sorted(numbers.distinct.items())
        ends = np.cumsum([entry[0] for _, entry in counted])
        return _ordered(
            [_at_rank(counted, ends, percent / 100.0 * (numbers.count - 1)) for percent in KNOTS], numbers
        )
    if not len(finite):
        return ()
    # Scaled, so that interpolation between two huge values cannot overflow.
    scale = max(1.0, float(np.abs(finite).max()) / 1e300)
    values = (np.percentile(finite / scale, KNOTS) * scale).tolist()
    for position, percent in enumerate(KNOTS):
        rank = percent / 100.0 * (numbers.count - 1)
        below, above = int(rank), int(numbers.count - 1 - rank)
        if below + 1 < len(numbers.smallest):
            values[position] = _between(numbers.smallest, rank)
        elif above + 1 < len(numbers.largest):
            values[position] = _between(numbers.largest, numbers.count - 1 - rank)
    return _ordered(values, numbers)


def _ordered(values: Sequence[float], numbers: NumberSummary) -> tuple[float, ...]:
    ordered = np.maximum.accumulate([short(value) for value in values])
    return tuple(np.clip(ordered, numbers.minimum, numbers.maximum).tolist())


def _at_rank(counted: Sequence[tuple[float, list[int]]], ends: Places, rank: float) -> float:
    """Return the value at a rank, from 0, of counted values in ascending order; between two ranks in proportion."""
    ranks = int(rank), min(int(rank) + 1, int(ends[-1]) - 1)
    left, right = (int(place) for place in np.searchsorted(ends, ranks, side="right"))
    share = rank - int(rank)
    lower, upper = counted[left][0], counted[right][0]
    return lower * (1.0 - share) + upper * share


def _between(ordered: Floats, rank: float) -> float:
    left = int(rank)
    share = rank - left
    return float(ordered[left]) * (1.0 - share) + float(ordered[left + 1]) * share


def short(value: float) -> float:
    """Round to as many digits as a profile shows."""
    return float(f"{value:.{_EXACT_DIGITS}g}")


def short_or_none(value: float) -> float | None:
    """Round to as many digits as a profile shows; None for what is not finite."""
    return short(value) if math.isfinite(value) else None


def outward(low: float, high: float, *, whole: bool, sign: Sign) -> tuple[float, float]:
    """Round both bounds outward, to whole numbers or to six digits, without touching zero where the sign forbids it."""
    if not whole:
        return _round(low, ROUND_FLOOR), _round(high, ROUND_CEILING)
    low, high = float(math.floor(low)), float(math.ceil(high))
    return (max(low, 1.0) if sign is Sign.POSITIVE else low), (
        min(high, -1.0) if sign is Sign.NEGATIVE else high
    )


def _round(value: float, rounding: str) -> float:
    """Round to six digits. A float's shortest text is taken as the number that was meant."""
    rounded = float(Context(prec=_EXACT_DIGITS, rounding=rounding).create_decimal(Decimal(repr(value))))
    return rounded if math.isfinite(rounded) else value
