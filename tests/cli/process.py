"""`guardproxy serve` as a process of its own, for tests that need the real thing."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.run import child_environment
from tests.harness.client import RawClient, Response
from tests.harness.loop import PATIENCE_S
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import PATH, demand, request

FREE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
"""Ports of the system's choice."""
JSON_TYPE = b"Content-Type: application/json"


@dataclass
class Serving:
    """A running `guardproxy serve`; `said` is its standard error so far."""

    process: asyncio.subprocess.Process
    said: str
    port: int = 0
    console: str = ""

    @property
    def admin(self) -> str:
        return self.console.partition("?")[0].rstrip("/")

    async def ask(self, body: bytes, path: str = PATH, method: bytes = b"POST") -> Response:
        client = await RawClient.connect(self.port)
        response = await client.exchange(request(body, path=path, method=method), method)
        await client.close()
        return response

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code when the process is gone and its last words are read."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            assert self.process.stderr is not None
            self.said += (await self.process.stderr.read()).decode()
            return await self.process.wait()


@asynccontextmanager
async def serving(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None, before: tuple[str, ...] = ()
) -> AsyncIterator[Serving]:
    """Start the server in `folder` and wait until it says where it listens."""
    process = await asyncio.create_subprocess_exec(
        *before, sys.executable, "-m", "guardproxy", "serve", *arguments,
        cwd=folder, env=child_environment(environment), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Serving(process, "")
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert process.stderr is not None
            while not (console := re.search(r"^console: (\S+)$", running.said, re.MULTILINE)):
                line = await process.stderr.readline()
                assert line, running.said
                running.said += line.decode()
        listens = re.search(r"listens on http://[^ ]+:(\d+)$", running.said, re.MULTILINE)
        assert listens is not None, running.said
        running.port, running.console = int(listens.group(1)), console.group(1)
        yield running
    finally:
        await running.end(signal.SIGKILL)


def upstream_of(*values: float) -> RecorderUpstream:
    return RecorderUpstream(ok(demand(values), JSON_TYPE))


async def get(url: str, token: str = "") -> bytes:
    def fetch() -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
            return response.read()  # type: ignore[no-any-return]

    return await asyncio.to_thread(fetch)


def unshared(*command: str) -> tuple[str, ...]:
    """Return how to run a command with mounts of its own; without the right to, skip, and on a CI machine fail."""
    for unshare in (("unshare", "-m"), ("unshare", "-rm")):
        trial = [*unshare, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        if shutil.which("unshare") and not subprocess.run(trial, capture_output=True, check=False).returncode:
            return (*unshare, *command)
    sentence = "nothing can be mounted here (needs unshare with mount rights)"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
