"""Documents of rule files: what is a rule file at all, and of which models a document speaks.

Decides the keys of a document. What stands under them is left to `load` and the readers below it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from guardproxy.documents import other_kind, parse_documents
from guardproxy.rules.context import Context
from guardproxy.rules.names import known_names
from guardproxy.source import (
    Entry,
    MappingNode,
    Node,
    Place,
    Problem,
    Reader,
    Scalar,
    SequenceNode,
    kind_of,
    likely,
)

FORMAT: Final = 1
DOCUMENT_KEYS: Final = (
    *(
        "guardproxy",
        "model",
        "models",
        "owner",
        "defaults",
        "limits",
        "lists",
        "kpis",
        "score",
        "rules",
        "tests",
    ),
)
MAX_MODELS: Final = 16
"""Models that share a document: each of them is read and compiled by itself."""

_MARKS: Final = frozenset({"model", "models", "rules", "tests"})
# What the other files of guardproxy look like; those of other products are known to `documents`.
_OTHER_FILES: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (
        frozenset({"routes", "listen", "upstream"}),
        "this looks like a configuration; try `guardproxy config check`",
    ),
    (frozenset({"features", "provenance"}), "this looks like a profile; pass it with --profile"),
)
_HEAD: Final = "a rule file begins with guardproxy: 1 and model: NAME"


@dataclass(frozen=True, slots=True)
class Part:
    """One document as read for one of its models: the problems of each reading are its own."""

    model: str
    place: Place
    entries: Mapping[str, Entry]
    reader: Reader


@dataclass(slots=True)
class Sheet:
    """One document; `accepted` where it is one of a rule file at all. `parts` has one entry per model; a document that names none is read for a model without a name."""

    reader: Reader
    parts: list[Part] = field(default_factory=list)
    forgiven: set[tuple[int, int]] = field(default_factory=set)
    accepted: bool = False

    def problems(self) -> list[Problem]:
        """Return the problems of all readings, those at the same place once."""
        found = list(self.reader.problems)
        # The check that a rule lacks may stand beside `rules:`, where it was reported.
        loose = {one.code for one in found if one.help.startswith("it belongs to a rule: ")}
        skipped = {"E210"} if loose else set()
        told = {_key(problem) for problem in found}
        for part in self.parts:
            new = [
                problem
                for problem in part.reader.problems
                if _key(problem) not in told and problem.code not in skipped
            ]
            found += new
            told |= {_key(problem) for problem in new}
        return found


def read_sheets(file: str, text: str) -> tuple[list[Sheet], list[Problem]]:
    """Read the documents of a file, and the problems of its YAML."""
    documents, problems = parse_documents(text, file)
    held = [node for node in documents if not _empty(node)]
    if not held and not problems:
        reader = Reader(file)
        reader.report("E217", "the file has no rules", Place(1, 1), _HEAD)
        return [Sheet(reader)], problems
    return [_sheet(file, node) for node in held], problems


def _key(problem: Problem) -> tuple[str, int, int, int]:
    return problem.code, problem.line, problem.column, problem.length


def _empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _sheet(file: str, node: Node) -> Sheet:
    sheet = Sheet(Reader(file))
    kind = other_kind(node)
    if kind is not None:
        sheet.reader.report("E217", f"this looks like {kind}, not a rule file", node.place, _HEAD)
        return sheet
    if not isinstance(node, MappingNode):
        message = f"this is not a rule file: it must be a mapping, not {kind_of(node)}"
        sheet.reader.report("E217", message, node.place, _HEAD)
        return sheet
    if not _is_rule_file(node, sheet.reader):
        return sheet
    sheet.accepted = True
    context = Context(sheet.reader, known_names(None, None, None), "", None)
    named = () if "models" in node.entries else ("model",)
    entries = context.mapping(node, "a rule file", DOCUMENT_KEYS, required=("guardproxy", *named))
    sheet.parts = [
        Part(name, place, entries, Reader(file)) for name, place in _models(entries, sheet.reader).items()
    ]
    return sheet


def _models(entries: Mapping[str, Entry], reader: Reader) -> dict[str, Place]:
    """Return the models that a document is about, each with its place."""
    if "model" in entries and "models" in entries:
        reader.report("E211", "the document has both 'model' and 'models'", entries["models"].key, "keep one")
    nodes: tuple[Node, ...] = ()
    if "model" in entries:
        nodes = (entries["model"].value,)
    elif "models" in entries:
        listed = entries["models"].value
        nodes = reader.items(listed, "models")
        if isinstance(listed, SequenceNode) and not 1 <= len(nodes) <= MAX_MODELS:
            reader.report("E208", f"models must name 1 to {MAX_MODELS} models", listed.place)
            nodes = nodes[:MAX_MODELS]
    found: dict[str, Place] = {}
    for node in nodes:
        if isinstance(node, SequenceNode) and "models" not in entries:
            reader.report(
                "E206", "model must be one name, not a list", node.place, "write models: with the list"
            )
            continue
        name = reader.text(node, "model", max_length=200)
        if name is not None and re.search(r"\$\{?\w+\}?", name):
            message = f"the model is called '{name[:60]}' as it stands: nobody fills variables in"
            reader.report("W413", message, node.place, "write the model's name", "warning")
        if name is not None and name in found:
            reader.report("E213", f"the model '{name}' stands here twice", node.place, "remove one")
        elif name is not None:
            found[name] = node.place
    return found or {"": Place(1, 1)}


def _is_rule_file(node: MappingNode, reader: Reader) -> bool:
    keys = set(node.entries)
    if "guardproxy" not in keys:
        for marks, hint in _OTHER_FILES:
            if len(keys & marks) >= min(2, len(marks)) or (keys & marks and not keys & _MARKS):
                reader.report("E217", "this is not a rule file", node.place, hint)
                return False
        if not keys & _MARKS and not any(likely(key, ("guardproxy",)) for key in keys):
            reader.report("E217", "this is not a rule file", node.place, _HEAD)
            return False
        return True
    version = node.entries["guardproxy"].value
    if isinstance(version, Scalar) and version.value == FORMAT and type(version.value) is int:
        return True
    shown = version.raw if isinstance(version, Scalar) else "that"
    reader.report(
        "E217", f"format version {shown[:20]} is not known", version.place, f"write guardproxy: {FORMAT}"
    )
    return True
