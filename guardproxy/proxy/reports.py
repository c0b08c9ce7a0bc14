"""What the running proxy says of itself, as plain JSON values: windows, rules, and the overview.

Decides which counter is told under which name. Who may ask is left to `admin`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from guardproxy.decision import Mode
from guardproxy.profile.model import Origin, Profile
from guardproxy.proxy.breakers import Breakers
from guardproxy.proxy.plane import DataPlane
from guardproxy.proxy.route import Route
from guardproxy.recording import Recorder
from guardproxy.rules import Rule

_AS_A_FIELD: Final = ("cells", "missing", "mean", "std", "min", "max", "outside")
"""What the table of fields shows of a KPI; the rest stands in the windows themselves."""


def windows_report(plane: DataPlane, now: float) -> Mapping[str, Any]:
    """Return the live counters of every model."""
    models = []
    for model, journal in plane.journals.items():
        journal.flush()
        said = journal.windows.as_json(now)
        hour = said["windows"]["1h"]
        fields = [{"field": name, **tally} for name, tally in hour["features"].items()]
        fields += [{"field": f"output.{name}", **tally} for name, tally in hour["outputs"].items()]
        fields += [
            {"field": name, **{key: tally[key] for key in _AS_A_FIELD if key in tally}}
            for name, tally in hour["kpis"].items()
        ]
        models.append(
            {
                **said,
                "rows": hour["rows"],
                "outcomes": hour["outcomes"],
                "fields": fields,
                "dropped": journal.dropped,
                "history": plane.sharings[model].as_json(),
            }
        )
    return {"models": models}


def rules_report(
    plane: DataPlane, breakers: Breakers, windows: Sequence[Mapping[str, Any]] = ()
) -> Sequence[Mapping[str, Any]]:
    """Return every rule in force with its counts; a demoted rule says by what and since when.

    `windows` says how the rules of scope window stand, with their `model` and `rule`.
    """
    standing = {(said["model"], said["rule"]): said for said in windows}
    tripped = {(state["model"], state["rule"]): state for state in breakers.tripped()}
    said: list[Mapping[str, Any]] = []
    for route in {route.model: route for route in plane.routes}.values():
        route.journal.flush()
        counts = route.journal.windows.totals().verdicts
        compared = route.comparison if route.served.candidate is not None else None
        for rule in route.guard.ruleset.rules:
            entry = _rule(route, rule)
            entry["verdicts"] = {
                verdict.name.lower(): rows for verdict, rows in counts.get(rule.id, {}).items()
            }
            entry["demoted"] = tripped.get((route.model, rule.id))
            entry["window"] = standing.get((route.model, rule.id))
            if compared is not None:
                entry["candidate"] = {
                    "added": compared.added[rule.id],
                    "removed": compared.removed[rule.id],
                }
            said.append(entry)
    return said


def candidates_report(plane: DataPlane) -> list[dict[str, Any]]:
    """Return, by model, how the candidate differs from what is served."""
    routes = {route.model: route for route in plane.routes if route.served.candidate is not None}
    return [
        {"model": model, "active": route.guard.ruleset.fingerprint, **route.comparison.as_json()}
        for model, route in routes.items()
    ]


def overview_report(plane: DataPlane, grpc: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is guarded, how, and how often it could not be. `grpc` says the same of gRPC calls, None without."""
    unguarded: Counter[str] = Counter()
    for journal in plane.journals.values():
        journal.flush()
        unguarded += journal.windows.totals().reasons
    return {
        "ruleset": ", ".join(dict.fromkeys(route.guard.ruleset.fingerprint for route in plane.routes)),
        "unguarded": dict(unguarded.most_common()),
        "routes": [_route(route) for route in plane.routes],
        "grpc": grpc,
    }


def _route(route: Route) -> dict[str, Any]:
    return {
        "path": route.path,
        "model": route.model,
        "protocol": route.guard.codec.name,
        "on_failure": str(route.failure),
        "buffer": route.buffer,
        "upstream": f"{route.upstream.origin}{(route.upstream_path or b'').decode('ascii')}",
        **_profile(route.guard.profile),
    }


def _profile(profile: Profile | None) -> dict[str, Any]:
    """Say by which profile a route judges; what was learned from traffic and nobody approved only counts."""
    if profile is None:
        return {"profile": None, "profile_state": "none"}
    state = (
        "learned from data"
        if profile.source is Origin.DATA
        else "approved"
        if profile.acts
        else "not approved: counts only"
    )
    return {"profile": profile.version, "profile_state": state}


def decision_report(plane: DataPlane, decision_id: str) -> Mapping[str, Any] | None:
    """Return a recent decision, or None when it is unknown or no longer kept."""
    found = (journal.find(decision_id) for journal in plane.journals.values())
    return next((decision for decision in found if decision is not None), None)


def recording_report(recorder: Recorder | None) -> Mapping[str, Any] | None:
    """Return how the recording stands, or None where nothing is recorded."""
    if recorder is None:
        return None
    status = recorder.status()
    return {
        "folder": str(recorder.options.directory),
        "ok": status.trouble is None,
        "problem": status.trouble or "",
        "offered": status.offered,
        "written": status.written,
        "pending": status.pending,
        "dropped": dict(status.dropped),
        "deleted": dict(status.deleted),
        "files": status.files,
        "disk_bytes": status.disk_bytes,
        "redact": list(recorder.options.redact),
        "redact_unmet": list(status.redact_unmet),
    }


def _rule(route: Route, rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.id,
        "model": route.model,
        "rev": route.guard.ruleset.rev(rule.id),
        "title": rule.title,
        "kind": rule.kind,
        "mode": rule.mode.value,
        "canary": rule.canary if rule.mode is Mode.CANARY else None,
        "action": rule.action.name.lower(),
        "severity": rule.severity.name.lower(),
        "owner": rule.owner,
        "why": rule.why,
        "file": rule.place.file,
        "line": rule.place.line,
    }
