"""An opaque request: its rows cannot be seen, its response is judged all the same.

Decides which rules can speak there: those that read no feature, neither of the row nor of what names its entity; the others
are skipped. Rows on which none of them acts are unguarded, since nobody knows what was asked. Whether such a request goes to
the model at all is left to the caller.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from guardproxy.decision import Decision, Outcome, Phase, Reason, RequestFacts, Verdict
from guardproxy.guard.fallbacks import NO_MISFITS, Misfits
from guardproxy.guard.guard import Guard
from guardproxy.guard.rejudge import reads_of
from guardproxy.guard.screen import Screened, codes_of, judge_request, judge_response
from guardproxy.message import Message
from guardproxy.rules import Ruleset, View
from guardproxy.rules.compiled import CompiledPhase
from guardproxy.table import Cell, Table

_SIGHTED: Final = frozenset({"features", "previous"})
_NOBODY: Final[frozenset[str]] = frozenset()


class Unseen(NamedTuple):
    """What is known of an exchange whose request is opaque; see `Screening`."""

    facts: RequestFacts
    identity: bytes = b""
    demoted: frozenset[str] = _NOBODY
    refusal: Decision | None = None
    """Nothing can be said of it before there is a response."""


def screen_unseen(guard: Guard, unseen: Unseen, message: Message) -> Screened:
    """Decode the response to an opaque request and decide about its rows, which it counts itself.

    Raises DecodeError where it cannot be read either.
    """
    predictions = guard.codec.decode_response(message, None)
    return Screened(judge_unseen(guard, unseen, predictions), predictions)


def judge_unseen(guard: Guard, unseen: Unseen, predictions: Table, misfits: Misfits = NO_MISFITS) -> Decision:
    """Judge predictions by the rules that need no features; `reason` is opaque."""
    blind = blind_of(guard)
    rows = predictions.rows
    nothing = Table((), rows, np.zeros((0, rows)))
    view = View(nothing, None, unseen.facts, _nobody, unseen.identity, unseen.demoted)
    verdicts, refusal = judge_request(blind, view)
    decision = refusal or judge_response(blind, view._replace(output=predictions), verdicts, misfits)
    outcomes = decision.outcomes.copy()
    outcomes[outcomes == Outcome.ALLOWED] = Outcome.UNGUARDED
    rules, codes = _completed(guard.ruleset, decision)
    return replace(decision, outcomes=outcomes, rules=rules, verdicts=codes, reason=Reason.OPAQUE)


def blind_of(guard: Guard) -> Guard:
    """Return a guard with only those rules that need no features."""
    if guard.blind is None:
        guard.blind = replace(
            guard,
            ruleset=_without_features(guard.ruleset),
            key=(),
            quiet={},
            _bound={},
            _last=[None, None],
        )
    return guard.blind


def _without_features(ruleset: Ruleset) -> Ruleset:
    reads = reads_of(ruleset)
    kept = {rule for rule, refs in reads.items() if _SIGHTED.isdisjoint(ref.space for ref in refs)}
    # What is compiled serves as it is: a name that no message has is missing.
    phases = {phase: _only(kept, compiled) for phase, compiled in ruleset.compiled.phases.items()}
    return replace(
        ruleset,
        rules=tuple(rule for rule in ruleset.rules if rule.id in kept),
        compiled=replace(ruleset.compiled, phases=phases),
    )


def _only(kept: Collection[str], phase: CompiledPhase) -> CompiledPhase:
    places = [place for place, one in enumerate(phase.rules) if one.rule.id in kept]
    moved = {old: new for new, old in enumerate(places)}
    exceptions = phase.exceptions
    excepted = tuple((moved[place], made) for place, made in exceptions.rules if place in moved)
    rules = tuple(phase.rules[place] for place in places)
    return replace(phase, rules=rules, exceptions=replace(exceptions, rules=excepted))


def _completed(
    ruleset: Ruleset, decision: Decision
) -> tuple[tuple[str, ...], np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Return all rules and their verdicts, `skipped` where a rule had no say."""
    phases = ruleset.compiled.phases
    rules = tuple(one.rule.id for phase in Phase for one in phases[phase].rules)
    places = {rule: place for place, rule in enumerate(rules)}
    codes = np.full((len(rules), decision.rows), Verdict.SKIPPED, dtype=np.uint8)
    for rule, found in zip(decision.rules, codes_of(decision.verdicts), strict=False):
        codes[places[rule]] = found
    return rules, codes


def _nobody(_by: tuple[str, ...], _row: int) -> Mapping[str, Cell] | None:
    return None
