"""The additive summary of a column.

Decides what of a column counts as missing, and which numbers are set apart as signs for a missing value. How numbers and texts are
summarised is left to `numbers` and `texts`, the choice of bounds to `fit`.
"""

import copy
import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import numpy as np

from guardproxy.profile.columns import ArrayColumn, Column, NumberColumn, number_of_text, split_numbers
from guardproxy.profile.model import MissingKind, TimeForm
from guardproxy.profile.numbers import NumberSummary
from guardproxy.profile.packing import Node, Packed
from guardproxy.profile.texts import ArraySummary, TextSummary
from guardproxy.profile.times import UNITS, epoch_form
from guardproxy.table import Floats, Mask

SENTINELS: Final = frozenset(
    {sign * value for value in (99.0, 999.0, 9999.0, 99999.0, 999999.0, 9999999.0) for sign in (1, -1)}
    | {-1.0, -9.0, 65535.0, -32768.0, 2147483647.0, -2147483648.0}
)
"""Numbers that people write for a missing value. Only one that is the least or the greatest of a batch is set apart."""


class Seen(NamedTuple):
    """What a stretch of a column says by row: its number (of an array the norm), NaN elsewhere; which cells are missing."""

    numbers: Floats
    missing: Mask | None
    """None when no cell is missing."""


@dataclass(slots=True)
class FieldSummary:
    """What is kept of one field: its rows, what was missing, its numbers, its texts, its arrays.

    `numbers` holds all numbers. Where some look like signs for a missing value, `usual` holds the others, and `apart`
    each of these by value. `lags` holds by how many seconds moments lie before their row's time. `epoch` is the form in
    which all numbers may be moments, None where one cannot be.
    """

    rows: int = 0
    missing: int = 0
    literal: bool = False
    kinds: dict[MissingKind, int] = field(default_factory=dict)
    numbers: NumberSummary = field(default_factory=NumberSummary)
    usual: NumberSummary | None = None
    apart: dict[float, NumberSummary] = field(default_factory=dict)
    texts: TextSummary = field(default_factory=TextSummary)
    arrays: ArraySummary = field(default_factory=ArraySummary)
    lags: NumberSummary = field(default_factory=NumberSummary)
    epoch: TimeForm | None = None

    def update(self, column: Column, times: Floats | None = None) -> Seen:
        """Add a stretch of the column. `times` are the Unix seconds of its rows, where there is a time column."""
        self.rows += len(column)
        if isinstance(column, ArrayColumn):
            return self._add_arrays(column)
        if isinstance(column, NumberColumn):
            return self._add_numbers(column.values, column.nulls, None, times)
        block, codes = split_numbers(column)
        self.literal |= column.literal
        seconds = self.texts.update(codes, column.values)
        if times is not None and self.texts.shape.forms:
            self._add_lags(times[codes >= 0] - seconds[codes[codes >= 0]])
        return self._add_numbers(block, None, codes < 0, times)

    def absorb(self, later: "FieldSummary") -> None:
        """Add the summary of the rows that come behind these."""
        if later.usual is not None or self.usual is not None:
            if self.usual is None:
                self.usual = copy.deepcopy(self.numbers)
            self.usual.absorb(later.numbers if later.usual is None else later.usual)
            for value, numbers in later.apart.items():
                self.apart.setdefault(value, NumberSummary()).absorb(numbers)
        if not self.numbers.count:
            self.epoch = later.epoch
        elif later.numbers.count and self.epoch is not later.epoch:
            self.epoch = None
        self.rows += later.rows
        self.missing += later.missing
        self.literal |= later.literal
        for kind, count in later.kinds.items():
            self._miss(kind, count)
        self.numbers.absorb(later.numbers)
        self.texts.absorb(later.texts)
        self.arrays.absorb(later.arrays)
        self.lags.absorb(later.lags)

    def pack(self) -> Packed:
        """Return what a part keeps of this."""
        return {
            "rows": self.rows,
            "missing": self.missing,
            "literal": self.literal,
            "kinds": {kind.value: count for kind, count in self.kinds.items()},
            "numbers": self.numbers.pack(),
            "usual": None if self.usual is None else self.usual.pack(),
            "apart": {repr(value): numbers.pack() for value, numbers in self.apart.items()},
            "texts": self.texts.pack() if self.texts.count else None,
            "arrays": self.arrays.pack() if self.arrays.count else None,
            "lags": self.lags.pack() if self.lags.count else None,
            "epoch": None if self.epoch is None else self.epoch.value,
        }

    @classmethod
    def unpack(cls, node: Node) -> Self:
        """Read what `pack` wrote."""
        summary = cls(node.integer("rows"), node.integer("missing"), node.flag("literal"))
        kinds = node.node("kinds")
        for kind in kinds.keys():  # noqa: SIM118
            if kind not in set(MissingKind):
                raise node.damaged("a kind of missing cells that there is not")
            summary.kinds[MissingKind(kind)] = kinds.integer(kind)
        summary.numbers = NumberSummary.unpack(node.node("numbers"))
        if (usual := node.maybe("usual")) is not None:
            summary.usual = NumberSummary.unpack(usual)
        for text, numbers in node.nodes("apart"):
            if number_of_text(text) not in SENTINELS:
                raise node.damaged("a number set apart that never is")
            summary.apart[float(text)] = NumberSummary.unpack(numbers)
        if (texts := node.maybe("texts")) is not None:
            summary.texts = TextSummary.unpack(texts)
        if (arrays := node.maybe("arrays")) is not None:
            summary.arrays = ArraySummary.unpack(arrays)
        if (lags := node.maybe("lags")) is not None:
            summary.lags = NumberSummary.unpack(lags)
        epoch = node.text_or_none("epoch")
        summary.epoch = next((form for form in UNITS if form.value == epoch), None)
        return summary

    def _add_numbers(
        self, block: Floats, nulls: Mask | None, textless: Mask | None, times: Floats | None
    ) -> Seen:
        """Add numbers by row; `textless` marks the rows without a text, None where no row has one."""
        with np.errstate(over="ignore", invalid="ignore"):
            whole = textless is None and len(block) > 0 and math.isfinite(block.sum())
        if whole:
            self._add_finite(block)
            self._add_epoch(block, times)
            return Seen(block, None)
        finite = np.isfinite(block)
        missing = ~finite if textless is None else ~finite & textless
        self.missing += (lacking := int(np.count_nonzero(missing)))
        if lacking:
            infinite = int(np.count_nonzero(np.isinf(block)))
            not_numbers = 0 if nulls is None else lacking - infinite - int(np.count_nonzero(nulls))
            self._miss(MissingKind.INFINITE, infinite)
            self._miss(MissingKind.NAN, not_numbers)
            self._miss(MissingKind.NULL, lacking - infinite - not_numbers)
        numbers = block[finite]
        self._add_finite(numbers)
        self._add_epoch(numbers, None if times is None else times[finite])
        return Seen(np.where(finite, block, np.nan), missing if lacking else None)

    def _add_finite(self, values: Floats) -> None:
        if not len(values):
            return
        apart: list[tuple[float, Floats]] = []
        usual = values
        while len(usual):
            end = next((end for end in (float(usual.min()), float(usual.max())) if end in SENTINELS), None)
            if end is None:
                break
            apart.append((end, usual[usual == end]))
            usual = usual[usual != end]
        if apart and self.usual is None:
            self.usual = copy.deepcopy(self.numbers)
        if self.usual is not None:
            self.usual.update(usual)
            for value, cells in apart:
                self.apart.setdefault(value, NumberSummary()).update(cells)
        self.numbers.update(values)

    def _add_epoch(self, values: Floats, times: Floats | None) -> None:
        """Keep the lags of numbers while all of them may be moments; nothing else is known of them before."""
        if times is None or not len(values):
            return
        form = epoch_form(float(values.min()), float(values.max()))
        first = self.numbers.count == len(values)
        self.epoch = form if first or form is self.epoch else None
        if self.epoch is not None:
            self._add_lags(times - values * UNITS[self.epoch])

    def _add_lags(self, lags: Floats) -> None:
        self.lags.update(lags[np.isfinite(lags)])

    def _add_arrays(self, column: ArrayColumn) -> Seen:
        lengths, here = np.diff(column.ends), ~column.missing
        lacking = len(here) - int(np.count_nonzero(here))
        self.missing += lacking
        self._miss(MissingKind.NULL, lacking)
        numbers = np.full(len(here), np.nan)
        members = column.members[column.ends[0] : column.ends[-1]]
        if lacking and lengths[column.missing].any():
            members = members[np.repeat(here, lengths)]
        numbers[here] = self.arrays.update(members, lengths[here])
        return Seen(numbers, column.missing if lacking else None)

    def _miss(self, kind: MissingKind, count: int) -> None:
        if count:
            self.kinds[kind] = self.kinds.get(kind, 0) + count
