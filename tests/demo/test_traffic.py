"""What the demo's client sends, and its own eyes for what comes back."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.demo.dataset import FEATURES, WEATHER
from guardproxy.demo.traffic import (
    changed_rows,
    error_text,
    in_kelvin,
    in_pascal,
    infer_body,
    read_answer,
    shifted_weather,
    without_weather,
)

ROW: dict[str, object] = {
    "airport": "EWR", "hour": 8, "weekday": 2, "scheduled": 24, "yesterday": 25, "last_week": 23, "temp": 50.0,
    "dewp": 41.0, "humid": 71.0, "wind_dir": 220.0, "wind_speed": 9.2, "precip": 0.0, "pressure": 1017.3, "visib": 10.0,
}  # fmt: skip


def response(columns: dict[str, list[float]]) -> bytes:
    """A response as the demo's model server writes it."""
    outputs = [{"name": n, "shape": [len(c), 1], "datatype": "FP64", "data": c} for n, c in columns.items()]
    return (json.dumps({"model_name": "departures", "outputs": outputs}) + "\n").encode()


def test_a_request_has_one_tensor_per_feature() -> None:
    document = json.loads(infer_body([ROW, ROW], "r1"))
    assert [tensor["name"] for tensor in document["inputs"]] == list(FEATURES)
    assert {tuple(tensor["shape"]) for tensor in document["inputs"]} == {(2, 1)}
    assert document["inputs"][0]["datatype"] == "BYTES"
    assert document["inputs"][1]["datatype"] == "INT64"


@pytest.mark.parametrize(("missing", "token"), [("null", b"[null]"), ("NaN", b"[NaN]")])
def test_a_missing_cell_is_spelled_as_asked(missing: str, token: bytes) -> None:
    assert infer_body([without_weather(ROW)], "r", missing).count(token) == len(WEATHER)


def test_an_absent_feature_is_left_out_altogether() -> None:
    names = [t["name"] for t in json.loads(infer_body([without_weather(ROW)], "r", "absent"))["inputs"]]
    assert names == [name for name in FEATURES if name not in WEATHER]


def test_a_shifted_row_has_each_value_one_column_too_late_and_loses_the_last() -> None:
    shifted = shifted_weather(ROW)
    assert [shifted[name] for name in WEATHER] == [ROW["temp"], *(ROW[name] for name in WEATHER[:-1])]
    assert {name: shifted[name] for name in FEATURES if name not in WEATHER} == {
        name: ROW[name] for name in FEATURES if name not in WEATHER
    }


def test_unit_errors_change_the_unit_and_nothing_else() -> None:
    assert in_pascal(ROW) == ROW | {"pressure": 101730}
    assert in_kelvin(ROW) == ROW | {"temp": 283.15}
    assert in_kelvin(without_weather(ROW))["temp"] is None


def test_equal_bodies_differ_in_no_row() -> None:
    body = response({"departures": [1.0, math.nan], "p10": [0.5, 2.0]})
    assert changed_rows(body, body) == frozenset()


def test_the_rows_of_changed_values_are_found_in_every_output() -> None:
    direct = response({"departures": [1.0, 2.0, 3.0], "p10": [0.0, 1.0, 2.0]})
    served = response({"departures": [1.0, 9.0, 3.0], "p10": [0.0, 1.0, 7.5]})
    assert changed_rows(direct, served) == {1, 2}


def test_a_number_written_otherwise_counts_as_changed() -> None:
    direct = response({"departures": [1.0, 2.0]})
    assert changed_rows(direct, direct.replace(b"2.0", b"2.00")) == {1}


def test_a_changed_byte_outside_the_values_is_no_row() -> None:
    direct = response({"departures": [1.0, 2.0]})
    for served in (direct.rstrip(b"\n"), direct.replace(b", ", b","), direct.replace(b"FP64", b"FP32")):
        assert changed_rows(direct, served) is None


def test_a_lost_value_is_no_row() -> None:
    direct = response({"departures": [1.0, 2.0]})
    assert changed_rows(direct, direct.replace(b"1.0, 2.0", b"1.0")) is None


@settings(max_examples=100)
@given(data=st.data(), rows=st.integers(1, 12))
def test_exactly_the_rows_that_were_rewritten_are_found(data: st.DataObject, rows: int) -> None:
    number = st.floats(allow_infinity=False)
    columns = {
        name: data.draw(st.lists(number, min_size=rows, max_size=rows)) for name in ("departures", "p10")
    }
    chosen = data.draw(st.sets(st.integers(0, rows - 1)))
    rewritten = {
        name: ["another" if row in chosen and name == "p10" else value for row, value in enumerate(column)]
        for name, column in columns.items()
    }
    assert changed_rows(response(columns), response(rewritten)) == chosen  # type: ignore[arg-type]


def test_an_answer_is_read_by_output() -> None:
    assert read_answer(response({"departures": [1.0, 2.0]})) == {"departures": [1.0, 2.0]}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error": "no"}', b'{"outputs": [{"name": "x"}]}', b"\xff"])
def test_what_is_no_answer_is_called_so(body: bytes) -> None:
    with pytest.raises(ValueError, match="no inference response"):
        read_answer(body)


def test_only_the_protocols_own_error_shape_counts() -> None:
    assert error_text(b'{"error": "too hot"}') == "too hot"
    for body in (
        b'{"detail": "x"}',
        b'{"error": 3}',
        b'{"error": "x", "trace": "y"}',
        b"<html>",
        b'["error"]',
    ):
        assert error_text(body) is None
