"""Drift: false alarms where nothing changes, and how soon a change is heard. `python -m benchmarks.drift`.

Five parts: windows without change against the screens' test; runs of the detector with and without a shift, each against a
reference of its own; streams with a known drift point; real years without a lasting change, with and without what the
reference says of hours and days; and what a bucket costs.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.drift_data import Stream, bike, codes_of, flights, learned, of_wheel
from benchmarks.machine import describe
from guardproxy.profile.cells import Cells
from guardproxy.stats.alarms import NEVER, AlarmSettings
from guardproxy.stats.detector import Detector
from guardproxy.stats.drift_report import report_of
from guardproxy.stats.layout import Layout, Span
from guardproxy.stats.windowed import compare
from guardproxy.table import Floats

REFERENCE: Final = 20_000
WINDOWS: Final = 4_000
ALPHA: Final = 0.01
ALPHA_BAR: Final = 0.015
RUNS: Final = 200
RUN_ROWS: Final = 80_000
RUN_LENGTH: Final = 1e4
BUCKET_ROWS: Final = 10
DELAY_BARS: Final[Mapping[float, int]] = {0.5: 200, 1.0: 60}
STREAMS: Final[Sequence[tuple[str, tuple[str, ...], tuple[str, ...], int]]] = (
    (
        "synthetic_car_loan",
        ("car_value", "salary_range", "loan_length", "repaid_loan_on_prev_car", "y_pred_proba"),
        ("debt_to_income_ratio", "size_of_downpayment", "driver_tenure"),
        25_000,
    ),
)
"""A data set, the columns that move, those that do not, and the row from which they do."""
STREAM_BAR: Final = 500
STREAM_BUCKET: Final = 50


def main() -> None:
    """Run all parts and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--nannyml", type=Path, help="a wheel of nannyml, for its streams with a known drift point"
    )
    parser.add_argument("--bike", type=Path, help="bike_hour.csv, two years of hourly hires")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        "machine": describe(),
        "windows": windows(),
        "delays": delays(),
        "false_runs": false_runs(),
    }
    if arguments.nannyml is not None:
        found["streams"] = [stream(arguments.nannyml, *each) for each in STREAMS]
    years = {"bike": bike(arguments.bike) if arguments.bike is not None else None, "flights": flights()}
    found["years"] = [year(name, data) for name, data in years.items() if data is not None]
    found["left_out"] = [name for name, data in years.items() if data is None] + ["streams"] * (
        arguments.nannyml is None
    )
    found["cost"] = [cost(fields) for fields in (10, 30, 100)]
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


def windows() -> dict[str, Any]:
    """Return the share of windows without any change that the screens' test flags, by the rows of a window."""
    flagged = {}
    for rows in (100, 300, 1_000, 5_000, 20_000):
        generator = np.random.default_rng(rows)
        hits = 0
        for _ in range(WINDOWS):
            share = np.append(generator.dirichlet(np.full(16, 5.0)) * 0.999, [0.0005, 0.0005])
            compared = compare(
                generator.multinomial(REFERENCE, share).astype(np.float64),
                generator.multinomial(rows, share).astype(np.float64),
            )
            hits += compared is not None and compared.p < ALPHA
        flagged[str(rows)] = hits / WINDOWS
    print("windows without change flagged at 1 %:", flagged)
    return {"flagged": flagged, "bar": ALPHA_BAR, "met": max(flagged.values()) <= ALPHA_BAR}


def delays(runs: int = 101) -> list[dict[str, Any]]:
    """Return after how many rows a change is heard, each field of one detector being a run with a reference of its own."""
    found = []
    for shift, spread in ((0.25, 1.0), (0.5, 1.0), (1.0, 1.0), (0.0, 1.2), (0.0, 1.5)):
        rows = (
            np.array(_first_alarms(runs, shift, spread, 6_000 // BUCKET_ROWS), dtype=np.float64) * BUCKET_ROWS
        )
        bar = DELAY_BARS.get(shift)
        median = float(np.median(rows))
        found.append(
            {
                "shift": shift,
                "spread": spread,
                "median_rows": median,
                "p90_rows": float(np.percentile(rows, 90)),
                "bar": bar,
            }
            | ({} if bar is None else {"met": median <= bar})
        )
        print(f"shift {shift} sd, spread x {spread}: heard after {median:.0f} rows (median)")
    return found


def false_runs() -> dict[str, Any]:
    """Return in how many runs without any change an alarm comes."""
    by_reference = {}
    for reference in (2_000, REFERENCE):
        alarms = _first_alarms(RUNS, 0.0, 1.0, RUN_ROWS // BUCKET_ROWS, reference)
        by_reference[str(reference)] = int(np.isfinite(alarms).sum())
    print(f"runs of {RUN_ROWS:,} rows with a false alarm, of {RUNS}:", by_reference)
    return {
        "runs": RUNS,
        "rows": RUN_ROWS,
        "alarms": by_reference,
        "bar": 1,
        "met": by_reference[str(REFERENCE)] <= 1,
    }


def stream(
    wheel: Path, name: str, moving: Sequence[str], still: Sequence[str], change: int
) -> dict[str, Any]:
    """Return at which row the alarm names each column of a stream that changes at a known row."""
    columns = (*moving, *still)
    profile = learned(of_wheel(wheel, f"{name}_reference", columns))
    live = of_wheel(wheel, f"{name}_analysis", columns)
    layout = Layout.of(profile)
    detector = Detector(layout, AlarmSettings())
    codes = {span.name: codes_of(span.cells, live.columns[span.name]) for span in layout.spans}
    state = detector.start(NEVER)
    named: dict[str, int] = {}
    message = ""
    for bucket in range(live.rows // STREAM_BUCKET):
        counts = np.zeros(layout.size, dtype=np.int64)
        for span in layout.spans:
            seen = codes[span.name][bucket * STREAM_BUCKET : (bucket + 1) * STREAM_BUCKET]
            counts[span.part] = np.bincount(seen, minlength=span.cells.size)
        state = detector.step(state, bucket, counts)
        for line, span in enumerate(detector.spans):
            if state.named[line] != NEVER:
                named.setdefault(span.name, (bucket + 1) * STREAM_BUCKET)
        if named and not message:
            alarm = report_of(detector, state, {}, columns).alarm
            message = "" if alarm is None else alarm.message
    met = set(named) == set(moving) and all(change < row <= change + STREAM_BAR for row in named.values())
    print(f"{name}: changes at {change:,}, named at {named}; met: {met}\n  {message}")
    return {"name": name, "change": change, "named": named, "bar": STREAM_BAR, "met": met, "message": message}


def year(name: str, data: Stream) -> dict[str, Any]:
    """Return how many alarms real traffic without a lasting change raises, with and without what is known of hours and days.

    The reference are the even weeks, the live traffic the odd ones, in hourly buckets; after an alarm a field begins anew.
    """
    week = (data.times // (7 * 86_400)).astype(int)
    profile, live = learned(data.where(week % 2 == 0)), data.where(week % 2 == 1)
    kinds: Mapping[str, Callable[[Cells], Cells]] = {
        "plain": lambda cells: replace(cells, season=(), spread=()),
        "seasonal": lambda cells: replace(cells, spread=()),
        "spread": lambda cells: replace(cells, season=()),
        "both": lambda cells: cells,
    }
    spans: list[Span] = []
    for field, each in profile.features.items():
        for kind, change in kinds.items():
            if each.cells is not None:
                start = spans[-1].end if spans else 0
                spans.append(Span(f"{field}/{kind}", start, change(each.cells)))
    layout = Layout("0" * 8, spans[-1].end, tuple(spans), ())
    detector = Detector(layout, AlarmSettings(RUN_LENGTH * 3_600.0, 3_600.0, 1e12))
    hours, places = np.unique((live.times // 3_600).astype(np.int64), return_inverse=True)
    counts = np.zeros((len(hours), layout.size), dtype=np.int64)
    for span in spans:
        codes = codes_of(span.cells, live.columns[span.name.split("/")[0]])
        np.add.at(counts, (places, codes.astype(np.int64) + span.start), 1)
    alarms = _counted_alarms(detector, hours.tolist(), counts)
    fields = {
        field: {kind: alarms[f"{field}/{kind}"] for kind in kinds} | {"has_season": bool(each.cells.season)}
        for field, each in profile.features.items()
        if each.cells is not None
    }
    print(f"{name}: alarms in {len(hours):,} hourly buckets without a lasting change:")
    for field, by_kind in fields.items():
        print(f"  {field}: {by_kind}")
    return {"name": name, "buckets": len(hours), "fields": fields}


def cost(fields: int) -> dict[str, Any]:
    """Return what a bucket costs a model of so many number fields, in time of a processor."""
    layout = _layout([_cells(REFERENCE, seed) for seed in range(fields)])
    began = time.thread_time()
    detector = Detector(layout, AlarmSettings())
    made = time.thread_time() - began
    generator = np.random.default_rng(3)
    counts = np.concatenate([generator.multinomial(1_000, _shares(span.cells)) for span in layout.spans])
    state = detector.start(NEVER)
    began = time.thread_time()
    for bucket in range(200):
        state = detector.step(state, bucket, counts)
    step = (time.thread_time() - began) / 200
    size = len(state.encode()) / fields
    print(
        f"{fields} fields: {1e3 * step:.2f} ms a bucket, {size:.0f} bytes of state a field, made in {1e3 * made:.0f} ms"
    )
    return {"fields": fields, "bucket_ms": 1e3 * step, "make_ms": 1e3 * made, "bytes_per_field": size}


def _first_alarms(
    runs: int, shift: float, spread: float, buckets: int, reference: int = REFERENCE
) -> list[float]:
    """Return the bucket of each run's first alarm, infinite without one. Each field of one detector is a run."""
    layout = _layout([_cells(reference, seed) for seed in range(runs)])
    detector = Detector(layout, AlarmSettings(RUN_LENGTH * 60.0))
    shares = np.array([_shares(span.cells, shift, spread) for span in layout.spans])
    generator = np.random.default_rng(99)
    state = detector.start(NEVER)
    first = np.full(runs, np.inf)
    for bucket in range(buckets):
        counts = generator.multinomial(BUCKET_ROWS, shares).reshape(-1)
        state = detector.step(state, bucket, counts)
        heard = detector.evidence(state) >= detector.level
        first = np.where(heard & ~np.isfinite(first), bucket + 1, first)
        if np.isfinite(first).all():
            break
    found: list[float] = first.tolist()
    return found


def _counted_alarms(detector: Detector, hours: Sequence[int], counts: NDArray[np.int64]) -> dict[str, int]:
    alarms = np.zeros(len(detector.spans), dtype=np.int64)
    state = detector.start(NEVER)
    for hour, row in zip(hours, counts, strict=True):
        state = detector.step(state, hour, row)
        heard = detector.evidence(state) >= detector.level
        if heard.any():
            alarms += heard
            state = replace(state, evidence=np.where(heard[:, None], np.float32(-np.inf), state.evidence))
    return {span.name: int(count) for span, count in zip(detector.spans, alarms, strict=True)}


def _cells(reference: int, seed: int) -> Cells:
    """Return the sixteen cells of a reference of standard normal numbers."""
    values = np.random.default_rng(seed).normal(size=reference)
    edges = tuple(np.quantile(values, np.arange(1, 16) / 16).tolist())
    bare = Cells(edges=edges, low=float(values.min()), high=float(values.max()))
    return replace(bare, counts=tuple(np.bincount(bare.of_numbers(values), minlength=bare.size).tolist()))


def _shares(cells: Cells, shift: float = 0.0, spread: float = 1.0) -> Floats:
    """Return the true shares of normal numbers in the cells, exactly."""
    ends = [NormalDist().cdf((end - shift) / spread) for end in (cells.low, *cells.edges, cells.high)]
    return np.array([*np.diff(ends), ends[0], 1.0 - ends[-1], 0.0, 0.0])


def _layout(cells: Sequence[Cells]) -> Layout:
    spans = [Span(f"x{place}", place * each.size, each) for place, each in enumerate(cells)]
    return Layout("0" * 8, spans[-1].end, tuple(spans), ())


if __name__ == "__main__":
    main()
