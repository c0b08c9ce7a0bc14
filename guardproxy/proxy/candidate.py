"""A candidate ruleset beside the active one: judged on the same rows after the reply, without any effect.

Decides which exchanges are compared and how much time that may take; differences are counted, never answered with. A fault
of the candidate is the candidate's alone.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import structlog

from guardproxy.decision import Decision, Outcome, RequestFacts, Verdict
from guardproxy.guard import Guard, Past
from guardproxy.guard.screen import Previous, judge_request, judge_response
from guardproxy.rules import View
from guardproxy.rules.rollout import draw
from guardproxy.table import Cell, Codes, Mask, Table

log = structlog.get_logger("guardproxy.proxy")

CPU_SHARE: Final = 0.2
"""The part of one processor that comparing may take; what is beyond it is skipped and counted."""
BURST_S: Final = 0.1
MAX_ROWS: Final = 5_000
"""An exchange of more rows would keep the loop from its other clients."""
SKIPPED: Final = ("sample", "busy", "large", "unanswered")
_SAMPLING: Final = "guardproxy candidate"


class Judged(NamedTuple):
    """What an exchange was judged on, and what the active ruleset decided. `predictions` is None where it refused.

    `demoted` names the rules that only warn, and that are the same in the candidate.
    """

    features: Table
    predictions: Table | None
    facts: RequestFacts
    past: Past
    identity: bytes
    decision: Decision
    demoted: frozenset[str] = frozenset()
    recent: Mapping[str, Cell] = MappingProxyType({})


class Comparison:
    """What the candidate of one model would have done otherwise; counted since that candidate was loaded.

    `pairs` counts rows by the outcomes of both, `added` and `removed` by rule the rows that only the candidate, or only
    the active ruleset, found violated; `unknown` and `errors` those where only the candidate had no answer. `skipped` counts exchanges by why they were not compared.
    """

    def __init__(self, sample: float = 1.0, clock: Callable[[], float] = time.perf_counter) -> None:
        """Compare the share `sample` of all exchanges; `clock` measures how long that takes."""
        self.fingerprint = ""
        self.exchanges = 0
        self.faults = 0
        self.pairs: Counter[tuple[Outcome, Outcome]] = Counter()
        self.added: Counter[str] = Counter()
        self.removed: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self._sample = sample
        self._clock = clock
        self._budget_s = BURST_S
        self._refilled = clock()

    def follow(self, fingerprint: str) -> None:
        """Begin again where another candidate is loaded; faults and skips stay, as counters do."""
        if fingerprint != self.fingerprint:
            self.fingerprint = fingerprint
            self.exchanges = 0
            for counts in (self.pairs, self.added, self.removed, self.unknown, self.errors):
                counts.clear()

    def compare(self, candidate: Guard, judged: Judged) -> None:
        """Judge an exchange by the candidate and count how that differs. Never raises."""
        began = self._clock()
        reason = self._unfit(judged, began)
        if reason:
            self.skipped[reason] += 1
            return
        try:
            decision = _decide(candidate, judged)
            if decision is None:
                self.skipped["unanswered"] += 1
            else:
                self._count(judged.decision, decision)
        except Exception as error:
            self.faults += 1
            if self.faults == 1:
                log.error(
                    "candidate.failed", model=candidate.model, error=type(error).__name__, exc_info=error
                )
        finally:
            self._budget_s -= self._clock() - began

    def as_json(self) -> dict[str, Any]:
        """Return the counts in words."""
        return {
            "ruleset": self.fingerprint,
            "exchanges": self.exchanges,
            "rows": [
                {"active": active.name.lower(), "candidate": candidate.name.lower(), "rows": rows}
                for (active, candidate), rows in sorted(self.pairs.items())
            ],
            "differing": sum(rows for (one, other), rows in self.pairs.items() if one is not other),
            "rules": [
                {
                    "rule": rule,
                    "added": self.added[rule],
                    "removed": self.removed[rule],
                    "unknown": self.unknown[rule],
                    "errors": self.errors[rule],
                }
                for rule in sorted({*self.added, *self.removed, *self.unknown, *self.errors})
            ],
            "skipped": dict(self.skipped),
            "faults": self.faults,
        }

    def _unfit(self, judged: Judged, now: float) -> str:
        if self._sample < 1 and draw(_SAMPLING, judged.identity) >= self._sample:
            return "sample"
        if judged.features.rows > MAX_ROWS:
            return "large"
        self._budget_s = min(BURST_S, self._budget_s + (now - self._refilled) * CPU_SHARE)
        self._refilled = now
        return "busy" if self._budget_s <= 0 else ""

    def _count(self, active: Decision, candidate: Decision) -> None:
        self.exchanges += 1
        codes = active.outcomes.astype(np.int64) * len(Outcome) + candidate.outcomes
        for code, rows in enumerate(np.bincount(codes, minlength=len(Outcome) ** 2).tolist()):
            if rows:
                self.pairs[Outcome(code // len(Outcome)), Outcome(code % len(Outcome))] += rows
        if active.verdicts.any() or candidate.verdicts.any():
            _add(self.added, _only(candidate, active, Verdict.VIOLATED))
            _add(self.removed, _only(active, candidate, Verdict.VIOLATED))
            _add(self.unknown, _only(candidate, active, Verdict.UNKNOWN))
            _add(self.errors, _only(candidate, active, Verdict.ERROR))


def _decide(guard: Guard, judged: Judged) -> Decision | None:
    """Return the candidate's decision; None where it would have asked the model and the active ruleset did not."""
    table, past = judged.features, judged.past
    times = guard.times_of(table, judged.facts.at)
    view = View(
        table,
        None,
        judged.facts,
        Previous(table, past, judged.facts.at, times),
        judged.identity,
        judged.demoted,
        judged.recent,
        past=guard.past_of(table, past, judged.facts.at, times),
        times=times,
    )
    verdicts, refusal = judge_request(guard, view)
    if refusal is not None or judged.predictions is None:
        return refusal
    return judge_response(guard, view._replace(output=judged.predictions), verdicts)


def _only(one: Decision, other: Decision, verdict: Verdict) -> dict[str, int]:
    """Return, by rule, on how many rows only the first of two decisions has this verdict."""
    also = _rows(other, verdict)
    return {
        rule: int(np.count_nonzero(rows & ~also[rule] if rule in also else rows))
        for rule, rows in _rows(one, verdict).items()
    }


def _add(counts: Counter[str], rows: Mapping[str, int]) -> None:
    for rule, number in rows.items():
        if number:
            counts[rule] += number


def _rows(decision: Decision, verdict: Verdict) -> dict[str, Mask]:
    """Return, by rule, the rows on which it has this verdict."""
    codes: Codes = decision.verdicts
    found = (codes == verdict) if len(codes) else np.zeros((0, decision.rows), dtype=np.bool_)
    return {rule: rows for rule, rows in zip(decision.rules, found, strict=False) if rows.any()}
