"""Tails against values computed independently (scipy 1.17), and the identities that hold for all of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.stats.distributions import chi2_tail, noncentral_chi2_tail, normal_quantile


@pytest.mark.parametrize(
    ("value", "freedom", "expected"),
    [
        (0.0, 3, 1.0),
        (3.841458820694124, 1, 0.05),
        (11.344866730144373, 3, 0.01),
        (24.99579013972863, 15, 0.05),
        (100.0, 15, 1.3047e-14),
        (1000.0, 1000, 0.4940528),
    ],
)
def test_a_tail_is_what_tables_give(value: float, freedom: float, expected: float) -> None:
    assert chi2_tail(value, freedom) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("value", "freedom", "noncentrality", "expected"),
    [(10.0, 4, 2.0, 0.1487853), (30.0, 15, 10.0, 0.2532236), (400.0, 15, 300.0, 0.0106229)],
)
def test_a_noncentral_tail_is_what_tables_give(
    value: float, freedom: float, noncentrality: float, expected: float
) -> None:
    assert noncentral_chi2_tail(value, freedom, noncentrality) == pytest.approx(expected, rel=1e-5)


@given(st.floats(1e-6, 500.0), st.integers(1, 60))
def test_two_degrees_more_are_one_term_more(value: float, freedom: int) -> None:
    """Q(k + 2) = Q(k) + (x/2)^(k/2) e^(-x/2) / Gamma(k/2 + 1)."""
    half = value / 2.0
    term = math.exp(freedom / 2.0 * math.log(half) - half - math.lgamma(freedom / 2.0 + 1.0))
    assert chi2_tail(value, freedom + 2) == pytest.approx(chi2_tail(value, freedom) + term, abs=1e-12)


@given(st.floats(0.001, 200.0), st.integers(1, 40), st.floats(0.0, 100.0))
def test_noncentrality_only_makes_large_values_likelier(
    value: float, freedom: int, noncentrality: float
) -> None:
    tail = noncentral_chi2_tail(value, freedom, noncentrality)
    assert chi2_tail(value, freedom) - 1e-9 <= tail <= 1.0


@given(st.floats(1e-6, 1.0 - 1e-6))
def test_a_quantile_has_its_share_below_it(share: float) -> None:
    assert math.erfc(-normal_quantile(share) / math.sqrt(2.0)) / 2.0 == pytest.approx(share, abs=1e-9)
