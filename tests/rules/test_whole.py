"""Whole rulesets: rows, columns and the reference interpreter give the same verdicts, and modes change only the effect."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import Decision, Mode, Phase, Scope, Verdict
from guardproxy.guard import Guard
from guardproxy.guard.screen import judge_request, judge_response
from guardproxy.rules import BoundRules, Rule, Ruleset, View, make_ruleset
from guardproxy.rules.blocks import ROW_CHECKS
from guardproxy.rules.language import LanguageError, aggregate_cells, interpret
from guardproxy.rules.model import FINITE_RULE
from guardproxy.rules.plan import PlannedRule
from guardproxy.rules.report import lookup_in
from guardproxy.rules.sentences import Lookup
from guardproxy.table import Cell, table_from_records
from tests.rules.build import FACTS, PROFILE, rules_of

EVERYTHING = """
lists:
  stores: [a, b, "10"]
  odd: [0, 1, 9007199254740993]
kpis:
  ratio: {title: Ratio, expr: output.demand / features.last_week, expect: {min: 0.5, max: 20}}
  twice: {title: Twice, expr: 2 * kpi.ratio + features.temp}
score: {hold_at: 5, reject_at: 8}
rules:
  - {id: listed, require: features.store in stores}
  - {id: listed-number, forbid: features.temp in odd}
  - {id: by-kpi, require: kpi.twice < 60, action: fallback, fallback: [previous, {expr: features.last_week}, {value: {demand: 5}}]}
  - {id: above-mean, require: output.demand <= 2 * batch_mean(output.demand)}
  - {id: above-mean-kpi, forbid: kpi.ratio > batch_max(kpi.ratio) or batch_min(features.temp) < -2}
  - {id: jump-in-batch, require: batch_count(output.demand > previous.demand) < 3}
  - {id: flat, scope: batch, require: batch_share(output.demand == 0) <= 40%, action: hold}
  - {id: flat-asked, scope: batch, when: batch_count(features.store == "a") > 0, forbid: batch_mean(kpi.ratio) > 3, action: reject}
  - {id: gaps, missing_share: {fields: features.*, max: 30%}}
  - {id: gaps-named, when: features.temp > 0, missing_share: {fields: [output.demand, output.p10, output.gone], max: 50%}}
  - {id: batch-gaps, scope: batch, missing_share: {fields: output.*, max: 40%}}
  - {id: sure, confidence: {field: output.probs, min_top: 60%, min_margin: 20%}}
  - {id: sure-of-two, confidence: {fields: [output.p10, output.p90], min_top: 60%}}
  - {id: worded, text: {field: features.store, must_not_contain: stores, min_chars: 1}}
  - id: excused
    forbid: output.demand > 10
    action: hold
    unless:
      - {id: first, when: features.store == "a" and features.temp > 0, until: 2023-11-14, owner: ops, why: a}
      - {id: gone, when: output.demand > 0, until: 2023-11-13, owner: ops, why: b}
      - {id: odd, when: features.store, until: 2030-01-01, owner: ops, why: c}
  - id: excused-batch
    scope: batch
    require: batch_max(output.demand) < 100
    unless:
      - {id: any, when: batch_share(features.temp > 0) > 50%, until: 2030-01-01, owner: ops, why: d}
  - {id: point, forbid: output.demand > 0, action: score, points: 3}
  - {id: points, forbid: features.temp > 0, when: features.last_week > 0, action: score, points: 4}
  - {id: more-points, require: output.p10 < output.p90, on_unknown: ignore, action: score, points: 2}
  - {id: rolling, require: "recent_mean(output.demand, 1h) < 50"}
  - {id: rolling-row, require: "output.demand < 3 * recent_p99(output.demand, 1d)"}
  - {id: rolling-alone, scope: window, require: "recent_share(output.demand > 3, 1h) >= 20%", for: 15m, action: warn}
"""

_NUMBERS = [
    None,
    0.0,
    -0.0,
    1.0,
    0.5,
    10.0,
    99.0,
    150.0,
    -3.0,
    float("inf"),
    float("-inf"),
    2**53 + 1,
    10**400,
]
_CELLS: st.SearchStrategy[Cell] = st.sampled_from(
    [*_NUMBERS, "a", "b", "", "10", "a b", True, False, (0.5, 0.5)]
)
_PLAIN: st.SearchStrategy[Cell] = st.sampled_from(_NUMBERS)
_PROBS = st.sampled_from([(0.25, 0.75), (0.5, 0.5), (0.5, None), (), (1,), None, 1.0, "x", (0.2, 0.3, 0.5)])
_FEATURES = ("temp", "last_week", "price", "store")
_OUTPUTS = ("demand", "p10", "p90", "probs")
_SPELLINGS = (
    "recent_mean(output.demand, 1h)",
    "recent_p99(output.demand, 1d)",
    "recent_share(output.demand > 3, 1h)",
)

Row = tuple[dict[str, Cell], dict[str, Cell], dict[str, Cell] | None]


@st.composite
def _rows(draw: st.DrawFn) -> list[Row]:
    cell = draw(st.sampled_from([_PLAIN, _CELLS]))

    def record(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Cell]]:
        cells = st.tuples(*(_PROBS if name == "probs" else cell for name in names))
        return cells.map(lambda drawn: dict(zip(names, drawn, strict=True)))

    row = st.tuples(record(_FEATURES), record(_OUTPUTS), st.none() | record(("demand",)))
    return draw(st.lists(row, min_size=1, max_size=5))


_RECENT = st.dictionaries(st.sampled_from(_SPELLINGS), st.sampled_from([None, 0.1, 30.0, 80.0, float("nan")]))
_RULES = rules_of(EVERYTHING)
_BOUND = _RULES.bind(_FEATURES, _OUTPUTS, PROFILE, key=("price",))


def view_of(rows: Sequence[Row], recent: Mapping[str, Cell], identity: bytes = b"") -> View:
    def previous(by: tuple[str, ...], row: int) -> Mapping[str, Cell] | None:
        return rows[row][2]

    features = table_from_records([row[0] for row in rows])
    output = table_from_records([row[1] for row in rows])
    return View(features, output, FACTS, previous, identity, recent=recent)


def reference(bound: BoundRules, planned: PlannedRule, row: int, view: View) -> Verdict:
    """One rule on one row by the interpreter and plain loops, batch functions included."""
    lookup = lookup_in(view, row, planned.by, bound.names)
    verdict = _plain(bound, planned, row, view, lookup)
    if verdict in (Verdict.OK, Verdict.SKIPPED):
        return verdict
    for unless, program in planned.programs.unless:
        try:
            if view.facts.date <= unless.until and interpret(program, lookup) is True:
                return Verdict.SKIPPED
        except LanguageError:
            continue
    return verdict


def _plain(bound: BoundRules, planned: PlannedRule, row: int, view: View, lookup: Lookup) -> Verdict:
    check, programs = planned.check, planned.programs
    try:
        applies = True if programs.when is None else _flag(interpret(programs.when, lookup))
        if not applies:
            return Verdict.UNKNOWN if applies is None else Verdict.SKIPPED
        answer: Cell = True
        if programs.wants is not None:
            answer = _flag(interpret(programs.wants, lookup))
        elif check.kind in ROW_CHECKS:
            table = view.features if check.fields and check.fields[0].space == "features" else view.output
            assert table is not None
            names = _OUTPUTS if check.kind == FINITE_RULE else [named.name for named in check.fields]
            answer = ROW_CHECKS[check.kind](check, [table.cell(name, row) for name in names])
        elif check.kind == "missing_share":
            answer = _little_missing(planned.rule, row, view)
        elif planned.inside is not None:
            few = planned.inside.few(view, check.at_least)
            answer = few is None or bool(few[row])
    except LanguageError:
        return Verdict.ERROR
    if answer is None:
        return Verdict.UNKNOWN
    return Verdict.OK if answer is check.sense else Verdict.VIOLATED


def _flag(cell: Cell) -> bool | None:
    if cell is None or isinstance(cell, bool):
        return cell
    raise LanguageError("neither yes nor no")


def _little_missing(rule: Rule, row: int, view: View) -> bool:
    assert view.output is not None
    tables = {"features": view.features, "output": view.output}
    every = rule.check.every
    named = (
        [(every, name) for name in tables[every].fields]
        if every
        else [(f.space, f.name) for f in rule.check.fields]
    )
    gone = [
        [tables[space].cell(name, at) is None for at in range(view.features.rows)] for space, name in named
    ]
    if rule.scope is Scope.BATCH:
        return all(sum(cells) / len(cells) <= rule.check.share for cells in gone)
    return sum(cells[row] for cells in gone) / len(gone) <= rule.check.share


def with_batches(bound: BoundRules, view: View) -> View:
    """Work out batch functions by the interpreter."""
    found: dict[str, Cell] = {}
    for planned in bound.planned.values():
        for ref, one in planned.programs.aggregates().items():
            if ref.space == "batch":
                cells: list[Cell | LanguageError] = []
                for row in range(view.features.rows):
                    try:
                        cells.append(interpret(one.argument, lookup_in(view, row, bound.key, bound.names)))
                    except LanguageError as error:
                        cells.append(error)
                found[ref.name] = aggregate_cells(one.function, cells)
    return view._replace(batch=found)


@settings(max_examples=200, deadline=None)
@given(_rows(), _RECENT)
def test_rows_columns_and_the_interpreter_agree_on_whole_rulesets(
    rows: list[Row], recent: dict[str, Cell]
) -> None:
    view = view_of(rows, recent)
    known = with_batches(_BOUND, view)
    for phase in Phase:
        plan = _BOUND.plans[phase]
        by_row, by_column = plan.by_row(view).tolist(), plan.by_column(view).tolist()
        for index, planned in enumerate(plan.rules):
            slow = [int(reference(_BOUND, planned, row, known)) for row in range(len(rows))]
            assert by_row[index] == slow, planned.rule.id
            assert by_column[index] == slow, planned.rule.id
        if len(rows) == 1:
            assert list(plan.judge_one(view)) == [codes[0] for codes in by_row]
        for index, planned in enumerate(plan.rules):
            for row, code in enumerate(by_row[index]):
                finding = _BOUND.finding(planned.rule, row, Verdict(code), view)
                assert finding.message
                assert finding.rev == planned.rule.rev
                applied = _BOUND.excepted(planned.rule, row, view)
                if planned.rule.when == "":
                    assert (applied is not None) == (code == Verdict.SKIPPED), planned.rule.id


@settings(max_examples=60, deadline=None)
@given(_rows(), _RECENT)
def test_kpis_by_column_are_those_of_the_interpreter(rows: list[Row], recent: dict[str, Cell]) -> None:
    view = view_of(rows, recent)
    for name, column in _BOUND.kpis(view).items():
        program = next(program for kpi, program, _ in _BOUND.measures.each if kpi.name == name)
        for row in range(len(rows)):
            lookup = lookup_in(view, row, (), _BOUND.names)
            try:
                value = interpret(program, lookup)
            except LanguageError:
                value = None
            assert column.cell(row) == value


def in_mode(ruleset: Ruleset, mode: Mode, share: float = 1.0) -> Guard:
    """The same rules, all in one mode."""
    rules = tuple(replace(rule, mode=mode, canary=share) for rule in ruleset.rules)
    made = make_ruleset(
        "m", rules, (), PROFILE, lists=ruleset.lists, kpis=ruleset.kpis, limits=ruleset.limits
    )
    return Guard("m", make_codec("kserve-v1", CodecOptions()), made, PROFILE, ("price",))


_ENFORCED = in_mode(_RULES, Mode.ENFORCE)
_WATCHING = {
    "shadow": in_mode(_RULES, Mode.SHADOW),
    "a canary that is never drawn": in_mode(_RULES, Mode.CANARY, 1e-9),
    "a canary that is always drawn": in_mode(_RULES, Mode.CANARY, 1.0),
}


def judged(guard: Guard, rows: list[Row], identity: bytes) -> Decision:
    view = view_of(rows, {}, identity)
    verdicts, refusal = judge_request(guard, view._replace(output=None))
    return refusal or judge_response(guard, view, verdicts)


def evidence(decision: Decision) -> set[tuple[object, ...]]:
    return {
        (
            one.rule,
            one.row,
            one.verdict,
            re.sub("nan", "", one.message),
            str(one.measured),
            one.bound,
            one.severity,
        )
        for one in decision.findings
    }


@settings(max_examples=100, deadline=None)
@given(_rows(), st.binary(min_size=1, max_size=24))
def test_a_mode_changes_the_effect_and_nothing_else_of_the_record(rows: list[Row], identity: bytes) -> None:
    enforced = judged(_ENFORCED, rows, identity)
    for name, guard in _WATCHING.items():
        watching = judged(guard, rows, identity)
        assert watching.rules == enforced.rules
        assert np.array_equal(watching.verdicts, enforced.verdicts), name
        assert evidence(watching) == evidence(enforced)
        if name == "a canary that is always drawn":
            assert watching.outcomes.tolist() == enforced.outcomes.tolist()
            assert str(watching.patch) == str(enforced.patch)
            assert [one.acts for one in watching.findings] == [one.acts for one in enforced.findings]
        else:
            assert not watching.outcomes.any()
            effects = (watching.patch, watching.held, watching.rejected, watching.withheld)
            assert effects == ((), (), (), ())
            assert not any(one.acts for one in watching.findings)


def test_verdicts_about_a_batch_are_the_same_for_all_its_rows_however_it_is_judged() -> None:
    rows: list[Row] = [
        (
            {"temp": 1.0, "last_week": 9.0, "price": 1.0, "store": "a"},
            {"demand": float(n % 2), "p10": 1.0, "p90": 2.0, "probs": (0.9, 0.1)},
            None,
        )
        for n in range(200)
    ]
    codes = _BOUND.judge(Phase.RESPONSE, view_of(rows, {}))
    ids = [rule.id for rule in _BOUND.rules_of(Phase.RESPONSE)]
    assert set(codes[ids.index("flat")].tolist()) == {Verdict.VIOLATED}
    assert set(codes[ids.index("flat-asked")].tolist()) == {Verdict.OK}
    few = _BOUND.judge(Phase.RESPONSE, view_of(rows[:3], {}))
    assert set(few[ids.index("flat")].tolist()) == {Verdict.VIOLATED}
    assert set(_BOUND.judge(Phase.RESPONSE, view_of(rows[1:2], {}))[ids.index("flat")].tolist()) == {
        Verdict.OK
    }


@pytest.mark.parametrize("rows", [3, 100])
def test_an_exception_is_asked_about_loud_rows_only_and_its_last_day_counts(rows: int) -> None:
    ruleset = rules_of(
        "rules:\n  - id: high\n    forbid: output.demand > 10\n    unless:\n"
        "      - {id: known, when: features.temp > 0, until: 2023-11-14, owner: ops, why: it is}\n"
    )
    bound = ruleset.bind(("temp",), ("demand",), None)
    cells: list[tuple[Cell, Cell]] = [(1.0, 20.0), (-1.0, 20.0), (1.0, 5.0), (None, 20.0), ("x", 20.0)]
    wanted = [Verdict.SKIPPED, Verdict.VIOLATED, Verdict.OK, Verdict.VIOLATED, Verdict.VIOLATED]
    made = [cells[row % 5] for row in range(rows)]
    view = View(
        table_from_records([{"temp": temp} for temp, _ in made]),
        table_from_records([{"demand": demand} for _, demand in made]),
        FACTS,
        lambda by, row: None,
    )
    codes = bound.judge(Phase.RESPONSE, view)[0].tolist()
    assert codes == [wanted[row % 5] for row in range(rows)]
    found = bound.excepted(ruleset.rules[0], 0, view)
    assert found is not None
    assert found.id == "known"
    assert bound.excepted(ruleset.rules[0], 1, view) is None
    late = view._replace(facts=FACTS._replace(date="2023-11-15"))
    assert bound.judge(Phase.RESPONSE, late)[0].tolist()[0] == Verdict.VIOLATED
