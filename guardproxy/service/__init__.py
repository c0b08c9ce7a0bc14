"""The whole process: data plane, admin plane, store and background work, started and stopped in order.

Decides the order: nothing listens before every file was read and the store is open; on SIGTERM readiness goes first, then
connections end after their response, then the queues are flushed and the store is closed. What the admin plane is answered is left to
`answers`, what runs beside the requests to `work`.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from aiohttp import web

from guardproxy.admin import NO_AUTH, Role, TokenBook, make_app, new_token
from guardproxy.config import Config
from guardproxy.errors import StoreError
from guardproxy.proxy.background import THREADS, Background
from guardproxy.proxy.building import build
from guardproxy.proxy.load import Loaded
from guardproxy.service.answers import answers_of
from guardproxy.service.process import Service
from guardproxy.service.work import background
from guardproxy.stores import SqliteHoldStore, SqliteOptions, sweep
from guardproxy.stores.opening import open_statistics
from guardproxy.stores.statistics import StatisticsStore
from guardproxy.wire import Limits, Server, Timeouts

__all__ = ["Service", "StatisticsError", "running", "serve"]

log = structlog.get_logger("guardproxy.service")

SETTLE_S: Final = 1.0
LAST_FLUSH_S: Final = 2.0
"""How long the stop may wait until the store has taken what was counted last."""


class StatisticsError(StoreError):
    """The store of statistics cannot be used as it is configured."""


@asynccontextmanager
async def running(
    config: Config, loaded: Loaded, tokens: TokenBook | None, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[Service]:
    """Start everything, yield the running service, stop in order. Raises StoreError and OSError before listening."""
    statistics = open_statistics(
        config.statistics_store, config.store, loaded.password, config.history_max_entities
    )
    store = SqliteHoldStore(config.store, SqliteOptions(max_open=config.max_open_holds))
    await store.open()
    try:
        await _open(statistics)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="screen") as threads:
            async with asyncio.TaskGroup() as tasks:
                built = build(config, loaded, store, statistics, Background(tasks, threads), clock)
                book, secret = _tokens(config, tokens)
                service = Service(config, built, store, clock, book, secret)
                await _remember_rules(service, loaded)
                beside = [tasks.create_task(work, name=name) for name, work in background(service)]
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
                    for task in beside:
                        task.cancel()
                    await _hang_up(service)
                    await runner.cleanup()
    finally:
        try:
            await statistics.close()
        finally:
            await store.close()


async def _open(statistics: StatisticsStore) -> None:
    try:
        await statistics.open()
    except StoreError as error:
        raise StatisticsError(str(error)) from error


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


def _tokens(config: Config, tokens: TokenBook | None) -> tuple[TokenBook, str | None]:
    if config.auth == "none":
        return NO_AUTH, None
    if tokens is not None:
        return tokens, None
    secret, token = new_token("console", Role.OPERATOR)
    return TokenBook((token,)), secret


async def _start_admin(service: Service) -> web.AppRunner:
    runner = web.AppRunner(make_app(answers_of(service)), access_log=None, shutdown_timeout=2)
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
    await service.built.statistics.stop(LAST_FLUSH_S)
    await asyncio.gather(*(sharing.stop(LAST_FLUSH_S) for sharing in service.plane.sharings.values()))
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
