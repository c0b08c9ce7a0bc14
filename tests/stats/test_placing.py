"""Which cell a value of live traffic counts in: the same as in the reference data."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.profile.cells import Cells, Measure
from guardproxy.stats.layout import Span
from guardproxy.stats.placing import Placing
from guardproxy.table import Cell, table_from_columns
from tests.stats.counted import NUMBER, WORDS, lengths

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)
FLAGS = Cells(values=(False, True), counts=(1,) * 6)
STEPS = Cells(values=(1.0, 2.0, 3.0), known=frozenset({7.0}), counts=(1,) * 7)


def named(cells: Cells, values: Sequence[Cell], at: float = 0.0) -> list[str]:
    """Return the names of the cells that values count in."""
    placing = Placing([Span("f", 100, cells)], ["f"], ("f", "g"))
    table = table_from_columns({"f": values, "g": [0.0] * len(values)}, len(values))
    places = placing.of(table, np.full(len(values), at))
    return [cells.names[place - 100] for place in places[0].tolist()]


@given(
    st.lists(st.lists(st.floats(-100, 100), unique=True, max_size=19).map(sorted), min_size=1, max_size=5),
    st.data(),
)
def test_many_number_fields_at_once_count_as_each_by_itself(
    edges: list[list[float]], data: st.DataObject
) -> None:
    cells = [Cells(edges=tuple(one), low=-50.0, high=50.0) for one in edges]
    rows = data.draw(st.integers(1, 6))
    columns = {
        str(place): data.draw(st.lists(NUMBERS, min_size=rows, max_size=rows)) for place in range(len(cells))
    }
    spans, start = [], 0
    for place, one in enumerate(cells):
        spans.append(Span(str(place), start, one))
        start += one.size
    table = table_from_columns(columns, rows)
    places = Placing(spans, list(columns), table.fields).of(table, np.zeros(rows))
    for place, span in enumerate(spans):
        assert (
            places[place].tolist()
            == (span.start + span.cells.of_numbers(table.block[place]).astype(int)).tolist()
        )


def test_numbers_count_in_their_interval_or_outside_of_all() -> None:
    values = [0.0, 0.999, 1.0, 9.0, 10.0, 10.1, -0.1, math.inf, None, math.nan]
    assert named(NUMBER, values) == [
        "0 to 1", "0 to 1", "1 to 2", "5 to 10", "5 to 10", "above", "below", "missing", "missing", "missing",
    ]  # fmt: skip


def test_what_is_no_number_in_a_number_field_is_of_another_type() -> None:
    assert named(NUMBER, [1.5, "dear", True, (1.0, 2.0), None, 2**70]) == [
        "1 to 2", "type", "type", "type", "missing", "above",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "values", "names"),
    [
        (WORDS, ["dairy", "fish", "meat", "tofu", None], ["dairy", "fish", "other", "unseen", "missing"]),
        (WORDS, ["dairy", 5.0, True, (1.0,), 10**400], ["dairy", "unseen", "type", "type", "unseen"]),
        (Cells(values=("1", "2")), [1.0, 2.0, 1.5, None], ["1", "2", "unseen", "missing"]),
        (FLAGS, [True, False, None, 1.0, "yes"], ["True", "False", "missing", "True", "type"]),
        (FLAGS, [1.0, 0.0, None, 2.0], ["True", "False", "missing", "type"]),
        (STEPS, [1.0, 2, 7, 8.0, None, math.nan], ["1", "2", "other", "unseen", "missing", "missing"]),
        (STEPS, [1.0, True, "1", (1.0,), None], ["1", "type", "type", "type", "missing"]),
        (lengths(), ["ab", "abc", "abcdefg", "x" * 10, "", 3.0, None], ["1 to 3", "3 to 6", "6 to 9", "above", "below", "type", "missing"]),
        (Cells(Measure.NORM, (5.0,), 0.0, 9.0), [(3.0, 4.0), (0.0, 1.0), (None, 1.0), "x", None], ["5 to 9", "0 to 5", "missing", "type", "missing"]),
    ],
)  # fmt: skip
def test_values_count_as_the_reference_has_them(cells: Cells, values: list[Cell], names: list[str]) -> None:
    assert named(cells, values) == names


def test_a_moment_counts_by_its_age_when_the_row_happened() -> None:
    cells = Cells(Measure.LAG, (60.0,), -5.0, 3_600.0)
    at = 1_700_000_000.0
    values: list[Cell] = [
        "2023-11-14T22:13:15Z",
        at - 90,
        (at - 90) * 1000,
        "2023-11-14T22:13:30Z",
        "soon",
        None,
    ]
    assert named(cells, values, at) == ["-5 to 60", "60 to 3600", "60 to 3600", "below", "type", "missing"]


def test_a_field_that_the_message_lacks_is_missing_in_every_row() -> None:
    table = table_from_columns({"g": [1.0, 2.0]}, 2)
    for cells in (NUMBER, WORDS, lengths()):
        places = Placing([Span("f", 10, cells)], ["f"], table.fields).of(table, np.zeros(2))
        assert [cells.names[place - 10] for place in places[0].tolist()] == ["missing", "missing"]


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, 7.0, 9.5, None]), min_size=1, max_size=20))
def test_plain_values_count_as_the_cells_themselves_say(values: list[Cell]) -> None:
    codes: Mapping[int, str] = dict(enumerate(STEPS.names))
    assert named(STEPS, values) == [codes[int(code)] for code in STEPS.of_values(values)]
