"""The canonical layout of a rule file: indentation, blanks inside lines, blank lines.

Decides where things stand on the page and never what they say. Works by edits between the marks of the text, so that
comments, anchors and everything else that is no blank survives.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from guardproxy.authoring.spans import Part, dash, parse_parts, walk

STEP: Final = 2
_SPACED: Final = ("rules", "tests", "lists", "kpis")

Edit = tuple[int, int, str]


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Replace stretches of the text, which must not overlap."""
    out, end = [], 0
    for start, stop, new in sorted(edits):
        out += [text[end:start], new]
        end = stop
    return "".join([*out, text[end:]])


def indented(text: str) -> str:
    """Give every line its canonical indentation, and single blanks around keys, dashes and the items of { } and [ ]."""
    page = _Page(text)
    for root in parse_parts(text):
        page.place(root, -STEP, 0, root.start)
    return edited(text, [*page.edits, *page.indentation()])


def spaced(text: str) -> str:
    """Leave one blank line between the rules, between the tests and before the large parts; drop blanks at line ends."""
    lines = text.split("\n")
    page = _Page(text)
    roots = parse_parts(text)
    kept = {line for root in roots for line in page.inside_scalars(root)}
    lines = [line if number in kept else line.rstrip() for number, line in enumerate(lines)]
    wanted = {number for root in roots for number in _separated(root, page, lines)}
    out: list[str] = []
    for number, line in enumerate(lines):
        blank = not line.strip() and number not in kept
        if number in wanted and out and out[-1].strip():
            out.append("")
        if not (blank and (not out or not out[-1].strip())):
            out.append(line)
    return "\n".join(out).rstrip("\n") + "\n"


def flow_text(part: Part, text: str) -> str:
    """Write a node on one line as { } or [ ]."""
    before = f"{part.prefix} " if part.prefix else ""
    if part.kind == "sequence":
        return f"{before}[{', '.join(flow_text(item, text) for item in part.items)}]"
    if part.kind == "mapping":
        return f"{before}{{{', '.join(_flow_entry(key, value, text) for key, value in part.entries)}}}"
    return before + text[part.start : part.end]


def one_line(part: Part, text: str) -> bool:
    """Tell whether a node stands on one line, so that there can be no comment in it."""
    return "\n" not in text[part.outer : part.end]


def _flow_entry(key: Part, value: Part, text: str) -> str:
    shown = flow_text(value, text)
    if not shown and ":" not in text[key.end : value.start]:
        # `{a, b}`: a key without a colon, which must not get one, since `b:` may be the end of its name.
        return flow_text(key, text)
    return f"{flow_text(key, text)}: {shown}" if shown else f"{flow_text(key, text)}:"


def _separated(root: Part, page: "_Page", lines: list[str]) -> set[int]:
    """Return the lines before which there must be a blank one."""
    starts: list[int] = []
    for index, (key, value) in enumerate(root.entries):
        block = value.kind in {"mapping", "sequence"} and not value.flow
        if key.value in _SPACED and block and index:
            starts.append(page.line(key.start))
        if key.value in {"rules", "tests"} and block:
            starts += [page.line(item.outer) for item in value.items[1:] if not one_line(item, page.text)]
    return {_above_comments(line, lines) for line in starts}


def _above_comments(line: int, lines: list[str]) -> int:
    """Return the first of the comment lines right above a line that stand at its own indentation."""
    indent = _width(lines[line])
    while line and lines[line - 1].lstrip().startswith("#") and _width(lines[line - 1]) == indent:
        line -= 1
    return line


def _width(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


@dataclass(slots=True)
class _Page:
    """The lines of a text, the indentation that each shall have, and the edits inside lines."""

    text: str
    wanted: dict[int, int] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    starts: list[int] = field(init=False)
    lines: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = self.text.split("\n")
        self.starts, at = [], 0
        for line in self.lines:
            self.starts.append(at)
            at += len(line) + 1

    def line(self, offset: int) -> int:
        """Return the line, from 0, that an offset is on."""
        return bisect_right(self.starts, offset) - 1

    def inside_scalars(self, root: Part) -> set[int]:
        """Return the lines whose end belongs to a value."""
        return {
            line
            for part in walk(root)
            if part.kind == "scalar"
            for line in range(self.line(part.start), self.line(part.end))
        }

    def place(self, part: Part, parent: int, old_parent: int, anchor: int) -> None:
        """Lay out a value whose parent goes to column `parent`; `anchor` is the offset of its key or dash."""
        if part.prefix and "\n" not in self.text[part.outer : part.start]:
            self.edits.append((part.outer + len(part.prefix), part.start, " "))
        if part.flow or part.kind in {"scalar", "alias"}:
            self._leaf(part, parent, old_parent, anchor)
            return
        column = parent + STEP
        old = self._column(part.start)
        below = part.entries or [(item, item) for item in part.items]
        end = part.start
        for key, value in below:
            at = key.outer if part.kind == "mapping" else dash(self.text, end, value.outer)
            self._begins(at, column)
            self._gap(at + 1 if part.kind == "sequence" else key.end, value, "-" if key is value else ":")
            self.place(value, column, old, at)
            end = max(key.end, value.end)

    def indentation(self) -> list[Edit]:
        """Return the edits that indent every line that holds something."""
        found: list[Edit] = []
        following = self._following_lines()
        stood: dict[int, int] = {}
        for number, line in enumerate(self.lines):
            if not line.strip():
                continue
            new = self.wanted.get(number)
            if new is not None:
                width = _width(line)
                stood = {column: at for column, at in stood.items() if column < width} | {width: new}
            elif line.lstrip().startswith("#"):
                new = self._of_comment(line, following[number], stood)
            if new is not None:
                blank = len(line) - len(line.lstrip(" \t"))
                found.append((self.starts[number], self.starts[number] + blank, " " * new))
        return found

    def _following_lines(self) -> list[int | None]:
        """Return for every line the next one that has an indentation of its own."""
        found: list[int | None] = []
        after: int | None = None
        for number in range(len(self.lines) - 1, -1, -1):
            after = number if number in self.wanted else after
            found.append(after)
        return found[::-1]

    def _of_comment(self, line: str, after: int | None, stood: Mapping[int, int]) -> int:
        """A comment goes with the next line at its column, else with the last one before it that stood there.

        `stood` says where the enclosing lines before it go, by the column that they stood in.
        """
        column = _width(line)
        if after is not None and _width(self.lines[after]) == column:
            return self.wanted[after]
        if column in stood:
            return stood[column]
        outer = max((each for each in stood if each < column), default=None)
        if outer is not None:
            return stood[outer] + STEP
        return 0 if after is None else self.wanted[after]

    def _begins(self, offset: int, column: int) -> None:
        line = self.line(offset)
        if not self.text[self.starts[line] : offset].strip():
            self.wanted[line] = column

    def _gap(self, end: int, value: Part, mark: str) -> None:
        """Leave one blank behind a key's colon or a dash, where the value stands on the same line."""
        between = self.text[end : value.outer]
        if "\n" in between or "#" in between:
            return
        after = self.text[value.outer : value.end]
        space = " " if after or value.prefix else ""
        self.edits.append((end, value.outer, f"{'' if mark == '-' else mark}{space}"))

    def _column(self, offset: int) -> int:
        return offset - self.starts[self.line(offset)]

    def _leaf(self, part: Part, parent: int, old_parent: int, anchor: int) -> None:
        first, last = self.line(part.outer), self.line(max(part.start, part.end))
        if first > self.line(anchor):
            self._begins(part.outer, parent + STEP)
        if part.flow and one_line(part, self.text):
            self.edits.append(
                (part.start, part.end, flow_text(part, self.text).removeprefix(f"{part.prefix} "))
            )
        self._following(part, range(first + 1, last + 1), parent, old_parent)

    def _following(self, part: Part, numbers: range, parent: int, old_parent: int) -> None:
        """Indent the further lines of a value: texts flush, blocks and brackets in their own shape."""
        full = [number for number in numbers if self.lines[number].strip()]
        if not full:
            return
        if part.kind == "scalar" and part.style not in {"|", ">"}:
            self.wanted |= dict.fromkeys(full, parent + STEP)
            return
        head = self.text[part.start : part.start + 3]
        closing = part.flow and self.lines[full[-1]].strip()[0] in "]}"
        body = full[:-1] if closing else full
        shift = parent + STEP * (2 if closing else 1) - min((_width(self.lines[n]) for n in body), default=0)
        if part.style and any(char.isdigit() for char in head):
            # A written indentation counts from the parent: the block moves with it.
            shift = parent - old_parent
        self.wanted |= {number: max(0, _width(self.lines[number]) + shift) for number in body}
        if closing:
            self.wanted[full[-1]] = parent + STEP
