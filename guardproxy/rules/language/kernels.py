"""Every operation of the language on whole columns.

Decides how each one is done in numpy so that it gives, row by row, what `semantics` gives. How operations are put
together is left to `vector`.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from guardproxy.rules.language.arrays import (
    FALSE,
    NAN,
    NOTHING,
    TRUE,
    Flags,
    FlagStep,
    Numbers,
    NumberStep,
    Rows,
    Texts,
    TextStep,
    filled,
    object_array,
    text_list,
    three_valued,
)
from guardproxy.rules.language.names import Kind
from guardproxy.rules.language.semantics import COMPARISONS, ORDERINGS, exponential, real
from guardproxy.table import Floats

# Arithmetic.

ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
)


def divided(left: Numbers, right: Numbers) -> Numbers:
    return np.where(right == 0.0, NAN, left / right)


def calculated(function: Callable[[Any, Any], Any], left: NumberStep, right: NumberStep) -> NumberStep:
    return lambda rows: function(left(rows), right(rows))


def _each(function: Callable[[float], float]) -> Callable[[list[Numbers], int], Numbers]:
    """Apply a function of math to every number: numpy's own may differ from it in the last bit."""

    def run(values: list[Numbers], rows: int) -> Numbers:
        return np.array(
            [function(value) for value in np.broadcast_to(values[0], rows).tolist()], dtype=np.float64
        )

    return run


def _logarithm(value: float) -> float:
    return math.log(value) if value > 0.0 else math.nan


def _minimum(values: list[Numbers], _rows: int) -> Numbers:
    result = values[0]
    for value in values[1:]:
        result = np.minimum(result, value)
    return result


def _maximum(values: list[Numbers], _rows: int) -> Numbers:
    result = values[0]
    for value in values[1:]:
        result = np.maximum(result, value)
    return result


def _clamp(values: list[Numbers], _rows: int) -> Numbers:
    return np.minimum(np.maximum(values[0], values[1]), values[2])


EXTREMES: Final[Mapping[str, Callable[[list[Numbers], int], Numbers]]] = MappingProxyType(
    {"min": _minimum, "max": _maximum, "clamp": _clamp}
)
SINGLE: Final[Mapping[str, Callable[[list[Numbers], int], Numbers]]] = MappingProxyType(
    {
        "abs": lambda values, _rows: np.abs(values[0]),
        "sqrt": lambda values, _rows: np.sqrt(values[0]),
        "log": _each(_logarithm),
        "exp": _each(exponential),
    }
)


def rounding(step: NumberStep, digits: int) -> NumberStep:
    if digits == 0:
        return lambda rows: np.rint(step(rows))
    each = _each(lambda value: round(value, digits))
    return lambda rows: each([step(rows)], rows.count)


# Comparisons.

_Pair: TypeAlias = Callable[[Any, Any, int], Flags]

EVERYWHERE: Final = Flags(TRUE, FALSE)

_OPPOSITE: Final[Mapping[str, str]] = MappingProxyType({"<": ">=", "<=": ">", ">": "<=", ">=": "<"})


def always_unknown(_rows: Rows) -> Flags:
    return Flags(FALSE, FALSE)


def negated(step: FlagStep) -> FlagStep:
    def run(rows: Rows) -> Flags:
        yes, no = step(rows)
        return Flags(no, yes)

    return run


def _compare_numbers(sign: str) -> _Pair:
    if sign in ORDERINGS:
        holds, fails = COMPARISONS[sign], COMPARISONS[_OPPOSITE[sign]]

        def ordered(left: Numbers, right: Numbers, _rows: int) -> Flags:
            yes: Any = holds(left, right)
            # Where it holds in all rows, which is the commonest answer of a rule, it fails in none.
            return EVERYWHERE if yes.all() else Flags(yes, fails(left, right))  # type: ignore[arg-type]

        return ordered

    def run(left: Numbers, right: Numbers, _rows: int) -> Flags:
        equal, different = left == right, (left < right) | (left > right)
        return Flags(equal, different) if sign == "==" else Flags(different, equal)

    return run


def _compare_texts(sign: str) -> _Pair:
    compare = COMPARISONS[sign]

    def ordered(left: Texts, right: Texts, rows: int) -> Flags:
        pairs = zip(text_list(left, rows), text_list(right, rows), strict=True)
        return three_valued([None if a is None or b is None else compare(a, b) for a, b in pairs])

    def equal(left: Texts, right: Texts, _rows: int) -> Flags:
        both = left.present & right.present
        # Object arrays compare element by element; None only equals None, which is not in `both`.
        same: Any = left.texts == right.texts
        return Flags(both & same, both & ~np.asarray(same, dtype=np.bool_))

    if sign in ORDERINGS:
        return ordered
    return equal if sign == "==" else lambda left, right, rows: Flags(*reversed(equal(left, right, rows)))


def _compare_flags(sign: str) -> _Pair:
    def run(left: Flags, right: Flags, _rows: int) -> Flags:
        same = (left.yes & right.yes) | (left.no & right.no)
        different = (left.yes & right.no) | (left.no & right.yes)
        return Flags(same, different) if sign == "==" else Flags(different, same)

    return run


COMPARES: Final[Mapping[Kind, Callable[[str], _Pair]]] = MappingProxyType(
    {Kind.NUMBER: _compare_numbers, Kind.TEXT: _compare_texts, Kind.FLAG: _compare_flags}
)


# Lists.

_FEW: Final = 8


def _number_in(step: NumberStep, members: frozenset[Any]) -> FlagStep:
    # A whole number that no float64 can say equals no cell that gets here.
    values = np.array(sorted(float(each) for each in members if real(each) == each), dtype=np.float64)

    def run(rows: Rows) -> Flags:
        numbers = step(rows)
        if len(values) > _FEW:
            found = np.isin(numbers, values)
        else:
            found = np.zeros(np.shape(numbers), dtype=np.bool_)
            for value in values:
                found |= numbers == value
        return Flags(found, ~(found | np.isnan(numbers)))

    return run


def _text_in(step: TextStep, members: frozenset[Any]) -> FlagStep:
    def run(rows: Rows) -> Flags:
        value = step(rows)
        found = np.fromiter((each in members for each in text_list(value, rows.count)), np.bool_, rows.count)
        return Flags(found, value.present & ~found)

    return run


def _flag_in(step: FlagStep, members: frozenset[Any]) -> FlagStep:
    def run(rows: Rows) -> Flags:
        yes, no = step(rows)
        for_yes, for_no = np.bool_(True in members), np.bool_(False in members)
        return Flags((yes & for_yes) | (no & for_no), (yes & ~for_yes) | (no & ~for_no))

    return run


MEMBERSHIPS: Final[Mapping[Kind, Callable[[Any, frozenset[Any]], FlagStep]]] = MappingProxyType(
    {Kind.NUMBER: _number_in, Kind.TEXT: _text_in, Kind.FLAG: _flag_in}
)


# Choices.


def _choose_number(condition: Flags, yes: Numbers, no: Numbers, _rows: int) -> Numbers:
    return np.where(condition.yes, yes, np.where(condition.no, no, NAN))


def _choose_text(condition: Flags, yes: Texts, no: Texts, rows: int) -> Texts:
    otherwise = np.where(condition.no, object_array(no, rows), NOTHING)
    present = (condition.yes & yes.present) | (condition.no & no.present)
    return Texts(np.where(condition.yes, object_array(yes, rows), otherwise), present)


def _choose_flag(condition: Flags, yes: Flags, no: Flags, _rows: int) -> Flags:
    return Flags(
        (condition.yes & yes.yes) | (condition.no & no.yes), (condition.yes & yes.no) | (condition.no & no.no)
    )


def _coalesce_number(left: Numbers, right: Numbers, _rows: int) -> Numbers:
    return np.where(np.isnan(left), right, left)


def _coalesce_text(left: Texts, right: Texts, rows: int) -> Texts:
    texts = np.where(left.present, object_array(left, rows), object_array(right, rows))
    return Texts(texts, left.present | right.present)


def _coalesce_flag(left: Flags, right: Flags, _rows: int) -> Flags:
    unknown = ~(left.yes | left.no)
    return Flags(left.yes | (unknown & right.yes), left.no | (unknown & right.no))


CHOICES: Final[Mapping[Kind, Callable[[Flags, Any, Any, int], Any]]] = MappingProxyType(
    {Kind.NUMBER: _choose_number, Kind.TEXT: _choose_text, Kind.FLAG: _choose_flag}
)
COALESCES: Final[Mapping[Kind, Callable[[Any, Any, int], Any]]] = MappingProxyType(
    {Kind.NUMBER: _coalesce_number, Kind.TEXT: _coalesce_text, Kind.FLAG: _coalesce_flag}
)


def text_call(function: Callable[..., Any], steps: Sequence[TextStep], kind: Kind) -> Callable[[Rows], Any]:
    def run(rows: Rows) -> Any:
        columns = [text_list(step(rows), rows.count) for step in steps]
        values = [None if None in row else function(*row) for row in zip(*columns, strict=True)]
        return _RESULTS[kind](values)

    return run


def _number_result(values: list[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _text_result(values: list[str | None]) -> Texts:
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    return Texts(objects, filled(objects))


_RESULTS: Final[Mapping[Kind, Callable[[list[Any]], Any]]] = MappingProxyType(
    {Kind.NUMBER: _number_result, Kind.TEXT: _text_result, Kind.FLAG: three_valued}
)
