"""How a store of statistics is doing, from what its calls met.

Decides what counts as failing. The sentences are left to each store.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from guardproxy.stores.statistics import StatisticsStatus

Clock = Callable[[], float]


@dataclass(slots=True)
class Standing:
    """Counts calls, failures and what was left out; remembers why."""

    backend: str
    clock: Clock = time.time
    problem: str = ""
    since: float | None = None
    calls: int = 0
    failures: int = 0
    skipped: int = 0
    skipped_why: str = ""
    evicted: int = 0

    def succeeded(self) -> None:
        """Note a call that was answered."""
        self.calls += 1
        self.problem, self.since = "", None

    def failed(self, problem: str) -> None:
        """Note a call that was not."""
        self.calls += 1
        self.failures += 1
        self.problem = problem
        if self.since is None:
            self.since = self.clock()

    def skip(self, why: str, number: int = 1) -> None:
        """Note values that were left out."""
        self.skipped += number
        self.skipped_why = why

    def status(self) -> StatisticsStatus:
        """Return it all as a value."""
        return StatisticsStatus(
            self.backend,
            self.problem,
            self.since,
            self.calls,
            self.failures,
            self.skipped,
            self.skipped_why,
            self.evicted,
        )
