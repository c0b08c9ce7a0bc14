"""Cells: how the values of a field are counted, in the reference data and in live traffic alike.

Decides which cell a value falls into. Where the edges stand is left to `profile.cells_fit`, what follows from a count to `stats`.

A field has at most MAX_CELLS cells. Those of a field with an order are intervals, then what is `below` and `above` all that
was learned; those of a field without one are its commonest values, then `other` (known, but rare) and `unseen`. Both end with
`missing` and `type` (a value that is no value of this field). Counts of the same cells add and subtract exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np

from guardproxy.table import Cell, Codes, Floats

MAX_CELLS: Final = 24
SPECIAL_CELLS: Final = 4
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

    def of_numbers(self, numbers: Floats, missing: int | None = None) -> Codes:
        """Return the cell of each number, shape (rows,); one that is not finite counts as missing, or as `missing` where that is given.

        Only for fields with an order.
        """
        first = len(self.edges) + 1
        codes = np.searchsorted(np.array(self.edges), numbers, side="right").astype(np.uint8)
        codes[numbers < self.low] = first
        codes[numbers > self.high] = first + 1
        codes[~np.isfinite(numbers)] = first + 2 if missing is None else missing
        return codes

    def of_values(self, cells: Sequence[Cell]) -> Codes:
        """Return the cell of each value, shape (rows,). Only for fields without an order."""
        places = {value: place for place, value in enumerate(self.values)}
        other = len(self.values)
        found = [
            other + 2
            if cell is None
            else places[cell]
            if cell in places
            else other
            if cell in self.known
            else other + 1
            for cell in cells
        ]
        return np.array(found, dtype=np.uint8)


def season_cell(at: float) -> int:
    """Return the season cell of a moment (Unix seconds): the hour in UTC, plus 24 on Saturdays and Sundays."""
    hours = int(at // 3600)
    weekend = (hours // 24 + 3) % 7 >= 5
    return hours % 24 + 24 * weekend


def _shown(value: Cell) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
