"""The gRPC listener: which calls are guarded, and how all others pass.

Decides that only ModelInfer is guarded, on the routes of the Open Inference Protocol, found as if the call were the HTTP
request for its model; that every other method passes as raw messages, whatever its service, with its metadata, time limit,
cancellation and status; and that a stream of inferences is unguarded, or refused where its model's route is closed.
What happens in a guarded call is left to `call`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import grpc
import structlog
from prometheus_client.core import Metric

from guardproxy.codecs.grpc_tensors import model_of
from guardproxy.decision import FailureMode, Reason
from guardproxy.errors import DecodeError
from guardproxy.proxy.background import Background
from guardproxy.proxy.event_time import METADATA
from guardproxy.proxy.grpc.call import STATUSES, Answer, Code, GuardedCall, Incoming, Received
from guardproxy.proxy.grpc.metadata import Pairs, first, forwarded, returned, said
from guardproxy.proxy.grpc.passing import End, Passage
from guardproxy.proxy.headers import unguarded_headers
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.metrics import counter
from guardproxy.proxy.route import Route, unguarded_entry
from guardproxy.proxy.routes import Ambiguous, RouteTable

log = structlog.get_logger("guardproxy.proxy")

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER: Final = "/inference.GRPCInferenceService/ModelStreamInfer"
PROTOCOL: Final = "open-inference"

KINDS: Final = ("guarded", "passed", "streamed", "refused")
MAX_METADATA: Final = 64 * 1024
READ_AHEAD: Final = 1024 * 1024
"""Bytes of a stream that are taken from one side before the other takes them. Left to itself gRPC doubles its window as
long as they come fast, to gigabytes where the other side has stopped reading."""

RECONNECT_MS: Final = 2_000
"""A model server that is back is found again within this time; by itself gRPC would wait for up to two minutes."""

_UNREADABLE: Final = "the message cannot be read, so nobody can tell whether its model is guarded"
_FAILED: Final = "the guard failed"
_NO_MESSAGE: Final = "the model server ended the call without a message"
_STREAMED: Final = "the answers of a stream cannot be checked; call ModelInfer"


class GrpcPlane:
    """Takes calls on one address and makes them on another. `calls` counts by KINDS, `passed` by gRPC's status."""

    def __init__(
        self,
        routes: Sequence[Route],
        upstream: str,
        keeper: Keeper,
        background: Background,
        *,
        max_message: int,
        max_calls: int,
    ) -> None:
        """Guard `routes`; sizes in bytes. No message may be larger than `max_message`, or the largest of the routes' limits."""
        self.routes = tuple(route for route in routes if route.guard.codec.name == PROTOCOL)
        self.calls: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.faults = 0
        self.port = 0
        self._keeper = keeper
        self._background = background
        self._upstream = upstream
        self._max_calls = max_calls
        self._table: RouteTable[Route] = RouteTable([(route.path, route) for route in self.routes])
        limit = max([max_message, *(route.max_body for route in self.routes)])
        self._options = [
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            ("grpc.max_metadata_size", MAX_METADATA),
            ("grpc.absolute_max_metadata_size", MAX_METADATA),
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", READ_AHEAD),
        ]
        self._server: grpc.aio.Server | None = None
        self._channel: grpc.aio.Channel | None = None

    async def start(self, address: str) -> None:
        """Listen on HOST:PORT. Raises OSError when that cannot be done."""
        self._channel = grpc.aio.insecure_channel(
            self._upstream,
            options=[
                *self._options,
                ("grpc.enable_http_proxy", 0),
                ("grpc.enable_retries", 0),
                ("grpc.service_config_disable_resolution", 1),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
            ],
        )
        self._server = grpc.aio.server(
            handlers=(_Handlers(self),),
            # Two processes that listen on one port would share its calls by chance. How often a client may ask whether its
            # connection still lives was agreed with the model server: that is no reason to end it.
            options=[*self._options, ("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0)],
            maximum_concurrent_rpcs=self._max_calls,
        )
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            await self.stop(0.0)
            raise OSError(f"gRPC cannot listen on {address}") from error
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Take no more calls and let those in flight end; after `grace_s` seconds they are cancelled."""
        if self._server is not None:
            # Calls in flight may still need the channel.
            await self._server.stop(grace_s)
        channel, self._server, self._channel = self._channel, None, None
        if channel is not None:
            await channel.close()

    # ---------------------------------------------------------------- ModelInfer

    async def infer(self, body: bytes, context: Any) -> bytes:
        """Serve one ModelInfer call."""
        metadata = context.invocation_metadata()
        try:
            answer = await self._inferred(body, forwarded(metadata), context)
        except Exception as error:  # noqa: BLE001 - it ends this call, loudly, and no other
            self._fault(error)
            answer = Answer(Code.INTERNAL, details=_FAILED)
        # An aborted call keeps this frame until the collector runs.
        body = b""
        await context.send_initial_metadata(answer.initial)
        if answer.code is not Code.OK:
            await context.abort(answer.code, answer.details, answer.trailing)
        context.set_trailing_metadata(answer.trailing)
        return answer.body

    async def _inferred(self, body: bytes, metadata: Pairs, context: Any) -> Answer:
        remaining = context.time_remaining()
        try:
            name, version = model_of(body)
        except DecodeError:
            if self._strictest(Reason.UNDECODABLE) is FailureMode.CLOSED:
                self.calls["refused"] += 1
                return Answer(Code.INVALID_ARGUMENT, details=_UNREADABLE)
            return await self._passed_infer(body, metadata, remaining)
        route = self._route_of(name, version)
        if route is None:
            return await self._passed_infer(body, metadata, remaining)
        self.calls["guarded"] += 1
        incoming = Incoming(
            body,
            version,
            first(metadata, "idempotency-key"),
            metadata,
            remaining,
            # It is one of the names that do not go upstream.
            first(context.invocation_metadata(), METADATA),
        )
        return await GuardedCall(
            route, incoming, self._infer_upstream, self._keeper, self._background
        ).answer()

    async def _infer_upstream(self, body: bytes, metadata: Pairs, timeout_s: float | None) -> Received:
        began = time.perf_counter()
        call = self._open_channel().unary_unary(INFER)(body, metadata=metadata, timeout=timeout_s)
        response = await call
        initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
        if response is None:
            # The library takes a call that ended well before its message for a success.
            raise grpc.aio.AioRpcError(Code.INTERNAL, initial, trailing, _NO_MESSAGE)
        return Received(response, returned(initial), returned(trailing), time.perf_counter() - began)

    async def _passed_infer(self, body: bytes, metadata: Pairs, remaining: float | None) -> Answer:
        self.calls["passed"] += 1
        try:
            response = await self._infer_upstream(body, metadata, remaining)
        except asyncio.CancelledError:
            self.passed[Code.CANCELLED.name] += 1
            raise
        except grpc.aio.AioRpcError as error:
            self.passed[error.code().name] += 1
            return Answer(
                error.code(),
                b"",
                error.details() or "",
                returned(error.initial_metadata()),
                returned(error.trailing_metadata()),
            )
        self.passed[Code.OK.name] += 1
        return Answer(Code.OK, response.body, "", response.initial, response.trailing)

    def _route_of(self, name: str, version: str) -> Route | None:
        """Return the route whose path is that of the same request over HTTP.

        Names are compared as they are: no path is read here that somebody else could read another way.
        """
        versioned = f"/versions/{quote(version, safe='')}" if version else ""
        route = self._table.match(f"/v2/models/{quote(name, safe='')}{versioned}/infer".encode())
        return None if isinstance(route, Ambiguous) else route

    def _strictest(self, reason: Reason) -> FailureMode:
        """Return what happens to a message that might be for any of the routes."""
        modes = {route.failure.of(reason) for route in self.routes}
        return FailureMode.CLOSED if FailureMode.CLOSED in modes else FailureMode.OPEN

    # ---------------------------------------------------------------- everything else

    async def passing(self, method: str, requests: AsyncIterator[bytes], context: Any) -> None:
        """Pass one call of any kind through, message by message."""
        try:
            end = await self._carried(method, requests, context)
        except asyncio.CancelledError:
            self.passed[Code.CANCELLED.name] += 1
            raise
        except Exception as error:  # noqa: BLE001 - it ends this call, loudly, and no other
            self._fault(error)
            end = End(Code.INTERNAL, _FAILED)
        self.passed[end.code.name] += 1
        if end.code is not Code.OK:
            await context.abort(end.code, end.details, end.trailing)
        context.set_trailing_metadata(end.trailing)

    async def _carried(self, method: str, requests: AsyncIterator[bytes], context: Any) -> End:
        call = self._open_channel().stream_stream(method)(
            metadata=forwarded(context.invocation_metadata()), timeout=context.time_remaining()
        )
        if method != STREAM_INFER:
            self.calls["passed"] += 1
            return await Passage(call, context).run(requests)
        self.calls["streamed"] += 1
        watch = _StreamWatch(self._route_of, self._strictest(Reason.STREAMED))
        return await Passage(call, context, watch.look, lambda: watch.pairs).run(requests)

    def metrics(self) -> Iterator[Metric]:
        """Yield what is counted of the listener."""
        yield counter(
            "grpc_calls",
            "Calls by what was done with them: guarded, passed, streamed (inferences that no rule sees) or refused.",
            [({"kind": kind}, float(self.calls[kind])) for kind in KINDS],
        )
        yield counter(
            "grpc_passed_through",
            "Calls that were not guarded, by gRPC status.",
            [({"status": code.name}, float(self.passed[code.name])) for code in STATUSES],
        )
        yield counter(
            "grpc_faults", "Exceptions of guardproxy's own; each ended one call.", [({}, float(self.faults))]
        )

    def _open_channel(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise RuntimeError("the gRPC listener is not running")
        return self._channel

    def _fault(self, error: Exception) -> None:
        self.faults += 1
        log.error("exchange.failed", error=type(error).__name__, exc_info=error)


class _StreamWatch:
    """Counts the requests of one stream that are for guarded models, and ends it where a route lets none pass unchecked."""

    def __init__(self, route_of: Callable[[str, str], Route | None], unreadable: FailureMode) -> None:
        self.pairs: Pairs = ()
        self._route_of = route_of
        self._unreadable = unreadable

    def look(self, message: bytes) -> End | None:
        """Look at one request."""
        try:
            route = self._route_of(*model_of(message))
        except DecodeError:
            return End(Code.INVALID_ARGUMENT, _UNREADABLE) if self._unreadable is FailureMode.CLOSED else None
        if route is None:
            return None
        at = route.clock()
        decision_id = route.ids.make("dec", at)
        closed = route.failure.of(Reason.STREAMED) is FailureMode.CLOSED
        status = STATUSES[Code.UNAVAILABLE if closed else Code.OK]
        served = route.served
        route.journal.add(
            unguarded_entry(
                route, served.guard, decision_id, at, Reason.STREAMED, status=status, refused=closed
            )
        )
        lines = unguarded_headers(decision_id, Reason.STREAMED, served.ruleset_line)
        if closed:
            # A refusal has a reason, but no outcome: there is no answer that would have one.
            return End(Code.UNAVAILABLE, _STREAMED, said([lines[0], *lines[2:]]))
        self.pairs = self.pairs or said(lines)
        return None


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Takes every method of every service."""

    def __init__(self, plane: GrpcPlane) -> None:
        self._plane = plane

    def service(self, handler_call_details: Any) -> Any:
        """Return what serves a call; its messages stay bytes."""
        plane, method = self._plane, handler_call_details.method
        if method == INFER:
            return grpc.unary_unary_rpc_method_handler(plane.infer)

        async def passing(requests: AsyncIterator[bytes], context: Any) -> None:
            await plane.passing(method, requests, context)

        # On the wire a single message is a stream of one.
        return grpc.stream_stream_rpc_method_handler(passing)
