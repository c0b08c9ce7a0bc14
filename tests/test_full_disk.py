"""The disk fills under a running server: nothing is called held that is not stored, decisions go on, room heals it."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.cli.process import FREE, JSON_TYPE, Serving, get, serving, unshared
from tests.cli.run import child
from tests.harness.loop import PATIENCE_S, run
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import PATH, RULES, demand, infer

SIZE = 48 * 1024**2
LEFT = 8 * 1024**2
"""Less than the store's low-water mark."""

CONFIG = """\
admin: {{auth: none}}
store: sqlite:///disk/holds.db
upstream: http://127.0.0.1:{port}
rules: a.guard.yaml
holds: {{undo: 0s}}
log: error
routes: [{{path: {path}, model: demand, on_failure: {failure}, key: [store]}}]
"""


class Disk:
    """The small disk, which only the server's process sees."""

    def __init__(self, server: Serving, folder: Path) -> None:
        self._place = Path(f"/proc/{server.process.pid}/root{folder}/disk")

    def free(self) -> int:
        facts = os.statvfs(self._place)
        return facts.f_bavail * facts.f_frsize

    def fill(self, leave: int) -> None:
        """Write until at most `leave` bytes are free."""
        with (self._place / "filler").open("ab", buffering=0) as filler:
            while (room := self.free() - leave) > 0:
                filler.write(b"\0" * min(room, 1 << 20))
        assert self.free() <= leave

    def clear(self) -> None:
        (self._place / "filler").unlink()


@pytest.mark.parametrize("failure", ["open", "closed"])
def test_a_full_disk_costs_holds_but_no_truth_and_no_decision(tmp_path: Path, failure: str) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.guard.yaml").write_text(RULES)
    before = unshared("sh", "-c", f'mount -t tmpfs -o size={SIZE} tmpfs "{tmp_path}/disk" && exec "$@"', "sh")

    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([5000.0]), JSON_TYPE)) as upstream:
            config = CONFIG.format(port=upstream.port, path=PATH, failure=failure)
            (tmp_path / "guardproxy.yaml").write_text(config)
            async with serving(tmp_path, *FREE, before=before) as server:
                disk = Disk(server, tmp_path)
                told = [await ask_for_hold(server) for _ in range(3)]
                assert all(told)
                for leave in (LEFT, 0):
                    disk.fill(leave)
                    for _ in range(5):
                        assert await ask_for_hold(server, failure) is None
                    assert await open_holds(server) == set(told)
                await becomes(server, ready=failure == "open")
                decided = await asyncio.to_thread(
                    child, "holds", "approve", str(told[0]), "--admin", server.admin, folder=tmp_path
                )
                assert decided.code == 0, decided.err
                await final(server, str(told[0]))
                disk.clear()
                await becomes(server, ready=True)
                healed = await ask_for_hold(server)
                assert healed is not None
                assert await open_holds(server) == {*told[1:], healed}
                metrics = (await get(f"{server.admin}/metrics")).decode()
                assert "guardproxy_holds_failed_total 10.0" in metrics
                assert await server.end() == 0

    run(scenario(), uvloop=False)


async def ask_for_hold(server: Serving, refused: str = "") -> str | None:
    """Send a row that must be held; return the hold's id. `refused` is the failure mode that must show when it is not."""
    response = await server.ask(infer([1.0]))
    held = response.get(b"Guardproxy-Hold")
    if not refused:
        assert (response.status, response.get(b"Guardproxy-Outcome")) == (200, b"held"), response
        return (held or b"").decode()
    assert held is None, response
    assert response.get(b"Guardproxy-Outcome") != b"held"
    if refused == "closed":
        assert response.status == 503
        assert response.get(b"Retry-After") is not None
    else:
        # The provisional answer is served, and is not the suspect value.
        assert (response.status, response.get(b"Guardproxy-Outcome")) == (200, b"replaced")
    assert b"5000" not in response.body
    return None


async def open_holds(server: Serving) -> set[str]:
    found = json.loads(await get(f"{server.admin}/v1/holds?state=open&limit=100"))
    return {hold["id"] for hold in found["holds"]}


async def becomes(server: Serving, *, ready: bool) -> None:
    """Wait until /readyz says so: a route that fails closed needs room for holds."""

    async def is_ready() -> bool:
        try:
            await get(f"{server.admin}/readyz")
        except OSError:
            return False
        return True

    async with asyncio.timeout(PATIENCE_S):
        while await is_ready() is not ready:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def final(server: Serving, hold_id: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        # Another process: there is no event to wait for.
        while (hold := json.loads(await get(f"{server.admin}/v1/holds/{hold_id}")))["state"] != "approved":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert hold["output"]["final"] == {"demand": 5000.0}
