"""How a check says which features name the entity whose past it asks about.

Decides that only features do, and what is written where none are named: nothing, which is the route's own key.
"""

import re
from collections.abc import Mapping

from guardproxy.rules.context import Context
from guardproxy.source import Entry, Scalar


def read_by(entries: Mapping[str, Entry], context: Context, what: str) -> tuple[str, ...] | None:
    """Read `by` of a check called `what`; `()` where it is not there, None where something in it is wrong."""
    entry = entries.get("by")
    if entry is None:
        return ()
    nodes = (
        (entry.value,) if isinstance(entry.value, Scalar) else context.reader.items(entry.value, f"{what}.by")
    )
    for each in nodes:
        text = each.value if isinstance(each, Scalar) else None
        if isinstance(text, str) and re.fullmatch(r"[^\W\d]\w*", text):
            message = f"{what}.by must name features, not '{text[:60]}'"
            context.reader.report("E206", message, each.place, f"write features.{text[:60]}")
            return None
    fields = context.fields(nodes, f"{what}.by")
    if fields is None or not nodes:
        return None
    for named, node in zip(fields, nodes, strict=True):
        if named.space != "features":
            context.reader.report("E302", "an entity is named by features, not by outputs", node.place)
            return None
    return tuple(named.name for named in fields)
