"""One call that passes through as raw messages, whatever its method.

Decides the order: both directions flow at once and one message at a time, so that a slow reader slows its writer; whatever
ends the call on one side ends it on the other. Which calls pass is left to `plane`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import grpc

from guardproxy.proxy.grpc.metadata import Pairs, returned

NOTHING: Pairs = ()


class End(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    details: str = ""
    trailing: Pairs = NOTHING


class Passage:
    """Carries messages between a client's `context` and a `call` to the upstream.

    `look` sees each message of the client before it goes on, and may return how the call ends instead. `more` gives
    metadata to send before the upstream's first message.
    """

    __slots__ = ("_call", "_context", "_end", "_look", "_more")

    def __init__(
        self,
        call: Any,
        context: Any,
        look: Callable[[bytes], End | None] = lambda _message: None,
        more: Callable[[], Pairs] = lambda: NOTHING,
    ) -> None:
        self._call = call
        self._context = context
        self._look = look
        self._more = more
        self._end: End | None = None

    async def run(self, requests: AsyncIterator[bytes]) -> End:
        """Return how the call ended. A client that leaves cancels the upstream's side."""
        sending = asyncio.create_task(self._send(requests))
        try:
            return await self._receive()
        except asyncio.CancelledError:
            if self._end is None:
                raise
            return self._end
        finally:
            self._call.cancel()
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def _send(self, requests: AsyncIterator[bytes]) -> None:
        # A call that is over takes no more messages; its status, which `_receive` reads, says why.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async for message in requests:
                self._end = self._look(message)
                if self._end is not None:
                    self._call.cancel()
                    return
                await self._call.write(message)
            await self._call.done_writing()

    async def _give(self, message: bytes) -> None:
        try:
            await self._context.write(message)
        except grpc.aio.InternalError as error:
            # Only a client that is gone takes no more; the library may notice it here before it cancels this task.
            raise asyncio.CancelledError from error

    async def _receive(self) -> End:
        call, context = self._call, self._context
        try:
            initial = returned(await call.initial_metadata())
            await context.send_initial_metadata(initial + self._more())
            while (message := await call.read()) is not grpc.aio.EOF:
                await self._give(message)
            return End(
                await call.code(), await call.details() or "", returned(await call.trailing_metadata())
            )
        except grpc.aio.AioRpcError as error:
            return End(error.code(), error.details() or "", returned(error.trailing_metadata()))
