"""Rolling statistics: what counting costs a row, and whether a store that fails delays replies.

`python -m benchmarks.statistics [--seconds 1.0] [--rounds 4] [--out FILE]`; it needs a redis-server (or its path in REDIS_SERVER).

The hot path is everything between a sample and the ledger's vectors, at 30 features with 16 intervals each and one output, in CPU
time of this process. Replies are those of two proxies in processes of their own, asked in turns: one counts into the
embedded store (the baseline), the other into a Redis that is healthy, slow (each byte comes 150 ms late), paused, read-only, out of
memory, or gone. The bar is on the difference of their 99th percentiles.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis
from rich.console import Console

from benchmarks.machine import describe
from guardproxy.decision import Decision
from guardproxy.profile.cells import Cells
from guardproxy.profile.document import dump_profile
from guardproxy.profile.model import FieldKind, FieldProfile, Profile, Role
from guardproxy.stats.layout import Layout
from guardproxy.stats.ledger import COUNTED_ROWS, Ledger
from guardproxy.stats.windows import Sample
from guardproxy.table import Table

FEATURES: Final = 30
BATCHES: Final = (1, 10, 100, 1_000)
FLUSHES: Final = (1, 10, 100, 1_000)
"""Exchanges that wait at a flush."""
MAX_ROWS: Final = 10_000
BUSY_ROWS: Final = COUNTED_ROWS
"""A flush leaves fewer rows waiting, until there are so many or a second has passed: then they cost what the calls cost, some
tenths of a millisecond."""
REPEATS: Final = 30
BAR_US: Final = 4.0
BAR_MS: Final = 5.0
CLIENTS: Final = 2
PAUSE_S: Final = 0.002
SLOW_S: Final = 0.15
TIMEOUT_S: Final = 60.0

NAMES: Final = tuple(f"f{n}" for n in range(FEATURES))
CONFIG: Final = """\
listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0", auth: none}}
store: sqlite:///holds.db
{statistics}
upstream: http://127.0.0.1:{port}
log: error
routes: [{{path: /v2/models/bench/infer, model: bench, on_failure: closed, profile: bench.profile.yaml}}]
"""
BODY: Final = json.dumps(
    {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [0.25]} for name in NAMES]}
).encode()
REQUEST: Final = (
    b"POST /v2/models/bench/infer HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
) + BODY
ANSWER: Final = b'{"outputs":[{"name":"demand","shape":[1],"datatype":"FP64","data":[1.0]}]}'


def profile() -> Profile:
    """Return a profile of 30 number fields and one output."""
    edges = tuple(float(edge) for edge in np.linspace(-2.0, 2.0, 15))
    cells = Cells(edges=edges, low=-9.0, high=9.0, counts=(100,) * 20)
    fields = {name: FieldProfile(name, FieldKind.NUMBER, rows=2_000, cells=cells) for name in NAMES}
    output = FieldProfile("demand", FieldKind.NUMBER, Role.OUTPUT, rows=2_000, cells=cells)
    return Profile("bench", "00000001", 2_000, 0.001, fields, {"demand": output})


def samples(batch: int, exchanges: int) -> list[Sample]:
    """Return exchanges of so many rows each."""
    draw = np.random.default_rng(1)
    found = []
    outputs = ("demand",)
    for _ in range(exchanges):
        block, answers = draw.normal(size=(FEATURES, batch)), draw.normal(size=(1, batch))
        if batch == 1:
            features = Table(NAMES, 1, None, single=block[:, 0].tolist())
            predictions = Table(outputs, 1, None, single=answers[:, 0].tolist())
        else:
            features, predictions = Table(NAMES, batch, block), Table(outputs, batch, answers)
        codes = np.zeros(batch, dtype=np.uint8)
        decision = Decision("bench", "0", batch, codes, (), np.zeros((0, batch), dtype=np.uint8))
        found.append(Sample(100.0, decision, features, predictions))
    return found


def hot_path() -> dict[str, Any]:
    """Return CPU microseconds a row by batch and flush, and what a flush costs beside."""
    layout = Layout.of(profile())
    rows: dict[str, dict[str, float]] = {}
    worst = 0.0
    for batch in BATCHES:
        for flush in FLUSHES:
            if batch * flush > MAX_ROWS:
                continue
            each = samples(batch, flush)
            ledger = Ledger(layout, 60.0, "00000001")
            cost = _cpu_s(partial(_flushed, ledger, each)) / (batch * flush)
            rows.setdefault(f"batch {batch}", {})[f"{flush} exchanges"] = round(cost * 1e6, 2)
            worst = max(worst, cost * 1e6 if batch * flush >= BUSY_ROWS else 0.0)
    ledger = Ledger(layout, 60.0, "00000001")
    ledger.add(samples(100, 60))
    return {
        "us_a_row": rows,
        "worst_of_busy_flushes_us": round(worst, 2),
        "pack_us": round(_cpu_s(ledger.pending) * 1e6, 1),
        "bytes": {series: len(blob) for series, blob in ledger.pending()[0].blobs.items()},
    }


def _flushed(ledger: Ledger, each: list[Sample]) -> None:
    ledger.add(each)
    ledger.pending(0)


def _cpu_s(work: Callable[[], object]) -> float:
    """Return the least CPU time that one call took."""
    work()
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


# ---------------------------------------------------------------- replies


class Relay:
    """Passes bytes between a proxy and Redis, each so much later."""

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self._port = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass(reader, other_writer), self._pass(other_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be the model server."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))  # type: ignore[union-attr]
            await reader.readexactly(length)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(ANSWER), ANSWER)
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def ask(port: int, until: float, latencies: list[float], failures: list[bytes]) -> None:
    """Ask over one connection, a little apart, until a moment of the monotonic clock."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        began = time.perf_counter()
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))  # type: ignore[union-attr]
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - began)
        if not head.startswith(b"HTTP/1.1 200") or b"Guardproxy-Outcome: allowed" not in head:
            failures.append(head)
        await asyncio.sleep(PAUSE_S)
    writer.close()


@asynccontextmanager
async def proxy(upstream: int, statistics: str) -> AsyncIterator[int]:
    """Run a proxy; give its port."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "guardproxy.yaml").write_text(CONFIG.format(port=upstream, statistics=statistics))
        (folder / "bench.profile.yaml").write_text(dump_profile(profile()))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "guardproxy", "serve"), cwd=folder, stderr=asyncio.subprocess.PIPE
        )
        try:
            yield await _port(process)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None  # noqa: S101
    said = b""
    async with asyncio.timeout(TIMEOUT_S):
        while line := await process.stderr.readline():
            said += line
            if (found := re.search(rb"listens on http://[^:]+:(\d+)", line)) is not None:
                return int(found.group(1))
    raise SystemExit(said.decode())


@asynccontextmanager
async def redis_server() -> AsyncIterator[tuple[asyncio.subprocess.Process, redis.Redis]]:
    """Run a Redis that keeps nothing on disk."""
    binary = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    if binary is None:
        raise SystemExit("there is no redis-server: install it, or name it in REDIS_SERVER")
    with tempfile.TemporaryDirectory() as folder:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder)
        process = await asyncio.create_subprocess_exec(binary, *options, stdout=asyncio.subprocess.DEVNULL)
        client = redis.Redis(port=port)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while not await asyncio.to_thread(_answers, client):  # noqa: ASYNC110 - a server has no event to give
                    await asyncio.sleep(0.05)
            yield process, client
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False


async def replies(seconds: float, rounds: int) -> dict[str, Any]:
    """Return the latencies of both proxies while Redis is well and while it is not."""
    async with redis_server() as (process, client):
        relay = Relay(client.connection_pool.connection_kwargs["port"])
        upstream = await asyncio.start_server(answer, "127.0.0.1", 0)
        between = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
        url = f"redis://127.0.0.1:{between.sockets[0].getsockname()[1]}/0"
        port = upstream.sockets[0].getsockname()[1]
        faults: Mapping[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "healthy": (lambda: None, lambda: None),
            "slow": (lambda: setattr(relay, "delay_s", SLOW_S), lambda: setattr(relay, "delay_s", 0.0)),
            "paused": (
                lambda: process.send_signal(signal.SIGSTOP),
                lambda: process.send_signal(signal.SIGCONT),
            ),
            "read-only": (
                lambda: client.replicaof("127.0.0.1", 1),
                lambda: client.replicaof("NO", "ONE"),
            ),
            "out of memory": (
                lambda: client.config_set("maxmemory", 1),
                lambda: client.config_set("maxmemory", 0),
            ),
            "gone": (process.kill, lambda: None),
        }
        async with proxy(port, "") as baseline, proxy(port, f'statistics: {{store: "{url}"}}') as tried:
            await _turns((baseline, tried), seconds, 2)
            found = {}
            for name, (breaks, mends) in faults.items():
                breaks()
                found[name] = await _turns((baseline, tried), seconds, rounds)
                mends()
        return found


async def _turns(ports: tuple[int, int], seconds: float, rounds: int) -> dict[str, Any]:
    """Ask both proxies in turns."""
    latencies: tuple[list[float], list[float]] = ([], [])
    failures: list[bytes] = []
    for _ in range(rounds):
        for port, each in zip(ports, latencies, strict=True):
            until = time.monotonic() + seconds
            await asyncio.gather(*(ask(port, until, each, failures) for _ in range(CLIENTS)))
    baseline, tried = (_milliseconds(each) for each in latencies)
    return {
        "requests": sum(map(len, latencies)),
        "failed": len(failures),
        "baseline_ms": baseline,
        "ms": tried,
        "p99_over_baseline_ms": round(tried["p99"] - baseline["p99"], 2),
    }


def _milliseconds(latencies: list[float]) -> dict[str, float]:
    each = sorted(latencies)
    return {
        "p50": round(each[len(each) // 2] * 1000, 2),
        "p99": round(each[int(len(each) * 0.99)] * 1000, 2),
        "max": round(each[-1] * 1000, 2),
    }


def main() -> None:
    """Measure and print; exit 1 where a bar is missed or a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each proxy is asked at a time")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    given = parser.parse_args()
    figures: dict[str, Any] = {
        "hot_path": hot_path(),
        "replies": asyncio.run(replies(given.seconds, given.rounds)),
        "machine": describe(),
    }
    Console().print_json(data=figures)
    if given.out is not None:
        given.out.write_text(json.dumps(figures, indent=2) + "\n")
    late = any(
        each["failed"] or each["p99_over_baseline_ms"] > BAR_MS for each in figures["replies"].values()
    )
    sys.exit(1 if late or figures["hot_path"]["worst_of_busy_flushes_us"] > BAR_US else 0)


if __name__ == "__main__":
    main()
