"""Expression text to tokens.

Decides what a number, a text and a word look like, and recognises the operators of other languages so that the answer
says how they are written here. Order and meaning of tokens is left to `parser`.
"""

import json
import re
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, NamedTuple

from guardproxy.rules.language.flaws import Flaw, FlawError
from guardproxy.rules.language.foreign import SIGNS
from guardproxy.source import duration_help
from guardproxy.table import EXACT_INTEGERS, Cell


class TokenKind(Enum):
    """The sorts of token."""

    NUMBER = auto()
    TEXT = auto()
    WORD = auto()
    OPERATOR = auto()
    END = auto()


class Token(NamedTuple):
    """One token. `text` is as written; `value` is what a number or text means."""

    kind: TokenKind
    text: str
    offset: int
    value: Cell = None

    @property
    def length(self) -> int:
        """Return the number of characters."""
        return len(self.text)


RESERVED: Final = frozenset(
    {"and", "or", "not", "in", "is", "missing", "if", "then", "else", "true", "false"}
)
"""Words of the language, which are no names."""

OTHER_MISSING: Final = frozenset({"null", "none", "nil", "nan", "na", "empty", "undefined"})
"""What other languages call `missing`."""

UNITS: Final[Mapping[str, float]] = MappingProxyType({"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400})
"""Durations are numbers of seconds."""

_FOREIGN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "&&": "write `and`",
        "||": "write `or`",
        "===": "write `==`",
        "!==": "write `!=`",
        "<>": "write `!=`",
        "=<": "write `<=`",
        "=>": "write `>=`",
        "=": "write `==` to compare",
        "!": "write `not`",
        "**": "there is no power operator; multiply, or use `exp` and `log`",
        "//": "there is no whole-number division, write `/`; a comment begins with ` #`",
        "^": "there is no power operator; multiply, or use `exp` and `log`",
        "&": "write `and`",
        "|": "write `or`; functions are written f(x)",
        "=~": 'write matches(text, "pattern")',
        "!~": 'write not matches(text, "pattern")',
        "..": "write 0 <= x <= 9 for a range",
        "?.": "write a name with a plain `.`; what is absent is missing",
        "?": "write `if a then b else c`",
        "%": "there is no remainder operator; a per cent sign stands right behind its number, as in `30%`",
    }
)
_QUOTES: Final = "'`‘’“”„«»"

_QUOTED: Final = re.compile(r"""['`‘’“„«]([^'`‘’“”„«»"\\]{1,40})['`’“”»]""")

_SPACE: Final = re.compile(r"\s+")
_DIGITS: Final = r"[0-9]+(?:_[0-9]+)*"
_NUMBER: Final = re.compile(rf"({_DIGITS}(?:\.{_DIGITS})?(?:[eE][+-]?[0-9]+)?)(%|ms|[smhd])?(?![\w.])")
_NUMBER_LIKE: Final = re.compile(r"\.?[0-9](?:[\w.]|(?<=[eE])[+-])*%?")
_WORD: Final = re.compile(r"[^\W\d]\w*")
_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE: Final = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_BACKSLASH: Final = re.compile(r"\\(?:.|$)", re.DOTALL)
_OPERATOR: Final = re.compile(r"<=|>=|==|!=|\?\?|[-+*/<>()\[\],.]")
_FOREIGN_OPERATOR: Final = re.compile(
    "|".join(re.escape(text) for text in sorted(_FOREIGN, key=len, reverse=True))
)


def tokenize(text: str) -> list[Token]:
    """Return the tokens of `text`, the last one `END`. Raises FlawError at the first thing that is none."""
    tokens: list[Token] = []
    offset = 0
    while offset < len(text):
        space = _SPACE.match(text, offset)
        if space:
            offset = space.end()
            continue
        token = _next(text, offset, after_name=bool(tokens) and _ends_name(tokens[-1], offset))
        tokens.append(token)
        offset += token.length
    tokens.append(Token(TokenKind.END, "", len(text)))
    return tokens


def _next(text: str, offset: int, *, after_name: bool) -> Token:
    character = text[offset]
    if character == '"':
        return _text(text, offset)
    if character in "0123456789" or (
        character == "." and not after_name and text[offset + 1 : offset + 2].isdigit()
    ):
        return _number(text, offset)
    word = _WORD.match(text, offset)
    if word:
        return Token(TokenKind.WORD, word.group(), offset)
    return _operator(text, offset)


def _ends_name(token: Token, offset: int) -> bool:
    adjacent = token.offset + token.length == offset
    return adjacent and (token.kind is TokenKind.WORD or token.text == "]")


def _operator(text: str, offset: int) -> Token:
    known = _OPERATOR.match(text, offset)
    foreign = _FOREIGN_OPERATOR.match(text, offset)
    if foreign and not (known and len(known.group()) >= len(foreign.group())):
        wrong = foreign.group()
        help_ = _FOREIGN[wrong]
        if wrong == "=" and not text[:offset].strip():
            help_ = "an expression begins without `=`"
        raise FlawError(Flaw("E111", f"there is no operator `{wrong}`", offset, len(wrong), help_))
    if known:
        return Token(TokenKind.OPERATOR, known.group(), offset)
    character = text[offset]
    if character in _QUOTES:
        digits = offset and text[offset - 1].isdigit() and text[offset + 1 : offset + 2].isdigit()
        inner = _QUOTED.match(text, offset)
        help_ = f'write "{inner.group(1)}"' if inner else 'write "..."'
        if digits:
            help_ = "write the number without separators of thousands"
        raise FlawError(Flaw("E109", "text stands in double quotes", offset, 1, help_))
    help_ = SIGNS.get(character, "")
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    raise FlawError(Flaw("E105", f"the character `{shown}` has no meaning here", offset, 1, help_))


def _number(text: str, offset: int) -> Token:
    found = _NUMBER.match(text, offset)
    if not found:
        like = _NUMBER_LIKE.match(text, offset)
        written = like.group() if like else text[offset]
        raise FlawError(
            Flaw("E112", f"`{written}` is not a number", offset, len(written), _number_help(written))
        )
    written, suffix = found.group(1).replace("_", ""), found.group(2)
    whole = int(written) if written.isdigit() else None
    if whole is not None and suffix is None and whole >= EXACT_INTEGERS:
        return Token(TokenKind.NUMBER, found.group(), offset, whole)
    value = float(written)
    if value == float("inf"):
        message = f"`{found.group()}` is too large for a number"
        raise FlawError(
            Flaw("E112", message, offset, len(found.group()), "the largest number is about 1.8e308")
        )
    if suffix == "%":
        # 0.7 / 100 is not the float nearest to 0.007; reading the shifted decimal is.
        value = value / 100 if "e" in written.lower() else float(f"{written}e-2")
    elif suffix:
        value *= UNITS[suffix]
    return Token(TokenKind.NUMBER, found.group(), offset, value)


def _number_help(written: str) -> str:
    if written.startswith("."):
        return f"write 0{written}"
    if written.endswith("."):
        return f"write {written}0" if written.count(".") == 1 else f"write {written.rstrip('.')}"
    if ".." in written:
        return "write 0 <= x <= 9 for a range"
    if re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{3}){2,}", written):
        return f"write {written.replace('.', '_')}"
    if unit := re.fullmatch(r"([0-9]+)([kKM])", written):
        return f"write {unit.group(1)}{'_000' if unit.group(2) in 'kK' else '_000_000'}"
    if stretch := duration_help(written):
        return stretch
    if re.fullmatch(r"[0-9]+[^\W\d]\w*", written):
        return f'units are %, ms, s, m, h and d; a name that begins with a digit is written features["{written}"]'
    return "write numbers like 12, 250_000, 4.5e-3, 30% or 15m"


def _text(text: str, offset: int) -> Token:
    found = _TEXT.match(text, offset)
    if not found:
        length = len(text) - offset
        raise FlawError(Flaw("E109", "the text is not closed", offset, length, 'add the closing `"`'))
    written = found.group()
    for escape in _BACKSLASH.finditer(written):
        if not _ESCAPE.match(written, escape.start()):
            raise FlawError(_bad_escape(escape.group(), offset + escape.start()))
    value: str = json.loads(written, strict=False)
    return Token(TokenKind.TEXT, written, offset, value)


def _bad_escape(written: str, offset: int) -> Flaw:
    help_ = "write two backslashes for one: `\\\\`"
    if written == "\\u":
        help_ = "write \\u with four hexadecimal digits"
    return Flaw("E109", f"text has no escape `{written}`", offset, len(written), help_)
