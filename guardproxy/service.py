"""The whole process: data plane, admin plane, store and background work, started and stopped in order.

Decides the order: nothing listens before every file was read and the store is open; on SIGTERM readiness goes first, then
connections end after their response, then the queues are flushed and the store is closed.
"""

import asyncio
import itertools
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from aiohttp import web

from guardproxy.admin import NO_AUTH, AdminServices, Role, TokenBook, make_app, new_token
from guardproxy.config import Address, Config, RouteConfig
from guardproxy.errors import StoreError
from guardproxy.guard.fallbacks import override_refusals
from guardproxy.holds import Hold, State
from guardproxy.proxy.background import THREADS, Background
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.history import History
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.journal import Journal
from guardproxy.proxy.load import Loaded, make_guard
from guardproxy.proxy.metrics import PlaneCollector, render
from guardproxy.proxy.plane import DataPlane
from guardproxy.proxy.route import Ids, Route
from guardproxy.stats import ModelWindows
from guardproxy.stores import SqliteHoldStore, SqliteOptions, sweep
from guardproxy.table import Cell
from guardproxy.wire import Limits, Pool, Server, Timeouts, parse_origin

log = structlog.get_logger("guardproxy.service")

FLUSH_S: Final = 0.1
"""Counting a second's samples at once would hold requests up for as long as that takes."""
SWEEP_S: Final = 1.0
LAG_BUDGET_S: Final = 5.0
KEPT_S: Final = 90 * 86_400.0
PURGE_EVERY: Final = 600


@dataclass(slots=True)
class Service:
    """A running guardproxy. `token` is the random operator token, when no tokens file was given."""

    config: Config
    plane: DataPlane
    keeper: Keeper
    store: SqliteHoldStore
    clock: Callable[[], float]
    tokens: TokenBook
    token: str | None
    server: Server | None = None
    admin_port: int = 0
    open_holds: int = 0
    lag_s: float = 0.0
    beat: float = field(default_factory=time.monotonic)
    store_problem: str = ""

    @property
    def console_url(self) -> str:
        """The console's address, with the token when it is a random one."""
        host = self.config.admin.host
        base = f"http://{Address(host if host not in {'0.0.0.0', '::'} else '127.0.0.1', self.admin_port)}/"  # noqa: S104
        return f"{base}?token={self.token}" if self.token else base

    def ready(self) -> tuple[bool, list[str]]:
        """Say whether traffic should be sent here, and why not."""
        reasons = []
        if self.plane.draining:
            reasons.append("draining")
        if self.server is None:
            reasons.append("starting")
        if self.store_problem and any(route.failure == "closed" for route in self.plane.routes):
            reasons.append(f"holds cannot be stored: {self.store_problem}")
        return not reasons, reasons

    def live(self) -> bool:
        """Say whether the event loop still turns."""
        return time.monotonic() - self.beat < LAG_BUDGET_S


@asynccontextmanager
async def running(
    config: Config, loaded: Loaded, tokens: TokenBook | None, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[Service]:
    """Start everything, yield the running service, stop in order. Raises StoreError and OSError before listening."""
    store = SqliteHoldStore(config.store, SqliteOptions(max_open=config.max_open_holds))
    await store.open()
    try:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="screen") as threads:
            async with asyncio.TaskGroup() as tasks:
                service = _assemble(config, loaded, store, tokens, Background(tasks, threads), clock)
                background = [
                    tasks.create_task(_flush(service), name="flush"),
                    tasks.create_task(_sweep(service), name="sweep"),
                ]
                runner = await _start_admin(service)
                try:
                    limits = Limits(max_connections=config.max_connections)
                    timeouts = Timeouts(response_head_s=config.timeout_s)
                    service.server = await Server.start(
                        service.plane,
                        config.listen.host,
                        config.listen.port,
                        limits=limits,
                        timeouts=timeouts,
                    )
                    yield service
                    await _drain(service)
                finally:
                    for task in background:
                        task.cancel()
                    await _hang_up(service)
                    await runner.cleanup()
    finally:
        await store.close()


async def serve(
    config: Config, loaded: Loaded, tokens: TokenBook | None, announce: Callable[[Service], None]
) -> None:
    """Run until SIGTERM or SIGINT; a second signal ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _signalled, stop, loop, number)
    async with running(config, loaded, tokens) as service:
        announce(service)
        await stop.wait()
        log.info("service.stopping")


def _signalled(stop: asyncio.Event, loop: asyncio.AbstractEventLoop, number: int) -> None:
    if stop.is_set():
        loop.remove_signal_handler(number)
        signal.raise_signal(signal.SIGKILL)
    stop.set()


def _assemble(
    config: Config,
    loaded: Loaded,
    store: SqliteHoldStore,
    tokens: TokenBook | None,
    background: Background,
    clock: Callable[[], float],
) -> Service:
    ids = Ids(secrets.token_hex(3))
    keeper = Keeper(store, ids)
    pools: dict[str, Pool] = {}

    def pool(address: str) -> Pool:
        if address not in pools:
            pools[address] = Pool(parse_origin(address), timeouts=Timeouts(response_head_s=config.timeout_s))
        return pools[address]

    journals: dict[str, Journal] = {}
    histories: dict[str, History] = {}
    routes = [_route(item, config, loaded, pool, journals, histories, ids, clock) for item in config.routes]
    plane = DataPlane(routes, pool(config.upstream) if config.upstream else None, keeper, background)
    book, secret = _tokens(config, tokens)
    return Service(config, plane, keeper, store, clock, book, secret)


def _route(
    item: RouteConfig,
    config: Config,
    loaded: Loaded,
    pool: Callable[[str], Pool],
    journals: dict[str, Journal],
    histories: dict[str, History],
    ids: Ids,
    clock: Callable[[], float],
) -> Route:
    guard = make_guard(item, loaded)
    model = item.model
    journal = journals.setdefault(model, Journal(ModelWindows(model, guard.profile)))
    # Only what some rule will ask for is remembered.
    history = histories.setdefault(model, History(guard.bind((), ()).history_keys))
    return Route(
        path=item.path,
        model=model,
        guard=guard,
        upstream=pool(item.upstream or config.upstream or ""),
        failure=item.on_failure,
        timeout_s=item.timeout_s,
        max_body=item.max_body,
        methods=frozenset(method.upper().encode() for method in item.methods),
        reject_status=item.reject_status,
        history=history,
        journal=journal,
        ids=ids,
        clock=clock,
    )


def _tokens(config: Config, tokens: TokenBook | None) -> tuple[TokenBook, str | None]:
    if config.auth == "none":
        return NO_AUTH, None
    if tokens is not None:
        return tokens, None
    secret, token = new_token("console", Role.OPERATOR)
    return TokenBook((token,)), secret


async def _start_admin(service: Service) -> web.AppRunner:
    runner = web.AppRunner(make_app(_services(service)), access_log=None, shutdown_timeout=2)
    await runner.setup()
    address = service.config.admin
    site = web.TCPSite(runner, address.host, address.port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    service.admin_port = int(runner.addresses[0][1])
    return runner


def _services(service: Service) -> AdminServices:
    collector = PlaneCollector(
        service.plane,
        service.keeper,
        lambda: service.server,
        lambda: service.open_holds,
        lambda: service.lag_s,
    )
    return AdminServices(
        store=service.store,
        tokens=service.tokens,
        clock=service.clock,
        undo_s=service.config.undo_s,
        live=service.live,
        ready=service.ready,
        metrics=lambda: render(collector),
        windows=lambda: _windows(service),
        rules=lambda: _rules(service),
        decision=lambda decision_id: _decision(service, decision_id),
        overview=lambda: _overview(service),
        check_override=lambda hold, values: _refusals(service, hold, values),
    )


def _windows(service: Service) -> Mapping[str, Any]:
    models = []
    for journal in service.plane.journals.values():
        journal.flush()
        said = journal.windows.as_json(service.clock())
        hour = said["windows"]["1h"]
        fields = [{"field": name, **tally} for name, tally in hour["features"].items()]
        fields += [{"field": f"output.{name}", **tally} for name, tally in hour["outputs"].items()]
        models.append(
            {
                **said,
                "rows": hour["rows"],
                "outcomes": hour["outcomes"],
                "fields": fields,
                "dropped": journal.dropped,
            }
        )
    return {"models": models}


def _rules(service: Service) -> Sequence[Mapping[str, Any]]:
    seen: dict[str, list[Mapping[str, Any]]] = {}
    for route in service.plane.routes:
        if route.model in seen:
            continue
        route.journal.flush()
        counts = route.journal.windows.totals().verdicts
        seen[route.model] = [
            {
                "rule": rule.id,
                "model": route.model,
                "title": rule.title,
                "kind": rule.kind,
                "mode": rule.mode.value,
                "action": rule.action.name.lower(),
                "severity": rule.severity.name.lower(),
                "owner": rule.owner,
                "why": rule.why,
                "file": rule.place.file,
                "line": rule.place.line,
                "verdicts": {verdict.name.lower(): rows for verdict, rows in counts.get(rule.id, {}).items()},
            }
            for rule in route.guard.ruleset.rules
        ]
    return [rule for rules in seen.values() for rule in rules]


def _decision(service: Service, decision_id: str) -> Mapping[str, Any] | None:
    found = (journal.find(decision_id) for journal in service.plane.journals.values())
    return next((decision for decision in found if decision is not None), None)


def _overview(service: Service) -> Mapping[str, Any]:
    routes = service.plane.routes
    unguarded = 0
    for journal in service.plane.journals.values():
        journal.flush()
        unguarded += sum(journal.windows.totals().reasons.values())
    return {
        "ruleset": ", ".join(dict.fromkeys(route.guard.ruleset.fingerprint for route in routes)),
        "unguarded": unguarded,
        "routes": [
            {
                "path": r.path,
                "model": r.model,
                "protocol": r.guard.codec.name,
                "on_failure": r.failure.value,
                "upstream": str(r.upstream.origin),
            }
            for r in routes
        ],
    }


def _refusals(service: Service, hold: Hold, values: Mapping[str, Cell]) -> tuple[str, ...]:
    route = next((route for route in service.plane.routes if route.model == hold.model), None)
    if route is None:
        return ()
    return override_refusals(route.guard, hold.features, values, facts_at(service.clock()), route.history)


async def _flush(service: Service) -> None:
    """Count what waits in the journals, ten times a second, and notice how late the loop wakes."""
    while True:
        due = time.monotonic() + FLUSH_S
        await asyncio.sleep(FLUSH_S)
        service.beat = time.monotonic()
        service.lag_s = max(0.0, service.beat - due)
        for model, journal in service.plane.journals.items():
            try:
                journal.flush()
            except Exception as error:
                log.error("journal.flush_failed", model=model, error=type(error).__name__, exc_info=error)


async def _sweep(service: Service) -> None:
    """Expire and commit what is due, once a second; now and then delete what was decided long ago."""
    for second in itertools.count():
        try:
            for hold in await sweep(service.store, service.clock(), service.config.undo_s):
                log.info("hold.settled", hold=hold.id, state=hold.state.value, by=hold.by)
            if second % PURGE_EVERY == 0:
                await service.store.purge(service.clock() - KEPT_S)
            counts = await service.store.counts()
            service.open_holds = counts.get(State.OPEN, 0)
            status = service.store.status()
            service.store_problem = "" if status.accepting else status.problem
        except StoreError as error:
            service.store_problem = str(error)
            log.error("store.failed", error=str(error))
        await asyncio.sleep(SWEEP_S)


async def _drain(service: Service) -> None:
    """Lame duck: not ready, every response closes its connection, what is in flight ends."""
    service.plane.draining = True
    if service.server is not None:
        await service.server.close(service.config.drain_s)
    for journal in service.plane.journals.values():
        journal.flush()
    with suppress(StoreError):
        await sweep(service.store, service.clock(), service.config.undo_s)


async def _hang_up(service: Service) -> None:
    """Leave no socket behind, whatever ended the service: after a drain this finds nothing to do but idle upstreams."""
    if service.server is not None:
        await service.server.close(0.0)
    for pool in (*(route.upstream for route in service.plane.routes), service.plane.default):
        if pool is not None:
            pool.close()
