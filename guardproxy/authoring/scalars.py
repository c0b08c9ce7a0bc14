"""How an expression is written in YAML: plain where it can be, else as a folded block.

Decides the form of one value; which values are expressions, and where they go, is left to `layout` and `fmt`.
"""

import re
from collections.abc import Iterator
from typing import Final

from guardproxy.authoring.spans import Part
from guardproxy.documents import parse_documents
from guardproxy.source import MappingNode, Scalar

WIDTH: Final = 120
"""Longer lines are folded, where they are expressions."""

_WORDS: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^" ])+')
_JOINTS: Final = frozenset({"and", "or", "then", "else"})


def expressions(root: Part) -> Iterator[Part]:
    """Return the values of a document that are expressions, as far as they are written as scalars."""
    rules, kpis = root.get("rules"), root.get("kpis")
    for rule in rules.items if rules is not None else ():
        yield from _of_rule(rule)
    for _, kpi in kpis.entries if kpis is not None else ():
        yield from _scalars(kpi.get("expr"))


def _of_rule(rule: Part) -> Iterator[Part]:
    for key in ("when", "require", "forbid"):
        yield from _scalars(rule.get(key))
    hold, fallback, unless = rule.get("hold"), rule.get("fallback"), rule.get("unless")
    yield from _scalars(hold.get("value") if hold is not None else None)
    for exception in unless.items if unless is not None else ():
        yield from _scalars(exception.get("when"))
    links = (fallback.items or (fallback,)) if fallback is not None else ()
    for link in links:
        expr = link.get("expr")
        if expr is not None:
            for part in (expr, *(value for _, value in expr.entries)):
                yield from _scalars(part)


def _scalars(part: Part | None) -> Iterator[Part]:
    if part is not None and part.kind == "scalar" and part.value.strip():
        yield part


def written(part: Part, text: str, room: int) -> tuple[str, list[str]]:
    """Return how an expression stands in block style: what follows its key, and the lines of a folded block.

    `room` is how many characters its line has left. What is laid out on several lines already stays as it is.
    """
    raw, value = text[part.start : part.end], part.value
    if part.style in {"|", ">"} or "\n" in value or value != value.strip() or not value.isprintable():
        return raw, []
    if not part.style and "\n" in raw:
        return raw, []
    return spelled(value, room)


def spelled(value: str, room: int) -> tuple[str, list[str]]:
    """Return an expression without line ends as a plain scalar where that means the same and fits, else folded."""
    plain = is_plain(value)
    if plain and (len(value) <= room or " " not in value):
        return value, []
    # Two blanks in a row would be lost at a fold.
    return ">-", [value] if "  " in value else folded(value)


def is_plain(value: str) -> bool:
    """Tell whether a text may stand in a block without quotes and still mean itself."""
    documents, problems = parse_documents(f"k: {value}\n", "")
    if problems or len(documents) != 1 or not isinstance(documents[0], MappingNode):
        return False
    entry = documents[0].entries.get("k")
    return entry is not None and isinstance(entry.value, Scalar) and entry.value.value == value


def folded(value: str) -> list[str]:
    """Cut an expression at blanks outside its texts, before `and`, `or`, `then` and `else` where there is one."""
    lines: list[str] = []
    line: list[str] = []
    for word in _WORDS.findall(value):
        if line and len(" ".join([*line, word])) > WIDTH - 20:
            at = max((i for i, each in enumerate(line) if i and each in _JOINTS), default=len(line))
            lines.append(" ".join(line[:at]))
            line = line[at:]
        line.append(word)
    lines.append(" ".join(line))
    return lines if " ".join(lines) == value else [value]
