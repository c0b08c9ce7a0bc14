"""Recorded traffic as columns to learn a profile from.

Decides which recorded rows are fit to be learned from, and how their cells become columns. Rows that a rule acted on, that
nobody judged or that have no finite answer are left out and counted: what is refused today must not widen what is normal
tomorrow. How a profile is learned is left to `profile`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from guardproxy.decision import Outcome
from guardproxy.guard.recorded import Recorded
from guardproxy.profile.columns import ArrayColumn, Batch, Column, NumberColumn, TextColumn, number_text
from guardproxy.profile.learn import MAX_FIELDS, is_writable
from guardproxy.rules.model import FINITE_RULE
from guardproxy.table import Cell, Table

STRETCH_ROWS: Final = 8_192
TIME: Final = "\0at"
"""The column of the times at which rows were seen, Unix seconds; no message can name a feature so."""

UNANSWERED: Final = "unanswered"
NOT_FINITE: Final = "not finite"

_FIT: Final = frozenset(outcome.name.lower() for outcome in (Outcome.ALLOWED, Outcome.WARNED))


@dataclass(slots=True)
class Survey:
    """What was recorded of one model: its rows, how many are fit, and why the others are not, by word.

    `features` and `outputs` are the fields of the fit rows in the order in which they came, at most MAX_FIELDS each;
    `beyond` counts those that came later, or whose name no profile can hold: clients name what they like. Redacted fields are in none of them but in `redacted`.
    """

    rows: int = 0
    fit: int = 0
    unfit: Counter[str] = field(default_factory=Counter)
    redacted: set[str] = field(default_factory=set)
    beyond: int = 0
    first: float = np.inf
    last: float = -np.inf
    _features: dict[str, None] = field(default_factory=dict)
    _outputs: dict[str, None] = field(default_factory=dict)

    @property
    def features(self) -> tuple[str, ...]:
        """The features that can be learned."""
        return tuple(name for name in self._features if f"features.{name}" not in self.redacted)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that can be learned."""
        return tuple(name for name in self._outputs if f"output.{name}" not in self.redacted)

    def add(self, record: Recorded) -> None:
        """Count a record in."""
        rows, unfit = fit_rows(record)
        self.rows += record.features.rows
        self.fit += len(rows)
        self.unfit += unfit
        self.redacted.update(record.redacted)
        if rows and record.predictions is not None:
            self.first, self.last = min(self.first, record.at), max(self.last, record.at)
            self._know(self._features, record.features.fields)
            self._know(self._outputs, record.predictions.fields)

    def _know(self, known: dict[str, None], names: Sequence[str]) -> None:
        for name in names:
            if name not in known:
                if is_writable(name) and len(known) < MAX_FIELDS:
                    known[name] = None
                else:
                    self.beyond += 1


def survey(records: Iterable[Recorded]) -> Survey:
    """Go through the records once and count."""
    found = Survey()
    for record in records:
        found.add(record)
    return found


def fit_rows(record: Recorded) -> tuple[list[int], Counter[str]]:
    """Return the rows of a record that are fit to be learned from, and how many of the others there are by word."""
    answered = record.predictions is not None and record.predictions.rows == record.features.rows
    broken = frozenset(record.violated.get(FINITE_RULE, ()))
    words = [_word(outcome, row in broken, answered) for row, outcome in enumerate(record.outcomes)]
    return [row for row, word in enumerate(words) if not word], Counter(word for word in words if word)


def stretches(records: Iterable[Recorded], space: str, names: tuple[str, ...]) -> Iterator[Batch]:
    """Yield the fit rows in the order in which they came, as columns of `features` or of the `output`, with TIME beside.

    A field that a message lacks is missing in its rows.
    """
    cells: dict[str, list[Cell]] = {name: [] for name in names}
    times: list[float] = []
    latest = -np.inf
    for record in records:
        rows, _ = fit_rows(record)
        table = record.features if space == "features" else record.predictions
        if not rows or table is None:
            continue
        for name in names:
            cells[name] += _cells(table, name, rows)
        # Exchanges that overlap come in an order that differs by what one took.
        latest = max(latest, record.at)
        times += [latest] * len(rows)
        if len(times) >= STRETCH_ROWS:
            yield _batch(cells, times)
            cells, times = {name: [] for name in names}, []
    if times:
        yield _batch(cells, times)


def _word(outcome: str, broken: bool, answered: bool) -> str:
    if outcome not in _FIT:
        return outcome
    if not answered:
        return UNANSWERED
    return NOT_FINITE if broken else ""


def _cells(table: Table, name: str, rows: Sequence[int]) -> Sequence[Cell]:
    column = table.column(name)
    return column if len(rows) == table.rows else [column[row] for row in rows]


def _batch(cells: dict[str, list[Cell]], times: list[float]) -> Batch:
    return {**{name: _column(one) for name, one in cells.items()}, TIME: NumberColumn(np.array(times))}


def _column(cells: Sequence[Cell]) -> Column:
    kinds = {type(cell) for cell in cells}
    if kinds <= {float, int, type(None)}:
        return NumberColumn(np.array([np.nan if cell is None else _float(cell) for cell in cells]))
    if kinds <= {tuple, type(None)}:
        return _arrays(cells)
    codes: dict[str, int] = {}
    found = [-1 if cell is None else codes.setdefault(_text(cell), len(codes)) for cell in cells]
    # A text that was sent as one is no number, whatever it looks like; yes and no are read by their words.
    return TextColumn(np.array(found, dtype=np.int32), tuple(codes), literal=bool not in kinds)


def _arrays(cells: Sequence[Cell]) -> ArrayColumn:
    rows = [cell if isinstance(cell, tuple) else () for cell in cells]
    ends = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    members = [np.nan if member is None else _float(member) for row in rows for member in row]
    missing = np.array([cell is None for cell in cells], dtype=np.bool_)
    return ArrayColumn(np.array(members, dtype=np.float64), ends, missing)


def _float(cell: Cell) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]
    except OverflowError:
        return np.inf


def _text(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return number_text(float(cell)) if isinstance(cell, int | float) else str(cell)
