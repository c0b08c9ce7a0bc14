"""Checks that look at many cells of a row at once: probabilities, and that every prediction is present and finite.

Decides their verdict on one row and on many; both forms give the same answer. The profile's own check is left to
`profile`, everything else to the expression language.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final, TypeAlias

import numpy as np

from guardproxy.decision import Verdict
from guardproxy.rules.language import LanguageError
from guardproxy.rules.model import FINITE_RULE, Check
from guardproxy.table import Cell, Codes, Floats, Table

RowCheck: TypeAlias = Callable[[Check, Sequence[Cell]], bool | None]
TableCheck: TypeAlias = Callable[[Check, Table, tuple[str, ...]], Codes]

# A sum of floats that is exactly on its tolerance may come out a hair beyond it.
_SLACK: Final = 1e-12
_NUMERIC: Final = frozenset({float, int, type(None)})
_FROM_ANSWER: Final[Mapping[bool | None, Verdict]] = {
    True: Verdict.OK,
    False: Verdict.VIOLATED,
    None: Verdict.UNKNOWN,
}


def probabilities(check: Check, cells: Sequence[Cell]) -> bool | None:
    """Tell whether all members lie in [0, 1] and add up to the check's total; None when one is missing.

    A single field holds the members as a vector. Raises `LanguageError` for anything that is not a number.
    """
    first = cells[0] if len(cells) == 1 else None
    members: Sequence[Cell] = first if isinstance(first, tuple) else cells
    total, missing = 0.0, False
    inside = True
    for member in members:
        if member is None or member != member:
            missing = True
        elif type(member) is float or type(member) is int:
            # A whole number too large for a float is outside, and is not added up.
            if 0.0 <= member <= 1.0:
                total += member
            else:
                inside = False
        else:
            raise LanguageError(f"probabilities must be numbers, not {_kind(member)}")
    if not inside:
        return False
    return None if missing else abs(total - check.total) <= check.tolerance + _SLACK


def finite(check: Check, cells: Sequence[Cell]) -> bool:  # noqa: ARG001 - one signature for all row checks
    """Tell whether every prediction is there and no number in it is infinite. Text and yes/no count as present."""
    for cell in cells:
        if type(cell) is float:
            if cell - cell != 0.0:
                return False
        elif not _whole(cell):
            return False
    return bool(cells)


def probabilities_table(check: Check, table: Table, names: tuple[str, ...]) -> Codes:
    """Judge all rows of a table."""
    members = _members(table, names)
    if members is None:
        columns = [table.column(name) for name in names]
        return np.array([_verdict(check, cells) for cells in zip(*columns, strict=True)], dtype=np.uint8)
    missing = np.isnan(members).any(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        outside = ((members < 0.0) | (members > 1.0)).any(axis=0)
        # Along the first axis numpy adds in order, exactly as the scalar form does.
        off = ~(np.abs(np.add.reduce(members, axis=0) - check.total) <= check.tolerance + _SLACK)
    codes = np.where(missing, Verdict.UNKNOWN, np.where(off, Verdict.VIOLATED, Verdict.OK))
    return np.where(outside, Verdict.VIOLATED, codes).astype(np.uint8)


def finite_table(check: Check, table: Table, names: tuple[str, ...]) -> Codes:  # noqa: ARG001 - see `finite`
    """Judge all rows of a table."""
    good = np.full(table.rows, bool(names))
    for name in names:
        cells = table.exact.get(name)
        position = table.index(name)
        if cells is not None:
            good &= np.fromiter((_whole(cell) for cell in cells), dtype=np.bool_, count=table.rows)
        elif position is None:
            good[:] = False
        else:
            good &= np.isfinite(table.block[position])
    return np.where(good, Verdict.OK, Verdict.VIOLATED).astype(np.uint8)


ROW_CHECKS: Final[Mapping[str, RowCheck]] = {"probabilities": probabilities, FINITE_RULE: finite}
TABLE_CHECKS: Final[Mapping[str, TableCheck]] = {
    "probabilities": probabilities_table,
    FINITE_RULE: finite_table,
}


def _verdict(check: Check, cells: Sequence[Cell]) -> Verdict:
    try:
        return _FROM_ANSWER[probabilities(check, cells)]
    except LanguageError:
        return Verdict.ERROR


def _members(table: Table, names: tuple[str, ...]) -> Floats | None:
    """Return the members by row, shape (members, rows), or None when they are not plain numbers of one shape."""
    if not any(name in table.exact for name in names):
        positions = [at for at in map(table.index, names) if at is not None]
        return table.block[positions] if len(positions) == len(names) else None
    if len(names) > 1:
        return None
    cells = table.exact[names[0]]
    if not cells or not all(type(cell) is tuple and len(cell) == len(cells[0]) > 0 for cell in cells):  # type: ignore[arg-type]
        return None
    if not set(map(type, chain.from_iterable(cells))) <= _NUMERIC:  # type: ignore[arg-type]
        return None
    try:
        block = np.array(cells, dtype=np.float64)
    except OverflowError:
        return None
    return np.ascontiguousarray(block.T)


def _whole(cell: Cell) -> bool:
    if type(cell) is float:
        return cell - cell == 0.0
    if cell is None:
        return False
    if type(cell) is tuple:
        return bool(cell) and all(_whole(member) for member in cell)
    return True


def _kind(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true or false"
    return "text" if isinstance(cell, str) else "a vector"
