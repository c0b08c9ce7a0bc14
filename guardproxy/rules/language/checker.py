"""From a parsed tree to one with names, functions and kinds resolved; every flaw of meaning in one go.

Decides which kinds go together. A name of kind `ANY` goes with everything here and is looked at again in each row.
After a flaw a node has kind `ANY`, so that one mistake is told once.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from guardproxy.decision import Scope
from guardproxy.rules.language import foreign
from guardproxy.rules.language.assembling import assemble
from guardproxy.rules.language.flaws import Flaw
from guardproxy.rules.language.functions import (
    AGGREGATES,
    FUNCTIONS,
    MAX_DIGITS,
    MAX_WINDOW_S,
    MIN_WINDOW_S,
    PatternError,
    PatternLibraryMissingError,
    compile_pattern,
)
from guardproxy.rules.language.names import NO_CONSTANT, Kind, Names, Ref
from guardproxy.rules.language.naming import Naming
from guardproxy.rules.language.nodes import (
    Aggregate,
    Arithmetic,
    Call,
    Coalesce,
    Compare,
    If,
    IsMissing,
    Items,
    Literal,
    Logic,
    Members,
    Name,
    Negate,
    Node,
    Not,
    Path,
    Program,
    Within,
)
from guardproxy.rules.language.parser import parse
from guardproxy.rules.language.semantics import KIND_WORDS, ORDERINGS, kind_of, members_of
from guardproxy.rules.language.spell import spell_aggregate
from guardproxy.rules.language.spelling import spelled, suggest
from guardproxy.rules.language.tokens import UNITS
from guardproxy.table import Cell


def check(
    text: str, tree: Node, names: Names, want: Kind | None, scope: Scope
) -> tuple[Node, tuple[Flaw, ...]]:
    """Return the tree with kinds, and the flaws found in it. `text` is what it was parsed from."""
    checker = _Checker(text, names, scope)
    node = checker.node(tree)
    if want is not None and want is not Kind.ANY and node.kind not in (want, Kind.ANY) and not checker.flaws:
        message = f"{KIND_WORDS[want]} is needed here, but this is {KIND_WORDS[node.kind]}"
        checker.flaw("E126", message, node, _WANT_HELP.get((want, node.kind), ""))
    return node, tuple(checker.flaws)


_WANT_HELP: Final[Mapping[tuple[Kind, Kind], str]] = MappingProxyType(
    {
        (Kind.FLAG, Kind.NUMBER): "compare it with something, as in `x > 0`",
        (Kind.FLAG, Kind.TEXT): 'compare it with something, as in `x == "a"`',
        (Kind.NUMBER, Kind.FLAG): "write `if ... then 1 else 0` to make a number of it",
    }
)


class _Checker(Naming):
    """One check of one tree. `text` is what its places count in."""

    def node(self, node: Node) -> Node:
        return _CHECKS[type(node)](self, node)

    def _nodes(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        return tuple(self.node(node) for node in nodes)

    def need(self, kind: Kind, node: Node, code: str, what: str, help_: str = "") -> None:
        """Note a flaw when a node is known to be of another kind."""
        if node.kind not in (kind, Kind.ANY):
            self.flaw(
                code, f"{what} needs {KIND_WORDS[kind]}, but this is {KIND_WORDS[node.kind]}", node, help_
            )

    # Leaves.

    def literal(self, node: Literal) -> Node:
        return replace(node, kind=kind_of(node.value) or Kind.ANY)

    def items(self, node: Items) -> Node:
        self.flaw("E116", "a list can only stand to the right of `in`", node, "write `x in [...]`")
        return Literal(node.offset, node.length, Kind.ANY, None)

    # Operators.

    def arithmetic(self, node: Arithmetic) -> Node:
        operands = self._nodes(node.operands)
        for operand in operands:
            self.need(Kind.NUMBER, operand, "E120", "arithmetic")
        return replace(node, kind=Kind.NUMBER, operands=operands)

    def negate(self, node: Negate) -> Node:
        operand = self.node(node.operand)
        self.need(Kind.NUMBER, operand, "E120", "a minus sign")
        return replace(node, kind=Kind.NUMBER, operand=operand)

    def compare(self, node: Compare) -> Node:
        operands = self._nodes(node.operands)
        for position, sign in enumerate(node.operators):
            self._pair(sign, operands[position], operands[position + 1])
        return replace(node, kind=Kind.FLAG, operands=operands)

    def _pair(self, sign: str, left: Node, right: Node) -> None:
        kinds = (left.kind, right.kind)
        both = Literal(left.offset, right.end - left.offset, Kind.ANY, None)
        if Kind.VECTOR in kinds:
            self.flaw(
                "E124",
                "a vector cannot be compared",
                both,
                "use a check made for vectors, such as `probabilities`",
            )
        elif Kind.ANY not in kinds and left.kind is not right.kind:
            message = f"cannot compare {KIND_WORDS[left.kind]} with {KIND_WORDS[right.kind]}"
            self.flaw("E123", message, both, _clash_help(left, right))
        elif odd := _odd_day(left, right):
            self._day(odd)
        elif Kind.FLAG in kinds and sign in ORDERINGS:
            self.flaw(
                "E124", f"yes/no has no order, so `{sign}` makes no sense", both, "use == or !=, or `and`"
            )

    def _day(self, odd: Literal) -> None:
        message = f'request.date is written YYYY-MM-DD, so "{odd.value}" is compared letter by letter'
        self.flaw("E127", message, odd, 'write it as "2026-01-31"')

    def within(self, node: Within) -> Node:
        operand = self.node(node.operand)
        members = self._members(node.items)
        if operand.kind is Kind.VECTOR:
            self.flaw("E124", "a vector cannot be looked for in a list", operand)
        elif members and Kind.ANY not in (operand.kind, members.kind) and operand.kind is not members.kind:
            message = (
                f"cannot look for {KIND_WORDS[operand.kind]} in a list that holds {KIND_WORDS[members.kind]}"
            )
            self.flaw("E123", message, node, _clash_help(operand, operand))
        elif isinstance(node.items, Items) and (odd := _odd_day(operand, *node.items.items)):
            self._day(odd)
        return replace(node, kind=Kind.FLAG, operand=operand, members=members)

    def _members(self, items: Node) -> Members | None:
        if isinstance(items, Items):
            return self._written(items)
        if isinstance(items, Path):
            return self.named_list(items)
        help_ = (
            'write `contains(text, "part")` to look inside a text'
            if isinstance(items, Literal) and isinstance(items.value, str)
            else "write `x in [...]`"
        )
        self.flaw("E116", "`in` needs a list on its right", items, help_)
        return None

    def _written(self, items: Items) -> Members | None:
        cells: list[Cell] = []
        for item in items.items:
            cell = _plain(item)
            if cell is None:
                self.flaw(
                    "E116", "a list holds values that are written out", item, "compare with `or` instead"
                )
                return None
            cells.append(cell)
        members = members_of(cells)
        if not cells:
            self.flaw("E116", "the list is empty, so nothing is ever in it", items)
        elif members.kind is Kind.ANY:
            self.flaw("E116", "the list mixes kinds of values", items, "quote all of them, or none")
        return members

    def is_missing(self, node: IsMissing) -> Node:
        return replace(node, kind=Kind.FLAG, operand=self.node(node.operand))

    def logic(self, node: Logic) -> Node:
        operands = self._nodes(node.operands)
        for operand in operands:
            self.need(Kind.FLAG, operand, "E121", f"`{node.operator}`", _FLAG_HELP)
        return replace(node, kind=Kind.FLAG, operands=operands)

    def negation(self, node: Not) -> Node:
        operand = self.node(node.operand)
        self.need(Kind.FLAG, operand, "E121", "`not`", _FLAG_HELP)
        return replace(node, kind=Kind.FLAG, operand=operand)

    def choice(self, node: If) -> Node:
        condition = self.node(node.condition)
        self.need(Kind.FLAG, condition, "E121", "the condition of `if`", _FLAG_HELP)
        yes, no = self._nodes((node.yes, node.no))
        return replace(node, kind=self._same((yes, no), "if"), condition=condition, yes=yes, no=no)

    def coalesce(self, node: Coalesce) -> Node:
        operands = self._nodes(node.operands)
        return replace(node, kind=self._same(operands, "??"), operands=operands)

    def _same(self, nodes: Sequence[Node], what: str) -> Kind:
        """Return the one kind that the nodes have, `ANY` when it is not known of all of them."""
        known = [node for node in nodes if node.kind is not Kind.ANY]
        for node in known[1:]:
            if node.kind is not known[0].kind:
                message = f"the results of `{what}` must be of one kind, but this is {KIND_WORDS[node.kind]}"
                self.flaw("E125", message, node, f"the first is {KIND_WORDS[known[0].kind]}")
                return Kind.ANY
        return known[0].kind if known and len(known) == len(nodes) else Kind.ANY

    # Calls.

    def call(self, node: Call) -> Node:
        if node.function in AGGREGATES:
            return self._aggregate(node)
        function = FUNCTIONS.get(node.function)
        if function is None:
            self._unknown_function(node)
            told = len(self.flaws)
            arguments = self._nodes(node.arguments)
            # Whether its arguments may differ from row to row depends on the function that is meant.
            self.flaws[told:] = [flaw for flaw in self.flaws[told:] if flaw.code != "E131"]
            return replace(node, arguments=arguments)
        arguments = self._nodes(node.arguments)
        checked = replace(node, kind=function.result, arguments=arguments)
        if not function.least <= len(arguments) <= function.most:
            given = f"{len(arguments)} argument{'' if len(arguments) == 1 else 's'}"
            self.flaw("E108", f"`{node.function}` does not take {given}", node, f"write {function.shape}")
            return checked
        code = "E122" if function.argument is Kind.TEXT else "E120"
        for argument in arguments:
            self.need(function.argument, argument, code, f"`{node.function}`")
        if node.function == "matches":
            return replace(checked, pattern=self._pattern(arguments[1]))
        if node.function == "round" and len(arguments) == 2:
            self._digits(arguments[1])
        if node.function == "clamp":
            self._bounds(checked, arguments)
        return checked

    def _unknown_function(self, node: Call) -> None:
        name = Literal(node.offset, node.name_length, Kind.ANY, None)
        known = (*FUNCTIONS, *AGGREGATES)
        lower = node.function.lower()
        help_ = foreign.FUNCTIONS.get(lower) or suggest(node.function, known, "functions are {}")
        if lower in known:
            help_ = f"write `{lower}` in small letters"
        self.flaw("E107", f"unknown function `{node.function}`", name, help_)

    # Functions over rows.

    def _aggregate(self, node: Call) -> Node:
        """Make a name of the call: what it gives is worked out elsewhere, from a program of its argument."""
        function = AGGREGATES[node.function]
        nothing = Literal(node.offset, node.length, Kind.NUMBER, None)
        if self._inside:
            message = f"`{node.function}` cannot stand inside `{self._inside}`"
            self.flaw("E132", message, node, "functions over rows stand beside each other, not in each other")
            return nothing
        if len(node.arguments) != 1 + function.rolling:
            given = f"{len(node.arguments)} argument{'' if len(node.arguments) == 1 else 's'}"
            self.flaw("E108", f"`{node.function}` does not take {given}", node, f"write {function.shape}")
            return nothing
        window = self._window(node.arguments[1]) if function.rolling else None
        argument = self._argument(node.function, node.arguments[0], function.argument)
        if argument is None or (function.rolling and window is None):
            return nothing
        if function.rolling and not self._countable(node, argument):
            return nothing
        ref = Ref("recent" if function.rolling else "batch", spell_aggregate(node.function, argument, window))
        self.within_scope(node, f"{node.function}(...)", (ref,))
        return Name(
            node.offset,
            node.length,
            Kind.NUMBER,
            ref,
            NO_CONSTANT,
            Aggregate(node.function, argument, window),
        )

    def _argument(self, function: str, node: Node, kind: Kind) -> Program | None:
        """Check the argument as an expression of its own, so that its places count in its own text."""
        text = self._text[node.offset : node.end]
        inner = _Checker(text, self._names, Scope.ROW, function)
        tree = inner.node(parse(text))
        code, help_ = ("E121", _FLAG_HELP) if kind is Kind.FLAG else ("E120", "")
        if tree.kind is Kind.FLAG and code == "E120":
            help_ = f"write {function.partition('_')[0]}_share(...) for the share of rows of which it is true"
        if not inner.flaws:
            inner.need(kind, tree, code, f"`{function}`", help_)
        self.flaws += [replace(flaw, offset=flaw.offset + node.offset) for flaw in inner.flaws]
        return None if inner.flaws else assemble(text, tree, kind)

    def _countable(self, node: Call, argument: Program) -> bool:
        """Report an argument that is not counted with the rows: those of many requests have no one time and no past."""
        ref = next((ref for ref in argument.refs if ref.space in ("previous", "request")), None)
        if ref is not None:
            message = (
                f"`{node.function}` counts rows of many requests, and `{spelled(ref)}` belongs to one of them"
            )
            self.flaw("E134", message, node.arguments[0], "let it read features and outputs only")
        return ref is None

    def _window(self, node: Node) -> float | None:
        value = _plain(node)
        if isinstance(node, Literal) and isinstance(value, float) and node.written.endswith(_UNITS):
            if MIN_WINDOW_S <= value <= MAX_WINDOW_S:
                return value
            message = f"a window is from 1m to 90d long, not {node.written}"
        else:
            message = "a window is a duration that is written out"
        self.flaw("E133", message, node, "write it like 15m, 1h or 7d")
        return None

    def _pattern(self, node: Node) -> Any:
        if not isinstance(node, Literal) or not isinstance(node.value, str):
            if node.kind in (Kind.TEXT, Kind.ANY):
                self.flaw(
                    "E127",
                    "the pattern of `matches` must be written out",
                    node,
                    'write matches(text, "pattern")',
                )
            return None
        try:
            return compile_pattern(node.value)
        except PatternLibraryMissingError:
            self.flaw("E141", "`matches` needs the RE2 library", node, 'pip install "guardproxy[re2]"')
        except PatternError as error:
            help_ = _PATTERN_HELP if "(?" in node.value or "\\" in node.value or "{" in node.value else ""
            self.flaw("E140", f"RE2 does not accept this pattern: {error}", node, help_)
        return None

    def _digits(self, node: Node) -> None:
        value = node.value if isinstance(node, Literal) else None
        if not (isinstance(value, float) and value.is_integer() and 0 <= value <= MAX_DIGITS):
            message = f"the digits of `round` must be a whole number from 0 to {MAX_DIGITS}, written out"
            self.flaw("E127", message, node)

    def _bounds(self, node: Call, arguments: tuple[Node, ...]) -> None:
        low, high = _plain(arguments[1]), _plain(arguments[2])
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            self.flaw(
                "E127", "the low bound of `clamp` is above the high one", node, "write clamp(x, low, high)"
            )


_FLAG_HELP: Final = "compare it with something, as in `x > 0`"
_UNITS: Final = tuple(UNITS)
_PATTERN_HELP: Final = "RE2 has no look-around and no back-references, and counts repetitions up to 1000"


def _plain(node: Node) -> Cell:
    """Return the value of a literal; None for anything else."""
    return node.value if isinstance(node, Literal) else None


_DAY: Final = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2})?)?")
_FACT_HELP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "weekday": "weekdays are numbers: 0 is Monday, 6 is Sunday",
        "hour": "hours are numbers from 0 to 23",
        "date": 'a day is text: write it in quotes, as "2026-01-31"',
    }
)


def _odd_day(*operands: Node) -> Literal | None:
    """Return the first text that request.date is compared with, or looked for among, which is no day."""
    if not any(isinstance(node, Name) and node.ref == ("request", "date", "") for node in operands):
        return None
    texts = (node for node in operands if isinstance(node, Literal) and isinstance(node.value, str))
    return next((node for node in texts if not _DAY.fullmatch(str(node.value))), None)


def _clash_help(left: Node, right: Node) -> str:
    kinds = {left.kind, right.kind}
    for node in (left, right):
        if isinstance(node, Name) and node.ref.space == "request" and node.ref.name in _FACT_HELP:
            return _FACT_HELP[node.ref.name]
    if kinds == {Kind.TEXT, Kind.NUMBER}:
        return "put the number in quotes if you mean text"
    if Kind.FLAG in kinds:
        return "yes/no is compared with true or false, or stands alone"
    return ""


_CHECKS: Final[Mapping[type, Callable[[_Checker, Any], Node]]] = MappingProxyType(
    {
        Literal: _Checker.literal,
        Items: _Checker.items,
        Path: _Checker.path,
        Arithmetic: _Checker.arithmetic,
        Negate: _Checker.negate,
        Compare: _Checker.compare,
        Within: _Checker.within,
        IsMissing: _Checker.is_missing,
        Logic: _Checker.logic,
        Not: _Checker.negation,
        If: _Checker.choice,
        Coalesce: _Checker.coalesce,
        Call: _Checker.call,
    }
)
