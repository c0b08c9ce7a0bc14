import json
from typing import Any

import pytest

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.message import Message
from guardproxy.table import Cell, Table
from tests.codecs.conftest import MakeCodec


def message(value: Any) -> Message:
    return Message(json.dumps(value).encode())


def columns(table: Table) -> dict[str, tuple[Cell, ...]]:
    return {name: table.column(name) for name in table.fields}


def tensor(name: str, shape: list[int], data: Any, datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


MLFLOW: dict[str, tuple[Any, dict[str, tuple[Cell, ...]]]] = {
    "split": (
        {"dataframe_split": {"index": [0, 1], "columns": ["a", "b"], "data": [[1.0, 3], [2.0, None]]}},
        {"a": (1.0, 2.0), "b": (3.0, None)},
    ),
    "split with text": (
        {"dataframe_split": {"columns": ["a", "b"], "data": [["x", True], [2.0, None]]}},
        {"a": ("x", 2.0), "b": (True, None)},
    ),
    "split without names": ({"dataframe_split": {"data": [[1, 2]]}}, {"f0": (1.0,), "f1": (2.0,)}),
    "split without rows": ({"dataframe_split": {"columns": ["a", "b"], "data": []}}, {"a": (), "b": ()}),
    "records": ({"dataframe_records": [{"a": 1.5, "b": 2}, {"b": 2.5}]}, {"a": (1.5, None), "b": (2.0, 2.5)}),
    "instances of records": ({"instances": [{"a": "x"}, {"a": "y"}]}, {"a": ("x", "y")}),
    "instances of arrays": ({"instances": [[1, 2], [3, 4]]}, {"f0": (1.0, 3.0), "f1": (2.0, 4.0)}),
    "instances of scalars": ({"instances": [1, 2.5, None]}, {"f0": (1.0, 2.5, None)}),
    "inputs in columns": ({"inputs": {"a": [1.5, 2.0], "b": ["x", "y"]}}, {"a": (1.5, 2.0), "b": ("x", "y")}),
    "inputs in columns of lists of one": ({"inputs": {"x": [[1.0], [None]]}}, {"x": (1.0, None)}),
    "inputs in wide columns": ({"inputs": {"x": [[1, 2], [3, 4]]}}, {"x[0]": (1.0, 3.0), "x[1]": (2.0, 4.0)}),
    "one record of inputs": ({"inputs": {"a": 1, "b": "x"}}, {"a": (1.0,), "b": ("x",)}),
    "a vector in a record": ({"instances": [{"v": [1, 2.5, None]}]}, {"v": ((1, 2.5, None),)}),
    "an object in a record": ({"instances": [{"o": {"k": [1, "é"]}}]}, {"o": ('{"k":[1,"é"]}',)}),
    "a binary value": ({"instances": [{"image_bytes": {"b64": "AAEC"}}]}, {"image_bytes": ("AAEC",)}),
}


@pytest.mark.parametrize("name", MLFLOW)
def test_mlflow_reads_every_layout(make: MakeCodec, name: str) -> None:
    value, expected = MLFLOW[name]
    assert columns(make("mlflow").decode_request(message({**value, "params": {"out": ["x"]}}))) == expected


@pytest.mark.parametrize("name", [name for name in MLFLOW if name.startswith(("instances", "inputs", "a "))])
def test_kserve_v1_reads_rows_and_columns(make: MakeCodec, name: str) -> None:
    value, expected = MLFLOW[name]
    assert columns(make("kserve-v1").decode_request(message({**value, "signature_name": "s"}))) == expected


OPEN_INFERENCE: dict[str, tuple[Any, dict[str, tuple[Cell, ...]]]] = {
    "one tensor per column": (
        [
            tensor("a", [2], [1.5, None]),
            tensor("b", [2, 1], ["x", "é€"], "BYTES", parameters={"content_type": "str"}),
        ],
        {"a": (1.5, None), "b": ("x", "é€")},
    ),
    "one row": ([tensor("a", [1, 1], [1.5]), tensor("b", [1, 1], [2])], {"a": (1.5,), "b": (2.0,)}),
    "one row of several kinds": (
        [tensor("a", [1], [1.5]), tensor("b", [1], [True], "BOOL"), tensor("c", [1], ["x"], "BYTES")],
        {"a": (1.5,), "b": (True,), "c": ("x",)},
    ),
    "a lone matrix": ([tensor("x", [2, 3], [1, 2, 3, 4, 5, 6])], {"f0": (1, 4), "f1": (2, 5), "f2": (3, 6)}),
    "a lone nested matrix": ([tensor("x", [2, 2], [[1, 2], [3, 4]])], {"f0": (1, 3), "f1": (2, 4)}),
    "a lone matrix with gaps": ([tensor("x", [2, 2], [1, None, 3, 4])], {"f0": (1, 3), "f1": (None, 4)}),
    "a lone column": ([tensor("x", [3, 1], [1, 2, 3])], {"x": (1, 2, 3)}),
    "a lone nested column": ([tensor("x", [2, 1], [[1], [2]])], {"x": (1, 2)}),
    "one value": ([tensor("x", [1, 1], [7])], {"x": (7,)}),
    "mixed widths": (
        [tensor("x", [2, 2], [1, 2, 3, 4]), tensor("y", [2], [5, 6])],
        {"x[0]": (1, 3), "x[1]": (2, 4), "y": (5, 6)},
    ),
    "axes of one": ([tensor("x", [2, 1, 2, 1], [[[[1], [2]]], [[[3], [4]]]])], {"f0": (1, 3), "f1": (2, 4)}),
    "no rows": ([tensor("a", [0], []), tensor("b", [0, 1], [])], {"a": (), "b": ()}),
}


@pytest.mark.parametrize("name", OPEN_INFERENCE)
def test_open_inference_reads_every_shape(make: MakeCodec, name: str) -> None:
    inputs, expected = OPEN_INFERENCE[name]
    value = {"id": "r", "parameters": {"trace": 1}, "inputs": inputs, "outputs": [{"name": "p"}]}
    assert columns(make("open-inference").decode_request(message(value))) == expected


@pytest.mark.parametrize("nested", [False, True])
def test_a_large_tensor_is_read_like_a_small_one(make: MakeCodec, nested: bool) -> None:
    rows = [[float(row), row + 0.25, row + 0.5] for row in range(900)]
    data = rows if nested else [value for row in rows for value in row]
    lone = make("open-inference").decode_request(message({"inputs": [tensor("x", [900, 3], data)]}))
    assert lone.record(899) == {"f0": 899.0, "f1": 899.25, "f2": 899.5}
    value = {"inputs": [tensor("x", [900, 3], data), tensor("y", [900], [row[0] for row in rows])]}
    assert make("open-inference").decode_request(message(value)).record(7) == {
        "x[0]": 7.0,
        "x[1]": 7.25,
        "x[2]": 7.5,
        "y": 7.0,
    }


POINTERS: dict[str, tuple[dict[str, str], Any, dict[str, tuple[Cell, ...]]]] = {
    "records": ({"request_rows": "/rows"}, {"rows": [{"a": 1}, {"a": 2}], "n": 2}, {"a": (1, 2)}),
    "arrays with names": (
        {"request_rows": "/data/values", "request_columns": "/data/names"},
        {"data": {"names": ["a", "b"], "values": [[1, "x"], [2, "y"]]}, "meta": {"k": {"z": 1}}},
        {"a": (1, 2), "b": ("x", "y")},
    ),
    "scalars": ({"request_rows": "/v"}, {"v": [1, 2]}, {"f0": (1, 2)}),
    "one object": ({"request_rows": "/features"}, {"features": {"a": 1, "b": "x"}}, {"a": (1,), "b": ("x",)}),
    "the whole document": ({}, [{"a": 1}, {"a": 2}], {"a": (1, 2)}),
    "the whole document as one row": ({}, {"a": 1, "b": [1, 2]}, {"a": (1,), "b": ((1, 2),)}),
    "through an array": (
        {"request_rows": "/batches/1/rows"},
        {"batches": [0, {"rows": [[5]]}]},
        {"f0": (5,)},
    ),
    "escaped tokens": ({"request_rows": "/a~1b/c~0d"}, {"a/b": {"c~d": [[5]]}}, {"f0": (5,)}),
}


@pytest.mark.parametrize("name", POINTERS)
def test_pointers_say_where_the_rows_are(make: MakeCodec, name: str) -> None:
    options, value, expected = POINTERS[name]
    assert columns(make("json", **options).decode_request(message(value))) == expected


@pytest.mark.parametrize("size", [1, 3, 1500])
def test_a_bare_matrix_takes_the_routes_names_then_the_profiles_then_numbers(
    make: MakeCodec, size: int
) -> None:
    body = message({"instances": [[1.5, 2.5]] * size})
    assert make("kserve-v1", features=("a", "b"), profile_order=("p", "q")).decode_request(body).fields == (
        "a",
        "b",
    )
    assert make("kserve-v1", profile_order=("p", "q")).decode_request(body).fields == ("p", "q")
    assert make("kserve-v1", profile_order=("p", "q", "r")).decode_request(body).fields == ("f0", "f1")
    with pytest.raises(DecodeError, match="2 values, the route names 3 features"):
        make("kserve-v1", features=("a", "b", "c")).decode_request(body)


def test_a_lone_column_takes_the_routes_name_only_when_there_is_exactly_one(make: MakeCodec) -> None:
    body = message({"inputs": [tensor("x", [2], [1, 2])]})
    assert make("open-inference", features=("age",)).decode_request(body).fields == ("age",)
    assert make("open-inference", features=("age", "bmi")).decode_request(body).fields == ("x",)


UNDECODABLE: dict[str, tuple[str, Any]] = {
    "ragged instances": ("mlflow", {"instances": [[1, 2], [1]]}),
    "empty rows": ("mlflow", {"instances": [[], []]}),
    "rows of different kinds": ("mlflow", {"instances": [[1, 2], {"a": 1}]}),
    "a null row": ("mlflow", {"instances": [{"a": 1}, None]}),
    "two of the four keys": ("mlflow", {"instances": [[1]], "inputs": [[1]]}),
    "none of the four keys": ("mlflow", {"rows": [[1]]}),
    "no object": ("mlflow", [[1]]),
    "instances and inputs": ("kserve-v1", {"instances": [[1]], "inputs": [[1]]}),
    "a scalar": ("kserve-v1", {"instances": 1}),
    "more names than values": ("mlflow", {"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}),
    "a name twice": ("mlflow", {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}),
    "a name that is no text": ("mlflow", {"dataframe_split": {"columns": ["a", 1], "data": [[1, 2]]}}),
    "names in text": ("mlflow", {"dataframe_split": {"columns": "ab", "data": [[1, 2]]}}),
    "split of scalars": ("mlflow", {"dataframe_split": {"columns": ["a"], "data": [1, 2]}}),
    "split of many scalars": ("mlflow", {"dataframe_split": {"columns": ["a"], "data": [1.5] * 4000}}),
    "split without data": ("mlflow", {"dataframe_split": {"columns": ["a"]}}),
    "records of arrays": ("mlflow", {"dataframe_records": [[1, 2]]}),
    "unequal columns": ("mlflow", {"inputs": {"a": [1], "b": [1, 2]}}),
    "columns and scalars": ("mlflow", {"inputs": {"a": [1], "b": 1}}),
    "a ragged column": ("mlflow", {"inputs": {"a": [[1], [1, 2]]}}),
    "columns whose names meet": ("mlflow", {"inputs": {"a": [[1, 2]], "a[0]": [3]}}),
    "no tensors": ("open-inference", {"inputs": []}),
    "no inputs": ("open-inference", {"outputs": [tensor("a", [1], [1])]}),
    "no shape": ("open-inference", {"inputs": [{"name": "a", "datatype": "FP64", "data": [1]}]}),
    "an empty shape": ("open-inference", {"inputs": [tensor("a", [], [1])]}),
    "a negative shape": ("open-inference", {"inputs": [tensor("a", [-1, -1], [1])]}),
    "a shape of yes": ("open-inference", {"inputs": [tensor("a", [True], [1])]}),
    "too many data": ("open-inference", {"inputs": [tensor("a", [1, 2], [1, 2, 3])]}),
    "rows without values": ("open-inference", {"inputs": [tensor("a", [2, 0], [])]}),
    "rows without values beside others": (
        "open-inference",
        {"inputs": [tensor("a", [2, 0], []), tensor("b", [2], [1, 2])]},
    ),
    "too few data": ("open-inference", {"inputs": [tensor("a", [2, 2], [1, 2, 3])]}),
    "a huge shape": ("open-inference", {"inputs": [tensor("a", [2**40, 2**40], [1])]}),
    "shapes of yes": ("open-inference", {"inputs": [tensor("a", [True], [1]), tensor("b", [True], [1])]}),
    "shapes with a point": ("open-inference", {"inputs": [tensor("a", [1.0], [1]), tensor("b", [1.0], [1])]}),
    "a shape of many huge sizes": ("open-inference", {"inputs": [tensor("a", [2**60] * 100_000, [1])]}),
    "a tensor nested otherwise": ("open-inference", {"inputs": [tensor("a", [2, 2], [[1, 2, 3], [4]])]}),
    "a tensor nested with scalars": ("open-inference", {"inputs": [tensor("a", [2, 2], [[1, 2], 3, 4])]}),
    "a scalar with a list": ("open-inference", {"inputs": [tensor("a", [2], [1, [2]])]}),
    "an object in a tensor": ("open-inference", {"inputs": [tensor("a", [1], [{"b": 1}])]}),
    "unequal rows": ("open-inference", {"inputs": [tensor("a", [1], [1]), tensor("b", [2], [1, 2])]}),
    "tensors of one name": ("open-inference", {"inputs": [tensor("a", [1], [1]), tensor("a", [1], [2])]}),
    "many tensors of one name": ("open-inference", {"inputs": [tensor("a", [1, 1], [1])] * 20}),
    "no datatype": ("open-inference", {"inputs": [{"name": "a", "shape": [1], "data": [1], "x": 1}] * 2}),
}


@pytest.mark.parametrize("name", UNDECODABLE)
def test_what_cannot_be_rows_is_undecodable(make: MakeCodec, name: str) -> None:
    protocol, value = UNDECODABLE[name]
    with pytest.raises(DecodeError) as caught:
        make(protocol).decode_request(message(value))
    assert not isinstance(caught.value, OpaqueError)


OPAQUE: dict[str, tuple[str, bytes]] = {
    "11,000 tensors": (
        "open-inference",
        json.dumps({"inputs": [tensor(f"a{at}", [1], [1.0]) for at in range(11_000)]}).encode(),
    ),
    "shared memory": (
        "open-inference",
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","parameters":{"shared_memory_region":"r"}}]}',
    ),
    "shared memory said twice": (
        "open-inference",
        (
            b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1],'
            b'"parameters":{"shared_memory_region":"r","shared_memory_region":"r"}}]}'
        ),
    ),
    "an image": ("open-inference", json.dumps({"inputs": [tensor("x", [1, 2, 2], [1, 2, 3, 4])]}).encode()),
    "an image in rows": ("kserve-v1", b'{"instances": [[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]}'),
    "a chat": ("mlflow", b'{"messages": [{"role": "user", "content": "hi"}]}'),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_a_codec_cannot_see_is_opaque(make: MakeCodec, name: str) -> None:
    protocol, body = OPAQUE[name]
    with pytest.raises(OpaqueError):
        make(protocol).decode_request(Message(body))


@pytest.mark.parametrize("protocol", ["mlflow", "kserve-v1"])
@pytest.mark.parametrize("row", [[1.5, 2.5], {"a": 1}, 1])
def test_more_rows_than_the_limit_are_undecodable(make: MakeCodec, protocol: str, row: Any) -> None:
    codec = make(protocol, max_rows=1000)
    assert codec.decode_request(message({"instances": [row] * 1000})).rows == 1000
    with pytest.raises(DecodeError, match="more than 1000 rows"):
        codec.decode_request(message({"instances": [row] * 1001}))
    with pytest.raises(DecodeError, match="more than 1000 rows"):
        codec.decode_request(message({"inputs": {"a": [1.5] * 1001}}))


def test_more_rows_in_a_tensor_than_the_limit_are_undecodable(make: MakeCodec) -> None:
    with pytest.raises(DecodeError, match="more than 10 rows"):
        make("open-inference", max_rows=10).decode_request(message({"inputs": [tensor("x", [11], [1] * 11)]}))


def test_errors_carry_no_part_of_the_body(make: MakeCodec) -> None:
    secret = "s3cr3t-value"
    for value in (
        {secret: 1},
        {"instances": [{secret: 1}, [secret]]},
        {"inputs": {secret: [1], "b": [1, 2]}},
    ):
        with pytest.raises(DecodeError) as caught:
            make("mlflow").decode_request(message(value))
        assert secret not in str(caught.value)


@pytest.mark.parametrize("pointer", ["data", "/a~2", "/a~", "#/a"])
def test_a_pointer_that_is_none_is_told_to_the_operator(pointer: str) -> None:
    with pytest.raises(ValueError, match="is not a JSON Pointer"):
        make_codec("json", CodecOptions(request_rows=pointer))


@pytest.mark.parametrize("value", [{"a": {"c": 1}}, {"a": [1]}, {"a": 1}, [], 1])
def test_a_pointer_that_leads_nowhere_is_undecodable(make: MakeCodec, value: Any) -> None:
    with pytest.raises(DecodeError):
        make("json", request_rows="/a/b").decode_request(message(value))


@pytest.mark.parametrize("token", ["01", "-1", "2", "x", "99999999999999999999", ""])
def test_a_pointer_into_an_array_is_a_plain_position(make: MakeCodec, token: str) -> None:
    with pytest.raises(DecodeError):
        make("json", request_rows=f"/{token}").decode_request(message([[1], [2]]))
