"""Which kind each name will most likely have in a row, so that the back-ends can be made for it.

Decides a guess, never a meaning: a back-end checks every cell against the guess and gives rows that differ to the
interpreter. So a wrong guess costs time and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from guardproxy.rules.language.functions import FUNCTIONS
from guardproxy.rules.language.names import Kind, Ref
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
    Within,
)


class NoFastPathError(Exception):
    """No back-end can be made that is faster than the interpreter: kinds conflict, or values are vectors."""


@dataclass(slots=True)
class Guesses:
    """Kinds of names. A name that only stands before `is missing` needs none and is not in `kinds`."""

    kinds: dict[Ref, Kind] = field(default_factory=dict)
    weak: set[Ref] = field(default_factory=set)

    def of(self, node: Node) -> Kind:
        """Return the kind that a node has when every name has its guessed kind; `ANY` for a bare missing."""
        if node.kind is not Kind.ANY:
            return node.kind
        match node:
            case Name():
                return self.kinds.get(node.ref, Kind.NUMBER)
            case KpiValue():
                return self.of(node.body)
            case If():
                return self.common((node.yes, node.no))
            case Coalesce():
                return self.common(node.operands)
            case _:
                return Kind.ANY

    def common(self, nodes: Iterable[Node]) -> Kind:
        """Return the first kind among the nodes that is not `ANY`."""
        return next((kind for kind in map(self.of, nodes) if kind is not Kind.ANY), Kind.ANY)


def guess(tree: Node, want: Kind) -> Guesses:
    """Guess the kinds of all names from how they are used. Raises NoFastPathError when one is used in two ways."""
    guesses = Guesses()
    _visit(tree, want, guesses)
    if Kind.VECTOR in guesses.kinds.values():
        raise NoFastPathError
    return guesses


def refuse_exact(nodes: Iterable[Node]) -> None:
    """Raise NoFastPathError when a whole number that no float64 can say may come out of an operation as it is."""
    if any(isinstance(node, Literal) and type(node.value) is int for node in nodes):
        raise NoFastPathError


def _note(ref: Ref, kind: Kind, guesses: Guesses) -> None:
    known = guesses.kinds.get(ref)
    if kind is Kind.ANY:
        if known is None:
            guesses.kinds[ref] = Kind.NUMBER
            guesses.weak.add(ref)
        return
    if known not in (None, kind) and ref not in guesses.weak:
        raise NoFastPathError
    guesses.kinds[ref] = kind
    guesses.weak.discard(ref)


def _visit(node: Node, want: Kind, guesses: Guesses) -> None:
    match node:
        case Name():
            _note(node.ref, want if node.kind is Kind.ANY else node.kind, guesses)
        case Arithmetic():
            _visit_all(node.operands, Kind.NUMBER, guesses)
        case Negate():
            _visit(node.operand, Kind.NUMBER, guesses)
        case Compare():
            _visit_all(node.operands, _static(node.operands), guesses)
        case Within():
            _visit(node.operand, node.members.kind if node.members else Kind.ANY, guesses)
        case IsMissing(operand=Name(kind=Kind.ANY)):
            pass
        case IsMissing():
            _visit(node.operand, Kind.ANY, guesses)
        case Not():
            _visit(node.operand, Kind.FLAG, guesses)
        case Logic():
            _visit_all(node.operands, Kind.FLAG, guesses)
        case _:
            _visit_choice(node, want, guesses)


def _visit_choice(node: Node, want: Kind, guesses: Guesses) -> None:
    match node:
        case KpiValue():
            # A KPI that must be a number may have a tree that only a row can tell: its own kind goes before the place's.
            _visit(node.body, want if node.kind is Kind.ANY else node.kind, guesses)
        case If():
            _visit(node.condition, Kind.FLAG, guesses)
            branches = (node.yes, node.no)
            _visit_all(branches, want if want is not Kind.ANY else _static(branches), guesses)
        case Coalesce():
            _visit_all(node.operands, want if want is not Kind.ANY else _static(node.operands), guesses)
        case Call():
            _visit_all(node.arguments, FUNCTIONS[node.function].argument, guesses)


def _visit_all(nodes: Iterable[Node], want: Kind, guesses: Guesses) -> None:
    for node in nodes:
        _visit(node, want, guesses)


def _static(nodes: Iterable[Node]) -> Kind:
    return next((node.kind for node in nodes if node.kind is not Kind.ANY), Kind.ANY)
