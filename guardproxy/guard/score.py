"""Points: weak signals that hold or reject a row only together.

Decides which points count for which sum. A sum that acts in this exchange counts the rules that act in it; one that
only watches (in shadow, or a canary that was not drawn) counts every violated rule, and so records what it would find
if all were enforced.
"""

import numpy as np

from guardproxy.decision import Verdict
from guardproxy.rules import BoundRules, Rule, View
from guardproxy.rules.rollout import acts_in
from guardproxy.table import Codes, Floats, Mask


def with_scores(bound: BoundRules, rules: tuple[Rule, ...], verdicts: Codes, view: View) -> Codes:
    """Return the verdicts (all rules, rows) with those of the rules that sum up points."""
    counted = verdicts.copy()
    for place in bound.scored:
        points = _added(bound, rules, verdicts, view, rules[place]).sum(axis=0)
        counted[place] = np.where(points >= rules[place].points, Verdict.VIOLATED, Verdict.OK)
    return counted


def points_of(
    bound: BoundRules, rules: tuple[Rule, ...], verdicts: Codes, view: View, place: int, row: int
) -> list[tuple[str, float]]:
    """Return which rule added how many points to one row, for the sum at a place of the rules; the most first."""
    added = _added(bound, rules, verdicts[:, row : row + 1], view, rules[place])[:, 0].tolist()
    found = [
        (rules[scoring].id, points) for scoring, points in zip(bound.scoring, added, strict=True) if points
    ]
    return sorted(found, key=lambda one: (-one[1], one[0]))


def _added(bound: BoundRules, rules: tuple[Rule, ...], verdicts: Codes, view: View, total: Rule) -> Floats:
    """Return the points by scoring rule and row."""
    added = np.zeros((len(bound.scoring), verdicts.shape[1]))
    watching = not acts_in(total, view)
    for line, place in enumerate(bound.scoring):
        rule = rules[place]
        if watching or acts_in(rule, view):
            added[line, _counting(rule, verdicts[place])] = rule.points
    return added


def _counting(rule: Rule, codes: Codes) -> Mask:
    counts = np.array([verdict in rule.counts for verdict in Verdict], dtype=np.bool_)
    mask: Mask = counts[codes]
    return mask
