"""The proxy against nginx: processor time per request of the process. `python -m benchmarks.proxy [--out FILE]`.

Needs nginx and wrk (Debian: `apt-get install nginx-light wrk`). One nginx answers as the model server; the same load goes
through nginx `proxy_pass`, guardproxy unguarded and guardproxy guarded, in turn and several times over, in one run. The
figure is user and system time of the proxy's own process per request, from /proc; the ratio is to nginx in the same round.

Two loads: `steady` offers every proxy the same rate, well below what each can do, as a sidecar lives; `full` lets 32
connections ask as fast as they are answered. At full speed the faster proxy keeps its peers awake and so pays for fewer
wake-ups per request than the slower one, which the ratio then counts as the slower one's own work.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import case
from benchmarks.machine import describe
from guardproxy.profile.document import dump_profile

TICKS: Final = os.sysconf("SC_CLK_TCK")
BARS: Final = {"guardproxy unguarded": 2.0, "guardproxy guarded": 4.0}
LOADS: Final = {"steady": 16, "full": 0}
"""Milliseconds that each connection rests between two requests."""
BASE: Final = "nginx proxy_pass"
PATHS: Final = {"open-inference": "/v2/models/bench/infer", "kserve-v1": "/v1/models/bench:predict"}

NGINX: Final = """\
daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.err error;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000; client_body_temp_path {folder}/{name}.body; proxy_temp_path {folder}/{name}.proxy;
  fastcgi_temp_path {folder}/{name}.f; uwsgi_temp_path {folder}/{name}.u; scgi_temp_path {folder}/{name}.s;
  client_body_buffer_size 64k;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of load per proxy and round, at most 30")
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    for tool in ("nginx", "wrk"):
        if not shutil.which(tool) and not Path(f"/usr/sbin/{tool}").exists():
            raise SystemExit(f"{tool} is needed: apt-get install nginx-light wrk")
    results = []
    for protocol in PATHS:
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            results += _run(protocol, Path(name), stack, options)
    _print(results)
    if options.out is not None:
        options.out.write_text(json.dumps({"machine": describe(), "results": results}, indent=2) + "\n")


def _run(protocol: str, folder: Path, stack: ExitStack, options: argparse.Namespace) -> list[dict[str, Any]]:
    request, response = case.MESSAGES[protocol](1)
    case.write_files(folder, protocol, dump_profile(case.learned()))
    model, nginx, plain, guarded, admin, other = (_free_port() for _ in range(6))
    answer = response.decode().replace("'", "")
    stack.enter_context(
        _nginx(
            folder, "model", model, f"location / {{ default_type application/json; return 200 '{answer}'; }}"
        )
    )
    proxies = {
        "nginx proxy_pass": (
            nginx,
            stack.enter_context(
                _nginx(
                    folder, "proxy", nginx,
                    'location / { proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; }', model,
                )
            ),
        ),
        "guardproxy unguarded": (plain, stack.enter_context(_guardproxy(folder, plain, admin, model, None))),
        "guardproxy guarded": (guarded, stack.enter_context(_guardproxy(folder, guarded, other, model, protocol))),
    }  # fmt: skip
    scripts = {load: _script(folder / f"{load}.lua", request, pause_ms) for load, pause_ms in LOADS.items()}
    results = []
    for load, script in scripts.items():
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in proxies}
        for number in range(options.rounds + 1):
            for name, (port, pid) in proxies.items():
                figures = _load(
                    port, pid, PATHS[protocol], script, min(options.seconds, 30), options.connections
                )
                if number:  # the first round warms up
                    rounds[name].append(figures)
        results += [_summed(protocol, load, name, figures, rounds[BASE]) for name, figures in rounds.items()]
    return results


def _script(path: Path, request: bytes, pause_ms: int) -> Path:
    """Write what wrk sends; with a pause each connection waits before its next request."""
    lines = [
        "wrk.method='POST'",
        "wrk.headers['Content-Type']='application/json'",
        f"wrk.body=[==[{request.decode()}]==]",
    ]
    if pause_ms:
        lines.append(f"function delay() return {pause_ms} end")
    path.write_text("\n".join(lines) + "\n")
    return path


def _load(port: int, pid: int, path: str, script: Path, seconds: int, connections: int) -> dict[str, float]:
    before = _cpu_s(pid)
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}{path}",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    used = _cpu_s(pid) - before
    found = re.search(r"(\d+) requests in", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"the load failed:\n{said}")
    count = int(found.group(1))
    return {"cpu_us": used / count * 1e6, "requests_s": count / seconds, "p99_ms": _latency(said, "99%")}


def _latency(said: str, percent: str) -> float:
    found = re.search(rf"{percent}\s+([\d.]+)(us|ms|s)", said)
    return (
        float(found.group(1)) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found.group(2)]
        if found
        else float("nan")
    )


def _summed(
    protocol: str, load: str, name: str, figures: list[dict[str, float]], base: list[dict[str, float]]
) -> dict[str, Any]:
    ratios = [mine["cpu_us"] / theirs["cpu_us"] for mine, theirs in zip(figures, base, strict=True)]
    return {
        "protocol": protocol,
        "load": load,
        "proxy": name,
        "cpu_us": statistics.median(f["cpu_us"] for f in figures),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "requests_s": statistics.median(f["requests_s"] for f in figures),
        "p99_ms": statistics.median(f["p99_ms"] for f in figures),
        "bar": BARS.get(name),
    }


def _print(results: list[dict[str, Any]]) -> None:
    table = Table(
        "protocol",
        "load",
        "proxy",
        "CPU us/request",
        "ratio to nginx",
        "min..max",
        "bar",
        "requests/s",
        "p99 ms",
        title="1 row x 20 features, 10 rules",
    )
    for item in results:
        table.add_row(
            item["protocol"], item["load"], item["proxy"], f"{item['cpu_us']:.1f}", f"{item['ratio']:.2f}", f"{item['ratio_min']:.2f}..{item['ratio_max']:.2f}",
            f"{item['bar']:.1f}" if item["bar"] else "", f"{item['requests_s']:.0f}", f"{item['p99_ms']:.2f}",
        )  # fmt: skip
    Console(width=150).print(table)


@contextmanager
def _nginx(folder: Path, name: str, port: int, location: str, upstream: int = 1) -> Iterator[int]:
    config = folder / f"{name}.conf"
    config.write_text(NGINX.format(folder=folder, name=name, port=port, location=location, upstream=upstream))
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    with _process([binary, "-c", str(config)], port) as pid:
        yield _only_child(pid)


@contextmanager
def _guardproxy(folder: Path, port: int, admin: int, upstream: int, protocol: str | None) -> Iterator[int]:
    config = folder / f"guardproxy-{port}.yaml"
    route = ""
    if protocol is not None:
        keys = f"path: '{PATHS[protocol]}', protocol: {protocol}, model: bench, on_failure: closed"
        names = f"profile: bench.profile.yaml, outputs: [{', '.join(case.OUTPUTS[protocol])}]"
        route = f"rules: rules/\nroutes: [{{{keys}, {names}}}]\n"
    config.write_text(
        f"listen: 127.0.0.1:{port}\nadmin: {{listen: '127.0.0.1:{admin}'}}\nupstream: http://127.0.0.1:{upstream}\n"
        f"store: sqlite:///bench-{port}.db\nlog: error\n{route}"
    )
    with _process([sys.executable, "-m", "guardproxy", "serve", "--config", str(config)], port) as pid:
        yield pid


@contextmanager
def _process(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                said = (
                    process.stderr.read().decode()
                    if process.stderr and process.poll() is not None
                    else "it does not listen"
                )
                raise SystemExit(f"{command[0]} did not start: {said}")
            time.sleep(0.05)
        yield process.pid
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _only_child(pid: int) -> int:
    """Return nginx's worker: it does the work, its master only waits."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
