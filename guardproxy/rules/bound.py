"""A ruleset on one message's fields: judge, explain, and say what may stand in for a suspect prediction.

Decides nothing about a row as a whole: which action wins and which candidate is served is left to the guard.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from guardproxy.decision import Action, Candidate, Finding, Mode, Phase, Scope, Verdict
from guardproxy.profile.model import Profile
from guardproxy.rules.batches import Batches, bind_batches
from guardproxy.rules.compiled import Compiled, Programs
from guardproxy.rules.kpis import Kpis
from guardproxy.rules.language import Column, Ref
from guardproxy.rules.layout import one_row
from guardproxy.rules.model import Rule, Unless, View
from guardproxy.rules.names import ModelNames
from guardproxy.rules.offers import Offers
from guardproxy.rules.past import REMEMBERED
from guardproxy.rules.plan import Plan, PlannedRule, judge_one, make_plan
from guardproxy.rules.quieting import is_live, is_loud
from guardproxy.rules.report import comparisons, lookup_in, report, report_points
from guardproxy.rules.rollout import acts_in, drawn, is_demoted
from guardproxy.rules.sentences import Lookup, as_number, evaluate
from guardproxy.rules.unusual import UNUSUAL
from guardproxy.table import Cell, Codes, table_from_records


@dataclass(frozen=True, slots=True, eq=False)
class BoundRules:
    """Compiled rules for messages with exactly these features and outputs. Use `Ruleset.bind` to make them.

    `warming` are the rules whose verdict depends on rolling functions, by their place in `rule_ids`, with those
    functions' spellings; without any, on what is usual of an entity. `scoring` are the places of the rules that add points, `scored` of those that sum them.
    """

    features: tuple[str, ...]
    outputs: tuple[str, ...]
    profile: Profile | None
    names: ModelNames
    key: tuple[str, ...]
    plans: Mapping[Phase, Plan]
    planned: Mapping[str, PlannedRule]
    phase_rules: Mapping[Phase, tuple[Rule, ...]]
    rule_ids: tuple[str, ...]
    places: Mapping[str, int]
    revs: Mapping[str, str]
    vetoes: tuple[PlannedRule, ...]
    canaries: tuple[Rule, ...]
    told: Mapping[Phase, Batches]
    measures: Kpis
    warming: tuple[tuple[int, tuple[str, ...]], ...]
    scoring: tuple[int, ...]
    scored: tuple[int, ...]

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

    def lookup(self, rule: Rule, row: int, view: View) -> Lookup:
        """Return a function from a name in a rule's expressions to its value on one row."""
        return self._lookup(self.planned[rule.id], row, view)

    def seeing(self, view: View) -> View:
        """Return the view with all that is the same for every row worked out, so that explaining many rows is cheap."""
        if view.drawn is not None:
            return view
        for phase, batches in self.told.items():
            if phase is Phase.REQUEST or view.output is not None:
                view = batches.into(view)
        return view._replace(drawn=drawn(self.canaries, view.identity))

    def acts(self, rule: Rule, verdict: Verdict, view: View) -> bool:
        """Tell whether the rule is enforced in the exchange of this view, and the verdict counts as a violation."""
        return verdict in rule.counts and acts_in(rule, view)

    def finding(
        self, rule: Rule, row: int, verdict: Verdict, view: View, points: Sequence[tuple[str, float]] = ()
    ) -> Finding:
        """Explain one verdict. `points` are those that rules added to this row, for a rule that sums them."""
        view = self.seeing(view)
        planned = self.planned[rule.id]
        if rule.kind == "score":
            said = report_points(rule, points)
        else:
            said = report(planned, row, verdict, view, self.names, self.profile)
        demoted = is_demoted(planned.rule, view)
        return Finding(
            rule=rule.id,
            row=row,
            verdict=verdict,
            mode=rule.mode,
            action=Action.WARN if demoted else rule.action,
            severity=rule.severity,
            message=said.message,
            measured=said.measured,
            bound=said.bound,
            bound_source=said.source,
            acts=self.acts(rule, verdict, view),
            rev=self.revs.get(rule.id, ""),
            demoted=demoted,
        )

    def excepted(self, rule: Rule, row: int, view: View) -> Unless | None:
        """Return the named exception that made a rule's verdict on a row `skipped`; None when none did."""
        planned = self.planned[rule.id]
        if not planned.programs.unless:
            return None
        view = self.seeing(view)
        index = self.phase_rules[rule.phase].index(planned.rule)
        if not is_loud(self.plans[rule.phase].raw(index, view, row)):
            return None
        return self._covering(planned, row, view)

    def covers(self, rule: Rule, unless: Unless, row: int, view: View) -> bool:
        """Tell whether an exception of a rule holds on a row, whatever the rule's verdict."""
        planned = self.planned[rule.id]
        lookup = self._lookup(planned, row, view)
        return is_live(unless, view) and any(
            one == unless and evaluate(program, lookup) is True for one, program in planned.programs.unless
        )

    def compared(self, rule: Rule, row: int, view: View) -> str:
        """Return the values on both sides of the comparisons that a rule's verdict rests on; nothing if there is none."""
        planned = self.planned[rule.id]
        wants = planned.programs.wants
        return "" if wants is None else comparisons(wants, self._lookup(planned, row, view))

    def kpis(self, view: View) -> Mapping[str, Column]:
        """Return the values of the model's KPIs by row; a cell is missing where its KPI cannot be had."""
        return self.measures.columns(view)

    def warms(self, index: int, view: View) -> bool:
        """Tell whether the rule at a place of `rule_ids` waits for what has seen too little: a rolling function, or a past."""
        waits = next((names for place, names in self.warming if place == index), None)
        if waits is None:
            return False
        return not waits or any(view.recent.get(name) is None for name in waits)

    def clamped(self, rule: Rule, row: int, view: View) -> Mapping[str, Cell] | None:
        """Return the nearest value that a range or max_change allows, by output; None when there is none.

        A prediction that the profile knows as whole stays whole where the bounds leave room for it.
        """
        planned = self.planned[rule.id]
        programs, fields = planned.programs, planned.check.fields
        if not fields or (programs.low is None and programs.high is None):
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
            {fields[0].name: self._offers.whole(fields[0].name, nearest, low, high)}
            if math.isfinite(nearest)
            else None
        )

    def propose(self, rule: Rule, row: int, view: View) -> Iterator[Candidate]:
        """Yield what a rule's fallback chain offers, in order; a link with nothing to offer says why."""
        planned = self.planned[rule.id]
        return self._offers.of(planned, row, view, self._lookup(planned, row, view))

    def refusals(self, view: View, row: int, values: Mapping[str, Cell]) -> tuple[str, ...]:
        """Return the rules enforced here that these values, in place of the row's own, would not satisfy.

        Only rules that read the output have a say: the others judge what no fallback can mend. Nor have rules about a
        whole batch or a stretch of time. What earns points is refused where they, with those of the request, reach a sum;
        the request's points alone are what no candidate can mend.
        """
        output = view.output
        if output is None or not (self.vetoes or self.scored):
            return ()
        view = self.seeing(view)
        single = one_row(view, row)
        own = output.record(row)
        record = {name: values.get(name, own.get(name)) for name in self.outputs}
        replaced = single._replace(output=table_from_records([record]))
        cells = self.plans[Phase.RESPONSE].layout.rows(replaced)[0]
        violated = [
            planned.rule
            for planned in self.vetoes
            if self._speaks(planned.rule, view) and self._counts(planned, cells, replaced)
        ]
        refused = [rule.id for rule in violated if rule.action is not Action.SCORE]
        points = sum(rule.points for rule in violated if rule.action is Action.SCORE)
        points += self._earned(single) if points else 0.0
        sums = [self.planned[self.rule_ids[place]].rule for place in self.scored]
        refused += [rule.id for rule in sums if points and points >= rule.points and self._speaks(rule, view)]
        return tuple(refused)

    def _earned(self, single: View) -> float:
        """Return the points that the rules of the request give a view of one row."""
        phase = Phase.REQUEST
        found = [one for one in self.plans[phase].rules if one.rule.action is Action.SCORE]
        if not found:
            return 0.0
        cells = self.plans[phase].layout.rows(single)[0]
        return sum(
            one.rule.points for one in found if acts_in(one.rule, single) and self._counts(one, cells, single)
        )

    def _speaks(self, rule: Rule, view: View) -> bool:
        """Tell whether a rule may object to a candidate: not when the breaker took it down, or it would go on rejecting."""
        return acts_in(rule, view) and not is_demoted(rule, view)

    def _counts(self, planned: PlannedRule, cells: Sequence[Cell], view: View) -> bool:
        verdict = judge_one(planned, cells, view)
        if is_loud(verdict) and planned.programs.unless and self._covering(planned, 0, view) is not None:
            return False
        return verdict in planned.rule.counts

    def _covering(self, planned: PlannedRule, row: int, view: View) -> Unless | None:
        lookup = self._lookup(planned, row, view)
        for unless, program in planned.programs.unless:
            if is_live(unless, view) and evaluate(program, lookup) is True:
                return unless
        return None

    def stake(self, rule: Rule, row: int, view: View) -> float | None:
        """Return what is at stake in a row, by the rule's `hold.value`; None when it cannot be said."""
        planned = self.planned[rule.id]
        program = planned.programs.stake
        if program is None:
            return None
        number = as_number(evaluate(program, self._lookup(planned, row, view)))
        return None if number is None or not math.isfinite(number) else number

    @property
    def _offers(self) -> Offers:
        return Offers(self.outputs, self.profile, self.names)

    def _lookup(self, planned: PlannedRule, row: int, view: View) -> Lookup:
        return lookup_in(self.seeing(view), row, planned.by, self.names)


def bind_rules(
    compiled: Compiled,
    features: tuple[str, ...],
    outputs: tuple[str, ...],
    profile: Profile | None,
    names: ModelNames,
    key: tuple[str, ...],
    revs: Mapping[str, str],
) -> BoundRules:
    """Place compiled rules on a message's field names."""
    phases = compiled.phases
    plans = {phase: make_plan(phases[phase], features, outputs, profile, key) for phase in Phase}
    ordered = [planned for phase in Phase for planned in plans[phase].rules]
    rule_ids = tuple(one.rule.id for one in ordered)
    return BoundRules(
        features=features,
        outputs=outputs,
        profile=profile,
        names=names,
        key=key,
        plans=plans,
        planned={one.rule.id: one for one in ordered},
        phase_rules={phase: tuple(one.rule for one in plans[phase].rules) for phase in Phase},
        rule_ids=rule_ids,
        places={rule_id: place for place, rule_id in enumerate(rule_ids)},
        revs=revs,
        vetoes=tuple(one for one in plans[Phase.RESPONSE].rules if _has_veto(one.rule)),
        canaries=tuple(one.rule for one in ordered if one.rule.mode is Mode.CANARY),
        told={phase: bind_batches(phases[phase].told, features, outputs, key) for phase in Phase},
        measures=compiled.kpis.bind(features, outputs, key),
        warming=tuple(
            (place, one.programs.recents)
            for place, one in enumerate(ordered)
            if one.programs.recents or one.rule.kind == UNUSUAL
        ),
        scoring=tuple(place for place, one in enumerate(ordered) if one.rule.action is Action.SCORE),
        scored=tuple(place for place, one in enumerate(ordered) if one.rule.kind == "score"),
    )


def _has_veto(rule: Rule) -> bool:
    return rule.enforced and rule.reads_output and rule.scope is Scope.ROW and rule.kind != "score"


def _looks_back(programs: Programs) -> bool:
    rule = programs.rule
    if rule.kind == UNUSUAL or any(spec.kind in ("previous", *REMEMBERED) for spec in rule.fallback):
        return True
    refs = [ref for program in programs.all() for ref in program.all_refs]
    refs += [] if programs.message is None else programs.message.all_refs
    return any(ref.space == "previous" for ref in refs)
