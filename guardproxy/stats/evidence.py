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

import numpy as np

from guardproxy.stats.tilts import Bank
from guardproxy.table import Floats, Mask


def gather(state: Floats, bank: Bank, counts: Floats, dispersion: float = 1.0) -> Floats:
    """Return the state, shape (..., alternatives), after one more closed bucket with `counts`, shape (..., cells)."""
    said = (bank.ratios @ (counts / dispersion)[..., None])[..., 0]
    heard = bank.loud & (counts.sum(axis=-1, keepdims=True) > 0.0)
    after: Floats = np.where(heard, np.logaddexp(0.0, state) + said, state)
    return after


def log_means(values: Floats, counted: Mask) -> Floats:
    """Return the logarithm of the mean of numbers given by theirs, shape (..., n), over those that are counted, at least one a line."""
    top = np.where(counted, values, -np.inf).max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    sums = np.where(counted, np.exp(np.where(counted, values, -np.inf) - top), 0.0).sum(axis=-1)
    with np.errstate(divide="ignore"):
        means: Floats = top[..., 0] + np.log(sums / counted.sum(axis=-1))
    return means
