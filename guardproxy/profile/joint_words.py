"""Why a row's numbers do not fit together, in words.

Decides which feature a row's misfit is said of, and turns what was expected back into that feature's own unit. What a misfit is
is left to `joint`.
"""

from typing import Final, NamedTuple

import numpy as np

from guardproxy.profile.explain import Explanation
from guardproxy.profile.joint import Joint, Judged, Scorer, largest_residual
from guardproxy.profile.joint_bound import BoundJoint
from guardproxy.table import Table

_NAMED: Final = 3


class Misfit(NamedTuple):
    """A feature that does not fit the others of its row, with its explanation."""

    field: str
    said: Explanation


def explain_joint(bound: BoundJoint, table: Table) -> Misfit | None:
    """Say why the numbers of a table of one row do not fit together; None when they do, or are not judged."""
    if bound.odd(table) is None:
        return None
    scorer = bound.scorer
    numbers = bound.block(table)
    judged = scorer.judge(numbers)
    worst = int(judged.residuals[:, 0].argmax())
    if judged.residuals[worst, 0] >= judged.distance[0]:
        return _of_residual(scorer, judged, numbers[:, 0].tolist(), worst)
    return _of_distance(scorer, judged, numbers[:, 0].tolist())


def describe(joint: Joint) -> str:
    """Say what a joint check was learned from, and how sure its share of false alarms is."""
    sure = "with 95 % confidence" if joint.proved else "on average"
    return (
        f"{len(joint.fields)} numbers of {joint.rows:,} rows; at most {100 * joint.alpha:.3g} % of clean rows flagged by it or "
        f"the ranges {sure} ({joint.held:,} held back)"
    )


def _of_residual(scorer: Scorer, judged: Judged, numbers: list[float], worst: int) -> Misfit:
    """Say what the row's other features let expect of the one that is furthest from it."""
    joint = scorer.joint
    own = float(scorer.precision[worst, worst])
    score = float(judged.scores[worst, 0])
    expected = score - float(scorer.precision[worst] @ judged.scores[:, 0]) / own
    room = float(joint.units[worst]) * largest_residual(joint.threshold) / own**0.5
    ends = [_value(scorer, worst, expected + side * room) for side in (-1.0, 1.0)]
    low, high = (f"{end:.5g}" for end in ends)
    middle = _value(scorer, worst, expected)
    name = joint.fields[worst]
    expectation = f"about {middle:.5g} is expected, {low} to {high} allowed"
    return Misfit(
        name,
        Explanation(
            f"{name} is {numbers[worst]:.7g}, which does not fit the row's other features: {expectation} "
            f"({_by_how_much(judged, joint)})",
            f"{low} to {high} beside the row's other features",
            _source(joint),
        ),
    )


def _of_distance(scorer: Scorer, judged: Judged, numbers: list[float]) -> Misfit:
    """Say by which features the row is furthest from the learned rows that are nearest to it."""
    joint = scorer.joint
    centre = scorer.centres[int(scorer.nearest(judged.scores)[0])]
    apart = np.abs(judged.scores[:, 0] - centre)
    apart[judged.missing[:, 0]] = 0.0
    furthest = [int(at) for at in np.argsort(-apart, kind="stable")[:_NAMED] if apart[at] > 0.0]
    told = ", ".join(
        f"{joint.fields[at]} {numbers[at]:.7g} (there about {_value(scorer, at, float(centre[at])):.5g})"
        for at in furthest
    )
    return Misfit(
        joint.fields[furthest[0]] if furthest else joint.fields[0],
        Explanation(
            f"the row is unlike all that were learned; it is furthest from the nearest of them in {told} "
            f"({_by_how_much(judged, joint)})",
            "near the rows that were learned",
            _source(joint),
        ),
    )


def _by_how_much(judged: Judged, joint: Joint) -> str:
    return f"misfit {float(judged.misfit[0]):.3g}, at most {joint.threshold:.3g}; {_source(joint)}"


def _source(joint: Joint) -> str:
    """Say where the threshold comes from."""
    return f"joint check of {joint.rows:,} rows, at most {100 * joint.alpha:.3g} % of clean rows lie beyond it or outside the ranges"


def _value(scorer: Scorer, field: int, score: float) -> float:
    """Return the value of a field that has this score."""
    return float(np.interp(score, scorer.knot_scores[field], scorer.values[field]))
