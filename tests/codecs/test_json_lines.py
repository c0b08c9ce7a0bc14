import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.codecs.json_lines import JsonLines, array_items, array_message
from guardproxy.codecs.json_text import DEFAULT_PARSER, JsonReader
from guardproxy.codecs.preset import TEXT, ErrorShape, Form, Preset
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Cell, Table

TYPE = "application/jsonlines"


def container(**options: Any) -> JsonLines:
    return JsonLines(CodecOptions(**options), (), (), JsonReader())


def request(text: str | bytes, **options: Any) -> Table:
    body = text.encode() if isinstance(text, str) else text
    return container(**options).decode_request(Message(body, TYPE))


def response(text: str, rows: int | None, **options: Any) -> Table:
    return container(**options).decode_response(Message(text.encode(), TYPE), rows)


def splice(text: str, rows: int, *values: tuple[int, dict[str, Cell]]) -> str:
    patch = [Replacement(row, cells, "test") for row, cells in values]
    return container().splice(Message(text.encode(), TYPE), rows, patch).body.decode()


def columns(table: Table) -> dict[str, tuple[Cell, ...]]:
    return {name: table.column(name) for name in table.fields}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1.5, "b": "x"}\n{"b": "y"}\n', {"a": (1.5, None), "b": ("x", "y")}),
        ("[1.5, 2]\n[3, null]\n", {"f0": (1.5, 3.0), "f1": (2.0, None)}),
        ("1.5\n2.5", {"f0": (1.5, 2.5)}),
        ('{"a": 1}', {"a": (1.0,)}),
        ("[1, NaN]\n[2, 9007199254740993]", {"f0": (1.0, 2.0), "f1": (None, 9007199254740993)}),
    ],
)
def test_a_line_is_a_row(text: str, expected: dict[str, tuple[Cell, ...]]) -> None:
    assert columns(request(text)) == expected


def test_blank_lines_are_no_rows_and_either_break_ends_a_line() -> None:
    assert columns(request('\n{"a": 1}\r\n\r\n \t\n{"a": 2}\r\n')) == {"a": (1.0, 2.0)}


def test_the_forms_of_a_preset_for_the_whole_document_read_its_lines() -> None:
    preset = Preset(
        "mine",
        (Form("/rows"), Form("", columns="/names", otherwise=True)),
        (Form("/predictions"),),
        ErrorShape(TEXT),
        media={TYPE: "json-lines", "application/x-ndjson": "json-lines"},
    )
    codec = make_codec(preset, CodecOptions())
    assert columns(codec.decode_request(Message(b'{"a": 1}\n{"a": 2}\n', TYPE))) == {"a": (1.0, 2.0)}
    assert columns(codec.decode_request(Message(b'{"rows": [1]}\n', "application/x-ndjson"))) != {
        "f0": (1.0,)
    }
    assert columns(codec.decode_response(Message(b"0.5\n0.25\n", TYPE), 2)) == {"prediction": (0.5, 0.25)}
    assert columns(codec.decode_request(Message(b'{"rows": [1, 2]}', None))) == {"f0": (1.0, 2.0)}


def test_sagemakers_lines_may_hold_their_row_in_a_member() -> None:
    codec = make_codec("sagemaker", CodecOptions(features=("x", "y")))
    body = b'{"features": [1.5, 2]}\n{"features": [3, 4]}\n'
    assert columns(codec.decode_request(Message(body, TYPE))) == {"x": (1.5, 3.0), "y": (2.0, 4.0)}
    answer = Message(b'{"score": 0.5}\n{"score": 0.25}\n', TYPE)
    assert (
        codec.splice(answer, 2, [Replacement(0, {"score": 1}, "test")]).body
        == b'{"score": 1.0}\n{"score": 0.25}\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3\n",
        "1,2\n[3\n4]\n",
        '{"a":\n1}\n{"a": 2}\n',
        "1]\n[2\n",
        '{"a": 1}{"a": 2}\n',
        '{"a": 1}\r{"a": 2}\n',
        '{"a": 1},\n{"a": 2}\n',
        "[\n1\n]\n",
        '{"a": 1} // \n',
        "\x0b\n1\n",
    ],
)
def test_every_line_is_one_whole_value(text: str) -> None:
    with pytest.raises(DecodeError, match=r"^line \d+ is not valid JSON"):
        request(text)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": 1, "a": 2}\n{"a": 3}\n', "same key twice"),
        (b"\xef\xbb\xbf1\n", "byte order mark"),
        (b"1\n\xef\xbb\xbf2\n", "byte order mark"),
        (b'"\xff"\n', "not UTF-8"),
        (b'"\\ud800"\n', "surrogate"),
        (b"1e400\n", "not valid JSON"),
        (b"[" * 100_000 + b"\n", "nested"),
        (b"[" * 100_000 + b"]" * 100_000 + b"\n", "nested"),
        (b"9" * 5_000 + b"\n", "not valid JSON"),
        (b'[1]\n{"a": 1}\n', "different kinds"),
        (b"[1]\n[1, 2]\n", "same length"),
    ],
)
def test_hostile_lines_are_undecodable(body: bytes, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        request(body)


def test_rows_are_bounded_before_they_are_read() -> None:
    assert request("1\n" * 5, max_rows=5).rows == 5
    for text in ("1\n" * 6, "1\n" * 5 + "1", "\n" * 6):
        with pytest.raises(DecodeError, match="more than 5 rows"):
            request(text, max_rows=5)


def test_another_character_set_is_opaque() -> None:
    with pytest.raises(OpaqueError):
        container().decode_request(Message(b"1\n", f"{TYPE}; charset=utf-16"))


def test_answers_are_aligned_as_an_array_of_them_would_be() -> None:
    assert columns(response('{"score": 0.5, "label": "a"}\n{"score": 1}\n', 2)) == {
        "score": (0.5, 1.0),
        "label": ("a", None),
    }
    assert columns(response("0.5\n0.25\n", None)) == {"prediction": (0.5, 0.25)}
    assert columns(response("[0.5, 0.5]\n[1, 0]\n", 2)) == {"prediction": ((0.5, 0.5), (1, 0))}
    with pytest.raises(UnalignedError):
        response("0.5\n0.25\n", 3)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("2.50\n7.0\n", {"prediction": 5}, "2.50\n5.0\n"),
        ("2.50\r\n\r\n 7.0 \r\n\n", {"prediction": 5}, "2.50\r\n\r\n 5.0 \r\n\n"),
        ("\n2\n7", {"prediction": 5.0}, "\n2\n5"),
        ("NaN\n7.0", {"prediction": None}, "NaN\nNaN"),
        ("[0.50, 5e-1]\n[1,0]\n", {"prediction": (0.5, 0)}, "[0.50, 5e-1]\n[0.5,0]\n"),
        (
            '{"y": 1.5, "é": "\\n"}\n{ "é":"ß" ,"y":2.5}',
            {"y": 3.5},
            '{"y": 1.5, "é": "\\n"}\n{ "é":"ß" ,"y":3.5}',
        ),
        ('{"y": "a"}\n{"y": "b"}', {"y": "x\ny"}, '{"y": "a"}\n{"y": "x\\ny"}'),
    ],
)
def test_only_the_named_cell_of_a_line_changes(text: str, values: dict[str, Cell], expected: str) -> None:
    assert splice(text, 2, (1, values)) == expected


def test_what_a_column_cannot_take_is_refused() -> None:
    with pytest.raises(PatchError, match="row 0, 'prediction'"):
        splice("1\n2\n", 2, (0, {"prediction": 1.5}))


def test_a_cell_that_says_the_same_already_leaves_the_same_message() -> None:
    message = Message(b'{"y": 2.50}\n{"y": NaN}\n', TYPE)
    for patch in ([], [Replacement(0, {"y": 2.5}, "test"), Replacement(1, {"y": math.nan}, "test")]):
        assert container().splice(message, 2, patch) is message


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(blacklist_categories=["Cs"]), max_size=5),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("abé\n", max_size=2), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip


@given(st.lists(VALUES, max_size=6), st.booleans())
def test_an_array_of_texts_has_their_values_and_gives_them_back(values: list[Any], ascii_only: bool) -> None:
    texts = [
        json.dumps(value, ensure_ascii=ascii_only, indent=at % 3 or None).encode()
        for at, value in enumerate(values)
    ]
    array = array_message(texts, JsonReader(), "text").body
    assert json.loads(array) == values
    assert list(array_items(array, (text.count(b"\n") + 1 for text in texts))) == texts


ROWS = st.lists(
    st.fixed_dictionaries(
        {"y": st.one_of(st.none(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False)),
         "label": st.text(st.characters(blacklist_categories=["Cs"]), max_size=4)}
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@given(ROWS, st.sampled_from(["\n", "\r\n", "\n\n", " \n"]), st.data())
def test_a_splice_changes_one_line_and_what_is_written_is_read_again(
    rows: list[dict[str, Any]], ending: str, data: st.DataObject
) -> None:
    text = "".join(json.dumps(row) + ending for row in rows)
    message = Message(text.encode(), TYPE)
    before = container().decode_response(message, len(rows))
    assert [before.record(at) for at in range(len(rows))] == rows
    row = data.draw(st.integers(0, len(rows) - 1))
    label = data.draw(st.text(st.characters(blacklist_categories=["Cs"]), max_size=4))
    changed = container().splice(message, len(rows), [Replacement(row, {"label": label}, "test")])
    if label == rows[row]["label"]:
        assert changed is message
        return
    after = container().decode_response(changed, len(rows))
    rows[row]["label"] = label
    assert [after.record(at) for at in range(len(rows))] == rows
    pairs = zip(message.body.split(b"\n"), changed.body.split(b"\n"), strict=True)
    assert sum(old != new for old, new in pairs) == 1


@settings(max_examples=200)
@given(st.text('[]{}:,"0123456789.eNa\n\r \\', max_size=30), st.integers(0, 3))
def test_any_text_is_read_line_by_line_or_refused(text: str, rows: int) -> None:
    try:
        table = container().decode_response(Message(text.encode(), TYPE), rows)
    except DecodeError:
        return
    values = [json.loads(line) for line in text.split("\n") if line.strip(" \t\r")]
    assert table.rows == rows
    assert len(values) == rows or rows == 1


@pytest.mark.parametrize("parser", [DEFAULT_PARSER, None])
def test_large_bodies_are_read_alike_with_simdjson_and_without(parser: Any) -> None:
    lines = JsonLines(CodecOptions(), (), (), JsonReader(parser=parser))
    body = b"".join(b"[%d.5, %d]\n" % (row, row) for row in range(2_000))
    table = lines.decode_request(Message(body, TYPE))
    assert table.record(1_999) == {"f0": 1999.5, "f1": 1999.0}


@pytest.mark.parametrize(("lines", "cells"), [(b"1\n2\n", (1.0, 2.0)), (b'"a"\n"b"\n', ("a", "b"))])
def test_plain_values_on_lines_are_rows_where_an_array_of_them_is_one_row(
    lines: bytes, cells: tuple[Cell, ...]
) -> None:
    table = make_codec("sagemaker", CodecOptions()).decode_request(Message(lines, "application/jsonlines"))
    assert table.column("f0") == cells
    array = make_codec("sagemaker", CodecOptions()).decode_request(Message(b"[1, 2]", "application/json"))
    assert array.rows == 1
