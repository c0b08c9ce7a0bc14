"""One guarded exchange, from a collected request to its reply: the eleven steps of the design.

Decides what a client gets when the guard allows, replaces, holds, rejects or fails. What is true of the rows is left to
`guard`, bytes and sockets to `wire`. Everything but the durable write of a hold and the screening of a large body is a synchronous callback.
"""

import time
from http import HTTPStatus
from typing import Final

import structlog

from guardproxy.decision import Decision, FailureMode, Reason
from guardproxy.errors import DecodeError, GuardproxyError
from guardproxy.guard import Screening
from guardproxy.guard.screen import Screened
from guardproxy.proxy.afterwards import Ended, note
from guardproxy.proxy.background import OFF_LOOP_BYTES, Background
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.headers import OURS, decision_headers, is_stream, request_lines, unguarded_headers
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.outcomes import refused, reject_text, unstored, withheld_text
from guardproxy.proxy.route import Route, unguarded_entry
from guardproxy.proxy.screening import Answer, Asked, read_and_screen, screen_and_patch
from guardproxy.table import Table
from guardproxy.wire import (
    Exchange,
    Header,
    Reply,
    RequestHead,
    ResponseHead,
    UpstreamFailure,
    UpstreamResponse,
)

log = structlog.get_logger("guardproxy.proxy")

RETRY_AFTER_S: Final = 5
HELD_RETRY_AFTER_S: Final = 30
PACKED_OFF_LOOP_BYTES: Final = OFF_LOOP_BYTES // 16
"""Of a compressed body so many bytes may be as much work as OFF_LOOP_BYTES of a plain one."""


class GuardedExchange:
    """The state of one exchange on a guarded route."""

    __slots__ = (
        "_asked",
        "_background",
        "_demoted",
        "_exchange",
        "_guard_s",
        "_keeper",
        "_reason",
        "_route",
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
        self._asked: Asked | None = None
        self._reason: Reason | None = None
        self._guard_s = 0.0
        self.at = route.clock()
        self.id = route.ids.make("dec", self.at)

    def start(self) -> None:
        """Screen the request, then call the upstream or answer in its place."""
        if _is_small(self._exchange.head, self._exchange.body):
            self._screened_request(self._screen_request())
        else:
            self._background.compute(self._screen_request, self._screened_request, self._exchange)

    def _screen_request(self) -> Asked | Exception:
        """Compute only; may run in a thread."""
        began = time.perf_counter()
        exchange, route = self._exchange, self._route
        try:
            return read_and_screen(
                self._served.guard,
                exchange.head,
                exchange.body,
                route.max_body,
                facts_at(self.at, None if route.version is None else route.version_of(exchange.head.target)),
                route.history,
                self._demoted,
                route.failure,
            )
        except Exception as error:  # noqa: BLE001 - any fault of ours meets the route's on_failure, loudly
            return error
        finally:
            self._guard_s = time.perf_counter() - began

    def _screened_request(self, asked: Asked | Exception) -> None:
        if isinstance(asked, DecodeError):
            self._undecided(Reason(asked.reason), str(asked))
        elif isinstance(asked, Exception):
            self._report(asked)
            self._undecided(Reason.FAULT, "the guard failed")
        else:
            self._asked = asked
            if asked.refusal is not None:
                self._reject(asked.refusal, None, 0.0)
            else:
                self._call()

    # ---------------------------------------------------------------- the upstream

    def _call(self) -> None:
        self._exchange.call(
            self._route.upstream,
            headers=request_lines(self._exchange),
            target=self._route.target_of(self._exchange.head.target),
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
        if not self._route.buffer and is_stream(head):
            return self._pass_or_refuse(Reason.STREAMED)
        if head.bodiless:
            return self._pass_or_refuse(Reason.OPAQUE)
        return self._route.max_body

    def _pass_or_refuse(self, reason: Reason) -> int | None:
        """Stream what cannot be screened, or (closed) read nothing of it so that `overflow` refuses it."""
        self._reason = reason
        return None if self._passes(reason) else -1

    def _passes(self, reason: Reason) -> bool:
        return self._route.failure.of(reason) is FailureMode.OPEN

    def _streamed(self, head: ResponseHead) -> tuple[Header, ...]:
        if self._reason is not None:
            self._count_unguarded(self._reason, head.status)
        if self._reason is None or not 200 <= head.status < 300:
            # An upstream's own error passes as it is, without an outcome.
            return ((b"Guardproxy-Decision", self.id.encode()), self._served.ruleset_line)
        return tuple(unguarded_headers(self.id, self._reason, self._served.ruleset_line))

    def _overflow(self, head: ResponseHead) -> tuple[Header, ...] | Reply:
        self._reason = self._reason or Reason.OVERSIZE
        if self._passes(self._reason):
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
        if _is_small(response.head, response.body):
            self._screened_response(response, self._screen_response(response))
        else:
            self._background.compute(
                lambda: self._screen_response(response),
                lambda screened: self._screened_response(response, screened),
                self._exchange,
            )

    def _screen_response(self, response: UpstreamResponse) -> Answer | Exception:
        """Compute only; may run in a thread."""
        began = time.perf_counter()
        try:
            if self._asked is None:
                raise RuntimeError("a response was collected for a request that was not screened")  # noqa: TRY301
            return screen_and_patch(self._served.guard, self._asked, response, self._route.max_body, self.id)
        except Exception as error:  # noqa: BLE001 - any fault of ours meets the route's on_failure, loudly
            return error
        finally:
            self._guard_s += time.perf_counter() - began

    def _screened_response(self, response: UpstreamResponse, answer: Answer | Exception) -> None:
        if isinstance(answer, DecodeError):
            self._unscreened(response, Reason(answer.reason), str(answer))
        elif isinstance(answer, Exception):
            self._report(answer)
            self._unscreened(response, Reason.FAULT, "the guard failed")
        else:
            decision = answer.screened.decision
            if decision.rejected or decision.withheld or decision.held:
                self._settle(response, answer)
            else:
                self._serve(response, answer, decision, ())

    # ---------------------------------------------------------------- answers

    def _serve(
        self, response: UpstreamResponse, answer: Answer, decision: Decision, holds: tuple[str, ...]
    ) -> None:
        head = response.head
        lines = decision_headers(
            self.id, decision, self._served.ruleset_line, self._guard_s, response.seconds, holds
        )
        if answer.lines is None:
            reply = Reply(head.status, lines, answer.body, source=head, drop=OURS)
        else:
            reply = Reply(head.status, [*answer.lines, *lines], answer.body, head.reason)
        self._exchange.reply(reply)
        self._finish(decision, answer.screened.predictions, head.status, response.seconds, holds)

    def _settle(self, response: UpstreamResponse, answer: Answer) -> None:
        """Answer for a decision that refuses or holds rows. A hold is stored before anything is said of it."""
        decision, predictions = answer.screened
        if decision.rejected:
            # A rejected exchange gives no answer, so nothing of it is held either.
            self._reject(decision, predictions, response.seconds)
        elif decision.held:
            self._background.spawn(
                self._keeper.keep(
                    self.id,
                    self._route,
                    decision,
                    self.at,
                    lambda ids, error: self._kept(response, answer, ids, error),
                ),
                self._exchange,
            )
        else:
            self._withhold(answer.screened, response, ())

    def _kept(
        self,
        response: UpstreamResponse,
        answer: Answer,
        ids: tuple[str, ...],
        error: GuardproxyError | None,
    ) -> None:
        decision = answer.screened.decision
        if error is not None:
            log.error("hold.not_stored", route=self._route.path, decision=self.id, error=str(error))
            self._not_stored(response, answer)
        elif decision.withheld:
            self._withhold(answer.screened, response, ids)
        else:
            self._serve(response, answer, decision, ids)

    def _not_stored(self, response: UpstreamResponse, answer: Answer) -> None:
        """Nothing may be called held that is not stored: open serves the provisional answer, closed refuses."""
        decision = answer.screened.decision
        if decision.withheld or not self._passes(Reason.FAULT):
            self._exchange.reply(self._closed_reply(Reason.FAULT, "the hold could not be stored"))
            self._finish(refused(decision), None, 503, response.seconds, ())
        else:
            self._serve(response, answer, unstored(decision), ())

    def _withhold(self, screened: Screened, response: UpstreamResponse, ids: tuple[str, ...]) -> None:
        decision = screened.decision
        lines = decision_headers(
            self.id, decision, self._served.ruleset_line, self._guard_s, response.seconds, ids
        )
        lines.append((b"Retry-After", b"%d" % HELD_RETRY_AFTER_S))
        self._exchange.reply(self._own_reply(503, withheld_text(decision), lines))
        self._finish(decision, screened.predictions, 503, response.seconds, ids)

    def _reject(self, decision: Decision, predictions: Table | None, upstream_s: float) -> None:
        status = self._route.reject_status
        lines = decision_headers(self.id, decision, self._served.ruleset_line, self._guard_s, upstream_s)
        self._exchange.reply(self._own_reply(status, reject_text(decision), lines))
        self._finish(decision, predictions, status, upstream_s, ())

    # ---------------------------------------------------------------- when the guard cannot decide

    def _undecided(self, reason: Reason, text: str) -> None:
        """The request cannot be screened: pass it unguarded, or refuse."""
        self._reason = reason
        if self._passes(reason):
            self._call()
        else:
            self._count_unguarded(reason, 503, refused=True)
            self._exchange.reply(self._closed_reply(reason, f"the request cannot be checked: {text}"))

    def _unscreened(self, response: UpstreamResponse, reason: Reason, text: str) -> None:
        """The response cannot be screened: serve the upstream's bytes as unguarded, or refuse."""
        if self._passes(reason):
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
        rows = self._asked.table.rows if isinstance(self._asked, Screening) else 0
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
        asked = self._asked
        ended = Ended(
            self.id,
            self.at,
            asked if isinstance(asked, Screening) else None,
            decision,
            predictions,
            status,
            self._guard_s,
            upstream_s,
            holds,
            b"" if asked is None else asked.identity,
        )
        note(self._route, self._served, ended)


def _is_small(head: RequestHead | ResponseHead, body: bytes) -> bool:
    """Tell whether a body is worked off so soon that the other clients need not notice."""
    size = len(body)
    if size < PACKED_OFF_LOOP_BYTES:
        return True
    return size < OFF_LOOP_BYTES and head.get(b"content-encoding") is None


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
