"""What a client gets from a guarded route, over real sockets."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from guardproxy.codecs import compress, decompress
from guardproxy.errors import StoreError
from guardproxy.proxy.background import OFF_LOOP_BYTES
from guardproxy.proxy.exchange import PACKED_OFF_LOOP_BYTES
from guardproxy.service import Service
from guardproxy.stores import HoldFilter
from tests.harness.client import RawClient
from tests.harness.loop import run, until
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import PATH, RULES, ask, demand, infer, port_of, request, said, serving

JSON = b"content-TYPE: application/json"


def test_a_clean_exchange_passes_byte_for_byte_with_the_decision_beside_it() -> None:
    async def scenario() -> None:
        answer = demand([30.0])
        async with (
            RecorderUpstream(ok(answer, b"X-Odd:  kept", JSON, b"x-odd: too")) as upstream,
            serving(upstream.port) as service,
        ):
            body = infer([3.0])
            response = await ask(service, body, b"x-Request-ID: abc")
            assert upstream.requests[0].body == body
            assert b"x-Request-ID: abc" in upstream.requests[0].lines
        assert response.body == answer
        assert response.lines[:3] == [b"X-Odd: kept", b"content-TYPE: application/json", b"x-odd: too"]
        assert (said(response, b"Outcome"), said(response, b"Rows"), said(response, b"Reason")) == (
            "allowed",
            "allowed=1",
            None,
        )
        assert (said(response, b"Decision") or "").startswith("dec_")
        assert response.get(b"Server-Timing") is not None

    run(scenario())


def test_in_a_batch_only_the_bad_rows_spans_change() -> None:
    values = [float(i % 900) + 0.25 for i in range(1000)]
    values[17], values[500], values[999] = -1.0, -2.5, 5000.0

    async def scenario() -> None:
        async with RecorderUpstream(ok(demand(values), JSON)) as upstream, serving(upstream.port) as service:
            response = await ask(service, infer([1.0] * 1000))
            (held,) = (await service.store.list(HoldFilter())).holds
        expected = (
            demand(values)
            .replace(b"-1.0", b"5.0", 1)
            .replace(b"-2.5", b"5.0", 1)
            .replace(b"5000.0", b"7.0", 1)
        )
        assert response.body == expected
        assert said(response, b"Rows") == "allowed=997, replaced=2, held=1"
        assert (said(response, b"Held-Rows"), said(response, b"Hold")) == ("999", held.id)
        assert (held.row, held.original, held.provisional) == (999, {"demand": 5000.0}, {"demand": 7.0})

    run(scenario())


def test_a_fallback_takes_the_entitys_last_good_value() -> None:
    async def scenario() -> None:
        answers = iter([[40.0], [-1.0], [-1.0]])

        async def answer(_request: object, writer: asyncio.StreamWriter) -> None:
            writer.write(ok(demand(next(answers)), JSON))

        async with RecorderUpstream(answer) as upstream, serving(upstream.port) as service:
            await ask(service, infer([1.0], "a"))
            mine = await ask(service, infer([1.0], "a"))
            stranger = await ask(service, infer([1.0], "b"))
        assert json.loads(mine.body)["outputs"][0]["data"] == [40.0]
        assert json.loads(stranger.body)["outputs"][0]["data"] == [5.0]

    run(scenario())


def test_a_rejected_request_never_reaches_the_model_server() -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([1.0]))) as upstream, serving(upstream.port) as service:
            response = await ask(service, infer([5000.0, 1.0]))
            assert upstream.requests == []
        assert response.status == 422
        assert json.loads(response.body) == {"error": "row 0: x is 5000"}
        assert (said(response, b"Outcome"), said(response, b"Rows")) == ("rejected", "allowed=1, rejected=1")

    run(scenario())


def test_a_withheld_row_is_stored_before_its_503() -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([777.0]), JSON)) as upstream, serving(upstream.port) as service:
            response = await ask(service, infer([1.0]))
            (held,) = (await service.store.list(HoldFilter())).holds
        assert response.status == 503
        assert response.get(b"Retry-After") == b"30"
        assert said(response, b"Hold") == held.id
        assert "held for review" in json.loads(response.body)["error"]

    run(scenario())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{bad", "undecodable"),
        (b"", "undecodable"),
        (b"[]", "undecodable"),
        (b'{"inputs":[]}', "undecodable"),
        (b"[" * 5000, "undecodable"),
    ],
)
def test_what_does_not_decode_passes_unguarded_where_the_route_is_open(body: bytes, reason: str) -> None:
    async def scenario() -> None:
        answer = demand([-1.0])
        async with RecorderUpstream(ok(answer, JSON)) as upstream, serving(upstream.port) as service:
            response = await ask(service, body)
            assert upstream.requests[0].body == body
            service.plane.routes[0].journal.flush()
            assert service.plane.routes[0].journal.windows.totals().reasons[reason] == 1
        assert response.body == answer
        assert (said(response, b"Outcome"), said(response, b"Reason")) == ("unguarded", reason)

    run(scenario())


def test_what_does_not_decode_is_refused_where_the_route_is_closed() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([1.0]))) as upstream,
            serving(upstream.port, failure="closed") as service,
        ):
            response = await ask(service, b"{bad")
            assert upstream.requests == []
        assert response.status == 503
        assert response.get(b"Retry-After") == b"5"
        assert said(response, b"Reason") == "undecodable"
        assert "error" in json.loads(response.body)

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ok(demand([1.0, 2.0, 3.0]), JSON), "unaligned"),
        (ok(b"<html>", b"Content-Type: text/html"), "undecodable"),
        (ok(gzip.compress(demand([1.0]))[:-4], JSON, b"Content-Encoding: gzip"), "undecodable"),
        (ok(demand([1.0]), JSON, b"Content-Encoding: br"), "undecodable"),
        (ok(demand([1.0]), JSON, b"Content-Encoding: compress"), "undecodable"),
        (ok(demand([1.0]), JSON, b"Content-Encoding: gzip, gzip, gzip"), "undecodable"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "opaque"),
    ],
)
@pytest.mark.parametrize("failure", ["open", "closed"])
def test_a_response_that_cannot_be_screened_meets_the_routes_failure_mode(
    answer: bytes, reason: str, failure: str
) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream, serving(upstream.port, failure=failure) as service:
            response = await ask(service, infer([1.0, 1.0]))
        assert said(response, b"Reason") == reason
        if failure == "open":
            assert said(response, b"Outcome") == "unguarded"
            assert response.body == answer.partition(b"\r\n\r\n")[2]
        else:
            assert response.status == 503
            assert said(response, b"Outcome") is None

    run(scenario())


@pytest.mark.parametrize("answer", [b'"5000"', b"true", b'["a"]'])
@pytest.mark.parametrize("failure", ["open", "closed"])
def test_a_fallback_that_the_response_cannot_take_is_withheld_and_the_suspect_value_too(
    answer: bytes, failure: str
) -> None:
    body = b'{"predictions": [%s, %s]}' % (answer, answer)

    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(body, JSON)) as upstream,
            serving(upstream.port, failure=failure, protocol="kserve-v1", outputs=("demand",)) as service,
        ):
            response = await ask(service, b'{"instances": [{"x": 1}, {"x": 2}]}')
        assert response.status == 503
        assert answer not in response.body
        assert said(response, b"Outcome") in {"rejected", "held"}

    run(scenario())


def test_a_stream_of_events_passes_unguarded_or_is_refused() -> None:
    events = b"data: one\n\ndata: two\n\n"

    async def scenario(failure: str) -> int:
        async with (
            RecorderUpstream(ok(events, b"Content-Type: text/event-stream")) as upstream,
            serving(upstream.port, failure=failure) as service,
        ):
            response = await ask(service, infer([1.0]))
        assert said(response, b"Reason") == "streamed"
        assert (response.body == events) == (failure == "open")
        return response.status

    assert run(scenario("open")) == 200
    assert run(scenario("closed")) == 503


def test_an_upstreams_own_error_passes_as_it_is_without_an_outcome() -> None:
    async def scenario() -> None:
        error = b'{"error": "no such model"}'
        raw = (
            b"HTTP/1.1 404 Nope\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(error)
            + error
        )
        async with RecorderUpstream(raw) as upstream, serving(upstream.port, failure="closed") as service:
            response = await ask(service, infer([1.0]))
        assert (response.status_line, response.body) == (b"HTTP/1.1 404 Nope", error)
        assert said(response, b"Outcome") is None

    run(scenario())


def test_an_unreachable_upstream_is_a_502_in_the_protocols_shape() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            port = upstream.port
        async with serving(port) as service:
            response = await ask(service, infer([1.0]))
            plain = await ask(service, b"", path="/elsewhere")
        assert response.status == 502
        assert json.loads(response.body) == {"error": "the model server cannot be reached"}
        assert plain.status == 502
        assert b"Traceback" not in plain.body

    run(scenario())


@pytest.mark.parametrize(("failure", "status"), [("open", 200), ("closed", 413)])
def test_a_request_beyond_the_limit_meets_the_failure_mode(failure: str, status: int) -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(b"big")) as upstream,
            serving(upstream.port, failure=failure, max_body=1000) as service,
        ):
            response = await ask(service, infer([1.0] * 1000))
            assert len(upstream.requests) == (1 if failure == "open" else 0)
        assert response.status == status
        assert said(response, b"Reason") == "oversize"

    run(scenario())


@pytest.mark.parametrize(("failure", "status"), [("open", 200), ("closed", 503)])
def test_a_response_beyond_the_limit_meets_the_failure_mode(failure: str, status: int) -> None:
    async def scenario() -> None:
        answer = demand([1.0] * 400)
        async with (
            RecorderUpstream(ok(answer, JSON)) as upstream,
            serving(upstream.port, failure=failure, max_body=1000) as service,
        ):
            response = await ask(service, infer([1.0]))
        assert response.status == status
        assert said(response, b"Reason") == "oversize"
        assert (response.body == answer) == (failure == "open")

    run(scenario())


def test_only_guardproxy_speaks_in_its_own_headers() -> None:
    async def scenario() -> None:
        forged = b"guardproxy-OUTCOME: allowed"
        async with (
            RecorderUpstream(ok(demand([-1.0]), JSON, forged, b"Guardproxy_Outcome: allowed")) as upstream,
            serving(upstream.port) as service,
        ):
            guarded = await ask(service, infer([1.0]), forged, b"Guardproxy_Decision: mine")
            passed = await ask(service, b"", forged, path="/elsewhere")
            assert all(
                b"uardproxy-OUTCOME" not in line for recorded in upstream.requests for line in recorded.lines
            )
            assert all(b"uardproxy_" not in line for recorded in upstream.requests for line in recorded.lines)
        assert guarded.all(b"Guardproxy-Outcome") == [b"replaced"]
        assert guarded.get(b"Guardproxy_Outcome") is None
        assert passed.get(b"Guardproxy-Outcome") is None

    run(scenario())


CODED = ["gzip", "deflate", "br", "zstd", "gzip, br"]


@pytest.mark.parametrize("coding", CODED)
def test_a_compressed_response_is_screened_and_its_own_bytes_go_on_when_nothing_changed(coding: str) -> None:
    async def scenario() -> None:
        packed = compress(demand([30.0]), coding)
        line = b"Content-Encoding: " + coding.encode()
        async with (
            RecorderUpstream(ok(packed, JSON, line, b'ETag: "a"', b"Digest: sha-256=x")) as upstream,
            serving(upstream.port) as service,
        ):
            body = compress(infer([1.0]), coding)
            response = await ask(service, body, line)
            assert upstream.requests[0].body == body
        assert response.body == packed
        assert response.lines[:4] == [JSON, line, b'ETag: "a"', b"Digest: sha-256=x"]
        assert said(response, b"Outcome") == "allowed"

    run(scenario())


@pytest.mark.parametrize("coding", CODED)
def test_a_patched_response_keeps_its_coding_and_loses_the_lines_that_would_lie(coding: str) -> None:
    async def scenario() -> None:
        packed = compress(demand([-4.0]), coding)
        lines = (
            JSON,
            b"content-ENCODING: " + coding.encode(),
            b'ETag: "a"',
            b"Last-Modified: x",
            b"Set-Cookie: a=1",
        )
        async with RecorderUpstream(ok(packed, *lines)) as upstream, serving(upstream.port) as service:
            response = await ask(service, infer([1.0]), b"Range: bytes=0-3")
            assert upstream.requests[0].all(b"range") == []
        assert decompress(response.body, coding, max_bytes=10_000) == demand([5.0])
        length = b"Content-Length: %d" % len(response.body)
        assert response.lines[:4] == [JSON, lines[1], b"Set-Cookie: a=1", length]
        assert response.all(b"etag") + response.all(b"last-modified") == []
        assert said(response, b"Outcome") == "replaced"

    run(scenario())


@pytest.mark.parametrize(
    "line", [b"inference-HEADER-content-length: %d", b"Inference-Header-Content-Length:%d"]
)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_patched_binary_response_says_how_long_its_json_has_become(line: bytes, coding: str) -> None:
    rules = """\
guardproxy: 1
model: demand
rules:
  - id: known
    require: output.label != "bad"
    action: fallback
    fallback: [{value: NEW}]
""".replace("NEW", "x" * 100)

    def answer(*labels: bytes) -> tuple[bytes, int]:
        data = b"".join(len(label).to_bytes(4, "little") + label for label in labels)
        head = (
            b'{"model_name": "m", "outputs": [{"name":"label","datatype":"BYTES","shape":[2],'
            b'"parameters":{"binary_data_size":%d}}]}' % len(data)
        )
        return head + data, len(head)

    async def scenario() -> None:
        body, length = answer(b"bad", b"x")
        expected, longer = answer(b"x" * 100, b"x")
        lines = [b"Content-Type: application/octet-stream", line % length, b"X-Kept: 1"]
        if coding != "identity":
            lines.append(b"Content-Encoding: " + coding.encode())
        async with (
            RecorderUpstream(ok(compress(body, coding), *lines)) as upstream,
            serving(upstream.port, rules=rules) as service,
        ):
            response = await ask(service, infer([1.0, 1.0]))
        assert decompress(response.body, coding, max_bytes=1_000) == expected
        assert longer != length
        assert response.lines[1].split(b":")[0] == line.split(b":")[0]
        assert response.all(b"inference-header-content-length") == [b"%d" % longer]
        assert response.lines[2:3] == [b"X-Kept: 1"]
        assert said(response, b"Rows") == "allowed=1, replaced=1"

    run(scenario())


@pytest.mark.parametrize("lines", [(b"20", b"21"), (b"x",), (b"-1",), (b"9" * 20,), (b"99999",)])
def test_a_length_of_the_json_that_cannot_be_believed_is_undecodable(lines: tuple[bytes, ...]) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([1.0]), JSON)) as upstream, serving(upstream.port) as service:
            named = [b"Inference-Header-Content-Length: " + value for value in lines]
            response = await ask(service, infer([1.0]), *named)
        assert said(response, b"Reason") == "undecodable"

    run(scenario())


def test_two_lines_of_codings_are_undone_in_their_order() -> None:
    async def scenario() -> None:
        packed = compress(demand([-4.0]), "gzip, br")
        lines = (JSON, b"Content-Encoding: gzip", b"Content-Encoding: br")
        async with RecorderUpstream(ok(packed, *lines)) as upstream, serving(upstream.port) as service:
            response = await ask(service, infer([1.0]))
        assert decompress(response.body, "gzip, br", max_bytes=10_000) == demand([5.0])
        assert response.all(b"content-encoding") == [b"gzip", b"br"]

    run(scenario())


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (b"gzip,deflate, br", b"gzip,deflate, br"),
        (b"br;q=0.9, compress, ZSTD ,x-gzip", b"br;q=0.9, ZSTD, x-gzip"),
        (b"*", b"identity"),
        (b"gzip;q=1.0, *;q=0", b"gzip;q=1.0, *;q=0"),
        (b"gzip, *;q=0.5", b"gzip"),
        (b"dcb", b"identity"),
        (b"", b""),
    ],
)
def test_only_codings_that_cannot_be_undone_are_not_asked_for(asked: bytes, sent: bytes) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([1.0]), JSON)) as upstream, serving(upstream.port) as service:
            await ask(service, infer([1.0]), b"aCCept-Encoding: " + asked)
            assert [line for line in upstream.requests[0].lines if line.startswith(b"aCC")] == [
                b"aCCept-Encoding: " + sent
            ]

    run(scenario())


def test_a_fallback_that_the_responses_type_cannot_hold_makes_way_for_the_next() -> None:
    async def scenario() -> None:
        whole = (
            demand([112.5, -3.0]).replace(b"112.5", b"112").replace(b"-3.0", b"-3").replace(b"FP64", b"INT64")
        )
        bad = whole.replace(b"112", b"-9")
        answers = iter([demand([112.5, 7.0]), whole, bad])

        async def answer(_request: object, writer: asyncio.StreamWriter) -> None:
            writer.write(ok(next(answers), JSON))

        rules = RULES.replace("fallback: [previous, {value: 5}]", "fallback: [previous, {value: 0}]")
        async with RecorderUpstream(answer) as upstream, serving(upstream.port, rules=rules) as service:
            await ask(service, infer([1.0, 1.0], "a"))
            response = await ask(service, infer([1.0, 1.0], "a"))
            both = await ask(service, infer([1.0, 1.0], "b"))
        # The last good value of this shop is 7.0, which a whole number can say; a stranger has none.
        assert json.loads(response.body)["outputs"][0]["data"] == [112, 7]
        assert both.body == bad.replace(b"-9", b"0").replace(b"-3", b"0")

    run(scenario())


def test_a_candidate_that_cannot_be_written_says_so_to_the_reviewer() -> None:
    rules = """\
guardproxy: 1
model: demand
rules:
  - id: low
    range: {field: output.demand, min: 0}
    action: hold
    hold: {meanwhile: fallback, sla: 1h}
    fallback: [previous, {value: 0}]
"""

    async def scenario() -> None:
        answers = iter([demand([112.5]), demand([-3.0]).replace(b"-3.0", b"-3").replace(b"FP64", b"INT64")])

        async def answer(_request: object, writer: asyncio.StreamWriter) -> None:
            writer.write(ok(next(answers), JSON))

        async with RecorderUpstream(answer) as upstream, serving(upstream.port, rules=rules) as service:
            await ask(service, infer([1.0]))
            response = await ask(service, infer([1.0]))
            (held,) = (await service.store.list(HoldFilter())).holds
        assert json.loads(response.body)["outputs"][0]["data"] == [0]
        previous, literal = held.candidates
        assert (previous.values, previous.refused_by, previous.usable) == (
            {"demand": 112.5},
            ("the response",),
            False,
        )
        assert "whole number" in previous.note
        assert (literal.values, literal.usable) == ({"demand": 0}, True)
        assert (held.provisional, held.provisional_source) == ({"demand": 0}, "value")

    run(scenario())


def test_where_no_candidate_can_be_written_only_those_rows_have_no_answer() -> None:
    rules = RULES.replace("fallback: [previous, {value: 5}]", "fallback: [previous, {value: 5.5}]")

    async def scenario() -> None:
        answer = demand([-1.0, 3.0]).replace(b"-1.0", b"-1").replace(b"3.0", b"3").replace(b"FP64", b"INT64")
        async with (
            RecorderUpstream(ok(answer, JSON)) as upstream,
            serving(upstream.port, rules=rules) as service,
        ):
            response = await ask(service, infer([1.0, 1.0]))
        assert response.status == 503
        assert json.loads(response.body) == {"error": "no safe answer for row 0"}
        assert said(response, b"Rows") == "allowed=1, rejected=1"

    run(scenario())


@pytest.mark.parametrize(("bad", "served"), [(b"-3", 1), (b"99", 10)])
def test_a_clamp_in_a_whole_number_column_is_recorded_as_it_is_served(bad: bytes, served: int) -> None:
    rules = """\
guardproxy: 1
model: demand
rules:
  - id: inside
    range: {field: output.demand, min: 0.5, max: 10.5}
    action: clamp
"""

    async def scenario() -> None:
        answer = demand([1.0]).replace(b"1.0", bad).replace(b"FP64", b"INT64")
        async with (
            RecorderUpstream(ok(answer, JSON)) as upstream,
            serving(upstream.port, rules=rules) as service,
        ):
            response = await ask(service, infer([1.0]))
            record = service.plane.routes[0].journal.find(said(response, b"Decision") or "")
        assert json.loads(response.body)["outputs"][0]["data"] == [served]
        assert record is not None
        assert record["replaced"] == [{"row": 0, "source": "clamp", "values": {"demand": served}}]

    run(scenario())


@pytest.mark.parametrize("failure", ["open", "closed"])
def test_a_fault_of_the_guard_itself_never_reaches_the_client(
    failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        answer = demand([1.0])
        async with (
            RecorderUpstream(ok(answer, JSON)) as upstream,
            serving(upstream.port, failure=failure) as service,
        ):
            _break_the_judging(service, monkeypatch)
            response = await ask(service, infer([1.0]))
        assert said(response, b"Reason") == "fault"
        assert b"ZeroDivision" not in response.body
        assert (response.body == answer) == (failure == "open")

    run(scenario())


@pytest.mark.parametrize(("failure", "status"), [("open", 200), ("closed", 503)])
def test_nothing_is_called_held_that_is_not_stored(
    failure: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([5000.0]), JSON)) as upstream,
            serving(upstream.port, failure=failure) as service,
        ):

            async def full(_holds: object) -> None:
                raise StoreError("the disk is full")

            monkeypatch.setattr(service.store, "add", full)
            response = await ask(service, infer([1.0]))
            assert service.keeper.failed == 1
        assert response.status == status
        assert said(response, b"Hold") is None
        assert said(response, b"Reason") == "fault"
        if failure == "open":
            assert json.loads(response.body)["outputs"][0]["data"] == [7.0]
            assert said(response, b"Outcome") == "replaced"

    run(scenario())


def test_a_batch_with_more_held_rows_than_can_be_stored_holds_none() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([5000.0] * 1_001), JSON)) as upstream,
            serving(upstream.port) as service,
        ):
            response = await ask(service, infer([1.0] * 1_001))
            assert (await service.store.list(HoldFilter())).holds == ()
            assert service.keeper.failed == 1_001
        assert said(response, b"Hold") is None
        assert said(response, b"Rows") == "replaced=1001"
        assert said(response, b"Reason") == "fault"

    run(scenario())


def test_a_hold_is_stored_although_its_client_hung_up() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([5000.0]), JSON)) as upstream,
            serving(upstream.port) as service,
        ):
            original, began, go = service.store.add, asyncio.Event(), asyncio.Event()

            async def slow(holds: object) -> None:
                began.set()
                await go.wait()
                await original(holds)  # type: ignore[arg-type]

            service.store.add = slow  # type: ignore[method-assign]
            client = await RawClient.connect(port_of(service))
            await client.send(request(infer([1.0])))
            await began.wait()
            client.abort()
            go.set()
            await until(lambda: service.keeper.stored == 1, "the hold was stored")
            assert len((await service.store.list(HoldFilter())).holds) == 1

    run(scenario())


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
def test_methods_without_a_body_pass_through_on_a_guarded_path_and_are_counted(method: bytes) -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(b"" if method == b"HEAD" else b"meta")) as upstream,
            serving(upstream.port) as service,
        ):
            client = await RawClient.connect(port_of(service))
            head = b"%s %s HTTP/1.1\r\nHost: g\r\nX-HTTP-Method-Override: POST\r\n\r\n" % (
                method,
                PATH.encode(),
            )
            response = await client.exchange(head, method)
            assert service.plane.routes[0].passed == 1
            assert upstream.requests[0].all(b"x-http-method-override") == []
        assert response.status == 200
        assert said(response, b"Outcome") is None

    run(scenario())


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"PUT", b"PROPFIND"])
def test_every_method_that_carries_a_body_is_guarded(method: bytes) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([-1.0]), JSON)) as upstream, serving(upstream.port) as service:
            response = await ask(service, infer([1.0]), method=method)
        assert said(response, b"Outcome") == "replaced"

    run(scenario())


def test_an_upgrade_on_a_guarded_path_is_refused() -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([1.0]))) as upstream, serving(upstream.port) as service:
            response = await ask(service, infer([1.0]), b"Connection: Upgrade", b"Upgrade: websocket")
            assert upstream.requests == []
        assert response.status == 400

    run(scenario())


@pytest.mark.parametrize(
    "path",
    ["//v2/models/demand/infer", "/v2/models/demand/infer/", "/v2/models/%64emand/infer", "/v2/models/x/../demand/infer", "/V2/models/demand/infer",
     "/v2/models/demand%2Finfer", "/v2/models/demand;a=b/infer", "/v2/./models/demand/infer", "/v2/models/demand/%2569nfer"],
)  # fmt: skip
def test_another_spelling_of_a_guarded_path_is_refused(path: str) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([-1.0]))) as upstream, serving(upstream.port) as service:
            response = await ask(service, infer([1.0]), path=path)
            assert upstream.requests == []
        assert response.status == 400

    run(scenario())


def test_the_query_does_not_matter_to_a_route() -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([1.0]), JSON)) as upstream, serving(upstream.port) as service:
            response = await ask(service, infer([1.0]), path=PATH + "?a=%2f")
            assert upstream.requests[0].target == (PATH + "?a=%2f").encode()
        assert said(response, b"Outcome") == "allowed"

    run(scenario())


def _break_the_judging(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = service.plane.routes[0].guard

    def broken(*_: object) -> object:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(guard), "bind", broken)


def test_what_is_stored_survives_in_a_file_only_its_owner_reads(tmp_path: Path) -> None:
    async def scenario() -> int:
        async with (
            RecorderUpstream(ok(demand([5000.0]), JSON)) as upstream,
            serving(upstream.port) as service,
        ):
            await ask(service, infer([1.0]))
            return service.config.store.stat().st_mode & 0o777

    assert run(scenario()) == 0o600


def test_a_large_batch_is_screened_beside_the_loop_with_the_same_answer() -> None:
    rows = 40_000
    values = [float(i % 900) + 0.25 for i in range(rows)]
    values[17], values[39_999] = -1.0, 5000.0

    async def scenario() -> None:
        async with RecorderUpstream(ok(demand(values), JSON)) as upstream, serving(upstream.port) as service:
            body = infer([1.0] * rows)
            assert len(body) > OFF_LOOP_BYTES
            response = await ask(service, body)
            refused = await ask(service, infer([1.0] * (rows - 1) + [5000.0]))
            undecodable = await ask(service, body[:-1])
        assert response.body == demand(values).replace(b"-1.0", b"5.0", 1).replace(b"5000.0", b"7.0", 1)
        assert said(response, b"Rows") == f"allowed={rows - 2}, replaced=1, held=1"
        assert refused.status == 422
        assert said(undecodable, b"Reason") == "undecodable"

    run(scenario())


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_small_body_that_unpacks_to_a_large_one_is_screened_beside_the_loop(
    coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 40_000
    values = [-1.0] + [float(pow(row, 3, 999_983) % 9_973) / 16 for row in range(1, rows)]

    async def scenario() -> None:
        packed = compress(demand(values), coding)
        line = b"Content-Encoding: " + coding.encode()
        async with (
            RecorderUpstream(ok(packed, JSON, line)) as upstream,
            serving(upstream.port) as service,
        ):
            computed: list[object] = []
            compute = service.plane.background.compute

            def counted(work: object, *more: object) -> None:
                computed.append(work)
                compute(work, *more)  # type: ignore[arg-type]

            monkeypatch.setattr(service.plane.background, "compute", counted)
            response = await ask(service, infer([1.0] * rows))
            asked = len(computed)
        assert PACKED_OFF_LOOP_BYTES < len(packed) < OFF_LOOP_BYTES
        assert asked == 2
        assert said(response, b"Rows") == f"allowed={rows - 1}, replaced=1"

    run(scenario())


@pytest.mark.parametrize("rows", [1, 40_000])
def test_a_fault_on_the_way_to_a_reply_ends_one_exchange_and_not_the_service(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([5000.0] + [1.0] * (rows - 1)), JSON)) as upstream,
            serving(upstream.port) as service,
        ):

            def broken(*_: object) -> object:
                raise ZeroDivisionError("secret")

            with monkeypatch.context() as patch:
                patch.setattr("guardproxy.proxy.guarded.decision_headers", broken)
                response = await ask(service, infer([1.0] * rows))
            assert response.status == 500
            assert b"secret" not in response.body
            assert (await ask(service, infer([1.0] * rows))).status == 200

    run(scenario())
