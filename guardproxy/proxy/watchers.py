"""What is looked at whenever the statistics are new: the drift of each model, and its window rules.

Decides which model is watched for what. Counting is left to `statistics`, what is found to `drift` and `window_rules`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardproxy.config import Config
from guardproxy.proxy.drift import DriftKeeper, alarm_settings, watched_fields
from guardproxy.proxy.route import Route
from guardproxy.proxy.statistics import StatisticsKeeper
from guardproxy.proxy.webhooks import Webhooks
from guardproxy.proxy.window_rules import WindowRules


@dataclass(frozen=True, slots=True)
class Watchers:
    """The drift keeper of each model, by its name, and what judges the window rules of all."""

    drift: Mapping[str, DriftKeeper]
    window_rules: WindowRules
    statistics: StatisticsKeeper

    def drift_report(self, now: float) -> Mapping[str, Any]:
        """Return what `/v1/drift` says; `now` stands for the time of a model that nobody has told yet."""
        times = {model: one.now for model, one in self.statistics.models.items()}
        reports = [(keeper, times.get(model)) for model, keeper in self.drift.items()]
        return {"models": [keeper.report(now if at is None else at) for keeper, at in reports]}


def watch(
    config: Config,
    routes: Sequence[Route],
    statistics: StatisticsKeeper,
    webhooks: Webhooks,
    clock: Callable[[], float],
) -> Watchers:
    """Make the watchers of all models and have them called at each beat of `statistics`."""
    models = {route.model: route for route in routes}
    settings = alarm_settings(config)
    drift = {
        model: DriftKeeper(
            model, route.statistics, watched_fields(route.guard.profile), settings, webhooks.tell
        )
        for model, route in models.items()
    }
    window_rules = WindowRules(
        lambda: {model: route.guard.ruleset for model, route in models.items()},
        lambda model: models[model].statistics.snapshot,
        webhooks,
        config.bucket_s,
        clock,
    )
    statistics.beats += [*drift.values(), window_rules]
    return Watchers(drift, window_rules, statistics)
