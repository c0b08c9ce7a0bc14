"""The guard as two pure functions: literal bytes in, the expected decision out."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import Decision, Outcome, RequestFacts
from guardproxy.errors import DecodeError, UnalignedError
from guardproxy.guard import Guard, screen_request, screen_response
from guardproxy.guard.resolve import MAX_FINDINGS, MAX_HELD_ROWS, MAX_ROW_FINDINGS
from guardproxy.message import Message
from guardproxy.profile.model import FieldKind, FieldProfile, Profile, TimeForm
from guardproxy.rules import load_rulesets
from guardproxy.table import Cell

FACTS = RequestFacts(at=0.0, hour=9, weekday=1, date="2026-01-06")


class Remembered:
    """A past that knows one answer for every entity it was asked about by its first key."""

    def __init__(self, answers: Mapping[Cell, Mapping[str, Cell]]) -> None:
        self.answers = answers

    def previous(self, by: tuple[str, ...], entity: tuple[Cell, ...], at: float) -> Mapping[str, Cell] | None:
        return self.answers.get(entity[0])


def make_guard(rules: str, **options: Any) -> Guard:
    text = f"guardproxy: 1\nmodel: m\nowner: ops\nrules:\n{rules}"
    rulesets, problems = load_rulesets(
        {"m.guard.yaml": text}, outputs={"m": options.get("outputs", ("prediction",))}
    )
    assert not [p for p in problems if p.severity == "error"], problems
    return Guard("m", make_codec("kserve-v1", CodecOptions(**options)), rulesets["m"], None, ("sku",))


def decide(
    guard: Guard,
    rows: list[dict[str, Any]],
    predictions: Any,
    past: Mapping[Cell, Mapping[str, Cell]] | None = None,
) -> tuple[Decision, Any]:
    """Return the decision and what the client would read."""
    request = Message(json.dumps({"instances": rows}).encode())
    response = Message(json.dumps({"predictions": predictions}).encode())
    screening = screen_request(guard, request, FACTS, Remembered(past or {}))
    decision = screening.refusal or screen_response(guard, screening, response).decision
    body = guard.codec.splice(response, len(rows), decision.patch).body
    return decision, json.loads(body)["predictions"]


def outcomes(decision: Decision) -> list[str]:
    return [Outcome(code).name.lower() for code in decision.outcomes.tolist()]


RANGE = "  - {id: low, range: {field: output.prediction, min: 0, max: 100}, action: ACTION, fallback: [FALLBACK]}\n"


def with_action(action: str, fallback: str = "{value: 1}") -> str:
    rules = RANGE.replace("ACTION", action).replace("FALLBACK", fallback)
    return rules if action in {"fallback", "hold"} else rules.replace(f", fallback: [{fallback}]", "")


@pytest.mark.parametrize(
    ("action", "outcome", "served"),
    [("warn", "warned", -5), ("clamp", "clamped", 0), ("fallback", "replaced", 1), ("hold", "held", 1)],
)
def test_each_action_has_its_outcome_and_touches_no_other_row(
    action: str, outcome: str, served: float
) -> None:
    decision, read = decide(make_guard(with_action(action)), [{"x": 1}, {"x": 2}, {"x": 3}], [10, -5, 30])
    assert outcomes(decision) == ["allowed", outcome, "allowed"]
    assert read == [10, served, 30]
    assert [f.row for f in decision.findings if f.acts] == [1]


def test_a_rejected_row_names_itself_and_leaves_the_rest_undecided_about() -> None:
    decision, _ = decide(make_guard(with_action("reject")), [{"x": 1}, {"x": 2}], [10, -5])
    assert decision.rejected == (1,)
    assert decision.outcome is Outcome.REJECTED


def test_the_strongest_action_of_the_enforced_rules_wins_a_row() -> None:
    rules = (
        "  - {id: a, forbid: output.prediction < 0, action: warn, severity: high, why: x}\n"
        "  - {id: b, forbid: output.prediction < 0, action: fallback, fallback: [{value: 3}]}\n"
        "  - {id: c, forbid: output.prediction < 0, action: hold, mode: shadow}\n"
    )
    decision, read = decide(make_guard(rules), [{"x": 1}], [-1])
    assert (outcomes(decision), read) == (["replaced"], [3])
    assert {(f.rule, f.acts) for f in decision.findings} == {("a", True), ("b", True), ("c", False)}


def test_a_candidate_that_an_enforced_rule_speaks_against_is_passed_over() -> None:
    rules = (
        "  - {id: cap, require: output.prediction <= features.cap, action: fallback, fallback: [previous, {expr: features.cap}]}\n"
        "  - {id: low, range: {field: output.prediction, min: 0}}\n"
    )
    guard = make_guard(rules)
    decision, read = decide(guard, [{"sku": "a", "cap": 10}], [50], {"a": {"prediction": 20.0}})
    assert (outcomes(decision), read) == (["replaced"], [10])
    decision, read = decide(guard, [{"sku": "a", "cap": 10}], [50], {"a": {"prediction": 7.0}})
    assert read == [7.0]


def test_a_rule_that_does_not_read_the_output_has_no_veto_over_candidates() -> None:
    rules = (
        "  - {id: odd-input, range: {field: features.x, max: 5}, action: fallback, fallback: [{value: 2}]}\n"
    )
    decision, read = decide(make_guard(rules), [{"x": 9}], [1])
    assert (outcomes(decision), read) == (["replaced"], [2])


def test_without_a_usable_candidate_nothing_is_served() -> None:
    decision, _ = decide(make_guard(with_action("fallback", "previous")), [{"sku": "new"}], [-5])
    assert outcomes(decision) == ["rejected"]
    assert decision.withheld == (0,)
    assert not decision.patch


def test_a_hold_tells_the_reviewer_what_was_tried_and_why_not() -> None:
    rules = (
        "  - id: jump\n    max_change: {field: output.prediction, against: previous, up: 50%, down: 50%}\n    action: hold\n"
        "    hold: {queue: supply, sla: 4h, meanwhile: fallback, on_expiry: fallback, value: output.prediction * 2}\n"
        "    fallback: [previous]\n"
    )
    decision, read = decide(make_guard(rules), [{"sku": "a"}], [100], {"a": {"prediction": 40.0}})
    (held,) = decision.held
    assert (outcomes(decision), read) == (["held"], [40.0])
    assert (held.rule, held.queue, held.sla_s, held.value) == ("jump", "supply", 14_400.0, 200.0)
    assert (held.original, held.provisional, held.provisional_source) == (
        {"prediction": 100.0},
        {"prediction": 40.0},
        "previous",
    )
    assert [c.source for c in held.candidates] == ["previous"]


def test_a_hold_whose_fallback_is_exhausted_withholds() -> None:
    rules = "  - {id: big, range: {field: output.prediction, max: 9}, action: hold, hold: {meanwhile: fallback}, fallback: [previous]}\n"
    decision, _ = decide(make_guard(rules), [{"sku": "new"}], [100])
    assert (outcomes(decision), decision.withheld) == (["held"], (0,))
    assert decision.held[0].candidates[0].note


def test_a_clamp_that_another_rule_refuses_is_not_served() -> None:
    rules = (
        "  - {id: cap, range: {field: output.prediction, max: 10}, action: clamp}\n"
        "  - {id: not-ten, forbid: output.prediction == 10}\n"
    )
    decision, _ = decide(make_guard(rules), [{"x": 1}], [50])
    assert (outcomes(decision), decision.withheld, decision.patch) == (["rejected"], (0,), ())


def test_a_missing_value_counts_as_a_violation_unless_the_rule_says_otherwise() -> None:
    strict = make_guard("  - {id: r, require: output.prediction <= features.cap}\n")
    lenient = make_guard("  - {id: r, require: output.prediction <= features.cap, on_unknown: ignore}\n")
    assert outcomes(decide(strict, [{"x": 1}], [1])[0]) == ["warned"]
    assert outcomes(decide(lenient, [{"x": 1}], [1])[0]) == ["allowed"]


def test_without_rules_predictions_are_still_checked_to_be_finite() -> None:
    rulesets, _ = load_rulesets({}, profiles={})
    assert rulesets == {}
    guard = make_guard("  - {id: r, require: features.x == 1, on_unknown: ignore}\n")
    decision, _ = decide(guard, [{"x": 1}, {"x": 1}], [float("nan"), float("inf")])
    assert outcomes(decision) == ["warned", "warned"]
    assert {f.rule for f in decision.findings} == {"predictions-finite"}


def test_unequal_rows_are_unaligned_and_bad_bytes_undecodable() -> None:
    guard = make_guard(with_action("warn"))
    screening = screen_request(guard, Message(b'{"instances":[[1],[2]]}'), FACTS)
    with pytest.raises(UnalignedError):
        screen_response(guard, screening, Message(b'{"predictions":[1,2,3]}'))
    with pytest.raises(DecodeError):
        screen_request(guard, Message(b'{"instances":'), FACTS)


def test_findings_are_bounded_and_counted() -> None:
    rows = MAX_FINDINGS + 50
    decision, _ = decide(make_guard(with_action("warn")), [{"x": 1}] * rows, [-1.0] * rows)
    assert (len(decision.findings), decision.findings_dropped) == (MAX_FINDINGS, 50)
    assert set(outcomes(decision)) == {"warned"}


def test_what_is_acted_on_is_explained_before_what_is_not() -> None:
    rules = (
        "  - {id: ignored, require: features.gone > 1, on_unknown: ignore, action: hold}\n"
        "  - {id: watched, forbid: features.x == 1, mode: shadow, action: reject}\n"
        "  - {id: warned, forbid: features.x == 1, action: warn}\n"
        "  - {id: high, range: {field: output.prediction, max: 9}, action: clamp}\n"
        "  - {id: odd, forbid: output.prediction == 7, action: warn}\n"
    )
    rows = 2 * MAX_FINDINGS
    values = [1.0] * (rows - 2) + [7.0, 10.0]
    decision, _ = decide(make_guard(rules), [{"x": 1}] * rows, values)
    found = {(finding.rule, finding.row) for finding in decision.findings}
    assert {("high", rows - 1), ("odd", rows - 2), ("warned", 0)} <= found
    assert {rule for rule, _ in found} == {"high", "odd", "warned"}
    assert len(decision.findings) == MAX_FINDINGS
    assert decision.findings_dropped == 3 * rows + 2 - MAX_FINDINGS
    assert [finding.row for finding in decision.findings] == sorted(row for _, row in found)


def test_a_held_row_tells_its_reviewer_what_acts_before_what_only_watches() -> None:
    watching = "".join(
        f"  - {{id: watch-{number}, forbid: features.x == 1, mode: shadow, action: reject}}\n"
        for number in range(2 * MAX_ROW_FINDINGS)
    )
    rules = (
        watching
        + "  - {id: warned, forbid: features.x == 1, action: warn}\n"
        + "  - {id: high, range: {field: output.prediction, max: 9}, action: hold}\n"
    )
    decision, _ = decide(make_guard(rules), [{"x": 1}], [50.0])
    (held,) = decision.held
    assert len(held.findings) == MAX_ROW_FINDINGS
    assert {"warned", "high", "watch-0"} <= {finding.rule for finding in held.findings}


@pytest.mark.parametrize(("wide", "narrow"), [("a", "b"), ("b", "a")])
def test_two_rules_that_clamp_agree_whatever_they_are_called(wide: str, narrow: str) -> None:
    rules = (
        f"  - {{id: {wide}, range: {{field: output.prediction, min: 0, max: 10}}, action: clamp}}\n"
        f"  - {{id: {narrow}, range: {{field: output.prediction, min: 2, max: 5}}, action: clamp}}\n"
    )
    decision, served = decide(make_guard(rules), [{"x": 1}] * 3, [20.0, -3.0, 7.0])
    assert outcomes(decision) == ["clamped"] * 3
    assert served == [5.0, 2.0, 5.0]


def test_rules_that_clamp_to_different_sides_clamp_nothing() -> None:
    rules = (
        "  - {id: below, range: {field: output.prediction, max: 4}, action: clamp}\n"
        "  - {id: above, range: {field: output.prediction, min: 6}, action: clamp}\n"
    )
    decision, _ = decide(make_guard(rules), [{"x": 1}] * 2, [5.0, 7.0])
    assert outcomes(decision) == ["rejected", "rejected"]


def test_rows_held_beyond_the_bound_are_counted_and_not_made_up() -> None:
    rows = MAX_HELD_ROWS + 3
    decision, _ = decide(
        make_guard("  - {id: big, range: {field: output.prediction, max: 9}, action: hold}\n"),
        [{"x": 1}] * rows,
        [100.0] * rows,
    )
    assert (len(decision.held), decision.held_dropped) == (MAX_HELD_ROWS, 3)
    assert set(outcomes(decision)) == {"held"}


@settings(max_examples=60)
@given(st.lists(st.floats(-200, 300, allow_nan=False), min_size=1, max_size=80))
def test_one_row_and_many_rows_come_to_the_same_outcomes(values: list[float]) -> None:
    guard = make_guard(
        with_action("clamp") + "  - {id: odd, forbid: output.prediction > 250, action: hold}\n"
    )
    together, read = decide(guard, [{"x": 1.0}] * len(values), values)
    for row, value in enumerate(values):
        alone, read_alone = decide(guard, [{"x": 1.0}], [value])
        assert outcomes(alone) == [outcomes(together)[row]]
        assert read_alone == [read[row]]


AGED = FieldProfile("made", FieldKind.TIMESTAMP, rows=1_000, low=0.0, high=7_200.0, formats=(TimeForm.ISO,))


@pytest.mark.parametrize("rows", [1, 2])
def test_a_moment_is_as_old_as_its_row_was_when_that_happened(rows: int) -> None:
    profile = Profile("m", "12345678", 1_000, 0.001, {"made": AGED})
    text = "guardproxy: 1\nmodel: m\nowner: ops\nrules:\n  - {id: inside, profile: {fields: features.*}, action: reject}\n"
    rulesets, problems = load_rulesets({"m.guard.yaml": text}, profiles={"m": profile})
    assert not [p for p in problems if p.severity == "error"], problems
    codec = make_codec("kserve-v1", CodecOptions())
    replayed = {"when": "2020-05-01T12:00:00Z", "made": "2020-05-01T11:00:00Z"}
    old = {"when": "2020-05-01T12:00:00Z", "made": "2020-05-01T08:00:00Z"}
    live = {"made": "2026-01-06T08:30:00Z"}
    ahead = {"when": "2030-01-01T00:00:00Z", **live}
    facts = RequestFacts(at=1_767_690_000.0, hour=9, weekday=1, date="2026-01-06")

    def refused(row: dict[str, str], time: str | None) -> str:
        guard = Guard("m", codec, rulesets["m"], profile, time=time)
        message = Message(json.dumps({"instances": [row] * rows}).encode())
        decision = screen_request(guard, message, facts).refusal
        return "" if decision is None else decision.findings[-1].message

    assert (
        refused(replayed, "when")
        == refused(live, "when")
        == refused(live, None)
        == refused(ahead, "when")
        == ""
    )
    assert "4 h before the request" in refused(old, "when")
    assert "before the request" in refused(replayed, None)
