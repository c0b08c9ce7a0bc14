"""NumPy's array files (NPY, versions 1 to 3) as messages.

Decides how an array's header becomes rows: the first axis counts them, an array of one axis is one column, one of two is a
matrix, a structured array has named columns. Cells are patched in place. Arrays of Python objects (pickles) are refused by
their header and never loaded; arrays of a higher rank, complex numbers and times are opaque. What a matrix means as a table
is left to `layouts`.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.layouts import (
    Values,
    check_fields,
    check_rows,
    column_table,
    columns_table,
    distinct,
    rows_table,
)
from guardproxy.codecs.names import Names
from guardproxy.codecs.patching import Plan, write_once
from guardproxy.codecs.predictions import Field, count_rows, named_fields, response_fields
from guardproxy.codecs.segments import as_floats, cell_bytes, text_bytes
from guardproxy.codecs.tensors import MAX_VALUES
from guardproxy.codecs.v2_binary import overwritten
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError
from guardproxy.message import Message
from guardproxy.table import EXACT_INTEGERS, Table

MAX_HEADER: Final = 10_000
"""As numpy has it: far more than a header needs."""

_MAGIC: Final = b"\x93NUMPY"
_KEYS: Final = {"descr", "fortran_order", "shape"}
_TYPE: Final = re.compile(r"([<>|=]?)([biufSU])([1-9][0-9]{0,6})")
_QUOTED: Final = re.compile(r"'[^'\\]*'|\"[^\"\\]*\"")
_UNQUOTED: Final = re.compile(r"(?:[\s{}()\[\]:,0-9]|True|False)*")
_OTHER_TYPE: Final = re.compile(r"[<>|=]?([cmMfV][0-9]{1,7}(\[[0-9a-zA-Z]{1,9}\])?)")
_NUMBERS: Final = {
    "b1": "BOOL",
    **{f"i{size}": f"INT{size * 8}" for size in (1, 2, 4, 8)},
    **{f"u{size}": f"UINT{size * 8}" for size in (1, 2, 4, 8)},
    **{f"f{size}": f"FP{size * 8}" for size in (2, 4, 8)},
}
_LETTERS: Final = {"B": "b", "I": "i", "U": "u", "F": "f"}
_NO_HEADER: Final = "the array's header does not say what it must"


class Part(NamedTuple):
    """One value in every element of an array: its V2 datatype (BYTES for text), its bytes and where they begin there.

    `wide` says that each character of a text has four bytes, `big` that the most significant byte stands first.
    """

    name: str
    datatype: str
    size: int
    offset: int
    big: bool
    wide: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """Numpy's type of a number or a yes/no."""
        return np.dtype(f"{'>' if self.big else '<'}{_LETTERS[self.datatype[0]]}{self.size}")


class Array(NamedTuple):
    """An array in a body: where its elements begin, how many there are on each axis, and how far apart they stand."""

    body: bytes
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def structured(self) -> bool:
        """Whether its elements have named parts."""
        return bool(self.parts[0].name)

    def numbers(self, part: Part) -> NDArray[Any] | None:
        """Return a part's numbers as they stand in the body; None for text and yes/no."""
        return None if part.datatype in {"BYTES", "BOOL"} else self._view(part)

    def values(self, part: Part) -> Any:
        """Return a part's values as Python has them, in lists as deep as the array has axes. Raises DecodeError."""
        if part.datatype == "BYTES":
            return self._texts(part, self.start + part.offset, 0)
        view = self._view(part)
        if part.datatype == "BOOL" and view.size and view.view(np.uint8).max() > 1:
            raise DecodeError("the array has a yes/no that is neither 0 nor 1")
        return (as_floats(view) if part.datatype == "FP64" else view).tolist()

    def at(self, path: Path) -> tuple[Part, int]:
        """Return the part that a path of positions and a part's name leads to, and where its bytes begin."""
        part = next((part for part in self.parts if part.name in path), self.parts[0])
        steps = (step for step in path if isinstance(step, int))
        return part, self.start + part.offset + sum(
            step * stride for step, stride in zip(steps, self.strides, strict=True)
        )

    def _view(self, part: Part) -> NDArray[Any]:
        if 0 in self.shape:
            # There may be no byte at all where the part would begin.
            return np.empty(self.shape, part.dtype)
        return np.ndarray(self.shape, part.dtype, self.body, self.start + part.offset, self.strides)

    def _texts(self, part: Part, at: int, axis: int) -> Any:
        if axis == len(self.shape):
            return text_at(self.body, part, at)
        stride = self.strides[axis]
        return [self._texts(part, at + step * stride, axis + 1) for step in range(self.shape[axis])]


class NpyArray:
    """Rows in one NPY array; implements `Container`."""

    __slots__ = ("_names", "_options")

    def __init__(self, options: CodecOptions) -> None:
        self._options = options
        self._names = Names(options)

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request; see `Container`."""
        array, limit = self._array(message), self._options.max_rows
        rows = array.shape[0] if array.shape else 1
        if array.structured:
            return columns_table(
                [(part.name, _column(array, part)) for part in array.parts], rows, exact=True
            )
        block = _plain(array)
        if block is not None and block.ndim:
            return rows_table(as_floats(block), self._names.features, limit, exact=True)[0]
        values = array.values(array.parts[0])
        return rows_table(values if array.shape else [values], self._names.features, limit, exact=True)[0]

    def decode_response(self, message: Message, rows: int | None) -> Table:
        """Return the predictions of a response; see `Container`."""
        array = self._array(message)
        if not array.structured and len(array.shape) == 1 and rows in {None, array.shape[0]}:
            block = _plain(array)
            if block is not None and block.size:
                return column_table(self._names.single, as_floats(block))
        located = _located(array)
        if rows is None:
            rows = count_rows(located)
        return columns_table([field[:2] for field in self._fields(located, rows)], rows, exact=True)

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:
        """Return the response with the replaced cells in it; see `Container`."""
        if not patch:
            return message
        array = self._array(message)
        cells = _CellPlan(array, self._fields(_located(array), rows), rows).cells(patch)
        return message._replace(body=overwritten(message.body, cells)) if cells else message

    def _array(self, message: Message) -> Array:
        array = read_array(message.body)
        check_rows(array.shape[0] if array.shape else 1, self._options.max_rows)
        return array

    def _fields(self, located: Any, rows: int) -> list[Field]:
        return named_fields(response_fields(located, rows)[0], self._names.outputs)


class _CellPlan(Plan):
    """Turns replacements into the bytes of cells."""

    def __init__(self, array: Array, fields: Sequence[Field], rows: int) -> None:
        super().__init__(fields, rows)
        self._array = array
        self._cells: dict[int, bytes] = {}

    def cells(self, patch: Sequence[Replacement]) -> Mapping[int, bytes]:
        """Return the new bytes by where they begin. Raises PatchError."""
        self.take(patch)
        return self._cells

    def _old(self, path: Path) -> Any:
        part, at = self._array.at(path)
        body = self._array.body
        if part.datatype == "BYTES":
            return text_at(body, part, at)
        return np.frombuffer(body, part.dtype, 1, at)[0].item()

    def _write(self, path: Path, new: Any, old: Any, field: Field) -> None:  # noqa: ARG002 (the part tells more)
        part, at = self._array.at(path)
        if part.datatype == "BYTES":
            cell = _text_cell(part, new, old)
        else:
            cell = cell_bytes(part.datatype, new, old)
            if cell is not None and part.big:
                cell = cell[::-1]
        if cell is not None and self._array.body[at : at + part.size] != cell:
            write_once(self._cells, at, cell)


def read_array(body: bytes) -> Array:
    """Return the array that a body is. Raises DecodeError, also for pickled objects, which are never loaded.

    Raises OpaqueError for arrays that have no rows of numbers and text.
    """
    described, start = _header(body)
    shape, fortran = described["shape"], described["fortran_order"]
    if type(fortran) is not bool or type(shape) is not tuple or not {int}.issuperset(map(type, shape)):
        raise DecodeError("the array's header has no shape or no order")
    if any(not 0 <= size <= MAX_VALUES for size in shape):
        raise DecodeError("the array's shape is of no array that a body holds")
    parts, size = _parts(described["descr"])
    if prod(shape) * size != len(body) - start:
        raise DecodeError("the array has more or fewer bytes than its shape and type say")
    if len(shape) > (1 if parts[0].name else 2):
        raise OpaqueError("the array is of a higher rank, such as an image's")
    if 0 in shape[1:]:
        raise DecodeError("the array's rows are empty")
    check_fields(len(parts))
    strides = [size] * len(shape)
    if len(shape) > 1:
        strides[1 if fortran else 0] = size * (shape[0] if fortran else shape[1])
    return Array(body, start, shape, tuple(strides), parts)


def text_at(body: bytes, part: Part, at: int) -> str:
    """Return one text of an array, without the NULs behind it. Raises DecodeError, OpaqueError when it is no text."""
    raw = body[at : at + part.size]
    try:
        if part.wide:
            return raw.decode(_wide(part)).rstrip("\0")
        return raw.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        if part.wide:
            raise DecodeError("the array has a character that does not exist") from None
        raise OpaqueError("the array holds bytes that are no UTF-8 text") from None


def _wide(part: Part) -> str:
    return "utf-32-be" if part.big else "utf-32-le"


def _text_cell(part: Part, new: Any, old: str) -> bytes | None:
    text = text_bytes(new, old)
    if text is None:
        return None
    if part.wide:
        text = new.encode(_wide(part))
    if len(text) > part.size or new.endswith("\0"):
        raise PatchError("the array has no room for the text")
    return text.ljust(part.size, b"\0")


def _header(body: bytes) -> tuple[dict[str, Any], int]:
    """Return what an array's header says and where its elements begin."""
    if not body.startswith(_MAGIC) or len(body) < 12 or body[6] not in {1, 2, 3}:
        raise DecodeError("the body is no NPY array")
    begin = 10 if body[6] == 1 else 12
    start = begin + int.from_bytes(body[8:begin], "little")
    if start > len(body) or start - begin > MAX_HEADER:
        raise DecodeError("the array's header is longer than it may be")
    try:
        text = body[begin:start].decode("utf-8" if body[6] == 3 else "latin-1")
        # The parser warns of much that no array's writer writes, and may be asked to go deep.
        if _UNQUOTED.fullmatch(_QUOTED.sub("", text)) is None:
            raise DecodeError(_NO_HEADER)
        tree = ast.parse(text.strip(), mode="eval").body
        # A key that stands twice would be read differently by different readers.
        if not isinstance(tree, ast.Dict) or len(tree.keys) != len(_KEYS):
            raise DecodeError(_NO_HEADER)
        described = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise DecodeError(_NO_HEADER) from None
    if described.keys() != _KEYS:
        raise DecodeError(_NO_HEADER)
    return described, start


def _parts(descr: Any) -> tuple[tuple[Part, ...], int]:
    """Return the parts of an element, and its bytes. Raises DecodeError, OpaqueError."""
    if type(descr) is str:
        part = _part("", descr, 0)
        return (part,), part.size
    if type(descr) is not list or not descr:
        raise DecodeError("the array has no type")
    parts: list[Part] = []
    offset = 0
    for item in descr:
        if type(item) is not tuple or len(item) not in {2, 3} or type(item[0]) is not str:
            raise DecodeError("the array has a type that does not exist")
        if len(item) == 3 or type(item[1]) is not str:
            raise OpaqueError("the array's elements are nested")
        name, type_name = item
        padding = re.fullmatch(r"\|V([1-9][0-9]{0,6})", type_name) if not name else None
        if padding:
            offset += int(padding[1])
            continue
        if not name:
            raise DecodeError("a part of the array's elements has no name")
        parts.append(_part(name, type_name, offset))
        offset += parts[-1].size
    if not parts:
        raise DecodeError("the array has no type")
    distinct((part.name for part in parts), "the names of the array's columns")
    return tuple(parts), offset


def _part(name: str, type_name: str, offset: int) -> Part:
    if "O" in type_name:
        raise DecodeError("the array holds pickled objects, which are never loaded")
    found = _TYPE.fullmatch(type_name)
    if found is None:
        if _OTHER_TYPE.fullmatch(type_name):
            raise OpaqueError("the array holds neither numbers nor text")
        raise DecodeError("the array has a type that does not exist")
    order, letter, count = found.groups()
    big = order == ">"
    if letter in "SU":
        return Part(name, "BYTES", int(count) * (4 if letter == "U" else 1), offset, big, letter == "U")
    datatype = _NUMBERS.get(letter + count)
    if datatype is None:
        if letter == "f":
            raise OpaqueError("the array holds numbers of a width that is no protocol's")
        raise DecodeError("the array has a type that does not exist")
    return Part(name, datatype, int(count), offset, big, wide=False)


def _plain(array: Array) -> NDArray[Any] | None:
    """Return an array of numbers that float64 holds exactly, as it stands in the body; None when it is another one."""
    view = array.numbers(array.parts[0])
    if view is None or not view.size:
        return None
    if view.dtype.kind in "iu" and view.dtype.itemsize == 8:
        fits = view.max() < EXACT_INTEGERS and view.min() > -EXACT_INTEGERS
        return view if fits else None
    return view


def _column(array: Array, part: Part) -> Values:
    values = array.values(part)
    column: list[Any] = values if array.shape else [values]
    return column


def _located(array: Array) -> Any:
    """Return an array as `predictions` takes what is in JSON."""
    if not array.structured:
        return array.values(array.parts[0])
    return {part.name: array.values(part) for part in array.parts}
