"""Content codings: undoing them under a cap, and applying them again to a patched body.

Decides what a complete compressed body is (every member or frame ends, nothing follows) and where inflation stops. Which
codings a client or an upstream is offered is left to `proxy`.
"""

import gzip
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import brotli
import zstandard

from guardproxy.errors import DecodeError

MAX_MEMBERS: Final = 8
"""A gzip body may be several members in a row, a zstd body several frames; more than a few only cost time."""

MAX_CODINGS: Final = 2
"""Codings on top of each other; nobody has a use for more."""

RATIO_FROM: Final = 1024 * 1024
"""The ratio is judged once this many bytes have been inflated: small bodies of zeros are legal."""

MAX_WINDOW: Final = 8 * 1024 * 1024
"""What a zstd body may ask a decoder to remember (RFC 9659)."""

_CHUNK: Final = 256 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS

_BROTLI_QUALITY: Final = 5
"""Eleven, the library's own choice, takes a hundred times longer than this."""

_SKIPPABLE: Final = 0x184D2A50
_LAST, _RLE, _RESERVED = 1, 1, 3


def decompress(body: bytes, coding: str, *, max_bytes: int, max_ratio: int = 100) -> bytes:
    """Undo the content codings of a header: `identity`, `gzip` (also `x-gzip`), `deflate`, `br` or `zstd`, in any case;
    empty means identity. Two of them may stand on top of each other, as in `gzip, br`.

    Raises DecodeError for any other coding, for a body that is cut, damaged or followed by other bytes, for more than
    eight gzip members or zstd frames, and as soon as more than `max_bytes`, or (beyond 1 MiB) more than `max_ratio`
    bytes per compressed byte, have come out. `deflate` is the zlib format; a bare deflate stream is read too, since
    clients send it.
    """
    names = _names(coding)
    if not names:
        if len(body) > max_bytes:
            raise DecodeError(f"the body is larger than {max_bytes} bytes")
        return body
    if len(names) > MAX_CODINGS:
        raise DecodeError(f"the body has more than {MAX_CODINGS} content codings")
    if not CODINGS.keys() >= set(names):
        raise DecodeError(f"the content coding is none of identity, {', '.join(CODINGS)}")
    # One limit for all of them: two codings must not multiply what one may do.
    limit = min(max_bytes, max(RATIO_FROM, len(body) * max_ratio))
    for name in reversed(names):
        body = CODINGS[name].undo(body, limit)
    return body


def compress(body: bytes, coding: str) -> bytes:
    """Apply content codings that `decompress` knows. Raises ValueError for any other."""
    for name in _names(coding):
        if name not in CODINGS:
            raise ValueError(f"cannot apply the content coding {coding!r}")
        body = CODINGS[name].apply(body)
    return body


class _Coding(NamedTuple):
    undo: Callable[[bytes, int], bytes]
    apply: Callable[[bytes], bytes]


def _names(coding: str) -> list[str]:
    parts = (part.strip().lower() for part in coding.split(","))
    return [part for part in parts if part not in {"", "identity"}]


# ---------------------------------------------------------------- gzip and deflate


def _gunzip(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    rest, total = body, 0
    for _ in range(MAX_MEMBERS):
        part, rest = _stream(rest, _GZIP, limit - total)
        parts.append(part)
        total += len(part)
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise DecodeError(f"the gzip body has more than {MAX_MEMBERS} members")


def _inflate(body: bytes, limit: int) -> bytes:
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
            _check(total, limit)
            if not part and not data and not inflater.eof:
                raise DecodeError("the compressed body is cut short")
            parts.append(part)
    except zlib.error:
        raise DecodeError("the compressed body is damaged") from None
    return parts[0] if len(parts) == 1 else b"".join(parts), inflater.unused_data


def _check(total: int, limit: int) -> None:
    if total > limit:
        raise DecodeError("the compressed body inflates beyond its limit")


# ---------------------------------------------------------------- brotli and zstd


def _unbrotli(body: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    parts: list[bytes] = []
    total = 0
    try:
        while not decoder.is_finished():
            # All of the body at first; what did not fit into the output waits inside.
            part = decoder.process(b"" if parts else body, output_buffer_limit=_CHUNK)
            total += len(part)
            _check(total, limit)
            if not part and not decoder.is_finished():
                raise DecodeError("the compressed body is cut short")
            parts.append(part)
    except brotli.error:
        # Also where bytes follow the end.
        raise DecodeError("the compressed body is damaged") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unzstd(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    rest, total = memoryview(body), 0
    for _ in range(MAX_MEMBERS):
        size, data = _zstd_frame(rest)
        if data:
            part = _zstd_content(bytes(rest[:size]), limit - total)
            parts.append(part)
            total += len(part)
        rest = rest[size:]
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise DecodeError(f"the zstd body has more than {MAX_MEMBERS} frames")


def _zstd_content(frame: bytes, limit: int) -> bytes:
    """Return the content of one whole frame."""
    try:
        told = zstandard.get_frame_parameters(frame).content_size
        decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        if told == zstandard.CONTENTSIZE_UNKNOWN:
            # A reader of streams stops where it is told to; the frame is known to be whole.
            out = decoder.stream_reader(frame).read(limit + 1)
        else:
            # As much as is told is set aside at once.
            _check(told, limit)
            out = decoder.decompress(frame)
    except zstandard.ZstdError:
        raise DecodeError("the compressed body is damaged") from None
    _check(len(out), limit)
    return out


def _zstd_frame(data: memoryview) -> tuple[int, bool]:
    """Return the size of the frame at the beginning (RFC 8878, 3.1) and whether it holds data.

    The library says neither where a frame ends nor whether it does; its block headers do.
    """
    if len(data) >= 8 and int.from_bytes(data[:4], "little") & ~15 == _SKIPPABLE:
        at = 8 + int.from_bytes(data[4:8], "little")
        return _whole(at, data), False
    try:
        at = zstandard.frame_header_size(data)
        checksum = zstandard.get_frame_parameters(data).has_checksum
    except zstandard.ZstdError:
        raise DecodeError("the compressed body is damaged") from None
    header = 0
    while not header & _LAST:
        header = int.from_bytes(data[at : _whole(at + 3, data)], "little")
        kind = header >> 1 & 3
        if kind == _RESERVED:
            raise DecodeError("the compressed body is damaged")
        at += 3 + (1 if kind == _RLE else header >> 3)
    return _whole(at + 4 * checksum, data), True


def _whole(end: int, data: memoryview) -> int:
    if end > len(data):
        raise DecodeError("the compressed body is cut short")
    return end


def _brotli(body: bytes) -> bytes:
    packed: bytes = brotli.compress(body, quality=_BROTLI_QUALITY)
    return packed


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=6, mtime=0)


CODINGS: Final[Mapping[str, _Coding]] = MappingProxyType(
    {
        "gzip": _Coding(_gunzip, _gzip),
        "x-gzip": _Coding(_gunzip, _gzip),
        "deflate": _Coding(_inflate, zlib.compress),
        "br": _Coding(_unbrotli, _brotli),
        "zstd": _Coding(_unzstd, lambda body: zstandard.ZstdCompressor().compress(body)),
    }
)
"""The codings that can be undone and applied, by name."""
