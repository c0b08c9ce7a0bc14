"""Counts and moments as bytes, and their sums."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.stats.counts import (
    MOMENTS,
    moments_of,
    no_moments,
    pack,
    pack_moments,
    unpack,
    unpack_moments,
)
from guardproxy.stats.rollup import all_moments

COUNTS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50)
BLOCKS = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")) | st.just(float("inf")), max_size=30)


@given(COUNTS)
def test_counts_come_back_as_they_were(counts: list[int]) -> None:
    assert unpack(pack(np.array(counts)), len(counts)).tolist() == counts


def test_a_count_beyond_32_bits_is_written_as_the_largest() -> None:
    assert unpack(pack(np.array([2**40, 1])), 2).tolist() == [2**32 - 1, 1]


@given(COUNTS, st.data())
def test_a_damaged_blob_is_refused_whole_or_says_what_it_said(counts: list[int], data: st.DataObject) -> None:
    blob = bytearray(pack(np.array(counts)))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    found = counts
    with suppress(ValueError):
        found = unpack(bytes(blob), len(counts)).tolist()
    assert found == counts


@pytest.mark.parametrize("blob", [b"", b"x", pack(np.zeros(3)), pack(np.zeros(5)), pack(np.zeros(4)) + b"x"])
def test_a_blob_of_another_size_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack(blob, 4)


def test_a_blob_that_would_fill_the_memory_is_refused_without_unpacking_it() -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack(pack(np.zeros(10_000_000)), 4)


def test_moments_that_no_rows_can_have_are_refused() -> None:
    moments = no_moments(2)
    moments[1, 0] = -1
    with pytest.raises(ValueError, match="negative"):
        unpack_moments(pack_moments(moments), 2)


@given(st.lists(BLOCKS, min_size=1, max_size=6))
def test_moments_of_parts_are_those_of_the_whole_however_they_are_joined(parts: list[list[float]]) -> None:
    whole = moments_of(np.array([[x for part in parts for x in part]]).reshape(1, -1))
    each = [moments_of(np.array([part]).reshape(1, -1)) for part in parts]
    one = no_moments(1)
    for moments in each:
        one = all_moments([one, moments], 1)
    for found in (one, all_moments(each, 1), unpack_moments(pack_moments(one), 1)):
        assert found.shape == (1, MOMENTS)
        assert found[0, [0, 3, 4]].tolist() == whole[0, [0, 3, 4]].tolist()
        assert found[0, 1] == pytest.approx(whole[0, 1], rel=1e-9, abs=1e-6)
        assert found[0, 2] == pytest.approx(whole[0, 2], rel=1e-6, abs=1e-3)


@given(st.lists(st.sampled_from([1.7e308, -1.7e308, 1e200, 0.0]), min_size=1, max_size=8))
def test_the_largest_floats_give_no_nan(values: list[float]) -> None:
    one = moments_of(np.array([values]))
    both = all_moments([one, one], 1)
    for found in (one, both, all_moments([one, both], 1)):
        assert not np.isnan(found).any()
        assert min(values) <= found[0, 1] <= max(values)
