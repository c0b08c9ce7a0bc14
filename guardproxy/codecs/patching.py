"""A patch, taken cell by cell and then value by value.

Decides what a patch must be whatever holds the cells: every row is there, no cell is replaced twice, a vector gets as many
values as it has, no place in the response is written in two ways. A cell that says the same already stays as it is, a bound
becomes a whole number where there are no others. How a value is written is left to the containers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from guardproxy.codecs.cells import SCALARS, Kind, cells_of, column_kind, is_same, tensor_kind, whole_inside
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.predictions import Field, scalars_of
from guardproxy.decision import Replacement
from guardproxy.errors import PatchError
from guardproxy.table import Cell

CLAMP: Final = "clamp"
"""The source of a replacement that is a bound which the prediction broke."""

K = TypeVar("K")
V = TypeVar("V")


class Plan(ABC):
    """Turns the replacements of a patch into what a container writes into a response of `rows` rows.

    `prefix` is the way to what the leaves of the fields begin at.
    """

    def __init__(self, fields: Sequence[Field], rows: int, prefix: Path = ()) -> None:
        self._fields = {field.name: field for field in fields}
        self._rows = rows
        self._prefix = prefix
        self._kinds: dict[str, Kind] = {}
        self._vectors: dict[str, bool] = {}

    def take(self, patch: Sequence[Replacement]) -> None:
        """Take in all cells of a patch. Raises PatchError as `write_cells` does."""
        write_cells(patch, self._rows, self._take_cell)

    @abstractmethod
    def _old(self, path: Path) -> Any:
        """Return the scalar that stands at a path."""

    @abstractmethod
    def _write(self, path: Path, new: Any, old: Any, field: Field) -> None:
        """Put the scalar `new` in place of `old`, where that changes anything. Raises PatchError."""

    def _take_cell(self, name: str, row: int, cell: Cell, replacement: Replacement) -> None:
        field = self._fields.get(name)
        if field is None:
            raise PatchError("the response has no such prediction")
        current = plain(field.values[row])
        if is_same(current if type(current) in SCALARS else cells_of((current,), exact=True)[0], cell):
            return
        if type(current) is list and not (current and SCALARS.issuperset(map(type, current))):
            raise PatchError("the cell holds a list that is no vector")
        try:
            paths = [(*self._prefix, *path) for path in field.leaves(row)]
        except LookupError:
            raise PatchError("the row has no such value that could be replaced") from None
        if current is None and self._is_vectors(field):
            # A lone value among vectors would be no answer of the same form.
            raise PatchError("the row has no vector that could be replaced")
        self._take_values(field, paths, cell, current, clamped=replacement.source == CLAMP)

    def _take_values(
        self, field: Field, paths: Sequence[Path], cell: Cell, _current: Any, *, clamped: bool
    ) -> None:
        for path, new in zip(paths, news_of(cell, len(paths)), strict=True):
            old = self._old(path)
            inside = whole_inside(new, old) if clamped and self._kind(field).whole else new
            self._write(path, inside, old, field)

    def _is_vectors(self, field: Field) -> bool:
        """Tell whether all rows but the missing ones have lists."""
        found = self._vectors.get(field.name)
        if found is None:
            found = self._vectors[field.name] = set(map(type, field.values)) == {list, type(None)}
        return found

    def _kind(self, field: Field) -> Kind:
        kind = self._kinds.get(field.name)
        if kind is None:
            scalars = scalars_of(field.values)
            kind = tensor_kind(field.datatype, scalars) if field.datatype else column_kind(scalars)
            self._kinds[field.name] = kind
        return kind


def write_cells(
    patch: Sequence[Replacement], rows: int, write: Callable[[str, int, Cell, Replacement], None]
) -> None:
    """Call `write(name, row, cell, replacement)` for every cell of a patch.

    Raises PatchError, once every cell was tried, when there were rows that are not there, cells that are replaced twice, or
    cells for which `write` raised one: its sentence names the first row and field, its `rows` all of them.
    """
    seen: set[tuple[int, str]] = set()
    problems: dict[int, str] = {}
    for replacement in patch:
        row = replacement.row
        if not 0 <= row < rows:
            problems.setdefault(row, f"there is no row {row} in a response of {rows} rows")
            continue
        for name, cell in replacement.values.items():
            if (row, name) in seen:
                problems.setdefault(row, f"row {row} has two replacements for '{name}'")
                continue
            seen.add((row, name))
            try:
                write(name, row, cell, replacement)
            except PatchError as problem:
                problems.setdefault(row, f"row {row}, '{name}': {problem}")
    if problems:
        raise PatchError(next(iter(problems.values())), problems)


def news_of(cell: Cell, count: int) -> Sequence[Cell]:
    """Return what is written into the `count` places of a cell: a vector's elements, or the same for a missing one.

    Raises PatchError when they are not as many.
    """
    news = cell if isinstance(cell, (tuple, list)) else (cell,) * (count if cell is None else 1)
    if len(news) != count:
        raise PatchError(f"{len(news)} values do not fit into {count}")
    return news


def write_once(made: dict[K, V], place: K, new: V) -> None:
    """Keep what is written at a place. Raises PatchError when something else is written there already."""
    if made.setdefault(place, new) != new:
        raise PatchError("another replacement of the row writes the same value")


def plain(value: Any) -> Any:
    """Return a value out of a block as Python has it; any other as it is."""
    return value.item() if isinstance(value, np.generic) else value
