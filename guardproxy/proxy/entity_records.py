"""The records of some entities, as they came from the store and as they are to be written.

Decides under which ids an entity's records stand, and what of them is believed: what is damaged, or of a clock far ahead, is
nothing, and counted. When they are read and written is left to `sharing`.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np

from guardproxy.proxy.history import Key, is_number
from guardproxy.stats.entity import PHASES, Kind, Records, empty, from_blobs, from_word, moment, to_word
from guardproxy.stats.memory import Answer, OutputMemory
from guardproxy.stores.statistics import ENTITY_ID_BYTES
from guardproxy.table import Cell

AHEAD_S: Final = 300.0
"""A record so far ahead of the store's clock is of a broken one, and is taken for none."""

Answers = Sequence[tuple[float, Mapping[str, Cell]]]

_KIND_AT: Final = 6
"""Where a record says of which kind it is, behind its moment."""


class Id(NamedTuple):
    """One record of one entity in the store, and whether it holds the phases of a season."""

    id: bytes
    key: Key
    output: str
    phases: bool


class EntityRecords:
    """Records of some entities and outputs. `written` are those to be pushed, by their id."""

    def __init__(self, keys: Sequence[Key], outputs: Sequence[str], *, phases: bool) -> None:
        """Name the records of entities; `phases` says that each has a second one for its season."""
        self.written: dict[bytes, bytes] = {}
        self.damaged = 0
        self.local_only = 0
        self._ids = {
            (one.key, one.output, one.phases): one
            for key in keys
            for one in _ids_of(key, outputs, phases=phases)
        }
        self._blobs: dict[bytes, bytes | None] = {}
        self._latest = float("inf")

    @property
    def ids(self) -> list[bytes]:
        """The ids to pull."""
        return [one.id for one in self._ids.values()]

    def fill(self, blobs: Sequence[bytes | None], now: float) -> None:
        """Take what the store had under `ids`; `now` is its clock."""
        self._blobs = dict(zip(self.ids, blobs, strict=True))
        self._latest = now + AHEAD_S

    def last(self, key: Key, outputs: Sequence[str]) -> tuple[float, Mapping[str, Cell]] | None:
        """Return an entity's last answer and when that was; None where the store knows of none."""
        values: dict[str, Cell] = {}
        at = float("-inf")
        for output in outputs:
            said = self._word(key, output) or self._number(key, output)
            if said is not None:
                at, values[output] = max(at, said[0]), said[1]
        return (at, values) if values else None

    def records(
        self, memory: OutputMemory, output: str, keys: Sequence[Key]
    ) -> tuple[Records, Records | None]:
        """Return the records of one output of some entities, empty where there is none."""
        base, damaged = from_blobs([self._numeric(key, output) for key in keys])
        ahead = moment(base) > self._latest
        base[ahead] = empty(1)
        self.damaged += damaged + int(np.count_nonzero(ahead))
        if not memory.extra:
            return base, None
        phases, damaged = from_blobs([self._blob(key, output, phases=True) for key in keys], PHASES)
        phases[(base["count"] == 0) | (moment(phases) > self._latest)] = empty(1, PHASES)
        self.damaged += damaged
        return base, phases

    def merge_numbers(
        self, memory: OutputMemory, output: str, answers: Mapping[Key, Answers]
    ) -> tuple[Records, Records | None]:
        """Put answers on top of what the store knows of one output, and write that; return it in the order of `answers`."""
        base, phases = self.records(memory, output, list(answers))
        numbers = [
            [Answer(at, float(cell)) for at, values in each if is_number(cell := values.get(output))]  # type: ignore[arg-type]
            for each in answers.values()
        ]
        base, phases = memory.merged(base, phases, numbers)
        for line, key in enumerate(answers):
            self.written[self._ids[key, output, False].id] = base[line].tobytes()
            if phases is not None:
                self.written[self._ids[key, output, True].id] = phases[line].tobytes()
        return base, phases

    def merge_word(self, key: Key, output: str, at: float, cell: Cell) -> None:
        """Write an answer that is no number, unless the store knows a newer one; one that fits nowhere stays here."""
        blob = to_word(at, cell) if isinstance(cell, (str, bool)) else None
        if blob is None:
            self.local_only += 1
            return
        known = self._word(key, output)
        if known is None or at > known[0]:
            self.written[self._ids[key, output, False].id] = blob

    def _blob(self, key: Key, output: str, *, phases: bool = False) -> bytes | None:
        one = self._ids.get((key, output, phases))
        return None if one is None else self._blobs.get(one.id)

    def _numeric(self, key: Key, output: str) -> bytes | None:
        blob = self._blob(key, output)
        return None if _is_word(blob) else blob

    def _word(self, key: Key, output: str) -> tuple[float, Cell] | None:
        blob = self._blob(key, output)
        if blob is None or not _is_word(blob):
            return None
        try:
            at, cell = from_word(blob)
        except ValueError:
            self.damaged += 1
            return None
        return (at, cell) if at <= self._latest else None

    def _number(self, key: Key, output: str) -> tuple[float, Cell] | None:
        blob = self._numeric(key, output)
        if blob is None:
            return None
        records, damaged = from_blobs([blob])
        at = float(moment(records)[0])
        if damaged or at > self._latest:
            self.damaged += 1
            return None
        return at, float(records["last"][0])


def _is_word(blob: bytes | None) -> bool:
    return blob is not None and len(blob) > _KIND_AT and blob[_KIND_AT] in (Kind.TEXT, Kind.FLAG)


def _ids_of(key: Key, outputs: Sequence[str], *, phases: bool) -> list[Id]:
    by, entity = key
    start = repr((by, tuple(map(_spelled, entity)))).encode("utf-8", "surrogatepass")
    found = []
    for output in outputs:
        for second in (False, True)[: 1 + phases]:
            name = b"\0".join((start, output.encode("utf-8", "surrogatepass"), bytes((second,))))
            digest = blake2b(name, digest_size=ENTITY_ID_BYTES).digest()
            found.append(Id(digest, key, output, second))
    return found


def _spelled(cell: Cell) -> Cell:
    """Return a part of an entity as it is spelled whatever message it came in: 3 and 3.0 are one entity."""
    return float(cell) if is_number(cell) else cell  # type: ignore[arg-type]
