"""Sentinel and Cluster while servers change places: failovers, slots on the move, the dead; nothing acknowledged is lost."""

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from guardproxy.stores.redis_keys import bucket_key
from guardproxy.stores.statistics import BucketWrite, StatisticsStore
from tests.harness.redis_servers import (
    ClusterServers,
    start_cluster,
    start_sentinels,
    wait_until,
)
from tests.stores.statistics.backends import (
    Backend,
    failure,
    fresh_model,
    key,
    on,
    put_until_it_works,
    with_stores,
)


def test_a_failover_in_the_middle_of_writes_loses_none_that_was_acknowledged(tmp_path: Path) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        failing = asyncio.create_task(asyncio.to_thread(fail_over))
        number = 0
        while not failing.done():
            number += 1
            await put_until_it_works(store, BucketWrite(key(model, number // 20), "w", b"%d" % number, 60))
        await failing
        number += 20
        await put_until_it_works(store, BucketWrite(key(model, number // 20), "w", b"%d" % number, 60))
        found = await store.read([key(model, bucket) for bucket in range(1, number // 20)])
        last = number // 20 - 2
        assert [int(blobs["w"]) for blobs in found][:last] == [
            20 * bucket + 19 for bucket in range(1, last + 1)
        ]
        assert servers.primary.do("HGET", bucket_key(key(model, number // 20)), "w") == b"%d" % number

    def fail_over() -> None:
        servers.failover()
        time.sleep(
            0.2
        )  # the old primary acknowledges what nobody will have, until the sentinel makes it a replica:
        servers.replica.do(
            "REPLICAOF", "127.0.0.1", servers.primary.port
        )  # here at once, by itself after 8 s
        servers.replica.do("CLIENT", "KILL", "TYPE", "normal")

    with ExitStack() as stack:
        servers = start_sentinels(tmp_path, stack)
        with_stores(work, on(servers.url))


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_when_the_primary_dies_the_replica_that_sentinels_raise_goes_on(tmp_path: Path, how: str) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        await put_until_it_works(store, BucketWrite(key(model), "w", b"1", 60))
        await asyncio.to_thread(_wait_synced)
        servers.sentinels[0].pause()
        await store.put([BucketWrite(key(model), "w", b"2", 60)])
        servers.sentinels[0].resume()
        getattr(servers.primary, how)()
        await failure(store.put([BucketWrite(key(model), "w", b"3", 60)]))
        assert await put_until_it_works(store, BucketWrite(key(model), "w", b"3", 60)) >= 0
        assert servers.replica.do("HGET", bucket_key(key(model)), "w") == b"3"

    def _wait_synced() -> None:
        wait_until(servers.synced, "a replica that is up to date")

    with ExitStack() as stack:
        servers = start_sentinels(tmp_path, stack, count=3)
        with_stores(work, on(servers.url))


def test_sentinels_that_are_away_or_know_no_such_primary_are_a_sentence(tmp_path: Path) -> None:
    async def work(store: StatisticsStore, other: StatisticsStore) -> None:
        assert "no sentinel names a primary 'nobody'" in await failure(other.state("demand", "s"))
        assert await store.state("demand", "s") is None

    with ExitStack() as stack:
        servers = start_sentinels(tmp_path, stack)
        with_stores(work, on(servers.url), on(servers.url.replace("/guarded/", "/nobody/")))


def test_a_slot_on_the_move_is_followed(redis_cluster: ClusterServers) -> None:
    model = fresh_model()
    writes = [BucketWrite(key(model, bucket), "w", b"1", 60) for bucket in range(3)]
    name = bucket_key(writes[0].key)

    async def work(store: StatisticsStore) -> None:
        await store.put(writes[:1])
        old, new = redis_cluster.begin_move(name)
        await store.put(
            writes
        )  # the first bucket is still with the old one, the others are the new one's already
        assert await store.read([write.key for write in writes]) == [{"w": b"1"}] * 3
        assert await store.swap(model, "s", None, b"1", 60)
        redis_cluster.end_move(name, old, new)
        assert await store.state(model, "s") == b"1"
        assert await store.read([write.key for write in writes]) == [{"w": b"1"}] * 3
        assert await store.swap(model, "s", b"1", b"2", 60)
        assert store.status().failures == 0

    with_stores(work, Backend("cluster", redis_cluster.url).store())


def test_of_a_cluster_with_a_dead_server_the_rest_still_answers(tmp_path: Path) -> None:
    models = [fresh_model() for _ in range(12)]

    async def work(store: StatisticsStore) -> None:
        for model in models:
            await store.put([BucketWrite(key(model), "w", b"1", 60)])
        dead = cluster.nodes[0]
        on_dead = [cluster.owner(bucket_key(key(model))) is dead for model in models]
        assert {True, False} == set(on_dead)
        dead.kill()
        for model, gone in zip(models, on_dead, strict=True):
            if gone:
                await failure(store.put([BucketWrite(key(model), "w", b"2", 60)]))
            else:
                await put_until_it_works(store, BucketWrite(key(model), "w", b"2", 60))
        await failure(store.put([BucketWrite(key(model), "w", b"2", 60) for model in models]))
        dead.start()
        for model in models:
            await put_until_it_works(store, BucketWrite(key(model), "w", b"3", 60))

    with ExitStack() as stack:
        cluster = start_cluster(tmp_path, stack)
        with_stores(work, on(cluster.url))
