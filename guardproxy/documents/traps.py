"""Why a text is not YAML, in a sentence of ours with one fix.

A YAML parser says where it gave up, which is seldom where the mistake is, in words about its own insides. Decides which
mistake was most likely made: first by what stands on the lines in question, then by what the parser says. Parsing is
left to `composer`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from guardproxy.documents import values
from guardproxy.documents.indents import indentation
from guardproxy.documents.stuck import NO_ITEM, NO_KEY, Said, Stuck
from guardproxy.source import Place


def explain(lines: Sequence[str], problem: str, context: str, at: Place, since: Place | None) -> Said:
    """Say why a text cannot be read, given what the parser said of it: its `problem`, and what it was doing `since` where."""
    if "<block end>" in problem:
        # libyaml's stand-in in Python has one sentence for what libyaml has two for.
        problem = NO_ITEM if "collection" in context else NO_KEY
    stuck = Stuck(lines, problem, context, at, since)
    return next((said for look in _LOOKS if (said := look(stuck)) is not None), None) or _in_general(stuck)


def _tab(stuck: Stuck) -> Said | None:
    """A tab in the indentation, of which every editor can make spaces."""
    line = stuck.line(stuck.at.line)
    indentation = line[: len(line) - len(line.lstrip(" \t"))]
    if "\t" not in indentation:
        return None
    first = indentation.index("\t")
    place = Place(stuck.at.line, first + 1, len(indentation) - first)
    return Said("a tab cannot indent a line", place, "indent with spaces")


def _odd_space(stuck: Stuck) -> Said | None:
    """A space that looks like one and is none, as copied from a web page."""
    for number in (stuck.at.line, stuck.at.line - 1):
        line = stuck.line(number)
        body = line.lstrip()
        odd = re.search("[\xa0\u2000-\u200b\u202f\u3000\ufeff]", line[: len(line) - len(body) + 1])
        if odd:
            place = Place(number, odd.start() + 1)
            name = f"U+{ord(odd.group()):04X}"
            return Said(
                f"the line begins with {name}, a space of another kind", place, "type plain spaces there"
            )
    return None


_OTHER_TEXTS: Final = (
    (
        "<<<<<<<",
        "a merge conflict is not resolved",
        "keep one of the two sides, and delete the lines of <, = and >",
    ),
    (
        "=======",
        "a merge conflict is not resolved",
        "keep one of the two sides, and delete the lines of <, = and >",
    ),
    (
        ">>>>>>>",
        "a merge conflict is not resolved",
        "keep one of the two sides, and delete the lines of <, = and >",
    ),
    ("```", "the fence of a Markdown block stands here", "delete the lines of ```"),
    (
        "{%",
        "a template's statement stands here, and was never filled in",
        "give the file that the template makes",
    ),
    ("<?xml", "this is XML, not YAML", "give the rule file itself"),
    ("<!DOCTYPE", "this is HTML, not YAML", "give the rule file itself"),
    ("<html", "this is HTML, not YAML", "give the rule file itself"),
)


def _other_text(stuck: Stuck) -> Said | None:
    """Text of another kind around or instead of the YAML."""
    for number in (stuck.at.line, stuck.at.line - 1, 1):
        line = stuck.line(number)
        for mark, message, advice in _OTHER_TEXTS:
            if line.lstrip().lower().startswith(mark.lower()):
                return Said(message, Place(number, len(line) - len(line.lstrip()) + 1, len(mark)), advice)
    return None


def _odd_start(stuck: Stuck) -> Said | None:
    """A character that can begin nothing, inside brackets or braces."""
    if "cannot start any token" not in stuck.problem:
        return None
    char = stuck.line(stuck.at.line)[stuck.at.column - 1 : stuck.at.column]
    name = {"\t": "a tab", "`": "a backtick"}.get(char, char)
    rest = stuck.line(stuck.at.line)[stuck.at.column - 1 :]
    bound = re.match(r"[<>]=?\s*(-?[0-9][\w.%]*)", rest)
    advice = f"a bound is a number alone: write {bound.group(1)}" if bound else "quote the whole value"
    return Said(f"a value cannot start with {name}", stuck.at, advice) if char else None


_LOOKS: Final[tuple[Callable[[Stuck], Said | None], ...]] = (
    _tab,
    _odd_space,
    _other_text,
    values.open_quote,
    values.start,
    _odd_start,
    values.no_colon_before_a_bracket,
    values.ends_early,
    values.open_bracket,
    values.colon,
    values.no_space,
    values.no_colon,
    indentation,
)

_GENERAL: Final = (
    ("nesting depth", "E203", "values are nested too deep", "no key of a rule file needs that; look for a bracket too many"),
    ("unknown escape", "E200", "a text in double quotes has an escape that YAML does not know", "write it in single quotes, or the backslash twice"),
    ("decimal", "E200", "the escape needs hexadecimal digits: \\x and two, \\u and four", "write the backslash twice if it is meant"),
    ("escape code", "E200", "the escape is no character", "write the backslash twice if it is meant"),
    ("tab character", "E200", "a tab cannot indent a line", "indent with spaces"),
    ("incompatible YAML", "E200", "the %YAML line asks for a version that is not known", "delete the line"),
    ("directive", "E200", "a line that starts with % is a directive", "quote the key, or delete the line"),
    ("non-alphabetical", "E200", "a line that starts with % is a directive", "quote the key, or delete the line"),
    ("%TAG", "E200", "a line that starts with % is a directive", "delete the line"),
    ("tag", "E203", "a value that starts with ! is a tag in YAML", "quote the whole value"),
    ("anchor", "E200", "a value that starts with & is an anchor in YAML", "quote the whole value"),
    ("alias", "E200", "a value that starts with * is an alias in YAML", "quote the whole value"),
    ("cannot start any token", "E200", "a value cannot start with this character", "quote the whole value"),
    ("comment or line break", "E200", "a value that starts with > or | begins a block of lines in YAML", "quote the whole value"),
    ("indentation indicator", "E200", "the number behind | or > must be 1 to 9", "delete the number"),
    ("block sequence entries", "E200", "a list cannot begin here", "begin it on a line of its own"),
    ("mapping keys", "E200", "a ? cannot stand here", "quote the whole value"),
    ("mapping values", "E200", "': ' stands where no key can", "quote the value that has ': ' in it"),
    ("node content", "E200", "a value is missing here", "write the value, or delete the comma or bracket"),
    ("document", "E200", "the document ended above, and more stands here", "begin another document with a line of ---"),
    ("expected key", "E200", "a key was expected here", "look at the quotes, brackets and indentation of the lines above"),
    ("'-' indicator", "E200", "an item of the list, beginning with '- ', was expected here", "look at the indentation of the lines above"),
    ("expected ','", "E200", "a comma or a closing bracket was expected here", "look for a bracket or quote that is not closed"),
)  # fmt: skip


def _in_general(stuck: Stuck) -> Said:
    """Say what can be said when no line shows the mistake."""
    said = f"{stuck.problem} {stuck.context}"
    # A directive is wrong as a line, whichever of its characters the parser got stuck at.
    place = stuck.since if "directive" in stuck.context and stuck.since else stuck.at
    for part, code, message, advice in _GENERAL:
        if part in said:
            return Said(message, place, advice, code)
    advice = "look at the quotes, brackets and indentation of the lines above"
    return Said("the YAML cannot be read here", stuck.at, advice)
