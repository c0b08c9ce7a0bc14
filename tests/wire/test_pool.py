"""Which connection a call gets: reuse, surplus bytes, retries."""

from __future__ import annotations

import asyncio

import pytest

from guardproxy.wire import Timeouts, parse_origin
from tests.harness.apps import App, Guarding, PassThrough, pool_for, serving
from tests.harness.client import RawClient
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok


@pytest.mark.parametrize("behind", ["same segment", "next segment", "later"])
@pytest.mark.parametrize("guarded", [False, True])
def test_none_of_8000_responses_reaches_a_wrong_request(behind: str, guarded: bool) -> None:
    """Every seventh response is followed by another that nobody asked for."""
    evil = ok(b"EVIL")

    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        response = ok(request.target)
        surplus = int(request.target[1:]) % 7 == 0
        if surplus and behind == "same segment":
            response += evil
        writer.write(response)
        await writer.drain()
        if surplus and behind == "next segment":
            writer.write(evil)
        elif surplus and behind == "later":
            await asyncio.sleep(0)
            writer.write(evil)

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                wrong = 0

                async def client(first: int) -> None:
                    nonlocal wrong
                    raw = await RawClient.connect(server.port)
                    for number in range(first, first + 84):
                        response = await raw.exchange(b"GET /%d HTTP/1.1\r\nHost: g\r\n\r\n" % number)
                        wrong += (response.status, response.body) != (200, b"/%d" % number)

                # 16 clients x 84 in six variants: 8,064 responses. A surplus that comes late can be told from an answer
                # only while its connection rests, so there the clients come one after the other.
                if behind == "later":
                    for n in range(16):
                        await client(100 * n)
                else:
                    await asyncio.gather(*(client(100 * n) for n in range(16)))
                assert wrong == 0
                assert pool.surplus_closes + pool.stale_closes > 0

    run(scenario())


def test_a_byte_on_an_idle_connection_closes_it_and_the_pool_reuses_nothing_for_a_while() -> None:
    writers: list[asyncio.StreamWriter] = []

    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(ok())
        await writer.drain()

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                for _ in range(2):
                    assert (await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")).status == 200
                assert (upstream.accepted, pool.idle, pool.reuses) == (1, 1, 1)
                writers[0].write(b"x")
                await until(lambda: pool.surplus_closes == 1, "the byte is noticed")
                assert (pool.idle, pool.open) == (0, 0)
                for _ in range(3):
                    assert (await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")).status == 200
                assert upstream.accepted == 4

    run(scenario())


@pytest.mark.parametrize(
    ("request_bytes", "retried"),
    [
        (b"GET / HTTP/1.1\r\nHost: g\r\n\r\n", True),
        (b"PUT / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx", True),
        (b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx", False),
        (b"PATCH / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx", False),
    ],
)
@pytest.mark.parametrize("guarded", [False, True])
def test_only_an_idempotent_request_on_a_reused_connection_is_sent_again(
    request_bytes: bytes, retried: bool, guarded: bool
) -> None:
    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        served = sum(other.connection == request.connection for other in upstreams[0].requests)
        if served == 2:
            writer.close()  # the second request of each connection is swallowed
        else:
            writer.write(ok())
            await writer.drain()

    upstreams: list[RecorderUpstream] = []

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            upstreams.append(upstream)
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                assert (await client.exchange(request_bytes)).status == 200
                assert (await client.exchange(request_bytes)).status == (200 if retried else 502)
                assert pool.retries == int(retried)
                assert len(upstream.requests) == (3 if retried else 2)

    run(scenario())


def test_a_request_that_failed_on_a_fresh_connection_or_after_a_byte_is_not_sent_again() -> None:
    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        if len(upstreams[0].requests) == 2:
            writer.write(b"H")
            await writer.drain()
            writer.close()
        elif len(upstreams[0].requests) == 3:
            writer.close()
        else:
            writer.write(ok())
            await writer.drain()

    upstreams: list[RecorderUpstream] = []

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            upstreams.append(upstream)
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                statuses = [
                    (await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")).status for _ in range(3)
                ]
                assert statuses == [200, 502, 502]
                assert (pool.retries, len(upstream.requests)) == (0, 3)

    run(scenario())


def test_an_upstream_that_closes_after_each_response_costs_no_error() -> None:
    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(ok())
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                for _ in range(50):
                    response = await client.exchange(
                        b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx"
                    )
                    assert response.status == 200
                    # The end is on its way; give it a chance to be there, as between two real requests.
                    await until(lambda: pool.open == 0, "the upstream's end is noticed")

    run(scenario())


def test_connections_are_bounded_and_idle_ones_expire() -> None:
    async def slow(request: Recorded, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(ok())
        await writer.drain()

    async def scenario() -> None:
        async with RecorderUpstream(slow) as upstream:
            pool = pool_for(upstream.port, Timeouts(pool_idle_s=0.2), max_connections=3, max_idle=2)
            async with serving(PassThrough(pool), pool) as server:
                clients = [await RawClient.connect(server.port) for _ in range(5)]
                for client in clients:
                    await client.send(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
                statuses = sorted([(await client.response()).status for client in clients])
                assert statuses == [200, 200, 200, 502, 502]
                assert (pool.full, pool.idle) == (2, 2)
                await until(lambda: pool.open == 0, "idle connections expire")

    run(scenario())


@pytest.mark.parametrize(
    ("address", "host", "port", "authority"),
    [
        ("http://127.0.0.1:9000", "127.0.0.1", 9000, b"127.0.0.1:9000"),
        ("http://model/", "model", 80, b"model"),
        ("http://[::1]:81", "::1", 81, b"[::1]:81"),
    ],
)
def test_an_origin_is_a_host_and_a_port(address: str, host: str, port: int, authority: bytes) -> None:
    origin = parse_origin(address)
    assert (origin.host, origin.port, origin.authority) == (host, port, authority)
    assert parse_origin(str(origin)) == origin


@pytest.mark.parametrize(
    "address",
    [
        "",
        "model:9000",
        "https://m",
        "http://",
        "http://m:x",
        "http://m:0",
        "http://m:99999",
        "http://u@m",
        "http://m/p",
        "http://m?q",
        "http://m#f",
        "http://mö",
        "http://m n",
    ],
)
def test_an_origin_that_is_none_is_refused_with_a_reason(address: str) -> None:
    with pytest.raises(ValueError, match=r".{10}"):
        parse_origin(address)
