"""The tails of two distributions and a quantile, for tests of counts.

Decides the arithmetic only: scipy is no dependency of the core. The incomplete gamma function is a series below its
mean and a continued fraction above (Press et al., Numerical Recipes, 6.2; the fraction by Lentz's method); the
noncentral chi-squared is a Poisson mixture of central ones (Johnson, Kotz and Balakrishnan, 29.2).
"""

import math
from statistics import NormalDist
from typing import Final

import numpy as np

from guardproxy.table import Floats

_STEPS: Final = 1_000
_SMALL: Final = 1e-15
_TINY: Final = 1e-300
_REACH: Final = 9.0
"""Beyond so many standard deviations the weights of a Poisson mixture matter to no digit."""
_NORMAL: Final = NormalDist()


def normal_quantile(share: float) -> float:
    """Return the standard normal's quantile of a share strictly between 0 and 1."""
    return _NORMAL.inv_cdf(share)


def chi2_tail(value: float, freedom: float) -> float:
    """Return the probability that a chi-squared number of `freedom` degrees exceeds `value`."""
    shape, at = freedom / 2.0, value / 2.0
    if at <= 0.0:
        return 1.0
    return 1.0 - _lower_series(shape, at) if at < shape + 1.0 else _upper_fraction(shape, at)


def noncentral_chi2_tail(value: float, freedom: float, noncentrality: float) -> float:
    """Return the same of a noncentral chi-squared number."""
    mean, at = noncentrality / 2.0, value / 2.0
    if mean <= 0.0 or at <= 0.0:
        return chi2_tail(value, freedom)
    reach = _REACH * (math.sqrt(mean) + 1.0)
    first = max(0, int(mean - reach))
    terms = np.arange(first, int(mean + reach * 1.5) + 1, dtype=np.float64)
    weights = _along(first * math.log(mean) - mean - math.lgamma(first + 1.0), mean / terms[1:])
    # One tail is worked out; each next one has a term more, so nothing cancels: Q(a + 1, x) = Q(a, x) + x^a e^-x / a!.
    shapes = freedom / 2.0 + terms
    start = shapes[0] * math.log(at) - at - math.lgamma(shapes[0] + 1.0)
    more = np.cumsum(_along(start, at / shapes[1:]))
    tails = chi2_tail(value, freedom + 2.0 * first) + np.append(0.0, more[:-1])
    return min(1.0, float(weights @ np.minimum(tails, 1.0)))


def _along(first: float, ratios: Floats) -> Floats:
    """Return numbers of which the first is given by its logarithm, and each next one by its ratio to the one before."""
    terms: Floats = np.exp(np.append(first, first + np.cumsum(np.log(ratios))))
    return terms


def _scale(shape: float, at: float) -> float:
    return math.exp(shape * math.log(at) - at - math.lgamma(shape))


def _lower_series(shape: float, at: float) -> float:
    term = total = 1.0 / shape
    for step in range(1, _STEPS):
        term *= at / (shape + step)
        total += term
        if term < total * _SMALL:
            break
    return min(1.0, total * _scale(shape, at))


def _upper_fraction(shape: float, at: float) -> float:
    below = at + 1.0 - shape
    ratio = 1.0 / _TINY
    inverse = 1.0 / below
    total = inverse
    for step in range(1, _STEPS):
        factor = -step * (step - shape)
        below += 2.0
        inverse = 1.0 / _nonzero(factor * inverse + below)
        ratio = _nonzero(below + factor / ratio)
        change = inverse * ratio
        total *= change
        if abs(change - 1.0) < _SMALL:
            break
    return min(1.0, _scale(shape, at) * total)


def _nonzero(value: float) -> float:
    return _TINY if abs(value) < _TINY else value
