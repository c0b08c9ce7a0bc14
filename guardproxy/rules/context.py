"""What every reader of a rule file shares: the problems, the names, and how an expression's flaws get their places.

Decides how a node becomes a field, an expression or an operand of one. Which keys hold them is left to the readers.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from guardproxy.rules.language import Flaw, Kind, Program, Ref, Template, compile_expression, compile_template
from guardproxy.rules.model import Field, Locus
from guardproxy.rules.names import ModelNames
from guardproxy.source import Entry, MappingNode, Node, Place, Reader, Scalar, did_you_mean, kind_of, likely

_DOTTED: Final = re.compile(r"(features|output)\.([A-Za-z_][A-Za-z0-9_]*)")
_QUOTED: Final = re.compile(r'(features|output)\[\s*("(?:[^"\\]|\\.)*")\s*\]')
_KEYWORDS: Final = frozenset(
    ("and", "or", "not", "in", "is", "missing", "if", "then", "else", "true", "false")
)
_SPACES: Final = ("features", "output")


@dataclass(slots=True)
class Context:
    """The state of reading one document. `forgiven` are places where a YAML 1.1 word is meant (`mode: off`)."""

    reader: Reader
    names: ModelNames
    model: str
    outputs: tuple[str, ...] | None
    forgiven: set[tuple[int, int]] = field(default_factory=set)

    def locus(self, place: Place) -> Locus:
        """Return a place with its file."""
        return Locus(self.reader.file, place.line, place.column)

    def mapping(
        self,
        node: Node | None,
        what: str,
        known: Sequence[str],
        *,
        later: Sequence[str] = (),
        required: Sequence[str] = (),
    ) -> dict[str, Entry]:
        """Read a mapping; keys of later versions are named as such instead of being taken for typing mistakes."""
        found = self.reader.mapping(node, what, (*known, *later), required)
        for key in _cut_values(node, (*known, *later)):
            # What a comma cut in two is reported already; its first half would only make noise.
            found.pop(key, None)
        for key in later:
            if key in found:
                self.later(f"'{key}' in {what}", found.pop(key).key)
        return found

    def later(self, what: str, place: Place) -> None:
        """Report something of a later version."""
        self.reader.report("E209", f"{what} is not supported yet in this version", place, "remove it for now")

    def expression(self, node: Node, what: str, want: Kind | None = None) -> Program | None:
        """Read and compile an expression; its flaws are reported at their own characters."""
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return self._compiled(node, "true" if node.value else "false", want)
        text = self.operand(node, what)
        return None if text is None else self._compiled(node, text, want)

    def operand(self, node: Node, what: str) -> str | None:
        """Read a number, a share or an expression as expression text, not yet compiled."""
        if isinstance(node, Scalar):
            value = node.value
            if type(value) in (int, float):
                if math.isfinite(value):  # type: ignore[arg-type]
                    return number_text(value)  # type: ignore[arg-type]
                self.reader.report("E208", f"{what} must be finite", node.place)
                return None
            if isinstance(value, str) and value.strip():
                return value
        self.reader.report("E206", f"{what} must be an expression, not {kind_of(node)}", node.place)
        return None

    def number(self, node: Node, what: str) -> str | None:
        """Read an operand that must be a number; return its text, ready to stand inside a larger expression."""
        program = self.expression(node, what, Kind.NUMBER)
        return None if program is None else f"({program.text})"

    def message(self, node: Node, what: str) -> Template | None:
        """Read and compile a message template."""
        text = self.reader.text(node, what)
        if text is None or not isinstance(node, Scalar):
            return None
        made = compile_template(text, self.names)
        if isinstance(made, Template):
            return made
        self.flaws(made, node)
        return None

    def flaws(self, flaws: Sequence[Flaw], node: Scalar) -> None:
        """Report an expression's flaws at their characters in the file."""
        for flaw in flaws:
            literal = isinstance(node.value, str)
            place = node.locate(flaw.offset, flaw.length) if literal else node.place
            self.reader.report(flaw.code, flaw.message, place, flaw.help)

    def field(self, node: Node, what: str, *, bare: bool = False) -> Field | None:
        """Read the name of a column, such as `output.demand`; with `bare` also a plain name."""
        text = node.value if isinstance(node, Scalar) else None
        if not isinstance(text, str) or not text:
            self.reader.report(
                "E206", f"{what} must name a field, not {kind_of(node)}", node.place, _FIELD_HELP
            )
            return None
        named = parse_field(text)
        if named is None and bare:
            named = Field(self._space_of(text) or "features", text)
        if named is None:
            self.reader.report(
                "E206", f"{what} must name a field, not '{text[:60]}'", node.place, self._guess(text)
            )
            return None
        return named if self.exists(named, node.place) else None

    def fields(self, nodes: Sequence[Node], what: str, *, bare: bool = False) -> tuple[Field, ...] | None:
        """Read several fields; None when one of them is wrong."""
        found = [self.field(node, what, bare=bare) for node in nodes]
        good = tuple(one for one in found if one is not None)
        return good if len(good) == len(found) else None

    def exists(self, named: Field, place: Place) -> bool:
        """Report a field that the model does not have."""
        if self.names.kind(Ref(named.space, named.name)) is not None:
            return True
        known = self.names.candidates(named.space)
        close = likely(named.name, known)
        full = ref_text(named)
        advice = (
            f"did you mean '{ref_text(Field(named.space, close))}'?"
            if close
            else did_you_mean(named.name, known)
        )
        self.reader.report("E106", f"unknown field '{full}'", place, advice)
        return False

    def _compiled(self, node: Node, text: str, want: Kind | None) -> Program | None:
        made = compile_expression(text, self.names, want=want)
        if isinstance(made, Program):
            return made
        if isinstance(node, Scalar):
            self.flaws(made, node)
        return None

    def _space_of(self, name: str) -> str | None:
        return next((space for space in _SPACES if name in self.names.candidates(space)), None)

    def _guess(self, text: str) -> str:
        space = self._space_of(text)
        return f"write {ref_text(Field(space, text))}" if space else _FIELD_HELP


def _cut_values(node: Node | None, known: Sequence[str]) -> list[str]:
    """Return the keys of a flow mapping whose value a comma ended too early: the rest stands there as a key."""
    if not isinstance(node, MappingNode) or not node.flow:
        return []
    keys = list(node.entries)
    return [
        before
        for before, key in pairwise(keys)
        if key not in known and node.entries[key].value.place == node.entries[key].key
    ]


_FIELD_HELP: Final = 'write features.NAME or output.NAME, or features["odd name"]'


def parse_field(text: str) -> Field | None:
    """Read `features.x`, `output.y` or `features["odd name"]`; None when it is none of these."""
    if match := _DOTTED.fullmatch(text):
        return Field(match.group(1), match.group(2))
    if match := _QUOTED.fullmatch(text):
        try:
            return Field(match.group(1), json.loads(match.group(2)))
        except ValueError:
            return None
    return None


def ref_text(named: Field) -> str:
    """Write a field as it stands in an expression."""
    whole = f"{named.space}.{named.name}"
    if _DOTTED.fullmatch(whole) and named.name not in _KEYWORDS:
        return whole
    return f"{named.space}[{json.dumps(named.name)}]"


def number_text(value: float) -> str:
    """Write a number as an expression's literal."""
    return repr(value)


def plain_cell(node: Node) -> tuple[bool, object]:
    """Return (True, cell) for a leaf or a list of numbers; (False, None) for anything else."""
    if isinstance(node, Scalar):
        value = node.value
        return True, None if value != value else value
    if isinstance(node, Mapping):
        return False, None
    items = getattr(node, "items", ())
    cells = (
        tuple(item.value if isinstance(item, Scalar) else "" for item in items)
        if isinstance(items, tuple)
        else ()
    )
    if cells and all(cell is None or type(cell) in (int, float) for cell in cells):
        return True, cells
    return False, None
