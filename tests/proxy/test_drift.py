"""The drift of a model through the store: one evidence for all replicas, every alarm told once."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardproxy.config import Config
from guardproxy.profile.model import FieldKind, FieldProfile, Profile, Role
from guardproxy.proxy.drift import MAX_BUCKETS, DriftKeeper, alarm_settings, watched_fields
from guardproxy.proxy.model_statistics import ModelStatistics
from guardproxy.proxy.statistics import StatisticsKeeper
from guardproxy.stats.alarms import AlarmSettings
from guardproxy.stats.counts import Sums
from guardproxy.stats.layout import Layout
from guardproxy.stats.recent import NO_RECENTS
from guardproxy.stats.snapshot import EMPTY, Snapshot
from guardproxy.stores.sqlite_statistics import SqliteStatistics
from guardproxy.stores.statistics import StoreDownError
from guardproxy.table import Floats
from tests.stats.counted import sample
from tests.stats.drifting import counted, layout_of, number_cells

CELLS = number_cells()
LAYOUT = layout_of(CELLS, CELLS)
STATE = f"drift-{LAYOUT.version}"
NOW = 1_700_000_000.0
Told = list[tuple[str, Mapping[str, Any]]]


@dataclass
class Closed:
    """Closed buckets of a model, as its keeper knows them."""

    layout: Layout = LAYOUT
    snapshot: Snapshot = EMPTY
    buckets: list[tuple[int, Sums]] = field(default_factory=list)

    def season_rows(self, window: str) -> Floats | None:
        return None

    def closed_after(self, bucket: int) -> Sequence[tuple[int, Sums]]:
        return [each for each in self.buckets if each[0] > bucket]

    def add(self, number: int, shift: float = 0.0, seed: int = 1) -> None:
        generator = np.random.default_rng(seed)
        first = self.buckets[-1][0] + 1 if self.buckets else 0
        for bucket in range(first, first + number):
            rows = [generator.normal(shift, 1.0, 40), generator.normal(size=40)]
            self.buckets.append((bucket, counted(LAYOUT, rows)))


@dataclass
class Asked(Closed):
    """Closed buckets that remember from where on they were asked for."""

    asked: list[int] = field(default_factory=list)

    def closed_after(self, bucket: int) -> Sequence[tuple[int, Sums]]:
        self.asked.append(bucket)
        return super().closed_after(bucket)


def keeper(closed: Closed, told: Told | None = None) -> DriftKeeper:
    tell = [] if told is None else told
    return DriftKeeper(
        "demand",
        closed,
        ("x0", "x1", "note"),
        AlarmSettings(),
        lambda event, said: tell.append((event, said)),
    )


def with_store(
    folder: Path,
    work: Callable[[SqliteStatistics], Awaitable[None]],
    kind: type[SqliteStatistics] = SqliteStatistics,
) -> None:
    """Do some work with a real store."""

    async def run() -> None:
        store = kind(folder / "statistics.db", clock=lambda: NOW)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def test_a_drift_is_told_once_with_its_fields_and_its_sentence(tmp_path: Path) -> None:
    closed, told = Closed(), Told()

    async def work(store: SqliteStatistics) -> None:
        one = keeper(closed, told)
        closed.add(30)
        await one.beat(store, NOW)
        assert one.report(NOW)["alarm"] is None
        assert told == []
        for _ in range(20):
            closed.add(1, 1.0, seed=len(closed.buckets))
            await one.beat(store, NOW)
        report = one.report(3_600.0)
        assert [each["state"] for each in report["fields"]] == ["alarm", "quiet", "unlearned"]
        assert report["alarm"]["fields"] == ["x0"]
        assert report["alarm"]["evidence"] > 1.0
        assert report["behind_s"] == 3_600.0 - 50 * 60.0
        alarm = report["fields"][0]["alarm"]
        assert alarm["direction"] == "up"
        assert alarm["message"].startswith("x0 has moved up")
        assert alarm["raised_at"].startswith("1970-01-01T00:3")
        assert alarm["cells"][0]["now"] != alarm["cells"][0]["before"]
        assert json.loads(json.dumps(report)) == report
        events = await store.events("demand")
        assert [json.loads(event)["field"] for _, event in events] == ["x0"]
        assert events[0][0].startswith("demand/x0/")

    with_store(tmp_path, work)
    assert [event for event, _ in told] == ["drift"]
    assert told[0][1]["model"] == "demand"
    assert told[0][1]["fields"] == ["x0"]
    assert "x0 has moved up" in told[0][1]["text"]


def test_two_replicas_share_the_evidence_and_never_tell_twice(tmp_path: Path) -> None:
    closed, told = Closed(), Told()

    async def work(store: SqliteStatistics) -> None:
        replicas = [keeper(closed, told), keeper(closed, told)]
        for number in range(60):
            closed.add(1, 1.0 if number > 30 else 0.0, seed=number)
            await asyncio.gather(*(one.beat(store, NOW) for one in replicas))
        for one in replicas:
            await one.beat(store, NOW)
        first, second = (one.report(NOW) for one in replicas)
        assert first == second
        assert first["alarm"] is not None
        assert sum(one.judged for one in replicas) == 60
        assert all(one.damaged == 0 for one in replicas)

    with_store(tmp_path, work)
    assert len(told) == 1


def test_a_replica_that_starts_later_knows_the_alarm_and_is_silent_about_it(tmp_path: Path) -> None:
    closed, told = Closed(), Told()

    async def work(store: SqliteStatistics) -> None:
        closed.add(20, 1.0)
        await keeper(closed, told).beat(store, NOW)
        assert len(told) == 1
        late = keeper(Closed(), told)
        await late.beat(store, NOW)
        assert late.report(NOW)["alarm"]["fields"] == ["x0"]

    with_store(tmp_path, work)
    assert len(told) == 1


def test_an_alarm_that_was_reported_by_nobody_is_told_by_whoever_is_left(tmp_path: Path) -> None:
    """A replica that ends after it wrote the state, before it told anyone."""
    closed, told = Closed(), Told()

    async def work(store: SqliteStatistics) -> None:
        closed.add(20, 1.0)
        gone = keeper(closed)
        await gone._go_on(store, closed.closed_after(-1))
        await keeper(closed, told).beat(store, NOW)

    with_store(tmp_path, work)
    assert len(told) == 1


class FailsBetween(SqliteStatistics):
    """A store that takes one report and then fails once."""

    taken = 0

    async def report(self, model: str, event_id: str, event: bytes) -> bool:
        self.taken += 1
        if self.taken == 2:
            raise StoreDownError("no answer")
        return await super().report(model, event_id, event)


def test_a_field_that_was_reported_before_the_store_failed_is_told_with_the_others(tmp_path: Path) -> None:
    closed, told = Closed(), Told()
    generator = np.random.default_rng(1)
    closed.buckets = [
        (bucket, counted(LAYOUT, [generator.normal(1.0, 1.0, 40) for _ in range(2)])) for bucket in range(20)
    ]

    async def work(store: SqliteStatistics) -> None:
        one = keeper(closed, told)
        with pytest.raises(StoreDownError):
            await one.beat(store, NOW)
        await one.beat(store, NOW)

    with_store(tmp_path, work, FailsBetween)
    ((_, said),) = told
    assert sorted(said["fields"]) == ["x0", "x1"]


def test_rows_that_come_after_their_bucket_was_judged_change_nothing(tmp_path: Path) -> None:
    closed = Closed()

    async def work(store: SqliteStatistics) -> None:
        one = keeper(closed)
        closed.add(10)
        await one.beat(store, NOW)
        before = await store.state("demand", STATE)
        closed.buckets[4] = (4, closed.buckets[4][1] * 1_000)
        await one.beat(store, NOW)
        assert await store.state("demand", STATE) == before

    with_store(tmp_path, work)


class LosesAnswers(SqliteStatistics):
    """A store that does what it is asked, while its answers to swaps are lost as long as `losing` is set."""

    losing = True

    async def swap(self, model: str, name: str, expected: bytes | None, state: bytes, keep_s: int) -> bool:
        done = await super().swap(model, name, expected, state, keep_s)
        if self.losing:
            raise StoreDownError("no answer")
        return done


def test_a_lost_answer_of_the_store_judges_no_bucket_twice(tmp_path: Path) -> None:
    closed, told = Closed(), Told()
    closed.add(20, 1.0)

    async def work(store: SqliteStatistics) -> None:
        assert isinstance(store, LosesAnswers)
        one = keeper(closed, told)
        with pytest.raises(StoreDownError):
            await one.beat(store, NOW)
        assert told == []
        store.losing = False
        await one.beat(store, NOW)
        await one.beat(store, NOW)
        assert (one.lost, one.judged) == (20, 0)
        assert one.report(NOW)["alarm"]["fields"] == ["x0"]

    with_store(tmp_path, work, LosesAnswers)
    assert len(told) == 1


def test_a_field_that_begins_to_drift_while_an_alarm_stands_is_told_by_itself(tmp_path: Path) -> None:
    closed, told = Closed(), Told()
    generator = np.random.default_rng(5)

    async def work(store: SqliteStatistics) -> None:
        one = keeper(closed, told)
        closed.add(15, 1.0)
        await one.beat(store, NOW)
        for bucket in range(15, 40):
            rows = [generator.normal(1.0, 1.0, 40), generator.normal(1.0, 1.0, 40)]
            closed.buckets.append((bucket, counted(LAYOUT, rows)))
            await one.beat(store, NOW)
        assert set(one.report(NOW)["alarm"]["fields"]) == {"x0", "x1"}

    with_store(tmp_path, work)
    assert [said["fields"] for _, said in told] == [["x0"], ["x1"]]


def test_an_alarm_ends_when_the_drift_does_and_a_new_one_is_told_again(tmp_path: Path) -> None:
    closed, told = Closed(), Told()
    settings = AlarmSettings(cooldown_s=600.0)

    async def work(store: SqliteStatistics) -> None:
        one = DriftKeeper(
            "demand", closed, ("x0", "x1"), settings, lambda event, said: told.append((event, said))
        )
        stands = []
        for shift, number in ((1.0, 15), (0.0, 40), (1.0, 15)):
            closed.add(number, shift, seed=len(closed.buckets))
            await one.beat(store, NOW)
            stands.append(one.report(NOW)["alarm"] is not None)
        assert stands == [True, False, True]

    with_store(tmp_path, work)
    assert [said["fields"] for _, said in told] == [["x0"], ["x0"]]
    assert len({said["id"] for _, said in told}) == 2


def test_a_damaged_state_begins_anew_and_is_counted(tmp_path: Path) -> None:
    closed = Closed()

    async def work(store: SqliteStatistics) -> None:
        await store.swap("demand", STATE, None, b"no state at all", 60)
        one = keeper(closed)
        closed.add(5)
        await one.beat(store, NOW)
        assert one.damaged == 1
        assert one.report(NOW)["fields"][0]["state"] == "quiet"
        assert await store.state("demand", STATE) != b"no state at all"

    with_store(tmp_path, work)


def test_a_long_past_is_judged_in_bounded_steps(tmp_path: Path) -> None:
    closed = Closed()

    async def work(store: SqliteStatistics) -> None:
        one = keeper(closed)
        closed.add(MAX_BUCKETS + 10)
        await one.beat(store, NOW)
        assert one.judged == MAX_BUCKETS
        await one.beat(store, NOW)
        assert one.judged == MAX_BUCKETS + 10

    with_store(tmp_path, work)


def test_a_model_without_a_profile_has_nothing_to_judge(tmp_path: Path) -> None:
    closed = Asked(layout=Layout.of(None))

    async def work(store: SqliteStatistics) -> None:
        one = DriftKeeper("demand", closed, watched_fields(None), AlarmSettings(), lambda *_: None)
        closed.add(3)
        await one.beat(store, NOW)
        await one.beat(store, NOW)
        assert one.report(NOW)["fields"] == []
        assert one.report(NOW)["alarm"] is None
        assert one.report(NOW)["behind_s"] is None

    with_store(tmp_path, work)
    # Nobody waits for its buckets: its keeper may forget them.
    assert closed.asked == [-1, 2]


def test_a_configuration_says_how_often_an_alarm_may_be_false() -> None:
    config = Config(bucket_s=30.0, drift_run_length_s=86_400.0, drift_cooldown_s=600.0, drift_tolerance=0.1)
    settings = alarm_settings(config)
    assert (settings.run_length, settings.cooldown, settings.tolerance) == (2_880.0, 20, 0.1)


def test_recorded_history_replays_at_speed_and_drifts_when_it_did(tmp_path: Path) -> None:
    """Two days of traffic by event time, in a second or two: features and the output are judged by when rows happened."""
    profile = Profile(
        "demand",
        "0badcafe",
        20_000,
        0.001,
        {
            "x": FieldProfile("x", FieldKind.NUMBER, cells=CELLS),
            "id": FieldProfile("id", FieldKind.IDENTIFIER),
        },
        {"demand": FieldProfile("demand", FieldKind.NUMBER, Role.OUTPUT, cells=CELLS)},
    )
    told = Told()
    generator = np.random.default_rng(3)
    bucket_s, buckets, change = 600.0, 288, 200

    async def work(store: SqliteStatistics) -> None:
        model = ModelStatistics(
            "demand", profile, NO_RECENTS, bucket_s=bucket_s, grace_s=10.0, writer="aaaa0001", event=True
        )
        statistics = StatisticsKeeper(store, {"demand": model}, lambda: NOW)
        settings = AlarmSettings(run_length_s=30 * 86_400.0, bucket_s=bucket_s)
        drift = DriftKeeper(
            "demand", model, watched_fields(profile), settings, lambda event, said: told.append((event, said))
        )
        statistics.beats.append(drift)
        start = NOW - NOW % bucket_s - buckets * bucket_s
        for bucket in range(buckets):
            at = start + bucket * bucket_s
            rows = [{"x": value, "id": 1.0} for value in generator.normal(size=30).tolist()]
            answers = generator.normal(1.0 if bucket >= change else 0.0, 1.0, 30).tolist()
            model.add([sample(NOW, rows, answers, happened=at)])
            if bucket % 20 == 19:
                await statistics.beat()
        for _ in range(4):
            await statistics.beat()
        assert statistics.faults == 0
        report = drift.report(NOW)
        states = {each["field"]: each["state"] for each in report["fields"]}
        assert states == {"x": "quiet", "id": "unlearned", "output.demand": "alarm"}
        raised = report["fields"][2]["alarm"]["raised_at"]
        expected = np.datetime64(int(start + change * bucket_s), "s")
        assert expected < np.datetime64(raised.rstrip("Z")) <= expected + np.timedelta64(6 * 600, "s")

    with_store(tmp_path, work)
    assert [said["fields"] for _, said in told] == [["output.demand"]]
