"""Window rules and drift of a running proxy: what people, programs and requests see. The clock is handed in."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np

from guardproxy.config import Config, WebhookConfig
from guardproxy.profile.columns import NumberColumn
from guardproxy.profile.document import dump_profile
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import Provenance
from guardproxy.proxy.standing import alerts_of
from tests.harness.loop import run, until
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import ask, demand, infer, said, serving
from tests.proxy.test_reload import JSON
from tests.proxy.test_webhooks import Receiver

if TYPE_CHECKING:
    from guardproxy.service import Service

SHARE = "recent_share(output.demand == 0, 2m)"
RULES = f"""\
guardproxy: 1
model: demand
owner: ops
rules:
  - id: zeros
    scope: window
    for: 1m
    forbid: {SHARE} > 30%
    message: "{{{SHARE}:.0%}} are zero"
  - id: far
    require: output.demand < 3 * recent_p99(output.demand, 2m)
    action: reject
"""


QUIET = "guardproxy: 1\nmodel: demand\nowner: ops\nrules:\n  - {id: sane, require: output.demand > -1000}\n"


class Replica:
    """A running proxy whose minutes pass when the test says so."""

    def __init__(self, upstream: RecorderUpstream) -> None:
        self.now = float(int(time.time() // 60) * 60)
        self.upstream = upstream
        self.service: Service

    async def minute(self, *answers: float, xs: Sequence[float] = ()) -> str | None:
        """Let a minute pass with one request in it; return the outcome of that."""
        self.upstream.answer = ok(demand(answers), JSON)
        response = await ask(self.service, infer(xs or [1.0] * len(answers)))
        await self.beat()
        self.now += 60.0
        await self.beat()
        return said(response, b"Outcome")

    async def beat(self) -> None:
        """Do what is done once a second."""
        for journal in self.service.plane.journals.values():
            journal.flush()
        await self.service.built.statistics.beat()
        assert self.service.built.statistics.faults == 0

    async def get(self, path: str) -> Any:
        """Ask the admin plane."""
        url = f"http://127.0.0.1:{self.service.admin_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            text = await response.text()
            return json.loads(text) if response.content_type == "application/json" else text


@asynccontextmanager
async def replica(receiver: Receiver, rules: str = RULES, **route: Any) -> AsyncIterator[Replica]:
    config = replace(
        Config(), webhooks=(WebhookConfig(receiver.url, ("window", "drift")),), reload_tests=False
    )
    async with RecorderUpstream() as upstream:
        made = Replica(upstream)
        async with serving(
            upstream.port, rules=rules, config=config, clock=lambda: made.now, **route
        ) as service:
            made.service = service
            service.built.statistics.paused = True
            yield made


def test_a_window_rule_fires_is_seen_everywhere_and_ends() -> None:
    async def scenario() -> None:
        async with Receiver().serving() as receiver, replica(receiver) as one:
            (rule,) = [each for each in (await one.get("/v1/rules"))["rules"] if each["rule"] == "zeros"]
            assert rule["window"] is None
            for _ in range(3):
                assert await one.minute(0.0, 0.0, 5.0) in {"allowed", "warned"}
            await until(lambda: receiver.got, "the rule fires")
            (rule,) = [each for each in (await one.get("/v1/rules"))["rules"] if each["rule"] == "zeros"]
            assert rule["window"]["state"] == "firing"
            assert rule["window"]["message"].endswith("% are zero")
            (title,) = (await one.get("/readyz"))["degraded"]
            assert title.startswith("Rule zeros of demand has been violated for ")
            line = 'guardproxy_rule_window_state{model="demand",rule="zeros",state="firing"} 1.0'
            assert line in await one.get("/metrics")
            assert "fires since" in await one.get("/rules")
            assert await one.minute(0.0, 5.0) == "warned"
            for _ in range(4):
                await one.minute(5.0, 5.0)
            await until(lambda: len(receiver.got) == 2, "it ends")
            assert (await one.get("/readyz"))["degraded"] == []
        firing, ended = receiver.got
        assert (firing["event"], firing["state"], ended["state"]) == ("window", "firing", "ended")
        assert firing["text"].startswith("rule zeros of demand fires: violated for 1m. ")
        assert receiver.headers[0]["Guardproxy-Event"] == firing["id"] != ended["id"]

    run(scenario())


def test_what_rolling_functions_give_judges_rows_once_it_is_warm() -> None:
    async def scenario() -> None:
        async with Receiver().serving() as receiver, replica(receiver) as one:
            assert await one.minute(100.0) == "allowed"
            assert await one.minute(5.0) == "allowed"
            for _ in range(4):
                assert await one.minute(5.0, 5.0) == "allowed"
            assert await one.minute(5.0, 100.0) == "rejected"

    run(scenario())


def test_drift_of_a_model_without_a_profile_is_an_empty_answer() -> None:
    async def scenario() -> None:
        async with Receiver().serving() as receiver, replica(receiver) as one:
            await one.minute(5.0)
            (model,) = (await one.get("/v1/drift"))["models"]
            assert (model["model"], model["alarm"], model["fields"]) == ("demand", None, [])

    run(scenario())


def test_every_metric_of_the_statistics_is_there_and_true() -> None:
    async def scenario() -> str:
        async with Receiver().serving() as receiver, replica(receiver) as one:
            await one.minute(0.0, 5.0)
            text: str = await one.get("/metrics")
            return text

    lines = run(scenario()).splitlines()
    values = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] not in {"#", ""}
    }
    assert values['guardproxy_statistics_store_up{backend="sqlite"}'] == 1
    assert values["guardproxy_statistics_waiting_rows"] == 0
    assert values["guardproxy_statistics_lost_rows_total"] == 0
    assert values["guardproxy_statistics_flush_age_seconds"] == 0
    assert values["guardproxy_statistics_snapshot_age_seconds"] == 0
    assert values['guardproxy_statistics_stale_reads_total{model="demand"}'] == 0
    assert values['guardproxy_event_time_refused_total{model="demand",reason="ahead"}'] == 0
    assert values['guardproxy_drift_alarm{model="demand"}'] == 0
    assert values['guardproxy_rule_window_state{model="demand",rule="zeros",state="unknown"}'] == 1
    assert values['guardproxy_recent_uncounted{model="demand"}'] == 0
    assert values['guardproxy_webhook_events_held_back_total{event="drift"}'] == 0


def test_drift_is_told_once_and_seen_everywhere(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    xs, noise = generator.normal(size=(2, 6_000))
    learner = Learner("demand", rng=generator, target=("demand",))
    learner.update({"x": NumberColumn(xs), "demand": NumberColumn(10.0 + xs + noise)})
    (tmp_path / "demand.profile.yaml").write_text(dump_profile(learner.finish(Provenance())))

    async def scenario() -> None:
        async with (
            Receiver().serving() as receiver,
            replica(receiver, QUIET, profile=tmp_path / "demand.profile.yaml") as one,
        ):
            for minute in range(7):
                shift = 3.0 if minute > 2 else 0.0
                given = generator.normal(size=200)
                answers = 10.0 + shift + given + generator.normal(size=200)
                await one.minute(*answers.tolist(), xs=given.tolist())
            await until(lambda: receiver.got, "the alarm is told")
            (model,) = (await one.get("/v1/drift?model=demand"))["models"]
            (title, *_) = (await one.get("/readyz"))["degraded"]
            assert title.startswith("demand drifts: ")
            assert "output.demand" in title
            states = {field["field"]: field["state"] for field in model["fields"]}
            assert states["output.demand"] == "alarm"
            assert model["alarm"]["message"] in await one.get("/windows")
            line = 'guardproxy_drift_field_alarm{field="output.demand",model="demand"} 1.0'
            assert line in await one.get("/metrics")
        (event,) = receiver.got
        assert (event["event"], event["model"]) == ("drift", "demand")
        assert "output.demand" in event["fields"]

    run(scenario())


def test_a_store_that_does_not_answer_is_said_and_delays_nobody() -> None:
    async def scenario() -> None:
        async with Receiver().serving() as receiver, replica(receiver) as one:
            await one.minute(5.0)
            await one.service.built.statistics.store.close()
            assert await one.minute(5.0, 5.0) == "allowed"
            (title,) = (await one.get("/readyz"))["degraded"]
            assert title.startswith("The store of statistics does not answer: ")
            (alert,) = alerts_of(one.service.built, one.service.clock() + 7_300.0)
            assert alert.detail.startswith("It began 2h ago.")
            lines = (await one.get("/metrics")).splitlines()
            assert 'guardproxy_statistics_store_up{backend="sqlite"} 0.0' in lines
            assert "guardproxy_statistics_waiting_rows 2.0" in lines

    run(scenario())
