"""Connections to one upstream, kept for the next call.

Decides which connection a call gets, and when one is no longer to be trusted. A connection that receives a byte while
idle, or more than one response, is closed and never used again; after such an event no connection of the pool is
reused for a while, since the next surplus response might arrive only after its connection carries another call (where
nobody could tell it from the answer). For the same reason the connection that has rested longest is taken first, and its
socket is looked at before it is used.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from guardproxy.wire.limits import Limits, Timeouts
from guardproxy.wire.plans import UpstreamFailure
from guardproxy.wire.repeat import KnownHead
from guardproxy.wire.upstream import UpstreamConnection

if TYPE_CHECKING:
    from guardproxy.wire.call import Call
    from guardproxy.wire.heads import ResponseHead
    from guardproxy.wire.origin import Origin
    from guardproxy.wire.plans import FailureKind

_DISTRUST_S = 60.0


class Pool:
    """Connections to `origin`, bound to the event loop that first uses them.

    Counters: `connects`, `connect_failures`, `reuses`, `retries`, `surplus_closes`, `stale_closes` (an idle connection
    that had ended when it was wanted), `calls`, `failures`, `full`; `idle` and `open` say how many there are.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        max_idle: int = 256,
        max_connections: int = 4096,
    ) -> None:
        self.origin = origin
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self.max_idle = max_idle
        self.max_connections = max_connections
        self.now = time.monotonic()
        self.calls = 0
        self.connects = 0
        self.connect_failures = 0
        self.reuses = 0
        self.retries = 0
        self.surplus_closes = 0
        self.stale_closes = 0
        self.failures = 0
        self.full = 0
        self._idle: deque[UpstreamConnection] = deque()
        self._all: set[UpstreamConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._trusted_from = 0.0
        self._sweep_s = self.timeouts.sweep_s
        self._closed = False
        self._known: KnownHead[ResponseHead] = KnownHead()

    @property
    def idle(self) -> int:
        """Connections that wait for a call."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """Connections in any state."""
        return len(self._all)

    def submit(self, call: Call, timeout_s: float | None = None) -> None:
        """Send a call on an idle connection, or on a new one. Its sink hears what becomes of it, perhaps at once."""
        self.calls += 1
        if timeout_s is not None:
            self._arm(call, timeout_s)
        self._place(call)

    def close(self) -> None:
        """Close idle connections now and the others as their calls end."""
        self._closed = True
        for connection in list(self._idle):
            connection.close()
        if not self._all and self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    # ------------------------------------------------------------ for UpstreamConnection

    def repeated(self, data: bytes, call: Call) -> ResponseHead | None:
        """The head of `data`, if that is exactly the last response head again (but for the length) with its body.

        Asked only at the start of a response; see `repeat`.
        """
        return None if call.method == b"HEAD" else self._known.match(data)

    def remember(self, data: bytes, head: ResponseHead, call: Call) -> None:
        """`data` was exactly one response; keep its head for `repeated`."""
        length = head.content_length
        if head.keep_alive and length is not None and not head.bodiless and call.method != b"HEAD":
            self._known.remember(data, length, head)

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection has ended its call cleanly."""
        if self._closed or len(self._idle) >= self.max_idle or self.now < self._trusted_from:
            connection.close()
        else:
            self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is closing."""
        if connection in self._all:
            self._all.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)

    def hand_over(self, connection: UpstreamConnection) -> None:
        """A connection became a tunnel: it stays counted, and is swept, until it closes."""

    def distrust(self) -> None:
        """This upstream sent what nobody asked for: reuse no connection for a while."""
        self.now = time.monotonic()
        self._trusted_from = self.now + _DISTRUST_S
        for connection in list(self._idle):
            connection.close()

    def retry(self, call: Call) -> None:
        """Send a call again that failed on a reused connection without a byte of response."""
        self.retries += 1
        call.fresh_only = True
        self._connect(call)

    # ------------------------------------------------------------ helpers

    def _place(self, call: Call) -> None:
        idle = self._idle
        while idle and not call.fresh_only:
            # The one that has rested longest: the most time for a surplus byte to have shown up.
            connection = idle.popleft()
            if connection.is_quiet():
                self.reuses += 1
                call.reused = True
                connection.begin(call)
                return
            # Bytes or an end are waiting to be read: it must not carry another call.
            self.stale_closes += 1
            connection.abandon()
        self._connect(call)

    def _connect(self, call: Call) -> None:
        if self._closed:
            self._failed(call, "refused", 502, "the pool is closed")
            return
        if len(self._all) + len(self._connecting) >= self.max_connections:
            self.full += 1
            self._failed(call, "refused", 502, "no connection to the upstream is free")
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._open(call))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _open(self, call: Call) -> None:
        if call.over:
            return
        loop = asyncio.get_running_loop()
        origin = self.origin
        try:
            async with asyncio.timeout(self.timeouts.connect_s):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self), origin.host, origin.port
                )
        except TimeoutError:
            self._connect_failed(call, "timeout", 504, "connecting to the upstream took too long")
            return
        except ConnectionRefusedError:
            self._connect_failed(call, "refused", 502, "the upstream refuses connections")
            return
        except OSError:
            self._connect_failed(call, "connect", 502, "the upstream cannot be reached")
            return
        self.connects += 1
        self._all.add(connection)
        self._watch()
        call.reused = False
        self._begin(call, connection)

    def _begin(self, call: Call, connection: UpstreamConnection) -> None:
        if call.over:
            # Cancelled while the connection was made.
            self.give_back(connection)
        else:
            connection.begin(call)

    def _connect_failed(self, call: Call, kind: FailureKind, status: int, detail: str) -> None:
        self.connect_failures += 1
        self._failed(call, kind, status, detail)

    def _failed(self, call: Call, kind: FailureKind, status: int, detail: str) -> None:
        if not call.over:
            self.failures += 1
            call.finish()
            call.sink.on_failure(UpstreamFailure(kind, status, detail))

    def _arm(self, call: Call, timeout_s: float) -> None:
        call.limit_s = timeout_s
        # A timer costs more than the sweep and is worth it only where the sweep would be too coarse.
        if timeout_s >= 5 * self._sweep_s:
            call.timeout_at = time.monotonic() + timeout_s
        else:
            call.timer = asyncio.get_running_loop().call_later(timeout_s, self._time_out, call)

    def _time_out(self, call: Call) -> None:
        if call.connection is not None:
            call.connection.time_out()
        else:
            self._failed(call, "timeout", 504, "the call took longer than it may")

    def _watch(self) -> None:
        if self._sweeper is None:
            self.now = time.monotonic()
            self._sweeper = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        self.now = now = time.monotonic()
        for connection in list(self._all):
            connection.sweep(now, self._sweep_s)
        if self._all:
            self._sweeper = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)
