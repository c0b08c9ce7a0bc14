"""Header lines: what a reply says about the guard's work, and what a guarded call changes of a client's own.

Decides the spelling of the decision headers (the public contract lists them), which lines never pass, since only guardproxy
may speak in these names, and which of a response's own lines are made right for a patched body, or left out.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

import numpy as np

from guardproxy.codecs.contents import CODINGS
from guardproxy.decision import Decision, Outcome, Reason
from guardproxy.proxy.digests import DIGESTS, digested
from guardproxy.wire import Exchange, Header, ResponseHead

MAX_HOLDS: Final = 8
MAX_ROWS: Final = 200

_NAMES: Final = ("decision", "outcome", "rows", "hold", "held-rows", "reason", "ruleset", "event-time")
OURS: Final = frozenset(
    spelled.encode()
    for name in _NAMES
    for spelled in (f"guardproxy-{name}", f"guardproxy_{name}".replace("-", "_"))
)
"""Lower-case names that are removed from what clients and upstreams send (underscores: many servers read them alike)."""

STALE_AFTER_PATCH: Final = frozenset(
    (
        b"etag", b"signature", b"signature-input", b"last-modified", b"accept-ranges", b"content-range",
    )
)  # fmt: skip
"""Lines that describe the upstream's exact bytes, and that nobody else can say of patched ones."""

JSON_LENGTH: Final = b"inference-header-content-length"
"""How many bytes of a body with binary tensors are JSON."""

_EDITED: Final = OURS | {b"accept-encoding", b"range", b"if-range"}
"""Request lines that a guarded call changes: ours are removed, a coding we cannot read is not asked for, and a part of a
response cannot be screened."""

_READABLE_CODINGS: Final = frozenset(name.encode() for name in CODINGS) | {b"identity"}
_EVENTS: Final = b"text/event-stream"
_UNENDING: Final = frozenset(
    {b"application/x-ndjson", b"application/vnd.amazon.eventstream", b"multipart/x-mixed-replace"}
)
"""Media types of streams, unless the response says how long it is."""
_OUTCOMES: Final = {outcome: outcome.name.lower().encode() for outcome in Outcome}
_OUTCOME_LINES: Final = {outcome: (b"Guardproxy-Outcome", word) for outcome, word in _OUTCOMES.items()}
_ONE_ALLOWED: Final = (b"Guardproxy-Rows", b"allowed=1")


def decision_headers(
    decision_id: str,
    decision: Decision,
    ruleset: Header,
    guard_s: float,
    upstream_s: float,
    holds: tuple[str, ...] = (),
) -> list[Header]:
    """Return the lines for a decision. `ruleset` is the route's constant line; durations are in seconds."""
    outcome = decision.outcome
    lines = [(b"Guardproxy-Decision", decision_id.encode()), _OUTCOME_LINES[outcome]]
    if decision.rows == 1 and outcome is Outcome.ALLOWED:
        lines.append(_ONE_ALLOWED)
    elif decision.rows:
        lines.append((b"Guardproxy-Rows", _rows(decision)))
    if holds:
        lines.append((b"Guardproxy-Hold", ", ".join(holds[:MAX_HOLDS]).encode()))
    if decision.held:
        held = [str(row.row) for row in decision.held]
        more = [f"... {len(held) - MAX_ROWS} more"] if len(held) > MAX_ROWS else []
        lines.append((b"Guardproxy-Held-Rows", ", ".join(held[:MAX_ROWS] + more).encode()))
    if decision.reason is not None:
        lines.append((b"Guardproxy-Reason", decision.reason.value.encode()))
    lines.append(ruleset)
    lines.append(
        (b"Server-Timing", b"guard;dur=%.3f, upstream;dur=%.1f" % (guard_s * 1000, upstream_s * 1000))
    )
    return lines


def unguarded_headers(decision_id: str, reason: Reason, ruleset: Header) -> list[Header]:
    """Return the lines for an answer that passed without having been judged."""
    return [
        (b"Guardproxy-Decision", decision_id.encode()),
        _OUTCOME_LINES[Outcome.UNGUARDED],
        (b"Guardproxy-Reason", reason.value.encode()),
        ruleset,
    ]


def is_stream(head: ResponseHead) -> bool:
    """Tell whether a response is a stream of events, which ends when its sender likes.

    Other bodies that come in chunks are documents whose size the server did not know beforehand.
    """
    kind = _stream_kind(head.get(b"content-type"))
    return kind == _ALWAYS or (kind == _UNMEASURED and (head.chunked or head.until_close))


def request_lines(exchange: Exchange) -> Sequence[Header] | None:
    """Return the request's lines for the upstream, or None when they go as they are."""
    head = exchange.head
    edited = _EDITED.intersection(head.names)
    if not edited:
        return None
    lines: list[Header] = []
    for name, line in zip(head.names, head.headers, strict=True):
        if name == b"accept-encoding":
            lines.append((line[0], _readable(line[1])))
        elif name not in _EDITED:
            lines.append(line)
    # Most clients ask for nothing but what can be read; then their own lines go on, which is cheaper.
    return None if len(edited) == 1 and lines == head.headers else lines


def patched_lines(head: ResponseHead, body: bytes, json_length: int | None) -> list[Header]:
    """Return the end-to-end lines of a response, true of a patched body that goes out as `body`.

    `json_length` is the new value of Inference-Header-Content-Length. Every other line keeps its place and spelling; the
    wire writes the Content-Length.
    """
    drop = OURS | STALE_AFTER_PATCH | head.named
    lines: list[Header] = []
    told = json_length is None
    for name, (spelled, value) in zip(head.names, head.headers, strict=True):
        if name == JSON_LENGTH and json_length is not None:
            told = True
            lines.append((spelled, b"%d" % json_length))
        elif name in DIGESTS:
            made = digested(name, value, body)
            lines += () if made is None else ((spelled, made),)
        elif name not in drop:
            lines.append((spelled, value))
    if not told:
        lines.append((b"Inference-Header-Content-Length", b"%d" % (json_length or 0)))
    return lines


def asks_by_query(target: bytes) -> bool:
    """Tell whether a request's query has a field `json`, however it is spelled: some servers take it for the body."""
    _, _, query = target.partition(b"?")
    return any(
        unquote_to_bytes(field.partition(b"=")[0].replace(b"+", b" ")) == b"json"
        for field in re.split(rb"[&;]", query)
    )


@lru_cache(maxsize=256)
def _stream_kind(content_type: bytes | None) -> int:
    media = b"" if content_type is None else content_type.partition(b";")[0].strip().lower()
    if media == _EVENTS:
        return _ALWAYS
    return _UNMEASURED if media in _UNENDING else _NEVER


_NEVER, _UNMEASURED, _ALWAYS = range(3)


def _rows(decision: Decision) -> bytes:
    counts = np.bincount(decision.outcomes, minlength=len(Outcome)).tolist()
    return b", ".join(b"%s=%d" % (_OUTCOMES[Outcome(code)], rows) for code, rows in enumerate(counts) if rows)


@lru_cache(maxsize=256)
def _readable(accepted: bytes) -> bytes:
    """Leave out the codings that the guard cannot undo, and `*`, which stands for any."""
    wanted = [part.strip() for part in accepted.split(b",")]
    kept = [part for part in wanted if _is_readable(part)]
    return accepted if len(kept) == len(wanted) else b", ".join(kept) or b"identity"


def _is_readable(part: bytes) -> bool:
    coding, _, weight = part.partition(b";")
    if coding.strip() == b"*":
        # `*;q=0` asks for nothing, and refuses what would be left out here.
        return re.fullmatch(rb"\s*q\s*=\s*0(\.0*)?\s*", weight) is not None
    return not coding.strip() or coding.strip().lower() in _READABLE_CODINGS
