"""What `recent_*` functions need to be counted of the rows that pass: one tally per argument, whatever the windows.

Decides which rolling functions can be counted, and that those with the same argument share a tally. What a tally holds is left
to `recent_tally`, which rows make up a window to `rolling`; when rows are counted, to the proxy.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from guardproxy.decision import RequestFacts
from guardproxy.rules.language import ERROR, NO, YES, Aggregate, Column, LanguageError, Program, spell, vector
from guardproxy.rules.language.nodes import KpiValue, Name, Within, children
from guardproxy.rules.language.semantics import real
from guardproxy.rules.layout import Layout, Slots, make_layout, make_slots
from guardproxy.rules.model import MAX_RECENTS, View
from guardproxy.stats.recent_tally import TALLIES, AnyTally, FlagTally
from guardproxy.table import Floats, Table

COUNTED: Final = frozenset({"features", "output"})
"""An argument that reads anything else cannot be counted: rows of many requests have no one time and no past."""

_NOWHEN: Final = RequestFacts(0.0, 0, 0, "")


class Rolled(NamedTuple):
    """One rolling function of a model: how rules spell it, and the key under which its argument is counted."""

    spelling: str
    key: str
    function: str
    window_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Argument:
    key: str
    columns: Callable[[Sequence[Column], int], Column]
    reads_output: bool
    make: Callable[[], AnyTally]


@dataclass(frozen=True, slots=True, eq=False)
class Recents:
    """The rolling functions of a model, ready to be bound to a message's fields.

    `left_out` says of each function that is not counted, by its spelling, why.
    """

    each: tuple[Rolled, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    slots: Slots = field(default_factory=lambda: make_slots((), whole=False))
    arguments: tuple[_Argument, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """What is counted: 16 hex digits of what an argument computes and what is kept of it."""
        return tuple(one.key for one in self.arguments)

    def bind(self, features: tuple[str, ...], outputs: tuple[str, ...] | None) -> "BoundRecents":
        """Place the arguments on a message's field names. `outputs` is None where there was no usable response."""
        used = tuple(one for one in self.arguments if outputs is not None or not one.reads_output)
        return BoundRecents(make_layout(self.slots, features, outputs or (), ()), used, self.arguments)


@dataclass(frozen=True, slots=True, eq=False)
class BoundRecents:
    """Rolling functions' arguments on one message's fields."""

    layout: Layout
    used: tuple[_Argument, ...]
    all: tuple[_Argument, ...]

    def tallied(self, features: Table, predictions: Table | None) -> dict[str, AnyTally]:
        """Count rows, those of many exchanges together; return what is to be added, by key.

        Every key is there, with nothing in it where the argument reads predictions and there are none: so a key that is not
        there was not counted.
        """
        found = {one.key: one.make() for one in self.all}
        if self.used and features.rows:
            output = (
                Table((), features.rows, np.empty((0, features.rows))) if predictions is None else predictions
            )
            gathered = self.layout.columns(View(features, output, _NOWHEN, _no_past))
            for one in self.used:
                _count(found[one.key], one.columns(gathered, features.rows), features.rows)
        return found


NO_RECENTS: Final = Recents()


def compile_recents(found: Mapping[str, Aggregate]) -> Recents:
    """Compile what `Ruleset.recents` names. Of more than MAX_RECENTS arguments the first are counted."""
    left_out: dict[str, str] = {}
    programs: dict[str, tuple[Program, str]] = {}
    each: list[Rolled] = []
    for spelling, one in found.items():
        other = sorted({ref.space for ref in one.argument.refs} - COUNTED)
        key = _key(one)
        if other:
            left_out[spelling] = f"its argument reads {other[0]}, which is not known of rows of many requests"
        elif key not in programs and len(programs) >= MAX_RECENTS:
            left_out[spelling] = f"a model has at most {MAX_RECENTS} different arguments of rolling functions"
        else:
            programs[key] = (one.argument, one.function)
            each.append(Rolled(spelling, key, one.function, one.window_s or 0.0))
    slots = make_slots(((ref, ()) for program, _ in programs.values() for ref in program.refs), whole=False)
    arguments = tuple(
        _Argument(
            key,
            vector(program, slots.of(program, ())),
            any(ref.space == "output" for ref in program.refs),
            TALLIES[function],
        )
        for key, (program, function) in programs.items()
    )
    return Recents(tuple(each), left_out, slots, arguments)


def _key(one: Aggregate) -> str:
    """Return a digest of all that an argument computes: a rule file's change of anything else keeps what was counted."""
    sort = TALLIES[one.function].__name__
    return hashlib.sha256("\n".join((sort, *_said(one.argument))).encode()).hexdigest()[:16]


def _said(program: Program) -> Iterator[str]:
    """Yield an argument's text, what it takes from the profile and from lists, and the KPIs that it stands on."""
    yield spell(program)
    waiting = [program.tree]
    while waiting:
        node = waiting.pop()
        waiting += children(node)
        if isinstance(node, Name) and node.ref.space == "profile":
            yield repr(node.constant)
        elif isinstance(node, Within) and node.members is not None:
            members = node.members
            yield repr([sorted(members.numbers), sorted(members.texts), sorted(members.flags)])
        elif isinstance(node, KpiValue):
            yield from _said(node.program)


def _count(tally: AnyTally, column: Column, rows: int) -> None:
    if isinstance(tally, FlagTally):
        _count_flags(tally, column, rows)
    else:
        numbers, tally_failed = _numbers(column, rows)
        tally.failed += tally_failed
        tally.add(numbers)


def _count_flags(tally: FlagTally, column: Column, rows: int) -> None:
    if column.codes is not None:
        tally.yes += int((column.codes == YES).sum())
        tally.no += int((column.codes == NO).sum())
        tally.failed += int((column.codes == ERROR).sum())
        return
    for row in range(rows):
        cell = column.cell(row)
        if column.failed(row) or not (cell is None or isinstance(cell, bool)):
            tally.failed += 1
        elif cell is not None:
            tally.yes += cell
            tally.no += not cell


def _numbers(column: Column, rows: int) -> tuple[Floats, int]:
    """Return the numbers of a column, without those that are missing, and in how many rows kinds clashed."""
    if column.codes is None and column.objects is None:
        known = ~np.isnan(column.numbers)
        if column.errors is None:
            return column.numbers[known], 0
        return column.numbers[known & ~column.errors], int(column.errors.sum())
    found: list[float] = []
    failed = 0
    for row in range(rows):
        try:
            value = None if column.failed(row) else real(column.cell(row))
        except LanguageError:
            failed += 1
            continue
        failed += column.failed(row)
        if value is not None and value == value:
            found.append(value)
    return np.array(found, dtype=np.float64), failed


def _no_past(by: tuple[str, ...], row: int) -> None:  # noqa: ARG001
    return None
