"""What `recent_*` functions give now, from tallies of minutes, hours and days.

Decides which stretches make up a window and when a window is warm. Counting rows is left to `recent`, reading what other
replicas counted to the proxy; nothing here reads a clock.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from guardproxy.stats.recent import Recents
from guardproxy.stats.recent_tally import AnyTally, add_to, joined
from guardproxy.stats.rollup import DAY_S, FRESH, HOUR_S
from guardproxy.table import Cell

FINE_S: Final = 3 * HOUR_S
"""The longest window that is made up of buckets alone; a longer one is made up of hours, and of the buckets after them."""
HOURLY_S: Final = 8 * DAY_S
"""The longest window that is made up of hours; a longer one is made up of days, and of the hours after them."""

_KEPT_S: Final[Mapping[int, float]] = {HOUR_S: HOURLY_S + 2.0 * DAY_S, DAY_S: 92.0 * DAY_S}
_KEPT_FINE_S: Final = float(FINE_S + HOUR_S)


class _Stretch(NamedTuple):
    start: float
    length_s: int


class Rolling:
    """The stretches of one model that anybody counted.

    A window is made up of the stretches that begin in it: it holds at most one bucket more than it says, and at its old end may
    lack a part of an hour (from 3 hours on) or of a day (from 8 days on). It is warm when its argument was counted in every
    stretch with traffic since it began, the first of which may have been counted in part. What is older than the longest window needs is forgotten.
    """

    def __init__(self, recents: Recents, bucket_s: int) -> None:
        """Hold nothing yet. `bucket_s` is the length of the shortest stretches."""
        self.recents = recents
        self.bucket_s = bucket_s
        self._stretches: dict[_Stretch, dict[str, AnyTally]] = {}
        self._ordered: dict[int, list[_Stretch]] = {}
        self._edge = 0.0
        self._changes = 0
        self._windows: dict[float, list[_Stretch]] = {}
        self._sums: dict[tuple[str, float], AnyTally | None] = {}
        self._since: dict[str, float] = {}
        self._summed = -1
        self._given: dict[str, Cell] | None = None

    def follow(self, recents: Recents) -> None:
        """Give the values of other functions from now on, as after a reload; what both count is kept."""
        self.recents = recents
        self._changes += 1

    def put(self, length_s: int, bucket: int, tallies: Mapping[str, AnyTally]) -> None:
        """Take what all replicas counted in a stretch, in place of what it held before.

        An empty mapping says that there was traffic in which no rolling function was counted.
        """
        stretch = _Stretch(float(bucket * length_s), length_s)
        if self._stretches.get(stretch) == tallies:
            return
        if stretch not in self._stretches:
            insort(self._ordered.setdefault(length_s, []), stretch)
        kept: dict[str, AnyTally] = {}
        add_to(kept, tallies)  # a copy: the caller may go on counting
        self._stretches[stretch] = kept
        self._given = None
        if not self._fresh(stretch):
            self._changes += 1

    def values(self, now: float) -> dict[str, Cell]:
        """Return what each function gives, by its spelling; what is still warming up or missing is not in it."""
        edge = now // self.bucket_s * self.bucket_s
        if edge != self._edge or self._changes != self._summed:
            self._edge = edge
            self._forget(now)
            self._since = self._counted_since() if self.recents.each else {}
            self._sums.clear()
            self._windows.clear()
            self._summed = self._changes
            self._given = None
        if self._given is None:
            self._given = self._values()
        return self._given

    def _values(self) -> dict[str, Cell]:
        found: dict[str, Cell] = {}
        fresh = self._between(self.bucket_s, self._settled)
        for one in self.recents.each:
            start = self._edge - one.window_s
            if self._since.get(one.key, math.inf) > start:
                continue
            if one.window_s not in self._windows:
                self._windows[one.window_s] = self._chosen(start, one.window_s)
            if (one.key, one.window_s) not in self._sums:
                self._sums[one.key, one.window_s] = self._sum(one.key, self._windows[one.window_s])
            grown = self._sum(one.key, [each for each in fresh if each.start >= start])
            both = (self._sums[one.key, one.window_s], grown)
            tally = joined([each for each in both if each is not None])
            value = None if tally is None else tally.value(one.function)
            if value is not None:
                found[one.spelling] = value
        return found

    def failed(self) -> int:
        """Return in how many rows of the buckets held kinds clashed, so that they were left out."""
        return sum(
            tally.failed
            for stretch, tallies in self._stretches.items()
            if stretch.length_s == self.bucket_s
            for tally in tallies.values()
        )

    def _fresh(self, stretch: _Stretch) -> bool:
        return stretch.length_s == self.bucket_s and stretch.start >= self._settled

    @property
    def _settled(self) -> float:
        """The end of what is added up once."""
        return self._edge - (FRESH - 1) * self.bucket_s

    def _chosen(self, start: float, window_s: float) -> list[_Stretch]:
        """Return the settled stretches of a window, each moment in one of them."""
        coarse = [(DAY_S, HOURLY_S), (HOUR_S, FINE_S)]
        lengths = [length for length, shortest in coarse if window_s > shortest and length > self.bucket_s]
        chosen: list[_Stretch] = []
        taken: list[tuple[int, set[float]]] = []
        for length in (*lengths, self.bucket_s):
            # An hour that holds a fresh bucket is left to its buckets, or they would count twice.
            own = self._between(length, start, self._settled)
            for longer, starts in taken:
                own = [each for each in own if each.start // longer not in starts]
            taken.append((length, {each.start // length for each in own}))
            chosen += own
        return chosen

    def _between(self, length_s: int, start: float, end: float = math.inf) -> list[_Stretch]:
        """Return the stretches of a length that lie between two moments, in order."""
        ordered = self._ordered.get(length_s, [])
        return ordered[bisect_left(ordered, (start,)) : bisect_left(ordered, (end - length_s, math.inf))]

    def _sum(self, key: str, stretches: Iterable[_Stretch]) -> AnyTally | None:
        found = [self._stretches[stretch].get(key) for stretch in stretches]
        return joined([tally for tally in found if tally is not None])

    def _counted_since(self) -> dict[str, float]:
        """Return since when each key has been counted without a gap. A stretch without traffic is none."""
        since: dict[str, float] = {}
        counted, oldest = set(self.recents.keys), math.inf
        # What a stretch sums up to is its end.
        for stretch in sorted(self._plain(), key=sum, reverse=True):
            ended = counted - self._stretches[stretch].keys()
            if ended:
                since |= dict.fromkeys(ended, oldest)
                counted -= ended
            oldest = min(oldest, stretch.start)
        return since | dict.fromkeys(counted, oldest)

    def _plain(self) -> list[_Stretch]:
        """Return the stretches that are not known in shorter ones: a key may have been counted in a part of them."""
        finer: dict[int, tuple[int, ...]] = {HOUR_S: (self.bucket_s,), DAY_S: (HOUR_S, self.bucket_s)}
        known = {
            (length, each.start // length)
            for length, shorter in finer.items()
            for each in self._stretches
            if each.length_s in shorter and each.length_s < length
        }
        return [each for each in self._stretches if (each.length_s, each.start // each.length_s) not in known]

    def _forget(self, now: float) -> None:
        for length_s, ordered in self._ordered.items():
            edge = now - _KEPT_S.get(length_s, _KEPT_FINE_S) - length_s
            old = bisect_left(ordered, (edge,))
            for each in ordered[:old]:
                del self._stretches[each]
            del ordered[:old]
