"""A row gets the same decision alone as among many, whatever the rules: actions, scores, exceptions, canaries, the breaker."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import Action, Decision, Mode, Verdict
from guardproxy.guard import Guard
from guardproxy.guard.screen import judge_request, judge_response
from guardproxy.rules import View
from guardproxy.rules.batches import COLUMNS_FROM
from guardproxy.table import Cell, table_from_records
from tests.guard.test_screen import FACTS
from tests.rules.build import PROFILE, rules_of

TEXT = """
lists: {odd: [1, 2, 9007199254740993]}
kpis: {ratio: {expr: output.demand / features.temp, expect: {max: 20}}}
score: {hold_at: 4, reject_at: 9, hold: {meanwhile: fallback}, fallback: [{value: {demand: 2}}, {value: {demand: 20}}]}
rules:
  - {id: wide, range: {field: output.demand, min: 0, max: 50}, action: clamp}
  - {id: narrow, range: {field: output.demand, min: 0, max: 40}, on_unknown: ignore, on_error: ignore, action: clamp}
  - {id: listed, forbid: output.demand in odd, mode: canary 50%, action: hold, fallback: [previous, {value: {demand: 3}}]}
  - id: step
    max_change: {field: output.demand, against: previous, up: 50%, down: 50%}
    on_unknown: ignore
    action: fallback
    fallback: [profile.p50, {expr: {demand: features.temp}}]
    unless: [{id: warm, when: features.temp > 30, until: 2027-01-01, owner: ops, why: heat}]
  - {id: asked, require: features.temp is not missing, mode: canary 30%, action: reject}
  - {id: signal, forbid: features.temp > 10, on_unknown: ignore, action: score, points: 3}
  - {id: other, forbid: kpi.ratio > 2, on_unknown: ignore, on_error: ignore, action: score, points: 2}
  - {id: gaps, missing_share: {fields: features.*, max: 50%}, mode: shadow, action: reject}
  - {id: far, when: features.price > 1, profile: {fields: output.*}, on_unknown: ignore, on_error: ignore, action: warn}
"""
RULESET = rules_of(TEXT, profiles={"demand": PROFILE}, outputs={"demand": ("demand",)})
RULES = tuple(rule.id for rule in RULESET.rules)

_CELLS: st.SearchStrategy[Cell] = st.sampled_from(
    [0, 1, 2.5, 10, 11, 35, 45, 60, -3, 2**53 + 1, 10**400, float("inf"), None, None, "a", True, (0.5,)]
)
_FEATURES = ("temp", "price", "last_week")
_ROW = st.fixed_dictionaries(dict.fromkeys(_FEATURES, _CELLS), optional={"demand": _CELLS, "past": _CELLS})


def decided(
    rows: list[dict[str, Cell]], identity: bytes, demoted: frozenset[str]
) -> tuple[Decision | None, Decision]:
    """Return the refusal of the request, if any, and what the response would come to."""
    features = table_from_records([{name: row[name] for name in _FEATURES} for row in rows])
    predictions = table_from_records([{"demand": row.get("demand")} for row in rows])

    def previous(_by: tuple[str, ...], row: int) -> Mapping[str, Cell] | None:
        return {"demand": rows[row]["past"]} if "past" in rows[row] else None

    guard = Guard("demand", make_codec("kserve-v1", CodecOptions()), RULESET, PROFILE, ("store",))
    view = View(features, None, FACTS, previous, identity, demoted)
    verdicts, refusal = judge_request(guard, view)
    return refusal, judge_response(guard, view._replace(output=predictions), verdicts)


def about(decision: Decision, row: int) -> dict[str, Any]:
    """Return all that a decision says of one row, but for its number."""
    held = [one for one in decision.held if one.row == row]
    return {
        "verdicts": decision.verdicts[:, row].tolist(),
        "outcome": int(decision.outcomes[row]),
        "patch": [(dict(one.values), one.source) for one in decision.patch if one.row == row],
        "withheld": row in decision.withheld,
        "rejected": row in decision.rejected,
        "held": [(one.rule, one.meanwhile, dict(one.provisional), one.value) for one in held],
        "candidates": [
            (c.source, dict(c.values), c.refused_by, c.note) for one in held for c in one.candidates
        ],
        "messages": [finding.message for one in held for finding in one.findings],
    }


@settings(max_examples=60)
@given(
    st.lists(_ROW, min_size=2, max_size=4),
    st.binary(min_size=1, max_size=3),
    st.frozensets(st.sampled_from(RULES), max_size=2),
    st.booleans(),
)
def test_a_row_gets_the_same_decision_alone_as_among_many(
    rows: list[dict[str, Cell]], identity: bytes, demoted: frozenset[str], many: bool
) -> None:
    repeated = rows * (COLUMNS_FROM // len(rows) + 1) if many else rows
    refusal, together = decided(repeated, identity, demoted)
    for number, row in enumerate(rows):
        refusal_alone, alone = decided([row], identity, demoted)
        assert (refusal_alone is not None) == (refusal is not None and number in refusal.rejected)
        assert about(alone, 0) == about(together, number)


@settings(max_examples=60)
@given(_ROW, st.binary(min_size=1, max_size=3), st.frozensets(st.sampled_from(RULES), max_size=2))
def test_what_is_served_in_place_of_a_prediction_satisfies_every_rule_that_acts_there(
    row: dict[str, Cell], identity: bytes, demoted: frozenset[str]
) -> None:
    _, decision = decided([row], identity, demoted)
    for patch in decision.patch:
        _, again = decided([{**row, **patch.values}], identity, demoted)
        acting = {finding.rule for finding in again.findings if finding.acts}
        for rule in RULESET.rules:
            if rule.reads_output and rule.id not in demoted and rule.action is not Action.SCORE:
                place = again.rules.index(rule.id)
                counted = Verdict(int(again.verdicts[place, 0])) in rule.counts
                alone_to_blame = rule.kind == "score" and not _adds_points(again)
                assert not (counted and rule.id in acting) or alone_to_blame, rule.id
                assert rule.mode is not Mode.ENFORCE or not counted or alone_to_blame


def _adds_points(decision: Decision) -> bool:
    """Tell whether a score rule that reads the prediction counts, so that another prediction would have helped."""
    return any(finding.rule == "other" and finding.acts for finding in decision.findings)
