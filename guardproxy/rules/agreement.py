"""What the keys of one rule demand of each other.

Decides which combinations make no sense, and which do but are likely a slip. Each key by itself is left to its reader.
"""

from collections.abc import Mapping
from typing import Final

from guardproxy.decision import Action, Mode, Scope, Severity
from guardproxy.rules.context import Context
from guardproxy.rules.language import Ref
from guardproxy.rules.model import Rule
from guardproxy.rules.remedies import contradicted
from guardproxy.rules.unusual import UNUSUAL
from guardproxy.source import Entry, Place, Scalar

SCOPED: Final[Mapping[Scope, tuple[str, ...]]] = {
    Scope.BATCH: ("require", "forbid", "missing_share"),
    Scope.WINDOW: ("require", "forbid"),
}
"""The checks that can give one verdict for more than a row."""

_CLAMPABLE: Final = frozenset({"range", "max_change"})
_GRAVE: Final = frozenset({Severity.HIGH, Severity.CRITICAL})
_CLAMP_HELP: Final = "clamp goes with range or max_change on an output; use fallback"


def agree(rule: Rule, entries: Mapping[str, Entry], context: Context) -> None:
    """Report what the keys of a rule demand of each other."""
    report = context.reader.report
    place = entries.get("action", entries["id"]).value.place
    if rule.action is Action.CLAMP and not (
        rule.kind in _CLAMPABLE and rule.check.fields[0].space == "output"
    ):
        report("E214", f"'{rule.kind}' has no nearest allowed prediction to clamp to", place, _CLAMP_HELP)
    if rule.action is Action.FALLBACK and "fallback" not in entries:
        report("E215", "action 'fallback' needs a fallback", place, "add for example fallback: [previous]")
    if rule.enforced and rule.severity in _GRAVE:
        for key, said in (("owner", rule.owner), ("why", rule.why)):
            if not said and key not in entries:
                acting = "a canary" if rule.mode is Mode.CANARY else "an enforced rule"
                message = f"{acting} of severity {rule.severity.name.lower()} needs '{key}'"
                advice = f"add {key}: ..., or a lower severity, or shadow"
                report("E216", message, entries["id"].value.place, advice)
    _agree_on_score(rule, entries, place, context)
    _agree_on_scope(rule, entries, place, context)
    for words, part_place in contradicted(rule, entries.get("fallback"), context):
        report("E305", words, part_place, "this value could never be used; give one that the rule allows")


def _agree_on_score(rule: Rule, entries: Mapping[str, Entry], place: Place, context: Context) -> None:
    report = context.reader.report
    if rule.action is not Action.SCORE:
        return
    if "points" not in entries:
        report("E220", "action 'score' needs points", place, "add for example points: 3")
    if not context.scored:
        advice = "add score: {hold_at: 5} to one of the model's documents"
        report("E220", f"action 'score' needs a score block, and {context.model} has none", place, advice)
    if rule.severity is Severity.CRITICAL:
        message = "a critical rule acts alone: its weight must not depend on others"
        report("E220", message, place, "use warn, fallback, hold or reject, or a lower severity")


def _agree_on_scope(rule: Rule, entries: Mapping[str, Entry], place: Place, context: Context) -> None:
    allowed = SCOPED.get(rule.scope)
    if allowed is None:
        return
    report = context.reader.report
    if rule.kind not in allowed:
        message = f"'{rule.kind}' judges rows one by one, and this rule has scope: {rule.scope.value}"
        report("E223", message, entries[rule.kind].key, f"use one of: {', '.join(allowed)}")
    if rule.scope is Scope.WINDOW and rule.action is not Action.WARN:
        action = rule.action.name.lower()
        message = f"a rule of scope window cannot {action}: no row of now is to blame for a stretch of time"
        report("E223", message, place, "use action: warn")


def warn(
    rule: Rule, entries: Mapping[str, Entry], context: Context, seen: tuple[Ref, ...], *, unknown_said: bool
) -> None:
    """Warn of keys without effect, and of unknown verdicts that nobody thought of.

    `seen` are the names that decide the verdict; `unknown_said` tells whether the document's defaults say what an unknown
    one counts as.
    """
    report = context.reader.report
    for key, place in _unused(rule, entries):
        message = f"'{key}' is never used by action '{rule.action.name.lower()}'"
        report("W402", message, place, "change the action, or remove it", "warning")
    warms = rule.kind == UNUSUAL or any(ref.space == "recent" for ref in seen)
    if warms and _says(entries, "on_unknown", "violate"):
        what = "what is usual" if rule.kind == UNUSUAL else "a rolling function"
        message = f"{what} is unknown while it warms up, which never counts as a violation"
        report("W411", message, entries["on_unknown"].value.place, "remove on_unknown", "warning")
    stated = "on_unknown" in entries or unknown_said
    if "previous" in rule.check.wants and rule.kind == "max_change" and not stated:
        message = "an entity's first answer has no past: its verdict is unknown, which counts as a violation"
        advice = "say on_unknown: ignore, or on_unknown: violate if that is meant"
        report("W403", message, entries["id"].value.place, advice, "warning")


def _unused(rule: Rule, entries: Mapping[str, Entry]) -> list[tuple[str, Place]]:
    """Return the keys that the rule's action never uses."""
    useless = {
        "fallback": rule.action in {Action.SCORE, Action.WARN, Action.REJECT},
        "hold": rule.action is not Action.HOLD,
        "points": rule.action is not Action.SCORE,
    }
    return [(key, entries[key].key) for key, unused in useless.items() if unused and key in entries]


def _says(entries: Mapping[str, Entry], key: str, word: str) -> bool:
    value = entries[key].value if key in entries else None
    return isinstance(value, Scalar) and value.value == word
