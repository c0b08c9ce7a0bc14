"""Connections to one Redis server: few, bounded in time, dropped at the first doubt.

Decides how commands travel: all of a call in one write, their replies in order, never a second try. Who serves which key is
left to `redis_topology`, what the commands mean to `redis_statistics`.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as BrokenError
from redis.exceptions import InvalidResponse, ReadOnlyError, ResponseError

from guardproxy.stores.patience import patience
from guardproxy.stores.redis_errors import unwrapped
from guardproxy.stores.redis_urls import RedisAddress, Server

Word: TypeAlias = bytes | str | int | float
Command: TypeAlias = tuple[Word, ...]
Reply: TypeAlias = "bytes | int | list[Reply] | ResponseError | None"

MAX_LINKS: Final = 4
"""Most connections to one server; a call that finds all of them busy waits, within its own time."""
EXCHANGE_S: Final = 0.25
"""How long the replies to one write may take, from the first byte sent."""

Connect = Callable[[Server], AbstractConnection]


def connector(address: RedisAddress, *, database: int, credentials: bool) -> Connect:
    """Return what makes a connection (not connected yet) to a server of `address`."""
    user, password = (address.user, address.password) if credentials else (None, None)
    files = dict(address.files)
    kind, trust = Connection, dict[str, Any]()
    if address.tls:
        kind = SSLConnection
        trust = {
            "ssl_ca_certs": files.get("ca"),
            "ssl_certfile": files.get("cert"),
            "ssl_keyfile": files.get("key"),
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        }

    def connect(server: Server) -> AbstractConnection:
        return kind(
            host=server.host,
            port=server.port,
            db=database,
            username=user,
            password=password,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
            **trust,
        )

    return connect


class Links:
    """The connections to one server."""

    def __init__(self, server: Server, connect: Connect) -> None:
        self.server = server
        self._connect = connect
        self._idle: list[AbstractConnection] = []
        self._free = asyncio.Semaphore(MAX_LINKS)
        self._closed = False

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Send `commands` in one write and return their replies; a refusal is returned in its place.

        Raises RedisError, OSError or TimeoutError when the server was not reached or did not answer: then nothing is known of
        what it did.
        """
        async with self._free:
            link = self._idle.pop() if self._idle else self._connect(self.server)
            try:
                replies = await _exchange(link, commands)
            except BaseException:  # a reply that is still to come would be taken for the next one
                await link.disconnect(nowait=True)
                raise
            # An address may lead to another server by now: a replica that was the primary is not asked again.
            if self._closed or any(isinstance(reply, ReadOnlyError) for reply in replies):
                await link.disconnect(nowait=True)
            else:
                self._idle.append(link)
            return replies

    async def close(self) -> None:
        """Close what is idle; what is busy closes when its call ends."""
        self._closed = True
        links, self._idle = self._idle, []
        for link in links:
            await link.disconnect(nowait=True)


def _pack(command: Command) -> bytes:
    packed: bytes = pack_command(command)  # type: ignore[arg-type]  # its stub means a tuple of one word
    return packed


async def _exchange(link: AbstractConnection, commands: Sequence[Command]) -> list[Reply]:
    if link.is_connected and await _is_stale(link):
        await link.disconnect(nowait=True)
    await link.connect()  # type: ignore[no-untyped-call]
    async with patience(EXCHANGE_S):
        # hiredis packs ten times faster than the connection's own method; this is the loop that answers requests.
        await link.send_packed_command(b"".join(map(_pack, commands)), check_health=False)
        return [await _reply(link) for _ in commands]


async def _is_stale(link: AbstractConnection) -> bool:
    """Tell whether the server has closed the connection, or said what nobody asked for."""
    look = (
        link.can_read if hasattr(link, "can_read") else link.can_read_destructive
    )  # redis-py from 8, and before
    for _ in range(2):  # two turns of the loop: one to hear of the end, one to note it
        await asyncio.sleep(0)
    try:
        return bool(await look())
    except BrokenError:
        return True


async def _reply(link: AbstractConnection) -> Reply:
    try:
        reply: Reply = await link.read_response()
    except ResponseError as error:
        return unwrapped(error)
    except ValueError as error:  # redis-py takes a refusal apart, and trusts its words
        raise InvalidResponse(f"a reply cannot be read: {error}") from error
    return reply
