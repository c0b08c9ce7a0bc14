"""Order, hang-ups, deaths, backpressure, drain: what holds between a client's and an upstream's connection."""

from __future__ import annotations

import asyncio

import pytest

from guardproxy.wire import Forward, Limits, Plan, Reply, RequestHead, Timeouts
from tests.harness.apps import App, Guarding, PassThrough, pool_for, serving
from tests.harness.client import Incomplete, RawClient
from tests.harness.faults import FaultProxy, Faults, _reset
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok

GET = b"GET / HTTP/1.1\r\nHost: g\r\n\r\n"


async def echo(request: Recorded, writer: asyncio.StreamWriter) -> None:
    writer.write(ok(request.target))
    await writer.drain()


@pytest.mark.parametrize("uvloop", [True, False])
@pytest.mark.parametrize("guarded", [False, True])
def test_pipelined_requests_are_answered_in_order(guarded: bool, uvloop: bool) -> None:
    async def slow_first(request: Recorded, writer: asyncio.StreamWriter) -> None:
        if request.target == b"/0":
            await asyncio.sleep(0.03)
        await echo(request, writer)

    async def scenario() -> None:
        async with RecorderUpstream(slow_first) as upstream:
            pool = pool_for(upstream.port)
            inner: App = Guarding(pool) if guarded else PassThrough(pool)

            def planner(head: RequestHead) -> Plan:
                return Reply(200, (), head.target) if head.target.endswith(b"5") else inner.planner(head)

            async with serving(App(planner), pool) as server:
                client = await RawClient.connect(server.port)
                count = 500
                sent = b"".join(b"GET /%d HTTP/1.1\r\nHost: g\r\n\r\n" % n for n in range(count))
                sending = asyncio.ensure_future(client.send(sent))
                for number in range(count):
                    assert (await client.response()).body == b"/%d" % number
                await sending
                assert server.requests == count

    run(scenario(), uvloop=uvloop)


@pytest.mark.parametrize("alone", [False, True])
def test_a_client_that_pipelines_and_never_reads_is_not_answered_without_bound(alone: bool) -> None:
    body = b"x" * 10_000

    async def scenario() -> None:
        app = App(lambda _: Reply(200, (), body))
        async with serving(app, limits=Limits(max_pipelined=8)) as server:
            client = await RawClient.connect(server.port)
            if alone:  # each request in a read of its own, so that it is a known head
                for number in range(3_000):
                    client.writer.write(GET)
                    await until(
                        lambda n=number: server.requests > n or any(c._paused for c in server.connections),  # type: ignore[misc]
                        "it is read, or reading has stopped",
                    )
            else:
                client.writer.write(GET * 20_000)
            before = -1
            while server.requests != before:
                before = server.requests
                await asyncio.sleep(0.05)
            # Answers fill the sockets' buffers and one write buffer; then neither parsing nor answering goes on.
            assert len(app.heads) < 2_000
            assert server.requests - len(app.heads) <= 8 + 4096 // len(GET) + 2
            for _ in range(1_000):
                assert (await client.response()).body == body

    run(scenario())


def test_a_hang_up_cancels_the_upstream_call_at_once() -> None:
    async def never(request: Recorded, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with RecorderUpstream(never) as upstream:
            pool = pool_for(upstream.port)
            for app in (PassThrough(pool), Guarding(pool)):
                async with serving(app) as server:
                    client = await RawClient.connect(server.port)
                    count = len(upstream.requests)
                    await client.send(GET)
                    await until(lambda n=count: len(upstream.requests) > n, "the request arrives")  # type: ignore[misc]
                    client.abort()
                    await until(lambda: pool.open == 0, "the upstream connection is closed")
                    assert server.hangups == 1
                    if isinstance(app, Guarding):
                        exchange = app.exchanges[0]
                        assert exchange.gone
                        assert [failure.kind for failure in app.failures] == ["cancelled"]
                        # `failed` replied to a client that is gone: ignored and counted.
                        assert server.late_replies == 1
                    else:
                        assert app.transfers[0].aborted
                        assert app.transfers[0].status == 0
                assert not app.faults

    run(scenario())


@pytest.mark.parametrize("half", [True, False])
def test_a_hang_up_while_connecting_leaves_nothing_behind(half: bool) -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app = PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                client.writer.write(GET)
                if half:
                    client.writer.write_eof()
                else:
                    client.writer.close()
                await until(lambda: server.accepted == 1 and not server.connections, "the client is gone")
                await until(lambda: len(app.transfers) == 1, "the transfer is told")
                assert pool.open == pool.idle
            assert not app.faults

    run(scenario())


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
    ],
)
@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_an_upstream_that_dies_in_mid_body_never_gives_the_client_a_clean_end(
    head: bytes, how: str, version: bytes
) -> None:
    until_close = b"\r\n\r\nabc" in head and b"Length" not in head

    async def die(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(0.02)  # so that the head is passed on before the end comes
        if how == "reset":
            _reset(writer)
        else:
            writer.close()

    async def scenario() -> None:
        async with RecorderUpstream(die) as upstream:
            pool = pool_for(upstream.port)
            app = PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(b"GET / HTTP/" + version + b"\r\nHost: g\r\n\r\n")
                if until_close and how == "end":
                    response = await client.response()
                    assert (response.body, response.framing) == (b"abc", "close")
                    return
                with pytest.raises(Incomplete) as cut:
                    await client.response()
                assert cut.value.reset, cut.value
                assert server.aborted == 1
                assert app.transfers[0].aborted
                assert app.transfers[0].status == 200

    run(scenario())


def test_an_upstream_that_dies_before_its_head_is_a_502_and_a_guarded_cut_too() -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(b"0123456789" * 10)) as upstream, FaultProxy(upstream.port) as faults:
            for end in (0, 10, 50, 100):
                for how in ({"end_after": end}, {"reset_after": end}):
                    faults.faults = Faults(**how)  # type: ignore[arg-type]
                    pool = pool_for(faults.port)
                    app = Guarding(pool)
                    async with serving(app, pool) as server:
                        client = await RawClient.connect(server.port)
                        response = await client.exchange(
                            b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx"
                        )
                        assert response.status == 502
                        assert response.body.count(b"reset") + response.body.count(b"incomplete") == 1
                        assert (
                            await client.exchange(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\n\r\nx")
                        ).status == 502

    run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_does_not_read_stops_the_upstream(chunked: bool) -> None:
    written = 0
    total = 64 << 20
    piece = b"x" * 65536

    async def pour(request: Recorded, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % total
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        while written < total:
            writer.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
            await writer.drain()
            written += len(piece)
        if chunked:
            writer.write(b"0\r\n\r\n")

    async def scenario() -> None:
        async with RecorderUpstream(pour) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(GET)
                await until(lambda: written, "the upstream begins")
                before = -1
                while written != before:
                    before = written
                    await asyncio.sleep(0.1)
                # Two pairs of socket buffers and our own: far below the whole.
                assert written < total // 2
                (connection,) = server.connections
                assert connection._transport.get_write_buffer_size() < 1 << 20
                response = await client.response()
                assert len(response.body) == total
                assert upstream.lost == 0

    run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upstream_that_does_not_read_stops_the_client(chunked: bool) -> None:
    gate = asyncio.Event()
    total = 64 << 20
    piece = b"x" * 65536
    sent = 0

    async def wait(request: Recorded, writer: asyncio.StreamWriter) -> None:
        await gate.wait()

    async def scenario() -> None:
        nonlocal sent
        async with RecorderUpstream(early=wait) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % total
                await client.send(b"POST / HTTP/1.1\r\nHost: g\r\n" + framing + b"\r\n\r\n")

                async def pour() -> None:
                    nonlocal sent
                    while sent < total:
                        await client.send(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
                        sent += len(piece)
                    if chunked:
                        await client.send(b"0\r\n\r\n")

                pouring = asyncio.ensure_future(pour())
                await until(lambda: sent, "the client begins")
                before = -1
                while sent != before:
                    before = sent
                    await asyncio.sleep(0.1)
                assert sent < total // 2
                gate.set()
                assert (await client.response()).status == 200
                await pouring
                assert len(upstream.requests[0].body) == total
                assert server.requests == 1

    run(scenario())


def test_an_early_answer_is_delivered_and_ends_the_connection() -> None:
    async def refuse(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()

    async def scenario() -> None:
        async with RecorderUpstream(early=refuse) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                response = await client.exchange(
                    b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1000000\r\n\r\nabc"
                )
                assert (response.status, response.body, response.get(b"connection")) == (
                    413,
                    b"big",
                    b"close",
                )
                assert await client.end() == "clean"
                await until(lambda: pool.open == 0, "a connection with half a request on it is not reused")

    run(scenario())


def test_a_reply_before_the_body_reads_a_small_rest_and_closes_before_a_large_one() -> None:
    async def scenario() -> None:
        app = App(lambda _: Reply(403, (), b"no"))
        async with serving(app) as server:
            client = await RawClient.connect(server.port)
            await client.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 6\r\n\r\nab")
            response = await client.response()
            assert (response.status, response.all(b"connection")) == (403, [])
            await client.send(b"cdef" + GET)
            assert (await client.response()).status == 403
            for request in (
                b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 9999999\r\n\r\nab",
                b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            ):
                client = await RawClient.connect(server.port)
                response = await client.exchange(request)
                assert (response.status, response.get(b"connection"), response.interim) == (403, b"close", [])
                assert await client.end() == "clean"

    run(scenario())


def test_a_chunk_error_after_forwarding_began_ends_both_sides() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app = PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(
                    b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
                )
                await until(lambda: upstream.raw, "the head is forwarded")
                assert (await client.exchange(b"zz\r\n")).status == 400
                await until(lambda: upstream.lost == 1, "the upstream sees an incomplete request")
                assert not upstream.requests
                assert app.transfers[0].aborted

    run(scenario())


def test_drain_closes_idle_connections_and_lets_the_others_finish() -> None:
    gate = asyncio.Event()

    async def wait(request: Recorded, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(ok(b"late"))
        await writer.drain()

    async def scenario() -> None:
        async with RecorderUpstream(wait) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                idle = await RawClient.connect(server.port)
                busy = await RawClient.connect(server.port)
                await busy.send(GET)
                await until(lambda: upstream.requests, "one request is in flight")
                assert server.active == 1
                server.drain()
                assert await idle.end() == "clean"
                fresh = await RawClient.connect(server.port)
                await fresh.send(GET)
                gate.set()
                for client in (busy, fresh):
                    response = await client.response()
                    assert (response.body, response.get(b"connection")) == (b"late", b"close")
                    assert await client.end() == "clean"
                await server.close(timeout_s=5)
                with pytest.raises(ConnectionRefusedError):
                    await RawClient.connect(server.port)

    run(scenario())


def test_close_aborts_what_does_not_finish_in_time() -> None:
    async def never(request: Recorded, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with RecorderUpstream(never) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(GET)
                await until(lambda: upstream.requests, "one request is in flight")
                await server.close(timeout_s=0.05)
                with pytest.raises(Incomplete):
                    await client.response()
                await until(lambda: pool.open == 0, "the upstream is let go")

    run(scenario())


@pytest.mark.parametrize("guarded", [False, True])
def test_a_silent_upstream_times_out_with_504(guarded: bool) -> None:
    async def trickle(request: Recorded, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    async def scenario() -> None:
        async with RecorderUpstream(trickle) as upstream:
            pool = pool_for(upstream.port, Timeouts(response_head_s=0.2))
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                assert (await client.exchange(GET)).status == 504
                assert (await client.exchange(GET)).status == 504  # the client's connection lives on
                assert pool.open == 0

    run(scenario())


def test_a_response_that_stops_in_its_body_is_cut() -> None:
    async def stop(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with RecorderUpstream(stop) as upstream:
            pool = pool_for(upstream.port, Timeouts(response_idle_s=0.1))
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(GET)
                with pytest.raises(Incomplete) as cut:
                    await client.response()
                assert cut.value.got.startswith(b"HTTP/1.1 200 OK")

    run(scenario())


def test_a_client_that_never_reads_is_cut_and_its_upstream_let_go() -> None:
    async def pour(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async def scenario() -> None:
        async with RecorderUpstream(pour) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool, timeouts=Timeouts(client_write_s=0.2)) as server:
                client = await RawClient.connect(server.port)
                await client.send(GET)
                await until(lambda: server.timeouts_hit == 1, "the client is given up")
                await until(lambda: pool.open == 0 and not server.connections, "nothing is left")

    run(scenario())


def test_no_upstream_at_all_is_a_502() -> None:
    async def scenario() -> None:
        pool = pool_for(1)
        app = PassThrough(pool)
        guarding = Guarding(pool)
        async with serving(app) as one, serving(guarding, pool) as two:
            for server in (one, two):
                client = await RawClient.connect(server.port)
                assert (await client.exchange(GET)).status == 502
                assert (await client.exchange(GET)).status == 502
            assert [failure.kind for failure in guarding.failures] == ["refused", "refused"]
            assert pool.connect_failures == 4

    run(scenario())


def test_an_exception_in_the_application_is_reported_and_answered_with_500() -> None:
    def boom(head: RequestHead) -> Plan:
        raise KeyError("secret")

    async def scenario() -> None:
        app = App(boom)
        async with serving(app) as server:
            client = await RawClient.connect(server.port)
            response = await client.exchange(GET)
            assert response.status == 500
            assert b"secret" not in response.body
            assert [type(fault) for fault in app.faults] == [KeyError]
            assert server.faults == 1

    run(scenario())


def test_a_tunnel_carries_bytes_both_ways_after_101() -> None:
    switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: Upgrade\r\nX-A: 1\r\n\r\n"

    async def chat(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(switched + b"hello ")
        await writer.drain()
        reader = writer._reader  # type: ignore[attr-defined]
        while data := await reader.read(100):
            writer.write(data.upper())
            await writer.drain()
        writer.write(b"bye")
        writer.close()

    async def scenario() -> None:
        async with RecorderUpstream(chat) as upstream:
            pool = pool_for(upstream.port)
            app = PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(
                    b"GET /ws HTTP/1.1\r\nHost: g\r\nConnection: keep-alive, Upgrade\r\nUpgrade: chat\r\n\r\nfirst "
                )
                response = await client.response()
                assert response.status == 101
                assert response.get(b"upgrade") == b"chat"
                assert response.get(b"x-a") == b"1"
                assert await client.reader.readexactly(12) == b"hello FIRST "
                await client.send(b"second")
                assert await client.reader.readexactly(6) == b"SECOND"
                client.writer.write_eof()
                assert await client.rest() == b"bye"
                assert server.tunnels == 1
                assert upstream.requests[0].all(b"upgrade") == [b"chat"]
                await until(lambda: app.transfers, "the transfer is told")
                assert (app.transfers[0].request_bytes, app.transfers[0].response_bytes) == (12, 15)
            assert pool.open == 0

    run(scenario())


@pytest.mark.parametrize("token", [b"chat", b"h2c", b"HTTP/2.0", b"TLS/1.2"])
def test_an_upgrade_that_comes_to_nothing_leaves_ordinary_requests(token: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: " + token + b"\r\n"

    async def scenario() -> None:
        async with RecorderUpstream(echo) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(
                    b"GET /1 HTTP/1.1\r\nHost: g\r\n" + upgrade + b"\r\n"
                    b"POST /2 HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n" + upgrade + b"\r\nabc"
                    b"POST /3 HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n"
                    + upgrade
                    + b"\r\n3\r\nabc\r\n0\r\n\r\n"
                    b"GET /4 HTTP/1.1\r\nHost: g\r\n\r\n"
                )
                for number in range(1, 5):
                    assert (await client.response()).body == b"/%d" % number
                assert [request.body for request in upstream.requests] == [b"", b"abc", b"abc", b""]
                assert bool(upstream.requests[0].all(b"upgrade")) is (token == b"chat")
                assert not any(request.all(b"upgrade") for request in upstream.requests[1:])

    run(scenario())


def test_a_tunnel_ends_when_either_side_does() -> None:
    async def switch(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 S\r\nUpgrade: chat\r\nConnection: Upgrade\r\n\r\n")
        await writer.drain()
        if request.target == b"/die":
            await asyncio.sleep(0.02)  # a reset would overtake the head
            _reset(writer)
        else:
            await asyncio.Event().wait()

    async def scenario() -> None:
        async with RecorderUpstream(switch) as upstream:
            # The upstream of /live never answers the client's end; the half-closed tunnel is given up.
            pool = pool_for(upstream.port, Timeouts(response_idle_s=0.1))
            app = App(lambda _: Forward(pool))
            async with serving(app, pool) as server:
                for target in (b"/die", b"/live"):
                    client = await RawClient.connect(server.port)
                    response = await client.exchange(
                        b"GET "
                        + target
                        + b" HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
                    )
                    assert response.status == 101
                    if target == b"/die":
                        assert await client.rest() == b""
                    else:
                        client.abort()
                    await until(lambda: pool.open == 0 and not server.connections, "both sides are gone")

    run(scenario())


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_hang_up_is_noticed_even_while_the_client_is_not_being_read(how: str) -> None:
    async def never(request: Recorded, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with RecorderUpstream(never) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool, limits=Limits(max_pipelined=2)) as server:
                client = await RawClient.connect(server.port)
                await client.send(GET * 10)
                await until(lambda: [c for c in server.connections if c._paused], "reading stops")
                await until(lambda: upstream.requests, "the first request is on its way")
                if how == "reset":
                    _reset(client.writer)
                else:
                    client.abort()
                await until(lambda: pool.open == 0 and not server.connections, "everything of it ends")
                assert server.hangups == 1
                assert len(upstream.requests) == 1

    run(scenario())


def test_the_rest_of_a_body_nobody_wants_may_not_take_for_ever() -> None:
    async def scenario() -> None:
        app = App(lambda _: Reply(403, (), b"no"))
        async with serving(app, timeouts=Timeouts(body_s=0.1, linger_s=0.1)) as server:
            client = await RawClient.connect(server.port)
            response = await client.exchange(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 6\r\n\r\nab")
            assert (response.status, response.all(b"connection")) == (403, [])
            assert await client.end() == "clean"
            await until(lambda: not server.connections, "the connection is let go")

    run(scenario())


def test_nothing_refers_to_itself_when_it_is_over() -> None:
    import gc

    async def scenario() -> None:
        async with RecorderUpstream(echo) as upstream:
            pool = pool_for(upstream.port)
            for app in (PassThrough(pool), Guarding(pool)):
                async with serving(app) as server:
                    client = await RawClient.connect(server.port)
                    await client.exchange(GET)
                    gc.collect()
                    gc.disable()
                    try:
                        for number in range(50):
                            await client.exchange(b"GET /%d HTTP/1.1\r\nHost: g\r\n\r\n" % number)
                        app.__dict__.get("exchanges", []).clear()
                        # By module: the rule language has a `Call` too.
                        kinds = {
                            kind.__name__
                            for kind in map(type, gc.get_objects())
                            if str(getattr(kind, "__module__", "")).startswith("guardproxy.wire.")
                        }
                        assert not kinds & {
                            "Turn",
                            "Forwarding",
                            "Collecting",
                            "Exchange",
                            "ExchangeCall",
                            "Call",
                        }, kinds
                    finally:
                        gc.enable()
            pool.close()

    run(scenario())
