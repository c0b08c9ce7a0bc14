"""A process that counts into a file until it is killed, and says through a pipe what was acknowledged."""

import asyncio
import itertools
import os
from pathlib import Path

from guardproxy.stores.sqlite_statistics import SqliteStatistics
from guardproxy.stores.statistics import BucketWrite
from tests.stores.statistics.backends import key


def write_until_killed(path: str, pipe: int, writer: str) -> None:
    """Write 1, 2, 3, ... into one bucket and print each number once it is acknowledged."""
    asyncio.run(_write(path, pipe, writer))


async def _write(path: str, pipe: int, writer: str) -> None:
    store = SqliteStatistics(Path(path))
    await store.open()
    for number in itertools.count(1):
        await store.put([BucketWrite(key("demand"), writer, b"%d" % number, 3_600)])
        os.write(pipe, b"%d\n" % number)
