"""Holds for tests of holds, stores and the admin plane."""

from dataclasses import replace
from typing import Any

from guardproxy.decision import (
    Action,
    Candidate,
    Finding,
    HeldRow,
    Meanwhile,
    Mode,
    OnExpiry,
    Severity,
    Verdict,
)
from guardproxy.holds import Band, Hold, hold_from

START = 1_780_000_000.0
SLA_S = 900.0

FINDINGS = (
    Finding(
        "demand-is-plausible", 3, Verdict.VIOLATED, Mode.ENFORCE, Action.HOLD, Severity.HIGH,
        "Demand of 18,450 hires is 21 times the learned maximum of 868.", (("output.demand", 18450.0),),
        "0..977", "profile bike-hour 2011", acts=True,
    ),
    Finding(
        "humidity-was-learned", 3, Verdict.VIOLATED, Mode.SHADOW, Action.WARN, Severity.LOW,
        "Humidity of 0 never occurred in the reference data.", (("features.humidity", 0.0),), "", "", acts=False,
    ),
    Finding("demand-is-whole", 3, Verdict.OK, Mode.ENFORCE, Action.WARN, Severity.LOW, "fine"),
)  # fmt: skip

BANDS = (
    Band("output.demand", 18450.0, 0.0, 868.0, 2.0, 129.0, 702.0, "hires"),
    Band("features.temperature", 21.4, -8.0, 39.0, -4.0, 14.5, 35.2, "°C"),
    Band("features.humidity", 0.0, 0.16, 1.0, 0.24, 0.63, 0.94),
    Band("features.windspeed", 12.998, 0.0, 56.99, 0.0, 11.0, 35.0, "km/h"),
    Band("features.hour", 17.0, 0.0, 23.0, 0.0, 12.0, 23.0),
)


def held_row(**changes: Any) -> HeldRow:
    """A held row of a demand forecast; `changes` replace fields."""
    row = HeldRow(
        row=3,
        rule="demand-is-plausible",
        queue="forecast",
        severity=Severity.HIGH,
        meanwhile=Meanwhile.FALLBACK,
        on_expiry=OnExpiry.FALLBACK,
        sla_s=SLA_S,
        features={
            "season": "spring",
            "hour": 17.0,
            "temperature": 21.4,
            "windspeed": 12.998,
            "humidity": 0.0,
            "holiday": False,
            "weather": None,
            "station": 9007199254740993,
        },
        original={"demand": 18450.0},
        provisional={"demand": 214.0},
        provisional_source="previous",
        candidates=(
            Candidate("previous", {"demand": 214.0}),
            Candidate("profile.p50", {"demand": 129.0}),
            Candidate("expr: features.hour * 100", {"demand": 1700.0}, ("demand-is-plausible",)),
            Candidate("seasonal", {}, note="no history for this entity"),
        ),
        findings=FINDINGS,
        value=18450.0,
    )
    return replace(row, **changes)


def make_hold(number: int = 0, *, at: float = START, **changes: Any) -> Hold:
    """An open hold with id `hld_<number>` created at `at`; `changes` replace fields of its row."""
    return hold_from(
        held_row(**changes),
        id=f"hld_{number:06d}",
        model="bike-demand",
        route="/v2/models/bike-demand/infer",
        decision_id="dec_0001",
        at=at,
        bands=BANDS,
    )
