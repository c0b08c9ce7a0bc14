"""Columns of cells, as the numpy back-end takes and gives them.

Decides the form of a column of inputs or results. How a Table keeps its cells is left to `table`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.table import Cell, Floats, Mask, Table, is_plain_number

FlagCodes: TypeAlias = NDArray[np.int8]
Objects: TypeAlias = NDArray[np.object_]

NO: Final = 0
YES: Final = 1
UNKNOWN: Final = 2
ERROR: Final = 3


class Column(NamedTuple):
    """The cells of one field, or the results of one program, one per row.

    `numbers` (float64) holds every number that a float64 can say, NaN where the cell is missing or something else.
    `objects`, when not None, holds all the cells as they are, None where missing; it is there as soon as one cell is
    not a plain number. `classes` are the Python classes in `objects`. `codes` (int8) is set on results that are
    yes/no and then says everything: 0 no, 1 yes, 2 unknown, 3 error. `errors` marks the rows of a result whose
    kinds clash; None: no row.
    """

    numbers: Floats
    objects: Objects | None = None
    classes: frozenset[type] = frozenset()
    codes: FlagCodes | None = None
    errors: Mask | None = None

    def cell(self, row: int) -> Cell:
        """Return one cell; None where it is missing, unknown or an error."""
        if self.codes is not None:
            return _FLAGS[int(self.codes[row])]
        if self.objects is not None:
            cell: Cell = self.objects[row]
            return cell
        value = float(self.numbers[row])
        return None if value != value else value

    def failed(self, row: int) -> bool:
        """Tell whether the row is an error."""
        if self.codes is not None:
            return bool(self.codes[row] == ERROR)
        return self.errors is not None and bool(self.errors[row])


_FLAGS: Final[tuple[bool | None, ...]] = (False, True, None, None)


def same_for_all(code: int, rows: int) -> FlagCodes:
    """Return yes/no codes that are the same in every row, as one byte that is read `rows` times."""
    return np.broadcast_to(_SINGLE[code], rows)


def one_code(codes: FlagCodes) -> int | None:
    """Return the code that all rows have, where `same_for_all` made it; else None."""
    return int(codes[0]) if codes.strides == (0,) and len(codes) else None


_SINGLE: Final = tuple(np.int8(code) for code in (NO, YES, UNKNOWN, ERROR))


def column_from_table(table: Table, field: str) -> Column:
    """Return the column of a field; every cell is missing when the table has no such field."""
    position = table.index(field)
    numbers = np.full(table.rows, np.nan) if position is None else table.block[position]
    cells = table.exact.get(field)
    return Column(numbers) if cells is None else _with_objects(numbers, cells)


def column_from_cells(cells: Sequence[Cell]) -> Column:
    """Return a column of the given cells; NaN is missing."""
    plain = [cell if is_plain_number(cell) else np.nan for cell in cells]
    numbers = np.array(plain, dtype=np.float64)
    if all(cell is None or is_plain_number(cell) for cell in cells):
        return Column(numbers)
    return _with_objects(numbers, [None if cell != cell else cell for cell in cells])


def constant_column(cell: Cell, rows: int) -> Column:
    """Return a column that has the same cell in every row."""
    if cell is None:
        return _nothing(rows)
    if is_plain_number(cell):
        return Column(np.full(rows, cell, dtype=np.float64))
    objects = np.empty(rows, dtype=object)
    objects[:] = [cell] * rows
    return Column(np.full(rows, np.nan), objects, frozenset({type(cell)}))


@lru_cache(maxsize=256)
def _nothing(rows: int) -> Column:
    return Column(np.broadcast_to(np.float64(np.nan), rows))


def _with_objects(numbers: Floats, cells: Sequence[Cell]) -> Column:
    objects = np.empty(len(cells), dtype=object)
    # Assigning a list of tuples at once would make numpy look for more dimensions.
    for row, cell in enumerate(cells):
        objects[row] = cell
    return Column(numbers, objects, frozenset({type(cell) for cell in cells}))
