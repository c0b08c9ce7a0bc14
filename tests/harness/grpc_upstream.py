"""A gRPC model server that a test writes: every method of every service, in raw messages, and what it saw."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Seen(NamedTuple):
    """A call as it arrived."""

    method: str
    metadata: dict[str, list[str | bytes]]
    remaining: float | None


class GrpcUpstream(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Serves every call by `handler(requests, context)`."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.calls: list[Seen] = []
        self.messages: list[bytes] = []
        self.cancelled = 0
        self.port = 0
        self.server: Any = None

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method

        async def serve(requests: AsyncIterator[bytes], context: Any) -> None:
            metadata: dict[str, list[str | bytes]] = {}
            for key, value in context.invocation_metadata():
                metadata.setdefault(key, []).append(value)
            self.calls.append(Seen(method, metadata, context.time_remaining()))
            try:
                await self.handler(self._noted(requests), context)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

        return grpc.stream_stream_rpc_method_handler(serve)

    async def _noted(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for message in requests:
            self.messages.append(message)
            yield message


@asynccontextmanager
async def grpc_upstream(handler: Any, port: int = 0) -> AsyncIterator[GrpcUpstream]:
    """Run an upstream, on a port of its own unless one is given."""
    upstream = GrpcUpstream(handler)
    upstream.server = grpc.aio.server(
        handlers=(upstream,),
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)],
    )
    upstream.port = upstream.server.add_insecure_port(f"127.0.0.1:{port}")
    await upstream.server.start()
    try:
        yield upstream
    finally:
        await upstream.server.stop(None)


def answering(*messages: bytes, initial: tuple[Any, ...] = (), trailing: tuple[Any, ...] = ()) -> Any:
    """Return a handler that reads a whole request and answers with these messages."""

    async def handler(requests: AsyncIterator[bytes], context: Any) -> None:
        await context.send_initial_metadata(initial)
        async for _ in requests:
            pass
        for message in messages:
            await context.write(message)
        context.set_trailing_metadata(trailing)

    return handler


class Reply(NamedTuple):
    """What a client got. `body` is None for an error."""

    code: str
    details: str
    body: bytes | None
    initial: dict[str, list[str | bytes]]
    trailing: dict[str, list[str | bytes]]

    def said(self, name: str) -> str | None:
        """Return a decision's metadata, of an error its trailing one."""
        where = self.initial if self.body is not None else self.trailing
        values = where.get(f"guardproxy-{name}")
        assert values is None or len(values) == 1
        return None if values is None else str(values[0])


def _dict(metadata: Any) -> dict[str, list[str | bytes]]:
    made: dict[str, list[str | bytes]] = {}
    for key, value in metadata or ():
        made.setdefault(key, []).append(value)
    return made


@asynccontextmanager
async def channel_to(port: int) -> AsyncIterator[Any]:
    """Open a client's channel."""
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield channel


async def ask(channel: Any, method: str, body: bytes, **options: Any) -> Reply:
    """Make one unary call."""
    call = channel.unary_unary(method)(body, **options)
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return Reply(
            error.code().name,
            error.details() or "",
            None,
            _dict(error.initial_metadata()),
            _dict(error.trailing_metadata()),
        )
    return Reply(
        "OK", "", answer, _dict(await call.initial_metadata()), _dict(await call.trailing_metadata())
    )
