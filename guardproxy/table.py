"""The table: the rows of one exchange by field.

Decides how cells are kept: every number in one float64 block, everything a float cannot hold beside it.
Where fields come from and what they are called is left to the codecs; what they should be, to the profile.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.uint8]

Vector: TypeAlias = tuple[float | int | None, ...]
"""One row's vector (class probabilities): one field of its own shape."""

Cell: TypeAlias = float | int | str | bool | Vector | None
"""One value: a number, text, yes/no, a vector, or None where it is missing."""

EXACT_INTEGERS: Final = 2**53
"""A float64 holds every whole number below this magnitude; cells at or beyond it are kept exact."""

_NOTHING: Final[Mapping[str, tuple[Cell, ...]]] = MappingProxyType({})


class Table:
    """Rows by field. A table is never changed once it is made.

    `block` has shape (fields, rows), float64: the number in each cell, NaN where the cell is missing or is not
    a number. `exact` holds, for the fields that have at least one cell a float64 cannot say (text, yes/no, a
    whole number of 2**53 or more, a vector), all cells of that field, one per row. A field in `exact` is read
    from there; its row of the block then holds its plain numbers and NaN elsewhere.

    `complete` promises that no cell is missing and that `exact` is empty. A table of one row keeps its numbers as
    Python floats as well, or instead: single rows are judged by generated functions, and numpy would only be a detour.
    """

    __slots__ = ("_block", "_single", "complete", "exact", "fields", "rows")

    def __init__(
        self,
        fields: tuple[str, ...],
        rows: int,
        block: Floats | None,
        exact: Mapping[str, tuple[Cell, ...]] = _NOTHING,
        single: list[float] | None = None,
    ) -> None:
        """Make a table of a block, or of `single`: one row that is complete, without NaN; the list is kept."""
        self.fields = fields
        self.rows = rows
        self.exact = exact
        self.complete = single is not None
        self._block = block
        self._single = single

    @property
    def block(self) -> Floats:
        """The numbers of all cells, shape (fields, rows), read-only."""
        if self._block is None:
            block = np.array(self._single, dtype=np.float64).reshape(-1, 1)
            block.flags.writeable = False
            self._block = block
        return self._block

    def single(self) -> list[float]:
        """Return the numbers of a table of one row, one per field, NaN where there is none. Do not change them."""
        if self._single is None:
            if self.rows != 1:
                raise ValueError(f"a table of {self.rows} rows has no single row")
            self._single = self.block[:, 0].tolist()
        return self._single

    def __repr__(self) -> str:
        return f"<Table {self.rows} rows of {', '.join(self.fields[:8])}{', ...' if len(self.fields) > 8 else ''}>"

    def index(self, name: str) -> int | None:
        """Return the position of the field called `name`, or None."""
        try:
            return self.fields.index(name)
        except ValueError:
            return None

    def cell(self, name: str, row: int) -> Cell:
        """Return one cell; None when it is missing or there is no such field."""
        cells = self.exact.get(name)
        if cells is not None:
            return cells[row]
        position = self.index(name)
        if position is None:
            return None
        value = float(self.block[position, row])
        return None if value != value else value

    def column(self, name: str) -> tuple[Cell, ...]:
        """Return all cells of a field, None where missing."""
        cells = self.exact.get(name)
        if cells is not None:
            return cells
        position = self.index(name)
        if position is None:
            return (None,) * self.rows
        return tuple(None if value != value else value for value in self.block[position].tolist())

    def record(self, row: int) -> dict[str, Cell]:
        """Return one row as a mapping from field to cell."""
        return {name: self.cell(name, row) for name in self.fields}


def table_from_columns(columns: Mapping[str, Sequence[Cell]], rows: int) -> Table:
    """Build a table from columns of cells; every column must have `rows` cells.

    Numbers go into the block; a column with any other cell also goes into `exact` as it is. NaN becomes None there.
    """
    fields = tuple(columns)
    block = np.full((len(fields), rows), np.nan)
    exact: dict[str, tuple[Cell, ...]] = {}
    for position, cells in enumerate(columns.values()):
        if len(cells) != rows:
            raise ValueError(f"column {fields[position]!r} has {len(cells)} cells, expected {rows}")
        plain = fill_numbers(block[position], cells)
        if not plain:
            exact[fields[position]] = tuple(None if cell != cell else cell for cell in cells)
    block.flags.writeable = False
    return Table(fields, rows, block, exact)


def table_from_records(records: Sequence[Mapping[str, Cell]]) -> Table:
    """Build a table from records; a key that a record lacks is missing there. Fields keep their first-seen order."""
    names: dict[str, None] = {}
    for record in records:
        names.update(dict.fromkeys(record))
    return table_from_columns(
        {name: [record.get(name) for record in records] for name in names}, len(records)
    )


def stack_tables(tables: Sequence[Table]) -> Table:
    """Put tables with the same fields on top of each other, every cell as it was."""
    if len(tables) == 1:
        return tables[0]
    fields = tables[0].fields
    if all(table.rows == 1 for table in tables):
        block = np.array([table.single() for table in tables], dtype=np.float64).T
        block = np.ascontiguousarray(block).reshape(len(fields), len(tables))
    else:
        block = np.concatenate([table.block for table in tables], axis=1)
    block.flags.writeable = False
    named = {name for table in tables for name in table.exact}
    exact = {
        name: tuple(chain.from_iterable(table.column(name) for table in tables))
        for name in fields
        if name in named
    }
    return Table(fields, block.shape[1], block, exact)


def json_cell(cell: Cell) -> object:
    """Return a cell as JSON can say it: a vector as a list, and what is no finite number as text (`inf`)."""
    if isinstance(cell, float) and cell - cell != 0.0:
        return str(cell)
    return [json_cell(member) for member in cell] if isinstance(cell, tuple) else cell


def is_plain_number(cell: object) -> bool:
    """Tell whether a float64 holds this cell exactly as a number (yes/no is not a number)."""
    if type(cell) is float:
        return True
    return type(cell) is int and -EXACT_INTEGERS < cell < EXACT_INTEGERS


def fill_numbers(target: Floats, cells: Sequence[Cell]) -> bool:
    """Put a field's plain numbers into a block; tell whether it had nothing else but missing cells."""
    plain = True
    for row, cell in enumerate(cells):
        if is_plain_number(cell):
            target[row] = cell
        elif cell is not None:
            plain = False
    return plain
