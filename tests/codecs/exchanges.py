"""Captured exchanges, and documents of every layout in several spellings."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardproxy.codecs import decompress

_MARK = re.compile(rb"^=== (CLIENT -> SERVER|SERVER -> CLIENT) ===\r?\n", re.MULTILINE)


@dataclass(frozen=True)
class HttpMessage:
    """One captured message: its start line, headers (lower-case names) and decoded body."""

    start: str
    headers: dict[str, str]
    body: bytes


def exchanges(path: Path) -> Iterator[tuple[HttpMessage, HttpMessage]]:
    """Yield the requests of a capture, each with its response."""
    pieces = _MARK.split(path.read_bytes())
    sides: dict[bytes, bytes] = {b"CLIENT -> SERVER": b"", b"SERVER -> CLIENT": b""}
    for side, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        sides[side] += piece
    yield from zip(_messages(sides[b"CLIENT -> SERVER"]), _messages(sides[b"SERVER -> CLIENT"]), strict=False)


def _messages(data: bytes) -> Iterator[HttpMessage]:
    data = data.lstrip(b"\r\n")
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body, data = _chunked(rest)
        else:
            length = int(headers.get("content-length", "0"))
            body, data = rest.lstrip(b"\r\n")[:length], rest.lstrip(b"\r\n")[length:]
        coding = headers.get("content-encoding", "")
        yield HttpMessage(start, headers, decompress(body, coding, max_bytes=1 << 20))
        data = data.lstrip(b"\r\n")


def _chunked(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, data
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


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
