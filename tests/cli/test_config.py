"""`guardproxy config check|schema`: everything the server would read, from wherever it is run."""

import json
from pathlib import Path

import pytest

from guardproxy.config.keys import KEYS, ROUTE_KEYS
from tests.cli.run import Shell
from tests.proxy.serving import RULES

CONFIG = """\
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0", tokens_file: secrets/tokens.yaml}
upstream: http://127.0.0.1:9
rules: rules/
routes: [{path: /v2/models/demand/infer, model: demand, on_failure: open}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a configuration, a rule file and a tokens file."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "rules" / "a.guard.yaml").write_text(RULES)
    (tmp_path / "secrets" / "tokens.yaml").write_text(
        f'- {{name: reviewer-a, role: reviewer, sha256: "{"a" * 64}"}}\n'
    )
    (tmp_path / "guardproxy.yaml").write_text(CONFIG)
    return tmp_path


def test_a_good_configuration_is_one_line_from_any_directory(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = shell("config", "check")
    assert (done.code, done.out) == (0, "guardproxy.yaml: ok, 1 guarded route, 1 model, 4 rules\n")
    monkeypatch.chdir("/")
    assert shell("config", "check", folder / "guardproxy.yaml").code == 0


def test_without_a_profile_the_note_says_where_to_name_one(shell: Shell, folder: Path) -> None:
    done = shell("config", "check", folder / "guardproxy.yaml")
    assert "note[N401]" in done.err
    assert "route a `profile:`" in done.err
    assert "--profile" not in done.err


def test_problems_of_all_files_are_reported_at_once(shell: Shell, folder: Path) -> None:
    (folder / "guardproxy.yaml").write_text(
        CONFIG.replace("on_failure: open", "on_failure: maybe, profile: p.yaml")
    )
    (folder / "rules" / "a.guard.yaml").write_text(RULES.replace("require:", "requier:"))
    (folder / "secrets" / "tokens.yaml").write_text("- {name: reviewer-a, role: king, sha256: aa}\n")
    done = shell("config", "check", folder / "guardproxy.yaml")
    assert (done.code, done.out) == (2, "")
    for part in (
        "guardproxy.yaml:5:69",
        "a.guard.yaml:10",
        "tokens.yaml:1:28",
        "tokens.yaml:1:42",
        "errors found.",
    ):
        assert part in done.err, part
    as_json = shell("config", "check", folder / "guardproxy.yaml", "--format", "json")
    assert as_json.code == 2
    problems = json.loads(as_json.out)["problems"]
    assert {Path(problem["file"]).name for problem in problems} == {
        "guardproxy.yaml",
        "a.guard.yaml",
        "tokens.yaml",
    }
    for problem in problems:
        assert set(problem) == {"code", "severity", "file", "line", "column", "message", "help"}
        assert problem["line"] >= 1
        assert problem["column"] >= 1


def test_a_missing_tokens_file_stops_the_check_as_it_would_the_server(shell: Shell, folder: Path) -> None:
    (folder / "secrets" / "tokens.yaml").unlink()
    done = shell("config", "check", folder / "guardproxy.yaml")
    assert done.code == 2
    assert "tokens.yaml" in done.err
    assert "cannot be read: No such file or directory" in done.err


def test_a_file_that_is_not_there_is_two_lines_without_a_drawing(shell: Shell, tmp_path: Path) -> None:
    done = shell("config", "check", tmp_path / "nope.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error[E200]: cannot be read: No such file or directory\n --> {tmp_path}/nope.yaml\n\n"
        "1 error found. `guardproxy explain E200` says more.\n"
    )
    problems = json.loads(shell("config", "check", tmp_path / "nope.yaml", "--format", "json").out)[
        "problems"
    ]
    assert [(problem["code"], problem["line"]) for problem in problems] == [("E200", 1)]


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"", b"- a\n", b"a: &a [*a]\n", b"[" * 5000, b"!!python/name:os.system\n"]
)
def test_a_file_that_is_no_configuration_is_a_problem_and_no_exception(
    shell: Shell, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "g.yaml").write_bytes(content)
    done = shell("config", "check", tmp_path / "g.yaml")
    assert done.code == (2 if content else 0)
    assert "error[" in done.err or not content


def test_the_environment_is_checked_too(shell: Shell, folder: Path) -> None:
    file = folder / "guardproxy.yaml"
    good = {
        "GUARDPROXY_LISTEN": "127.0.0.1:9999",
        "GUARDPROXY_HOLDS_UNDO": "3s",
        "GUARDPROXY_ADMIN_AUTH": "none",
    }
    assert shell("config", "check", file, environment=good).code == 0
    bad = shell(
        "config", "check", file, environment={"GUARDPROXY_LISTEN": "nowhere", "GUARDPROXY_DRAIN": "long"}
    )
    assert bad.code == 2
    assert "listen must be HOST:PORT" in bad.err
    assert "drain" in bad.err


def test_paths_of_variables_are_relative_to_where_the_process_runs(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.guard.yaml").write_text(RULES.replace("require:", "requier:"))
    monkeypatch.chdir(elsewhere)
    done = shell("config", "check", "../guardproxy.yaml", environment={"GUARDPROXY_RULES": "mine.guard.yaml"})
    assert done.code == 2
    assert "--> mine.guard.yaml:10" in done.err


def test_the_schema_is_json_and_names_every_key(shell: Shell) -> None:
    done = shell("config", "schema")
    assert done.code == 0
    schema = json.loads(done.out)
    assert set(schema["properties"]) == set(KEYS)
    assert set(schema["properties"]["routes"]["items"]["properties"]) == set(ROUTE_KEYS)


@pytest.mark.parametrize(
    "arguments", [[], ["chekc"], ["check", "a", "b"], ["check", "--format", "xml"], ["schema", "x"]]
)
def test_wrong_usage_of_config_exits_with_2_and_shows_the_right_one(
    shell: Shell, arguments: list[str]
) -> None:
    done = shell("config", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "Usage: guardproxy config" in done.err
