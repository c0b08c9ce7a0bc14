"""The learner: one pass over reference data in bounded memory, and the profile that comes of it.

Decides which rows are fitted and which are held back, how the false-alarm budget is divided among fields, and what
happens when the held-back rows disagree. How a column is summarised is left to `columns`, where its bounds stand to
`fit`.

Held-back rows in one pass. Rows wait in a delay line of the most recent HOLD_BACK rows and are summarised only when
newer ones push them out. When the data ends, the newest fifth of all rows (the delay line at most) is still unseen by
the fit: it checks the bounds, and loosens those it breaks. Then these rows are summarised as well and the bounds are
fitted once more over everything; each final bound is at least as loose as the checked one, so the share of rows that
the held-back rows proved cannot be exceeded by it. File order is read as time order.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from guardproxy.profile.check import compile_check
from guardproxy.profile.columns import (
    Batch,
    Column,
    FieldSummary,
    NumberColumn,
    NumberSummary,
    cells_of,
    number_text,
)
from guardproxy.profile.document import stamp
from guardproxy.profile.fit import TIMESTAMP, UNENFORCED, Budget, Slack, fit_field, kind_of, loosest
from guardproxy.profile.limits import Position
from guardproxy.profile.model import (
    CONFIDENCE,
    Calibration,
    FieldKind,
    FieldProfile,
    Profile,
    Provenance,
    Role,
)
from guardproxy.profile.tails import share_upper_bound
from guardproxy.table import Cell, Floats, Table, table_from_columns

MIN_ROWS: Final = 100
HOLD_BACK: Final = 20_000
HOLD_BACK_SHARE: Final = 0.2
RESERVOIR: Final = 50_000
MAX_FIELDS: Final = 4_000
"""So many fields still make a document that may be read back (see `source`)."""

_MAX_CELLS: Final = 10_000_000
_ROUNDS: Final = 7


@dataclass(slots=True)
class _Span:
    """Some rows of the data, by column."""

    columns: Batch
    rows: int

    def cut(self, at: int) -> tuple["_Span", "_Span"]:
        """Split before row `at`."""
        head = {name: column.slice(0, at) for name, column in self.columns.items()}
        tail = {name: column.slice(at, self.rows) for name, column in self.columns.items()}
        return _Span(head, at), _Span(tail, self.rows - at)


@dataclass(slots=True)
class _Fit:
    """The fields of one role, fitted, with the room that the held-back rows asked for."""

    fields: dict[str, FieldProfile]
    slack: dict[str, Slack] = field(default_factory=dict)
    calibration: Calibration | None = None


class Learner:
    """Learns a profile from batches of rows, in file order, in one pass.

    Every column but `time` is a feature; those in `target` are outputs and those in `keys` are keys. `alpha` is the
    share of clean rows that may be flagged. `rng` feeds the reservoir from which quantiles are read.
    """

    def __init__(
        self,
        model: str,
        *,
        rng: np.random.Generator,
        target: tuple[str, ...] = (),
        keys: tuple[str, ...] = (),
        time: str | None = None,
        alpha: float = 0.001,
    ) -> None:
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha:g}")
        self.model = model
        self.alpha = alpha
        self.rows = 0
        self.notes: list[str] = []
        self._rng = rng
        self._target, self._keys, self._time = target, keys, time
        self._summaries: dict[str, FieldSummary] = {}
        self._clock = _Clock()
        self._reservoir: Floats = np.empty((0, 0))
        self._fitted = 0
        self._waiting: deque[_Span] = deque()
        self._waiting_rows = 0

    def update(self, batch: Batch) -> None:
        """Add rows in file order. Every batch must have the columns of the first, all of one length."""
        if not self._summaries:
            self._start(batch)
        rows = {_length(column) for column in batch.values()}
        if len(rows) != 1 or self._summaries.keys() != batch.keys() - {self._time}:
            raise ValueError("a batch must have the columns of the first one, all of one length")
        count = rows.pop()
        if self._time is not None:
            self._clock.update(batch[self._time])
        self.rows += count
        self._waiting.append(_Span({name: batch[name] for name in self._summaries}, count))
        self._waiting_rows += count
        self._release(self._delay)

    def finish(self, provenance: Provenance) -> Profile:
        """Fit, check on the held-back rows, fit again over all rows, and return the profile.

        Raises ValueError when there are fewer than MIN_ROWS rows. `notes` then holds what a person should know.
        """
        if self.rows < MIN_ROWS:
            raise ValueError(f"{self.rows} rows are too few to learn from; {MIN_ROWS} are needed")
        self._release(min(self._delay, int(HOLD_BACK_SHARE * self.rows)))
        held = list(self._waiting)
        fits = {role: self._checked(role, held) for role in (Role.FEATURE, Role.OUTPUT)}
        self._release(0)
        final = {role: self._final(role, fit) for role, fit in fits.items()}
        keys = self._fit(Role.KEY, {})
        features = {name: (final[Role.FEATURE] | keys)[name] for name in self._names(Role.FEATURE, Role.KEY)}
        self._judge_order()
        return stamp(
            Profile(
                model=self.model,
                version="",
                rows=self.rows,
                alpha=self.alpha,
                features=features,
                outputs=final[Role.OUTPUT],
                keys=self._names(Role.KEY),
                provenance=replace(provenance, rows=self.rows),
                calibration=fits[Role.FEATURE].calibration,
                output_calibration=fits[Role.OUTPUT].calibration,
            )
        )

    def _start(self, batch: Batch) -> None:
        known = [name for name in batch if name != self._time]
        wanted = (*self._target, *self._keys, *((self._time,) if self._time is not None else ()))
        absent = [name for name in wanted if name not in batch]
        if absent or not known or len(known) > MAX_FIELDS:
            raise ValueError(
                f"no column {absent[0]!r}" if absent else f"{len(known)} columns, expected 1 to {MAX_FIELDS}"
            )
        self._summaries = {name: FieldSummary() for name in known}
        share = _MAX_CELLS // len(known)
        self._delay = min(HOLD_BACK, max(1_000, share))
        self._reservoir = np.empty((len(known), min(RESERVOIR, max(1_000, share))))

    def _release(self, keep: int) -> None:
        """Summarise the oldest waiting rows until `keep` are left."""
        while self._waiting_rows > keep:
            span = self._waiting.popleft()
            excess = self._waiting_rows - keep
            if span.rows > excess:
                span, rest = span.cut(excess)
                self._waiting.appendleft(rest)
            self._waiting_rows -= span.rows
            self._summarise(span)

    def _summarise(self, span: _Span) -> None:
        capacity = self._reservoir.shape[1]
        # Row i stays with probability capacity / (i + 1), in a random slot (Waterman's Algorithm R; Vitter 1985).
        order = np.arange(self._fitted, self._fitted + span.rows)
        slots = np.where(
            order < capacity, order, (self._rng.random(span.rows) * (order + 1)).astype(np.int64)
        )
        taken = np.flatnonzero(slots < capacity)
        for position, (name, summary) in enumerate(self._summaries.items()):
            numbers = summary.update(span.columns[name])
            self._reservoir[position, slots[taken]] = numbers[taken]
        self._fitted += span.rows

    def _names(self, *roles: Role) -> tuple[str, ...]:
        return tuple(name for name in self._summaries if self._role(name) in roles)

    def _role(self, name: str) -> Role:
        if name in self._target:
            return Role.OUTPUT
        return Role.KEY if name in self._keys else Role.FEATURE

    def _fit(self, role: Role, slack: Mapping[str, Slack]) -> dict[str, FieldProfile]:
        names = self._names(role)
        enforced = sum(kind_of(self._summaries[name]) not in UNENFORCED for name in names)
        budget = Budget(self.alpha, self.alpha / max(1, enforced))
        positions = {name: position for position, name in enumerate(self._summaries)}
        filled = min(self._fitted, self._reservoir.shape[1])
        return {
            name: fit_field(
                name,
                role,
                self._summaries[name],
                self._reservoir[positions[name], :filled],
                budget,
                slack.get(name, Slack()),
            )
            for name in names
        }

    def _checked(self, role: Role, held: list[_Span]) -> _Fit:
        """Fit the older rows, and loosen the bounds until the held-back rows agree or nothing helps any more."""
        fit = _Fit(self._fit(role, {}))
        if not fit.fields or not held:
            return fit
        tables = [_table(span, fit.fields) for span in held]
        rows = sum(table.rows for table in tables)
        for _ in range(_ROUNDS):
            flagged, broken = _flagged(fit.fields, tables)
            if _acceptable(flagged, rows, self.alpha):
                break
            fit.slack = _loosen(fit.slack, broken)
            fit.fields = self._fit(role, fit.slack)
        flagged, _ = _flagged(fit.fields, tables)
        upper = float(f"{share_upper_bound(flagged, rows, CONFIDENCE):.4g}")
        fit.calibration = Calibration(rows, flagged, upper, _describe(fit.slack))
        return fit

    def _final(self, role: Role, fit: _Fit) -> dict[str, FieldProfile]:
        refitted = self._fit(role, fit.slack)
        return {name: loosest(fit.fields[name], fitted) for name, fitted in refitted.items()}

    def _judge_order(self) -> None:
        if self._clock.unreadable:
            self.notes.append(
                f"{self._time!r} holds neither numbers nor ISO 8601, so the order of the rows was not checked"
            )
        elif self._clock.falls > 0.01 * self.rows:
            self.notes.append(
                f"the rows are not in order of {self._time!r}: the held-back rows are the last of the file, "
                "not the most recent; sort the file by time"
            )


class _Clock:
    """Counts how often the time column goes back. Of texts only ISO 8601 is in order when it is sorted."""

    def __init__(self) -> None:
        self.falls = 0
        self.unreadable = False
        self._numbers = NumberSummary()
        self._last = ""

    def update(self, column: Column) -> None:
        if isinstance(column, NumberColumn):
            self._numbers.update(column.values[np.isfinite(column.values)])
            self.falls = self._numbers.falls
            return
        codes = column.codes[column.codes >= 0]
        self.unreadable |= any(TIMESTAMP.fullmatch(text) is None for text in column.values[:100])
        if self.unreadable or not len(codes):
            return
        ranks = np.argsort(np.argsort(np.array(column.values)))[codes]
        self.falls += int(np.count_nonzero(ranks[1:] < ranks[:-1])) + (column.values[codes[0]] < self._last)
        self._last = column.values[codes[-1]]


def _acceptable(flagged: int, rows: int, alpha: float) -> bool:
    """Decide whether the held-back rows agree with the bounds.

    With enough rows the share's upper bound must be within alpha; with fewer, where not even zero flagged rows
    could prove that, the counted share must be.
    """
    if share_upper_bound(0, rows, CONFIDENCE) <= alpha:
        return share_upper_bound(flagged, rows, CONFIDENCE) <= alpha
    return flagged <= int(alpha * rows)


def _flagged(fields: Mapping[str, FieldProfile], tables: list[Table]) -> tuple[int, dict[str, set[Position]]]:
    """Return how many rows lie outside, and which positions each field was found in."""
    check = compile_check(fields)
    flagged = 0
    broken: dict[str, set[Position]] = {}
    for table in tables:
        bound = check.bind(table.fields)
        codes = bound.outside(table)
        if codes is None:
            continue
        flagged += int(codes.any(axis=0).sum())
        for name, row in zip(bound.fields, codes, strict=True):
            found = {Position(int(code)) for code in np.unique(row)} - {Position.INSIDE}
            if found:
                broken.setdefault(name, set()).update(found)
    return flagged, broken


def _loosen(slack: Mapping[str, Slack], broken: Mapping[str, set[Position]]) -> dict[str, Slack]:
    looser = dict(slack)
    for name, positions in broken.items():
        now = looser.get(name, Slack())
        looser[name] = Slack(
            low=now.low + (Position.BELOW in positions),
            high=now.high + (Position.ABOVE in positions),
            length=now.length + (Position.TOO_LONG in positions),
            opened=now.opened or Position.UNSEEN in positions,
            optional=now.optional or bool(positions & {Position.MISSING, Position.ABSENT}),
            fractional=now.fractional or Position.NOT_WHOLE in positions,
        )
    return looser


def _describe(slack: Mapping[str, Slack]) -> tuple[str, ...]:
    words: list[str] = []
    for name, room in slack.items():
        sides = (("low", room.low), ("high", room.high), ("length", room.length))
        words += [f"{name}.{side} x{2**times}" for side, times in sides if times]
        facts = (
            ("set opened", room.opened),
            ("may be missing", room.optional),
            ("fractions", room.fractional),
        )
        words += [f"{name} {fact}" for fact, given in facts if given]
    return tuple(words)


def _table(span: _Span, fields: Mapping[str, FieldProfile]) -> Table:
    return table_from_columns({name: _cells(span.columns[name], fields[name]) for name in fields}, span.rows)


def _cells(column: Column, profile: FieldProfile) -> tuple[Cell, ...]:
    """Return cells as a client would send them: stray texts of a number field are missing, yes and no are booleans."""
    cells = cells_of(column)
    if profile.kind in {FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.IDENTIFIER}:
        if isinstance(column, NumberColumn):
            return cells
        return tuple(cell if isinstance(cell, float) else None for cell in cells)
    if profile.kind is FieldKind.BOOLEAN:
        return tuple(cell.lower() == "true" if isinstance(cell, str) else cell for cell in cells)
    if profile.kind in {FieldKind.CATEGORY, FieldKind.TEXT}:
        return tuple(number_text(cell) if isinstance(cell, float) else cell for cell in cells)
    return cells


def _length(column: Column) -> int:
    return len(column.values) if isinstance(column, NumberColumn) else len(column.codes)
