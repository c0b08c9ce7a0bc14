"""Children are started, waited for and ended, by their own id."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from guardproxy.demo import dataset
from guardproxy.demo.dataset import Dataset
from guardproxy.demo.errors import DemoError
from guardproxy.demo.stage import (
    Stage,
    announced_port,
    child_environment,
    free_ports,
    log_tail,
    stage,
    until_ready,
)
from guardproxy.demo.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a module of its own to run as a child."""
    (tmp_path / "logs").mkdir()
    return Workspace(tmp_path, "secret")


def module(workspace: Workspace, text: str) -> str:
    """Write a module that a child can run."""
    (workspace.root / "actor.py").write_text(text, encoding="utf-8")
    return "actor"


def alive(pid: int) -> bool:
    """Whether a process of this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_children_end_with_the_stage(workspace: Workspace) -> None:
    name = module(
        workspace,
        "import sys\nprint('ready 1234', flush=True)\nsys.stdin.read()\nimport time\ntime.sleep(60)\n",
    )
    with stage(workspace) as opened:
        child = opened.start("actor", name, [])
        assert announced_port(child) == 1234
        assert alive(child.process.pid)
    assert child.process.returncode == -signal.SIGTERM


def test_children_end_when_something_goes_wrong(workspace: Workspace) -> None:
    name = module(workspace, "import sys\nsys.stdin.read()\n")
    started = []

    def play() -> None:
        with stage(workspace) as opened:
            started.append(opened.start("actor", name, []))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play()
    assert started[0].process.returncode is not None


def test_a_child_that_will_not_end_is_killed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardproxy.demo.stage.STOP_S", 0.2)
    text = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready 1', flush=True)\n"
    )
    name = module(workspace, text + "while True: time.sleep(1)\n")
    with stage(workspace) as opened:
        child = opened.start("actor", name, [])
        announced_port(child)
    assert child.process.returncode == -signal.SIGKILL


def test_a_child_that_ends_too_early_is_reported_with_the_end_of_its_log(workspace: Workspace) -> None:
    name = module(workspace, "import sys\nprint('no such port')\nsys.exit(7)\n")
    with stage(workspace) as opened:
        for wait in (
            announced_port,
            lambda child: until_ready(child, 1),
            lambda child: child.wait(),
        ):
            with pytest.raises(DemoError, match=r"status 7:\n  no such port"):
                wait(opened.start("actor", name, []))


def test_a_child_that_is_never_ready_is_given_up(workspace: Workspace) -> None:
    name = module(workspace, "import sys\nsys.stdin.read()\n")
    with stage(workspace) as opened:
        child = opened.start("actor", name, [])
        with pytest.raises(DemoError, match="not ready"):
            announced_port(child, 0.2)
        with pytest.raises(DemoError, match="not ready"):
            until_ready(child, free_ports((0,))[0], 0.2)
        with pytest.raises(DemoError, match="did not finish"):
            child.wait(0.1)


def test_the_model_server_cannot_outlive_whoever_started_it(workspace: Workspace, real_data: Dataset) -> None:
    dataset.write_csv(real_data.days_from(0, 10), workspace.root / "days.csv")
    with stage(workspace) as opened:
        child = opened.start("model", "guardproxy.demo.model_server", ["--data", "days.csv"])
        announced_port(child)
        assert child.process.stdin is not None
        child.process.stdin.close()
        assert child.process.wait(20) == 0


def test_children_are_remembered_in_order(workspace: Workspace) -> None:
    name = module(workspace, "import sys\nsys.stdin.read()\n")
    opened = Stage(workspace)
    try:
        opened.start("one", name, [])
        opened.start("two", name, [])
        assert [child.name for child in opened.children] == ["one", "two"]
    finally:
        opened.close()


def test_settings_of_the_person_do_not_reach_the_children() -> None:
    environment = child_environment({"GUARDPROXY_LISTEN": "0.0.0.0:1", "HOME": "/home/x", "PYTHONPATH": "/y"})
    assert "GUARDPROXY_LISTEN" not in environment
    assert environment["HOME"] == "/home/x"
    assert environment["PYTHONPATH"].split(os.pathsep)[1:] == ["/y"]


def test_free_ports_differ_and_wanted_ones_are_kept() -> None:
    ports = free_ports((0, 0, 0))
    assert len(set(ports)) == 3
    assert free_ports((ports[0], 0))[0] == ports[0]


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=f"port {port} is taken"):
            free_ports((0, port))


def test_the_end_of_a_log_is_enough(tmp_path: Path) -> None:
    (tmp_path / "long.log").write_text("\n".join(f"line {n}" for n in range(100)), encoding="utf-8")
    assert log_tail(tmp_path / "long.log").splitlines()[-1] == "  line 99"
    assert len(log_tail(tmp_path / "long.log").splitlines()) < 20
    assert "no log" in log_tail(tmp_path / "none.log")
    (tmp_path / "empty.log").touch()
    assert "said nothing" in log_tail(tmp_path / "empty.log")


def test_this_interpreter_runs_the_children(workspace: Workspace) -> None:
    name = module(workspace, "import sys\nprint(sys.executable)\n")
    with stage(workspace) as opened:
        child = opened.start("actor", name, ["x"])
        child.wait()
    assert child.log.read_text(encoding="utf-8").strip() == sys.executable
