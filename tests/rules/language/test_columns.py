"""The numpy back-end takes columns of tables and gives columns back."""

import sys

import numpy as np
import pytest

from guardproxy.rules.language import (
    Column,
    Kind,
    OpenNames,
    Program,
    Ref,
    column_from_cells,
    column_from_table,
    compile_expression,
    constant_column,
    vector,
)
from guardproxy.rules.language.interpreter import interpret
from guardproxy.table import Cell, table_from_columns

X = Ref("features", "x")
TABLE = table_from_columns({"n": [1.0, None, 2.5], "t": ["a", None, 3.0], "big": [2**53 + 1, 1, None]}, 3)


def run(text: str, column: Column, rows: int, want: Kind | None = None) -> Column:
    program = compile_expression(text, OpenNames(), want=want)
    assert isinstance(program, Program), program
    return vector(program, {X: 0})([column], rows)


def test_a_column_of_plain_numbers_is_the_block_of_the_table_itself() -> None:
    column = column_from_table(TABLE, "n")
    assert column.objects is None
    assert np.shares_memory(column.numbers, TABLE.block)


@pytest.mark.parametrize("field", ["n", "t", "big", "absent"])
def test_a_column_has_the_cells_of_the_table(field: str) -> None:
    column = column_from_table(TABLE, field)
    assert tuple(column.cell(row) for row in range(3)) == TABLE.column(field)


def test_a_yes_no_result_has_one_code_per_row() -> None:
    column = run("features.x > 2", column_from_cells([1.0, 3.0, None, "a", 2**60]), 5)
    assert column.codes is not None
    assert column.codes.dtype == np.int8
    assert column.codes.tolist() == [0, 1, 2, 3, 1]
    assert [column.failed(row) for row in range(5)] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('features.x in ["a", "b"]', ["a", "c", None]),
        ("features.x in [1, 2]", [1.0, 3.0, None]),
        ("features.x in [1, 2, 3, 4, 5, 6, 7, 8, 9]", [9.0, 10.0, None]),
        ("features.x in [true]", [True, False, None]),
    ],
)
def test_what_is_missing_is_neither_in_a_list_nor_outside_it(text: str, cells: list[Cell]) -> None:
    for written, codes in ((text, [1, 0, 2]), (text.replace(" in ", " not in "), [0, 1, 2])):
        column = run(written, column_from_cells(cells), 3)
        assert column.codes is not None
        assert column.codes.tolist() == codes


def test_a_number_result_marks_the_rows_that_clash() -> None:
    column = run("features.x * 2", column_from_cells([1.0, "a", None]), 3)
    assert column.errors is not None
    assert column.errors.tolist() == [False, True, False]
    assert [column.cell(row) for row in range(3)] == [2.0, None, None]


def test_a_result_of_unknown_kind_keeps_every_cell_as_it_is() -> None:
    cells = [1.0, "a", None, True, 2**60, (0.5, None)]
    column = run("features.x", column_from_cells(cells), len(cells))
    assert [column.cell(row) for row in range(len(cells))] == cells


def test_results_may_be_inputs_of_other_programs() -> None:
    flags = run("features.x > 2", column_from_cells([1.0, 3.0, None]), 3)
    again = run("not features.x", flags, 3, Kind.FLAG)
    assert again.codes is not None
    assert again.codes.tolist() == [1, 0, 2]
    compared = run("features.x > 2", flags, 3)
    assert compared.codes is not None
    assert compared.codes.tolist() == [3, 3, 2]


def test_an_input_is_never_written_to() -> None:
    column = column_from_cells([1.0, "a", None])
    column.numbers.flags.writeable = False
    assert column.objects is not None
    column.objects.flags.writeable = False
    run("features.x ?? 3", column, 3)
    assert [column.cell(row) for row in range(3)] == [1.0, "a", None]


@pytest.mark.parametrize("cell", [3.0, None, "a", True, 2**60, (0.5, None)])
def test_a_constant_column_has_the_same_cell_everywhere(cell: object) -> None:
    column = constant_column(cell, 2)  # type: ignore[arg-type]
    assert [column.cell(row) for row in range(2)] == [cell, cell]


def test_a_program_of_constants_gives_a_full_column() -> None:
    assert run("1 + 2", column_from_cells([]), 3).numbers.tolist() == [3.0, 3.0, 3.0]
    codes = run("1 < 2", column_from_cells([]), 3).codes
    assert codes is not None
    assert codes.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "text", ["features.x > 2", "features.x ?? 1", 'features.x == "a"', "lower(features.x)", "true"]
)
def test_no_rows_give_an_empty_column(text: str) -> None:
    column = run(text, column_from_cells([]), 0)
    assert len(column.numbers if column.codes is None else column.codes) == 0


def test_only_rows_of_another_kind_than_guessed_go_to_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[object] = []

    def counting(program: Program, lookup: object) -> object:
        seen.append(lookup(X))  # type: ignore[operator]
        return interpret(program, lookup)  # type: ignore[arg-type]

    # The function `vector` hides its module of the same name.
    monkeypatch.setattr(sys.modules[vector.__module__], "interpret", counting)
    run("features.x > 2", column_from_cells([1.0, 3, None, 2**60, float("inf")]), 5)
    assert seen == [2**60]
