"""What the JSON protocols have in common: decoding under one reader, and splicing a patch into a response.

Decides how replacements become text spans. A cell that says the same already keeps its spelling, so a patch changes
nothing it need not. Which part of a document holds the rows is left to each protocol.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar, Final

import numpy as np
import orjson

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
)
from guardproxy.codecs.json_spans import Path, find_spans, replace_spans, value_at
from guardproxy.codecs.json_text import JsonReader, as_object, strict_text
from guardproxy.codecs.layouts import (
    PREDICTION,
    Field,
    Values,
    column_table,
    columns_of,
    columns_table,
    named_fields,
    response_fields,
    rows_table,
    scalars_of,
)
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, PatchError
from guardproxy.message import Message
from guardproxy.table import Cell, Floats, Table

JSON: Final = b"application/json"

_INFINITIES: Final = (float("inf"), float("-inf"))


class JsonCodec(ABC):
    """A codec whose messages are JSON documents.

    `missing` is how its servers usually spell a missing number; a body that is no JSON but has `foreign` in it uses
    another form of the protocol, and is opaque.
    """

    name: ClassVar[str]
    missing: ClassVar[str] = "null"
    foreign: ClassVar[bytes] = b""

    def __init__(self, options: CodecOptions, reader: JsonReader | None = None) -> None:
        self._options = options
        self._reader = reader or JsonReader(options.max_depth)
        self._single = options.outputs[:1] or (PREDICTION,)

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request; see `Codec`."""
        return self._reader.decode(message, self._request, self.foreign)

    def decode_response(self, message: Message, rows: int) -> Table:
        """Return the predictions of a response; see `Codec`."""
        return self._reader.decode(message, partial(self._response, rows), self.foreign)

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> bytes:
        """Return the response's body with the replaced cells in it; see `Codec`."""
        if not patch:
            return message.body
        root = self._reader.exact(message.body)
        fields, prefix = self._fields(root, rows)
        texts = _Plan(root, prefix, fields, rows, self._style(message.body, fields)).texts(patch)
        if not texts:
            return message.body
        text = strict_text(message.body)
        return replace_spans(text, texts, find_spans(text, texts)).encode("utf-8")

    def replacement_problem(self, message: Message, rows: int, replacement: Replacement) -> str | None:
        """Say why a replacement cannot be written; None when it can. It costs as much as splicing it."""
        try:
            self.splice(message, rows, (replacement,))
        except (PatchError, DecodeError) as problem:
            return str(problem)
        return None

    def error(self, status: int, text: str) -> tuple[bytes, bytes]:  # noqa: ARG002 (some protocols name the status)
        """Return (content type, body) of an error in the protocol's own shape."""
        return JSON, orjson.dumps({"error": text})

    @abstractmethod
    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        """Build the table of a request."""

    @abstractmethod
    def _locate(self, value: Any) -> tuple[Any, Path, int]:
        """Return a response's located value, the path to it, and the number of keys outside of it."""

    def _response(self, rows: int, value: Any, exact: bool) -> tuple[Table, int]:
        located, _, keys = self._locate(value)
        if isinstance(located, (list, np.ndarray)) and len(located) == rows:
            block = _numbers(located)
            if block is not None:
                return column_table(self._single, block), keys
        fields, inner = response_fields(located, rows)
        named = named_fields(fields, self._options.outputs)
        return columns_table([field[:2] for field in named], rows, exact=exact), keys + inner

    def _fields(self, value: Any, rows: int) -> tuple[list[Field], Path]:
        located, prefix, _ = self._locate(value)
        return named_fields(response_fields(located, rows)[0], self._options.outputs), prefix

    def _rows_or_columns(self, value: Any, *, exact: bool) -> tuple[Table, int]:
        if isinstance(value, dict):
            return columns_of(as_object(value, "the columns"), self._options.max_rows, exact=exact)
        return rows_table(value, self._feature_names, self._options.max_rows, exact=exact)

    def _feature_names(self, width: int) -> tuple[str, ...]:
        """Name the columns of a bare matrix: the route's names, else the profile's when as many, else f0, f1, ..."""
        features, order = self._options.features, self._options.profile_order
        if features:
            if width not in {0, len(features)}:
                raise DecodeError(f"the rows have {width} values, the route names {len(features)} features")
            return features
        if order and width in {0, len(order)}:
            return order
        return _numbered(width) if width <= _CACHED_WIDTH else _numbered.__wrapped__(width)

    def _style(self, body: bytes, fields: Sequence[Field]) -> Style:
        nulls = nans = infinities = False
        for field in fields:
            for value in scalars_of(field.values):
                nulls = nulls or value is None
                nans = nans or value != value
                infinities = infinities or value in _INFINITIES
        missing = "NaN" if nans else "null" if nulls else self.missing
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

    def texts(self, patch: Sequence[Replacement]) -> Mapping[Path, str]:
        made: dict[Path, str] = {}
        seen: set[tuple[int, str]] = set()
        for replacement in patch:
            row = replacement.row
            if not 0 <= row < self._rows:
                raise PatchError(f"there is no row {row} in a response of {self._rows} rows")
            for name, cell in replacement.values.items():
                if (row, name) in seen:
                    raise PatchError(f"row {row} has two replacements for '{name}'")
                seen.add((row, name))
                try:
                    made.update(self._cell(name, row, cell))
                except PatchError as problem:
                    raise PatchError(f"row {row}, '{name}': {problem}") from None
        return made

    def _cell(self, name: str, row: int, cell: Cell) -> Mapping[Path, str]:
        field = self._fields.get(name)
        if field is None:
            raise PatchError("the response has no such prediction")
        current = field.values[row]
        if is_same(cells_of((current,), exact=True)[0], cell):
            return {}
        if type(current) is list and not (current and SCALARS.issuperset(map(type, current))):
            raise PatchError("the cell holds a list that is no vector")
        try:
            paths = [(*self._prefix, *path) for path in field.leaves(row)]
        except LookupError:
            raise PatchError("the row has no such value that could be replaced") from None
        news = cell if isinstance(cell, (tuple, list)) else (cell,) * (len(paths) if cell is None else 1)
        if len(news) != len(paths):
            raise PatchError(f"{len(news)} values do not fit into {len(paths)}")
        kind = self._kind(field)
        made = {}
        for path, new in zip(paths, news, strict=True):
            text = new_text(new, value_at(self._root, path), kind, self._style)
            if text is not None:
                made[path] = text
        return made

    def _kind(self, field: Field) -> Kind:
        kind = self._kinds.get(field.name)
        if kind is None:
            scalars = scalars_of(field.values)
            kind = tensor_kind(field.datatype, scalars) if field.datatype else column_kind(scalars)
            self._kinds[field.name] = kind
        return kind


def _numbers(values: Values) -> Floats | None:
    """Return a column of plain numbers as a block; None when it is something else."""
    if isinstance(values, np.ndarray):
        return values if values.ndim == 1 else None
    return plain_block(values)


_CACHED_WIDTH: Final = 1024


@lru_cache(maxsize=64)
def _numbered(width: int) -> tuple[str, ...]:
    return tuple(f"f{position}" for position in range(width))
