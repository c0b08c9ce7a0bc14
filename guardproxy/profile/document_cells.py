"""A field's cells in the profile's document, both ways.

Decides how counts are written: numbers behind each other in one text, since a list of a thousand numbers is a thousand values
to read. What the cells mean is left to `cells`.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

from guardproxy.profile.cells import MAX_CELLS, SEASON_CELLS, Cells, Measure
from guardproxy.profile.document_take import Taker
from guardproxy.source import Node, Reader, Scalar
from guardproxy.table import Cell

CELLS_KEYS: Final = ("measure", "low", "high", "edges", "values", "known", "counts", "spread", "season")
MAX_KNOWN: Final = 10_000
_HUGE: Final = 1.7e308
_MOST: Final = 2**53


def cells_lines(cells: Cells, listed: Callable[[tuple[Any, ...]], str]) -> Iterator[str]:
    """Yield the lines of a field's cells, below the field; `listed` writes a list of values."""
    yield "    cells:"
    yield f"      measure: {cells.measure}"
    for key, end in (("low", cells.low), ("high", cells.high)):
        if math.isfinite(end):
            yield f"      {key}: {end!r}"
    if cells.edges:
        yield f'      edges: "{_numbers(cells.edges)}"'
    if cells.values:
        yield f"      values: {listed(cells.values)}"
    if cells.known:
        yield f"      known: {listed(tuple(sorted(cells.known, key=_order)))}"
    if cells.counts:
        yield f'      counts: "{_numbers(cells.counts)}"'
    if cells.spread:
        yield f'      spread: "{_numbers(cells.spread)}"'
    if cells.season:
        yield "      season: |-"
        yield from (f"        {_numbers(counts)}" for counts in cells.season)


def read_cells(
    node: Node, what: str, reader: Reader, cell: Callable[[Node, str], tuple[Cell]]
) -> Cells | None:
    """Read a field's cells; `cell` reads one value of the field. None, with problems, for what can be none."""
    entries = reader.mapping(node, what, CELLS_KEYS, ("counts",))
    before = len(reader.problems)
    found = Taker(reader, what, entries)
    found.take(reader.enum, "measure", kind=Measure)
    found.take(reader.number, "low", "high", low=-_HUGE, high=_HUGE)
    read = _Read(reader, cell)
    found.take(read.floats, "edges")
    found.take(read.values, "values", most=MAX_CELLS)
    found.take(read.known, "known")
    found.take(read.counts, "counts")
    found.take(read.floats, "spread")
    found.take(read.season, "season")
    if len(reader.problems) > before or "counts" not in found.values:
        return None
    cells = Cells(**found.values)
    wrong = _wrong(cells)
    if wrong:
        reader.report("E208", f"{what}: {wrong}", node.place)
        return None
    return cells


class _Read:
    """Reads the lists of a field's cells."""

    def __init__(self, reader: Reader, cell: Callable[[Node, str], tuple[Cell]]) -> None:
        self._reader, self._cell = reader, cell

    def floats(self, node: Node, what: str) -> tuple[float, ...] | None:
        """Read numbers behind each other."""
        words = self._words(node, what)
        try:
            numbers = tuple(float(word) for word in words)
        except ValueError:
            numbers = (math.nan,)
        if not all(math.isfinite(number) for number in numbers):
            self._reader.report("E206", f"{what} must be finite numbers with spaces between them", node.place)
            return None
        return numbers

    def counts(self, node: Node, what: str) -> tuple[int, ...] | None:
        """Read counts behind each other."""
        return self._counts(self._words(node, what), node, what)

    def season(self, node: Node, what: str) -> tuple[tuple[int, ...], ...] | None:
        """Read the counts of every season cell, a line each."""
        lines = node.value.splitlines() if isinstance(node, Scalar) and isinstance(node.value, str) else []
        if len(lines) != SEASON_CELLS:
            self._reader.report("E208", f"{what} must have {SEASON_CELLS} lines of counts", node.place)
            return None
        found = [self._counts(line.split(), node, what) for line in lines]
        return None if None in found else tuple(counts for counts in found if counts is not None)

    def values(self, node: Node, what: str, most: int) -> tuple[Cell, ...] | None:
        """Read different values."""
        items = self._reader.items(node, what)
        values = tuple(self._cell(item, what)[0] for item in items)
        if not 0 < len(values) <= most or len(set(values)) < len(values):
            self._reader.report("E208", f"{what} must have 1 to {most:,} different values", node.place)
            return None
        return values

    def known(self, node: Node, what: str) -> frozenset[Cell] | None:
        """Read the values that are known beside those with a cell of their own."""
        values = self.values(node, what, MAX_KNOWN)
        return None if values is None else frozenset(values)

    def _words(self, node: Node, what: str) -> list[str]:
        if isinstance(node, Scalar) and isinstance(node.value, (str, int, float)):
            return str(node.value).split()
        self._reader.report("E206", f"{what} must be numbers with spaces between them", node.place)
        return []

    def _counts(self, words: list[str], node: Node, what: str) -> tuple[int, ...] | None:
        if len(words) > MAX_CELLS or not all(
            word.isascii() and word.isdigit() and len(word) < 17 for word in words
        ):
            message = f"{what} must be at most {MAX_CELLS} whole numbers with spaces between them"
            self._reader.report("E206", message, node.place)
            return None
        counts = tuple(int(word) for word in words)
        if any(count > _MOST for count in counts):
            self._reader.report("E208", f"{what} must be below 2^53", node.place)
            return None
        return counts


def _wrong(cells: Cells) -> str:
    """Say what of some cells does not fit together; nothing when all of it does."""
    if cells.values and cells.edges:
        return "there are either 'edges' or 'values'"
    if cells.size > MAX_CELLS or len(cells.counts) != cells.size:
        return f"'counts' must have {cells.size} numbers, at most {MAX_CELLS}, got {len(cells.counts)}"
    if any(left >= right for left, right in pairwise(cells.edges)) or cells.low > cells.high:
        return "'edges' must rise, and 'low' must not be above 'high'"
    if cells.spread and (len(cells.spread) != cells.size or min(cells.spread) < 0.0):
        return f"'spread' must have {cells.size} numbers that are not negative"
    if any(len(counts) != cells.size for counts in cells.season):
        return f"every line of 'season' must have {cells.size} counts"
    return ""


def _numbers(values: tuple[Any, ...]) -> str:
    return " ".join(repr(value) for value in values)


def _order(value: Cell) -> tuple[str, str]:
    return type(value).__name__, repr(value)
