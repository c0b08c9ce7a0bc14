"""The predictions of a response: which fields a value in JSON is, and where each cell of them stands.

Decides by the layout: a list of numbers per row is one vector field named `prediction`; a list of one number is that number;
lists with text or yes/no in them are the columns `prediction_0, prediction_1, ...`. When a route names exactly as many
outputs as a lone vector is long, the vector is that many columns. One row takes a whole response: several objects are then
one field for each of their keys, with all its values in order, and several arrays one field. Where the predictions begin is
left to the protocols, how a cell is written to `patching`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np

from guardproxy.codecs.cells import NUMBERS_OR_MISSING, SCALARS
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import Doubled
from guardproxy.codecs.layouts import check_fields
from guardproxy.codecs.names import PREDICTION
from guardproxy.errors import DecodeError, PatchError, UnalignedError
from guardproxy.table import Cell

_MISSING: Final = type(None)


class Field(NamedTuple):
    """One prediction field of a response: its JSON values, one per row, and where they stand.

    `leaves` returns the path of each scalar of a row's value (several for a vector), from the located value on; it
    raises LookupError where the row has no such value. `datatype` is a V2 tensor's, else empty. With `pack`, a row's whole
    value is one JSON text, which it returns of (new cell, old value); it raises PatchError.
    """

    name: str
    values: Sequence[Any]
    leaves: Callable[[int], list[Path]]
    datatype: str = ""
    pack: Callable[[Cell, Any], str] | None = None


def misaligned(predictions: int, rows: int) -> UnalignedError:
    """Return what is raised when a response has more or fewer predictions than its request has rows."""
    return UnalignedError(f"the response has {predictions} predictions for {rows} rows")


def count_rows(located: Any) -> int:
    """Return how many rows a response's located value has by itself: as many as it has items, or as its columns have."""
    if isinstance(located, (list, np.ndarray)):
        return len(located)
    if type(located) is dict and located and {list, np.ndarray}.issuperset(map(type, located.values())):
        lengths = set(map(len, located.values()))
        return lengths.pop() if len(lengths) == 1 else 1
    return 1


def response_fields(located: Any, rows: int) -> tuple[list[Field], int]:
    """Return the prediction fields of a response's located value and the number of keys in it.

    As many items as the request has rows: item i belongs to row i. An object of arrays that long is columns. With
    one row, all of the response belongs to it. Raises UnalignedError for everything else.
    """
    if type(located) is np.ndarray:
        located = located.tolist()
    if type(located) is list:
        if len(located) == rows:
            return _listed_fields(located)
        if rows == 1 and located:
            return _whole_fields(located)
        raise misaligned(len(located), rows)
    if type(located) is Doubled:
        raise DecodeError("the predictions have the same key twice")
    if type(located) is dict:
        return _keyed_fields(located, rows)
    if rows != 1:
        raise UnalignedError(f"the response has a single value for {rows} rows")
    return [Field(PREDICTION, [located], lambda _row: [()])], 0


def named_fields(fields: list[Field], outputs: tuple[str, ...]) -> list[Field]:
    """Split what cannot be one vector and give the route's names to the fields, in order.

    Names that the response carries already are left where they are. Raises UnalignedError when two would be equal.
    """
    if len(fields) == 1:
        field = fields[0]
        width = vector_width(field.values)
        if 1 < width == len(outputs):
            return split_field(field, outputs)
        if width > 1 and _is_mixed(field.values):
            unnamed = field.name == PREDICTION and not field.datatype
            names = [f"{PREDICTION}_{at}" if unnamed else f"{field.name}[{at}]" for at in range(width)]
            fields = split_field(field, names)
    if not outputs or set(outputs).issubset(field.name for field in fields):
        return fields
    renamed = [field._replace(name=name) for field, name in zip(fields, outputs, strict=False)] + fields[
        len(outputs) :
    ]
    if len({field.name for field in renamed}) != len(renamed):
        raise UnalignedError("two predictions would have the same name")
    return renamed


def split_field(field: Field, names: Sequence[str]) -> list[Field]:
    """Return a vector field as one field per element. A row that is null is null in each."""
    check_fields(len(names))
    return [
        Field(
            name,
            [None if value is None else value[column] for value in field.values],
            _packed_leaves if field.pack else lambda row, column=column: [field.leaves(row)[column]],  # type: ignore[misc]
            field.datatype,
        )
        for column, name in enumerate(names)
    ]


def vector_width(values: Sequence[Any]) -> int:
    """Return the length that all lists of a column have; 0 when it has other values than lists and nulls, or none."""
    if not {list, _MISSING}.issuperset(map(type, values)):
        return 0
    widths = {len(value) for value in values if value is not None}
    return widths.pop() if len(widths) == 1 else 0


def scalars_of(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the values of a column, those inside lists one by one."""
    for value in values:
        if type(value) is list:
            yield from scalars_of(value)
        else:
            yield value


def leaf_paths(value: Any, base: Path) -> list[Path]:
    """Return the path of each scalar in nested lists, in order."""
    if type(value) is not list:
        return [base]
    return [path for at, item in enumerate(value) for path in leaf_paths(item, (*base, at))]


def _is_mixed(values: Sequence[Any]) -> bool:
    """Tell whether lists have text or yes/no in them, and no lists or objects."""
    mixed = False
    for value in values:
        kinds = set(map(type, value or ()))
        if not SCALARS.issuperset(kinds):
            return False
        mixed = mixed or not NUMBERS_OR_MISSING.issuperset(kinds)
    return mixed


def _packed_leaves(_row: int) -> list[Path]:
    raise PatchError("the value stands in one text with the others of its vector")


def _whole_fields(items: list[Any]) -> tuple[list[Field], int]:
    """Return the fields of several items that all belong to one row."""
    kinds = set(map(type, items))
    if Doubled in kinds:
        raise DecodeError("a prediction has the same key twice")
    if kinds != {dict}:
        return [Field(PREDICTION, [items], lambda _row: leaf_paths(items, ()))], 0
    names = tuple(dict.fromkeys(chain.from_iterable(items)))
    keys = sum(map(len, items))
    check_fields(len(names), len(items), keys)
    return [
        Field(name, [[item.get(name) for item in items]], partial(_whole_leaves, items, name))
        for name in names
    ], keys


def _whole_leaves(items: list[dict[str, Any]], name: str, _row: int) -> list[Path]:
    return [path for at, item in enumerate(items) for path in leaf_paths(item[name], (at, name))]


def _listed_fields(items: list[Any]) -> tuple[list[Field], int]:
    kinds = set(map(type, items))
    if float in kinds and not kinds.isdisjoint({list, dict}):
        # Among vectors and records the word NaN is a row that is missing, as null is.
        items = [None if item != item else item for item in items]
        kinds = set(map(type, items))
    if kinds and kinds <= {dict, _MISSING} and dict in kinds:
        names = dict.fromkeys(chain.from_iterable(item for item in items if item is not None))
        keys = sum(len(item) for item in items if item is not None)
        check_fields(len(names), len(items), keys)
        return [_record_field(items, name) for name in names], keys
    if Doubled in kinds:
        raise DecodeError("a prediction has the same key twice")
    if list in kinds:
        if not kinds <= {list, _MISSING} or not vector_width(items):
            raise UnalignedError("the predictions are not all of the same length")
    elif not SCALARS.issuperset(kinds):
        raise UnalignedError("the predictions are of different kinds")
    return [Field(PREDICTION, items, lambda row: leaf_paths(items[row], (row,)))], 0


def _record_field(items: list[Any], name: str) -> Field:
    return Field(
        name,
        [None if item is None else item.get(name) for item in items],
        lambda row: leaf_paths(items[row][name], (row, name)) if items[row] is not None else _lacking(),
    )


def _lacking() -> list[Path]:
    raise LookupError


def _keyed_fields(located: dict[str, Any], rows: int) -> tuple[list[Field], int]:
    check_fields(len(located))
    kinds = set(map(type, located.values()))
    if not kinds:
        raise UnalignedError("the predictions are empty")
    if kinds <= {list, np.ndarray} and set(map(len, located.values())) == {rows}:
        return [_column_field(name, values) for name, values in located.items()], len(located)
    if rows != 1:
        raise UnalignedError(f"the response has one object for {rows} rows")
    return [_cell_field(name, value) for name, value in located.items()], len(located)


def _column_field(name: str, values: Any) -> Field:
    listed: list[Any] = values.tolist() if type(values) is np.ndarray else values
    return Field(name, listed, lambda row: leaf_paths(listed[row], (name, row)))


def _cell_field(name: str, value: Any) -> Field:
    if type(value) is np.ndarray:
        value = value.tolist()
    return Field(name, [value], lambda _row: leaf_paths(value, (name,)))
