"""The nodes of operator text, each of which knows where it stands.

Decides what a place is and how a character of a value is found again in its file, through quotes, escapes and folding.
How a text becomes nodes is left to `documents`, what a node may be to its reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands: line and column from 1, and its width on that line."""

    line: int
    column: int
    length: int = 1


@dataclass(frozen=True, slots=True)
class Scalar:
    """A leaf. `value` is None, bool, int, float or str by YAML 1.2; `raw` is the text as written, quotes included."""

    value: bool | int | float | str | None
    place: Place
    raw: str
    quoted: bool

    def locate(self, offset: int, length: int = 1) -> Place:
        """Return the place of `length` characters at `offset` of a text value, through quotes, escapes and folding."""
        line, column = _align(self.raw, str(self.value), offset)
        return Place(self.place.line + line, column + (self.place.column if line == 0 else 1), max(1, length))


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping with its value."""

    key: Place
    value: "Node"


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping in file order."""

    entries: Mapping[str, Entry]
    place: Place
    flow: bool = False


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list."""

    items: tuple["Node", ...]
    place: Place


Node = Scalar | MappingNode | SequenceNode


def kind_of(node: Node) -> str:
    """Name a node's kind as an operator would."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return "nothing" if node.value is None else words[type(node.value)]


def _align(raw: str, value: str, offset: int) -> tuple[int, int]:
    """Find the raw position of a value's character: (lines down, column from 0 on that line).

    Walks both texts together: what is equal advances both; quotes, escapes, indentation and folded line ends
    advance only the raw text.
    """
    # A carriage return before a line end moves nothing on its line or the next.
    raw = raw.replace("\r\n", "\n")
    at = _content_start(raw)
    for char in value[: max(0, offset)]:
        at = _step(raw, at, char) + _width(raw, _step(raw, at, char))
    if offset < len(value):
        at = _step(raw, at, value[offset])
    before = raw[:at]
    line = before.count("\n")
    return line, at - (before.rfind("\n") + 1)


def _content_start(raw: str) -> int:
    if raw[:1] in {"|", ">"}:
        return raw.find("\n") + 1
    return 1 if raw[:1] in {'"', "'"} else 0


def _step(raw: str, at: int, char: str) -> int:
    """Return where `char` of the value stands at or behind `at`."""
    if at < len(raw) and raw[at] == "\\" and raw[:1] == '"':
        return at
    if at < len(raw) and raw[at] == char:
        return at
    while at < len(raw) and raw[at].isspace() and not char.isspace():
        at += 1
    return at


def _width(raw: str, at: int) -> int:
    """Return how many raw characters make the value's character at `at`."""
    if raw[at : at + 1] == "\\" and raw[:1] == '"':
        return {"x": 4, "u": 6, "U": 10}.get(raw[at + 1 : at + 2], 2)
    if raw[at : at + 2] == "''" and raw[:1] == "'":
        return 2
    if raw[at : at + 1] == "\n":
        blank = len(raw[at:]) - len(raw[at:].lstrip())
        # In a literal block only the block's own indentation is left out of the value.
        return min(blank, 1 + _indentation(raw)) if raw[:1] == "|" else blank
    return 1


def _indentation(raw: str) -> int:
    """Return how deep a block's first line that is not blank stands."""
    first = next((line for line in raw.split("\n")[1:] if line.strip()), "")
    return len(first) - len(first.lstrip(" "))
