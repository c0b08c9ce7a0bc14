"""What the Signals page is made of: each field's learned shares beside those of the last hour and day.

Decides when a share counts as outside of its band: by more than as many rows do by chance. The bands are those of the drift
alarms; the alarm's own words are left to `drift`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from guardproxy.profile.cells import SPECIAL_CELLS, season_cell
from guardproxy.profile.model import Profile
from guardproxy.stats.bands import Band
from guardproxy.stats.detector import band_at
from guardproxy.stats.drift_report import DAY, HOUR
from guardproxy.stats.layout import Layout, Span
from guardproxy.stats.snapshot import Counted, Snapshot
from guardproxy.table import Floats

_CHANCE: Final = 3.5
"""How many standard deviations of a share, as so many rows draw it, are put down to chance: about one cell in 2,000."""


def signals_of(
    model: str,
    profile: Profile | None,
    layout: Layout,
    snapshot: Snapshot,
    drift: Mapping[str, Any],
    *,
    now: float,
    tolerance: float,
) -> dict[str, Any]:
    """Return one model's signals as plain JSON values; `drift` is what the model's drift keeper reports of it."""
    states = {str(each["field"]): each for each in drift.get("fields", ())}
    spans = {span.name: span for span in layout.spans}
    names = [*spans, *(name for name in states if name not in spans)]
    alarm = drift.get("alarm") or {}
    return {
        "model": model,
        "state": _state_of(drift, states),
        "sentence": str(alarm.get("message", "")),
        "profile": None if profile is None else profile.version,
        "profile_state": None if profile is None or profile.acts else "learned from traffic and not approved",
        "rows": {length: _rows(snapshot, length) for length in (HOUR, DAY)},
        "age_s": None if snapshot.since is None else round(max(0.0, now - snapshot.at), 1),
        "fields": [
            _field(name, spans.get(name), states.get(name, {}), snapshot, tolerance) for name in names
        ],
    }


def _state_of(drift: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]]) -> str:
    if drift.get("alarm"):
        return "alarm"
    found = {str(each.get("state")) for each in states.values()}
    return next((state for state in ("watch", "quiet", "warming") if state in found), "unlearned")


def _rows(snapshot: Snapshot, length: str) -> int:
    window = snapshot.windows.get(length)
    return 0 if window is None else window.rows


def _field(
    name: str, span: Span | None, said: Mapping[str, Any], snapshot: Snapshot, tolerance: float
) -> dict[str, Any]:
    alarm = said.get("alarm") or {}
    found: dict[str, Any] = {
        "field": name,
        "state": str(said.get("state", "unlearned")),
        "sentence": str(alarm.get("message", "")),
        "ordered": 0,
        "specials": 0,
        "rows": {},
        "cells": [],
    }
    if span is None:
        return found
    counted = {length: _counts(snapshot.windows.get(length), span) for length in (HOUR, DAY)}
    return {
        **found,
        "ordered": span.cells.ordered,
        "specials": SPECIAL_CELLS,
        "rows": {length: int(counts.sum()) for length, counts in counted.items()},
        "cells": _cells(
            span, counted[HOUR], counted[DAY], _band(span, snapshot.windows.get(HOUR), tolerance)
        ),
    }


def _counts(window: Counted | None, span: Span) -> Floats:
    if window is None:
        return np.zeros(span.cells.size)
    return window.counts[span.part].astype(np.float64)


def _band(span: Span, hour: Counted | None, tolerance: float) -> Band:
    """Return between what the shares of the last hour may move: where there is a season, in any of the hours that it touches."""
    places = () if hour is None else sorted({season_cell(at) for at in (hour.start, hour.end - 1.0)})
    bands = [band_at(span.cells, place, tolerance) for place in places or (None,)]
    low, high = (np.stack(each) for each in ([one.low for one in bands], [one.high for one in bands]))
    share = np.mean([one.share for one in bands], axis=0)
    return Band(share, low.min(axis=0), high.max(axis=0))


def _cells(span: Span, hour: Floats, day: Floats, band: Band) -> list[dict[str, Any]]:
    hours, days = _shares(hour), _shares(day)
    return [
        {
            "cell": cell,
            "learned": float(band.share[place]),
            "low": float(band.low[place]),
            "high": float(band.high[place]),
            HOUR: None if hours is None else hours[place],
            DAY: None if days is None else days[place],
            "outside": hours is not None
            and _outside(hours[place], float(band.low[place]), float(band.high[place]), float(hour.sum())),
        }
        for place, cell in enumerate(span.cells.names)
    ]


def _shares(counts: Floats) -> Sequence[float] | None:
    rows = float(counts.sum())
    return [float(count) / rows for count in counts] if rows else None


def _outside(share: float, low: float, high: float, rows: float) -> bool:
    """Tell whether a share lies outside its band by more than `rows` rows do by chance, and by more than one row."""
    nearest = min(max(share, low), high)
    chance = _CHANCE * math.sqrt(nearest * (1.0 - nearest) / rows) + 1.0 / rows
    return abs(share - nearest) > chance
