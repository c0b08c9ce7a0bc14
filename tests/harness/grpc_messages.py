"""Writes protobuf messages of the Open Inference Protocol field by field, good ones and others."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

INPUTS, RAW_INPUTS = 5, 7
OUTPUTS, RAW_OUTPUTS = 5, 6

TYPED = {
    "BOOL": 1, "INT8": 2, "INT16": 2, "INT32": 2, "INT64": 3, "UINT8": 4, "UINT16": 4, "UINT32": 4, "UINT64": 5,
    "FP32": 6, "FP64": 7, "BYTES": 8,
}  # fmt: skip
LETTERS = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


class T(NamedTuple):
    """One tensor of a message."""

    name: str
    datatype: str
    shape: Sequence[int]
    values: Sequence[Any]
    more: bytes = b""
    """Fields behind the others."""


def varint(value: int) -> bytes:
    value %= 2**64
    made = b""
    while value > 127:
        made += bytes((value & 127 | 128,))
        value >>= 7
    return made + bytes((value,))


def tag(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def sized(number: int, content: bytes | str) -> bytes:
    """Return a field of text, bytes or a nested message."""
    data = content.encode() if isinstance(content, str) else content
    return tag(number, 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    return tag(field, 0) + varint(value)


def raw(datatype: str, values: Sequence[Any]) -> bytes:
    """Return a raw content."""
    if datatype == "BYTES":
        texts = [value if isinstance(value, bytes) else value.encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return struct.pack(f"<{len(values)}{LETTERS[datatype]}", *values)


def contents(datatype: str, values: Sequence[Any], *, packed: bool = True) -> bytes:
    """Return the typed contents of a tensor."""
    field = TYPED[datatype]
    if datatype == "BYTES":
        return b"".join(sized(field, value) for value in values)
    if datatype in {"FP32", "FP64"}:
        each, wire = [struct.pack("<" + LETTERS[datatype], value) for value in values], 5 if field == 6 else 1
    else:
        each, wire = [varint(int(value)) for value in values], 0
    if packed:
        return sized(field, b"".join(each)) if each else b""
    return b"".join(tag(field, wire) + one for one in each)


def tensor(one: T, *, typed: bool, packed: bool = True) -> bytes:
    """Return a tensor's message."""
    shape = b"".join(map(varint, one.shape))
    made = sized(1, one.name) + sized(2, one.datatype)
    made += sized(3, shape) if packed else b"".join(number(3, size) for size in one.shape)
    if typed:
        made += sized(5, contents(one.datatype, one.values, packed=packed))
    return made + one.more


def _message(
    tensors: Sequence[T], field: int, raw_field: int, *, typed: bool, packed: bool, lead: bytes, tail: bytes
) -> bytes:
    made = lead + b"".join(sized(field, tensor(one, typed=typed, packed=packed)) for one in tensors)
    if not typed:
        made += b"".join(sized(raw_field, raw(one.datatype, one.values)) for one in tensors)
    return made + tail


def infer_request(
    *tensors: T,
    model: str = "demand",
    version: str = "",
    typed: bool = True,
    packed: bool = True,
    tail: bytes = b"",
) -> bytes:
    """Return a ModelInferRequest."""
    lead = sized(1, model) + (sized(2, version) if version else b"") + sized(3, "id-1")
    return _message(tensors, INPUTS, RAW_INPUTS, typed=typed, packed=packed, lead=lead, tail=tail)


def infer_response(*tensors: T, typed: bool = True, packed: bool = True, tail: bytes = b"") -> bytes:
    """Return a ModelInferResponse."""
    lead = sized(1, "demand") + sized(2, "1")
    return _message(tensors, OUTPUTS, RAW_OUTPUTS, typed=typed, packed=packed, lead=lead, tail=tail)
