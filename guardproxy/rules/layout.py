"""Where each name of a phase's expressions finds its value: one list of cells per row, one list of columns per table.

Decides that cells are gathered once per row for all rules, and only those that some rule reads. The slots belong to
the ruleset, so that its generated functions serve every message; where a message keeps the cells is a `Layout`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.rules.language import (
    Column,
    Program,
    Ref,
    column_from_cells,
    column_from_table,
    constant_column,
)
from guardproxy.rules.model import View
from guardproxy.rules.past import OneRow
from guardproxy.table import Cell, Table

By: TypeAlias = tuple[str, ...]
Wanted: TypeAlias = tuple[Ref, By]

_WIDE: Final = 4
"""A table with this many times more fields than are wanted has them picked in numpy before they become cells."""

_SPACES: Final = ("features", "output", "request", "recent", "batch", "previous", "usual")
_PAST: Final = ("previous", "usual")
"""Spaces whose names are kept with the fields that name their entity."""


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """The places of a phase's names in a list of cells, whatever the message looks like.

    The slot behind the last name is always missing. With `whole`, all predictions of a message follow it. A name of
    the past is kept with the fields that name its entity, `()` where that is the route's key.
    """

    order: tuple[Wanted, ...]
    places: Mapping[Wanted, int]
    whole: bool

    @property
    def missing(self) -> int:
        """The slot that is always missing."""
        return len(self.order)

    def of(self, program: Program, by: By) -> dict[Ref, int]:
        """Return the slot of each name that a program reads."""
        return {ref: self.slot(ref, by) for ref in program.refs}

    def slot(self, ref: Ref, by: By = ()) -> int:
        """Return the slot of a name."""
        return self.places.get((ref, by if ref.space in _PAST else ()), self.missing)

    def names(self, space: str) -> tuple[str, ...]:
        """Return the wanted names of a space, in the order of their slots."""
        return tuple(ref.name for ref, _ in self.order if ref.space == space)


def make_slots(wanted: Iterable[Wanted], *, whole: bool) -> Slots:
    """Give a slot to each wanted name."""
    unique = dict.fromkeys((ref, by if ref.space in _PAST else ()) for ref, by in wanted)
    known = [one for one in unique if one[0].space in _SPACES]
    order = tuple(sorted(known, key=lambda one: (_SPACES.index(one[0].space), one[1])))
    return Slots(order, {one: place for place, one in enumerate(order)}, whole)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where a message with certain fields keeps the cells of each slot.

    `features` (and `kept`, the same for single rows) picks the wanted features where the message has many more.
    `picks` gives, for the slots of fields, the position in a row's features followed by its predictions and by
    a missing cell; `exact` the slots of each field whose cells a block may not be able to say. `facts`, `recents` and
    `batches` are the same for all rows of an exchange.
    """

    slots: Slots
    features: NDArray[np.intp] | None
    kept: tuple[int, ...]
    outputs: bool
    picks: tuple[int, ...]
    whole_picks: tuple[int, ...]
    exact: tuple[Mapping[str, tuple[int, ...]], Mapping[str, tuple[int, ...]]]
    facts: tuple[str, ...]
    recents: tuple[str, ...]
    batches: tuple[str, ...]
    past: tuple[tuple[By, tuple[str, ...]], ...]
    usual: tuple[tuple[By, Ref], ...]

    def one(self, view: View) -> Sequence[Cell]:
        """Gather the cells of a view of one row, None where missing."""
        features, output = view.features, view.output
        if not features.complete or self.past or self.usual or (self.outputs and not _answers(view).complete):
            return self.rows(view)[0]
        row: list[Cell] = list(features.single())
        if self.features is not None:
            row = [row[at] for at in self.kept]
        if self.outputs and output is not None:
            row += output.single()
        row.append(None)
        cells = [row[at] for at in self.picks]
        if self.facts:
            cells += [getattr(view.facts, name) for name in self.facts]
        if self.recents or self.batches:
            cells += self._shared(view)
        cells.append(None)
        if self.whole_picks:
            cells += [row[at] for at in self.whole_picks]
        return cells

    def rows(self, view: View) -> list[list[Cell]]:
        """Gather the cells of every row, None where missing."""
        block = view.features.block if self.features is None else view.features.block[self.features]
        gathered: list[list[Cell]] = block.T.tolist()
        if self.outputs:
            for row, more in zip(gathered, _answers(view).block.T.tolist(), strict=True):
                row += more
        tail: list[Cell] = [getattr(view.facts, name) for name in self.facts]
        tail += self._shared(view)
        picks, whole = self.picks, self.whole_picks
        usual = [usual_cells(view, by, ref) for by, ref in self.usual]
        rows: list[list[Cell]] = []
        for number, row in enumerate(gathered):
            row.append(None)
            cells = [None if (cell := row[at]) != cell else cell for at in picks]
            cells += tail
            for by, names in self.past:
                before = view.previous(by, number) or {}
                cells += [before.get(name) for name in names]
            cells += [column[number] for column in usual]
            cells.append(None)
            if whole:
                cells += [None if (cell := row[at]) != cell else cell for at in whole]
            rows.append(cells)
        if view.features.exact:
            _place(view.features, self.exact[0], rows)
        if self.outputs and _answers(view).exact:
            _place(_answers(view), self.exact[1], rows)
        return rows

    def columns(self, view: View) -> list[Column]:
        """Gather the columns, one per slot; those of whole predictions are left to the checks that look at them."""
        rows = view.features.rows
        columns = [column_from_table(view.features, name) for name in self.slots.names("features")]
        columns += [column_from_table(_answers(view), name) for name in self.slots.names("output")]
        columns += [constant_column(getattr(view.facts, name), rows) for name in self.facts]
        columns += [constant_column(cell, rows) for cell in self._shared(view)]
        for by, names in self.past:
            before = [view.previous(by, row) or {} for row in range(rows)]
            columns += [column_from_cells([past.get(name) for past in before]) for name in names]
        columns += [column_from_cells(usual_cells(view, by, ref)) for by, ref in self.usual]
        columns.append(constant_column(None, rows))
        return columns

    def _shared(self, view: View) -> list[Cell]:
        """Return what rolling and batch functions give, the same for every row."""
        cells = [view.recent.get(name) for name in self.recents]
        if self.batches:
            if view.batch is None:
                raise ValueError("what batch functions give must be worked out first")
            cells += [view.batch.get(name) for name in self.batches]
        return [None if cell != cell else cell for cell in cells]


def make_layout(slots: Slots, features: tuple[str, ...], outputs: tuple[str, ...], key: By) -> Layout:
    """Find the fields of a message for slots. `key` names the entity where a rule does not."""
    named = slots.names("features")
    positions = [features.index(name) for name in named if name in features]
    wide = len(features) > _WIDE * max(1, len(positions))
    kept = tuple(features[at] for at in positions) if wide else features
    reads = bool(slots.names("output")) or slots.whole
    answers = outputs if reads else ()
    missing = len(kept) + len(answers)
    picks = [kept.index(name) if name in kept else missing for name in named]
    picks += [
        len(kept) + answers.index(name) if name in answers else missing for name in slots.names("output")
    ]
    whole = tuple(range(len(kept), missing)) if slots.whole else ()
    return Layout(
        slots,
        np.array(positions, dtype=np.intp) if wide else None,
        tuple(positions),
        reads,
        tuple(picks),
        whole,
        (_exact(slots, "features", ()), _exact(slots, "output", answers if slots.whole else ())),
        slots.names("request"),
        slots.names("recent"),
        slots.names("batch"),
        _past(slots, key),
        tuple((by or key, ref) for ref, by in slots.order if ref.space == "usual"),
    )


def one_row(view: View, row: int) -> View:
    """Return a view of one row alone."""
    if view.features.rows == 1:
        return view

    def previous(by: By, _: int) -> Mapping[str, Cell] | None:
        return view.previous(by, row)

    output = None if view.output is None else row_table(view.output, row)
    past = None if view.past is None else OneRow(view.past, row)
    times = None if view.times is None else view.times[row : row + 1]
    features = row_table(view.features, row)
    return view._replace(features=features, output=output, previous=previous, past=past, times=times)


def row_table(table: Table, row: int) -> Table:
    """Return one row of a table as a table."""
    exact = {name: (cells[row],) for name, cells in table.exact.items()}
    return Table(table.fields, 1, table.block[:, row : row + 1], exact)


def usual_cells(view: View, by: By, ref: Ref) -> Sequence[Cell]:
    """Return by row what is usual of an output of its entity: the value, the spread, and the distance that may be.

    None where one of them is not known. `ref` names the output, and as its statistic the share of false alarms.
    """
    past = view.past
    limit = None if past is None else past.limit(by, ref.name, float(ref.stat))
    if past is None or limit is None:
        return (None,) * view.features.rows
    return [None if one is None else (one.value, one.spread, limit) for one in past.usual(by, ref.name)]


def _exact(slots: Slots, space: str, whole: Sequence[str]) -> Mapping[str, tuple[int, ...]]:
    """Return the slots of each field of a space."""
    found: dict[str, tuple[int, ...]] = {}
    for place, (ref, _) in enumerate(slots.order):
        if ref.space == space:
            found[ref.name] = (place,)
    for place, name in enumerate(whole, start=slots.missing + 1):
        found[name] = (*found.get(name, ()), place)
    return found


def _past(slots: Slots, key: By) -> tuple[tuple[By, tuple[str, ...]], ...]:
    grouped: dict[By, list[str]] = {}
    for ref, by in slots.order:
        if ref.space == "previous":
            grouped.setdefault(by, []).append(ref.name)
    return tuple((by or key, tuple(names)) for by, names in grouped.items())


def _place(table: Table, slots: Mapping[str, tuple[int, ...]], rows: list[list[Cell]]) -> None:
    """Put what the block cannot say into the gathered cells."""
    for name, cells in table.exact.items():
        for slot in slots.get(name, ()):
            for row, cell in zip(rows, cells, strict=True):
                row[slot] = cell


def _answers(view: View) -> Table:
    if view.output is None:
        raise ValueError("rules that read predictions need the response")
    return view.output
