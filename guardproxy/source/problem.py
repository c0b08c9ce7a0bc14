"""An operator's mistake: its code, its place, what is wrong and what to do.

Decides what a problem says and which word was probably meant. How it is drawn is left to `drawing`.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

CODES: Final[Mapping[str, str]] = {
    "E200": "The text is not valid YAML.",
    "E201": "A mapping has the same key twice; YAML readers silently keep only one of them.",
    "E202": "A word that YAML 1.1 reads as yes/no. Write true or false, or quote the word if text is meant.",
    "E203": "The document uses a tag, a merge key or too many aliases, or is too large or too deep.",
    "E204": "A key that does not exist here.",
    "E205": "A required key is missing.",
    "E206": "A value has the wrong type.",
    "E207": "A value is not one of the allowed words.",
    "E208": "A value is outside its allowed range, or an address, a path or a key means nothing where it stands.",
}
"""The codes of any operator text: what YAML is here, and what its readers share."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in operator text. Line and column count from 1, in characters; `length` is the caret's width.

    `where` names what the place is part of (`rule demand-plausible, require`); `help` is the one fix, `note` what
    else is worth knowing, such as the fields that were seen.
    """

    code: str
    message: str
    file: str
    line: int
    column: int
    length: int = 1
    help: str = ""
    severity: str = "error"
    where: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the machine-readable form of the public contract, which has no `where` and `note`; SARIF has."""
        return {
            "code": self.code,
            "severity": self.severity,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "help": self.help,
        }


def likely(word: str, known: Iterable[str], *, closeness: float = 0.65) -> str | None:
    """Return the known word that was probably meant, or None. Capitals, `-` and `_` make no difference."""
    words = list(known)
    plain = _plain(word)
    for each in words:
        if _plain(each) == plain:
            return each
    close = difflib.get_close_matches(word, words, n=1, cutoff=closeness)
    return close[0] if close else None


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a help sentence: the likely word, else what is allowed."""
    words = list(known)
    guess = likely(word, words)
    if guess is not None:
        return f"did you mean '{guess}'?"
    return "allowed: " + ", ".join(words[:20]) + (", ..." if len(words) > 20 else "") if words else ""
