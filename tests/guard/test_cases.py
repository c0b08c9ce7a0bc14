"""Tests inside rule files run through the same judging as traffic, and failures name both sides."""

from guardproxy.guard.cases import CaseResult, run_cases
from guardproxy.rules import load_rulesets

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
