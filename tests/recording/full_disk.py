"""Records onto a disk that takes no more and checks what is left; run by test_segments in a process of its own."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from random import Random

from guardproxy.recording import Recorder, Skipped
from tests.recording.samples import START, draft, offer, read, recorder

KIB = 1024
RANDOM = Random(3)


def fill(one: Recorder, first: int, minutes: int) -> list[str]:
    """Record minutes of text that does not compress well; return the ids that were written."""
    written = []
    for number in range(first, first + minutes):
        text = RANDOM.randbytes(10 * KIB).hex()
        assert offer(one, draft(number, START + 60 * number, features={"x": [text]}))
        if one.flush(START + 60 * number + 60):
            written.append(f"dec_{number}")
    return written


def check(folder: Path, written: list[str]) -> None:
    """What was called written can be read, nothing else can, and nothing is torn."""
    skipped = Skipped()
    assert [record.id for record in read(folder, skipped=skipped)] == written
    assert not skipped, skipped.sentences


def disk(folder: Path) -> None:
    """The disk fills up to its last byte, and is cleared."""
    (folder / "filler").write_bytes(b"\0" * 300 * KIB)
    place = folder / "recorded"
    one = recorder(place)
    written = fill(one, 0, 40)
    assert 0 < len(written) < 40
    status = one.status()
    assert status.dropped["disk"] == 40 - len(written) == 40 - status.written
    assert status.trouble == "No space left on device", status.trouble
    check(place, written)
    (folder / "filler").unlink()
    written += fill(one, 40, 5)
    assert one.status().trouble is None
    one.close()
    check(place, written)
    assert written[-5:] == [f"dec_{number}" for number in range(40, 45)]


def limit(folder: Path) -> None:
    """The kernel refuses to let a file grow, in the middle of a write."""
    one = recorder(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50 * KIB, 50 * KIB))
    written = fill(one, 0, 20)
    assert 0 < len(written) < 20
    assert one.status().trouble == "File too large", one.status().trouble
    assert one.status().dropped["disk"] == 20 - len(written)
    check(folder, written)
    one.close()
    check(folder, written)


def read_only(folder: Path) -> None:
    """The disk is made read-only under a recorder, and writable again."""
    one = recorder(folder / "recorded")
    written = fill(one, 0, 3)
    for path in (folder / "recorded").glob("*.part"):
        # A file that is open for writing would keep the disk from being made read-only.
        assert path.exists()
    one.close()
    remount(folder, "ro")
    assert fill(one, 3, 3) == []
    assert one.status().trouble == "Read-only file system", one.status().trouble
    check(folder / "recorded", written)
    remount(folder, "rw")
    written += fill(one, 6, 3)
    one.close()
    check(folder / "recorded", written)
    assert len(written) == 6


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


if __name__ == "__main__":
    os.umask(0o077)
    {"disk": disk, "limit": limit, "read-only": read_only}[sys.argv[1]](Path(sys.argv[2]))
    print("checked")
