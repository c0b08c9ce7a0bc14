"""Operator text: positions, YAML 1.2, and everything hostile refused before it can hurt."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.documents import decode, other_kind, parse_documents
from guardproxy.source import (
    MAX_PROBLEMS,
    MappingNode,
    Place,
    Problem,
    Reader,
    Scalar,
    display_width,
    lines_of,
    render,
    render_all,
)


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
        ("[" * 200_000, "E203"),
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


def drawn(problem: Problem, text: str) -> tuple[str, str]:
    """Return the line and the caret's line of a problem, without their gutters."""
    lines = render(problem, text).split("\n")
    start = lines[4].index("|") + 2
    return lines[3][start:], lines[4][start:]


@pytest.mark.parametrize(
    ("before", "width"),
    [
        ("title: ", 7),
        ("題名: ", 6),  # two columns each
        ("🍞: ", 4),
        ("e\u0301te\u0301: ", 5),  # combining marks have no column
        ("👩\u200d🍳: ", 6),  # joined pictures: two columns each, the joiner none
        ("ｆｕｌｌ: ", 10),
        ("a\u202eb: ", 5),  # what turns the direction of writing is shown as a sign
        ("a\x1b[31m: ", 8),
    ],
)
def test_a_caret_stands_under_its_token_behind_characters_of_any_width(before: str, width: int) -> None:
    problem = Problem("E204", "m", "a.yaml", 1, len(before) + 1, 5)
    line, caret = drawn(problem, before + "wrong # here")
    assert caret == " " * width + "^^^^^"
    assert display_width(line.split("wrong")[0]) == width


@pytest.mark.parametrize("token", ["需要", "🍞🍞", "日本"])
def test_a_caret_is_as_wide_as_its_token(token: str) -> None:
    _, caret = drawn(Problem("E204", "m", "a.yaml", 1, 4, 2), f"a: {token} b")
    assert caret == "   ^^^^"


def test_a_tab_is_a_tab_in_both_lines() -> None:
    line, caret = drawn(Problem("E204", "m", "a.yaml", 1, 4, 1), "a:\tx")
    assert (line, caret) == ("a:\tx", "  \t^")


@given(
    st.text(
        st.characters(exclude_characters="\n\r\x85\u2028\u2029\t", exclude_categories=["Cs"]),
        min_size=1,
        max_size=200,
    ),
    st.data(),
)
def test_whatever_the_line_the_caret_is_under_the_token_and_the_drawing_fits(
    line: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(line) - 1))
    length = data.draw(st.integers(1, 10))
    problem = Problem("E204", "m", "a.yaml", 1, at + 1, length)
    shown, caret = drawn(problem, line)
    assert display_width(shown) <= 76
    assert all(char.isprintable() or char in "\u200c\u200d" for char in shown)
    before = caret.index("^")
    # What stands above the caret's first column is the token's first character, or a mark upon it.
    columns = 0
    above = ""
    for char in shown:
        if columns == before and display_width(char):
            above = char
            break
        columns += display_width(char)
    assert columns == before
    if line[at].isprintable() and display_width(line[at]):
        assert above == line[at]


def test_nothing_of_a_file_controls_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J"
    problem = Problem("E204", f"unknown {evil}", f"a{evil}.yaml", 1, 1, 1, evil, where=evil, note=evil)
    assert not set("\x1b\x07") & set(render(problem, f"{evil}: 1"))
    assert not set("\x1b\x07") & set(render(problem, ""))


def test_where_help_and_note_are_drawn_in_their_places() -> None:
    problem = Problem(
        "E106",
        "unknown field 'output.demnd'",
        "rules/demand.guard.yaml",
        14,
        14,
        12,
        "did you mean 'output.demand'?",
        where="rule demand-plausible, require",
        note="fields seen in the last 10,000 requests: demand, p10",
    )
    text = "\n" * 13 + "    require: output.demnd <= 3\n"
    assert render(problem, text) == (
        "error[E106]: unknown field 'output.demnd'\n"
        "  --> rules/demand.guard.yaml:14:14   (rule demand-plausible, require)\n"
        "   |\n"
        "14 |     require: output.demnd <= 3\n"
        "   |              ^^^^^^^^^^^^\n"
        "   = help: did you mean 'output.demand'?\n"
        "   = note: fields seen in the last 10,000 requests: demand, p10"
    )


def test_what_is_being_read_and_a_note_go_into_a_problem() -> None:
    reader = Reader("a.yaml")
    reader.report("E204", "m", Place(1, 1))
    reader.where = "rule a, when"
    reader.report("E204", "m\x1b" * 1_000, Place(1, 1), note="n")
    first, second = reader.problems
    assert (first.where, first.note) == ("", "")
    assert (second.where, second.note) == ("rule a, when", "n")
    assert second.message.isprintable()
    assert len(second.message) == 400


def test_problems_of_many_files_are_drawn_as_each_is() -> None:
    texts = {"a.yaml": "a: 1\nb: 2\n", "b.yaml": "c: 3\n"}
    problems = [
        Problem("E204", "m", file, line, 1) for file, line in (("a.yaml", 2), ("b.yaml", 1), ("c.yaml", 1))
    ]
    assert list(render_all(problems, texts)) == [render(one, texts.get(one.file, "")) for one in problems]


def test_colours_are_the_callers_and_change_nothing_else() -> None:
    problem = Problem("E204", "m", "a.yaml", 1, 1, 1, "h")
    painted = render(problem, "a: 1", lambda text, role: f"<{role}>{text}</{role}>")
    assert painted.startswith("<error>error[E204]</error>: <strong>m</strong>")
    assert re.sub(r"</?(error|gutter|strong|help)>", "", painted) == render(problem, "a: 1")


def test_lines_are_counted_as_yaml_counts_them() -> None:
    text = "a: 1\r\nb: 2\rc: 3\u2028d: 4\x85e: x: y"
    (problem,) = problems_of(text)
    assert (problem.line, problem.column) == (5, 5)
    assert drawn(problem, text) == ("e: x: y", "    ^")


def test_a_byte_order_mark_moves_no_caret() -> None:
    (problem,) = problems_of("\ufeffa: b: c\n")
    assert (problem.line, problem.column) == (1, 5)
    assert drawn(problem, "\ufeffa: b: c\n") == ("a: b: c", "    ^")


def test_a_file_of_too_many_problems_says_that_there_are_more() -> None:
    reader = Reader("a.yaml")
    for line in range(1, 300):
        reader.report("E204", "m", Place(line, 1))
    assert len(reader.problems) == MAX_PROBLEMS + 1
    assert "more than 200" in reader.problems[-1].message


@pytest.mark.parametrize(
    ("data", "said", "place"),
    [
        (b"\xff\xfeg\x00u\x00", "UTF-16", (1, 1)),
        (b"g\x00u\x00a\x00r\x00d\x00", "UTF-16", (1, 1)),
        (b"\x1f\x8b\x08\x00", "gzip", (1, 1)),
        (b"PK\x03\x04....", "zip", (1, 1)),
        (b"\x7fELF\x02\x01", "program", (1, 1)),
        (b"SQLite format 3\x00....", "SQLite", (1, 1)),
        (bytes(range(256)) * 4, "0x80", (3, 115)),
        (b"\x00" * 400, "UTF-16", (1, 1)),
        (b"\x00\x01\x02" * 400, "binary", (1, 1)),
        (b"a: 1\nb: caf\xe9\n", "0xE9", (2, 7)),
        (b"a: \xc3\xa9\xff\n", "0xFF", (1, 5)),
    ],
)
def test_bytes_that_are_no_text_are_named_at_their_place(
    data: bytes, said: str, place: tuple[int, int]
) -> None:
    text, (problem,) = decode(data, "a.yaml")
    assert problem.code == "E200"
    assert said in problem.message
    assert (problem.line, problem.column) == place
    assert problem.help
    assert render(problem, text)


@pytest.mark.parametrize(
    "data", [b"", b"a: 1\n", b"\xef\xbb\xbfa: 1\n", "a: 需要 🍞\n".encode(), b"a: 1\r\n"]
)
def test_utf_8_text_is_decoded_without_its_mark(data: bytes) -> None:
    text, problems = decode(data, "a.yaml")
    assert problems == []
    assert text.encode() == data.removeprefix(b"\xef\xbb\xbf")


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_a_problem_inside_what_is_shown(data: bytes) -> None:
    text, problems = decode(data, "a.yaml")
    for problem in problems:
        assert render(problem, text)
        assert not text or problem.line <= len(lines_of(text))
    assert problems or text.encode() == data.removeprefix(b"\xef\xbb\xbf")


_PIECES = [
    "a", "b", ": ", ":", "- ", "-", "\n", "\n  ", "\n    ", "\t", '"', "'", "[", "]", "{", "}", ",", "#", " #", "*", "&", "!",
    "|", ">", "%", "@", "`", "?", "---", "...", "<<", "no", "1", "\\", "\u00a0", "需", "\r\n", "<<<<<<<", "{%", "=",
]  # fmt: skip


@settings(max_examples=200)
@given(st.lists(st.sampled_from(_PIECES), max_size=40).map("".join))
def test_whatever_is_not_yaml_is_told_in_our_own_words_with_a_place_in_the_text(text: str) -> None:
    for problem in problems_of(text):
        lines = lines_of(text) or [""]
        assert 1 <= problem.line <= len(lines) + 1
        assert problem.column >= 1
        assert "token" not in problem.message
        assert "did not find" not in problem.message
        assert problem.help, problem
        assert render(problem, text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("groups: [{name: a, rules: []}]", "Prometheus rules"),
        ("apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule", "Prometheus rules for its operator"),
        ("apiVersion: apps/v1\nkind: Deployment", "a Kubernetes manifest"),
        ("apiVersion: kyverno.io/v1\nkind: ClusterPolicy", "a Kyverno policy"),
        (
            "apiVersion: templates.gatekeeper.sh/v1\nkind: ConstraintTemplate",
            "a Gatekeeper template or constraint",
        ),
        ("services: {web: {image: nginx}}", "a Compose file"),
        ("name: ci\n'on': push\njobs: {}", "a GitHub workflow"),
        ("openapi: 3.1.0\npaths: {}", "an OpenAPI description"),
        ("swagger: '2.0'\npaths: {}", "an OpenAPI description"),
        ("version: 2\nmodels: [{name: orders}]", "a dbt file"),
        ("- rule: shell\n  condition: x", "Falco rules"),
        ("- macro: shell\n  condition: x", "Falco rules"),
        ("checks for orders: [row_count > 0]", "a Soda check file"),
        ("rules: [{id: a, languages: [python], pattern: x}]", "Semgrep rules"),
        ("logsource: {}\ndetection: {}", "a Sigma rule"),
        ("- hosts: all\n  tasks: []", "an Ansible playbook"),
        ("guardproxy: 1\nmodel: m\nrules: []", None),
        ("model: m\nrules: [{id: a, require: output.x > 0}]", None),
        ("guardproxy: 1\napiVersion: v1\nkind: x", None),
        ("models: [a, b]\nrules: []", None),
        ("[1, 2]", None),
        ("text", None),
    ],
)
def test_a_file_of_another_product_is_known_by_its_keys(text: str, kind: str | None) -> None:
    (node,), _ = parse_documents(text, "a.yaml")
    assert other_kind(node) == kind


@pytest.mark.parametrize(
    ("written", "help_"),
    [
        ("010", "write 10: old YAML takes a leading zero for base eight"),
        ("1:30", "write a plain number, or a duration as in 90m: old YAML takes this for base sixty"),
        ("1_000", "write the number without separators of thousands"),
        ("'1,000'", "write the number without separators of thousands"),
        ("'0,5'", "write 0.5, with a decimal point"),
        ("'12'", "write 12 without quotes"),
        ("0x1F", "write the number in base ten"),
        ("9" * 400, "the largest number is about 1.8e308"),
        ("lots", ""),
        ("[1]", ""),
    ],
)
def test_a_text_that_was_meant_as_a_number_is_told_how_numbers_are_written(written: str, help_: str) -> None:
    documents, _ = parse_documents(f"n: {written}", "a.yaml")
    reader = Reader("a.yaml")
    node = documents[0]
    assert isinstance(node, MappingNode)
    assert reader.integer(node.entries["n"].value, "n") is None
    assert [problem.help for problem in reader.problems] == [help_]


def test_a_quoted_key_may_begin_with_a_dash() -> None:
    (node,), problems = parse_documents('"-A": 1\n', "f.yaml")
    assert not problems
    assert isinstance(node, MappingNode)
    assert list(node.entries) == ["-A"]
