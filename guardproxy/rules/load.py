"""Rule files to rulesets: every document read, every problem found, one ruleset per model.

Decides how documents and files of one model come together. Pure: texts come in, rulesets and problems go out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from guardproxy.documents import parse_documents
from guardproxy.profile.model import Profile
from guardproxy.rules.cases import MAX_CASES, Mention, check_mentions, read_case
from guardproxy.rules.context import Context
from guardproxy.rules.model import FINITE_RULE, INSIDE_RULE, MAX_RULES, Case, Rule
from guardproxy.rules.names import known_names
from guardproxy.rules.reader import Defaults, read_defaults, read_rule
from guardproxy.rules.ruleset import Ruleset, make_ruleset
from guardproxy.source import Entry, MappingNode, Node, Place, Problem, Reader, Scalar, likely

FORMAT: Final = 1
DOCUMENT_KEYS: Final = ("guardproxy", "model", "owner", "defaults", "rules", "tests")
LATER_DOCUMENT_KEYS: Final = ("models", "limits", "lists", "kpis", "score")

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
# What other files of guardproxy look like, so that a wrong one gets one line instead of a page of unknown keys.
_OTHER_FILES: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (
        frozenset({"routes", "listen", "upstream"}),
        "this looks like a configuration; try `guardproxy config check`",
    ),
    (frozenset({"features", "provenance"}), "this looks like a profile; pass it with --profile"),
)


@dataclass(slots=True)
class _Model:
    """What the documents of one model have given so far."""

    rules: list[Rule] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    mentions: list[tuple[list[Mention], Context]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the models beside their rules."""

    profiles: Mapping[str, Profile]
    outputs: Mapping[str, tuple[str, ...]]
    features: Mapping[str, tuple[str, ...]]


def load_rulesets(
    texts: Mapping[str, str],
    *,
    profiles: Mapping[str, Profile] = _NOTHING,
    outputs: Mapping[str, tuple[str, ...]] = _NOTHING,
    features: Mapping[str, tuple[str, ...]] = _NOTHING,
) -> tuple[dict[str, Ruleset], list[Problem]]:
    """Read rule files, given as texts by file name, into one ruleset per model, with every problem of every file.

    `profiles`, `outputs` and `features` say by model what is known of its fields. Problems of severity `error` mean
    that the rulesets must not be used: a rule that could not be read is not in them. The order of files is irrelevant.
    """
    known = _Known(profiles, outputs, features)
    models: dict[str, _Model] = {}
    found: list[Problem] = []
    for file in sorted(texts):
        found += _read_file(file, texts[file], known, models)
    for model in models.values():
        ids = [*model.ids, *_implied(model)]
        for mentions, context in model.mentions:
            before = len(context.reader.problems)
            check_mentions(mentions, ids, context)
            found += context.reader.problems[before:]
    rulesets = {
        name: make_ruleset(name, tuple(model.rules), tuple(model.cases), profiles.get(name))
        for name, model in models.items()
    }
    return rulesets, sorted(
        found, key=lambda problem: (problem.file, problem.line, problem.column, problem.code)
    )


def _implied(model: _Model) -> tuple[str, ...]:
    return tuple(name for name in (FINITE_RULE, INSIDE_RULE) if name not in model.ids)


def _read_file(file: str, text: str, known: _Known, models: dict[str, _Model]) -> list[Problem]:
    documents, problems = parse_documents(text, file)
    forgiven: set[tuple[int, int]] = set()
    found: list[Problem] = []
    held = [node for node in documents if not _empty(node)]
    if not held and not problems:
        reader = Reader(file)
        reader.report("E217", "the file has no rules", Place(1, 1), _HEAD)
        return reader.problems
    for node in held:
        context = _read_document(file, node, known, models)
        forgiven |= context.forgiven
        found += context.reader.problems
    meant = [one for one in problems if not (one.code == "E202" and (one.line, one.column) in forgiven)]
    return meant + found


_HEAD: Final = "a rule file begins with guardproxy: 1 and model: NAME"


def _empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _read_document(file: str, node: Node, known: _Known, models: dict[str, _Model]) -> Context:
    reader = Reader(file)
    context = Context(reader, known_names(None, None, None), "", None)
    if not isinstance(node, MappingNode) or not _is_rule_file(node, reader):
        if not isinstance(node, MappingNode):
            reader.report("E217", "this is not a rule file: it must be a mapping", node.place, _HEAD)
        return context
    entries = context.mapping(
        node,
        "a rule file",
        DOCUMENT_KEYS,
        later=LATER_DOCUMENT_KEYS,
        required=("guardproxy", *_required(node)),
    )
    name = reader.text(entries["model"].value, "model", max_length=200) if "model" in entries else None
    context = _context(reader, name or "", known, context.forgiven)
    if name is not None and "rules" in entries:
        _note_unknown(entries["model"], context)
    _read_parts(entries, context, models.setdefault(name, _Model()) if name is not None else _Model())
    return context


def _required(node: MappingNode) -> tuple[str, ...]:
    return () if "models" in node.entries else ("model",)


def _is_rule_file(node: MappingNode, reader: Reader) -> bool:
    keys = set(node.entries)
    if "guardproxy" not in keys:
        for marks, hint in _OTHER_FILES:
            if len(keys & marks) >= min(2, len(marks)) or (
                keys & marks and "rules" not in keys and "model" not in keys
            ):
                reader.report("E217", "this is not a rule file", node.place, hint)
                return False
        if not keys & {"model", "rules", "tests"} and not any(likely(key, ("guardproxy",)) for key in keys):
            reader.report("E217", "this is not a rule file", node.place, _HEAD)
            return False
        return True
    version = node.entries["guardproxy"].value
    if isinstance(version, Scalar) and version.value == FORMAT and type(version.value) is int:
        return True
    shown = version.raw if isinstance(version, Scalar) else "that"
    reader.report(
        "E217", f"format version {shown[:20]} is not known", version.place, f"write guardproxy: {FORMAT}"
    )
    return True


def _context(reader: Reader, name: str, known: _Known, forgiven: set[tuple[int, int]]) -> Context:
    profile = known.profiles.get(name)
    outputs = known.outputs.get(name)
    names = known_names(profile, known.features.get(name), outputs)
    if outputs is None and profile is not None and profile.outputs:
        outputs = tuple(profile.outputs) if len(profile.outputs) > 1 else None
    return Context(reader, names, name, outputs, forgiven)


def _note_unknown(entry: Entry, context: Context) -> None:
    lacking = [
        what
        for what, known in (("features", context.names.features), ("outputs", context.names.outputs))
        if known is None
    ]
    if lacking:
        message = f"names of {' and '.join(lacking)} of '{context.model}' cannot be checked"
        advice = "pass the model's profile with --profile FILE"
        context.reader.report("N401", message, entry.value.place, advice, "note")


def _read_parts(entries: Mapping[str, Entry], context: Context, model: _Model) -> None:
    owner = (
        context.reader.text(entries["owner"].value, "owner", max_length=200) if "owner" in entries else None
    )
    defaults = Defaults(owner or "")
    if "defaults" in entries:
        defaults = read_defaults(entries["defaults"].value, context, owner or "")
    if "rules" in entries:
        _read_rules(entries["rules"], context, defaults, model)
    if "tests" in entries:
        _read_cases(entries["tests"], context, model)


def _read_rules(entry: Entry, context: Context, defaults: Defaults, model: _Model) -> None:
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
