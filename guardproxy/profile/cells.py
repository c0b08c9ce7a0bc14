"""Cells: how the values of a field are counted, in the reference data and in live traffic alike.

Decides which cell a value falls into. Where the edges stand is left to `profile.cells_fit`, what follows from a count to `stats`.

A field has at most MAX_CELLS cells. Those of a field with an order are intervals, then what is `below` and `above` all that
was learned; those of a field without one are its commonest values, then `other` (known, but rare) and `unseen` (in the reference, what one row alone had). Both end with
`missing` and `type` (a value that is no value of this field). Counts of the same cells add and subtract exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardproxy.table import Cell, Codes, Floats

MAX_CELLS: Final = 24
SPECIAL_CELLS: Final = 4
BELOW, ABOVE, MISSING, TYPE = range(SPECIAL_CELLS)
"""The places of a field's special cells, from the first of them."""
OTHER, UNSEEN = BELOW, ABOVE
"""The same of a field without an order; its last two are as those of the others."""
SEASON_CELLS: Final = 48
"""An hour of the day on working days, and one at weekends, each has one (see `season_cell`)."""
ORDERED_SPECIALS: Final = ("below", "above", "missing", "type")
VALUE_SPECIALS: Final = ("other", "unseen", "missing", "type")


class Measure(StrEnum):
    """What of a value is counted: itself, a text's length in characters, a vector's norm, how old a moment is in seconds."""

    VALUE = "value"
    LENGTH = "length"
    NORM = "norm"
    LAG = "lag"


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of one field with what the reference data had in each.

    With `edges` (ascending) interval i holds `edges[i-1] <= x < edges[i]`, and `low` and `high` are the smallest and the
    largest number of the reference; with `values` each of these has a cell of its own and `known` are the rarer ones. `counts` are rows by cell, in
    the order of `names`; `spread` the standard deviation of each cell's share from day to day beyond what sampling explains,
    empty where no time column was given. `season` holds counts by hour and kind of day, shape (48, cells) (see
    `season_cell`), empty where the reference shows no season.
    """

    measure: Measure = Measure.VALUE
    edges: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf
    values: tuple[Cell, ...] = ()
    known: frozenset[Cell] = frozenset()
    counts: tuple[int, ...] = ()
    spread: tuple[float, ...] = ()
    season: tuple[tuple[int, ...], ...] = ()

    @property
    def ordered(self) -> int:
        """How many cells, the first ones, are intervals in ascending order; 0 for values without an order."""
        return 0 if self.values else len(self.edges) + 1

    @property
    def size(self) -> int:
        """How many cells there are."""
        return (len(self.values) or len(self.edges) + 1) + SPECIAL_CELLS

    @property
    def names(self) -> tuple[str, ...]:
        """What each cell is called: `3 to 4`, `dairy`, `missing`."""
        if self.values:
            return (*(_shown(value) for value in self.values), *VALUE_SPECIALS)
        ends = (self.low, *self.edges, self.high)
        return (
            *(f"{one:.6g} to {two:.6g}" for one, two in pairwise(ends)),
            *ORDERED_SPECIALS,
        )

    def of_numbers(self, numbers: Floats) -> Codes:
        """Return the cell of each number, shape (rows,); one that is not finite counts as missing. Only for fields with an order."""
        first = len(self.edges) + 1
        codes = np.searchsorted(np.array(self.edges), numbers, side="right").astype(np.uint8)
        codes[numbers < self.low] = first + BELOW
        codes[numbers > self.high] = first + ABOVE
        codes[~np.isfinite(numbers)] = first + MISSING
        return codes

    def of_values(self, cells: Sequence[Cell]) -> Codes:
        """Return the cell of each value, shape (rows,). Only for fields without an order."""
        places = {value: place for place, value in enumerate(self.values)}
        first = len(self.values)
        found = [
            first + MISSING
            if cell is None
            else places[cell]
            if cell in places
            else first + (OTHER if cell in self.known else UNSEEN)
            for cell in cells
        ]
        return np.array(found, dtype=np.uint8)


def season_cell(at: float) -> int:
    """Return the season cell of a moment (Unix seconds): the hour in UTC, plus 24 on Saturdays and Sundays."""
    return int(season_cells(np.array([at // 3600], dtype=np.int64))[0])


def season_cells(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the season cell of each hour since 1970, shape (hours,)."""
    weekend = (hours // 24 + 3) % 7 >= 5
    cells: NDArray[np.int64] = hours % 24 + 24 * weekend
    return cells


def _shown(value: Cell) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
