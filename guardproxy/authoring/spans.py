"""YAML text to a tree of the stretches that it is written in.

Decides where every key and value begins and ends, so that a tool can change one stretch and leave every other character
alone. What YAML is allowed to hold is left to `documents`, which must have read the text without an error before.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PROPERTIES: Final = re.compile(r"(?:[&!][^\s,\[\]{}]*[ \t]*)+")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One node of the text. Offsets count characters; `text[start:end]` is the node without its anchor.

    `kind` is `scalar`, `alias`, `mapping` or `sequence`; `style` is a scalar's quote (`"`, `'`, `|`, `>`, or nothing),
    `prefix` its anchor as written, which begins at `outer`. An empty value has `start == end`.
    """

    kind: str
    outer: int
    start: int
    end: int
    prefix: str = ""
    flow: bool = False
    style: str = ""
    value: str = ""
    entries: tuple[tuple["Part", "Part"], ...] = ()
    items: tuple["Part", ...] = ()

    def get(self, key: str) -> "Part | None":
        """Return the value of a mapping's key, or None."""
        return next((value for name, value in self.entries if name.value == key), None)

    def children(self) -> tuple["Part", ...]:
        """Return the parts right below, in the order of the text."""
        return tuple(part for pair in self.entries for part in pair) or self.items


def parse_parts(text: str) -> list[Part]:
    """Return the root of every document. Raises yaml.YAMLError where `parse_documents` has errors to report."""
    loader = _LOADER(text)
    roots: list[Part] = []
    try:
        while loader.check_event():
            if isinstance(loader.get_event(), yaml.DocumentStartEvent):
                roots.append(_part(text, loader.get_event, loader.get_event()))
    finally:
        loader.dispose()
    return roots


def walk(part: Part) -> Iterator[Part]:
    """Return a part and all below it, in the order of the text."""
    yield part
    for child in part.children():
        yield from walk(child)


def resolved(part: Part, root: Part) -> Part:
    """Return what an alias stands for; every other part is itself."""
    if part.kind != "alias":
        return part
    name = part.value
    found = [one for one in walk(root) if one.prefix == f"&{name}" and one.outer < part.outer]
    return found[-1] if found else part


def _part(text: str, following: Callable[[], Any], event: Any) -> Part:
    outer, stop = event.start_mark.index, event.end_mark.index
    if isinstance(event, yaml.AliasEvent):
        return Part("alias", outer, outer, stop, value=str(event.anchor))
    prefix, start = "", outer
    named = event.anchor is not None or (event.tag is not None and text[outer : outer + 1] in {"&", "!"})
    if named and (match := _PROPERTIES.match(text, outer)):
        prefix, start = match.group().rstrip(), match.end()
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(text, event, outer, start, prefix)
    flow = bool(event.flow_style)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Part] = []
        while not isinstance(step := following(), yaml.SequenceEndEvent):
            items.append(_part(text, following, step))
        end = _mark(step) if flow else _end(items, start)
        if not flow and items:
            start = dash(text, start, items[0].outer)
        return Part("sequence", outer, start, end, prefix, flow, items=tuple(items))
    entries: list[tuple[Part, Part]] = []
    while not isinstance(step := following(), yaml.MappingEndEvent):
        key = _part(text, following, step)
        entries.append((key, _part(text, following, following())))
    end = _mark(step) if flow else _end([part for pair in entries for part in pair], start)
    if not flow and entries:
        start = entries[0][0].outer
    return Part("mapping", outer, start, end, prefix, flow, entries=tuple(entries))


def dash(text: str, start: int, stop: int) -> int:
    """Return where the dash of a list's item stands: between the two offsets there are only blanks and comments."""
    at = start
    while at < stop and text[at] != "-":
        at = text.find("\n", at) if text[at] == "#" else at + 1
        if at < 0:
            break
    return at if 0 <= at < stop else start


def _mark(event: Any) -> int:
    return int(event.end_mark.index)


def _end(below: list[Part], start: int) -> int:
    return max((part.end for part in below), default=start)


def _scalar(text: str, event: Any, outer: int, start: int, prefix: str) -> Part:
    end = max(start, event.end_mark.index)
    style = event.style if event.style in {'"', "'", "|", ">"} else ""
    if style in {"|", ">"}:
        # The parser's end lies behind blank lines, which belong to the value only where it keeps them.
        header = text[start : text.find("\n", start) if "\n" in text[start:end] else end]
        if "+" not in header:
            end = start + len(text[start:end].rstrip())
    return Part("scalar", outer, start, end, prefix, style=style, value=event.value)
