"""One connection to an upstream, and one call on it.

Decides what counts as a response (RFC 9112 section 6), when a connection may be used again, and when a failed call may
be sent once more. What becomes of a response is its Sink's business; which connection a call gets is the pool's.
"""

from __future__ import annotations

import asyncio
import select
import time
from typing import TYPE_CHECKING, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from guardproxy.wire.heads import HeadFault, response_head
from guardproxy.wire.plans import UpstreamFailure

if TYPE_CHECKING:
    from guardproxy.wire.heads import Header, ResponseHead
    from guardproxy.wire.plans import FailureKind
    from guardproxy.wire.pool import Pool
    from guardproxy.wire.tunnel import Tunnel

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
_MAX_INTERIM = 16
_FRAMING_ALLOWANCE = 8192
_FRAMING_PER_BYTE = 16


class Sink(Protocol):
    """Who takes the response. Exactly one of an `ended=True`, on_failure and on_upgraded comes last."""

    def on_continue(self) -> None:
        """The upstream answered 100 to a call that expects it."""

    def on_response(self, head: ResponseHead, data: bytes, *, ended: bool) -> None:
        """The final head, with the body bytes that came along."""

    def on_data(self, data: bytes, *, ended: bool) -> None:
        """More of the body."""

    def on_failure(self, failure: UpstreamFailure) -> None:
        """No (complete) response. Not called after cancel()."""

    def on_upgraded(self, head: ResponseHead, rest: bytes, connection: UpstreamConnection) -> None:
        """The upstream answered 101 to a call that asks for an upgrade; `rest` came behind it."""

    def on_blocked(self, *, blocked: bool) -> None:
        """The upstream stopped (or began again) to take the request's body."""


class Call:
    """One request on its way. `payload` is the head with what is known of the body; `complete` says that is all."""

    __slots__ = (
        "connection",
        "expects_continue",
        "fresh_only",
        "method",
        "over",
        "paused",
        "payload",
        "replayable",
        "request_complete",
        "reused",
        "sent_at",
        "sink",
        "timeout_at",
        "timer",
        "upgrade",
        "waiting",
    )

    def __init__(
        self,
        sink: Sink,
        method: bytes,
        payload: bytes,
        *,
        complete: bool,
        expects_continue: bool = False,
        upgrade: bool = False,
    ) -> None:
        self.sink = sink
        self.method = method
        self.payload = payload
        self.request_complete = complete
        self.replayable = complete and method in IDEMPOTENT
        self.expects_continue = expects_continue
        self.upgrade = upgrade
        self.connection: UpstreamConnection | None = None
        self.waiting: list[bytes] = []
        self.reused = False
        self.fresh_only = False
        self.over = False
        self.paused = False
        self.sent_at = 0.0
        self.timeout_at: float | None = None
        self.timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes, *, complete: bool) -> None:
        """More of the request's body, framed. Ignored once the call is over."""
        if self.over:
            return
        self.replayable = False
        self.request_complete = complete
        connection = self.connection
        if connection is None:
            if data:
                self.waiting.append(data)
        else:
            connection.send(data)

    def pause(self) -> None:
        """Stop reading the response: its taker is behind."""
        self.paused = True
        if self.connection is not None:
            self.connection.pause_reading()

    def resume(self) -> None:
        """Read the response again."""
        self.paused = False
        if self.connection is not None:
            self.connection.resume_reading()

    def cancel(self) -> None:
        """End the call at once, its connection with it. The sink hears nothing more."""
        if self.over:
            return
        self.finish()
        connection = self.connection
        if connection is not None:
            connection.abandon()

    def finish(self) -> None:
        """Mark the call as over; nothing is delivered from now on."""
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    @property
    def seconds(self) -> float:
        """Seconds since the request was sent, 0.0 if it was not."""
        return time.perf_counter() - self.sent_at if self.sent_at else 0.0


class UpstreamConnection(asyncio.Protocol):
    """A transport to the pool's origin, a response parser, and at most one call."""

    __slots__ = (
        "_blocked_since",
        "_chunked_fed",
        "_continue",
        "_delivered",
        "_ended",
        "_fault",
        "_first",
        "_head",
        "_head_fed",
        "_headers",
        "_in_head",
        "_interim",
        "_parser",
        "_parser_spent",
        "_pieces",
        "_poll",
        "_pool",
        "_reading",
        "_reason",
        "_received",
        "_size",
        "_surplus",
        "_trailers",
        "_upgraded",
        "call",
        "closed",
        "seen_at",
        "transport",
        "tunnel",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.transport: asyncio.Transport | None = None
        self.call: Call | None = None
        self.tunnel: Tunnel | None = None
        self.closed = False
        self.seen_at = pool.now
        self._poll: select.poll | None = None
        self._parser = HttpResponseParser(self)
        self._parser_spent = False
        self._reading = True
        self._blocked_since: float | None = None
        self._reset()

    def _reset(self) -> None:
        self._headers: list[Header] = []
        self._reason = b""
        self._head: ResponseHead | None = None
        self._head_fed = 0
        self._in_head = True
        self._interim = 0
        self._continue = False
        self._upgraded = False
        self._pieces: list[bytes] = []
        self._delivered = False
        self._ended = False
        self._surplus = False
        self._fault: HeadFault | None = None
        self._received = False
        self._first = b""
        self._size = 0
        self._chunked_fed = 0
        self._trailers = 0

    # ------------------------------------------------------------ the pool's side

    def begin(self, call: Call) -> None:
        """Send a call on this idle connection."""
        if self._parser_spent:
            self._parser = HttpResponseParser(self)
            self._parser_spent = False
        self._reset()
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
            if call.request_complete and idle > times.response_head_s:
                self._fail("timeout", 504, "no response within the time for its head")
        elif self._reading and idle > times.response_idle_s:
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

    # ------------------------------------------------------------ llhttp's callbacks

    def on_message_begin(self) -> None:
        if self._ended:
            self._surplus = True
            raise HeadFault(502, "more than one response")

    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._headers.append((name, value))
            return
        self._trailers += 1
        if self._trailers > self._pool.limits.max_headers:
            self._fault = HeadFault(502, "too many trailer lines")
            raise self._fault

    def on_headers_complete(self) -> None:
        try:
            self._check_head()
        except HeadFault as fault:
            self._fault = fault
            raise

    def on_body(self, data: bytes) -> None:
        if self._ended:
            self._surplus = True
            raise HeadFault(502, "bytes behind the response")
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        if self._head is None:
            # An interim response: the next head begins.
            self._headers = []
            self._reason = b""
            self._in_head = True
            self._head_fed = 0
        elif self._ended and self._head.chunked:
            self._surplus = True
        else:
            self._ended = True

    # ------------------------------------------------------------ helpers

    def _transport(self) -> asyncio.Transport:
        assert self.transport is not None, "a connection is used only once it is made"  # noqa: S101  # an invariant
        return self.transport

    def _check_head(self) -> None:
        call = cast("Call", self.call)
        parser = self._parser
        limits = self._pool.limits
        if len(self._headers) > limits.max_headers:
            raise HeadFault(502, "too many header lines")
        status = parser.get_status_code()
        head = response_head(status, self._reason, parser.get_http_version(), self._headers, call.method)
        self._in_head = False
        if status >= 200:
            self._head = head
            # llhttp does not know that this answers a HEAD; its state is of no use afterwards.
            if head.bodiless:
                self._ended = True
                self._parser_spent = call.method == b"HEAD"
        elif status == 101:
            if not (call.upgrade and parser.should_upgrade()):
                raise HeadFault(502, "101 without a request for an upgrade")
            self._head = head
            self._upgraded = True
        else:
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise HeadFault(502, "too many interim responses")
            self._continue = self._continue or (status == 100 and call.expects_continue)

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

    def _check_sizes(self, fed: int) -> None:
        limits = self._pool.limits
        self._head_fed += fed
        size = self._head_fed
        if self._head is not None and size > limits.max_head_bytes:
            size = len(self._reason)
            for name, value in self._head.headers:
                size += len(name) + len(value) + 4
        if size > limits.max_head_bytes:
            self._fault = HeadFault(502, "the response head is too large")

    def _check_framing(self, fed: int) -> None:
        """Bound chunk extensions and trailers: bytes that are neither head nor body."""
        self._chunked_fed += fed
        for piece in self._pieces:
            self._size += len(piece)
        if self._chunked_fed > _FRAMING_ALLOWANCE + _FRAMING_PER_BYTE * self._size:
            self._fault = HeadFault(502, "chunk extensions or trailers are too large")

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
