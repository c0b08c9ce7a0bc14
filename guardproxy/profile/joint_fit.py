"""Learning the joint check: knots, covariance, centres and units.

Decides from what each array of a `Joint` is computed, and when there are too few rows for it. What is done with them on a row
is left to `joint`, how large a misfit may be to `joint_threshold`. No row of the reference data is kept: a centre is a mean over many rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from guardproxy.profile.joint import (
    LEAST_THRESHOLD,
    MAX_CENTRES,
    MAX_JOINT_FIELDS,
    MAX_MISSING,
    MOST_THRESHOLD,
    QUICK_CENTRES,
    Joint,
    Scorer,
    Singles,
)
from guardproxy.profile.joint_centres import ROWS_A_CENTRE, k_means, nearest_distance, squared_distances
from guardproxy.profile.joint_threshold import held_rows_needed, threshold_of
from guardproxy.table import Floats, Mask

JOINT_PERCENTS: Final = (
    0.0, 0.1, 0.5, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.5, 99.9, 100.0,
)  # fmt: skip
"""The percentiles at which a field's normal score is exact."""

FAR: Final = 100.0
"""So many standard deviations beyond the last knot a score stops growing."""

MIN_FITTED: Final = 64
"""Fewer rows than this say nothing of how numbers hang together."""

FIELD_MISSING: Final = 0.5
"""A field that is missing in more than this share of the rows is left out."""

JUDGED: Final = 0.5
"""A check that could judge fewer than this share of the held-back rows is none."""

_LARGEST: Final = 1e30
_FLOOR: Final = 1e-4
"""The least variance in any direction, as a share of the mean: less is rounding, not a law of the data."""

_SIZE: Final = 0.75
"""How much of a score is the standardised value; the rest is its rank, as a normal distribution has it."""

_APART: Final = 2.0
"""The standardised value is held to within this of the rank's score, so that a heavy tail does not rule."""

_TAIL: Final = 2.0
"""From this normal score on, the knots tell how far a tail reaches."""

RARE: Final = 0.0003
"""A residual or a distance of one is exceeded by this share of the rows: rare, and not what a few broken rows of the data say."""

_COVERED: Final = 4_096


class Fitted(NamedTuple):
    """A joint check, or None with the reason why there is none."""

    joint: Joint | None
    note: str


class Draft(NamedTuple):
    """A joint check that lacks its threshold, None where there can be none, and the misfits of the held-back rows (held,)."""

    joint: Joint | None
    misfits: Floats
    note: str


def obstacle(fields: int, rows: int, held: int, alpha: float) -> str:
    """Say why so many number features, fitted rows and held-back rows make no joint check; empty where they may make one."""
    needed = held_rows_needed(alpha)
    if fields > MAX_JOINT_FIELDS:
        return f"no joint check: {fields} number features, more than {MAX_JOINT_FIELDS}"
    if fields < 2:
        return "no joint check: it takes two number features that vary"
    if rows < MIN_FITTED:
        return f"no joint check: {rows} rows are too few; {MIN_FITTED} are needed"
    if held < needed:
        few = f"{held:,} held-back rows are too few for a share of {100 * alpha:.3g} %"
        return f"no joint check: {few}; {needed:,} are needed, so about {5 * needed:,} rows in all"
    return ""


def fit_joint(
    names: Sequence[str], rows: Floats, held: Floats, alpha: float, rng: np.random.Generator
) -> Fitted:
    """Learn the joint check of the number features `names` where no ranges flag any row.

    See `draft_joint` and `finish_joint`.
    """
    draft = draft_joint(names, rows, held, alpha, rng)
    return finish_joint(draft, np.zeros(len(held), dtype=np.bool_), alpha)


def draft_joint(
    names: Sequence[str], rows: Floats, held: Floats, alpha: float, rng: np.random.Generator
) -> Draft:
    """Learn all of a joint check of the number features `names` but its threshold.

    `rows`, shape (rows, fields) with NaN where a number is missing, are what is fitted; `held`, of the same columns, are the
    most recent rows, which must not be among `rows` and will give the threshold. `alpha` is the share of clean rows that the check
    and the ranges may flag together.
    """
    none = np.empty(0)
    kept = [at for at in range(len(names)) if _usable(rows[:, at])]
    fields = len(names) if len(names) > MAX_JOINT_FIELDS else len(kept)
    why = obstacle(fields, len(rows), len(held), alpha)
    if why:
        return Draft(None, none, why)
    joint = _fit(tuple(names[at] for at in kept), rows[:, kept], alpha, rng)
    misfits = Scorer(joint).misfits(np.ascontiguousarray(held[:, kept].T))
    judged = int(np.count_nonzero(~np.isnan(misfits)))
    if judged < JUDGED * len(held):
        few = f"only {judged:,} of {len(held):,} held-back rows have enough of their numbers"
        return Draft(None, none, f"no joint check: {few}")
    left = [name for at, name in enumerate(names) if at not in kept]
    return Draft(joint, misfits, f"not in the joint check: {', '.join(left)}" if left else "")


def finish_joint(draft: Draft, flagged: Mask, alpha: float) -> Fitted:
    """Give a draft its threshold; `flagged` (held,) says which held-back rows the ranges flag."""
    if draft.joint is None:
        return Fitted(None, draft.note)
    found = threshold_of(draft.misfits, flagged, alpha)
    if found is None:
        many = f"{np.count_nonzero(flagged):,} of {len(flagged):,} held-back rows"
        return Fitted(
            None, f"no joint check: the ranges alone flag {many}, all that {100 * alpha:.3g} % allow"
        )
    threshold = min(max(found.misfit, LEAST_THRESHOLD), MOST_THRESHOLD)
    held, proved = len(flagged), found.proved
    return Fitted(replace(draft.joint, threshold=threshold, held=held, proved=proved), draft.note)


def _usable(column: Floats) -> bool:
    """Tell whether a column varies, is mostly there, and fits into the float32 in which it is kept."""
    present = column[~np.isnan(column)]
    if len(present) < max(2, FIELD_MISSING * len(column)) or not np.isfinite(present).all():
        return False
    low, high = float(present.min()), float(present.max())
    within = max(abs(low), abs(high)) < _LARGEST and high - low > 1.0 / _LARGEST
    return within and bool(np.float32(low) < np.float32(high))


def _fit(fields: tuple[str, ...], rows: Floats, alpha: float, rng: np.random.Generator) -> Joint:
    knots = [_knots(column) for column in rows.T]
    width = max(len(values) for values, _ in knots)
    values = np.array([_padded(values, width) for values, _ in knots], dtype=np.float32)
    normal = np.array([_padded(scores, width) for _, scores in knots])
    scores = _scored(rows, values, normal)
    means = np.nanmean(scores, axis=0)
    normal -= means[:, None]
    scores = np.nan_to_num(scores - means, nan=0.0)
    enough = np.isnan(rows).sum(axis=1) <= MAX_MISSING * len(fields)
    scores = scores[enough] if enough.sum() >= MIN_FITTED else scores
    covariance = shrunk_covariance(scores)
    half = len(scores) // 2
    # The distances of rows that the centres were not fitted to are what new rows will have.
    order = rng.permutation(len(scores))
    tried = k_means(scores[order[:half]], _centres(half), rng)
    centres = k_means(scores, _centres(len(scores)), rng)
    joint = Joint(
        fields,
        values,
        normal.astype(np.float32),
        covariance.astype(np.float32),
        np.ones(len(fields), dtype=np.float32),
        centres.astype(np.float32),
        near=1.0,
        middle=1.0,
        threshold=1.0,
        alpha=alpha,
        rows=len(rows),
        held=0,
        proved=False,
    )
    return _with_units(joint, scores, scores[order[half:]], tried)


def _with_units(joint: Joint, scores: Floats, other: Floats, tried: Floats) -> Joint:
    """Give every residual and the distance the unit that a share RARE of the rows exceeds."""
    scorer = Scorer(joint)
    units = [_rare(np.abs(row)) for row in scorer.residual @ scores.T]
    near, middle = nearest_distance(other, tried), np.linalg.norm(scorer.white @ other.T, axis=0)
    # Both distances count the same in the middle of the rows.
    of_near, of_middle = (1.0 / max(float(np.median(part)), 1e-9) for part in (near, middle))
    unit = _rare(of_near * near + of_middle * middle)
    found = replace(
        joint, units=np.array(units, dtype=np.float32), near=of_near / unit, middle=of_middle / unit
    )
    return replace(found, centres=_covering(found, scorer, scores[-_COVERED:]))


def _covering(joint: Joint, scorer: Scorer, scores: Floats) -> Singles:
    """Put those centres first that between them reach the most rows: most rows then need not ask the others."""
    left = (1.0 - joint.middle * np.linalg.norm(scorer.white @ scores.T, axis=0)) / joint.near
    squares = squared_distances(scores, scorer.centres)
    reached = squares <= np.square(np.maximum(left, 0.0))[:, None]
    first: list[int] = []
    while len(first) < min(QUICK_CENTRES, len(scorer.centres)):
        gains = reached.sum(axis=0)
        gains[first] = -1
        first.append(int(gains.argmax()))
        reached &= ~reached[:, first[-1]][:, None]
    rest = [at for at in range(len(scorer.centres)) if at not in set(first)]
    return joint.centres[first + rest]


def _rare(values: Floats) -> float:
    """Return the value that a share RARE exceeds; of few values, about the largest."""
    return max(float(np.quantile(values, 1.0 - RARE)), 1e-6)


def _knots(column: Floats) -> tuple[Floats, Floats]:
    """Return a field's knots, values and scores, with the far ends.

    Ranks alone would close the gaps between groups of values, values alone would let a heavy tail rule.
    """
    ordered = np.sort(column[~np.isnan(column)])
    count = len(ordered)
    ranks = np.rint(np.array(JOINT_PERCENTS) / 100.0 * (count - 1)).astype(np.int64)
    low, high = ordered[[int(0.05 * (count - 1)), int(0.95 * (count - 1))]]
    unit = float(high - low) / 3.29 or float(ordered[-1] - ordered[0]) / 6.0
    values = _apart(np.unique(ordered[ranks].astype(np.float32)).astype(np.float64), 1e-6 * unit)
    rounded = ordered.astype(np.float32).astype(np.float64)
    below, upto = np.searchsorted(rounded, values), np.searchsorted(rounded, values, side="right")
    shares = np.clip(0.5 * (below + upto) / count, 0.5 / count, 1.0 - 0.5 / count)
    ranked = np.array([NormalDist().inv_cdf(share) for share in shares.tolist()])
    plain = np.clip((values - float(np.median(ordered))) / unit, ranked - _APART, ranked + _APART)
    scores = np.maximum.accumulate((1.0 - _SIZE) * ranked + _SIZE * plain)
    ends = (
        values[0] - FAR * _tail(-values[::-1], -scores[::-1], unit),
        values[-1] + FAR * _tail(values, scores, unit),
    )
    return (
        np.concatenate(([ends[0]], values, [ends[1]])),
        np.concatenate(([scores[0] - FAR], scores, [scores[-1] + FAR])),
    )


def _tail(values: Floats, scores: Floats, unit: float) -> float:
    """Return how far a value beyond the last knot lies off for each standard deviation that its score grows.

    As far as between the last knots, the unit of the bulk at least: a new largest value of a heavy tail is no surprise.
    """
    before = int(np.searchsorted(scores, _TAIL))
    if before >= len(scores) - 1:
        return unit
    return max(unit, float((values[-1] - values[before]) / (scores[-1] - scores[before])))


def _apart(values: Floats, least: float) -> Floats:
    """Leave out knots that are so close to the one before that rounding would decide between them."""
    kept = [float(values[0])]
    for value in values[1:].tolist():
        if value - kept[-1] > least:
            kept.append(value)
    return np.array(kept)


def _padded(values: Floats, width: int) -> Floats:
    return np.concatenate((values, np.full(width - len(values), values[-1])))


def _scored(rows: Floats, values: Singles, scores: Floats) -> Floats:
    columns = [np.interp(column, values[at], scores[at]) for at, column in enumerate(rows.T)]
    return np.array(columns).T


def shrunk_covariance(rows: Floats) -> Floats:
    """Return the covariance of rows (rows, fields) around zero, drawn towards a multiple of the identity.

    By how much is estimated from the rows (Ledoit and Wolf 2004); beyond that, no direction keeps less than _FLOOR of the mean variance.
    """
    count, fields = rows.shape
    sample = rows.T @ rows / count
    mean = float(np.trace(sample)) / fields
    apart = float(np.square(sample - mean * np.eye(fields)).sum())
    noise = float((np.square(np.square(rows).sum(axis=1)).sum() / count - np.square(sample).sum()) / count)
    weight = min(max(noise, 0.0) / apart, 1.0) if apart > 0.0 else 1.0
    drawn = (1.0 - weight) * sample + weight * mean * np.eye(fields)
    values, vectors = np.linalg.eigh(drawn)
    drawn = (vectors * np.maximum(values, _FLOOR * mean)) @ vectors.T
    return np.asarray(0.5 * (drawn + drawn.T))


def _centres(rows: int) -> int:
    return max(1, min(MAX_CENTRES, rows // ROWS_A_CENTRE))
