"""Replay: what a change of rules would have done to recorded traffic, and what the recording cannot say."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Verdict
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import UNANSWERED, Judge, batches, likely_key, make_batch
from guardproxy.guard.replay import Difference, Replayer, Report
from guardproxy.profile.model import FieldKind, FieldProfile, Profile, TimeForm
from guardproxy.rules import load_rulesets
from guardproxy.rules.rollout import draw
from guardproxy.units import format_moment
from tests.guard.recorded import START, exchange, rules

OLD = """
  - id: cap
    range: {field: output.demand, max: 100}
    action: warn
  - id: floor
    range: {field: output.demand, min: 0}
    action: fallback
    fallback: [{value: 1}]
"""
NEW = OLD.replace("max: 100", "max: 50").replace("action: warn", "action: hold")


def demands(*values: float, **more: object) -> list[Recorded]:
    return [exchange(n, [{"x": 1.0}], [{"demand": value}], **more) for n, value in enumerate(values)]  # type: ignore[arg-type]


def replay(old: str | None, new: str, records: list[Recorded], **more: object) -> Report:
    before = None if old is None else Judge(rules(old))
    return Replayer(before, Judge(rules(new)), **more).run(records)  # type: ignore[arg-type]


def test_added_and_removed_violations_are_counted_by_rule() -> None:
    report = replay(OLD, NEW, demands(10, 60, 70, 120, -1))
    cap, floor = report.changes["cap"], report.changes["floor"]
    assert (cap.before.rows, cap.after.rows, cap.added.rows, cap.removed.rows) == (1, 3, 2, 0)
    assert (floor.before.rows, floor.after.rows, floor.added.rows) == (1, 1, 0)
    assert cap.examples_added == ["dec_0001", "dec_0002"]
    assert report.differing == 3  # two are new, and 120 is held instead of warned


def test_the_other_way_round_what_was_added_is_removed() -> None:
    report = replay(NEW, OLD, demands(10, 60, 70, 120))
    assert (report.changes["cap"].added.rows, report.changes["cap"].removed.rows) == (0, 2)
    assert report.changes["cap"].examples_removed == ["dec_0001", "dec_0002"]


def test_outcomes_form_a_matrix_and_weights_say_what_the_rows_stand_for() -> None:
    records = [
        replace(one, weight=weight) for one, weight in zip(demands(10, 60, 120), (5.0, 3.0, 1.0), strict=True)
    ]
    report = replay(OLD, NEW, records)
    assert dict(report.outcomes) == {
        ("allowed", "allowed"): 5.0,
        ("allowed", "held"): 3.0,
        ("warned", "held"): 1.0,
    }
    assert (report.rows, report.weighted, report.held_after.weighted, report.held_after.rows) == (
        3,
        9.0,
        4.0,
        2,
    )
    assert report.changes["cap"].added.weighted == 3.0


def test_a_row_that_another_enforced_rule_acts_on_is_already_caught() -> None:
    more = NEW + "  - id: even-more\n    range: {field: output.demand, max: 65}\n    action: reject\n"
    report = replay(OLD, more, demands(60, 70, 80))
    cap = report.changes["cap"]
    assert (cap.added.rows, cap.caught.rows, dict(cap.caught_by)) == (3, 2, {"even-more": 2})


def test_a_shadow_rule_catches_nothing_for_others() -> None:
    more = NEW + "  - id: quiet\n    range: {field: output.demand, max: 65}\n    mode: shadow\n"
    assert replay(OLD, more, demands(60, 70)).changes["cap"].caught.rows == 0


@pytest.mark.parametrize("action", ["warn", "score\n    points: 1"])
def test_a_rule_that_stops_nothing_catches_nothing_for_others(action: str) -> None:
    weak = f"  - id: weak\n    range: {{field: output.demand, max: 65}}\n    action: {action}\n"
    report = replay(OLD, f"{NEW}{weak}score: {{hold_at: 1000}}\n", demands(60, 70))
    assert report.changes["weak"].after.rows == 1
    assert report.changes["cap"].caught.rows == 0


def test_a_canary_has_caught_only_what_it_was_drawn_for() -> None:
    more = (
        NEW
        + "  - id: trial\n    range: {field: output.demand, max: 65}\n    mode: canary 50%\n    action: reject\n"
    )
    names = [bytes([number]) * 16 for number in range(40)]
    records = [
        exchange(number, [{"x": 1.0}], [{"demand": 70.0}], identity=name) for number, name in enumerate(names)
    ]
    drawn = sum(draw("trial", name) < 0.5 for name in names)
    assert 0 < drawn < 40
    assert replay(OLD, more, records).changes["cap"].caught.rows == drawn


def test_past_resolutions_give_the_precision_so_far() -> None:
    words = {("dec_0000", 0): "approved", ("dec_0001", 0): "overridden", ("dec_0002", 0): "rejected"}
    report = replay(OLD, NEW, demands(60, 61, 62, 63), resolution=lambda name, row: words.get((name, row)))
    cap = report.changes["cap"]
    assert cap.reviews_added == {"approved": 1, "overridden": 1, "rejected": 1, "never reviewed": 1}
    assert cap.precision == pytest.approx(2 / 3)


def test_without_an_older_ruleset_the_recorded_decisions_are_the_side_before() -> None:
    records = [
        exchange(0, [{"x": 1.0}], [{"demand": 120.0}], outcomes=["warned"], violated={"cap": (0,)}),
        exchange(1, [{"x": 1.0}], [{"demand": 60.0}]),
        exchange(2, [{"x": 1.0}], [{"demand": 10.0}], outcomes=["held"], violated={"gone": (0,)}),
    ]
    report = replay(None, NEW, records)
    assert report.sides[0] == "recorded"
    assert (report.changes["cap"].before.rows, report.changes["cap"].added.rows) == (1, 1)
    assert report.changes["gone"].removed.rows == 1
    assert report.outcomes[("held", "allowed")] == 1.0


def test_rows_whose_outcome_alone_differs_are_counted_apart() -> None:
    records = [
        exchange(
            0, [{"x": 1.0}], [{"demand": 120.0}], outcomes=["warned"], violated={"cap": (0,)}, weight=3.0
        ),
        exchange(1, [{"x": 1.0}], [{"demand": 60.0}]),
        exchange(2, [{"x": 1.0}], [{"demand": 10.0}]),
    ]
    report = replay(None, NEW, records)
    assert (report.moved.rows, report.moved.weighted) == (1, 3.0)
    assert report.differing == 2
    assert replay(NEW, NEW, records).moved.rows == 0


def test_differences_come_one_by_one_with_their_rules() -> None:
    found: list[Difference] = []
    replay(OLD, NEW, demands(10, 60), on_difference=found.append)
    (one,) = found
    assert (one.decision, one.before, one.after, one.added, one.removed) == (
        "dec_0001",
        "allowed",
        "held",
        ("cap",),
        (),
    )
    assert one.as_json()["outcome"] == {"before": "allowed", "after": "held"}


def test_a_rule_that_reads_a_redacted_field_is_left_out_and_said_why() -> None:
    old = "  - id: adult\n    require: features.age >= 18\n    action: reject\n" + OLD
    records = [exchange(0, [{"age": None, "x": 1}], [{"demand": 5.0}], redacted=("features.age",))]
    report = replay(OLD, old, records)
    assert report.unreplayable == {"adult": "reads features.age, redacted in the recording"}
    assert "adult" not in report.changes
    assert dict(report.outcomes) == {("allowed", "allowed"): 1.0}


def test_a_redacted_rule_that_had_fired_is_no_difference() -> None:
    new = "  - id: adult\n    require: features.age >= 18\n"
    records = [
        exchange(0, [{"age": None}], [{"demand": 5.0}], redacted=("features.age",), violated={"adult": (0,)})
    ]
    report = replay(None, new, records)
    assert report.differing == 0


def test_a_rule_whose_past_was_not_recorded_is_left_out() -> None:
    jump = """
  - id: jump
    max_change: {field: output.demand, against: previous, by: [features.store], up: 10%, down: 10%}
    action: hold
"""
    report = replay(OLD, OLD + jump, demands(10.0, 20.0))
    assert report.unreplayable == {"jump": "reads the past by store, which was not recorded"}
    assert report.held_after.rows == 0


def test_the_recorded_past_is_what_a_change_is_measured_against() -> None:
    jump = """
  - id: jump
    max_change: {field: output.demand, against: previous, by: [features.store], up: 10%, down: 10%}
"""
    records = [
        exchange(n, [{"store": "a"}], [{"demand": 20.0}], previous={("store",): ({"demand": before},)})
        for n, before in enumerate((20.0, 10.0, 19.0))
    ]
    report = replay("  - id: none\n    require: output.demand > 0\n", jump, records)
    assert report.changes["jump"].examples_added == ["dec_0001"]


def test_a_request_that_would_have_been_refused_leaves_its_neighbours_alone() -> None:
    gate = "  - id: gate\n    range: {field: features.x, max: 5}\n    action: reject\n" + NEW
    records = [
        exchange(0, [{"x": 9.0}, {"x": 1.0}], [{"demand": 60.0}, {"demand": 60.0}]),
        exchange(1, [{"x": 1.0}], [{"demand": 60.0}]),
    ]
    report = replay(OLD, gate, records)
    # The good row of a refused request has no answer of its own; it is not judged by response rules.
    assert dict(report.outcomes) == {
        ("allowed", "rejected"): 1.0,
        ("allowed", "allowed"): 1.0,
        ("allowed", "held"): 1.0,
    }
    assert report.changes["cap"].added.rows == 1


def test_a_request_that_was_refused_then_has_no_answer_to_judge_now() -> None:
    records = [exchange(0, [{"x": 9.0}], None, outcomes=["rejected"], violated={"gate": (0,)})]
    report = replay(None, NEW, records)
    assert dict(report.outcomes) == {("rejected", "unanswered"): 1.0}
    (judged,) = [Judge(rules(NEW)).judge(batch) for batch in batches(records)]
    assert judged.outcomes.tolist() == [UNANSWERED]


def test_a_rolling_rule_is_named_as_not_replayable() -> None:
    rolling = "  - id: calm\n    require: output.demand <= 2 * recent_mean(output.demand, 1h)\n"
    report = replay(OLD, OLD + rolling, demands(1.0))
    assert "recent_" in report.unreplayable["calm"]


def test_a_batch_rule_sees_each_exchange_alone() -> None:
    flat = "  - id: flat\n    scope: batch\n    require: batch_share(output.demand == 0) <= 40%\n    action: warn\n"
    records = [
        exchange(0, [{"x": 1.0}] * 2, [{"demand": 0.0}, {"demand": 5.0}]),
        exchange(1, [{"x": 1.0}] * 3, [{"demand": 5.0}] * 3),
    ]
    assert replay(OLD, flat, records).changes["flat"].after.rows == 2


def test_canaries_draw_by_the_recorded_identity() -> None:
    canary = (
        "  - id: cap\n    range: {field: output.demand, max: 50}\n    mode: canary 30%\n    action: hold\n"
    )
    records = [
        replace(one, identity=number.to_bytes(16, "big")) for number, one in enumerate(demands(*[60.0] * 300))
    ]
    report = replay(OLD, canary, records)
    alone = Judge(rules(canary))
    held = sum(int(alone.judge(make_batch([one])).outcomes[0]) == 4 for one in records)
    assert report.held_after.rows == held
    assert 50 < held < 130
    assert report.changes["cap"].after.rows == 300


def test_the_routes_own_key_is_the_past_that_no_rule_names() -> None:
    record = exchange(0, [{"s": "a"}], [{"demand": 1.0}], previous={("s",): (None,), ("other",): (None,)})
    named = rules(
        "  - id: j\n    max_change: {field: output.demand, against: previous, by: [features.other], up: 1%}\n"
    )
    assert likely_key(record, [named]) == ("s",)
    assert likely_key(record, [rules(OLD)]) == ()
    assert likely_key(replace(record, previous={("other",): (None,)}), [named]) == ("other",)


def test_records_of_changing_shapes_all_come_through_in_bounded_memory() -> None:
    def endless() -> Iterator[Recorded]:
        for number in range(3_000):
            name = f"f{number % 40}"
            yield exchange(number, [{name: 1.0}], [{"demand": 60.0}], at=float(number % 7 * 3600))

    sizes = [batch.rows for batch in batches(endless())]
    assert sum(sizes) == 3_000
    assert max(sizes) <= 1_000


CELLS = st.one_of(
    st.none(),
    st.floats(allow_nan=False, width=32),
    st.sampled_from([0.0, 2.0**53 + 2, 55.0, -1.0, 120.0]),
    st.just(2**60 + 1),
    st.just("text"),
)
MANY = """
  - id: gate
    range: {field: features.x, max: 5}
    on_unknown: ignore
    on_error: ignore
    action: reject
  - id: cap
    range: {field: output.demand, max: 50}
    action: hold
    hold: {meanwhile: fallback}
    fallback: [previous, {expr: features.x}]
  - id: floor
    require: output.demand >= features.x or request.hour > 20
    on_error: ignore
    action: fallback
    fallback: [{value: 7}]
  - id: near
    max_change: {field: output.demand, against: previous, by: [features.s], up: 50%, down: 50%}
    on_unknown: ignore
    action: clamp
  - id: part
    range: {field: output.demand, max: 20}
    mode: canary 50%
    action: warn
"""


@st.composite
def exchanges(draw: st.DrawFn) -> list[Recorded]:
    found = []
    for number in range(draw(st.integers(1, 12))):
        size = draw(st.integers(1, 3))
        features = [{"x": draw(CELLS), "s": draw(st.sampled_from(["a", "b", None]))} for _ in range(size)]
        output = [{"demand": draw(CELLS)} for _ in range(size)]
        before = tuple(draw(st.sampled_from([None, {"demand": 10.0}, {"demand": 60.0}])) for _ in range(size))
        answered = draw(st.integers(0, 5)) > 0
        found.append(
            exchange(
                number,
                features,
                output if answered else None,
                previous={("s",): before},
                identity=draw(st.binary(min_size=16, max_size=16)),
                at=draw(st.sampled_from([0.0, 3600.0 * 22])),
            )
        )
    return found


@settings(max_examples=120, deadline=None)
@given(exchanges())
def test_many_exchanges_together_are_judged_as_each_alone(records: list[Recorded]) -> None:
    judge = Judge(rules(MANY))
    alone = {one.id: judge.judge(make_batch([one])) for one in records}
    for batch in batches(records):
        together = judge.judge(batch)
        for owner, record in enumerate(batch.exchanges):
            span = slice(int(batch.starts[owner]), int(batch.starts[owner + 1]))
            np.testing.assert_array_equal(together.verdicts[:, span], alone[record.id].verdicts)
            np.testing.assert_array_equal(together.outcomes[span], alone[record.id].outcomes)


def test_a_moment_is_as_old_as_it_was_in_its_own_exchange() -> None:
    made = FieldProfile("made", FieldKind.TIMESTAMP, rows=100, low=0.0, high=120.0, formats=(TimeForm.ISO,))
    profile = Profile("m", "12345678", 100, 0.001, {"made": made})
    text = "guardproxy: 1\nmodel: m\nowner: ops\nrules:\n  - {id: inside, profile: {fields: features.*}}\n"
    ruleset = load_rulesets({"m.guard.yaml": text}, profiles={"m": profile})[0]["m"]
    records = [
        exchange(number, [{"made": format_moment(START + 60.0 * number - age)}], [{"y": 1.0}])
        for number, age in ((0, 60.0), (50, 60.0), (55, 1_000.0))
    ]
    (batch,) = batches(records)
    judged = Judge(ruleset, profile).judge(batch)
    verdicts = judged.verdicts[[rule.id for rule in judged.rules].index("inside")]
    assert [Verdict(code) for code in verdicts.tolist()] == [Verdict.OK, Verdict.OK, Verdict.VIOLATED]
