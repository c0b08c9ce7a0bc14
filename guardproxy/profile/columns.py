"""Batches of reference data as columns.

Decides what a column may hold and how columns are cut and joined. How a column is summarised is left to `summary`, reading files to
`stores.dataset`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.numbers import Places
from guardproxy.table import Cell, Floats, Mask

_NUMBER: Final = re.compile(
    r"\s*[-+]?(?:\d{1,300}\.?\d{0,300}|\.\d{1,300})(?:[eE][-+]?\d{1,4})?\s*", re.ASCII
)


@dataclass(frozen=True, slots=True, eq=False)
class NumberColumn:
    """A stretch of a column of numbers; NaN where missing. `nulls` marks the rows that are null, where the data tell them from NaN."""

    values: Floats
    nulls: Mask | None = None

    def __len__(self) -> int:
        return len(self.values)

    def slice(self, start: int, stop: int) -> "NumberColumn":
        """Return the rows [start, stop)."""
        return NumberColumn(self.values[start:stop], None if self.nulls is None else self.nulls[start:stop])

    def take(self, rows: Places) -> "NumberColumn":
        """Return these rows, in this order."""
        return NumberColumn(self.values[rows], None if self.nulls is None else self.nulls[rows])


@dataclass(frozen=True, slots=True, eq=False)
class TextColumn:
    """A stretch of a column of texts: `values[codes[row]]`, code -1 where missing.

    `literal` says that the column is text by its type; otherwise a text that reads as a number counts as one.
    """

    codes: NDArray[np.int32]
    values: tuple[str, ...]
    literal: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    def slice(self, start: int, stop: int) -> "TextColumn":
        """Return the rows [start, stop)."""
        return TextColumn(self.codes[start:stop], self.values, self.literal)

    def take(self, rows: Places) -> "TextColumn":
        """Return these rows, in this order."""
        return TextColumn(self.codes[rows], self.values, self.literal)

    def numbers(self) -> Floats:
        """Return the number that each of `values` reads as, NaN where it reads as none."""
        if self.literal:
            return np.full(len(self.values), np.nan)
        return np.array([number_of_text(text) for text in self.values], dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class ArrayColumn:
    """A stretch of a column of arrays: row i holds `members[ends[i] : ends[i + 1]]`, NaN where a member is missing.

    `missing` marks the rows without an array.
    """

    members: Floats
    ends: Places
    missing: Mask

    def __len__(self) -> int:
        return len(self.missing)

    def slice(self, start: int, stop: int) -> "ArrayColumn":
        """Return the rows [start, stop)."""
        return ArrayColumn(self.members, self.ends[start : stop + 1], self.missing[start:stop])

    def take(self, rows: Places) -> "ArrayColumn":
        """Return these rows, in this order."""
        lengths = np.diff(self.ends)[rows]
        ends = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths)))
        places = np.repeat(self.ends[:-1][rows] - ends[:-1], lengths) + np.arange(ends[-1])
        return ArrayColumn(self.members[places], ends, self.missing[rows])


Column: TypeAlias = NumberColumn | TextColumn | ArrayColumn
Batch: TypeAlias = Mapping[str, Column]


def split_numbers(column: TextColumn) -> tuple[Floats, NDArray[np.int32]]:
    """Split a text column by cell: numbers (NaN elsewhere), and the codes of texts (-1 elsewhere)."""
    if not column.values:
        return np.full(len(column.codes), np.nan), column.codes
    numbers = column.numbers()
    block = np.where(column.codes >= 0, numbers[column.codes], np.nan)
    return block, np.where(np.isnan(block), column.codes, -1).astype(np.int32)


def cells_of(column: Column) -> tuple[Cell, ...]:
    """Return a column's cells as a table would hold them."""
    if isinstance(column, NumberColumn):
        return tuple(None if value != value else value for value in column.values.tolist())
    if isinstance(column, ArrayColumn):
        return _arrays_of(column)
    numbers = column.numbers().tolist()
    read: list[Any] = [
        text if number != number else number for text, number in zip(column.values, numbers, strict=True)
    ]
    return tuple(None if code < 0 else read[code] for code in column.codes.tolist())


def joined(columns: Sequence[Column]) -> Column:
    """Return columns one behind the other. Numbers among texts become texts that read as the same numbers."""
    if all(isinstance(column, NumberColumn) for column in columns):
        numbers = [column for column in columns if isinstance(column, NumberColumn)]
        nulls = [np.isnan(column.values) if column.nulls is None else column.nulls for column in numbers]
        told = any(column.nulls is not None for column in numbers)
        return NumberColumn(
            np.concatenate([column.values for column in numbers]), np.concatenate(nulls) if told else None
        )
    if any(isinstance(column, ArrayColumn) for column in columns):
        arrays = [_as_arrays(column) for column in columns]
        lengths = np.concatenate([np.diff(column.ends) for column in arrays])
        members = [column.members[column.ends[0] : column.ends[-1]] for column in arrays]
        return ArrayColumn(
            np.concatenate(members),
            np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths))),
            np.concatenate([column.missing for column in arrays]),
        )
    places: dict[str, int] = {}
    codes = []
    for texts in map(_as_texts, columns):
        moved = [places.setdefault(text, len(places)) for text in texts.values]
        codes.append(np.array([*moved, -1], dtype=np.int32)[texts.codes])
    literal = all(isinstance(column, TextColumn) and column.literal for column in columns)
    return TextColumn(np.concatenate(codes), tuple(places), literal)


def _as_texts(column: Column) -> TextColumn:
    if isinstance(column, TextColumn):
        return column
    if isinstance(column, ArrayColumn):
        return TextColumn(np.full(len(column), -1, dtype=np.int32), ())
    found, codes = np.unique(column.values, return_inverse=True)
    finite = np.isfinite(found)
    texts = tuple(repr(value) for value in found[finite].tolist())
    places = np.where(finite, np.cumsum(finite) - 1, -1).astype(np.int32)
    return TextColumn(places[codes], texts)


def _as_arrays(column: Column) -> ArrayColumn:
    if isinstance(column, ArrayColumn):
        return column
    rows = len(column)
    return ArrayColumn(np.empty(0), np.zeros(rows + 1, dtype=np.int64), np.ones(rows, dtype=np.bool_))


def number_text(value: float) -> str:
    """Write a number as a file most likely had it, whole numbers without a point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _arrays_of(column: ArrayColumn) -> tuple[Cell, ...]:
    members = [None if value != value else value for value in column.members.tolist()]
    ends = column.ends.tolist()
    return tuple(
        None if missing else tuple(members[start:end])
        for start, end, missing in zip(ends, ends[1:], column.missing.tolist(), strict=False)
    )


def number_of_text(text: str) -> float:
    """Return the number that a text reads as, NaN where it reads as none."""
    return float(text) if _NUMBER.fullmatch(text) else math.nan
