"""The data plane: the application behind the wire.

Decides for each request head whether it is guarded, passed through or refused. What happens on a guarded route is left to
`exchange`.
"""

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from guardproxy.decision import FailureMode, Reason
from guardproxy.proxy.background import Background
from guardproxy.proxy.exchange import GuardedExchange
from guardproxy.proxy.headers import OURS, asks_by_query, unguarded_headers
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.journal import Journal
from guardproxy.proxy.route import Route, unguarded_entry
from guardproxy.proxy.routes import AMBIGUOUS, Ambiguous, RouteTable
from guardproxy.proxy.sharing import Sharing
from guardproxy.wire import (
    Collect,
    Exchange,
    Forward,
    Plan,
    Pool,
    Reply,
    RequestHead,
    Transfer,
    UpstreamFailure,
    default_refusal,
)

log = structlog.get_logger("guardproxy.proxy")

_OPEN_METHODS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"DELETE"})
"""Methods that pass on a guarded path as long as they carry no body."""

_NO_OVERRIDE: Final = OURS | {b"x-http-method-override", b"x-http-method", b"x-method-override"}
"""Some servers take a GET with one of these for a POST: on a guarded path that would be a way around the guard."""


class DataPlane:
    """Implements `wire.Application` over a route table."""

    def __init__(
        self, routes: list[Route], default: Pool | None, keeper: Keeper, background: Background
    ) -> None:
        """Guard `routes`; what none of them matches passes to `default`."""
        self.routes = routes
        self.default = default
        self.passed = 0
        self.ambiguous = 0
        self.faults = 0
        self.draining = False
        self.transfers: dict[str, int] = {}
        self._keeper = keeper
        self.background = background
        self._table: RouteTable[Route | Ambiguous] = RouteTable(
            [*_ways_around(routes, default).items(), *((route.path, route) for route in routes)]
        )
        self._collects = {id(route): self._collect(route) for route in routes}
        self._forwards: dict[tuple[int, frozenset[bytes]], Forward] = {}

    @property
    def journals(self) -> Mapping[str, Journal]:
        """The journal of each model."""
        return {route.model: route.journal for route in self.routes}

    @property
    def sharings(self) -> Mapping[str, Sharing]:
        """The shared past of each model."""
        return {route.model: route.sharing for route in self.routes}

    def plan(self, head: RequestHead, peer: str) -> Plan:  # noqa: ARG002 - the wire's contract
        """Decide about one request."""
        route = self._table.match(head.target) if self.routes else None
        if route is None:
            return self._pass()
        if isinstance(route, Ambiguous):
            self.ambiguous += 1
            return default_refusal(
                400, "this path could be read as a guarded one; write it as the route does"
            )
        if head.has_body or (head.method in route.methods and not _asks_nothing(route, head)):
            if head.upgrade is not None:
                return default_refusal(400, "an upgrade cannot be guarded")
            return self._collects[id(route)]
        if head.method in _OPEN_METHODS:
            route.passed += 1
            return self._forward(route.upstream, _NO_OVERRIDE)
        return default_refusal(405, "this method is not guarded on this route")

    def refusal(self, status: int, detail: str) -> Reply:
        """Answer for the wire when it refuses a request itself."""
        return default_refusal(status, detail)

    def fault(self, exc: Exception) -> None:
        """Report an exception of ours that reached the wire."""
        self.faults += 1
        log.error("exchange.failed", error=type(exc).__name__, exc_info=exc)

    def _pass(self) -> Plan:
        if self.default is None:
            return default_refusal(404, "no route matches this path, and there is no upstream for the rest")
        self.passed += 1
        return self._forward(self.default)

    def _forward(self, pool: Pool, drop: frozenset[bytes] = OURS) -> Forward:
        key = (id(pool), drop)
        forward = self._forwards.get(key)
        if forward is None:
            forward = Forward(pool, drop, OURS, failed=_unreachable, done=self._done)
            self._forwards[key] = forward
        return forward

    def _done(self, transfer: Transfer) -> None:
        # Classes of status, not statuses: what an upstream may invent must not make series.
        kind = "aborted" if transfer.aborted else f"{transfer.status // 100}xx"
        self.transfers[kind] = self.transfers.get(kind, 0) + 1

    def _collect(self, route: Route) -> Collect:
        def start(exchange: Exchange) -> None:
            GuardedExchange(route, exchange, self._keeper, self.background).start()

        return Collect(route.max_body, start, self._oversize(route))

    def _oversize(self, route: Route) -> Callable[[RequestHead], Forward | Reply]:
        def overflow(head: RequestHead) -> Forward | Reply:
            at = route.clock()
            decision_id = route.ids.make("dec", at)
            served = route.served
            passes = route.failure.of(Reason.OVERSIZE) is FailureMode.OPEN
            route.journal.add(
                unguarded_entry(
                    route,
                    served.guard,
                    decision_id,
                    at,
                    Reason.OVERSIZE,
                    status=0 if passes else 413,
                    refused=not passes,
                )
            )
            lines = unguarded_headers(decision_id, Reason.OVERSIZE, served.ruleset_line)
            if passes:
                target = route.target_of(head.target)
                return Forward(
                    route.upstream, OURS, OURS, tuple(lines), _unreachable, self._done, target=target
                )
            content_type, body = served.guard.codec.error(
                413, f"the request is larger than {route.max_body} bytes"
            )
            return Reply(413, [(b"Content-Type", content_type), lines[0], *lines[2:]], body, close=True)

        return overflow


def _ways_around(routes: list[Route], default: Pool | None) -> dict[str, Route | Ambiguous]:
    """Return the paths on which unguarded requests would reach what a route with an `upstream_path` guards.

    Such a request is judged by that route; where several have the path nobody can tell which of them is meant.
    """
    found: dict[str, Route | Ambiguous] = {}
    for route in routes:
        if route.upstream_path is not None and route.upstream is default:
            path = route.upstream_path.decode()
            found[path] = AMBIGUOUS if path in found else route
    return found


def _asks_nothing(route: Route, head: RequestHead) -> bool:
    """Tell whether a GET without a body does not ask by its query either, where that is how it would ask."""
    return route.by_query and head.method == b"GET" and not asks_by_query(head.target)


def _unreachable(failure: UpstreamFailure) -> Reply:
    sentence = "did not answer in time" if failure.status == 504 else "cannot be reached"
    return default_refusal(failure.status, f"the upstream {sentence}")
