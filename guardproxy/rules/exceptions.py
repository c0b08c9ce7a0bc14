"""Named exceptions of a rule: which rows it does not judge, until when, and who answers for that.

Decides how they are written and which of them are about to end. Asking them about a loud row is left to `quieting`.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from guardproxy.rules.context import Context
from guardproxy.rules.language import Kind
from guardproxy.rules.model import Unless
from guardproxy.rules.written import kebab
from guardproxy.source import Entry, MappingNode, Node, Place, Scalar, kind_of

UNLESS_KEYS: Final = ("id", "when", "until", "owner", "why")
MAX_EXCEPTIONS: Final = 100
WARN_DAYS: Final = 7
"""An exception that ends within so many days is warned of."""

_ID: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LIST_HELP: Final = "each is {id: ..., when: ..., until: 2027-06-30, owner: ..., why: ...}; what holds for ever stands in when: not (...)"
_OTHER_DAYS: Final = (
    (re.compile(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})"), (3, 2, 1)),
    (re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?"), (1, 2, 3)),
    (re.compile(r"(\d{4})(\d{2})(\d{2})"), (1, 2, 3)),
    (re.compile(r"(\d{1,2})/(1[3-9]|2\d|3[01])/(\d{4})"), (3, 1, 2)),
    (re.compile(r"(1[3-9]|2\d|3[01])/(\d{1,2})/(\d{4})"), (3, 2, 1)),
)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def read_unless(node: Node, context: Context) -> tuple[Unless, ...]:
    """Read a rule's `unless`; an exception that is wrong is reported and left out."""
    if isinstance(node, MappingNode):
        context.reader.report(
            "E206", "unless must be a list, not a mapping", node.place, "begin it with '- '"
        )
        return ()
    if isinstance(node, Scalar):
        message = f"unless must be a list of exceptions, not {kind_of(node)}"
        context.reader.report("E206", message, node.place, _LIST_HELP)
        return ()
    items = context.reader.items(node, "unless")
    if not 1 <= len(items) <= MAX_EXCEPTIONS:
        context.reader.report("E208", f"unless must have 1 to {MAX_EXCEPTIONS} exceptions", node.place)
        return ()
    found: dict[str, Unless] = {}
    for item in items:
        one = _exception(item, context)
        if one is None:
            continue
        if one.id in found:
            message = f"the exception '{one.id}' is taken by the one at {found[one.id].place}"
            place = Place(one.place.line, one.place.column, len(one.id))
            context.reader.report("E221", message, place, "ids are unique per rule")
            continue
        found[one.id] = one
    return tuple(found.values())


def _exception(node: Node, context: Context) -> Unless | None:
    entries = context.mapping(node, "an exception", UNLESS_KEYS, required=UNLESS_KEYS)
    texts = {
        key: context.reader.text(entries[key].value, f"{key} of an exception", max_length=limit)
        for key, limit in (("id", 80), ("owner", 200), ("why", 4_000))
        if key in entries
    }
    identity = _identity(texts.get("id"), entries, context)
    program = (
        context.expression(entries["when"].value, "when of an exception", Kind.FLAG)
        if "when" in entries
        else None
    )
    until = _until(entries["until"].value, context) if "until" in entries else None
    owner, why = texts.get("owner"), texts.get("why")
    if identity is None or program is None or until is None or owner is None or why is None:
        return None
    _warn(identity, until, owner, entries["until"], context)
    place = context.locus(entries["id"].value.place)
    return Unless(identity, program.text.strip(), until.isoformat(), owner, why, place)


def _identity(text: str | None, entries: Mapping[str, Entry], context: Context) -> str | None:
    if text is None or _ID.fullmatch(text):
        return text
    made = kebab(text)
    advice = f"write {made}" if made else ""
    context.reader.report("E221", f"'{text}' is not kebab-case", entries["id"].value.place, advice)
    return None


def _until(node: Node, context: Context) -> date | None:
    """Read the last day on which an exception holds."""
    text = node.value if isinstance(node, Scalar) else None
    if isinstance(text, str) and _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            message = f"there is no day {text}"
            context.reader.report("E221", message, node.place, "write a day that exists, as YYYY-MM-DD")
            return None
    shown = node.raw[:40] if isinstance(node, Scalar) and node.raw else kind_of(node)
    message = f"until must be the last day of the exception, not {shown}"
    advice = day_meant(str(text)) if isinstance(text, str) else ""
    advice = advice or "write it as YYYY-MM-DD, such as 2026-03-31"
    context.reader.report("E221", message, node.place, advice)
    return None


def day_meant(text: str) -> str:
    """Say how a day is written here: 31.12.2026, 2026-1-31 and 2026-12-31T23:59:59Z are days too."""
    for form, order in _OTHER_DAYS:
        match = form.fullmatch(text.strip())
        if match is None:
            continue
        year, month, day = (int(match.group(part)) for part in order)
        try:
            return f"write {date(year, month, day).isoformat()}"
        except ValueError:
            continue  # no such day in this order of its parts
    return ""


def _warn(identity: str, until: date, owner: str, entry: Entry, context: Context) -> None:
    if context.today is None:
        return
    days = (until - context.today).days
    said = f"({until.isoformat()}, owner {owner})"
    if days < 0:
        message = (
            f"exception '{identity}' expired {_days(-days)} ago {said}: the rule judges these rows again"
        )
        advice = "remove the exception, or give it a new date"
        context.reader.report("W408", message, entry.value.place, advice, "warning")
    elif days <= WARN_DAYS:
        when = "today" if days == 0 else f"in {_days(days)}"
        message = f"exception '{identity}' expires {when} {said}"
        context.reader.report("W407", message, entry.value.place, "renew it, or let it end", "warning")


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days:,} days"
