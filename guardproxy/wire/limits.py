"""How long each phase may last and how large each thing may grow. Values only; who enforces them is said beside each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds per phase. They are kept by one sweep per server and pool, so each is accurate to one sweep."""

    head_s: float = 10.0
    """From the first byte of a request (or the accept) to its complete head: 408, or a silent close without a byte."""
    body_s: float = 30.0
    """For the whole body of a request that is collected: 408."""
    body_rate: float = 1024.0
    """Bytes per second that a request body must average once `body_grace_s` has passed: 408."""
    body_grace_s: float = 5.0
    connect_s: float = 2.0
    """For a TCP connection to the upstream: 504."""
    response_head_s: float = 30.0
    """From the last byte of the request to the complete head of the response, however it trickles: 504. A call that is
    given a longer time of its own has that."""
    response_idle_s: float = 15.0
    """Between two reads of a response body: 504 while nothing was passed on, else the client's connection is aborted.
    A call that is given a longer time of its own has that."""
    client_write_s: float = 30.0
    """For a client that does not read (and an upstream that does not): both sides are aborted."""
    keepalive_s: float = 75.0
    """For an idle client connection: closed."""
    pool_idle_s: float = 30.0
    """For an idle upstream connection: closed."""
    linger_s: float = 2.0
    """For a client that still sends after its connection was half-closed: closed."""
    tunnel_idle_s: float = 3600.0
    """For a tunnel in which neither side sends: closed. Once one side has ended, `response_idle_s` holds in its place."""

    @property
    def sweep_s(self) -> float:
        """Seconds between two sweeps: a quarter of the shortest timeout, at most one second."""
        shortest = min(
            self.head_s,
            self.body_s,
            self.body_grace_s,
            self.connect_s,
            self.response_head_s,
            self.response_idle_s,
            self.client_write_s,
            self.keepalive_s,
            self.pool_idle_s,
            self.linger_s,
            self.tunnel_idle_s,
        )
        return min(1.0, max(0.01, shortest / 4))


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes and counts."""

    max_head_bytes: int = 65536
    """Request or status line with all header lines: 431 for a request, 502 for a response."""
    max_line_bytes: int = 8192
    """One header line of a request: 431."""
    max_target_bytes: int = 8192
    """Request target: 414."""
    max_headers: int = 128
    """Header lines, and trailer lines on their own: 431 or 502."""
    max_connections: int = 8192
    """Client connections of one server: 503 and close beyond it."""
    max_pipelined: int = 64
    """Requests parsed ahead of the one being answered: reading stops beyond it (but for what one slice of 4 KiB held)."""
    max_ahead_bytes: int = 262144
    """Body bytes read ahead of whoever takes them: reading stops beyond it."""
    max_discard_bytes: int = 262144
    """The rest of a body nobody wants: read and dropped up to this, else the connection closes."""
