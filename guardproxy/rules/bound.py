"""A ruleset on one message's fields: judge, explain, and say what may stand in for a suspect prediction.

Decides nothing about a row as a whole: which action wins and which candidate is served is left to the guard.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from guardproxy.decision import Candidate, Finding, Mode, Phase, Verdict
from guardproxy.profile.model import Profile
from guardproxy.rules.compiled import CompiledPhase, Programs
from guardproxy.rules.language import Ref
from guardproxy.rules.layout import one_row
from guardproxy.rules.model import FallbackSpec, Rule, View
from guardproxy.rules.names import ModelNames, profiled_output
from guardproxy.rules.plan import Plan, PlannedRule, judge_one, make_plan
from guardproxy.rules.report import Lookup, as_number, evaluate, lookup_in, report
from guardproxy.table import Cell, Codes, table_from_records

NO_PAST: Final = "no previous answer for this entity yet"


@dataclass(frozen=True, slots=True, eq=False)
class BoundRules:
    """Compiled rules for messages with exactly these features and outputs. Use `Ruleset.bind` to make them."""

    features: tuple[str, ...]
    outputs: tuple[str, ...]
    profile: Profile | None
    names: ModelNames
    key: tuple[str, ...]
    plans: Mapping[Phase, Plan]
    planned: Mapping[str, PlannedRule]
    phase_rules: Mapping[Phase, tuple[Rule, ...]]
    rule_ids: tuple[str, ...]
    vetoes: tuple[PlannedRule, ...]

    @property
    def history_keys(self) -> tuple[tuple[str, ...], ...]:
        """The entity keys whose last good answers the rules may ask for."""
        return tuple(
            dict.fromkeys(one.by for one in self.planned.values() if one.by and _looks_back(one.programs))
        )

    def rules_of(self, phase: Phase) -> tuple[Rule, ...]:
        """Return the rules of a phase, in the order of `judge`."""
        return self.phase_rules[phase]

    def judge(self, phase: Phase, view: View) -> Codes:
        """Return the verdict codes (`Verdict`, uint8) of a phase's rules, shape (rules, rows).

        Raises ValueError when the view's tables have other fields than these rules were bound to.
        """
        self._check(phase, view)
        return self.plans[phase].judge(view)

    def judge_one(self, phase: Phase, view: View) -> bytes:
        """Return what `judge` returns for a view of one row, one byte per rule."""
        self._check(phase, view)
        return self.plans[phase].judge_one(view)

    def _check(self, phase: Phase, view: View) -> None:
        if view.features.fields != self.features:
            raise ValueError("the rules are bound to other features than the table has")
        if phase is Phase.RESPONSE and (view.output is None or view.output.fields != self.outputs):
            raise ValueError("the rules are bound to other outputs than the response has")

    def acts(self, rule: Rule, verdict: Verdict) -> bool:
        """Tell whether the rule is enforced and the verdict counts as a violation."""
        return rule.acts_on(verdict)

    def finding(self, rule: Rule, row: int, verdict: Verdict, view: View) -> Finding:
        """Explain one verdict."""
        said = report(self.planned[rule.id], row, verdict, view, self.names, self.profile)
        return Finding(
            rule=rule.id,
            row=row,
            verdict=verdict,
            mode=rule.mode,
            action=rule.action,
            severity=rule.severity,
            message=said.message,
            measured=said.measured,
            bound=said.bound,
            bound_source=said.source,
            acts=self.acts(rule, verdict),
        )

    def clamped(self, rule: Rule, row: int, view: View) -> Mapping[str, Cell] | None:
        """Return the nearest value that a range or max_change allows, by output; None when there is none.

        A prediction that the profile knows as whole stays whole where the bounds leave room for it.
        """
        planned = self.planned[rule.id]
        programs, fields = planned.programs, planned.check.fields
        if programs.low is None and programs.high is None:
            return None
        lookup = self._lookup(planned, row, view)
        value = lookup(Ref(fields[0].space, fields[0].name))
        low = -math.inf if programs.low is None else as_number(evaluate(programs.low, lookup))
        high = math.inf if programs.high is None else as_number(evaluate(programs.high, lookup))
        number = as_number(value)
        if number is None or low is None or high is None or low > high:
            return None
        nearest = min(max(number, low), high)
        return (
            {fields[0].name: self._whole(fields[0].name, nearest, low, high)}
            if math.isfinite(nearest)
            else None
        )

    def propose(self, rule: Rule, row: int, view: View) -> Iterator[Candidate]:
        """Yield what a rule's fallback chain offers, in order; a link with nothing to offer says why."""
        planned = self.planned[rule.id]
        lookup = self._lookup(planned, row, view)
        for link, spec in enumerate(rule.fallback):
            if spec.kind == "previous":
                yield self._previous(planned, row, view)
            elif spec.kind == "profile":
                yield self._statistic(spec)
            elif spec.kind == "value":
                yield self._named(spec, dict(spec.values))
            else:
                exprs = ((name, planned.programs.exprs[link, name]) for name in spec.exprs)
                yield self._named(spec, {name: evaluate(program, lookup) for name, program in exprs})

    def refusals(self, view: View, row: int, values: Mapping[str, Cell]) -> tuple[str, ...]:
        """Return the enforced rules that these values, in place of the row's own, would not satisfy.

        Only rules that read the output have a say: the others judge what no fallback can mend.
        """
        if not self.vetoes or view.output is None:
            return ()
        single = one_row(view, row)
        own = view.output.record(row)
        record = {name: values.get(name, own.get(name)) for name in self.outputs}
        table = table_from_records([record])
        replaced = View(single.features, table, single.facts, single.previous)
        plan = self.plans[Phase.RESPONSE]
        cells = plan.layout.rows(replaced)[0]
        return tuple(
            planned.rule.id
            for planned in self.vetoes
            if judge_one(planned, cells, replaced) in planned.rule.counts
        )

    def stake(self, rule: Rule, row: int, view: View) -> float | None:
        """Return what is at stake in a row, by the rule's `hold.value`; None when it cannot be said."""
        planned = self.planned[rule.id]
        program = planned.programs.stake
        if program is None:
            return None
        number = as_number(evaluate(program, self._lookup(planned, row, view)))
        return None if number is None or not math.isfinite(number) else number

    def _lookup(self, planned: PlannedRule, row: int, view: View) -> Lookup:
        return lookup_in(view, row, planned.by, self.names)

    def _whole(self, name: str, value: float, low: float, high: float) -> float:
        own = None if self.profile is None else profiled_output(self.profile, name, self.outputs)
        if own is None or self.profile is None or not self.profile.outputs[own].whole:
            return value
        inward = math.floor(value) if value == high else math.ceil(value)
        return float(inward) if low <= inward <= high else value

    def _previous(self, planned: PlannedRule, row: int, view: View) -> Candidate:
        before = view.previous(planned.by, row) or {}
        values = {name: before[name] for name in self.outputs if before.get(name) is not None}
        return Candidate("previous", values, note="" if values else NO_PAST)

    def _statistic(self, spec: FallbackSpec) -> Candidate:
        found: dict[str, Cell] = {}
        for name in self.outputs:
            own = None if self.profile is None else profiled_output(self.profile, name, self.outputs)
            value = self.names.statistic(Ref("profile", f"output.{own or name}", spec.stat))
            if value is not None:
                found[name] = value
        note = "" if found else f"the profile has no {spec.stat} of the output"
        return Candidate(spec.label, found, note=note)

    def _named(self, spec: FallbackSpec, values: Mapping[str, Cell]) -> Candidate:
        """Give a model's only output its name, and leave out what could not be computed."""
        if "" in values and len(self.outputs) != 1:
            note = f"the response has {len(self.outputs)} outputs; the rule must say which one is meant"
            return Candidate(spec.label, {}, note=note)
        named = {name or self.outputs[0]: cell for name, cell in values.items()}
        unknown = [name for name in named if name not in self.outputs]
        lacking = [name for name, cell in named.items() if cell is None]
        if unknown:
            return Candidate(spec.label, {}, note=f"the response has no output '{unknown[0]}'")
        if lacking:
            return Candidate(spec.label, {}, note=f"{spec.label} is missing on this row")
        return Candidate(spec.label, named)


def bind_rules(
    compiled: Mapping[Phase, CompiledPhase],
    features: tuple[str, ...],
    outputs: tuple[str, ...],
    profile: Profile | None,
    names: ModelNames,
    key: tuple[str, ...],
) -> BoundRules:
    """Place compiled rules on a message's field names."""
    plans = {phase: make_plan(compiled[phase], features, outputs, profile, key) for phase in Phase}
    ordered = [planned for phase in Phase for planned in plans[phase].rules]
    rules = {phase: tuple(one.rule for one in plans[phase].rules) for phase in Phase}
    vetoes = tuple(
        one for one in plans[Phase.RESPONSE].rules if one.rule.mode is Mode.ENFORCE and one.rule.reads_output
    )
    return BoundRules(
        features=features,
        outputs=outputs,
        profile=profile,
        names=names,
        key=key,
        plans=plans,
        planned={one.rule.id: one for one in ordered},
        phase_rules=rules,
        rule_ids=tuple(one.rule.id for one in ordered),
        vetoes=vetoes,
    )


def _looks_back(programs: Programs) -> bool:
    expressions = [programs.when, programs.wants, programs.stake, *programs.exprs.values()]
    refs = [ref for program in expressions if program is not None for ref in program.refs]
    refs += [] if programs.message is None else programs.message.refs
    return any(ref.space == "previous" for ref in refs) or any(
        spec.kind == "previous" for spec in programs.rule.fallback
    )
