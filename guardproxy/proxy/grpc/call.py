"""One guarded ModelInfer call, from its message to its answer.

Decides what a client gets when the guard allows, replaces, holds, rejects or fails, in gRPC's words: INVALID_ARGUMENT for a
reject, UNAVAILABLE for an answer that is withheld or that a closed route refuses. What is true of the rows is left to
`guard`; the same steps over HTTP stand in `exchange`.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

import grpc
import structlog

from guardproxy.codecs.grpc_tensors import GRPC
from guardproxy.decision import Decision, FailureMode, Reason
from guardproxy.errors import DecodeError, GuardproxyError, OpaqueError
from guardproxy.guard import Screening
from guardproxy.guard.screen import Screened
from guardproxy.message import Message
from guardproxy.proxy.afterwards import Ended, note
from guardproxy.proxy.background import OFF_LOOP_BYTES, Background
from guardproxy.proxy.exchange import HELD_RETRY_AFTER_S, RETRY_AFTER_S
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.grpc.metadata import Pairs, returned, said
from guardproxy.proxy.headers import decision_headers, unguarded_headers
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.outcomes import refused, reject_text, unstored, withheld_text
from guardproxy.proxy.route import Route, unguarded_entry
from guardproxy.proxy.screening import Asked, screen_and_patch_message, screen_message, unseen_message
from guardproxy.table import Table
from guardproxy.wire import Header

log = structlog.get_logger("guardproxy.proxy")

T = TypeVar("T")

Code = grpc.StatusCode

STATUSES: Final[Mapping[grpc.StatusCode, int]] = MappingProxyType(
    {
        Code.OK: 200, Code.CANCELLED: 499, Code.UNKNOWN: 500, Code.INVALID_ARGUMENT: 400, Code.DEADLINE_EXCEEDED: 504,
        Code.NOT_FOUND: 404, Code.ALREADY_EXISTS: 409, Code.PERMISSION_DENIED: 403, Code.RESOURCE_EXHAUSTED: 429,
        Code.FAILED_PRECONDITION: 400, Code.ABORTED: 409, Code.OUT_OF_RANGE: 400, Code.UNIMPLEMENTED: 501,
        Code.INTERNAL: 500, Code.UNAVAILABLE: 503, Code.DATA_LOSS: 500, Code.UNAUTHENTICATED: 401,
    }
)  # fmt: skip
"""The HTTP statuses under which the journal keeps gRPC's codes."""


MAX_DETAILS: Final = 1_000
"""Bytes of a sentence of ours; clients refuse metadata of more than 8 KiB, and details may take three times their size."""


class Answer(NamedTuple):
    """What a call ends with. An error has no body."""

    code: grpc.StatusCode
    body: bytes = b""
    details: str = ""
    initial: Pairs = ()
    trailing: Pairs = ()


class Received(NamedTuple):
    """An upstream's response; `seconds` is how long it took."""

    body: bytes
    initial: Pairs
    trailing: Pairs
    seconds: float


class Incoming(NamedTuple):
    """One call as it came. `remaining` says how many seconds the client still waits, None when for ever."""

    body: bytes
    version: str
    identity: bytes
    metadata: Pairs
    remaining: float | None


Upstream = Callable[[bytes, Pairs, "float | None"], Awaitable[Received]]
"""Calls the model server with a message, metadata and a time limit in seconds. Raises grpc.aio.AioRpcError."""


class GuardedCall:
    """The state of one ModelInfer call on a guarded route."""

    __slots__ = (
        "_background", "_demoted", "_guard_s", "_incoming", "_keeper", "_reason", "_route", "_screening", "_served",
        "_upstream", "at", "id",
    )  # fmt: skip

    def __init__(
        self, route: Route, incoming: Incoming, upstream: Upstream, keeper: Keeper, background: Background
    ) -> None:
        self._route = route
        # Whatever is loaded or tripped meanwhile, a call ends on what it began with.
        self._served = route.served
        self._demoted = route.breaker.demoted
        self._incoming = incoming
        self._upstream = upstream
        self._keeper = keeper
        self._background = background
        self._screening: Asked | None = None
        self._reason: Reason | None = None
        self._guard_s = 0.0
        self.at = route.clock()
        self.id = route.ids.make("dec", self.at)

    async def answer(self) -> Answer:
        """Screen the request, call the model server, screen its response."""
        if len(self._incoming.body) > self._route.max_body:
            text = f"the request is larger than {self._route.max_body} bytes"
            return await self._undecided(Reason.OVERSIZE, text, Code.RESOURCE_EXHAUSTED)
        screening = await self._judged(self._screen_request, self._incoming.body)
        if isinstance(screening, DecodeError):
            return await self._undecided(
                Reason(screening.reason), f"the request cannot be checked: {screening}"
            )
        if isinstance(screening, Exception):
            self._report(screening)
            return await self._undecided(Reason.FAULT, "the request cannot be checked: the guard failed")
        self._screening = screening
        if screening.refusal is not None:
            return self._reject(screening.refusal, None, 0.0)
        return await self._call()

    def _screen_request(self) -> Asked:
        incoming, route = self._incoming, self._route
        facts = facts_at(self.at, incoming.version or None)
        message = Message(incoming.body, GRPC, incoming.identity)
        try:
            return screen_message(self._served.guard, message, facts, route.history, self._demoted)
        except OpaqueError:
            if self._mode(Reason.OPAQUE) is FailureMode.CLOSED:
                raise
            return unseen_message(message, facts, self._demoted)

    async def _judged(self, work: Callable[[], T], body: bytes) -> T | Exception:
        """Compute in a thread where the body is large; any fault of ours meets the route's on_failure, loudly."""
        began = time.perf_counter()
        try:
            return work() if len(body) < OFF_LOOP_BYTES else await self._background.computed(work)
        except Exception as error:  # noqa: BLE001 - see above
            return error
        finally:
            self._guard_s += time.perf_counter() - began

    # ---------------------------------------------------------------- the upstream

    async def _call(self) -> Answer:
        incoming = self._incoming
        limit = self._route.timeout_s
        ours = incoming.remaining is None or limit < incoming.remaining
        try:
            response = await self._upstream(
                incoming.body, incoming.metadata, limit if ours else incoming.remaining
            )
        except grpc.aio.AioRpcError as error:
            return self._failed(error, ours=ours)
        if self._reason is not None:
            self._count_unguarded(self._reason, 200)
            return self._passed(response, self._unguarded(self._reason))
        if len(response.body) > self._route.max_body:
            return self._unscreened(response, Reason.OVERSIZE, "it is too large")
        work = self._screen_response(response)
        screened = await self._judged(work, response.body)
        settled = self._settled(screened, response)
        if isinstance(screened, Exception) or not screened[0].decision.held:
            return await settled
        # A client that hangs up now must not keep a hold from being stored and counted.
        return await self._background.finished(settled)

    def _failed(self, error: grpc.aio.AioRpcError, *, ours: bool) -> Answer:
        """Pass an error of the model server's own as it is, without an outcome."""
        code, details = error.code(), error.details() or ""
        self._route.upstream_errors += 1
        if self._reason is not None:
            self._count_unguarded(self._reason, STATUSES.get(code, 500))
        if code is Code.DEADLINE_EXCEEDED and ours:
            details = "the model server did not answer in time"
        if code in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED}:
            log.warning(
                "upstream.failed",
                route=self._route.path,
                decision=self.id,
                kind=code.name.lower(),
                detail=details,
            )
        mine = said([self._decision_line(), self._served.ruleset_line])
        initial, trailing = returned(error.initial_metadata()), returned(error.trailing_metadata())
        return Answer(code, b"", details, initial + mine, trailing)

    def _screen_response(self, response: Received) -> Callable[[], tuple[Screened, bytes]]:
        screening, guard = self._screening, self._served.guard
        if screening is None:
            raise RuntimeError("a response came for a request that was not screened")
        message = Message(response.body, GRPC)

        def work() -> tuple[Screened, bytes]:
            screened, patched = screen_and_patch_message(guard, screening, message, self.id)
            return screened, patched.body

        return work

    # ---------------------------------------------------------------- answers

    async def _settled(self, result: tuple[Screened, bytes] | Exception, response: Received) -> Answer:
        """Answer by what the guard found. A hold is stored before anything is said of it."""
        if isinstance(result, DecodeError):
            return self._unscreened(response, Reason(result.reason), str(result))
        if isinstance(result, Exception):
            self._report(result)
            return self._unscreened(response, Reason.FAULT, "the guard failed")
        screened, body = result
        decision = screened.decision
        if decision.rejected:
            # A rejected exchange gives no answer, so nothing of it is held either.
            return self._reject(decision, screened.predictions, response.seconds)
        holds: tuple[str, ...] = ()
        if decision.held:
            kept = await self._kept(decision)
            if isinstance(kept, GuardproxyError):
                log.error("hold.not_stored", route=self._route.path, decision=self.id, error=str(kept))
                return self._not_stored(screened, response, body)
            holds = kept
        if decision.withheld:
            return self._withhold(screened, response, holds)
        return self._serve(screened, response, body, holds)

    async def _kept(self, decision: Decision) -> tuple[str, ...] | GuardproxyError:
        result: list[tuple[str, ...] | GuardproxyError] = []
        await self._keeper.keep(
            self.id, self._route, decision, self.at, lambda ids, error: result.append(error or ids)
        )
        return result[0]

    def _serve(self, screened: Screened, response: Received, body: bytes, holds: tuple[str, ...]) -> Answer:
        decision = screened.decision
        lines = self._lines(decision, response.seconds, holds)
        self._finish(decision, screened.predictions, 200, response.seconds, holds)
        return self._passed(response._replace(body=body), lines)

    def _not_stored(self, screened: Screened, response: Received, body: bytes) -> Answer:
        """Nothing may be called held that is not stored: open serves the provisional answer, closed refuses."""
        decision = screened.decision
        if self._mode(Reason.FAULT) is FailureMode.CLOSED or decision.withheld:
            self._finish(refused(decision), None, 503, response.seconds, ())
            return self._closed(Reason.FAULT, "the hold could not be stored")
        return self._serve(Screened(unstored(decision), screened.predictions), response, body, ())

    def _withhold(self, screened: Screened, response: Received, holds: tuple[str, ...]) -> Answer:
        decision = screened.decision
        lines = self._lines(decision, response.seconds, holds)
        lines.append((b"Retry-After", b"%d" % HELD_RETRY_AFTER_S))
        self._finish(decision, screened.predictions, 503, response.seconds, holds)
        return _error(Code.UNAVAILABLE, withheld_text(decision), lines)

    def _reject(self, decision: Decision, predictions: Table | None, upstream_s: float) -> Answer:
        lines = self._lines(decision, upstream_s, ())
        self._finish(decision, predictions, self._route.reject_status, upstream_s, ())
        return _error(Code.INVALID_ARGUMENT, reject_text(decision), lines)

    def _passed(self, response: Received, lines: list[Header]) -> Answer:
        return Answer(Code.OK, response.body, "", response.initial + said(lines), response.trailing)

    # ---------------------------------------------------------------- when the guard cannot decide

    async def _undecided(self, reason: Reason, text: str, code: grpc.StatusCode = Code.UNAVAILABLE) -> Answer:
        """The request cannot be screened: pass it unguarded, or refuse."""
        self._reason = reason
        if self._mode(reason) is FailureMode.OPEN:
            return await self._call()
        self._count_unguarded(reason, STATUSES[code], refused=True)
        return self._closed(reason, text, code)

    def _unscreened(self, response: Received, reason: Reason, text: str) -> Answer:
        """The response cannot be screened: serve the upstream's bytes as unguarded, or refuse."""
        if self._mode(reason) is FailureMode.OPEN:
            self._count_unguarded(reason, 200)
            return self._passed(response, self._unguarded(reason))
        self._count_unguarded(reason, 503, refused=True)
        return self._closed(reason, f"the response cannot be checked: {text}")

    def _closed(self, reason: Reason, text: str, code: grpc.StatusCode = Code.UNAVAILABLE) -> Answer:
        lines = [
            self._decision_line(),
            (b"Guardproxy-Reason", reason.value.encode()),
            self._served.ruleset_line,
            (b"Retry-After", b"%d" % RETRY_AFTER_S),
        ]
        return _error(code, text, lines)

    def _mode(self, reason: Reason) -> FailureMode:
        return self._route.failure.of(reason)

    def _report(self, error: Exception) -> None:
        log.error(
            "guard.failed",
            route=self._route.path,
            decision=self.id,
            error=type(error).__name__,
            exc_info=error,
        )

    # ---------------------------------------------------------------- lines and counts

    @property
    def _seen(self) -> Screening | None:
        """The screened request; None where it was not screened or cannot be seen."""
        return self._screening if isinstance(self._screening, Screening) else None

    def _decision_line(self) -> Header:
        return b"Guardproxy-Decision", self.id.encode()

    def _lines(self, decision: Decision, upstream_s: float, holds: tuple[str, ...]) -> list[Header]:
        return decision_headers(
            self.id, decision, self._served.ruleset_line, self._guard_s, upstream_s, holds
        )

    def _unguarded(self, reason: Reason) -> list[Header]:
        return unguarded_headers(self.id, reason, self._served.ruleset_line)

    def _count_unguarded(self, reason: Reason, status: int, *, refused: bool = False) -> None:
        seen, route = self._seen, self._route
        rows = 0 if seen is None else seen.table.rows
        route.journal.add(
            unguarded_entry(
                route,
                self._served.guard,
                self.id,
                self.at,
                reason,
                rows=rows,
                status=status,
                refused=refused,
            )
        )

    def _finish(
        self,
        decision: Decision,
        predictions: Table | None,
        status: int,
        upstream_s: float,
        holds: tuple[str, ...],
    ) -> None:
        ended = Ended(
            self.id, self.at, self._seen, decision, predictions, status, self._guard_s, upstream_s, holds
        )
        note(self._route, self._served, ended)


def _error(code: grpc.StatusCode, text: str, lines: list[Header]) -> Answer:
    """Return an error of guardproxy's own. Many clients show only the trailing metadata of one, so it says all there too."""
    pairs = said(lines)
    return Answer(code, b"", text.encode()[:MAX_DETAILS].decode(errors="ignore"), pairs, pairs)
