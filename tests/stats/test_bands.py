import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.stats.bands import band_of, nearest
from guardproxy.table import Floats

COUNTS = (
    st.lists(st.integers(0, 5_000), min_size=2, max_size=24)
    .filter(any)
    .map(lambda c: np.array(c, dtype=np.float64))
)


def shares(cells: int) -> st.SearchStrategy[Floats]:
    weights = st.lists(st.floats(0.001, 1.0), min_size=cells, max_size=cells)
    return weights.map(lambda found: np.array(found) / sum(found))


@given(COUNTS)
def test_a_band_holds_the_shares_of_its_reference_and_is_wider_for_less_of_it(counts: Floats) -> None:
    band, surer = band_of(counts), band_of(counts * 100)
    assert (band.low <= band.share).all()
    assert (band.share <= band.high).all()
    assert abs(band.share.sum() - 1.0) < 1e-9
    assert ((surer.high - surer.low) <= (band.high - band.low) + 1e-9).all()


def test_a_band_allows_what_days_differ_by() -> None:
    counts = np.array([1_000.0, 1_000.0])
    wide = band_of(counts, spread=np.array([0.1, 0.1]))
    assert np.isclose(wide.high[0] - band_of(counts).high[0], 0.2)


@settings(max_examples=200)
@given(st.data(), COUNTS)
def test_no_distribution_of_the_band_gives_an_alternative_evidence(
    data: st.DataObject, counts: Floats
) -> None:
    """The law that the run length rests on: E_p[q / nearest(q)] is at most one for every p in the band."""
    band = band_of(counts)
    alternative = data.draw(shares(len(counts)))
    ratio = alternative / nearest(alternative, band)
    for _ in range(5):
        inside = nearest(data.draw(shares(len(counts))), band)
        assert float(inside @ ratio) <= 1.0 + 1e-6
    # The worst one: as much as the band allows where the ratio is large.
    order, room = np.argsort(-ratio), 1.0 - band.low.sum()
    worst = band.low.copy()
    for cell in order:
        more = min(room, band.high[cell] - band.low[cell])
        worst[cell] += more
        room -= more
    assert float(worst @ ratio) <= 1.0 + 1e-6


@given(COUNTS)
def test_what_lies_inside_the_band_is_its_own_nearest(counts: Floats) -> None:
    band = band_of(counts)
    assert np.allclose(nearest(band.share, band), band.share, rtol=1e-6)
