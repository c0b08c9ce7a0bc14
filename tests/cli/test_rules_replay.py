"""`guardproxy rules replay` on recordings from disk: what is printed, what is written, how it ends."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from guardproxy.cli.rules import rules as command
from guardproxy.decision import Meanwhile, OnExpiry, Severity
from guardproxy.holds import Hold, State
from guardproxy.stores.sqlite import SqliteHoldStore
from tests.cli.recorded import write_recording
from tests.guard.recorded import START, exchange, rules

HEAD = "guardproxy: 1\nmodel: m\nowner: ops\nrules:\n"
OLD = "  - id: cap\n    range: {field: output.demand, max: 100}\n    action: warn\n"
NEW = OLD.replace("max: 100", "max: 50").replace("action: warn", "action: hold")


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(command, ["replay", *(str(arg) for arg in args)])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    file = tmp_path / "old.guard.yaml"
    file.write_text(HEAD + OLD)
    return file


@pytest.fixture
def new(tmp_path: Path) -> Path:
    file = tmp_path / "new.guard.yaml"
    file.write_text(HEAD + NEW)
    return file


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A day of traffic, an exchange an hour: 10, 60 and 120 in turn."""
    records = [
        exchange(n, [{"x": 1.0}], [{"demand": (10.0, 60.0, 120.0)[n % 3]}], at=START + 3_600 * n)
        for n in range(25)
    ]
    return write_recording(tmp_path / "recorded", rules(OLD), records)


def test_it_tells_what_a_change_adds_to_each_rule_and_to_the_reviewers(
    old: Path, new: Path, recorded: Path
) -> None:
    result = run("--recorded", recorded, "--rules", old, "--candidate", new)
    assert result.exit_code == 0, result.output
    assert "25 recorded rows, 25 exchanges, 1 day" in result.stdout
    assert "violated   8 -> 16   (+8)   64.00% of rows" in result.stdout
    assert "of the +8: none is caught by another enforced rule" in result.stdout
    assert "outcomes   allowed -> held 8, warned -> held 8" in result.stdout
    assert "reviewers  0.0 -> 16.0 holds/day (+16.0), +0.5 h/day at 2 min each" in result.stdout


def test_with_one_ruleset_the_recorded_decisions_are_the_other_side(new: Path, recorded: Path) -> None:
    result = run("--recorded", recorded, "--candidate", new, "--format", "json")
    (model,) = json.loads(result.stdout)["models"]
    assert model["before"] == "recorded"
    (cap,) = [rule for rule in model["rules"] if rule["rule"] == "cap"]
    assert (cap["before"]["rows"], cap["added"]["rows"], cap["removed"]["rows"]) == (8, 8, 0)
    assert cap["examples"]["added"] == ["dec_0001", "dec_0004", "dec_0007"]


def test_the_rules_that_recorded_replay_to_the_same_decisions(old: Path, recorded: Path) -> None:
    result = run("--recorded", recorded, "--rules", old)
    assert "outcomes   the same for every row" in result.stdout
    assert "no verdict differs: cap (violated 8 times), predictions-finite" in result.stdout


def test_every_difference_is_written_as_a_line(new: Path, recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "diff.ndjson"
    run("--recorded", recorded, "--candidate", new, "--out", out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 16
    assert lines[0]["outcome"] == {"before": "allowed", "after": "held"}
    assert lines[0]["added"] == ["cap"]


def test_past_reviews_are_told_from_the_store(new: Path, recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "guardproxy.db"
    asyncio.run(
        _store(path, {"dec_0001": State.APPROVED, "dec_0004": State.OVERRIDDEN, "dec_0007": State.OPEN})
    )
    result = run("--recorded", recorded, "--candidate", new, "--store", f"sqlite:///{path}")
    assert (
        "past reviews of these: overridden 1, approved 1, open 1, never reviewed 5 -> precision so far 50%"
        in (result.stdout)
    )


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        (["--fail-over", "+31%"], 1),
        (["--fail-over", "33%"], 0),
        (["--max-added-holds", "15"], 1),
        (["--max-added-holds", "16"], 0),
    ],
)
def test_too_much_of_a_difference_ends_with_1(new: Path, recorded: Path, limit: list[str], code: int) -> None:
    assert run("--recorded", recorded, "--candidate", new, *limit).exit_code == code


def test_only_the_wanted_stretch_is_replayed(new: Path, recorded: Path) -> None:
    result = run(
        "--recorded",
        recorded,
        "--candidate",
        new,
        "--since",
        "2026-01-01T12:00",
        "--until",
        "2026-01-01T14:00",
    )
    assert "2 recorded rows, 2 exchanges" in result.stdout
    assert "less than an hour" not in result.stdout  # exactly one hour lies between them


def test_a_redacted_field_is_named_as_not_replayed(tmp_path: Path) -> None:
    adult = "  - id: adult\n    require: features.age >= 18\n    action: reject\n"
    folder = write_recording(
        tmp_path / "r", rules(adult), [exchange(0, [{"age": 3.0}], [{"demand": 1.0}])], ("features.age",)
    )
    file = tmp_path / "m.guard.yaml"
    file.write_text(HEAD + adult)
    result = run("--recorded", folder, "--candidate", file)
    assert "not replayed: adult reads features.age, redacted in the recording" in result.stdout


def test_nothing_recorded_is_a_sentence_and_exit_2(new: Path, tmp_path: Path, recorded: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run("--recorded", empty, "--candidate", new)
    assert (result.exit_code, "there is no recorded traffic in" in result.stderr) == (2, True)
    gone = run("--recorded", tmp_path / "gone", "--candidate", new)
    assert gone.exit_code == 2
    assert "gone cannot be read" in gone.stderr
    late = run("--recorded", recorded, "--candidate", new, "--since", "2030-01-01")
    assert late.exit_code == 2
    assert "no recorded traffic of 'm' in that stretch of time" in late.stderr


def test_a_broken_rule_file_is_told_before_anything_is_read(tmp_path: Path, recorded: Path) -> None:
    file = tmp_path / "bad.guard.yaml"
    file.write_text(HEAD + OLD.replace("max", "mxa"))
    result = run("--recorded", recorded, "--candidate", file)
    assert result.exit_code == 2
    assert "unknown key 'mxa'" in result.stderr


def test_a_model_or_a_store_that_is_not_there_is_said(new: Path, recorded: Path, tmp_path: Path) -> None:
    result = run("--recorded", recorded, "--candidate", new, "--model", "mm")
    assert (result.exit_code, "did you mean 'm'?" in result.stderr) == (2, True)
    result = run("--recorded", recorded, "--candidate", new, "--store", f"sqlite:///{tmp_path / 'none.db'}")
    assert (result.exit_code, "there is no such store" in result.stderr) == (2, True)
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"no database at all, but some bytes of text" * 40)
    result = run("--recorded", recorded, "--candidate", new, "--store", f"sqlite:///{foreign}")
    assert (result.exit_code, "cannot be read" in result.stderr) == (2, True)


def test_weights_of_a_sample_are_told_beside_the_sampled_rows() -> None:
    from guardproxy.cli.replay_text import replay_lines
    from guardproxy.guard.rejudge import Judge
    from guardproxy.guard.replay import Replayer

    records = [replace(exchange(n, [{"x": 1.0}], [{"demand": 60.0}]), weight=10.0) for n in range(3)]
    report = Replayer(Judge(rules(OLD)), Judge(rules(NEW))).run(records)
    text = "\n".join(replay_lines(report, 2.0))
    assert "3 recorded rows standing for 30, 3 exchanges, 2.0 minutes" in text
    assert "violated   0 -> 30 [3 sampled]   (+30 [3 sampled])" in text
    assert "held rows  0 -> 30 [3 sampled] (less than an hour was recorded: no rate by day)" in text


def test_rows_on_which_a_breaker_only_warned_then_are_explained() -> None:
    from guardproxy.cli.replay_text import replay_json, replay_lines
    from guardproxy.guard.rejudge import Judge
    from guardproxy.guard.replay import Replayer

    tripped = exchange(0, [{"x": 1.0}], [{"demand": 60.0}], outcomes=["warned"], violated={"cap": (0,)})
    report = Replayer(None, Judge(rules(NEW))).run([tripped])
    text = "\n".join(replay_lines(report, 2.0))
    assert "note: on 1 of these rows no verdict differs" in text
    assert "--rules compares without breakers" in text
    assert replay_json(report, 2.0)["same_verdicts"] == {"rows": 1, "weighted": 1.0}


async def _store(path: Path, states: dict[str, State]) -> None:
    store = SqliteHoldStore(path)
    await store.open()
    await store.add([_hold(name, state) for name, state in states.items()])
    await store.close()


def _hold(decision: str, state: State) -> Hold:
    return Hold(
        id=f"hold-{decision}",
        rev=1,
        state=state,
        model="m",
        route="/m",
        decision_id=decision,
        row=0,
        queue="default",
        severity=Severity.MEDIUM,
        rule="cap",
        meanwhile=Meanwhile.ORIGINAL,
        on_expiry=OnExpiry.ORIGINAL,
        created_at=START,
        expires_at=START + 60,
        features={"x": 1.0},
        original={"demand": 60.0},
        provisional={"demand": 60.0},
        provisional_source="original",
        decided_at=START if state.terminal else None,
    )
