"""Cells: what a JSON value means as a cell, and which text a new cell has.

Reading decides: null and NaN are missing; a list of one value is that value; a longer list of numbers is a vector; an
object of TensorFlow Serving's `{"b64": text}` is its text; any other object or list is text, its compact JSON, so that
rules can see that it is there. Writing decides what may stand in a column: text never becomes a number nor a number
text, whole-number columns take whole numbers only, float32 tensors get the shortest float32 text. Where a cell stands is
left to the layouts.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil, floor, inf, isfinite, isnan
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from guardproxy.codecs.json_text import Doubled, NeedsExactError, is_exact_block
from guardproxy.errors import DecodeError, PatchError
from guardproxy.table import EXACT_INTEGERS, Cell, Floats

NUMBERS: Final = frozenset({float, int})
NUMBERS_OR_MISSING: Final = frozenset({float, int, type(None)})
SCALARS: Final = frozenset({float, int, str, bool, type(None)})
INFINITIES: Final = (inf, -inf)

_FLOATS: Final = frozenset({float})
_SMALL: Final = 64


def plain_block(values: Sequence[Any]) -> Floats | None:
    """Return a list of numbers as a float64 vector; None unless all are numbers below 2**53 in magnitude."""
    if not values or not NUMBERS.issuperset(map(type, values)):
        return None
    if len(values) <= _SMALL:
        # A NaN in the first place makes both comparisons false, elsewhere it loses them: neither hides a number.
        if max(values) < EXACT_INTEGERS and min(values) > -EXACT_INTEGERS:
            return np.array(values, dtype=np.float64)
        return None
    block: Floats = np.array(values, dtype=np.float64)
    return block if is_exact_block(block) else None


def plain_row(values: list[Any]) -> list[float] | None:
    """Return a short list of numbers as floats; None unless all are finite numbers below 2**53 in magnitude."""
    kinds = set(map(type, values))
    if kinds != _FLOATS:
        if not values or not NUMBERS.issuperset(kinds):
            return None
        if max(values) >= EXACT_INTEGERS or min(values) <= -EXACT_INTEGERS:
            return None
        values = [float(value) for value in values]
    # Comparisons with NaN are false wherever it stands but in the first place, where the sum gives it away.
    elif not -EXACT_INTEGERS < min(values) <= max(values) < EXACT_INTEGERS:
        return None
    return values if isfinite(sum(values)) else None


def plain_matrix(rows: Sequence[Sequence[Any]]) -> Floats | None:
    """Return equally long lists of numbers and nulls as a float64 matrix; None when any cell is something else."""
    if not NUMBERS_OR_MISSING.issuperset(map(type, chain.from_iterable(rows))):
        return None
    try:
        matrix: Floats = np.array(rows, dtype=np.float64)
    except OverflowError:
        return None
    return matrix if is_exact_block(matrix) else None


def cells_of(values: Sequence[Any], *, exact: bool) -> Sequence[Cell]:
    """Return the cells of JSON values. Raises NeedsExactError when a reading that is not `exact` may be wrong here."""
    kinds = set(map(type, values))
    if not SCALARS.issuperset(kinds):
        return [_cell_of(value, exact=exact) for value in values]
    if not exact and not kinds.isdisjoint(NUMBERS):
        _refuse_large(values)
    return values


def value_text(value: Any) -> str:
    """Return the compact JSON of a value."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _cell_of(value: Any, *, exact: bool) -> Cell:
    kind = type(value)
    if kind in SCALARS:
        if not exact:
            _refuse_large((value,))
        scalar: Cell = value
        return scalar
    if not exact and not (kind is list and SCALARS.issuperset(map(type, value))):
        raise NeedsExactError
    if kind is Doubled:
        raise DecodeError("a cell is an object with the same key twice")
    if kind is dict:
        text = value.get("b64") if len(value) == 1 else None
        return text if type(text) is str else value_text(value)
    return _cell_of_list(value, exact=exact)


def _cell_of_list(value: list[Any], *, exact: bool) -> Cell:
    kinds = set(map(type, value))
    if len(value) == 1 and SCALARS.issuperset(kinds):
        return _cell_of(value[0], exact=exact)
    if NUMBERS_OR_MISSING.issuperset(kinds):
        if not exact:
            _refuse_large(value)
        return tuple(None if item is None or item != item else item for item in value)
    return value_text(value)


def _refuse_large(values: Iterable[Any]) -> None:
    for value in values:
        if (type(value) is float or type(value) is int) and not -EXACT_INTEGERS < value < EXACT_INTEGERS:
            raise NeedsExactError


@dataclass(frozen=True, slots=True)
class Style:
    """How a response spells what JSON has no single spelling for.

    `missing` is `null` or `NaN`; `words` tells whether it may hold the words Infinity and -Infinity; `ascii` whether
    text is written with escapes only.
    """

    missing: str
    words: bool
    ascii: bool


ANY_STYLE: Final = Style(missing="NaN", words=True, ascii=False)
"""Of what is no JSON: every number can be said."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a column of a response takes. `write` returns the text of a new number, text or yes/no, or raises
    PatchError; it never gets a missing cell. `nan` tells whether NaN may stand for a missing cell, `whole` whether there
    are only whole numbers."""

    write: Callable[[Any, Style], str]
    nan: bool
    whole: bool = False


def new_text(new: Any, old: Any, kind: Kind, style: Style) -> str | None:
    """Return the text that puts the scalar `new` in place of `old`; None when `old` is as good.

    Raises PatchError when this column cannot take it.
    """
    if type(old) not in SCALARS:
        raise PatchError("the cell holds an object or a list, which no replacement can be put into")
    if isinstance(new, np.generic):
        new = new.item()
    if new is None or (type(new) is float and isnan(new)):
        if old is None or (type(old) is float and isnan(old)):
            return None
        return style.missing if kind.nan else "null"
    if type(new) not in SCALARS:
        raise PatchError("a vector does not fit into a single cell")
    text = kind.write(new, style)
    if type(old) in NUMBERS and type(new) in NUMBERS and _reads(text, old):
        return None
    return None if type(old) is type(new) and type(new) in {str, bool} and old == new else text


def whole_inside(new: Any, old: Any) -> Any:
    """Return a bound that `old` was clamped to as the nearest whole number on its inner side."""
    if type(new) is not float or not isfinite(new) or type(old) not in NUMBERS:
        return new
    return floor(new) if old > new else ceil(new)


def is_same(old: Cell, new: Cell) -> bool:
    """Tell whether a cell says the same already, so that its own spelling can stay."""
    if old is None or new is None:
        return (old is None or old != old) and (new is None or new != new)
    return type(old) is type(new) and old == new


def column_kind(values: Iterable[Any]) -> Kind:
    """Return what a column takes by what already stands in it (all its scalars, missing ones included)."""
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return ANY
    if kinds == {int}:
        return WHOLE
    if kinds <= NUMBERS:
        return REAL
    if kinds == {str}:
        return TEXT
    return BOOLEAN if kinds == {bool} else ANY


def tensor_kind(datatype: str, values: Iterable[Any]) -> Kind:
    """Return what a V2 tensor takes by its datatype; one that is unknown goes by what stands in it."""
    kind = TENSOR_KINDS.get(datatype)
    return column_kind(values) if kind is None else kind


def _reads(text: str, old: float) -> bool:
    """Tell whether a text says the number that stands there already: then its own spelling stays."""
    if text in _WORDS:
        return False
    return text == str(old) or (isfinite(old) and abs(old) < EXACT_INTEGERS and float(text) == old)


def _real_text(new: Any, style: Style) -> str:
    if type(new) not in NUMBERS:
        raise PatchError("only a number fits into a column of numbers")
    if type(new) is int:
        value = _as_float(new)
        return str(new) if abs(new) >= EXACT_INTEGERS else repr(value)
    return repr(new) if isfinite(new) else _word(new, style)


def _narrow_text(dtype: type[np.floating[Any]]) -> Callable[[Any, Style], str]:
    largest = float(np.finfo(dtype).max)

    def write(new: Any, style: Style) -> str:
        if type(new) not in NUMBERS:
            raise PatchError("only a number fits into a tensor of numbers")
        value = _as_float(new)
        if not isfinite(value):
            return _word(value, style)
        if abs(value) > largest:
            raise PatchError(f"the number is beyond the range of {np.dtype(dtype).name}")
        # The fewest digits that this dtype needs, then Python's way to write them.
        return repr(float(str(dtype(value))))

    return write


def _whole_text(low: int | None, high: int | None) -> Callable[[Any, Style], str]:
    def write(new: Any, _style: Style) -> str:
        if type(new) not in NUMBERS or (type(new) is float and not isfinite(new)):
            raise PatchError("only a finite number fits into a column of whole numbers")
        value = int(new)
        if value != new:
            raise PatchError("only a whole number fits into a column of whole numbers")
        if (low is not None and value < low) or (high is not None and value > high):
            raise PatchError(f"the number lies outside {low} to {high}")
        return str(value)

    return write


def _text_text(new: Any, style: Style) -> str:
    if type(new) is not str:
        raise PatchError("only text fits into a column of text")
    try:
        new.encode("utf-8")
    except UnicodeEncodeError:
        raise PatchError("the text has half a surrogate pair") from None
    return json.dumps(new, ensure_ascii=style.ascii)


def _boolean_text(new: Any, _style: Style) -> str:
    if type(new) is not bool:
        raise PatchError("only yes or no fits into a column of yes and no")
    return "true" if new else "false"


def _any_text(new: Any, style: Style) -> str:
    if type(new) is str:
        return _text_text(new, style)
    if type(new) is bool:
        return _boolean_text(new, style)
    return str(new) if type(new) is int else _real_text(new, style)


def _word(value: float, style: Style) -> str:
    if not style.words:
        raise PatchError("this response cannot say Infinity")
    return "Infinity" if value > 0 else "-Infinity"


def _as_float(new: float) -> float:
    try:
        return float(new)
    except OverflowError:
        raise PatchError("the number is beyond the range of a float64") from None


_WORDS: Final = frozenset({"Infinity", "-Infinity"})

WHOLE: Final = Kind(_whole_text(None, None), nan=False, whole=True)
REAL: Final = Kind(_real_text, nan=True)
TEXT: Final = Kind(_text_text, nan=False)
BOOLEAN: Final = Kind(_boolean_text, nan=False)
ANY: Final = Kind(_any_text, nan=False)

WHOLE_RANGES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
        **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    }
)
"""The smallest and the largest value of each datatype of whole numbers."""

TENSOR_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "BOOL": BOOLEAN,
        **{
            name: Kind(_whole_text(low, high), nan=False, whole=True)
            for name, (low, high) in WHOLE_RANGES.items()
        },
        "FP16": Kind(_narrow_text(np.float16), nan=True),
        "BF16": Kind(_narrow_text(np.float32), nan=True),
        "FP32": Kind(_narrow_text(np.float32), nan=True),
        "FP64": REAL,
        "BYTES": TEXT,
    }
)
"""What a tensor takes, by the datatypes of the Open Inference Protocol."""
