"""A TCP proxy between two parties that goes wrong on purpose."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self


@dataclass
class Faults:
    """What goes wrong with the bytes that come back from the target. Counts are bytes from the start of a connection."""

    latency_s: float = 0.0
    slice_bytes: int = 0
    """Pass on at most this many bytes at once (0: as they come)."""
    black_hole_after: int | None = None
    """Swallow what comes after so many bytes, and keep the connection open."""
    end_after: int | None = None
    """Close cleanly after so many bytes."""
    reset_after: int | None = None
    """Reset after so many bytes."""
    flip_byte_at: int | None = None


class FaultProxy:
    """Listens on `port`, connects each client to `target`, and treats the way back as `faults` says at that moment."""

    def __init__(self, target: int, faults: Faults | None = None) -> None:
        self.target = target
        self.faults = faults or Faults()
        self.port = 0
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        there = asyncio.create_task(self._there(reader, far_writer))
        try:
            await self._back(far_reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            there.cancel()
            far_writer.transport.abort()
            self._tasks.discard(task)

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.transport.abort()
        except ConnectionError:
            writer.transport.abort()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await reader.read(self.faults.slice_bytes or 65536):
            faults = self.faults
            if faults.latency_s:
                await asyncio.sleep(faults.latency_s)
            start, passed = passed, passed + len(data)
            if faults.flip_byte_at is not None and start <= faults.flip_byte_at < passed:
                at = faults.flip_byte_at - start
                data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            if faults.black_hole_after is not None and passed > faults.black_hole_after:
                data = data[: max(0, faults.black_hole_after - start)]
            bound = faults.end_after if faults.end_after is not None else faults.reset_after
            if bound is not None and passed >= bound:
                writer.write(data[: max(0, bound - start)])
                await writer.drain()
                break
            writer.write(data)
            await writer.drain()
        if self.faults.reset_after is not None:
            _reset(writer)
        else:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset in place of an end."""
    import os
    import socket
    import struct

    sock = writer.get_extra_info("socket")
    with socket.socket(fileno=os.dup(sock.fileno())) as twin:
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
