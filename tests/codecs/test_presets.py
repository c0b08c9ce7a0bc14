import base64
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.codecs.preset import TEXT, ErrorShape, Form, Layout, Pick, Preset, Take
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Cell
from tests.codecs.conftest import MakeCodec
from tests.codecs.exchanges import STYLES, spelled
from tests.codecs.test_requests import columns, message

Columns = dict[str, tuple[Cell, ...]]

REQUESTS: dict[str, tuple[str, Any, Columns]] = {
    "kserve-v1, examples": (
        "kserve-v1",
        {"signature_name": "s", "examples": [{"a": 1.5, "b": "x"}, {"a": 2}]},
        {"a": (1.5, 2.0), "b": ("x", None)},
    ),
    "kserve-v1, examples with a context": (
        "kserve-v1",
        {"context": {"shop": "north", "day": 3}, "examples": [{"a": 1.5}, {"a": 2.5}]},
        {"a": (1.5, 2.5), "shop": ("north", "north"), "day": (3.0, 3.0)},
    ),
    "kserve-v1, examples with an empty context": (
        "kserve-v1",
        {"examples": [{"a": 1.5}], "context": {}},
        {"a": (1.5,)},
    ),
    "kserve-v1, a column of lists": (
        "kserve-v1",
        {"inputs": {"x": [[1.0], [2.0]], "image_bytes": [{"b64": "AA=="}, {"b64": "AQ=="}]}},
        {"x": (1.0, 2.0), "image_bytes": ("AA==", "AQ==")},
    ),
    "kserve-v1, time series": (
        "kserve-v1",
        {
            "model": "m",
            "inputs": [
                {"type": "univariate_time_series", "name": "n", "series": [1.0, 2.5], "frequency": "D"}
            ],
            "options": {"horizon": 2, "quantiles": [0.1, 0.9]},
        },
        {
            "type": ("univariate_time_series",),
            "name": ("n",),
            "series": ((1.0, 2.5),),
            "frequency": ("D",),
            "horizon": (2.0,),
        },
    ),
    "mlflow, Azure's frame": (
        "mlflow",
        {"input_data": {"columns": ["a", "b"], "index": [0, 1], "data": [[1.5, "x"], [2.5, None]]}},
        {"a": (1.5, 2.5), "b": ("x", None)},
    ),
    "mlflow, Azure's list": ("mlflow", {"input_data": [[1.5, 2.5]]}, {"f0": (1.5,), "f1": (2.5,)}),
    "mlflow, Azure's columns": ("mlflow", {"input_data": {"a": [1.5, 2.5]}}, {"a": (1.5, 2.5)}),
    "sagemaker, instances": ("sagemaker", {"instances": [[1.5, 2], [3, 4]]}, {"f0": (1.5, 3), "f1": (2, 4)}),
    "sagemaker, instances of features": (
        "sagemaker",
        {"instances": [{"features": [1.5, 2]}, {"features": [3, 4]}]},
        {"f0": (1.5, 3), "f1": (2, 4)},
    ),
    "sagemaker, instances with more than features": (
        "sagemaker",
        {"instances": [{"features": [1.5, 2], "id": "x"}]},
        {"features": ((1.5, 2),), "id": ("x",)},
    ),
    "sagemaker, arrays": ("sagemaker", [[1.5, "x"], [3, "y"]], {"f0": (1.5, 3), "f1": ("x", "y")}),
    "sagemaker, records": ("sagemaker", [{"a": 1.5}, {"a": 2}], {"a": (1.5, 2)}),
    "sagemaker, one row": ("sagemaker", [1.5, 2.5], {"f0": (1.5,), "f1": (2.5,)}),
    "sagemaker, one object": ("sagemaker", {"a": 1.5, "b": [1, 2]}, {"a": (1.5,), "b": ((1, 2),)}),
    "sagemaker, one object of features": ("sagemaker", {"features": [1.5, 2]}, {"f0": (1.5,), "f1": (2,)}),
    "sagemaker, inputs": ("sagemaker", {"inputs": ["a", "b"], "parameters": {"k": 1}}, {"f0": ("a", "b")}),
    "sagemaker, one input": ("sagemaker", {"inputs": "a text"}, {"f0": ("a text",)}),
    "sagemaker, inputs in columns": ("sagemaker", {"inputs": {"a": [1, 2]}}, {"a": (1, 2)}),
    "seldon, ndarray": (
        "seldon",
        {"meta": {"puid": "p", "tags": {"a": "b"}}, "data": {"names": ["a", "b"], "ndarray": [[1.5, "x"]]}},
        {"a": (1.5,), "b": ("x",)},
    ),
    "seldon, ndarray without names": (
        "seldon",
        {"data": {"ndarray": [[1.5, 2]]}},
        {"f0": (1.5,), "f1": (2,)},
    ),
    "seldon, ndarray with no names": (
        "seldon",
        {"data": {"names": [], "ndarray": [[1.5, 2]]}},
        {"f0": (1.5,), "f1": (2,)},
    ),
    "seldon, tensor": (
        "seldon",
        {"data": {"names": ["a", "b"], "tensor": {"shape": [2, 2], "values": [1.5, 2, 3, None]}}},
        {"a": (1.5, 3), "b": (2, None)},
    ),
    "seldon, tensor of one column": (
        "seldon",
        {"data": {"tensor": {"shape": [3, 1], "values": [1, 2, 3]}}},
        {"f0": (1, 2, 3)},
    ),
    "seldon, JSON": ("seldon", {"jsonData": {"a": 1.5, "b": "x"}}, {"a": (1.5,), "b": ("x",)}),
    "seldon, JSON rows": ("seldon", {"jsonData": [{"a": 1.5}, {"a": 2}]}, {"a": (1.5, 2)}),
    "seldon, text": ("seldon", {"strData": "a text"}, {"f0": ("a text",)}),
    "torchserve, one object": ("torchserve", {"a": 1.5, "v": [1, 2]}, {"a": (1.5,), "v": ((1, 2),)}),
    "torchserve, one row": ("torchserve", [1.5, 2], {"f0": (1.5,), "f1": (2,)}),
    "torchserve, arrays": ("torchserve", [[1.5, 2], [3, 4]], {"f0": (1.5, 3), "f1": (2, 4)}),
    "torchserve, records": ("torchserve", [{"a": 1}, {"b": 2}], {"a": (1, None), "b": (None, 2)}),
    "torchserve, instances": ("torchserve", {"instances": [[1.5, 2]]}, {"f0": (1.5,), "f1": (2,)}),
    "torchserve, a text": ("torchserve", "a text", {"f0": ("a text",)}),
    "bentoml, records": ("bentoml", {"df": [{"a": 1.5}, {"a": 2}]}, {"a": (1.5, 2)}),
    "bentoml, columns": (
        "bentoml",
        {"df": {"a": [1.5, 2], "b": ["x", "y"]}},
        {"a": (1.5, 2), "b": ("x", "y")},
    ),
    "bentoml, arrays": ("bentoml", {"input_data": [[1.5, 2], [3, 4]]}, {"f0": (1.5, 3), "f1": (2, 4)}),
    "bentoml, one object": ("bentoml", {"features": {"a": 1.5, "v": [1, 2]}}, {"a": (1.5,), "v": ((1, 2),)}),
    "bentoml, plain values": ("bentoml", {"a": 1.5, "b": "x"}, {"a": (1.5,), "b": ("x",)}),
    "bentoml, rows and plain values": (
        "bentoml",
        {"rows": [{"a": 1.5}, {"a": 2}], "strict": True, "params": {"k": 1}},
        {"a": (1.5, 2), "strict": (True, True)},
    ),
    "bentoml, several columns": (
        "bentoml",
        {"a": [1.5, 2], "b": ["x", "y"]},
        {"a": (1.5, 2), "b": ("x", "y")},
    ),
    "bentoml, several columns and a plain value": (
        "bentoml",
        {"a": [1.5, 2], "k": True, "b": ["x", "y"]},
        {"a": (1.5, 2), "b": ("x", "y"), "k": (True, True)},
    ),
    "bentoml, several objects": (
        "bentoml",
        {"user": {"age": 3}, "item": {"k": 1}},
        {"user": ('{"age":3}',), "item": ('{"k":1}',)},
    ),
    "bentoml, a bare array": ("bentoml", [{"a": 1.5}, {"a": 2}], {"a": (1.5, 2)}),
    "openai, a chat": (
        "openai",
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Hé"}, {"type": "image_url", "url": "u"}],
                },
            ],
            "temperature": 0.5,
            "max_completion_tokens": 20,
        },
        {
            "prompt": ("Hé",),
            "messages": (2.0,),
            "chars": (11.0,),
            "model": ("m",),
            "temperature": (0.5,),
            "top_p": (None,),
            "max_tokens": (20.0,),
            "n": (None,),
            "stream": (None,),
        },
    ),
    "openai, a chat without text": (
        "openai",
        {"model": "m", "messages": [{"role": "assistant", "content": None}], "max_tokens": 5, "n": 2},
        {
            "prompt": (None, None),
            "messages": (1.0, 1.0),
            "chars": (0.0, 0.0),
            "model": ("m", "m"),
            "temperature": (None, None),
            "top_p": (None, None),
            "max_tokens": (5.0, 5.0),
            "n": (2.0, 2.0),
            "stream": (None, None),
        },
    ),
    "openai, prompts": (
        "openai",
        {"model": "m", "prompt": ["a", "bcd"], "n": 2, "top_p": 1, "stream": False},
        {
            "prompt": ("a", "a", "bcd", "bcd"),
            "chars": (1.0, 1.0, 3.0, 3.0),
            "model": ("m",) * 4,
            "temperature": (None,) * 4,
            "top_p": (1.0,) * 4,
            "max_tokens": (None,) * 4,
            "n": (2.0,) * 4,
            "stream": (False,) * 4,
        },
    ),
    "openai, inputs": (
        "openai",
        {"model": "m", "input": ["a", "bcd"], "encoding_format": "base64"},
        {"input": ("a", "bcd"), "chars": (1.0, 3.0), "model": ("m", "m"), "dimensions": (None, None)},
    ),
    "openai, one input": (
        "openai",
        {"model": "m", "input": "abc", "dimensions": 8},
        {"input": ("abc",), "chars": (3.0,), "model": ("m",), "dimensions": (8.0,)},
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_preset_reads_every_form_of_its_requests(make: MakeCodec, name: str) -> None:
    protocol, value, expected = REQUESTS[name]
    assert columns(make(protocol).decode_request(message(value))) == expected


LARGE: dict[str, tuple[str, Any, str, int]] = {
    "sagemaker": ("sagemaker", [[float(row), row + 0.5] for row in range(900)], "f1", 900),
    "seldon": ("seldon", {"data": {"ndarray": [[float(row), row + 0.5] for row in range(900)]}}, "f1", 900),
    "seldon's tensor": (
        "seldon",
        {"data": {"tensor": {"shape": [900, 2], "values": [row / 2 for row in range(1800)]}}},
        "f1",
        900,
    ),
    "bentoml": ("bentoml", {"x": [[float(row), row + 0.5] for row in range(900)], "k": 1}, "f1", 900),
    "bentoml's columns": ("bentoml", {"x": {"a": [row + 0.5 for row in range(2000)]}}, "a", 2000),
    "torchserve": ("torchserve", [[float(row), row + 0.5] for row in range(900)], "f1", 900),
    "one row of torchserve": ("torchserve", [row + 0.5 for row in range(2000)], "f1", 1),
    "kserve-v1": ("kserve-v1", {"inputs": [[float(row), row + 0.5] for row in range(900)]}, "f1", 900),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_batch_is_read_like_a_small_one(make: MakeCodec, name: str) -> None:
    protocol, value, field, rows = LARGE[name]
    table = make(protocol).decode_request(message(value))
    assert table.rows == rows
    last = {"seldon's tensor": 899.5, "bentoml's columns": 1999.5, "one row of torchserve": 1.5}
    assert table.cell(field, rows - 1) == last.get(name, 899.5)


OPAQUE: dict[str, tuple[str, bytes]] = {
    "a TensorFlow tensor": ("seldon", b'{"data": {"tftensor": {"dtype": "DT_FLOAT"}}}'),
    "bytes": ("seldon", b'{"binData": "AAEC"}'),
    "a tensor of a higher rank": (
        "seldon",
        b'{"data": {"tensor": {"shape": [1, 2, 2], "values": [1, 2, 3, 4]}}}',
    ),
    "a prompt of tokens": ("openai", b'{"model": "m", "prompt": [1, 2, 3]}'),
    "prompts of tokens": ("openai", b'{"model": "m", "prompt": [[1, 2], [3]]}'),
    "an input of tokens": ("openai", b'{"model": "m", "input": [[1, 2]]}'),
    "many tokens": ("openai", json.dumps({"input": list(range(4000))}).encode()),
    "a prompt for mlflow": ("mlflow", b'{"prompt": "hi"}'),
    "an input for mlflow": ("mlflow", b'{"input": "hi"}'),
    "a picture": ("torchserve", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
    "a picture for a container": ("sagemaker", b"\x89PNG\r\n\x1a\n\x00\x00"),
    "a file": ("bentoml", b"PK\x03\x04\x00\x00"),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_a_request_without_visible_rows_is_opaque(make: MakeCodec, name: str) -> None:
    protocol, body = OPAQUE[name]
    with pytest.raises(OpaqueError):
        make(protocol).decode_request(Message(body))


@pytest.mark.parametrize(
    ("protocol", "value"),
    [
        ("bentoml", {"x": [[1]] * 20_000, **{f"a{at}": at for at in range(100)}}),
        ("kserve-v1", {"examples": [{"a": 1}] * 20_000, "context": {f"b{at}": at for at in range(100)}}),
    ],
)
def test_values_for_all_rows_that_make_a_table_far_larger_than_the_body_are_opaque(
    make: MakeCodec, protocol: str, value: Any
) -> None:
    with pytest.raises(OpaqueError, match="the rows share more than"):
        make(protocol).decode_request(message(value))


@pytest.mark.parametrize(
    ("protocol", "content_type"),
    [
        ("torchserve", "image/jpeg"),
        ("torchserve", "multipart/form-data; boundary=x"),
        ("mlflow", "application/vnd.apache.parquet"),
        ("sagemaker", "application/x-image"),
        ("bentoml", "audio/wav"),
    ],
)
def test_a_body_that_says_it_is_something_else_is_opaque(
    make: MakeCodec, protocol: str, content_type: str
) -> None:
    with pytest.raises(OpaqueError):
        make(protocol).decode_request(Message(b"PAR1 is no JSON", content_type))


UNDECODABLE: dict[str, tuple[str, bytes]] = {
    "a context that an example has too": ("kserve-v1", b'{"context": {"a": 1}, "examples": [{"a": 2}]}'),
    "a context with a key twice": ("kserve-v1", b'{"context": {"a": 1, "a": 1}, "examples": [{"b": 2}]}'),
    "a context that is none": ("kserve-v1", b'{"context": [1], "examples": [{"b": 2}]}'),
    "a key twice in an example": ("kserve-v1", b'{"context": {"c": 1}, "examples": [{"b": 2, "b": 3}]}'),
    "examples and instances": ("kserve-v1", b'{"examples": [{"a": 1}], "instances": [[1]]}'),
    "rows twice": ("kserve-v1", b'{"instances": [[1]], "instances": [[2]]}'),
    "Azure's frame and inputs": ("mlflow", b'{"input_data": [[1]], "inputs": [[1]]}'),
    "a chat and inputs": ("mlflow", b'{"messages": [], "inputs": [[1]]}'),
    "instances and inputs": ("sagemaker", b'{"instances": [[1]], "inputs": [[1]]}'),
    "features twice": ("sagemaker", b'{"instances": [{"features": [1], "features": [2]}]}'),
    "ragged rows": ("sagemaker", b"[[1, 2], [3]]"),
    "an ndarray and a tensor": (
        "seldon",
        b'{"data": {"ndarray": [[1]], "tensor": {"shape": [1, 1], "values": [1]}}}',
    ),
    "data and JSON": ("seldon", b'{"data": {"ndarray": [[1]]}, "jsonData": {"a": 1}}'),
    "data twice": ("seldon", b'{"data": {"ndarray": [[1]]}, "data": {"ndarray": [[2]]}}'),
    "an ndarray twice": ("seldon", b'{"data": {"ndarray": [[1]], "ndarray": [[2]]}}'),
    "no data": ("seldon", b'{"data": {"names": ["a"]}}'),
    "names that are none": ("seldon", b'{"data": {"names": "a", "ndarray": [[1]]}}'),
    "more names than columns": ("seldon", b'{"data": {"names": ["a", "b"], "ndarray": [[1]]}}'),
    "a tensor without a shape": ("seldon", b'{"data": {"tensor": {"values": [1]}}}'),
    "a shape that is none": ("seldon", b'{"data": {"tensor": {"shape": [1, true], "values": [1]}}}'),
    "a shape that disagrees": ("seldon", b'{"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3]}}}'),
    "a shape of huge sizes": (
        "seldon",
        b'{"data": {"tensor": {"shape": [4611686018427387904, 4], "values": []}}}',
    ),
    "a negative shape": ("seldon", b'{"data": {"tensor": {"shape": [-1, -1], "values": [1]}}}'),
    "a shape of many huge sizes": (
        "seldon",
        json.dumps({"data": {"tensor": {"shape": [2**60] * 100_000, "values": [1]}}}).encode(),
    ),
    "a shape twice": ("seldon", b'{"data": {"tensor": {"shape": [1, 1], "shape": [1], "values": [1]}}}'),
    "nested values of a tensor": ("seldon", b'{"data": {"tensor": {"shape": [2, 1], "values": [[1], [2]]}}}'),
    "values without width": ("seldon", b'{"data": {"tensor": {"shape": [2, 0], "values": []}}}'),
    "a key twice in one row": ("torchserve", b'{"a": 1, "a": 2}'),
    "instances that are no array": ("torchserve", b'{"instances": 1}'),
    "rows of two kinds": ("torchserve", b'[{"a": 1}, [2]]'),
    "two arrays of other lengths": ("bentoml", b'{"a": [1], "b": [1, 2]}'),
    "two arrays and an object": ("bentoml", b'{"a": [1], "b": [1], "c": {}}'),
    "a row with the name of an argument": ("bentoml", b'{"rows": [{"a": 1}], "a": 2}'),
    "an argument twice": ("bentoml", b'{"rows": [{"a": 1}], "rows": [{"a": 2}]}'),
    "a key twice in a row": ("bentoml", b'{"rows": [{"a": 1, "a": 2}]}'),
    "a prompt and messages": ("openai", b'{"prompt": "a", "messages": []}'),
    "neither prompt nor messages": ("openai", b'{"model": "m"}'),
    "messages twice": ("openai", b'{"messages": [], "messages": [{"content": "x"}]}'),
    "content twice": ("openai", b'{"messages": [{"content": "x", "content": "y"}]}'),
    "a model twice": ("openai", b'{"messages": [{"content": "x"}], "model": "a", "model": "b"}'),
    "n that is no number": ("openai", b'{"prompt": "a", "n": "2"}'),
    "n that is none": ("openai", b'{"prompt": "a", "n": 0}'),
    "n that is too large": ("openai", b'{"prompt": "a", "n": 1000000000000}'),
    "n that is a yes": ("openai", b'{"prompt": "a", "n": true}'),
    "a broken text": ("openai", b'{"messages": [{"content": "\\ud800"}]}'),
}


@pytest.mark.parametrize("name", UNDECODABLE)
def test_a_request_that_could_be_read_in_two_ways_or_none_is_undecodable(make: MakeCodec, name: str) -> None:
    protocol, body = UNDECODABLE[name]
    with pytest.raises(DecodeError) as caught:
        make(protocol).decode_request(Message(body))
    assert not isinstance(caught.value, OpaqueError)


@pytest.mark.parametrize(
    ("protocol", "value"),
    [
        ("seldon", {"data": {"tensor": {"shape": [11, 1], "values": [1] * 11}}}),
        ("bentoml", {"x": [[1]] * 11}),
        ("openai", {"prompt": ["a"] * 11}),
        ("openai", {"prompt": ["a"] * 6, "n": 2}),
        ("kserve-v1", {"examples": [{"a": 1}] * 11, "context": {"b": 1}}),
        ("torchserve", [[1]] * 11),
        ("sagemaker", {"instances": [{"features": [1]}] * 11}),
    ],
)
def test_every_preset_keeps_to_the_limit_of_rows(make: MakeCodec, protocol: str, value: Any) -> None:
    with pytest.raises(DecodeError, match="more than 10 rows"):
        make(protocol, max_rows=10).decode_request(message(value))


def doubled(value: Any) -> Iterator[str]:
    """Write a document once for each member of each object in it, that member with another value behind the first."""
    whole = json.dumps(value)
    for path in _members(value):
        owner = value
        for step in path[:-1]:
            owner = owner[step]
        mark = {**owner, path[-1]: "\0mark"}
        text = json.dumps(_replaced(value, path[:-1], mark))
        both = f"{json.dumps(owner[path[-1]])}, {json.dumps(path[-1])}: {json.dumps('another')}"
        made = text.replace(json.dumps("\0mark"), both)
        assert made != whole
        yield made


def _members(value: Any) -> Iterator[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in steps:
        if isinstance(value, dict):
            yield (step,)
        yield from ((step, *path) for path in _members(item))


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    made = value.copy()
    made[path[0]] = _replaced(value[path[0]], path[1:], new)
    return made


@pytest.mark.parametrize("name", REQUESTS)
def test_a_member_that_stands_twice_never_changes_what_a_request_is_read_as(
    make: MakeCodec, name: str
) -> None:
    protocol, value, expected = REQUESTS[name]
    codec = make(protocol)
    for body in doubled(value):
        try:
            table = codec.decode_request(Message(body.encode()))
        except DecodeError:
            continue
        assert columns(table) == expected, body


def embedding(*numbers: float) -> str:
    """The numbers as the real client asks for them."""
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


CHAT = {
    "id": "c",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "tool_calls": []},
            "finish_reason": "stop",
        },
        {"index": 1, "message": {"role": "assistant", "content": None}, "finish_reason": "tool_calls"},
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10, "details": {"a": 1}},
}

RESPONSES: dict[str, tuple[str, Any, int | None, Columns]] = {
    "kserve-v1, regression": ("kserve-v1", {"results": [3.5, 4.0]}, 2, {"prediction": (3.5, 4.0)}),
    "kserve-v1, classes": (
        "kserve-v1",
        {"results": [[["a", 0.25], ["b", 0.75]], [["a", 0.5], ["b", 0.5]]]},
        2,
        {"label": ("b", "a"), "score": (0.75, 0.5), "scores": ((0.25, 0.75), (0.5, 0.5))},
    ),
    "kserve-v1, classes of a request unseen": (
        "kserve-v1",
        {"results": [[["a", 0.25], ["b", None]]] * 3},
        None,
        {"label": ("a",) * 3, "score": (0.25,) * 3, "scores": ((0.25, None),) * 3},
    ),
    "kserve-v1, a forecast": (
        "kserve-v1",
        {
            "outputs": [
                {
                    "type": "forecast",
                    "status": "completed",
                    "content": [
                        {
                            "name": "n",
                            "mean_forecast": [1.5, 2.5],
                            "quantiles": {"0.1": [1, 2], "0.9": [2, 3]},
                        }
                    ],
                }
            ]
        },
        1,
        {"mean_forecast": ((1.5, 2.5),), "p10": ((1, 2),), "p90": ((2, 3),)},
    ),
    "kserve-v1, nested outputs": (
        "kserve-v1",
        {"outputs": {"mean": [[1.5], [2.5]], "p": [[0.5, 0.5], [1, 0]]}},
        2,
        {"mean": (1.5, 2.5), "p": ((0.5, 0.5), (1, 0))},
    ),
    "mlflow, Azure": ("mlflow", [1.5, 2.5], 2, {"prediction": (1.5, 2.5)}),
    "sagemaker, a bare list": ("sagemaker", [1.5, 2.5], 2, {"prediction": (1.5, 2.5)}),
    "sagemaker, predictions": (
        "sagemaker",
        {"predictions": [{"score": 0.5, "predicted_label": 1}, {"score": 0.25, "predicted_label": 0}]},
        2,
        {"score": (0.5, 0.25), "predicted_label": (1, 0)},
    ),
    "sagemaker, labels of one text": (
        "sagemaker",
        [{"label": "POSITIVE", "score": 0.75}],
        1,
        {"label": ("POSITIVE",), "score": (0.75,)},
    ),
    "seldon, ndarray": (
        "seldon",
        {"data": {"names": ["yhat"], "ndarray": [[1.5], [2.5]]}, "meta": {"metrics": [{"k": 1}]}},
        2,
        {"yhat": (1.5, 2.5)},
    ),
    "seldon, classes": (
        "seldon",
        {"data": {"names": ["t:0", "t:1"], "ndarray": [[0.25, 0.75], [0.5, 0.5]]}},
        2,
        {"t:0": (0.25, 0.5), "t:1": (0.75, 0.5)},
    ),
    "seldon, no names": ("seldon", {"data": {"names": [], "ndarray": [1.5]}}, 1, {"prediction": (1.5,)}),
    "seldon, tensor": (
        "seldon",
        {"data": {"tensor": {"shape": [2, 1], "values": [1.5, 2.5]}, "names": ["yhat"]}},
        2,
        {"yhat": (1.5, 2.5)},
    ),
    "seldon, wide tensor": (
        "seldon",
        {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}},
        2,
        {"prediction": ((1, 2), (3, 4))},
    ),
    "seldon, tensor of a request unseen": (
        "seldon",
        {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}},
        None,
        {"prediction": ((1, 2), (3, 4))},
    ),
    "seldon, tensor for one row": (
        "seldon",
        {"data": {"tensor": {"shape": [3], "values": [1, 2, 3]}}},
        1,
        {"prediction": ((1, 2, 3),)},
    ),
    "seldon, JSON": ("seldon", {"jsonData": {"y": 1.5, "why": "x"}}, 1, {"y": (1.5,), "why": ("x",)}),
    "seldon, text": ("seldon", {"strData": "yes"}, 1, {"prediction": ("yes",)}),
    "torchserve, an object": (
        "torchserve",
        {"yhat": 1.5, "label": "a"},
        1,
        {"yhat": (1.5,), "label": ("a",)},
    ),
    "torchserve, a value": ("torchserve", 1.5, 1, {"prediction": (1.5,)}),
    "torchserve, boxes of one picture": (
        "torchserve",
        [{"cat": [1, 2], "score": 0.5}, {"cat": [3, 4], "score": 0.25}],
        1,
        {"cat": ("[[1,2],[3,4]]",), "score": ((0.5, 0.25),)},
    ),
    "torchserve, predictions": ("torchserve", {"predictions": [1.5, 2.5]}, 2, {"prediction": (1.5, 2.5)}),
    "bentoml, a list": ("bentoml", [1.5, 2.5], 2, {"prediction": (1.5, 2.5)}),
    "bentoml, records": (
        "bentoml",
        [{"yhat": 1.5, "cls": "a"}, {"yhat": 2.5, "cls": "b"}],
        2,
        {"yhat": (1.5, 2.5), "cls": ("a", "b")},
    ),
    "bentoml, NaN": ("bentoml", math.nan, 1, {"prediction": (None,)}),
    "bentoml, an object": ("bentoml", {"yhat": 1.5}, 1, {"yhat": (1.5,)}),
    "bentoml, predictions and more": (
        "bentoml",
        {"predictions": [{"yhat": 1.5, "model": "rf"}], "meta": {"n": 1}},
        1,
        {"yhat": (1.5,), "model": ("rf",)},
    ),
    "bentoml, an output": ("bentoml", {"output": 1.5}, 1, {"output": (1.5,)}),
    "bentoml, outputs": ("bentoml", {"output": [1.5, 2.5], "took": 3}, 2, {"prediction": (1.5, 2.5)}),
    "bentoml, a nested result": (
        "bentoml",
        {"result": {"scores": [1.5, 2]}, "model": "d"},
        2,
        {"scores": (1.5, 2)},
    ),
    "openai, a chat": (
        "openai",
        CHAT,
        2,
        {
            "content": ("Hello", ""),
            "finish_reason": ("stop", "tool_calls"),
            "role": ("assistant", "assistant"),
            "prompt_tokens": (3, 3),
            "completion_tokens": (7, 7),
            "total_tokens": (10, 10),
        },
    ),
    "openai, a chat without its request": (
        "openai",
        {"choices": [{"index": 0, "message": {"content": "Hi", "role": "assistant"}}]},
        None,
        {"content": ("Hi",), "role": ("assistant",)},
    ),
    "openai, completions": (
        "openai",
        {"choices": [{"text": "a", "index": 0, "finish_reason": "length"}, {"text": "b", "index": 1}]},
        2,
        {"text": ("a", "b"), "finish_reason": ("length", None)},
    ),
    "openai, embeddings": (
        "openai",
        {"data": [{"index": 0, "embedding": [0.5, 1.0]}, {"index": 1, "embedding": [2.0, None]}]},
        2,
        {"embedding": ((0.5, 1.0), (2.0, None))},
    ),
    "openai, embeddings in base64": (
        "openai",
        {
            "data": [
                {"index": 0, "embedding": embedding(0.5, 0.1)},
                {"index": 1, "embedding": embedding(2, math.nan)},
            ],
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
        },
        2,
        {
            "embedding": ((0.5, float(np.float32(0.1))), (2.0, None)),
            "prompt_tokens": (4, 4),
            "total_tokens": (4, 4),
        },
    ),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_preset_reads_every_layout_of_its_responses(make: MakeCodec, name: str) -> None:
    protocol, value, rows, expected = RESPONSES[name]
    table = make(protocol).decode_response(message(value), rows)
    assert columns(table) == expected


@pytest.mark.parametrize("name", RESPONSES)
def test_a_member_that_stands_twice_never_changes_what_a_response_is_read_as(
    make: MakeCodec, name: str
) -> None:
    protocol, value, rows, expected = RESPONSES[name]
    codec = make(protocol)
    for body in doubled(value):
        try:
            table = codec.decode_response(Message(body.encode()), rows)
        except DecodeError:
            continue
        assert columns(table) == expected, body


UNALIGNED: dict[str, tuple[str, Any, int]] = {
    "fewer classes": ("kserve-v1", {"results": [[["a", 0.25]]]}, 2),
    "fewer forecasts": ("kserve-v1", {"outputs": [{"content": [{"mean_forecast": [1]}]}]}, 2),
    "a bare value": ("sagemaker", 1.5, 2),
    "a tensor of another length": ("seldon", {"data": {"tensor": {"shape": [3, 1], "values": [1, 2, 3]}}}, 2),
    "a text": ("seldon", {"strData": "x"}, 2),
    "an object": ("torchserve", {"a": 1}, 2),
    "fewer": ("bentoml", [1.5], 2),
    "one choice": ("openai", {"choices": [{"index": 0, "message": {"content": "x"}}]}, 2),
    "choices out of order": (
        "openai",
        {"choices": [{"index": 1, "message": {"content": "x"}}, {"index": 0, "message": {"content": "y"}}]},
        2,
    ),
    "embeddings out of order": (
        "openai",
        {"data": [{"index": 1, "embedding": [1]}, {"index": 0, "embedding": [2]}]},
        2,
    ),
}


@pytest.mark.parametrize("name", UNALIGNED)
def test_predictions_that_belong_to_no_row_are_unaligned(make: MakeCodec, name: str) -> None:
    protocol, value, rows = UNALIGNED[name]
    with pytest.raises(UnalignedError):
        make(protocol).decode_response(message(value), rows)


UNREADABLE: dict[str, tuple[str, bytes]] = {
    "predictions and results": ("kserve-v1", b'{"predictions": [1], "results": [1]}'),
    "results twice": ("kserve-v1", b'{"results": [1], "results": [2]}'),
    "an ndarray and a text": ("seldon", b'{"data": {"ndarray": [1]}, "strData": "x"}'),
    "a shape that disagrees": ("seldon", b'{"data": {"tensor": {"shape": [1, 2], "values": [1]}}}'),
    "predictions and outputs": ("bentoml", b'{"predictions": [1], "outputs": [1]}'),
    "an object with a key twice": ("torchserve", b'{"y": 1, "y": 2}'),
    "records with a key twice for one row": ("torchserve", b'[{"y": 1}, {"y": 2, "y": 3}]'),
    "no choices": ("openai", b'{"choices": []}'),
    "choices twice": ("openai", b'{"choices": [{"text": "a"}], "choices": [{"text": "b"}]}'),
    "a message twice": (
        "openai",
        b'{"choices": [{"message": {"content": "a"}, "message": {"content": "b"}}]}',
    ),
    "content twice": ("openai", b'{"choices": [{"message": {"content": "a", "content": "b"}}]}'),
    "no field": ("openai", b'{"choices": [{"message": {}}]}'),
    "a choice twice": ("openai", b'{"choices": [{"text": "a", "text": "b"}]}'),
    "choices and data": ("openai", b'{"choices": [{"text": "a"}], "data": [{"embedding": [1]}]}'),
    "no base64": ("openai", b'{"data": [{"embedding": "AAA=A"}]}'),
    "a cut vector": ("openai", b'{"data": [{"embedding": "AAAA"}]}'),
    "an empty vector": ("openai", b'{"data": [{"embedding": ""}]}'),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_response_that_could_be_read_in_two_ways_or_none_is_undecodable(make: MakeCodec, name: str) -> None:
    protocol, body = UNREADABLE[name]
    with pytest.raises(DecodeError) as caught:
        make(protocol).decode_response(Message(body), 1)
    assert not isinstance(caught.value, (OpaqueError, UnalignedError))


def test_only_some_vectors_in_base64_are_undecodable(make: MakeCodec) -> None:
    value = {"data": [{"embedding": embedding(1)}, {"embedding": [1]}]}
    with pytest.raises(DecodeError, match="only some"):
        make("openai").decode_response(message(value), 2)


Patched = tuple[str, dict[str, Any], Any, int, int, dict[str, Cell], list[tuple[Any, Any]]]
"""Protocol, options, response, rows, row, its new values, and the texts that change, old and new."""

PATCHED: dict[str, Patched] = {
    "classes": (
        "kserve-v1",
        {},
        {"results": [[["a", 0.25], ["b", 0.75]], [["c", 0.625], ["d", 0.375]]]},
        2,
        1,
        {"label": "none", "score": 0.0},
        [('"c"', '"none"'), ("0.625", "0.0")],
    ),
    "all scores": (
        "kserve-v1",
        {},
        {"results": [[["a", 0.25], ["b", 0.75]], [["a", 0.625], ["b", 0.375]]]},
        2,
        1,
        {"scores": (0.125, 0.875)},
        [("0.625", "0.125"), ("0.375", "0.875")],
    ),
    "a regression": ("kserve-v1", {}, {"results": [3.5, 4.25]}, 2, 1, {"prediction": 9.5}, [("4.25", "9.5")]),
    "a forecast": (
        "kserve-v1",
        {},
        {"outputs": [{"content": [{"mean_forecast": [1.5, 2.5], "name": "n"}]}]},
        1,
        0,
        {"mean_forecast": (1.5, 7.25)},
        [("2.5", "7.25")],
    ),
    "a beside of Vertex": (
        "kserve-v1",
        {},
        {"predictions": [1.5, 2.5], "deployedModelId": "7", "metadata": {"k": [2.75]}},
        2,
        1,
        {"prediction": 3.25},
        [("2.5", "3.25")],
    ),
    "a bare list": ("sagemaker", {}, [[1.5], [2.5]], 2, 1, {"prediction": 3.25}, [("2.5", "3.25")]),
    "a record": (
        "sagemaker",
        {},
        {"predictions": [{"score": 0.5, "predicted_label": 1}, {"score": 0.25, "predicted_label": 3}]},
        2,
        1,
        {"predicted_label": 4.0},
        [("3", "4")],
    ),
    "an ndarray": (
        "seldon",
        {},
        {"meta": {"puid": "2.5"}, "data": {"names": ["yhat"], "ndarray": [[1.5], [2.75]]}},
        2,
        1,
        {"yhat": 3.25},
        [("2.75", "3.25")],
    ),
    "a column of an ndarray": (
        "seldon",
        {},
        {"data": {"names": ["a", "b"], "ndarray": [[1.5, 2.5], [3.5, 4.5]]}},
        2,
        1,
        {"b": 9.25},
        [("4.5", "9.25")],
    ),
    "a tensor": (
        "seldon",
        {"outputs": ("demand",)},
        {"data": {"tensor": {"shape": [2, 1], "values": [11.5, 12.5]}}},
        2,
        1,
        {"demand": 3.25},
        [("12.5", "3.25")],
    ),
    "a wide tensor": (
        "seldon",
        {},
        {"data": {"tensor": {"shape": [2, 2], "values": [11.5, 12.5, 13.5, 14.5]}}},
        2,
        1,
        {"prediction": (3.25, 14.5)},
        [("13.5", "3.25")],
    ),
    "a tensor for one row": (
        "seldon",
        {},
        {"data": {"tensor": {"shape": [3], "values": [11.5, 12.5, 13.5]}}},
        1,
        0,
        {"prediction": (11.5, 3.25, 13.5)},
        [("12.5", "3.25")],
    ),
    "a text": ("seldon", {}, {"strData": "yes"}, 1, 0, {"prediction": "né"}, [('"yes"', r'"n\u00e9"')]),
    "an object": ("torchserve", {}, {"yhat": 1.5, "label": "a"}, 1, 0, {"label": "b"}, [('"a"', '"b"')]),
    "a score of several": (
        "torchserve",
        {},
        [{"label": "cat", "score": 0.75}, {"label": "dog", "score": 0.25}],
        1,
        0,
        {"score": (0.75, 0.125)},
        [("0.25", "0.125")],
    ),
    "a member": (
        "bentoml",
        {},
        {"result": {"scores": [1.5, 2.5]}, "model": "d"},
        2,
        1,
        {"scores": 3.25},
        [("2.5", "3.25")],
    ),
    "content": ("openai", {}, CHAT, 2, 0, {"content": "No."}, [('"Hello"', '"No."')]),
    "content of a call": ("openai", {}, CHAT, 2, 1, {"content": "No."}, [("null", '"No."')]),
    "content under another name": (
        "openai",
        {"outputs": ("reply",)},
        CHAT,
        2,
        0,
        {"reply": "No."},
        [('"Hello"', '"No."')],
    ),
    "a completion": (
        "openai",
        {},
        {"choices": [{"text": "a", "index": 0}, {"text": "b", "index": 1}]},
        2,
        1,
        {"text": "c"},
        [('"b"', '"c"')],
    ),
    "usage of one row": (
        "openai",
        {},
        {"choices": [{"text": "a", "index": 0}], "usage": {"total_tokens": 12}},
        1,
        0,
        {"total_tokens": 13},
        [("12", "13")],
    ),
    "an embedding": (
        "openai",
        {},
        {"data": [{"index": 0, "embedding": [0.5, 1.5]}, {"index": 1, "embedding": [2.5, 3.5]}]},
        2,
        1,
        {"embedding": (2.5, 9.25)},
        [("3.5", "9.25")],
    ),
    "an embedding in base64": (
        "openai",
        {},
        {
            "data": [
                {"index": 0, "embedding": embedding(0.5, 1)},
                {"index": 1, "embedding": embedding(2.5, 3)},
            ]
        },
        2,
        1,
        {"embedding": (2.5, 9.25)},
        [(embedding(2.5, 3), embedding(2.5, 9.25))],
    ),
}


def is_spelled(name: str, style: str) -> bool:
    """Tell whether a style says the same: one puts a member into the document, which some take for a prediction."""
    protocol, _, value = PATCHED[name][:3]
    return style != "unicode" or (isinstance(value, dict) and protocol not in {"torchserve", "bentoml"})


@pytest.mark.parametrize(
    ("name", "style"), [(name, style) for name in PATCHED for style in STYLES if is_spelled(name, style)]
)
def test_a_patch_changes_the_wanted_texts_and_no_other_byte(make: MakeCodec, name: str, style: str) -> None:
    protocol, options, value, rows, row, values, texts = PATCHED[name]
    body = spelled(value, style)
    expected = body.decode()
    for old, new in texts:
        assert expected.count(old) == 1
        # Only a response that has letters beyond ASCII gets more of them.
        expected = expected.replace(old, new if body.isascii() else new.replace(r"\u00e9", "é"))
    codec = make(protocol, **options)
    patched = codec.splice(Message(body), rows, (Replacement(row, values, "test"),))
    assert patched.body.decode() == expected


@pytest.mark.parametrize("name", PATCHED)
def test_a_patch_of_what_stands_there_already_is_none(make: MakeCodec, name: str) -> None:
    protocol, options, value, rows, row, values, _ = PATCHED[name]
    codec = make(protocol, **options)
    body = message(value)
    table = codec.decode_response(body, rows)
    same = {field: table.cell(field, row) for field in values}
    assert codec.splice(body, rows, (Replacement(row, same, "test"),)) is body


REFUSED: dict[str, tuple[str, Any, int, dict[str, Cell], str]] = {
    "usage of several rows": ("openai", CHAT, 2, {"total_tokens": 1}, "belongs to all rows"),
    "no such field": ("openai", CHAT, 2, {"text": "x"}, "no such prediction"),
    "a number for content": ("openai", CHAT, 2, {"content": 1.5}, "only text"),
    "a shorter vector": (
        "openai",
        {"data": [{"embedding": embedding(1, 2)}]},
        1,
        {"embedding": (1.0,)},
        "1 values do not fit into 2",
    ),
    "one number for a vector": (
        "openai",
        {"data": [{"embedding": embedding(1, 2)}]},
        1,
        {"embedding": 1.0},
        "do not fit",
    ),
    "beyond float32": (
        "openai",
        {"data": [{"embedding": embedding(1, 2)}]},
        1,
        {"embedding": (1e300, 2.0)},
        "beyond the range of float32",
    ),
    "beyond float64": (
        "openai",
        {"data": [{"embedding": embedding(1, 2)}]},
        1,
        {"embedding": (10**400, 2.0)},
        "beyond the range of float32",
    ),
    "text in a vector": (
        "openai",
        {"data": [{"embedding": embedding(1, 2)}]},
        1,
        {"embedding": ("x", 2.0)},  # type: ignore[dict-item]
        "only numbers",
    ),
    "a label that is no text": ("kserve-v1", {"results": [[["a", 0.5]]]}, 1, {"label": 1.5}, "only text"),
    "a score twice": (
        "kserve-v1",
        {"results": [[["a", 0.5], ["b", 0.25]]]},
        1,
        {"score": 0.125, "scores": (0.75, 0.25)},
        "writes the same value",
    ),
    "several arrays of one row": ("torchserve", [[1, 2], [3]], 1, {"prediction": (1, 2)}, "no vector"),
    "half of a whole number": (
        "seldon",
        {"data": {"ndarray": [[3]]}},
        1,
        {"prediction": 3.5},
        "whole number",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_replacement_that_the_response_cannot_hold_is_refused(make: MakeCodec, name: str) -> None:
    protocol, value, rows, values, sentence = REFUSED[name]
    codec = make(protocol)
    replacement = Replacement(0, values, "test")
    with pytest.raises(PatchError, match=sentence):
        codec.splice(message(value), rows, (replacement,))
    assert sentence in (codec.replacement_problem(message(value), rows, replacement) or "")


def test_a_vector_in_base64_is_not_split_into_the_routes_outputs_in_place(make: MakeCodec) -> None:
    codec = make("openai", outputs=("a", "b"))
    body = message({"data": [{"embedding": embedding(1, 2)}]})
    assert columns(codec.decode_response(body, 1)) == {"a": (1.0,), "b": (2.0,)}
    with pytest.raises(PatchError, match="one text"):
        codec.splice(body, 1, (Replacement(0, {"a": 3.0}, "test"),))


@given(
    vectors=st.lists(
        st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2), min_size=1, max_size=4
    ),
    new=st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2),
    row=st.integers(min_value=0, max_value=3),
)
def test_a_vector_in_base64_holds_what_was_written_and_the_others_what_they_held(
    vectors: list[list[float]], new: list[float], row: int
) -> None:
    row %= len(vectors)
    codec = make_codec("openai", CodecOptions())
    body = message({"data": [{"index": at, "embedding": embedding(*of)} for at, of in enumerate(vectors)]})
    patched = codec.splice(body, len(vectors), (Replacement(row, {"embedding": tuple(new)}, "test"),))
    table = codec.decode_response(patched, len(vectors))
    expected = [tuple(of) for of in vectors]
    expected[row] = tuple(new)
    assert list(table.column("embedding")) == expected


POINTED: dict[str, tuple[dict[str, Any], Any, Columns]] = {
    "fields of each row": (
        {"request_rows": "/rows", "request_fields": (("a", "/x/0"), ("b", "/y/deep"), ("c", "/none"))},
        {"rows": [{"x": [1.5], "y": {"deep": "p"}}, {"x": [], "y": {}}]},
        {"a": (1.5, None), "b": ("p", None), "c": (None, None)},
    ),
    "fields of one row": (
        {"request_rows": "", "request_fields": (("a", "/x"), ("whole", ""))},
        {"x": 1.5},
        {"a": (1.5,), "whole": ('{"x":1.5}',)},
    ),
    "a member called -1": (
        {"request_rows": "/-1", "request_fields": (("a", "/-1"),)},
        {"-1": [{"-1": 1.5}]},
        {"a": (1.5,)},
    ),
    "arrays": (
        {"request_rows": "/rows", "request_fields": (("second", "/1"),)},
        {"rows": [[1, 2], [3, 4]]},
        {"second": (2, 4)},
    ),
}


@pytest.mark.parametrize("name", POINTED)
def test_a_routes_pointers_pick_the_features_of_each_row(make: MakeCodec, name: str) -> None:
    options, value, expected = POINTED[name]
    assert columns(make("json", **options).decode_request(message(value))) == expected


def test_a_routes_pointers_pick_the_predictions_of_each_row_and_where_they_are_replaced(
    make: MakeCodec,
) -> None:
    codec = make(
        "json",
        response_rows="/result/items",
        response_fields=(("price", "/quote/value"), ("tags", "/tags"), ("never", "/never")),
    )
    body = b'{"result": {"items": [{"quote": {"value": 1.50}}, {"quote": {"value": 2.50}, "tags": [1, 2]}]}}'
    assert columns(codec.decode_response(Message(body), 2)) == {
        "price": (1.5, 2.5),
        "tags": (None, (1, 2)),
    }
    patched = codec.splice(Message(body), 2, (Replacement(1, {"price": 3.5, "tags": (1, 9)}, "test"),))
    assert patched.body == body.replace(b"2.50", b"3.5").replace(b"[1, 2]", b"[1, 9]")
    with pytest.raises(PatchError, match="no such value"):
        codec.splice(Message(body), 2, (Replacement(0, {"tags": (1, 9)}, "test"),))
    with pytest.raises(UnalignedError):
        codec.decode_response(Message(body), 3)


def test_a_lone_object_is_one_row_of_picked_predictions(make: MakeCodec) -> None:
    codec = make("json", response_rows="/answer", response_fields=(("y", "/values/0"),))
    body = Message(b'{"answer": {"values": [1.5, 2.5]}}')
    assert columns(codec.decode_response(body, 1)) == {"y": (1.5,)}
    patched = codec.splice(body, 1, (Replacement(0, {"y": 4.5}, "test"),))
    assert patched.body == b'{"answer": {"values": [4.5, 2.5]}}'


def test_the_names_of_a_responses_columns_are_where_the_route_says(make: MakeCodec) -> None:
    codec = make("json", response_rows="/data/ndarray", response_columns="/data/names")
    body = Message(b'{"data": {"names": ["mean", "p90"], "ndarray": [[1.5, 2.5], [3.5, 4.5]]}}')
    assert columns(codec.decode_response(body, 2)) == {"mean": (1.5, 3.5), "p90": (2.5, 4.5)}
    patched = codec.splice(body, 2, (Replacement(1, {"p90": 9.5}, "test"),))
    assert patched.body == body.body.replace(b"4.5", b"9.5")


def test_a_pointer_of_a_field_that_is_none_is_told_to_the_operator() -> None:
    with pytest.raises(ValueError, match="is not a JSON Pointer"):
        make_codec("json", CodecOptions(request_fields=(("a", "x"),)))


def test_a_new_protocol_is_a_table_of_ten_lines() -> None:
    preset = Preset(
        name="orders",
        requests=(
            Form("/orders/-1/lines", shared=(Pick("shop", "/shop"),)),
            Form("/line", layout=Layout.SINGLE),
        ),
        responses=(
            Form(
                "/quotes", fields=(Pick("price", "/net"), Pick("notes", "/notes", Take.COUNT)), position="/no"
            ),
        ),
        error=ErrorShape({"fault": {"text": TEXT, "fatal": False}}),
    )
    codec = make_codec(preset, CodecOptions())
    request = {
        "shop": "north",
        "orders": [{"lines": []}, {"lines": [{"sku": "a", "q": 2}, {"sku": "b", "q": 1}]}],
    }
    assert codec.name == "orders"
    assert columns(codec.decode_request(message(request))) == {
        "sku": ("a", "b"),
        "q": (2, 1),
        "shop": ("north", "north"),
    }
    assert columns(codec.decode_request(message({"line": {"sku": "a"}}))) == {"sku": ("a",)}
    body = Message(b'{"quotes": [ {"no": 0, "net": 1.50, "notes": ["x"]}, {"no": 1, "net": 2.50} ]}')
    assert columns(codec.decode_response(body, 2)) == {"price": (1.5, 2.5), "notes": (1, None)}
    patched = codec.splice(body, 2, (Replacement(1, {"price": 9.75}, "test"),))
    assert patched.body == body.body.replace(b"2.50", b"9.75")
    with pytest.raises(PatchError, match="worked out"):
        codec.splice(body, 2, (Replacement(0, {"notes": 2}, "test"),))
    assert json.loads(codec.error(422, "no")[1]) == {"fault": {"text": "no", "fatal": False}}
    with pytest.raises(DecodeError, match="more than one of 'orders/-1/lines' and 'line'"):
        codec.decode_request(message({**request, "line": {}}))


BODIES: dict[str, tuple[str, str, bytes, Columns]] = {
    "mlflow's CSV has a header": (
        "mlflow",
        "text/csv",
        b"a,b\n1.5,x\n2.5,y\n",
        {"a": (1.5, 2.5), "b": ("x", "y")},
    ),
    "sagemaker's CSV has none": (
        "sagemaker",
        "text/csv; charset=utf-8",
        b"1.5,2\n2.5,3",
        {"f0": (1.5, 2.5), "f1": (2, 3)},
    ),
    "JSON lines of features": (
        "sagemaker",
        "application/jsonlines",
        b'{"features": [1.5, 2]}\n{"features": [2.5, 3]}\n',
        {"f0": (1.5, 2.5), "f1": (2, 3)},
    ),
    "JSON lines of records": (
        "sagemaker",
        "application/x-ndjson",
        b'{"a": 1.5}\n{"a": 2}\n',
        {"a": (1.5, 2)},
    ),
    "a form": (
        "seldon",
        "application/x-www-form-urlencoded",
        b"json=%7B%22data%22%3A%7B%22names%22%3A%5B%22a%22%5D%2C%22ndarray%22%3A%5B%5B1.5%5D%5D%7D%7D",
        {"a": (1.5,)},
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_content_type_says_which_container_a_preset_reads(make: MakeCodec, name: str) -> None:
    protocol, content_type, body, expected = BODIES[name]
    assert columns(make(protocol).decode_request(Message(body, content_type))) == expected


def test_a_container_of_npy_is_one_of_sagemakers(make: MakeCodec) -> None:
    body = io.BytesIO()
    np.save(body, np.array([[1.5, 2.0], [2.5, 3.0]]))
    table = make("sagemaker").decode_request(Message(body.getvalue(), "application/x-npy"))
    assert columns(table) == {"f0": (1.5, 2.5), "f1": (2, 3)}


def test_a_streamed_chat_has_the_fields_of_one_that_is_not(make: MakeCodec) -> None:
    parts = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]},
        {"choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"total_tokens": 12}},
    ]
    events = b"".join(b"data: %s\n\n" % json.dumps(part).encode() for part in parts) + b"data: [DONE]\n\n"
    codec = make("openai")
    stream = Message(events, "text/event-stream")
    assert columns(codec.decode_response(stream, 1)) == {
        "content": ("Hello",),
        "finish_reason": ("stop",),
        "role": ("assistant",),
        "total_tokens": (12.0,),
    }
    patched = codec.splice(stream, 1, (Replacement(0, {"content": "No."}, "test"),))
    assert codec.decode_response(patched, 1).column("content") == ("No.",)


def test_seldon_answers_predictions_to_get_too() -> None:
    assert "GET" in make_codec("seldon", CodecOptions()).methods
    assert "GET" not in make_codec("mlflow", CodecOptions()).methods


def test_the_call_of_a_tool_is_an_answer_with_an_empty_text(make: MakeCodec) -> None:
    body = (
        b'{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c"}]},'
        b'"finish_reason":"tool_calls"}]}'
    )
    codec, message = make("openai"), Message(body)
    assert codec.decode_response(message, 1).column("content") == ("",)
    changed = codec.splice(message, 1, [Replacement(0, {"content": "no"}, "test")]).body
    assert changed == body.replace(b'"content":null', b'"content":"no"')
    assert codec.splice(message, 1, [Replacement(0, {"content": ""}, "test")]) is message
