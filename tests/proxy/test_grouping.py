"""Webhooks of events that come in swarms: told together, none of them lost. Clocks are handed in."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.proxy.grouping import MAX_MEMBERS, Grouping
from guardproxy.proxy.webhooks import Hook, Webhooks
from tests.harness.loop import run


def event(model: str, *fields: str, text: str = "") -> dict[str, Any]:
    return {"model": model, "fields": list(fields), "text": text or " and ".join(fields)}


def test_the_first_event_passes_and_those_of_the_cooldown_are_told_as_one() -> None:
    grouping = Grouping(60.0)
    assert grouping.take(event("m", "a"), 0.0) == event("m", "a")
    assert grouping.take(event("m", "b"), 10.0) is None
    assert grouping.take(event("m", "c", "b"), 20.0) is None
    assert grouping.take(event("other", "b"), 20.0) == event("other", "b")
    assert grouping.due(59.0) == []
    (told,) = grouping.due(60.0)
    assert (told["fields"], told["events"], told["text"]) == (["b", "c"], 2, "b\nc and b")
    assert grouping.take(event("m", "d"), 61.0) is None
    assert grouping.due(121.0) == [event("m", "d")]
    assert grouping.held_back == 3


def test_after_a_quiet_cooldown_the_next_event_passes_at_once() -> None:
    grouping = Grouping(60.0)
    grouping.take(event("m", "a"), 0.0)
    assert grouping.due(60.0) == []
    assert grouping.take(event("m", "b"), 60.5) == event("m", "b")


def test_a_clock_that_is_set_back_holds_nothing_back_for_longer() -> None:
    grouping = Grouping(60.0)
    grouping.take(event("m", "a"), 1_000.0)
    grouping.take(event("m", "b"), 1_001.0)
    assert grouping.due(5.0) == [event("m", "b")]


@given(st.lists(st.tuples(st.sampled_from("mno"), st.integers(0, 30), st.integers(0, 9)), max_size=60))
def test_every_field_is_told_and_no_model_more_often_than_allowed(steps: list[tuple[str, int, int]]) -> None:
    grouping = Grouping(60.0)
    given_, told, at, times = set(), set(), 0.0, dict[str, list[float]]()
    for model, pause, field in steps:
        at += pause
        out = grouping.due(at)
        given_.add((model, str(field)))
        now = grouping.take(event(model, str(field)), at)
        for said in [*out, *([now] if now else [])]:
            times.setdefault(said["model"], []).append(at)
            told |= {(said["model"], name) for name in said["fields"]}
    told |= {(said["model"], name) for said in grouping.rest() for name in said["fields"]}
    assert told == given_
    for moments in times.values():
        assert all(b - a >= 60.0 for a, b in itertools.pairwise(moments))


def test_a_swarm_beyond_the_bound_is_counted_in_what_is_told() -> None:
    grouping = Grouping(60.0)
    for number in range(MAX_MEMBERS + 6):
        grouping.take(event("m", str(number)), 1.0)
    (told,) = grouping.due(61.0)
    assert (told["events"], len(told["fields"])) == (MAX_MEMBERS + 5, MAX_MEMBERS)


def test_webhooks_release_a_group_in_time_and_at_the_stop() -> None:
    async def scenario() -> None:
        now = 0.0
        hook = Hook("http://127.0.0.1:9/x", frozenset({"drift"}))
        webhooks = Webhooks([hook], lambda: now, grouped={"drift": 60.0})
        for field in ("a", "b", "c"):
            webhooks.tell("drift", event("m", field))
        assert hook.queue.qsize() == 1
        now = 60.0
        webhooks.release()
        assert hook.queue.qsize() == 2
        webhooks.tell("drift", event("m", "d"))
        await webhooks.settle(0.0)
        assert hook.queue.qsize() == 3

    run(scenario())
