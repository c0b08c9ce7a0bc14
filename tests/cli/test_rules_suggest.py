"""`guardproxy rules suggest`: a new file that check and test are content with."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from guardproxy.cli.rules import rules as command
from guardproxy.holds import State
from guardproxy.stores.sqlite import SqliteHoldStore
from tests.authoring.test_suggest import hold, traffic
from tests.cli.recorded import write_recording
from tests.guard.recorded import exchange, rules

ANY = rules("  - id: any\n    require: output.demand > 0\n    mode: shadow\n")


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "recorded", ANY, traffic(300))


def test_the_new_file_passes_check_and_test(tmp_path: Path, recorded: Path) -> None:
    out = tmp_path / "rules" / "m.suggested.guard.yaml"
    result = run("suggest", "--recorded", recorded, "--out", out)
    assert result.exit_code == 0, result.output
    assert "rules in shadow, from 300 recorded rows" in result.stdout
    assert "stock-range: p0.1-p99.9 of 300 rows" in result.stdout
    assert run("check", out).exit_code == 0
    tested = run("test", out)
    assert tested.exit_code == 0, tested.output
    assert ", 0 failed" in tested.stdout
    # The recorded past was by shop, so a change has an entity to be measured by.
    assert 'by: ["features.shop"]' in out.read_text()


def test_what_exists_is_never_written_over(tmp_path: Path, recorded: Path) -> None:
    out = tmp_path / "m.guard.yaml"
    out.write_text("mine")
    result = run("suggest", "--recorded", recorded, "--out", out)
    assert (result.exit_code, "is left alone" in result.stderr, out.read_text()) == (1, True, "mine")


def test_json_gives_the_evidence(tmp_path: Path, recorded: Path) -> None:
    out = tmp_path / "x.guard.yaml"
    found = json.loads(run("suggest", "--recorded", recorded, "--out", out, "--format", "json").stdout)
    assert (found["file"], found["rows"]) == (str(out), 300)
    assert {"id", "why", "fired", "judged"} == set(found["rules"][0])


def test_too_little_traffic_writes_nothing(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r", ANY, traffic(5))
    out = tmp_path / "x.guard.yaml"
    result = run("suggest", "--recorded", folder, "--out", out)
    assert (result.exit_code, "say too little" in result.stderr, out.exists()) == (1, True, False)


def test_of_several_models_one_must_be_named(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r", ANY, [exchange(0, [{"x": 1.0}], [{"demand": 1.0}])])
    write_recording(folder, ANY, [exchange(0, [{"x": 1.0}], [{"demand": 1.0}], model="other")])
    result = run("suggest", "--recorded", folder)
    assert (result.exit_code, "say which with --model" in result.stderr) == (2, True)


def test_approvals_in_the_store_become_a_proposed_exception(tmp_path: Path, recorded: Path) -> None:
    path = tmp_path / "guardproxy.db"

    async def fill() -> None:
        store = SqliteHoldStore(path)
        await store.open()
        await store.add([hold(n, State.APPROVED, kind="toys") for n in range(6)])
        await store.close()

    asyncio.run(fill())
    before = path.read_bytes()
    out = tmp_path / "x.guard.yaml"
    assert run("suggest", "--recorded", recorded, "--out", out, "--store", f"sqlite:///{path}").exit_code == 0
    assert 'features.kind == "toys"' in out.read_text()
    assert path.read_bytes() == before
