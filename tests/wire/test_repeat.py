"""A head that comes again is not parsed again; nobody can tell, whatever comes in its place."""

from __future__ import annotations

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardproxy.wire.heads import request_head, response_head
from guardproxy.wire.repeat import KnownHead, keep, recall
from tests.harness.apps import App, Guarding, PassThrough, pool_for, serving
from tests.harness.client import Incomplete, RawClient
from tests.harness.loop import run
from tests.harness.upstream import Recorded, RecorderUpstream, ok

_BASE = b"POST /p HTTP/1.1\r\nHost: g\r\nX-A: 1\r\nContent-Length: 5\r\nX-B: 2\r\n\r\nhello"
_NEAR = [
    _BASE,
    _BASE.replace(b"Length: 5", b"Length: 6") + b"!",
    _BASE.replace(b"Length: 5", b"Length: 05"),
    _BASE.replace(b"Length: 5", b"Length: +5"),
    _BASE.replace(b"Length: 5", b"Length: 5 "),
    _BASE.replace(b"Length: 5", b"Length: 5\t"),
    _BASE.replace(b"Length: 5", b"Length: \xb2\xb3"),
    _BASE.replace(b"Length: 5", b"Length: 5\nX: 1"),
    _BASE.replace(b"Length: 5", b"Length: 5\r\nContent-Length: 5"),
    _BASE.replace(b"Length: 5", b"Length: 5\r\nTransfer-Encoding: chunked"),
    _BASE.replace(b"Length: 5", b"Length: 0").removesuffix(b"hello"),
    _BASE.replace(b"Length: 5", b"Length: 99999999999999999999"),
    _BASE.replace(b"Host: g", b"Host: h"),
    _BASE.replace(b"Host: g", b"Host: a@b"),
    _BASE.replace(b"X-B: 2", b"X-B: 3"),
    _BASE.replace(b"X-B: 2", b"Connection: close"),
    _BASE.replace(b"X-B: 2", b"X-B : 2"),
    _BASE.replace(b"POST", b"HEAD"),
    _BASE + b"\r\n",
    _BASE[:-1],
    b"\r\n" + _BASE,
    b"GET /p HTTP/1.1\r\nHost: g\r\n\r\n",
    b"GET /p HTTP/1.1\r\nHost: g\r\n\r\n\r\n",
    b"GET /p HTTP/1.0\r\nHost: g\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
]


async def _outcome(client: RawClient, data: bytes) -> tuple[object, ...]:
    """What a client sees of a request, if it sees anything."""
    await client.send(data)
    method = b"HEAD" if data.startswith(b"HEAD") else b"POST"
    try:
        response = await asyncio.wait_for(
            client.response(method), 0.15 if len(data) == len(_BASE) - 1 else 10
        )
    except TimeoutError:
        return ("waits",)
    except Incomplete:
        return ("cut",)
    return (response.status, response.body if response.status == 200 else b"", response.get(b"connection"))


async def echo(request: Recorded, writer: asyncio.StreamWriter) -> None:
    if request.request_line.startswith(b"HEAD"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    else:
        lines = b"|".join(line for line in request.lines if not line.startswith(b"Via"))
        writer.write(ok(request.request_line + b"|" + lines + b"|" + request.body))
    await writer.drain()


@settings(max_examples=60, deadline=None)
@given(indices=st.lists(st.integers(0, len(_NEAR) - 1), min_size=1, max_size=6), guarded=st.booleans())
@example(indices=list(range(len(_NEAR))), guarded=False)
def test_a_request_after_any_other_gets_what_it_gets_on_its_own(indices: list[int], guarded: bool) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(echo) as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                for index in indices:
                    alone = await RawClient.connect(server.port)
                    expected = await _outcome(alone, _NEAR[index])
                    await alone.close()
                    # The base request twice, so that its head is known, and then the other.
                    together = await RawClient.connect(server.port)
                    for _ in range(2):
                        assert (await _outcome(together, _BASE))[0] == 200
                    assert await _outcome(together, _NEAR[index]) == expected, _NEAR[index]
                    await together.close()
            assert not app.faults

    run(scenario())


@settings(max_examples=150, deadline=None)
@given(first=st.integers(0, 300), second=st.integers(0, 300), plain=st.booleans())
def test_lengths_may_differ_both_ways(first: int, second: int, plain: bool) -> None:
    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(request.body[::-1] * 2, b"X-C: 1"))
        await writer.drain()

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            guarding = Guarding(pool)
            guarding.plain = plain
            for app in (guarding, PassThrough(pool)):
                async with serving(app) as server:
                    client = await RawClient.connect(server.port)
                    for length in (first, second, first):
                        body = bytes(i % 251 for i in range(length))
                        request = (
                            b"PUT / HTTP/1.1\r\nHost: g\r\ncontent-length: %d\r\nX-A: 1\r\n\r\n" % length
                            + body
                        )
                        response = await client.exchange(request)
                        assert response.body == body[::-1] * 2
                        assert response.lines[:2] == [b"X-C: 1", b"Content-Length: %d" % (2 * length)]
                        assert upstream.requests[-1].body == body
                        assert upstream.requests[-1].lines[:3] == [
                            b"Host: g",
                            b"content-length: %d" % length,
                            b"X-A: 1",
                        ]
            pool.close()

    run(scenario())


def test_a_stream_whose_heads_never_come_again_is_tried_only_now_and_then() -> None:
    known: KnownHead = KnownHead()  # type: ignore[type-arg]
    kept = 0
    for number in range(200):
        raw = b"GET /%d HTTP/1.1\r\nHost: g\r\n\r\n" % number
        head = request_head(b"GET", b"/%d" % number, "1.1", [(b"Host", b"g")])
        assert known.match(raw) is None
        known.remember(raw, 0, head)
        kept += head.known
    assert 8 <= kept <= 12
    known.remember(b"x" * 5000, 0, head)
    assert known.match(b"x" * 5000) is None


def test_what_was_written_for_a_head_is_kept_wherever_its_length_stands() -> None:
    for block in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: 1",
        b"HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 5",
    ):
        head = response_head(200, b"OK", "1.1", [(b"Content-Length", b"5")], b"GET")
        head.known = True
        head.digits = b"5"
        keep(head, ("key",), block)
        assert recall(head, ("key",)) == block
        assert recall(head, ("other",)) is None
