"""The life of an alarm, bucket by bucket."""

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.stats.alarms import QUIET, Alarm, AlarmSettings, alarm_after

COOLDOWN = 10


def lived(reached: list[bool]) -> list[tuple[bool, bool]]:
    """Return for each bucket whether the alarm stands, and whether the detector began anew."""
    alarm, seen = QUIET, []
    for bucket, now in enumerate(reached):
        step = alarm_after(alarm, bucket, reached=now, cooldown=COOLDOWN)
        alarm = step.alarm
        seen.append((alarm.stands, step.anew))
    return seen


def test_an_alarm_that_is_over_ends_two_cooldowns_later() -> None:
    seen = lived([False, True] + [False] * 30)
    stands = [bucket for bucket, (stands, _) in enumerate(seen) if stands]
    assert stands == list(range(1, 1 + 2 * COOLDOWN))
    assert [bucket for bucket, (_, anew) in enumerate(seen) if anew] == [1 + COOLDOWN]


def test_an_alarm_that_goes_on_stands_and_is_tried_once_a_cooldown() -> None:
    seen = lived([True] * 45)
    assert all(stands for stands, _ in seen)
    assert [bucket for bucket, (_, anew) in enumerate(seen) if anew] == [10, 20, 30, 40]


def test_an_alarm_that_stands_keeps_the_bucket_in_which_it_was_raised() -> None:
    step = alarm_after(Alarm(5, 5, confirmed=True), 15, reached=True, cooldown=COOLDOWN)
    assert step.alarm == Alarm(5, 15, confirmed=False)


@given(st.lists(st.booleans(), max_size=200))
def test_an_alarm_only_ends_after_a_cooldown_in_which_nothing_was_reached(reached: list[bool]) -> None:
    seen = lived(reached)
    for bucket in range(1, len(reached)):
        if seen[bucket - 1][0] and not seen[bucket][0]:
            assert not any(reached[max(0, bucket - COOLDOWN + 1) : bucket + 1])


def test_settings_are_counted_in_buckets_of_at_least_one() -> None:
    assert AlarmSettings().run_length == 43_200
    assert AlarmSettings().cooldown == 360
    assert AlarmSettings(cooldown_s=1.0).cooldown == 1
    assert AlarmSettings(run_length_s=1.0).run_length == 1.0
