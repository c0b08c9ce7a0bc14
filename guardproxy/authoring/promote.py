"""`rules promote`: one rule a step up (or down) the modes, by an edit of one line.

Decides what a rule must have before it may act, and where its `mode` is written. Reading and writing files is left to
the command, what recorded traffic says to a hook.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guardproxy.authoring.layout import edited
from guardproxy.authoring.spans import Part, parse_parts, resolved
from guardproxy.decision import Mode, Severity, Verdict
from guardproxy.guard.cases import CaseResult
from guardproxy.guard.evidence import gather
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import Judge
from guardproxy.profile.model import Profile
from guardproxy.rules import Rule, Ruleset, load_rulesets

Evidence = Callable[[Ruleset, Rule, Mode], Sequence[str]]
"""Returns what recorded traffic still lacks before a rule may go to a mode, as sentences; nothing when it is enough."""

ORDER: Final[Mapping[Mode, int]] = {Mode.OFF: 0, Mode.SHADOW: 1, Mode.CANARY: 2, Mode.ENFORCE: 3}

_TARGET: Final = re.compile(r"canary[ :=]*(\d{1,3}(?:\.\d{1,4})?)\s*%")
_GRAVE: Final = frozenset({Severity.HIGH, Severity.CRITICAL})


@dataclass(frozen=True, slots=True)
class Target:
    """The mode that is asked for; `share` (0 to 1) is a canary's."""

    mode: Mode
    share: float = 1.0
    text: str = ""


def parse_target(text: str) -> Target:
    """Read `off`, `shadow`, `canary 20%` or `enforce`. Raises ValueError with a sentence."""
    word = " ".join(text.split())
    if word in {Mode.OFF.value, Mode.SHADOW.value, Mode.ENFORCE.value}:
        return Target(Mode(word), 1.0, word)
    match = _TARGET.fullmatch(word)
    if match is None:
        if word == Mode.CANARY.value:
            raise ValueError("a canary needs a share: --to 'canary 20%'")
        raise ValueError(f"'{word[:40]}' is no mode; write off, shadow, 'canary 20%' or enforce")
    share = float(match.group(1)) / 100
    if not 0 < share <= 1:
        raise ValueError("a canary's share lies above 0% and at most at 100%")
    return Target(Mode.CANARY, share, f"canary {match.group(1)}%")


def lacking(
    ruleset: Ruleset,
    rule: Rule,
    target: Target,
    results: Sequence[CaseResult],
    evidence: Evidence | None = None,
) -> list[str]:
    """Return what a rule still needs before it may go up to `target`, as sentences. Down is always allowed."""
    if is_down(rule, target):
        return []
    missing = [*_steps(rule, target), *_told(rule, target), *_tested(rule, results)]
    if evidence is not None:
        missing += evidence(ruleset, rule, target.mode)
    return missing


def is_down(rule: Rule, target: Target) -> bool:
    """Tell whether a rule would act less than now: an earlier mode, or a smaller canary."""
    smaller = rule.mode is target.mode and target.share < rule.canary
    return ORDER[target.mode] < ORDER[rule.mode] or smaller


def _steps(rule: Rule, target: Target) -> list[str]:
    if ORDER[target.mode] - ORDER[rule.mode] <= 1:
        return []
    following = next(mode for mode, place in ORDER.items() if place == ORDER[rule.mode] + 1)
    shown = "'canary 20%'" if following is Mode.CANARY else following.value
    return [f"it is one step at a time: from {rule.mode.value} to {shown} first"]


def _told(rule: Rule, target: Target) -> list[str]:
    if rule.severity not in _GRAVE or target.mode not in {Mode.CANARY, Mode.ENFORCE}:
        return []
    said = {"owner": rule.owner, "why": rule.why}
    return [
        f"a rule of severity {rule.severity.name.lower()} needs '{key}' before it acts"
        for key, text in said.items()
        if not text
    ]


def _tested(rule: Rule, results: Sequence[CaseResult]) -> list[str]:
    seen = verdicts_seen(rule.id, results)
    found = [
        f"no test has seen it {word}: add one whose row {what}"
        for verdict, word, what in (
            (Verdict.VIOLATED, "violated", "breaks it"),
            (Verdict.OK, "ok", "keeps it"),
        )
        if verdict not in seen
    ]
    failing = [result.case.name for result in results if not result.passed]
    if failing:
        found.append(f"{len(failing)} of the model's tests fail, such as '{failing[0][:80]}'")
    return found


def verdicts_seen(rule: str, results: Sequence[CaseResult]) -> set[Verdict]:
    """Return the verdicts that a model's tests have given a rule."""
    found = (row.verdicts.get(rule) for result in results for row in result.rows)
    return {verdict for verdict in found if verdict is not None}


@dataclass(frozen=True, slots=True)
class Told:
    """What recorded traffic says of a rule: `seen` as a sentence, and what is `missing` before it may go up."""

    seen: str
    missing: tuple[str, ...]


def recorded_evidence(
    ruleset: Ruleset,
    rule: Rule,
    mode: Mode,
    records: Iterable[Recorded],
    min_rows: int,
    profile: Profile | None = None,
) -> Told:
    """Judge recorded rows by the rule as it stands; a rule that goes up must have decided about `min_rows` of them."""
    found = gather(ruleset.model, records, Judge(ruleset, profile))
    counts = found.verdicts.get(rule.id, [0] * len(Verdict))
    stands = found.weighted.get(rule.id, [0.0] * len(Verdict))
    decided, violated = counts[Verdict.OK] + counts[Verdict.VIOLATED], counts[Verdict.VIOLATED]
    whole = stands[Verdict.OK] + stands[Verdict.VIOLATED]
    share = f" ({stands[Verdict.VIOLATED] / whole:.2%} of the traffic)" if whole else ""
    seen = f"recorded traffic: {decided:,} rows judged, {violated:,} violated{share}"
    short = decided < min_rows and ORDER[mode] > ORDER[Mode.SHADOW]
    sentence = f"recorded traffic has only {decided:,} rows that it could judge; {min_rows:,} are needed"
    return Told(seen, (sentence,) if short else ())


def failing_after(after: Sequence[CaseResult], before: Sequence[CaseResult]) -> list[str]:
    """Return the tests that pass now and would fail once the rule acts, with the first difference."""
    passed = {result.case.name for result in before if result.passed}
    return [
        f"the test '{result.case.name[:80]}' would fail: {result.differences[0]}"
        for result in after
        if not result.passed and result.case.name in passed
    ][:10]


def with_mode(text: str, rule: Rule, target: Target) -> str:
    """Return the file's text with the rule's mode changed, and every other character as it was.

    Raises ValueError with a sentence when the rule's place is shared with others (an alias).
    """
    for root in parse_parts(text):
        for part in _rules_of(root):
            name = part.get("id")
            if name is None or resolved(name, root).value != rule.id or not _is_at(name, text, rule):
                continue
            return _edited(text, part)(target.text)
    raise ValueError(f"the rule '{rule.id}' is written through an alias: change its mode by hand")


def _rules_of(root: Part) -> Sequence[Part]:
    rules = root.get("rules")
    return rules.items if rules is not None else ()


def _is_at(name: Part, text: str, rule: Rule) -> bool:
    return text.count("\n", 0, name.outer) + 1 == rule.place.line


def _edited(text: str, part: Part) -> Callable[[str], str]:
    mode, name = part.get("mode"), part.get("id")

    def change(word: str) -> str:
        if mode is not None:
            # An anchor or alias is left behind: the word stands for itself.
            return edited(text, [(mode.outer, mode.end, word)])
        after = part.get("severity") or name
        if after is None:
            raise ValueError("the rule has no id")
        if part.flow:
            return edited(text, [(after.end, after.end, f", mode: {word}")])
        end = text.find("\n", after.end)
        at = len(text) if end < 0 else end - (text[end - 1] == "\r")
        key = part.entries[0][0].outer
        indent = " " * (key - (text.rfind("\n", 0, key) + 1))
        newline = "\r\n" if "\r\n" in text else "\n"
        return edited(text, [(at, at, f"{newline}{indent}mode: {word}")])

    return change


def changed_only(before: Mapping[str, str], after: Mapping[str, str], rule: str) -> list[str]:
    """Return what the edit changed beside this one rule's mode, as sentences: nothing, or it must not be written."""
    old, _ = load_rulesets(before)
    new, problems = load_rulesets(after)
    fresh = [problem.message for problem in problems if problem.severity == "error"]
    if fresh:
        return [f"the file would be wrong: {message}" for message in fresh[:3]]
    revs = [
        {(name, one.id): one.rev for name, ruleset in rulesets.items() for one in ruleset.rules}
        for rulesets in (old, new)
    ]
    moved = {key for key in {*revs[0], *revs[1]} if revs[0].get(key) != revs[1].get(key)}
    return [f"the rule '{name}' of '{of}' would change as well" for of, name in sorted(moved) if name != rule]
