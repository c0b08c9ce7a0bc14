"""Why a check is violated, in one sentence per kind of check, and how values are written for people.

Decides the words. Which verdict a sentence is for, and what stands beside it, is left to `report`.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final, TypeAlias

from guardproxy.rules.compiled import Programs
from guardproxy.rules.language import LanguageError, Program, Ref, interpret
from guardproxy.rules.model import FINITE_RULE
from guardproxy.rules.plan import PlannedRule
from guardproxy.rules.texts import SENTENCES as TEXT_SENTENCES
from guardproxy.table import Cell

MAX_NAMED: Final = 3
MANY_DIGITS: Final = 10**21

Lookup: TypeAlias = Callable[[Ref], Cell]
Measured: TypeAlias = tuple[tuple[str, Cell], ...]


def evaluate(program: Program, lookup: Lookup) -> Cell:
    """Return an expression's value on one row, None where it cannot be had."""
    try:
        return interpret(program, lookup)
    except LanguageError:
        return None


def spelled(ref: Ref) -> str:
    """Write a name as an expression does; a batch or rolling function stands as its call."""
    return ref.name if ref.space in {"batch", "recent"} else str(ref)


def show(cell: Cell) -> str:
    """Write a cell for a person."""
    if cell is None:
        return "missing"
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        return f'"{cell[:60]}..."' if len(cell) > 60 else f'"{cell}"'
    if isinstance(cell, tuple):
        return "[" + ", ".join(show(member) for member in cell[:6]) + (", ...]" if len(cell) > 6 else "]")
    if isinstance(cell, int) and abs(cell) >= MANY_DIGITS:
        return f"a whole number of {len(str(cell)) if cell.bit_length() < 4_000 else 'too many'} digits"
    if isinstance(cell, int) or (abs(cell) < 1e15 and cell == int(cell)):
        return f"{int(cell):,}"
    return f"{cell:,.6g}"


def as_number(cell: Cell) -> float | None:
    """Return a cell as a float; None when it is no number, or too large for one."""
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        return None
    try:
        return float(cell)
    except OverflowError:
        return None


def cells_of(planned: PlannedRule) -> tuple[Ref, ...]:
    """Return the cells that a check looks at by itself."""
    if planned.check.kind == FINITE_RULE:
        return tuple(Ref("output", name) for name in planned.names)
    return tuple(Ref(named.space, named.name) for named in planned.check.fields)


def kpis_of(programs: Programs) -> dict[str, Program]:
    """Return the KPIs that a verdict depends on."""
    found: dict[str, Program] = {}
    for program in (programs.wants, programs.when):
        if program is not None:
            found |= program.kpis
    return found


def values_of(measured: Measured) -> str:
    shown = [
        f"{name.removeprefix('features.').removeprefix('output.')} = {show(cell)}"
        for name, cell in measured[:6]
    ]
    return ", ".join(shown) + (", ..." if len(measured) > 6 else "")


def _range(planned: PlannedRule, measured: Measured, lookup: Lookup) -> str:
    programs = planned.programs
    name, value = _subject(planned, lookup)
    low = None if programs.low is None else evaluate(programs.low, lookup)
    high = None if programs.high is None else evaluate(programs.high, lookup)
    if isinstance(value, (int, float)) and isinstance(low, (int, float)) and value < low:
        return f"{name} is {show(value)}, below {show(low)}"
    if isinstance(value, (int, float)) and isinstance(high, (int, float)) and value > high:
        return f"{name} is {show(value)}, above {show(high)}"
    return f"out of range: {values_of(measured)}"


def _subject(planned: PlannedRule, lookup: Lookup) -> tuple[str, Cell]:
    """Return the name and the value of what a range is about: a field, or a KPI."""
    if planned.check.fields:
        named = planned.check.fields[0]
        return named.name, lookup(Ref(named.space, named.name))
    name, program = next(iter(kpis_of(planned.programs).items()), ("", None))
    return f"kpi.{name}", None if program is None else evaluate(program, lookup)


def _change(planned: PlannedRule, measured: Measured, lookup: Lookup) -> str:
    named = planned.check.fields[0]
    value = lookup(Ref(named.space, named.name))
    bases = [cell for name, cell in measured if name != f"{named.space}.{named.name}"]
    number, base = as_number(value), as_number(bases[0]) if bases else None
    if number is not None and base:
        change = (number - base) / abs(base)
        way = "up" if change > 0 else "down"
        return f"{named.name} is {show(value)}, {abs(change):,.1%} {way} from {show(base)} ({planned.check.bound})"
    return f"{named.name} changed too much: {values_of(measured)} ({planned.check.bound})"


def _set(planned: PlannedRule, measured: Measured, lookup: Lookup) -> str:  # noqa: ARG001
    named = planned.check.fields[0]
    return f"{named.name} is {show(measured[0][1])}, not {planned.check.bound}"


def _order(planned: PlannedRule, measured: Measured, lookup: Lookup) -> str:
    fields = planned.check.fields
    cells = [(named.name, lookup(Ref(named.space, named.name))) for named in fields]
    for (name, cell), (later, other) in pairwise(cells):
        if isinstance(cell, (int, float)) and isinstance(other, (int, float)) and cell > other:
            return f"{name} is {show(cell)}, above {later}, which is {show(other)}"
    return f"not in order: {values_of(measured)}"


def _textual(planned: PlannedRule, measured: Measured, lookup: Lookup) -> str:  # noqa: ARG001
    said = TEXT_SENTENCES[planned.check.kind](planned.check, [lookup(ref) for ref in cells_of(planned)])
    names = ", ".join(named.name for named in planned.check.fields[:MAX_NAMED])
    return f"{names}: {said}"


def _chances(planned: PlannedRule, measured: Measured, lookup: Lookup) -> str:  # noqa: ARG001
    check = planned.check
    cells = [lookup(ref) for ref in cells_of(planned)]
    first = cells[0] if len(cells) == 1 else None
    members = list(first) if isinstance(first, tuple) else cells
    numbers = [member for member in members if isinstance(member, (int, float))]
    for place, member in enumerate(numbers):
        if not 0 <= member <= 1:
            return f"{check.fields[0].name}[{place}] is {show(member)}, no probability"
    name = check.fields[0].name if len(check.fields) == 1 else "the probabilities"
    return f"{name} add up to {show(float(sum(numbers)))}, not {check.total:g} within {check.tolerance:g}"


def _demand(planned: PlannedRule, measured: Measured, lookup: Lookup) -> str:  # noqa: ARG001
    word = "not satisfied" if planned.check.sense else "forbidden"
    values = values_of(measured)
    return f"{word}: {planned.check.bound[:200]}" + (f" ({values})" if values else "")


def _finite(planned: PlannedRule, measured: Measured, lookup: Lookup) -> str:  # noqa: ARG001
    for name, cell in measured:
        if cell is None:
            return f"{name.removeprefix('output.')} is missing"
        if isinstance(cell, tuple) or (isinstance(cell, float) and cell - cell != 0):
            numbers = cell if isinstance(cell, tuple) else (cell,)
            if not numbers or any(one is None or one - one != 0 for one in numbers):
                return f"{name.removeprefix('output.')} is not finite and whole: {show(cell)}"
    return "the response has no prediction for this row"


SENTENCES: Final[Mapping[str, Callable[[PlannedRule, Measured, Lookup], str]]] = {
    "range": _range,
    "max_change": _change,
    "one_of": _set,
    "order": _order,
    "probabilities": _chances,
    "require": _demand,
    "forbid": _demand,
    FINITE_RULE: _finite,
    **dict.fromkeys(TEXT_SENTENCES, _textual),
}
