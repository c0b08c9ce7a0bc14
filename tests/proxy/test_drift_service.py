"""Drift from end to end: learned from a file, replayed through two proxies that share a Redis, seen and told once."""

import asyncio
import csv
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from click.testing import CliRunner

from guardproxy.cli.learn import learn
from guardproxy.config import Config, WebhookConfig
from guardproxy.service import Service
from tests.harness.loop import run, until
from tests.harness.redis_servers import RedisServer
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import ask, demand, infer, said, serving
from tests.proxy.test_webhooks import Receiver

JSON = b"content-type: application/json"
START = 1_699_833_600.0
"""A Monday, 00:00 UTC."""

WEEKS, AN_HOUR = 4, 3_600.0
NOW = START + 10 * 7 * 86_400.0
ROWS = 25
RULES = """\
guardproxy: 1
model: demand
owner: ops
rules:
  - {id: sane, require: output.demand > -1000}
"""


def drawn(
    generator: np.random.Generator, at: float, rows: int, shift: float
) -> tuple[list[float], list[float]]:
    """Return features and predictions of an hour: both follow the hour of the day, and the prediction its shift."""
    level = 3.0 * np.sin(at / 86_400.0 * 2.0 * np.pi)
    xs = generator.normal(level, 1.0, rows)
    return xs.round(4).tolist(), (20.0 + 2.0 * xs + generator.normal(shift, 1.0, rows)).round(4).tolist()


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of four weeks, learned as a user does."""
    folder = tmp_path_factory.mktemp("learned")
    generator = np.random.default_rng(1)
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["at", "store", "x", "demand"])
        for hour in range(WEEKS * 168):
            at = START + hour * AN_HOUR
            for x, answer in zip(*drawn(generator, at, ROWS, 0.0), strict=True):
                writer.writerow([moment(at + generator.random() * AN_HOUR), "s1", x, answer])
    words = [str(folder / "history.csv"), "--model", "demand", "--target", "demand", "--time", "at"]
    result = CliRunner().invoke(
        learn, [*words, "--key", "store", "--out", str(folder / "demand.profile.yaml")]
    )
    assert result.exit_code == 0, result.output
    return folder / "demand.profile.yaml"


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with RedisServer(tmp_path / "redis") as one:
        yield one


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


@asynccontextmanager
async def replicas(
    server: RedisServer, profile: Path, receiver: Receiver, upstream: RecorderUpstream
) -> AsyncIterator[list[Service]]:
    """Run two proxies that are beaten by hand."""
    config = replace(
        Config(),
        event_time=True,
        bucket_s=AN_HOUR,
        drift_run_length_s=90 * 86_400.0,
        statistics_store=server.url,
        webhooks=(WebhookConfig(receiver.url, ("drift",)),),
    )
    more: dict[str, Any] = {"config": config, "rules": RULES, "profile": profile, "clock": lambda: NOW}
    async with serving(upstream.port, **more) as one, serving(upstream.port, **more) as two:
        for each in (one, two):
            each.built.statistics.paused = True
        yield [one, two]


async def replay(services: Sequence[Service], upstream: RecorderUpstream, hours: range, shift: float) -> None:
    """Send recorded hours, a request to each replica an hour, and beat now and then."""
    generator = np.random.default_rng(hours.start)
    for hour in hours:
        at = START + hour * AN_HOUR
        for service in services:
            xs, answers = drawn(generator, at, ROWS, shift)
            upstream.answer = ok(demand(answers), JSON)
            line = f"Guardproxy-Event-Time: {moment(at + 60.0)}".encode()
            assert said(await ask(service, infer(xs), line), b"Outcome") == "allowed"
        if hour % 12 == 11:
            await beat(services)
    for _ in range(4):
        await beat(services)


async def beat(services: Sequence[Service]) -> None:
    for service in services:
        for journal in service.plane.journals.values():
            journal.flush()
    await asyncio.gather(*(service.built.statistics.beat() for service in services))
    assert [service.built.statistics.faults for service in services] == [0] * len(services)


async def drift_of(service: Service) -> dict[str, Any]:
    url = f"http://127.0.0.1:{service.admin_port}/v1/drift"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        (model,) = (await response.json())["models"]
    found: dict[str, Any] = model
    return found


def test_history_that_follows_its_season_is_quiet_until_the_model_changes(
    server: RedisServer, profile: Path
) -> None:
    async def scenario() -> None:
        async with (
            Receiver().serving() as receiver,
            RecorderUpstream() as upstream,
            replicas(server, profile, receiver, upstream) as services,
        ):
            begin = WEEKS * 168
            await replay(services, upstream, range(begin, begin + 72), 0.0)
            for service in services:
                quiet = await drift_of(service)
                assert quiet["alarm"] is None
                assert {each["field"]: each["state"] for each in quiet["fields"]} == {
                    "store": "unlearned",
                    "x": "quiet",
                    "output.demand": "quiet",
                }
            await replay(services, upstream, range(begin + 72, begin + 96), 4.0)
            one, two = [await drift_of(service) for service in services]
            assert one["fields"] == two["fields"]
            assert one["alarm"] == two["alarm"]
            assert one["alarm"]["fields"] == ["output.demand"]
            assert one["fields"][1]["alarm"] is None
            assert one["fields"][2]["alarm"]["direction"] == "up"
            raised = datetime.fromisoformat(one["alarm"]["raised_at"]).timestamp()
            assert 0.0 < raised - (START + (begin + 72) * AN_HOUR) <= 6 * AN_HOUR
            await until(lambda: bool(receiver.got), "the event")
            for _ in range(3):
                await beat(services)
            assert [event["fields"] for event in receiver.got] == [["output.demand"]]
            assert sum(service.built.watchers.drift["demand"].judged for service in services) >= 90

    run(scenario())
