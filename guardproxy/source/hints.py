"""What was most likely meant by a key or a value that cannot be read as it is written.

Decides hints for mistakes that people make in any operator text: commas and spaces in braces, numbers and durations as
they are written elsewhere. That something is wrong is decided by the reader.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from guardproxy.source.nodes import Entry, MappingNode, Node, Scalar
from guardproxy.source.problem import did_you_mean

SHOWN: Final = 60
"""Characters of a value that are shown in a sentence."""


def number_help(node: Node) -> str | None:
    """Say how a number is written, for a text that was probably meant as one; None when it was not."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return None
    text = node.value.strip()[:SHOWN]
    if node.quoted and _NUMERIC.fullmatch(text):
        return f"write {text} without quotes"
    found = ((help_, form.fullmatch(text)) for form, help_ in _NUMBER_TRAPS)
    return next((help_.format(*match.groups()) for help_, match in found if match), None)


_TIME_UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sekunden"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes", "minuten"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "std", "stunde", "stunden"), "h"),
    **dict.fromkeys(("d", "day", "days", "tag", "tage"), "d"),
}
_LONG_UNITS: Final[Mapping[str, int]] = {"w": 7, "week": 7, "weeks": 7, "month": 30, "months": 30}
_STRETCH: Final = re.compile(r"([0-9]{1,6})?\s*([^\W\d_]{1,12})")


def duration_help(text: str) -> str:
    """Say how a duration is written here: `4 hours` is 4h, `2w` is 14d, and a bare number needs its unit."""
    text = text.strip()
    if text.isdigit():
        return f"write the unit behind the number: {text[:6]}s, {text[:6]}m or {text[:6]}h"
    match = _STRETCH.fullmatch(text)
    if match is None:
        return ""
    number, unit = int(match.group(1) or 1), match.group(2).lower()
    if unit in _LONG_UNITS:
        return f"write {number * _LONG_UNITS[unit]}d"
    return f"write {number}{_TIME_UNITS[unit]}" if unit in _TIME_UNITS else ""


_NUMERIC: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
_NUMBER_TRAPS: Final = (
    (re.compile(r"[-+]?0+([0-9]+)"), "write {}: old YAML takes a leading zero for base eight"),
    (
        re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?"),
        "write a plain number, or a duration as in 90m: old YAML takes this for base sixty",
    ),
    (
        re.compile(r"[-+]?[1-9][0-9]{0,2}(?:[ ,_'][0-9]{3})+(?:\.[0-9]+)?"),
        "write the number without separators of thousands",
    ),
    (re.compile(r"([-+]?[0-9]+),([0-9]+)"), "write {}.{}, with a decimal point"),
    (re.compile(r"[-+]?0[xob][0-9a-fA-F]+"), "write the number in base ten"),
    (re.compile(r"([-+]?[0-9]+)[kK]"), "write {}000"),
    (re.compile(r"([-+]?[0-9]+(?:\.[0-9]+)?)\s*[^\W\d_]+"), "write {} alone, without its unit"),
    (re.compile(r"(?:<=?|>=?|==?)\s*([-+]?[0-9]+(?:\.[0-9]+)?%?)"), "write {} alone"),
    (re.compile(r"[-+]?[0-9]{40,}.*"), "the largest number is about 1.8e308"),
)


def unknown_help(key: str, node: MappingNode, known: Sequence[str]) -> str:
    """Say what to do about a key that is not known: the likely one, or what a comma in braces cut in two."""
    typed = _ODD.sub("", key).strip()
    if typed != key and typed in known:
        return f"there is an invisible character in it: type '{typed}' anew"
    return cut_help(key, node) or did_you_mean(key, known)


def cut_help(key: str, node: MappingNode) -> str:
    """Say what to write for a value that a comma cut, of which `key` is the second part; empty when it is none."""
    cut = _cut_by_comma(key, node)
    if cut is None:
        return ""
    name, whole = cut
    if len(whole) <= SHOWN and (number := _DECIMAL.fullmatch(whole)) is not None:
        written = number.group(1).replace(".", "") + "." + number.group(2) + number.group(3)
        return f"a number has a decimal point: write {name}: {written}"
    if len(whole) <= 4 * SHOWN and _PLAIN_WORDS.fullmatch(whole):
        return f"several values stand in brackets: write {name}: [{whole}]"
    if len(whole) > SHOWN:
        return "a comma inside { } ends the value: quote the whole value, or write it on a line of its own"
    return f"a comma inside {{ }} ends the value: quote it, as in {name}: {quoted(whole)}"


# 1,5 and 1.000,50 as Germans write them, also before a per cent sign and what follows it.
_DECIMAL: Final = re.compile(r"([-+]?[0-9]+(?:\.[0-9]{3})*), ([0-9]+)(%?(?: [\w ]{1,30})?)")
_PLAIN_WORDS: Final = re.compile(r"[\w.-]{1,30}(?:, [\w.-]{1,30})+")
# Spaces of other kinds and characters without width, as copied from a web page.
_ODD: Final = re.compile("[\xa0\xad\u2000-\u200f\u202a-\u202f\u2060\u3000\ufeff]")


def is_hollow(entry: Entry) -> bool:
    """Tell whether nothing stands behind a key's colon, not even a word for nothing."""
    return isinstance(entry.value, Scalar) and entry.value.value is None and not entry.value.raw


def glued_key(key: str, node: MappingNode, known: Sequence[str]) -> tuple[str | None, str]:
    """Return the known key in `min:0`, a lone part of braces whose colon has no space behind it, and the help."""
    name, colon, rest = key.partition(":")
    if not colon or name not in known or not is_lone(key, node):
        return None, ""
    return name, f"a space is missing behind the colon: write {name}: {rest[:SHOWN]}"


def field_as_key(key: str, node: MappingNode, known: Sequence[str]) -> str:
    """Say how a field is named, when its name stands where `field` belongs."""
    if "field" not in known or "field" in node.entries or not key.startswith(("output.", "features.")):
        return ""
    return f"write field: {key[:SHOWN]}"


def list_help(node: Node) -> str:
    """Say how a list is written, for what was written as something else."""
    if isinstance(node, MappingNode):
        return "write it in brackets: [a, b]" if node.flow else "begin each of its items with '- '"
    text = node.value if isinstance(node, Scalar) else None
    if not isinstance(text, str) or len(text) > SHOWN:
        return ""
    return f"put it in brackets: [{text}]" if re.fullmatch(r"[\w .,*-]+", text) else ""


def _cut_by_comma(key: str, node: MappingNode) -> tuple[str, str] | None:
    """Return the key of a value that a comma cut, and the whole value, when `key` is its second part."""
    if not is_lone(key, node):
        return None
    keys = list(node.entries)
    at = keys.index(key)
    if at == 0:
        return None
    before = node.entries[keys[at - 1]].value
    if not isinstance(before, Scalar) or before.quoted or is_lone(keys[at - 1], node):
        return None
    end = next((n for n in range(at, len(keys)) if not is_lone(keys[n], node)), len(keys))
    return keys[at - 1], ", ".join([before.raw, *keys[at:end]])


def continues(key: str, node: MappingNode) -> bool:
    """Tell whether a key is the third or a later part of a value that commas cut: its second part says so already."""
    if not is_lone(key, node):
        return False
    keys = list(node.entries)
    at = keys.index(key)
    return at > 1 and is_lone(keys[at - 1], node)


def is_lone(key: str, node: MappingNode) -> bool:
    """Tell whether a key stands in braces without a colon, as what follows a comma does."""
    return node.flow and bool(key) and node.entries[key].value.place == node.entries[key].key


def quoted(text: str) -> str:
    """Write a text as YAML takes it for certain: in double quotes, or in single ones when it has double quotes itself."""
    if '"' in text or "\\" in text:
        return "'" + text.replace("'", "''") + "'"
    return f'"{text}"'
