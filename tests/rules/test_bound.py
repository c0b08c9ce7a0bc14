"""What a verdict is explained with, and what may stand in for a suspect prediction."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Action, Mode, Phase, Severity, Verdict
from guardproxy.rules import BoundRules, Rule, View
from guardproxy.table import Cell
from tests.rules.build import PROFILE, no_past, rules_of, view_of

FEATURES = ("temp", "last_week", "store")
_PLAUSIBLE = "output.demand <= 3 * max(profile.output.demand.p99, features.last_week)"
ROW: dict[str, Cell] = {"temp": 20.0, "last_week": 120.0, "store": "s1"}


def one_rule(
    body: str, outputs: tuple[str, ...] = ("demand",), key: tuple[str, ...] = ("store",)
) -> tuple[BoundRules, Rule]:
    known = {"outputs": {"demand": outputs}, "features": {"demand": (*FEATURES, "nowhere")}}
    ruleset = rules_of(f"rules:\n  - id: the-rule\n{body}", profiles={"demand": PROFILE}, **known)
    return ruleset.bind(FEATURES, outputs, PROFILE, key=key), ruleset.rules[0]


def seen(output: Mapping[str, Cell], previous: Mapping[str, Cell] | None = None, **features: Cell) -> View:
    return view_of([{**ROW, **features}], [output], lambda _by, _row: previous)


def explain(body: str, view: View, verdict: Verdict = Verdict.VIOLATED) -> tuple[str, str, str]:
    bound, rule = one_rule(body)
    codes = bound.judge(rule.phase, view)[bound.rules_of(rule.phase).index(rule)]
    assert Verdict(int(codes[0])) is verdict
    finding = bound.finding(rule, 0, verdict, view)
    return finding.message, finding.bound, finding.bound_source


@pytest.mark.parametrize(
    ("body", "output", "message", "bound", "source"),
    [
        ("    range: {field: output.demand, min: 0}\n", -5.5, "demand is -5.5, below 0", ">= 0", "rule"),
        (
            "    range: {field: output.demand, max: 3 * features.last_week}\n",
            40_000.0,
            "demand is 40,000, above 360",
            "<= 360 (3 * features.last_week)",
            "rule",
        ),
        (
            f"    require: {_PLAUSIBLE}\n",
            40_000.0,
            f"not satisfied: {_PLAUSIBLE} (demand = 40,000, last_week = 120, profile.output.demand.p99 = 990)",
            _PLAUSIBLE,
            "profile: 7,000 rows",
        ),
        (
            "    max_change: {field: output.demand, against: features.last_week, up: 50%}\n",
            240.0,
            "demand is 240, 100.0% up from 120 (at most 50% up from features.last_week)",
            "at most 50% up from features.last_week (<= 180)",
            "rule",
        ),
        (
            "    forbid: output.demand > 10 and features.store == \"s1\"\n",
            11.0,
            'forbidden: output.demand > 10 and features.store == "s1" (demand = 11, store = "s1")',
            'output.demand > 10 and features.store == "s1"',
            "rule",
        ),
        (
            "    message: '{output.demand:.0f} units in {features.store}'\n    range: {field: output.demand, max: 1}\n",
            7.4,
            "7 units in s1",
            "<= 1",
            "rule",
        ),
    ],
)  # fmt: skip
def test_a_violation_is_explained_with_its_numbers(
    body: str, output: Cell, message: str, bound: str, source: str
) -> None:
    assert explain(body, seen({"demand": output})) == (message, bound, source)


def test_an_unknown_says_what_was_missing_and_an_error_what_did_not_fit() -> None:
    body = "    message: 'far too much'\n    range: {field: output.demand, max: features.last_week}\n"
    assert explain(body, seen({"demand": 1.0}, last_week=None), Verdict.UNKNOWN)[0] == (
        "cannot be judged: features.last_week is missing"
    )
    message = explain(body, seen({"demand": "many"}), Verdict.ERROR)[0]
    assert message.startswith("cannot be judged: ")
    assert "text" in message
    change = "    max_change: {field: output.demand, against: features.temp, up: 5%}\n"
    assert "floor" in explain(change, seen({"demand": 1.0}, temp=0.0), Verdict.UNKNOWN)[0]


def test_a_row_outside_the_profile_names_the_fields_the_bounds_and_the_source() -> None:
    body = "    profile: {fields: [temp, last_week]}\n"
    bound, rule = one_rule(body)
    view = view_of([ROW, {**ROW, "temp": 451.0}], [{"demand": 1.0}] * 2)
    finding = bound.finding(rule, 1, Verdict.VIOLATED, view)
    assert finding.row == 1
    assert "temp is 451" in finding.message
    assert "last_week" not in finding.message
    assert finding.measured == (("features.temp", 451.0),)
    assert finding.bound == "temp <= 40"
    assert finding.bound_source == "profile: 7,000 rows"


def test_measured_values_carry_their_full_names() -> None:
    bound, rule = one_rule("    when: features.temp > 0\n    range: {field: output.demand, max: 3}\n")
    finding = bound.finding(rule, 0, Verdict.VIOLATED, seen({"demand": 4.0}))
    assert finding.measured == (("output.demand", 4.0), ("features.temp", 20.0))


def test_a_missing_or_endless_prediction_is_named() -> None:
    ruleset = rules_of("rules: []\n")
    bound = ruleset.bind(FEATURES, ("demand", "probs"), None)
    (rule,) = bound.rules_of(Phase.RESPONSE)
    for output, message in (
        ({"demand": None, "probs": (0.5,)}, "demand is missing"),
        ({"demand": float("inf"), "probs": (0.5,)}, "demand is not finite and whole: inf"),
        ({"demand": 1.0, "probs": (0.5, None)}, "probs is not finite and whole: [0.5, missing]"),
        ({"demand": 1.0, "probs": ()}, "probs is not finite and whole: []"),
    ):
        view = view_of([ROW], [output])
        assert bound.judge(Phase.RESPONSE, view).tolist() == [[Verdict.VIOLATED]]
        assert bound.finding(rule, 0, Verdict.VIOLATED, view).message == message


def test_only_an_enforced_rule_acts_and_only_on_verdicts_that_count() -> None:
    cases = {
        "": {Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.ERROR},
        "    on_unknown: ignore\n": {Verdict.VIOLATED, Verdict.ERROR},
        "    on_error: ignore\n": {Verdict.VIOLATED, Verdict.UNKNOWN},
        "    mode: shadow\n": set(),
    }
    view = view_of([{"temp": 1.0}], [{"demand": 1.0}])
    for more, acting in cases.items():
        bound, rule = one_rule("    range: {field: output.demand, max: 3}\n" + more)
        assert {verdict for verdict in Verdict if bound.acts(rule, verdict, view)} == acting
        finding = bound.finding(rule, 0, Verdict.VIOLATED, seen({"demand": 4.0}))
        assert finding.acts == (Verdict.VIOLATED in acting)


def test_a_rule_that_is_off_is_not_judged() -> None:
    ruleset = rules_of("rules:\n  - {id: a, mode: off, range: {field: output.demand, max: 3}}\n")
    assert ruleset.rules[0].mode is Mode.OFF
    assert ruleset.bind(FEATURES, ("demand",), None).rule_ids == ("predictions-finite",)


@pytest.mark.parametrize(
    ("check", "output", "clamped"),
    [
        ("range: {field: output.demand, min: 0, max: 500}", 700.0, 500.0),
        ("range: {field: output.demand, min: 0, max: 500}", -3.0, 0.0),
        ("range: {field: output.demand, max: features.last_week}", 700.0, 120.0),
        ("range: {field: output.demand, min: 0.5, max: 10.7}", 11.0, 10.0),  # the learned output is whole
        ("range: {field: output.demand, min: 10.2, max: 10.7}", 11.0, 10.7),  # where there is room for it
        ("range: {field: output.demand, max: features.nowhere}", 700.0, None),
        ("range: {field: output.demand, max: 500}", None, None),
        ("range: {field: output.demand, max: 500}", "x", None),
        ("max_change: {field: output.demand, against: features.last_week, up: 50%, down: 50%}", 700.0, 180.0),
        ("max_change: {field: output.demand, against: previous, down: 50%}", 1.0, 50.0),
    ],
)
def test_clamping_moves_a_prediction_to_the_nearest_allowed_value(
    check: str, output: Cell, clamped: Cell
) -> None:
    bound, rule = one_rule(f"    on_unknown: ignore\n    action: clamp\n    {check}\n")
    expected = None if clamped is None else {"demand": clamped}
    assert bound.clamped(rule, 0, seen({"demand": output}, {"demand": 100.0})) == expected


@settings(max_examples=60, deadline=None)
@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    base=st.floats(-1e12, 1e12),
    up=st.floats(0, 10),
    down=st.floats(0, 10),
)
def test_what_a_change_was_clamped_to_satisfies_the_rule(
    value: float, base: float, up: float, down: float
) -> None:
    if base == 0 or abs(base) < 1e-300:
        return
    bound, rule = one_rule(
        "    action: clamp\n"
        f"    max_change: {{field: output.p, against: features.temp, up: {up!r}, down: {down!r}}}\n",
        outputs=("p",),
    )
    view = view_of([{**ROW, "temp": base}], [{"p": value}])
    clamped = bound.clamped(rule, 0, view)
    assert clamped is not None
    assert "the-rule" not in bound.refusals(view, 0, clamped)


CHAIN = (
    "    range: {field: output.demand, min: 0}\n    action: fallback\n"
    "    fallback: [previous, profile.p50, {expr: features.last_week * 2}, {value: 7}]\n"
)


def test_a_chain_proposes_its_links_in_order_and_says_what_is_lacking() -> None:
    bound, rule = one_rule(CHAIN)
    found = list(bound.propose(rule, 0, seen({"demand": -1.0}, {"demand": 118.0})))
    assert [(one.source, dict(one.values)) for one in found] == [
        ("previous", {"demand": 118.0}),
        ("profile.p50", {"demand": 500.0}),
        ("expr: features.last_week * 2", {"demand": 240.0}),
        ("value", {"demand": 7}),
    ]
    lacking = list(bound.propose(rule, 0, seen({"demand": -1.0}, None, last_week=None)))
    assert [dict(one.values) for one in lacking] == [{}, {"demand": 500.0}, {}, {"demand": 7}]
    assert lacking[0].note == "no previous answer for this entity yet"
    assert not lacking[0].usable
    assert "missing" in lacking[2].note


def test_a_model_with_several_outputs_takes_a_mapping() -> None:
    body = (
        "    order: [output.low, output.high]\n    action: fallback\n"
        "    fallback: [previous, {value: {low: 1, high: 2}}, {expr: {low: features.temp}}, profile.p50]\n"
    )
    bound, rule = one_rule(body, outputs=("low", "high"))
    view = seen({"low": 3.0, "high": 2.0}, {"low": 1.0, "high": None, "other": 3})
    found = [dict(one.values) for one in bound.propose(rule, 0, view)]
    assert found == [{"low": 1.0}, {"low": 1, "high": 2}, {"low": 20.0}, {}]


def test_a_scalar_for_a_response_with_several_outputs_is_no_candidate() -> None:
    ruleset = rules_of("rules:\n  - id: a\n" + CHAIN)
    bound = ruleset.bind(FEATURES, ("demand", "other"), None)
    found = list(bound.propose(ruleset.rules[0], 0, seen({"demand": -1.0, "other": 1.0})))
    assert [dict(one.values) for one in found] == [{}, {}, {}, {}]
    assert "2 outputs" in found[3].note


def test_a_candidate_is_refused_by_every_enforced_rule_that_reads_the_output() -> None:
    ruleset = rules_of(
        "rules:\n"
        "  - {id: low, range: {field: output.demand, min: 0}}\n"
        "  - {id: high, range: {field: output.demand, max: 100}}\n"
        "  - {id: shadow, mode: shadow, range: {field: output.demand, max: 1}}\n"
        "  - {id: by-week, require: output.demand < features.last_week}\n"
        "  - {id: lenient, on_unknown: ignore, require: output.demand < features.nowhere}\n"
        "  - {id: input-only, range: {field: features.temp, max: 0}}\n"
        "  - {id: learned, profile: {fields: output.*}}\n"
        "  - {id: sometimes, when: output.demand > 50, require: features.temp > 50}\n"
    )
    bound = ruleset.bind(FEATURES, ("demand",), PROFILE, key=("store",))
    view = seen({"demand": 5_000.0}, last_week=90.0)
    assert bound.refusals(view, 0, {"demand": 10.0}) == ()
    assert bound.refusals(view, 0, {"demand": -1.0}) == ("low", "learned")
    assert bound.refusals(view, 0, {"demand": 101.0}) == ("high", "by-week", "sometimes")
    assert bound.refusals(view, 0, {"demand": float("nan")}) == (
        "low",
        "high",
        "by-week",
        "learned",
        "sometimes",
        "predictions-finite",
    )
    assert bound.refusals(view, 0, {"demand": "x"}) == ("low", "high", "by-week", "learned", "sometimes")
    # What is not replaced keeps the row's own value.
    assert bound.refusals(view, 0, {"else": 1}) == ("high", "by-week", "learned", "sometimes")


def test_candidates_of_one_row_in_a_batch_are_judged_on_that_rows_features() -> None:
    ruleset = rules_of("rules:\n  - {id: a, require: output.demand < features.last_week + previous.demand}\n")
    bound = ruleset.bind(FEATURES, ("demand",), None, key=("store",))
    rows = [{**ROW, "last_week": float(n)} for n in range(100)]
    view = view_of(rows, [{"demand": 1.0}] * 100, lambda _by, row: {"demand": float(row)})
    assert bound.refusals(view, 70, {"demand": 139.0}) == ()
    assert bound.refusals(view, 70, {"demand": 141.0}) == ("a",)


def test_what_is_at_stake_is_a_number_or_nothing() -> None:
    body = "    range: {field: output.demand, min: 0}\n    action: hold\n    hold: {value: output.demand * features.temp}\n"
    bound, rule = one_rule(body)
    assert bound.stake(rule, 0, seen({"demand": 3.0})) == 60.0
    assert bound.stake(rule, 0, seen({"demand": 3.0}, temp=None)) is None
    assert bound.stake(rule, 0, seen({"demand": "x"})) is None
    assert bound.stake(rule, 0, seen({"demand": float("inf")})) is None
    plain, other = one_rule("    range: {field: output.demand, min: 0}\n")
    assert plain.stake(other, 0, seen({"demand": 3.0})) is None


def test_the_past_is_asked_for_by_the_rules_own_key_or_the_routes() -> None:
    ruleset = rules_of(
        "rules:\n"
        "  - {id: a, max_change: {field: output.demand, against: previous, by: [features.temp], up: 1%}}\n"
        "  - {id: b, require: output.demand < previous.demand}\n"
    )
    asked = set()

    def previous(by: tuple[str, ...], row: int) -> Mapping[str, Cell] | None:
        asked.add((by, row))
        return None

    bound = ruleset.bind(FEATURES, ("demand",), None, key=("store",))
    bound.judge(Phase.RESPONSE, view_of([ROW] * 2, [{"demand": 1.0}] * 2, previous))
    assert asked == {(by, row) for by in (("temp",), ("store",)) for row in (0, 1)}
    assert bound.history_keys == (("temp",), ("store",))
    assert ruleset.history_keys == (("temp",),)


def test_findings_say_how_grave_they_are_and_what_they_ask_for() -> None:
    bound, rule = one_rule(
        "    range: {field: output.demand, min: 0}\n    severity: critical\n    why: x\n    action: reject\n"
    )
    finding = bound.finding(rule, 0, Verdict.VIOLATED, seen({"demand": -1.0}))
    assert (finding.severity, finding.action, finding.mode) == (
        Severity.CRITICAL,
        Action.REJECT,
        Mode.ENFORCE,
    )


def test_nothing_refuses_where_nothing_is_enforced() -> None:
    ruleset = rules_of("rules:\n  - {id: predictions-finite, mode: shadow, require: output.demand > 0}\n")
    bound = ruleset.bind(FEATURES, ("demand",), None)
    assert bound.refusals(view_of([ROW], [{"demand": -1.0}], no_past), 0, {"demand": -2.0}) == ()
