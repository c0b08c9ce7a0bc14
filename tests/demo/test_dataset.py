"""What a row of the demo's data means."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from guardproxy.demo import dataset
from guardproxy.demo.dataset import AIRPORTS, FEATURES, TARGET, WEATHER, Dataset, Flights, Readings, build
from guardproxy.demo.errors import DemoError

DAY = 24 * 60


def rows_of(*flights: tuple[int, float, float], readings: Readings | None = None) -> Dataset:
    """Build a year from (airport, minute, delay) and perhaps some weather."""
    columns = list(zip(*flights, strict=True)) or [(), (), ()]
    nothing = Readings(np.zeros(0, np.int64), np.zeros(0, np.int64), {name: np.zeros(0) for name in WEATHER})
    planes = Flights(np.array(columns[0], np.int64), np.array(columns[1], float), np.array(columns[2], float))
    return build(planes, readings or nothing)


def cell(rows: Dataset, name: str, airport: str, day: int, hour: int) -> float:
    """One cell by local day of the year (from 0) and hour."""
    wanted = np.datetime64("2013-01-01") + day
    for place, (local, port) in enumerate(zip(rows.days, rows.airports, strict=True)):
        if local == wanted and port == airport and rows.columns["hour"][place] == hour:
            return float(rows.columns[name][place])
    raise LookupError((airport, day, hour))


def test_a_delayed_flight_counts_in_the_hour_it_left_and_is_scheduled_in_the_hour_it_should_have() -> None:
    rows = rows_of((0, 10 * DAY + 8 * 60 + 50, 25.0))
    assert cell(rows, "scheduled", "EWR", 10, 8) == 1
    assert cell(rows, TARGET, "EWR", 10, 8) == 0
    assert cell(rows, TARGET, "EWR", 10, 9) == 1


def test_a_cancelled_flight_is_scheduled_but_never_departs() -> None:
    rows = rows_of((1, 10 * DAY + 8 * 60, np.nan))
    assert cell(rows, "scheduled", "JFK", 10, 8) == 1
    assert rows.columns[TARGET].sum() == 0


def test_history_is_the_same_hour_a_day_and_a_week_before() -> None:
    rows = rows_of((2, 10 * DAY + 8 * 60, 0.0))
    assert cell(rows, "yesterday", "LGA", 11, 8) == 1
    assert cell(rows, "last_week", "LGA", 17, 8) == 1
    assert cell(rows, "yesterday", "LGA", 11, 9) == 0


def test_history_follows_the_clock_on_the_wall_when_summer_time_begins() -> None:
    # Eight in the morning of 9 March, in standard time; the night after, the clock is put forward.
    rows = rows_of((0, 67 * DAY + 8 * 60, 0.0))
    assert cell(rows, "yesterday", "EWR", 68, 8) == 1


def test_weekdays_begin_with_monday() -> None:
    assert cell(rows_of(), "weekday", "EWR", 13, 0) == 0  # 14 January 2013 was a Monday


def test_an_hour_without_a_reading_has_its_weather_missing() -> None:
    readings = Readings(np.array([0]), np.array([10 * 24]), {name: np.array([5.0]) for name in WEATHER})
    rows = rows_of(readings=readings)
    assert cell(rows, "temp", "EWR", 10, 0) == 5
    assert np.isnan(cell(rows, "temp", "JFK", 10, 0))
    assert np.isnan(cell(rows, "temp", "EWR", 10, 1))


def test_the_first_week_is_left_out_because_it_has_no_history() -> None:
    rows = rows_of()
    assert rows.days.min() == np.datetime64("2013-01-08")
    assert not np.isnan(rows.columns["last_week"]).any()


def test_the_real_year_has_its_real_gaps(real_data: Dataset) -> None:
    assert real_data.rows == 358 * 24 * len(AIRPORTS)
    assert real_data.airports[:3] == AIRPORTS
    assert 0.10 < np.isnan(real_data.columns["pressure"]).mean() < 0.13
    assert 0.004 < np.isnan(real_data.columns["temp"]).mean() < 0.01
    assert real_data.columns["wind_speed"][~np.isnan(real_data.columns["wind_speed"])].max() > 1000


def test_the_real_departures_add_up_to_the_flights_that_left(real_data: Dataset) -> None:
    # 336,776 flights, 8,255 of them cancelled; the first week and what left after midnight on New Year is not counted.
    assert 320_000 < real_data.columns[TARGET].sum() < 336_776 - 8_255


def test_production_begins_where_training_ends(real_data: Dataset) -> None:
    training, production = real_data.training(), real_data.production()
    assert training.rows + production.rows == real_data.rows
    assert training.times.max() < production.times.min()


def test_a_csv_is_read_back_as_it_was_written(tmp_path: Path, real_data: Dataset) -> None:
    part = real_data.days_from(250, 3)
    dataset.write_csv(part, tmp_path / "part.csv")
    back = dataset.read_csv(tmp_path / "part.csv")
    assert back["airport"] == part.airports
    for name in (*FEATURES[1:], TARGET):
        np.testing.assert_array_equal(back[name], part.columns[name])


def test_whole_numbers_are_written_whole(tmp_path: Path, real_data: Dataset) -> None:
    dataset.write_csv(real_data.days_from(0, 1), tmp_path / "day.csv")
    header, first, *_ = (tmp_path / "day.csv").read_text(encoding="utf-8").splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert row["time"] == "2013-01-08T05:00:00Z"
    assert (row["airport"], row["hour"], row["weekday"]) == ("EWR", "0", "1")


def test_without_the_data_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(dataset, "distribution", absent)
    with pytest.raises(DemoError, match=r"guardproxy\[demo\]"):
        dataset.load()
