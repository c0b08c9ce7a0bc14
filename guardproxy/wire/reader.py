"""A client's byte stream as turns: requests in order, each with its body, malformed ones marked as such.

Decides where one request ends and the next begins (llhttp's verdict, RFC 9112), what is too large, and what is refused.
Acts on nothing: the connection looks at `turns` once a whole read has been parsed, so that nothing of a request goes
anywhere when the same read shows it to be malformed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from guardproxy.wire.heads import HeadFault, request_head
from guardproxy.wire.repeat import KnownHead
from guardproxy.wire.turns import Turn

if TYPE_CHECKING:
    from guardproxy.wire.heads import Header, RequestHead
    from guardproxy.wire.server import Server

SLICE = 4096
"""Bytes parsed at once, unless they are known to be one body: what a client can make us hold ahead of time."""

_MAX_EXTENSION = 1024


class RequestReader:
    """llhttp's callbacks. `deaf` means that nothing more will be parsed; `held` that bytes wait for an upgrade's answer."""

    __slots__ = (
        "_feeding",
        "_headers",
        "_known",
        "_parser",
        "_resuming",
        "_server",
        "_small",
        "_stalled",
        "_target",
        "_trailers",
        "deaf",
        "fault",
        "head_fed",
        "head_since",
        "held",
        "in_head",
        "incoming",
        "last",
        "turns",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._small = min(
            server.limits.max_target_bytes, server.limits.max_line_bytes, server.limits.max_head_bytes
        )
        self._feeding = 0
        self._known: KnownHead[RequestHead] = KnownHead()
        self._parser = HttpRequestParser(self)
        self._headers: list[Header] = []
        self._target = b""
        self._trailers = 0
        self._stalled = 0
        self._resuming = False
        self.turns: deque[Turn] = deque()
        self.incoming: Turn | None = None
        self.in_head = False
        self.head_fed = 0
        self.head_since = 0.0
        self.deaf = False
        self.last = False
        self.held: bytearray | None = None
        self.fault: HeadFault | None = None

    def repeated(self, data: bytes) -> Turn | None:
        """The turn for `data` if it is exactly the last head again (but for the length) with its body; see `repeat`."""
        head = None if self.in_head else self._known.match(data)
        if head is None:
            return None
        server = self._server
        server.requests += 1
        turn = Turn(head, server.now)
        size = head.content_length
        if size:
            turn.parts.append(data[-size:])
            turn.size = turn.buffered = size
        turn.complete = True
        return turn

    def feed(self, data: bytes) -> None:
        """Parse one slice. Look at `turns` and at the turn in progress afterwards."""
        self._feeding = len(data)
        fresh = not self.in_head and self.incoming is None and not self.turns
        turn = self.incoming
        size, trailers = (turn.size, self._trailers) if turn is not None else (0, 0)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._hold(data[upgrade.args[0] :])
            return
        except HttpParserCallbackError as error:
            fault = self.fault
            if fault is None:
                raise error.__context__ or error from None
            self._refuse(fault)
            return
        except HttpParserError as error:
            self._parse_error(error)
            return
        if fresh and len(self.turns) == 1 and not self.in_head:
            self._remember(data, self.turns[0])
        else:
            self._known.forget()
        if self.in_head:
            if not self.head_fed:
                self.head_since = self._server.now
            self.head_fed += len(data)
            self._check_fed()
        elif turn is not None and turn is self.incoming and turn.size == size and self._trailers == trailers:
            # Neither body nor trailer lines: this is one long chunk extension or trailer.
            self._stalled += len(data)
            if self._stalled > _MAX_EXTENSION:
                self._refuse(HeadFault(400, "a chunk extension or trailer is too long"))
        else:
            self._stalled = 0

    def unhold(self) -> bytes:
        """The upgrade came to nothing: the bytes behind it are requests again."""
        held, self.held = bytes(self.held or b""), None
        self._parser = HttpRequestParser(self)
        return held

    def is_one_body(self, size: int) -> bool:
        """Whether the next `size` bytes all belong to the body in progress."""
        turn = self.incoming
        if turn is None or turn.head is None or turn.head.content_length is None:
            return False
        return turn.head.content_length - turn.size >= size

    def time_out(self, fault: HeadFault, turn: Turn | None) -> None:
        """Refuse the head in progress, or `turn` whose body is in progress."""
        self.incoming = turn
        self._refuse(fault)

    @property
    def queued_bytes(self) -> int:
        """Body bytes of the requests that wait for their turn."""
        return sum(turn.buffered for turn in self.turns)

    # ------------------------------------------------------------ llhttp's callbacks

    def on_message_begin(self) -> None:
        if self._resuming:
            return
        self._headers = []
        self._target = b""
        self.in_head = True
        self.head_fed = 0

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:
            self._headers.append((name, value))
        elif not self._resuming:
            self._trailers += 1
            if self._trailers > self._server.limits.max_headers:
                self._raise(HeadFault(431, "too many trailer lines"))

    def on_headers_complete(self) -> None:
        if self._resuming:
            self._resuming = False
            return
        server = self._server
        parser = self._parser
        try:
            self._check_sizes()
            head = request_head(parser.get_method(), self._target, parser.get_http_version(), self._headers)
            if head.via is not None and any(server.via_mark in value for value in head.via):
                raise HeadFault(508, "this request has passed here before")  # noqa: TRY301  # one place takes them all
        except HeadFault as fault:
            self.fault = fault
            raise
        self.in_head = False
        self._trailers = 0
        self.last = not head.keep_alive
        server.requests += 1
        turn = Turn(head, server.now)
        self.incoming = turn
        self.turns.append(turn)

    def on_body(self, data: bytes) -> None:
        turn = self.incoming
        if turn is not None:
            size = len(data)
            turn.parts.append(data)
            turn.size += size
            turn.buffered += size
            turn.fresh = True

    def on_message_complete(self) -> None:
        turn = self.incoming
        # llhttp ends a request for an upgrade at its head, body or not.
        if turn is None or (self._parser.should_upgrade() and turn.head is not None and turn.head.has_body):
            return
        turn.complete = True
        turn.fresh = True
        self.incoming = None

    # ------------------------------------------------------------ helpers

    def _raise(self, fault: HeadFault) -> None:
        self.fault = fault
        raise fault

    def _remember(self, data: bytes, turn: Turn) -> None:
        """`data` was exactly one request; keep its head for `repeated`."""
        head = turn.head
        if (
            not turn.complete
            or head is None
            or head.expects_continue
            or head.chunked
            or head.upgrade is not None
        ):
            self._known.forget()
        elif head.keep_alive:
            self._known.remember(data, turn.size, head)

    def _check_sizes(self) -> None:
        limits = self._server.limits
        if self.head_fed + self._feeding <= self._small and len(self._headers) <= limits.max_headers:
            return
        if len(self._target) > limits.max_target_bytes:
            raise HeadFault(414, "the request target is too long")
        if len(self._headers) > limits.max_headers:
            raise HeadFault(431, "too many header lines")
        total = 0
        for name, value in self._headers:
            size = len(name) + len(value)
            if size > limits.max_line_bytes:
                raise HeadFault(431, "a header line is too long")
            total += size
        if total > limits.max_head_bytes:
            raise HeadFault(431, "the header section is too large")

    def _check_fed(self) -> None:
        """A head that is not complete yet may already be too large."""
        limits = self._server.limits
        if len(self._target) > limits.max_target_bytes:
            self._refuse(HeadFault(414, "the request target is too long"))
        elif self.head_fed > limits.max_head_bytes:
            self._refuse(HeadFault(431, "the header section is too large"))

    def _parse_error(self, error: HttpParserError) -> None:
        if self.incoming is None and self.last and not self.in_head:
            # Bytes behind a request that said `Connection: close` are not a request.
            self.deaf = True
            return
        detail = str(error.args[0]) if error.args else "malformed"
        status = 505 if detail == "Invalid HTTP version" else 400
        self._refuse(HeadFault(status, f"malformed request: {detail}"))

    def _refuse(self, fault: HeadFault) -> None:
        self.deaf = True
        turn = self.incoming
        if turn is None:
            turn = Turn(None, self._server.now)
            self.turns.append(turn)
        self.incoming = None
        self.in_head = False
        turn.fault = fault
        turn.fresh = True
        turn.drop()

    def _hold(self, rest: bytes) -> None:
        """llhttp stops at a request that asks for an upgrade."""
        turn = self.incoming
        if turn is None:
            self.held = bytearray(rest)
            return
        # With a body the upgrade is ignored: a parser that believes to have read the same framing goes on with it.
        self._parser = HttpRequestParser(self)
        head = turn.head
        length = None if head is None or head.chunked else head.content_length
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        self._resuming = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
        if rest:
            self.feed(rest)
