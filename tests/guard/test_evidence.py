"""Rules held against recorded traffic: fields that no row has, rules that can say but one thing."""

import pytest

from guardproxy.guard.evidence import gather, weigh, with_seen_fields
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import Judge
from guardproxy.rules import load_rulesets
from guardproxy.source import Problem
from tests.guard.recorded import exchange

HEAD = "guardproxy: 1\nmodel: m\nowner: ops\nrules:\n"


def traffic(rows: int = 150, **more: object) -> list[Recorded]:
    return [
        exchange(n, [{"cost": 5.0, "kind": "a"}], [{"demand": 10.0 + n % 7}], **more)  # type: ignore[arg-type]
        for n in range(rows)
    ]


def problems(text: str, records: list[Recorded] | None = None) -> list[Problem]:
    texts = {"m.guard.yaml": HEAD + text}
    rulesets, found = load_rulesets(texts)
    assert not [one for one in found if one.severity == "error"]
    evidence = gather("m", traffic() if records is None else records, Judge(rulesets["m"]))
    return weigh(rulesets["m"], evidence, texts)


@pytest.mark.parametrize(
    ("more", "acts"),
    [("", True), ("    on_unknown: ignore\n", False), ("    mode: shadow\n", False)],
)
def test_a_misspelt_field_that_lets_an_action_loose_on_every_row_is_told_so(more: str, acts: bool) -> None:
    text = f"  - id: dear\n    range: {{field: features.cst, min: 1}}\n    action: reject\n{more}"
    (one,) = [problem for problem in problems(text) if problem.code == "W405"]
    tail = ", and so its action (reject) meets every row it asks about: on_unknown is violate"
    assert one.message.endswith(f"it can never be evaluated{tail if acts else ''}")


def test_a_field_that_no_row_has_is_told_with_the_likely_one_and_a_caret_under_it() -> None:
    text = """\
  - id: before
    require: output.demand > 0
  - id: margin-floor
    title: Margin
    require: output.demand - features.cst > 1
"""
    (one,) = [problem for problem in problems(text) if problem.code == "W405"]
    assert one.message == (
        "rule 'margin-floor' reads features.cst, absent in 100% of 150 recorded rows: it can never be evaluated"
    )
    assert one.help == "did you mean 'features.cost'?"
    assert (one.line, one.column, one.length) == (9, 30, len("features.cst"))
    assert one.severity == "warning"


def test_a_rule_that_copes_with_an_absent_field_is_only_told_of_a_misspelling() -> None:
    assert [p.code for p in problems("  - id: a\n    require: (features.other ?? 1) > 0\n")] == ["W406"]
    (one,) = problems("  - id: a\n    require: (features.cots ?? 1) > 0\n")
    assert (one.code, one.help) == ("W405", "did you mean 'features.cost'?")
    assert one.message.endswith("what it says of that field is never tried")


def test_a_condition_that_was_never_true_cannot_fire() -> None:
    (one,) = problems('  - id: a\n    when: features.kind == "b"\n    require: output.demand > 0\n')
    assert one.code == "W406"
    assert "the `when` of rule 'a' was never true in 150 recorded rows" in one.message
    assert (one.line, one.column, one.length) == (6, 5, 4)


def test_a_rule_that_every_row_violates_is_told_and_one_that_none_does_is_noted() -> None:
    always, never = problems(
        "  - id: always\n    require: output.demand < 0\n  - id: never\n    require: output.demand > 0\n"
    )
    assert (always.code, "violated on every one of 150 recorded rows" in always.message) == ("W406", True)
    assert (never.code, never.severity) == ("W406", "note")
    assert (always.line, always.column, always.length) == (5, 9, 6)


def test_a_rule_that_no_row_lets_be_judged_is_told() -> None:
    (one,) = problems("  - id: a\n    require: log(output.demand - 1000) > 0\n")
    assert (one.code, "could not be judged on any of 150" in one.message) == ("W406", True)


def test_few_rows_are_no_reason_to_call_a_rule_constant() -> None:
    assert problems("  - id: a\n    require: output.demand > 0\n", traffic(20)) == []


def test_redacted_fields_are_not_absent() -> None:
    records = [
        exchange(n, [{"age": None}], [{"demand": 1.0}], redacted=("features.age",)) for n in range(120)
    ]
    assert problems("  - id: adult\n    require: features.age >= 18\n", records) == []


def test_an_unknown_field_gets_the_fields_of_the_traffic_as_a_note() -> None:
    unknown = Problem("E106", "unknown field 'output.demnd'", "m.guard.yaml", 5, 5)
    other = Problem("E204", "unknown key", "m.guard.yaml", 5, 5)
    first, second = with_seen_fields([unknown, other], [gather("m", traffic())])
    assert first.note == "fields seen in recorded traffic: demand"
    assert second.note == ""
    (feature,) = with_seen_fields(
        [Problem("E106", "unknown field 'features.csot'", "m", 1, 1)], [gather("m", traffic())]
    )
    assert feature.note == "fields seen in recorded traffic: cost, kind"
