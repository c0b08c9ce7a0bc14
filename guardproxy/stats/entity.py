"""What is remembered of one output of one entity: a record of at most 60 bytes, and what it lets one expect next.

Decides the record's form and how an answer changes it. An answer that is not newer than the last one changes nothing, so
that answers may be told twice, and late ones undo nothing. Arithmetic runs over many records at once; who keeps them, and
where, is left to the proxy.

Level and seasonal phases are smoothed exponentially (Holt, 1957; Winters, 1960) in `signed_log`, so that phases are shares
of the level and a single large answer moves it little.
"""

import math
import struct
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.rules.past import (
    LEAST_FLOOR,
    MAX_SIZE,
    RELATIVE_FLOOR,
    Usual,
    signed_log,
    spread_floor,
    unsigned,
)
from guardproxy.table import Floats, Mask

Records: TypeAlias = NDArray[Any]
"""Records in an array of dtype RECORD, one per entity."""

RING: Final = 8
"""How many of the last answers a record holds, to within QUANTUM."""
QUANTUM: Final = 0.001
"""The relative error of an answer in the ring; the very last answer is exact."""
MAX_WORD_BYTES: Final = 40
"""A text of so many bytes (UTF-8) fits into a record; of a longer one nothing is shared."""
PARTS: Final = 65_536
"""Parts of a second in which moments are told apart."""

LEVEL_RATE: Final = 0.25
PHASE_RATE: Final = 0.2
SPREAD_RATE: Final = 0.05
MIN_ANSWERS: Final = 8
"""Answers before anything is called unusual."""

_STEP: Final = 2 * math.log1p(QUANTUM)
_MAGNITUDES: Final = 0x7FFF
_MIDDLE: Final = _MAGNITUDES // 2
_PHASE_STEP: Final = 0.001
_MAX_COUNT: Final = 60_000
"""Where the count stops rising: a multiple of RING, so that the ring goes on in its place."""


class Kind(IntEnum):
    """What a record's first byte after the time says that it is."""

    NUMBER = 1
    PHASES = 2
    TEXT = 3
    FLAG = 4


class Season(NamedTuple):
    """A season: so many phases of so many seconds each, the first at `shift_s` after the start of Unix time."""

    name: str
    phases: int
    length_s: float
    shift_s: float = 0.0

    def phase(self, times: Floats) -> NDArray[np.intp]:
        """Return the phase of each moment (Unix seconds, UTC)."""
        if not self.phases:
            return np.zeros(len(times), dtype=np.intp)
        return ((times - self.shift_s) // self.length_s).astype(np.intp) % self.phases


_MONDAY_S: Final = 4 * 86_400.0
"""The first Monday of Unix time: its first day was a Thursday."""

SEASONS: Final[Mapping[str, Season]] = MappingProxyType(
    {
        "weekday": Season("weekday", 7, 86_400.0, _MONDAY_S),
        "hour": Season("hour", 24, 3_600.0),
        "none": Season("none", 0, 1.0),
    }
)

_OWN_PHASES: Final = 7
_HEAD: Final = [("at", ">u4"), ("part", "<u2"), ("kind", "u1")]
RECORD: Final = np.dtype(
    [
        *_HEAD,
        ("count", "<u2"),
        ("level", "<f4"),
        ("spread", "<f4"),
        ("last", "<f8"),
        ("ring", "<u2", (RING,)),
        ("seen", "u1"),
        ("phases", "<i2", (_OWN_PHASES,)),
    ]
)
PHASES: Final = np.dtype([*_HEAD, ("seen", "u1", (3,)), ("phases", "<i2", (24,))])
"""The phases of a season that has more than a week's: a second record beside the first."""

_WORD: Final = struct.Struct(">IHBB")
_BODY: Final = struct.Struct("<Hffd8HB7h")
_BODY_AT: Final = 7
"""Where the count begins; what stands before it is the moment and the kind."""


class Expected(NamedTuple):
    """What records let one expect at a moment, NaN where they cannot tell; one entry per record.

    `last`, `median` (of the ring) and `seasonal` (the level in this phase, NaN where the phase was never seen) are what may
    stand in for an answer. `usual` is the median of the three, with the bare level in the place of an unseen phase; `spread`
    is the smoothed size of its error in `signed_log`, at least `spread_floor`, and NaN before MIN_ANSWERS.
    """

    last: Floats
    median: Floats
    seasonal: Floats
    usual: Floats
    spread: Floats


def empty(count: int, dtype: np.dtype[Any] = RECORD) -> Records:
    """Return records that know nothing."""
    return np.zeros(count, dtype=dtype)


def has_own_phases(season: Season) -> bool:
    """Tell whether a season's phases stand in the record itself."""
    return 0 < season.phases <= _OWN_PHASES


def moment(records: Records) -> Floats:
    """Return when each record was last changed, in Unix seconds."""
    return records["at"].astype(np.float64) + records["part"] / PARTS


def advance(records: Records, phases: Records | None, times: Floats, values: Floats, season: Season) -> Mask:
    """Let each record learn one answer, in place; return where it was newer than what the record knew.

    `phases` are the second records of a season with many phases, None for the others. Values are finite.
    """
    ticks = np.rint(times * PARTS).astype(np.int64)
    known = records["at"].astype(np.int64) * PARTS + records["part"]
    newer: Mask = ticks > known
    if not newer.any():
        return newer
    picked = slice(None) if newer.all() else np.flatnonzero(newer)
    own, times, values, ticks = records[picked], times[picked], values[picked], ticks[picked]
    own_phases = None if phases is None else phases[picked]
    _learn(own, own_phases, times, values, season)
    for target in (own,) if own_phases is None else (own, own_phases):
        target["at"], target["part"] = ticks // PARTS, ticks % PARTS
    own["kind"] = Kind.NUMBER
    records[picked] = own
    if phases is not None and own_phases is not None:
        own_phases["kind"] = Kind.PHASES
        phases[picked] = own_phases
    return newer


def _learn(records: Records, phases: Records | None, times: Floats, values: Floats, season: Season) -> None:
    lines = np.arange(len(records))
    count = records["count"].astype(np.int64)
    sizes = signed_log(values)
    shift, seen, phase = _shift(records, phases, times, season)
    off = np.abs(sizes - signed_log(expected(records, phases, times, season).usual))
    fresh = count == 0
    rate = np.maximum(SPREAD_RATE, 1.0 / np.maximum(count, 1))
    spread = records["spread"] + rate * (off - records["spread"])
    records["spread"] = np.where(fresh, 0.0, spread)
    known_level = records["level"].astype(np.float64)
    # In a phase that was never seen an answer says little of the level.
    rate = np.maximum(np.where(seen | (season.phases == 0), LEVEL_RATE, LEVEL_RATE / 4), 1.0 / (count + 1))
    level = np.where(fresh, sizes, known_level + rate * (sizes - shift - known_level))
    records["level"] = level
    if season.phases:
        shift = np.where(seen, shift + PHASE_RATE * (sizes - level - shift), sizes - known_level)
        target = records if phases is None else phases
        coded = np.clip(np.rint(np.where(fresh, 0.0, shift) / _PHASE_STEP), -32_767, 32_767)
        target["phases"][lines, phase] = coded.astype(np.int16)
        _see(target, phase)
    records["ring"][lines, count % RING] = quantised(values)
    records["last"] = values
    records["count"] = np.where(count + 1 >= _MAX_COUNT + RING, _MAX_COUNT, count + 1)


def expected(records: Records, phases: Records | None, times: Floats, season: Season) -> Expected:
    """Return what each record lets one expect at its moment (Unix seconds)."""
    count = records["count"].astype(np.int64)
    unknown = count == 0
    last = np.where(unknown, np.nan, records["last"])
    median = _median(restored(records["ring"]), np.minimum(count, RING))
    shift, seen, _ = _shift(records, phases, times, season)
    shift = np.where(seen, shift, 0.0)
    trend = np.where(unknown, np.nan, unsigned(records["level"] + shift))
    usual = np.median(np.stack((last, median, trend)), axis=0)
    spread = np.maximum(records["spread"], spread_floor(usual))
    spread = np.where(count < MIN_ANSWERS, np.nan, spread)
    return Expected(last, median, np.where(seen, trend, np.nan), usual, spread)


def expected_of_one(
    records: Records, phases: Records | None, place: int, at: float, season: Season
) -> Usual | None:
    """Return `usual` and `spread` of `expected` for the record in one place, without a detour through arrays."""
    count, level, spread, last, *rest = _BODY.unpack_from(records.data, place * RECORD.itemsize + _BODY_AT)
    if count < MIN_ANSWERS:
        return None
    ring = sorted(map(_restored_one, rest[:RING]))
    median = ring[3] + (ring[4] - ring[3]) / 2
    shift = 0.0
    if season.phases:
        phase = int((at - season.shift_s) // season.length_s) % season.phases
        if phases is None:
            seen, coded = rest[RING] >> phase & 1, rest[RING + 1 + phase]
        else:
            seen = int(phases["seen"][place, phase // 8]) >> phase % 8 & 1
            coded = int(phases["phases"][place, phase])
        shift = coded * _PHASE_STEP if seen else 0.0
    size = level + shift
    trend = math.copysign(math.expm1(min(abs(size), MAX_SIZE)), size)
    usual = sorted((last, median, trend))[1]
    own = abs(usual)
    return Usual(usual, max(spread, RELATIVE_FLOOR * own / (1.0 + own), LEAST_FLOOR))


def quantised(values: Floats) -> NDArray[np.uint16]:
    """Return values in two bytes each: a sign and the logarithm of the size, within QUANTUM of 6e-15 to 1.6e14.

    What is nearer to zero is zero, what is larger counts as the largest.
    """
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        steps = np.rint(np.log(size) / _STEP) + _MIDDLE
    steps = np.where(steps < 1, 0, np.minimum(steps, _MAGNITUDES))
    return np.where((values < 0) & (steps > 0), steps + 0x8000, steps).astype(np.uint16)


def restored(codes: NDArray[np.uint16]) -> Floats:
    """Return the values that codes of `quantised` stand for."""
    steps = (codes & _MAGNITUDES).astype(np.float64)
    size = np.where(steps > 0, np.exp((steps - _MIDDLE) * _STEP), 0.0)
    return np.where(codes & 0x8000, -size, size)


def _restored_one(code: int) -> float:
    steps = code & _MAGNITUDES
    size = math.exp((steps - _MIDDLE) * _STEP) if steps else 0.0
    return -size if code & 0x8000 else size


def _shift(
    records: Records, phases: Records | None, times: Floats, season: Season
) -> tuple[Floats, Mask, NDArray[np.intp]]:
    """Return by record how far its phase lies from the level, whether it was ever seen, and which one it is."""
    phase = season.phase(times)
    if not season.phases:
        return np.zeros(len(records)), np.zeros(len(records), dtype=np.bool_), phase
    target, lines = records if phases is None else phases, np.arange(len(records))
    shift = target["phases"][lines, phase] * _PHASE_STEP
    marks = target["seen"] if target["seen"].ndim == 1 else target["seen"][lines, phase // 8]
    seen: Mask = (marks >> (phase % 8).astype(np.uint8)) & 1 == 1
    return shift, seen, phase


def _see(target: Records, phase: NDArray[np.intp]) -> None:
    mark = np.left_shift(1, phase % 8).astype(np.uint8)
    if target["seen"].ndim == 1:
        target["seen"] |= mark
    else:
        target["seen"][np.arange(len(target)), phase // 8] |= mark


def _median(ring: Floats, known: NDArray[np.int64]) -> Floats:
    """Return the median of the first `known` entries of each line, NaN where there are none."""
    places = np.arange(RING)
    ordered = np.sort(np.where(places < known[:, None], ring, np.nan), axis=1)
    lines = np.arange(len(ring))
    low, high = ordered[lines, np.maximum(known - 1, 0) // 2], ordered[lines, known // 2 % RING]
    middle: Floats = low + (high - low) / 2
    return middle


def to_word(at: float, cell: str | bool) -> bytes | None:
    """Return the record of an answer that is no number, with its moment; None where one of them does not fit."""
    kind, said = (Kind.FLAG, bytes((cell,))) if isinstance(cell, bool) else (Kind.TEXT, _utf8(cell))
    ticks = round(at * PARTS)
    if len(said) > MAX_WORD_BYTES or not 0 < ticks < 2**32 * PARTS:
        return None
    return _WORD.pack(ticks // PARTS, ticks % PARTS, kind, len(said)) + said


def from_word(blob: bytes) -> tuple[float, str | bool]:
    """Return the moment and the answer of such a record. Raises ValueError where it is damaged."""
    if len(blob) < _WORD.size:
        raise ValueError("a record is cut short")
    second, part, kind, size = _WORD.unpack_from(blob)
    said = blob[_WORD.size :]
    if len(said) != size or kind not in (Kind.TEXT, Kind.FLAG):
        raise ValueError("a record of a text is damaged")
    return second + part / PARTS, said.decode(
        "utf-8", "surrogatepass"
    ) if kind == Kind.TEXT else said == b"\1"


def from_blobs(blobs: list[bytes | None], dtype: np.dtype[Any] = RECORD) -> tuple[Records, int]:
    """Return packed records, an empty one for each None; and how many were damaged, which count as empty too."""
    kind = Kind.NUMBER if dtype == RECORD else Kind.PHASES
    nothing, damaged = bytes(dtype.itemsize), 0
    said = [nothing if blob is None or len(blob) != dtype.itemsize else blob for blob in blobs]
    records = np.frombuffer(b"".join(said), dtype=dtype).copy()
    bad = (records["kind"] != kind) | (records["at"] == 0)
    if dtype == RECORD:
        sound = np.isfinite(records["last"]) & np.isfinite(records["level"]) & (records["spread"] >= 0.0)
        bad |= ~sound | ~np.isfinite(records["spread"]) | (records["count"] == 0)
    damaged = sum(blob is not None and bool(wrong) for blob, wrong in zip(blobs, bad.tolist(), strict=True))
    records[bad] = np.zeros(1, dtype=dtype)
    return records, damaged


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
