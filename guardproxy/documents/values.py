"""Values that YAML takes for something else than they were meant as: quotes, brackets, colons, first characters.

Decides which of them stands on the lines where a parser got stuck, and how the value is quoted.
"""

import re
from typing import Final

from guardproxy.documents.stuck import (
    BACK,
    BLOCK_HEAD,
    COMMENT,
    ENDED,
    PAIRS,
    SHOWN,
    Said,
    Stuck,
    closed,
    value_of,
    whole,
)
from guardproxy.source import Place

_NO_START: Final = {
    "%": "a value cannot start with %",
    "@": "a value cannot start with @",
    "`": "a value cannot start with a backtick",
    ",": "a value cannot start with a comma",
    "]": "a value cannot start with ]",
    "}": "a value cannot start with }",
}
_MARKERS: Final = {
    "*": ("*", "a value that starts with * is an alias in YAML"),
    "&": ("&", "a value that starts with & is an anchor in YAML"),
    "!": ("!", "a value that starts with ! is a tag in YAML"),
    "?": ("? ", "a value that starts with ? is a key in YAML"),
}


# An anchor or alias as it is meant, before or instead of a value.
_ANCHORED: Final = re.compile(r"&[\w.-]+[ ]+[\[{\"']|[&*][\w.-]+[ ]*(?:#.*)?$")


def start(stuck: Stuck) -> Said | None:
    """The first character of a value means something else to YAML."""
    number = stuck.at.line
    found = value_of(stuck.line(number))
    if found is None:
        return None
    key, value, column = found
    first = value[0]
    if first in _NO_START:
        advice = _percent(key, value) or whole(key, value)
        return Said(_NO_START[first], Place(number, column), advice)
    if first in "|>" and not BLOCK_HEAD.fullmatch(value):
        message = f"a value that starts with {first} begins a block of lines in YAML"
        bound = re.fullmatch(r">=?\s*(-?[0-9][\w.%]*)\s*", value)
        advice = (
            f"a bound is a number alone: write {key}: {bound.group(1)}"
            if bound and key in ("min", "max")
            else ""
        )
        return Said(message, Place(number, column), advice or whole(key, value))
    if _ANCHORED.match(value):
        return None
    marker, message = _MARKERS.get(first, ("", ""))
    if marker and value.startswith(marker):
        return Said(message, Place(number, column), whole(key, value))
    if value.startswith("- ") and key:
        return Said(
            "a list cannot begin behind a key",
            Place(number, column),
            "write [a, b], or each item on its own line",
        )
    return None


def _percent(key: str, value: str) -> str:
    share = re.fullmatch(r"%[ ]*([0-9.]+)", COMMENT.sub("", value).strip())
    return f"write {key + ': ' if key else ''}{share.group(1)}%" if share else ""


def ends_early(stuck: Stuck) -> Said | None:
    """A value that starts with a quote or a bracket, which YAML takes to end where that is closed."""
    number = stuck.at.line
    found = value_of(stuck.line(number))
    if found is None or found[1][0] not in PAIRS:
        return None
    key, value, column = found
    end = closed(value)
    rest = value[end:] if end else ""
    if not end or not rest.strip() or rest.lstrip().startswith("#"):
        return None
    first, last = value[0], PAIRS[value[0]]
    where = column + end + len(rest) - len(rest.lstrip())
    place = Place(number, where, len(COMMENT.sub("", rest).strip()))
    if rest.strip() in {"}", "]", "}}"} and first in "[{":
        return Said(f"there is a {rest.strip()} too many", place, "delete it, or open what it closes")
    name = {"[": "[ ]", "{": "{ }"}.get(first, "quotes")
    message = f"the value that starts with {first} ends at its {last}, and more stands behind it"
    advice = (
        whole(key, value)
        if name != "quotes" or not re.match(r"\w", rest)
        else (
            f"a {first} inside a text in {first} is written {'two times' if first == chr(39) else 'with a backslash'}"
        )
    )
    return Said(message, place, advice)


def open_quote(stuck: Stuck) -> Said | None:
    """A quote that is not closed where it was meant to be: it then runs to the next quote, lines below."""
    if "quoted scalar" in stuck.context and stuck.since is not None and "unexpected" in stuck.problem:
        return _not_closed(stuck, stuck.since)
    if stuck.problem not in ENDED and "expected ','" not in stuck.problem:
        return None
    before = stuck.line(stuck.at.line)[: stuck.at.column - 1]
    for quote in ('"', "'"):
        if quote not in before:
            continue
        for number in stuck.numbers():
            found = value_of(stuck.line(number)) if number < stuck.at.line else None
            if found is not None and found[1][0] == quote and not closed(found[1]):
                return _not_closed(stuck, Place(number, found[2]))
    return None


def _not_closed(stuck: Stuck, place: Place) -> Said:
    quote = stuck.line(place.line)[place.column - 1 : place.column] or '"'
    return Said(
        f"the quote {quote} that opens here is never closed", place, f"close it with {quote} on its line"
    )


def open_bracket(stuck: Stuck) -> Said | None:
    """A bracket of a list or mapping on one line that is not closed, or a comma that is missing inside it."""
    if "expected ','" not in stuck.problem or stuck.since is None:
        return None
    opened = stuck.line(stuck.since.line)[stuck.since.column - 1 : stuck.since.column]
    close = PAIRS.get(opened, "}")
    line = stuck.line(stuck.at.line)
    same = stuck.at.line == stuck.since.line and stuck.at.column <= len(line)
    if not same and not _closes(stuck, stuck.since):
        return Said(f"the {opened} that opens here is never closed", stuck.since, f"close it with {close}")
    if line[stuck.at.column - 1 : stuck.at.column] == ":":
        advice = "quote the value that has ': ' in it, or put a comma between the keys"
        return Said("a second ': ' stands in one value", stuck.at, advice)
    advice = "put a comma between the parts, or quote the value"
    return Said(f"a comma or {close} is missing before this", stuck.at, advice)


def _closes(stuck: Stuck, since: Place) -> bool:
    """Tell whether a bracket is closed on one of the lines that follow it."""
    below = stuck.lines[since.line - 1 : since.line - 1 + BACK]
    return closed("\n".join([below[0][since.column - 1 :], *below[1:]])) > 0 if below else False


def colon(stuck: Stuck) -> Said | None:
    """A colon and a space inside a value, where YAML takes what stands before it for a key."""
    if not stuck.problem.startswith("mapping values"):
        return None
    number, column = stuck.at.line, stuck.at.column
    line = stuck.line(number)
    found = value_of(line[: column - 1])
    if found is not None and found[0]:
        key = found[0]
        written = line[found[2] - 1 :]
        if written.rstrip().endswith("}") and written.count("{") < written.count("}"):
            return Said(
                "the { before this is missing", Place(number, found[2]), f"write {key}: {{ and the rest"
            )
        return Said("': ' inside a value that is not quoted", Place(number, column), whole(key, written))
    return None


_GLUED: Final = re.compile(r"(?P<lead>[ ]*(?:-[ ]+)*)[A-Za-z_][A-Za-z0-9_-]*(?P<colon>:)[^\s/:].*")
_WORD: Final = re.compile(r"[ ]*(?:-[ ]+)*(?P<key>[A-Za-z_][A-Za-z0-9_-]*)(?:[ ]+(?P<value>.*))?")


def no_space(stuck: Stuck) -> Said | None:
    """A key whose colon has no space behind it, which makes the line one word."""
    if stuck.problem.startswith("mapping values"):
        numbers = [stuck.at.line - 1]
    elif stuck.problem.startswith("could not find expected ':'"):
        numbers = [stuck.since.line] if stuck.since else []
    else:
        return None
    for number in numbers:
        glued = _GLUED.fullmatch(stuck.line(number))
        if glued:
            place = Place(number, glued.start("colon") + 1)
            return Said("a space is missing behind the colon", place, "write `key: value`, with a space")
    return None


_BRACED: Final = re.compile(r"[ ]*(?:-[ ]+)*(?P<key>[A-Za-z_][\w-]*)[ ]+(?P<value>[\[{].*:.*)")


def no_colon_before_a_bracket(stuck: Stuck) -> Said | None:
    """A key without its colon before a mapping or list in brackets."""
    number = stuck.at.line
    line = stuck.line(number)
    braced = _BRACED.fullmatch(line)
    if braced is None or line[: braced.start("value")].count(":"):
        return None
    place = Place(number, braced.start("key") + 1, len(braced["key"]))
    return Said(
        "a colon is missing behind the key",
        place,
        f"write {braced['key'][:SHOWN]}: {braced['value'][0]} and the rest",
    )


def no_colon(stuck: Stuck) -> Said | None:
    """A line in a mapping that has no colon at all."""
    if not stuck.problem.startswith("could not find expected ':'") or stuck.since is None:
        return None
    number = stuck.since.line
    line = stuck.line(number)
    place = Place(number, stuck.since.column, max(1, len(line.rstrip()) - stuck.since.column + 1))
    word = _WORD.fullmatch(line)
    if word is None or not word.group("value"):
        return Said(
            "this line is no `key: value`",
            place,
            "add a colon, or indent the line if it continues the value above",
        )
    advice = f"write {word.group('key')[:SHOWN]}: {word.group('value')[:SHOWN]}"
    return Said("a colon is missing behind the key", place, advice)
