"""The demo's child processes: the model server, `guardproxy learn` and `guardproxy serve`, as a user would start them.

Decides how each is started, when it counts as ready, and that none outlives the demo. Children are ended by their own
process id and in no other way.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guardproxy.demo.errors import DemoError
from guardproxy.demo.workspace import Workspace

READY_S: Final = 60.0
"""How long a child may take until it is ready, on a slow machine."""
STOP_S: Final = 8.0
"""How long a child may take to end when it is asked to; then it is killed."""

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask the demo to end."""

_POLL_S: Final = 0.05
_LOG_LINES: Final = 15
# One thread is fastest for a few rows, and the demo shares the machine with the browser that watches it.
_QUIET: Final = {"OMP_NUM_THREADS": "1"}


@dataclass(slots=True)
class Child:
    """A child process. Ended, at the latest, when the stage closes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise DemoError, with the last lines of its log, when the child has ended."""
        status = self.process.poll()
        if status is not None:
            raise DemoError(f"{self.name} ended with status {status}:\n{log_tail(self.log)}")

    def wait(self, timeout_s: float = READY_S) -> None:
        """Wait until a child that has an end ends well. Raises DemoError when it does not."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise DemoError(
                f"{self.name} did not finish in {timeout_s:.0f} s:\n{log_tail(self.log)}"
            ) from error
        if status:
            raise DemoError(f"{self.name} ended with status {status}:\n{log_tail(self.log)}")

    def ask_to_end(self) -> None:
        """Ask the child to end, if it has not."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):  # it has hung up already, which is what is wanted
                self.process.stdin.close()
        if self.process.poll() is None:
            self.process.terminate()

    def end(self) -> None:
        """Wait for a child that was asked to end; kill it when it does not."""
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def stage(workspace: Workspace) -> Iterator["Stage"]:
    """Give a stage whose children are all ended when the block is left, however it is left."""
    opened = Stage(workspace)
    try:
        yield opened
    finally:
        opened.close()


class Stage:
    """Starts children and remembers them."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._children: list[Child] = []

    @property
    def children(self) -> tuple[Child, ...]:
        """Every child that was started, in order."""
        return tuple(self._children)

    def start(self, name: str, module: str, arguments: Sequence[str]) -> Child:
        """Start `python -m module arguments...` in the workspace; what it says goes to a log."""
        log = self._workspace.log(name)
        with log.open("wb") as output:
            # A session of its own keeps Ctrl-C for the demo, which then ends its children in order.
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules, no shell
                [sys.executable, "-m", module, *arguments],
                cwd=self._workspace.root,
                env=child_environment(os.environ),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def close(self) -> None:
        """End every child; a second Ctrl-C does not leave any behind."""
        with _undisturbed():
            for child in reversed(self._children):
                child.ask_to_end()
            for child in self._children:
                child.end()


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a child's environment: ours, without settings that would change what the demo shows."""
    kept = {name: value for name, value in environment.items() if not name.startswith("GUARDPROXY_")}
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (package, kept.get("PYTHONPATH", ""))))
    return {**_QUIET, **kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def announced_port(child: Child, timeout_s: float = READY_S) -> int:
    """Wait for the line `ready PORT` in a child's log and return the port. Raises DemoError."""
    for _ in _until(timeout_s):
        for line in child.log.read_text(encoding="utf-8", errors="replace").splitlines():
            word, _, port = line.partition(" ")
            if word == "ready" and port.isdecimal():
                return int(port)
        child.check()
    raise DemoError(f"{child.name} was not ready after {timeout_s:.0f} s:\n{log_tail(child.log)}")


def until_ready(child: Child, port: int, timeout_s: float = READY_S) -> None:
    """Wait until `/readyz` of an admin plane says 200. Raises DemoError."""
    for _ in _until(timeout_s):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException):
            child.check()  # not listening yet is no error; having ended is
        finally:
            connection.close()
    raise DemoError(f"{child.name} was not ready after {timeout_s:.0f} s:\n{log_tail(child.log)}")


def free_ports(wanted: Sequence[int]) -> tuple[int, ...]:
    """Return the wanted ports with a free one in place of every 0, all different. Raises DemoError when one is taken."""
    with contextlib.ExitStack() as stack:
        ports = []
        for port in wanted:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                raise DemoError(
                    f"port {port} is taken ({error.strerror}); choose another, or 0 for any"
                ) from error
            ports.append(int(listener.getsockname()[1]))
    return tuple(ports)


def log_tail(path: Path) -> str:
    """Return the last lines of a log, indented, for an error message."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return f"  (no log: {error.strerror})"
    return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:]) or "  (it said nothing)"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore requests to end while the block runs; only the main thread can, and only it gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _until(timeout_s: float) -> Iterator[None]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        yield
        time.sleep(_POLL_S)
