"""Problems and tests in the forms that build servers read."""

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.cli.formats import Case, github, junit, sarif
from guardproxy.cli.output import MAX_DRAWN, print_problems, print_tests
from guardproxy.rules import CODES
from guardproxy.source import Problem
from tests.cli.run import child_environment

ERROR = Problem(
    "E106",
    "unknown field 'output.demnd'",
    "rules/a b,c:d.guard.yaml",
    14,
    14,
    12,
    "did you mean 'output.demand'?",
    where="rule demand-plausible, require",
    note="fields seen: demand, 100% of p10",
)
WARNING = Problem("W402", "never used", "rules/other.guard.yaml", 3, 5, 8, "remove it", "warning")
NOTE = Problem("N401", "names cannot be checked", "rules/other.guard.yaml", 2, 8, 3, severity="note")
PROBLEMS = [ERROR, WARNING, NOTE]
TEXTS = {
    ERROR.file: "\n" * 13 + "    require: output.demnd <= 3\n",
    WARNING.file: "a\nb\nc: d\n",
    "fine.guard.yaml": "a: 1\n",
}
EVIL = "\x1b[2J\r\n::error::x\x00\ud800\ufffe<&>\"']]>%0A"
CASES = [
    {"file": "a.guard.yaml", "line": 9, "name": "below nothing", "passed": True, "differences": []},
    {
        "file": "a.guard.yaml",
        "line": 14,
        "name": "promo, shifted: <all>",
        "passed": False,
        "differences": ["outcome: expected held, got replaced", "value: expected 6, got 5"],
    },
    {"file": "b.guard.yaml", "line": 3, "name": "warm", "passed": True},
]

# The parts of the SARIF 2.1.0 schema that code scanning relies on.
SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "$schema": {"type": "string", "format": "uri"},
        "runs": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/run"}},
    },
    "additionalProperties": False,
    "$defs": {
        "text": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "run": {
            "type": "object",
            "required": ["tool", "results"],
            "properties": {
                "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
                "tool": {
                    "type": "object",
                    "required": ["driver"],
                    "properties": {
                        "driver": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}}},
                        }
                    },
                },
            },
            "additionalProperties": False,
        },
        "rule": {
            "type": "object",
            "required": ["id", "shortDescription", "fullDescription", "help"],
            "properties": {
                "id": {"type": "string", "minLength": 1},
                "shortDescription": {"$ref": "#/$defs/text"},
                "fullDescription": {"$ref": "#/$defs/text"},
                "help": {"$ref": "#/$defs/text"},
                "defaultConfiguration": {"properties": {"level": {"$ref": "#/$defs/level"}}},
            },
            "additionalProperties": False,
        },
        "result": {
            "type": "object",
            "required": ["message", "ruleId", "locations"],
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": 0},
                "level": {"$ref": "#/$defs/level"},
                "message": {"$ref": "#/$defs/text"},
                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                "locations": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "properties": {
                            "physicalLocation": {
                                "required": ["artifactLocation", "region"],
                                "properties": {
                                    "artifactLocation": {
                                        "required": ["uri"],
                                        "properties": {"uri": {"type": "string", "pattern": r"^[A-Za-z0-9._~:/%()*+,;=@!$&'-]+$"}},
                                    },
                                    "region": {
                                        "required": ["startLine"],
                                        "additionalProperties": {"type": "integer", "minimum": 1},
                                    },
                                },
                            }
                        }
                    },
                },
            },
            "additionalProperties": False,
        },
    },
}  # fmt: skip


def printed(capsys: pytest.CaptureFixture[str], form: str) -> str:
    print_problems(PROBLEMS, TEXTS, form)
    done = capsys.readouterr()
    assert done.err == ""
    return done.out


def test_json_is_the_contracts_form(capsys: pytest.CaptureFixture[str]) -> None:
    first, second, _ = json.loads(printed(capsys, "json"))["problems"]
    assert set(first) == set(second) == {"code", "severity", "file", "line", "column", "message", "help"}
    assert (first["code"], first["severity"], first["line"], first["column"]) == ("E106", "error", 14, 14)


def test_github_gets_one_command_for_each_problem_with_everything_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(capsys, "github").splitlines()
    assert lines[0] == (
        "::error file=rules/a b%2Cc%3Ad.guard.yaml,line=14,endLine=14,col=14,endColumn=26,title=E106"
        "::unknown field 'output.demnd' (rule demand-plausible, require)"
        "%0Ahelp: did you mean 'output.demand'?%0Anote: fields seen: demand, 100%25 of p10"
    )
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::notice"]


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_in_a_problem_can_be_a_command_of_its_own(message: str, file: str) -> None:
    (line,) = github.problem_lines([Problem("E204", message + EVIL, file + EVIL, 1, 1, help=message)])
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line
    assert line.count("::") - line.partition("::")[2].partition("::")[2].count("::") == 2
    head = line.removeprefix("::error ").partition("::")[0]
    assert [part.partition("=")[0] for part in head.split(",")] == [
        "file",
        "line",
        "endLine",
        "col",
        "endColumn",
        "title",
    ]


def test_junit_has_a_suite_per_file_and_a_failure_per_error(capsys: pytest.CaptureFixture[str]) -> None:
    root = ET.fromstring(printed(capsys, "junit").partition("\n")[2])  # noqa: S314
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "3", "1")
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == set(TEXTS)
    failure = suites[ERROR.file].find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == ERROR.message
    assert "^^^^^^^^^^^^" in (failure.text or "")
    other = suites[WARNING.file]
    assert other.get("failures") == "0"
    assert "warning[W402]" in (other.findtext("system-out") or "")


@given(st.text(max_size=60))
def test_junit_is_xml_whatever_the_names_are(text: str) -> None:
    problem = Problem("E204", text + EVIL, text + EVIL, 1, 1, where=text)
    for document in (
        junit.problem_document([problem], {problem.file: text + EVIL}),
        junit.test_document([Case(text + EVIL, 1, text + EVIL, passed=False, differences=(text,))]),
    ):
        root = ET.fromstring(document.encode("utf-8", "strict"))  # noqa: S314
        assert root.get("failures") == "1"


def test_sarif_has_every_code_with_its_page_and_every_place(capsys: pytest.CaptureFixture[str]) -> None:
    log = json.loads(printed(capsys, "sarif"))
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["E106", "N401", "W402"]
    assert rules[0]["fullDescription"]["text"] == CODES["E106"]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 14, "startColumn": 14, "endColumn": 26}
    assert place["artifactLocation"]["uri"] == "rules/a%20b%2Cc%3Ad.guard.yaml"


@given(st.text(max_size=60))
def test_sarif_is_valid_whatever_the_names_are(text: str) -> None:
    problem = Problem("E204", text + EVIL, text + EVIL, 1, 1, where=text)
    logs = (
        sarif.problem_log([problem], CODES),
        sarif.test_log([Case(text + EVIL, 0, text + EVIL, passed=False)]),
        sarif.problem_log([], CODES),
        sarif.test_log([]),
    )
    for log in logs:
        json.dumps(log).encode()
        jsonschema.Draft202012Validator(SARIF).validate(log)


def test_a_mistake_keeps_its_fingerprint_when_its_line_moves() -> None:
    moved = Problem(ERROR.code, ERROR.message, ERROR.file, 99, 1, where=ERROR.where)
    other = Problem(ERROR.code, ERROR.message, ERROR.file, 14, 14, where="rule other, require")
    results = sarif.problem_log([ERROR, moved, other], CODES)["runs"][0]["results"]
    first, second, third = (result["partialFingerprints"]["mistake/v1"] for result in results)
    assert first == second != third


def test_an_absolute_file_is_a_file_uri(tmp_path: Path) -> None:
    log = sarif.problem_log([Problem("E200", "m", str(tmp_path / "a b.yaml"), 1, 1)], CODES)
    uri = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.startswith("file:///")
    assert uri.endswith("/a%20b.yaml")


def test_tests_are_printed_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    print_tests(CASES, "json")
    assert json.loads(capsys.readouterr().out) == {"cases": CASES}
    print_tests(CASES, "github")
    lines = capsys.readouterr().out.splitlines()
    said = "promo, shifted: <all>: outcome: expected held, got replaced; value: expected 6, got 5"
    place = "file=a.guard.yaml,line=14,endLine=14"
    assert lines == [
        f"::error {place},title=a rule's test failed::{said}",
        "::notice title=guardproxy rules test::2 tests passed, 1 failed",
    ]
    print_tests(CASES, "junit")
    root = ET.fromstring(capsys.readouterr().out.partition("\n")[2])  # noqa: S314
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    assert [suite.get("name") for suite in root] == ["a.guard.yaml", "b.guard.yaml"]
    failed = root.findall("testsuite/testcase[failure]")
    assert [case.get("name") for case in failed] == ["promo, shifted: <all>"]
    print_tests(CASES, "sarif")
    log = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(SARIF).validate(log)
    assert len(log["runs"][0]["results"]) == 1


def test_more_problems_than_anybody_reads_are_counted_with_the_errors_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    warnings = [
        Problem("W402", "never used", "a.yaml", line, 1, severity="warning") for line in range(1, 300)
    ]
    print_problems([*warnings, Problem("E204", "unknown key", "a.yaml", 300, 1)], {"a.yaml": "a: 1\n" * 300})
    said = capsys.readouterr().err
    assert said.count("-->") == MAX_DRAWN
    assert said.startswith("error[E204]")
    assert said.endswith(
        "100 more are not drawn; --format json lists them all.\n"
        "1 error and 299 warnings found. `guardproxy explain E204` says more.\n"
    )


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_gets_colours_unless_it_asks_for_none(
    tmp_path: Path, environment: dict[str, str], coloured: bool
) -> None:
    (tmp_path / "a.guard.yaml").write_text("guardproxy: 1\nmodel: m\nrules: [{id: A}]\n")
    ours, theirs = pty.openpty()
    try:
        kept = {key: value for key, value in child_environment().items() if key != "NO_COLOR"}
        subprocess.run(
            [sys.executable, "-m", "guardproxy", "rules", "check", "a.guard.yaml"],
            cwd=tmp_path,
            env={**kept, "TERM": "xterm", **environment},
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            timeout=60,
            check=False,
        )
        said = os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "E212" in said
    assert ("\x1b[31m" in said) is coloured


def test_notes_that_all_say_the_same_are_drawn_once_and_hide_no_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = [replace(NOTE, file=f"rules/{number}.guard.yaml") for number in range(9)]
    fired = [replace(NOTE, code="W406", message=f"rule {number} has not fired") for number in range(2)]
    print_problems([*notes, ERROR, *fired], TEXTS)
    said = capsys.readouterr().err
    assert said.count("names cannot be checked") == 1
    assert "note[N401]: the same at rules/1.guard.yaml:2, " in said
    assert "rules/5.guard.yaml:2 and 3 more" in said
    assert "rule 1 has not fired" in said
    assert "unknown field" in said


def test_a_pipe_gets_no_colours(tmp_path: Path) -> None:
    (tmp_path / "a.guard.yaml").write_text("guardproxy: 1\nmodel: m\nrules: [{id: A}]\n")
    done = subprocess.run(
        [sys.executable, "-m", "guardproxy", "rules", "check", "a.guard.yaml"],
        cwd=tmp_path,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "E212" in done.stderr
    assert "\x1b" not in done.stderr
