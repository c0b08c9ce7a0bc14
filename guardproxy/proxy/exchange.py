"""One guarded exchange, from a collected request to its reply: the eleven steps of the design.

Decides what a client gets when the guard allows, replaces, holds, rejects or fails. What is true of the rows is left to
`guard`, bytes and sockets to `wire`. Everything but the durable write of a hold and the screening of a large body is a synchronous callback.
"""

import time
from dataclasses import replace
from http import HTTPStatus
from typing import Final

import numpy as np
import structlog

from guardproxy.decision import Decision, FailureMode, Outcome, Reason
from guardproxy.errors import DecodeError, GuardproxyError
from guardproxy.guard import Screening
from guardproxy.guard.screen import Screened
from guardproxy.proxy.afterwards import Ended, note
from guardproxy.proxy.background import OFF_LOOP_BYTES, Background
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.headers import (
    OURS,
    STALE_AFTER_PATCH,
    decision_headers,
    is_stream,
    request_lines,
    unguarded_headers,
)
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.route import Route, unguarded_entry
from guardproxy.proxy.screening import read_and_screen, screen_and_patch
from guardproxy.table import Table
from guardproxy.wire import Exchange, Header, Reply, ResponseHead, UpstreamFailure, UpstreamResponse

log = structlog.get_logger("guardproxy.proxy")

RETRY_AFTER_S: Final = 5
HELD_RETRY_AFTER_S: Final = 30

_UNTRUE_AFTER_PATCH: Final = OURS | STALE_AFTER_PATCH | {b"content-encoding"}


class GuardedExchange:
    """The state of one exchange on a guarded route."""

    __slots__ = (
        "_background",
        "_demoted",
        "_exchange",
        "_guard_s",
        "_keeper",
        "_reason",
        "_route",
        "_screening",
        "_served",
        "at",
        "id",
    )

    def __init__(self, route: Route, exchange: Exchange, keeper: Keeper, background: Background) -> None:
        self._route = route
        # Whatever is loaded or tripped meanwhile, an exchange ends on what it began with.
        self._served = route.served
        self._demoted = route.breaker.demoted
        self._exchange = exchange
        self._keeper = keeper
        self._background = background
        self._screening: Screening | None = None
        self._reason: Reason | None = None
        self._guard_s = 0.0
        self.at = route.clock()
        self.id = route.ids.make("dec", self.at)

    def start(self) -> None:
        """Screen the request, then call the upstream or answer in its place."""
        if len(self._exchange.body) < OFF_LOOP_BYTES:
            self._screened_request(self._screen_request())
        else:
            self._background.compute(self._screen_request, self._screened_request, self._exchange)

    def _screen_request(self) -> Screening | Exception:
        """Compute only; may run in a thread."""
        began = time.perf_counter()
        exchange, route = self._exchange, self._route
        try:
            return read_and_screen(
                self._served.guard,
                exchange.head,
                exchange.body,
                route.max_body,
                facts_at(self.at),
                route.history,
                self._demoted,
            )
        except Exception as error:  # noqa: BLE001 - any fault of ours meets the route's on_failure, loudly
            return error
        finally:
            self._guard_s = time.perf_counter() - began

    def _screened_request(self, screening: Screening | Exception) -> None:
        if isinstance(screening, DecodeError):
            self._undecided(Reason(screening.reason), str(screening))
        elif isinstance(screening, Exception):
            self._report(screening)
            self._undecided(Reason.FAULT, "the guard failed")
        else:
            self._screening = screening
            if screening.refusal is not None:
                self._reject(screening.refusal, None, 0.0)
            else:
                self._call()

    # ---------------------------------------------------------------- the upstream

    def _call(self) -> None:
        self._exchange.call(
            self._route.upstream,
            headers=request_lines(self._exchange),
            collect=self._collect,
            received=self._received,
            failed=self._failed,
            overflow=self._overflow,
            streamed=self._streamed,
            timeout_s=self._route.timeout_s,
            drop_response=OURS,
        )

    def _collect(self, head: ResponseHead) -> int | None:
        """Say how much of the response to read: all of a prediction, nothing of what is not one."""
        if not 200 <= head.status < 300:
            self._route.upstream_errors += 1
            return None
        if self._reason is not None:
            return None
        if is_stream(head.get(b"content-type")):
            return self._pass_or_refuse(Reason.STREAMED)
        if head.bodiless:
            return self._pass_or_refuse(Reason.OPAQUE)
        return self._route.max_body

    def _pass_or_refuse(self, reason: Reason) -> int | None:
        """Stream what cannot be screened, or (closed) read nothing of it so that `overflow` refuses it."""
        self._reason = reason
        return None if self._route.failure is FailureMode.OPEN else -1

    def _streamed(self, head: ResponseHead) -> tuple[Header, ...]:
        if self._reason is not None:
            self._count_unguarded(self._reason, head.status)
        if self._reason is None or not 200 <= head.status < 300:
            # An upstream's own error passes as it is, without an outcome.
            return ((b"Guardproxy-Decision", self.id.encode()), self._served.ruleset_line)
        return tuple(unguarded_headers(self.id, self._reason, self._served.ruleset_line))

    def _overflow(self, head: ResponseHead) -> tuple[Header, ...] | Reply:
        self._reason = self._reason or Reason.OVERSIZE
        if self._route.failure is FailureMode.OPEN:
            return self._streamed(head)
        self._count_unguarded(self._reason, 503, refused=True)
        return self._closed_reply(self._reason, "the response cannot be checked")

    def _failed(self, failure: UpstreamFailure) -> None:
        if self._exchange.gone:
            return
        sentence = (
            "the model server did not answer in time"
            if failure.status == 504
            else "the model server cannot be reached"
        )
        log.warning(
            "upstream.failed",
            route=self._route.path,
            decision=self.id,
            kind=failure.kind,
            detail=failure.detail,
        )
        self._exchange.reply(
            self._own_reply(failure.status, sentence, [(b"Guardproxy-Decision", self.id.encode())])
        )

    def _received(self, response: UpstreamResponse) -> None:
        if len(response.body) < OFF_LOOP_BYTES:
            self._screened_response(response, self._screen_response(response))
        else:
            self._background.compute(
                lambda: self._screen_response(response),
                lambda screened: self._screened_response(response, screened),
                self._exchange,
            )

    def _screen_response(self, response: UpstreamResponse) -> tuple[Screened, bytes] | Exception:
        """Compute only; may run in a thread."""
        began = time.perf_counter()
        try:
            if self._screening is None:
                raise RuntimeError("a response was collected for a request that was not screened")  # noqa: TRY301
            return screen_and_patch(
                self._served.guard, self._screening, response, self._route.max_body, self.id
            )
        except Exception as error:  # noqa: BLE001 - any fault of ours meets the route's on_failure, loudly
            return error
        finally:
            self._guard_s += time.perf_counter() - began

    def _screened_response(
        self, response: UpstreamResponse, result: tuple[Screened, bytes] | Exception
    ) -> None:
        if isinstance(result, DecodeError):
            self._unscreened(response, Reason(result.reason), str(result))
        elif isinstance(result, Exception):
            self._report(result)
            self._unscreened(response, Reason.FAULT, "the guard failed")
        else:
            screened, body = result
            decision = screened.decision
            if decision.rejected or decision.withheld or decision.held:
                self._settle(screened, response, body)
            else:
                self._serve(screened, response, body, ())

    # ---------------------------------------------------------------- answers

    def _serve(
        self, screened: Screened, response: UpstreamResponse, body: bytes, holds: tuple[str, ...]
    ) -> None:
        decision, head = screened.decision, response.head
        lines = decision_headers(
            self.id, decision, self._served.ruleset_line, self._guard_s, response.seconds, holds
        )
        drop = OURS if body is response.body else _UNTRUE_AFTER_PATCH
        self._exchange.reply(Reply(head.status, lines, body, source=head, drop=drop))
        self._finish(decision, screened.predictions, head.status, response.seconds, holds)

    def _settle(self, screened: Screened, response: UpstreamResponse, body: bytes) -> None:
        """Answer for a decision that refuses or holds rows. A hold is stored before anything is said of it."""
        decision = screened.decision
        if decision.rejected:
            # A rejected exchange gives no answer, so nothing of it is held either.
            self._reject(decision, screened.predictions, response.seconds)
        elif decision.held:
            self._background.spawn(
                self._keeper.keep(
                    self.id,
                    self._route,
                    decision,
                    self.at,
                    lambda ids, error: self._kept(screened, response, body, ids, error),
                ),
                self._exchange,
            )
        else:
            self._withhold(screened, response, ())

    def _kept(
        self,
        screened: Screened,
        response: UpstreamResponse,
        body: bytes,
        ids: tuple[str, ...],
        error: GuardproxyError | None,
    ) -> None:
        decision = screened.decision
        if error is not None:
            log.error("hold.not_stored", route=self._route.path, decision=self.id, error=str(error))
            self._not_stored(screened, response, body)
        elif decision.withheld:
            self._withhold(screened, response, ids)
        else:
            self._serve(screened, response, body, ids)

    def _not_stored(self, screened: Screened, response: UpstreamResponse, body: bytes) -> None:
        """Nothing may be called held that is not stored: open serves the provisional answer, closed refuses."""
        decision = screened.decision
        if self._route.failure is FailureMode.CLOSED or decision.withheld:
            self._refuse_closed(decision, "the hold could not be stored", response.seconds)
            return
        outcomes = decision.outcomes.copy()
        patched = {replacement.row for replacement in decision.patch}
        for row in np.flatnonzero(outcomes == Outcome.HELD).tolist():
            outcomes[row] = Outcome.REPLACED if row in patched else Outcome.UNGUARDED
        changed = replace(decision, outcomes=outcomes, reason=Reason.FAULT, held=())
        self._serve(Screened(changed, screened.predictions), response, body, ())

    def _withhold(self, screened: Screened, response: UpstreamResponse, ids: tuple[str, ...]) -> None:
        decision = screened.decision
        rows = ", ".join(str(row) for row in decision.withheld[:50])
        text = f"row {rows} is held for review" if decision.held else f"no safe answer for row {rows}"
        lines = decision_headers(
            self.id, decision, self._served.ruleset_line, self._guard_s, response.seconds, ids
        )
        lines.append((b"Retry-After", b"%d" % HELD_RETRY_AFTER_S))
        self._exchange.reply(self._own_reply(503, text, lines))
        self._finish(decision, screened.predictions, 503, response.seconds, ids)

    def _reject(self, decision: Decision, predictions: Table | None, upstream_s: float) -> None:
        sentences = [
            f"row {f.row}: {f.message}"
            for f in decision.findings
            if f.acts and f.row in set(decision.rejected)
        ]
        text = "; ".join(dict.fromkeys(sentences[:10])) or "rejected"
        status = self._route.reject_status
        lines = decision_headers(self.id, decision, self._served.ruleset_line, self._guard_s, upstream_s)
        self._exchange.reply(self._own_reply(status, text[:2_000], lines))
        self._finish(decision, predictions, status, upstream_s, ())

    def _refuse_closed(self, decision: Decision, text: str, upstream_s: float) -> None:
        self._exchange.reply(self._closed_reply(Reason.FAULT, text))
        outcomes = np.full(decision.rows, Outcome.REJECTED, dtype=np.uint8)
        self._finish(
            replace(decision, outcomes=outcomes, reason=Reason.FAULT, held=()), None, 503, upstream_s, ()
        )

    # ---------------------------------------------------------------- when the guard cannot decide

    def _undecided(self, reason: Reason, text: str) -> None:
        """The request cannot be screened: pass it unguarded, or refuse."""
        self._reason = reason
        if self._route.failure is FailureMode.OPEN:
            self._call()
        else:
            self._count_unguarded(reason, 503, refused=True)
            self._exchange.reply(self._closed_reply(reason, f"the request cannot be checked: {text}"))

    def _unscreened(self, response: UpstreamResponse, reason: Reason, text: str) -> None:
        """The response cannot be screened: serve the upstream's bytes as unguarded, or refuse."""
        if self._route.failure is FailureMode.OPEN:
            head = response.head
            self._count_unguarded(reason, head.status)
            lines = unguarded_headers(self.id, reason, self._served.ruleset_line)
            self._exchange.reply(Reply(head.status, lines, response.body, source=head, drop=OURS))
        else:
            self._count_unguarded(reason, 503, refused=True)
            self._exchange.reply(self._closed_reply(reason, f"the response cannot be checked: {text}"))

    def _report(self, error: Exception) -> None:
        log.error(
            "guard.failed",
            route=self._route.path,
            decision=self.id,
            error=type(error).__name__,
            exc_info=error,
        )

    def _closed_reply(self, reason: Reason, text: str) -> Reply:
        lines = [
            (b"Guardproxy-Decision", self.id.encode()),
            (b"Guardproxy-Reason", reason.value.encode()),
            self._served.ruleset_line,
            (b"Retry-After", b"%d" % RETRY_AFTER_S),
        ]
        return self._own_reply(503, text, lines)

    def _own_reply(self, status: int, text: str, lines: list[Header]) -> Reply:
        content_type, body = self._served.guard.codec.error(status, text)
        return Reply(status, [(b"Content-Type", content_type), *lines], body, _phrase(status))

    # ---------------------------------------------------------------- afterwards

    def _count_unguarded(self, reason: Reason, status: int, *, refused: bool = False) -> None:
        rows = 0 if self._screening is None else self._screening.table.rows
        entry = unguarded_entry(
            self._route,
            self._served.guard,
            self.id,
            self.at,
            reason,
            rows=rows,
            status=status,
            refused=refused,
        )
        self._route.journal.add(entry)

    def _finish(
        self,
        decision: Decision,
        predictions: Table | None,
        status: int,
        upstream_s: float,
        holds: tuple[str, ...],
    ) -> None:
        ended = Ended(
            self.id, self.at, self._screening, decision, predictions, status, self._guard_s, upstream_s, holds
        )
        note(self._route, self._served, ended)


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
