"""Asking a model server: the questions of a conversation over HTTP, within bounds.

Decides how many questions are asked, how long each may take and how much of an answer is read. No redirect is followed, no
cookie kept, no credential sent. What is asked is left to `talk`.
"""

import asyncio
import os
from dataclasses import dataclass
from typing import Final

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from yarl import URL

from guardproxy.discovery.answers import Answer, Probe
from guardproxy.discovery.sighting import Asked, Sighting
from guardproxy.discovery.talk import look
from guardproxy.wire import Origin

MAX_PROBES: Final = 30
MAX_ANSWER: Final = 256 * 1024
AT_ONCE: Final = 4

_CHUNK: Final = 16 * 1024
_HEADERS: Final = {
    "Accept": "application/json, */*;q=0.5",
    "Accept-Encoding": "identity",
    "User-Agent": "guardproxy-init",
}


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen, and how many questions it took."""

    sighting: Sighting
    probes: int


async def look_at(origin: Origin, asked: Asked, timeout_s: float = 3.0) -> Looked:
    """Ask the server at `origin` what it is: at most MAX_PROBES questions, of at most `timeout_s` seconds each."""
    session = ClientSession(
        # The turnstile bounds the connections: time that is spent waiting for one is not the server's.
        connector=TCPConnector(limit=0),
        timeout=ClientTimeout(total=timeout_s),
        cookie_jar=DummyCookieJar(),
        headers=_HEADERS,
        auto_decompress=False,
    )
    async with session:
        turnstile = asyncio.Semaphore(AT_ONCE)
        talk = look(asked)
        probes = next(talk)
        count = 0
        while True:
            now = probes[: MAX_PROBES - count]
            count += len(now)
            answers = await asyncio.gather(*(_in_turn(turnstile, session, origin, probe) for probe in now))
            unasked = Answer(fault=f"not asked: more than {MAX_PROBES} questions")
            try:
                probes = talk.send((*answers, *(unasked for _ in probes[len(now) :])))
            except StopIteration as done:
                return Looked(done.value, count)


async def _in_turn(
    turnstile: asyncio.Semaphore, session: ClientSession, origin: Origin, probe: Probe
) -> Answer:
    async with turnstile:
        return await _ask(session, origin, probe)


async def _ask(session: ClientSession, origin: Origin, probe: Probe) -> Answer:
    """Ask one question. Whatever happens on the way is an answer without a status."""
    headers = {} if probe.body is None else {"Content-Type": "application/json"}
    try:
        async with session.request(
            probe.method,
            # As it stands: what a path has encoded must stay so.
            URL(f"{origin}{probe.path}", encoded=True),
            data=probe.body,
            headers=headers,
            allow_redirects=False,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > MAX_ANSWER:
                    response.close()
                    return Answer(
                        response.status, fault=f"the answer is larger than {MAX_ANSWER // 1024} KiB"
                    )
            location = response.headers.get("Location", "") if 300 <= response.status < 400 else ""
            return Answer(response.status, bytes(body), location=location[:200])
    except ClientConnectorError as error:
        return Answer(fault=_reason(error), refused=True)
    except TimeoutError:
        return Answer(fault=f"no answer within {session.timeout.total:g} s")
    except (ClientConnectionError, ClientError, OSError, ValueError) as error:
        return Answer(fault=_reason(error))


def _reason(error: Exception) -> str:
    cause = error.os_error if isinstance(error, ClientConnectorError) else error
    text = str(cause) or type(error).__name__
    if isinstance(cause, OSError) and cause.errno is not None:
        # Names that are not found have numbers of their own, below zero.
        text = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or text
    return "".join(char if char.isprintable() else " " for char in text[:200])
