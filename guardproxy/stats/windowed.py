"""One window of a field's counts against its reference: how likely, how large, and where.

Decides the screens' test. It never pages anyone: that is for the detector, whose run length is known; a test that is
asked again every minute has none. Fixed cut-offs of an index (0.1, 0.25) raise a false alarm in every second window of
100 rows and see nothing in windows of 100,000; so the share of false alarms is fixed here, and the index only says how
large the change is.

The statistic is Pearson's for two samples, with rare cells pooled to an expected count of 5:
`X2 = sum (c - E)^2 / E + (r - F)^2 / F`, tested on `cells - 1` degrees of freedom after division by `dispersion`. The
population stability index is freed of what sampling alone gives it: `(cells - 1) (1/n + 1/m)` times the dispersion.
`margin` is the probability of such a statistic when the true index is TOLERATED (Potgieter et al., 2023).
"""

from typing import Final, NamedTuple

import numpy as np

from guardproxy.stats.distributions import chi2_tail, noncentral_chi2_tail
from guardproxy.table import Floats

EXPECTED: Final = 5.0
"""Cells of fewer expected rows are judged together: Pearson's approximation needs some in each."""

TOLERATED: Final = 0.02
"""The index of a change that nobody wants to hear of."""

_LEAST: Final = 1e-4


class Compared(NamedTuple):
    """A window beside its reference.

    `p` is the probability of so large a difference without any change, `margin` with a tolerated one; `effect` the
    population stability index without what sampling gives it; `moved` the change of each cell's share, shape (cells,).
    """

    p: float
    margin: float
    effect: float
    moved: Floats


def compare(reference: Floats, window: Floats, dispersion: float = 1.0) -> Compared | None:
    """Compare counts of the same cells, each of shape (cells,); None when either has no rows."""
    total, rows = float(reference.sum()), float(window.sum())
    if not total or not rows:
        return None
    moved = window / rows - reference / total
    known, seen = _pooled(reference, window, rows / (total + rows))
    cells = len(known)
    if cells < 2:
        return Compared(1.0, 1.0, 0.0, moved)
    both = (known + seen) / (total + rows)
    statistic = float(
        ((seen - rows * both) ** 2 / (rows * both)).sum()
        + ((known - total * both) ** 2 / (total * both)).sum()
    )
    statistic /= dispersion
    size = total * rows / (total + rows)
    return Compared(
        chi2_tail(statistic, cells - 1),
        noncentral_chi2_tail(statistic, cells - 1, size * TOLERATED / dispersion),
        _effect(known / total, seen / rows, (cells - 1) * (1.0 / total + 1.0 / rows) * dispersion),
        moved,
    )


def _pooled(reference: Floats, window: Floats, share: float) -> tuple[Floats, Floats]:
    """Put cells of too few expected rows together, and what they make with the smallest other if it is still too few."""
    expected = (reference + window) * min(share, 1.0 - share)
    rare = expected < EXPECTED
    if not rare.any():
        return reference, window
    if expected[rare].sum() < EXPECTED and not rare.all():
        rare = rare | (expected == expected[~rare].min())
    known = np.append(reference[~rare], reference[rare].sum())
    seen = np.append(window[~rare], window[rare].sum())
    filled = known + seen > 0.0
    return known[filled], seen[filled]


def _effect(before: Floats, after: Floats, noise: float) -> float:
    before, after = np.maximum(before, _LEAST), np.maximum(after, _LEAST)
    index = float(((after - before) * np.log(after / before)).sum())
    return max(0.0, index - noise)
