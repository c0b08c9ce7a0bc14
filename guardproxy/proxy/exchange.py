"""One guarded exchange, from a collected request to its reply: the eleven steps of the design.

Decides what a client gets when the guard allows, replaces, holds, rejects or fails. What is true of the rows is left to
`guard`, bytes and sockets to `wire`. Everything but the durable write of a hold and the screening of a large body is a synchronous callback.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeVar

from guardproxy.decision import Decision, Reason
from guardproxy.errors import DecodeError, GuardproxyError
from guardproxy.guard.screen import Screened
from guardproxy.proxy.background import OFF_LOOP_BYTES, Background, without_frames
from guardproxy.proxy.event_time import HEADER
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.guarded import GUARD_FAILED, Guarded
from guardproxy.proxy.headers import OURS, is_stream, request_lines
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.outcomes import refused, reject_text, unstored, withheld_text
from guardproxy.proxy.route import Route
from guardproxy.proxy.screening import Answer, Asked, read_and_screen, screen_and_patch
from guardproxy.proxy.sharing import Reading
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

T = TypeVar("T")

_CODING: Final = b"content-encoding"

PACKED_OFF_LOOP_BYTES: Final = OFF_LOOP_BYTES // 16
"""Of a compressed body so many bytes may be as much work as OFF_LOOP_BYTES of a plain one; fewer are seen to be less."""


class GuardedExchange(Guarded):
    """One exchange over HTTP on a guarded route."""

    __slots__ = ("_exchange",)

    def __init__(self, route: Route, exchange: Exchange, keeper: Keeper, background: Background) -> None:
        super().__init__(route, keeper, background)
        self._exchange = exchange
        if route.event_time.header:
            self.happened = route.event_time.of_header(exchange.head.get(HEADER), self.at)

    def start(self) -> None:
        """Screen the request, then call the upstream or answer in its place."""
        head, body = self._exchange.head, self._exchange.body
        if _is_small(head, body):
            self._screened_request(self._screen_request(self._route.max_body))
        else:
            self._work_off(head, body, self._screen_request, self._screened_request)

    def _work_off(
        self,
        head: RequestHead | ResponseHead,
        body: bytes,
        work: Callable[[int], T],
        then: Callable[[T], None],
    ) -> None:
        """Call `work` with how many bytes the body may unpack to, in a thread unless they turn out to be few."""
        limit = self._route.max_body
        if _may_be_small(head, body):
            # Only unpacking tells how much comes out. More than a plain body may have here is left to a thread.
            result = work(min(limit, OFF_LOOP_BYTES))
            if not isinstance(result, DecodeError):
                then(result)
                return
        self._background.compute(lambda: work(limit), then, self._exchange)

    def _screen_request(self, limit: int) -> Asked | Exception:
        """Compute only, of a body that unpacks to at most `limit` bytes; may run in a thread."""
        began = time.perf_counter()
        exchange, route = self._exchange, self._route
        try:
            return read_and_screen(
                self._served.guard,
                exchange.head,
                exchange.body,
                limit,
                facts_at(
                    self.when, None if route.version is None else route.version_of(exchange.head.target)
                ),
                route.history,
                self._demoted,
                route.failure,
                self._recent,
            )
        except DecodeError as error:
            return without_frames(error)
        except Exception as error:  # noqa: BLE001 - any fault of ours meets the route's on_failure, loudly
            return error
        finally:
            self._guard_s += time.perf_counter() - began

    def _screened_request(self, asked: Asked | Exception) -> None:
        if isinstance(asked, DecodeError):
            self._undecided(Reason(asked.reason), str(asked))
        elif isinstance(asked, Exception):
            self._report_fault(asked)
            self._undecided(Reason.FAULT, GUARD_FAILED)
        else:
            self._asked = asked
            if asked.refusal is not None:
                self._reject(asked.refusal, None, 0.0)
            else:
                self._look_up()
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

    def _streamed(self, head: ResponseHead) -> tuple[Header, ...]:
        if self._reason is not None:
            self._count_unguarded(self._reason, head.status)
        if self._reason is None or not 200 <= head.status < 300:
            # An upstream's own error passes as it is, without an outcome.
            return (self._decision_line(), self._served.ruleset_line)
        return tuple(self._unguarded_lines(self._reason))

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
        self._report_upstream(failure.kind, failure.detail)
        self._exchange.reply(self._own_reply(failure.status, sentence, [self._decision_line()]))

    def _received(self, response: UpstreamResponse) -> None:
        if self._reading is not None and self._reading.pending:
            self._background.spawn(self._received_late(response, self._reading), self._exchange)
        else:
            self._judge(response)

    async def _received_late(self, response: UpstreamResponse, reading: Reading) -> None:
        await reading.wait()
        self._judge(response)

    def _judge(self, response: UpstreamResponse) -> None:
        if _is_small(response.head, response.body):
            self._screened_response(response, self._screen_response(response, self._route.max_body))
        else:
            self._work_off(
                response.head,
                response.body,
                lambda limit: self._screen_response(response, limit),
                lambda answer: self._screened_response(response, answer),
            )

    def _screen_response(self, response: UpstreamResponse, limit: int) -> Answer | Exception:
        """Compute only, of a body that unpacks to at most `limit` bytes; may run in a thread."""
        began = time.perf_counter()
        try:
            if self._asked is None:
                raise RuntimeError("a response was collected for a request that was not screened")  # noqa: TRY301
            return screen_and_patch(self._served.guard, self._asked, response, limit, self.id)
        except DecodeError as error:
            return without_frames(error)
        except Exception as error:  # noqa: BLE001 - any fault of ours meets the route's on_failure, loudly
            return error
        finally:
            self._guard_s += time.perf_counter() - began

    def _screened_response(self, response: UpstreamResponse, answer: Answer | Exception) -> None:
        if isinstance(answer, DecodeError):
            self._unscreened(response, Reason(answer.reason), str(answer))
        elif isinstance(answer, Exception):
            self._report_fault(answer)
            self._unscreened(response, Reason.FAULT, GUARD_FAILED)
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
        lines = self._lines(decision, response.seconds, holds)
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
            self._report_unstored(error)
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
            self._finish(refused(decision), None, 503, response.seconds)
        else:
            self._serve(response, answer, unstored(decision), ())

    def _withhold(self, screened: Screened, response: UpstreamResponse, ids: tuple[str, ...]) -> None:
        decision = screened.decision
        lines = self._withheld_lines(decision, response.seconds, ids)
        self._exchange.reply(self._own_reply(503, withheld_text(decision), lines))
        self._finish(decision, screened.predictions, 503, response.seconds, ids)

    def _reject(self, decision: Decision, predictions: Table | None, upstream_s: float) -> None:
        status = self._route.reject_status
        lines = self._lines(decision, upstream_s)
        self._exchange.reply(self._own_reply(status, reject_text(decision), lines))
        self._finish(decision, predictions, status, upstream_s)

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
            lines = self._unguarded_lines(reason)
            self._exchange.reply(Reply(head.status, lines, response.body, source=head, drop=OURS))
        else:
            self._count_unguarded(reason, 503, refused=True)
            self._exchange.reply(self._closed_reply(reason, f"the response cannot be checked: {text}"))

    def _closed_reply(self, reason: Reason, text: str) -> Reply:
        return self._own_reply(503, text, self._closed_lines(reason))

    def _own_reply(self, status: int, text: str, lines: list[Header]) -> Reply:
        content_type, body = self._served.guard.codec.error(status, text)
        return Reply(status, [(b"Content-Type", content_type), *lines], body, _phrase(status))


def _is_small(head: RequestHead | ResponseHead, body: bytes) -> bool:
    """Tell whether a body is worked off so soon that the other clients need not notice."""
    return len(body) < OFF_LOOP_BYTES and head.get(_CODING) is None


def _may_be_small(head: RequestHead | ResponseHead, body: bytes) -> bool:
    """Tell whether a compressed body is worth a look on the loop.

    A brotli body of a few bytes can take a tenth of a second until its first byte is out: its decoder has no lower limit
    than a window of 16 MiB.
    """
    codings = head.all(_CODING)
    return (
        bool(codings)
        and len(body) < PACKED_OFF_LOOP_BYTES
        and not any(b"br" in one.lower() for one in codings)
    )


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
