"""Find personal data in text: payment cards, bank accounts, e-mail addresses, telephone numbers.

Decides what counts as one, by its own arithmetic where it has any (Luhn for cards, ISO 7064 mod 97-10 for accounts), so
that an order number is not taken for a card. Every scanner is a single pass over the text.
"""

import re
import string
from collections.abc import Callable, Iterator, Mapping
from typing import Final

CARD_DIGITS: Final = range(13, 20)
"""ISO/IEC 7812: a card number has 13 to 19 digits here; shorter ones are no payment cards."""
IBAN_LENGTH: Final = range(15, 35)
"""ISO 13616: the shortest account (Norway) has 15 characters, the longest allowed 34."""
PHONE_DIGITS: Final = range(8, 16)
"""ITU-T E.164: at most 15 digits; below eight, a number with a plus sign is more likely something else."""

_SHAPES: Final = ((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3))
_DIGITS: Final = frozenset(string.digits)
_LETTERS: Final = frozenset(string.ascii_letters)
_ALPHANUMERIC: Final = _DIGITS | _LETTERS
_LOCAL: Final = _ALPHANUMERIC | frozenset("!#$%&'*+/=?^_`{|}~.-")
_DOMAIN: Final = _ALPHANUMERIC | frozenset(".-")
_VALUES: Final = {ord(letter): str(value) for value, letter in enumerate(string.ascii_uppercase, start=10)}
# Neither can be matched in two ways, so that each is one pass.
_RUN: Final = re.compile(r"[0-9](?:[ -]?[0-9])*")
_HEAD: Final = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}")


def find_personal(text: str, kinds: tuple[str, ...]) -> str | None:
    """Return the first of `kinds` that occurs in a text, None when there is none of them."""
    return next((kind for kind in kinds if any(_SCANNERS[kind](text))), None)


def _cards(text: str) -> Iterator[str]:
    for run in _runs(text):
        yield from (digits for digits in _groups(run) if len(digits) in CARD_DIGITS and _luhn(digits))


def _groups(run: str) -> Iterator[str]:
    """Yield what may be a card: a group of digits by itself, and neighbours of the lengths in which cards are written."""
    parts = run.replace("-", " ").split()
    yield from parts
    lengths = tuple(len(part) for part in parts)
    for shape in _SHAPES:
        for first in range(len(parts) - len(shape) + 1):
            if lengths[first : first + len(shape)] == shape:
                yield "".join(parts[first : first + len(shape)])


def _runs(text: str) -> Iterator[str]:
    """Yield stretches of digits, with single separators inside them; not those that a letter leads into."""
    for found in _RUN.finditer(text):
        start = found.start()
        if not text[start - 1 : start].isalpha():
            yield found.group()


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: every second digit from the right doubled, the digit sum divisible by ten."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0 and digits.strip("0") != ""


def _ibans(text: str) -> Iterator[str]:
    for head in _HEAD.finditer(text):
        yield from _iban_at(text, head.start())


def _iban_at(text: str, place: int) -> Iterator[str]:
    """Yield the account that begins at a place, written in one piece or in groups of four."""
    said = ""
    for at in range(place, min(len(text), place + IBAN_LENGTH.stop + 9)):
        char = text[at]
        if char in _ALPHANUMERIC and not char.islower():
            said += char
            ends = at + 1 == len(text) or text[at + 1] not in _ALPHANUMERIC
            if ends and len(said) in IBAN_LENGTH and _mod_97(said) == 1:
                yield said
                return
        elif not (char == " " and len(said) % 4 == 0 and text[at - 1] != " "):
            return


def _mod_97(account: str) -> int:
    """ISO 7064: the first four characters moved to the end, letters as 10 to 35, the whole modulo 97."""
    return int((account[4:] + account[:4]).translate(_VALUES)) % 97


def _emails(text: str) -> Iterator[str]:
    at = text.find("@")
    while at >= 0:
        start, end = at, at + 1
        # RFC 5321 ends a local part at 64 characters and a domain at 255, which also bounds the walk.
        while start > max(0, at - 64) and text[start - 1] in _LOCAL:
            start -= 1
        while end < min(len(text), at + 256) and text[end] in _DOMAIN:
            end += 1
        local, domain = text[start:at].strip("."), text[at + 1 : end].strip(".-")
        labels = domain.split(".")
        if local and len(labels) > 1 and all(labels) and labels[-1].isalpha() and len(labels[-1]) > 1:
            yield f"{local}@{domain}"
        at = text.find("@", at + 1)


def _phones(text: str) -> Iterator[str]:
    plus = text.find("+")
    while plus >= 0:
        digits = ""
        for char in text[plus + 1 : plus + 32]:
            if char in _DIGITS:
                digits += char
            elif char not in " -.()/":
                break
        if len(digits) in PHONE_DIGITS and digits[0] != "0":
            yield f"+{digits}"
        plus = text.find("+", plus + 1)


_SCANNERS: Final[Mapping[str, Callable[[str], Iterator[str]]]] = {
    "card": _cards,
    "email": _emails,
    "iban": _ibans,
    "phone": _phones,
}
PERSONAL: Final = tuple(_SCANNERS)
