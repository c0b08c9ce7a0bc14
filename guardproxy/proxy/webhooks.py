"""Webhooks: other systems are told of what a person should know, and nothing here ever waits for them.

Decides how often a delivery is tried, how it is signed, and what is dropped (the newest event at a full queue, counted). What is
worth an event is left to those who tell, what is told together to `grouping`.
"""

import asyncio
import hashlib
import hmac
import json
import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from guardproxy.proxy.grouping import Grouping
from guardproxy.units import format_moment

log = structlog.get_logger("guardproxy.webhooks")

MAX_PENDING: Final = 1_000
TIMEOUT_S: Final = 5.0
TRIES: Final = 3
BACKOFF_S: Final = 1.0
MAX_TEXT: Final = 4_000
RESULTS: Final = ("delivered", "failed", "dropped")
SIGNATURE: Final = "Guardproxy-Signature"
EVENT: Final = "Guardproxy-Event"
LOOK_S: Final = 1.0
"""How often it is looked whether a group of events is due."""


class Sent(NamedTuple):
    """An event on its way: its id, the same for every address and every try, and its body."""

    id: str
    body: bytes


@dataclass(slots=True, eq=False)
class Hook:
    """An address with the events it is told of. `counts` is by result: each event ends in exactly one of them. What is sent
    is signed by `secret`, if there is one."""

    url: str
    events: frozenset[str]
    header: tuple[str, str] | None = None
    secret: bytes | None = field(default=None, repr=False)
    counts: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    queue: asyncio.Queue[Sent] = field(default_factory=lambda: asyncio.Queue(MAX_PENDING))

    @property
    def host(self) -> str:
        """What may stand in logs and metrics: paths of webhooks are often secrets."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _event_id() -> str:
    return secrets.token_hex(8)


def _in_a_header(event_id: str) -> str:
    """Return an id as it can stand in a header; one that cannot, since names of models are in it, as a digest."""
    return event_id if _PLAIN_ID.fullmatch(event_id) else hashlib.sha256(event_id.encode()).hexdigest()[:32]


_PLAIN_ID: Final = re.compile(r"[\x21-\x7e]{1,200}")


class Webhooks:
    """The webhooks of one process. Each has its own queue and task: a slow one delays nobody else."""

    def __init__(
        self,
        hooks: Sequence[Hook],
        clock: Callable[[], float],
        backoff_s: float = BACKOFF_S,
        *,
        grouped: Mapping[str, float] = MappingProxyType({}),
        new_id: Callable[[], str] = _event_id,
    ) -> None:
        """Tell `hooks`. Of the events in `grouped`, those of one model are told together, one in so many seconds."""
        self.hooks = tuple(hooks)
        self.groupings = {event: Grouping(cooldown_s) for event, cooldown_s in grouped.items()}
        self._clock = clock
        self._backoff_s = backoff_s
        self._new_id = new_id

    def tell(self, event: str, said: Mapping[str, Any]) -> None:
        """Queue an event for those who want it; at a full queue it is dropped and counted.

        `said` may have an `id` of its own: replicas that tell of the same give the same, so that a receiver knows.
        """
        grouping = self.groupings.get(event)
        if grouping is None:
            self._queue(event, said)
            return
        self.release()
        now = grouping.take(said, self._clock())
        if now is not None:
            self._queue(event, now)

    def release(self) -> None:
        """Tell of the groups whose time has come."""
        for event, grouping in self.groupings.items():
            for said in grouping.due(self._clock()):
                self._queue(event, said)

    def _queue(self, event: str, said: Mapping[str, Any]) -> None:
        if not any(event in hook.events for hook in self.hooks):
            return
        event_id = _in_a_header(str(said.get("id") or self._new_id()))
        body = {
            **said,
            "id": event_id,
            "event": event,
            "at": format_moment(said.get("at", self._clock())),
            "text": str(said.get("text", ""))[:MAX_TEXT],
        }
        sent = Sent(event_id, json.dumps(body, default=str).encode())
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
                if self.groupings:
                    tasks.create_task(self._look(), name="webhook groups")
        finally:
            for hook in self.hooks:
                hook.counts["dropped"] += hook.queue.qsize()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.release()

    async def settle(self, seconds: float) -> None:
        """Give what is queued a last moment, at a stop; what waited for its group is told now."""
        for event, grouping in self.groupings.items():
            for said in grouping.rest():
                self._queue(event, said)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(hook.queue.join() for hook in self.hooks))
        except TimeoutError:
            log.warning("webhooks.left", pending=sum(hook.queue.qsize() for hook in self.hooks))

    async def _deliver(self, hook: Hook, session: ClientSession) -> None:
        while True:
            sent = await hook.queue.get()
            try:
                delivered = await self._try(hook, session, sent)
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

    async def _try(self, hook: Hook, session: ClientSession, sent: Sent) -> bool:
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                hook.retries += 1
                await asyncio.sleep(self._backoff_s * 4 ** (attempt - 1))
            problem, again = await _post(hook, session, sent, int(self._clock()))
            if not problem:
                return True
            if not again:
                break
        log.error("webhook.failed", host=hook.host, problem=problem)
        return False


def signature(secret: bytes, at: int, body: bytes) -> str:
    """Return what proves that who sent `body` at `at` (Unix seconds) knows the secret: HMAC-SHA256 (RFC 2104) of both."""
    made = hmac.new(secret, b"%d." % at + body, hashlib.sha256)
    return f"t={at},v1={made.hexdigest()}"


async def _post(hook: Hook, session: ClientSession, sent: Sent, now: int) -> tuple[str, bool]:
    """Return what is wrong (nothing when it was taken), and whether trying again could help."""
    headers = {"Content-Type": "application/json", EVENT: sent.id}
    headers |= dict([hook.header]) if hook.header else {}
    if hook.secret is not None:
        headers[SIGNATURE] = signature(hook.secret, now, sent.body)
    try:
        # A redirect would carry the header to wherever it leads.
        async with session.post(hook.url, data=sent.body, headers=headers, allow_redirects=False) as response:
            status = response.status
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s", True
    except (ClientError, OSError, ValueError) as error:
        return type(error).__name__, True
    if 200 <= status < 300:
        return "", False
    return f"status {status}", status >= 500 or status in {408, 425, 429}
