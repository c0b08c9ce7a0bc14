"""When a request happened: its header or a feature says so, and history replays at any speed."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.config import Config
from guardproxy.proxy.event_time import EventTime
from guardproxy.service import Service
from guardproxy.stats.marks import SERIES
from guardproxy.stats.rollup import HOUR_S
from guardproxy.stores.sqlite_statistics import SqliteStatistics
from guardproxy.stores.statistics import BucketKey, BucketWrite
from guardproxy.table import Cell, table_from_columns
from tests.harness.loop import run
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.keeping import MIDNIGHT, Clock, Replica, replica
from tests.proxy.serving import ask, demand, infer, said, serving
from tests.stats.counted import sample

JSON = b"content-type: application/json"
NOON = MIDNIGHT + 43_200
ROW: dict[str, Cell] = {"x": 1.5, "kind": "fish"}
BY_HEADER = Config(event_time=True)
AT_NIGHT = """\
guardproxy: 1
model: demand
owner: ops
rules:
  - {id: night, when: request.hour == 3, forbid: output.demand > 10, action: fallback, fallback: {value: 5}}
"""


def header(at: float) -> bytes:
    """Return the line that says when a request happened."""
    return f"Guardproxy-Event-Time: {datetime.fromtimestamp(at, UTC).isoformat()}".encode()


async def beaten(service: Service, times: int = 3) -> dict[float, int]:
    """Count, beat by hand, and return the rows by the start of their bucket."""
    service.built.statistics.paused = True
    for journal in service.plane.journals.values():
        journal.flush()
    for _ in range(times):
        await service.built.statistics.beat()
    model = service.built.statistics.models["demand"]
    buckets = model.timeline.after(-1)
    return {
        number * 60.0: int(model.timeline.counts(number)[model.layout.outcomes].sum()) for number in buckets
    }


def refused(service: Service) -> dict[str, int]:
    """Return why arrivals stand in place of moments."""
    return dict(service.plane.routes[0].event_time.refused)


def test_the_header_says_when_and_does_not_go_upstream() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([30.0]), JSON)) as upstream,
            serving(upstream.port, config=BY_HEADER, rules=AT_NIGHT, clock=lambda: NOON) as service,
        ):
            by_night = await ask(service, infer([1.0]), header(MIDNIGHT + 3 * 3_600))
            by_day = await ask(service, infer([1.0]), header(MIDNIGHT + 5 * 3_600))
            assert not [line for one in upstream.requests for line in one.lines if b"vent" in line]
            assert [said(one, b"Outcome") for one in (by_night, by_day)] == ["replaced", "allowed"]
            assert await beaten(service) == {MIDNIGHT + 3 * 3_600: 1, MIDNIGHT + 5 * 3_600: 1}
            assert refused(service) == {}
            model = service.built.statistics.models["demand"]
            assert model.now == MIDNIGHT + 5 * 3_600
            assert [bucket for bucket, _ in model.closed_after(-1)] == [int((MIDNIGHT + 3 * 3_600) // 60)]

    run(scenario())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"X-Other: 1", "absent"),
        (b"Guardproxy-Event-Time: yesterday", "unreadable"),
        (b"Guardproxy-Event-Time: 2024-10-04T12:00:00", "unreadable"),
        (b"Guardproxy-Event-Time: 2024-13-04T12:00:00Z", "unreadable"),
        (b"Guardproxy-Event-Time: 1700000000", "unreadable"),
        (b"Guardproxy-Event-Time: 1969-12-31T23:59:59Z", "unreadable"),
        (b"Guardproxy-Event-Time: 0001-01-01T00:00:00+23:59", "unreadable"),
        (header(NOON + 61), "ahead"),
    ],
)
def test_a_moment_that_is_not_believed_is_counted_and_the_arrival_stands_in_its_place(
    line: bytes, why: str
) -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([30.0]), JSON)) as upstream,
            serving(upstream.port, config=BY_HEADER, clock=lambda: NOON) as service,
        ):
            await ask(service, infer([1.0]), header(MIDNIGHT))
            assert said(await ask(service, infer([1.0]), line), b"Outcome") == "allowed"
            assert refused(service) == {why: 1}
            assert (await beaten(service))[MIDNIGHT] == 1
            model = service.built.statistics.models["demand"]
            assert model.now == MIDNIGHT, "only a moment that is believed moves the model's time"

    run(scenario())


def test_without_the_setting_the_header_means_nothing_and_still_does_not_go_upstream() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([30.0]), JSON)) as upstream,
            serving(upstream.port, clock=lambda: NOON) as service,
        ):
            await ask(service, infer([1.0]), header(MIDNIGHT))
            assert not upstream.requests[0].all(b"guardproxy-event-time")
            assert await beaten(service) == {NOON: 1}

    run(scenario())


def test_a_feature_says_when_each_row_happened() -> None:
    times: list[Cell] = [MIDNIGHT + 60, (MIDNIGHT + 120) * 1000, None, NOON + 3_600]
    body = json.dumps({"instances": [{"x": 1.0, "when": at} for at in times]}).encode()
    written = json.dumps({"instances": [{"x": 1.0, "when": "2024-10-04T00:05:30Z"}]}).encode()
    assert datetime(2024, 10, 4, tzinfo=UTC).timestamp() == MIDNIGHT

    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(json.dumps({"predictions": [3.0] * 4}).encode(), JSON)) as upstream,
            serving(
                upstream.port, protocol="kserve-v1", outputs=("demand",), time="when", clock=lambda: NOON
            ) as service,
        ):
            assert said(await ask(service, body), b"Outcome") == "allowed"
            upstream.answer = ok(json.dumps({"predictions": [3.0]}).encode(), JSON)
            await ask(service, written)
            found = await beaten(service)
            assert found == {MIDNIGHT + 60: 1, MIDNIGHT + 120: 1, MIDNIGHT + 300: 1, NOON: 2}
            assert refused(service) == {"absent": 1, "ahead": 1}
            assert service.built.statistics.models["demand"].now == MIDNIGHT + 330

    run(scenario())


@given(
    st.lists(
        st.none()
        | st.booleans()
        | st.text(max_size=45)
        | st.floats(allow_nan=False)
        | st.integers(-(10**30), 10**30)
        | st.tuples(st.floats(0, 1)),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_a_feature_holds_every_row_gets_a_moment_that_is_not_ahead(cells: Sequence[Cell]) -> None:
    counts: Counter[str] = Counter()
    times = EventTime(counts, feature="when").of_rows(
        table_from_columns({"when": cells}, len(cells)), NOON, None
    )
    assert times.rows is not None
    assert times.rows.shape == (len(cells),)
    assert (times.rows <= NOON + 60).all()
    told = sum(row != NOON for row in times.rows.tolist())
    assert told + sum(counts.values()) >= len(cells)
    assert (times.latest is None) == (sum(counts.values()) == len(cells))


async def replayed(one: Replica, minutes: Sequence[int], a_beat: int) -> dict[int, int]:
    """Replay a row a minute, so many minutes a beat, and return what a detector would see of each closed bucket."""
    closed: dict[int, int] = {}
    for place, minute in enumerate(minutes):
        at = MIDNIGHT + 60 * minute
        one.model.add([sample(NOON, [ROW], happened=at)])
        if place % a_beat == a_beat - 1:
            await one.beat()
            closed |= one.closed(max(closed, default=-1))
    for _ in range(8):
        await one.beat()
        closed |= one.closed(max(closed, default=-1))
    return closed


@pytest.mark.parametrize("a_beat", [1, 7, 600])
def test_a_history_replays_at_any_speed_into_the_same_closed_buckets(tmp_path: Path, a_beat: int) -> None:
    async def scenario() -> None:
        clock = Clock(NOON)
        store = SqliteStatistics(tmp_path / "statistics.db", clock=clock)
        await store.open()
        one = replica(store, clock, event=True)
        minutes = range({1: 90, 7: 700}.get(a_beat, 2_900))
        found = await replayed(one, minutes, a_beat)
        first = int(MIDNIGHT // 60)
        # The last minute has just begun, and the one before ended less than the grace ago.
        assert found == {first + minute: 1 for minute in minutes[:-2]} | {
            first + minute: 1 for minute in minutes[-2:-1] if minute + 1 + 10 / 60 <= minutes[-1]
        }
        assert one.model.ledger.lost_rows == one.model.timeline.unasked == 0
        assert one.rows("24h") == min(len(minutes), 1_440 + minutes[-1] % 60 + 1)
        await store.close()

    run(scenario())


def test_replicas_share_event_time_and_what_the_others_replay(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock(NOON)
        store = SqliteStatistics(tmp_path / "statistics.db", clock=clock)
        await store.open()
        one = replica(store, clock, "0000000a", event=True)
        two = replica(store, clock, "0000000b", event=True)
        closed: dict[int, int] = {}
        for minute in range(60):
            at = MIDNIGHT + 60 * minute
            one.model.add([sample(NOON, [ROW], happened=at)])
            two.model.add([sample(NOON, [ROW] * 2, happened=at)])
            await one.beat()
            await two.beat()
            closed |= one.closed(max(closed, default=-1))
        two.model.add([sample(NOON, [ROW], happened=MIDNIGHT)])
        await two.beat()
        await one.beat(3)
        closed |= one.closed(max(closed, default=-1))
        assert one.model.now == two.model.now == MIDNIGHT + 59 * 60
        assert set(closed.values()) == {3}
        assert len(closed) == 58
        assert one.rows() == two.rows() == 181, (
            "what comes late to another replica shows in the windows of all"
        )
        await store.close()

    run(scenario())


def test_what_a_replica_writes_after_the_others_have_run_hours_ahead_is_in_the_closed_buckets(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        clock = Clock(NOON)
        store = SqliteStatistics(tmp_path / "statistics.db", clock=clock)
        await store.open()
        first = replica(store, clock, "0000000a", event=True)
        second = replica(store, clock, "0000000b", event=True)
        closed: dict[int, int] = {}
        for start in range(0, 24, 6):
            for minute in range(60 * start, 60 * (start + 6), 20):
                for one in (first, second):
                    one.model.add([sample(NOON, [ROW], happened=MIDNIGHT + 60 * minute)])
            await first.beat()
            await second.beat()
            closed |= first.closed(max(closed, default=-1))
        for _ in range(4):
            await first.beat()
            closed |= first.closed(max(closed, default=-1))
        assert set(closed.values()) == {2}
        assert len(closed) == 24 * 3 - 1
        await store.close()

    run(scenario())


def test_invented_moments_of_long_ago_make_no_buckets_and_are_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock(NOON)
        store = SqliteStatistics(tmp_path / "statistics.db", clock=clock)
        await store.open()
        one = replica(store, clock, event=True)
        one.model.add([sample(NOON, [ROW], happened=MIDNIGHT)])
        await one.beat()
        old = [MIDNIGHT - 10 * 86_400 - 3_600 * hour for hour in range(700)]
        one.model.add([sample(NOON, [ROW] * 2, happened=at) for at in old])
        one.model.add([sample(NOON, [ROW], happened=MIDNIGHT - 8 * 86_400)])
        one.model.add([sample(NOON, [ROW], happened=MIDNIGHT + 120)])
        await one.beat(5)
        assert (one.model.ledger.old_rows, one.model.ledger.lost_rows) == (1_400, 0)
        first = int(MIDNIGHT // 60)
        assert one.closed() == [(first - 8 * 1_440, 1), (first, 1)]
        await store.close()

    run(scenario())


def test_two_models_go_each_by_its_own_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = replace(Config(), event_time=False)
        async with (
            RecorderUpstream(ok(demand([30.0]), JSON)) as upstream,
            serving(upstream.port, config=config, clock=lambda: NOON, time="x") as service,
        ):
            assert service.built.statistics.models["demand"].event
            await ask(service, infer([MIDNIGHT]))
            await beaten(service)
            model: Any = service.built.statistics.models["demand"]
            assert (model.now, model.snapshot.at) == (MIDNIGHT, MIDNIGHT)

    run(scenario())


def test_marks_of_others_that_cannot_be_read_are_counted_among_what_is_damaged(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        store = SqliteStatistics(tmp_path / "statistics.db", clock=clock)
        await store.open()
        one = replica(store, clock, event=True)
        one.model.add([sample(clock.now, [{"x": 1.0}], happened=MIDNIGHT)])
        key = BucketKey("demand", SERIES, one.model.layout.version, HOUR_S, int(MIDNIGHT // HOUR_S))
        await store.put([BucketWrite(key, "ffffffff", b"nonsense", 60)])
        await one.beat()
        assert (one.rows(), one.model.damaged) == (1, 1)
        await store.close()

    run(scenario())
