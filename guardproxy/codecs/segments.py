"""The bytes of V2 tensors: how the values of one tensor stand in a binary segment, and how one of them is written.

Decides by datatype: numbers are little-endian and of fixed width, a yes/no is one byte that is 0 or 1, every element of
BYTES is its length (four bytes) and as much UTF-8 text. Sizes that do not add up are undecodable, BYTES that are no text
(images) are opaque. Where a segment begins, and in which message, is left to the containers.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from math import isinf, nan
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.codecs.cells import ANY_STYLE, TEXT, Kind, new_text, tensor_kind
from guardproxy.codecs.layouts import Values
from guardproxy.errors import DecodeError, OpaqueError, PatchError
from guardproxy.table import EXACT_INTEGERS, Floats

Buffer: TypeAlias = "bytes | memoryview"

BLOCK_FROM: Final = 32
"""Segments of fewer numbers become lists, not blocks."""

NO_TEXT: Final = "a BYTES tensor holds no UTF-8 text"

_LENGTH: Final = struct.Struct("<I")
_BEYOND: Final = "a tensor's bytes go beyond the end of the body"
_LYING: Final = "the lengths of a BYTES tensor's elements do not add up to its size"


class Dtype(NamedTuple):
    """One datatype: how numpy calls it (None for BYTES), how `struct` does, and the bytes of one value (BYTES: 0)."""

    name: str
    code: np.dtype[Any] | None
    letter: str
    size: int


def _dtype(name: str, code: str, letter: str) -> Dtype:
    made = np.dtype(code)
    return Dtype(name, made, letter, made.itemsize)


DATATYPES: Final[Mapping[str, Dtype]] = MappingProxyType(
    {
        dtype.name: dtype
        for dtype in (
            _dtype("BOOL", "|u1", "?"),
            _dtype("UINT8", "|u1", "B"),
            _dtype("UINT16", "<u2", "H"),
            _dtype("UINT32", "<u4", "I"),
            _dtype("UINT64", "<u8", "Q"),
            _dtype("INT8", "|i1", "b"),
            _dtype("INT16", "<i2", "h"),
            _dtype("INT32", "<i4", "i"),
            _dtype("INT64", "<i8", "q"),
            _dtype("FP16", "<f2", "e"),
            # numpy has no such type: it is the upper half of an FP32.
            _dtype("BF16", "<u2", ""),
            _dtype("FP32", "<f4", "f"),
            _dtype("FP64", "<f8", "d"),
            Dtype("BYTES", None, "", 0),
        )
    }
)
"""The types of the Open Inference Protocol, by name."""

_PACKS: Final = {name: struct.Struct(f"<{dtype.letter}") for name, dtype in DATATYPES.items() if dtype.letter}

_LARGEST: Final = {
    name: float(np.finfo(code).max) for name, code in (("FP16", "f2"), ("FP32", "f4"), ("FP64", "f8"))
}


def datatype_of(name: str) -> Dtype:
    """Return a datatype by its name. Raises DecodeError for one that does not exist."""
    dtype = DATATYPES.get(name)
    if dtype is None:
        raise DecodeError("a tensor has a datatype that the protocol does not know")
    return dtype


def read_segment(datatype: str, data: Buffer, start: int, size: int, count: int) -> Values:
    """Return the `count` values of a tensor whose `size` bytes begin at `start` in `data`.

    Numbers are a float64 block, but a list of Python numbers where they are few, or where one is a whole number that a
    float64 cannot hold. BOOL is a list of True and False, BYTES a list of text. Raises DecodeError when the bytes are not
    the segment of that many values, OpaqueError when BYTES are no UTF-8 text.
    """
    values = view_segment(datatype, data, start, size, count)
    return as_floats(values) if isinstance(values, np.ndarray) else values


def as_floats(values: NDArray[Any]) -> Floats:
    """Return a copy of numbers as float64, row by row in memory. A signalling NaN, which whatever is done with it would
    warn of, becomes a quiet one."""
    with np.errstate(invalid="ignore"):
        if values.dtype == np.float64:
            quiet: Floats = np.multiply(values, 1.0, order="C")
            return quiet
        return np.array(values, dtype=np.float64, order="C")


def view_segment(datatype: str, data: Buffer, start: int, size: int, count: int) -> Values:
    """Return what `read_segment` does, but a block as it stands in `data`: of its own type, and not copied."""
    dtype = datatype_of(datatype)
    if start < 0 or size < 0 or start + size > len(data):
        raise DecodeError(_BEYOND)
    if dtype.code is None:
        return _texts(data, element_spans(data, start, size, count))
    if size != count * dtype.size:
        raise DecodeError("a tensor has more or fewer bytes than its shape and datatype say")
    return _READERS.get(datatype, _read_numbers)(dtype, data, start, count)


def element_spans(data: Buffer, start: int, size: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield where the text of each element of a BYTES segment begins and ends in `data`.

    Raises DecodeError, at the latest after the last one, unless the segment has exactly that many elements.
    """
    end = start + size
    if start < 0 or size < 0 or end > len(data):
        raise DecodeError(_BEYOND)
    if _LENGTH.size * count > size:
        raise DecodeError(_LYING)
    at = start
    for _ in range(count):
        begin = at + _LENGTH.size
        if begin > end:
            raise DecodeError(_LYING)
        at = begin + _LENGTH.unpack_from(data, at)[0]
        if at > end:
            raise DecodeError(_LYING)
        yield begin, at
    if at != end:
        raise DecodeError(_LYING)


def cell_bytes(datatype: str, new: object, old: object) -> bytes | None:
    """Return the little-endian bytes that put the scalar `new` in place of `old`; None when `old` says the same.

    A number becomes the nearest one of a floating-point type. Raises PatchError for what the type cannot hold: text, a
    number out of its range, a fraction or a missing value in whole numbers, a whole number that FP64 cannot hold.
    """
    dtype = DATATYPES[datatype]
    if type(new) is float and type(old) is float and abs(new) <= _LARGEST.get(datatype, -1.0):
        return None if new == old else _PACKS[datatype].pack(new)
    text = new_text(new, old, segment_kind(datatype), ANY_STYLE)
    if text is None:
        return None
    if text == "null":
        raise PatchError(f"a tensor of {datatype} cannot say that a value is missing")
    if datatype == "BOOL":
        return b"\1" if text == "true" else b"\0"
    if datatype == "BF16":
        # Its text is rounded to FP32 already.
        return _bfloat(nan if new is None else float(new))  # type: ignore[arg-type] # the kind took it for a number
    if dtype.letter in "efd":
        value = float(text)
        if datatype == "FP64" and isinstance(new, int) and value != new:
            raise PatchError("FP64 cannot hold this whole number")
        return _PACKS[datatype].pack(value)
    return _PACKS[datatype].pack(int(text))


def text_bytes(new: object, old: object) -> bytes | None:
    """Return the UTF-8 of a new element of BYTES; None when `old` says the same. Raises PatchError for all but text."""
    if new_text(new, old, TEXT, ANY_STYLE) is None:
        return None
    if not isinstance(new, str):
        raise PatchError("a tensor of BYTES cannot say that a value is missing")
    return new.encode("utf-8")


def bytes_segment(data: Buffer, start: int, size: int, count: int, replaced: Mapping[int, bytes]) -> bytes:
    """Return a BYTES segment with some elements replaced, by their index; all others are as they were."""
    parts: list[Buffer] = []
    kept = start
    for index, (begin, end) in enumerate(element_spans(data, start, size, count)):
        element = replaced.get(index)
        if element is not None:
            parts += (data[kept : begin - _LENGTH.size], _LENGTH.pack(len(element)), element)
            kept = end
    parts.append(data[kept : start + size])
    return b"".join(parts)


def segment_kind(datatype: str) -> Kind:
    """Return what a binary tensor takes."""
    return tensor_kind(datatype, ())


def _texts(data: Buffer, spans: Iterator[tuple[int, int]]) -> list[str]:
    texts: list[str] = []
    foreign = False
    for begin, end in spans:
        try:
            texts.append(str(data[begin:end], "utf-8"))
        except UnicodeDecodeError:
            # Not before all lengths were seen: a segment that is cut short is no image.
            foreign = True
    if foreign:
        raise OpaqueError(NO_TEXT)
    return texts


def _read_numbers(dtype: Dtype, data: Buffer, start: int, count: int) -> Values:
    if count < BLOCK_FROM:
        listed = list(struct.unpack_from(f"<{count}{dtype.letter}", data, start))
        return [value if value == value else nan for value in listed] if dtype.letter == "d" else listed
    return np.frombuffer(data, dtype.code, count, start)


def _read_long(dtype: Dtype, data: Buffer, start: int, count: int) -> Values:
    """Read whole numbers of 64 bits: a float64 does not hold them all."""
    if count < BLOCK_FROM:
        return _read_numbers(dtype, data, start, count)
    whole = np.frombuffer(data, dtype.code, count, start)
    if whole.max() < EXACT_INTEGERS and whole.min() > -EXACT_INTEGERS:
        return whole
    listed: list[int] = whole.tolist()
    return listed


def _read_booleans(_dtype: Dtype, data: Buffer, start: int, count: int) -> Values:
    raw = bytes(data[start : start + count])
    if raw.translate(None, b"\0\1"):
        raise DecodeError("a BOOL tensor has a byte that is neither 0 nor 1")
    return list(map(bool, raw))


def _read_bfloats(dtype: Dtype, data: Buffer, start: int, count: int) -> Values:
    upper = np.frombuffer(data, dtype.code, count, start).astype("<u4")
    block = (upper << 16).view("<f4")
    if count < BLOCK_FROM:
        listed: list[float] = block.tolist()
        return listed
    return block


_READERS: Final[Mapping[str, Callable[[Dtype, Buffer, int, int], Values]]] = MappingProxyType(
    {"BOOL": _read_booleans, "INT64": _read_long, "UINT64": _read_long, "BF16": _read_bfloats}
)


def _bfloat(value: float) -> bytes:
    """Return the nearest BF16, ties to even. Raises PatchError for a finite number beyond its range."""
    near = struct.pack("<f", value)
    (bits,) = struct.unpack("<I", near)
    (read,) = struct.unpack("<f", near)
    if value != value:
        return b"\xc0\x7f"
    if read != value:
        # To be rounded once, not twice: the FP32 on the inner side, its last bit set since there is more behind it.
        bits = (bits - (abs(read) > abs(value))) | 1
    upper = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    if upper & 0x7FFF == 0x7F80 and not isinf(value):
        raise PatchError("the number is beyond the range of bfloat16")
    return struct.pack("<H", upper)
