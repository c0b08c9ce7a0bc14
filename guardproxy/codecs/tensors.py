"""V2 tensors as rows: which columns they are, whatever bytes hold them.

Decides how tensors become columns: axis 0 counts the rows; a tensor of shape [n] or [n, 1] is a column of the tensor's
name; a lone input of shape [n, k] is k columns, named like a bare matrix; beside other inputs its columns are
`name[0], name[1], ...`. An output of numbers of shape [n, k] is one vector field, one of text or yes/no is `name[j]`.
Without a batch axis (`batched` is False) every tensor is one row. How data are read and written is left to
`open_inference` (JSON and binary) and to the protobuf container.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final, NamedTuple, cast

import numpy as np

from guardproxy.codecs.cells import NUMBERS_OR_MISSING, plain_block, plain_row
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.layouts import (
    MAX_FIELDS,
    Values,
    check_fields,
    check_rows,
    column_table,
    columns_table,
    distinct,
)
from guardproxy.codecs.names import Names
from guardproxy.codecs.predictions import Field, named_fields, split_field
from guardproxy.codecs.segments import as_floats
from guardproxy.codecs.signature import MAX_AXES
from guardproxy.errors import DecodeError, OpaqueError, UnalignedError
from guardproxy.table import Table

MAX_VALUES: Final = 2**31
"""Far more values than any body can hold: sizes are multiplied before anything is made of them."""

SHARED_MEMORY: Final = "shared_memory_region"
"""The parameter of a tensor whose data are elsewhere."""

IN_SHARED_MEMORY: Final = "a tensor's data are in shared memory"

_NAMES: Final = "the inputs' names"


class Tensor(NamedTuple):
    """One tensor: `data` flat and row-major, `width` values in each row; `nested` when its JSON is nested.

    `start` and `size` say where its bytes stand in the body; a `start` of -1 is a tensor in JSON.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    rows: int
    width: int
    data: Values
    nested: bool
    start: int = -1
    size: int = 0

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


def shape_of(sizes: Sequence[int], *, batched: bool = True) -> tuple[int, int]:
    """Return the rows and the values per row of a tensor of this shape.

    Raises DecodeError for a shape that no body can have, OpaqueError for a higher rank (an image).
    """
    if batched and len(sizes) == 2 and sizes[0] >= 0 and sizes[1] >= 0 and sizes[0] * sizes[1] <= MAX_VALUES:
        return sizes[0], sizes[1]
    # What is multiplied is bounded first: a product of many large numbers takes minutes.
    fits = 0 < len(sizes) <= MAX_AXES and min(sizes) >= 0 and max(sizes) <= MAX_VALUES
    if not fits or prod(sizes) > MAX_VALUES:
        raise DecodeError("a tensor's shape is not an array of sizes")
    inner = sizes[1:] if batched else sizes
    wide = [size for size in inner if size != 1]
    if len(wide) > 1:
        raise OpaqueError("a tensor has a higher rank, such as an image's")
    return (sizes[0] if batched else 1), (wide[0] if wide else 1)


def inputs_table(tensors: Sequence[Tensor], names: Names, limit: int, *, exact: bool) -> Table:
    """Return the table of a request's tensors. Raises DecodeError; NeedsExactError as `cells_of` does."""
    rows = tensors[0].rows
    if any(tensor.rows != rows for tensor in tensors):
        raise DecodeError("the inputs have different numbers of rows")
    if not all(tensor.width for tensor in tensors):
        raise DecodeError("an input has no values in its rows")
    check_rows(rows, limit)
    check_fields(sum(tensor.width for tensor in tensors))
    if len(tensors) == 1:
        return _lone_input(tensors[0], names, rows, exact=exact)
    if rows == 1 and all(tensor.width == 1 for tensor in tensors):
        numbers = plain_row([tensor.data[0] for tensor in tensors])
        if numbers is not None:
            names_of_row = distinct((tensor.name for tensor in tensors), _NAMES)
            return Table(names_of_row, 1, None, single=numbers)
    columns: list[tuple[str, Values]] = []
    for tensor in tensors:
        if tensor.width == 1:
            columns.append((tensor.name, tensor.data))
        else:
            columns += ((f"{tensor.name}[{at}]", tensor.column(at)) for at in range(tensor.width))
    distinct((name for name, _ in columns), _NAMES)
    return columns_table(columns, rows, exact=exact)


def _lone_input(tensor: Tensor, names: Names, rows: int, *, exact: bool) -> Table:
    """A lone [n, k] is a bare matrix. A lone column has its own name, unless the route names exactly one."""
    named = tensor.width == 1 and not names.lone_feature
    called = (tensor.name,) if named else names.features(tensor.width)
    data = tensor.data
    if rows == 1:
        numbers = plain_row(data.tolist() if isinstance(data, np.ndarray) else list(data))
        if numbers is not None:
            return Table(called, 1, None, single=numbers)
    block = data if isinstance(data, np.ndarray) else plain_block(data)
    if block is not None and rows:
        # One step for both: turned into columns, and into float64 where the bytes are of another type.
        turned = as_floats(block.reshape(rows, tensor.width).T)
        turned.flags.writeable = False
        return Table(called, rows, turned)
    columns = [(name, tensor.column(at)) for at, name in enumerate(called)]
    return columns_table(columns, rows, exact=exact)


def outputs_table(tensors: Sequence[Tensor], rows: int, outputs: tuple[str, ...], *, exact: bool) -> Table:
    """Return the table of a response's tensors, which the route calls `outputs`. Raises UnalignedError."""
    fields = prediction_fields(tensors, rows, outputs)
    if rows == 1:
        numbers = plain_row([field.values[0] for field in fields])
        if numbers is not None:
            return Table(tuple(field.name for field in fields), 1, None, single=numbers)
    values: Values = fields[0].values
    if len(fields) == 1 and isinstance(values, np.ndarray):
        return column_table((fields[0].name,), as_floats(values))
    return columns_table([field[:2] for field in fields], rows, exact=exact)


def prediction_fields(tensors: Sequence[Tensor], rows: int, outputs: tuple[str, ...]) -> list[Field]:
    """Return the prediction fields of a response's tensors under the route's names. Raises UnalignedError.

    The values of a field of numbers may be a block, of the tensor's own type.
    """
    if len(tensors) > MAX_FIELDS or not all(tensor.width == 1 and tensor.rows == rows for tensor in tensors):
        return named_fields(output_fields(tensors, rows), outputs)
    # One value per row: nothing can be a vector, so no value needs to be looked at.
    own = [tensor.name for tensor in tensors]
    names = own if set(outputs).issubset(own) else [*outputs[: len(own)], *own[len(outputs) :]]
    if len(set(own)) != len(own) or len(set(names)) != len(names):
        raise UnalignedError("two outputs have the same name")
    return [
        Field(name, cast("Sequence[Any]", tensor.data), _leaf(position, tensor), tensor.datatype)
        for position, (name, tensor) in enumerate(zip(names, tensors, strict=True))
    ]


def _leaf(position: int, tensor: Tensor) -> Callable[[int], list[Path]]:
    return lambda row: [(position, "data", *tensor.path(row))]


def output_fields(tensors: Sequence[Tensor], rows: int) -> list[Field]:
    """Return the prediction fields of a response's tensors. Raises UnalignedError when they have other rows."""
    check_fields(len(tensors))
    fields: list[Field] = []
    for position, tensor in enumerate(tensors):
        fields += _fields_of(tensor, position, rows, whole=len(tensors) == 1)
    if len({field.name for field in fields}) != len(fields):
        raise UnalignedError("two outputs have the same name")
    return fields


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
