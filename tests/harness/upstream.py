"""Raw upstreams: one that records the requests it gets, byte for byte, and answers as a script says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self


@dataclass
class Recorded:
    """A request as it stood on the wire. `body` is without chunk framing."""

    request_line: bytes
    lines: list[bytes]
    body: bytes
    framing: str
    connection: int

    @property
    def target(self) -> bytes:
        return self.request_line.split(b" ")[1]

    def all(self, name: bytes) -> list[bytes]:
        pairs = [line.split(b":", 1) for line in self.lines]
        return [value.strip() for key, value in pairs if key.lower() == name.lower()]


Answer = Callable[[Recorded, asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes = b"ok", *headers: bytes) -> bytes:
    """A plain 200."""
    lines = [b"HTTP/1.1 200 OK", *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class RecorderUpstream:
    """Records each complete request in `requests` and answers with `answer` (bytes, or a coroutine that writes).

    `early` is called as soon as a head has been read, before its body.
    """

    def __init__(self, answer: bytes | Answer | None = None, early: Answer | None = None) -> None:
        self.answer: bytes | Answer = ok() if answer is None else answer
        self.early = early
        self.requests: list[Recorded] = []
        self.raw = b""
        self.accepted = 0
        self.lost = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        number = self.accepted
        try:
            while True:
                request = await self._read(reader, writer, number)
                self.requests.append(request)
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                    await writer.drain()
                else:
                    await self.answer(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, RuntimeError):
            self.lost += 1
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> Recorded:
        head = await reader.readuntil(b"\r\n\r\n")
        self.raw += head
        first, *lines = head[:-4].split(b"\r\n")
        request = Recorded(first, lines, b"", "none", number)
        if self.early is not None:
            await self.early(request, writer)
        lengths, codings = request.all(b"content-length"), request.all(b"transfer-encoding")
        assert len(lengths) + len(codings) <= 1, lines
        if lengths:
            request.framing = "length"
            request.body = await reader.readexactly(int(lengths[0]))
        elif codings:
            request.framing = "chunked"
            assert codings == [b"chunked"]
            body = bytearray()
            while True:
                size = int((await reader.readuntil(b"\r\n"))[:-2], 16)
                data = await reader.readexactly(size + 2)
                assert data[-2:] == b"\r\n"
                if not size:
                    break
                body += data[:-2]
            request.body = bytes(body)
        return request
