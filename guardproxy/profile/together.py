"""Fields that a row has or lacks as one, such as a latitude and its longitude.

Decides which rows have some fields of a group and lack others. Which fields belong together is left to `learn`.
"""

from collections.abc import Sequence

import numpy as np

from guardproxy.profile.limits import Position
from guardproxy.table import Codes, Mask, Table


class Group:
    """Fields that belong together, for tables with one sequence of fields; one that the table does not have is missing."""

    __slots__ = ("_lines", "_members", "_whole")

    def __init__(self, names: Sequence[str], compared: Sequence[str], fields: Sequence[str]) -> None:
        """Make a group of `names`, which are among the fields `compared`, for tables with `fields`."""
        self._lines = [compared.index(name) for name in names]
        self._members = [(name, fields.index(name) if name in fields else None) for name in names]
        self._whole = all(place is not None for _, place in self._members)

    def torn(self, table: Table) -> Mask | None:
        """Return by row whether it has some of the fields and lacks others; None when no row does."""
        if self._whole and table.complete:
            return None
        return self._torn(self._missing(table))

    def mark(self, table: Table, codes: Codes) -> None:
        """Mark the fields, inside so far, that torn rows lack; in place."""
        missing = self._missing(table)
        torn = self._torn(missing)
        if torn is None:
            return
        for line, lacking in zip(self._lines, missing, strict=True):
            codes[line, torn & lacking & (codes[line] == Position.INSIDE)] = Position.APART

    def _missing(self, table: Table) -> list[Mask]:
        return [_missing(table, name, place) for name, place in self._members]

    @staticmethod
    def _torn(missing: list[Mask]) -> Mask | None:
        some = np.logical_or.reduce(missing)
        if not some.any():
            return None
        torn: Mask = some & ~np.logical_and.reduce(missing)
        return torn if torn.any() else None


def _missing(table: Table, name: str, place: int | None) -> Mask:
    if place is None:
        return np.ones(table.rows, dtype=np.bool_)
    cells = table.exact.get(name)
    if cells is None:
        missing: Mask = np.isnan(table.block[place])
        return missing
    return np.fromiter((cell is None for cell in cells), dtype=np.bool_, count=table.rows)
