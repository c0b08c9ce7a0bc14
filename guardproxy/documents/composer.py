"""Building nodes from a YAML parser's events.

Decides the limits, and how scalars, keys and aliases are read. What is said of text that is not YAML is left to `traps`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from guardproxy.documents.traps import explain
from guardproxy.source import (
    MAX_PROBLEMS,
    Entry,
    MappingNode,
    Node,
    Place,
    Problem,
    Reader,
    Scalar,
    SequenceNode,
    kind_of,
    lines_of,
    quoted,
)

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 40
MAX_NODES: Final = 200_000
MAX_DOCUMENTS: Final = 1_000
MAX_ALIASES: Final = 1_000


def parse_documents(
    text: str, file: str, max_bytes: int = MAX_BYTES, max_nodes: int = MAX_NODES
) -> tuple[list[Node], list[Problem]]:
    """Read every document of a YAML text. Documents after a syntax error are not read; all else is reported at once."""
    return _Composer(text, file, max_bytes, max_nodes).compose()


# YAML 1.1 also lists y and n, which no reader in use takes for yes and no, and which are what people call a column.
_YAML_1_1: Final = frozenset({"yes", "no", "on", "off"})
_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_QUOTES: Final = frozenset("'\"|>")
# 010 is ten here and eight in YAML 1.1: with a leading zero it stays text, and a reader asks for a number.
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,307})")
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]{1,300}|(?:0|[1-9][0-9]{0,299})(?:\.[0-9]{0,300})?)(?:[eE][-+]?[0-9]{1,4})?"
)
_SPECIAL: Final = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
# What the first character of anything but a text can be; the empty text stands for nothing at all.
_NOT_ONLY_TEXT: Final = frozenset({"", *"0123456789+-.~nNtTfF"})
_LONGEST_1_1: Final = 3
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DASHED: Final = re.compile(r"-[A-Za-z_]")
_INCLUDE: Final = re.compile(r"!(?:include|file|import|env|secret|ref|vault)\b", re.IGNORECASE)
_SHOWN: Final = 60


class _Composer:
    """Builds nodes from the parser's events, so that no limit can be passed before it is checked."""

    def __init__(self, text: str, file: str, max_bytes: int, max_nodes: int) -> None:
        self.max_bytes, self.max_nodes = max_bytes, max_nodes
        # A byte order mark is not part of the text; libyaml would count it as a column.
        self.text = text.removeprefix("\ufeff")
        self.reader = Reader(file)
        self.anchors: dict[str, Node] = {}
        self.aliases = 0
        self.nodes = 0
        self.lines: list[str] | None = None

    def compose(self) -> tuple[list[Node], list[Problem]]:
        documents: list[Node] = []
        if not self._readable():
            return documents, self.reader.problems
        loader = _LOADER(self.text)
        try:
            while loader.check_event():
                event = loader.get_event()
                if isinstance(event, yaml.DocumentStartEvent):
                    documents.append(self._document(loader, event, len(documents)))
        except _RefusedError as error:
            self.reader.report(error.code, str(error), error.place, error.help)
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
            if "<document start>" in str(error.problem):
                # The document before ended where it was not meant to: what else is said of it would be noise.
                documents = documents[:-1]
        except (yaml.YAMLError, UnicodeError, ValueError) as error:
            # What libyaml's stand-in in Python refuses without saying where.
            self.reader.report("E200", f"the text cannot be read: {str(error).splitlines()[0]}", Place(1, 1))
        finally:
            loader.dispose()
        return documents, self.reader.problems

    def _document(self, loader: Any, start: Any, before: int) -> Node:
        if before == MAX_DOCUMENTS:
            message = f"the file has more than {MAX_DOCUMENTS:,} documents"
            raise _RefusedError(message, self._place(start), "split it")
        self.anchors = {}
        return self._node(loader, loader.get_event(), 0)

    def _report(self, code: str, message: str, place: Place, help: str) -> None:
        """Report a mistake and read on, unless there are so many that nobody would read of more."""
        self.reader.report(code, message, place, help)
        if len(self.reader.problems) > MAX_PROBLEMS:
            # The reader has said that there are more; this is not told any more.
            raise _RefusedError("", place, "")

    def _readable(self) -> bool:
        """Report a text that is too large, or has a character that no YAML may have."""
        # A character is at most four bytes: only a text that might be too large is encoded to be measured.
        most = self.max_bytes
        if len(self.text) * 4 > most and len(self.text.encode("utf-8", "surrogatepass")) > most:
            limit = f"the file is larger than {most // 1024**2} MiB"
            self.reader.report(
                "E203", limit, Place(1, 1), "split it: a model's rules may stand in many files"
            )
            return False
        found = _UNPRINTABLE.search(self.text)
        if found is None:
            return True
        lines = lines_of(self.text[: found.start()] + "|")
        place = Place(len(lines), len(lines[-1]))
        name = f"U+{ord(found.group()):04X}"
        advice = "delete it; in a text with double quotes it is written " + _escaped(found.group())
        self.reader.report("E200", f"the control character {name} cannot stand in a file", place, advice)
        return False

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark, since = error.problem_mark or error.context_mark, error.context_mark
        said = explain(
            lines_of(self.text),
            str(error.problem or ""),
            str(error.context or ""),
            _mark(mark),
            _mark(since) if since else None,
        )
        self.reader.report(said.code, said.message, said.place, said.help)

    def _node(self, loader: Any, event: Any, depth: int) -> Node:
        place = self._place(event)
        self.nodes += 1
        if self.nodes > self.max_nodes:
            raise _RefusedError(f"the file has more than {self.max_nodes:,} values", place, "split it")
        if depth > MAX_DEPTH:
            raise _RefusedError(f"values are nested deeper than {MAX_DEPTH}", place, _NESTED)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        if event.tag is not None:
            self._tag(event, place)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(loader, place, depth)
        else:
            node = self._mapping(loader, event, place, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _tag(self, event: Any, place: Place) -> None:
        written = self._written(place)
        if event.tag.startswith("!") and not written.startswith("!!"):
            # In an expression `!x` is meant as `not x`; YAML takes it for a tag.
            advice = f"a value that starts with ! must be quoted; in an expression write: not {written[1:_SHOWN].strip()}"
            if _INCLUDE.match(written):
                advice = "files cannot be included or read: write the values here"
        else:
            advice = "remove the tag: what a value is follows from its key"
        shown = written.split()[0][:_SHOWN] if written else "!"
        self._report("E203", f"the tag {shown} is not allowed", place, advice)

    def _written(self, place: Place) -> str:
        """Return the beginning of what stands at a place."""
        if self.lines is None:
            self.lines = lines_of(self.text)
        line = self.lines[place.line - 1] if place.line <= len(self.lines) else ""
        return line[place.column - 1 : place.column - 1 + 2 * _SHOWN].partition("#")[0].strip()

    def _before(self, place: Place) -> str:
        return self._written(Place(place.line, place.column - 1))[:1] if place.column > 1 else ""

    def _alias(self, event: Any, place: Place) -> Node:
        self.aliases += 1
        target = self.anchors.get(event.anchor)
        if self.aliases > MAX_ALIASES:
            raise _RefusedError(
                f"the file has more than {MAX_ALIASES:,} aliases", place, "write the values out"
            )
        if target is None:
            name, written = event.anchor[:_SHOWN], self._written(place)
            advice = f"a text that starts with * must be quoted: {quoted(written)}"
            raise _RefusedError(f"the alias *{name} refers to itself or to nothing", place, advice)
        self.nodes += _weight(target, self.max_nodes - self.nodes)
        if self.nodes > self.max_nodes:
            raise _RefusedError(
                f"with its aliases the file has more than {self.max_nodes:,} values",
                place,
                "aliases of aliases multiply; write the values out",
            )
        return target

    def _sequence(self, loader: Any, place: Place, depth: int) -> SequenceNode:
        items: list[Node] = []
        while not isinstance(event := loader.get_event(), yaml.SequenceEndEvent):
            items.append(self._node(loader, event, depth + 1))
        return SequenceNode(tuple(items), place)

    def _mapping(self, loader: Any, start: Any, place: Place, depth: int) -> MappingNode:
        entries: dict[str, Entry] = {}
        repeated = False
        while not isinstance(event := loader.get_event(), yaml.MappingEndEvent):
            node = self._node(loader, event, depth + 1)
            key, key_place = self._key(node), node.place
            if isinstance(event, yaml.AliasEvent):
                key_place = self._place(event)
            value = self._node(loader, loader.get_event(), depth + 1)
            if isinstance(value, Scalar) and value.raw == "" and not value.quoted:
                # An empty value has no place of its own: it stands where its key does.
                value = Scalar(None, key_place, "", quoted=False)
            if _DASHED.match(key) and not (isinstance(node, Scalar) and node.quoted):
                # The list is a mapping now; all that would be said of it beside this is noise.
                message = f"a space is missing behind the dash of {key[:_SHOWN]}"
                raise _RefusedError(message, key_place, f"write - {key[1:_SHOWN]}", "E200")
            if key == "<<":
                self._report("E203", "the merge key << is not allowed", key_place, _MERGE)
            elif key in entries:
                if not repeated:
                    self._twice(key, key_place, entries, start)
                # Where the first key comes again, its item most likely lacks a dash, and so do the keys behind it.
                repeated = repeated or key == next(iter(entries))
            else:
                entries[key] = Entry(key_place, value)
        return MappingNode(entries, place, bool(start.flow_style))

    def _twice(self, key: str, place: Place, entries: Mapping[str, Entry], start: Any) -> None:
        message = f"the key '{key[:_SHOWN]}' stands here twice"
        advice = f"it is already on line {entries[key].key.line}: keep one of the two"
        if key == next(iter(entries)) and len(entries) > 1 and not start.flow_style and place.column > 1:
            advice = f"write '- ' before it if another item begins here; it is already on line {entries[key].key.line}"
        self._report("E201", message, place, advice)

    def _key(self, node: Node) -> str:
        if isinstance(node, Scalar):
            return node.value if isinstance(node.value, str) else node.raw
        if self._written(node.place).startswith("{{") or self._before(node.place) == "{":
            message = "a template's {{ }} stands here, and was never filled in"
            raise _RefusedError(
                message, node.place, "give the file that the template makes, or quote it", "E200"
            )
        advice = "quote it if it is text; a value that starts with { or [ must be quoted"
        self._report("E206", f"a key must be text, not {kind_of(node)}", node.place, advice)
        return f"line {node.place.line}"

    def _scalar(self, event: Any, place: Place) -> Scalar:
        raw = self.text[event.start_mark.index : event.end_mark.index]
        if event.style in _QUOTES or event.tag is not None:
            return Scalar(event.value, place, raw, True)  # noqa: FBT003
        value: str = event.value
        if len(value) <= _LONGEST_1_1 and value.lower() in _YAML_1_1:
            message = f"'{value}' is yes/no in old YAML and text in new YAML"
            self._report("E202", message, place, _bool_help(value))
        return Scalar(_resolve(value), place, raw, False)  # noqa: FBT003

    @staticmethod
    def _place(event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Place(start.line + 1, start.column + 1, length if length > 0 else 1)


class _RefusedError(Exception):
    """What ends the reading of a file."""

    def __init__(self, message: str, place: Place, help: str, code: str = "E203") -> None:
        super().__init__(message)
        self.place = place
        self.help = help
        self.code = code


_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NESTED: Final = "no key of a rule file needs that; look for a bracket too many"
_MERGE: Final = "write the keys out; what all rules of a file share stands under defaults:"


def _mark(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}"


def _bool_help(value: str) -> str:
    word = "true" if value.lower() in {"yes", "on"} else "false"
    return f'write {word}, or "{value}" with quotes if the text is meant'


def _resolve(value: str) -> bool | int | float | str | None:
    if value[:1] not in _NOT_ONLY_TEXT:
        return value
    if value in _WORDS:
        return _WORDS[value]
    if _INTEGER.fullmatch(value):
        return int(value)
    if _FLOAT.fullmatch(value):
        return float(value)
    return _SPECIAL.get(value.lower(), value)


def _weight(node: Node, limit: int) -> int:
    """Count a node and all below it, up to `limit`, so that shared aliases cannot multiply unseen."""
    count, stack = 0, [node]
    while stack and count <= limit:
        current = stack.pop()
        count += 1
        if isinstance(current, MappingNode):
            stack.extend(entry.value for entry in current.entries.values())
        elif isinstance(current, SequenceNode):
            stack.extend(current.items)
    return count
