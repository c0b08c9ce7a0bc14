"""What functions over rows give: of a column, and cell by cell as the reference.

Decides what is left out (rows whose argument is missing or unknown, above and below the line), that one row whose kinds
clash spoils the whole, and that means do not depend on the order of rows. Which rows there are is left to others: those
of an exchange for `batch_*`, those of a window for `recent_*`, which `stats` may count in its own approximate way.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from guardproxy.rules.language.columns import ERROR, NO, YES, Column
from guardproxy.rules.language.flaws import LanguageError
from guardproxy.rules.language.functions import AGGREGATES
from guardproxy.rules.language.names import Kind
from guardproxy.rules.language.semantics import Number, flag, normal, number, real
from guardproxy.table import Cell, Floats


def aggregate(function: str, column: Column, rows: int) -> Cell:
    """Return what a function over rows gives of its argument's results; None (missing) where no row is left.

    `column` is what `vector` made of the argument for these `rows`. Says what `aggregate_cells` says of its cells.
    """
    if AGGREGATES[function].argument is Kind.FLAG and column.codes is not None:
        if (column.codes == ERROR).any():
            return None
        return _COUNTS[function](int((column.codes == YES).sum()), int((column.codes == NO).sum()))
    if column.codes is None and column.objects is None and AGGREGATES[function].argument is Kind.NUMBER:
        if column.errors is not None and column.errors.any():
            return None
        known = column.numbers[~np.isnan(column.numbers)]
        return _ARRAYS[function](known) if len(known) else None
    return aggregate_cells(function, [_result(column, row) for row in range(rows)])


def aggregate_cells(function: str, cells: Sequence[Cell | LanguageError]) -> Cell:
    """Return what a function over rows gives of these results of its argument, a LanguageError where kinds clashed.

    Missing when one is an error or of another kind than the function takes, and when nothing but missing is left.
    """
    if any(isinstance(cell, LanguageError) for cell in cells):
        return None
    try:
        if AGGREGATES[function].argument is Kind.FLAG:
            flags = [flag(cell) for cell in cells]  # type: ignore[arg-type]
            return _COUNTS[function](flags.count(True), flags.count(False))
        numbers = [number(normal(cell)) for cell in cells]  # type: ignore[arg-type]
    except LanguageError:
        return None
    known = [value for value in numbers if value is not None]
    return _NUMBERS[function](known) if known else None


def _result(column: Column, row: int) -> Cell | LanguageError:
    return LanguageError("this row is an error") if column.failed(row) else column.cell(row)


def _share(yes: int, no: int) -> Cell:
    return yes / (yes + no) if yes + no else None


def _count(yes: int, no: int) -> Cell:
    return float(yes) if yes + no else None


def _mean(values: Sequence[Number]) -> Cell:
    """Return the mean of the values as float64, from their exact sum; missing where infinities cancel out."""
    return _mean_of_floats([value for value in map(real, values) if value is not None])


def _mean_of_floats(floats: list[float]) -> float | None:
    try:
        return math.fsum(floats) / len(floats)
    except OverflowError:
        # The sum is beyond float64, the mean never is.
        return math.fsum(value / len(floats) for value in floats)
    except ValueError:
        return None


def _percentile(share: float) -> Callable[[Sequence[Number]], Cell]:
    """Return the smallest value with at least this share of the values at or below it."""
    return lambda values: sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


_COUNTS: Final[Mapping[str, Callable[[int, int], Cell]]] = MappingProxyType(
    {"batch_share": _share, "recent_share": _share, "batch_count": _count, "recent_count": _count}
)
_NUMBERS: Final[Mapping[str, Callable[[Sequence[Any]], Cell]]] = MappingProxyType(
    {
        "batch_mean": _mean,
        "batch_min": min,
        "batch_max": max,
        "recent_mean": _mean,
        "recent_p50": _percentile(0.5),
        "recent_p99": _percentile(0.99),
    }
)
_ARRAYS: Final[Mapping[str, Callable[[Floats], Cell]]] = MappingProxyType(
    {
        "batch_mean": lambda values: _mean_of_floats(values.tolist()),
        "batch_min": lambda values: float(values.min()),
        "batch_max": lambda values: float(values.max()),
        "recent_mean": lambda values: _mean_of_floats(values.tolist()),
        "recent_p50": lambda values: _percentile(0.5)(values.tolist()),
        "recent_p99": lambda values: _percentile(0.99)(values.tolist()),
    }
)
