"""Walks the tree of a program for one row. Slow, plain, and the reference for the other back-ends.

Decides the order of evaluation: left to right; what cannot change the result is not looked at, so kinds that clash
there are no error (`false and x`, the branch of `if` not taken, what stands behind a value that is there in `??`).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from guardproxy.rules.language.flaws import LanguageError
from guardproxy.rules.language.functions import pattern_found
from guardproxy.rules.language.names import NO_CONSTANT, Ref
from guardproxy.rules.language.nodes import (
    Arithmetic,
    Call,
    Coalesce,
    Compare,
    If,
    IsMissing,
    KpiValue,
    Literal,
    Logic,
    Name,
    Negate,
    Node,
    Not,
    Program,
    Within,
)
from guardproxy.rules.language.semantics import (
    TEXT_FUNCTIONS,
    calculate,
    call_numeric,
    call_text,
    compare,
    demand,
    flag,
    is_member,
    kleene_not,
    normal,
    real,
    text,
)
from guardproxy.table import Cell

Lookup: TypeAlias = Callable[[Ref], Cell]


class Step(NamedTuple):
    """One node that was evaluated: its span, its text, and its value or the error it raised."""

    offset: int
    length: int
    text: str
    value: Cell | LanguageError


def interpret(program: Program, lookup: Lookup) -> Cell:
    """Evaluate a program; `lookup` gives the cell of each name, None where it is missing.

    A yes/no result is True, False, or None for unknown. Raises LanguageError when kinds clash.
    """
    return demand(program.kind, evaluate(program.tree, lookup))


def evaluate(node: Node, lookup: Lookup) -> Cell:
    """Evaluate one node of a checked tree, as `interpret` does."""
    return _Walk(lookup).value(node)


def trace(program: Program, lookup: Lookup) -> tuple[Step, ...]:
    """Evaluate a program and return a step for every node that was looked at, operands before their operator.

    A KPI and a function over rows are one step each; `Program.kpis` and `Program.aggregates` have their own trees.
    Never raises LanguageError: the step where kinds clash, and those around it, have the error as their value.
    """
    walk = _Tracing(lookup, program.text)
    try:
        demand(program.kind, walk.value(program.tree))
    except LanguageError as error:
        if not isinstance(walk.steps[-1].value, LanguageError):
            walk.steps[-1] = walk.steps[-1]._replace(value=error)
    return tuple(walk.steps)


class _Walk:
    """One evaluation of one tree."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def value(self, node: Node) -> Cell:
        return _VISITS[type(node)](self, node)

    def literal(self, node: Literal) -> Cell:
        return node.value

    def name(self, node: Name) -> Cell:
        return normal(self._lookup(node.ref)) if node.constant is NO_CONSTANT else node.constant

    def kpi(self, node: KpiValue) -> Cell:
        # Not one of the steps of a trace: the places of its tree are those in another text.
        return demand(node.kind, evaluate(node.body, self._lookup))

    def arithmetic(self, node: Arithmetic) -> Cell:
        result = real(self.value(node.operands[0]))
        for sign, operand in zip(node.operators, node.operands[1:], strict=True):
            right = real(self.value(operand))
            result = None if result is None or right is None else calculate(sign, result, right)
        return result

    def negate(self, node: Negate) -> Cell:
        value = real(self.value(node.operand))
        return None if value is None else -value

    def compare(self, node: Compare) -> Cell:
        left = self.value(node.operands[0])
        result: bool | None = True
        for sign, operand in zip(node.operators, node.operands[1:], strict=True):
            right = self.value(operand)
            pair = compare(sign, left, right)
            if pair is False:
                return False
            result = None if pair is None else result
            left = right
        return result

    def within(self, node: Within) -> Cell:
        found = is_member(self.value(node.operand), node.members)
        return kleene_not(found) if node.negated else found

    def is_missing(self, node: IsMissing) -> Cell:
        return (self.value(node.operand) is None) is not node.negated

    def logic(self, node: Logic) -> Cell:
        decisive = node.operator == "or"
        result: bool | None = not decisive
        for operand in node.operands:
            value = flag(self.value(operand))
            if value is decisive:
                return decisive
            result = None if value is None else result
        return result

    def negation(self, node: Not) -> Cell:
        return kleene_not(flag(self.value(node.operand)))

    def choice(self, node: If) -> Cell:
        condition = flag(self.value(node.condition))
        if condition is None:
            return None
        return self.value(node.yes if condition else node.no)

    def coalesce(self, node: Coalesce) -> Cell:
        for operand in node.operands:
            value = self.value(operand)
            if value is not None:
                return value
        return None

    def call(self, node: Call) -> Cell:
        if node.function == "matches":
            subject = text(self.value(node.arguments[0]))
            return None if subject is None else pattern_found(node.pattern, subject)
        cells = [self.value(argument) for argument in node.arguments]
        if node.function in TEXT_FUNCTIONS:
            return call_text(node.function, cells)
        return call_numeric(node.function, cells)


class _Tracing(_Walk):
    """An evaluation that writes down every step."""

    def __init__(self, lookup: Lookup, source: str) -> None:
        super().__init__(lookup)
        self._source = source
        self.steps: list[Step] = []

    def value(self, node: Node) -> Cell:
        written = self._source[node.offset : node.end]
        try:
            value = super().value(node)
        except LanguageError as error:
            self.steps.append(Step(node.offset, node.length, written, error))
            raise
        self.steps.append(Step(node.offset, node.length, written, value))
        return value


_VISITS: Final[Mapping[type, Callable[[_Walk, Any], Cell]]] = MappingProxyType(
    {
        Literal: _Walk.literal,
        Name: _Walk.name,
        KpiValue: _Walk.kpi,
        Arithmetic: _Walk.arithmetic,
        Negate: _Walk.negate,
        Compare: _Walk.compare,
        Within: _Walk.within,
        IsMissing: _Walk.is_missing,
        Logic: _Walk.logic,
        Not: _Walk.negation,
        If: _Walk.choice,
        Coalesce: _Walk.coalesce,
        Call: _Walk.call,
    }
)
