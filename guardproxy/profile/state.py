"""All that a learner knows while it reads, and how the knowledge of several becomes that of one.

Decides which rows wait and which are summarised, and that the state of parts is what one pass over all of them leaves:
counts, extremes and moments exactly, the sample as one of all rows. What a profile makes of it is left to `learn`, the bytes of a
part to `parts`.

Held-back rows in one pass. Rows wait in a delay line of the most recent HOLD_BACK rows and are summarised only when
newer ones push them out. Of several parts the most recent rows of all wait: by the time column where there is one, else the
parts count in the order in which they are merged.
"""

import copy
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from guardproxy.profile.clock import Clock
from guardproxy.profile.columns import (
    ArrayColumn,
    Batch,
    Column,
    NumberColumn,
    TextColumn,
    joined,
    split_numbers,
)
from guardproxy.profile.model import Role
from guardproxy.profile.numbers import Places
from guardproxy.profile.reservoir import Labels, Reservoir, Sampled
from guardproxy.profile.sketches import Hashes, mix
from guardproxy.profile.summary import FieldSummary
from guardproxy.profile.texts import MAX_TEXT
from guardproxy.profile.times import unix_seconds
from guardproxy.table import Floats

HOLD_BACK: Final = 20_000
RESERVOIR: Final = 50_000
MAX_FIELDS: Final = 4_000
"""So many fields still make a document that may be read back (see `source`)."""

_MAX_CELLS: Final = 10_000_000
_LEAST_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked of a learner. `time` names the column that says when a row happened."""

    model: str
    target: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    time: str | None = None
    alpha: float = 0.001

    def role(self, name: str) -> Role:
        """Return what the column called `name` is for."""
        if name in self.target:
            return Role.OUTPUT
        return Role.KEY if name in self.keys else Role.FEATURE


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Some rows of the data, by column, with their random keys and what the time column says of them (NaN without one)."""

    columns: Batch
    keys: Floats
    at: Floats

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.keys)

    def slice(self, start: int, stop: int) -> "Span":
        """Return the rows [start, stop)."""
        columns = {name: column.slice(start, stop) for name, column in self.columns.items()}
        return Span(columns, self.keys[start:stop], self.at[start:stop])

    def take(self, rows: Places) -> "Span":
        """Return these rows, in this order."""
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        return Span(columns, self.keys[rows], self.at[rows])


@dataclass(slots=True)
class LearnerState:
    """What a learner knows. `rows` were given; `fitted` of them are summarised, the others wait in `waiting`, oldest first.

    `lacks` holds by field how many rows lack it, with the sum of these rows' random numbers: fields with equal sums lack
    it in the same rows. `delay` is how many rows wait at most: HOLD_BACK, fewer of rows with very many cells. `name` is what the state is called in errors.
    """

    settings: Settings
    columns: tuple[str, ...]
    name: str = "this part"
    rows: int = 0
    fitted: int = 0
    clock: Clock = field(default_factory=Clock)
    summaries: dict[str, FieldSummary] = field(default_factory=dict)
    lacks: dict[str, tuple[int, int]] = field(default_factory=dict)
    waiting: deque[Span] = field(default_factory=deque)
    reservoir: Reservoir = field(init=False)
    delay: int = field(init=False)

    def __post_init__(self) -> None:
        share = max(_LEAST_ROWS, _MAX_CELLS // max(1, len(self.columns)))
        self.delay = delay_of(len(self.columns))
        self.reservoir = Reservoir(len(self.columns), min(RESERVOIR, share))
        for name in self.columns:
            self.summaries.setdefault(name, FieldSummary())
            self.lacks.setdefault(name, (0, 0))

    @property
    def waiting_rows(self) -> int:
        """How many rows are not summarised yet."""
        return self.rows - self.fitted

    def add(self, batch: Batch, draws: Floats, salt: int) -> None:
        """Add rows in file order; `draws` are their random numbers between 0 and 1, `salt` makes those of equal draws differ."""
        if not self.rows:
            self.delay = min(self.delay, delay_of(_cells_a_row(batch)))
        time = self.settings.time
        at = np.full(len(draws), np.nan) if time is None else self.clock.read(batch[time])
        bits = mix(draws.view(np.uint64) ^ np.uint64(salt))
        keys: Floats = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        self.waiting.append(Span({name: batch[name] for name in self.columns}, keys, at))
        self.rows += len(draws)
        self.release(self.delay)

    def release(self, keep: int) -> None:
        """Summarise the oldest waiting rows until `keep` are left."""
        while self.waiting_rows > keep:
            span = self.waiting.popleft()
            excess = self.waiting_rows - keep
            if span.rows > excess:
                self.waiting.appendleft(span.slice(excess, span.rows))
                span = span.slice(0, excess)
            self._summarise(span)

    def absorb(self, later: "LearnerState") -> None:
        """Add the state of a part that comes behind this one. Raises ValueError for parts that do not belong together."""
        _refuse_differences(self, later)
        self.delay = min(self.delay, later.delay)
        mine, theirs = list(self.waiting), list(later.waiting)
        by_time = self.clock.ordered and later.clock.ordered
        newest = _newest([span.at for span in (*mine, *theirs)], self.delay, by_time=by_time)
        kept: list[Span] = []
        self.waiting.clear()
        self._settle(mine, newest[: len(mine)], kept)
        self.fitted += later.fitted
        self.rows += later.fitted
        for name, summary in self.summaries.items():
            summary.absorb(later.summaries[name])
            lacks = self.lacks[name], later.lacks[name]
            self.lacks[name] = lacks[0][0] + lacks[1][0], (lacks[0][1] + lacks[1][1]) % 2**64
        order = [later.columns.index(name) for name in self.columns]
        sampled = later.reservoir.rows()
        wanted = sampled.take(self.reservoir.wanted(sampled.keys))
        self.reservoir.add(Sampled(wanted.keys, wanted.at, wanted.numbers[order], wanted.labels))
        self.rows += sum(span.rows for span in theirs)
        self._settle(theirs, newest[len(mine) :], kept)
        self.clock.absorb(later.clock)
        self.waiting.extend(_in_order(kept, by_time=by_time))

    def _settle(self, spans: Sequence[Span], keep: Sequence[Places], kept: list[Span]) -> None:
        """Summarise the rows of `spans` that need not wait any more; put the others into `kept`."""
        for span, rows in zip(spans, keep, strict=True):
            others = np.setdiff1d(np.arange(span.rows), rows, assume_unique=True)
            if len(others):
                self._summarise(span.take(others))
            if len(rows):
                kept.append(span.take(rows))

    def _summarise(self, span: Span) -> None:
        chosen = self.reservoir.wanted(span.keys)
        times = None if self.settings.time is None else unix_seconds_of(span.at, self.settings.time)
        lots = mix(span.keys.view(np.uint64))
        numbers = np.empty((len(self.columns), len(chosen)))
        labels: dict[str, Labels] = {}
        for position, (name, summary) in enumerate(self.summaries.items()):
            column = span.columns[name]
            seen = summary.update(column, times)
            numbers[position] = seen.numbers[chosen]
            if seen.missing is not None:
                self._lack(name, lots[seen.missing])
            if isinstance(column, TextColumn):
                labels[name] = _labels(column.take(chosen))
        self.reservoir.add(Sampled(span.keys[chosen], span.at[chosen], numbers, labels))
        self.fitted += span.rows

    def _lack(self, name: str, lots: Hashes) -> None:
        count, total = self.lacks[name]
        self.lacks[name] = count + len(lots), (total + int(lots.sum(dtype=np.uint64))) % 2**64


def merge(states: Sequence[LearnerState]) -> LearnerState:
    """Return what one learner would know that had read all of it: by the time column's order where there is one, else in the
    order given. The states stay as they are. Raises ValueError for none, or for parts that do not belong together."""
    if not states:
        raise ValueError("no part to merge")
    first, *others = (states[place] for place in order_of([state.clock for state in states]))
    merged = copy.deepcopy(first)
    for state in others:
        merged.absorb(state)
    return merged


def order_of(clocks: Sequence[Clock]) -> list[int]:
    """Return in which order parts with these clocks are merged: by their first moments where all tell them, else as they come."""
    places = list(range(len(clocks)))
    if all(clock.ordered for clock in clocks):
        places.sort(key=lambda place: clocks[place].first)
    return places


def delay_of(cells: int) -> int:
    """Return how many rows wait at most, of so many cells each (a member of an array is one)."""
    return min(HOLD_BACK, max(_LEAST_ROWS, _MAX_CELLS // max(1, cells)))


def unix_seconds_of(at: Floats, time: str | None) -> Floats:
    """Return the Unix seconds of rows, NaN where the time column counts something else or is absent."""
    return np.full(len(at), np.nan) if time is None else unix_seconds(at)


def first_row_salt(batch: Batch) -> int:
    """Return a number that differs between parts, whatever their learners' generators: a checksum of their first row."""
    return zlib.crc32(repr([_first_cell(column) for column in batch.values()]).encode("utf-8", "replace"))


def _cells_a_row(batch: Batch) -> int:
    arrays = [column for column in batch.values() if isinstance(column, ArrayColumn)]
    members = sum(int(column.ends[-1] - column.ends[0]) for column in arrays)
    return len(batch) + members // max(1, max((len(column) for column in arrays), default=1))


def _first_cell(column: Column) -> object:
    if isinstance(column, NumberColumn):
        return column.values[:1].tolist()
    if isinstance(column, ArrayColumn):
        return column.members[:8].tolist()
    return [column.values[code] for code in column.codes[:1].tolist() if code >= 0]


def _labels(column: TextColumn) -> Labels:
    """Return the texts of a column by row, None for numbers and missing cells."""
    _, codes = split_numbers(column)
    texts = np.array([*(text[: MAX_TEXT + 1] for text in column.values), None], dtype=object)
    found: Labels = texts[codes]
    return found


def _refuse_differences(one: LearnerState, two: LearnerState) -> None:
    for key in ("model", "target", "keys", "time", "alpha"):
        mine, theirs = getattr(one.settings, key), getattr(two.settings, key)
        if mine != theirs:
            raise ValueError(f"{one.name} and {two.name} differ in {key}: {_said(mine)} and {_said(theirs)}")
    missing = [name for name in one.columns if name not in two.columns]
    more = [name for name in two.columns if name not in one.columns]
    if missing or more:
        lacking, having = (two.name, one.name) if missing else (one.name, two.name)
        raise ValueError(f"{lacking} has no column '{(missing or more)[0]}', which {having} has")


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value or "none")


def _newest(times: Iterable[Floats], keep: int, *, by_time: bool) -> list[Places]:
    """Return by span which of its rows are among the `keep` newest of all."""
    spans = list(times)
    all_times = np.concatenate([*spans, np.empty(0)])
    # A row without a time is as old as can be.
    ranked = (
        np.argsort(np.nan_to_num(all_times, nan=-np.inf), kind="stable")
        if by_time
        else np.arange(len(all_times))
    )
    kept = np.sort(ranked[max(0, len(ranked) - keep) :])
    found, start = [], 0
    for span in spans:
        inside = kept[(kept >= start) & (kept < start + len(span))]
        found.append(inside - start)
        start += len(span)
    return found


def _in_order(spans: list[Span], *, by_time: bool) -> list[Span]:
    """Return the rows of spans oldest first."""
    if not by_time or len(spans) < 2 or all(one.at[-1] <= two.at[0] for one, two in pairwise(spans)):
        return spans
    together = Span(
        {name: joined([span.columns[name] for span in spans]) for name in spans[0].columns},
        np.concatenate([span.keys for span in spans]),
        np.concatenate([span.at for span in spans]),
    )
    return [together.take(np.argsort(np.nan_to_num(together.at, nan=-np.inf), kind="stable"))]
