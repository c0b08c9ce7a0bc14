"""Explain rows: for each rule its verdict, its evidence, and its expressions with the value of every part.

Decides what is shown of an expression (every part, also those that a short cut would skip) and which row's verdicts are
told. How a tree is drawn is left to the command.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guardproxy.decision import Action, Candidate, Decision, Finding, Outcome, Phase, Verdict
from guardproxy.guard.fallbacks import substitute
from guardproxy.guard.guard import Guard
from guardproxy.guard.score import points_of
from guardproxy.guard.screen import codes_of, judge_request, judge_response
from guardproxy.rules import Rule, View
from guardproxy.rules.bound import BoundRules
from guardproxy.rules.language import LanguageError, Program
from guardproxy.rules.language.interpreter import Lookup, evaluate
from guardproxy.rules.language.nodes import Items, KpiValue, Literal, Name, Node, children
from guardproxy.rules.model import Unless
from guardproxy.rules.sentences import show
from guardproxy.table import Cell, Codes

MAX_NODES: Final = 1_000
"""Parts of one expression that are shown; a KPI that stands in many places is written out in each."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an expression on one row: its text, its value (None is missing or unknown) or the error it raised.

    `constant` parts are written out in the text, so that their value is no news. `source` says where a value comes from
    that is not in the row: the KPI or the profile.
    """

    text: str
    value: Cell
    error: str = ""
    parts: tuple["Part", ...] = ()
    constant: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """One rule on one row. `parts` holds its expressions by the word that they stand under in the file.

    `exception` is the one that applied; `exceptions` are all of the rule's with their condition.
    """

    rule: Rule
    verdict: Verdict
    finding: Finding
    parts: tuple[tuple[str, Part], ...] = ()
    exception: Unless | None = None
    exceptions: tuple[tuple[Unless, Part], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A row with every rule's say. `decision` is None where there is no prediction and nothing refuses the request.

    `effect` says in words what became of the row; `candidates` are the fallbacks that were tried, with what spoke against
    each.
    """

    row: int
    outcome: Outcome | None
    effect: str
    rules: tuple[Explained, ...]
    decision: Decision | None
    candidates: tuple[Candidate, ...] = ()


def explain_row(guard: Guard, view: View, row: int = 0) -> Explanation:
    """Judge a view as the proxy would and explain one of its rows."""
    features, output = view.features, view.output
    asked = view._replace(output=None)
    verdicts, decision = judge_request(guard, asked)
    codes = codes_of(verdicts)
    bound = guard.bind(features.fields, ())
    rules = bound.rules_of(Phase.REQUEST)
    if decision is None and output is not None:
        decision = judge_response(guard, view, verdicts)
        codes = decision.verdicts
        bound = guard.bind(features.fields, output.fields)
        rules = bound.rules_of(Phase.REQUEST) + bound.rules_of(Phase.RESPONSE)
        asked = view
    asked = bound.seeing(asked)
    said = tuple(
        _explained(
            bound,
            rule,
            row,
            Verdict(int(codes[place, row])),
            asked,
            _points(bound, rules, codes, asked, place, row),
        )
        for place, rule in enumerate(rules)
    )
    outcome = None if decision is None else Outcome(int(decision.outcomes[row]))
    tried = () if decision is None or output is None else _tried(bound, said, row, asked)
    return Explanation(row, outcome, _effect(decision, row, said), said, decision, tried)


def take_apart(program: Program, lookup: Lookup) -> Part:
    """Evaluate every part of an expression on one row."""
    return _Parts(lookup).part(program, program.tree)


def _points(
    bound: BoundRules, rules: tuple[Rule, ...], codes: Codes, view: View, place: int, row: int
) -> list[tuple[str, float]]:
    """Return who added how many points, for a rule that sums them up."""
    return points_of(bound, rules, codes, view, place, row) if rules[place].kind == "score" else []


def _explained(
    bound: BoundRules,
    rule: Rule,
    row: int,
    verdict: Verdict,
    view: View,
    points: Sequence[tuple[str, float]],
) -> Explained:
    planned = bound.planned[rule.id]
    programs = planned.programs
    lookup = bound.lookup(rule, row, view)
    word = rule.kind if rule.kind in {"require", "forbid"} else "demands"
    named = (("when", programs.when), (word, programs.wants), ("low", programs.low), ("high", programs.high))
    parts = tuple((name, take_apart(program, lookup)) for name, program in named if program is not None)
    exceptions = tuple((unless, take_apart(program, lookup)) for unless, program in programs.unless)
    applied = bound.excepted(rule, row, view) if rule.unless and verdict is Verdict.SKIPPED else None
    return Explained(
        rule, verdict, bound.finding(rule, row, verdict, view, points), parts, applied, exceptions
    )


class _Parts:
    """Takes one expression apart, up to MAX_NODES parts."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._left = MAX_NODES

    def part(self, program: Program, node: Node) -> Part:
        """Return a node of a program with its value and what is below it."""
        self._left -= 1
        below: tuple[Part, ...] = ()
        source = ""
        if self._left > 0:
            below = tuple(self._below(program, node))
        if isinstance(node, KpiValue):
            source = f"kpi {node.name}: {node.program.text}"
        elif isinstance(node, Name) and node.ref.space == "profile":
            source = "learned"
        text = program.text[node.offset : node.end]
        try:
            value, error = evaluate(node, self._lookup), ""
        except LanguageError as wrong:
            value, error = None, str(wrong)
        return Part(text, value, error, below, isinstance(node, (Literal, Items)), source)

    def _below(self, program: Program, node: Node) -> Iterator[Part]:
        if isinstance(node, KpiValue):
            yield self.part(node.program, node.program.tree)
        for child in children(node):
            yield self.part(program, child)


_ACTS: Final[Mapping[Outcome, str]] = {
    Outcome.ALLOWED: "the model's answer goes out as it is",
    Outcome.WARNED: "the model's answer goes out, with a warning",
    Outcome.CLAMPED: "the answer is moved to the nearest allowed value",
    Outcome.REPLACED: "another answer goes out",
    Outcome.HELD: "held for a person",
    Outcome.REJECTED: "no answer goes out",
}


def _tried(bound: BoundRules, rules: tuple[Explained, ...], row: int, view: View) -> tuple[Candidate, ...]:
    """Return the fallbacks that are looked for on a row: where none is needed, none."""
    acting = [one.rule for one in _acting(rules)]
    if not acting or acting[0].action not in (Action.CLAMP, Action.FALLBACK, Action.HOLD):
        return ()
    return substitute(bound, acting, row, view).candidates


def _acting(rules: tuple[Explained, ...]) -> list[Explained]:
    """Return what acts on a row, the strongest first."""
    acting = [one for one in rules if one.finding.acts and not one.finding.demoted]
    return sorted(acting, key=lambda one: (-one.rule.action, -one.rule.severity, one.rule.id))


def _effect(decision: Decision | None, row: int, rules: tuple[Explained, ...]) -> str:
    if decision is None:
        return "the model is asked; there is no prediction to judge"
    outcome = Outcome(int(decision.outcomes[row]))
    acting = _acting(rules)
    by = f" because of {acting[0].rule.id}" if acting and outcome is not Outcome.ALLOWED else ""
    values = next((patch for patch in decision.patch if patch.row == row), None)
    with_ = ""
    if values is not None:
        served = ", ".join(f"{name} {show(cell)}" for name, cell in values.values.items())
        with_ = f", {values.source} is served: {served}"
    return _ACTS.get(outcome, "not judged") + by + with_
