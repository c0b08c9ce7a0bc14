"""Heads that come again: most clients and servers repeat theirs, octet for octet but for the length of the body.

Decides whether a read is such a repetition, so that it need not be parsed again, and keeps what was written for it. This
is sound because llhttp stands between two messages both times and gives the same verdict on the same octets; the one
part that may differ, the digits of Content-Length, is checked here. Anything else is left to the parser.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

from guardproxy.wire.heads import RequestHead, ResponseHead

H = TypeVar("H", RequestHead, ResponseHead)

_LENGTH_LINE = re.compile(rb"\r\ncontent-length:[ \t]*(0|[1-9][0-9]{0,14})(?=\r\n|\Z)", re.IGNORECASE)
_ZERO = 0x30
_MAX_HEAD = 2048
_PATIENCE = 8
_RETRY_EVERY = 64


class KnownHead(Generic[H]):
    """The last head of a connection (or of a pool), cut at the digits of its Content-Length."""

    __slots__ = ("_after", "_before", "_head", "_misses")

    def __init__(self) -> None:
        self._head: H | None = None
        self._before = b""
        self._after = b""
        self._misses = 0

    def match(self, data: bytes) -> H | None:
        """The head of `data` if `data` is exactly that head again with a whole body; its content_length is the body's."""
        head = self._head
        before = self._before
        if head is None or not data.startswith(before):
            return None
        at = len(before)
        if head.content_length is None:
            return head if len(data) == at else None
        end = data.find(b"\r", at, at + 16)
        digits = data[at:end]
        if (
            end < 0
            or not digits.isdigit()
            or (digits[0] == _ZERO and end - at > 1)
            or not data.startswith(self._after, end)
        ):
            return None
        length = int(digits)
        if len(data) - end - len(self._after) != length:
            return None
        self._misses = 0
        return head if digits == head.digits else head.resized(digits, length)

    def remember(self, data: bytes, body_size: int, head: H) -> None:
        """`data` was parsed as exactly one message with that head and so many bytes of body.

        A stream whose heads never come again is tried only now and then.
        """
        self._misses += 1
        size = len(data) - body_size
        if size > _MAX_HEAD or (self._misses > _PATIENCE and self._misses % _RETRY_EVERY):
            return
        raw = data[:size]
        if head.content_length is None:
            self._before, self._after = raw, b""
        else:
            found = _LENGTH_LINE.search(raw)
            if found is None:
                return
            self._before, self._after = raw[: found.start(1)], raw[found.end(1) :]
            head.digits = found.group(1)
        head.known = True
        self._head = head

    def forget(self) -> None:
        """What comes next does not stand between two messages."""
        self._head = None


def recall(head: RequestHead | ResponseHead, key: tuple[object, ...]) -> bytes | None:
    """What was kept under `key` for this head or for one that differs in its length only."""
    memo = (head.model or head).memo
    if memo is None or memo[0] != key:
        return None
    return memo[1] + head.digits + memo[2]


def keep(head: RequestHead | ResponseHead, key: tuple[object, ...], block: bytes) -> bytes:
    """Keep `block`, which was written for this head, if such a head may come again; returns it.

    `key` holds everything else that the block depends on; its Content-Length must be the head's own.
    """
    if head.known:
        model = head.model or head
        if head.content_length is None:
            model.memo = (key, block, b"")
        elif (found := _LENGTH_LINE.search(block)) is not None:
            model.memo = (key, block[: found.start(1)], block[found.end(1) :])
    return block
