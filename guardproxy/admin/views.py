"""Holds as the admin plane shows them, to programs and to people.

Decides which words and numbers of a hold go out, and in which order. How they look is left to the templates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from guardproxy.admin.numberline import Line, line_of
from guardproxy.admin.text import rfc3339
from guardproxy.admin.tokens import Role
from guardproxy.decision import Candidate, Finding, Verdict
from guardproxy.holds import NO_ANSWER, ORIGINAL, OVERRIDE, Band, Entry, Hold, State, plain_cells
from guardproxy.table import Cell

REASONS: Final[Mapping[str, Mapping[str, str]]] = {
    "approve": {"expected": "Expected, the rule is too strict", "known_event": "A known event explains it", "other": "Other"},
    "override": {
        "unit_error": "Unit error",
        "stale_feature": "Stale or missing feature",
        "model_wrong": "The model is wrong",
        "policy": "Policy",
        "other": "Other",
    },
    "reject": {
        "unit_error": "Unit error",
        "stale_feature": "Stale or missing feature",
        "model_wrong": "The model is wrong",
        "policy": "Policy",
        "other": "Other",
    },
}  # fmt: skip
"""The reasons a person may give, by decision; an override and a rejection need one."""

_SOURCES: Final[Mapping[str, str]] = {ORIGINAL: "The model’s own answer", OVERRIDE: "The reviewer’s value"}
_PREFIXES: Final = ("output.", "features.")


@dataclass(frozen=True, slots=True)
class Why:
    """One finding with the drawings of what it measured."""

    finding: Finding
    measured: tuple[tuple[str, Cell], ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature with its learned range, if any."""

    name: str
    value: Cell
    line: Line | None
    named: bool


def hold_json(hold: Hold, role: Role, name: str) -> dict[str, Any]:
    """Return one hold whole; `actions` and `reasons` say what this person may do with it now."""
    actions = actions_of(hold, role, name)
    return {
        **hold_summary(hold),
        "route": hold.route,
        "decision_id": hold.decision_id,
        "meanwhile": hold.meanwhile,
        "on_expiry": hold.on_expiry,
        "features": plain_cells(hold.features),
        "output": {
            "original": plain_cells(hold.original),
            "provisional": plain_cells(hold.provisional),
            "provisional_source": hold.provisional_source,
            "final": None if hold.final is None or not hold.state.terminal else plain_cells(hold.final),
            "final_source": hold.final_source if hold.state.terminal else "",
            "candidates": [_candidate(candidate) for candidate in hold.candidates],
        },
        "findings": [_finding(finding) for finding in hold.findings],
        "bands": [
            {
                name: _number(getattr(band, name))
                for name in ("field", "value", "lo", "hi", "p1", "p50", "p99", "unit")
            }
            | {"outside": band.outside}
            for band in hold.bands
        ],
        "resolution": hold.resolution,
        "decided_at": rfc3339(hold.decided_at),
        "by": hold.by,
        "reason": hold.reason,
        "note": hold.note,
        "undo_until": rfc3339(hold.commit_at),
        "actions": actions,
        "reasons": {name: list(REASONS[name]) for name in actions if name in REASONS},
    }


def hold_summary(hold: Hold) -> dict[str, Any]:
    """Return what a listing shows of one hold."""
    return {
        "id": hold.id,
        "rev": hold.rev,
        "state": hold.state,
        "model": hold.model,
        "queue": hold.queue,
        "rule": hold.rule,
        "severity": hold.severity.name.lower(),
        "row": hold.row,
        "message": reason_of(hold),
        "value": _number(hold.value),
        "created_at": rfc3339(hold.created_at),
        "expires_at": rfc3339(hold.expires_at),
    }


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return one line of a hold's history."""
    return {
        "rev": entry.rev,
        "at": rfc3339(entry.at),
        "event": entry.kind,
        "by": entry.by,
        "from": entry.before,
        "to": entry.after,
        "reason": entry.reason,
        "note": entry.note,
    }


def actions_of(hold: Hold, role: Role, name: str) -> list[str]:
    """Return what a person may do with a hold in its present state; only who decided may undo."""
    if role < Role.REVIEWER or hold.state.terminal:
        return []
    if hold.state is State.DECIDING:
        return ["undo"] if hold.by == name else []
    return ["approve", "override", "reject"]


def reason_of(hold: Hold) -> str:
    """Return the sentence of the finding that held the row."""
    findings = _by_weight(hold)
    return findings[0].message if findings else f"held by {hold.rule}"


def whys_of(hold: Hold) -> list[Why]:
    """Return the findings that speak against the row, the one that held it first, each with its number lines."""
    return [_why(hold, finding) for finding in _by_weight(hold) if finding.verdict is not Verdict.OK]


def output_lines(hold: Hold) -> list[Line]:
    """Return the number lines of the predictions."""
    lines = (_line(hold, f"output.{name}", "") for name in hold.original)
    return [line for line in lines if line is not None]


def features_of(hold: Hold) -> list[Feature]:
    """Return the features: outside their range first, then those that a finding names, then the rest."""
    named = {name.removeprefix("features.") for why in whys_of(hold) for name, _ in why.measured}
    features = [
        Feature(name, value, _line(hold, f"features.{name}", ""), name in named)
        for name, value in hold.features.items()
    ]
    return sorted(features, key=lambda each: (not (each.line and each.line.outside), not each.named))


def final_words(hold: Hold) -> str:
    """Say in one sentence what was, or is about to be, delivered."""
    if hold.resolution is None:
        return "Nobody has decided yet."
    verb = "is final" if hold.state.terminal else "becomes final when the time to undo is over"
    if hold.final_source == NO_ANSWER:
        return f"That the row gets no answer {verb}."
    return f"{_SOURCES.get(hold.final_source, f'The fallback {hold.final_source}')} {verb}."


def _why(hold: Hold, finding: Finding) -> Why:
    bound = finding.bound if len(finding.measured) == 1 else ""
    lines = (_line(hold, name, bound) for name, _ in finding.measured[:6])
    return Why(finding, finding.measured, tuple(line for line in lines if line is not None))


def _line(hold: Hold, name: str, bound: str) -> Line | None:
    band = _band(hold, name)
    return None if band is None else line_of(band, bound)


def _band(hold: Hold, name: str) -> Band | None:
    """Find the band of a measured name: `output.demand`, or `demand` where it is plain which is meant."""
    for band in hold.bands:
        if band.field == name:
            return band
    bare = name
    for prefix in _PREFIXES:
        bare = bare.removeprefix(prefix)
    if name != bare and _other_side(hold, name, bare):
        return None
    return next((band for band in hold.bands if band.field == bare), None)


def _other_side(hold: Hold, name: str, bare: str) -> bool:
    """Tell whether a band called `bare` would be ambiguous for `name`: a feature and a prediction share the name."""
    return bare in hold.features and bare in hold.original and name.startswith("output.")


def _by_weight(hold: Hold) -> Sequence[Finding]:
    return sorted(
        hold.findings, key=lambda finding: (finding.rule != hold.rule, not finding.acts, -finding.severity)
    )


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "source": candidate.source,
        "values": plain_cells(candidate.values),
        "usable": candidate.usable,
        "refused_by": list(candidate.refused_by),
        "note": candidate.note,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "verdict": finding.verdict.name.lower(),
        "mode": finding.mode,
        "action": finding.action.name.lower(),
        "severity": finding.severity.name.lower(),
        "message": finding.message,
        "measured": plain_cells(dict(finding.measured)),
        "bound": finding.bound,
        "bound_source": finding.bound_source,
        "acts": finding.acts,
    }


def _number(value: Any) -> Any:
    return plain_cells({"value": value})["value"]
