"""Redis gone, paused, read-only, full: each call ends in a sentence, and the first one after it works."""

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from guardproxy.errors import StoreError
from guardproxy.stores.redis_statistics import CALL_S
from guardproxy.stores.statistics import BucketWrite, StatisticsStore, StoreDownError
from tests.harness.faults import FaultProxy, Faults
from tests.harness.redis_servers import RedisServer
from tests.stores.statistics.backends import entity, failure, fresh_model, key, on, record, with_stores


def test_a_killed_server_is_a_sentence_and_the_first_call_after_its_return_works(tmp_path: Path) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        await store.put([BucketWrite(key(model), "w", b"1", 60)])
        server.kill()
        for call in (store.put([BucketWrite(key(model), "w", b"1", 60)]), store.read([key(model)]), store.offset(),
                     store.state(model, "s"), store.swap(model, "s", None, b"1", 60), store.report(model, "e", b"1"),
                     store.events(model), store.pull(model, [entity(1)]), store.push(model, {entity(1): record(1)}, 60)):  # fmt: skip
            assert f"127.0.0.1:{server.port} cannot be reached" in await failure(call)
        down = store.status()
        assert down.failures == 9
        assert "cannot be reached" in down.problem
        assert down.since is not None
        server.start()
        assert await store.swap(model, "s", None, b"1", 60)
        assert (store.status().problem, store.status().since) == ("", None)

    with RedisServer(tmp_path) as server:
        with_stores(work, on(server.url))


def test_a_server_that_is_restarted_between_calls_is_not_noticed(tmp_path: Path) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        await store.put([BucketWrite(key(model), "w", b"1", 60)])
        server.kill()
        server.start()
        assert await store.swap(model, "s", None, b"1", 60)

    with RedisServer(tmp_path) as server:
        with_stores(work, on(server.url))


def test_a_server_that_is_away_at_the_start_is_no_reason_not_to_start(tmp_path: Path) -> None:
    async def work(store: StatisticsStore) -> None:
        server.kill()
        await store.open()
        assert "cannot be reached" in store.status().problem
        server.start()
        assert await store.state("demand", "s") is None

    with RedisServer(tmp_path) as server:
        with_stores(work, on(server.url), ready=False)


def test_a_paused_server_is_given_up_and_its_late_replies_are_nobodys(redis_server: RedisServer) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        await store.swap(model, "one", None, b"first", 60)
        redis_server.pause()
        try:
            said = await asyncio.gather(*(failure(store.state(model, "one")) for _ in range(6)))
            assert all("did not answer in time" in each for each in said)
        finally:
            redis_server.resume()
        assert (
            await asyncio.gather(*(store.state(model, name) for name in ("none", "one") * 4))
            == [
                None,
                b"first",
            ]
            * 4
        )

    with_stores(work, on(redis_server.url))


@pytest.mark.parametrize("turns", [1, 3, 6])
def test_a_loop_that_is_busy_with_requests_is_no_fault_of_the_server(
    redis_server: RedisServer, turns: int
) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        await store.swap(model, "one", None, b"first", 60)
        call = asyncio.create_task(store.state(model, "one"))
        for _ in range(turns):
            await asyncio.sleep(0)
        time.sleep(2 * CALL_S)  # noqa: ASYNC251 - the stall
        assert await call == b"first"
        assert store.status().failures == 0

    with_stores(work, on(redis_server.url))


def test_a_call_that_is_given_up_leaves_no_reply_behind(redis_server: RedisServer) -> None:
    model = fresh_model()

    async def ask_for(store: StatisticsStore, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while True:
                await store.state(model, "one")

    async def work(store: StatisticsStore) -> None:
        await store.swap(model, "one", None, b"first", 60)
        for seconds in (0.0, 0.0002, 0.0005, 0.001):
            with pytest.raises((TimeoutError, StoreDownError)):
                await ask_for(store, seconds)
            assert await store.state(model, "none") is None
            assert await store.pull(model, [entity(1)]) == [None]

    with_stores(work, on(redis_server.url))


def test_a_replica_says_that_it_cannot_be_written(tmp_path: Path, redis_server: RedisServer) -> None:
    where = key(fresh_model())

    async def work(store: StatisticsStore) -> None:
        assert "is a replica that cannot be written" in await failure(
            store.put([BucketWrite(where, "w", b"1", 60)])
        )
        assert "replica" in await failure(store.swap(where.model, "s", None, b"1", 60))
        assert await store.read([where]) == [{}]
        server.do("REPLICAOF", "NO", "ONE")
        await store.put([BucketWrite(where, "w", b"1", 60)])

    with RedisServer(
        tmp_path, (f"replicaof 127.0.0.1 {redis_server.port}", "replica-serve-stale-data yes")
    ) as server:
        with_stores(work, on(server.url))


def test_an_address_that_leads_to_another_primary_by_now_is_asked_anew(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    where = key(fresh_model())

    async def work() -> None:
        async with FaultProxy(replica.port) as proxy:
            store = on(f"redis://127.0.0.1:{proxy.port}/0")
            assert "is a replica" in await failure(store.put([BucketWrite(where, "w", b"1", 60)]))
            proxy.target = redis_server.port
            await store.put([BucketWrite(where, "w", b"1", 60)])
            assert await store.read([where]) == [{"w": b"1"}]
            await store.close()

    with RedisServer(tmp_path, (f"replicaof 127.0.0.1 {redis_server.port}",)) as replica:
        asyncio.run(work())


def test_a_server_without_memory_is_a_sentence_and_is_still_read(redis_server: RedisServer) -> None:
    where = key(fresh_model())

    async def work(store: StatisticsStore) -> None:
        await store.put([BucketWrite(where, "w", b"1", 60)])
        redis_server.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
        redis_server.do("CONFIG", "SET", "maxmemory", 1)
        try:
            for call in (
                store.put([BucketWrite(where, "w", b"2", 60)]),
                store.swap(where.model, "s", None, b"1", 60),
                store.report(where.model, "e", b"1"),
                store.push(where.model, {entity(1): record(1)}, 60),
            ):
                assert "is out of memory; raise its maxmemory" in await failure(call)
            assert await store.read([where]) == [{"w": b"1"}]
        finally:
            redis_server.do("CONFIG", "SET", "maxmemory", 0)
        await store.put([BucketWrite(where, "w", b"2", 60)])
        assert await store.report(where.model, "e", b"1")

    with_stores(work, on(redis_server.url))


@pytest.mark.parametrize("kind", ["black_hole_after", "end_after", "reset_after"])
def test_lost_replies_count_nothing_twice(redis_server: RedisServer, kind: str) -> None:
    model = fresh_model()

    async def work() -> None:
        async with FaultProxy(redis_server.port) as proxy:
            store = on(f"redis://127.0.0.1:{proxy.port}/0")

            async def lose(work: Coroutine[Any, Any, object]) -> None:
                """Let the server do what is asked, and lose all of its reply."""
                proxy.faults = Faults()
                await store.offset()
                proxy.faults = Faults(**{kind: 1})
                await failure(work)
                proxy.faults = Faults()

            for turn in range(2):
                where, name = key(model, turn), str(turn)
                for rows in (1, 2):
                    await lose(store.put([BucketWrite(where, "w", b"%d" % rows, 60)]))
                assert await store.read([where]) == [{"w": b"2"}]
                await store.put([BucketWrite(where, "w", b"3", 60)])
                await store.put([BucketWrite(where, "w", b"3", 60)])
                assert await store.read([where]) == [{"w": b"3"}]

                await lose(store.report(model, name, b"event"))
                assert (await store.events(model))[0] == (name, b"event")
                assert [await store.report(model, name, b"event") for _ in range(3)] == [True, False, False]
                await lose(store.report(model, name, b"event"))
                assert not await store.report(model, name, b"event")
                assert len(await store.events(model)) == turn + 1

                await lose(store.swap(model, name, None, b"mine", 60))
                assert not await store.swap(model, name, None, b"other", 60)
                assert await store.state(model, name) == b"mine"
            await store.close()

    asyncio.run(work())


@pytest.mark.parametrize("kind", ["end_after", "reset_after"])
def test_a_reply_that_is_cut_anywhere_is_a_failure_or_the_whole(redis_server: RedisServer, kind: str) -> None:
    model = fresh_model()

    async def cut(store: StatisticsStore) -> str:
        try:
            found = await store.pull(model, [entity(n) for n in range(4)])
        except StoreDownError:
            return "failed"
        assert found == [record(n) for n in range(4)]
        return "whole"

    async def work() -> None:
        async with FaultProxy(redis_server.port) as proxy:
            ends = set[str]()
            for after in range(1, 700, 23):
                proxy.faults = Faults()
                store = on(f"redis://127.0.0.1:{proxy.port}/0")
                await store.push(model, {entity(n): record(n) for n in range(4)}, 60)
                proxy.faults = Faults(**{kind: after})
                ends.add(await cut(store))
                await store.close()
            assert ends == {"failed", "whole"}

    asyncio.run(work())


def test_fifty_calls_at_once_share_four_connections(redis_server: RedisServer) -> None:
    model = fresh_model()

    async def work() -> None:
        async with FaultProxy(redis_server.port) as proxy:
            store = on(f"redis://127.0.0.1:{proxy.port}/0")
            await store.push(model, {entity(n): record(n) for n in range(50)}, 60)
            found = await asyncio.gather(*(store.pull(model, [entity(n)]) for n in range(50)))
            assert found == [[record(n)] for n in range(50)]
            assert proxy.connections <= 4
            await store.close()

    asyncio.run(work())


def test_a_server_that_is_no_cluster_says_so(redis_server: RedisServer) -> None:
    async def work(store: StatisticsStore) -> None:
        assert "cluster support disabled" in await failure(store.state("demand", "s"))

    with_stores(work, on(redis_server.url.replace("redis://", "redis+cluster://")))


def test_a_refused_password_keeps_the_proxy_from_starting(tmp_path: Path) -> None:
    async def work(*stores: StatisticsStore) -> None:
        right, wrong, none = stores
        await right.open()
        assert await right.state("demand", "s") is None
        for store, words in ((wrong, "refuses the password"), (none, "password")):
            with pytest.raises(StoreError, match=words) as caught:
                await store.open()
            assert not isinstance(caught.value, StoreDownError)
            assert "geheim" not in str(caught.value)

    with RedisServer(tmp_path, ("requirepass open-sesame",), password="open-sesame") as server:  # noqa: S106
        address = f"127.0.0.1:{server.port}"
        urls = (f"redis://:open-sesame@{address}/2", f"redis://:geheim@{address}/0", f"redis://{address}/0")
        with_stores(work, *(on(url) for url in urls), ready=False)
