"""JSON lines: each line that is not blank holds one JSON value, which is one row.

Decides that the lines are read and spliced as the JSON array of their values would be, so every proof of the JSON
container holds for them: the array has the same bytes, with brackets and commas where the line breaks are. A line must be
one whole value: no value runs over two lines and no two stand in one. Which member of a line holds the row is left to
those forms of the preset whose rows are the whole document.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import orjson

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.json_forms import JsonForms
from guardproxy.codecs.json_text import JsonReader
from guardproxy.codecs.layouts import check_rows
from guardproxy.codecs.media_types import check_charset
from guardproxy.codecs.preset import JSON_TYPE, Form, Layout
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError
from guardproxy.message import Message
from guardproxy.table import Table

LINES: Final = Form("", layout=Layout.ROWS, otherwise=True)
"""The form of lines for which a preset has none: a line is a record, an array or a scalar."""

ITEMS: Final = Form("", otherwise=True)
"""The same for answers, whose layout is always sniffed."""

_BLANK: Final = b" \t\r"


class JsonLines:
    """Rows in JSON lines; implements `Container`. `requests` and `responses` are a preset's forms."""

    def __init__(
        self,
        options: CodecOptions,
        requests: Sequence[Form],
        responses: Sequence[Form],
        reader: JsonReader,
        *,
        missing: str = "null",
    ) -> None:
        # Plain values on lines of their own are rows, though the same values in one JSON array may be a single row.
        lines = tuple(replace(form, layout=Layout.ROWS) for form in _bare(requests)) or (LINES,)
        self._inner = JsonForms(options, lines, _bare(responses) or (ITEMS,), missing=missing, reader=reader)
        self._reader = reader
        self._limit = options.max_rows

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request; see `Container`."""
        return self._inner.decode_request(self._array(message))

    def decode_response(self, message: Message, rows: int | None) -> Table:
        """Return the predictions of a response; see `Container`."""
        return self._inner.decode_response(self._array(message), rows)

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:
        """Return the response with the replaced cells in it; see `Container`."""
        array = self._array(message)
        spliced = self._inner.splice(array, rows, patch)
        if spliced is array:
            return message
        lines = message.body.split(b"\n")
        values = array_items(spliced.body, (1 for line in lines if line.strip(_BLANK)))
        return message._replace(
            body=b"\n".join(next(values) if line.strip(_BLANK) else line for line in lines)
        )

    def _array(self, message: Message) -> Message:
        check_charset(message.content_type)
        check_rows(message.body.count(b"\n"), self._limit)
        lines = [line for line in message.body.split(b"\n") if line.strip(_BLANK)]
        return array_message(lines, self._reader, "line")


def array_message(values: Sequence[bytes], reader: JsonReader, what: str) -> Message:
    """Return the JSON array of JSON texts. Raises DecodeError, naming `what` and its position, unless each is one value."""
    for at, value in enumerate(values):
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError:
            _check(value, reader, what, at)
    return Message(b"[" + b"\n,".join(values) + b"\n]", JSON_TYPE)


def array_items(array: bytes, lines: Iterable[int]) -> Iterator[bytes]:
    """Yield the texts out of an array that `array_message` made, in which values were replaced by others of one line.

    `lines` has how many lines each text has. No JSON value has a raw line break in itself, so those between the values
    are where they were.
    """
    parts = array.split(b"\n")
    at = 0
    for count in lines:
        # Each text comes after the opening bracket or a comma.
        yield b"\n".join(parts[at : at + count])[1:]
        at += count


def _check(value: bytes, reader: JsonReader, what: str, at: int) -> None:
    """Raise DecodeError unless the standard library's reader takes a text that a fast one refused."""
    try:
        reader.exact(value)
    except DecodeError as problem:
        said = str(problem).removeprefix("the body ")
        raise DecodeError(f"{what} {at + 1} {said}") from None


def _bare(forms: Sequence[Form]) -> tuple[Form, ...]:
    """Return the forms whose rows are the whole document."""
    return tuple(form for form in forms if not form.key and not form.opaque)
