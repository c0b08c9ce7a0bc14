"""Exchanges recorded between real clients and real model servers pass through the wire unchanged."""

from dataclasses import replace

import pytest

from tests.codecs.exchanges import exchanges
from tests.harness.apps import App, Guarding, PassThrough, pool_for, serving
from tests.harness.client import RawClient
from tests.harness.loop import run
from tests.harness.replayed import ReplayedUpstream, request_changes, response_changes


@pytest.mark.parametrize("guarded", [False, True])
def test_recorded_exchanges_pass_through_unchanged(guarded: bool) -> None:
    assert len(exchanges()) > 100
    changes: dict[str, list[str]] = {}

    async def scenario() -> None:
        async with ReplayedUpstream() as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool, nonce="n") as server:
                for name, exchange in exchanges().items():
                    upstream.response = exchange.response.raw
                    client = await RawClient.connect(server.port)
                    got = await client.exchange(exchange.request.raw, exchange.method)
                    await client.close()
                    seen = upstream.requests[-1]
                    assert seen.lines[-1] == b"Via: 1.1 guardproxy (n)", name
                    lines = [line for line in got.lines if not line.lower().startswith(b"x-guarded:")]
                    wrong = request_changes(exchange.request, seen, guarded=False)
                    wrong += response_changes(exchange.response, replace(got, lines=lines))
                    if wrong:
                        changes[name] = wrong
            assert not app.faults

    run(scenario())
    assert not changes
