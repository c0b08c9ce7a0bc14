"""Durations, sizes and shares as people write them."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.units import (
    format_duration,
    format_moment,
    format_size,
    parse_duration,
    parse_share,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("10s", 10), ("1.5m", 90), ("4h", 14_400), ("2d", 172_800)]
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["10", "s", "-1s", "10 years", "1e3s", "", "١s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="10s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("16MiB", 16 * 1024**2), ("1.5KiB", 1536), ("2MB", 2_000_000), ("7B", 7)]
)
def test_sizes_are_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_share_is_read_as_a_fraction() -> None:
    assert parse_share("30%") == 0.3
    with pytest.raises(ValueError, match="30%"):
        parse_share("0.3")


@given(st.integers(1, 10**6))
def test_what_is_written_is_read_back(number: int) -> None:
    assert parse_duration(format_duration(number)) == number
    assert parse_size(format_size(number)) == number


@given(st.integers(0, 2**33), st.sampled_from([0.0, 0.25, 0.5]))
def test_a_moment_is_written_as_rfc_3339_that_says_the_same(seconds: int, part: float) -> None:
    text = format_moment(seconds + part)
    assert text.endswith("Z")
    assert datetime.fromisoformat(text).timestamp() == seconds + part
