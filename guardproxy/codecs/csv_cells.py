"""The cells of CSV: what a column of texts means, and which text a new cell has.

Decides the type of a column by all of its cells (see `csv_lines`), what is a number, missing, yes or no, and how a new cell
is spelled: as its column, or else the answer, spells such things already. Where cells stand is left to `csv_lines`.
"""

import re
from collections.abc import Sequence
from itertools import chain
from math import inf
from typing import Any, Final

import numpy as np
import orjson

from guardproxy.codecs.cells import ANY_STYLE, INFINITIES, Kind, new_text
from guardproxy.codecs.json_text import is_exact_block
from guardproxy.errors import DecodeError, PatchError
from guardproxy.table import EXACT_INTEGERS

MISSING: Final = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
"""How a missing cell may be spelled: the words that pandas takes for it."""

YES_NO: Final = {"true": True, "false": False}
"""How yes and no are spelled, in small letters; pandas takes them in any."""

MAX_DIGITS: Final = 400
"""More characters than any number of a float64's range needs to be written in full."""

BLANK: Final = " \t"
"""What may stand around a word."""

_SPACE: Final = " \t\n\v\f\r"
"""What may stand around a number: what pandas skips there."""

PLAIN_BYTES: Final = b"0123456789+-.eENnaul"
"""What plain numbers and the words for missing ones consist of, where a JSON reader can take them."""

_NUMBER: Final = re.compile(r"[+-]?+(?:[0-9]++(\.[0-9]*+)?+|(\.[0-9]++))([eE][+-]?+[0-9]++)?+")
_INFINITY: Final = re.compile(r"([+-]?)(inf|infinity)", re.IGNORECASE)
_UNSAFE: Final = frozenset("\r\n\0")
_PLAIN_CELLS: Final = PLAIN_BYTES + b","
_COMMA: Final = ord(",")


def column_values(raw: Sequence[str], text: bool) -> Sequence[Any]:
    """Return the values of a column: all numbers, all yes and no, or all text, None where one is missing."""
    joined = ",".join(raw)
    values: Sequence[Any] | None = None if text else _plain_values(joined)
    if values is not None and len(values) == len(raw):
        return values
    cells = [unquoted(cell) for cell in raw] if '"' in joined else raw
    if not text:
        values = _number_values(cells)
        if values is None:
            values = _yes_no_values(cells)
        if values is not None:
            return values
    return [None if cell in MISSING else cell for cell in cells]


def _plain_values(joined: str) -> list[Any] | None:
    """Read a column of plain numbers and gaps at once, as JSON; None where each cell has to be looked at."""
    data = joined.encode("utf-8")
    if not data or data.translate(None, _PLAIN_CELLS):
        return None
    try:
        values: list[Any] = orjson.loads(b"[" + without_gaps(data) + b"]")
        return values if is_exact_block(np.array(values, dtype=np.float64)) else None
    except ValueError:
        return None


def _number_values(cells: Sequence[str]) -> list[Any] | None:
    """Read a column cell by cell; None unless each is a number or missing. Raises DecodeError for one beyond a float64."""
    values: list[Any] = []
    beyond = False
    for cell in cells:
        core = cell.strip(BLANK)
        if core in MISSING:
            values.append(None)
            continue
        core = cell.strip(_SPACE)
        match = _NUMBER.fullmatch(core)
        value = _word(core) if match is None else _number(core, whole=match.lastindex is None)
        if value is None:
            return None
        beyond = beyond or (match is not None and value in INFINITIES)
        values.append(None if value != value else value)
    if beyond:
        raise DecodeError("a number is beyond the range of a float64")
    return values


def _number(core: str, *, whole: bool) -> float:
    """Return a number, whole ones exactly; an infinity when it is beyond a float64."""
    value = float(core)
    if not whole or value in INFINITIES:
        return value
    # Zeros before it may be any number; the interpreter takes no more than some thousand digits.
    return int(value) if abs(value) < EXACT_INTEGERS else int(core) if len(core) <= MAX_DIGITS else inf


def _word(core: str) -> float | None:
    """Return NaN or an infinity; None for any other word."""
    if _INFINITY.fullmatch(core) is not None or core.lower().lstrip("+-") == "nan":
        return float(core) if core.count("+") + core.count("-") <= 1 else None
    return None


def _yes_no_values(cells: Sequence[str]) -> list[Any] | None:
    values: list[Any] = []
    for cell in cells:
        core = cell.strip(BLANK)
        said = YES_NO.get(core.lower())
        if said is None and core not in MISSING:
            return None
        values.append(said)
    return values


def without_gaps(cells: bytes) -> bytes:
    """Return cells of plain numbers with null in place of every missing one."""
    if b",," in cells:
        cells = cells.replace(b",,", b",null,").replace(b",,", b",null,")
    if cells[0] == _COMMA:
        cells = b"null" + cells
    if cells[-1] == _COMMA:
        cells += b"null"
    if b"N" in cells:
        cells = cells.replace(b"NaN", b"null")
    # Whatever else has these letters in it is no JSON.
    return cells.replace(b"nan", b"null") if b"nan" in cells else cells


def unquoted(raw: str) -> str:
    """Return what a cell says, without its quotes."""
    return raw[1:-1].replace('""', '"') if raw.startswith('"') else raw


class CsvColumn:
    """A field of an answer as it stands in the text: what it takes and how it is spelled."""

    __slots__ = ("_answer", "_cells", "kind")

    def __init__(self, kind: Kind, cells: Sequence[str], answer: Sequence[Sequence[str]]) -> None:
        """Take the field's cells and those of all lines of the answer, as they stand."""
        self.kind = kind
        self._cells = cells
        self._answer = answer

    def text(self, new: Any, old: Any, raw: str) -> str | None:
        """Return the text that puts the scalar `new` in place of the cell `raw`, which says `old`; None when that is as
        good. Raises PatchError when the field cannot take it."""
        if isinstance(new, np.generic):
            new = new.item()
        text = new_text(new, old, self.kind, ANY_STYLE)
        if text is None:
            return None
        if new is None or new != new:
            return self._missing()
        if type(new) is str:
            return _text_cell(new, raw)
        if type(new) is bool:
            text = self._word(new)
        elif new in INFINITIES:
            text = self._infinity() if new > 0 else f"-{self._infinity()}"
        if raw.startswith('"'):
            return f'"{text}"'
        core = raw.strip(BLANK)
        return raw.replace(core, text) if core else text

    def _missing(self) -> str:
        """Return how the field spells a missing cell, else how the answer does, else how numpy and pandas would."""
        for cell in chain(self._cells, chain.from_iterable(self._answer)):
            if unquoted(cell).strip(BLANK) in MISSING:
                return cell.strip(BLANK)
        # An empty line would be no row.
        alone = len(self._answer[0]) == 1
        if self.kind.nan or (self.kind.whole and alone):
            return "nan"
        return '""' if alone else ""

    def _infinity(self) -> str:
        """Return how the field spells infinity, without its sign."""
        for cell in self._cells:
            match = _INFINITY.fullmatch(unquoted(cell).strip(BLANK))
            if match is not None:
                return match[2]
        return "inf"

    def _word(self, new: bool) -> str:
        """Return how the field spells yes or no: as its first one does."""
        word = str(new).lower()
        for cell in self._cells:
            spelled = unquoted(cell).strip(BLANK)
            if spelled.lower() in YES_NO:
                return word.upper() if spelled.isupper() else word.title() if spelled.istitle() else word
        return word


def _text_cell(new: str, raw: str) -> str:
    """Return the text of a cell of text in place of the cell `raw`. Raises PatchError for one that would not be read as such."""
    if not _UNSAFE.isdisjoint(new):
        raise PatchError("a line break or a NUL does not fit into a line")
    if new in MISSING:
        raise PatchError("a reader of CSV would take the text for a missing value")
    if raw.startswith('"') or '"' in new or "," in new or new != new.strip():
        doubled = new.replace('"', '""')
        return f'"{doubled}"'
    return new
