"""Rules of scope `window`: judged once a bucket on what rolling functions give, and firing when violated for long enough.

Decides when a rule fires and when that has ended, and the bytes in which replicas share it. What rolling functions give is left
to `rolling`, when to judge and whom to tell to the proxy; nothing here reads a clock.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from guardproxy.decision import Mode, Phase, RequestFacts, Scope, Verdict
from guardproxy.rules import BoundRules, Ruleset, View
from guardproxy.rules.model import MAX_RULES
from guardproxy.stats.blobs import deflated_json, inflated_json
from guardproxy.table import Cell, Table

MAX_STATES: Final = 2 * MAX_RULES
"""States kept per model, those of rules that were changed included; of more, those judged longest ago are forgotten."""
FORGET_S: Final = 3_600.0
"""A rule that nobody judged for so long was changed or removed: its state is forgotten, and if it fired, that has ended."""
MISSED_S: Final = 3.0
"""So much time may lie between two judgements beside the bucket's own length, where buckets are as short as that."""
MAX_TEXT: Final = 1024 * 1024
_VERSION: Final = 1
_DAMAGED: Final = "the states of window rules are damaged, or of another version"


class Judged(NamedTuple):
    """What a rule came to in a bucket. `violated` is None where that is not known. `told` says whether the rule acts at all."""

    rule: str
    rev: str
    for_s: float
    violated: bool | None
    told: bool
    message: str


class State(NamedTuple):
    """How a rule stands. `since` is the bucket from which on it was violated in each, `fired` the one in which it began to fire;
    None where it is not, or does not."""

    bucket: int
    violated: bool | None
    since: int | None = None
    fired: int | None = None

    @property
    def word(self) -> str:
        """One of `firing`, `violated`, `ok`, `unknown`."""
        if self.fired is not None:
            return "firing"
        return "unknown" if self.violated is None else "violated" if self.violated else "ok"


WORDS: Final = ("ok", "violated", "firing", "unknown")


class Key(NamedTuple):
    """A rule as it is written now: another revision is another rule."""

    rule: str
    rev: str


class Change(NamedTuple):
    """That a rule began to fire, or no longer does. `since` and `bucket` are buckets; `judged` is None where it is gone."""

    key: Key
    firing: bool
    since: int
    bucket: int
    judged: Judged | None


@dataclass(frozen=True, slots=True, eq=False)
class WindowJudge:
    """The rules of scope `window` of one ruleset, ready to be judged."""

    ruleset: Ruleset
    bound: BoundRules
    rules: tuple[str, ...]

    def judge(self, recent: Mapping[str, Cell], facts: RequestFacts) -> list[Judged]:
        """Judge each rule on what rolling functions give. `facts` are those of the bucket's start, the same for all replicas."""
        empty = Table((), 1, np.empty((0, 1)))
        view = self.bound.seeing(View(empty, empty, facts, _no_past, recent=recent))
        verdicts: dict[str, Verdict] = {}
        for phase in Phase:
            codes = self.bound.judge(phase, view)[:, 0].tolist()
            rules = self.bound.rules_of(phase)
            verdicts |= {rule.id: Verdict(code) for rule, code in zip(rules, codes, strict=True)}
        return [self._judged(rule_id, verdicts[rule_id], view) for rule_id in self.rules]

    def _judged(self, rule_id: str, verdict: Verdict, view: View) -> Judged:
        rule = self.bound.planned[rule_id].rule
        counts = verdict in rule.counts
        known = counts or verdict in {Verdict.OK, Verdict.SKIPPED}
        message = self.bound.finding(rule, 0, verdict, view).message
        return Judged(
            rule_id, self.ruleset.rev(rule_id), rule.for_s, counts if known else None, rule.enforced, message
        )


def window_judge(ruleset: Ruleset) -> WindowJudge:
    """Return what judges a ruleset's rules of scope `window`; those that are off are left out."""
    rules = tuple(
        rule.id for rule in ruleset.rules if rule.scope is Scope.WINDOW and rule.mode is not Mode.OFF
    )
    return WindowJudge(ruleset, ruleset.bind((), (), ruleset.profile), rules)


def advance(
    states: Mapping[Key, State], judged: Sequence[Judged], bucket: int, bucket_s: float
) -> tuple[dict[Key, State], list[Change]]:
    """Return the states after a bucket, and what began or ended. What was judged in this bucket or later already stays.

    A rule fires once it was violated in every bucket for its `for`; a bucket that is not known or was not judged begins that
    anew. It fires until it is judged and not violated: not knowing ends nothing.
    """
    found = dict(states)
    changes: list[Change] = []
    for one in judged:
        key = Key(one.rule, one.rev)
        before = states.get(key)
        if before is not None and before.bucket >= bucket:
            continue
        found[key] = after = _next(before, one, bucket, bucket_s)
        if before is not None and before.fired is not None and after.fired is None:
            changes.append(Change(key, firing=False, since=before.fired, bucket=bucket, judged=one))
        elif after.fired == bucket:
            since = after.fired if after.since is None else after.since
            changes.append(Change(key, firing=True, since=since, bucket=bucket, judged=one))
    current = {Key(one.rule, one.rev) for one in judged}
    oldest = bucket - math.ceil(FORGET_S / bucket_s)
    gone = [key for key, state in found.items() if state.bucket < oldest and key not in current]
    kept = sorted(found.keys() - gone, key=lambda key: (-found[key].bucket, key))
    for key in (*gone, *kept[MAX_STATES:]):
        state = found.pop(key)
        if state.fired is not None:
            changes.append(Change(key, firing=False, since=state.fired, bucket=bucket, judged=None))
    return found, changes


def _next(before: State | None, one: Judged, bucket: int, bucket_s: float) -> State:
    fired = None if before is None else before.fired
    if one.violated is None:
        return State(bucket, None, fired=fired)
    if not one.violated:
        return State(bucket, violated=False)
    since, missed = bucket, max(1, math.ceil(MISSED_S / bucket_s))
    if before is not None and before.since is not None and bucket - before.bucket <= missed:
        since = before.since
    if fired is None and (bucket - since) * bucket_s >= one.for_s:
        fired = bucket
    return State(bucket, violated=True, since=since, fired=fired)


def encode(states: Mapping[Key, State]) -> bytes:
    """Return states as bytes, the same for equal states."""
    return deflated_json([_VERSION, sorted([*key, *state] for key, state in states.items())])


def decode(blob: bytes | None) -> dict[Key, State]:
    """Return the states that `encode` was given; none for None. Raises ValueError for bytes that are damaged."""
    if blob is None:
        return {}
    try:
        version, plain = inflated_json(blob, MAX_TEXT)
        states = {Key(rule, rev): State(*state) for rule, rev, *state in plain}
    except (ValueError, TypeError) as error:
        raise ValueError(_DAMAGED) from error
    if version != _VERSION or not all(_sound((*key, *state)) for key, state in states.items()):
        raise ValueError(_DAMAGED)
    return states


def _sound(said: Sequence[object]) -> bool:
    rule, rev, bucket, violated, *buckets = said
    return (
        isinstance(rule, str)
        and isinstance(rev, str)
        and (violated is None or isinstance(violated, bool))
        and type(bucket) is int
        and all(one is None or type(one) is int for one in buckets)
    )


def _no_past(by: tuple[str, ...], row: int) -> None:  # noqa: ARG001
    return None
