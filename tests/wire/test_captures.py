"""Exchanges recorded between real clients and real model servers pass through unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.apps import App, Guarding, PassThrough, pool_for, serving
from tests.harness.client import RawClient
from tests.harness.loop import run
from tests.harness.upstream import Recorded, RecorderUpstream
from tests.shared import shared_file

if TYPE_CHECKING:
    import asyncio
import re

_MARK = re.compile(rb"\n?=== (CLIENT -> SERVER|SERVER -> CLIENT) ===\n")
_START = re.compile(rb"^[A-Z]+ \S+ HTTP/1\.1\r$", re.MULTILINE)
_STATUS = re.compile(rb"^HTTP/1\.1 ", re.MULTILINE)
_HOP = (b"connection:", b"keep-alive:", b"transfer-encoding:", b"te:", b"upgrade:")


def _exchanges() -> list[tuple[str, bytes, bytes]]:
    found = []
    for path in sorted(shared_file("captures").glob("*/*.txt")):
        _, *parts = _MARK.split(path.read_bytes())
        out = b"".join(
            data for mark, data in zip(parts[::2], parts[1::2], strict=True) if mark.startswith(b"CLIENT")
        )
        back = b"".join(
            data for mark, data in zip(parts[::2], parts[1::2], strict=True) if mark.startswith(b"SERVER")
        )
        if len(_START.findall(out)) == 1 and len(_STATUS.findall(back)) == 1:
            found.append((path.stem, out, back))
    return found


def _end_to_end(head: bytes) -> list[bytes]:
    lines = head.split(b"\r\n")[1:]
    return [line for line in lines if not line.lower().startswith(_HOP)]


@pytest.mark.parametrize("guarded", [False, True])
def test_recorded_exchanges_pass_through_unchanged(guarded: bool) -> None:
    exchanges = _exchanges()
    assert len(exchanges) > 40

    async def scenario() -> None:
        current = b""

        async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
            writer.write(current)
            await writer.drain()
            if b"content-length:" not in current.lower() and b"chunked" not in current.lower():
                writer.close()

        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool, nonce="n") as server:
                for name, request, response in exchanges:
                    current = response
                    client = await RawClient.connect(server.port)
                    method = request.split(b" ", 1)[0]
                    got = await client.exchange(request, method)
                    await client.close()
                    head, _, body = request.partition(b"\r\n\r\n")
                    seen = upstream.requests[-1]
                    assert seen.request_line == head.split(b"\r\n")[0], name
                    assert [line for line in seen.lines if not line.lower().startswith(_HOP)] == [
                        *_end_to_end(head),
                        b"Via: 1.1 guardproxy (n)",
                    ], name
                    if seen.framing == "length":
                        assert seen.body == body, name
                    head, _, body = response.partition(b"\r\n\r\n")
                    assert got.status_line == head.split(b"\r\n")[0].replace(b"HTTP/1.0", b"HTTP/1.1"), name
                    ours = (
                        b"date:",
                        b"x-guarded:",
                        b"connection:",
                        b"transfer-encoding:",
                        b"content-length:",
                    )
                    kept = [line for line in got.lines if not line.lower().startswith(ours)]
                    assert kept == [
                        line for line in _end_to_end(head) if not line.lower().startswith(ours)
                    ], name
                    if b"chunked" not in head.lower():
                        assert got.body == body, name
            assert not app.faults

    run(scenario())
