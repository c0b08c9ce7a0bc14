"""A fair sample of a stream of unknown length in bounded room.

Decides which of the exchanges of one minute are kept (algorithm L: Kim-Hung Li, Reservoir-sampling algorithms of time
complexity O(n(1 + log(N/n))), ACM TOMS 20(4), 1994). An exchange that is not kept costs a comparison.
"""

import math
from collections.abc import Iterator
from random import Random
from typing import Final

from guardproxy.recording.draft import Kept

SLICE_S: Final = 60.0


class Reservoir:
    """At most `capacity` exchanges; each that was seen is among them with the same probability.

    A place whose exchange could not be kept for another reason stays empty, so that the others still are a fair sample.
    """

    __slots__ = ("_factor", "_next", "_rng", "capacity", "places", "seen")

    def __init__(self, capacity: int, rng: Random) -> None:
        """Draw from `rng`: the same seed keeps the same exchanges."""
        self.capacity = capacity
        self.seen = 0
        self.places: list[Kept | None] = []
        self._rng = rng
        self._factor = 1.0
        self._next: float = 0

    def draw(self) -> int | None:
        """Count one exchange; return the place that is its own now, which is empty, or None."""
        self.seen += 1
        if self.seen <= self.capacity:
            self.places.append(None)
            if self.seen == self.capacity:
                self._skip()
            return self.seen - 1
        if self.seen < self._next:
            return None
        self._skip()
        return self._rng.randrange(self.capacity)

    def kept(self) -> Iterator[Kept]:
        """Go through what is kept."""
        return (kept for kept in self.places if kept is not None)

    def _skip(self) -> None:
        # 1 - random() is never 0, whose logarithm is none.
        self._factor *= math.exp(math.log(1.0 - self._rng.random()) / self.capacity)
        share = math.log1p(-self._factor) if self._factor < 1.0 else -math.inf
        gap = math.log(1.0 - self._rng.random()) / share if share else math.inf
        self._next = math.inf if gap > 1e15 else self.seen + math.floor(gap) + 1


class Slice:
    """One minute of one model: a reservoir for the loud exchanges, one for the quiet."""

    __slots__ = ("dropped", "loud", "model", "quiet", "rows", "size", "start")

    def __init__(self, model: str, start: float, per_minute: int, rng: Random) -> None:
        """Begin at `start`, Unix seconds."""
        self.model = model
        self.start = start
        self.quiet = Reservoir(per_minute // 2, rng)
        self.loud = Reservoir(per_minute - per_minute // 2, rng)
        self.rows = 0
        self.size = 0
        self.dropped = 0
        """Exchanges that were dropped here for any other reason than that others were drawn."""

    @property
    def seen(self) -> int:
        """How many exchanges were offered."""
        return self.quiet.seen + self.loud.seen

    def clear(self, reservoir: Reservoir, place: int) -> bool:
        """Empty a place; tell whether an exchange was there."""
        old = reservoir.places[place]
        if old is None:
            return False
        reservoir.places[place] = None
        self.rows -= old.rows
        self.size -= old.size
        return True

    def put(self, reservoir: Reservoir, place: int, kept: Kept) -> None:
        """Fill an empty place."""
        reservoir.places[place] = kept
        self.rows += kept.rows
        self.size += kept.size

    def weighted(self) -> list[tuple[Kept, float]]:
        """Return what was kept, oldest first, and how many exchanges each stands for."""
        found: list[tuple[Kept, float]] = []
        for reservoir in (self.quiet, self.loud):
            kept = list(reservoir.kept())
            found += [(one, reservoir.seen / len(kept)) for one in kept]
        found.sort(key=lambda item: item[0].record.at)
        return found
