"""Operator text: positions, YAML 1.2, and everything hostile refused before it can hurt."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.documents import parse_documents
from guardproxy.source import MappingNode, Problem, Reader, Scalar, render


def problems_of(text: str) -> list[Problem]:
    return parse_documents(text, "a.yaml")[1]


def value_of(text: str) -> object:
    documents, problems = parse_documents(text, "a.yaml")
    assert not problems
    node = documents[0]
    assert isinstance(node, Scalar)
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3.5e2", -350.0),
        ("true", True),
        ("~", None),
        ("250_000", "250_000"),
        ("12:30:45", "12:30:45"),
        ("010", "010"),
        ('"no"', "no"),
        ("y", "y"),
        (".inf", float("inf")),
        ("2026-01-06", "2026-01-06"),
    ],
)
def test_scalars_are_read_by_yaml_1_2(text: str, value: object) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "No", "YES"])
def test_a_yaml_1_1_boolean_is_an_error_with_its_two_ways_out(word: str) -> None:
    (problem,) = problems_of(f"mode: {word}\n")
    assert (problem.code, problem.line, problem.column, problem.length) == ("E202", 1, 7, len(word))
    assert f'"{word}"' in problem.help


def test_a_key_that_stands_twice_is_an_error_naming_both_lines() -> None:
    (problem,) = problems_of("a: 1\nb: 2\na: 3\n")
    assert (problem.code, problem.line, problem.column) == ("E201", 3, 1)
    assert "line 1" in problem.help


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: !!python/object/apply:os.system [id]", "E203"),
        ("&a [*a]", "E203"),
        ("[" * 200_000, "E200"),
        ("a: " + "[" * 60 + "]" * 60, "E203"),
        ("- " * 60 + "x", "E203"),
        ("x" * 5_000_000, "E203"),
        ("a: [", "E200"),
        ("a: b: c", "E200"),
        ("\tx: 1", "E200"),
        ("a: \x00", "E200"),
    ],
)
def test_hostile_yaml_is_refused_with_a_place(text: str, code: str) -> None:
    problems = problems_of(text)
    assert problems[0].code == code
    assert problems[0].line >= 1
    assert problems[0].column >= 1


def test_billion_laughs_does_not_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert problems_of("\n".join(lines))[0].code == "E203"


def test_every_unknown_key_is_reported_in_one_run_with_the_likely_word() -> None:
    documents, _ = parse_documents("seveirty: high\nmdoe: shadow\n", "a.yaml")
    reader = Reader("a.yaml")
    reader.mapping(documents[0], "rule 'x'", ["severity", "mode"])
    assert [(p.code, p.line) for p in reader.problems] == [("E204", 1), ("E204", 2)]
    assert [p.help for p in reader.problems] == ["did you mean 'severity'?", "did you mean 'mode'?"]


def test_a_comma_in_a_flow_map_gets_its_own_hint() -> None:
    documents, _ = parse_documents("{expr: max(a, b)}", "a.yaml")
    reader = Reader("a.yaml")
    reader.mapping(documents[0], "fallback", ["expr", "value"])
    assert "comma" in reader.problems[0].help


@pytest.mark.parametrize(
    ("text", "word", "line", "column"),
    [
        ("k: output.demnd <= 3", "demnd", 1, 11),
        ("k: 'it''s output.demnd'", "demnd", 1, 18),
        ('k: "tab\\t output.demnd"', "demnd", 1, 18),
        ("k: |\n  first\n  output.demnd", "demnd", 3, 10),
        ("k: >-\n  first\n  output.demnd", "demnd", 3, 10),
        ("k: first\n  output.demnd", "demnd", 2, 10),
    ],
)
def test_a_character_of_a_value_is_found_in_its_file(text: str, word: str, line: int, column: int) -> None:
    documents, problems = parse_documents(text, "a.yaml")
    assert not problems
    root = documents[0]
    assert isinstance(root, MappingNode)
    node = root.entries["k"].value
    assert isinstance(node, Scalar)
    place = node.locate(str(node.value).index(word), len(word))
    assert (place.line, place.column, place.length) == (line, column, 5)


def test_a_problem_is_drawn_with_its_line_and_a_caret() -> None:
    text = "a: 1\nseveirty: high\n"
    drawn = render(
        Problem("E204", "unknown key 'seveirty'", "a.yaml", 2, 1, 8, "did you mean 'severity'?"), text
    )
    assert drawn.splitlines() == [
        "error[E204]: unknown key 'seveirty'",
        " --> a.yaml:2:1",
        "  |",
        "2 | seveirty: high",
        "  | ^^^^^^^^",
        "  = help: did you mean 'severity'?",
    ]


@given(st.text(max_size=200))
def test_any_text_gives_nodes_or_problems_and_never_another_exception(text: str) -> None:
    documents, problems = parse_documents(text, "a.yaml")
    assert documents or problems or not text.strip() or text.lstrip().startswith(("#", "%", "---", "..."))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=8),
        lambda c: st.lists(c, max_size=3),
        max_leaves=9,
    )
)
def test_places_lie_inside_the_text(value: object) -> None:
    text = json.dumps({"k": value})
    documents, problems = parse_documents(text, "a.yaml")
    assert not problems
    root = documents[0]
    assert isinstance(root, MappingNode)
    assert root.entries["k"].value.place.column <= len(text)
