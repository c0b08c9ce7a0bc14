"""What hours and days of reference rows are believed to say."""

import numpy as np
import pytest

from guardproxy.profile.cells import SEASON_CELLS, season_cell, season_cells
from guardproxy.profile.seasons import seasons_of
from guardproxy.table import Floats

START = 1_699_833_600.0  # a Monday, 00:00 UTC


def stream(seed: int, days: int, rows: int, sway: float) -> tuple[Floats, Floats]:
    """Return times and cells 0 or 1, whose share of ones differs from day to day by `sway`."""
    generator = np.random.default_rng(seed)
    times = START + np.sort(generator.random(rows)) * days * 86_400
    shares = np.clip(0.5 + generator.normal(0.0, sway, days), 0.0, 1.0)
    return times, (generator.random(rows) < shares[((times - START) // 86_400).astype(int)]).astype(float)


@pytest.mark.parametrize("sway", [0.05, 0.1])
def test_how_much_days_differ_is_measured_without_the_noise_of_sampling(sway: float) -> None:
    found = []
    for seed in range(8):
        times, cells = stream(seed, 60, 12_000, sway)
        found.append(seasons_of(cells.astype(np.uint8), 2, times).spread[0])
    assert np.mean(found) == pytest.approx(sway, rel=0.15)


def test_days_that_do_not_differ_have_no_spread() -> None:
    spreads = []
    for seed in range(20):
        times, cells = stream(seed, 60, 3_000, 0.0)
        spreads += seasons_of(cells.astype(np.uint8), 2, times).spread
    assert sum(spread > 0.0 for spread in spreads) <= 4
    assert max(spreads) < 0.04


def test_from_less_than_a_week_nothing_is_said() -> None:
    times, cells = stream(1, 6, 2_000, 0.1)
    assert seasons_of(cells.astype(np.uint8), 2, times) == ((), ())
    assert seasons_of(cells.astype(np.uint8), 2, np.full(2_000, np.nan)) == ((), ())


def test_chance_makes_no_season() -> None:
    """Sixteen cells in forty-eight season cells differ a good deal by chance alone; the halves of the weeks do not agree on how."""
    found = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        times = START + np.sort(generator.random(1_500)) * 28 * 86_400
        found += bool(seasons_of(generator.integers(0, 16, 1_500).astype(np.uint8), 16, times).season)
    assert found == 0


def test_dates_without_hours_make_no_season() -> None:
    generator = np.random.default_rng(3)
    times = START + np.repeat(np.arange(60.0), 100) * 86_400
    weekend = ((times // 86_400 + 3) % 7 >= 5).astype(int)
    cells = (generator.random(6_000) < 0.2 + 0.6 * weekend).astype(np.uint8)
    assert seasons_of(cells, 2, times).season == ()


def test_hours_of_working_days_and_of_weekends_have_season_cells_of_their_own() -> None:
    hours = np.arange(7 * 24) + int(START // 3_600.0)
    cells = season_cells(hours).tolist()
    assert cells == [*range(24)] * 5 + [*range(24, SEASON_CELLS)] * 2
    assert [season_cell(hour * 3_600.0 + 3_599.0) for hour in hours.tolist()] == cells
