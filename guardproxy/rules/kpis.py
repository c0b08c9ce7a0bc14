"""KPIs: numbers that experts follow, as expressions that others may use and as columns for the statistics.

Decides how KPIs become functions of columns, and which of their values are tallied. How they are written is left to
`definitions`; what is expected of a KPI is a rule like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from guardproxy.decision import RequestFacts
from guardproxy.errors import OperatorError
from guardproxy.rules.batches import Batches, Columns, CompiledBatches, bind_batches, compile_batches
from guardproxy.rules.language import Column, Flaw, Program, compile_expression, vector
from guardproxy.rules.layout import By, Layout, Slots, make_layout, make_slots
from guardproxy.rules.model import Kpi, View
from guardproxy.rules.names import ModelNames
from guardproxy.table import Table

TALLIED: Final = frozenset({"features", "output"})
"""A KPI that reads anything else is charted by the rules that use it: a tally of many exchanges has one time and no past."""

_NOWHEN: Final = RequestFacts(0.0, 0, 0, "")


@dataclass(frozen=True, slots=True, eq=False)
class CompiledKpis:
    """The KPIs of a model as functions of columns, and the slots that they read."""

    slots: Slots
    batches: CompiledBatches
    each: tuple[tuple[Kpi, Program, Columns], ...]

    def bind(self, features: tuple[str, ...], outputs: tuple[str, ...], key: By = ()) -> "Kpis":
        """Place the KPIs on a message's field names."""
        layout = make_layout(self.slots, features, outputs, key)
        return Kpis(layout, bind_batches(self.batches, features, outputs, key), self.each)


@dataclass(frozen=True, slots=True, eq=False)
class Kpis:
    """KPIs on one message's fields."""

    layout: Layout
    batches: Batches
    each: tuple[tuple[Kpi, Program, Columns], ...]

    def columns(self, view: View) -> dict[str, Column]:
        """Return each KPI's values by row, under its own name; missing where it cannot be had."""
        if not self.each:
            return {}
        if self.batches.each:
            view = self.batches.into(view)
        rows, gathered = view.features.rows, self.layout.columns(view)
        return {kpi.name: columns(gathered, rows) for kpi, _, columns in self.each}

    def tallied(self, features: Table, predictions: Table) -> list[tuple[Kpi, Column]]:
        """Return the KPIs that depend on nothing but the rows, for rows of many exchanges together."""
        view = View(features, predictions, _NOWHEN, _no_past)
        wanted = [one for one in self.each if all(ref.space in TALLIED for ref in one[1].refs)]
        if not wanted:
            return []
        gathered = self.layout.columns(view._replace(batch={}))
        return [(kpi, columns(gathered, features.rows)) for kpi, _, columns in wanted]


def with_kpis(names: ModelNames, kpis: tuple[Kpi, ...]) -> ModelNames:
    """Return names that know these KPIs, whatever their order. Raises `OperatorError` where one cannot be compiled."""
    made: dict[str, Program] = {}
    known = replace(names, kpis=made)
    waiting = list(kpis)
    while waiting:
        flaws: dict[str, tuple[Flaw, ...]] = {}
        for kpi in waiting:
            # A rule file's KPIs come each after those that it uses, so that one pass is enough.
            program = compile_expression(kpi.expr, known)
            if isinstance(program, Program):
                made[kpi.name] = program
            else:
                flaws[kpi.name] = program
        if len(flaws) == len(waiting):
            name, first = next(iter(flaws.items()))
            raise OperatorError(f"KPI '{name}' cannot be compiled: {first[0].message}")
        waiting = [kpi for kpi in waiting if kpi.name in flaws]
    return known if made else names


def compile_kpis(kpis: tuple[Kpi, ...], programs: Mapping[str, Program]) -> CompiledKpis:
    """Generate the functions of KPIs that were compiled."""
    slots = make_slots(((ref, ()) for kpi in kpis for ref in programs[kpi.name].refs), whole=False)
    each = tuple(
        (kpi, program, vector(program, slots.of(program, ())))
        for kpi in kpis
        for program in (programs[kpi.name],)
    )
    return CompiledKpis(slots, compile_batches(program.aggregates for _, program, _ in each), each)


def _no_past(by: By, row: int) -> None:  # noqa: ARG001
    return None
