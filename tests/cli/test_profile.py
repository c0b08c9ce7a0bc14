"""`guardproxy profile approve`, and that nothing acts on a profile before."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guardproxy.profile.document import dump_profile, parse_profile, stamp
from guardproxy.profile.model import Approval, Origin, Profile
from tests.cli.process import FREE, Serving, get, serving, upstream_of
from tests.cli.run import Shell
from tests.harness.loop import run
from tests.proxy.serving import infer
from tests.rules.build import number, profile_of

LEARNED = stamp(
    replace(
        profile_of([replace(number("x", 0, 10), knots=())], [number("demand", 0, 100)]),
        source=Origin.TRAFFIC,
        notes=("learned from recorded traffic",),
    )
)
RULES = """\
guardproxy: 1
model: demand
owner: ops
rules:
  - id: unusual
    profile: {fields: features.*}
    action: reject
    message: "x is not what it was"
  - id: too-much
    require: output.demand <= profile.output.demand.max
    action: reject
  - id: far-too-much
    require: output.demand <= 1000
    action: reject
  - id: negative
    require: output.demand >= 0
    action: fallback
    fallback: [profile.p50]
tests:
  - name: the profile's rules act in tests
    given: {features: {x: 500}, output: {demand: 5}}
    expect: {verdicts: {unusual: violated}, outcome: rejected}
  - name: the median is offered in tests
    given: {features: {x: 5}, output: {demand: -5}}
    expect: {outcome: replaced, value: {demand: 50}}
"""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(dump_profile(LEARNED))
    Path("rules").mkdir()
    Path("rules/a.guard.yaml").write_text(RULES)


def read() -> Profile:
    found = parse_profile(Path("p.yaml").read_text(), "p.yaml")
    assert isinstance(found, Profile)
    return found


def test_an_approval_is_written_beside_what_a_person_wrote(shell: Shell) -> None:
    text = Path("p.yaml").read_text()
    Path("p.yaml").write_text(text.replace("features:\n", "# Ann: looked at in May\nfeatures:\n"))
    done = shell("profile", "approve", "p.yaml", "--by", 'Ann: the "owner"')
    assert done.code == 0, done.err
    found = read()
    assert found.approved is not None
    assert (found.approved.by, found.approved.version) == ('Ann: the "owner"', found.version)
    assert found.acts
    assert (found.version, found.features) == (LEARNED.version, LEARNED.features)
    assert "# Ann: looked at in May" in Path("p.yaml").read_text()
    assert "approved by Ann" in shell("profile", "show", "p.yaml").out
    again = shell("profile", "approve", "p.yaml", "--by", "Bob")
    assert (again.code, "is approved already, by Ann" in again.out) == (0, True)


def test_an_edit_takes_the_approval_away_until_the_next(shell: Shell) -> None:
    assert shell("profile", "approve", "p.yaml", "--by", "Ann").code == 0
    text = Path("p.yaml").read_text()
    Path("p.yaml").write_text(text.replace("high: 10", "high: 11"))
    assert read().approved is not None
    assert not read().acts
    assert "edited since Ann approved" in shell("profile", "show", "p.yaml").out
    assert json.loads(shell("profile", "show", "p.yaml", "--format", "json").out)["acts"] is False
    assert shell("profile", "approve", "p.yaml", "--by", "Bob").code == 0
    found = read()
    assert found.acts
    assert found.approved is not None
    assert found.approved.by == "Bob"
    assert Path("p.yaml").read_text().count("approved:") == 1


def test_what_was_learned_from_data_needs_no_approval(shell: Shell) -> None:
    Path("p.yaml").write_text(dump_profile(stamp(replace(LEARNED, source=Origin.DATA))))
    done = shell("profile", "approve", "p.yaml")
    assert (done.code, "nothing to approve" in done.out) == (0, True)
    assert read().approved is None


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_who_approves_must_be_said_in_one_line(shell: Shell, name: str) -> None:
    done = shell("profile", "approve", "p.yaml", "--by", name)
    assert (done.code, "--by NAME" in done.err) == (2, True)
    assert not read().acts


def test_rules_check_says_that_the_profile_is_not_approved(shell: Shell) -> None:
    done = shell("rules", "check", "--profile", "p.yaml")
    assert done.code == 0
    assert "note[N414]" in done.err
    assert "nobody has approved it" in done.err
    told = json.loads(shell("rules", "check", "--profile", "p.yaml", "--format", "json").out)["problems"]
    (note,) = (one for one in told if one["code"] == "N414")
    assert note["severity"] == "note"
    assert Path("p.yaml").read_text().splitlines()[note["line"] - 1].startswith("source: traffic")
    edited = replace(LEARNED, approved=Approval("Ann", "2026-01-01T00:00:00Z", "00000000"))
    Path("p.yaml").write_text(dump_profile(edited))
    assert (
        "it was edited after Ann approved version 00000000"
        in shell("rules", "check", "--profile", "p.yaml").err
    )
    assert shell("profile", "approve", "p.yaml", "--by", "Ann").code == 0
    assert "N414" not in shell("rules", "check", "--profile", "p.yaml").err


def test_the_tests_of_rules_say_what_they_do_once_it_is_approved(shell: Shell) -> None:
    done = shell("rules", "test", "--profile", "p.yaml")
    assert done.code == 0, done.out
    assert "2 passed" in done.out


def test_no_rule_acts_on_a_profile_before_it_is_approved(shell: Shell, tmp_path: Path) -> None:
    async def outcomes(state: str) -> tuple[list[bytes | None], int]:
        async with upstream_of(50.0) as upstream, served(tmp_path, upstream.port) as server:
            found = [(await server.ask(infer([x]))).get(b"Guardproxy-Outcome") for x in (5.0, 500.0)]
            (route,) = json.loads(await get(f"{server.admin}/v1/routes", token_of(server)))["routes"]
            assert (route["profile"], route["profile_state"]) == (LEARNED.version, state)
            assert ("profile.not_approved" in server.said) is (state != "approved")
            rules = json.loads(await get(f"{server.admin}/v1/rules", token_of(server)))["rules"]
            (rule,) = (one for one in rules if one["rule"] == "unusual")
            assert rule["mode"] == ("enforce" if state == "approved" else "shadow")
            return found, rule["verdicts"]["violated"]

    assert run(outcomes("not approved: counts only")) == ([b"allowed", b"allowed"], 1)
    assert shell("profile", "approve", "p.yaml", "--by", "Ann").code == 0
    assert run(outcomes("approved")) == ([b"allowed", b"rejected"], 1)


def served(folder: Path, port: int):  # type: ignore[no-untyped-def]
    """Serve the model with the profile of the folder."""
    words = (
        "--upstream",
        f"http://127.0.0.1:{port}",
        "--model",
        "demand",
        "--rules",
        "rules",
        "--profile",
        "p.yaml",
    )
    return serving(folder, *words, *FREE)


def token_of(server: Serving) -> str:
    return server.console.partition("token=")[2]
