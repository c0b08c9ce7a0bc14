"""What a named exception quiets: rows that a rule finds loud, but somebody has answered for until a day.

Decides which verdicts are loud, that only those are asked about, so that exceptions cost a quiet exchange nothing, and
that an exception whose `when` is unknown or an error does not apply. How exceptions are written is left to `exceptions`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, overload

import numpy as np

from guardproxy.decision import Verdict
from guardproxy.rules.batches import COLUMNS_FROM, Batches
from guardproxy.rules.language import YES, Column, LanguageError
from guardproxy.rules.layout import Layout, Slots
from guardproxy.rules.model import Unless, View
from guardproxy.table import Cell, Codes, Mask

Row: TypeAlias = Callable[[Sequence[Cell]], Cell]
Columns: TypeAlias = Callable[[Sequence[Column], int], Column]

_LOUD_BITS: Final = 3


@overload
def is_loud(verdicts: Codes) -> Mask: ...
@overload
def is_loud(verdicts: Verdict) -> bool: ...
def is_loud(verdicts: Codes | Verdict) -> Mask | bool:
    """Tell of verdict codes, or of one verdict, whether somebody may want to know.

    Ok is 0 and skipped is 4: they alone have none of the two lower bits, which is far quicker to ask than a table.
    """
    found: Mask | bool = verdicts & _LOUD_BITS != 0
    return found


class CompiledUnless(NamedTuple):
    """An exception with its condition in both forms."""

    unless: Unless
    row: Row
    columns: Columns


@dataclass(frozen=True, slots=True, eq=False)
class CompiledExceptions:
    """The exceptions of a phase's rules, by the rule's index, and the slots that their conditions read."""

    slots: Slots
    rules: tuple[tuple[int, tuple[CompiledUnless, ...]], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Exceptions:
    """Exceptions on one message's fields."""

    layout: Layout
    batches: Batches
    rules: tuple[tuple[int, tuple[CompiledUnless, ...]], ...]

    def apply(self, codes: Codes, view: View) -> None:
        """Turn the loud verdicts (rules, rows) that an exception covers into skipped ones, in place."""
        found = [
            (index, live)
            for index, each in self.rules
            if is_loud(codes[index]).any() and (live := [one for one in each if is_live(one.unless, view)])
        ]
        if not found:
            return
        if self.batches.each:
            view = self.batches.into(view)
        if view.features.rows < COLUMNS_FROM:
            self._by_row(codes, view, found)
        else:
            self._by_column(codes, view, found)

    def _by_row(self, codes: Codes, view: View, found: list[tuple[int, list[CompiledUnless]]]) -> None:
        rows = self.layout.rows(view)
        for index, live in found:
            for row in np.flatnonzero(is_loud(codes[index])).tolist():
                if any(_holds(one, rows[row]) for one in live):
                    codes[index, row] = Verdict.SKIPPED

    def _by_column(self, codes: Codes, view: View, found: list[tuple[int, list[CompiledUnless]]]) -> None:
        rows, columns = view.features.rows, self.layout.columns(view)
        for index, live in found:
            for one in live:
                covered = is_loud(codes[index]) & _yes(one.columns(columns, rows), rows)
                codes[index, covered] = Verdict.SKIPPED


def is_live(unless: Unless, view: View) -> bool:
    """Tell whether an exception has not expired when the request came: `until` is its last day, in UTC."""
    return view.facts.date <= unless.until


def _holds(one: CompiledUnless, cells: Sequence[Cell]) -> bool:
    try:
        return one.row(cells) is True
    except LanguageError:
        return False


def _yes(column: Column, rows: int) -> Mask:
    if column.codes is not None:
        yes: Mask = column.codes == YES
        return yes
    return np.fromiter(
        (not column.failed(row) and column.cell(row) is True for row in range(rows)),
        dtype=np.bool_,
        count=rows,
    )
