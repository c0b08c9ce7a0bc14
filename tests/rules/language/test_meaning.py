"""What expressions mean, example by example; each one is run through all three back-ends."""

import math
from typing import Any

import pytest

from guardproxy.rules.language import (
    Kind,
    LanguageError,
    OpenNames,
    Program,
    Ref,
    column_from_cells,
    compile_expression,
    interpret,
    scalar,
    trace,
    vector,
)
from guardproxy.table import Cell

INF = math.inf
BIG = 2**53 + 1
ERROR = "error"

NAMES = OpenNames(
    lists={
        "promises": frozenset({"guarantee", "no risk"}),
        "mixed": frozenset({"a", 1.0}),
        "profile.features.z.values": frozenset({"a"}),
    },
    kpis={"margin": compile_expression("features.m", OpenNames(), want=Kind.NUMBER)},  # type: ignore[dict-item]
)


def compiled(text: str, names: Any = NAMES, want: Kind | None = None) -> Program:
    program = compile_expression(text, names, want=want)
    assert isinstance(program, Program), program
    return program


def value_of(text: str, cells: dict[str, Cell]) -> Any:
    """Run a text with `x` standing for `features.x` in `cells`; assert that all back-ends agree."""
    program = compiled(text)
    row = {ref: cells.get(ref.name) for ref in program.refs}
    slots = {ref: slot for slot, ref in enumerate(program.refs)}
    results = [
        _caught(lambda: interpret(program, row.__getitem__)),
        _caught(lambda: scalar(program, slots)(list(row.values()))),
    ]
    column = vector(program, slots)([column_from_cells([cell]) for cell in row.values()], 1)
    results.append(ERROR if column.failed(0) else column.cell(0))
    assert [(type(each) is bool, each) for each in results] == [(type(results[0]) is bool, results[0])] * 3
    return results[0]


def _caught(run: Any) -> Any:
    try:
        return run()
    except LanguageError:
        return ERROR


MEANINGS: list[tuple[str, dict[str, Cell], Any]] = [
    # Literals.
    ("250_000", {}, 250_000.0),
    ("4.5e-3", {}, 0.0045),
    ("30%", {}, 0.3),
    ("0.7%", {}, 0.007),
    ("15m", {}, 900.0),
    ("1d - 24h", {}, 0.0),
    ("250ms", {}, 0.25),
    (r'"a\"b\n\u00e9"', {}, 'a"b\né'),
    ("9007199254740993", {}, BIG),
    ("-9007199254740993", {}, -BIG),
    # Precedence.
    ("1 + 2 * 3 - 4 / 2", {}, 5.0),
    ("-features.x * 2", {"x": 3.0}, -6.0),
    ("8 / 2 / 2", {}, 2.0),
    ("10 - 3 - 2", {}, 5.0),
    ("not features.x == 3", {"x": 4.0}, True),
    ("features.x ?? 1 + 2 == 3", {"x": None}, True),
    ("features.x ?? 1 + 2 == 3", {"x": 3.0}, True),
    ("not true or true", {}, True),
    ("if true then 1 else 2 + 5", {}, 1.0),
    # Missing.
    ("features.x + 1", {"x": None}, None),
    ("features.x + 1", {"x": math.nan}, None),
    ("features.x > 3", {"x": None}, None),
    ("features.x / 0", {"x": 1.0}, None),
    ("features.x / features.y", {"x": 1.0, "y": -0.0}, None),
    ("features.x / features.y", {"x": INF, "y": INF}, None),
    ("features.x - features.y", {"x": INF, "y": INF}, None),
    ("features.x * 0", {"x": INF}, None),
    ("features.x * 10", {"x": 1e308}, INF),
    ("features.x / 1e-10", {"x": 1e308}, INF),
    ("exp(features.x)", {"x": 1e6}, INF),
    ("exp(features.x)", {"x": -INF}, 0.0),
    ("log(features.x)", {"x": 0.0}, None),
    ("log(features.x)", {"x": -1.0}, None),
    ("log(features.x)", {"x": INF}, INF),
    ("sqrt(features.x)", {"x": -1e-9}, None),
    ("sqrt(features.x)", {"x": 2.25}, 1.5),
    ("sqrt(features.x)", {"x": 0.0}, 0.0),
    ("log(features.x)", {"x": 0.5}, math.log(0.5)),
    ("log(features.x)", {"x": 1.0}, 0.0),
    ("min(features.x, 3)", {"x": None}, None),
    ("max(3, features.x)", {"x": None}, None),
    ("clamp(features.x, 0, 1)", {"x": None}, None),
    ("clamp(features.x, 0, 1)", {"x": 7.0}, 1.0),
    ("clamp(features.x, 0, 1)", {"x": -INF}, 0.0),
    ("features.x < 3", {"x": -INF}, True),
    ("features.x is missing", {"x": None}, True),
    ("features.x is missing", {"x": math.nan}, True),
    ("features.x is missing", {"x": "text"}, False),
    ("features.x is not missing", {"x": (1.0, None)}, True),
    ("features.x / 0 is missing", {"x": 1.0}, True),
    ("(features.x > 3) is missing", {"x": None}, True),
    ("(features.x > 3) ?? true", {"x": None}, True),
    ("(features.x > 3) ?? true", {"x": 1.0}, False),
    ("features.x ?? features.y ?? 7", {"x": None, "y": None}, 7.0),
    ("coalesce(features.x, features.y, 7)", {"x": None, "y": 5.0}, 5.0),
    # Kleene.
    ("features.x > 3 and false", {"x": None}, False),
    ("features.x > 3 and true", {"x": None}, None),
    ("features.x > 3 or true", {"x": None}, True),
    ("features.x > 3 or false", {"x": None}, None),
    ("not features.x > 3", {"x": None}, None),
    ("features.x and features.y and features.z", {"x": None, "y": True, "z": False}, False),
    ("0 <= features.x <= features.y", {"x": -1.0, "y": None}, False),
    ("0 <= features.x <= features.y", {"x": 1.0, "y": None}, None),
    ("if features.x > 3 then 1 else 2", {"x": None}, None),
    ("if features.x > 3 then 1 else 2", {"x": 9.0}, 1.0),
    ('if features.x > 3 then "high" else "low"', {"x": 1.0}, "low"),
    # Comparisons and lists.
    ("0 <= features.x <= 5000", {"x": 5000.0}, True),
    ("0 <= features.x <= 5000", {"x": 5000.5}, False),
    ("1 < features.x != 3 < 4", {"x": 3.0}, False),
    ('features.x >= "2025-12-01"', {"x": "2025-12-02"}, True),
    ('"a" <= features.x < "c"', {"x": "b"}, True),
    ("features.x in [1, 2, 3]", {"x": 2}, True),
    ("features.x not in [1, 2, 3]", {"x": 2}, False),
    ("features.x in [1, 2, 3]", {"x": None}, None),
    ("features.x not in [1, 2, 3]", {"x": None}, None),
    ("features.x in promises", {"x": "no risk"}, True),
    ("features.x not in lists.promises", {"x": "maybe"}, True),
    ("features.x in promises", {"x": 3.0}, ERROR),
    ("features.x in mixed", {"x": 1.0}, True),
    ("features.x in mixed", {"x": "a"}, True),
    ("features.x in mixed", {"x": "b"}, False),
    ("features.x in [1, 2, 3, 4, 5, 6, 7, 8, 9]", {"x": 9}, True),
    ("features.x in [1, 2, 3, 4, 5, 6, 7, 8, 9]", {"x": 9.5}, False),
    ("features.x not in [1, 2, 3, 4, 5, 6, 7, 8, 9]", {"x": None}, None),
    ("features.x in [true]", {"x": True}, True),
    ("features.x in profile.features.x.values", {"x": "a"}, None),
    ("features.x in profile.features.z.values", {"x": "a"}, True),
    ("features.x in profile.features.z.values", {"x": "b"}, False),
    # Whole numbers beyond 2**53 are compared exactly, and calculated with as float64.
    ("features.x == 9007199254740993", {"x": BIG}, True),
    ("features.x == 9007199254740992", {"x": BIG}, False),
    ("features.x == 9007199254740993", {"x": float(2**53)}, False),
    ("features.x == -9007199254740993", {"x": -BIG}, True),
    ("features.x == features.y", {"x": BIG, "y": 2**53}, False),
    ("features.x in [9007199254740993]", {"x": BIG}, True),
    ("features.x in [9007199254740993]", {"x": 2**53}, False),
    ("features.x + 0 == features.y", {"x": BIG, "y": 2.0**53}, True),
    ("features.x > 1e308", {"x": 10**400}, True),
    ("features.x * 1", {"x": 10**400}, INF),
    ("max(features.x, 1)", {"x": BIG}, BIG),
    (f"(features.x ?? {'9' * 400}) * 1", {"x": None}, INF),
    (f"max(features.x, {'9' * 400}) * 1 > 0", {"x": 1.0}, True),
    # Bounds belong to <= and >=, and not to < and >; the opposite holds elsewhere, and neither where one is missing.
    *(
        (
            f"{negation}features.x {sign} 3",
            {"x": value},
            None if value is None else holds is not bool(negation),
        )
        for negation in ("", "not ")
        for sign, below, at, above in (
            ("<", True, False, False),
            ("<=", True, True, False),
            (">", False, False, True),
            (">=", False, True, True),
            ("==", False, True, False),
            ("!=", True, False, True),
        )
        for value, holds in ((2.0, below), (3.0, at), (4.0, above), (None, False))
    ),
    ('(if features.y then features.x else "a") == "b"', {"x": None, "y": True}, None),
    ('(if features.y then features.x else "a") == "b"', {"x": None, "y": None}, None),
    ('(if features.y then features.x else "a") == "a"', {"x": None, "y": False}, True),
    ('(features.x ?? features.y ?? "a") != "a"', {"x": None, "y": "b"}, True),
    ("(features.x ?? features.y) == false", {"x": None, "y": False}, True),
    # Clashes are errors, except where they cannot change the result.
    ("features.x > 3", {"x": "text"}, ERROR),
    ("features.x > 3", {"x": True}, ERROR),
    ("features.x == true", {"x": 1.0}, ERROR),
    ("features.x and true", {"x": 1}, ERROR),
    ("features.x == features.y", {"x": "1", "y": 1.0}, ERROR),
    ("features.x == features.y", {"x": "1", "y": None}, None),
    ("features.x == features.y", {"x": "a", "y": "a"}, True),
    ("features.x + 1", {"x": "1"}, ERROR),
    ("features.x + features.y", {"x": None, "y": "1"}, ERROR),
    ("features.x > 3", {"x": (1.0, 2.0)}, ERROR),
    ("features.x == features.y", {"x": (1.0,), "y": (1.0,)}, ERROR),
    ("features.x < features.y", {"x": False, "y": True}, ERROR),
    ("features.x == features.y", {"x": True, "y": True}, True),
    ("features.x in [1]", {"x": (1.0,)}, ERROR),
    ("features.y > 1 and features.x > 3", {"x": "text", "y": 0.0}, False),
    ("features.y > 1 and features.x > 3", {"x": "text", "y": None}, ERROR),
    ("features.y > 1 or features.x > 3", {"x": "text", "y": 2.0}, True),
    ("if features.y > 1 then features.x > 3 else false", {"x": "text", "y": 0.0}, False),
    ("features.y ?? features.x + 1", {"x": "text", "y": 5.0}, 5.0),
    # Rounding and text.
    ("round(features.x)", {"x": 2.5}, 2.0),
    ("round(features.x)", {"x": 3.5}, 4.0),
    ("round(features.x, 2)", {"x": 2.675}, 2.67),
    ("round(features.x, 2)", {"x": INF}, INF),
    ("round(features.x, 1)", {"x": 2.25}, 2.2),
    ("round(features.x, 0)", {"x": 2.5}, 2.0),
    ("round(features.x, 12)", {"x": 0.1234567890125}, 0.123456789012),
    ("abs(features.x)", {"x": -2.0}, 2.0),
    ("length(features.x)", {"x": "née 💥"}, 5.0),
    ("length(features.x)", {"x": None}, None),
    ('lower(features.x) == "strasse"', {"x": "STRASSE"}, True),
    ('contains(features.x, "risk")', {"x": "no risk"}, True),
    ("contains(features.x, features.y)", {"x": "no risk", "y": None}, None),
    ('starts_with(features.x, "no")', {"x": "no risk"}, True),
    (r'matches(features.x, "\\b\\d{1,3}\\s?%")', {"x": "a 7 % return"}, True),
    ('matches(features.x, "^.$")', {"x": "é"}, True),
    ('matches(features.x, "a")', {"x": "\ud800a"}, True),
    ('matches(features.x, "b$")', {"x": "a" * 70_000 + "b"}, False),
    ('matches(features.x, "b")', {"x": "é" * 32_767 + "aab"}, False),
    ('matches(features.x, "b")', {"x": "é" * 32_767 + "b"}, True),
    ('matches(features.x, "a")', {"x": None}, None),
    ('matches(features.x, "a")', {"x": 3.0}, ERROR),
]


@pytest.mark.parametrize(("text", "cells", "expected"), MEANINGS, ids=lambda value: str(value)[:60])
def test_an_expression_means(text: str, cells: dict[str, Cell], expected: Any) -> None:
    found = value_of(text, cells)
    assert found == expected
    assert isinstance(found, bool) is isinstance(expected, bool)


SHEET = [
    "output.demand <= 3 * max(profile.output.demand.p99, features.last_week)",
    'request.date >= "2025-12-01" and features.category in ["toys", "confectionery"]',
    "features.stock_on_hand / output.demand > 2",
    "(output.pd >= 4% and output.pd < 9%) or kpi.margin > 6",
    "features.new_device and request.hour in [0, 1, 2, 3, 4] and output.score < 20%",
    "output.risk < 10% and (features.lactate > 4 or features.sbp < 90) and features.age_years >= 18",
    'features.tag == "clearance"',
    "(features.temp_c - 32) / 1.8 < 45",
    "abs(output.demand - previous.demand) <= 60% * previous.demand",
    'features["sepal length (cm)"] > profile.features["sepal length (cm)"].p0_1',
]


@pytest.mark.parametrize("text", SHEET)
def test_the_rules_of_the_language_sheet_compile_and_run(text: str) -> None:
    program = compiled(text, want=Kind.FLAG)
    assert program.kind is Kind.FLAG
    slots = {ref: slot for slot, ref in enumerate(program.refs)}
    assert scalar(program, slots)([None] * len(slots)) is None


def test_names_are_read_with_their_space_their_brackets_and_their_statistic() -> None:
    program = compiled(
        'profile.features["odd name"].p99 + features["odd name"] + profile.output.demand.p0_1 + kpi.margin'
    )
    assert program.refs == (
        Ref("profile", "features.odd name", "p99"),
        Ref("features", "odd name"),
        Ref("profile", "output.demand", "p0_1"),
        Ref("features", "m"),
    )


def test_words_of_the_language_may_be_names_of_fields() -> None:
    assert compiled("features.in > 1 and features.missing is missing").refs == (
        Ref("features", "in"),
        Ref("features", "missing"),
    )


def test_cost_counts_operations_and_depth() -> None:
    program = compiled("0 <= features.x <= max(features.y, 2, 3) + 1")
    assert (program.operations, program.depth) == (6, 4)


def test_a_constant_of_the_profile_needs_no_slot() -> None:
    class Profiled(OpenNames):
        def constant(self, ref: Ref) -> Any:
            return 900 if ref.space == "profile" else super().constant(ref)

    program = compiled("output.demand <= 3 * profile.output.demand.p99", Profiled())
    assert program.refs == (Ref("output", "demand"),)
    assert scalar(program, {Ref("output", "demand"): 0})([2700.0]) is True


def test_a_wanted_kind_that_only_a_row_can_refute_is_an_error_of_that_row() -> None:
    program = compiled("features.ok", want=Kind.FLAG)
    slots = {Ref("features", "ok"): 0}
    with pytest.raises(LanguageError, match="yes/no was needed, but the value is a number"):
        scalar(program, slots)([1.0])
    column = vector(program, slots)([column_from_cells([True, False, None, 1.0, "yes"])], 5)
    assert column.codes is not None
    assert column.codes.tolist() == [1, 0, 2, 3, 3]


def test_a_name_without_a_slot_is_refused_when_the_function_is_made() -> None:
    program = compiled("features.x > 1")
    for make in (scalar, vector):
        with pytest.raises(ValueError, match=r"no slot for features\.x"):
            make(program, {})


def test_a_trace_shows_the_value_of_every_node_that_was_looked_at() -> None:
    program = compiled("features.x > 1 and features.y * 2 > features.z")
    steps = trace(
        program, {Ref("features", "x"): 2, Ref("features", "y"): 3.0, Ref("features", "z"): None}.get
    )
    assert [(step.text, step.value) for step in steps] == [
        ("features.x", 2.0),
        ("1", 1.0),
        ("features.x > 1", True),
        ("features.y", 3.0),
        ("2", 2.0),
        ("features.y * 2", 6.0),
        ("features.z", None),
        ("features.y * 2 > features.z", None),
        ("features.x > 1 and features.y * 2 > features.z", None),
    ]


def test_a_trace_of_a_clash_ends_with_the_error() -> None:
    steps = trace(compiled("not features.x > 1"), {Ref("features", "x"): "a"}.get)
    assert [step.text for step in steps] == ["features.x", "1", "features.x > 1", "not features.x > 1"]
    assert str(steps[-1].value) == "cannot compare text with a number"


def test_a_trace_of_a_result_of_the_wrong_kind_ends_with_the_error() -> None:
    program = compiled("features.x ?? features.y", want=Kind.FLAG)
    steps = trace(program, {Ref("features", "x"): None, Ref("features", "y"): 1.0}.get)
    assert [step.text for step in steps] == ["features.x", "features.y", "features.x ?? features.y"]
    assert (steps[0].value, steps[1].value) == (None, 1.0)
    assert str(steps[2].value) == "yes/no was needed, but the value is a number"


def test_a_whole_number_stays_whole_from_two_to_the_53_on() -> None:
    program = compiled("features.x ?? 1")
    for cell, kind in ((2**53, int), (-(2**53), int), (2**53 - 1, float), (1 - 2**53, float)):
        found = interpret(program, {Ref("features", "x"): cell}.get)
        assert (found, type(found)) == (cell, kind)


def test_the_deepest_expression_that_is_allowed_runs_in_all_back_ends() -> None:
    text = "features.x"
    for _ in range(18):
        text = f"(1 + abs({text}))"
    assert value_of(text, {"x": 1.0}) == 19.0
