"""Check keys that look at many cells at once: probabilities, confidence, the share that is missing, the profile.

Decides what each may hold and what is wrong with it before any row is seen. Judging is left to `blocks`, `texts`, `absent`
and the plan.
"""

import re
from collections.abc import Mapping
from typing import Final

from guardproxy.rules.context import Context
from guardproxy.rules.model import Check, Field
from guardproxy.source import Entry, MappingNode, Node, Scalar, SequenceNode

DEFAULT_TOLERANCE: Final = 0.001
CONFIDENCE_KEYS: Final = ("field", "fields", "min_top", "min_margin")
MISSING_SHARE_KEYS: Final = ("fields", "max")
PROBABILITIES_KEYS: Final = ("field", "fields", "sum", "tolerance")
PROFILE_KEYS: Final = ("fields", "outside", "at_least")

_EVERY: Final = ("features", "output", "outputs", "all", "*", "features.*", "output.*", "any", "every")
_OUTSIDE: Final = re.compile(r"p(\d{1,3}(?:\.\d{1,4})?)\s*\.\.\s*p(\d{1,3}(?:\.\d{1,4})?)")


def read_probabilities(node: Node, context: Context) -> Check | None:
    """Read `probabilities`: members that add up."""
    entries = context.mapping(node, "probabilities", PROBABILITIES_KEYS)
    total, tolerance = 1.0, DEFAULT_TOLERANCE
    if "sum" in entries:
        total = context.reader.number(entries["sum"].value, "probabilities.sum", low=0.0) or 0.0
    if "tolerance" in entries:
        tolerance = (
            context.reader.number(entries["tolerance"].value, "probabilities.tolerance", low=0.0) or 0.0
        )
    if isinstance(node, MappingNode) and len({"field", "fields"} & set(node.entries)) != 1:
        context.reader.report("E205", "probabilities needs either 'field' (a vector) or 'fields'", node.place)
        return None
    if "fields" in entries:
        fields = context.fields(
            context.reader.items(entries["fields"].value, "probabilities.fields"), "probabilities"
        )
    else:
        single = context.field(entries["field"].value, "probabilities.field") if "field" in entries else None
        fields = None if single is None else (single,)
    if not fields:
        return None
    bound = f"each in 0 .. 1, together {total:g} within {tolerance:g}"
    return Check("probabilities", fields, total=total, tolerance=tolerance, bound=bound)


def read_profile(node: Node, context: Context) -> Check | None:
    """Read `profile`: how many fields may lie outside what was learned."""
    entries = context.mapping(node, "profile", PROFILE_KEYS, required=("fields",))
    outside: tuple[float, float] | None = None
    at_least: int | None = 1
    good = True
    if "outside" in entries:
        outside = _percentiles(entries["outside"].value, context)
        good = outside is not None
    if "at_least" in entries:
        at_least = context.reader.integer(entries["at_least"].value, "profile.at_least", low=1, high=10_000)
    picked = _fields_of(entries["fields"].value, context, "profile.fields") if "fields" in entries else None
    if picked is None or at_least is None or not good:
        return None
    every, fields = picked
    if fields and at_least > len(fields):
        message = f"at_least {at_least} of {len(fields)} fields can never be reached"
        context.reader.report("E301", message, entries["at_least"].value.place)
        return None
    words = f"p{outside[0]:g} .. p{outside[1]:g}" if outside else "the learned bounds"
    bound = f"inside {words}" + (f" (fewer than {at_least} fields outside)" if at_least > 1 else "")
    return Check("profile", fields, bound=bound, every=every, outside=outside, at_least=at_least)


def _percentiles(node: Node, context: Context) -> tuple[float, float] | None:
    text = node.value if isinstance(node, Scalar) else None
    match = _OUTSIDE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        message = "profile.outside must be two percentiles"
        context.reader.report("E206", message, node.place, "write for example p0.1..p99.9")
        return None
    low, high = float(match.group(1)), float(match.group(2))
    if not 0.0 <= low < high <= 100.0:
        context.reader.report("E301", f"nothing lies between p{low:g} and p{high:g}", node.place)
        return None
    return low, high


def read_confidence(node: Node, context: Context) -> Check | None:
    """Read `confidence`: how sure a classifier must be."""
    before = context.errors()
    entries = context.mapping(node, "confidence", CONFIDENCE_KEYS)
    bounds = {
        key: context.reader.number(entries[key].value, f"confidence.{key}", low=0.0, high=1.0) or 0.0
        for key in ("min_top", "min_margin")
        if key in entries
    }
    if isinstance(node, MappingNode) and not {"min_top", "min_margin"} & set(node.entries):
        context.reader.report("E205", "confidence needs 'min_top' or 'min_margin'", node.place)
    fields = _one_or_many(node, entries, context, "confidence")
    if not fields or context.errors() > before:
        return None
    words = [f"the largest at least {bounds['min_top']:.4g}"] if "min_top" in bounds else []
    words += [f"{bounds['min_margin']:.4g} ahead of the second"] if "min_margin" in bounds else []
    return Check(
        "confidence",
        fields,
        bound=", ".join(words),
        least_top=bounds.get("min_top", 0.0),
        least_margin=bounds.get("min_margin", 0.0),
    )


def _one_or_many(
    node: Node, entries: Mapping[str, Entry], context: Context, what: str
) -> tuple[Field, ...] | None:
    """Read either `field`, a vector, or `fields`, one column per member."""
    if isinstance(node, MappingNode) and len({"field", "fields"} & set(node.entries)) != 1:
        context.reader.report("E205", f"{what} needs either 'field' (a vector) or 'fields'", node.place)
        return None
    if "fields" in entries:
        listed = entries["fields"].value
        items = context.reader.items(listed, f"{what}.fields")
        if isinstance(listed, SequenceNode) and len(items) < 2:
            message = f"{what}.fields must name at least two fields"
            context.reader.report("E224", message, listed.place, "name a vector with field:")
            return None
        return context.fields(items, f"{what}.fields") if items else None
    single = context.field(entries["field"].value, f"{what}.field") if "field" in entries else None
    return None if single is None else (single,)


def read_missing_share(node: Node, context: Context) -> Check | None:
    """Read `missing_share`: how much of what a rule looks at may be missing."""
    entries = context.mapping(node, "missing_share", MISSING_SHARE_KEYS, required=MISSING_SHARE_KEYS)
    share = (
        context.reader.number(entries["max"].value, "missing_share.max", low=0.0, high=1.0)
        if "max" in entries
        else None
    )
    picked = (
        _fields_of(entries["fields"].value, context, "missing_share.fields") if "fields" in entries else None
    )
    if share is None or picked is None:
        return None
    if share == 1.0:
        message = "missing_share.max 100% can never be exceeded"
        context.reader.report("E224", message, entries["max"].value.place, "write less than 100%")
        return None
    every, fields = picked
    return Check("missing_share", fields, every=every, share=share, bound=f"at most {share:.4%} missing")


def _fields_of(node: Node, context: Context, what: str) -> tuple[str, tuple[Field, ...]] | None:
    """Read `features.*`, `output.*`, or the names of fields of one side; the first part is the side of a star."""
    if isinstance(node, Scalar) and node.value in ("features.*", "output.*"):
        return str(node.value).removesuffix(".*"), ()
    nodes = (node,) if isinstance(node, Scalar) else context.reader.items(node, what)
    for each in nodes:
        if isinstance(each, Scalar) and each.value in _EVERY:
            advice = (
                "write features.* or output.*, alone"
                if len(nodes) == 1
                else "a star stands alone, without other fields"
            )
            context.reader.report("E206", f"{what} must name fields, not '{each.value}'", each.place, advice)
            return None
    fields = context.fields(nodes, what, bare=True)
    if isinstance(node, SequenceNode) and not nodes:
        context.reader.report("E208", f"{what} must name at least one field", node.place)
    if not fields:
        return None
    if len({named.space for named in fields}) > 1:
        message = f"{what} must be all features or all outputs: they are judged at different times"
        context.reader.report("E206", message, node.place, "write two rules")
        return None
    return "", fields
