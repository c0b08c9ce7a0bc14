"""What the breaker allows a rule or a model: at most this share of the rows of a stretch of time.

Decides how limits are written, and the limit that exists where none is. Counting rows and tripping is left to `stats`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from guardproxy.decision import Action
from guardproxy.rules.context import Context
from guardproxy.rules.foreign import share_in
from guardproxy.rules.model import DEFAULT_LIMIT, Limit, Rule
from guardproxy.source import Entry, MappingNode, Node, Scalar, duration_help, kind_of
from guardproxy.units import format_duration, parse_duration, parse_share

LIMITED: Final[Mapping[str, Action]] = {
    "hold": Action.HOLD,
    "reject": Action.REJECT,
    "fallback": Action.FALLBACK,
    "clamp": Action.CLAMP,
}
LIMIT_KEYS: Final = (*LIMITED, "then")
SHORTEST_S: Final = 1.0
LONGEST_S: Final = 3_600.0

_FORM: Final = re.compile(r"(\S{1,40}\s?%)\s{1,9}per\s{1,9}(\S{1,40})")
_EXAMPLE: Final = "write a share and a stretch of time, such as 10% per 5m"
_LOOSE: Final = re.compile(
    r"([0-9.,]{1,12}\s?(?:%|percent)?)\s*(?:/|per|in|every|within|each|over|@)?\s*([0-9]{0,6}\s*[A-Za-z]{1,12})(?: then \w+)?"
)
_THEN: Final = {"warn": Action.WARN}


def read_limits(node: Node, context: Context, what: str) -> dict[Action, Limit]:
    """Read the `limits` of a rule or a document, by the action that they bound."""
    entries = context.mapping(node, what, LIMIT_KEYS)
    if "then" in entries:
        context.reader.choice(entries["then"].value, f"{what}.then", _THEN)
    named = [key for key in entries if key in LIMITED]
    if not named:
        context.reader.report("E205", f"{what} needs one of: {', '.join(LIMITED)}", node.place)
    parted = isinstance(node, MappingNode) and bool({"per", "share", "window"} & node.entries.keys())
    if parted:
        return {}  # that a limit stands in one value was said of the key that has a part of it
    found = (_limit(key, entries[key], context, what) for key in named)
    return {limit.action: limit for limit in found if limit is not None}


def completed(limits: Mapping[Action, Limit]) -> tuple[Limit, ...]:
    """Return limits with the one on holds that exists without being written."""
    held = {} if Action.HOLD in limits else {Action.HOLD: DEFAULT_LIMIT}
    return tuple(limit for _, limit in sorted({**limits, **held}.items()))


def inherited(rule: Rule, limits: Mapping[Action, Limit]) -> Rule:
    """Return a rule with its model's written limits in the place of those that it has without asking for them.

    Who allows a model to hold half of its rows does not mean each of its rules to stop at a tenth.
    """
    found = tuple(limits.get(one.action, one) if one is DEFAULT_LIMIT else one for one in rule.limits)
    return rule if found == rule.limits else replace(rule, limits=found)


def _limit(key: str, entry: Entry, context: Context, what: str) -> Limit | None:
    node = entry.value
    text = node.value if isinstance(node, Scalar) else None
    match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        shown = f"'{text[:40]}'" if isinstance(text, str) else kind_of(node)
        advice = _meant(text) if isinstance(text, str) else ""
        context.reader.report("E222", f"{what}.{key} cannot be {shown}", node.place, advice or _EXAMPLE)
        return None
    try:
        share, window_s = parse_share(match.group(1)), parse_duration(match.group(2))
    except ValueError as error:
        advice = _meant(str(text)) or _EXAMPLE
        context.reader.report("E222", f"{what}.{key}: {error}", node.place, advice)
        return None
    if not 0.0 < share <= 1.0:
        message = f"{what}.{key}: a share must lie above 0% and up to 100%, got {match.group(1)}"
        context.reader.report("E222", message, node.place, _EXAMPLE)
        return None
    if not SHORTEST_S <= window_s <= LONGEST_S:
        message = f"{what}.{key}: the stretch of time must be {format_duration(SHORTEST_S)} to {format_duration(LONGEST_S)}"
        context.reader.report("E222", f"{message}, got {match.group(2)}", node.place, _EXAMPLE)
        return None
    return Limit(LIMITED[key], share, window_s, context.locus(node.place))


def _meant(text: str) -> str:
    """Say how a limit in the words of another tool is written: `10%/5 minutes` is 10% per 5m."""
    match = _LOOSE.fullmatch(text.strip())
    if match is None:
        return ""
    counted = not re.search(r"%|percent", match.group(1)) and not match.group(1).startswith("0")
    if counted:
        return "a limit is a share, not a number, such as 10% per 5m"
    share = share_in(match.group(1))
    stretch = duration_help(match.group(2)).removeprefix("write ")
    return f"write {share} per {stretch}" if share and re.fullmatch(r"[0-9]+[a-z]+", stretch) else ""
