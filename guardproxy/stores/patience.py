"""How long a call to a store may take, counted in time that the event loop had for it.

Decides that a loop which is busy with requests is no fault of the store: a stall of any length counts as a fifth of the time at most. What
a time-out means is left to who called.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

STEPS: Final = 5


@asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError where what is done within takes longer; on a busy loop up to STEPS stalls longer than that."""
    loop = asyncio.get_running_loop()
    left = STEPS
    timer: asyncio.TimerHandle

    def step() -> None:
        nonlocal left, timer
        left -= 1
        if left:
            timer = loop.call_later(seconds / STEPS, step)
        else:
            limit.reschedule(loop.time())

    timer = loop.call_later(seconds / STEPS, step)
    try:
        async with asyncio.timeout(None) as limit:
            yield
    finally:
        timer.cancel()
