"""Whatever bytes come in from either side, the wire answers, cuts or waits: it never faults and never mixes exchanges up."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.apps import App, Guarding, PassThrough, pool_for, serving
from tests.harness.client import RawClient
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream

_TOKENS = [
    b"GET", b"POST", b"HEAD", b" ", b"/", b"*", b"http://h/", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r", b"Host: g",
    b"Content-Length: 3", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: Upgrade",
    b"Upgrade: chat", b"Expect: 100-continue", b"X:", b"\x00", b"\xff", b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc", b"A" * 5000,
    b"GET / HTTP/1.1\r\nHost: g\r\n\r\n", b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n",
]  # fmt: skip
_ANSWERS = [
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"200", b"204", b"304", b"100", b"101", b"999", b" OK", b"\r\n", b"\n", b"Content-Length: 3",
    b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: Upgrade", b"Upgrade: chat", b"abc",
    b"3\r\nabc\r\n", b"0\r\n\r\n", b"\x00", b"\xff", b"A" * 5000, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
]  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(pieces=st.lists(st.sampled_from(_TOKENS), max_size=14), cut=st.booleans(), guarded=st.booleans())
def test_no_bytes_from_a_client_are_a_fault(pieces: list[bytes], cut: bool, guarded: bool) -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                for piece in pieces if cut else [b"".join(pieces)]:
                    client.writer.write(piece)
                    await asyncio.sleep(0)
                client.writer.write_eof()
                got = await client.rest()
                assert got == b"" or got.startswith(b"HTTP/1.1 ")
                await until(lambda: not server.connections, "the connection ends")
                other = await RawClient.connect(server.port)
                assert (await other.exchange(b"GET /ok HTTP/1.1\r\nHost: g\r\n\r\n")).body == b"ok"
            assert not app.faults

    run(scenario())


@settings(max_examples=120, deadline=None)
@given(pieces=st.lists(st.sampled_from(_ANSWERS), max_size=14), cut=st.booleans(), guarded=st.booleans())
def test_no_bytes_from_an_upstream_are_a_fault(pieces: list[bytes], cut: bool, guarded: bool) -> None:
    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        if request.target == b"/ok":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
            return
        for piece in pieces if cut else [b"".join(pieces)]:
            writer.write(piece)
            await asyncio.sleep(0)
        writer.close()

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                await client.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n")
                head = await client.reader.read(9)
                assert head in (b"", b"HTTP/1.1 ")
                other = await RawClient.connect(server.port)
                assert (await other.exchange(b"GET /ok HTTP/1.1\r\nHost: g\r\n\r\n")).body == b"ok"
            assert not app.faults

    run(scenario())
