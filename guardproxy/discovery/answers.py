"""Questions to a model server and its answers, as values.

Decides what of an answer is believed: JSON of bounded depth, text of one short line. How they travel is left to `prober`.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import orjson

MAX_WORD: Final = 100
"""Characters of a version or a name that a server says of itself."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question. `path` is the target as it stands on the wire; with a `body` it is a POST of JSON."""

    path: str
    body: bytes | None = None

    @property
    def method(self) -> str:
        """GET, or POST with a body."""
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question: status and body, or in `fault` why there is none (`status` is 0 where nothing came at all).

    `refused` says that no connection could be made at all. `location` is where a redirect points.
    """

    status: int = 0
    body: bytes = b""
    fault: str = ""
    refused: bool = False
    location: str = ""

    @property
    def ok(self) -> bool:
        """Whether the server answered with what was asked for, and all of it was read."""
        return 200 <= self.status < 300 and not self.fault

    @property
    def value(self) -> Any:
        """The body as JSON, whatever the status; None when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    @property
    def mapping(self) -> Mapping[str, Any]:
        """The body as a JSON object, whatever the status; an empty one when it is none."""
        value = self.value
        return value if isinstance(value, dict) else {}

    @property
    def told(self) -> Mapping[str, Any]:
        """The JSON object of a good answer; an empty one otherwise."""
        return self.mapping if self.ok else {}


Answers: TypeAlias = tuple[Answer, ...]
T = TypeVar("T")
Talk: TypeAlias = Generator[tuple[Probe, ...], Answers, T]
"""A conversation: it yields questions that may be asked at once, gets as many answers, and returns what it made of them."""


def word(value: Any) -> str:
    """Return what a server says of itself as one short printable line; nothing for what is no such text."""
    text = value if isinstance(value, str) else ""
    return text.strip() if len(text) <= MAX_WORD and text.strip().isprintable() else ""


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a JSON array; none for what is no array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
