"""Malformed requests and hostile responses, each with what must happen to it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from guardproxy.wire import Limits, Timeouts
from tests.harness.apps import App, Guarding, PassThrough, pool_for, serving
from tests.harness.client import Incomplete, RawClient, Response
from tests.harness.faults import _reset
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok
from tests.shared import shared_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# What the note beside each request leaves open is decided here: statuses, and how many requests reach the upstream.
REQUESTS: dict[str, tuple[list[int], int]] = {
    "rl07": ([505], 0),
    "rl11": ([400], 0),
    "rl17": ([200], 1),
    "rl19": ([200], 1),
    "rl21": ([405], 0),
    "rl23": ([200], 1),
    "rl25": ([400], 0),
    "rl29": ([200], 1),
    "rl31": ([200], 1),
    "hd09": ([200], 1),
    "hd13": ([431], 0),
    "hd15": ([200], 1),
    "hd17": ([200], 1),
    "hd19": ([200], 1),
    "sm07": ([200], 1),
    "sm15": ([400], 0),
    "sm17": ([501], 0),
    "sm21": ([200], 1),
    "sm25": ([200, 200], 2),
    "sm27": ([200], 1),
    "sm29": ([501], 0),
    "ch18": ([431], 0),
    "ex03": ([200], 1),
    "up02": ([200], 1),
    "pl02": ([200, 400], 1),
}


def _load(name: str) -> list[dict[str, str]]:
    return json.loads(shared_file(f"data/{name}").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("guarded", [False, True])
def test_each_hostile_request_is_refused_or_kept_and_nothing_malformed_reaches_the_upstream(
    guarded: bool,
) -> None:
    cases = _load("hostile-requests.json")

    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                for case in cases:
                    if case["id"] == "ex01":
                        continue  # a scenario of its own, below
                    upstream.requests.clear()
                    upstream.raw = b""
                    await _one_request(case, upstream, server.port)
            assert not app.faults

    run(scenario())


async def _one_request(case: dict[str, str], upstream: RecorderUpstream, port: int) -> None:
    statuses, reached = REQUESTS.get(case["id"], ([400], 0))
    client = await RawClient.connect(port)
    await client.send(case["request"].encode("latin-1"))
    got = [(await client.response()).status for _ in statuses]
    assert got == statuses, (case, got)
    if statuses[-1] >= 400:
        assert await client.end() == "clean", case
    assert len(upstream.requests) == reached, (case, upstream.requests)
    assert (
        b"smug" not in b"".join(request.request_line for request in upstream.requests) or case["id"] == "sm25"
    )
    if not reached:
        assert upstream.raw == b"", case
    await client.close()
    _look_closer(case["id"], upstream.requests)


def _look_closer(name: str, requests: list[Recorded]) -> None:
    checks: dict[str, Callable[[Recorded], bool]] = {
        "rl17": lambda r: r.target == b"/abs?q=1" and r.all(b"host") == [b"other"],
        "rl19": lambda r: r.target == b"*",
        "rl29": lambda r: r.target == b"/a/../../etc/passwd",
        "rl31": lambda r: r.target == b"/v1/models\\..\\x",
        "hd09": lambda r: r.all(b"x") == [b"\xff\xfe"],
        "hd15": lambda r: (
            [line for line in r.lines if line.startswith(b"Cookie")] == [b"Cookie: a=1", b"Cookie: b=2"]
        ),
        "hd17": lambda r: not r.all(b"x-secret") and not r.all(b"connection"),
        "hd19": lambda r: not r.all(b"te"),
        "sm07": lambda r: r.body == b"abcd",
        "sm21": lambda r: r.body == b"abcd",
        "sm27": lambda r: r.body.startswith(b"GET /smug"),
        "ex03": lambda r: r.body == b"abcd" and not r.all(b"expect"),
        "up02": lambda r: True,
    }
    if name in checks:
        assert checks[name](requests[0]), (name, requests[0])


def test_a_trailer_never_becomes_a_header_of_the_next_request() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(
                    b"POST /1 HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Evil: 1\r\n\r\n"
                    b"GET /2 HTTP/1.1\r\nHost: g\r\n\r\n"
                )
                assert (await client.response()).status == 200
                assert (await client.response()).status == 200
                for request in upstream.requests:
                    assert not request.all(b"x-evil")
                await client.close()

    run(scenario())


@pytest.mark.parametrize("guarded", [False, True])
def test_expect_with_a_body_the_upstream_wants_is_answered_with_100_first(guarded: bool) -> None:
    async def early(request: Recorded, writer: asyncio.StreamWriter) -> None:
        if request.all(b"expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def scenario() -> None:
        async with RecorderUpstream(early=early) as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(
                    b"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
                )
                assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                response = await client.exchange(b"abcd")
                assert response.status == 200
                assert response.interim == []
                assert upstream.requests[0].body == b"abcd"
                assert bool(upstream.requests[0].all(b"expect")) is not guarded
                await client.close()

    run(scenario())


def test_another_expectation_is_refused_with_417() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                response = await client.exchange(
                    b"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length: 4\r\nExpect: x\r\n\r\nabcd"
                )
                assert response.status == 417
                assert upstream.raw == b""

    run(scenario())


# Status for a pass-through, and whether the client's connection must be cut (None: no response at all).
RESPONSES: dict[str, int | None] = {
    "r01": 502,
    "r03": 502,
    "r05": None,
    "r06b": 200,
    "r08": 304,
    "r11": 502,
    "r13": 502,
    "r15": 502,
    "r17a": 200,
    "r17c": 502,
    "r17e": 502,
    "r18": 502,
    "r20": 502,
    "r24": 200,
    "r26": 200,
    "r31": 302,
    "r34": 200,
    "r37": 200,
    "r39": 200,
    "r41": 200,
}


def _script(case: dict[str, str]) -> Callable[[Recorded, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(case["response"].encode("latin-1"))
        await writer.drain()
        if case["then"] == "reset":
            _reset(writer)
        elif case["then"] == "close":
            writer.close()
        elif case["then"].startswith("after"):
            await asyncio.sleep(0.05)
            writer.write(ok(b"EVIL"))

    return answer


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("name", sorted(RESPONSES))
def test_each_hostile_response_is_answered_with_502_or_cut_or_kept(name: str, guarded: bool) -> None:
    case = {entry["id"]: entry for entry in _load("hostile-responses.json")}[name]
    expected = RESPONSES[name]

    async def scenario() -> None:
        async with RecorderUpstream(_script(case)) as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n")
                if expected is None and not guarded:
                    with pytest.raises(Incomplete) as cut:
                        await client.response()
                    assert b"0\r\n\r\n" not in cut.value.got
                    assert server.aborted == 1
                else:
                    response = await client.response()
                    assert response.status == (expected or 502), response
                    _look_at_response(name, response, guarded)
                await client.close()
                if case["then"].startswith("after"):
                    await until(lambda: pool.surplus_closes == 1, "the surplus closes the connection")
                if expected == 502:
                    await until(lambda: pool.open == 0, "nothing is reused")
            assert not app.faults

    run(scenario())


def _look_at_response(name: str, response: Response, guarded: bool) -> None:
    checks: dict[str, Callable[[Response], Any]] = {
        "r24": lambda r: r.body == b"until-close" and r.framing == ("length" if guarded else "close"),
        "r26": lambda r: (
            [line for line in r.lines if line.lower().startswith(b"set-cookie")]
            == [b"Set-Cookie: a=1", b"set-cookie: b=2", b"Set-Cookie: c=3"]
        ),
        "r31": lambda r: r.get(b"location") == b"http://127.0.0.1:1/",
        "r34": lambda r: not r.all(b"t") and r.body == b"ok",
        "r37": lambda r: (
            len(r.body) == 24 and r.body.startswith(b"\x1f\x8b") and r.all(b"content-encoding") == [b"gzip"]
        ),
        "r39": lambda r: (
            not (r.all(b"x-up") + r.all(b"keep-alive") + r.all(b"proxy-authenticate") + r.all(b"connection"))
        ),
        "r41": lambda r: r.status_line == b"HTTP/1.1 200 \xff\xfe",
        "r17a": lambda r: r.status_line == b"HTTP/1.1 200 " and r.body == b"ok",
        "r06b": lambda r: r.body == b"ok",
    }
    if name in checks:
        assert checks[name](response), response


def test_a_head_that_is_too_large_is_refused_however_it_is_cut() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            async with serving(
                PassThrough(pool), pool, limits=Limits(max_head_bytes=4096, max_target_bytes=2000)
            ) as server:
                lines = b"".join(b"X-%d: %s\r\n" % (i, b"a" * 100) for i in range(60))
                for pieces in (1, 7):
                    client = await RawClient.connect(server.port)
                    request = b"GET / HTTP/1.1\r\nHost: g\r\n" + lines + b"\r\n"
                    step = len(request) // pieces + 1
                    for start in range(0, len(request), step):
                        await client.send(request[start : start + step])
                        await asyncio.sleep(0.001)
                    assert (await client.response()).status == 431
                    await client.close()
                client = await RawClient.connect(server.port)
                assert (
                    await client.exchange(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: g\r\n\r\n")
                ).status == 414
                client = await RawClient.connect(server.port)
                many = b"".join(b"A%d: b\r\n" % i for i in range(130))
                assert (
                    await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n" + many + b"\r\n")
                ).status == 431
                assert upstream.raw == b""

    run(scenario())


def test_an_endless_head_from_the_upstream_is_a_502() -> None:
    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X: " + b"a" * 1000 + b"\r\n")
            await writer.drain()

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                assert (await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")).status == 502
                await client.close()

    run(scenario())


def test_a_request_that_comes_back_is_a_loop() -> None:
    async def scenario() -> None:
        pool = pool_for(1)
        app = PassThrough(pool)
        async with serving(app, pool, nonce="abc") as server:
            looping = pool_for(server.port)
            app.planner = PassThrough(looping).planner
            client = await RawClient.connect(server.port)
            assert (await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")).status == 508
            assert server.loops == 1
            looping.close()
            await client.close()

    run(scenario())


def test_too_many_connections_are_turned_away() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool, limits=Limits(max_connections=2)) as server:
                clients = [await RawClient.connect(server.port) for _ in range(3)]
                await until(lambda: server.accepted == 3, "all three are accepted")
                assert (await clients[2].response()).status == 503
                assert await clients[2].end() == "clean"
                assert (await clients[0].exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")).status == 200
                assert server.turned_away == 1
                for client in clients:
                    await client.close()

    run(scenario())


def test_slow_clients_are_timed_out_in_each_phase() -> None:
    times = Timeouts(head_s=0.1, body_s=0.2, body_grace_s=0.1, keepalive_s=0.2, linger_s=0.1, body_rate=1e9)

    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            async with serving(Guarding(pool), pool, timeouts=times) as server:
                silent = await RawClient.connect(server.port)
                assert await silent.end() == "clean"
                partial = await RawClient.connect(server.port)
                assert (await partial.exchange(b"GET / HT")).status == 408
                body = await RawClient.connect(server.port)
                assert (
                    await body.exchange(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\nabc")
                ).status == 408
                idle = await RawClient.connect(server.port)
                assert (await idle.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")).status == 200
                assert await idle.end() == "clean"
                assert server.timeouts_hit == 2

    run(scenario())
