"""What is counted of a cell where that is not the cell itself: a text's length, a vector's norm, how old a moment is.

Decides how a cell is measured, in the reference data and in live traffic alike, and which cells say a moment. Which cell of a
field's counts a measure falls into is left to `cells`.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from guardproxy.profile.cells import Measure
from guardproxy.profile.times import EPOCHS, UNITS, read_moment
from guardproxy.table import Cell, Floats, Mask

MAX_AHEAD_S: Final = 60.0
"""How far a moment may lie ahead of now: clocks differ. What lies further ahead has not happened."""


def moment_of(cell: Cell) -> float | None:
    """Return the Unix seconds that a cell means: a date or a moment as text (UTC without a zone), or a number of seconds or
    milliseconds.

    None where it is no moment, NaN where its form does not tell days from months.
    """
    if isinstance(cell, str):
        read = read_moment(cell)
        return None if read is None else read[1]
    if isinstance(cell, (bool, tuple)) or cell is None:
        return None
    for form, (low, high) in EPOCHS.items():
        if low <= cell < high:
            return cell * UNITS[form]
    return None


def may_have_happened(moment: float | None, now: float) -> bool:
    """Tell whether a row can have happened at a moment (Unix seconds): one that is known, from 1970 on, and not ahead of now."""
    return moment is not None and 0.0 <= moment <= now + MAX_AHEAD_S


def measured(cells: Sequence[Cell], measure: Measure, times: Floats) -> tuple[Floats, Mask]:
    """Return what is counted of each cell, and which are no values of such a field.

    `times` says when each row happened (Unix seconds). A missing cell has NaN; so has one that is no value, and a vector of which
    a member is missing.
    """
    of = _MEASURES[measure]
    numbers = np.full(len(cells), np.nan)
    wrong = np.zeros(len(cells), dtype=np.bool_)
    for row, (cell, at) in enumerate(zip(cells, times.tolist(), strict=True)):
        if cell is None:
            continue
        found = of(cell, at)
        if found is None:
            wrong[row] = True
        else:
            numbers[row] = found
    return numbers, wrong


def _value(cell: Cell, _at: float) -> float | None:
    if isinstance(cell, (bool, str, tuple)) or cell is None:
        return None
    try:
        return float(cell)
    except OverflowError:
        return math.copysign(sys.float_info.max, cell)


def _length(cell: Cell, _at: float) -> float | None:
    return float(len(cell)) if isinstance(cell, str) else None


def _norm(cell: Cell, _at: float) -> float | None:
    if not isinstance(cell, tuple):
        return None
    return math.hypot(*(math.nan if part is None else part for part in cell))


def _lag(cell: Cell, at: float) -> float | None:
    moment = moment_of(cell)
    return None if moment is None else at - moment


_MEASURES: Final[Mapping[Measure, Callable[[Cell, float], float | None]]] = MappingProxyType(
    {Measure.VALUE: _value, Measure.LENGTH: _length, Measure.NORM: _norm, Measure.LAG: _lag}
)
