"""What a running guardproxy keeps of hostile traffic: no memory of it, no long wait for others, no way around a guard."""

import asyncio
import gc
import gzip
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import brotli
import grpc
import pytest

from guardproxy.config import Config
from guardproxy.decision import Reason
from guardproxy.proxy.background import OFF_LOOP_BYTES
from guardproxy.proxy.exchange import PACKED_OFF_LOOP_BYTES
from guardproxy.proxy.grpc.plane import INFER, STREAM_INFER
from guardproxy.service import Service
from guardproxy.wire import Timeouts
from tests.harness.apps import Guarding, pool_for
from tests.harness.apps import serving as wire_serving
from tests.harness.client import RawClient
from tests.harness.grpc_messages import number, sized
from tests.harness.grpc_upstream import answering, grpc_upstream
from tests.harness.grpc_upstream import ask as call
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok
from tests.proxy import test_grpc
from tests.proxy.serving import ask, demand, infer, reasons, request, said, serving
from tests.proxy.test_grpc import OTHER
from tests.proxy.test_opaque import SHARED

JSON = b"Content-Type: application/json"
MIB = 1024 * 1024


async def kept_by(times: int, asked: Callable[[], Awaitable[object]]) -> int:
    """Return how many bytes are still there after so many requests, as long as no collector runs."""
    # The first of its kind fills caches.
    await asked()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(times):
            await asked()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("size", [2_000, 9 * MIB], ids=["on the loop", "in a thread"])
def test_what_an_undecodable_body_unpacked_to_is_free_as_soon_as_it_is_refused(size: int) -> None:
    async def scenario() -> None:
        # It inflates to as much as it may before its end is found to be missing.
        body = gzip.compress(bytes(size))[:-4]
        async with RecorderUpstream() as upstream, serving(upstream.port, failure="closed") as service:

            async def refused() -> None:
                response = await ask(service, body, b"Content-Encoding: gzip")
                assert said(response, b"Reason") == "undecodable"

            assert await kept_by(4, refused) < 2 * MIB

    run(scenario())


def test_the_message_of_a_call_that_ends_in_an_error_is_free_as_soon_as_the_client_has_it() -> None:
    async def scenario() -> None:
        body = test_grpc.xs([1.0], tail=sized(99, bytes(MIB)))
        async with test_grpc.pair(answering(b""), failure="closed", more=", max_body: 1KiB") as (
            _,
            _,
            channel,
        ):

            async def refused() -> None:
                assert (await call(channel, INFER, body)).code == "RESOURCE_EXHAUSTED"

            assert await kept_by(8, refused) < 4 * MIB

    run(scenario())


@pytest.mark.parametrize("coding", ["br", "br, gzip", "BR"])
def test_a_brotli_body_is_unpacked_beside_the_loop_however_small(
    coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        body = brotli.compress(infer([1.0]))
        if "gzip" in coding:
            body = gzip.compress(body)
        async with RecorderUpstream(ok(demand([-1.0]), JSON)) as upstream, serving(upstream.port) as service:
            aside = counted(service, monkeypatch)
            response = await ask(service, body, b"Content-Encoding: " + coding.encode())
        assert (response.body, aside) == (demand([5.0]), [1])

    run(scenario())


@pytest.mark.parametrize(("rows", "beside"), [(1, []), (60_000, [1])])
def test_a_few_bytes_that_unpack_to_many_are_screened_beside_the_loop_and_others_on_it(
    rows: int, beside: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        plain = infer([1.0] * rows)
        body = gzip.compress(plain)
        assert len(body) < PACKED_OFF_LOOP_BYTES
        assert (len(plain) > OFF_LOOP_BYTES) == bool(beside)
        answer = demand([-1.0] + [1.0] * (rows - 1))
        packed = gzip.compress(answer)
        assert len(packed) < PACKED_OFF_LOOP_BYTES
        async with (
            RecorderUpstream(ok(packed, JSON, b"Content-Encoding: gzip")) as upstream,
            serving(upstream.port) as service,
        ):
            aside = counted(service, monkeypatch)
            response = await ask(service, body, b"Content-Encoding: gzip")
        assert gzip.decompress(response.body) == answer.replace(b"-1.0", b"5.0")
        assert aside == beside * 2

    run(scenario())


def counted(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one with each body that is screened in a thread."""
    found: list[int] = []
    compute = service.plane.background.compute

    def noted(*work: object) -> None:
        found.append(1)
        compute(*work)  # type: ignore[arg-type]

    monkeypatch.setattr(service.plane.background, "compute", noted)
    return found


# -------------------------------------------------------------------- time


@pytest.mark.parametrize("max_response", [1 << 20, None], ids=["collected", "streamed"])
@pytest.mark.parametrize("silence", ["before its head", "in its body"])
def test_a_call_with_a_time_of_its_own_may_be_as_silent_as_that_allows(
    silence: str, max_response: int | None
) -> None:
    async def scenario() -> None:
        whole = ok(demand([1.0]), JSON)
        begun = whole[: whole.index(b"\r\n\r\n") + 4] if silence == "in its body" else b""

        async def answer(_request: Recorded, writer: asyncio.StreamWriter) -> None:
            writer.write(begun)
            # By the clock that timeouts go by: long enough for both of the pool's own.
            began = pool.now
            await until(lambda: pool.now > began + 0.5, "the pool looked after its calls")
            writer.write(whole[len(begun) :])

        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port, Timeouts(response_head_s=0.1, response_idle_s=0.1))
            app = Guarding(pool, max_response=max_response)
            app.timeout_s = 60.0
            async with wire_serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                response = await client.exchange(request(b"{}"))
            assert (response.status, response.body) == (200, demand([1.0]))

    run(scenario())


@pytest.mark.parametrize(("own", "limit"), [(None, 90.0), (7.0, 7.0)])
def test_a_route_without_a_timeout_has_that_of_the_configuration(own: float | None, limit: float) -> None:
    async def scenario() -> None:
        async with serving(9, config=Config(timeout_s=90.0), timeout_s=own) as service:
            assert service.plane.routes[0].timeout_s == limit

    run(scenario())


# -------------------------------------------------------------------- ways around


def test_the_path_that_guarded_requests_take_upstream_is_no_way_around_the_guard() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(b"[-1.5]", JSON)) as upstream,
            serving(
                upstream.port,
                path="/endpoints/{name}/invocations",
                upstream_path="/invocations",
                protocol="sagemaker",
                features=("x",),
                outputs=("demand",),
            ) as service,
        ):
            for path in ("/endpoints/a/invocations", "/invocations"):
                assert said(await ask(service, b"1\n", path=path), b"Outcome") == "replaced"
            for path in ("/invocations/", "//invocations", "/%69nvocations", "/INVOCATIONS"):
                assert (await ask(service, b"1\n", path=path)).status == 400
            assert (await ask(service, b"1\n", path="/ping")).status == 200
            assert [one.target for one in upstream.requests] == [b"/invocations", b"/invocations", b"/ping"]

    run(scenario())


# -------------------------------------------------------------------- the policy, on the way back

ANSWERS = {
    Reason.UNDECODABLE: (infer([1.0]), ok(b"{bad", JSON)),
    Reason.UNALIGNED: (infer([1.0, 1.0]), ok(demand([1.0, 2.0, 3.0]), JSON)),
    Reason.OPAQUE: (infer([1.0]), b"HTTP/1.1 204 No Content\r\n\r\n"),
    Reason.STREAMED: (infer([1.0]), ok(b"data: a\n\n", b"Content-Type: text/event-stream")),
    Reason.OVERSIZE: (infer([1.0]), ok(demand([1.0] * 500), JSON)),
    Reason.FAULT: (infer([1.0]), ok(demand([5000.0]), JSON)),
}
"""What makes the response one that cannot be judged; for a fault, the row is to be held and cannot be."""


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("mode", ["open", "closed"])
def test_a_response_meets_the_policy_for_its_own_reason(reason: Reason, mode: str) -> None:
    other = "closed" if mode == "open" else "open"
    body, answer = ANSWERS[reason]

    async def scenario() -> None:
        async with (
            RecorderUpstream(answer) as upstream,
            serving(
                upstream.port,
                failure={"default": other, reason.value: mode},
                max_body=2_000,
                config=Config(max_open_holds=0),
            ) as service,
        ):
            response = await ask(service, body)
            assert reasons(service) == {reason.value: 1}
            assert len(upstream.requests) == 1
        assert said(response, b"Reason") == reason.value
        if mode == "closed":
            assert (response.status, said(response, b"Outcome")) == (503, None)
        elif reason is Reason.FAULT:
            assert (response.body, said(response, b"Outcome")) == (demand([7.0]), "replaced")
        else:
            assert answer.endswith(response.body)
            assert said(response, b"Outcome") == "unguarded"

    run(scenario())


@pytest.mark.parametrize("mode", ["open", "closed"])
def test_an_opaque_exchange_that_should_be_held_is_not_called_held_when_the_queue_is_full(mode: str) -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([5000.0]), JSON)) as upstream,
            serving(
                upstream.port,
                failure={"default": "open", "fault": mode},
                config=Config(max_open_holds=0),
            ) as service,
        ):
            response = await ask(service, SHARED)
            assert service.keeper.failed == 1
        assert said(response, b"Hold") is None
        if mode == "open":
            assert (response.body, said(response, b"Outcome")) == (demand([7.0]), "replaced")
        else:
            assert (response.status, said(response, b"Reason")) == (503, "fault")

    run(scenario())


# -------------------------------------------------------------------- gRPC


def test_a_model_server_that_ends_a_call_without_a_message_is_an_error_of_its_own() -> None:
    async def scenario() -> None:
        async with test_grpc.pair(answering()) as (_, service, channel):
            for body in (test_grpc.xs([1.0]), test_grpc.xs([1.0]) + number(1, 1)):
                reply = await call(channel, INFER, body)
                assert (reply.code, "without a message" in reply.details) == ("INTERNAL", True)
            assert service.grpc is not None
            assert service.grpc.faults == 0

    run(scenario())


STREAMS = 8
MESSAGES = 100
"""Of 1 MiB each, on each stream."""
LIMIT = 4
"""As many of them are more than all buffers of a stream hold."""


async def settled(count: list[int]) -> int:
    """Return what was counted once nothing is added any more."""
    seen = -1
    while seen != count[0]:
        seen = count[0]
        await asyncio.sleep(0.3)
    return seen


@pytest.mark.parametrize("method", [OTHER, STREAM_INFER])
def test_clients_that_stop_reading_stop_the_model_server_and_may_leave(method: str) -> None:
    sent, ended = [0], [0]

    async def flood(_requests: Any, context: Any) -> None:
        try:
            for _ in range(MESSAGES):
                await context.write(bytes(MIB))
                sent[0] += 1
        finally:
            ended[0] += 1

    async def scenario() -> None:
        # What the client's library takes in without being asked is none of guardproxy's.
        options = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with (
            grpc_upstream(flood) as upstream,
            test_grpc.serving(upstream.port) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.grpc.port}", options=options) as channel,  # type: ignore[union-attr]
        ):
            streams = [channel.unary_stream(method)(b"") for _ in range(STREAMS)]
            for stream in streams:
                await stream.read()
            assert await settled(sent) < STREAMS * LIMIT
            for stream in streams:
                stream.cancel()
            await until(lambda: ended[0] == STREAMS, "the model server's side ended")
            await until(
                lambda: test_grpc.metric(service, "grpc_passed_through", status="CANCELLED") == STREAMS,
                "the calls are counted",
            )
            assert service.grpc is not None
            assert service.grpc.faults == 0

    run(scenario())


def test_junk_on_the_port_of_grpc_ends_its_own_connection_only() -> None:
    async def scenario() -> None:
        async with test_grpc.pair(answering(test_grpc.demand([-1.0]))) as (_, service, channel):
            assert service.grpc is not None
            for junk in (
                b"GET / HTTP/1.1\r\n\r\n",
                b"\xff" * 4096,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 99,
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", service.grpc.port)
                writer.write(junk)
                await asyncio.wait_for(reader.read(), 20)
                writer.close()
            assert (await call(channel, INFER, test_grpc.xs([1.0]))).body == test_grpc.demand([5.0])
            assert service.grpc.faults == 0

    run(scenario())
