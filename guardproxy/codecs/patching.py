"""A patch, taken cell by cell.

Decides what a patch must be whatever holds the cells: every row is there, no cell is replaced twice. How a cell is
written is left to the containers.
"""

from collections.abc import Callable, Sequence
from typing import Final

from guardproxy.decision import Replacement
from guardproxy.errors import PatchError
from guardproxy.table import Cell

CLAMP: Final = "clamp"
"""The source of a replacement that is a bound which the prediction broke."""


def write_cells(
    patch: Sequence[Replacement], rows: int, write: Callable[[str, int, Cell, Replacement], None]
) -> None:
    """Call `write(name, row, cell, replacement)` for every cell of a patch.

    Raises PatchError, naming row and field, for a row that is not there, for a cell that is replaced twice and for what
    `write` raises.
    """
    seen: set[tuple[int, str]] = set()
    for replacement in patch:
        row = replacement.row
        if not 0 <= row < rows:
            raise PatchError(f"there is no row {row} in a response of {rows} rows")
        for name, cell in replacement.values.items():
            if (row, name) in seen:
                raise PatchError(f"row {row} has two replacements for '{name}'")
            seen.add((row, name))
            try:
                write(name, row, cell, replacement)
            except PatchError as problem:
                raise PatchError(f"row {row}, '{name}': {problem}") from None


def news_of(cell: Cell, count: int) -> Sequence[Cell]:
    """Return what is written into the `count` places of a cell: a vector's elements, or the same for a missing one.

    Raises PatchError when they are not as many.
    """
    news = cell if isinstance(cell, (tuple, list)) else (cell,) * (count if cell is None else 1)
    if len(news) != count:
        raise PatchError(f"{len(news)} values do not fit into {count}")
    return news
