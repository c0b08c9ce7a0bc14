"""Which Redis server a key is asked of: the only one, the primary that the sentinels name, or its slot's in a cluster.

Decides how that is found, and forgotten when a server fails or says it is no longer the one. Nothing is asked twice but what
a cluster redirects. Connections are left to `redis_links`.
"""

import asyncio
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from guardproxy.stores.redis_links import Command, Connect, Links, Reply, connector
from guardproxy.stores.redis_urls import Kind, RedisAddress, Server


class Ask(NamedTuple):
    """A command with the key that it is about."""

    key: bytes
    command: Command


class NoServerError(RedisError):
    """Nobody says which server to ask, or nobody serves a key's slot."""


class Topology(Protocol):
    """Knows whom to ask. `changes` counts how often another server took over: what the old one acknowledged last may be lost."""

    changes: int

    async def run(self, asks: Sequence[Ask]) -> list[Reply]:
        """Return the reply to each; raises as `Links.run` does."""

    async def close(self) -> None:
        """Close all connections."""


def make_topology(address: RedisAddress) -> Topology:
    """Return who knows whom to ask at `address`."""
    connect = connector(address, database=address.database, credentials=True)
    if address.kind is Kind.STANDALONE:
        return Standalone(address.servers[0], connect)
    if address.kind is Kind.CLUSTER:
        return Cluster(address.servers, connect)
    asking = [connector(address, database=0, credentials=False)]
    if address.password is not None:
        asking.append(connector(address, database=0, credentials=True))
    return Sentinel(address.servers, address.name, asking, connect)


class Standalone:
    """One server for all keys."""

    def __init__(self, server: Server, connect: Connect) -> None:
        self._links = Links(server, connect)
        self.changes = 0

    async def run(self, asks: Sequence[Ask]) -> list[Reply]:
        """Ask the server."""
        return await self._links.run([ask.command for ask in asks])

    async def close(self) -> None:
        """Close its connections."""
        await self._links.close()


class Sentinel:
    """The primary that sentinels name. Sentinels are asked without a password first, then with the primary's."""

    def __init__(
        self, sentinels: Sequence[Server], name: str, asking: Sequence[Connect], connect: Connect
    ) -> None:
        self._sentinels = sentinels
        self._name = name
        self._asking = asking
        self._connect = connect
        self._primary: Links | None = None
        self._finding = asyncio.Lock()
        self._last: Server | None = None
        self.changes = 0

    async def run(self, asks: Sequence[Ask]) -> list[Reply]:
        """Ask the primary; forget it when it fails or says that it is a replica now."""
        async with self._finding:
            if self._primary is None:
                found = await self._find()
                self.changes += self._last not in (None, found)
                self._last = found
                self._primary = Links(found, self._connect)
            primary = self._primary
        try:
            replies = await primary.run([ask.command for ask in asks])
        except BaseException:
            await self._forget(primary)
            raise
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await self._forget(primary)
        return replies

    async def close(self) -> None:
        """Close the connections to the primary."""
        if self._primary is not None:
            await self._forget(self._primary)

    async def _forget(self, primary: Links) -> None:
        if self._primary is primary:
            self._primary = None
        await primary.close()

    async def _find(self) -> Server:
        """Ask all sentinels at once and take the first that knows: one of them may be paused."""
        tasks = [asyncio.create_task(self._ask(server)) for server in self._sentinels]
        try:
            said = []
            for first in asyncio.as_completed(tasks):
                found = await first
                if isinstance(found, Server):
                    return found
                said.append(found)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise NoServerError(f"no sentinel names a primary {self._name!r} ({'; '.join(said)[:300]})")

    async def _ask(self, sentinel: Server) -> Server | str:
        """Return the primary that a sentinel names, or what went wrong."""
        problem = ""
        for connect in self._asking:
            links = Links(sentinel, connect)
            try:
                (reply,) = await links.run([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)])
            except AuthenticationError as error:
                problem = f"{sentinel.host}:{sentinel.port}: {error}"
                continue
            except (RedisError, OSError) as error:
                return f"{sentinel.host}:{sentinel.port}: {error or type(error).__name__}"
            finally:
                await links.close()
            return _primary(reply) or f"{sentinel.host}:{sentinel.port} knows none"
        return problem


def _primary(reply: Reply) -> Server | None:
    match reply:
        case [bytes(host), bytes(port)] if port.isdigit():
            return Server(host.decode("utf-8", "replace"), int(port))
        case _:
            return None


@dataclass(frozen=True, slots=True)
class _Slots:
    """Ranges of slots in ascending order, with who serves each."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    servers: tuple[Server, ...]

    def server(self, slot: int) -> Server:
        place = bisect_right(self.starts, slot) - 1
        if place < 0 or self.ends[place] < slot:
            raise NoServerError(f"no server of the cluster serves slot {slot}")
        return self.servers[place]


class Cluster:
    """The servers of a cluster, by the slot of a key."""

    def __init__(self, servers: Sequence[Server], connect: Connect) -> None:
        self._connect = connect
        self._named = servers
        self._known = deque(servers)
        self._links: dict[Server, Links] = {}
        self._slots: _Slots | None = None
        self._last: _Slots | None = None
        self.changes = 0

    async def run(self, asks: Sequence[Ask]) -> list[Reply]:
        """Ask each key's server, all at once; follow a redirection once."""
        slots = self._slots = self._slots or await self._read_slots()
        groups = defaultdict[Server, list[int]](list)
        for place, ask in enumerate(asks):
            groups[slots.server(key_slot(ask.key))].append(place)
        replies: list[Reply] = [None] * len(asks)
        await self._run_groups(asks, groups, replies)
        await self._follow(asks, replies)
        return replies

    async def close(self) -> None:
        """Close all connections."""
        links, self._links = self._links, {}
        for one in links.values():
            await one.close()

    async def _run_groups(
        self, asks: Sequence[Ask], groups: Mapping[Server, Sequence[int]], replies: list[Reply]
    ) -> None:
        try:
            results = await asyncio.gather(
                *(
                    self._at(server).run([asks[place].command for place in places])
                    for server, places in groups.items()
                ),
                return_exceptions=True,
            )
        except BaseException:
            self._slots = None
            raise
        for (server, places), result in zip(groups.items(), results, strict=True):
            if isinstance(result, BaseException):
                await self._forget(server)
                raise result
            for place, reply in zip(places, result, strict=True):
                replies[place] = _read(reply, server)

    async def _follow(self, asks: Sequence[Ask], replies: list[Reply]) -> None:
        """Ask again, where a server said, what it redirected; ASKING before each while its slot is on the move."""
        moved = defaultdict[Server, list[int]](list)
        for place, reply in enumerate(replies):
            if not isinstance(reply, RedirectedError):
                continue
            if reply.moved:
                moved[reply.server].append(place)
            else:
                _, replies[place] = await self._at(reply.server).run([("ASKING",), asks[place].command])
        if moved:
            self._slots = None
            await self._run_groups(asks, moved, replies)

    def _at(self, server: Server) -> Links:
        if server not in self._links:
            self._links[server] = Links(server, self._connect)
        return self._links[server]

    async def _forget(self, server: Server) -> None:
        """Read the slots anew before the next call, from another server than the one that failed."""
        self._slots = None
        links = self._links.pop(server, None)
        if links is not None:
            await links.close()
        if self._known[0] == server:
            self._known.rotate(-1)

    async def _read_slots(self) -> _Slots:
        server = self._known[0]
        try:
            (reply,) = await self._at(server).run([("CLUSTER", "SLOTS")])
        except BaseException:
            await self._forget(server)
            raise
        if isinstance(reply, ResponseError):
            raise reply
        slots = _ranges(reply, server)
        self._known = deque(dict.fromkeys((server, *slots.servers, *self._named)))
        self.changes += self._last not in (None, slots)
        self._last = slots
        for gone in self._links.keys() - {*slots.servers, server}:
            await self._links.pop(gone).close()
        return slots


class RedirectedError(ResponseError):
    """Another server has the key: for good (`moved`), or for this one command."""

    def __init__(self, error: ResponseError, server: Server, *, moved: bool) -> None:
        super().__init__(str(error))
        self.server = server
        self.moved = moved


def _read(reply: Reply, asked: Server) -> Reply:
    """Return a redirection as such (redis-py tells it from other errors only from release 7 on), and the rest as it is.

    One that names no host means the host that was asked.
    """
    if not isinstance(reply, ResponseError):
        return reply
    code, _, rest = str(reply).rpartition(" ")
    moved = isinstance(reply, MovedError) or code.startswith("MOVED ")
    if not (moved or isinstance(reply, AskError) or code.startswith("ASK ")):
        return reply
    host, _, port = rest.rpartition(":")
    return (
        RedirectedError(reply, Server(host or asked.host, int(port)), moved=moved)
        if port.isdecimal()
        else reply
    )


def _ranges(reply: Reply, asked: Server) -> _Slots:
    """Read what CLUSTER SLOTS says. Raises NoServerError for what is no such reply."""
    found: list[tuple[int, int, Server]] = []
    for one in reply if isinstance(reply, list) else []:
        match one:
            case [int(start), int(end), [host, int(port), *_], *_]:
                name = host.decode("utf-8", "replace") if isinstance(host, bytes) else ""
                found.append((start, end, Server(name or asked.host, port)))
            case _:
                raise NoServerError(f"{asked.host}:{asked.port} gave no list of slots")
    if not found:
        raise NoServerError(f"{asked.host}:{asked.port} knows no server of the cluster")
    starts, ends, servers = zip(*sorted(found), strict=True)
    return _Slots(starts, ends, servers)
