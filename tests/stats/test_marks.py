"""Where in event time a writer counted, as it tells the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.stats.marks import MAX_HOURS, Marks, pack_marks, unpack_marks


@given(st.dictionaries(st.integers(0, 3_599), st.integers(0, 2**32 - 1)))
def test_marks_come_back_as_they_were(rows: dict[int, int]) -> None:
    assert unpack_marks(pack_marks(rows)) == rows


@pytest.mark.parametrize("blob", [b"", b"x", pack_marks({1: 2})[:-3]])
def test_damaged_marks_are_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack_marks(blob)


def test_an_hours_marks_hold_all_buckets_that_were_counted_on_so_far() -> None:
    marks = Marks(60, "0000000a")
    marks.add([(60, 5), (61, 1)])
    first, second = marks.add([(61, 3), (125, 2)])
    assert (first.hour, first.writer, unpack_marks(first.blob)) == (1, "0000000a", {0: 5, 1: 3})
    assert (second.hour, unpack_marks(second.blob)) == (2, {5: 2})


def test_an_hour_that_was_forgotten_begins_anew_under_another_name() -> None:
    marks = Marks(60, "0000000a")
    for hour in range(MAX_HOURS + 1):
        marks.add([(hour * 60, 1)])
    (again,) = marks.add([(1, 1)])
    assert again.writer.startswith("0000000a.")
    assert unpack_marks(again.blob) == {1: 1}
