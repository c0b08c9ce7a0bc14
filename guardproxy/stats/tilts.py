"""The bank of alternatives that a drift alarm looks for in a field's counts.

Decides them once, when a profile is loaded: shifts and changes of spread of what has an order, a value that is suddenly
commoner or rarer where there is none, and more of what is missing, outside or unheard of. Each is a distribution over the
field's cells. One that lies inside the band, or so near to it that it could be told apart only after 1 / FAINTEST rows, is
silent: it adds no evidence, and none begins.
"""

from typing import Final, NamedTuple

import numpy as np

from guardproxy.stats.bands import Band, nearest
from guardproxy.stats.distributions import normal_quantile
from guardproxy.table import Floats, Mask

SHIFTS: Final = (0.1, 0.2, 0.35, 0.6, 1.0, 1.8)
"""By how many standard deviations of the normal scores the field moves, up and down."""

SPREADS: Final = (0.1, 0.25, 0.5, 1.0)
VALUE_CHANGES: Final = ((0.5, 0.0), (2.0, 0.01))
"""A value's share is multiplied, to at least so much."""

SPECIAL_CHANGES: Final = ((3.0, 0.003), (10.0, 0.03))
"""The same of what is missing, of another type, outside or unseen, of which the reference may have nothing at all."""

EMPTIER: Final = 0.3
"""How much of a common special cell is left in the alternative to which it is rarer."""

FEWEST: Final = 2
"""What has fewer cells in order has no spread to change."""

FAINTEST: Final = 1e-4
"""The least evidence per row, in nats, for which an alternative is worth its place in the mean."""

_EDGE: Final = 1e-6
_COMMON: Final = 0.01


class Bank(NamedTuple):
    """`ratios` are `log(q / nearest(q))` by alternative q and cell, shape (..., alternatives, cells), 0 where q is silent;
    `loud` says which alternatives are not, shape (..., alternatives)."""

    ratios: Floats
    loud: Mask


def bank_of(alternatives: Floats, band: Band) -> Bank:
    """Return what alternatives, shape (..., alternatives, cells), say against a band that is broadcast to them.

    Cells behind those of a field have the share 0 everywhere.
    """
    inside = nearest(alternatives, band)
    filled = alternatives > 0.0
    ratios = np.log(np.where(filled, alternatives, 1.0) / np.where(filled, inside, 1.0))
    loud: Mask = (alternatives * ratios).sum(axis=-1) >= FAINTEST
    ratios[~loud] = 0.0
    return Bank(ratios, loud)


def alternatives_of(share: Floats, cells: int, ordered: int) -> Floats:
    """Return the alternatives to a field's shares, shape (alternatives, cells).

    The first `ordered` of all cells are intervals in ascending order; where it is 0, the first `cells` are values without
    one. The others, behind them, are what is rare, missing, of another type, outside or unseen. How many alternatives there
    are depends on `cells`, `ordered` and which special cells are common.
    """
    found = _shifted(share, ordered) if ordered >= FEWEST else []
    rarer = []
    for cell, before in enumerate(share.tolist()):
        if cell < ordered:
            continue
        changes = VALUE_CHANGES if cell < cells else SPECIAL_CHANGES
        found += [_changed(share, cell, max(factor * before, least)) for factor, least in changes]
        if cell >= cells and before >= _COMMON:
            rarer.append(_changed(share, cell, EMPTIER * before))
    return np.array(found + rarer)


def _changed(share: Floats, cell: int, to: float) -> Floats:
    """Give one cell another share, at most half of the way to all of it; the others keep their proportions."""
    before = float(share[cell])
    to = min(to, (1.0 + before) / 2.0)
    changed = share * ((1.0 - to) / (1.0 - before))
    changed[cell] = to
    return changed


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
