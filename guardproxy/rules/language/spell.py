"""A tree back to text, in the one way that it is written.

Decides spaces, quotes and parentheses: one space around operators, none inside brackets, parentheses only where the
tree would be another one without them. Numbers stay as they were written (`30%`, `15m`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from guardproxy.rules.language.names import Ref
from guardproxy.rules.language.nodes import (
    Arithmetic,
    Call,
    Coalesce,
    Compare,
    If,
    IsMissing,
    Items,
    KpiValue,
    Literal,
    Logic,
    Name,
    Negate,
    Node,
    Not,
    Path,
    Program,
    Within,
)
from guardproxy.rules.language.spelling import spelled

_IF, _LOGIC, _NOT, _COMPARE, _COALESCE, _SUM, _PRODUCT, _UNARY, _LEAF = range(9)

_LEVELS: Final[Mapping[type, int]] = MappingProxyType(
    {
        If: _IF,
        Logic: _LOGIC,
        Not: _NOT,
        Compare: _COMPARE,
        Within: _COMPARE,
        IsMissing: _COMPARE,
        Coalesce: _COALESCE,
        Negate: _UNARY,
    }
)


def spell(source: Program | Node) -> str:
    """Return the canonical text of a program or a tree. Parsed again it gives an equal tree.

    The text may be longer than an expression may be, where the original had hardly any spaces.
    """
    return _spelled(source.tree if isinstance(source, Program) else source, _IF)


def spell_aggregate(function: str, argument: Program, window_s: float | None) -> str:
    """Return the canonical text of a call of a function over rows; equal windows are spelled the same."""
    window = "" if window_s is None else f", {spell_duration(window_s)}"
    return f"{function}({spell(argument)}{window})"


def spell_duration(seconds: float) -> str:
    """Spell a duration in the largest unit in which it is a whole number; 5400 is `90m`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds!r}s"


def _spelled(node: Node, least: int) -> str:
    """Spell a node for a place that takes operators of level `least` and tighter."""
    text = _SPELLINGS[type(node)](node)
    return text if _level(node) >= least else f"({text})"


def _level(node: Node) -> int:
    if isinstance(node, Arithmetic):
        return _SUM if node.operators[0] in "+-" else _PRODUCT
    return _LEVELS.get(type(node), _LEAF)


def _chain(node: Arithmetic | Compare) -> str:
    tighter = {_SUM: _PRODUCT, _PRODUCT: _UNARY, _COMPARE: _COALESCE}[_level(node)]
    first, *others = (_spelled(operand, tighter) for operand in node.operands)
    return first + "".join(f" {sign} {text}" for sign, text in zip(node.operators, others, strict=True))


def _sequence(nodes: Sequence[Node]) -> str:
    return ", ".join(_spelled(node, _IF) for node in nodes)


def _literal(node: Literal) -> str:
    if node.written:
        return node.written
    if isinstance(node.value, str):
        # What cannot be seen or cannot be saved as UTF-8 is better read as its escape.
        text = json.dumps(node.value, ensure_ascii=False)
        return text if text.isprintable() else json.dumps(node.value)
    return json.dumps(node.value)


def _path(node: Path) -> str:
    first, *others = node.segments
    return first + "".join(spelled(Ref("", segment)) for segment in others)


_SPELLINGS: Final[Mapping[type, Callable[[Any], str]]] = MappingProxyType(
    {
        Literal: _literal,
        Path: _path,
        Items: lambda node: f"[{_sequence(node.items)}]",
        Name: lambda node: spelled(node.ref),
        KpiValue: lambda node: spelled(Ref("kpi", node.name)),
        Arithmetic: _chain,
        Compare: _chain,
        Negate: lambda node: f"-{_spelled(node.operand, _UNARY)}",
        Within: lambda node: (
            f"{_spelled(node.operand, _COALESCE)} {'not ' * node.negated}in {_spelled(node.items, _COALESCE)}"
        ),
        IsMissing: lambda node: f"{_spelled(node.operand, _COALESCE)} is {'not ' * node.negated}missing",
        Logic: lambda node: f" {node.operator} ".join(_spelled(each, _NOT) for each in node.operands),
        Not: lambda node: f"not {_spelled(node.operand, _NOT)}",
        If: lambda node: (
            f"if {_spelled(node.condition, _LOGIC)} then {_spelled(node.yes, _LOGIC)} "
            f"else {_spelled(node.no, _IF)}"
        ),
        Coalesce: lambda node: " ?? ".join(_spelled(each, _SUM) for each in node.operands),
        Call: lambda node: f"{node.function}({_sequence(node.arguments)})",
    }
)
