"""What the hours and days of the reference data say of a field's shares: a season, and how much days differ without one.

Decides whether there is a season and how wide `spread` is. Where the cells stand is left to `cells_fit`, what a band makes of
both to `stats.bands`. An hour of the day on working days and at weekends is a season cell (see `season_cell`), in UTC.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.cells import SEASON_CELLS, season_cells
from guardproxy.table import Codes, Floats

SPREAD_DAYS: Final = 7
"""From fewer days nothing is said of how much days differ."""

SEASON_DAYS: Final = 14
"""From fewer days, two of each weekday, no season is believed."""

SEASON_SIZE: Final = 0.02
"""How far the shares of season cells must lie from those of all rows, as `sum (share - all)^2 / all`: less is tolerated anyway."""

_HOURS: Final = 12
_WEEK: Final = 168
_PAIRS: Final = 10.0
_ERRORS: Final = 2.0
_SEASON_ERRORS: Final = 4.0


class Seasons(NamedTuple):
    """`spread` has a number for each cell, `season` counts by season cell and cell; both are empty where nothing is known."""

    spread: tuple[float, ...] = ()
    season: tuple[tuple[int, ...], ...] = ()


def seasons_of(codes: Codes, size: int, times: Floats) -> Seasons:
    """Return what the times of rows (Unix seconds, NaN where unknown) say of their cells, `size` of them."""
    known = np.isfinite(times)
    cells, hours = codes[known].astype(np.int64), np.floor(times[known] / 3600.0).astype(np.int64)
    days = np.unique(hours // 24)
    if len(days) < SPREAD_DAYS:
        return Seasons()
    places = season_cells(hours)
    counts = np.bincount(places * size + cells, minlength=SEASON_CELLS * size).reshape(SEASON_CELLS, size)
    seasonal = len(days) >= SEASON_DAYS and _is_season(cells, size, hours, places)
    share = counts.sum(axis=0) / len(cells)
    expected = (
        counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        if seasonal
        else np.tile(share, (SEASON_CELLS, 1))
    )
    spread = tuple(float(f"{value:.4g}") for value in _spread(cells, expected[places], share, hours))
    return Seasons(spread, tuple(map(tuple, counts.tolist())) if seasonal else ())


def _is_season(
    codes: NDArray[np.int64], size: int, hours: NDArray[np.int64], places: NDArray[np.int64]
) -> bool:
    """Tell whether the season that one half of the weeks shows is shown by the other half too.

    The product of both halves' deviations has the true size as its mean, whatever noise either half has; under no season its
    standard error is the root of the degrees of freedom over the rows of a half.
    """
    if len(np.unique(hours % 24)) < _HOURS:
        return False
    odd = np.unique(hours // _WEEK, return_inverse=True)[1] % 2
    tables = [
        np.bincount((places * size + codes)[odd == half], minlength=SEASON_CELLS * size).reshape(
            SEASON_CELLS, size
        )
        for half in (0, 1)
    ]
    rows = [table.sum(axis=1, keepdims=True) for table in tables]
    both = (rows[0] > 0) & (rows[1] > 0)
    least = min(int(table.sum()) for table in tables)
    if least == 0:
        return False
    share = np.bincount(codes, minlength=size) / len(codes)
    seen = share > 0.0
    first, second = (
        np.where(both, table / np.maximum(row, 1) - share, 0.0)[:, seen]
        for table, row in zip(tables, rows, strict=True)
    )
    weight = (rows[0] + rows[1]) / len(codes)
    found = float((weight * first * second / share[seen]).sum())
    freedom = max(1, int(both.sum()) - 1) * max(1, int(seen.sum()) - 1)
    return bool(found > max(SEASON_SIZE, _SEASON_ERRORS * freedom**0.5 / least))


def _spread(codes: NDArray[np.int64], expected: Floats, share: Floats, hours: NDArray[np.int64]) -> Floats:
    """Return the standard deviation of each share between stretches of time, beyond sampling.

    Rows of one stretch that deviate together from what is expected of them do so because the stretch differs: the mean product
    of the deviations of two of its rows is the variance, without bias. A stretch is an hour where hours have
    rows enough, else a day. What is within two standard errors of nothing is nothing.
    """
    group = hours
    if not _pairs(group) >= _PAIRS * len(codes):
        group = hours // 24
    _, group = np.unique(group, return_inverse=True)
    pairs = _pairs(group)
    found = np.zeros(len(share))
    if not pairs:
        return found
    for cell in np.flatnonzero(share):
        deviation = (codes == cell) - expected[:, cell]
        together = np.bincount(group, weights=deviation)
        found[cell] = (float((together**2).sum()) - float((deviation**2).sum())) / pairs
    least = _ERRORS * np.sqrt(2.0 / pairs) * share * (1.0 - share)
    spread: Floats = np.sqrt(np.where(found > least, found, 0.0))
    return spread


def _pairs(group: NDArray[np.int64]) -> float:
    """Return how many ordered pairs of rows share a group."""
    _, sizes = np.unique(group, return_counts=True)
    return float((sizes.astype(np.float64) * (sizes - 1.0)).sum())
