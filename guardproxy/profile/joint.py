"""The joint check: whether the numbers of a row fit together.

Decides how far a row lies from what was learned of its numbers together. How that is learned is left to `joint_fit`, which rows of a
message are asked and how to `joint_bound`, what is said of a row that does not fit to `joint_words`.

Every number is first turned into its score, in standard deviations: partly by its place among the learned values (as a normal
distribution has it; a mass point stands in the middle of its mass), partly by its size; linear between knots. A row is then judged
in two ways. The residual: how far each score lies from what the row's other scores let expect, in units that are as rare in
every field. The distance: how far the row lies from the nearest of the centres of the learned rows, and from their middle.
A row's misfit is the distance, or its largest residual where that is larger; of a residual below one the eighth power is taken, so that
common ones say little beside the distance, and rare ones as much. A missing number counts as an average one and is not judged itself; a
row that lacks more than MAX_MISSING of the numbers is not judged at all.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.table import Floats, Mask

Singles: TypeAlias = NDArray[np.float32]

MAX_JOINT_FIELDS: Final = 256
"""A model with more number features than this has no joint check."""

MAX_CENTRES: Final = 256
MAX_JOINT_KNOTS: Final = 64
MAX_MISSING: Final = 0.25
"""A row that lacks more than this share of the numbers is not judged."""

QUICK_CENTRES: Final = 16
"""So many centres, the first ones, are asked before all of them; `joint_fit` puts those first that reach the most rows."""

LEAST_THRESHOLD: Final = 1e-6
MOST_THRESHOLD: Final = 1e12
"""No residual is as large: scores end, and no direction has next to no variance."""

_CHUNK: Final = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """What was learned of the numbers of `fields` together.

    `values` and `scores`, shape (fields, knots), are each field's values, ascending, with their scores, less their mean;
    the ends are so far out that a number beyond them tells no more. A field with fewer knots repeats its last one.
    `covariance` (fields, fields) is that of the scores, and `centres` (centres, fields) are groups of rows. `units` (fields,)
    are the residuals, in standard deviations, that are equally rare in every field. The distance is the nearest centre's times
    `near` plus the Mahalanobis distance times `middle`.

    A row does not fit when its misfit exceeds `threshold`, which `held` rows gave that nothing else was learned from; the rest
    was learned from `rows`. A share `alpha` of clean rows may be beyond it or outside the ranges: `proved` says that this holds
    with 95 % confidence for this very threshold, otherwise it holds on average over such samples.
    """

    fields: tuple[str, ...]
    values: Singles
    scores: Singles
    covariance: Singles
    units: Singles
    centres: Singles
    near: float
    middle: float
    threshold: float
    alpha: float
    rows: int
    held: int
    proved: bool

    def __eq__(self, other: object) -> bool:
        """Tell whether everything is the same, bit by bit."""
        return isinstance(other, Joint) and self._content() == other._content()

    def __hash__(self) -> int:
        """Return the same for equal ones."""
        return hash(self._content())

    def _content(self) -> tuple[object, ...]:
        arrays = (self.values, self.scores, self.covariance, self.units, self.centres)
        shapes = tuple((array.shape, array.astype("<f4").tobytes()) for array in arrays)
        plain = (self.near, self.middle, self.threshold, self.alpha, self.rows, self.held, self.proved)
        return (self.fields, shapes, plain)


class Judged(NamedTuple):
    """The scores of some rows, arrays with one column or member per row.

    `scores` (fields, rows) are 0 where `missing`; `residuals` (fields, rows), as they count in a misfit,
    and `distance` (rows,) are in units of what is rare. `misfit` is NaN for a row that is not judged.
    """

    scores: Floats
    missing: Mask
    residuals: Floats
    distance: Floats
    misfit: Floats


def largest_residual(misfit: float) -> float:
    """Return the residual that counts as so large a misfit."""
    return misfit if misfit >= 1.0 else float(misfit**0.125)


class Scorer:
    """The arithmetic of a joint check, in the order of its own fields. Raises ValueError for a covariance that is none."""

    def __init__(self, joint: Joint) -> None:
        self.joint = joint
        self.values = joint.values.astype(np.float64)
        self.knot_scores = joint.scores.astype(np.float64)
        self.centres = joint.centres.astype(np.float64)
        covariance = joint.covariance.astype(np.float64)
        try:
            np.linalg.cholesky(covariance)
            self.precision = np.linalg.inv(covariance)
            self.white = np.linalg.cholesky(0.5 * (self.precision + self.precision.T)).T
        except np.linalg.LinAlgError as error:
            raise ValueError("the covariance has no inverse") from error
        spread = np.sqrt(np.diag(self.precision)) * joint.units
        self.residual = self.precision / spread[:, None]
        self.lengths = np.einsum("ij,ij->i", self.centres, self.centres)

    def judge(self, block: Floats) -> Judged:
        """Score rows, given as numbers of shape (fields, rows) with NaN where one is missing."""
        scores, missing = self._scored(block)
        residuals, middle = self._common(scores, missing)
        distance = middle + self.joint.near * _nearest(scores, self.centres, self.lengths)
        misfit = np.maximum(residuals.max(axis=0), distance)
        misfit[missing.sum(axis=0) > MAX_MISSING * len(block)] = np.nan
        return Judged(scores, missing, residuals, distance, misfit)

    def suspects(self, block: Floats, bound: float) -> NDArray[np.intp]:
        """Return the rows that do not pass when only the first centres are asked: none but these can have a misfit beyond `bound`."""
        found = []
        for at in range(0, block.shape[1], _CHUNK):
            scores, missing = self._scored(block[:, at : at + _CHUNK])
            residuals, distance = self._common(scores, missing)
            distance += self.joint.near * _nearest(
                scores, self.centres[:QUICK_CENTRES], self.lengths[:QUICK_CENTRES]
            )
            found.append(at + np.flatnonzero(np.maximum(residuals.max(axis=0), distance) > bound))
        return np.concatenate(found) if found else np.empty(0, dtype=np.intp)

    def misfits(self, block: Floats) -> Floats:
        """Return the misfit of each row alone, in bounded memory."""
        parts = [
            self.judge(block[:, at : at + _CHUNK]).misfit for at in range(0, block.shape[1], _CHUNK)
        ] or [np.empty(0)]
        return np.concatenate(parts)

    def nearest(self, scores: Floats) -> NDArray[np.intp]:
        """Return the nearest centre of each row."""
        return np.asarray((self.lengths[:, None] - 2.0 * (self.centres @ scores)).argmin(axis=0))

    def _scored(self, block: Floats) -> tuple[Floats, Mask]:
        scores = np.empty(block.shape)
        for at, numbers in enumerate(block):
            scores[at] = np.interp(numbers, self.values[at], self.knot_scores[at])
        missing = np.isnan(scores)
        scores[missing] = 0.0
        return scores, missing

    def _common(self, scores: Floats, missing: Mask) -> tuple[Floats, Floats]:
        """Return the residuals, and that part of the distance which is from the middle."""
        residuals = np.abs(self.residual @ scores)
        residuals = np.minimum(residuals, np.square(np.square(np.square(residuals))))
        residuals[missing] = 0.0
        white = self.white @ scores
        return residuals, self.joint.middle * np.sqrt(np.einsum("ij,ij->j", white, white))


def _nearest(scores: Floats, centres: Floats, lengths: Floats) -> Floats:
    """Return how far each column of scores is from its nearest centre."""
    closest = (lengths[:, None] - 2.0 * (centres @ scores)).min(axis=0)
    return np.asarray(np.sqrt(np.maximum(np.einsum("ij,ij->j", scores, scores) + closest, 0.0)))
