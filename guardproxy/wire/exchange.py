"""A guarded request: its whole body is here, and the application says what is called and what is answered.

Everything is a synchronous callback on the event loop; no task per request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardproxy.wire import framing
from guardproxy.wire.call import Call
from guardproxy.wire.outbound import changed_block, own_block
from guardproxy.wire.plans import Reply, UpstreamFailure, UpstreamResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guardproxy.wire.answers import AnsweringConnection
    from guardproxy.wire.heads import Header, RequestHead, ResponseHead
    from guardproxy.wire.pool import Pool
    from guardproxy.wire.turns import Turn
    from guardproxy.wire.upstream import UpstreamConnection

_NO_NAMES: frozenset[bytes] = frozenset()


class Exchange:
    """One collected request, owned by its client connection.

    `gone` says that the client hung up: pending calls were cancelled (their `failed` heard kind `cancelled`) and
    `on_gone` was called. A reply after that is ignored and counted.
    """

    __slots__ = ("_calls", "_client", "_replied", "_turn", "body", "gone", "head", "on_gone", "peer")

    def __init__(self, client: AnsweringConnection, turn: Turn, head: RequestHead, body: bytes) -> None:
        self._client = client
        self._turn = turn
        self._replied = False
        self._calls: list[ExchangeCall] = []
        self.head = head
        self.body = body
        self.peer = client.peer
        self.gone = False
        self.on_gone: Callable[[], None] | None = None

    @property
    def replied(self) -> bool:
        """Whether an answer has begun, by reply() or as a streamed response."""
        return self._replied

    def call(
        self,
        upstream: Pool,
        *,
        collect: Callable[[ResponseHead], int | None],
        received: Callable[[UpstreamResponse], None],
        failed: Callable[[UpstreamFailure], None],
        overflow: Callable[[ResponseHead], tuple[Header, ...] | Reply],
        streamed: Callable[[ResponseHead], tuple[Header, ...]] | None = None,
        headers: Sequence[Header] | None = None,
        body: bytes | None = None,
        method: bytes | None = None,
        target: bytes | None = None,
        timeout_s: float | None = None,
        drop_request: frozenset[bytes] = _NO_NAMES,
        drop_response: frozenset[bytes] = _NO_NAMES,
    ) -> None:
        """Send the request (or what is given in its place) to `upstream`.

        `collect` says how many body bytes to buffer, or None to stream this response through as it is, with the headers
        that `streamed` adds. `received` gets the whole response; `overflow` decides when it is larger: headers to add to
        a stream of what was buffered and the rest, or a Reply, which drops the upstream. `failed` hears of a call
        without a complete response, unless its bytes already went to the client, whose connection is then aborted.
        `timeout_s` bounds a call whose response is collected; one that streams goes on while bytes come.
        `drop_request` holds lower-case names that do not go upstream, `drop_response` those a streamed response loses.

        Several calls may run at once; the first that answers the client ends the others.
        """
        if self.gone or self._replied:
            failed(UpstreamFailure("cancelled", 502, "the exchange is over"))
            return
        data = self.body if body is None else body
        head, origin, size = self.head, upstream.origin, len(data)
        via = self._client.server.via_lines[head.minor]
        if headers is None and method is None and target is None:
            block = own_block(head, origin, drop_request, size, via)
        else:
            block = changed_block(head, origin, drop_request, headers, method, target, size, via)
        call = ExchangeCall(self, collect, received, failed, overflow, streamed, drop_response)
        self._calls.append(call)
        call.submit(upstream, method or self.head.method, block + data, timeout_s)

    def reply(self, reply: Reply) -> None:
        """Answer the client. Exactly once: a second answer raises RuntimeError, one after `gone` is counted and ignored.

        Raises ValueError for a header that would not be one line; the exchange then still waits for its answer.
        """
        if self.gone:
            self._client.server.late_replies += 1
            return
        if self._replied:
            raise RuntimeError("this exchange has been answered")
        block = self._client.reply_block(self._turn, reply)
        self._take_over(None)
        self._client.send_reply(self._turn, block, close=reply.close)

    # ------------------------------------------------------------ for the connection and the calls

    def client_gone(self) -> None:
        """The client hung up."""
        if self.gone:
            return
        self.gone = True
        calls, self._calls = self._calls, []
        for call in calls:
            call.cancel(tell=True)
        if self.on_gone is not None:
            self._client.observed(self.on_gone)

    def client_blocked(self, *, blocked: bool) -> None:
        """The client stopped (or began again) to read a streamed response."""
        for call in self._calls:
            call.client_blocked(blocked=blocked)

    def over(self, call: ExchangeCall) -> None:
        """A call has ended."""
        if call in self._calls:
            self._calls.remove(call)

    def start_stream(
        self,
        call: ExchangeCall,
        head: ResponseHead,
        drop: frozenset[bytes],
        add: Sequence[Header],
        data: bytes,
        *,
        ended: bool,
    ) -> None:
        """A call's response becomes the answer."""
        self._take_over(call)
        self._client.begin_response(self._turn, head, framing.dropped_names(drop), add, data, ended=ended)

    def more_stream(self, data: bytes, *, ended: bool) -> None:
        """More of the streamed answer."""
        self._client.more_response(self._turn, data, ended=ended)

    def fault(self, exc: Exception) -> None:
        """A callback of the application raised."""
        self._client.callback_failed(exc)

    def abort(self) -> None:
        """The streamed answer cannot be finished."""
        self._client.server.aborted += 1
        self._client.abort()

    def _take_over(self, winner: ExchangeCall | None) -> None:
        self._replied = True
        for call in self._calls:
            if call is not winner:
                call.cancel(tell=False)
        self._calls = [] if winner is None else [winner]


class ExchangeCall:
    """An upstream call of an exchange. The Sink of its call."""

    __slots__ = (
        "_call",
        "_collect",
        "_drop",
        "_exchange",
        "_failed",
        "_head",
        "_limit",
        "_overflow",
        "_parts",
        "_received",
        "_size",
        "_streamed",
        "_streaming",
    )

    def __init__(
        self,
        exchange: Exchange,
        collect: Callable[[ResponseHead], int | None],
        received: Callable[[UpstreamResponse], None],
        failed: Callable[[UpstreamFailure], None],
        overflow: Callable[[ResponseHead], tuple[Header, ...] | Reply],
        streamed: Callable[[ResponseHead], tuple[Header, ...]] | None,
        drop: frozenset[bytes],
    ) -> None:
        self._exchange = exchange
        self._collect = collect
        self._received = received
        self._failed = failed
        self._overflow = overflow
        self._streamed = streamed
        self._drop = drop
        self._call: Call | None = None
        self._head: ResponseHead | None = None
        self._limit = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._streaming = False

    def submit(self, upstream: Pool, method: bytes, payload: bytes, timeout_s: float | None) -> None:
        """Send it."""
        self._call = Call(self, method, payload, complete=True)
        upstream.submit(self._call, timeout_s)

    def cancel(self, *, tell: bool) -> None:
        """Drop the upstream; `tell` its `failed` callback."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if tell and not self._streaming:
            failure = UpstreamFailure("cancelled", 502, "the client hung up")
            self._guard(lambda: self._failed(failure))

    def client_blocked(self, *, blocked: bool) -> None:
        """The client stopped (or began again) to read."""
        if self._streaming and self._call is not None and not self._call.over:
            if blocked:
                self._call.pause()
            else:
                self._call.resume()

    # ------------------------------------------------------------ Sink

    def on_continue(self) -> None:
        """Never expected: the whole body goes with the head."""

    def on_response(self, head: ResponseHead, data: bytes, *, ended: bool) -> None:
        self._head = head
        self._guard(lambda: self._begin(head, data, ended=ended))

    def on_data(self, data: bytes, *, ended: bool) -> None:
        if self._streaming:
            if ended:
                self._over()
            self._exchange.more_stream(data, ended=ended)
        else:
            self._guard(lambda: self._more(data, ended=ended))

    def on_failure(self, failure: UpstreamFailure) -> None:
        self._over()
        if self._streaming:
            self._exchange.abort()
        else:
            self._guard(lambda: self._failed(failure))

    def on_upgraded(self, head: ResponseHead, rest: bytes, connection: UpstreamConnection) -> None:  # noqa: ARG002
        """Never asked for: calls of an exchange carry no Upgrade."""
        connection.abandon()

    def on_blocked(self, *, blocked: bool) -> None:
        """The whole request is with the transport; it is bounded by the collected body."""

    # ------------------------------------------------------------ helpers

    def _begin(self, head: ResponseHead, data: bytes, *, ended: bool) -> None:
        limit = self._collect(head)
        if limit is None:
            self._stream(head, self._streamed(head) if self._streamed is not None else (), data, ended=ended)
            return
        self._limit = limit
        if head.content_length is not None and head.content_length > limit and not head.bodiless:
            self._too_large(head, data, ended=ended)
        else:
            self._more(data, ended=ended)

    def _more(self, data: bytes, *, ended: bool) -> None:
        if data:
            self._parts.append(data)
            self._size += len(data)
        head = self._head
        assert head is not None, "body bytes come after a head"  # noqa: S101  # an invariant
        if self._size > self._limit:
            self._too_large(head, self._joined(), ended=ended)
        elif ended:
            seconds = self._call.seconds if self._call is not None else 0.0
            self._over()
            self._received(UpstreamResponse(head, self._joined(), seconds))

    def _over(self) -> None:
        # Nothing may refer to itself when it is over: requests are freed at once, not by a collector.
        self._call = None
        self._exchange.over(self)

    def _joined(self) -> bytes:
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self, head: ResponseHead, data: bytes, *, ended: bool) -> None:
        decision = self._overflow(head)
        if isinstance(decision, Reply):
            self._exchange.reply(decision)
        else:
            self._stream(head, decision, data, ended=ended)

    def _stream(self, head: ResponseHead, add: Sequence[Header], data: bytes, *, ended: bool) -> None:
        if self._call is not None:
            self._call.take_time()
        if ended:
            self._over()
        self._streaming = True
        self._exchange.start_stream(self, head, self._drop, add, data, ended=ended)

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as exc:  # noqa: BLE001  # the application's own code: reported, and answered with a 500
            self._exchange.fault(exc)
