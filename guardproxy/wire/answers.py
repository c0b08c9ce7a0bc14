"""What a client connection says: complete replies, streamed responses, refusals, the switch to a tunnel.

Decides how an answer is framed for this client and whether the connection can live on after it. The order of turns and
the reading side are `client`'s.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from guardproxy.wire import framing
from guardproxy.wire.plans import Forward, Reply, default_refusal
from guardproxy.wire.repeat import keep, recall
from guardproxy.wire.tunnel import Tunnel
from guardproxy.wire.turns import Discarding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guardproxy.wire.heads import Header, HeadFault, RequestHead, ResponseHead
    from guardproxy.wire.limits import Limits
    from guardproxy.wire.plans import UpstreamFailure
    from guardproxy.wire.reader import RequestReader
    from guardproxy.wire.server import Server
    from guardproxy.wire.turns import Turn
    from guardproxy.wire.upstream import UpstreamConnection

T = TypeVar("T")

_CHUNKED_LINE = b"Transfer-Encoding: chunked"
_LENGTH = frozenset({b"content-length"})
ALLOW = (b"Allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class AnsweringConnection(asyncio.Protocol):
    """The writing half of a client connection. One turn is `_active` at a time; `_started` once its answer has begun."""

    __slots__ = (
        "_aborting",
        "_active",
        "_close_after",
        "_closing_since",
        "_lost",
        "_out_chunked",
        "_reader",
        "_started",
        "_transport",
        "_tunnel",
        "limits",
        "peer",
        "server",
    )

    _reader: RequestReader

    def __init__(self, server: Server) -> None:
        self.server = server
        self.limits: Limits = server.limits
        self.peer = ""
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._tunnel: Tunnel | None = None
        self._active: Turn | None = None
        self._aborting = False
        self._started = False
        self._out_chunked = False
        self._close_after = False
        self._closing_since: float | None = None
        self._lost = False

    @abstractmethod
    def turn_done(self) -> None:
        """The active turn is answered and its body is read."""

    @abstractmethod
    def finish_and_close(self) -> None:
        """The last answer is written: close, but let a client that still sends read it first."""

    @abstractmethod
    def regulate(self) -> None:
        """Read from the client, or stop, by what is waiting."""

    @property
    @abstractmethod
    def may_upgrade(self) -> bool:
        """Whether the active request asks for a protocol that may be tunnelled, and nothing was parsed behind it."""

    # ------------------------------------------------------------ answers

    def write(self, data: bytes) -> None:
        """Bytes for the client; nothing once it is gone."""
        if not self._lost:
            self._transport.write(data)

    def reply(self, turn: Turn, reply: Reply) -> None:
        """A complete answer; a reply that cannot be written is the application's fault."""
        try:
            block = self.reply_block(turn, reply)
        except (ValueError, TypeError) as exc:
            self.callback_failed(exc)
            return
        self.send_reply(turn, block, close=reply.close)

    def reply_block(self, turn: Turn, reply: Reply) -> bytes:
        """A complete answer as bytes. Raises ValueError for a header that would not be one line."""
        head = turn.head
        return framing.reply_block(
            reply,
            to_head=head is not None and head.method == b"HEAD",
            close=self._must_close(turn, wanted=reply.close),
            minor=head.minor if head is not None else 1,
            date=self.server.date,
        )

    def send_reply(self, turn: Turn, block: bytes, *, close: bool) -> None:
        """Write what reply_block made, and end the turn."""
        self._started = True
        self.write(block)
        if self._must_close(turn, wanted=close):
            self.finish_and_close()
        elif turn.complete:
            self.turn_done()
        else:
            turn.drop()
            turn.taker = Discarding(self, turn, turn.size + self.limits.max_discard_bytes)

    def refuse(self, turn: Turn, fault: HeadFault) -> None:
        """Answer a request that the wire itself refuses, and close."""
        server = self.server
        server.refused += 1
        server.loops += fault.status == 508
        self._refusal(turn, fault.status, fault.detail)

    def begin_response(
        self,
        turn: Turn,
        head: ResponseHead,
        drop: frozenset[bytes],
        add: Sequence[Header],
        data: bytes,
        *,
        ended: bool,
    ) -> None:
        """The head of an upstream's response, with the body bytes that came along."""
        if self._lost:
            return
        request = cast("RequestHead", turn.head)
        chunked = head.chunked and not head.bodiless
        close = (
            head.until_close
            or not (request.keep_alive and turn.complete)
            or self.server.draining
            or (chunked and not request.minor)
        )
        tail = framing.connection_lines(close=close, minor=request.minor)
        chunked = chunked and bool(request.minor)
        if chunked:
            tail = (*tail, _CHUNKED_LINE)
            data = framing.chunk(data) + framing.LAST_CHUNK if ended else framing.chunk(data)
        try:
            block = self._response_block(head, drop, add, tail)
        except (ValueError, TypeError) as exc:
            if turn.taker is not None:
                turn.taker.gone()
            self.callback_failed(exc)
            return
        self._started = True
        self._out_chunked = chunked
        self._close_after = close
        self._transport.write(block + data)
        if ended:
            self._response_done(turn)

    def _response_block(
        self, head: ResponseHead, drop: frozenset[bytes], add: Sequence[Header], tail: tuple[bytes, ...]
    ) -> bytes:
        date = self.server.date
        key = (drop, add, date, tail)
        block = recall(head, key)
        if block is not None:
            return block
        if head.named:
            drop |= head.named
        if head.status == 204:
            drop |= _LENGTH
        return keep(head, key, framing.response_block(head, drop, add, tail, date))

    def more_response(self, turn: Turn, data: bytes, *, ended: bool) -> None:
        """More of the body of a response that has begun."""
        if self._lost:
            return
        if self._out_chunked:
            data = framing.chunk(data) + framing.LAST_CHUNK if ended else framing.chunk(data)
        if data:
            self._transport.write(data)
        if ended:
            self._response_done(turn)

    def upstream_failed(
        self,
        turn: Turn,
        failure: UpstreamFailure,
        failed: Callable[[UpstreamFailure], Reply] | None,
        *,
        started: bool,
    ) -> None:
        """A forwarded call failed: an answer if none has begun, else the end of the connection."""
        if started or self._started:
            self.server.aborted += 1
            self.abort()
        elif failed is None:
            self._refusal(turn, failure.status, failure.detail, close=False)
        else:
            reply = self.guarded(failed, failure)
            if reply is not None:
                self.reply(turn, reply)

    def _response_done(self, turn: Turn) -> None:
        if self._close_after:
            self.finish_and_close()
        elif turn.complete:
            self.turn_done()

    def _must_close(self, turn: Turn, *, wanted: bool) -> bool:
        head = turn.head
        if wanted or head is None or turn.fault is not None or not head.keep_alive or self.server.draining:
            return True
        if turn.complete:
            return False
        if head.content_length is None or head.expects_continue:
            return True
        return head.content_length - turn.size > self.limits.max_discard_bytes

    def _refusal(self, turn: Turn, status: int, detail: str, *, close: bool = True) -> None:
        try:
            reply = self.server.app.refusal(status, detail)
            reply = replace(reply, close=reply.close or close)
            if status == 405:
                reply = replace(reply, headers=(*reply.headers, ALLOW))
            block = self.reply_block(turn, reply)
        except Exception as exc:  # noqa: BLE001  # the application's own code: reported, and replaced by ours
            self._report(exc)
            reply = replace(default_refusal(status, detail), close=True)
            block = self.reply_block(turn, reply)
        self.send_reply(turn, block, close=reply.close)

    def open_tunnel(
        self,
        head: ResponseHead,
        plan: Forward,
        rest: bytes,
        connection: UpstreamConnection,
        done: Callable[[Tunnel], None],
    ) -> None:
        """The upstream accepted the upgrade: from here on bytes are only passed."""
        if self._lost:
            connection.abandon()
            return
        tail = [b"Connection: Upgrade", *(b"Upgrade: " + value for value in head.all(b"upgrade"))]
        drop = framing.dropped_names(plan.drop_response)
        if head.named:
            drop |= head.named
        block = framing.response_block(head, drop, plan.add_response, tail, self.server.date)
        self.server.tunnels += 1
        held = bytes(self._reader.held or b"")
        self._reader.deaf = True
        self._reader.held = None
        self._active = None
        self._tunnel = Tunnel(self._transport, connection, done)
        self._transport.write(block + rest)
        if held:
            self._tunnel.from_client(held)
        self.regulate()

    # ------------------------------------------------------------ the application's code

    def guarded(self, function: Callable[..., T], *args: object) -> T | None:
        """Call the application; an exception is reported and answered with a 500, and None comes back."""
        try:
            return function(*args)
        except Exception as exc:  # noqa: BLE001  # the application's own code
            self.callback_failed(exc)
            return None

    def observed(self, function: Callable[..., object], *args: object) -> None:
        """Tell the application; an exception is reported and changes nothing."""
        try:
            function(*args)
        except Exception as exc:  # noqa: BLE001  # the application's own code
            self._report(exc)

    def callback_failed(self, exc: Exception) -> None:
        """An exception while a turn is in progress: a 500 if nothing was said yet, else the end of the connection."""
        self._report(exc)
        turn = self._active
        if self._lost or self._closing_since is not None:
            return
        if turn is None or self._started:
            self.abort()
            return
        self._refusal(turn, 500, "an internal fault")

    def _report(self, exc: Exception) -> None:
        self.server.faults += 1
        try:
            self.server.app.fault(exc)
        except Exception as second:  # noqa: BLE001  # the hook itself is at fault: the loop's handler is the last resort
            context = {
                "message": "the application's fault hook raised",
                "exception": second,
                "protocol": self,
            }
            asyncio.get_running_loop().call_exception_handler(context)

    def abort(self) -> None:
        """Cut the connection; a client that reads to the end of the connection sees a reset, not an end."""
        if not self._lost:
            self._aborting = True
            self._reset_on_close()
            self._transport.abort()

    def _reset_on_close(self) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return
        # The event loop's own socket object may refuse options; a duplicate shares them.
        with socket.socket(fileno=os.dup(sock.fileno())) as twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
