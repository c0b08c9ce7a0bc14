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

from guardproxy.codecs.grpc_tensors import GRPC
from guardproxy.decision import Decision, Reason
from guardproxy.errors import DecodeError, GuardproxyError
from guardproxy.guard.screen import Screened
from guardproxy.message import Message
from guardproxy.proxy.background import OFF_LOOP_BYTES, Background, without_frames
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.grpc.metadata import Pairs, returned, said
from guardproxy.proxy.guarded import GUARD_FAILED, Guarded
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.outcomes import refused, reject_text, unstored, withheld_text
from guardproxy.proxy.route import Route
from guardproxy.proxy.screening import Asked, screen_and_patch_message, screen_message
from guardproxy.table import Table
from guardproxy.wire import Header

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
    """One call as it came. `remaining` says how many seconds the client still waits, None when for ever; `event_time` when
    it happened, empty when it does not say.
    """

    body: bytes
    version: str
    identity: bytes
    metadata: Pairs
    remaining: float | None
    event_time: bytes = b""


Upstream = Callable[[bytes, Pairs, "float | None"], Awaitable[Received]]
"""Calls the model server with a message, metadata and a time limit in seconds. Raises grpc.aio.AioRpcError."""


class GuardedCall(Guarded):
    """One ModelInfer call on a guarded route."""

    __slots__ = ("_incoming", "_upstream")

    def __init__(
        self, route: Route, incoming: Incoming, upstream: Upstream, keeper: Keeper, background: Background
    ) -> None:
        super().__init__(route, keeper, background)
        self._incoming = incoming
        if route.event_time.header:
            self.happened = route.event_time.of_header(incoming.event_time or None, self.at)
        self._upstream = upstream

    async def answer(self) -> Answer:
        """Screen the request, call the model server, screen its response."""
        if len(self._incoming.body) > self._route.max_body:
            text = f"the request is larger than {self._route.max_body} bytes"
            return await self._undecided(Reason.OVERSIZE, text, Code.RESOURCE_EXHAUSTED)
        asked = await self._judged(self._screen_request, self._incoming.body)
        if isinstance(asked, DecodeError):
            return await self._undecided(Reason(asked.reason), f"the request cannot be checked: {asked}")
        if isinstance(asked, Exception):
            self._report_fault(asked)
            return await self._undecided(Reason.FAULT, f"the request cannot be checked: {GUARD_FAILED}")
        self._asked = asked
        if asked.refusal is not None:
            return self._reject(asked.refusal, None, 0.0)
        self._look_up()
        return await self._call()

    def _screen_request(self) -> Asked:
        incoming, route = self._incoming, self._route
        facts = facts_at(self.when, incoming.version or None)
        message = Message(incoming.body, GRPC, incoming.identity)
        return screen_message(
            self._served.guard, message, facts, route.history, self._demoted, route.failure, self._recent
        )

    async def _judged(self, work: Callable[[], T], body: bytes) -> T | Exception:
        """Compute in a thread where the body is large; any fault of ours meets the route's on_failure, loudly."""
        began = time.perf_counter()
        try:
            return work() if len(body) < OFF_LOOP_BYTES else await self._background.computed(work)
        except DecodeError as error:
            return without_frames(error)
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
            return self._passed(response, self._unguarded_lines(self._reason))
        if len(response.body) > self._route.max_body:
            return self._unscreened(response, Reason.OVERSIZE, "it is too large")
        if self._reading is not None:
            await self._reading.wait()
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
            self._report_upstream(code.name.lower(), details)
        mine = said([self._decision_line(), self._served.ruleset_line])
        initial, trailing = returned(error.initial_metadata()), returned(error.trailing_metadata())
        return Answer(code, b"", details, initial + mine, trailing)

    def _screen_response(self, response: Received) -> Callable[[], tuple[Screened, bytes]]:
        asked, guard = self._asked, self._served.guard
        if asked is None:
            raise RuntimeError("a response came for a request that was not screened")
        message = Message(response.body, GRPC)

        def work() -> tuple[Screened, bytes]:
            screened, patched = screen_and_patch_message(guard, asked, message, self.id)
            return screened, patched.body

        return work

    # ---------------------------------------------------------------- answers

    async def _settled(self, result: tuple[Screened, bytes] | Exception, response: Received) -> Answer:
        """Answer by what the guard found. A hold is stored before anything is said of it."""
        if isinstance(result, DecodeError):
            return self._unscreened(response, Reason(result.reason), str(result))
        if isinstance(result, Exception):
            self._report_fault(result)
            return self._unscreened(response, Reason.FAULT, GUARD_FAILED)
        screened, body = result
        decision = screened.decision
        if decision.rejected:
            # A rejected exchange gives no answer, so nothing of it is held either.
            return self._reject(decision, screened.predictions, response.seconds)
        holds: tuple[str, ...] = ()
        if decision.held:
            kept = await self._kept(decision)
            if isinstance(kept, GuardproxyError):
                self._report_unstored(kept)
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
        if decision.withheld or not self._passes(Reason.FAULT):
            self._finish(refused(decision), None, 503, response.seconds)
            return self._closed(Reason.FAULT, "the hold could not be stored")
        return self._serve(Screened(unstored(decision), screened.predictions), response, body, ())

    def _withhold(self, screened: Screened, response: Received, holds: tuple[str, ...]) -> Answer:
        decision = screened.decision
        lines = self._withheld_lines(decision, response.seconds, holds)
        self._finish(decision, screened.predictions, 503, response.seconds, holds)
        return _error(Code.UNAVAILABLE, withheld_text(decision), lines)

    def _reject(self, decision: Decision, predictions: Table | None, upstream_s: float) -> Answer:
        lines = self._lines(decision, upstream_s)
        self._finish(decision, predictions, self._route.reject_status, upstream_s)
        return _error(Code.INVALID_ARGUMENT, reject_text(decision), lines)

    def _passed(self, response: Received, lines: list[Header]) -> Answer:
        return Answer(Code.OK, response.body, "", response.initial + said(lines), response.trailing)

    # ---------------------------------------------------------------- when the guard cannot decide

    async def _undecided(self, reason: Reason, text: str, code: grpc.StatusCode = Code.UNAVAILABLE) -> Answer:
        """The request cannot be screened: pass it unguarded, or refuse."""
        self._reason = reason
        if self._passes(reason):
            return await self._call()
        self._count_unguarded(reason, STATUSES[code], refused=True)
        return self._closed(reason, text, code)

    def _unscreened(self, response: Received, reason: Reason, text: str) -> Answer:
        """The response cannot be screened: serve the upstream's bytes as unguarded, or refuse."""
        if self._passes(reason):
            self._count_unguarded(reason, 200)
            return self._passed(response, self._unguarded_lines(reason))
        self._count_unguarded(reason, 503, refused=True)
        return self._closed(reason, f"the response cannot be checked: {text}")

    def _closed(self, reason: Reason, text: str, code: grpc.StatusCode = Code.UNAVAILABLE) -> Answer:
        return _error(code, text, self._closed_lines(reason))


def _error(code: grpc.StatusCode, text: str, lines: list[Header]) -> Answer:
    """Return an error of guardproxy's own. Many clients show only the trailing metadata of one, so it says all there too."""
    pairs = said(lines)
    return Answer(code, b"", text.encode()[:MAX_DETAILS].decode(errors="ignore"), pairs, pairs)
