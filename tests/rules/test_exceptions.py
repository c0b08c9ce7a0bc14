"""Named exceptions: five keys, unique per rule, and a date that is watched."""

from datetime import date

import pytest

from guardproxy.rules import Ruleset, load_rulesets
from guardproxy.rules.exceptions import MAX_EXCEPTIONS
from guardproxy.source import Problem
from tests.rules.build import HEAD, PROFILE, rules_of

_RULE = "rules:\n  - id: margin-floor\n    range: {field: output.demand, min: 0}\n    unless:\n"
_ONE = "      - {{id: {id}, when: features.temp > 1, until: {until}, owner: pricing-desk, why: Approved.}}\n"


def _load(text: str, today: date | None) -> tuple[Ruleset, list[Problem]]:
    rulesets, problems = load_rulesets(
        {"a.guard.yaml": HEAD + text}, profiles={"demand": PROFILE}, today=today
    )
    return rulesets["demand"], problems


def test_an_exception_keeps_all_that_it_says() -> None:
    ruleset = rules_of(_RULE + _ONE.format(id="clearance", until="2026-12-01"), profiles={"demand": PROFILE})
    (one,) = ruleset.rules[0].unless
    assert (one.id, one.when, one.until) == ("clearance", "features.temp > 1", "2026-12-01")
    assert (one.owner, one.why) == ("pricing-desk", "Approved.")
    assert str(one.place) == "demand.guard.yaml:8:14"


@pytest.mark.parametrize(
    ("until", "code", "said"),
    [
        ("2026-12-04", "", ""),
        ("2026-12-03", "", ""),
        ("2026-12-02", "W407", "exception 'clearance' expires in 7 days (2026-12-02, owner pricing-desk)"),
        ("2026-12-01", "W407", "exception 'clearance' expires in 6 days (2026-12-01, owner pricing-desk)"),
        ("2026-11-26", "W407", "exception 'clearance' expires in 1 day (2026-11-26, owner pricing-desk)"),
        ("2026-11-25", "W407", "exception 'clearance' expires today (2026-11-25, owner pricing-desk)"),
        ("2026-11-24", "W408", "exception 'clearance' expired 1 day ago (2026-11-24, owner pricing-desk)"),
        (
            "2020-01-01",
            "W408",
            "exception 'clearance' expired 2,520 days ago (2020-01-01, owner pricing-desk)",
        ),
    ],
)
def test_the_end_of_an_exception_is_warned_of_seven_days_ahead(until: str, code: str, said: str) -> None:
    text = _RULE + _ONE.format(id="clearance", until=until)
    ruleset, problems = _load(text, date(2026, 11, 25))
    assert [one.code for one in problems] == ([code] if code else [])
    assert all(one.message.startswith(said) and one.severity == "warning" for one in problems)
    assert all((one.line, one.column, one.length) == (8, 57, 10) for one in problems)
    assert len(ruleset.rules[0].unless) == 1  # a warning keeps the exception
    assert _load(text, None)[1] == []


def test_a_rule_that_waits_for_its_exception_is_one_of_the_response() -> None:
    body = "rules:\n  - id: a\n    range: {field: features.temp, min: 0}\n"
    unless = "    unless: [{id: x, when: output.demand > 1, until: 2027-01-01, owner: o, why: w}]\n"
    assert rules_of(body, profiles={"demand": PROFILE}).rules[0].phase == "request"
    assert rules_of(body + unless, profiles={"demand": PROFILE}).rules[0].phase == "response"


def test_exceptions_of_two_rules_may_share_an_id() -> None:
    rule = _RULE + _ONE.format(id="x", until="2027-01-01")
    other = rule.replace("rules:\n", "").replace("margin-floor", "other")
    assert len(rules_of(rule + other, profiles={"demand": PROFILE}).rules[1].unless) == 1


def test_a_new_date_makes_another_rule_and_a_new_place_does_not() -> None:
    first, moved, renewed = (
        rules_of(text, profiles={"demand": PROFILE}).rules[0].rev
        for text in (
            _RULE + _ONE.format(id="x", until="2027-01-01"),
            "# a comment\n" + _RULE + _ONE.format(id="x", until="2027-01-01"),
            _RULE + _ONE.format(id="x", until="2027-01-02"),
        )
    )
    assert first == moved
    assert first != renewed


def test_a_thousand_exceptions_of_a_rule_are_refused_in_one_sentence() -> None:
    many = "".join(_ONE.format(id=f"x{n}", until="2027-01-01") for n in range(1_000))
    _, problems = _load(_RULE + many, None)
    assert [one.code for one in problems] == ["E208"]
    assert str(MAX_EXCEPTIONS) in problems[0].message
