"""Window rules of several replicas on one store: one state, each change told once. Clocks and snapshots are handed in."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from guardproxy.proxy.webhooks import Webhooks
from guardproxy.proxy.window_rules import STATE, WindowRules
from guardproxy.rules import Ruleset
from guardproxy.stats.snapshot import EMPTY, Snapshot
from guardproxy.stores.redis_statistics import RedisStatistics
from guardproxy.stores.redis_urls import read_address
from guardproxy.stores.sqlite_statistics import SqliteStatistics
from guardproxy.stores.statistics import StatisticsStore, StoreDownError
from tests.harness.loop import run
from tests.harness.redis_servers import RedisServer
from tests.stats.test_recent import ruleset
from tests.stores.statistics.backends import fresh_model

SHARE = "recent_share(output.y == 0, 1h)"
ZEROS = f'{{id: zeros, scope: window, for: 2m, forbid: "{SHARE} > 30%", message: "{{{SHARE}:.0%}} are zero"}}'
START = 60.0 * 30_000_000


@dataclass
class Told(Webhooks):
    """Webhooks that keep what they were told."""

    got: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__([], lambda: 0.0)

    def tell(self, event: str, said: Mapping[str, Any]) -> None:
        assert event == "window"
        self.got.append(said)


@dataclass
class Replica:
    """One process: its snapshot is what the test gives it."""

    rules: Mapping[str, Ruleset]
    told: Told
    snapshot: Snapshot = EMPTY
    now: float = START

    def __post_init__(self) -> None:
        self.window_rules = WindowRules(
            lambda: self.rules, lambda _: self.snapshot, self.told, 60.0, lambda: self.now
        )

    async def at(self, store: StatisticsStore, seconds: float, share: float | None) -> None:
        recent: Mapping[str, float] = {} if share is None else {SHARE: share}
        self.snapshot = Snapshot(START + seconds, recent, {}, START)
        self.now = START + seconds
        await self.window_rules.beat(store, START + seconds)

    def words(self, seconds: float) -> list[str]:
        self.now = START + seconds
        return [said["state"] for said in self.window_rules.report()]


def replicas(count: int, *rules: str) -> tuple[list[Replica], Told]:
    told = Told()
    made = {"m": ruleset(*(rules or (ZEROS,)))}
    return [Replica(made, told) for _ in range(count)], told


def with_store(folder: Path, scenario: Callable[[StatisticsStore], Any]) -> None:
    async def opened() -> None:
        store = SqliteStatistics(folder / "statistics.db", 1_000)
        await store.open()
        try:
            await scenario(store)
        finally:
            await store.close()

    run(opened())


def test_several_replicas_tell_once_that_a_rule_fires_and_once_that_it_ended(tmp_path: Path) -> None:
    (one, two, three), told = replicas(3)

    async def scenario(store: StatisticsStore) -> None:
        for minute in range(8):
            share = 0.5 if 1 <= minute < 6 else 0.1
            for number, replica in enumerate((one, two, three)):
                await replica.at(store, 60.0 * minute + number, share)
                await replica.at(store, 60.0 * minute + number + 1, share)
            assert one.words(60.0 * minute) == two.words(60.0 * minute) == three.words(60.0 * minute)

    with_store(tmp_path, scenario)
    assert [(said["state"], (said["at"] - START) / 60) for said in told.got] == [("firing", 3), ("ended", 6)]
    firing, ended = told.got
    assert firing["text"] == "rule zeros of m fires: violated for 2m. 50% are zero"
    assert ended["text"] == "rule zeros of m no longer fires, after 3m."
    assert firing["id"] != ended["id"]
    assert (firing["model"], firing["rule"], firing["rev"]) == ("m", "zeros", one.rules["m"].rev("zeros"))


def test_a_replica_that_starts_anew_takes_up_what_stands_and_tells_nothing(tmp_path: Path) -> None:
    (old, new), told = replicas(2)

    async def scenario(store: StatisticsStore) -> None:
        for minute in range(4):
            await old.at(store, 60.0 * minute, 0.5)
        assert len(told.got) == 1
        await new.at(store, 240.0, 0.5)
        assert new.words(240.0) == ["firing"]
        (said,) = new.window_rules.firing()
        assert (said["since"], said["firing_since"]) == (START, START + 120.0)
        assert said["message"] == "50% are zero"

    with_store(tmp_path, scenario)
    assert len(told.got) == 1


def test_a_reload_keeps_the_state_of_a_rule_that_did_not_change_and_ends_that_of_one_that_did(
    tmp_path: Path,
) -> None:
    (replica,), told = replicas(1, ZEROS, ZEROS.replace("zeros", "other"))

    async def scenario(store: StatisticsStore) -> None:
        for minute in range(3):
            await replica.at(store, 60.0 * minute, 0.5)
        assert [said["rule"] for said in told.got] == ["zeros", "other"]
        replica.rules = {"m": ruleset(ZEROS, ZEROS.replace("zeros", "other").replace("30%", "60%"))}
        await replica.at(store, 185.0, 0.5)
        assert replica.words(185.0) == ["firing", "ok"]
        await replica.at(store, 190.0 + 3_600.0, 0.5)
        replica.rules = {"m": ruleset('{id: row, forbid: "output.y < 0"}')}
        await replica.at(store, 190.0 + 7_300.0, 0.5)
        await replica.at(store, 190.0 + 7_360.0, 0.5)
        assert replica.window_rules.report() == []

    with_store(tmp_path, scenario)
    assert [(said["rule"], said["state"]) for said in told.got[2:]] == [
        ("other", "ended"),
        ("zeros", "ended"),
    ]
    assert all(said["text"].endswith("it was changed or taken out.") for said in told.got[2:])


def test_without_fresh_statistics_a_rule_is_unknown_and_what_fires_goes_on(tmp_path: Path) -> None:
    (replica,), told = replicas(
        1, ZEROS, ZEROS.replace("zeros", "soon").replace("for: 2m, ", "").replace("30%", "60%")
    )

    async def scenario(store: StatisticsStore) -> None:
        for minute in range(3):
            await replica.at(store, 60.0 * minute, 0.5)
        assert replica.words(130.0) == ["firing", "ok"]
        assert replica.words(400.0) == ["firing", "unknown"]
        await replica.at(store, 1_200.0, None)
        assert replica.words(1_200.0) == ["firing", "unknown"]
        assert [said["message"].split(":")[0] for said in replica.window_rules.report()] == ["warming up"] * 2

    with_store(tmp_path, scenario)
    assert len(told.got) == 1


def test_a_shadow_rule_is_judged_and_nobody_is_told(tmp_path: Path) -> None:
    (replica,), told = replicas(1, ZEROS.replace("for: 2m", "mode: shadow"))

    async def scenario(store: StatisticsStore) -> None:
        await replica.at(store, 0.0, 0.5)
        assert replica.words(0.0) == ["firing"]
        assert replica.window_rules.firing() == []

    with_store(tmp_path, scenario)
    assert told.got == []


def test_a_damaged_state_is_counted_and_begun_anew(tmp_path: Path) -> None:
    (replica,), told = replicas(1, ZEROS.replace("for: 2m, ", ""))

    async def scenario(store: StatisticsStore) -> None:
        assert await store.swap("m", STATE, None, b"nonsense", 60)
        await replica.at(store, 0.0, 0.5)
        assert replica.words(0.0) == ["firing"]

    with_store(tmp_path, scenario)
    assert (replica.window_rules.damaged, len(told.got)) == (1, 1)


def test_a_store_that_is_away_leaves_the_bucket_for_the_next_beat(tmp_path: Path) -> None:
    (replica,), told = replicas(1, ZEROS.replace("for: 2m, ", ""))

    async def scenario(store: StatisticsStore) -> None:
        await store.close()
        with pytest.raises(StoreDownError):
            await replica.at(store, 0.0, 0.5)
        assert replica.words(0.0) == []
        again = SqliteStatistics(tmp_path / "statistics.db", 1_000)
        await again.open()
        await replica.window_rules.beat(again, START + 30.0)
        assert replica.words(30.0) == ["firing"]
        await again.close()

    with_store(tmp_path, scenario)
    assert len(told.got) == 1


def test_models_are_judged_apart_and_one_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    (replica,), _ = replicas(1)
    replica.rules = {"a": replica.rules["m"], "b": replica.rules["m"]}

    async def scenario(store: StatisticsStore) -> None:
        await replica.at(store, 0.0, 0.5)
        assert [said["model"] for said in replica.window_rules.report()] == ["a", "b"]
        replica.rules = {"b": replica.rules["b"]}
        await replica.at(store, 60.0, 0.5)
        assert [said["model"] for said in replica.window_rules.report()] == ["b"]

    with_store(tmp_path, scenario)


def test_replicas_that_beat_at_the_same_time_tell_once(redis_server: RedisServer) -> None:
    made, told = replicas(5)

    async def scenario() -> None:
        model = fresh_model()
        stores = [RedisStatistics(read_address(redis_server.url, None), 1_000) for _ in made]
        for store, replica in zip(stores, made, strict=True):
            replica.rules = {model: ruleset(ZEROS)}
            await store.open()
        try:
            for minute, share in enumerate((0.5, 0.5, 0.5, 0.5, 0.1)):
                beats = [one.at(store, 60.0 * minute, share) for one, store in zip(made, stores, strict=True)]
                await asyncio.gather(*beats)
        finally:
            for store in stores:
                await store.close()

    run(scenario())
    assert [(said["state"], (said["at"] - START) / 60) for said in told.got] == [("firing", 2), ("ended", 4)]
    assert {tuple(one.words(240.0)) for one in made} == {("ok",)}
