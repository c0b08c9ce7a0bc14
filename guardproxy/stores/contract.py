"""What every store of holds promises.

Decides the operations, their atomicity and their errors. How they are made durable is left to each store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from guardproxy.errors import Fault, GuardproxyError, StoreError
from guardproxy.holds import Entry, Hold, State

MAX_LIMIT: Final = 500
"""Most holds that one listing gives."""


class StoreFullError(StoreError):
    """No more holds are accepted: too many are open, or the disk is nearly full. Nothing was stored."""


class CursorError(GuardproxyError):
    """A page cursor that this store did not give, or that belongs to another order."""

    fault = Fault.CLIENT
    status = 400


class Order(StrEnum):
    """How a listing is sorted."""

    PRIORITY = "priority"
    """Severest first, then what is due soonest: the order of work."""
    RECENT = "recent"
    """Newest first: the order of history."""
    OLDEST = "oldest"
    """Oldest first: what has waited longest."""


@dataclass(frozen=True, slots=True)
class HoldFilter:
    """Which holds a listing is about; an empty field does not narrow it."""

    states: tuple[State, ...] = ()
    queue: str | None = None
    model: str | None = None


ALL_HOLDS: Final = HoldFilter()
"""The filter that narrows nothing."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; `cursor` asks for the next one and is None on the last."""

    holds: tuple[Hold, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How a store is doing. `waiting` counts operations in its queue, `free_bytes` is the disk's free space.

    `accepting` is false when new holds would be refused; `problem` then says why, or what went wrong last.
    """

    accepting: bool
    waiting: int
    free_bytes: int | None
    problem: str


class HoldStore(Protocol):
    """Keeps holds and their history. Every method raises StoreError when the store cannot do it."""

    async def open(self) -> None:
        """Make ready. Raises StoreError with a sentence for the operator."""

    async def close(self) -> None:
        """Finish what was accepted, then let go. A second call does nothing."""

    async def add(self, holds: Sequence[Hold]) -> None:
        """Store all of `holds` in one durable transaction; when this returns they survive a power cut.

        Raises StoreFullError or StoreError, and then none is stored; ConflictError when an id exists.
        """

    async def get(self, hold_id: str) -> Hold:
        """Return one hold. Raises NotFoundError."""

    async def list(
        self,
        where: HoldFilter = ALL_HOLDS,
        *,
        order: Order = Order.PRIORITY,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of holds. `limit` is cut to 1..MAX_LIMIT. Raises CursorError."""

    async def counts(self, where: HoldFilter = ALL_HOLDS) -> Mapping[State, int]:
        """Return how many holds are in each state (zeros included)."""

    async def swap(self, hold: Hold, *, expected_rev: int, entry: Entry) -> None:
        """Put `hold` in place of its revision `expected_rev`, and `entry` into its history, durably and together.

        Raises ConflictError when the stored revision is another one, NotFoundError when there is none.
        """

    async def due(self, at: float, limit: int = 100) -> Sequence[Hold]:
        """Return holds whose timer (expiry, end of undo) has run out at `at` (Unix seconds), the oldest first."""

    async def events(self, hold_id: str) -> Sequence[Entry]:
        """Return a hold's history, the oldest first. Raises NotFoundError."""

    async def purge(self, before: float, limit: int = 1000) -> int:
        """Delete at most `limit` terminal holds decided before `before`, with their history; return how many."""

    async def probe(self) -> None:
        """Try a small durable write, so that a failure which is over is no longer in `status`. Raises StoreError."""

    def status(self) -> StoreStatus:
        """Say how the store is doing, without waiting for it."""
