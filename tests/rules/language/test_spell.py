"""Trees back to text, and text of other languages in the spelling of this one."""

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy.rules.language import (
    Kind,
    OpenNames,
    Program,
    column_from_cells,
    compile_expression,
    interpret,
    repair,
    spell,
    text_was_cut,
)
from guardproxy.rules.language.flaws import FlawError
from guardproxy.rules.language.parser import parse
from tests.rules.language.strategies import ROWS, OpenKnownNames
from tests.rules.language.test_laws import EXPRESSIONS, OVER_ROWS, PIECES, SLOTS, outcome, over_rows


def placeless(node: Any) -> Any:
    """Return a tree without its places."""
    if isinstance(node, tuple):
        return tuple(placeless(each) for each in node)
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return node
    fields = {one.name: placeless(getattr(node, one.name)) for one in dataclasses.fields(node)}
    return type(node), {**fields, "offset": 0, "length": 0, "name_length": 0, "written": ""}


SPELLINGS = [
    ("features.a  <=3*features.b", "features.a <= 3 * features.b"),
    ("( features.a+1 )*2", "(features.a + 1) * 2"),
    ("((features.a))>((1))", "features.a > 1"),
    ("features.a-(features.b-1)", "features.a - (features.b - 1)"),
    ("(features.a-features.b)-1", "(features.a - features.b) - 1"),
    ("features.a/(features.b*2)", "features.a / (features.b * 2)"),
    ("-(features.a+1)", "-(features.a + 1)"),
    ("- -features.a", "--features.a"),
    ("-(-1)", "1"),
    ("-2*3", "-2 * 3"),
    ("30%+15m+250_000+4.5e-3", "30% + 15m + 250_000 + 4.5e-3"),
    ("not(features.f)", "not features.f"),
    ("not (features.f and features.g)", "not (features.f and features.g)"),
    ("(features.f or features.g)and true", "(features.f or features.g) and true"),
    ("(features.a>1)==(features.b>1)", "(features.a > 1) == (features.b > 1)"),
    ("0<=features.a<=1", "0 <= features.a <= 1"),
    ("features.a in[1,2 , 3]", "features.a in [1, 2, 3]"),
    ("features.a not  in lists.codes", "features.a not in lists.codes"),
    ("(features.a>1)is missing", "(features.a > 1) is missing"),
    ("features.a+1 is not missing", "features.a + 1 is not missing"),
    ("coalesce(features.a,features.b, 1)", "features.a ?? features.b ?? 1"),
    ("coalesce(features.a>1,true)", "(features.a > 1) ?? true"),
    ("(features.a ?? features.b)+1", "(features.a ?? features.b) + 1"),
    (
        "if features.f then 1 else if features.g then 2 else 3",
        "if features.f then 1 else if features.g then 2 else 3",
    ),
    ("(if features.f then 1 else 2)+1", "(if features.f then 1 else 2) + 1"),
    (
        "if features.f then (if features.g then 1 else 2) else 3",
        "if features.f then (if features.g then 1 else 2) else 3",
    ),
    ("max( features.a ,1,2 )", "max(features.a, 1, 2)"),
    ('features["a"]>1', "features.a > 1"),
    ('features["odd name"]>1', 'features["odd name"] > 1'),
    ('profile.features["a.b"].p99>1', 'profile.features["a.b"].p99 > 1'),
    ('profile["od d.x"].p99 > 1', 'profile["od d.x"].p99 > 1'),
    ('features.t == "\\u00e9\\n\\ud800"', 'features.t == "\\u00e9\\n\\ud800"'),
    ('features.t == "n\\u00e9e"', 'features.t == "née"'),
    ('features.t == "a\nb"', 'features.t == "a\\nb"'),
    ("kpi.ratio>1", "kpi.ratio > 1"),
    ("batch_share(output.y==0)<=40%", "batch_share(output.y == 0) <= 40%"),
    ("recent_mean(output.y,60m)>1", "recent_mean(output.y, 1h) > 1"),
]


@pytest.mark.parametrize(("text", "spelled"), SPELLINGS)
def test_an_expression_is_spelled(text: str, spelled: str) -> None:
    program = compile_expression(text, OpenKnownNames())
    assert isinstance(program, Program), program
    assert spell(program) == spelled
    again = compile_expression(spelled, OpenKnownNames())
    assert isinstance(again, Program), again
    assert spell(again) == spelled
    assert again.refs == program.refs


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(EXPRESSIONS | OVER_ROWS, st.lists(ROWS, min_size=1, max_size=4))
def test_a_spelled_expression_is_the_same_tree_and_means_the_same(text: str, rows: Any) -> None:
    tree = parse(text)
    spelled = spell(tree)
    assert placeless(parse(spelled)) == placeless(tree)
    assert spell(parse(spelled)) == spelled
    names = OpenKnownNames()
    first, second = (compile_expression(each, names) for each in (text, spelled))
    if not isinstance(first, Program):
        return
    assert isinstance(second, Program), second
    assert second.refs == first.refs
    if any(ref.space == "profile" for ref in first.all_refs):
        return
    columns = [column_from_cells([row[ref] for row in rows]) for ref in SLOTS]
    for row in rows:
        cells = {**row, **over_rows(first, rows, columns)}
        assert outcome(lambda cells=cells: interpret(first, cells.get)) == outcome(
            lambda cells=cells: interpret(second, cells.get)
        )


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=12).map(" ".join))
def test_whatever_can_be_read_is_spelled_so_that_it_reads_the_same(text: str) -> None:
    try:
        tree = parse(text)
    except FlawError:
        return
    assert placeless(parse(spell(tree))) == placeless(tree)


REPAIRS = [
    ("features.f && features.g", "features.f and features.g"),
    ("features.f&&features.g", "features.f and features.g"),
    ("features.f & features.g", "features.f and features.g"),
    ("features.f || features.g | true", "features.f or features.g or true"),
    ("(features.f)||(features.g)", "(features.f) or (features.g)"),
    ("features.a = 3", "features.a == 3"),
    ("features.a=3", "features.a==3"),
    ("features.a === 3 && features.b !== 4", "features.a == 3 and features.b != 4"),
    ("features.a <> 3", "features.a != 3"),
    ("features.a =< 3 and features.b => 4", "features.a <= 3 and features.b >= 4"),
    ("!features.f", "not features.f"),
    ("! features.f", "not features.f"),
    ("!(features.a > 3)", "not (features.a > 3)"),
    ("!!features.f", "not (not features.f)"),
    ("!features.f && features.g", "not features.f and features.g"),
    ("features.g || !features.f", "features.g or not features.f"),
    ("!features.f ?? true", "(not features.f) ?? true"),
    ("features.g == !features.f", "features.g == (not features.f)"),
    ('!features["odd )name"] && true', 'not features["odd )name"] and true'),
    ('!contains(features.t, "a") and true', 'not contains(features.t, "a") and true'),
    ("max(1, 2) > 1 and !features.a.b", "max(1, 2) > 1 and not features.a.b"),
    ("features.a == null", "features.a is missing"),
    ("features.a != None", "features.a is not missing"),
    ("features.a is null", "features.a is missing"),
    ("features.a is not nil", "features.a is not missing"),
    ("features.null == NULL", "features.null is missing"),
    ("features.f AND NOT features.g", "features.f and not features.g"),
    ("features.f == True", "features.f == true"),
    ("features.a IN [1, 2]", "features.a in [1, 2]"),
    ("features.t == 'abc'", 'features.t == "abc"'),
    ("features.t=='a&&b'&&true", 'features.t=="a&&b" and true'),
    ('features.t == "a && b" && true', 'features.t == "a && b" and true'),
]


@pytest.mark.parametrize(("text", "repaired"), REPAIRS)
def test_an_expression_of_another_language_is_repaired(text: str, repaired: str) -> None:
    assert repair(text) == repaired
    assert isinstance(compile_expression(repaired, OpenNames(), want=Kind.FLAG), Program) or "a.b" in text


@pytest.mark.parametrize(
    "text",
    [
        "features.a > 3",
        'features.t == "a && b"',
        "features.AND > 3",
        "features.x in IN",
        "",
        "   ",
        "features.f && features.g || true",
        "features.f ? 1 : 2",
        "features.a ** 2 = 4",
        "features.f &&",
        "features.a < 1 == null",
        "null == features.a",
        "!",
        "!" * 2_000,
        "!(" * 900,
        "features.t == 'it\\'s'",
        "features.f && " * 200 + "true",
        '"',
        "💥 && \x00",
    ],
)
def test_what_is_right_or_cannot_be_repaired_is_left_alone(text: str) -> None:
    assert repair(text) is None


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=20).map(" ".join)))
def test_a_repair_of_any_text_can_be_read_and_needs_no_other(text: str) -> None:
    repaired = repair(text)
    if repaired is not None:
        parse(repaired)
        assert repair(repaired) is None


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS)
def test_what_can_be_read_is_never_repaired(text: str) -> None:
    assert repair(text) is None


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("a" * 65_536, False),
        ("a" * 65_537, True),
        ("é" * 32_768, False),
        ("é" * 32_769, True),
        ("💥" * 16_385, True),
        ("", False),
    ],
)
def test_a_text_beyond_64_kib_is_known_to_be_cut(text: str, cut: bool) -> None:
    assert text_was_cut(text) is cut
