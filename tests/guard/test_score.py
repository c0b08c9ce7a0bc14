"""Weak signals that hold or reject together."""

import pytest

from guardproxy.decision import Action, Mode, Outcome, Verdict
from guardproxy.guard import Guard
from guardproxy.rules import load_rulesets
from tests.guard.test_rollout import decide
from tests.guard.test_screen import make_guard, outcomes

SIGNALS = (
    "  - {id: high, forbid: output.prediction > 10, action: score, points: 3}\n"
    "  - {id: odd, forbid: features.x > 5, action: score, points: 2}\n"
    "  - {id: negative, forbid: output.prediction < 0, action: score, points: 5}\n"
)
SCORE = "score: {hold_at: 5, reject_at: 8}\n"


def scored(rules: str = SIGNALS, score: str = SCORE) -> Guard:
    # The head of `make_guard` ends with `rules:`, so the score block goes in front of it by another way.
    text = f"guardproxy: 1\nmodel: m\nowner: ops\n{score}rules:\n{rules}"
    rulesets, problems = load_rulesets({"m.guard.yaml": text}, outputs={"m": ("prediction",)})
    assert not [one for one in problems if one.severity == "error"], problems
    guard = make_guard("  - {id: none, require: true}\n", outputs=("prediction",))
    return Guard("m", guard.codec, rulesets["m"], None, ("sku",))


@pytest.mark.parametrize(
    ("prediction", "x", "outcome", "points"),
    [
        (5, 1, "allowed", None),
        (20, 1, "allowed", None),
        (20, 9, "held", 5),
        (-1, 1, "held", 5),
        (-1, 9, "held", 7),
    ],
)
def test_points_are_summed_over_both_phases(
    prediction: int, x: int, outcome: str, points: int | None
) -> None:
    decision = decide(scored(), [5, prediction], [{"x": 1}, {"x": x}])
    assert outcomes(decision) == ["allowed", outcome]
    found = [one for one in decision.findings if one.rule == "score-hold"]
    assert [one.measured[0] for one in found] == ([] if points is None else [("points", points)])


def test_a_candidate_is_refused_where_its_points_and_those_of_the_request_still_reach_the_sum() -> None:
    guard = scored(
        score="score: {hold_at: 5, hold: {meanwhile: fallback}, fallback: [{value: 11}, {value: 7}]}\n"
    )
    (held,) = decide(guard, [20], [{"x": 9}]).held
    assert [one.refused_by for one in held.candidates] == [("score-hold",), ()]
    assert held.provisional == {"prediction": 7}


def test_the_points_of_a_request_alone_refuse_no_candidate() -> None:
    signals = SIGNALS + "  - {id: very-odd, forbid: features.x > 8, action: score, points: 6}\n"
    guard = scored(signals, "score: {hold_at: 5, hold: {meanwhile: fallback}, fallback: [{value: 7}]}\n")
    (held,) = decide(guard, [5], [{"x": 9}]).held
    assert held.provisional == {"prediction": 7}


def test_a_sum_names_what_added_to_it() -> None:
    decision = decide(scored(), [20], [{"x": 9}])
    found = {one.rule: one for one in decision.findings}
    assert found["score-hold"].message == "5 points of 5: high 3, odd 2"
    assert found["score-hold"].bound == "< 5 points"
    assert (found["high"].acts, found["high"].action) == (True, Action.SCORE)
    assert decision.held[0].rule == "score-hold"
    assert {one.rule for one in decision.held[0].findings} == {"high", "odd", "score-hold"}


def test_the_verdicts_say_which_sum_was_reached() -> None:
    decision = decide(scored(score="score: {hold_at: 5, reject_at: 7}\n"), [-1], [{"x": 9}])
    assert decision.outcome is Outcome.REJECTED
    place = decision.rules.index("score-reject")
    assert decision.verdicts[place, 0] == Verdict.VIOLATED


def test_a_signal_in_shadow_adds_nothing() -> None:
    guard = scored(SIGNALS.replace("points: 2}", "points: 2, mode: shadow}"))
    decision = decide(guard, [20], [{"x": 9}])
    assert decision.outcome is Outcome.ALLOWED
    assert {(one.rule, one.acts, one.mode) for one in decision.findings} == {
        ("high", True, Mode.ENFORCE),
        ("odd", False, Mode.SHADOW),
    }


def test_a_quiet_exchange_has_no_sum_to_work_out() -> None:
    guard = scored()
    decision = decide(guard, [5])
    assert decide(guard, [5]) is decision
    assert set(decision.verdicts.ravel().tolist()) == {Verdict.OK}


def test_a_demoted_sum_warns() -> None:
    decision = decide(scored(), [-1], demoted=frozenset({"score-hold"}))
    assert outcomes(decision) == ["warned"]


def test_a_candidate_must_not_reach_the_sum_either() -> None:
    rules = SIGNALS + (
        "  - {id: huge, forbid: output.prediction > 100, action: fallback, fallback: [{value: -5}, {value: 50}, {value: 4}]}\n"
    )
    decision = decide(scored(rules, "score: {hold_at: 4}\n"), [500])
    # -5 has five points; 50 has three, which holds nothing.
    assert outcomes(decision) == ["replaced"]
    assert decision.patch[0].values == {"prediction": 50}
