"""Columns as the numpy back-end calculates with them: how they come in, how results go out.

Decides the forms. A number is a float64 array with NaN for missing. A yes/no is two masks, the rows where it holds and
the rows where it does not; rows in neither are unknown, which makes Kleene's logic plain `&` and `|`. A text is an
object array with a mask of the rows that have one. Rows with a cell of another kind are named, not calculated.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.rules.language.columns import (
    NO,
    UNKNOWN,
    YES,
    Column,
    Objects,
    column_from_cells,
    same_for_all,
)
from guardproxy.rules.language.names import Kind
from guardproxy.table import Floats, Mask

Numbers: TypeAlias = Floats | np.float64
Masks: TypeAlias = NDArray[np.bool_] | np.bool_


class Flags(NamedTuple):
    """A yes/no per row: where it holds, where it does not. In neither: unknown."""

    yes: Masks
    no: Masks


class Texts(NamedTuple):
    """A text per row (or one for all), and where there is one."""

    texts: Objects | str | None
    present: Masks


@dataclass(slots=True)
class Rows:
    """The inputs of one run, each in the form of its guessed kind."""

    count: int
    inputs: list[Any]


NumberStep: TypeAlias = Callable[[Rows], Numbers]
FlagStep: TypeAlias = Callable[[Rows], Flags]
TextStep: TypeAlias = Callable[[Rows], Texts]

NAN: Final = np.float64(math.nan)
NOTHING: Final[Any] = None
FALSE: Final = np.bool_(0)
TRUE: Final = np.bool_(1)


def filled(objects: Objects) -> Mask:
    """Return which cells are not missing."""
    mask: Mask = np.not_equal(objects, NOTHING)
    return mask


@lru_cache(maxsize=256)
def no_numbers(rows: int) -> Floats:
    return np.broadcast_to(NAN, rows)


@lru_cache(maxsize=256)
def everywhere(code: int, rows: int) -> Column:
    """Return a yes/no column that is the same in every row."""
    return Column(no_numbers(rows), codes=same_for_all(code, rows))


# Inputs. Each gives the value in its guessed form, and the rows whose cell is of another kind (None: no row).


def _load_number(column: Column) -> tuple[Floats, Mask | None]:
    column = _cells_only(column)
    if column.objects is None:
        return column.numbers, None
    present: Mask = filled(column.objects)
    return column.numbers, present & np.isnan(column.numbers)


def _load_text(column: Column) -> tuple[Texts, Mask | None]:
    column = _cells_only(column)
    if column.objects is None:
        return Texts(None, FALSE), ~np.isnan(column.numbers)
    objects = column.objects
    if column.classes <= {str, type(None)}:
        return Texts(objects, filled(objects)), None
    is_text = np.fromiter((isinstance(cell, str) for cell in objects), np.bool_, len(objects))
    present: Mask = filled(objects)
    return Texts(np.where(is_text, objects, NOTHING), is_text), present & ~is_text


def _load_flag(column: Column) -> tuple[Flags, Mask | None]:
    if column.codes is not None:
        return Flags(column.codes == 1, column.codes == 0), None
    if column.objects is None:
        nowhere = np.zeros(len(column.numbers), dtype=np.bool_)
        return Flags(nowhere, nowhere), ~np.isnan(column.numbers)
    objects, count = column.objects, len(column.objects)
    yes = np.fromiter((cell is True for cell in objects), np.bool_, count)
    no = np.fromiter((cell is False for cell in objects), np.bool_, count)
    if column.classes <= {bool, type(None)}:
        return Flags(yes, no), None
    return Flags(yes, no), filled(objects) & ~yes & ~no


def _load_missing(column: Column) -> tuple[Mask, None]:
    if column.codes is not None:
        return column.codes >= UNKNOWN, None
    if column.objects is not None:
        return ~filled(column.objects), None
    return np.isnan(column.numbers), None


def _cells_only(column: Column) -> Column:
    if column.codes is None:
        return column
    return column_from_cells([column.cell(row) for row in range(len(column.codes))])


LOADS: Final[Mapping[Kind | None, Callable[[Column], tuple[Any, Mask | None]]]] = MappingProxyType(
    {Kind.NUMBER: _load_number, Kind.TEXT: _load_text, Kind.FLAG: _load_flag, None: _load_missing}
)


# Results.


def _finish_number(value: Numbers, rows: int) -> Column:
    return Column(value if isinstance(value, np.ndarray) and value.ndim else np.broadcast_to(value, rows))


def _finish_text(value: Texts, rows: int) -> Column:
    objects = object_array(value, rows)
    return Column(no_numbers(rows), objects, frozenset(map(type, objects.tolist())))


def _finish_flag(value: Flags, rows: int) -> Column:
    # Nearly always a rule says the same of every row, and then one byte says it.
    if value.yes is TRUE or value.yes.all():
        return everywhere(YES, rows)
    if value.no is TRUE or value.no.all():
        return everywhere(NO, rows)
    yes, no = _spread(value.yes, rows), _spread(value.no, rows)
    unknown: Mask = ~(yes | no)
    return Column(no_numbers(rows), codes=yes.view(np.int8) | (unknown.view(np.int8) << 1))


def _spread(mask: Masks, rows: int) -> Mask:
    return mask if isinstance(mask, np.ndarray) and mask.ndim else np.broadcast_to(mask, rows)


def finish_flag_cells(value: Flags, rows: int) -> Column:
    objects = np.empty(rows, dtype=object)
    objects[np.broadcast_to(value.yes, rows)] = True
    objects[np.broadcast_to(value.no, rows)] = False
    return Column(no_numbers(rows), objects, frozenset(map(type, objects.tolist())))


FINISHES: Final[Mapping[Kind, Callable[[Any, int], Column]]] = MappingProxyType(
    {Kind.NUMBER: _finish_number, Kind.TEXT: _finish_text, Kind.FLAG: _finish_flag}
)


def object_array(value: Texts, rows: int) -> Objects:
    if isinstance(value.texts, np.ndarray):
        return value.texts
    objects = np.empty(rows, dtype=object)
    objects[:] = value.texts
    return objects


def text_list(value: Texts, rows: int) -> list[str | None]:
    texts: list[str | None] = object_array(value, rows).tolist()
    return texts


def three_valued(values: list[bool | None]) -> Flags:
    count = len(values)
    return Flags(
        np.fromiter((value is True for value in values), np.bool_, count),
        np.fromiter((value is False for value in values), np.bool_, count),
    )
