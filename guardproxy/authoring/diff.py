"""`rules diff`: what two sets of rule files say differently.

Decides what a difference is: what a rule does, not where it stands or how it is laid out. Expressions are compared in
their canonical spelling. How differences are printed is left to the command.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from guardproxy.decision import Mode
from guardproxy.documents import parse_documents
from guardproxy.rules import Rule, Ruleset
from guardproxy.rules.checks import CHECK_KEYS
from guardproxy.rules.language import spell
from guardproxy.rules.language.flaws import FlawError
from guardproxy.rules.language.parser import parse
from guardproxy.source import MappingNode, Node, Scalar, SequenceNode
from guardproxy.table import Cell
from guardproxy.units import format_duration, parse_duration, parse_share

ITEMS_SHOWN: Final = 20

_EXPRESSIONS: Final = frozenset(
    {"when", "require", "forbid", "expr", "value", "min", "max", "up", "down", "floor"}
)
Said = Mapping[str, str]
"""What a rule says, as text by key; `hold.sla` and the like name keys within keys."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose text differs; an empty text is a key that is not there. `relative` is the change of a number."""

    key: str
    before: str
    after: str
    relative: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs. `what` is rule, list, kpi or model; `how` is added, removed or changed."""

    model: str
    what: str
    name: str
    how: str
    changes: tuple[Change, ...] = ()
    said: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the machine-readable form."""
        return {
            "model": self.model,
            "what": self.what,
            "name": self.name,
            "how": self.how,
            "changes": [
                {"key": one.key, "before": one.before, "after": one.after, "relative": one.relative}
                for one in self.changes
            ],
        }


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two sets: its texts by file, and what they came to."""

    texts: Mapping[str, str]
    rulesets: Mapping[str, Ruleset]


def compare(before: Side, after: Side) -> list[Difference]:
    """Return every difference, by model and name."""
    said = [_said_rules(side) for side in (before, after)]
    found: list[Difference] = []
    for model in sorted({*before.rulesets, *after.rulesets}):
        old, new = before.rulesets.get(model), after.rulesets.get(model)
        if old is None or new is None:
            found.append(
                Difference(
                    model, "model", model, "removed" if new is None else "added", said=_size(old or new)
                )
            )
            continue
        found += _named("rule", model, _of_model(old, said[0]), _of_model(new, said[1]))
        found += _lists(model, old, new)
        found += _named("kpi", model, _kpis(old), _kpis(new))
        found += _named("limits", model, {"limits": _limits(old)}, {"limits": _limits(new)})
    return found


def _size(ruleset: Ruleset | None) -> str:
    own = [rule for rule in ruleset.rules if not rule.built_in] if ruleset is not None else []
    return f"{len(own)} rules"


def _named(what: str, model: str, old: Mapping[str, Said], new: Mapping[str, Said]) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            told = after if before is None else before
            yield Difference(
                model, what, name, "added" if before is None else "removed", said=_short(told or {})
            )
        elif changes := tuple(_changes(before, after)):
            yield Difference(model, what, name, "changed", changes)


def _changes(before: Said, after: Said) -> Iterator[Change]:
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key, ""), after.get(key, "")
        if old != new and not _same_number(key, old, new):
            # The digest of a list may look like a number.
            yield Change(key, old, new, None if key.startswith("reads.") else _relative(old, new))


def _same_number(key: str, old: str, new: str) -> bool:
    """`900s` is `15m`, and `0.2` is `20%`; but a title is what it says, and so is the digest of a list."""
    if key.partition(".")[0] in _WORDS:
        return False
    before = _number(old)
    return before is not None and before == _number(new)


_WORDS: Final = frozenset({"title", "message", "why", "owner", "runbook", "tags", "reads", "unit"})


def _relative(old: str, new: str) -> float | None:
    before, after = _number(old), _number(new)
    if not before or after is None:
        return None
    change = (after - before) / abs(before)
    return change if math.isfinite(change) else None


def _number(text: str) -> float | None:
    for convert in (float, parse_share, parse_duration):
        try:
            return convert(text)
        except ValueError:
            continue  # written in another way, or no number at all
    return None


def _short(said: Said) -> str:
    """Say the main thing of a rule that came or went."""
    keys = [key for key in said if key.partition(".")[0] in CHECK_KEYS]
    check = ", ".join(f"{key}: {said[key]}" for key in keys[:4])
    more = [said[key] for key in ("mode", "action") if key in said]
    return "; ".join(part for part in (check, " ".join(more)) if part) or "; ".join(
        f"{key}: {text}" for key, text in list(said.items())[:4]
    )


def _of_model(ruleset: Ruleset, said: Mapping[tuple[str, int], Said]) -> dict[str, Said]:
    """Return what each rule says: its own keys as written, and what it takes from defaults."""
    return {
        rule.id: {**said.get((rule.place.file, rule.place.line), {}), **_effective(rule)}
        for rule in ruleset.rules
        if not (rule.built_in and rule.kind != "score")
    }


def _effective(rule: Rule) -> Said:
    mode = f"canary {rule.canary * 100:g}%" if rule.mode is Mode.CANARY else rule.mode.value
    counted = {verdict.name.lower() for verdict in rule.counts}
    told = {
        "mode": mode,
        "action": rule.action.name.lower(),
        "severity": rule.severity.name.lower(),
        "owner": rule.owner,
        "scope": rule.scope.value,
        **{f"on_{word}": "violate" if word in counted else "ignore" for word in ("unknown", "error")},
        "points": f"{rule.points:g}" if rule.points else "",
        **{
            f"limits.{limit.action.name.lower()}": _limit(limit.share, limit.window_s)
            for limit in rule.limits
        },
        **{f"reads.{name}": digest for name, digest in rule.uses},
    }
    return {key: text for key, text in told.items() if text}


def _limit(share: float, window_s: float) -> str:
    return f"{share * 100:g}% per {format_duration(window_s)}"


def _limits(ruleset: Ruleset) -> Said:
    return {limit.action.name.lower(): _limit(limit.share, limit.window_s) for limit in ruleset.limits}


def _kpis(ruleset: Ruleset) -> dict[str, Said]:
    return {
        kpi.name: {
            "expr": _canonical(kpi.expr),
            "title": kpi.title,
            "unit": kpi.unit,
            "owner": kpi.owner,
            **{
                f"expect.{key}": f"{bound:g}"
                for key, bound in (("min", kpi.low), ("max", kpi.high))
                if bound is not None
            },
        }
        for kpi in ruleset.kpis
    }


def _lists(model: str, old: Ruleset, new: Ruleset) -> Iterator[Difference]:
    named = [{name: values for name, values in one.lists.items() if "." not in name} for one in (old, new)]
    for name in sorted({*named[0], *named[1]}):
        before, after = named[0].get(name), named[1].get(name)
        if before is None or after is None:
            how = "added" if before is None else "removed"
            yield Difference(
                model, "list", name, how, said=f"{len((before if after is None else after) or ()):,} values"
            )
        elif before != after:
            gone, come = _values(before - after), _values(after - before)
            yield Difference(model, "list", name, "changed", (Change("values", gone, come),))


def _values(values: frozenset[Cell]) -> str:
    ordered = sorted(str(value) for value in values)
    return ", ".join(ordered[:ITEMS_SHOWN]) + (
        f", ... ({len(ordered):,})" if len(ordered) > ITEMS_SHOWN else ""
    )


def _said_rules(side: Side) -> dict[tuple[str, int], Said]:
    """Return what every rule's own keys say, by the file and line of its id."""
    found: dict[tuple[str, int], Said] = {}
    for file, text in side.texts.items():
        documents, _ = parse_documents(text, file)
        for rule in (rule for document in documents for rule in _rules(document)):
            name = rule.entries.get("id")
            if name is not None:
                said = dict(_flat(rule, ""))
                said.pop("id", None)
                found[file, name.value.place.line] = said
    return found


def _rules(document: Node) -> Sequence[MappingNode]:
    rules = document.entries.get("rules") if isinstance(document, MappingNode) else None
    items = rules.value.items if rules is not None and isinstance(rules.value, SequenceNode) else ()
    return [item for item in items if isinstance(item, MappingNode)]


_LEFT_OUT: Final = frozenset({"limits"})
"""What a rule comes to is compared in its place: defaults and other spellings are no difference."""


def _flat(node: Node, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, MappingNode):
        for key, entry in node.entries.items():
            if path or key not in _LEFT_OUT:
                yield from _flat(entry.value, f"{path}.{key}" if path else key)
    elif isinstance(node, SequenceNode):
        yield from _listed(node, path)
    else:
        yield path, _scalar(node, path.rpartition(".")[2])


def _listed(node: SequenceNode, path: str) -> Iterator[tuple[str, str]]:
    """Items with an id are compared by it, whatever their order; all others as one text."""
    ids = [_id(item) for item in node.items]
    if ids and all(ids):
        for name, item in zip(ids, node.items, strict=True):
            yield from _flat(item, f"{path}.{name}")
        return
    yield path, ", ".join(_text(item) for item in node.items)


def _id(node: Node) -> str:
    entry = node.entries.get("id") if isinstance(node, MappingNode) else None
    return str(entry.value.value) if entry is not None and isinstance(entry.value, Scalar) else ""


def _text(node: Node) -> str:
    if isinstance(node, Scalar):
        return _scalar(node, "")
    if isinstance(node, SequenceNode):
        return f"[{', '.join(_text(item) for item in node.items)}]"
    pairs = (
        f"{key}: {_scalar(entry.value, key) if isinstance(entry.value, Scalar) else _text(entry.value)}"
        for key, entry in node.entries.items()
    )
    return f"{{{', '.join(pairs)}}}"


def _scalar(node: Scalar, key: str) -> str:
    value = node.value
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return _canonical(value) if key in _EXPRESSIONS else value
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _canonical(text: str) -> str:
    try:
        return spell(parse(text))
    except FlawError:
        return text
