"""The protocols that put rows under a key: KServe V1 (and TensorFlow Serving), MLflow, and any other JSON by pointer.

Decides which keys hold the rows and what an error looks like. What the rows look like is left to `layouts`.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
import orjson

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.json_codec import JSON, JsonCodec
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import JsonReader, NeedsExactError, as_object
from guardproxy.codecs.layouts import Namer, distinct, rows_table
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.table import Table

_REQUEST: Final = "the request"
_RESPONSE: Final = "the response"


class KServeV1(JsonCodec):
    """`{"instances": rows}` or `{"inputs": rows or columns}`, answered by `predictions` or `outputs`."""

    name: ClassVar[str] = "kserve-v1"

    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        root = as_object(value, _REQUEST)
        key = _only_key(root, ("instances", "inputs"), _REQUEST)
        table, keys = self._rows_or_columns(root[key], exact=exact)
        return table, keys + self._reader.others(root, key)

    def _locate(self, value: Any) -> tuple[Any, Path, int]:
        root = as_object(value, _RESPONSE)
        key = _only_key(root, ("predictions", "outputs"), _RESPONSE)
        return root[key], (key,), self._reader.others(root, key)


class MLflow(JsonCodec):
    """`dataframe_split`, `dataframe_records`, `instances` or `inputs`, answered by `predictions`.

    The flavours for language models, whose requests have none of these keys, are opaque.
    """

    name: ClassVar[str] = "mlflow"
    missing: ClassVar[str] = "NaN"

    def error(self, status: int, text: str) -> tuple[bytes, bytes]:
        """Return MLflow's error shape with the code that its clients know for the status."""
        code = _ERROR_CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
        return JSON, orjson.dumps({"error_code": code, "message": text})

    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        root = as_object(value, _REQUEST)
        if not root.keys() & set(_MLFLOW_KEYS) and root.keys() & _LANGUAGE_MODEL:
            raise OpaqueError("the request is for a language model and has no rows")
        key = _only_key(root, _MLFLOW_KEYS, _REQUEST)
        if key == "dataframe_split":
            table, keys = self._split(root[key], exact=exact)
        elif key == "dataframe_records":
            table, keys = self._records(root[key], exact=exact)
        else:
            table, keys = self._rows_or_columns(root[key], exact=exact)
        return table, keys + self._reader.others(root, key)

    def _locate(self, value: Any) -> tuple[Any, Path, int]:
        root = as_object(value, _RESPONSE)
        if "predictions" not in root:
            raise DecodeError("the response has no 'predictions'")
        return root["predictions"], ("predictions",), self._reader.others(root, "predictions")

    def _split(self, value: Any, *, exact: bool) -> tuple[Table, int]:
        frame = as_object(value, "'dataframe_split'")
        if not isinstance(frame.get("data"), (list, np.ndarray)):
            raise DecodeError("'dataframe_split' has no array 'data'")
        names: Namer = self._feature_names
        keys = len(frame)
        if "columns" in frame:
            columns = frame["columns"]
            if type(columns) is not list:
                raise DecodeError("the columns' names are not in an array")
            names = _fixed(distinct(columns, "the columns' names"))
        for name, item in frame.items():
            if name not in _SPLIT:
                keys += self._reader.survey(item, 2)
        data = frame["data"]
        flat = data.ndim == 1 if isinstance(data, np.ndarray) else not {list}.issuperset(map(type, data))
        if flat:
            raise DecodeError("the rows of 'dataframe_split' are not all arrays")
        table, inner = rows_table(data, names, self._options.max_rows, exact=exact)
        return table, keys + inner

    def _records(self, value: Any, *, exact: bool) -> tuple[Table, int]:
        if type(value) is not list or not all(isinstance(row, dict) for row in value):
            raise DecodeError("'dataframe_records' is not an array of objects")
        return rows_table(value, self._feature_names, self._options.max_rows, exact=exact)


class JsonPointers(JsonCodec):
    """Any JSON API. The route's pointers say where the rows are; a pointer to one object is one row."""

    name: ClassVar[str] = "json"

    def __init__(self, options: CodecOptions, reader: JsonReader | None = None) -> None:
        super().__init__(options, reader)
        self._request_rows = parse_pointer(options.request_rows)
        self._request_columns = parse_pointer(options.request_columns)
        self._response_rows = parse_pointer(options.response_rows)

    def error(self, status: int, text: str) -> tuple[bytes, bytes]:
        """Return `{"error": text, "status": status}`: an API of no known protocol has no shape of its own."""
        return JSON, orjson.dumps({"error": text, "status": status})

    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        located, _, keys = self._follow(value, self._request_rows)
        names: Namer = self._feature_names
        if self._request_columns:
            columns = self._follow(value, self._request_columns)[0]
            if type(columns) is not list:
                raise DecodeError("the columns' names are not in an array")
            names = _fixed(distinct(columns, "the columns' names"))
        if isinstance(located, dict):
            located = [located]
        table, inner = rows_table(located, names, self._options.max_rows, exact=exact)
        return table, keys + inner

    def _locate(self, value: Any) -> tuple[Any, Path, int]:
        return self._follow(value, self._response_rows)

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
                beside = [item for at, item in enumerate(value) if at != step]
            else:
                members = as_object(value, "a value on the way to the rows")
                if token not in members:
                    raise DecodeError(f"there is nothing at the pointer '/{'/'.join(pointer[:depth])}'")
                beside = [item for name, item in members.items() if name != token]
                keys += len(members)
            keys += sum(self._reader.survey(item, depth) for item in beside)
            value = value[step]
            path.append(step)
        return value, tuple(path), keys


def parse_pointer(pointer: str) -> tuple[str, ...]:
    """Return the tokens of a JSON Pointer (RFC 6901). Raises ValueError with a sentence for the operator."""
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is not a JSON Pointer; it begins with a slash, such as /data/rows")
    if re.search(r"~(?![01])", pointer):
        raise ValueError(f"{pointer!r} is not a JSON Pointer; write ~0 for a tilde and ~1 for a slash")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def _only_key(root: Mapping[str, Any], names: tuple[str, ...], what: str) -> str:
    present = [name for name in names if name in root]
    if len(present) == 1:
        return present[0]
    words = " and ".join(f"'{name}'" for name in (present or names))
    raise DecodeError(f"{what} has {'none' if not present else 'more than one'} of {words}")


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


_SPLIT: Final = frozenset({"data", "columns"})
_LANGUAGE_MODEL: Final = frozenset({"messages", "prompt", "input"})

_MLFLOW_KEYS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")

_ERROR_CODES: Final[Mapping[int, str]] = {
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}
