"""A guarded route at run time: what it judges by, its upstream, its limits, and what is remembered for it.

Decides how an exchange that was not judged is recorded. All else is what `exchange` works with.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import numpy as np

from guardproxy.decision import Decision, FailureMode, FailurePolicy, Mode, Outcome, Reason
from guardproxy.guard import Guard
from guardproxy.proxy.candidate import Comparison
from guardproxy.proxy.event_time import EventTime
from guardproxy.proxy.history import History
from guardproxy.proxy.journal import Entry, Journal
from guardproxy.proxy.model_statistics import ModelStatistics
from guardproxy.proxy.sharing import Sharing
from guardproxy.recording import Recorder
from guardproxy.rules import Rule, Ruleset
from guardproxy.stats import Breaker, Sample
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


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What a route judges by, as one value: an exchange takes it when it begins, and a reload puts another in its place.

    `candidate` is judged beside `guard` without any effect. `revision` counts the sets that were served, `alike` names the
    rules that are the same in the candidate.
    """

    guard: Guard
    candidate: Guard | None = None
    revision: int = 0
    ruleset_line: Header = field(init=False)
    canaries: tuple[Rule, ...] = field(init=False)
    alike: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Write the constant header line once, and find the rules that act in some exchanges only."""
        ruleset = self.guard.ruleset
        object.__setattr__(self, "ruleset_line", (b"Guardproxy-Ruleset", ruleset.fingerprint.encode()))
        canaries = tuple(rule for rule in ruleset.rules if rule.mode is Mode.CANARY)
        object.__setattr__(self, "canaries", canaries)
        object.__setattr__(self, "alike", _alike(ruleset, self.candidate))


@dataclass(slots=True, eq=False)
class Route:
    """One guarded route. `history`, `journal`, `breaker`, `comparison`, `statistics` and `sharing` are shared by the routes of one
    model.

    `buffer` reads whole event streams. `upstream_path` is where its requests go instead of their own path. `by_query` says
    that a GET may ask by its query; one that does not passes. `version` finds the model's version in a path.
    """

    path: str
    model: str
    served: Served
    upstream: Pool
    failure: FailurePolicy
    timeout_s: float
    max_body: int
    methods: frozenset[bytes]
    reject_status: int
    history: History
    journal: Journal
    breaker: Breaker
    comparison: Comparison
    statistics: ModelStatistics
    event_time: EventTime
    sharing: Sharing
    ids: Ids
    clock: Callable[[], float]
    recorder: Recorder | None = None
    buffer: bool = False
    upstream_path: bytes | None = None
    by_query: bool = False
    version: re.Pattern[bytes] | None = None
    passed: int = 0
    upstream_errors: int = 0

    @property
    def guard(self) -> Guard:
        """The guard that new exchanges are judged by."""
        return self.served.guard

    @property
    def refuses_unstored(self) -> bool:
        """Whether an answer is refused whose holds could not be stored."""
        return self.failure.of(Reason.FAULT) is FailureMode.CLOSED

    def target_of(self, target: bytes) -> bytes | None:
        """Return the target under which a request goes upstream; None when it is its own."""
        if self.upstream_path is None:
            return None
        _, mark, query = target.partition(b"?")
        return self.upstream_path + mark + query

    def version_of(self, target: bytes) -> str | None:
        """Return the model's version that a request asks for by its path, or None."""
        if self.version is None:
            return None
        found = self.version.fullmatch(target.partition(b"?")[0])
        return None if found is None else unquote_to_bytes(found[1]).decode("utf-8", "replace")


def unguarded_entry(
    route: Route,
    guard: Guard,
    decision_id: str,
    at: float,
    reason: Reason,
    *,
    rows: int = 0,
    status: int = 0,
    refused: bool = False,
    happened: float | None = None,
) -> Entry:
    """Return the journal's entry for an exchange that `guard` did not judge; `rows` is 0 where they are not known."""
    outcomes = np.full(rows, Outcome.REJECTED if refused else Outcome.UNGUARDED, dtype=np.uint8)
    decision = Decision(
        guard.model,
        guard.ruleset.fingerprint,
        rows,
        outcomes,
        (),
        np.zeros((0, rows), dtype=np.uint8),
        reason=reason,
    )
    sample = Sample(at, decision, None, None, happened=happened)
    return Entry(decision_id, route.path, sample, status, 0.0, 0.0)


def _alike(ruleset: Ruleset, candidate: Guard | None) -> frozenset[str]:
    if candidate is None:
        return frozenset()
    other = candidate.ruleset
    return frozenset(
        rule.id
        for rule in ruleset.rules
        if other.rule(rule.id) is not None and other.rev(rule.id) == ruleset.rev(rule.id)
    )
