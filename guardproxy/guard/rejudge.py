"""Judge recorded exchanges again: the same two functions as in front of a model server, many exchanges at a time.

Decides which exchanges may be judged side by side as one table, and which rules a record cannot answer for (what they
read was redacted, or was never recorded): those are switched off. What the verdicts are compared with is left to
`replay`.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import Mode, Outcome, Phase, RequestFacts, Scope, Verdict
from guardproxy.guard.guard import Guard
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.screen import codes_of, judge_request, judge_response
from guardproxy.profile.model import Profile
from guardproxy.rules import Rule, Ruleset, View, make_ruleset
from guardproxy.rules.language import Ref
from guardproxy.rules.model import FINITE_RULE
from guardproxy.rules.rollout import drawn
from guardproxy.rules.unusual import UNUSUAL
from guardproxy.table import Cell, Codes, Floats, Mask, Table, stack_tables

BATCH_ROWS: Final = 1_000
MAX_PENDING_ROWS: Final = 8_000
"""Rows that wait for more of their shape; beyond this the shape that has waited longest is judged as it is."""

MAX_SHAPES: Final = 64
"""Sets of redacted fields and recorded pasts for which a compiled ruleset is kept."""

UNANSWERED: Final = 255
"""The outcome code of a row whose model was never asked, where the ruleset would have asked it."""

Key = tuple[str, ...]

_QUIET: Final = (Verdict.OK, Verdict.SKIPPED)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Exchanges with the same fields and facts but for the instant, their rows side by side.

    `starts` holds the first row of each exchange and, last, the number of rows; `owners` and `weights` by row the
    exchange's position and how many exchanges it stands for, `times` when it happened.
    """

    exchanges: tuple[Recorded, ...]
    features: Table
    predictions: Table | None
    facts: RequestFacts
    starts: NDArray[np.intp]
    owners: NDArray[np.intp]
    weights: Floats
    times: Floats

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.features.rows

    def previous(self, by: Key, row: int) -> Mapping[str, Cell] | None:
        """Return what was recorded as the last good predictions of a row's entity."""
        owner = int(self.owners[row])
        past = self.exchanges[owner].previous.get(by)
        return None if past is None else past[row - int(self.starts[owner])]

    def place(self, row: int) -> tuple[Recorded, int]:
        """Return the exchange that a row belongs to, and the row's number in it."""
        owner = int(self.owners[row])
        return self.exchanges[owner], row - int(self.starts[owner])


@dataclass(frozen=True, slots=True, eq=False)
class Rejudged:
    """What a ruleset says of a batch: verdict codes of shape (rules, rows), and an outcome code or UNANSWERED by row.

    Response-phase verdicts of rows whose request was refused, or whose model was not asked, are `skipped`.
    """

    rules: tuple[Rule, ...]
    verdicts: Codes
    outcomes: Codes


def make_batch(exchanges: Sequence[Recorded]) -> Batch:
    """Put exchanges with the same field names and facts side by side."""
    rows = [one.features.rows for one in exchanges]
    answers = [one.predictions for one in exchanges if one.predictions is not None]
    return Batch(
        tuple(exchanges),
        stack_tables([one.features for one in exchanges]),
        stack_tables(answers) if len(answers) == len(exchanges) else None,
        exchanges[0].facts,
        np.concatenate(([0], np.cumsum(rows))).astype(np.intp),
        np.repeat(np.arange(len(exchanges), dtype=np.intp), rows),
        np.repeat(np.array([one.weight for one in exchanges], dtype=np.float64), rows),
        np.repeat(np.array([one.facts.at for one in exchanges], dtype=np.float64), rows),
    )


def batches(records: Iterable[Recorded], *, alone: bool = False) -> Iterator[Batch]:
    """Group exchanges of equal shape and facts, however they alternate; `alone` judges each by itself.

    Memory is bounded: at most MAX_PENDING_ROWS rows wait beside the batch that is being judged.
    """
    waiting: OrderedDict[tuple[object, ...], list[Recorded]] = OrderedDict()
    rows: dict[tuple[object, ...], int] = {}
    total = 0
    for record in records:
        own = record.features.rows
        if own == 0:
            continue
        if alone or own >= BATCH_ROWS:
            yield make_batch((record,))
            continue
        shape = _shape(record)
        waiting.setdefault(shape, []).append(record)
        rows[shape] = rows.get(shape, 0) + own
        total += own
        if rows[shape] >= BATCH_ROWS or total > MAX_PENDING_ROWS:
            ready = shape if rows[shape] >= BATCH_ROWS else next(iter(waiting))
            total -= rows.pop(ready)
            yield make_batch(waiting.pop(ready))
    for group in waiting.values():
        yield make_batch(group)


def _shape(record: Recorded) -> tuple[object, ...]:
    answers = None if record.predictions is None else record.predictions.fields
    # Everything that rules can know of the request but the instant itself, which they cannot name.
    return (record.features.fields, answers, record.facts[1:], record.redacted, tuple(record.previous))


@dataclass(slots=True, eq=False)
class Judge:
    """A ruleset ready to judge recorded exchanges again. `key` names the entity where a rule has no `by`.

    `unreplayable` says by rule why it was switched off in at least one batch.
    """

    ruleset: Ruleset
    profile: Profile | None = None
    key: Key = ()
    unreplayable: dict[str, str] = field(default_factory=dict)
    _guards: dict[tuple[tuple[str, ...], tuple[Key, ...]], Guard] = field(default_factory=dict)
    _reads: dict[str, frozenset[Ref]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find what each rule reads."""
        self._reads = reads_of(self.ruleset)
        for rule in self.ruleset.rules:
            if any(ref.space == "recent" for ref in self._reads.get(rule.id, ())):
                self.unreplayable[rule.id] = "reads a rolling statistic (recent_*), which is not recorded"
            elif rule.kind == UNUSUAL and rule.mode is not Mode.OFF:
                self.unreplayable[rule.id] = "reads what is usual of an entity, which is not recorded"

    @property
    def alone(self) -> bool:
        """True where a verdict depends on the other rows of its exchange, so that exchanges must not be mixed."""
        whole = any(rule.scope is Scope.BATCH and rule.mode is not Mode.OFF for rule in self.ruleset.rules)
        return whole or any(ref.space == "batch" for refs in self._reads.values() for ref in refs)

    def judge(self, batch: Batch) -> Rejudged:
        """Judge every row of a batch."""
        guard = self._guard(batch.exchanges[0])
        if len(batch.exchanges) == 1:
            return _judge(guard, batch, batch.exchanges[0].identity)
        canaries = tuple(rule for rule in guard.ruleset.rules if rule.mode is Mode.CANARY)
        return _drawn_apart(guard, batch, canaries) if canaries else _judge(guard, batch, b"")

    def _guard(self, record: Recorded) -> Guard:
        shape = (record.redacted, tuple(record.previous))
        guard = self._guards.get(shape)
        if guard is None:
            if len(self._guards) >= MAX_SHAPES:
                del self._guards[next(iter(self._guards))]
            ruleset = self._answerable(frozenset(record.redacted), frozenset(record.previous))
            guard = Guard(ruleset.model, _CODEC, ruleset, self.profile, self.key)
            self._guards[shape] = guard
        return guard

    def _answerable(self, redacted: frozenset[str], pasts: frozenset[Key]) -> Ruleset:
        """Return the ruleset with the rules off for which a record lacks what they read."""
        reasons = {}
        for rule in self.ruleset.rules:
            reason = self._lacks(rule, redacted, pasts)
            if reason:
                reasons[rule.id] = reason
        if not reasons:
            return self.ruleset
        self.unreplayable.update(reasons)
        rules = tuple(
            replace(rule, mode=Mode.OFF) if rule.id in reasons else rule for rule in self.ruleset.rules
        )
        known = self.ruleset
        return make_ruleset(
            known.model, rules, (), self.profile, lists=known.lists, kpis=known.kpis, limits=known.limits
        )

    def _lacks(self, rule: Rule, redacted: frozenset[str], pasts: frozenset[Key]) -> str:
        reads = self._reads.get(rule.id, frozenset())
        hidden = sorted(name for ref in reads if (name := _hidden(ref, redacted)))
        if hidden:
            return f"reads {', '.join(hidden[:3])}, redacted in the recording"
        by = rule.check.by or self.key
        if any(ref.space == "previous" for ref in reads) and by not in pasts:
            told = f"by {', '.join(by)}, " if by else "of an entity whose key is not known here, "
            return f"reads the past {told}which was not recorded"
        return ""


def reads_of(ruleset: Ruleset) -> dict[str, frozenset[Ref]]:
    """Return what each rule that is not off reads to reach its verdict. `Ref("features", "*")` stands for all of them."""
    found: dict[str, frozenset[Ref]] = {}
    for compiled in ruleset.compiled.phases.values():
        for one in compiled.rules:
            programs, check = one.programs, one.rule.check
            expressions = [programs.when, programs.wants, *(program for _, program in programs.unless)]
            refs = {ref for program in expressions if program is not None for ref in program.all_refs}
            refs |= {Ref(named.space, named.name) for named in check.fields}
            if check.every:
                refs.add(Ref(check.every, "*"))
            if check.kind == UNUSUAL:
                refs |= {Ref("previous", named.name) for named in check.fields}
            if check.kind == FINITE_RULE:
                refs.add(Ref("output", "*"))
            found[one.rule.id] = frozenset(refs)
    return found


def likely_key(record: Recorded, rulesets: Iterable[Ruleset]) -> Key:
    """Return the route's own entity key as far as a record shows it: the only past that was recorded, or the only one
    that no rule names in `by`.
    """
    named = {by for ruleset in rulesets for by in ruleset.history_keys}
    pasts = list(record.previous)
    others = [by for by in pasts if by not in named] or pasts
    return others[0] if len(others) == 1 else ()


def _hidden(ref: Ref, redacted: frozenset[str]) -> str:
    """Return the redacted field that a name reads, or nothing."""
    space = "output" if ref.space == "previous" else ref.space
    if ref.name == "*":
        return next((name for name in sorted(redacted) if name.startswith(f"{space}.")), "")
    name = f"{space}.{ref.name}"
    return name if name in redacted else ""


# Nothing is decoded here; a guard only has to have one.
_CODEC: Final = make_codec("kserve-v1", CodecOptions())


def _drawn_apart(guard: Guard, batch: Batch, canaries: tuple[Rule, ...]) -> Rejudged:
    """Judge exchanges in which different canaries act: those with a loud verdict together with others of the same draws.

    Verdicts do not depend on draws, so that exchanges with quiet ones only need no draw; they are most of them.
    """
    judged = _undrawn(guard, batch)
    loud = np.flatnonzero(~np.isin(judged.verdicts, _QUIET).all(axis=0))
    groups: dict[frozenset[str], list[int]] = {}
    for owner in np.unique(batch.owners[loud]).tolist():
        groups.setdefault(drawn(canaries, batch.exchanges[owner].identity), []).append(owner)
    for owners in groups.values():
        # The draws are all that an identity decides, so any of the group's stands for them all.
        again = make_batch([batch.exchanges[owner] for owner in owners])
        one = _judge(guard, again, batch.exchanges[owners[0]].identity)
        rows = np.flatnonzero(np.isin(batch.owners, owners))
        judged.verdicts[:, rows] = one.verdicts
        judged.outcomes[rows] = one.outcomes
    return judged


def _undrawn(guard: Guard, batch: Batch) -> Rejudged:
    """Return the verdicts alone; the outcomes are those of rows on which nothing acts."""
    view = View(batch.features, None, batch.facts, batch.previous, times=batch.times)
    asked = guard.bind(batch.features.fields, ()).judge(Phase.REQUEST, view)
    rules = _rules(guard, batch)
    codes = np.full((len(rules), batch.rows), np.uint8(Verdict.SKIPPED))
    codes[: len(asked)] = asked
    if batch.predictions is None:
        return Rejudged(rules, codes, np.full(batch.rows, np.uint8(UNANSWERED)))
    bound = guard.bind(batch.features.fields, batch.predictions.fields)
    codes[len(asked) :] = bound.judge(Phase.RESPONSE, view._replace(output=batch.predictions))
    return Rejudged(rules, codes, np.full(batch.rows, np.uint8(Outcome.ALLOWED)))


def _judge(guard: Guard, batch: Batch, identity: bytes) -> Rejudged:
    request = View(batch.features, None, batch.facts, batch.previous, identity, times=batch.times)
    verdicts, refusal = judge_request(guard, request)
    if refusal is None:
        return _answered(guard, batch, codes_of(verdicts), identity)
    refused = refusal.outcomes == Outcome.REJECTED
    # One rejected row refuses its whole exchange, and none but its own.
    whole: Mask = np.maximum.reduceat(refused.astype(np.uint8), batch.starts[:-1]).astype(np.bool_)
    owners = np.flatnonzero(~whole).tolist()
    rules = _rules(guard, batch)
    codes = np.full((len(rules), batch.rows), np.uint8(Verdict.SKIPPED))
    codes[: len(refusal.verdicts)] = refusal.verdicts
    outcomes = refusal.outcomes.copy()
    if owners:
        rest = _judge(guard, make_batch([batch.exchanges[owner] for owner in owners]), identity)
        rows = np.flatnonzero(~whole[batch.owners])
        codes[:, rows] = rest.verdicts
        outcomes[rows] = rest.outcomes
    return Rejudged(rules, codes, outcomes)


def _answered(guard: Guard, batch: Batch, asked: Codes, identity: bytes) -> Rejudged:
    rules = _rules(guard, batch)
    if batch.predictions is None:
        codes = np.full((len(rules), batch.rows), np.uint8(Verdict.SKIPPED))
        codes[: len(asked)] = asked
        return Rejudged(rules, codes, np.full(batch.rows, np.uint8(UNANSWERED)))
    view = View(batch.features, batch.predictions, batch.facts, batch.previous, identity, times=batch.times)
    decision = judge_response(guard, view, asked)
    return Rejudged(rules, decision.verdicts.copy(), decision.outcomes.copy())


def _rules(guard: Guard, batch: Batch) -> tuple[Rule, ...]:
    outputs = () if batch.predictions is None else batch.predictions.fields
    bound = guard.bind(batch.features.fields, outputs)
    return bound.rules_of(Phase.REQUEST) + bound.rules_of(Phase.RESPONSE)
