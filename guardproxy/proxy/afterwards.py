"""After the reply: who sees an exchange that was judged, and in which order.

Decides that the candidate and the recording see the past as the guard saw it, before the exchange becomes part of it. What
each of them makes of it is its own affair; nothing here is waited for.
"""

from typing import Final, NamedTuple

from guardproxy.decision import Decision
from guardproxy.guard import Screening
from guardproxy.proxy.candidate import Judged
from guardproxy.proxy.journal import Entry
from guardproxy.proxy.route import Route, Served
from guardproxy.recording import Draft, is_loud
from guardproxy.rules.rollout import drawn
from guardproxy.stats import Sample
from guardproxy.table import Table

_NOBODY: Final[frozenset[str]] = frozenset()


class Ended(NamedTuple):
    """An exchange that was judged and answered. `screening` is None where the request's rows could not be seen; then
    `identity` is what its retry has in common with it. `happened` is when it happened where its header says so, else it
    happened when it arrived, `at`.
    """

    id: str
    at: float
    screening: Screening | None
    decision: Decision
    predictions: Table | None
    status: int
    guard_s: float
    upstream_s: float
    holds: tuple[str, ...]
    identity: bytes = b""
    happened: float | None = None


def note(route: Route, served: Served, ended: Ended) -> None:
    """Compare, record, remember and count an exchange that was judged by `served`."""
    screening, decision = ended.screening, ended.decision
    table = None if screening is None else screening.table
    times = route.event_time.of_rows(table, ended.at, ended.happened)
    acting = _NOBODY
    if decision.findings and served.canaries:
        acting = drawn(served.canaries, ended.identity if screening is None else screening.identity)
    if screening is not None:
        if served.candidate is not None and decision.reason is None:
            route.comparison.compare(served.candidate, _judged(screening, ended, served.alike))
        if route.recorder is not None:
            route.recorder.offer(
                decision.model,
                ended.at,
                is_loud(decision),
                lambda: _draft(route, screening, ended),
                decision.rows,
            )
        if ended.predictions is not None:
            when = ended.at if ended.happened is None else ended.happened
            route.history.remember(
                screening.table, ended.predictions, decision, when, times.rows, arrived=ended.at
            )
    sample = Sample(ended.at, decision, table, ended.predictions, times.rows, times.latest)
    route.journal.add(
        Entry(
            ended.id, route.path, sample, ended.status, ended.guard_s, ended.upstream_s, ended.holds, acting
        )
    )


def _judged(screening: Screening, ended: Ended, alike: frozenset[str]) -> Judged:
    return Judged(
        screening.table,
        ended.predictions,
        screening.facts,
        screening.past,
        screening.identity,
        ended.decision,
        # A rule that the breaker took down would act on too much in the candidate too: that is no difference.
        screening.demoted & alike,
        screening.recent,
    )


def _draft(route: Route, screening: Screening, ended: Ended) -> Draft:
    table, history = screening.table, route.history
    times = [screening.facts.at] * table.rows if screening.times is None else screening.times.tolist()
    return Draft(
        ended.id,
        screening.facts,
        ended.decision,
        table,
        ended.predictions,
        {by: history.of_rows(by, table, times) for by in history.keys},
        ended.holds,
        screening.identity,
    )
