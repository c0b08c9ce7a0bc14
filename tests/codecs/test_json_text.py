import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.codecs import PROTOCOLS, Codec, CodecOptions, make_codec
from guardproxy.codecs.json_text import DEFAULT_PARSER, JsonReader
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.message import Message
from tests.codecs.conftest import MakeCodec

BIG = 2**53 + 1

REFUSED: dict[str, bytes] = {
    "100,000 brackets": b"[" * 100_000 + b"]" * 100_000,
    "1,025 objects": b'{"a":' * 1025 + b"1" + b"}" * 1025,
    "65 arrays": b"[" * 65 + b"]" * 65,
    "unclosed brackets": b"[" * 100_000,
    "5,000 digits": b"1" * 5000,
    "310 digits": b"9" * 310,
    "1e400": b"1e400",
    "-1e400": b"-1e400",
    "lone surrogate": b'"\\ud800"',
    "lone low surrogate": b'"\\uDC00 x"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "invalid UTF-8": b'"\xff"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without mark": '{"a": 1}'.encode("utf-16-le"),
    "UTF-32": '{"a": 1}'.encode("utf-32-le"),
    "trailing word": b"{} x",
    "two documents": b"{}{}",
    "trailing NUL": b"{}\0",
    "trailing comma": b"[1,]",
    "leading zero": b"[01]",
    "plus": b"[+1]",
    "comment": b"// x\n{}",
    "single quotes": b"{'a': 1}",
    "empty": b"",
    "blanks": b" \n ",
    "bare word": b"nan",
    "negative NaN": b"[-NaN]",
    "control character": b'"a\nb"',
    "form feed": b"[1,\x0c2]",
}

WRAPPED = {"mlflow": "instances", "kserve-v1": "instances"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_strict_json_is_undecodable(name: str) -> None:
    with pytest.raises(DecodeError):
        JsonReader().exact(REFUSED[name])


@pytest.mark.parametrize("protocol", WRAPPED)
@pytest.mark.parametrize("name", REFUSED)
def test_hostile_cells_are_undecodable_in_both_directions(make: MakeCodec, protocol: str, name: str) -> None:
    codec = make(protocol)
    for padding in (b"", b" " * 9000):
        request = b'{"instances": [[' + REFUSED[name] + padding + b"]]}"
        response = b'{"predictions": [' + REFUSED[name] + padding + b"]}"
        if name in {"empty", "blanks"}:
            continue  # an empty list is valid JSON
        with pytest.raises(DecodeError):
            codec.decode_request(Message(request))
        with pytest.raises(DecodeError):
            codec.decode_response(Message(response), 1)


@pytest.mark.parametrize(
    "value", [2**53 - 1, 2**53, BIG, -BIG, 2**60 + 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**30]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_whole_numbers_stay_exact(make: MakeCodec, value: int, size: int) -> None:
    body = json.dumps({"instances": [[value, 0.5]] * size}).encode()
    table = make("mlflow").decode_request(Message(body))
    assert table.rows == size
    assert table.cell("f0", size - 1) == value
    assert table.cell("f1", 0) == 0.5
    answer = make("mlflow").decode_response(
        Message(json.dumps({"predictions": [value] * size}).encode()), size
    )
    assert answer.cell("prediction", 0) == value
    record = make("mlflow").decode_request(Message(json.dumps({"instances": [{"a": value}] * size}).encode()))
    assert record.cell("a", size - 1) == value


@pytest.mark.parametrize("size", [1, 2, 700])
def test_nan_and_the_infinities_are_read_as_such(make: MakeCodec, size: int) -> None:
    body = b'{"dataframe_split": {"columns": ["a", "b", "c", "d"], "data": ['
    body += b", ".join([b"[NaN, Infinity, -Infinity, null]"] * size) + b"]}}"
    table = make("mlflow").decode_request(Message(body))
    assert table.record(size - 1) == {"a": None, "b": math.inf, "c": -math.inf, "d": None}
    answer = make("mlflow").decode_response(
        Message(b'{"predictions": [NaN, Infinity, -Infinity, null, 1]}'), 5
    )
    assert answer.column("prediction") == (None, math.inf, -math.inf, None, 1.0)


@pytest.mark.parametrize("text", ["NaN", "a, NaN, b", "[NaN]", 'x\\" NaN'])
def test_nan_inside_text_stays_text(make: MakeCodec, text: str) -> None:
    body = json.dumps({"instances": [{"a": math.nan, "b": text}]}).encode()
    assert make("mlflow").decode_request(Message(body)).record(0) == {"a": None, "b": text}


DUPLICATES: dict[str, tuple[str, str]] = {
    "root": ("mlflow", '{"instances": [[1]], "instances": [[2]]}'),
    "escaped root": ("mlflow", '{"instances": [[1]], "inst\\u0061nces": [[2]]}'),
    "record": ("mlflow", '{"instances": [{"a": 1, "a": 2}]}'),
    "escaped in a record": ("mlflow", '{"instances": [{"a": 1, "\\u0061": 2}]}'),
    "second record": ("mlflow", '{"instances": [{"a": 1}, {"a": 1, "a": 2}]}'),
    "column": ("mlflow", '{"inputs": {"a": [1], "a": [2]}}'),
    "split": ("mlflow", '{"dataframe_split": {"columns": ["a"], "data": [[1]], "data": [[2]]}}'),
    "tensor": (
        "open-inference",
        '{"inputs": [{"name":"a","shape":[1],"datatype":"FP64","data":[1],"data":[2]}]}',
    ),
    "second tensor": (
        "open-inference",
        (
            '{"inputs": [{"name":"a","shape":[1],"datatype":"FP64","data":[1]},'
            '{"name":"b","shape":[1],"datatype":"FP64","data":[1],"data":[2]}]}'
        ),
    ),
    "inputs": (
        "open-inference",
        '{"inputs": [{"name":"a","shape":[1],"datatype":"FP64","data":[1]}], "inputs": []}',
    ),
    "colons in text": ("mlflow", '{"instances": [{"a": "1:2", "a": "::"}]}'),
    "blank before the colon": ("mlflow", '{"instances": [{"a" : 1, "a"\\n: 2}]}'.replace("\\n", "\n")),
    "two names": ("mlflow", '{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}'),
    "two tensors": (
        "open-inference",
        (
            '{"inputs": [{"name":"a","shape":[1],"datatype":"FP64","data":[1]},'
            '{"name":"a","shape":[1],"datatype":"FP64","data":[2]}]}'
        ),
    ),
}


@pytest.mark.parametrize("padding", ["", " " * 9000], ids=["small", "large"])
@pytest.mark.parametrize("name", DUPLICATES)
def test_a_key_twice_on_the_way_to_a_cell_is_undecodable(make: MakeCodec, name: str, padding: str) -> None:
    protocol, text = DUPLICATES[name]
    with pytest.raises(DecodeError):
        make(protocol).decode_request(Message((text + padding).encode()))


def test_a_key_twice_beside_the_rows_does_not_matter(make: MakeCodec) -> None:
    body = b'{"params": {"x": 1, "x": 2}, "instances": [{"a": 3}]}'
    assert make("mlflow").decode_request(Message(body)).record(0) == {"a": 3.0}


def test_a_numeric_batch_with_a_key_twice_is_undecodable(make: MakeCodec) -> None:
    rows = json.dumps([[0.5, 1.5]] * 2000)
    body = f'{{"instances": [[9, 9]], "instances": {rows}}}'.encode()
    with pytest.raises(DecodeError):
        make("mlflow").decode_request(Message(body))


@pytest.mark.parametrize("at", [0, 1, 999, 1999])
@pytest.mark.parametrize(
    "row", ["[0.5]", "[0.5, 1.5, 2.5]", "[]", "[[0.5, 1.5]]", "[[], 0.5, 1.5]", "[[0.5], 1.5]", "0.5"]
)
def test_a_ragged_or_nested_row_in_a_large_batch_is_never_flattened(
    make: MakeCodec, at: int, row: str
) -> None:
    rows = ["[0.5, 1.5]"] * 2000
    rows[at] = row
    body = f'{{"instances": [{", ".join(rows)}]}}'.encode()
    try:
        table = make("mlflow").decode_request(Message(body))
    except DecodeError:
        return
    assert row == "[[0.5], 1.5]", "only a list of one is a cell of its own"
    assert (table.cell("f0", at), table.cell("f1", at)) == (0.5, 1.5)


@pytest.mark.parametrize("cell", ["true", '"1.5"', "null", str(BIG), "{}", "1e300"])
def test_a_large_batch_with_another_cell_keeps_it(make: MakeCodec, cell: str) -> None:
    rows = ["[0.5, 1.5]"] * 2000
    rows[1234] = f"[0.5, {cell}]"
    table = make("mlflow").decode_request(Message(f'{{"instances": [{", ".join(rows)}]}}'.encode()))
    expected = "{}" if cell == "{}" else json.loads(cell)
    assert table.cell("f1", 1234) == expected
    assert type(table.cell("f1", 1234)) is type(expected)
    assert table.cell("f1", 1233) == 1.5


@pytest.mark.parametrize(
    "keys", ['"a": {0}, "a\\u0000b": {1}', '"a\\u0000b": {1}, "a": {0}', '"b\\u0000": {1}, "a": {0}']
)
def test_a_nul_in_a_key_does_not_hide_what_follows(make: MakeCodec, keys: str) -> None:
    first, second = [0.5] * 2000, [1.5] * 2000
    body = f'{{"inputs": {{{keys.format(first, second)}}}}}'.encode()
    table = make("kserve-v1").decode_request(Message(body))
    assert table.record(1999) == {"a": 0.5, ("b\0" if '"b' in keys else "a\0b"): 1.5}


@pytest.mark.parametrize("rows", [["[0.5]", "[0.5, 1.5, 2.5]"], ["[[], [0.5, 1.5]]"], ["[[0.5, 1.5], []]"]])
def test_rows_whose_lengths_make_up_for_each_other_are_not_flattened(
    make: MakeCodec, rows: list[str]
) -> None:
    body = f'{{"instances": [{", ".join(["[0.5, 1.5]"] * 2000 + rows)}]}}'.encode()
    try:
        table = make("mlflow").decode_request(Message(body))
    except DecodeError:
        assert len(rows) == 2
        return
    assert {table.cell("f0", 2000), table.cell("f1", 2000)} == {(), (0.5, 1.5)}


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_large_batch_in_another_encoding_is_undecodable(make: MakeCodec, coding: str) -> None:
    body = json.dumps({"instances": [[0.5, 1.5]] * 2000}).encode(coding)
    with pytest.raises(DecodeError):
        make("mlflow").decode_request(Message(body))


def test_depth_is_bounded_beside_the_rows_too(make: MakeCodec) -> None:
    for depth, fits in ((63, True), (64, False), (400, False)):
        body = b'{"params": ' + b"[" * depth + b"]" * depth + b', "instances": [[1, 2]]}'
        if fits:
            assert make("mlflow").decode_request(Message(body)).rows == 1
        else:
            with pytest.raises(DecodeError):
                make("mlflow").decode_request(Message(body))
            with pytest.raises(DecodeError):
                make("mlflow").decode_request(Message(body + b" " * 9000))


def test_a_body_that_says_it_is_something_else_is_opaque() -> None:
    codec = make_codec("kserve-v1", CodecOptions())
    for content_type in (
        "text/csv",
        "application/vnd.apache.parquet",
        "application/octet-stream",
        "multipart/form-data; x",
    ):
        with pytest.raises(OpaqueError):
            codec.decode_request(Message(b"a,b\n1,2\n", content_type))
    for content_type in (
        None,
        "application/json",
        "application/cloudevents+json; charset=utf-8",
        "text/plain",
    ):
        with pytest.raises(DecodeError) as caught:
            codec.decode_request(Message(b"a,b\n1,2\n", content_type))
        assert not isinstance(caught.value, OpaqueError)


_CELL = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([math.nan, math.inf, -0.0, 2**53, 2.0**53])
)


def _codecs(protocol: str) -> list[Codec]:
    readers = [JsonReader(parser=None)]
    if DEFAULT_PARSER is not None:
        readers.append(JsonReader(parser=DEFAULT_PARSER))
    return [make_codec(protocol, CodecOptions(), reader) for reader in readers]


@settings(max_examples=200)
@given(st.lists(st.lists(_CELL, min_size=3, max_size=3), min_size=1, max_size=5), st.sampled_from([0, 9000]))
def test_cells_come_out_as_they_went_in(rows: list[list[Any]], padding: int) -> None:
    body = json.dumps({"instances": rows}).encode() + b" " * padding
    for codec in _codecs("mlflow"):
        table = codec.decode_request(Message(body))
        for at, row in enumerate(rows):
            for column, cell in enumerate(row):
                read = table.cell(f"f{column}", at)
                if cell is None or cell != cell:
                    assert read is None
                else:
                    assert read == cell
                    assert isinstance(read, str) == isinstance(cell, str)
                    assert isinstance(read, bool) == isinstance(cell, bool)


@settings(max_examples=100)
@given(st.binary(max_size=60) | st.text('{}[]":,0123456789.eE+-\\ uNaInfity', max_size=60).map(str.encode))
def test_any_bytes_decode_or_are_undecodable(body: bytes) -> None:
    for protocol in PROTOCOLS:
        for codec in _codecs(protocol):
            for padded in (body, body + b" " * 9000):
                try:
                    table = codec.decode_request(Message(padded))
                    assert table.block.shape == (len(table.fields), table.rows)
                except DecodeError:
                    pass
                with contextlib.suppress(DecodeError):
                    assert codec.decode_response(Message(padded), 2).rows == 2


_ANY = st.recursive(
    _CELL,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "instances",
                    "inputs",
                    "outputs",
                    "predictions",
                    "dataframe_split",
                    "columns",
                    "data",
                    "name",
                    "shape",
                    "datatype",
                    "b64",
                    "a",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=100)
@given(
    st.sampled_from(
        ["instances", "inputs", "dataframe_split", "dataframe_records", "predictions", "outputs"]
    ),
    _ANY,
    st.integers(0, 3),
)
def test_any_json_decodes_the_same_with_every_reader_or_is_undecodable(
    key: str, value: Any, rows: int
) -> None:
    body = json.dumps({key: value}).encode()
    for protocol in PROTOCOLS:
        seen = []
        for codec in _codecs(protocol):
            for padded in (body, body + b" " * 9000):
                for decode in (
                    lambda m, c=codec: c.decode_request(m),
                    lambda m, c=codec: c.decode_response(m, rows),
                ):
                    try:
                        table = decode(Message(padded))
                        seen.append(
                            (table.fields, table.rows, np.nan_to_num(table.block).tolist(), dict(table.exact))
                        )
                    except DecodeError as error:
                        seen.append((type(error),))
        assert seen[0::2] == seen[:1] * (len(seen) // 2)
        assert seen[1::2] == seen[1:2] * (len(seen) // 2)


_KEYS = st.sampled_from(["a", "b", "\\u0061", "a:", 'a\\"', "\\u00e9", "é"])
_TEXTS = st.sampled_from(
    ['"x"', '"a:1"', '"\\":"', "1.5", "null", "NaN", str(BIG), "[1, 2]", '{"k": 1}', '{"k": 1, "k": 2}']
)


@settings(max_examples=200)
@given(
    st.lists(
        st.lists(st.tuples(_KEYS, st.sampled_from(["", " "]), _TEXTS), max_size=4), min_size=1, max_size=4
    ),
    st.sampled_from(["", " " * 9000]),
)
def test_records_are_read_exactly_when_no_key_stands_twice(
    records: list[list[tuple[str, str, str]]], padding: str
) -> None:
    rows = ["{" + ", ".join(f'"{key}"{gap}: {text}' for key, gap, text in record) + "}" for record in records]
    body = f'{{"dataframe_records": [{", ".join(rows)}]}}{padding}'.encode()
    distinct = all(len({json.loads(f'"{key}"') for key, _, _ in record}) == len(record) for record in records)
    distinct = distinct and '"k": 2' not in body.decode()
    for codec in _codecs("mlflow"):
        if not distinct:
            with pytest.raises(DecodeError):
                codec.decode_request(Message(body))
            continue
        table = codec.decode_request(Message(body))
        for at, record in enumerate(records):
            wanted: dict[str, Any] = dict.fromkeys(table.fields)
            for key, _, text in record:
                value = json.loads(text)
                wanted[json.loads(f'"{key}"')] = {"[1, 2]": (1, 2), '{"k": 1}': '{"k":1}', "NaN": None}.get(
                    text, value
                )
            assert table.record(at) == wanted


@pytest.mark.parametrize("shape", [(1, 5000), (3, 4000), (31, 300), (32, 300), (1000, 1)])
def test_batches_of_every_shape_are_read_alike(make: MakeCodec, shape: tuple[int, int]) -> None:
    rows = (np.arange(shape[0] * shape[1]).reshape(shape) + 0.5).tolist()
    for key in ("instances", "inputs"):
        table = make("kserve-v1").decode_request(Message(json.dumps({key: rows}).encode()))
        assert table.block.T.tolist() == rows
        assert not table.exact
    frame = {"columns": [f"c{at}" for at in range(shape[1])], "data": rows}
    split = make("mlflow").decode_request(Message(json.dumps({"dataframe_split": frame}).encode()))
    assert split.block.T.tolist() == rows
    columns = {f"c{at}": list(column) for at, column in enumerate(zip(*rows, strict=True))}
    assert (
        make("mlflow").decode_request(Message(json.dumps({"inputs": columns}).encode())).block.T.tolist()
        == rows
    )
    wide = make("mlflow").decode_request(Message(json.dumps({"inputs": {"x": rows}}).encode()))
    assert wide.block.T.tolist() == rows


@pytest.mark.parametrize(
    "value",
    [
        {"instances": [[0.5] * 10_001]},
        {"instances": [{f"k{at}": 1 for at in range(10_001)}]},
        {"instances": [{f"k{at}": 1} for at in range(3_000)]},
        {"inputs": {f"k{at}": [1] for at in range(10_001)}},
        {"inputs": {"x": [[0.5] * 10_001]}},
    ],
    ids=["matrix", "record", "sparse records", "columns", "wide column"],
)
def test_a_table_is_never_far_larger_than_its_body(make: MakeCodec, value: Any) -> None:
    with pytest.raises(OpaqueError):
        make("mlflow").decode_request(Message(json.dumps(value).encode()))


def test_sparse_records_in_a_response_are_opaque_too(make: MakeCodec) -> None:
    body = json.dumps({"predictions": [{f"k{at}": 1} for at in range(3_000)]}).encode()
    with pytest.raises(OpaqueError):
        make("mlflow").decode_response(Message(body), 3_000)


def test_records_with_few_gaps_are_not_sparse(make: MakeCodec) -> None:
    records = [{"a": at, **({"b": 1} if at % 7 else {})} for at in range(3_000)]
    assert (
        make("mlflow").decode_request(Message(json.dumps({"dataframe_records": records}).encode())).rows
        == 3_000
    )
