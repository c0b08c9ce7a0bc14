"""Batches of reference data as columns, and the additive summary of each.

Decides how a column of numbers or of texts is summarised in one pass and bounded memory: counts and moments exactly,
the EXTREMES smallest and largest values exactly, few distinct values exactly, many by estimate. Reading files is left
to `stores.dataset`, the choice of bounds to `fit`.
"""

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.table import Cell, Floats

EXTREMES: Final = 512
MAX_DISTINCT_NUMBERS: Final = 1_024
MAX_DISTINCT_TEXTS: Final = 4_096
MAX_TEXT: Final = 200
"""A text of more characters than this is counted under its first ones, and its field is no category."""

_HASHES: Final = 1_024
_SEGMENTS: Final = 256
_NUMBER: Final = re.compile(
    r"\s*[-+]?(?:\d{1,300}\.?\d{0,300}|\.\d{1,300})(?:[eE][-+]?\d{1,4})?\s*", re.ASCII
)


@dataclass(frozen=True, slots=True, eq=False)
class NumberColumn:
    """A stretch of a column of numbers; NaN where missing."""

    values: Floats

    def slice(self, start: int, stop: int) -> "NumberColumn":
        """Return the rows [start, stop)."""
        return NumberColumn(self.values[start:stop])


@dataclass(frozen=True, slots=True, eq=False)
class TextColumn:
    """A stretch of a column of texts: `values[codes[row]]`, code -1 where missing.

    `literal` says that the column is text by its type; otherwise a text that reads as a number counts as one.
    """

    codes: NDArray[np.int32]
    values: tuple[str, ...]
    literal: bool = False

    def slice(self, start: int, stop: int) -> "TextColumn":
        """Return the rows [start, stop)."""
        return TextColumn(self.codes[start:stop], self.values, self.literal)

    def numbers(self) -> Floats:
        """Return the number that each of `values` reads as, NaN where it reads as none."""
        if self.literal:
            return np.full(len(self.values), np.nan)
        return np.array([_number(text) for text in self.values], dtype=np.float64)


Places: TypeAlias = NDArray[np.int64]
Column: TypeAlias = NumberColumn | TextColumn
Batch: TypeAlias = Mapping[str, Column]


def split_numbers(column: TextColumn) -> tuple[Floats, TextColumn]:
    """Split a text column by cell: numbers (NaN elsewhere), and texts (missing elsewhere)."""
    if not column.values:
        return np.full(len(column.codes), np.nan), column
    numbers = column.numbers()
    block = np.where(column.codes >= 0, numbers[column.codes], np.nan)
    codes = np.where(np.isnan(block), column.codes, -1).astype(np.int32)
    return block, TextColumn(codes, column.values, literal=True)


class NumberSummary:
    """What is kept of a stream of finite numbers. Positions count the numbers, from 0."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0
        self.smallest: Floats = np.empty(0)
        self.largest: Floats = np.empty(0)
        self.smallest_at: Places = np.empty(0, dtype=np.int64)
        self.largest_at: Places = np.empty(0, dtype=np.int64)
        self.at_minimum = 0
        self.at_maximum = 0
        self.whole = True
        self.rises = 0
        self.falls = 0
        self.last = math.nan
        self.distinct: dict[float, list[int]] | None = {}
        self.sketch = DistinctSketch()
        self.course = Course()

    def update(self, values: Floats) -> None:
        """Add finite numbers in file order."""
        if not len(values):
            return
        self._extremes(values)
        self._moments(values)
        if self.whole:
            self.whole = bool((values == np.rint(values)).all())
        self._steps(values)
        self._distinct(values)
        self.sketch.update(_mix(np.ascontiguousarray(values + 0.0).view(np.uint64)))
        self.course.update(values)
        self.count += len(values)

    @property
    def minimum(self) -> float:
        """The smallest number; only where there is one."""
        return float(self.smallest[0])

    @property
    def maximum(self) -> float:
        """The largest number; only where there is one."""
        return float(self.largest[0])

    @property
    def std(self) -> float:
        """The sample standard deviation, NaN for fewer than two numbers."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else math.nan

    def _extremes(self, values: Floats) -> None:
        least, most = float(values.min()), float(values.max())
        if not self.count or least < self.minimum:
            self.at_minimum = 0
        if not self.count or most > self.maximum:
            self.at_maximum = 0
        if not self.count or least <= self.minimum:
            self.at_minimum += int((values == least).sum())
        if not self.count or most >= self.maximum:
            self.at_maximum += int((values == most).sum())
        self.smallest, self.smallest_at = _merge_smallest(self.smallest, self.smallest_at, values, self.count)
        largest, self.largest_at = _merge_smallest(-self.largest, self.largest_at, -values, self.count)
        self.largest = -largest

    def _moments(self, values: Floats) -> None:
        # Chan, Golub and LeVeque 1979: two samples' moments add without losing digits.
        with np.errstate(over="ignore", invalid="ignore"):
            size, mean = len(values), float(values.mean())
            squares = float(np.square(values - mean).sum())
            total, delta = self.count + size, mean - self.mean
            self.mean += delta * (size / total)
            self.squares += squares + delta * delta * (self.count * (size / total)) if self.count else squares

    def _steps(self, values: Floats) -> None:
        if self.count:
            self.rises += int(values[0] > self.last)
            self.falls += int(values[0] < self.last)
        self.rises += int(np.count_nonzero(values[1:] > values[:-1]))
        self.falls += int(np.count_nonzero(values[1:] < values[:-1]))
        self.last = float(values[-1])

    def _distinct(self, values: Floats) -> None:
        """Keep [count, first position] of every value while they are few; give up for good when they are many."""
        if self.distinct is None:
            return
        if len(np.unique(values[:2_048])) > MAX_DISTINCT_NUMBERS:
            self.distinct = None
            return
        found, counts = np.unique(values, return_counts=True)
        if len(found) > MAX_DISTINCT_NUMBERS:
            self.distinct = None
            return
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            entry = self.distinct.get(value)
            if entry is None:
                self.distinct[value] = [count, self.count + int(np.argmax(values == value))]
            else:
                entry[0] += count
        if len(self.distinct) > MAX_DISTINCT_NUMBERS:
            self.distinct = None


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

    @property
    def exact(self) -> bool:
        """True while no value was dropped."""
        return self.floor == 0

    def update(self, column: TextColumn) -> None:
        """Add the texts of a column that are not missing, in file order."""
        codes = column.codes[column.codes >= 0]
        if not len(codes):
            return
        counts = np.bincount(codes, minlength=len(column.values))
        used = np.flatnonzero(counts)
        firsts = np.full(len(column.values), len(codes), dtype=np.int64)
        np.minimum.at(firsts, codes, np.arange(len(codes)))
        for code in used.tolist():
            self._add(column.values[code][: MAX_TEXT + 1], int(counts[code]), self.count + int(firsts[code]))
        hashes = [zlib.crc32(column.values[code].encode("utf-8", "replace")) for code in used.tolist()]
        self.sketch.update(_mix(np.array(hashes, dtype=np.uint64)))
        self.lengths.update(np.array([len(text) for text in column.values], dtype=np.float64)[codes])
        self.count += len(codes)
        if len(self.counts) > 2 * MAX_DISTINCT_TEXTS:
            self._prune()

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


@dataclass(slots=True)
class FieldSummary:
    """What is kept of one field: its rows, what was missing, its numbers and its texts."""

    rows: int = 0
    missing: int = 0
    literal: bool = False
    numbers: NumberSummary = field(default_factory=NumberSummary)
    texts: TextSummary = field(default_factory=TextSummary)

    def update(self, column: Column) -> Floats:
        """Add a stretch of the column; return its finite numbers by row, NaN elsewhere."""
        block, texts = (column.values, None) if isinstance(column, NumberColumn) else split_numbers(column)
        finite = np.isfinite(block)
        self.rows += len(block)
        if texts is None:
            self.missing += len(block) - int(np.count_nonzero(finite))
        else:
            self.literal |= isinstance(column, TextColumn) and column.literal
            self.texts.update(texts)
            self.missing += int(np.count_nonzero(~finite & (texts.codes < 0)))
        self.numbers.update(block[finite])
        return np.where(finite, block, np.nan)


class DistinctSketch:
    """Counts distinct values: exactly up to 1,024, beyond within about 3 % from the smallest hashes.

    (k minimum values; Bar-Yossef et al. 2002. Takes mixed 64-bit hashes.)
    """

    def __init__(self) -> None:
        self._kept: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    def update(self, hashes: NDArray[np.uint64]) -> None:
        """Add the hashes of values."""
        if len(self._kept) >= _HASHES:
            hashes = hashes[hashes < self._kept[-1]]
        if len(hashes):
            self._kept = np.unique(np.concatenate((self._kept, np.unique(hashes)[:_HASHES])))[:_HASHES]

    def estimate(self) -> int:
        """Return the number of distinct values."""
        if len(self._kept) < _HASHES:
            return len(self._kept)
        return round((_HASHES - 1) / (float(self._kept[-1]) / 2.0**64))


class Course:
    """The minimum and maximum of every stretch of a stream: at most 256 stretches of one power-of-two length."""

    def __init__(self) -> None:
        self._size = 16
        self._open = 0
        self._lows: list[float] = []
        self._highs: list[float] = []

    def update(self, values: Floats) -> None:
        """Add numbers in order."""
        at = 0
        while at < len(values):
            if self._open:
                at += self._extend(values[: self._size - self._open])
                continue
            room = (_SEGMENTS - len(self._lows)) * self._size
            part = values[at : at + room]
            starts = np.arange(0, len(part), self._size)
            self._lows += np.minimum.reduceat(part, starts).tolist()
            self._highs += np.maximum.reduceat(part, starts).tolist()
            self._open = len(part) % self._size
            at += len(part)
            if len(self._lows) >= _SEGMENTS and not self._open:
                self._halve()

    def half(self) -> tuple[float, float, int] | None:
        """Return (minimum, maximum, count) of the first half, rounded down to whole stretches; None when too short."""
        stretches = len(self._lows) // 2
        if stretches == 0:
            return None
        return min(self._lows[:stretches]), max(self._highs[:stretches]), stretches * self._size

    def _extend(self, part: Floats) -> int:
        self._lows[-1] = min(self._lows[-1], float(part.min()))
        self._highs[-1] = max(self._highs[-1], float(part.max()))
        self._open = (self._open + len(part)) % self._size
        if len(self._lows) >= _SEGMENTS and not self._open:
            self._halve()
        return len(part)

    def _halve(self) -> None:
        self._lows = [min(pair) for pair in zip(self._lows[::2], self._lows[1::2], strict=True)]
        self._highs = [max(pair) for pair in zip(self._highs[::2], self._highs[1::2], strict=True)]
        self._size *= 2


def cells_of(column: Column) -> tuple[Cell, ...]:
    """Return a column's cells as a table would hold them."""
    if isinstance(column, NumberColumn):
        return tuple(None if value != value else value for value in column.values.tolist())
    numbers = column.numbers().tolist()
    read: list[Any] = [
        text if number != number else number for text, number in zip(column.values, numbers, strict=True)
    ]
    return tuple(None if code < 0 else read[code] for code in column.codes.tolist())


def number_text(value: float) -> str:
    """Write a number as a file most likely had it, whole numbers without a point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _number(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else math.nan


def _merge_smallest(kept: Floats, kept_at: Places, values: Floats, start: int) -> tuple[Floats, Places]:
    """Return the EXTREMES smallest of both, ascending, with their positions; `values` begin at position `start`."""
    if len(kept) >= EXTREMES:
        chosen = np.flatnonzero(values < kept[-1])
        if not len(chosen):
            return kept, kept_at
    else:
        chosen = np.arange(len(values))
    if len(chosen) > EXTREMES:
        chosen = chosen[np.argpartition(values[chosen], EXTREMES - 1)[:EXTREMES]]
    merged, merged_at = np.concatenate((kept, values[chosen])), np.concatenate((kept_at, chosen + start))
    order = np.argsort(merged, kind="stable")[:EXTREMES]
    return merged[order], merged_at[order]


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64-bit values evenly (the finaliser of SplitMix64; Steele, Lea and Flood 2014)."""
    mixed = bits + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
