"""From a summary to a field's profile: its structural facts, its bounds.

Decides which facts of each kind are stated and which are enforced (`fit_field`), given the false-alarm budget of the field. What
kind a field is of is left to `kinds`, where a side's bound stands to `bounds`, how the budget is divided and how the held-back rows
loosen a bound to `learn`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from guardproxy.profile.bounds import (
    Budget,
    Slack,
    bounds_of,
    knots_of,
    longest_of,
    outward,
    short,
    short_or_none,
    shortest_of,
    sign_of,
)
from guardproxy.profile.columns import number_text
from guardproxy.profile.kinds import MIN_LAGS, Usual, kind_of, usual_numbers
from guardproxy.profile.model import CONFIDENCE, FieldKind, FieldProfile, MissingKind, Role, Sign
from guardproxy.profile.summary import FieldSummary
from guardproxy.profile.tails import arrived_late, share_upper_bound, unseen_mass
from guardproxy.profile.texts import MAX_TEXT
from guardproxy.table import Cell, Floats

MAX_DOMAIN: Final = 256
TOP: Final = 10

CLOCK_SKEW_S: Final = 5.0
"""By so many seconds the clocks of two machines may differ; the bounds of a lag leave as much room on both sides."""

_NORM_ROUNDING: Final = 1e-5
_EXAMPLES: Final = 2
_UNSURE: Final = 0.01
"""By up to this share a count of a text may be too high; of many texts only so sure ones are named."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one field. `sample` are reservoir values, NaN where missing, for the knots; `grain` is by how many seconds
    the time column may have been rounded down."""

    summary: FieldSummary
    usual: Usual
    sample: Floats
    grain: float
    budget: Budget
    slack: Slack


def fit_field(
    name: str,
    role: Role,
    summary: FieldSummary,
    sample: Floats,
    budget: Budget,
    slack: Slack,
    grain: float = 0.0,
) -> FieldProfile:
    """Return what a field's summary says of it; see `Evidence` for the arguments. A key carries no bounds."""
    kind = kind_of(summary)
    usual = usual_numbers(summary) if kind in _WITH_SENTINELS else Usual(summary.numbers, ())
    numeric = kind in _OF_NUMBERS
    stray = summary.texts.count if numeric else 0
    missing = summary.missing + stray
    base = FieldProfile(
        name=name,
        kind=kind,
        role=role,
        rows=summary.rows,
        missing_rate=short(missing / summary.rows) if summary.rows else 0.0,
        distinct=_distinct(summary, numeric=numeric),
        missing_kinds=_missing_kinds(summary, stray),
        sentinels=usual.sentinels,
        note=f"{stray} cells hold text{_such_as(summary)} and are read as missing" if stray else "",
    )
    fitted = _FITS[kind](base, Evidence(summary, usual, sample, grain, budget, slack))
    if role is Role.KEY:
        return unbounded(fitted)
    required = kind is not FieldKind.CONSTANT and not slack.optional
    return replace(fitted, required=required and _always_there(missing, summary.rows, budget))


def _fit_constant(base: FieldProfile, known: Evidence) -> FieldProfile:
    summary = known.summary
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
    return noted(replace(base, domain=(value,), top=((value, count),) if count else ()), note)


def _fit_identifier(base: FieldProfile, _: Evidence) -> FieldProfile:
    return noted(base, "grows or falls with nearly every row: only its type is checked")


def _fit_numbers(base: FieldProfile, known: Evidence) -> FieldProfile:
    numbers, budget, slack = known.usual.numbers, known.budget, known.slack
    whole = numbers.whole and not slack.fractional
    sign = sign_of(numbers)
    domain = sorted(numbers.distinct) if numbers.distinct and len(numbers.distinct) <= MAX_DOMAIN else None
    seen = [(entry[0], entry[1]) for entry in (numbers.distinct or {}).values()]
    late = any(arrived_late(first, count, numbers.count, len(seen)) for count, first in seen)
    unseen = unseen_mass(sum(count == 1 for count, _ in seen), numbers.count) if domain else None
    # A number with a fraction may reach us rounded to float32, so only whole numbers can be members of a set.
    closed = bool(domain) and whole and not late and not slack.opened and (unseen or 0.0) <= budget.field
    bounds = bounds_of(numbers, sign, budget.field / 2, slack.low, slack.high, closed=closed)
    low, high = outward(bounds.low, bounds.high, whole=whole, sign=sign)
    signs = [value for value, _ in known.usual.sentinels]
    fitted = replace(
        base,
        low=low,
        high=high,
        low_method=bounds.low_method,
        high_method=bounds.high_method,
        alpha=budget.field / 2,
        whole=whole,
        sign=sign,
        domain=tuple(domain) if domain and whole else None,
        closed=closed,
        unseen_mass=short(unseen) if unseen is not None else None,
        top=_top((value, entry[0]) for value, entry in (numbers.distinct or {}).items()) if domain else (),
        minimum=numbers.minimum,
        maximum=numbers.maximum,
        mean=short_or_none(numbers.mean),
        std=short_or_none(numbers.std),
        knots=knots_of(known.sample[~np.isin(known.sample, signs)] if signs else known.sample, numbers),
    )
    if signs:
        told = ", ".join(number_text(value) for value in signs)
        fitted = noted(
            fitted, f"{told} stands for a missing value: it is inside, and no bound reaches for it"
        )
    return (
        noted(fitted, "new values kept arriving late in the file: the set stays open")
        if late and whole
        else fitted
    )


def _fit_boolean(base: FieldProfile, known: Evidence) -> FieldProfile:
    texts = known.summary.texts
    yes = sum(count for text, (count, _) in texts.counts.items() if text.lower() == "true")
    return replace(base, domain=(False, True), top=_top([(True, yes), (False, texts.count - yes)]))


def _fit_category(base: FieldProfile, known: Evidence) -> FieldProfile:
    summary, seen = known.summary, _seen(known.summary)
    count = summary.texts.count + summary.numbers.count
    unseen = unseen_mass(sum(c == 1 for c, _ in seen.values()), count)
    late = any(arrived_late(first, c, count, len(seen)) for c, first in seen.values())
    few = len(seen) <= MAX_DOMAIN
    fitted = replace(
        _fit_lengths(base, known),
        domain=tuple(sorted(seen)) if few else None,
        closed=few and not late and not known.slack.opened and unseen <= known.budget.field,
        unseen_mass=short(unseen),
    )
    return noted(fitted, "new values kept arriving late in the file: the set stays open") if late else fitted


def _fit_text(base: FieldProfile, known: Evidence) -> FieldProfile:
    """State a text's lengths, and its characters and its pattern where hardly any text can lack them.

    As with a set of values, the share of texts of another form is judged by Good-Turing with one more such text than was seen.
    """
    fitted = _fit_lengths(base, known)
    shape, numbers = known.summary.texts.shape, known.summary.numbers.count
    if known.slack.formless or numbers or not shape.count:
        return fitted
    charset, once = shape.charset()
    if unseen_mass(once, shape.count) <= known.budget.field:
        fitted = replace(fitted, charset=charset)
    found = shape.pattern()
    if found is not None and unseen_mass(shape.count - found[1], shape.count) <= known.budget.field:
        fitted = replace(fitted, pattern=found[0], pattern_coverage=short(found[1] / shape.count))
    return fitted


def _fit_lengths(base: FieldProfile, known: Evidence) -> FieldProfile:
    summary, alpha = known.summary, known.budget.field / 2
    if summary.numbers.count and summary.texts.count:
        share = 100.0 * summary.numbers.count / (summary.numbers.count + summary.texts.count)
        told = f"{share:.2g} % of the cells are numbers, the others texts{_such_as(summary)}: all are read as texts"
        base = noted(base, told)
    return replace(
        base,
        top=_top(
            (text, count)
            for text, (count, _) in _seen(summary).items()
            if len(text) <= MAX_TEXT and summary.texts.floor <= _UNSURE * count
        ),
        # A number among texts has a text of a length that nobody measured.
        min_length=None
        if summary.numbers.count
        else shortest_of(summary.texts.lengths, alpha, known.slack.short),
        max_length=longest_of(summary.texts.lengths, alpha, known.slack.length),
    )


def _fit_moments(base: FieldProfile, known: Evidence) -> FieldProfile:
    """State the forms of moments, and bounds of their lag where there is a time column."""
    summary, alpha = known.summary, known.budget.field / 2
    forms = summary.texts.shape.forms or {}
    ranked = sorted(forms, key=lambda form: -forms[form])
    formats = tuple(ranked) or ((summary.epoch,) if summary.epoch is not None else ())
    fitted = replace(base, formats=formats)
    if len(ranked) > 1:
        told = ", ".join(f"{form} ({forms[form]:,})" for form in ranked)
        fitted = noted(fitted, f"moments in {len(ranked)} forms, {told}: all of them are accepted")
    if summary.lags.count < MIN_LAGS:
        return noted(fitted, "a moment: only its form is checked")
    bounds = bounds_of(summary.lags, sign_of(summary.lags), alpha, known.slack.low, known.slack.high)
    # What was rounded down to days or hours in the data is not when a request comes.
    low, high = bounds.low - CLOCK_SKEW_S, bounds.high + CLOCK_SKEW_S + known.grain
    return replace(
        fitted,
        low=float(math.floor(low)),
        high=float(math.ceil(high)),
        low_method=bounds.low_method,
        high_method=bounds.high_method,
        alpha=alpha,
    )


def _fit_arrays(base: FieldProfile, known: Evidence) -> FieldProfile:
    """State the lengths, the members and the norms of arrays; each of their six bounds has the same share of the budget."""
    arrays, slack = known.summary.arrays, known.slack
    alpha = known.budget.field / 6
    others = known.summary.numbers.count + known.summary.texts.count
    fitted = replace(
        base,
        alpha=alpha,
        min_length=shortest_of(arrays.lengths, alpha, slack.short),
        max_length=longest_of(arrays.lengths, alpha, slack.length),
    )
    if others:
        fitted = noted(fitted, f"{others} cells hold no array")
    if arrays.broken:
        fitted = noted(fitted, f"{arrays.broken} arrays have a member that is no finite number")
    if not arrays.lows.count:
        return fitted
    lows = bounds_of(arrays.lows, sign_of(arrays.lows), alpha, slack.low, slack.high)
    highs = bounds_of(arrays.highs, sign_of(arrays.highs), alpha, slack.low, slack.high)
    norms = bounds_of(arrays.norms, sign_of(arrays.norms), alpha, slack.norm, slack.norm)
    low, high = outward(lows.low, highs.high, whole=False, sign=Sign.ANY)
    norm_low, norm_high = outward(
        norms.low * (1.0 - _NORM_ROUNDING), norms.high * (1.0 + _NORM_ROUNDING), whole=False, sign=Sign.ANY
    )
    return replace(
        fitted,
        low=low,
        high=high,
        low_method=lows.low_method,
        high_method=highs.high_method,
        norm_low=norm_low,
        norm_high=norm_high,
    )


_FITS: Final[Mapping[FieldKind, Callable[[FieldProfile, Evidence], FieldProfile]]] = MappingProxyType(
    {
        FieldKind.NUMBER: _fit_numbers,
        FieldKind.INTEGER: _fit_numbers,
        FieldKind.BOOLEAN: _fit_boolean,
        FieldKind.CATEGORY: _fit_category,
        FieldKind.TEXT: _fit_text,
        FieldKind.TIMESTAMP: _fit_moments,
        FieldKind.ARRAY: _fit_arrays,
        FieldKind.CONSTANT: _fit_constant,
        FieldKind.IDENTIFIER: _fit_identifier,
    }
)
_OF_NUMBERS: Final = frozenset({FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.IDENTIFIER})
_WITH_SENTINELS: Final = frozenset({FieldKind.NUMBER, FieldKind.INTEGER})


def noted(base: FieldProfile, text: str) -> FieldProfile:
    """Return the field with one more thing in its note."""
    return replace(base, note=f"{base.note}; {text}" if base.note else text)


def unbounded(fitted: FieldProfile) -> FieldProfile:
    """Return the field with nothing to check but its type, and whether it is there."""
    return replace(
        fitted,
        low=None,
        high=None,
        low_method=None,
        high_method=None,
        closed=False,
        min_length=None,
        max_length=None,
        charset=(),
        pattern=None,
        pattern_coverage=None,
        norm_low=None,
        norm_high=None,
    )


def _seen(summary: FieldSummary) -> dict[str, tuple[int, int]]:
    """Return count and first position of every value, numbers as texts."""
    seen = {text: (entry[0], entry[1]) for text, entry in summary.texts.counts.items()}
    for value, entry in (summary.numbers.distinct or {}).items():
        seen[number_text(value)] = (entry[0], entry[1])
    return seen


def _missing_kinds(summary: FieldSummary, stray: int) -> tuple[tuple[MissingKind, int], ...]:
    counts = {**summary.kinds, MissingKind.TEXT: stray, MissingKind.EMPTY: summary.texts.shape.empty}
    if summary.arrays.broken:
        counts[MissingKind.NAN] = counts.get(MissingKind.NAN, 0) + summary.arrays.broken
    return tuple((kind, counts[kind]) for kind in MissingKind if counts.get(kind))


def _distinct(summary: FieldSummary, *, numeric: bool) -> int:
    """Return how many values differ, about; an estimate may exceed what there is."""
    numbers, texts = summary.numbers, summary.texts
    found = min(numbers.sketch.estimate(), numbers.count)
    return found if numeric else found + min(texts.sketch.estimate(), texts.count)


def _such_as(summary: FieldSummary) -> str:
    examples = [f"'{text[:20]}'" for text in list(summary.texts.counts)[:_EXAMPLES]]
    return f" (such as {', '.join(examples)})" if examples else ""


def _always_there(missing: int, rows: int, budget: Budget) -> bool:
    """Decide whether a missing cell is a violation.

    A field that now and then is missing must stay within its own share of the budget. Of the fields that never were,
    no row had one missing: that is one fact about whole rows, so it takes the budget of the row.
    """
    limit = budget.row if missing == 0 else budget.field
    return share_upper_bound(missing, rows, CONFIDENCE) <= limit


def _top(counted: Iterable[tuple[Cell, int]]) -> tuple[tuple[Cell, int], ...]:
    ranked = sorted(counted, key=lambda item: (-item[1], str(item[0])))
    return tuple(ranked[:TOP])
