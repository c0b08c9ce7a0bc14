"""Run the `tests:` of rule files: the same judging as in front of a model server, on given rows.

Decides whether a case passed and says how it differs. How cases are written is left to `rules`, how they are printed to
the command.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import Decision, Outcome, RequestFacts, Verdict
from guardproxy.guard.guard import Guard
from guardproxy.guard.screen import codes_of, judge_request, judge_response
from guardproxy.profile.model import Profile
from guardproxy.rules import Case, Expected, Ruleset, View
from guardproxy.table import Cell, Codes, Table, table_from_records

TOLERANCE: Final = 1e-9
_FACTS: Final[Mapping[str, Cell]] = {"hour": 12, "weekday": 2, "date": "2026-01-07"}
"""A case that says nothing of its request happened on a Wednesday at noon."""


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


def run_cases(ruleset: Ruleset, profile: Profile | None = None) -> list[CaseResult]:
    """Run every case of a ruleset."""
    return [run_case(ruleset, case, profile) for case in ruleset.cases]


def run_case(ruleset: Ruleset, case: Case, profile: Profile | None = None) -> CaseResult:
    """Judge a case's rows as the proxy would and compare with what it expects."""
    rows = case.given.rows
    guard = Guard(
        ruleset.model, make_codec("kserve-v1", CodecOptions()), ruleset, profile, (), case.given.stats
    )
    features = table_from_records([row.features for row in rows])
    outputs = [row.output for row in rows if row.output is not None]
    whole = outputs if len(outputs) == len(rows) else []
    predictions = table_from_records(whole) if whole else None

    def previous(_by: tuple[str, ...], row: int) -> Mapping[str, Cell] | None:
        return rows[row].previous

    facts = _facts(case.given.request)
    verdicts, refusal = judge_request(guard, View(features, None, facts, previous))
    codes = codes_of(verdicts)
    decision, rule_ids = refusal, guard.bind(features.fields, ()).rule_ids
    if refusal is None and predictions is not None:
        decision = judge_response(guard, View(features, predictions, facts, previous), verdicts)
        codes, rule_ids = decision.verdicts, decision.rules
    return _compare(case, decision, codes, rule_ids, predictions if refusal is None else None)


def _compare(
    case: Case, decision: Decision | None, codes: Codes, rule_ids: Sequence[str], predictions: Table | None
) -> CaseResult:
    seen = [
        {rule: Verdict(code) for rule, code in zip(rule_ids, codes[:, row].tolist(), strict=False)}
        for row in range(len(case.expect))
    ]
    outcomes = [_outcome(decision, row) for row in range(len(case.expect))]
    served = [_served(decision, predictions, row) for row in range(len(case.expect))]
    differences = [
        f"row {row}: {text}" if len(case.expect) > 1 else text
        for row, expected in enumerate(case.expect)
        for text in _differences(expected, seen[row], outcomes[row], served[row], decision, row)
    ]
    strongest = max(range(len(outcomes)), key=lambda row: outcomes[row])
    violated = frozenset(rule for row in seen for rule, verdict in row.items() if verdict is Verdict.VIOLATED)
    return CaseResult(
        case,
        not differences,
        seen[strongest],
        outcomes[strongest],
        served[strongest],
        tuple(differences),
        violated,
    )


def _differences(
    expected: Expected,
    verdicts: Mapping[str, Verdict],
    outcome: Outcome,
    value: Mapping[str, Cell] | None,
    decision: Decision | None,
    row: int,
) -> list[str]:
    found = []
    for rule, wanted in expected.verdicts.items():
        got = verdicts.get(rule)
        if got is not wanted:
            said = "was not judged" if got is None else f"got {got.name.lower()}"
            found.append(f"{rule}: expected {wanted.name.lower()}, {said}{_evidence(decision, rule, row)}")
    if expected.outcome is not None and outcome is not expected.outcome:
        found.append(
            f"outcome: expected {expected.outcome.name.lower()}, got {outcome.name.lower()}{_strongest(decision, row)}"
        )
    for name, cell in (expected.value or {}).items():
        got_cell = None if value is None else value.get(name)
        if not _equal(cell, got_cell):
            found.append(
                f"value of {name}: expected {cell}, got {'no answer' if value is None else got_cell}"
            )
    return found


def _evidence(decision: Decision | None, rule: str, row: int) -> str:
    if decision is None:
        return ""
    finding = next((f for f in decision.findings if f.rule == rule and f.row == row), None)
    return "" if finding is None else f" ({finding.message})"


def _strongest(decision: Decision | None, row: int) -> str:
    if decision is None:
        return ""
    acting = [f for f in decision.findings if f.row == row and f.acts]
    acting.sort(key=lambda f: (-f.action, -f.severity, f.rule))
    return f" (strongest violated rule: {acting[0].rule})" if acting else " (no enforced rule was violated)"


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
