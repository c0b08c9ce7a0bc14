"""Why a cell is outside, in words.

Decides the sentence, the bound and the bound's source that a finding carries. What is outside is left to `check`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guardproxy.profile.limits import Limit, Position
from guardproxy.profile.model import FieldKind, Method
from guardproxy.table import Cell


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a cell is outside: a sentence, the bound in words, and where the bound comes from."""

    sentence: str
    bound: str
    source: str


def explain(
    field: str, limit: Limit, value: Cell, position: Position, band: tuple[float, float] | None
) -> Explanation:
    """Say why `value` has this position; `band` are the percentiles that stand in place of the learned bounds."""
    template, bound = _WORDS[position]
    parts = {
        "field": field,
        "value": _show(value),
        "low": _show(limit.low),
        "high": _show(limit.high),
        "kind": _KIND_WORDS[limit.profile.kind],
        "few": _few(limit.closed),
        "longest": limit.longest,
        "length": len(value) if isinstance(value, str) else 0,
        "missing": f"{100 * limit.profile.missing_rate:.2g} %",
    }
    source = _source(limit, position, band)
    return Explanation(f"{template.format(**parts)} ({source})", bound.format(**parts), source)


def _source(limit: Limit, position: Position, band: tuple[float, float] | None) -> str:
    profile = limit.profile
    learned = f"learned from {profile.rows:,} rows"
    if position not in {Position.BELOW, Position.ABOVE}:
        return learned
    if band is not None:
        percent = band[0 if position is Position.BELOW else 1]
        return f"{learned}, percentile {percent:g}"
    method = profile.low_method if position is Position.BELOW else profile.high_method
    return _SOURCES[method or Method.EDITED].format(learned=learned)


def _show(value: Cell) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, int):
        # No float holds 10**400, and nobody reads its digits.
        return str(value) if abs(value) < 10**20 else f"a whole number of {len(str(abs(value)))} digits"
    if isinstance(value, str):
        return f"'{value[:40]}...'" if len(value) > 40 else f"'{value}'"
    return "a vector"


def _few(closed: frozenset[Cell] | None) -> str:
    values = sorted(map(_show, closed or ()))
    return ", ".join(values[:8]) + (f" and {len(values) - 8} more" if len(values) > 8 else "")


_KIND_WORDS: Final[Mapping[FieldKind, str]] = {
    FieldKind.NUMBER: "a number",
    FieldKind.INTEGER: "a whole number",
    FieldKind.BOOLEAN: "true or false",
    FieldKind.CATEGORY: "text",
    FieldKind.TEXT: "text",
    FieldKind.TIMESTAMP: "a date or time in ISO 8601",
    FieldKind.CONSTANT: "a value like the one learned",
    FieldKind.IDENTIFIER: "a number",
}
_SOURCES: Final[Mapping[Method, str]] = {
    Method.GPD: "{learned}, GPD tail",
    Method.STRUCTURAL: "{learned}, their common sign",
    Method.DOMAIN: "{learned}, where the range ends",
    Method.GROWTH: "{learned}, as far as the range has been growing",
    Method.WIDENED: "{learned}, widened by the held-back rows",
    Method.EDITED: "set in the profile",
}
_WORDS: Final[Mapping[Position, tuple[str, str]]] = {
    Position.INSIDE: ("{field} is {value}, inside", "{low} to {high}"),
    Position.MISSING: ("{field} is missing; {missing} of the rows learned from lack it", "present"),
    Position.TYPE: ("{field} is {value}, not {kind}", "{kind}"),
    Position.NOT_FINITE: ("{field} is not a finite number", "finite"),
    Position.BELOW: ("{field} is {value}, below {low}", ">= {low}"),
    Position.ABOVE: ("{field} is {value}, above {high}", "<= {high}"),
    Position.NOT_WHOLE: ("{field} is {value}, not a whole number", "whole"),
    Position.UNSEEN: ("{field} is {value}, none of the values known", "one of {few}"),
    Position.ABSENT: ("the request has no {field}", "present"),
    Position.TOO_LONG: (
        "{field} has {length} characters, more than {longest}",
        "at most {longest} characters",
    ),
}
