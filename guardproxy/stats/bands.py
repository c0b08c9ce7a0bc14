"""The null of a drift alarm: the share of every cell of a field stays inside its band.

Decides how wide a band is: what the reference data leave uncertain, what the operator tolerates, and what days differ by.
Which alternatives speak against it is left to `tilts`, how evidence adds up to `evidence`.

A fixed reference is no null: tested against exact shares, every long stream alarms, since the reference's own sampling
error is a difference that never ends. The band of cell b around its share p is
`p +- (tolerance p + z sqrt(p (1 - p) / n) + 2 spread)`, with z the normal quantile of `1 - 0.01 / (2 cells)`.
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

_HALVINGS: Final = 60


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
    deviation = -normal_quantile(MISSED / (2.0 * cells)) * np.sqrt(share * (1.0 - share) / max(rows, 1.0))
    half = tolerance * share + deviation
    if spread is not None:
        half = half + DAYS * spread
    return Band(share, np.clip(share - half, 0.0, 1.0), np.clip(share + half, 0.0, 1.0))


def nearest(alternative: Floats, band: Band) -> Floats:
    """Return the shares inside the band that are nearest to an alternative in the sense of the reverse information
    projection: `clip(q / t, low, high)` with the t for which they add up to one.

    Under every distribution of the band the expectation of `prod (q / nearest)^counts` is then at most one.
    """
    low, high = 1e-12, 1e12
    for _ in range(_HALVINGS):
        scale = float(np.sqrt(low * high))
        if np.clip(alternative / scale, band.low, band.high).sum() > 1.0:
            low = scale
        else:
            high = scale
    found: Floats = np.clip(alternative / np.sqrt(low * high), band.low, band.high)
    found /= found.sum()
    return found
