"""`rules fmt`: the canonical layout, what it keeps, and what it refuses."""

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.authoring.fmt import format_files
from guardproxy.rules import load_rulesets
from tests.shared import ROOT

FILE = "a.guard.yaml"
HEAD = "guardproxy: 1\nmodel: m\n"
EXAMPLES = sorted((ROOT / "rules").glob("*.guard.yaml"))


def formatted(text: str) -> str:
    """Return the new text of one file that must be fine."""
    one = format_files({FILE: text})[FILE]
    assert one.problems == ()
    assert one.refusal == ""
    return one.text


def comments(text: str) -> Counter[str]:
    """Count the comments; the texts of these tests have no # elsewhere."""
    return Counter(re.findall(r"(?:^|\s)#\s*(.*?)\s*$", text, re.MULTILINE))


def test_a_messy_file_gets_the_canonical_layout() -> None:
    messy = """\


guardproxy:   1
model : m
# who
owner: x
rules:
# first
-   id: a
    range: {field: output.a,max: 3}   # bound
    # inner
    fallback: [ {expr: "max(features.a, 3)"}, previous ,{value: 0} ]   # chain
    action: fallback
    # end of a
- {id: b, require: 'output.a < 5 || output.a > 7', severity: low}
- id: c
  tags: [
    a, b,   # two
    c
  ]
  message: "a: b"
  require: >-
     output.a
     < 3



  when: "features.a < 3, or".b
"""
    messy = messy.replace('  when: "features.a < 3, or".b\n', "  when: 'features.a == max(1, 2)'  \n")
    assert (
        formatted(messy)
        == """\
guardproxy: 1
model: m
# who
owner: x

rules:
  # first
  - id: a
    range: {field: output.a, max: 3}   # bound
    # inner
    fallback:    # chain
      - expr: max(features.a, 3)
      - previous
      - {value: 0}
    action: fallback
    # end of a

  - id: b
    require: output.a < 5 or output.a > 7
    severity: low

  - id: c
    tags: [
        a, b,   # two
        c
      ]
    message: "a: b"
    require: >-
      output.a
      < 3

    when: features.a == max(1, 2)
"""
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_in_canonical_layout_and_stay_so(path: Path) -> None:
    text = path.read_text()
    assert formatted(text) == text


def test_a_long_expression_is_folded_before_and_and_or() -> None:
    part = "features.some_long_name_of_a_column > 100"
    text = f"{HEAD}rules:\n  - id: a\n    forbid: {' and '.join([part] * 5)}\n"
    lines = formatted(text).splitlines()
    assert lines[-4] == "    forbid: >-"
    assert all(len(line) <= 120 for line in lines)
    assert lines[-1].strip().startswith("and ")


def test_blanks_within_a_text_of_an_expression_are_never_folded_away() -> None:
    quoted = '"' + "two  blanks " * 12 + '"'
    text = f"{HEAD}rules:\n  - id: a\n    forbid: '{quoted} == output.a'\n"
    assert f"{quoted} == output.a" in formatted(text)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("output.a < 3 && output.b > 2", "output.a < 3 and output.b > 2"),
        ("output.a < 3 || output.b > 2", "output.a < 3 or output.b > 2"),
        ("output.a = 3", "output.a == 3"),
        ("output.a <> 3", "output.a != 3"),
    ],
)
def test_operators_of_other_languages_are_put_right(wrong: str, right: str) -> None:
    one = format_files({FILE: f"{HEAD}rules:\n  - id: a\n    forbid: {wrong}\n"})[FILE]
    assert one.text == f"{HEAD}\nrules:\n  - id: a\n    forbid: {right}\n"
    assert one.repairs == ((5, wrong, right),)


def test_a_repair_in_a_folded_block_keeps_the_block() -> None:
    text = f"{HEAD}\nrules:\n  - id: a\n    forbid: >-\n      output.a < 3\n      && output.b > 2\n"
    assert "    forbid: >-\n      output.a < 3\n      and output.b > 2\n" in formatted(text)


def test_a_file_with_an_error_is_left_alone_and_the_others_are_not() -> None:
    bad = f"{HEAD}rules:\n-  id: a\n   forbid: output.a >\n"
    good = "guardproxy: 1\nmodel: n\nrules:\n-  id: b\n   forbid: output.a > 1\n"
    found = format_files({"bad.guard.yaml": bad, "good.guard.yaml": good})
    assert found["bad.guard.yaml"].text == bad
    assert [problem.code for problem in found["bad.guard.yaml"].problems if problem.severity == "error"] == [
        "E110"
    ]
    assert found["good.guard.yaml"].text.endswith("rules:\n  - id: b\n    forbid: output.a > 1\n")


@pytest.mark.parametrize(
    "bad", ["a: [", "\t- x", "a: &x [*x]", "a: 1\na: 2", "x" * 10, "", "%YAML 9.9\n---\n"]
)
def test_what_is_no_rule_file_stays_as_it_is(bad: str) -> None:
    one = format_files({FILE: bad})[FILE]
    assert one.text == bad
    assert one.problems


def test_a_file_that_cannot_be_laid_out_does_not_hold_up_the_others() -> None:
    odd = f"{HEAD}rules:\n  - id: a\n    forbid: output.a < 3 || output.b > 2\n    tags: [\n\ufeff      c\n    ]\n"
    good = "guardproxy: 1\nmodel: n\nrules:\n-  id: b\n   forbid: output.a > 1\n"
    found = format_files({"odd.guard.yaml": odd, "good.guard.yaml": good})
    assert found["odd.guard.yaml"].text == odd
    assert "layout" in found["odd.guard.yaml"].refusal
    assert found["good.guard.yaml"].text.endswith("rules:\n  - id: b\n    forbid: output.a > 1\n")


def test_a_key_without_a_value_between_braces_gets_no_colon() -> None:
    text = f"{HEAD}rules:\n  - id: a\n    range: {{field: output.a, max: 1}}\ntests:\n  - name: t\n"
    text += "    given: {output: {a: 2}, features: {x,  y:' 3}}\n    expect: {verdicts: {a: violated}}\n"
    assert "features: {x, y:' 3}" in formatted(text)


def test_anchors_aliases_documents_and_line_ends_survive() -> None:
    text = (
        "---\r\n" + HEAD.replace("\n", "\r\n") + "rules:\r\n- id: a\r\n  range: {field: output.a, max: 1}\r\n"
        "tests:\r\n- name: one\r\n  given: &g\r\n      output: {a: 2}\r\n  expect: {verdicts: {a: violated}}\r\n"
        "- name: two\r\n  given:   *g\r\n  expect: {verdicts: {a: violated}}\r\n"
        "---   \r\nguardproxy: 1\r\nmodel: n\r\n"
    )
    new = formatted(text)
    assert "\r" not in new
    assert "    given: &g\n      output: {a: 2}\n" in new
    assert "    given: *g\n" in new
    assert new.startswith("---\n")
    assert "\n---\nguardproxy: 1\nmodel: n\n" in new


def test_lists_of_another_file_are_known() -> None:
    lists = "guardproxy: 1\nmodel: m\nlists:\n    bad: [a, b]\n"
    rule = f"{HEAD}rules:\n- id: a\n  forbid: output.label in lists.bad\n"
    found = format_files({"a.guard.yaml": rule, "b.guard.yaml": lists})
    assert all(not [p for p in one.problems if p.severity == "error"] for one in found.values())
    assert "  bad: [a, b]" in found["b.guard.yaml"].text


# A file in any layout: what is said is drawn first, how it stands on the page second.

EXPRESSIONS = (
    "output.a < 3",
    "max(output.a, features.b) > 2 and features.c is not missing",
    'features["odd: name"] == "x, y"',
    "if features.a > 1 then output.a < 3 else output.a < 5",
    "-output.a < 3",
    'features.c in ["a", "b"]',
    " and ".join(["features.quite_a_long_name > 100"] * 6),
)


class Messy:
    """Writes the parts of a rule file in a drawn layout; every comment has a text of its own."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.offset = draw(st.integers(0, 4))
        self.inside = self.offset + 1 + draw(st.integers(1, 3))
        self.step = draw(st.integers(1, 5))
        self._numbers = itertools.count()

    def remark(self) -> str:
        return self.draw(st.sampled_from(["", f"  # c{next(self._numbers)}"]))

    def between(self, column: int) -> list[str]:
        kind = self.draw(st.integers(0, 5))
        return {0: [""], 1: ["", "", "  "], 2: [f"{' ' * column}# c{next(self._numbers)}"]}.get(kind, [])

    def written(self, text: str) -> str:
        styles = ["single", "double", "folded"] + ["plain"] * (not set(text) & set('":[],#'))
        return {
            "single": "'" + text.replace("'", "''") + "'",
            "double": '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"',
            "folded": f">-{self.remark()}\n{' ' * 20}{text}",
            "plain": text,
        }[self.draw(st.sampled_from(styles))]

    def entry(self, key: str, value: str) -> list[str]:
        gap = " " * self.draw(st.integers(1, 3))
        remark = "" if value.startswith(">") else self.remark()
        return [f"{' ' * self.inside}{key}:{gap}{value}{remark}", *self.between(self.inside)]

    def expression(self, key: str) -> list[str]:
        return self.entry(key, self.written(self.draw(st.sampled_from(EXPRESSIONS))))

    def rule(self, index: int) -> list[str]:
        body = self.entry("id", f"r{index}")
        body += self.expression(self.draw(st.sampled_from(["require", "forbid"])))
        if self.draw(st.booleans()):
            body += self.expression("when")
        if self.draw(st.booleans()):
            expr = self.draw(st.sampled_from(["features.a", "max(features.a, 3)"]))
            body += self.entry("action", "fallback")
            body += self.entry("fallback", f"[ previous,{{expr: '{expr}'}}   ]")
        if self.draw(st.booleans()):
            body += [f"{' ' * self.inside}tags:{self.remark()}"]
            body += [f"{' ' * (self.inside + self.step)}-  t{number}{self.remark()}" for number in range(2)]
        body[0] = f"{' ' * self.offset}-{' ' * (self.inside - self.offset - 1)}{body[0].lstrip()}"
        return [*self.between(self.offset), *body]


@st.composite
def rule_files(draw: st.DrawFn) -> str:
    """Return a valid rule file with comments, in a layout that nobody would choose."""
    messy = Messy(draw)
    lines = ["guardproxy: 1", f"model:  m{messy.remark()}", *messy.between(0), f"rules:{messy.remark()}"]
    for index in range(draw(st.integers(1, 4))):
        lines += messy.rule(index)
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n\n", "\n# the end"]))


@settings(max_examples=150, deadline=None)
@given(rule_files())
def test_formatting_is_idempotent_and_loses_neither_a_comment_nor_a_meaning(text: str) -> None:
    before, problems = load_rulesets({FILE: text})
    assert not [problem for problem in problems if problem.severity == "error"], text
    new = formatted(text)
    after, _ = load_rulesets({FILE: new})
    assert {m: r.fingerprint for m, r in before.items()} == {m: r.fingerprint for m, r in after.items()}
    assert comments(new) == comments(text)
    assert formatted(new) == new
    assert "\n\n\n" not in new
    assert not re.search(r"[ \t]+$", new, re.MULTILINE)


def test_a_result_that_says_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{HEAD}rules:\n- id: a\n  range: {{field: output.a, max: 1}}\n"
    monkeypatch.setattr("guardproxy.authoring.fmt.spaced", lambda new: new.replace("max: 1", "max: 2"))
    one = format_files({FILE: text})[FILE]
    assert one.text == text
    assert "would change" in one.refusal


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/rules/bad").glob("*.guard.yaml")), ids=lambda path: path.name
)
def test_every_bad_file_is_left_alone_or_laid_out_for_good(path: Path) -> None:
    text = path.read_bytes().decode(errors="replace")
    one = format_files({FILE: text})[FILE]
    assert one.refusal == ""
    if one.problems:
        assert one.text == text
    else:
        assert formatted(one.text) == one.text
