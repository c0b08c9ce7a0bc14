"""Applications for tests of the wire."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from guardproxy.wire import (
    Collect,
    Exchange,
    Forward,
    Limits,
    Plan,
    Pool,
    Reply,
    RequestHead,
    Server,
    Timeouts,
    Transfer,
    UpstreamFailure,
    UpstreamResponse,
    default_refusal,
    forwardable,
    parse_origin,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class App:
    """Answers each head with what `planner` says; keeps what the wire tells it."""

    def __init__(self, planner: Callable[[RequestHead], Plan]) -> None:
        self.planner = planner
        self.heads: list[RequestHead] = []
        self.faults: list[Exception] = []
        self.transfers: list[Transfer] = []

    def plan(self, head: RequestHead, peer: str) -> Plan:
        assert peer == "127.0.0.1"
        self.heads.append(head)
        return self.planner(head)

    def refusal(self, status: int, detail: str) -> Reply:
        return default_refusal(status, detail)

    def fault(self, exc: Exception) -> None:
        self.faults.append(exc)


class PassThrough(App):
    """Forwards everything."""

    def __init__(self, pool: Pool) -> None:
        plan = Forward(pool, done=self._ended)
        super().__init__(lambda _: plan)

    def _ended(self, transfer: Transfer) -> None:
        self.transfers.append(transfer)


class Guarding(App):
    """Collects everything and answers with what the upstream answered, in a reply of its own."""

    def __init__(self, pool: Pool, max_body: int = 1 << 20, max_response: int | None = 1 << 20) -> None:
        super().__init__(self._plan)
        self.pool = pool
        self.max_body = max_body
        self.max_response = max_response
        self.exchanges: list[Exchange] = []
        self.responses: list[UpstreamResponse] = []
        self.failures: list[UpstreamFailure] = []
        self.timeout_s: float | None = None
        self.plain = False

    def _plan(self, head: RequestHead) -> Plan:
        return Collect(self.max_body, self._start, lambda _: Forward(self.pool, done=self.transfers.append))

    def _start(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

        def received(response: UpstreamResponse) -> None:
            self.responses.append(response)
            head = response.head
            if self.plain:
                headers = (*forwardable(head.headers), (b"X-Guarded", b"yes"))
                exchange.reply(Reply(head.status, headers, response.body, head.reason))
            else:
                exchange.reply(Reply(head.status, ((b"X-Guarded", b"yes"),), response.body, source=head))

        def failed(failure: UpstreamFailure) -> None:
            self.failures.append(failure)
            exchange.reply(default_refusal(failure.status, failure.kind))

        exchange.call(
            self.pool,
            collect=lambda _: self.max_response,
            received=received,
            failed=failed,
            overflow=lambda _: ((b"X-Overflow", b"yes"),),
            streamed=lambda _: ((b"X-Streamed", b"yes"),),
            timeout_s=self.timeout_s,
        )


def pool_for(port: int, timeouts: Timeouts | None = None, **more: int) -> Pool:
    return Pool(parse_origin(f"http://127.0.0.1:{port}"), timeouts=timeouts, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(
    app: App,
    *pools: Pool,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    nonce: str | None = None,
) -> AsyncIterator[Server]:
    """A server for `app` on a port of its own; closes it and the pools."""
    server = await Server.start(app, timeouts=timeouts, limits=limits, nonce=nonce)
    try:
        yield server
    finally:
        await server.close(timeout_s=0)
        for pool in pools:
            pool.close()
        await asyncio.sleep(0)
