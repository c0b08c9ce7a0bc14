"""The threshold of the joint check: the ranges and the misfit of a row, calibrated as one score.

Decides how large a misfit may be, so that the rows which the ranges flag and those beyond the threshold are together no more than a
share of clean rows. How bounds are placed is left to `fit`, what a misfit is to `joint`.

Split conformal over the held-back rows (Papadopoulos et al. 2002): a row that the ranges flag counts as infinitely odd, any other
as odd as its misfit. A row that is not judged has none and counts as the least odd. Bounds that are later set looser, and a higher
threshold, flag fewer rows, so what is promised here holds for them too.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from guardproxy.profile.model import CONFIDENCE
from guardproxy.table import Floats, Mask

AIM: Final = 0.7
"""Where the share only holds on average, the threshold stands where about this part of it is expected. Of 2,000 held-back rows and a
share of 0.1 %, about one sample in five then lets more through than the share, instead of two in five; hardly fewer faults are found."""

_LEAST: Final = 1e-9


class Threshold(NamedTuple):
    """A misfit that may not be exceeded, and whether its share is proved with 95 % confidence or holds on average."""

    misfit: float
    proved: bool


def held_rows_needed(alpha: float) -> int:
    """Return how many held-back rows a threshold with the false-alarm share `alpha` takes at least."""
    return max(1, math.ceil(1.0 / alpha - 1.0 - 1e-9))


def leaves_room(flagged: int, held: int, alpha: float) -> bool:
    """Tell whether ranges that flag `flagged` of `held` rows leave a threshold."""
    rank, _ = threshold_rank(held, alpha)
    return rank is not None and rank <= held - flagged


def threshold_of(misfits: Floats, flagged: Mask, alpha: float) -> Threshold | None:
    """Return the threshold that `misfits` (held rows,) give, NaN where a row is not judged; None where none keeps the share.

    `flagged` says which of these rows the ranges flag. Of m scores in ascending order the threshold is the k-th, with the k of
    `threshold_rank`. Where that holds on average only, it stands at the rank max(k, (m + 1)(1 - AIM alpha)), between two ranks by their
    logarithms, so that a share of about AIM alpha is expected beyond it: (m + 1 - rank) / (m + 1), for a power-law tail.
    What has no score of its own, a row that the ranges flag and the rank m + 1, is taken to lie as far above the largest misfit as
    that lies above the one before it; a flagged row's own misfit is taken where it is larger.
    """
    held = len(misfits)
    rank, proved = threshold_rank(held, alpha)
    if rank is None or not leaves_room(int(np.count_nonzero(flagged)), held, alpha):
        return None
    logs = np.log(np.maximum(np.nan_to_num(misfits, nan=0.0), _LEAST))
    kept, beyond = np.sort(logs[~flagged]), np.sort(logs[flagged])
    gap = kept[-1] - kept[-2:][0]
    ordered = np.concatenate((kept, np.maximum(beyond, kept[-1] + gap)))
    ordered = np.append(ordered, ordered[-1] + gap)
    place = rank if proved else max(rank, (held + 1) * (1.0 - AIM * alpha))
    return Threshold(float(np.exp(np.interp(place, np.arange(1, held + 2), ordered))), proved)


def threshold_rank(held: int, alpha: float) -> tuple[int | None, bool]:
    """Return which of `held` scores in ascending order, from 1, is the threshold, and whether its share is proved.

    The share of clean rows beyond the k-th of m is a Beta(m + 1 - k, k) variable: k is the smallest whose 95 % quantile is
    within alpha (Vovk 2012), which is the smallest with a Clopper-Pearson bound of m - k rows of m within it. Where no k has that, it
    is the smallest whose mean (m + 1 - k) / (m + 1) is within alpha; None where none has that either.
    """
    odds = math.log(alpha) - math.log1p(-alpha)
    # The chance that so many rows of `held` or fewer lie beyond, were the share alpha itself.
    count = np.arange(1, held + 1)
    terms = np.cumsum(
        np.concatenate(([held * math.log1p(-alpha)], np.log((held + 1 - count) / count) + odds))
    )
    beyond = int(np.count_nonzero(np.cumsum(np.exp(terms)) <= 1.0 - CONFIDENCE)) - 1
    if beyond >= 0:
        return held - beyond, True
    rank = math.ceil((held + 1) * (1.0 - alpha) - 1e-9)
    return (rank, False) if 1 <= rank <= held else (None, False)
