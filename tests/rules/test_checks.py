"""What each check key means, row by row."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from guardproxy.decision import Phase, Verdict
from guardproxy.profile.model import FieldKind, Profile
from guardproxy.rules.plan import COLUMNS_FROM
from guardproxy.table import Cell
from tests.rules.build import PROFILE, number, profile_of, rules_of, view_of

_OUTPUTS = {"demand", "prediction", "probs"}
OK, VIOLATED, UNKNOWN, ERROR, SKIPPED = (
    Verdict.OK,
    Verdict.VIOLATED,
    Verdict.UNKNOWN,
    Verdict.ERROR,
    Verdict.SKIPPED,
)


def judge(
    check: str,
    row: Mapping[str, Cell],
    *,
    profile: Profile | None = PROFILE,
    previous: Mapping[str, Cell] | None = None,
) -> Verdict:
    """Judge one row, its output being what is called demand or p*, and make sure that many rows agree."""
    ruleset = rules_of(f"rules:\n  - {{id: the-rule, {check}}}\n")
    output = {name: cell for name, cell in row.items() if name in _OUTPUTS or name[1:].isdigit()}
    features = {name: cell for name, cell in row.items() if name not in output}
    bound = ruleset.bind(tuple(features), tuple(output), profile, key=("store",))
    phase = ruleset.rules[0].phase
    index = bound.rules_of(phase).index(ruleset.rules[0])
    found = set()
    for rows in (1, COLUMNS_FROM):
        view = view_of([features] * rows, [output] * rows, lambda _by, _row: previous)
        found |= set(bound.judge(phase, view)[index].tolist())
    (code,) = found
    return Verdict(code)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0, OK),
        (5, OK),
        (5.000001, VIOLATED),
        (-1e-9, VIOLATED),
        (None, UNKNOWN),
        (float("inf"), VIOLATED),
        ("x", ERROR),
        (True, ERROR),
    ],
)
def test_a_range_includes_its_bounds(value: Cell, verdict: Verdict) -> None:
    assert judge("range: {field: output.demand, min: 0, max: 5}", {"demand": value}) is verdict


def test_a_bound_may_be_a_share_or_an_expression() -> None:
    assert judge("range: {field: output.demand, max: 30%}", {"demand": 0.31}) is VIOLATED
    check = "range: {field: output.demand, max: 2 * features.last_week}"
    assert judge(check, {"demand": 20, "last_week": 10}) is OK
    assert judge(check, {"demand": 21, "last_week": 10}) is VIOLATED
    assert judge(check, {"demand": 21, "last_week": None}) is UNKNOWN
    assert judge(check, {"demand": 21}) is UNKNOWN
    assert judge("range: {field: output.demand, max: profile.output.demand.p99}", {"demand": 991}) is VIOLATED


def test_one_broken_bound_is_enough_when_the_other_is_unknown() -> None:
    check = "range: {field: output.demand, min: 0, max: features.last_week}"
    assert judge(check, {"demand": -1, "last_week": None}) is VIOLATED


@pytest.mark.parametrize(
    ("now", "before", "verdict"),
    [
        (160, 100, OK),
        (160.0001, 100, VIOLATED),
        (60, 100, OK),
        (59, 100, VIOLATED),
        (188.8, 118, OK),
        (-60, -100, OK),
        (-161, -100, VIOLATED),
        (5, 0, UNKNOWN),
        (0, 0, UNKNOWN),
        (5, None, UNKNOWN),
        (None, 5, UNKNOWN),
        ("x", 5, ERROR),
    ],
)
def test_a_change_includes_its_bounds_and_is_unknown_from_zero(
    now: Cell, before: Cell, verdict: Verdict
) -> None:
    check = "on_unknown: ignore, max_change: {field: output.demand, against: previous, up: 60%, down: 40%}"
    assert judge(check, {"demand": now, "store": 1}, previous={"demand": before}) is verdict


def test_a_change_without_any_past_is_unknown() -> None:
    check = "max_change: {field: output.demand, against: previous, up: 60%}"
    assert judge(check, {"demand": 1, "store": 1}, previous=None) is UNKNOWN


def test_a_floor_gives_changes_from_zero_something_to_be_measured_by() -> None:
    check = "max_change: {field: output.demand, against: features.base, up: 50%, floor: 10}"
    assert judge(check, {"demand": 5, "base": 0}) is OK
    assert judge(check, {"demand": 5.1, "base": 0}) is VIOLATED
    assert judge(check, {"demand": 151, "base": 100}) is VIOLATED
    assert judge(check, {"demand": -900, "base": 100}) is OK  # no `down` was asked for


@pytest.mark.parametrize(
    ("value", "verdict"),
    [("a", OK), ("A", VIOLATED), ("b", OK), (None, UNKNOWN), (1.0, ERROR)],
)
def test_one_of_compares_exactly_and_missing_is_unknown(value: Cell, verdict: Verdict) -> None:
    assert judge("one_of: {field: features.store, values: [a, b]}", {"store": value, "demand": 1}) is verdict


def test_one_of_takes_numbers_and_keeps_huge_ones_exact() -> None:
    check = f"one_of: {{field: features.store, values: [1, {2**53 + 1}]}}"
    assert judge(check, {"store": 2**53 + 1, "demand": 1}) is OK
    assert judge(check, {"store": 2**53 + 3, "demand": 1}) is VIOLATED


def test_order_is_not_strict_and_unknown_where_a_member_is_missing() -> None:
    check = "order: [output.p10, output.p50, output.p90]"
    assert judge(check, {"p10": 1, "p50": 1, "p90": 2}) is OK
    assert judge(check, {"p10": 1, "p50": 3, "p90": 2}) is VIOLATED
    assert judge(check, {"p10": 1, "p50": None, "p90": 2}) is UNKNOWN
    assert judge(check, {"p10": 4, "p50": 3, "p90": None}) is VIOLATED


@pytest.mark.parametrize(
    ("cell", "verdict"),
    [
        ((0.2, 0.8), OK),
        ((0.2, 0.801), OK),
        ((0.2, 0.8011), VIOLATED),
        ((-0.1, 1.1), VIOLATED),
        ((0.5, None), UNKNOWN),
        ((2.0, None), VIOLATED),
        ((0.0, 1), OK),
        ((), VIOLATED),
        (1.0, OK),
        (None, UNKNOWN),
        ("x", ERROR),
        (True, ERROR),
        ((float("inf"), 0.0), VIOLATED),
        ((10**400, 0.0), VIOLATED),
    ],
)
def test_probabilities_lie_in_zero_to_one_and_add_up(cell: Cell, verdict: Verdict) -> None:
    assert judge("probabilities: {field: output.probs, tolerance: 0.1%}", {"probs": cell}) is verdict


def test_probabilities_may_stand_in_columns_of_their_own() -> None:
    check = "probabilities: {fields: [output.p1, output.p2], sum: 1}"
    assert judge(check, {"p1": 0.25, "p2": 0.75}) is OK
    assert judge(check, {"p1": 0.25, "p2": 0.7}) is VIOLATED
    assert judge(check, {"p1": 0.25, "p2": None}) is UNKNOWN


def test_a_row_outside_what_was_learned_violates_the_profile() -> None:
    inside = {"temp": 20.0, "last_week": 100.0, "price": 2.0}
    check = "profile: {fields: features.*}"
    assert judge(check, inside) is OK
    assert judge(check, {**inside, "temp": 41.0}) is VIOLATED
    assert judge(check, {**inside, "temp": None}) is VIOLATED
    assert judge(check, {"temp": 20.0, "last_week": 100.0}) is VIOLATED  # price is absent
    assert judge(check, inside, profile=None) is UNKNOWN


def test_at_least_says_how_many_fields_must_lie_outside() -> None:
    check = "profile: {fields: features.*, at_least: 2}"
    assert judge(check, {"temp": 41.0, "last_week": 100.0, "price": 2.0}) is OK
    assert judge(check, {"temp": 41.0, "last_week": 900.0, "price": 2.0}) is VIOLATED


def test_a_profile_check_may_name_its_fields_and_its_percentiles() -> None:
    row = {"temp": 41.0, "last_week": 100.0, "price": 2.0}
    assert judge("profile: {fields: [price, last_week]}", row) is OK
    assert judge("profile: {fields: [features.temp]}", row) is VIOLATED
    band = "profile: {fields: [last_week], outside: p5..p95}"
    assert judge(band, {**row, "last_week": 480.0}) is VIOLATED
    assert judge(band, {**row, "last_week": 470.0}) is OK


def test_the_only_prediction_is_compared_with_the_only_learned_output_whatever_it_is_called() -> None:
    assert judge("profile: {fields: output.*}", {"demand": 1_001.0}) is VIOLATED
    assert judge("profile: {fields: output.*}", {"prediction": 1_001.0}) is VIOLATED
    assert judge("profile: {fields: output.*}", {"prediction": 900.0}) is OK


def test_forbid_is_require_turned_round() -> None:
    row = {"demand": 5.0, "temp": 3.0}
    assert judge("require: output.demand > features.temp", row) is OK
    assert judge("forbid: output.demand > features.temp", row) is VIOLATED
    assert judge("forbid: output.demand > features.nowhere", row) is UNKNOWN
    assert judge('forbid: output.demand > features.temp and features.temp == "x"', row) is ERROR


def test_when_decides_whether_a_rule_applies() -> None:
    check = "when: features.temp > 10, require: output.demand > 0"
    assert judge(check, {"demand": -1.0, "temp": 11.0}) is VIOLATED
    assert judge(check, {"demand": -1.0, "temp": 9.0}) is SKIPPED
    assert judge(check, {"demand": -1.0, "temp": None}) is UNKNOWN
    assert judge(check, {"demand": -1.0, "temp": "x"}) is ERROR
    assert (
        judge("when: features.temp > 10, profile: {fields: [price]}", {"temp": 1.0, "price": 99.0}) is SKIPPED
    )


def test_a_number_is_neither_true_nor_false() -> None:
    assert judge("require: features.flag", {"flag": True, "demand": 1}) is OK
    assert judge("require: features.flag", {"flag": False, "demand": 1}) is VIOLATED
    assert judge("require: features.flag", {"flag": 1.0, "demand": 1}) is ERROR
    assert judge("require: features.flag", {"flag": None, "demand": 1}) is UNKNOWN


def test_facts_of_the_request_can_be_asked_for() -> None:
    assert judge("require: request.hour < 12", {"demand": 1}) is VIOLATED
    assert judge('require: request.caller == "shop" and request.date < "2024-01-01"', {"demand": 1}) is OK


def test_a_rule_that_reads_predictions_waits_for_the_response() -> None:
    ruleset = rules_of(
        "rules:\n"
        "  - {id: a, range: {field: features.temp, min: 0}}\n"
        "  - {id: b, when: output.demand > 0, range: {field: features.temp, min: 0}}\n"
        "  - {id: c, profile: {fields: output.*}}\n"
        "  - {id: d, require: previous.demand > 0}\n"
    )
    phases = {rule.id: (rule.phase, rule.reads_output) for rule in ruleset.rules}
    assert phases["a"] == (Phase.REQUEST, False)
    assert phases["b"] == phases["c"] == (Phase.RESPONSE, True)
    assert phases["d"] == (Phase.REQUEST, False)


def test_the_values_that_a_profile_knows_can_be_asked_for() -> None:
    known = replace(
        number("kind", 0, 1), kind=FieldKind.CATEGORY, domain=("a", "b"), knots=(), low=None, high=None
    )
    profile = profile_of([known])
    for spelling in ("profile.kind.values", "profile.features.kind.values"):
        check = f"require: features.kind in {spelling}"
        assert judge(check, {"kind": "a", "demand": 1}, profile=profile) is OK
        assert judge(check, {"kind": "c", "demand": 1}, profile=profile) is VIOLATED
