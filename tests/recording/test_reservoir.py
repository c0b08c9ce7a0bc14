"""A reservoir is bounded, fair, and the same for the same seed."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.recording.draft import Kept, Redactor
from guardproxy.recording.reservoir import Reservoir, Slice
from tests.recording.samples import draft

REDACTOR = Redactor(())


def kept(number: int) -> Kept:
    return REDACTOR.keep("demand", draft(number), 1)


def fill(slice_: Slice, reservoir: Reservoir, seen: int, refuse: frozenset[int] = frozenset()) -> None:
    for number in range(seen):
        place = reservoir.draw()
        if place is not None:
            slice_.clear(reservoir, place)
            if number not in refuse:
                slice_.put(reservoir, place, kept(number))


@given(
    st.integers(2, 9),
    st.integers(0, 60),
    st.integers(0, 60),
    st.frozensets(st.integers(0, 59)),
    st.integers(),
)
@settings(max_examples=150, deadline=None)
def test_the_weights_of_what_is_kept_add_up_to_what_was_seen(
    places: int, quiet: int, loud: int, refuse: frozenset[int], seed: int
) -> None:
    one = Slice("demand", 0.0, places, Random(seed))
    fill(one, one.quiet, quiet, refuse)
    fill(one, one.loud, loud)
    weighted = one.weighted()
    assert len(weighted) <= places
    assert one.rows == one.size == len(weighted)
    expected = sum(
        reservoir.seen for reservoir in (one.quiet, one.loud) if any(True for _ in reservoir.kept())
    )
    assert sum(weight for _, weight in weighted) == pytest.approx(expected)
    assert all(weight >= 1 for _, weight in weighted)


@given(st.integers(1, 20), st.integers(0, 20))
@settings(max_examples=50, deadline=None)
def test_what_fits_is_kept_whole(places: int, seen: int) -> None:
    one = Reservoir(places, Random(1))
    drawn = [one.draw() for _ in range(min(seen, places))]
    assert drawn == list(range(min(seen, places)))


def test_the_same_seed_keeps_the_same_exchanges() -> None:
    def numbers(seed: int) -> list[str]:
        one = Slice("demand", 0.0, 20, Random(seed))
        fill(one, one.quiet, 500)
        return [item.record.id for item in one.quiet.kept()]

    assert numbers(3) == numbers(3)
    assert numbers(3) != numbers(4)


def test_every_exchange_is_as_likely_as_any_other() -> None:
    seen, places, turns = 40, 5, 4_000
    counts = np.zeros(seen)
    rng = Random(11)
    for _ in range(turns):
        one = Reservoir(places, rng)
        held = [-1] * places
        for number in range(seen):
            place = one.draw()
            if place is not None:
                held[place] = number
        counts[held] += 1
    expected = turns * places / seen
    # The counts of one turn exclude each other, so this is below a chi-square of 39 degrees; 99.9% of that is 72.
    assert ((counts - expected) ** 2 / expected).sum() < 72


def test_an_exchange_that_is_not_drawn_uses_no_random_number() -> None:
    rng = Random(5)
    one = Reservoir(2, rng)
    for _ in range(100_000):
        one.draw()
    state = rng.getstate()
    drawn = sum(one.draw() is not None for _ in range(50))
    assert (rng.getstate() == state) is (drawn == 0)
    assert drawn <= 1
