"""Rows and hits of many lines over the last stretch of time, in thirty buckets and the one being filled.

Decides how long something counts. What a line is, and what its counts mean, is left to `breaker`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.decision import Action

BUCKETS: Final = 30
_SLOTS: Final = BUCKETS + 2
_NEVER: Final = -(2**62)


class RuleKey(NamedTuple):
    """What a line counts: a rule as it is now, or with an empty id all rules with an action."""

    rule: str
    rev: str
    action: Action


class Counts(NamedTuple):
    """Rows and hits by line."""

    lines: dict[RuleKey, int]
    rows: NDArray[np.int64]
    hits: NDArray[np.int64]

    def of(self, key: RuleKey) -> tuple[int, int]:
        """Return the rows of a line and on how many of them it was hit."""
        place = self.lines[key]
        return int(self.rows[place]), int(self.hits[place])


class Ring:
    """Counts of the lines `keys` over `window_s` seconds; memory is fixed by the number of lines."""

    def __init__(self, window_s: float, keys: Sequence[RuleKey], before: "Ring | None" = None) -> None:
        """Start empty, or with what `before` has of the same lines."""
        self._width = window_s / BUCKETS
        self.index = {key: place for place, key in enumerate(keys)}
        self.starts = np.full(_SLOTS, _NEVER, dtype=np.int64)
        self.rows = np.zeros((len(keys), _SLOTS), dtype=np.int64)
        self.hits = np.zeros((len(keys), _SLOTS), dtype=np.int64)
        self._kept: set[RuleKey] = set()
        if before is not None:
            self._take_over(before)

    def kept(self, key: RuleKey) -> bool:
        """Tell whether the line was there before, in the ring that this one took over."""
        return key in self._kept

    def clear(self, key: RuleKey) -> None:
        """Forget what was counted on a line, if there is such a line."""
        place = self.index.get(key)
        if place is not None:
            self.rows[place] = self.hits[place] = 0

    def add(
        self,
        at: NDArray[np.float64],
        keys: Sequence[RuleKey],
        rows: NDArray[np.int64],
        hits: NDArray[np.int64] | None = None,
    ) -> None:
        """Count exchanges: their times and rows, shape (n,), and where there are any the hits of each line, (keys, n)."""
        known = [place for place, key in enumerate(keys) if key in self.index]
        if not known:
            return
        lines = np.array([self.index[keys[place]] for place in known])
        buckets = np.floor(at / self._width).astype(np.int64)
        for bucket in np.unique(buckets).tolist():
            slot = self._slot(bucket)
            if slot is None:
                continue
            here = buckets == bucket
            self.rows[lines, slot] += rows[here].sum()
            if hits is not None:
                self.hits[lines, slot] += hits[known][:, here].sum(axis=1)

    def sums(self, now: float) -> Counts:
        """Return what was counted in the window that ends at `now`."""
        last = int(now // self._width)
        # What lies ahead was counted before the clock was set back.
        self.starts[self.starts > last + 1] = _NEVER
        live = self.starts >= last - BUCKETS
        return Counts(self.index, self.rows[:, live].sum(axis=1), self.hits[:, live].sum(axis=1))

    def _slot(self, bucket: int) -> int | None:
        slot = bucket % _SLOTS
        if self.starts[slot] == bucket:
            return slot
        if self.starts[slot] > bucket:
            return None
        self.starts[slot] = bucket
        self.rows[:, slot] = self.hits[:, slot] = 0
        return slot

    def _take_over(self, before: "Ring") -> None:
        self.starts[:] = before.starts
        for key, place in self.index.items():
            if key in before.index:
                self.rows[place] = before.rows[before.index[key]]
                self.hits[place] = before.hits[before.index[key]]
                self._kept.add(key)
