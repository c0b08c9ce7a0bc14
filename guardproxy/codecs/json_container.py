"""What all JSON bodies have in common: decoding under one reader, and splicing a patch into a response.

Decides how replacements become text spans. A cell that says the same already keeps its spelling, so a patch changes
nothing it need not. Which part of a document holds the rows is left to `json_forms` and `open_inference`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.cells import INFINITIES, Style, new_text, plain_block
from guardproxy.codecs.json_spans import Path, replace_values, value_at
from guardproxy.codecs.json_text import JsonReader, strict_text
from guardproxy.codecs.layouts import Values
from guardproxy.codecs.names import Names
from guardproxy.codecs.patching import Plan, write_once
from guardproxy.codecs.predictions import Field, scalars_of
from guardproxy.decision import Replacement
from guardproxy.message import Message
from guardproxy.table import Cell, Floats, Table


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
        plan = JsonPlan(
            root,
            prefix,
            fields,
            rows,
            lambda: style_of(message.body, (field.values for field in fields), self._missing),
        )
        texts = plan.texts(patch)
        if not texts:
            return message
        return message._replace(body=replace_values(strict_text(message.body), texts).encode("utf-8"))

    @abstractmethod
    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        """Build the table of a request."""

    @abstractmethod
    def _response(self, rows: int | None, value: Any, exact: bool) -> tuple[Table, int]:
        """Build the table of a response."""

    @abstractmethod
    def _fields(self, value: Any, rows: int) -> tuple[list[Field], Path]:
        """Return the fields of a response, read exactly, and the path to what their leaves begin at."""


def style_of(body: bytes, columns: Iterable[Iterable[Any]], missing: str) -> Style:
    """Return how a response spells things, by the values in it; `missing` is its servers' usual spelling."""
    nulls = nans = infinities = False
    for values in columns:
        for value in scalars_of(values):
            nulls = nulls or value is None
            nans = nans or value != value
            infinities = infinities or value in INFINITIES
    missing = "NaN" if nans else "null" if nulls else missing
    return Style(missing, nans or infinities or missing == "NaN", body.isascii())


class JsonPlan(Plan):
    """Turns replacements into new texts by path. `style` is asked once, when a text is needed."""

    def __init__(
        self, root: Any, prefix: Path, fields: Sequence[Field], rows: int, style: Callable[[], Style]
    ) -> None:
        super().__init__(fields, rows, prefix)
        self._root = root
        self._make_style = style
        self._style: Style | None = None
        self._made: dict[Path, str] = {}

    def texts(self, patch: Sequence[Replacement]) -> Mapping[Path, str]:
        """Return the new text at each path that a patch changes. Raises PatchError."""
        self.take(patch)
        return self._made

    def _take_values(
        self, field: Field, paths: Sequence[Path], cell: Cell, current: Any, *, clamped: bool
    ) -> None:
        if field.pack is None:
            super()._take_values(field, paths, cell, current, clamped=clamped)
        else:
            write_once(self._made, paths[0], field.pack(cell, current))

    def _old(self, path: Path) -> Any:
        return value_at(self._root, path)

    def _write(self, path: Path, new: Any, old: Any, field: Field) -> None:
        if self._style is None:
            self._style = self._make_style()
        text = new_text(new, old, self._kind(field), self._style)
        if text is not None:
            write_once(self._made, path, text)


def plain_numbers(values: Values) -> Floats | None:
    """Return a column of plain numbers as a block; None when it is something else."""
    if isinstance(values, np.ndarray):
        return values if values.ndim == 1 else None
    return plain_block(values)
