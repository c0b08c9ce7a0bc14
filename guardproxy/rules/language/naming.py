"""What a name in an expression stands for, and what is wrong with it when it stands for nothing.

Decides how a dotted path becomes a resolved name, a KPI or a list, and which names a rule may read: one with a verdict
for many rows cannot read what differs from row to row. Which kinds go together is left to `checker`.
"""

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from guardproxy.decision import Scope
from guardproxy.rules.language import foreign
from guardproxy.rules.language.flaws import Flaw
from guardproxy.rules.language.names import NO_CONSTANT, PROFILE_STATS, ROW_SPACES, SPACES, Kind, Names, Ref
from guardproxy.rules.language.nodes import KpiValue, Literal, Members, Name, Node, Path
from guardproxy.rules.language.semantics import kind_of, members_of, normal
from guardproxy.rules.language.spelling import either, spelled, suggest
from guardproxy.source import likely


class Naming:
    """The names of one expression. `inside` is the function over rows whose argument the expression is."""

    def __init__(self, text: str, names: Names, scope: Scope, inside: str = "") -> None:
        self._text = text
        self.flaws: list[Flaw] = []
        self._names = names
        self._scope = scope
        self._inside = inside

    def flaw(self, code: str, message: str, node: Node, help_: str = "") -> None:
        """Note a flaw at a node."""
        self.flaws.append(Flaw(code, message, node.offset, node.length, help_))

    def path(self, node: Path) -> Node:
        space = node.segments[0]
        if space not in SPACES:
            self._bare(node)
        elif space == "lists":
            self.flaw(
                "E116",
                "a list can only stand to the right of `in`",
                node,
                f"write `x in {'.'.join(node.segments)}`",
            )
        elif space == "profile":
            return self._profile(node)
        elif space == "kpi" and len(node.segments) == 2:
            return self._kpi(node, node.segments[1])
        elif len(node.segments) == 1:
            self._unfinished(node, f"write `{space}.NAME`")
        elif len(node.segments) == 2:
            return self._resolve(node, Ref(space, node.segments[1]))
        else:
            written = ".".join(node.segments[1:])
            help_ = f'write {space}["{written}"] if the dots are part of the name'
            if space == "request":
                help_ = f"a request has {either(self._known(space))}; what it holds are features"
            elif node.segments[1] in ("output", "features"):
                help_ = f"write {spelled(Ref(space, node.segments[2]))}"
            self.flaw("E106", f"`{space}.{node.segments[1]}` has nothing inside it", node, help_)
        return Literal(node.offset, node.length, Kind.ANY, None)

    def _bare(self, node: Path) -> None:
        first = node.segments[0]
        if len(node.segments) > 1:
            close = foreign.SPACES.get(first.lower()) or likely(first, SPACES)
            help_ = f"did you mean `{close}`?" if close else f"names begin with {either(SPACES)}"
            self.flaw("E106", f"there is nothing called `{first}` to take names from", node, help_)
            return
        found = [space for space in SPACES if space != "lists" and first in self._known(space)]
        help_ = f"write {either([f'{space}.{first}' for space in found or ('features', 'output')])}"
        if first in self._names.lists:
            help_ = f"`{first}` is a list; write `x in {first}`"
        elif not found and first.lower() in foreign.BARE:
            help_ = foreign.BARE[first.lower()]
        elif dashed := _DASHED.search(self._text[: node.end]):
            # What was said of the parts of the name before this one.
            self.flaws = [flaw for flaw in self.flaws if flaw.offset < dashed.start()]
            help_ = f'write {dashed[1]}["{dashed[2]}"] if the name has a dash in it'
        elif not found:
            help_ += f', or "{first}" if text is meant'
        self.flaw("E114", f"`{first}` alone does not say where it comes from", node, help_)

    def _unfinished(self, node: Path, help_: str) -> None:
        self.flaw("E115", f"`{'.'.join(node.segments)}` is not finished", node, help_)

    def _profile(self, node: Path) -> Node:
        written = ".".join(node.segments)
        missing = Literal(node.offset, node.length, Kind.ANY, None)
        if len(node.segments) < 3 or (len(node.segments) == 3 and node.segments[1] in ("features", "output")):
            last = foreign.STATS.get(node.segments[-1], node.segments[-1])
            nameless = last in PROFILE_STATS or last in ("profile", "features", "output")
            stat = last if last in PROFILE_STATS else "p99"
            help_ = f"write `{'profile.NAME' if nameless else written}.{stat}`, or another of "
            self._unfinished(node, help_ + ", ".join(PROFILE_STATS))
            return missing
        stat = node.segments[-1]
        if stat not in PROFILE_STATS:
            self.flaw(
                "E106",
                f"a profile has no statistic `{stat}`",
                node,
                f"did you mean `{foreign.STATS[stat.lower()]}`?"
                if stat.lower() in foreign.STATS
                else suggest(stat, PROFILE_STATS, "it has {}"),
            )
            return missing
        if stat == "values":
            self.flaw("E116", "a list can only stand to the right of `in`", node, f"write `x in {written}`")
            return missing
        return self._resolve(node, Ref("profile", ".".join(node.segments[1:-1]), stat))

    def _kpi(self, node: Path, name: str) -> Node:
        program = self._names.kpis.get(name)
        if program is None:
            self._unknown(node, Ref("kpi", name))
            return Literal(node.offset, node.length, Kind.ANY, None)
        if self._inside and program.aggregates:
            shown = spelled(next(iter(program.aggregates)))
            message = f"`kpi.{name}` reads {shown}, which cannot stand inside `{self._inside}`"
            self.flaw(
                "E132", message, node, "write out what is meant, one function over rows beside the other"
            )
        else:
            self.within_scope(node, f"kpi.{name}", program.refs)
        return KpiValue(node.offset, node.length, program.kind, name, program)

    def within_scope(self, node: Node, shown: str, refs: tuple[Ref, ...]) -> None:
        """Refuse what reads names that the scope does not have: a verdict about many rows knows no single row."""
        spaces = {ref.space for ref in refs}
        if self._scope is Scope.BATCH and not spaces.isdisjoint(ROW_SPACES):
            message = (
                f"`{shown}` differs from row to row, but a rule of scope `batch` has one verdict for all rows"
            )
            self.flaw("E131", message, node, f"say which with {_over_rows('batch', shown)}")
        elif self._scope is Scope.WINDOW and not spaces.isdisjoint((*ROW_SPACES, "batch")):
            message = (
                f"`{shown}` belongs to one exchange, but a rule of scope `window` is about a stretch of time"
            )
            inner = "..." if "batch" in spaces else shown
            self.flaw("E131", message, node, f"write {_over_rows('recent', inner)}")

    def _resolve(self, node: Path, ref: Ref) -> Node:
        kind = self._names.kind(ref)
        if kind is None:
            self._unknown(node, ref)
            return Name(node.offset, node.length, Kind.ANY, ref)
        self.within_scope(node, spelled(ref), (ref,))
        constant = self._names.constant(ref)
        if constant is not NO_CONSTANT:
            constant = normal(constant)
            kind = kind_of(constant) or kind
        return Name(node.offset, node.length, kind, ref, constant)

    def _unknown(self, node: Path, ref: Ref) -> None:
        known = self._known(ref.space)
        if ref.space == "profile" and ref.name in known:
            self.flaw("E106", f"the profile has no {ref.stat} of `{ref.name}`", node)
            return
        what = _THINGS.get(ref.space, "field")
        shown = spelled(ref._replace(stat=""))
        close = difflib.get_close_matches(ref.name, known, 1)
        help_ = "define it under `kpis:`" if ref.space == "kpi" and not known else ""
        if close:
            help_ = f"did you mean `{spelled(ref._replace(name=close[0]))}`?"
        elif known:
            help_ = f"known names: {', '.join(known[:8])}" + (", ..." if len(known) > 8 else "")
        self.flaw("E106", f"unknown {what} `{shown}`", node, help_)

    def _known(self, space: str) -> tuple[str, ...]:
        return tuple(self._names.kpis if space == "kpi" else self._names.candidates(space))

    # Lists.

    def named_list(self, path: Path) -> Members | None:
        segments, lists = path.segments, self._names.lists
        name = segments[-1]
        if segments[0] == "profile" and len(segments) > 2 and name == "values":
            ref = Ref("profile", ".".join(segments[1:-1]), "values")
            if str(ref) not in lists and self._names.kind(ref) is None:
                self._unknown(path, ref)
            return members_of(lists[str(ref)]) if str(ref) in lists else None
        if len(segments) == 1 or (len(segments) == 2 and segments[0] == "lists"):
            if name in lists:
                return members_of(lists[name])
            help_ = suggest(name, tuple(lists), "lists are {}") if lists else "define it under `lists:`"
            self.flaw("E106", f"unknown list `{name}`", path, help_)
            return None
        if len(segments) == 2 and foreign.SPACES.get(segments[0]) == "lists":
            self.flaw(
                "E106", f"there is nothing called `{segments[0]}` to take names from", path, f"write {name}"
            )
            return None
        self.flaw("E116", "`in` needs a list on its right", path, "write `==` to compare with one value")
        return None


_DASHED: Final = re.compile(r"\b(features|output|previous)\.(\w+(?:-\w+)+)\Z")
"""A name with a dash, which a difference without spaces most likely is: `features.my-field`."""
_THINGS: Final[Mapping[str, str]] = MappingProxyType(
    {"request": "fact of the request", "kpi": "KPI", "profile": "field in the profile"}
)


def _over_rows(prefix: str, argument: str) -> str:
    window = ", 1h" if prefix == "recent" else ""
    return f"{prefix}_mean({argument}{window}), or {prefix}_share(... > ...{window}) of those that meet a condition"
