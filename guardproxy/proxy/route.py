"""A guarded route at run time: its guard, its upstream, its limits, and what is remembered for it.

Decides how an exchange that was not judged is recorded. All else is what `exchange` works with.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from guardproxy.decision import Decision, FailureMode, Outcome, Reason
from guardproxy.guard import Guard
from guardproxy.proxy.history import History
from guardproxy.proxy.journal import Entry, Journal
from guardproxy.stats import Sample
from guardproxy.wire import Header, Pool


class Ids:
    """Makes ids that sort by time: milliseconds, a salt of this process, a counter."""

    def __init__(self, salt: str) -> None:
        """Take a salt of a few hex digits that no other process has."""
        self._salt = salt
        self._numbers: Iterator[int] = itertools.count()

    def make(self, prefix: str, at: float) -> str:
        """Return a new id, such as `dec_0199c2f7a1b4c3d200001`."""
        return f"{prefix}_{int(at * 1000):012x}{self._salt}{next(self._numbers) & 0xFFFFF:05x}"


@dataclass(slots=True, eq=False)
class Route:
    """One guarded route. `history` and `journal` are shared by the routes of one model."""

    path: str
    model: str
    guard: Guard
    upstream: Pool
    failure: FailureMode
    timeout_s: float
    max_body: int
    methods: frozenset[bytes]
    reject_status: int
    history: History
    journal: Journal
    ids: Ids
    clock: Callable[[], float]
    ruleset_line: Header = field(init=False)
    passed: int = 0
    upstream_errors: int = 0

    def __post_init__(self) -> None:
        """Write the constant header line once."""
        self.ruleset_line = (b"Guardproxy-Ruleset", self.guard.ruleset.fingerprint.encode())


def unguarded_entry(
    route: Route,
    decision_id: str,
    at: float,
    reason: Reason,
    *,
    rows: int = 0,
    status: int = 0,
    refused: bool = False,
) -> Entry:
    """Return the journal's entry for an exchange that was not judged; `rows` is 0 where they are not known."""
    outcomes = np.full(rows, Outcome.REJECTED if refused else Outcome.UNGUARDED, dtype=np.uint8)
    guard = route.guard
    decision = Decision(
        guard.model,
        guard.ruleset.fingerprint,
        rows,
        outcomes,
        (),
        np.zeros((0, rows), dtype=np.uint8),
        reason=reason,
    )
    return Entry(decision_id, route.path, Sample(at, decision, None, None), status, 0.0, 0.0)
