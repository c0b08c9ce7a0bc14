"""Heads: what is trusted, what is refused, what may travel on."""

from __future__ import annotations

import pytest

from guardproxy.wire import Header, Limits, Timeouts, default_refusal, forwardable
from guardproxy.wire.heads import HeadFault, host_is_valid, request_head, response_head

HOST: Header = (b"Host", b"g")


def test_a_request_head_says_how_its_body_is_framed() -> None:
    plain = request_head(b"GET", b"/", "1.1", [HOST])
    assert (plain.has_body, plain.content_length, plain.chunked, plain.keep_alive) == (
        False,
        None,
        False,
        True,
    )
    sized = request_head(b"POST", b"/", "1.0", [(b"content-LENGTH", b"3")])
    assert (sized.has_body, sized.content_length, sized.keep_alive) == (True, 3, False)
    chunked = request_head(b"POST", b"/", "1.1", [HOST, (b"Transfer-Encoding", b" Chunked")])
    assert (chunked.has_body, chunked.content_length, chunked.chunked) == (True, None, True)


def test_get_and_all_look_lines_up_by_their_lower_case_name() -> None:
    head = request_head(b"GET", b"/", "1.1", [HOST, (b"X-a", b"1"), (b"x-A", b"2")])
    assert (head.get(b"x-a"), head.all(b"x-a"), head.get(b"y"), head.all(b"y")) == (
        b"1",
        [b"1", b"2"],
        None,
        [],
    )


@pytest.mark.parametrize(
    ("status", "method", "target", "version", "headers"),
    [
        (505, b"GET", b"/", "2.0", [HOST]),
        (400, b"GET", b"/", "0.9", []),
        (405, b"TRACE", b"/", "1.1", [HOST]),
        (405, b"CONNECT", b"h:1", "1.1", [HOST]),
        (400, b"GET", b"*", "1.1", [HOST]),
        (400, b"GET", b"x", "1.1", [HOST]),
        (400, b"GET", b"ftp://h/", "1.1", [HOST]),
        (400, b"GET", b"http:///x", "1.1", [HOST]),
        (400, b"GET", b"/#", "1.1", [HOST]),
        (400, b"GET", b"/", "1.1", []),
        (400, b"GET", b"/", "1.1", [HOST, HOST]),
        (400, b"GET", b"/", "1.0", [HOST, (b"host", b"h")]),
        (400, b"POST", b"/", "1.1", [HOST, (b"Content-Length", b"1"), (b"content-length", b"1")]),
        (400, b"POST", b"/", "1.1", [HOST, (b"Content-Length", b"1, 1")]),
        (400, b"POST", b"/", "1.1", [HOST, (b"Content-Length", b"1" * 19)]),
        (400, b"POST", b"/", "1.1", [HOST, (b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")]),
        (400, b"POST", b"/", "1.0", [(b"Transfer-Encoding", b"chunked")]),
        (501, b"POST", b"/", "1.1", [HOST, (b"Transfer-Encoding", b"gzip, chunked")]),
        (
            501,
            b"POST",
            b"/",
            "1.1",
            [HOST, (b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        ),
        (400, b"POST", b"/", "1.1", [HOST, (b"Content_Length", b"3")]),
        (400, b"POST", b"/", "1.1", [HOST, (b"transfer_Encoding", b"chunked")]),
        (417, b"POST", b"/", "1.1", [HOST, (b"Expect", b"a")]),
    ],
)
def test_a_request_head_that_cannot_be_trusted_is_refused(
    status: int, method: bytes, target: bytes, version: str, headers: list[Header]
) -> None:
    with pytest.raises(HeadFault) as fault:
        request_head(method, target, version, headers)
    assert fault.value.status == status
    assert fault.value.detail


@pytest.mark.parametrize(
    "host", [b"g", b"", b"a.b:80", b"a:", b"[::1]", b"[::1]:8", b"127.0.0.1", b"x_y", b"a%20b"]
)
def test_a_host_is_a_name_or_an_address_with_an_optional_port(host: bytes) -> None:
    assert host_is_valid(host)


@pytest.mark.parametrize(
    "host", [b"a b", b"a@b", b"a/b", b"[::1", b"a:b", b"a:1:2", b"::1", b"a?b", b"a#b", b"a\\b", b"a\xff"]
)
def test_anything_else_is_not_a_host(host: bytes) -> None:
    assert not host_is_valid(host)


def test_a_response_head_says_how_its_body_ends() -> None:
    assert response_head(200, b"OK", "1.1", [], b"GET").until_close
    assert not response_head(200, b"OK", "1.1", [], b"HEAD").until_close
    assert response_head(304, b"", "1.1", [(b"Content-Length", b"5")], b"GET").bodiless
    assert not response_head(200, b"OK", "1.0", [(b"Content-Length", b"5")], b"GET").keep_alive
    for status, headers in [
        (99, []),
        (600, []),
        (200, [(b"Content-Length", b"x")]),
        (200, [(b"Transfer-Encoding", b"gzip")]),
    ]:
        with pytest.raises(HeadFault):
            response_head(status, b"OK", "1.1", headers, b"GET")


def test_only_end_to_end_lines_are_forwardable() -> None:
    lines: list[Header] = [
        (b"A", b"1"),
        (b"Connection", b"close, B ,c"),
        (b"b", b"2"),
        (b"C", b"3"),
        (b"connection", b"D, Content-Length"),
        (b"d", b"4"),
        (b"Keep-Alive", b"5"),
        (b"TE", b"6"),
        (b"Transfer-Encoding", b"7"),
        (b"Upgrade", b"8"),
        (b"Proxy-Authenticate", b"9"),
        (b"Content-Length", b"10"),
        (b"a", b"11"),
    ]
    assert forwardable(lines) == [(b"A", b"1"), (b"Content-Length", b"10"), (b"a", b"11")]


def test_the_clock_is_fine_enough_for_the_shortest_timeout() -> None:
    assert Timeouts().sweep_s == 0.5
    assert Timeouts(connect_s=0.2).sweep_s == pytest.approx(0.05)
    assert Timeouts(connect_s=0.0001).sweep_s == 0.01
    assert Limits().max_headers == 128


def test_the_default_refusal_is_a_problem_document() -> None:
    import json

    reply = default_refusal(418, 'a "quoted" \\ detail')
    document = json.loads(reply.body)
    assert (document["status"], document["detail"]) == (418, 'a "quoted" \\ detail')
    assert dict(reply.headers)[b"Content-Type"] == b"application/problem+json"
