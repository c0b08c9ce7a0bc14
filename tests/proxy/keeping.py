"""Keepers of statistics over a store, beaten by hand under a clock that tests set."""

from dataclasses import dataclass, field
from typing import Any

from guardproxy.profile.model import Profile
from guardproxy.proxy.model_statistics import ModelStatistics
from guardproxy.proxy.statistics import StatisticsKeeper
from guardproxy.stats.recent import NO_RECENTS, Recents
from guardproxy.stores.statistics import BucketKey, StatisticsStore, StoreDownError
from tests.stats.counted import profile

MIDNIGHT = 20_000 * 86_400.0
"""A midnight in 2024."""


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: float = MIDNIGHT

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Replica:
    """One process's statistics of the model `demand`."""

    keeper: StatisticsKeeper
    model: ModelStatistics

    async def beat(self, times: int = 1) -> None:
        """Beat so often."""
        for _ in range(times):
            await self.keeper.beat()

    def rows(self, window: str = "1h") -> int:
        """Return the rows of a window."""
        found = self.model.snapshot.windows.get(window)
        return 0 if found is None else found.rows

    def closed(self, after: int = -1) -> list[tuple[int, int]]:
        """Return the rows of each closed bucket."""
        outcomes = self.model.layout.outcomes
        return [(bucket, int(counts[outcomes].sum())) for bucket, counts in self.model.closed_after(after)]


def replica(
    store: StatisticsStore,
    clock: Clock,
    writer: str = "00000001",
    *,
    learned: Profile | None = None,
    recents: Recents = NO_RECENTS,
    **settings: Any,
) -> Replica:
    """Return a replica that counts in buckets of a minute with a grace of ten seconds, unless `settings` say other."""
    said = {"bucket_s": 60.0, "grace_s": 10.0, **settings}
    model = ModelStatistics("demand", learned or profile(), recents, writer=writer, **said)
    return Replica(StatisticsKeeper(store, {"demand": model}, clock), model)


@dataclass
class LossyStore:
    """A store whose calls fail while `down`, before or after they were done; `calls` says what was asked of it."""

    store: StatisticsStore
    down: bool = False
    done: bool = False
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        """Return a call of the store, or one that fails."""
        call = getattr(self.store, name)
        if name in {"status", "open", "close"}:
            return call

        async def lossy(*arguments: Any) -> Any:
            self.calls.append(name)
            result = await call(*arguments) if self.done or not self.down else None
            if self.down:
                raise StoreDownError("the store is away")
            return result

        return lossy


async def stretch(
    store: StatisticsStore, one: ModelStatistics, resolution: int, number: int
) -> dict[str, bytes]:
    """Return the blobs of counts of a stretch, as they stand in the store."""
    (found,) = await store.read([BucketKey("demand", "counts", one.layout.version, resolution, number)])
    return dict(found)
