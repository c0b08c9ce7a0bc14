"""One rule of a file: its keys, and what they come to.

Decides which keys a rule has, and when it is judged. The checks themselves are left to `checks`, fallback
chains and holds to `remedies`, whether the keys fit together to `agreement`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypedDict

from guardproxy.decision import Action, Mode, Phase, Scope, Severity, Verdict
from guardproxy.rules.agreement import agree, warn
from guardproxy.rules.checks import CHECK_KEYS, read_check
from guardproxy.rules.context import Context
from guardproxy.rules.exceptions import read_unless
from guardproxy.rules.foreign import ACTIONS, COUNTS, KEYS, SCOPES, SEVERITIES
from guardproxy.rules.language import Kind, Program, Ref
from guardproxy.rules.limits import completed, read_limits
from guardproxy.rules.model import Check, FallbackSpec, HoldSpec, Limit, Rule, Unless
from guardproxy.rules.modes import read_mode
from guardproxy.rules.remedies import default_hold, read_fallback, read_hold
from guardproxy.rules.scores import MAX_POINTS
from guardproxy.rules.unusual import UNUSUAL
from guardproxy.rules.written import kebab
from guardproxy.source import Entry, MappingNode, Node, Scalar, likely

TEXT_KEYS: Final = ("title", "why", "owner", "runbook")
RULE_KEYS: Final = (
    *(
        "id",
        *TEXT_KEYS,
        "message",
        "tags",
        "when",
        "unless",
        "scope",
        "for",
        "severity",
        "mode",
        "action",
        "points",
    ),
    *("fallback", "hold", "limits", "on_unknown", "on_error", *CHECK_KEYS),
)
LATER_RULE_KEYS: Final = ("expires",)
DEFAULT_KEYS: Final = ("severity", "mode", "action", "on_unknown", "on_error")
MAX_FOR_S: Final = 86_400.0

_SPACE: Final = r"(?:features|output|previous|profile|kpi|request)\.\w+(?:\.\w+)*"
_OTHER_TEMPLATE: Final = re.compile(
    rf"\{{\{{\s*\.?({_SPACE})\s*\}}\}}|\$({_SPACE})|%\({_SPACE}\)[sdf]|(?<![\w%])%[sdf](?!\w)"
)
_ID: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_COUNTS: Final = {"violate": True, "ignore": False}
_SCOPES: Final = {scope.value: scope for scope in Scope}
_ACTIONS: Final = {action.name.lower(): action for action in Action}
_SEVERITIES: Final = {severity.name.lower(): severity for severity in Severity}
_WORDS: Final[Mapping[str, Mapping[str, object]]] = {
    "severity": _SEVERITIES,
    "action": _ACTIONS,
    "on_unknown": _COUNTS,
    "on_error": _COUNTS,
}
_FOREIGN_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "severity": SEVERITIES,
    "action": ACTIONS,
    "on_unknown": COUNTS,
    "on_error": COUNTS,
}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a rule takes from its document where it says nothing itself."""

    owner: str = ""
    severity: Severity = Severity.MEDIUM
    mode: Mode = Mode.ENFORCE
    action: Action = Action.WARN
    on_unknown: bool = True
    on_error: bool = True
    canary: float = 1.0
    said: frozenset[str] = field(default_factory=frozenset)


def read_defaults(node: Node, context: Context, owner: str) -> Defaults:
    """Read a document's `defaults`."""
    entries = context.mapping(node, "defaults", DEFAULT_KEYS, later=("scope", "hold", "fallback"))
    return replace(_switches(entries, context, Defaults(owner), "defaults"), said=frozenset(entries))


def read_rule(node: Node, context: Context, defaults: Defaults) -> Rule | None:
    """Read one rule; None when it cannot be used, with every reason reported."""
    what = _name_of(node)
    with context.at(what.replace("'", "")):
        return _rule(node, context, defaults, what)


def _rule(node: Node, context: Context, defaults: Defaults, what: str) -> Rule | None:
    before = context.errors()
    context.uses()  # what was named before this rule is not its own
    entries = context.mapping(
        node, what, RULE_KEYS, later=LATER_RULE_KEYS, required=("id",), misplaced=_second_checks(node)
    )
    identity = _id(entries, context)
    scope = _scope(entries, context, what)
    judged = context.within(scope)
    check = _check(node, entries, judged, what)
    switches = _switches(entries, context, defaults, what)
    prose = _prose(entries, context, defaults)
    when = _when(entries, judged)
    unless = _unless(entries, judged)
    seen = tuple(_refs(check, when, judged))
    context.read.update(seen)
    reads = any(ref.space == "output" for ref in (*seen, *_refs_of([one.when for one in unless], judged)))
    message = _message(entries, judged, reads_output=reads or check is None)
    chain = _chain(entries, context)
    hold = _hold(entries, context, chain)
    for_s, points = _for(entries, scope, context), _points(entries, context)
    limits = _limits(entries, switches.action, context)
    uses = context.uses()
    if check is None or identity is None:
        return None
    rule = Rule(
        id=identity,
        check=check,
        phase=Phase.RESPONSE if reads else Phase.REQUEST,
        reads_output=reads,
        when=when,
        message=message,
        severity=switches.severity,
        mode=switches.mode,
        action=switches.action,
        fallback=chain,
        hold=hold,
        counts=_counts(switches, seen, check),
        place=context.locus(entries["id"].value.place),
        scope=scope,
        for_s=for_s,
        unless=unless,
        canary=switches.canary,
        points=points,
        limits=limits,
        uses=uses,
        **prose,
    )
    # What another key is meant by an unknown one is not known for certain, so nor is what the keys ask of each other.
    if isinstance(node, MappingNode) and not node.entries.keys() - {*RULE_KEYS, *LATER_RULE_KEYS}:
        agree(rule, entries, context)
        warn(rule, entries, context, seen, unknown_said="on_unknown" in defaults.said)
    return rule if context.errors() == before else None


class _Prose(TypedDict):
    """What a rule says to people."""

    title: str
    why: str
    owner: str
    runbook: str
    tags: tuple[str, ...]


def _prose(entries: Mapping[str, Entry], context: Context, defaults: Defaults) -> _Prose:
    texts = {key: context.reader.text(entries[key].value, key) or "" for key in TEXT_KEYS if key in entries}
    return _Prose(
        title=texts.get("title", ""),
        why=texts.get("why", ""),
        owner=texts.get("owner", "") or defaults.owner,
        runbook=texts.get("runbook", ""),
        tags=context.reader.texts(entries["tags"].value, "tags") if "tags" in entries else (),
    )


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
    made = kebab(text)
    context.reader.report("E212", f"'{text}' is not kebab-case", node.place, f"write {made}" if made else "")
    return None


def _check(node: Node, entries: Mapping[str, Entry], context: Context, what: str) -> Check | None:
    found = [key for key in entries if key in CHECK_KEYS]
    checks = []
    for key in found:
        with context.at(key):
            checks.append(read_check(key, entries[key].value, context))
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


def _second_checks(node: Node) -> dict[str, str]:
    """Return the keys of other tools that would be a second check of a rule, each with what to do."""
    if not isinstance(node, MappingNode) or not any(key in CHECK_KEYS for key in node.entries):
        return {}
    foreign = KEYS["rule"]
    meant = {key: foreign[key] for key in node.entries if foreign.get(key) in CHECK_KEYS}
    return {
        key: f"a rule has one check: make it a rule of its own, with {word}:" for key, word in meant.items()
    }


def _meant_a_check(node: MappingNode) -> bool:
    """Tell whether a key that was reported already is why there is no check."""
    unknown = [key for key in node.entries if key not in RULE_KEYS]
    return any(key in LATER_RULE_KEYS or likely(key, RULE_KEYS) in (None, *CHECK_KEYS) for key in unknown)


def _switches(entries: Mapping[str, Entry], context: Context, defaults: Defaults, what: str) -> Defaults:
    found: dict[str, object] = {}
    for key, words in _WORDS.items():
        if key in entries:
            found[key] = context.reader.choice(
                entries[key].value, f"{key} of {what}", words, foreign=_FOREIGN_WORDS[key]
            )
    if "mode" in entries:
        mode, share = read_mode(entries["mode"].value, context, f"mode of {what}")
        found |= {"mode": mode, "canary": share}
    return replace(defaults, **{key: value for key, value in found.items() if value is not None})  # type: ignore[arg-type]


def _when(entries: Mapping[str, Entry], context: Context) -> str:
    if "when" not in entries:
        return ""
    with context.at("when"):
        program = context.expression(entries["when"].value, "when", Kind.FLAG)
    return "" if program is None else program.text.strip()


def _unless(entries: Mapping[str, Entry], context: Context) -> tuple[Unless, ...]:
    if "unless" not in entries:
        return ()
    with context.at("unless"):
        return read_unless(entries["unless"].value, context)


def _chain(entries: Mapping[str, Entry], context: Context) -> tuple[FallbackSpec, ...]:
    if "fallback" not in entries:
        return ()
    with context.at("fallback"):
        return read_fallback(entries["fallback"].value, context)


def _hold(entries: Mapping[str, Entry], context: Context, chain: tuple[FallbackSpec, ...]) -> HoldSpec:
    if "hold" not in entries:
        return default_hold(chain)
    with context.at("hold"):
        return read_hold(entries["hold"].value, context, has_fallback="fallback" in entries)


def _refs(check: Check | None, when: str, context: Context) -> Iterator[Ref]:
    """Yield the names that decide a rule's verdict, exceptions left out; one that is unknown does not apply."""
    if check is not None:
        yield from (Ref(named.space, named.name) for named in check.fields)
        if check.every:
            yield Ref(check.every, "*")
    wants = check.wants if check is not None else ""
    yield from _refs_of((when, wants), context)


def _refs_of(texts: Iterable[str], context: Context) -> Iterator[Ref]:
    for text in texts:
        made = context.compile(text, Kind.FLAG) if text else None
        if isinstance(made, Program):
            yield from made.all_refs


def _scope(entries: Mapping[str, Entry], context: Context, what: str) -> Scope:
    if "scope" not in entries:
        return Scope.ROW
    node = entries["scope"].value
    return context.reader.choice(node, f"scope of {what}", _SCOPES, foreign=SCOPES) or Scope.ROW


def _for(entries: Mapping[str, Entry], scope: Scope, context: Context) -> float:
    if "for" not in entries:
        return 0.0
    entry = entries["for"]
    if scope is not Scope.WINDOW:
        message = f"'for' belongs to scope: window, and this rule has scope: {scope.value}"
        context.reader.report("E223", message, entry.key, "remove it, or write scope: window")
        return 0.0
    return context.reader.duration(entry.value, "for", low=1.0, high=MAX_FOR_S) or 0.0


def _points(entries: Mapping[str, Entry], context: Context) -> float:
    if "points" not in entries:
        return 0.0
    return context.reader.number(entries["points"].value, "points", low=1e-6, high=MAX_POINTS) or 0.0


def _limits(entries: Mapping[str, Entry], action: Action, context: Context) -> tuple[Limit, ...]:
    found = read_limits(entries["limits"].value, context, "limits") if "limits" in entries else {}
    for limited in found:
        if limited is not action:
            message = f"limits.{limited.name.lower()} is never used by action '{action.name.lower()}'"
            place = entries["limits"].key
            context.reader.report("W402", message, place, "limit the rule's own action", "warning")
    return completed(found) if action is Action.HOLD else tuple(found.values())


def _message(entries: Mapping[str, Entry], context: Context, *, reads_output: bool) -> str:
    if "message" not in entries:
        return ""
    node = entries["message"].value
    with context.at("message"):
        template = context.message(node, "message")
        if template is None:
            return ""
        _warn_of_other_templates(node, template.text, context)
    early = [ref for ref in template.refs if ref.space == "output"]
    if early and not reads_output:
        message = f"the message shows {early[0]}, but this rule is judged before there is a prediction"
        context.reader.report("E304", message, node.place, "show features, or let the rule read the output")
    return template.text


def _warn_of_other_templates(node: Node, text: str, context: Context) -> None:
    """Warn of a message that shows a name instead of its value, since it is written as for another tool."""
    match = _OTHER_TEMPLATE.search(text)
    if match is None or not isinstance(node, Scalar):
        return
    name = next((name for name in match.groups() if name), "output.x")
    message = f"the message shows {match.group()} as it stands, not a value"
    place = node.locate(match.start(), len(match.group()))
    context.reader.report("W413", message, place, f"write {{{name}}}", "warning")


def _counts(switches: Defaults, seen: tuple[Ref, ...], check: Check) -> frozenset[Verdict]:
    # What is still warming up says nothing about a row, so that it never counts against one.
    warms = check.kind == UNUSUAL or any(ref.space == "recent" for ref in seen)
    unknown = switches.on_unknown and not warms
    counted = {Verdict.VIOLATED: True, Verdict.UNKNOWN: unknown, Verdict.ERROR: switches.on_error}
    return frozenset(verdict for verdict, counts in counted.items() if counts)
