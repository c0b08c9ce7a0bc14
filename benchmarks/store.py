"""Statistics in Redis: what a flush costs the server, what a bucket and an entity weigh, how long a call takes at worst.

`python -m benchmarks.store [--entities 1000000] [--out FILE]`; it needs a redis-server (or its path in REDIS_SERVER).

The flush is one writer's blob of 30 features with 24 cells each, counted from 6,000 rows of a minute, as a replica writes it
every second; the server's own figures are read (INFO commandstats, MEMORY USAGE, used_memory_dataset).
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import redis

from benchmarks.machine import describe
from guardproxy.stats.counts import pack
from guardproxy.stores.opening import open_statistics
from guardproxy.stores.redis_keys import bucket_key
from guardproxy.stores.statistics import BucketKey, BucketWrite, StatisticsStore, StoreDownError

FEATURES: Final = 30
CELLS: Final = 24
ROWS: Final = 6_000
FLUSHES: Final = 2_000
BATCH: Final = 1_000
BARS: Final = {
    "flush, Redis CPU (us)": 40.0,
    "bucket, bytes per feature": 70.0,
    "entities, dataset per million (MiB)": 80.0,
    "slowest call, server paused (s)": 0.6,
    "slowest call, server killed (s)": 0.6,
}
_MIB: Final = 1024 * 1024


def main() -> None:
    """Measure and print; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    parser.add_argument("--entities", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with _server() as (process, client):
        url = f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"
        version = client.info("server")["redis_version"]
        results = asyncio.run(_measure(url, process, client, arguments.entities))
    for name, value in results.items():
        bar = BARS.get(name)
        print(f"{name:<44} {value:>12,.3f}" + ("" if bar is None else f"   bar {bar:g}"))
    if arguments.out is not None:
        machine = {**describe(), "redis": version}
        arguments.out.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")
    if any(results[name] > bar for name, bar in BARS.items()):
        raise SystemExit(1)


@contextmanager
def _server() -> Iterator[tuple["subprocess.Popen[bytes]", redis.Redis]]:
    """Start a server of our own that keeps nothing; end it."""
    binary = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    if binary is None:
        raise SystemExit("there is no redis-server: install it, or name one in REDIS_SERVER")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = redis.Redis(port=port, protocol=2)
        try:
            for _ in range(100):
                try:
                    client.ping()
                    break
                except redis.exceptions.ConnectionError:
                    time.sleep(0.05)
            yield process, client
        finally:
            client.close()
            process.kill()
            process.wait()


async def _measure(
    url: str, process: "subprocess.Popen[bytes]", client: redis.Redis, entities: int
) -> dict[str, float]:
    store = open_statistics(url, Path("unused.db"), None, entities)
    await store.open()
    results = await _flushes(store, client)
    results |= await _entities(store, client, entities)
    results |= await _faults(store, process)
    await store.close()
    return results


async def _flushes(store: StatisticsStore, client: redis.Redis) -> dict[str, float]:
    """What the server spends on a flush, and what a minute weighs there."""
    rng = np.random.default_rng(7)
    shares = rng.dirichlet(np.full(CELLS, 0.7), size=FEATURES)
    steps = [
        np.concatenate([rng.multinomial(ROWS * second // 60, share) for share in shares]).astype("<u4")
        for second in range(1, 61)
    ]
    keys = [BucketKey("bench", "counts", "0a1b2c3d", 60, bucket) for bucket in range(-(-FLUSHES // 60))]
    writes = [
        BucketWrite(keys[number // 60], "0123abcd", pack(steps[number % 60]), 3 * 3_600)
        for number in range(FLUSHES)
    ]
    client.config_resetstat()
    took = []
    for write in writes:
        began = time.perf_counter()
        await store.put([write])
        took.append(time.perf_counter() - began)
    spent = client.info("commandstats")
    cpu = sum(spent[f"cmdstat_{name}"]["usec"] for name in ("hset", "expire")) / FLUSHES
    before = client.info("cpu")
    for write in writes:
        await store.put([write])
    after = client.info("cpu")
    whole = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys")) / FLUSHES * 1e6
    weights = [client.memory_usage(bucket_key(key), samples=0) / FEATURES for key in keys[:-1]]
    return {
        "flush, blob (bytes)": statistics.median(len(write.blob) for write in writes),
        "flush, Redis CPU (us)": cpu,
        "flush, Redis CPU with its sockets (us)": whole,
        "flush, round trip (us)": statistics.median(took) * 1e6,
        "bucket, bytes per feature": statistics.mean(weights),
    }


async def _entities(store: StatisticsStore, client: redis.Redis, count: int) -> dict[str, float]:
    """What `count` entities with records of 60 bytes weigh, and what a push and a pull cost."""
    before = client.info("memory")["used_memory_dataset"]
    rng = np.random.default_rng(7)
    ids = [bytes(row) for row in rng.integers(0, 256, size=(count, 8), dtype=np.uint8)]
    client.config_resetstat()
    for start in range(0, count, BATCH):
        some = ids[start : start + BATCH]
        await store.push(
            "bench",
            {entity: (start + n).to_bytes(4, "big") + bytes(56) for n, entity in enumerate(some)},
            90 * 86_400,
        )
    spent = client.info("commandstats")
    cpu = sum(spent[f"cmdstat_{name}"]["usec"] for name in ("hset", "expire", "hlen")) / count
    dataset = client.info("memory")["used_memory_dataset"] - before
    kept, took = 0, []
    for start in range(0, count, BATCH):
        kept += sum(found is not None for found in await store.pull("bench", ids[start : start + BATCH]))
    for start in range(200):
        began = time.perf_counter()
        await store.pull("bench", ids[50 * start : 50 * start + 50])
        took.append(time.perf_counter() - began)
    return {
        "entities, dataset per million (MiB)": dataset / _MIB * 1e6 / kept,
        "entities, kept (share)": kept / count,
        "entities, Redis CPU per record pushed (us)": cpu,
        "entities, pull of 50, round trip (us)": statistics.median(took) * 1e6,
    }


async def _faults(store: StatisticsStore, process: "subprocess.Popen[bytes]") -> dict[str, float]:
    """The longest that a call takes while the server is paused, and killed."""
    key = BucketKey("bench", "counts", "0a1b2c3d", 60, 1)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.put([BucketWrite(key, "w", bytes(1_000), 60)] * 500),
        lambda: store.read([key] * 100),
        lambda: store.state("bench", "drift"),
        lambda: store.pull("bench", [bytes(8)]),
        store.offset,
    ]
    process.send_signal(signal.SIGSTOP)
    paused = max([await _failing(call) for call in calls])
    process.send_signal(signal.SIGCONT)
    await store.offset()
    process.kill()
    process.wait()
    return {
        "slowest call, server paused (s)": paused,
        "slowest call, server killed (s)": max([await _failing(call) for call in calls]),
    }


async def _failing(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    try:
        await call()
    except StoreDownError:
        return time.perf_counter() - began
    raise SystemExit("a call succeeded without a server")


if __name__ == "__main__":
    main()
