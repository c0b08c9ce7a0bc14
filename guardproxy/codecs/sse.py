"""Event streams: a whole stream of server-sent events, held back until it can be checked.

Decides what an event is (the HTML standard's parsing: lines end with LF, CR or CRLF, `data:` lines of one event belong
together, comments and other fields are passed over) and what its events mean as a response. A preset with `deltas` has one
document in pieces: they are put together into the response that its server gives when it does not stream, and that one is
read and patched; a new text goes into the event that brought the first of the old one, and all later ones of it become
empty. For every other preset the data of each event is one item of an array, read as that array would be; there must be as
many as the request has rows.

Data is JSON, except in the event that ends the stream. A stream that ends inside an event, before its blank line, has been
cut: it is undecodable, unless what it ends in is that last event. Whether a stream is held back is left to the proxy.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from guardproxy.codecs.base import CodecOptions, Container
from guardproxy.codecs.json_forms import JsonForms
from guardproxy.codecs.json_lines import ITEMS, LINES, array_items, array_message
from guardproxy.codecs.json_spans import Path, Span, replace_values, value_at
from guardproxy.codecs.json_text import Doubled, JsonReader, strict_text
from guardproxy.codecs.layouts import check_rows
from guardproxy.codecs.preset import JSON_TYPE, Deltas
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Table

END: Final = "[DONE]"
"""The data of an event that ends a stream, for presets that say nothing else."""

LINES_PER_EVENT: Final = 16
"""How many lines a stream may have for each event it may have, on average: most have two or three."""

_LINE: Final = re.compile(r"([^\r\n]*+)(\r\n|\n|\r|\Z)")


class _Event(NamedTuple):
    """An event's data, and where each line of it stands in the stream."""

    data: str
    spans: list[Span]


class EventStream:
    """Predictions in a stream of events; implements `Container`. `inner` reads the preset's own documents."""

    def __init__(
        self,
        options: CodecOptions,
        inner: Container,
        reader: JsonReader,
        *,
        deltas: Deltas | None = None,
        missing: str = "null",
    ) -> None:
        self._inner = inner
        self._items = JsonForms(options, (LINES,), (ITEMS,), missing=missing, reader=reader)
        self._reader = reader
        self._deltas = deltas
        self._end = END if deltas is None else deltas.end
        self._limit = options.max_rows

    def decode_request(self, message: Message) -> Table:  # noqa: ARG002 (a Container has it)
        """Raise OpaqueError: a stream is no request."""
        raise OpaqueError("the request is a stream of events")

    def decode_response(self, message: Message, rows: int | None) -> Table:
        """Return the predictions of a response; see `Container`."""
        events = self._events(message.body)
        if self._deltas is None:
            return self._items.decode_response(self._array(events, rows), rows)
        return self._inner.decode_response(self._whole(events, self._deltas).message(), rows)

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:
        """Return the response with the replaced cells in it; see `Container`."""
        if not patch:
            return message
        events = self._events(message.body)
        if self._deltas is None:
            news = self._spliced_items(events, rows, patch)
        else:
            news = self._spliced_deltas(events, self._deltas, rows, patch)
        if not news:
            return message
        return message._replace(body=_replaced(strict_text(message.body), events, news).encode("utf-8"))

    def _spliced_items(
        self, events: Sequence[_Event], rows: int, patch: Sequence[Replacement]
    ) -> Mapping[int, str]:
        array = self._array(events, rows)
        spliced = self._items.splice(array, rows, patch)
        if spliced is array:
            return {}
        texts = array_items(spliced.body, (len(event.spans) for event in events))
        return {at: text.decode("utf-8") for at, text in enumerate(texts)}

    def _spliced_deltas(
        self, events: Sequence[_Event], deltas: Deltas, rows: int, patch: Sequence[Replacement]
    ) -> Mapping[int, str]:
        whole = self._whole(events, deltas)
        document = whole.message()
        spliced = self._inner.splice(document, rows, patch)
        if spliced is document:
            return {}
        changed: dict[int, dict[Path, str]] = {}
        new = self._reader.exact(spliced.body)
        for path in _differences(whole.value, new, ()):
            for (at, origin), text in whole.written(path, value_at(new, path)):
                changed.setdefault(at, {})[origin] = json.dumps(text, ensure_ascii=events[at].data.isascii())
        return {at: replace_values(events[at].data, texts) for at, texts in changed.items()}

    def _events(self, body: bytes) -> list[_Event]:
        """Return the events that have data, without the one that ends the stream. Raises DecodeError."""
        text = strict_text(body)
        if text.count("\n") + text.count("\r") > LINES_PER_EVENT * self._limit:
            raise DecodeError(f"the stream has more than {LINES_PER_EVENT * self._limit} lines")
        events: list[_Event] = []
        for event, ended in _parsed(text):
            if event.data == self._end or not event.data.strip():
                continue
            if not ended:
                raise DecodeError("the stream ends inside an event")
            events.append(event)
            check_rows(len(events), self._limit)
        return events

    def _array(self, events: Sequence[_Event], rows: int | None) -> Message:
        # An array may be the vector of a lone row; a stream of several events is the way to one answer.
        if rows is not None and len(events) != rows:
            raise UnalignedError(f"the stream has {len(events)} events for {rows} rows")
        return array_message([event.data.encode("utf-8") for event in events], self._reader, "event")

    def _whole(self, events: Sequence[_Event], deltas: Deltas) -> "_Whole":
        whole = _Whole(deltas, self._limit)
        for at, event in enumerate(events):
            try:
                value = self._reader.exact(event.data.encode("utf-8"))
            except DecodeError as problem:
                raise DecodeError(f"event {at + 1} {str(problem).removeprefix('the body ')}") from None
            whole.add(at, value)
        return whole


@dataclass(slots=True)
class _Piece:
    """A value of the whole document: what it is so far, and the values it came from, by event and path."""

    value: Any = None
    origins: list[tuple[int, Path]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


class _Whole:
    """The document that the events of a stream make together. They may have `limit` partial items in all."""

    def __init__(self, deltas: Deltas, limit: int) -> None:
        self._deltas = deltas
        self._limit = limit
        self._seen = 0
        self._beside: dict[str, _Piece] = {}
        self._items: dict[int, dict[tuple[str, ...], _Piece]] = {}
        self._made: Any = None

    @property
    def value(self) -> Any:
        """The document."""
        if self._made is None:
            self._made = {name: _value(piece) for name, piece in self._beside.items()}
            if self._items:
                self._made[self._deltas.items] = [
                    self._item(order, pieces) for order, pieces in sorted(self._items.items())
                ]
        return self._made

    def message(self) -> Message:
        """Return the document as the server would send it."""
        return Message(json.dumps(self.value, ensure_ascii=False).encode("utf-8"), JSON_TYPE)

    def add(self, at: int, value: Any) -> None:
        """Take in the data of the event at position `at`. Raises DecodeError."""
        for name, inner in _members(value).items():
            if name != self._deltas.items:
                self._put(self._beside.setdefault(name, _Piece()), inner, (at, (name,)))
            elif inner is not None:
                if type(inner) is not list:
                    raise DecodeError(f"'{name}' of an event is not an array")
                self._seen += len(inner)
                check_rows(self._seen, self._limit)
                for position, item in enumerate(inner):
                    self._add_item(at, position, _members(item))

    def written(self, path: Path, new: Any) -> Iterator[tuple[tuple[int, Path], Any]]:
        """Yield what must be written, and at which event and path, so that the document has `new` at `path`."""
        piece, rest = self._piece(path)
        if not piece.origins:
            raise PatchError("the stream has no such value that could be replaced")
        if not piece.texts:
            # The last that is not null made the value; where all are null, any will do.
            event, way = piece.origins[-1]
            yield (event, (*way, *rest)), new
            return
        if type(new) is not str:
            raise PatchError("only text fits into a text that comes in pieces")
        first = next((number for number, text in enumerate(piece.texts) if text), 0)
        for number, (origin, text) in enumerate(zip(piece.origins, piece.texts, strict=True)):
            if number == first or text:
                yield origin, new if number == first else ""

    def _add_item(self, at: int, position: int, item: dict[str, Any]) -> None:
        deltas = self._deltas
        order = item.get(deltas.order, position)
        if type(order) is not int:
            raise DecodeError(f"'{deltas.order}' of an event is not a whole number")
        pieces = self._items.setdefault(order, {})
        base: Path = (deltas.items, position)
        for name, inner in item.items():
            if name == deltas.order:
                continue
            if name not in deltas.moved:
                self._put(pieces.setdefault((name,), _Piece()), inner, (at, (*base, name)))
            elif inner is not None:
                # The object is there even when nothing ever comes into it.
                pieces.setdefault((deltas.moved[name],), _Piece({}))
                for key, value in _members(inner).items():
                    piece = pieces.setdefault((deltas.moved[name], key), _Piece())
                    self._put(piece, value, (at, (*base, name, key)))

    def _put(self, piece: _Piece, value: Any, origin: tuple[int, Path]) -> None:
        if type(value) is str and origin[1][-1] in self._deltas.joined and len(origin[1]) > 1:
            if not piece.texts:
                piece.origins.clear()
            piece.texts.append(value)
            piece.origins.append(origin)
        elif not piece.texts and (value is not None or piece.value is None):
            piece.value = value
            piece.origins = [origin]

    def _item(self, order: int, pieces: Mapping[tuple[str, ...], _Piece]) -> dict[str, Any]:
        item: dict[str, Any] = {self._deltas.order: order}
        for way, piece in pieces.items():
            target = item if len(way) == 1 else item.setdefault(way[0], {})
            if type(target) is not dict:
                raise DecodeError("the events of the stream do not fit together")
            target[way[-1]] = _value(piece)
        return item

    def _piece(self, path: Path) -> tuple[_Piece, Path]:
        """Return the piece that has the value at a path of the document, and the rest of the path inside it."""
        if path[0] != self._deltas.items:
            return self._beside[str(path[0])], path[1:]
        pieces = self._items[sorted(self._items)[int(path[1])]]
        for length in (2, 1):
            way = tuple(map(str, path[2 : 2 + length]))
            if way in pieces:
                return pieces[way], path[2 + length :]
        raise PatchError("the stream has no such value that could be replaced")


def _parsed(text: str) -> Iterator[tuple[_Event, bool]]:
    """Yield every event that has data, and whether a blank line ends it."""
    data: list[str] = []
    spans: list[Span] = []
    for match in _LINE.finditer(text):
        start, end = match.span(1)
        line = match[1]
        if not line and match[2]:
            if spans:
                yield _Event("\n".join(data), spans), True
                data, spans = [], []
        elif line.startswith("data:"):
            start += 6 if line.startswith("data: ") else 5
            data.append(text[start:end])
            spans.append((start, end))
        elif line == "data":
            data.append("")
            spans.append((end, end))
    if spans:
        yield _Event("\n".join(data), spans), False


def _replaced(text: str, events: Sequence[_Event], news: Mapping[int, str]) -> str:
    """Return the stream with new data in some events, which has as many lines as the old."""
    parts: list[str] = []
    at = 0
    for number in sorted(news):
        for (start, end), line in zip(events[number].spans, news[number].split("\n"), strict=True):
            parts += (text[at:start], line)
            at = end
    parts.append(text[at:])
    return "".join(parts)


def _members(value: Any) -> dict[str, Any]:
    if type(value) is dict:
        return value
    if type(value) is Doubled:
        raise DecodeError("an event has the same key twice")
    raise DecodeError("an event holds something else than an object where one must be")


def _value(piece: _Piece) -> Any:
    return "".join(piece.texts) if piece.texts else piece.value


def _differences(old: Any, new: Any, path: Path) -> Iterator[Path]:
    """Yield the path of every scalar that differs between two documents of the same shape."""
    if type(old) is dict:
        for key, value in old.items():
            yield from _differences(value, new[key], (*path, key))
    elif type(old) is list:
        for at, value in enumerate(old):
            yield from _differences(value, new[at], (*path, at))
    elif type(old) is not type(new) or (old != new and (old == old or new == new)):
        yield path
