"""Forms: a JSON document in a field of an HTML form, as the clients of Seldon send it.

Decides which field holds the document and refuses whatever two parsers may read differently: a field that stands twice,
escapes that are none, other character sets. A query string is a form as well. What is in the document is left to the
preset's JSON container. Answers are never forms.
"""

import re
from collections.abc import Iterator, Sequence
from string import hexdigits
from typing import Final

import numpy as np

from guardproxy.codecs.base import Container
from guardproxy.codecs.media_types import is_utf8, media_of
from guardproxy.codecs.preset import JSON_TYPE
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.message import Message
from guardproxy.table import Table

FIELD: Final = b"json"
"""The field of a form that holds the document."""

PARTS: Final = frozenset({b"json", b"data"})
"""The parts of a multipart form that may hold it."""

MAX_FIELDS: Final = 64
"""More fields than any client of a model sends."""

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_DIGITS: Final = np.array(
    [int(digit, 16) if digit in hexdigits else 0 for digit in map(chr, range(128))], dtype=np.uint8
)
"""The value of each hexadecimal digit."""
_BOUNDARY: Final = re.compile(
    r""";[ \t]*boundary=(?:"([A-Za-z0-9'()+_,./:=? -]{1,70})"|([A-Za-z0-9'+_.-]{1,70}))[ \t]*(?:\Z|(?=;))""",
    re.IGNORECASE,
)
_BOUNDARIES: Final = re.compile(r"""[; \t]boundary[*0-9 \t]*=""", re.IGNORECASE)
_NAMED: Final = re.compile(
    rb"""content-disposition:[ \t]*form-data;[ \t]*name="?([A-Za-z0-9_-]+)"?(?:;[ \t]*filename="[^"\\]*")?[ \t]*""",
    re.IGNORECASE,
)
_TYPED: Final = re.compile(rb"content-type:[ \t]*([\x20-\x7e]*)", re.IGNORECASE)
_OTHER: Final = "the form has other parts than one JSON document"


class FormField:
    """A request in a form's field; implements `Container`. `inner` reads the document in it."""

    def __init__(self, inner: Container) -> None:
        self._inner = inner

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request; see `Container`."""
        if media_of(message.content_type) == "multipart/form-data":
            document, content_type = _part(message.body, message.content_type or "")
        else:
            document, content_type = _field(message), JSON_TYPE
        return self._inner.decode_request(message._replace(body=document, content_type=content_type))

    def decode_response(self, message: Message, rows: int | None) -> Table:  # noqa: ARG002 (a Container has it)
        """Raise DecodeError: an answer is no form."""
        raise DecodeError("the response is a form")

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:  # noqa: ARG002
        """Raise DecodeError: an answer is no form."""
        raise DecodeError("the response is a form")


def _field(message: Message) -> bytes:
    """Return the document in a form's text, its escapes undone."""
    if not is_utf8(message.content_type):
        raise DecodeError("the form is in another character set than UTF-8")
    body = message.body
    if not body.isascii() or _BAD_ESCAPE.search(body):
        raise DecodeError("the form is not well escaped")
    if body.count(b"&") >= MAX_FIELDS:
        raise DecodeError(f"the form has more than {MAX_FIELDS} fields")
    found = [value for name, value in _fields(body) if name == FIELD]
    if len(found) != 1:
        raise DecodeError(f"the form has {len(found)} fields 'json', not one")
    return _unescaped(found[0])


def _fields(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names of the fields and their values, which are still escaped."""
    for field in body.split(b"&"):
        name, _, value = field.partition(b"=")
        yield _unescaped(name), value


def _unescaped(text: bytes) -> bytes:
    """Undo the escapes of a text in which all are right.

    The standard library splits a text at each of them, which takes a hundred times the memory of one that has no other
    characters.
    """
    text = text.replace(b"+", b" ")
    if b"%" not in text:
        return text
    old = np.frombuffer(text, dtype=np.uint8)
    at = np.flatnonzero(old == ord("%"))
    new = old.copy()
    new[at] = _DIGITS[old[at + 1]] * 16 + _DIGITS[old[at + 2]]
    kept = np.ones(len(old), dtype=np.bool_)
    kept[at + 1] = kept[at + 2] = False
    return new[kept].tobytes()


def _part(body: bytes, content_type: str) -> tuple[bytes, str]:
    """Return the document that is the only part of a multipart form, and its content type.

    Only the plainest of such bodies are read, those that leave no choice to their reader; all others are opaque.
    """
    boundary = _BOUNDARY.findall(content_type)
    if len(boundary) != 1 or len(_BOUNDARIES.findall(content_type)) != 1:
        raise OpaqueError("the form has no plain boundary")
    delimiter = b"\r\n--" + (boundary[0][0] or boundary[0][1]).encode()
    if body.count(delimiter) > MAX_FIELDS:
        raise OpaqueError(f"the form has more than {MAX_FIELDS} parts")
    # The line break before a delimiter belongs to it; the closing line may have one behind it.
    first, *parts = (b"\r\n" + body.removesuffix(b"\r\n")).split(delimiter)
    if first or not parts or parts.pop() != b"--" or not all(part.startswith(b"\r\n") for part in parts):
        raise OpaqueError("the form is not built plainly")
    found = [_read(part) for part in parts]
    if len(found) > 1 and {name for name, _, _ in found} <= PARTS:
        raise DecodeError("the form has more than one JSON document")
    if len(found) != 1 or found[0][0] not in PARTS:
        raise OpaqueError(_OTHER)
    return found[0][1], found[0][2]


def _read(part: bytes) -> tuple[bytes, bytes, str]:
    """Return a part's name, content and content type. A header that could change what the content means makes it opaque."""
    head, blank, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    names = [match[1] for line in lines if (match := _NAMED.fullmatch(line))]
    types = [match[1] for line in lines if (match := _TYPED.fullmatch(line))]
    if not blank or len(names) != 1 or len(types) > 1 or len(lines) != len(names) + len(types):
        raise OpaqueError(_OTHER)
    return names[0], content, types[0].decode() if types else JSON_TYPE
