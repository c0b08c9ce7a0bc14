"""A model's windows frozen at an instant, with an age: what every replica counted together.

Decides how old a snapshot may be before nothing of it is believed. How it is put together is left to the keeper of the statistics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from guardproxy.stats.counts import Sums
from guardproxy.table import Cell

WINDOWS: Final[Mapping[str, int]] = MappingProxyType({"1h": 3_600, "24h": 86_400, "7d": 604_800})
"""The lengths of the windows that every snapshot has, in seconds."""

LEAST_STALE_S: Final = 180.0
NO_CELLS: Final[Mapping[str, Cell]] = MappingProxyType({})


def stale_after(bucket_s: float) -> float:
    """Return the age in seconds from which a snapshot is stale, for buckets of this length."""
    return max(3.0 * bucket_s, LEAST_STALE_S)


class Moments(NamedTuple):
    """A number field's values in a window: how many, their mean and standard deviation (None where undefined), their ends."""

    n: int
    mean: float
    std: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted from `start` to `end` (Unix seconds). `counts` has the shape (layout.size,), read-only.

    A window is made of whole buckets, a long one of whole hours: it may begin earlier than its length says, never later.
    """

    start: float
    end: float
    rows: int
    counts: Sums
    moments: Mapping[str, Moments]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All windows of a model at `at` (Unix seconds by the store's clock).

    `recent` holds what rolling functions give, by their spelling; what is warming up is not in it. `since` is the start of
    the oldest bucket that anybody counted, None where there is none.
    """

    at: float
    recent: Mapping[str, Cell]
    windows: Mapping[str, Counted]
    since: float | None


EMPTY: Final = Snapshot(float("-inf"), NO_CELLS, MappingProxyType({}), None)
"""The snapshot before the first one."""
