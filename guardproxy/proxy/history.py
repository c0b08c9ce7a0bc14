"""What is remembered of each entity of one model, in process and bounded; implements `guard.Past`.

Decides which answers count as good (allowed rows, whole and finite), that a late answer never takes a newer one's place, and
what is forgotten at the bound: the entity not heard of for longest. What a past says of the next answer is left to `stats`, what
replicas share of it to `sharing`.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from guardproxy.decision import Decision, Outcome, Verdict
from guardproxy.rules.past import Usual
from guardproxy.stats.entity import SEASONS
from guardproxy.stats.memory import OutputMemory
from guardproxy.stats.strangeness import ESTIMATES
from guardproxy.table import Cell, Floats, Mask, Table

MAX_ENTITIES: Final = 200_000
MAX_KEY_CHARS: Final = 512
MAX_OUTPUTS: Final = 16
"""Outputs of a model of which more than the last answer is remembered; those beyond are counted in `outputs_dropped`."""
MAX_WAITING: Final = 50_000
"""Answers that wait to be learned; more are remembered as the last ones, but not learned from, and counted in `unlearned`."""
MAX_AT_ONCE: Final = 256
"""Answers that are learned in one go, so that it takes the loop two milliseconds or so; the others wait."""
TOLD: Final = 0.001
"""The share of false alarms for which the power is told where no rule names one."""
FEW: Final = 8
"""Up to so many entities are looked up one by one, more in arrays."""

By: TypeAlias = tuple[str, ...]
Entity: TypeAlias = tuple[Cell, ...]
Key: TypeAlias = tuple[By, Entity]

_NOBODY: Final[Mapping[str, float]] = MappingProxyType({})


class Entry:
    """What is known of one entity: its last good answer, when that was, and its place among the records.

    `read_at` is when it was last read from the store or answered here, by the clock of the requests; `waiting` how many
    answers are still to be learned.
    """

    __slots__ = ("at", "place", "read_at", "values", "waiting")

    def __init__(self, place: int, at: float, values: Mapping[str, Cell], read_at: float) -> None:
        self.place = place
        self.at = at
        self.read_at = read_at
        self.values = values
        self.waiting = 0


class Waiting(NamedTuple):
    """An answer that is to be learned."""

    group: "Group"
    entry: Entry
    at: float
    values: Mapping[str, Cell]
    good: bool


class Group:
    """The records of the entities that are named by the same fields."""

    def __init__(self, by: By, season: str) -> None:
        """Start empty; `season` is of SEASONS."""
        self.by = by
        self.memories: dict[str, OutputMemory] = {}
        self._season = SEASONS[season]
        self._next = 0
        self._free: list[int] = []

    def place(self) -> int:
        """Return a place that nobody has."""
        if self._free:
            return self._free.pop()
        self._next += 1
        return self._next - 1

    def release(self, entry: Entry) -> None:
        """Forget what stands in an entity's place."""
        for memory in self.memories.values():
            memory.clear(entry.place)
        self._free.append(entry.place)
        entry.place = -1

    def memory(self, output: str) -> OutputMemory | None:
        """Return the records of an output, made at first; None for one too many."""
        found = self.memories.get(output)
        if found is None and len(self.memories) < MAX_OUTPUTS:
            found = self.memories[output] = OutputMemory(self._season)
        return found


class History:
    """The past of one model's entities."""

    def __init__(
        self,
        keys: tuple[By, ...],
        max_entities: int = MAX_ENTITIES,
        *,
        season: str = "weekday",
        max_age_s: float = float("inf"),
    ) -> None:
        """Remember by each of the field tuples in `keys`; what is older than `max_age_s` is no past."""
        self.forgotten = 0
        self.refused = 0
        self.late_answers = 0
        self.unlearned = 0
        self.outputs_dropped = 0
        self.told: deque[tuple[Key, float, Mapping[str, Cell]]] | None = None
        self.season = season
        self.max_age_s = max_age_s
        self.groups: dict[By, Group] = {}
        self._keys: tuple[By, ...] = ()
        self._judges: Mapping[str, float] = _NOBODY
        self._max = max_entities
        self._seen: OrderedDict[Key, Entry] = OrderedDict()
        self._waiting: deque[Waiting] = deque()
        self.follow(keys)

    @property
    def keys(self) -> tuple[By, ...]:
        """The fields by which entities are remembered."""
        return self._keys

    def follow(self, keys: tuple[By, ...], judges: Mapping[str, float] = _NOBODY) -> None:
        """Remember by these fields from now on; what was remembered by others stays until it is forgotten.

        `judges` are the rules that call answers unusual, each with its share of false alarms: what they alone object to is
        no good answer, but how far it lay from what is usual is learned all the same. Else every limit would fall until ordinary answers exceeded it.
        """
        self._keys = keys
        self._judges = judges
        for by in keys:
            self.groups.setdefault(by, Group(by, self.season))

    def __len__(self) -> int:
        return len(self._seen)

    # ---------------------------------------------------------------- what rules ask

    def entry(self, by: By, entity: Entity) -> Entry | None:
        """Return what is known of an entity, however old, or None."""
        return self._seen.get((by, entity))

    def previous(self, by: By, entity: Entity, at: float) -> Mapping[str, Cell] | None:
        """Return the entity's last good predictions, or None; what is older than `max_age_s` at a moment is no past."""
        entry = self._fresh(by, entity, at, self.max_age_s)
        return None if entry is None else entry.values

    def usual(self, by: By, entities: Sequence[Entity], output: str, at: float) -> Sequence[Usual | None]:
        """Return what is usual of an output of each entity at a moment; None where too little is known."""
        group = self.groups.get(by)
        memory = None if group is None else group.memories.get(output)
        if memory is None:
            return (None,) * len(entities)
        entries = [self._fresh(by, entity, at, self.max_age_s) for entity in entities]
        known = [entry.place for entry in entries if entry is not None]
        found = iter(
            [memory.usual(place, at) for place in known] if len(known) <= FEW else memory.usuals(known, at)
        )
        return [None if entry is None else next(found) for entry in entries]

    def limit(self, by: By, output: str, false_alarms: float) -> float | None:
        """Return the distance from what is usual that a share of `false_alarms` of the answers exceeds, or None."""
        group = self.groups.get(by)
        memory = None if group is None else group.memories.get(output)
        return None if memory is None else memory.strangeness.limit(false_alarms)

    def estimate(
        self, kind: str, by: By, entity: Entity, output: str, at: float, max_age_s: float | None
    ) -> Cell:
        """Return what stands in for an entity's answer at a moment, or None; see `rules.past.EntityPast`."""
        entry = self._fresh(by, entity, at, self.max_age_s if max_age_s is None else max_age_s)
        if entry is None:
            return None
        last, memory = entry.values.get(output), self.groups[by].memories.get(output)
        if kind == "last_good" or memory is None or not is_number(last):
            return last if kind in ("last_good", "auto") else None
        found = memory.expected(np.array([entry.place], dtype=np.intp), at)
        chosen = memory.errors.best() if kind == "auto" else kind
        value = float(getattr(found, ESTIMATES[chosen])[0])
        return None if value != value else value

    def of_rows(self, by: By, table: Table, times: Sequence[float]) -> tuple[Mapping[str, Cell] | None, ...]:
        """Return the last good predictions of each row's entity at the row's moment; an entity with a missing part is nobody."""
        columns = [table.column(name) for name in by if name in table.fields]
        if not by or len(columns) < len(by):
            return (None,) * table.rows
        entities = (tuple(column[row] for column in columns) for row in range(table.rows))
        return tuple(
            None if None in entity else self.previous(by, entity, at)
            for entity, at in zip(entities, times, strict=True)
        )

    # ---------------------------------------------------------------- what is remembered

    def remember(
        self,
        features: Table,
        predictions: Table,
        decision: Decision,
        at: float,
        times: Floats | None = None,
        arrived: float | None = None,
    ) -> None:
        """Keep the predictions of the rows that were allowed as they are.

        They happened at `at` (Unix seconds), or by row at `times`; the request `arrived` then, where that is not `at`.
        """
        if not self._keys:
            return
        good = decision.outcomes == Outcome.ALLOWED
        judged = self._judged(decision, good)
        rows = np.flatnonzero(judged).tolist()
        answers = [predictions.column(name) for name in predictions.fields]
        keys = [(by, [features.column(name) for name in by]) for by in self._keys]
        for row in rows[-self._max :]:
            cells = [column[row] for column in answers]
            if None in cells or not all(map(_finite, cells)):
                continue
            values = dict(zip(predictions.fields, cells, strict=True))
            moment = at if times is None or times[row] != times[row] else float(times[row])
            for by, columns in keys:
                entity = tuple(column[row] for column in columns)
                self._keep(
                    (by, entity), values, moment, at if arrived is None else arrived, good=bool(good[row])
                )

    def learn(self) -> bool:
        """Learn from answers that wait, MAX_AT_ONCE at most, between requests; tell whether more of them wait."""
        count = min(len(self._waiting), MAX_AT_ONCE)
        taken = [self._waiting.popleft() for _ in range(count)]
        groups: dict[By, list[Waiting]] = {}
        for one in taken:
            one.entry.waiting -= 1
            # Whoever was forgotten meanwhile has no place any more.
            if one.entry.place >= 0:
                groups.setdefault(one.group.by, []).append(one)
        for each in groups.values():
            self._learn(each[0].group, each)
        return bool(self._waiting)

    def take_in(self, key: Key, at: float, values: Mapping[str, Cell], read_at: float) -> Entry:
        """Take what others know of an entity; its values only where they are newer than what is known here."""
        entry = self._seen.get(key)
        if entry is None:
            entry = self._added(key, at, values, read_at)
        elif at > entry.at:
            entry.at, entry.values = at, {**entry.values, **values}
        entry.read_at = max(entry.read_at, read_at)
        return entry

    def as_json(self) -> list[dict[str, Any]]:
        """Return what was learned about all entities together, by the fields that name them and by output."""
        return [
            {"by": list(by), "output": output, **memory.as_json(sorted({*self._judges.values()} or {TOLD}))}
            for by, group in self.groups.items()
            if by in self._keys
            for output, memory in group.memories.items()
        ]

    def _judged(self, decision: Decision, good: Mask) -> Mask:
        """Return the rows that are good, or that nobody but the rules on unusual answers objects to."""
        if not self._judges or not decision.outcomes.any():
            return good
        others = [place for place, rule in enumerate(decision.rules) if rule not in self._judges]
        codes = decision.verdicts[[place for place in others if place < len(decision.verdicts)]]
        objected = np.isin(codes, (Verdict.VIOLATED, Verdict.ERROR)).any(axis=0)
        judged: Mask = good | ~objected
        return judged

    def _keep(self, key: Key, values: Mapping[str, Cell], at: float, arrived: float, *, good: bool) -> None:
        by, entity = key
        if None in entity:
            return
        if any(isinstance(part, (str, tuple)) and len(part) > MAX_KEY_CHARS for part in entity):
            self.refused += 1
            return
        entry = self._seen.get(key)
        if entry is None:
            if not good:
                return
            entry = self._added(key, at, values, arrived)
        elif at < entry.at:
            self.late_answers += 1
            return
        elif good:
            entry.at, entry.read_at, entry.values = at, arrived, values
            self._seen.move_to_end(key)
        self._wait(Waiting(self.groups[by], entry, at, values, good))
        if good and self.told is not None:
            self.told.append((key, at, values))

    def _wait(self, answer: Waiting) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.unlearned += 1
            return
        answer.entry.waiting += 1
        self._waiting.append(answer)

    def _added(self, key: Key, at: float, values: Mapping[str, Cell], read_at: float) -> Entry:
        group = self.groups[key[0]]
        if len(self._seen) >= self._max:
            (by, _), entry = self._seen.popitem(last=False)
            self.groups[by].release(entry)
            self.forgotten += 1
        added = self._seen[key] = Entry(group.place(), at, values, read_at)
        return added

    def _learn(self, group: Group, taken: Sequence[Waiting]) -> None:
        for output in dict.fromkeys(name for one in taken for name in one.values):
            picked = [one for one in taken if is_number(one.values.get(output))]
            memory = group.memory(output) if picked else None
            if memory is None:
                self.outputs_dropped += bool(picked)
                continue
            self.unlearned += memory.learn(
                np.array([one.entry.place for one in picked], dtype=np.intp),
                np.array([one.at for one in picked]),
                np.array([one.values[output] for one in picked], dtype=np.float64),
                np.array([one.good for one in picked], dtype=np.bool_),
            )

    def _fresh(self, by: By, entity: Entity, at: float, max_age_s: float) -> Entry | None:
        entry = self._seen.get((by, entity))
        return None if entry is None or at - entry.at > max_age_s else entry


def is_number(cell: Cell) -> bool:
    """Tell whether a cell is a number that a record can hold."""
    return type(cell) is float or (type(cell) is int and abs(cell) < 2**53)


def _finite(cell: Cell) -> bool:
    if isinstance(cell, float):
        return cell - cell == 0
    if isinstance(cell, tuple):
        return all(part is not None and part - part == 0 for part in cell)
    return True
