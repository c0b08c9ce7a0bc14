"""How a field's values are counted: where the cells stand, and what the reference had in each."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.bounds import Budget, Slack
from guardproxy.profile.cells import MAX_CELLS, Cells, Measure
from guardproxy.profile.cells_fit import INTERVALS, MAX_VALUES, fit_cells
from guardproxy.profile.columns import Column, NumberColumn
from guardproxy.profile.fit import fit_field
from guardproxy.profile.model import FieldKind, FieldProfile, Role
from guardproxy.profile.summary import FieldSummary
from guardproxy.table import Cell, Floats
from tests.profile.build import text_column

NUMBERS = st.lists(
    st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, -999.0]) | st.just(float("nan")),
    min_size=2,
    max_size=400,
)


def fitted(
    column: Column,
    sample: Floats | None = None,
    *,
    role: Role = Role.FEATURE,
    times: Floats | None = None,
    labels: Sequence[Cell] = (),
) -> Cells | None:
    """Fit the cells of one column whose rows are all in the reservoir; `sample` are the numbers of a column of texts."""
    summary = FieldSummary()
    summary.update(column)
    if sample is None:
        sample = column.values if isinstance(column, NumberColumn) else np.full(len(column), np.nan)
    field = fit_field("x", role, summary, sample, Budget(0.001, 0.001), Slack())
    return fit_cells(field, summary, sample, np.empty(0) if times is None else times, labels)


def cells_of(column: Column, sample: Floats | None = None) -> Cells:
    found = fitted(column, sample)
    assert found is not None
    return found


def test_a_number_has_sixteen_intervals_of_equal_share() -> None:
    values = np.random.default_rng(1).normal(size=4_000)
    cells = cells_of(NumberColumn(values))
    assert len(cells.edges) == INTERVALS - 1
    assert cells.counts[:INTERVALS] == (250,) * INTERVALS
    assert cells.counts[INTERVALS:] == (0, 0, 0, 0)
    assert cells.low <= values.min()
    assert cells.high >= values.max()


def test_a_value_that_stands_out_has_an_interval_of_its_own() -> None:
    generator = np.random.default_rng(2)
    values = np.where(generator.random(5_000) < 0.3, 0.0, generator.gamma(2.0, 3.0, 5_000))
    cells = cells_of(NumberColumn(values))
    zero = cells.of_numbers(np.zeros(1))[0]
    assert cells.counts[zero] == int((values == 0.0).sum())
    assert cells.size <= MAX_CELLS


def test_what_a_client_rounds_to_float32_stays_where_it_was_learned() -> None:
    values = np.random.default_rng(3).choice([0.1, 0.2, 1.1], 1_000, p=[0.5, 0.3, 0.2])
    cells = cells_of(NumberColumn(values))
    rounded = values.astype(np.float32).astype(np.float64)
    assert np.bincount(cells.of_numbers(rounded), minlength=cells.size).tolist() == list(cells.counts)


def test_few_whole_numbers_are_values_and_many_are_intervals() -> None:
    generator = np.random.default_rng(4)
    few, many = (
        cells_of(NumberColumn(generator.integers(1, 5, 900).astype(float))),
        cells_of(NumberColumn(generator.integers(0, 24, 900).astype(float))),
    )
    assert few.values == (1.0, 2.0, 3.0, 4.0)
    assert sum(few.counts) == 900
    assert not many.values
    assert all(edge % 1.0 for edge in many.edges)


def test_the_commonest_texts_have_cells_and_the_others_are_known() -> None:
    texts = (
        [f"t{min(i % 40, i % 7)}" for i in range(4_000)] + [f"rare{i % 30}" for i in range(60)] + [None] * 5
    )
    cells = cells_of(text_column(texts))
    assert len(cells.values) == MAX_VALUES
    assert "rare29" in cells.known
    other, unseen, missing, wrong = cells.counts[MAX_VALUES:]
    assert (unseen, missing, wrong) == (0, 5, 0)
    assert other + sum(cells.counts[:MAX_VALUES]) == 4_060
    assert np.bincount(cells.of_values(texts), minlength=cells.size).tolist() == list(cells.counts)


def test_yes_and_no_are_counted_as_such() -> None:
    cells = cells_of(text_column(["true", "false", "true", None] * 50))
    assert cells.values == (False, True)
    assert cells.counts == (50, 100, 0, 0, 50, 0)


def test_many_texts_are_counted_by_their_length() -> None:
    texts = [f"{i:x}" * (1 + i % 3) for i in range(5_000)]
    cells = cells_of(text_column(texts, literal=True))
    assert cells.measure is Measure.LENGTH
    lengths = np.array([float(len(text)) for text in texts])
    assert np.bincount(cells.of_numbers(lengths), minlength=cells.size).tolist() == list(cells.counts)


@pytest.mark.parametrize("value", [3.0, 0.1])
def test_a_constant_notices_another_value(value: float) -> None:
    cells = cells_of(NumberColumn(np.full(500, value)))
    assert cells.counts[0] == 500
    codes = (
        cells.of_values((value, value + 1.0))
        if cells.values
        else cells.of_numbers(np.array([np.float32(value), value + 1.0]))
    )
    assert codes[0] == 0
    assert codes[1] != 0


def test_a_field_that_was_always_missing_notices_a_value() -> None:
    cells = cells_of(NumberColumn(np.full(300, np.nan)))
    assert cells.counts == (0, 0, 0, 300, 0)
    assert cells.of_numbers(np.array([1.0, np.nan])).tolist() == [0, 3]


def test_keys_and_growing_numbers_are_not_counted() -> None:
    assert fitted(NumberColumn(np.arange(400.0))) is None
    assert fitted(text_column(["a", "b"] * 200), role=Role.KEY) is None


def test_stray_texts_of_a_number_field_count_as_another_type() -> None:
    values = np.random.default_rng(5).normal(size=3_000)
    column = text_column([*map(repr, values.tolist()), *["?"] * 12, *[None] * 30])
    cells = cells_of(column, np.concatenate((values, np.full(42, np.nan))))
    assert cells.counts[-2:] == (30, 12)


def test_a_measured_field_is_counted_by_the_reservoirs_measures() -> None:
    summary = FieldSummary(rows=1_000)
    norms = np.random.default_rng(6).normal(10.0, 1.0, 1_000)
    cells = fit_cells(FieldProfile("v", FieldKind.ARRAY), summary, norms)
    assert cells is not None
    assert cells.measure is Measure.NORM
    assert sum(cells.counts) == 1_000


@settings(max_examples=150, deadline=None)
@given(NUMBERS)
def test_the_reference_counted_again_gives_its_own_counts(values: list[float]) -> None:
    """Live traffic like the reference lands in the same cells, so that nothing drifts by construction."""
    column = NumberColumn(np.array(values))
    cells = fitted(column)
    if cells is None:
        return
    again = (
        cells.of_values([None if value != value else value for value in values])
        if cells.values
        else cells.of_numbers(column.values)
    )
    assert np.bincount(again, minlength=cells.size).tolist() == list(cells.counts)
    assert cells.size <= MAX_CELLS
    assert len(cells.names) == cells.size == len(cells.counts)
    assert list(cells.edges) == sorted(set(cells.edges))


def test_a_field_that_follows_the_hour_has_a_season_and_one_that_does_not_has_none() -> None:
    generator = np.random.default_rng(7)
    times = 1_700_000_000.0 + np.sort(generator.random(20_000)) * 28 * 86_400
    hours = times // 3_600 % 24
    daily, plain = generator.normal(hours / 4.0, 1.0), generator.normal(size=20_000)
    seasonal, steady = fitted(NumberColumn(daily), times=times), fitted(NumberColumn(plain), times=times)
    assert seasonal is not None
    assert steady is not None
    assert sum(map(sum, seasonal.season)) == 20_000
    assert steady.season == ()
    assert max(seasonal.spread) < 0.02
    assert max(steady.spread) < 0.02


def test_categories_have_a_season_where_the_reservoir_keeps_them() -> None:
    generator = np.random.default_rng(8)
    times = 1_700_000_000.0 + np.sort(generator.random(8_000)) * 21 * 86_400
    labels = ["night" if at // 3_600 % 24 < 6 else "day" for at in times.tolist()]
    column = text_column(labels, literal=True)
    kept, lost = fitted(column, times=times, labels=labels), fitted(column, times=times)
    assert kept is not None
    assert len(kept.season) == 48
    assert lost is not None
    assert not lost.season
    assert not lost.spread


def test_a_rare_value_of_one_row_alone_counts_as_unseen_as_it_is_to_all_others() -> None:
    rare = [f"r{row}" for row in range(40)] + [f"s{row}" for row in range(10)] * 2
    cells = cells_of(text_column(["a"] * 300 + ["b"] * 200 + [f"c{row % 14}" for row in range(140)] + rare))
    found = dict(zip(cells.names, cells.counts, strict=True))
    assert (found["a"], found["other"], found["unseen"]) == (300, 20, 40)
    assert {"r0", "s0"} <= cells.known


def test_new_values_are_as_frequent_in_the_reference_as_they_will_be() -> None:
    generator = np.random.default_rng(9)
    first, second = ([f"k{value}" for value in generator.zipf(1.6, 4_000).tolist()] for _ in range(2))
    times = np.arange(4_000) * 400.0
    cells = fitted(text_column(first), np.full(4_000, np.nan), times=times, labels=first)
    assert cells is not None
    live = np.bincount(cells.of_values(second), minlength=cells.size)
    unseen = cells.names.index("unseen")
    assert live[unseen] == pytest.approx(cells.counts[unseen], rel=0.2)
    assert cells.counts[unseen] > 100
