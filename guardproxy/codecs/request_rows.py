"""The rows of a request, where a layout other than a plain array of rows has them.

Decides what is a lone row, which of several named arguments holds the rows, and that values beside them belong to every
row. What a row looks like is left to `layouts`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from guardproxy.codecs.cells import SCALARS
from guardproxy.codecs.json_text import as_object
from guardproxy.codecs.layouts import columns_table, distinct
from guardproxy.codecs.preset import Layout
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.table import Table

_EITHER: Final = "more than one argument of the request could hold the rows"

MAX_SHARED: Final = 2**20
"""How many cells the values may take that stand in the body once and belong to every row."""


def listed_rows(value: Any, layout: Layout) -> Any:
    """Return a request's located value with a lone row put into an array, as its layout has it.

    Raises OpaqueError where the layout is of texts and there are others.
    """
    alone = _ALONE.get(layout)
    if alone is None:
        return value
    if layout is Layout.TEXTS:
        _check_texts(value)
    return [value.tolist() if isinstance(value, np.ndarray) else value] if alone(value) else value


def _check_texts(value: Any) -> None:
    if not {str}.issuperset(map(type, value if isinstance(value, (list, np.ndarray)) else (value,))):
        raise OpaqueError("the request has tokens in place of text")


def _is_item(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return type(value) is not list or (bool(value) and SCALARS.issuperset(map(type, value)))


class Arguments(NamedTuple):
    """Named arguments: those that hold the rows, the plain values beside them, which belong to every row, the name of the
    argument that holds the rows (None when it is not one alone), and the objects beside it."""

    rows: Any
    shared: Mapping[str, Any] = MappingProxyType({})
    name: str | None = None
    others: Sequence[dict[str, Any]] = ()


def arguments(located: Any) -> Arguments:
    """Return what named arguments hold.

    An array, or an object of columns, holds rows; any other object is one row. Raises DecodeError.
    """
    if not isinstance(located, dict):
        return Arguments(listed_rows(located, Layout.ITEM))
    members = as_object(located, "the request")
    arrays = [name for name, item in members.items() if isinstance(item, (list, np.ndarray))]
    objects = [name for name, item in members.items() if isinstance(item, dict)]
    plain = {name: item for name, item in members.items() if type(item) in SCALARS}
    if len(arrays) > 1:
        if objects or len({len(members[name]) for name in arrays}) != 1:
            raise DecodeError("more than one argument of the request is an array")
        if any(type(members[name]) is list and dict in set(map(type, members[name])) for name in arrays):
            raise DecodeError(_EITHER)
        return Arguments({name: members[name] for name in arrays}, plain)
    chosen = arrays or objects
    if len(chosen) != 1:
        if any(_is_columns(members[name]) for name in objects):
            raise DecodeError(_EITHER)
        return Arguments([members])
    rows = members[chosen[0]]
    if arrays:
        if objects and not len(rows):
            raise DecodeError(_EITHER)
        return Arguments(rows, plain, arrays[0], [members[name] for name in objects])
    return Arguments(rows if _is_columns(rows) else [rows], plain, chosen[0])


def check_others(others: Sequence[dict[str, Any]], fields: Sequence[str]) -> None:
    """Raise DecodeError when an object beside the array of rows could hold the rows as well: servers pass over arguments
    that they do not know, and only they know which."""
    for other in others:
        if _is_columns(other) or not other.keys().isdisjoint(fields):
            raise DecodeError(_EITHER)


def check_even(rows: Sequence[Any], columns: Iterable[str]) -> None:
    """Raise DecodeError when records have lists of different lengths in one of the columns, or objects that are no `b64`.

    KServe makes a row of each item of such a list, and of each member of such an object, also in arrays.
    """
    if type(rows[0]) is list:
        uneven = any(dict in set(map(type, row)) and any(map(_is_nested, row)) for row in rows)
    else:
        records = [row for row in rows if isinstance(row, dict)]
        uneven = any(_is_uneven([row.get(name) for row in records]) for name in columns)
    if uneven:
        raise DecodeError("the lists of a field are not all of the same length, or a row has objects in it")


def _is_uneven(values: list[Any]) -> bool:
    kinds = set(map(type, values))
    if dict in kinds and any(map(_is_nested, values)):
        return True
    if list not in kinds:
        return False
    return len({len(value) if type(value) is list else -1 for value in values if value is not None}) > 1


def _is_nested(value: Any) -> bool:
    return type(value) is dict and value.keys() != {"b64"}


def _is_columns(value: dict[str, Any]) -> bool:
    return bool(value) and all(isinstance(item, (list, np.ndarray)) for item in value.values())


def check_shared(fields: int, rows: int) -> None:
    """Raise OpaqueError when values that all rows share would fill a table far larger than the body."""
    if fields * rows > MAX_SHARED:
        raise OpaqueError(f"the rows share more than {MAX_SHARED} values")


def joined(table: Table, shared: Mapping[str, Any], *, exact: bool) -> Table:
    """Return a table with more fields that have the same value in every row. Raises DecodeError for a name that is there."""
    if not shared:
        return table
    distinct((*table.fields, *shared), "the names of the fields")
    check_shared(len(shared), table.rows)
    beside = columns_table(
        [(name, [value] * table.rows) for name, value in shared.items()], table.rows, exact=exact
    )
    block = np.concatenate([table.block, beside.block])
    block.flags.writeable = False
    return Table((*table.fields, *beside.fields), table.rows, block, {**table.exact, **beside.exact})


_ALONE: Final[Mapping[Layout, Callable[[Any], bool]]] = MappingProxyType(
    {
        Layout.SINGLE: lambda _value: True,
        Layout.ROWS: lambda value: isinstance(value, dict),
        Layout.LOOSE: lambda value: type(value) in SCALARS,
        Layout.TEXTS: lambda value: type(value) is str,
        Layout.ITEM: _is_item,
    }
)
"""Whether a value is a lone row, by the layouts in which it may be one."""
