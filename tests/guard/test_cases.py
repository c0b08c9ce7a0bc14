"""Tests inside rule files run through the same judging as traffic, and failures name both sides."""

from guardproxy.decision import Outcome
from guardproxy.guard.cases import CaseResult, run_cases
from guardproxy.guard.coverage import Coverage, coverage
from guardproxy.rules import Ruleset, load_rulesets

RULES = """\
guardproxy: 1
model: m
owner: ops
rules:
  - id: low
    range: {field: output.demand, min: 0}
    action: fallback
    fallback: [previous, {value: 5}]
  - id: cap
    require: output.demand <= 2 * profile.output.demand.p99
    action: hold
    hold: {meanwhile: original}
  - id: night
    when: request.hour < 6
    forbid: output.demand > 50
  - id: unit
    range: {field: features.x, max: 9}
    action: reject
tests:
"""


def results(tests: str) -> list[CaseResult]:
    rulesets, problems = load_rulesets({"m.guard.yaml": RULES + tests}, outputs={"m": ("demand",)})
    assert not [p for p in problems if p.severity == "error"], problems
    return run_cases(rulesets["m"])


def test_a_case_that_holds_passes_with_what_was_found() -> None:
    (result,) = results(
        "  - name: negative\n"
        "    given: {features: {x: 1}, output: {demand: -3}, previous: {demand: 8}, profile: {output.demand.p99: 100}}\n"
        "    expect: {verdicts: {low: violated, cap: ok, night: skipped}, outcome: replaced, value: {demand: 8}}\n"
    )
    assert (result.passed, result.differences, result.value) == (True, (), {"demand": 8.0})


def test_a_failure_names_both_sides_and_the_rule_behind_it() -> None:
    (result,) = results(
        "  - name: negative\n"
        "    given: {features: {x: 1}, output: {demand: -3}, profile: {output.demand.p99: 100}}\n"
        "    expect: {verdicts: {low: ok}, outcome: held, value: {demand: 8}}\n"
    )
    assert not result.passed
    verdict, outcome, value = result.differences
    assert verdict.startswith("low: expected ok, got violated (")
    assert outcome == "outcome: expected held, got replaced (strongest violated rule: low)"
    assert value == "value of demand: expected 8, got 5"


def test_a_request_alone_can_be_rejected() -> None:
    (result,) = results(
        "  - {name: unit, given: {features: {x: 10}}, expect: {outcome: rejected, verdicts: {unit: violated}}}\n"
    )
    assert result.passed, result.differences


def test_rows_are_expected_one_by_one_and_facts_can_be_given() -> None:
    (result,) = results(
        "  - name: rows\n"
        "    given:\n"
        "      profile: {output.demand.p99: 100}\n"
        "      request: {hour: 3}\n"
        "      rows: [{features: {x: 1}, output: {demand: 60}}, {features: {x: 1}, output: {demand: 300}}]\n"
        "    expect: [{outcome: warned, verdicts: {night: violated}}, {outcome: held}]\n"
    )
    assert result.passed, result.differences


WHOLE = """\
guardproxy: 1
model: m
owner: ops
kpis:
  margin: {title: Margin, expr: output.price - features.cost, expect: {min: 1, max: 50}}
rules:
  - id: cheap
    when: features.cost > 0
    require: output.price >= 2 * features.cost
    action: hold
    unless:
      - {id: xmas, when: features.tag == "toys", until: 2026-12-31, owner: ops, why: planned}
  - {id: flat, scope: batch, require: batch_share(output.price == 0) <= 40%, mode: canary 1%, action: hold}
  - {id: watch, mode: shadow, forbid: output.price > 90, action: reject}
  - {id: share, scope: window, require: "recent_share(output.price > 3, 1h) >= 20%", action: warn}
tests:
"""


def whole(tests: str) -> tuple[Ruleset, list[CaseResult]]:
    rulesets, problems = load_rulesets({"m.guard.yaml": WHOLE + tests}, outputs={"m": ("price",)})
    assert not [p for p in problems if p.severity == "error"], problems
    return rulesets["m"], run_cases(rulesets["m"])


def test_an_exception_that_applied_is_named_in_the_difference() -> None:
    _, (result,) = whole(
        "  - name: toys\n    given: {features: {cost: 10, tag: toys}, output: {price: 12}}\n"
        "    expect: {verdicts: {cheap: violated}}\n"
    )
    assert result.differences == ("cheap: expected violated, got skipped (exception 'xmas' matched)",)
    assert result.rows[0].excepted == {"cheap": "xmas"}


def test_a_wrong_verdict_comes_with_the_values_of_both_sides() -> None:
    _, (result,) = whole(
        "  - name: cheap\n    given: {features: {cost: 10, tag: x}, output: {price: 12}}\n    expect: {verdicts: {cheap: ok}}\n"
    )
    (said,) = result.differences
    assert said.startswith(
        "cheap: expected ok, got violated (not satisfied: output.price >= 2 * features.cost"
    )
    assert said.endswith(": 12 >= 20)")
    _, (result,) = whole(
        "  - name: dear\n    given: {features: {cost: 10, tag: x}, output: {price: 30}}\n    expect: {verdicts: {cheap: violated}}\n"
    )
    assert result.differences == ("cheap: expected violated, got ok (within its bounds: 30 >= 20)",)


def test_a_canary_acts_in_tests_and_a_shadow_rule_does_not() -> None:
    _, (flat, watch) = whole(
        "  - name: flat\n    given:\n      rows:\n        - {features: {cost: -1}, output: {price: 0}}\n"
        "        - {features: {cost: -1}, output: {price: 9}}\n"
        "    expect: [{verdicts: {flat: violated}, outcome: held}, {verdicts: {flat: violated}, outcome: held}]\n"
        "  - name: watch\n    given: {features: {cost: -1}, output: {price: 99}}\n"
        "    expect: {verdicts: {watch: violated}, outcome: allowed}\n"
    )
    assert (flat.differences, watch.differences) == ((), ())
    assert [row.outcome for row in flat.rows] == [Outcome.HELD, Outcome.HELD]


def test_what_rolling_functions_give_can_be_given() -> None:
    _, results = whole(
        '  - name: fed\n    given: {features: {cost: -1}, output: {price: 3}, recent: {"recent_share( output.price>3, 1h )": 0.1}}\n'
        "    expect: {verdicts: {share: violated}, outcome: warned}\n"
        "  - name: not fed\n    given: {features: {cost: -1}, output: {price: 3}}\n"
        "    expect: {verdicts: {share: unknown}, outcome: allowed}\n"
    )
    assert [result.differences for result in results] == [(), ()]


def test_coverage_names_what_no_test_has_seen() -> None:
    tests = (
        "  - name: cheap\n    given: {features: {cost: 10, tag: x}, output: {price: 12}}\n    expect: {verdicts: {cheap: violated}}\n"
        "  - name: dear\n    given: {features: {cost: 10, tag: toys}, output: {price: 30}}\n    expect: {verdicts: {cheap: ok}}\n"
    )
    ruleset, results = whole(tests)
    found = coverage(ruleset, results)
    assert found.missing == (
        "cheap: its `when` was always true",
        "cheap: exception 'xmas' was never needed",
        "flat was never violated",
        "watch was never violated",
        "share was never ok",
        "share was never violated",
        "kpi-margin was never violated",
    )
    assert (found.seen, found.wanted) == (6, 13)
    more = tests + (
        '  - name: free\n    given: {features: {cost: 0}, output: {price: 0}, recent: {"recent_share(output.price > 3, 1h)": 0.1}}\n'
        "    expect: {outcome: allowed}\n"
        '  - name: toys\n    given: {features: {cost: 10, tag: toys}, output: {price: 12}, recent: {"recent_share(output.price > 3, 1h)": 0.9}}\n'
        "    expect: {outcome: allowed}\n"
        "  - name: odd\n    given: {features: {cost: 1}, output: {price: 99}}\n    expect: {outcome: allowed}\n"
    )
    full = coverage(*whole(more))
    assert (full.missing, full.share) == ((), 1.0)


def test_nothing_is_wanted_of_rules_that_are_off_or_built_in() -> None:
    rulesets, _ = load_rulesets(
        {
            "m.guard.yaml": "guardproxy: 1\nmodel: m\nowner: o\nrules:\n  - {id: a, mode: off, require: output.y > 1}\n"
        }
    )
    assert coverage(rulesets["m"], []) == Coverage(0, 0, (), ())
    assert coverage(rulesets["m"], []).share == 1.0


def test_a_rule_that_could_not_be_judged_is_not_called_violated() -> None:
    (result,) = results(
        "  - name: nothing to judge by\n"
        "    given: {features: {x: 1}, output: {demand: 12}}\n"
        "    expect: {outcome: allowed}\n"
    )
    (outcome,) = result.differences
    assert "cap is unknown, which counts as a violation" in outcome
    assert "strongest violated rule" not in outcome


def test_a_chain_with_nothing_to_serve_is_named_as_the_reason_of_a_reject() -> None:
    text = (
        "guardproxy: 1\nmodel: m\nowner: o\nrules:\n"
        "  - {id: low, range: {field: output.demand, min: 0}, action: fallback, fallback: [previous]}\n"
        "tests:\n  - {name: no past, given: {output: {demand: -3}}, expect: {outcome: replaced}}\n"
    )
    rulesets, _ = load_rulesets({"m.guard.yaml": text}, outputs={"m": ("demand",)})
    (result,) = run_cases(rulesets["m"])
    assert result.differences == (
        "outcome: expected replaced, got rejected (strongest violated rule: low; nothing in its fallback chain could be served)",
    )
