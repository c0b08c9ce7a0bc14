"""The blobs of a model's stretches in the store of statistics: under which key, and what they say.

Decides the series of a stretch and their versions. When they are written and read is left to `statistics`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from guardproxy.proxy.model_statistics import ModelStatistics, Stretch
from guardproxy.stats.rollup import SUM, Level, Part, blobs_of, part_of
from guardproxy.stores.statistics import BucketKey, BucketWrite

RECENT: Final = "00000000"
"""The version of the tallies of rolling functions: each says itself what it counts."""

SERIES: Final = ("counts", "moments", "recent")


def bucket_key(model: ModelStatistics, series: str, resolution: int, number: int) -> BucketKey:
    """Return the key of a stretch of a model."""
    version = RECENT if series == "recent" else model.layout.version
    return BucketKey(model.model, series, version, resolution, number)


def sum_writes(model: ModelStatistics, stretch: Stretch, level: Level, total: Part) -> list[BucketWrite]:
    """Return what writes the sum of a stretch."""
    return [
        BucketWrite(bucket_key(model, series, *stretch), SUM, blob, level.keep_s)
        for series, blob in blobs_of(model.layout, total).items()
    ]


def decoded(model: ModelStatistics, blobs: Sequence[Mapping[str, bytes]]) -> list[Part | None]:
    """Return what the blobs of stretches say, each stretch with its SERIES in order; None where there are none."""
    some = iter(blobs)
    found: list[Part | None] = []
    while each := list(islice(some, len(SERIES))):
        by_series = dict(zip(SERIES, each, strict=True))
        found.append(part_of(model.layout, by_series) if any(each) else None)
    return found


def slices(stretches: Sequence[Stretch], size: int) -> Iterable[Sequence[Stretch]]:
    """Yield stretches, so many at a time."""
    for start in range(0, len(stretches), size):
        yield stretches[start : start + size]
