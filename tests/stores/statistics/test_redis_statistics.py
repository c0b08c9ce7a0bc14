"""Redis: addresses, permissions, lives of keys, and what somebody else has put there."""

import asyncio
import re
import ssl
import subprocess
from pathlib import Path
from typing import Self

import pytest

from guardproxy.errors import StoreError
from guardproxy.stores.opening import open_statistics
from guardproxy.stores.redis_keys import bucket_key, event_keys, shard_count, shard_key, state_key
from guardproxy.stores.redis_urls import Kind, RedisAddress, Server, read_address
from guardproxy.stores.statistics import MAX_BLOB, BucketWrite, StatisticsStore, StoreDownError
from tests.harness.faults import FaultProxy
from tests.harness.redis_servers import ClusterServers, RedisServer
from tests.shared import ROOT
from tests.stores.statistics.backends import Backend, entity, fresh_model, key, record, with_stores

SHARDS = shard_count(1_000)


def on(url: str, password: str | None = None) -> StatisticsStore:
    """Return a store at an address, as the configuration opens it."""
    return open_statistics(url, Path("guardproxy.db"), password, 1_000)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host", RedisAddress(Kind.STANDALONE, (Server("host", 6379),))),
        (
            "redis://ann:p%40ss@[::1]:7000/3",
            RedisAddress(Kind.STANDALONE, (Server("::1", 7000),), "", 3, "ann", "p@ss"),
        ),
        (
            "rediss://h:1/0?ca=/etc/ca.pem",
            RedisAddress(Kind.STANDALONE, (Server("h", 1),), tls=True, files=(("ca", "/etc/ca.pem"),)),
        ),
        (
            "redis+sentinel://:s3@a:1,b/my%20own/2",
            RedisAddress(Kind.SENTINEL, (Server("a", 1), Server("b", 26379)), "my own", 2, None, "s3"),
        ),
        ("rediss+cluster://a,b:2", RedisAddress(Kind.CLUSTER, (Server("a", 6379), Server("b", 2)), tls=True)),
    ],
)
def test_an_address_is_read_into_its_parts(url: str, address: RedisAddress) -> None:
    assert read_address(url) == address


def test_the_password_of_the_file_goes_before_the_one_in_the_address() -> None:
    address = read_address("redis://u:old@h/0", "new")
    assert address.password == "new"
    assert "new" not in repr(address)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "http scheme is not known"),
        ("h:6379", "scheme is not known"),
        ("redis://u:geheim@", "it names no server"),
        ("redis://u:geheim@h:port/0", "Port could not be cast"),
        ("redis://u:geheim@a,b/0", "it names several servers"),
        ("redis://h/zero", "the database must be a number"),
        ("redis://h/0/1", "the database must be a number"),
        ("redis+sentinel://u:geheim@h:26379", "it does not name the primary"),
        ("redis+cluster://h/1", "a cluster has only database 0"),
        ("redis+cluster://" + ",".join(["h"] * 65), "more than 64 servers"),
        ("redis://h/0?ca=x", "go with rediss:// only"),
        ("rediss://h/0?key=x", "a key needs its cert"),
        ("rediss://h/0?verify=no", "verify is no setting"),
    ],
)
def test_a_bad_address_is_a_sentence_without_its_password(url: str, words: str) -> None:
    with pytest.raises(StoreError) as caught:
        on(url)
    assert words in str(caught.value)
    assert "write redis://HOST:6379/0" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_every_key_lives_as_long_as_it_was_told(redis_server: RedisServer) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        await store.put([BucketWrite(key(model), "w", b"1", 100)])
        await store.swap(model, "s", None, b"1", 200)
        await store.push(model, {entity(1): record(1)}, 300)
        await store.report(model, "e", b"1")
        lives = [
            redis_server.do("PTTL", name)
            for name in (
                bucket_key(key(model)),
                state_key(model, "s"),
                shard_key(model, entity(1), SHARDS),
                *event_keys(model),
            )
        ]
        for life, seconds in zip(lives, (100, 200, 300, 400 * 86_400, 400 * 86_400), strict=True):
            assert isinstance(life, int)
            assert 0 < life <= 1_000 * seconds
        redis_server.do("PEXPIRE", bucket_key(key(model)), 1_000)
        await store.put([BucketWrite(key(model), "other", b"1", 100)])
        assert redis_server.do("TTL", bucket_key(key(model))) in range(50, 101)

    with_stores(work, on(redis_server.url))


def test_what_somebody_else_put_there_is_left_out_and_counted(redis_server: RedisServer) -> None:
    model = fresh_model()
    where = [key(model, bucket) for bucket in range(3)]

    async def work(store: StatisticsStore) -> None:
        redis_server.do("LPUSH", bucket_key(where[0]), "theirs")
        redis_server.do(
            "HSET", bucket_key(where[1]), b"\xff\xfe", b"\0", "huge", bytes(MAX_BLOB + 1), "w", "1"
        )
        redis_server.do("HSET", state_key(model, "s"), "a", "b")
        redis_server.do("SET", state_key(model, "huge"), bytes(MAX_BLOB + 1))
        redis_server.do("SET", shard_key(model, entity(1), SHARDS), "theirs")
        other = next(
            n
            for n in range(2, 99)
            if shard_key(model, entity(n), SHARDS) != shard_key(model, entity(1), SHARDS)
        )
        redis_server.do("HSET", shard_key(model, entity(other), SHARDS), entity(other), bytes(200))
        found = await store.read(where)
        assert (found[0], found[1]["w"], len(found[1]), found[2]) == ({}, b"1", 2, {})
        assert (await store.state(model, "s"), await store.state(model, "huge")) == (None, None)
        assert await store.pull(model, [entity(1), entity(other)]) == [None, None]
        assert store.status().skipped == 6
        await store.put([BucketWrite(one, "w", b"2", 60) for one in where])
        assert await store.read(where[2:]) == [{"w": b"2"}]
        assert (
            f"the key {bucket_key(where[0]).decode()} holds what is not guardproxy's"
            in store.status().skipped_why
        )
        await store.push(model, {entity(1): record(1), entity(other): record(2)}, 60)
        assert await store.pull(model, [entity(1), entity(other)]) == [None, record(2)]
        assert (store.status().failures, store.status().problem) == (0, "")

    with_stores(work, on(redis_server.url))


def test_events_in_somebody_elses_hands_stop_nothing(redis_server: RedisServer) -> None:
    model = fresh_model()
    order, events = event_keys(model)

    async def work(store: StatisticsStore) -> None:
        redis_server.do("ZADD", order, 1, "no event of this id", 2, b"\xff")
        assert await store.report(model, "e", b"mine")
        assert await store.events(model) == [("e", b"mine")]
        redis_server.do("DEL", order, events)
        redis_server.do("SET", order, "theirs")
        assert await store.report(model, "e", b"mine")
        assert await store.events(model) == []
        redis_server.do("SET", events, "theirs")
        assert await store.report(model, "f", b"mine")
        redis_server.do("SADD", state_key(model, "s"), 1)
        assert not await store.swap(model, "s", b"x", b"y", 60)
        assert (store.status().failures, store.status().problem) == (0, "")

    with_stores(work, on(redis_server.url))


def test_a_full_shard_stays_packed(redis_server: RedisServer) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        for start in range(0, 4_000, 50):
            await store.push(model, {entity(n): record(n) for n in range(start, start + 50)}, 60)
        shards = {shard_key(model, entity(n), SHARDS) for n in range(4_000)}
        assert len(shards) == SHARDS
        for shard in shards:
            assert redis_server.do("OBJECT", "ENCODING", shard) in (b"listpack", b"ziplist")

    with_stores(work, on(redis_server.url))


def test_one_servers_worth_of_pulls_is_one_round_trip(redis_server: RedisServer) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        await store.push(model, {entity(n): record(n) for n in range(500)}, 60)
        before = redis_server.client().info("stats")
        await store.pull(model, [entity(n) for n in range(500)])
        after = redis_server.client().info("stats")
        assert after["total_commands_processed"] - before["total_commands_processed"] <= SHARDS + 10

    with_stores(work, on(redis_server.url))


def test_entities_spread_over_a_cluster_and_counters_of_a_model_do_not(redis_cluster: ClusterServers) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        await store.push(model, {entity(n): record(n) for n in range(200)}, 60)
        owners = {redis_cluster.owner(shard_key(model, entity(n), SHARDS)).port for n in range(200)}
        assert len(owners) == 3
        one_place = (
            bucket_key(key(model)),
            bucket_key(key(model, 5, "recent")),
            state_key(model, "s"),
            *event_keys(model),
        )
        assert len({redis_cluster.owner(name).port for name in one_place}) == 1

    with_stores(work, Backend("cluster", redis_cluster.url).store())


async def _everything(store: StatisticsStore, model: str) -> None:
    await store.put([BucketWrite(key(model), "w", b"1", 60)])
    assert await store.read([key(model)]) == [{"w": b"1"}]
    assert await store.swap(model, "s", None, b"1", 60)
    assert await store.state(model, "s") == b"1"
    for number in range(1_002):
        assert await store.report(model, str(number), b"1")
    assert len(await store.events(model)) == 100
    for start in range(0, 3_000, 1_000):
        await store.push(model, {entity(n): record(n) for n in range(start, start + 1_000)}, 60)
    assert await store.pull(model, [entity(2_999)]) == [record(2_999)]
    await store.offset()


def test_the_user_of_the_documentation_may_do_all_that_is_needed(redis_server: RedisServer) -> None:
    (rules,) = re.findall(
        r"^ACL SETUSER guardproxy (.*)$", (ROOT / "docs/statistics.md").read_text(), re.MULTILINE
    )
    redis_server.do("ACL", "SETUSER", "guardproxy", "reset", *rules.replace("PASSWORD", "a:b/c@d").split())
    address = f"127.0.0.1:{redis_server.port}"
    with_stores(
        lambda store: _everything(store, fresh_model()), on(f"redis://guardproxy:a%3Ab%2Fc%40d@{address}/0")
    )
    with_stores(
        lambda store: _everything(store, fresh_model()), on(f"redis://guardproxy@{address}/0", "a:b/c@d")
    )


def test_the_user_of_the_documentation_is_enough_in_a_cluster(redis_cluster: ClusterServers) -> None:
    (rules,) = re.findall(
        r"^ACL SETUSER guardproxy (.*)$", (ROOT / "docs/statistics.md").read_text(), re.MULTILINE
    )
    for node in redis_cluster.nodes:
        words = [*rules.replace("PASSWORD", "p").split(), "+cluster|slots", "+asking"]
        node.do("ACL", "SETUSER", "guardproxy", "reset", *words)
    url = redis_cluster.url.replace("://", "://guardproxy:p@")
    with_stores(lambda store: _everything(store, fresh_model()), on(url))


def test_a_permission_that_is_missing_is_named(redis_server: RedisServer) -> None:
    redis_server.do("ACL", "SETUSER", "few", "on", ">p", "~gp:*", "+time", "+hset", "+expire")
    redis_server.do("ACL", "SETUSER", "none", "on", ">p", "-@all")
    address = f"127.0.0.1:{redis_server.port}"

    async def work(few: StatisticsStore, none: StatisticsStore) -> None:
        await few.open()
        await few.put([BucketWrite(key("demand"), "w", b"1", 60)])
        with pytest.raises(StoreDownError, match=r"does not permit its user what is needed .*hgetall"):
            await few.read([key("demand")])
        with pytest.raises(StoreError, match="see the ACL rules"):
            await none.open()

    with_stores(work, on(f"redis://few:p@{address}"), on(f"redis://none:p@{address}"), ready=False)


class TlsFront(FaultProxy):
    """Speaks TLS before a server that does not, and wants to know who comes."""

    def __init__(self, target: int, folder: Path) -> None:
        super().__init__(target)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "server.pem"))
        self._context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._context.verify_mode = ssl.CERT_REQUIRED

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self


def test_tls_asks_for_a_certificate_that_is_trusted(tmp_path: Path, redis_server: RedisServer) -> None:
    _make_certificates(tmp_path)
    model = fresh_model()

    async def work() -> None:
        async with TlsFront(redis_server.port, tmp_path) as front:
            address = f"rediss://localhost:{front.port}/0"
            trusted = f"{address}?ca={tmp_path / 'server.pem'}"
            good = on(f"{trusted}&cert={tmp_path / 'server.pem'}&key={tmp_path / 'server.key'}")
            await good.put([BucketWrite(key(model), "w", b"1", 60)])
            assert await good.read([key(model)]) == [{"w": b"1"}]
            await good.close()
            with pytest.raises(StoreDownError, match="cannot be reached"):
                await on(trusted).offset()
            with pytest.raises(StoreDownError, match="certificate verify failed"):
                await on(address).offset()

    asyncio.run(work())


def _make_certificates(folder: Path) -> None:
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {folder}/server.key -out {folder}/server.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
