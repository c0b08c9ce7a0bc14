"""Centres: groups of rows that stand for all of them.

Decides where the centres of many rows are, and that none is a row of its own: what is kept of reference data are means. What a
row's distance from them means is left to `joint`.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardproxy.table import Floats

ROWS_A_CENTRE: Final = 8
"""A centre is the mean of no fewer rows, so that none is kept as it was."""

_BATCH: Final = 1_024
_ROUNDS: Final = 25
_SEEDED: Final = 4_096


def k_means(rows: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Return at most `count` centres of rows (rows, fields), each the mean of ROWS_A_CENTRE rows or more.

    Seeded apart from each other (Arthur and Vassilvitskii 2007), moved by random batches (Sculley 2010).
    """
    centres = _seeds(rows[rng.permutation(len(rows))[:_SEEDED]], count, rng)
    seen = np.zeros(count)
    for _ in range(_ROUNDS):
        batch = rows[rng.integers(0, len(rows), min(_BATCH, len(rows)))]
        nearest = squared_distances(batch, centres).argmin(axis=1)
        counts = np.bincount(nearest, minlength=count)
        sums = _sums(batch, nearest, count)
        met = counts > 0
        seen += counts
        rates = (counts[met] / seen[met])[:, None]
        centres[met] += rates * (sums[met] / counts[met][:, None] - centres[met])
    return _means(rows, centres)


def _means(rows: Floats, centres: Floats) -> Floats:
    """Return the means of the rows nearest to each centre, leaving out centres of fewer than ROWS_A_CENTRE rows.

    A centre of one row would be that row.
    """
    counts, _ = _gathered(rows, centres)
    kept = centres[counts >= min(ROWS_A_CENTRE, counts.max())]
    counts, sums = _gathered(rows, kept)
    return np.asarray(sums / counts[:, None])


def _gathered(rows: Floats, centres: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return how many rows are nearest to each centre, and their sums."""
    counts = np.zeros(len(centres), dtype=np.int64)
    sums = np.zeros(centres.shape)
    for at in range(0, len(rows), _SEEDED):
        part = rows[at : at + _SEEDED]
        nearest = squared_distances(part, centres).argmin(axis=1)
        counts += np.bincount(nearest, minlength=len(centres))
        sums += _sums(part, nearest, len(centres))
    return counts, sums


def nearest_distance(rows: Floats, centres: Floats) -> Floats:
    """Return how far each row is from its nearest centre."""
    parts = [
        np.sqrt(squared_distances(rows[at : at + _SEEDED], centres).min(axis=1))
        for at in range(0, len(rows), _SEEDED)
    ]
    return np.concatenate(parts)


def _seeds(rows: Floats, count: int, rng: np.random.Generator) -> Floats:
    chosen = [int(rng.integers(len(rows)))]
    closest = np.square(rows - rows[chosen[0]]).sum(axis=1)
    while len(chosen) < count:
        total = float(closest.sum())
        weights = closest / total if total > 0.0 else None
        chosen.append(int(rng.choice(len(rows), p=weights)))
        closest = np.minimum(closest, np.square(rows - rows[chosen[-1]]).sum(axis=1))
    return rows[chosen].copy()


def _sums(rows: Floats, groups: NDArray[np.intp], count: int) -> Floats:
    return np.array([np.bincount(groups, weights=column, minlength=count) for column in rows.T]).T


def squared_distances(rows: Floats, centres: Floats) -> Floats:
    """Return the squared distance of every row from every centre."""
    lengths = np.square(rows).sum(axis=1)[:, None] + np.square(centres).sum(axis=1)
    return np.asarray(np.maximum(lengths - 2.0 * (rows @ centres.T), 0.0))
