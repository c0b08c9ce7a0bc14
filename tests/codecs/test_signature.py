"""Signatures from V2 metadata and from MLflow's files: what is read, and what is said of what cannot be."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.codecs.signature import DATATYPES, MAX_BYTES, Column, Signature, read_signature
from tests.codecs.exchanges import exchanges


def mlmodel(inputs: Any, outputs: Any = None, **more: Any) -> str:
    """An MLmodel file as MLflow writes it: the two sides are JSON in the YAML."""
    sides = {
        "inputs": json.dumps(inputs),
        "outputs": None if outputs is None else json.dumps(outputs),
        "params": None,
    }
    flavors = {
        "python_function": {
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            "loader_module": "mlflow.sklearn",
        }
    }
    return yaml.safe_dump(
        {"artifact_path": "model", "flavors": flavors, "mlflow_version": "3.17.2", "signature": sides, **more}
    )


def refusal(text: str) -> str:
    with pytest.raises(ValueError, match=r"^model\.json: ") as caught:
        read_signature(text, "model.json")
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 600
    return sentence


def test_v2_metadata_gives_the_names_types_and_widths_in_order() -> None:
    text = exchanges()["oip_v2_mlserver/meta_zoo#0"].response.body.decode()
    assert read_signature(text, "zoo") == Signature(
        (Column("a", "FP64"), Column("b", "FP64")), (Column("output-0", "FP64"),)
    )


@pytest.mark.parametrize(
    ("shape", "width"),
    [
        ([-1], 1), ([], 1), ([-1, 1], 1), ([-1, 4], 4), ([-1, 2, 3], 6), ([1, 4], 4), ([4], 4), ([-1, -1], 0), ([-1, 2, -1], 0),
        (["-1", "4"], 4), ([-1, 2**31 - 1, 2**31 - 1], 0), ([-1, 0], 0),
    ],
)  # fmt: skip
def test_the_width_is_the_product_of_the_axes_behind_the_one_that_counts_rows(
    shape: list[Any], width: int
) -> None:
    text = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": shape}]})
    assert read_signature(text, "x").inputs == (Column("x", "FP32", width),)


def test_metadata_that_names_neither_side_tells_nothing() -> None:
    for name in ("oip_v2_mlserver/meta_model#0", "oip_v2_kserve/v2_meta#0"):
        assert "tells no inputs and no outputs" in refusal(exchanges()[name].response.body.decode())


def test_an_mlmodel_file_gives_its_columns_in_the_words_of_v2() -> None:
    types = ["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"]
    columns = [{"type": each, "name": f"the {each}", "required": True} for each in types]
    found = read_signature(mlmodel(columns, [{"type": "long"}]), "MLmodel")
    assert [column.datatype for column in found.inputs] == [
        "BOOL",
        "INT32",
        "INT64",
        "FP32",
        "FP64",
        "BYTES",
        "BYTES",
        "BYTES",
    ]
    assert [column.name for column in found.inputs] == [f"the {each}" for each in types]
    assert found.outputs == (Column("prediction", "INT64"),)


def test_an_mlmodel_file_gives_its_tensors_with_their_widths() -> None:
    tensors = [
        {"name": "x", "type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}},
        {"name": "words", "type": "tensor", "tensor-spec": {"dtype": "<U10", "shape": [-1]}},
        {"name": "image", "type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, -1, 3]}},
    ]
    found = read_signature(
        mlmodel(tensors, [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1]}}]), "MLmodel"
    )
    assert found.inputs == (Column("x", "FP64", 4), Column("words", "BYTES"), Column("image", "UINT8", 0))
    assert found.outputs == (Column("prediction", "FP32"),)


def test_what_is_nested_has_no_width() -> None:
    columns = [
        {"name": "history", "type": "array", "items": {"type": "double"}},
        {"name": "deep", "type": "array", "items": {"type": "array", "items": {"type": "long"}}},
        {"name": "who", "type": "object", "properties": {}},
        {"name": "any", "type": "any"},
    ]
    found = read_signature(mlmodel(columns), "MLmodel").inputs
    assert [(column.datatype, column.width) for column in found] == [
        ("FP64", 0),
        ("BYTES", 0),
        ("BYTES", 0),
        ("BYTES", 0),
    ]


def test_the_bare_signature_of_an_mlmodel_file_reads_as_the_file_does() -> None:
    columns = [{"type": "double", "name": "a"}, {"type": "string", "name": 7}, {"type": "long"}]
    expected = Signature((Column("a", "FP64"), Column("7", "BYTES"), Column("f2", "INT64")))
    assert read_signature(mlmodel(columns), "x") == expected
    assert read_signature(json.dumps({"inputs": json.dumps(columns), "outputs": None}), "x") == expected
    assert read_signature(json.dumps({"inputs": columns}), "x") == expected


def test_outputs_without_names_are_called_as_predictions_are() -> None:
    found = read_signature(json.dumps({"outputs": [{"type": "double"}, {"type": "double"}]}), "x")
    assert [column.name for column in found.outputs] == ["prediction_0", "prediction_1"]


def test_a_byte_order_mark_anchors_and_old_words_in_a_tools_file_do_no_harm() -> None:
    shared = {"python_version": "3.11"}
    text = mlmodel([{"type": "double", "name": "a"}], first=shared, second=shared) + "mode: on\n"
    assert "&id001" in text
    assert read_signature("\ufeff" + text, "MLmodel").inputs == (Column("a", "FP64"),)


_GOOD = {"name": "x", "datatype": "FP64", "shape": [-1]}


@pytest.mark.parametrize(
    ("told", "part"),
    [
        ([], "holds a list"),
        ("x", "holds text"),
        ({}, "has no signature"),
        ({"signature": None}, "has no signature"),
        ({"signature": 3}, "the signature must be a mapping, not a number"),
        ({"inputs": 3}, "inputs must be a list, not a number"),
        ({"inputs": "[1,"}, "inputs is no JSON: line 1"),
        ({"signature": {"inputs": "x"}}, "signature.inputs is no JSON"),
        ({"inputs": [3]}, "inputs[0] must be a mapping"),
        ({"inputs": [_GOOD, _GOOD]}, "inputs[1] has the name 'x' of one before it"),
        ({"inputs": [{"name": "x"}]}, "neither the key 'datatype' nor the key 'type'"),
        ({"inputs": [{**_GOOD, "datatype": "FLOAT"}]}, "no V2 datatype, but 'FLOAT'"),
        ({"inputs": [{**_GOOD, "datatype": ["FP64"]}]}, "no V2 datatype, but a list"),
        ({"inputs": [{**_GOOD, "name": "a\nb"}]}, "printable"),
        ({"inputs": [{**_GOOD, "name": "x" * 201}]}, "1 to 200"),
        ({"inputs": [{**_GOOD, "name": True}]}, "1 to 200"),
        ({"inputs": [{**_GOOD, "name": "\ud800"}]}, "printable"),
        ({"inputs": [{**_GOOD, "shape": "4"}]}, "a shape such as [-1, 4]"),
        ({"inputs": [{**_GOOD, "shape": [True]}]}, "a shape such as"),
        ({"inputs": [{**_GOOD, "shape": [-2]}]}, "a shape such as"),
        ({"inputs": [{**_GOOD, "shape": [1.5]}]}, "a shape such as"),
        ({"inputs": [{**_GOOD, "shape": [2**63]}]}, "a shape such as"),
        ({"inputs": [{**_GOOD, "shape": ["9" * 12]}]}, "a shape such as"),
        ({"inputs": [{**_GOOD, "shape": [1] * 33}]}, "a shape such as"),
        ({"inputs": [{"name": "x", "type": "decimal"}]}, "no MLflow type, but 'decimal'"),
        ({"inputs": [{"name": "x", "type": {}}]}, "no MLflow type, but a mapping"),
        ({"inputs": [{"name": "x", "type": "tensor"}]}, "without a 'tensor-spec'"),
        (
            {
                "inputs": [
                    {"name": "x", "type": "tensor", "tensor-spec": {"dtype": "complex64", "shape": [-1]}}
                ]
            },
            "'complex64'",
        ),
        ({"outputs": [{"type": "double"}] * 10_001}, "more than 10,000"),
    ],
)
def test_what_is_no_signature_is_one_sentence_that_says_where(told: Any, part: str) -> None:
    assert part in refusal(json.dumps(told))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "holds nothing"),
        ("{", "line 1, column 2"),
        ('{"inputs": [],\n "inputs": []}', "the same key twice"),
        ("[" * 200_000, "too deep"),
        ('{"inputs": ' + "[" * 200_000 + "]" * 200_000 + "}", "too deep"),
        ('{"inputs": ' + "9" * 5_000 + "}", "too long"),
        ("signature:\n\tinputs: 3\n", "line 2, column 1"),
        ("a: &a [*a]\n", "line 1"),
        ("signature: !!python/object/apply:os.system [id]\n", "the tag"),
        ("signature: {inputs: '[]', inputs: '[]'}\n", "stands here twice"),
        ("a:\n" + "".join(f"{' ' * depth}a:\n" for depth in range(1, 100)), "nested deeper"),
        ("x" * (MAX_BYTES + 1), "larger than 4 MiB"),
        ("é" * (MAX_BYTES // 2 + 1), "larger than 4 MiB"),
        ("a: \x00\n", "U+0000"),
        ("<html><body>not here</body></html>", "holds text"),
    ],
)  # fmt: skip
def test_a_hostile_text_is_one_sentence(text: str, part: str) -> None:
    assert part in refusal(text)


def test_a_billion_laughs_are_refused_before_they_are_told() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "aliases" in refusal("\n".join(lines))


@given(st.text(max_size=200) | st.from_regex(r"[\[\]{}\"':,\n a-z0-9&*!-]{0,80}", fullmatch=True))
def test_any_text_is_a_signature_or_a_value_error(text: str) -> None:
    try:
        found = read_signature(text, "x")
    except ValueError:
        return
    assert found.inputs or found.outputs


_COLUMNS = st.lists(
    st.builds(
        Column,
        st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=30),
        st.sampled_from(DATATYPES),
        st.sampled_from([0, 1, 2, 40]),
    ),
    max_size=5,
    unique_by=lambda column: column.name,
)


@given(_COLUMNS, _COLUMNS.filter(bool))
def test_a_signature_written_as_v2_metadata_reads_as_itself(
    inputs: list[Column], outputs: list[Column]
) -> None:
    def told(columns: list[Column]) -> list[dict[str, Any]]:
        return [
            {"name": each.name, "datatype": each.datatype, "shape": [-1, each.width or -1]}
            for each in columns
        ]

    text = json.dumps({"name": "m", "inputs": told(inputs), "outputs": told(outputs)})
    assert read_signature(text, "m") == Signature(tuple(inputs), tuple(outputs))
