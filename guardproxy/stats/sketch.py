"""How numbers are spread, in bins of equal ratio: any quantile within about 5 %, in a few kilobytes, mergeable.

Decides the bins. The scheme is that of DDSketch (Masson, Rim and Lee, 2019) with fixed ends, so that a sketch never
grows: what is nearer to zero than the smallest bin counts as zero, what is beyond the largest as the largest.
"""

import math
from typing import Any, Final

import numpy as np

from guardproxy.table import Floats

ACCURACY: Final = 0.05
SMALLEST: Final = 1e-6
LARGEST: Final = 1e12

_RATIO: Final = (1 + ACCURACY) / (1 - ACCURACY)
_SIDE: Final = math.ceil(math.log(LARGEST / SMALLEST) / math.log(_RATIO))
BINS: Final = 2 * _SIDE + 1


class Sketch:
    """Counts of finite numbers by bin: negative ones from the largest down, zero, positive ones."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        """Make an empty sketch."""
        self.counts: np.ndarray[Any, np.dtype[np.int64]] = np.zeros(BINS, dtype=np.int64)

    def add(self, numbers: Floats) -> None:
        """Count numbers, all of them finite."""
        with np.errstate(over="ignore"):
            size = np.maximum(np.abs(numbers) / SMALLEST, 1.0)
        steps = np.ceil(np.log(size) / math.log(_RATIO)).clip(0, _SIDE)
        places = _SIDE + (np.sign(numbers) * steps).astype(np.int64)
        self.counts += np.bincount(places, minlength=BINS)

    def merge(self, other: "Sketch") -> None:
        """Add another sketch."""
        self.counts += other.counts

    def quantile(self, share: float) -> float | None:
        """Return a number that `share` (0 to 1) of all numbers do not exceed, within 5 %; None when there are none."""
        total = int(self.counts.sum())
        if not total:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), max(1, math.ceil(share * total))))
        steps = abs(place - _SIDE)
        if not steps:
            return 0.0
        middle = SMALLEST * _RATIO**steps * 2 / (1 + _RATIO)
        return middle if place > _SIDE else -middle

    def share_up_to(self, number: float) -> float:
        """Return the share of the numbers that lie in the bin of `number` or below it, 0 where there are none."""
        total = int(self.counts.sum())
        steps = min(_SIDE, math.ceil(math.log(max(abs(number) / SMALLEST, 1.0)) / math.log(_RATIO)))
        place = _SIDE + (steps if number > 0 else -steps)
        return float(self.counts[: place + 1].sum() / total) if total else 0.0
