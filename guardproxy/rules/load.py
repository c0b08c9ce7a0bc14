"""Rule files to rulesets: every document read, every problem found, one ruleset per model.

Decides how documents and files of one model come together: what they define first, then the rules that use it. Pure:
texts come in, rulesets and problems go out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Final

from guardproxy.decision import Action
from guardproxy.profile.model import Profile
from guardproxy.rules.cases import MAX_CASES, Mention, check_fields, check_mentions, read_case
from guardproxy.rules.context import Context, traced
from guardproxy.rules.definitions import (
    Definitions,
    compile_kpis,
    kpi_rules,
    note_unused_lists,
    read_kpis,
    read_lists,
)
from guardproxy.rules.language import Ref
from guardproxy.rules.limits import completed, inherited, read_limits
from guardproxy.rules.model import FINITE_RULE, INSIDE_RULE, MAX_RECENTS, MAX_RULES, Case, Limit, Rule
from guardproxy.rules.names import known_names
from guardproxy.rules.reader import Defaults, read_defaults, read_rule
from guardproxy.rules.ruleset import Ruleset, make_ruleset
from guardproxy.rules.scores import read_score, warn_unreachable
from guardproxy.rules.sheets import Part, Sheet, read_sheets
from guardproxy.rules.written import kebab
from guardproxy.source import Entry, MappingNode, Node, Place, Problem, Scalar

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(slots=True)
class _Document:
    """One document as its model sees it."""

    entries: Mapping[str, Entry]
    context: Context
    place: Place
    owner: str = ""


@dataclass(slots=True)
class _Model:
    """What the documents of one model have given so far."""

    name: str
    documents: list[_Document] = field(default_factory=list)
    defined: Definitions = field(default_factory=Definitions)
    rules: list[Rule] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    mentions: list[tuple[list[Mention], Context]] = field(default_factory=list)
    limits: dict[Action, Limit] = field(default_factory=dict)
    scores: list[tuple[Rule, Place]] = field(default_factory=list)
    scored: tuple[str, Context] | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the models beside their rules."""

    profiles: Mapping[str, Profile]
    outputs: Mapping[str, tuple[str, ...]]
    features: Mapping[str, tuple[str, ...]]
    today: date | None


def load_rulesets(
    texts: Mapping[str, str],
    *,
    profiles: Mapping[str, Profile] = _NOTHING,
    outputs: Mapping[str, tuple[str, ...]] = _NOTHING,
    features: Mapping[str, tuple[str, ...]] = _NOTHING,
    today: date | None = None,
) -> tuple[dict[str, Ruleset], list[Problem]]:
    """Read rule files, given as texts by file name, into one ruleset per model, with every problem of every file.

    `profiles`, `outputs` and `features` say by model what is known of its fields. With `today`, exceptions that have
    ended or are about to are warned of. Problems of severity `error` mean that the rulesets must not be used: a rule that
    could not be read is not in them. The order of files is irrelevant.
    """
    known = _Known(profiles, outputs, features, today)
    sheets: list[Sheet] = []
    malformed: list[Problem] = []
    for file in sorted(texts):
        read, problems = read_sheets(file, texts[file])
        sheets += read
        malformed += problems
    parts: dict[str, list[tuple[Part, Sheet]]] = {}
    for sheet in sheets:
        for part in sheet.parts:
            parts.setdefault(part.model, []).append((part, sheet))
    rulesets = {name: _ruleset(name, own, known) for name, own in parts.items()}
    rulesets.pop("", None)
    # What YAML refused at a place needs no second sentence there.
    refused = {(one.file, one.line, one.column) for one in malformed if one.code in {"E203", "E206"}}
    said = {(one.file, one.line, one.column) for sheet in sheets for one in sheet.problems()}
    found = [
        one
        for one in _meant(malformed, sheets)
        # Where a reader says which word is meant, it is said once.
        if one.code != "E202" or (one.file, one.line, one.column) not in said
    ]
    for sheet in sheets:
        found += [one for one in sheet.problems() if (one.file, one.line, one.column) not in refused]
    return rulesets, sorted(
        found, key=lambda problem: (problem.file, problem.line, problem.column, problem.code)
    )


def _meant(malformed: list[Problem], sheets: list[Sheet]) -> list[Problem]:
    """Leave out the words of old YAML that are fine where they stand, or that stand in a file of another kind."""
    forgiven = {(sheet.reader.file, *place) for sheet in sheets for place in sheet.forgiven}
    refused = {sheet.reader.file for sheet in sheets if not sheet.accepted}
    return [
        one
        for one in malformed
        if one.code != "E202" or not (one.file in refused or (one.file, one.line, one.column) in forgiven)
    ]


def _ruleset(name: str, parts: list[tuple[Part, Sheet]], known: _Known) -> Ruleset:
    """Read all documents of one model: definitions first, so that the order of documents does not matter."""
    model = _Model(name)
    _open(model, parts, known)
    for document in model.documents:
        if "kpis" in document.entries:
            read_kpis(document.entries["kpis"], document.context, document.owner, model.defined)
    compile_kpis(model.defined)
    for document in model.documents:
        _read_score(document, model)
        _read_limits(document, model)
    for document in model.documents:
        document.context.scored = model.scored is not None
        _read_parts(document, model)
    _complete(model)
    if not _wrong(model):
        used = frozenset().union(*(document.context.used for document in model.documents))
        note_unused_lists(used, model.defined)
    ruleset = make_ruleset(
        name,
        tuple(inherited(rule, model.limits) for rule in model.rules),
        tuple(model.cases),
        known.profiles.get(name),
        lists=model.defined.lists,
        kpis=model.defined.kpis,
        limits=completed(model.limits),
    )
    if len(ruleset.recents) > MAX_RECENTS:
        first = model.documents[0]
        message = f"more than {MAX_RECENTS} different rolling functions of one model"
        first.context.reader.report(
            "E308", message, first.place, "let rules share them: the same call counts once"
        )
    read = set[Ref]().union(*(document.context.read for document in model.documents))
    for mentions, context in model.mentions:
        check_mentions(mentions, [*model.ids, *_implied(model)], list(ruleset.recents), context)
    check_fields(((one, context) for mentions, context in model.mentions for one in mentions), read)
    return ruleset


def _open(model: _Model, parts: list[tuple[Part, Sheet]], known: _Known) -> None:
    """Give every document a context that knows the lists of all of them."""
    profile, outputs = known.profiles.get(model.name), known.outputs.get(model.name)
    features, defined = known.features.get(model.name), model.defined
    bare = known_names(profile, features, outputs)
    for part, _ in parts:
        if "lists" in part.entries:
            read_lists(part.entries["lists"], Context(part.reader, bare, model.name, None), defined)
    names = known_names(profile, features, outputs, lists=defined.lists, kpis=defined.programs)
    if outputs is None and profile is not None and profile.outputs:
        outputs = tuple(profile.outputs) if len(profile.outputs) > 1 else None
    for part, sheet in parts:
        touched: set[str] = set()
        context = Context(
            part.reader,
            traced(names, touched),
            model.name,
            outputs,
            sheet.forgiven,
            touched=touched,
            digests=defined.digests,
            today=known.today,
        )
        owner = part.entries.get("owner")
        said = context.reader.text(owner.value, "owner", max_length=200) if owner is not None else None
        model.documents.append(_Document(part.entries, context, part.place, said or ""))
    told = next((one for one in model.documents if model.name and "rules" in one.entries), None)
    if told is not None:
        _note_unknown(told.place, told.context)


def _note_unknown(place: Place, context: Context) -> None:
    lacking = [
        what
        for what, known in (("features", context.names.features), ("outputs", context.names.outputs))
        if known is None
    ]
    if lacking:
        message = f"names of {' and '.join(lacking)} of '{context.model}' cannot be checked"
        advice = "pass the model's profile with --profile FILE"
        context.reader.report("N401", message, place, advice, "note")


def _read_score(document: _Document, model: _Model) -> None:
    entry = document.entries.get("score")
    if entry is None:
        return
    context = document.context
    if model.scored is not None:
        message = f"the score of '{model.name}' is given already at {model.scored[0]}"
        context.reader.report("E220", message, entry.key, "keep one score block per model")
        return
    model.scored = (str(context.locus(entry.key)), context)
    model.scores = list(read_score(entry, context, document.owner))
    model.ids |= {rule.id: str(rule.place) for rule, _ in model.scores}


def _read_limits(document: _Document, model: _Model) -> None:
    entry = document.entries.get("limits")
    if entry is None:
        return
    for action, limit in read_limits(entry.value, document.context, "limits").items():
        before = model.limits.get(action)
        if before is None:
            model.limits[action] = limit
            continue
        message = f"the limit on {action.name.lower()} of '{model.name}' is given already at {before.place}"
        document.context.reader.report("E222", message, entry.key, "keep one per model")


def _read_parts(document: _Document, model: _Model) -> None:
    entries, context = document.entries, document.context
    defaults = Defaults(document.owner)
    if "defaults" in entries:
        defaults = read_defaults(entries["defaults"].value, context, document.owner)
    if "rules" in entries:
        _read_rules(entries["rules"], context, defaults, model)
    if "tests" in entries:
        _read_cases(entries["tests"], context, model)


def _read_rules(entry: Entry, context: Context, defaults: Defaults, model: _Model) -> None:
    node = entry.value
    if isinstance(node, MappingNode) and node.entries:
        (name, first), *_ = node.entries.items()
        if isinstance(first.value, MappingNode):
            # Rules by name, as in many tools.
            message = "rules must be a list, not a mapping"
            context.reader.report(
                "E206", message, node.place, f"write - id: {kebab(name)[:60]}, with its keys below"
            )
            return
    for node in context.reader.items(entry.value, "rules"):
        if len(model.ids) >= MAX_RULES:
            context.reader.report("E308", f"more than {MAX_RULES:,} rules of one model", node.place)
            return
        rule = read_rule(node, context, defaults)
        if _is_new(node, context, model) and rule is not None:
            model.rules.append(rule)


def _is_new(node: Node, context: Context, model: _Model) -> bool:
    """Remember a rule's id, also of a rule that is otherwise wrong, and report one that is taken."""
    entry = node.entries.get("id") if isinstance(node, MappingNode) else None
    if entry is None or not isinstance(entry.value, Scalar) or not isinstance(entry.value.value, str):
        return False
    name, place = entry.value.value, entry.value.place
    if name in model.ids:
        message = f"the id '{name}' is taken by the rule at {model.ids[name]}"
        context.reader.report(
            "E213", message, place, f"ids are unique per model; rename one of {context.model}'s two"
        )
        return False
    model.ids[name] = str(context.locus(place))
    return True


def _read_cases(entry: Entry, context: Context, model: _Model) -> None:
    for node in context.reader.items(entry.value, "tests"):
        if len(model.cases) >= MAX_CASES:
            context.reader.report("E308", f"more than {MAX_CASES:,} tests of one model", node.place)
            return
        case, mentions = read_case(node, context)
        model.mentions.append((mentions, context))
        if case is not None:
            model.cases.append(case)


def _complete(model: _Model) -> None:
    """Add the rules that come of scores and KPIs, and leave out those that could not be compiled."""
    if model.scored is not None and not _wrong(model):
        warn_unreachable(model.scores, model.rules, model.scored[1])
    model.rules += [rule for rule, _ in model.scores]
    for rule in kpi_rules(model.defined):
        if rule.id not in model.ids:
            model.ids[rule.id] = str(rule.place)
            model.rules.append(rule)
    broken = model.defined.broken
    model.rules = [rule for rule in model.rules if not any(name in broken for name, _ in rule.uses)]


def _wrong(model: _Model) -> bool:
    """Tell whether anything of a model could not be read: what seems unused or out of reach then may not be."""
    return any(document.context.errors() for document in model.documents)


def _implied(model: _Model) -> tuple[str, ...]:
    return tuple(name for name in (FINITE_RULE, INSIDE_RULE) if name not in model.ids)
