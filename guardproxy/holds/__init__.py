"""Held predictions: what a hold is and which way it may go.

Decides the hold as a value, its state machine as one table, and its versioned document. Where holds are kept is left to
`stores`, who may decide to `admin`, when the timers run to `proxy`.
"""

from guardproxy.holds.document import from_json, plain_cells, to_json
from guardproxy.holds.hold import NO_ANSWER, ORIGINAL, OVERRIDE, Band, Hold, State, hold_from
from guardproxy.holds.machine import (
    TRANSITIONS,
    Approve,
    Commit,
    Entry,
    Event,
    EventKind,
    Expire,
    Override,
    OverrideError,
    Reject,
    Transition,
    Undo,
    entry_created,
    entry_for,
    settle,
)

__all__ = [
    "NO_ANSWER",
    "ORIGINAL",
    "OVERRIDE",
    "TRANSITIONS",
    "Approve",
    "Band",
    "Commit",
    "Entry",
    "Event",
    "EventKind",
    "Expire",
    "Hold",
    "Override",
    "OverrideError",
    "Reject",
    "State",
    "Transition",
    "Undo",
    "entry_created",
    "entry_for",
    "from_json",
    "hold_from",
    "plain_cells",
    "settle",
    "to_json",
]
