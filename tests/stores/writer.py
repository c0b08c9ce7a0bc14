"""A process that stores and decides holds until it is killed, and says through a pipe what was acknowledged."""

import asyncio
import itertools
import os
from collections.abc import Iterator

from guardproxy.holds import Reject
from guardproxy.stores import SqliteHoldStore, SqliteOptions, apply_event
from tests.holds.samples import START, make_hold

GROUP = 3


def write_until_killed(path: str, pipe: int, first: int) -> None:
    """Add groups of GROUP holds from number `first` on and reject the first of each; print what was acknowledged."""
    asyncio.run(_write(path, pipe, itertools.count(first)))


async def _write(path: str, pipe: int, numbers: Iterator[int]) -> None:
    store = SqliteHoldStore(path, SqliteOptions(max_open=10**9, reserve_bytes=0, low_water_bytes=0))
    await store.open()
    await asyncio.gather(*(_one_writer(store, pipe, numbers) for _ in range(4)))


async def _one_writer(store: SqliteHoldStore, pipe: int, numbers: Iterator[int]) -> None:
    for number in numbers:
        start = number * GROUP
        holds = [make_hold(start + offset) for offset in range(GROUP)]
        await store.add(holds)
        os.write(pipe, "".join(f"{hold.id} 1\n" for hold in holds).encode())
        await apply_event(store, holds[0].id, Reject("reviewer-a", "other"), at=START + 1, undo_s=5)
        os.write(pipe, f"{holds[0].id} 2\n".encode())
