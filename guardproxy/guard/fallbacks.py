"""Choose what is served in place of a suspect prediction.

Decides the first candidate that no enforced rule speaks against; which candidates there are is left to the rules'
fallback chains, what to do when there is none to `resolve`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from guardproxy.decision import Candidate, RequestFacts
from guardproxy.guard.guard import Guard, Past
from guardproxy.rules import BoundRules, Rule, View
from guardproxy.rules.sentences import as_number
from guardproxy.table import Cell, table_from_records

MAX_CANDIDATES: Final = 8

RESPONSE: Final = "the response"
"""What refuses a candidate that no rule speaks against: it cannot be written there."""


class Misfit(NamedTuple):
    """A replacement that a response could not take, and why."""

    source: str
    values: Mapping[str, Cell]
    why: str


Misfits: TypeAlias = Mapping[int, tuple[Misfit, ...]]
"""By row, what turned out not to fit."""
NO_MISFITS: Final[Misfits] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Substitute:
    """The candidates in the order they were tried, each with what speaks against it, and the one chosen."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate | None


def substitute(
    bound: BoundRules, acting: list[Rule], row: int, view: View, misfits: Misfits = NO_MISFITS
) -> Substitute:
    """Try the fallbacks of the acting rules, the strongest rule's first, and re-check each against the rules.

    What is among the row's misfits is refused by the response itself.
    """
    unfit = misfits.get(row, ())
    tried: list[Candidate] = []
    for rule in acting:
        for candidate in bound.propose(rule, row, view):
            if len(tried) == MAX_CANDIDATES or any(_same(candidate, other) for other in tried):
                continue
            refused = bound.refusals(view, row, candidate.values) if candidate.values else ()
            why = next((one.why for one in unfit if is_misfit(one, candidate.source, candidate.values)), "")
            if why:
                refused, candidate = (*refused, RESPONSE), replace(candidate, note=why)
            tried.append(replace(candidate, refused_by=refused))
    return Substitute(tuple(tried), next((candidate for candidate in tried if candidate.usable), None))


def clamp(bound: BoundRules, clamping: list[Rule], row: int, view: View) -> Mapping[str, Cell] | None:
    """Move a row's predictions to the nearest values its clamping rules allow; None when another rule still objects.

    Where several rules move the same prediction, the one that moves it farthest satisfies them all, if any does.
    """
    values: dict[str, Cell] = {}
    moved: dict[str, float] = {}
    for rule in clamping:
        for name, cell in (bound.clamped(rule, row, view) or {}).items():
            distance = _distance(cell, None if view.output is None else view.output.cell(name, row))
            if distance >= moved.get(name, 0.0):
                values[name], moved[name] = cell, distance
    if not values or bound.refusals(view, row, values):
        return None
    return values


def is_misfit(misfit: Misfit, source: str, values: Mapping[str, Cell]) -> bool:
    """Tell whether a replacement is the one that did not fit."""
    return misfit.source == source and misfit.values == values


def _distance(cell: Cell, other: Cell) -> float:
    one, two = as_number(cell), as_number(other)
    return 0.0 if one is None or two is None else abs(one - two)


def _same(one: Candidate, other: Candidate) -> bool:
    return one.source == other.source and one.values == other.values


def override_refusals(
    guard: Guard, features: Mapping[str, Cell], values: Mapping[str, Cell], facts: RequestFacts, past: Past
) -> tuple[str, ...]:
    """Name the enforced rules that a reviewer's values would violate on a row with these features."""
    table = table_from_records([features])
    bound = guard.bind(table.fields, tuple(values))
    times = guard.times_of(table, facts.at)
    moment = facts.at if times is None else float(times[0])

    def previous(by: tuple[str, ...], row: int) -> Mapping[str, Cell] | None:
        return past.previous(by, tuple(table.cell(name, row) for name in by), moment) if by else None

    rows_past = guard.past_of(table, past, facts.at, times)
    view = bound.seeing(
        View(table, table_from_records([values]), facts, previous, past=rows_past, times=times)
    )
    # A canary is a trial on some requests; what a person decided about one is not among them.
    return bound.refusals(view._replace(drawn=frozenset()), 0, values)
