"""Layouts: the shapes in which rows stand in JSON, sniffed per message.

Decides what records, arrays, scalars, columns and single values mean as a table. The same server answers in different
layouts from one model to the next, so nothing here is configured. Where the rows begin is left to the protocols, what a cell
may take to `cells`, which text belongs to which cell of a response to `predictions`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from guardproxy.codecs.cells import (
    NUMBERS_OR_MISSING,
    SCALARS,
    cells_of,
    plain_block,
    plain_matrix,
    plain_row,
)
from guardproxy.codecs.json_text import Doubled, is_exact_block
from guardproxy.errors import DecodeError, OpaqueError
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

_ALL_PLAIN: Final[Mapping[str, tuple[Cell, ...]]] = MappingProxyType({})


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
    if not width:
        raise DecodeError("the rows of a column are empty")
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
