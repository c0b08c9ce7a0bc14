"""The protobuf wire format: what is read, what is refused, and what an edit changes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.codecs import protobuf
from guardproxy.codecs.protobuf import (
    Edit,
    Frame,
    Messages,
    Part,
    edited,
    read_few_varints,
    read_varints,
    varint,
    varint_starts,
)
from guardproxy.errors import DecodeError
from tests.harness.grpc_messages import number, sized, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBERS = st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.sampled_from([127, 128, 2**14, 2**32, 2**63])
FIELDS = st.integers(1, 2**29 - 1) | st.integers(1, 20)

CUT = "cut short"
OVERLONG = "longer than it needs to be"


def parts(data: bytes) -> list[Part]:
    return list(Messages(data).parts(0, len(data)))


def test_every_field_is_found_with_its_number_its_type_and_its_place() -> None:
    data = number(1, 300) + sized(2, "abc") + tag(3, 1) + bytes(8) + tag(99, 5) + bytes(4)
    assert parts(data) == [
        Part(1, 0, 1, 3, 300),
        Part(2, 2, 5, 8, 0),
        Part(3, 1, 9, 17, 0),
        Part(99, 5, 19, 23, 0),
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x08", CUT),
        (b"\x08\x80", CUT),
        (b"\x80", CUT),
        (b"\x0a", CUT),
        (b"\x0a\x05abcd", CUT),
        (b"\x0a\xff\xff\xff\xff\x0f", CUT),
        (b"\x09" + bytes(7), CUT),
        (b"\x0d" + bytes(3), CUT),
        (b"\x0b\x0c", "not in use"),
        (b"\x0e\x00", "not in use"),
        (b"\x0f\x00", "not in use"),
        (b"\x00\x00", "no valid number"),
        (b"\x02\x00", "no valid number"),
        (varint(2**32) + b"\x00", "no valid number"),
        (b"\x08\x80\x00", OVERLONG),
        (b"\x88\x00\x01", OVERLONG),
        (b"\x0a\x81\x00a", OVERLONG),
        (b"\x08" + b"\xff" * 9 + b"\x02", OVERLONG),
        (b"\x08" + b"\xff" * 10 + b"\x01", OVERLONG),
        (b"\x0a" + b"\xff" * 100, OVERLONG),
    ],
)
def test_a_malformed_message_is_undecodable(data: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=re.escape(why)):
        parts(data)


def test_a_nested_message_cannot_reach_beyond_its_own_end() -> None:
    data = sized(1, b"\x0a\x03a") + b"bc"
    with pytest.raises(DecodeError, match=CUT):
        list(Messages(data).parts(2, 5))


def test_a_text_must_be_utf_8_and_a_text() -> None:
    data = sized(1, b"\xff") + number(2, 1)
    first, second = parts(data)
    messages = Messages(data)
    with pytest.raises(DecodeError, match="UTF-8"):
        messages.text(first)
    with pytest.raises(DecodeError, match="another type"):
        messages.text(second)


def test_a_body_of_nothing_but_empty_fields_is_read_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MAX_PARTS", 10)
    messages = Messages(b"\x0a\x00" * 11)
    with pytest.raises(DecodeError, match="more than 10 fields"):
        list(messages.parts(0, 22))
    both = Messages(b"\x0a\x00" * 11)
    assert len(list(both.parts(0, 12))) == 6
    with pytest.raises(DecodeError, match="more than 10 fields"):
        list(both.parts(12, 22))


@given(st.binary(max_size=60))
def test_whatever_the_bytes_they_are_tiled_by_fields_or_refused(data: bytes) -> None:
    try:
        found = parts(data)
    except DecodeError:
        return
    remade = b""
    for part in found:
        size = varint(part.end - part.at) if part.wire == protobuf.LENGTH else b""
        remade += varint(part.number << 3 | part.wire) + size + data[part.at : part.end]
    assert remade == data


@given(st.lists(NUMBERS, max_size=80))
def test_varints_read_as_they_were_written_few_and_many_alike(numbers: list[int]) -> None:
    lead = b"\x08"
    data = lead + b"".join(map(varint, numbers))
    assert read_few_varints(data, 1, len(data)) == numbers
    assert read_varints(data, 1, len(data), len(numbers)).tolist() == numbers
    starts = varint_starts(data, 1, len(data)).tolist()
    assert [data[a:b] for a, b in pairwise(starts)] == [varint(n) for n in numbers]


@given(st.binary(max_size=40))
def test_varints_are_refused_few_and_many_alike(data: bytes) -> None:
    def outcome(read: Any) -> list[int] | None:
        try:
            return list(read())
        except DecodeError:
            return None

    few = outcome(lambda: read_few_varints(data, 0, len(data)))
    count = sum(byte < 128 for byte in data)
    many = outcome(lambda: read_varints(data, 0, len(data), count).tolist())
    # Bytes behind the last whole number are found by whoever asks for the starts.
    if data and data[-1] > 127:
        assert few is None
        assert many is None
    else:
        assert few == many


def test_more_or_fewer_varints_than_asked_for_are_refused() -> None:
    for count in (0, 1, 3):
        with pytest.raises(DecodeError, match="more or fewer"):
            read_varints(b"\x01\x02", 0, 2, count)


TREES = st.recursive(
    st.tuples(FIELDS, st.binary(max_size=6) | st.binary(min_size=120, max_size=135)),
    lambda inner: st.tuples(FIELDS, st.lists(inner, max_size=4)),
    max_leaves=12,
)


def _bytes(tree: Any, new: dict[int, bytes], leaves: list[int]) -> bytes:
    """Write a tree, its leaves (counted in order) replaced by `new`."""
    field, inner = tree
    if isinstance(inner, bytes):
        leaves.append(len(leaves))
        return sized(field, new.get(leaves[-1], inner))
    return sized(field, b"".join(_bytes(one, new, leaves) for one in inner))


def _spans(tree: Any, data: bytes, start: int, parent: Frame | None, found: list[Frame]) -> int:
    """Collect the frame of each leaf of a tree that begins at `start`; return where it ends."""
    part = next(iter(Messages(data).parts(start, len(data))))
    frame = Frame(part.at, part.end, parent)
    if isinstance(tree[1], bytes):
        found.append(frame)
    else:
        at = part.at
        for one in tree[1]:
            at = _spans(one, data, at, frame, found)
    return part.end


@given(st.lists(TREES, min_size=1, max_size=3), st.data())
def test_an_edit_gives_the_message_that_had_been_written_with_it(
    trees: Sequence[Any], data: st.DataObject
) -> None:
    leaves: list[int] = []
    body = b"".join(_bytes(tree, {}, leaves) for tree in trees)
    frames: list[Frame] = []
    at = 0
    for tree in trees:
        at = _spans(tree, body, at, None, frames)
    chosen = data.draw(st.sets(st.sampled_from(leaves)) if leaves else st.just(set()))
    new = {leaf: data.draw(st.binary(max_size=140)) for leaf in chosen}
    edits = [Edit(frames[leaf].at, frames[leaf].end, text, frames[leaf]) for leaf, text in new.items()]
    counted: list[int] = []
    assert edited(body, edits) == b"".join(_bytes(tree, new, counted) for tree in trees)
