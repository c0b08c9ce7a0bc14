"""Writing heads and chunks: the framing of each side is ours, every other line keeps its place, case and bytes."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from wsgiref.handlers import format_date_time

from guardproxy.wire.heads import HOP_BY_HOP, connection_names
from guardproxy.wire.repeat import keep, recall

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guardproxy.wire.heads import Header, ResponseHead
    from guardproxy.wire.plans import Reply

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CHUNKED = -1
"""In place of a length: the body's size is not known when the head is written."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REPLY_DROP = HOP_BY_HOP | {b"content-length"}
_NO_LENGTH = frozenset({204})
_BODILESS = frozenset({204, 304})
_CLOSE = b"Connection: close"
_KEEP_ALIVE = b"Connection: keep-alive"


def chunk(data: bytes) -> bytes:
    """`data` as one chunk (no data gives nothing: an empty chunk would end the body)."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def date_line(now: float | None = None) -> bytes:
    """A Date line for a time in seconds since the epoch."""
    return b"Date: " + format_date_time(time.time() if now is None else now).encode("ascii")


@lru_cache(maxsize=512)
def dropped_names(*more: frozenset[bytes]) -> frozenset[bytes]:
    """The hop-by-hop names together with `more`; cached, since plans repeat."""
    return HOP_BY_HOP.union(*more)


def request_block(
    method: bytes,
    target: bytes,
    headers: Sequence[Header],
    names: Sequence[bytes],
    drop: frozenset[bytes],
    length: int | None,
    tail: Sequence[bytes],
) -> bytes:
    """A request head for an upstream.

    `length` is the body's size, CHUNKED, or None for no body and no Content-Length line. `tail` holds whole lines
    without their CRLF; they come last.
    """
    if length is None or length == CHUNKED:
        drop |= _LENGTH
    elif _LENGTH.isdisjoint(names):
        tail = (b"Content-Length: %d" % length, *tail)
    else:
        headers = _with_length(headers, names, length)
    out = [b"%b %b HTTP/1.1" % (method, target)]
    out += [b": ".join(line) for name, line in zip(names, headers, strict=True) if name not in drop]
    if length == CHUNKED:
        out.append(b"Transfer-Encoding: chunked")
    out += tail
    out.append(b"\r\n")
    return b"\r\n".join(out)


def response_block(
    head: ResponseHead, drop: frozenset[bytes], add: Sequence[Header], tail: Sequence[bytes], date: bytes
) -> bytes:
    """The head of an upstream's response for a client, its Content-Length as it is (204 has none)."""
    out = [_status_line(head.status, head.reason)]
    out += [b": ".join(line) for name, line in zip(head.names, head.headers, strict=True) if name not in drop]
    if add:
        out += added_lines(add)
    if b"date" not in head.names:
        out.append(date)
    out.extend(tail)
    out.append(b"\r\n")
    return b"\r\n".join(out)


def reply_block(reply: Reply, *, to_head: bool, close: bool, minor: int, date: bytes) -> bytes:
    """A whole answer, head and body (no body for HEAD, 204 and 304).

    Raises ValueError for a header that would not be one line.
    """
    status = reply.status
    if status < 200:
        raise ValueError(f"{status} is not the status of a final answer")
    if reply.source is not None:
        return _sourced_block(reply, reply.source, to_head=to_head, close=close, minor=minor, date=date)
    reason = _phrase(status) if reply.reason is None else reply.reason
    bodiless = to_head or status == 304
    out = [_status_line(status, reason)]
    told = status in _NO_LENGTH
    has_date = False
    kept: list[Header] = []
    for header in reply.headers:
        name = header[0].lower()
        if name not in _REPLY_DROP:
            kept.append(header)
            has_date = has_date or name == b"date"
        elif name == b"content-length" and not told:
            told = True
            # Without a body to measure, what the application says about it stands.
            kept.append(header if bodiless and not reply.body else (header[0], b"%d" % len(reply.body)))
    if kept:
        out.extend(checked_lines(kept))
    if not told and not (status == 304 and not reply.body):
        out.append(b"Content-Length: %d" % len(reply.body))
    if not has_date:
        out.append(date)
    out.extend(connection_lines(close=close, minor=minor))
    out.append(b"\r\n")
    if not (bodiless or status in _NO_LENGTH):
        out[-1] = b"\r\n" + reply.body
    return b"\r\n".join(out)


def connection_lines(*, close: bool, minor: int) -> tuple[bytes, ...]:
    """What a response to an HTTP/1.`minor` request says about its connection."""
    if close:
        return (_CLOSE,)
    return () if minor else (_KEEP_ALIVE,)


def checked_lines(headers: Sequence[Header]) -> list[bytes]:
    """Header lines without CRLF. Raises ValueError for a name that is no token or a value with CR, LF or NUL."""
    lines = [b": ".join(header) for header in headers]
    block = b"".join(lines)
    if b"\n" in block or b"\r" in block or b"\0" in block:
        raise ValueError("a header may not hold CR, LF or NUL")
    for name, _ in headers:
        _check_name(name)
    return lines


def added_lines(headers: Sequence[Header]) -> list[bytes]:
    """checked_lines for headers that join a message whose framing they do not decide; raises ValueError if they would."""
    for name, _ in headers:
        if name.lower() in _FRAMING:
            raise ValueError(f"{name!r} is the wire's own to write")
    return checked_lines(headers)


def named_by(headers: Sequence[Header], names: Sequence[bytes]) -> frozenset[bytes]:
    """The lower-case names that the Connection lines among `headers` list."""
    if b"connection" not in names:
        return frozenset()
    return connection_names(
        [line[1] for name, line in zip(names, headers, strict=True) if name == b"connection"]
    )


@lru_cache(maxsize=1024)
def check_request_line(method: bytes, target: bytes) -> None:
    """Raises ValueError for a method that is no token or a target that would not be one word."""
    if _TOKEN.fullmatch(method) is None:
        raise ValueError(f"{method!r} is not a method")
    if not target or min(target) <= 0x20 or 0x7F in target:
        raise ValueError("a target holds neither white space nor control characters")


# ---------------------------------------------------------------- helpers

_LENGTH = frozenset({b"content-length"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_LINE_BREAKS = b"\r\n\0"
_EXTRA_DROP = _REPLY_DROP | {b"date"}


def _with_length(headers: Sequence[Header], names: Sequence[bytes], length: int) -> Sequence[Header]:
    if names.count(b"content-length") > 1:
        raise ValueError("more than one Content-Length")
    index = names.index(b"content-length")
    name, value = headers[index]
    if value == b"%d" % length:
        return headers
    return [*headers[:index], (name, b"%d" % length), *headers[index + 1 :]]


def _sourced_block(
    reply: Reply, source: ResponseHead, *, to_head: bool, close: bool, minor: int, date: bytes
) -> bytes:
    status, body = reply.status, reply.body
    bodiless = to_head or status in _BODILESS
    length = None if bodiless and not body else len(body)
    key = (reply.drop, length is None, date, close, minor, status, reply.reason)
    repeated = length is None or length == source.content_length
    block = recall(source, key) if repeated else None
    if block is None:
        block = _sourced_head(reply, source, length, date, connection_lines(close=close, minor=minor))
        if repeated:
            keep(source, key, block)
    extra = [header for header in reply.headers if header[0].lower() not in _EXTRA_DROP]
    parts = [block, *checked_lines(extra), b"\r\n" if bodiless else b"\r\n" + body]
    return b"\r\n".join(parts)


def _sourced_head(
    reply: Reply, source: ResponseHead, length: int | None, date: bytes, tail: Iterable[bytes]
) -> bytes:
    """The status line and the lines of `source`, without the last CRLF."""
    status, reason = reply.status, reply.reason
    if reason is None:
        reason = source.reason if status == source.status else _phrase(status)
    drop = dropped_names(reply.drop)
    if source.named:
        drop |= source.named
    out = [_status_line(status, reason)]
    told = status in _NO_LENGTH
    for name, line in zip(source.names, source.headers, strict=True):
        if name in drop:
            continue
        if name != b"content-length" or length is None:
            out.append(b": ".join(line))
        elif not told:
            told = True
            out.append(b"%b: %d" % (line[0], length))
    if not told and length is not None:
        out.append(b"Content-Length: %d" % length)
    if b"date" not in source.names:
        out.append(date)
    out.extend(tail)
    return b"\r\n".join(out)


@lru_cache(maxsize=1024)
def _check_name(name: bytes) -> None:
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a header name")


@lru_cache(maxsize=256)
def _status_line(status: int, reason: bytes) -> bytes:
    if not 100 <= status <= 599:
        raise ValueError(f"{status} is not a status")
    if reason.translate(None, _LINE_BREAKS) != reason:
        raise ValueError("a reason phrase may not hold CR, LF or NUL")
    return b"HTTP/1.1 %d %b" % (status, reason)


@lru_cache(maxsize=128)
def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""
