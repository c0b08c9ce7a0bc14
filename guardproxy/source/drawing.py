"""Drawing a problem as a person reads it: code, place, the line, a caret under the token, help and note.

Decides what stands where, and keeps the caret under its token whatever is on the line: tabs, wide characters, marks that
have no width of their own. Colours are left to the caller, who passes a `Paint`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from guardproxy.source.problem import Problem

DRAWN: Final = 72
"""Columns of a line that are drawn: with the gutter they fit a terminal of 80."""

Paint = Callable[[str, str], str]
"""Colours a text by its role: the severity's word, `gutter`, `strong` or `help`."""


def plain(text: str, role: str) -> str:  # noqa: ARG001
    """Return a text without colour."""
    return text


def render(problem: Problem, text: str, paint: Paint = plain) -> str:
    """Draw a problem found in `text`. Of a file that could not be read there is no line to show, and no place in it.

    What would control a terminal is replaced: a file is not the operator's own word.
    """
    return _drawn(problem, lines_of(text), paint)


def render_all(problems: Iterable[Problem], texts: Mapping[str, str], paint: Paint = plain) -> Iterator[str]:
    """Draw problems of several files, given by name: each text is taken into lines once, however large it is."""
    lines: dict[str, list[str]] = {}
    for problem in problems:
        if problem.file not in lines:
            lines[problem.file] = lines_of(texts.get(problem.file, ""))
        yield _drawn(problem, lines[problem.file], paint)


def _drawn(problem: Problem, lines: Sequence[str], paint: Paint) -> str:
    head = paint(f"{problem.severity}[{problem.code}]", problem.severity) + ": "
    head += paint(clean(problem.message), "strong")
    file = clean(problem.file)
    context = f"   ({clean(problem.where)})" if problem.where else ""
    if not lines:
        return "\n".join([head, f" {paint('-->', 'gutter')} {file}{context}", *_advice(problem, " ", paint)])
    whole = lines[problem.line - 1] if 0 < problem.line <= len(lines) else ""
    shown, before, width = _window(whole, problem.column - 1, problem.length)
    number = str(problem.line)
    gutter = " " * len(number)
    bar = paint("|", "gutter")
    return "\n".join(
        [
            head,
            f"{gutter}{paint('-->', 'gutter')} {file}:{problem.line}:{problem.column}{context}",
            f"{gutter} {bar}",
            f"{paint(number, 'gutter')} {bar} {shown}",
            f"{gutter} {bar} {before}{paint('^' * width, problem.severity)}",
            *_advice(problem, gutter, paint),
        ]
    )


def _advice(problem: Problem, gutter: str, paint: Paint) -> list[str]:
    said = (("help", problem.help), ("note", problem.note))
    sign = paint("=", "gutter")
    return [f"{gutter} {sign} {paint(word, 'help')}: {clean(text)}" for word, text in said if text]


_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


def lines_of(text: str) -> list[str]:
    """Return the lines of a text as YAML counts them, which is not quite what `str.splitlines` calls a line."""
    lines = _BREAK.split(text.removeprefix("\ufeff"))
    return lines if lines[-1] else lines[:-1]


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(map(_width, text))


_ZERO_WIDTH: Final = frozenset({"Mn", "Me", "Cf"})
_WIDE: Final = frozenset({"W", "F"})
_JOINERS: Final = frozenset("\u200c\u200d")


def _width(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.category(char) in _ZERO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(char) in _WIDE else 1


def clean(text: str) -> str:
    """Return a text in which nothing controls the terminal that shows it: each such character becomes a sign of width 1."""
    return text if text.isascii() and text.isprintable() else "".join(map(_sign, text))


def _sign(char: str) -> str:
    if char.isprintable() or char in _JOINERS:
        return char
    if char < " ":
        return chr(0x2400 + ord(char))
    # A space of another kind is a space to the eye; what turns the direction of writing is not shown.
    return " " if unicodedata.category(char) == "Zs" else "\ufffd"


def _window(line: str, at: int, length: int) -> tuple[str, str, int]:
    """Return the stretch of a line to draw, what stands under it before the caret, and the caret's width.

    A tab stays a tab in both lines, so that it is as wide in one as in the other.
    """
    at = max(0, min(at, len(line)))
    start = _back(line, at, DRAWN // 2) if _reaches(line, DRAWN) else 0
    end = _forth(line, start, DRAWN)
    if end == len(line) and start:
        start = _back(line, end, DRAWN)
    shown = "\t".join(clean(part) for part in line[start:end].split("\t"))
    cut = "…" if start else ""
    pad = "".join("\t" if char == "\t" else " " * display_width(_sign(char)) for char in line[start:at])
    token = "".join(_sign(char) for char in line[at : min(end, at + max(1, length))])
    width = max(1, display_width(token))
    return cut + shown + ("…" if end < len(line) else ""), " " * len(cut) + pad, width


def _reaches(line: str, columns: int) -> bool:
    return len(line) > columns or display_width(line) > columns


def _forth(line: str, start: int, columns: int) -> int:
    """Return the end of the longest stretch from `start` that is not wider than `columns`."""
    used, at = 0, start
    while at < len(line) and used + _width(line[at]) <= columns:
        used += _width(line[at])
        at += 1
        if at - start >= 4 * columns:
            # Marks without width could go on for ever.
            break
    return at


def _back(line: str, end: int, columns: int) -> int:
    """Return the start of the longest stretch up to `end` that is not wider than `columns`."""
    used, at = 0, end
    while at > 0 and used + _width(line[at - 1]) <= columns and end - at < 4 * columns:
        at -= 1
        used += _width(line[at])
    return at
