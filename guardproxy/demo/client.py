"""The demo's client: plain HTTP to the proxy, to the model server and to the admin plane.

Decides how a reply is read from headers and body. It is any client: it knows the public contract and nothing else.
"""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from guardproxy.demo.errors import DemoError

OUTCOMES: Final = ("allowed", "warned", "clamped", "replaced", "held", "rejected", "unguarded")
TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers by lower-case name, a body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises ValueError."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back through the proxy for one request.

    `counts` are rows by outcome, `direct` is the model's own body for the same request where it was asked for,
    `seconds` how long the client waited, `model_calls` how often the model was called meanwhile.
    """

    status: int
    outcome: str
    counts: Mapping[str, int]
    held_rows: tuple[int, ...]
    holds: tuple[str, ...]
    decision: str
    reason: str
    body: bytes
    seconds: float
    direct: bytes | None = None
    model_calls: int | None = None


class Peer:
    """One server on the loopback, spoken to over one connection kept alive."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.port = port
        self._headers = dict(headers or {})
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, path: str) -> Answer:
        """GET a path. Raises DemoError when the server cannot be reached."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """POST a JSON body. Raises DemoError when the server cannot be reached."""
        return self._ask("POST", path, body, {"Content-Type": "application/json", **(headers or {})})

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        try:
            self._connection.request(method, path, body, {**self._headers, **headers})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise DemoError(f"{method} {path} on port {self.port} got no answer: {error!r}") from error
        return Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, content
        )


def ask(proxy: Peer, path: str, body: bytes) -> Reply:
    """Send one request through the proxy and read what it says about it."""
    begun = time.perf_counter()
    answer = proxy.post(path, body)
    return read_reply(answer, time.perf_counter() - begun)


def read_reply(answer: Answer, seconds: float) -> Reply:
    """Read the decision headers of an answer; what is not there is empty."""
    headers = answer.headers
    return Reply(
        status=answer.status,
        outcome=headers.get("guardproxy-outcome", ""),
        counts=_counts(headers.get("guardproxy-rows", "")),
        held_rows=tuple(
            int(row) for row in _items(headers.get("guardproxy-held-rows", "")) if row.isdecimal()
        ),
        holds=tuple(_items(headers.get("guardproxy-hold", ""))),
        decision=headers.get("guardproxy-decision", ""),
        reason=headers.get("guardproxy-reason", ""),
        body=answer.body,
        seconds=seconds,
    )


def _counts(text: str) -> dict[str, int]:
    pairs = (item.partition("=") for item in _items(text))
    return {name.strip(): int(count) for name, _, count in pairs if count.strip().isdecimal()}


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
