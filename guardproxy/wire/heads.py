"""Message heads: what a request and a response say about themselves, and how their bodies are framed.

Decides whether a parsed head can be trusted (RFC 9112 sections 2, 3 and 6) and which of its lines may travel
on (RFC 9110 section 7.6.1). Leaves octet-level parsing to llhttp and writing to `framing`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Header = tuple[bytes, bytes]
"""One header line: the raw name and the raw value, without the colon and the optional white space around the value."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Lower-case names that never travel further than one hop."""

_KEEP_ALIVE = frozenset({b"keep-alive", b"Keep-Alive"})
_OPTIONS = frozenset({b"", b"close", b"keep-alive"})
# What a Connection line may not take away: these describe the message itself, or the path it took.
_NOT_NAMEABLE = frozenset({b"host", b"content-length", b"via", b"date", b"content-type", b"content-encoding"})

_HOST = re.compile(
    rb"(?:[A-Za-z0-9._~%!$&'()*+;=-]*|\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[!-Z^-~]+\])(?::[0-9]*)?"
)
_MAX_DIGITS = 18
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_REASON_FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_NO_NAMES: frozenset[bytes] = frozenset()


class HeadFault(Exception):  # noqa: N818  # a fault of a head, not of ours
    """A head that may not be acted on; `status` is what a client is told (an upstream's fault is always a 502)."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class RequestHead:
    """A request line with its header lines, checked.

    `target` is in origin form (or `*`): an absolute-form target has become its path and query, byte for byte,
    and its authority has become the value of the Host line. `names` holds the lower-case names, in step with
    `headers`. `named` holds the lower-case names that a Connection line listed.

    Read only: requests whose heads are equal, octet for octet, share one. (`known`, `digits`, `model` and `memo` are
    `repeat`'s.)
    """

    __slots__ = (
        "chunked",
        "content_length",
        "digits",
        "expects_continue",
        "headers",
        "keep_alive",
        "known",
        "memo",
        "method",
        "minor",
        "model",
        "named",
        "names",
        "target",
        "upgrade",
        "via",
    )

    def __init__(
        self, method: bytes, target: bytes, minor: int, headers: list[Header], names: list[bytes]
    ) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.headers = headers
        self.names = names
        self.content_length: int | None = None
        self.chunked = False
        self.expects_continue = False
        self.upgrade: bytes | None = None
        self.via: list[bytes] | None = None
        self.keep_alive = minor == 1
        self.named: frozenset[bytes] = _NO_NAMES
        self.known = False
        self.digits = b""
        self.model: Self | None = None
        self.memo: tuple[tuple[object, ...], bytes, bytes] | None = None

    @property
    def has_body(self) -> bool:
        """Whether body octets follow the head."""
        return self.chunked or bool(self.content_length)

    def get(self, lower_name: bytes) -> bytes | None:
        """The value of the first line of that name, or None."""
        return _first(self.names, self.headers, lower_name)

    def all(self, lower_name: bytes) -> list[bytes]:
        """The values of every line of that name, in order."""
        return _every(self.names, self.headers, lower_name)

    def resized(self, digits: bytes, length: int) -> RequestHead:
        """This head with another Content-Length."""
        head = RequestHead(self.method, self.target, self.minor, _resized(self, digits), self.names)
        head.content_length = length
        head.keep_alive = self.keep_alive
        head.named = self.named
        head.via = self.via
        head.known = True
        head.digits = digits
        head.model = self
        return head

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.target!r} {len(self.headers)} headers>"


class ResponseHead:
    """A status line with its header lines, checked.

    `until_close` says that only the end of the connection ends the body, so a complete body cannot be told from
    a cut one. `bodiless` says that no body follows (HEAD, 204, 304), whatever the headers say. Read only, like RequestHead.
    """

    __slots__ = (
        "bodiless",
        "chunked",
        "content_length",
        "digits",
        "headers",
        "keep_alive",
        "known",
        "memo",
        "minor",
        "model",
        "named",
        "names",
        "reason",
        "status",
        "until_close",
    )

    def __init__(
        self, status: int, reason: bytes, minor: int, headers: list[Header], names: list[bytes]
    ) -> None:
        self.status = status
        self.reason = reason
        self.minor = minor
        self.headers = headers
        self.names = names
        self.content_length: int | None = None
        self.chunked = False
        self.until_close = False
        self.bodiless = False
        self.keep_alive = minor == 1
        self.named: frozenset[bytes] = _NO_NAMES
        self.known = False
        self.digits = b""
        self.model: Self | None = None
        self.memo: tuple[tuple[object, ...], bytes, bytes] | None = None

    def get(self, lower_name: bytes) -> bytes | None:
        """The value of the first line of that name, or None."""
        return _first(self.names, self.headers, lower_name)

    def all(self, lower_name: bytes) -> list[bytes]:
        """The values of every line of that name, in order."""
        return _every(self.names, self.headers, lower_name)

    def resized(self, digits: bytes, length: int) -> ResponseHead:
        """This head with another Content-Length."""
        head = ResponseHead(self.status, self.reason, self.minor, _resized(self, digits), self.names)
        head.content_length = length
        head.keep_alive = self.keep_alive
        head.named = self.named
        head.known = True
        head.digits = digits
        head.model = self
        return head

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {len(self.headers)} headers>"


def forwardable(headers: Iterable[Header]) -> list[Header]:
    """The end-to-end lines of a head, in order (RFC 9110 section 7.6.1).

    Left out are the hop-by-hop names and whatever a Connection line named. Content-Length stays: the writer of
    the next hop replaces its value in place.
    """
    lines = list(headers)
    names = [name.lower() for name, _ in lines]
    connection = [value for name, (_, value) in zip(names, lines, strict=True) if name == b"connection"]
    drop = HOP_BY_HOP | connection_names(connection)
    return [line for name, line in zip(names, lines, strict=True) if name not in drop]


def connection_names(values: Sequence[bytes]) -> frozenset[bytes]:
    """The lower-case names that Connection lines list, without those no Connection line may take away."""
    tokens = {token.strip().lower() for value in values for token in value.split(b",")}
    return frozenset(tokens - _OPTIONS - _NOT_NAMEABLE)


def request_head(method: bytes, target: bytes, version: str, headers: list[Header]) -> RequestHead:
    """Check a parsed request head.

    Raises HeadFault: 505 not HTTP/1.x, 405 CONNECT or TRACE, 400 target, Host, Content-Length or framing, 501 a
    transfer coding other than chunked, 417 an expectation other than 100-continue.
    """
    minor = _minor(version)
    names = [name.lower() for name, _ in headers]
    head = RequestHead(method, target, minor, headers, names)
    if method in _REFUSED_METHODS:
        raise HeadFault(405, f"the method {method.decode('ascii')} is not served here")
    special = _special(names, headers, _REQUEST_SPECIAL)
    authority = None if target[0] == _SLASH and b"#" not in target else _set_target(head, target)
    _check_host(head, special.pop(b"host", None), authority)
    if special:
        head.via = special.get(b"via")
        if not _DISGUISED.isdisjoint(special):
            raise HeadFault(400, "a framing header under another spelling")
        _set_length(head, special, codings_fault=501)
        _set_connection(head, special.get(b"connection"))
        _set_expectation(head, special.get(b"expect"))
        upgrade = special.get(b"upgrade")
        if upgrade and b"upgrade" in head.named and minor == 1:
            head.upgrade = b", ".join(upgrade)
    return head


def response_head(
    status: int, reason: bytes, version: str, headers: list[Header], request_method: bytes
) -> ResponseHead:
    """Check a parsed response head, the answer to a request with that method.

    Raises HeadFault (always a 502) for a version that is not HTTP/1.x, a status outside 100 to 599, and framing that
    cannot be trusted.
    """
    names = [name.lower() for name, _ in headers]
    head = ResponseHead(status, reason, _minor(version), headers, names)
    if not 100 <= status <= 599:
        raise HeadFault(502, f"status {status} is outside 100 to 599")
    if reason != b"OK" and _REASON_FORBIDDEN.search(reason):
        raise HeadFault(502, "the reason phrase holds a control character")
    special = _special(names, headers, _RESPONSE_SPECIAL)
    head.bodiless = request_method == b"HEAD" or status in _BODILESS or status < 200
    if special:
        _set_length(head, special, codings_fault=502)
        _set_connection(head, special.get(b"connection"))
    if not head.bodiless and not head.chunked and head.content_length is None:
        head.until_close = True
    return head


@lru_cache(maxsize=1024)
def host_is_valid(value: bytes) -> bool:
    """Whether `value` is a host with an optional port, as RFC 9110 section 7.2 writes it."""
    return _HOST.fullmatch(value) is not None


# ---------------------------------------------------------------- helpers

_SLASH = 0x2F
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})
_BODILESS = frozenset({204, 304})
# Servers that turn header names into variables read these as Content-Length and Transfer-Encoding.
_DISGUISED = frozenset({b"content_length", b"transfer_encoding"})
_REQUEST_SPECIAL = _DISGUISED | {
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"expect",
    b"upgrade",
    b"via",
}
_RESPONSE_SPECIAL = frozenset({b"content-length", b"transfer-encoding", b"connection"})


def _resized(head: RequestHead | ResponseHead, digits: bytes) -> list[Header]:
    headers = head.headers.copy()
    index = head.names.index(b"content-length")
    headers[index] = (headers[index][0], digits)
    return headers


def _first(names: list[bytes], headers: list[Header], lower_name: bytes) -> bytes | None:
    # Mostly it is not there: looking twice is cheaper than an exception.
    return headers[names.index(lower_name)][1] if lower_name in names else None


def _every(names: list[bytes], headers: list[Header], lower_name: bytes) -> list[bytes]:
    return [line[1] for name, line in zip(names, headers, strict=True) if name == lower_name]


def _minor(version: str) -> int:
    if version == "1.1":
        return 1
    if version == "1.0":
        return 0
    raise HeadFault(400 if version == "0.9" else 505, f"HTTP/{version} is not spoken here")


def _special(names: list[bytes], headers: list[Header], wanted: frozenset[bytes]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name in wanted.intersection(names):
        if names.count(name) == 1:
            found[name] = [headers[names.index(name)][1]]
        else:
            found[name] = _every(names, headers, name)
    return found


def _set_target(head: RequestHead, target: bytes) -> bytes | None:
    """Bring the target into origin form; returns the authority of an absolute-form target."""
    # llhttp has refused white space, control characters and octets above 0x7f. A fragment would be cut off by some
    # upstreams after we have matched the whole.
    if b"#" in target:
        raise HeadFault(400, "the target holds a fragment")
    if target.startswith(b"/"):
        return None
    if target == b"*" and head.method == b"OPTIONS":
        return None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise HeadFault(400, "the target is neither a path nor an absolute http address")
    authority, rest = absolute.groups()
    if not authority or not host_is_valid(authority):
        raise HeadFault(400, "the target's authority is not a valid host")
    if not rest and head.method == b"OPTIONS":
        head.target = b"*"
    else:
        head.target = rest if rest.startswith(b"/") else b"/" + rest
    return authority


def _check_host(head: RequestHead, values: list[bytes] | None, authority: bytes | None) -> None:
    if values is None:
        if head.minor == 1:
            raise HeadFault(400, "an HTTP/1.1 request needs a Host line")
        if authority is not None:
            head.headers.insert(0, (b"Host", authority))
            head.names.insert(0, b"host")
        return
    if len(values) > 1:
        raise HeadFault(400, "more than one Host line")
    if not host_is_valid(values[0]):
        raise HeadFault(400, "the Host line is not a valid host")
    if authority is not None:
        index = head.names.index(b"host")
        head.headers[index] = (head.headers[index][0], authority)


def _set_length(
    head: RequestHead | ResponseHead, special: dict[bytes, list[bytes]], *, codings_fault: int
) -> None:
    lengths = special.get(b"content-length")
    codings = special.get(b"transfer-encoding")
    if codings is not None:
        if lengths is not None:
            raise HeadFault(400, "both Transfer-Encoding and Content-Length")
        if head.minor == 0:
            raise HeadFault(400, "Transfer-Encoding in an HTTP/1.0 message")
        if len(codings) > 1 or codings[0].strip(b" \t").lower() != b"chunked":
            raise HeadFault(codings_fault, "a transfer coding other than chunked")
        head.chunked = True
    elif lengths is not None:
        value = lengths[0].strip(b" \t")
        if len(lengths) > 1 or not value.isdigit() or len(value) > _MAX_DIGITS:
            raise HeadFault(400, "Content-Length is not one decimal number")
        head.content_length = int(value)


def _set_connection(head: RequestHead | ResponseHead, values: list[bytes] | None) -> None:
    if values is None:
        return
    if len(values) == 1 and values[0] in _KEEP_ALIVE:
        head.keep_alive = True
        return
    tokens = {token.strip().lower() for value in values for token in value.split(b",")}
    if b"close" in tokens:
        head.keep_alive = False
    elif b"keep-alive" in tokens:
        head.keep_alive = True
    if len(tokens) > 1 or not tokens <= _OPTIONS:
        head.named = frozenset(tokens - _OPTIONS - _NOT_NAMEABLE)


def _set_expectation(head: RequestHead, values: list[bytes] | None) -> None:
    if values is None:
        return
    if len(values) > 1 or values[0].strip(b" \t").lower() != b"100-continue":
        raise HeadFault(417, "an expectation other than 100-continue")
    # HTTP/1.0 clients know no interim response, and without a body there is nothing to wait for.
    head.expects_continue = head.minor == 1 and head.has_body
