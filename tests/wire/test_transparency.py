"""What passes through stays as it was: targets, header lines, bodies, statuses; only the framing of each side is ours."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.wire import Forward, Reply
from tests.harness.apps import App, Guarding, PassThrough, pool_for, serving
from tests.harness.client import RawClient
from tests.harness.loop import run
from tests.harness.upstream import Recorded, RecorderUpstream, ok

if TYPE_CHECKING:
    from collections.abc import Callable

VIA = b"Via: 1.1 guardproxy (n)"


def test_header_lines_keep_their_order_case_and_bytes_both_ways() -> None:
    lines = [
        b"Host: g",
        b"x-A: 1",
        b"X-a: 2",
        b"Cookie: a",
        b"X-A:",
        b"cookie: b",
        b"X-Bytes: \xff\xfe\x80",
        b"X_Y: tab\there",
    ]
    answer = b"HTTP/1.1 207 Multi  Status\r\nsEt-cookie: 1\r\nSet-Cookie: 2\r\nX: \xf0\r\nDate: then\r\ncontent-LENGTH: 2\r\nY:\r\n\r\nok"

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool, nonce="n") as server:
                client = await RawClient.connect(server.port)
                # The second round takes the path for repeated heads.
                for _ in range(2):
                    response = await client.exchange(
                        b"GET /a%2Fb//c/../d%zz?q=%41&&#".rstrip(b"#")
                        + b" HTTP/1.1\r\n"
                        + b"\r\n".join(lines)
                        + b"\r\n\r\n"
                    )
                    assert response.status_line == b"HTTP/1.1 207 Multi  Status"
                    assert response.lines == [
                        b"sEt-cookie: 1",
                        b"Set-Cookie: 2",
                        b"X: \xf0",
                        b"Date: then",
                        b"content-LENGTH: 2",
                        b"Y: ",
                    ]
                    assert response.body == b"ok"
                for request in upstream.requests:
                    assert request.request_line == b"GET /a%2Fb//c/../d%zz?q=%41&& HTTP/1.1"
                    assert request.lines == [line if line != b"X-A:" else b"X-A: " for line in lines] + [VIA]
                assert len(upstream.requests) == 2

    run(scenario())


@pytest.mark.parametrize(
    "target",
    [b"/", b"//x", b"/%00", b"/a;b=c", b"/v2/models/m%3Apredict", b"/?", b"/a?b?c=/../", b"/'\"<>{}|^`"],
)
def test_the_target_goes_upstream_byte_for_byte(target: bytes) -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app = PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                assert (
                    await client.exchange(b"GET " + target + b" HTTP/1.1\r\nHost: g\r\n\r\n")
                ).status == 200
                assert upstream.requests[0].target == target
                assert app.heads[0].target == target

    run(scenario())


def test_a_fragment_in_the_target_is_refused_since_upstreams_would_cut_it_off() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                assert (await client.exchange(b"GET /infer#x HTTP/1.1\r\nHost: g\r\n\r\n")).status == 400
                assert upstream.raw == b""

    run(scenario())


def test_an_absolute_target_becomes_its_path_and_names_the_host() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app = PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                await client.exchange(b"GET http://o:81?q HTTP/1.1\r\nA: 1\r\nhost: g\r\n\r\n")
                await client.exchange(b"OPTIONS http://o HTTP/1.1\r\nHost: g\r\n\r\n")
                await client.exchange(b"GET http://o/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert [r.request_line for r in upstream.requests] == [
                    b"GET /?q HTTP/1.1",
                    b"OPTIONS * HTTP/1.1",
                    b"GET /x HTTP/1.1",
                ]
                assert upstream.requests[0].lines[:2] == [b"A: 1", b"host: o:81"]
                assert upstream.requests[2].all(b"host") == [b"o"]
                assert (await client.exchange(b"GET http://u@o/x HTTP/1.1\r\nHost: g\r\n\r\n")).status == 400

    run(scenario())


def test_a_content_coding_passes_unread() -> None:
    body = b"\x1f\x8b not really gzip"

    async def scenario() -> None:
        async with RecorderUpstream(ok(body, b"Content-Encoding: gzip")) as upstream:
            pool = pool_for(upstream.port)
            async with serving(Guarding(pool), pool) as server:
                client = await RawClient.connect(server.port)
                response = await client.exchange(
                    b"POST / HTTP/1.1\r\nHost: g\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\n\x00\xff\x01"
                )
                assert (response.body, response.get(b"content-encoding")) == (body, b"gzip")
                assert upstream.requests[0].body == b"\x00\xff\x01"

    run(scenario())


def test_hop_by_hop_lines_and_what_connection_names_stay_behind_but_ours_cannot_be_taken() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            app = App(
                lambda _: Forward(
                    pool,
                    add_request=((b"X-Id", b"7"),),
                    drop_request=frozenset({b"x-drop"}),
                    drop_response=frozenset({b"date"}),
                )
            )
            async with serving(app, pool, nonce="n") as server:
                client = await RawClient.connect(server.port)
                await client.exchange(
                    b"GET / HTTP/1.1\r\nHost: g\r\nConnection: X-Id, Host, Via, x-mine\r\nX-Mine: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\n"
                    b"Proxy-Connection: x\r\nProxy-Authorization: x\r\nTrailer: x\r\nUpgrade: h2c\r\nX-DROP: 1\r\nVia: 1.0 a\r\n\r\n"
                )
                assert upstream.requests[0].lines == [b"Host: g", b"Via: 1.0 a", VIA, b"X-Id: 7"]

    run(scenario())


def test_a_response_without_a_date_gets_one() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                response = await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
                assert response.get(
                    b"date",
                ).endswith(b"GMT")  # type: ignore[union-attr]

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "method", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HEAD", 200, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HEAD", 200, b""),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"HEAD", 200, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"GET", 204, b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n", b"GET", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"GET", 304, b""),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            b"GET",
            200,
            b"x",
        ),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", b"GET", 200, b"x"),
    ],
)
def test_responses_without_a_body_leave_both_connections_usable(
    answer: bytes, method: bytes, status: int, body: bytes
) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                for _ in range(3):
                    response = await client.exchange(method + b" / HTTP/1.1\r\nHost: g\r\n\r\n", method)
                    assert (response.status, response.body, response.interim) == (status, body, [])
                    if status == 204:
                        assert not response.all(b"content-length")
                    elif b"Length: 5" in answer:
                        assert response.get(b"content-length") == b"5"
                assert upstream.accepted == 1

    run(scenario())


@pytest.mark.parametrize(
    "surplus",
    [b"x", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"],
)
@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: 1"])
def test_a_body_behind_the_answer_to_head_is_surplus(framing: bytes, surplus: bytes) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + surplus) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                for number in (1, 2):
                    assert (
                        await client.exchange(b"HEAD / HTTP/1.1\r\nHost: g\r\n\r\n", b"HEAD")
                    ).status == 200
                    assert pool.surplus_closes == number
                assert upstream.accepted == 2

    run(scenario())


def test_a_client_of_http_1_0_gets_no_chunks_and_its_connection_as_it_asked() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"

    async def scenario() -> None:
        async with RecorderUpstream(chunked) as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                response = await client.exchange(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (response.body, response.framing) == (b"ok", "close")
                upstream.answer = ok()
                client = await RawClient.connect(server.port)
                for _ in range(2):
                    response = await client.exchange(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                    assert response.get(b"connection") == b"keep-alive"
                response = await client.exchange(b"GET / HTTP/1.0\r\n\r\n")
                assert response.get(b"connection") == b"close"
                assert await client.end() == "clean"
                assert upstream.requests[0].all(b"host") == [pool.origin.authority]
                assert upstream.requests[0].all(b"via")[0].startswith(b"1.0 guardproxy")

    run(scenario())


def test_max_forwards_ends_here_or_goes_on_one_less() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool) as server:
                client = await RawClient.connect(server.port)
                here = await client.exchange(b"OPTIONS * HTTP/1.1\r\nHost: g\r\nMax-Forwards: 0\r\n\r\n")
                assert (here.status, bool(here.all(b"allow"))) == (204, True)
                await client.exchange(b"OPTIONS /x HTTP/1.1\r\nHost: g\r\nMax-Forwards: 3\r\n\r\n")
                assert upstream.requests[0].all(b"max-forwards") == [b"2"]
                assert (await client.exchange(b"TRACE / HTTP/1.1\r\nHost: g\r\n\r\n")).status == 405

    run(scenario())


def test_a_header_that_would_not_be_one_line_is_never_written() -> None:
    bad: list[Reply | Forward] = []

    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            bad.extend(
                [
                    Reply(200, ((b"X", b"a\r\nSet-Cookie: evil"),)),
                    Reply(200, ((b"X", b"a\0"),)),
                    Reply(200, ((b"X Y", b"a"),)),
                    Reply(200, ((b"X:Y", b"a"),)),
                    Reply(200, reason=b"OK\r\nX: evil"),
                    Reply(100),
                    Reply(999),
                    Forward(pool, add_response=((b"X", b"a\nb"),)),
                    Forward(pool, add_request=((b"X", b"a\nb"),)),
                    Forward(pool, add_response=((b"Content-Length", b"7"),)),
                    Forward(pool, add_request=((b"Transfer-Encoding", b"chunked"),)),
                ]
            )
            app = App(lambda _: bad[len(app.heads) - 1])
            async with serving(app, pool) as server:
                for number in range(len(bad)):
                    client = await RawClient.connect(server.port)
                    response = await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
                    assert (response.status, response.all(b"x"), response.all(b"set-cookie")) == (
                        500,
                        [],
                        [],
                    ), number
                assert [type(fault) for fault in app.faults] == [ValueError] * len(bad)

    run(scenario())


def test_a_reply_keeps_the_place_of_its_length_and_leaves_the_body_out_for_head() -> None:
    headers = (
        (b"A", b"1"),
        (b"content-length", b"999"),
        (b"Transfer-Encoding", b"chunked"),
        (b"B", b"2"),
        (b"Date", b"d"),
    )

    async def scenario() -> None:
        app = App(lambda _: Reply(200, headers, b"body"))
        async with serving(app) as server:
            client = await RawClient.connect(server.port)
            response = await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
            assert response.lines == [b"A: 1", b"content-length: 4", b"B: 2", b"Date: d"]
            response = await client.exchange(b"HEAD / HTTP/1.1\r\nHost: g\r\n\r\n", b"HEAD")
            assert response.lines == [b"A: 1", b"content-length: 4", b"B: 2", b"Date: d"]
            assert (await client.exchange(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")).body == b"body"

    run(scenario())


# ---------------------------------------------------------------- any segmentation

_BODY = bytes(range(256)) * 3
_REQUESTS = [
    b"POST /1 HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY,
    b"GET /2?x HTTP/1.1\r\nHost: g\r\nX-Empty:\r\nX-Two: a\r\n\r\n",
    b"POST /3 HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
    b"POST /4 HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nhi",
    b"POST /4 HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nho",
]
_EXPECTED = [(b"/1", _BODY), (b"/2?x", b""), (b"/3", b"abc0123456789"), (b"/4", b"hi"), (b"/4", b"ho")]
_ANSWERS: dict[bytes, tuple[bytes, bytes]] = {
    b"/1": (ok(_BODY, b"X: 1"), _BODY),
    b"/2?x": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x\r\nabcd\r\n1\r\ne\r\n0\r\nT: 1\r\n\r\n",
        b"abcde",
    ),
    b"/3": (b"HTTP/1.1 204 No Content\r\nX: 3\r\n\r\n", b""),
    b"/4": (ok(b"four"), b"four"),
}


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % len(data) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


@pytest.mark.parametrize("guarded", [False, True])
@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 4000), max_size=24), answer_cuts=st.lists(st.integers(0, 1000), max_size=12)
)
def test_any_segmentation_is_forwarded_alike(guarded: bool, cuts: list[int], answer_cuts: list[int]) -> None:
    async def answer(request: Recorded, writer: asyncio.StreamWriter) -> None:
        for piece in _cut(_ANSWERS[request.target][0], answer_cuts):
            writer.write(piece)
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            pool = pool_for(upstream.port)
            app: App = Guarding(pool) if guarded else PassThrough(pool)
            async with serving(app, pool) as server:
                client = await RawClient.connect(server.port)
                for piece in _cut(b"".join(_REQUESTS), cuts):
                    client.writer.write(piece)
                    await asyncio.sleep(0)
                for target, _ in _EXPECTED:
                    response = await client.response()
                    assert response.body == _ANSWERS[target][1]
                assert [(r.target, r.body) for r in upstream.requests] == _EXPECTED
                if not guarded:
                    assert [r.framing for r in upstream.requests] == [
                        "length",
                        "none",
                        "chunked",
                        "length",
                        "length",
                    ]
                assert upstream.requests[1].lines[:3] == [b"Host: g", b"X-Empty: ", b"X-Two: a"]
                assert not app.faults

    run(scenario())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"A", b"a", b"X-B", b"x-b", b"Accept"]), st.binary(max_size=12)),
        max_size=12,
    )
)
def test_any_header_that_can_be_kept_is_kept_and_any_other_refused(lines: list[tuple[bytes, bytes]]) -> None:
    forbidden: Callable[[bytes], bool] = lambda value: any((c < 32 and c != 9) or c == 127 for c in value)  # noqa: E731

    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            pool = pool_for(upstream.port)
            async with serving(PassThrough(pool), pool, nonce="n") as server:
                client = await RawClient.connect(server.port)
                head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
                await client.send(b"GET / HTTP/1.1\r\nHost: g\r\n" + head + b"\r\n")
                response = await client.response()
                if any(forbidden(value) for _, value in lines):
                    assert response.status == 400
                    assert not upstream.requests
                else:
                    assert response.status == 200
                    # White space in front of a value is not part of it.
                    kept = [name + b": " + value.lstrip(b" \t") for name, value in lines]
                    assert upstream.requests[0].lines == [b"Host: g", *kept, VIA]

    # A bare CR LF inside a value would begin another line: that is another request, not this property's.
    if not any(b"\r\n" in value for _, value in lines):
        run(scenario())
