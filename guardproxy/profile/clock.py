"""The time column: what it says of each row, and whether the rows are in its order.

Decides how texts and numbers become times that can be compared. Which rows are held back by them is left to `state`.
"""

import math
from typing import Self

import numpy as np

from guardproxy.profile.columns import ArrayColumn, Column, NumberColumn
from guardproxy.profile.packing import Node, Packed
from guardproxy.profile.times import seconds_of_texts
from guardproxy.table import Floats


class Clock:
    """Counts how often the time column goes back. Texts are read as moments, in Unix seconds; numbers stay as they are."""

    def __init__(self) -> None:
        self.falls = 0
        self.unreadable = False
        self.first = math.nan
        self.last = math.nan

    def read(self, column: Column) -> Floats:
        """Return the time of each row, NaN where there is none, and remember their order."""
        at = self._times(column)
        known = at[np.isfinite(at)]
        if len(known):
            self._follow(float(known[0]), float(known[-1]))
            self.falls += int(np.count_nonzero(known[1:] < known[:-1]))
        return at

    @property
    def ordered(self) -> bool:
        """True where the times can be compared: there are some, and none of them is unreadable."""
        return not self.unreadable and math.isfinite(self.first)

    def absorb(self, later: "Clock") -> None:
        """Add the clock of the rows that come behind these."""
        self._follow(later.first, later.last)
        self.falls += later.falls
        self.unreadable |= later.unreadable

    def pack(self) -> Packed:
        """Return what a part keeps of this."""
        return {
            "falls": self.falls,
            "unreadable": self.unreadable,
            "first": self.first,
            "last": self.last,
        }

    @classmethod
    def unpack(cls, node: Node) -> Self:
        """Read what `pack` wrote."""
        clock = cls()
        clock.falls, clock.unreadable = node.integer("falls"), node.flag("unreadable")
        clock.first, clock.last = node.number("first"), node.number("last")
        return clock

    def _follow(self, first: float, last: float) -> None:
        self.falls += first < self.last
        if math.isnan(self.first):
            self.first = first
        if not math.isnan(last):
            self.last = last

    def _times(self, column: Column) -> Floats:
        if isinstance(column, NumberColumn):
            return np.where(np.isfinite(column.values), column.values, np.nan)
        if isinstance(column, ArrayColumn):
            self.unreadable = True
            return np.full(len(column), np.nan)
        seconds = np.append(seconds_of_texts(column.values), np.nan)
        at: Floats = seconds[column.codes]
        self.unreadable |= bool((np.isnan(at) & (column.codes >= 0)).any())
        return at
