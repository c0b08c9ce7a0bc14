"""What an application answers once per request head, and what it is told in return.

These are values and callbacks only; `client` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guardproxy.wire.exchange import Exchange
    from guardproxy.wire.heads import Header, RequestHead, ResponseHead
    from guardproxy.wire.pool import Pool

FailureKind = Literal[
    "connect", "refused", "timeout", "reset", "malformed", "incomplete", "too_large", "cancelled"
]


@dataclass(slots=True)
class Reply:
    """A complete answer. The wire adds Content-Length, Date (if absent) and Connection, and leaves the body out for HEAD.

    `headers` may hold a Content-Length: its line keeps its place and gets the true value. Transfer-Encoding and the other
    hop-by-hop lines are left out. With `source`, the head of an upstream's response, its end-to-end lines without the
    lower-case names in `drop` come first, in their order, and `headers` after them (there without Date); its reason
    stands where `reason` is None and the status is the same. That is also the cheaper way to pass such lines on. A name that is no token, or a value or reason with CR, LF or NUL, raises ValueError
    when the reply is written.
    """

    status: int
    headers: Sequence[Header] = ()
    body: bytes = b""
    reason: bytes | None = None
    close: bool = False
    source: ResponseHead | None = None
    drop: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class UpstreamFailure:
    """An upstream call that gave no complete response. `status` is what a client is told: 502, or 504 for a timeout."""

    kind: FailureKind
    status: int
    detail: str


class UpstreamResponse(NamedTuple):
    """A collected response: `body` is as it came (never decompressed); `seconds` from the send to the last byte."""

    head: ResponseHead
    body: bytes
    seconds: float


class Transfer(NamedTuple):
    """How a forwarded exchange ended. `status` is 0 when no head reached the client; bytes are body bytes."""

    status: int
    request_bytes: int
    response_bytes: int
    seconds: float
    aborted: bool


@dataclass(frozen=True, slots=True)
class Forward:
    """Stream the request to `upstream` and its response back, both as they come.

    Best made once and used for many requests. Names in the two drop sets are lower case. `failed` answers when no response
    head came; `done` is called once. `target` goes upstream in place of the request's own.
    """

    upstream: Pool
    drop_request: frozenset[bytes] = frozenset()
    drop_response: frozenset[bytes] = frozenset()
    add_response: tuple[Header, ...] = ()
    failed: Callable[[UpstreamFailure], Reply] | None = None
    done: Callable[[Transfer], None] | None = None
    add_request: tuple[Header, ...] = ()
    target: bytes | None = None


@dataclass(frozen=True, slots=True)
class Collect:
    """Buffer the request's body up to `max_body` bytes, then call `start` with the exchange.

    When the body is (or is declared) larger, `overflow` decides: Forward streams what was buffered and the rest, Reply
    answers at once and closes.
    """

    max_body: int
    start: Callable[[Exchange], None]
    overflow: Callable[[RequestHead], Forward | Reply]


Plan = Reply | Forward | Collect


class Application(Protocol):
    """What a Server asks. Every method is called on the event loop and must not block."""

    def plan(self, head: RequestHead, peer: str) -> Plan:
        """Once per request head, in order, when its turn to be answered has come."""

    def refusal(self, status: int, detail: str) -> Reply:
        """The answer to a request that the wire itself refuses, or to a fault. `default_refusal` is one."""

    def fault(self, exc: Exception) -> None:
        """An exception left one of the application's own callbacks; the client is answered with refusal(500)."""


def default_refusal(status: int, detail: str) -> Reply:
    """A problem document (RFC 9457). `detail` must hold no client text and nothing secret."""
    title = HTTPStatus(status).phrase if status in _KNOWN else "Error"
    escaped = detail.replace("\\", "\\\\").replace('"', '\\"')
    body = f'{{"type":"about:blank","title":"{title}","status":{status},"detail":"{escaped}"}}'
    return Reply(status, ((b"Content-Type", b"application/problem+json"),), body.encode())


_KNOWN = frozenset(int(status) for status in HTTPStatus)
