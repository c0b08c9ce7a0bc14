"""Collected exchanges: bounds, overflow, replies, calls."""

from __future__ import annotations

import asyncio

import pytest

from guardproxy.wire import (
    Collect,
    Exchange,
    Forward,
    Pool,
    Reply,
    ResponseHead,
    Timeouts,
    UpstreamFailure,
    UpstreamResponse,
    forwardable,
)
from tests.harness.apps import App, Guarding, pool_for, serving
from tests.harness.client import Incomplete, RawClient
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok

POST = b"POST /p HTTP/1.1\r\nHost: g\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /p HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("request_bytes", [POST, CHUNKED])
def test_a_collected_body_goes_upstream_with_its_length(request_bytes: bytes) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(b"answer", b"X-B: 1")) as upstream:
            pool = pool_for(upstream.port)
            app = Guarding(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                for number in range(4):
                    app.plain = number > 1
                    response = await client.exchange(request_bytes)
                    assert response.body == b"answer"
                    lines = [line for line in response.lines if not line.startswith(b"Date")]
                    assert lines == [b"X-B: 1", b"Content-Length: 6", b"X-Guarded: yes"]
                assert upstream.requests[0].body == b"hello"
                assert upstream.requests[0].framing == "length"
                assert app.exchanges[0].body == b"hello"
                assert app.exchanges[0].peer == "127.0.0.1"
                assert app.responses[0].seconds > 0

    run(scenario())


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_bound_is_streamed_or_refused(declared: bool) -> None:
    body = b"0123456789" * 1000
    framing = b"Content-Length: %d\r\n\r\n" % len(body) + body
    if not declared:
        framing = (
            b"Transfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"a\r\n0123456789\r\n" for _ in range(1000))
            + b"0\r\n\r\n"
        )
    request = b"POST / HTTP/1.1\r\nHost: g\r\n" + framing

    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app = Guarding(pool, max_body=100)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                response = await client.exchange(request)
                assert (response.status, response.all(b"x-guarded")) == (200, [])
                assert upstream.requests[0].body == body
                assert not app.exchanges
                assert app.transfers[0].request_bytes == len(body)
                app.planner = lambda _: Collect(100, app._start, lambda _: Reply(413, (), b"large"))
                client = await RawClient.connect(server.port)
                response = await client.exchange(request)
                assert (response.status, response.get(b"connection")) == (413, b"close")
                assert len(upstream.requests) == 1

    run(scenario())


def test_expect_is_answered_only_when_the_body_is_wanted() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app = Guarding(pool)
            app.planner = lambda _: Collect(10, app._start, lambda _: Reply(413))
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                response = await client.exchange(
                    b"POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n"
                )
                assert (response.status, response.interim) == (413, [])
                assert await client.end() == "clean"

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"x" * 5000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n",
    ],
)
def test_a_response_beyond_the_bound_is_streamed_with_headers_or_replaced(answer: bytes) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            app = Guarding(pool, max_response=100)
            async with serving(app) as server:
                client = await RawClient.connect(server.port)
                for _ in range(2):
                    response = await client.exchange(POST)
                    assert (len(response.body), response.all(b"x-overflow")) == (5000, [b"yes"])
                assert not app.responses
                assert pool.reuses == 1

            def start(exchange: Exchange) -> None:
                exchange.call(
                    pool,
                    collect=lambda _: 100,
                    received=lambda _: exchange.reply(Reply(500)),
                    failed=lambda _: exchange.reply(Reply(500)),
                    overflow=lambda _: Reply(502, (), b"too large"),
                )

            app2 = App(lambda _: Collect(100, start, lambda _: Reply(413)))
            async with serving(app2, pool) as server:
                client = await RawClient.connect(server.port)
                for _ in range(2):
                    response = await client.exchange(POST)
                    assert (response.status, response.body) == (502, b"too large")

    run(scenario())


def test_a_response_nobody_wants_to_collect_streams_as_it_comes() -> None:
    gate = asyncio.Event()

    async def stream(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Drop: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        )
        await writer.drain()
        await gate.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")
        await writer.drain()

    async def scenario() -> None:
        async with RecorderUpstream(stream) as upstream:
            pool = pool_for(upstream.port)
            app = Guarding(pool, max_response=None)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(POST)
                head = await client.reader.readuntil(b"\r\n\r\n")
                assert b"X-Streamed: yes" in head
                assert await client.reader.readexactly(10) == b"5\r\nfirst\r\n"
                gate.set()
                assert await client.reader.readexactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"[:16]
                await client.reader.readexactly(len(b"6\r\nsecond\r\n0\r\n\r\n") - 16)
                assert (await client.exchange(POST)).body == b"firstsecond"

    run(scenario())


def test_a_streamed_response_that_is_cut_aborts_the_client() -> None:
    async def cut(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nfirst")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()

    async def scenario() -> None:
        async with RecorderUpstream(cut) as upstream:
            pool = pool_for(upstream.port)
            app = Guarding(pool, max_response=None)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(POST)
                with pytest.raises(Incomplete) as error:
                    await client.response()
                assert error.value.reset
                assert server.aborted == 1
                assert not app.failures

    run(scenario())


def test_a_call_may_change_everything_but_the_framing() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)

            def start(exchange: Exchange) -> None:
                def failed(failure: UpstreamFailure) -> None:
                    raise AssertionError(failure)

                exchange.call(
                    pool,
                    headers=[
                        (b"content-LENGTH", b"7"),
                        (b"X-New", b"1"),
                        (b"Connection", b"X-Gone"),
                        (b"X-Gone", b"1"),
                    ],
                    body=b"other body",
                    method=b"PUT",
                    target=b"/elsewhere",
                    collect=lambda _: 100,
                    received=lambda response: exchange.reply(
                        Reply(201, forwardable(response.head.headers), response.body)
                    ),
                    failed=failed,
                    overflow=lambda _: (),
                )

            async with serving(
                App(lambda _: Collect(100, start, lambda _: Reply(413))), pool, nonce="n"
            ) as server:
                client = await RawClient.connect(server.port)
                assert (await client.exchange(POST)).status == 201
                request = upstream.requests[0]
                assert request.request_line == b"PUT /elsewhere HTTP/1.1"
                assert request.lines == [
                    b"content-LENGTH: 10",
                    b"X-New: 1",
                    b"Via: 1.1 guardproxy (n)",
                    b"Host: " + pool.origin.authority,
                ]
                assert request.body == b"other body"

    run(scenario())


@pytest.mark.parametrize(
    "more",
    [
        {"headers": [(b"X", b"a\r\nb: c")]},
        {"target": b"/a b"},
        {"target": b"/\r\n"},
        {"method": b"G T"},
        {"headers": [(b"X Y", b"")]},
    ],
)
def test_a_call_that_would_inject_is_refused(more: dict[str, object]) -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)

            def start(exchange: Exchange) -> None:
                exchange.call(
                    pool,
                    collect=lambda _: 100,
                    received=lambda _: exchange.reply(Reply(200)),
                    failed=lambda _: exchange.reply(Reply(502)),
                    overflow=lambda _: (),
                    **more,  # type: ignore[arg-type]
                )

            app = App(lambda _: Collect(100, start, lambda _: Reply(413)))
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                assert (await client.exchange(POST)).status == 500
                assert [type(fault) for fault in app.faults] == [ValueError]
                assert upstream.raw == b""

    run(scenario())


def test_a_reply_may_come_later_and_only_once() -> None:
    exchanges: list[Exchange] = []

    async def scenario() -> None:
        app = App(lambda _: Collect(100, exchanges.append, lambda _: Reply(413)))
        async with serving(app) as server:
            client = await RawClient.connect(server.port)
            await client.send(POST + POST)
            await until(lambda: exchanges, "the exchange starts")
            exchange = exchanges[0]
            with pytest.raises(ValueError, match="CR"):
                exchange.reply(Reply(200, ((b"X", b"\r"),)))
            exchange.reply(Reply(200, (), b"one"))
            with pytest.raises(RuntimeError):
                exchange.reply(Reply(200, (), b"two"))
            assert (await client.response()).body == b"one"
            await until(lambda: len(exchanges) == 2, "the next starts")
            exchanges[1].reply(Reply(200, (), b"three"))
            assert (await client.response()).body == b"three"

    run(scenario())


def test_on_gone_is_told_when_the_client_hangs_up() -> None:
    told: list[str] = []
    exchanges: list[Exchange] = []

    def start(exchange: Exchange) -> None:
        exchanges.append(exchange)
        exchange.on_gone = lambda: told.append("gone")

    async def scenario() -> None:
        app = App(lambda _: Collect(100, start, lambda _: Reply(413)))
        async with serving(app) as server:
            client = await RawClient.connect(server.port)
            await client.send(POST)
            await until(lambda: exchanges, "the exchange starts")
            client.abort()
            await until(lambda: told, "on_gone is called")
            assert exchanges[0].gone
            exchanges[0].reply(Reply(200))
            assert server.late_replies == 1
            assert told == ["gone"]

    run(scenario())


def test_a_call_that_takes_too_long_fails_with_timeout() -> None:
    async def never(request: Recorded, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with RecorderUpstream(never) as upstream:
            # The second is long enough for the sweep, the first needs a timer.
            for timeout, sweep in ((0.05, 60.0), (0.3, 0.1)):
                pool = pool_for(upstream.port, Timeouts(linger_s=sweep))
                app = Guarding(pool)
                app.timeout_s = timeout
                async with serving(app, pool) as server:
                    client = await RawClient.connect(server.port)
                    assert (await client.exchange(POST)).status == 504
                    assert [(f.kind, f.status) for f in app.failures] == [("timeout", 504)]
                    assert pool.open == 0

    run(scenario())


def test_two_calls_may_race_and_the_first_answer_ends_the_other() -> None:
    async def never(request: Recorded, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    def race(slow: Pool, fast: Pool) -> App:
        def start(exchange: Exchange) -> None:
            def received(response: UpstreamResponse) -> None:
                exchange.reply(Reply(200, (), response.body))

            def failed(failure: UpstreamFailure) -> None:
                raise AssertionError(failure)

            def collect(head: ResponseHead) -> int:
                return 100

            for pool in (slow, fast):
                exchange.call(pool, collect=collect, received=received, failed=failed, overflow=lambda _: ())

        return App(lambda _: Collect(100, start, lambda _: Reply(413)))

    async def scenario() -> None:
        async with RecorderUpstream(never) as one, RecorderUpstream(ok(b"fast")) as two:
            slow, fast = pool_for(one.port), pool_for(two.port)
            app = race(slow, fast)
            async with serving(app, slow, fast) as server:
                client = await RawClient.connect(server.port)
                assert (await client.exchange(POST)).body == b"fast"
                await until(lambda: slow.open == 0, "the slow call is dropped")
                assert fast.idle == 1
            assert not app.faults

    run(scenario())


@pytest.mark.parametrize("place", ["start", "collect", "received", "failed", "overflow", "streamed"])
def test_an_exception_in_any_callback_is_answered_with_500(place: str) -> None:
    def boom(*_: object) -> None:
        raise KeyError("secret")

    async def scenario() -> None:
        async with RecorderUpstream(b"nonsense\r\n\r\n" if place == "failed" else ok(b"x" * 200)) as upstream:
            pool = pool_for(upstream.port)

            def start(exchange: Exchange) -> None:
                if place == "start":
                    boom()
                callbacks: dict[str, object] = {
                    "collect": lambda _: {"overflow": 100, "streamed": None}.get(place, 1000),
                    "received": lambda _: exchange.reply(Reply(200)),
                    "failed": lambda _: exchange.reply(Reply(502)),
                    "overflow": lambda _: (),
                    "streamed": lambda _: (),
                }
                callbacks[place] = boom
                exchange.call(pool, **callbacks)  # type: ignore[arg-type]

            app = App(lambda _: Collect(100, start, lambda _: Reply(413)))
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                response = await client.exchange(POST)
                assert (response.status, b"secret" in response.body) == (500, False)
                assert [type(fault) for fault in app.faults] == [KeyError]

    run(scenario())


def test_head_and_not_modified_keep_what_the_upstream_said_about_the_length() -> None:
    async def scenario() -> None:
        async with RecorderUpstream(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n") as upstream:
            pool = pool_for(upstream.port)
            async with serving(Guarding(pool, max_response=10), pool) as server:
                client = await RawClient.connect(server.port)
                for _ in range(2):
                    response = await client.exchange(b"HEAD / HTTP/1.1\r\nHost: g\r\n\r\n", b"HEAD")
                    assert (response.get(b"content-length"), response.get(b"x-guarded")) == (b"77", b"yes")

    run(scenario())


def test_an_exchange_that_forwards_on_overflow_tells_the_transfer() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app = App(
                lambda _: Collect(1, lambda _: None, lambda _: Forward(pool, done=app.transfers.append))
            )
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                assert (await client.exchange(POST)).status == 200
                assert app.transfers[0].status == 200
                assert app.transfers[0].request_bytes == 5

    run(scenario())
