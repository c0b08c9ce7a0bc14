"""`guardproxy rules check` and `rules test`: what is printed, and how they end."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from guardproxy.cli.rules import rules
from guardproxy.profile.document import dump_profile, stamp
from tests.rules.build import PROFILE

GOOD = """guardproxy: 1
model: demand
rules:
  - id: plausible
    range: {field: output.demand, min: 0, max: 1000}
    action: fallback
    fallback: [previous, {value: 5}]
  - id: warm
    range: {field: features.temp, max: 30}
tests:
  - name: below nothing
    given: {features: {temp: 1}, output: {demand: -4}}
    expect: {outcome: replaced, value: {demand: 5}, verdicts: {plausible: violated}}
  - name: ordinary
    given: {features: {temp: 1}, output: {demand: 4}}
    expect: {outcome: allowed, verdicts: {plausible: ok, warm: ok}}
"""


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(rules, [str(arg) for arg in args])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "demand.guard.yaml"
    file.write_text(GOOD)
    return file


def test_check_says_what_it_has_read(good: Path) -> None:
    result = run("check", good.parent)
    assert result.exit_code == 0
    assert result.stdout == "ok: 2 rules (2 enforced) of 1 model in 1 file, 2 tests\n"
    assert "note[N401]" in result.stderr


def test_check_draws_every_problem_and_ends_with_2(good: Path) -> None:
    good.write_text(GOOD.replace("action:", "actoin:").replace("min: 0", "min: no"))
    result = run("check", good)
    assert result.exit_code == 2
    assert f"--> {good}:6:5" in result.stderr
    assert f"--> {good}:5:40" in result.stderr
    assert "did you mean 'action'?" in result.stderr
    assert "^^^^^^" in result.stderr


def test_check_gives_problems_as_json_with_columns_from_1(good: Path) -> None:
    good.write_text(GOOD.replace("action:", "actoin:"))
    result = run("check", good, "--format", "json")
    assert result.exit_code == 2
    (problem,) = [one for one in json.loads(result.stdout)["problems"] if one["severity"] == "error"]
    assert problem == {
        "code": "E204",
        "severity": "error",
        "file": str(good),
        "line": 6,
        "column": 5,
        "message": "unknown key 'actoin' in rule 'plausible'",
        "help": "did you mean 'action'?",
    }


def test_a_good_file_has_an_empty_list_of_problems_once_names_are_known(good: Path, tmp_path: Path) -> None:
    profile = tmp_path / "demand.profile.yaml"
    profile.write_text(dump_profile(stamp(PROFILE)))
    result = run("check", good, "--profile", profile, "--format", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"problems": []})
    good.write_text(GOOD.replace("features.temp", "features.tmep"))
    result = run("check", good, "--profile", profile)
    assert result.exit_code == 2
    assert "E106" in result.stderr
    assert "features.temp" in result.stderr


def test_a_profile_of_another_model_is_mentioned(good: Path, tmp_path: Path) -> None:
    profile = tmp_path / "demand.profile.yaml"
    profile.write_text(dump_profile(stamp(PROFILE)))
    good.write_text(GOOD.replace("model: demand", "model: demmand"))
    result = run("check", good, "--profile", profile)
    assert result.exit_code == 0
    assert "W404" in result.stderr


def test_a_broken_profile_is_a_problem_of_its_own(good: Path, tmp_path: Path) -> None:
    profile = tmp_path / "demand.profile.yaml"
    profile.write_text("nothing: here\n")
    result = run("check", good, "--profile", profile)
    assert result.exit_code == 2
    assert str(profile) in result.stderr


@pytest.mark.parametrize("command", ["check", "test"])
def test_no_file_at_all_is_a_mistake_of_usage(command: str, tmp_path: Path) -> None:
    result = run(command, tmp_path)
    assert result.exit_code == 2
    assert "no rule file" in result.stderr
    missing = run(command, tmp_path / "missing.guard.yaml")
    assert missing.exit_code == 2
    assert "missing.guard.yaml" in missing.stderr
    assert "Traceback" not in missing.stderr


@pytest.mark.parametrize(
    "command", ["check", "test", "replay --recorded x", "explain row.json", "fmt", "docs"]
)
def test_where_there_is_no_folder_of_rules_the_first_step_is_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*command.split())
    assert result.exit_code == 2
    assert "there is no folder rules here" in result.stderr
    assert "guardproxy rules new MODEL" in result.stderr


def test_a_file_that_is_not_text_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "x.guard.yaml"
    file.write_bytes(b"\xff\xfe\x00guard")
    assert run("check", file).exit_code == 2


def test_tests_that_pass_end_with_0_and_say_which_rules_never_fired(good: Path) -> None:
    result = run("test", good)
    assert result.exit_code == 0
    assert f"{good}:11  ok      below nothing" in result.stdout
    assert "2 passed, 0 failed, 2 rules" in result.stdout
    assert "verdict coverage 3/4 (never violated in tests: warm)" in result.stdout


def test_a_test_that_fails_ends_with_1_and_shows_both_values(good: Path) -> None:
    good.write_text(
        GOOD.replace("value: {demand: 5}", "value: {demand: 6}").replace("warm: ok", "warm: violated")
    )
    result = run("test", good)
    assert result.exit_code == 1
    assert "FAILED  below nothing" in result.stdout
    assert "expected 6, got 5" in result.stdout
    assert "warm: expected violated, got ok" in result.stdout
    assert "0 passed, 2 failed" in result.stdout


def test_results_as_json_have_the_shape_of_the_contract(good: Path) -> None:
    result = run("test", good, "--format", "json")
    assert result.exit_code == 0
    first, second = json.loads(result.stdout)["cases"]
    assert {name: first[name] for name in ("file", "line", "name", "passed", "outcome", "value")} == {
        "file": str(good),
        "line": 11,
        "name": "below nothing",
        "passed": True,
        "outcome": "replaced",
        "value": {"demand": 5},
    }
    assert first["verdicts"] == {"plausible": "violated", "warm": "ok", "predictions-finite": "ok"}
    assert second["outcome"] == "allowed"


def test_tests_of_an_invalid_file_are_not_run(good: Path) -> None:
    good.write_text(GOOD.replace("min: 0", "mni: 0"))
    result = run("test", good)
    assert result.exit_code == 2
    assert "passed" not in result.stdout
    as_json = run("test", good, "--format", "json")
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["problems"]
