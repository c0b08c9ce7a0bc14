"""What every operation means on single cells. The reference for all back-ends.

Decides: missing is None, and so is any NaN; yes/no is Kleene's three-valued logic; arithmetic is float64; comparison of
whole numbers is exact; kinds that clash raise LanguageError. Which operation is run when is left to `interpreter`.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from guardproxy.rules.language.flaws import LanguageError
from guardproxy.rules.language.names import Kind
from guardproxy.rules.language.nodes import Members
from guardproxy.table import EXACT_INTEGERS, Cell

Number: TypeAlias = float | int

KIND_WORDS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.NUMBER: "a number",
        Kind.TEXT: "text",
        Kind.FLAG: "yes/no",
        Kind.VECTOR: "a vector",
        Kind.ANY: "anything",
    }
)

ORDERINGS: Final = frozenset({"<", "<=", ">", ">="})

COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "==": operator.eq,
        "!=": operator.ne,
    }
)


def normal(cell: Cell) -> Cell:
    """Return a cell in the form operations take: NaN is None, whole numbers that fit are float64, others stay int."""
    if isinstance(cell, bool):
        return cell
    if isinstance(cell, int):
        return float(cell) if -EXACT_INTEGERS < cell < EXACT_INTEGERS else int(cell)
    if isinstance(cell, float):
        return None if cell != cell else float(cell)
    return cell


def kind_of(cell: Cell) -> Kind | None:
    """Return the kind of a cell, None when it is missing."""
    if cell is None:
        return None
    if isinstance(cell, bool):
        return Kind.FLAG
    if isinstance(cell, str):
        return Kind.TEXT
    return Kind.VECTOR if isinstance(cell, tuple) else Kind.NUMBER


def demand(kind: Kind, cell: Cell) -> Cell:
    """Return the cell; raise LanguageError when it is neither missing nor of this kind."""
    found = kind_of(cell)
    if found is not None and found is not kind and kind is not Kind.ANY:
        raise LanguageError(f"{KIND_WORDS[kind]} was needed, but the value is {KIND_WORDS[found]}")
    return cell


def number(cell: Cell) -> Number | None:
    """Return a number as it is, whole numbers exact; None when missing."""
    if cell is None or type(cell) is float:
        return cell
    if isinstance(cell, bool | str | tuple):
        demand(Kind.NUMBER, cell)
    return cell  # type: ignore[return-value]


def real(cell: Cell) -> float | None:
    """Return a number as float64, the way arithmetic sees it; one beyond its range is infinite."""
    value = number(cell)
    if value is None:
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def text(cell: Cell) -> str | None:
    """Return a text; None when missing."""
    return demand(Kind.TEXT, cell)  # type: ignore[return-value]


def flag(cell: Cell) -> bool | None:
    """Return a yes/no; None when unknown."""
    return demand(Kind.FLAG, cell)  # type: ignore[return-value]


def calculate(sign: str, left: float, right: float) -> float | None:
    """Return `left sign right` in float64; None where that is NaN, or a division by zero."""
    if sign == "/":
        if right == 0.0:
            return None
        result = left / right
    else:
        result = _SIGNS[sign](left, right)
    return None if result != result else result


_SIGNS: Final[Mapping[str, Callable[[float, float], float]]] = MappingProxyType(
    {"+": operator.add, "-": operator.sub, "*": operator.mul}
)


def compare(sign: str, left: Cell, right: Cell) -> bool | None:
    """Compare two cells; None when one is missing. Raises LanguageError when their kinds clash."""
    first, second = kind_of(left), kind_of(right)
    if first is None or second is None:
        return None
    if first is not second:
        raise LanguageError(f"cannot compare {KIND_WORDS[first]} with {KIND_WORDS[second]}")
    if first is Kind.VECTOR or (first is Kind.FLAG and sign in ORDERINGS):
        raise LanguageError(f"`{sign}` does not work on {KIND_WORDS[first]}")
    return COMPARISONS[sign](left, right)


def is_member(cell: Cell, members: Members | None) -> bool | None:
    """Tell whether a cell is in a list; None when the cell is missing or the list is not known."""
    kind = kind_of(cell)
    if kind is Kind.VECTOR:
        raise LanguageError("cannot look for a vector in a list")
    if kind is None or members is None:
        return None
    if members.kind not in (kind, Kind.ANY):
        raise LanguageError(
            f"cannot look for {KIND_WORDS[kind]} in a list that holds {KIND_WORDS[members.kind]}"
        )
    if kind is Kind.TEXT:
        return cell in members.texts
    return cell in (members.numbers if kind is Kind.NUMBER else members.flags)


def members_of(cells: Iterable[Cell]) -> Members:
    """Sort the cells of a list by kind; what is missing is left out."""
    by_kind: dict[Kind | None, set[Cell]] = {}
    for cell in map(normal, cells):
        by_kind.setdefault(kind_of(cell), set()).add(cell)
    by_kind.pop(None, None)
    kinds = tuple(by_kind)
    return Members(
        kinds[0] if len(kinds) == 1 and kinds[0] is not None else Kind.ANY,
        frozenset(by_kind.get(Kind.NUMBER, ())),  # type: ignore[arg-type]
        frozenset(by_kind.get(Kind.TEXT, ())),  # type: ignore[arg-type]
        frozenset(by_kind.get(Kind.FLAG, ())),  # type: ignore[arg-type]
    )


def kleene_not(value: bool | None) -> bool | None:
    """Return the negation; unknown stays unknown."""
    return None if value is None else not value


# Functions of numbers, none of them missing.


def absolute(value: float) -> float:
    """Return |x|."""
    return abs(value)


def square_root(value: float) -> float | None:
    """Return the square root; of something negative, missing."""
    return None if value < 0 else math.sqrt(value)


def logarithm(value: float) -> float | None:
    """Return the natural logarithm; of zero or less, missing."""
    return None if value <= 0 else math.log(value)


def exponential(value: float) -> float:
    """Return e to the power x; infinite beyond the range of float64."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def rounded(value: float, digits: float = 0.0) -> float:
    """Round to a number of decimal digits, half to even on the exact value of the float."""
    return round(value, int(digits))


def clamped(value: Number, low: Number, high: Number) -> Number:
    """Return `min(max(value, low), high)`."""
    return min(max(value, low), high)


REAL_FUNCTIONS: Final[Mapping[str, Callable[..., float | None]]] = MappingProxyType(
    {"abs": absolute, "sqrt": square_root, "log": logarithm, "exp": exponential, "round": rounded}
)
"""Functions that calculate, so their arguments are float64."""

CHOOSING_FUNCTIONS: Final[Mapping[str, Callable[..., Number]]] = MappingProxyType(
    {"min": min, "max": max, "clamp": clamped}
)
"""Functions that return one of their arguments, so whole numbers stay exact."""


def call_numeric(function: str, cells: Sequence[Cell]) -> Cell:
    """Apply a numeric function; missing when an argument is missing or the result is NaN."""
    convert = real if function in REAL_FUNCTIONS else number
    values = [convert(cell) for cell in cells]
    if any(value is None for value in values):
        return None
    implementation = REAL_FUNCTIONS.get(function) or CHOOSING_FUNCTIONS[function]
    result = implementation(*values)
    return None if result != result else result


def call_text(function: str, cells: Sequence[Cell]) -> Cell:
    """Apply a text function; missing when an argument is missing."""
    values = [text(cell) for cell in cells]
    if any(value is None for value in values):
        return None
    return TEXT_FUNCTIONS[function](*values)


def _length(value: str) -> float:
    return float(len(value))


def _contains(value: str, part: str) -> bool:
    return part in value


TEXT_FUNCTIONS: Final[Mapping[str, Callable[..., float | str | bool]]] = MappingProxyType(
    {"length": _length, "lower": str.lower, "contains": _contains, "starts_with": str.startswith}
)
"""Functions of text, none of it missing. `length` counts characters."""
