"""The check keys of a rule: what each may hold, and the expression that it comes down to.

Decides that a range, a change, a set, an order and a demand are all one expression, so that both back-ends of the
language serve them. What is asked of many cells at once is read by `cell_checks`, of text by `text_checks` and
`schema_checks`, of an entity's past by `unusual`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Final

from guardproxy.decision import Scope
from guardproxy.rules.cell_checks import (
    CONFIDENCE_KEYS,
    MISSING_SHARE_KEYS,
    PROBABILITIES_KEYS,
    PROFILE_KEYS,
    read_confidence,
    read_missing_share,
    read_probabilities,
    read_profile,
)
from guardproxy.rules.context import Context
from guardproxy.rules.entities import read_by
from guardproxy.rules.language import Kind, Program
from guardproxy.rules.model import Check, Field
from guardproxy.rules.schema_checks import JSON_SCHEMA_KEYS, read_json_schema
from guardproxy.rules.text_checks import TEXT_KEYS, read_text
from guardproxy.rules.unusual import UNUSUAL_KEYS, read_unusual
from guardproxy.rules.written import number_text, ref_text
from guardproxy.source import Entry, MappingNode, Node, Scalar, SequenceNode, kind_of

SLACK: Final = 1e-9
"""A change may pass its bound by this much: the bound is included, and a quotient of floats is rarely exact."""

LIKELY_PERCENT: Final = 5.0
"""A change by so many times or more that is written without a per cent sign is warned of."""
MAX_VALUES: Final = 1_000
MAX_ORDER: Final = 64

RANGE_KEYS: Final = ("field", "min", "max")
MAX_CHANGE_KEYS: Final = ("field", "against", "by", "up", "down", "floor")
ONE_OF_KEYS: Final = ("field", "values")

_PREVIOUS: Final = r"previous(?:\.\w+)*|last|prev|yesterday|before|last_value|past|self"


def read_check(key: str, node: Node, context: Context) -> Check | None:
    """Read the value of a check key; None when something in it is wrong, which is then reported."""
    if key not in ("require", "forbid"):
        context = context.within(Scope.ROW)  # what these compare is of one row, whatever the rule's scope
    check = _READERS[key](node, context)
    if check is None or not check.wants:
        return check
    made = context.compile(check.wants, Kind.FLAG)
    if isinstance(made, Program):
        return check
    # The parts were fine by themselves: together they are too long, too deep, or of kinds that cannot meet.
    for flaw in made:
        context.reader.report(flaw.code, flaw.message, node.place, flaw.help)
    return None


def _range(node: Node, context: Context) -> Check | None:
    entries = context.mapping(node, "range", RANGE_KEYS, required=("field",))
    named = _field(entries, context, "range.field")
    low, high = (_number(entries, key, context, f"range.{key}") for key in ("min", "max"))
    if isinstance(node, MappingNode) and not {"min", "max"} & set(node.entries):
        context.reader.report("E205", "range needs 'min' or 'max'", node.place)
    if named is None or _lost(entries, {"min": low, "max": high}) or not (low or high):
        return None
    if _empty(entries, context):
        return None
    return replace(range_check(ref_text(named), low or "", high or ""), fields=(named,))


def range_check(ref: str, low: str, high: str) -> Check:
    """Return the check that an operand lies within bounds, each an operand's text or empty, not both empty."""
    terms = [(f"{ref} >= {low}", f"below min {_bare(low)}")] if low else []
    terms += [(f"{ref} <= {high}", f"above max {_bare(high)}")] if high else []
    wants = f"{low} <= {ref} <= {high}" if low and high else terms[0][0]
    bound = (
        f"{_bare(low)} .. {_bare(high)}"
        if low and high
        else f">= {_bare(low)}"
        if low
        else f"<= {_bare(high)}"
    )
    return Check("range", (), wants, low=low, high=high, terms=tuple(terms), bound=bound)


def _empty(entries: Mapping[str, Entry], context: Context) -> bool:
    """Report bounds between which nothing lies."""
    if not {"min", "max"} <= set(entries):
        return False
    low, high = (_literal(entries[key].value) for key in ("min", "max"))
    if low is None or high is None or low <= high:
        return False
    context.reader.report(
        "E301", f"min {low:g} is above max {high:g}", entries["min"].value.place, "swap them"
    )
    return True


def _max_change(node: Node, context: Context) -> Check | None:
    entries = context.mapping(node, "max_change", MAX_CHANGE_KEYS, required=("field", "against"))
    named = _field(entries, context, "max_change.field")
    parts = {key: _number(entries, key, context, f"max_change.{key}") for key in ("up", "down", "floor")}
    if isinstance(node, MappingNode) and not {"up", "down"} & set(node.entries):
        context.reader.report("E205", "max_change needs 'up' or 'down'", node.place)
    base, by = _against(entries, named, context), read_by(entries, context, "max_change")
    signs = [_sensible(key, entries, context) for key in ("up", "down", "floor")]
    if (
        named is None
        or not all(signs)
        or base is None
        or by is None
        or _lost(entries, parts)
        or not (parts["up"] or parts["down"])
    ):
        return None
    return _change(named, base, by, {key: text or "" for key, text in parts.items()})


def _sensible(key: str, entries: Mapping[str, Entry], context: Context) -> bool:
    """Report a bound below zero, and warn of one that is most likely per cent: `up: 60` is sixty times as much."""
    node = entries[key].value if key in entries else None
    if not isinstance(node, Scalar):
        return True
    value = -1.0 if re.fullmatch(r"-[0-9.]+%", str(node.value)) else _literal(node)
    if value is None:
        return True
    if value < 0:
        message = f"max_change.{key} must not be below zero: it says how far the value may move"
        context.reader.report("E208", message, node.place, f"write {node.raw.strip().lstrip('-')[:40]}")
        return False
    if key != "floor" and value >= LIKELY_PERCENT:
        message = f"{key}: {value:g} lets the value move by {value:,.0%}"
        context.reader.report(
            "W413", message, node.place, f"write {value:g}% if per cent are meant", "warning"
        )
    return True


def _change(named: Field, base: str, by: tuple[str, ...], parts: Mapping[str, str]) -> Check:
    up, down = parts["up"], parts["down"]
    scale = f"max(abs({base}), {parts['floor']})" if parts["floor"] else f"abs({base})"
    change = f"({ref_text(named)} - {base}) / {scale}"
    slack = number_text(SLACK)
    terms = [(f"{change} >= -{down} - {slack}", f"more than {_bare(down)} down")] if down else []
    terms += [(f"{change} <= {up} + {slack}", f"more than {_bare(up)} up")] if up else []
    wants = f"-{down} - {slack} <= {change} <= {up} + {slack}" if up and down else terms[0][0]
    bound = ", ".join([f"at most {_bare(down)} down"] * bool(down) + [f"at most {_bare(up)} up"] * bool(up))
    return Check(
        "max_change",
        (named,),
        wants,
        low=f"{base} - {down} * {scale}" if down else "",
        high=f"{base} + {up} * {scale}" if up else "",
        terms=tuple(terms),
        bound=f"{bound} from {base}",
        by=by,
    )


def _against(entries: Mapping[str, Entry], named: Field | None, context: Context) -> str | None:
    entry = entries.get("against")
    if entry is None:
        return None
    if not (isinstance(entry.value, Scalar) and entry.value.value == "previous"):
        if _means_previous(entry.value):
            message = "max_change.against must be previous or a field"
            context.reader.report("E206", message, entry.value.place, "write previous")
            return None
        if "by" in entries:
            context.reader.report(
                "E302", "'by' belongs to 'against: previous'", entries["by"].key, "remove it"
            )
            return None
        base = context.field(entry.value, "max_change.against")
        return None if base is None else ref_text(base)
    if named is not None and named.space != "output":
        message = "the past holds predictions: against 'previous', the field must be an output"
        context.reader.report("E302", message, entry.value.place, "compare with another feature instead")
        return None
    return None if named is None else "previous" + ref_text(named).removeprefix("output")


def _means_previous(node: Node) -> bool:
    """Tell whether a text that is no field can only mean the last answer: `yesterday`, `last`, `previous.demand`."""
    text = node.value if isinstance(node, Scalar) else None
    return isinstance(text, str) and re.fullmatch(_PREVIOUS, text) is not None


def _one_of(node: Node, context: Context) -> Check | None:
    entries = context.mapping(node, "one_of", ONE_OF_KEYS, required=ONE_OF_KEYS)
    named = _field(entries, context, "one_of.field")
    if "values" not in entries:
        return None
    listed = entries["values"].value
    if isinstance(listed, Scalar) and isinstance(listed.value, str):
        name = listed.value.removeprefix("lists.")
        if name in context.names.candidates("lists"):
            where = ref_text(named) if named is not None else "output.x"
            advice = f"write require: {where} in {name}, instead of one_of"
            context.reader.report("E206", "one_of.values must be written out", listed.place, advice)
            return None
    items = context.reader.items(listed, "one_of.values")
    if isinstance(listed, SequenceNode) and not 0 < len(items) <= MAX_VALUES:
        context.reader.report("E208", f"one_of.values must have 1 to {MAX_VALUES} values", listed.place)
        return None
    texts = [_literal_text(item, context) for item in items]
    if named is None or not texts or None in texts:
        return None
    shown = ", ".join(str(text) for text in texts)
    wants = f"{ref_text(named)} in [{shown}]"
    bound = f"one of {shown}" if len(shown) <= 200 else f"one of {len(texts)} values"
    return Check("one_of", (named,), wants, terms=((wants, f"not {bound}"),), bound=bound)


def _literal_text(node: Node, context: Context) -> str | None:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if value is not None and value == value and abs(value) != float("inf"):
        return number_text(value)
    context.reader.report(
        "E206", f"one_of.values must be text, numbers or true/false, not {kind_of(node)}", node.place
    )
    return None


def _order(node: Node, context: Context) -> Check | None:
    if isinstance(node, Scalar) and isinstance(node.value, str) and re.search("[<>]", node.value):
        names = [part for part in re.split(r"\s*[<>]=?\s*", node.value.strip()) if part]
        ordered = reversed(names) if ">" in node.value else names
        advice = f"write order: [{', '.join(ordered)[:80]}], the smallest first"
        context.reader.report("E206", "order must be a list, not text", node.place, advice)
        return None
    nodes = context.reader.items(node, "order")
    if isinstance(node, SequenceNode) and not 2 <= len(nodes) <= MAX_ORDER:
        context.reader.report("E208", f"order needs 2 to {MAX_ORDER} fields", node.place)
        return None
    fields = context.fields(nodes, "order")
    if not fields:
        return None
    refs = [ref_text(named) for named in fields]
    pairs = list(pairwise(fields))
    terms = tuple((f"{ref_text(a)} <= {ref_text(b)}", f"{a.name} is above {b.name}") for a, b in pairs)
    return Check("order", fields, " <= ".join(refs), terms=terms, bound=" <= ".join(refs))


def _require(node: Node, context: Context) -> Check | None:
    return _demand("require", node, context)


def _forbid(node: Node, context: Context) -> Check | None:
    return _demand("forbid", node, context)


def _demand(kind: str, node: Node, context: Context) -> Check | None:
    program = context.expression(node, kind, Kind.FLAG)
    if program is None:
        return None
    text = program.text.strip()
    words = "is not satisfied" if kind == "require" else "is forbidden"
    return Check(
        kind, (), text, sense=kind == "require", terms=((text, words),), bound=" ".join(text.split())
    )


_READERS: Final[Mapping[str, Callable[[Node, Context], Check | None]]] = {
    "range": _range,
    "max_change": _max_change,
    "one_of": _one_of,
    "order": _order,
    "probabilities": read_probabilities,
    "confidence": read_confidence,
    "text": read_text,
    "json_schema": read_json_schema,
    "missing_share": read_missing_share,
    "profile": read_profile,
    "unusual": read_unusual,
    "require": _require,
    "forbid": _forbid,
}
CHECK_KEYS: Final = tuple(_READERS)

CHECK_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "range": RANGE_KEYS,
    "max_change": MAX_CHANGE_KEYS,
    "one_of": ONE_OF_KEYS,
    "probabilities": PROBABILITIES_KEYS,
    "confidence": CONFIDENCE_KEYS,
    "profile": PROFILE_KEYS,
    "text": TEXT_KEYS,
    "json_schema": JSON_SCHEMA_KEYS,
    "missing_share": MISSING_SHARE_KEYS,
    "unusual": UNUSUAL_KEYS,
}
"""The keys of every check that is a mapping."""


def _field(entries: Mapping[str, Entry], context: Context, what: str) -> Field | None:
    entry = entries.get("field")
    return None if entry is None else context.field(entry.value, what)


def _number(entries: Mapping[str, Entry], key: str, context: Context, what: str) -> str | None:
    entry = entries.get(key)
    return None if entry is None else context.number(entry.value, what)


def _lost(entries: Mapping[str, Entry], read: Mapping[str, str | None]) -> bool:
    """Tell whether a key is there whose value could not be read."""
    return any(key in entries and text is None for key, text in read.items())


def _literal(node: Node) -> float | None:
    value = node.value if isinstance(node, Scalar) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _bare(text: str | None) -> str:
    """Return an operand without the parentheses that it stands in."""
    return "" if text is None else text.removeprefix("(").removesuffix(")")
