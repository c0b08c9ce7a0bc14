"""The Open Inference Protocol, version 2, with tensors in JSON.

Decides how a JSON tensor is read: its data may be flat or nested, and must have its shape. Which columns tensors are is
left to `tensors`. The binary tensor extension and shared memory are opaque.
"""

from collections.abc import Sequence
from itertools import chain
from math import prod
from operator import itemgetter
from typing import Any, Final

import numpy as np

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.cells import SCALARS, plain_block, plain_row
from guardproxy.codecs.json_container import JsonContainer
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import JsonReader, as_object
from guardproxy.codecs.layouts import Field, Values, column_table, columns_table, distinct, named_fields
from guardproxy.codecs.tensors import Tensor, inputs_table, output_fields, shape_of
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.table import Table

_SHARED: Final = "shared_memory_region"
_ONE_ROW: Final = ([1], [1, 1])
_PARTS: Final = itemgetter("name", "shape", "data", "datatype")
_STR: Final = frozenset({str})


class OpenInference(JsonContainer):
    """`{"inputs": [tensor, ..]}`, answered by `{"outputs": [tensor, ..]}`."""

    def __init__(self, options: CodecOptions, reader: JsonReader | None = None) -> None:
        super().__init__(options, foreign=b'"binary_data_size"', reader=reader)
        # Most clients send the same names for ever. The last ones seen spare the checks, and keep their strings' hashes.
        self._inputs_seen: tuple[str, ...] = ()
        self._outputs_seen: tuple[str, ...] = ()

    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        root = as_object(value, "the request")
        listed = _tensors_of(root, "inputs")
        keys = self._reader.others(root, "inputs")
        quick = None if exact or len(listed) < 2 else self._one_row(listed, self._inputs_seen)
        if quick is not None:
            if quick[0] is not self._inputs_seen:
                self._inputs_seen = distinct(quick[0], "the inputs' names")
            return Table(quick[0], 1, None, single=quick[1]), keys + quick[2]
        tensors, inner = self._tensors(listed)
        return inputs_table(tensors, self._names, self._options.max_rows, exact=exact), keys + inner

    def _tensors(self, listed: Sequence[Any]) -> tuple[list[Tensor], int]:
        tensors: list[Tensor] = []
        keys = 0
        for item in listed:
            tensor, inner = read_tensor(item, self._reader, batched=self._options.batch_axis)
            tensors.append(tensor)
            keys += inner
        return tensors, keys

    def _locate(self, value: Any) -> tuple[Any, Path, int]:
        root = as_object(value, "the response")
        return _tensors_of(root, "outputs"), ("outputs",), self._reader.others(root, "outputs")

    def _response(self, rows: int | None, value: Any, exact: bool) -> tuple[Table, int]:
        listed, _, keys = self._locate(value)
        if rows is not None and len(listed) == 1 and len(self._options.outputs) < 2:
            quick = self._lone_output(as_object(listed[0], "an output"), rows)
            if quick is not None:
                return quick[0], keys + quick[1]
        if rows == 1 and len(listed) > 1 and not exact:
            row = self._one_row(listed, self._outputs_seen)
            if row is not None and self._is_named(row[0]):
                return Table(row[0], 1, None, single=row[1]), keys + row[2]
        tensors, inner = self._tensors(listed)
        rows = tensors[0].rows if rows is None else rows
        named = named_fields(output_fields(tensors, rows), self._options.outputs)
        return columns_table([field[:2] for field in named], rows, exact=exact), keys + inner

    def _is_named(self, names: tuple[str, ...]) -> bool:
        """Tell whether a response's names stand as they are: all different, and the route's among them."""
        if names is not self._outputs_seen:
            different = set(names)
            if len(different) != len(names) or not different.issuperset(self._options.outputs):
                return False
            self._outputs_seen = names
        return True

    def _one_row(
        self, tensors: list[Any], seen: tuple[str, ...]
    ) -> tuple[tuple[str, ...], list[float], int] | None:
        """Read the commonest message, one row with a tensor of one number per column: its names, its numbers and the
        keys in it. None when it is another one."""
        count = len(tensors)
        try:
            names, shapes, data, types = zip(*map(_PARTS, tensors), strict=True)
            cells = [values[0] for values in data]
            keys = sum(map(len, tensors))
            if keys != 4 * count:
                keys = sum(_tensor_keys(tensor, self._reader) for tensor in tensors)
        except (TypeError, KeyError, IndexError, AttributeError):
            return None
        shape = shapes[0]
        if shape not in _ONE_ROW or shapes.count(shape) != count or sum(map(len, data)) != count:
            return None
        if names == seen:
            names = seen
        elif not _STR.issuperset(map(type, names)):
            return None
        if not _STR.issuperset(map(type, types)):
            return None
        # A number in the first place says that the data are a list.
        numbers = plain_row(cells)
        return None if numbers is None else (names, numbers, keys)

    def _lone_output(self, tensor: dict[str, Any], rows: int) -> tuple[Table, int] | None:
        """Read the commonest response, one flat column of numbers; None when it is another one."""
        data, name = tensor.get("data"), tensor.get("name")
        if type(data) is not list or len(data) != rows or type(name) is not str:
            return None
        block = plain_block(data) if tensor.get("shape") in ([rows], [rows, 1]) else None
        if block is None:
            return None
        return column_table(self._options.outputs or (name,), block), _tensor_keys(tensor, self._reader)

    def _fields(self, value: Any, rows: int) -> tuple[list[Field], Path]:
        listed, prefix, _ = self._locate(value)
        return named_fields(output_fields(self._tensors(listed)[0], rows), self._options.outputs), prefix


def read_tensor(value: Any, reader: JsonReader, *, batched: bool = True) -> tuple[Tensor, int]:
    """Return a tensor and the number of keys in it. Raises DecodeError; OpaqueError when its data are elsewhere."""
    tensor = as_object(value, "a tensor")
    keys = _tensor_keys(tensor, reader)
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if type(name) is not str or type(datatype) is not str:
        raise DecodeError("a tensor has no name or no datatype")
    if type(shape) is not list or not {int}.issuperset(map(type, shape)):
        raise DecodeError("a tensor's shape is not an array of sizes")
    rows, width = shape_of(shape, batched=batched)
    data = tensor.get("data")
    if not isinstance(data, (list, np.ndarray)):
        raise DecodeError("a tensor has no array 'data'")
    flat, nested = _flatten(data, shape)
    return Tensor(name, datatype, tuple(shape), rows, width, flat, nested), keys


def _tensor_keys(tensor: dict[str, Any], reader: JsonReader) -> int:
    keys = len(tensor)
    parameters = tensor.get("parameters")
    if parameters and isinstance(parameters, dict):
        if "binary_data_size" in parameters or _SHARED in parameters:
            raise OpaqueError("a tensor's data are not in the JSON")
        keys += reader.survey(parameters, 3)
    if not _TENSOR_KEYS.issuperset(tensor):
        keys += sum(reader.survey(item, 3) for name, item in tensor.items() if name not in _TENSOR_KEYS)
    return keys


def _flatten(data: Any, shape: list[int]) -> tuple[Values, bool]:
    """Return the data row-major and whether they were nested. Raises DecodeError unless they have the shape."""
    total = prod(shape)
    if isinstance(data, np.ndarray):
        fits = data.size == total and (data.ndim == 1 or list(data.shape) == shape)
        flat: Values = data.reshape(-1)
        nested = data.ndim > 1
    else:
        nested = len(shape) > 1 and bool(data) and type(data[0]) is list
        flat, fits = _unnest(data, shape) if nested else (data, len(data) == total)
        fits = fits and SCALARS.issuperset(map(type, flat))
    if not fits:
        raise DecodeError("a tensor's data do not have its shape")
    return flat, nested


def _unnest(data: list[Any], shape: list[int]) -> tuple[list[Any], bool]:
    fits = len(data) == shape[0]
    for size in shape[1:]:
        if not {list}.issuperset(map(type, data)):
            return data, False
        fits = fits and {size}.issuperset(map(len, data))
        data = list(chain.from_iterable(data))
    return data, fits


def _tensors_of(root: dict[str, Any], key: str) -> list[Any]:
    tensors = root.get(key)
    if type(tensors) is not list or not tensors:
        raise DecodeError(f"the message has no '{key}'")
    return tensors


_TENSOR_KEYS: Final = frozenset({"name", "shape", "datatype", "parameters", "data"})
