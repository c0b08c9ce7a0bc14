"""Records exchanges and says the id of each once it has been flushed; run by tests in a process of its own."""

import os
import sys
from pathlib import Path

from tests.recording.samples import START, draft, offer, recorder


def write(folder: Path, first: int, count: int) -> None:
    """Record `count` exchanges, a write each, and finish."""
    one = recorder(folder)
    for number in range(first, first + count):
        offer(one, draft(number, START + 60 * (number - first)))
        assert one.flush(START + 60 * (number - first) + 60) == 1
        # One write of the system, so that what is said has been done.
        os.write(1, f"dec_{number}\n".encode())
    one.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
