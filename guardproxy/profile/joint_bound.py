"""The joint check on messages: bound once per sequence of fields, asked for one row or for many.

Decides which columns of a message are asked, what counts as missing in them, and how the rows that fit are told apart from the others
with few operations. What a misfit is is left to `joint`. A bound check holds no state.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np

from guardproxy.profile.joint import MAX_MISSING, QUICK_CENTRES, Joint, Scorer, largest_residual
from guardproxy.profile.model import Profile
from guardproxy.table import Floats, Mask, Table

_NO_STAND_INS: Final[Mapping[str, frozenset[float]]] = MappingProxyType({})
_SLACK: Final = 1.0 + 1e-6
"""One row and many are summed in another order, which must not tell a row that lies on the threshold apart from itself."""


def bind_profile(profile: Profile, fields: tuple[str, ...]) -> "BoundJoint | None":
    """Prepare a profile's joint check for features with exactly these names in this order; see `bind_joint`.

    None also where the profile has no joint check.
    """
    return None if profile.joint is None else bind_joint(profile.joint, fields, _stand_ins(profile))


def bind_joint(
    joint: Joint, fields: tuple[str, ...], stand_ins: Mapping[str, frozenset[float]] = _NO_STAND_INS
) -> "BoundJoint | None":
    """Prepare for tables with exactly these fields in this order; None when so many are wanting that no row is judged.

    `stand_ins` are the numbers of a field that mean that it is missing.
    """
    numbers = Numbers(joint, fields, stand_ins)
    return BoundJoint(Scorer(joint), numbers) if numbers.enough else None


def numbers_of(profile: Profile, fields: tuple[str, ...]) -> "Numbers | None":
    """Return where the numbers of a profile's joint check are among features with these names; None where it has none."""
    return None if profile.joint is None else Numbers(profile.joint, fields, _stand_ins(profile))


def _stand_ins(profile: Profile) -> Mapping[str, frozenset[float]]:
    return {
        name: frozenset(value for value, _ in field.sentinels)
        for name, field in profile.features.items()
        if field.sentinels
    }


class Numbers:
    """The numbers of a joint check in tables with these fields in this order.

    `at` says for each of the check's own fields where the table has it, None where it does not, and `meant` which of its numbers
    mean that it is missing. There are `enough` when a row that has them all is judged.
    """

    __slots__ = ("_known", "_rows", "_stand_ins", "at", "enough", "meant", "same")

    def __init__(
        self, joint: Joint, fields: tuple[str, ...], stand_ins: Mapping[str, frozenset[float]]
    ) -> None:
        places = {name: place for place, name in enumerate(fields)}
        self.at = tuple(places.get(name) for name in joint.fields)
        self.meant = tuple(stand_ins.get(name, frozenset()) for name in joint.fields)
        self.same = self.at == tuple(range(len(fields)))
        known = [place for place in self.at if place is not None]
        self.enough = len(self.at) - len(known) <= MAX_MISSING * len(self.at)
        self._known = np.array(known, dtype=np.intp)
        self._rows = np.array([row for row, place in enumerate(self.at) if place is not None], dtype=np.intp)
        self._stand_ins = tuple((row, tuple(meant)) for row, meant in enumerate(self.meant) if meant)

    def block(self, table: Table) -> Floats:
        """Return the numbers of a table in the order of the check's own fields, NaN where one is missing."""
        if len(self._known) == len(self.at):
            block = table.block[self._known]
        else:
            block = np.full((len(self.at), table.rows), np.nan)
            block[self._rows] = table.block[self._known]
        for row, meant in self._stand_ins:
            block[row, np.isin(block[row], meant)] = np.nan
        return block

    def unjudged(self, table: Table) -> int:
        """Return how many rows lack so many of the numbers that they are not judged."""
        if not self.enough:
            return table.rows
        missing = np.isnan(self.block(table))
        return int(np.count_nonzero(missing.sum(axis=0) > MAX_MISSING * len(missing)))


class BoundJoint:
    """A joint check prepared for one sequence of table fields. `block` gives the numbers that it looks at."""

    __slots__ = ("_quick", "block", "scorer")

    def __init__(self, scorer: Scorer, numbers: Numbers) -> None:
        self.scorer = scorer
        self.block = numbers.block
        self._quick = _Quick(scorer, numbers)

    def odd(self, table: Table) -> Mask | None:
        """Return by row whether its numbers do not fit together; None when those of all rows do, or are not judged."""
        if table.rows == 1 and self._quick.fits(table.single()):
            return None
        block, bound = self.block(table), self.scorer.joint.threshold * _SLACK
        suspects = self.scorer.suspects(block, bound)
        odd = np.zeros(table.rows, dtype=np.bool_)
        odd[suspects] = self.scorer.misfits(block[:, suspects]) > bound
        return odd if odd.any() else None


class _Quick:
    """One row's check in as few operations as can be. A row that it does not pass is asked again in full.

    The score of a number is a sum over the stretches between knots: how much of each stretch the number has passed, times
    the stretch's slope; stretches below the middle count down from it. One more column is 1, for what is constant.

    Nearly all rows are so usual that the first centre, the one that reaches the most rows, is near enough. With
    (a + b)^2 <= 2 (a^2 + b^2) the distance from it and that from the middle are below one quadratic form of the scores, kept as its root.
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
        "_twice",
        "_usual",
    )

    def __init__(self, scorer: Scorer, numbers: Numbers) -> None:
        joint, at = scorer.joint, numbers.at
        bound = joint.threshold * _SLACK
        absent = np.array([place is None for place in at])
        self._pick = _picker(numbers)
        self._starts, self._lows, self._highs, self._slopes = _stretches(scorer, absent)
        self._ones = np.ones(len(self._starts))
        self._count, self._twice = len(at), 2 * len(at)
        self._most = int(MAX_MISSING * len(at)) - int(absent.sum())
        self._near, self._middle = joint.near / bound, joint.middle / bound
        residual = scorer.residual / largest_residual(bound)
        residual[absent] = 0.0
        both = np.concatenate((residual, -residual))
        white = np.pad(scorer.white, ((0, 0), (0, 1)))
        apart = np.column_stack((np.eye(len(at)), -scorer.centres[0]))
        parts = np.concatenate((self._near * apart, self._middle * white))
        root: Floats = math.sqrt(2.0) * np.asarray(np.linalg.qr(parts, mode="r"))
        reach = np.column_stack((2.0 * scorer.centres, -scorer.lengths))
        self._usual = np.concatenate((np.pad(both, ((0, 0), (0, 1))), root))
        self._first = np.concatenate((white, reach[:QUICK_CENTRES]))
        self._all = reach

    def fits(self, row: list[float]) -> bool:
        """Tell whether a row's numbers fit together; a false No only costs time."""
        pick = self._pick
        scores = np.array([*(row if pick is None else pick(row)), 1.0]) - self._starts
        np.maximum(scores, self._lows, out=scores)
        np.minimum(scores, self._highs, out=scores)
        scores *= self._slopes
        scores = self._ones.dot(scores)
        products, twice = self._usual.dot(scores), self._twice
        root = products[twice:]
        # Where a number is missing the sum is no number, and no less than one.
        if root.dot(root) <= 1.0:
            residuals = products[:twice]
            return bool(residuals[residuals.argmax()] <= 1.0)
        return self._unusual(scores, products[:twice])

    def _unusual(self, scores: Floats, residuals: Floats) -> bool:
        """Tell it of a row that lacks a number or is not near the first centre."""
        missing = np.isnan(scores)
        if missing.any():
            if np.count_nonzero(missing) > self._most:
                return True
            scores[missing] = 0.0
            residuals = self._usual[: self._twice].dot(scores)
            residuals.reshape(2, self._count)[:, missing[:-1]] = 0.0
        if residuals[residuals.argmax()] > 1.0:
            return False
        products = self._first.dot(scores)
        white, reach = products[: self._count], products[self._count :]
        left = 1.0 - self._middle * math.sqrt(white.dot(white))
        # The last score is the constant 1.
        length = float(scores.dot(scores)) - 1.0
        if self._near * math.sqrt(max(0.0, length - reach[reach.argmax()])) <= left:
            return True
        reach = self._all.dot(scores)
        return bool(self._near * math.sqrt(max(0.0, length - reach[reach.argmax()])) <= left)


_Picker: TypeAlias = Callable[[list[float]], Sequence[float]]


def _picker(numbers: Numbers) -> _Picker | None:
    """Return what takes the check's numbers out of a row, None where it is the row; one that stands for a missing one becomes NaN."""
    if any(numbers.meant) or None in numbers.at:
        wanted = tuple(zip(numbers.at, numbers.meant, strict=True))
        return lambda row: [_number(row, place, meant) for place, meant in wanted]
    if numbers.same:
        return None
    places = [place for place in numbers.at if place is not None]
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
