"""What is said of a model's drift."""

from collections.abc import Mapping

import numpy as np
import pytest

from guardproxy.profile.cells import SEASON_CELLS, season_cell
from guardproxy.stats.alarms import NEVER, AlarmSettings
from guardproxy.stats.counts import Sums
from guardproxy.stats.detector import Detector
from guardproxy.stats.drift_report import MOST_EVIDENCE, FieldState, ModelReport, report_of
from guardproxy.stats.snapshot import Counted
from tests.stats.drifting import counted, layout_of, number_cells, run

CELLS = number_cells()
LAYOUT = layout_of(CELLS, CELLS)
SETTINGS = AlarmSettings(run_length_s=30 * 86_400.0)
DETECTOR = Detector(LAYOUT, SETTINGS)
FIELDS = ("x0", "x1", "order_id")


def buckets(shift: float, number: int, seed: int = 1) -> list[Sums]:
    generator = np.random.default_rng(seed)
    return [
        counted(LAYOUT, [generator.normal(shift, 1.0, 40), generator.normal(size=40)]) for _ in range(number)
    ]


def window(seen: list[Sums]) -> Mapping[str, Counted]:
    counts = np.sum(seen, axis=0)
    return {name: Counted(0.0, 86_400.0, 40 * len(seen), counts, {}) for name in ("1h", "24h", "7d")}


def reported(shift: float, number: int) -> ModelReport:
    seen = buckets(shift, number)
    return report_of(DETECTOR, run(DETECTOR, DETECTOR.start(NEVER), seen), window(seen), FIELDS)


def test_before_the_first_closed_bucket_every_field_is_warming() -> None:
    found = report_of(DETECTOR, None, {}, FIELDS)
    assert [each.state for each in found.fields] == [
        FieldState.WARMING,
        FieldState.WARMING,
        FieldState.UNLEARNED,
    ]
    assert found.alarm is None
    assert found.alarms == 0.0


def test_what_does_not_drift_is_quiet_and_compared_with_the_last_day() -> None:
    found = reported(0.0, 60)
    assert [each.state for each in found.fields] == [FieldState.QUIET, FieldState.QUIET, FieldState.UNLEARNED]
    compared = found.fields[0].compared
    assert compared is not None
    assert compared.p > 0.01
    assert found.fields[0].rows == {"1h": 2_400, "24h": 2_400}


def test_an_alarm_says_what_moved_since_when_and_how_often_it_would_be_false() -> None:
    found = reported(1.0, 20)
    assert found.alarm is not None
    assert found.alarm.fields == ("x0",)
    assert 1.0 <= found.alarms <= MOST_EVIDENCE
    assert found.alarm.message.startswith("x0 has moved up: ")
    assert "since 1970-01-01 00:0" in found.alarm.message
    assert found.alarm.message.endswith("while nothing changes, an alarm comes once in 30 days at most")
    first = found.fields[0]
    assert first.state is FieldState.ALARM
    assert first.alarm is not None
    assert first.alarm.direction == "up"
    assert first.alarm.effect == pytest.approx(1.0, abs=0.3)
    assert first.alarm.since < first.alarm.raised_at <= 20 * 60.0
    assert found.fields[1].state is FieldState.QUIET


def test_a_field_is_watched_before_it_is_named() -> None:
    states = []
    state = DETECTOR.start(NEVER)
    for bucket, counts in enumerate(buckets(0.45, 60)):
        state = DETECTOR.step(state, bucket, counts)
        states.append(report_of(DETECTOR, state, {}, FIELDS).fields[0].state)
    first = states.index(FieldState.ALARM)
    assert states[first - 1] is FieldState.WATCH
    assert states[0] is FieldState.QUIET


def test_a_day_that_is_unlike_the_reference_is_watched_without_an_alarm() -> None:
    state = run(DETECTOR, DETECTOR.start(NEVER), buckets(0.0, 3))
    found = report_of(DETECTOR, state, window(buckets(0.8, 60)), FIELDS)
    assert found.fields[0].state is FieldState.WATCH
    assert found.fields[0].compared is not None
    assert found.fields[0].compared.margin < 0.01


def test_days_that_differ_are_no_reason_to_watch() -> None:
    wide = number_cells()
    spread = tuple(0.5 * count / sum(wide.counts) for count in wide.counts)
    cells = type(wide)(edges=wide.edges, low=wide.low, high=wide.high, counts=wide.counts, spread=spread)
    detector = Detector(layout_of(cells), SETTINGS)
    seen = [counts[:20] for counts in buckets(0.25, 60)]
    state = run(detector, detector.start(NEVER), [counts[:20] for counts in buckets(0.0, 3)])
    narrow = Detector(layout_of(wide), SETTINGS)
    found = [report_of(each, state, window(seen), ("x0",)).fields[0].state for each in (detector, narrow)]
    assert found == [FieldState.QUIET, FieldState.WATCH]


def test_a_day_is_compared_with_its_own_hours() -> None:
    generator = np.random.default_rng(5)
    times = np.repeat(np.arange(0.0, 28 * 86_400.0, 3_600.0), 60)
    reference = generator.normal(2.0 * np.sin(times / 86_400.0 * 2 * np.pi), 1.0)
    layout = layout_of(number_cells(reference, times))
    detector = Detector(layout, SETTINGS)
    night = 2.0 * np.sin(6 / 24.0 * 2 * np.pi)
    seen = counted(layout, [generator.normal(night, 1.0, 300)])
    at = Counted(6 * 3_600.0, 7 * 3_600.0, 300, seen, {})
    found = report_of(detector, None, {"24h": at}, ("x0",)).fields[0].compared
    assert found is not None
    assert found.margin > 0.05


def test_a_day_of_busy_and_idle_hours_is_compared_hour_by_hour_as_busy_as_they_were() -> None:
    generator = np.random.default_rng(6)
    times = np.repeat(np.arange(0.0, 28 * 86_400.0, 3_600.0), 60)
    hours = np.arange(24) * 3_600.0
    layout = layout_of(number_cells(generator.normal(2.0 * np.sin(times / 86_400.0 * 2 * np.pi), 1.0), times))
    detector = Detector(layout, SETTINGS)
    rows = np.where(hours < 43_200.0, 1_000, 100)
    values = generator.normal(2.0 * np.sin(np.repeat(hours, rows) / 86_400.0 * 2 * np.pi), 1.0)
    at = Counted(0.0, 86_400.0, len(values), counted(layout, [values]), {})
    day = np.zeros(SEASON_CELLS)
    day[[season_cell(hour) for hour in hours]] = rows
    weighed, alike = (
        report_of(detector, None, {"24h": at}, ("x0",), each).fields[0].compared for each in (day, None)
    )
    assert weighed is not None
    assert alike is not None
    assert weighed.margin > 0.05
    assert weighed.effect < 0.02
    assert alike.margin < 0.01, "hours that had ten times as many rows as others count ten times as much"
