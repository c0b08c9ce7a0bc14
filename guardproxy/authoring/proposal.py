"""Proposed rules as the text of a rule file.

Decides how a proposal is written: its evidence as `why` and as a comment, a test that it keeps and one that it breaks.
What is proposed is left to `suggest`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from guardproxy.authoring.approvals import Pattern
from guardproxy.authoring.observed import Observed
from guardproxy.table import Cell

Row = tuple[Mapping[str, Cell], Mapping[str, Cell]]
"""The features and the predictions of a row."""


@dataclass(frozen=True, slots=True)
class Broken:
    """How a test breaks a rule: the cells that replace the ordinary row's. A cell of None leaves the field out."""

    name: str
    features: Mapping[str, Cell] = field(default_factory=dict)
    output: Mapping[str, Cell] = field(default_factory=dict)
    previous: Mapping[str, Cell] | None = None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One proposed rule: its check as YAML lines, what it rests on, and how to break it."""

    id: str
    title: str
    check: tuple[str, ...]
    why: str
    broken: Broken


def write(
    seen: Observed,
    rules: Sequence[Suggestion],
    ordinary: Row,
    fired: Mapping[str, tuple[int, int]],
    patterns: Sequence[Pattern],
) -> str:
    """Return the file as text. `fired` counts by rule the recorded rows that it flags, of how many that it can judge."""
    lines = [
        f"# Proposed from {seen.rows:,} recorded rows ({seen.exchanges:,} exchanges). Every rule is in shadow: it is counted,",
        "# and changes no answer. Keep what makes sense, put your own `owner` and `why`, then: guardproxy rules promote RULE",
        "guardproxy: 1",
        f"model: {quoted(seen.model)}",
        "defaults: {mode: shadow, severity: low, on_unknown: ignore}",
        "",
        "rules:",
    ]
    for rule in rules:
        lines += _rule(rule, fired.get(rule.id))
    lines += [line for pattern in patterns for line in _exception(pattern)]
    lines += ["tests:", *_case("an ordinary row", ordinary, None, {rule.id: "ok" for rule in rules})]
    for rule in rules:
        lines += ["", *_case(rule.broken.name, ordinary, rule.broken, {rule.id: "violated"})]
    return "\n".join(lines) + "\n"


def _rule(rule: Suggestion, fired: tuple[int, int] | None) -> list[str]:
    lines = [
        f"  - id: {rule.id}",
        f"    title: {quoted(rule.title)}",
        *(f"    {line}" for line in rule.check),
    ]
    lines += ["    action: warn", f"    why: {quoted(rule.why)}"]
    if fired is not None and fired[1]:
        flagged, judged = fired
        lines.append(
            f"    # it would have flagged {flagged:,} of {judged:,} recorded rows ({flagged / judged:.2%})"
        )
    return [*lines, ""]


def _exception(pattern: Pattern) -> list[str]:
    """Propose an exception as a comment: only a person may exempt rows from a rule."""
    return [
        f"  # {pattern.approved} of {pattern.reviewed} reviewed rows of '{pattern.rule}' with {pattern.when} were approved.",
        "  # Proposed exception, for that rule's own file:",
        "  #   unless:",
        f"  #     - id: {pattern.id}",
        f"  #       when: {pattern.when}",
        f"  #       until: {pattern.until}",
        "  #       owner: WHO",
        f"  #       why: {pattern.approved} of {pattern.reviewed} reviewed rows were approved",
        "",
    ]


def _case(
    name: str,
    ordinary: Row,
    broken: Broken | None,
    verdicts: Mapping[str, str],
) -> list[str]:
    features, output = (dict(cells) for cells in ordinary)
    previous: Mapping[str, Cell] = output
    if broken is not None:
        features |= broken.features
        output = {**output, **broken.output}
        previous = previous if broken.previous is None else {**previous, **broken.previous}
    lines = [f"  - name: {quoted(name)}", "    given:", *_cells("features", features)]
    if output:
        lines += [*_cells("output", output), *_cells("previous", previous)]
    return [
        *lines,
        f"    expect: {{verdicts: {{{', '.join(f'{rule}: {word}' for rule, word in verdicts.items())}}}}}",
    ]


def _cells(word: str, cells: Mapping[str, Cell]) -> list[str]:
    shown = ", ".join(f"{quoted(name)}: {cell_text(cell)}" for name, cell in cells.items())
    return [f"      {word}: {{{shown}}}"]


def quoted(text: str) -> str:
    """Write text as YAML's double quotes hold it; what cannot be printed stands there by its number."""
    shown = (_ESCAPES.get(char) or (char if char.isprintable() else f"\\U{ord(char):08X}") for char in text)
    return f'"{"".join(shown)}"'


_ESCAPES: Final = {'"': '\\"', "\\": "\\\\"}


def sayable(text: str) -> bool:
    """Tell whether a file can hold a text: half a pair of surrogates is no character."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def cell_text(cell: Cell) -> str:
    """Write a cell as YAML."""
    if isinstance(cell, tuple):
        return f"[{', '.join(cell_text(member) for member in cell)}]"
    if isinstance(cell, float):
        return number_text(cell)
    if isinstance(cell, str):
        return quoted(cell)
    return "null" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)


def number_text(value: float) -> str:
    """Write a number as YAML 1.2 reads it back: whole ones without a fraction."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
