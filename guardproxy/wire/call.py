"""One call to an upstream: what is sent, who takes the response, and how it is cancelled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from guardproxy.wire.heads import ResponseHead
    from guardproxy.wire.plans import UpstreamFailure
    from guardproxy.wire.upstream import UpstreamConnection

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})


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
        "limit_s",
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
        self.limit_s = 0.0
        """What its maker gave it, 0.0 where nothing was said. A silence may be as long, whatever the pool's timeouts say."""
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
        self.take_time()

    def take_time(self) -> None:
        """Let the call last as long as bytes keep coming: what is streamed ends when its sender likes."""
        self.timeout_at = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    @property
    def seconds(self) -> float:
        """Seconds since the request was sent, 0.0 if it was not."""
        return time.perf_counter() - self.sent_at if self.sent_at else 0.0
