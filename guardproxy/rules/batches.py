"""What `batch_*` functions give over the rows of an exchange, once per exchange.

Decides whether their arguments are run row by row or as columns; both give the same. What an aggregate makes of its
argument's values is left to the language.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from guardproxy.rules.language import (
    Aggregate,
    Column,
    LanguageError,
    Ref,
    aggregate,
    aggregate_cells,
    scalar,
    vector,
)
from guardproxy.rules.layout import By, Layout, Slots, make_layout, make_slots
from guardproxy.rules.model import View
from guardproxy.table import Cell

COLUMNS_FROM: Final = 64
"""From about this many rows on numpy beats one generated function call per row."""

Row: TypeAlias = Callable[[Sequence[Cell]], Cell]
Columns: TypeAlias = Callable[[Sequence[Column], int], Column]


class BatchFunction(NamedTuple):
    """One aggregate over the rows of an exchange: its spelling, its function, and its argument in both forms."""

    spelling: str
    function: str
    row: Row
    columns: Columns


@dataclass(frozen=True, slots=True, eq=False)
class CompiledBatches:
    """The aggregates of some expressions and the slots that their arguments read."""

    slots: Slots
    each: tuple[BatchFunction, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """Aggregates on one message's fields."""

    layout: Layout
    each: tuple[BatchFunction, ...]

    def into(self, view: View) -> View:
        """Return the view with what each aggregate gives, worked out where it is not in there yet."""
        known = view.batch
        if known is not None and all(one.spelling in known for one in self.each):
            return view
        return view._replace(batch={**(known or {}), **self.values(view)})

    def values(self, view: View) -> dict[str, Cell]:
        """Return what each aggregate gives over the rows of a view, by its spelling."""
        if not self.each:
            return {}
        rows = view.features.rows
        if rows >= COLUMNS_FROM:
            columns = self.layout.columns(view)
            return {
                one.spelling: aggregate(one.function, one.columns(columns, rows), rows) for one in self.each
            }
        gathered = [self.layout.one(view)] if rows == 1 else self.layout.rows(view)
        return {
            one.spelling: aggregate_cells(one.function, [_run(one.row, cells) for cells in gathered])
            for one in self.each
        }


def compile_batches(found: Iterable[Mapping[Ref, Aggregate]]) -> CompiledBatches:
    """Compile the batch functions among aggregates. An argument that looks back does so by the route's own key."""
    unique = {ref: one for some in found for ref, one in some.items() if ref.space == "batch"}
    slots = make_slots(((ref, ()) for one in unique.values() for ref in one.argument.refs), whole=False)
    each = [
        BatchFunction(
            ref.name,
            one.function,
            scalar(one.argument, slots.of(one.argument, ())),
            vector(one.argument, slots.of(one.argument, ())),
        )
        for ref, one in unique.items()
    ]
    return CompiledBatches(slots, tuple(each))


def bind_batches(
    compiled: CompiledBatches, features: tuple[str, ...], outputs: tuple[str, ...], key: By
) -> Batches:
    """Place aggregates on a message's field names."""
    return Batches(make_layout(compiled.slots, features, outputs, key), compiled.each)


def _run(row: Row, cells: Sequence[Cell]) -> Cell | LanguageError:
    try:
        return row(cells)
    except LanguageError as error:
        return error
