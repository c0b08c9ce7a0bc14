"""Messages: values written for people, and never an exception because of a row."""

import math

import pytest

from guardproxy.rules.language import OpenNames, Ref, Template, compile_template
from guardproxy.table import Cell

NAMES = OpenNames()


def rendered(text: str, **cells: Cell) -> str:
    template = compile_template(text, NAMES)
    assert isinstance(template, Template), template
    return template.render(lambda ref: cells.get(ref.name))


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("{output.x:.0f} units", 40_000.4, "40000 units"),
        ("{output.x:,.0f}", 40_000.4, "40,000"),
        ("{output.x:.1%}", 0.0345, "3.5%"),
        ("{output.x:%}", 0.5, "50.0%"),
        ("{output.x:.3e}", 12345.678, "1.235e+04"),
        ("{output.x:.4g}", 12345.678, "1.235e+04"),
        ("{output.x:d}", 41.0, "41"),
        ("{output.x:,d}", 2**60, "1,152,921,504,606,846,976"),
        ("{output.x:.1f}", 10**400, "inf"),
        ("{output.x}", 10**20 + 1, "100000000000000000001"),
        ("{output.x:8.1f}|", 3.14, "     3.1|"),
        ("{output.x}", 40_000.0, "40000"),
        ("{output.x}", 0.1 + 0.2, "0.3"),
        ("{output.x}", 1e300, "1e+300"),
        ("{output.x:.0f}", -0.2, "0"),
        ("{output.x}", -0.0, "0"),
        ("{output.x:.1f}", math.inf, "inf"),
        ("{output.x}", -math.inf, "-inf"),
        ("{output.x:.1f}", None, "missing"),
        ("{output.x:.1f}", math.nan, "missing"),
        ("{output.x}", True, "yes"),
        ("{output.x > 3}", 1.0, "no"),
        ("{output.x > 3}", None, "missing"),
        ("{output.x > 3}", "text", "error"),
        ("{output.x:.1f}", "text", "text"),
        ("{output.x:6s}|", "abc", "abc   |"),
        ("{output.x:.2s}|", "abc", "ab|"),
        ("{output.x}", "a\nb\x1b[31m", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31m"),
        ("{output.x}", "é" * 300, "é" * 199 + "…"),
        ("{output.x}", (0.25, None, 0.75), "[0.25, missing, 0.75]"),
        ("{{{output.x}}}", 1.0, "{1}"),
        ('{if output.x == "a:}" then "{b}" else "c"}', "a:}", "{b}"),
        ("plain", None, "plain"),
        ("", None, ""),
    ],
)
def test_a_message_shows(text: str, value: Cell, expected: str) -> None:
    assert rendered(text, x=value) == expected


def test_a_message_mixes_text_and_expressions_and_names_what_it_reads() -> None:
    text = "{output.demand:.0f} units is {output.demand / features.last_week:.1f}x"
    template = compile_template(text, NAMES)
    assert isinstance(template, Template)
    assert template.refs == (Ref("output", "demand"), Ref("features", "last_week"))
    assert (
        template.render({Ref("output", "demand"): 900, Ref("features", "last_week"): 120}.get)
        == "900 units is 7.5x"
    )
    assert template.render({}.get) == "missing units is missingx"


def test_a_number_format_on_text_is_refused_at_load_when_the_kind_is_known() -> None:
    found = compile_template("today is {request.date:.1f}", NAMES)
    assert isinstance(found, tuple)
    assert [(flaw.code, flaw.offset, flaw.length) for flaw in found] == [("E152", 23, 3)]


def test_all_flaws_of_a_message_are_told_at_once_at_their_place_in_it() -> None:
    text = "{request.houre} and {foo(1)} and {output.x:z}"
    found = compile_template(text, NAMES)
    assert isinstance(found, tuple)
    assert [(flaw.code, text[flaw.offset : flaw.offset + flaw.length]) for flaw in found] == [
        ("E106", "request.houre"),
        ("E107", "foo"),
        ("E151", "z"),
    ]
