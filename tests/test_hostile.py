"""Hostile requests, responses and bodies against the whole proxy, every path of which is guarded.

Whatever comes: the status is the one its case asks for, no traceback and no 500 reach a client, nothing malformed reaches
the model server, the server goes on, and what a rule forbids is never served as `allowed`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from guardproxy.service import Service
from tests.harness.client import RawClient, Response
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok
from tests.proxy.serving import port_of, said, serving
from tests.shared import shared_file
from tests.wire.test_hostile import REQUESTS, RESPONSES

MODES = ("open", "closed")
TYPE = b"Content-Type: application/json"

RULES = """\
guardproxy: 1
model: demand
owner: ops
rules:
  - id: feature-range
    range: {field: features.x, max: 1000}
    action: reject
  - id: output-range
    range: {field: output.p, min: 0, max: 1000}
    action: fallback
    fallback: [{value: 7}]
"""


@dataclass(frozen=True)
class Protocol:
    """How a protocol says one row with a feature `x`, and one prediction `p`."""

    name: str
    asks: str
    says: str
    options: dict[str, Any]

    def request(self, x: str) -> str:
        """Return a request whose row has this text for `x`."""
        return self.asks.replace("@", x)

    def response(self, p: str) -> str:
        """Return a response with this text for the prediction."""
        return self.says.replace("@", p)


KSERVE = Protocol(
    "kserve-v1",
    '{"instances": [{"x": @}]}',
    '{"predictions": [@]}',
    {"outputs": ("p",)},
)
POINTERS = Protocol(
    "json",
    '{"data": {"rows": [{"x": @}]}}',
    '{"out": [{"p": @}]}',
    {"request_rows": "/data/rows", "response_rows": "/out"},
)
PROTOCOLS = (KSERVE, POINTERS)


@asynccontextmanager
async def everything_guarded(
    upstream: RecorderUpstream, failure: str, protocol: Protocol, **route: Any
) -> AsyncIterator[Service]:
    """Run guardproxy with guarded routes only; check afterwards that no exception of its own was seen."""
    async with serving(
        upstream.port, rules=RULES, failure=failure, protocol=protocol.name, path="/*", key=(), **protocol.options, **route
    ) as service:  # fmt: skip
        yield service
        assert service.plane.faults == 0
        faults = [journal.windows.totals().reasons.get("fault", 0) for journal in flushed(service)]
        assert not any(faults)
        # It is alive and judges as before.
        upstream.answer = ok(protocol.response("-1").encode(), TYPE)
        response = await send(service, protocol.request("1").encode())
        assert (response.status, said(response, b"Outcome")) == (200, "replaced")


def flushed(service: Service) -> list[Any]:
    journals = list(service.plane.journals.values())
    for journal in journals:
        journal.flush()
    return journals


async def send(service: Service, body: bytes, *lines: bytes) -> Response:
    client = await RawClient.connect(port_of(service))
    head = [b"POST /x HTTP/1.1", b"Host: g", *(lines or (TYPE,)), b"Content-Length: %d" % len(body)]
    response = await client.exchange(b"\r\n".join(head) + b"\r\n\r\n" + body)
    client.abort()
    return response


def is_ours_and_clean(response: Response) -> None:
    """Nothing of the machinery shows, and a refusal is JSON."""
    assert response.status != 500, response
    for trace in (b"Traceback", b"guardproxy/", b"site-packages", b'File "', b"Error("):
        assert trace not in response.body, response
    if response.status >= 400:
        assert json.loads(response.body), response


def _load(name: str) -> list[dict[str, str]]:
    return json.loads(shared_file(f"data/{name}").read_text())  # type: ignore[no-any-return]


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("failure", MODES)
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.name)
def test_every_hostile_request_on_a_guarded_route_is_refused_or_kept(
    protocol: Protocol, failure: str
) -> None:
    cases = [case for case in _load("hostile-requests.json") if case["id"] != "ex01"]
    answer = ok(protocol.response("4").encode(), TYPE)

    async def scenario() -> None:
        async with (
            RecorderUpstream(answer) as upstream,
            everything_guarded(upstream, failure, protocol) as service,
        ):
            for case in cases:
                upstream.requests.clear()
                upstream.raw = b""
                await one_request(case, failure, upstream, port_of(service))

    run(scenario(), uvloop=False)


async def one_request(case: dict[str, str], failure: str, upstream: RecorderUpstream, port: int) -> None:
    expected, reached = on_a_guarded_route(case, failure)
    client = await RawClient.connect(port)
    await client.send(case["request"].encode("latin-1"))
    responses = [await client.response() for _ in expected]
    assert [response.status for response in responses] == expected, (case, responses)
    for response in responses:
        if response.status >= 400:
            is_ours_and_clean(response)
        if said(response, b"Outcome") is not None:
            assert said(response, b"Outcome") == "unguarded", (case, response)
    must_close = "close" in case["must"] and expected[-1] >= 400 and expected[-1] != 503
    if must_close:
        assert await client.end() == "clean", case
    assert len(upstream.requests) == reached, (case, upstream.requests)
    if not reached:
        assert upstream.raw == b"", case
    client.abort()


def on_a_guarded_route(case: dict[str, str], failure: str) -> tuple[list[int], int]:
    """Statuses and requests forwarded: what the wire refuses stays refused; a body that is no prediction is `on_failure`'s."""
    if case["id"] == "up02":
        return [200], 1  # a GET passes through, and an upstream that does not switch answers it
    if case["id"] == "sm25":
        # An upgrade cannot be guarded; the request after its body is an ordinary one.
        return [400, 200], 1
    statuses, reached = REQUESTS.get(case["id"], ([400], 0))
    guarded = " HTTP/1." in case["request"] and (
        "Content-Length" in case["request"] or "Transfer-Enc" in case["request"]
    )
    if guarded and statuses == [200] and failure == "closed":
        return [503], 0
    return statuses, reached


@pytest.mark.parametrize("failure", MODES)
def test_a_body_that_never_ends_its_expectation_is_answered_in_order(failure: str) -> None:
    case = next(case for case in _load("hostile-requests.json") if case["id"] == "ex01")

    async def scenario() -> None:
        async with RecorderUpstream() as upstream, everything_guarded(upstream, failure, KSERVE) as service:
            client = await RawClient.connect(port_of(service))
            await client.send(case["request"].encode("latin-1"))
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            response = await client.exchange(b"abcd")
            assert response.status == (200 if failure == "open" else 503)
            assert len(upstream.requests) == (1 if failure == "open" else 0)
            client.abort()
        async with (
            RecorderUpstream() as upstream,
            everything_guarded(upstream, "closed", KSERVE, max_body=64) as service,
        ):
            client = await RawClient.connect(port_of(service))
            response = await client.exchange(
                b"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length: 4000\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (response.status, response.interim) == (413, [])
            assert upstream.raw == b""

    run(scenario(), uvloop=False)


# ---------------------------------------------------------------- responses


def script(case: dict[str, str]) -> Callable[[Recorded, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(case["response"].encode("latin-1"))
        await writer.drain()
        if case["then"] == "reset":
            writer.transport.abort()
        elif case["then"] == "close":
            writer.close()
        elif case["then"].startswith("after"):
            await asyncio.sleep(0.05)
            writer.write(ok(b'{"predictions": [99]}', TYPE))

    return answer


@pytest.mark.parametrize("failure", MODES)
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.name)
def test_every_hostile_response_on_a_guarded_route_is_refused_or_served_as_unguarded(
    protocol: Protocol, failure: str
) -> None:
    cases = _load("hostile-responses.json")

    async def scenario() -> None:
        async with RecorderUpstream() as upstream, everything_guarded(upstream, failure, protocol) as service:
            for case in cases:
                upstream.answer = script(case)
                response = await send(service, protocol.request("1").encode())
                look_at_response(case["id"], response, failure)
                if case["then"].startswith("after"):
                    pool = service.plane.routes[0].upstream
                    await until(
                        lambda pool=pool: pool.surplus_closes >= 1, "the surplus closes the connection"
                    )

    run(scenario(), uvloop=False)


def look_at_response(name: str, response: Response, failure: str) -> None:
    expected = RESPONSES[name] or 502
    # A 2xx that is no prediction of one row cannot be judged; another status is the upstream's own error or redirect.
    judged = 200 <= expected < 300
    if judged and failure == "closed":
        expected = 503
    assert response.status == expected, (name, response)
    assert b"EVIL" not in response.body
    if response.status >= 400:
        is_ours_and_clean(response)
    outcome = said(response, b"Outcome")
    if judged and failure == "open":
        assert outcome == "unguarded", (name, response)
        assert said(response, b"Reason") is not None
    else:
        assert outcome is None, (name, response)


# ---------------------------------------------------------------- bodies

# Each is put where a number is expected, or stands for a whole body; must a reader refuse it?
VALUES = {
    "j03 a 5,000-digit integer": "9" * 5000,
    "j04 an integer beyond 64 bits": "18446744073709551616",
    "j04 another": "-9223372036854775809",
    "j05 too large for a float": "1e400",
    "j05 negative": "-1e400",
    "j06 NaN": "NaN",
    "j06 Infinity": "Infinity",
    "j06 -Infinity": "-Infinity",
    "j09 a lone surrogate": '"\\ud800"',
    "j13 a key with NUL": '{"a\\u0000b": 1}',
    "j14 a leading zero": "01",
    "j14 a plus": "+1",
    "j16 minus zero": "-0.0",
    "j16 a 55-digit float": "0." + "1" * 55,
    "j17 a prototype": '{"__proto__": {"x": 1}}',
    "text": '"5000"',
    "a vector": "[5000, -5000]",
    "a bare word": "nan",
    "hexadecimal": "0x1388",
    "null": "null",
    "true": "true",
}
BODIES = {
    "j01 deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "j02 deep objects": b'{"a":' * 1025 + b"1" + b"}" * 1025,
    "j09 a lone surrogate in a key": b'{"\\ud800": 1}',
    "j10 bad UTF-8": b'{"instances": ["\xff"]}',
    "j10 overlong": b'{"instances": ["\xc0\xaf"]}',
    "j11 a byte order mark": b"\xef\xbb\xbf{}",
    "j12 UTF-16": '{"instances": [1]}'.encode("utf-16"),
    "j12 UTF-32": '{"instances": [1]}'.encode("utf-32"),
    "j14 trailing text": b"{} x",
    "j14 two": b"{}{}",
    "j14 a trailing comma": b"[1,]",
    "j14 a comment": b"// a\n{}",
    "j14 single quotes": b"{'a': 1}",
    "j14 nothing": b"",
    "j14 blanks": b"  \n ",
    "j15 many keys": json.dumps({f"k{n}": n for n in range(12_000)}).encode(),
    "j18 a million arrays": b'{"instances": [' + b"[0]," * 300_000 + b"[0]]}",
    "a scalar": b"5000",
    "null": b"null",
    "no rows": b'{"instances": [], "data": {"rows": []}, "predictions": [], "out": []}',
}
MISFITS = {name for name, value in VALUES.items() if value[0] in '"[{t'}
"""Values of another kind than the number that a rule's fallback is."""
CONTENT_TYPES = [
    b"text/plain",
    b"application/json;charset=utf-16",
    b"application/octet-stream",
    b"",
    b"\xff;;=",
    b"multipart/form-data",
]


def judged_or_refused(response: Response, failure: str, case: object) -> None:
    """Never a 500; what was not judged says so, or is refused."""
    is_ours_and_clean(response)
    outcome = said(response, b"Outcome")
    if outcome is None:
        assert response.status == (503 if failure == "closed" else 422), (case, response)
        assert response.status == 422 or said(response, b"Reason") is not None, (case, response)
    elif outcome == "unguarded":
        assert (failure, response.status) == ("open", 200), (case, response)
        assert said(response, b"Reason") is not None, (case, response)
    else:
        assert outcome in {"allowed", "warned", "replaced", "rejected"}, (case, response)


@pytest.mark.parametrize("failure", MODES)
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.name)
def test_hostile_json_in_either_direction_is_judged_or_says_that_it_is_not(
    protocol: Protocol, failure: str
) -> None:
    fine = protocol.request("1").encode()

    async def scenario() -> None:
        async with RecorderUpstream() as upstream, everything_guarded(upstream, failure, protocol) as service:
            requests = {
                **{name: protocol.request(value).encode() for name, value in VALUES.items()},
                **{
                    f"{name}, twice": protocol.request(f'1, "x": {value}').encode()
                    for name, value in VALUES.items()
                },
                **BODIES,
            }
            responses = {
                **{n: protocol.response(value).encode() for n, value in VALUES.items() if n not in MISFITS},
                **BODIES,
            }
            for name, body in requests.items():
                upstream.answer = ok(protocol.response("4").encode(), TYPE)
                judged_or_refused(await send(service, body), failure, (name, "request"))
            for name, body in responses.items():
                upstream.answer = ok(body, TYPE)
                response = await send(service, fine)
                judged_or_refused(response, failure, (name, "response"))
                if said(response, b"Outcome") in {"allowed", "warned", "unguarded"}:
                    assert response.body == body, "what is not replaced is byte-identical"
            for kind in CONTENT_TYPES:
                upstream.answer = ok(protocol.response("-4").encode(), b"Content-Type: " + kind)
                response = await send(service, fine, b"Content-Type: " + kind)
                judged_or_refused(response, failure, kind)
                assert said(response, b"Outcome") != "allowed", kind

    run(scenario(), uvloop=False)


FORBIDDEN = {
    "plain": "5000",
    "a float": "5e3",
    "an integer beyond 64 bits": "18446744073709551616",
    "a 400-digit integer": "9" * 400,
    "Infinity": "Infinity",
    "too large for a float": "1e400",
    "text": '"5000"',
}


def disguises(protocol: Protocol, kind: str, value: str) -> dict[str, str]:
    """Return messages in which a lenient reader finds `value` where the guard may find 1."""
    field = "x" if kind == "request" else "p"
    say = protocol.request if kind == "request" else protocol.response
    escaped = f"\\u{ord(field):04x}"
    found = {"as it is": say(value)}
    if f'"{field}": 1' in say("1"):
        found |= {
            "twice, last": say(f'1, "{field}": {value}'),
            "twice, first": say(f'{value}, "{field}": 1'),
            "escaped, last": say(f'1, "{escaped}": {value}'),
            "escaped, first": say("1").replace(f'"{field}": 1', f'"{escaped}": {value}, "{field}": 1'),
            "escaped alone": say("1").replace(f'"{field}": 1', f'"{escaped}": {value}'),
        }
    bare = say("1")
    outer = bare.split('"')[1]
    hidden = say(value)[1:-1]
    found["the rows twice, last"] = bare[:-1] + ", " + hidden + "}"
    found["the rows twice, first"] = "{" + hidden + ", " + bare[1:]
    found["the rows escaped"] = (
        bare[:-1] + ", " + hidden.replace(outer, f"\\u{ord(outer[0]):04x}{outer[1:]}", 1) + "}"
    )
    return found


@pytest.mark.parametrize("failure", MODES)
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.name)
def test_a_forbidden_value_never_slips_through_as_allowed(protocol: Protocol, failure: str) -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream, everything_guarded(upstream, failure, protocol) as service:
            for name, value in FORBIDDEN.items():
                for how, text in disguises(protocol, "request", value).items():
                    upstream.answer = ok(protocol.response("4").encode(), TYPE)
                    upstream.requests.clear()
                    response = await send(service, text.encode())
                    judged_or_refused(response, failure, (name, how))
                    assert said(response, b"Outcome") not in {"allowed", "warned"}, (name, how, text[:200])
                    if failure == "closed":
                        assert not upstream.requests, (name, how)
                for how, text in disguises(protocol, "response", value).items() if name != "text" else ():
                    upstream.answer = ok(text.encode(), TYPE)
                    response = await send(service, protocol.request("1").encode())
                    judged_or_refused(response, failure, (name, how))
                    assert said(response, b"Outcome") not in {"allowed", "warned"}, (name, how, text[:200])
                    if failure == "closed":
                        assert value not in response.body.decode(), (name, how)

    run(scenario(), uvloop=False)


@pytest.mark.parametrize("failure", MODES)
def test_a_prediction_of_another_kind_is_withheld_when_no_fallback_fits(failure: str) -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream, everything_guarded(upstream, failure, KSERVE) as service:
            for name in ("text", "a vector"):
                upstream.answer = ok(KSERVE.response(VALUES[name]).encode(), TYPE)
                response = await send(service, KSERVE.request("1").encode())
                assert (response.status, said(response, b"Reason")) != (503, "fault"), name
                assert said(response, b"Outcome") not in {"allowed", "unguarded"}, name

    run(scenario(), uvloop=False)


@pytest.mark.parametrize("failure", MODES)
def test_an_object_of_200000_keys_is_refused_without_stopping_the_loop(failure: str) -> None:
    body = json.dumps({f"k{n}": n for n in range(200_000)}).encode()

    async def scenario() -> None:
        async with RecorderUpstream() as upstream, everything_guarded(upstream, failure, KSERVE) as service:
            upstream.answer = ok(body, TYPE)
            judged_or_refused(await send(service, body), failure, "request")
            judged_or_refused(await send(service, KSERVE.request("1").encode()), failure, "response")

    run(scenario(), uvloop=False)


# ---------------------------------------------------------------- the framing around a patched body


@pytest.mark.parametrize("coding", ["identity", "gzip", "deflate", "br", "gzip, gzip", "x-nonsense"])
@pytest.mark.parametrize("failure", MODES)
def test_a_content_coding_that_is_untrue_is_not_read_as_allowed(failure: str, coding: str) -> None:
    body = KSERVE.response("-4").encode()

    async def scenario() -> None:
        async with RecorderUpstream() as upstream, everything_guarded(upstream, failure, KSERVE) as service:
            upstream.answer = ok(body, TYPE, b"Content-Encoding: " + coding.encode())
            response = await send(service, KSERVE.request("1").encode())
            judged_or_refused(response, failure, coding)
            assert said(response, b"Outcome") != "allowed"
            upstream.answer = ok(KSERVE.response("4").encode(), TYPE)
            asked = await send(
                service, KSERVE.request("5000").encode(), TYPE, b"Content-Encoding: " + coding.encode()
            )
            judged_or_refused(asked, failure, coding)
            assert said(asked, b"Outcome") != "allowed"

    run(scenario(), uvloop=False)


def test_headers_that_claim_a_decision_are_removed_from_both_sides() -> None:
    claims = (b"Guardproxy-Outcome: allowed", b"guardproxy-hold: hld_1", b"GUARDPROXY-REASON: none")

    async def scenario() -> None:
        async with RecorderUpstream() as upstream, everything_guarded(upstream, "open", KSERVE) as service:
            upstream.answer = ok(KSERVE.response("-4").encode(), TYPE, *claims)
            response = await send(service, KSERVE.request("1").encode(), TYPE, *claims)
            assert response.all(b"Guardproxy-Outcome") == [b"replaced"]
            assert response.all(b"Guardproxy-Hold") == []
            assert response.all(b"Guardproxy-Reason") == []
            assert not [
                line for line in upstream.requests[-1].lines if line.lower().startswith(b"guardproxy-")
            ]
            upstream.answer = ok(b"nonsense", TYPE, *claims)
            response = await send(service, b"nonsense", TYPE, *claims)
            assert response.all(b"Guardproxy-Outcome") == [b"unguarded"]
            assert response.all(b"Guardproxy-Reason") == [b"undecodable"]

    run(scenario(), uvloop=False)
