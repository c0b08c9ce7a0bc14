"""The score block and the rules that it becomes."""

from guardproxy.decision import Action, Meanwhile, Mode, OnExpiry, Verdict
from guardproxy.rules import Rule, load_rulesets
from tests.rules.build import HEAD, PROFILE, rules_of

_WEAK = "  - {{id: {id}, require: output.demand > 0, action: score, points: {points}}}\n"
_RULES = "rules:\n" + _WEAK.format(id="a", points=3) + _WEAK.format(id="b", points=4)


def _score(body: str, rule: str) -> Rule:
    found = rules_of(body, profiles={"demand": PROFILE}).rule(rule)
    assert found is not None
    return found


def test_a_score_holds_and_rejects_at_its_sums() -> None:
    body = "score: {hold_at: 5, reject_at: 7, hold: {queue: fraud, sla: 1h}, fallback: [previous]}\n" + _RULES
    hold, reject = _score(body, "score-hold"), _score(body, "score-reject")
    assert (hold.points, hold.action, hold.kind) == (5.0, Action.HOLD, "score")
    assert (hold.hold.queue, hold.hold.sla_s, hold.hold.meanwhile) == ("fraud", 3600.0, Meanwhile.FALLBACK)
    assert [spec.kind for spec in hold.fallback] == ["previous"]
    assert (reject.points, reject.action, reject.fallback) == (7.0, Action.REJECT, ())
    for rule in (hold, reject):
        assert rule.mode is Mode.ENFORCE
        assert rule.counts == {Verdict.VIOLATED}
        assert rule.owner == "planning"
        assert not rule.built_in
        assert rule.reads_output


def test_a_score_may_only_hold_or_only_reject() -> None:
    assert rules_of("score: {hold_at: 5}\n" + _RULES).rule("score-reject") is None
    assert rules_of("score: {reject_at: 5}\n" + _RULES).rule("score-hold") is None


def test_a_hold_of_a_score_says_what_nobody_wrote_as_a_rule_does() -> None:
    plain = _score("score: {hold_at: 5}\n" + _RULES, "score-hold").hold
    assert (plain.meanwhile, plain.on_expiry) == (Meanwhile.ORIGINAL, OnExpiry.ORIGINAL)
    chained = _score("score: {hold_at: 5, fallback: [previous]}\n" + _RULES, "score-hold").hold
    assert (chained.meanwhile, chained.on_expiry) == (Meanwhile.FALLBACK, OnExpiry.FALLBACK)


def test_the_score_block_may_stand_in_another_file_than_its_rules() -> None:
    texts = {"b.guard.yaml": HEAD + "score: {hold_at: 5}\n", "a.guard.yaml": HEAD + _RULES}
    rulesets, problems = load_rulesets(texts, profiles={"demand": PROFILE})
    assert problems == []
    rule = rulesets["demand"].rule("score-hold")
    assert rule is not None
    assert str(rule.place) == "b.guard.yaml:4:18"


def test_a_sum_that_all_rules_together_just_reach_is_fine() -> None:
    texts = {"a.guard.yaml": HEAD + "score: {hold_at: 7}\n" + _RULES}
    assert load_rulesets(texts, profiles={"demand": PROFILE})[1] == []
    off = texts["a.guard.yaml"].replace("points: 4", "points: 4, mode: off")
    (problem,) = load_rulesets({"a": off}, profiles={"demand": PROFILE})[1]
    assert problem.code == "W410"
    assert "together give 3 points: hold_at 7 is never reached" in problem.message


def test_a_test_may_expect_a_verdict_of_the_score() -> None:
    case = "tests:\n  - {name: x, given: {features: {}, output: {demand: -1}}, expect: {verdicts: {score-hold: violated}}}\n"
    assert len(rules_of("score: {hold_at: 5}\n" + _RULES + case).cases) == 1
