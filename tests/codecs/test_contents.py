import contextlib
import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.codecs import compress, decompress
from guardproxy.errors import DecodeError

MIB = 1024 * 1024
SPELLINGS = [
    "identity", "gzip", "GZIP", "x-gzip", " deflate ", "", "br", "zstd", "Zstd", "gzip, br", "deflate,gzip", "zstd, identity",
    "identity, identity, identity", "br , zstd",
]  # fmt: skip
PACKED = ["gzip", "deflate", "br", "zstd"]


@given(st.binary(max_size=3000), st.sampled_from(SPELLINGS))
def test_what_was_compressed_comes_back(body: bytes, coding: str) -> None:
    assert decompress(compress(body, coding), coding, max_bytes=4000) == body


def test_a_bare_deflate_stream_is_read() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    raw = packer.compress(b"rows" * 50) + packer.flush()
    assert decompress(raw, "deflate", max_bytes=1000) == b"rows" * 50


def test_several_members_are_one_body() -> None:
    assert decompress(gzip.compress(b"a") * 8, "gzip", max_bytes=100) == b"a" * 8


def test_several_frames_are_one_body_and_a_frame_to_skip_holds_nothing() -> None:
    told, untold = _zstd(b"a" * 300), _zstd(b"b", write_content_size=False, write_checksum=True)
    skipped = b"\x5a\x2a\x4d\x18\x03\0\0\0xyz"
    assert decompress(told + skipped + untold, "zstd", max_bytes=1000) == b"a" * 300 + b"b"


@given(st.binary(max_size=300_000), st.booleans(), st.booleans(), st.integers(1, 12))
def test_every_form_of_a_zstd_frame_is_read(body: bytes, told: bool, checked: bool, level: int) -> None:
    packed = _zstd(body, level, write_content_size=told, write_checksum=checked)
    assert decompress(packed, "zstd", max_bytes=400_000) == body


def _zstd(body: bytes, level: int = 3, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(level=level, **options).compress(body)


def _damaged() -> dict[str, tuple[bytes, str]]:
    body = b"a body of some length" * 20
    whole, zstd, br = gzip.compress(body), _zstd(body), brotli.compress(body)
    flipped = bytearray(whole)
    flipped[-6] ^= 1
    checked = bytearray(_zstd(body, write_checksum=True))
    checked[-1] ^= 1
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
        "a coding that is not there twice": (whole, "gzip, gzip"),
        "three codings": (whole, "gzip, gzip, gzip"),
        "codings in the wrong order": (compress(body, "gzip, br"), "br, gzip"),
        "the outer of two cut": (compress(body, "gzip, br")[:-1], "gzip, br"),
        "the inner of two cut": (brotli.compress(whole[:-1]), "gzip, br"),
        "gzip as brotli": (whole, "br"),
        "nothing as brotli": (b"", "br"),
        "cut brotli": (br[:-1], "br"),
        "trailing bytes behind brotli": (br + b"junk", "br"),
        "brotli twice in a row": (br + br, "br"),
        "gzip as zstd": (whole, "zstd"),
        "nothing as zstd": (b"", "zstd"),
        "cut zstd": (zstd[:-1], "zstd"),
        "zstd cut in its head": (zstd[:5], "zstd"),
        "zstd cut in its checksum": (_zstd(body, write_checksum=True)[:-2], "zstd"),
        "wrong checksum of zstd": (bytes(checked), "zstd"),
        "trailing bytes behind zstd": (zstd + b"junk", "zstd"),
        "a cut second frame": (zstd + zstd[:-3], "zstd"),
        "a cut frame to skip": (b"\x50\x2a\x4d\x18\xff\xff\xff\xff", "zstd"),
        "nine frames": (_zstd(b"a") * 9, "zstd"),
        "a size that is a lie": (b"\x28\xb5\x2f\xfd\x20\x02\x01\x00\x00", "zstd"),
        "a reserved block": (b"\x28\xb5\x2f\xfd\x20\x00\x07\x00\x00", "zstd"),
        "a window of 2 GiB": (b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", "zstd"),
        "unknown": (whole, "x-unknown"),
    }


@pytest.mark.parametrize("name", _damaged())
def test_a_damaged_or_unknown_coding_is_undecodable(name: str) -> None:
    body, coding = _damaged()[name]
    with pytest.raises(DecodeError):
        decompress(body, coding, max_bytes=MIB)


@pytest.mark.parametrize("coding", PACKED)
def test_inflation_stops_at_the_cap(coding: str) -> None:
    with pytest.raises(DecodeError, match="inflates beyond"):
        decompress(compress(b"\0" * (3 * MIB), coding), coding, max_bytes=2 * MIB)


@pytest.mark.parametrize("coding", PACKED)
def test_a_bomb_stops_at_its_ratio_long_before_the_cap(coding: str) -> None:
    bomb = compress(b"\0" * (64 * MIB), coding)
    with pytest.raises(DecodeError, match="inflates beyond"):
        decompress(bomb, coding, max_bytes=1024 * MIB)


def test_a_bomb_that_does_not_tell_its_size_stops_as_well() -> None:
    bomb = _zstd(b"\0" * (64 * MIB), write_content_size=False)
    with pytest.raises(DecodeError, match="inflates beyond"):
        decompress(bomb, "zstd", max_bytes=1024 * MIB)


def test_two_codings_share_one_ratio() -> None:
    # Each of them alone would stay below it.
    bomb = compress(b"\0" * (8 * MIB), "gzip, br")
    with pytest.raises(DecodeError, match="inflates beyond"):
        decompress(bomb, "gzip, br", max_bytes=1024 * MIB)


def test_a_small_body_of_zeros_is_no_bomb() -> None:
    assert len(decompress(compress(b"\0" * 900_000, "gzip"), "gzip", max_bytes=MIB)) == 900_000


def test_an_uncompressed_body_has_the_same_cap() -> None:
    with pytest.raises(DecodeError):
        decompress(b"12345", "identity", max_bytes=4)


@given(st.binary(max_size=200), st.sampled_from([*PACKED, "gzip, br"]))
def test_any_bytes_inflate_or_are_undecodable(body: bytes, coding: str) -> None:
    with contextlib.suppress(DecodeError):
        assert len(decompress(body, coding, max_bytes=10_000)) <= 10_000


@given(st.binary(min_size=1, max_size=2000), st.sampled_from(PACKED), st.data())
def test_a_cut_body_is_never_taken_for_a_whole_one(body: bytes, coding: str, data: st.DataObject) -> None:
    packed = compress(body, coding)
    at = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(DecodeError):
        decompress(packed[:at], coding, max_bytes=10_000)


def test_a_coding_that_is_not_known_cannot_be_applied() -> None:
    with pytest.raises(ValueError, match="x-unknown"):
        compress(b"a", "gzip, x-unknown")
