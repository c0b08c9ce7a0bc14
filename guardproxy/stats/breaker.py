"""The guard on the guard: a rule that suddenly acts on too much of the traffic is demoted to a warning.

Decides when a limit is exceeded, which rules it takes down, and when each of them may act again. Pure: what was decided
and what time it is are handed in; changes are returned for others to tell. State is in memory.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.decision import Action, Decision, Mode, Verdict
from guardproxy.rules.model import DEFAULT_LIMIT, LIMIT_MIN_ROWS, Limit, Rule
from guardproxy.rules.ruleset import Ruleset
from guardproxy.stats.ring import Counts, Ring, RuleKey
from guardproxy.units import format_duration

REARM: Final = 0.5
"""A demoted rule acts again once it would act on at most this part of what its limit allows."""
MAX_KNOWN: Final = 4
"""Rulesets whose late decisions can still be counted; requests in flight end on the set they began with."""
MAX_PLANS: Final = 256
CHUNK: Final = 1_000
_NOBODY: Final[frozenset[str]] = frozenset()


class Seen(NamedTuple):
    """A decision with its time (Unix seconds) and the canaries that the draw fell on."""

    at: float
    decision: Decision
    drawn: frozenset[str] = frozenset()


class Tripped(NamedTuple):
    """A demoted rule: since when, by which limit (its own, or `by_model` that of the whole model), at which share of rows."""

    at: float
    limit: Limit
    share: float
    rows: int
    by_model: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A rule was demoted (`cause` is `limit` or `model`) or acts again (`calm`, `changed` or `person`)."""

    at: float
    model: str
    rule: str
    cause: str
    limit: Limit
    share: float = 0.0
    rows: int = 0

    @property
    def tripped(self) -> bool:
        """Whether the rule was demoted."""
        return self.cause not in _WHY_AGAIN

    @property
    def text(self) -> str:
        """Say it in a sentence."""
        action = self.limit.action.name.lower()
        if not self.tripped:
            return f"rule {self.rule} of {self.model} may {action} again: {_WHY_AGAIN[self.cause]}"
        whose = "all rules together" if self.cause == "model" else "it"
        return (
            f"rule {self.rule} of {self.model} only warns now: {whose} would {action} {self.share:.1%} of the last "
            f"{self.rows} rows, and the limit is {self.limit.share * 100:.3g}% in {format_duration(self.limit.window_s)}"
        )


class Breaker:
    """The limits of one model's rules. `demoted` names the rules that only warn; `trips` counts how often each was."""

    def __init__(self, ruleset: Ruleset) -> None:
        """Watch the enforced rules of `ruleset`."""
        self.model = ruleset.model
        self.demoted: frozenset[str] = frozenset()
        self.trips: Counter[str] = Counter()
        self.uncounted = 0
        self._tripped: dict[str, Tripped] = {}
        self._known: dict[str, Mapping[str, tuple[Rule, str]]] = {}
        self._plans: dict[tuple[str, tuple[str, ...], frozenset[str]], _Plan | None] = {}
        self._rings: dict[float, Ring] = {}
        self._lines: dict[str, _Line] = {}
        self._models: dict[Action, Limit] = {}
        self._fresh = False
        self.follow(ruleset, 0.0)

    @property
    def tripped(self) -> Mapping[str, Tripped]:
        """The demoted rules with what demoted them."""
        return self._tripped

    @property
    def watched(self) -> Sequence[str]:
        """The rules that have a limit."""
        return tuple(self._lines)

    def follow(self, ruleset: Ruleset, at: float) -> list[Change]:
        """Watch another ruleset. What was counted of rules that did not change stays; changed rules act again."""
        self._lines = {
            rule.id: _Line(rule, ruleset.rev(rule.id), _limit_of(rule))
            for rule in ruleset.rules
            if rule.enforced and rule.action > Action.WARN
        }
        self._models = _model_limits(ruleset)
        self._lines = {
            rule: line
            for rule, line in self._lines.items()
            if line.limit is not None or line.rule.action in self._models
        }
        self._known[ruleset.fingerprint] = {rule: (line.rule, line.rev) for rule, line in self._lines.items()}
        while len(self._known) > MAX_KNOWN:
            del self._known[next(key for key in self._known if key != ruleset.fingerprint)]
        self._plans.clear()
        self._rings = {
            window: Ring(window, keys, self._rings.get(window)) for window, keys in self._windows().items()
        }
        gone = [rule for rule, state in self._tripped.items() if not self._still(rule, state)]
        self.trips = Counter({rule: self.trips[rule] for rule in self._lines if self.trips[rule]})
        return self._restore(gone, at, "changed")

    def add(self, seen: Iterable[Seen]) -> None:
        """Count decisions, in one numpy pass per kind of message."""
        if not self._lines:
            return
        groups: dict[tuple[str, int, frozenset[str]], list[Seen]] = {}
        for one in seen:
            decision = one.decision
            # Most decisions are quiet and share their rules: the draw matters to none of them.
            drawn = one.drawn if decision.findings else _NOBODY
            if len(decision.verdicts):
                groups.setdefault((decision.ruleset, id(decision.rules), drawn), []).append(one)
        for (ruleset, _, drawn), group in groups.items():
            plan = self._plan((ruleset, group[0].decision.rules, drawn))
            if plan is None:
                self.uncounted += sum(one.decision.rows for one in group)
                continue
            for start in range(0, len(group), CHUNK):
                self._count(plan, group[start : start + CHUNK])
        self._fresh = self._fresh or bool(groups)

    def look(self, now: float) -> list[Change]:
        """Compare what was counted with the limits; return what changed."""
        if not self._fresh and not self._tripped:
            return []
        self._fresh = False
        for rule, state in self._tripped.items():
            if (
                state.at > now
            ):  # the clock was set back: what was demoted waits one window, not the hours between
                self._tripped[rule] = state._replace(at=now)
        sums = {window: ring.sums(now) for window, ring in self._rings.items()}
        changes = self._trip_rules(sums, now) + self._rearm_rules(sums, now)
        for action, limit in self._models.items():
            changes += self._judge_model(action, limit, sums[limit.window_s], now)
        return changes

    def rearm(self, rule: str, at: float) -> Change | None:
        """Let a demoted rule act again, with nothing counted against it; None when it is not demoted."""
        if rule not in self._tripped:
            return None
        for ring in self._rings.values():
            ring.clear(self._lines[rule].key)
        (change,) = self._restore([rule], at, "person")
        return change

    # ---------------------------------------------------------------- counting

    def _windows(self) -> dict[float, list[RuleKey]]:
        """Return which lines each length of window must count."""
        windows: dict[float, dict[RuleKey, None]] = {}
        for line in self._lines.values():
            for limit in (line.limit, self._models.get(line.rule.action)):
                if limit is not None:
                    windows.setdefault(limit.window_s, {})[line.key] = None
        for action, limit in self._models.items():
            windows.setdefault(limit.window_s, {})[_whole(action)] = None
        return {window: list(keys) for window, keys in windows.items()}

    def _plan(self, key: tuple[str, tuple[str, ...], frozenset[str]]) -> "_Plan | None":
        if key not in self._plans:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            fingerprint, rules, drawn = key
            known = self._known.get(fingerprint)
            self._plans[key] = None if known is None else _make_plan(known, rules, drawn)
        return self._plans[key]

    def _count(self, plan: "_Plan", group: Sequence[Seen]) -> None:
        wholes = tuple(_whole(action) for action in self._models)
        rows = np.array([one.decision.rows for one in group], dtype=np.int64)
        at = np.array([one.at for one in group])
        for ring in self._rings.values():
            ring.add(at, (*plan.keys, *wholes), rows)
        loud = [place for place, one in enumerate(group) if one.decision.findings and one.decision.rows]
        if not loud or not plan.keys:
            return
        codes = np.concatenate([group[place].decision.verdicts for place in loud], axis=1)[plan.places]
        acts = plan.acts[np.arange(len(plan.keys))[:, None], codes]
        starts = np.concatenate(([0], np.cumsum(rows[loud])[:-1]))
        hits = np.add.reduceat(acts, starts, axis=1, dtype=np.int64)
        unions = [np.add.reduceat(self._union(plan, acts, a), starts, dtype=np.int64) for a in self._models]
        nothing = np.zeros(len(loud), dtype=np.int64)
        for ring in self._rings.values():
            ring.add(at[loud], (*plan.keys, *wholes), nothing, np.vstack((hits, *unions)))

    def _union(self, plan: "_Plan", acts: NDArray[np.bool_], action: Action) -> NDArray[np.bool_]:
        """Return the rows on which any rule acts that has this action and is not demoted."""
        armed = [key.action is action and key.rule not in self.demoted for key in plan.keys]
        return np.asarray(acts[armed].any(axis=0))

    # ---------------------------------------------------------------- judging

    def _trip_rules(self, sums: Mapping[float, Counts], now: float) -> list[Change]:
        changes = []
        for rule, line in self._lines.items():
            if line.limit is None or rule in self._tripped:
                continue
            rows, acted = sums[line.limit.window_s].of(line.key)
            if rows >= LIMIT_MIN_ROWS and acted > line.limit.share * rows:
                changes.append(self._trip(rule, Tripped(now, line.limit, acted / rows, rows, by_model=False)))
        return changes

    def _rearm_rules(self, sums: Mapping[float, Counts], now: float) -> list[Change]:
        calm = []
        for rule, state in self._tripped.items():
            rows, acted = sums[state.limit.window_s].of(self._lines[rule].key)
            if not state.by_model and _calm(state, now, rows, acted):
                calm.append(rule)
        return self._restore(calm, now, "calm")

    def _judge_model(self, action: Action, limit: Limit, counts: Counts, now: float) -> list[Change]:
        """Hold all rules of one action to the model's limit.

        The rows on which a rule that may act did act are at most the rows counted as such when they came, and at most
        the sum over those rules: the first knows of rows that two rules share, the second of rules that were demoted since.
        """
        rows, acted = counts.of(_whole(action))
        if rows < LIMIT_MIN_ROWS:
            return []
        lines = {rule: line for rule, line in self._lines.items() if line.rule.action is action}
        armed = sum(counts.of(line.key)[1] for rule, line in lines.items() if rule not in self._tripped)
        share = min(acted, armed) / rows
        if share > limit.share:
            return [
                self._trip(rule, Tripped(now, limit, share, rows, by_model=True))
                for rule in lines
                if rule not in self._tripped
            ]
        waiting = sorted(
            (counts.of(lines[rule].key)[1], rule)
            for rule, state in self._tripped.items()
            if state.by_model and rule in lines
        )
        calm = []
        for own, rule in waiting:
            # One by one, the quietest first: what tripped the limit together stays down, the rest comes back.
            if _calm(self._tripped[rule], now, rows, armed + own):
                calm.append(rule)
                armed += own
        return self._restore(calm, now, "calm")

    def _trip(self, rule: str, state: Tripped) -> Change:
        self._tripped[rule] = state
        self.trips[rule] += 1
        self.demoted = frozenset(self._tripped)
        cause = "model" if state.by_model else "limit"
        return Change(state.at, self.model, rule, cause, state.limit, state.share, state.rows)

    def _restore(self, rules: Sequence[str], at: float, cause: str) -> list[Change]:
        changes = [Change(at, self.model, rule, cause, self._tripped.pop(rule).limit) for rule in rules]
        self.demoted = frozenset(self._tripped)
        return changes

    def _still(self, rule: str, state: Tripped) -> bool:
        line = self._lines.get(rule)
        if line is None or self._rings.get(state.limit.window_s) is None:
            return False
        limit = self._models.get(line.rule.action) if state.by_model else line.limit
        return limit == state.limit and self._rings[state.limit.window_s].kept(line.key)


@dataclass(frozen=True, slots=True)
class _Line:
    """A rule that is watched, with its own limit where it has one."""

    rule: Rule
    rev: str
    limit: Limit | None

    @property
    def key(self) -> RuleKey:
        return RuleKey(self.rule.id, self.rev, self.rule.action)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Where the watched rules stand in a decision's verdicts, and which verdicts make each of them act, (rules, verdicts)."""

    keys: tuple[RuleKey, ...]
    places: NDArray[np.int64]
    acts: NDArray[np.bool_]


def _make_plan(known: Mapping[str, tuple[Rule, str]], rules: tuple[str, ...], drawn: frozenset[str]) -> _Plan:
    found = [(place, *known[rule]) for place, rule in enumerate(rules) if rule in known]
    acts = [
        [verdict in rule.counts and (rule.mode is not Mode.CANARY or rule.id in drawn) for verdict in Verdict]
        for _, rule, _ in found
    ]
    return _Plan(
        tuple(RuleKey(rule.id, rev, rule.action) for _, rule, rev in found),
        np.array([place for place, _, _ in found], dtype=np.int64),
        np.array(acts, dtype=np.bool_).reshape(len(found), len(Verdict)),
    )


def _limit_of(rule: Rule) -> Limit | None:
    own = next((limit for limit in rule.limits if limit.action is rule.action), None)
    return own or (DEFAULT_LIMIT if rule.action is DEFAULT_LIMIT.action else None)


def _model_limits(ruleset: Ruleset) -> dict[Action, Limit]:
    return {DEFAULT_LIMIT.action: DEFAULT_LIMIT} | {limit.action: limit for limit in ruleset.limits}


def _whole(action: Action) -> RuleKey:
    return RuleKey("", "", action)


def _calm(state: Tripped, now: float, rows: int, acted: int) -> bool:
    waited = now - state.at >= state.limit.window_s
    return waited and rows >= LIMIT_MIN_ROWS and acted <= REARM * state.limit.share * rows


_WHY_AGAIN: Final = {
    "calm": "for a whole window it would have stayed within half of its limit",
    "changed": "the rule or its limit was changed",
    "person": "an operator said so",
}
