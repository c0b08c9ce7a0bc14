"""One rule of a file: its keys, and what they demand of each other.

Decides which keys a rule has and which combinations make sense. The checks themselves are left to `checks`, fallback
chains and holds to `remedies`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from guardproxy.decision import Action, Meanwhile, Mode, OnExpiry, Phase, Severity, Verdict
from guardproxy.rules.checks import CHECK_KEYS, read_check
from guardproxy.rules.context import Context
from guardproxy.rules.language import Kind, Program, Ref, compile_expression
from guardproxy.rules.model import Check, FallbackSpec, HoldSpec, Rule
from guardproxy.rules.remedies import contradicted, read_fallback, read_hold
from guardproxy.source import Entry, MappingNode, Node, Place, Scalar, likely

TEXT_KEYS: Final = ("title", "why", "owner", "runbook")
RULE_KEYS: Final = (
    *("id", *TEXT_KEYS, "message", "tags", "when", "severity", "mode", "action", "fallback", "hold"),
    *("on_unknown", "on_error", *CHECK_KEYS),
)
LATER_RULE_KEYS: Final = (
    *(
        "unless",
        "scope",
        "for",
        "confidence",
        "text",
        "json_schema",
        "missing_share",
        "points",
        "expires",
        "canary",
    ),
)
DEFAULT_KEYS: Final = ("severity", "mode", "action", "on_unknown", "on_error")

_ID: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_COUNTS: Final = {"violate": True, "ignore": False}
_MODES: Final = {mode.value: mode for mode in Mode}
_ACTIONS: Final = {action.name.lower(): action for action in Action}
_SEVERITIES: Final = {severity.name.lower(): severity for severity in Severity}
_CLAMPABLE: Final = frozenset({"range", "max_change"})
_GRAVE: Final = frozenset({Severity.HIGH, Severity.CRITICAL})


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a rule takes from its document where it says nothing itself."""

    owner: str = ""
    severity: Severity = Severity.MEDIUM
    mode: Mode = Mode.ENFORCE
    action: Action = Action.WARN
    on_unknown: bool = True
    on_error: bool = True
    said: frozenset[str] = field(default_factory=frozenset)


def read_defaults(node: Node, context: Context, owner: str) -> Defaults:
    """Read a document's `defaults`."""
    entries = context.mapping(node, "defaults", DEFAULT_KEYS, later=("score", "scope", "hold", "fallback"))
    return replace(_switches(entries, context, Defaults(owner), "defaults"), said=frozenset(entries))


def read_rule(node: Node, context: Context, defaults: Defaults) -> Rule | None:
    """Read one rule; None when it cannot be used, with every reason reported."""
    before = _errors(context)
    what = _name_of(node)
    entries = context.mapping(node, what, RULE_KEYS, later=LATER_RULE_KEYS, required=("id",))
    identity = _id(entries, context)
    check = _check(node, entries, context, what)
    switches = _switches(entries, context, defaults, what)
    texts = {key: context.reader.text(entries[key].value, key) or "" for key in TEXT_KEYS if key in entries}
    when = _when(entries, context)
    reads = _reads(check, when, context)
    message = _message(entries, context, reads_output=reads)
    chain = read_fallback(entries["fallback"].value, context) if "fallback" in entries else ()
    hold = _hold(entries, context, chain)
    tags = context.reader.texts(entries["tags"].value, "tags") if "tags" in entries else ()
    if check is None or identity is None:
        return None
    rule = Rule(
        id=identity,
        check=check,
        phase=Phase.RESPONSE if reads else Phase.REQUEST,
        reads_output=reads,
        when=when,
        title=texts.get("title", ""),
        message=message,
        why=texts.get("why", ""),
        owner=texts.get("owner", "") or defaults.owner,
        runbook=texts.get("runbook", ""),
        tags=tags,
        severity=switches.severity,
        mode=switches.mode,
        action=switches.action,
        fallback=chain,
        hold=hold,
        counts=_counts(switches),
        place=context.locus(entries["id"].value.place),
    )
    _agree(rule, entries, context, defaults)
    return rule if _errors(context) == before else None


def _errors(context: Context) -> int:
    return sum(problem.severity == "error" for problem in context.reader.problems)


def _name_of(node: Node) -> str:
    entry = node.entries.get("id") if isinstance(node, MappingNode) else None
    value = entry.value.value if entry is not None and isinstance(entry.value, Scalar) else None
    return f"rule '{value[:60]}'" if isinstance(value, str) else "a rule"


def _id(entries: Mapping[str, Entry], context: Context) -> str | None:
    if "id" not in entries:
        return None
    node = entries["id"].value
    text = context.reader.text(node, "id", max_length=80)
    if text is None or _ID.fullmatch(text):
        return text
    made = "-".join(re.findall(r"[a-z0-9]+", text.lower()))
    context.reader.report("E212", f"'{text}' is not kebab-case", node.place, f"write {made}" if made else "")
    return None


def _check(node: Node, entries: Mapping[str, Entry], context: Context, what: str) -> Check | None:
    found = [key for key in entries if key in CHECK_KEYS]
    checks = [read_check(key, entries[key].value, context) for key in found]
    if len(found) == 1:
        return checks[0]
    if found:
        message = f"{what} has {len(found)} checks: {', '.join(found)}"
        context.reader.report(
            "E211", message, entries[found[1]].key, "one rule, one check: make it a rule of its own"
        )
    elif isinstance(node, MappingNode) and not _meant_a_check(node):
        message = f"{what} has no check"
        context.reader.report("E210", message, node.place, f"it needs one of: {', '.join(CHECK_KEYS)}")
    return None


def _meant_a_check(node: MappingNode) -> bool:
    """Tell whether a key that was reported already is why there is no check."""
    later = set(LATER_RULE_KEYS) & set(node.entries)
    return bool(later) or any(
        likely(key, RULE_KEYS) in CHECK_KEYS for key in node.entries if key not in RULE_KEYS
    )


def _switches(entries: Mapping[str, Entry], context: Context, defaults: Defaults, what: str) -> Defaults:
    found: dict[str, object] = {}
    for key, words in (("severity", _SEVERITIES), ("on_unknown", _COUNTS), ("on_error", _COUNTS)):
        if key in entries:
            found[key] = context.reader.choice(entries[key].value, f"{key} of {what}", words)
    if "mode" in entries:
        found["mode"] = _mode(entries["mode"].value, context, what)
    if "action" in entries:
        found["action"] = _action(entries["action"].value, context, what)
    return replace(defaults, **{key: value for key, value in found.items() if value is not None})  # type: ignore[arg-type]


def _mode(node: Node, context: Context, what: str) -> Mode | None:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        if node.value == Mode.OFF.value:
            # The one place where this word is plain English and not a YAML 1.1 boolean.
            context.forgiven.add((node.place.line, node.place.column))
        if node.value.split(" ")[0] == "canary":
            context.later("mode 'canary'", node.place)
            return None
    return context.reader.choice(node, f"mode of {what}", _MODES)


def _action(node: Node, context: Context, what: str) -> Action | None:
    if isinstance(node, Scalar) and node.value == "score":
        context.later("action 'score'", node.place)
        return None
    return context.reader.choice(node, f"action of {what}", _ACTIONS)


def _when(entries: Mapping[str, Entry], context: Context) -> str:
    program = context.expression(entries["when"].value, "when", Kind.FLAG) if "when" in entries else None
    return "" if program is None else program.text.strip()


def _reads(check: Check | None, when: str, context: Context) -> bool:
    """Tell whether a rule looks at predictions, which makes it one of the response."""
    if check is not None and (
        check.every == "output" or any(named.space == "output" for named in check.fields)
    ):
        return True
    texts = (when, check.wants if check is not None else "")
    return any(ref.space == "output" for text in texts if text for ref in refs_of(text, context))


def refs_of(text: str, context: Context) -> tuple[Ref, ...]:
    """Return the names of an expression that compiled before."""
    made = compile_expression(text, context.names)
    return made.refs if isinstance(made, Program) else ()


def _message(entries: Mapping[str, Entry], context: Context, *, reads_output: bool) -> str:
    if "message" not in entries:
        return ""
    node = entries["message"].value
    template = context.message(node, "message")
    if template is None:
        return ""
    early = [ref for ref in template.refs if ref.space == "output"]
    if early and not reads_output:
        message = f"the message shows {early[0]}, but this rule is judged before there is a prediction"
        context.reader.report("E304", message, node.place, "show features, or let the rule read the output")
    return template.text


def _hold(entries: Mapping[str, Entry], context: Context, chain: tuple[FallbackSpec, ...] | None) -> HoldSpec:
    if "hold" in entries:
        return read_hold(entries["hold"].value, context, has_fallback="fallback" in entries)
    if chain:
        return HoldSpec(meanwhile=Meanwhile.FALLBACK, on_expiry=OnExpiry.FALLBACK)
    return HoldSpec()


def _counts(switches: Defaults) -> frozenset[Verdict]:
    counted = {Verdict.VIOLATED: True, Verdict.UNKNOWN: switches.on_unknown, Verdict.ERROR: switches.on_error}
    return frozenset(verdict for verdict, counts in counted.items() if counts)


def _agree(rule: Rule, entries: Mapping[str, Entry], context: Context, defaults: Defaults) -> None:
    """Report what the keys of a rule demand of each other."""
    report = context.reader.report
    at = entries.get("action", entries["id"])
    place = at.value.place
    if rule.action is Action.CLAMP and not (
        rule.kind in _CLAMPABLE and rule.check.fields[0].space == "output"
    ):
        report("E214", f"'{rule.kind}' has no nearest allowed prediction to clamp to", place, _CLAMP_HELP)
    if rule.action is Action.FALLBACK and "fallback" not in entries:
        report("E215", "action 'fallback' needs a fallback", place, "add for example fallback: [previous]")
    if rule.mode is Mode.ENFORCE and rule.severity in _GRAVE:
        for key, said in (("owner", rule.owner), ("why", rule.why)):
            if not said and key not in entries:
                message = f"an enforced rule of severity {rule.severity.name.lower()} needs '{key}'"
                report(
                    "E216",
                    message,
                    entries["id"].value.place,
                    f"add {key}: ..., or a lower severity, or shadow",
                )
    for words, part_place in contradicted(rule, entries.get("fallback"), context):
        report("E305", words, part_place, "this value could never be used; give one that the rule allows")
    _warn(rule, entries, context, defaults)


_CLAMP_HELP: Final = "clamp goes with range or max_change on an output; use fallback"


def _warn(rule: Rule, entries: Mapping[str, Entry], context: Context, defaults: Defaults) -> None:
    unused: list[tuple[str, Place]] = []
    if "fallback" in entries and rule.action in {Action.WARN, Action.REJECT}:
        unused.append(("fallback", entries["fallback"].key))
    if "hold" in entries and rule.action is not Action.HOLD:
        unused.append(("hold", entries["hold"].key))
    for key, place in unused:
        message = f"'{key}' is never used by action '{rule.action.name.lower()}'"
        context.reader.report("W402", message, place, "change the action, or remove it", "warning")
    stated = "on_unknown" in entries or "on_unknown" in defaults.said
    if "previous" in rule.check.wants and rule.kind == "max_change" and not stated:
        message = "an entity's first answer has no past: its verdict is unknown, which counts as a violation"
        advice = "say on_unknown: ignore, or on_unknown: violate if that is meant"
        context.reader.report("W403", message, rule_place(entries), advice, "warning")


def rule_place(entries: Mapping[str, Entry]) -> Place:
    """Return where a rule's id stands."""
    return entries["id"].value.place
