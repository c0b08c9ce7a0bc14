"""`guardproxy rules explain`: a row from a file, from a recording, from a running guardproxy."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from guardproxy.cli.rules import rules as command
from guardproxy.rules import load_rulesets
from tests.cli.recorded import write_recording
from tests.guard.recorded import exchange, rules

RULE = "  - id: cap\n    forbid: features.x > 1 and output.demand / features.y > 3\n    action: hold\n"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(command, ["explain", *(str(arg) for arg in args)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.guard.yaml"
    path.write_text("guardproxy: 1\nmodel: m\nowner: ops\nrules:\n" + RULE)
    return path


def row(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "row.json"
    path.write_text(text)
    return path


def test_a_row_from_a_file_is_drawn_as_a_tree(file: Path, tmp_path: Path) -> None:
    result = run(
        row(tmp_path, '{"features": {"x": 2, "y": null}, "output": {"demand": 9}}'), file, "--rule", "cap"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(
        """\
    forbid: features.x > 1 and output.demand / features.y > 3 = ? missing
    ├─ features.x > 1 = true
    │  └─ features.x = 2
    └─ output.demand / features.y > 3 = ? missing
       └─ output.demand / features.y = ? missing
          ├─ output.demand = 9
          └─ features.y = ? missing
"""
    )
    assert "cap  UNKNOWN  (forbid, enforce, hold)" in result.stdout


def test_json_has_the_whole_tree(file: Path, tmp_path: Path) -> None:
    result = run(
        row(tmp_path, '{"features": {"x": 2, "y": 1}, "output": {"demand": 9}}'), file, "--format", "json"
    )
    found = json.loads(result.stdout)
    assert found["outcome"] == "held"
    cap = found["rules"][0]
    assert (cap["rule"], cap["verdict"], cap["acts"]) == ("cap", "violated", True)
    division = cap["expressions"]["forbid"]["parts"][1]["parts"][0]
    assert (division["text"], division["value"]) == ("output.demand / features.y", 9.0)


def test_a_canary_that_was_not_drawn_is_told_from_one_in_shadow(tmp_path: Path) -> None:
    path = tmp_path / "m.guard.yaml"
    path.write_text(
        "guardproxy: 1\nmodel: m\nrules:\n"
        "  - {id: trial, forbid: output.demand > 5, mode: canary 0.001%}\n"
        "  - {id: quiet, forbid: output.demand > 5, mode: shadow}\n"
    )
    records = [exchange(0, [{"x": 2.0}], [{"demand": 9.0}], identity=b"i" * 16)]
    folder = write_recording(tmp_path / "rec", load_rulesets({"m": path.read_text()})[0]["m"], records)
    said = run("dec_0000", path, "--recorded", folder).stdout
    assert "trial  VIOLATED  (forbid, canary 0.001%, not drawn for this request)" in said
    assert "quiet  VIOLATED  (forbid, shadow, no effect)" in said


def test_it_is_told_why_no_fallback_could_be_served(tmp_path: Path) -> None:
    path = tmp_path / "m.guard.yaml"
    path.write_text(
        "guardproxy: 1\nmodel: m\nrules:\n  - id: cap\n    range: {field: output.a, max: 10}\n"
        "    action: fallback\n    fallback: [previous, {value: {a: 9}}]\n"
        "  - id: seven\n    range: {field: output.a, max: 7}\n"
    )
    given = row(tmp_path, '{"features": {"x": 2}, "output": {"a": 90}}')
    lines = run(given, path).stdout.splitlines()
    assert lines[1] == "outcome: rejected, no answer goes out because of cap"
    assert lines[2].startswith("    fallback previous: no previous answer")
    assert lines[3] == "    fallback value (a 9): refused by seven"
    found = json.loads(run(given, path, "--format", "json").stdout)
    assert found["candidates"][1] == {
        "source": "value",
        "values": {"a": 9},
        "refused_by": ["seven"],
        "note": "",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "must hold one row"),
        ('{"featuers": {}, "features": {}}', "did you mean 'features'?"),
        ('{"features": {"x": {"a": 1}}}', "features.x is neither a value nor a list of numbers"),
        ('{"features": {}, "request": {"hours": 3}}', "did you mean 'hour'?"),
        ("[" * 100_000, "is nested too deeply for a row"),
        ('{"features": {"x": ' + "9" * 5_000 + "}}", "holds a number of more digits than can be read"),
        ('{"features": {}, "request": {"hour": 24}}', "request.hour must be a whole number from 0 to 23"),
        (
            '{"features": {}, "request": {"weekday": true}}',
            "request.weekday must be a whole number from 0 to 6",
        ),
        ('{"features": {}, "request": {"date": "today"}}', "request.date must be a date such as 2026-01-07"),
        ('{"features": {}, "request": {"caller": 3}}', "request.caller must be text"),
    ],
)
def test_a_wrong_row_is_a_sentence(file: Path, tmp_path: Path, text: str, said: str) -> None:
    result = run(row(tmp_path, text), file)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["", "missing/row"])
def test_a_path_that_is_no_file_is_not_taken_for_a_decision(file: Path, tmp_path: Path, name: str) -> None:
    result = run(f"{tmp_path}/{name}", file)
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_facts_of_the_request_come_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.guard.yaml"
    file.write_text(
        "guardproxy: 1\nmodel: m\nowner: ops\nrules:\n  - id: night\n    forbid: request.hour < 6\n"
    )
    result = run(row(tmp_path, '{"features": {"x": 1}, "request": {"hour": 3}}'), file)
    assert "request.hour = 3" in result.stdout
    assert "night  VIOLATED" in result.stdout


def test_a_decision_is_found_in_a_recording_and_its_violated_row_is_taken(file: Path, tmp_path: Path) -> None:
    rows = [{"x": 0.0, "y": 1.0}, {"x": 2.0, "y": 1.0}]
    folder = write_recording(
        tmp_path / "r", rules(RULE), [exchange(4, rows, [{"demand": 9.0}, {"demand": 9.0}])]
    )
    result = run("dec_0004", file, "--recorded", folder)
    assert result.exit_code == 0, result.output
    assert "m, decision dec_0004, row 1, then held" in result.stdout
    first = run("dec_0004", file, "--recorded", folder, "--row", "0")
    assert "row 0, then allowed" in first.stdout
    assert run("dec_0004", file, "--recorded", folder, "--row", "2").exit_code == 2
    gone = run("dec_9999", file, "--recorded", folder)
    assert (gone.exit_code, "is not in the recording" in gone.stderr) == (2, True)


def test_an_unknown_rule_gets_the_likely_one(file: Path, tmp_path: Path) -> None:
    result = run(row(tmp_path, '{"features": {"x": 2}}'), file, "--rule", "cpa")
    assert (result.exit_code, "did you mean 'cap'?" in result.stderr) == (2, True)


DECISION = {
    "id": "dec_1",
    "model": "m",
    "at": 1_767_225_600.0,
    "rows": [{"row": 0, "outcome": "held", "features": {"x": 2.0, "y": 1.0}, "predictions": {"demand": 9.0}}],
    "findings": [{"rule": "cap", "row": 0, "verdict": "violated"}],
}


class _Admin(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(DECISION).encode()
        known = self.path == "/v1/decisions/dec_1"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        answer = body if known else b'{"detail": "no such decision"}'
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def admin() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Admin)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_running_guardproxy_is_asked_for_its_latest_decisions(file: Path, admin: str) -> None:
    result = run("dec_1", file, "--admin", admin)
    assert result.exit_code == 0, result.output
    assert "decision dec_1, row 0, then held" in result.stdout
    assert "output.demand / features.y = 9" in result.stdout
    gone = run("dec_2", file, "--admin", admin)
    assert (gone.exit_code, "no such decision" in gone.stderr) == (1, True)
