"""The null of a drift alarm: the share of every cell of a field stays inside its band.

Decides how wide a band is: what the reference data leave uncertain, what the operator tolerates, and what days differ by.
Which alternatives speak against it is left to `tilts`, how evidence adds up to `evidence`.

A fixed reference is no null: tested against exact shares, every long stream alarms, since the reference's own sampling
error is a difference that never ends. The band of cell b around its share p is the score interval of p (Wilson, 1927) with z the
normal quantile of `1 - 0.01 / (2 cells)`, widened on either side by `tolerance p + 2 spread`. For a rare cell the upper bound of a
Poisson count is lower, and holds: `m (1 - 1 / (9 m) + z / (3 sqrt(m)))^3 / n` with m one more than the cell's rows (Wilson and
Hilferty, 1931). The plain interval `p +- z sqrt(p (1 - p) / n)` is too narrow there: beyond the largest of n values
lies more than three times 1 / n in one of twenty references.
"""

from typing import Final, NamedTuple

import numpy as np

from guardproxy.stats.distributions import normal_quantile
from guardproxy.table import Floats

TOLERANCE: Final = 0.05
"""The relative change of a share that nobody wants to hear of."""

MISSED: Final = 0.01
"""How often the true shares of the reference population may lie outside of a band, over all its cells together."""

DAYS: Final = 2.0
"""How many standard deviations of a share from day to day a band allows."""

_FLAT: Final = 1e-14


class Band(NamedTuple):
    """The shares of a field's cells, each of shape (cells,): as they were, and between what they may move."""

    share: Floats
    low: Floats
    high: Floats


def band_of(counts: Floats, *, tolerance: float = TOLERANCE, spread: Floats | None = None) -> Band:
    """Return the band of reference counts, shape (cells,). `spread` is the standard deviation of each share from day to
    day beyond what sampling explains. A cell that the reference never saw has the share of half an observation."""
    cells = len(counts)
    rows = float(counts.sum())
    share = (counts + 0.5) / (rows + 0.5 * cells)
    quantile = -normal_quantile(MISSED / (2.0 * cells))
    z2 = quantile**2 / max(rows, 1.0)
    middle = (share + z2 / 2.0) / (1.0 + z2)
    deviation = np.sqrt(z2 * (share * (1.0 - share) + z2 / 4.0)) / (1.0 + z2)
    more = counts + 1.0
    rare = more * (1.0 - 1.0 / (9.0 * more) + quantile / (3.0 * np.sqrt(more))) ** 3 / max(rows, 1.0)
    allowed = tolerance * share
    if spread is not None:
        allowed = allowed + DAYS * spread
    low = np.minimum(middle - deviation, share) - allowed
    high = np.maximum(np.minimum(middle + deviation, rare), share) + allowed
    return Band(share, np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0))


def nearest(alternative: Floats, band: Band) -> Floats:
    """Return the shares inside the band that are nearest to an alternative in the sense of the reverse information
    projection: `clip(s q, low, high)` with the s for which they add up to one. Shape (..., cells), as the alternatives have.

    Under every distribution of the band the expectation of `prod (q / nearest)^counts` is then at most one.
    """
    # The sum is piecewise linear in s: it bends where a cell leaves its lower end (its slope is then q) and reaches its upper one.
    low, high, sure = np.broadcast_to(band.low, alternative.shape), band.high, alternative > 0.0
    divisor = np.where(sure, alternative, 1.0)
    bends = np.concatenate((np.where(sure, low / divisor, 0.0), np.where(sure, high / divisor, 0.0)), axis=-1)
    order = np.argsort(bends, axis=-1)
    bends = np.take_along_axis(bends, order, axis=-1)
    slopes = np.cumsum(
        np.take_along_axis(np.concatenate((alternative, -alternative), axis=-1), order, axis=-1), axis=-1
    )
    sums = low.sum(axis=-1, keepdims=True) + np.cumsum(slopes[..., :-1] * np.diff(bends, axis=-1), axis=-1)
    sums = np.concatenate((low.sum(axis=-1, keepdims=True), sums), axis=-1)
    place = np.maximum((sums <= 1.0).sum(axis=-1, keepdims=True) - 1, 0)
    start, slope = np.take_along_axis(bends, place, axis=-1), np.take_along_axis(slopes, place, axis=-1)
    rest = 1.0 - np.take_along_axis(sums, place, axis=-1)
    scale = start + np.where(slope > _FLAT, rest / np.maximum(slope, _FLAT), 0.0)
    found: Floats = np.clip(scale * alternative, low, high)
    found /= found.sum(axis=-1, keepdims=True)
    return found
