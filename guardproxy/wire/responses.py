"""An upstream's byte stream as one response, or as something that is none.

Decides what counts as a response (llhttp's verdict, RFC 9112 section 6), what is too large, and whether bytes came that
nobody asked for. Acts on nothing: the connection looks at what was found once a whole read has been parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from httptools import HttpResponseParser

from guardproxy.wire.heads import HeadFault, response_head

if TYPE_CHECKING:
    from guardproxy.wire.call import Call
    from guardproxy.wire.heads import Header, ResponseHead
    from guardproxy.wire.limits import Limits

_MAX_INTERIM = 16
_FRAMING_ALLOWANCE = 8192
_FRAMING_PER_BYTE = 16


class ResponseReader:
    """llhttp's callbacks, and what they found: `_head`, `_pieces` of the body, `_ended`, `_fault`, `_surplus`."""

    __slots__ = (
        "_chunked_fed",
        "_continue",
        "_ended",
        "_fault",
        "_head",
        "_head_fed",
        "_headers",
        "_in_head",
        "_interim",
        "_limits",
        "_parser",
        "_parser_spent",
        "_pieces",
        "_reason",
        "_size",
        "_surplus",
        "_trailers",
        "_upgraded",
        "call",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.call: Call | None = None
        self._parser = HttpResponseParser(self)
        self._parser_spent = False
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
        self._ended = False
        self._surplus = False
        self._fault: HeadFault | None = None
        self._size = 0
        self._chunked_fed = 0
        self._trailers = 0

    def _next_response(self) -> None:
        """Stand at the beginning of a response."""
        if self._parser_spent:
            self._parser = HttpResponseParser(self)
            self._parser_spent = False
        self._reset()

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
        if self._trailers > self._limits.max_headers:
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

    def _check_head(self) -> None:
        call = cast("Call", self.call)
        parser = self._parser
        limits = self._limits
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

    def _check_sizes(self, fed: int) -> None:
        limits = self._limits
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
