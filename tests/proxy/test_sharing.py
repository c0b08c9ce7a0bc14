"""What replicas share of their entities' past: one store, real servers, no reply that waits for them longer than it may."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guardproxy.config import Config
from guardproxy.decision import Decision
from guardproxy.proxy import sharing as sharing_module
from guardproxy.proxy.grpc.plane import INFER
from guardproxy.proxy.history import History
from guardproxy.proxy.sharing import Sharing
from guardproxy.service import Service
from guardproxy.stats.entity import MIN_ANSWERS
from guardproxy.stores.opening import open_statistics
from guardproxy.stores.statistics import StatisticsStore, StoreDownError
from guardproxy.table import Cell, table_from_records
from tests.harness.grpc_upstream import answering
from tests.harness.grpc_upstream import ask as grpc_ask
from tests.harness.loop import run, until
from tests.harness.redis_servers import RedisServer
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy import test_grpc
from tests.proxy.serving import ask, demand, infer, serving

BY = ("store",)
START = 1_700_000_000.0
DAY = 86_400.0
PATIENT_S = 10.0
"""A wait that a test never comes to the end of."""


class Replica:
    """One process's past with its share of the others'."""

    def __init__(self, store: StatisticsStore, season: str = "weekday", wait_s: float = PATIENT_S) -> None:
        self.store = store
        self.now = START
        self.history = History((BY,), season=season)
        self.sharing = Sharing("m", self.history, wait_s=wait_s, clock=lambda: self.now)

    def answer(self, store: Cell, value: Cell, at: float) -> None:
        none = np.zeros((0, 1), dtype=np.uint8)
        decision = Decision("m", "f", 1, np.zeros(1, dtype=np.uint8), (), none)
        self.now = max(self.now, at)
        self.history.remember(
            table_from_records([{"store": store}]), table_from_records([{"demand": value}]), decision, at
        )
        self.history.learn()

    async def beat(self) -> None:
        await self.sharing.beat(self.store, self.now)

    async def ask(self, *stores: Cell) -> bool:
        """Ask for entities as a request does and wait for it; tell whether there was anything to read."""
        reading = self.sharing.ask(table_from_records([{"store": store} for store in stores]))
        if reading is None:
            return False
        await reading.wait()
        return True

    def last(self, store: Cell) -> Cell:
        found = self.history.previous(BY, (store,), self.now)
        return None if found is None else found["demand"]

    def median(self, store: Cell) -> Cell:
        return self.history.estimate("rolling_median", BY, (store,), "demand", self.now, None)


@asynccontextmanager
async def opened(
    address: str | None, folder: Path, count: int = 1, max_entities: int = 1_000
) -> AsyncIterator[Sequence[StatisticsStore]]:
    stores = [open_statistics(address, folder / "holds.db", None, max_entities) for _ in range(count)]
    for store in stores:
        await store.open()
    try:
        yield stores
    finally:
        for store in stores:
            await store.close()


@pytest.fixture(params=["sqlite", "redis"])
def address(request: pytest.FixtureRequest, redis_server: RedisServer) -> str | None:
    redis_server.do("FLUSHALL")
    return None if request.param == "sqlite" else redis_server.url


@pytest.mark.parametrize("season", ["weekday", "hour"])
def test_what_one_replica_answered_another_knows(address: str | None, tmp_path: Path, season: str) -> None:
    async def scenario() -> None:
        async with opened(address, tmp_path, 2) as (one, other):
            first, second = Replica(one, season), Replica(other, season)
            for day in range(MIN_ANSWERS):
                first.answer("a", 10.25 + day, START + day * DAY)
                first.answer("text", "low", START + day * DAY)
            await first.beat()
            second.now = first.now
            await second.beat()
            assert await second.ask("a", "text", "stranger")
            assert [second.last(name) for name in ("a", "text", "stranger")] == [17.25, "low", None]
            assert second.median("a") == first.median("a") == pytest.approx(13.75, rel=0.001)
            now = first.now + DAY
            for kind in ("seasonal", "auto"):
                both = [
                    each.history.estimate(kind, BY, ("a",), "demand", now, None) for each in (first, second)
                ]
                assert both[0] == both[1] is not None
            assert (second.sharing.reads, second.sharing.found) == (1, 2)

    run(scenario())


def test_replicas_that_take_turns_add_up_to_one_past(address: str | None, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(address, tmp_path, 2) as stores:
            replicas = [Replica(store) for store in stores]
            alone = Replica(stores[0])
            for number in range(12):
                at = START + number * DAY
                replicas[number % 2].answer("a", 10.0 + number, at)
                alone.answer("a", 10.0 + number, at)
                await replicas[number % 2].beat()
            reader = Replica(stores[1])
            reader.now = alone.now
            await reader.beat()
            await reader.ask("a")
            assert (reader.last("a"), reader.median("a")) == (21.0, alone.median("a"))
            # The last one to push has seen it all.
            assert replicas[1].median("a") == alone.median("a")

    run(scenario())


def test_a_push_that_is_repeated_or_late_changes_nothing(address: str | None, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(address, tmp_path) as (store,):
            first, late = Replica(store), Replica(store)
            for number in range(3):
                first.answer("a", 5.0 + number, START + 100 + number)
            taken = list(first.history.told or ())
            await first.beat()
            first.sharing._told.extend(taken)
            late.answer("a", 99.0, START)
            for each in (first, late):
                await each.beat()
            reader = Replica(store)
            await reader.beat()
            await reader.ask("a")
            assert (reader.last("a"), reader.median("a")) == (7.0, pytest.approx(6.0, rel=0.001))

    run(scenario())


def test_an_entity_that_is_known_here_is_not_asked_for_until_it_was_silent_for_long(
    address: str | None, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with opened(address, tmp_path, 2) as (one, other):
            first, second = Replica(one), Replica(other)
            first.answer("a", 1.0, START)
            await first.beat()
            assert not await first.ask("a", None)
            second.answer("a", 2.0, START + 30)
            await second.beat()
            first.now = START + 31
            assert not await first.ask("a")
            first.now = START + sharing_module.STALE_S + 1
            reading = first.sharing.ask(table_from_records([{"store": "a"}]))
            assert reading is not None
            # Nobody waits for it: what is known here will do.
            assert not reading.pending
            await until(lambda: first.last("a") == 2.0, "the other replica's answer")
            assert not await first.ask("a")

    run(scenario())


def test_who_is_unknown_to_the_store_is_not_asked_for_again_within_a_minute(
    address: str | None, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with opened(address, tmp_path) as (store,):
            replica = Replica(store)
            replica.answer("a", 1.0, START)
            await replica.beat()
            assert await replica.ask("b")
            assert not await replica.ask("b")
            replica.now += sharing_module.ABSENT_S + 1
            assert await replica.ask("b")

    run(scenario())


def test_a_request_asks_for_a_bounded_number_of_entities(
    address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing_module, "MAX_ASKED", 10)
    monkeypatch.setattr(sharing_module, "SLICE", 7)

    async def scenario() -> None:
        async with opened(address, tmp_path, 2) as (one, other):
            first, second = Replica(one), Replica(other)
            for number in range(40):
                first.answer(float(number), 1.0 + number, START)
            await first.beat()
            assert (first.sharing.pushed, first.sharing.unshared) == (40, 0)
            await second.beat()
            await second.ask(*(float(number) for number in range(40)))
            assert (second.sharing.found, second.sharing.unasked) == (10, 30)

    run(scenario())


def test_beyond_the_bound_those_that_waited_longest_are_not_shared_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing_module, "MAX_UNSHARED", 3)

    async def scenario() -> None:
        async with opened(None, tmp_path) as (store,):
            replica = Replica(store)
            for number in range(5):
                replica.answer(float(number), 1.0, START)
            assert (replica.sharing.unshared, replica.sharing.dropped) == (3, 2)
            await replica.beat()
            assert replica.sharing.as_json()["pushed"] == 3

    run(scenario())


def test_what_cannot_be_pushed_waits_and_what_fits_into_no_record_stays_here(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    with RedisServer(tmp_path_factory.mktemp("own")) as server:

        async def scenario() -> None:
            async with opened(server.url, tmp_path) as (store,):
                replica = Replica(store)
                replica.answer("a", 1.0, START)
                replica.answer("long", "x" * 100, START)
                await replica.beat()
                assert replica.sharing.local_only == 1
                server.kill()
                replica.answer("a", 2.0, START + 1)
                with pytest.raises(StoreDownError):
                    await replica.beat()
                assert (replica.sharing.unshared, replica.sharing.failures) == (1, 1)
                # While it is away no request asks.
                assert not await replica.ask("z")
                assert replica.sharing.unasked == 1
                server.start()
                await replica.beat()
                reader = Replica(store)
                await reader.beat()
                await reader.ask("a")
                assert (replica.sharing.unshared, reader.last("a")) == (0, 2.0)

        run(scenario())


def test_a_replica_that_is_behind_in_event_time_undoes_no_later_answer_of_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(None, tmp_path, 2) as (one, two):
            ahead, behind = Replica(one), Replica(two)
            ahead.answer("a", 12.0, START + DAY)
            await ahead.beat()
            behind.answer("a", 5.0, START)
            behind.now = START + 2 * DAY
            await behind.sharing.beat(two, START)

            third = Replica(one)
            third.now = behind.now
            await third.beat()
            assert await third.ask("a")
            assert (third.last("a"), behind.sharing.damaged) == (12.0, 0)

    run(scenario())


def test_damaged_records_and_those_of_a_clock_far_ahead_are_taken_for_none_and_counted(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with opened(None, tmp_path) as (store,):
            first = Replica(store)
            first.answer("a", 1.0, START)
            first.answer("b", 1.0, START + 1_000_000)
            await first.beat()
            records = first.sharing._records_of([(BY, ("a",))])
            await store.push("m", {records.ids[0]: b"\x7f" * 56}, 3_600)
            reader = Replica(store)
            await reader.beat()
            await reader.ask("a", "b")
            assert (reader.last("a"), reader.last("b"), reader.sharing.damaged) == (None, None, 2)

    run(scenario())


# ---------------------------------------------------------------- whole proxies

RULES = """\
guardproxy: 1
model: demand
owner: ops
rules:
  - id: not-negative
    range: {field: output.demand, min: 0}
    action: fallback
    fallback: [last_good, {value: 5}]
"""


def config(server: RedisServer, wait_s: float = PATIENT_S) -> Config:
    return replace(Config(), statistics_store=server.url, history_wait_s=wait_s)


def sharing_of(service: Service) -> Sharing:
    return service.plane.routes[0].sharing


async def answered(service: Service, store: str) -> float:
    response = await ask(service, infer([1.0], store))
    assert response.status == 200
    return float(json.loads(response.body)["outputs"][0]["data"][0])


def test_a_fallback_takes_the_last_good_value_that_another_replica_served(redis_server: RedisServer) -> None:
    redis_server.do("FLUSHALL")

    async def scenario() -> None:
        values = iter([40.0, -1.0, -1.0])

        async def answer(_request: object, writer: asyncio.StreamWriter) -> None:
            writer.write(ok(demand([next(values)])))

        async with (
            RecorderUpstream(answer) as upstream,
            serving(upstream.port, rules=RULES, config=config(redis_server)) as first,
            serving(upstream.port, rules=RULES, config=config(redis_server)) as second,
        ):
            assert await answered(first, "a") == 40.0
            await until(lambda: sharing_of(first).pushed, "the first replica's push")
            await until(lambda: sharing_of(second)._outputs, "the second replica's beat")
            assert await answered(second, "a") == 40.0
            assert await answered(second, "b") == 5.0
            assert sharing_of(second).late == 0

    run(scenario())


def test_over_grpc_another_replicas_answer_is_the_fallback_too(redis_server: RedisServer) -> None:
    redis_server.do("FLUSHALL")
    more = f"statistics: {{store: '{redis_server.url}'}}\nhistory: {{wait: 1s}}\n"

    async def scenario() -> None:
        async with opened(redis_server.url, Path("unused"), 1, Config().history_max_entities) as (store,):
            other = Sharing("demand", History((BY,)), wait_s=0.0, clock=time.time)
            none = np.zeros((0, 1), dtype=np.uint8)
            other.history.remember(
                table_from_records([{"store": "s1"}]),
                table_from_records([{"demand": 40.0}]),
                Decision("demand", "f", 1, np.zeros(1, dtype=np.uint8), (), none),
                time.time(),
            )
            await other.beat(store, time.time())
            async with test_grpc.pair(answering(test_grpc.demand([-1.0])), rules=RULES, root=more) as (
                _,
                service,
                channel,
            ):
                await until(lambda: sharing_of(service)._outputs, "a beat")
                reply = await grpc_ask(channel, INFER, test_grpc.xs([1.0]))
                assert reply.body == test_grpc.demand([40.0])
                assert (sharing_of(service).found, sharing_of(service).late) == (1, 0)

    run(scenario())


def test_a_known_entity_costs_no_round_trip(redis_server: RedisServer) -> None:
    redis_server.do("FLUSHALL")

    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([40.0]))) as upstream,
            serving(upstream.port, rules=RULES, config=config(redis_server)) as service,
        ):
            await answered(service, "a")
            await until(lambda: sharing_of(service).pushed, "a push")
            service.built.statistics.paused = True
            async with service.built.statistics._lock:
                before = redis_server.client().info("commandstats")
                for _ in range(20):
                    await answered(service, "a")
                after = redis_server.client().info("commandstats")
            assert {
                name: one["calls"] for name, one in after.items() if "hmget" in name or "hget" in name
            } == {name: one["calls"] for name, one in before.items() if "hmget" in name or "hget" in name}
            assert sharing_of(service).reads == 0

    run(scenario())


def test_no_reply_waits_longer_than_it_may_for_a_store_that_is_stuck(redis_server: RedisServer) -> None:
    redis_server.do("FLUSHALL")

    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([-1.0]))) as upstream,
            serving(upstream.port, rules=RULES, config=config(redis_server, wait_s=0.001)) as service,
        ):
            sharing = sharing_of(service)
            await until(lambda: sharing._store is not None, "a beat")
            sharing._outputs["demand"] = None
            service.built.statistics.paused = True
            redis_server.pause()
            try:
                assert await answered(service, "unknown") == 5.0
                assert (sharing.late, sharing.reads) == (1, 1)
                await until(lambda: sharing.failures, "the store's time-out")
                began = time.monotonic()
                assert await answered(service, "another") == 5.0
                assert sharing.unasked == 1
                assert time.monotonic() - began < PATIENT_S
            finally:
                redis_server.resume()
                service.built.statistics.paused = False

    run(scenario())


def test_what_was_answered_last_is_shared_before_the_end(redis_server: RedisServer) -> None:
    redis_server.do("FLUSHALL")

    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([40.0]))) as upstream:
            async with serving(upstream.port, rules=RULES, config=config(redis_server)) as service:
                await until(lambda: sharing_of(service)._store is not None, "a beat")
                service.built.statistics.paused = True
                await answered(service, "a")
            async with serving(upstream.port, rules=RULES, config=config(redis_server)) as service:
                await until(lambda: sharing_of(service)._outputs, "the new one's beat")
                await answered(service, "a")
                assert sharing_of(service).found == 1

    run(scenario())


def test_what_waits_while_the_store_is_away_is_bounded_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing_module, "MAX_UNSHARED", 3)

    async def scenario() -> None:
        async with opened(None, tmp_path) as (store,):
            replica = Replica(store)
            for number in range(50):
                replica.answer(f"store {number}", 1.0, START + number)
                replica.sharing.learn()
                assert len(replica.sharing._told) == 0
            assert (replica.sharing.unshared, replica.sharing.dropped) == (3, 47)

    run(scenario())


def test_names_of_outputs_that_cannot_be_read_are_counted_and_written_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(None, tmp_path) as (store,):
            await store.swap("m", sharing_module.OUTPUTS_STATE, None, b"\xff\xfe", 60)
            replica = Replica(store)
            replica.answer("a", 4.0, START)
            await replica.beat()
            assert replica.sharing.damaged == 1
            assert await store.state("m", sharing_module.OUTPUTS_STATE) == b"demand"

    run(scenario())
