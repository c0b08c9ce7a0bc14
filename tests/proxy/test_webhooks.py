"""Webhooks against a real server: what arrives, what is tried again, what is dropped, and that nobody waits."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from guardproxy.config import Config, WebhookConfig
from guardproxy.proxy.webhooks import MAX_PENDING, TRIES, Hook, Webhooks
from tests.harness.loop import run, until
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import ask, demand, infer, serving
from tests.proxy.test_reload import JSON, STILL, keeper_of
from tests.proxy.test_rollout import HOLDS, rule_file


class Receiver:
    """A server that keeps what it was sent; `statuses` are its next answers, then 200."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.statuses: list[int] = []
        self.others = 0
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Receiver"]:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        app.router.add_route("*", "/elsewhere", self._elsewhere)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.got.append(await request.json())
        self.headers.append(dict(request.headers))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        self.others += 1
        return web.Response()


@asynccontextmanager
async def telling(*hooks: Hook, clock: Callable[[], float] = lambda: 0.0) -> AsyncIterator[Webhooks]:
    webhooks = Webhooks(hooks, clock, backoff_s=0.0)
    task = asyncio.create_task(webhooks.run())
    try:
        yield webhooks
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_an_event_arrives_with_its_header_and_only_where_it_is_wanted() -> None:
    async def scenario() -> None:
        async with Receiver().serving() as receiver:
            wanted = Hook(receiver.url, frozenset({"breaker"}), ("X-Token", "s3cret"))
            async with telling(wanted, Hook(receiver.url, frozenset({"reload"}))) as webhooks:
                webhooks.tell("breaker", {"at": 1_700_000_000.5, "rule": "r", "text": "x" * 9_000})
                webhooks.tell("hold", {"rule": "r"})
                await until(lambda: wanted.counts["delivered"], "the event arrives")
        (body,) = receiver.got
        assert (body["event"], body["rule"], body["at"]) == ("breaker", "r", "2023-11-14T22:13:20.500000Z")
        assert len(body["text"]) == 4_000
        assert receiver.headers[0]["X-Token"] == "s3cret"
        assert receiver.headers[0]["Content-Type"] == "application/json"

    run(scenario())


@pytest.mark.parametrize(
    ("statuses", "tries", "result"),
    [
        ([], 1, "delivered"),
        ([500], 2, "delivered"),
        ([503, 429], 3, "delivered"),
        ([500, 500, 500], TRIES, "failed"),
        ([404], 1, "failed"),
        ([302], 1, "failed"),
    ],
)
def test_what_may_pass_is_tried_again_and_a_redirect_is_not_followed(
    statuses: list[int], tries: int, result: str
) -> None:
    async def scenario() -> None:
        receiver = Receiver()
        receiver.statuses = statuses
        async with receiver.serving():
            hook = Hook(receiver.url, frozenset({"reload"}))
            async with telling(hook) as webhooks:
                webhooks.tell("reload", {})
                await webhooks.settle(20.0)
                await until(lambda: sum(hook.counts.values()), "the event has an end")
        assert (len(receiver.got), +hook.counts, receiver.others) == (tries, {result: 1}, 0)

    run(scenario())


def test_an_address_where_nobody_listens_fails_after_its_tries_and_delays_no_other() -> None:
    async def scenario() -> None:
        async with Receiver().serving() as receiver:
            dead, alive = (Hook(url, frozenset({"hold"})) for url in ("http://127.0.0.1:9/x", receiver.url))
            async with telling(dead, alive) as webhooks:
                for _ in range(3):
                    webhooks.tell("hold", {})
                await until(lambda: alive.counts["delivered"] == 3, "the other gets all")
                await until(lambda: dead.counts["failed"] == 3, "and this one gives up")
                assert dead.retries == 3 * (TRIES - 1)

    run(scenario())


def test_a_full_queue_drops_and_counts_and_never_waits() -> None:
    async def scenario() -> None:
        hook = Hook("http://127.0.0.1:9/x", frozenset({"hold"}))
        webhooks = Webhooks([hook], lambda: 0.0)
        for _ in range(MAX_PENDING + 7):
            webhooks.tell("hold", {})
        assert hook.counts == {"dropped": 7}

    run(scenario())


def test_what_is_left_at_the_stop_is_counted_as_dropped() -> None:
    async def scenario() -> None:
        writers = []

        async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)

        server = await asyncio.start_server(never, "127.0.0.1", 0)
        hook = Hook(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", frozenset({"hold"}))
        async with telling(hook) as webhooks:
            for _ in range(4):
                webhooks.tell("hold", {})
            await until(lambda: hook.queue.qsize() == 3, "the first is on its way")
            await webhooks.settle(0.01)
        assert hook.counts == {"dropped": 4}
        for writer in writers:
            writer.transport.abort()
        server.close()

    run(scenario())


def test_breakers_reloads_and_holds_of_a_running_proxy_are_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rule_file(HOLDS))
        async with Receiver().serving() as receiver:
            config: Config = replace(STILL, webhooks=(WebhookConfig(receiver.url),))
            async with (
                RecorderUpstream(ok(demand([500.0] * 300), JSON)) as upstream,
                serving(upstream.port, folder=tmp_path, config=config) as service,
            ):
                await ask(service, infer([1.0] * 300))
                await until(lambda: len(receiver.got) == 2, "the hold and the breaker are told")
                (tmp_path / "a.guard.yaml").write_text("rules: [")
                await keeper_of(service).reload()
                await until(lambda: len(receiver.got) == 3, "the refusal is told")
        events = {body["event"]: body for body in receiver.got}
        assert (events["hold"]["rows"], len(events["hold"]["holds"])) == (300, 20)
        assert (events["breaker"]["state"], events["breaker"]["rule"]) == ("tripped", "too-much")
        assert events["reload"]["state"] == "refused"
        assert "error[E" in events["reload"]["text"]
        json.dumps(receiver.got)

    run(scenario())
