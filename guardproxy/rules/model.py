"""What a rule file says, as values.

Decides what a rule, a fallback, a hold and a test case are. How files become these is left to `load`, how they are
judged to `bound`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from guardproxy.decision import (
    Action,
    Meanwhile,
    Mode,
    OnExpiry,
    Outcome,
    Phase,
    RequestFacts,
    Scope,
    Severity,
    Verdict,
)
from guardproxy.rules.past import EntityPast
from guardproxy.table import Cell, Floats, Table

DEFAULT_SLA_S: Final = 4 * 3600.0
DEFAULT_QUEUE: Final = "default"
FINITE_RULE: Final = "predictions-finite"
INSIDE_RULE: Final = "inside-profile"
MAX_RULES: Final = 1_000
MAX_RECENTS: Final = 64
"""Rolling functions of one model; a rule file with more is refused."""
SCORE_HOLD: Final = "score-hold"
SCORE_REJECT: Final = "score-reject"
KPI_RULE: Final = "kpi-"
"""A KPI named `margin` has the default shadow rule `kpi-margin`."""

_NO_TEXTS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_CELLS: Final[Mapping[str, Cell]] = MappingProxyType({})
_NO_ANSWERS: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType({})
_NO_LISTS: Final[Mapping[str, frozenset[Cell]]] = MappingProxyType({})
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Locus:
    """Where something stands in a file: line and column from 1. An implicit rule has the file `(built in)`."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


BUILT_IN: Final = Locus("(built in)")


@dataclass(frozen=True, slots=True)
class Field:
    """A column that a check names: `space` is `features` or `output`."""

    space: str
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Check:
    """What a rule demands.

    `kind` is the check's key. `wants` is the verdict expression, with `sense` the answer that is ok (None where the
    check is not an expression). `low` and `high` are the expressions of the nearest allowed values, where there are
    any. `terms` are the single demands that make up `wants`, each with the words that say what breaking it means.
    """

    kind: str
    fields: tuple[Field, ...] = ()
    wants: str = ""
    sense: bool = True
    low: str = ""
    high: str = ""
    terms: tuple[tuple[str, str], ...] = ()
    bound: str = ""
    by: tuple[str, ...] = ()
    every: str = ""
    total: float = 1.0
    tolerance: float = 0.0
    outside: tuple[float, float] | None = None
    at_least: int = 1
    share: float = 0.0
    """`missing_share`: the largest share that may be missing."""
    least_top: float = 0.0
    least_margin: float = 0.0
    """`confidence`: what the largest member, and its distance to the second, must reach."""
    text: "TextCheck | None" = None
    schema: str = ""
    """`json_schema`: the schema as canonical JSON."""
    false_alarms: float = 0.0
    """`unusual`: the share of ordinary answers that may be called unusual."""


@dataclass(frozen=True, slots=True)
class TextCheck:
    """What a text must be: lengths in characters, literals and RE2 patterns that it must (not) hold, personal data.

    `lists` names the lists that the literals came from, for people; the literals themselves stand beside. `pii` is of
    `card`, `email`, `iban`, `phone`.
    """

    must_contain: tuple[str, ...] = ()
    must_not_contain: tuple[str, ...] = ()
    must_match: str = ""
    must_not_match: str = ""
    whole_words: bool = False
    case_sensitive: bool = False
    min_chars: int = 0
    max_chars: int | None = None
    pii: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unless:
    """A named exception: rows that `when` picks are not judged until the end of the day `until` (YYYY-MM-DD, UTC)."""

    id: str
    when: str
    until: str
    owner: str
    why: str
    place: Locus = BUILT_IN


@dataclass(frozen=True, slots=True)
class Kpi:
    """A number that an expert follows. `low` and `high` are what it is expected to stay within, None where open."""

    name: str
    expr: str
    title: str = ""
    unit: str = ""
    owner: str = ""
    low: float | None = None
    high: float | None = None
    place: Locus = BUILT_IN


@dataclass(frozen=True, slots=True)
class Limit:
    """What the breaker allows: at most `share` (0 to 1) of the rows of the last `window_s` seconds may meet `action`.

    `place` is `BUILT_IN` for the limit that every rule has without asking for it.
    """

    action: Action
    share: float
    window_s: float
    place: Locus = BUILT_IN


DEFAULT_LIMIT: Final = Limit(Action.HOLD, 0.10, 300.0)
LIMIT_MIN_ROWS: Final = 200
"""A limit judges nothing before its window holds this many rows."""


@dataclass(frozen=True, slots=True)
class FallbackSpec:
    """One link of a fallback chain: `previous`, one of `past.REMEMBERED`, `profile` (with its `stat`), `expr` or `value`.

    What is remembered of an entity may be `max_age_s` old, None for as old as it is remembered. `exprs` and `values` are by output; the key `""` stands for a model's only output.
    """

    kind: str
    label: str
    stat: str = ""
    exprs: Mapping[str, str] = field(default_factory=lambda: _NO_TEXTS)
    values: Mapping[str, Cell] = field(default_factory=lambda: _NO_CELLS)
    max_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class HoldSpec:
    """How a row is kept for review: `sla_s` in seconds; `value` is the expression of what is at stake."""

    queue: str = DEFAULT_QUEUE
    sla_s: float = DEFAULT_SLA_S
    meanwhile: Meanwhile = Meanwhile.ORIGINAL
    on_expiry: OnExpiry = OnExpiry.ORIGINAL
    value: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule with its defaults filled in.

    `counts` are the verdicts that count as a violation. `canary` is the share of exchanges in which a rule of mode
    `canary` acts. `for_s` is how long a rule of scope `window` must be violated. `points` are what a rule of action
    `score` adds; for the two built-in score rules, `check.kind` is `score` and `points` the sum at which they fire.
    `uses` names the lists and KPIs that the rule reads, each with a digest of what it holds: a rule whose list changes
    is another rule.
    """

    id: str
    check: Check
    phase: Phase
    reads_output: bool
    when: str = ""
    title: str = ""
    message: str = ""
    why: str = ""
    owner: str = ""
    runbook: str = ""
    tags: tuple[str, ...] = ()
    severity: Severity = Severity.MEDIUM
    mode: Mode = Mode.ENFORCE
    action: Action = Action.WARN
    fallback: tuple[FallbackSpec, ...] = ()
    hold: HoldSpec = field(default_factory=HoldSpec)
    counts: frozenset[Verdict] = frozenset({Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.ERROR})
    place: Locus = BUILT_IN
    scope: Scope = Scope.ROW
    for_s: float = 0.0
    unless: tuple[Unless, ...] = ()
    canary: float = 1.0
    points: float = 0.0
    limits: tuple[Limit, ...] = ()
    uses: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        """The check's key, such as `range`."""
        return self.check.kind

    @property
    def built_in(self) -> bool:
        """True for the rules that every model has without asking for them."""
        return self.place == BUILT_IN

    @property
    def rev(self) -> str:
        """A hash of the rule alone: moving it to another file or editing a comment does not change it."""
        return _digest(canonical(self))

    @property
    def enforced(self) -> bool:
        """True where the rule acts at all: in every exchange, or as a canary in some."""
        return self.mode in (Mode.ENFORCE, Mode.CANARY)

    def acts_on(self, verdict: Verdict) -> bool:
        """Tell whether the rule is enforced (at least as a canary) and this verdict counts as a violation."""
        return self.enforced and verdict in self.counts


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One given row. `output` is None where the case has none; `previous` is the entity's last good answer, `history` its
    last answers by output, the oldest first."""

    features: Mapping[str, Cell]
    output: Mapping[str, Cell] | None = None
    previous: Mapping[str, Cell] | None = None
    history: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: _NO_ANSWERS)


@dataclass(frozen=True, slots=True)
class Given:
    """What a case starts from. `stats` overrides profile statistics, by `(field, stat)`; `request` its facts by name;
    `recent` what rolling functions give, by the call as `Ref("recent", ...)` spells it.
    """

    rows: tuple[CaseRow, ...]
    stats: Mapping[tuple[str, str], float]
    request: Mapping[str, Cell]
    recent: Mapping[str, Cell] = field(default_factory=lambda: _NO_CELLS)


@dataclass(frozen=True, slots=True)
class Expected:
    """What one row must come to; `value` holds the predictions served, None where the case does not say."""

    verdicts: Mapping[str, Verdict]
    outcome: Outcome | None = None
    value: Mapping[str, Cell] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a rule file: `expect` has one entry per given row."""

    name: str
    place: Locus
    given: Given
    expect: tuple[Expected, ...]


class View(NamedTuple):
    """What rules look at: the rows, what is known of the request, and the past.

    `previous(by, row)` gives the last good predictions of the row's entity, named by the fields `by`; None when there
    are none, and always when `by` is empty. `identity` is what canaries draw from. `demoted` names the rules whose
    action the breaker has turned into a warning. `recent` holds what rolling functions give, by their spelling; what is
    not in it is still warming up. `past` is what else is remembered of the rows' entities, None where nothing is. `times` says when each row
    happened (Unix seconds), None where all of them did when the facts say.

    The rest is worked out from the others by the rules, once somebody asks: `batch` is what `batch_*` give over these
    rows, by their spelling, `drawn` the canaries that act in this exchange. None: not worked out yet.
    """

    features: Table
    output: Table | None
    facts: RequestFacts
    previous: Callable[[tuple[str, ...], int], Mapping[str, Cell] | None]
    identity: bytes = b""
    demoted: frozenset[str] = frozenset()
    recent: Mapping[str, Cell] = _NO_CELLS
    past: EntityPast | None = None
    times: Floats | None = None
    batch: Mapping[str, Cell] | None = None
    drawn: frozenset[str] | None = None


def canonical(rule: Rule) -> dict[str, Any]:
    """Return all that makes a rule behave as it does, in a form that JSON can say."""
    names = [name for name in Rule.__dataclass_fields__ if name != "place"]
    return {name: _plain(getattr(rule, name)) for name in names}


def revisions(rules: tuple[Rule, ...]) -> dict[str, str]:
    """Return the revision of each rule, by its id."""
    return {rule.id: rule.rev for rule in rules}


def fingerprint(
    model: str,
    revs: Mapping[str, str],
    kpis: tuple[Kpi, ...] = (),
    limits: tuple[Limit, ...] = (),
    lists: Mapping[str, frozenset[Cell]] = _NO_LISTS,
) -> str:
    """Return 12 hex digits for what rules of these revisions do: comments, tests, places and order do not matter.

    KPIs, with the lists that they name, and the model's own limits count as well where there are any: what is charted
    and demoted changes with them. The lists that rules read are in the rules' revisions.
    """
    whole: dict[str, object] = {"model": model, "rules": dict(revs)}
    written = [_plain(limit) for limit in limits if limit.place != BUILT_IN]
    if kpis:
        whole["kpis"] = sorted((_plain(kpi) for kpi in kpis), key=lambda said: str(said["name"]))
        words = {word for kpi in kpis for word in _WORD.findall(kpi.expr)}
        read = {name: sorted(map(repr, values)) for name, values in lists.items() if name in words}
        if read:
            whole["lists"] = read
    if written:
        whole["limits"] = sorted(written, key=str)
    return _digest(whole)


def _digest(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if isinstance(value, (frozenset, set)):
        return sorted(_plain(item) for item in value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__ if name != "place"}
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
