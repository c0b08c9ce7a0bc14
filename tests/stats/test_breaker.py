"""The breaker: when a rule is demoted, what it still counts then, and when it acts again. The clock is handed in."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Action, Decision, Finding, Mode, Outcome, Phase, Severity, Verdict
from guardproxy.rules import Check, Rule, Ruleset, make_ruleset
from guardproxy.rules.model import Limit
from guardproxy.stats import Breaker, Change, Seen

OK, BAD, UNKNOWN = Verdict.OK, Verdict.VIOLATED, Verdict.UNKNOWN
WINDOW_S = 300.0


def rule(
    rule_id: str,
    action: Action = Action.HOLD,
    *,
    mode: Mode = Mode.ENFORCE,
    limits: tuple[Limit, ...] = (),
    minimum: float = 0,
    phase: Phase = Phase.RESPONSE,
) -> Rule:
    field = "output.y" if phase is Phase.RESPONSE else "features.x"
    check = Check("require", wants=f"{field} >= {minimum}")
    reads = phase is Phase.RESPONSE
    return Rule(rule_id, check, phase, reads, mode=mode, action=action, limits=limits, canary=0.5)


def ruleset(*rules: Rule, limits: tuple[Limit, ...] = ()) -> Ruleset:
    return make_ruleset("m", rules, limits=limits)


def decision(rules: Ruleset, by_rule: Mapping[str, Sequence[Verdict]]) -> Decision:
    """A decision with these verdicts; rules that are not named are ok."""
    ids = tuple(one.id for one in rules.rules if one.mode is not Mode.OFF)
    rows = len(next(iter(by_rule.values())))
    codes = np.array([by_rule.get(one, [OK] * rows) for one in ids], dtype=np.uint8)
    loud = bool((codes != OK).any())
    finding = Finding(ids[0], 0, BAD, Mode.ENFORCE, Action.HOLD, Severity.LOW, "")
    return Decision(
        "m",
        rules.fingerprint,
        rows,
        np.zeros(rows, dtype=np.uint8),
        ids,
        codes,
        findings=(finding,) if loud else (),
    )


def share(rules: Ruleset, rule_id: str, bad: int, rows: int) -> Decision:
    return decision(rules, {rule_id: [BAD] * bad + [OK] * (rows - bad)})


def words(changes: Sequence[Change]) -> list[tuple[str, str]]:
    return [(change.rule, change.cause) for change in changes]


def test_a_rule_over_its_limit_is_demoted_and_the_change_says_by_how_much() -> None:
    rules = ruleset(rule("a"), rule("b"))
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, share(rules, "a", 30, 200))])
    (change,) = breaker.look(1000.1)
    assert breaker.demoted == {"a"}
    assert (change.rule, change.cause, change.rows, change.share) == ("a", "limit", 200, 0.15)
    assert change.text == (
        "rule a of m only warns now: it would hold 15.0% of the last 200 rows, and the limit is 10% in 5m"
    )
    assert breaker.look(1000.2) == []
    assert breaker.trips == {"a": 1}


@pytest.mark.parametrize(("bad", "rows"), [(199, 199), (20, 200), (0, 5_000)])
def test_too_few_rows_or_a_share_at_the_limit_do_not_trip(bad: int, rows: int) -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, share(rules, "a", bad, rows))])
    assert breaker.look(1000.1) == []


def test_rows_older_than_the_window_no_longer_count() -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, share(rules, "a", 150, 150))])
    breaker.add([Seen(1400.0, share(rules, "a", 5, 100))])
    assert breaker.look(1400.1) == []
    breaker.add([Seen(1401.0, share(rules, "a", 6, 100))])
    assert words(breaker.look(1401.1)) == []
    breaker.add([Seen(1402.0, share(rules, "a", 20, 100))])
    assert words(breaker.look(1402.1)) == [("a", "limit")]


def test_a_demoted_rule_acts_again_after_a_calm_window_only() -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, share(rules, "a", 100, 200))])
    breaker.look(1000.0)
    for second in range(10, 300, 10):
        breaker.add([Seen(1000.0 + second, share(rules, "a", 0, 200))])
        assert breaker.look(1000.0 + second) == []
    breaker.add([Seen(1330.0, share(rules, "a", 0, 200))])
    assert words(breaker.look(1330.0)) == [("a", "calm")]
    assert breaker.demoted == frozenset()


def test_what_a_demoted_rule_would_do_is_still_measured() -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    at = 1000.0
    for _ in range(100):
        breaker.add([Seen(at, share(rules, "a", 8, 100))])
        breaker.add([Seen(at, share(rules, "a", 20, 100))])
        breaker.look(at)
        at += 10
    assert breaker.demoted == {"a"}
    assert breaker.trips == {"a": 1}


def test_more_than_half_of_the_limit_is_not_calm() -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, share(rules, "a", 100, 200))])
    breaker.look(1000.0)
    breaker.add([Seen(1400.0, share(rules, "a", 12, 200))])
    assert breaker.look(1400.0) == []
    breaker.add([Seen(1401.0, share(rules, "a", 8, 200))])
    assert words(breaker.look(1401.0)) == [("a", "calm")]


def test_silence_is_not_calm() -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, share(rules, "a", 100, 200))])
    breaker.look(1000.0)
    assert breaker.look(9_000.0) == []
    assert breaker.demoted == {"a"}


def test_an_operator_re_arms_with_nothing_counted_against_the_rule() -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, share(rules, "a", 200, 200))])
    breaker.look(1000.0)
    change = breaker.rearm("a", 1001.0)
    assert change is not None
    assert change.text == "rule a of m may hold again: an operator said so"
    assert breaker.demoted == frozenset()
    breaker.add([Seen(1002.0, share(rules, "a", 0, 10))])
    assert breaker.look(1002.0) == []
    breaker.add([Seen(1003.0, share(rules, "a", 190, 190))])
    assert words(breaker.look(1003.0)) == [("a", "limit")]
    assert breaker.rearm("b", 1003.0) is None


def test_a_changed_rule_acts_again_and_an_unchanged_one_keeps_its_counts() -> None:
    before = ruleset(rule("a"), rule("b"), rule("c"))
    breaker = Breaker(before)
    verdicts = {"a": [BAD] * 100 + [OK] * 100, "b": [BAD] * 100 + [OK] * 100, "c": [BAD] * 15 + [OK] * 185}
    breaker.add([Seen(1000.0, decision(before, verdicts))])
    breaker.look(1000.0)
    assert breaker.demoted == {"a", "b"}
    after = ruleset(rule("a", minimum=-5), rule("b"), rule("c"))
    assert words(breaker.follow(after, 1001.0)) == [("a", "changed")]
    assert breaker.demoted == {"b"}
    breaker.add([Seen(1001.0, share(after, "c", 10, 10))])
    assert words(breaker.look(1001.0)) == [("c", "limit")]


def test_a_rule_that_is_gone_or_no_longer_enforced_is_demoted_no_more() -> None:
    before = ruleset(rule("a"), rule("b"))
    breaker = Breaker(before)
    breaker.add([Seen(1000.0, decision(before, {"a": [BAD] * 200, "b": [BAD] * 200}))])
    breaker.look(1000.0)
    changes = breaker.follow(ruleset(rule("b", mode=Mode.SHADOW)), 1001.0)
    assert sorted(words(changes)) == [("a", "changed"), ("b", "changed")]
    assert breaker.demoted == frozenset()
    assert breaker.trips == {}


def test_decisions_of_the_set_before_are_counted_where_the_rule_did_not_change() -> None:
    before = ruleset(rule("a"))
    breaker = Breaker(before)
    late = share(before, "a", 200, 200)
    breaker.follow(ruleset(rule("a"), rule("b")), 1000.0)
    breaker.add([Seen(1000.0, late)])
    assert words(breaker.look(1000.0)) == [("a", "limit")]


def test_decisions_of_a_set_long_gone_are_counted_as_uncounted() -> None:
    before = ruleset(rule("a"))
    breaker = Breaker(before)
    for number in range(6):
        breaker.follow(ruleset(rule("a", minimum=number + 1)), 1000.0)
    breaker.add([Seen(1000.0, share(before, "a", 200, 200))])
    assert breaker.look(1000.0) == []
    assert breaker.uncounted == 200


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.OFF])
def test_a_rule_that_does_not_act_has_no_limit(mode: Mode) -> None:
    rules = ruleset(rule("a", mode=mode), rule("b", Action.WARN))
    assert Breaker(rules).watched == ()


def test_a_canary_counts_where_the_draw_fell_on_it() -> None:
    rules = ruleset(rule("a", mode=Mode.CANARY))
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, share(rules, "a", 300, 300))])
    assert breaker.look(1000.0) == []
    breaker.add([Seen(1000.0, share(rules, "a", 300, 300), frozenset({"a"}))])
    assert words(breaker.look(1000.0)) == [("a", "limit")]
    assert breaker.tripped["a"].share == 0.5


def test_verdicts_that_do_not_count_do_not_count_here() -> None:
    lenient = rule("a")
    lenient = Rule(
        **{**{n: getattr(lenient, n) for n in Rule.__dataclass_fields__}, "counts": frozenset({BAD})}
    )
    rules = ruleset(lenient)
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, decision(rules, {"a": [UNKNOWN] * 300}))])
    assert breaker.look(1000.0) == []


def test_other_actions_are_limited_only_where_a_limit_is_written() -> None:
    limit = Limit(Action.REJECT, 0.02, 60.0)
    rules = ruleset(rule("a", Action.REJECT), rule("b", Action.REJECT, limits=(limit,)))
    breaker = Breaker(rules)
    assert breaker.watched == ("b",)
    breaker.add([Seen(1000.0, decision(rules, {"a": [BAD] * 200, "b": [BAD] * 5 + [OK] * 195}))])
    assert words(breaker.look(1000.0)) == [("b", "limit")]
    assert "reject" in breaker.rearm("b", 1001.0).text  # type: ignore[union-attr]


def test_rules_that_stay_within_their_own_limits_are_demoted_together_over_the_models() -> None:
    rules = ruleset(*(rule(f"r{number}") for number in range(4)))
    breaker = Breaker(rules)
    verdicts = {f"r{n}": [OK] * (10 * n) + [BAD] * 10 + [OK] * (190 - 10 * n) for n in range(4)}
    breaker.add([Seen(1000.0, decision(rules, verdicts))])
    changes = breaker.look(1000.0)
    assert {change.cause for change in changes} == {"model"}
    assert breaker.demoted == {"r0", "r1", "r2", "r3"}
    assert changes[0].share == 0.2
    assert "all rules together would hold 20.0%" in changes[0].text


def test_a_rule_over_its_own_limit_does_not_take_the_others_down_with_it() -> None:
    rules = ruleset(rule("wild"), rule("calm"))
    breaker = Breaker(rules)
    verdicts = {"wild": [BAD] * 150 + [OK] * 50, "calm": [BAD] * 4 + [OK] * 196}
    breaker.add([Seen(1000.0, decision(rules, verdicts))])
    assert words(breaker.look(1000.0)) == [("wild", "limit")]


def test_rules_that_hold_the_same_rows_are_counted_once_for_the_model() -> None:
    rules = ruleset(*(rule(f"r{number}") for number in range(4)))
    breaker = Breaker(rules)
    same = [BAD] * 16 + [OK] * 184
    breaker.add([Seen(1000.0, decision(rules, {f"r{number}": same for number in range(4)}))])
    assert breaker.look(1000.0) == []


def test_after_a_models_trip_the_quiet_rules_come_back_and_the_loud_one_does_not() -> None:
    rules = ruleset(rule("loud"), rule("quiet"))
    breaker = Breaker(rules)
    first = {"loud": [BAD] * 19 + [OK] * 181, "quiet": [OK] * 19 + [BAD] * 10 + [OK] * 171}
    breaker.add([Seen(1000.0, decision(rules, first))])
    assert {change.cause for change in breaker.look(1000.0)} == {"model"}
    later = {"loud": [BAD] * 18 + [OK] * 182, "quiet": [OK] * 198 + [BAD] * 2}
    breaker.add([Seen(1400.0, decision(rules, later))])
    assert words(breaker.look(1400.0)) == [("quiet", "calm")]
    assert breaker.demoted == {"loud"}


def test_a_refused_request_counts_for_the_rules_that_judged_it() -> None:
    limit = Limit(Action.REJECT, 0.1, WINDOW_S)
    rules = ruleset(rule("early", Action.REJECT, phase=Phase.REQUEST, limits=(limit,)), rule("late"))
    whole = decision(rules, {"early": [BAD] * 300})
    refused = Decision(
        "m",
        rules.fingerprint,
        300,
        np.full(300, Outcome.REJECTED, dtype=np.uint8),
        ("early",),
        whole.verdicts[:1],
        findings=whole.findings,
    )
    breaker = Breaker(rules)
    breaker.add([Seen(1000.0, refused)])
    assert words(breaker.look(1000.0)) == [("early", "limit")]


def test_an_exchange_that_was_not_judged_counts_for_nothing() -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    outcomes = np.full(500, Outcome.UNGUARDED, dtype=np.uint8)
    unguarded = Decision("m", rules.fingerprint, 500, outcomes, (), np.zeros((0, 500), dtype=np.uint8))
    breaker.add([Seen(1000.0, unguarded), Seen(1000.0, share(rules, "a", 100, 100))])
    assert breaker.look(1000.0) == []


def test_a_clock_that_is_set_back_does_not_stop_the_breaker() -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    breaker.add([Seen(50_000.0, share(rules, "a", 0, 10_000))])
    breaker.look(50_000.0)
    breaker.add([Seen(1000.0, share(rules, "a", 0, 1))])
    breaker.look(1000.0)
    breaker.add([Seen(1000.1, share(rules, "a", 300, 300))])
    assert words(breaker.look(1000.2)) == [("a", "limit")]


def test_after_a_clock_was_set_back_a_demoted_rule_waits_one_window() -> None:
    rules = ruleset(rule("a"))
    breaker = Breaker(rules)
    breaker.add([Seen(50_000.0, share(rules, "a", 300, 300))])
    assert words(breaker.look(50_000.0)) == [("a", "limit")]
    breaker.add([Seen(1000.0, share(rules, "a", 0, 300))])
    assert breaker.look(1000.0) == []
    assert breaker.tripped["a"].at == 1000.0
    breaker.add([Seen(1000.0 + WINDOW_S, share(rules, "a", 0, 300))])
    assert words(breaker.look(1000.0 + WINDOW_S)) == [("a", "calm")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 900), st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=30),
    st.integers(1, 29),
)
def test_counts_do_not_depend_on_how_decisions_come_in(parts: list[tuple[float, int, int]], cut: int) -> None:
    """One flush or many, the same rows in the window mean the same verdict; a plain sum over the buckets agrees."""
    rules = ruleset(rule("a"))
    seen = [Seen(at, share(rules, "a", bad, bad + good)) for at, bad, good in sorted(parts) if bad + good]
    together, apart = Breaker(rules), Breaker(rules)
    together.add(seen)
    apart.add(seen[:cut])
    apart.add(seen[cut:])
    width = WINDOW_S / 30
    recent = [one for one in seen if one.at // width >= 900.0 // width - 30]
    rows = sum(one.decision.rows for one in recent)
    bad = sum(int((one.decision.verdicts == BAD).any(axis=0).sum()) for one in recent)
    expected = {"a"} if rows >= 200 and bad > 0.1 * rows else set()
    for breaker in (together, apart):
        breaker.look(900.0)
        assert breaker.demoted == expected
