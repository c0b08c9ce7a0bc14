"""One request's turn on a client connection: its body as it comes in, and who takes it.

A turn is queued until the responses before it are out. Then its Taker gets the body: Discarding drops it, Collecting
buffers it for an Exchange, Forwarding streams it upstream.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from guardproxy.wire import framing
from guardproxy.wire.call import Call
from guardproxy.wire.exchange import Exchange
from guardproxy.wire.outbound import forward_block
from guardproxy.wire.plans import Collect, Forward, Reply, Transfer

if TYPE_CHECKING:
    from guardproxy.wire.answers import AnsweringConnection
    from guardproxy.wire.heads import HeadFault, RequestHead, ResponseHead
    from guardproxy.wire.plans import UpstreamFailure
    from guardproxy.wire.tunnel import Tunnel
    from guardproxy.wire.upstream import UpstreamConnection


class Taker(Protocol):
    """Who takes a turn's body."""

    def more(self) -> None:
        """The turn has more body, or its end."""

    def broken(self, fault: HeadFault) -> None:
        """The rest of the body is malformed; nothing more will come."""

    def gone(self) -> None:
        """The client hung up."""

    def client_blocked(self, *, blocked: bool) -> None:
        """The client stopped (or began again) to read."""

    @property
    def wants_body(self) -> bool:
        """False while body bytes should stay with the client."""


class Turn:
    """A request as it comes in. `size` counts all body bytes seen, `buffered` those nobody has taken.

    `since` and `mark` are the time and the size from which the client's pace is measured.
    """

    __slots__ = ("buffered", "complete", "fault", "fresh", "head", "mark", "parts", "since", "size", "taker")

    def __init__(self, head: RequestHead | None, since: float) -> None:
        self.head = head
        self.parts: list[bytes] = []
        self.size = 0
        self.buffered = 0
        self.complete = False
        self.fresh = False
        self.fault: HeadFault | None = None
        self.taker: Taker | None = None
        self.since = since
        self.mark = 0

    def restart_clock(self, now: float) -> None:
        """Measure the client's pace from here."""
        self.since = now
        self.mark = self.size

    def take(self) -> bytes:
        """The body bytes nobody has taken yet."""
        parts = self.parts
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.parts = []
        self.buffered = 0
        return data

    def drop(self) -> None:
        """Forget the body bytes nobody has taken."""
        self.parts = []
        self.buffered = 0


class Discarding:
    """Reads the rest of a body that nobody wants, up to a bound; the answer is already out."""

    __slots__ = ("_client", "_turn", "_until")

    wants_body = True

    def __init__(self, client: AnsweringConnection, turn: Turn, until: int) -> None:
        self._client = client
        self._turn = turn
        self._until = until

    def more(self) -> None:
        self._turn.drop()
        if self._turn.complete:
            self._client.turn_done()
        elif self._turn.size > self._until:
            self._client.finish_and_close()

    def broken(self, fault: HeadFault) -> None:  # noqa: ARG002  # the answer is out; nothing more can be said
        self._client.finish_and_close()

    def gone(self) -> None:
        """The answer was out already."""

    def client_blocked(self, *, blocked: bool) -> None:
        """The answer is with the transport."""


class Collecting:
    """Buffers a body up to the plan's bound and then starts the exchange."""

    __slots__ = ("_client", "_exchange", "_head", "_plan", "_turn")

    wants_body = True

    def __init__(self, client: AnsweringConnection, turn: Turn, head: RequestHead, plan: Collect) -> None:
        self._client = client
        self._turn = turn
        self._head = head
        self._plan = plan
        self._exchange: Exchange | None = None

    def start(self) -> None:
        turn, head = self._turn, self._head
        turn.taker = self
        if head.content_length is not None and head.content_length > self._plan.max_body:
            self._overflow()
            return
        if head.expects_continue and not turn.complete and not turn.size:
            self._client.write(framing.CONTINUE)
        self.more()

    def more(self) -> None:
        turn = self._turn
        if turn.size > self._plan.max_body:
            self._overflow()
        elif turn.complete and self._exchange is None:
            self._exchange = exchange = Exchange(self._client, turn, self._head, turn.take())
            self._client.guarded(self._plan.start, exchange)

    def _overflow(self) -> None:
        plan = self._client.guarded(self._plan.overflow, self._head)
        if isinstance(plan, Reply):
            self._client.reply(self._turn, replace(plan, close=True))
        elif plan is not None:
            self._client.guarded(Forwarding(self._client, self._turn, self._head, plan).start)

    def broken(self, fault: HeadFault) -> None:
        self._client.refuse(self._turn, fault)

    def gone(self) -> None:
        if self._exchange is not None:
            self._exchange.client_gone()

    def client_blocked(self, *, blocked: bool) -> None:
        if self._exchange is not None:
            self._exchange.client_blocked(blocked=blocked)


class Forwarding:
    """Streams a request upstream and its response back. The Sink of its call."""

    __slots__ = (
        "_blocked",
        "_call",
        "_client",
        "_drop",
        "_ended",
        "_head",
        "_plan",
        "_received",
        "_status",
        "_turn",
    )

    def __init__(self, client: AnsweringConnection, turn: Turn, head: RequestHead, plan: Forward) -> None:
        self._client = client
        self._turn = turn
        self._head = head
        self._plan = plan
        self._call: Call | None = None
        self._blocked = False
        self._ended = False
        self._received = 0
        self._status = 0
        self._drop = framing.dropped_names(plan.drop_response)

    @property
    def wants_body(self) -> bool:
        call = self._call
        if self._ended:
            return True
        if self._blocked or call is None:
            return False
        # Until the connection stands, the body waits with the call.
        return (
            call.connection is not None or call.over or self._turn.size < self._client.limits.max_ahead_bytes
        )

    def start(self) -> None:
        turn, head, plan = self._turn, self._head, self._plan
        turn.taker = self
        upgrade = head.upgrade is not None and self._client.may_upgrade
        payload = forward_block(head, plan, self._client.server.via_lines[head.minor], upgrade=upgrade)
        if turn.size or head.chunked:
            payload += self._framed(turn.take())
        self._call = call = Call(
            self,
            head.method,
            payload,
            complete=turn.complete,
            expects_continue=head.expects_continue,
            upgrade=upgrade,
        )
        plan.upstream.submit(call)

    def more(self) -> None:
        data = self._turn.take()
        if self._call is not None:
            self._call.write(self._framed(data), complete=self._turn.complete)

    def _framed(self, data: bytes) -> bytes:
        if not self._head.chunked:
            return data
        framed = framing.chunk(data)
        return framed + framing.LAST_CHUNK if self._turn.complete else framed

    def broken(self, fault: HeadFault) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._status:
            self._client.abort()
        else:
            self._end(aborted=True)
            self._client.refuse(self._turn, fault)

    def gone(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._end(aborted=True)

    def client_blocked(self, *, blocked: bool) -> None:
        if self._call is not None and not self._call.over:
            if blocked:
                self._call.pause()
            else:
                self._call.resume()

    # ------------------------------------------------------------ Sink

    def on_continue(self) -> None:
        self._client.write(framing.CONTINUE)

    def on_response(self, head: ResponseHead, data: bytes, *, ended: bool) -> None:
        self._status = head.status
        self._received = len(data)
        if ended:
            self._end(aborted=False)
        self._client.begin_response(self._turn, head, self._drop, self._plan.add_response, data, ended=ended)

    def on_data(self, data: bytes, *, ended: bool) -> None:
        self._received += len(data)
        if ended:
            self._end(aborted=False)
        self._client.more_response(self._turn, data, ended=ended)

    def on_failure(self, failure: UpstreamFailure) -> None:
        self._end(aborted=True)
        self._client.upstream_failed(self._turn, failure, self._plan.failed, started=bool(self._status))

    def on_upgraded(self, head: ResponseHead, rest: bytes, connection: UpstreamConnection) -> None:
        self._status = 101
        self._client.open_tunnel(head, self._plan, rest, connection, self._tunnel_done)

    def on_blocked(self, *, blocked: bool) -> None:
        self._blocked = blocked
        self._client.regulate()

    def _tunnel_done(self, tunnel: Tunnel) -> None:
        self._received = tunnel.from_upstream_bytes
        self._turn.size = tunnel.from_client_bytes
        self._end(aborted=False)

    def _end(self, *, aborted: bool) -> None:
        if self._ended:
            return
        self._ended = True
        # Nothing may refer to itself when it is over: requests are freed at once, not by a collector.
        call, self._call = self._call, None
        if self._plan.done is not None:
            seconds = call.seconds if call is not None else 0.0
            transfer = Transfer(self._status, self._turn.size, self._received, seconds, aborted)
            self._client.observed(self._plan.done, transfer)
