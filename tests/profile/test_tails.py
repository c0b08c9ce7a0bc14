"""Bounds stand where the budget says, and uncertainty is never understated."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.tails import (
    arrived_late,
    extremal_index,
    gpd_bound,
    growth,
    share_upper_bound,
    unseen_mass,
)


def _largest(values: np.ndarray) -> np.ndarray:
    return np.sort(values)[::-1][:512]


@pytest.mark.parametrize("seed", range(5))
def test_a_normal_tail_is_carried_beyond_the_largest_value_and_not_absurdly_far(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=10_000)
    bound = gpd_bound(_largest(values), 10_000, 5e-5)
    assert values.max() <= bound < 7.0


def test_a_heavy_tail_is_exceeded_about_as_often_as_asked() -> None:
    alpha, exceeded = 5e-5, []
    for seed in range(60):
        values = np.random.default_rng(seed).pareto(3.0, size=8_000)
        bound = gpd_bound(_largest(values), 8_000, alpha)
        exceeded.append((1.0 + bound) ** -3.0)
    assert np.mean(exceeded) < 1.3 * alpha


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=600),
    st.floats(1e-9, 0.5),
)
def test_a_bound_is_finite_and_never_inside_the_data(values: list[float], alpha: float) -> None:
    largest = _largest(np.array(values))
    with np.errstate(over="ignore"):
        bound = gpd_bound(largest, len(values), alpha)
    assert math.isfinite(bound)
    assert bound >= max(values)


def test_a_smaller_budget_gives_a_wider_bound() -> None:
    largest = _largest(np.random.default_rng(0).exponential(size=5_000))
    bounds = [gpd_bound(largest, 5_000, alpha) for alpha in (1e-3, 1e-4, 1e-5, 1e-6)]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]


def test_excesses_that_follow_one_another_count_as_few_and_widen_the_bound() -> None:
    rng = np.random.default_rng(0)
    scattered = rng.choice(100_000, size=200, replace=False)
    clustered = (rng.choice(100_000, size=10, replace=False)[:, None] + np.arange(20)).ravel()
    assert extremal_index(scattered) > 0.8
    assert 0.02 < extremal_index(clustered) < 0.15
    assert extremal_index(np.arange(4)) == 1.0
    largest = _largest(rng.exponential(size=10_000))
    alone = gpd_bound(largest, 10_000, 5e-5, rng.permutation(10_000)[:512])
    together = gpd_bound(largest, 10_000, 5e-5, np.arange(512))
    assert alone < together


def test_growth_is_seen_where_the_maximum_moves_and_not_where_rows_are_exchangeable() -> None:
    rng = np.random.default_rng(3)
    rising = np.linspace(0.0, 10.0, 2_000) + rng.normal(scale=0.1, size=2_000)
    half = float(rising[:1_000].max())
    assert 4.0 < growth(_largest(rising), 2_000, half, 1_000) < 6.0
    found = 0
    for _ in range(200):
        values = rng.normal(size=2_000)
        found += growth(_largest(values), 2_000, float(values[:1_000].max()), 1_000) > 0.0
    assert found <= 1


def test_a_value_that_comes_often_but_only_at_the_end_came_late() -> None:
    assert arrived_late(first=9_000, seen=500, count=10_000, values=12)
    assert not arrived_late(first=9_000, seen=1, count=10_000, values=12)
    assert not arrived_late(first=40, seen=500, count=10_000, values=12)


@pytest.mark.parametrize(
    ("hits", "count", "expected"),
    [
        (0, 2_995, 0.000999748),
        (0, 10, 0.258866),
        (3, 100, 0.0757054),
        (50, 100, 0.586378),
        (7, 7, 1.0),
        (0, 0, 1.0),
    ],
)
def test_the_upper_bound_of_a_share_agrees_with_the_tables(hits: int, count: int, expected: float) -> None:
    assert share_upper_bound(hits, count, 0.95) == pytest.approx(expected, rel=1e-4)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 50_000), st.data())
def test_more_hits_never_lower_the_upper_bound(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, min(count - 1, 200)))
    here, next_ = share_upper_bound(hits, count, 0.95), share_upper_bound(hits + 1, count, 0.95)
    assert hits / count < here <= next_ <= 1.0


def test_good_turing_counts_one_singleton_more_than_was_seen() -> None:
    assert unseen_mass(0, 1_000) == pytest.approx(0.001)
    assert unseen_mass(9, 1_000) == pytest.approx(0.01)
    assert unseen_mass(0, 0) == 1.0
