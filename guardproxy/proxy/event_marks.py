"""Event time among replicas: the latest moment that anybody's rows told of, and which buckets others counted in.

Decides what is shared and how much of it one beat looks at. What is done with a bucket that changed is left to
`model_statistics`; nothing of this is needed while the clock on the wall says when a row happened.
"""

import struct
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Final

from guardproxy.proxy.model_statistics import ModelStatistics
from guardproxy.stats.marks import SERIES, Marks, unpack_marks
from guardproxy.stats.rollup import DAY_S, HOUR_S
from guardproxy.stores.statistics import BucketKey, BucketWrite, StatisticsStore

CLOCK: Final = "event-clock"
KEEP_S: Final = 100 * DAY_S
MARKS_KEEP_S: Final = 9 * DAY_S
MAX_HOURS: Final = 512
"""Hours of others' marks that one beat reads; a replay that runs further ahead is followed at the next."""
MAX_KNOWN: Final = 256
"""Hours of which it is known what others marked; one beyond them is read again as a whole."""
AGAIN: Final = 10
"""Beats whose hours are looked at again: in a fast replay another replica writes hours behind what was looked at last."""
FIRST_HOURS: Final = 24
"""Hours that the first look goes back, for the same reason."""

_MOMENT: Final = struct.Struct(">d")


class EventMarks:
    """Shares one model's event time with the other replicas."""

    def __init__(self, model: ModelStatistics) -> None:
        """Know nothing of the others yet."""
        self._model = model
        self._marks = Marks(model.bucket_s, model.writer)
        self._an_hour = HOUR_S // model.bucket_s
        self._read_to: deque[int] = deque(maxlen=AGAIN)
        self._known: OrderedDict[int, dict[str, dict[int, int]]] = OrderedDict()

    def writes(self, buckets: Iterable[tuple[int, int]]) -> list[BucketWrite]:
        """Return what tells the others of buckets that were just counted on, each with the rows it has."""
        return [
            BucketWrite(self._key(mark.hour), mark.writer, mark.blob, MARKS_KEEP_S)
            for mark in self._marks.add(buckets)
        ]

    async def clock(self, store: StatisticsStore) -> float | None:
        """Return the latest moment that anybody told of, ours included. Raises StoreDownError."""
        name, ours = self._model.model, self._model.latest
        blob = await store.state(name, CLOCK)
        shared = _moment(blob)
        if ours is None or (shared is not None and shared >= ours):
            return shared
        # Whoever loses the swap looks again at the next beat.
        await store.swap(name, CLOCK, blob, _MOMENT.pack(ours), KEEP_S)
        return ours

    async def look(self, store: StatisticsStore) -> None:
        """Have the buckets read that others counted in since the last look. Raises StoreDownError."""
        now = self._model.now
        if now is None:
            return
        last = int(now // HOUR_S)
        if not self._read_to:
            self._read_to.append(last - FIRST_HOURS)
        last = min(last, self._read_to[-1] + MAX_HOURS)
        hours = range(max(min(last - 1, *self._read_to), 0), last + 1)
        blobs = await store.read([self._key(hour) for hour in hours])
        for hour, found in zip(hours, blobs, strict=True):
            self._model.touch(self._changed(hour, found))
        self._read_to.append(last)

    def _changed(self, hour: int, blobs: Mapping[str, bytes]) -> list[int]:
        """Return the buckets of an hour that others counted in since it was read."""
        known = self._known.setdefault(hour, {})
        self._known.move_to_end(hour)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        changed: set[int] = set()
        for writer, blob in blobs.items():
            if writer.partition(".")[0] == self._model.writer:
                continue
            try:
                marks = unpack_marks(blob)
            except ValueError:
                self._model.damaged += 1
                continue
            before = known.get(writer, {})
            changed |= {place for place, rows in marks.items() if before.get(place) != rows}
            known[writer] = marks
        return sorted(hour * self._an_hour + place for place in changed)

    def _key(self, hour: int) -> BucketKey:
        return BucketKey(self._model.model, SERIES, self._model.layout.version, HOUR_S, hour)


def _moment(blob: bytes | None) -> float | None:
    if blob is None or len(blob) != _MOMENT.size:
        return None
    moment: float = _MOMENT.unpack(blob)[0]
    return moment if abs(moment) < 1e11 else None
