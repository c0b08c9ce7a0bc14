"""Minutes into hours and days, and the windows that are made of them."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.cells import season_cell
from guardproxy.stats.counts import moments_of
from guardproxy.stats.layout import Layout
from guardproxy.stats.rolls import MAX_ENTRIES, Rolls
from guardproxy.stats.rollup import (
    DAY_S,
    HOUR_S,
    ROLL_AGES_S,
    SUM,
    Level,
    Part,
    blobs_of,
    levels_of,
    part_of,
    roll_ages,
    total_of,
)
from guardproxy.stats.snapshot import EMPTY, WINDOWS, stale_after
from guardproxy.stats.timeline import Timeline
from tests.stats.counted import profile

LAYOUT = Layout.of(profile())
HOUR = 480_000
"""The number of an hour that begins at midnight: 480,000 hours are 20,000 days."""
DIVISORS = [n for n in range(1, HOUR_S + 1) if HOUR_S % n == 0]
PARTS = st.lists(st.integers(0, 9), min_size=1, max_size=6)
"""How many rows each part has."""


def part(rows: int, value: float = 1.0) -> Part:
    """Return so many allowed rows with the same number in both number fields."""
    counts = np.zeros(LAYOUT.size, dtype=np.int64)
    counts[LAYOUT.outcomes.start] = rows
    return Part(counts, np.array([[rows, value, 0.0, value, value]] * 2))


def equal(one: Part, two: Part) -> bool:
    """Compare two parts."""
    return one.counts.tolist() == two.counts.tolist() and np.allclose(one.moments, two.moments)


@pytest.mark.parametrize("bucket_s", DIVISORS)
def test_every_length_divides_the_next_and_what_is_summed_up_outlives_its_parts(bucket_s: int) -> None:
    levels = levels_of(bucket_s)
    assert levels[0].resolution == bucket_s
    assert levels[-1].resolution == DAY_S
    for child, parent in pairwise(levels):
        assert parent.resolution % child.resolution == 0
        assert parent.keep_s > child.keep_s > parent.resolution
        assert parent.resolution // child.resolution <= 360
        assert roll_ages(child, parent)[0] == 0.0
        assert parent.resolution + roll_ages(child, parent)[-1] < child.keep_s
    assert roll_ages(*levels[-2:]) == ROLL_AGES_S


@given(PARTS, st.integers(0, 99))
def test_summing_up_is_a_function_of_the_parts_and_twice_is_harmless(rows: list[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    parts = [
        Part(draw.integers(0, 50, LAYOUT.size), moments_of(draw.normal(3.0, 1.0, (2, number))))
        for number in rows
    ]
    once = blobs_of(LAYOUT, total_of(LAYOUT, parts))
    assert blobs_of(LAYOUT, total_of(LAYOUT, parts)) == once
    read = part_of(LAYOUT, {series: {SUM: blob} for series, blob in once.items()})
    assert equal(read, total_of(LAYOUT, parts))
    # A sum that is summed up again, of itself alone, is the same.
    assert equal(total_of(LAYOUT, [read]), read)
    for cut in range(len(parts)):
        halves = [total_of(LAYOUT, parts[:cut]), total_of(LAYOUT, parts[cut:])]
        assert equal(total_of(LAYOUT, halves), total_of(LAYOUT, parts))


def test_a_damaged_blob_is_left_out_and_counted_and_the_others_stay_true() -> None:
    good = blobs_of(LAYOUT, part(3))
    found = part_of(LAYOUT, {series: {"a": blob, "b": b"junk", "c": blob} for series, blob in good.items()})
    assert (found.rows(LAYOUT), found.damaged, found.moments[0, 0]) == (6, 2, 6)


@settings(max_examples=60)
@given(
    st.sampled_from([1, 5, 60, 300, 3600]),
    st.dictionaries(st.integers(0, 200 * 3600), st.integers(1, 9), max_size=30),
    st.floats(0, 3_599),
    st.booleans(),
)
def test_a_window_counts_each_row_since_its_begin_once(
    bucket_s: int, rows: dict[int, int], into_hour: float, rolled: bool
) -> None:
    """Rows by how many seconds ago they happened; hours are known as sums, as buckets too while these are kept."""
    now = HOUR * HOUR_S + into_hour
    levels = levels_of(bucket_s)
    timeline = Timeline(LAYOUT, levels)
    for level in levels[:-1]:
        grouped: dict[int, int] = {}
        for ago, number in rows.items():
            bucket = int((now - ago) // level.resolution)
            grouped[bucket] = grouped.get(bucket, 0) + number
        for bucket, number in grouped.items():
            ended = (bucket + 1) * level.resolution <= now
            kept = (bucket + 1) * level.resolution >= now - level.memory_s
            if kept and (
                level.resolution == bucket_s
                or (rolled and ended)
                or not _finer(levels, bucket, level.resolution, now)
            ):
                timeline.put(level.resolution, bucket, part(number))
    for _ in range(2):
        for name, counted in timeline.windows(now).items():
            assert now - WINDOWS[name] - HOUR_S < counted.start <= now - WINDOWS[name]
            assert now < counted.end <= now + bucket_s
            expected = sum(number for ago, number in rows.items() if now - ago >= counted.start)
            assert counted.rows == expected
            assert counted.counts.sum() == expected
            moments = counted.moments.get("x")
            assert (0 if moments is None else moments.n) == expected
        day = timeline.windows(now)["24h"]
        by_season = np.zeros(48)
        for ago, number in rows.items():
            if now - ago >= day.start:
                by_season[season_cell(now - ago)] += number
        assert timeline.season_rows(day).tolist() == by_season.tolist()


def _finer(levels: Sequence[Level], bucket: int, resolution: int, now: float) -> bool:
    """Tell whether all parts of a stretch are still kept in a shorter form."""
    shorter = [one for one in levels if one.resolution < resolution]
    return any(bucket * resolution >= now - one.memory_s for one in shorter)


def test_a_late_row_shows_in_every_window() -> None:
    timeline = Timeline(LAYOUT, levels_of(60))
    now = HOUR * HOUR_S + 1_800.0
    minute = int(now // 60) - 20
    assert timeline.put(60, minute, part(1))
    assert timeline.windows(now)["1h"].rows == 1
    assert not timeline.put(60, minute, part(1)), "the same again is no change"
    assert timeline.put(60, minute, part(5))
    assert {name: one.rows for name, one in timeline.windows(now).items()} == {"1h": 5, "24h": 5, "7d": 5}
    assert timeline.since == minute * 60
    timeline.windows(now + 5 * HOUR_S)
    assert not timeline.after(0), "what is too old for every window is forgotten"


def test_an_hour_is_summed_up_when_it_is_over_and_again_while_late_rows_may_come() -> None:
    rolls = Rolls(levels_of(60))
    for minute in (HOUR * 60, HOUR * 60 + 59):
        rolls.changed(60, minute)
    end = (HOUR + 1) * float(HOUR_S)
    assert not rolls.due(end + 9.9, end + 9.9, 10.0, 9)
    given_at = []
    for second in range(10, 4_000):
        for roll in rolls.due(end + second, end + second, 10.0, 9):
            assert (roll.parent.resolution, roll.number, roll.first, roll.last) == (
                HOUR_S,
                HOUR,
                HOUR * 60,
                HOUR * 60 + 59,
            )
            given_at.append(second - 10)
    assert given_at == list(ROLL_AGES_S)
    assert not len(rolls)


def test_an_hour_that_changes_after_it_was_summed_up_is_summed_up_at_once() -> None:
    rolls = Rolls(levels_of(60))
    rolls.changed(60, HOUR * 60)
    now = (HOUR + 1) * float(HOUR_S) + 10
    given_at = []
    for second in range(4_000):
        if second in {5, 100}:
            rolls.changed(60, HOUR * 60)
            rolls.changed(60, HOUR * 60 + 1)
        given_at += [second for _ in rolls.due(now + second, now + second, 10.0, 9)]
    assert given_at == sorted([*ROLL_AGES_S, 5, 100])
    assert not len(rolls)


def test_what_could_not_be_summed_up_is_next_again() -> None:
    rolls = Rolls(levels_of(60))
    rolls.changed(HOUR_S, HOUR)
    now = (HOUR + 24.0) * HOUR_S + 10
    (roll,) = rolls.due(now, now, 10.0, 9)
    assert roll.parent.resolution == DAY_S
    rolls.again(roll, now)
    assert rolls.due(now, now, 10.0, 9) == [roll]
    assert not rolls.due(now, now, 10.0, 9)


def test_stretches_that_wait_to_be_summed_up_are_bounded_and_counted() -> None:
    rolls = Rolls(levels_of(60))
    for hour in range(MAX_ENTRIES + 5):
        rolls.changed(60, hour * 60)
    assert (len(rolls), rolls.forgotten) == (MAX_ENTRIES, 5)


def test_a_snapshot_is_stale_after_three_buckets_and_never_before_three_minutes() -> None:
    assert (stale_after(1.0), stale_after(60.0), stale_after(600.0)) == (180.0, 180.0, 1_800.0)
    assert (EMPTY.since, dict(EMPTY.recent), dict(EMPTY.windows)) == (None, {}, {})
