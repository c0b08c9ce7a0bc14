"""The stored document: nothing is lost on the way to disk and back."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Candidate
from guardproxy.holds import Approve, Band, Expire, Hold, Override, from_json, settle, to_json
from guardproxy.table import Cell
from tests.holds.samples import SLA_S, START, make_hold

NUMBERS = st.floats() | st.integers(-(2**70), 2**70)
TEXT = st.text(st.characters(), max_size=20)  # lone surrogates included
CELLS = st.none() | st.booleans() | NUMBERS | TEXT | st.lists(NUMBERS | st.none(), max_size=4).map(tuple)
RECORDS = st.dictionaries(TEXT, CELLS, max_size=4)


def same(one: Cell, other: Cell) -> bool:
    """Equal in type and value, NaN equal to NaN and zeros by sign."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return type(one) is type(other) and one == other


@settings(max_examples=150, deadline=None)
@given(RECORDS, RECORDS, RECORDS, TEXT)
def test_every_cell_survives_the_way_to_disk_and_back(
    features: dict[str, Cell], original: dict[str, Cell], provisional: dict[str, Cell], note: str
) -> None:
    hold = make_hold(
        features=features,
        original=original,
        provisional=provisional,
        candidates=(Candidate(note, provisional),),
    )
    document = to_json(hold)
    assert document.isascii()
    again = from_json(document)
    for name in ("features", "original", "provisional"):
        one, other = getattr(hold, name), getattr(again, name)
        assert list(one) == list(other)
        assert all(same(one[key], other[key]) for key in one)
    assert again.candidates[0].source == note
    assert to_json(again) == document


@pytest.mark.parametrize(
    "hold",
    [
        make_hold(),
        settle(make_hold(), Approve("reviewer-a", "expected", "n"), at=START, undo_s=5),
        settle(make_hold(), Override("reviewer-a", {"demand": 4}), at=START, undo_s=0),
        settle(make_hold(), Expire(), at=START + SLA_S, undo_s=5),
    ],
)
def test_a_hold_in_any_state_reads_back_equal(hold: Hold) -> None:
    assert from_json(to_json(hold)) == hold


def test_a_newer_or_damaged_document_is_refused_with_a_sentence() -> None:
    document = json.loads(to_json(make_hold()))
    with pytest.raises(ValueError, match="newer guardproxy"):
        from_json(json.dumps({**document, "v": 99}))
    with pytest.raises(ValueError, match="not a hold's document"):
        from_json("[]")
    with pytest.raises(ValueError, match="damaged"):
        from_json(json.dumps({key: value for key, value in document.items() if key != "findings"}))
    with pytest.raises(ValueError, match="lost"):
        from_json(json.dumps({**document, "state": "lost"}))


@pytest.mark.parametrize(
    ("value", "outside"), [(None, False), (5.0, False), (0.0, False), (10.0, False), (-0.1, True), (10.1, True), (float("nan"), True), (float("inf"), True)]
)  # fmt: skip
def test_a_band_says_whether_its_value_lies_outside(value: float | None, *, outside: bool) -> None:
    assert Band("y", value, 0.0, 10.0).outside is outside


def test_a_band_without_bounds_has_nothing_outside() -> None:
    assert not Band("y", 1e300).outside
