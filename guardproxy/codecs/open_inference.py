"""The Open Inference Protocol, version 2, with JSON tensors.

Decides how tensors become columns: axis 0 counts the rows; a tensor of shape [n] or [n, 1] is a column of the tensor's
name; a lone input of shape [n, k] is k columns, named like a bare matrix; beside other inputs its columns are
`name[0], name[1], ...`. An output of numbers of shape [n, k] is one vector field, one of text or yes/no is `name[j]`.
Data may be flat or nested. The binary tensor extension and shared memory are opaque: the message as it reaches a codec
does not say where its JSON ends.
"""

from collections.abc import Sequence
from itertools import chain
from math import prod
from operator import itemgetter
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.cells import NUMBERS_OR_MISSING, SCALARS, plain_block, plain_row
from guardproxy.codecs.json_codec import JsonCodec
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import JsonReader, as_object
from guardproxy.codecs.layouts import (
    Field,
    Values,
    block_table,
    check_fields,
    check_rows,
    column_table,
    columns_table,
    distinct,
    named_fields,
    split_field,
)
from guardproxy.errors import DecodeError, OpaqueError, UnalignedError
from guardproxy.table import Table

_SHARED: Final = "shared_memory_region"
_ONE_ROW: Final = ([1], [1, 1])
_PARTS: Final = itemgetter("name", "shape", "data", "datatype")
_STR: Final = frozenset({str})


class Tensor(NamedTuple):
    """One tensor: `data` flat and row-major, `width` values in each row; `nested` when its JSON is nested."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    rows: int
    width: int
    data: Values
    nested: bool

    def column(self, at: int) -> Values:
        """Return the values of one element of every row."""
        return self.data if self.width == 1 else self.data[at :: self.width]

    def path(self, index: int) -> Path:
        """Return the way from the tensor's data to the value at a flat index."""
        if not self.nested:
            return (index,)
        steps: list[int] = []
        for length in reversed(self.shape):
            index, step = divmod(index, length)
            steps.append(step)
        return tuple(reversed(steps))


class OpenInference(JsonCodec):
    """`{"inputs": [tensor, ..]}`, answered by `{"outputs": [tensor, ..]}`."""

    name: ClassVar[str] = "open-inference"
    foreign: ClassVar[bytes] = b'"binary_data_size"'

    def __init__(self, options: CodecOptions, reader: JsonReader | None = None) -> None:
        super().__init__(options, reader)
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
        tensors: list[Tensor] = []
        for item in listed:
            tensor, inner = read_tensor(item, self._reader)
            tensors.append(tensor)
            keys += inner
        rows = tensors[0].rows
        if any(tensor.rows != rows for tensor in tensors):
            raise DecodeError("the inputs have different numbers of rows")
        if not all(tensor.width for tensor in tensors):
            raise DecodeError("an input has no values in its rows")
        check_rows(rows, self._options.max_rows)
        check_fields(sum(tensor.width for tensor in tensors))
        return self._inputs(tensors, rows, exact=exact), keys

    def _inputs(self, tensors: Sequence[Tensor], rows: int, *, exact: bool) -> Table:
        if len(tensors) == 1:
            return self._lone_input(tensors[0], rows, exact=exact)
        columns: list[tuple[str, Values]] = []
        for tensor in tensors:
            if tensor.width == 1:
                columns.append((tensor.name, tensor.data))
            else:
                columns += ((f"{tensor.name}[{at}]", tensor.column(at)) for at in range(tensor.width))
        distinct((name for name, _ in columns), "the inputs' names")
        return columns_table(columns, rows, exact=exact)

    def _lone_input(self, tensor: Tensor, rows: int, *, exact: bool) -> Table:
        """A lone [n, k] is a bare matrix. A lone column has its own name, unless the route names exactly one."""
        features = self._options.features
        if tensor.width == 1 and len(features) != 1:
            return columns_table([(tensor.name, tensor.data)], rows, exact=exact)
        names = self._feature_names(tensor.width)
        data = tensor.data
        block = data if isinstance(data, np.ndarray) else plain_block(data)
        if block is not None and rows:
            return block_table(names, block.reshape(rows, tensor.width))
        columns = [(name, tensor.column(at)) for at, name in enumerate(names)]
        return columns_table(columns, rows, exact=exact)

    def _locate(self, value: Any) -> tuple[Any, Path, int]:
        root = as_object(value, "the response")
        return _tensors_of(root, "outputs"), ("outputs",), self._reader.others(root, "outputs")

    def _response(self, rows: int, value: Any, exact: bool) -> tuple[Table, int]:
        listed, _, keys = self._locate(value)
        if len(listed) == 1 and len(self._options.outputs) < 2:
            quick = self._lone_output(as_object(listed[0], "an output"), rows)
            if quick is not None:
                return quick[0], keys + quick[1]
        if rows == 1 and len(listed) > 1 and not exact:
            row = self._one_row(listed, self._outputs_seen)
            if row is not None and self._is_named(row[0]):
                return Table(row[0], 1, None, single=row[1]), keys + row[2]
        fields, inner = self._output_fields(listed, rows)
        named = named_fields(fields, self._options.outputs)
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
        return named_fields(self._output_fields(listed, rows)[0], self._options.outputs), prefix

    def _output_fields(self, listed: Sequence[Any], rows: int) -> tuple[list[Field], int]:
        check_fields(len(listed))
        fields: list[Field] = []
        keys = 0
        for position, item in enumerate(listed):
            tensor, inner = read_tensor(item, self._reader)
            keys += inner
            fields += _fields_of(tensor, position, rows, whole=len(listed) == 1)
        if len({field.name for field in fields}) != len(fields):
            raise UnalignedError("two outputs have the same name")
        return fields, keys


def read_tensor(value: Any, reader: JsonReader) -> tuple[Tensor, int]:
    """Return a tensor and the number of keys in it. Raises DecodeError; OpaqueError when its data are elsewhere."""
    tensor = as_object(value, "a tensor")
    keys = _tensor_keys(tensor, reader)
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if type(name) is not str or type(datatype) is not str:
        raise DecodeError("a tensor has no name or no datatype")
    if type(shape) is not list or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise DecodeError("a tensor's shape is not an array of sizes")
    wide = [size for size in shape[1:] if size != 1]
    if len(wide) > 1:
        raise OpaqueError("a tensor has a higher rank, such as an image's")
    data = tensor.get("data")
    if not isinstance(data, (list, np.ndarray)):
        raise DecodeError("a tensor has no array 'data'")
    flat, nested = _flatten(data, shape)
    return Tensor(name, datatype, tuple(shape), shape[0], wide[0] if wide else 1, flat, nested), keys


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


def _fields_of(tensor: Tensor, position: int, rows: int, *, whole: bool) -> list[Field]:
    """Return the fields of one output: one, or one per column where it is no vector of numbers.

    An output that is the `whole` response stays one until the route's names have been looked at.
    """
    width, data = tensor.width, tensor.data
    if tensor.rows != rows:
        if rows != 1 or len(tensor.shape) != 1:
            raise UnalignedError(f"an output has {tensor.rows} rows for {rows} rows")
        width = tensor.rows
    if not width:
        raise UnalignedError("an output has no values in its rows")
    listed: Sequence[Any] = data.tolist() if isinstance(data, np.ndarray) else data
    base: Path = (position, "data")

    def leaves(row: int) -> list[Path]:
        return [(*base, *tensor.path(index)) for index in range(row * width, (row + 1) * width)]

    if width == 1:
        return [Field(tensor.name, listed, leaves, tensor.datatype)]
    values = [list(listed[at : at + width]) for at in range(0, len(listed), width)]
    field = Field(tensor.name, values, leaves, tensor.datatype)
    if whole or NUMBERS_OR_MISSING.issuperset(map(type, listed)):
        return [field]
    return split_field(field, [f"{tensor.name}[{at}]" for at in range(width)])


def _tensors_of(root: dict[str, Any], key: str) -> list[Any]:
    tensors = root.get(key)
    if type(tensors) is not list or not tensors:
        raise DecodeError(f"the message has no '{key}'")
    return tensors


_TENSOR_KEYS: Final = frozenset({"name", "shape", "datatype", "parameters", "data"})
