"""The records of one output of many entities in one block, and what its answers taught about all of them.

Decides how answers that wait are learned: in their order, an entity's answers of one moment as the last of them, and of an
entity that answers very often only the newest. Which entity has which place in the block is left to the proxy.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.rules.past import Usual
from guardproxy.stats.entity import (
    PHASES,
    RECORD,
    Expected,
    Records,
    Season,
    advance,
    empty,
    expected,
    expected_of_one,
    has_own_phases,
    moment,
)
from guardproxy.stats.strangeness import Errors, Strangeness
from guardproxy.table import Floats, Mask

Places = NDArray[np.intp]

MAX_EACH: Final = 8
"""Answers of one entity that are learned at a time; an entity that answers more often is known well enough."""
_FIRST: Final = 64


class Answer(NamedTuple):
    """An answer to be learned: when, and what."""

    at: float
    value: float


class OutputMemory:
    """Records by place."""

    def __init__(self, season: Season) -> None:
        """Start with an empty block."""
        self.strangeness = Strangeness()
        self.errors = Errors()
        self._season = season
        self._records = empty(_FIRST)
        self._phases = empty(_FIRST, PHASES) if season.phases and not has_own_phases(season) else None

    @property
    def extra(self) -> bool:
        """Whether an entity has a second record for its phases."""
        return self._phases is not None

    def clear(self, place: int) -> None:
        """Forget what stands in a place."""
        if place < len(self._records):
            self._records[place] = np.zeros(1, dtype=RECORD)[0]
            if self._phases is not None:
                self._phases[place] = np.zeros(1, dtype=PHASES)[0]

    def learn(self, places: Places, times: Floats, values: Floats, good: Mask) -> int:
        """Learn answers in their order; of those that are not `good` only how far they lie from what is usual.

        Return how many were left out since their entity had many newer ones.
        """
        self._grow(int(places.max(initial=0)))
        rounds, thinned = _rounds(places, times)
        for picked in rounds:
            own, at, said, fine = places[picked], times[picked], values[picked], good[picked]
            records, phases = self._records[own], None if self._phases is None else self._phases[own]
            before = expected(records, phases, at, self._season)
            newer = at > moment(records)
            self.strangeness.add(said[newer], _only(before, newer))
            learned = newer & fine
            self.errors.add(said[learned], _only(before, learned))
            if not learned.all():
                own, at, said, records = own[learned], at[learned], said[learned], records[learned]
                phases = None if phases is None else phases[learned]
            advance(records, phases, at, said, self._season)
            self._records[own] = records
            if self._phases is not None and phases is not None:
                self._phases[own] = phases
        return thinned

    def expected(self, places: Places, at: float) -> Expected:
        """Return what to expect of each entity at a moment (Unix seconds)."""
        self._grow(int(places.max(initial=0)))
        phases = None if self._phases is None else self._phases[places]
        return expected(self._records[places], phases, np.full(len(places), at), self._season)

    def usual(self, place: int, at: float) -> Usual | None:
        """Return what is usual of one entity at a moment; None where too little is known."""
        if place >= len(self._records):
            return None
        return self._widened(
            expected_of_one(
                self._records,
                self._phases,
                place,
                at,
                self._season,
            )
        )

    def usuals(self, places: Sequence[int], at: float) -> list[Usual | None]:
        """Return what is usual of many entities at a moment."""
        found = self.expected(np.array(places, dtype=np.intp), at)
        return [
            self._widened(None if spread != spread else Usual(value, spread))
            for value, spread in zip(found.usual.tolist(), found.spread.tolist(), strict=True)
        ]

    def merged(
        self, base: Records, phases: Records | None, answers: Sequence[Sequence[Answer]]
    ) -> tuple[Records, Records | None]:
        """Return other records of the same output after some answers of each entity, which are in their order."""
        for number in range(max(map(len, answers), default=0)):
            picked = [line for line, each in enumerate(answers) if len(each) > number]
            own, own_phases = base[picked], None if phases is None else phases[picked]
            at = np.array([answers[line][number].at for line in picked])
            values = np.array([answers[line][number].value for line in picked])
            advance(own, own_phases, at, values, self._season)
            base[picked] = own
            if phases is not None and own_phases is not None:
                phases[picked] = own_phases
        return base, phases

    def put(self, places: Places, records: Records, phases: Records | None) -> None:
        """Put records into places, whatever was there."""
        self._grow(int(places.max(initial=0)))
        self._records[places] = records
        if self._phases is not None and phases is not None:
            self._phases[places] = phases

    def as_json(self, false_alarms: Sequence[float]) -> dict[str, Any]:
        """Return what was learned about all entities, for each of some shares of false alarms."""
        strangeness = self.strangeness
        return {
            "answers": strangeness.count,
            "limits": [
                {
                    "false_alarms": share,
                    "limit": strangeness.limit(share),
                    "power": strangeness.power(share),
                }
                for share in false_alarms
            ],
            **self.errors.as_json(),
        }

    def _widened(self, usual: Usual | None) -> Usual | None:
        return None if usual is None else Usual(usual.value, usual.spread + self.strangeness.common)

    def _grow(self, place: int) -> None:
        size = len(self._records)
        if place < size:
            return
        more = max(size, place + 1 - size)
        self._records = np.concatenate((self._records, empty(more)))
        if self._phases is not None:
            self._phases = np.concatenate((self._phases, empty(more, PHASES)))


def _rounds(places: Places, times: Floats) -> tuple[list[Places], int]:
    """Return indices in groups with every place at most once, so that each group is learned at a time, and how many are left out."""
    order = np.lexsort((np.arange(len(places)), places))
    own, at = places[order], times[order]
    # Of one moment an entity has one answer: the last that it gave.
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = (own[1:] != own[:-1]) | (at[1:] != at[:-1])
    order, own = order[last], own[last]
    starts = np.concatenate(([True], own[1:] != own[:-1])) if len(own) else np.zeros(0, dtype=np.bool_)
    first = np.flatnonzero(starts)
    sizes = np.diff(np.concatenate((first, [len(own)])))
    rank = np.arange(len(own)) - np.repeat(first, sizes) - np.repeat(np.maximum(sizes - MAX_EACH, 0), sizes)
    groups = [order[rank == number] for number in range(int(rank.max(initial=-1)) + 1)]
    return groups, int(np.count_nonzero(rank < 0))


def _only(found: Expected, picked: Mask) -> Expected:
    return Expected(*(each[picked] for each in found))
