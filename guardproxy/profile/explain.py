"""Why a cell is outside, in words.

Decides the sentence, the bound and the bound's source that a finding carries. What is outside is left to `check`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guardproxy.profile.limits import Limit, Position, lag_of, norm_of
from guardproxy.profile.model import FieldKind, Method, TimeForm
from guardproxy.profile.shapes import TextShape
from guardproxy.table import Cell


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a cell is outside: a sentence, the bound in words, and where the bound comes from."""

    sentence: str
    bound: str
    source: str


def explain(
    field: str,
    limit: Limit,
    value: Cell,
    position: Position,
    band: tuple[float, float] | None,
    at: float = math.nan,
) -> Explanation:
    """Say why `value` has this position; `band` are the percentiles that stand in place of the learned bounds.

    `at` is when the value's row happened, in Unix seconds, NaN where that is unknown.
    """
    words = _WORDS_OF_ARRAYS if isinstance(value, tuple) else _WORDS
    template, bound = words.get(position, _WORDS[position])
    profile = limit.profile
    parts: dict[str, object] = {
        "field": field,
        "value": _show(value),
        "low": _show(limit.low),
        "high": _show(limit.high),
        "kind": _KIND_WORDS[profile.kind].format(forms=" or ".join(profile.formats) or TimeForm.ISO),
        "few": _few(limit.closed),
        "longest": limit.longest,
        "shortest": limit.shortest,
        "length": len(value) if isinstance(value, str | tuple) else 0,
        "missing": f"{100 * profile.missing_rate:.2g} %",
        "chars": ", ".join(profile.charset),
        "strange": _strange(limit, value),
        "pattern": profile.pattern,
        "lag": duration(lag_of(limit, value, at)),
        "least_lag": duration(limit.low),
        "most_lag": duration(limit.high),
        **_of_array(limit, value),
    }
    source = _source(limit, position, band)
    return Explanation(f"{template.format(**parts)} ({source})", bound.format(**parts), source)


def _source(limit: Limit, position: Position, band: tuple[float, float] | None) -> str:
    profile = limit.profile
    learned = f"learned from {profile.rows:,} rows"
    if position not in _BOUNDED:
        return learned
    if band is not None:
        percent = band[0 if position is Position.BELOW else 1]
        return f"{learned}, percentile {percent:g}"
    method = profile.low_method if position in _LOW else profile.high_method
    return _SOURCES[method or Method.EDITED].format(learned=learned)


def duration(seconds: float) -> str:
    """Say a stretch of time in its two largest units; one before zero lies in the future."""
    if seconds != seconds:
        return "at an unknown time"
    when = "before the request" if seconds >= 0 else "after the request"
    left = abs(seconds)
    parts: list[str] = []
    for name, size in _UNITS:
        if left >= size and len(parts) < 2:
            parts.append(f"{int(left // size):,} {name}")
            left %= size
    return f"{' '.join(parts) or f'{left:.3g} s'} {when}"


def _strange(limit: Limit, value: Cell) -> str:
    """Name the classes of characters that a text has and the learned ones have not."""
    if not isinstance(value, str):
        return ""
    shape = TextShape()
    shape.add(value, 1)
    return ", ".join(chars for chars in shape.charset()[0] if chars not in limit.profile.charset)


def _of_array(limit: Limit, value: Cell) -> Mapping[str, object]:
    profile = limit.profile
    numbers = [member for member in value if member is not None] if isinstance(value, tuple) else []
    return {
        "least": _show(float(min(numbers))) if numbers else "",
        "most": _show(float(max(numbers))) if numbers else "",
        "norm": f"{norm_of(tuple(numbers)):.6g}",
        "norm_low": _show(profile.norm_low),
        "norm_high": _show(profile.norm_high),
    }


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
    FieldKind.TIMESTAMP: "a date or time in {forms}",
    FieldKind.ARRAY: "an array of numbers",
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
    Position.TOO_SHORT: (
        "{field} has {length} characters, fewer than {shortest}",
        "at least {shortest} characters",
    ),
    Position.CHARACTERS: (
        "{field} is {value}, with characters of a class never seen ({strange})",
        "characters of {chars}",
    ),
    Position.PATTERN: ("{field} is {value}, not of the form {pattern}", "{pattern}"),
    Position.TOO_RECENT: ("{field} is {value}, {lag}, later than {least_lag}", "at the latest {least_lag}"),
    Position.TOO_OLD: ("{field} is {value}, {lag}, earlier than {most_lag}", "at the earliest {most_lag}"),
    Position.APART: (
        "{field} is missing, though fields that always come and go with it are there",
        "present or missing together with them",
    ),
    Position.NORM_BELOW: ("{field} has the norm {norm}, below {norm_low}", "norm >= {norm_low}"),
    Position.NORM_ABOVE: ("{field} has the norm {norm}, above {norm_high}", "norm <= {norm_high}"),
}
_WORDS_OF_ARRAYS: Final[Mapping[Position, tuple[str, str]]] = {
    Position.NOT_FINITE: ("{field} has a member that is no finite number", "finite"),
    Position.BELOW: ("{field} has the member {least}, below {low}", "members >= {low}"),
    Position.ABOVE: ("{field} has the member {most}, above {high}", "members <= {high}"),
    Position.TOO_LONG: ("{field} has {length} members, more than {longest}", "at most {longest} members"),
    Position.TOO_SHORT: (
        "{field} has {length} members, fewer than {shortest}",
        "at least {shortest} members",
    ),
}
_LOW: Final = frozenset({Position.BELOW, Position.TOO_RECENT})
_BOUNDED: Final = _LOW | {Position.ABOVE, Position.TOO_OLD}
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
