"""Screen a request, then its response: bytes in, a decision out.

Decides nothing of its own: decodes, judges, and hands rows with anything but ok to `resolve`. Raises `DecodeError` when
a body cannot be read as rows; whether that opens or closes the route is left to the caller.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from guardproxy.decision import Action, Decision, Outcome, Phase, RequestFacts, Verdict
from guardproxy.guard.fallbacks import NO_MISFITS, Misfits
from guardproxy.guard.guard import Guard, NoPast, Past
from guardproxy.guard.resolve import Judged, find, judged_of, loud_of, resolve
from guardproxy.message import Message
from guardproxy.rules import BoundRules, View
from guardproxy.rules.plan import QUIET_BYTES
from guardproxy.table import Cell, Codes, Floats, Table

MAX_QUIET: Final = 1_024
"""Patterns of ok and skipped verdicts whose decision is kept; there are as many as `when` can make."""

_UNKNOWN_BYTE: Final = bytes((Verdict.UNKNOWN,))
_NOTHING: Final[frozenset[str]] = frozenset()
_NO_CELLS: Final[Mapping[str, Cell]] = MappingProxyType({})

Verdicts: TypeAlias = Codes | bytes
"""The verdicts of one phase: codes of shape (rules, rows), or for one row a byte per rule."""


class Screening(NamedTuple):
    """What is known of an exchange after its request: the rows, the request-phase verdicts, and a refusal if any.

    The rest is kept so that the response is judged under the same conditions; see `View`.
    """

    table: Table
    facts: RequestFacts
    past: Past
    verdicts: Verdicts
    refusal: Decision | None
    identity: bytes = b""
    demoted: frozenset[str] = _NOTHING
    recent: Mapping[str, Cell] = _NO_CELLS
    times: Floats | None = None


class Screened(NamedTuple):
    """A decision with the predictions it is about."""

    decision: Decision
    predictions: Table


def screen_request(
    guard: Guard,
    message: Message,
    facts: RequestFacts,
    past: Past | None = None,
    demoted: frozenset[str] = _NOTHING,
    recent: Mapping[str, Cell] = _NO_CELLS,
) -> Screening:
    """Decode a request and judge its rows. `refusal` is set when an enforced rule rejects one of them.

    Canaries draw from what the message says of its identity, else from its body. `demoted` names the rules that may
    only warn, `recent` holds what rolling functions give, by their spelling.
    """
    past = NoPast() if past is None else past
    table = guard.codec.decode_request(message)
    identity = message.identity or message.body
    times = guard.times_of(table, facts.at)
    rows_past, previous = guard.past_of(table, past, facts.at, times), Previous(table, past, facts.at, times)
    view = View(table, None, facts, previous, identity, demoted, recent, rows_past, times)
    verdicts, refusal = judge_request(guard, view)
    return Screening(table, facts, past, verdicts, refusal, identity, demoted, recent, times)


def screen_response(guard: Guard, screening: Screening, message: Message) -> Screened:
    """Decode a response beside its request's rows, judge both, and decide about every row."""
    predictions = guard.codec.decode_response(message, screening.table.rows)
    return Screened(judge_screened(guard, screening, predictions), predictions)


def judge_screened(
    guard: Guard, screening: Screening, predictions: Table, misfits: Misfits = NO_MISFITS
) -> Decision:
    """Judge predictions beside the rows of a screened request; see `judge_response`."""
    table = screening.table
    view = View(
        table,
        predictions,
        screening.facts,
        Previous(table, screening.past, screening.facts.at, screening.times),
        screening.identity,
        screening.demoted,
        screening.recent,
        guard.past_of(table, screening.past, screening.facts.at, screening.times),
        screening.times,
    )
    return judge_response(guard, view, screening.verdicts, misfits)


def judge_request(guard: Guard, view: View) -> tuple[Verdicts, Decision | None]:
    """Judge the request-phase rules; the decision is given when one of them rejects a row."""
    features = view.features
    bound = guard.bind(features.fields, ())
    verdicts: Verdicts
    if features.rows == 1:
        verdicts = bound.judge_one(Phase.REQUEST, view)
        rest = verdicts.translate(None, QUIET_BYTES)
        if not rest or (bound.warming and _only_warming(bound, verdicts, rest, view)):
            return verdicts, None
    else:
        verdicts = bound.judge(Phase.REQUEST, view)
        if is_quiet(bound, verdicts, view):
            return verdicts, None
    judged = judged_of(bound, bound.rules_of(Phase.REQUEST), codes_of(verdicts), view)
    return verdicts, _refusal(guard, judged)


def judge_response(
    guard: Guard, view: View, request_verdicts: Verdicts, misfits: Misfits = NO_MISFITS
) -> Decision:
    """Judge the response-phase rules and resolve them together with the request's verdicts.

    `misfits` are replacements that turned out not to fit into the response: others are sought in their place.
    """
    features, predictions = view.features, view.output
    if predictions is None:
        raise ValueError("a response is judged by its predictions")
    bound = guard.bind(features.fields, predictions.fields)
    if features.rows == 1 and type(request_verdicts) is bytes:
        # A quiet single row is the commonest exchange: every one with the same verdicts has the same decision.
        one = request_verdicts + bound.judge_one(Phase.RESPONSE, view)
        rest = one.translate(None, QUIET_BYTES)
        if not rest or (bound.warming and _only_warming(bound, one, rest, view)):
            return guard.quiet.get(one) or _remembered(guard, bound.rule_ids, one)
        both = codes_of(one)
    else:
        verdicts = bound.judge(Phase.RESPONSE, view)
        both = np.concatenate((codes_of(request_verdicts), verdicts))
        if is_quiet(bound, both, view):
            return _all_allowed(guard, bound.rule_ids, both, features.rows)
    rules = bound.rules_of(Phase.REQUEST) + bound.rules_of(Phase.RESPONSE)
    return resolve(guard, judged_of(bound, rules, both, view, misfits))


def codes_of(verdicts: Verdicts) -> Codes:
    """Return verdicts as codes of shape (rules, rows)."""
    return np.frombuffer(verdicts, dtype=np.uint8).reshape(-1, 1) if isinstance(verdicts, bytes) else verdicts


def is_quiet(bound: BoundRules, verdicts: Codes, view: View) -> bool:
    """Tell whether every verdict is ok or skipped, but for rules that wait for rolling functions."""
    return not loud_of(bound, verdicts, view).any()


def _only_warming(bound: BoundRules, verdicts: bytes, rest: bytes, view: View) -> bool:
    """Tell whether the verdicts on one row that are not quiet, `rest`, are all of rules that wait for rolling functions.

    Such a row is allowed without a finding: what there is to say is the same for every exchange.
    """
    if rest.strip(_UNKNOWN_BYTE):
        return False
    waiting = sum(
        place < len(verdicts) and verdicts[place] == Verdict.UNKNOWN and bound.warms(place, view)
        for place, _ in bound.warming
    )
    return waiting == len(rest)


def _refusal(guard: Guard, judged: Judged) -> Decision | None:
    rejects = np.array([rule.action is Action.REJECT for rule in judged.rules], dtype=np.bool_)
    rejected = judged.acts[rejects].any(axis=0)
    if not rejected.any():
        return None
    rows = judged.view.features.rows
    outcomes = np.where(rejected, np.uint8(Outcome.REJECTED), np.uint8(Outcome.ALLOWED))
    findings, dropped = find(judged)
    return Decision(
        model=guard.model,
        ruleset=guard.ruleset.fingerprint,
        rows=rows,
        outcomes=outcomes,
        rules=tuple(rule.id for rule in judged.rules),
        verdicts=judged.verdicts,
        findings=findings,
        findings_dropped=dropped,
        rejected=tuple(np.flatnonzero(rejected).tolist()),
    )


def _all_allowed(guard: Guard, rules: tuple[str, ...], verdicts: Codes, rows: int) -> Decision:
    return Decision(
        guard.model, guard.ruleset.fingerprint, rows, np.zeros(rows, dtype=np.uint8), rules, verdicts
    )


def _remembered(guard: Guard, rules: tuple[str, ...], verdicts: bytes) -> Decision:
    if len(guard.quiet) >= MAX_QUIET:
        guard.quiet.clear()
    decision = _all_allowed(guard, rules, codes_of(verdicts), 1)
    guard.quiet[verdicts] = decision
    return decision


class Previous:
    """Looks an entity's last good predictions up once per row and key, as of a moment or of the rows' own."""

    __slots__ = ("_at", "_past", "_seen", "_table", "_times")

    def __init__(self, table: Table, past: Past, at: float, times: Floats | None) -> None:
        self._table = table
        self._past = past
        self._at = at
        self._times = times
        self._seen: dict[tuple[tuple[str, ...], int], Mapping[str, Cell] | None] = {}

    def __call__(self, by: tuple[str, ...], row: int) -> Mapping[str, Cell] | None:
        key = (by, row)
        if key not in self._seen:
            entity = tuple(self._table.cell(name, row) for name in by)
            # An entity with a missing part is nobody: its past would be somebody else's.
            known = bool(by) and None not in entity
            at = self._at if self._times is None else float(self._times[row])
            self._seen[key] = self._past.previous(by, entity, at) if known else None
        return self._seen[key]
