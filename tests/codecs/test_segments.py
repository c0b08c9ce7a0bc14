"""The bytes of binary tensors, by datatype."""

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from guardproxy.codecs.segments import (
    BLOCK_FROM,
    DATATYPES,
    bytes_segment,
    cell_bytes,
    read_segment,
    text_bytes,
)
from guardproxy.errors import DecodeError, OpaqueError, PatchError

INTEGERS = {f"{sign}INT{bits}": bits for sign in ("", "U") for bits in (8, 16, 32, 64)}
FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
SIZES = [0, 1, 3, BLOCK_FROM - 1, BLOCK_FROM, BLOCK_FROM + 9]


def bounds(datatype: str) -> tuple[int, int]:
    bits = INTEGERS[datatype]
    return (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def packed(datatype: str, values: list[Any]) -> bytes:
    """Encode whole numbers by nothing of ours."""
    signed = not datatype.startswith("U")
    return b"".join(value.to_bytes(INTEGERS[datatype] // 8, "little", signed=signed) for value in values)


def elements(texts: list[bytes]) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def read(datatype: str, data: bytes, count: int) -> list[Any]:
    values = read_segment(datatype, data, 0, len(data), count)
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("datatype", INTEGERS)
@settings(max_examples=30)
@given(data=st.data())
def test_whole_numbers_are_read_exactly(datatype: str, count: int, data: st.DataObject) -> None:
    low, high = bounds(datatype)
    values = data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
    assert [int(value) for value in read(datatype, packed(datatype, values), count)] == values


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("datatype", FLOATS)
@settings(max_examples=30)
@given(raw=st.data())
def test_floats_are_read_exactly(datatype: str, count: int, raw: st.DataObject) -> None:
    size = count * DATATYPES[datatype].size
    data = raw.draw(st.binary(min_size=size, max_size=size))
    expected = np.frombuffer(data, FLOATS[datatype]).tolist()
    assert list(map(repr, read(datatype, data, count))) == list(map(repr, expected))


def bfloat(data: bytes) -> float:
    """The value of a BF16, from its definition."""
    bits = int.from_bytes(data, "little")
    sign, exponent, fraction = bits >> 15, bits >> 7 & 0xFF, bits & 0x7F
    if exponent == 0xFF:
        magnitude = math.nan if fraction else math.inf
    elif exponent:
        magnitude = math.ldexp(128 + fraction, exponent - 134)
    else:
        magnitude = math.ldexp(fraction, -133)
    return math.copysign(magnitude, -1.0 if sign else 1.0)


@pytest.mark.parametrize("count", [1, BLOCK_FROM + 1])
@given(raw=st.binary(min_size=2, max_size=2))
def test_bfloats_are_read_exactly(count: int, raw: bytes) -> None:
    expected = bfloat(raw)
    for value in read("BF16", raw * count, count):
        assert value == expected or (value != value and expected != expected)


@example(value=1.00390625 + 2**-40)
@example(value=1.01171875 - 2**-40)
@example(value=-1.00390625 - 2**-40)
@example(value=1.00390625)
@given(value=st.floats(allow_nan=False, width=32) | st.floats(-1e38, 1e38))
def test_a_new_bfloat_is_the_nearest_there_is(value: float) -> None:
    assume(abs(value) <= bfloat(b"\x7f\x7f") or math.isinf(value))
    new = cell_bytes("BF16", value, 1.5 if value != 1.5 else 2.5)
    assert new is not None
    if math.isinf(value):
        assert bfloat(new) == value
        return
    bits = int.from_bytes(new, "little")
    error = abs(Fraction(bfloat(new)) - Fraction(value))
    for other in (bits - 1, bits + 1):
        near = bfloat((other % 2**16).to_bytes(2, "little"))
        if math.isfinite(near):
            rival = abs(Fraction(near) - Fraction(value))
            assert error < rival or (error == rival and bits % 2 == 0)


@pytest.mark.parametrize("datatype", FLOATS)
@given(value=st.floats(allow_nan=False, allow_infinity=True))
def test_a_new_float_is_the_nearest_of_its_type_or_refused(datatype: str, value: float) -> None:
    dtype = np.dtype(FLOATS[datatype])
    if math.isfinite(value) and abs(value) > float(np.finfo(dtype).max):
        with pytest.raises(PatchError):
            cell_bytes(datatype, value, math.nan)
    else:
        assert cell_bytes(datatype, value, math.nan) == np.array(value, dtype).tobytes()


@pytest.mark.parametrize("datatype", INTEGERS)
@given(data=st.data())
def test_a_new_whole_number_is_exact_or_refused(datatype: str, data: st.DataObject) -> None:
    low, high = bounds(datatype)
    value = data.draw(
        st.integers(2 * low - 5, 2 * high + 5) | st.sampled_from([low - 1, low, high, high + 1])
    )
    if low <= value <= high:
        new = cell_bytes(datatype, value, low if value != low else high)
        assert new == packed(datatype, [value])
    else:
        with pytest.raises(PatchError):
            cell_bytes(datatype, value, 0)


REFUSED = [
    ("FP32", 1e300),
    ("FP16", 65505.0),
    ("BF16", 3.4e38),
    ("FP64", 2**53 + 1),
    ("FP64", 10**400),
    ("FP32", "1.5"),
    ("FP64", True),
    ("FP64", (1.0, 2.0)),
    *((datatype, value) for datatype in INTEGERS for value in (3.5, None, math.nan, math.inf, "3", True)),
    ("BOOL", 1),
    ("BOOL", None),
    ("BOOL", "true"),
]


@pytest.mark.parametrize(("datatype", "new"), REFUSED, ids=repr)
def test_what_a_type_cannot_hold_is_refused(datatype: str, new: object) -> None:
    with pytest.raises(PatchError):
        cell_bytes(datatype, new, datatype == "BOOL")


def test_a_whole_float_fits_into_whole_numbers() -> None:
    assert cell_bytes("INT16", 3.0, 4) == b"\3\0"


@pytest.mark.parametrize("datatype", [*FLOATS, "BF16"])
def test_a_missing_float_is_nan(datatype: str) -> None:
    for missing in (None, math.nan):
        new = cell_bytes(datatype, missing, 1.0)
        assert new is not None
        assert math.isnan(read(datatype, new, 1)[0])
        assert cell_bytes(datatype, missing, math.nan) is None


@pytest.mark.parametrize(
    ("datatype", "value"), [("FP64", 0.0), ("FP32", 2.5), ("INT64", 2**60 + 1), ("BOOL", True)]
)
def test_what_says_the_same_needs_no_bytes(datatype: str, value: Any) -> None:
    assert cell_bytes(datatype, value, value) is None
    assert cell_bytes("FP64", 0.0, -0.0) is None
    assert cell_bytes("INT8", 3, 3.0) is None


def test_a_yes_is_one_and_a_no_is_zero() -> None:
    assert cell_bytes("BOOL", new=True, old=False) == b"\1"
    assert cell_bytes("BOOL", new=False, old=True) == b"\0"
    assert read("BOOL", b"\0\1\1", 3) == [False, True, True]


def test_a_yes_or_no_that_is_another_byte_is_undecodable() -> None:
    with pytest.raises(DecodeError):
        read("BOOL", b"\0\2", 2)


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BYTES"])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_size_that_is_not_the_shapes_is_undecodable(datatype: str, off: int) -> None:
    with pytest.raises(DecodeError):
        read(datatype, bytes(3 * DATATYPES[datatype].size + off), 3)


@pytest.mark.parametrize(("start", "size"), [(-1, 8), (0, 16), (1, 8), (9, 0), (0, -8), (2**70, 8)])
@pytest.mark.parametrize("datatype", ["FP64", "BYTES"])
def test_a_segment_beyond_its_body_is_undecodable(datatype: str, start: int, size: int) -> None:
    with pytest.raises(DecodeError):
        read_segment(datatype, bytes(8), start, size, 1)


def test_an_unknown_datatype_is_undecodable() -> None:
    with pytest.raises(DecodeError):
        read("FP128", bytes(16), 1)


@given(texts=st.lists(st.text(), max_size=5))
def test_texts_are_read_as_they_were_written(texts: list[str]) -> None:
    raw = elements([text.encode() for text in texts])
    assert read("BYTES", raw, len(texts)) == texts


LYING = {
    "more than there is": (b"\5\0\0\0abc", 1),
    "less than there is": (b"\2\0\0\0abc", 1),
    "four thousand million": (b"\xff\xff\xff\xffabc", 1),
    "a cut length": (b"\1\0\0\0a\1\0", 2),
    "fewer elements": (b"\1\0\0\0a\1\0\0\0b", 1),
    "more elements": (b"\1\0\0\0a", 2),
    "far more elements": (b"\1\0\0\0a", 2**40),
    "a length that swallows the next": (b"\5\0\0\0a\1\0\0\0b", 2),
    "none": (b"", 1),
}


@pytest.mark.parametrize("name", LYING)
def test_texts_whose_lengths_lie_are_undecodable(name: str) -> None:
    raw, count = LYING[name]
    with pytest.raises(DecodeError) as caught:
        read("BYTES", raw, count)
    assert not isinstance(caught.value, OpaqueError)


@pytest.mark.parametrize("raw", [b"\xff\xd8\xff\xe0", b"\xed\xa0\x80", b"\xc0\x80", b"caf\xe9"])
def test_bytes_that_are_no_text_are_opaque(raw: bytes) -> None:
    with pytest.raises(OpaqueError):
        read("BYTES", elements([b"a", raw]), 2)


@given(
    texts=st.lists(st.binary(max_size=6), min_size=1, max_size=6),
    data=st.data(),
    before=st.binary(max_size=3),
)
def test_a_rebuilt_segment_has_only_the_replaced_elements_changed(
    texts: list[bytes], data: st.DataObject, before: bytes
) -> None:
    raw = elements(texts)
    replaced = data.draw(st.dictionaries(st.integers(0, len(texts) - 1), st.binary(max_size=6)))
    expected = elements([replaced.get(index, text) for index, text in enumerate(texts)])
    made = bytes_segment(before + raw + b"after", len(before), len(raw), len(texts), replaced)
    assert made == expected


def test_an_element_takes_text_only() -> None:
    assert text_bytes("é", "e") == "é".encode()
    assert text_bytes("e", "e") is None
    for new in (None, 1, 1.5, True, "\ud800", ("a", "b")):
        with pytest.raises(PatchError):
            text_bytes(new, "e")


def test_a_segment_may_be_a_view_at_any_offset() -> None:
    view = memoryview(b"x" + struct.pack("<40d", *range(40)))
    assert read_segment("FP64", view, 1, 320, 40)[39] == 39.0
    assert read_segment("BYTES", memoryview(b"x\1\0\0\0y"), 1, 5, 1) == ["y"]
