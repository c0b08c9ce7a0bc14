"""What looks odd in files of reference data, with the place where it was first seen.

Decides what is worth a sentence: numbers and texts in one column, infinite numbers, dates in several forms, columns without
any value. What is learned of such a column is left to `profile`; nothing here stops it. Memory does not grow with the files:
each column remembers first places only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.columns import Column, NumberColumn, TextColumn

SAMPLE: Final = 1_000
"""Different texts that are looked at in one stretch of a column."""

MAX_SHOWN: Final = 40
_FORMS: Final = (
    re.compile(r"\d{4}-\d{1,2}-\d{1,2}(?!\d).*"),
    re.compile(r"\d{4}/\d{1,2}/\d{1,2}(?!\d).*"),
    re.compile(r"\d{1,2}/\d{1,2}/\d{2,4}(?!\d).*"),
    re.compile(r"\d{1,2}\.\d{1,2}\.\d{2,4}(?!\d).*"),
    re.compile(r"\d{1,2}[ -][A-Za-z]{3,9}\.?[ -]\d{2,4}(?!\d).*"),
    re.compile(r"[A-Za-z]{3,9}\.? \d{1,2},? \d{4}(?!\d).*"),
)
"""The forms in which dates are written by people and programs."""


class _Seen(NamedTuple):
    """Where something was first seen; rows are counted from 1 below the names of the columns."""

    path: Path
    row: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.path}, row {self.row:,}"


@dataclass(slots=True)
class _Column:
    """The first places of one column. `dates` is None once a stretch of the column held no date."""

    filled: bool = False
    number: _Seen | None = None
    text: _Seen | None = None
    infinite: _Seen | None = None
    dates: dict[int, _Seen] | None = field(default_factory=dict)


class Oddities:
    """Looks at every stretch of every column once, and says at the end what was odd."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}

    def look(self, path: Path, first: int, columns: Mapping[str, Column]) -> int:
        """Look at rows of a file, of which `first` came before; return how many rows these are."""
        for name, column in columns.items():
            seen = self._columns.setdefault(name, _Column())
            if isinstance(column, NumberColumn):
                _numbers(seen, column, path, first)
            elif isinstance(column, TextColumn):
                _texts(seen, column, path, first)
            else:
                seen.filled |= not column.missing.all()
        return max(map(len, columns.values()), default=0)

    def sentences(self) -> Iterator[str]:
        """Yield a sentence for each oddity, with its place and what to do."""
        for name, seen in self._columns.items():
            if not seen.filled:
                yield f"the column '{name}' has no value in any row; leave it out with --skip if no request has it either"
            if seen.number is not None and seen.text is not None:
                yield (
                    f"{seen.text}, column '{name}': the text {seen.text.text!r} stands in a column that holds numbers "
                    f"elsewhere ({seen.number}); leave such cells empty, or write all as texts"
                )
            if seen.infinite is not None:
                yield f"{seen.infinite}, column '{name}': an infinite number counts as missing; leave the cell empty"
            if seen.dates is not None and len(seen.dates) > 1:
                shown = ", ".join(f"{place.text!r} ({place})" for place in seen.dates.values())
                yield f"the column '{name}' holds dates in {len(seen.dates)} forms: {shown}; write them in one"


def _numbers(seen: _Column, column: NumberColumn, path: Path, first: int) -> None:
    if seen.infinite is None:
        infinite = np.isinf(column.values)
        if infinite.any():
            seen.infinite = _Seen(path, first + int(infinite.argmax()) + 1)
    if seen.number is None:
        finite = np.isfinite(column.values)
        if finite.any():
            seen.number = _Seen(path, first + int(finite.argmax()) + 1)
            seen.filled = True


def _texts(seen: _Column, column: TextColumn, path: Path, first: int) -> None:
    present = column.codes >= 0
    if not present.any():
        return
    seen.filled = True
    if seen.dates is not None:
        _dates(seen, column, path, first)
    if column.literal or (seen.number is not None and seen.text is not None):
        return
    sample = TextColumn(column.codes[:0], column.values[:SAMPLE]).numbers()
    # A column of names of which some are digits is no oddity: only one that is mostly numbers is looked through.
    mostly = np.count_nonzero(np.isfinite(sample)) > len(sample) / 2
    numeric = np.isfinite(column.numbers()) if mostly else np.zeros(len(column.values), dtype=np.bool_)
    if seen.number is None and mostly:
        seen.number = _first(column, numeric, path, first)
    if seen.text is None:
        seen.text = _first(column, ~numeric, path, first)


def _first(column: TextColumn, wanted: NDArray[np.bool_], path: Path, first: int) -> _Seen | None:
    """Return the first row whose value is a wanted one."""
    hits = (column.codes >= 0) & wanted[column.codes]
    if not hits.any():
        return None
    row = int(hits.argmax())
    return _Seen(path, first + row + 1, column.values[int(column.codes[row])][:MAX_SHOWN])


def _dates(seen: _Column, column: TextColumn, path: Path, first: int) -> None:
    known = seen.dates or {}
    found = dict(known)
    for code, text in enumerate(column.values[:SAMPLE]):
        form = next((number for number, one in enumerate(_FORMS) if one.fullmatch(text.strip())), None)
        if form is not None and form not in found:
            wanted = np.zeros(len(column.values), dtype=np.bool_)
            wanted[code] = True
            place = _first(column, wanted, path, first)
            if place is not None:
                found[form] = place
    seen.dates = found or None
