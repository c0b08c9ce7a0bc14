"""One connection to an upstream, and one call on it.

Decides when a connection may be used again, what has lasted too long, and when a failed call may be sent once more. What
counts as a response is `responses`' to say, what becomes of it is its Sink's business, and which connection a call gets
is the pool's.
"""

from __future__ import annotations

import asyncio
import select
import time
from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpParserUpgrade

from guardproxy.wire.heads import HeadFault
from guardproxy.wire.plans import UpstreamFailure
from guardproxy.wire.responses import ResponseReader

if TYPE_CHECKING:
    from guardproxy.wire.call import Call
    from guardproxy.wire.heads import ResponseHead
    from guardproxy.wire.plans import FailureKind
    from guardproxy.wire.pool import Pool
    from guardproxy.wire.tunnel import Tunnel


class UpstreamConnection(ResponseReader, asyncio.Protocol):
    """A transport to the pool's origin, a response parser, and at most one call."""

    __slots__ = (
        "_blocked_since",
        "_delivered",
        "_first",
        "_poll",
        "_pool",
        "_reading",
        "_received",
        "closed",
        "seen_at",
        "transport",
        "tunnel",
    )

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.limits)
        self._pool = pool
        self.transport: asyncio.Transport | None = None
        self.tunnel: Tunnel | None = None
        self.closed = False
        self.seen_at = pool.now
        self._poll: select.poll | None = None
        self._reading = True
        self._blocked_since: float | None = None
        self._delivered = False
        self._received = False
        self._first = b""

    # ------------------------------------------------------------ the pool's side

    def begin(self, call: Call) -> None:
        """Send a call on this idle connection."""
        self._next_response()
        self._delivered = False
        self._received = False
        self._first = b""
        self.call = call
        call.connection = self
        self.seen_at = self._pool.now
        transport = self._transport()
        payload = call.payload
        if call.waiting:
            payload = b"".join([payload, *call.waiting])
            call.waiting.clear()
            call.sink.on_blocked(blocked=False)
        call.sent_at = time.perf_counter()
        transport.write(payload)
        if not call.replayable:
            call.payload = b""
        if call.paused:
            self.pause_reading()

    def is_quiet(self) -> bool:
        """Whether nothing has come in on this idle connection, neither bytes nor an end, that the loop has yet to read."""
        if self.closed or self._transport().is_closing():
            return False
        return self._poll is None or not self._poll.poll(0)

    def sweep(self, now: float, slack: float) -> None:
        """End what has lasted too long. `slack` is the clock's grain, so nothing ends early."""
        times = self._pool.timeouts
        call = self.call
        idle = now - self.seen_at - slack
        if self.tunnel is not None:
            if idle > (times.response_idle_s if self.tunnel.half_closed else times.tunnel_idle_s):
                self.tunnel.abort()
        elif call is None:
            if idle > times.pool_idle_s:
                self.close()
        elif call.timeout_at is not None and now > call.timeout_at:
            self._fail("timeout", 504, "the call took longer than it may")
        elif self._blocked_since is not None and now - self._blocked_since - slack > times.client_write_s:
            self._fail("timeout", 504, "the upstream does not read the request")
        elif not self._delivered:
            if call.request_complete and idle > max(times.response_head_s, call.limit_s):
                self._fail("timeout", 504, "no response within the time for its head")
        elif self._reading and idle > max(times.response_idle_s, call.limit_s):
            self._fail("timeout", 504, "the response stopped in its body")

    def time_out(self) -> None:
        """The call's own time is over."""
        if self.call is not None:
            self._fail("timeout", 504, "the call took longer than it may")

    def close(self) -> None:
        """Close an idle connection."""
        self.closed = True
        self._pool.forget(self)
        if self.transport is not None:
            self.transport.close()

    def abandon(self) -> None:
        """Drop the connection and whatever is on it."""
        self.call = None
        self.closed = True
        self._pool.forget(self)
        if self.transport is not None:
            self.transport.abort()

    # ------------------------------------------------------------ the call's side

    def send(self, data: bytes) -> None:
        """More of the request's body."""
        self.seen_at = self._pool.now
        transport = self._transport()
        if data and not transport.is_closing():
            transport.write(data)

    def pause_reading(self) -> None:
        """Stop reading from the upstream."""
        if self._reading and not self.closed:
            self._reading = False
            self._transport().pause_reading()

    def resume_reading(self) -> None:
        """Read from the upstream again; the time spent waiting is not the upstream's."""
        if not self._reading and not self.closed:
            self._reading = True
            self.seen_at = self._pool.now
            transport = self._transport()
            if not transport.is_closing():
                transport.resume_reading()

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN | select.POLLPRI)

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.seen_at = self._pool.now
            self.tunnel.from_upstream(data)
            return
        call = self.call
        if call is None:
            if not self.closed:
                self._pool.surplus_closes += 1
                self._pool.distrust()
                self.abandon()
            return
        if not self._received:
            self._received = True
            head = self._pool.repeated(data, call)
            if head is not None:
                self._ended = True
                self._head = head
                body = data[len(data) - cast("int", head.content_length) :]
                if body:
                    self._pieces.append(body)
                self._deliver(call)
                return
            self._first = data
        rest = b""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except HttpParserError as error:
            if not self._ended:
                self._fault = self._fault or HeadFault(502, str(error.args[0]))
            self._surplus = True
        self._after_feed(call, data, rest)

    def eof_received(self) -> bool | None:
        if self.tunnel is not None:
            self.tunnel.upstream_ended()
            return True
        if self.call is not None:
            if self._head is not None and self._head.until_close and not self._ended and not self._surplus:
                self._ended = True
                self._deliver(self.call)
            else:
                self._cut("the upstream closed the connection")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._pool.forget(self)
        if self.tunnel is not None:
            self.tunnel.upstream_lost()
        elif self.call is not None:
            self._cut("the upstream reset the connection" if exc else "the upstream closed the connection")

    def pause_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.upstream_blocked(blocked=True)
        elif self.call is not None:
            self._blocked_since = self._pool.now
            self.call.sink.on_blocked(blocked=True)

    def resume_writing(self) -> None:
        self._blocked_since = None
        self.seen_at = self._pool.now
        if self.tunnel is not None:
            self.tunnel.upstream_blocked(blocked=False)
        elif self.call is not None:
            self.call.sink.on_blocked(blocked=False)

    # ------------------------------------------------------------ helpers

    def _transport(self) -> asyncio.Transport:
        assert self.transport is not None, "a connection is used only once it is made"  # noqa: S101  # an invariant
        return self.transport

    def _after_feed(self, call: Call, data: bytes, rest: bytes) -> None:
        if self._fault is None and not self._delivered:
            self._check_sizes(len(data))
        elif self._head is not None and self._head.chunked:
            self._check_framing(len(data))
        if self._fault is not None:
            self._fail("malformed", 502, self._fault.detail)
            return
        if self._continue:
            self._continue = False
            call.expects_continue = False
            call.sink.on_continue()
            if call.over:
                return
        if self._upgraded:
            self._hand_over(call, rest)
            return
        if self._head is None:
            return
        if self._parser_spent and self._head.chunked and not data.endswith(b"\r\n\r\n"):
            self._surplus = True
        if self._ended and self._first is data and not self._surplus and not self._interim:
            self._pool.remember(data, self._head, call)
        self._deliver(call)

    def _deliver(self, call: Call) -> None:
        pieces = self._pieces
        ended = self._ended
        if self._delivered and not pieces and not ended:
            return
        if not pieces:
            data = b""
        else:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._pieces = []
        self.seen_at = self._pool.now
        head = cast("ResponseHead", self._head)
        first, self._delivered = not self._delivered, True
        if ended:
            self._release(call, head)
        if first:
            call.sink.on_response(head, data, ended=ended)
        else:
            call.sink.on_data(data, ended=ended)

    def _release(self, call: Call, head: ResponseHead) -> None:
        """The response is whole: give the connection back, or close it when it cannot be trusted."""
        call.finish()
        self.call = None
        call.connection = None
        if self._surplus:
            self._pool.surplus_closes += 1
            self._pool.distrust()
        if self._surplus or not call.request_complete or not head.keep_alive or head.until_close:
            self.abandon()
        else:
            self.resume_reading()
            self._blocked_since = None
            self._pool.give_back(self)

    def _hand_over(self, call: Call, rest: bytes) -> None:
        call.finish()
        self.call = None
        self._delivered = True
        self._pool.hand_over(self)
        self.resume_reading()
        call.sink.on_upgraded(cast("ResponseHead", self._head), rest, self)

    def _cut(self, detail: str) -> None:
        if self._received:
            self._fail("incomplete" if self._head is not None else "reset", 502, detail)
        else:
            self._fail("reset", 502, f"{detail} before a response")

    def _fail(self, kind: FailureKind, status: int, detail: str) -> None:
        call = cast("Call", self.call)
        self.abandon()
        call.connection = None
        if kind == "reset" and not self._received and call.reused and call.replayable and not call.fresh_only:
            self._pool.retry(call)
            return
        call.finish()
        self._pool.failures += 1
        call.sink.on_failure(UpstreamFailure(kind, status, detail))
