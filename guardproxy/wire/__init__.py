"""HTTP/1.1 both ways on llhttp: a transparent server and upstream pool that know nothing of guarding.

An application answers `plan(head, peer)` once per request head with a Reply, a Forward or a Collect; the wire does the
framing, the ordering, the backpressure and the timeouts. The RFC 9110 and 9112 duties of an intermediary are kept here.

What does not pass through as it is: hop-by-hop lines and what Connection names; trailers; interim responses other than
100 (to a client that asked) and 101 (to a client that asked for a tunnel); upgrades to h2c, HTTP and TLS, which would
carry requests past the application; an absolute-form target, which becomes its path and Host. What is added: Via to
requests, Date to responses without one. A target with a fragment is refused, since upstreams would cut it off after it
was matched whole.
"""

from guardproxy.wire.exchange import Exchange
from guardproxy.wire.heads import Header, RequestHead, ResponseHead, forwardable
from guardproxy.wire.limits import Limits, Timeouts
from guardproxy.wire.origin import Origin, parse_origin
from guardproxy.wire.plans import (
    Application,
    Collect,
    Forward,
    Plan,
    Reply,
    Transfer,
    UpstreamFailure,
    UpstreamResponse,
    default_refusal,
)
from guardproxy.wire.pool import Pool
from guardproxy.wire.server import Server

__all__ = [
    "Application",
    "Collect",
    "Exchange",
    "Forward",
    "Header",
    "Limits",
    "Origin",
    "Plan",
    "Pool",
    "Reply",
    "RequestHead",
    "ResponseHead",
    "Server",
    "Timeouts",
    "Transfer",
    "UpstreamFailure",
    "UpstreamResponse",
    "default_refusal",
    "forwardable",
    "parse_origin",
]
