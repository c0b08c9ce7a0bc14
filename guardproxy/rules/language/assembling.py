"""From a checked tree to `Program`: which names it reads and what it costs.

Decides nothing about meaning; `checker` does. Kept apart from `program` because the checker itself makes programs, of
the arguments of functions over rows.
"""

from collections.abc import Iterator

from guardproxy.rules.language.names import NO_CONSTANT, Kind, Ref
from guardproxy.rules.language.nodes import (
    Aggregate,
    KpiValue,
    Name,
    Node,
    Program,
    children,
    depth,
    operations,
)


def assemble(text: str, tree: Node, want: Kind | None) -> Program:
    """Return the program of a tree without flaws. `want` becomes its kind where only a row tells the tree's."""
    kind = want if want is not None and tree.kind is Kind.ANY else tree.kind
    aggregates: dict[Ref, Aggregate] = {}
    kpis: dict[str, Program] = {}
    refs: dict[Ref, None] = {}
    for leaf in _leaves(tree):
        if isinstance(leaf, KpiValue):
            kpis[leaf.name] = leaf.program
            aggregates = {**leaf.program.aggregates, **aggregates}
            refs |= dict.fromkeys(leaf.program.refs)
        elif leaf.constant is NO_CONSTANT:
            refs[leaf.ref] = None
            if leaf.aggregate is not None:
                aggregates.setdefault(leaf.ref, leaf.aggregate)
    return Program(text, tree, kind, tuple(refs), operations(tree), depth(tree), aggregates, kpis)


def _leaves(node: Node) -> Iterator[Name | KpiValue]:
    if isinstance(node, Name | KpiValue):
        yield node
    for child in children(node):
        yield from _leaves(child)
