"""One model's statistics in this process: what was counted here, what all replicas counted, and the snapshot of both.

Decides which buckets may have changed and are read again, when a bucket is closed, and how old a snapshot is believed. Calling
the store is left to `statistics`; nothing here waits for anything.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import Final, NamedTuple

from guardproxy.profile.model import Profile
from guardproxy.stats.counts import Sums
from guardproxy.stats.layout import Layout
from guardproxy.stats.ledger import Ledger
from guardproxy.stats.recent import Recents
from guardproxy.stats.rolling import Rolling
from guardproxy.stats.rolls import Rolls
from guardproxy.stats.rollup import DAY_S, HOUR_S, Part, levels_of
from guardproxy.stats.snapshot import EMPTY, NO_CELLS, Snapshot, stale_after
from guardproxy.stats.timeline import Timeline
from guardproxy.stats.windows import Sample
from guardproxy.table import Cell, Floats

BACKFILL: Final = 480
"""Stretches of the past that one beat reads after the start, the newest first."""
REFRESHES: Final = 30
"""How often in its life a bucket that still grows is read, at most once a beat."""
MAX_BACKLOG: Final = 20_000
"""Buckets that wait to be read again; of more the oldest are left to when their hour is summed up."""
FIRST_READS: Final = 2
"""How often a closed bucket is read: when it closes, and a bucket later."""
MAX_LOOKS: Final = 8_192
"""Buckets of which it is known when they were read; one beyond them is read again."""
MAX_ROLLS: Final = 16
"""Stretches that one beat sums up; the rest wait for the next."""
CROWDED: Final = 256
"""Buckets that wait to be written, or to be judged, from which on the next beat comes early."""
NEVER_ASKED: Final = -(2**62)
EVENT_PASSES: Final = 3
"""In event time a bucket can be over the moment it begins: it is closed when it was over two beats ago."""


_COARSE: Final = (HOUR_S, DAY_S)
_WITH_MINUTES: Final = 4
"""The levels of buckets that are so short that they are summed up to minutes."""


class Stretch(NamedTuple):
    """A bucket, an hour or a day: it begins at `number * resolution` (Unix seconds)."""

    resolution: int
    number: int


@dataclass(slots=True)
class _Look:
    """When a bucket was last read, and how often since it closed."""

    at: float
    closed: int = 0


class ModelStatistics:
    """What the keeper of the statistics knows of one model. `snapshot` is put in place whole; requests read it.

    `now` is the model's own time: the store's clock, or in event time (`event`) the latest moment that anybody's rows
    told of. `stale_reads` counts requests that found the snapshot too old, `damaged` blobs that could not be read.
    """

    def __init__(
        self,
        model: str,
        profile: Profile | None,
        recents: Recents,
        *,
        bucket_s: float,
        grace_s: float,
        writer: str,
        event: bool = False,
    ) -> None:
        """Know nothing yet. `writer` is this process's name, which no other has or had."""
        self.model = model
        self.event = event
        self.bucket_s = int(bucket_s)
        self.grace_s = grace_s
        self.writer = writer
        self.layout = Layout.of(profile)
        self.ledger = Ledger(self.layout, bucket_s, writer, recents)
        self.levels = levels_of(self.bucket_s)
        self.timeline = Timeline(self.layout, self.levels)
        if event:
            # A replay may be days further before anybody asks for the first time.
            self.timeline.asked = NEVER_ASKED
        self.rolling = Rolling(recents, self._rolling_s(recents))
        self.rolls = Rolls(self.levels)
        self.snapshot = EMPTY
        self.now: float | None = None
        self.latest: float | None = None
        self.stale_reads = 0
        self.damaged = 0
        self._renewed_at: float | None = None
        self._stale_s = stale_after(bucket_s)
        self._looks: OrderedDict[int, _Look] = OrderedDict()
        self._backlog: OrderedDict[Stretch, None] = OrderedDict()
        self._past: deque[Stretch] | None = None
        self._passes: deque[float] = deque(maxlen=EVENT_PASSES if event else 1)
        self._held_until = float("-inf")
        self._unsure_since: int | None = None

    # ---------------------------------------------------------------- the request path and the flush

    def recent(self, at: float) -> Mapping[str, Cell]:
        """Return what rolling functions give to a request of this process's time `at`, nothing when that is too old."""
        if self._renewed_at is None or not self.rolling.recents.each:
            return NO_CELLS
        if abs(at - self._renewed_at) > self._stale_s:
            self.stale_reads += 1
            return NO_CELLS
        return self.snapshot.recent

    def add(self, samples: Sequence[Sample]) -> None:
        """Count screened exchanges."""
        self.ledger.add(samples)
        if self.event:
            for sample in samples:
                if sample.happened is not None and (self.latest is None or sample.happened > self.latest):
                    self.latest = sample.happened

    def follow(self, recents: Recents) -> None:
        """Count other rolling functions from now on, as after a reload."""
        self.ledger.follow(recents)
        if self._rolling_s(recents) == self.rolling.bucket_s:
            self.rolling.follow(recents)
        else:
            self.rolling = Rolling(recents, self._rolling_s(recents))
            self._past = None

    # ---------------------------------------------------------------- reading

    def tell_time(self, now: float, shared: float | None) -> None:
        """Set the model's time: `now` by the store's clock, or in event time the later of ours and what others told."""
        if not self.event:
            self.now = now
            return
        known = [each for each in (self.latest, shared, self.now) if each is not None]
        self.now = max(known) if known else None
        if self.now is not None:
            # No window reaches back so far, and the hours of what lies before have expired in the store.
            self.ledger.oldest = int((self.now - self.levels[-2].keep_s) // self.bucket_s)

    def touch(self, numbers: Iterable[int]) -> None:
        """Have buckets read again that have changed, whatever their age."""
        for number in numbers:
            stretch = Stretch(self.bucket_s, number)
            self._backlog[stretch] = None
            self._backlog.move_to_end(stretch)
        while len(self._backlog) > MAX_BACKLOG:
            self._backlog.popitem(last=False)

    def reads(self, at: float) -> list[Stretch]:
        """Return what may have changed by `at` (this process's time), and some of the past while that is not known yet; nothing
        before there is a time."""
        if self.now is None:
            return []
        if self._unsure_since is not None and at >= self._held_until:
            self.touch(range(self._unsure_since, int(self.now // self.bucket_s) + 1))
            self._unsure_since = None
        if self._past is None:
            self._past = deque(self._history(self.now))
        wanted = dict.fromkeys(self._growing(self.now))
        while self._backlog and len(wanted) < BACKFILL:
            wanted[self._backlog.popitem(last=False)[0]] = None
        while self._past and len(wanted) < BACKFILL:
            wanted[self._past.popleft()] = None
        return list(wanted)

    def touch_late(self, numbers: Iterable[int]) -> None:
        """Have buckets read again that were written, unless they still grow and are read anyway."""
        grows = None if self.event or self.now is None else int(self.now // self.bucket_s)
        self.touch(number for number in numbers if grows is None or number < grows)

    def wrote(self, stretch: Stretch) -> str | None:
        """Return under which name the store must have this process's share of a bucket, None where it need not, or no more."""
        expired = self.now is not None and stretch.number * self.bucket_s + self.levels[0].keep_s <= self.now
        if stretch.resolution != self.bucket_s or (expired and not self.event):
            return None
        return self.ledger.wrote(stretch.number)

    def take(self, stretch: Stretch, part: Part | None) -> None:
        """Take what all replicas counted in a stretch, None where nobody did."""
        if stretch.resolution == self.bucket_s:
            self._look(stretch.number)
        if part is None:
            return
        self.damaged += part.damaged
        if self.timeline.put(stretch.resolution, stretch.number, part):
            self.rolls.changed(stretch.resolution, stretch.number)
        if stretch.resolution in {self.rolling.bucket_s, *_COARSE}:
            self.rolling.put(stretch.resolution, stretch.number, part.tallies)

    def unread(self, stretches: Iterable[Stretch]) -> None:
        """Have stretches read at the next beat, since this one could not."""
        self.touch(each.number for each in stretches if each.resolution == self.bucket_s)
        longer = [each for each in stretches if each.resolution != self.bucket_s]
        if self._past is not None:
            self._past.extendleft(reversed(longer))

    def passed(self, at: float) -> None:
        """Note that everything that may have changed was read; `at` is this process's time."""
        if self.now is not None and at >= self._held_until and self._unsure_since is None:
            # What still waits to be read cannot be closed.
            waiting = min((one.number for one in self._backlog), default=None)
            self._passes.append(self.now if waiting is None else min(self.now, waiting * self.bucket_s))

    def hold(self, until: float, *, past: bool = False) -> None:
        """Close no more buckets before `until` (this process's time): after an outage the others write what they kept.

        Then the buckets since the outage began are read again; with `past` all that are remembered, as after a loss of the store.
        """
        self._held_until = until
        if self.now is None:
            return
        since = int(self.now // self.bucket_s)
        if past:
            since -= self.levels[0].memory_s // self.bucket_s
        self._unsure_since = since if self._unsure_since is None else min(self._unsure_since, since)

    # ---------------------------------------------------------------- what was found

    def renew(self, at: float) -> Snapshot:
        """Put a new snapshot in place and return it; `at` is this process's time."""
        if self.now is not None:
            recent = MappingProxyType(self.rolling.values(self.now))
            self.snapshot = Snapshot(self.now, recent, self.timeline.windows(self.now), self.timeline.since)
            self._renewed_at = at
        return self.snapshot

    def closed_after(self, bucket: int) -> Sequence[tuple[int, Sums]]:
        """Return the closed buckets after one, in order, with what all replicas counted; empty ones are left out.

        A bucket is closed when its end and the grace have passed by the model's time, and it was read since. What is
        counted in it later shows in the windows only.
        """
        self.timeline.asked = bucket
        return [(one, self.timeline.counts(one)) for one in self._closed(bucket)]

    def season_rows(self, window: str) -> Floats | None:
        """Return the rows of a window of the snapshot by season cell, shape (48,); None where there is no such window."""
        found = self.snapshot.windows.get(window)
        return None if found is None else self.timeline.season_rows(found)

    @property
    def crowded(self) -> bool:
        """Whether more has happened since the last beat than is good to wait a second for: a replayed history is fast."""
        asked = self.timeline.asked
        return self.event and (
            self.ledger.waiting_buckets >= CROWDED
            or (asked is not None and len(self._closed(asked)) > CROWDED)
        )

    def _closed(self, bucket: int) -> list[int]:
        if len(self._passes) < (self._passes.maxlen or 1) or not self.known:
            return []
        edge = (self._passes[0] - self.grace_s) / self.bucket_s
        return [one for one in self.timeline.after(bucket) if one + 1 <= edge]

    @property
    def known(self) -> bool:
        """Whether the buckets of the past have been read since the start."""
        return self._past is not None and not any(one.resolution == self.bucket_s for one in self._past)

    def _growing(self, now: float) -> Iterable[Stretch]:
        """Yield the buckets that are due to be read: those that still grow now and then, closed ones twice."""
        current = int(now // self.bucket_s)
        for number in range(current - ceil(self.grace_s / self.bucket_s) - FIRST_READS, current + 1):
            look = self._looks.get(number)
            if look is None or (look.closed < FIRST_READS and self._due(number, look, now)):
                yield Stretch(self.bucket_s, number)

    def _due(self, number: int, look: _Look, now: float) -> bool:
        ends = (number + 1) * self.bucket_s
        closes = ends + self.grace_s
        if now >= closes:
            return now >= closes + look.closed * self.bucket_s
        refresh = self.bucket_s / REFRESHES if now < ends else max(self.bucket_s, self.grace_s) / 10
        # A clock that was set back must not leave the bucket unread until it is where it was.
        return not 0.0 <= now - look.at < refresh

    def _look(self, number: int) -> None:
        if self.now is None:
            return
        look = self._looks.setdefault(number, _Look(self.now))
        look.at = self.now
        look.closed += self.now >= (number + 1) * self.bucket_s + self.grace_s
        self._looks.move_to_end(number)
        while len(self._looks) > MAX_LOOKS:
            self._looks.popitem(last=False)

    def _history(self, now: float) -> Iterable[Stretch]:
        """Yield the past, the newest first: as much of each length as is kept in memory, and all days for the oldest."""
        for level in self.levels:
            newest = int(now // level.resolution)
            for back in range((level.memory_s or level.keep_s) // level.resolution + 1):
                yield Stretch(level.resolution, newest - back)

    def _rolling_s(self, recents: Recents) -> int:
        """Return the shortest stretches that windows are made of: buckets, unless there are too many of them."""
        longest = max((one.window_s for one in recents.each), default=0.0)
        long = len(self.levels) == _WITH_MINUTES and longest + 2 * self.bucket_s > self.levels[0].memory_s
        return self.levels[1 if long else 0].resolution
