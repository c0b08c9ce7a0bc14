"""The hold: one row kept for a person, with all that the person needs to decide.

Decides what is remembered and which answer is the fallback. How it changes is left to `machine`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from guardproxy.decision import Candidate, Finding, HeldRow, Meanwhile, OnExpiry, Severity
from guardproxy.table import Cell

ORIGINAL: Final = "original"
"""The `final_source` of the model's own answer."""

OVERRIDE: Final = "override"
"""The `final_source` of values that a person gave."""

NO_ANSWER: Final = "none"
"""The `final_source` when the row has no answer: `final` is None for good."""


class State(StrEnum):
    """Where a hold stands. `DECIDING` is decided but may still be undone; the last four never change."""

    OPEN = "open"
    DECIDING = "deciding"
    APPROVED = "approved"
    OVERRIDDEN = "overridden"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """True when nothing can change any more."""
        return self not in (State.OPEN, State.DECIDING)


@dataclass(frozen=True, slots=True)
class Band:
    """The learned range of one field beside the value that it had in this row, for a number line.

    `lo` and `hi` are the learned bounds, `p1`, `p50` and `p99` percentiles of the reference data; None where the
    profile does not know them. `value` is None when it was missing or is no number.
    """

    field: str
    value: float | None
    lo: float | None = None
    hi: float | None = None
    p1: float | None = None
    p50: float | None = None
    p99: float | None = None
    unit: str | None = None

    @property
    def outside(self) -> bool:
        """True when the value lies beyond a learned bound (NaN does)."""
        if self.value is None:
            return False
        return not (
            (self.lo is None or self.value >= self.lo)
            and (self.hi is None or self.value <= self.hi)
            and self.value == self.value
        )


@dataclass(frozen=True, slots=True)
class Hold:
    """One held row. Times are Unix seconds, `rev` starts at 1 and rises by one with every change.

    `resolution`, `final`, `final_source`, `by`, `reason`, `note` and `decided_at` say what was decided; they are in
    effect only once `state.terminal`, until then an undo may clear them. `final` is None while undecided and where
    the row gets no answer (`final_source` tells the two apart: empty, `none`).
    """

    id: str
    rev: int
    state: State
    model: str
    route: str
    decision_id: str
    row: int
    queue: str
    severity: Severity
    rule: str
    meanwhile: Meanwhile
    on_expiry: OnExpiry
    created_at: float
    expires_at: float
    features: Mapping[str, Cell]
    original: Mapping[str, Cell]
    provisional: Mapping[str, Cell]
    provisional_source: str
    candidates: tuple[Candidate, ...] = ()
    findings: tuple[Finding, ...] = ()
    bands: tuple[Band, ...] = ()
    value: float | None = None
    commit_at: float | None = None
    final: Mapping[str, Cell] | None = None
    final_source: str = ""
    resolution: State | None = None
    by: str = ""
    reason: str = ""
    note: str = ""
    decided_at: float | None = None

    @property
    def due_at(self) -> float | None:
        """When a timer must look at it: the expiry while open, the end of the undo window while deciding."""
        return {State.OPEN: self.expires_at, State.DECIDING: self.commit_at}.get(self.state)

    @property
    def fallback(self) -> tuple[Mapping[str, Cell] | None, str]:
        """What a rejection delivers, with its source: the provisional answer unless that is the model's own.

        Else the first candidate that no enforced rule refused (a withheld row, or one whose client has the original,
        has no provisional fallback but may well have candidates), else no answer.
        """
        if self.provisional and self.provisional_source != ORIGINAL and self.provisional != self.original:
            return self.provisional, self.provisional_source
        for candidate in self.candidates:
            if candidate.usable:
                return candidate.values, candidate.source
        return None, NO_ANSWER


def hold_from(
    held: HeldRow,
    *,
    id: str,
    model: str,
    route: str,
    decision_id: str,
    at: float,
    bands: tuple[Band, ...] = (),
) -> Hold:
    """Make the open hold of a held row; it expires `held.sla_s` seconds after `at`."""
    return Hold(
        id=id,
        rev=1,
        state=State.OPEN,
        model=model,
        route=route,
        decision_id=decision_id,
        row=held.row,
        queue=held.queue,
        severity=held.severity,
        rule=held.rule,
        meanwhile=held.meanwhile,
        on_expiry=held.on_expiry,
        created_at=at,
        expires_at=at + held.sla_s,
        features=dict(held.features),
        original=dict(held.original),
        provisional=dict(held.provisional),
        provisional_source=held.provisional_source,
        candidates=held.candidates,
        findings=held.findings,
        bands=bands,
        value=held.value,
    )
