"""Reading nodes into values, with every problem found on the way.

Decides how a wrong kind, word or number of any operator text is told. Which keys a file may have is left to its reader.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, TypeVar

from guardproxy.source.drawing import clean
from guardproxy.source.hints import (
    SHOWN,
    continues,
    cut_help,
    duration_help,
    field_as_key,
    glued_key,
    is_hollow,
    is_lone,
    list_help,
    number_help,
    unknown_help,
)
from guardproxy.source.nodes import Entry, MappingNode, Node, Place, Scalar, SequenceNode, kind_of
from guardproxy.source.problem import Problem, did_you_mean, likely
from guardproxy.units import parse_duration, parse_share, parse_size

MAX_PROBLEMS: Final = 200
MAX_SENTENCE: Final = 400
SURE: Final = 0.8
"""How alike a misspelt key must be to a known one for its value to be read as that key's."""

_NO_WORDS: Final[Mapping[str, str]] = MappingProxyType({})
_ADVISED: Final = re.compile(r"write (\w+): ")
# What a value is like that was written for another key is no second mistake.
_MUTED: Final = frozenset({"E206", "E207", "E208", "E212", "E221"})

E = TypeVar("E", bound=Enum)
T = TypeVar("T")


@dataclass(slots=True)
class Reader:
    """Reads nodes into values and collects every problem on the way, so that one run shows them all.

    `where` says what is being read (`rule demand-plausible, require`), and goes into every problem reported meanwhile.
    `hollow` are places of keys with nothing under them, each with the help; `refused` those of mappings that have a shape
    and whose keys were wrong, of which it is not said again that something is missing; `muted` those of values read for another key.
    """

    file: str
    problems: list[Problem] = field(default_factory=list)
    where: str = ""
    hollow: dict[tuple[int, int], str] = field(default_factory=dict)
    refused: set[tuple[int, int]] = field(default_factory=set)
    muted: set[tuple[int, int]] = field(default_factory=set)

    def report(
        self,
        code: str,
        message: str,
        place: Place,
        help: str = "",
        severity: str = "error",
        *,
        note: str = "",
    ) -> None:
        """Add a problem; beyond MAX_PROBLEMS one last sentence says that there are more, since nobody reads them."""
        spot = (place.line, place.column)
        if (code == "E205" and spot in self.refused) or (code in _MUTED and spot in self.muted):
            return
        if len(self.problems) > MAX_PROBLEMS:
            return
        advice = self.hollow.get(spot, help) if code in {"E206", "E207"} else help
        if len(self.problems) == MAX_PROBLEMS:
            code, message, severity = "E203", f"the file has more than {MAX_PROBLEMS} problems", "error"
            advice, note = "fix those above first; the others are not shown", ""
        at = (place.line, place.column, place.length)
        message, advice, note, where = map(_sentence, (message, advice, note, self.where))
        self.problems.append(Problem(code, message, self.file, *at, advice, severity, where, note))

    def mapping(
        self,
        node: Node | None,
        what: str,
        known: Sequence[str],
        required: Sequence[str] = (),
        *,
        foreign: Mapping[str, str] = _NO_WORDS,
        shape: str = "",
        nests: Collection[str] = (),
    ) -> dict[str, Entry]:
        """Read a mapping with none but the known keys; unknown ones are reported.

        A key that is surely a known one misspelt is read as that one, so that one mistake is one problem. `foreign` are
        keys that people bring from elsewhere, each with the known key that is meant, or with a sentence that says what
        to write. `shape` shows how such a mapping is written; `nests` are the known keys that hold mappings themselves.
        """
        if not isinstance(node, MappingNode):
            if node is not None:
                advice = f"write {shape}" if shape else ""
                self.report("E206", f"{what} must be a mapping, not {kind_of(node)}", node.place, advice)
                self.refused.add((node.place.line, node.place.column))
            return {}
        found = {key: entry for key, entry in node.entries.items() if key in known}
        stray = self._stray(node, known, nests)
        strange = [key for key in node.entries if key not in known and key not in stray]
        meant = [
            self._unknown(key, node, what, known, foreign, found)
            for key in strange[: MAX_PROBLEMS + 1]  # nobody reads more, and each takes a search of all keys
            if not continues(key, node)
        ]
        lacking = [f"'{key}'" for key in required if key not in node.entries and key not in meant]
        if lacking:
            keys = " and ".join(filter(None, (", ".join(lacking[:-1]), lacking[-1])))
            self.report("E205", f"{what} needs the key{'s' if len(lacking) > 1 else ''} {keys}", node.place)
        if meant and shape:
            self.refused.add((node.place.line, node.place.column))
        return found

    def _unknown(
        self,
        key: str,
        node: MappingNode,
        what: str,
        known: Sequence[str],
        foreign: Mapping[str, str],
        found: dict[str, Entry],
    ) -> str | None:
        """Report an unknown key; return the known one that is meant by it, under which its value is then found."""
        entry = node.entries[key]
        said = foreign.get(key) or foreign.get(key.casefold(), "")
        glued, advice = glued_key(key, node, known)
        name = field_as_key(key, node, known)
        meant: str | None = None
        if glued or name:
            meant, advice = glued or "field", advice or name
        elif said and " " in said:
            # `write id: and a name` says which key is meant, though not in which form its value is.
            named = _ADVISED.match(said)
            advice, told = said, named.group(1) if named else key.removesuffix("s")
            self.report("E204", f"unknown key '{key[:SHOWN]}' in {what}", entry.key, advice)
            return told if told in known else None
        elif said:
            meant, advice = said, f"write '{said}'"
        else:
            advice = unknown_help(key, node, known)
            meant = likely(key, known, closeness=SURE)
        self.report("E204", f"unknown key '{key[:SHOWN]}' in {what}", entry.key, advice)
        if meant is not None and meant not in node.entries and not glued and not name:
            found.setdefault(meant, entry)
            self.muted.add((entry.value.place.line, entry.value.place.column))
        return meant

    def _stray(self, node: MappingNode, known: Sequence[str], nests: Collection[str]) -> set[str]:
        """Return the unknown keys that stand behind a key with nothing under it, and were to stand under it."""
        stray: set[str] = set()
        opened: Entry | None = None
        for key, entry in node.entries.items():
            if key in known:
                opened = entry if key in nests and is_hollow(entry) and not node.flow else None
                continue
            if opened is None or (len(stray) < MAX_PROBLEMS and likely(key, known) is not None):
                opened = None
                continue
            stray.add(key)
            spot = (opened.value.place.line, opened.value.place.column)
            self.hollow.setdefault(spot, f"indent '{key[:SHOWN]}' further, so that it stands under this key")
        return stray

    def anything(self, node: Node, what: str) -> dict[str, Entry]:
        """Read a mapping whose keys are the operator's own."""
        if isinstance(node, MappingNode):
            return self._uncut(node)
        advice = "write NAME: and what belongs to it, without '- '" if isinstance(node, SequenceNode) else ""
        self.report("E206", f"{what} must be a mapping, not {kind_of(node)}", node.place, advice)
        return {}

    def _uncut(self, node: MappingNode) -> dict[str, Entry]:
        """Return the entries of a mapping without those that a comma cut in two, which are reported."""
        found = dict(node.entries)
        told = False
        for before, key in pairwise(node.entries):
            if not is_lone(key, node):
                told = False
                continue
            advice = "" if told or len(self.problems) > MAX_PROBLEMS else cut_help(key, node)
            if advice:
                message = f"'{key[:SHOWN]}' has no value of its own"
                self.report("E204", message, node.entries[key].key, advice)
                found.pop(before, None)
                told = True
            if told:
                found.pop(key)
        return found

    def items(self, node: Node, what: str) -> tuple[Node, ...]:
        """Read a list."""
        if isinstance(node, SequenceNode):
            return node.items
        self.report("E206", f"{what} must be a list, not {kind_of(node)}", node.place, list_help(node))
        return ()

    def text(self, node: Node, what: str, *, max_length: int = 4_000) -> str | None:
        """Read a text that is not empty."""
        if isinstance(node, Scalar) and isinstance(node.value, str):
            if 0 < len(node.value) <= max_length:
                return node.value
            self.report("E208", f"{what} must have 1 to {max_length} characters", node.place)
            return None
        opening = "{" if isinstance(node, MappingNode) else "["
        braced = not isinstance(node, Scalar) and not (isinstance(node, MappingNode) and not node.flow)
        advice = (
            f"a text that starts with {opening} must be quoted" if braced else "quote it if text is meant"
        )
        if isinstance(node, Scalar) and node.value is None:
            advice = "write it behind the colon, or remove the key"
        self.report("E206", f"{what} must be text, not {kind_of(node)}", node.place, advice)
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
        self._no_number("a whole number", node, what)
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
        self._no_number("a number", node, what)
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

    def choice(
        self, node: Node, what: str, words: Mapping[str, T], *, foreign: Mapping[str, str] = _NO_WORDS
    ) -> T | None:
        """Read one of the given words as its value. `foreign` are words of other tools, each with what to write."""
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value in words:
            return words[node.value]
        empty = isinstance(node, Scalar) and not node.raw
        shown = node.raw if isinstance(node, Scalar) and node.raw else kind_of(node)
        word = shown.strip("'\"")
        near = likely(word, words, closeness=SURE)
        advice = foreign.get(word.casefold()) if isinstance(node, Scalar) and near is None else None
        advice = advice or (f"allowed: {', '.join(words)}" if empty else did_you_mean(word, words))
        self.report("E207", f"{what} cannot be {shown[:SHOWN]}", node.place, advice)
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
            advice = duration_help(str(node.value)) if convert is parse_duration else ""
            self.report("E206", f"{what}: {error}", node.place, advice)
            return None

    def _ranged(self, value: T, node: Node, what: str, low: Any, high: Any) -> T | None:
        if not low <= value <= high:
            written = isinstance(node, Scalar) and not node.raw.strip("'\"").endswith("%")
            percent = written and (low, high) == (0.0, 1.0) and 1.0 < value <= 100.0  # type: ignore[operator]
            advice = f"write {value:g}% if per cent are meant" if percent else ""
            message = f"{what} must lie between {low:g} and {high:g}, got {value:g}"
            self.report("E208", message, node.place, advice)
            return None
        return value

    def _no_number(self, wanted: str, node: Node, what: str) -> None:
        self.report(
            "E206", f"{what} must be {wanted}, not {kind_of(node)}", node.place, number_help(node) or ""
        )


def _sentence(text: str) -> str:
    """Return a sentence of bounded length that controls no terminal, whatever of a file it quotes."""
    return clean(text if len(text) <= MAX_SENTENCE else text[: MAX_SENTENCE - 1] + "…")
