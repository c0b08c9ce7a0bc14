"""Minutes into hours, hours into days: which stretches there are, when one is summed up, and the sum.

Decides the lengths, how long each is kept, and that a sum is a function of its parts alone, so that any replica may write it, and
twice is harmless. Reading and writing is left to the proxy, which parts make up a window to `timeline`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

import numpy as np

from guardproxy.stats.counts import Sums, no_moments, pack, pack_moments, unpack, unpack_moments
from guardproxy.stats.layout import Layout
from guardproxy.stats.recent_tally import AnyTally, add_to, decode, encode
from guardproxy.table import Floats

T = TypeVar("T")

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
MINUTE_S: Final = 60
SHORT_S: Final = 10
"""Buckets shorter than this are summed up to minutes first: an hour has too many of them."""

FRESH: Final = 3
"""The newest buckets, which still grow: windows add them up at every look, all others once."""

SUM: Final = "sum"
"""The writer of what was summed up: whoever does it writes the same."""

ROLL_AGES_S: Final = (0.0, 60.0, 600.0, 3_000.0)
"""How long after its end a stretch is summed up, and again: exchanges end late, and replicas write late."""


class Level(NamedTuple):
    """Stretches of one length: `keep_s` is how long the store keeps one, `memory_s` how far back a process knows them."""

    resolution: int
    keep_s: int
    memory_s: int


def levels_of(bucket_s: int) -> tuple[Level, ...]:
    """Return the levels for buckets of a length that divides an hour, the finest first; each divides the next."""
    if bucket_s == HOUR_S:
        base = (Level(HOUR_S, 9 * DAY_S, 8 * DAY_S + HOUR_S),)
        return (*base, Level(DAY_S, 100 * DAY_S, 0))
    fine = [Level(bucket_s, 3 * HOUR_S, 4 * HOUR_S)]
    if bucket_s < SHORT_S:
        middle = next(n for n in range(MINUTE_S, HOUR_S + 1) if n % bucket_s == 0 and HOUR_S % n == 0)
        fine = [Level(bucket_s, HOUR_S, 1_440 * bucket_s), Level(middle, 3 * HOUR_S, 4 * HOUR_S)]
    return (*fine, Level(HOUR_S, 9 * DAY_S, 8 * DAY_S + HOUR_S), Level(DAY_S, 100 * DAY_S, 0))


def roll_ages(child: Level, parent: Level) -> tuple[float, ...]:
    """Return how long after its end a stretch is summed up: never when the first of its parts may have expired."""
    return tuple(age for age in ROLL_AGES_S if parent.resolution + age < 0.9 * child.keep_s)


@dataclass(frozen=True, slots=True)
class Part:
    """What was counted in a stretch by some writers together. `damaged` blobs were left out."""

    counts: Sums
    moments: Floats
    tallies: Mapping[str, AnyTally] = field(default_factory=dict)
    damaged: int = 0

    def rows(self, layout: Layout) -> int:
        """Return how many rows there were."""
        return int(self.counts[layout.outcomes].sum())


def part_of(layout: Layout, blobs: Mapping[str, Mapping[str, bytes]]) -> Part:
    """Return what the blobs say, by series and writer. A damaged one is left out and counted: the others are true."""
    counts, bad = _readable(blobs.get("counts", {}), lambda blob: unpack(blob, layout.size))
    fields = len(layout.numbers)
    moments, worse = _readable(blobs.get("moments", {}), lambda blob: unpack_moments(blob, fields))
    tallies: dict[str, AnyTally] = {}
    damaged = bad + worse
    for writer in sorted(blobs.get("recent", {})):
        try:
            add_to(tallies, decode(blobs["recent"][writer]))
        except ValueError:
            damaged += 1
    total = np.zeros(layout.size, dtype=np.int64)
    for one in counts:
        total += one
    return Part(total, all_moments(moments, fields), tallies, damaged)


def total_of(layout: Layout, parts: Sequence[Part]) -> Part:
    """Return the sum of parts; in the order given, so that rounding is the same for everybody."""
    tallies: dict[str, AnyTally] = {}
    for part in parts:
        add_to(tallies, part.tallies)
    return Part(
        sum_counts(layout, parts),
        all_moments([part.moments for part in parts], len(layout.numbers)),
        tallies,
        sum(part.damaged for part in parts),
    )


def sum_counts(layout: Layout, parts: Sequence[Part]) -> Sums:
    """Return the counts of all parts together."""
    if not parts:
        return np.zeros(layout.size, dtype=np.int64)
    summed: Sums = np.sum([part.counts for part in parts], axis=0)
    return summed


def blobs_of(layout: Layout, part: Part) -> dict[str, bytes]:
    """Return a part as blobs by series, for the store."""
    blobs = {"counts": pack(part.counts)}
    if layout.numbers:
        blobs["moments"] = pack_moments(part.moments)
    if part.tallies:
        blobs["recent"] = encode(part.tallies)
    return blobs


def all_moments(each: Sequence[Floats], fields: int) -> Floats:
    """Return the moments of disjoint sets of rows together, in one pass (Chan, Golub and LeVeque, 1979)."""
    if not each:
        return no_moments(fields)
    stacked = np.stack(each)
    n, mean, m2 = stacked[:, :, 0], stacked[:, :, 1], stacked[:, :, 2]
    rows = n.sum(axis=0)
    low, high = stacked[:, :, 3].min(axis=0), stacked[:, :, 4].max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        middle = (mean * (n / np.maximum(rows, 1.0))).sum(axis=0)
        middle = np.where(rows > 0, np.clip(middle, low, high), 0.0)
        away = np.where(n > 0, mean - middle, 0.0)
        spread = np.nan_to_num((m2 + n * away * away).sum(axis=0), nan=np.inf)
    return np.stack([rows, middle, spread, low, high], axis=1)


def _readable(blobs: Mapping[str, bytes], read: Callable[[bytes], T]) -> tuple[list[T], int]:
    """Return what can be read of the blobs, in the order of their writers, and how many cannot."""
    found: list[T] = []
    for writer in sorted(blobs):
        # A blob is anybody's bytes: one that is damaged says so.
        with suppress(ValueError):
            found.append(read(blobs[writer]))
    return found, len(blobs) - len(found)
