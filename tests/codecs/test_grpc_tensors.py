"""ModelInfer's messages as rows: both styles of contents, what is refused, and what a patch changes."""

from __future__ import annotations

import math
import re
import struct
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.codecs.grpc_tensors import GRPC, model_of
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError, UnalignedError
from guardproxy.message import Message
from tests.harness.grpc_messages import T, infer_request, infer_response, number, raw, sized, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guardproxy.table import Table

STYLES = pytest.mark.parametrize(
    "style",
    [{"typed": False}, {"typed": True}, {"typed": True, "packed": False}],
    ids=["raw", "packed", "unpacked"],
)
VALUES: Mapping[str, Sequence[Any]] = {
    "BOOL": [True, False],
    "INT8": [-128, 127],
    "INT16": [-32768, 32767],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [2**53 + 1, 2**64 - 1],
    "FP32": [0.5, -1.25],
    "FP64": [0.1, 1e300],
    "BYTES": ["", "é€"],
}


def message(body: bytes) -> Message:
    return Message(body, GRPC)


def codec(**options: Any) -> Any:
    return make_codec("open-inference", CodecOptions(**options))


def request(body: bytes, **options: Any) -> Table:
    return codec(**options).decode_request(message(body))


def response(body: bytes, rows: int | None = 2, **options: Any) -> Table:
    return codec(**options).decode_response(message(body), rows)


def patched(body: bytes, rows: int, *patch: Replacement, **options: Any) -> bytes:
    return codec(**options).splice(message(body), rows, patch).body


def columns(table: Table) -> dict[str, list[Any]]:
    return {name: list(table.column(name)) for name in table.fields}


# -------------------------------------------------------------------- reading


@STYLES
@pytest.mark.parametrize("datatype", VALUES)
def test_a_column_of_every_datatype_is_read_exactly_in_every_style(
    datatype: str, style: dict[str, bool]
) -> None:
    values = VALUES[datatype]
    both = infer_request(T("a", datatype, [2, 1], values), T("b", "FP64", [2], [1.0, 2.0]), **style)
    assert columns(request(both)) == {"a": list(values), "b": [1.0, 2.0]}
    assert columns(response(infer_response(T("a", datatype, [2], values), **style))) == {"a": list(values)}


@STYLES
@pytest.mark.parametrize("rows", [1, 40])
def test_a_matrix_takes_the_names_of_the_route(rows: int, style: dict[str, bool]) -> None:
    numbers = [float(i) for i in range(rows * 3)]
    table = request(infer_request(T("x", "FP32", [rows, 3], numbers), **style), features=("a", "b", "c"))
    assert columns(table) == {"a": numbers[::3], "b": numbers[1::3], "c": numbers[2::3]}
    whole = [i - 50 for i in range(rows * 3)]
    table = request(infer_request(T("x", "INT16", [rows, 3], whole), **style))
    assert columns(table) == {"f0": whole[::3], "f1": whole[1::3], "f2": whole[2::3]}


def test_half_precision_has_raw_contents_only() -> None:
    body = infer_response(T("y", "FP16", [2], [0.5, 65504.0]), typed=False)
    assert columns(response(body)) == {"y": [0.5, 65504.0]}
    entry = sized(1, "y") + sized(2, "FP16") + sized(3, b"\x02") + sized(5, sized(6, bytes(8)))
    with pytest.raises(DecodeError, match="not of its datatype"):
        response(sized(5, entry))


@STYLES
def test_a_vector_per_row_is_one_field_and_the_routes_names_split_it(style: dict[str, bool]) -> None:
    body = infer_response(T("p", "FP64", [2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), **style)
    assert columns(response(body)) == {"p": [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)]}
    assert columns(response(body, outputs=("a", "b", "c"))) == {
        "a": [1.0, 4.0],
        "b": [2.0, 5.0],
        "c": [3.0, 6.0],
    }


def test_a_response_to_an_opaque_request_counts_its_rows_itself() -> None:
    assert response(infer_response(T("y", "FP64", [3], [1.0, 2.0, 3.0])), None).rows == 3


def test_without_a_batch_axis_a_message_is_one_row() -> None:
    table = request(infer_request(T("x", "FP64", [3], [1.0, 2.0, 3.0])), batch_axis=False)
    assert columns(table) == {"f0": [1.0], "f1": [2.0], "f2": [3.0]}


def test_the_model_is_told_without_reading_the_rest() -> None:
    body = infer_request(T("x", "FP64", [1], [1.0]), model="a b", version="3")
    assert model_of(body) == ("a b", "3")
    assert model_of(b"") == ("", "")


def test_fields_that_nobody_knows_pass_and_change_nothing() -> None:
    unknown = number(4096, 7) + sized(77, "text") + tag(99, 1) + bytes(8)
    entry = sized(1, "y") + sized(2, "FP64") + number(3, 1) + unknown + sized(5, unknown + sized(7, bytes(8)))
    body = unknown + sized(5, entry) + unknown
    assert columns(response(body, 1)) == {"y": [0.0]}
    after = patched(body, 1, Replacement(0, {"y": 1.5}, "value"))
    assert after == body.replace(sized(7, bytes(8)), sized(7, struct.pack("<d", 1.5)))


def test_a_header_cannot_choose_this_container() -> None:
    body = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[4]}]}'
    table = codec().decode_request(Message(body, "application/grpc"))
    assert columns(table) == {"x": [4.0]}


def test_an_empty_batch_has_no_rows() -> None:
    for typed in (False, True):
        assert (
            request(infer_request(T("a", "FP64", [0], []), T("b", "BYTES", [0], []), typed=typed)).rows == 0
        )


# -------------------------------------------------------------------- refusing


def entry_of(*more: bytes, name: str = "y", datatype: str = "FP64", shape: bytes | None = None) -> bytes:
    return (
        sized(1, name) + sized(2, datatype) + (sized(3, b"\x01") if shape is None else shape) + b"".join(more)
    )


ONE = sized(5, sized(7, bytes(8)))
BAD = {
    "no tensors": (sized(1, "demand"), "no 'inputs'"),
    "a name twice": (sized(1, "a") + sized(1, "a") + sized(5, entry_of(ONE)), "twice"),
    "an id that is a number": (number(3, 1) + sized(5, entry_of(ONE)), "another type"),
    "a tensor that is a number": (number(5, 1), "another type"),
    "parameters that are a number": (number(4, 1) + sized(5, entry_of(ONE)), "another type"),
    "a raw content that is a number": (sized(5, entry_of()) + number(7, 1), "another type"),
    "no name": (sized(5, sized(2, "FP64") + number(3, 1) + ONE), "no name"),
    "no datatype": (sized(5, sized(1, "x") + number(3, 1) + ONE), "no datatype"),
    "a datatype twice": (sized(5, entry_of(sized(2, "FP64"), ONE)), "twice"),
    "contents twice": (sized(5, entry_of(ONE, ONE)), "twice"),
    "an unknown datatype": (sized(5, entry_of(ONE, datatype="FP99")), "does not know"),
    "no shape": (sized(5, entry_of(ONE, shape=b"")), "shape"),
    "a negative size": (sized(5, entry_of(ONE, shape=number(3, -1))), "shape"),
    "sizes beyond all bounds": (sized(5, entry_of(ONE, shape=number(3, 2**62) * 2)), "shape"),
    "a shape of text": (sized(5, entry_of(ONE, shape=tag(3, 5) + bytes(4))), "shape"),
    "many axes": (sized(5, entry_of(ONE, shape=number(3, 1) * 40)), "axes"),
    "many packed axes": (sized(5, entry_of(ONE, shape=sized(3, b"\x01" * 400))), "axes"),
    "a cut dimension": (sized(5, entry_of(ONE, shape=sized(3, b"\x80"))), "cut short"),
    "other contents": (sized(5, entry_of(sized(5, sized(6, bytes(4))))), "not of its datatype"),
    "two kinds of contents": (
        sized(5, entry_of(sized(5, sized(7, bytes(8)) + number(1, 1)))),
        "not of its datatype",
    ),
    "contents of another wire type": (sized(5, entry_of(sized(5, number(7, 1)))), "not of its datatype"),
    "half a number": (sized(5, entry_of(sized(5, sized(7, bytes(4))))), "more or fewer"),
    "too many values": (sized(5, entry_of(sized(5, sized(7, bytes(16))))), "more or fewer"),
    "too few values": (sized(5, entry_of()), "more or fewer"),
    "too many texts": (sized(5, entry_of(sized(5, sized(8, "a") * 2), datatype="BYTES")), "more or fewer"),
    "too many whole numbers": (
        sized(5, entry_of(sized(5, sized(3, b"\x01\x02")), datatype="INT64")),
        "more or fewer",
    ),
    "a yes/no of two": (sized(5, entry_of(sized(5, number(1, 2)), datatype="BOOL")), "outside"),
    "an INT8 of 128": (sized(5, entry_of(sized(5, number(2, 128)), datatype="INT8")), "outside"),
    "an INT32 that others cut": (sized(5, entry_of(sized(5, number(2, 2**32)), datatype="INT32")), "outside"),
    "a UINT32 that others cut": (
        sized(5, entry_of(sized(5, number(4, 2**32)), datatype="UINT32")),
        "outside",
    ),
    "raw and typed": (sized(5, entry_of(ONE)) + sized(7, bytes(8)), "both raw and typed"),
    "more raw contents than tensors": (sized(5, entry_of()) + sized(7, bytes(8)) * 2, "raw contents"),
    "fewer raw contents than tensors": (
        sized(5, entry_of()) + sized(5, entry_of(name="z")) + sized(7, bytes(8)),
        "raw contents",
    ),
    "a raw content of another size": (sized(5, entry_of()) + sized(7, bytes(9)), "more or fewer"),
    "lying lengths": (sized(5, entry_of(datatype="BYTES")) + sized(7, b"\xff\xff\xff\xff"), "lengths"),
    "two inputs of one name": (sized(5, entry_of(ONE)) * 2, "names"),
    "other numbers of rows": (
        sized(5, entry_of(ONE))
        + sized(5, entry_of(sized(5, sized(7, bytes(16))), name="z", shape=number(3, 2))),
        "numbers of rows",
    ),
    "bytes that are no message": (b"\xff\xfe\xfd", "cut short"),
    "a JSON document": (b'{"inputs": []}', "not in use"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_request_that_can_be_read_in_two_ways_or_none_is_undecodable(case: str) -> None:
    body, why = BAD[case]
    with pytest.raises(DecodeError, match=re.escape(why)) as caught:
        request(body)
    assert caught.value.reason == "undecodable"


@pytest.mark.parametrize(
    "body",
    [
        sized(5, entry_of(sized(4, sized(1, "shared_memory_region") + sized(2, sized(3, "r0"))))),
        sized(5, entry_of(datatype="BYTES")) + sized(7, raw("BYTES", [b"\xff\xd8"])),
        sized(5, entry_of(sized(5, sized(8, b"\xff\xd8")), datatype="BYTES")),
        sized(5, entry_of(sized(5, sized(7, bytes(96))), shape=sized(3, b"\x01\x02\x02\x03"))),
    ],
    ids=["shared memory", "a raw image", "an image", "a higher rank"],
)
def test_a_legal_request_without_visible_rows_is_opaque(body: bytes) -> None:
    with pytest.raises(OpaqueError):
        request(body)


def test_a_response_in_shared_memory_is_opaque() -> None:
    with pytest.raises(OpaqueError, match="shared memory"):
        response(sized(5, entry_of(sized(4, sized(1, "shared_memory_region") + sized(2, sized(3, "r0"))))), 1)


def test_a_response_of_other_rows_is_unaligned() -> None:
    with pytest.raises(UnalignedError):
        response(infer_response(T("y", "FP64", [3], [1.0, 2.0, 3.0])))


def test_more_rows_than_the_limit_are_undecodable() -> None:
    with pytest.raises(DecodeError, match="more than 2 rows"):
        request(infer_request(T("x", "FP64", [3, 1], [1.0, 2.0, 3.0])), max_rows=2)
    with pytest.raises(DecodeError, match="more than 2 rows"):
        response(infer_response(T("y", "FP64", [3], [1.0, 2.0, 3.0])), None, max_rows=2)


@given(
    st.binary(max_size=80)
    | st.binary(max_size=40).map(lambda b: sized(5, b))
    | st.builds(sized, st.integers(1, 9), st.binary(max_size=30))
)
def test_whatever_the_bytes_a_message_is_rows_or_undecodable(body: bytes) -> None:
    for read in (lambda: request(body), lambda: response(body), lambda: model_of(body)):
        with suppress(DecodeError):
            read()


@given(st.data())
def test_a_damaged_message_is_rows_or_undecodable(data: st.DataObject) -> None:
    style = data.draw(st.sampled_from([{"typed": False}, {"typed": True}, {"typed": True, "packed": False}]))
    body = bytearray(
        infer_response(
            T("y", "FP64", [2], [1.0, 2.0]),
            T("n", "INT64", [2], [1, 300]),
            T("t", "BYTES", [2], ["a", "b"]),
            **style,
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(body[: data.draw(st.integers(0, len(body)))])
    for one in (bytes(body), cut):
        try:
            table = response(one)
            patched(
                one, table.rows, Replacement(0, {table.fields[0]: table.cell(table.fields[0], 1)}, "value")
            )
        except (DecodeError, PatchError):
            pass


STYLED = ({"typed": False}, {"typed": True}, {"typed": True, "packed": False})


@given(st.data())
def test_a_codec_that_knows_a_tensors_head_reads_it_as_one_that_does_not(data: st.DataObject) -> None:
    def bodies(numbers: list[float], text: str) -> list[bytes]:
        tensors = (
            T("y", "FP64", [2], numbers),
            T("n", "INT64", [2], [1, 300]),
            T("t", "BYTES", [2], [text, "b"]),
        )
        return [infer_request(*tensors, **style) for style in STYLED]

    warm = codec()
    for body in bodies([1.0, 2.0], "a"):
        warm.decode_request(message(body))
    damaged = bytearray(data.draw(st.sampled_from(bodies([3.0, 4.0], data.draw(st.text(max_size=3))))))
    for _ in range(data.draw(st.integers(0, 2))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    def outcome(made: Any) -> Any:
        try:
            return columns(made.decode_request(message(bytes(damaged))))
        except DecodeError as error:
            return type(error), str(error)

    # As text, in which a NaN is like itself.
    assert repr(outcome(warm)) == repr(outcome(codec()))


# -------------------------------------------------------------------- patching


def test_a_number_of_fixed_width_is_overwritten_in_place() -> None:
    for style in ({"typed": False}, {"typed": True}, {"typed": True, "packed": False}):
        for datatype, width in (("FP32", 4), ("FP64", 8)):
            body = infer_response(T("y", datatype, [40], [float(i) for i in range(40)]), **style)
            after = patched(body, 40, Replacement(7, {"y": 0.1}, "value"))
            changed = [at for at, (a, b) in enumerate(zip(body, after, strict=True)) if a != b]
            assert len(after) == len(body)
            assert 0 < len(changed) <= width
            assert changed[-1] - changed[0] < width
            assert columns(response(after, 40))["y"][7] == (
                0.1 if width == 8 else float(struct.unpack("<f", struct.pack("<f", 0.1))[0])
            )


@STYLES
def test_texts_and_whole_numbers_may_become_longer_and_shorter(style: dict[str, bool]) -> None:
    def body(texts: list[str], numbers: list[int]) -> bytes:
        return infer_response(
            T("t", "BYTES", [3], texts), T("n", "INT64", [3, 1], numbers), tail=sized(99, "tail"), **style
        )

    before = body(["a", "b" * 200, ""], [1, -5, 2**40])
    after = patched(
        before,
        3,
        Replacement(0, {"t": "é" * 300, "n": 2**62}, "value"),
        Replacement(1, {"t": ""}, "value"),
        Replacement(2, {"n": 3.0}, "value"),
    )
    assert after == body(["é" * 300, "", ""], [2**62, -5, 3])


def test_a_patch_that_changes_nothing_gives_the_same_object() -> None:
    for typed in (False, True):
        before = message(
            infer_response(
                T("y", "FP32", [2], [0.1, 2.0]),
                T("n", "INT8", [2], [1, 2]),
                T("t", "BYTES", [2], ["a", "b"]),
                typed=typed,
            )
        )
        made = codec()
        nearest = made.decode_response(before, 2).cell("y", 0)
        for values in ({"y": nearest}, {"y": 0.1}, {"n": 1.0}, {"t": "a"}, {}):
            assert made.splice(before, 2, (Replacement(0, values, "value"),)) is before


@pytest.mark.parametrize(
    ("datatype", "new"),
    [
        ("INT64", 3.5), ("INT64", math.nan), ("INT64", None), ("INT64", 2**63), ("INT8", 128), ("UINT8", -1),
        ("FP32", 1e300), ("FP32", "1"), ("BYTES", 1), ("BYTES", None), ("BYTES", "\ud800"), ("BOOL", 1), ("FP64", (1.0, 2.0)),
    ],
)  # fmt: skip
@STYLES
def test_a_value_that_the_datatype_cannot_hold_is_refused(
    datatype: str, new: Any, style: dict[str, bool]
) -> None:
    body = infer_response(T("y", datatype, [2], VALUES[datatype]), **style)
    with pytest.raises(PatchError, match="row 1, 'y'"):
        patched(body, 2, Replacement(1, {"y": new}, "value"))


def test_a_field_or_a_row_that_is_not_there_is_refused() -> None:
    body = infer_response(T("y", "FP64", [2], [1.0, 2.0]))
    with pytest.raises(PatchError, match="no such prediction"):
        patched(body, 2, Replacement(1, {"z": 1.0}, "value"))
    with pytest.raises(PatchError, match="no row 2"):
        patched(body, 2, Replacement(2, {"y": 1.0}, "value"))


def test_a_missing_number_is_nan_and_a_clamped_whole_number_stays_inside_its_bound() -> None:
    body = infer_response(T("y", "FP64", [1], [1.0]), T("n", "INT64", [1], [99]))
    after = patched(body, 1, Replacement(0, {"y": None, "n": 10.5}, "clamp"))
    assert columns(response(after, 1)) == {"y": [None], "n": [10.0]}


def test_a_vector_is_replaced_whole_or_by_the_routes_names() -> None:
    for style in ({"typed": False}, {"typed": True}, {"typed": True, "packed": False}):
        body = infer_response(T("p", "FP64", [2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), **style)
        want = infer_response(T("p", "FP64", [2, 3], [1.0, 2.0, 3.0, 7.0, 8.0, 9.0]), **style)
        assert patched(body, 2, Replacement(1, {"p": (7.0, 8.0, 9.0)}, "value")) == want
        one = infer_response(T("p", "FP64", [2, 3], [1.0, 2.0, 3.0, 4.0, 8.0, 6.0]), **style)
        assert patched(body, 2, Replacement(1, {"b": 8.0}, "value"), outputs=("a", "b", "c")) == one


def numbers_of(datatype: str) -> st.SearchStrategy[Any]:
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BYTES":
        return st.text(max_size=150)
    if datatype in {"FP32", "FP64"}:
        return st.floats(width=32 if datatype == "FP32" else 64, allow_nan=False)
    bits, signed = int(datatype.lstrip("UINT")), datatype[0] == "I"
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, list[T]]:
    rows = draw(st.integers(1, 4) | st.just(40))
    made = []
    for at in range(draw(st.integers(1, 4))):
        datatype = draw(st.sampled_from(list(VALUES)))
        values = draw(st.lists(numbers_of(datatype), min_size=rows, max_size=rows))
        shape = draw(st.sampled_from([[rows], [rows, 1], [rows, 1, 1]]))
        more = draw(
            st.sampled_from(
                [b"", sized(4, sized(1, "content_type") + sized(2, sized(3, "np"))), number(90, 1)]
            )
        )
        made.append(T(f"t{at}", datatype, shape, values, more))
    return rows, made


def same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@given(tables(), st.data())
def test_what_was_written_is_read_and_a_patch_is_what_had_been_written_with_it(
    table: tuple[int, list[T]], data: st.DataObject
) -> None:
    rows, tensors = table
    style = data.draw(st.sampled_from([{"typed": False}, {"typed": True}, {"typed": True, "packed": False}]))
    body = infer_response(*tensors, **style)
    read = columns(response(body, rows))
    assert list(read) == [one.name for one in tensors]
    for one in tensors:
        assert all(same(a, b) for a, b in zip(read[one.name], one.values, strict=True))
    row = data.draw(st.integers(0, rows - 1))
    chosen = data.draw(st.sets(st.sampled_from(range(len(tensors)))))
    news = {at: data.draw(numbers_of(tensors[at].datatype)) for at in chosen}
    # Zero and minus zero are one number: the server's own spelling stays.
    news = {
        at: tensors[at].values[row] if tensors[at].values[row] == new else new for at, new in news.items()
    }
    changed = [
        one._replace(values=[news[at] if i == row and at in news else v for i, v in enumerate(one.values)])
        for at, one in enumerate(tensors)
    ]
    patch = Replacement(row, {tensors[at].name: new for at, new in news.items()}, "value")
    assert patched(body, rows, patch) == infer_response(*changed, **style)


def test_the_harness_writes_what_protobuf_itself_writes() -> None:
    message_of = _classes()
    values = {**VALUES, "FP64": [0.1, 2.5]}
    for datatype, field in {
        "BOOL": "bool",
        "INT32": "int",
        "INT64": "int64",
        "UINT32": "uint",
        "UINT64": "uint64",
        "FP32": "fp32",
        "FP64": "fp64",
        "BYTES": "bytes",
    }.items():
        theirs = message_of("ModelInferResponse", model_name="demand", model_version="1")
        entry = theirs.outputs.add(name="y", datatype=datatype, shape=[2, 1])
        texts = [v.encode() if isinstance(v, str) else v for v in values[datatype]]
        getattr(entry.contents, f"{field}_contents").extend(texts)
        ours = infer_response(T("y", datatype, [2, 1], values[datatype]))
        assert theirs.SerializeToString() == ours
        after = patched(ours, 2, Replacement(1, {"y": values[datatype][0]}, "value"))
        read = message_of("ModelInferResponse")
        read.ParseFromString(after)
        assert list(getattr(read.outputs[0].contents, f"{field}_contents")) == [texts[0]] * 2
    theirs = message_of("ModelInferRequest", model_name="demand", model_version="2", id="id-1")
    theirs.inputs.add(name="x", datatype="FP64", shape=[2])
    theirs.raw_input_contents.append(raw("FP64", [1.0, 2.0]))
    assert theirs.SerializeToString() == infer_request(
        T("x", "FP64", [2], [1.0, 2.0]), version="2", typed=False
    )


def _classes() -> Any:
    """Return a maker of the protocol's own messages, built by the protobuf library from their description."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="guardproxy_test.proto", package="inference", syntax="proto3"
    )

    def add(name: str, fields: Sequence[tuple[str, int, Any, bool]]) -> None:
        made = file.message_type.add(name=name)
        for label, at, kind, many in fields:
            one = made.field.add(
                name=label, number=at, label=kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL
            )
            if isinstance(kind, str):
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".inference.{kind}"
            else:
                one.type = kind

    text, data = kinds.TYPE_STRING, kinds.TYPE_BYTES
    typed = [
        kinds.TYPE_BOOL,
        kinds.TYPE_INT32,
        kinds.TYPE_INT64,
        kinds.TYPE_UINT32,
        kinds.TYPE_UINT64,
        kinds.TYPE_FLOAT,
        kinds.TYPE_DOUBLE,
        data,
    ]
    names = ["bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes"]
    add(
        "Contents",
        [
            (f"{name}_contents", at, kind, True)
            for at, (name, kind) in enumerate(zip(names, typed, strict=True), 1)
        ],
    )
    add(
        "Tensor",
        [
            ("name", 1, text, False),
            ("datatype", 2, text, False),
            ("shape", 3, kinds.TYPE_INT64, True),
            ("contents", 5, "Contents", False),
        ],
    )
    lead = [("model_name", 1, text, False), ("model_version", 2, text, False), ("id", 3, text, False)]
    add("ModelInferRequest", [*lead, ("inputs", 5, "Tensor", True), ("raw_input_contents", 7, data, True)])
    add("ModelInferResponse", [*lead, ("outputs", 5, "Tensor", True), ("raw_output_contents", 6, data, True)])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    def message_of(name: str, **values: Any) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))(**values)

    return message_of


def test_a_large_hostile_message_is_read_in_bounded_memory() -> None:
    body = b"\x20\x01" * 300_000
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            request(body)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()
