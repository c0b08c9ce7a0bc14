"""A test case can say what was learned, so that rules with a `profile` check can be tested without a profile."""

import pytest

from guardproxy.decision import Verdict
from guardproxy.guard.cases import CaseResult, run_cases
from guardproxy.guard.given import given_profile
from guardproxy.profile.model import Profile
from guardproxy.rules import load_rulesets
from tests.rules.build import number, profile_of

RULES = """\
guardproxy: 1
model: m
owner: ops
rules:
  - {id: inside, profile: {fields: features.*}, on_unknown: ignore}
  - {id: two, profile: {fields: features.*, at_least: 2}, on_unknown: ignore}
  - {id: band, profile: {fields: [features.temp], outside: p1..p99}, on_unknown: ignore}
  - {id: answer, profile: {fields: output.*}, on_unknown: ignore}
tests:
"""


def results(tests: str, profile: Profile | None = None) -> list[CaseResult]:
    known = {} if profile is None else {"m": profile}
    rulesets, problems = load_rulesets({"m.guard.yaml": RULES + tests}, profiles=known, outputs={"m": ("y",)})
    assert not [p for p in problems if p.severity == "error"], problems
    return run_cases(rulesets["m"], profile)


def case(given: str, **verdicts: str) -> str:
    wanted = ", ".join(f"{rule}: {verdict}" for rule, verdict in verdicts.items())
    return f"  - name: a case\n    given: {{features: {{temp: 50, wind: 9}}, output: {{y: 7}}, profile: {{{given}}}}}\n    expect: {{verdicts: {{{wanted}}}}}\n"


@pytest.mark.parametrize(
    ("given", "verdicts"),
    [
        ("temp.min: -5, temp.max: 41", {"inside": "violated", "two": "ok"}),
        ("features.temp.max: 41", {"inside": "violated", "two": "ok"}),
        ("temp.max: 41, wind.max: 8", {"inside": "violated", "two": "violated"}),
        ("temp.max: 60, wind.min: 0", {"inside": "ok", "two": "ok"}),
        ("temp.p1: 0, temp.p99: 45", {"band": "violated", "inside": "ok"}),
        ("temp.p1: 0, temp.p99: 55", {"band": "ok"}),
        ("output.y.max: 5", {"answer": "violated"}),
        ("output.y.p99: 5", {"answer": "unknown", "inside": "unknown"}),
    ],
)
def test_given_statistics_are_what_was_learned(given: str, verdicts: dict[str, str]) -> None:
    (result,) = results(case(given, **verdicts))
    assert result.differences == ()


def test_fields_that_a_case_does_not_name_keep_what_was_learned() -> None:
    profile = profile_of([number("temp", 0, 40), number("wind", 0, 8)], [], model="m")
    (result,) = results(case("temp.max: 60", inside="violated", two="ok"), profile)
    assert result.differences == ()
    (result,) = results(case("wind.max: 10", inside="violated", two="ok"), profile)
    assert result.differences == ()
    assert (
        result.verdicts["inside-profile" if "inside-profile" in result.verdicts else "inside"]
        is Verdict.VIOLATED
    )


def test_percentiles_lie_on_lines_through_those_that_are_given() -> None:
    made = given_profile("m", None, {("temp", "min"): 0.0, ("temp", "p50"): 10.0, ("temp", "max"): 100.0})
    assert made is not None
    found = made.features["temp"]
    assert (found.low, found.high, found.percentile(50.0), found.percentile(25.0)) == (0.0, 100.0, 10.0, 5.0)
    assert found.percentile(75.0) == pytest.approx(55.0)


def test_without_anything_given_the_learned_profile_is_used_as_it_is() -> None:
    profile = profile_of([number("temp", 0, 40)])
    assert given_profile("m", profile, {}) is profile
    assert given_profile("m", None, {}) is None
    assert given_profile("m", None, {("output.y", "p99"): 1.0}) is None
