"""Evidence that adds up bucket by bucket, and the alarm that has a known run length.

Decides the arithmetic of a Shiryaev-Roberts e-detector over a bank of alternatives (Shin, Ramdas and Rinaldo,
"E-detectors", 2022): per closed bucket `M <- (1 + M) e` for each alternative, with `log e = counts . log(q / nearest q)`.
The mean of M over the alternatives of a field, and the mean of those over the fields of a model, minus the number of
buckets, is a supermartingale under every distribution inside the bands, however they move from bucket to bucket and
whatever the fields have to do with each other. So an alarm at `mean M >= A` comes, while nothing drifts, on average no
sooner than after A buckets. Rows inside a bucket are taken as independent given the bucket's distribution; where clients
send in bursts, `dispersion` above one tempers the counts.

A silent alternative, and every one in a bucket without rows, keeps its M. It may do so (M then grows by less), and it must: what
says nothing would otherwise gather an M of one a bucket, and an idle model would raise an alarm after A of them.

Everything is kept as logarithms: evidence soon leaves what a float can hold.
"""

import math
from collections.abc import Sequence

import numpy as np

from guardproxy.stats.tilts import Bank
from guardproxy.table import Floats, Mask


def no_evidence(alternatives: int) -> Floats:
    """Return the state of a field that has seen nothing: log M of each alternative, shape (alternatives,)."""
    return np.full(alternatives, -np.inf)


def gather(state: Floats, bank: Bank, counts: Floats, dispersion: float = 1.0) -> Floats:
    """Return the state, shape (..., alternatives), after one more closed bucket with `counts`, shape (..., cells)."""
    said = (bank.ratios @ (counts / dispersion)[..., None])[..., 0]
    heard = bank.loud & (counts.sum(axis=-1, keepdims=True) > 0.0)
    after: Floats = np.where(heard, np.logaddexp(0.0, state) + said, state)
    return after


def log_mean(values: Sequence[float] | Floats) -> float:
    """Return the logarithm of the mean of numbers given by their logarithms; minus infinity for none."""
    found = np.asarray(values, dtype=np.float64)
    return float(log_means(found, np.ones(found.shape, dtype=np.bool_))) if found.size else -math.inf


def log_means(values: Floats, counted: Mask) -> Floats:
    """Return the same of each line, shape (..., n), over what is counted of it, shape (..., n); at least one must be."""
    top = np.where(counted, values, -np.inf).max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    sums = np.where(counted, np.exp(np.where(counted, values, -np.inf) - top), 0.0).sum(axis=-1)
    with np.errstate(divide="ignore"):
        means: Floats = top[..., 0] + np.log(sums / counted.sum(axis=-1))
    return means


def is_alarm(evidence: float, run_length: float) -> bool:
    """Tell whether the log evidence of a field or a model is an alarm at an average run length of so many buckets."""
    return evidence >= math.log(run_length)
