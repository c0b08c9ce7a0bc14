"""What replicas share of the past of one model's entities: pushed once a second, pulled where a request asks.

Decides what is sent and asked for, and that nobody waits for it but a reply, and that one only for the time that
the configuration names. What is remembered here is left to `history`, what is believed of a record to `entity_records`.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
import structlog

from guardproxy.proxy.entity_records import Answers, EntityRecords
from guardproxy.proxy.history import MAX_OUTPUTS, By, Entry, History, Key, is_number
from guardproxy.stats.memory import MAX_EACH
from guardproxy.stores.statistics import StatisticsStore, StoreDownError
from guardproxy.table import Cell, Table

log = structlog.get_logger("guardproxy.history")

MAX_ASKED: Final = 1_000
"""Entities that one request may ask the store for; the others of it are counted in `unasked`."""
MAX_READS: Final = 64
"""Reads that may be under way at once; a request beyond them goes on without, counted in `unasked`."""
MAX_UNSHARED: Final = 100_000
"""Entities whose answers wait to be pushed; at the bound those that waited longest are dropped, counted in `dropped`."""
MAX_PUSHED: Final = 4_096
"""Entities that one beat pushes; the others wait for the next."""
SLICE: Final = 64
"""Entities of which a pull and a push are made at a time, so that the loop is never kept for long."""
ABSENT_S: Final = 60.0
"""How long it is remembered that the store knows nothing of an entity."""
MAX_ABSENT: Final = 100_000
STALE_S: Final = 60.0
"""An entity not heard of here for so long is read again, though nobody waits: another replica may have answered it."""
PAUSE_S: Final = 1.0
"""How long no request asks the store after it failed."""
AGREE_S: Final = 60.0
"""How often it is looked up which outputs the others know of."""
MAX_KEEP_S: Final = 366 * 86_400
OUTPUTS_STATE: Final = "history-outputs"

SHARED: Final = (
    "pushed", "dropped", "local_only", "damaged", "reads", "found", "late", "unasked", "failures",
)  # fmt: skip
"""What a `Sharing` counts, by the names of its attributes."""


class Reading:
    """A read that is under way while the model server works; a reply may wait for it where an entity is unknown here."""

    __slots__ = ("_sharing", "_task", "_waits")

    def __init__(self, sharing: "Sharing", task: "asyncio.Task[None]", *, waits: bool) -> None:
        self._sharing = sharing
        self._task = task
        self._waits = waits

    @property
    def pending(self) -> bool:
        """Whether there is something to wait for."""
        return self._waits and not self._task.done()

    async def wait(self) -> None:
        """Wait until the read is back, `wait_s` at most; else go on without it, counted in `late`."""
        if not self.pending:
            return
        await asyncio.wait({self._task}, timeout=self._sharing.wait_s)
        if not self._task.done():
            self._sharing.late += 1


class Sharing:
    """The shared past of one model.

    Counted are the entities `pushed`, `dropped` and `unasked`, the pulls of requests (`reads`), the entities that these
    `found`, replies that did not wait to the end (`late`), `failures` of the store, `damaged` records, and answers that no
    record can hold (`local_only`): long texts and vectors.
    """

    def __init__(self, model: str, history: History, *, wait_s: float, clock: Callable[[], float]) -> None:
        """Share what `history` remembers; a reply waits at most `wait_s`. `clock` is that by which requests arrive."""
        self.wait_s = wait_s
        self.pushed = 0
        self.dropped = 0
        self.local_only = 0
        self.damaged = 0
        self.reads = 0
        self.found = 0
        self.late = 0
        self.unasked = 0
        self.failures = 0
        self.history = history
        self._model = model
        self._clock = clock
        self._store: StatisticsStore | None = None
        self._down_until = float("-inf")
        self._outputs: dict[str, None] = {}
        self._agreed: bytes | None = None
        self._agreed_until = float("-inf")
        self._unshared: OrderedDict[Key, list[tuple[float, Mapping[str, Cell]]]] = OrderedDict()
        self._absent: OrderedDict[Key, float] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()
        self._told: deque[tuple[Key, float, Mapping[str, Cell]]] = deque()
        history.told = self._told

    @property
    def unshared(self) -> int:
        """How many entities wait to be pushed."""
        self._gather()
        return len(self._unshared)

    def as_json(self) -> dict[str, Any]:
        """Return what is remembered of the entities, what was learned of all of them, and what was not shared and why."""
        history = self.history
        own = ("forgotten", "refused", "late_answers", "unlearned", "outputs_dropped")
        return {
            "model": self._model,
            "entities": len(history),
            "unshared": self.unshared,
            **{name: getattr(self, name) for name in SHARED},
            **{name: getattr(history, name) for name in own},
            "learned": history.as_json(),
        }

    def learn(self) -> bool:
        """Learn from a slice of the answers that wait, and keep what waits to be pushed within its bound, whatever becomes of the store.

        Called many times a second; tells whether more of them wait.
        """
        self._gather()
        return self.history.learn()

    async def beat(self, store: StatisticsStore, now: float) -> None:
        """Push what was answered since the last beat, on top of what other replicas know of the same entities.

        Raises StoreDownError; what was not pushed then waits for a later beat.
        """
        # In event time `now` is this replica's, and another may be further on.
        now = max(now, self._clock())
        self._store = store
        self._gather()
        await self._agree(store)
        for _ in range(0, MAX_PUSHED, SLICE):
            taken = [self._unshared.popitem(last=False) for _ in range(min(SLICE, len(self._unshared)))]
            if not taken:
                break
            try:
                await self._push(store, dict(taken), now)
            except StoreDownError:
                self._put_back(taken)
                self.failures += 1
                # A store that comes back may have lost what it knew.
                self._agreed_until = float("-inf")
                raise
            self.pushed += len(taken)
        self._down_until = float("-inf")

    async def stop(self, limit_s: float) -> None:
        """Give up what is still being read, and push what is left within so many seconds; the rest is lost, and said to be."""
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._store is not None and not self._store.status().problem:
            with suppress(StoreDownError, TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self.beat(self._store, self._clock())
        if self.unshared:
            log.warning("history.not_shared", model=self._model, entities=self.unshared)

    def ask(self, table: Table) -> Reading | None:
        """Begin to read the entities of a request that are not known here; None where there is nothing to read."""
        store = self._store
        if store is None or not self.history.keys or not self._outputs:
            return None
        now = self._clock()
        unknown, stale = self._lacking(table, now)
        wanted = [*unknown, *stale]
        if not wanted:
            return None
        if now < self._down_until or store.status().problem or len(self._running) >= MAX_READS:
            self.unasked += len(wanted)
            return None
        self.unasked += max(0, len(wanted) - MAX_ASKED)
        task = asyncio.get_running_loop().create_task(self._read(store, wanted[:MAX_ASKED], now))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return Reading(self, task, waits=bool(unknown))

    # ---------------------------------------------------------------- pushing

    def _gather(self) -> None:
        """Take up what was remembered since; an entity keeps its newest MAX_EACH answers."""
        while self._told:
            key, at, values = self._told.popleft()
            answers = self._unshared.setdefault(key, [])
            answers.append((at, values))
            if len(answers) > MAX_EACH:
                del answers[0]
            for name in values:
                if name not in self._outputs and len(self._outputs) < MAX_OUTPUTS:
                    self._outputs[name] = None
        while len(self._unshared) > MAX_UNSHARED:
            self._unshared.popitem(last=False)
            self.dropped += 1

    def _put_back(self, taken: Sequence[tuple[Key, list[tuple[float, Mapping[str, Cell]]]]]) -> None:
        for key, answers in reversed(taken):
            self._unshared[key] = [*answers, *self._unshared.get(key, [])][-MAX_EACH:]
            self._unshared.move_to_end(key, last=False)

    async def _agree(self, store: StatisticsStore) -> None:
        """Agree with the others on which outputs there are: who starts anew must know what to ask for."""
        if self._clock() >= self._agreed_until:
            self._agreed = await store.state(self._model, OUTPUTS_STATE)
            self._agreed_until = self._clock() + AGREE_S
        known = self._names(self._agreed)
        whole = list(dict.fromkeys((*known, *self._outputs)))[:MAX_OUTPUTS]
        self._outputs = dict.fromkeys(whole)
        if whole == known:
            return
        said = "\n".join(whole).encode("utf-8", "surrogatepass")
        if await store.swap(self._model, OUTPUTS_STATE, self._agreed, said, self._keep_s):
            self._agreed = said
        else:
            self._agreed_until = float("-inf")

    def _names(self, state: bytes | None) -> list[str]:
        try:
            return [] if not state else state.decode("utf-8", "surrogatepass").split("\n")[:MAX_OUTPUTS]
        except UnicodeDecodeError:
            self.damaged += 1
            return []

    @property
    def _keep_s(self) -> int:
        return int(min(self.history.max_age_s, MAX_KEEP_S))

    def _records_of(self, keys: Sequence[Key]) -> EntityRecords:
        return EntityRecords(keys, list(self._outputs), phases=self.history.season == "hour")

    async def _push(self, store: StatisticsStore, taken: Mapping[Key, Answers], now: float) -> None:
        records = self._records_of(list(taken))
        records.fill(await store.pull(self._model, records.ids), now)
        for by in dict.fromkeys(by for by, _ in taken):
            mine = {key: answers for key, answers in taken.items() if key[0] == by}
            for output in self._outputs:
                self._merge(records, by, output, mine)
        self.damaged += records.damaged
        if records.written:
            await store.push(self._model, records.written, self._keep_s)
        self.local_only += records.local_only

    def _merge(self, records: EntityRecords, by: By, output: str, taken: Mapping[Key, Answers]) -> None:
        """Put this replica's answers on top of what the store knows of one output, here and in what is written."""
        numbers: dict[Key, Answers] = {}
        for key, answers in taken.items():
            at, values = answers[-1]
            cell = values.get(output)
            if is_number(cell):
                numbers[key] = answers
            elif cell is not None:
                records.merge_word(key, output, at, cell)
        memory = self.history.groups[by].memory(output) if numbers else None
        if memory is None:
            return
        base, phases = records.merge_numbers(memory, output, numbers)
        self._gather()
        # What was answered here meanwhile is in no merged record yet.
        kept = [
            (line, entry.place)
            for line, key in enumerate(numbers)
            if (entry := self.history.entry(*key)) is not None
            and not entry.waiting
            and key not in self._unshared
        ]
        if kept:
            lines, places = (list(each) for each in zip(*kept, strict=True))
            memory.put(
                np.array(places, dtype=np.intp), base[lines], None if phases is None else phases[lines]
            )

    # ---------------------------------------------------------------- reading for a request

    def _lacking(self, table: Table, now: float) -> tuple[list[Key], list[Key]]:
        """Return the entities of a request that are unknown here, and those not heard of for long."""
        unknown: dict[Key, None] = {}
        stale: dict[Key, None] = {}
        for by in self.history.keys:
            for entity in dict.fromkeys(zip(*(table.column(name) for name in by), strict=True)):
                if None in entity:
                    continue
                entry = self.history.entry(by, entity)
                if entry is None:
                    if self._absent.get((by, entity), now) <= now:
                        unknown[by, entity] = None
                elif now - entry.read_at > STALE_S:
                    stale[by, entity] = None
        return list(unknown), list(stale)

    async def _read(self, store: StatisticsStore, keys: Sequence[Key], now: float) -> None:
        records = self._records_of(keys)
        self.reads += 1
        try:
            records.fill(await store.pull(self._model, records.ids), now)
        except StoreDownError:
            self.failures += 1
            self._down_until = self._clock() + PAUSE_S
            return
        taken: dict[Key, Entry] = {}
        for key in keys:
            entry = self._taken_in(records, key, now)
            if entry is not None:
                taken[key] = entry
        for by in dict.fromkeys(by for by, _ in taken):
            for output in self._outputs:
                self._put(records, by, output, taken)
        self.damaged += records.damaged

    def _taken_in(self, records: EntityRecords, key: Key, now: float) -> Entry | None:
        """Remember an entity's last answer as the store knows it; None where it knows nothing that is newer."""
        last = records.last(key, list(self._outputs))
        before = self.history.entry(*key)
        if last is None:
            if before is not None:
                before.read_at = now
                return None
            self._absent[key] = now + ABSENT_S
            if len(self._absent) > MAX_ABSENT:
                self._absent.popitem(last=False)
            return None
        self.found += 1
        newer = before is None or last[0] > before.at
        entry = self.history.take_in(key, *last, now)
        return entry if newer else None

    def _put(self, records: EntityRecords, by: By, output: str, taken: Mapping[Key, Entry]) -> None:
        places = {
            key: entry.place
            for key, entry in taken.items()
            if key[0] == by and entry.place >= 0 and is_number(entry.values.get(output))
        }
        memory = self.history.groups[by].memory(output) if places else None
        if memory is not None:
            memory.put(
                np.array(list(places.values()), dtype=np.intp), *records.records(memory, output, list(places))
            )
