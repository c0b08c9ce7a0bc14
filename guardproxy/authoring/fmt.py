"""`rules fmt`: rule files in their canonical layout, with operators of other languages put right.

Decides what is rewritten: nothing that a file says may change. That is checked, not hoped: the values of every node and
the fingerprint of every model must be the same before and after, or the file is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml

from guardproxy.authoring.layout import Edit, edited, flow_text, indented, one_line, spaced
from guardproxy.authoring.scalars import WIDTH, expressions, spelled, written
from guardproxy.authoring.spans import Part, parse_parts
from guardproxy.documents import parse_documents
from guardproxy.rules import load_rulesets
from guardproxy.rules.language import repair
from guardproxy.source import Node, Problem, Scalar, SequenceNode

ROUNDS: Final = 6
"""A layout settles in two or three rounds; a text that does not is refused."""


@dataclass(frozen=True, slots=True)
class Formatted:
    """What became of one file.

    `text` is the new text, the old one where `problems` (errors that only a person can fix) or `refusal` (a sentence
    why the result cannot be trusted) are there. `repairs` are expressions as they were and as they are now, with lines
    from 1.
    """

    text: str
    problems: tuple[Problem, ...] = ()
    refusal: str = ""
    repairs: tuple[tuple[int, str, str], ...] = ()


def format_files(texts: Mapping[str, str]) -> dict[str, Formatted]:
    """Lay out rule files that belong together; a file with errors, or that cannot be laid out safely, stays as it is."""
    plain = {file: text.replace("\r\n", "\n") for file, text in texts.items()}
    mended = {file: _mended(file, text) for file, text in plain.items()}
    rulesets, problems = load_rulesets({file: text for file, (text, _) in mended.items()})
    broken = {problem.file for problem in problems if problem.severity == "error"}
    found: dict[str, Formatted] = {}
    for file, (text, repairs) in mended.items():
        if file in broken:
            own = tuple(problem for problem in problems if problem.file == file)
            found[file] = Formatted(texts[file], own)
        else:
            found[file] = _laid_out(file, texts[file], text, repairs)
    whole = {file for file, one in found.items() if not one.problems and not one.refusal}
    after, _ = load_rulesets({file: found[file].text if file in whole else mended[file][0] for file in found})
    before = {model: ruleset.fingerprint for model, ruleset in rulesets.items()}
    if before != {model: ruleset.fingerprint for model, ruleset in after.items()}:
        sentence = (
            "the fingerprint of the rules would change; this is a mistake of guardproxy, not of the file"
        )
        found |= {file: Formatted(texts[file], refusal=sentence) for file in whole}
    return found


def _mended(file: str, text: str) -> tuple[str, tuple[tuple[int, str, str], ...]]:
    """Put operators of other languages right, in a file whose YAML can be read."""
    _, problems = parse_documents(text, file)
    if any(problem.severity == "error" and problem.code in {"E200", "E203"} for problem in problems):
        return text, ()
    edits: list[Edit] = []
    repairs: list[tuple[int, str, str]] = []
    for part in (part for root in parse_parts(text) for part in expressions(root)):
        better = repair(part.value)
        if better is not None and better != part.value:
            edits.append((part.start, part.end, _replaced(part, better, text)))
            repairs.append((text.count("\n", 0, part.start) + 1, part.value, better))
    return edited(text, edits), tuple(repairs)


def _replaced(part: Part, value: str, text: str) -> str:
    """Write another expression in the place of one, in quotes that are right in a block and between brackets."""
    if part.style in {"|", ">"}:
        head, _, body = text[part.start : part.end].partition("\n")
        # Only the operators change, so a block keeps its lines.
        return f"{head}\n{repair(body) or body}"
    return "'" + " ".join(value.split()).replace("'", "''") + "'"


def _laid_out(file: str, original: str, mended: str, repairs: tuple[tuple[int, str, str], ...]) -> Formatted:
    try:
        text = _settled(mended)
    except yaml.YAMLError as error:
        # An odd spelling that means something in one place only; the file is valid, and stays.
        return Formatted(original, refusal=f"its layout cannot be put right: {str(error).splitlines()[0]}")
    if text is None:
        return Formatted(original, refusal="its layout does not settle")
    if _values(mended, file) != _values(text, file):
        return Formatted(original, refusal="its layout would change what it says")
    return Formatted(text, repairs=repairs)


def _settled(text: str) -> str | None:
    """Return the layout that does not change any more; None where there is none."""
    for _ in range(ROUNDS):
        new = spaced(indented(_rewritten(indented(text))))
        if new == text:
            return text
        text = new
    return None


def _values(text: str, file: str) -> list[Any]:
    documents, _ = parse_documents(text, file)
    return [_value(node) for node in documents]


def _value(node: Node) -> Any:
    if isinstance(node, Scalar):
        # 1, 1.0 and true are equal in Python, and not in a file.
        return type(node.value).__name__, repr(node.value)
    if isinstance(node, SequenceNode):
        return [_value(item) for item in node.items]
    return [(key, _value(entry.value)) for key, entry in node.entries.items()] + ["mapping"]


def _rewritten(text: str) -> str:
    """Give expressions their canonical form: in block style, plain or folded."""
    edits: list[Edit] = []
    for root in parse_parts(text):
        chosen = {id(part) for part in expressions(root)}
        edits += _below(root, text, chosen)
    return edited(text, edits)


def _below(part: Part, text: str, chosen: set[int]) -> Iterator[Edit]:
    """Walk block collections; what stands in { } or [ ] is taken apart where an expression in it needs that."""
    pairs = part.entries or tuple((item, item) for item in part.items)
    for key, value in pairs:
        if value.flow:
            if one_line(value, text) and _needs_block(value, text, chosen):
                yield from _expanded(key, value, text, chosen)
        elif id(value) in chosen and part.kind == "mapping":
            yield from _restyled(key, value, text)
        elif value.kind in {"mapping", "sequence"}:
            yield from _below(value, text, chosen)


def _restyled(key: Part, value: Part, text: str) -> Iterator[Edit]:
    column = key.outer - (text.rfind("\n", 0, key.outer) + 1)
    first, rest = written(value, text, WIDTH - column - (key.end - key.start) - 2)
    if first != text[value.start : value.end]:
        yield value.start, value.end, first
        yield from _lines_after(value.end, [" " * (column + 2) + line for line in rest], text)


def _needs_block(part: Part, text: str, chosen: set[int]) -> bool:
    """Tell whether an expression between brackets must be quoted there, or makes the line long."""
    if part.kind == "scalar":
        return id(part) in chosen and (part.style != "" or len(part.value) > WIDTH - 40)
    return any(_needs_block(child, text, chosen) for child in part.children())


def _expanded(key: Part, value: Part, text: str, chosen: set[int]) -> Iterator[Edit]:
    column = key.outer - (text.rfind("\n", 0, key.outer) + 1)
    lines = list(_block(value, text, chosen, WIDTH - column - 4))
    # A list's item begins on the line of its dash, a key's value below it.
    in_place = key is value and not value.prefix
    rest = lines[1:] if in_place else lines
    indent = " " * (column if in_place else column + 2)
    if key is value and value.prefix:
        indent = " " * column
    yield value.start, value.end, lines[0] if in_place else ""
    yield from _lines_after(value.end, [indent + line for line in rest], text)


def _lines_after(offset: int, lines: list[str], text: str) -> Iterator[Edit]:
    """Put lines behind the one that `offset` is on, so that a comment there stays where it is."""
    end = text.find("\n", offset)
    end = len(text) if end < 0 else end
    if lines:
        yield end, end, "".join(f"\n{line}" for line in lines)


def _block(part: Part, text: str, chosen: set[int], room: int) -> Iterator[str]:
    """Return the lines of a node in block style, from column 0."""
    for key, value in part.entries:
        name = flow_text(key, text)
        yield from _hung(f"{name}:", value, text, chosen, room)
    for item in part.items:
        first, *rest = _hung("-", item, text, chosen, room)
        yield first
        yield from rest


def _hung(head: str, value: Part, text: str, chosen: set[int], room: int) -> Iterator[str]:
    before = f" {value.prefix}" if value.prefix else ""
    if value.flow and _needs_block(value, text, chosen):
        lines = list(_block(value, text, chosen, room - 2))
        if head == "-" and not before:
            yield f"- {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])
            return
        yield f"{head}{before}"
        yield from (f"  {line}" for line in lines)
        return
    if id(value) in chosen:
        first, rest = spelled(value.value, room - len(head))
        yield f"{head}{before} {first}"
        yield from (f"  {line}" for line in rest)
        return
    shown = flow_text(replace(value, prefix=""), text)
    yield f"{head}{before} {shown}".rstrip()
