import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, PatchError
from guardproxy.message import Message
from guardproxy.table import Cell
from tests.codecs.conftest import MakeCodec
from tests.codecs.exchanges import STYLES, spelled
from tests.codecs.test_requests import message, tensor

ROWS = 1000
PATCHED = (0, 500, 999)


def old(row: int, element: int = 0) -> float:
    """A number whose text stands only once in a document of these tests."""
    return 98765000 + row * 10 + element + 0.125


def new(row: int, element: int = 0) -> float:
    return 1000 * row + element + 0.25


Case = tuple[str, dict[str, Any], Any, Callable[[int], dict[str, Cell]], int]


def _rows(of: Callable[[int], Any]) -> list[Any]:
    return [of(row) for row in range(ROWS)]


def _vector(row: int) -> list[float]:
    return [old(row), old(row, 1), old(row, 2)]


def _flat() -> list[float]:
    return [value for row in range(ROWS) for value in _vector(row)]


def _scalar_patch(name: str) -> Callable[[int], dict[str, Cell]]:
    return lambda row: {name: new(row)}


def _vector_patch(name: str) -> Callable[[int], dict[str, Cell]]:
    return lambda row: {name: (new(row), new(row, 1), new(row, 2))}


CASES: dict[str, Case] = {
    "scalars": ("mlflow", {}, {"predictions": _rows(old)}, _scalar_patch("prediction"), 1),
    "outputs": ("kserve-v1", {}, {"outputs": _rows(old), "k": [1]}, _scalar_patch("prediction"), 1),
    "renamed": ("kserve-v1", {"outputs": ("d",)}, {"predictions": _rows(old)}, _scalar_patch("d"), 1),
    "lists of one": (
        "mlflow",
        {},
        {"predictions": _rows(lambda row: [old(row)])},
        _scalar_patch("prediction"),
        1,
    ),
    "vectors": ("kserve-v1", {}, {"predictions": _rows(_vector)}, _vector_patch("prediction"), 3),
    "split vectors": (
        "kserve-v1",
        {"outputs": ("a", "b", "c")},
        {"predictions": _rows(_vector)},
        lambda row: {"a": new(row), "c": new(row, 2)},
        2,
    ),
    "records": (
        "mlflow",
        {},
        {"predictions": _rows(lambda row: {"label": f"c:{row}", "y": old(row), "why": {"y": [row]}})},
        _scalar_patch("y"),
        1,
    ),
    "vectors in records": (
        "mlflow",
        {},
        {"predictions": _rows(lambda row: {"p": _vector(row), "y": row})},
        _vector_patch("p"),
        3,
    ),
    "columns": (
        "kserve-v1",
        {},
        {"outputs": {"lo": _rows(float), "é": _rows(old)}},
        _scalar_patch("é"),
        1,
    ),
    "columns of vectors": (
        "mlflow",
        {},
        {"predictions": {"p": _rows(_vector), "n": _rows(int)}},
        _vector_patch("p"),
        3,
    ),
    "pointer": (
        "json",
        {"response_rows": "/result/1/scores"},
        {"result": [0, {"scores": _rows(old)}], "scores": [1]},
        _scalar_patch("prediction"),
        1,
    ),
    "[n]": ("open-inference", {}, {"outputs": [tensor("y", [ROWS], _rows(old))]}, _scalar_patch("y"), 1),
    "[n, 1] nested": (
        "open-inference",
        {},
        {"id": "r", "outputs": [tensor("y", [ROWS, 1], _rows(lambda row: [old(row)]))]},
        _scalar_patch("y"),
        1,
    ),
    "[n, k]": (
        "open-inference",
        {},
        {"outputs": [tensor("n", [ROWS], _rows(int), "INT64"), tensor("p", [ROWS, 3], _flat())]},
        _vector_patch("p"),
        3,
    ),
    "[n, k] nested": (
        "open-inference",
        {},
        {"outputs": [tensor("p", [ROWS, 3], _rows(_vector), parameters={"content_type": "np"})]},
        _vector_patch("p"),
        3,
    ),
    "[n, k] split": (
        "open-inference",
        {"outputs": ("a", "b", "c")},
        {"outputs": [tensor("p", [ROWS, 3], _flat())]},
        lambda row: {"b": new(row, 1)},
        1,
    ),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", CASES)
def test_only_the_replaced_cells_change(make: MakeCodec, name: str, style: str) -> None:
    protocol, options, value, values, elements = CASES[name]
    codec = make(protocol, **options)
    body = spelled(value, style)
    patch = [Replacement(row, values(row), "test") for row in PATCHED]
    changed = codec.splice(Message(body), ROWS, patch).body

    expected = body
    for row in PATCHED:
        for element in range(3):
            before, after = str(old(row, element)).encode(), str(new(row, element)).encode()
            if body.count(before) == 1 and after in {str(part).encode() for part in _parts(values(row))}:
                expected = expected.replace(before, after)
    assert changed == expected
    assert sum(a != b for a, b in zip(body.split(b","), changed.split(b","), strict=True)) == elements * 3

    before_table = codec.decode_response(Message(body), ROWS)
    after_table = codec.decode_response(Message(changed), ROWS)
    assert after_table.fields == before_table.fields
    for row in (*PATCHED, 1, 499, 998):
        wanted = {**before_table.record(row), **(values(row) if row in PATCHED else {})}
        assert after_table.record(row) == wanted


def _parts(values: dict[str, Cell]) -> list[Any]:
    return [part for cell in values.values() for part in (cell if isinstance(cell, tuple) else (cell,))]


@pytest.mark.parametrize("protocol", ["mlflow", "kserve-v1", "json", "open-inference"])
def test_an_empty_patch_returns_the_same_object(make: MakeCodec, protocol: str) -> None:
    body = b"not even JSON \xff"
    message = Message(body)
    assert make(protocol).splice(message, 2, ()) is message


def splice(
    text: str, rows: int, *values: tuple[int, dict[str, Cell]], protocol: str = "mlflow", **options: Any
) -> str:
    codec = make_codec(protocol, CodecOptions(**options))
    patch = [Replacement(row, cells, "test") for row, cells in values]
    return codec.splice(Message(text.encode()), rows, patch).body.decode()


def predictions(inner: str, *values: tuple[int, Cell], protocol: str = "mlflow") -> str:
    rows = len(json.loads(inner))
    text = splice(
        f'{{"predictions": {inner}}}',
        rows,
        *((row, {"prediction": cell}) for row, cell in values),
        protocol=protocol,
    )
    return text.removeprefix('{"predictions": ').removesuffix("}")


@pytest.mark.parametrize(
    ("inner", "row", "cell", "expected"),
    [
        ("[2.0, 7.0]", 1, 5, "[2.0, 5.0]"),
        ("[2.0, 7.0]", 1, 0.1, "[2.0, 0.1]"),
        ("[2, 7.5]", 0, 3.0, "[3.0, 7.5]"),
        ("[2, 7]", 1, 5.0, "[2, 5]"),
        ("[2, 7]", 1, 2**60 + 1, "[2, 1152921504606846977]"),
        ("[2.5, 7]", 1, 2**60 + 1, "[2.5, 1152921504606846977]"),
        ("[1e+22, 0.30000000000000004]", 1, 1e22, "[1e+22, 1e+22]"),
        ("[NaN, 7.0]", 0, 1.5, "[1.5, 7.0]"),
        ("[null, null]", 0, 1.5, "[1.5, null]"),
        ("[null, null]", 0, "text", '["text", null]'),
        ("[null, null]", 0, 3, "[3, null]"),
        ('["a", "b"]', 1, 'quote " and é', '["a", "quote \\" and \\u00e9"]'),
        ('["a", "ß"]', 0, "é", '["é", "ß"]'),
        ("[true, false]", 1, True, "[true, true]"),
        ("[[1.0], [2.0]]", 1, 3.0, "[[1.0], [3.0]]"),
        ("[[0.5, 0.5], [1, 0]]", 0, (0.25, 0.75), "[[0.25, 0.75], [1, 0]]"),
        ("[-0.0, 1.5]", 1, -0.0, "[-0.0, -0.0]"),
        ("[ 2.50 ,7.0]", 1, 1.0, "[ 2.50 ,1.0]"),
    ],
)
def test_a_replacement_is_written_as_its_column_is(inner: str, row: int, cell: Cell, expected: str) -> None:
    assert predictions(inner, (row, cell)) == expected


@pytest.mark.parametrize(
    ("inner", "row", "cell"),
    [
        ("[2.50, 7.0]", 0, 2.5),
        ("[2, 7]", 0, 2.0),
        ("[1e1, 7.5]", 0, 10.0),
        ('["\\u0061", "b"]', 0, "a"),
        ("[NaN, 7.0]", 0, None),
        ("[NaN, 7.0]", 0, math.nan),
        ("[null, 7.0]", 0, math.nan),
        ("[Infinity, 7.0]", 0, math.inf),
        ("[[5e-1, 0.50], [1, 0]]", 0, (0.5, 0.5)),
        ("[{}, 1]".replace("{}", "true"), 0, True),
    ],
)
def test_a_cell_that_says_the_same_already_keeps_its_spelling(inner: str, row: int, cell: Cell) -> None:
    assert predictions(inner, (row, cell)) == inner


def test_numpys_numbers_are_numbers() -> None:
    assert predictions("[1.5, NaN]", (0, np.float64(2.5))) == "[2.5, NaN]"
    assert predictions("[1.5, NaN]", (0, np.float32(0.5))) == "[0.5, NaN]"
    assert predictions("[1.5, NaN]", (0, np.float64("nan"))) == "[NaN, NaN]"
    assert predictions("[1, 2]", (0, np.int64(7))) == "[7, 2]"
    assert predictions("[[0.5, 0.5], [1, 0]]", (0, (np.float64(0.25), None))) == "[[0.25, NaN], [1, 0]]"


def test_only_the_changed_elements_of_a_vector_are_written_anew() -> None:
    assert (
        predictions("[[5e-1, 0.50, 1.0], [1, 0, 0]]", (0, (0.5, 0.5, 0.0)))
        == "[[5e-1, 0.50, 0.0], [1, 0, 0]]"
    )


@pytest.mark.parametrize(
    ("protocol", "inner", "cell", "expected"),
    [
        ("mlflow", "[1.5, NaN]", None, "[NaN, NaN]"),
        ("mlflow", "[1.5, null]", None, "[null, null]"),
        ("mlflow", "[1.5, 2.5]", None, "[NaN, 2.5]"),
        ("mlflow", "[1, 2]", None, "[null, 2]"),
        ("mlflow", '["a", "b"]', None, '[null, "b"]'),
        ("mlflow", "[1.5, 2.5]", math.inf, "[Infinity, 2.5]"),
        ("mlflow", "[1.5, 2.5]", -math.inf, "[-Infinity, 2.5]"),
        ("kserve-v1", "[1.5, 2.5]", None, "[null, 2.5]"),
        ("kserve-v1", "[1.5, NaN]", None, "[NaN, NaN]"),
        ("kserve-v1", "[1.5, Infinity]", -math.inf, "[-Infinity, Infinity]"),
        ("mlflow", "[[0.5, 0.5], [1.5, NaN]]", None, "[[NaN, NaN], [1.5, NaN]]"),
        ("mlflow", "[[0.5, 0.5], [1.5, null]]", (0.5, None), "[[0.5, null], [1.5, null]]"),
    ],
)
def test_missing_is_spelt_as_the_response_spells_it(
    protocol: str, inner: str, cell: Cell, expected: str
) -> None:
    assert predictions(inner, (0, cell), protocol=protocol) == expected


@pytest.mark.parametrize(
    ("protocol", "inner", "cell"),
    [
        ("mlflow", "[1.5, 2.5]", "text"),
        ("mlflow", "[1.5, 2.5]", True),
        ("mlflow", "[1.5, 2.5]", (1.0, 2.0)),
        ("mlflow", "[1, 2]", "3"),
        ("mlflow", "[1, 2]", math.inf),
        ("mlflow", "[1, 2]", 1.5),
        ("mlflow", "[1, 2]", True),
        ("mlflow", '["a", "b"]', 1.5),
        ("mlflow", '["a", "b"]', "\ud800"),
        ("mlflow", "[true, false]", 1),
        ("mlflow", "[[0.5, 0.5], [1, 0]]", (1.0,)),
        ("mlflow", "[[0.5, 0.5], [1, 0]]", 1.0),
        ("mlflow", "[[0.5, 0.5], [1, 0]]", (1.0, "x")),
        ("mlflow", "[1.5, 2.5]", 10**400),
        ("kserve-v1", "[1.5, 2.5]", math.inf),
        ("kserve-v1", "[1.5, null]", -math.inf),
    ],
)
def test_what_a_column_cannot_take_is_refused(protocol: str, inner: str, cell: Cell) -> None:
    with pytest.raises(PatchError, match="row 0, 'prediction'"):
        predictions(inner, (0, cell), protocol=protocol)
    codec = make_codec(protocol, CodecOptions())
    body = Message(f'{{"predictions": {inner}}}'.encode())
    assert codec.replacement_problem(body, 2, Replacement(0, {"prediction": cell}, "test"))
    assert codec.replacement_problem(body, 2, Replacement(0, {"prediction": None}, "test")) is None


@pytest.mark.parametrize(("bound", "written"), [(310.5, 310), (990.5, 991), (400.0, 400)])
def test_a_bound_is_the_nearest_whole_number_inside_it_where_there_are_only_whole_numbers(
    bound: float, written: int
) -> None:
    clamp = Replacement(0, {"prediction": bound}, "clamp")
    changed = make_codec("mlflow", CodecOptions()).splice(Message(b'{"predictions": [500, 7]}'), 2, [clamp])
    assert changed.body == b'{"predictions": [%d, 7]}' % written


@pytest.mark.parametrize(
    "inner", ["[[[]], [[1.5]]]", "[[[1.5, 2.5]], [[1.5, 2.5]]]", '[{"a": []}, {"a": []}]']
)
@pytest.mark.parametrize("cell", [None, 1.5, (1.5,)])
def test_a_list_that_is_no_vector_is_never_half_replaced(inner: str, cell: Cell) -> None:
    field = "a" if "a" in inner else "prediction"
    with pytest.raises(PatchError, match="a list that is no vector"):
        splice(f'{{"predictions": {inner}}}', 2, (0, {field: cell}))


def outputs(datatype: str, data: str, cell: Cell) -> str:
    text = f'{{"outputs":[{{"name":"y","datatype":"{datatype}","shape":[2],"data":[{data}]}}]}}'
    changed = splice(text, 2, (0, {"y": cell}), protocol="open-inference")
    start = text.index(data)
    assert changed[:start] == text[:start]
    assert changed.endswith("]}]}")
    return changed[start : -len("]}]}")]


@pytest.mark.parametrize(
    ("datatype", "data", "cell", "expected"),
    [
        ("FP64", "1,2", 0.1, "0.1,2"),
        ("FP64", "1,2", 3, "3.0,2"),
        ("FP32", "1.5,2.5", 0.10000000149011612, "0.1,2.5"),
        ("FP32", "1.5,2.5", 1 / 3, "0.33333334,2.5"),
        ("FP32", "1.5,2.5", 16777217, "16777216.0,2.5"),
        ("FP16", "1.5,2.5", 0.1, "0.1,2.5"),
        ("INT64", "1,2", 2**63 - 1, "9223372036854775807,2"),
        ("INT32", "1,2", 7.0, "7,2"),
        ("INT8", "1,2", -128, "-128,2"),
        ("UINT8", "1,2", 255.0, "255,2"),
        ("BOOL", "true,false", False, "false,false"),
        ("BYTES", '"a","b"', "c", '"c","b"'),
        ("FP64", "null,7.0", 1.5, "1.5,7.0"),
        ("FP64", "1.5,2.5", None, "null,2.5"),
        ("FP64", "1.5,NaN", None, "NaN,NaN"),
        ("FP64", "1.5,NaN", math.inf, "Infinity,NaN"),
        ("NEW128", "1.5,2.5", 1, "1.0,2.5"),
    ],
)
def test_a_tensor_takes_what_its_datatype_can_say(
    datatype: str, data: str, cell: Cell, expected: str
) -> None:
    assert outputs(datatype, data, cell) == expected


@pytest.mark.parametrize(
    ("datatype", "data", "cell"),
    [
        ("FP64", "1,2", "text"),
        ("FP64", "1,2", True),
        ("FP64", "1,2", math.inf),
        ("FP32", "1.5,2.5", 1e39),
        ("FP32", "1.5,2.5", "text"),
        ("FP16", "1.5,2.5", 70_000),
        ("INT64", "1,2", 2**63),
        ("INT32", "1,2", 2147483647.5),
        ("INT8", "1,2", 128),
        ("UINT8", "1,2", -1),
        ("UINT64", "1,2", 2**64),
        ("INT64", "1,2", "1"),
        ("INT64", "1,2", math.inf),
        ("BOOL", "true,false", 1),
        ("BYTES", '"a","b"', 1),
    ],
)
def test_what_a_datatype_cannot_say_is_refused(datatype: str, data: str, cell: Cell) -> None:
    with pytest.raises(PatchError):
        outputs(datatype, data, cell)


RECORDS = '{"predictions": [{"y": 1.5, "why": {"k": 1}, "label": "a"}, {"label": "b", "why": null}]}'


def test_a_record_keeps_all_that_is_not_named() -> None:
    changed = splice(RECORDS, 2, (0, {"y": 2.0, "label": "a", "why": '{"k":1}'}), (1, {"label": "c"}))
    assert changed == RECORDS.replace("1.5", "2.0").replace('"b"', '"c"')


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ([(2, {"y": 1.0})], "no row 2"),
        ([(-1, {"y": 1.0})], "no row -1"),
        ([(0, {"z": 1.0})], "no such prediction"),
        ([(1, {"y": 1.0})], "no such value"),
        ([(0, {"why": "text"})], "object or a list"),
        ([(0, {"y": 1.0}), (0, {"y": 2.0})], "two replacements"),
    ],
)
def test_a_replacement_without_a_place_is_refused(
    patch: list[tuple[int, dict[str, Cell]]], reason: str
) -> None:
    with pytest.raises(PatchError, match=reason):
        splice(RECORDS, 2, *patch)


def test_a_missing_value_that_is_to_be_missing_needs_no_place() -> None:
    assert splice(RECORDS, 2, (1, {"y": None})) == RECORDS


def test_a_single_value_is_replaced_where_it_stands() -> None:
    assert splice('{"predictions": 3.5}', 1, (0, {"prediction": 2.0})) == '{"predictions": 2.0}'
    assert splice(" 3.5\n", 1, (0, {"prediction": 2.0}), protocol="json") == " 2.0\n"
    assert splice('{"a": [1.5, 2.5]}', 1, (0, {"a": (1.5, 3.5)}), protocol="json") == '{"a": [1.5, 3.5]}'
    assert splice("[1.5, 2.5]", 1, (0, {"prediction": (1.5, 3.5)}), protocol="json") == "[1.5, 3.5]"


def test_an_escaped_key_does_not_hide_its_cell() -> None:
    text = '{"pr\\u0065dictions": [{"\\u0079": 1.5}]}'
    assert splice(text, 1, (0, {"y": 2.0})) == text.replace("1.5", "2.0")


def test_a_response_that_cannot_be_read_cannot_be_patched() -> None:
    for text in ('{"predictions": [1.5], "predictions": [2.5]}', '{"predictions": [1.5', "\ufeff{}"):
        with pytest.raises(DecodeError):
            splice(text, 1, (0, {"prediction": 2.0}))
        problem = make_codec("mlflow", CodecOptions()).replacement_problem(
            Message(text.encode()), 1, Replacement(0, {"prediction": 2.0}, "test")
        )
        assert problem


_NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)


@settings(max_examples=200)
@given(st.lists(_NUMBER, min_size=1, max_size=6), st.data(), st.sampled_from([None, 3]))
def test_what_was_spliced_is_read_back(numbers: list[float], data: st.DataObject, indent: int | None) -> None:
    codec = make_codec("kserve-v1", CodecOptions())
    body = json.dumps({"é": 0, "predictions": numbers}, indent=indent, ensure_ascii=False).encode()
    row = data.draw(st.integers(0, len(numbers) - 1))
    whole = all(type(number) is int for number in numbers)
    value = data.draw(
        st.floats(allow_nan=False, allow_infinity=False).map(lambda x: float(round(x)) if whole else x)
    )
    changed = codec.splice(Message(body), len(numbers), [Replacement(row, {"prediction": value}, "t")]).body
    column = codec.decode_response(Message(changed), len(numbers)).column("prediction")
    assert column[row] == value
    assert [cell for at, cell in enumerate(column) if at != row] == [
        n for at, n in enumerate(numbers) if at != row
    ]


def test_splicing_decodes_nothing_it_need_not(make: MakeCodec) -> None:
    body = message({"predictions": [1.5, 2.5], "big": 2**70, "text": "\u2028 </script> \\u0000"})
    changed = make("mlflow").splice(body, 2, [Replacement(1, {"prediction": 9.0}, "t")]).body
    assert changed == body.body.replace(b"2.5", b"9.0")


_CELL = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=3)
    | st.lists(st.none() | st.floats(), max_size=3).map(tuple)
)
_PREDICTIONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=10,
)


@settings(max_examples=200)
@given(_PREDICTIONS, st.integers(1, 3), st.data())
def test_any_replacement_is_written_where_it_belongs_or_refused(
    value: Any, rows: int, data: st.DataObject
) -> None:
    codec = make_codec("kserve-v1", CodecOptions())
    body = Message(json.dumps({"outputs": value}, indent=data.draw(st.sampled_from([None, 1]))).encode())
    try:
        before = codec.decode_response(body, rows)
    except DecodeError:
        return
    row, cell = data.draw(st.integers(0, rows - 1)), data.draw(_CELL)
    field = data.draw(st.sampled_from(before.fields or ("a",)))
    replacement = Replacement(row, {field: cell}, "test")
    problem = codec.replacement_problem(body, rows, replacement)
    if problem is not None:
        with pytest.raises(PatchError) as refused:
            codec.splice(body, rows, [replacement])
        assert problem == str(refused.value)
        return
    changed = codec.splice(body, rows, [replacement]).body
    after = codec.decode_response(Message(changed), rows)
    if after.fields != before.fields:
        assert cell is None or cell != cell, "only a null where yes, no or text stood makes a row numeric"
        return
    for name in before.fields:
        for at in range(rows):
            if (name, at) != (field, row):
                assert after.cell(name, at) == before.cell(name, at)
    assert _means(after.cell(field, row), cell)


def _means(written: Cell, cell: Cell) -> bool:
    if isinstance(written, tuple):
        wanted = cell if isinstance(cell, tuple) else (cell,) * len(written)
        return len(wanted) == len(written) and all(map(_means, written, wanted))
    if isinstance(cell, tuple):
        return len(cell) == 1 and _means(written, cell[0])
    if cell is None or cell != cell:
        return written is None
    if isinstance(written, bool) or isinstance(cell, (bool, str)):
        return written is cell or written == cell
    return isinstance(written, (int, float)) and (written == cell or written == round(cell))
