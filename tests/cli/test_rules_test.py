"""`guardproxy rules test`: choosing tests, watching files, coverage, and what a failure shows."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from guardproxy.cli.rules import rules as command
from guardproxy.cli.rules_test import Asked, keep_testing

RULES = """guardproxy: 1
model: demand
owner: ops
rules:
  - id: cap
    require: output.demand <= 3 * features.last_week
    action: hold
    unless:
      - {id: xmas, when: features.category == "toys", until: 2030-01-06, owner: ops, why: A jump is expected.}
  - id: warm
    when: features.temp is not missing
    range: {field: features.temp, max: 30}
tests:
  - name: far too many
    given: {features: {last_week: 10, category: dairy, temp: 3}, output: {demand: 40}}
    expect: {verdicts: {cap: violated}, outcome: held}
  - name: toys at christmas
    given: {features: {last_week: 10, category: toys, temp: 3}, output: {demand: 40}}
    expect: {verdicts: {cap: skipped}}
  - name: heat
    given: {features: {last_week: 10, category: dairy, temp: 44}, output: {demand: 4}}
    expect: {verdicts: {warm: violated, cap: ok}}
"""


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(command, ["test", *(str(arg) for arg in args)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "demand.guard.yaml"
    path.write_text(RULES)
    return path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("TOYS", ["toys at christmas"]),
        ("warm", ["heat"]),
        ("ca*", ["far too many", "toys at christmas", "heat"]),
        ("*many", ["far too many"]),
    ],
)
def test_a_pattern_picks_tests_by_name_or_by_rule(file: Path, pattern: str, names: list[str]) -> None:
    cases = json.loads(run(file, "-k", pattern, "--format", "json").stdout)["cases"]
    assert [case["name"] for case in cases] == names


def test_a_pattern_that_nothing_has_is_an_error_and_no_success(file: Path) -> None:
    result = run(file, "-k", "nothing like it")
    assert (result.exit_code, "no test is called like nothing like it" in result.stderr) == (2, True)


def test_a_part_of_the_tests_says_nothing_of_coverage(file: Path) -> None:
    assert "coverage" not in run(file, "-k", "heat").stdout
    assert run(file, "-k", "heat", "--coverage-min", "100").exit_code == 0


def test_coverage_counts_verdicts_conditions_and_exceptions(file: Path) -> None:
    result = run(file)
    assert result.exit_code == 0
    assert "3 passed, 0 failed, 2 rules, verdict coverage 6/7 (`when` always true: warm)" in result.stdout


def test_too_little_coverage_ends_with_1(file: Path) -> None:
    assert run(file, "--coverage-min", "85").exit_code == 0
    assert run(file, "--coverage-min", "85%").exit_code == 0
    assert run(file, "--coverage-min", "90 %").exit_code == 1
    assert run(file, "--coverage-min", "101%").exit_code == 2
    result = run(file, "--coverage-min", "90")
    assert (result.exit_code, "coverage is 86%; 90% was asked for" in result.stderr) == (1, True)


def test_a_failure_shows_the_values_of_both_sides_and_the_exception_that_matched(file: Path) -> None:
    file.write_text(
        RULES.replace("{cap: skipped}", "{cap: violated}").replace(
            "{cap: violated}, outcome: held", "{cap: ok}, outcome: held"
        )
    )
    result = run(file)
    assert result.exit_code == 1
    assert "cap: expected violated, got skipped (exception 'xmas' matched)" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "cap: expected ok, got violated" in line]
    assert "40" in line
    assert "30" in line
    assert "    got: held, cap violated" in result.stdout


def test_junit_names_the_test_that_failed(file: Path) -> None:
    file.write_text(RULES.replace("outcome: held", "outcome: allowed"))
    result = run(file, "--format", "junit")
    assert result.exit_code == 1
    failed = [
        case.get("name")
        for case in ET.fromstring(result.stdout).iter("testcase")  # noqa: S314
        if case.find("failure") is not None
    ]
    assert failed == ["far too many"]


def test_watching_runs_again_only_when_a_file_has_changed(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = 0

    def wait() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            file.write_text(RULES.replace("outcome: held", "outcome: allowed"))
        elif looks == 3:
            file.unlink()
        elif looks == 4:
            file.write_text(RULES)
        elif looks == 6:
            raise KeyboardInterrupt

    keep_testing(Asked((file.parent,), (), (), 0.0, "text"), wait)
    said = capsys.readouterr()
    assert said.out.count("--- ") == 4
    assert said.out.count("3 passed, 0 failed") == 2
    assert said.out.count("2 passed, 1 failed") == 1
    assert "there is no rule file" in said.err
