"""Three-valued logic against truth tables that are worked out another way: no is 0, unknown a half, yes 1."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import pytest

from guardproxy.rules.language import (
    Kind,
    OpenNames,
    Program,
    Ref,
    column_from_cells,
    compile_expression,
    interpret,
    scalar,
    vector,
)

Truth = Fraction
NO, UNKNOWN, YES = Truth(0), Truth(1, 2), Truth(1)
CELLS = {NO: False, UNKNOWN: None, YES: True}
ROWS = list(product(CELLS, repeat=3))
REFS = [Ref("features", name) for name in "abc"]


class Flags(OpenNames):
    """Every field is yes/no."""

    def kind(self, _ref: Ref) -> Kind:
        return Kind.FLAG


def equal(a: Truth, b: Truth) -> Truth:
    return UNKNOWN if UNKNOWN in (a, b) else Truth(a == b)


def chosen(a: Truth, b: Truth, c: Truth) -> Truth:
    return {YES: b, NO: c, UNKNOWN: UNKNOWN}[a]


def within(a: Truth, *members: Truth) -> Truth:
    return UNKNOWN if a == UNKNOWN else Truth(a in members)


def first(*truths: Truth) -> Truth:
    return next((truth for truth in truths if truth != UNKNOWN), UNKNOWN)


TABLES: list[tuple[str, Callable[[Truth, Truth, Truth], Truth]]] = [
    ("A", lambda a, _b, _c: a),
    ("not A", lambda a, _b, _c: 1 - a),
    ("A and B", lambda a, b, _c: min(a, b)),
    ("A or B", lambda a, b, _c: max(a, b)),
    ("A and B and C", min),
    ("A or B or C", max),
    ("(A and B) or C", lambda a, b, c: max(min(a, b), c)),
    ("not (A or not B)", lambda a, b, _c: 1 - max(a, 1 - b)),
    ("A == B", lambda a, b, _c: equal(a, b)),
    ("A != B", lambda a, b, _c: 1 - equal(a, b)),
    ("A == B == C", lambda a, b, c: min(equal(a, b), equal(b, c))),
    ("A == true", lambda a, _b, _c: equal(a, YES)),
    ("A != false", lambda a, _b, _c: 1 - equal(a, NO)),
    ("if A then B else C", chosen),
    ("if A then true else B", lambda a, b, _c: chosen(a, YES, b)),
    ("A ?? B", lambda a, b, _c: first(a, b)),
    ("A ?? B ?? C", first),
    ("A ?? false", lambda a, _b, _c: first(a, NO)),
    ("A is missing", lambda a, _b, _c: Truth(a == UNKNOWN)),
    ("A is not missing", lambda a, _b, _c: Truth(a != UNKNOWN)),
    ("(A and B) is missing", lambda a, b, _c: Truth(min(a, b) == UNKNOWN)),
    ("A in [true]", lambda a, _b, _c: within(a, YES)),
    ("A in [false]", lambda a, _b, _c: within(a, NO)),
    ("A in [true, false]", lambda a, _b, _c: within(a, YES, NO)),
    ("A not in [true]", lambda a, _b, _c: 1 - within(a, YES)),
    ("A not in [false]", lambda a, _b, _c: 1 - within(a, NO)),
]


@pytest.mark.parametrize(("written", "table"), TABLES, ids=[written for written, _ in TABLES])
@pytest.mark.parametrize("of", ["features.{}", "(features.{} == true)"], ids=["names", "comparisons"])
def test_logic_follows_its_truth_table_in_every_back_end(
    written: str, table: Callable[[Truth, Truth, Truth], Truth], of: str
) -> None:
    text = "".join(of.format(mark.lower()) if mark in "ABC" else mark for mark in written)
    program = compile_expression(text, Flags(), want=Kind.FLAG)
    assert isinstance(program, Program), program
    slots = {ref: slot for slot, ref in enumerate(REFS)}
    run = scalar(program, slots)
    cells = [[CELLS[truth] for truth in row] for row in ROWS]
    expected = [CELLS[table(*row)] for row in ROWS]
    assert [interpret(program, dict(zip(REFS, row, strict=True)).__getitem__) for row in cells] == expected
    assert [run(row) for row in cells] == expected
    columns = [column_from_cells(column) for column in zip(*cells, strict=True)]
    result = vector(program, slots)(columns, len(cells))
    assert [result.cell(row) for row in range(len(cells))] == expected
    assert result.codes is not None
    assert result.codes.max() <= 2
