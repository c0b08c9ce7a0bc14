"""Checks that look at cells by themselves: probabilities, and that every prediction is present and finite.

Decides their verdict on one row and on many; both forms give the same answer. Checks of text and of confidence are left
to `texts`, the profile's own to `profile`, everything else to the expression language.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final, TypeAlias

import numpy as np

from guardproxy.decision import Verdict
from guardproxy.rules.language import LanguageError
from guardproxy.rules.model import FINITE_RULE, Check
from guardproxy.rules.texts import ROW_CHECKS as TEXT_CHECKS
from guardproxy.rules.texts import SLACK
from guardproxy.rules.unusual import UNUSUAL, unusual
from guardproxy.table import Cell, Codes, Floats, Table

RowCheck: TypeAlias = Callable[[Check, Sequence[Cell]], bool | None]
TableCheck: TypeAlias = Callable[[Check, Table, tuple[str, ...]], Codes]

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
    return None if missing else abs(total - check.total) <= check.tolerance + SLACK


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
        return each_row(check, table, names)
    missing = np.isnan(members).any(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        outside = ((members < 0.0) | (members > 1.0)).any(axis=0)
        # Along the first axis numpy adds in order, exactly as the scalar form does.
        off = ~(np.abs(np.add.reduce(members, axis=0) - check.total) <= check.tolerance + SLACK)
    codes = np.where(missing, Verdict.UNKNOWN, np.where(off, Verdict.VIOLATED, Verdict.OK))
    return np.where(outside, Verdict.VIOLATED, codes).astype(np.uint8)


def confidence_table(check: Check, table: Table, names: tuple[str, ...]) -> Codes:
    """Judge all rows of a table."""
    members = _members(table, names)
    if members is None or len(members) < 2:
        return each_row(check, table, names)
    top = np.partition(members, len(members) - 2, axis=0)[-2:]
    with np.errstate(invalid="ignore"):
        good = (top[1] >= check.least_top - SLACK) & (top[1] - top[0] >= check.least_margin - SLACK)
    codes = np.where(good, Verdict.OK, Verdict.VIOLATED)
    missing = np.isnan(members).any(axis=0)
    return np.where(missing, Verdict.UNKNOWN, codes).astype(np.uint8)


def text_table(check: Check, table: Table, names: tuple[str, ...]) -> Codes:
    """Judge all rows of a table, each different text once."""
    cells = table.column(names[0])
    # Cells that are equal but not alike (1, 1.0, true) are no text, and all the same error.
    verdicts = {cell: _verdict(ROW_CHECKS[check.kind], check, (cell,)) for cell in dict.fromkeys(cells)}
    return np.fromiter((verdicts[cell] for cell in cells), dtype=np.uint8, count=table.rows)


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
    return np.where(good, _OK, _VIOLATED)


def each_row(check: Check, table: Table, names: tuple[str, ...]) -> Codes:
    """Judge all rows of a table by the row check of the same key."""
    columns = [table.column(name) for name in names]
    judge = ROW_CHECKS[check.kind]
    return np.array([_verdict(judge, check, cells) for cells in zip(*columns, strict=True)], dtype=np.uint8)


_OK: Final = np.uint8(Verdict.OK)
_VIOLATED: Final = np.uint8(Verdict.VIOLATED)

ROW_CHECKS: Final[Mapping[str, RowCheck]] = {
    "probabilities": probabilities,
    FINITE_RULE: finite,
    UNUSUAL: unusual,
    **TEXT_CHECKS,
}
TABLE_CHECKS: Final[Mapping[str, TableCheck]] = {
    "probabilities": probabilities_table,
    FINITE_RULE: finite_table,
    "confidence": confidence_table,
    "text": text_table,
    "json_schema": text_table,
}


def _verdict(judge: RowCheck, check: Check, cells: Sequence[Cell]) -> Verdict:
    try:
        return _FROM_ANSWER[judge(check, cells)]
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
