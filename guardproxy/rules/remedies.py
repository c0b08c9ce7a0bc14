"""Fallback chains and holds of a rule: what may stand in for a suspect prediction, and how it is kept for review.

Decides how they are written, and finds literal values that violate the rule they serve. Choosing among candidates at
run time is left to `bound` and to the guard.
"""

import re
from collections.abc import Mapping
from typing import Final

from guardproxy.decision import Meanwhile, OnExpiry, Scope
from guardproxy.rules.blocks import ROW_CHECKS
from guardproxy.rules.context import Context
from guardproxy.rules.foreign import EXPIRIES, FALLBACKS, MEANWHILES
from guardproxy.rules.language import Kind, LanguageError, Program, Ref, interpret
from guardproxy.rules.model import DEFAULT_QUEUE, DEFAULT_SLA_S, Check, FallbackSpec, HoldSpec, Rule
from guardproxy.rules.names import is_stat
from guardproxy.rules.past import REMEMBERED
from guardproxy.rules.texts import SENTENCES
from guardproxy.rules.written import kebab, plain_cell
from guardproxy.source import Entry, MappingNode, Node, Place, Scalar, SequenceNode, did_you_mean, kind_of
from guardproxy.table import Cell

MAX_CHAIN: Final = 16
HOLD_KEYS: Final = ("queue", "sla", "meanwhile", "on_expiry", "value")
_AGED: Final = ("previous", *REMEMBERED)
"""What is remembered of an entity: each may be written with `max_age`."""
LINK_KEYS: Final = ("expr", "value", *_AGED)
AGE_KEYS: Final = ("max_age",)
LATER_HOLD_KEYS: Final = ("reviewers", "notify")

_QUEUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FORMS: Final = (*_AGED, "profile.p50", "{expr: ...}", "{value: ...}")
_MEANWHILES: Final = {word.value: word for word in Meanwhile}
_EXPIRIES: Final = {word.value: word for word in OnExpiry}
_EXPIRY_OF: Final = {
    Meanwhile.FALLBACK: OnExpiry.FALLBACK,
    Meanwhile.ORIGINAL: OnExpiry.ORIGINAL,
    Meanwhile.WITHHOLD: OnExpiry.REJECT,
}


def read_fallback(node: Node, context: Context) -> tuple[FallbackSpec, ...]:
    """Read a fallback chain; a single link counts as a chain of one."""
    links = node.items if isinstance(node, SequenceNode) else (node,)
    if not 1 <= len(links) <= MAX_CHAIN:
        context.reader.report("E208", f"fallback must have 1 to {MAX_CHAIN} links", node.place)
        return ()
    found = (_link(link, context) for link in links)
    return tuple(link for link in found if link is not None)


def _link(node: Node, context: Context) -> FallbackSpec | None:
    if isinstance(node, MappingNode):
        return _mapping_link(node, context)
    text = node.value if isinstance(node, Scalar) else None
    if isinstance(text, str) and text in _AGED:
        return FallbackSpec(text, text)
    if isinstance(text, str) and text.startswith("profile.") and is_stat(text.removeprefix("profile.")):
        return FallbackSpec("profile", text, stat=text.removeprefix("profile."))
    shown = text if isinstance(text, str) else kind_of(node)
    advice = _meant(node) or did_you_mean(shown, _FORMS)
    context.reader.report("E207", f"a fallback cannot be {shown}", node.place, advice)
    return None


def _meant(node: Node) -> str:
    """Say how a link is written that stands there without its form: a number, an expression, a statistic."""
    if not isinstance(node, Scalar) or node.value is None:
        return ""
    text = str(node.value).strip()
    if isinstance(node.value, (bool, int, float)):
        return f"write {{value: {node.raw[:40]}}}"
    if text.casefold() in FALLBACKS:
        return FALLBACKS[text.casefold()]
    if "," in text:
        return f"several links stand in brackets: [{text[:60]}]"
    if text.startswith("previous."):
        return "write previous: each output gets its own"
    stat = text.rpartition(".")[2]
    if text.startswith("profile.") and is_stat(stat):
        return f"write profile.{stat}: each output gets its own"
    if text.startswith(("features.", "output.", "kpi.")):
        return f"write {{expr: {text[:60]}}}"
    return ""


def _mapping_link(node: MappingNode, context: Context) -> FallbackSpec | None:
    entries = context.mapping(node, "a fallback", LINK_KEYS, later=("model",))
    if len(entries) != 1:
        if "model" not in node.entries and not (node.flow and len(node.entries) > len(entries)):
            context.reader.report("E206", f"a fallback needs one of: {', '.join(LINK_KEYS)}", node.place)
        return None
    ((key, entry),) = entries.items()
    if key in _AGED:
        return _aged_link(key, entry.value, context)
    parts = _by_output(entry.value, context, f"fallback.{key}")
    if key == "expr":
        made = {name: context.expression(part, f"fallback.{key}") for name, part in parts.items()}
        exprs = {name: program.text.strip() for name, program in made.items() if program is not None}
        label = "expr: " + ", ".join(exprs.values())
        return FallbackSpec("expr", label[:120], exprs=exprs) if exprs and len(exprs) == len(parts) else None
    cells = {name: _cell(part, context) for name, part in parts.items()}
    values = {name: cell for name, cell in cells.items() if cell is not None}
    return FallbackSpec("value", "value", values=values) if values and len(values) == len(parts) else None


def _aged_link(kind: str, node: Node, context: Context) -> FallbackSpec | None:
    """Read what is remembered of an entity, as old as it may be: `{last_good: {max_age: 14d}}`."""
    entries = context.mapping(node, "a remembered fallback", AGE_KEYS, required=AGE_KEYS)
    if "max_age" not in entries:
        return None
    age = context.reader.duration(entries["max_age"].value, f"fallback.{kind}.max_age", low=1.0)
    return None if age is None else FallbackSpec(kind, kind, max_age_s=age)


def _by_output(node: Node, context: Context, what: str) -> dict[str, Node]:
    """Return nodes by output, where `""` is a model's only one; say so where the form does not fit the outputs."""
    outputs = context.outputs
    if isinstance(node, MappingNode):
        if not node.entries:
            context.reader.report("E303", f"{what} names no output", node.place)
        for name, entry in node.entries.items():
            if outputs is not None and name not in outputs:
                message = f"{what} gives '{name}', which is no output of {context.model}"
                context.reader.report("E303", message, entry.key, did_you_mean(name, outputs))
        return {name: entry.value for name, entry in node.entries.items()}
    if outputs is not None and len(outputs) > 1:
        message = (
            f"the model has {len(outputs)} outputs ({', '.join(outputs[:6])}): one scalar does not say which"
        )
        advice = f"write a mapping such as {{{outputs[0]}: ..., {outputs[1]}: ...}}"
        context.reader.report("E303", message, node.place, advice)
    return {"": node}


def _cell(node: Node, context: Context) -> Cell:
    good, cell = plain_cell(node)
    if not good or cell is None:
        message = "fallback.value must be a number, text, true/false or a list of numbers"
        context.reader.report("E206", f"{message}, not {kind_of(node)}", node.place)
        return None
    if isinstance(cell, float) and cell in (float("inf"), float("-inf")):
        context.reader.report("E208", "fallback.value must be finite", node.place)
        return None
    return cell  # type: ignore[return-value]


def default_hold(chain: tuple[FallbackSpec, ...]) -> HoldSpec:
    """Return how a row is held where the file does not say: with a fallback in its place if there is one."""
    return HoldSpec(meanwhile=Meanwhile.FALLBACK, on_expiry=OnExpiry.FALLBACK) if chain else HoldSpec()


def read_hold(node: Node, context: Context, *, has_fallback: bool) -> HoldSpec:
    """Read a rule's `hold`."""
    entries = context.mapping(node, "hold", HOLD_KEYS, later=LATER_HOLD_KEYS)
    queue, sla, value = DEFAULT_QUEUE, DEFAULT_SLA_S, ""
    if "queue" in entries:
        queue = _queue(entries["queue"].value, context)
    if "sla" in entries:
        sla = context.reader.duration(entries["sla"].value, "hold.sla", low=1.0) or sla
    meanwhile = Meanwhile.FALLBACK if has_fallback else Meanwhile.ORIGINAL
    if "meanwhile" in entries:
        meanwhile = (
            context.reader.choice(
                entries["meanwhile"].value, "hold.meanwhile", _MEANWHILES, foreign=MEANWHILES
            )
            or meanwhile
        )
    on_expiry = _EXPIRY_OF[meanwhile]
    if "on_expiry" in entries:
        on_expiry = (
            context.reader.choice(entries["on_expiry"].value, "hold.on_expiry", _EXPIRIES, foreign=EXPIRIES)
            or on_expiry
        )
    for key, word in (("meanwhile", meanwhile.value), ("on_expiry", on_expiry.value)):
        if key in entries and word == "fallback" and not has_fallback:
            message = f"hold.{key}: fallback needs a fallback"
            context.reader.report(
                "E215", message, entries[key].value.place, "add for example fallback: [previous]"
            )
    if "value" in entries:
        program = context.expression(entries["value"].value, "hold.value", Kind.NUMBER)
        value = "" if program is None else program.text.strip()
    return HoldSpec(queue, sla, meanwhile, on_expiry, value)


def _queue(node: Node, context: Context) -> str:
    text = context.reader.text(node, "hold.queue", max_length=64)
    if text is not None and not _QUEUE.fullmatch(text):
        context.reader.report("E206", f"'{text}' cannot name a queue", node.place, _queue_help(text))
    return text or DEFAULT_QUEUE


def _queue_help(text: str) -> str:
    made = kebab(text)[:64]
    return f"write {made}" if made else "letters, digits, '.', '_' and '-'"


def contradicted(rule: Rule, entry: Entry | None, context: Context) -> list[tuple[str, Place]]:
    """Return what is wrong with each literal fallback that violates its own rule, as far as can be told at load.

    Only demands that read nothing but the given outputs and constants can be told; `when` must not turn it off.
    """
    if entry is None:
        return []
    links = entry.value.items if isinstance(entry.value, SequenceNode) else (entry.value,)
    specs = rule.fallback
    if len(links) != len(specs):
        return []  # a link was reported already
    found = []
    for spec, link in zip(specs, links, strict=True):
        words = _contradiction(rule, spec, context) if spec.kind == "value" else ""
        if words and isinstance(link, MappingNode):
            found.append((words, link.entries["value"].value.place))
    return found


def _contradiction(rule: Rule, spec: FallbackSpec, context: Context) -> str:
    if rule.scope is not Scope.ROW:
        return ""
    values = _named_values(rule, spec, context)
    if rule.when and _holds(rule.when, values, context) is False:
        return ""
    if rule.kind in ROW_CHECKS and rule.check.fields:
        return _cells_contradict(rule, values)
    for text, words in rule.check.terms:
        if _holds(text, values, context) is _CLASH:
            return f"the fallback cannot be compared as the rule asks: {_shown(values)}"
        if _holds(text, values, context) is (not rule.check.sense):
            return f"the fallback violates the rule it serves: {_shown(values)}, {words} of rule '{rule.id}'"
    return ""


def _cells_contradict(rule: Rule, values: Mapping[str, Cell]) -> str:
    """Judge given outputs by a check that looks at whole cells."""
    cells = [values.get(named.name, _ABSENT) for named in rule.check.fields]
    if _ABSENT in cells or any(named.space != "output" for named in rule.check.fields):
        return ""
    start = "the fallback violates the rule it serves: "
    try:
        if ROW_CHECKS[rule.kind](rule.check, cells) is not False:
            return ""
        why = SENTENCES[rule.kind](rule.check, cells) if rule.kind in SENTENCES else ""
    except LanguageError as error:
        return f"{start}{error}"
    return start + (why or f"{_shown(values)} is not {rule.check.bound}")


_ABSENT: Final = "\0 absent"
_CLASH: Final = "\0 of another kind"


def _named_values(rule: Rule, spec: FallbackSpec, context: Context) -> Mapping[str, Cell]:
    """Give the scalar of a model with one output its name: the route's, else the one that the rule reads."""
    if "" not in spec.values:
        return spec.values
    if context.outputs is not None and len(context.outputs) == 1:
        return {context.outputs[0]: spec.values[""]}
    names = output_names(rule.check, rule.when, context)
    return {names[0]: spec.values[""]} if len(names) == 1 else {}


def output_names(check: Check, when: str, context: Context) -> tuple[str, ...]:
    """Return the outputs that a rule reads."""
    names = {named.name: None for named in check.fields if named.space == "output"}
    for text in (check.wants, when):
        made = context.compile(text, Kind.FLAG) if text else ()
        if isinstance(made, Program):
            names |= {ref.name: None for ref in made.refs if ref.space == "output"}
    return tuple(names)


def _holds(text: str, values: Mapping[str, Cell], context: Context) -> Cell:
    """Evaluate a demand on given outputs alone; None when that cannot tell."""
    made = context.compile(text, Kind.FLAG)
    if not isinstance(made, Program) or any(
        ref.space != "output" or ref.name not in values for ref in made.refs
    ):
        return None

    def lookup(ref: Ref) -> Cell:
        return values[ref.name]

    try:
        return interpret(made, lookup)
    except LanguageError:
        return _CLASH


def _shown(values: Mapping[str, Cell]) -> str:
    return ", ".join(f"{name} = {str(cell)[:60]}" for name, cell in values.items())
