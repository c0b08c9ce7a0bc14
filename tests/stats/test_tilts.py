"""The bank of alternatives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.stats.bands import band_of
from guardproxy.stats.tilts import FAINTEST, alternatives_of, bank_of

COUNTS = st.lists(st.integers(0, 5_000), min_size=1, max_size=20).filter(any)


@given(COUNTS, st.booleans(), st.lists(st.integers(0, 300), min_size=4, max_size=4))
def test_alternatives_are_distributions_and_the_loud_ones_can_be_told_apart(
    own: list[int], in_order: bool, special: list[int]
) -> None:
    band = band_of(np.array([*own, *special], dtype=np.float64))
    alternatives = alternatives_of(band.share, len(own), len(own) if in_order else 0)
    assert np.allclose(alternatives.sum(axis=1), 1.0)
    assert (alternatives > 0.0).all()
    bank = bank_of(alternatives, band)
    gains = (alternatives * bank.ratios).sum(axis=1)
    assert (gains[bank.loud] >= FAINTEST).all()
    assert not bank.ratios[~bank.loud].any()


def test_what_lies_inside_the_band_is_silent() -> None:
    band = band_of(np.full(16, 100.0), spread=np.full(16, 0.06))
    bank = bank_of(alternatives_of(band.share, 12, 12), band)
    assert not bank.loud[0]
    assert bank.loud.any()
