"""Rows in JSON documents, found by the forms of a preset.

Decides which form a message has, and follows its pointers. What the rows look like is left to `layouts`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.json_container import JsonContainer, plain_numbers
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import JsonReader, NeedsExactError, as_object
from guardproxy.codecs.layouts import (
    Field,
    Namer,
    column_table,
    columns_of,
    columns_table,
    count_rows,
    distinct,
    named_fields,
    response_fields,
    rows_table,
)
from guardproxy.codecs.preset import Form, Layout
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.table import Table

_REQUEST: Final = "the request"
_RESPONSE: Final = "the response"


class _Located(NamedTuple):
    """A form's rows, the path to them, the number of keys beside the way, and the form."""

    value: Any
    path: Path
    keys: int
    form: "_Read"


class JsonForms(JsonContainer):
    """JSON documents in which a preset's forms say where the rows are."""

    def __init__(
        self,
        options: CodecOptions,
        requests: Sequence[Form],
        responses: Sequence[Form],
        *,
        missing: str = "null",
        reader: JsonReader | None = None,
    ) -> None:
        """Take the forms of a preset. Raises ValueError for a pointer that is none."""
        super().__init__(options, missing=missing, reader=reader)
        self._requests = tuple(_Read(form) for form in requests)
        self._responses = tuple(_Read(form) for form in responses)

    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        rows, _, keys, form = self._locate(self._requests, value, _REQUEST)
        layout = form.layout
        if layout is Layout.RECORDS and not _all_of(rows, dict):
            raise DecodeError(f"{form.spelled} is not an array of objects")
        if layout is Layout.MATRIX and not _is_matrix(rows):
            raise DecodeError(f"the rows of {form.spelled} are not all arrays")
        limit = self._options.max_rows
        if isinstance(rows, dict) and layout is Layout.ANY:
            table, inner = columns_of(as_object(rows, "the columns"), limit, exact=exact)
        else:
            if layout is Layout.SINGLE or (layout is Layout.ROWS and isinstance(rows, dict)):
                rows = [rows.tolist() if isinstance(rows, np.ndarray) else rows]
            table, inner = rows_table(rows, self._namer(form, value), limit, exact=exact)
        return table, keys + inner

    def _response(self, rows: int | None, value: Any, exact: bool) -> tuple[Table, int]:
        located, _, keys, form = self._locate(self._responses, value, _RESPONSE)
        if rows is None:
            rows = count_rows(located)
        if isinstance(located, (list, np.ndarray)) and len(located) == rows and not form.columns:
            block = plain_numbers(located)
            if block is not None:
                return column_table(self._names.single, block), keys
        fields, inner = response_fields(located, rows)
        named = self._renamed(fields, form, value)
        return columns_table([field[:2] for field in named], rows, exact=exact), keys + inner

    def _fields(self, value: Any, rows: int) -> tuple[list[Field], Path]:
        located, path, _, form = self._locate(self._responses, value, _RESPONSE)
        return self._renamed(response_fields(located, rows)[0], form, value), path

    def _renamed(self, fields: list[Field], form: "_Read", root: Any) -> list[Field]:
        return named_fields(fields, self._names.outputs or self._column_names(form, root) or ())

    def _namer(self, form: "_Read", root: Any) -> Namer:
        names = self._column_names(form, root)
        return self._names.features if names is None else _fixed(names)

    def _column_names(self, form: "_Read", root: Any) -> tuple[str, ...] | None:
        """Return the names that a message has for its columns; None when it has none."""
        if not form.columns or not _has(root, form.columns):
            return None
        names = self._follow(root, form.columns)[0]
        if type(names) is not list:
            raise DecodeError("the columns' names are not in an array")
        return distinct(names, "the columns' names")

    def _locate(self, forms: Sequence["_Read"], root: Any, what: str) -> _Located:
        form = _form_of(forms, root, what)
        if form.opaque:
            raise OpaqueError(form.opaque)
        value, path, keys = self._follow(root, form.rows)
        if form.array and not isinstance(value, (list, np.ndarray)):
            raise DecodeError(f"{form.spelled or what} is not an array")
        return _Located(value, path, keys, form)

    def _follow(self, value: Any, pointer: tuple[str, ...]) -> tuple[Any, Path, int]:
        """Return the value a pointer leads to, its path, and the number of keys beside the way."""
        path: list[str | int] = []
        keys = 0
        for depth, token in enumerate(pointer, 1):
            step: str | int = token
            if isinstance(value, np.ndarray):
                raise NeedsExactError
            if type(value) is list:
                step = _position(token, len(value))
                keys += sum(self._reader.survey(item, depth) for at, item in enumerate(value) if at != step)
            else:
                members = as_object(value, "the document" if depth == 1 else "a value on the way to the rows")
                if token not in members:
                    raise DecodeError(f"there is nothing at the pointer '{_spelled(pointer[:depth])}'")
                keys += self._reader.others(members, token, depth=depth)
            value = value[step]
            path.append(step)
        return value, tuple(path), keys


class _Read:
    """A form with its pointers parsed."""

    __slots__ = ("array", "columns", "key", "layout", "opaque", "otherwise", "rows", "spelled")

    def __init__(self, form: Form) -> None:
        self.rows = parse_pointer(form.rows)
        self.key = parse_pointer(form.key)
        self.columns = parse_pointer(form.columns)
        self.layout = form.layout
        self.opaque = form.opaque
        self.otherwise = form.otherwise
        self.array = form.array
        self.spelled = f"'{'/'.join(self.key)}'" if self.key else ""


def parse_pointer(pointer: str) -> tuple[str, ...]:
    """Return the tokens of a JSON Pointer (RFC 6901). Raises ValueError with a sentence for the operator."""
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is not a JSON Pointer; it begins with a slash, such as /data/rows")
    if re.search(r"~(?![01])", pointer):
        raise ValueError(f"{pointer!r} is not a JSON Pointer; write ~0 for a tilde and ~1 for a slash")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def _form_of(forms: Sequence[_Read], root: Any, what: str) -> _Read:
    """Return the one form that a document has. Raises DecodeError when it has none, or more than one."""
    found = otherwise = None
    for form in forms:
        if form.otherwise:
            otherwise = form
        elif _has(root, form.key):
            if found is not None:
                raise DecodeError(f"{what} has more than one of {_listed(forms, root)}")
            found = form
    found = found or otherwise
    if found is None:
        as_object(root, what)
        raise DecodeError(f"{what} has none of {_listed(forms)}")
    return found


def _listed(forms: Iterable[_Read], root: Any = None) -> str:
    return " and ".join(form.spelled for form in forms if form.key and (root is None or _has(root, form.key)))


def _has(value: Any, pointer: tuple[str, ...]) -> bool:
    for token in pointer:
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif type(value) is list and token.isdecimal() and int(token) < len(value):
            value = value[int(token)]
        else:
            return False
    return True


def _all_of(rows: Any, kind: type) -> bool:
    return type(rows) is list and all(isinstance(row, kind) for row in rows)


def _is_matrix(rows: Any) -> bool:
    if isinstance(rows, np.ndarray):
        return rows.ndim > 1
    return type(rows) is list and {list}.issuperset(map(type, rows))


def _fixed(columns: tuple[str, ...]) -> Namer:
    def names(width: int) -> tuple[str, ...]:
        if width not in {0, len(columns)}:
            raise DecodeError(f"the rows have {width} values for {len(columns)} columns")
        return columns

    return names


def _position(token: str, length: int) -> int:
    if re.fullmatch(r"0|[1-9][0-9]{0,8}", token) and int(token) < length:
        return int(token)
    raise DecodeError("a pointer leads to no item of an array")


def _spelled(pointer: Sequence[str]) -> str:
    return "/" + "/".join(pointer)
