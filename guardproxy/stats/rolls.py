"""When stretches are summed up: minutes to an hour once it has ended, and again while late minutes may still come.

Decides the order and the repeats. What a sum is, is left to `rollup`; doing it, to the proxy.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from guardproxy.stats.rollup import Level, roll_ages

MAX_ENTRIES: Final = 4_096
"""Stretches that wait to be summed up; of more the oldest are left as they are, until something in them changes again."""


class Roll(NamedTuple):
    """A stretch that is to be summed up of its parts: those numbered `first` to `last` of the level below."""

    parent: Level
    number: int
    child: Level
    first: int
    last: int


@dataclass(slots=True)
class _Entry:
    tries: list[float] = field(default_factory=list)
    opened: bool = False
    again: bool = False


class Rolls:
    """What is to be summed up of one model."""

    def __init__(self, levels: tuple[Level, ...]) -> None:
        """Wait for nothing yet."""
        self.forgotten = 0
        self._levels = levels
        self._entries: OrderedDict[tuple[int, int], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def changed(self, resolution: int, number: int) -> None:
        """Note that something was counted in a stretch: the one that it is a part of is to be summed up, if it was already, at once."""
        place = next(place for place, level in enumerate(self._levels) if level.resolution == resolution)
        if place + 1 == len(self._levels):
            return
        key = (place + 1, number * resolution // self._levels[place + 1].resolution)
        entry = self._entries.setdefault(key, _Entry())
        if entry.again:
            entry.again = False
            entry.tries.insert(0, float("-inf"))
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
            self.forgotten += 1

    def due(self, now: float, at: float, grace_s: float, limit: int) -> list[Roll]:
        """Return what is to be summed up: what never was comes first, then short stretches before long ones.

        `now` is the model's time, `at` this process's. Each is given once for every age at which it is summed up.
        """
        ready = list(self._ready(now, at, grace_s))
        found = sorted(ready, key=lambda key: (self._entries[key].again, key))[:limit]
        for key in found:
            entry = self._entries[key]
            entry.tries.pop(0)
            entry.again = True
            if not entry.tries:
                del self._entries[key]
        return [self._roll(*key) for key in found]

    def again(self, roll: Roll, at: float) -> None:
        """Have a stretch summed up at the next look, since it could not be."""
        key = (self._levels.index(roll.parent), roll.number)
        entry = self._entries.setdefault(key, _Entry(opened=True))
        entry.tries.insert(0, at)

    def _ready(self, now: float, at: float, grace_s: float) -> Iterator[tuple[int, int]]:
        for (place, number), entry in self._entries.items():
            parent = self._levels[place]
            if not entry.opened and now >= (number + 1) * parent.resolution + grace_s:
                entry.opened = True
                entry.tries = [at + age for age in roll_ages(self._levels[place - 1], parent)]
            if entry.opened and entry.tries[0] <= at:
                yield place, number

    def _roll(self, place: int, number: int) -> Roll:
        child, parent = self._levels[place - 1], self._levels[place]
        parts = parent.resolution // child.resolution
        return Roll(parent, number, child, number * parts, number * parts + parts - 1)
