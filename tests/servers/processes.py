"""The processes of a pair: the model server, guardproxy before it, and the client.

Decides where an environment stands, how long each part may take to come up, and what a missing one means. What is asked and
expected is left to the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest

from tests.cli.run import ROOT, child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

ENVIRONMENTS = ROOT / ".venv-servers"
START_S = 120.0
"""How long a server may take to come up before a test fails; never a measure of success."""
ANSWER_S = 60.0


def python_of(pair: str, *, optional: bool = False) -> str:
    """Return the interpreter of a pair's environment. An optional one that is missing is a skip, and on a CI machine a
    failure, as any other is everywhere."""
    python = ENVIRONMENTS / pair / "bin" / "python"
    if not (ENVIRONMENTS / pair / ".ready").exists():
        sentence = f"there is no environment for {pair}; `make .venv-servers/{pair}/.ready` makes it"
        if optional and os.environ.get("CI") != "true":
            pytest.skip(sentence)
        pytest.fail(sentence)
    return str(python)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Running:
    """A process in a group of its own, whose words are kept; used as a context, it is gone afterwards."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.said = ""
        self._over = False
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            command, cwd=folder, env=child_environment(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._heard:
                self.said += line
                self._heard.notify_all()
        with self._heard:
            self._over = True
            self._heard.notify_all()

    def hear(self, pattern: str) -> re.Match[str]:
        """Wait until the process says a line like `pattern`."""
        expression = re.compile(pattern, re.MULTILINE)

        def found() -> bool:
            return expression.search(self.said) is not None or self._over

        with self._heard:
            self._heard.wait_for(found, START_S)
            match = expression.search(self.said)
        assert match is not None, f"never said {pattern!r}:\n{self.said}"
        return match

    def answers(self, url: str) -> None:
        """Wait until a GET of `url` is a 200."""
        ends = time.monotonic() + START_S
        while time.monotonic() < ends and not self._over:
            try:
                with urllib.request.urlopen(url, timeout=5) as response:
                    if response.status == 200:
                        return
            except OSError:
                time.sleep(0.05)  # it does not listen yet, or is not ready: there is nothing to wait on
        pytest.fail(f"{url} never answered 200:\n{self.said}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass
class Guarded:
    """A running `guardproxy serve`. What it counted since the last look tells a guarded answer from one that only passed."""

    url: str
    admin: str
    grpc: str
    _seen: dict[str, float] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    def counted(self) -> dict[str, int]:
        """Return the rows by outcome, and the unguarded exchanges by reason, since this was last asked; zeros are left out."""
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=ANSWER_S) as response:
            text = response.read().decode()
        now: dict[str, float] = {}
        for name, value in re.findall(
            r'^guardproxy_(?:rows|unguarded)_total\{.*(?:outcome|reason)="(\w+)".*\} (\S+)$',
            text,
            re.MULTILINE,
        ):
            now[name] = now.get(name, 0.0) + float(value)
        seen, self._seen = self._seen, now
        return {name: int(now[name] - seen.get(name, 0)) for name in now if now[name] != seen.get(name, 0)}


class Guards(NamedTuple):
    """guardproxy twice before one server: with every rule in shadow, and with every rule enforced."""

    shadow: Guarded
    enforce: Guarded


def guards(
    stack: ExitStack,
    folder: Path,
    upstream: str,
    routes: Mapping[str, Mapping[str, str]],
    rules: Mapping[str, str],
    grpc: str | None = None,
) -> Guards:
    """Start both with routes by path and rule files by name, in which MODE stands for the mode; `stack` ends them.

    Each listens where the system likes. `grpc` is the server's address for gRPC; then they listen for that too.
    """
    started = []
    for mode in Guards._fields:
        here = folder / mode
        (here / "rules").mkdir(parents=True)
        for name, text in rules.items():
            (here / "rules" / f"{name}.guard.yaml").write_text(text.replace("MODE", mode))
        config: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "admin": {"listen": "127.0.0.1:0", "auth": "none"},
            "store": "sqlite:///guardproxy.db",
            "rules": "rules",
            "upstream": upstream,
            "routes": [{"path": path, "on_failure": "open", **route} for path, route in routes.items()],
        }
        listens = f"127.0.0.1:{free_port()}"
        if grpc is not None:
            config["grpc"] = {"listen": listens, "upstream": grpc}
        # JSON is YAML, and says nothing that a hand-written file could not.
        (here / "guardproxy.yaml").write_text(json.dumps(config, indent=2))
        command = [sys.executable, "-m", "guardproxy", "serve", "--config", "guardproxy.yaml"]
        started.append((stack.enter_context(Running(command, here)), listens))
    return Guards(*(_listening(running, listens) for running, listens in started))


def _listening(running: Running, grpc: str) -> Guarded:
    console = running.hear(r"^console: (http://[^/\s]+)").group(1)
    listens = re.search(r"listens on (http://[^ ]+:\d+)$", running.said, re.MULTILINE)
    assert listens is not None, running.said
    return Guarded(listens.group(1), console, grpc)


class Refused(Exception):  # noqa: N818  # it is what the client's own exception says
    """The client's own exception: its class's name and its sentence."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(f"{kind}: {sentence}")
        self.kind = kind
        self.sentence = sentence


class Client:
    """A real client in a process of its own; `tests.servers.clients.NAME` in the environment of its pair."""

    def __init__(self, python: str, name: str) -> None:
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115  # open as long as the process
        self._process = subprocess.Popen(
            [python, "-u", "-m", f"tests.servers.clients.{name}"], cwd=ROOT, env=child_environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, text=True,
        )  # fmt: skip

    def __call__(self, call: str, **arguments: Any) -> Any:
        """Return what the client's object holds. Raises Refused with the client's own exception."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the client ended:\n{self._words()}"
        answer = json.loads(line)
        if "raised" in answer:
            raise Refused(answer["raised"], answer["said"])
        return answer["held"]

    def _words(self) -> str:
        self._process.wait(ANSWER_S)
        self._complaints.seek(0)
        return self._complaints.read()[-4_000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended before its last call was read
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._complaints.close()
