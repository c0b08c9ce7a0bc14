"""Evidence that adds up bucket by bucket, and the alarm that has a known run length.

Decides the arithmetic of a Shiryaev-Roberts e-detector over a bank of alternatives (Shin, Ramdas and Rinaldo,
"E-detectors", 2022): per closed bucket `M <- (1 + M) e` for each alternative, with `log e = counts . log(q / nearest q)`.
The mean of M over the alternatives of a field, and the mean of those over the fields of a model, minus the number of
buckets, is a supermartingale under every distribution inside the bands, however they move from bucket to bucket and
whatever the fields have to do with each other. So an alarm at `mean M >= A` comes, while nothing drifts, on average no
sooner than after A buckets. Rows inside a bucket are taken as independent given the bucket's distribution; where clients
send in bursts, `dispersion` above one tempers the counts.

Everything is kept as logarithms: evidence soon leaves what a float can hold.
"""

import math
from collections.abc import Sequence

import numpy as np

from guardproxy.table import Floats


def no_evidence(alternatives: int) -> Floats:
    """Return the state of a field that has seen nothing: log M of each alternative, shape (alternatives,)."""
    return np.full(alternatives, -np.inf)


def gather(state: Floats, bank: Floats, counts: Floats, dispersion: float = 1.0) -> Floats:
    """Return the state after one more closed bucket. `bank` has shape (alternatives, cells), `counts` (cells,).

    A bucket without rows leaves the evidence as it is but for the one that starts in every bucket.
    """
    after: Floats = np.logaddexp(0.0, state) + bank @ (counts / dispersion)
    return after


def log_mean(values: Sequence[float] | Floats) -> float:
    """Return the logarithm of the mean of numbers given by their logarithms; minus infinity for none."""
    found = np.asarray(values, dtype=np.float64)
    top = float(found.max()) if found.size else -math.inf
    if not math.isfinite(top):
        return top
    return top + math.log(float(np.exp(found - top).mean()))


def is_alarm(evidence: float, run_length: float) -> bool:
    """Tell whether the log evidence of a field or a model is an alarm at an average run length of so many buckets."""
    return evidence >= math.log(run_length)
