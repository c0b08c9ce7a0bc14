"""Summaries are additive: how the rows are cut into batches changes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.columns import NumberColumn
from guardproxy.profile.numbers import EXTREMES, NumberSummary
from guardproxy.profile.sketches import Course, DistinctSketch
from guardproxy.profile.summary import FieldSummary
from guardproxy.profile.texts import MAX_DISTINCT_TEXTS, TextSummary
from tests.profile.build import text_column

NUMBERS = st.floats(-1e6, 1e6) | st.integers(-5, 5).map(float)


@st.composite
def cut_numbers(draw: st.DrawFn) -> tuple[list[float], list[int]]:
    values = draw(st.lists(NUMBERS, min_size=1, max_size=200))
    return values, sorted(draw(st.lists(st.integers(0, len(values)), max_size=6)))


@settings(max_examples=150, deadline=None)
@given(cut_numbers())
def test_a_number_summary_does_not_depend_on_the_batches(cut: tuple[list[float], list[int]]) -> None:
    values, cuts = cut
    array = np.array(values)
    summary = NumberSummary()
    for part in np.split(array, cuts):
        summary.update(part)
    assert summary.count == len(values)
    assert (summary.minimum, summary.maximum) == (array.min(), array.max())
    assert summary.at_minimum == (array == array.min()).sum()
    assert summary.at_maximum == (array == array.max()).sum()
    assert summary.mean == pytest.approx(array.mean(), rel=1e-9, abs=1e-6)
    if len(values) > 1:
        assert summary.std == pytest.approx(array.std(ddof=1), rel=1e-6, abs=1e-6)
    assert summary.smallest.tolist() == sorted(values)[:EXTREMES]
    assert summary.largest.tolist() == sorted(values, reverse=True)[:EXTREMES]
    assert summary.rises == (np.diff(array) > 0).sum()
    assert summary.falls == (np.diff(array) < 0).sum()
    assert summary.whole == all(value.is_integer() for value in values)
    assert summary.distinct is not None
    assert {value: tuple(entry) for value, entry in summary.distinct.items()} == {
        value: (values.count(value), values.index(value)) for value in set(values)
    }
    assert summary.sketch.estimate() == len(set(values))


def test_the_exact_extremes_survive_a_long_stream() -> None:
    values = np.random.default_rng(0).lognormal(size=50_000)
    summary = NumberSummary()
    for part in np.split(values, 13 * np.arange(1, 300)):
        summary.update(part)
    assert summary.largest.tolist() == np.sort(values)[::-1][:EXTREMES].tolist()
    assert summary.distinct is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=12))
def test_the_course_covers_the_first_half_exactly(sizes: list[int]) -> None:
    values = np.random.default_rng(1).normal(size=sum(sizes) * 3)
    course, at = Course(), 0
    for size in sizes * 3:
        course.update(values[at : at + size])
        at += size
    half = course.half()
    if half is None:
        assert len(values) <= 16
        return
    low, high, count = half
    assert len(values) / 2 - len(values) / 64 - 32 <= count <= len(values) / 2 + len(values) / 64 + 16
    assert (low, high) == (values[:count].min(), values[:count].max())


def test_distinct_values_are_estimated_within_a_few_percent() -> None:
    sketch = DistinctSketch()
    rng = np.random.default_rng(5)
    for _ in range(20):
        sketch.update(rng.integers(0, 2**63, size=10_000).astype(np.uint64) * np.uint64(2))
    assert sketch.estimate() == pytest.approx(200_000, rel=0.1)


def test_common_texts_are_kept_when_rare_ones_flood_in() -> None:
    summary = TextSummary()
    for batch in range(30):
        column = text_column([f"rare {batch} {number}" for number in range(1_000)] + ["common"] * 200)
        summary.update(column.codes, column.values)
    assert not summary.exact
    assert len(summary.counts) <= 2 * MAX_DISTINCT_TEXTS
    assert summary.counts["common"][0] >= 6_000


def test_numbers_among_texts_are_counted_as_numbers_unless_the_column_is_text_by_type() -> None:
    cells = ["1", " 2.5 ", "1e3", None, "n/a", "0x10", "1_000", "inf"]
    loose, literal = FieldSummary(), FieldSummary()
    numbers = loose.update(text_column(cells)).numbers
    literal.update(text_column(cells, literal=True))
    assert numbers[:3].tolist() == [1.0, 2.5, 1000.0]
    assert (loose.numbers.count, loose.texts.count, loose.missing) == (3, 4, 1)
    assert (literal.numbers.count, literal.texts.count, literal.missing) == (0, 7, 1)


def test_infinite_and_missing_numbers_are_missing() -> None:
    summary = FieldSummary()
    summary.update(NumberColumn(np.array([1.0, np.nan, np.inf, -np.inf, 2.0])))
    assert (summary.rows, summary.missing, summary.numbers.count) == (5, 3, 2)


def test_huge_numbers_do_not_overflow_into_errors() -> None:
    summary = NumberSummary()
    summary.update(np.array([1.7e308, -1.7e308, 1e300]))
    summary.update(np.array([-1.7e308, 1.7e308]))
    assert (summary.minimum, summary.maximum) == (-1.7e308, 1.7e308)
