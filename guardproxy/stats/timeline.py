"""What all replicas counted of a model, stretch by stretch, as far back as a process knows it.

Decides which stretches make up a window: the longest that lie in it whole, then shorter ones up to now. What a stretch is, is
left to `rollup`; what rolling functions make of it, to `rolling`. Only counts and moments are kept here.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from guardproxy.profile.cells import SEASON_CELLS, season_cell
from guardproxy.stats.counts import Sums
from guardproxy.stats.layout import Layout
from guardproxy.stats.rollup import DAY_S, FRESH, HOUR_S, Level, Part, total_of
from guardproxy.stats.snapshot import WINDOWS, Counted, Moments
from guardproxy.table import Floats

MAX_UNASKED: Final = 4_096
"""Old buckets that are kept since nobody has judged them yet."""


class _Kept(NamedTuple):
    start: int
    end: int
    changes: int
    part: Part


class Timeline:
    """The stretches of one model. What is older than a level's `memory_s` is forgotten when the windows are asked for.

    Buckets behind `asked`, the one up to which somebody has judged them, are kept for whoever does (in a replayed history a
    second has many); of more than MAX_UNASKED the oldest are forgotten and counted in `unasked`. `since` is the start of the oldest
    stretch that was ever known.
    """

    def __init__(self, layout: Layout, levels: tuple[Level, ...]) -> None:
        """Know nothing yet; the first of `levels` is that of the buckets."""
        self.layout = layout
        self.levels = levels
        self.since: float | None = None
        self.asked: int | None = None
        self.unasked = 0
        self._parts: dict[int, dict[int, Part]] = {level.resolution: {} for level in levels}
        self._changes = 0
        self._old_changes = 0
        self._settled = 0
        self._sums: dict[str, _Kept] = {}

    def put(self, resolution: int, number: int, part: Part) -> bool:
        """Take what was counted in a stretch, in place of what it held before; tell whether that is something else."""
        start = number * resolution
        if self.since is None or start < self.since:
            self.since = float(start)
        known = self._parts[resolution].get(number)
        if known is not None and np.array_equal(known.counts, part.counts):
            return False
        self._parts[resolution][number] = Part(part.counts, part.moments)
        if resolution != self._bucket_s or start < self._settled:
            self._changes += 1
        if resolution >= HOUR_S or start < self._turn:
            self._old_changes += 1
        return True

    def knows(self, resolution: int, number: int) -> bool:
        """Tell whether anything was counted in a stretch, as far as is known."""
        return number in self._parts[resolution]

    def counts(self, number: int) -> Sums:
        """Return the counts of a bucket that is known."""
        return self._parts[self._bucket_s][number].counts

    def after(self, number: int) -> list[int]:
        """Return the known buckets after one, in order."""
        return sorted(one for one in self._parts[self._bucket_s] if one > number)

    def windows(self, now: float) -> Mapping[str, Counted]:
        """Return the windows that end with the bucket of `now`."""
        end = (int(now // self._bucket_s) + 1) * self._bucket_s
        if self._settled != end - FRESH * self._bucket_s:
            self._settled = end - FRESH * self._bucket_s
            self._forget(now)
        return {name: self._window(name, now - length, end) for name, length in WINDOWS.items()}

    def season_rows(self, window: Counted) -> Floats:
        """Return the rows of a window by season cell, shape (48,)."""
        found = np.zeros(SEASON_CELLS)
        for at, part in self._cover(int(window.start), int(window.end), HOUR_S):
            found[season_cell(at)] += part.rows(self.layout)
        return found

    @property
    def _bucket_s(self) -> int:
        return self.levels[0].resolution

    def _window(self, name: str, begin: float, end: int) -> Counted:
        edge = self._edge(end - begin)
        start = int(begin // edge) * edge
        turn = max(start, self._turn)
        old = self._sum(f"{name} old", start, turn, self._old_changes)
        settled = self._sum(f"{name} settled", turn, self._settled, self._changes)
        fresh = [part for _, part in self._cover(max(start, self._settled), end)]
        part = total_of(self.layout, [old, settled, *fresh])
        part.counts.flags.writeable = False
        return Counted(
            float(start), float(end), part.rows(self.layout), part.counts, _named(self.layout, part.moments)
        )

    @property
    def _turn(self) -> int:
        """The begin of the hour in which the settled buckets end: what lies before it changes rarely."""
        return self._settled // HOUR_S * HOUR_S

    def _sum(self, name: str, start: int, end: int, changes: int) -> Part:
        """Return the sum of a stretch of time, from memory unless something in it has changed."""
        kept = self._sums.get(name)
        if kept is None or kept[:3] != (start, end, changes):
            parts = [part for _, part in self._cover(start, end)]
            kept = _Kept(start, end, changes, total_of(self.layout, parts))
            self._sums[name] = kept
        return kept.part

    def _edge(self, length: float) -> int:
        """Return on which stretches a window of this length begins: on the finest that are known so far back."""
        for level in self.levels:
            if level.memory_s >= length + level.resolution:
                return level.resolution
        return HOUR_S

    def _cover(self, start: int, end: int, longest: int = DAY_S) -> Iterator[tuple[int, Part]]:
        """Yield the parts of a stretch of time and when each begins, each moment in at most one of them."""
        at = start
        while at < end:
            length = self._bucket_s
            for level in reversed(self.levels):
                resolution = level.resolution
                if resolution > longest or at % resolution or at + resolution > end:
                    continue
                part = self._parts[resolution].get(at // resolution)
                if part is not None:
                    yield at, part
                    length = resolution
                    break
                if at + resolution <= end - self._below(resolution):
                    # Its parts are forgotten: whatever there was is not known.
                    length = resolution
                    break
            at += length

    def _below(self, resolution: int) -> float:
        """Return how far back the stretches are known that make up one of this length; of buckets, for ever."""
        finer = [level.memory_s for level in self.levels if level.resolution < resolution]
        return max(finer, default=float("inf"))

    def _forget(self, now: float) -> None:
        for level in self.levels:
            parts = self._parts[level.resolution]
            old = [one for one in parts if (one + 1) * level.resolution < now - level.memory_s]
            if level is self.levels[0] and self.asked is not None:
                asked = self.asked
                waiting = sorted(one for one in old if one > asked)
                lost = waiting[: max(0, len(waiting) - MAX_UNASKED)]
                self.unasked += len(lost)
                old = [one for one in old if one <= asked] + lost
            for number in old:
                del parts[number]


def _named(layout: Layout, moments: Floats) -> Mapping[str, Moments]:
    found = {}
    for name, (n, mean, m2, low, high) in zip(layout.numbers, moments.tolist(), strict=True):
        if n:
            std = (m2 / (n - 1)) ** 0.5 if n > 1 and m2 != float("inf") else None
            found[name] = Moments(int(n), mean, std, low, high)
    return found
