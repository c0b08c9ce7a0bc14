"""The state machine: what is in the table happens, what is not is a conflict, and a final hold never changes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Candidate, Meanwhile, OnExpiry
from guardproxy.errors import ConflictError
from guardproxy.holds import (
    NO_ANSWER,
    ORIGINAL,
    OVERRIDE,
    TRANSITIONS,
    Approve,
    Commit,
    Event,
    EventKind,
    Expire,
    Hold,
    Override,
    OverrideError,
    Reject,
    State,
    Undo,
    entry_created,
    entry_for,
    settle,
)
from guardproxy.table import Cell
from tests.holds.samples import SLA_S, START, make_hold

UNDO_S = 10.0
LATE = START + SLA_S


def decided(event: Event, **changes: object) -> Hold:
    """A hold on which `event` has taken effect."""
    return settle(make_hold(**changes), event, at=START + 1, undo_s=0)  # type: ignore[arg-type]


def test_an_approval_delivers_the_models_own_answer() -> None:
    hold = decided(Approve("reviewer-a"))
    assert (hold.state, hold.final, hold.final_source) == (State.APPROVED, {"demand": 18450.0}, ORIGINAL)


def test_an_override_delivers_the_given_values_and_keeps_the_other_predictions() -> None:
    hold = decided(Override("reviewer-a", {"p50": 2}), original={"p10": 1.0, "p50": 9.0})
    assert (hold.state, hold.final, hold.final_source) == (State.OVERRIDDEN, {"p10": 1.0, "p50": 2}, OVERRIDE)


def test_a_rejection_delivers_the_provisional_fallback() -> None:
    hold = decided(Reject("reviewer-a", "unit_error", "thousands"))
    assert (hold.state, hold.final, hold.final_source) == (State.REJECTED, {"demand": 214.0}, "previous")
    assert (hold.by, hold.reason, hold.note) == ("reviewer-a", "unit_error", "thousands")


def test_a_rejection_where_the_client_has_the_original_delivers_the_first_usable_candidate() -> None:
    hold = decided(
        Reject("reviewer-a"),
        meanwhile=Meanwhile.ORIGINAL,
        provisional={"demand": 18450.0},
        provisional_source=ORIGINAL,
        candidates=(Candidate("expr", {"demand": 1.0}, ("some-rule",)), Candidate("p50", {"demand": 129.0})),
    )
    assert (hold.final, hold.final_source) == ({"demand": 129.0}, "p50")


def test_a_rejection_without_any_fallback_means_no_answer() -> None:
    hold = decided(Reject("reviewer-a"), provisional={}, provisional_source="", candidates=())
    assert (hold.state, hold.final, hold.final_source) == (State.REJECTED, None, NO_ANSWER)


@pytest.mark.parametrize(
    ("policy", "final", "source"),
    [
        (OnExpiry.FALLBACK, {"demand": 214.0}, "previous"),
        (OnExpiry.ORIGINAL, {"demand": 18450.0}, ORIGINAL),
        (OnExpiry.REJECT, None, NO_ANSWER),
    ],
)
def test_expiry_delivers_what_the_policy_says(
    policy: OnExpiry, final: dict[str, Cell] | None, source: str
) -> None:
    hold = settle(make_hold(on_expiry=policy), Expire(), at=LATE, undo_s=UNDO_S)
    assert (hold.state, hold.final, hold.final_source, hold.by) == (State.EXPIRED, final, source, "policy")


def test_a_hold_does_not_expire_before_its_time() -> None:
    with pytest.raises(ConflictError, match="not expired yet"):
        settle(make_hold(), Expire(), at=LATE - 0.001, undo_s=UNDO_S)


def test_a_decision_waits_for_the_undo_window_and_then_commits() -> None:
    deciding = settle(make_hold(), Approve("reviewer-a"), at=START, undo_s=UNDO_S)
    assert (deciding.state, deciding.commit_at, deciding.due_at) == (State.DECIDING, START + 10, START + 10)
    with pytest.raises(ConflictError, match="can still be undone"):
        settle(deciding, Commit(), at=START + 9.9, undo_s=UNDO_S)
    final = settle(deciding, Commit(), at=START + 10, undo_s=UNDO_S)
    assert (final.state, final.due_at, final.by) == (State.APPROVED, None, "reviewer-a")


def test_an_undo_restores_the_open_hold_with_its_old_deadline() -> None:
    hold = make_hold()
    deciding = settle(hold, Override("reviewer-a", {"demand": 3}, "unit_error", "n"), at=START, undo_s=UNDO_S)
    undone = settle(deciding, Undo("reviewer-a"), at=START + 9.9, undo_s=UNDO_S)
    assert replace(undone, rev=hold.rev) == hold
    assert undone.rev == 3


def test_only_who_decided_may_undo_and_only_in_time() -> None:
    deciding = settle(make_hold(), Approve("reviewer-a"), at=START, undo_s=UNDO_S)
    with pytest.raises(ConflictError, match="only reviewer-a"):
        settle(deciding, Undo("reviewer-b"), at=START + 1, undo_s=UNDO_S)
    with pytest.raises(ConflictError, match="time to undo is over"):
        settle(deciding, Undo("reviewer-a"), at=START + 10, undo_s=UNDO_S)


def test_a_second_decision_hears_who_was_first() -> None:
    deciding = settle(make_hold(), Approve("reviewer-a"), at=START, undo_s=UNDO_S)
    with pytest.raises(ConflictError, match="already decided: approved by reviewer-a"):
        settle(deciding, Reject("reviewer-b"), at=START + 1, undo_s=UNDO_S)
    expired = settle(make_hold(), Expire(), at=LATE, undo_s=UNDO_S)
    with pytest.raises(ConflictError, match="expired before a decision came"):
        settle(expired, Approve("reviewer-b"), at=LATE + 1, undo_s=UNDO_S)


@pytest.mark.parametrize(
    ("original", "value", "problem"),
    [
        (1.0, float("nan"), "finite number"),
        (1.0, float("inf"), "finite number"),
        (1.0, 10**400, "finite number"),
        (1.0, "3", "finite number"),
        (1.0, True, "finite number"),
        (1.0, None, "finite number"),
        (None, "x", "finite number"),
        ("text", 3, "text is expected"),
        ("text", "x" * 10_001, "at most 10000 characters"),
        (True, 1, "true or false"),
        ((0.2, 0.8), (0.2, 0.3, 0.5), "list of 2 numbers"),
        ((0.2, 0.8), (0.2, float("nan")), "must be finite"),
    ],
)
def test_an_override_of_the_wrong_kind_is_refused(original: Cell, value: Cell, problem: str) -> None:
    with pytest.raises(OverrideError, match=problem):
        decided(Override("reviewer-a", {"y": value}), original={"y": original})


def test_an_override_names_every_problem_at_once() -> None:
    with pytest.raises(OverrideError) as caught:
        decided(Override("reviewer-a", {"demand": "x", "demnd": 1}))
    assert len(caught.value.problems) == 2
    assert "'demnd' is not a prediction" in caught.value.problems[1]
    with pytest.raises(OverrideError, match="at least one value"):
        decided(Override("reviewer-a", {}))


def test_a_missing_or_infinite_prediction_can_be_overridden_with_a_number() -> None:
    for original in (None, float("nan"), float("-inf")):
        assert decided(Override("reviewer-a", {"y": 2.5}), original={"y": original}).final == {"y": 2.5}


def test_the_table_has_no_way_out_of_a_final_state() -> None:
    assert {state for state, _ in TRANSITIONS} == {State.OPEN, State.DECIDING}
    assert {state for state in State if state.terminal} == set(State) - {State.OPEN, State.DECIDING}


def test_history_lines_say_who_moved_the_hold_from_where_to_where() -> None:
    hold = make_hold()
    event = Reject("reviewer-a", "policy", "no")
    after = settle(hold, event, at=START + 5, undo_s=UNDO_S)
    entry = entry_for(hold, after, event, at=START + 5)
    assert (entry.rev, entry.kind, entry.by, entry.before, entry.after) == (
        2,
        "reject",
        "reviewer-a",
        State.OPEN,
        State.DECIDING,
    )
    assert (entry.reason, entry.note, entry.at) == ("policy", "no", START + 5)
    created = entry_created(hold)
    assert (created.rev, created.kind, created.before, created.after) == (1, "create", None, State.OPEN)


PEOPLE = st.sampled_from(["reviewer-a", "reviewer-b"])
EVENTS = st.one_of(
    st.builds(Approve, PEOPLE),
    st.builds(Override, PEOPLE, st.fixed_dictionaries({"demand": st.floats() | st.text(max_size=2)})),
    st.builds(Reject, PEOPLE),
    st.builds(Undo, PEOPLE),
    st.just(Commit()),
    st.just(Expire()),
)
STEPS = st.lists(st.tuples(EVENTS, st.floats(0, 400)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.sampled_from(OnExpiry), st.sampled_from([0.0, UNDO_S]))
def test_whatever_happens_a_hold_is_decided_once_and_its_revision_only_rises(
    steps: list[tuple[Event, float]], policy: OnExpiry, undo_s: float
) -> None:
    hold, at = make_hold(on_expiry=policy), START
    finals: list[Hold] = []
    for event, pause in steps:
        at += pause
        before = hold
        try:
            hold = settle(hold, event, at=at, undo_s=undo_s)
        except (ConflictError, OverrideError):
            continue
        assert not before.state.terminal
        assert hold.rev == before.rev + 1
        assert (hold.features, hold.original, hold.provisional) == (
            before.features,
            before.original,
            before.provisional,
        )
        if hold.state.terminal:
            finals.append(hold)
    assert len(finals) <= 1
    assert (len(finals) == 1) == hold.state.terminal
    if hold.state.terminal:
        assert hold.final_source
        assert (hold.final is None) == (hold.final_source == NO_ANSWER)
        assert hold.resolution is hold.state
        assert hold.due_at is None
    else:
        assert hold.due_at is not None


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_the_timers_always_end_a_hold(steps: list[tuple[Event, float]]) -> None:
    hold, at = make_hold(), START
    for event, pause in steps:
        at += pause
        try:
            hold = settle(hold, event, at=at, undo_s=UNDO_S)
        except (ConflictError, OverrideError):
            continue
    if not hold.state.terminal:
        assert hold.due_at is not None
        timer = Commit() if hold.state is State.DECIDING else Expire()
        hold = settle(hold, timer, at=max(at, hold.due_at), undo_s=UNDO_S)
    assert hold.state.terminal


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", EventKind)
def test_every_pair_that_is_not_in_the_table_is_a_conflict(state: State, kind: EventKind) -> None:
    events: dict[EventKind, Event] = {
        EventKind.APPROVE: Approve("reviewer-a"),
        EventKind.OVERRIDE: Override("reviewer-a", {"demand": 1.0}),
        EventKind.REJECT: Reject("reviewer-a"),
        EventKind.UNDO: Undo("reviewer-a"),
        EventKind.COMMIT: Commit(),
        EventKind.EXPIRE: Expire(),
    }
    hold = replace(
        make_hold(), state=state, by="reviewer-a", resolution=None if state is State.OPEN else State.APPROVED,
        commit_at=LATE + 5 if state is State.DECIDING else None,
    )  # fmt: skip
    at = LATE + 5 if kind is EventKind.COMMIT else LATE
    if (state, kind) in TRANSITIONS:
        assert settle(hold, events[kind], at=at, undo_s=UNDO_S).rev == hold.rev + 1
    else:
        with pytest.raises(ConflictError):
            settle(hold, events[kind], at=at, undo_s=UNDO_S)
