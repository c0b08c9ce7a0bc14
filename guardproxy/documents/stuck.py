"""Where a YAML parser got stuck: its words, and the lines around.

Decides how a line is taken apart into key and value without a parser. What the mistake was is left to those who look.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from guardproxy.source import Place, quoted

LOOKED_AT: Final = 4_000
"""Characters of a line that are looked at: no rule is longer, and a line may have millions."""

BACK: Final = 200
"""Lines above the parser's that are looked at: far more than a quote or bracket that was meant to be closed spans."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of a text that is not YAML."""

    message: str
    place: Place
    help: str
    code: str = "E200"


@dataclass(frozen=True, slots=True)
class Stuck:
    lines: Sequence[str]
    problem: str
    context: str
    at: Place
    since: Place | None

    def line(self, number: int) -> str:
        """Return the beginning of a line by its number from 1; nothing beyond the end."""
        return self.lines[number - 1][:LOOKED_AT] if 0 < number <= len(self.lines) else ""

    def numbers(self) -> Iterator[int]:
        """Return the lines that may hold the mistake, the nearest first."""
        return iter(range(self.at.line, max(0, self.at.line - BACK), -1))


PAIRS: Final = {"[": "]", "{": "}", '"': '"', "'": "'"}
NO_KEY: Final = "did not find expected key"
NO_ITEM: Final = "did not find expected '-' indicator"
ENDED: Final = frozenset({NO_KEY, NO_ITEM})
_ENTRY: Final = re.compile(
    r"""(?P<lead>[ ]*(?:-[ ]+)*)(?P<key>"[^"]*"[ ]*|'[^']*'[ ]*|(?!-[ ])[^\s#"'\[\]{},:](?:[^#:{\[]|:(?=\S))*):[ \t]+(?P<value>[^\s#].*)"""
)
_ITEM: Final = re.compile(r"(?P<lead>[ ]*(?:-[ ]+)+)(?P<value>[^\s#-].*)")
BLOCK_HEAD: Final = re.compile(r"[|>](?:[+-]?[1-9]?|[1-9][+-])[ \t]*(?:#.*)?")
COMMENT: Final = re.compile(r"[ \t]+#.*")
SHOWN: Final = 60


def value_of(line: str) -> tuple[str, str, int] | None:
    """Return the key (empty for an item of a list), the value and its column from 1 of a line that has a value."""
    entry = _ENTRY.fullmatch(line) or _ITEM.fullmatch(line)
    if entry is None:
        return None
    return (entry.groupdict().get("key") or "").strip(), entry.group("value"), entry.start("value") + 1


def whole(key: str, value: str, verb: str = "quote the whole value") -> str:
    text = COMMENT.sub("", value).strip()
    if len(text) > SHOWN or not text.isprintable():
        return f"{verb}, from its first character to its last"
    return f"{verb}: {key + ': ' if key else ''}{quoted(text)}"


def closed(value: str) -> int:
    """Return how many characters a value in quotes or brackets has, as far as its line tells; 0 when it stays open."""
    if value[0] in "\"'":
        form = r'"(?:[^"\\]|\\.)*"' if value[0] == '"' else r"'(?:[^']|'')*'"
        match = re.match(form, value)
        return match.end() if match else 0
    depth = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', value):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
        if depth == 0:
            return token.end()
    return 0
