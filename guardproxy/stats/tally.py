"""One field's tally: how many cells, how many missing or outside the learned range, and the moments of the rest.

Decides what is added up. Tallies merge by addition, so replicas and minutes can be joined in any order.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from guardproxy.profile.limits import Position
from guardproxy.table import Codes, Floats

OUTSIDE: Final = tuple(position for position in Position if position is not Position.INSIDE)


@dataclass(slots=True)
class FieldTally:
    """Counts and moments of one field. `outside` counts cells by the `Position` code that they were given."""

    cells: int = 0
    missing: int = 0
    numbers: int = 0
    mean: float = 0.0
    m2: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")
    outside: tuple[int, ...] = (0,) * (max(Position) + 1)

    def add(self, values: Floats, present: int, positions: Codes | None) -> None:
        """Add one stretch of cells: their numbers (NaN elsewhere), how many are present, and their positions if judged."""
        finite = values[np.isfinite(values)]
        self.cells += len(values)
        self.missing += len(values) - present
        if positions is not None:
            counts = np.bincount(positions, minlength=len(self.outside)).tolist()
            self.outside = tuple(a + b for a, b in zip(self.outside, counts, strict=True))
        if len(finite):
            # One client's 1e300 must neither end up in the log nor spoil the mean: the spread is then infinite.
            with np.errstate(over="ignore"):
                low, high = float(finite.min()), float(finite.max())
                mean = _between(float((finite / len(finite)).sum()), low, high)
                m2 = float(((finite - mean) ** 2).sum())
            self._join(len(finite), mean, m2, low, high)

    def merge(self, other: "FieldTally") -> None:
        """Add another tally of the same field."""
        self.cells += other.cells
        self.missing += other.missing
        self.outside = tuple(a + b for a, b in zip(self.outside, other.outside, strict=True))
        if other.numbers:
            self._join(other.numbers, other.mean, other.m2, other.low, other.high)

    def as_json(self) -> dict[str, Any]:
        """Return the tally in words; a spread beyond all floats is None."""
        spread = (self.m2 / (self.numbers - 1)) ** 0.5 if self.numbers > 1 else None
        if spread is not None and not math.isfinite(spread):
            spread = None
        return {
            "cells": self.cells,
            "missing": self.missing,
            "mean": self.mean if self.numbers else None,
            "std": spread,
            "min": self.low if self.numbers else None,
            "max": self.high if self.numbers else None,
            "outside": {p.name.lower(): self.outside[p] for p in OUTSIDE if self.outside[p]},
        }

    def _join(self, count: int, mean: float, m2: float, low: float, high: float) -> None:
        # Chan, Golub and LeVeque's pairwise update of mean and sum of squares; the mean so that it cannot overflow.
        total = self.numbers + count
        delta = mean - self.mean
        joined = self.mean * (self.numbers / total) + mean * (count / total)
        self.m2 += m2 + delta * delta * self.numbers * count / total
        self.numbers = total
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.mean = _between(joined, self.low, self.high)


def _between(mean: float, low: float, high: float) -> float:
    """Return a mean where it must lie; rounding alone takes that of the largest floats beyond them."""
    return min(max(mean, low), high)
