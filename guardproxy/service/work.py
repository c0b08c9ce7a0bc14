"""What runs beside the requests until the stop: flushes, sweeps, reloads.

Decides how often each is done, and that an error of one ends neither it nor the others.
"""

import asyncio
import itertools
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import structlog

from guardproxy.errors import StoreError
from guardproxy.holds import State
from guardproxy.service.process import Service
from guardproxy.stores import sweep

log = structlog.get_logger("guardproxy.service")

FLUSH_S: Final = 0.1
"""Counting a second's samples at once would hold requests up for as long as that takes."""
LEARN_SLICES: Final = 8
"""Slices of answers that a model's history learns from at one flush; more of them wait for the next."""
SWEEP_S: Final = 1.0
RECORD_S: Final = 1.0
KEPT_S: Final = 90 * 86_400.0
PURGE_EVERY: Final = 600


def background(service: Service) -> Sequence[tuple[str, Coroutine[Any, Any, None]]]:
    """Return what runs beside the requests until the stop."""
    built = service.built
    work = [("flush", _flush(service)), ("sweep", _sweep(service)), ("hangup", _on_hangup(service))]
    work.append(("statistics", built.statistics.run()))
    work += [(f"watch {keeper.name}", keeper.watch()) for keeper in built.rule_keepers]
    if built.webhooks.hooks:
        work.append(("webhooks", built.webhooks.run()))
    if built.recorder is not None:
        work.append(("record", _record(service)))
    return work


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
        await _learn(service)
        service.built.statistics.hurry()
        try:
            service.built.breakers.look()
        except Exception as error:
            log.error("breaker.failed", error=type(error).__name__, exc_info=error)


async def _learn(service: Service) -> None:
    """Let the histories learn from the answers that wait, a slice at a time, so that requests come between."""
    for model, sharing in service.plane.sharings.items():
        try:
            for _ in range(LEARN_SLICES):
                if not sharing.learn():
                    break
                await asyncio.sleep(0)
        except Exception as error:
            log.error("history.learn_failed", model=model, error=type(error).__name__, exc_info=error)


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
