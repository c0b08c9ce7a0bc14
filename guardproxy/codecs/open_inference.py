"""The Open Inference Protocol, version 2, over HTTP: tensors in JSON, and in the bytes behind it.

Decides how a tensor is read: data in JSON may be flat or nested, data behind it stand in the order of the tensors, and all
must have their shape. Which columns tensors are is left to `tensors`, what binary values look like to `segments`, how they
are patched to `v2_binary`. Shared memory is opaque.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from math import prod
from operator import itemgetter
from typing import Any, Final

import numpy as np

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.cells import SCALARS, plain_block, plain_row
from guardproxy.codecs.json_container import JsonContainer
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import JsonReader, as_object, is_exact_block
from guardproxy.codecs.layouts import MAX_FIELDS, Values, check_rows, column_table, distinct
from guardproxy.codecs.predictions import Field
from guardproxy.codecs.segments import as_floats, view_segment
from guardproxy.codecs.tensor_values import ALL_HELD, check_base64, check_frame, check_numbers, check_row
from guardproxy.codecs.tensors import (
    IN_SHARED_MEMORY,
    SHARED_MEMORY,
    Tensor,
    inputs_table,
    outputs_table,
    prediction_fields,
    shape_of,
)
from guardproxy.codecs.v2_binary import BINARY_SIZE, BinaryPlan, Tail, head_of, raw_tensor
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.message import Message
from guardproxy.table import Table

_ONE_ROW: Final = ([1], [1, 1])
_PARTS: Final = itemgetter("name", "shape", "data", "datatype")
_STR: Final = frozenset({str})
_INT: Final = frozenset({int})


class OpenInference(JsonContainer):
    """`{"inputs": [tensor, ..]}`, answered by `{"outputs": [tensor, ..]}`."""

    def __init__(self, options: CodecOptions, reader: JsonReader | None = None) -> None:
        super().__init__(options, reader=reader)
        # Most clients send the same names for ever. The last ones seen spare the checks, and keep their strings' hashes.
        self._inputs_seen: tuple[str, ...] = ()
        self._outputs_seen: tuple[str, ...] = ()

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request; see `Container`."""
        if message.json_length is None:
            return super().decode_request(message)
        if message.json_length == 0:
            return inputs_table(
                [raw_tensor(message.body, self._options)], self._names, self._options.max_rows, exact=True
            )
        return self._reader.decode(Message(head_of(message)), partial(self._binary_request, message))

    def decode_response(self, message: Message, rows: int | None) -> Table:
        """Return the predictions of a response; see `Container`."""
        if message.json_length is None:
            return super().decode_response(message, rows)
        return self._reader.decode(Message(head_of(message)), partial(self._binary_response, message, rows))

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:
        """Return the response with the replaced cells in it; see `Container`."""
        if message.json_length is None or not patch:
            return super().splice(message, rows, patch)
        root = self._reader.exact(head_of(message))
        tail = Tail(message, self._options.max_rows)
        tensors = self._tensors(self._locate(root)[0], tail)[0]
        tail.finish()
        fields = prediction_fields(tensors, rows, self._options.outputs)
        return BinaryPlan(message, root, tensors, fields, rows, self._missing).spliced(patch)

    def _binary_request(self, message: Message, value: Any, exact: bool) -> tuple[Table, int]:
        root = as_object(value, "the request")
        tail = Tail(message, self._options.max_rows)
        tensors, inner = self._tensors(_tensors_of(root, "inputs"), tail)
        tail.finish()
        copied = _copied(tensors)
        table = inputs_table(copied, self._names, self._options.max_rows, exact=exact)
        _check_inputs(root, tensors, table)
        return table, self._reader.others(root, "inputs") + inner

    def _binary_response(
        self, message: Message, rows: int | None, value: Any, exact: bool
    ) -> tuple[Table, int]:
        listed, _, keys = self._locate(value)
        tail = Tail(message, self._options.max_rows)
        tensors, inner = self._tensors(listed, tail)
        tail.finish()
        tensors = _copied(tensors)
        rows = tensors[0].rows if rows is None else rows
        return outputs_table(tensors, rows, self._options.outputs, exact=exact), keys + inner

    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        root = as_object(value, "the request")
        listed = _tensors_of(root, "inputs")
        keys = self._reader.others(root, "inputs")
        quick = None if exact or len(listed) < 2 else self._one_row(listed, self._inputs_seen)
        if quick is not None:
            if quick[0] is not self._inputs_seen:
                self._inputs_seen = distinct(quick[0], "the inputs' names")
            if not ALL_HELD.issuperset(quick[3]):
                check_row(quick[3], quick[1])
            return Table(quick[0], 1, None, single=quick[1]), keys + quick[2]
        tensors, inner = self._tensors(listed)
        table = inputs_table(tensors, self._names, self._options.max_rows, exact=exact)
        _check_inputs(root, tensors, table)
        return table, keys + inner

    def _tensors(self, listed: Sequence[Any], tail: Tail | None = None) -> tuple[list[Tensor], int]:
        tensors: list[Tensor] = []
        keys = 0
        for item in listed:
            tensor, inner = read_tensor(item, self._reader, batched=self._options.batch_axis, tail=tail)
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
        return outputs_table(tensors, rows, self._options.outputs, exact=exact), keys + inner

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
    ) -> tuple[tuple[str, ...], list[float], int, tuple[str, ...]] | None:
        """Read the commonest message, one row with a tensor of one number per column: its names, its numbers, the
        keys in it and the tensors' types. None when it is another one."""
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
        # [1.0] and [true] are equal to [1], and are no shapes.
        if count > MAX_FIELDS or not _INT.issuperset(map(type, chain.from_iterable(shapes))):
            return None
        if names == seen:
            names = seen
        elif not _STR.issuperset(map(type, names)):
            return None
        if not _STR.issuperset(map(type, types)):
            return None
        # A number in the first place says that the data are a list.
        numbers = plain_row(cells)
        return None if numbers is None else (names, numbers, keys, types)

    def _lone_output(self, tensor: dict[str, Any], rows: int) -> tuple[Table, int] | None:
        """Read the commonest response, one flat column of numbers; None when it is another one."""
        data, name = tensor.get("data"), tensor.get("name")
        if type(data) is not list or len(data) != rows or type(name) is not str:
            return None
        shape = tensor.get("shape")
        if shape not in ([rows], [rows, 1]) or not _INT.issuperset(map(type, shape)):
            return None
        block = plain_block(data)
        if block is None:
            return None
        return column_table(self._options.outputs or (name,), block), _tensor_keys(tensor, self._reader)

    def _fields(self, value: Any, rows: int) -> tuple[list[Field], Path]:
        listed, prefix, _ = self._locate(value)
        return prediction_fields(self._tensors(listed)[0], rows, self._options.outputs), prefix


def read_tensor(
    value: Any, reader: JsonReader, *, batched: bool = True, tail: Tail | None = None
) -> tuple[Tensor, int]:
    """Return a tensor and the number of keys in it; one whose data are binary takes them from `tail`.

    Raises DecodeError; OpaqueError when its data are elsewhere.
    """
    tensor = as_object(value, "a tensor")
    keys = _tensor_keys(tensor, reader, binary=tail is not None)
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if type(name) is not str or type(datatype) is not str:
        raise DecodeError("a tensor has no name or no datatype")
    if type(shape) is not list or not _INT.issuperset(map(type, shape)):
        raise DecodeError("a tensor's shape is not an array of sizes")
    rows, width = shape_of(shape, batched=batched)
    size = None if tail is None else _binary_size(tensor)
    if tail is not None and size is not None:
        check_rows(rows, tail.max_rows)
        start = tail.take(size)
        values = view_segment(datatype, tail.body, start, size, prod(shape))
        return Tensor(name, datatype, tuple(shape), rows, width, values, False, start, size), keys  # noqa: FBT003
    data = tensor.get("data")
    if not isinstance(data, (list, np.ndarray)):
        raise DecodeError("a tensor has no array 'data'")
    flat, nested = _flatten(data, shape)
    if datatype == "BYTES" and "parameters" in tensor:
        check_base64(tensor, flat)
    return Tensor(name, datatype, tuple(shape), rows, width, flat, nested), keys


def _check_inputs(root: dict[str, Any], tensors: Sequence[Tensor], table: Table) -> None:
    """Raise DecodeError where a server would take inputs for other values, or other rows, than stand there."""
    doubtful = [tensor for tensor in tensors if tensor.datatype != "FP64" and tensor.start < 0]
    if doubtful:
        small = not table.exact and (table.complete or is_exact_block(table.block))
        for tensor in doubtful:
            if not (small and tensor.datatype in ALL_HELD):
                check_numbers(tensor.datatype, tensor.data)
    if "parameters" in root:
        check_frame(root, tensors)


def _copied(tensors: list[Tensor]) -> list[Tensor]:
    """Make float64 of blocks that still stand in the body. A lone one is copied where it becomes a table."""
    if len(tensors) == 1:
        return tensors
    return [
        tensor._replace(data=as_floats(tensor.data)) if isinstance(tensor.data, np.ndarray) else tensor
        for tensor in tensors
    ]


def _binary_size(tensor: dict[str, Any]) -> int | None:
    """Return how many bytes behind the JSON are a tensor's; None when its data are in the JSON."""
    parameters = tensor.get("parameters")
    if not isinstance(parameters, dict) or BINARY_SIZE not in parameters:
        return None
    size = as_object(parameters, "a tensor's parameters")[BINARY_SIZE]
    if type(size) is not int or size < 0:
        raise DecodeError("a tensor's binary size is no number of bytes")
    if "data" in tensor:
        raise DecodeError("a tensor has its data twice, in the JSON and behind it")
    return size


def _tensor_keys(tensor: dict[str, Any], reader: JsonReader, *, binary: bool = False) -> int:
    """Count the keys in a tensor. Unless the message is `binary` its data must be in the JSON."""
    keys = len(tensor)
    parameters = tensor.get("parameters")
    if parameters and isinstance(parameters, dict):
        if SHARED_MEMORY in parameters:
            raise OpaqueError(IN_SHARED_MEMORY)
        if BINARY_SIZE in parameters and not binary:
            raise DecodeError("a tensor's data are said to be binary, and no header says where they begin")
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
