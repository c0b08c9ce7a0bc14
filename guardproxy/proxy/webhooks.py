"""Webhooks: other systems are told of what a person should know, and nothing here ever waits for them.

Decides how often a delivery is tried and what is dropped (the newest event at a full queue, counted). What is worth an
event is left to those who tell.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

log = structlog.get_logger("guardproxy.webhooks")

MAX_PENDING: Final = 1_000
TIMEOUT_S: Final = 5.0
TRIES: Final = 3
BACKOFF_S: Final = 1.0
MAX_TEXT: Final = 4_000
RESULTS: Final = ("delivered", "failed", "dropped")


@dataclass(slots=True, eq=False)
class Hook:
    """An address with the events it is told of. `counts` is by result: each event ends in exactly one of them."""

    url: str
    events: frozenset[str]
    header: tuple[str, str] | None = None
    counts: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    queue: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(MAX_PENDING))

    @property
    def host(self) -> str:
        """What may stand in logs and metrics: paths of webhooks are often secrets."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


class Webhooks:
    """The webhooks of one process. Each has its own queue and task: a slow one delays nobody else."""

    def __init__(
        self, hooks: Sequence[Hook], clock: Callable[[], float], backoff_s: float = BACKOFF_S
    ) -> None:
        self.hooks = tuple(hooks)
        self._clock = clock
        self._backoff_s = backoff_s

    def tell(self, event: str, said: Mapping[str, Any]) -> None:
        """Queue an event for those who want it; at a full queue it is dropped and counted."""
        if not any(event in hook.events for hook in self.hooks):
            return
        at = datetime.fromtimestamp(said.get("at", self._clock()), UTC).isoformat().replace("+00:00", "Z")
        body = {**said, "event": event, "at": at, "text": str(said.get("text", ""))[:MAX_TEXT]}
        sent = json.dumps(body, default=str).encode()
        for hook in self.hooks:
            if event in hook.events:
                try:
                    hook.queue.put_nowait(sent)
                except asyncio.QueueFull:
                    hook.counts["dropped"] += 1

    async def run(self) -> None:
        """Deliver for ever. What is still queued when this is cancelled counts as dropped."""
        try:
            async with (
                ClientSession(
                    timeout=ClientTimeout(total=TIMEOUT_S), cookie_jar=DummyCookieJar(), trust_env=False
                ) as session,
                asyncio.TaskGroup() as tasks,
            ):
                for hook in self.hooks:
                    tasks.create_task(self._deliver(hook, session), name="webhook")
        finally:
            for hook in self.hooks:
                hook.counts["dropped"] += hook.queue.qsize()

    async def settle(self, seconds: float) -> None:
        """Give what is queued a last moment, at a stop."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(hook.queue.join() for hook in self.hooks))
        except TimeoutError:
            log.warning("webhooks.left", pending=sum(hook.queue.qsize() for hook in self.hooks))

    async def _deliver(self, hook: Hook, session: ClientSession) -> None:
        while True:
            body = await hook.queue.get()
            try:
                delivered = await self._try(hook, session, body)
            except asyncio.CancelledError:
                hook.counts["dropped"] += 1
                raise
            except Exception as error:
                # Whatever a client library makes of an odd server must not end the process.
                delivered = False
                log.error("webhook.failed", host=hook.host, error=type(error).__name__, exc_info=error)
            finally:
                hook.queue.task_done()
            hook.counts["delivered" if delivered else "failed"] += 1

    async def _try(self, hook: Hook, session: ClientSession, body: bytes) -> bool:
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                hook.retries += 1
                await asyncio.sleep(self._backoff_s * 4 ** (attempt - 1))
            problem, again = await _post(hook, session, body)
            if not problem:
                return True
            if not again:
                break
        log.error("webhook.failed", host=hook.host, problem=problem)
        return False


async def _post(hook: Hook, session: ClientSession, body: bytes) -> tuple[str, bool]:
    """Return what is wrong (nothing when it was taken), and whether trying again could help."""
    headers = {"Content-Type": "application/json", **(dict([hook.header]) if hook.header else {})}
    try:
        # A redirect would carry the header to wherever it leads.
        async with session.post(hook.url, data=body, headers=headers, allow_redirects=False) as response:
            status = response.status
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s", True
    except (ClientError, OSError, ValueError) as error:
        return type(error).__name__, True
    if 200 <= status < 300:
        return "", False
    return f"status {status}", status >= 500 or status in {408, 425, 429}
