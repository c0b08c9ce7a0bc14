"""Vectors of counts as bytes, and their sums.

Decides how counts and moments are written: little-endian numbers, as many as the layout has, nothing else. How they are packed is left
to `blobs`.
"""

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.stats.blobs import deflated, inflated
from guardproxy.table import Floats

Counts: TypeAlias = NDArray[np.uint32]
"""One writer's counts of one bucket, shape (layout.size,)."""

Sums: TypeAlias = NDArray[np.int64]
"""Counts of many buckets or writers, shape (layout.size,)."""

MOMENTS: Final = 5
"""How many numbers a field's moments are: how many values, their mean, the sum of squares about it, the least, the largest."""


def pack(counts: NDArray[Any]) -> bytes:
    """Write counts, each from 0 to 2**32 - 1; what is larger is written as that."""
    return deflated(np.minimum(counts, 0xFFFFFFFF).astype("<u4").tobytes())


def unpack(blob: bytes, size: int) -> Counts:
    """Read `size` counts. Raises ValueError where the blob is anything but exactly these."""
    return np.frombuffer(_exactly(blob, 4 * size), dtype="<u4").astype(np.uint32)


def no_moments(fields: int) -> Floats:
    """Return the moments of fields of which nothing has been seen, shape (fields, MOMENTS)."""
    moments = np.zeros((fields, MOMENTS))
    moments[:, 3], moments[:, 4] = np.inf, -np.inf
    return moments


def moments_of(block: Floats) -> Floats:
    """Return the moments of the finite numbers in each row of a block (fields, rows)."""
    finite = np.isfinite(block)
    n = finite.sum(axis=1)
    some = np.maximum(n, 1)
    # One client's 1e300 must not end up in the log: the spread is then infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(finite, block / some[:, None], 0.0).sum(axis=1)
        away = np.where(finite, block - mean[:, None], 0.0)
        m2 = (away * away).sum(axis=1)
    low = np.where(finite, block, np.inf).min(axis=1, initial=np.inf)
    high = np.where(finite, block, -np.inf).max(axis=1, initial=-np.inf)
    return np.stack(
        [n.astype(np.float64), np.where(n > 0, np.clip(mean, low, high), 0.0), m2, low, high], axis=1
    )


def pack_moments(moments: Floats) -> bytes:
    """Write moments of shape (fields, MOMENTS)."""
    return deflated(moments.astype("<f8").tobytes())


def unpack_moments(blob: bytes, fields: int) -> Floats:
    """Read the moments of so many fields. Raises ValueError where the blob is anything but exactly these."""
    moments = np.frombuffer(_exactly(blob, 8 * MOMENTS * fields), dtype="<f8").astype(np.float64)
    moments = moments.reshape(fields, MOMENTS)
    if np.isnan(moments).any() or (moments[:, (0, 2)] < 0).any():
        raise ValueError("the moments are damaged: a count or a sum of squares is negative, or no number")
    return moments


def _exactly(blob: bytes, size: int) -> bytes:
    data = inflated(blob, size)
    if len(data) != size:
        raise ValueError(f"the counts are damaged: {len(data)} bytes in place of {size}")
    return data
