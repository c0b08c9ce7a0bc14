"""Operator text: nodes that know where they stand, and the problems found in them.

Decides how a problem is told and drawn, and how nodes are read into values (see `Reader`). Where nodes come from is left
to `documents`, which keys a file may have to its reader, what to do about problems to the caller.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeVar

from guardproxy.units import parse_duration, parse_share, parse_size

MAX_PROBLEMS: Final = 200

CODES: Final[Mapping[str, str]] = {
    "E200": "The text is not valid YAML.",
    "E201": "A mapping has the same key twice; YAML readers silently keep only one of them.",
    "E202": "A word that YAML 1.1 reads as yes/no. Write true or false, or quote the word if text is meant.",
    "E203": "The document uses a tag, too many aliases, or is too large or too deep.",
    "E204": "A key that does not exist here.",
    "E205": "A required key is missing.",
    "E206": "A value has the wrong type.",
    "E207": "A value is not one of the allowed words.",
    "E208": "A number is outside its allowed range.",
}

E = TypeVar("E", bound=Enum)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in operator text. Line and column count from 1, in characters; `length` is the caret's width."""

    code: str
    message: str
    file: str
    line: int
    column: int
    length: int = 1
    help: str = ""
    severity: str = "error"

    def as_json(self) -> dict[str, Any]:
        """Return the machine-readable form of the public contract."""
        return {
            "code": self.code,
            "severity": self.severity,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "help": self.help,
        }


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


DRAWN: Final = 72
"""Characters of a line that are drawn: with the gutter they fit a terminal of 80 columns."""


def render(problem: Problem, text: str) -> str:
    """Draw a problem as a person reads it: code, place, the line, a caret under the token, help.

    Of a file that could not be read there is no line to show, and no place in it.
    """
    lines = text.splitlines()
    if not lines:
        out = [f"{problem.severity}[{problem.code}]: {problem.message}", f" --> {problem.file}"]
        return "\n".join([*out, *([f"  = help: {problem.help}"] if problem.help else [])])
    whole = lines[problem.line - 1] if 0 < problem.line <= len(lines) else ""
    shown, before = _cut(whole, problem.column - 1)
    gutter = " " * len(str(problem.line))
    # A tab keeps its width in the caret's line when it is repeated there.
    pad = "".join("\t" if char == "\t" else " " for char in shown[:before])
    width = max(1, min(problem.length, len(shown) - before))
    out = [
        f"{problem.severity}[{problem.code}]: {problem.message}",
        f"{gutter}--> {problem.file}:{problem.line}:{problem.column}",
        f"{gutter} |",
        f"{problem.line} | {shown}",
        f"{gutter} | {pad}{'^' * width}",
    ]
    if problem.help:
        out.append(f"{gutter} = help: {problem.help}")
    return "\n".join(out)


def _cut(line: str, at: int) -> tuple[str, int]:
    """Return a stretch of a long line around the character `at`, and where that character stands in it."""
    if len(line) <= DRAWN:
        return line, at
    start = max(0, min(at - DRAWN // 2, len(line) - DRAWN))
    end = start + DRAWN
    return ("…" if start else "") + line[start:end] + ("…" if end < len(line) else ""), at - start + (
        start > 0
    )


def likely(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, or None."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a help sentence: the likely word, else what is allowed."""
    words = list(known)
    guess = likely(word, words)
    if guess is not None:
        return f"did you mean '{guess}'?"
    return "allowed: " + ", ".join(words[:20]) + (", ..." if len(words) > 20 else "") if words else ""


@dataclass(slots=True)
class Reader:
    """Reads nodes into values and collects every problem on the way, so that one run shows them all."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def report(
        self,
        code: str,
        message: str,
        place: Place,
        help: str = "",
        severity: str = "error",
    ) -> None:
        """Add a problem; beyond MAX_PROBLEMS they are not kept, since nobody reads them."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(
                Problem(code, message, self.file, place.line, place.column, place.length, help, severity)
            )

    def mapping(
        self, node: Node | None, what: str, known: Sequence[str], required: Sequence[str] = ()
    ) -> dict[str, Entry]:
        """Read a mapping with none but the known keys; unknown ones are reported and left out."""
        if not isinstance(node, MappingNode):
            if node is not None:
                self.report("E206", f"{what} must be a mapping, not {kind_of(node)}", node.place)
            return {}
        found: dict[str, Entry] = {}
        for key, entry in node.entries.items():
            if key in known:
                found[key] = entry
            else:
                self.report(
                    "E204", f"unknown key '{key}' in {what}", entry.key, self._unknown_help(key, node, known)
                )
        for key in required:
            if key not in node.entries:
                self.report("E205", f"{what} needs the key '{key}'", node.place)
        return found

    def anything(self, node: Node, what: str) -> dict[str, Entry]:
        """Read a mapping whose keys are the operator's own."""
        if isinstance(node, MappingNode):
            return dict(node.entries)
        self.report("E206", f"{what} must be a mapping, not {kind_of(node)}", node.place)
        return {}

    def items(self, node: Node, what: str) -> tuple[Node, ...]:
        """Read a list."""
        if isinstance(node, SequenceNode):
            return node.items
        self.report("E206", f"{what} must be a list, not {kind_of(node)}", node.place)
        return ()

    def text(self, node: Node, what: str, *, max_length: int = 4_000) -> str | None:
        """Read a text that is not empty."""
        if isinstance(node, Scalar) and isinstance(node.value, str):
            if 0 < len(node.value) <= max_length:
                return node.value
            self.report("E208", f"{what} must have 1 to {max_length} characters", node.place)
            return None
        self.report(
            "E206", f"{what} must be text, not {kind_of(node)}", node.place, "quote it if text is meant"
        )
        return None

    def texts(self, node: Node, what: str) -> tuple[str, ...]:
        """Read a list of texts; a single text counts as a list of one."""
        items = (node,) if isinstance(node, Scalar) else self.items(node, what)
        found = (self.text(item, what) for item in items)
        return tuple(item for item in found if item is not None)

    def flag(self, node: Node, what: str) -> bool | None:
        """Read true or false."""
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self.report("E206", f"{what} must be true or false, not {kind_of(node)}", node.place)
        return None

    def integer(self, node: Node, what: str, *, low: int = 0, high: int = 2**53) -> int | None:
        """Read a whole number within [low, high]."""
        if isinstance(node, Scalar) and type(node.value) is int:
            return self._ranged(node.value, node, what, low, high)
        self.report("E206", f"{what} must be a whole number, not {kind_of(node)}", node.place)
        return None

    def number(
        self, node: Node, what: str, *, low: float = float("-inf"), high: float = float("inf")
    ) -> float | None:
        """Read a number or a share such as `30%` within [low, high]."""
        if isinstance(node, Scalar) and type(node.value) in (int, float):
            return self._ranged(float(node.value), node, what, low, high)  # type: ignore[arg-type]
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value.strip().endswith("%"):
            share = self._converted(parse_share, node, what)
            return None if share is None else self._ranged(share, node, what, low, high)
        self.report("E206", f"{what} must be a number, not {kind_of(node)}", node.place)
        return None

    def duration(
        self, node: Node, what: str, *, low: float = 0.0, high: float = 366 * 86400.0
    ) -> float | None:
        """Read a duration such as `10s` as seconds."""
        seconds = self._converted(parse_duration, node, what)
        return None if seconds is None else self._ranged(seconds, node, what, low, high)

    def size(self, node: Node, what: str, *, low: int = 1, high: int = 2**40) -> int | None:
        """Read a size such as `16MiB` as bytes."""
        size = self._converted(parse_size, node, what)
        return None if size is None else self._ranged(size, node, what, low, high)

    def choice(self, node: Node, what: str, words: Mapping[str, T]) -> T | None:
        """Read one of the given words as its value."""
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value in words:
            return words[node.value]
        shown = node.raw if isinstance(node, Scalar) else kind_of(node)
        self.report(
            "E207", f"{what} cannot be {shown[:60]}", node.place, did_you_mean(shown.strip("'\""), words)
        )
        return None

    def enum(self, node: Node, what: str, kind: type[E]) -> E | None:
        """Read one of an enumeration's words (its values where they are texts, else its names in lower case)."""
        words = {m.value if isinstance(m.value, str) else m.name.lower(): m for m in kind}
        return self.choice(node, what, words)

    def _converted(self, convert: Callable[[str], T], node: Node, what: str) -> T | None:
        if not isinstance(node, Scalar) or isinstance(node.value, (bool, type(None))):
            self.report("E206", f"{what} must not be {kind_of(node)}", node.place)
            return None
        try:
            return convert(str(node.value))
        except ValueError as error:
            self.report("E206", f"{what}: {error}", node.place)
            return None

    def _ranged(self, value: T, node: Node, what: str, low: Any, high: Any) -> T | None:
        if not low <= value <= high:
            self.report("E208", f"{what} must lie between {low:g} and {high:g}, got {value:g}", node.place)
            return None
        return value

    @staticmethod
    def _unknown_help(key: str, node: MappingNode, known: Sequence[str]) -> str:
        if node.flow and key and node.entries[key].value.place == node.entries[key].key:
            return (
                "a comma inside { } ends the value: quote the whole value, or write it on a line of its own"
            )
        return did_you_mean(key, known)


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
