"""Header lines: what a reply says about the guard's work, and what a guarded call changes of a client's own.

Decides the spelling of the decision headers (the public contract lists them), and which lines never pass, since only
guardproxy may speak in these names.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from guardproxy.decision import Decision, Outcome, Reason
from guardproxy.wire import Exchange, Header

MAX_HOLDS: Final = 8
MAX_ROWS: Final = 200

_NAMES: Final = ("decision", "outcome", "rows", "hold", "held-rows", "reason", "ruleset")
OURS: Final = frozenset(
    spelled.encode()
    for name in _NAMES
    for spelled in (f"guardproxy-{name}", f"guardproxy_{name}".replace("-", "_"))
)
"""Lower-case names that are removed from what clients and upstreams send (underscores: many servers read them alike)."""

STALE_AFTER_PATCH: Final = frozenset(
    (
        b"etag", b"content-md5", b"digest", b"content-digest", b"repr-digest", b"signature", b"signature-input",
        b"last-modified", b"accept-ranges", b"content-range",
    )
)  # fmt: skip
"""Lines that describe the upstream's exact bytes, and would lie about patched ones."""

_EDITED: Final = OURS | {b"accept-encoding", b"range", b"if-range"}
"""Request lines that a guarded call changes: ours are removed, a coding we cannot read is not asked for, and a part of a
response cannot be screened."""

_READABLE_CODINGS: Final = frozenset({b"gzip", b"deflate", b"identity"})
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


def is_stream(content_type: bytes | None) -> bool:
    """Tell whether a response is a stream of events, which ends when its sender likes."""
    return content_type is not None and content_type.lower().startswith(b"text/event-stream")


def request_lines(exchange: Exchange) -> Sequence[Header] | None:
    """Return the request's lines for the upstream, or None when they go as they are."""
    head = exchange.head
    if _EDITED.isdisjoint(head.names):
        return None
    lines: list[Header] = []
    for name, line in zip(head.names, head.headers, strict=True):
        if name == b"accept-encoding":
            lines.append((line[0], _readable(line[1])))
        elif name not in _EDITED:
            lines.append(line)
    return lines


def _rows(decision: Decision) -> bytes:
    counts = np.bincount(decision.outcomes, minlength=len(Outcome)).tolist()
    return b", ".join(b"%s=%d" % (_OUTCOMES[Outcome(code)], rows) for code, rows in enumerate(counts) if rows)


@lru_cache(maxsize=256)
def _readable(accepted: bytes) -> bytes:
    """Leave only the codings that the guard can undo."""
    wanted = [part.strip() for part in accepted.split(b",")]
    kept = [part for part in wanted if part.partition(b";")[0].strip().lower() in _READABLE_CODINGS]
    return b", ".join(kept) or b"identity"
