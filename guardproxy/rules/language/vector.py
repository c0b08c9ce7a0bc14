"""numpy functions for many rows, put together from the tree of a program.

Decides which operation of `kernels` follows which. The functions hold for rows whose cells are of the guessed kinds;
all other rows go to the interpreter one by one, so both always agree.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.rules.language.arrays import (
    FALSE,
    FINISHES,
    LOADS,
    NAN,
    Flags,
    FlagStep,
    Masks,
    NumberStep,
    Rows,
    Texts,
    finish_flag_cells,
    no_numbers,
)
from guardproxy.rules.language.columns import ERROR, UNKNOWN, Column, constant_column
from guardproxy.rules.language.flaws import LanguageError
from guardproxy.rules.language.folding import fold
from guardproxy.rules.language.functions import pattern_found
from guardproxy.rules.language.guesses import Guesses, NoFastPathError, guess, refuse_exact
from guardproxy.rules.language.interpreter import interpret
from guardproxy.rules.language.kernels import (
    ARITHMETIC,
    CHOICES,
    COALESCES,
    COMPARES,
    EXTREMES,
    MEMBERSHIPS,
    SINGLE,
    always_unknown,
    calculated,
    divided,
    negated,
    rounding,
    text_call,
)
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
from guardproxy.rules.language.semantics import TEXT_FUNCTIONS, real
from guardproxy.table import Cell, Mask, is_plain_number

Vector: TypeAlias = Callable[[Sequence[Column], int], Column]


def vector(program: Program, slots: Mapping[Ref, int]) -> Vector:
    """Return a function of many rows: `columns[slots[ref]]` is the column of a name; the second argument the rows.

    The result says for every row what `interpret` would: yes/no as `codes`, everything else as `numbers`, `objects`
    and `errors`. Inputs may be results of other programs; their errors and unknowns count as missing. Raises ValueError
    here when a name of the program has no slot.
    """
    lacking = [str(ref) for ref in program.refs if ref not in slots]
    if lacking:
        raise ValueError(f"no slot for {', '.join(lacking)}")
    run = _Run(program, {ref: slots[ref] for ref in program.refs})
    try:
        tree = fold(program.tree)
        if isinstance(tree, Literal):
            return run.constant(tree.value)
        builder = _Builder(guess(tree, program.kind))
        kind = program.kind if program.kind is not Kind.ANY else builder.guesses.of(tree)
        kind = Kind.NUMBER if kind is Kind.ANY else kind
        step = builder.build(tree, kind)
    except (NoFastPathError, LanguageError):
        return run.interpreted
    return run.stepped(step, kind, builder)


class _Run:
    """Runs one program on columns: the fast step where it can, the interpreter for the other rows."""

    def __init__(self, program: Program, slots: Mapping[Ref, int]) -> None:
        self._program = program
        self._slots = slots
        self._flag = program.kind is Kind.FLAG

    def constant(self, cell: Cell) -> Vector:
        def run(_columns: Sequence[Column], rows: int) -> Column:
            if self._flag:
                codes = np.full(rows, UNKNOWN if cell is None else int(bool(cell)), dtype=np.int8)
                return Column(no_numbers(rows), codes=codes)
            return constant_column(cell, rows)

        return run

    def interpreted(self, columns: Sequence[Column], rows: int) -> Column:
        """Interpret every row."""
        if self._flag:
            blank = Column(no_numbers(rows), codes=np.full(rows, UNKNOWN, dtype=np.int8))
        else:
            blank = Column(np.full(rows, np.nan))
        return self._patched(blank, np.arange(rows), columns)

    def stepped(self, step: Callable[[Rows], Any], kind: Kind, builder: "_Builder") -> Vector:
        loads = [(self._slots[ref], LOADS[builder.guesses.kinds.get(ref)]) for ref in builder.inputs]
        # A result whose kind no one could tell at load may be something else than yes/no in a row, so it has cells.
        finish = finish_flag_cells if kind is Kind.FLAG and not self._flag else FINISHES[kind]

        def run(columns: Sequence[Column], rows: int) -> Column:
            inputs = []
            odd: Mask | None = None
            for slot, load in loads:
                value, strange = load(columns[slot])
                inputs.append(value)
                if strange is not None:
                    odd = strange if odd is None else odd | strange
            if builder.calculates:
                with np.errstate(all="ignore"):
                    result = finish(step(Rows(rows, inputs)), rows)
            else:
                result = finish(step(Rows(rows, inputs)), rows)
            if odd is None or not odd.any():
                return result
            return self._patched(result, np.flatnonzero(odd), columns)

        return run

    def _patched(self, result: Column, rows: NDArray[np.intp], columns: Sequence[Column]) -> Column:
        """Return the result with the given rows replaced by what the interpreter says."""
        cells: dict[int, Cell] = {}
        errors = np.zeros(len(result.numbers) if result.codes is None else len(result.codes), dtype=np.bool_)
        for row in rows.tolist():
            try:
                cells[row] = interpret(self._program, lambda ref: columns[self._slots[ref]].cell(row))  # noqa: B023
            except LanguageError:
                cells[row] = None
                errors[row] = True
        if result.codes is not None:
            codes = result.codes.copy()
            for row, cell in cells.items():
                codes[row] = ERROR if errors[row] else UNKNOWN if cell is None else int(bool(cell))
            return Column(result.numbers, codes=codes)
        return _replaced(result, cells, errors if errors.any() else None)


def _replaced(result: Column, cells: Mapping[int, Cell], errors: Mask | None) -> Column:
    numbers = result.numbers.copy()
    objects = None if result.objects is None else result.objects.copy()
    if objects is None and not all(cell is None or is_plain_number(cell) for cell in cells.values()):
        objects = numbers.astype(object)
        objects[np.isnan(numbers)] = None
    for row, cell in cells.items():
        numbers[row] = cell if is_plain_number(cell) else np.nan
        if objects is not None:
            objects[row] = cell
    classes = frozenset() if objects is None else frozenset(map(type, objects.tolist()))
    return Column(numbers, objects, classes, None, errors)


class _Builder:
    """Makes a step of every node; a step takes the inputs and returns the node's value in all rows.

    `calculates` tells whether numpy may find a result remarkable (x / 0), which comparisons never are.
    """

    def __init__(self, guesses: Guesses) -> None:
        self.guesses = guesses
        self.calculates = False
        self.inputs: dict[Ref, int] = {}

    def build(self, node: Node, kind: Kind) -> Any:
        found = self.guesses.of(node)
        if found not in (kind, Kind.ANY) or kind in (Kind.VECTOR, Kind.ANY):
            raise NoFastPathError
        return _BUILDS[type(node)](self, node, kind)

    def _number(self, node: Node) -> NumberStep:
        """Make the step of a node whose value is calculated with, and therefore is float64."""
        if isinstance(node, Literal) and type(node.value) is int:
            value = np.float64(real(node.value))
            return lambda _rows: value
        step: NumberStep = self.build(node, Kind.NUMBER)
        return step

    # Leaves.

    def literal(self, node: Literal, kind: Kind) -> Callable[[Rows], Any]:
        value: Any
        if kind is Kind.NUMBER:
            value = _exact_literal(node.value)
        elif kind is Kind.TEXT:
            value = Texts(node.value, np.bool_(node.value is not None))  # type: ignore[arg-type]
        else:
            value = Flags(np.bool_(node.value is True), np.bool_(node.value is False))
        return lambda _rows: value

    def name(self, node: Name, _kind: Kind) -> Callable[[Rows], Any]:
        position = self.inputs.setdefault(node.ref, len(self.inputs))
        return lambda rows: rows.inputs[position]

    def kpi(self, node: KpiValue, kind: Kind) -> Any:
        return self.build(node.body, kind)

    # Numbers.

    def arithmetic(self, node: Arithmetic, _kind: Kind) -> NumberStep:
        self.calculates = True
        step = self._number(node.operands[0])
        for sign, operand in zip(node.operators, node.operands[1:], strict=True):
            safe = sign != "/" or (isinstance(operand, Literal) and bool(operand.value))
            step = calculated(ARITHMETIC[sign] if safe else divided, step, self._number(operand))
        return step

    def negate(self, node: Negate, _kind: Kind) -> NumberStep:
        step = self._number(node.operand)
        return lambda rows: -step(rows)

    # Yes/no.

    def compare(self, node: Compare, _kind: Kind) -> FlagStep:
        kind = self.guesses.common(node.operands)
        if kind is Kind.ANY:
            return always_unknown
        steps = [self.build(operand, kind) for operand in node.operands]
        compare = COMPARES[kind]
        pairs = list(zip(map(compare, node.operators), range(len(steps)), strict=False))

        def run(rows: Rows) -> Flags:
            values = [step(rows) for step in steps]
            result: Flags | None = None
            for pair, left in pairs:
                one = pair(values[left], values[left + 1], rows.count)
                result = one if result is None else Flags(result.yes & one.yes, result.no | one.no)
            return result or Flags(FALSE, FALSE)

        return run

    def within(self, node: Within, _kind: Kind) -> FlagStep:
        kind = self.guesses.of(node.operand)
        step = self.build(node.operand, Kind.NUMBER if kind is Kind.ANY else kind)
        members = node.members
        if members is None or kind is Kind.ANY:
            return always_unknown
        if members.kind not in (kind, Kind.ANY):
            raise NoFastPathError
        by_kind: dict[Kind, frozenset[Any]] = {Kind.NUMBER: members.numbers, Kind.TEXT: members.texts}
        found = MEMBERSHIPS[kind](step, by_kind.get(kind, members.flags))
        return negated(found) if node.negated else found

    def is_missing(self, node: IsMissing, _kind: Kind) -> FlagStep:
        missing = self._missing(node.operand)
        if node.negated:
            return lambda rows: Flags(~(mask := missing(rows)), mask)
        return lambda rows: Flags(mask := missing(rows), ~mask)

    def _missing(self, operand: Node) -> Callable[[Rows], Masks]:
        if isinstance(operand, Name) and operand.ref not in self.guesses.kinds:
            return self.name(operand, Kind.ANY)
        kind = self.guesses.of(operand)
        step = self.build(operand, Kind.NUMBER if kind is Kind.ANY else kind)
        if kind is Kind.TEXT:
            return lambda rows: ~step(rows).present
        if kind is Kind.FLAG:
            return lambda rows: _unknown(step(rows))
        return lambda rows: np.isnan(step(rows))

    def logic(self, node: Logic, _kind: Kind) -> FlagStep:
        steps: list[FlagStep] = [self.build(operand, Kind.FLAG) for operand in node.operands]
        conjunction = node.operator == "and"

        def run(rows: Rows) -> Flags:
            yes, no = steps[0](rows)
            for step in steps[1:]:
                one = step(rows)
                yes, no = (yes & one.yes, no | one.no) if conjunction else (yes | one.yes, no & one.no)
            return Flags(yes, no)

        return run

    def negation(self, node: Not, _kind: Kind) -> FlagStep:
        return negated(self.build(node.operand, Kind.FLAG))

    # Choices and calls.

    def choice(self, node: If, kind: Kind) -> Callable[[Rows], Any]:
        refuse_exact((node.yes, node.no))
        condition: FlagStep = self.build(node.condition, Kind.FLAG)
        yes, no, choose = self.build(node.yes, kind), self.build(node.no, kind), CHOICES[kind]
        return lambda rows: choose(condition(rows), yes(rows), no(rows), rows.count)

    def coalesce(self, node: Coalesce, kind: Kind) -> Callable[[Rows], Any]:
        refuse_exact(node.operands)
        steps = [self.build(operand, kind) for operand in node.operands]
        combine = COALESCES[kind]

        def run(rows: Rows) -> Any:
            value = steps[0](rows)
            for step in steps[1:]:
                value = combine(value, step(rows), rows.count)
            return value

        return run

    def call(self, node: Call, _kind: Kind) -> Callable[[Rows], Any]:
        name, arguments = node.function, node.arguments
        self.calculates = True
        if name in EXTREMES:
            refuse_exact(arguments)
        if name == "matches":
            return text_call(
                lambda text: pattern_found(node.pattern, text),
                [self.build(arguments[0], Kind.TEXT)],
                Kind.FLAG,
            )
        if name in TEXT_FUNCTIONS:
            return text_call(
                TEXT_FUNCTIONS[name], [self.build(each, Kind.TEXT) for each in arguments], node.kind
            )
        if name == "round":
            digits = arguments[1].value if len(arguments) == 2 and isinstance(arguments[1], Literal) else 0.0
            return rounding(self._number(arguments[0]), int(digits))  # type: ignore[arg-type]
        steps = [self._number(argument) for argument in arguments]
        function = EXTREMES.get(name) or SINGLE[name]
        return lambda rows: function([step(rows) for step in steps], rows.count)


def _unknown(flags: Flags) -> Masks:
    return ~(flags.yes | flags.no)


def _exact_literal(value: Cell) -> np.float64:
    if value is None:
        return NAN
    if isinstance(value, int) and real(value) != value:
        raise NoFastPathError
    return np.float64(value)  # type: ignore[arg-type]


_BUILDS: Final[Mapping[type, Callable[[_Builder, Any, Kind], Any]]] = MappingProxyType(
    {
        Literal: _Builder.literal,
        Name: _Builder.name,
        KpiValue: _Builder.kpi,
        Arithmetic: _Builder.arithmetic,
        Negate: _Builder.negate,
        Compare: _Builder.compare,
        Within: _Builder.within,
        IsMissing: _Builder.is_missing,
        Logic: _Builder.logic,
        Not: _Builder.negation,
        If: _Builder.choice,
        Coalesce: _Builder.coalesce,
        Call: _Builder.call,
    }
)
