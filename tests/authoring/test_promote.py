"""`rules promote`: the steps of a roll-out, what each needs, and the one line that changes."""

import difflib
from dataclasses import replace

import pytest

from guardproxy.authoring.promote import (
    Target,
    changed_only,
    failing_after,
    lacking,
    parse_target,
    recorded_evidence,
    verdicts_seen,
    with_mode,
)
from guardproxy.decision import Mode, RequestFacts, Verdict
from guardproxy.guard.cases import run_cases
from guardproxy.guard.recorded import Recorded
from guardproxy.rules import Ruleset, load_rulesets
from guardproxy.table import table_from_records

FILE = "a.guard.yaml"
TESTS = """\
tests:
  - name: fine
    given: {output: {a: 0.5}}
    expect: {verdicts: {r: ok}}
  - name: too much
    given: {output: {a: 2}}
    expect: {verdicts: {r: violated}}
"""
RULE = """\
guardproxy: 1
model: m
rules:
  - id: r   # the one
    range: {field: output.a, max: 1}
    mode: shadow   # for now
"""


def ruleset(text: str) -> Ruleset:
    rulesets, problems = load_rulesets({FILE: text})
    assert not [problem for problem in problems if problem.severity == "error"], problems
    return rulesets["m"]


def missing(text: str, to: str) -> list[str]:
    rules = ruleset(text)
    rule = rules.rule("r")
    assert rule is not None
    return lacking(rules, rule, parse_target(to), run_cases(rules))


def edited(text: str, to: str) -> str:
    rule = ruleset(text).rule("r")
    assert rule is not None
    return with_mode(text, rule, parse_target(to))


def changed_lines(before: str, after: str) -> list[str]:
    found = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    return [line for line in found if line[:2] in ("- ", "+ ")]


def test_one_step_up_with_both_verdicts_in_the_tests_lacks_nothing() -> None:
    assert missing(RULE + TESTS, "canary 20%") == []


def test_two_steps_at_once_are_one_too_many() -> None:
    assert missing(RULE + TESTS, "enforce") == ["it is one step at a time: from shadow to 'canary 20%' first"]


@pytest.mark.parametrize("to", ["shadow", "off", "canary 5%"])
def test_down_is_always_allowed(to: str) -> None:
    text = RULE.replace("shadow", "enforce")
    assert missing(text, to) == []


def test_a_canary_may_grow() -> None:
    assert missing(RULE.replace("shadow", "canary 5%") + TESTS, "canary 50%") == []


def test_a_rule_that_no_test_has_seen_violated_stays() -> None:
    tests = TESTS[: TESTS.index("  - name: too much")]
    assert missing(RULE + tests, "canary 20%") == [
        "no test has seen it violated: add one whose row breaks it",
    ]


def test_a_rule_without_any_test_needs_both() -> None:
    assert len(missing(RULE, "canary 20%")) == 2


def test_failing_tests_keep_a_rule_back() -> None:
    tests = TESTS.replace("{a: 2}", "{a: 0.2}")
    assert "1 of the model's tests fail, such as 'too much'" in missing(RULE + tests, "canary 20%")


def test_a_grave_rule_needs_an_owner_and_a_reason() -> None:
    text = RULE + "    severity: critical\n" + TESTS
    assert missing(text, "canary 20%") == [
        "a rule of severity critical needs 'owner' before it acts",
        "a rule of severity critical needs 'why' before it acts",
    ]


def test_both_verdicts_may_come_from_two_rows_of_one_test() -> None:
    tests = """\
tests:
  - name: two rows
    given: {rows: [{output: {a: 0.5}}, {output: {a: 2}}]}
    expect: [{verdicts: {r: ok}}, {verdicts: {r: violated}}]
"""
    rules = ruleset(RULE + tests)
    assert verdicts_seen("r", run_cases(rules)) == {Verdict.OK, Verdict.VIOLATED}
    assert missing(RULE + tests, "canary 20%") == []


@pytest.mark.parametrize(
    ("text", "mode", "share"),
    [
        ("shadow", Mode.SHADOW, 1.0),
        ("canary 20%", Mode.CANARY, 0.2),
        ("canary:2.5%", Mode.CANARY, 0.025),
        (" canary   100 % ", Mode.CANARY, 1.0),
        ("enforce", Mode.ENFORCE, 1.0),
    ],
)
def test_targets_are_read(text: str, mode: Mode, share: float) -> None:
    target = parse_target(text)
    assert target.mode is mode
    assert target.share == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["", "canary", "canary 0%", "canary 101%", "enforced", "canary 20", "canary -5%"]
)
def test_targets_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"mode|share"):
        parse_target(text)


def test_only_the_word_of_the_mode_changes() -> None:
    after = edited(RULE + TESTS, "canary 20%")
    assert changed_lines(RULE + TESTS, after) == [
        "-     mode: shadow   # for now\n",
        "+     mode: canary 20%   # for now\n",
    ]


def test_a_mode_that_came_from_the_defaults_is_written_below_the_id() -> None:
    text = RULE.replace("rules:", "defaults: {mode: shadow}\nrules:").replace(
        "    mode: shadow   # for now\n", ""
    )
    after = edited(text, "canary 20%")
    assert changed_lines(text, after) == ["+     mode: canary 20%\n"]
    assert "  - id: r   # the one\n    mode: canary 20%\n" in after


def test_a_mode_goes_below_the_severity_where_there_is_one() -> None:
    text = RULE.replace("    mode: shadow   # for now\n", "    severity: low\n")
    assert "    severity: low\n    mode: shadow\n" in edited(text, "shadow")


def test_carriage_returns_and_a_missing_last_line_end_stay() -> None:
    text = (RULE + TESTS).replace("\n", "\r\n").rstrip()
    assert edited(text, "enforce") == text.replace("shadow", "enforce")
    bare = (
        RULE.replace("    mode: shadow   # for now\n", "")
        .replace("\n", "\r\n")
        .replace("id: r   # the one", "id: r")
    )
    assert edited(bare, "shadow") == bare.replace("id: r\r\n", "id: r\r\n    mode: shadow\r\n")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{id: r, mode: shadow, range: {field: output.a, max: 1}}", "mode: canary 20%, range"),
        ("{range: {field: output.a, max: 1}, id: r}", "id: r, mode: canary 20%}"),
    ],
)
def test_a_rule_between_braces_is_edited_between_them(rule: str, expected: str) -> None:
    text = f"guardproxy: 1\nmodel: m\ndefaults: {{mode: shadow}}\nrules:\n  - {rule}\n"
    assert expected in edited(text, "canary 20%")


def test_a_mode_behind_an_alias_is_written_out_for_this_rule_only() -> None:
    text = (
        "guardproxy: 1\nmodel: m\ndefaults: {mode: &m shadow}\nrules:\n"
        "  - {id: r, mode: *m, range: {field: output.a, max: 1}}\n"
        "  - {id: s, mode: *m, range: {field: output.a, max: 2}}\n"
    )
    after = edited(text, "canary 20%")
    assert "{id: r, mode: canary 20%, range" in after
    assert changed_only({FILE: text}, {FILE: after}, "r") == []


def test_an_edit_that_would_change_another_rule_is_found() -> None:
    text = (
        "guardproxy: 1\nmodel: m\nrules:\n"
        "  - {id: r, mode: &m shadow, range: {field: output.a, max: 1}}\n"
        "  - {id: s, mode: *m, range: {field: output.a, max: 2}}\n"
    )
    after = edited(text, "canary 20%")
    assert changed_only({FILE: text}, {FILE: after}, "r") != []


def test_a_rule_of_the_same_id_in_another_document_is_not_touched() -> None:
    other = RULE.replace("model: m", "model: n")
    text = other + "---\n" + RULE
    after = edited(text, "enforce")
    assert after == other + "---\n" + RULE.replace("shadow", "enforce")


def test_a_test_that_would_fail_once_the_rule_acts_is_named() -> None:
    tests = TESTS.replace("{verdicts: {r: violated}}", "{verdicts: {r: violated}, outcome: allowed}")
    before = run_cases(ruleset(RULE + tests))
    after = run_cases(ruleset(edited(RULE + tests, "canary 20%")))
    assert failing_after(after, before) == [
        "the test 'too much' would fail: outcome: expected allowed, got warned (strongest violated rule: r)"
    ]


def _record(number: int, value: float | None) -> Recorded:
    return Recorded(
        id=f"dec_{number}",
        at=float(number),
        model="m",
        ruleset="x",
        facts=RequestFacts(float(number), 1, 1, "2026-01-01"),
        features=table_from_records([{"f": 1.0}]),
        predictions=table_from_records([{"a": value}]),
        previous={},
        outcomes=("allowed",),
        violated={},
        holds=(),
        weight=1.0,
        identity=b"",
        redacted=(),
    )


def test_recorded_traffic_counts_only_rows_that_the_rule_could_judge() -> None:
    rules = ruleset(RULE + TESTS)
    rule = rules.rule("r")
    assert rule is not None
    # The two that were kept as ordinary stand for four each: a recording holds more of what rules objected to.
    ordinary = [replace(_record(at, value), weight=4.0) for at, value in ((1, 0.5), (4, 0.1))]
    records = [*ordinary, _record(2, 3.0), _record(3, None)]
    told = recorded_evidence(rules, rule, Mode.CANARY, records, 4)
    assert told.seen == "recorded traffic: 3 rows judged, 1 violated (11.11% of the traffic)"
    assert told.missing == ("recorded traffic has only 3 rows that it could judge; 4 are needed",)
    assert recorded_evidence(rules, rule, Mode.CANARY, records, 3).missing == ()


def test_evidence_is_asked_for_on_the_way_up_only() -> None:
    rules = ruleset(RULE + TESTS)
    rule = rules.rule("r")
    assert rule is not None
    asked: list[Mode] = []

    def evidence(_rules: Ruleset, _rule: object, mode: Mode) -> list[str]:
        asked.append(mode)
        return ["more traffic"]

    results = run_cases(rules)
    assert lacking(rules, rule, Target(Mode.CANARY, 0.2, "canary 20%"), results, evidence) == ["more traffic"]
    assert lacking(rules, rule, Target(Mode.OFF, 1.0, "off"), results, evidence) == []
    assert asked == [Mode.CANARY]
