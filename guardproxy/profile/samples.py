"""The sampled rows of a state, field by field, as a profile's facts need them.

Decides what a field's sample is measured in: a number itself, a text's length, an array's norm, the lag of a moment. Which rows
are sampled is left to `reservoir`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from guardproxy.profile.columns import ArrayColumn, Column, NumberColumn, number_text, split_numbers
from guardproxy.profile.model import FieldKind, FieldProfile, TimeForm
from guardproxy.profile.reservoir import Labels
from guardproxy.profile.state import LearnerState, unix_seconds_of
from guardproxy.profile.times import UNITS, seconds_of_texts
from guardproxy.table import Cell, Floats

_LABELLED: Final = frozenset({FieldKind.CATEGORY, FieldKind.BOOLEAN})
_GRAINS: Final = (86_400.0, 3_600.0, 60.0)


class Samples:
    """The rows sampled of what is summarised. `times` are their Unix seconds, NaN where unknown, empty without a time column;
    `grain` is by how many seconds the time column may have been rounded down (to days, hours or minutes)."""

    def __init__(self, state: LearnerState) -> None:
        self._rows = state.reservoir.rows()
        self._places = {name: place for place, name in enumerate(state.columns)}
        known = state.settings.time is not None
        self.times = unix_seconds_of(self._rows.at, state.settings.time) if known else np.empty(0)
        self.grain = _grain(self.times)

    def numbers(self, name: str) -> Floats:
        """Return the numbers of a field by row, NaN where a row has none."""
        numbers: Floats = self._rows.numbers[self._places[name]]
        return numbers

    def of(self, field: FieldProfile) -> tuple[Floats, Sequence[Cell]]:
        """Return what is measured of a field by row, NaN where nothing is, and the values of a field without an order."""
        numbers, texts = self.numbers(field.name), self._rows.labels.get(field.name)
        if texts is None:
            texts = np.full(len(numbers), None, dtype=object)
        if field.kind in _LABELLED:
            return numbers, _values(field.kind, numbers, texts)
        if field.kind is FieldKind.TEXT:
            lengths = [np.nan if text is None else len(text) for text in texts.tolist()]
            return np.array(lengths, dtype=np.float64), ()
        if field.kind is FieldKind.TIMESTAMP:
            return self._lags(field, numbers, texts), ()
        return numbers, ()

    def _lags(self, field: FieldProfile, numbers: Floats, texts: Labels) -> Floats:
        if not len(self.times):
            return np.full(len(numbers), np.nan)
        form = next((form for form in field.formats if form in UNITS), None)
        if form is not None:
            return self.times - numbers * UNITS[TimeForm(form)]
        here = np.flatnonzero(texts != None)  # noqa: E711 - by element
        lags = np.full(len(numbers), np.nan)
        lags[here] = self.times[here] - seconds_of_texts(texts[here].tolist())
        return lags


def number_of(column: Column) -> Floats:
    """Return the finite numbers of a column by row, NaN elsewhere."""
    if isinstance(column, ArrayColumn):
        return np.full(len(column), np.nan)
    numbers = column.values if isinstance(column, NumberColumn) else split_numbers(column)[0]
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _values(kind: FieldKind, numbers: Floats, texts: Labels) -> list[Cell]:
    if kind is FieldKind.BOOLEAN:
        return [None if text is None else text.lower() == "true" for text in texts.tolist()]
    return [
        text if text is not None else None if number != number else number_text(number)
        for number, text in zip(numbers.tolist(), texts.tolist(), strict=True)
    ]


def _grain(times: Floats) -> float:
    known = times[np.isfinite(times)]
    return next((grain for grain in _GRAINS if len(known) and not (known % grain).any()), 0.0)
