"""What the links of a fallback chain offer for one row, before anybody judges it.

Decides what each kind of link gives, output by output, and why it gives nothing. Whether an offer may be served is left to
the guard.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from guardproxy.decision import Candidate
from guardproxy.profile.model import Profile
from guardproxy.rules.language import Ref
from guardproxy.rules.model import FallbackSpec, View
from guardproxy.rules.names import ModelNames, profiled_output
from guardproxy.rules.past import REMEMBERED
from guardproxy.rules.plan import PlannedRule
from guardproxy.rules.sentences import Lookup, evaluate
from guardproxy.table import Cell

NO_PAST: Final = "no previous answer for this entity yet"
TOO_LITTLE: Final = "too little is known of this entity, or it is too old"


class Offers(NamedTuple):
    """The offers for messages with certain outputs."""

    outputs: tuple[str, ...]
    profile: Profile | None
    names: ModelNames

    def of(self, planned: PlannedRule, row: int, view: View, lookup: Lookup) -> Iterator[Candidate]:
        """Yield what a rule's chain offers for a row, in order."""
        for link, spec in enumerate(planned.rule.fallback):
            if spec.kind in ("previous", "last_good") and spec.max_age_s is None:
                yield self._previous(planned, spec, row, view)
            elif spec.kind in REMEMBERED or spec.kind == "previous":
                yield from self._remembered(planned, spec, row, view)
            elif spec.kind == "profile":
                yield self._statistic(spec)
            elif spec.kind == "value":
                yield self._named(spec, dict(spec.values))
            else:
                exprs = ((name, planned.programs.exprs[link, name]) for name in spec.exprs)
                yield self._named(spec, {name: evaluate(program, lookup) for name, program in exprs})

    def whole(self, name: str, value: float, low: float, high: float) -> float:
        """Return a value between bounds, moved inward to a whole number where the profile knows the output as whole."""
        if not self._is_whole(name):
            return value
        inward = math.floor(value) if value == high else math.ceil(value)
        return float(inward) if low <= inward <= high else value

    def _is_whole(self, name: str) -> bool:
        own = None if self.profile is None else profiled_output(self.profile, name, self.outputs)
        return own is not None and self.profile is not None and self.profile.outputs[own].whole

    def _previous(self, planned: PlannedRule, spec: FallbackSpec, row: int, view: View) -> Candidate:
        before = view.previous(planned.by, row) or {}
        values = {name: before[name] for name in self.outputs if before.get(name) is not None}
        return Candidate(spec.label, values, note="" if values else NO_PAST)

    def _remembered(
        self, planned: PlannedRule, spec: FallbackSpec, row: int, view: View
    ) -> Iterator[Candidate]:
        """Yield what is remembered of the row's entity; where `auto` knows nothing of it, the profile's median follows."""
        kind = "last_good" if spec.kind == "previous" else spec.kind
        values: dict[str, Cell] = {}
        if view.past is not None:
            for name in self.outputs:
                cell = view.past.estimate(kind, planned.by, row, name, spec.max_age_s)
                if cell is not None:
                    values[name] = self._fitting(name, cell, kind)
        yield Candidate(spec.label, values, note="" if values else TOO_LITTLE)
        if kind == "auto" and not values and self.profile is not None:
            yield self._statistic(FallbackSpec("profile", spec.label, stat="p50"))

    def _fitting(self, name: str, cell: Cell, kind: str) -> Cell:
        """Return an estimate as the output takes it: a whole number where the profile knows it as whole."""
        if kind == "last_good" or not isinstance(cell, float):
            return cell
        return float(round(cell)) if self._is_whole(name) else cell

    def _statistic(self, spec: FallbackSpec) -> Candidate:
        if self.profile is not None and not self.profile.acts:
            return Candidate(spec.label, {}, note="the profile is not approved")
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
