"""Bytes of other replicas, which may be anything."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.stats.blobs import deflated, deflated_json, inflated, inflated_json

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8)


@given(st.binary(max_size=200))
def test_bytes_come_back_as_they_were_when_they_may_have_so_many(data: bytes) -> None:
    assert inflated(deflated(data), len(data)) == data
    if data:
        with pytest.raises(ValueError, match="at most"):
            inflated(deflated(data), len(data) - 1)


@given(JSON)
def test_values_come_back_as_they_were(said: object) -> None:
    assert inflated_json(deflated_json(said), 10_000) == said


@pytest.mark.parametrize(
    "blob", [b"", b"x", deflated(b"ab")[:-1], deflated(b"ab") + b"x", deflated(b"ab") + deflated(b"c")]
)
def test_what_is_cut_short_or_goes_on_behind_its_end_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        inflated(blob, 100)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, json.dumps("a").encode() + b"x"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"damaged|Expecting|Extra|codec"):
        inflated_json(zlib.compress(text), 1_000_000)
