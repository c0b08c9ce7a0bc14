"""How a drift is said: what moved, which way, and by how much, in one sentence.

Decides the direction of a change and the edge that shows it best. Whether there is a change at all is left to `detector`.

An order is read from the lowest cell to the highest, what lies below and above all that was learned included. Its middle has
moved when the mean normal score has, by more than half of what the spread of the scores has changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from guardproxy.profile.cells import ABOVE, BELOW, MISSING, SPECIAL_CELLS, TYPE, UNSEEN, Cells, Measure
from guardproxy.stats.distributions import normal_quantile
from guardproxy.table import Floats

MOVED_CELLS: Final = 5
"""So many cells are named of each field, those that moved most."""

_LEAST: Final = 1e-6
_ALL_BUT: Final = 0.005
"""Shares are written as whole percentages: so many rows without a number change none of them."""


class Direction(StrEnum):
    """Which way a field has moved. `MORE` and `FEWER` are said of one value, whose name stands in the message."""

    UP = "up"
    DOWN = "down"
    WIDER = "wider"
    NARROWER = "narrower"
    MORE = "more of a value"
    FEWER = "fewer of a value"
    NEW = "new values"
    MISSING = "more missing"
    PRESENT = "fewer missing"
    TYPE = "another type"


class Moved(NamedTuple):
    """The direction of a change, and the middle of its sentence."""

    direction: Direction
    words: str


class CellMove(NamedTuple):
    """A cell with the share of rows that the reference expects in it, and the share that is there."""

    cell: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Change:
    """A field's shares of rows by cell: what the reference expects, and what is there, each of shape (cells,)."""

    cells: Cells
    before: Floats
    now: Floats

    @property
    def own(self) -> int:
        """How many cells stand for values of the field, before the special ones."""
        return self.cells.size - SPECIAL_CELLS


def moved(change: Change) -> Moved:
    """Say which way the field has moved, by the cells that contribute most to the change."""
    before, now = np.maximum(change.before, _LEAST), np.maximum(change.now, _LEAST)
    weight = (now - before) * np.log(now / before)
    special = [
        place for place in _SPECIALS[change.cells.ordered > 0] if change.own + place < change.cells.size
    ]
    loudest = max(special, key=lambda place: float(weight[change.own + place]))
    own = float(weight.sum()) - sum(float(weight[change.own + place]) for place in special)
    if float(weight[change.own + loudest]) > own:
        return _special(change, loudest)
    return _ordered(change) if change.cells.ordered else _valued(change, weight)


def cell_moves(change: Change) -> tuple[CellMove, ...]:
    """Return the cells whose shares moved most, the farthest first."""
    far = np.argsort(-np.abs(change.now - change.before), kind="stable")[:MOVED_CELLS]
    names = change.cells.names
    return tuple(
        CellMove(names[place], float(change.before[place]), float(change.now[place]))
        for place in far.tolist()
    )


def subject(field: str, measure: Measure) -> str:
    """Return what is said to have moved: a field, or what of it is measured."""
    return _SUBJECTS[measure].format(field)


def percent(share: float) -> str:
    """Write a share as a percentage, with a digit behind the point where it is small."""
    value = 100.0 * share
    if 0.0 < value < 0.1:
        return "under 0.1 %"
    return f"{value:.0f} %" if value >= 9.95 or value == 0.0 else f"{value:.1f} %"


def _special(change: Change, place: int) -> Moved:
    now, before = float(change.now[change.own + place]), float(change.before[change.own + place])
    if place == MISSING:
        direction, often = (Direction.MISSING, "more") if now > before else (Direction.PRESENT, "less")
        words = f"is missing {often} often"
    else:
        direction, words = _TYPE_WORDS if place == TYPE else _NEW_WORDS
    return Moved(direction, f"{words}: in {percent(now)} of rows, {percent(before)} before")


def _valued(change: Change, weight: Floats) -> Moved:
    place = int(np.argmax(weight[: change.own + 1]))
    now, before = float(change.now[place]), float(change.before[place])
    name = f"'{change.cells.names[place]}'" if place < change.own else "one of its rarer values"
    direction = Direction.MORE if now > before else Direction.FEWER
    often = "more" if now > before else "less"
    return Moved(direction, f"is {name} {often} often: in {percent(now)} of rows, {percent(before)} before")


def _ordered(change: Change) -> Moved:
    before, now = _in_order(change, change.before), _in_order(change, change.now)
    middles = np.cumsum(before) - before / 2.0
    scores = np.array([normal_quantile(min(max(middle, _LEAST), 1.0 - _LEAST)) for middle in middles])
    centre, centred = float(before @ scores), float(now @ scores)
    spread, spreads = (
        float(np.sqrt(max(share @ scores**2 - mean**2, 0.0)))
        for share, mean in ((before, centre), (now, centred))
    )
    if abs(centred - centre) >= 0.5 * abs(spreads - spread):
        return _shifted(change, before, now, up=centred > centre)
    return _spread(change, before, now, wider=spreads > spread)


def _shifted(change: Change, before: Floats, now: Floats, *, up: bool) -> Moved:
    """Name the edge beyond which the share of rows has changed most."""
    ends = (change.cells.low, *change.cells.edges, change.cells.high)
    tails = [share[::-1].cumsum()[::-1][1:] if up else share.cumsum()[:-1] for share in (before, now)]
    place = int(np.argmax(tails[1] - tails[0]))
    side, direction = ("above", Direction.UP) if up else ("below", Direction.DOWN)
    return Moved(
        direction,
        f"has moved {direction}: {percent(float(tails[1][place]))} of {_rows(change)} lie {side} {ends[place]:.6g}, "
        f"{percent(float(tails[0][place]))} before",
    )


def _spread(change: Change, before: Floats, now: Floats, *, wider: bool) -> Moved:
    """Name the ends between which the share of rows has changed most, as many cells from below as from above."""
    ends = (change.cells.low, *change.cells.edges, change.cells.high)
    pairs = [(low, len(ends) - 1 - low) for low in range(len(ends) // 2)]
    within = [[float(share[low + 1 : high + 1].sum()) for low, high in pairs] for share in (before, now)]
    more = [after - earlier for earlier, after in zip(*within, strict=True)]
    place = more.index(min(more) if wider else max(more))
    earlier, after = (1.0 - share[place] if wider else share[place] for share in within)
    low, high = pairs[place]
    direction, where = (Direction.WIDER, "outside of") if wider else (Direction.NARROWER, "within")
    return Moved(
        direction,
        f"is {direction}: {percent(after)} of {_rows(change)} lie {where} {ends[low]:.6g} to "
        f"{ends[high]:.6g}, {percent(earlier)} before",
    )


def _rows(change: Change) -> str:
    """Return of which rows an order's shares are: those without a number have no place in it."""
    without = max(
        float(share[change.own + MISSING] + share[change.own + TYPE]) for share in (change.before, change.now)
    )
    return "rows" if without < _ALL_BUT else "the rows that have one"


def _in_order(change: Change, share: Floats) -> Floats:
    """Return the shares of the rows that have a number, from below all that was learned to above it."""
    own = change.own
    line = np.concatenate(
        (share[own + BELOW : own + BELOW + 1], share[:own], share[own + ABOVE : own + ABOVE + 1])
    )
    total = float(line.sum())
    found: Floats = line / total if total else np.full(len(line), 1.0 / len(line))
    return found


_SPECIALS: Final = ((UNSEEN, MISSING, TYPE), (MISSING, TYPE))
"""The special cells that are no part of an order (with False: of values without one)."""

_TYPE_WORDS: Final = (Direction.TYPE, "is of another type")
_NEW_WORDS: Final = (Direction.NEW, "has values that were never learned")
_SUBJECTS: Final[Mapping[Measure, str]] = MappingProxyType(
    {
        Measure.VALUE: "{}",
        Measure.LENGTH: "the length of {}",
        Measure.NORM: "the norm of {}",
        Measure.LAG: "the age of {}",
    }
)
