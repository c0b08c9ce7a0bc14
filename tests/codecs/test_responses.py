import math
from typing import Any

import pytest

from guardproxy.errors import DecodeError, OpaqueError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Cell
from tests.codecs.conftest import MakeCodec
from tests.codecs.test_requests import columns, message, tensor

PREDICTIONS: dict[str, tuple[Any, int, dict[str, tuple[Cell, ...]]]] = {
    "scalars": ([2.0, 7.5], 2, {"prediction": (2.0, 7.5)}),
    "whole numbers": ([2**60 + 1, 3], 2, {"prediction": (2**60 + 1, 3)}),
    "text": (["a", "b"], 2, {"prediction": ("a", "b")}),
    "yes and no": ([True, None], 2, {"prediction": (True, None)}),
    "lists of one": ([[2.0], [7.5]], 2, {"prediction": (2.0, 7.5)}),
    "probabilities": ([[0.25, 0.75], [0.5, 0.5]], 2, {"prediction": ((0.25, 0.75), (0.5, 0.5))}),
    "probabilities and a null row": ([[0.25, 0.75], None], 2, {"prediction": ((0.25, 0.75), None)}),
    "pairs of text": ([["a", 1], ["b", 2]], 2, {"prediction_0": ("a", "b"), "prediction_1": (1.0, 2.0)}),
    "records": (
        [{"mean": 2.0, "label": "c0"}, {"label": "c1", "lo": 1}],
        2,
        {"mean": (2.0, None), "label": ("c0", "c1"), "lo": (None, 1.0)},
    ),
    "a null record": ([{"mean": 2.0}, None], 2, {"mean": (2.0, None)}),
    "vectors in records": (
        [{"p": [0.5, 0.5], "y": [1.0]}, {"p": [1, 0], "y": [2.0]}],
        2,
        {"p": ((0.5, 0.5), (1, 0)), "y": (1.0, 2.0)},
    ),
    "columns": ({"score": [2.0, 7.0], "label": ["a", "b"]}, 2, {"score": (2.0, 7.0), "label": ("a", "b")}),
    "columns of vectors": ({"p": [[0.5, 0.5], [1, 0]]}, 2, {"p": ((0.5, 0.5), (1, 0))}),
    "columns of one row": ({"score": [2.0], "p": [[0.5, 0.5]]}, 1, {"score": (2.0,), "p": ((0.5, 0.5),)}),
    "a scalar for one row": (3.5, 1, {"prediction": (3.5,)}),
    "null for one row": (None, 1, {"prediction": (None,)}),
    "a vector for one row": ([0.25, 0.5, 0.25], 1, {"prediction": ((0.25, 0.5, 0.25),)}),
    "a nested vector for one row": ([[0.25, 0.75]], 1, {"prediction": ((0.25, 0.75),)}),
    "a record for one row": ({"mean": 2.0, "p": [1, 2]}, 1, {"mean": (2.0,), "p": ((1, 2),)}),
    "several records for one row": (
        [{"label": "cat", "score": 0.75}, {"label": "dog", "score": 0.25}, {"score": 0}],
        1,
        {"label": ('["cat","dog",null]',), "score": ((0.75, 0.25, 0),)},
    ),
    "several arrays for one row": ([[1, 2], [3]], 1, {"prediction": ("[[1,2],[3]]",)}),
    "an object in a record": ([{"y": 1, "why": {"k": 2}}], 1, {"y": (1.0,), "why": ('{"k":2}',)}),
    "no rows": ([], 0, {"prediction": ()}),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_are_read_in_every_layout(make: MakeCodec, name: str) -> None:
    value, rows, expected = PREDICTIONS[name]
    for protocol, key in (("mlflow", "predictions"), ("kserve-v1", "predictions"), ("kserve-v1", "outputs")):
        table = make(protocol).decode_response(message({key: value, "deployedModelId": "7"}), rows)
        assert columns(table) == expected
        assert table.rows == rows
    wrapped = message({"result": {"scores": value}, "meta": {"n": 2}})
    assert columns(make("json", response_rows="/result/scores").decode_response(wrapped, rows)) == expected
    assert columns(make("json").decode_response(message(value), rows)) == expected


OUTPUTS: dict[str, tuple[list[Any], int, dict[str, tuple[Cell, ...]]]] = {
    "[n]": ([tensor("y", [2], [1.5, 2.5])], 2, {"y": (1.5, 2.5)}),
    "[n, 1]": ([tensor("y", [2, 1], [1.5, None])], 2, {"y": (1.5, None)}),
    "[n, 1] nested": ([tensor("y", [2, 1], [[1.5], [2.5]])], 2, {"y": (1.5, 2.5)}),
    "[n, k]": ([tensor("p", [2, 2], [0.25, 0.75, 0.5, 0.5])], 2, {"p": ((0.25, 0.75), (0.5, 0.5))}),
    "[n, k] nested": (
        [tensor("p", [2, 2], [[0.25, 0.75], [0.5, 0.5]])],
        2,
        {"p": ((0.25, 0.75), (0.5, 0.5))},
    ),
    "[n, k] of text": (
        [tensor("top", [2, 2], ["0.9:1", "0.1:0", "0.8:2", "0.2:1"], "BYTES")],
        2,
        {"top[0]": ("0.9:1", "0.8:2"), "top[1]": ("0.1:0", "0.2:1")},
    ),
    "[n, k] of text beside another": (
        [tensor("top", [1, 2], ["0.9:1", "0.1:0"], "BYTES"), tensor("y", [1], [True], "BOOL")],
        1,
        {"top[0]": ("0.9:1",), "top[1]": ("0.1:0",), "y": (True,)},
    ),
    "several": (
        [tensor("p", [2, 2], [0.25, 0.75, 0.5, 0.5]), tensor("y", [2, 1], [1, 2**60 + 1], "INT64")],
        2,
        {"p": ((0.25, 0.75), (0.5, 0.5)), "y": (1, 2**60 + 1)},
    ),
    "[k] for one row": ([tensor("p", [3], [0.2, 0.3, 0.5])], 1, {"p": ((0.2, 0.3, 0.5),)}),
    "[1] for one row": ([tensor("y", [1], [0.2])], 1, {"y": (0.2,)}),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_read_in_every_shape(make: MakeCodec, name: str) -> None:
    outputs, rows, expected = OUTPUTS[name]
    value = {"model_name": "m", "model_version": None, "parameters": {"a": 1}, "outputs": outputs}
    assert columns(make("open-inference").decode_response(message(value), rows)) == expected


def test_a_large_output_is_read_like_a_small_one(make: MakeCodec) -> None:
    data = [value + 0.5 for value in range(3000)]
    flat = make("open-inference").decode_response(message({"outputs": [tensor("p", [1000, 3], data)]}), 1000)
    assert flat.cell("p", 999) == (2997.5, 2998.5, 2999.5)
    lone = make("open-inference").decode_response(message({"outputs": [tensor("y", [3000], data)]}), 3000)
    assert lone.cell("y", 2999) == 2999.5
    listed = make("mlflow").decode_response(message({"predictions": data}), 3000)
    assert listed.cell("prediction", 1) == 1.5
    columned = make("mlflow").decode_response(message({"predictions": {"a": data, "b": data}}), 3000)
    assert columned.record(2) == {"a": 2.5, "b": 2.5}


UNALIGNED: dict[str, tuple[str, Any, int]] = {
    "fewer": ("mlflow", {"predictions": [1.0, 2.0]}, 3),
    "more": ("mlflow", {"predictions": [1.0, 2.0]}, 0),
    "none for one": ("mlflow", {"predictions": []}, 1),
    "a scalar for two": ("mlflow", {"predictions": 3.5}, 2),
    "ragged": ("mlflow", {"predictions": [[1.0], [1.0, 2.0]]}, 2),
    "empty lists": ("mlflow", {"predictions": [[], []]}, 2),
    "lists and scalars": ("mlflow", {"predictions": [[1.0], 2.0]}, 2),
    "records and scalars": ("mlflow", {"predictions": [{"a": 1.0}, 2.0]}, 2),
    "unequal columns": ("mlflow", {"predictions": {"a": [1, 2], "b": [1]}}, 2),
    "columns of another length": ("mlflow", {"predictions": {"a": [1, 2, 3]}}, 2),
    "a record for two": ("mlflow", {"predictions": {"a": 1}}, 2),
    "an empty object": ("mlflow", {"predictions": {}}, 1),
    "a tensor of another length": ("open-inference", {"outputs": [tensor("y", [3], [1, 2, 3])]}, 2),
    "a matrix for one": ("open-inference", {"outputs": [tensor("y", [2, 2], [1, 2, 3, 4])]}, 1),
    "no values": ("open-inference", {"outputs": [tensor("y", [2, 0], [])]}, 2),
    "two outputs of one name": (
        "open-inference",
        {"outputs": [tensor("y", [1], [1]), tensor("y", [1], [2])]},
        1,
    ),
}


@pytest.mark.parametrize("name", UNALIGNED)
def test_rows_that_cannot_be_matched_are_unaligned(make: MakeCodec, name: str) -> None:
    protocol, value, rows = UNALIGNED[name]
    with pytest.raises(UnalignedError):
        make(protocol).decode_response(message(value), rows)


UNDECODABLE: dict[str, tuple[str, bytes]] = {
    "no predictions": ("mlflow", b'{"error": "x"}'),
    "no object": ("kserve-v1", b"[1.0]"),
    "neither an object nor an array": ("mlflow", b"1.0"),
    "both keys": ("kserve-v1", b'{"predictions": [1], "outputs": [1]}'),
    "no key": ("kserve-v1", b'{"scores": [1]}'),
    "a key twice": ("mlflow", b'{"predictions": [1], "predictions": [2]}'),
    "a key twice in a record": ("mlflow", b'{"predictions": [{"a": 1, "\\u0061": 2}]}'),
    "a key twice in a tensor": (
        "open-inference",
        b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[1],"data":[2]}]}',
    ),
    "no outputs": ("open-inference", b'{"outputs":[]}'),
    "not the shape": (
        "open-inference",
        b'{"outputs":[{"name":"y","shape":[1,2],"datatype":"FP64","data":[1]}]}',
    ),
}


@pytest.mark.parametrize("name", UNDECODABLE)
def test_a_response_without_readable_predictions_is_undecodable(make: MakeCodec, name: str) -> None:
    protocol, body = UNDECODABLE[name]
    with pytest.raises(DecodeError) as caught:
        make(protocol).decode_response(Message(body), 1)
    assert not isinstance(caught.value, (UnalignedError, OpaqueError))


def test_the_route_names_predictions_in_order(make: MakeCodec) -> None:
    named = make("mlflow", outputs=("demand",))
    assert named.decode_response(message({"predictions": [1.0, 2.0]}), 2).fields == ("demand",)
    assert named.decode_response(message({"predictions": ["a", "b"]}), 2).fields == ("demand",)
    assert named.decode_response(message({"predictions": [[0.5, 0.5]]}), 1).fields == ("demand",)
    assert named.decode_response(message({"predictions": [{"y": 1, "z": 2}]}), 1).fields == ("demand", "z")
    tensors = make("open-inference", outputs=("demand", "p10"))
    both = message({"outputs": [tensor("a", [1], [1]), tensor("b", [1], [2])]})
    assert columns(tensors.decode_response(both, 1)) == {"demand": (1.0,), "p10": (2.0,)}
    one = make("open-inference", outputs=("demand",))
    assert one.decode_response(message({"outputs": [tensor("a", [1], [1])]}), 1).fields == ("demand",)


def test_as_many_names_as_a_lone_vector_is_long_make_it_columns(make: MakeCodec) -> None:
    names = ("demand", "p10", "p90")
    split = {"demand": (1.0, 4.0), "p10": (2.0, 5.0), "p90": (3.0, None)}
    listed = message({"predictions": [[1, 2, 3], [4, 5, None]]})
    assert columns(make("mlflow", outputs=names).decode_response(listed, 2)) == split
    for data in ([1, 2, 3, 4, 5, None], [[1, 2, 3], [4, 5, None]]):
        value = message({"outputs": [tensor("y", [2, 3], data)]})
        assert columns(make("open-inference", outputs=names).decode_response(value, 2)) == split
    other = make("mlflow", outputs=names[:2]).decode_response(listed, 2)
    assert other.fields == ("demand",)
    assert other.cell("demand", 0) == (1, 2, 3)


def test_names_that_the_response_carries_already_stay_where_they_are(make: MakeCodec) -> None:
    codec = make("mlflow", outputs=("a", "b"))
    assert columns(codec.decode_response(message({"predictions": [{"b": 1, "a": 2}]}), 1)) == {
        "b": (1.0,),
        "a": (2.0,),
    }


def test_two_predictions_that_the_route_would_call_the_same_are_unaligned(make: MakeCodec) -> None:
    with pytest.raises(UnalignedError, match="the same name"):
        make("mlflow", outputs=("b", "z")).decode_response(
            message({"predictions": [{"a": 1, "c": 2, "b": 3}]}), 1
        )


def test_a_missing_prediction_is_missing_however_it_is_spelt(make: MakeCodec) -> None:
    for body in (b'{"predictions": [NaN, 7.0]}', b'{"predictions": [null, 7.0]}'):
        assert make("mlflow").decode_response(Message(body), 2).column("prediction") == (None, 7.0)
    infinite = make("mlflow").decode_response(Message(b'{"predictions": [Infinity, -Infinity]}'), 2)
    assert infinite.column("prediction") == (math.inf, -math.inf)
    vector = make("mlflow").decode_response(Message(b'{"predictions": [[NaN, 0.5], [null, 1]]}'), 2)
    assert vector.column("prediction") == ((None, 0.5), (None, 1))
