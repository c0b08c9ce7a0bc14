"""The bank of alternatives that a drift alarm looks for in a field's counts.

Decides them once, when a profile is loaded: shifts and changes of spread of what has an order, a cell that is suddenly
fuller or emptier where there is none, and more of what is missing, outside or unheard of. Each is a distribution over the
field's cells; an alternative that lies inside the band says nothing.
"""

from typing import Final

import numpy as np

from guardproxy.stats.bands import Band, nearest
from guardproxy.stats.distributions import normal_quantile
from guardproxy.table import Floats

SHIFTS: Final = (0.1, 0.2, 0.35, 0.6, 1.0, 1.8)
SPREADS: Final = (0.1, 0.25, 0.5, 1.0)
FACTORS: Final = (0.5, 1.5, 3.0)
SPECIAL_FACTORS: Final = (3.0, 10.0)
FEWEST: Final = 2
"""What has fewer cells in order has no spread to change."""

_EDGE: Final = 1e-6


def bank_of(band: Band, ordered: int) -> Floats:
    """Return `log(q / nearest(q))` for each alternative q, shape (alternatives, cells).

    The first `ordered` cells of a field are intervals in ascending order; where it is 0, the cells are values without
    one. The others, behind them, are what is missing, of another type, outside or unseen.
    """
    rows = [
        np.log(alternative / nearest(alternative, band)) for alternative in _alternatives(band.share, ordered)
    ]
    kept = [row for row in rows if np.abs(row).max() > _EDGE]
    return np.array(kept).reshape(len(kept), len(band.share))


def _alternatives(share: Floats, ordered: int) -> list[Floats]:
    found = _shifted(share, ordered) if ordered >= FEWEST else []
    for cell in range(len(share)):
        for factor in SPECIAL_FACTORS if cell >= ordered > 0 else FACTORS if not ordered else ():
            changed = share.copy()
            changed[cell] *= factor
            found.append(changed / changed.sum())
    return found


def _shifted(share: Floats, ordered: int) -> list[Floats]:
    """Return exponential tilts of the ordered cells by their normal scores, and by the scores' squares."""
    inside = share[:ordered] / share[:ordered].sum()
    middles = np.cumsum(inside) - inside / 2.0
    scores = np.zeros(len(share))
    scores[:ordered] = [normal_quantile(min(max(middle, _EDGE), 1.0 - _EDGE)) for middle in middles]
    squares = np.where(np.arange(len(share)) < ordered, (scores**2 - 1.0) / 2.0, 0.0)
    tilts = [sign * size * scores for size in SHIFTS for sign in (1.0, -1.0)]
    tilts += [sign * size * squares for size in SPREADS for sign in (1.0, -1.0)]
    tilted = [share * np.exp(tilt) for tilt in tilts]
    return [each / each.sum() for each in tilted]
