"""The protobuf wire format, read with spans: which fields a message has and where each of them stands.

Decides what is well formed: every field ends inside its message, a varint is no longer than it needs to be and fits into 64
bits, groups are not read. What the fields mean is left to the containers; bytes that nobody names stay as they are.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.errors import DecodeError

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

MAX_PARTS: Final = 1_000_000
"""Fields in one body, those of nested messages included; a body of nothing but empty fields is made to cost time."""

SKIMMED: Final = 16 * 1024
"""Messages of at most this size are first taken for plain ones."""

_MAX_TAG: Final = 2**32
"""Some readers drop the bits beyond; a larger tag would be another field to them."""
_MAX_VARINT: Final = 10
_FIXED: Final = {FIXED64: 8, FIXED32: 4}
_CUT: Final = "the message is cut short"
_OVERLONG: Final = "a number of the message is longer than it needs to be, or than 64 bits"


class Part(NamedTuple):
    """One field of a message. Its value stands from `at` to `end`; `value` is a varint's number, else 0."""

    number: int
    wire: int
    at: int
    end: int
    value: int


_part = partial(tuple.__new__, Part)
"""Makes a Part without Python's own way round: there are a hundred in a small message."""


class Messages:
    """Reads the messages of one body, nested ones too; all together may have MAX_PARTS fields."""

    __slots__ = ("_left", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._left = MAX_PARTS

    def parts(self, start: int, end: int) -> Iterable[Part]:
        """Return the fields of the message from `start` to `end`, in order. Raises DecodeError, perhaps while they are read."""
        found = _skimmed(self.data, start, end) if end - start <= SKIMMED else None
        if found is None:
            return self._walk(start, end)
        self._spend(len(found))
        return found

    def _spend(self, fields: int) -> None:
        self._left -= fields
        if self._left < 0:
            raise DecodeError(f"the message has more than {MAX_PARTS} fields")

    def _walk(self, start: int, end: int) -> Iterator[Part]:
        data = self.data
        at = start
        while at < end:
            self._spend(1)
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = read_varint(data, at - 1, end)
            number, wire = tag >> 3, tag & 7
            if not number or tag >= _MAX_TAG:
                raise DecodeError("a field of the message has no valid number")
            value = 0
            if wire == LENGTH:
                size = data[at] if at < end else 128
                at += 1
                if size > 127:
                    size, at = read_varint(data, at - 1, end)
                stop = at + size
            elif wire == VARINT:
                value, stop = read_varint(data, at, end)
            elif wire in _FIXED:
                stop = at + _FIXED[wire]
            else:
                raise DecodeError("a field of the message has a type that is not in use")
            if stop > end:
                raise DecodeError(_CUT)
            yield _part((number, wire, at, stop, value))
            at = stop

    def text(self, part: Part) -> str:
        """Return a field's text. Raises DecodeError for another type, and for bytes that are no UTF-8."""
        if part.wire != LENGTH:
            raise DecodeError("a text of the message has another type")
        try:
            return self.data[part.at : part.end].decode()
        except UnicodeDecodeError:
            raise DecodeError("a text of the message is not valid UTF-8") from None


def _skimmed(data: bytes, start: int, end: int) -> list[Part] | None:
    """Read a plain message in a short loop: nothing but texts and nested messages, of low numbers. None for all others."""
    found: list[Part] = []
    at = start
    while at + 1 < end:
        tag, size = data[at], data[at + 1]
        at += 2
        if tag & 7 != LENGTH or not 8 <= tag < 128:
            return None
        if size > 127:
            if at == end or not 0 < data[at] < 128:
                return None
            size += (data[at] - 1) << 7
            at += 1
        stop = at + size
        if stop > end:
            return None
        found.append(_part((tag >> 3, LENGTH, at, stop, 0)))
        at = stop
    return found if at == end else None


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the unsigned number that begins at `at`, and where it ends. Raises DecodeError."""
    if at >= end:
        raise DecodeError(_CUT)
    value = data[at]
    if value < 128:
        return value, at + 1
    value &= 127
    limit = min(end, at + _MAX_VARINT)
    shift = 7
    for place in range(at + 1, limit):
        byte = data[place]
        value |= (byte & 127) << shift
        if byte < 128:
            if not byte or value >> 64:
                raise DecodeError(_OVERLONG)
            return value, place + 1
        shift += 7
    raise DecodeError(_CUT if limit == end and end < at + _MAX_VARINT else _OVERLONG)


def varint(value: int) -> bytes:
    """Return a number from 0 to 2**64 - 1 as a varint."""
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


def varint_starts(data: bytes, start: int, end: int) -> NDArray[np.int64]:
    """Return where each of the varints that stand one after the other from `start` to `end` begins, and the end itself.

    Raises DecodeError when the last one is cut.
    """
    raw = _octets(data, start, end)
    stops = np.flatnonzero(raw < 128)
    if len(raw) and (not len(stops) or stops[-1] != len(raw) - 1):
        raise DecodeError(_CUT)
    return np.concatenate((np.zeros(1, np.int64), stops + 1)) + start


def read_few_varints(data: bytes, start: int, end: int) -> list[int]:
    """Return the unsigned numbers that stand one after the other from `start` to `end`. Raises DecodeError."""
    values: list[int] = []
    while start < end:
        value, start = read_varint(data, start, end)
        values.append(value)
    return values


def read_varints(data: bytes, start: int, end: int, count: int) -> NDArray[np.uint64]:
    """Return the same as `read_few_varints`, many at a time. Raises DecodeError unless there are `count`."""
    raw = _octets(data, start, end)
    if np.count_nonzero(raw < 128) != count:
        raise DecodeError("a packed field has more or fewer numbers than it is said to have")
    bounds = varint_starts(data, start, end) - start
    starts, sizes, last = bounds[:-1], np.diff(bounds), raw[bounds[1:] - 1]
    longest = int(sizes.max()) if count else 0
    if longest > _MAX_VARINT or bool(((sizes > 1) & (last == 0) | (sizes == _MAX_VARINT) & (last > 1)).any()):
        raise DecodeError(_OVERLONG)
    values: NDArray[np.uint64] = np.zeros(count, np.uint64)
    for place in range(longest):
        longer = sizes > place
        values[longer] |= (raw[starts[longer] + place] & 127).astype(np.uint64) << np.uint64(7 * place)
    return values


def _octets(data: bytes, start: int, end: int) -> NDArray[np.uint8]:
    # numpy refuses to see nothing in an empty buffer.
    return np.frombuffer(data, np.uint8, end - start, start) if end > start else np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Frame:
    """A nested message, packed field or text, whose length says where it ends: its content from `at` to `end`."""

    at: int
    end: int
    parent: "Frame | None" = None

    @property
    def depth(self) -> int:
        """How many frames it stands in."""
        return 0 if self.parent is None else self.parent.depth + 1


class Edit(NamedTuple):
    """New bytes in place of those from `start` to `end`, inside a frame or in none."""

    start: int
    end: int
    new: bytes
    frame: Frame | None = None


def edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    """Return `data` with edits that do not overlap applied and the lengths around them made right."""
    pieces = [(edit.start, edit.end, edit.new) for edit in edits]
    grown: defaultdict[Frame, int] = defaultdict(int)
    for edit in edits:
        if edit.frame is not None:
            grown[edit.frame] += len(edit.new) - (edit.end - edit.start)
    for depth in range(max((frame.depth for frame in grown), default=-1), -1, -1):
        for frame in [frame for frame in grown if frame.depth == depth and grown[frame]]:
            size = frame.end - frame.at
            old, new = varint(size), varint(size + grown[frame])
            pieces.append((frame.at - len(old), frame.at, new))
            if frame.parent is not None:
                grown[frame.parent] += grown[frame] + len(new) - len(old)
    return _joined(data, sorted(pieces))


def _joined(data: bytes, pieces: Sequence[tuple[int, int, Any]]) -> bytes:
    parts: list[bytes] = []
    at = 0
    for start, end, new in pieces:
        parts += (data[at:start], new)
        at = end
    parts.append(data[at:])
    return b"".join(parts)
