"""What every reader of a rule file shares: the problems, the names, and how an expression's flaws get their places.

Decides how a node becomes a field, an expression or an operand of one. Which keys hold them is left to the readers.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

from guardproxy.decision import Scope
from guardproxy.rules.foreign import KEYS, NESTS, SHAPES, mapping_of
from guardproxy.rules.language import Flaw, Kind, Program, Ref, Template, compile_expression, compile_template
from guardproxy.rules.model import Field, Locus
from guardproxy.rules.names import ModelNames
from guardproxy.rules.written import number_text, parse_field, ref_text
from guardproxy.source import (
    MAX_PROBLEMS,
    Entry,
    MappingNode,
    Node,
    Place,
    Reader,
    Scalar,
    SequenceNode,
    did_you_mean,
    kind_of,
    likely,
)

_SPACES: Final = ("features", "output")
_NO_HINTS: Final[Mapping[str, str]] = MappingProxyType({})


_Compiled: TypeAlias = tuple[Program | tuple[Flaw, ...], frozenset[str]]
V = TypeVar("V")


class Traced(Mapping[str, V]):
    """A mapping that remembers in `touched` which names were read, with `prefix` before them.

    A name with a dot is not the operator's: it is of the values that a profile knows.
    """

    def __init__(self, held: Mapping[str, V], prefix: str, touched: set[str]) -> None:
        self._held, self._prefix, self._touched = held, prefix, touched

    def __getitem__(self, name: str) -> V:
        value = self._held[name]
        if "." not in name:
            self._touched.add(self._prefix + name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def traced(names: ModelNames, touched: set[str]) -> ModelNames:
    """Return names that remember which lists and KPIs were read."""
    lists, kpis = Traced(names.lists, "lists.", touched), Traced(names.kpis, "kpi.", touched)
    return replace(names, lists=lists, kpis=kpis)


@dataclass(slots=True)
class Context:
    """The state of reading one document for one model.

    `forgiven` are places where a YAML 1.1 word is meant (`mode: off`). `scope` is that of the rule whose expressions are
    being read. `touched` gathers the lists and KPIs that expressions name, spelled `lists.NAME` and `kpi.NAME`; `names`
    must have been made with `traced` for that; `used` keeps all that ever were. `scored` tells whether the model has a
    `score` block; `read` gathers the names that decide verdicts. `today` is the day that exceptions are compared with, None when nobody asked.
    """

    reader: Reader
    names: ModelNames
    model: str
    outputs: tuple[str, ...] | None
    forgiven: set[tuple[int, int]] = field(default_factory=set)
    scope: Scope = Scope.ROW
    touched: set[str] = field(default_factory=set)
    digests: Mapping[str, str] = field(default_factory=dict)
    today: date | None = None
    compiled: dict[tuple[str, Kind | None, Scope], _Compiled] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    scored: bool = False
    unkept: int = 0
    read: set[Ref] = field(default_factory=set)

    def uses(self) -> tuple[tuple[str, str], ...]:
        """Return the lists and KPIs named since the last call, each with the digest of what it holds."""
        found = tuple((name, self.digests[name]) for name in sorted(self.touched) if name in self.digests)
        self.used.update(self.touched)
        self.touched.clear()
        return found

    @contextmanager
    def at(self, part: str) -> Iterator[None]:
        """Say in every problem that is reported meanwhile what is being read: `rule demand-plausible, require`."""
        before = self.reader.where
        self.reader.where = f"{before}, {part}" if before else part
        try:
            yield
        finally:
            self.reader.where = before

    def errors(self) -> int:
        """Return how many errors were reported so far; ever more once the reader stops keeping them."""
        found = sum(problem.severity == "error" for problem in self.reader.problems)
        if len(self.reader.problems) > MAX_PROBLEMS:
            # Nothing that is read from here on can be trusted, and no part of it must look whole.
            self.unkept += 1
        return found + self.unkept

    def within(self, scope: Scope) -> "Context":
        """Return the same context for the expressions of a rule of this scope."""
        return self if scope is self.scope else replace(self, scope=scope)

    def compile(self, text: str, want: Kind | None = None) -> Program | tuple[Flaw, ...]:
        """Compile an expression, each text once; what it names is added to `touched` every time."""
        key = (text, want, self.scope)
        found = self.compiled.get(key)
        if found is None:
            before = frozenset(self.touched)
            self.touched.clear()
            made = compile_expression(text, self.names, want=want, scope=self.scope)
            found = self.compiled[key] = (made, frozenset(self.touched))
            self.touched.update(before)
        self.touched.update(found[1])
        return found[0]

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
        misplaced: Mapping[str, str] = _NO_HINTS,
    ) -> dict[str, Entry]:
        """Read a mapping; keys of later versions are named as such instead of being taken for typing mistakes.

        `misplaced` are keys that people write here though they belong elsewhere, each with what to write instead.
        """
        extra = (*known, *later)
        sort = mapping_of(what)
        foreign = {**KEYS.get(sort, _NO_HINTS), **misplaced}
        shape = SHAPES.get(sort, "")
        found = self.reader.mapping(node, what, extra, required, foreign=foreign, shape=shape, nests=NESTS)
        for key in _cut_values(node, extra):
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
        message = f"{what} must be an expression, not {kind_of(node)}"
        self.reader.report("E206", message, node.place, _expression_help(node))
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
        made = compile_template(text, self.names, scope=self.scope)
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
                "E206", f"{what} must name a field, not {kind_of(node)}", node.place, _field_help(node)
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
        made = self.compile(text, want)
        if isinstance(made, Program):
            return made
        if isinstance(node, Scalar):
            self.flaws(made, node)
        return None

    def _space_of(self, name: str) -> str | None:
        return next((space for space in _SPACES if name in self.names.candidates(space)), None)

    def _guess(self, text: str) -> str:
        if text.startswith("kpi."):
            return "a KPI has bounds of its own (`expect`), or write require: with it"
        space, dot, name = text.partition(".")
        close = likely(space, _SPACES) or _OTHER_SPACES.get(space.lower())
        if dot and close and close != space and parse_field(f"{close}.{name}"):
            return f"did you mean '{close}.{name}'?"
        if space in ("request", "previous", "profile") or re.search(r"[-+*/()<>=]", text):
            return f"only a plain field can stand here; write require: with {text[:40]} in it"
        known = self._space_of(text)
        if known:
            return f"write {ref_text(Field(known, text))}"
        plain = re.fullmatch(r"[^\W\d]\w*", text)
        return f"write features.{text[:40]} or output.{text[:40]}" if plain else _FIELD_HELP


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


_OTHER_SPACES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("input", "inputs", "row", "data"), "features"),
        **dict.fromkeys(("prediction", "predictions", "result", "response"), "output"),
    }
)


def _expression_help(node: Node) -> str:
    if isinstance(node, SequenceNode):
        return "join the conditions with `and`, in one line"
    if isinstance(node, MappingNode):
        key = next(iter(node.entries), "")
        if key in ("all", "and", "any", "or", "not", "all_of", "any_of"):
            return "write it in one line, with `and`, `or` and `not`"
        named = parse_field(key) is not None
        return (
            f"write a condition, such as {key[:40]} == 3"
            if named
            else "write a condition, such as output.x > 0"
        )
    return "write it behind the colon, or remove the key"


def _field_help(node: Node) -> str:
    return (
        "one field stands here: write a rule for each of them"
        if isinstance(node, SequenceNode)
        else _FIELD_HELP
    )


_FIELD_HELP: Final = 'write features.NAME or output.NAME, or features["odd name"]'
