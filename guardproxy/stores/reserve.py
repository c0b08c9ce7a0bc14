"""Room kept free on the disk, so that decisions and expiries still work when it is full.

Decides when new holds are refused (the low-water mark) and keeps a file of real blocks beside the database which is given
back when even a decision does not fit. Who asks for room is left to the store.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reserve:
    """A file of `size` bytes at `path`; holds are refused below `low_water` bytes of free space."""

    path: Path
    size: int
    low_water: int

    def free_bytes(self) -> int:
        """Return how many bytes an ordinary user can still write on this file system."""
        facts = os.statvfs(self.path.parent)
        return facts.f_bavail * facts.f_frsize

    def too_full(self) -> bool:
        """Tell whether the free space is below the low-water mark."""
        return self.free_bytes() < self.low_water

    def held(self) -> bool:
        """Tell whether the reserve is in place."""
        try:
            return self.path.stat().st_size >= self.size
        except OSError:
            return False

    def take(self) -> bool:
        """Put the reserve in place if the disk has room for it above the low-water mark; tell whether it is there."""
        if self.size == 0 or self.held():
            return self.size > 0
        if self.free_bytes() < self.size + self.low_water:
            return False
        try:
            _fill(self.path, self.size)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> bool:
        """Give the reserve back to the disk; tell whether there was one."""
        held = self.size > 0 and self.held()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        return held


def _fill(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            block = b"\0" * 65536
            for start in range(0, size, len(block)):
                os.write(descriptor, block[: size - start])
    finally:
        os.close(descriptor)
