"""Expressions in the spelling of other languages, rewritten in the spelling of this one.

Decides which spellings mean the same beyond doubt: `&&`, `||`, `!`, `=`, `===`, `<>`, `== null`, `AND`, `True` and text in
single quotes. What is left wrong, or would be read in two ways, is left to the author and to the error that says so.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from guardproxy.rules.language.flaws import FlawError
from guardproxy.rules.language.parser import parse
from guardproxy.rules.language.program import MAX_CHARACTERS
from guardproxy.rules.language.tokens import OTHER_MISSING, RESERVED

_PIECE: Final = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*")|(?P<single>'[^'"\\]*')|(?P<space>\s+)|(?P<number>\.?[0-9](?:[\w.]|(?<=[eE])[+-])*%?)"""
    r"""|(?P<word>[^\W\d]\w*)|(?P<sign>===|!==|==|!=|<=|>=|=<|=>|<>|&&|\|\||\?\?|.)""",
    re.DOTALL,
)
_SIGNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "===": "==",
        "=": "==",
        "!==": "!=",
        "<>": "!=",
        "=<": "<=",
        "=>": ">=",
        "&&": "and",
        "&": "and",
        "||": "or",
        "|": "or",
    }
)
_BEFORE_NOT: Final = frozenset({"", "(", ",", "and", "or", "not", "if", "then", "else"})
_AFTER_NOT: Final = frozenset({"", ")", ",", "and", "or", "then", "else"})
_CLOSES: Final[Mapping[str, str]] = MappingProxyType({"(": ")", "[": "]"})


class _Piece(NamedTuple):
    sort: str
    text: str


def repair(text: str) -> str | None:
    """Return the text as this language spells it; None when nothing is to be done or the result still cannot be read."""
    if len(text) > MAX_CHARACTERS:
        return None
    pieces = [_Piece(str(found.lastgroup), found.group()) for found in _PIECE.finditer(text)]
    if not any(piece.sort in ("sign", "word", "single") for piece in pieces):
        return None
    repaired = _joined(_nots(_nulls(_words(pieces))))
    if repaired == text:
        return None
    try:
        parse(repaired)
    except FlawError:
        return None
    return repaired


def _words(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Rewrite operators, quotes and words that only differ in their letters."""
    found: list[_Piece] = []
    for place, (sort, written) in enumerate(pieces):
        if sort == "sign" and written in _SIGNS:
            new = _SIGNS[written]
            found.append(_Piece("word" if new.isalpha() else "sign", new))
        elif sort == "single":
            found.append(_Piece("text", f'"{written[1:-1]}"'))
        elif (
            sort == "word"
            and written.lower() in RESERVED
            and not _is_name(pieces, place)
            and _near(pieces, place, -1) != "in"
        ):
            found.append(_Piece("word", written.lower()))
        else:
            found.append(_Piece(sort, written))
    return found


def _nulls(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Rewrite `== null`, `!= null`, `is null` and `is not null`."""
    found: list[_Piece] = []
    for place, (sort, written) in enumerate(pieces):
        if sort == "word" and written.lower() in OTHER_MISSING and not _is_name(pieces, place):
            before = _last(found)
            if before is not None and found[before].text in ("==", "!="):
                found[before] = _Piece("word", "is" if found[before].text == "==" else "is not")
                found.append(_Piece("word", "missing"))
                continue
            if before is not None and found[before].text in ("is", "not"):
                found.append(_Piece("word", "missing"))
                continue
        found.append(_Piece(sort, written))
    return found


def _nots(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Rewrite `!x` as `not x`, in parentheses wherever `not` would reach further than `!` does."""
    found = list(pieces)
    for place in reversed([place for place, piece in enumerate(pieces) if piece == ("sign", "!")]):
        end = _operand_end(found, place + 1)
        if end is None:
            continue
        loose = _near(found, place, -1) in _BEFORE_NOT and _near(found, end - 1, 1) in _AFTER_NOT
        operand = found[place + 1 : end]
        if operand and operand[0].sort == "space":
            operand = operand[1:]
        inner = [_Piece("word", "not"), _Piece("space", " "), *operand]
        if not loose:
            inner = [_Piece("sign", "("), *inner, _Piece("sign", ")")]
        found[place:end] = inner
    return found


def _operand_end(pieces: Sequence[_Piece], start: int) -> int | None:
    """Return where the name, call, literal or parenthesis that begins at `start` ends; None when there is none."""
    place = start
    while place < len(pieces) and (pieces[place].sort == "space" or pieces[place].text == "not"):
        place += 1
    if place == len(pieces):
        return None
    if pieces[place].text == "(":
        return _closed(pieces, place)
    if pieces[place].sort == "sign":
        return None
    place += 1
    while place < len(pieces):
        if pieces[place].text == ".":
            place += 2
        elif pieces[place].text in _CLOSES:
            end = _closed(pieces, place)
            if end is None:
                return None
            place = end
        else:
            break
    return min(place, len(pieces))


def _closed(pieces: Sequence[_Piece], start: int) -> int | None:
    waiting: list[str] = []
    for place in range(start, len(pieces)):
        text = pieces[place].text
        if text in _CLOSES:
            waiting.append(_CLOSES[text])
        elif waiting and text == waiting[-1]:
            waiting.pop()
            if not waiting:
                return place + 1
    return None


def _is_name(pieces: Sequence[_Piece], place: int) -> bool:
    """Tell whether a word is a part of a dotted name, or a function."""
    return _near(pieces, place, -1) == "." or (
        _near(pieces, place, 1) in (".", "[", "(") and (pieces[place].text.lower() not in RESERVED)
    )


def _near(pieces: Sequence[_Piece], place: int, step: int) -> str:
    """Return the text of the next piece that is no space, in either direction; empty at an end."""
    place += step
    while 0 <= place < len(pieces):
        if pieces[place].sort != "space":
            return pieces[place].text
        place += step
    return ""


def _last(pieces: Sequence[_Piece]) -> int | None:
    return next((at for at in reversed(range(len(pieces))) if pieces[at].sort != "space"), None)


def _joined(pieces: Sequence[_Piece]) -> str:
    """Join the pieces, with a space where two words would run into each other."""
    text = ""
    before = _Piece("space", "")
    for piece in pieces:
        touching = {before.sort, piece.sort} <= {"word", "number", "text"}
        beside = (
            "word" in (before.sort, piece.sort)
            and (before.text in ")]" or piece.text == "(")
            and (
                before.text in ("and", "or", "not", "is", "in")
                or piece.text in ("and", "or", "not", "is", "in")
            )
        )
        text += f" {piece.text}" if before.text and (touching or beside) else piece.text
        before = piece
    return text
