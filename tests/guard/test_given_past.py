"""A test case that gives an entity's last answers."""

import pytest

from guardproxy.guard.cases import run_cases
from guardproxy.rules import load_rulesets
from tests.rules.build import HEAD

RULES = """\
rules:
  - id: unlike
    unusual: {field: output.demand}
    action: fallback
    fallback: [FALLBACK, {value: 80}]
tests:
  - name: a case
    given: {features: {store: s1}, output: {demand: VALUE}, HISTORY}
    expect: {outcome: OUTCOME, verdicts: {unlike: VERDICT}, value: {demand: SERVED}}
"""
WEEKS = "100, 100, 100, 100, 100, 300, 50, " * 6


def passes(value: float, verdict: str, served: float, fallback: str = "last_good", history: str = "") -> None:
    listed = history or f"history: {{demand: [{WEEKS.rstrip(', ')}]}}"
    parts = {
        "FALLBACK": fallback,
        "VALUE": str(value),
        "HISTORY": listed,
        "OUTCOME": "replaced" if verdict == "violated" else "allowed",
        "VERDICT": verdict,
        "SERVED": str(served),
    }
    text = RULES
    for name, said in parts.items():
        text = text.replace(name, said)
    rulesets, problems = load_rulesets({"a.guard.yaml": HEAD + text}, outputs={"demand": ("demand",)})
    assert not [problem for problem in problems if problem.severity == "error"], problems
    (result,) = run_cases(rulesets["demand"])
    assert result.passed, result.differences


def test_what_is_unusual_is_told_from_the_given_answers() -> None:
    passes(100.0, "ok", 100.0)
    passes(5_000.0, "violated", 50.0)
    passes(0.0, "violated", 50.0)


@pytest.mark.parametrize(
    ("fallback", "served"),
    [
        ("previous", 50.0),
        ("last_good", 50.0),
        ("{last_good: {max_age: 2d}}", 50.0),
        ("{last_good: {max_age: 2h}}", 80.0),
    ],
)
def test_fallbacks_take_what_the_case_gives(fallback: str, served: float) -> None:
    passes(9_000.0, "violated", served, fallback)


def test_too_few_answers_make_nothing_unusual_and_may_be_a_plain_list() -> None:
    passes(9_000.0, "unknown", 9_000.0, history="history: [100, 101, 99]")


def test_answers_of_the_past_must_be_numbers() -> None:
    text = RULES.replace("HISTORY", "history: [much]").replace("FALLBACK", "auto").replace("VALUE", "1")
    text = text.replace("OUTCOME", "allowed").replace("VERDICT", "ok").replace("SERVED", "1")
    _, problems = load_rulesets({"a.guard.yaml": HEAD + text}, outputs={"demand": ("demand",)})
    assert [problem.code for problem in problems if problem.severity == "error"] == ["E206"]
