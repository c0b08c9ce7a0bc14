"""The listener: accepts client connections, counts, keeps time for them, drains and closes."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from guardproxy.wire import framing
from guardproxy.wire.client import ClientConnection
from guardproxy.wire.limits import Limits, Timeouts

if TYPE_CHECKING:
    import socket

    from guardproxy.wire.plans import Application

_WATCH_S = 0.05


class Server:
    """An HTTP/1.1 server for one application. Made by `Server.start`.

    Counters: `accepted`, `requests`, `refused` (requests the wire itself refused), `turned_away` (connections beyond the
    limit), `aborted` (responses cut because the upstream failed in mid-body), `hangups` (clients that left before their
    answer was complete), `late_replies`, `faults` (exceptions out of the application), `timeouts_hit`, `tunnels`, `loops`.
    """

    def __init__(
        self, app: Application, timeouts: Timeouts, limits: Limits, pseudonym: str, nonce: str
    ) -> None:
        self.app = app
        self.timeouts = timeouts
        self.limits = limits
        self.connections: set[ClientConnection] = set()
        self.draining = False
        self.port = 0
        self.now = time.monotonic()
        self.date = framing.date_line()
        mark = f"{pseudonym} ({nonce})"
        self.via_mark = mark.encode("ascii")
        self.via_lines = tuple(f"Via: 1.{minor} {mark}".encode("ascii") for minor in (0, 1))
        self.accepted = 0
        self.requests = 0
        self.refused = 0
        self.turned_away = 0
        self.aborted = 0
        self.hangups = 0
        self.late_replies = 0
        self.faults = 0
        self.timeouts_hit = 0
        self.tunnels = 0
        self.loops = 0
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_s = timeouts.sweep_s
        self._empty: asyncio.Event | None = None
        self._watched: set[ClientConnection] = set()
        self._watcher: asyncio.TimerHandle | None = None

    @classmethod
    async def start(
        cls,
        app: Application,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        pseudonym: str = "guardproxy",
        nonce: str | None = None,
        sock: socket.socket | None = None,
        reuse_port: bool | None = None,
        backlog: int = 1024,
    ) -> Server:
        """Listen on `host:port` (0 picks a port, told by `.port`) or on `sock`.

        `nonce` marks our Via lines, so that a request that comes back is known as a loop (508); processes that share a
        port should share it. Raises OSError when the address cannot be had.
        """
        server = cls(
            app, timeouts or Timeouts(), limits or Limits(), pseudonym, nonce or secrets.token_hex(6)
        )
        loop = asyncio.get_running_loop()
        if sock is not None:
            listener = await loop.create_server(lambda: ClientConnection(server), sock=sock, backlog=backlog)
        else:
            listener = await loop.create_server(
                lambda: ClientConnection(server), host, port, reuse_port=reuse_port, backlog=backlog
            )
        server._listener = listener
        server.port = listener.sockets[0].getsockname()[1]
        server._sweep()
        return server

    def drain(self) -> None:
        """Lame duck: still accept and answer, close each connection after its response, close the idle ones now."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def stop_listening(self) -> None:
        """Close the listener; connections live on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def close(self, timeout_s: float = 25.0) -> None:
        """Stop listening, drain, wait up to `timeout_s` for exchanges in flight, then abort what is left."""
        self.stop_listening()
        self.drain()
        if self.connections:
            self._empty = asyncio.Event()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._empty.wait()
            except TimeoutError:
                for connection in list(self.connections):
                    connection.abort()
                await asyncio.sleep(0)
        for timer in (self._sweeper, self._watcher):
            if timer is not None:
                timer.cancel()
        self._sweeper = self._watcher = None

    @property
    def active(self) -> int:
        """Connections with a request in flight."""
        return sum(not connection.is_idle for connection in self.connections)

    # ------------------------------------------------------------ for ClientConnection

    def admit(self, connection: ClientConnection) -> bool:
        """Count a new connection; False when there are too many."""
        self.accepted += 1
        if len(self.connections) >= self.limits.max_connections:
            self.turned_away += 1
            return False
        self.connections.add(connection)
        return True

    def leave(self, connection: ClientConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        self._watched.discard(connection)
        if self._empty is not None and not self.connections:
            self._empty.set()

    def watch(self, connection: ClientConnection) -> None:
        """Look often whether this client hangs up: it is not being read, so nothing else would tell."""
        self._watched.add(connection)
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().call_later(_WATCH_S, self._watch)

    def unwatch(self, connection: ClientConnection) -> None:
        """It is being read again."""
        self._watched.discard(connection)

    def _watch(self) -> None:
        self._watcher = None
        for connection in list(self._watched):
            connection.check_hang_up()
        if self._watched:
            self._watcher = asyncio.get_running_loop().call_later(_WATCH_S, self._watch)

    def _sweep(self) -> None:
        self.now = now = time.monotonic()
        self.date = framing.date_line()
        for connection in list(self.connections):
            connection.sweep(now, self._sweep_s)
        self._sweeper = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)
