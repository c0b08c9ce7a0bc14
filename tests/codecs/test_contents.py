import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.codecs import compress, decompress
from guardproxy.errors import DecodeError

MIB = 1024 * 1024


@given(st.binary(max_size=3000), st.sampled_from(["identity", "gzip", "GZIP", "x-gzip", " deflate ", ""]))
def test_what_was_compressed_comes_back(body: bytes, coding: str) -> None:
    assert decompress(compress(body, coding), coding, max_bytes=4000) == body


def test_a_bare_deflate_stream_is_read() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    raw = packer.compress(b"rows" * 50) + packer.flush()
    assert decompress(raw, "deflate", max_bytes=1000) == b"rows" * 50


def test_several_members_are_one_body() -> None:
    assert decompress(gzip.compress(b"a") * 8, "gzip", max_bytes=100) == b"a" * 8


def _damaged() -> dict[str, tuple[bytes, str]]:
    whole = gzip.compress(b"a body of some length" * 20)
    flipped = bytearray(whole)
    flipped[-6] ^= 1
    return {
        "plain bytes as gzip": (b'{"a": 1}', "gzip"),
        "nothing as gzip": (b"", "gzip"),
        "nothing as deflate": (b"", "deflate"),
        "cut": (whole[:-9], "gzip"),
        "cut in the trailer": (whole[:-2], "gzip"),
        "wrong checksum": (bytes(flipped), "gzip"),
        "trailing bytes": (whole + b"junk", "gzip"),
        "trailing bytes behind deflate": (zlib.compress(b"x") + b"junk", "deflate"),
        "nine members": (gzip.compress(b"a") * 9, "gzip"),
        "ten thousand members": (gzip.compress(b"") * 10_000, "gzip"),
        "two codings": (whole, "gzip, gzip"),
        "brotli": (whole, "br"),
        "unknown": (whole, "x-unknown"),
    }


@pytest.mark.parametrize("name", _damaged())
def test_a_damaged_or_unknown_coding_is_undecodable(name: str) -> None:
    body, coding = _damaged()[name]
    with pytest.raises(DecodeError):
        decompress(body, coding, max_bytes=MIB)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_inflation_stops_at_the_cap(coding: str) -> None:
    with pytest.raises(DecodeError, match="inflates beyond"):
        decompress(compress(b"\0" * (3 * MIB), coding), coding, max_bytes=2 * MIB)


def test_a_bomb_stops_at_its_ratio_long_before_the_cap() -> None:
    bomb = compress(b"\0" * (64 * MIB), "gzip")
    with pytest.raises(DecodeError, match="inflates beyond"):
        decompress(bomb, "gzip", max_bytes=1024 * MIB)


def test_a_small_body_of_zeros_is_no_bomb() -> None:
    assert len(decompress(compress(b"\0" * 900_000, "gzip"), "gzip", max_bytes=MIB)) == 900_000


def test_an_uncompressed_body_has_the_same_cap() -> None:
    with pytest.raises(DecodeError):
        decompress(b"12345", "identity", max_bytes=4)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_inflate_or_are_undecodable(body: bytes, coding: str) -> None:
    with contextlib.suppress(DecodeError):
        assert len(decompress(body, coding, max_bytes=10_000)) <= 10_000
