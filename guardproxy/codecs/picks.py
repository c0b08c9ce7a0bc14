"""Picks: fields that a preset takes from where a pointer leads.

Decides what is taken there and which text a picked prediction has in the response. Which fields there are is left to the
presets, what a plain value is as a cell to `cells`.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import as_object
from guardproxy.codecs.patching import news_of
from guardproxy.codecs.pointers import Found, find, parse_pointer
from guardproxy.codecs.predictions import Field, leaf_paths
from guardproxy.codecs.preset import Pick, Take
from guardproxy.errors import DecodeError, PatchError
from guardproxy.table import Cell

_ABSENT: Final = Found(None, ())
_FLOAT32: Final = np.dtype("<f4")


class ReadPick:
    """A pick with its pointers parsed."""

    __slots__ = ("_empty", "_instead", "_pointer", "_take", "_taken", "name")

    def __init__(self, pick: Pick, *, literal: bool) -> None:
        """Parse the pointers. Raises ValueError for one that is none."""
        self.name = pick.name
        self._pointer = parse_pointer(pick.pointer, literal=literal)
        self._instead = parse_pointer(pick.instead, literal=literal) if pick.instead else None
        self._take = pick.take
        self._taken = _TAKEN[pick.take]
        self._empty = pick.empty

    def value(self, source: Any) -> Any:
        """Return the field's value in a row or document; None when it is missing. Raises DecodeError."""
        return self._taken((self._find(source) or _ABSENT).value)

    def fields(self, rows: Sequence[Any], paths: Sequence[Path]) -> list[Field]:
        """Return the prediction field that is picked from each row (at most one): none where no row has it.

        `paths` say where the rows stand.
        """
        found = [self._find(row) for row in rows]
        return [self._field(found, paths)] if any(found) else []

    def shared(self, root: Any, rows: int) -> list[Field]:
        """Return the prediction field that is picked from the document for all of its rows (at most one)."""
        found = self._find(root)
        if found is None:
            return []
        field = self._field([found], [()])
        if rows == 1:
            return [field]
        return [field._replace(values=list(field.values) * rows, leaves=_shared_leaves)]

    def _find(self, source: Any) -> Found | None:
        found = find(source, self._pointer)
        if (found is None or found.value is None) and self._instead is not None:
            return find(source, self._instead) or found
        return found

    def _field(self, found: Sequence[Found | None], paths: Sequence[Path]) -> Field:
        values = [self._taken((item or _ABSENT).value) for item in found]
        if self._empty is not None:
            # The word NaN is read as null by the fast reader, and so means the same everywhere.
            values = [self._empty if value is None or value != value else value for value in values]
        packed = self._take is Take.FLOATS and _in_base64(found)

        def leaves(row: int) -> list[Path]:
            item = found[row]
            if item is None:
                raise LookupError
            if self._take not in {Take.VALUE, Take.FLOATS}:
                raise PatchError("the value is worked out from others and has no text of its own")
            path = (*paths[row], *item.path)
            return leaf_paths(item.value, path)

        return Field(self.name, values, leaves, pack=_packed if packed else None)


def _in_base64(found: Sequence[Found | None]) -> bool:
    """Tell whether vectors are in base64. Raises DecodeError when only some are."""
    kinds = {type(item.value) is str for item in found if item is not None and item.value is not None}
    if len(kinds) > 1:
        raise DecodeError("only some of the vectors are in base64")
    return True in kinds


def _shared_leaves(_row: int) -> list[Path]:
    raise PatchError("the value belongs to all rows of the response")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _floats(value: Any) -> Any:
    if type(value) is not str:
        return _plain(value)
    try:
        data = b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise DecodeError("a vector is text, but not in base64") from None
    if not data or len(data) % _FLOAT32.itemsize:
        raise DecodeError("a vector in base64 is not made of float32 numbers")
    return np.frombuffer(data, _FLOAT32).astype(np.float64).tolist()


def _packed(cell: Cell, old: Any) -> str:
    """Return the base64 of a new vector. Raises PatchError unless it is as long as the old one and of float32 numbers."""
    news = news_of(cell, 0 if old is None else len(old))
    if not all(value is None or type(value) in {int, float} for value in news):
        raise PatchError("only numbers fit into a vector in base64")
    try:
        wide = np.array([np.nan if value is None else value for value in news], np.float64)
    except OverflowError:
        raise PatchError("the number is beyond the range of float32") from None
    if bool((np.abs(wide[np.isfinite(wide)]) > np.finfo(np.float32).max).any()):
        raise PatchError("the number is beyond the range of float32")
    return f'"{b64encode(wide.astype(_FLOAT32).tobytes()).decode()}"'


def _count(value: Any) -> int | None:
    return len(value) if isinstance(value, (list, np.ndarray)) else None


def _text(value: Any) -> str | None:
    found = list(_texts(value))
    return "".join(found) if found else None


def _chars(value: Any) -> int:
    return sum(map(len, _texts(value)))


def _texts(value: Any) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif type(value) is list:
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        message = as_object(value, "a message")
        if "content" in message and "text" in message:
            # Of a message the one is read, of a part of it the other.
            raise DecodeError("a message has both 'content' and 'text'")
        yield from _texts(message.get("content", message.get("text")))


_TAKEN: Final[dict[Take, Callable[[Any], Any]]] = {
    Take.VALUE: _plain,
    Take.FLOATS: _floats,
    Take.COUNT: _count,
    Take.TEXT: _text,
    Take.CHARS: _chars,
}
