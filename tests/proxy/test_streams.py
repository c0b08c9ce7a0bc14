"""Responses that come event by event: passed at once and said to be unguarded, or read whole and judged."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from guardproxy.stores import HoldFilter
from tests.harness.client import RawClient, Response
from tests.harness.loop import run
from tests.harness.upstream import Answer, Recorded, RecorderUpstream, ok
from tests.proxy.serving import ask, demand, infer, port_of, reasons, request, said, serving

CHAT = "/v1/chat/completions"
ASKED = json.dumps(
    {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
).encode()
EVENTS = b"text/event-stream; charset=utf-8"
RULES = """\
guardproxy: 1
model: demand
owner: ops
rules:
  - id: no-prices
    text: {field: output.content, must_not_contain: [price]}
    action: fallback
    fallback: [{value: {content: "I cannot say."}}]
  - id: no-secrets
    text: {field: output.content, must_not_contain: [secret]}
    action: hold
    hold: {meanwhile: withhold, on_expiry: reject, sla: 1h}
  - id: no-abuse
    text: {field: output.content, must_not_contain: [idiot]}
    action: reject
    message: not in this tone
  - id: known-model
    require: features.model == "m"
    action: reject
"""


def deltas(*words: str) -> list[bytes]:
    """Return a chat's stream as servers write it, an event per word."""
    said = [
        {"delta": {"role": "assistant", "content": ""}},
        *({"delta": {"content": word}} for word in words),
    ]
    said.append({"delta": {}, "finish_reason": "stop"})
    events = [{"id": "c1", "choices": [{"index": 0, **one}]} for one in said]
    return [b"data: %b\n\n" % json.dumps(event).encode() for event in events] + [b"data: [DONE]\n\n"]


def chunked(pieces: Sequence[bytes], content_type: bytes = EVENTS, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % content_type
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def stepwise(pieces: Sequence[bytes], go: asyncio.Event, content_type: bytes = EVENTS) -> Answer:
    """Send the first piece, and the others once somebody has said so."""

    async def answer(_request: Recorded, writer: asyncio.StreamWriter) -> None:
        whole = chunked(pieces[:1], content_type, b"")
        writer.write(whole)
        await writer.drain()
        await go.wait()
        writer.write(chunked(pieces[1:], content_type).partition(b"\r\n\r\n")[2])

    return answer


async def chat(service: object, body: bytes = ASKED) -> Response:
    return await ask(service, body, path=CHAT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content_type",
    [EVENTS, b"TEXT/Event-Stream", b"application/x-ndjson", b"application/vnd.amazon.eventstream", b"multipart/x-mixed-replace; boundary=a"],
)  # fmt: skip
def test_a_stream_passes_piece_by_piece_and_says_that_it_is_unguarded(content_type: bytes) -> None:
    async def scenario() -> None:
        go = asyncio.Event()
        pieces = [b"data: one\n\n", b"data: two\n\n"]
        async with (
            RecorderUpstream(stepwise(pieces, go, content_type)) as upstream,
            serving(upstream.port) as service,
        ):
            client = await RawClient.connect(port_of(service))
            await client.send(request(infer([1.0])))
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b"Guardproxy-Outcome: unguarded\r\nGuardproxy-Reason: streamed" in head
            # The first event is here although the second has not been sent.
            assert (
                await client.reader.readexactly(len(b"b\r\ndata: one\n\n\r\n")) == b"b\r\ndata: one\n\n\r\n"
            )
            go.set()
            assert await client.reader.readuntil(b"0\r\n\r\n") == b"b\r\ndata: two\n\n\r\n0\r\n\r\n"
            assert reasons(service) == {"streamed": 1}
            await client.close()

    run(scenario())


def test_other_bodies_in_chunks_are_documents_and_are_judged() -> None:
    async def scenario() -> None:
        answer = demand([-1.0])
        async with (
            RecorderUpstream(chunked([answer[:9], answer[9:]], b"application/json")) as upstream,
            serving(upstream.port) as service,
        ):
            response = await ask(service, infer([1.0]))
        assert response.body == demand([5.0])
        assert said(response, b"Outcome") == "replaced"

    run(scenario())


def test_json_lines_of_a_told_length_are_a_document() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(b"-1.5\n3.0\n", b"Content-Type: application/x-ndjson")) as upstream,
            serving(
                upstream.port, path="/invocations", protocol="sagemaker", features=("x",), outputs=("demand",)
            ) as service,
        ):
            response = await ask(service, b'{"instances": [[1], [2]]}', path="/invocations")
        assert response.body == b"5.0\n3.0\n"
        assert said(response, b"Rows") == "allowed=1, replaced=1"

    run(scenario())


def test_the_request_of_a_streamed_exchange_is_judged_all_the_same() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(chunked(deltas("hi"))) as upstream,
            serving(upstream.port, rules=RULES, path=CHAT, protocol="openai", key=()) as service,
        ):
            response = await chat(service, ASKED.replace(b'"m"', b'"other"'))
            assert upstream.requests == []
        assert response.status == 422
        assert "error" in json.loads(response.body)

    run(scenario())


def test_a_route_may_refuse_streams_and_let_all_else_pass() -> None:
    async def scenario() -> None:
        policy = {"default": "open", "streamed": "closed"}
        async with (
            RecorderUpstream(chunked(deltas("hi"))) as upstream,
            serving(upstream.port, failure=policy) as service,
        ):
            refused = await ask(service, infer([1.0]))
            passed = await ask(service, b"{bad")
            assert reasons(service) == {"streamed": 1, "undecodable": 1}
        assert (refused.status, said(refused, b"Reason"), said(refused, b"Outcome")) == (
            503,
            "streamed",
            None,
        )
        assert (passed.status, said(passed, b"Reason")) == (200, "undecodable")

    run(scenario())


def buffered(port: int, **route: object):  # type: ignore[no-untyped-def]
    return serving(port, rules=RULES, path=CHAT, protocol="openai", key=(), buffer=True, **route)  # type: ignore[arg-type]


def test_a_buffered_stream_is_replayed_byte_for_byte_when_nothing_is_wrong_with_it() -> None:
    async def scenario() -> None:
        pieces = [b": ping\r\n\r\n", *deltas("It ", "is ", "fine")]
        async with RecorderUpstream(chunked(pieces)) as upstream, buffered(upstream.port) as service:
            response = await chat(service)
        assert response.body == b"".join(pieces)
        assert response.get(b"content-type") == EVENTS
        assert (said(response, b"Outcome"), said(response, b"Reason")) == ("allowed", None)

    run(scenario())


def test_a_text_that_spans_events_is_found_and_replaced() -> None:
    async def scenario() -> None:
        pieces = deltas("the pr", "ice is ", "9")
        async with RecorderUpstream(chunked(pieces)) as upstream, buffered(upstream.port) as service:
            response = await chat(service)
        assert said(response, b"Outcome") == "replaced"
        words = [json.loads(line[6:]) for line in response.body.split(b"\n\n") if line.startswith(b"data: {")]
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in words)
        assert text == "I cannot say."
        assert len(response.body.split(b"\n\n")) == len(pieces) + 1
        assert response.body.endswith(b"data: [DONE]\n\n")

    run(scenario())


@pytest.mark.parametrize(("word", "status", "outcome"), [("idiot", 422, "rejected"), ("secret", 503, "held")])
def test_a_buffered_stream_can_be_rejected_and_held(word: str, status: int, outcome: str) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(chunked(deltas(word))) as upstream, buffered(upstream.port) as service:
            response = await chat(service)
            holds = (await service.store.list(HoldFilter())).holds
        assert (response.status, said(response, b"Outcome")) == (status, outcome)
        assert [hold.original["content"] for hold in holds] == ([word] if outcome == "held" else [])
        assert word.encode() not in response.body

    run(scenario())


@pytest.mark.parametrize(("failure", "status"), [("open", 200), ("closed", 503)])
def test_a_buffered_stream_beyond_the_limit_meets_the_policy(failure: str, status: int) -> None:
    async def scenario() -> None:
        pieces = deltas(*(["price "] * 100))
        async with (
            RecorderUpstream(chunked(pieces)) as upstream,
            buffered(upstream.port, max_body=2_000, failure=failure) as service,
        ):
            response = await chat(service)
            assert reasons(service) == {"oversize": 1}
        assert (response.status, said(response, b"Reason")) == (status, "oversize")
        assert (response.body == b"".join(pieces)) == (failure == "open")

    run(scenario())


@pytest.mark.parametrize(("failure", "status"), [("open", 200), ("closed", 503)])
def test_a_stream_that_ends_with_its_connection_cannot_be_told_from_a_cut_one(
    failure: str, status: int
) -> None:
    async def scenario() -> None:
        async def answer(_request: Recorded, writer: asyncio.StreamWriter) -> None:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"".join(deltas("price"))
            )
            writer.close()

        async with RecorderUpstream(answer) as upstream, buffered(upstream.port, failure=failure) as service:
            response = await chat(service)
        assert (response.status, said(response, b"Reason")) == (status, "undecodable")
        assert (response.body == b"".join(deltas("price"))) == (failure == "open")

    run(scenario())


def test_a_buffered_stream_that_is_cut_is_a_502_and_no_half_answer() -> None:
    async def scenario() -> None:
        async def answer(_request: Recorded, writer: asyncio.StreamWriter) -> None:
            writer.write(chunked(deltas("fine")[:2], end=b"40\r\ndata"))
            await writer.drain()
            writer.close()

        async with RecorderUpstream(answer) as upstream, buffered(upstream.port) as service:
            response = await chat(service)
        assert response.status == 502
        assert b"data:" not in response.body

    run(scenario())


@pytest.mark.parametrize("buffer", [False, True])
def test_a_stream_that_passes_may_outlast_the_routes_timeout_and_one_that_is_read_may_not(
    buffer: bool,
) -> None:
    async def scenario() -> None:
        pieces = deltas("slow")

        async def answer(_request: Recorded, writer: asyncio.StreamWriter) -> None:
            writer.write(chunked(pieces[:1], end=b""))
            await asyncio.sleep(0.6)
            writer.write(chunked(pieces[1:]).partition(b"\r\n\r\n")[2])

        async with (
            RecorderUpstream(answer) as upstream,
            serving(
                upstream.port,
                rules=RULES,
                path=CHAT,
                protocol="openai",
                key=(),
                buffer=buffer,
                timeout_s=0.25,
            ) as service,
        ):
            response = await chat(service)
        if buffer:
            assert response.status == 504
        else:
            assert response.body == b"".join(pieces)

    run(scenario())


@pytest.mark.parametrize(("protocol", "retried"), [("openai", b"false"), ("json", None)])
def test_a_withheld_answer_tells_clients_that_ask_again_by_themselves_not_to(
    protocol: str, retried: bytes | None
) -> None:
    choices = [{"index": 0, "message": {"role": "assistant", "content": "a secret"}, "finish_reason": "stop"}]
    rows = {
        "request_rows": "",
        "response_rows": "/choices",
        "response_fields": (("content", "/message/content"),),
    }

    async def scenario() -> Response:
        async with (
            RecorderUpstream(ok(json.dumps({"choices": choices}).encode())) as upstream,
            serving(
                upstream.port,
                rules=RULES,
                path=CHAT,
                protocol=protocol,
                key=(),
                **(rows if protocol == "json" else {}),
            ) as service,
        ):
            return await ask(service, ASKED, path=CHAT)

    response = run(scenario())
    assert response.status == 503
    assert response.get(b"Retry-After") == b"30"
    assert response.get(b"x-should-retry") == retried
