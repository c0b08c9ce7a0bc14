"""What the findings of the newer checks, of KPIs and of functions over rows say."""

from collections.abc import Mapping

import pytest

from guardproxy.decision import Phase, Verdict
from guardproxy.rules import BoundRules, Rule, View
from guardproxy.table import Cell
from tests.rules.build import PROFILE, rules_of, view_of

ROW: dict[str, Cell] = {"temp": 20.0, "last_week": 100.0, "price": None}


def bound_of(text: str, view: View) -> tuple[BoundRules, Rule]:
    outputs = () if view.output is None else view.output.fields
    ruleset = rules_of(text, profiles={"demand": PROFILE}, outputs={"demand": outputs})
    return ruleset.bind(view.features.fields, outputs, PROFILE), ruleset.rules[0]


def explained(
    text: str, view: View, verdict: Verdict, row: int = 0
) -> tuple[str, tuple[tuple[str, Cell], ...], str]:
    bound, rule = bound_of(text, view)
    codes = bound.judge(rule.phase, view)[bound.rules_of(rule.phase).index(rule)]
    assert Verdict(int(codes[row])) is verdict
    finding = bound.finding(rule, row, verdict, view)
    return finding.message, finding.measured, finding.bound


def rules(body: str) -> str:
    return f"rules:\n  - id: the-rule\n    {body}\n"


def one(output: Mapping[str, Cell]) -> View:
    return view_of([ROW], [output])


def test_a_text_that_was_not_looked_through_says_so() -> None:
    text = rules("text: {field: output.answer, must_not_contain: guarantee}")
    message, _, _ = explained(text, one({"answer": "x" * 70_000}), Verdict.UNKNOWN)
    assert message == "cannot be judged: answer: only the first 64 KiB of the text were searched"
    when = rules("when: features.temp / 0 > 1\n    text: {field: output.answer, must_not_contain: guarantee}")
    for other in ("fine", 5.0):
        message, _, _ = explained(when, one({"answer": other}), Verdict.UNKNOWN)
        assert message.startswith("cannot be judged: ")
        assert "KiB" not in message
    message, _, _ = explained(text, one({"answer": None}), Verdict.UNKNOWN)
    assert message == "cannot be judged: output.answer is missing"


def test_a_text_is_never_shown_only_what_is_wrong_with_it() -> None:
    said = "call me at jo@example.org, I guarantee it"
    message, measured, _ = explained(
        rules("text: {field: output.text, pii: [email]}"), one({"text": said}), Verdict.VIOLATED
    )
    assert message == "text: the text holds personal data (email)"
    assert measured == (("length(output.text)", len(said)),)
    message, *_ = explained(
        rules("text: {field: output.text, must_not_contain: guarantee}"),
        one({"text": said}),
        Verdict.VIOLATED,
    )
    assert message == 'text: the text holds "guarantee"'


@pytest.mark.parametrize(
    ("cell", "verdict", "message"),
    [
        (None, Verdict.UNKNOWN, "cannot be judged: output.text is missing"),
        (3.0, Verdict.ERROR, "cannot be judged: a text check needs text"),
    ],
)
def test_a_text_that_is_none_is_told_apart(cell: Cell, verdict: Verdict, message: str) -> None:
    assert (
        explained(rules("text: {field: output.text, max_chars: 9}"), one({"text": cell}), verdict)[0]
        == message
    )


def test_a_confidence_says_how_far_it_falls_short() -> None:
    text = rules("confidence: {field: output.probs, min_top: 55%, min_margin: 10%}")
    message, measured, _ = explained(text, one({"probs": (0.5, 0.3, 0.2)}), Verdict.VIOLATED)
    assert message == "probs: the largest probability is 50.0%, below 55.0%"
    assert measured == (("output.probs", (0.5, 0.3, 0.2)),)


def test_a_row_with_gaps_names_its_gaps() -> None:
    text = rules("missing_share: {fields: [features.temp, features.price, features.last_week], max: 30%}")
    message, measured, _ = explained(text, view_of([ROW]), Verdict.VIOLATED)
    assert message == "1 of 3 fields are missing: price"
    assert measured == (("missing fields", 1), ("fields", 3))


def test_a_batch_with_gaps_names_the_field_and_its_share() -> None:
    text = rules("scope: batch\n    missing_share: {fields: features.*, max: 40%}")
    rows: list[Mapping[str, Cell]] = [ROW, {**ROW, "price": 1.0}, {**ROW, "temp": None}]
    message, measured, _ = explained(text, view_of(rows), Verdict.VIOLATED, row=1)
    assert message == "missing too often in 3 rows: price in 66.7%"
    assert measured == (("missing share of features.price", pytest.approx(2 / 3)),)


KPI = "kpis:\n  ratio: {title: Ratio, expr: output.demand / features.last_week, expect: {min: 0.5, max: 2}}\n"


def test_the_default_rule_of_a_kpi_names_it_its_value_and_its_bounds() -> None:
    view = one({"demand": 350.0})
    bound, _ = bound_of(KPI + rules("require: output.demand > 0"), view)
    rule = next(rule for rule in bound.rules_of(Phase.RESPONSE) if rule.id == "kpi-ratio")
    finding = bound.finding(rule, 0, Verdict.VIOLATED, view)
    assert finding.message == "kpi.ratio is 3.5, above 2"
    assert ("kpi.ratio", 3.5) in finding.measured
    assert finding.bound == ">= 0.5 and <= 2"
    assert bound.clamped(rule, 0, view) is None


def test_a_rule_on_a_kpi_measures_the_kpi_and_what_it_is_made_of() -> None:
    text = KPI + rules("require: kpi.ratio < 3")
    _, measured, _ = explained(text, one({"demand": 350.0}), Verdict.VIOLATED)
    assert dict(measured) == {"output.demand": 350.0, "features.last_week": 100.0, "kpi.ratio": 3.5}


def test_a_bound_that_a_kpi_took_from_the_profile_says_so() -> None:
    text = "kpis:\n  load: {title: Load, expr: output.demand / profile.output.demand.max}\n" + rules(
        "require: kpi.load < 1"
    )
    view = one({"demand": 2_000.0})
    bound, rule = bound_of(text, view)
    finding = bound.finding(rule, 0, Verdict.VIOLATED, view)
    assert finding.bound_source == "profile: 7,000 rows"
    assert ("profile.output.demand.max", 1_000.0) in finding.measured


def test_what_a_batch_function_gave_is_measured_and_can_be_put_into_a_message() -> None:
    text = rules(
        "scope: batch\n    require: batch_share(output.demand == 0) <= 40%\n"
        '    message: "{batch_share(output.demand == 0):.0%} are zero, on average {batch_mean(output.demand):.1f}"'
    )
    view = view_of([ROW] * 4, [{"demand": demand} for demand in (0.0, 0.0, 0.0, 10.0)])
    message, measured, _ = explained(text, view, Verdict.VIOLATED, row=3)
    assert message == "75% are zero, on average 2.5"
    assert measured == (("batch_share(output.demand == 0)", 0.75),)


def test_the_comparisons_of_a_rule_are_shown_with_both_sides() -> None:
    view = one({"demand": 350.0})
    for body, said in (
        ("require: output.demand <= 3 * features.last_week", "350 <= 300"),
        ("require: 0 <= output.demand <= 100 and features.temp > 5", "0 <= 350 <= 100; 20 > 5"),
        ("forbid: features.price > 3 or output.demand > features.last_week", "missing > 3; 350 > 100"),
        ("require: features.price is missing", ""),
    ):
        bound, rule = bound_of(rules(body), view)
        assert bound.compared(rule, 0, view) == said
