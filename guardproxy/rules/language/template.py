"""Message templates: text with `{expression:format}` in it.

Decides the formats and how a value is written for people. Everything is checked at load, and rendering never fails: a
message about a row must not be lost because of that row. Which message a rule shows is left to `rules`.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from guardproxy.decision import Scope
from guardproxy.rules.language.flaws import Flaw, LanguageError
from guardproxy.rules.language.interpreter import interpret
from guardproxy.rules.language.names import Kind, Names, Ref
from guardproxy.rules.language.nodes import Aggregate, Program
from guardproxy.rules.language.program import compile_expression
from guardproxy.table import Cell

MAX_TEMPLATE: Final = 4_000
MAX_PLACEHOLDERS: Final = 50
MAX_SHOWN: Final = 200
"""Longer texts of a row are cut to this many characters in a message."""

_WIDEST: Final = 20
_FORMAT: Final = re.compile(r"([1-9][0-9]?)?(,)?(?:\.([0-9]{1,2}))?([f%egds])?")
_FORMAT_HELP: Final = (
    "formats are like .0f  ,.2f  .1%  .3e  .4g  d  s  with a width of at most 20 before them"
)
_TOKEN: Final = re.compile(r'\{\{|\}\}|\{((?:[^"{}:]|"(?:[^"\\]|\\.)*")*)(?::([^{}]*))?\}|[{}]', re.DOTALL)


@dataclass(frozen=True, slots=True, eq=False)
class _Placeholder:
    program: Program
    format: str


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A checked message. `refs` are the names it reads, each once; `aggregates` as in a `Program`."""

    text: str
    parts: tuple[str | _Placeholder, ...]
    refs: tuple[Ref, ...]
    aggregates: Mapping[Ref, Aggregate]

    @property
    def all_refs(self) -> tuple[Ref, ...]:
        """Return `refs` followed by the names that the arguments of the aggregates read, each once."""
        inner = (ref for one in self.aggregates.values() for ref in one.argument.all_refs)
        return tuple(dict.fromkeys((*self.refs, *inner)))

    def render(self, lookup: Callable[[Ref], Cell]) -> str:
        """Write the message for one row. A missing value shows as `missing`, one whose kinds clash as `error`."""
        return "".join(part if isinstance(part, str) else _shown(part, lookup) for part in self.parts)


def compile_template(text: str, names: Names, *, scope: Scope = Scope.ROW) -> Template | tuple[Flaw, ...]:
    """Read and check a message; return it ready to render, or every flaw with offsets in the message's text.

    `scope` is what one message is about, as in `compile_expression`.
    """
    if len(text) > MAX_TEMPLATE:
        message = f"the message has {len(text):,} characters; {MAX_TEMPLATE:,} are allowed"
        return (Flaw("E153", message, MAX_TEMPLATE, len(text) - MAX_TEMPLATE),)
    parts: list[str | _Placeholder] = []
    flaws: list[Flaw] = []
    for piece in _pieces(text):
        found = piece if isinstance(piece, Flaw | str) else _placeholder(piece, names, scope)
        if isinstance(found, Flaw):
            flaws.append(found)
        elif isinstance(found, tuple):
            flaws.extend(found)
        else:
            parts.append(found)
    placeholders = [part for part in parts if isinstance(part, _Placeholder)]
    if len(placeholders) > MAX_PLACEHOLDERS:
        message = f"the message has {len(placeholders)} placeholders; {MAX_PLACEHOLDERS} are allowed"
        flaws.append(Flaw("E153", message, 0, len(text)))
    if flaws:
        return tuple(flaws)
    refs = dict.fromkeys(ref for part in placeholders for ref in part.program.refs)
    aggregates = {ref: one for part in placeholders for ref, one in part.program.aggregates.items()}
    return Template(text, tuple(parts), tuple(refs), aggregates)


class _Braces(NamedTuple):
    """What stands between braces: the expression and its offset, the format (None: no colon) and its offset."""

    expression: str
    offset: int
    format: str | None
    format_offset: int


def _pieces(text: str) -> Iterator[str | _Braces | Flaw]:
    end = 0
    for token in _TOKEN.finditer(text):
        if token.start() > end:
            yield text[end : token.start()]
        end = token.end()
        written = token.group()
        if written in ("{{", "}}"):
            yield written[0]
        elif written in ("{", "}"):
            state = "closed" if written == "{" else "opened"
            close = "close it with `}`, or " if written == "{" else ""
            help_ = f"{close}write `{written * 2}` for a brace in the text"
            yield Flaw("E150", f"the brace `{written}` is not {state}", token.start(), 1, help_)
        elif not token.group(1).strip():
            yield Flaw(
                "E150",
                "there is nothing between the braces",
                token.start(),
                len(written),
                "write {output.demand}",
            )
        else:
            yield _Braces(token.group(1), token.start(1), token.group(2), token.start(2))
    if end < len(text):
        yield text[end:]


def _placeholder(braces: _Braces, names: Names, scope: Scope) -> _Placeholder | tuple[Flaw, ...]:
    program = compile_expression(braces.expression, names, scope=scope)
    if not isinstance(program, Program):
        return tuple(replace(flaw, offset=flaw.offset + braces.offset) for flaw in program)
    if braces.format is None:
        return _Placeholder(program, "")
    fault = _format_fault(braces.format, program.kind)
    if fault:
        code, message = fault
        return (Flaw(code, message, braces.format_offset, len(braces.format), _FORMAT_HELP),)
    return _Placeholder(program, braces.format)


def _format_fault(written: str, kind: Kind) -> tuple[str, str] | None:
    found = _FORMAT.fullmatch(written)
    if not found or not written:
        return "E151", f"`{written}` is not a format"
    width, comma, precision, letter = found.groups()
    if any(number is not None and int(number) > _WIDEST for number in (width, precision)):
        return "E151", f"width and digits in `{written}` are at most {_WIDEST}"
    if (letter == "d" and precision) or (letter == "s" and comma):
        return "E151", f"`{written}` is not a format"
    numeric = (
        comma is not None
        or (letter is not None and letter != "s")
        or (letter is None and precision is not None)
    )
    if numeric and kind not in (Kind.NUMBER, Kind.ANY):
        return "E152", f"`{written}` is a format of numbers, but this is {kind}"
    return None


def _shown(part: _Placeholder, lookup: Callable[[Ref], Cell]) -> str:
    try:
        cell = interpret(part.program, lookup)
    except LanguageError:
        return "error"
    if isinstance(cell, bool) or cell is None:
        return {True: "yes", False: "no", None: "missing"}[cell]
    if isinstance(cell, str):
        return _shown_text(cell, part.format)
    if isinstance(cell, tuple):
        return _shown_text(
            f"[{', '.join('missing' if each is None else _shown_number(each, '') for each in cell)}]", ""
        )
    return _shown_number(cell, part.format)


def _shown_text(value: str, written: str) -> str:
    """Return a row's text for a message: cut, and without characters that would break a line or a terminal."""
    cut = value if len(value) <= MAX_SHOWN else f"{value[: MAX_SHOWN - 1]}…"
    safe = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)
    return format(safe, written) if written.endswith("s") else safe


def _shown_number(value: float, written: str) -> str:
    found = _FORMAT.fullmatch(written)
    width, comma, precision, letter = found.groups() if found else (None, None, None, None)
    if abs(value) == math.inf or value != value:
        return format(
            "inf" if value > 0 else "-inf" if value < 0 else "missing", f">{width}" if width else ""
        )
    grouped = f"{width or ''}{comma or ''}"
    if letter == "d":
        return format(round(value), f"{grouped}d")
    if letter in (None, "s") and precision is None:
        return _shortest(value, grouped)
    # Beyond float64 every digit of a whole number is printed by `d` only; other formats say what arithmetic sees.
    return format(_as_float(value), f"z{grouped}.{precision or _PRECISION[letter]}{_LETTERS[letter]}")


_PRECISION: Final[dict[str | None, str]] = {"f": "6", "%": "1", "e": "3", "g": "6", None: "6", "s": "6"}
_LETTERS: Final[dict[str | None, str]] = {"f": "f", "%": "%", "e": "e", "g": "g", None: "g", "s": "g"}


def _shortest(value: float, grouped: str) -> str:
    """Return whole numbers in full up to 15 digits, everything else with six significant digits."""
    if value == int(value) and abs(value) < 1e15:
        return format(int(value), f"{grouped}d")
    return format(value, f"{grouped}d") if isinstance(value, int) else format(value, f"{grouped}.6g")


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
