"""How values look to a person, and how hostile text loses its teeth."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from guardproxy.admin.numberline import WIDTH, line_of
from guardproxy.admin.text import cell, cell_html, duration, exact, number, rfc3339, visible, visible_html
from guardproxy.holds import Band
from guardproxy.table import Cell


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (310000.0, "310,000"), (0.061, "0.061"), (1234567.891, "1,234,568"), (-3.5, "−3.5"), (0.0, "0"), (-0.0, "−0"),
        (1e20, "1e+20"), (-1e-9, "−1e−09"), (float("nan"), "NaN"), (float("inf"), "∞"), (float("-inf"), "−∞"),
        (12, "12"), (1234567, "1,234,567"), (9007199254740993, "9007199254740993"), (100.0, "100"), (123456.7, "123,457"),
    ],
)  # fmt: skip
def test_numbers_read_as_people_write_them(value: float, text: str) -> None:
    assert number(value).replace("-", "−") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "missing"), (True, "yes"), ("a", "“a”"), ((0.25, None, 1), "[0.25, missing, 1]"), ((1.0,) * 20, "[" + "1, " * 12 + "…]")],
)  # fmt: skip
def test_cells_read_as_people_write_them(value: Cell, text: str) -> None:
    assert cell(value) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\x00\x1b[2J\n", "a⟨U+0000⟩⟨U+001B⟩[2J⟨U+000A⟩"),
        ("\u200b\ufeff\u2066", "⟨U+200B⟩⟨U+FEFF⟩⟨U+2066⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("e" + "\u0301" * 50, "e\u0301\u0301"),
        ("x" * 500, "x" * 160 + "…"),
        ("für “mich” 漢字", "für “mich” 漢字"),
    ],
)
def test_nothing_in_a_text_can_hide(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_html_is_escaped_and_long_text_can_be_unfolded() -> None:
    assert "<img" not in visible_html("<img src=x onerror=alert(1)>")
    assert visible_html("\u202e") == '<span class="ctl">⟨U+202E⟩</span>'
    long = visible_html("<b>" * 200)
    assert long.startswith('<details class="long">')
    assert "600 characters" in long
    assert "<b>" not in long
    assert len(visible_html("y" * 10**6)) < 11_000
    assert cell_html((1.0,)) == "[1]"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_no_text_brings_markup_control_or_direction_into_a_page(text: str) -> None:
    html = str(visible_html(text))
    plain = visible(text)
    assert not any(char in plain for char in "\x00\x07\x1b\x7f\u202a\u202e\u2066\u200b\u200f")
    plain.encode()  # raises where a lone surrogate is left
    html.encode()
    for char in "<>\"'":
        assert str(escape(plain)).count(char) == 0


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63))
def test_what_a_form_is_filled_with_reads_back_as_the_same_number(value: float) -> None:
    assert float(exact(value)) == float(value)


def test_a_form_is_left_empty_where_no_finite_number_is() -> None:
    assert [exact(value) for value in (None, float("nan"), float("inf"))] == ["", "", ""]
    assert [exact(value) for value in (True, "x", (0.5, 1))] == ["true", "x", "0.5, 1"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (86_400, "1 d"), (190_000, "2 d 4 h")],
)  # fmt: skip
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_are_rfc_3339_in_utc_and_a_senseless_one_is_none() -> None:
    assert rfc3339(1_780_000_000.0) == "2026-05-28T20:26:40.000Z"
    assert [rfc3339(at) for at in (None, 1e300, float("nan"))] == [None, None, None]


def test_a_value_inside_its_band_stands_between_the_bounds() -> None:
    line = line_of(Band("y", 5.0, 0.0, 10.0, 1.0, 4.0, 9.0))
    assert line is not None
    assert line.value is not None
    assert line.lo is not None
    assert line.hi is not None
    assert line.lo.x < line.value.x < line.hi.x
    assert (line.beyond, line.outside) == (0, False)
    assert line.sentence == "This value is 5; learned: 0 to 10, median 4."


def test_a_value_far_outside_stands_at_the_edge_and_leaves_the_band_readable() -> None:
    for value, side in ((1e12, 1), (-1e12, -1), (float("inf"), 1), (float("-inf"), -1)):
        line = line_of(Band("y", value, 0.0, 10.0))
        assert line is not None
        assert line.band is not None
        assert line.beyond == side
        assert line.band[1] > WIDTH / 4
    near = line_of(Band("y", 12.0, 0.0, 10.0))
    assert near is not None
    assert (near.beyond, near.outside) == (0, True)


@pytest.mark.parametrize(
    ("bound", "ticks"),
    [("0..977", ["0", "977"]), ("<= 500", ["500"]), ("at most 1,000", ["1,000"]), ("−5 to 5", ["−5", "5"]), ("one of a, b", []), ("", []), ("9" * 500, [])],
)  # fmt: skip
def test_a_bound_in_numbers_gets_ticks(bound: str, ticks: list[str]) -> None:
    line = line_of(Band("y", 5.0, 0.0, 10.0), bound)
    assert line is not None
    assert [tick.label for tick in line.bounds] == ticks


FLOATS = st.none() | st.floats()


@settings(max_examples=200, deadline=None)
@given(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS)
def test_whatever_the_numbers_everything_stays_inside_the_drawing(
    value: float | None,
    lo: float | None,
    hi: float | None,
    p1: float | None,
    p50: float | None,
    p99: float | None,
) -> None:
    line = line_of(Band("y", value, lo, hi, p1, p50, p99), "0..1")
    assert line is not None
    places = [
        tick.x for tick in (line.value, line.lo, line.hi, line.median, *line.bounds) if tick is not None
    ]
    for span in (line.band, line.inner):
        places += [span[0], span[0] + span[1]] if span else []
    assert all(math.isfinite(place) and 0 <= place <= WIDTH for place in places)


def test_without_anything_to_stand_against_there_is_no_line() -> None:
    assert line_of(Band("y", 5.0)) is None
