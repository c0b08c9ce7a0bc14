"""JSON spelled at random, in all the ways that its grammar allows and that libraries write.

Decides how a value is written: white space, escapes, exponents, the words NaN and Infinity. What a document holds is left
to `fuzz`. Everything comes from one seeded generator, so that a seed is a document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

SMALL_INTEGERS: Final = ("0", "-0", "1", "-1", "7", "42", "1000000")
LARGE_INTEGERS: Final = tuple(
    str(sign * (power + shift))
    for power in (2**53, 2**63, 2**64, 10**30)
    for shift in (-1, 0, 1)
    for sign in (1, -1)
)
FLOATS: Final = (
    "0.0", "-0.0", "0.5", "1.0", "83.30755308740414", "0.30000000000000004", "1e5", "1E+5", "1.50e-7", "0.1000", "-2.5E-3",
    "1e308", "-1.7976931348623157e308", "5e-324", "1e-400", "123456789012345678.5", "0.10000000149011612",
    "9007199254740993.0", "1e22", "3.0000000000000004",
)  # fmt: skip
WORDS: Final = ("NaN", "Infinity", "-Infinity")
TEXTS: Final = (
    "", "a", "é€", "😀", '"', "\\", "\n", "\t", "\0", "NaN", "Infinity", '":', "{", "}", "[", "]", ",", ":", "null", "1", "x" * 40,
    "\u2028", "\x7f", "/", "data", "inputs", "a" * 300,
)  # fmt: skip
NAMES: Final = (
    "a", "b", "age", "s5", "größe", "x y", 'q"q', "back\\slash", "😀", "a/b", "a~b", "", "0", "f0", "NaN", "data", "shape",
    "prediction", "with:colon", "tab\t", "nul\0", "outputs",
)  # fmt: skip

_SPACES: Final = ("", "", " ", "  ", "\n", "\r\n\t", " \n    ")
_SHORT: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A scalar as it is spelled."""

    text: str


class Object(list[tuple[str, Any]]):
    """An object: its members in order, as pairs, so that a key may stand twice."""


class Spelling:
    """Spells the values of one document, which has one mind about white space and escapes."""

    def __init__(self, rng: random.Random) -> None:
        """Choose how this document is spaced and escaped."""
        self.rng = rng
        self._spaces: Sequence[str] = rng.choice((("",), (" ",), _SPACES))
        self._raw = rng.random() < 0.5

    def one(self, *texts: str) -> Token:
        """Return one of some spellings."""
        return Token(self.rng.choice(texts))

    def small(self) -> Token:
        """Return a small whole number."""
        return (
            Token(str(self.rng.randint(-1000, 1000)))
            if self.rng.random() < 0.5
            else self.one(*SMALL_INTEGERS)
        )

    def real(self) -> Token:
        """Return a number with a fraction or an exponent."""
        if self.rng.random() < 0.5:
            return self.one(*FLOATS)
        value = self.rng.uniform(-1000, 1000) * 10.0 ** self.rng.randint(-12, 12)
        return Token(self.rng.choice((repr(value), f"{value:.3f}", f"{value:.6e}", f"{value:.2E}")))

    def text(self) -> Token:
        """Return a text."""
        return self.quoted("".join(self.rng.choices(TEXTS, k=self.rng.randint(0, 3))))

    def scalar(self) -> Token:
        """Return a scalar of any kind."""
        kinds: tuple[Callable[[], Token], ...] = (
            self.small,
            self.real,
            self.text,
            lambda: self.one(*LARGE_INTEGERS),
            lambda: self.one("true", "false", "null", *WORDS),
        )
        return self.rng.choice(kinds)()

    def beside(self, depth: int = 0, *, distinct: bool = False) -> Any:
        """Return any value, such as stands beside the rows; unless it is `distinct`, a key may stand twice in it."""
        shape = self.rng.random()
        if depth > 3 or shape < 0.4:
            return self.scalar()
        many = range(self.rng.randint(0, 3))
        if shape < 0.7:
            return [self.beside(depth + 1, distinct=distinct) for _ in many]
        names = self.rng.sample(NAMES, len(many)) if distinct else self.rng.choices(NAMES, k=len(many))
        return Object((name, self.beside(depth + 1, distinct=distinct)) for name in names)

    def quoted(self, value: str) -> Token:
        """Spell a text: each character as it is, or escaped in one of the ways that JSON has."""
        return Token('"' + "".join(map(self._character, value)) + '"')

    def written(self, value: Any) -> str:
        """Write a document made of tokens, lists and Objects."""
        parts: list[str] = [self._space()]
        self._write(value, parts)
        return "".join(parts)

    def _write(self, value: Any, parts: list[str]) -> None:
        if isinstance(value, Token):
            parts += (value.text, self._space())
            return
        parts += ("{" if isinstance(value, Object) else "[", self._space())
        for at, member in enumerate(value):
            if at:
                parts += (",", self._space())
            if isinstance(value, Object):
                parts += (self.quoted(member[0]).text, self._space(), ":", self._space())
            self._write(member[1] if isinstance(value, Object) else member, parts)
        parts += ("}" if isinstance(value, Object) else "]", self._space())

    def _space(self) -> str:
        return self.rng.choice(self._spaces)

    def _character(self, char: str) -> str:
        must = char in '"\\' or char < " "
        if self._raw and not must and self.rng.random() < 0.95:
            return char
        ways = [_escaped(char), _SHORT.get(char, _escaped(char))]
        return self.rng.choice(ways if must else [*ways, char, char])


def _escaped(char: str) -> str:
    """Return a character as \\u escapes: two of them, a surrogate pair, beyond the basic plane."""
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
