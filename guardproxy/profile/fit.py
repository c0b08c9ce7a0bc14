"""From a summary to a field's profile: its kind, its structural facts, its bounds.

Decides what a column is (`kind_of`) and where its bounds stand (`fit_field`), given the false-alarm budget of the field.
How the budget is divided and how the held-back rows loosen a bound (`Slack`) is left to `learn`.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Final

import numpy as np

from guardproxy.profile.columns import MAX_TEXT, FieldSummary, NumberSummary, Places, TextSummary, number_text
from guardproxy.profile.model import CONFIDENCE, KNOTS, FieldKind, FieldProfile, Method, Role, Sign
from guardproxy.profile.tails import (
    ATOM_SHARE,
    arrived_late,
    gpd_bound,
    growth,
    share_upper_bound,
    unseen_mass,
)
from guardproxy.table import Cell, Floats

MAX_DOMAIN: Final = 256
TOP: Final = 10

TIMESTAMP: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?", re.ASCII
)
"""A date or a moment in ISO 8601, as clients write it."""

BOOLEAN_TEXTS: Final = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})
STRAY_TEXTS: Final = 0.01
"""Up to this share of texts (`?`, `n/a`) in a column of numbers are read as missing."""

UNENFORCED: Final = frozenset({FieldKind.CONSTANT, FieldKind.IDENTIFIER})
"""The kinds that are checked for their type alone, and need no share of the budget."""

_MONOTONE: Final = 0.99
_EXACT_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Slack:
    """How much room beyond its tail the held-back rows asked for a field.

    `low` and `high` count the doublings of that side's margin, `length` those of a text's; the rest gives up a fact.
    """

    low: int = 0
    high: int = 0
    length: int = 0
    opened: bool = False
    optional: bool = False
    fractional: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """The false alarms allowed: `row` for all fields of a row together, `field` for one of them."""

    row: float
    field: float


def kind_of(summary: FieldSummary) -> FieldKind:
    """Decide what sort of values a column holds."""
    numbers, texts = summary.numbers, summary.texts
    present = numbers.count + texts.count
    if present == 0 or (numbers.count == 0 and texts.exact and len(texts.counts) == 1):
        return FieldKind.CONSTANT
    if texts.count <= STRAY_TEXTS * present and not summary.literal:
        if numbers.at_minimum == numbers.count:
            return FieldKind.CONSTANT
        if max(numbers.rises, numbers.falls) >= _MONOTONE * (numbers.count - 1):
            return FieldKind.IDENTIFIER
        return FieldKind.INTEGER if numbers.whole else FieldKind.NUMBER
    return _kind_of_texts(numbers, texts)


def fit_field(
    name: str, role: Role, summary: FieldSummary, sample: Floats, budget: Budget, slack: Slack
) -> FieldProfile:
    """Return what a field's summary says of it.

    `sample` are reservoir values of the field, NaN where missing, for the knots. A key carries no bounds.
    """
    kind = kind_of(summary)
    numeric = kind in {FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.IDENTIFIER}
    stray = summary.texts.count if numeric else 0
    missing = summary.missing + stray
    base = FieldProfile(
        name=name,
        kind=kind,
        role=role,
        rows=summary.rows,
        missing_rate=_short(missing / summary.rows) if summary.rows else 0.0,
        distinct=summary.numbers.sketch.estimate() + (0 if numeric else summary.texts.sketch.estimate()),
        note=f"{stray} cells hold text and are read as missing" if stray else "",
    )
    if kind in {FieldKind.NUMBER, FieldKind.INTEGER}:
        base = _fit_numbers(base, summary.numbers, sample, budget, slack)
    elif kind is FieldKind.CONSTANT:
        base = _fit_constant(base, summary)
    elif kind is FieldKind.IDENTIFIER:
        base = _note(base, "grows or falls with nearly every row: only its type is checked")
    else:
        base = _fit_texts(base, summary, budget, slack)
    if role is Role.KEY:
        return replace(base, low=None, high=None, low_method=None, high_method=None, closed=False)
    required = kind is not FieldKind.CONSTANT and not slack.optional
    return replace(base, required=required and _always_there(missing, summary.rows, budget))


def loosest(checked: FieldProfile, final: FieldProfile) -> FieldProfile:
    """Return `final`, loosened where `checked` is looser.

    What was proved of the checked bounds (a share of flagged rows) then holds for the result, which flags no other row.
    """
    if checked.kind in UNENFORCED and final.kind is not checked.kind:
        note = f"was {checked.kind} until late in the file: nothing but its type is checked"
        opened = replace(final, low=None, low_method=None, high=None, high_method=None, max_length=None)
        return _note(replace(opened, required=False, closed=False, whole=False), note)
    low, low_method = final.low, final.low_method
    high, high_method = final.high, final.high_method
    if low is not None and (checked.low is None or checked.low < low):
        low, low_method = checked.low, checked.low_method
    if high is not None and (checked.high is None or checked.high > high):
        high, high_method = checked.high, checked.high_method
    lengths = (checked.max_length, final.max_length)
    return replace(
        final,
        low=low,
        low_method=low_method,
        high=high,
        high_method=high_method,
        required=checked.required and final.required,
        closed=checked.closed and final.closed,
        whole=checked.whole and final.whole,
        max_length=None if None in lengths else max(length for length in lengths if length is not None),
    )


def _kind_of_texts(numbers: NumberSummary, texts: TextSummary) -> FieldKind:
    values = texts.counts.keys()
    if numbers.count == 0 and texts.exact:
        if values <= BOOLEAN_TEXTS:
            return FieldKind.BOOLEAN
        if all(TIMESTAMP.fullmatch(value) for value in values):
            return FieldKind.TIMESTAMP
    elif numbers.count == 0 and all(TIMESTAMP.fullmatch(value) for value in values):
        return FieldKind.TIMESTAMP
    distinct = len(texts.counts) + (len(numbers.distinct) if numbers.distinct is not None else 10**9)
    few = distinct <= 20 or distinct * 5 <= texts.count + numbers.count
    short = texts.lengths.maximum <= MAX_TEXT
    return FieldKind.CATEGORY if texts.exact and few and short else FieldKind.TEXT


def _fit_constant(base: FieldProfile, summary: FieldSummary) -> FieldProfile:
    value: Cell = None
    if summary.numbers.count:
        value = summary.numbers.minimum
    elif summary.texts.count:
        value = next(iter(summary.texts.counts))
    note = (
        "nothing but missing cells"
        if value is None
        else "one value throughout: a change of it is no violation"
    )
    count = summary.numbers.count + summary.texts.count
    return _note(replace(base, domain=(value,), top=((value, count),) if count else ()), note)


def _fit_numbers(
    base: FieldProfile, numbers: NumberSummary, sample: Floats, budget: Budget, slack: Slack
) -> FieldProfile:
    whole = numbers.whole and not slack.fractional
    sign = _sign(numbers)
    domain = sorted(numbers.distinct) if numbers.distinct and len(numbers.distinct) <= MAX_DOMAIN else None
    seen = [(entry[0], entry[1]) for entry in (numbers.distinct or {}).values()]
    late = any(arrived_late(first, count, numbers.count, len(seen)) for count, first in seen)
    unseen = unseen_mass(sum(count == 1 for count, _ in seen), numbers.count) if domain else None
    # A number with a fraction may reach us rounded to float32, so only whole numbers can be members of a set.
    closed = bool(domain) and whole and not late and not slack.opened and (unseen or 0.0) <= budget.field
    low, low_method = _lower(numbers, sign, closed, budget.field / 2, slack.low)
    high, high_method = _upper(numbers, sign, closed, budget.field / 2, slack.high)
    low, high = _outward(low, high, whole, sign)
    fitted = replace(
        base,
        low=low,
        high=high,
        low_method=low_method,
        high_method=high_method,
        alpha=budget.field / 2,
        whole=whole,
        sign=sign,
        domain=tuple(domain) if domain and whole else None,
        closed=closed,
        unseen_mass=_short(unseen) if unseen is not None else None,
        top=_top((value, entry[0]) for value, entry in (numbers.distinct or {}).items()) if domain else (),
        minimum=numbers.minimum,
        maximum=numbers.maximum,
        mean=_short_or_none(numbers.mean),
        std=_short_or_none(numbers.std),
        knots=_knots(sample, numbers),
    )
    return (
        _note(fitted, "new values kept arriving late in the file: the set stays open")
        if late and whole
        else fitted
    )


def _fit_texts(base: FieldProfile, summary: FieldSummary, budget: Budget, slack: Slack) -> FieldProfile:
    texts = summary.texts
    seen = {text: (entry[0], entry[1]) for text, entry in texts.counts.items()}
    for value, entry in (summary.numbers.distinct or {}).items():
        seen[number_text(value)] = (entry[0], entry[1])
    top = _top((text, count) for text, (count, _) in seen.items() if len(text) <= MAX_TEXT)
    if base.kind is FieldKind.BOOLEAN:
        yes = sum(count for text, (count, _) in seen.items() if text.lower() == "true")
        return replace(base, domain=(False, True), top=_top([(True, yes), (False, texts.count - yes)]))
    if base.kind is FieldKind.TIMESTAMP:
        return _note(base, "a moment: only its form is checked")
    if base.kind is FieldKind.TEXT:
        return replace(base, top=top, max_length=_length(texts.lengths, budget.field, slack.length))
    count = texts.count + summary.numbers.count
    unseen = unseen_mass(sum(c == 1 for c, _ in seen.values()), count)
    late = any(arrived_late(first, c, count, len(seen)) for c, first in seen.values())
    few = len(seen) <= MAX_DOMAIN
    fitted = replace(
        base,
        domain=tuple(sorted(seen)) if few else None,
        closed=few and not late and not slack.opened and unseen <= budget.field,
        unseen_mass=_short(unseen),
        top=top,
        max_length=_length(texts.lengths, budget.field, slack.length),
    )
    return _note(fitted, "new values kept arriving late in the file: the set stays open") if late else fitted


def _always_there(missing: int, rows: int, budget: Budget) -> bool:
    """Decide whether a missing cell is a violation.

    A field that now and then is missing must stay within its own share of the budget. Of the fields that never were,
    no row had one missing: that is one fact about whole rows, so it takes the budget of the row.
    """
    limit = budget.row if missing == 0 else budget.field
    return share_upper_bound(missing, rows, CONFIDENCE) <= limit


def _sign(numbers: NumberSummary) -> Sign:
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


def _length(lengths: NumberSummary, alpha: float, slack: int) -> int:
    """Bound the length of a text: the tail of the logarithms of the lengths, at least the longest text."""
    if lengths.count == 0:
        return 0
    logs = np.log(lengths.largest + 1.0)
    longest = lengths.maximum
    atom = lengths.at_maximum >= ATOM_SHARE * lengths.count
    bound = longest if atom else math.exp(min(gpd_bound(logs, lengths.count, alpha), 20.0)) - 1.0
    if slack:
        bound = longest + max(bound - longest, 0.1 * longest, 1.0) * 2.0**slack
    return min(math.ceil(bound), 2**31)


def _knots(sample: Floats, numbers: NumberSummary) -> tuple[float, ...]:
    """Return the percentiles KNOTS: from the exact extremes where these reach, else from the sample."""
    finite = sample[~np.isnan(sample)]
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
    ordered = np.maximum.accumulate([_short(value) for value in values])
    return tuple(np.clip(ordered, numbers.minimum, numbers.maximum).tolist())


def _between(ordered: Floats, rank: float) -> float:
    left = int(rank)
    share = rank - left
    return float(ordered[left]) * (1.0 - share) + float(ordered[left + 1]) * share


def _top(counted: Iterable[tuple[Cell, int]]) -> tuple[tuple[Cell, int], ...]:
    ranked = sorted(counted, key=lambda item: (-item[1], str(item[0])))
    return tuple(ranked[:TOP])


def _note(base: FieldProfile, text: str) -> FieldProfile:
    return replace(base, note=f"{base.note}; {text}" if base.note else text)


def _short(value: float) -> float:
    return float(f"{value:.{_EXACT_DIGITS}g}")


def _short_or_none(value: float) -> float | None:
    return _short(value) if math.isfinite(value) else None


def _outward(low: float, high: float, whole: bool, sign: Sign) -> tuple[float, float]:
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
