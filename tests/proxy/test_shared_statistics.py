"""Whole proxies that share a real Redis: one view, no call in the way of a request, and no reply that waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardproxy.config import Config
from guardproxy.service import Service
from tests.harness.client import RawClient
from tests.harness.loop import PATIENCE_S, run
from tests.harness.redis_servers import RedisServer
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import PATH, RULES, ask, demand, infer, request, said, serving
from tests.test_kill import Proxy

JSON = b"content-type: application/json"
ROLLING = """\
guardproxy: 1
model: demand
owner: ops
rules:
  - id: level
    require: output.demand <= 2 * recent_mean(output.demand, 1m)
    action: fallback
    fallback: {value: 5}
"""


@asynccontextmanager
async def shared(
    server: RedisServer, upstream: RecorderUpstream, *, paused: bool = True, **more: Any
) -> AsyncIterator[Service]:
    """Run a proxy whose statistics stand in `server`; the tests beat by hand where it is paused."""
    config = replace(more.pop("config", Config()), statistics_store=server.url)
    async with serving(upstream.port, config=config, **more) as service:
        service.built.statistics.paused = paused
        yield service


async def flushed(*services: Service) -> None:
    """Count what waits in the journals, and beat."""
    for service in services:
        for journal in service.plane.journals.values():
            journal.flush()
        await service.built.statistics.beat()


def rows(service: Service) -> int:
    """Return the rows that the service knows of, of all replicas together."""
    windows = service.built.statistics.models["demand"].snapshot.windows
    return windows["1h"].rows if windows else 0


async def look(service: Service) -> int:
    """Read again what all replicas counted, and return the rows."""
    model = service.built.statistics.models["demand"]
    model.touch([int(time.time() // 60) - ago for ago in range(3)])
    await service.built.statistics.beat()
    return rows(service)


@pytest.fixture
def server(tmp_path: Path) -> Any:
    """A Redis of the test's own, to kill and to pause."""
    with RedisServer(tmp_path / "redis") as one:
        yield one


def test_two_proxies_share_one_view(server: RedisServer) -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([30.0]), JSON)) as upstream,
            shared(server, upstream) as one,
            shared(server, upstream) as two,
        ):
            for _ in range(4):
                await ask(one, infer([1.0]))
            await ask(two, infer([1.0]))
            await flushed(one, two)
            assert await look(one) == await look(two) == 5

    run(scenario())


def test_a_request_makes_no_call_to_the_store(server: RedisServer) -> None:
    def calls() -> dict[str, int]:
        with server.client() as client:
            stats: Any = client.info("commandstats")
        return {
            name: entry["calls"]
            for name, entry in stats.items()
            if name not in {"cmdstat_info", "cmdstat_client|setinfo"}
        }

    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([30.0]), JSON)) as upstream,
            shared(server, upstream, rules=ROLLING) as service,
        ):
            await ask(service, infer([1.0]))
            await flushed(service)
            before = calls()
            for _ in range(50):
                await ask(service, infer([1.0]))
            assert calls() == before
            await flushed(service)
            assert calls() != before

    run(scenario())


def test_a_rule_reads_what_all_replicas_counted(server: RedisServer) -> None:
    async def scenario() -> None:
        start = time.time() // 60 * 60
        now = [start]
        async with (
            RecorderUpstream(ok(demand([30.0]), JSON)) as upstream,
            shared(server, upstream, rules=ROLLING, clock=lambda: now[0]) as one,
            shared(server, upstream, rules=ROLLING, clock=lambda: now[0]) as two,
        ):
            response = await ask(one, infer([1.0]))
            assert said(response, b"Outcome") == "allowed", "a rule that is warming up lets pass"
            await flushed(one, two)
            now[0] += 65
            await ask(two, infer([1.0]))
            await flushed(one, two)
            await flushed(one, two)
            now[0] += 60
            await flushed(one, two)
            for each in (one, two):
                assert dict(each.built.statistics.models["demand"].snapshot.recent) == {
                    "recent_mean(output.demand, 1m)": 30.0
                }
            upstream.answer = ok(demand([70.0]), JSON)
            response = await ask(one, infer([1.0]))
            assert said(response, b"Outcome") == "replaced"

    run(scenario())


FAULTS: dict[str, tuple[Callable[[RedisServer], object], Callable[[RedisServer], object]]] = {
    "gone": (lambda server: server.kill(), lambda server: server.start()),
    "paused": (lambda server: server.pause(), lambda server: server.resume()),
    "read-only": (
        lambda server: server.do("REPLICAOF", "127.0.0.1", "1"),
        lambda server: server.do("REPLICAOF", "NO", "ONE"),
    ),
    "out of memory": (
        lambda server: server.do("CONFIG", "SET", "maxmemory", "1"),
        lambda server: server.do("CONFIG", "SET", "maxmemory", "0"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_while_redis_is_away_replies_come_and_afterwards_every_row_is_counted_once(
    server: RedisServer, fault: str
) -> None:
    breaks, mends = FAULTS[fault]

    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([30.0]), JSON)) as upstream,
            shared(server, upstream) as one,
            shared(server, upstream) as two,
        ):
            for service in (one, two):
                await ask(service, infer([1.0]))
            await flushed(one, two)
            breaks(server)
            keeper = one.built.statistics
            for service in (one, two):
                assert said(await ask(service, infer([1.0])), b"Outcome") == "allowed"
            await flushed(one, two)
            assert not keeper.breaker.closed, "the first failure opens the breaker"
            status = keeper.status()
            assert (status.waiting_rows, status.lost_rows, bool(status.problem)) == (1, 0, True)
            for service in (one, two):
                for _ in range(3):
                    assert said(await ask(service, infer([1.0])), b"Outcome") == "allowed"
            mends(server)
            async with asyncio.timeout(PATIENCE_S):
                while not all(service.built.statistics.breaker.closed for service in (one, two)):
                    await flushed(one, two)
                    await asyncio.sleep(0.05)
            for _ in range(2):
                await flushed(one, two)
            for service in (one, two):
                assert await look(service) == 10
                assert service.built.statistics.status().waiting_rows == 0
                assert service.built.statistics.status().lost_rows == 0

    run(scenario())


def test_a_stopped_proxy_writes_what_it_counted_last(server: RedisServer) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([30.0]), JSON)) as upstream, shared(server, upstream) as one:
            async with shared(server, upstream) as two:
                for _ in range(7):
                    await ask(two, infer([1.0]))
            assert await look(one) == 7

    run(scenario())


CONFIG = """\
listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0", auth: none}}
store: sqlite:///holds.db
statistics: {{store: "{redis}"}}
upstream: http://127.0.0.1:{port}
rules: a.guard.yaml
log: error
routes: [{{path: {path}, model: demand, on_failure: closed, key: [store]}}]
"""


def test_a_killed_proxy_loses_at_most_what_it_counted_since_its_last_beat(
    server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([30.0]), JSON)) as upstream, shared(server, upstream) as one:
            (tmp_path / "a.guard.yaml").write_text(RULES)
            text = CONFIG.format(redis=server.url, port=upstream.port, path=PATH)
            (tmp_path / "guardproxy.yaml").write_text(text)
            proxy = await Proxy.start(tmp_path)
            client = await RawClient.connect(proxy.port)
            for _ in range(20):
                response = await client.exchange(request(infer([1.0])), b"POST")
                assert said(response, b"Outcome") == "allowed"
            async with asyncio.timeout(PATIENCE_S):
                while await look(one) < 20:  # noqa: ASYNC110 - the other process has no event to give
                    await asyncio.sleep(0.05)
            for _ in range(5):
                await client.exchange(request(infer([1.0])), b"POST")
            await proxy.kill()
            assert 20 <= await look(one) <= 25

    run(scenario())
