"""Windows of rolling functions: which stretches they hold, and when they are warm. Every clock is handed in."""

from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.stats.recent import Recents
from guardproxy.stats.recent_tally import AnyTally, FlagTally, MeanTally, add_to
from guardproxy.stats.rolling import Rolling
from guardproxy.stats.rollup import DAY_S, HOUR_S, levels_of
from tests.stats.test_recent import recents_of

HOUR = "recent_share(output.y == 0, 1h)"
DAY = "recent_share(output.y == 0, 1d)"
MONTH = "recent_count(output.y == 0, 28d)"
START = 20_000 * DAY_S
"""Midnight."""


def flags(recents: Recents, yes: int, no: int) -> dict[str, AnyTally]:
    return {recents.keys[0]: FlagTally(yes, no)}


def minutes(rolling: Rolling, first: int, count: int, yes: int = 1, no: int = 1) -> None:
    for minute in range(first, first + count):
        rolling.put(60, START // 60 + minute, flags(rolling.recents, yes, no))


def test_a_window_is_unknown_until_it_has_been_counted_for_its_whole_length() -> None:
    rolling = Rolling(recents_of(HOUR), 60)
    minutes(rolling, 0, 59)
    assert rolling.values(START + 58 * 60 + 59) == {}
    minutes(rolling, 59, 2)
    assert rolling.values(START + 59 * 60 + 59) == {}
    assert rolling.values(START + 60 * 60) == {HOUR: 0.5}


def test_a_window_forgets_what_is_older_than_it() -> None:
    rolling = Rolling(recents_of(HOUR), 60)
    minutes(rolling, 0, 60, yes=100, no=0)
    minutes(rolling, 60, 60, yes=0, no=1)
    assert rolling.values(START + 120 * 60)[HOUR] == 0.0
    assert rolling.values(START + 119 * 60)[HOUR] == 100 / 160


def test_a_stretch_without_traffic_keeps_a_window_warm_and_an_empty_window_is_missing() -> None:
    rolling = Rolling(recents_of(HOUR), 60)
    minutes(rolling, 0, 10)
    assert rolling.values(START + 65 * 60) == {HOUR: 0.5}
    assert rolling.values(START + 80 * 60) == {}
    minutes(rolling, 100, 1, yes=3, no=1)
    assert rolling.values(START + 100 * 60) == {HOUR: 0.75}


def test_traffic_in_which_a_function_was_not_counted_makes_its_window_cold_again() -> None:
    rolling = Rolling(recents_of(HOUR), 60)
    minutes(rolling, 0, 70)
    assert rolling.values(START + 69 * 60)[HOUR] == 0.5
    rolling.put(60, START // 60 + 70, {"another": MeanTally(1, 1.0)})
    minutes(rolling, 71, 60)
    assert rolling.values(START + 129 * 60) == {}
    assert rolling.values(START + 131 * 60) == {HOUR: 0.5}
    rolling.put(60, START // 60 + 132, {})
    assert rolling.values(START + 133 * 60) == {}


def test_a_bucket_that_is_put_again_replaces_what_it_held() -> None:
    rolling = Rolling(recents_of(HOUR), 60)
    minutes(rolling, 0, 62)
    now = START + 61 * 60 + 5
    assert rolling.values(now)[HOUR] == 0.5
    rolling.put(60, START // 60 + 61, flags(rolling.recents, 61, 1))
    assert rolling.values(now)[HOUR] == 121 / 182
    rolling.put(60, START // 60 + 3, flags(rolling.recents, 101, 1))
    assert rolling.values(now)[HOUR] == 221 / 282


def test_a_long_window_is_made_of_hours_and_of_the_buckets_after_them_each_once() -> None:
    rolling = Rolling(recents_of(DAY), 60)
    for hour in range(26):
        rolling.put(HOUR_S, START // HOUR_S + hour, flags(rolling.recents, 60, 0))
    minutes(rolling, 23 * 60, 3 * 60 + 1, yes=1, no=0)
    # 24 h from 02:00; the hour that has just closed is still known by its minutes, which count once.
    now = START + 26 * HOUR_S
    assert rolling.values(now) == {DAY: 1.0}
    minutes(rolling, 26 * 60, 1, yes=0, no=24 * 60)
    assert rolling.values(now + 59) == {DAY: 0.5}
    assert rolling.values(now + 300) == {DAY: 1_380 / (1_380 + 1_440)}


def test_the_longest_windows_are_made_of_days() -> None:
    rolling = Rolling(recents_of(MONTH), 60)
    for day in range(29):
        rolling.put(DAY_S, START // DAY_S + day, flags(rolling.recents, 1_440, 0))
    for hour in range(20 * 24, 29 * 24):
        rolling.put(HOUR_S, START // HOUR_S + hour, flags(rolling.recents, 60, 0))
    now = START + 29 * DAY_S + 600
    assert rolling.values(now) == {MONTH: 28.0 * 1_440 - 1_440}
    assert rolling.values(START + 28 * DAY_S + 59)[MONTH] == 28.0 * 1_440 - 60


def test_a_key_that_came_within_an_hour_is_not_taken_for_older_than_it_is() -> None:
    rolling = Rolling(recents_of("recent_share(output.y == 0, 6h)"), 60)
    for hour in range(5):
        rolling.put(HOUR_S, START // HOUR_S + hour, {"another": MeanTally(1, 1.0)})
    rolling.put(HOUR_S, START // HOUR_S + 5, flags(rolling.recents, 30, 0))
    for minute in range(5 * 60, 5 * 60 + 30):
        rolling.put(60, START // 60 + minute, {"another": MeanTally(1, 1.0)})
    minutes(rolling, 5 * 60 + 30, 31)
    assert rolling.values(START + 11 * HOUR_S + 25 * 60) == {}


def test_what_is_older_than_any_window_needs_is_forgotten() -> None:
    rolling = Rolling(recents_of(HOUR), 60)
    minutes(rolling, 0, 600)
    rolling.values(START + 600 * 60)
    assert len(rolling._stretches) <= 4 * 60 + 1


def test_a_reload_keeps_what_both_rule_files_count() -> None:
    rolling = Rolling(recents_of(HOUR), 60)
    minutes(rolling, 0, 62)
    both = recents_of("recent_count(output.y  == 0, 1h)", "recent_mean(output.y, 1h)")
    now = START + 61 * 60
    rolling.follow(both)
    assert rolling.values(now) == {"recent_count(output.y == 0, 1h)": 61.0}


def test_rows_that_were_left_out_are_told() -> None:
    rolling = Rolling(recents_of(HOUR), 60)
    rolling.put(60, START // 60, {rolling.recents.keys[0]: FlagTally(1, 1, failed=3)})
    rolling.put(HOUR_S, START // HOUR_S, {rolling.recents.keys[0]: FlagTally(1, 1, failed=3)})
    assert rolling.failed() == 3


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 199), st.integers(0, 5), st.integers(0, 5)), max_size=60),
    st.integers(61, 200),
)
def test_looking_at_any_moments_in_between_changes_no_value(
    puts: list[tuple[int, int, int]], at: int
) -> None:
    """The law of what is added up once: it is never stale."""
    often, once = Rolling(recents_of(HOUR), 60), Rolling(recents_of(HOUR), 60)
    known: dict[int, dict[str, AnyTally]] = {}
    for number, (minute, yes, no) in enumerate(puts):
        add_to(known.setdefault(minute, {}), flags(often.recents, yes, no))
        often.put(60, START // 60 + minute, known[minute])
        often.values(START + 60 * (at if number % 2 else minute))
    for minute, tallies in known.items():
        once.put(60, START // 60 + minute, tallies)
    now = START + at * 60 + 7.0
    if all(minute > at - 180 for minute in known):
        assert often.values(now) == once.values(now)


def test_buckets_of_an_hour_make_up_windows_of_days() -> None:
    rolling = Rolling(recents_of(DAY), HOUR_S)
    for hour in range(60):
        rolling.put(HOUR_S, START // HOUR_S + hour, flags(rolling.recents, 1, 3))
        rolling.values(START + hour * HOUR_S + 59.0)
    assert rolling.values(START + 60 * HOUR_S) == {DAY: 0.25}
    assert rolling.values(START + 83 * HOUR_S) == {DAY: 0.25}


def test_a_window_that_needs_more_hours_than_are_read_at_a_start_is_made_up_of_days() -> None:
    spelling = "recent_share(output.y == 0, 204h)"
    rolling = Rolling(recents_of(spelling), 60)
    now = START + 100 * DAY_S
    hours, days = levels_of(60)[-2:]
    for level, back in ((hours, hours.memory_s), (days, days.keep_s)):
        for number in range(int(now - back) // level.resolution, int(now) // level.resolution):
            rolling.put(level.resolution, number, flags(rolling.recents, 1, 1))
    assert rolling.values(now) == {spelling: 0.5}
