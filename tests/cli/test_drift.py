"""`guardproxy drift` against a running admin plane: what is printed, and how the command ends."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.admin import served as samples
from tests.admin.served import DRIFT, SECRETS, Served
from tests.cli.run import Done, Shell

Drift = Callable[..., Done]


@pytest.fixture
def drift(shell: Shell, served: Served) -> Drift:
    """`guardproxy drift ...` as viewer-a."""

    def run(*arguments: str, who: str = "viewer-a") -> Done:
        return shell(
            "drift",
            *arguments,
            environment={"GUARDPROXY_ADMIN_URL": served.url, "GUARDPROXY_TOKEN": SECRETS.get(who, who)},
        )

    return run


def test_what_drifts_is_said_and_the_command_fails(drift: Drift) -> None:
    done = drift()
    assert done.code == 1
    first, second, empty, titles, row = done.out.splitlines()
    assert first == (
        "bike-demand: drift, alarm raised 2026-05-28 20:26:00 UTC (2 fields: 1 drift, 1 as learned)"
    )
    assert (second, empty) == ("other: no drift (1 field: 1 not compared)", "")
    assert titles.split() == ["model", "field", "state", "effect", "rows", "24h", "raised"]
    cells = [cell for cell in row.split("  ") if cell]
    assert [cell.strip() for cell in cells] == [
        "bike-demand", "temperature", "drift", "0.42", "10,024", "2026-05-28 20:26:00 UTC",
        "moved up: 41 % of rows lie above 26, 16 % before",
    ]  # fmt: skip


def test_where_nothing_drifts_the_command_succeeds(drift: Drift) -> None:
    done = drift("--model", "other")
    assert (done.code, done.out) == (0, "other: no drift (1 field: 1 not compared)\n")


def test_every_field_is_listed_where_that_is_asked_the_most_urgent_first(drift: Drift) -> None:
    rows = drift("--all").out.splitlines()[4:]
    assert [row.split()[:2] for row in rows] == [
        ["bike-demand", "temperature"],
        ["bike-demand", "humidity"],
        ["other", "x"],
    ]
    assert rows[2].split() == ["other", "x", "not", "compared", "-", "-", "-"]


def test_a_programs_form_is_the_servers_own(drift: Drift) -> None:
    done = drift("--format", "json")
    assert (done.code, json.loads(done.out)) == (1, DRIFT)


def test_a_terminal_gets_lines_that_fit(drift: Drift, monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = copy.deepcopy(DRIFT)
    said["models"] = said["models"][:1]
    said["models"][0]["fields"][0]["alarm"]["message"] = "x" * 500
    monkeypatch.setattr(samples, "DRIFT", said)
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    table = drift().out.splitlines()[2:]
    assert len(table) == 3
    assert max(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) for line in table) <= 90


def test_names_and_messages_cannot_control_a_terminal(drift: Drift, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.loads(
        json.dumps(DRIFT).replace("temperature", "te\\u001b[2Jmp").replace("moved up", "\\u202eup")
    )
    monkeypatch.setattr(samples, "DRIFT", said)
    done = drift()
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out


@pytest.mark.parametrize(
    ("arguments", "who", "code", "said"),
    [
        (("--model", "nobody"), "viewer-a", 1, "404: no such model is guarded here"),
        ((), "wrong", 1, "401"),
        (("--admin", "ftp://x"), "viewer-a", 2, "--admin must be an address"),
        (("--modle", "x"), "viewer-a", 2, "No such option"),
    ],
)
def test_what_cannot_be_asked_is_said_and_fails(
    drift: Drift, arguments: tuple[str, ...], who: str, code: int, said: str
) -> None:
    done = drift(*arguments, who=who)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
