"""What the admin plane is answered about the running process.

Decides where each answer comes from. What it says is left to the modules that know, who may ask to `admin`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from guardproxy.admin import AdminServices, Alert
from guardproxy.guard.fallbacks import override_refusals
from guardproxy.guard.unseen import blind_of
from guardproxy.holds import Hold
from guardproxy.proxy.building import Built
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.metrics import PlaneCollector, render
from guardproxy.proxy.reports import (
    candidates_report,
    decision_report,
    overview_report,
    recording_report,
    rules_report,
    windows_report,
)
from guardproxy.proxy.rule_metrics import rule_metrics
from guardproxy.proxy.signals import signals_of
from guardproxy.proxy.standing import alerts_of, degraded_by
from guardproxy.proxy.statistics_metrics import statistics_metrics
from guardproxy.service.process import Service
from guardproxy.table import Cell

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def answers_of(service: Service) -> AdminServices:
    """Return what the admin plane asks of the process."""
    built = service.built
    collector = PlaneCollector(
        service.plane,
        service.keeper,
        lambda: service.server,
        lambda: service.open_holds,
        lambda: service.lag_s,
        lambda: _metrics(service),
    )
    return AdminServices(
        store=service.store,
        tokens=service.tokens,
        clock=service.clock,
        undo_s=service.config.undo_s,
        live=service.live,
        ready=service.ready,
        degraded=lambda: degraded_by(built),
        metrics=lambda: render(collector),
        windows=lambda: windows_report(service.plane, service.clock()),
        drift=lambda: built.watchers.drift_report(service.clock()),
        signals=lambda: _signals(service),
        rules=lambda: rules_report(service.plane, built.breakers, built.watchers.window_rules.report()),
        rollout=lambda: _rollout(built),
        reload=service.reload,
        rearm=built.breakers.rearm,
        decision=lambda decision_id: decision_report(service.plane, decision_id),
        overview=lambda: overview_report(service.plane, _grpc(service)),
        alerts=lambda: [Alert(*alert) for alert in alerts_of(built, service.clock())],
        check_override=lambda hold, values: refusals(service, hold, values),
    )


def _signals(service: Service) -> Mapping[str, Any]:
    """Return what the Signals page shows: each model once, in the order of the routes."""
    config, built = service.config, service.built
    drift = {each["model"]: each for each in built.watchers.drift_report(service.clock())["models"]}
    models = {route.model: route for route in built.plane.routes}
    return {
        "models": [
            signals_of(
                model,
                route.guard.profile,
                route.statistics.layout,
                route.statistics.snapshot,
                drift.get(model, {}),
                now=route.statistics.now or service.clock(),
                tolerance=config.drift_tolerance,
            )
            for model, route in models.items()
        ]
    }


def _grpc(service: Service) -> Mapping[str, Any] | None:
    """Return what the gRPC listener guards and what became of its calls, or None without one."""
    grpc, address = service.grpc, service.config.grpc_listen
    if grpc is None or address is None:
        return None
    return {
        "listen": str(replace(address, port=grpc.port)),
        "upstream": str(service.config.grpc_upstream),
        "routes": [route.path for route in grpc.routes],
        "calls": dict(grpc.calls),
        "faults": grpc.faults,
    }


def _rollout(built: Built) -> Mapping[str, Any]:
    return {
        "reload": None if built.rules is None else built.rules.as_json(),
        "candidate": None
        if built.candidate is None
        else {**built.candidate.as_json(), "models": candidates_report(built.plane)},
        "breaker": built.breakers.tripped(),
        "recording": recording_report(built.recorder),
    }


def refusals(service: Service, hold: Hold, values: Mapping[str, Cell]) -> tuple[str, ...]:
    """Name the enforced rules that a reviewer's values would violate in the place of a held row."""
    route = next((route for route in service.plane.routes if route.model == hold.model), None)
    if route is None:
        return ()
    # A row of an opaque request has no features: only rules that need none can speak about it.
    guard = route.guard if hold.features else blind_of(route.guard)
    return override_refusals(guard, hold.features, values, facts_at(service.clock()), route.history)


def _metrics(service: Service) -> "Iterator[Metric]":
    """Yield what the data plane's collector does not know of."""
    built = service.built
    yield from rule_metrics(built)
    yield from statistics_metrics(built.statistics, built.watchers, built.webhooks, service.plane.routes)
    if service.grpc is not None:
        yield from service.grpc.metrics()
