"""What a drift detector remembers from bucket to bucket, and its form in the store.

Decides the form and what counts as damage. What the numbers mean is left to `detector`.

A state is a head, then for each field its numbers as little-endian float32 and its two bucket numbers, then a checksum: at
most BYTES_PER_FIELD for a field. Replicas go on from what was written, so the numbers are float32 in memory too.
"""

import struct
import zlib
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardproxy.stats.alarms import NEVER, QUIET, Alarm

BYTES_PER_FIELD: Final = 608
FOLLOWED: Final = 2
"""How many alternatives of a field follow the stream."""

Shape = tuple[tuple[int, int], ...]
"""By field how many alternatives it has, those that follow the stream included, and how many cells."""

_HEAD: Final = struct.Struct("<4sIqqqB")
_MAGIC: Final = b"gpd1"
_CHECKSUM: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class DetectorState:
    """The evidence after the bucket `cursor`, by field in the order of the detector; what a field lacks is padded.

    `evidence` is log M by alternative, shape (fields, alternatives); `followed` counts with a fading memory, (fields, FOLLOWED,
    cells); `now` what was counted since the bucket `since` in which the present evidence begins, (fields, cells), and
    `expected` what the reference expects of as many rows; `named` the bucket in which the alarm named the field, or NEVER.
    """

    cursor: int
    alarm: Alarm
    shape: Shape
    evidence: NDArray[np.float32]
    followed: NDArray[np.float32]
    now: NDArray[np.float32]
    expected: NDArray[np.float32]
    since: NDArray[np.int64]
    named: NDArray[np.int64]

    @staticmethod
    def empty(cursor: int, shape: Shape) -> "DetectorState":
        """Return the state of one who has seen nothing."""
        fields = len(shape)
        alternatives = max((each for each, _ in shape), default=0)
        cells = max((each for _, each in shape), default=0)
        nothing = np.full(fields, NEVER, dtype=np.int64)
        return DetectorState(
            cursor=cursor,
            alarm=QUIET,
            shape=shape,
            evidence=np.full((fields, alternatives), -np.inf, dtype=np.float32),
            followed=np.zeros((fields, FOLLOWED, cells), dtype=np.float32),
            now=np.zeros((fields, cells), dtype=np.float32),
            expected=np.zeros((fields, cells), dtype=np.float32),
            since=nothing,
            named=nothing,
        )

    def at(self, bucket: int) -> "DetectorState":
        """Return the same evidence after one more bucket."""
        return replace(self, cursor=bucket)

    def judged(
        self, alarm: Alarm, evidence: NDArray[np.float32], named: NDArray[np.int64]
    ) -> "DetectorState":
        """Return the state with what follows for its alarm."""
        return replace(self, alarm=alarm, evidence=evidence, named=named)

    def encode(self) -> bytes:
        """Return the state's bytes."""
        head = _HEAD.pack(
            _MAGIC,
            _shape_sum(self.shape),
            self.cursor,
            self.alarm.raised,
            self.alarm.tried,
            self.alarm.confirmed,
        )
        parts = [head]
        for line, (alternatives, cells) in enumerate(self.shape):
            numbers = (
                _fixed_first(self.evidence[line], alternatives),
                self.followed[line, :, :cells].ravel(),
                self.now[line, :cells],
                self.expected[line, :cells],
            )
            parts.append(np.concatenate(numbers).astype("<f4").tobytes())
            parts.append(struct.pack("<qq", int(self.since[line]), int(self.named[line])))
        body = b"".join(parts)
        return body + _CHECKSUM.pack(zlib.crc32(body))


def decode(blob: bytes, shape: Shape) -> DetectorState:
    """Read a state of this shape. Raises ValueError for one that is damaged or of another shape."""
    state = DetectorState.empty(NEVER, shape)
    size = _HEAD.size + sum(_bytes(*each) for each in shape) + _CHECKSUM.size
    if len(blob) != size or _CHECKSUM.unpack_from(blob, size - _CHECKSUM.size)[0] != zlib.crc32(
        blob[: -_CHECKSUM.size]
    ):
        raise ValueError(
            f"a drift state of {len(blob)} bytes is damaged, or of other fields ({size} bytes are expected)"
        )
    magic, shape_sum, cursor, raised, tried, confirmed = _HEAD.unpack_from(blob)
    if magic != _MAGIC or shape_sum != _shape_sum(shape):
        raise ValueError("a drift state is of other fields, or of another version of this program")
    evidence, followed, now, expected = state.evidence, state.followed, state.now, state.expected
    since, named = state.since.copy(), state.named.copy()
    start = _HEAD.size
    for line, (alternatives, cells) in enumerate(shape):
        numbers = np.frombuffer(blob, dtype="<f4", count=alternatives + cells * (FOLLOWED + 2), offset=start)
        if np.isnan(numbers).any():
            raise ValueError("a drift state holds what is no number")
        _put_fixed_first(evidence[line], numbers[:alternatives])
        behind = numbers[alternatives:]
        followed[line, :, :cells] = behind[: FOLLOWED * cells].reshape(FOLLOWED, cells)
        now[line, :cells] = behind[FOLLOWED * cells : (FOLLOWED + 1) * cells]
        expected[line, :cells] = behind[(FOLLOWED + 1) * cells :]
        since[line], named[line] = struct.unpack_from("<qq", blob, start + 4 * len(numbers))
        start += _bytes(alternatives, cells)
    alarm = Alarm(raised, tried, bool(confirmed))
    return replace(state, cursor=cursor, alarm=alarm, since=since, named=named)


def _bytes(alternatives: int, cells: int) -> int:
    return 4 * (alternatives + cells * (FOLLOWED + 2)) + 16


def _fixed_first(line: NDArray[np.float32], alternatives: int) -> NDArray[np.float32]:
    """Leave out the padding, which stands between the fixed alternatives and those that follow the stream."""
    return np.concatenate((line[: alternatives - FOLLOWED], line[len(line) - FOLLOWED :]))


def _put_fixed_first(line: NDArray[np.float32], numbers: NDArray[np.float32]) -> None:
    line[: len(numbers) - FOLLOWED] = numbers[:-FOLLOWED]
    line[len(line) - FOLLOWED :] = numbers[-FOLLOWED:]


def _shape_sum(shape: Shape) -> int:
    return zlib.crc32(repr(shape).encode())
