"""Putting rules in force: what a swap touches beside the routes.

Decides what survives it: windows, journals, histories and the breakers' counts of rules that did not change. Runs on the
event loop in one go, so that no exchange ever begins between the old set and the new.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from guardproxy.proxy.reload import Prepared, Shapes
from guardproxy.proxy.route import Route, Served
from guardproxy.rules.unusual import UNUSUAL
from guardproxy.stats import Change


def put_active(routes: Sequence[Route], prepared: Prepared, at: float) -> list[Change]:
    """Serve a set on every route from now on; return what that changed in the breakers."""
    for route in routes:
        old = route.served
        route.served = Served(prepared.guards[route.path], old.candidate, old.revision + 1)
    follow_histories(routes)
    changes: list[Change] = []
    for model, route in _by_model(routes).items():
        ruleset = prepared.rulesets[model]
        # What was decided by the old set is counted while its rules are still the current ones.
        route.journal.flush()
        route.journal.follow(ruleset)
        changes += route.breaker.follow(ruleset, at)
    return changes


def put_candidate(routes: Sequence[Route], prepared: Prepared) -> None:
    """Compare every route with another candidate from now on."""
    for route in routes:
        route.served = replace(route.served, candidate=prepared.guards[route.path])
    follow_histories(routes)
    for model, route in _by_model(routes).items():
        route.comparison.follow(prepared.rulesets[model].fingerprint)


def follow_histories(routes: Sequence[Route]) -> None:
    """Remember by what some rule of some route of the model will ask for, and by nothing else."""
    keys: dict[str, dict[tuple[str, ...], None]] = {}
    judges: dict[str, dict[str, float]] = {}
    for route in routes:
        for guard in (route.served.guard, route.served.candidate):
            if guard is not None:
                keys.setdefault(route.model, {}).update(dict.fromkeys(guard.bind((), ()).history_keys))
                judges.setdefault(route.model, {}).update(
                    (rule.id, rule.check.false_alarms) for rule in guard.ruleset.rules if rule.kind == UNUSUAL
                )
    for model, route in _by_model(routes).items():
        route.history.follow(tuple(keys[model]), judges[model])


def shapes_of(routes: Sequence[Route]) -> Shapes:
    """Return the field names that the routes' messages had so far."""
    return {route.path: route.guard.shapes for route in routes}


def _by_model(routes: Sequence[Route]) -> Mapping[str, Route]:
    return {route.model: route for route in routes}
