"""CPU per proxied request of the wire, as a ratio to nginx's proxy_pass in the same run.

    python benchmarks/proxy_plain.py [--seconds 4] [--connections 32] [--heads same|lengths|ids] [--guarded] [--profile FILE]

`--heads ids` gives every request a header of its own, so that no head comes twice (see guardproxy/wire/repeat.py).
An nginx that answers at once is the upstream of both. wrk posts 1.6 KB over keep-alive connections. CPU is the
proxy process's own user and system time, read from /proc. Needs nginx and wrk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
ANSWER = '{"predictions":[0.123,0.456]}'

NGINX = """
daemon off; worker_processes 1; pid {dir}/{name}.pid; error_log {dir}/{name}.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
  scgi_temp_path {dir}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}
}}
"""
PROXY = (
    'proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; '
    "proxy_set_header Host $http_host; client_body_buffer_size 64k;"
)
WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "*/*"
wrk.headers["User-Agent"] = "bench/1"
wrk.body = '{"instances":[' .. string.rep("1.25,", 316) .. '0]}'
"""
KINDS = {
    "same": "",
    "lengths": """
local made, n = {}, 0
init = function() for i = 1, 50 do made[i] = wrk.format(nil, nil, nil, wrk.body .. string.rep(" ", i)) end end
request = function() n = n % 50 + 1; return made[n] end
""",
    "ids": """
local made, n = {}, 0
init = function()
  for i = 1, 997 do
    wrk.headers["X-Request-Id"] = string.format("%08x", i * 7919)
    made[i] = wrk.format(nil, nil, nil, wrk.body)
  end
end
request = function() n = n % 997 + 1; return made[n] end
""",
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


def cpu_seconds(pid: int) -> tuple[float, float]:
    """User and system time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


def worker_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


def measure(name: str, pid: int, port: int, script: Path, args: argparse.Namespace) -> float:
    """Microseconds of CPU per request."""
    command = [
        "wrk",
        "-t1",
        f"-c{args.connections}",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}/v1/models/m:predict",
    ]
    subprocess.run([*command, "-d1s"], check=True, capture_output=True)
    before = cpu_seconds(pid)
    text = subprocess.run([*command, f"-d{args.seconds}s"], check=True, capture_output=True, text=True).stdout
    user, system = (after - earlier for after, earlier in zip(cpu_seconds(pid), before, strict=True))
    found = re.search(r"(\d+) requests in", text)
    if found is None or "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{name}: {text}")
    requests = int(found.group(1))
    each = (user + system) / requests * 1e6
    split = f"(user {user / requests * 1e6:5.1f}, system {system / requests * 1e6:5.1f})"
    print(f"{name:12} {each:7.1f} us CPU per request {split}   {requests / args.seconds:8.0f} requests/s")
    return each


def start_nginx(name: str, folder: Path, port: int, upstream: int, location: str) -> subprocess.Popen[bytes]:
    config = folder / f"{name}.conf"
    config.write_text(NGINX.format(dir=folder, name=name, port=port, upstream=upstream, location=location))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-c", str(config), "-e", str(folder / f"{name}.log")])
    wait_for(port)
    return process


async def serve(port: int, upstream: int, *, guarded: bool) -> None:
    sys.path.insert(0, str(ROOT))
    from guardproxy.wire import Pool, Server, parse_origin
    from tests.harness.apps import Guarding, PassThrough

    pool = Pool(parse_origin(f"http://127.0.0.1:{upstream}"))
    app = Guarding(pool) if guarded else PassThrough(pool)
    keep_nothing(app)
    server = await Server.start(app, "127.0.0.1", port)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.close(1.0)
    pool.close()


def keep_nothing(app: object) -> None:
    """The test applications keep what they see; a benchmark must not grow."""

    class Sieve(list):  # type: ignore[type-arg]
        def append(self, _: object) -> None:
            """Keep nothing."""

    for name, value in vars(app).items():
        if isinstance(value, list):
            setattr(app, name, Sieve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument(
        "--guarded", action="store_true", help="collect both bodies and reply, in place of streaming"
    )
    parser.add_argument(
        "--heads", choices=sorted(KINDS), default="same", help="what differs from request to request"
    )
    parser.add_argument("--profile", help="write a cProfile of the proxy to this file")
    parser.add_argument("--serve", nargs=2, type=int, metavar=("PORT", "UPSTREAM"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(*args.serve, guarded=args.guarded))
        return
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "post.lua"
        script.write_text(WRK + KINDS[args.heads])
        upstream, proxy, ours = free_port(), free_port(), free_port()
        try:
            answer = f"default_type application/json; return 200 '{ANSWER}';"
            started.append(start_nginx("upstream", folder, upstream, upstream, answer))
            started.append(start_nginx("proxy", folder, proxy, upstream, PROXY))
            profiling = ["-m", "cProfile", "-o", args.profile] if args.profile else []
            extra = ["--guarded"] if args.guarded else []
            command = [sys.executable, *profiling, __file__, "--serve", str(ours), str(upstream), *extra]
            started.append(subprocess.Popen(command))
            wait_for(ours)
            nginx_us = measure("nginx", worker_of(started[1].pid), proxy, script, args)
            ours_us = measure("guardproxy", started[2].pid, ours, script, args)
            print(f"ratio        {ours_us / nginx_us:7.2f}")
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
