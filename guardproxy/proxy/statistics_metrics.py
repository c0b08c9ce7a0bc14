"""Metrics of the statistics that replicas share: the store, what waits for it, drift, window rules, event time.

Decides names and labels, as `metrics` does; label values come from the configuration, from profiles and from closed sets.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client.core import Metric

from guardproxy.proxy.event_time import REFUSALS
from guardproxy.proxy.metrics import counter, gauge
from guardproxy.proxy.route import Route
from guardproxy.proxy.sharing import SHARED, Sharing
from guardproxy.proxy.statistics import StatisticsKeeper
from guardproxy.proxy.watchers import Watchers
from guardproxy.proxy.webhooks import Webhooks
from guardproxy.stats.drift_report import FieldState
from guardproxy.stats.window_rules import WORDS


def statistics_metrics(
    keeper: StatisticsKeeper, watchers: Watchers, webhooks: Webhooks, routes: Sequence[Route]
) -> Iterator[Metric]:
    """Yield every metric family of the shared statistics."""
    yield from _store(keeper)
    yield from _models(keeper, routes)
    yield from _drift(watchers)
    yield from _window_rules(watchers)
    yield from _histories({route.model: route.sharing for route in routes})
    yield counter(
        "webhook_events_held_back",
        "Events that were told together with others of their model.",
        [({"event": event}, grouping.held_back) for event, grouping in webhooks.groupings.items()],
    )


def _store(keeper: StatisticsKeeper) -> Iterator[Metric]:
    status = keeper.status()
    backend = {"backend": status.store.backend}
    yield gauge(
        "statistics_store_up",
        "Whether the store of statistics took the last beat (1) or is left alone (0).",
        [(backend, keeper.breaker.closed)],
    )
    yield counter(
        "statistics_store_calls", "Calls to the store of statistics.", [(backend, status.store.calls)]
    )
    yield counter(
        "statistics_store_failures",
        "Calls that the store of statistics did not do in time.",
        [(backend, status.store.failures)],
    )
    yield counter(
        "statistics_skipped_values",
        "Values in the store that are nobody's statistics, or too large, and were left out.",
        [(backend, status.store.skipped)],
    )
    yield counter(
        "statistics_evicted_entities",
        "Entities that the store forgot because there are more than it keeps.",
        [(backend, status.store.evicted)],
    )
    yield counter("statistics_store_outages", "Times that the store began to fail.", [({}, status.outages)])
    yield counter(
        "statistics_store_losses",
        "Times that the store no longer had what it took, so that all that is kept was written again.",
        [({}, keeper.losses)],
    )
    yield gauge(
        "statistics_waiting_rows", "Rows that the store has not taken yet.", [({}, status.waiting_rows)]
    )
    yield counter(
        "statistics_lost_rows", "Rows dropped before the store took them.", [({}, status.lost_rows)]
    )
    # What has not happened yet has no age: the family is there without a sample.
    yield gauge(
        "statistics_flush_age_seconds",
        "How long ago all that was counted was last written.",
        [] if status.flush_age_s is None else [({}, status.flush_age_s)],
    )
    yield gauge(
        "statistics_snapshot_age_seconds",
        "How long ago the snapshots were last renewed.",
        [] if status.snapshot_age_s is None else [({}, status.snapshot_age_s)],
    )
    yield gauge(
        "statistics_clock_offset_seconds",
        "How far the store's clock is ahead of this machine's.",
        [({}, status.offset_s)],
    )
    yield counter("statistics_beats", "Beats of the keeper of statistics.", [({}, status.beats)])
    yield counter(
        "statistics_faults",
        "Errors of guardproxy's own that a beat met; each is in the log.",
        [({}, status.faults)],
    )


def _models(keeper: StatisticsKeeper, routes: Sequence[Route]) -> Iterator[Metric]:
    models = keeper.models.items()
    yield counter(
        "statistics_stale_reads",
        "Requests that found the snapshot too old, so that rolling functions were unknown.",
        [({"model": model}, one.stale_reads) for model, one in models],
    )
    yield counter(
        "statistics_old_rows",
        "Rows that happened too long before the latest ones to be counted.",
        [({"model": model}, one.ledger.old_rows) for model, one in models],
    )
    yield counter(
        "statistics_damaged_blobs",
        "What the store gave and could not be read, so that it was left out.",
        [({"model": model}, one.damaged) for model, one in models],
    )
    yield counter(
        "statistics_forgotten_buckets",
        "Buckets that were forgotten before the drift of their rows could be judged, or their hour be summed up.",
        [({"model": model}, one.timeline.unasked + one.rolls.forgotten) for model, one in models],
    )
    yield gauge(
        "recent_failed_rows",
        "Rows of the last hours that a rolling function left out since kinds of values clashed.",
        [({"model": model}, one.rolling.failed()) for model, one in models],
    )
    yield gauge(
        "recent_uncounted",
        "Rolling functions that are not counted, so that they stay unknown.",
        [({"model": model}, len(one.rolling.recents.left_out)) for model, one in models],
    )
    refused = {route.model: route.event_time.refused for route in routes}
    yield counter(
        "event_time_refused",
        "Requests or rows whose event time was not taken, by reason; the arrival stands in its place.",
        [
            ({"model": model, "reason": reason}, counts[reason])
            for model, counts in refused.items()
            for reason in REFUSALS
        ],
    )


def _drift(watchers: Watchers) -> Iterator[Metric]:
    found = {model: keeper.found for model, keeper in watchers.drift.items()}
    fields = [(model, field) for model, report in found.items() for field in report.fields]
    yield gauge(
        "drift_alarm",
        "Whether an alarm of the model stands (1) or not (0).",
        [({"model": model}, report.alarm is not None) for model, report in found.items()],
    )
    yield gauge(
        "drift_evidence",
        "The model's evidence of drift; an alarm is raised at 1.",
        [({"model": model}, report.alarms) for model, report in found.items()],
    )
    yield gauge(
        "drift_field_alarm",
        "Whether the field is named by an alarm that stands (1) or not (0).",
        [
            ({"model": model, "field": field.field}, field.state is FieldState.ALARM)
            for model, field in fields
        ],
    )
    yield gauge(
        "drift_field_evidence",
        "The field's evidence of drift, as a share of what raises an alarm.",
        [({"model": model, "field": field.field}, field.alarms) for model, field in fields],
    )
    yield counter(
        "drift_buckets",
        "Closed buckets that were judged, by who did it for all: this replica or another.",
        [
            ({"model": model, "by": by}, count)
            for model, keeper in watchers.drift.items()
            for by, count in (("this", keeper.judged), ("another", keeper.lost))
        ],
    )
    yield counter(
        "drift_states_damaged",
        "States of a detector that could not be read, so that its evidence began anew.",
        [({"model": model}, keeper.damaged) for model, keeper in watchers.drift.items()],
    )


def _window_rules(watchers: Watchers) -> Iterator[Metric]:
    yield gauge(
        "rule_window_state",
        "How each window rule stands: 1 for its state, 0 for the others.",
        [
            ({"model": said["model"], "rule": said["rule"], "state": word}, said["state"] == word)
            for said in watchers.window_rules.report()
            for word in WORDS
        ],
    )
    yield counter(
        "rule_window_changes",
        "Window rules that began to fire or no longer do, as told by this replica.",
        [({"state": state}, watchers.window_rules.told[state]) for state in ("firing", "ended")],
    )
    yield counter(
        "rule_window_states_damaged",
        "Shared states of window rules that could not be read, so that they began anew.",
        [({}, watchers.window_rules.damaged)],
    )


def _histories(sharings: Mapping[str, Sharing]) -> Iterator[Metric]:
    events = [
        ({"model": model, "event": event}, float(getattr(keeper, event)))
        for model, sharing in sharings.items()
        for keeper, names in ((sharing, SHARED), (sharing.history, REMEMBERED))
        for event in names
    ]
    yield counter(
        "history_events", "What happened to what is remembered of entities, and to reads of it.", events
    )
    yield gauge(
        "history_unshared",
        "Entities whose answers wait to be shared.",
        [({"model": model}, sharing.unshared) for model, sharing in sharings.items()],
    )
    yield gauge(
        "history_power",
        "The share of faulty answers that a check of unusual ones would see, by fault and its share of false alarms.",
        [
            (
                {
                    "model": model,
                    "by": ", ".join(said["by"]),
                    "output": said["output"],
                    "false_alarms": str(limit["false_alarms"]),
                    "fault": fault,
                },
                share,
            )
            for model, sharing in sharings.items()
            for said in sharing.history.as_json()
            for limit in said["limits"]
            for fault, share in (limit["power"] or {}).items()
        ],
    )


REMEMBERED: Final = ("late_answers", "unlearned", "outputs_dropped")
"""What is counted of learning from answers."""
