"""Metrics: every counter of the data plane in Prometheus' text format.

Decides names and labels; all begin with `guardproxy_`, and label values come from the configuration and from closed sets,
never from traffic.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from guardproxy import __version__
from guardproxy.decision import Outcome, Reason, Verdict
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.journal import BUCKETS_S, Histogram, Journal
from guardproxy.proxy.plane import DataPlane
from guardproxy.wire import Pool, Server

SERVER_COUNTERS: Final = (
    "accepted", "requests", "refused", "turned_away", "aborted", "hangups", "late_replies", "faults", "timeouts_hit",
    "tunnels", "loops",
)  # fmt: skip
POOL_COUNTERS: Final = (
    "calls", "connects", "connect_failures", "reuses", "retries", "surplus_closes", "stale_closes", "failures", "full",
)  # fmt: skip


_Samples: TypeAlias = Sequence[tuple[Mapping[str, str], float]]


class PlaneCollector(Collector):
    """Reads the counters at each scrape; nothing is counted twice."""

    def __init__(
        self,
        plane: DataPlane,
        keeper: Keeper,
        server: Callable[[], Server | None],
        open_holds: Callable[[], int],
        lag_s: Callable[[], float],
        more: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        """Read from `plane`, `keeper` and the running server; `more` gives families that others keep."""
        self._plane = plane
        self._keeper = keeper
        self._server = server
        self._open_holds = open_holds
        self._lag_s = lag_s
        self._more = more

    def collect(self) -> Iterable[Metric]:
        """Yield every metric family."""
        for journal in self._plane.journals.values():
            journal.flush()
        yield gauge("build_info", "The version that runs.", [({"version": __version__}, 1)])
        yield from self._wire()
        yield from self._guards()
        yield from self._holds()
        yield from self._more()
        yield gauge("loop_lag_seconds", "How late the event loop woke, last measured.", [({}, self._lag_s())])

    def _wire(self) -> Iterator[Metric]:
        server = self._server()
        if server is not None:
            yield gauge(
                "connections_active", "Client connections with a request in flight.", [({}, server.active)]
            )
            counts = [({"event": name}, float(getattr(server, name))) for name in SERVER_COUNTERS]
            yield counter("wire_events", "What happened on the listener.", counts)
        pools: dict[str, Pool] = {str(route.upstream.origin): route.upstream for route in self._plane.routes}
        if self._plane.default is not None:
            pools[str(self._plane.default.origin)] = self._plane.default
        yield counter(
            "upstream_events",
            "What happened to upstream connections.",
            [
                ({"upstream": origin, "event": name}, getattr(pool, name))
                for origin, pool in pools.items()
                for name in POOL_COUNTERS
            ],
        )
        transfers = self._plane.transfers.items()
        yield counter(
            "passed_through",
            "Unguarded exchanges by class of status.",
            [({"status": k}, n) for k, n in transfers],
        )
        yield counter(
            "ambiguous_paths",
            "Requests refused since their path could be read as a guarded one.",
            [({}, self._plane.ambiguous)],
        )
        yield counter(
            "faults",
            "Exceptions of guardproxy's own; each ended one exchange.",
            [({}, self._plane.faults + self._plane.background.faults)],
        )

    def _guards(self) -> Iterator[Metric]:
        journals = self._plane.journals
        totals = {model: journal.windows.totals() for model, journal in journals.items()}
        yield counter(
            "exchanges", "Screened exchanges.", [({"model": m}, t.exchanges) for m, t in totals.items()]
        )
        yield counter(
            "rows",
            "Rows by outcome.",
            [
                ({"model": m, "outcome": o.name.lower()}, t.outcomes[o])
                for m, t in totals.items()
                for o in Outcome
            ],
        )
        yield counter(
            "unguarded",
            "Exchanges that could not be judged, by reason.",
            [
                ({"model": m, "reason": r.value}, t.reasons[r.value])
                for m, t in totals.items()
                for r in Reason
            ],
        )
        yield counter(
            "verdicts",
            "Verdicts of each rule.",
            [
                ({"model": m, "rule": rule, "verdict": v.name.lower()}, counts[v])
                for m, t in totals.items()
                for rule, counts in t.verdicts.items()
                for v in Verdict
                if counts[v]
            ],
        )
        yield counter(
            "journal_dropped",
            "Samples dropped since the queue was full.",
            [({"model": m}, j.dropped) for m, j in journals.items()],
        )
        yield counter(
            "fields_dropped",
            "Fields not tallied beyond the bound.",
            [({"model": m}, j.windows.fields_dropped) for m, j in journals.items()],
        )
        yield counter(
            "joint_unjudged_rows",
            "Rows that lacked too many numbers for the profile's joint check.",
            [({"model": m}, j.windows.rows_unjudged) for m, j in journals.items()],
        )
        histories = {route.model: route.history for route in self._plane.routes}
        yield gauge(
            "entities",
            "Entities whose last good predictions are remembered.",
            [({"model": m}, len(h)) for m, h in histories.items()],
        )
        yield counter(
            "entities_forgotten",
            "Entities forgotten at the bound.",
            [({"model": m}, h.forgotten) for m, h in histories.items()],
        )
        yield counter(
            "entities_refused",
            "Answers not remembered since their key was too long.",
            [({"model": m}, h.refused) for m, h in histories.items()],
        )
        routes = self._plane.routes
        yield counter(
            "passed_methods",
            "Requests without a body that passed on a guarded path.",
            [({"route": r.path}, r.passed) for r in routes],
        )
        yield counter(
            "upstream_errors",
            "Errors of the model server's own (not 2xx) that passed as they were.",
            [({"route": r.path}, r.upstream_errors) for r in routes],
        )
        yield gauge(
            "ruleset_info",
            "The ruleset that runs.",
            [({"model": r.model, "ruleset": r.guard.ruleset.fingerprint}, 1) for r in self._plane.routes],
        )
        yield _histogram(
            "guard_seconds", "Time spent screening an exchange.", journals, lambda journal: journal.guard_s
        )
        yield _histogram(
            "upstream_seconds",
            "Time until the upstream's response was complete.",
            journals,
            lambda journal: journal.upstream_s,
        )

    def _holds(self) -> Iterator[Metric]:
        yield counter("holds_stored", "Rows stored for review.", [({}, self._keeper.stored)])
        yield counter(
            "holds_failed", "Rows that could not be stored for review.", [({}, self._keeper.failed)]
        )
        yield gauge("holds_open", "Holds that wait for a person.", [({}, self._open_holds())])


def render(collector: PlaneCollector) -> bytes:
    """Return the exposition."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)


def counter(name: str, text: str, samples: _Samples) -> Metric:
    """Return a counter named `guardproxy_NAME` (Prometheus adds `_total`); of equal labels the first sample counts."""
    family = CounterMetricFamily(f"guardproxy_{name}", text, labels=list(samples[0][0]) if samples else [])
    return _filled(family, samples)


def gauge(name: str, text: str, samples: _Samples) -> Metric:
    """Return a gauge named `guardproxy_NAME`; of equal labels the first sample counts."""
    family = GaugeMetricFamily(f"guardproxy_{name}", text, labels=list(samples[0][0]) if samples else [])
    return _filled(family, samples)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, samples: _Samples) -> Metric:
    seen = set()
    for labels, value in samples:
        key = tuple(labels.values())
        if key not in seen:
            seen.add(key)
            family.add_metric(list(labels.values()), float(value))
    return family


def _histogram(
    name: str, text: str, journals: Mapping[str, Journal], pick: Callable[[Journal], Histogram]
) -> Metric:
    family = HistogramMetricFamily(f"guardproxy_{name}", text, labels=["model"])
    for model, journal in journals.items():
        histogram = pick(journal)
        total, buckets = 0, []
        for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], histogram.counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([model], buckets, histogram.total_s)
    return family
