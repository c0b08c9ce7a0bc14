"""A hold as a JSON document, for stores.

Decides a form that loses nothing: numbers that JSON cannot say (NaN, the infinities) are written as `{"float": "nan"}`, and
all text is ASCII with escapes, so lone surrogates from a hostile model survive too. The version stands in `v`.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from guardproxy.decision import Action, Candidate, Finding, Meanwhile, Mode, OnExpiry, Severity, Verdict
from guardproxy.holds.hold import Band, Hold, State
from guardproxy.table import Cell

VERSION: Final = 1

_PLAIN: Final = (
    "id", "rev", "model", "route", "decision_id", "row", "queue", "rule", "created_at", "expires_at",
    "provisional_source", "value", "commit_at", "final_source", "by", "reason", "note", "decided_at",
)  # fmt: skip
_BAND: Final = ("field", "value", "lo", "hi", "p1", "p50", "p99", "unit")


def to_json(hold: Hold) -> str:
    """Write a hold as one line of ASCII JSON."""
    document: dict[str, Any] = {"v": VERSION}
    document.update((name, _out(getattr(hold, name))) for name in _PLAIN)
    document.update(
        state=hold.state,
        severity=int(hold.severity),
        meanwhile=hold.meanwhile,
        on_expiry=hold.on_expiry,
        resolution=hold.resolution,
        features=plain_cells(hold.features),
        original=plain_cells(hold.original),
        provisional=plain_cells(hold.provisional),
        final=None if hold.final is None else plain_cells(hold.final),
        candidates=[_candidate_out(candidate) for candidate in hold.candidates],
        findings=[_finding_out(finding) for finding in hold.findings],
        bands=[[_out(getattr(band, name)) for name in _BAND] for band in hold.bands],
    )
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> Hold:
    """Read what `to_json` wrote. Raises ValueError with a sentence when it is damaged or of a newer version."""
    document = json.loads(text)
    version = document.get("v") if isinstance(document, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ValueError("it is not a hold's document")
    if version > VERSION:
        raise ValueError(f"it is of version {version}, written by a newer guardproxy")
    try:
        return _hold(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a hold's document is damaged: {error!r}") from error


def plain_cells(cells: Mapping[str, Cell]) -> dict[str, Any]:
    """Return cells as plain JSON values; NaN and the infinities become `{"float": "nan" | "inf" | "-inf"}`."""
    return {name: _out(cell) for name, cell in cells.items()}


def _hold(document: Mapping[str, Any]) -> Hold:
    resolution = document["resolution"]
    final = document["final"]
    return Hold(
        **{name: _in(document[name]) for name in _PLAIN},
        state=State(document["state"]),
        severity=Severity(document["severity"]),
        meanwhile=Meanwhile(document["meanwhile"]),
        on_expiry=OnExpiry(document["on_expiry"]),
        resolution=None if resolution is None else State(resolution),
        features=_cells(document["features"]),
        original=_cells(document["original"]),
        provisional=_cells(document["provisional"]),
        final=None if final is None else _cells(final),
        candidates=tuple(_candidate_in(item) for item in document["candidates"]),
        findings=tuple(_finding_in(item) for item in document["findings"]),
        bands=tuple(
            Band(**{name: _in(value) for name, value in zip(_BAND, band, strict=True)})
            for band in document["bands"]
        ),
    )


def _cells(document: Mapping[str, Any]) -> dict[str, Cell]:
    return {name: _in(value) for name, value in document.items()}


def _out(cell: object) -> Any:
    if isinstance(cell, float) and not math.isfinite(cell):
        return {"float": str(cell)}
    if isinstance(cell, tuple):
        return [_out(item) for item in cell]
    return cell


def _in(value: Any) -> Any:
    if isinstance(value, dict):
        return float(value["float"])
    if isinstance(value, list):
        return tuple(_in(item) for item in value)
    return value


def _candidate_out(candidate: Candidate) -> list[Any]:
    return [candidate.source, plain_cells(candidate.values), list(candidate.refused_by), candidate.note]


def _candidate_in(item: list[Any]) -> Candidate:
    source, values, refused_by, note = item
    return Candidate(source, _cells(values), tuple(refused_by), note)


def _finding_out(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "row": finding.row,
        "verdict": int(finding.verdict),
        "mode": finding.mode,
        "action": int(finding.action),
        "severity": int(finding.severity),
        "message": finding.message,
        "measured": [[name, _out(cell)] for name, cell in finding.measured],
        "bound": finding.bound,
        "bound_source": finding.bound_source,
        "acts": finding.acts,
    }


def _finding_in(item: Mapping[str, Any]) -> Finding:
    return Finding(
        rule=item["rule"],
        row=item["row"],
        verdict=Verdict(item["verdict"]),
        mode=Mode(item["mode"]),
        action=Action(item["action"]),
        severity=Severity(item["severity"]),
        message=item["message"],
        measured=tuple((name, _in(cell)) for name, cell in item["measured"]),
        bound=item["bound"],
        bound_source=item["bound_source"],
        acts=item["acts"],
    )
