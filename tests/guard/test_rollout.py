"""Canaries, demoted rules and rules that are still warming up, through the two functions a route calls."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.decision import Action, Decision, Mode, Outcome, Verdict
from guardproxy.guard import Guard, screen_request, screen_response
from guardproxy.guard.fallbacks import override_refusals
from guardproxy.guard.guard import NoPast
from guardproxy.message import Message
from guardproxy.rules import View
from guardproxy.rules.rollout import DIGEST_BYTES, acts_in, digest_of, draw, drawn
from guardproxy.table import Cell, table_from_records
from tests.guard.test_screen import FACTS, make_guard, outcomes


def decide(
    guard: Guard,
    predictions: list[Any],
    rows: list[dict[str, Any]] | None = None,
    *,
    identity: bytes = b"",
    demoted: frozenset[str] = frozenset(),
    recent: dict[str, Cell] | None = None,
) -> Decision:
    instances = [{"x": 1}] * len(predictions) if rows is None else rows
    request = Message(json.dumps({"instances": instances}).encode(), identity=identity)
    screening = screen_request(guard, request, FACTS, None, demoted, recent or {})
    response = Message(json.dumps({"predictions": predictions}).encode())
    return screening.refusal or screen_response(guard, screening, response).decision


CANARY = "  - {id: low, range: {field: output.prediction, min: 0}, mode: canary 20%, action: fallback, fallback: [{value: 1}]}\n"


@given(st.text(min_size=1, max_size=20), st.binary(max_size=40))
def test_a_draw_depends_on_rule_and_request_alone(rule_id: str, identity: bytes) -> None:
    assert 0 <= draw(rule_id, identity) < 1
    assert draw(rule_id, identity) == draw(rule_id, digest_of(identity))
    assert len(digest_of(identity)) <= DIGEST_BYTES
    assert digest_of(digest_of(identity)) == digest_of(identity)


def test_draws_are_spread_evenly_and_independent_between_rules() -> None:
    identities = [f"request {number}".encode() for number in range(4_000)]
    pairs = Counter((draw("one", identity) < 0.2, draw("two", identity) < 0.2) for identity in identities)
    # Expected 160, 640, 640, 2,560; four standard deviations are below 110.
    assert abs(pairs[True, True] - 160) < 60
    assert abs(pairs[True, False] - 640) < 110
    assert abs(pairs[False, True] - 640) < 110


def test_a_canary_acts_in_its_share_of_exchanges_and_a_retry_is_treated_alike() -> None:
    guard = make_guard(CANARY)
    acted = 0
    for number in range(400):
        identity = f"key {number}".encode()
        decision = decide(guard, [-5], identity=identity)
        assert decide(guard, [-5], identity=identity).outcome is decision.outcome
        (finding,) = decision.findings
        assert (finding.rule, finding.verdict, finding.mode) == ("low", Verdict.VIOLATED, Mode.CANARY)
        assert finding.acts == (decision.outcome is Outcome.REPLACED) == bool(decision.patch)
        acted += finding.acts
    assert 40 < acted < 130


def test_without_a_key_the_body_is_the_identity() -> None:
    guard = make_guard(CANARY)
    found = {decide(guard, [-5], [{"x": number}]).outcome for number in range(40)}
    assert found == {Outcome.ALLOWED, Outcome.REPLACED}
    body = json.dumps({"instances": [{"x": 7}]}).encode()
    assert decide(guard, [-5], [{"x": 7}]).outcome is decide(guard, [-5], identity=body).outcome


def test_a_canary_that_was_not_drawn_has_no_veto_over_candidates() -> None:
    rules = (
        "  - {id: high, range: {field: output.prediction, max: 10}, action: fallback, fallback: [{value: 5}]}\n"
        "  - {id: not-five, forbid: output.prediction == 5, mode: canary 50%, action: warn}\n"
    )
    guard = make_guard(rules)
    for number in range(30):
        identity = f"key {number}".encode()
        decision = decide(guard, [99], identity=identity)
        stands_by = draw("not-five", identity) >= 0.5
        assert outcomes(decision) == ["replaced" if stands_by else "rejected"]


def test_a_view_without_identity_draws_every_canary() -> None:
    rule = make_guard(CANARY).ruleset.rules[0]
    empty = View(table_from_records([{"x": 1.0}]), None, FACTS, lambda by, row: None)
    assert acts_in(rule, empty)
    assert drawn((rule,), b"") == {"low"}
    assert not acts_in(rule, empty._replace(drawn=frozenset()))


HOLD = "  - {id: low, range: {field: output.prediction, min: 0}, action: hold}\n"


def test_a_demoted_rule_warns_and_says_so() -> None:
    decision = decide(make_guard(HOLD), [-5, 5], demoted=frozenset({"low"}))
    (finding,) = decision.findings
    assert outcomes(decision) == ["warned", "allowed"]
    assert (finding.acts, finding.demoted, finding.action) == (True, True, Action.WARN)
    assert (decision.held, decision.patch) == ((), ())
    again = decide(make_guard(HOLD), [-5, 5])
    assert (outcomes(again), again.findings[0].demoted) == (["held", "allowed"], False)
    assert again.findings[0].action is Action.HOLD


def test_a_demoted_rule_leaves_the_row_to_the_next_strongest() -> None:
    rules = (
        HOLD
        + "  - {id: lower, range: {field: output.prediction, min: -3}, action: fallback, fallback: [{value: 2}]}\n"
    )
    decision = decide(make_guard(rules), [-5, -1], demoted=frozenset({"low"}))
    assert outcomes(decision) == ["replaced", "warned"]
    assert outcomes(decide(make_guard(rules), [-5, -1])) == ["held", "held"]


def test_a_demoted_rule_has_no_veto_over_candidates() -> None:
    rules = (
        "  - {id: wild, forbid: output.prediction < 1000, action: hold}\n"
        "  - {id: high, range: {field: output.prediction, max: 10}, action: fallback, fallback: [{value: 5}]}\n"
    )
    guard = make_guard(rules)
    assert outcomes(decide(guard, [20, 3])) == ["held", "held"]
    decision = decide(guard, [20, 3], demoted=frozenset({"wild"}))
    assert outcomes(decision) == ["replaced", "warned"]
    assert decision.patch[0].values == {"prediction": 5}


def test_a_demoted_request_rule_refuses_nothing() -> None:
    guard = make_guard("  - {id: odd, range: {field: features.x, max: 0}, action: reject}\n")
    assert decide(guard, [1]).outcome is Outcome.REJECTED
    assert decide(guard, [1], demoted=frozenset({"odd"})).outcome is Outcome.WARNED


def test_an_exception_that_is_warming_up_excuses_nothing() -> None:
    rule = (
        "  - id: known\n    require: features.y > 0\n    action: hold\n    unless:\n"
        "      - {id: busy, when: 'recent_mean(features.x, 1h) > 3', until: 2027-01-01, owner: ops, why: peak}\n"
    )
    guard = make_guard(rule)
    assert outcomes(decide(guard, [5])) == ["held"]
    assert outcomes(decide(guard, [5], recent={"recent_mean(features.x, 1h)": 9.0})) == ["allowed"]
    assert outcomes(decide(guard, [5], recent={"recent_mean(features.x, 1h)": 1.0})) == ["held"]


def test_only_the_named_rules_are_demoted_and_a_warning_stays_one() -> None:
    guard = make_guard("  - {id: warns, forbid: output.prediction < 0, action: warn}\n")
    (finding,) = decide(guard, [-5], demoted=frozenset({"warns", "nobody"})).findings
    assert (finding.demoted, finding.action) == (False, Action.WARN)


ROLLING = (
    '  - {id: share, scope: window, require: "recent_share(output.prediction > 3, 1h) >= 20%", action: warn}\n'
    '  - {id: far, require: "output.prediction < 3 * recent_p99(output.prediction, 1d)", action: hold}\n'
)
SHARE, P99 = "recent_share(output.prediction > 3, 1h)", "recent_p99(output.prediction, 1d)"


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_rules_that_warm_up_are_unknown_and_cost_nobody_a_finding(rows: int) -> None:
    guard = make_guard(ROLLING)
    decision = decide(guard, [5] * rows)
    assert decision.outcome is Outcome.ALLOWED
    assert decision.findings == ()
    assert set(decision.verdicts[:2].ravel().tolist()) == {Verdict.UNKNOWN}
    if rows == 1:
        # The second exchange of the kind has the very same decision: nothing was worked out anew.
        assert decide(guard, [5]) is decision


def test_a_rule_that_warms_up_says_what_it_waits_for() -> None:
    guard = make_guard(ROLLING)
    view = View(
        table_from_records([{"x": 1.0}]),
        table_from_records([{"prediction": 5.0}]),
        FACTS,
        lambda by, row: None,
    )
    bound = guard.bind(("x",), ("prediction",))
    found = [
        bound.finding(rule, 0, Verdict.UNKNOWN, view) for rule in bound.rules_of(guard.ruleset.rules[0].phase)
    ]
    assert found[0].message == f"warming up: {SHARE} needs 1h of traffic"
    assert found[1].message == f"warming up: {P99} needs 1d of traffic"
    assert set(guard.ruleset.recents) == {SHARE, P99}


def test_what_rolling_functions_give_is_judged_as_soon_as_it_is_fed() -> None:
    guard = make_guard(ROLLING)
    decision = decide(guard, [50, 5], recent={SHARE: 0.1, P99: 10.0})
    assert outcomes(decision) == ["held", "warned"]
    assert {(one.rule, one.row) for one in decision.findings} == {("share", 0), ("far", 0)}
    assert decide(guard, [5], recent={SHARE: 0.5, P99: 10.0}).outcome is Outcome.ALLOWED


def test_a_violation_beside_a_rule_that_warms_up_is_still_found() -> None:
    decision = decide(make_guard(ROLLING + HOLD), [-5])
    assert outcomes(decision) == ["held"]
    assert [one.rule for one in decision.findings] == ["low"]


def test_a_fed_rule_that_cannot_be_judged_for_another_reason_is_found() -> None:
    guard = make_guard(ROLLING)
    decision = decide(guard, [None], recent={SHARE: 0.5, P99: 10.0})
    assert ("far", Verdict.UNKNOWN) in {(one.rule, one.verdict) for one in decision.findings}


def test_every_finding_names_the_revision_of_its_rule() -> None:
    guard = make_guard(HOLD)
    (finding,) = decide(guard, [-5]).findings
    assert finding.rev == guard.ruleset.rev("low") == guard.ruleset.rules[0].rev
    assert guard.ruleset.rev("nobody") == ""


def test_one_verdict_for_a_whole_batch_is_explained_once_and_holds_every_row() -> None:
    guard = make_guard(
        "  - {id: flat, scope: batch, require: batch_share(output.prediction == 0) <= 40%, action: hold}\n"
    )
    decision = decide(guard, [0] * 60 + [1] * 40)
    assert outcomes(decision) == ["held"] * 100
    (finding,) = decision.findings
    assert (finding.row, finding.measured) == (0, (("batch_share(output.prediction == 0)", 0.6),))
    assert len(decision.held) == 100
    assert all(held.findings[0].rule == "flat" for held in decision.held)
    assert decide(guard, [0] * 40 + [1] * 60).outcome is Outcome.ALLOWED


def test_a_candidate_is_compared_with_the_batch_that_its_row_came_in() -> None:
    rules = (
        "  - {id: outlier, require: output.prediction <= 2 * batch_mean(output.prediction), action: fallback,"
        " fallback: [{value: 90}, {value: 30}]}\n"
    )
    decision = decide(make_guard(rules), [100, 10, 10, 10])
    # The mean is 32.5: 90 would break the rule as 100 does, 30 would not.
    assert outcomes(decision) == ["replaced", "allowed", "allowed", "allowed"]
    assert decision.patch[0].values == {"prediction": 30}


def test_an_excepted_row_is_served_and_its_rule_has_no_veto_there() -> None:
    rules = (
        "  - id: low\n    range: {field: output.prediction, min: 0}\n    action: fallback\n    fallback: [{expr: features.x}]\n    unless:\n"
        '      - {id: sale, when: features.tag == "sale", until: 2026-01-06, owner: ops, why: it is}\n'
        "  - {id: lower, range: {field: output.prediction, min: -4}, action: fallback, fallback: [{value: -1}]}\n"
    )
    guard = make_guard(rules)
    decision = decide(guard, [-3, -3, -9], [{"tag": tag, "x": -2} for tag in ("sale", "no", "sale")])
    assert outcomes(decision) == ["allowed", "rejected", "replaced"]
    assert decision.patch[0].values == {"prediction": -1}


def test_what_a_person_decided_is_no_subject_of_a_trial() -> None:
    rules = (
        "  - {id: tried, range: {field: output.prediction, max: 10}, mode: canary 99%, action: warn}\n"
        "  - {id: firm, range: {field: output.prediction, max: 100}, action: warn}\n"
    )
    guard = make_guard(rules)
    assert override_refusals(guard, {"x": 1.0}, {"prediction": 50.0}, FACTS, NoPast()) == ()
    assert override_refusals(guard, {"x": 1.0}, {"prediction": 500.0}, FACTS, NoPast()) == ("firm",)
