"""What rules may ask of the past of their rows' entities, and how far an answer lies from what is usual.

Decides the questions and the arithmetic of a distance. Who remembers, and what is made of it, is left to `guard` and to
those who stand behind it.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from guardproxy.table import Cell, Floats

REMEMBERED: Final = ("last_good", "rolling_median", "seasonal", "auto")
"""The kinds of estimates that stand in for a suspect answer; see `EntityPast.estimate`."""

MAX_DISTANCE: Final = 1e6
RELATIVE_FLOOR: Final = 0.02
LEAST_FLOOR: Final = 0.001
MAX_SIZE: Final = 709.0
"""The largest `signed_log` of a number that a float holds."""

By = tuple[str, ...]


class Usual(NamedTuple):
    """What is usual of one output of an entity: a value, and the smoothed size of its error in `signed_log`."""

    value: float
    spread: float


class EntityPast(Protocol):
    """What is remembered of the entities of a table's rows, as of the moment of the rows."""

    def usual(self, by: By, output: str) -> Sequence[Usual | None]:
        """Return by row what is usual of its entity, named by the fields `by`; None where too little is known."""

    def limit(self, by: By, output: str, false_alarms: float) -> float | None:
        """Return the distance that a share of `false_alarms` of all entities' answers exceeds; None while it is not known."""

    def estimate(self, kind: str, by: By, row: int, output: str, max_age_s: float | None) -> Cell:
        """Return what stands in for a row's answer, None where nothing is known or it is older than `max_age_s`.

        Kinds are `last_good`, `rolling_median` (of the last eight), `seasonal` (the level in this phase of the season) and
        `auto` (whichever erred least for this model so far).
        """


class OneRow:
    """The past of one row of a table, as a table of one row."""

    __slots__ = ("_past", "_row")

    def __init__(self, past: EntityPast, row: int) -> None:
        self._past = past
        self._row = row

    def usual(self, by: By, output: str) -> Sequence[Usual | None]:
        """Return what is usual of the row's entity."""
        return (self._past.usual(by, output)[self._row],)

    def limit(self, by: By, output: str, false_alarms: float) -> float | None:
        """Return the model's limit."""
        return self._past.limit(by, output, false_alarms)

    def estimate(self, kind: str, by: By, row: int, output: str, max_age_s: float | None) -> Cell:  # noqa: ARG002
        """Return what stands in for the row's answer."""
        return self._past.estimate(kind, by, self._row, output, max_age_s)


def signed_log(values: Floats) -> Floats:
    """Return log(1 + size) with the sign of each value."""
    return np.copysign(np.log1p(np.abs(values)), values)


def unsigned(sizes: Floats) -> Floats:
    """Return the values whose `signed_log` these are."""
    return np.copysign(np.expm1(np.minimum(np.abs(sizes), MAX_SIZE)), sizes)


def spread_floor(values: Floats) -> Floats:
    """Return the least spread: 2 % of each value as `signed_log` says it, and never less than 0.001."""
    size = np.abs(values)
    return np.maximum(RELATIVE_FLOOR * size / (1.0 + size), LEAST_FLOOR)


def distance(value: float, usual: Usual) -> float:
    """Return how many spreads a value lies from what is usual, in `signed_log`; at most MAX_DISTANCE."""
    off = math.copysign(math.log1p(abs(value)), value) - math.copysign(
        math.log1p(abs(usual.value)), usual.value
    )
    return min(abs(off) / usual.spread, MAX_DISTANCE)


def distances(values: Floats, usual: Floats, spread: Floats) -> Floats:
    """Return what `distance` gives for each value; NaN where what is usual is not known."""
    return np.minimum(np.abs(signed_log(values) - signed_log(usual)) / spread, MAX_DISTANCE)
