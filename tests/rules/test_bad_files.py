"""Every file under `bad/` is told about as it says itself: code, place, caret, sentence and help, and nothing else."""

import pytest
import yaml

from guardproxy.documents import composer
from guardproxy.rules import CODES
from guardproxy.source import Problem, lines_of, render
from tests.rules.bad_files import FOLDER, expected, names, read, said

# These need more than a rule file; each has its test where it can be had.
ELSEWHERE = {
    "E104": "2,000 characters end before 1,001 items do; tests/rules/language",
    "E141": "RE2 is installed here; tests/rules/test_texts.py and the language's tests take it away",
    "E142": "jsonschema is installed here; tests/rules/test_texts.py takes it away",
    "E308": "a thousand rules; tests/rules/test_problems.py",
    "E309": "a model's signature; tests/proxy/test_policy.py",
    "E330": "tests that fail when a proxy loads them; tests/proxy",
    "W404": "a command line; tests/cli/test_rules.py",
    "N414": "a profile; tests/cli/test_profile.py",
    "W405": "recorded traffic; tests/cli/test_rules.py",
    "W406": "recorded traffic; tests/cli/test_rules.py",
}


@pytest.mark.parametrize("name", names())
def test_a_bad_file_is_told_about_as_it_says_itself(name: str) -> None:
    text, problems = read(name)
    assert expected(text)
    assert said(problems) == expected(text)


@pytest.mark.parametrize("name", names())
def test_line_ends_of_windows_and_a_byte_order_mark_move_no_place(name: str) -> None:
    text, _ = read(name)
    _, problems = read(name, lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    assert said(problems) == expected(text)


# A parser that ignores directives that it does not know, and has no bound of its own on brackets.
@pytest.mark.parametrize("name", sorted({*names()} - {"yaml-directive", "yaml-brackets-without-end"}))
def test_without_libyaml_the_same_is_said_at_the_same_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = read(name)
    monkeypatch.setattr(composer, "_LOADER", yaml.SafeLoader)
    problems = read(name)[1]
    assert [(one.code, one.line) for one in said(problems)] == [
        (one.code, one.line) for one in expected(text)
    ]
    assert not [one for one in problems if "cannot be read here" in one.message]


@pytest.mark.parametrize("name", names())
def test_every_caret_stands_under_what_is_on_the_line(name: str) -> None:
    text, problems = read(name)
    lines = lines_of(text)
    for problem in problems:
        assert 1 <= problem.line <= len(lines)
        # The end of a line is a place too: there something is missing.
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert "^" in render(problem, text).split("\n")[4]


def test_every_code_has_a_bad_file() -> None:
    shown = {problem.code for name in names() for problem in read(name)[1]}
    assert shown <= set(CODES)
    assert set(CODES) - shown == set(ELSEWHERE) & set(CODES)


def test_there_are_many_bad_files() -> None:
    assert len(names()) >= 60
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.guard.yaml" for name in names()}


def test_errors_of_one_file_are_all_told_in_one_run() -> None:
    _, problems = read("several-mistakes")
    assert len([problem for problem in problems if problem.severity == "error"]) >= 8


def test_every_sentence_is_short_and_ours() -> None:
    problems: list[Problem] = [problem for name in names() for problem in read(name)[1]]
    for problem in problems:
        assert len(problem.message) <= 200
        assert problem.message.isprintable()
        # Words of the YAML library about its own insides.
        yaml = problem.code in {"E200", "E203"}
        for word in (
            "scanning",
            "token",
            "node content",
            "block mapping",
            "simple key",
            "scalar",
            "while ",
        ) * yaml:
            assert word not in problem.message, problem
    errors = [problem for problem in problems if problem.severity == "error"]
    assert sum(bool(problem.help) for problem in errors) >= 0.8 * len(errors)


def test_a_problem_of_a_rule_says_which_rule_and_key() -> None:
    (problem,) = read("field-misspelt")[1]
    assert problem.where == "rule demand-plausible, require"
    assert "(rule demand-plausible, require)" in render(problem, read("field-misspelt")[0]).split("\n")[1]
