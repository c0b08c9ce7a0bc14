"""The sentence of a drift: its direction, and the edge that shows it."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.profile.cells import Cells, Measure
from guardproxy.stats.drift_words import Change, Direction, cell_moves, moved, percent, subject
from guardproxy.table import Floats
from tests.stats.drifting import number_cells, value_cells

NUMBERS = number_cells()
VALUES = value_cells({"dairy": 700, "bakery": 300})


def shares(cells: Cells, values: Floats) -> Floats:
    found: Floats = np.bincount(cells.of_numbers(values), minlength=cells.size) / len(values)
    return found


def said_of(mean: float, spread: float, missing: float = 0.0) -> tuple[Direction, str]:
    generator = np.random.default_rng(2)
    values = generator.normal(mean, spread, 5_000)
    values[generator.random(5_000) < missing] = np.nan
    return moved(Change(NUMBERS, np.array(NUMBERS.counts) / sum(NUMBERS.counts), shares(NUMBERS, values)))


@pytest.mark.parametrize(
    ("mean", "spread", "missing", "direction", "words"),
    [
        (0.6, 1.0, 0.0, Direction.UP, "has moved up: 61 % of rows lie above"),
        (-0.6, 1.0, 0.0, Direction.DOWN, "has moved down: 6"),
        (0.0, 1.7, 0.0, Direction.WIDER, "is wider: "),
        (0.0, 0.5, 0.0, Direction.NARROWER, "is narrower: "),
        (0.0, 1.0, 0.2, Direction.MISSING, "is missing more often: in 20 % of rows, 0 % before"),
    ],
)
def test_an_order_has_a_direction(
    mean: float, spread: float, missing: float, direction: Direction, words: str
) -> None:
    found = said_of(mean, spread, missing)
    assert found[0] is direction
    assert found[1].startswith(words)


@given(st.floats(-2.0, 2.0), st.floats(0.05, 3.0))
def test_the_share_that_is_said_has_grown_as_its_direction_says(middle: float, spread: float) -> None:
    values = middle + spread * np.linspace(-1.0, 1.0, 101)
    before = np.array(NUMBERS.counts) / sum(NUMBERS.counts)
    direction, words = moved(Change(NUMBERS, before, shares(NUMBERS, values)))
    if direction in {Direction.WIDER, Direction.NARROWER}:
        now, earlier = (float(share) for share in re.findall(r"([\d.]+) % ", words))
        assert now >= earlier
        assert (" outside of " if direction is Direction.WIDER else " within ") in words


@pytest.mark.parametrize(
    ("now", "direction", "words"),
    [
        ([0.5, 0.5, 0, 0, 0, 0], Direction.MORE, "is 'bakery' more often: in 50 % of rows, 30 % before"),
        ([0.95, 0.05, 0, 0, 0, 0], Direction.FEWER, "is 'bakery' less often: in 5.0 % of rows, 30 % before"),
        ([0.6, 0.3, 0.1, 0, 0, 0], Direction.MORE, "is one of its rarer values more often"),
        (
            [0.6, 0.3, 0, 0.1, 0, 0],
            Direction.NEW,
            "has values that were never learned: in 10 % of rows, 0 % before",
        ),
        ([0.6, 0.3, 0, 0, 0.1, 0], Direction.MISSING, "is missing more often: in 10 % of rows"),
        ([0.6, 0.3, 0, 0, 0, 0.1], Direction.TYPE, "is of another type: in 10 % of rows"),
    ],
)
def test_values_without_an_order_are_named(now: list[float], direction: Direction, words: str) -> None:
    found = moved(Change(VALUES, np.array([0.7, 0.3, 0, 0, 0, 0]), np.array(now)))
    assert found.direction is direction
    assert found.words.startswith(words)


@pytest.mark.parametrize(
    ("mean", "spread", "words"),
    [
        (0.6, 1.0, "has moved up: 69 % of the rows that have one lie above"),
        (0.0, 1.7, "of the rows that have one lie outside of"),
    ],
)
def test_shares_of_the_rows_that_have_a_number_are_said_to_be_such(
    mean: float, spread: float, words: str
) -> None:
    generator = np.random.default_rng(2)
    before, now = (
        shares(NUMBERS, np.where(generator.random(5_000) < 0.4, np.nan, values))
        for values in (generator.normal(size=5_000), generator.normal(mean, spread, 5_000))
    )
    assert words in moved(Change(NUMBERS, before, now)).words


def test_what_is_missing_less_is_said_so() -> None:
    found = moved(Change(VALUES, np.array([0.4, 0.1, 0, 0, 0.5, 0]), np.array([0.8, 0.19, 0, 0, 0.01, 0])))
    assert found == (Direction.PRESENT, "is missing less often: in 1.0 % of rows, 50 % before")


def test_the_cells_that_moved_most_come_first() -> None:
    found = cell_moves(Change(VALUES, np.array([0.7, 0.3, 0, 0, 0, 0]), np.array([0.5, 0.4, 0, 0.1, 0, 0])))
    assert [each.cell for each in found][:3] == ["dairy", "bakery", "unseen"]
    assert found[0][1:] == (0.7, 0.5)


def test_what_is_measured_is_named() -> None:
    assert [subject("x", measure) for measure in Measure] == [
        "x",
        "the length of x",
        "the norm of x",
        "the age of x",
    ]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.0004, "under 0.1 %"), (0.012, "1.2 %"), (0.0996, "10 %"), (1.0, "100 %")],
)
def test_shares_are_written_as_a_person_reads_them(share: float, text: str) -> None:
    assert percent(share) == text


@given(
    st.sampled_from([NUMBERS, VALUES, Cells(), Cells(edges=(1.0,), low=0.0, high=2.0)]),
    st.lists(st.floats(0.0, 1.0), min_size=40, max_size=40),
)
def test_every_change_has_a_sentence(cells: Cells, weights: list[float]) -> None:
    drawn = np.array(weights)
    before, now = drawn[: cells.size] + 1e-9, drawn[20 : 20 + cells.size]
    found = moved(Change(cells, before / before.sum(), now / max(now.sum(), 1e-12)))
    assert found.words
    assert found.direction in Direction
