"""From a parsed tree to one with names, functions and kinds resolved; every flaw of meaning in one go.

Decides which kinds go together. A name of kind `ANY` goes with everything here and is looked at again in each row.
After a flaw a node has kind `ANY`, so that one mistake is told once.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from guardproxy.rules.language.flaws import Flaw
from guardproxy.rules.language.functions import (
    BATCH_FUNCTIONS,
    FOREIGN_FUNCTIONS,
    FUNCTIONS,
    MAX_DIGITS,
    PatternError,
    PatternLibraryMissingError,
    compile_pattern,
)
from guardproxy.rules.language.names import NO_CONSTANT, PROFILE_STATS, SPACES, Kind, Names, Ref
from guardproxy.rules.language.nodes import (
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
    Within,
)
from guardproxy.rules.language.semantics import KIND_WORDS, ORDERINGS, kind_of, members_of, normal
from guardproxy.rules.language.spelling import either, spelled, suggest
from guardproxy.table import Cell


def check(tree: Node, names: Names, want: Kind | None) -> tuple[Node, tuple[Flaw, ...]]:
    """Return the tree with kinds, and the flaws found in it."""
    checker = _Checker(names)
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


class _Checker:
    """One check of one tree."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.flaws: list[Flaw] = []

    def flaw(self, code: str, message: str, node: Node, help_: str = "") -> None:
        self.flaws.append(Flaw(code, message, node.offset, node.length, help_))

    def node(self, node: Node) -> Node:
        return _CHECKS[type(node)](self, node)

    def _nodes(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        return tuple(self.node(node) for node in nodes)

    def _need(self, kind: Kind, node: Node, code: str, what: str, help_: str = "") -> None:
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

    def path(self, node: Path) -> Node:
        space = node.segments[0]
        if space not in SPACES:
            self._bare(node)
        elif space == "lists":
            self.flaw(
                "E116",
                "a list can only stand to the right of `in`",
                node,
                f"write `x in {'.'.join(node.segments)}`",
            )
        elif space == "profile":
            return self._profile(node)
        elif len(node.segments) == 1:
            self._unfinished(node, f"write `{space}.NAME`")
        elif len(node.segments) == 2:
            return self._resolve(node, Ref(space, node.segments[1]))
        else:
            written = ".".join(node.segments[1:])
            help_ = f'write {space}["{written}"] if the dots are part of the name'
            self.flaw("E106", f"`{space}.{node.segments[1]}` has nothing inside it", node, help_)
        return Literal(node.offset, node.length, Kind.ANY, None)

    def _bare(self, node: Path) -> None:
        first = node.segments[0]
        if len(node.segments) > 1:
            close = difflib.get_close_matches(first, SPACES, 1)
            help_ = f"did you mean `{close[0]}`?" if close else f"names begin with {either(SPACES)}"
            self.flaw("E106", f"there is nothing called `{first}` to take names from", node, help_)
            return
        found = [space for space in SPACES if space != "lists" and first in self._names.candidates(space)]
        help_ = either([f"{space}.{first}" for space in found or ("features", "output")])
        if first in self._names.lists:
            help_ = f"`{first}` is a list; write `x in {first}`"
        self.flaw(
            "E114",
            f"`{first}` alone does not say where it comes from",
            node,
            f"write {help_}" if "write" not in help_ else help_,
        )

    def _unfinished(self, node: Path, help_: str) -> None:
        self.flaw("E115", f"`{'.'.join(node.segments)}` is not finished", node, help_)

    def _profile(self, node: Path) -> Node:
        written = ".".join(node.segments)
        missing = Literal(node.offset, node.length, Kind.ANY, None)
        if len(node.segments) < 3 or (len(node.segments) == 3 and node.segments[1] in ("features", "output")):
            self._unfinished(node, f"write `{written}.p99`, or another of {', '.join(PROFILE_STATS)}")
            return missing
        stat = node.segments[-1]
        if stat not in PROFILE_STATS:
            self.flaw(
                "E106",
                f"a profile has no statistic `{stat}`",
                node,
                suggest(stat, PROFILE_STATS, "it has {}"),
            )
            return missing
        if stat == "values":
            self.flaw("E116", "a list can only stand to the right of `in`", node, f"write `x in {written}`")
            return missing
        return self._resolve(node, Ref("profile", ".".join(node.segments[1:-1]), stat))

    def _resolve(self, node: Path, ref: Ref) -> Node:
        kind = self._names.kind(ref)
        if kind is None:
            self._unknown(node, ref)
            return Name(node.offset, node.length, Kind.ANY, ref)
        constant = self._names.constant(ref)
        if constant is not NO_CONSTANT:
            constant = normal(constant)
            kind = kind_of(constant) or kind
        return Name(node.offset, node.length, kind, ref, constant)

    def _unknown(self, node: Path, ref: Ref) -> None:
        known = self._names.candidates(ref.space)
        if ref.space == "profile" and ref.name in known:
            self.flaw("E106", f"the profile has no {ref.stat} of `{ref.name}`", node)
            return
        what = _THINGS.get(ref.space, "field")
        shown = spelled(ref._replace(stat=""))
        close = difflib.get_close_matches(ref.name, known, 1)
        help_ = ""
        if close:
            help_ = f"did you mean `{spelled(ref._replace(name=close[0]))}`?"
        elif known:
            help_ = f"known names: {', '.join(known[:8])}" + (", ..." if len(known) > 8 else "")
        self.flaw("E106", f"unknown {what} `{shown}`", node, help_)

    # Operators.

    def arithmetic(self, node: Arithmetic) -> Node:
        operands = self._nodes(node.operands)
        for operand in operands:
            self._need(Kind.NUMBER, operand, "E120", "arithmetic")
        return replace(node, kind=Kind.NUMBER, operands=operands)

    def negate(self, node: Negate) -> Node:
        operand = self.node(node.operand)
        self._need(Kind.NUMBER, operand, "E120", "a minus sign")
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
        elif Kind.FLAG in kinds and sign in ORDERINGS:
            self.flaw(
                "E124", f"yes/no has no order, so `{sign}` makes no sense", both, "use == or !=, or `and`"
            )

    def within(self, node: Within) -> Node:
        operand = self.node(node.operand)
        members = self._members(node.items)
        if operand.kind is Kind.VECTOR:
            self.flaw("E124", "a vector cannot be looked for in a list", operand)
        elif members and Kind.ANY not in (operand.kind, members.kind) and operand.kind is not members.kind:
            message = (
                f"cannot look for {KIND_WORDS[operand.kind]} in a list that holds {KIND_WORDS[members.kind]}"
            )
            self.flaw("E123", message, node)
        return replace(node, kind=Kind.FLAG, operand=operand, members=members)

    def _members(self, items: Node) -> Members | None:
        if isinstance(items, Items):
            return self._written(items)
        if isinstance(items, Path):
            return self._named(items)
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

    def _named(self, path: Path) -> Members | None:
        segments, lists = path.segments, self._names.lists
        name = segments[-1]
        if segments[0] == "profile" and len(segments) > 2 and name == "values":
            ref = Ref("profile", ".".join(segments[1:-1]), "values")
            if str(ref) not in lists and self._names.kind(ref) is None:
                self._unknown(path, ref)
            return members_of(lists[str(ref)]) if str(ref) in lists else None
        if len(segments) == 1 or (len(segments) == 2 and segments[0] == "lists"):
            if name in lists:
                return members_of(lists[name])
            help_ = suggest(name, tuple(lists), "lists are {}") if lists else "define it under `lists:`"
            self.flaw("E106", f"unknown list `{name}`", path, help_)
            return None
        self.flaw("E116", "`in` needs a list on its right", path, "write `==` to compare with one value")
        return None

    def is_missing(self, node: IsMissing) -> Node:
        return replace(node, kind=Kind.FLAG, operand=self.node(node.operand))

    def logic(self, node: Logic) -> Node:
        operands = self._nodes(node.operands)
        for operand in operands:
            self._need(Kind.FLAG, operand, "E121", f"`{node.operator}`", _FLAG_HELP)
        return replace(node, kind=Kind.FLAG, operands=operands)

    def negation(self, node: Not) -> Node:
        operand = self.node(node.operand)
        self._need(Kind.FLAG, operand, "E121", "`not`", _FLAG_HELP)
        return replace(node, kind=Kind.FLAG, operand=operand)

    def choice(self, node: If) -> Node:
        condition = self.node(node.condition)
        self._need(Kind.FLAG, condition, "E121", "the condition of `if`", _FLAG_HELP)
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
        function = FUNCTIONS.get(node.function)
        if function is None:
            self._unknown_function(node)
            return replace(node, arguments=self._nodes(node.arguments))
        arguments = self._nodes(node.arguments)
        checked = replace(node, kind=function.result, arguments=arguments)
        if not function.least <= len(arguments) <= function.most:
            given = f"{len(arguments)} argument{'' if len(arguments) == 1 else 's'}"
            self.flaw("E108", f"`{node.function}` does not take {given}", node, f"write {function.shape}")
            return checked
        code = "E122" if function.argument is Kind.TEXT else "E120"
        for argument in arguments:
            self._need(function.argument, argument, code, f"`{node.function}`")
        if node.function == "matches":
            return replace(checked, pattern=self._pattern(arguments[1]))
        if node.function == "round" and len(arguments) == 2:
            self._digits(arguments[1])
        if node.function == "clamp":
            self._bounds(checked, arguments)
        return checked

    def _unknown_function(self, node: Call) -> None:
        name = Literal(node.offset, node.name_length, Kind.ANY, None)
        if node.function in BATCH_FUNCTIONS or node.function.startswith(("batch_", "recent_")):
            help_ = "look at one row at a time here"
            self.flaw("E130", "batch functions are not available in row rules yet", name, help_)
            return
        meant = FOREIGN_FUNCTIONS.get(node.function)
        help_ = (
            f"did you mean `{meant}`?"
            if meant
            else suggest(node.function, tuple(FUNCTIONS), "functions are {}")
        )
        self.flaw("E107", f"unknown function `{node.function}`", name, help_)

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
            self.flaw("E140", f"RE2 does not accept this pattern: {error}", node, _PATTERN_HELP)
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
_PATTERN_HELP: Final = "RE2 has no look-around and no back-references, and counts repetitions up to 1000"
_THINGS: Final[Mapping[str, str]] = MappingProxyType(
    {"request": "fact of the request", "kpi": "KPI", "profile": "field in the profile"}
)


def _plain(node: Node) -> Cell:
    """Return the value of a literal; None for anything else."""
    return node.value if isinstance(node, Literal) else None


def _clash_help(left: Node, right: Node) -> str:
    kinds = {left.kind, right.kind}
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
