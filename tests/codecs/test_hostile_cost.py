"""Hostile documents cost no more than their size: counted in look-ups, never in time."""

from typing import Any

import pytest

from guardproxy.codecs import CodecOptions, json_text, make_codec
from guardproxy.errors import DecodeError
from guardproxy.message import Message


def test_an_object_of_many_keys_is_not_looked_up_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast parser walks an object's members at each look-up, so n keys would take n squared steps."""
    if json_text.DEFAULT_PARSER is None:
        pytest.skip("simdjson is not installed")
    descended: list[int] = []
    original = json_text._Hollow.value

    def watched(self: Any, proxy: Any, depth: int) -> Any:
        descended.append(depth)
        return original(self, proxy, depth)

    monkeypatch.setattr(json_text._Hollow, "value", watched)
    keys = ",".join(f'"k{i}":{i}' for i in range(20_000))
    with pytest.raises(DecodeError):
        make_codec("kserve-v1", CodecOptions()).decode_request(
            Message(b'{"instances":[{"x":1,%s}]}' % keys.encode())
        )
    assert len(descended) < 100
