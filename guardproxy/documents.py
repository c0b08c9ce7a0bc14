"""YAML text to nodes that know where they stand.

Decides what YAML is here: version 1.2 scalars, no tags, no duplicate keys; size, depth and aliases are bounded before
anything is built. What the nodes are and how problems in them are told is left to `source`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from guardproxy.source import Entry, MappingNode, Node, Place, Problem, Reader, Scalar, SequenceNode, kind_of

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 40
MAX_NODES: Final = 400_000
MAX_ALIASES: Final = 1_000


def parse_documents(text: str, file: str) -> tuple[list[Node], list[Problem]]:
    """Read every document of a YAML text. Documents after a syntax error are not read; all else is reported at once."""
    return _Composer(text, file).compose()


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
_TRAPS: Final = (
    ("cannot start any token", "\t", "indent with spaces; YAML does not allow tabs there"),
    ("cannot start any token", "%", "a value that starts with % must be quoted"),
    ("cannot start any token", "", "quote a value that starts with %, @, ` or another special character"),
    ("mapping values are not allowed", "", "quote a value that contains ': '"),
    ("did not find expected ',' or '}'", "", "quote the whole value, or close the { } on this line"),
    ("undefined alias", "", "a value that starts with * must be quoted"),
)


class _Composer:
    """Builds nodes from the parser's events, so that no limit can be passed before it is checked."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.reader = Reader(file)
        self.anchors: dict[str, Node] = {}
        self.aliases = 0
        self.nodes = 0

    def compose(self) -> tuple[list[Node], list[Problem]]:
        documents: list[Node] = []
        if len(self.text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            self.reader.report("E203", f"the file is larger than {MAX_BYTES // 1024**2} MiB", Place(1, 1))
            return documents, self.reader.problems
        loader = _LOADER(self.text)
        try:
            while loader.check_event():
                event = loader.get_event()
                if isinstance(event, yaml.DocumentStartEvent):
                    self.anchors = {}
                    documents.append(self._node(loader, loader.get_event(), 0))
        except _TooMuchError as error:
            self.reader.report("E203", str(error), error.place)
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except (yaml.YAMLError, UnicodeError, ValueError) as error:
            self.reader.report("E200", f"the file is not YAML: {str(error).splitlines()[0]}", Place(1, 1))
        finally:
            loader.dispose()
        return documents, self.reader.problems

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        message = str(error.problem or error.context or "the YAML cannot be read")
        lines = self.text.splitlines()
        rest = lines[place.line - 1][place.column - 1 :] if place.line <= len(lines) else ""
        hint = next(
            (help_ for part, start, help_ in _TRAPS if part in message and rest.startswith(start)), ""
        )
        self.reader.report("E200", f"not valid YAML: {message}", place, hint)

    def _node(self, loader: Any, event: Any, depth: int) -> Node:
        place = self._place(event)
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise _TooMuchError(f"more than {MAX_NODES} values, or nested deeper than {MAX_DEPTH}", place)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        if event.tag is not None and not (isinstance(event, yaml.ScalarEvent) and event.tag == "!"):
            self.reader.report("E203", f"tags such as {event.tag} are not allowed", place, "remove the tag")
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

    def _alias(self, event: Any, place: Place) -> Node:
        self.aliases += 1
        target = self.anchors.get(event.anchor)
        if self.aliases > MAX_ALIASES:
            raise _TooMuchError(f"more than {MAX_ALIASES} aliases", place)
        if target is None:
            raise _TooMuchError(f"the alias *{event.anchor} refers to itself or to nothing", place)
        self.nodes += _weight(target, MAX_NODES - self.nodes)
        return target

    def _sequence(self, loader: Any, place: Place, depth: int) -> SequenceNode:
        items: list[Node] = []
        while not isinstance(event := loader.get_event(), yaml.SequenceEndEvent):
            items.append(self._node(loader, event, depth + 1))
        return SequenceNode(tuple(items), place)

    def _mapping(self, loader: Any, start: Any, place: Place, depth: int) -> MappingNode:
        entries: dict[str, Entry] = {}
        while not isinstance(event := loader.get_event(), yaml.MappingEndEvent):
            key_place = self._place(event)
            key = self._key(self._node(loader, event, depth + 1))
            value = self._node(loader, loader.get_event(), depth + 1)
            if isinstance(value, Scalar) and value.raw == "" and not value.quoted:
                # An empty value has no place of its own: it stands where its key does.
                value = Scalar(None, key_place, "", quoted=False)
            if key in entries:
                first = entries[key].key.line
                self.reader.report(
                    "E201", f"the key '{key}' stands here twice", key_place, f"it is already on line {first}"
                )
            else:
                entries[key] = Entry(key_place, value)
        return MappingNode(entries, place, bool(start.flow_style))

    def _key(self, node: Node) -> str:
        if isinstance(node, Scalar):
            return node.value if isinstance(node.value, str) else node.raw
        self.reader.report("E206", f"a key must be text, not {kind_of(node)}", node.place)
        return f"line {node.place.line}"

    def _scalar(self, event: Any, place: Place) -> Scalar:
        raw = self.text[event.start_mark.index : event.end_mark.index]
        if event.style in _QUOTES or event.tag is not None:
            return Scalar(event.value, place, raw, quoted=True)
        value: str = event.value
        if value.lower() in _YAML_1_1:
            self.reader.report(
                "E202", f"'{value}' is yes/no in old YAML and text in new YAML", place, _bool_help(value)
            )
        return Scalar(_resolve(value), place, raw, quoted=False)

    @staticmethod
    def _place(event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Place(start.line + 1, start.column + 1, max(1, length))


class _TooMuchError(Exception):
    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.place = place


_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _bool_help(value: str) -> str:
    word = "true" if value.lower() in {"yes", "on"} else "false"
    return f'write {word}, or "{value}" with quotes if the text is meant'


def _resolve(value: str) -> bool | int | float | str | None:
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
