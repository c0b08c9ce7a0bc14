"""The demo as a person runs it: real processes, real traffic, and no process left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from guardproxy.demo import play, workspace
from guardproxy.demo.errors import DemoError
from guardproxy.demo.play import Options, run

DEMO = (sys.executable, "-m", "guardproxy", "demo")


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in a process of its own; it is ended with the block."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*DEMO, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def children_of(pid: int) -> list[int]:
    """The process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_once_keeps_every_promise_and_leaves_its_files_where_asked(tmp_path: Path) -> None:
    with started("--once", "--keep", str(tmp_path / "kept")) as process:
        output, _ = process.communicate(timeout=110)
    assert process.returncode == 0, output
    kept, promised = re.findall(r"(\d+) of (\d+) promises kept", output)[0]
    assert kept == promised
    assert int(promised) >= 15
    assert "✗" not in output
    for phase in (
        "normal days",
        "a unit error",
        "a shifted column",
        "missing weather",
        "a model talking nonsense",
    ):
        assert phase in output
    assert (tmp_path / "kept" / "profiles" / "departures.profile.yaml").is_file()
    assert (tmp_path / "kept" / "guardproxy.db").is_file()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to see the children")
def test_without_once_the_console_stays_open_with_real_holds_until_a_signal_ends_everything() -> None:
    with started() as process:
        lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C ends it all" in line:
                break
        text = "".join(lines)
        address, token = re.findall(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)", text)[0]
        root = Path(re.findall(r"logs are in (\S+)", text)[0])
        request = urllib.request.Request(
            f"{address}/v1/holds?state=open", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            holds = json.load(answer)["holds"]
        children = children_of(process.pid)
        assert len(holds) >= 10
        assert len(children) == 2
        assert root.is_dir()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not root.exists()


def test_a_guard_that_overlooks_something_breaks_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blunt = workspace.rule_file().read_text(encoding="utf-8")
    assert "mode: enforce}" in blunt
    # Its own tests would have it refused.
    blunt = blunt.replace("mode: enforce}", "mode: shadow}").partition("\ntests:\n")[0] + "\n"
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "departures.guard.yaml").write_text(blunt, encoding="utf-8")
    monkeypatch.setattr(workspace, "_RULE_PLACES", (tmp_path / "rules",))
    monkeypatch.setattr(play, "SETTLE_S", 2.0)
    console = Console(width=100, file=StringIO())
    assert run(Options(once=True), console) == 1
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "✓ phase 1" in text
    assert all(f"✗ phase {number}" in text for number in (2, 3, 4, 5))
    assert "✗ no nonsense reaches the client" in text
    assert "✗ two holds are decided" in text


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DemoError, match="is not empty"):
        run(Options(once=True, keep=tmp_path), Console(file=StringIO()))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_taken_port_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=f"port {port} is taken"):
            run(Options(once=True, admin_port=port, keep=tmp_path / "new"), Console(file=StringIO()))
    assert not (tmp_path / "new").exists()


def test_what_keeps_the_demo_from_playing_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with started("--once", "--keep", str(tmp_path)) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "is not empty" in output
    assert "Traceback" not in output
