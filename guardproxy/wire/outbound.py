"""Request heads for an upstream: what of a client's head travels on, and what is added on the way.

Pure functions of heads and plans; `framing` writes the lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardproxy.wire import framing
from guardproxy.wire.heads import HOP_BY_HOP
from guardproxy.wire.repeat import keep, recall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guardproxy.wire.heads import Header, RequestHead
    from guardproxy.wire.origin import Origin
    from guardproxy.wire.plans import Forward

_EXPECT = frozenset({b"expect"})


def forward_block(head: RequestHead, plan: Forward, via: bytes, *, upgrade: bool) -> bytes:
    """The head of a forwarded request. `via` is our Via line. Raises ValueError for a header that would not be one line."""
    key = (plan.drop_request, plan.add_request, plan.upstream.origin, plan.target)
    block = recall(head, key)
    return keep(head, key, _forward_block(head, plan, via, upgrade=upgrade)) if block is None else block


def own_block(
    head: RequestHead, origin: Origin, drop_request: frozenset[bytes], length: int, via: bytes
) -> bytes:
    """The head of an exchange's call with the client's own headers, for a body of `length` bytes."""
    key = (drop_request, origin)
    repeated = length == head.content_length
    block = recall(head, key) if repeated else None
    if block is None:
        drop = drop_request | head.named
        block = _call_block(
            head, origin, head.method, head.target, head.headers, head.names, drop, length, via
        )
        if repeated:
            keep(head, key, block)
    return block


def changed_block(
    head: RequestHead,
    origin: Origin,
    drop_request: frozenset[bytes],
    headers: Sequence[Header] | None,
    method: bytes | None,
    target: bytes | None,
    length: int,
    via: bytes,
) -> bytes:
    """The head of an exchange's call with what the application changes. Raises ValueError for what would inject."""
    if headers is None:
        headers, names, named = head.headers, head.names, head.named
    else:
        framing.checked_lines(headers)
        names = [name.lower() for name, _ in headers]
        named = framing.named_by(headers, names)
    method, target = method or head.method, target or head.target
    framing.check_request_line(method, target)
    return _call_block(head, origin, method, target, headers, names, drop_request | named, length, via)


# ---------------------------------------------------------------- helpers


def _forward_block(head: RequestHead, plan: Forward, via: bytes, *, upgrade: bool) -> bytes:
    more = () if head.expects_continue else (_EXPECT,)
    drop = framing.dropped_names(plan.drop_request, *more)
    if head.named:
        drop |= head.named
    headers, names = head.headers, head.names
    tail = [via]
    if b"host" not in names:
        tail.append(b"Host: " + plan.upstream.origin.authority)
    if plan.add_request:
        tail += framing.added_lines(plan.add_request)
    if upgrade and head.upgrade is not None:
        tail += [b"Connection: Upgrade", b"Upgrade: " + head.upgrade]
    if head.method == b"OPTIONS":
        headers = _one_hop_less(headers, names)
    length = framing.CHUNKED if head.chunked else head.content_length
    target = head.target
    if plan.target is not None:
        target = plan.target
        framing.check_request_line(head.method, target)
    return framing.request_block(head.method, target, headers, names, drop, length, tail)


def _call_block(
    head: RequestHead,
    origin: Origin,
    method: bytes,
    target: bytes,
    headers: Sequence[Header],
    names: Sequence[bytes],
    drop: frozenset[bytes],
    length: int,
    via: bytes,
) -> bytes:
    drop = HOP_BY_HOP | _EXPECT | drop
    tail = [via]
    if b"host" not in names:
        tail.append(b"Host: " + origin.authority)
    tells = length or head.chunked or head.content_length is not None
    return framing.request_block(method, target, headers, names, drop, length if tells else None, tail)


def _one_hop_less(headers: list[Header], names: list[bytes]) -> list[Header]:
    """The lines with Max-Forwards one less (RFC 9110 section 7.6.2)."""
    if b"max-forwards" not in names:
        return headers
    index = names.index(b"max-forwards")
    name, value = headers[index]
    if not value.isdigit():
        return headers
    return [*headers[:index], (name, b"%d" % max(0, int(value[:9]) - 1)), *headers[index + 1 :]]
