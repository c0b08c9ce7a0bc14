"""Works out at load what no row can change.

Decides which parts of a checked tree become literals for the back-ends. The tree of the program itself stays as
written, for the interpreter and for explanations.
"""

from collections.abc import Iterable
from dataclasses import replace

from guardproxy.rules.language.interpreter import evaluate
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
    Within,
    children,
)
from guardproxy.rules.language.semantics import demand, kind_of
from guardproxy.table import Cell


def fold(node: Node) -> Node:
    """Return the tree with everything constant made a literal. Its value is the same for every row.

    Raises LanguageError when constants clash, even where no row would meet the clash.
    """
    match node:
        case Name():
            return node if node.constant is NO_CONSTANT else _literal(node, node.constant)
        case KpiValue():
            return _fold_kpi(node)
        case If():
            return _fold_if(node)
        case Coalesce():
            return _fold_coalesce(node)
        case _:
            folded = _with_children(node, [fold(child) for child in children(node)])
    below = children(folded)
    if below and all(isinstance(child, Literal) for child in below):
        return _evaluated(folded)
    return folded


def _literal(node: Node, value: Cell) -> Literal:
    return Literal(node.offset, node.length, kind_of(value) or node.kind, value)


def _evaluated(node: Node) -> Node:
    return _literal(node, evaluate(node, _no_row))


def _no_row(ref: Ref) -> Cell:
    raise AssertionError(f"{ref} is not constant")


def _fold_kpi(node: KpiValue) -> Node:
    tree = fold(node.body)
    if isinstance(tree, Literal):
        return _literal(node, demand(node.kind, tree.value))
    return replace(node, program=replace(node.program, tree=tree))


def _fold_if(node: If) -> Node:
    condition, yes, no = fold(node.condition), fold(node.yes), fold(node.no)
    if isinstance(condition, Literal):
        if condition.value is None:
            return _literal(node, None)
        return yes if condition.value else no
    return replace(node, condition=condition, yes=yes, no=no)


def _fold_coalesce(node: Coalesce) -> Node:
    kept: list[Node] = []
    for operand in map(fold, node.operands):
        if isinstance(operand, Literal) and operand.value is None:
            continue
        kept.append(operand)
        if isinstance(operand, Literal):
            break
    if not kept:
        return _literal(node, None)
    return kept[0] if len(kept) == 1 else replace(node, operands=tuple(kept))


def _with_children(node: Node, nodes: Iterable[Node]) -> Node:
    below = tuple(nodes)
    match node:
        case Arithmetic() | Compare() | Logic():
            return replace(node, operands=below)
        case Negate() | IsMissing() | Not() | Within():
            return replace(node, operand=below[0])
        case Call():
            return replace(node, arguments=below)
        case _:
            return node
