"""The state machine of a hold, as one literal table.

Decides which event is legal in which state and which answer becomes final. The table is the whole truth: what is not in
it is a conflict. Who sends the events, and that only one of two rivals gets through, is left to `stores` and `admin`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Final, TypeAlias

from guardproxy.decision import OnExpiry
from guardproxy.errors import ConflictError, Fault, GuardproxyError
from guardproxy.holds.hold import NO_ANSWER, ORIGINAL, OVERRIDE, Hold, State
from guardproxy.table import Cell

MAX_TEXT: Final = 10_000
"""Longest text that an override may put in place of a text prediction, in characters."""

POLICY: Final = "policy"
"""The name under which timers act."""


class OverrideError(GuardproxyError):
    """The values of an override cannot stand in for this row's predictions; `problems` has one sentence each."""

    fault = Fault.CLIENT
    status = 422

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


class EventKind(StrEnum):
    """The word for an event, as it stands in the history."""

    APPROVE = "approve"
    OVERRIDE = "override"
    REJECT = "reject"
    UNDO = "undo"
    COMMIT = "commit"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True)
class Approve:
    """A person lets the model's own answer stand."""

    kind: ClassVar[EventKind] = EventKind.APPROVE
    by: str
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Override:
    """A person gives the answer. Predictions that `values` leaves out keep the model's own value."""

    kind: ClassVar[EventKind] = EventKind.OVERRIDE
    by: str
    values: Mapping[str, Cell] = field(default_factory=dict)
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """A person refuses the model's answer; the fallback stands, or there is no answer."""

    kind: ClassVar[EventKind] = EventKind.REJECT
    by: str
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Undo:
    """The person who decided takes it back."""

    kind: ClassVar[EventKind] = EventKind.UNDO
    by: str
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """A timer: the undo window is over."""

    kind: ClassVar[EventKind] = EventKind.COMMIT
    by: str = POLICY
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Expire:
    """A timer: nobody decided in time."""

    kind: ClassVar[EventKind] = EventKind.EXPIRE
    by: str = POLICY
    reason: str = ""
    note: str = ""


Event: TypeAlias = Approve | Override | Reject | Undo | Commit | Expire

Guard: TypeAlias = Callable[[Hold, Event, float], str | None]
"""Says why an event is refused now, or None."""

Effect: TypeAlias = Callable[[Hold, Event, float, float], Hold]
"""(hold, event, at, undo_s) -> the hold afterwards, its rev not yet raised."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a hold's history: who moved it from where to where, and when (Unix seconds)."""

    hold_id: str
    rev: int
    at: float
    kind: str
    by: str
    before: State | None
    after: State
    reason: str = ""
    note: str = ""


def settle(hold: Hold, event: Event, *, at: float, undo_s: float) -> Hold:
    """Return the hold after `event` at `at` (Unix seconds); a decision may be undone for `undo_s` seconds.

    With `undo_s` of zero a decision is in effect at once. Raises ConflictError with the reason when the table does
    not allow the event now, and OverrideError when an override's values cannot stand for these predictions.
    """
    transition = TRANSITIONS.get((hold.state, event.kind))
    if transition is None:
        raise ConflictError(_why_not(hold, event.kind))
    refusal = transition.guard(hold, event, at)
    if refusal is not None:
        raise ConflictError(refusal)
    return replace(transition.effect(hold, event, at, undo_s), rev=hold.rev + 1)


def entry_for(before: Hold, after: Hold, event: Event, *, at: float) -> Entry:
    """Return the history line of a change that `settle` made."""
    return Entry(
        after.id, after.rev, at, event.kind, event.by, before.state, after.state, event.reason, event.note
    )


def entry_created(hold: Hold) -> Entry:
    """Return the first line of a hold's history."""
    return Entry(hold.id, hold.rev, hold.created_at, "create", "guard", None, hold.state, hold.rule)


def _always(_hold: Hold, _event: Event, _at: float) -> str | None:
    return None


def _undoable(hold: Hold, event: Event, at: float) -> str | None:
    if event.by != hold.by:
        return f"only {hold.by}, who decided, can undo this"
    if hold.commit_at is None or at >= hold.commit_at:
        return "the time to undo is over; the decision is in effect"
    return None


def _undo_over(hold: Hold, _event: Event, at: float) -> str | None:
    if hold.commit_at is not None and at < hold.commit_at:
        return "the decision can still be undone"
    return None


def _past_expiry(hold: Hold, _event: Event, at: float) -> str | None:
    return "it has not expired yet" if at < hold.expires_at else None


def _approve(hold: Hold, event: Event, at: float, undo_s: float) -> Hold:
    return _decide(hold, event, at, undo_s, State.APPROVED, hold.original, ORIGINAL)


def _override(hold: Hold, event: Event, at: float, undo_s: float) -> Hold:
    values = event.values if isinstance(event, Override) else {}
    problems = _problems(hold, values)
    if problems:
        raise OverrideError(problems)
    return _decide(hold, event, at, undo_s, State.OVERRIDDEN, {**hold.original, **values}, OVERRIDE)


def _reject(hold: Hold, event: Event, at: float, undo_s: float) -> Hold:
    values, source = hold.fallback
    return _decide(hold, event, at, undo_s, State.REJECTED, values, source)


def _decide(
    hold: Hold,
    event: Event,
    at: float,
    undo_s: float,
    resolution: State,
    final: Mapping[str, Cell] | None,
    source: str,
) -> Hold:
    waits = undo_s > 0
    return replace(
        hold,
        state=State.DECIDING if waits else resolution,
        resolution=resolution,
        final=final,
        final_source=source,
        by=event.by,
        reason=event.reason,
        note=event.note,
        decided_at=at,
        commit_at=at + undo_s if waits else None,
    )


def _undo(hold: Hold, _event: Event, _at: float, _undo_s: float) -> Hold:
    return replace(
        hold,
        state=State.OPEN,
        resolution=None,
        final=None,
        final_source="",
        by="",
        reason="",
        note="",
        decided_at=None,
        commit_at=None,
    )


def _commit(hold: Hold, _event: Event, _at: float, _undo_s: float) -> Hold:
    if hold.resolution is None:
        raise ConflictError("it is marked as deciding but carries no decision")
    return replace(hold, state=hold.resolution, commit_at=None)


def _expire(hold: Hold, event: Event, at: float, _undo_s: float) -> Hold:
    final, source = _ON_EXPIRY[hold.on_expiry](hold)
    return replace(
        hold,
        state=State.EXPIRED,
        resolution=State.EXPIRED,
        final=final,
        final_source=source,
        by=event.by,
        decided_at=at,
    )


@dataclass(frozen=True, slots=True)
class Transition:
    """One line of the table: what must hold now, and what the hold becomes."""

    effect: Effect
    guard: Guard = _always


TRANSITIONS: Final[Mapping[tuple[State, EventKind], Transition]] = MappingProxyType(
    {
        # A decision on a hold past its expiry still counts if it comes before the timer: the store lets one through.
        (State.OPEN, EventKind.APPROVE): Transition(_approve),
        (State.OPEN, EventKind.OVERRIDE): Transition(_override),
        (State.OPEN, EventKind.REJECT): Transition(_reject),
        (State.OPEN, EventKind.EXPIRE): Transition(_expire, _past_expiry),
        (State.DECIDING, EventKind.UNDO): Transition(_undo, _undoable),
        (State.DECIDING, EventKind.COMMIT): Transition(_commit, _undo_over),
    }
)

_ON_EXPIRY: Final[Mapping[OnExpiry, Callable[[Hold], tuple[Mapping[str, Cell] | None, str]]]] = (
    MappingProxyType(
        {
            OnExpiry.FALLBACK: lambda hold: hold.fallback,
            OnExpiry.ORIGINAL: lambda hold: (hold.original, ORIGINAL),
            OnExpiry.REJECT: lambda _hold: (None, NO_ANSWER),
        }
    )
)


def _why_not(hold: Hold, kind: EventKind) -> str:
    if hold.state is State.OPEN:
        return f"it is open; there is nothing to {kind}"
    if hold.state is State.EXPIRED:
        return "it expired before a decision came; the policy's answer is final"
    decided = f"already decided: {hold.resolution or hold.state} by {hold.by}"
    if hold.state is State.DECIDING:
        return f"{decided}, and not undone"
    return f"{decided}, and final"


def _problems(hold: Hold, values: Mapping[str, Cell]) -> tuple[str, ...]:
    if not values:
        return ("an override needs at least one value",)
    known = ", ".join(hold.original)
    found: list[str] = []
    for name, value in values.items():
        if name not in hold.original:
            found.append(f"{name!r} is not a prediction of this model (it has {known}).")
            continue
        problem = _mismatch(hold.original[name], value)
        if problem:
            found.append(f"{name}: {problem}.")
    return tuple(found)


def _mismatch(original: Cell, value: Cell) -> str | None:
    """Say why `value` cannot stand where `original` stood."""
    if isinstance(original, bool):
        return None if isinstance(value, bool) else "true or false is expected"
    if isinstance(original, str):
        if not isinstance(value, str):
            return "text is expected"
        return None if len(value) <= MAX_TEXT else f"text may have at most {MAX_TEXT} characters"
    if isinstance(original, tuple):
        if not isinstance(value, tuple) or len(value) != len(original):
            return f"a list of {len(original)} numbers is expected"
        return None if all(_finite(item) for item in value) else "every number in the list must be finite"
    return None if _finite(value) else "a finite number is expected"


def _finite(value: Cell) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float64 can say
        return False
