"""When a store that does not answer is tried again.

Decides that it is left alone after the first failure: for a second, then twice as long each time, up to half a minute. What waits
meanwhile is left to whoever writes.
"""

from collections.abc import Callable
from typing import Final

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0


class StoreBreaker:
    """Open while the store fails. `outages` counts how often it opened, `since` is when, `problem` says why."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin closed; `clock` gives Unix seconds."""
        self.outages = 0
        self.problem = ""
        self.since: float | None = None
        self._clock = clock
        self._wait_s = FIRST_WAIT_S
        self._failed_at = 0.0

    @property
    def closed(self) -> bool:
        """Whether the last try succeeded."""
        return self.since is None

    def may_try(self) -> bool:
        """Tell whether it is time to try, as it always is while the breaker is closed."""
        # A clock that was set back ends the wait: it says nothing about how long that was.
        return self.closed or not 0.0 <= self._clock() - self._failed_at < self._wait_s

    def down_s(self) -> float:
        """Return for how many seconds the store has failed."""
        return 0.0 if self.since is None else max(0.0, self._clock() - self.since)

    def failed(self, problem: str) -> None:
        """Note a failure; the next try is later each time."""
        now = self._clock()
        if self.since is None:
            self.outages += 1
            self.since = now
            self._wait_s = FIRST_WAIT_S
        else:
            self._wait_s = min(2.0 * self._wait_s, LONGEST_WAIT_S)
        self._failed_at = now
        self.problem = problem

    def succeeded(self) -> None:
        """Note that the store answered."""
        self.since = None
        self.problem = ""
