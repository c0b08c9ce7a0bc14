"""One phase's rules on one message's fields: the fast path.

Decides when rows are judged one by one in generated functions and when as columns in numpy; both give the same
verdicts. What a verdict means is left to the guard.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.decision import Scope, Verdict
from guardproxy.profile.model import Profile
from guardproxy.rules.absent import Absence, bind_absence
from guardproxy.rules.batches import COLUMNS_FROM, Batches, Row, bind_batches
from guardproxy.rules.blocks import TABLE_CHECKS
from guardproxy.rules.compiled import CompiledPhase, CompiledRule, Programs
from guardproxy.rules.inside import Inside, bind_inside, fewer, judge_inside
from guardproxy.rules.language import ERROR, UNKNOWN, Column, LanguageError, one_code
from guardproxy.rules.layout import Layout, make_layout, one_row
from guardproxy.rules.model import FINITE_RULE, Check, Rule, View
from guardproxy.rules.quieting import Exceptions
from guardproxy.table import Cell, Codes, Mask

Step: TypeAlias = tuple[Row | None, Row, Mapping[Cell, int]]

_OK: Final = int(Verdict.OK)
_VIOLATED: Final = int(Verdict.VIOLATED)
_UNKNOWN: Final = int(Verdict.UNKNOWN)
_ERROR: Final = int(Verdict.ERROR)
_SKIPPED: Final = int(Verdict.SKIPPED)
_ANSWERS: Final[Mapping[bool, Mapping[Cell, int]]] = {
    True: {True: _OK, False: _VIOLATED, None: _UNKNOWN},
    False: {True: _VIOLATED, False: _OK, None: _UNKNOWN},
}
# By the language's result codes: no, yes, unknown, error.
_CODES: Final[Mapping[bool, bytes]] = {
    True: bytes((_VIOLATED, _OK, _UNKNOWN, _ERROR)).ljust(256),
    False: bytes((_OK, _VIOLATED, _UNKNOWN, _ERROR)).ljust(256),
}
_WHEN: Final = bytes((_SKIPPED, _OK, _UNKNOWN, _ERROR)).ljust(256)
QUIET_BYTES: Final = bytes((_OK, _SKIPPED))
"""The verdicts that nobody need know of."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedRule:
    """A rule on a message's fields. `by` names the entity of its past, `names` the columns of a check over many cells;
    `inside` is set for a profile check that has a profile, `absence` for a check of what is missing.
    """

    compiled: CompiledRule
    by: tuple[str, ...]
    step: Step
    names: tuple[str, ...]
    inside: Inside | None
    absence: Absence | None = None

    @property
    def rule(self) -> Rule:
        """The rule itself."""
        return self.compiled.programs.rule

    @property
    def check(self) -> Check:
        """The rule's check."""
        return self.compiled.programs.rule.check

    @property
    def programs(self) -> Programs:
        """The rule's expressions."""
        return self.compiled.programs


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The rules of one phase, ready to judge.

    `broad` are the indices of rules with one verdict for all rows. `insides` and `absences` look at whole tables, once
    the cells are judged; `exceptions` at what is loud after that.
    """

    layout: Layout
    rules: tuple[PlannedRule, ...]
    steps: tuple[Step, ...]
    broad: tuple[int, ...]
    insides: tuple[tuple[Inside, tuple[tuple[int, int], ...]], ...]
    absences: tuple[tuple[int, Absence], ...]
    batches: Batches
    exceptions: Exceptions

    def judge(self, view: View) -> Codes:
        """Return the verdict codes, shape (rules, rows)."""
        rows = view.features.rows
        if not self.steps:
            return np.zeros((0, rows), dtype=np.uint8)
        return self.by_row(view) if rows < COLUMNS_FROM else self.by_column(view)

    def judge_one(self, view: View) -> bytes:
        """Return the verdict codes of a view of one row, one byte per rule."""
        if not self.steps:
            return b""
        if self.batches.each:
            view = self.batches.into(view)
        out = bytearray(len(self.steps))
        _run(self.steps, self.layout.one(view), out, 0, 1)
        if self.insides or self.absences:
            for index, few in self._few(view):
                judge_inside(np.frombuffer(out, dtype=np.uint8)[index : index + 1], few)
        if self.exceptions.rules and out.translate(None, QUIET_BYTES):
            self.exceptions.apply(np.frombuffer(out, dtype=np.uint8).reshape(-1, 1), view)
        return bytes(out)

    def by_row(self, view: View) -> Codes:
        """Judge row by row."""
        rows, view = view.features.rows, self._with_batches(view)
        out = bytearray(len(self.steps) * rows)
        steps = self._row_steps()
        gathered = self.layout.rows(view)
        for number, cells in enumerate(gathered):
            _run(steps, cells, out, number, rows)
        codes = np.frombuffer(out, dtype=np.uint8).reshape(len(self.steps), rows)
        for index in self.broad if rows else ():
            one = bytearray(1)
            _run(self.steps[index : index + 1], gathered[0], one, 0, 1)
            codes[index] = one[0]
        return self._finish(view, codes)

    def by_column(self, view: View) -> Codes:
        """Judge all rows of a column at once."""
        rows, view = view.features.rows, self._with_batches(view)
        codes = np.zeros((len(self.steps), rows), dtype=np.uint8)
        columns = self.layout.columns(view)
        for index, planned in enumerate(self.rules):
            judged = _judge_columns(planned, columns, view)
            if type(judged) is not int or judged != _OK:
                codes[index] = judged
        return self._finish(view, codes)

    def raw(self, index: int, view: View, row: int) -> Verdict:
        """Judge one rule on one row of a view, leaving its exceptions out."""
        view = self._with_batches(view)
        cells = self.layout.rows(one_row(view, row))[0]
        return judge_one(self.rules[index], cells, view, row)

    def _with_batches(self, view: View) -> View:
        return self.batches.into(view) if self.batches.each else view

    def _row_steps(self) -> Sequence[Step]:
        """Return the steps that must be run on every row."""
        if not self.broad:
            return self.steps
        steps = list(self.steps)
        for index in self.broad:
            steps[index] = _IDLE
        return steps

    def _finish(self, view: View, codes: Codes) -> Codes:
        for index, few in self._few(view):
            judge_inside(codes[index], few)
        if self.exceptions.rules:
            self.exceptions.apply(codes, view)
        return codes

    def _few(self, view: View) -> Iterator[tuple[int, Mask | None]]:
        """Yield the checks of whole tables that some row does not satisfy, with the rows that do."""
        for inside, counted in self.insides:
            counts = inside.counts(view)
            if counts is not None:
                for index, at_least in counted:
                    yield index, fewer(counts, at_least)
        for index, absence in self.absences:
            few = absence.few(view)
            if few is not None:
                yield index, few


def judge_one(planned: PlannedRule, cells: Sequence[Cell], view: View, row: int = 0) -> Verdict:
    """Judge one rule on one row of a view, whose cells were gathered; exceptions are left out."""
    out = bytearray(1)
    _run((planned.step,), cells, out, 0, 1)
    if out[0] == _OK:
        few = None
        if planned.inside is not None:
            few = planned.inside.few(view, planned.check.at_least)
        elif planned.absence is not None:
            few = planned.absence.few(view)
        return Verdict.OK if few is None or few[row] else Verdict.VIOLATED
    return Verdict(out[0])


def make_plan(
    phase: CompiledPhase,
    features: tuple[str, ...],
    outputs: tuple[str, ...],
    profile: Profile | None,
    key: tuple[str, ...],
) -> Plan:
    """Place the rules of one phase on a message's fields. `key` names the entity where a rule has no `by`."""
    insides = _insides(phase, features, outputs, profile)
    rules = tuple(
        _planned(one, features, outputs, key, insides.get(_shared(one.rule.check)), profile)
        for one in phase.rules
    )
    counted: dict[int, tuple[Inside, list[tuple[int, int]]]] = {}
    for index, planned in enumerate(rules):
        if planned.inside is not None:
            group = counted.setdefault(id(planned.inside), (planned.inside, []))
            group[1].append((index, planned.check.at_least))
    return Plan(
        make_layout(phase.slots, features, outputs, key),
        rules,
        tuple(planned.step for planned in rules),
        tuple(index for index, planned in enumerate(rules) if planned.rule.scope is not Scope.ROW),
        tuple((inside, tuple(pairs)) for inside, pairs in counted.values()),
        tuple((index, one.absence) for index, one in enumerate(rules) if one.absence is not None),
        bind_batches(phase.batches, features, outputs, key),
        Exceptions(
            make_layout(phase.exceptions.slots, features, outputs, key),
            bind_batches(phase.excepted, features, outputs, key),
            phase.exceptions.rules,
        ),
    )


def _insides(
    phase: CompiledPhase, features: tuple[str, ...], outputs: tuple[str, ...], profile: Profile | None
) -> Mapping[tuple[object, ...], Inside]:
    """Bind each profile check once, however many rules make it."""
    if profile is None:
        return {}
    checks = {_shared(one.rule.check): one.rule.check for one in phase.rules if one.rule.kind == "profile"}
    return {shared: bind_inside(check, profile, features, outputs) for shared, check in checks.items()}


def _shared(check: Check) -> tuple[object, ...]:
    return (check.kind, check.every, check.fields, check.outside)


def _planned(
    compiled: CompiledRule,
    features: tuple[str, ...],
    outputs: tuple[str, ...],
    key: tuple[str, ...],
    inside: Inside | None,
    profile: Profile | None,
) -> PlannedRule:
    check = compiled.rule.check
    wants = compiled.wants_row
    if wants is None:
        wants = _unknown if check.kind == "profile" and inside is None else _yes
    absence = None
    if check.kind == "missing_share":
        absence = bind_absence(compiled.rule, features, outputs, profile)
    names = outputs if check.kind == FINITE_RULE else tuple(named.name for named in check.fields)
    return PlannedRule(
        compiled, check.by or key, (compiled.when_row, wants, _ANSWERS[check.sense]), names, inside, absence
    )


def _run(steps: Sequence[Step], cells: Sequence[Cell], out: bytearray, at: int, stride: int) -> None:
    for when, wants, answers in steps:
        try:
            if when is None:
                out[at] = answers[wants(cells)]
            else:
                applies = when(cells)
                if applies:
                    out[at] = answers[wants(cells)]
                else:
                    out[at] = _UNKNOWN if applies is None else _SKIPPED
        except LanguageError:
            out[at] = _ERROR
        at += stride


def _yes(cells: Sequence[Cell]) -> Cell:  # noqa: ARG001 - one signature for all rules
    return True


_IDLE: Final[Step] = (None, _yes, _ANSWERS[True])
"""Stands in for a rule that is judged once for all rows."""


def _unknown(cells: Sequence[Cell]) -> Cell:  # noqa: ARG001 - one signature for all rules
    return None


def _judge_columns(planned: PlannedRule, columns: Sequence[Column], view: View) -> Codes | int:
    """Return the verdict codes of one rule, or the code that all rows have."""
    rows = view.features.rows
    if planned.compiled.when_columns is None:
        return _wants_columns(planned, columns, view)
    applies = _coded(planned.compiled.when_columns(columns, rows), rows, _WHEN)
    if isinstance(applies, int):
        return _wants_columns(planned, columns, view) if applies == _OK else applies
    if applies.all():
        return applies
    wanted = _wants_columns(planned, columns, view)
    # Ok in every row for which the rule is meant: what is left are the rows for which it is not.
    return applies if type(wanted) is int and wanted == _OK else np.where(applies == _OK, wanted, applies)


def _coded(column: Column, rows: int, codes: bytes) -> Codes | int:
    """Turn the language's result codes into verdict codes; an int when all rows have the same."""
    flags = _flags(column, rows)
    said = one_code(flags)
    if said is not None:
        return codes[said]
    # A look-up of single bytes is several times quicker than numpy's own, which makes indices first.
    return np.frombuffer(flags.tobytes().translate(codes), dtype=np.uint8)


def _wants_columns(planned: PlannedRule, columns: Sequence[Column], view: View) -> Codes | int:
    rows, check = view.features.rows, planned.check
    if planned.compiled.wants_columns is not None:
        return _coded(planned.compiled.wants_columns(columns, rows), rows, _CODES[check.sense])
    if check.kind in TABLE_CHECKS:
        table = view.features if check.fields and check.fields[0].space == "features" else view.output
        if table is None:
            raise ValueError("a check of predictions needs the response")
        return TABLE_CHECKS[check.kind](check, table, planned.names)
    blind = check.kind == "profile" and planned.inside is None
    return _UNKNOWN if blind else _OK


def _flags(column: Column, rows: int) -> NDArray[np.int8]:
    """Return yes/no codes; a value that is neither yes, no nor unknown is an error."""
    if column.codes is not None:
        return column.codes
    return np.fromiter((_flag(column, row) for row in range(rows)), dtype=np.int8, count=rows)


def _flag(column: Column, row: int) -> int:
    cell = column.cell(row)
    if column.failed(row) or not (cell is None or type(cell) is bool):
        return ERROR
    return UNKNOWN if cell is None else int(cell)
