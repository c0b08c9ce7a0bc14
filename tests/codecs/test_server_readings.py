"""Bodies that real servers read in a way of their own: guardproxy reads them just so, or calls them undecodable.

What the servers make of them was seen with MLflow 3.17, MLServer 1.7, KServe 0.21, BentoML and Triton 2.51;
`tests/servers/readings.py` asks the servers themselves.
"""

import io
import json
from typing import Any

import numpy as np
import pytest

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.codecs.grpc_tensors import GRPC
from guardproxy.codecs.signature import Column, Signature
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError
from guardproxy.message import Message
from guardproxy.table import Table
from tests.harness import grpc_messages

EVENT = '"time": "t", "type": "x", "source": "s", "id": "1", "specversion": "1.0"'


def request(protocol: str, body: str, media: str = "application/json", **options: Any) -> Table:
    return make_codec(protocol, CodecOptions(**options)).decode_request(Message(body.encode(), media))


def read(table: Table) -> dict[str, list[Any]]:
    return {name: list(table.column(name)) for name in table.fields}


def refused(protocol: str, body: str, **options: Any) -> str:
    with pytest.raises(DecodeError) as caught:
        request(protocol, body, **options)
    assert not isinstance(caught.value, OpaqueError)
    return str(caught.value)


def tensor(name: str, shape: list[int], datatype: str, data: str, content_type: str = "") -> str:
    parameters = f'"parameters": {{"content_type": "{content_type}"}}, ' if content_type else ""
    return f'{{"name": "{name}", "shape": {shape}, "datatype": "{datatype}", {parameters}"data": {data}}}'


def inputs(*tensors: str, content_type: str = "") -> str:
    parameters = f'"parameters": {{"content_type": "{content_type}"}}, ' if content_type else ""
    return f'{{{parameters}"inputs": [{", ".join(tensors)}]}}'


# ------------------------------------------------------------------------------------------------------------- KServe


@pytest.mark.parametrize(
    "body",
    [
        f'{{"instances": [[1]], {EVENT}, "data": {{"instances": [[999]]}}}}',
        f'{{"instances": [[1]], {EVENT}, "data": {{"inputs": [[999]]}}}}',
        f'{{"instances": [[1]], {EVENT}, "data": [[999]]}}',
        f'{{"inputs": [[1]], {EVENT}, "data": {{"instances": [[999]]}}}}',
        f'{{{EVENT}, "data": {{"instances": [[1]], "inputs": [[999]]}}}}',
    ],
)
def test_rows_beside_a_cloud_events_data_are_undecodable(body: str) -> None:
    assert "more than one of" in refused("kserve-v1", body)


def test_the_rows_of_a_structured_cloud_event_are_those_in_its_data() -> None:
    table = request("kserve-v1", f'{{{EVENT}, "data": {{"instances": [[999, 1]]}}}}')
    assert read(table) == {"f0": [999.0], "f1": [1.0]}
    with pytest.raises(OpaqueError):
        request("kserve-v1", f'{{{EVENT}, "data": "rows"}}')


@pytest.mark.parametrize(
    "instances",
    [
        '[{"a": [1, 2]}, {"a": []}]',
        '[{"a": ["x", "y"]}, {"a": []}]',
        '[[{"a": 1}], [{"a": 2}]]',
        '[{"a": [1, 2]}, {"a": 3}]',
        '[{"a": {"0": 1, "1": 2}}]',
    ],
)
def test_lists_of_which_kserve_makes_rows_of_their_own_are_undecodable(instances: str) -> None:
    assert "not all of the same length" in refused("kserve-v1", f'{{"instances": {instances}}}')


def test_bytes_in_objects_of_their_own_are_read() -> None:
    table = request("kserve-v1", '{"instances": [{"a": {"b64": "aGk="}, "b": 1}, {"a": {"b64": "aG8="}}]}')
    assert read(table)["a"] == ["aGk=", "aG8="]
    assert read(request("kserve-v1", '{"instances": [[{"b64": "aGk="}, 1]]}')) == {
        "f0": ["aGk="],
        "f1": [1.0],
    }


def test_vectors_of_one_length_and_missing_members_are_read() -> None:
    table = request("kserve-v1", '{"instances": [{"a": [1, 2]}, {"a": [3, 4], "b": "x"}]}')
    assert read(table) == {"a": [(1, 2), (3, 4)], "b": [None, "x"]}


# ------------------------------------------------------------------------------------------------------------- MLflow


@pytest.mark.parametrize(
    "instances",
    [
        '[{"a": 1, "b": 5}, {"a": 2}, {"b": 6}]',
        '[{"a": 1}, {"b": 2}]',
        '[{"a": 1, "b": 2}, {"a": 3}]',
        '[{"a": 1}, {}]',
    ],
)
def test_instances_whose_columns_mlflow_would_shift_are_undecodable(instances: str) -> None:
    assert refused("mlflow", f'{{"instances": {instances}}}') == (
        "the records of 'instances' do not all have the same keys"
    )


def test_records_that_mlflow_fills_up_are_read() -> None:
    for key in ("dataframe_records", "inputs"):
        table = request("mlflow", f'{{"{key}": [{{"a": 1}}, {{"b": 2}}]}}')
        assert read(table)["b"][1] == 2.0
        assert table.rows == 2
    table = request("mlflow", '{"instances": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]}')
    assert read(table) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


@pytest.mark.parametrize(
    ("body", "columns"),
    [
        ("a\ntRue\nFALSE\n", {"a": [True, False]}),
        ("a\n\x0b1\n2\x0c\n", {"a": [1.0, 2.0]}),
        ('a,b\n"3\n",x\n', {"a": [3.0], "b": ["x"]}),
        ("a,b\n  , 2\n", {"a": [None], "b": [2.0]}),
        ("a\n \n1\n\t\n\n2\n", {"a": [1.0, 2.0]}),
        ('a\n""\n1\n', {"a": [None, 1.0]}),
        ("a\n1_000\n", {"a": ["1_000"]}),
        ("a\n0x1F\n", {"a": ["0x1F"]}),
        ("a\n1.e3\n+.5\n", {"a": [1000.0, 0.5]}),
        ("a\niNf\n-Infinity\n", {"a": [float("inf"), float("-inf")]}),
        ("a,\n1,2\n", {"a": [1.0], "Unnamed: 1": [2.0]}),
        (' a,"b,c"\n1,2\n', {" a": [1.0], "b,c": [2.0]}),
        ("a\n9223372036854775808\n", {"a": [9223372036854775808]}),
    ],
)
def test_csv_is_read_as_pandas_reads_it(body: str, columns: dict[str, list[Any]]) -> None:
    table = request("mlflow", body, "text/csv")
    assert json.dumps(read(table)).replace("NaN", "null") == json.dumps(columns)


@pytest.mark.parametrize(
    "body",
    [
        "a,a\n1,2\n",
        "a\n1,2\n",
        "a,b\n1\n",
        "a,b\n1,2,\n",
        'a\n"1" \n2\n',
        'a\nx"y\n',
        "a\r1\r",
        "\ufeffa\n1\n",
        "a\n1\0\n",
        "",
    ],
)
def test_csv_that_pandas_reads_in_a_way_of_its_own_is_undecodable(body: str) -> None:
    with pytest.raises(DecodeError):
        request("mlflow", body, "text/csv")


# ------------------------------------------------------------------------------------------------------------- V2


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("INT64", "[1.7]"),
        ("INT32", "[2147483648]"),
        ("UINT8", "[300]"),
        ("UINT8", "[-1]"),
        ("INT64", "[9223372036854775808]"),
        ("INT8", "[Infinity]"),
        ("FP32", "[1e300]"),
        ("FP32", "[-3.5e38]"),
        ("FP16", "[65520]"),
    ],
)
def test_a_number_that_the_tensors_datatype_cannot_hold_is_undecodable(datatype: str, data: str) -> None:
    sentence = "a value lies outside its tensor's datatype"
    one = tensor("a", [1, 1], datatype, data)
    assert refused("open-inference", inputs(one)) == sentence
    assert refused("open-inference", inputs(one, tensor("b", [1, 1], "FP64", "[1]"))) == sentence
    many = tensor("a", [40, 1], datatype, f"[{'1, ' * 39}{data[1:]}")
    assert refused("open-inference", inputs(many)) == sentence


@pytest.mark.parametrize(
    ("datatype", "data", "value"),
    [
        ("INT64", "[1.0]", 1.0),
        ("INT64", "[-9223372036854775808]", -(2**63)),
        ("UINT64", "[18446744073709551615]", 2**64 - 1),
        ("FP32", "[3.4028235e38]", 3.4028235e38),
        ("FP32", "[-Infinity]", float("-inf")),
        ("FP16", "[65504]", 65504.0),
        ("FP64", "[1e300]", 1e300),
        ("INT64", "[null]", None),
        ("INT64", "[NaN]", None),
    ],
)
def test_a_number_that_the_tensors_datatype_holds_is_read(datatype: str, data: str, value: Any) -> None:
    one = tensor("a", [1, 1], datatype, data)
    for body in (inputs(one), inputs(one, tensor("b", [1, 1], "INT8", "[1]"))):
        cell = read(request("open-inference", body))["a"][0]
        assert cell == value or (value is None and cell != cell)


@pytest.mark.parametrize("datatype", ["FP64", "BYTES"])
def test_a_flat_column_of_a_data_frame_has_one_value_in_a_row(datatype: str) -> None:
    data = '["1", "2"]' if datatype == "BYTES" else "[1, 2]"
    wide, tall = tensor("a", [1, 2], datatype, data), tensor("a", [2, 1], datatype, data)
    assert "a column of a data frame" in refused("open-inference", inputs(wide, content_type="pd"))
    assert request("open-inference", inputs(tall, content_type="pd")).rows == 2
    assert request("open-inference", inputs(wide, content_type="np")).rows == 1


def test_texts_in_base64_cannot_be_seen_since_only_some_servers_undo_it() -> None:
    with pytest.raises(OpaqueError):
        request("open-inference", inputs(tensor("a", [2], "BYTES", '["aGVsbG8=", "hello!"]', "base64")))
    plain = request("open-inference", inputs(tensor("a", [2], "BYTES", '["hello!", "é"]', "base64")))
    assert read(plain) == {"a": ["hello!", "é"]}
    answer = '{"outputs": [' + tensor("a", [1], "BYTES", '["aGVsbG8="]', "base64") + "]}"
    with pytest.raises(OpaqueError):
        make_codec("open-inference", CodecOptions()).decode_response(Message(answer.encode()), 1)


def grpc_parameter(name: str, text: str) -> bytes:
    return grpc_messages.sized(
        4, grpc_messages.sized(1, name) + grpc_messages.sized(2, grpc_messages.sized(3, text))
    )


@pytest.mark.parametrize("typed", [True, False])
def test_content_types_are_heeded_in_grpc_too(typed: bool) -> None:
    codec = make_codec("open-inference", CodecOptions())
    frame = grpc_parameter("content_type", "pd")
    wide = grpc_messages.T("a", "FP64", (1, 2), (1.0, 2.0))
    texts = grpc_messages.T("a", "BYTES", (1,), (b"aGVsbG8=",), grpc_parameter("content_type", "base64"))
    body = grpc_messages.infer_request(wide, typed=typed)
    assert codec.decode_request(Message(body, GRPC)).rows == 1
    with pytest.raises(DecodeError, match="a column of a data frame"):
        codec.decode_request(Message(body + frame, GRPC))
    with pytest.raises(OpaqueError, match="base64"):
        codec.decode_request(Message(grpc_messages.infer_request(texts, typed=typed), GRPC))


# ------------------------------------------------------------------------------------------------------------- others


@pytest.mark.parametrize(
    "body",
    [
        '{"df": {"age": [999]}, "x": [{"age": 5}]}',
        '{"df": {"age": [999]}, "x": [[5]]}',
        '{"customer": {"age": 999}, "x": [{"age": 5}]}',
        '{"age": 999, "x": [{"age": 5}]}',
        '{"age": 999, "x": []}',
        '{"df": [{"age": 999}], "age": 5}',
        '{"df": {"age": [999]}, "x": {"age": 5}}',
        '{"df": {"age": 999}, "x": []}',
        '{"df": [{"age": 999}], "x": [{"age": 5}]}',
    ],
)
def test_arguments_of_which_a_server_could_pass_over_either_are_undecodable(body: str) -> None:
    refused("bentoml", body)


def test_an_object_of_other_members_beside_the_rows_is_passed_over() -> None:
    table = request("bentoml", '{"rows": [{"age": 41}], "options": {"deep": true}}')
    assert read(table) == {"age": [41.0]}


@pytest.mark.parametrize("rows", ['"ndarray": [[1, 2]]', '"tensor": {"shape": [1, 2], "values": [1, 2]}'])
@pytest.mark.parametrize(
    "options",
    [
        {"features": ("age", "bmi")},
        {"profile_order": ("age", "bmi")},
        {"signature": Signature((Column("age", "FP64"), Column("bmi", "FP64")), ())},
    ],
)
def test_seldons_names_in_another_order_than_the_models_are_undecodable(
    rows: str, options: dict[str, Any]
) -> None:
    """Its models go by the places."""
    body = '{"data": {"names": %s, %s}}'
    assert "another order" in refused("seldon", body % ('["bmi", "age"]', rows), **options)
    assert "another order" in refused("seldon", body % ('["x", "age"]', rows), **options)
    for names in (["age", "bmi"], ["age", "x"], ["x", "y"]):
        table = request("seldon", body % (json.dumps(names), rows), **options)
        assert read(table) == {names[0]: [1.0], names[1]: [2.0]}


def test_the_limit_of_tokens_is_the_one_that_the_server_goes_by() -> None:
    limits = '"max_tokens": 5, "max_completion_tokens": 9000}'
    chat = request("openai", '{"messages": [{"role": "user", "content": "x"}], ' + limits)
    assert read(chat)["max_tokens"] == [9000.0]
    completion = request("openai", '{"prompt": "x", ' + limits)
    assert read(completion)["max_tokens"] == [5.0]


def test_a_part_of_a_message_with_two_texts_is_undecodable() -> None:
    part = '{"type": "text", "text": "what the model reads", "content": "harmless"}'
    refused("openai", f'{{"messages": [{{"role": "user", "content": [{part}]}}]}}')


def test_a_structured_array_without_elements_has_no_rows() -> None:
    made = io.BytesIO()
    np.save(made, np.zeros(0, [("a", "<f8"), ("b", "|b1"), ("c", "<U3")]))
    table = make_codec("sagemaker", CodecOptions()).decode_request(
        Message(made.getvalue(), "application/x-npy")
    )
    assert (table.fields, table.rows) == (("a", "b", "c"), 0)


@pytest.mark.parametrize("word", ["null", "NaN"])
def test_a_missing_row_among_vectors_takes_no_lone_value(word: str) -> None:
    codec = make_codec("kserve-v1", CodecOptions())
    answer = Message(f'{{"predictions": [{word}, [1.5]]}}'.encode())
    with pytest.raises(PatchError):
        codec.splice(answer, 2, [Replacement(0, {"prediction": 2.0}, "test")])
    patched = codec.splice(answer, 2, [Replacement(1, {"prediction": 2.0}, "test")])
    assert patched.body == f'{{"predictions": [{word}, [2.0]]}}'.encode()
    infinite = Message(f'{{"predictions": [{word}, [Infinity]]}}'.encode())
    for body in (answer, infinite):
        assert codec.decode_response(body, 2).cell("prediction", 0) is None
