"""What all JSON bodies have in common: decoding under one reader, and splicing a patch into a response.

Decides how replacements become text spans. A cell that says the same already keeps its spelling, so a patch changes
nothing it need not. Which part of a document holds the rows is left to `json_forms` and `open_inference`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.cells import (
    SCALARS,
    Kind,
    Style,
    cells_of,
    column_kind,
    is_same,
    new_text,
    plain_block,
    tensor_kind,
    whole_inside,
)
from guardproxy.codecs.json_spans import Path, find_spans, replace_spans, value_at
from guardproxy.codecs.json_text import JsonReader, strict_text
from guardproxy.codecs.layouts import Field, Values, scalars_of
from guardproxy.codecs.names import Names
from guardproxy.codecs.patching import CLAMP, news_of, write_cells
from guardproxy.decision import Replacement
from guardproxy.errors import PatchError
from guardproxy.message import Message
from guardproxy.table import Cell, Floats, Table

_INFINITIES: Final = (float("inf"), float("-inf"))


class JsonContainer(ABC):
    """A container whose messages are JSON documents.

    `missing` is how its servers usually spell a missing number; a body that is no JSON but has `foreign` in it uses
    another form of the protocol, and is opaque.
    """

    def __init__(
        self,
        options: CodecOptions,
        *,
        missing: str = "null",
        foreign: bytes = b"",
        reader: JsonReader | None = None,
    ) -> None:
        self._options = options
        self._names = Names(options)
        self._missing = missing
        self._foreign = foreign
        self._reader = reader or JsonReader(options.max_depth)

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request; see `Container`."""
        return self._reader.decode(message, self._request, self._foreign)

    def decode_response(self, message: Message, rows: int | None) -> Table:
        """Return the predictions of a response; see `Container`."""
        return self._reader.decode(message, partial(self._response, rows), self._foreign)

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:
        """Return the response with the replaced cells in it; see `Container`."""
        if not patch:
            return message
        root = self._reader.exact(message.body)
        fields, prefix = self._fields(root, rows)
        texts = _Plan(root, prefix, fields, rows, self._style(message.body, fields)).texts(patch)
        if not texts:
            return message
        text = strict_text(message.body)
        return message._replace(body=replace_spans(text, texts, find_spans(text, texts)).encode("utf-8"))

    @abstractmethod
    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        """Build the table of a request."""

    @abstractmethod
    def _response(self, rows: int | None, value: Any, exact: bool) -> tuple[Table, int]:
        """Build the table of a response."""

    @abstractmethod
    def _fields(self, value: Any, rows: int) -> tuple[list[Field], Path]:
        """Return the fields of a response, read exactly, and the path to what their leaves begin at."""

    def _style(self, body: bytes, fields: Sequence[Field]) -> Style:
        nulls = nans = infinities = False
        for field in fields:
            for value in scalars_of(field.values):
                nulls = nulls or value is None
                nans = nans or value != value
                infinities = infinities or value in _INFINITIES
        missing = "NaN" if nans else "null" if nulls else self._missing
        return Style(missing, nans or infinities or missing == "NaN", body.isascii())


class _Plan:
    """Turns replacements into new texts by path."""

    def __init__(self, root: Any, prefix: Path, fields: Sequence[Field], rows: int, style: Style) -> None:
        self._root = root
        self._prefix = prefix
        self._fields = {field.name: field for field in fields}
        self._rows = rows
        self._style = style
        self._kinds: dict[str, Kind] = {}
        self._made: dict[Path, str] = {}

    def texts(self, patch: Sequence[Replacement]) -> Mapping[Path, str]:
        write_cells(patch, self._rows, self._cell)
        return self._made

    def _cell(self, name: str, row: int, cell: Cell, replacement: Replacement) -> None:
        field = self._fields.get(name)
        if field is None:
            raise PatchError("the response has no such prediction")
        current = field.values[row]
        if is_same(cells_of((current,), exact=True)[0], cell):
            return
        if type(current) is list and not (current and SCALARS.issuperset(map(type, current))):
            raise PatchError("the cell holds a list that is no vector")
        try:
            paths = [(*self._prefix, *path) for path in field.leaves(row)]
        except LookupError:
            raise PatchError("the row has no such value that could be replaced") from None
        kind = self._kind(field)
        for path, new in zip(paths, news_of(cell, len(paths)), strict=True):
            old = value_at(self._root, path)
            if kind.whole and replacement.source == CLAMP:
                new = whole_inside(new, old)
            text = new_text(new, old, kind, self._style)
            if text is not None and self._made.setdefault(path, text) != text:
                raise PatchError("another replacement of the row writes the same value")

    def _kind(self, field: Field) -> Kind:
        kind = self._kinds.get(field.name)
        if kind is None:
            scalars = scalars_of(field.values)
            kind = tensor_kind(field.datatype, scalars) if field.datatype else column_kind(scalars)
            self._kinds[field.name] = kind
        return kind


def plain_numbers(values: Values) -> Floats | None:
    """Return a column of plain numbers as a block; None when it is something else."""
    if isinstance(values, np.ndarray):
        return values if values.ndim == 1 else None
    return plain_block(values)
