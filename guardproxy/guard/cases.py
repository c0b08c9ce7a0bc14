"""Run the `tests:` of rule files: the same judging as in front of a model server, on given rows.

Decides whether a case passed and says how it differs. How cases are written is left to `rules`, how they are printed to
the command.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import Action, Decision, Outcome, Phase, RequestFacts, Verdict
from guardproxy.guard.given import given_profile
from guardproxy.guard.given_past import GivenPast
from guardproxy.guard.guard import Guard
from guardproxy.guard.screen import codes_of, judge_request, judge_response
from guardproxy.profile.model import Origin, Profile
from guardproxy.rules import BoundRules, Case, Expected, Ruleset, View
from guardproxy.table import Cell, Codes, Table, table_from_records

TOLERANCE: Final = 1e-9
_FACTS: Final[Mapping[str, Cell]] = {"hour": 12, "weekday": 2, "date": "2026-01-07"}
"""A case that says nothing of its request happened on a Wednesday at noon."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """How one row of a case went. `excepted` names, by rule, the exception that made its verdict `skipped`.

    `uncovered` names the exceptions whose condition did not hold on the row, as (rule, exception).
    """

    verdicts: Mapping[str, Verdict]
    outcome: Outcome
    value: Mapping[str, Cell] | None
    excepted: Mapping[str, str]
    uncovered: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one case went. `verdicts`, `outcome` and `value` are those of its strongest row; `differences` are sentences.

    `violated` names every rule that any row violated.
    """

    case: Case
    passed: bool
    verdicts: Mapping[str, Verdict]
    outcome: Outcome
    value: Mapping[str, Cell] | None
    differences: tuple[str, ...]
    violated: frozenset[str]
    rows: tuple[RowResult, ...] = ()


@dataclass(frozen=True, slots=True)
class _Run:
    """A case after judging: what was found, and all that explains it."""

    bound: BoundRules
    view: View
    decision: Decision | None
    codes: Codes
    rules: tuple[str, ...]
    predictions: Table | None


def run_cases(ruleset: Ruleset, profile: Profile | None = None) -> list[CaseResult]:
    """Run every case of a ruleset."""
    return [run_case(ruleset, case, profile) for case in ruleset.cases]


def run_case(ruleset: Ruleset, case: Case, profile: Profile | None = None) -> CaseResult:
    """Judge a case's rows as the proxy would and compare with what it expects. Canaries act, as if all were drawn."""
    run = _run(ruleset, case, profile)
    rows = [_row(run, row) for row in range(len(case.expect))]
    differences = [
        f"row {number}: {text}" if len(rows) > 1 else text
        for number, (expected, row) in enumerate(zip(case.expect, rows, strict=True))
        for text in _differences(expected, row, run, number)
    ]
    strongest = max(rows, key=lambda row: row.outcome)
    violated = (rule for row in rows for rule, verdict in row.verdicts.items() if verdict is Verdict.VIOLATED)
    return CaseResult(
        case,
        not differences,
        strongest.verdicts,
        strongest.outcome,
        strongest.value,
        tuple(differences),
        frozenset(violated),
        tuple(rows),
    )


def _run(ruleset: Ruleset, case: Case, profile: Profile | None) -> _Run:
    rows = case.given.rows
    stats = case.given.stats
    profile = given_profile(ruleset.model, profile, stats)
    if profile is not None and not profile.acts:
        # A test says what the rules do once somebody has approved the profile.
        profile = replace(profile, source=Origin.DATA)
    guard = Guard(ruleset.model, make_codec("kserve-v1", CodecOptions()), ruleset, profile, (), stats)
    features = table_from_records([row.features for row in rows])
    outputs = [row.output for row in rows if row.output is not None]
    whole = outputs if len(outputs) == len(rows) else []
    predictions = table_from_records(whole) if whole else None

    def previous(_by: tuple[str, ...], row: int) -> Mapping[str, Cell] | None:
        last: dict[str, Cell] = {name: answers[-1] for name, answers in rows[row].history.items()}
        given = rows[row].previous
        return given if not last else {**last, **(given or {})}

    facts = _facts(case.given.request)
    past = GivenPast(rows, facts.date)
    view = View(features, None, facts, previous, recent=case.given.recent, past=past)
    verdicts, refusal = judge_request(guard, view)
    bound = guard.bind(features.fields, ())
    if refusal is None and predictions is not None:
        bound = guard.bind(features.fields, predictions.fields)
        view = view._replace(output=predictions)
        decision = judge_response(guard, view, verdicts)
        return _Run(bound, bound.seeing(view), decision, decision.verdicts, decision.rules, predictions)
    judged = tuple(rule.id for rule in bound.rules_of(Phase.REQUEST))
    return _Run(bound, bound.seeing(view), refusal, codes_of(verdicts), judged, None)


def _row(run: _Run, row: int) -> RowResult:
    verdicts = {rule: Verdict(code) for rule, code in zip(run.rules, run.codes[:, row].tolist(), strict=True)}
    excepted: dict[str, str] = {}
    uncovered: set[tuple[str, str]] = set()
    for rule_id, verdict in verdicts.items():
        rule = run.bound.planned[rule_id].rule
        for unless in rule.unless:
            if not run.bound.covers(rule, unless, row, run.view):
                uncovered.add((rule_id, unless.id))
        found = run.bound.excepted(rule, row, run.view) if verdict is Verdict.SKIPPED else None
        if found is not None:
            excepted[rule_id] = found.id
    served = _served(run.decision, run.predictions, row)
    return RowResult(verdicts, _outcome(run.decision, row), served, excepted, frozenset(uncovered))


def _differences(expected: Expected, row: RowResult, run: _Run, number: int) -> list[str]:
    found = []
    for rule, wanted in expected.verdicts.items():
        got = row.verdicts.get(rule)
        if got is not wanted:
            said = "was not judged" if got is None else f"got {got.name.lower()}"
            found.append(f"{rule}: expected {wanted.name.lower()}, {said}{_evidence(rule, row, run, number)}")
    if expected.outcome is not None and row.outcome is not expected.outcome:
        found.append(
            f"outcome: expected {expected.outcome.name.lower()}, got {row.outcome.name.lower()}"
            f"{_strongest(run.decision, number)}"
        )
    for name, cell in (expected.value or {}).items():
        got_cell = None if row.value is None else row.value.get(name)
        if not _equal(cell, got_cell):
            found.append(
                f"value of {name}: expected {cell}, got {'no answer' if row.value is None else got_cell}"
            )
    return found


def _evidence(rule: str, row: RowResult, run: _Run, number: int) -> str:
    """Say in brackets what led to a verdict: the exception that applied, else what was compared with what."""
    verdict = row.verdicts.get(rule)
    if verdict is None:
        return ""
    if rule in row.excepted:
        return f" (exception '{row.excepted[rule]}' matched)"
    decision = run.decision
    found = (
        next((f for f in decision.findings if f.rule == rule and f.row == number), None) if decision else None
    )
    finding = found or run.bound.finding(run.bound.planned[rule].rule, number, verdict, run.view)
    compared = run.bound.compared(run.bound.planned[rule].rule, number, run.view)
    return f" ({finding.message}{f': {compared}' if compared else ''})"


def _strongest(decision: Decision | None, row: int) -> str:
    if decision is None:
        return ""
    acting = [f for f in decision.findings if f.row == row and f.acts and f.action is not Action.SCORE]
    acting.sort(key=lambda f: (-f.action, -f.severity, f.rule))
    if not acting:
        return " (no enforced rule was violated)"
    first = acting[0]
    said = f"strongest violated rule: {first.rule}"
    if first.verdict is not Verdict.VIOLATED:
        said = f"{first.rule} is {first.verdict.name.lower()}, which counts as a violation: {first.message}"
    if first.action in (Action.CLAMP, Action.FALLBACK) and decision.outcomes[row] == Outcome.REJECTED:
        said += "; nothing in its fallback chain could be served"
    return f" ({said})"


def _outcome(decision: Decision | None, row: int) -> Outcome:
    return Outcome.ALLOWED if decision is None else Outcome(int(decision.outcomes[row]))


def _served(decision: Decision | None, predictions: Table | None, row: int) -> Mapping[str, Cell] | None:
    """Return what a client would get for a row; None when it gets no answer."""
    if decision is None or predictions is None or decision.rejected or row in decision.withheld:
        return None
    values = predictions.record(row)
    for patch in decision.patch:
        if patch.row == row:
            values.update(patch.values)
    return values


def _equal(one: Cell, other: Cell) -> bool:
    plain = [isinstance(cell, (int, float)) and not isinstance(cell, bool) for cell in (one, other)]
    if all(plain):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)  # type: ignore[arg-type]
    return one == other


def _facts(given: Mapping[str, Cell]) -> RequestFacts:
    said = {**_FACTS, **given}
    hour, weekday = (cell if isinstance(cell := said[name], int) else 0 for name in ("hour", "weekday"))
    caller, version = (
        None if said.get(name) is None else str(said[name]) for name in ("caller", "model_version")
    )
    return RequestFacts(0.0, hour, weekday, str(said["date"]), caller, version)
