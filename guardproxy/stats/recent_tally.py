"""What is counted for a `recent_*` function: additive summaries of its argument's values, and their bytes.

Decides what each function needs to know of a stretch of rows, and the form in which replicas hand it to each other. Which
rows there are is left to `recent`, which stretches make up a window to `rolling`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from guardproxy.stats.blobs import deflated_json, inflated_json
from guardproxy.stats.sketch import BINS, Sketch
from guardproxy.table import Cell, Floats

MAX_TEXT: Final = 4 * 1024 * 1024
"""What a blob may hold once it is unpacked, in bytes; more is damage."""
MAX_COUNT: Final = 2**53
_VERSION: Final = 1
_HALVES: Final[Mapping[str, float]] = {"recent_p50": 0.5, "recent_p99": 0.99}


@dataclass(slots=True)
class MeanTally:
    """How many finite numbers, their sum, and how many infinite ones of each sign."""

    count: int = 0
    total: float = 0.0
    above: int = 0
    below: int = 0
    failed: int = 0

    def add(self, numbers: Floats) -> None:
        """Count numbers, none of them NaN. The sum of one call is exact, whatever the order."""
        finite = numbers[np.isfinite(numbers)]
        infinite = len(numbers) - len(finite)
        above = int((numbers == np.inf).sum()) if infinite else 0
        self.count += len(finite)
        self.total += _sum(finite)
        self.above += above
        self.below += infinite - above

    def merge(self, other: "MeanTally") -> None:
        """Add another tally."""
        self.count += other.count
        self.total += other.total
        self.above += other.above
        self.below += other.below
        self.failed += other.failed

    def value(self, function: str) -> Cell:  # noqa: ARG002 - one signature for all tallies
        """Return the mean; None without numbers, and where infinities cancel out or the sum is beyond all floats."""
        if self.above or self.below:
            return None if self.above and self.below else math.inf if self.above else -math.inf
        return self.total / self.count if self.count and math.isfinite(self.total) else None

    def plain(self) -> list[Any]:
        """Return the tally in a form that JSON can say."""
        return ["mean", self.count, self.total, self.above, self.below, self.failed]


@dataclass(slots=True)
class FlagTally:
    """How many rows of which it is true, and of which it is false."""

    yes: int = 0
    no: int = 0
    failed: int = 0

    def merge(self, other: "FlagTally") -> None:
        """Add another tally."""
        self.yes += other.yes
        self.no += other.no
        self.failed += other.failed

    def value(self, function: str) -> Cell:
        """Return the number of rows of which it is true, or their share."""
        rows = self.yes + self.no
        if not rows:
            return None
        return float(self.yes) if function == "recent_count" else self.yes / rows

    def plain(self) -> list[Any]:
        """Return the tally in a form that JSON can say."""
        return ["flag", self.yes, self.no, self.failed]


@dataclass(slots=True)
class SpreadTally:
    """How numbers are spread, with the smallest and the largest as they are. An infinite one counts as the largest bin."""

    sketch: Sketch = field(default_factory=Sketch)
    low: float = math.inf
    high: float = -math.inf
    failed: int = 0

    def add(self, numbers: Floats) -> None:
        """Count numbers, none of them NaN."""
        if len(numbers):
            self.sketch.add(np.nan_to_num(numbers))
            self.low = min(self.low, float(numbers.min()))
            self.high = max(self.high, float(numbers.max()))

    def merge(self, other: "SpreadTally") -> None:
        """Add another tally."""
        self.sketch.merge(other.sketch)
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        self.failed += other.failed

    def value(self, function: str) -> Cell:
        """Return the percentile that a function asks for, within 5 %."""
        about = self.sketch.quantile(_HALVES[function])
        return None if about is None else min(max(about, self.low), self.high)

    def plain(self) -> list[Any]:
        """Return the tally in a form that JSON can say."""
        counts = self.sketch.counts
        bins = np.flatnonzero(counts)
        return ["spread", self.low, self.high, self.failed, bins.tolist(), counts[bins].tolist()]

    def __eq__(self, other: object) -> bool:
        """Tell whether the other tally counts the same."""
        return isinstance(other, SpreadTally) and self.plain() == other.plain()

    __hash__ = None  # type: ignore[assignment]


AnyTally = MeanTally | FlagTally | SpreadTally
"""What one argument came to in some rows. Tallies of the same argument add up, in any order. `failed` counts rows whose kinds clash; they
are left out, as are those of which the argument is missing or unknown."""

TALLIES: Final[Mapping[str, Callable[[], AnyTally]]] = {
    "recent_mean": MeanTally,
    "recent_share": FlagTally,
    "recent_count": FlagTally,
    "recent_p50": SpreadTally,
    "recent_p99": SpreadTally,
}
"""What is counted for each function."""


def encode(tallies: Mapping[str, AnyTally]) -> bytes:
    """Return tallies by key as bytes, for `decode`."""
    return deflated_json([_VERSION, {key: tally.plain() for key, tally in tallies.items()}])


def decode(blob: bytes) -> dict[str, AnyTally]:
    """Return what `encode` was given. Raises ValueError for bytes that are damaged, too large, or of another version."""
    said = inflated_json(blob, MAX_TEXT)
    if not (isinstance(said, list) and len(said) == 2 and said[0] == _VERSION and isinstance(said[1], dict)):
        raise ValueError("these bytes are no tallies of rolling functions, or of another version")
    try:
        return {key: _tally(plain) for key, plain in said[1].items()}
    except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise ValueError("a tally of a rolling function is damaged") from error


def add_to(target: dict[str, AnyTally], tallies: Mapping[str, AnyTally]) -> None:
    """Add tallies to others by key; those of another sort under the same key cannot be, which raises ValueError."""
    for key, tally in tallies.items():
        known = target.get(key)
        if known is None:
            known = target[key] = type(tally)()
        if type(known) is not type(tally):
            raise ValueError("two tallies of different sorts have one key")
        known.merge(tally)  # type: ignore[arg-type]


def joined(tallies: Sequence[AnyTally]) -> AnyTally | None:
    """Return the sum of tallies of one key as a tally of its own, None where there are none."""
    if not tallies:
        return None
    whole = type(tallies[0])()
    for tally in tallies:
        whole.merge(tally)  # type: ignore[arg-type]
    return whole


def merged(blobs: Iterable[bytes]) -> dict[str, AnyTally]:
    """Add up what several writers counted. Raises ValueError for damaged bytes."""
    found: dict[str, AnyTally] = {}
    for blob in blobs:
        add_to(found, decode(blob))
    return found


def _tally(plain: Any) -> AnyTally:
    return _READERS[plain[0]](plain[1:])


def _mean(plain: list[Any]) -> MeanTally:
    count, total, above, below, failed = plain
    return MeanTally(_count(count), _number(total), _count(above), _count(below), _count(failed))


def _flag(plain: list[Any]) -> FlagTally:
    yes, no, failed = plain
    return FlagTally(_count(yes), _count(no), _count(failed))


def _spread(plain: list[Any]) -> SpreadTally:
    low, high, failed, bins, counts = plain
    made = SpreadTally(Sketch(), _number(low), _number(high), _count(failed))
    for place, count in zip(bins, counts, strict=True):
        if not 0 <= _count(place) < BINS:
            raise ValueError("a tally of a rolling function is damaged")
        made.sketch.counts[place] = _count(count)
    return made


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MAX_COUNT:
        raise ValueError("a tally of a rolling function is damaged")
    return value


def _number(value: Any) -> float:
    if type(value) is not float or value != value:
        raise ValueError("a tally of a rolling function is damaged")
    return value


def _sum(numbers: Floats) -> float:
    try:
        return math.fsum(numbers.tolist())
    except OverflowError:
        return math.inf


_READERS: Final[Mapping[str, Callable[[list[Any]], AnyTally]]] = {
    "mean": _mean,
    "flag": _flag,
    "spread": _spread,
}
