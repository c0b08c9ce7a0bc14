"""How an explained row is told: a head per rule, then its expressions as trees with the value of every part.

Decides drawing and wording. What the values are is left to `guard.trace`.
"""

from collections.abc import Iterator
from typing import Any, Final

from guardproxy.cli.output import printable
from guardproxy.decision import Mode, Verdict
from guardproxy.guard.trace import Explained, Explanation, Part
from guardproxy.rules.sentences import show
from guardproxy.table import Cell, json_cell

MAX_TEXT: Final = 80
_BOUNDS: Final = ("low", "high")
_MARKS: Final = {
    Verdict.OK: "ok",
    Verdict.VIOLATED: "VIOLATED",
    Verdict.UNKNOWN: "UNKNOWN",
    Verdict.ERROR: "ERROR",
    Verdict.SKIPPED: "skipped",
}


def explanation_lines(found: Explanation, only: str | None = None) -> Iterator[str]:
    """Yield the lines of a row: what became of it, then each rule, the loud ones first."""
    outcome = "no outcome" if found.outcome is None else found.outcome.name.lower()
    yield f"outcome: {outcome}, {printable(found.effect, 1_000)}"
    yield from _candidate_lines(found)
    for one in _ordered(found, only):
        yield ""
        yield from _rule_lines(one)


def explanation_json(found: Explanation, only: str | None = None) -> dict[str, Any]:
    """Return a row for programs."""
    return {
        "row": found.row,
        "outcome": None if found.outcome is None else found.outcome.name.lower(),
        "effect": found.effect,
        "candidates": [
            {
                "source": one.source,
                "values": {name: json_cell(cell) for name, cell in one.values.items()},
                "refused_by": list(one.refused_by),
                "note": one.note,
            }
            for one in found.candidates
        ],
        "rules": [_rule_json(one) for one in _ordered(found, only)],
    }


def _candidate_lines(found: Explanation) -> Iterator[str]:
    """Say of each fallback why it is not served, up to the first that may be."""
    for one in found.candidates:
        values = ", ".join(f"{name} {show(cell)}" for name, cell in one.values.items())
        said = f" ({printable(values, 300)})" if values else ""
        against = f"refused by {', '.join(one.refused_by)}" if one.refused_by else one.note
        yield f"    fallback {printable(one.source)}{said}: {printable(against, 300) or 'may be served'}"
        if one.usable:
            return


def _ordered(found: Explanation, only: str | None) -> list[Explained]:
    chosen = [one for one in found.rules if only is None or one.rule.id == only]
    quiet = (Verdict.OK, Verdict.SKIPPED)
    return sorted(chosen, key=lambda one: (one.verdict in quiet, not one.finding.acts))


def _rule_lines(one: Explained) -> Iterator[str]:
    rule, finding = one.rule, one.finding
    mode = rule.mode.value
    effect = f", {rule.action.name.lower()}" if finding.acts else ", no effect"
    if rule.mode is Mode.CANARY:
        mode = f"canary {rule.canary * 100:g}%"
        if not finding.acts and one.verdict in rule.counts:
            effect = ", not drawn for this request"
    mode += effect if one.verdict not in (Verdict.OK, Verdict.SKIPPED) else ""
    place = "built in" if rule.built_in else rule.place
    yield f"{rule.id}  {_MARKS[one.verdict]}  ({rule.kind}, {mode})  {place}"
    yield f"    {printable(finding.message, 500)}"
    if finding.bound:
        yield f"    bound: {printable(finding.bound, 300)} (from {finding.bound_source})"
    if one.exception is not None:
        why = printable(one.exception.why, 300)
        yield f"    exception '{one.exception.id}' applied, until {one.exception.until}: {why}"
    for word, part in one.parts:
        if word not in _BOUNDS:
            yield from _tree(f"{word}: ", part)
        elif any(not below.constant for below in part.parts):
            # Its parts stand in the demand already; what a bound comes to on this row is the news.
            yield f"    {word}: {_said(part)}"
    for unless, part in one.exceptions:
        yield from _tree(f"unless {unless.id}: ", part)


def _tree(word: str, part: Part) -> Iterator[str]:
    yield f"    {word}{_said(part)}"
    yield from _branches(part, "    ")


def _branches(part: Part, indent: str) -> Iterator[str]:
    # A number or text that is written out says nothing more than its text.
    below = [one for one in part.parts if not one.constant]
    for place, one in enumerate(below):
        last = place == len(below) - 1
        yield f"{indent}{'└─ ' if last else '├─ '}{_said(one)}"
        yield from _branches(one, indent + ("   " if last else "│  "))


def _said(part: Part) -> str:
    text = printable(" ".join(part.text.split()), MAX_TEXT)
    source = f"   ({printable(part.source, MAX_TEXT)})" if part.source else ""
    if part.error:
        return f"{text} = ERROR: {printable(part.error)}{source}"
    return f"{text} = {_value(part.value)}{source}"


def _value(cell: Cell) -> str:
    return "? missing" if cell is None else printable(show(cell))


def _rule_json(one: Explained) -> dict[str, Any]:
    rule, finding = one.rule, one.finding
    return {
        "rule": rule.id,
        "kind": rule.kind,
        "mode": rule.mode.value,
        "action": rule.action.name.lower(),
        "verdict": one.verdict.name.lower(),
        "acts": finding.acts,
        "message": finding.message,
        "measured": {name: json_cell(cell) for name, cell in finding.measured},
        "bound": finding.bound,
        "bound_source": finding.bound_source,
        "exception": None if one.exception is None else one.exception.id,
        "file": rule.place.file,
        "line": rule.place.line,
        "expressions": {word: _part_json(part) for word, part in one.parts},
        "exceptions": {unless.id: _part_json(part) for unless, part in one.exceptions},
    }


def _part_json(part: Part) -> dict[str, Any]:
    said: dict[str, Any] = {"text": part.text, "value": json_cell(part.value)}
    if part.error:
        said["error"] = part.error
    if part.source:
        said["source"] = part.source
    if part.parts:
        said["parts"] = [_part_json(one) for one in part.parts]
    return said
