"""Explaining a row: every part of an expression with its value, and what became of the row."""

from collections.abc import Mapping, Sequence

import pytest

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import Outcome, Verdict
from guardproxy.guard import Guard
from guardproxy.guard.trace import Explained, Explanation, Part, explain_row
from guardproxy.rules import Ruleset, View, load_rulesets
from guardproxy.table import Cell, table_from_records
from tests.guard.recorded import rules
from tests.rules.build import FACTS, no_past

Row = Mapping[str, Cell]


def explain(
    text: str | Ruleset, features: Sequence[Row], output: Sequence[Row] | None, row: int = 0
) -> Explanation:
    ruleset = rules(text) if isinstance(text, str) else text
    guard = Guard("m", make_codec("kserve-v1", CodecOptions()), ruleset)
    answers = None if output is None else table_from_records(output)
    return explain_row(guard, View(table_from_records(features), answers, FACTS, no_past), row)


def rule_of(found: Explanation, name: str) -> Explained:
    return next(one for one in found.rules if one.rule.id == name)


def texts(part: Part) -> list[tuple[str, Cell]]:
    """Every part, from the top."""
    return [(part.text, part.value), *(pair for below in part.parts for pair in texts(below))]


def test_every_part_has_its_value_also_what_a_short_cut_skips() -> None:
    found = explain(
        "  - id: a\n    forbid: features.x > 5 and features.y / features.z > 2\n",
        [{"x": 1.0, "y": 6.0, "z": 2.0}],
        None,
    )
    ((word, tree),) = rule_of(found, "a").parts
    assert word == "forbid"
    assert texts(tree) == [
        ("features.x > 5 and features.y / features.z > 2", False),
        ("features.x > 5", False),
        ("features.x", 1.0),
        ("5", 5.0),
        ("features.y / features.z > 2", True),
        ("features.y / features.z", 3.0),
        ("features.y", 6.0),
        ("features.z", 2.0),
        ("2", 2.0),
    ]


def test_what_is_missing_is_marked_where_it_is_missing() -> None:
    found = explain("  - id: a\n    require: features.x + features.gone > 5\n", [{"x": 1.0}], None)
    one = rule_of(found, "a")
    assert one.verdict is Verdict.UNKNOWN
    values = dict(texts(one.parts[0][1]))
    assert (values["features.x"], values["features.gone"], values["features.x + features.gone"]) == (
        1.0,
        None,
        None,
    )


def test_values_that_do_not_fit_together_say_so_at_their_part() -> None:
    found = explain("  - id: a\n    require: features.x > 5\n", [{"x": "text"}], None)
    tree = rule_of(found, "a").parts[0][1]
    assert "cannot compare text with a number" in tree.error
    assert tree.parts[0].error == ""


def test_a_kpi_is_taken_apart_in_its_own_words() -> None:
    text = """guardproxy: 1
model: m
owner: ops
kpis:
  margin: {title: Margin, expr: (output.price - features.cost) / output.price}
rules:
  - id: floor
    require: kpi.margin >= 8%
"""
    loaded, problems = load_rulesets({"m": text})
    assert not [one for one in problems if one.severity == "error"]
    found = explain(loaded["m"], [{"cost": 5.0}], [{"price": 10.0}])
    kpi = rule_of(found, "floor").parts[0][1].parts[0]
    assert (kpi.text, kpi.value, kpi.source) == (
        "kpi.margin",
        0.5,
        "kpi margin: (output.price - features.cost) / output.price",
    )
    assert ("features.cost", 5.0) in texts(kpi)


def test_the_exception_that_applied_is_named_and_all_are_taken_apart() -> None:
    text = """
  - id: cap
    require: output.demand < 10
    unless:
      - {id: toys, when: features.kind == "toys", until: 2030-01-01, owner: ops, why: Expected.}
      - {id: food, when: features.kind == "food", until: 2030-01-01, owner: ops, why: Expected.}
"""
    found = explain(text, [{"kind": "toys"}], [{"demand": 50.0}])
    one = rule_of(found, "cap")
    assert (one.verdict, one.exception and one.exception.id) == (Verdict.SKIPPED, "toys")
    assert [(unless.id, part.value) for unless, part in one.exceptions] == [("toys", True), ("food", False)]


def test_the_effect_names_the_rule_that_acted_and_what_is_served() -> None:
    text = """
  - id: cap
    range: {field: output.demand, max: 10}
    action: fallback
    fallback: [{value: 7}]
  - id: quiet
    range: {field: output.demand, max: 5}
    mode: shadow
    action: reject
"""
    found = explain(text, [{"x": 1.0}], [{"demand": 50.0}])
    assert found.outcome is Outcome.REPLACED
    assert "because of cap" in found.effect
    assert "demand 7" in found.effect
    assert not rule_of(found, "quiet").finding.acts


def test_a_row_of_a_batch_is_explained_with_what_the_batch_gives() -> None:
    text = "  - id: near\n    require: output.demand <= 2 * batch_mean(output.demand)\n"
    found = explain(text, [{"x": 1.0}] * 3, [{"demand": 1.0}, {"demand": 1.0}, {"demand": 10.0}], row=2)
    one = rule_of(found, "near")
    assert one.verdict is Verdict.VIOLATED
    assert dict(texts(one.parts[0][1]))["batch_mean(output.demand)"] == pytest.approx(4.0)


def test_a_refused_request_is_explained_without_the_response() -> None:
    found = explain(
        "  - id: gate\n    range: {field: features.x, max: 5}\n    action: reject\n",
        [{"x": 9.0}],
        [{"demand": 1.0}],
    )
    assert found.outcome is Outcome.REJECTED
    assert [one.rule.id for one in found.rules] == ["gate"]


def test_without_a_prediction_the_request_alone_is_explained() -> None:
    found = explain("  - id: gate\n    range: {field: features.x, max: 5}\n", [{"x": 1.0}], None)
    assert (found.outcome, found.effect) == (None, "the model is asked; there is no prediction to judge")


def test_a_row_without_a_usable_fallback_says_what_spoke_against_each() -> None:
    text = (
        "  - id: cap\n    range: {field: output.demand, max: 10}\n    action: fallback\n"
        "    fallback: [previous, {value: {demand: 9}}, {value: {demand: 5}}]\n"
        "  - id: seven\n    range: {field: output.demand, max: 7}\n    severity: low\n"
    )
    found = explain(text, [{"x": 1.0}], [{"demand": 40.0}])
    previous, nine, five = found.candidates
    assert (previous.values, nine.refused_by, five.usable) == ({}, ("seven",), True)
    assert previous.note
    assert found.effect == "another answer goes out because of cap, value is served: demand 5"
    lost = explain(text.replace(", {value: {demand: 5}}", ""), [{"x": 1.0}], [{"demand": 40.0}])
    assert lost.outcome is Outcome.REJECTED
    assert [one.usable for one in lost.candidates] == [False, False]


def test_no_fallback_is_told_of_where_none_is_looked_for() -> None:
    text = "  - id: cap\n    range: {field: output.demand, max: 10}\n    fallback: [{value: 1}]\n"
    assert explain(text, [{"x": 1.0}], [{"demand": 40.0}]).candidates == ()
    assert explain(text, [{"x": 1.0}], None).candidates == ()


def test_a_sum_of_points_says_who_added_them() -> None:
    text = (
        "  - id: a\n    forbid: features.x > 0\n    action: score\n    points: 2\n"
        "  - id: b\n    forbid: output.demand > 0\n    action: score\n    points: 3\nscore: {hold_at: 5}\n"
    )
    found = explain(text, [{"x": 0.0}, {"x": 1.0}], [{"demand": 1.0}, {"demand": 1.0}], row=1)
    total = rule_of(found, "score-hold")
    assert total.verdict is Verdict.VIOLATED
    assert total.finding.message.startswith("5 points")
    assert "a 2" in total.finding.message
    assert "b 3" in total.finding.message
