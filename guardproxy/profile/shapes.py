"""What texts look like: their classes of characters, their pattern, whether they are dates.

Decides what is counted of each text, in bounded memory. Which of it is enforced is left to `fit`.

A template is a text with `9` for every digit and `A` for every letter of ASCII. A pattern is a template as a person reads it, see
`profile.model`.
"""

import math
import re
from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Final, Self

from guardproxy.profile.model import Chars, TimeForm
from guardproxy.profile.packing import Node, Packed
from guardproxy.profile.times import read_moment

MAX_TEMPLATES: Final = 256
"""So many different templates are counted; when there are more, the texts have no pattern."""

MAX_TEMPLATE: Final = 64
"""Texts of more characters have no template."""

_CLASSES: Final = tuple(Chars)
_LONG: Final = "\0"


class TextShape:
    """What is counted of the looks of texts, by rows.

    `classes` counts sets of character classes (a bit mask in the order of `Chars`), `templates` and `loose` (runs made one)
    templates, None once there were too many; `forms` the forms of dates, None once a text was none. `empty` counts texts without a
    character.
    """

    def __init__(self) -> None:
        self.count = 0
        self.empty = 0
        self.classes: dict[int, int] = {}
        self.templates: dict[str, int] | None = {}
        self.loose: dict[str, int] | None = {}
        self.forms: dict[TimeForm, int] | None = {}

    def add(self, text: str, count: int) -> float:
        """Count a text that stands in `count` rows; return the Unix seconds it means, NaN where it is no moment."""
        self.count += count
        if not text:
            self.empty += count
        plain = text.encode("utf-8", "surrogatepass")
        mask = sum(_BITS[code] for code in set(plain.translate(_CLASS_OF)))
        self.classes[mask] = self.classes.get(mask, 0) + count
        if self.loose is not None:
            self._add_template(plain, count)
        return self._add_form(text, count)

    def absorb(self, other: "TextShape") -> None:
        """Add what was counted of other texts."""
        self.count += other.count
        self.empty += other.empty
        for mask, count in other.classes.items():
            self.classes[mask] = self.classes.get(mask, 0) + count
        self.templates = _added(self.templates, other.templates)
        self.loose = _added(self.loose, other.loose)
        if other.forms is None or self.forms is None:
            self.forms = None
        else:
            for form, count in other.forms.items():
                self.forms[form] = self.forms.get(form, 0) + count

    def charset(self) -> tuple[tuple[Chars, ...], int]:
        """Return the classes of characters that occur, and how many of them occur in one row only."""
        rows = [
            sum(count for mask, count in self.classes.items() if mask >> bit & 1)
            for bit in range(len(_CLASSES))
        ]
        found = tuple(chars for chars, count in zip(_CLASSES, rows, strict=True) if count)
        return found, sum(count == 1 for count in rows)

    def pattern(self) -> tuple[str, int] | None:
        """Return the commonest pattern with its rows, the exact one unless a looser one covers more; None without one."""
        best: tuple[str, int] | None = None
        for templates, loose in ((self.templates, False), (self.loose, True)):
            counted = {template: count for template, count in (templates or {}).items() if template != _LONG}
            if counted:
                template = max(counted, key=lambda name: counted[name])
                if best is None or counted[template] > best[1]:
                    best = _pattern(template, loose=loose), counted[template]
        return best

    def pack(self) -> Packed:
        """Return what a part keeps of this."""
        return {
            "count": self.count,
            "empty": self.empty,
            "classes": {str(mask): count for mask, count in self.classes.items()},
            "templates": self.templates,
            "loose": self.loose,
            "forms": self.forms,
        }

    @classmethod
    def unpack(cls, node: Node) -> Self:
        """Read what `pack` wrote."""
        shape = cls()
        shape.count, shape.empty = node.integer("count"), node.integer("empty")
        classes = node.node("classes")
        for key in classes.keys():  # noqa: SIM118
            if not key.isdecimal() or int(key) >= 2 ** len(_CLASSES):
                raise node.damaged("a class of characters that there is not")
            shape.classes[int(key)] = classes.integer(key)
        shape.templates, shape.loose = _unpacked(node, "templates"), _unpacked(node, "loose")
        forms = _unpacked(node, "forms")
        if forms is not None and not set(forms) <= set(TimeForm):
            raise node.damaged("a form of dates that there is not")
        shape.forms = None if forms is None else {TimeForm(form): count for form, count in forms.items()}
        return shape

    def _add_template(self, plain: bytes, count: int) -> None:
        template = (
            _LONG
            if len(plain) > MAX_TEMPLATE
            else plain.translate(_TEMPLATE_OF).decode("utf-8", "surrogatepass")
        )
        self.templates = _added(self.templates, {template: count})
        self.loose = _added(self.loose, {_RUNS.sub(r"\1", template): count})

    def _add_form(self, text: str, count: int) -> float:
        if self.forms is None:
            return math.nan
        moment = read_moment(text)
        if moment is None:
            self.forms = None
            return math.nan
        form, seconds = moment
        self.forms[form] = self.forms.get(form, 0) + count
        return seconds


def matcher(pattern: str, charset: Collection[Chars] = ()) -> re.Pattern[str] | None:
    """Return what tells whether a text has a pattern (use `fullmatch`); None for a text that is no pattern.

    With a `charset` the letters are those that it has; no letter where it has none.
    """
    letters = "".join(_RANGE_OF[chars] for chars in _LETTERS if not charset or chars in charset)
    ranges = {"A": f"[{letters}]" if letters else "(?!)", "9": "[0-9]"}
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        if char == "\\":
            if at == len(pattern):
                return None
            char, at = pattern[at], at + 1
            parts.append(re.escape(char))
        elif char == "+":
            return None
        elif char in ranges:
            more = pattern[at : at + 1] == "+"
            at += more
            parts.append(ranges[char] + "+" * more)
        else:
            parts.append(re.escape(char))
    return re.compile("".join(parts))


def char_matcher(charset: Iterable[Chars]) -> re.Pattern[str]:
    """Return what tells whether a text has no characters but those of `charset` (use `fullmatch`)."""
    return re.compile("[" + "".join(_RANGE_OF[chars] for chars in charset) + "]*", re.DOTALL)


def _added(counts: dict[str, int] | None, more: dict[str, int] | None) -> dict[str, int] | None:
    if counts is None or more is None:
        return None
    for template, count in more.items():
        counts[template] = counts.get(template, 0) + count
    return counts if len(counts) <= MAX_TEMPLATES else None


def _unpacked(node: Node, key: str) -> dict[str, int] | None:
    inner = node.maybe(key)
    if inner is None:
        return None
    names = inner.keys()
    if len(names) > MAX_TEMPLATES:
        raise node.damaged(f"{key} are too many")
    return {name: inner.integer(name) for name in names}


def _pattern(template: str, *, loose: bool) -> str:
    parts = []
    for char, run in groupby(template):
        length = len(list(run))
        if char in "A9":
            parts.append(char + "+" if loose else char * length)
        else:
            parts.append(("\\" + char if char in "+\\" else char) * length)
    return "".join(parts)


def _class_of(byte: int) -> int:
    char = chr(byte)
    if byte >= 0x80:
        chars = Chars.BEYOND_ASCII
    elif char.isalpha():
        chars = Chars.UPPER if char.isupper() else Chars.LOWER
    elif char.isdigit():
        chars = Chars.DIGIT
    elif char == " ":
        chars = Chars.SPACE
    else:
        chars = Chars.MARK if char.isprintable() else Chars.CONTROL
    return _CLASSES.index(chars)


def _template_of(byte: int) -> int:
    char = chr(byte)
    if byte >= 0x80 or not char.isalnum():
        return byte
    return ord("A") if char.isalpha() else ord("9")


_CLASS_OF: Final = bytes(map(_class_of, range(256)))
_TEMPLATE_OF: Final = bytes(map(_template_of, range(256)))
_BITS: Final = tuple(1 << bit for bit in range(len(_CLASSES)))
_RUNS: Final = re.compile(r"(A|9)\1+")
_LETTERS: Final = (Chars.LOWER, Chars.UPPER)
_RANGE_OF: Final = {
    Chars.LOWER: "a-z",
    Chars.UPPER: "A-Z",
    Chars.DIGIT: "0-9",
    Chars.SPACE: " ",
    Chars.MARK: r"!-/:-@\[-`{-~",
    Chars.CONTROL: "\x00-\x1f\x7f",
    Chars.BEYOND_ASCII: "\x80-\U0010ffff",
}
