"""A peer that is no Redis, or a broken one: whatever it says, a call returns or ends in StoreDownError."""

import asyncio
import itertools
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.stores.statistics import BucketWrite, StatisticsStore, StoreDownError
from tests.harness.redis_servers import PRIMARY, RedisServer
from tests.stores.statistics.backends import Backend, entity, key, record, with_stores

Said = None | int | bytes | str | list["Said"]

ERRORS = st.sampled_from(
    [
        "ERR what", "MOVED", "MOVED 1 h", "MOVED x y:z", "MOVED 1 127.0.0.1:1", "MOVED 1 :1", "ASK 1 127.0.0.1:99999999",
        "ASK 1 127.0.0.1:1", "WRONGTYPE x", "LOADING", "NOAUTH", "-", "", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "BUSY script",
    ]
)  # fmt: skip
SCALARS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=12) | ERRORS
REPLIES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
SLOTS = st.lists(
    st.lists(st.integers(-5, 20_000) | st.lists(SCALARS, max_size=3) | SCALARS, max_size=4), max_size=3
)


def resp(said: Said) -> bytes:
    """Return a reply as Redis writes it; a str is an error."""
    match said:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % said
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(said), said)
        case str():
            return b"-%b\r\n" % said.encode()
    return b"*%d\r\n" % len(said) + b"".join(resp(one) for one in said)


class Peer:
    """Answers the commands it gets with what it was told, in turn; CLUSTER SLOTS with `slots`, where port 77777 is its own."""

    def __init__(self, replies: Sequence[bytes], slots: bytes | None = None) -> None:
        self.replies = itertools.cycle(replies)
        self.slots = slots
        self.port = 0
        self.transports: list[asyncio.Transport] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Talk(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for transport in self.transports:
            transport.abort()

    def answer(self, command: bytes) -> bytes:
        """Return the reply to a command."""
        if command == b"CLIENT":
            return b"+OK\r\n"
        if command == b"CLUSTER" and self.slots is not None:
            return self.slots.replace(b":77777\r\n", b":%d\r\n" % self.port)
        return next(self.replies).replace(b":77777\r\n", b":%d\r\n" % self.port)


class _Talk(asyncio.Protocol):
    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._peer.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        for command in re.findall(rb"(?:^|\r\n)\*\d+\r\n\$\d+\r\n(\w*)", data):
            self._transport.write(self._peer.answer(command))


async def every_call(store: StatisticsStore) -> int:
    """Make every call there is; return how many failed as they may."""
    failures = 0
    for call in (
        store.put([BucketWrite(key("demand"), "w", b"1", 60)]),
        store.read([key("demand"), key("sales")]),
        store.offset(),
        store.state("demand", "s"),
        store.swap("demand", "s", b"1", b"2", 60),
        store.report("demand", "e", b"1"),
        store.report("demand", "e", b"1"),
        store.events("demand"),
        store.pull("demand", [entity(1), entity(2)]),
        store.push("demand", {entity(1): record(1), entity(2): record(2)}, 60),
    ):
        try:
            await call
        except StoreDownError:
            failures += 1
    return failures


@settings(max_examples=60)
@given(replies=st.lists(REPLIES, min_size=1, max_size=5))
def test_any_reply_to_any_command_is_a_result_or_a_sentence(replies: list[Said]) -> None:
    async def work() -> None:
        async with Peer([resp(one) for one in replies]) as peer:
            store = Backend("redis", f"redis://127.0.0.1:{peer.port}").store()
            failures = await every_call(store)
            assert store.status().failures == failures
            assert bool(store.status().problem) <= bool(failures)
            await store.close()

    asyncio.run(work())


@settings(max_examples=40)
@given(slots=SLOTS | REPLIES, replies=st.lists(REPLIES, min_size=1, max_size=3))
def test_any_list_of_slots_is_a_result_or_a_sentence(slots: Said, replies: list[Said]) -> None:
    async def work() -> None:
        async with Peer([resp(one) for one in replies], resp(slots)) as peer:
            store = Backend("cluster", f"redis+cluster://127.0.0.1:{peer.port}").store()
            await every_call(store)
            await store.close()

    asyncio.run(work())


@settings(max_examples=30)
@given(replies=st.lists(REPLIES, min_size=1, max_size=3))
def test_any_redirection_in_a_cluster_is_followed_once(replies: list[Said]) -> None:
    async def work() -> None:
        slots: Said = [[0, 16383, [b"127.0.0.1", 77777, b"id"]]]
        async with Peer([resp(one) for one in ["MOVED 1 :77777", *replies]], resp(slots)) as peer:
            store = Backend("cluster", f"redis+cluster://127.0.0.1:{peer.port}").store()
            await every_call(store)
            await store.close()

    asyncio.run(work())


@settings(max_examples=20)
@given(replies=st.lists(REPLIES, min_size=1, max_size=3))
def test_any_word_of_a_sentinel_is_a_sentence(replies: list[Said]) -> None:
    async def work() -> None:
        async with Peer([resp(one) for one in replies]) as peer:
            store = Backend("sentinel", f"redis+sentinel://127.0.0.1:{peer.port}/{PRIMARY}").store()
            await every_call(store)
            await store.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff" * 40,
        b"$99999999999999\r\n",
        b"*-7\r\n",
        b"*3\r\n:1",
        b"-\xff\xfe\r\n",
        b"-MOVED 1\r\n",
    ],
)
def test_what_is_no_redis_at_all_is_a_sentence(said: bytes) -> None:
    async def work() -> None:
        async with Peer([said]) as peer:
            store = Backend("redis", f"redis://127.0.0.1:{peer.port}").store()
            for _ in range(2):
                with pytest.raises(StoreDownError, match=f"Redis at 127.0.0.1:{peer.port} "):
                    await store.offset()
            await store.close()

    asyncio.run(work())


@pytest.mark.parametrize("guarded", [(), ("requirepass open-sesame",)])
def test_a_password_goes_to_the_primary_and_to_a_sentinel_that_asks(
    tmp_path: Path, guarded: tuple[str, ...]
) -> None:
    async def work(store: StatisticsStore, wrong: StatisticsStore) -> None:
        await store.open()
        await store.put([BucketWrite(key("demand"), "w", b"1", 60)])
        assert await store.read([key("demand")]) == [{"w": b"1"}]
        with pytest.raises(StoreDownError):
            await wrong.read([key("demand")])

    secret = "open-sesame"
    with ExitStack() as stack:
        primary = stack.enter_context(
            RedisServer(tmp_path / "p", (f"requirepass {secret}",), password=secret)
        )
        lines = (
            f"sentinel monitor {PRIMARY} 127.0.0.1 {primary.port} 1",
            f"sentinel auth-pass {PRIMARY} {secret}",
            *guarded,
        )
        sentinel = stack.enter_context(
            RedisServer(tmp_path / "s", lines, sentinel=True, password=secret if guarded else None)
        )
        address = f"127.0.0.1:{sentinel.port}/{PRIMARY}"
        stores = [
            Backend("sentinel", f"redis+sentinel://:{word}@{address}").store() for word in (secret, "wrong")
        ]
        with_stores(work, *stores, ready=False)
