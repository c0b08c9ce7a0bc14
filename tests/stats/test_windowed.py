import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.stats.windowed import compare
from guardproxy.table import Floats

COUNTS = (
    st.lists(st.integers(0, 500), min_size=6, max_size=6)
    .filter(any)
    .map(lambda c: np.array(c, dtype=np.float64))
)


@pytest.mark.parametrize("rows", [100, 300, 1_000, 5_000, 20_000])
def test_windows_without_change_are_flagged_as_often_as_was_asked(rows: int) -> None:
    generator = np.random.default_rng(rows)
    share = np.append(generator.dirichlet(np.full(16, 2.0)) * 0.999, [0.0005, 0.0005])
    flagged = 0
    for _ in range(2_000):
        found = compare(
            generator.multinomial(20_000, share).astype(np.float64),
            generator.multinomial(rows, share).astype(np.float64),
        )
        assert found is not None
        flagged += found.p < 0.01
    # 1 % of 2,000 with three standard deviations of room; the bar is 1.5 % in the long run.
    assert flagged <= 20 + 3 * np.sqrt(20)


def test_a_moved_share_is_found_with_its_size_and_its_cell() -> None:
    before, after = np.array([500.0, 300.0, 200.0]), np.array([300.0, 300.0, 400.0])
    found = compare(before, after)
    assert found is not None
    assert found.p < 1e-6
    assert found.margin < 1e-3
    assert found.effect == pytest.approx(0.24, abs=0.02)
    assert found.moved.tolist() == pytest.approx([-0.2, 0.0, 0.2])


def test_a_change_that_is_tolerated_is_significant_and_no_alarm() -> None:
    before, after = np.array([50_000.0, 50_000.0]), np.array([49_000.0, 51_000.0])
    found = compare(before, after)
    assert found is not None
    assert found.p < 1e-3
    assert found.margin > 0.5


@pytest.mark.parametrize(("before", "after"), [([0, 0], [1, 2]), ([1, 2], [0, 0])])
def test_without_rows_there_is_nothing_to_compare(before: list[float], after: list[float]) -> None:
    assert compare(np.array(before, dtype=np.float64), np.array(after, dtype=np.float64)) is None


@given(COUNTS, COUNTS)
def test_what_is_said_is_always_a_probability_and_a_size(before: Floats, after: Floats) -> None:
    found = compare(before, after)
    assert found is not None
    assert 0.0 <= found.p <= 1.0
    assert 0.0 <= found.margin <= 1.0
    assert found.effect >= 0.0
    assert abs(found.moved.sum()) < 1e-9


@given(COUNTS)
def test_the_same_counts_differ_in_nothing(counts: Floats) -> None:
    found = compare(counts, counts)
    assert found is not None
    assert found.p == pytest.approx(1.0)
    assert found.effect == 0.0
