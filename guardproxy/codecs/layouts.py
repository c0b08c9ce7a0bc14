"""Layouts: the shapes in which rows stand in JSON, sniffed per message.

Decides what records, arrays, scalars, columns and single values mean as a table, and which text belongs to which cell.
The same server answers in different layouts from one model to the next, so nothing here is configured. Where the rows
begin is left to the protocols, what a cell may take to `cells`.

Predictions: a list of numbers per row is one vector field named `prediction`; a list of one number is that number;
lists with text or yes/no in them are the columns `prediction_0, prediction_1, ...`. When a route names exactly as many
outputs as a lone vector is long, the vector is that many columns. One row takes a whole response: several objects are then
one field for each of their keys, with all its values in order, and several arrays one field.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from guardproxy.codecs.cells import (
    NUMBERS_OR_MISSING,
    SCALARS,
    cells_of,
    plain_block,
    plain_matrix,
    plain_row,
)
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import Doubled, is_exact_block
from guardproxy.codecs.names import PREDICTION
from guardproxy.errors import DecodeError, OpaqueError, PatchError, UnalignedError
from guardproxy.table import Cell, Floats, Table, fill_numbers

Values: TypeAlias = "Sequence[Any] | Floats"
"""A column of JSON values; a float64 block where a large batch was read as one."""

MAX_FIELDS: Final = 10_000
"""Far more than a table of features has; wider rows are flattened images."""

SPARSEST: Final = 16
"""How many cells a table of records may have for each key in them."""

Namer: TypeAlias = Callable[[int], tuple[str, ...]]
"""Names the columns of a bare matrix of the given width (0: no row is there to tell). Raises DecodeError when a row
cannot be that wide."""

_MISSING: Final = type(None)
_ALL_PLAIN: Final[Mapping[str, tuple[Cell, ...]]] = MappingProxyType({})


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


def check_rows(rows: int, limit: int) -> None:
    """Raise DecodeError when there are more rows than the limit."""
    if rows > limit:
        raise DecodeError(f"the body has more than {limit} rows")


def check_fields(fields: int, rows: int = 0, keys: int = 0) -> None:
    """Raise OpaqueError when there are more fields than a table can have.

    Records that share few keys would make a table far larger than themselves: `rows` times `fields` cells may not be
    many times their `keys`.
    """
    if fields > MAX_FIELDS:
        raise OpaqueError(f"the body has more than {MAX_FIELDS} fields")
    if keys and fields * rows > SPARSEST * keys + MAX_FIELDS:
        raise OpaqueError("the records have too few keys in common")


def distinct(names: Iterable[Any], what: str) -> tuple[str, ...]:
    """Return names that must be text and distinct. Raises DecodeError that calls them `what`."""
    made = tuple(names)
    if not {str}.issuperset(map(type, made)):
        raise DecodeError(f"{what} are not all text")
    if len(set(made)) != len(made):
        raise DecodeError(f"{what} are not distinct")
    return made


def block_table(names: tuple[str, ...], matrix: Floats) -> Table:
    """Return a table of a matrix of shape (rows, columns)."""
    block = np.ascontiguousarray(matrix.T)
    block.flags.writeable = False
    return Table(names, len(matrix), block, _ALL_PLAIN)


def column_table(names: tuple[str, ...], column: Floats) -> Table:
    """Return a table of one column of numbers."""
    block = column.reshape(1, -1)
    block.flags.writeable = False
    return Table(names, len(column), block, _ALL_PLAIN)


def columns_table(columns: Sequence[tuple[str, Values]], rows: int, *, exact: bool) -> Table:
    """Return a table of named columns of JSON values, `rows` in each."""
    block = np.full((len(columns), rows), np.nan)
    beside: dict[str, tuple[Cell, ...]] = {}
    for position, (name, values) in enumerate(columns):
        numbers = values if isinstance(values, np.ndarray) else _number_column(values)
        if numbers is not None:
            block[position] = numbers
            continue
        assert not isinstance(values, np.ndarray)  # noqa: S101 (a block is its own numbers)
        cells = cells_of(values, exact=exact)
        if not fill_numbers(block[position], cells):
            beside[name] = tuple(None if cell != cell else cell for cell in cells)
    block.flags.writeable = False
    return Table(tuple(name for name, _ in columns), rows, block, beside)


def rows_table(value: Any, namer: Namer, limit: int, *, exact: bool) -> tuple[Table, int]:
    """Return the table of a request's rows (records, arrays or scalars) and the number of keys in them."""
    if type(value) is np.ndarray:
        check_rows(len(value), limit)
        matrix = value.reshape(len(value), -1)
        check_fields(matrix.shape[1])
        return block_table(namer(matrix.shape[1]), matrix), 0
    if type(value) is not list:
        raise DecodeError("the rows are not in an array")
    check_rows(len(value), limit)
    kinds = set(map(type, value))
    if kinds == {list}:
        return _matrix_table(value, namer, exact=exact), 0
    if kinds == {dict}:
        return _records_table(value, exact=exact), sum(map(len, value))
    if SCALARS.issuperset(kinds):
        if not value:
            names = namer(0)
            return block_table(names, np.empty((0, len(names)))), 0
        return columns_table([(namer(1)[0], value)], len(value), exact=exact), 0
    if Doubled in kinds:
        raise DecodeError("a row has the same key twice")
    raise DecodeError("the rows are of different kinds")


def columns_of(value: dict[str, Any], limit: int, *, exact: bool) -> tuple[Table, int]:
    """Return the table of a request in columns, `{name: [..]}`, and the number of keys in it.

    A column of lists of one is a column of what is in them, one of longer lists the columns `name[0], name[1], ...`.
    An object without any list is one record.
    """
    kinds = set(map(type, value.values()))
    if not kinds:
        raise DecodeError("the columns are empty")
    check_fields(len(value))
    if SCALARS.issuperset(kinds):
        return _records_table([value], exact=exact), len(value)
    if not kinds <= {list, np.ndarray}:
        raise DecodeError("the columns are not all arrays")
    lengths = set(map(len, value.values()))
    if len(lengths) != 1:
        raise DecodeError("the columns are not of the same length")
    rows = lengths.pop()
    check_rows(rows, limit)
    columns = list(chain.from_iterable(_wide_column(name, cells) for name, cells in value.items()))
    check_fields(len(columns))
    distinct((name for name, _ in columns), "the columns' names")
    return columns_table(columns, rows, exact=exact), len(value)


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
        raise UnalignedError(f"the response has {len(located)} predictions for {rows} rows")
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


def _matrix_table(rows: list[list[Any]], namer: Namer, *, exact: bool) -> Table:
    width = len(rows[0])
    if len(rows) > 1 and set(map(len, rows)) != {width}:
        raise DecodeError("the rows are not all of the same length")
    if not width:
        raise DecodeError("the rows are empty")
    check_fields(width)
    names = namer(width)
    if len(rows) == 1:
        numbers = plain_row(rows[0])
        if numbers is not None:
            return Table(names, 1, None, single=numbers)
    else:
        matrix = plain_matrix(rows)
        if matrix is not None:
            return block_table(names, matrix)
    if any(type(cell) is list and cell and type(cell[0]) is list for cell in rows[0]):
        raise OpaqueError("the rows are arrays of a higher rank, such as images")
    if len(rows) == 1:
        return columns_table(
            [(name, (cell,)) for name, cell in zip(names, rows[0], strict=True)], 1, exact=exact
        )
    return columns_table(list(zip(names, zip(*rows, strict=True), strict=True)), len(rows), exact=exact)


def _records_table(records: list[dict[str, Any]], *, exact: bool) -> Table:
    first = records[0]
    if len(records) == 1:
        check_fields(len(first))
        names = tuple(first)
        numbers = plain_row(list(first.values()))
        if numbers is not None:
            return Table(names, 1, None, single=numbers)
        return columns_table([(name, (cell,)) for name, cell in first.items()], 1, exact=exact)
    names = tuple(dict.fromkeys(chain.from_iterable(records)))
    check_fields(len(names), len(records), sum(map(len, records)))
    columns = [(name, [record.get(name) for record in records]) for name in names]
    return columns_table(columns, len(records), exact=exact)


def _wide_column(name: str, cells: Any) -> list[tuple[str, Values]]:
    if type(cells) is np.ndarray:
        if cells.ndim == 1:
            return [(name, cells)]
        if cells.shape[1] == 1:
            return [(name, cells[:, 0])]
        return [(f"{name}[{at}]", cells[:, at]) for at in range(cells.shape[1])]
    if set(map(type, cells)) != {list}:
        return [(name, cells)]
    width = len(cells[0])
    if set(map(len, cells)) != {width}:
        raise DecodeError("the rows of a column are not all of the same length")
    if width == 1:
        return [(name, [cell[0] for cell in cells])]
    return [(f"{name}[{at}]", [cell[at] for cell in cells]) for at in range(width)]


def _number_column(values: Sequence[Any]) -> Floats | None:
    if len(values) == 1:
        return plain_block(values)
    if (
        values
        and type(values[0]) is list
        and all(type(value) is list and len(value) == 1 for value in values)
    ):
        values = [value[0] for value in values]
    if not NUMBERS_OR_MISSING.issuperset(map(type, values)):
        return None
    try:
        numbers: Floats = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    return numbers if is_exact_block(numbers) else None
