"""The drift detector of a model: all its fields and outputs, bucket by bucket.

Decides which evidence is added up and which fields an alarm names. How an alarm lives is left to `alarms`, how its
state is kept to `detector_state`, when a bucket is closed and who tells whom to the proxy.

What may move is the band of each cell (see `bands`): that of the hour of the day and kind of day where the reference data show
a season. Beside the fixed alternatives (see `tilts`) stand two that follow the stream: what the last 500 and 5,000 rows
looked like, as they were before the bucket.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.cells import SPECIAL_CELLS, Cells, season_cell
from guardproxy.stats.alarms import NEVER, AlarmSettings, alarm_after
from guardproxy.stats.bands import Band, band_of
from guardproxy.stats.detector_state import FOLLOWED, DetectorState
from guardproxy.stats.evidence import gather, log_means
from guardproxy.stats.layout import Layout, Span
from guardproxy.stats.tilts import Bank, alternatives_of, bank_of
from guardproxy.table import Floats

FOLLOWING: Final = (500.0, 5_000.0)
"""After so many rows what follows the stream has half forgotten them."""

_PRIOR_ROWS: Final = 100.0
_BEGINNING: Final = 0.5
"""Evidence below this power of the alarm's level is the restlessness of every stream; above it a change has its beginning."""


class _Season(NamedTuple):
    """What is looked for in one season cell. `band` has shape (fields, 1, cells), `share` (fields, cells)."""

    band: Band
    share: Floats
    bank: Bank


class Detector:
    """What is looked for in the counts of one layout. It holds no evidence itself.

    Banks are made when they are needed and kept: one for all rows and, where a field has a season, one for each of the 48
    season cells, of about 5 KB a field.
    """

    def __init__(self, layout: Layout, settings: AlarmSettings) -> None:
        """Prepare for all fields of which the reference counted anything; that takes about a millisecond a field."""
        self.settings = settings
        self.level = math.log(settings.run_length)
        self.spans: tuple[Span, ...] = tuple(span for span in layout.spans if sum(span.cells.counts))
        self.size = layout.size
        width = max((span.cells.size for span in self.spans), default=0)
        self._alternatives = [_alternatives(reference_of(span.cells), span.cells) for span in self.spans]
        height = max((len(each) for each in self._alternatives), default=0)
        self._width, self._height = width, height
        self.places = np.full((len(self.spans), width), layout.size, dtype=np.int64)
        for line, span in enumerate(self.spans):
            self.places[line, : span.cells.size] = np.arange(span.start, span.end)
        self._seasonal = any(span.cells.season for span in self.spans)
        self._seasons: dict[int | None, _Season] = {}
        self._counted = np.ones((len(self.spans), height + FOLLOWED), dtype=np.bool_)
        self._counted[:, :height] = self._season(None).bank.loud

    @property
    def shape(self) -> tuple[tuple[int, int], ...]:
        """How many alternatives and cells each field has: a state of another shape is of no use here."""
        return tuple(
            (len(each) + FOLLOWED, span.cells.size)
            for each, span in zip(self._alternatives, self.spans, strict=True)
        )

    def start(self, cursor: int) -> DetectorState:
        """Return the state of one who has seen nothing, and begins behind the bucket `cursor`."""
        return DetectorState.empty(cursor, self.shape)

    def step(self, state: DetectorState, bucket: int, counts: NDArray[np.integer[Any]]) -> DetectorState:
        """Return the state after one more closed bucket with `counts`, shape (layout.size,).

        A bucket that is not behind the cursor was seen, or came too late: the state stays.
        """
        if bucket <= state.cursor:
            return state
        if not self.spans:
            return state.at(bucket)
        found = np.append(counts, 0).astype(np.float64)[self.places]
        season = self._season(self._season_of(bucket))
        evidence = self._gathered(season, state, found)
        rows = found.sum(axis=1, keepdims=True)
        began = (self.evidence(state) < _BEGINNING * self.level) & (state.named == NEVER)
        fresh = began & (rows[:, 0] > 0.0)
        stepped = DetectorState(
            cursor=bucket,
            alarm=state.alarm,
            shape=state.shape,
            evidence=evidence.astype(np.float32),
            followed=_followed(state.followed, found, rows),
            now=(np.where(fresh[:, None], 0.0, state.now) + found).astype(np.float32),
            expected=(np.where(fresh[:, None], 0.0, state.expected) + rows * season.share).astype(np.float32),
            since=np.where(fresh, bucket, state.since),
            named=state.named,
        )
        return self._judged(stepped)

    def evidence(self, state: DetectorState) -> Floats:
        """Return the log evidence of each field, shape (fields,)."""
        return log_means(state.evidence.astype(np.float64), self._counted)

    def model_evidence(self, state: DetectorState) -> float:
        """Return the log evidence of the model: the mean over all fields and outputs."""
        if not self.spans:
            return -math.inf
        return _model(self.evidence(state))

    def expected(self, line: int, rows: Floats) -> Floats:
        """Return the reference counts of a field, shape (cells,), as a stretch with these rows by season cell, shape (48,), should
        have them.

        Each season cell has the weight of its rows. The sum says how many reference rows say as much of the shares as all of
        these together: weights `w` of season cells with `n` rows each say as much as `1 / sum (w^2 / n)` rows do.
        """
        cells = self.spans[line].cells
        whole = reference_of(cells)
        places = np.flatnonzero(rows).tolist() if cells.season else []
        if not places:
            return whole
        weights = rows[places] / rows[places].sum()
        counts = np.stack([reference_of(cells, place) for place in places])
        known = counts.sum(axis=1, keepdims=True)
        shares = np.where(known > 0.0, counts / np.maximum(known, 1.0), whole / whole.sum())
        alike: Floats = weights @ shares / (weights**2 / np.maximum(known[:, 0], 1.0)).sum()
        return alike

    def _judged(self, state: DetectorState) -> DetectorState:
        found = self.evidence(state)
        reached = _model(found) >= self.level
        step = alarm_after(state.alarm, state.cursor, reached=reached, cooldown=self.settings.cooldown)
        named = state.named
        if step.alarm.stands and not step.anew:
            named = np.where((found >= self.level) & (named == NEVER), state.cursor, named)
        elif not step.alarm.stands:
            named = np.full_like(named, NEVER)
        evidence = np.full_like(state.evidence, -np.inf) if step.anew else state.evidence
        return state.judged(step.alarm, evidence, named)

    def _gathered(self, season: _Season, state: DetectorState, found: Floats) -> Floats:
        """Add a bucket to the evidence for the fixed alternatives, and for those that follow the stream."""
        before, dispersion = state.evidence.astype(np.float64), self.settings.dispersion
        fixed = gather(before[:, : self._height], season.bank, found, dispersion)
        whole = self._season(None).share[:, None, :]
        followed = state.followed.astype(np.float64)
        seen = (followed + _PRIOR_ROWS * whole) / (followed.sum(axis=2, keepdims=True) + _PRIOR_ROWS)
        alike = season.share[:, None, :] * (seen / np.where(whole > 0.0, whole, 1.0))
        moving = bank_of(alike / alike.sum(axis=2, keepdims=True), season.band)
        return np.concatenate((fixed, gather(before[:, self._height :], moving, found, dispersion)), axis=1)

    def _season_of(self, bucket: int) -> int | None:
        return season_cell(bucket * self.settings.bucket_s) if self._seasonal else None

    def _season(self, place: int | None) -> _Season:
        found = self._seasons.get(place)
        if found is None:
            found = self._seasons[place] = self._made(place)
        return found

    def _made(self, place: int | None) -> _Season:
        shape = (len(self.spans), self._width)
        band = Band(np.zeros(shape), np.zeros(shape), np.zeros(shape))
        alternatives = np.zeros((len(self.spans), self._height, self._width))
        for line, span in enumerate(self.spans):
            cells = span.cells
            own = band_at(cells, place, self.settings.tolerance)
            for target, source in zip(band, own, strict=True):
                target[line, : cells.size] = source
            fixed = (
                self._alternatives[line]
                if place is None
                else _alternatives(_seen(cells, place), cells, len(self._alternatives[line]))
            )
            alternatives[line, : len(fixed), : cells.size] = fixed
            # A field with fewer alternatives than another has silent ones behind its own.
            alternatives[line, len(fixed) :, : cells.size] = own.share
        around = Band(*(each[:, None, :] for each in band))
        bank = bank_of(alternatives, around)
        return _Season(around, band.share, bank._replace(loud=bank.loud & self._counted[:, : self._height]))


def _model(fields: Floats) -> float:
    return float(log_means(fields, np.ones(len(fields), dtype=np.bool_)))


def reference_of(cells: Cells, place: int | None = None) -> Floats:
    """Return the reference counts of a season cell, of all rows where the field has no season.

    Those of a rare hour are few, and its band is as wide as that makes it: what other hours have says nothing of it.
    """
    if place is not None and cells.season:
        return np.array(cells.season[place], dtype=np.float64)
    return np.array(cells.counts, dtype=np.float64)


def band_at(cells: Cells, place: int | None, tolerance: float) -> Band:
    """Return between what the shares of a field may move in a season cell, in all hours where it has no season.

    Of an hour that was never seen nothing is known: everything lies inside its band.
    """
    counts = reference_of(cells, place)
    if not counts.any():
        return Band(band_of(reference_of(cells)).share, np.zeros(cells.size), np.ones(cells.size))
    spread = np.array(cells.spread) if cells.spread else None
    return band_of(counts, tolerance=tolerance, spread=spread)


def _seen(cells: Cells, place: int | None) -> Floats:
    """Return the reference counts of a season cell, those of all rows for an hour that was never seen."""
    counts = reference_of(cells, place)
    return counts if counts.any() else reference_of(cells)


def _alternatives(counts: Floats, cells: Cells, fewest: int = 0) -> Floats:
    """Return the fixed alternatives to reference counts; what is missing of `fewest` is made up by silent ones."""
    share = band_of(counts).share
    found = alternatives_of(share, cells.size - SPECIAL_CELLS, cells.ordered)
    if not fewest:
        return found
    return np.concatenate((found, np.tile(share, (max(0, fewest - len(found)), 1))))[:fewest]


def _followed(followed: NDArray[np.float32], found: Floats, rows: Floats) -> NDArray[np.float32]:
    halves = np.array(FOLLOWING)[None, :, None]
    kept = 0.5 ** (rows[:, :, None] / halves)
    after: NDArray[np.float32] = (followed * kept + found[:, None, :]).astype(np.float32)
    return after
