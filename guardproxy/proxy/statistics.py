"""The keeper of the statistics: once a second it writes what was counted here and reads what all replicas counted.

Decides the order of a beat, how much of it may wait, and when the store is left alone. What is written and read of a model is left
to `model_statistics`, how the store does it to `stores`. No request ever waits for any of this: it reads the snapshot that
the last beat left.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from guardproxy.proxy.event_marks import EventMarks
from guardproxy.proxy.model_statistics import MAX_ROLLS, ModelStatistics, Stretch
from guardproxy.proxy.statistics_blobs import SERIES, bucket_key, decoded, slices, sum_writes
from guardproxy.proxy.store_breaker import StoreBreaker
from guardproxy.stats.ledger import MAX_PENDING, Pending
from guardproxy.stats.rolls import Roll
from guardproxy.stats.rollup import Part, total_of
from guardproxy.stores.statistics import (
    BucketWrite,
    StatisticsStatus,
    StatisticsStore,
    StoreDownError,
)

log = structlog.get_logger("guardproxy.statistics")

BEAT_S: Final = 1.0
MAX_ROUNDS: Final = 32
"""How often one beat writes MAX_PENDING buckets of each model; what is left then waits for the next beat."""
READING_S: Final = 2.0
"""How long one beat may go on beginning to read of another model, where the store is slow."""
MAX_REFUSED: Final = 3
"""Beats that the store may refuse before the others wait for the next time: each may have waited for half a second."""
DECODED: Final = 32
"""Stretches that a thread decodes at a time."""
RECOVERY_S: Final = 35.0
"""After an outage no bucket closes for so long: other replicas may wait as long until they write what they kept."""


class Beat(Protocol):
    """Something that is done at every beat after the snapshots are new, such as judging window rules."""

    async def beat(self, store: StatisticsStore, now: float) -> None:
        """Do it; `now` is the store's clock, or in event time the latest moment told of. May raise StoreDownError."""


@dataclass(frozen=True, slots=True)
class KeeperStatus:
    """How the statistics are doing. Ages are in seconds, None where it has not happened yet.

    `problem` is empty while the store takes what is written; `waiting_rows` are not written yet, `lost_rows` never will be. `broken`
    names the errors of ours that the last beat met, and where.
    """

    store: StatisticsStatus
    problem: str
    down_since: float | None
    waiting_rows: int
    lost_rows: int
    flush_age_s: float | None
    snapshot_age_s: float | None
    beats: int
    faults: int
    outages: int
    offset_s: float
    broken: tuple[str, ...]


class StatisticsKeeper:
    """Keeps the statistics of all models. `beats` are called in order once their snapshots are new.

    `paused` leaves the beats to whoever calls `beat`.

    `faults` counts errors of ours that a beat met; each was logged, and ended nothing but itself. `losses` counts how often
    the store no longer had what it took, at most once in RECOVERY_S.
    """

    def __init__(
        self, store: StatisticsStore, models: Mapping[str, ModelStatistics], clock: Callable[[], float]
    ) -> None:
        """Keep `models` in `store`; `clock` is that by which requests arrive."""
        self.store = store
        self.models = models
        self.beats: list[Beat] = []
        self.paused = False
        self.count = 0
        self.faults = 0
        self.losses = 0
        self.offset_s = 0.0
        self.breaker = StoreBreaker(clock)
        self._clock = clock
        self._marks = {name: EventMarks(model) for name, model in models.items() if model.event}
        self._flushed_at: float | None = None
        self._renewed_at: float | None = None
        self._rewrite = 0
        self._lost_at: float | None = None
        self._early = asyncio.Event()
        self._lock = asyncio.Lock()
        self._turns = deque(models)
        self._problems: dict[int, str] = {}
        self._broken: dict[str, str] = {}

    async def run(self) -> None:
        """Beat once a second, or sooner where a ledger fills up, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._early.wait()
            except TimeoutError:
                pass
            self._early.clear()
            if not self.paused:
                await self.beat()

    def hurry(self) -> None:
        """Beat soon where a ledger has filled up since the last beat; to be called at each flush."""
        if self.breaker.closed and any(one.crowded for one in self.models.values()):
            self._early.set()

    async def beat(self) -> None:
        """Write, read, sum up and renew the snapshots, unless the store is left alone; then call the beats."""
        async with self._lock:
            if not self.breaker.may_try():
                return
            self.count += 1
            try:
                await self._exchange()
            except StoreDownError as error:
                self._failed(error)
                return
            except Exception as error:
                self._broke(type(self).__name__, error)
                log.error("statistics.failed", error=type(error).__name__, exc_info=error)
                return
            self._recovered()
            self._broken.clear()
            await self._call_beats()

    async def stop(self, limit_s: float) -> None:
        """Write what is left, within so many seconds; what cannot be written by then is lost, and said to be."""
        try:
            async with asyncio.timeout(limit_s), self._lock:
                await self._write()
                await self._call_beats()
        except (StoreDownError, TimeoutError) as error:
            log.error("statistics.last_flush_failed", error=str(error) or type(error).__name__)
        rows = sum(one.ledger.waiting_rows for one in self.models.values())
        if rows:
            log.error("statistics.lost", rows=rows)

    def status(self) -> KeeperStatus:
        """Say how the statistics are doing."""
        now = self._clock()
        ledgers = [one.ledger for one in self.models.values()]
        return KeeperStatus(
            self.store.status(),
            self.breaker.problem,
            self.breaker.since,
            sum(one.waiting_rows for one in ledgers),
            sum(one.lost_rows for one in ledgers),
            None if self._flushed_at is None else max(0.0, now - self._flushed_at),
            None if self._renewed_at is None else max(0.0, now - self._renewed_at),
            self.count,
            self.faults,
            self.breaker.outages,
            self.offset_s,
            tuple(f"{error} in {where}" for where, error in self._broken.items()),
        )

    # ---------------------------------------------------------------- one beat

    async def _exchange(self) -> None:
        self.offset_s = await self.store.offset()
        for one in self.models.values():
            one.ledger.follow_clock(self.offset_s)
        if self._rewrite:
            for one in self.models.values():
                one.ledger.rewrite()
        await self._write()
        self._rewrite = max(0, self._rewrite - 1)
        for one in self.models.values():
            marks = self._marks.get(one.model)
            shared = None if marks is None else await marks.clock(self.store)
            one.tell_time(self._clock() + self.offset_s, shared)
            if marks is not None:
                await marks.look(self.store)
        await self._read()
        await self._roll()
        self._renewed_at = self._clock()
        for one in self.models.values():
            one.renew(self._renewed_at)
            # A bucket's first beat adds up whole windows; requests come in between.
            await asyncio.sleep(0)

    async def _write(self) -> None:
        """Write what waits, a slice of every model at a time."""
        for _ in range(MAX_ROUNDS):
            pending = [(one, one.ledger.pending(MAX_PENDING)) for one in self.models.values()]
            writes = [write for one, some in pending for write in self._writes(one, some)]
            if not writes:
                break
            await self.store.put(writes)
            for one, some in pending:
                one.ledger.settled(each.token for each in some)
                one.touch_late(each.bucket for each in some)
        self._flushed_at = self._clock()

    def _writes(self, model: ModelStatistics, pending: Sequence[Pending]) -> list[BucketWrite]:
        level = model.levels[0]
        writes = [
            BucketWrite(
                bucket_key(model, series, level.resolution, each.bucket), each.writer, blob, level.keep_s
            )
            for each in pending
            for series, blob in each.blobs.items()
        ]
        marks = self._marks.get(model.model)
        if marks is not None and pending:
            writes += marks.writes((each.bucket, each.token.rows) for each in pending)
        return writes

    async def _read(self) -> None:
        """Read what may have changed; models that there is no time for come first at the next beat."""
        began = self._clock()
        for _ in range(len(self._turns)):
            if self._clock() - began > READING_S:
                break
            one = self.models[self._turns[0]]
            self._turns.rotate(-1)
            wanted = one.reads(self._clock())
            try:
                found = await self._parts(one, wanted)
            except StoreDownError:
                one.unread(wanted)
                raise
            for stretch, part in zip(wanted, found, strict=True):
                one.take(stretch, part)
            one.passed(self._clock())

    async def _parts(self, model: ModelStatistics, stretches: Sequence[Stretch]) -> list[Part | None]:
        """Return what all replicas counted in each stretch, None where nobody did. Raises StoreDownError."""
        found: list[Part | None] = []
        for some in slices(stretches, DECODED):
            keys = [bucket_key(model, series, *stretch) for stretch in some for series in SERIES]
            blobs = await self.store.read(keys)
            self._look_for_losses(model, some, blobs[:: len(SERIES)])
            if any(blobs):
                # Each blob takes some 20 microseconds, and there is one per replica: the loop has requests to serve.
                found += await asyncio.to_thread(decoded, model, blobs)
            else:
                found += [None] * len(some)
        return found

    def _look_for_losses(
        self, model: ModelStatistics, stretches: Sequence[Stretch], counts: Sequence[Mapping[str, bytes]]
    ) -> None:
        """Have all that is kept written again where the store no longer has what it took, as when somebody emptied it."""
        since = float("inf") if self._lost_at is None else abs(self._clock() - self._lost_at)
        if self._rewrite or since < RECOVERY_S:
            return
        for stretch, blobs in zip(stretches, counts, strict=True):
            if model.wrote(stretch) not in {None, *blobs}:
                log.warning("statistics.store_lost", model=model.model, bucket=stretch.number)
                self.losses += 1
                self._lost_at = self._clock()
                self._rewrite = 1
                for one in self.models.values():
                    one.hold(self._clock() + RECOVERY_S, past=True)
                return

    # ---------------------------------------------------------------- hours and days

    async def _roll(self) -> None:
        for one in self.models.values():
            if one.now is None:
                continue
            due = one.rolls.due(one.now, self._clock(), one.grace_s, MAX_ROLLS)
            for place, roll in enumerate(due):
                try:
                    await self._roll_one(one, roll)
                except StoreDownError:
                    for undone in due[place:]:
                        one.rolls.again(undone, self._clock())
                    raise

    async def _roll_one(self, model: ModelStatistics, roll: Roll) -> None:
        """Sum up a stretch of its parts, unless more is known of it than they say: some of them may have expired."""
        children = [Stretch(roll.child.resolution, number) for number in range(roll.first, roll.last + 1)]
        whole = Stretch(roll.parent.resolution, roll.number)
        *parts, known = await self._parts(model, [*children, whole])
        for stretch, part in zip(children, parts, strict=True):
            model.take(stretch, part)
        total = await asyncio.to_thread(total_of, model.layout, [part for part in parts if part is not None])
        if known is not None and known.rows(model.layout) > total.rows(model.layout):
            total = known
        elif total.counts.any() or total.tallies:
            # Rolling functions are counted whatever the profile is: perhaps nobody else is left who sums them up.
            await self.store.put(sum_writes(model, whole, roll.parent, total))
        if total.counts.any() or total.tallies:
            model.take(whole, total)

    # ---------------------------------------------------------------- what a beat came to

    async def _call_beats(self) -> None:
        """Call the beats, each whatever became of the others. When the store has gone, the next exchange will tell."""
        refused = 0
        for beat in self.beats:
            try:
                await beat.beat(self.store, self._beat_time())
            except StoreDownError as error:
                refused += 1
                self._refused(beat, error)
                if refused == MAX_REFUSED:
                    return
            except Exception as error:
                where = type(beat).__name__
                self._broke(where, error)
                log.error("statistics.failed", where=where, error=type(error).__name__, exc_info=error)
            else:
                self._problems.pop(id(beat), None)

    def _broke(self, where: str, error: Exception) -> None:
        self.faults += 1
        self._broken[where] = type(error).__name__

    def _refused(self, beat: Beat, error: StoreDownError) -> None:
        """Count what the store refused a beat, such as a command that it may not use; say so when it is news."""
        self.faults += 1
        if self._problems.get(id(beat)) != str(error):
            self._problems[id(beat)] = str(error)
            log.warning("statistics.refused", where=type(beat).__name__, error=str(error))

    def _failed(self, error: StoreDownError) -> None:
        if self.breaker.closed:
            log.warning("statistics.store_down", error=str(error))
        self.breaker.failed(str(error))
        self._broken.clear()
        for one in self.models.values():
            one.hold(float("inf"))

    def _recovered(self) -> None:
        if not self.breaker.closed:
            log.info("statistics.store_back", after_s=self.breaker.down_s())
            # Twice: a write that was given up may still reach the store behind the first.
            self._rewrite = 2
            for one in self.models.values():
                one.hold(self._clock() + RECOVERY_S)
        self.breaker.succeeded()

    def _beat_time(self) -> float:
        """Return the store's clock, or the latest event time where all models go by that."""
        told = [one.now for one in self.models.values() if one.event and one.now is not None]
        if told and all(one.event for one in self.models.values()):
            return max(told)
        return self._clock() + self.offset_s
