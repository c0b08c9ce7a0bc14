"""The joint check: whether the numbers of a row fit together.

Decides how far a row lies from what was learned of its numbers together. How that is learned is left to `joint_fit`, what is
said of a row that does not fit to `joint_words`. A check is bound once per sequence of fields; a bound check holds no state.

Every number is first turned into its score, in standard deviations: partly by its place among the learned values (as a normal
distribution has it; a mass point stands in the middle of its mass), partly by its size; linear between knots. A row is then judged
in two ways. The residual: how far each score lies from what the row's other scores let expect, in units that are as rare in
every field. The distance: how far the row lies from the nearest of the centres of the learned rows, and from their middle.
The larger of the residual's square and the distance is the row's misfit: common residuals then say little beside the distance,
and rare ones as much. A missing number counts as an average one and is not judged itself; a row that lacks more than MAX_MISSING
of the numbers is not judged at all.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.table import Floats, Mask, Table

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
_CHUNK: Final = 4_096
_SLACK: Final = 1.0 + 1e-6
"""One row and many are summed in another order, which must not tell a row that lies on the threshold apart from itself."""


_NO_STAND_INS: Final[Mapping[str, frozenset[float]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """What was learned of the numbers of `fields` together.

    `values` and `scores`, shape (fields, knots), are each field's values, ascending, with their scores, less their mean;
    the ends are so far out that a number beyond them tells no more. A field with fewer knots repeats its last one.
    `covariance` (fields, fields) is that of the scores, and `centres` (centres, fields) are groups of rows. `units` (fields,)
    are the residuals, in standard deviations, that are equally rare in every field. The distance is the nearest centre's times
    `near` plus the Mahalanobis distance times `middle`.

    A row does not fit when its misfit exceeds `threshold`, which `held` rows gave that nothing else was learned from; the rest
    was learned from `rows`. A share `alpha` of clean rows may be beyond it: `proved` says that this holds with 95 %
    confidence for this very threshold, otherwise it holds on average over such samples.
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

    def bind(
        self, fields: tuple[str, ...], stand_ins: Mapping[str, frozenset[float]] = _NO_STAND_INS
    ) -> "BoundJoint | None":
        """Prepare for tables with exactly these fields in this order; None when so many are wanting that no row is judged.

        `stand_ins` are the numbers of a field that mean that it is missing.
        """
        places = {name: place for place, name in enumerate(fields)}
        at = [places.get(name) for name in self.fields]
        if sum(place is None for place in at) > MAX_MISSING * len(self.fields):
            return None
        meant = [stand_ins.get(name, frozenset()) for name in self.fields]
        return BoundJoint(Scorer(self), at, len(fields), meant)

    def _content(self) -> tuple[object, ...]:
        arrays = (self.values, self.scores, self.covariance, self.units, self.centres)
        shapes = tuple((array.shape, array.astype("<f4").tobytes()) for array in arrays)
        plain = (self.near, self.middle, self.threshold, self.alpha, self.rows, self.held, self.proved)
        return (self.fields, shapes, plain)


class Judged(NamedTuple):
    """The scores of some rows, arrays with one column or member per row.

    `scores` (fields, rows) are 0 where `missing`; `residuals` (fields, rows), squared, and `distance`
    (rows,) are in units of what is rare. `misfit` is NaN for a row that is not judged.
    """

    scores: Floats
    missing: Mask
    residuals: Floats
    distance: Floats
    misfit: Floats


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
        residuals = np.square(self.residual @ scores)
        residuals[missing] = 0.0
        white = self.white @ scores
        return residuals, self.joint.middle * np.sqrt(np.einsum("ij,ij->j", white, white))


def _nearest(scores: Floats, centres: Floats, lengths: Floats) -> Floats:
    """Return how far each column of scores is from its nearest centre."""
    closest = (lengths[:, None] - 2.0 * (centres @ scores)).min(axis=0)
    return np.asarray(np.sqrt(np.maximum(np.einsum("ij,ij->j", scores, scores) + closest, 0.0)))


class BoundJoint:
    """A joint check prepared for one sequence of table fields."""

    __slots__ = ("_at", "_lacking", "_quick", "_rows", "_stand_ins", "scorer")

    def __init__(
        self, scorer: Scorer, at: Sequence[int | None], width: int, stand_ins: Sequence[frozenset[float]]
    ) -> None:
        self.scorer = scorer
        self._stand_ins = tuple((row, tuple(meant)) for row, meant in enumerate(stand_ins) if meant)
        known = [place for place in at if place is not None]
        self._at = np.array(known, dtype=np.intp)
        self._rows = np.array([row for row, place in enumerate(at) if place is not None], dtype=np.intp)
        self._lacking = len(known) < len(at)
        picker = _picker(at, stand_ins, same=list(at) == list(range(width)))
        self._quick = _Quick(scorer, at, picker)

    def odd(self, table: Table) -> Mask | None:
        """Return by row whether its numbers do not fit together; None when those of all rows do, or are not judged."""
        if table.rows == 1 and self._quick.fits(table.single()):
            return None
        block, bound = self.block(table), self.scorer.joint.threshold * _SLACK
        suspects = self.scorer.suspects(block, bound)
        odd = np.zeros(table.rows, dtype=np.bool_)
        odd[suspects] = self.scorer.misfits(block[:, suspects]) > bound
        return odd if odd.any() else None

    def block(self, table: Table) -> Floats:
        """Return the numbers of a table in the order of the check's own fields, NaN where one is missing."""
        if not self._lacking:
            block = table.block[self._at]
        else:
            block = np.full((len(self.scorer.values), table.rows), np.nan)
            block[self._rows] = table.block[self._at]
        for row, meant in self._stand_ins:
            block[row, np.isin(block[row], meant)] = np.nan
        return block


class _Quick:
    """One row's check in as few operations as can be. A row that it does not pass is asked again in full.

    The score of a number is a sum over the stretches between knots: how much of each stretch the number has passed, times
    the stretch's slope; stretches below the middle count down from it. One more column is 1, for the centres' own lengths.
    """

    __slots__ = (
        "_all",
        "_count",
        "_first",
        "_highs",
        "_lows",
        "_middle",
        "_most",
        "_near",
        "_ones",
        "_pick",
        "_slopes",
        "_starts",
    )

    def __init__(self, scorer: Scorer, at: Sequence[int | None], pick: "_Picker") -> None:
        joint = scorer.joint
        bound = joint.threshold * _SLACK
        absent = np.array([place is None for place in at])
        self._pick = pick
        self._starts, self._lows, self._highs, self._slopes = _stretches(scorer, absent)
        self._ones = np.ones(len(self._starts))
        self._count = len(at)
        self._most = int(MAX_MISSING * len(at)) - int(absent.sum())
        residual = scorer.residual / math.sqrt(bound)
        residual[absent] = 0.0
        reach = np.column_stack((2.0 * scorer.centres, -scorer.lengths))
        scored = np.concatenate((residual, -residual, scorer.white))
        self._first = np.concatenate(
            (np.column_stack((scored, np.zeros(len(scored)))), reach[:QUICK_CENTRES])
        )
        self._all = reach
        self._near, self._middle = joint.near / bound, joint.middle / bound

    def fits(self, row: list[float]) -> bool:
        """Tell whether a row's numbers fit together; a false No only costs time."""
        scores = np.array([*self._pick(row), 1.0]) - self._starts
        np.maximum(scores, self._lows, out=scores)
        np.minimum(scores, self._highs, out=scores)
        scores *= self._slopes
        scores = self._ones.dot(scores)
        length = float(scores.dot(scores))
        missing = None
        if length != length:
            missing = scores != scores
            if np.count_nonzero(missing) > self._most:
                return True
            scores[missing] = 0.0
            length = float(scores.dot(scores))
        products, count = self._first.dot(scores), self._count
        residuals, white, reach = (
            products[: 2 * count],
            products[2 * count : 3 * count],
            products[3 * count :],
        )
        if missing is not None:
            residuals.reshape(2, count)[:, missing[:count]] = 0.0
        if residuals[residuals.argmax()] > 1.0:
            return False
        left = 1.0 - self._middle * math.sqrt(white.dot(white))
        if self._near * math.sqrt(max(0.0, length - 1.0 - reach[reach.argmax()])) <= left:
            return True
        reach = self._all.dot(scores)
        return bool(self._near * math.sqrt(max(0.0, length - 1.0 - reach[reach.argmax()])) <= left)


_Picker: TypeAlias = Callable[[list[float]], Sequence[float]]


def _picker(at: Sequence[int | None], stand_ins: Sequence[frozenset[float]], *, same: bool) -> _Picker:
    """Return what takes the check's numbers out of a row; one that stands for a missing one becomes NaN."""
    if any(stand_ins) or None in at:
        wanted = tuple(zip(at, stand_ins, strict=True))
        return lambda row: [_number(row, place, meant) for place, meant in wanted]
    if same:
        return lambda row: row
    places = [place for place in at if place is not None]
    return lambda row: [row[place] for place in places]


def _number(row: list[float], place: int | None, meant: frozenset[float]) -> float:
    # What the table lacks has no influence: its stretches are empty.
    if place is None:
        return 0.0
    return math.nan if row[place] in meant else row[place]


def _stretches(scorer: Scorer, absent: Mask) -> tuple[Floats, Floats, Floats, Floats]:
    """Return start, least and most passed, and slope of every stretch, each of shape (stretches + 1, fields + 1)."""
    values, normal = scorer.values, scorer.knot_scores
    fields, stretches = len(values), values.shape[1] - 1
    shape = (stretches + 1, fields + 1)
    starts, lows, highs, slopes = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.ones(shape)
    wide = np.diff(values, axis=1)
    real = wide > 0.0
    starts[:-1, :-1] = values[:, :-1].T
    highs[:-1, :-1] = wide.T
    slopes[:-1, :-1] = np.where(real, np.diff(normal, axis=1) / np.where(real, wide, 1.0), 1.0).T
    # Counted from the middle knot, so that sums over many small stretches stay exact where most rows are.
    below = np.arange(stretches)[:, None] < stretches // 2
    below = np.broadcast_to(below, (stretches, fields))
    starts[:-1, :-1] = np.where(below, values[:, 1:].T, starts[:-1, :-1])
    lows[:-1, :-1] = np.where(below, -wide.T, 0.0)
    highs[:-1, :-1] = np.where(below, 0.0, highs[:-1, :-1])
    lows[-1, :-1] = highs[-1, :-1] = normal[:, stretches // 2]
    lows[-1, -1] = highs[-1, -1] = 1.0
    gone = np.append(absent, False)
    lows[:, gone] = highs[:, gone] = 0.0
    return starts, lows, highs, slopes
