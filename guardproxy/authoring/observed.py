"""What recorded traffic looks like, field by field, in bounded memory: the material of `suggest`.

Decides what is remembered of a field (a uniform sample of its numbers, its first few different values). Which rules follow
from it is left to `suggest`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

import numpy as np

from guardproxy.decision import Outcome
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import Batch, Key, batches
from guardproxy.table import Cell, Floats, Table, is_plain_number

MAX_FIELDS: Final = 500
MAX_SAMPLE: Final = 20_000
MAX_VALUES: Final = 200
MAX_LEVELS: Final = 12
"""Different whole numbers that are taken for codes of something, rather than for a quantity."""

MAX_PAIRED: Final = 12
"""Outputs of which every pair is compared; models with more answer vectors."""

_SEED: Final = 20_240_229
_ACTED: Final = frozenset(
    outcome.name.lower() for outcome in (Outcome.CLAMPED, Outcome.REPLACED, Outcome.HELD, Outcome.REJECTED)
)


@dataclass(slots=True)
class Sample:
    """A uniform sample of numbers, each with the weight of its exchange."""

    seen: int = 0
    values: Floats = field(default_factory=lambda: np.empty(MAX_SAMPLE))
    weights: Floats = field(default_factory=lambda: np.empty(MAX_SAMPLE))
    low: float = np.inf
    high: float = -np.inf

    def add(self, values: Floats, weights: Floats, draw: np.random.Generator) -> None:
        """Take finite numbers in: the first MAX_SAMPLE all, later ones by algorithm R."""
        if not len(values):
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        room = max(0, min(len(values), MAX_SAMPLE - self.seen))
        at = np.arange(self.seen, self.seen + len(values))
        if room < len(values):
            at[room:] = draw.integers(0, at[room:] + 1)
        kept = at < MAX_SAMPLE
        self.values[at[kept]], self.weights[at[kept]] = values[kept], weights[kept]
        self.seen += len(values)

    def quantiles(self, shares: tuple[float, ...]) -> list[float]:
        """Return the weighted quantiles, each a value that was seen."""
        size = min(self.seen, MAX_SAMPLE)
        order = np.argsort(self.values[:size], kind="stable")
        total = np.cumsum(self.weights[:size][order])
        places = np.searchsorted(total, np.array(shares) * total[-1], side="left")
        found: list[float] = self.values[:size][order][np.minimum(places, size - 1)].tolist()
        return found


@dataclass(slots=True)
class Seen:
    """One field. `values` counts different texts and yes/no, `levels` different whole numbers, either None once there are
    too many; `kinds` are the types of cells.
    """

    space: str
    name: str
    rows: int = 0
    present: int = 0
    numbers: Sample = field(default_factory=Sample)
    whole: bool = True
    levels: dict[float, int] | None = field(default_factory=dict)
    values: dict[Cell, int] | None = field(default_factory=dict)
    vectors: int = 0
    lengths: set[int] = field(default_factory=set)
    sums_to_one: bool = True
    kinds: set[type] = field(default_factory=set)

    @property
    def numeric(self) -> bool:
        """True when every value was a finite number."""
        return self.present > 0 and self.numbers.seen == self.present

    @property
    def categorical(self) -> bool:
        """True when every value was text, or every value yes or no."""
        counted = 0 if self.values is None else sum(self.values.values())
        return counted == self.present > 0 and self.kinds in ({str}, {bool})


@dataclass(slots=True)
class Observed:
    """One model's traffic. `unordered` holds the pairs of outputs (a, b) for which some row had a above b, of `paired` rows.
    `changes` samples the relative change against the entity's last answer by output, `bases` the size of that answer,
    `gaps` the share of features that a row lacks.
    """

    model: str
    rows: int = 0
    exchanges: int = 0
    key: Key = ()
    fields: dict[tuple[str, str], Seen] = field(default_factory=dict)
    paired: int = 0
    unordered: set[tuple[str, str]] = field(default_factory=set)
    changes: dict[str, Sample] = field(default_factory=dict)
    bases: dict[str, Sample] = field(default_factory=dict)
    gaps: Sample = field(default_factory=Sample)
    redacted: set[str] = field(default_factory=set)

    def named(self, space: str) -> list[Seen]:
        """Return the fields of a space that were not redacted, in the order in which they came."""
        return [
            one
            for (where, name), one in self.fields.items()
            if where == space and f"{space}.{name}" not in self.redacted
        ]


def _untouched(records: Iterable[Recorded]) -> Iterable[Recorded]:
    for record in records:
        rows = [row for row, outcome in enumerate(record.outcomes) if outcome not in _ACTED]
        if len(rows) == len(record.outcomes):
            yield record
        elif rows:
            yield replace(
                record,
                features=_rows(record.features, rows),
                predictions=None if record.predictions is None else _rows(record.predictions, rows),
                previous={by: tuple(past[row] for row in rows) for by, past in record.previous.items()},
                outcomes=tuple(record.outcomes[row] for row in rows),
                violated={},
            )


def _rows(table: Table, rows: Sequence[int]) -> Table:
    exact = {name: tuple(cells[row] for row in rows) for name, cells in table.exact.items()}
    return Table(table.fields, len(rows), table.block[:, rows], exact)


def observe(model: str, records: Iterable[Recorded], key: Key = ()) -> Observed:
    """Look at every record once. `key` names the entity whose last answer a change is measured against.

    Rows on which an enforced rule acted are left out: what is refused today must not widen tomorrow's bounds.
    """
    found = Observed(model, key=key)
    # The same traffic gives the same suggestions.
    draw = np.random.default_rng(_SEED)
    for batch in batches(_untouched(records)):
        found.rows += batch.rows
        found.exchanges += len(batch.exchanges)
        for record in batch.exchanges:
            found.redacted.update(record.redacted)
        _look(found, "features", batch.features, batch.weights, draw)
        _gaps(found, batch, draw)
        if batch.predictions is not None:
            _look(found, "output", batch.predictions, batch.weights, draw)
            _pairs(found, batch.predictions)
            _changes(found, batch, batch.predictions, draw)
    return found


def _look(found: Observed, space: str, table: Table, weights: Floats, draw: np.random.Generator) -> None:
    for position, name in enumerate(table.fields):
        one = found.fields.get((space, name))
        if one is None:
            if len(found.fields) >= MAX_FIELDS:
                continue
            one = found.fields[space, name] = Seen(space, name)
        one.rows += table.rows
        numbers = table.block[position]
        finite = np.isfinite(numbers)
        kept = numbers[finite]
        one.numbers.add(kept, weights[finite], draw)
        one.whole = one.whole and bool((kept == np.floor(kept)).all())
        _levels(one, kept)
        cells = table.exact.get(name)
        if cells is None:
            one.present += int(np.count_nonzero(~np.isnan(numbers)))
        else:
            _cells(one, cells)


def _levels(one: Seen, numbers: Floats) -> None:
    if not one.whole:
        one.levels = None
    if one.levels is None:
        return
    different, counts = np.unique(numbers, return_counts=True)
    for number, count in zip(different[: MAX_LEVELS + 1].tolist(), counts.tolist(), strict=False):
        one.levels[number] = one.levels.get(number, 0) + count
    if len(one.levels) > MAX_LEVELS:
        one.levels = None


def _cells(one: Seen, cells: tuple[Cell, ...]) -> None:
    for cell in cells:
        if cell is None:
            continue
        one.present += 1
        one.kinds.add(type(cell))
        if isinstance(cell, tuple):
            one.vectors += 1
            if len(one.lengths) < MAX_VALUES:
                one.lengths.add(len(cell))
            one.sums_to_one = one.sums_to_one and _is_distribution(cell)
        elif isinstance(cell, (str, bool)) and one.values is not None:
            one.values[cell] = one.values.get(cell, 0) + 1
            if len(one.values) > MAX_VALUES:
                one.values = None


def _is_distribution(cell: tuple[float | int | None, ...]) -> bool:
    numbers = [member for member in cell if member is not None]
    return len(numbers) == len(cell) and all(0 <= n <= 1 for n in numbers) and abs(sum(numbers) - 1) <= 1e-3


def _gaps(found: Observed, batch: Batch, draw: np.random.Generator) -> None:
    table = batch.features
    if not table.fields:
        return
    missing = np.isnan(table.block)
    for name, cells in table.exact.items():
        position = table.index(name)
        if position is not None:
            missing[position] = [cell is None for cell in cells]
    found.gaps.add(missing.mean(axis=0), batch.weights, draw)


def _pairs(found: Observed, table: Table) -> None:
    names = [name for name in table.fields if name not in table.exact][:MAX_PAIRED]
    if len(names) < 2:
        return
    found.paired += table.rows
    block = table.block[[table.fields.index(name) for name in names]]
    for a, first in enumerate(names):
        for b, second in enumerate(names):
            # A pair with a gap compares as false and says nothing.
            if a != b and (block[a] > block[b]).any():
                found.unordered.add((first, second))


def _changes(found: Observed, batch: Batch, table: Table, draw: np.random.Generator) -> None:
    if not found.key or not any(found.key in record.previous for record in batch.exchanges):
        return
    before = [batch.previous(found.key, row) or {} for row in range(batch.rows)]
    known = set(chain.from_iterable(before))
    for name in (name for name in table.fields if name not in table.exact and name in known):
        base = np.array([_number(past.get(name)) for past in before])
        now = table.block[table.fields.index(name)]
        good = np.isfinite(base) & np.isfinite(now)
        found.bases.setdefault(name, Sample()).add(np.abs(base[good]), batch.weights[good], draw)
        good &= base != 0.0
        change = (now[good] - base[good]) / np.abs(base[good])
        found.changes.setdefault(name, Sample()).add(change, batch.weights[good], draw)


def _number(cell: Cell) -> float:
    return float(cell) if isinstance(cell, (int, float)) and is_plain_number(cell) else np.nan


def common(values: Mapping[Cell, int]) -> Cell:
    """Return the commonest value."""
    return max(values, key=lambda cell: values[cell])
