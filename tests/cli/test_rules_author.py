"""`guardproxy rules new|fmt|promote|diff|docs|schema`, as a shell sees them."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from guardproxy.cli import rules_author, rules_promote
from guardproxy.cli.author_files import write_whole
from guardproxy.rules import load_rulesets
from tests.cli.run import Shell
from tests.shared import ROOT

Run = Callable[..., Result]

RULE = """\
guardproxy: 1
model: m
rules:
-  id: r   # the one
   range: {field: output.a, max: 1}
   mode: shadow
tests:
  - name: fine
    given: {output: {a: 0.5}}
    expect: {verdicts: {r: ok}}
  - name: too much
    given: {output: {a: 2}}
    expect: {verdicts: {r: violated}}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The commands, run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(name: str, *arguments: str | Path, says: str | None = None) -> Result:
        command = getattr(rules_promote if name == "promote" else rules_author, name)
        done = CliRunner().invoke(command, [str(each) for each in arguments], input=says)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file `rules/a.guard.yaml` with one rule in shadow, not in canonical layout."""
    path = tmp_path / "rules" / "a.guard.yaml"
    path.parent.mkdir()
    path.write_text(RULE)
    return path


# new


def test_new_writes_a_file_and_the_schema_that_its_first_line_names(run: Run, tmp_path: Path) -> None:
    done = run("new", "demand")
    assert done.exit_code == 0
    text = (tmp_path / "rules" / "demand.guard.yaml").read_text()
    modeline = text.splitlines()[0].partition("$schema=")[2]
    assert json.loads((tmp_path / "rules" / modeline).read_text())["title"] == "guardproxy rule file"
    assert run("fmt", "--check").exit_code == 0


def test_new_never_overwrites(run: Run, file: Path) -> None:
    done = run("new", "m", "--out", "rules/a.guard.yaml")
    assert (done.exit_code, file.read_text()) == (1, RULE)
    assert "exists already" in done.stderr


def test_new_keeps_an_existing_schema(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".guardproxy").mkdir()
    (tmp_path / ".guardproxy" / "rules.v1.schema.json").write_text("{}")
    assert run("new", "m").exit_code == 0
    assert (tmp_path / ".guardproxy" / "rules.v1.schema.json").read_text() == "{}"


@pytest.mark.parametrize("model", ["", " ", "a\nb", "x" * 201])
def test_new_needs_a_name(run: Run, model: str) -> None:
    assert run("new", model).exit_code == 2


def test_new_needs_the_ending_of_rule_files(run: Run) -> None:
    assert run("new", "m", "--out", "rules/m.yaml").exit_code == 2


def test_a_models_name_cannot_leave_the_folder(run: Run, tmp_path: Path) -> None:
    assert run("new", "../../x").exit_code == 0
    assert [path.name for path in (tmp_path / "rules").iterdir()] == ["-..-x.guard.yaml"]


def test_new_says_which_profile_is_missing(run: Run) -> None:
    done = run("new", "m", "--profile", "none.yaml")
    assert done.exit_code == 2
    assert "none.yaml" in done.stderr


# fmt


def test_fmt_writes_the_layout_and_says_so(run: Run, file: Path) -> None:
    done = run("fmt")
    assert done.exit_code == 0
    assert "laid out: rules/a.guard.yaml" in done.stdout
    assert "  - id: r   # the one\n    range: {field: output.a, max: 1}\n" in file.read_text()
    assert run("fmt").stdout == "0 files laid out, 1 already in canonical layout\n"


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_fmt_looks_without_writing(run: Run, file: Path, option: str) -> None:
    done = run("fmt", option)
    assert done.exit_code == 1
    assert file.read_text() == RULE
    assert ("+  - id: r   # the one" in done.stdout) is (option == "--diff")


def test_fmt_leaves_a_broken_file_alone_and_shows_its_problems(run: Run, file: Path) -> None:
    broken = file.with_name("b.guard.yaml")
    broken.write_text("guardproxy: 1\nmodel: n\nrules:\n-   id: x\n    forbid: output.a >\n")
    before = broken.read_text()
    done = run("fmt")
    assert done.exit_code == 2
    assert broken.read_text() == before
    assert "E110" in done.stderr
    assert file.read_text() != RULE


def test_fmt_tells_its_repairs(run: Run, file: Path) -> None:
    file.write_text("guardproxy: 1\nmodel: m\nrules:\n  - id: r\n    forbid: output.a = 1 && output.b = 2\n")
    done = run("fmt", "--format", "json")
    (told,) = json.loads(done.stdout)["files"]
    assert told["repairs"] == [
        {"line": 5, "before": "output.a = 1 && output.b = 2", "after": "output.a == 1 and output.b == 2"}
    ]
    assert (told["changed"], told["written"], told["problems"]) == (True, True, [])


def test_fmt_that_cannot_be_trusted_ends_with_3(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardproxy.authoring.fmt.spaced", lambda text: text.replace("max: 1", "max: 2"))
    done = run("fmt")
    assert (done.exit_code, file.read_text()) == (3, RULE)
    assert "left alone" in done.stderr


def test_fmt_keeps_the_mode_of_a_file_and_what_a_link_points_to(run: Run, file: Path) -> None:
    file.chmod(0o640)
    kept = file.rename(file.parent.parent / "kept.yaml")
    file.symlink_to(kept)
    assert run("fmt").exit_code == 0
    assert file.is_symlink()
    assert "  - id: r" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640


def test_without_a_rule_file_there_is_nothing_to_do(run: Run, tmp_path: Path) -> None:
    for name in ("fmt", "docs"):
        assert run(name).exit_code == 2
    (tmp_path / "rules").mkdir()
    assert run("fmt").exit_code == 2


def test_names_of_files_cannot_control_the_terminal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "\x1b[31m.guard.yaml").write_text(RULE)
    for done in (run("fmt", "--diff"), run("fmt"), run("docs")):
        assert "\x1b[31m." not in done.stdout + done.stderr


# promote


def test_promote_changes_one_word_and_nothing_else(run: Run, file: Path) -> None:
    done = run("promote", "r", "--to", "canary 20%", "--yes")
    assert done.exit_code == 0
    assert file.read_text() == RULE.replace("mode: shadow", "mode: canary 20%")
    assert "r of m: shadow -> canary 20%" in done.stdout
    assert "+   mode: canary 20%" in done.stdout


def test_a_share_may_follow_the_word_canary(run: Run, file: Path) -> None:
    assert run("promote", "r", "--yes", "--to", "canary", "5%").exit_code == 0
    assert "mode: canary 5%" in file.read_text()


def test_promote_asks_first(run: Run, file: Path) -> None:
    done = run("promote", "r", "--to", "canary 20%", says="n\n")
    assert (done.exit_code, file.read_text()) == (1, RULE)
    assert "nothing was written" in done.stderr
    assert run("promote", "r", "--to", "canary 20%", says="y\n").exit_code == 0


def test_where_there_is_nobody_to_ask_promote_says_how_to_go_on(run: Run, file: Path) -> None:
    before = file.read_bytes()
    done = run("promote", "r", "--to", "canary 20%", says="")
    assert done.exit_code == 1
    assert "there is nobody to ask, and --yes writes without asking" in done.stderr
    assert file.read_bytes() == before


def test_promote_lists_all_that_is_missing_and_force_says_it_too(run: Run, file: Path) -> None:
    text = RULE.replace("   mode: shadow\n", "   mode: shadow\n   severity: high\n").partition("tests:")[0]
    file.write_text(text)
    done = run("promote", "r", "--to", "enforce", "--yes")
    assert (done.exit_code, file.read_text()) == (1, text)
    for said in (
        "one step at a time",
        "'owner'",
        "'why'",
        "no test has seen it violated",
        "no test has seen it ok",
    ):
        assert said in done.stderr
    # What would make the file invalid is not a matter of force.
    assert run("promote", "r", "--to", "enforce", "--yes", "--force").exit_code == 1
    file.write_text(text.replace("severity: high", "severity: low"))
    forced = run("promote", "r", "--to", "enforce", "--yes", "--force")
    assert forced.exit_code == 0
    assert "although" in forced.stderr
    assert "mode: enforce" in file.read_text()


def test_promote_down_asks_for_nothing(run: Run, file: Path) -> None:
    file.write_text(RULE.partition("tests:")[0].replace("shadow", "enforce"))
    assert run("promote", "r", "--to", "off", "--yes").exit_code == 0
    assert "mode: off" in file.read_text()


def test_promote_down_names_the_tests_that_it_breaks(run: Run, file: Path) -> None:
    done = run("promote", "r", "--to", "off", "--yes")
    assert done.exit_code == 0
    assert "note: the test 'too much' would fail" in done.stderr


def test_promote_to_where_a_rule_is_does_nothing(run: Run, file: Path) -> None:
    done = run("promote", "r", "--to", "shadow")
    assert (done.exit_code, file.read_text()) == (0, RULE)
    assert "already" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("s", "--to", "shadow"), "there is no rule 's'"),
        (("r", "--to", "enforced"), "no mode"),
        (("r", "--to", "canary"), "needs a share"),
        (("r", "--to", "shadow", "--model", "mm"), "there is no model 'mm'"),
    ],
)
def test_promote_refuses_what_is_not_there(
    run: Run, file: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run("promote", *arguments)
    assert (done.exit_code, file.read_text()) == (2, RULE)
    assert said in done.stderr


def test_one_id_in_two_models_needs_the_model(run: Run, file: Path) -> None:
    other = file.with_name("b.guard.yaml")
    other.write_text(RULE.replace("model: m", "model: n"))
    assert "--model" in run("promote", "r", "--to", "off", "--yes").stderr
    assert run("promote", "r", "--to", "off", "--yes", "--model", "n").exit_code == 0
    assert (file.read_text(), "mode: off" in other.read_text()) == (RULE, True)


def test_a_shared_rule_of_several_models_is_one_rule(run: Run, file: Path) -> None:
    file.write_text(RULE.replace("model: m", "models: [m, n]"))
    assert run("promote", "r", "--to", "off", "--yes").exit_code == 0


def test_promote_does_not_touch_invalid_files(run: Run, file: Path) -> None:
    file.write_text(RULE + "nonsense: 1\n")
    assert run("promote", "r", "--to", "off", "--yes").exit_code == 2


def test_a_recording_that_is_not_there_is_a_sentence(run: Run, file: Path) -> None:
    done = run("promote", "r", "--to", "canary 20%", "--yes", "--recorded", "nowhere")
    assert (done.exit_code, file.read_text()) == (2, RULE)
    assert "nowhere" in done.stderr


# diff, docs, schema


def test_diff_ends_with_1_where_something_differs(run: Run, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.guard.yaml"
    other.write_text("# moved\n" + RULE)
    assert run("diff", file, other).stdout == "the rules do the same\n"
    other.write_text(RULE.replace("max: 1", "max: 2").replace("shadow", "canary 5%"))
    done = run("diff", file.parent, other)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        *(
            "m",
            "  ~ r",
            "      range.max: 1 -> 2  (+100.0%)",
            "      mode: shadow -> canary 5%",
            "1 difference",
        ),
    ]
    (told,) = json.loads(run("diff", file, other, "--format", "json").stdout)["differences"]
    assert (told["name"], told["how"], len(told["changes"])) == ("r", "changed", 2)


def test_diff_of_an_invalid_file_ends_with_2(run: Run, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.guard.yaml"
    other.write_text("guardproxy: 1\n")
    assert run("diff", file, other).exit_code == 2


def test_docs_writes_a_page_per_model(run: Run, tmp_path: Path) -> None:
    done = run("docs", ROOT / "rules", "--out", "pages", "--format", "html")
    assert done.exit_code == 0
    rulesets, _ = load_rulesets(
        {str(path): path.read_text() for path in (ROOT / "rules").glob("*.guard.yaml")}
    )
    assert {path.stem for path in (tmp_path / "pages").iterdir()} == set(rulesets)


def test_docs_prints_markdown_and_refuses_many_pages_of_html_at_once(run: Run, file: Path) -> None:
    file.with_name("b.guard.yaml").write_text(RULE.replace("model: m", "model: n"))
    assert run("docs").stdout.count("# Rules of ") == 2
    assert run("docs", "--model", "n").stdout.startswith("# Rules of n\n")
    assert run("docs", "--format", "html").exit_code == 2
    assert run("docs", "--format", "html", "--model", "n").stdout.startswith("<!doctype html>")
    assert run("docs", "--model", "x").exit_code == 2


def test_schema_is_printed_or_written(run: Run, tmp_path: Path) -> None:
    printed = run("schema").stdout
    assert json.loads(printed)["$schema"].endswith("2020-12/schema")
    assert run("schema", "--out", "a/b.json").exit_code == 0
    assert (tmp_path / "a" / "b.json").read_text() == printed


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.yaml"
    target.write_bytes(b"old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
    assert target.read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_a_sentence(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("guardproxy.cli.author_files.write_whole", denied)
    done = run("fmt")
    assert (done.exit_code, file.read_text()) == (3, RULE)
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("name", ["new", "fmt", "promote", "diff", "docs", "schema"])
def test_the_commands_are_reached_through_guardproxy_rules(shell: Shell, name: str) -> None:
    done = shell("rules", name, "--help")
    assert done.code == 0
    assert f"guardproxy rules {name}" in done.out
