"""Running a test's coroutine, and waiting for a condition without guessing how long it takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
OPEN_WRITERS: set[asyncio.StreamWriter] = set()
"""Connections that tests opened; whatever a scenario leaves open is closed after it."""
PATIENCE_S = 20.0
"""How long anything may take before a test fails; never a measure of success."""


def run(coroutine: Coroutine[Any, Any, T], *, uvloop: bool = True) -> T:
    """Run a test's coroutine on uvloop (or on asyncio's own loop), bounded; an unhandled error in a callback fails it."""

    async def watched() -> T:
        # What a scenario outside `run` left here belongs to a loop that is closed: aborting it would fail this test.
        OPEN_WRITERS.clear()
        faults: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(repr(context)))
        try:
            result = await asyncio.wait_for(coroutine, PATIENCE_S * 3)
        finally:
            while OPEN_WRITERS:
                writer = OPEN_WRITERS.pop()
                writer.transport.abort()
            for _ in range(5):
                await asyncio.sleep(0)
        assert not faults, faults
        return result

    if uvloop:
        import uvloop as fast

        with asyncio.Runner(loop_factory=fast.new_event_loop) as runner:
            return runner.run(watched())
    return asyncio.run(watched())


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition()` is true; fail, saying `what`, when it never is."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # conditions here are about other people's sockets
            await asyncio.sleep(0.002)
    assert condition(), what
