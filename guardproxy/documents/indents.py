"""Lines that are indented like none of those they could belong to.

Decides which column was most likely meant.
"""

import re

from guardproxy.documents.stuck import ENDED, Said, Stuck
from guardproxy.source import Place


def indentation(stuck: Stuck) -> Said | None:
    """A line that is indented like none of the lines it could belong to."""
    line = stuck.line(stuck.at.line)
    indent = len(line) - len(line.lstrip(" "))
    place = Place(stuck.at.line, indent + 1, max(1, len(line.strip())) if len(line) < 200 else 1)
    if stuck.problem.startswith("mapping values"):
        above = next((n for n in range(stuck.at.line - 1, 0, -1) if stuck.line(n).strip()), 0)
        have = _beginning(stuck.line(above))
        if above and indent > have:
            message = f"this line is indented more than line {above}, so it continues the value there"
            return Said(message, place, f"indent it by {have} spaces, like the keys around it")
        return None
    if stuck.problem in ENDED and stuck.at.column == indent + 1 and stuck.since is not None:
        return _misfit(stuck, line, indent, place)
    if "<document start>" in stuck.problem:
        return _outdented(stuck, indent, place)
    return None


def _misfit(stuck: Stuck, line: str, indent: int, place: Place) -> Said:
    opened = stuck.since or stuck.at
    if indent == opened.column - 1:
        return _other_sort(stuck, line, indent, place)
    # What the line could belong to are the lines that stand deeper than what holds them.
    levels = {
        have for n in stuck.numbers() if opened.line <= n < stuck.at.line for have in _levels(stuck.line(n))
    }
    fits = sorted(levels - {indent})
    near = min(fits, key=lambda have: (abs(have - indent), -have), default=0)
    message = f"this line is indented by {_spaces(indent)}, which does not fit the lines above"
    return Said(message, place, f"indent it by {near}, like the lines it belongs to")


def _other_sort(stuck: Stuck, line: str, indent: int, place: Place) -> Said:
    """Tell of an item among keys or a key among items, both of which are most often one level off."""
    above = [n for n in stuck.numbers() if n < stuck.at.line and stuck.line(n).lstrip().startswith("- ")]
    if line.lstrip().startswith("- "):
        columns = ((n, len(stuck.line(n)) - len(stuck.line(n).lstrip())) for n in above)
        # A rule or test looks like those above; a plain item belongs to the key that lost it.
        keyed = re.match(r"- [\w-]+:", line.lstrip())
        like = keyed and next(
            (f"indent it by {have}, like line {n}" for n, have in columns if have != indent), None
        )
        message = "an item of a list stands among the keys of a mapping"
        return Said(message, place, like or "indent it below the key whose list it belongs to")
    advice = "begin the line with '- '"
    if above:
        advice = f"indent it by {_beginning(stuck.line(above[0]))} to belong to line {above[0]}, or {advice}"
    return Said("a key stands among the items of a list", place, advice)


def _outdented(stuck: Stuck, indent: int, place: Place) -> Said:
    first = next(
        (
            n
            for n in range(1, stuck.at.line)
            if stuck.line(n).strip() and stuck.line(n).lstrip()[0] not in "#%-"
        ),
        1,
    )
    have = _beginning(stuck.line(first))
    if have > indent:
        message = f"line {first} is indented by {_spaces(have)} and this line by {_spaces(indent)}"
        return Said(message, place, "begin the keys of a file at the same column, the first")
    return Said(
        "the document ended above, and more stands here", place, "begin another document with a line of ---"
    )


def _beginning(line: str) -> int:
    """Return the column from 0 at which a line's key begins, behind the dashes of a list."""
    match = re.match(r"[ ]*(?:-[ ]+)*", line)
    return match.end() if match else 0


def _levels(line: str) -> set[int]:
    if not line.strip() or line.lstrip().startswith("#"):
        return set()
    return {len(line) - len(line.lstrip(" ")), _beginning(line)}


def _spaces(number: int) -> str:
    return f"{number} space" + ("" if number == 1 else "s")
