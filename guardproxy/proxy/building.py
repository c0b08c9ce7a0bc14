"""From a configuration and what was loaded to everything that serves, not yet started.

Decides what the routes of one model share: windows, journal, history, breaker and the comparison with a candidate.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from guardproxy.config import Config, RouteConfig, WebhookConfig
from guardproxy.guard import Guard
from guardproxy.holds import Hold
from guardproxy.proxy.active import follow_histories, put_active, put_candidate, shapes_of
from guardproxy.proxy.background import Background
from guardproxy.proxy.breakers import Breakers
from guardproxy.proxy.candidate import Comparison
from guardproxy.proxy.event_time import EventTime
from guardproxy.proxy.history import History
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.journal import Journal
from guardproxy.proxy.load import Loaded, RuleSets, guard_of
from guardproxy.proxy.model_statistics import ModelStatistics
from guardproxy.proxy.plane import DataPlane
from guardproxy.proxy.reload import Prepared, Report, RuleKeeper
from guardproxy.proxy.route import Ids, Route, Served
from guardproxy.proxy.routes import version_pattern
from guardproxy.proxy.sharing import Sharing
from guardproxy.proxy.statistics import StatisticsKeeper
from guardproxy.proxy.watchers import Watchers, watch
from guardproxy.proxy.webhooks import Hook, Webhooks
from guardproxy.recording import Options, Recorder
from guardproxy.stats import Breaker, ModelWindows
from guardproxy.stats.recent import compile_recents
from guardproxy.stores import HoldStore
from guardproxy.stores.statistics import StatisticsStore
from guardproxy.wire import Pool, Timeouts, parse_origin

MAX_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class Built:
    """The parts of a running proxy. `rules` and `candidate` are None where the configuration names no such path."""

    plane: DataPlane
    keeper: Keeper
    breakers: Breakers
    webhooks: Webhooks
    rules: RuleKeeper | None
    candidate: RuleKeeper | None
    recorder: Recorder | None
    statistics: StatisticsKeeper
    watchers: Watchers

    @property
    def rule_keepers(self) -> tuple[RuleKeeper, ...]:
        """The keepers there are."""
        return tuple(keeper for keeper in (self.rules, self.candidate) if keeper is not None)


def build(
    config: Config,
    loaded: Loaded,
    store: HoldStore,
    statistics: StatisticsStore,
    background: Background,
    clock: Callable[[], float],
) -> Built:
    """Make everything; nothing is opened or started."""
    ids = Ids(secrets.token_hex(3))
    grouped = {"drift": config.drift_cooldown_s}
    webhooks = Webhooks([_hook(item, loaded) for item in config.webhooks], clock, grouped=grouped)
    recorder = None if config.record_dir is None else Recorder(_options(config, config.record_dir))
    makers = _Makers(config, loaded, ids, clock, recorder)
    routes = [makers.route(item) for item in config.routes]
    follow_histories(routes)
    breakers = Breakers({route.model: route.breaker for route in routes}, webhooks, clock)
    keeper = Keeper(store, ids, lambda holds: _tell_holds(webhooks, holds))
    plane = DataPlane(routes, makers.pool(config.upstream) if config.upstream else None, keeper, background)
    told = _teller(webhooks)
    shared = StatisticsKeeper(statistics, {route.model: route.statistics for route in routes}, clock)
    shared.beats += {route.model: route.sharing for route in routes}.values()

    def activate(prepared: Prepared) -> None:
        breakers.tell(put_active(routes, prepared, clock()))

    def compare(prepared: Prepared) -> None:
        put_candidate(routes, prepared)

    def rule_keeper(
        name: str, path: Path | None, rules: RuleSets, swap: Callable[[Prepared], None], keep: Path | None
    ) -> RuleKeeper | None:
        if path is None:
            return None
        return RuleKeeper(
            name,
            path,
            config,
            loaded.profiles,
            rules,
            signatures=loaded.signatures,
            swap=swap,
            shapes=lambda: shapes_of(routes),
            clock=clock,
            told=told,
            keep=keep,
        )

    return Built(
        plane,
        keeper,
        breakers,
        webhooks,
        rule_keeper("rules", config.rules, loaded.rules, activate, config.state_folder),
        rule_keeper("rules_candidate", config.rules_candidate, loaded.candidate or RuleSets(), compare, None),
        recorder,
        shared,
        watch(config, routes, shared, webhooks, clock),
    )


class _Shared(NamedTuple):
    """What the routes of one model share."""

    journal: Journal
    history: History
    breaker: Breaker
    comparison: Comparison
    statistics: ModelStatistics
    sharing: Sharing
    refused_times: Counter[str]


@dataclass(slots=True)
class _Makers:
    """Makes routes, and once what several of them share."""

    config: Config
    loaded: Loaded
    ids: Ids
    clock: Callable[[], float]
    recorder: Recorder | None
    pools: dict[str, Pool] = field(default_factory=dict)
    writer: str = field(default_factory=lambda: secrets.token_hex(4))
    models: dict[str, _Shared] = field(default_factory=dict)

    def pool(self, address: str) -> Pool:
        if address not in self.pools:
            timeouts = Timeouts(response_head_s=self.config.timeout_s)
            self.pools[address] = Pool(parse_origin(address), timeouts=timeouts)
        return self.pools[address]

    def route(self, item: RouteConfig) -> Route:
        profile = self.loaded.profiles.get(item.model)
        signatures = self.loaded.signatures
        guard = guard_of(item, self.loaded.rulesets, profile, signatures)
        candidate = None
        if self.loaded.candidate is not None and not self.loaded.candidate.errors:
            candidate = guard_of(item, self.loaded.candidate.rulesets, profile, signatures)
        shared = self._shared(guard, candidate)
        return Route(
            path=item.path,
            model=item.model,
            served=Served(guard, candidate),
            upstream=self.pool(item.upstream or self.config.upstream or ""),
            failure=item.on_failure,
            timeout_s=self.config.timeout_s if item.timeout_s is None else item.timeout_s,
            max_body=item.max_body,
            methods=frozenset(method.upper().encode() for method in item.methods or guard.codec.methods),
            reject_status=item.reject_status,
            history=shared.history,
            journal=shared.journal,
            breaker=shared.breaker,
            comparison=shared.comparison,
            statistics=shared.statistics,
            sharing=shared.sharing,
            event_time=EventTime(
                shared.refused_times,
                header=self.config.event_time and item.time is None,
                feature=item.time,
            ),
            ids=self.ids,
            clock=self.clock,
            recorder=self.recorder,
            buffer=item.buffer,
            upstream_path=None if item.upstream_path is None else item.upstream_path.encode(),
            by_query="GET" in guard.codec.methods,
            version=version_pattern(item.path),
        )

    def _shared(self, guard: Guard, candidate: Guard | None) -> _Shared:
        if guard.model not in self.models:
            breaker = Breaker(guard.ruleset)
            windows = ModelWindows(guard.model, guard.profile, kpis=guard.ruleset.measures)
            statistics = self._statistics(guard)
            comparison = Comparison(self.config.candidate_sample)
            if candidate is not None:
                comparison.follow(candidate.ruleset.fingerprint)
            journal = Journal(windows, breaker, statistics)
            config = self.config
            history = History((), season=config.history_season, max_age_s=config.history_max_age_s)
            sharing = Sharing(guard.model, history, wait_s=config.history_wait_s, clock=self.clock)
            self.models[guard.model] = _Shared(
                journal, history, breaker, comparison, statistics, sharing, Counter()
            )
        return self.models[guard.model]

    def _statistics(self, guard: Guard) -> ModelStatistics:
        config = self.config
        return ModelStatistics(
            guard.model,
            guard.profile,
            compile_recents(guard.ruleset.recents),
            bucket_s=config.bucket_s,
            grace_s=config.grace_s,
            writer=self.writer,
            event=config.event_time
            or any(item.time is not None for item in config.routes if item.model == guard.model),
        )


def _options(config: Config, folder: Path) -> Options:
    return Options(
        folder,
        per_minute=config.record_per_minute,
        max_bytes=config.record_max_bytes,
        max_age_s=config.record_max_age_s,
        redact=config.record_redact,
    )


def _hook(item: WebhookConfig, loaded: Loaded) -> Hook:
    header = loaded.headers.get(str(item.header_file))
    return Hook(item.url, frozenset(item.events), header, loaded.secrets.get(str(item.secret_file)))


def _teller(webhooks: Webhooks) -> Callable[[RuleKeeper, Report], None]:
    def told(keeper: RuleKeeper, report: Report) -> None:
        state = "loaded" if report.ok else "refused"
        what = "candidate's rule files" if keeper.name != "rules" else "rule files"
        served = ", ".join(f"{model} {fingerprint}" for model, fingerprint in report.rulesets.items())
        if report.ok:
            lead = f"the {what} are loaded: {served}"
        else:
            lead = f"the {what} are refused, served on is {served or 'what was'}"
        said = {
            "state": state,
            "rules": keeper.name,
            "ruleset": dict(report.rulesets),
            "problems": [problem.as_json() for problem in report.problems[:MAX_NAMED]],
            "text": lead if report.ok else f"{lead}\n\n{report.text}",
        }
        webhooks.tell("reload", said)

    return told


def _tell_holds(webhooks: Webhooks, holds: Sequence[Hold]) -> None:
    """Tell of one exchange's holds in one event: a batch can hold a thousand rows."""
    first = holds[0]
    webhooks.tell(
        "hold",
        {
            "at": first.created_at,
            "model": first.model,
            "route": first.route,
            "rule": first.rule,
            "queue": first.queue,
            "severity": first.severity.name.lower(),
            "holds": [hold.id for hold in holds[:MAX_NAMED]],
            "rows": len(holds),
            "text": f"{len(holds)} row{'s' if len(holds) > 1 else ''} of {first.model} wait for review "
            f"in the queue {first.queue}: {first.rule}",
        },
    )
