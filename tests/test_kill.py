"""kill -9 of the whole proxy while holds are being made: what a client was told is held is in the queue afterwards."""

import asyncio
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardproxy.stores import HoldFilter, SqliteHoldStore
from tests.harness.client import Incomplete, RawClient
from tests.harness.loop import PATIENCE_S
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import PATH, RULES, demand, infer, request

KILLS = int(os.environ.get("GUARDPROXY_KILLS", "50"))
CLIENTS = 4
HOLDS_BEFORE_KILL = 12

CONFIG = """\
listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0", auth: none}}
store: sqlite:///holds.db
upstream: http://127.0.0.1:{port}
rules: a.guard.yaml
log: error
routes: [{{path: {path}, model: demand, on_failure: closed, key: [store]}}]
"""


@dataclass
class Proxy:
    """`guardproxy serve` in a process of its own."""

    process: asyncio.subprocess.Process
    port: int

    @classmethod
    async def start(cls, folder: Path) -> "Proxy":
        command = [sys.executable, "-m", "guardproxy", "serve", "--config", str(folder / "guardproxy.yaml")]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        assert process.stderr is not None
        said = b""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := re.search(rb"listens on http://[^:]+:(\d+)", said)):
                line = await process.stderr.readline()
                assert line, said
                said += line
        return cls(process, int(found.group(1)))

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


async def hold_until_cut(port: int, told: list[str], enough: asyncio.Event) -> None:
    """Send rows that must be held, one after the other, until the proxy dies; keep every id a reply gave."""
    client = await RawClient.connect(port)
    try:
        while True:
            response = await client.exchange(request(infer([1.0])))
            assert response.status == 200
            held = response.get(b"Guardproxy-Hold")
            assert held is not None
            told.append(held.decode())
            if len(told) % HOLDS_BEFORE_KILL == 0:
                enough.set()
    except (Incomplete, ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        client.abort()


@pytest.mark.timeout(300)
def test_every_hold_whose_reply_was_sent_is_in_the_queue_after_kill_9(tmp_path: Path) -> None:
    async def scenario() -> None:
        told: list[str] = []
        async with RecorderUpstream(ok(demand([5000.0]), b"Content-Type: application/json")) as upstream:
            (tmp_path / "guardproxy.yaml").write_text(CONFIG.format(port=upstream.port, path=PATH))
            (tmp_path / "a.guard.yaml").write_text(RULES)
            for _ in range(KILLS):
                enough = asyncio.Event()
                proxy = await Proxy.start(tmp_path)
                async with asyncio.TaskGroup() as clients:
                    for _ in range(CLIENTS):
                        clients.create_task(hold_until_cut(proxy.port, told, enough))
                    async with asyncio.timeout(PATIENCE_S):
                        await enough.wait()
                    await proxy.kill()
        store = SqliteHoldStore(tmp_path / "holds.db")
        await store.open()
        try:
            assert await _stored(store) >= set(told)
        finally:
            await store.close()
        assert len(told) >= KILLS * HOLDS_BEFORE_KILL
        assert len(told) == len(set(told))

    asyncio.run(scenario())


async def _stored(store: SqliteHoldStore) -> set[str]:
    found: set[str] = set()
    cursor = None
    while True:
        page = await store.list(HoldFilter(), limit=500, cursor=cursor)
        found |= {hold.id for hold in page.holds}
        if (cursor := page.cursor) is None:
            return found
