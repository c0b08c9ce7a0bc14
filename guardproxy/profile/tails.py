"""The arithmetic of the bounds: tails carried to a false-alarm budget, and how sure a share is.

Decides three questions on plain numbers: how far beyond the largest value a bound must stand, whether an extreme has
been moving through the file, and how large a share may be given what was counted. Which side of which field is asked
is left to `fit`. A lower bound is an upper bound of the negated values (or of the negated logarithms).
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardproxy.table import Floats

ATOM_SHARE: Final = 0.01
"""An extreme value that makes up this share of the values is a mass point: the range really ends there."""

SHAPE_CEILING: Final = 0.6
"""The largest tail index believed: beyond it a few hundred values say little about a tail."""

LATE: Final = 1e-4
"""How unlikely an order of arrival must be under exchangeable rows before the file is read as moving."""

_LARGEST: Final = float(np.finfo(np.float64).max)


def gpd_bound(largest: Floats, count: int, alpha: float, at: NDArray[np.int64] | None = None) -> float:
    """Return the value that a next one exceeds with probability `alpha`, by a generalised-Pareto tail.

    `largest` are the largest of `count` values, descending, and `at` their positions in the file. The excesses over the (k+1)-th largest, with
    k = max(20, min(2 % of count, 500)), are fitted by L-moments: shape = 2 - l1 / l2, raised by its standard error
    and held to [0, SHAPE_CEILING], scale = l1 (1 - shape). The standard error is 1 / sqrt(independent excesses), where
    excesses that follow one another (see `extremal_index`) count as one. The bound is never below the largest value.
    (Hosking and Wallis 1987; Pickands 1975 for the tail. Against plain moments, which cannot see a shape above
    a half: heavy tails at 1,600 values are exceeded 1.4 to 2.4 times as often as asked instead of 3.5 to 6.4 times, and
    from 8,000 values on about as often as asked, while a normal tail's bound moves out by 3 to 10 % of the range.)
    """
    most = float(largest[0])
    k = min(max(20, min(int(0.02 * count), 500)), len(largest) - 1)
    if k < 1 or alpha <= 0.0:
        return most
    threshold = float(largest[k])
    unit = most - threshold
    if not 0.0 < unit < math.inf:
        return most
    excess = (largest[:k] - threshold) / unit
    mean = float(excess.mean())
    # The excesses fall, so the k-th from the end has rank k: l2 = 2 E[x F(x)] - E[x].
    spread = 2.0 * float((excess[::-1] * np.arange(k)).sum()) / (k * max(1, k - 1)) - mean
    index = 1.0 if at is None else extremal_index(at[:k][excess > 0.0])
    error = 1.0 / math.sqrt(max(1.0, index * k))
    shape = min(max(2.0 - mean / spread + error, 0.0), SHAPE_CEILING) if spread > 0.0 else 0.0
    scale = mean * (1.0 - shape)
    ratio = k / (count * alpha)
    reach = math.log(ratio) if shape < 1e-9 else (ratio**shape - 1.0) / shape
    return min(max(most, threshold + unit * scale * reach), _LARGEST)


def extremal_index(at: NDArray[np.int64]) -> float:
    """Return which share of the excesses at these positions is independent, from 1.0 down to one in all of them.

    By the gaps between them: of independent ones they are exponential, of clustered ones mostly short
    (the intervals estimator; Ferro and Segers 2003). Fewer than five excesses count as
    independent; all of them in one unbroken run are one.
    """
    if len(at) < 5:
        return 1.0
    gaps = np.diff(np.sort(at)).astype(np.float64)
    if gaps.max() <= 2.0:
        return 1.0 / len(at)
    above, squares = float((gaps - 1.0).sum()), float(((gaps - 1.0) * (gaps - 2.0)).sum())
    return min(max(2.0 * above * above / (len(gaps) * squares), 1.0 / len(at)), 1.0)


def growth(largest: Floats, count: int, half: float, after: int) -> float:
    """Return by how much the maximum grew over the last `after` of `count` values, 0.0 when chance explains it.

    `half` is the maximum of the values before those. All c values above `half` then stand among the last ones; for
    exchangeable values that has a probability of at most (after / count)^c, which must be below LATE. `largest` are
    the largest values, descending; when all of them exceed `half` there may be more, which only strengthens the case.
    """
    above = int(np.count_nonzero(largest > half))
    if above == 0 or above * math.log(after / count) > math.log(LATE):
        return 0.0
    grown = float(largest[0]) - half
    return grown if math.isfinite(grown) else 0.0


def arrived_late(first: int, seen: int, count: int, values: int) -> bool:
    """Tell whether a value first seen at position `first` of `count`, and `seen` times, came late on purpose.

    For exchangeable rows all its occurrences stand in the last count - first positions with a probability of at most
    ((count - first) / count)^seen; `values` such questions are asked of one field.
    """
    if 2 * first <= count:
        return False
    return seen * math.log((count - first) / count) + math.log(values) < math.log(LATE)


def share_upper_bound(hits: int, count: int, confidence: float) -> float:
    """Return the Clopper-Pearson upper bound of a share, given `hits` of `count` (Clopper and Pearson 1934).

    It is the share p at which `hits` or fewer of `count` have probability 1 - confidence. 1.0 for no rows.
    """
    if count <= 0 or hits >= count:
        return 1.0
    low, high = hits / count, 1.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if _at_most(hits, count, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
        if high - low <= 1e-12 * high:
            break
    return high


def unseen_mass(once: int, count: int) -> float:
    """Return the share of values not seen yet, by Good-Turing with one more singleton than was counted (Good 1953)."""
    return min(1.0, (once + 1) / count) if count > 0 else 1.0


def _at_most(hits: int, count: int, share: float) -> float:
    """Return P(X <= hits) for X binomial(count, share), 0 < share < 1, summed from the largest term down."""
    log_share, log_rest = math.log(share), math.log1p(-share) if share < 1.0 else -math.inf
    total = 0.0
    for k in range(hits, -1, -1):
        choose = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        term = math.exp(choose + k * log_share + (count - k) * log_rest)
        total += term
        # Above the mode's left side terms only fall as k falls, so the rest cannot matter.
        if term < 1e-18 and k < count * share:
            break
    return min(total, 1.0)
