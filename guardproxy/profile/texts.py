"""The additive summary of a stream of texts, and of one of arrays.

Decides what is kept of them in one pass and bounded memory: counts of values exactly while there are few, their lengths and
looks; of arrays their lengths, norms and outermost members. What follows for a field's bounds is left to `fit`.
"""

import zlib
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.numbers import NumberSummary
from guardproxy.profile.packing import Node, Packed
from guardproxy.profile.shapes import TextShape
from guardproxy.profile.sketches import DistinctSketch, mix
from guardproxy.table import Floats

MAX_DISTINCT_TEXTS: Final = 4_096
MAX_TEXT: Final = 200
"""A text of more characters than this is counted under its first ones, and its field is no category."""


class TextSummary:
    """What is kept of a stream of texts. Positions count the texts, from 0.

    Counts are exact up to MAX_DISTINCT_TEXTS values. Beyond, the rarest are dropped and a new value starts at the
    largest count dropped, as in space-saving (Metwally, Agrawal and El Abbadi 2005): counts are then upper bounds.
    """

    def __init__(self) -> None:
        self.count = 0
        self.counts: dict[str, list[int]] = {}
        self.floor = 0
        self.sketch = DistinctSketch()
        self.lengths = NumberSummary()
        self.shape = TextShape()

    @property
    def exact(self) -> bool:
        """True while no value was dropped."""
        return self.floor == 0

    def update(self, codes: NDArray[np.int32], values: tuple[str, ...]) -> Floats:
        """Add the texts `values[code]` of all codes that are not negative, in file order.

        Return the Unix seconds that each of `values` means, NaN where it is no moment or was not among the texts.
        """
        seconds = np.full(len(values), np.nan)
        codes = codes[codes >= 0]
        if not len(codes):
            return seconds
        counts = np.bincount(codes, minlength=len(values))
        used = np.flatnonzero(counts)
        firsts = np.full(len(values), len(codes), dtype=np.int64)
        # Of several positions of one code the last assignment stays, which is the first position.
        firsts[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
        hashes = np.empty(len(used), dtype=np.uint64)
        for place, code in enumerate(used.tolist()):
            text, count = values[code], int(counts[code])
            self._add(text[: MAX_TEXT + 1], count, self.count + int(firsts[code]))
            seconds[code] = self.shape.add(text, count)
            hashes[place] = zlib.crc32(text.encode("utf-8", "replace"))
        self.sketch.update(mix(hashes))
        self.lengths.update(np.array([len(text) for text in values], dtype=np.float64)[codes])
        self.count += len(codes)
        if len(self.counts) > 2 * MAX_DISTINCT_TEXTS:
            self._prune()
        return seconds

    def absorb(self, later: "TextSummary") -> None:
        """Add the summary of the texts that come behind these. What one side dropped may have had that side's floor."""
        for text, (count, first) in later.counts.items():
            self._add(text, count, self.count + first)
        if later.floor:
            for text, entry in self.counts.items():
                if text not in later.counts:
                    entry[0] += later.floor
        self.floor += later.floor
        self.sketch.absorb(later.sketch)
        self.lengths.absorb(later.lengths)
        self.shape.absorb(later.shape)
        self.count += later.count
        if len(self.counts) > 2 * MAX_DISTINCT_TEXTS:
            self._prune()

    def pack(self) -> Packed:
        """Return what a part keeps of this."""
        return {
            "count": self.count,
            "texts": list(self.counts),
            "counts": np.array(list(self.counts.values()), dtype=np.int64).reshape(-1, 2),
            "floor": self.floor,
            "sketch": self.sketch.pack(),
            "lengths": self.lengths.pack(),
            "shape": self.shape.pack(),
        }

    @classmethod
    def unpack(cls, node: Node) -> Self:
        """Read what `pack` wrote."""
        summary = cls()
        summary.count, summary.floor = node.integer("count"), node.integer("floor")
        texts = node.texts("texts")
        counts = node.array("counts", np.int64, ndim=2, most=4 * MAX_DISTINCT_TEXTS)
        if counts.shape != (len(texts), 2):
            raise node.damaged("its texts do not match their counts")
        summary.counts = dict(zip(texts, counts.tolist(), strict=True))
        summary.sketch = DistinctSketch.unpack(node.node("sketch"))
        summary.lengths = NumberSummary.unpack(node.node("lengths"))
        summary.shape = TextShape.unpack(node.node("shape"))
        return summary

    def _add(self, text: str, count: int, first: int) -> None:
        entry = self.counts.get(text)
        if entry is None:
            self.counts[text] = [self.floor + count, first]
        else:
            entry[0] += count

    def _prune(self) -> None:
        ranked = sorted(self.counts.items(), key=lambda item: -item[1][0])
        self.counts = dict(ranked[:MAX_DISTINCT_TEXTS])
        self.floor = max(self.floor, ranked[MAX_DISTINCT_TEXTS][1][0])


class ArraySummary:
    """What is kept of a stream of arrays: by array its length, its Euclidean norm, its least and its greatest member.

    `broken` counts the arrays with a member that is no finite number; of these only the length is kept.
    """

    def __init__(self) -> None:
        self.count = 0
        self.broken = 0
        self.lengths = NumberSummary()
        self.norms = NumberSummary()
        self.lows = NumberSummary()
        self.highs = NumberSummary()

    def update(self, values: Floats, lengths: NDArray[np.int64]) -> Floats:
        """Add arrays of these lengths, whose members stand in `values` one behind the other; return their norms."""
        norms = np.zeros(len(lengths))
        starts = np.cumsum(lengths) - lengths
        filled = np.flatnonzero(lengths)
        self.count += len(lengths)
        self.lengths.update(lengths.astype(np.float64))
        if len(filled):
            at = starts[filled]
            with np.errstate(over="ignore", invalid="ignore"):
                norms[filled] = np.sqrt(np.add.reduceat(values * values, at))
            least, most = np.minimum.reduceat(values, at), np.maximum.reduceat(values, at)
            fine = np.isfinite(norms[filled])
            self.lows.update(least[fine])
            self.highs.update(most[fine])
        finite = np.isfinite(norms)
        self.broken += int(np.count_nonzero(~finite))
        self.norms.update(norms[finite])
        return np.where(finite, norms, np.nan)

    def absorb(self, later: "ArraySummary") -> None:
        """Add the summary of the arrays that come behind these."""
        self.count += later.count
        self.broken += later.broken
        for name in _OF_ARRAYS:
            getattr(self, name).absorb(getattr(later, name))

    def pack(self) -> Packed:
        """Return what a part keeps of this."""
        packed = {name: getattr(self, name).pack() for name in _OF_ARRAYS}
        return {"count": self.count, "broken": self.broken, **packed}

    @classmethod
    def unpack(cls, node: Node) -> Self:
        """Read what `pack` wrote."""
        summary = cls()
        summary.count, summary.broken = node.integer("count"), node.integer("broken")
        for name in _OF_ARRAYS:
            setattr(summary, name, NumberSummary.unpack(node.node(name)))
        return summary


_OF_ARRAYS: Final = ("lengths", "norms", "lows", "highs")
