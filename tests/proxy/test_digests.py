"""Digest lines of a patched response are true of what is sent; those of an untouched one pass as they are."""

import base64
import hashlib

import pytest

from guardproxy.codecs import compress
from guardproxy.proxy.digests import digested
from tests.harness.loop import run
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import ask, demand, infer, serving

JSON = b"Content-Type: application/json"


def b64(algorithm: str, body: bytes) -> bytes:
    return base64.b64encode(hashlib.new(algorithm, body).digest())


@pytest.mark.parametrize("coding", ["identity", "gzip", "br"])
def test_digests_of_a_patched_response_are_over_the_bytes_that_go_out(coding: str) -> None:
    async def scenario() -> None:
        lines = (
            b"Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==",
            JSON,
            b"digest: SHA-256=abc=, md5=def, UNIXsum=30637",
            b"Content-Digest: sha-512=:abc=:, sha-256=:def=:",
            b"Repr-Digest: sha-256=:abc=:;x=1,crc32c=:AAAAAA==:",
            b"X-Digest: sha-256=abc",
            b"Content-Encoding: " + coding.encode(),
        )
        async with (
            RecorderUpstream(ok(compress(demand([-1.0]), coding), *lines)) as upstream,
            serving(upstream.port) as service,
        ):
            response = await ask(service, infer([1.0]))
        body = response.body
        assert body == compress(demand([5.0]), coding)
        assert response.lines[:7] == [
            b"Content-MD5: " + b64("md5", body),
            JSON,
            b"digest: SHA-256=%b, md5=%b" % (b64("sha256", body), b64("md5", body)),
            b"Content-Digest: sha-512=:%b:, sha-256=:%b:" % (b64("sha512", body), b64("sha256", body)),
            b"Repr-Digest: sha-256=:%b:" % b64("sha256", body),
            lines[5],
            lines[6],
        ]

    run(scenario())


def test_a_digest_by_no_known_algorithm_is_left_out() -> None:
    async def scenario() -> None:
        lines = (JSON, b"Digest: crc32c=AAAAAA==", b"Content-Digest: unixcksum=:AAAA:", b"Repr-Digest: ")
        async with (
            RecorderUpstream(ok(demand([-1.0]), *lines)) as upstream,
            serving(upstream.port) as service,
        ):
            response = await ask(service, infer([1.0]))
        assert response.body == demand([5.0])
        assert not [line for line in response.lines if b"digest" in line.lower()]

    run(scenario())


def test_lines_of_an_untouched_response_pass_even_where_they_are_wrong() -> None:
    async def scenario() -> None:
        lines = [JSON, b"Digest: SHA-256=wrong", b"Content-MD5: wrong", b"repr-digest: odd", b'ETag: "a"']
        async with (
            RecorderUpstream(ok(demand([1.0]), *lines)) as upstream,
            serving(upstream.port) as service,
        ):
            response = await ask(service, infer([1.0]))
        assert response.lines[:5] == lines

    run(scenario())


@pytest.mark.parametrize(
    "value", [b"", b",", b"=", b"sha-256", b" sha-256 =x", b"\xff=\xff", b"sha-256=a,sha-256=b"]
)
def test_odd_values_make_digests_or_nothing(value: bytes) -> None:
    for name in (b"digest", b"content-digest", b"repr-digest"):
        made = digested(name, value, b"body")
        assert made is None or b64("sha256", b"body") in made
