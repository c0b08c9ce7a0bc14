"""gRPC through guardproxy: real clients and servers of grpc.aio on both sides."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from aiohttp import ClientSession

from guardproxy.cli.serve import _announce
from guardproxy.config import parse_config
from guardproxy.errors import StoreError
from guardproxy.proxy.background import OFF_LOOP_BYTES
from guardproxy.proxy.grpc.plane import INFER, STREAM_INFER
from guardproxy.proxy.load import load
from guardproxy.service import Service, running
from guardproxy.stores import HoldFilter
from tests.harness.grpc_messages import T, infer_request, infer_response, number, sized
from tests.harness.grpc_upstream import GrpcUpstream, Reply, answering, ask, channel_to, grpc_upstream
from tests.harness.loop import PATIENCE_S, run, until
from tests.proxy.serving import RULES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

OTHER = "/some.pack.age.Service/Method"
MODEL_READY = "/inference.GRPCInferenceService/ModelReady"


@asynccontextmanager
async def serving(
    upstream_port: int, *, failure: str = "open", rules: str = RULES, path: str = "/v2/models/demand/infer", more: str = "",
    grpc_more: str = "", listen: str = "127.0.0.1:0",
    root: str = "",
) -> AsyncIterator[Service]:  # fmt: skip
    """Run guardproxy in front of a gRPC upstream."""
    with TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "rules").mkdir()
        (base / "rules" / "a.guard.yaml").write_text(rules)
        text = (
            "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0, auth: none}\nstore: sqlite:///holds.db\n"
            "drain: 1s\nupstream: http://127.0.0.1:9\nrules: rules/\n"
            f"grpc: {{listen: '{listen}', upstream: '127.0.0.1:{upstream_port}'{grpc_more}}}\n"
            f"routes: [{{path: '{path}', model: demand, key: [store], on_failure: {failure}{more}}}]\n{root}"
        )
        config, problems = parse_config(text, "guardproxy.yaml", base, {})
        assert not problems, problems
        loaded = load(config)
        assert not loaded.errors, loaded.errors
        async with running(config, loaded, None) as service:
            yield service


@asynccontextmanager
async def pair(handler: Any, **options: Any) -> AsyncIterator[tuple[GrpcUpstream, Service, Any]]:
    """Run an upstream, guardproxy before it, and a client's channel."""
    async with grpc_upstream(handler) as upstream, serving(upstream.port, **options) as service:
        assert service.grpc is not None
        async with channel_to(service.grpc.port) as channel:
            yield upstream, service, channel


def xs(values: Sequence[float], *, store: str = "s1", **style: Any) -> bytes:
    rows = len(values)
    return infer_request(T("x", "FP64", [rows], values), T("store", "BYTES", [rows], [store] * rows), **style)


def demand(values: Sequence[float], **style: Any) -> bytes:
    return infer_response(T("demand", "FP64", [len(values)], values), **style)


def metric(service: Service, name: str, **labels: str) -> float:
    assert service.grpc is not None
    for family in service.grpc.metrics():
        for sample in family.samples:
            if sample.name == f"guardproxy_{name}_total" and labels.items() <= sample.labels.items():
                return float(sample.value)
    return 0.0


def reasons(service: Service) -> dict[str, float]:
    """Return the exchanges that were not judged, by reason."""
    journal = service.plane.journals["demand"]
    journal.flush()
    return {str(reason): count for reason, count in journal.windows.totals().reasons.items() if count}


STYLES = pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])

# -------------------------------------------------------------------- everything that is not guarded


def test_an_unknown_method_passes_with_its_metadata_both_ways() -> None:
    async def scenario() -> None:
        handler = answering(
            b"reply\x00\xff",
            initial=(("x-init", "1"), ("x-init", "2"), ("x-bytes-bin", b"\x00\xff")),
            trailing=(("x-trail", "z"), ("guardproxy-outcome", "allowed")),
        )
        async with pair(handler) as (upstream, service, channel):
            metadata = (
                ("k", "v"),
                ("k", "w"),
                ("b-bin", b"\x01\x80"),
                ("grpc-x", "1"),
                ("guardproxy-decision", "me"),
            )
            reply = await ask(channel, OTHER, b"\xffany bytes", metadata=metadata, timeout=30)
            assert (reply.code, reply.body) == ("OK", b"reply\x00\xff")
            assert reply.initial == {"x-init": ["1", "2"], "x-bytes-bin": [b"\x00\xff"]}
            assert reply.trailing == {"x-trail": ["z"]}
            (call,) = upstream.calls
            assert (call.method, upstream.messages) == (OTHER, [b"\xffany bytes"])
            call.metadata.pop("user-agent")
            assert call.metadata == {"k": ["v", "w"], "b-bin": [b"\x01\x80"], "grpc-x": ["1"]}
            assert call.remaining is not None
            # gRPC rounds a time limit up when it writes it.
            assert 0 < call.remaining <= 31
            assert metric(service, "grpc_calls", kind="passed") == 1
            assert metric(service, "grpc_passed_through", status="OK") == 1

    run(scenario())


def test_a_call_without_a_time_limit_stays_without_one() -> None:
    async def scenario() -> None:
        async with pair(answering(b"")) as (upstream, _, channel):
            assert (await ask(channel, MODEL_READY, b"")).body == b""
            assert upstream.calls[0].remaining is None

    run(scenario())


def test_streams_flow_both_ways_message_by_message() -> None:
    async def echo(requests: Any, context: Any) -> None:
        async for message in requests:
            await context.write(b"<" + message + b">")
        context.set_trailing_metadata((("count", "3"),))

    async def scenario() -> None:
        async with pair(echo) as (_, _, channel):
            call = channel.stream_stream(OTHER)()
            for message in (b"a", b"", b"c" * 100_000):
                await call.write(message)
                # The answer to each message is there before the next is written.
                assert await call.read() == b"<" + message + b">"
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert tuple(await call.trailing_metadata()) == (("count", "3"),)

    run(scenario())


def test_a_server_may_end_a_stream_before_its_client_does() -> None:
    async def one(requests: Any, context: Any) -> None:
        await context.write(await anext(requests))

    async def scenario() -> None:
        async with pair(one) as (_, service, channel):
            call = channel.stream_stream(OTHER)()
            await call.write(b"a")
            assert await call.read() == b"a"
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK
            assert service.grpc is not None
            assert service.grpc.faults == 0

    run(scenario())


@pytest.mark.parametrize("method", [OTHER, INFER, STREAM_INFER])
def test_an_error_passes_with_its_details_and_all_its_metadata(method: str) -> None:
    async def failing(_requests: Any, context: Any) -> None:
        await context.send_initial_metadata((("i", "1"),))
        await context.abort(
            grpc.StatusCode.NOT_FOUND,
            "no é such\nmodel",
            (("t", "9"), ("grpc-status-details-bin", b"\x08\x05")),
        )

    async def scenario() -> None:
        async with pair(failing) as (_, service, channel):
            body = infer_request(T("x", "FP64", [1], [1.0]), model="another")
            reply = await ask(channel, method, body)
            assert reply == Reply(
                "NOT_FOUND",
                "no é such\nmodel",
                None,
                {"i": ["1"]},
                {"t": ["9"], "grpc-status-details-bin": [b"\x08\x05"]},
            )
            assert metric(service, "grpc_passed_through", status="NOT_FOUND") == 1

    run(scenario())


def test_the_models_own_error_on_a_guarded_route_passes_without_an_outcome() -> None:
    async def failing(_requests: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", (("t", "9"),))

    async def scenario() -> None:
        async with pair(failing) as (_, service, channel):
            reply = await ask(channel, INFER, xs([1.0]))
            assert (reply.code, reply.details, reply.trailing) == ("RESOURCE_EXHAUSTED", "busy", {"t": ["9"]})
            assert set(reply.initial) == {"guardproxy-decision", "guardproxy-ruleset"}
            assert service.plane.routes[0].upstream_errors == 1
            assert reasons(service) == {}

    run(scenario())


def test_a_client_that_cancels_cancels_the_upstreams_side() -> None:
    async def endless(requests: Any, context: Any) -> None:
        await context.write(b"first")
        async for _ in requests:
            pass
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with pair(endless) as (upstream, service, channel):
            stream = channel.stream_stream(OTHER)()
            await stream.write(b"a")
            assert await stream.read() == b"first"
            stream.cancel()
            await until(lambda: upstream.cancelled == 1, "the stream ended upstream")
            for wanted, body in (
                (2, xs([1.0])),
                (3, infer_request(T("x", "FP64", [1], [1.0]), model="another")),
            ):
                call = channel.unary_unary(INFER)(body)
                await until(lambda wanted=wanted: len(upstream.calls) == wanted, "the call arrived")
                call.cancel()
                await until(lambda wanted=wanted: upstream.cancelled == wanted, "the call ended upstream")
            assert service.grpc is not None
            assert service.grpc.faults == 0

    run(scenario())


def test_a_deadline_ends_the_call_on_both_sides() -> None:
    async def endless(_requests: Any, _context: Any) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with pair(endless) as (upstream, _, channel):
            for method, body in ((OTHER, b""), (INFER, xs([1.0]))):
                assert (await ask(channel, method, body, timeout=0.2)).code == "DEADLINE_EXCEEDED"
            await until(lambda: upstream.cancelled == 2, "the upstream's calls ended")

    run(scenario())


def test_a_guarded_call_takes_no_longer_than_its_routes_timeout() -> None:
    async def endless(_requests: Any, _context: Any) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with pair(endless, more=", timeout: 100ms") as (_, _, channel):
            reply = await ask(channel, INFER, xs([1.0]))
            assert (reply.code, reply.details) == (
                "DEADLINE_EXCEEDED",
                "the model server did not answer in time",
            )

    run(scenario())


@pytest.mark.parametrize("method", [OTHER, INFER])
def test_an_upstream_that_dies_in_the_middle_of_a_call_is_unavailable(method: str) -> None:
    async def endless(_requests: Any, _context: Any) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with pair(endless) as (upstream, service, channel):
            asked = asyncio.create_task(ask(channel, method, xs([1.0])))
            await until(lambda: upstream.calls, "the call arrived")
            await upstream.server.stop(None)
            assert (await asked).code in {"UNAVAILABLE", "CANCELLED", "UNKNOWN"}
            # And while there is none at all.
            assert (await ask(channel, method, xs([1.0]))).code == "UNAVAILABLE"
            assert service.grpc is not None
            assert service.grpc.faults == 0

    run(scenario())


def test_a_model_server_that_is_back_is_found_again() -> None:
    async def scenario() -> None:
        async with pair(answering(b"one")) as (upstream, _, channel):
            assert (await ask(channel, OTHER, b"")).body == b"one"
            await upstream.server.stop(None)
            assert (await ask(channel, OTHER, b"")).code == "UNAVAILABLE"
            async with grpc_upstream(answering(b"two"), port=upstream.port):
                async with asyncio.timeout(PATIENCE_S):
                    # Nobody tells when gRPC tries again.
                    while (reply := await ask(channel, OTHER, b"")).code == "UNAVAILABLE":  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                assert reply.body == b"two"

    run(scenario())


def test_a_big_message_passes_and_one_beyond_all_limits_is_refused_by_grpc() -> None:
    big = bytes(range(256)) * (6 * 4096)

    async def scenario() -> None:
        async with pair(answering(big), grpc_more=", max_message: 8MiB", more=", max_body: 1MiB") as (
            upstream,
            _,
            channel,
        ):
            reply = await ask(channel, OTHER, big)
            assert reply.body == big
            assert upstream.messages == [big]
            reply = await ask(channel, OTHER, big + big)
            assert reply.code == "RESOURCE_EXHAUSTED"

    run(scenario())


def test_compressed_messages_are_taken_and_read() -> None:
    async def scenario() -> None:
        async with pair(answering(demand([-1.0] * 4000))) as (upstream, _, channel):
            body = xs([1.0] * 4000)
            for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
                reply = await ask(channel, INFER, body, compression=compression)
                assert reply.body == demand([5.0] * 4000)
            assert upstream.messages == [body, body]

    run(scenario())


# -------------------------------------------------------------------- ModelInfer


@STYLES
def test_a_clean_exchange_passes_byte_for_byte_with_the_decision_in_its_metadata(typed: bool) -> None:
    async def scenario() -> None:
        answer = demand([30.0], typed=typed, tail=number(99, 1))
        handler = answering(
            answer,
            initial=(("i", "1"), ("guardproxy-outcome", "held")),
            trailing=(("t", "9"), ("guardproxy-hold", "x")),
        )
        async with pair(handler) as (upstream, service, channel):
            body = xs([3.0], typed=typed, tail=number(88, 2))
            reply = await ask(channel, INFER, body, metadata=(("k", "v"), ("guardproxy-outcome", "allowed")))
            assert upstream.messages == [body]
            assert upstream.calls[0].metadata["k"] == ["v"]
            assert "guardproxy-outcome" not in upstream.calls[0].metadata
            assert reply.body == answer
            assert (reply.initial["i"], reply.trailing) == (["1"], {"t": ["9"]})
            assert (reply.said("outcome"), reply.said("rows"), reply.said("reason")) == (
                "allowed",
                "allowed=1",
                None,
            )
            assert (reply.said("decision") or "").startswith("dec_")
            assert reply.said("ruleset") == service.plane.routes[0].guard.ruleset.fingerprint
            assert str(reply.initial["server-timing"][0]).startswith("guard;dur=")
            found = service.plane.journals["demand"].find(reply.said("decision") or "")
            assert found is not None
            assert (found["outcome"], found["status"]) == ("allowed", 200)
            assert found["rows"][0]["features"] == {"x": 3.0, "store": "s1"}
            assert metric(service, "grpc_calls", kind="guarded") == 1

    run(scenario())


@STYLES
def test_in_a_batch_only_the_bad_rows_change(typed: bool) -> None:
    values = [float(i % 900) + 0.25 for i in range(1000)]
    values[17], values[500], values[999] = -1.0, -2.5, 5000.0
    wanted = list(values)
    wanted[17], wanted[500], wanted[999] = 5.0, 5.0, 7.0

    async def scenario() -> None:
        async with pair(answering(demand(values, typed=typed))) as (_, service, channel):
            reply = await ask(channel, INFER, xs([1.0] * 1000, typed=typed))
            assert reply.body == demand(wanted, typed=typed)
            assert reply.said("rows") == "allowed=997, replaced=2, held=1"
            assert (reply.said("outcome"), reply.said("held-rows")) == ("held", "999")
            (hold,) = (await service.store.list(HoldFilter())).holds
            assert reply.said("hold") == hold.id
            assert hold.original == {"demand": 5000.0}

    run(scenario())


def test_large_messages_are_judged_in_a_thread_with_the_same_result() -> None:
    rows = OFF_LOOP_BYTES // 8

    async def scenario() -> None:
        async with pair(answering(demand([-1.0] + [1.0] * (rows - 1), typed=False))) as (_, _, channel):
            reply = await ask(channel, INFER, xs([1.0] * rows, typed=False))
            assert reply.body == demand([5.0] + [1.0] * (rows - 1), typed=False)
            assert reply.said("outcome") == "replaced"

    run(scenario())


def test_the_last_good_answer_of_an_entity_takes_the_place_of_a_bad_one() -> None:
    async def scenario() -> None:
        async with pair(answering(demand([42.0]))) as (upstream, _, channel):
            await ask(channel, INFER, xs([1.0], store="s7"))
            upstream.handler = answering(demand([-1.0]))
            assert (await ask(channel, INFER, xs([1.0], store="s7"))).body == demand([42.0])
            assert (await ask(channel, INFER, xs([1.0], store="s8"))).body == demand([5.0])

    run(scenario())


def test_a_rejected_request_is_an_invalid_argument_with_our_sentence_and_never_reaches_the_model() -> None:
    async def scenario() -> None:
        async with pair(answering(demand([1.0]))) as (upstream, service, channel):
            reply = await ask(channel, INFER, xs([5000.0]))
            assert (reply.code, reply.details) == ("INVALID_ARGUMENT", "row 0: x is 5000")
            assert reply.said("outcome") == "rejected"
            assert reply.initial["guardproxy-outcome"] == ["rejected"]
            assert upstream.calls == []
            found = service.plane.journals["demand"].find(reply.said("decision") or "")
            assert found is not None
            assert found["outcome"] == "rejected"

    run(scenario())


def test_the_sentences_of_many_rejected_rows_are_cut_where_clients_would_refuse_them() -> None:
    rules = RULES.replace(
        '"x is {features.x:.0f}"', '"' + "zu groß für dieses Lager, " * 7 + '{features.x:.0f}"'
    )

    async def scenario() -> None:
        async with pair(answering(demand([1.0])), rules=rules) as (_, _, channel):
            reply = await ask(channel, INFER, xs([5000.0 + i for i in range(300)]))
            assert reply.code == "INVALID_ARGUMENT"
            assert reply.details.startswith("row 0: zu groß")
            assert 900 < len(reply.details.encode()) <= 1000

    run(scenario())


def test_a_withheld_answer_is_unavailable_and_its_hold_is_stored() -> None:
    async def scenario() -> None:
        async with pair(answering(demand([777.0]))) as (_, service, channel):
            reply = await ask(channel, INFER, xs([1.0]))
            assert (reply.code, reply.details) == ("UNAVAILABLE", "row 0 is held for review")
            assert reply.trailing["retry-after"] == ["30"]
            (hold,) = (await service.store.list(HoldFilter())).holds
            assert (reply.said("hold"), reply.said("outcome")) == (hold.id, "held")

    run(scenario())


@pytest.mark.parametrize("failure", ["open", "closed"])
def test_what_cannot_be_stored_is_not_called_held(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with pair(answering(demand([5000.0])), failure=failure) as (_, service, channel):

            async def full(_holds: object) -> None:
                raise StoreError("the disk is full")

            monkeypatch.setattr(service.store, "add", full)
            reply = await ask(channel, INFER, xs([1.0]))
            if failure == "open":
                assert reply.body == demand([7.0])
                assert (reply.said("outcome"), reply.said("reason"), reply.said("hold")) == (
                    "replaced",
                    "fault",
                    None,
                )
            else:
                assert (reply.code, reply.details) == ("UNAVAILABLE", "the hold could not be stored")
                assert reply.said("reason") == "fault"

    run(scenario())


def test_a_hold_is_stored_and_counted_though_its_client_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with pair(answering(demand([5000.0]))) as (_, service, channel):
            began, go = asyncio.Event(), asyncio.Event()
            add = service.store.add

            async def slow(holds: Any) -> None:
                began.set()
                await go.wait()
                await add(holds)

            monkeypatch.setattr(service.store, "add", slow)
            call = channel.unary_unary(INFER)(xs([1.0]))
            await began.wait()
            call.cancel()
            go.set()
            journal = service.plane.journals["demand"]
            await until(
                lambda: journal.flush() or journal.windows.totals().exchanges, "the exchange was counted"
            )
            assert len((await service.store.list(HoldFilter())).holds) == 1

    run(scenario())


UNREADABLE = infer_request(T("x", "FP64", [2], [1.0]))
SHARED = infer_request(
    T("x", "FP64", [1], [], sized(4, sized(1, "shared_memory_region") + sized(2, sized(3, "r0")))),
    typed=False,
)
CASES = [
    (UNREADABLE, demand([1.0]), "undecodable"),
    (SHARED, demand([1.0]), "opaque"),
    (xs([1.0]), infer_response(T("demand", "FP64", [2], [1.0])), "undecodable"),
    (xs([1.0, 2.0]), demand([1.0, 2.0, 3.0]), "unaligned"),
    (xs([1.0]), sized(1, "demand" * 400_000), "oversize"),
    (xs([1.0] * 200_000), demand([1.0]), "oversize"),
]


@pytest.mark.parametrize("failure", ["open", "closed"])
@pytest.mark.parametrize(
    ("body", "answer", "reason"),
    CASES,
    ids=["undecodable", "opaque", "bad-answer", "unaligned", "big-answer", "big-request"],
)
def test_what_cannot_be_judged_passes_unguarded_or_is_refused(
    body: bytes, answer: bytes, reason: str, failure: str
) -> None:
    async def scenario() -> None:
        async with pair(answering(answer), failure=failure, more=", max_body: 1MiB") as (
            upstream,
            service,
            channel,
        ):
            reply = await ask(channel, INFER, body)
            if failure == "open":
                assert upstream.messages == [body]
                assert (reply.body, reply.said("outcome"), reply.said("reason")) == (
                    answer,
                    "unguarded",
                    reason,
                )
            else:
                too_large = reason == "oversize" and len(body) > 2**20
                assert reply.code == ("RESOURCE_EXHAUSTED" if too_large else "UNAVAILABLE")
                assert "cannot be checked" in reply.details or "larger than" in reply.details
                assert (reply.said("outcome"), reply.said("reason")) == (None, reason)
                assert reply.trailing["retry-after"] == ["5"]
            assert reasons(service) == {reason: 1}

    run(scenario())


def test_the_answer_to_an_opaque_request_is_judged_all_the_same() -> None:
    async def scenario() -> None:
        async with pair(answering(demand([-1.0, 3.0]))) as (_, _, channel):
            reply = await ask(channel, INFER, SHARED)
            assert reply.body == demand([5.0, 3.0])
            assert (reply.said("reason"), reply.said("rows")) == ("opaque", "replaced=1, unguarded=1")

    run(scenario())


@pytest.mark.parametrize("failure", ["open", "closed"])
def test_a_fault_of_the_guard_meets_the_routes_policy(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with pair(answering(demand([1.0])), failure=failure) as (_, service, channel):

            def broken(*_args: object, **_options: object) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr("guardproxy.proxy.screening.screen_request", broken)
            reply = await ask(channel, INFER, xs([1.0]))
            if failure == "open":
                assert (reply.body, reply.said("outcome"), reply.said("reason")) == (
                    demand([1.0]),
                    "unguarded",
                    "fault",
                )
            else:
                assert (reply.code, reply.said("reason")) == ("UNAVAILABLE", "fault")
            assert reasons(service) == {"fault": 1}

    run(scenario())


def test_a_message_of_which_the_model_cannot_be_told_is_refused_where_a_route_is_closed() -> None:
    twice = sized(1, "another") + xs([1.0])

    async def scenario() -> None:
        async with pair(answering(demand([1.0])), failure="closed") as (upstream, service, channel):
            reply = await ask(channel, INFER, twice)
            assert (reply.code, upstream.calls) == ("INVALID_ARGUMENT", [])
            assert "cannot be read" in reply.details
            assert metric(service, "grpc_calls", kind="refused") == 1
        async with pair(answering(demand([1.0]))) as (upstream, _, channel):
            assert (await ask(channel, INFER, twice)).body == demand([1.0])
            assert upstream.messages == [twice]

    run(scenario())


@pytest.mark.parametrize(
    ("path", "model", "version", "guarded"),
    [
        ("/v2/models/demand/infer", "demand", "", True),
        ("/v2/models/demand/infer", "demand", "3", False),
        ("/v2/models/demand/infer", "Demand", "", False),
        ("/v2/models/demand/infer", "x/../demand", "", False),
        ("/v2/models/demand/versions/3/infer", "demand", "3", True),
        ("/v2/models/demand/versions/3/infer", "demand", "", False),
        ("/v2/models/{name}/infer", "a b/c", "", True),
        ("/v2/models/{name}/versions/{version}/infer", "demand", "9", True),
        ("/v2/models/*", "demand", "9", True),
        ("/v2/models/a%20b/infer", "a b", "", True),
    ],
)
def test_a_call_is_guarded_by_the_route_of_the_same_http_request(
    path: str, model: str, version: str, guarded: bool
) -> None:
    async def scenario() -> None:
        async with pair(answering(demand([-1.0])), path=path, more=", protocol: open-inference") as (
            _,
            service,
            channel,
        ):
            reply = await ask(channel, INFER, xs([1.0], model=model, version=version))
            assert reply.body == demand([5.0 if guarded else -1.0])
            assert metric(service, "grpc_calls", kind="guarded" if guarded else "passed") == 1

    run(scenario())


def test_only_routes_of_the_open_inference_protocol_guard_grpc() -> None:
    async def scenario() -> None:
        async with pair(answering(demand([-1.0])), more=", protocol: kserve-v1") as (_, _, channel):
            assert (await ask(channel, INFER, xs([1.0]))).body == demand([-1.0])

    run(scenario())


def test_rules_see_the_version_that_was_asked_for() -> None:
    rules = (
        "guardproxy: 1\nmodel: demand\nrules:\n  - id: old\n    forbid: 'request.model_version == \"3\"'\n    action: reject\n"
        "    message: version 3 is retired\n"
    )

    async def scenario() -> None:
        path = "/v2/models/demand/versions/{version}/infer"
        async with pair(answering(demand([1.0])), rules=rules, path=path) as (_, _, channel):
            assert (await ask(channel, INFER, xs([1.0], version="4"))).code == "OK"
            assert (await ask(channel, INFER, xs([1.0], version="3"))).code == "INVALID_ARGUMENT"

    run(scenario())


def test_a_retry_with_the_same_idempotency_key_meets_the_same_canaries() -> None:
    rules = (
        "guardproxy: 1\nmodel: demand\nrules:\n  - id: canary\n    range: {field: output.demand, min: 0}\n    mode: canary 50%\n"
        "    action: fallback\n    fallback: {value: 5}\n"
    )

    async def scenario() -> None:
        async with pair(answering(demand([-1.0])), rules=rules) as (_, _, channel):
            seen = set()
            for key in range(40):
                metadata = (("idempotency-key", f"key-{key}"),)
                first = await ask(channel, INFER, xs([1.0]), metadata=metadata)
                again = await ask(channel, INFER, xs([2.0]), metadata=metadata)
                assert first.body == again.body
                seen.add(first.body)
            assert seen == {demand([-1.0]), demand([5.0])}

    run(scenario())


# -------------------------------------------------------------------- streams of inferences


async def _stream(requests: Any, context: Any) -> None:
    async for _ in requests:
        await context.write(demand([-1.0]))


@pytest.mark.parametrize("failure", ["open", "{default: closed, streamed: open}"])
def test_a_stream_of_inferences_passes_unguarded_and_says_so(failure: str) -> None:
    async def scenario() -> None:
        async with pair(_stream, failure=failure) as (upstream, service, channel):
            call = channel.stream_stream(STREAM_INFER)()
            for _ in range(2):
                await call.write(xs([1.0]))
                assert await call.read() == demand([-1.0])
            await call.write(infer_request(T("x", "FP64", [1], [1.0]), model="another"))
            await call.read()
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            initial = dict(await call.initial_metadata())
            assert (initial["guardproxy-outcome"], initial["guardproxy-reason"]) == ("unguarded", "streamed")
            assert len(upstream.messages) == 3
            assert reasons(service) == {"streamed": 2}
            assert metric(service, "grpc_calls", kind="streamed") == 1

    run(scenario())


def test_a_closed_route_takes_no_stream_of_inferences() -> None:
    async def scenario() -> None:
        async with pair(_stream, failure="closed") as (upstream, service, channel):
            other = infer_request(T("x", "FP64", [1], [1.0]), model="another")
            call = channel.stream_stream(STREAM_INFER)()
            await call.write(other)
            assert await call.read() == demand([-1.0])
            await call.write(xs([1.0]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "ModelInfer" in (caught.value.details() or "")
            assert dict(caught.value.trailing_metadata())["guardproxy-reason"] == "streamed"
            assert upstream.messages == [other]
            assert reasons(service) == {"streamed": 1}

    run(scenario())


# -------------------------------------------------------------------- the listener


def test_calls_in_flight_end_when_guardproxy_stops() -> None:
    async def scenario() -> None:
        go, arrived = asyncio.Event(), asyncio.Event()

        async def slow(requests: Any, context: Any) -> None:
            async for _ in requests:
                arrived.set()
            await go.wait()
            await context.write(demand([-1.0]))

        async with pair(slow) as (_, service, channel):
            asked = asyncio.create_task(ask(channel, INFER, xs([1.0])))
            await arrived.wait()
            assert service.grpc is not None
            stopping = asyncio.create_task(service.grpc.stop(20.0))
            go.set()
            assert (await asked).body == demand([5.0])
            await stopping

    run(scenario())


def test_two_processes_do_not_share_a_port() -> None:
    async def scenario() -> None:
        async with pair(answering(b"")) as (upstream, service, _):
            assert service.grpc is not None
            listen = f"127.0.0.1:{service.grpc.port}"
            with pytest.raises(BaseExceptionGroup) as caught:
                async with serving(upstream.port, listen=listen):
                    pass
            assert caught.value.subgroup(lambda error: isinstance(error, OSError) and listen in str(error))

    run(scenario())


def test_more_calls_at_once_than_max_connections_are_refused() -> None:
    async def scenario() -> None:
        go = asyncio.Event()

        async def slow(_requests: Any, context: Any) -> None:
            await go.wait()
            await context.write(b"done")

        async with pair(slow, root="max_connections: 1\n") as (upstream, _, channel):
            first = asyncio.create_task(ask(channel, OTHER, b""))
            await until(lambda: upstream.calls, "the call arrived")
            assert (await ask(channel, OTHER, b"")).code == "RESOURCE_EXHAUSTED"
            go.set()
            assert (await first).body == b"done"

    run(scenario())


def test_the_scrape_has_the_calls() -> None:
    async def scenario() -> None:
        async with pair(answering(demand([1.0]))) as (_, service, channel):
            await ask(channel, INFER, xs([1.0]))
            await ask(channel, OTHER, b"")
            async with (
                ClientSession() as client,
                client.get(f"http://127.0.0.1:{service.admin_port}/metrics") as got,
            ):
                text = await got.text()
        assert 'guardproxy_grpc_calls_total{kind="guarded"} 1.0' in text
        assert 'guardproxy_grpc_calls_total{kind="passed"} 1.0' in text
        assert 'guardproxy_rows_total{model="demand",outcome="allowed"} 1.0' in text

    run(scenario())


def test_the_overview_says_what_is_guarded_and_what_became_of_the_calls() -> None:
    async def scenario() -> None:
        async with pair(answering(demand([1.0])), failure="{default: open, opaque: closed}") as (
            upstream,
            service,
            channel,
        ):
            assert service.grpc is not None
            await ask(channel, INFER, xs([1.0]))
            async with (
                ClientSession() as client,
                client.get(f"http://127.0.0.1:{service.admin_port}/v1/routes") as got,
            ):
                said = await got.json()
            assert said["grpc"] == {
                "listen": f"127.0.0.1:{service.grpc.port}", "upstream": f"127.0.0.1:{upstream.port}",
                "routes": ["/v2/models/demand/infer"], "calls": {"guarded": 1}, "faults": 0,
            }  # fmt: skip
            assert said["unguarded"] == {}
            (route,) = said["routes"]
            assert (route["protocol"], route["on_failure"], route["buffer"]) == (
                "open-inference", "open, opaque closed", False,
            )  # fmt: skip

    run(scenario())


def test_the_start_says_whether_any_route_guards_the_calls(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(more: str) -> str:
        async with pair(answering(demand([1.0])), more=more) as (_, service, _channel):
            _announce(service)
        return capsys.readouterr().err

    assert "guards gRPC calls on 127.0.0.1:0" in asyncio.run(scenario(""))
    said = asyncio.run(scenario(", protocol: kserve-v1"))
    assert "guards gRPC" not in said
    assert "no open-inference route guards them" in said


def problems_of(grpc_section: str) -> list[tuple[str, str]]:
    text = f"upstream: http://127.0.0.1:9\ngrpc: {grpc_section}\n"
    _, problems = parse_config(text, "guardproxy.yaml", Path(), {})
    return [(problem.message, problem.help) for problem in problems]


def test_the_configuration_needs_both_addresses() -> None:
    assert problems_of("{listen: 127.0.0.1:1, upstream: 127.0.0.1:2}") == []
    for section, lacking in (("{listen: 127.0.0.1:1}", "upstream"), ("{upstream: 127.0.0.1:2}", "listen")):
        ((message, _),) = problems_of(section)
        assert message == f"grpc needs the key '{lacking}'"
    for upstream in ("http://127.0.0.1:2", "127.0.0.1", "127.0.0.1:0"):
        assert "HOST:PORT" in problems_of(f"{{listen: 127.0.0.1:1, upstream: '{upstream}'}}")[0][0]


def test_without_the_library_the_configuration_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardproxy.config.find_spec", lambda _name: None)
    ((message, help_),) = problems_of("{listen: 127.0.0.1:1, upstream: 127.0.0.1:2}")
    assert "not installed" in message
    assert help_ == 'pip install "guardproxy[grpc]"'


def test_it_works_on_asyncios_own_loop_too() -> None:
    async def scenario() -> None:
        async with pair(answering(demand([-1.0]))) as (_, _, channel):
            assert (await ask(channel, INFER, xs([1.0]))).body == demand([5.0])

    run(scenario(), uvloop=False)


def test_metadata_say_when_a_call_happened_and_stay_here() -> None:
    async def scenario() -> None:
        more = "statistics: {time: header}\n"
        async with pair(answering(demand([30.0])), root=more) as (upstream, service, channel):
            when = ("guardproxy-event-time", "2024-10-04T03:00:30Z")
            await channel.unary_unary(INFER)(xs([1.0]), metadata=(when, ("x-other", "kept")))
            names = set(upstream.calls[0].metadata)
            assert "x-other" in names
            assert when[0] not in names
            journal = service.plane.routes[0].journal
            journal.flush()
            assert service.built.statistics.models["demand"].latest == 1_728_010_830.0

    run(scenario())
