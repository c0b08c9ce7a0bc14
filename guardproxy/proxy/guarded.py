"""What a guarded exchange is and does whatever carries it, HTTP or gRPC.

Decides that it ends on what it began with, which lines tell of it, and what is counted and recorded of it. What its client
gets, and when, is left to `exchange` and to `grpc.call`.
"""

from typing import Final

import structlog

from guardproxy.decision import Decision, FailureMode, Reason
from guardproxy.guard import Screening
from guardproxy.proxy.afterwards import Ended, note
from guardproxy.proxy.background import Background, without_frames
from guardproxy.proxy.headers import decision_headers, unguarded_headers
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.route import Route, unguarded_entry
from guardproxy.proxy.screening import Asked
from guardproxy.proxy.sharing import Reading
from guardproxy.table import Table
from guardproxy.wire import Header

log = structlog.get_logger("guardproxy.proxy")

RETRY_AFTER_S: Final = 5
HELD_RETRY_AFTER_S: Final = 30

GUARD_FAILED: Final = "the guard failed"


class Guarded:
    """The state of one exchange on a guarded route."""

    __slots__ = (
        "_asked",
        "_background",
        "_demoted",
        "_guard_s",
        "_keeper",
        "_reading",
        "_reason",
        "_recent",
        "_route",
        "_served",
        "at",
        "happened",
        "id",
    )

    _asked: Asked | None
    _reading: Reading | None

    def __init__(self, route: Route, keeper: Keeper, background: Background) -> None:
        self._route = route
        # Whatever is loaded or tripped meanwhile, an exchange ends on what it began with.
        self._served = route.served
        self._demoted = route.breaker.demoted
        self._keeper = keeper
        self._background = background
        self._asked = None
        self._reason: Reason | None = None
        self._guard_s = 0.0
        self.at = route.clock()
        self.happened: float | None = None
        self._reading = None
        self._recent = route.statistics.recent(self.at)
        self.id = route.ids.make("dec", self.at)

    @property
    def when(self) -> float:
        """When the exchange happened: as its header says, else when it arrived."""
        return self.at if self.happened is None else self.happened

    def _passes(self, reason: Reason) -> bool:
        """Tell whether the route lets pass what cannot be decided for this reason."""
        return self._route.failure.of(reason) is FailureMode.OPEN

    # ---------------------------------------------------------------- lines

    def _decision_line(self) -> Header:
        return b"Guardproxy-Decision", self.id.encode()

    def _lines(self, decision: Decision, upstream_s: float, holds: tuple[str, ...] = ()) -> list[Header]:
        return decision_headers(
            self.id, decision, self._served.ruleset_line, self._guard_s, upstream_s, holds
        )

    def _withheld_lines(self, decision: Decision, upstream_s: float, holds: tuple[str, ...]) -> list[Header]:
        final = self._served.guard.codec.final
        return [*self._lines(decision, upstream_s, holds), _retry_after(HELD_RETRY_AFTER_S), *final]

    def _unguarded_lines(self, reason: Reason) -> list[Header]:
        return unguarded_headers(self.id, reason, self._served.ruleset_line)

    def _closed_lines(self, reason: Reason) -> list[Header]:
        """Return the lines of a refusal: it has a reason, but no outcome."""
        return [
            self._decision_line(),
            (b"Guardproxy-Reason", reason.value.encode()),
            self._served.ruleset_line,
            _retry_after(RETRY_AFTER_S),
        ]

    # ---------------------------------------------------------------- what is logged, counted and recorded

    def _report_fault(self, error: Exception) -> None:
        log.error(
            "guard.failed",
            route=self._route.path,
            decision=self.id,
            error=type(error).__name__,
            exc_info=error,
        )
        without_frames(error)

    def _report_unstored(self, error: Exception) -> None:
        log.error("hold.not_stored", route=self._route.path, decision=self.id, error=str(error))

    def _report_upstream(self, kind: str, detail: str) -> None:
        log.warning("upstream.failed", route=self._route.path, decision=self.id, kind=kind, detail=detail)

    def _count_unguarded(self, reason: Reason, status: int, *, refused: bool = False) -> None:
        seen = self._seen
        entry = unguarded_entry(
            self._route,
            self._served.guard,
            self.id,
            self.at,
            reason,
            rows=0 if seen is None else seen.table.rows,
            status=status,
            refused=refused,
            happened=self.happened,
        )
        self._route.journal.add(entry)

    def _finish(
        self,
        decision: Decision,
        predictions: Table | None,
        status: int,
        upstream_s: float,
        holds: tuple[str, ...] = (),
    ) -> None:
        asked = self._asked
        ended = Ended(
            self.id,
            self.at,
            self._seen,
            decision,
            predictions,
            status,
            self._guard_s,
            upstream_s,
            holds,
            b"" if asked is None else asked.identity,
            self.happened,
        )
        note(self._route, self._served, ended)

    def _look_up(self) -> None:
        """Begin to read what is known elsewhere of the request's entities, while the model server works."""
        seen = self._seen
        try:
            self._reading = None if seen is None else self._route.sharing.ask(seen.table)
        except Exception as error:  # noqa: BLE001 - whoever is not looked up is unknown, no more
            self._report_fault(error)

    @property
    def _seen(self) -> Screening | None:
        """The screened request; None where it was not screened or cannot be seen."""
        return self._asked if isinstance(self._asked, Screening) else None


def _retry_after(seconds: int) -> Header:
    return b"Retry-After", b"%d" % seconds
