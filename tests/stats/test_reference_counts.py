"""Live traffic that is the reference data counts as the reference data did, whatever the field is."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
import pytest

from guardproxy.profile.columns import Batch, Column, NumberColumn
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import FieldKind, Profile, Provenance
from guardproxy.stats.counting import Counting
from guardproxy.stats.layout import Layout
from guardproxy.table import Cell
from tests.profile.build import text_column
from tests.stats.counted import sample

ROWS: Final = 2_000
_GENERATOR: Final = np.random.default_rng(7)
_AT: Final = 1_700_000_000.0 + 60.0 * np.arange(ROWS)


def _now_and_then(cells: Sequence[Cell], other: Cell, every: int) -> list[Cell]:
    return [other if row % every == 0 else cell for row, cell in enumerate(cells)]


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


_NUMBERS: Final[list[Cell]] = _GENERATOR.normal(size=ROWS).tolist()
_WORDS: Final[list[Cell]] = [f"w{min(value, 20)}" for value in _GENERATOR.zipf(1.6, ROWS).tolist()]
COLUMNS: Final[Mapping[str, tuple[FieldKind, list[Cell]]]] = {
    "number": (FieldKind.NUMBER, _now_and_then(_NUMBERS, None, 9)),
    "heaped": (FieldKind.NUMBER, _now_and_then(_NUMBERS, 0.0, 3)),
    "infinite": (FieldKind.NUMBER, _now_and_then(_NUMBERS, -math.inf, 50)),
    "stray": (FieldKind.NUMBER, _now_and_then(_NUMBERS, "?", 200)),
    "steps": (FieldKind.INTEGER, _now_and_then([float(row % 5) for row in range(ROWS)], math.inf, 50)),
    "whole": (
        FieldKind.INTEGER,
        _now_and_then(_GENERATOR.integers(0, 900, ROWS).astype(float).tolist(), -999.0, 25),
    ),
    "flag": (FieldKind.BOOLEAN, [row % 3 == 0 for row in range(ROWS)]),
    "word": (FieldKind.CATEGORY, _now_and_then(_WORDS, None, 7)),
    "mixed": (FieldKind.CATEGORY, _now_and_then(["7" if row % 2 else "x" for row in range(ROWS)], "2.5", 5)),
    "text": (FieldKind.TEXT, ["x" * (1 + row % 30) + str(row) for row in range(ROWS)]),
    "moment": (
        FieldKind.TIMESTAMP,
        [
            _moment(at - late)
            for at, late in zip(_AT.tolist(), _GENERATOR.exponential(9e4, ROWS).tolist(), strict=True)
        ],
    ),
    "constant": (FieldKind.CONSTANT, [0.1] * ROWS),
    "currency": (FieldKind.CONSTANT, ["eur"] * ROWS),
}


def _column(kind: FieldKind, cells: Sequence[Cell]) -> Column:
    """Return cells as a file without types would give them."""
    if any(isinstance(cell, str | bool) for cell in cells):
        texts = [None if cell is None else str(cell).replace("inf", "") for cell in cells]
        return text_column(texts, literal=kind is FieldKind.TIMESTAMP)
    return NumberColumn(np.array([math.nan if cell is None else cell for cell in cells], dtype=np.float64))


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Learn the columns."""
    learner = Learner("demand", rng=np.random.default_rng(0), time="at")
    batch: Batch = {name: _column(*column) for name, column in COLUMNS.items()}
    learner.update({**batch, "at": NumberColumn(_AT)})
    return learner.finish(Provenance())


@pytest.mark.parametrize("name", COLUMNS)
def test_the_reference_rows_sent_once_more_count_as_they_did(profile: Profile, name: str) -> None:
    kind, cells = COLUMNS[name]
    assert profile.features[name].kind is kind
    layout = Layout.of(profile)
    span = layout.span(name)
    assert span is not None
    counted = np.zeros(layout.size, dtype=np.int64)
    rows = [{name: cell} for cell in cells]
    for one in Counting(layout, 60.0).of([sample(_AT[0], rows, times=_AT)]):
        counted += one.counts
    live = dict(zip(span.cells.names, counted[span.part].tolist(), strict=True))
    assert live == dict(zip(span.cells.names, span.cells.counts, strict=True))


def test_texts_that_a_file_without_types_gives_as_numbers_have_no_lengths_to_compare_with() -> None:
    cells = [f"{row:06d}" if row % 3 else f"A{row}" for row in range(ROWS)]
    learner = Learner("demand", rng=np.random.default_rng(0))
    learner.update({"code": text_column(cells)})
    code = learner.finish(Provenance()).features["code"]
    assert (code.kind, code.cells) == (FieldKind.TEXT, None)


def test_a_yes_or_no_that_comes_as_one_or_zero_counts_as_such(profile: Profile) -> None:
    layout = Layout.of(profile)
    flag = layout.span("flag")
    assert flag is not None
    (one,) = Counting(layout, 60.0).of([sample(0.0, [{"flag": 1.0}, {"flag": 0.0}, {"flag": 1.0}])])
    assert one.counts[flag.part].tolist() == [1, 2, 0, 0, 0, 0]
