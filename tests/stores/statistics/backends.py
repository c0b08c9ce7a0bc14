"""Every backend of statistics behind one face, for tests that hold for all of them."""

import asyncio
import itertools
import shutil
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from guardproxy.stores.redis_statistics import RedisStatistics
from guardproxy.stores.redis_urls import read_address
from guardproxy.stores.sqlite_statistics import SqliteStatistics
from guardproxy.stores.standing import Clock
from guardproxy.stores.statistics import BucketKey, BucketWrite, StatisticsStore, StoreDownError

T = TypeVar("T")

STUCK_S = 10.0
"""A call that takes so long hangs; by itself it takes half a second at most."""

BACKENDS = ("sqlite", "redis", "sentinel", "cluster", *(["valkey"] if shutil.which("valkey-server") else []))
_numbers = itertools.count()


@dataclass(frozen=True)
class Backend:
    """Where stores of one kind stand: a SQLite file or an address of Redis."""

    name: str
    place: str

    def store(self, max_entities: int = 1_000, clock: Clock = time.time) -> StatisticsStore:
        """Return a store that is not open yet."""
        if self.name == "sqlite":
            return SqliteStatistics(Path(self.place), max_entities, clock)
        return RedisStatistics(read_address(self.place), max_entities, clock)


def with_stores(
    work: Callable[..., Coroutine[Any, Any, T]], *stores: StatisticsStore, ready: bool = True
) -> T:
    """Run `work` on stores that are opened before and closed after it."""

    async def run() -> T:
        for store in stores if ready else ():
            await store.open()
        try:
            return await work(*stores)
        finally:
            for store in stores:
                await store.close()

    return asyncio.run(run())


def fresh_model(name: str = "demand") -> str:
    """Return the name of a model that no other test has: servers are shared."""
    return f"{name} {next(_numbers)}"


def key(model: str, bucket: int = 100, series: str = "counts") -> BucketKey:
    """Return the key of a minute."""
    return BucketKey(model, series, "0a1b2c3d", 60, bucket)


def record(at: int, size: int = 60) -> bytes:
    """Return an entity's record of a moment."""
    return at.to_bytes(4, "big") + bytes(size - 4)


def entity(number: int) -> bytes:
    """Return an entity's id."""
    return number.to_bytes(8, "little")


def on(url: str) -> StatisticsStore:
    """Return a store at an address, not open yet."""
    return Backend("redis", url).store()


async def failure(work: Coroutine[Any, Any, object]) -> str:
    """Return the sentence of the StoreDownError that `work` must end in."""
    with pytest.raises(StoreDownError) as caught:
        await asyncio.wait_for(work, STUCK_S)
    return str(caught.value)


async def put_until_it_works(store: StatisticsStore, write: BucketWrite) -> int:
    """Write as a replica does, again until it is acknowledged; return how often it was not."""
    for failures in range(200):
        try:
            await asyncio.wait_for(store.put([write]), STUCK_S)
        except StoreDownError:
            await asyncio.sleep(0.05)
        else:
            return failures
    pytest.fail(f"never acknowledged: {store.status()}")
