"""Recorded traffic, read back as a stream.

Decides in which order exchanges come (oldest first, to within the time that one took to answer) and what becomes of a file that is
torn, damaged or not ours: what can be read of it is, and the rest is counted. Memory does not grow with the recording.
"""

import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Final

from guardproxy.errors import OperatorError
from guardproxy.guard.recorded import Recorded
from guardproxy.recording.encode import FORMAT, MAX_LINE, Decoder, MalformedError, read_header
from guardproxy.recording.names import Segment, segments_in

MAX_OPEN: Final = 64
"""Files that are read side by side, for their exchanges to come in order."""
MAX_MALFORMED: Final = 1_000
"""Lines in a row that are no records, until the rest of a file is left alone."""
MAX_SENTENCES: Final = 20

_CHUNK: Final = 256 * 1024


class RecordingError(OperatorError):
    """There is nothing to read where a recording was said to be."""


class Skipped(Counter[str]):
    """What could not be read, by reason, with a sentence for the first few.

    The reasons: `torn` (a file ends in mid-write), `damaged` (a file cannot be read on), `malformed` (a line is no record),
    `newer` (a file of a later guardproxy), `foreign` (not a recording), `unreadable` (the system refuses).
    """

    def __init__(self) -> None:
        """Nothing so far."""
        super().__init__()
        self.sentences: list[str] = []


def read_recording(
    paths: Sequence[Path],
    *,
    model: str | None = None,
    since: float | None = None,
    until: float | None = None,
    skipped: Counter[str] | None = None,
) -> Iterator[Recorded]:
    """Return the exchanges recorded in files or folders, as a stream: those of `model`, from `since` until before `until`.

    What cannot be read is counted in `skipped`. Raises RecordingError when a path is missing or there is no file at all.
    """
    files: list[Segment] = []
    for path in paths:
        try:
            files += segments_in(path)
        except OSError as error:
            raise RecordingError(f"{path} cannot be read: {error.strerror or error}") from error
    if not files:
        raise RecordingError(f"there is no recorded traffic in {', '.join(map(str, paths)) or 'no folder'}")
    wanted = [one for one in files if one.may_hold(model, since, until)]
    return _between(_merged(wanted, model, Skipped() if skipped is None else skipped), since, until)


def _between(records: Iterator[Recorded], since: float | None, until: float | None) -> Iterator[Recorded]:
    if since is None and until is None:
        return records
    least = float("-inf") if since is None else since
    most = float("inf") if until is None else until
    return (record for record in records if least <= record.at < most)


def _merged(files: list[Segment], model: str | None, skipped: Counter[str]) -> Iterator[Recorded]:
    """Go through files side by side; one is opened once time has come to where it begins."""
    waiting = deque(sorted(files, key=lambda one: (one.start, one.path)))
    heads: list[tuple[float, int, Recorded, Iterator[Recorded]]] = []
    opened = 0
    while heads or waiting:
        while waiting and len(heads) < MAX_OPEN and (not heads or waiting[0].start <= heads[0][0]):
            opened += 1
            stream = _records(waiting.popleft(), model, skipped)
            _push(heads, opened, stream)
        if len(heads) == 1 and not waiting:
            _, _, record, stream = heads.pop()
            yield record
            yield from stream
        elif heads:
            _, number, record, stream = heappop(heads)
            yield record
            _push(heads, number, stream)


def _push(
    heads: list[tuple[float, int, Recorded, Iterator[Recorded]]], number: int, stream: Iterator[Recorded]
) -> None:
    record = next(stream, None)
    if record is not None:
        heappush(heads, (record.at, number, record, stream))


def _records(segment: Segment, model: str | None, skipped: Counter[str]) -> Iterator[Recorded]:
    lines = _lines(segment, skipped)
    first = next(lines, None)
    if first is None:
        return
    try:
        version, recorded = read_header(first)
    except MalformedError:
        _skip(skipped, "foreign", segment.path, "is not a recording")
        return
    if version > FORMAT:
        _skip(skipped, "newer", segment.path, "was written by a later guardproxy; read it with that one")
        return
    if model is not None and recorded != model:
        return
    decoder, bad = Decoder(recorded), 0
    for line in lines:
        try:
            record = decoder.decode(line)
        except MalformedError:
            bad += 1
            _skip(skipped, "malformed", segment.path, "has a line that is no record")
            if bad >= MAX_MALFORMED:
                _skip(
                    skipped, "damaged", segment.path, f"has {bad} such lines in a row; the rest is left out"
                )
                return
            continue
        bad = 0
        if record is not None:
            yield record


def _lines(segment: Segment, skipped: Counter[str]) -> Iterator[bytes]:
    """Go through the complete lines of a file, up to where it is torn."""
    parts: list[bytes] = []
    length = 0
    try:
        for text in _text(segment):
            *lines, rest = text.split(b"\n")
            if lines:
                parts.append(lines[0])
                yield b"".join(parts)
                yield from lines[1:]
                parts, length = [], 0
            parts.append(rest)
            length += len(rest)
            if length > MAX_LINE:
                _skip(skipped, "damaged", segment.path, "has a line that is too long; the rest is left out")
                return
        if length:
            _skip(skipped, "torn", segment.path, "ends in the middle of a record")
    except _EndError as end:
        _skip(skipped, end.reason, segment.path, end.sentence)
    except FileNotFoundError:
        # The oldest files are deleted while others are read.
        _skip(skipped, "unreadable", segment.path, "is gone")
    except OSError as error:
        _skip(skipped, "unreadable", segment.path, f"cannot be read: {error.strerror or error}")


def _text(segment: Segment) -> Iterator[bytes]:
    """Decompress a file: the members of gzip one after the other, in pieces of bounded size. Raises _EndError, OSError."""
    with segment.open() as file:
        inflate = zlib.decompressobj(wbits=31)
        data = file.read(_CHUNK)
        fresh = True
        while data:
            try:
                text = inflate.decompress(data, _CHUNK)
            except zlib.error as error:
                raise _EndError("damaged", "is damaged; it is read up to there") from error
            fresh = False
            if text:
                yield text
            data = inflate.unconsumed_tail
            if inflate.eof:
                data = inflate.unused_data
                inflate, fresh = zlib.decompressobj(wbits=31), True
            data = data or file.read(_CHUNK)
        if not fresh:
            raise _EndError("torn", "ends in the middle of a write")


class _EndError(Exception):
    """A file cannot be read on."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


def _skip(skipped: Counter[str], reason: str, path: Path, sentence: str) -> None:
    skipped[reason] += 1
    if isinstance(skipped, Skipped) and len(skipped.sentences) < MAX_SENTENCES:
        said = f"{path.name} {sentence}"
        if said not in skipped.sentences:
            skipped.sentences.append(said)
