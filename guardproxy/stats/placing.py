"""Which place of a model's counts each value of a table counts in.

Decides it for whole tables of one shape at a time. What the cells are is left to `profile.cells`, where they stand to `layout`.
"""

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.cells import (
    ABOVE,
    BELOW,
    MISSING,
    OTHER,
    SPECIAL_CELLS,
    TYPE,
    UNSEEN,
    Cells,
    Measure,
)
from guardproxy.profile.columns import number_text
from guardproxy.profile.measures import measured
from guardproxy.stats.layout import Span
from guardproxy.table import Cell, Floats, Table

Places: TypeAlias = NDArray[np.int64]

_LONG: Final = 1e300
_INFINITE: Final = (math.inf, -math.inf)
"""No number to the learner, which counts them as missing."""


class Placing:
    """Places the cells of tables with the same fields; a field of `spans` that they lack is missing in every row.

    `names` are the spans' fields as the tables call them.
    """

    def __init__(self, spans: Sequence[Span], names: Sequence[str], fields: tuple[str, ...]) -> None:
        """Find the fields once: number fields are placed together, by comparing them with one edge each at a time."""
        positions = {name: place for place, name in enumerate(fields)}
        self._size = len(spans)
        self._absent: list[tuple[int, int]] = []
        self._values: list[tuple[int, str, int, _Values]] = []
        self._measured: list[tuple[int, str, Span]] = []
        numbers: list[tuple[int, str, int, Span]] = []
        for line, (span, name) in enumerate(zip(spans, names, strict=True)):
            position = positions.get(name)
            if position is None:
                self._absent.append((line, span.start + _special(span.cells, MISSING)))
            elif span.cells.values:
                self._values.append((line, name, span.start, _Values(span.cells)))
            elif span.cells.measure is Measure.VALUE:
                numbers.append((line, name, position, span))
            else:
                self._measured.append((line, name, span))
        self._numbers = _Numbers(numbers)

    def of(self, table: Table, times: Floats) -> Places:
        """Return the place of each field and row, shape (spans, rows). `times` says when each row happened."""
        places = np.empty((self._size, table.rows), dtype=np.int64)
        for line, place in self._absent:
            places[line] = place
        self._numbers.into(places, table)
        for line, name, start, values in self._values:
            places[line] = values.codes(table.column(name), plain=name not in table.exact)
            places[line] += start
        for line, name, span in self._measured:
            found, wrong = measured(table.column(name), span.cells.measure, times)
            places[line] = span.cells.of_numbers(found)
            places[line, wrong] = _special(span.cells, TYPE)
            places[line] += span.start
        return places


class _Values:
    """The codes of a field without an order, as `Cells.of_values` gives them, but for what is no value of such a field.

    Where the reference has texts a number is read as a text, as a file has it, and where it has yes and no 1 and 0 are these;
    everywhere else only the same kind counts.
    """

    def __init__(self, cells: Cells) -> None:
        other = len(cells.values)
        self._codes: dict[Cell, int] = dict.fromkeys(cells.known, other + OTHER)
        self._codes |= {value: place for place, value in enumerate(cells.values)}
        self._codes[None] = other + MISSING
        self._unseen, self._type = other + UNSEEN, other + TYPE
        kind = type(cells.values[0])
        self._sure = {True: True, False: kind in {str, bool}}
        self._of = {str: self._text, bool: self._flag}.get(kind, self._number)

    def codes(self, cells: Sequence[Cell], *, plain: bool) -> list[int]:
        """Return the code of each cell; `plain` says that there is nothing but numbers and missing ones."""
        # True is 1 to Python, which is wanted of a yes or no alone.
        if not self._sure[plain]:
            return [self._of(cell) for cell in cells]
        get = self._codes.get
        found = [get(cell, -1) for cell in cells]
        if -1 not in found:
            return found
        return [self._of(cell) if code < 0 else code for code, cell in zip(found, cells, strict=True)]

    def _text(self, cell: Cell) -> int:
        if type(cell) is str:
            return self._codes.get(cell, self._unseen)
        if cell is None:
            return self._codes[None]
        if isinstance(cell, (bool, str, tuple)):
            return self._type
        return self._unseen if abs(cell) >= _LONG else self._codes.get(number_text(float(cell)), self._unseen)

    def _flag(self, cell: Cell) -> int:
        # Tensors and data frames carry yes and no as 1 and 0.
        return self._codes.get(cell, self._type)

    def _number(self, cell: Cell) -> int:
        if isinstance(cell, (bool, str, tuple)):
            return self._type
        return self._codes[None] if cell in _INFINITE else self._codes.get(cell, self._unseen)


class _Numbers:
    """The number fields of a table as one comparison; gives what `Cells.of_numbers` does for each."""

    def __init__(self, fields: Sequence[tuple[int, str, int, Span]]) -> None:
        self._lines = np.array([line for line, *_ in fields], dtype=np.int64)
        self._positions = np.array([position for _, _, position, _ in fields], dtype=np.int64)
        self._names = [(row, name, span) for row, (_, name, _, span) in enumerate(fields)]
        cells = [span.cells for *_, span in fields]
        self._edges = np.full((max((len(one.edges) for one in cells), default=0), len(cells), 1), np.nan)
        for row, one in enumerate(cells):
            # Nothing is at or above NaN: a field with fewer edges than others has no more cells by it.
            self._edges[: len(one.edges), row, 0] = one.edges
        self._low = np.array([one.low for one in cells]).reshape(-1, 1)
        self._high = np.array([one.high for one in cells]).reshape(-1, 1)
        self._first = np.array([len(one.edges) + 1 for one in cells], dtype=np.uint8).reshape(-1, 1)
        self._starts = np.array([span.start for *_, span in fields], dtype=np.int64).reshape(-1, 1)

    def into(self, places: Places, table: Table) -> None:
        if not len(self._lines):
            return
        numbers = table.block[self._positions]
        codes = np.zeros(numbers.shape, dtype=np.uint8)
        for edge in self._edges:
            codes += numbers >= edge
        np.copyto(codes, self._first + BELOW, where=numbers < self._low)
        np.copyto(codes, self._first + ABOVE, where=numbers > self._high)
        np.copyto(codes, self._first + MISSING, where=~np.isfinite(numbers))
        self._mend(codes, numbers, table)
        places[self._lines] = codes + self._starts

    def _mend(self, codes: NDArray[np.uint8], numbers: Floats, table: Table) -> None:
        """Place the cells that a float cannot say: a whole number beyond it is a number, a text is no value of such a field."""
        if not table.exact:
            return
        for row, name, span in self._names:
            cells = table.exact.get(name)
            if cells is None:
                continue
            for column in np.flatnonzero(np.isnan(numbers[row])).tolist():
                found, wrong = measured((cells[column],), Measure.VALUE, np.zeros(1))
                codes[row, column] = (
                    _special(span.cells, TYPE) if wrong[0] else int(span.cells.of_numbers(found)[0])
                )


def _special(cells: Cells, which: int) -> int:
    return cells.size - SPECIAL_CELLS + which
