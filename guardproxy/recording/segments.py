"""The files of a recording, as they are written and deleted.

Decides that a file only grows by whole members of gzip, when it is done, whose files these are (a lock says which are still
written to, by this process or another), and which go when there are too many. What is in them is left to `encode`.
"""

import contextlib
import fcntl
import os
import secrets
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from guardproxy.recording.names import PART, SPAN_S, Segment, file_name, segments_in

SEGMENT_BYTES: Final = 16 * 1024 * 1024
"""A file is done when it has this size, or is an eighth of all that may be kept."""


class DiskError(OSError):
    """The disk takes no more; the message is a sentence for the operator."""


@dataclass(slots=True)
class _Open:
    path: Path
    start: float
    descriptor: int
    size: int = 0


@dataclass(slots=True)
class Folder:
    """The folder that one recorder writes to. Not for several threads at a time.

    A member that was appended survives the end of the process; what survives a power cut is every file that is done.
    """

    path: Path
    max_bytes: int
    max_age_s: float
    low_water_bytes: int
    deleted: Counter[str] = field(default_factory=Counter)
    written_bytes: int = 0
    segments: int = 0
    files: int = 0
    disk_bytes: int = 0
    _open: dict[str, _Open] = field(default_factory=dict)
    _token: str = field(default_factory=lambda: secrets.token_hex(6))

    def append(self, model: str, start: float, header: bytes, member: bytes) -> None:
        """Add a member of gzip to the model's file; a new file begins with `header`, a member too. Raises OSError."""
        self._need_room(len(member))
        one = self._open.get(model)
        if one is not None and not self._goes_on(one, start):
            self._finish(model)
            one = None
        if one is None:
            one = self._open[model] = self._create(model, start)
            member = header + member
        try:
            _write(one.descriptor, member)
        except OSError:
            self._undo(model, one)
            raise
        if not one.size:
            self.files += 1
        one.size += len(member)
        self.written_bytes += len(member)
        # Until the next sweep counts what is really there.
        self.disk_bytes += len(member)

    def sweep(self, now: float) -> None:
        """Take over what a process that is gone has left, and delete the oldest files beyond the caps. Raises OSError."""
        if not self.path.is_dir():
            self.files = self.disk_bytes = 0
            return
        for model, one in list(self._open.items()):
            if now >= one.start + SPAN_S + 60.0:
                self._finish(model)
        whole, total, parts = self._listed(now)
        while whole and (whole[0].over_before(now - self.max_age_s) or total > self.max_bytes):
            oldest = whole.pop(0)
            reason = "age" if oldest.over_before(now - self.max_age_s) else "size"
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                oldest.path.unlink()
                self.deleted[reason] += 1
            total -= oldest.size
        self.files, self.disk_bytes = len(whole) + parts, total
        if total > self.max_bytes and self._open:
            # Only files that are being written to are left: the oldest of ours is done, and goes.
            self._finish(min(self._open, key=lambda model: self._open[model].start))
            self.sweep(now)

    def close(self) -> None:
        """Finish every file. Raises OSError."""
        for model in list(self._open):
            self._finish(model)

    def _goes_on(self, one: _Open, start: float) -> bool:
        """Tell whether a minute still belongs into a file, which may be full, over, or deleted by somebody."""
        return (
            one.start <= start < one.start + SPAN_S
            and one.size < min(SEGMENT_BYTES, self.max_bytes // 8)
            and os.fstat(one.descriptor).st_nlink > 0
        )

    def _listed(self, now: float) -> tuple[list[Segment], int, int]:
        """Return the files that are done, oldest first, the bytes of all files, and how many are still written to."""
        abandoned = now - SPAN_S - 60.0  # whoever wrote such a file would have finished it by now
        ours = {one.path for one in self._open.values()}
        whole: list[Segment] = []
        total = parts = 0
        for one in segments_in(self.path):
            total += one.size
            if not one.part:
                whole.append(one)
            elif one.path not in ours and _adopted(one):
                whole.append(Segment(one.whole, one.model, one.start, size=one.size))
            elif one.path not in ours and one.over_before(abandoned):
                whole.append(one)
            else:
                parts += 1
        whole.sort(key=lambda one: (one.start, one.path))
        return whole, total, parts

    def _need_room(self, size: int) -> None:
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700, parents=True)
        if not self.low_water_bytes:
            return
        facts = os.statvfs(self.path)
        free = facts.f_bavail * facts.f_frsize
        if free < self.low_water_bytes + size:
            raise DiskError(f"{self.path} has only {free // 1024} KiB free, and the holds need that room")

    def _create(self, model: str, start: float) -> _Open:
        self.segments += 1
        name = file_name(model, start, f"{self._token}{self.segments:x}") + PART
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path / name, flags, 0o600)
        with contextlib.suppress(
            OSError
        ):  # some network file systems know no locks; then nobody takes files over
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _Open(self.path / name, start, descriptor)

    def _undo(self, model: str, one: _Open) -> None:
        """After a write that failed half-way, the file ends where it ended before; a file that cannot is left torn."""
        with contextlib.suppress(OSError):
            os.ftruncate(one.descriptor, one.size)
            if one.size:
                return
            one.path.unlink()
        del self._open[model]
        os.close(one.descriptor)

    def _finish(self, model: str) -> None:
        one = self._open.pop(model)
        try:
            os.fsync(one.descriptor)
            with contextlib.suppress(FileNotFoundError):  # somebody has deleted it
                one.path.rename(one.path.with_name(one.path.name.removesuffix(PART)))
        finally:
            os.close(one.descriptor)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _adopted(one: Segment) -> bool:
    """Finish a file that nobody writes to any more; tell whether it is done."""
    try:
        descriptor = os.open(one.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return one.whole.exists()
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        one.path.rename(one.whole)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
