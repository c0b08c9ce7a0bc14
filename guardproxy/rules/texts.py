"""Checks of a row whose subject is no plain number: confidence of a classifier, text, JSON in text.

Decides their verdict on one row and the sentence that says why. Which cells a check looks at, and what many rows make of
it, is left to the plan; what counts as personal data to `personal`.
"""

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from guardproxy.rules.language import LanguageError
from guardproxy.rules.language.functions import (
    MAX_MATCH_BYTES,
    kept_pattern,
    pattern_found,
    text_was_cut,
)
from guardproxy.rules.model import Check, TextCheck
from guardproxy.rules.personal import find_personal
from guardproxy.rules.schemas import schema_fault
from guardproxy.table import Cell

KEPT: Final = 256
"""Checks whose prepared literals are kept; the rules of one process have fewer."""

SLACK: Final = 1e-12
"""A difference of floats that is exactly on its bound may come out a hair beyond it: 0.6 - 0.5 is less than 0.1."""

_SHOWN: Final = 60
_RUNS: Final = ("  ", *"\t\n\v\f\r\x1c\x1d\x1e\x1f")
"""What ASCII text must not hold to have no white space but single blanks."""
_UNSEEN: Final = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
"""Characters without width: soft hyphens, joiners, byte order marks."""


# ---------------------------------------------------------------- confidence


def confidence(check: Check, cells: Sequence[Cell]) -> bool | None:
    """Tell whether the largest member, and its distance to the second, reach what is asked; None when one is missing.

    A single field holds the members as a vector. Raises `LanguageError` for anything that is not a number.
    """
    members = members_of(cells)
    if members is None:
        return None
    top, second = _two_largest(members)
    return top >= check.least_top - SLACK and top - second >= check.least_margin - SLACK


def members_of(cells: Sequence[Cell]) -> list[float] | None:
    """Return the members of a vector or of several cells as numbers; None when one is missing or there is none.

    Raises `LanguageError` for anything that is not a number.
    """
    first = cells[0] if len(cells) == 1 else None
    members: Sequence[Cell] = first if isinstance(first, tuple) else cells
    found: list[float] = []
    missing = not members
    for member in members:
        if member is None or member != member:
            missing = True
        elif type(member) is float or type(member) is int:
            found.append(_as_float(member))
        else:
            raise LanguageError("a confidence must be made of numbers")
    return None if missing else found


def _as_float(number: float) -> float:
    """Return a number as a float; a whole number beyond all floats is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _two_largest(members: Sequence[float]) -> tuple[float, float]:
    """Return the largest and the second; a single member of a binary classifier has its complement as the second."""
    if len(members) == 1:
        return max(members[0], 1 - members[0]), min(members[0], 1 - members[0])
    ordered = sorted(members, reverse=True)
    return ordered[0], ordered[1]


def say_confidence(check: Check, cells: Sequence[Cell]) -> str:
    """Say why a confidence is too low."""
    members = members_of(cells)
    if members is None:
        return "a probability is missing"
    top, second = _two_largest(members)
    if top < check.least_top - SLACK:
        return f"the largest probability is {top:.1%}, below {check.least_top:.1%}"
    return f"the two largest probabilities are {top - second:.1%} apart, less than {check.least_margin:.1%}"


# ---------------------------------------------------------------- text


def text(check: Check, cells: Sequence[Cell]) -> bool | None:
    """Tell whether a text is as its check demands; None when it is missing. Raises `LanguageError` for no text.

    None also for a text in whose first 64 KiB nothing is found that must not be there: the rest is not looked at.
    """
    cell = cells[0]
    if cell is None:
        return None
    if any(_faults(_demands(check), _text(cell))):
        return False
    return None if seen_in_part(check, cell) else True


def say_text(check: Check, cells: Sequence[Cell]) -> str:
    """Say what is wrong with a text, without showing personal data."""
    cell = cells[0]
    if cell is None:
        return "the text is missing"
    fine = f"only the first {MAX_MATCH_BYTES >> 10} KiB of the text were searched"
    if not seen_in_part(check, cell):
        fine = "the text is as it should be"
    return next(_faults(_demands(check), _text(cell)), fine)


def seen_in_part(check: Check, cell: Cell) -> bool:
    """Tell whether something that must not be in a text may stand in the part that nobody looks at."""
    demands = _demands(check)
    unwanted = demands.must_not_contain or demands.must_not_match or demands.pii
    return bool(unwanted) and isinstance(cell, str) and text_was_cut(cell)


def _demands(check: Check) -> TextCheck:
    if check.text is None:
        raise ValueError("a text check says what the text must be")
    return check.text


def _text(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    raise LanguageError("a text check needs text")


def cut(whole: str) -> str:
    """Return the part of a text that is looked at: 64 KiB of UTF-8, whole characters."""
    if len(whole) * 4 <= MAX_MATCH_BYTES:
        return whole
    encoded = whole.encode("utf-8", "replace")
    if len(encoded) <= MAX_MATCH_BYTES:
        return whole
    return encoded[:MAX_MATCH_BYTES].decode("utf-8", "ignore")


def _faults(demands: TextCheck, whole: str) -> Iterator[str]:
    """Yield what is wrong with a text. Lengths are of the whole, everything else looks at its first 64 KiB."""
    if len(whole) < demands.min_chars:
        yield f"the text has {len(whole):,} characters, fewer than {demands.min_chars:,}"
    if demands.max_chars is not None and len(whole) > demands.max_chars:
        yield f"the text has {len(whole):,} characters, more than {demands.max_chars:,}"
    said = cut(whole)
    if demands.must_contain or demands.must_not_contain:
        yield from _literal_faults(demands, _folded(said, demands.case_sensitive))
    if demands.must_match and not pattern_found(kept_pattern(demands.must_match), said):
        yield f"the text does not match {demands.must_match[:_SHOWN]}"
    if demands.must_not_match and pattern_found(kept_pattern(demands.must_not_match), said):
        yield f"the text matches {demands.must_not_match[:_SHOWN]}"
    personal = find_personal(said, demands.pii) if demands.pii else None
    if personal is not None:
        yield f"the text holds personal data ({personal})"


def _literal_faults(demands: TextCheck, folded: str) -> Iterator[str]:
    wanted, unwanted = _sought(_Same(demands))
    if wanted and not any(_occurs(part, folded, demands) for part in wanted):
        yield f"the text holds none of {_listed(demands.must_contain)}"
    for part, sought in zip(demands.must_not_contain, unwanted, strict=True):
        if _occurs(sought, folded, demands):
            yield f'the text holds "{part[:_SHOWN]}"'
            break


def _listed(parts: Sequence[str]) -> str:
    shown = ", ".join(f'"{part[:_SHOWN]}"' for part in parts[:3])
    return shown + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")


def _folded(said: str, case_sensitive: bool) -> str:
    """Return a text in the form in which phrases are looked for.

    A run of white space is one blank, so that a line break hides no phrase. Nor does another spelling of the same
    characters (NFKC), or a character without width between them.
    """
    if not said.isascii():
        said = unicodedata.normalize("NFKC", said.translate(_UNSEEN))
    elif not any(run in said for run in _RUNS):
        return said if case_sensitive else said.lower()
    # Several times as fast as a regular expression; what it takes from the ends is put back.
    single = " ".join(said.split())
    if said[:1].isspace():
        single = " " + single
    if single != " " and said[-1:].isspace():
        single += " "
    return single if case_sensitive else single.casefold()


class _Same:
    """A check by its identity: comparing ten thousand literals would cost more than looking for them."""

    __slots__ = ("demands",)

    def __init__(self, demands: TextCheck) -> None:
        self.demands = demands

    def __hash__(self) -> int:
        return id(self.demands)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.demands is self.demands


@lru_cache(KEPT)
def _sought(same: _Same) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a check's literals in the form in which they are looked for; folding them costs more than a search."""
    demands = same.demands
    wanted, unwanted = (
        tuple(_folded(part, demands.case_sensitive) for part in parts)
        for parts in (demands.must_contain, demands.must_not_contain)
    )
    return wanted, unwanted


def _occurs(sought: str, folded: str, demands: TextCheck) -> bool:
    at = folded.find(sought)
    if not demands.whole_words:
        return at >= 0
    while at >= 0:
        end = at + len(sought)
        before, after = folded[at - 1 : at], folded[end : end + 1]
        if not (_inside_word(before, sought[:1]) or _inside_word(after, sought[-1:])):
            return True
        at = folded.find(sought, at + 1)
    return False


def _inside_word(neighbour: str, edge: str) -> bool:
    """Tell whether an edge of the sought text and its neighbour belong to one word."""
    return bool(neighbour) and (neighbour.isalnum() or neighbour == "_") and (edge.isalnum() or edge == "_")


# ---------------------------------------------------------------- JSON in text


def json_schema(check: Check, cells: Sequence[Cell]) -> bool | None:
    """Tell whether a text is JSON that satisfies the check's schema; None when it is missing.

    Raises `LanguageError` for what is no text, and for text that is too long or too deep to be judged.
    """
    cell = cells[0]
    return None if cell is None else schema_fault(check.schema, _text(cell)) is None


def say_schema(check: Check, cells: Sequence[Cell]) -> str:
    """Say what is wrong with a JSON text."""
    cell = cells[0]
    if cell is None:
        return "the text is missing"
    return schema_fault(check.schema, _text(cell)) or "the text satisfies its schema"


SENTENCES: Final[Mapping[str, Callable[[Check, Sequence[Cell]], str]]] = {
    "confidence": say_confidence,
    "text": say_text,
    "json_schema": say_schema,
}
"""What is wrong with a row, by the key of the check that found it."""
ROW_CHECKS: Final[Mapping[str, Callable[[Check, Sequence[Cell]], bool | None]]] = {
    "confidence": confidence,
    "text": text,
    "json_schema": json_schema,
}
