"""What is kept of a long stream where not all of it can be: how many values differ, and which way its extremes went.

Decides how much is kept and how the sketches of two streams become that of both. What is summarised beside them is left to
`numbers` and `texts`.
"""

from typing import Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.packing import Node, Packed
from guardproxy.table import Floats

Hashes: TypeAlias = NDArray[np.uint64]

_HASHES: Final = 1_024
_SEGMENTS: Final = 256


class DistinctSketch:
    """Counts distinct values: exactly up to 1,024, beyond within about 3 % from the smallest hashes.

    (k minimum values; Bar-Yossef et al. 2002. Takes mixed 64-bit hashes.) `kept` are the smallest, ascending.
    """

    def __init__(self) -> None:
        self.kept: Hashes = np.empty(0, dtype=np.uint64)

    def update(self, hashes: Hashes) -> None:
        """Add the hashes of values."""
        if len(self.kept) >= _HASHES:
            hashes = hashes[hashes < self.kept[-1]]
        if len(hashes):
            self.kept = _different(np.concatenate((self.kept, _least(hashes))))[:_HASHES]

    def absorb(self, other: "DistinctSketch") -> None:
        """Add what another sketch counted; values that both saw count once."""
        self.update(other.kept)

    def estimate(self) -> int:
        """Return the number of distinct values."""
        if len(self.kept) < _HASHES:
            return len(self.kept)
        return round((_HASHES - 1) / (float(self.kept[-1]) / 2.0**64))

    def pack(self) -> Packed:
        """Return what a part keeps of this."""
        return {"kept": self.kept}

    @classmethod
    def unpack(cls, node: Node) -> Self:
        """Read what `pack` wrote."""
        sketch = cls()
        sketch.kept = np.unique(node.array("kept", np.uint64, most=_HASHES))
        return sketch


class Course:
    """The minimum and maximum of every stretch of a stream: at most 256 stretches of one power-of-two length.

    `size` is the length, `counts`, `lows` and `highs` say of each stretch how many numbers it has and between which they lie. Behind
    another course a stretch may be shorter than the others: the last one of each stream.
    """

    def __init__(self) -> None:
        self.size = 16
        self.counts: list[int] = []
        self.lows: list[float] = []
        self.highs: list[float] = []

    def update(self, values: Floats) -> None:
        """Add numbers in order."""
        at = 0
        while at < len(values):
            if self.counts and self.counts[-1] < self.size:
                at += self._extend(values[at : at + self.size - self.counts[-1]])
                continue
            room = (_SEGMENTS - len(self.lows)) * self.size
            part = values[at : at + room]
            starts = np.arange(0, len(part), self.size)
            self.lows += np.minimum.reduceat(part, starts).tolist()
            self.highs += np.maximum.reduceat(part, starts).tolist()
            self.counts += [self.size] * (len(starts) - 1) + [len(part) - int(starts[-1])]
            at += len(part)
            self._make_room()

    def half(self) -> tuple[float, float, int] | None:
        """Return (minimum, maximum, count) of the first half, rounded down to whole stretches; None when too short."""
        stretches = len(self.lows) // 2
        if stretches == 0:
            return None
        return min(self.lows[:stretches]), max(self.highs[:stretches]), sum(self.counts[:stretches])

    def absorb(self, later: "Course") -> None:
        """Add the course of the numbers that come behind these."""
        size = max(self.size, later.size)
        behind = Course()
        behind.size, behind.counts = later.size, list(later.counts)
        behind.lows, behind.highs = list(later.lows), list(later.highs)
        for course in (self, behind):
            while course.size < size:
                course.halve()
        self.counts += behind.counts
        self.lows += behind.lows
        self.highs += behind.highs
        while len(self.lows) > _SEGMENTS:
            self.halve()
        if self.counts:
            self._make_room()

    def pack(self) -> Packed:
        """Return what a part keeps of this."""
        return {
            "size": self.size,
            "counts": np.array(self.counts, dtype=np.int64),
            "lows": np.array(self.lows, dtype=np.float64),
            "highs": np.array(self.highs, dtype=np.float64),
        }

    @classmethod
    def unpack(cls, node: Node) -> Self:
        """Read what `pack` wrote."""
        course = cls()
        course.size = node.integer("size", low=16)
        course.counts = node.array("counts", np.int64, most=_SEGMENTS).tolist()
        course.lows = node.array("lows", np.float64, most=_SEGMENTS).tolist()
        course.highs = node.array("highs", np.float64, most=_SEGMENTS).tolist()
        if not len(course.counts) == len(course.lows) == len(course.highs):
            raise node.damaged("its stretches do not match")
        return course

    def _extend(self, part: Floats) -> int:
        self.lows[-1] = min(self.lows[-1], float(part.min()))
        self.highs[-1] = max(self.highs[-1], float(part.max()))
        self.counts[-1] += len(part)
        self._make_room()
        return len(part)

    def _make_room(self) -> None:
        if len(self.lows) >= _SEGMENTS and self.counts[-1] >= self.size:
            self.halve()

    def halve(self) -> None:
        """Make one stretch of every two."""
        starts = range(0, len(self.lows), 2)
        self.lows = [min(self.lows[at : at + 2]) for at in starts]
        self.highs = [max(self.highs[at : at + 2]) for at in starts]
        self.counts = [sum(self.counts[at : at + 2]) for at in starts]
        self.size *= 2


def _least(hashes: Hashes) -> Hashes:
    """Return the smallest different hashes, at least _HASHES of them where there are so many."""
    if len(hashes) > 8 * _HASHES:
        # All that are as small as these are among them, so their different ones are the smallest of all.
        least = _different(np.partition(hashes, 4 * _HASHES)[: 4 * _HASHES])
        if len(least) >= _HASHES:
            return least
    return hashes


def _different(hashes: Hashes) -> Hashes:
    """Return every hash once, ascending. For few of them much quicker than np.unique, which builds a hash table."""
    ordered = np.sort(hashes)
    different: Hashes = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    return different


def mix(bits: Hashes) -> Hashes:
    """Spread 64-bit values evenly (the finaliser of SplitMix64; Steele, Lea and Flood 2014)."""
    mixed = bits + np.uint64(0x9E3779B97F4A7C15)
    shifted = np.right_shift(mixed, np.uint64(30))
    mixed ^= shifted
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(mixed, np.uint64(27), out=shifted)
    mixed ^= shifted
    mixed *= np.uint64(0x94D049BB133111EB)
    np.right_shift(mixed, np.uint64(31), out=shifted)
    mixed ^= shifted
    return mixed


def hash_numbers(values: Floats) -> Hashes:
    """Return a mixed hash of each number; zero has one hash, whatever its sign."""
    return mix((values + 0.0).view(np.uint64))
