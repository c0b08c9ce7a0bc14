"""A Python function for one row, generated from the tree of a program.

Decides the code. Inside it a number is a float with NaN for missing, so arithmetic needs no tests; text and yes/no are
themselves with None for missing or unknown. That holds when every cell is of the kind that was guessed for it. A row
with any other cell (text for a number, a whole number that no float64 can say) goes to the interpreter, so both always
agree.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from guardproxy.rules.language.flaws import LanguageError
from guardproxy.rules.language.folding import fold
from guardproxy.rules.language.functions import FUNCTIONS, pattern_found
from guardproxy.rules.language.guesses import Guesses, NoFastPathError, guess, refuse_exact
from guardproxy.rules.language.interpreter import interpret
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
    Program,
    Within,
)
from guardproxy.rules.language.semantics import exponential, real
from guardproxy.table import EXACT_INTEGERS, Cell

Scalar: TypeAlias = Callable[[Sequence[Cell]], Cell]


def scalar(program: Program, slots: Mapping[Ref, int]) -> Scalar:
    """Return a function of one row: `cells[slots[ref]]` is the cell of a name, None (or NaN) where it is missing.

    It returns what `interpret` returns: a cell, None for missing; for yes/no True, False, or None for unknown. It
    raises LanguageError when kinds clash. Raises ValueError here when a name of the program has no slot.
    """
    lacking = [str(ref) for ref in program.refs if ref not in slots]
    if lacking:
        raise ValueError(f"no slot for {', '.join(lacking)}")
    slow = _interpreted(program, dict(slots))
    try:
        tree = fold(program.tree)
        emitter = _Emitter(guess(tree, program.kind))
        source = emitter.function(tree, program.kind, slots)
    except (NoFastPathError, LanguageError):
        return slow
    scope: dict[str, Any] = {**_SCOPE, **emitter.constants, "slow": slow}
    # The source is made of fixed words, numbers and names of ours; text of the expression only enters as constants.
    exec(compile(source, "<expression>", "exec"), scope)  # noqa: S102
    # Left in the scope, which is its globals, it would keep itself alive until the collector runs.
    function: Scalar = scope.pop("function")
    return function


def _interpreted(program: Program, slots: dict[Ref, int]) -> Scalar:
    def slow(cells: Sequence[Cell]) -> Cell:
        return interpret(program, lambda ref: cells[slots[ref]])

    return slow


def plain(cell: object) -> float | None:
    """Return a cell that is not None as the float it is; None when it is no number that a float64 can say."""
    if isinstance(cell, float):
        return float(cell)
    if type(cell) is int and -EXACT_INTEGERS < cell < EXACT_INTEGERS:
        return float(cell)
    return None


_SCOPE: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "__builtins__": {},
        "abs": abs,
        "exp": exponential,
        "float": float,
        "found": pattern_found,
        "inf": math.inf,
        "len": len,
        "log": math.log,
        "nan": math.nan,
        "plain": plain,
        "round": round,
        "sqrt": math.sqrt,
        "str": str,
    }
)

_NUMBER_LOAD: Final = """\
    {v} = cells[{slot}]
    if {v}.__class__ is not float:
        if {v} is None:
            {v} = nan
        else:
            {v} = plain({v})
            if {v} is None:
                return slow(cells)
"""
_TEXT_LOAD: Final = """\
    {v} = cells[{slot}]
    if {v}.__class__ is not str and {v} is not None:
        return slow(cells)
"""
_FLAG_LOAD: Final = """\
    {v} = cells[{slot}]
    if {v} is not True and {v} is not False and {v} is not None:
        return slow(cells)
"""
_LOADS: Final[Mapping[Kind | None, str]] = MappingProxyType(
    {
        Kind.NUMBER: _NUMBER_LOAD,
        Kind.TEXT: _TEXT_LOAD,
        Kind.FLAG: _FLAG_LOAD,
        None: "    {v} = cells[{slot}]\n",
    }
)

_OPPOSITE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "<": "{0} >= {1}",
        "<=": "{0} > {1}",
        ">": "{0} <= {1}",
        ">=": "{0} < {1}",
        "==": "({0} < {1} or {0} > {1})",
        "!=": "{0} == {1}",
    }
)
"""What makes a comparison of numbers false. With NaN neither it nor the comparison holds: unknown."""

_FUNCTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "abs": "abs({0})",
        "sqrt": "(sqrt({0}) if {0} >= 0.0 else nan)",
        "log": "(log({0}) if {0} > 0.0 else nan)",
        "exp": "exp({0})",
        "length": "(nan if {0} is None else float(len({0})))",
        "lower": "(None if {0} is None else {0}.lower())",
        "contains": "(None if {0} is None or {1} is None else {1} in {0})",
        "starts_with": "(None if {0} is None or {1} is None else {0}.startswith({1}))",
    }
)


class _Emitter:
    """Writes the body of one function. Every method returns a Python expression; shared parts become local names."""

    def __init__(self, guesses: Guesses) -> None:
        self._guesses = guesses
        self._lines: list[str] = []
        self._variables: dict[Ref, str] = {}
        self.constants: dict[str, Any] = {}

    def function(self, tree: Node, want: Kind, slots: Mapping[Ref, int]) -> str:
        """Return the source of `function(cells)`."""
        kind = want if want is not Kind.ANY else self._guesses.of(tree)
        result = self._emit(tree, Kind.NUMBER if kind is Kind.ANY else kind)
        loads = [
            _LOADS[self._guesses.kinds.get(ref)].format(v=variable, slot=slots[ref])
            for ref, variable in self._variables.items()
        ]
        if kind in (Kind.NUMBER, Kind.ANY):
            result = self._atom(result)
            result = f"{result} if {result} == {result} else None"
        return "".join(("def function(cells):\n", *loads, *self._lines, f"    return {result}\n"))

    def _emit(self, node: Node, kind: Kind) -> str:
        found = self._guesses.of(node)
        if found not in (kind, Kind.ANY) or kind in (Kind.VECTOR, Kind.ANY):
            raise NoFastPathError
        return _EMITS[type(node)](self, node, kind)

    def _atom(self, expression: str) -> str:
        """Return a name or number that stands for the expression, so it is worked out once."""
        if expression.replace(".", "").replace("_", "").isalnum():
            return expression
        name = f"t{len(self._lines)}"
        self._lines.append(f"    {name} = {expression}\n")
        return name

    def _atoms(self, nodes: Sequence[Node], kind: Kind) -> list[str]:
        return [self._atom(self._emit(node, kind)) for node in nodes]

    def _constant(self, value: object) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    # Leaves.

    def literal(self, node: Literal, kind: Kind) -> str:
        value = node.value
        if value is None:
            return "nan" if kind is Kind.NUMBER else "None"
        if isinstance(value, bool):
            return str(value)
        if isinstance(value, float) and math.isfinite(value) and math.copysign(1.0, value) > 0:
            return repr(value) if "e" not in repr(value) else self._constant(value)
        return self._constant(value)

    def name(self, node: Name, _kind: Kind) -> str:
        return self._variables.setdefault(node.ref, f"v{len(self._variables)}")

    def kpi(self, node: KpiValue, kind: Kind) -> str:
        return self._emit(node.body, kind)

    # Numbers.

    def _real(self, node: Node) -> str:
        if isinstance(node, Literal) and type(node.value) is int:
            return self._constant(real(node.value))
        return self._emit(node, Kind.NUMBER)

    def arithmetic(self, node: Arithmetic, _kind: Kind) -> str:
        result = self._real(node.operands[0])
        for sign, operand in zip(node.operators, node.operands[1:], strict=True):
            right = self._real(operand)
            if sign != "/" or (isinstance(operand, Literal) and operand.value):
                result = f"{result} {sign} {right}"
            else:
                right = self._atom(right)
                result = f"({result}) / {right} if {right} else nan"
            # Long chains are cut, so that the source never nests deeper than the expression does.
            result = self._atom(result) if sign == "/" or len(result) > 500 else result
        return f"({result})"

    def negate(self, node: Negate, _kind: Kind) -> str:
        return f"(-{self._real(node.operand)})"

    # Yes/no.

    def compare(self, node: Compare, _kind: Kind) -> str:
        kind = self._guesses.common(node.operands)
        if kind is Kind.ANY:
            return "None"
        atoms = self._atoms(node.operands, kind)
        if kind is Kind.NUMBER:
            return _number_chain(node.operators, atoms)
        pairs = zip(node.operators, node.operands, node.operands[1:], atoms, atoms[1:], strict=False)
        result = ""
        for sign, left, right, first, second in pairs:
            tests = [
                f"{atom} is None" for side, atom in ((left, first), (right, second)) if not _present(side)
            ]
            pair = (
                f"(None if {' or '.join(tests)} else {first} {sign} {second})"
                if tests
                else f"({first} {sign} {second})"
            )
            result = self._both("and", result, pair) if result else pair
        return result

    def _both(self, operator: str, left: str, right: str) -> str:
        left, right = self._atom(left), self._atom(right)
        if operator == "and":
            return f"({right} if {left} else False if {left} is False or {right} is False else None)"
        return f"(True if {left} or {right} else {right} if {left} is False else None)"

    def logic(self, node: Logic, _kind: Kind) -> str:
        result = self._emit(node.operands[0], Kind.FLAG)
        for operand in node.operands[1:]:
            result = self._both(node.operator, result, self._emit(operand, Kind.FLAG))
        return result

    def negation(self, node: Not, _kind: Kind) -> str:
        operand = self._atom(self._emit(node.operand, Kind.FLAG))
        return f"(None if {operand} is None else not {operand})"

    def within(self, node: Within, _kind: Kind) -> str:
        kind = self._guesses.of(node.operand)
        if node.members is None or kind is Kind.ANY:
            self._emit(node.operand, Kind.NUMBER if kind is Kind.ANY else kind)
            return "None"
        members = node.members
        if members.kind not in (kind, Kind.ANY):
            raise NoFastPathError
        by_kind: dict[Kind, frozenset[Any]] = {Kind.NUMBER: members.numbers, Kind.TEXT: members.texts}
        operand = self._atom(self._emit(node.operand, kind))
        known = f"{operand} == {operand}" if kind is Kind.NUMBER else f"{operand} is not None"
        values = self._constant(by_kind.get(kind, members.flags))
        return f"({operand} {'not in' if node.negated else 'in'} {values} if {known} else None)"

    def is_missing(self, node: IsMissing, _kind: Kind) -> str:
        operand = node.operand
        if isinstance(operand, Name) and operand.ref not in self._guesses.kinds:
            name = self.name(operand, Kind.ANY)
            # None != None is false, NaN != NaN is true, and nothing else differs from itself.
            return (
                f"({name} is not None and {name} == {name})"
                if node.negated
                else f"({name} is None or {name} != {name})"
            )
        kind = self._guesses.of(operand)
        atom = self._atom(self._emit(operand, Kind.NUMBER if kind is Kind.ANY else kind))
        if kind in (Kind.NUMBER, Kind.ANY):
            return f"({atom} == {atom})" if node.negated else f"({atom} != {atom})"
        return f"({atom} is not None)" if node.negated else f"({atom} is None)"

    # Choices and calls.

    def choice(self, node: If, kind: Kind) -> str:
        condition = self._atom(self._emit(node.condition, Kind.FLAG))
        refuse_exact((node.yes, node.no))
        yes, no = self._emit(node.yes, kind), self._emit(node.no, kind)
        unknown = "nan" if kind is Kind.NUMBER else "None"
        return f"({yes} if {condition} else {no} if {condition} is False else {unknown})"

    def coalesce(self, node: Coalesce, kind: Kind) -> str:
        refuse_exact(node.operands)
        atoms = self._atoms(node.operands, kind)
        test = "{0} if {0} == {0} else " if kind is Kind.NUMBER else "{0} if {0} is not None else "
        return f"({''.join(test.format(atom) for atom in atoms[:-1])}{atoms[-1]})"

    def call(self, node: Call, _kind: Kind) -> str:
        name, arguments = node.function, node.arguments
        if name == "matches":
            subject = self._atom(self._emit(arguments[0], Kind.TEXT))
            return f"(None if {subject} is None else found({self._constant(node.pattern)}, {subject}))"
        if name == "round":
            digits = arguments[1].value if len(arguments) == 2 and isinstance(arguments[1], Literal) else 0.0
            return f"round({self._real(arguments[0])}, {int(digits)})"  # type: ignore[arg-type]
        if name in ("min", "max"):
            return self._extreme("<=" if name == "min" else ">=", arguments)
        if name == "clamp":
            return self._clamp(arguments)
        if FUNCTIONS[name].argument is Kind.TEXT:
            return _FUNCTIONS[name].format(*self._atoms(arguments, Kind.TEXT))
        return _FUNCTIONS[name].format(*(self._atom(self._real(argument)) for argument in arguments))

    def _extreme(self, sign: str, arguments: Sequence[Node]) -> str:
        refuse_exact(arguments)
        atoms = self._atoms(arguments, Kind.NUMBER)
        result = atoms[0]
        for atom in atoms[1:]:
            result = _better(self._atom(result), sign, atom)
        return result

    def _clamp(self, arguments: Sequence[Node]) -> str:
        refuse_exact(arguments)
        value, low, high = self._atoms(arguments, Kind.NUMBER)
        return _better(self._atom(_better(value, ">=", low)), "<=", high)


def _better(left: str, sign: str, right: str) -> str:
    """Return the smaller or larger of two numbers; NaN when one is NaN."""
    return f"({left} if {left} {sign} {right} or {left} != {left} else {right})"


def _number_chain(signs: Sequence[str], atoms: Sequence[str]) -> str:
    pairs = list(zip(signs, atoms, atoms[1:], strict=False))
    if "!=" in signs:
        holds = " and ".join(
            f"({left} < {right} or {left} > {right})" if sign == "!=" else f"{left} {sign} {right}"
            for sign, left, right in pairs
        )
    else:
        holds = atoms[0] + "".join(f" {sign} {right}" for sign, _, right in pairs)
    fails = " or ".join(_OPPOSITE[sign].format(left, right) for sign, left, right in pairs)
    return f"(True if {holds} else False if {fails} else None)"


def _present(node: Node) -> bool:
    return isinstance(node, Literal) and node.value is not None


_EMITS: Final[Mapping[type, Callable[[_Emitter, Any, Kind], str]]] = MappingProxyType(
    {
        Literal: _Emitter.literal,
        Name: _Emitter.name,
        KpiValue: _Emitter.kpi,
        Arithmetic: _Emitter.arithmetic,
        Negate: _Emitter.negate,
        Compare: _Emitter.compare,
        Within: _Emitter.within,
        IsMissing: _Emitter.is_missing,
        Logic: _Emitter.logic,
        Not: _Emitter.negation,
        If: _Emitter.choice,
        Coalesce: _Emitter.coalesce,
        Call: _Emitter.call,
    }
)
