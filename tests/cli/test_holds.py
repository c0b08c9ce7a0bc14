"""`guardproxy holds ...` against a running admin plane: what is printed, what is decided, how each command ends."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from guardproxy.admin import NO_AUTH
from guardproxy.cli.hold_text import cell, left
from guardproxy.decision import Meanwhile
from guardproxy.holds import Hold, State
from guardproxy.stores import sweep
from tests.admin.served import SECRETS, Served, serve
from tests.cli.run import Done, Shell
from tests.holds.samples import SLA_S, START, make_hold

ONE = "hld_000001"
Holds = Callable[..., Done]


@pytest.fixture
def holds(shell: Shell, served: Served) -> Holds:
    """`guardproxy holds ...` as reviewer-a, or as somebody else."""

    def run(*arguments: str, who: str = "reviewer-a") -> Done:
        return shell(
            "holds",
            *arguments,
            environment={"GUARDPROXY_ADMIN_URL": served.url, "GUARDPROXY_TOKEN": SECRETS[who]},
        )

    return run


def stored(served: Served, hold_id: str = ONE) -> Hold:
    return served.run(served.store.get(hold_id))


def add(served: Served, number: int, **changes: Any) -> str:
    hold = make_hold(number, **changes)
    served.run(served.store.add([hold]))
    return hold.id


# ---------------------------------------------------------------- looking


def test_a_listing_has_whole_ids_and_the_reason_in_one_line_each(holds: Holds) -> None:
    done = holds("list")
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 4
    for number, line in enumerate(lines[1:], 1):
        assert line.startswith(f"hld_00000{number} ")
        assert "high" in line
        assert "bike-demand/demand-is-plausible  Demand of 18,450 hires" in line


def test_a_listing_fits_a_terminal_of_80_columns(
    holds: Holds, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    add(served, 4, queue="q" * 200)
    done = holds("list", "--state", "open", "--state", "expired")
    assert done.code == 0
    lines = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in done.out.splitlines()]
    assert max(len(line) for line in lines) <= 80
    assert [line[:4] for line in lines] == ["hold", *["hld_", "    "] * 4]
    assert "Demand of 18,450 hires is 21 times" in lines[2]


def test_a_listing_as_json_is_the_servers_own(holds: Holds, served: Served) -> None:
    done = holds("list", "--format", "json", "--limit", "2")
    assert done.code == 0
    said = json.loads(done.out)
    assert [hold["id"] for hold in said["holds"]] == ["hld_000001", "hld_000002"]
    assert said["counts"]["open"] == 3
    assert said == served.call("GET", "/v1/holds?state=open&limit=2", "reviewer-a").json


def test_a_listing_that_is_cut_says_so(holds: Holds) -> None:
    assert "1 of 3; --limit shows more" in holds("list", "--limit", "1").out


def test_a_listing_is_narrowed_by_state_and_model(holds: Holds) -> None:
    assert holds("approve", ONE).code == 0
    assert holds("list", "--state", "deciding").out.count("hld_") == 1
    both = holds("list", "--state", "deciding", "--state", "open").out
    assert both.count("hld_") == 3
    assert " deciding " in both
    assert holds("list", "--model", "another").out == "No holds are open.\n"


def test_one_hold_is_told_with_reason_row_candidates_and_what_may_be_done(holds: Holds) -> None:
    done = holds("show", ONE)
    assert done.code == 0
    for part in (
        "hld_000001  open, high",
        "bike-demand, row 3 of dec_0001, queue forecast, since 2026-05-28 20:26:40 UTC",
        "demand-is-plausible: Demand of 18,450 hires is 21 times",
        "output.demand=18450  asked for 0..977 (from profile bike-hour 2011)",
        "humidity-was-learned (shadow, did not act)",
        "the model's  demand=18450",
        "meanwhile    demand=214 (previous)",
        "refused by demand-is-plausible",
        "seasonal: - (no history for this entity)",
        "humidity     0             learned 0.16 to 1  OUTSIDE",
        "station      9007199254740993",
        "weather      missing",
        f"guardproxy holds override {ONE} --value demand=VALUE",
    ):
        assert part in done.out, part
    assert "demand-is-whole" not in done.out
    assert max(len(line) for line in done.out.splitlines()) < 120


def test_one_hold_as_json_is_the_servers_own(holds: Holds, served: Served) -> None:
    done = holds("show", ONE, "--format", "json")
    assert json.loads(done.out) == served.call("GET", f"/v1/holds/{ONE}", "reviewer-a").json


def test_a_viewer_is_told_no_command_that_would_be_refused(holds: Holds) -> None:
    done = holds("show", ONE, who="viewer-a")
    assert done.code == 0
    assert "you may" not in done.out
    refused = holds("approve", ONE, who="viewer-a")
    assert (refused.code, refused.out) == (1, "")
    assert "403" in refused.err


def test_a_withheld_row_says_that_the_client_got_no_answer(holds: Holds, served: Served) -> None:
    hold_id = add(
        served, 7, meanwhile=Meanwhile.WITHHOLD, provisional={}, provisional_source="", candidates=()
    )
    assert "meanwhile    no answer: 503" in holds("show", hold_id).out


def test_hostile_text_cannot_control_the_terminal(holds: Holds, served: Served) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202egnp\r\n[/red][bold]x"
    hold_id = add(served, 8, features={evil: evil}, original={"demand": 1.0, evil: evil}, queue=evil)
    for done in (holds("list"), holds("show", hold_id), holds("override", hold_id, "--value", f"{evil}=a")):
        assert done.code == 0
        for char in ("\x1b", "\x07", "\u202e", "\r"):
            assert char not in done.out
    assert "[/red][bold]x" in holds("show", hold_id).out


# ---------------------------------------------------------------- deciding


def test_approving_may_be_undone_and_becomes_final(holds: Holds, served: Served) -> None:
    done = holds("approve", ONE, "--note", "a fair", "--reason", "known_event")
    assert done.code == 0
    assert done.out == (
        f"{ONE}: deciding, becomes final at 2026-05-28 20:27:50 UTC; until then: guardproxy holds undo {ONE}\n"
    )
    assert holds("undo", ONE).out == f"{ONE}: open\n"
    assert holds("approve", ONE, "--note", "a fair", "--reason", "known_event").code == 0
    served.run(sweep(served.store, served.at + 11, 10))
    hold = stored(served)
    assert (hold.state, hold.by, hold.reason, hold.note) == (
        State.APPROVED,
        "reviewer-a",
        "known_event",
        "a fair",
    )
    shown = holds("show", ONE).out
    assert "approved by reviewer-a at 2026-05-28 20:27:40 UTC, known_event" in shown
    assert "“a fair”" in shown
    assert "final        demand=18450" in shown
    assert "expires" not in shown


@pytest.mark.parametrize("text", ["130", "demand=130", " 130 ", "demand=130.0", "demand=1.3e2"])
def test_one_output_is_overridden_with_or_without_its_name(holds: Holds, served: Served, text: str) -> None:
    done = holds("override", ONE, "--value", text, "--reason", "model_wrong", "--note", "public holiday")
    assert done.code == 0
    hold = stored(served)
    assert (hold.state, hold.resolution, hold.final, hold.reason) == (
        State.DECIDING, State.OVERRIDDEN, {"demand": 130}, "model_wrong",
    )  # fmt: skip


def test_several_outputs_are_overridden_each_as_the_kind_it_is(holds: Holds, served: Served) -> None:
    original = {
        "demand": 9e9,
        "label": "a",
        "sure": True,
        "p": (0.1, 0.9),
        "big": 2**60,
        "a=b": 1.0,
        "none": None,
    }
    hold_id = add(served, 9, original=original, value=9e9)
    values = ["demand=5", "label=x=y", "sure=no", "p=0.5, 0.5", f"big={2**60 + 1}", "a=b=2", "none=3"]
    done = holds("override", hold_id, *(part for value in values for part in ("--value", value)))
    assert done.code == 0, done.err
    assert stored(served, hold_id).final == {
        "demand": 5, "label": "x=y", "sure": False, "p": (0.5, 0.5), "big": 2**60 + 1, "a=b": 2, "none": 3,
    }  # fmt: skip


def test_an_output_that_is_left_out_keeps_the_models_value(holds: Holds, served: Served) -> None:
    hold_id = add(served, 9, original={"demand": 1.0, "p10": 0.5})
    assert holds("override", hold_id, "--value", "demand=2").code == 0
    assert stored(served, hold_id).final == {"demand": 2, "p10": 0.5}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["130"], "write NAME=VALUE, with one of: demand, p10"),
        (["p50=1"], "write NAME=VALUE, with one of: demand, p10"),
        (["demand=1", "demand=2"], "demand is given twice"),
        (["demand=many"], "write a number such as 12.5"),
        (["demand="], "write a number"),
        (["demand=NaN"], "must be finite"),
        (["demand=1e999"], "must be finite"),
        (["demand=true"], "write a number"),
        ([], "Missing option '--value'"),
    ],
)
def test_a_value_that_cannot_be_meant_is_wrong_usage(
    holds: Holds, served: Served, given: list[str], said: str
) -> None:
    hold_id = add(served, 9, original={"demand": 1.0, "p10": 0.5})
    done = holds("override", hold_id, *(part for value in given for part in ("--value", value)))
    assert done.code == 2
    assert said in done.err
    assert stored(served, hold_id).state is State.OPEN


def test_an_override_against_an_enforced_rule_needs_an_operator_and_force(
    holds: Holds, served: Served
) -> None:
    refused = holds("override", ONE, "--value", "5000")
    assert refused.code == 1
    assert "422: the value violates demand-is-plausible" in refused.err
    assert "403" in holds("override", ONE, "--value", "5000", "--force").err
    assert stored(served).state is State.OPEN
    assert holds("override", ONE, "--value", "5000", "--force", who="operator-a").code == 0
    assert stored(served).reason == "other (forced)"


def test_rejecting_leaves_the_fallback(holds: Holds, served: Served) -> None:
    done = holds("reject", ONE, "--format", "json")
    assert done.code == 0
    said = json.loads(done.out)
    assert (said["id"], said["state"], said["rev"]) == (ONE, "deciding", 2)
    assert stored(served).final == {"demand": 214.0}


@pytest.mark.parametrize("command", [["approve"], ["reject"], ["override", "--value", "1"], ["undo"]])
def test_what_was_decided_or_expired_is_a_conflict(holds: Holds, served: Served, command: list[str]) -> None:
    assert holds("approve", ONE).code == 0
    served.run(sweep(served.store, served.at + 11, 10))
    late = holds(command[0], ONE, *command[1:])
    assert (late.code, late.out) == (1, "")
    assert "409" in late.err
    assert "approved by reviewer-a" in late.err or "final" in late.err or "approved" in late.err
    served.at = START + SLA_S + 1
    served.run(sweep(served.store, served.at, 10))
    expired = holds(command[0], "hld_000002", *command[1:])
    assert expired.code == 1
    assert "409" in expired.err
    assert "expired" in expired.err
    assert stored(served, "hld_000002").state is State.EXPIRED


def test_only_who_decided_may_undo(holds: Holds, served: Served) -> None:
    assert holds("approve", ONE).code == 0
    refused = holds("undo", ONE, who="reviewer-b")
    assert refused.code == 1
    assert "409" in refused.err or "403" in refused.err
    assert stored(served).state is State.DECIDING


def test_a_decision_in_between_is_not_run_over(
    holds: Holds, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    import guardproxy.cli.holds as module

    decide = module._decide

    def late(admin: Any, hold_id: str, *rest: Any, **more: Any) -> None:
        answer = served.call("GET", f"/v1/holds/{hold_id}", "reviewer-b")
        etag = {"If-Match": answer.headers["ETag"]}
        done = served.call(
            "POST", f"/v1/holds/{hold_id}/decision", "reviewer-b", headers=etag, body={"decision": "approve"}
        )
        assert done.status == 200
        decide(admin, hold_id, *rest, **more)

    monkeypatch.setattr(module, "_decide", late)
    done = holds("reject", ONE)
    assert done.code == 1
    assert "412" in done.err
    assert "already decided: approved by reviewer-b" in done.err
    assert stored(served).by == "reviewer-b"


def test_without_authentication_a_program_may_decide_and_another_sites_page_may_not(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "open").mkdir()
    with serve(tmp_path / "open", tokens=NO_AUTH) as served:
        served.run(served.store.add([make_hold(1)]))
        path, etag = f"/v1/holds/{ONE}/decision", {"If-Match": '"1"'}
        foreign = (
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"},
            {"Content-Type": "application/json", "Origin": "https://evil.test"},
            {"Content-Type": "application/json", "Host": "evil.test"},
        )
        for headers in foreign:
            answer = served.call("POST", path, headers=etag | headers, body='{"decision": "approve"}')
            assert answer.status == 403, headers
        assert stored(served).state is State.OPEN
        assert served.call("OPTIONS", path, headers={"Origin": "https://evil.test"}).status in {403, 405}
        assert shell("holds", "approve", ONE, "--admin", served.url).code == 0
        assert shell("holds", "undo", ONE, "--admin", served.url).code == 0
        assert stored(served).state is State.OPEN


# ---------------------------------------------------------------- what goes wrong


def test_an_unknown_hold_is_said_in_one_line(holds: Holds) -> None:
    for command in (["show"], ["approve"], ["override", "--value", "1"], ["reject"], ["undo"]):
        done = holds(command[0], "hld_../x y", *command[1:])
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("guardproxy: 404: ")
        assert done.err.count("\n") == 1


def test_a_wrong_or_missing_token_says_how_to_give_one(shell: Shell, served: Served) -> None:
    for environment in ({}, {"GUARDPROXY_TOKEN": "wrong"}, {"GUARDPROXY_TOKEN": " "}):
        done = shell("holds", "list", "--admin", served.url, environment=environment)
        assert (done.code, done.out) == (1, "")
        assert "401" in done.err
        assert "--token-file FILE" in done.err


def test_a_token_comes_from_a_file_before_the_environment(
    shell: Shell, served: Served, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(SECRETS["reviewer-a"] + "\n")
    done = shell(
        "holds",
        "list",
        "--admin",
        served.url + "/",
        "--token-file",
        file,
        environment={"GUARDPROXY_TOKEN": "x"},
    )
    assert done.code == 0


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", "grün".encode(), b"two\nlines"])
def test_a_token_file_that_cannot_be_used_is_wrong_usage(
    shell: Shell, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    done = shell("holds", "list", "--admin", "http://127.0.0.1:1", "--token-file", file)
    assert done.code == 2
    assert "token" in done.err


@pytest.mark.parametrize(
    "address", ["ftp://x", "127.0.0.1:8081", "http://", "http://[::1", "http://a:99999", "http://a b", ""]
)
def test_an_address_that_is_none_is_wrong_usage(shell: Shell, address: str) -> None:
    done = shell("holds", "list", "--admin", address)
    assert done.code == 2
    assert "--admin must be an address such as http://127.0.0.1:8081" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--state", "opne"],
        ["list", "--limit", "0"],
        ["list", "--format", "xml"],
        ["list", "extra"],
        ["show"],
        ["reject", ONE, "--reason", "bored"],
        ["approve", ONE, "--reason", "policy"],
        ["lst"],
        [],
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_asked(shell: Shell, arguments: list[str]) -> None:
    done = shell("holds", *arguments, environment={"GUARDPROXY_ADMIN_URL": "http://127.0.0.1:1"})
    assert (done.code, done.out) == (2, "")
    assert "Usage: guardproxy holds" in done.err


def test_an_admin_plane_that_is_not_there_is_one_sentence(shell: Shell) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        done = shell("holds", "list", "--admin", f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert (done.code, done.out) == (1, "")
    assert "cannot be reached: " in done.err
    assert "guardproxy serve" in done.err


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str | None]]]:
    """Some other server; gives its address and the tokens it was shown."""
    shown: list[str | None] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers["Authorization"])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", shown
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("body", [b"hello", b"[]", b"\xff", b"[" * 100_000, b""])
def test_another_server_at_that_address_is_recognised(shell: Shell, body: bytes) -> None:
    with answering(200, body) as (url, _):
        done = shell("holds", "list", "--admin", url)
    assert (done.code, done.out) == (1, "")
    assert "not as guardproxy's admin plane does" in done.err


@pytest.mark.parametrize("body", [b"<h1>no</h1>", b"[1]", b'{"detail": "\\u001b[2Jno"}'])
def test_an_error_of_another_server_is_one_sentence(shell: Shell, body: bytes) -> None:
    with answering(502, body) as (url, _):
        done = shell("holds", "list", "--admin", url)
    assert done.code == 1
    assert done.err.startswith("guardproxy: 502: ")
    assert "\x1b" not in done.err


def test_the_token_follows_no_redirect_and_no_proxy(shell: Shell, served: Served) -> None:
    with answering(200, b"{}") as (elsewhere, shown):
        with answering(302, b"", Location=elsewhere) as (url, _):
            done = shell("holds", "list", "--admin", url, environment={"GUARDPROXY_TOKEN": "secret"})
        assert done.code == 1
        assert "302" in done.err
        through = shell(
            "holds", "list", "--admin", served.url,
            environment={"GUARDPROXY_TOKEN": SECRETS["reviewer-a"], "http_proxy": elsewhere, "no_proxy": ""},
        )  # fmt: skip
        assert through.code == 0
        assert shown == []


def test_cells_and_times_are_written_for_people() -> None:
    assert [cell(value) for value in (None, 3.0, 0.5, 1e300, {"float": "nan"}, [1, 2.5], "a\nb", True, 2**70)] == [
        "missing", "3", "0.5", "1e+300", "nan", "[1, 2.5]", '"a\\nb"', "true", str(2**70),
    ]  # fmt: skip
    at = "2026-05-28T20:26:40.000Z"
    seconds = [0, 1, 59, 60, 3599, 3600, 86_399, 86_400, 10**6]
    assert [left(at, START - s) for s in seconds] == [
        "due", "1 s", "59 s", "1 min", "59 min", "1 h 0 min", "23 h 59 min", "1 d 0 h", "11 d 13 h",
    ]  # fmt: skip
    assert left("nonsense", START) == "-"
