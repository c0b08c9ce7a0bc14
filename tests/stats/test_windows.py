"""Tallies merge by addition, and windows forget the oldest minute."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.decision import Decision, Outcome, Reason, Verdict
from guardproxy.profile.joint_fit import fit_joint
from guardproxy.profile.model import FieldKind, FieldProfile, Profile
from guardproxy.stats import FieldTally, ModelWindows, Sample
from guardproxy.stats.windows import BUCKET_S, BUCKETS, MAX_RULES_TOTALLED, times_of
from guardproxy.table import Floats, table_from_records
from tests.stats.counted import sample as of_rows

NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=30)


def tally(values: list[float]) -> FieldTally:
    made = FieldTally()
    block: Floats = np.array(values, dtype=np.float64)
    made.add(block, int(np.count_nonzero(~np.isnan(block))), None)
    return made


@given(NUMBERS, NUMBERS)
def test_tallies_of_two_stretches_merge_to_that_of_both(one: list[float], other: list[float]) -> None:
    merged, whole = tally(one), tally(one + other)
    merged.merge(tally(other))
    assert (merged.cells, merged.missing, merged.numbers) == (whole.cells, whole.missing, whole.numbers)
    assert merged.mean == pytest.approx(whole.mean, rel=1e-6, abs=1e-6)
    assert merged.m2 == pytest.approx(whole.m2, rel=1e-6, abs=1e-3)
    assert (merged.low, merged.high) == (whole.low, whole.high)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_numbers_of_any_size_leave_a_tally_that_json_can_say(values: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = tally(values)
        made.merge(tally([-value for value in values]))
        said = made.as_json()
    json.dumps(said, allow_nan=False)
    assert said["min"] <= said["mean"] <= said["max"]


def test_a_huge_number_among_others_hides_the_spread_and_nothing_else() -> None:
    said = tally([1.0, 1.7e308, -1.7e308]).as_json()
    assert (said["std"], said["min"], said["max"]) == (None, -1.7e308, 1.7e308)


def test_totals_forget_rules_that_are_long_gone() -> None:
    windows = ModelWindows("m")
    verdicts = np.zeros((1, 1), dtype=np.uint8)
    outcomes = np.zeros(1, dtype=np.uint8)
    for number in range(MAX_RULES_TOTALLED + 10):
        decisions = [
            Decision("m", "f", 1, outcomes, (rule,), verdicts) for rule in ("kept", f"rule-{number}")
        ]
        windows.add([Sample(1.0, decision, None, None) for decision in decisions])
    known = windows.totals().verdicts
    assert len(known) == MAX_RULES_TOTALLED
    assert known["kept"] == {Verdict.OK: MAX_RULES_TOTALLED + 10}
    assert "rule-0" not in known


def sample(at: float, outcomes: list[Outcome], *, reason: Reason | None = None) -> Sample:
    rows = len(outcomes)
    verdicts = np.full((2, rows), Verdict.OK, dtype=np.uint8)
    decision = Decision(
        "m", "f", rows, np.array(outcomes, dtype=np.uint8), ("a", "b"), verdicts, reason=reason
    )
    return Sample(
        at, decision, table_from_records([{"x": float(row), "name": "t"} for row in range(rows)]), None
    )


def test_a_window_counts_outcomes_verdicts_and_fields() -> None:
    windows = ModelWindows("m")
    windows.add([sample(100.0, [Outcome.ALLOWED, Outcome.HELD]), sample(130.0, [Outcome.ALLOWED])])
    said = windows.as_json(140.0)["windows"]["1h"]
    assert (said["exchanges"], said["rows"], said["outcomes"]) == (2, 3, {"allowed": 2, "held": 1})
    assert said["rules"] == {"a": {"ok": 3}, "b": {"ok": 3}}
    assert (said["features"]["x"]["cells"], said["features"]["x"]["max"]) == (3, 1.0)
    assert (said["features"]["name"]["missing"], said["features"]["name"]["mean"]) == (0, None)


def test_unguarded_exchanges_are_counted_by_reason_and_never_as_allowed() -> None:
    windows = ModelWindows("m")
    windows.add([sample(1.0, [Outcome.UNGUARDED], reason=Reason.UNDECODABLE)])
    said = windows.as_json(2.0)["total"]
    assert (said["outcomes"], said["unguarded"]) == ({"unguarded": 1}, {"undecodable": 1})


def test_the_oldest_minute_is_forgotten_and_the_total_is_not() -> None:
    windows = ModelWindows("m")
    for minute in range(BUCKETS + 5):
        windows.add([sample(minute * BUCKET_S, [Outcome.ALLOWED])])
    said = windows.as_json((BUCKETS + 4) * BUCKET_S + 1)
    assert said["windows"]["1h"]["rows"] == BUCKETS
    assert said["total"]["rows"] == BUCKETS + 5
    assert said["windows"]["5m"]["rows"] == 6


def test_a_refused_request_with_fewer_verdicts_is_counted_beside_the_others() -> None:
    windows = ModelWindows("m")
    refused = Decision(
        "m", "f", 1, np.array([Outcome.REJECTED], dtype=np.uint8), ("a",), np.ones((1, 1), dtype=np.uint8)
    )
    windows.add([sample(1.0, [Outcome.ALLOWED]), Sample(1.0, refused, None, None)])
    assert windows.as_json(2.0)["total"]["rules"] == {"a": {"ok": 1, "violated": 1}, "b": {"ok": 1}}


def test_rows_of_another_table_than_the_times_are_of_happened_when_the_exchange_did() -> None:
    own = of_rows(100.0, [{"x": 1.0}] * 2, times=np.array([7.0, 8.0]))
    told = of_rows(200.0, [{"x": 1.0}], happened=150.0)
    assert times_of([own, told], [2, 1]).tolist() == [7.0, 8.0, 150.0]
    assert times_of([own, told], [3, 1], offset=5.0).tolist() == [105.0] * 3 + [150.0]
    assert times_of([told, of_rows(200.0, [{"x": 1.0}])], [1, 2], offset=5.0).tolist() == [
        150.0,
        205.0,
        205.0,
    ]


def test_rows_that_the_joint_check_cannot_judge_are_counted() -> None:
    rng = np.random.default_rng(0)
    names = ("a", "b", "c", "d")
    rows = rng.normal(size=(400, 4))
    joint, note = fit_joint(names, rows[:300], rows[300:], 0.05, rng)
    assert joint is not None, note
    code = FieldProfile("d", FieldKind.NUMBER, sentinels=((-1.0, 9),))
    windows = ModelWindows("m", Profile("m", "", 400, 0.05, {"d": code}, joint=joint))
    whole = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}
    windows.add([of_rows(1.0, [whole, {**whole, "a": None}, {**whole, "a": None, "d": -1.0}])])
    assert windows.rows_unjudged == 1
    windows.add(
        [
            of_rows(2.0, [{"a": 0.1, "b": 0.2, "other": 1.0}] * 2),
            of_rows(2.0, [{"a": 0.1, "b": 0.2, "c": 0.3}]),
        ]
    )
    assert windows.rows_unjudged == 3
    assert windows.as_json(3.0)["rows_unjudged"] == 3
    plain = ModelWindows("m", Profile("m", "", 400, 0.05, {"d": code}))
    plain.add([of_rows(1.0, [{"a": 0.1}])])
    assert plain.rows_unjudged == 0
