"""What recorded traffic says about rule files: fields that no row has, rules that cannot fire.

Decides which of it is worth an operator's time and how it is told. Reading records is left to `recording`, drawing
problems to the command.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np

from guardproxy.decision import Action, Mode, Verdict
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import Batch, Judge, batches, reads_of
from guardproxy.rules import Rule, Ruleset
from guardproxy.rules.language import Ref
from guardproxy.source import Problem, likely, lines_of
from guardproxy.table import Table

MAX_FIELDS: Final = 5_000
"""Field names that are remembered of one model's traffic; more are no fields but values."""

MIN_CONSTANT: Final = 100
"""Below this many rows a rule that says the same of all of them is no news."""

_VERDICTS: Final = len(Verdict)
Lines: TypeAlias = Mapping[str, Sequence[str]]
"""The lines of rule files, by name: split once, however many of their rules are told of."""

_ITEM: Final = re.compile(r"\s*-\s")


@dataclass(slots=True)
class Evidence:
    """One model's recorded rows in numbers.

    `present` counts by field (`features.NAME`, `output.NAME`) the rows in which it has a value, `answered` the rows that
    have predictions. `verdicts` counts by rule the rows of each verdict, in the order of `Verdict`; `weighted` the rows of
    all traffic that these stand for (a recording holds more of what rules objected to than the traffic did). `redacted`
    fields were removed on purpose.
    """

    model: str
    rows: int = 0
    answered: int = 0
    present: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, list[int]] = field(default_factory=dict)
    weighted: dict[str, list[float]] = field(default_factory=dict)
    redacted: set[str] = field(default_factory=set)
    unreplayable: dict[str, str] = field(default_factory=dict)

    def seen(self, space: str) -> list[str]:
        """Return the names of a space that had a value at least once, or were redacted."""
        names = [name for name, rows in self.present.items() if rows or name in self.redacted]
        return [name.removeprefix(f"{space}.") for name in names if name.startswith(f"{space}.")]

    def absent(self, ref: Ref) -> bool:
        """Tell whether no recorded row has a value for the field that a name reads."""
        space = "output" if ref.space == "previous" else ref.space
        if space not in ("features", "output") or ref.name == "*":
            return False
        name = f"{space}.{ref.name}"
        rows = self.rows if space == "features" else self.answered
        return rows > 0 and not self.present.get(name) and name not in self.redacted


def gather(model: str, records: Iterable[Recorded], judge: Judge | None = None) -> Evidence:
    """Count what one model's records hold and, with a judge, what its rules say of them."""
    found = Evidence(model)
    for batch in batches(records, alone=judge is not None and judge.alone):
        _count(batch, found)
        if judge is not None:
            judged = judge.judge(batch)
            for rule, codes in zip(judged.rules, judged.verdicts, strict=True):
                counts = found.verdicts.setdefault(rule.id, [0] * _VERDICTS)
                weighted = found.weighted.setdefault(rule.id, [0.0] * _VERDICTS)
                for code, rows in enumerate(np.bincount(codes, minlength=_VERDICTS).tolist()):
                    counts[code] += rows
                for code, rows in enumerate(np.bincount(codes, batch.weights, minlength=_VERDICTS).tolist()):
                    weighted[code] += rows
    if judge is not None:
        found.unreplayable = dict(judge.unreplayable)
    return found


def weigh(ruleset: Ruleset, found: Evidence, texts: Mapping[str, str]) -> list[Problem]:
    """Return a warning for each rule that the traffic shows to be of no use, and a note for each that never fired."""
    if not found.rows:
        return []
    problems = []
    lines = {file: lines_of(text) for file, text in texts.items()}
    for rule_id, refs in reads_of(ruleset).items():
        rule = ruleset.rule(rule_id)
        counts = found.verdicts.get(rule_id)
        if rule is None or rule.built_in or rule.mode is Mode.OFF or rule_id in found.unreplayable:
            continue
        gone = sorted(ref for ref in refs if found.absent(ref))
        problem = _absent(rule, gone, counts, found, lines) if gone else None
        problem = problem or (None if counts is None else _constant(rule, counts, lines))
        if problem is not None:
            problems.append(problem)
    return problems


def with_seen_fields(problems: Sequence[Problem], models: Iterable[Evidence]) -> list[Problem]:
    """Give each problem about an unknown field a note with the fields that the traffic has."""
    found = list(models)
    spaces = {
        space: list(dict.fromkeys(name for one in found for name in one.seen(space)))
        for space in ("features", "output")
    }
    return [_with_note(problem, spaces) if problem.code == "E106" else problem for problem in problems]


def _with_note(problem: Problem, spaces: Mapping[str, Sequence[str]]) -> Problem:
    space = "output" if re.search(r"\b(output|previous)\b", problem.message) else "features"
    names = spaces[space]
    if not names:
        return problem
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return replace(problem, note=f"fields seen in recorded traffic: {', '.join(names[:20])}{more}")


def _count(batch: Batch, found: Evidence) -> None:
    found.rows += batch.rows
    _present("features", batch.features, found)
    if batch.predictions is not None:
        found.answered += batch.rows
        _present("output", batch.predictions, found)
    for record in batch.exchanges:
        found.redacted.update(record.redacted)


def _present(space: str, table: Table, found: Evidence) -> None:
    numbers = np.count_nonzero(~np.isnan(table.block), axis=1).tolist()
    for name, rows in zip(table.fields, numbers, strict=True):
        cells = table.exact.get(name)
        if cells is not None:
            rows = sum(cell is not None for cell in cells)
        full = f"{space}.{name}"
        if full in found.present or len(found.present) < MAX_FIELDS:
            found.present[full] = found.present.get(full, 0) + rows


def _absent(
    rule: Rule, gone: Sequence[Ref], counts: Sequence[int] | None, found: Evidence, lines: Lines
) -> Problem | None:
    """Tell of a field that no row has. A rule that copes with its absence is only told of a likely misspelling."""
    ref = gone[0]
    space = "output" if ref.space == "previous" else ref.space
    guess = likely(ref.name, found.seen(space))
    decided = counts is not None and counts[Verdict.OK] + counts[Verdict.VIOLATED] > 0
    if decided and guess is None:
        return None
    rows = found.rows if space == "features" else found.answered
    tail = "what it says of that field is never tried" if decided else "it can never be evaluated"
    harms = rule.action > Action.WARN and rule.acts_on(Verdict.UNKNOWN)
    if harms and not decided and counts is not None and counts[Verdict.UNKNOWN]:
        # The dangerous half: a misspelt field does not disarm a rule, it lets it loose.
        tail += f", and so its action ({rule.action.name.lower()}) meets every row it asks about: on_unknown is violate"
    message = (
        f"rule '{rule.id}' reads {ref.space}.{ref.name}, absent in 100% of {rows:,} recorded rows: {tail}"
    )
    known = ", ".join(found.seen(space)[:20])
    help_ = f"did you mean '{space}.{guess}'?" if guess else f"fields seen: {known}" if known else ""
    needle = rf"\b{ref.space}(\.{re.escape(ref.name)}(?!\w)|\[\"{re.escape(ref.name)}\"\])"
    return _problem("W405", message, rule, lines, needle, help_)


def _constant(rule: Rule, counts: Sequence[int], lines: Lines) -> Problem | None:
    """Tell of a rule that says the same of every row."""
    total = sum(counts)
    ok, violated, skipped = counts[Verdict.OK], counts[Verdict.VIOLATED], counts[Verdict.SKIPPED]
    if not total:
        return None
    if skipped == total and rule.when:
        message = (
            f"the `when` of rule '{rule.id}' was never true in {total:,} recorded rows: it can never fire"
        )
        return _problem(
            "W406", message, rule, lines, r"\bwhen(?=\s*:)", "compare it with the values in the traffic"
        )
    if not ok and not violated and skipped < total:
        message = f"rule '{rule.id}' could not be judged on any of {total - skipped:,} recorded rows"
        return _problem("W406", message, rule, lines, "", "see why with: guardproxy rules explain DECISION")
    if not ok and violated >= MIN_CONSTANT:
        message = f"rule '{rule.id}' is violated on every one of {violated:,} recorded rows"
        return _problem("W406", message, rule, lines, "", "its bound is not one that this traffic can meet")
    if not violated and ok >= MIN_CONSTANT:
        message = f"rule '{rule.id}' has not fired in {total:,} recorded rows"
        return _problem("W406", message, rule, lines, "", "", severity="note")
    return None


def _problem(
    code: str,
    message: str,
    rule: Rule,
    lines: Lines,
    needle: str,
    help_: str,
    severity: str = "warning",
) -> Problem:
    line, column, length = rule.place.line, rule.place.column, 1
    own = lines.get(rule.place.file, ())
    if needle:
        line, column, length = _locate(own, rule, needle)
    elif (start := _word(own, line, column, rule.id)) is not None:
        line, column, length = start
    return Problem(code, message, rule.place.file, line, column, length, help_, severity)


def _locate(lines: Sequence[str], rule: Rule, needle: str) -> tuple[int, int, int]:
    """Find a pattern among the lines of a rule: from its first line to the next item of the same depth."""
    first = max(0, min(rule.place.line, len(lines)) - 1)
    while first > 0 and not _ITEM.match(lines[first]):
        first -= 1
    pattern = re.compile(needle)
    for number in range(first, len(lines)):
        line = lines[number]
        if number > first and line.strip() and _depth(line) <= _depth(lines[first]):
            break
        match = pattern.search(line.split(" #")[0])
        if match is not None:
            return number + 1, match.start() + 1, match.end() - match.start()
    return rule.place.line, rule.place.column, 1


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _word(lines: Sequence[str], line: int, column: int, word: str) -> tuple[int, int, int] | None:
    """Find a rule's id on its first line, so that the caret stands under it."""
    if not 0 < line <= len(lines):
        return None
    at = lines[line - 1].find(word, column - 1)
    return None if at < 0 else (line, at + 1, len(word))
