"""Resolve the verdicts of all rules into one outcome per row.

Decides which action wins a row (the strongest of the enforced ones; ties by severity, then by id), what is put in the
row's place, and what must be held. Choosing among candidates is left to `fallbacks`.
"""

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from guardproxy.decision import (
    Action,
    Decision,
    Finding,
    HeldRow,
    Meanwhile,
    Mode,
    Outcome,
    Replacement,
    Verdict,
)
from guardproxy.guard.fallbacks import Substitute, clamp, substitute
from guardproxy.guard.guard import Guard
from guardproxy.rules import BoundRules, Rule, View
from guardproxy.table import Codes, Mask

MAX_FINDINGS: Final = 200
"""Findings with evidence that one decision carries; a shifted column in a large batch would make thousands alike."""

MAX_HELD_ROWS: Final = 1_000
"""Rows of one exchange that can be held. Nobody reviews more, and none of them is stored then."""

_LOUD: Final = np.array(
    [v in (Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.ERROR) for v in Verdict], dtype=np.bool_
)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The verdicts (rules, rows) of `rules` over a view."""

    bound: BoundRules
    rules: tuple[Rule, ...]
    verdicts: Codes
    view: View


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
    for row in np.flatnonzero(acts_of(judged).any(axis=0)).tolist():
        acting = acting_rules(judged, row)
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


def acting_rules(judged: Judged, row: int) -> list[Rule]:
    """Return the enforced rules that this row violates, the strongest first."""
    codes = judged.verdicts[:, row].tolist()
    acting = [
        rule for rule, code in zip(judged.rules, codes, strict=True) if judged.bound.acts(rule, Verdict(code))
    ]
    return sorted(acting, key=lambda rule: (-rule.action, -rule.severity, rule.id))


def find(judged: Judged) -> tuple[tuple[Finding, ...], int]:
    """Explain the loud verdicts, those of enforced rules first; beyond MAX_FINDINGS they are only counted."""
    index, row = np.nonzero(_LOUD[judged.verdicts])
    quieter = np.array([rule.mode is not Mode.ENFORCE for rule in judged.rules], dtype=np.bool_)[index]
    order = np.lexsort((index, row, quieter))[:MAX_FINDINGS].tolist()
    findings = tuple(_finding(judged, int(index[place]), int(row[place])) for place in order)
    return findings, max(0, len(index) - MAX_FINDINGS)


def acts_of(judged: Judged) -> Mask:
    """Tell by rule and row whether an enforced rule acts."""
    table = np.array(
        [[judged.bound.acts(rule, verdict) for verdict in Verdict] for rule in judged.rules], dtype=np.bool_
    )
    acts: Mask = table[np.arange(len(judged.rules))[:, None], judged.verdicts]
    return acts


def _finding(judged: Judged, index: int, row: int) -> Finding:
    verdict = Verdict(int(judged.verdicts[index, row]))
    return judged.bound.finding(judged.rules[index], row, verdict, judged.view)


def _warn(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:  # noqa: ARG001
    draft.outcomes[row] = Outcome.WARNED


def _clamp(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:
    clamped = clamp(judged.bound, [rule for rule in acting if rule.action is Action.CLAMP], row, judged.view)
    if clamped is None:
        _fallback(judged, row, acting, draft)
        return
    draft.outcomes[row] = Outcome.CLAMPED
    draft.patch.append(Replacement(row, clamped, "clamp"))


def _fallback(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:
    found = substitute(judged.bound, acting, row, judged.view)
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
    found = substitute(judged.bound, acting, row, judged.view)
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
    codes = judged.verdicts[:, row].tolist()
    findings = tuple(_finding(judged, index, row) for index, code in enumerate(codes) if _LOUD[code])
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


def _reject(judged: Judged, row: int, acting: list[Rule], draft: _Draft) -> None:  # noqa: ARG001
    draft.outcomes[row] = Outcome.REJECTED
    draft.rejected.append(row)


_EFFECTS: Final = {
    Action.WARN: _warn,
    Action.CLAMP: _clamp,
    Action.FALLBACK: _fallback,
    Action.HOLD: _hold,
    Action.REJECT: _reject,
}
