"""The additive summary of a stream of numbers.

Decides what is kept of it in one pass and bounded memory: counts and moments exactly, the EXTREMES smallest and largest
exactly, few distinct values exactly, many by estimate. The summary of one stream behind another is what one pass over both
gives. What follows for a field's bounds is left to `fit`.
"""

import math
from typing import Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.packing import Node, Packed
from guardproxy.profile.sketches import Course, DistinctSketch, hash_numbers
from guardproxy.table import Floats

EXTREMES: Final = 512
MAX_DISTINCT_NUMBERS: Final = 1_024

Places: TypeAlias = NDArray[np.int64]

_STRETCH: Final = 32_768
"""So many numbers are looked at together: what is made of them on the way stays in the processor's cache."""

_PROBE: Final = 2_048


class NumberSummary:
    """What is kept of a stream of finite numbers. Positions count the numbers, from 0.

    `distinct` holds [count, first position] of every value, None once there were more than MAX_DISTINCT_NUMBERS; `many` then
    tells how many there are about.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0
        self.smallest: Floats = np.empty(0)
        self.largest: Floats = np.empty(0)
        self.smallest_at: Places = np.empty(0, dtype=np.int64)
        self.largest_at: Places = np.empty(0, dtype=np.int64)
        self.at_minimum = 0
        self.at_maximum = 0
        self.whole = True
        self.rises = 0
        self.falls = 0
        self.first = math.nan
        self.last = math.nan
        self.distinct: dict[float, list[int]] | None = {}
        self.course = Course()
        self.many = DistinctSketch()

    def update(self, values: Floats) -> None:
        """Add finite numbers in file order."""
        for start in range(0, len(values), _STRETCH):
            self._update(np.ascontiguousarray(values[start : start + _STRETCH]))

    @property
    def minimum(self) -> float:
        """The smallest number; only where there is one."""
        return float(self.smallest[0])

    @property
    def maximum(self) -> float:
        """The largest number; only where there is one."""
        return float(self.largest[0])

    @property
    def std(self) -> float:
        """The sample standard deviation, NaN for fewer than two numbers."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else math.nan

    @property
    def sketch(self) -> DistinctSketch:
        """The values as a sketch of how many there are; do not add to it."""
        if self.distinct is None:
            return self.many
        sketch = DistinctSketch()
        sketch.update(hash_numbers(np.array(list(self.distinct), dtype=np.float64)))
        return sketch

    def absorb(self, later: "NumberSummary") -> None:
        """Add the summary of the numbers that come behind these."""
        if not later.count:
            return
        least, most = self._ends(later.minimum, later.maximum)
        self.at_minimum += later.at_minimum if later.minimum == least else 0
        self.at_maximum += later.at_maximum if later.maximum == most else 0
        self.smallest, self.smallest_at = _smallest(
            (self.smallest, later.smallest), (self.smallest_at, later.smallest_at + self.count)
        )
        largest, self.largest_at = _smallest(
            (-self.largest, -later.largest), (self.largest_at, later.largest_at + self.count)
        )
        self.largest = -largest
        self._add_moments(later.count, later.mean, later.squares)
        self.whole &= later.whole
        self.rises += later.rises + (self.last < later.first)
        self.falls += later.falls + (self.last > later.first)
        if not self.count:
            self.first = later.first
        self.last = later.last
        self._absorb_distinct(later)
        self.course.absorb(later.course)
        self.count += later.count

    def pack(self) -> Packed:
        """Return what a part keeps of this."""
        distinct = self.distinct or {}
        return {
            "count": self.count,
            "mean": self.mean,
            "squares": self.squares,
            "smallest": self.smallest,
            "largest": self.largest,
            "smallest_at": self.smallest_at,
            "largest_at": self.largest_at,
            "at_minimum": self.at_minimum,
            "at_maximum": self.at_maximum,
            "whole": self.whole,
            "rises": self.rises,
            "falls": self.falls,
            "first": self.first,
            "last": self.last,
            "few": self.distinct is not None,
            "distinct": np.array(list(distinct), dtype=np.float64),
            "distinct_counts": np.array(list(distinct.values()), dtype=np.int64).reshape(-1, 2),
            "course": self.course.pack(),
            "many": self.many.pack(),
        }

    @classmethod
    def unpack(cls, node: Node) -> Self:
        """Read what `pack` wrote."""
        summary = cls()
        for key in ("count", "at_minimum", "at_maximum", "rises", "falls"):
            setattr(summary, key, node.integer(key))
        for key in ("mean", "squares", "first", "last"):
            setattr(summary, key, node.number(key))
        for key in ("smallest", "largest"):
            setattr(summary, key, node.array(key, np.float64, most=EXTREMES))
            setattr(summary, f"{key}_at", node.array(f"{key}_at", np.int64, most=EXTREMES))
        kept = min(summary.count, EXTREMES)
        if not kept == len(summary.smallest) == len(summary.largest):
            raise node.damaged("its extremes do not match its count")
        if not kept == len(summary.smallest_at) == len(summary.largest_at):
            raise node.damaged("its extremes have no places")
        summary.whole = node.flag("whole")
        values = node.array("distinct", np.float64, most=MAX_DISTINCT_NUMBERS).tolist()
        counts = node.array("distinct_counts", np.int64, ndim=2, most=2 * MAX_DISTINCT_NUMBERS)
        if counts.shape != (len(values), 2):
            raise node.damaged("its values do not match their counts")
        summary.distinct = dict(zip(values, counts.tolist(), strict=True)) if node.flag("few") else None
        summary.course = Course.unpack(node.node("course"))
        summary.many = DistinctSketch.unpack(node.node("many"))
        return summary

    def _update(self, values: Floats) -> None:
        self._extremes(values)
        self._moments(values)
        if self.whole:
            self.whole = bool((values == np.rint(values)).all())
        self._steps(values)
        self._distinct(values)
        self.course.update(values)
        self.count += len(values)

    def _ends(self, least: float, most: float) -> tuple[float, float]:
        """Return the ends with another stretch's ones; what was counted at an end that is none any more is forgotten."""
        if not self.count or least < self.minimum:
            self.at_minimum = 0
        else:
            least = self.minimum
        if not self.count or most > self.maximum:
            self.at_maximum = 0
        else:
            most = self.maximum
        return least, most

    def _extremes(self, values: Floats) -> None:
        lowest, highest = float(values.min()), float(values.max())
        least, most = self._ends(lowest, highest)
        if lowest == least:
            self.at_minimum += int(np.count_nonzero(values == least))
        if highest == most:
            self.at_maximum += int(np.count_nonzero(values == most))
        full = len(self.smallest) >= EXTREMES
        low = np.flatnonzero(values < self.smallest[-1]) if full else np.arange(len(values))
        if len(low):
            self.smallest, self.smallest_at = _smallest(
                (self.smallest, values[low]), (self.smallest_at, low + self.count)
            )
        high = np.flatnonzero(values > self.largest[-1]) if full else np.arange(len(values))
        if len(high):
            largest, self.largest_at = _smallest(
                (-self.largest, -values[high]), (self.largest_at, high + self.count)
            )
            self.largest = -largest

    def _moments(self, values: Floats) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            centred = values - mean
            # Not np.dot: its threads cost more than they save on so few numbers.
            centred *= centred
            self._add_moments(len(values), mean, float(centred.sum()))

    def _add_moments(self, size: int, mean: float, squares: float) -> None:
        # Chan, Golub and LeVeque 1979: two samples' moments add without losing digits.
        with np.errstate(over="ignore", invalid="ignore"):
            total, delta = self.count + size, np.float64(mean) - self.mean
            self.mean = float(self.mean + delta * (size / total))
            self.squares = (
                float(self.squares + squares + delta * delta * (self.count * (size / total)))
                if self.count
                else squares
            )

    def _steps(self, values: Floats) -> None:
        if self.count:
            self.rises += int(values[0] > self.last)
            self.falls += int(values[0] < self.last)
        else:
            self.first = float(values[0])
        self.rises += int(np.count_nonzero(values[1:] > values[:-1]))
        self.falls += int(np.count_nonzero(values[1:] < values[:-1]))
        self.last = float(values[-1])

    def _distinct(self, values: Floats) -> None:
        """Count every value while they are few; give up for good when they are many."""
        if self.distinct is not None:
            counted = self._counted(values)
            if counted is None:
                self._give_up()
            else:
                self._add_distinct(values, *counted)
        if self.distinct is None:
            self.many.update(hash_numbers(values))

    def _counted(self, values: Floats) -> tuple[Floats, Places] | None:
        """Return the values with their counts, ascending; None when there are more than may be kept."""
        least, most = float(values.min()), float(values.max())
        if self.whole and most - least <= 4 * MAX_DISTINCT_NUMBERS:
            counts = np.bincount((values - least).astype(np.intp))
            used = np.flatnonzero(counts)
            found, counts = used.astype(np.float64) + least, counts[used]
        elif len(np.unique(values[:_PROBE])) > MAX_DISTINCT_NUMBERS:
            return None
        else:
            found, counts = np.unique(values, return_counts=True)
        return (found, counts.astype(np.int64)) if len(found) <= MAX_DISTINCT_NUMBERS else None

    def _add_distinct(self, values: Floats, found: Floats, counts: Places) -> None:
        if self.distinct is None:
            return
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            entry = self.distinct.get(value)
            if entry is None:
                self.distinct[value] = [count, self.count + int(np.argmax(values == value))]
            else:
                entry[0] += count
        if len(self.distinct) > MAX_DISTINCT_NUMBERS:
            self._give_up()

    def _give_up(self) -> None:
        self.many.absorb(self.sketch)
        self.distinct = None

    def _absorb_distinct(self, later: "NumberSummary") -> None:
        if self.distinct is not None and later.distinct is not None:
            for value, (count, first) in later.distinct.items():
                entry = self.distinct.setdefault(value, [0, self.count + first])
                entry[0] += count
            if len(self.distinct) <= MAX_DISTINCT_NUMBERS:
                return
        if self.distinct is not None:
            self._give_up()
        self.many.absorb(later.sketch)


def _smallest(values: tuple[Floats, Floats], at: tuple[Places, Places]) -> tuple[Floats, Places]:
    """Return the EXTREMES smallest of two, ascending, with their positions; the earlier of two equal ones comes first."""
    both, both_at = np.concatenate(values), np.concatenate(at)
    if len(both) > 4 * EXTREMES:
        least = np.partition(both, EXTREMES - 1)[EXTREMES - 1]
        kept = np.flatnonzero(both <= least)
        both, both_at = both[kept], both_at[kept]
    order = np.argsort(both, kind="stable")[:EXTREMES]
    return both[order], both_at[order]
