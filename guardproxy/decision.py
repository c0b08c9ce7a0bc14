"""What a guard can find and decide, as types.

Decides the vocabulary and its order: which action outranks which, which outcome is the strongest. How verdicts are
reached is left to `rules`, how they become a decision to `guard`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from guardproxy.table import Cell, Codes


class Phase(StrEnum):
    """When a rule looks."""

    REQUEST = "request"
    RESPONSE = "response"


class Mode(StrEnum):
    """Whether a rule's verdict is acted on."""

    OFF = "off"
    SHADOW = "shadow"
    CANARY = "canary"
    ENFORCE = "enforce"


class Verdict(IntEnum):
    """What one rule found on one row."""

    OK = 0
    VIOLATED = 1
    UNKNOWN = 2
    ERROR = 3
    SKIPPED = 4


class Scope(StrEnum):
    """What one verdict of a rule is about: a row, all rows of an exchange together, or a stretch of time."""

    ROW = "row"
    BATCH = "batch"
    WINDOW = "window"


class Action(IntEnum):
    """What a rule asks for its violating rows, weakest first. `SCORE` only adds points; their sum may hold or reject."""

    SCORE = 0
    WARN = 1
    CLAMP = 2
    FALLBACK = 3
    HOLD = 4
    REJECT = 5


class Outcome(IntEnum):
    """What finally happened to a row, weakest first. `UNGUARDED` is never `ALLOWED`."""

    ALLOWED = 0
    WARNED = 1
    CLAMPED = 2
    REPLACED = 3
    HELD = 4
    REJECTED = 5
    UNGUARDED = 6


class Severity(IntEnum):
    """How bad a violation is, in its owner's judgement."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class FailureMode(StrEnum):
    """What a route does when guardproxy itself cannot decide."""

    OPEN = "open"
    CLOSED = "closed"


class Reason(StrEnum):
    """Why an exchange is unguarded or refused."""

    UNDECODABLE = "undecodable"
    UNALIGNED = "unaligned"
    OPAQUE = "opaque"
    STREAMED = "streamed"
    OVERSIZE = "oversize"
    FAULT = "fault"


_NO_REASONS: Final[Mapping[Reason, FailureMode]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """What a route does for each reason for which guardproxy cannot decide; `default` where `by_reason` names none."""

    default: FailureMode
    by_reason: Mapping[Reason, FailureMode] = field(default_factory=lambda: _NO_REASONS)

    def of(self, reason: Reason) -> FailureMode:
        """Return the mode for one reason."""
        return self.by_reason.get(reason, self.default)

    def __str__(self) -> str:
        words = [self.default.value, *(f"{reason} {mode}" for reason, mode in self.by_reason.items())]
        return ", ".join(words)


class Meanwhile(StrEnum):
    """What a client gets while its row is held."""

    FALLBACK = "fallback"
    ORIGINAL = "original"
    WITHHOLD = "withhold"


class OnExpiry(StrEnum):
    """Which answer becomes final when nobody decides in time."""

    FALLBACK = "fallback"
    ORIGINAL = "original"
    REJECT = "reject"


class RequestFacts(NamedTuple):
    """What rules may know of a request beside its rows.

    `at` is Unix seconds; `hour` 0-23 and `weekday` 0 (Monday) to 6 and `date` (YYYY-MM-DD) are UTC.
    """

    at: float
    hour: int
    weekday: int
    date: str
    caller: str | None = None
    model_version: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's verdict on one row, with its evidence: what was measured, the bound, where the bound came from.

    `acts` is true when the verdict counts as a violation and the rule is enforced here: its mode is `enforce`, or
    `canary` and the draw fell on this exchange. `demoted` is true where the breaker has turned its action into a
    warning. `rev` is the rule's revision.
    """

    rule: str
    row: int
    verdict: Verdict
    mode: Mode
    action: Action
    severity: Severity
    message: str
    measured: tuple[tuple[str, Cell], ...] = ()
    bound: str = ""
    bound_source: str = ""
    acts: bool = False
    rev: str = ""
    demoted: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A substitute prediction that a fallback proposed.

    `values` is empty when the fallback had nothing to offer; `refused_by` names the enforced rules it would violate.
    """

    source: str
    values: Mapping[str, Cell]
    refused_by: tuple[str, ...] = ()
    note: str = ""

    @property
    def usable(self) -> bool:
        """True when there is a value and no enforced rule speaks against it."""
        return bool(self.values) and not self.refused_by


@dataclass(frozen=True, slots=True)
class Replacement:
    """The predictions put in place of one row's own. `source` says which fallback gave them, or `clamp`."""

    row: int
    values: Mapping[str, Cell]
    source: str


@dataclass(frozen=True, slots=True)
class HeldRow:
    """All that a reviewer needs of one row that is kept for review. Durations are in seconds."""

    row: int
    rule: str
    queue: str
    severity: Severity
    meanwhile: Meanwhile
    on_expiry: OnExpiry
    sla_s: float
    features: Mapping[str, Cell]
    original: Mapping[str, Cell]
    provisional: Mapping[str, Cell]
    provisional_source: str
    candidates: tuple[Candidate, ...]
    findings: tuple[Finding, ...]
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The whole answer for an exchange.

    `outcomes` has one `Outcome` code per row (uint8); `verdicts` one `Verdict` code per rule of `rules` and row, shape
    (rules, rows). `findings` explains the first of the verdicts that are neither ok nor skipped. `patch` is what the codec must write into the response, `held`
    the rows that must be stored before the reply (`held_dropped` more could not even be tried), `withheld` and `rejected` the rows for which no answer may be given.
    """

    model: str
    ruleset: str
    rows: int
    outcomes: Codes
    rules: tuple[str, ...]
    verdicts: Codes
    findings: tuple[Finding, ...] = ()
    findings_dropped: int = 0
    patch: tuple[Replacement, ...] = ()
    held: tuple[HeldRow, ...] = ()
    held_dropped: int = 0
    withheld: tuple[int, ...] = ()
    rejected: tuple[int, ...] = ()
    reason: Reason | None = None
    outcome: Outcome = field(init=False)
    """The strongest outcome of any row; `UNGUARDED` when there is none."""

    def __post_init__(self) -> None:
        """Find the strongest outcome once: it is asked for by headers, metrics and the journal."""
        strongest = Outcome(int(self.outcomes.max())) if len(self.outcomes) else Outcome.UNGUARDED
        object.__setattr__(self, "outcome", strongest)
