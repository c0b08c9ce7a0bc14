"""gRPC metadata: what passes, and what guardproxy says in it.

Decides that the decision headers have the same names as over HTTP, in lower case, and that nobody else speaks in them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from guardproxy.proxy.headers import OURS
from guardproxy.wire import Header

Pairs: TypeAlias = "tuple[tuple[str, str | bytes], ...]"

_OURS: Final = frozenset(name.decode() for name in OURS)
_NOT_FORWARDED: Final = _OURS | {"user-agent"}
"""gRPC writes its own user agent into every call."""


def forwarded(metadata: Iterable[Any] | None) -> Pairs:
    """Return a client's metadata as it goes upstream."""
    return _kept(metadata, _NOT_FORWARDED)


def returned(metadata: Iterable[Any] | None) -> Pairs:
    """Return an upstream's metadata as it goes to the client."""
    return _kept(metadata, _OURS)


def said(lines: Sequence[Header]) -> Pairs:
    """Return decision headers as metadata."""
    return tuple((name.decode().lower(), value.decode("latin-1")) for name, value in lines)


def first(metadata: Iterable[Any] | None, name: str) -> bytes:
    """Return the first value of a name; empty when there is none."""
    for key, value in metadata or ():
        if key == name:
            return value if isinstance(value, bytes) else str(value).encode()
    return b""


def _kept(metadata: Iterable[Any] | None, without: frozenset[str]) -> Pairs:
    # A text that is not plain ASCII is illegal in gRPC: no call can be made with it.
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key not in without and (isinstance(value, bytes) or (value.isascii() and value.isprintable()))
    )
