"""A raw client: bytes in, bytes out, and a strict parser for what came back."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from tests.harness.loop import OPEN_WRITERS, PATIENCE_S


@dataclass
class Response:
    """A response as it stood on the wire."""

    status_line: bytes
    lines: list[bytes]
    body: bytes
    framing: str
    interim: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.status_line.split(b" ")[1])

    def all(self, name: bytes) -> list[bytes]:
        """The values of the lines of that name, in any case."""
        pairs = [line.split(b":", 1) for line in self.lines]
        return [value.strip() for key, value in pairs if key.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        values = self.all(name)
        return values[0] if values else None


class Incomplete(AssertionError):  # noqa: N818  # it is the outcome that tests look for
    """The connection ended (or was reset) inside a response."""

    def __init__(self, got: bytes, cause: BaseException | None) -> None:
        super().__init__(f"cut off: {got[-200:]!r} ({cause!r})")
        self.got = got
        self.reset = isinstance(cause, ConnectionError)


class RawClient:
    """One TCP connection to what is tested."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, *, limit: int = 1 << 16) -> RawClient:
        client = cls(*await asyncio.open_connection("127.0.0.1", port, limit=limit))
        OPEN_WRITERS.add(client.writer)
        return client

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def response(self, method: bytes = b"GET") -> Response:
        """The next final response; raises Incomplete when the connection ends first."""
        async with asyncio.timeout(PATIENCE_S):
            got = b""
            interim: list[bytes] = []
            try:
                while True:
                    head = await self.reader.readuntil(b"\r\n\r\n")
                    got += head
                    first, *lines = head[:-4].split(b"\r\n")
                    if not first.split(b" ")[1].startswith(b"1") or first.split(b" ")[1] == b"101":
                        break
                    interim.append(first)
                body, framing = await self._body(first, lines, method)
            except asyncio.IncompleteReadError as error:
                raise Incomplete(got + error.partial, error) from error
            except ConnectionError as error:
                raise Incomplete(got, error) from error
            return Response(first, lines, body, framing, interim)

    async def _body(self, first: bytes, lines: list[bytes], method: bytes) -> tuple[bytes, str]:
        headers = [(line.split(b":", 1)[0].lower(), line.split(b":", 1)[1].strip()) for line in lines]
        lengths = [value for name, value in headers if name == b"content-length"]
        codings = [value for name, value in headers if name == b"transfer-encoding"]
        assert len(lengths) <= 1, headers
        assert not (lengths and codings), headers
        status = int(first.split(b" ")[1])
        if method == b"HEAD" or status in (101, 204, 304):
            return b"", "none"
        if codings:
            assert codings == [b"chunked"], codings
            return await self._chunks(), "chunked"
        if lengths:
            return await self.reader.readexactly(int(lengths[0])), "length"
        return await self.reader.read(), "close"

    async def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
            data = await self.reader.readexactly(size + 2)
            assert data[-2:] == b"\r\n"
            if not size:
                return bytes(body)
            body += data[:-2]

    async def exchange(self, request: bytes, method: bytes = b"GET") -> Response:
        await self.send(request)
        return await self.response(method)

    async def rest(self) -> bytes:
        """Everything until the connection ends, cleanly or not."""
        async with asyncio.timeout(PATIENCE_S):
            got = b""
            try:
                while data := await self.reader.read(65536):
                    got += data
            except ConnectionError:
                pass
            return got

    async def end(self) -> str:
        """How the connection ends once everything is read: `clean` or `reset`. Fails when more bytes come."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                more = await self.reader.read(1)
            except ConnectionError:
                return "reset"
            assert more == b"", more
            return "clean"

    def abort(self) -> None:
        OPEN_WRITERS.discard(self.writer)
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
