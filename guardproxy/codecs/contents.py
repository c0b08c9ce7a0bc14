"""Content codings: undoing them under a cap, and applying them again to a patched body.

Decides what a complete compressed body is (every member ends, nothing follows) and where inflation stops. Which
codings a client or an upstream is offered is left to `proxy`.
"""

import gzip
import zlib
from typing import Final

from guardproxy.errors import DecodeError

MAX_MEMBERS: Final = 8
"""A gzip body may be several members in a row; more than a few are only made to cost time."""

RATIO_FROM: Final = 1024 * 1024
"""The ratio is judged once this many bytes have been inflated: small bodies of zeros are legal."""

_CHUNK: Final = 256 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


def decompress(body: bytes, coding: str, *, max_bytes: int, max_ratio: int = 100) -> bytes:
    """Undo one content coding: `identity`, `gzip` (also `x-gzip`) or `deflate`, in any case; empty means identity.

    Raises DecodeError for any other coding, for a body that is cut, damaged or followed by other bytes, for more than
    eight gzip members, and as soon as more than `max_bytes`, or (beyond 1 MiB) more than `max_ratio` bytes per
    compressed byte, have come out. `deflate` is the zlib format; a bare deflate stream is read too, since clients
    send it.
    """
    name = coding.strip().lower()
    if name in {"", "identity"}:
        if len(body) > max_bytes:
            raise DecodeError(f"the body is larger than {max_bytes} bytes")
        return body
    limit = min(max_bytes, max(RATIO_FROM, len(body) * max_ratio))
    if name in {"gzip", "x-gzip"}:
        return _members(body, limit)
    if name == "deflate":
        return _deflate(body, limit)
    raise DecodeError("the content coding is none of identity, gzip and deflate")


def compress(body: bytes, coding: str) -> bytes:
    """Apply a content coding that `decompress` knows. Raises ValueError for any other."""
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name in {"gzip", "x-gzip"}:
        return gzip.compress(body, compresslevel=6, mtime=0)
    if name == "deflate":
        return zlib.compress(body)
    raise ValueError(f"cannot apply the content coding {coding!r}")


def _members(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    rest, total = body, 0
    for _ in range(MAX_MEMBERS):
        part, rest = _stream(rest, _GZIP, limit - total)
        parts.append(part)
        total += len(part)
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise DecodeError(f"the gzip body has more than {MAX_MEMBERS} members")


def _deflate(body: bytes, limit: int) -> bytes:
    # RFC 1950 2.2: the first two bytes of a zlib stream are a multiple of 31, its low four bits are the method 8.
    wrapped = len(body) > 1 and body[0] & 15 == 8 and (body[0] * 256 + body[1]) % 31 == 0
    out, rest = _stream(body, _ZLIB if wrapped else _RAW, limit)
    if rest:
        raise DecodeError("the compressed body is followed by other bytes")
    return out


def _stream(data: bytes, window: int, limit: int) -> tuple[bytes, bytes]:
    """Inflate one stream to its end; return what came out and what follows it."""
    inflater = zlib.decompressobj(window)
    parts: list[bytes] = []
    total = 0
    try:
        while not inflater.eof:
            part = inflater.decompress(data, min(_CHUNK, limit - total + 1))
            data = inflater.unconsumed_tail
            total += len(part)
            if total > limit:
                raise DecodeError("the compressed body inflates beyond its limit")
            if not part and not data and not inflater.eof:
                raise DecodeError("the compressed body is cut short")
            parts.append(part)
    except zlib.error:
        raise DecodeError("the compressed body is damaged") from None
    return parts[0] if len(parts) == 1 else b"".join(parts), inflater.unused_data
