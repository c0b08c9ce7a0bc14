"""Resolve the verdicts of all rules into one outcome per row.

Decides which action wins a row (the strongest of the enforced ones; ties by severity, then by id), what is put in the
row's place, and what must be held. Choosing among candidates is left to `fallbacks`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from typing import Final, NamedTuple

import numpy as np

from guardproxy.codecs.patching import CLAMP
from guardproxy.decision import (
    Action,
    Decision,
    Finding,
    HeldRow,
    Meanwhile,
    Outcome,
    Replacement,
    Scope,
    Verdict,
)
from guardproxy.guard.fallbacks import NO_MISFITS, Misfits, Substitute, clamp, is_misfit, substitute
from guardproxy.guard.guard import Guard
from guardproxy.guard.score import points_of, with_scores
from guardproxy.rules import BoundRules, Rule, View
from guardproxy.rules.quieting import is_loud
from guardproxy.rules.rollout import as_demoted
from guardproxy.table import Codes, Mask

MAX_FINDINGS: Final = 200
"""Findings with evidence that one decision carries; a shifted column in a large batch would make thousands alike."""

MAX_ROW_FINDINGS: Final = 20
"""Findings that a held row carries to its reviewer; a hundred rules on a thousand held rows would take seconds to explain."""

MAX_HELD_ROWS: Final = 1_000
"""Rows of one exchange that can be held. Nobody reviews more, and none of them is stored then."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The verdicts (rules, rows) of `rules` over a view; `rules` have the actions that they have in this exchange.

    `acts` tells by rule and row whether a rule acts, `loud` whether its verdict is worth a finding: all but ok and
    skipped, and not where a rule only waits for rolling functions. `misfits` are replacements that the response cannot
    take.
    """

    bound: BoundRules
    rules: tuple[Rule, ...]
    verdicts: Codes
    view: View
    acts: Mask
    loud: Mask
    misfits: Misfits = field(default_factory=lambda: NO_MISFITS)


def judged_of(
    bound: BoundRules, rules: tuple[Rule, ...], verdicts: Codes, view: View, misfits: Misfits = NO_MISFITS
) -> Judged:
    """Complete verdicts that are not all quiet: points are summed, actions that were taken down are weaker."""
    view = bound.seeing(view)
    if bound.scored and len(verdicts) == len(bound.rule_ids):
        verdicts = with_scores(bound, rules, verdicts, view)
    acts = _acts(bound, rules, verdicts, view)
    return Judged(
        bound, as_demoted(rules, view), verdicts, view, acts, loud_of(bound, verdicts, view), misfits
    )


@dataclass(slots=True)
class _Draft:
    """A decision in the making."""

    outcomes: Codes
    patch: list[Replacement] = field(default_factory=list)
    held: list[HeldRow] = field(default_factory=list)
    held_dropped: int = 0
    withheld: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)


def resolve(guard: Guard, judged: Judged) -> Decision:
    """Decide about every row. Rows on which no enforced rule acts are allowed without being looked at."""
    draft = _Draft(np.zeros(judged.view.features.rows, dtype=np.uint8))
    for row in np.flatnonzero(judged.acts.any(axis=0)).tolist():
        acting = _acting(judged, row)
        _EFFECTS[acting[0].action](judged, row, acting, draft)
    findings, dropped = find(judged)
    return Decision(
        model=guard.model,
        ruleset=guard.ruleset.fingerprint,
        rows=len(draft.outcomes),
        outcomes=draft.outcomes,
        rules=judged.bound.rule_ids,
        verdicts=judged.verdicts,
        findings=findings,
        findings_dropped=dropped,
        patch=tuple(draft.patch),
        held=tuple(draft.held),
        held_dropped=draft.held_dropped,
        withheld=tuple(draft.withheld),
        rejected=tuple(draft.rejected),
    )


def withhold(decision: Decision, unwritable: tuple[int, ...]) -> Decision:
    """Take back a patch that the response cannot take in these rows: their suspect values must not go out instead."""
    outcomes = decision.outcomes.copy()
    for row in unwritable:
        if outcomes[row] != Outcome.HELD:
            outcomes[row] = Outcome.REJECTED
    rows = tuple(dict.fromkeys((*decision.withheld, *unwritable)))
    return replace(decision, outcomes=outcomes, patch=(), withheld=rows)


def _acting(judged: Judged, row: int) -> list[Rule]:
    """Return the rules that act on this row, the strongest first."""
    acting = [judged.rules[index] for index in np.flatnonzero(judged.acts[:, row]).tolist()]
    return sorted(acting, key=lambda rule: (-rule.action, -rule.severity, rule.id))


def find(judged: Judged) -> tuple[tuple[Finding, ...], int]:
    """Explain the loud verdicts, those that are acted on first; beyond MAX_FINDINGS they are only counted.

    When there are more, each rule that acts is heard once before any is heard twice, the strongest first. A verdict that
    is the same for all rows is explained once, on its first row.
    """
    loud = judged.loud.copy()
    for place, rule in enumerate(judged.rules):
        if rule.scope is not Scope.ROW:
            loud[place, 1:] = False
    total = int(np.count_nonzero(loud))
    told = [one for place in np.flatnonzero(loud.any(axis=1)).tolist() for one in _first(judged, loud, place)]
    if total > MAX_FINDINGS:
        told = nsmallest(MAX_FINDINGS, told)
    told.sort(key=lambda one: (one.quiet, one.row, one.rule))
    return tuple(_finding(judged, one.rule, one.row) for one in told), total - len(told)


class _Loud(NamedTuple):
    """A loud verdict; the sooner it is told, the smaller."""

    quiet: bool
    again: bool
    weakness: int
    often: int
    rule: int
    row: int


def _first(judged: Judged, loud: Mask, index: int) -> Iterator[_Loud]:
    """Yield as many loud verdicts of a rule as can be told, those that are acted on and the others."""
    acts, weakness = judged.acts[index], -judged.rules[index].action
    for quiet, rows in ((False, loud[index] & acts), (True, loud[index] & ~acts)):
        for often, row in enumerate(np.flatnonzero(rows)[:MAX_FINDINGS].tolist()):
            yield _Loud(quiet, often > 0, weakness, often, index, row)


def _acts(bound: BoundRules, rules: tuple[Rule, ...], verdicts: Codes, view: View) -> Mask:
    table = np.array(
        [[bound.acts(rule, verdict, view) for verdict in Verdict] for rule in rules], dtype=np.bool_
    ).reshape(len(rules), len(Verdict))
    acts: Mask = table[np.arange(len(rules))[:, None], verdicts]
    return acts


def loud_of(bound: BoundRules, verdicts: Codes, view: View) -> Mask:
    """Return by rule and row which verdicts are loud; not those of rules that wait for rolling functions."""
    loud = is_loud(verdicts)
    for place, _ in bound.warming:
        if place < len(loud) and bound.warms(place, view):
            loud[place] &= verdicts[place] != Verdict.UNKNOWN
    return loud


def _finding(judged: Judged, index: int, row: int) -> Finding:
    verdict = Verdict(int(judged.verdicts[index, row]))
    rule, points = judged.rules[index], []
    if index in judged.bound.scored:
        points = points_of(judged.bound, judged.rules, judged.verdicts, judged.view, index, row)
    return judged.bound.finding(rule, row, verdict, judged.view, points)


def _nothing(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:
    """Leave a row on which rules only add points."""


def _warn(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:  # noqa: ARG001
    draft.outcomes[row] = Outcome.WARNED


def _clamp(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:
    clamped = clamp(judged.bound, [rule for rule in acting if rule.action is Action.CLAMP], row, judged.view)
    unfit = judged.misfits.get(row, ())
    if clamped is None or any(is_misfit(one, CLAMP, clamped) for one in unfit):
        _fallback(judged, row, acting, draft)
        return
    draft.outcomes[row] = Outcome.CLAMPED
    draft.patch.append(Replacement(row, clamped, CLAMP))


def _fallback(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:
    found = substitute(judged.bound, acting, row, judged.view, judged.misfits)
    if found.chosen is None:
        # Nothing safe to serve: the suspect value must not go out, and no value may be made up.
        draft.outcomes[row] = Outcome.REJECTED
        draft.withheld.append(row)
        return
    draft.outcomes[row] = Outcome.REPLACED
    draft.patch.append(Replacement(row, found.chosen.values, found.chosen.source))


def _hold(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:
    rule = acting[0]
    spec = rule.hold
    found = substitute(judged.bound, acting, row, judged.view, judged.misfits)
    meanwhile = spec.meanwhile
    if meanwhile is Meanwhile.FALLBACK and found.chosen is None:
        meanwhile = Meanwhile.WITHHOLD
    draft.outcomes[row] = Outcome.HELD
    if meanwhile is Meanwhile.WITHHOLD:
        draft.withheld.append(row)
    elif meanwhile is Meanwhile.FALLBACK and found.chosen is not None:
        draft.patch.append(Replacement(row, found.chosen.values, found.chosen.source))
    if len(draft.held) < MAX_HELD_ROWS:
        draft.held.append(_held_row(judged, row, acting, found, meanwhile))
    else:
        draft.held_dropped += 1


def _held_row(
    judged: Judged, row: int, acting: list[Rule], found: Substitute, meanwhile: Meanwhile
) -> HeldRow:
    rule, view = acting[0], judged.view
    original = {} if view.output is None else view.output.record(row)
    provisional, source = original, "original"
    if meanwhile is Meanwhile.FALLBACK and found.chosen is not None:
        provisional, source = {**original, **found.chosen.values}, found.chosen.source
    elif meanwhile is Meanwhile.WITHHOLD:
        provisional, source = {}, "withheld"
    findings = tuple(_finding(judged, index, row) for index in _worth_telling(judged, row))
    return HeldRow(
        row=row,
        rule=rule.id,
        queue=rule.hold.queue,
        severity=rule.severity,
        meanwhile=meanwhile,
        on_expiry=rule.hold.on_expiry,
        sla_s=rule.hold.sla_s,
        features=view.features.record(row),
        original=original,
        provisional=provisional,
        provisional_source=source,
        candidates=found.candidates,
        findings=findings,
        value=judged.bound.stake(rule, row, view),
    )


def _worth_telling(judged: Judged, row: int) -> list[int]:
    """Return the rules that are loud on a row, in their order; of too many those that act, the strongest first."""
    loud: list[int] = np.flatnonzero(judged.loud[:, row]).tolist()
    if len(loud) > MAX_ROW_FINDINGS:
        acts, rules = judged.acts[:, row], judged.rules
        loud = sorted(loud, key=lambda index: (not acts[index], -rules[index].action, index))
        loud = sorted(loud[:MAX_ROW_FINDINGS])
    return loud


def _reject(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:  # noqa: ARG001
    draft.outcomes[row] = Outcome.REJECTED
    draft.rejected.append(row)


_EFFECTS: Final = {
    Action.SCORE: _nothing,
    Action.WARN: _warn,
    Action.CLAMP: _clamp,
    Action.FALLBACK: _fallback,
    Action.HOLD: _hold,
    Action.REJECT: _reject,
}
