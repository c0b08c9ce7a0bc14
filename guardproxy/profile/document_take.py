"""Reading the keys of one mapping of a profile's document.

Decides that what is wrong is reported and left out, and that null leaves the default. Which keys there are is left to the
readers of fields, cells and the joint check.
"""

from collections.abc import Callable, Mapping
from typing import Any

from guardproxy.source import Entry, Node, Reader, Scalar


class Taker:
    """Reads the keys of one mapping into values, each by its own reader; what is wrong is left out and reported."""

    def __init__(self, reader: Reader, what: str, entries: Mapping[str, Entry]) -> None:
        self.reader, self.what, self.entries = reader, what, entries
        self.values: dict[str, Any] = {}

    def take(self, read: Callable[..., Any], *keys: str, **limits: Any) -> None:
        """Read these keys with `read`; null leaves the default where there is one."""
        for key in keys:
            entry = self.entries.get(key)
            if entry is None:
                continue
            value = read(entry.value, f"{self.what}.{key}", **limits)
            if value is not None:
                self.values[key] = value


def number_or_null(reader: Reader) -> Callable[..., float | None]:
    """Return a reader of numbers that takes null for no number."""

    def read(node: Node, what: str, **limits: float) -> float | None:
        if isinstance(node, Scalar) and node.value is None:
            return None
        return reader.number(node, what, **limits)

    return read


def any_text(reader: Reader) -> Callable[..., str | None]:
    """Return a reader of texts that may be empty."""

    def read(node: Node, what: str) -> str | None:
        if isinstance(node, Scalar) and node.value == "":
            return ""
        return reader.text(node, what)

    return read
