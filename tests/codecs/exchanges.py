"""Captured exchanges as they stood on the wire, and documents of every layout in several spellings."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import brotli
import zstandard

CAPTURES: Final = Path(__file__).resolve().parent.parent / "captures"

NO_EXCHANGE: Final = frozenset({"oip_v2_mlserver/client_codecs"})
"""Files beside the captures that hold bodies which a client's own encoder made, and no exchange."""

_MARK: Final = re.compile(rb"(?:\A|\n)=== (CLIENT -> SERVER|SERVER -> CLIENT) ===\n")


@dataclass(frozen=True)
class Captured:
    """One message: its start line, its header lines, and its body with and without its framing."""

    start: bytes
    lines: tuple[bytes, ...]
    framed: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        """The bytes that stood on the wire."""
        return b"\r\n".join((self.start, *self.lines, b"", self.framed))

    @property
    def content(self) -> bytes:
        """The body with its content coding undone."""
        return undone(self.body, self.get("content-encoding"))

    def get(self, name: str) -> str | None:
        """A header's value; None without it. Fails where it stands twice."""
        return header(self.lines, name)


@dataclass(frozen=True)
class Exchange:
    """A captured request with its response. `name` is `FOLDER/FILE#NUMBER`."""

    name: str
    request: Captured
    response: Captured

    @property
    def method(self) -> bytes:
        return self.request.start.split(b" ")[0]

    @property
    def target(self) -> str:
        return self.request.start.split(b" ")[1].decode()

    @property
    def status(self) -> int:
        return int(self.response.start.split(b" ")[1])


def header(lines: Sequence[bytes], name: str) -> str | None:
    """A header's value among header lines; None without it. Fails where it stands twice."""
    found = [
        value.strip().decode("latin-1")
        for key, _, value in (line.partition(b":") for line in lines)
        if key.lower() == name.encode()
    ]
    assert len(found) <= 1, found
    return found[0] if found else None


def undone(body: bytes, coding: str | None) -> bytes:
    """A body with its content coding undone, by nothing of ours. Fails where anything is missing or left over."""
    return body if coding is None else _UNDO[coding.lower()](body)


def _deflated(body: bytes) -> bytes:
    stream = zlib.decompressobj()
    plain = stream.decompress(body)
    assert stream.eof
    assert not stream.unused_data
    return plain


def _zstd(body: bytes) -> bytes:
    stream = zstandard.ZstdDecompressor().decompressobj()
    plain = stream.decompress(body)
    assert stream.eof
    assert not stream.unused_data
    return plain


_UNDO: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.decompress,
    "deflate": _deflated,
    "br": brotli.decompress,
    "zstd": _zstd,
}


@cache
def exchanges() -> dict[str, Exchange]:
    """Every captured exchange by its name. Fails where a byte of a capture belongs to none."""
    found = {}
    for path in sorted(CAPTURES.glob("*/*.txt")):
        file = f"{path.parent.name}/{path.stem}"
        if file in NO_EXCHANGE:
            continue
        for number, (request, response) in enumerate(_pairs(path)):
            found[f"{file}#{number}"] = Exchange(f"{file}#{number}", request, response)
    return found


def _pairs(path: Path) -> Iterator[tuple[Captured, Captured]]:
    before, *pieces = _MARK.split(path.read_bytes())
    assert before == b"", path
    sides = {b"CLIENT -> SERVER": b"", b"SERVER -> CLIENT": b""}
    for side, piece in zip(pieces[::2], pieces[1::2], strict=True):
        sides[side] += piece
    yield from zip(*(_messages(data) for data in sides.values()), strict=True)


def _messages(data: bytes) -> Iterator[Captured]:
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        start, *lines = head.split(b"\r\n")
        if header(lines, "transfer-encoding") == "chunked":
            end, body = _chunked(rest)
        else:
            end = int(header(lines, "content-length") or 0)
            body = rest[:end]
            assert len(body) == end, start
        yield Captured(start, tuple(lines), rest[:end], body)
        data = rest[end:]


def _chunked(data: bytes) -> tuple[int, bytes]:
    """Return where a chunked body ends, and what was in its chunks."""
    body, at = b"", 0
    while True:
        line = data.index(b"\r\n", at)
        size = int(data[at:line], 16)
        at = line + 2 + size
        body += data[line + 2 : at]
        assert data[at : at + 2] == b"\r\n"
        at += 2
        if not size:
            return at, body


def spelled(value: Any, style: str) -> bytes:
    """Write a document compactly, as Python does, over many lines, with CRLF, or with raw unicode."""
    if style == "compact":
        return json.dumps(value, separators=(",", ":")).encode()
    if style == "pretty":
        return json.dumps(value, indent=4).encode()
    if style == "crlf":
        return (json.dumps(value, indent="\t", ensure_ascii=False) + "\n").replace("\n", "\r\n").encode()
    if style == "unicode":
        return json.dumps({"über": "größe 😀", **value}, ensure_ascii=False).encode()
    return json.dumps(value).encode()


STYLES = ("python", "compact", "pretty", "crlf", "unicode")
