import csv
import io
import math
import string
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.codecs.csv_cells import MISSING
from guardproxy.codecs.csv_lines import CsvLines
from guardproxy.codecs.json_text import DEFAULT_PARSER
from guardproxy.codecs.layouts import MAX_FIELDS
from guardproxy.codecs.preset import TEXT, ErrorShape, Form, Preset
from guardproxy.codecs.signature import Column, Signature
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Cell, Table
from tests.codecs.exchanges import exchanges


def request(
    text: str | bytes, *, header: bool = False, content_type: str = "text/csv", **options: Any
) -> Table:
    body = text.encode() if isinstance(text, str) else text
    codec = CsvLines(CodecOptions(**options), header=header)
    return codec.decode_request(Message(body, content_type))


def response(text: str, rows: int | None, **options: Any) -> Table:
    return CsvLines(CodecOptions(**options)).decode_response(Message(text.encode(), "text/csv"), rows)


def splice(
    text: str, rows: int, *values: tuple[int, dict[str, Cell]], source: str = "test", **options: Any
) -> str:
    patch = [Replacement(row, cells, source) for row, cells in values]
    return CsvLines(CodecOptions(**options)).splice(Message(text.encode()), rows, patch).body.decode()


def columns(table: Table) -> dict[str, tuple[Cell, ...]]:
    return {name: table.column(name) for name in table.fields}


# What a request says


def test_a_request_with_a_line_of_names_has_those_names() -> None:
    table = request("a,b\n1.5,2.0\n2.5,\n", header=True)
    assert columns(table) == {"a": (1.5, 2.5), "b": (2.0, None)}


def test_a_request_without_names_takes_the_routes_the_profiles_or_numbers() -> None:
    assert request("1,2\n").fields == ("f0", "f1")
    assert request("1,2\n", features=("x", "y")).fields == ("x", "y")
    assert request("1,2\n", profile_order=("p", "q")).fields == ("p", "q")
    with pytest.raises(DecodeError, match="the rows have 2 values, the route names 3 features"):
        request("1,2\n", features=("x", "y", "z"))


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n", "\n \t\n"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize("cell", ["2", "x"])
def test_lines_end_with_either_break_and_the_last_may_have_none(
    ending: str, line_break: str, cell: str
) -> None:
    table = request(f"1,{cell}{line_break}3,{cell}{ending}")
    assert columns(table) == {"f0": (1.0, 3.0), "f1": (2.0, 2.0) if cell == "2" else ("x", "x")}


def test_a_blank_line_is_no_row() -> None:
    assert columns(request("\n1\n\n\n2\n  \n3\n")) == {"f0": (1.0, 2.0, 3.0)}
    assert columns(request("\n\na\n\n1\n", header=True)) == {"a": (1.0,)}


def test_a_cell_in_quotes_may_hold_commas_breaks_and_quotes() -> None:
    table = request('"a,1","b\n""2"""\n"x,\r\ny",1.5\n"",2\n', header=True)
    assert columns(table) == {"a,1": ("x,\r\ny", None), 'b\n"2"': (1.5, 2.0)}


def test_quotes_say_nothing_of_a_columns_type() -> None:
    assert columns(request('"1","x"\n"2.5","y"\n')) == {"f0": (1.0, 2.5), "f1": ("x", "y")}


@pytest.mark.parametrize("word", sorted(MISSING))
@pytest.mark.parametrize("others", ["1.5", "x", "true"])
def test_every_word_of_pandas_for_missing_is_missing(word: str, others: str) -> None:
    table = request(f"k,{others}\nl,{word}\n")
    assert table.column("f1")[1] is None
    assert table.column("f1")[0] is not None


def test_other_words_are_not_missing() -> None:
    assert request("missing\nNone\nnone\n").column("f0") == ("missing", None, "none")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1", 1.0), ("-1", -1.0), ("+1", 1.0), ("007", 7.0), ("1.", 1.0), (".5", 0.5), ("-0.0", -0.0), ("1e3", 1000.0),
        ("1E-3", 0.001), (" 1.5\t", 1.5), ("inf", math.inf), ("-Infinity", -math.inf), ("+INF", math.inf),
        ("9007199254740993", 9007199254740993), ("-18446744073709551617", -18446744073709551617), ("1e22", 1e22),
        ("0" * 5000 + "7", 7.0), ("0.1" + "0" * 5000, 0.1),
    ],
)  # fmt: skip
def test_a_number_is_what_it_says(cell: str, value: float) -> None:
    found = request(f"{cell}\n1\n").column("f0")[0]
    assert found == value
    assert math.copysign(1, found) == math.copysign(1, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "cell", ["1_000", "0x10", "1,5"[:1] + "'5", "١", "1 2", "--1", "1e", ".", "e5", "-+inf", "1d"]
)
def test_what_only_some_reader_takes_for_a_number_is_text(cell: str) -> None:
    assert request(f"{cell}\n").column("f0") == (cell,)


@pytest.mark.parametrize("cell", ["1e400", "-1e400", "9" * 400, "9" * 5000, "1" + "0" * 350])
def test_a_number_beyond_a_float64_is_undecodable(cell: str) -> None:
    with pytest.raises(DecodeError, match="beyond the range"):
        request(f"1,{cell}\n2,3\n")


def test_a_text_that_looks_like_too_large_a_number_is_text() -> None:
    assert request("1e400\nx\n").column("f0") == ("1e400", "x")


def test_a_column_has_one_type() -> None:
    assert columns(request("1,true,1\nx,FALSE,\n,,2\n")) == {
        "f0": ("1", "x", None),
        "f1": (True, False, None),
        "f2": (1.0, None, 2.0),
    }


def test_a_column_that_the_signature_calls_text_is_text() -> None:
    signature = Signature((Column("sku", "BYTES"), Column("n", "INT64")))
    assert columns(request("sku,n\n007,1\n", header=True, signature=signature)) == {
        "sku": ("007",),
        "n": (1.0,),
    }
    assert columns(request("007,1\n", signature=signature)) == {"sku": ("007",), "n": (1.0,)}


def test_an_index_that_was_written_along_is_called_as_pandas_calls_it() -> None:
    assert columns(request(",a\n0,1.5\n1,2.5\n", header=True)) == {"Unnamed: 0": (0.0, 1.0), "a": (1.5, 2.5)}


def test_a_request_without_rows_has_none() -> None:
    assert request("a,b\n", header=True).rows == 0
    assert request("a,b\n", header=True).fields == ("a", "b")
    assert request("", features=("x",)).rows == 0
    assert response("", 0).rows == 0


def test_the_codec_of_a_preset_reads_csv_by_its_content_type() -> None:
    preset = Preset(
        "mine",
        (Form("/rows"),),
        (Form("/rows"),),
        ErrorShape(TEXT),
        media={"text/csv": "csv"},
        csv_header=True,
    )
    codec = make_codec(preset, CodecOptions())
    for content_type in ("text/csv", "Text/CSV; charset=UTF-8", 'text/csv;charset="us-ascii"'):
        assert columns(codec.decode_request(Message(b"a\n1\n", content_type))) == {"a": (1.0,)}
    assert codec.decode_request(Message(b'{"rows": [{"a": 1}]}', "application/json")).fields == ("a",)


@pytest.mark.parametrize("name", ["mlflow/in_csv#0", "mlflow/in_csv_charset#0"])
def test_a_captured_request_of_mlflow_is_read(name: str) -> None:
    exchange = exchanges()[name]
    codec = make_codec("mlflow", CodecOptions())
    table = codec.decode_request(Message(exchange.request.body, exchange.request.get("content-type")))
    assert columns(table) == {"a": (1.5, 2.5), "b": (2.0, None)}
    answer = Message(exchange.response.body, exchange.response.get("content-type"))
    assert columns(codec.decode_response(answer, table.rows)) == {"yhat": (3.0, 5.0)}


def test_sagemaker_has_no_line_of_names() -> None:
    codec = make_codec("sagemaker", CodecOptions(features=("x", "y")))
    assert columns(codec.decode_request(Message(b"1,2\n3,4\n", "text/csv"))) == {
        "x": (1.0, 3.0),
        "y": (2.0, 4.0),
    }
    answer = Message(b"0.5\n0.25\n", "text/csv; charset=utf-8")
    assert codec.splice(answer, 2, [Replacement(1, {"prediction": 1}, "test")]).body == b"0.5\n1.0\n"


# What is refused


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"1,2\n3\n", "not all of the same length"),
        (b"1,2\n3,4,5\n", "not all of the same length"),
        (b"1,x\n3\n", "not all of the same length"),
        (b"\xef\xbb\xbf1,2\n", "byte order mark"),
        (b"1,\xff\n", "not UTF-8"),
        (b"1,\xed\xa0\x80\n", "not UTF-8"),
        (b"1\r2\n", "carriage return"),
        (b"1,2\r3,4\r", "carriage return"),
        (b"1\r", "carriage return"),
        (b'1,a"b\n', "quote"),
        (b'1,"a"b\n', "quote"),
        (b'1, "a"\n', "quote"),
        (b'1,"a\n', "quote"),
        (b'"' * 10_001, "quote"),
        (b"1,\0\n", "NUL"),
    ],
)  # fmt: skip
def test_what_readers_take_differently_is_undecodable(body: bytes, said: str) -> None:
    with pytest.raises(DecodeError, match=said) as caught:
        request(body)
    assert not isinstance(caught.value, OpaqueError)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("a,a\n1,2\n", "not distinct"),
        ('"a",a\n1,2\n', "not distinct"),
        ("a,b\n1,2,3\n", "3 cells for 2 columns"),
        ("a,b,c\n1,2\n", "2 cells for 3 columns"),
        ("", "no line with the columns' names"),
        ("\n \n", "no line with the columns' names"),
        ("\ufeffa\n1\n", "byte order mark"),
        ("a\0\n1\n", "NUL"),
    ],
)
def test_names_that_do_not_fit_are_undecodable(body: str, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        request(body, header=True)


def test_another_character_set_is_opaque() -> None:
    with pytest.raises(OpaqueError, match="character set"):
        request("1\n", content_type="text/csv; charset=latin-1")
    with pytest.raises(OpaqueError, match="character set"):
        request("1\n", content_type='text/csv; charset=utf-8; Charset="utf-16"')


@pytest.mark.parametrize("cell", ["1", "x"])
def test_rows_and_columns_are_bounded(cell: str) -> None:
    assert request(f"{cell}\n" * 5, max_rows=5).rows == 5
    assert request("a\n" + f"{cell}\n" * 5, max_rows=5, header=True).rows == 5
    with pytest.raises(DecodeError, match="more than 5 rows"):
        request(f"{cell}\n" * 6, max_rows=5)
    with pytest.raises(DecodeError, match="more than 5 rows"):
        request(f"{cell}\n" * 5 + cell, max_rows=5)
    with pytest.raises(DecodeError, match="more than 5 rows"):
        request("\n" * 100, max_rows=5)
    with pytest.raises(OpaqueError, match=f"more than {MAX_FIELDS} fields"):
        request(",".join([cell] * (MAX_FIELDS + 1)))
    with pytest.raises(OpaqueError):
        request('"",' * (MAX_FIELDS + 1))
    with pytest.raises(OpaqueError):
        request('""' + "," * (20 * MAX_FIELDS))


@pytest.mark.parametrize(
    "body",
    [
        "," * 9_999 + "\n" * 50_000,
        "1," * 9_998 + "1\n" + "1\n" * 50_000,
        ("1," * 9_000 + "1\n") * 5,
        '"' * 100_000,
        "\n" * 90_000,
        '"",' * 30_000,
    ],
)
def test_memory_stays_in_proportion_to_a_body(body: str) -> None:
    data = body.encode()
    tracemalloc.start()
    try:
        outcome(CsvLines(CodecOptions()), data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * len(data) + 1_000_000


def test_no_value_of_a_body_is_in_a_sentence() -> None:
    for body in ('secret,"a"b\n', "secret\n1,2\n", "secret,secret\n1,2\n", "secret,a\n1\n"):
        with pytest.raises(DecodeError) as caught:
            request(body, header=True)
        assert "secret" not in str(caught.value)


# What a response says


def test_a_line_is_a_row_and_a_lone_cell_the_prediction() -> None:
    assert columns(response("225.27\n83.3\n", 2)) == {"prediction": (225.27, 83.3)}
    assert columns(response("225.27\n83.3\n", 2, outputs=("demand",))) == {"demand": (225.27, 83.3)}
    assert columns(response("a\nb", 2)) == {"prediction": ("a", "b")}


def test_several_numbers_in_a_line_are_a_vector_as_in_json() -> None:
    assert columns(response("0.5,0.5\n1,nan\n", 2)) == {"prediction": ((0.5, 0.5), (1.0, None))}
    assert columns(response("0.5,0.5\n1,\n", 2, outputs=("a", "b"))) == {"a": (0.5, 1.0), "b": (0.5, None)}
    assert columns(response("cat,0.9\ndog,0.8\n", 2)) == {
        "prediction_0": ("cat", "dog"),
        "prediction_1": (0.9, 0.8),
    }
    assert columns(response("0.25,0.75", 1)) == {"prediction": ((0.25, 0.75),)}


def test_one_line_with_as_many_cells_as_rows_has_a_row_in_each() -> None:
    assert columns(response("0.5,0.25,1\n", 3)) == {"prediction": (0.5, 0.25, 1.0)}
    assert columns(response("a,b,c", 3)) == {"prediction": ("a", "b", "c")}
    assert columns(response("0.5,,1\n", 3)) == {"prediction": (0.5, None, 1.0)}


def test_lines_of_one_cell_are_the_vector_of_a_lone_row() -> None:
    assert columns(response("0.5\n0.25\n", 1)) == {"prediction": ((0.5, 0.25),)}


def test_without_a_request_to_compare_the_lines_are_the_rows() -> None:
    assert columns(response("0.5\n0.25\n", None)) == {"prediction": (0.5, 0.25)}
    assert columns(response("0.5,0.25\n", None)) == {"prediction": ((0.5, 0.25),)}
    assert columns(response("a,b\nc,d\n", None)) == {"prediction_0": ("a", "c"), "prediction_1": ("b", "d")}


@pytest.mark.parametrize(
    ("text", "rows"),
    [("1\n2\n", 3), ("1,2\n", 3), ("1,2\n3,4\n", 4), ("1,2\n3,4\n", 1), ("1\n2,3\n", 2), ("", 1), ("x,y\n", 3), ("1,2\nx,y\n", 4)],
)  # fmt: skip
def test_lines_that_cannot_be_matched_are_unaligned(text: str, rows: int) -> None:
    with pytest.raises(UnalignedError):
        response(text, rows)


def test_an_output_that_the_signature_calls_text_is_text() -> None:
    signature = Signature((), (Column("label", "BYTES"),))
    assert columns(response("0\n1\n", 2, signature=signature)) == {"prediction": ("0", "1")}
    signature = Signature((), (Column("label", "BYTES"), Column("p", "FP64")))
    assert columns(response("0,0.5\n1,0.25\n", 2, signature=signature)) == {
        "prediction_0": ("0", "1"),
        "prediction_1": (0.5, 0.25),
    }


# What is written


@pytest.mark.parametrize(
    ("text", "row", "cell", "expected"),
    [
        ("2.50\n7.0\n", 1, 5, "2.50\n5.0\n"),
        ("2.50\r\n7.0", 1, 0.1, "2.50\r\n0.1"),
        ("2.50\r\n7.0", 0, 0.1, "0.1\r\n7.0"),
        ("2\n7\n", 0, 5.0, "5\n7\n"),
        ("2\n7\n", 0, 2**60 + 1, f"{2**60 + 1}\n7\n"),
        ("\n2.5\n\n7.5\n\n", 1, 1.5, "\n2.5\n\n1.5\n\n"),
        (' 2.5 \n"7.5"\n', 0, 1.5, ' 1.5 \n"7.5"\n'),
        (' 2.5 \n"7.5"\n', 1, 1.5, ' 2.5 \n"1.5"\n'),
        ("2.5\nnan\n", 0, None, "nan\nnan\n"),
        ("2.5\nNaN\n", 0, math.nan, "NaN\nNaN\n"),
        ("2.5\nnan\n", 1, 1.5, "2.5\n1.5\n"),
        ('2.5\n""\n', 0, None, '""\n""\n'),
        ('2.5\n""\n', 1, 1.5, '2.5\n"1.5"\n'),
        ("2.5\n7.5\n", 0, None, "nan\n7.5\n"),
        ("2\n7\n", 0, None, "nan\n7\n"),
        ("a\nb\n", 0, None, '""\nb\n'),
        ("2.5\n7.5\n", 0, math.inf, "inf\n7.5\n"),
        ("2.5\nInfinity\n", 0, -math.inf, "-Infinity\nInfinity\n"),
        ("True\nFalse\n", 0, False, "False\nFalse\n"),
        ("TRUE\nfalse\n", 1, True, "TRUE\nTRUE\n"),
        ("true\nfalse\n", 1, True, "true\ntrue\n"),
        ("a\nb\n", 1, "ß, \"x\"", 'a\n"ß, ""x"""\n'),
        ('"a"\nb\n', 0, "c", '"c"\nb\n'),
        ("größe\nb\n", 1, "ü", "größe\nü\n"),
        ("a\nb\n", 0, " c", '" c"\nb\n'),
        ("0.5,0.25,1\n", 1, 0.75, "0.5,0.75,1\n"),
    ],
)  # fmt: skip
def test_a_replacement_is_written_as_its_column_is(text: str, row: int, cell: Cell, expected: str) -> None:
    rows = 3 if text.startswith("0.5,") else 2
    assert splice(text, rows, (row, {"prediction": cell})) == expected


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("0.50,5e-1\n1,0\n", {"prediction": (0.5, 0.25)}, "0.50,0.25\n1,0\n"),
        ("0.5,0.5\n1,\n", {"prediction": None}, ",\n1,\n"),
        ("0.5,0.5\n1,0\n", {"prediction": (None, 0.5)}, "nan,0.5\n1,0\n"),
        ("cat,0.9,1\ndog,,2\n", {"prediction_0": "cow", "prediction_1": None}, "cow,,1\ndog,,2\n"),
        ('"cat",0.9\n"dog",0.8\n', {"prediction_1": 0.25}, '"cat",0.25\n"dog",0.8\n'),
        ('"a,b",0.9\n"c\nd",0.8\n', {"prediction_1": 0.25, "prediction_0": "x"}, '"x",0.25\n"c\nd",0.8\n'),
    ],
)
def test_only_the_cells_of_a_line_that_are_named_change(
    text: str, values: dict[str, Cell], expected: str
) -> None:
    assert splice(text, 2, (0, values)) == expected


@pytest.mark.parametrize(("bound", "written"), [(310.5, 310), (990.5, 991)])
def test_a_bound_is_the_whole_number_inside_it_where_there_are_only_whole_numbers(
    bound: float, written: int
) -> None:
    assert splice("500\n7\n", 2, (0, {"prediction": bound}), source="clamp") == f"{written}\n7\n"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("1.5\n2\n", "x"), ("1.5\n2\n", True), ("1.5\n2\n", (1.0, 2.0)), ("1\n2\n", 1.5), ("1\n2\n", math.inf),
        ("1\n2\n", "3"), ("a\nb\n", 1.5), ("a\nb\n", "\ud800"), ("a\nb\n", "x\ny"), ("a\nb\n", "x\0"), ("a\nb\n", "NA"),
        ("a\nb\n", ""), ("true\nfalse\n", 1), ("1.5\n2.5\n", 10**400), ("0.5,0.5\n1,0\n", (1.0,)), ("0.5,0.5\n1,0\n", 1.0),
        ("0.5,0.5\n1,0\n", (1.0, "x")),
    ],
)  # fmt: skip
def test_what_a_column_cannot_take_is_refused(text: str, cell: Cell) -> None:
    with pytest.raises(PatchError, match="row 0, 'prediction'"):
        splice(text, 2, (0, {"prediction": cell}))


def test_a_patch_that_does_not_fit_the_response_is_refused() -> None:
    with pytest.raises(PatchError, match="no row 2"):
        splice("1\n2\n", 2, (2, {"prediction": 1}))
    with pytest.raises(PatchError, match="no such prediction"):
        splice("1\n2\n", 2, (0, {"y": 1}))
    with pytest.raises(PatchError, match="two replacements"):
        splice("1\n2\n", 2, (0, {"prediction": 5}), (0, {"prediction": 6}))


@pytest.mark.parametrize(
    ("text", "cell"),
    [("2.50\n7\n", 2.5), ("2\n7\n", 2.0), ("nan\n7.5\n", None), ('""\n7.5\n', math.nan), ("a\nb\n", "a"), ("TRUE\nFALSE\n", True)],
)  # fmt: skip
def test_a_cell_that_says_the_same_already_leaves_the_same_message(text: str, cell: Cell) -> None:
    codec = CsvLines(CodecOptions())
    message = Message(text.encode(), "text/csv")
    assert codec.splice(message, 2, [Replacement(0, {"prediction": cell}, "test")]) is message
    assert codec.splice(message, 2, ()) is message


# Laws

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70),
    st.integers(-9, 9),
    st.none(),
)
WORDS = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), min_size=1, max_size=6
).filter(lambda text: text not in MISSING and text.strip(" \t") not in MISSING)
TEXTS = st.one_of(WORDS, st.none())
FLAGS = st.one_of(st.booleans(), st.none())


@st.composite
def frames(draw: st.DrawFn) -> list[list[Any]]:
    """Columns of one type each."""
    rows = draw(st.integers(1, 6))
    made = []
    for kind in draw(st.lists(st.sampled_from("nntb"), min_size=2, max_size=5)):
        cells = {"n": NUMBERS, "t": TEXTS, "b": FLAGS}[kind]
        column = draw(st.lists(cells, min_size=rows, max_size=rows))
        if kind == "t":
            column[draw(st.integers(0, rows - 1))] = "x" + draw(WORDS)
        made.append(column)
    return made


def written(frame: list[list[Any]], line_break: str, quoting: Any) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator=line_break, quoting=quoting)
    for row in zip(*frame, strict=True):
        writer.writerow(
            ["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in row]
        )
    return stream.getvalue()


BREAKS = st.sampled_from(["\n", "\r\n"])
QUOTING = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])


@given(frames(), BREAKS, QUOTING, st.booleans())
def test_what_the_standard_library_writes_is_read_as_it_was(
    frame: list[list[Any]], line_break: str, quoting: Any, header: bool
) -> None:
    names = tuple(f"größe {at}" for at in range(len(frame)))
    text = written(frame, line_break, quoting)
    if header:
        text = ",".join(names) + line_break + text
    table = request(text, header=header, features=() if header else names)
    assert table.fields == names
    for name, column in zip(names, frame, strict=True):
        assert list(table.column(name)) == column


@given(frames(), BREAKS, QUOTING, st.data())
def test_a_splice_changes_the_named_cells_and_nothing_else(
    frame: list[list[Any]], line_break: str, quoting: Any, data: st.DataObject
) -> None:
    text = written(frame, line_break, quoting)
    codec = CsvLines(CodecOptions(outputs=tuple(f"o{at}" for at in range(len(frame)))))
    rows = len(frame[0])
    message = Message(text.encode())
    before = codec.decode_response(message, rows)
    row = data.draw(st.integers(0, rows - 1))
    at = data.draw(st.integers(0, len(frame) - 1))
    cell = data.draw(st.sampled_from(frame[at]))
    name = f"o{at}"
    patch = [Replacement(row, {name: cell}, "test")]
    if isinstance(cell, str) and "\n" in cell and cell != frame[at][row]:
        with pytest.raises(PatchError, match="line break"):
            codec.splice(message, rows, patch)
        return
    changed = codec.splice(message, rows, patch)
    if cell == frame[at][row]:
        assert changed is message
        return
    after = codec.decode_response(changed, rows)
    for other in before.fields:
        wanted = list(before.column(other))
        if other == name:
            wanted[row] = cell
        # A column is read as text as long as one of its cells cannot be anything else.
        texts = [item for item in before.column(other) if isinstance(item, str)]
        if not texts or any(isinstance(item, str) and item[:1] == "x" for item in wanted):
            assert list(after.column(other)) == wanted
    old, new = (
        list(csv.reader(io.StringIO(text.decode(), newline=""))) for text in (message.body, changed.body)
    )
    assert [(r, c) for r in range(rows) for c in range(len(frame)) if old[r][c] != new[r][c]] == [(row, at)]
    # All else is the same bytes: what differs is no longer than the cell with its quotes.
    longest = 2 * len(old[row][at].encode()) + 2
    kept = common(message.body, changed.body)
    kept += common(message.body[kept:][::-1], changed.body[kept:][::-1])
    assert len(message.body) - kept <= longest


def common(one: bytes, other: bytes) -> int:
    """How many bytes two texts begin with in common."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


CELLS = st.text('0123456789+-.eE,\nNnaul \r"x', max_size=40)


def outcome(codec: CsvLines, body: bytes) -> Any:
    try:
        table = codec.decode_request(Message(body))
    except DecodeError as problem:
        return type(problem), str(problem)
    return columns(table)


@settings(max_examples=400)
@given(CELLS, st.booleans())
def test_the_fast_reading_and_the_one_that_tells_all_say_the_same(text: str, header: bool) -> None:
    fast = CsvLines(CodecOptions(), header=header)
    body = text.encode()

    class Slow(CsvLines):
        def _numbers(self, body: bytes) -> None:
            return None

    assert repr(outcome(fast, body)) == repr(outcome(Slow(CodecOptions(), header=header), body))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**54), 2**54), st.none()),
             min_size=3, max_size=12),
    st.sampled_from(["", "nan", "NaN", "null"]),
)  # fmt: skip
def test_a_large_body_is_read_alike_with_simdjson_and_without(
    cells: list[float | None], missing: str
) -> None:
    line = ",".join(missing if cell is None else repr(cell) for cell in cells)
    body = f"{line}\n".encode() * 500
    readings = [
        columns(CsvLines(CodecOptions(), parser=parser).decode_request(Message(body)))
        for parser in (DEFAULT_PARSER, None)
    ]
    assert readings[0] == readings[1]
    assert [readings[0][f"f{at}"][499] for at in range(len(cells))] == cells


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_read_or_refused(body: bytes, header: bool) -> None:
    outcome(CsvLines(CodecOptions(), header=header), body)


@given(st.text(string.printable, max_size=60), st.integers(0, 4))
def test_any_text_is_an_answer_or_refused_and_splices_to_itself(text: str, rows: int) -> None:
    codec = CsvLines(CodecOptions())
    message = Message(text.encode())
    try:
        table = codec.decode_response(message, rows)
    except DecodeError:
        return
    same = [Replacement(row, table.record(row), "test") for row in range(table.rows)]
    assert codec.splice(message, rows, same) is message


def test_a_large_table_of_plain_numbers_is_exact() -> None:
    dice = np.random.default_rng(7)
    matrix = dice.normal(size=(1_000, 20))
    body = "\n".join(",".join(map(repr, row)) for row in matrix.tolist()).encode()
    for parser in (DEFAULT_PARSER, None):
        table = CsvLines(CodecOptions(), parser=parser).decode_request(Message(body))
        assert np.array_equal(table.block.T, matrix)
