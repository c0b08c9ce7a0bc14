"""What this process has counted of a model and must still tell the others: one cumulative blob per bucket and series.

Decides what has to be written again, and what is dropped at the bound. Writing it is left to the proxy, what a row adds to a
bucket to `counting`; nothing here reads a clock.

A bucket's blob holds all that this process counted in it, so writing it twice, or later with more, is harmless. A bucket that
was forgotten and gets late rows begins anew under another writer's name: it must not stand in place of what it had.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple

import numpy as np

from guardproxy.stats.counting import Counting
from guardproxy.stats.counts import Sums, no_moments
from guardproxy.stats.layout import Layout
from guardproxy.stats.recent import NO_RECENTS, Recents
from guardproxy.stats.recent_tally import AnyTally, add_to
from guardproxy.stats.rollup import Part, all_moments, blobs_of
from guardproxy.stats.windows import Sample
from guardproxy.table import Floats

COUNTED_ROWS: Final = 500
"""Rows that wait to be counted together; counting them costs the event loop about a millisecond."""
MAX_OPEN_BUCKETS: Final = 1_440
"""Buckets that the store has not taken yet, a day of minutes; of more the oldest are dropped, and their rows counted as lost."""
MAX_KEPT_BUCKETS: Final = 240
"""Buckets that are kept to count on; of more those that the store has taken and that were not counted on for longest go."""
MAX_PENDING: Final = 64
"""Buckets that `pending` gives at a time; the next call gives the next ones."""


class Token(NamedTuple):
    """Says which state of a bucket was written; `rows` are the rows it had."""

    bucket: int
    writer: str
    revision: int
    rows: int


class Pending(NamedTuple):
    """A bucket that is to be written: its blobs by series (`counts`, `moments`, `recent`), all under the name `writer`."""

    bucket: int
    writer: str
    blobs: Mapping[str, bytes]
    token: Token


@dataclass(slots=True)
class _Bucket:
    writer: str
    counts: Sums
    moments: Floats
    tallies: dict[str, AnyTally] = field(default_factory=dict)
    rows: int = 0
    revision: int = 0
    settled: int = 0
    settled_rows: int = 0

    @property
    def waits(self) -> bool:
        return self.revision > self.settled


class Ledger:
    """Counts one model's samples by bucket. `lost_rows` are those of buckets that were dropped before the store took them.

    Buckets before `oldest` are not counted, their rows are `old_rows`: whoever sends invented moments makes no bucket of each.
    """

    def __init__(self, layout: Layout, bucket_s: float, writer: str, recents: Recents = NO_RECENTS) -> None:
        """Count in buckets of `bucket_s` seconds under the name `writer`, which no other process has or had."""
        self.layout = layout
        self.lost_rows = 0
        self.oldest: int | None = None
        self.old_rows = 0
        self._counting = Counting(layout, bucket_s, recents)
        self._writer = writer
        self._names = count()
        self._name = writer
        self._buckets: dict[int, _Bucket] = {}
        self._waiting: list[Sample] = []
        self._waiting_rows = 0

    @property
    def waiting_rows(self) -> int:
        """How many rows the store has not taken yet."""
        return self._waiting_rows + sum(one.rows - one.settled_rows for one in self._buckets.values())

    @property
    def waiting_buckets(self) -> int:
        """How many buckets the store has not taken as they are now."""
        return sum(one.waits for one in self._buckets.values())

    def wrote(self, number: int) -> str | None:
        """Return under which name the store has taken a bucket, None where it has not, or is to be told again."""
        bucket = self._buckets.get(number)
        return bucket.writer if bucket is not None and bucket.settled else None

    def follow(self, recents: Recents) -> None:
        """Tally other rolling functions from now on, as after a reload; what was tallied of others stays in its buckets."""
        self._count()
        self._counting.follow(recents)

    def rewrite(self) -> None:
        """Have all buckets that are kept written again: after an outage nobody knows what the store still has.

        A write that was given up may also reach it late, and stand in place of a newer one.
        """
        for bucket in self._buckets.values():
            bucket.settled = 0

    def follow_clock(self, offset: float) -> None:
        """Count arrivals from now on by a clock that is `offset` seconds ahead of theirs."""
        self._count()
        self._counting.offset = offset

    def add(self, samples: Sequence[Sample]) -> None:
        """Add screened exchanges. They are counted together, at the latest when somebody asks for what is pending."""
        rows = [sample.decision.rows for sample in samples]
        if self._waiting_rows + sum(rows) + len(self._waiting) + len(rows) < COUNTED_ROWS:
            self._waiting += samples
            self._waiting_rows += sum(rows)
            return
        for sample, number in zip(samples, rows, strict=True):
            self._waiting.append(sample)
            self._waiting_rows += number
            if self._waiting_rows >= COUNTED_ROWS or len(self._waiting) >= COUNTED_ROWS:
                self._count()

    def pending(self, limit: int = MAX_PENDING) -> Sequence[Pending]:
        """Return what the store has not taken yet, the oldest buckets first, at most `limit` of them."""
        self._count()
        waiting = sorted(number for number, one in self._buckets.items() if one.waits)
        return [self._pending(number, self._buckets[number]) for number in waiting[:limit]]

    def settled(self, tokens: Iterable[Token]) -> None:
        """Note what the store has taken. Tokens may come late, twice or never."""
        for token in tokens:
            bucket = self._buckets.get(token.bucket)
            if bucket is not None and bucket.writer == token.writer and token.revision > bucket.settled:
                bucket.settled, bucket.settled_rows = token.revision, token.rows
        self._forget()

    def _pending(self, number: int, bucket: _Bucket) -> Pending:
        blobs = blobs_of(self.layout, Part(bucket.counts, bucket.moments, bucket.tallies))
        token = Token(number, bucket.writer, bucket.revision, bucket.rows)
        return Pending(number, bucket.writer, blobs, token)

    def _count(self) -> None:
        samples, self._waiting, self._waiting_rows = self._waiting, [], 0
        for increment in self._counting.of(samples):
            if self.oldest is not None and increment.bucket < self.oldest:
                self.old_rows += increment.rows
                continue
            bucket = self._touched(increment.bucket)
            bucket.rows += increment.rows
            bucket.counts += increment.counts
            if len(bucket.moments):
                bucket.moments = all_moments([bucket.moments, increment.moments], len(bucket.moments))
            add_to(bucket.tallies, increment.tallies)
        self._forget()

    def _touched(self, number: int) -> _Bucket:
        """Return a bucket that is about to be counted on, the last one of all."""
        bucket = self._buckets.pop(number, None)
        if bucket is None:
            moments = no_moments(len(self.layout.numbers))
            bucket = _Bucket(self._name, np.zeros(self.layout.size, dtype=np.int64), moments)
        self._buckets[number] = bucket
        bucket.revision += 1
        for one in self._counting.recents.arguments:
            # A key that is not there would say that it was not counted.
            if one.key not in bucket.tallies:
                bucket.tallies[one.key] = one.make()
        return bucket

    def _forget(self) -> None:
        """Forget settled buckets beyond their bound, and drop the oldest of too many that wait."""
        spare = len(self._buckets) - MAX_KEPT_BUCKETS
        if spare <= 0:
            return
        gone = [number for number, one in self._buckets.items() if not one.waits][:spare]
        waiting = sorted(number for number, one in self._buckets.items() if one.waits)
        gone += waiting[: max(0, len(waiting) - MAX_OPEN_BUCKETS)]
        for number in gone:
            bucket = self._buckets.pop(number)
            self.lost_rows += bucket.rows - bucket.settled_rows
        if gone:
            self._name = f"{self._writer}.{next(self._names)}"
