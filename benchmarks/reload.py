"""Reloads under load: `python -m benchmarks.reload [--reloads 1000] [--rules 300] [--clients 4] [--out FILE]`.

A proxy in a process of its own serves a set of rules while clients ask without a pause and the files change again and again,
every tenth time to something broken. Each set puts another value in the place of a negative prediction, so that every
answer shows which set judged it: that must be the one its header names, and no request may fail.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientSession
from rich.console import Console

from benchmarks.machine import describe

BAR_S: Final = 0.300
BROKEN_EVERY: Final = 10
ALONE: Final = 15
TIMEOUT_S: Final = 60.0

CONFIG: Final = """\
listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0", auth: none}}
store: sqlite:///holds.db
upstream: http://127.0.0.1:{port}
rules: rules
log: error
reload: {{every: 1h}}
routes: [{{path: /v2/models/bench/infer, model: bench, on_failure: closed, key: [f0]}}]
"""
BODY: Final = json.dumps(
    {"inputs": [{"name": f"f{n}", "shape": [1], "datatype": "FP64", "data": [float(n)]} for n in range(20)]}
).encode()
REQUEST: Final = (
    b"POST /v2/models/bench/infer HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
) + BODY
ANSWER: Final = b'{"outputs":[{"name":"demand","shape":[1],"datatype":"FP64","data":[-1.0]}]}'


def rule_files(rules: int, value: float) -> dict[str, str]:
    """Return rules in files of a hundred. One replaces a negative demand by `value`; the rest is a mix that stays quiet."""
    kinds = (
        "range: {{field: features.f{f}, min: -1000, max: {n}000}}",
        "require: features.f{f} + {n} < 1000000",
        "forbid: features.f{f} > 100 and output.demand > {n}000",
        "when: features.f{f} > 50\n    require: output.demand >= {n}",
        "max_change: {{field: output.demand, against: previous, up: 900%, floor: 1}}\n    on_unknown: ignore",
    )
    lines = [
        f"  - id: rule-{n}\n    {kinds[n % len(kinds)].format(f=n % 20, n=n)}\n    action: warn\n"
        for n in range(1, rules)
    ]
    lines.insert(
        0,
        "  - id: not-negative\n    range: {field: output.demand, min: 0}\n    action: fallback\n"
        f"    fallback: [{{value: {value}}}]\n",
    )
    head = "guardproxy: 1\nmodel: bench\nowner: bench\nrules:\n"
    return {
        f"{start}.guard.yaml": head + "".join(lines[start : start + 100])
        for start in range(0, len(lines), 100)
    }


@dataclass(slots=True)
class Found:
    """What the clients saw: answers by (ruleset, value), failures by kind, and latencies in seconds."""

    answers: Counter[tuple[str, float]] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be the model server."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length.group(1)) if length else 0)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                % len(ANSWER)
                + ANSWER
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def ask(port: int, stop: asyncio.Event, found: Found) -> None:
    """Ask over one connection until told to stop."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not stop.is_set():
        began = time.perf_counter()
        writer.write(REQUEST)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))  # type: ignore[union-attr]
            body = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            found.failures[type(error).__name__] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        found.latencies.append(time.perf_counter() - began)
        rulesets = re.findall(rb"(?i)guardproxy-ruleset: (\w+)", head)
        if not head.startswith(b"HTTP/1.1 200") or len(rulesets) != 1:
            found.failures[head.split(b"\r\n")[0].decode()] += 1
            continue
        value = float(json.loads(body)["outputs"][0]["data"][0])
        found.answers[rulesets[0].decode(), value] += 1
    writer.close()


async def start(folder: Path, upstream: int) -> tuple[asyncio.subprocess.Process, int, int]:
    """Start the proxy; return it with its two ports."""
    (folder / "guardproxy.yaml").write_text(CONFIG.format(port=upstream))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "guardproxy", "serve"), cwd=folder, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None  # noqa: S101
    ports: list[int] = []
    said = b""
    async with asyncio.timeout(TIMEOUT_S):
        while len(ports) < 2:
            line = await process.stderr.readline()
            said += line
            if not line:
                raise SystemExit(said.decode())
            if (port := re.search(rb"(?:listens on|console:) http://[^:]+:(\d+)", line)) is not None:
                ports.append(int(port.group(1)))
    return process, ports[0], ports[1]


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024  # type: ignore[union-attr]


async def alone(folder: Path, session: ClientSession, rules: int) -> list[float]:
    """Return how long reloads take while nobody asks, the shortest first."""
    seconds = []
    for turn in range(ALONE):
        put(folder, rule_files(rules, -float(turn + 1)))
        seconds.append((await (await session.post("/v1/rules/reload", json={})).json())["seconds"])
    put(folder, rule_files(rules, 1.0))
    return sorted(seconds)


async def measure(reloads: int, rules: int, clients: int) -> dict[str, Any]:
    """Run everything; return the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules").mkdir()
        put(folder, rule_files(rules, 1.0))
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        process, port, admin = await start(folder, server.sockets[0].getsockname()[1])
        found, stop, before = Found(), asyncio.Event(), resident(process.pid)
        seconds: list[float] = []
        values: dict[str, float] = {}
        surprises = 0
        async with ClientSession(f"http://127.0.0.1:{admin}") as session, asyncio.TaskGroup() as tasks:
            quiet = await alone(folder, session, rules)
            for _ in range(clients):
                tasks.create_task(ask(port, stop, found))
            said = await (await session.post("/v1/rules/reload", json={})).json()
            values[said["ruleset"]["bench"]] = 1.0
            for turn in range(reloads):
                broken = turn % BROKEN_EVERY == BROKEN_EVERY - 1
                files = rule_files(rules, float(turn + 2))
                put(folder, {**files, "0.guard.yaml": "rules: ["} if broken else files)
                response = await session.post("/v1/rules/reload", json={})
                said = await response.json()
                surprises += response.status != (422 if broken else 200)
                if not broken:
                    values[said["ruleset"]["bench"]] = float(turn + 2)
                    seconds.append(said["seconds"])
            stop.set()
        memory = resident(process.pid)
        process.send_signal(signal.SIGTERM)
        await process.wait()
        server.close()
    mixed = sum(count for (ruleset, value), count in found.answers.items() if values.get(ruleset) != value)
    latencies, seconds = sorted(found.latencies), sorted(seconds)
    return {
        "reloads": reloads,
        "rules": rules,
        "reloads_with_another_status_than_expected": surprises,
        "requests": sum(found.answers.values()) + sum(found.failures.values()),
        "failed_requests": dict(found.failures),
        "answers_not_of_the_set_they_name": mixed,
        "sets_seen_by_clients": len({ruleset for ruleset, _ in found.answers}),
        "reload_s_alone": {"p50": quiet[len(quiet) // 2], "max": quiet[-1]},
        "reload_s": {
            "p50": seconds[len(seconds) // 2],
            "p95": seconds[int(len(seconds) * 0.95)],
            "max": seconds[-1],
        },
        "request_ms": {
            "p50": latencies[len(latencies) // 2] * 1000,
            "p99": latencies[int(len(latencies) * 0.99)] * 1000,
            "max": latencies[-1] * 1000,
        },
        "resident_mib": {"before": round(before, 1), "after": round(memory, 1)},
        "machine": describe(),
    }


def put(folder: Path, files: dict[str, str]) -> None:
    """Write the rule files."""
    for file, text in files.items():
        (folder / "rules" / file).write_text(text)


def main() -> None:
    """Measure and print; exit 1 when a request failed, sets were mixed, or the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=1_000)
    parser.add_argument("--rules", type=int, default=300)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    figures = asyncio.run(measure(given.reloads, given.rules, given.clients))
    Console().print_json(data=figures)
    if given.out is not None:
        given.out.write_text(json.dumps(figures, indent=2) + "\n")
    broken = figures["failed_requests"] or figures["answers_not_of_the_set_they_name"]
    slow = figures["reload_s_alone"]["p50"] > BAR_S
    sys.exit(1 if broken or slow or figures["reloads_with_another_status_than_expected"] else 0)


if __name__ == "__main__":
    main()
