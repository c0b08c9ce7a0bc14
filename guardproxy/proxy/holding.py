"""Keeping held rows: from a decision to stored holds, and what is said when they cannot be stored.

Decides a hold's id and the bands a reviewer sees. The durable write is the only one that a reply waits for; it is not
cancelled when the client hangs up, since the row may already be in somebody's queue.
"""

from collections.abc import Callable, Sequence
from typing import Final

from guardproxy.decision import Decision, HeldRow
from guardproxy.errors import GuardproxyError, StoreError
from guardproxy.holds import Band, Hold, hold_from
from guardproxy.profile.model import FieldProfile, Profile
from guardproxy.proxy.route import Ids, Route
from guardproxy.rules.names import profiled_output
from guardproxy.stores import HoldStore
from guardproxy.table import Cell

MAX_BANDS: Final = 64
MAX_DRAWN: Final = 1e300
"""Beyond it no number line can be drawn."""

Kept = Callable[[tuple[str, ...], GuardproxyError | None], None]


class Keeper:
    """Stores holds, and counts what could not be stored."""

    def __init__(
        self, store: HoldStore, ids: Ids, told: Callable[[Sequence[Hold]], None] = lambda _holds: None
    ) -> None:
        """Write to `store`; `told` hears of the holds of each exchange once they are stored."""
        self.stored = 0
        self.failed = 0
        self._store = store
        self._ids = ids
        self._told = told

    async def keep(self, decision_id: str, route: Route, decision: Decision, at: float, then: Kept) -> None:
        """Store the decision's held rows in one durable write, then call `then` with their ids or the error."""
        if decision.held_dropped:
            rows = len(decision.held) + decision.held_dropped
            self.failed += rows
            then(
                (),
                StoreError(
                    f"{rows} rows of one request asked to be held; at most {len(decision.held)} can be"
                ),
            )
            return
        holds = [
            hold_from(
                held,
                id=self._ids.make("hld", at),
                model=decision.model,
                route=route.path,
                decision_id=decision_id,
                at=at,
                bands=bands_of(held, route.guard.profile),
            )
            for held in decision.held
        ]
        await self._write(holds, then)

    async def _write(self, holds: list[Hold], then: Kept) -> None:
        try:
            await self._store.add(holds)
        except GuardproxyError as error:
            self.failed += len(holds)
            then((), error)
            return
        self.stored += len(holds)
        then(tuple(hold.id for hold in holds), None)
        self._told(holds)


def bands_of(held: HeldRow, profile: Profile | None) -> tuple[Band, ...]:
    """Return the learned range of every numeric field of a row beside its value, predictions first."""
    if profile is None:
        return ()
    outputs = tuple(held.original)
    bands = [
        *(
            _band(f"output.{name}", cell, profiled(profile, name, outputs))
            for name, cell in held.original.items()
        ),
        *(
            _band(f"features.{name}", cell, profile.features.get(name))
            for name, cell in held.features.items()
        ),
    ]
    return tuple(band for band in bands if band is not None)[:MAX_BANDS]


def profiled(profile: Profile, name: str, outputs: tuple[str, ...]) -> FieldProfile | None:
    """Return what was learned of an output: under its own name, or as the only output of both sides."""
    own = profiled_output(profile, name, outputs)
    return None if own is None else profile.outputs[own]


def _band(name: str, cell: Cell, learned: FieldProfile | None) -> Band | None:
    if learned is None or learned.stat("min") is None:
        return None
    number = isinstance(cell, (int, float)) and not isinstance(cell, bool) and abs(cell) < MAX_DRAWN
    return Band(
        field=name,
        value=float(cell) if number else None,  # type: ignore[arg-type]
        lo=learned.low,
        hi=learned.high,
        p1=learned.stat("p1"),
        p50=learned.stat("p50"),
        p99=learned.stat("p99"),
    )
