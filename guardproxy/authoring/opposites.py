"""The opposite of a condition, as a tree: what is read aloud as broken is the opposite of what is required.

Decides where a `not` goes, so that a sentence says "is above 3" and not "it is not so that it is at most 3". In the
three-valued logic both mean the same: the opposite of unknown is unknown.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from guardproxy.rules.language.nodes import Compare, If, IsMissing, Literal, Logic, Node, Not, Within

_FLIPPED: Final[Mapping[str, str]] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_TURNED: Final[Mapping[str, str]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def opposite(node: Node) -> Node:
    """Return the tree that is true where `node` is false, false where it is true, and unknown where it is unknown."""
    match node:
        case Not():
            return node.operand
        case Logic():
            turned = "or" if node.operator == "and" else "and"
            return replace(node, operator=turned, operands=tuple(opposite(one) for one in node.operands))
        case Compare():
            return _apart(node)
        case Within() | IsMissing():
            return replace(node, negated=not node.negated)
        case If():
            return replace(node, yes=opposite(node.yes), no=opposite(node.no))
        case Literal() if isinstance(node.value, bool):
            return replace(node, value=not node.value)
        case _:
            return Not(node.offset, node.length, node.kind, node)


def turned(node: Compare) -> Compare:
    """Return a comparison with its two sides exchanged."""
    return replace(
        node, operators=(_TURNED[node.operators[0]],), operands=(node.operands[1], node.operands[0])
    )


def _apart(node: Compare) -> Node:
    """A chain is broken where any of its pairs is; what stands in the middle of two is what the pairs are about."""
    pairs = [
        Compare(node.offset, node.length, node.kind, (_FLIPPED[operator],), (left, right))
        for left, operator, right in zip(node.operands, node.operators, node.operands[1:], strict=False)
    ]
    if len(pairs) == 1:
        return pairs[0]
    if len(pairs) == 2:
        pairs[0] = turned(pairs[0])
    return Logic(node.offset, node.length, node.kind, "or", tuple(pairs))
