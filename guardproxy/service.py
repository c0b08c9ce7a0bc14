"""The whole process: data plane, admin plane, store and background work, started and stopped in order.

Decides the order: nothing listens before every file was read and the store is open; on SIGTERM readiness goes first, then
connections end after their response, then the queues are flushed and the store is closed.
"""

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from guardproxy.admin import NO_AUTH, AdminServices, Alert, Role, TokenBook, make_app, new_token
from guardproxy.config import Address, Config
from guardproxy.errors import ConflictError, StoreError
from guardproxy.guard.fallbacks import override_refusals
from guardproxy.guard.unseen import blind_of
from guardproxy.holds import Hold, State
from guardproxy.proxy.background import THREADS, Background
from guardproxy.proxy.building import Built, build
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.load import Loaded
from guardproxy.proxy.metrics import PlaneCollector, render
from guardproxy.proxy.plane import DataPlane
from guardproxy.proxy.reports import (
    candidates_report,
    decision_report,
    overview_report,
    recording_report,
    rules_report,
    windows_report,
)
from guardproxy.proxy.rule_metrics import rule_metrics
from guardproxy.proxy.standing import alerts_of, degraded_by
from guardproxy.stores import SqliteHoldStore, SqliteOptions, sweep
from guardproxy.table import Cell
from guardproxy.wire import Limits, Server, Timeouts

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from guardproxy.proxy.grpc import GrpcPlane

log = structlog.get_logger("guardproxy.service")

FLUSH_S: Final = 0.1
"""Counting a second's samples at once would hold requests up for as long as that takes."""
SWEEP_S: Final = 1.0
RECORD_S: Final = 1.0
LAG_BUDGET_S: Final = 5.0
SETTLE_S: Final = 1.0
KEPT_S: Final = 90 * 86_400.0
PURGE_EVERY: Final = 600


@dataclass(slots=True)
class Service:
    """A running guardproxy. `token` is the random operator token, when no tokens file was given."""

    config: Config
    built: Built
    store: SqliteHoldStore
    clock: Callable[[], float]
    tokens: TokenBook
    token: str | None
    server: Server | None = None
    grpc: "GrpcPlane | None" = None
    admin_port: int = 0
    open_holds: int = 0
    lag_s: float = 0.0
    beat: float = field(default_factory=time.monotonic)
    store_problem: str = ""
    hangup: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def plane(self) -> DataPlane:
        """The data plane."""
        return self.built.plane

    @property
    def keeper(self) -> Keeper:
        """What stores holds."""
        return self.built.keeper

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
        if self.store_problem and any(route.refuses_unstored for route in self.plane.routes):
            reasons.append(f"holds cannot be stored: {self.store_problem}")
        return not reasons, reasons

    def live(self) -> bool:
        """Say whether the event loop still turns."""
        return time.monotonic() - self.beat < LAG_BUDGET_S

    async def reload(self) -> tuple[bool, Mapping[str, Any]]:
        """Read all rule files now; say whether those of `rules` are served, with the full diagnosis of both sets."""
        rules, candidate = self.built.rules, self.built.candidate
        if rules is None:
            raise ConflictError("no rules are configured, so there is nothing to read")
        report = await rules.reload()
        said = report.as_json()
        if candidate is not None:
            said["candidate"] = (await candidate.reload()).as_json()
        return report.ok, said

    def reload_soon(self) -> None:
        """Read all rule files, as SIGHUP asks; the log says what came of it."""
        self.hangup.set()


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
                built = build(config, loaded, store, Background(tasks, threads), clock)
                book, secret = _tokens(config, tokens)
                service = Service(config, built, store, clock, book, secret)
                await _remember_rules(service, loaded)
                background = [tasks.create_task(work, name=name) for name, work in _work(service)]
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
                    await _start_grpc(service)
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
    """Run until SIGTERM or SIGINT; a second signal ends at once. SIGHUP reads the rule files."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _signalled, stop, loop, number)
    async with running(config, loaded, tokens) as service:
        loop.add_signal_handler(signal.SIGHUP, service.reload_soon)
        announce(service)
        await stop.wait()
        log.info("service.stopping")


def _signalled(stop: asyncio.Event, loop: asyncio.AbstractEventLoop, number: int) -> None:
    if stop.is_set():
        loop.remove_signal_handler(number)
        signal.raise_signal(signal.SIGKILL)
    stop.set()


async def _remember_rules(service: Service, loaded: Loaded) -> None:
    if service.built.rules is not None:
        await service.built.rules.start(loaded.rules)
    if service.built.candidate is not None and loaded.candidate is not None:
        await service.built.candidate.start(loaded.candidate)


def _work(service: Service) -> Sequence[tuple[str, Coroutine[Any, Any, None]]]:
    """Return what runs beside the requests until the stop."""
    built = service.built
    work = [("flush", _flush(service)), ("sweep", _sweep(service)), ("hangup", _on_hangup(service))]
    work += [(f"watch {keeper.name}", keeper.watch()) for keeper in built.rule_keepers]
    if built.webhooks.hooks:
        work.append(("webhooks", built.webhooks.run()))
    if built.recorder is not None:
        work.append(("record", _record(service)))
    return work


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


async def _start_grpc(service: Service) -> None:
    config, built = service.config, service.built
    if config.grpc_listen is None or config.grpc_upstream is None:
        return
    # The library is an extra: it is loaded where it is used, and `parse_config` has seen that it is there.
    from guardproxy.proxy.grpc import GrpcPlane

    service.grpc = GrpcPlane(
        built.plane.routes,
        str(config.grpc_upstream),
        built.keeper,
        built.plane.background,
        max_message=config.grpc_max_message,
        max_calls=config.max_connections,
    )
    await service.grpc.start(str(config.grpc_listen))


def _metrics(service: Service) -> "Iterator[Metric]":
    """Yield what the data plane's collector does not know of."""
    yield from rule_metrics(service.built)
    if service.grpc is not None:
        yield from service.grpc.metrics()


def _services(service: Service) -> AdminServices:
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
        rules=lambda: rules_report(service.plane, built.breakers),
        rollout=lambda: _rollout(built),
        reload=service.reload,
        rearm=built.breakers.rearm,
        decision=lambda decision_id: decision_report(service.plane, decision_id),
        overview=lambda: overview_report(service.plane, _grpc(service)),
        alerts=lambda: [Alert(*alert) for alert in alerts_of(built, service.clock())],
        check_override=lambda hold, values: _refusals(service, hold, values),
    )


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


def _refusals(service: Service, hold: Hold, values: Mapping[str, Cell]) -> tuple[str, ...]:
    route = next((route for route in service.plane.routes if route.model == hold.model), None)
    if route is None:
        return ()
    # A row of an opaque request has no features: only rules that need none can speak about it.
    guard = route.guard if hold.features else blind_of(route.guard)
    return override_refusals(guard, hold.features, values, facts_at(service.clock()), route.history)


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
        try:
            service.built.breakers.look()
        except Exception as error:
            log.error("breaker.failed", error=type(error).__name__, exc_info=error)


async def _on_hangup(service: Service) -> None:
    """Read the rule files whenever SIGHUP came; what is wrong with them is logged by who reads them."""
    while True:
        await service.hangup.wait()
        service.hangup.clear()
        try:
            ok, said = await service.reload()
            log.info("rules.reload_asked", ok=ok, changed=said["changed"], ruleset=said["ruleset"])
        except Exception as error:
            log.error("rules.reload_failed", error=type(error).__name__, exc_info=error)


async def _record(service: Service) -> None:
    """Write what was recorded, in a thread, once a second."""
    recorder = service.built.recorder
    while recorder is not None:
        await asyncio.sleep(RECORD_S)
        try:
            await asyncio.to_thread(recorder.flush, service.clock())
        except Exception as error:
            log.error("recording.flush_failed", error=type(error).__name__, exc_info=error)


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
    grace_s = service.config.drain_s
    async with asyncio.TaskGroup() as closing:
        if service.server is not None:
            closing.create_task(service.server.close(grace_s))
        if service.grpc is not None:
            closing.create_task(service.grpc.stop(grace_s))
    for journal in service.plane.journals.values():
        journal.flush()
    await service.built.webhooks.settle(SETTLE_S)
    if service.built.recorder is not None:
        await asyncio.to_thread(service.built.recorder.close)
    with suppress(StoreError):
        await sweep(service.store, service.clock(), service.config.undo_s)


async def _hang_up(service: Service) -> None:
    """Leave no socket behind, whatever ended the service: after a drain this finds nothing to do but idle upstreams."""
    if service.server is not None:
        await service.server.close(0.0)
    if service.grpc is not None:
        await service.grpc.stop(0.0)
    for pool in (*(route.upstream for route in service.plane.routes), service.plane.default):
        if pool is not None:
            pool.close()
