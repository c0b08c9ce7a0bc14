"""What is said of a model's drift, field by field: its state, its alarm in words, and how far the last day is from normal.

Decides the state of a field and the sentences of an alarm. The evidence is the detector's; the words of a direction are
`drift_words`. Nothing here is asked per request: it is worked out once for each closed bucket.

The test of the last 24 hours is `windowed.compare`, against what the reference has at these hours, each counted by its rows. Where days differ, a day's
share varies by `spread` beyond sampling, so Pearson's statistic grows by `1 + rows sum (spread^2 / share) / (cells - 1)`,
by which it is divided.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import numpy as np

from guardproxy.profile.cells import SEASON_CELLS, season_cell
from guardproxy.stats.alarms import NEVER
from guardproxy.stats.bands import band_of
from guardproxy.stats.detector import Detector
from guardproxy.stats.detector_state import DetectorState
from guardproxy.stats.drift_words import CellMove, Change, Direction, cell_moves, moved, subject
from guardproxy.stats.snapshot import Counted
from guardproxy.stats.windowed import Compared, compare
from guardproxy.table import Floats

DAY: Final = "24h"
HOUR: Final = "1h"
WATCHED: Final = 0.01
"""A field is watched from this share of an alarm's evidence, or when the last day is less likely than this."""

MOST_EVIDENCE: Final = 1e12
"""What is said of evidence beyond this multiple of an alarm's."""

_NAMED: Final = 3
_SMALL: Final = 1e-9


class FieldState(StrEnum):
    """How a field stands. `WARMING`: no bucket is closed yet; `UNLEARNED`: the profile says nothing to compare with."""

    QUIET = "quiet"
    WATCH = "watch"
    ALARM = "alarm"
    WARMING = "warming"
    UNLEARNED = "unlearned"


@dataclass(frozen=True, slots=True)
class FieldAlarm:
    """Why a field is named. Times are Unix seconds: `raised_at` the end of the bucket that named it, `since` the start of the
    one in which its evidence begins. `effect` is the population stability index without what sampling gives it."""

    raised: int
    raised_at: float
    since: float
    message: str
    effect: float
    direction: Direction
    cells: tuple[CellMove, ...]


@dataclass(frozen=True, slots=True)
class FieldReport:
    """One field. `evidence` is the logarithm of a multiple of what raises an alarm; `rows` by window; `effect`, `p` and `margin` are those of the
    last 24 hours (see `windowed`), None without rows."""

    field: str
    state: FieldState
    alarm: FieldAlarm | None = None
    rows: Mapping[str, int] | None = None
    evidence: float = -math.inf
    compared: Compared | None = None

    @property
    def alarms(self) -> float:
        """The evidence as a multiple of what raises an alarm."""
        return multiple(self.evidence)


@dataclass(frozen=True, slots=True)
class ModelAlarm:
    """A model's alarm, with the fields it names, the loudest first."""

    raised: int
    raised_at: float
    message: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model; `evidence` is the logarithm of a multiple of what raises its alarm."""

    alarm: ModelAlarm | None
    evidence: float
    fields: tuple[FieldReport, ...]

    @property
    def alarms(self) -> float:
        """The evidence as a multiple of what raises the alarm."""
        return multiple(self.evidence)


def report_of(
    detector: Detector,
    state: DetectorState | None,
    windows: Mapping[str, Counted],
    fields: Sequence[str],
    day: Floats | None = None,
) -> ModelReport:
    """Return what is said of all `fields` of a model (outputs as `output.NAME`); `state` is None before the first closed bucket.

    `day` says how the rows of the last 24 hours are spread over the season cells, shape (48,); without it all hours count alike.
    """
    lines = {span.name: line for line, span in enumerate(detector.spans)}
    evidence = np.full(len(lines), -np.inf) if state is None else detector.evidence(state)
    found = tuple(
        _field(detector, state, windows, lines[name], float(evidence[lines[name]]), day)
        if name in lines
        else FieldReport(name, FieldState.UNLEARNED)
        for name in fields
    )
    if state is None:
        return ModelReport(None, -math.inf, found)
    level = detector.model_evidence(state) - detector.level
    return ModelReport(_alarm(detector, state, found), level, found)


def _field(
    detector: Detector,
    state: DetectorState | None,
    windows: Mapping[str, Counted],
    line: int,
    evidence: float,
    day: Floats | None,
) -> FieldReport:
    name = detector.spans[line].name
    rows = {
        length: int(window.counts[detector.spans[line].part].sum())
        for length, window in windows.items()
        if length in {HOUR, DAY}
    }
    compared = _compared(detector, windows.get(DAY), line, day)
    if state is None or state.cursor == NEVER:
        return FieldReport(name, FieldState.WARMING, None, rows, compared=compared)
    alarm = _field_alarm(detector, state, line) if state.named[line] != NEVER else None
    watched = evidence > detector.level + math.log(WATCHED) or (
        compared is not None and compared.margin < WATCHED
    )
    standing = FieldState.ALARM if alarm is not None else FieldState.WATCH if watched else FieldState.QUIET
    return FieldReport(name, standing, alarm, rows, evidence - detector.level, compared)


def _compared(detector: Detector, window: Counted | None, line: int, day: Floats | None) -> Compared | None:
    if window is None:
        return None
    cells = detector.spans[line].cells
    counts = window.counts[detector.spans[line].part].astype(np.float64)
    reference = detector.expected(line, _alike(window) if day is None else day)
    rows = float(counts.sum())
    share = band_of(reference).share
    more = float((np.array(cells.spread) ** 2 / np.maximum(share, _SMALL)).sum()) if cells.spread else 0.0
    dispersion = detector.settings.dispersion + rows * more / (cells.size - 1)
    return compare(reference, counts, dispersion)


def _alike(window: Counted) -> Floats:
    """Return how rows would be spread over the season cells if every hour that the window touches had as many."""
    found = np.zeros(SEASON_CELLS)
    for at in np.arange(window.start, window.end, 3_600.0).tolist():
        found[season_cell(at)] += 1.0
    return found


def _field_alarm(detector: Detector, state: DetectorState, line: int) -> FieldAlarm:
    span, bucket_s = detector.spans[line], detector.settings.bucket_s
    size = span.cells.size
    now, expected = state.now[line, :size].astype(np.float64), state.expected[line, :size].astype(np.float64)
    change = Change(span.cells, expected / max(float(expected.sum()), 1.0), now / max(float(now.sum()), 1.0))
    compared = compare(change.before * float(sum(span.cells.counts)), now)
    effect = 0.0 if compared is None else compared.effect
    raised, since = int(state.named[line]), int(state.since[line]) * bucket_s
    said = moved(change)
    message = (
        f"{subject(span.name, span.cells.measure)} {said.words} (effect {effect:.2g}, since {_moment(since)})"
    )
    return FieldAlarm(
        raised, (raised + 1) * bucket_s, since, message, effect, said.direction, cell_moves(change)
    )


def _alarm(detector: Detector, state: DetectorState, fields: Sequence[FieldReport]) -> ModelAlarm | None:
    if not state.alarm.stands:
        return None
    named = sorted((each for each in fields if each.alarm is not None), key=lambda each: -each.evidence)
    raised = state.alarm.raised
    return ModelAlarm(
        raised,
        (raised + 1) * detector.settings.bucket_s,
        _sentence(named, detector.settings.run_length_s),
        tuple(each.field for each in named),
    )


def _sentence(named: Sequence[FieldReport], run_length_s: float) -> str:
    said = [each.alarm.message for each in named[:_NAMED] if each.alarm is not None]
    more = len(named) - len(said)
    rest = f"; and {more} more {'field' if more == 1 else 'fields'}" if more else ""
    return f"{'; '.join(said)}{rest}; while nothing changes, an alarm comes once in {_length(run_length_s)} at most"


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _length(seconds: float) -> str:
    """Write a length of time in the largest unit of which it has two or more."""
    for unit, size in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.4g} seconds"


def multiple(evidence: float) -> float:
    """Return a multiple of which this is the logarithm, at most MOST_EVIDENCE."""
    return min(math.exp(min(evidence, 100.0)), MOST_EVIDENCE)
