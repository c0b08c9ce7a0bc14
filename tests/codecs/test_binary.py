"""V2 messages with binary tensors: a JSON head, and the tensors' bytes behind it."""

import json
import struct
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.codecs import Codec, CodecOptions, make_codec
from guardproxy.codecs.signature import Column, Signature
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Table
from tests.codecs.exchanges import exchanges
from tests.codecs.test_requests import columns

CODES: Final = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BOOL": "?",
}
IN_JSON: Final = ("FP64", "INT64", "UINT64", "BOOL", "BYTES")


def codec(**options: Any) -> Codec:
    return make_codec("open-inference", CodecOptions(**options))


@dataclass(frozen=True)
class Made:
    """A tensor as a test says it: its values flat, in JSON or behind it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: tuple[Any, ...]
    binary: bool = True

    @property
    def width(self) -> int:
        return self.shape[1] if len(self.shape) > 1 else 1

    @property
    def segment(self) -> bytes:
        """The bytes of the values, by nothing of ours."""
        if self.datatype == "BYTES":
            return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in self.values)
        if self.datatype == "BF16":
            return np.array(self.values, "<f4").view("<u2")[1::2].tobytes()
        return np.array(self.values, CODES[self.datatype]).tobytes()

    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = {"name": self.name, "shape": list(self.shape), "datatype": self.datatype}
        if self.binary:
            return {**said, "parameters": {"binary_data_size": len(self.segment)}}
        return {**said, "data": list(self.values)}

    def changed(self, at: int, new: Any) -> "Made":
        return replace(self, values=(*self.values[:at], new, *self.values[at + 1 :]))


def message(key: str, tensors: list[Made]) -> Message:
    head = json.dumps(
        {"id": "é", key: [tensor.said() for tensor in tensors], "parameters": {"é": [1]}}
    ).encode()
    tail = b"".join(tensor.segment for tensor in tensors if tensor.binary)
    return Message(head + tail, "application/octet-stream", json_length=len(head))


def values_of(datatype: str) -> st.SearchStrategy[Any]:
    if datatype == "BYTES":
        return st.text(max_size=4)
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BF16":
        return st.integers(-(2**7), 2**7).map(lambda whole: whole / 4)
    if datatype.startswith("FP"):
        return st.floats(width=int(datatype[2:]))  # type: ignore[arg-type]
    info = np.iinfo(CODES[datatype])
    return st.integers(int(info.min), int(info.max))


@st.composite
def tensors(draw: st.DrawFn, missing_in_json: bool = True) -> list[Made]:
    """One to four tensors of as many rows, of any types, some behind the JSON and some in it."""
    rows = draw(st.integers(1, 4) | st.just(40))
    made = []
    for position in range(draw(st.integers(1, 4))):
        datatype = draw(st.sampled_from([*CODES, "BF16", "BYTES"]))
        binary = datatype not in IN_JSON or draw(st.booleans())
        width = draw(st.integers(1, 3))
        shape = (rows,) if width == 1 and draw(st.booleans()) else (rows, width)
        value = values_of(datatype)
        if not binary and datatype == "FP64" and not missing_in_json:
            value = st.floats(allow_nan=False, allow_infinity=False)
        values = draw(st.lists(value, min_size=rows * width, max_size=rows * width))
        made.append(Made(f"t{position}", datatype, shape, tuple(values), binary))
    return made


def missing(value: Any) -> Any:
    return None if value != value else value


def expected_columns(made: list[Made], lone: str, *, vectors: bool) -> dict[str, tuple[Any, ...]]:
    """The columns that tensors are, from the design's words."""
    found: dict[str, tuple[Any, ...]] = {}
    for tensor in made:
        values = [missing(value) for value in tensor.values]
        width = tensor.width
        if width == 1:
            found[tensor.name] = tuple(values)
        elif vectors and tensor.datatype not in {"BOOL", "BYTES"}:
            found[tensor.name] = tuple(tuple(values[at : at + width]) for at in range(0, len(values), width))
        else:
            for at in range(width):
                name = f"{lone}{at}" if lone and len(made) == 1 else f"{tensor.name}[{at}]"
                found[name] = tuple(values[at::width])
    return found


@settings(max_examples=50)
@given(made=tensors())
def test_a_request_has_the_rows_that_were_encoded(made: list[Made]) -> None:
    table = codec().decode_request(message("inputs", made))
    assert table.rows == made[0].shape[0]
    assert columns(table) == expected_columns(made, "f", vectors=False)


@settings(max_examples=50)
@given(made=tensors())
def test_a_response_has_the_predictions_that_were_encoded(made: list[Made]) -> None:
    rows = made[0].shape[0]
    assert columns(codec().decode_response(message("outputs", made), rows)) == expected_columns(
        made, "", vectors=True
    )
    assert codec().decode_response(message("outputs", made), None).rows == rows


@settings(max_examples=50)
@given(made=tensors(missing_in_json=False), data=st.data())
def test_a_patch_makes_what_the_server_would_have_said(made: list[Made], data: st.DataObject) -> None:
    """Splicing one value into a response gives, byte for byte, the encoding of the changed values."""
    rows = made[0].shape[0]
    position = data.draw(st.integers(0, len(made) - 1))
    tensor = made[position]
    row, at = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, tensor.width - 1))
    index = row * tensor.width + at
    new = data.draw(values_of(tensor.datatype))
    if new != new or (not tensor.binary and new in {float("inf"), float("-inf")}):
        new = 0.5
    before = message("outputs", made)
    if tensor.width == 1:
        patch = Replacement(row, {tensor.name: new}, "x")
    elif tensor.datatype in {"BOOL", "BYTES"}:
        patch = Replacement(row, {f"{tensor.name}[{at}]": new}, "x")
    else:
        start = row * tensor.width
        vector = [missing(value) for value in tensor.values[start : start + tensor.width]]
        vector[at] = new
        patch = Replacement(row, {tensor.name: tuple(vector)}, "x")
    after = codec().splice(before, rows, (patch,))
    old = tensor.values[index]
    if type(old) is type(new) and old == new:
        assert after is before
    else:
        wanted = message("outputs", [*made[:position], tensor.changed(index, new), *made[position + 1 :]])
        assert (after.body, after.json_length) == (wanted.body, wanted.json_length)
        assert after.content_type == before.content_type


@settings(max_examples=50)
@given(made=tensors(missing_in_json=False))
def test_a_patch_that_says_what_is_there_gives_the_same_message(made: list[Made]) -> None:
    rows = made[0].shape[0]
    before = message("outputs", made)
    table = codec().decode_response(before, rows)
    patch = [Replacement(row, table.record(row), "x") for row in range(rows)]
    assert codec().splice(before, rows, patch) is before


@pytest.mark.parametrize("rows", [1, 2_000])
def test_tensors_in_the_json_and_behind_it_are_patched_each_in_its_own_way(rows: int) -> None:
    made = [
        Made("a", "FP32", (rows, 1), tuple(float(row) for row in range(rows))),
        Made("b", "FP64", (rows,), tuple(row / 2 for row in range(rows)), binary=False),
        Made("c", "INT64", (rows,), tuple(2**60 + row for row in range(rows)), binary=False),
        Made("d", "UINT64", (rows,), tuple(2**60 + row for row in range(rows))),
    ]
    named = codec(outputs=("p", "q", "r", "s"))
    before = message("outputs", made)
    table = named.decode_response(before, rows)
    assert columns(table) == dict(zip("pqrs", (tensor.values for tensor in made), strict=True))
    last = rows - 1
    after = named.splice(
        before, rows, [Replacement(last, {"p": 0.5, "q": 0.25, "r": 7, "s": 2**64 - 1}, "x")]
    )
    news = (0.5, 0.25, 7, 2**64 - 1)
    assert after == message(
        "outputs", [tensor.changed(last, new) for tensor, new in zip(made, news, strict=True)]
    )


def test_a_missing_value_in_the_json_is_spelled_as_it_is_there_already() -> None:
    head = (
        b'{"outputs":[{"name":"a","shape":[2],"datatype":"FP64","data":[NaN,1.0]},'
        b'{"name":"b","shape":[2],"datatype":"INT8","parameters":{"binary_data_size":2}}]}'
    )
    before = Message(head + b"\1\2", json_length=len(head))
    for name in ("a", "demand"):
        after = codec(outputs=(name,)).splice(before, 2, [Replacement(1, {name: None}, "x")])
        assert after.body == before.body.replace(b"1.0", b"NaN")


def test_a_nan_behind_the_json_does_not_change_how_the_json_spells_a_missing_value() -> None:
    head = (
        b'{"outputs":[{"name":"a","shape":[2],"datatype":"FP64","data":[null,1.0]},'
        b'{"name":"b","shape":[2],"datatype":"FP16","parameters":{"binary_data_size":4}}]}'
    )
    before = Message(head + b"\0\x7e\0\x7e", json_length=len(head))
    after = codec().splice(before, 2, [Replacement(1, {"a": None, "b": 1.0}, "x")])
    assert after.body == head.replace(b"1.0", b"null") + b"\0\x7e\0\x3c"


def test_more_rows_than_the_limit_are_undecodable_before_they_are_read() -> None:
    texts = Made("x", "BYTES", (4,), ("", "", "", ""))
    limited = codec(max_rows=3)
    with pytest.raises(DecodeError, match="more than 3 rows"):
        limited.decode_request(message("inputs", [texts]))
    with pytest.raises(DecodeError, match="more than 3 rows"):
        limited.decode_response(message("outputs", [texts]), 4)


def fixed(values: bytes, datatype: str = "FP64", shape: tuple[int, ...] = (2,)) -> Message:
    said = {
        "name": "y",
        "datatype": datatype,
        "shape": list(shape),
        "parameters": {"binary_data_size": len(values)},
    }
    head = json.dumps({"outputs": [said]}).encode()
    return Message(head + values, None, json_length=len(head))


def test_the_payload_of_a_nan_and_a_negative_zero_outlive_a_patch_beside_them() -> None:
    odd = bytes.fromhex("010203040506f47f") + struct.pack("<d", -0.0) + struct.pack("<d", 1.5)
    before = fixed(odd, shape=(3,))
    after = codec().splice(before, 3, [Replacement(2, {"y": 2.5}, "x")])
    assert after.body == before.body[:-8] + struct.pack("<d", 2.5)
    same = [
        Replacement(0, {"y": None}, "x"),
        Replacement(1, {"y": 0.0}, "x"),
        Replacement(2, {"y": 1.5}, "x"),
    ]
    assert codec().splice(before, 3, same) is before


def test_a_value_that_rounds_to_what_is_there_changes_nothing() -> None:
    before = fixed(np.array([0.1, 0.2], "<f4").tobytes(), "FP32")
    assert codec().splice(before, 2, [Replacement(0, {"y": 0.1}, "x")]) is before


def test_a_clamp_of_whole_numbers_stays_inside_its_bound() -> None:
    before = fixed(np.array([9, -9], "<i4").tobytes(), "INT32")
    patch = [Replacement(0, {"y": 7.5}, "clamp"), Replacement(1, {"y": -7.5}, "clamp")]
    after = codec().splice(before, 2, patch)
    assert after.body[-8:] == np.array([7, -7], "<i4").tobytes()


@pytest.mark.parametrize(
    ("datatype", "new"),
    [
        ("INT32", 3.5),
        ("INT8", 128),
        ("UINT64", -1),
        ("FP32", 1e300),
        ("INT64", None),
        ("FP64", "a"),
        ("BOOL", 1),
    ],
)
def test_a_replacement_that_the_type_cannot_hold_is_refused(datatype: str, new: Any) -> None:
    size = np.dtype(CODES[datatype]).itemsize
    before = fixed(bytes(2 * size), datatype)
    with pytest.raises(PatchError, match="row 1, 'y'"):
        codec().splice(before, 2, [Replacement(1, {"y": new}, "x")])
    assert codec().replacement_problem(before, 2, Replacement(1, {"y": new}, "x")) is not None


def test_a_longer_text_moves_what_stands_behind_it_and_the_length_of_the_json() -> None:
    made = [Made("a", "BYTES", (2,), ("x" * 9, "y" * 10)), Made("b", "INT64", (2,), (1, 2))]
    before = message("outputs", made)
    long = "é" * 500
    after = codec().splice(before, 2, [Replacement(0, {"a": long, "b": 7}, "x")])
    wanted = message("outputs", [made[0].changed(0, long), made[1].changed(0, 7)])
    assert after == wanted
    assert after.json_length == (before.json_length or 0) + 2  # 27 bytes became 1,018: two digits more


def test_a_head_whose_values_are_spelled_oddly_keeps_its_spelling() -> None:
    head = (
        b'{ "outputs" : [ {"name":"a","shape":[1],"datatype":"BYTES",\n "parameters":{"z":[1.50],"binary_data_size"\t: 5 }},'
        b' {"name":"b","shape":[1],"datatype":"FP64","data":[ 1e0 ]} ] }\r\n'
    )
    before = Message(head + b"\1\0\0\0x", json_length=len(head))
    after = codec().splice(before, 1, [Replacement(0, {"a": "long text", "b": 2.5}, "x")])
    new = head.replace(b"\t: 5 }", b"\t: 13 }").replace(b"[ 1e0 ]", b"[ 2.5 ]")
    assert (after.body, after.json_length) == (new + b"\x09\0\0\0long text", len(new))


def test_a_lone_matrix_takes_the_names_of_the_route() -> None:
    made = [Made("x", "FP32", (2, 3), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))]
    named = codec(features=("a", "b", "c")).decode_request(message("inputs", made))
    assert columns(named) == {"a": (1.0, 4.0), "b": (2.0, 5.0), "c": (3.0, 6.0)}


def test_the_route_names_the_outputs_and_a_patch_finds_them() -> None:
    made = [Made("o0", "FP64", (2,), (1.0, 2.0)), Made("o1", "FP64", (2, 1), (3.0, 4.0))]
    named = codec(outputs=("demand", "p10"))
    before = message("outputs", made)
    assert columns(named.decode_response(before, 2)) == {"demand": (1.0, 2.0), "p10": (3.0, 4.0)}
    after = named.splice(before, 2, [Replacement(1, {"p10": 9.0}, "x")])
    assert after == message("outputs", [made[0], made[1].changed(1, 9.0)])
    assert after.body[:-8] == before.body[:-8]


def test_names_that_the_outputs_carry_already_stay_where_they_are() -> None:
    made = [Made("a", "FP64", (2,), (1.0, 2.0)), Made("b", "FP64", (2,), (3.0, 4.0))]
    table = codec(outputs=("b", "a")).decode_response(message("outputs", made), 2)
    assert columns(table) == {"a": (1.0, 2.0), "b": (3.0, 4.0)}


def test_without_a_batch_axis_a_message_is_one_row() -> None:
    made = [Made("x", "FP32", (4,), (1.0, 2.0, 3.0, 4.0))]
    one = codec(batch_axis=False)
    table = one.decode_request(message("inputs", made))
    assert (table.rows, columns(table)) == (1, {f"f{at}": (at + 1.0,) for at in range(4)})
    answer = message("outputs", made)
    assert columns(one.decode_response(answer, 1)) == {"x": ((1.0, 2.0, 3.0, 4.0),)}
    after = one.splice(answer, 1, [Replacement(0, {"x": (1.0, 2.0, 9.0, 4.0)}, "x")])
    assert after == message("outputs", [made[0].changed(2, 9.0)])


def test_a_response_of_other_rows_is_unaligned() -> None:
    with pytest.raises(UnalignedError):
        codec().decode_response(message("outputs", [Made("y", "FP64", (3,), (1.0, 2.0, 3.0))]), 2)


def test_a_signalling_nan_is_a_missing_value() -> None:
    signalling = bytes.fromhex("010000000000f07f")
    for count in (1, 2, 40):
        values = signalling * count
        table = codec().decode_response(fixed(values, shape=(count,)), count)
        assert columns(table) == {"y": (None,) * count}
        assert (table.block + 1.0).shape == (1, count)
    said = [Made("a", "FP32", (40,), (0.0,) * 40), Made("b", "FP64", (40,), (0.0,) * 40)]
    two = message("outputs", said)
    body = two.body[: two.json_length] + b"\1\0\x80\x7f" * 40 + signalling * 40
    table = codec().decode_response(two._replace(body=body), 40)
    assert np.isnan(table.block + 1.0).all()


def raw(body: bytes, *inputs: Column, batch_axis: bool = True) -> Table:
    made = codec(signature=Signature(inputs) if inputs else None, batch_axis=batch_axis)
    return made.decode_request(Message(body, "application/octet-stream", json_length=0))


def test_a_raw_request_is_read_by_the_models_signature() -> None:
    body = np.array([[1, 2], [3, 4], [5, 6]], "<f4").tobytes()
    assert columns(raw(body, Column("x", "FP32", 2))) == {"f0": (1.0, 3.0, 5.0), "f1": (2.0, 4.0, 6.0)}
    assert columns(raw(body, Column("x", "FP32"))) == {"x": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)}
    assert raw(body, Column("x", "FP32", 6), batch_axis=False).rows == 1
    assert columns(raw("é".encode(), Column("x", "BYTES"))) == {"x": ("é",)}


@pytest.mark.parametrize("body", [b"", b"\0" * 9, b"\0" * 7])
def test_a_raw_request_without_whole_rows_is_undecodable(body: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        raw(body, Column("x", "FP32", 2))
    assert not isinstance(caught.value, OpaqueError)


@pytest.mark.parametrize(
    "inputs", [(), (Column("x", "FP32", 0),), (Column("x", "FP32"), Column("y", "FP32"))], ids=repr
)
def test_a_raw_request_of_unknown_type_is_opaque(inputs: tuple[Column, ...]) -> None:
    with pytest.raises(OpaqueError):
        raw(bytes(8), *inputs)


def test_a_raw_request_that_is_an_image_is_opaque() -> None:
    with pytest.raises(OpaqueError):
        raw(b"\xff\xd8\xff\xe0", Column("x", "BYTES"))


GOOD: Final = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}}]}'
ONE: Final = struct.pack("<d", 1.0)


def sent(head: bytes, tail: bytes = ONE, length: int | None = None) -> Message:
    return Message(head + tail, json_length=len(head) if length is None else length)


def with_size(size: bytes) -> bytes:
    return GOOD.replace(b":8}", b":" + size + b"}")


UNDECODABLE: Final = {
    "a length that could not be read": sent(GOOD, length=-1),
    "a length beyond the body": sent(GOOD, length=len(GOOD) + 9),
    "a length that cuts the JSON": sent(GOOD, length=len(GOOD) - 1),
    "a length that takes a byte of the data": sent(GOOD, length=len(GOOD) + 1),
    "a length of nothing but the data": sent(b"", ONE, length=8),
    "bytes left over": sent(GOOD, ONE + b"\0"),
    "bytes too few": sent(GOOD, ONE[:-1]),
    "no bytes": sent(GOOD, b""),
    "a size that is not the shape's": sent(with_size(b"7"), ONE[:7]),
    "a negative size": sent(with_size(b"-8")),
    "a size with a fraction": sent(with_size(b"8.0")),
    "a size in words": sent(with_size(b'"8"')),
    "a size that is yes": sent(with_size(b"true"), b"\0"),
    "no size": sent(with_size(b"null")),
    "a huge size": sent(with_size(b"9" * 30)),
    "a size of 2^64 + 8": sent(with_size(str(2**64 + 8).encode())),
    "a size of more digits than are read": sent(with_size(b"9" * 5000)),
    "the size twice": sent(with_size(b'8,"binary_data_size":8')),
    "data twice": sent(GOOD.replace(b'"FP64",', b'"FP64","data":[1.0],')),
    "data twice, null": sent(GOOD.replace(b'"FP64",', b'"FP64","data":null,')),
    "inputs twice": sent(GOOD[:-1] + b',"inputs":[]}'),
    "shape twice": sent(GOOD.replace(b'"shape":[1]', b'"shape":[1],"shape":[1]')),
    "an unknown datatype": sent(GOOD.replace(b"FP64", b"FP63")),
    "another datatype": sent(GOOD.replace(b"FP64", b"FP32")),
    "a huge shape": sent(GOOD.replace(b"[1]", b"[4611686018427387904,4]")),
    "a shape whose product wraps to one": sent(GOOD.replace(b"[1]", b"[4294967296,4294967296,1]")),
    "a negative shape": sent(GOOD.replace(b"[1]", b"[-1,-1]")),
    "a shape of 33 axes": sent(GOOD.replace(b"[1]", str([1] * 33).encode())),
    "a shape of many huge sizes": sent(GOOD.replace(b"[1]", str([2**60] * 100_000).encode())),
    "no shape": sent(GOOD.replace(b'"shape":[1],', b"")),
    "JSON that is not UTF-8": sent(GOOD.replace(b'"x"', b'"\xff"')),
    "a byte order mark": sent(b"\xef\xbb\xbf" + GOOD),
    "half a surrogate pair": sent(GOOD.replace(b'"x"', b'"\\ud800"')),
    "nesting of 100,000": sent(GOOD[:-1] + b',"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a yes/no that is neither": sent(GOOD.replace(b"FP64", b"BOOL").replace(b":8}", b":1}"), b"\2"),
    "texts whose lengths lie": sent(GOOD.replace(b"FP64", b"BYTES"), b"\xff\xff\xff\xffabcd"),
    "another text behind": sent(GOOD.replace(b"FP64", b"BYTES"), b"\0\0\0\0\0\0\0\0"),
    "no header": Message(GOOD + ONE),
    "no header and no bytes": Message(GOOD),
    "no header, with data": Message(GOOD.replace(b'"FP64",', b'"FP64","data":[1.0],')),
    "an unread array": sent(b"[]"),
}


@pytest.mark.parametrize("name", UNDECODABLE)
def test_what_does_not_add_up_is_undecodable(name: str) -> None:
    bad = UNDECODABLE[name]
    with pytest.raises(DecodeError) as caught:
        codec().decode_request(bad)
    assert not isinstance(caught.value, OpaqueError)
    answer = bad._replace(body=bad.body.replace(b'"inputs"', b'"outputs"'))
    if bad.json_length is not None and bad.json_length > 0:
        answer = answer._replace(json_length=bad.json_length + (len(answer.body) - len(bad.body)))
    with pytest.raises(DecodeError) as caught:
        codec().decode_response(answer, 1)
    assert not isinstance(caught.value, (OpaqueError, UnalignedError))
    with pytest.raises(DecodeError):
        codec().splice(answer, 1, [Replacement(0, {"x": 2.0}, "x")])


def test_the_message_that_the_hostile_ones_are_made_of_is_good() -> None:
    assert columns(codec().decode_request(sent(GOOD))) == {"x": (1.0,)}


OPAQUE: Final = {
    "shared memory": sent(GOOD.replace(b'"binary_data_size":8', b'"shared_memory_region":"r"'), b""),
    "shared memory beside other bytes": sent(
        GOOD.replace(b'"binary_data_size":8', b'"binary_data_size":8,"shared_memory_region":"r"')
    ),
    "an image of BYTES": sent(GOOD.replace(b"FP64", b"BYTES"), b"\4\0\0\0\xff\xd8\xff\xe0"),
    "an image of numbers": sent(GOOD.replace(b"[1]", b"[1,2,2]").replace(b":8}", b":32}"), ONE * 4),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_is_legal_and_no_rows_is_opaque(name: str) -> None:
    with pytest.raises(OpaqueError):
        codec().decode_request(OPAQUE[name])


X = {"f0": (0.038, -0.0018), "f1": (0.061, -0.05), "f2": (0.021, -0.026), "f3": (0.019, -0.068)}
CAPTURED: Final = {
    "oip_v2_kserve/triton_default_binary#0": X,
    "oip_v2_kserve/triton_bin_in_json_out#0": X,
    "oip_v2_kserve/triton_fp32_bin#0": {
        name: tuple(float(np.float32(cell)) for cell in cells) for name, cells in X.items()
    },
    "oip_v2_kserve/sdk_v2_json#1": X,
    "oip_v2_kserve/sdk_v2_json#2": X,
}


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_exchange_is_read_and_patched_in_one_row_only(name: str) -> None:
    exchange = exchanges()[name]
    request, response = (
        Message(
            side.content,
            side.get("content-type"),
            json_length=int(length) if (length := side.get("inference-header-content-length")) else None,
        )
        for side in (exchange.request, exchange.response)
    )
    assert columns(codec().decode_request(request)) == CAPTURED[name]
    predicted = codec().decode_response(response, 2)
    (field,) = predicted.fields
    assert codec().splice(response, 2, [Replacement(0, {field: predicted.cell(field, 0)}, "x")]) is response
    after = codec().splice(response, 2, [Replacement(0, {field: 12.5}, "x")])
    again = codec().decode_response(after, 2)
    assert again.column(field) == (12.5, predicted.cell(field, 1))
    if response.json_length is not None:
        assert len(after.body) == len(response.body)
        changed = [
            at for at, (one, two) in enumerate(zip(after.body, response.body, strict=True)) if one != two
        ]
        assert set(changed) <= set(range(response.json_length, response.json_length + 8))
