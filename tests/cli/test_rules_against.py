"""`guardproxy rules check --against`: warnings from recorded traffic beside what is wrong with the files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from guardproxy.cli.rules import rules as command
from tests.cli.recorded import write_recording
from tests.guard.recorded import exchange, rules

HEAD = "guardproxy: 1\nmodel: m\nowner: ops\nrules:\n"
ANY = "  - id: any\n    require: output.demand > 0\n"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(command, ["check", *(str(arg) for arg in args)])


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    records = [exchange(n, [{"cost": 1.0}], [{"demand": float(n + 1)}]) for n in range(120)]
    return write_recording(tmp_path / "recorded", rules(ANY), records)


def test_warnings_are_drawn_and_the_end_is_0(tmp_path: Path, recorded: Path) -> None:
    file = tmp_path / "m.guard.yaml"
    file.write_text(HEAD + ANY + "  - id: floor\n    require: features.cst >= 0\n")
    result = run(file, "--against", recorded)
    assert result.exit_code == 0
    assert "warning[W405]" in result.stderr
    assert "did you mean 'features.cost'?" in result.stderr
    assert "note[W406]: rule 'any' has not fired in 120 recorded rows" in result.stderr
    assert result.stdout.strip().endswith("0 tests, against 120 recorded rows")


def test_warnings_are_in_the_machine_readable_form_too(tmp_path: Path, recorded: Path) -> None:
    file = tmp_path / "m.guard.yaml"
    file.write_text(HEAD + "  - id: floor\n    require: features.cst >= 0\n")
    found = json.loads(run(file, "--against", recorded, "--format", "json").stdout)["problems"]
    assert ("W405", 6) in {(one["code"], one["line"]) for one in found}


def test_files_with_errors_still_end_with_2_and_show_the_fields_that_were_seen(
    tmp_path: Path, recorded: Path
) -> None:
    from guardproxy.profile.document import dump_profile, stamp
    from tests.rules.build import number, profile_of

    profile = tmp_path / "m.profile.yaml"
    profile.write_text(dump_profile(stamp(profile_of([number("cost", 0, 5)], model="m"))))
    file = tmp_path / "m.guard.yaml"
    file.write_text(HEAD + "  - id: floor\n    require: features.cst >= 0\n")
    result = run(file, "--against", recorded, "--profile", profile)
    assert result.exit_code == 2
    assert "E106" in result.stderr
    assert "note: fields seen in recorded traffic: cost" in result.stderr


def test_traffic_of_another_model_only_is_a_sentence(tmp_path: Path, recorded: Path) -> None:
    file = tmp_path / "m.guard.yaml"
    file.write_text(HEAD.replace("model: m", "model: other") + ANY)
    result = run(file, "--against", recorded)
    assert (result.exit_code, "no recorded traffic of 'other'" in result.stderr) == (2, True)
    assert "which is of 'm'" in result.stderr
