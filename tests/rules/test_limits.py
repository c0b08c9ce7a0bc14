"""The limits of the breaker: written, or there without being written."""

from guardproxy.decision import Action
from guardproxy.rules import Ruleset
from guardproxy.rules.model import DEFAULT_LIMIT, Limit
from tests.rules.build import HEAD, PROFILE, rules_of

_HOLD = "rules:\n  - id: a\n    range: {field: output.demand, min: 0}\n    action: hold\n"


def _rules(body: str) -> Ruleset:
    return rules_of(body, profiles={"demand": PROFILE})


def _said(limits: tuple[Limit, ...]) -> list[tuple[Action, float, float]]:
    return [(limit.action, limit.share, limit.window_s) for limit in limits]


def test_holds_are_limited_where_nobody_wrote_a_limit() -> None:
    ruleset = _rules(_HOLD)
    assert ruleset.limits == (DEFAULT_LIMIT,)
    assert ruleset.rules[0].limits == (DEFAULT_LIMIT,)


def test_a_rule_that_holds_nothing_has_no_limit_of_its_own() -> None:
    ruleset = _rules(_HOLD.replace("hold", "reject"))
    assert ruleset.rules[0].limits == ()


def test_a_written_limit_takes_the_place_of_the_default() -> None:
    ruleset = _rules("limits: {hold: 2.5% per 90s, reject: 100% per 1h, then: warn}\n" + _HOLD)
    assert _said(ruleset.limits) == [(Action.HOLD, 0.025, 90.0), (Action.REJECT, 1.0, 3600.0)]
    assert str(ruleset.limits[0].place) == "demand.guard.yaml:4:16"
    assert _said(ruleset.rules[0].limits) == [(Action.HOLD, 0.025, 90.0)]


def test_a_limit_on_something_else_leaves_the_default_on_holds() -> None:
    ruleset = _rules("limits: {fallback: 30% per 5m}\n" + _HOLD)
    assert _said(ruleset.limits) == [(Action.FALLBACK, 0.3, 300.0), (Action.HOLD, 0.1, 300.0)]


def test_a_rule_may_have_a_limit_of_its_own() -> None:
    ruleset = _rules(_HOLD + "    limits: {hold: 1% per 10m}\n")
    assert _said(ruleset.rules[0].limits) == [(Action.HOLD, 0.01, 600.0)]


def test_limits_of_several_documents_come_together() -> None:
    ruleset = _rules("limits: {hold: 5% per 5m}\n---\n" + HEAD + "limits: {clamp: 50% per 5m}\n")
    assert _said(ruleset.limits) == [(Action.CLAMP, 0.5, 300.0), (Action.HOLD, 0.05, 300.0)]


def test_the_holds_of_a_score_are_limited_too() -> None:
    body = (
        "score: {hold_at: 2, reject_at: 4}\n"
        "rules:\n  - {id: a, require: output.demand > 0, action: score, points: 4}\n"
    )
    ruleset = _rules(body)
    hold, reject = ruleset.rule("score-hold"), ruleset.rule("score-reject")
    assert hold is not None
    assert reject is not None
    assert hold.limits == (DEFAULT_LIMIT,)
    assert reject.limits == ()


def test_a_models_limit_stands_in_for_the_default_of_its_rules_and_not_for_what_a_rule_says() -> None:
    ruleset = _rules("limits: {hold: 60% per 5m}\n" + _HOLD + "    limits: {hold: 1% per 10m}\n")
    assert _said(ruleset.rules[0].limits) == [(Action.HOLD, 0.01, 600.0)]
    assert _said(_rules("limits: {hold: 60% per 5m}\n" + _HOLD).rules[0].limits) == [
        (Action.HOLD, 0.6, 300.0)
    ]
