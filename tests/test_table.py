"""The table keeps every cell as it came."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.table import Cell, Table, json_cell, stack_tables, table_from_columns, table_from_records

CELLS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), CELLS, max_size=3), min_size=1, max_size=5))
def test_every_cell_comes_back_as_it_was_and_nan_as_missing(records: list[dict[str, Cell]]) -> None:
    table = table_from_records(records)
    for row, record in enumerate(records):
        for name in table.fields:
            given_cell = record.get(name)
            expected = None if isinstance(given_cell, float) and math.isnan(given_cell) else given_cell
            found = table.cell(name, row)
            assert found == expected
            assert table.column(name)[row] == found
            # Yes/no is not a number, and a number is not yes/no.
            assert isinstance(found, bool) == isinstance(expected, bool)


def test_whole_numbers_beyond_two_to_the_53_stay_exact() -> None:
    table = table_from_columns({"id": [2**53 + 1, 2**53]}, 2)
    assert table.column("id") == (2**53 + 1, 2**53)


def test_an_absent_field_is_missing_in_every_row() -> None:
    table = table_from_records([{"a": 1.0}])
    assert table.cell("b", 0) is None
    assert table.column("b") == (None,)


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 2"):
        table_from_columns({"a": [1.0]}, 2)


def test_the_block_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        table_from_records([{"a": 1.0}]).block[0, 0] = 2.0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_a_row_kept_as_floats_says_the_same_as_its_block(numbers: list[float]) -> None:
    fields = tuple(f"x{i}" for i in range(len(numbers)))
    row = Table(fields, 1, None, single=list(numbers))
    assert row.block[:, 0].tolist() == numbers
    assert table_from_records([row.record(0)]).single() == row.single()
    assert not row.block.flags.writeable


def test_only_a_table_of_one_row_has_a_single_row() -> None:
    with pytest.raises(ValueError, match="2 rows"):
        table_from_records([{"a": 1.0}, {"a": 2.0}]).single()


ODD_CELLS = st.one_of(
    st.none(),
    st.floats(allow_nan=False),
    st.integers(-(2**60), 2**60),
    st.text(max_size=3),
    st.booleans(),
    st.tuples(st.floats(0, 1), st.none()),
)


@given(st.lists(st.lists(st.tuples(ODD_CELLS, ODD_CELLS), min_size=1, max_size=3), min_size=1))
def test_stacked_tables_hold_the_rows_of_each_in_order(parts: list[list[tuple[Cell, Cell]]]) -> None:
    records = [[{"a": a, "b": b} for a, b in rows] for rows in parts]
    stacked = stack_tables([table_from_records(rows) for rows in records])
    together = table_from_records([record for rows in records for record in rows])
    assert (stacked.fields, stacked.rows) == (("a", "b"), together.rows)
    assert [stacked.record(row) for row in range(stacked.rows)] == [
        together.record(row) for row in range(together.rows)
    ]


def test_a_cell_that_json_cannot_say_is_told_as_text() -> None:
    assert json_cell((1.0, None, float("inf"))) == [1.0, None, "inf"]
    assert json_cell(float("-inf")) == "-inf"
    assert [json_cell(cell) for cell in (None, True, 3, 2.5, "x")] == [None, True, 3, 2.5, "x"]
