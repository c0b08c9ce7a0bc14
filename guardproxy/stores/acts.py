"""What is done with a stored hold: read it, settle it, put it back.

Decides that a change is made from the revision that was read, so that of two rivals one gets through. When the timers run
is left to the caller.
"""

import asyncio
import contextlib
from typing import Final

from guardproxy.errors import ConflictError, NotFoundError, StoreError
from guardproxy.holds import Commit, Event, Expire, Hold, State, entry_for, settle
from guardproxy.stores.contract import HoldStore

_BATCH: Final = 100


async def apply_event(
    store: HoldStore,
    hold_id: str,
    event: Event,
    *,
    at: float,
    undo_s: float,
    expected_rev: int | None = None,
) -> Hold:
    """Apply `event` to a stored hold and return what it became.

    Raises ConflictError when the hold is at another revision than `expected_rev` (if given), when its state forbids
    the event or a rival was faster; NotFoundError; OverrideError; StoreError.
    """
    before = await store.get(hold_id)
    if expected_rev is not None and before.rev != expected_rev:
        raise ConflictError(f"it is at revision {before.rev} now, not {expected_rev}")
    after = settle(before, event, at=at, undo_s=undo_s)
    await store.swap(after, expected_rev=before.rev, entry=entry_for(before, after, event, at=at))
    return after


async def sweep(store: HoldStore, at: float, undo_s: float, *, limit: int = 1000) -> list[Hold]:
    """Expire and commit what is due at `at` (Unix seconds), at most `limit` holds; return those that became final.

    A hold that somebody else settled meanwhile is left to them. Concurrent sweeps (several workers) are safe. When
    the store fails in the middle, StoreError is raised; what was settled until then stays settled.
    """
    if not store.status().accepting:
        with contextlib.suppress(
            StoreError
        ):  # what follows may use the reserve, and says what is still wrong
            await store.probe()
    settled: list[Hold] = []
    while len(settled) < limit:
        due = await store.due(at, min(_BATCH, limit - len(settled)))
        changed = await asyncio.gather(*(_settle_due(store, hold, at, undo_s) for hold in due))
        done = [hold for hold in changed if hold is not None]
        settled.extend(done)
        if not done:
            break
    return settled


async def _settle_due(store: HoldStore, hold: Hold, at: float, undo_s: float) -> Hold | None:
    event: Event = Commit() if hold.state is State.DECIDING else Expire()
    try:
        after = settle(hold, event, at=at, undo_s=undo_s)
        await store.swap(after, expected_rev=hold.rev, entry=entry_for(hold, after, event, at=at))
    except (ConflictError, NotFoundError):
        return None
    return after
