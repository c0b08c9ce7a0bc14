"""The drift of one model: its detector, fed with the buckets that all replicas closed, and its alarms, told once.

Decides who goes on with the detector's state, and who tells. What the evidence is, is left to `stats.detector`; when a bucket
is closed to the keeper of the statistics; how often people hear of it to the webhooks.

Every replica may go on from the state in the store; whoever writes first has done it for all, and the others take theirs. What an
alarm names is reported to the store under an id of its own, and whoever the store tells that it was new tells the webhooks:
so a replica that ends between the two leaves it to another. Nothing here is awaited by a request.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from guardproxy.config import Config
from guardproxy.profile.model import Profile
from guardproxy.stats.alarms import NEVER, AlarmSettings
from guardproxy.stats.detector import Detector
from guardproxy.stats.detector_state import DetectorState, decode
from guardproxy.stats.drift_report import DAY, FieldReport, ModelReport, report_of
from guardproxy.stats.layout import OUTPUT, Layout
from guardproxy.stats.snapshot import Snapshot
from guardproxy.stores.statistics import StatisticsStore
from guardproxy.table import Floats
from guardproxy.units import format_moment

log = structlog.get_logger("guardproxy.drift")

KEEP_S: Final = 100 * 86_400
"""So long the store keeps a state that nobody goes on with."""

MAX_BUCKETS: Final = 256
"""Closed buckets judged at one beat; those behind them wait for the next."""

EVENT: Final = "drift"
_STATE: Final = "drift-"

Bucket = tuple[int, NDArray[np.integer[Any]]]


class ClosedBuckets(Protocol):
    """What the keeper of a model's statistics knows."""

    @property
    def layout(self) -> Layout:
        """Where each count stands."""

    @property
    def snapshot(self) -> Snapshot:
        """The newest windows."""

    def season_rows(self, window: str) -> Floats | None:
        """Return the rows of a window of the snapshot by season cell, shape (48,); None where there is no such window."""

    def closed_after(self, bucket: int) -> Sequence[Bucket]:
        """Return the closed buckets behind `bucket`, the oldest first, merged over all replicas; those without rows may be left out."""


def alarm_settings(config: Config) -> AlarmSettings:
    """Return what a configuration asks of drift alarms."""
    return AlarmSettings(
        run_length_s=config.drift_run_length_s,
        bucket_s=config.bucket_s,
        cooldown_s=config.drift_cooldown_s,
        tolerance=config.drift_tolerance,
    )


def watched_fields(profile: Profile | None) -> tuple[str, ...]:
    """Return all fields of a profile in its order, outputs as `output.NAME`."""
    if profile is None:
        return ()
    return (*profile.features, *(f"{OUTPUT}{name}" for name in profile.outputs))


class DriftKeeper:
    """Watches one model. `tell` is that of the webhooks; `fields` are all fields of its profile, outputs as `output.NAME`.

    `judged` counts closed buckets that this replica judged for all, `lost` those that another had judged before it, `damaged` states that
    could not be read, so that the evidence began anew.
    """

    def __init__(
        self,
        model: str,
        statistics: ClosedBuckets,
        fields: Sequence[str],
        settings: AlarmSettings,
        tell: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self.model = model
        self.judged = self.lost = self.damaged = 0
        self._statistics = statistics
        self._fields = tuple(fields)
        self._detector = Detector(statistics.layout, settings)
        self._name = f"{_STATE}{statistics.layout.version}"
        self._tell = tell
        self._blob: bytes | None = None
        self._state: DetectorState | None = None
        self._looked = False
        self._passed = NEVER
        self._told: frozenset[str] = frozenset()
        self._new: dict[str, FieldReport] = {}
        self._report = report_of(self._detector, None, {}, self._fields)

    async def beat(self, store: StatisticsStore, now: float) -> None:
        """Judge what was closed since the last beat. Raises StoreDownError; whatever was not written then is judged again."""
        if not self._detector.spans:
            self._pass_by()
            return
        known = self._state
        if not self._looked:
            self._take(await store.state(self.model, self._name))
            self._looked = True
        closed = self._statistics.closed_after(NEVER if self._state is None else self._state.cursor)
        if closed:
            await self._go_on(store, closed[:MAX_BUCKETS])
        if self._state is not known:
            windows, day = self._statistics.snapshot.windows, self._statistics.season_rows(DAY)
            before = self._report.alarm
            self._report = await asyncio.to_thread(
                report_of, self._detector, self._state, windows, self._fields, day
            )
            if before is not None and self._report.alarm is None:
                log.info("drift.ended", model=self.model, fields=before.fields)
        await self._tell_of(store, now)

    def report(self, now: float) -> Mapping[str, Any]:
        """Return the model's part of `/v1/drift`, as of the last closed bucket that was judged; `behind_s` says how long ago that ended."""
        bucket_s = self._detector.settings.bucket_s
        judged = None if self._state is None else (self._state.cursor + 1) * bucket_s
        behind = None if judged is None else round(max(0.0, now - judged), 1)
        return {**_as_json(self.model, self._report), "behind_s": behind}

    @property
    def found(self) -> ModelReport:
        """The same as values."""
        return self._report

    def _pass_by(self) -> None:
        """Say that nobody waits for closed buckets, where there is nothing to judge in them."""
        closed = self._statistics.closed_after(self._passed)
        if closed:
            self._passed = closed[-1][0]

    async def _go_on(self, store: StatisticsStore, closed: Sequence[Bucket]) -> None:
        """Go on from what the store has, unless another replica did so first."""
        stepped = await asyncio.to_thread(self._stepped, self._state, closed)
        blob = stepped.encode()
        if await store.swap(self.model, self._name, self._blob, blob, KEEP_S):
            self.judged += len(closed)
            self._blob, self._state = blob, stepped
            return
        self.lost += len(closed)
        self._take(await store.state(self.model, self._name))

    def _take(self, blob: bytes | None) -> None:
        """Take over the state that the store has; from a damaged one only the evidence is lost, and that is said."""
        self._blob = blob
        self._state = None
        if blob is None:
            return
        try:
            self._state = decode(blob, self._detector.shape)
        except ValueError as error:
            self.damaged += 1
            log.warning("drift.state_damaged", model=self.model, problem=str(error))

    def _stepped(self, state: DetectorState | None, closed: Sequence[Bucket]) -> DetectorState:
        stepped = self._detector.start(NEVER) if state is None else state
        for bucket, counts in closed:
            stepped = self._detector.step(stepped, bucket, counts)
        return stepped

    async def _tell_of(self, store: StatisticsStore, now: float) -> None:
        """Report what the alarm names, each field once whoever does it, and tell of what was new in one event."""
        named = {
            f"{self.model}/{each.field}/{each.alarm.raised}": each
            for each in self._report.fields
            if each.alarm is not None
        }
        for event_id, field in named.items():
            if event_id in self._told:
                continue
            said = {"model": self.model, **_field_json(field)}
            if await store.report(self.model, event_id, json.dumps(said).encode()):
                # Kept until it is told: the store may fail at the next field.
                self._new[event_id] = field
            self._told |= {event_id}
        self._told &= named.keys()
        alarm, new = self._report.alarm, list(self._new.values())
        self._new.clear()
        if new and alarm is not None:
            names = [each.field for each in new]
            log.warning("drift.alarm", model=self.model, fields=names, message=alarm.message)
            self._tell(
                EVENT,
                {
                    "model": self.model,
                    "fields": names,
                    "text": f"{self.model}: {alarm.message}",
                    "raised_at": format_moment(alarm.raised_at),
                    "id": f"{self.model}/{alarm.raised}/{min(each.alarm.raised for each in new if each.alarm is not None)}",
                    "at": now,
                },
            )


def _as_json(model: str, found: ModelReport) -> dict[str, Any]:
    alarm = found.alarm
    return {
        "model": model,
        "evidence": _short(found.alarms),
        "alarm": None
        if alarm is None
        else {
            "raised_at": format_moment(alarm.raised_at),
            "message": alarm.message,
            "evidence": _short(found.alarms),
            "fields": list(alarm.fields),
        },
        "fields": [_field_json(each) for each in found.fields],
    }


def _field_json(field: FieldReport) -> dict[str, Any]:
    alarm, compared = field.alarm, field.compared
    return {
        "field": field.field,
        "state": field.state.value,
        "alarm": None
        if alarm is None
        else {
            "raised_at": format_moment(alarm.raised_at),
            "since": format_moment(alarm.since),
            "message": alarm.message,
            "effect": _short(alarm.effect),
            "direction": alarm.direction.value,
            "cells": [
                {"cell": each.cell, "before": _short(each.before), "now": _short(each.now)}
                for each in alarm.cells
            ],
        },
        "rows": dict(field.rows or {}),
        "evidence": _short(field.alarms),
        "effect": None if compared is None else _short(compared.effect),
        "p": None if compared is None else _short(compared.p),
        "margin": None if compared is None else _short(compared.margin),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")
