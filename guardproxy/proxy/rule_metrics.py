"""Metrics of how rules are rolled out: reloads, the candidate, breakers, webhooks, recording.

Decides names and labels, as `metrics` does; label values come from the configuration and from closed sets.
"""

from collections.abc import Iterator

from prometheus_client.core import Metric

from guardproxy.proxy.building import Built
from guardproxy.proxy.candidate import SKIPPED
from guardproxy.proxy.metrics import counter, gauge
from guardproxy.proxy.reload import RESULTS
from guardproxy.proxy.webhooks import RESULTS as DELIVERIES


def rule_metrics(built: Built) -> Iterator[Metric]:
    """Yield every metric family of the roll-out."""
    yield from _reloads(built)
    yield from _breakers(built)
    yield from _candidates(built)
    hooks = [(f"{number} {hook.host}", hook) for number, hook in enumerate(built.webhooks.hooks, 1)]
    yield counter(
        "webhook_events",
        "Events for webhooks, by what became of them.",
        [({"webhook": name, "result": r}, hook.counts[r]) for name, hook in hooks for r in DELIVERIES],
    )
    yield from _recording(built)


def _reloads(built: Built) -> Iterator[Metric]:
    keepers = built.rule_keepers
    yield gauge(
        "rules_reload_ok",
        "Whether the rule files as they lie there are served (1) or refused (0).",
        [({"rules": keeper.name}, keeper.ok) for keeper in keepers],
    )
    yield gauge(
        "rules_last_success_timestamp_seconds",
        "When the rules that are served were last read from good files.",
        [({"rules": keeper.name}, keeper.loaded_at) for keeper in keepers],
    )
    yield counter(
        "rules_reloads",
        "Reloads by result.",
        [({"rules": k.name, "result": result}, k.results[result]) for k in keepers for result in RESULTS],
    )
    yield gauge(
        "rules_reload_seconds",
        "How long the last reload took.",
        [({"rules": keeper.name}, keeper.seconds) for keeper in keepers],
    )
    yield gauge(
        "rules_loaded_info",
        "The fingerprint of each model's rules that are served.",
        [
            ({"rules": keeper.name, "model": model, "ruleset": fingerprint}, 1)
            for keeper in keepers
            for model, fingerprint in keeper.rulesets.items()
        ],
    )
    yield gauge(
        "rules_from_last_good",
        "Whether the rules come from what was kept of an earlier run, since the files were refused at the start.",
        [({"rules": keeper.name}, keeper.source == "last_good") for keeper in keepers],
    )


def _breakers(built: Built) -> Iterator[Metric]:
    watched = [
        (breaker, {"model": model, "rule": rule}, rule)
        for model, breaker in built.breakers.by_model.items()
        for rule in breaker.watched
    ]
    yield gauge(
        "breaker_tripped",
        "Whether a rule only warns, since it acted on too much of the traffic.",
        [(labels, rule in breaker.demoted) for breaker, labels, rule in watched],
    )
    yield counter(
        "breaker_trips",
        "How often a rule was demoted.",
        [(labels, breaker.trips[rule]) for breaker, labels, rule in watched],
    )
    yield counter(
        "breaker_uncounted_rows",
        "Rows whose ruleset was replaced too long ago to be held to a limit.",
        [({"model": model}, breaker.uncounted) for model, breaker in built.breakers.by_model.items()],
    )


def _candidates(built: Built) -> Iterator[Metric]:
    routes = {route.model: route for route in built.plane.routes if route.served.candidate is not None}
    compared = {model: route.comparison for model, route in routes.items()}
    yield counter(
        "candidate_rows",
        "Rows by the outcome of the active rules and of the candidate.",
        [
            ({"model": m, "active": a.name.lower(), "candidate": b.name.lower()}, rows)
            for m, comparison in compared.items()
            for (a, b), rows in comparison.pairs.items()
        ],
    )
    yield counter(
        "candidate_skipped",
        "Exchanges that were not compared with the candidate, by reason.",
        [
            ({"model": m, "reason": reason}, c.skipped[reason])
            for m, c in compared.items()
            for reason in SKIPPED
        ],
    )
    yield counter(
        "candidate_faults",
        "Exchanges on which the candidate failed; the active rules answered as ever.",
        [({"model": m}, c.faults) for m, c in compared.items()],
    )


def _recording(built: Built) -> Iterator[Metric]:
    if built.recorder is None:
        return
    status = built.recorder.status()
    yield counter("recording_offered", "Exchanges offered to the recording.", [({}, status.offered)])
    yield counter("recording_written", "Exchanges written to the recording.", [({}, status.written)])
    yield counter(
        "recording_written_bytes", "Compressed bytes written to the recording.", [({}, status.bytes)]
    )
    yield counter(
        "recording_dropped",
        "Exchanges not recorded, by reason.",
        [({"reason": reason}, count) for reason, count in status.dropped.items()],
    )
    yield counter(
        "recording_deleted_files",
        "Files of the recording deleted at a cap.",
        [({"reason": reason}, count) for reason, count in status.deleted.items()],
    )
    yield gauge("recording_disk_bytes", "What the recording takes on disk.", [({}, status.disk_bytes)])
    yield gauge("recording_pending_bytes", "What waits to be written.", [({}, status.pending_bytes)])
    yield gauge(
        "recording_ok", "Whether the recording can be written (1) or not (0).", [({}, status.trouble is None)]
    )
