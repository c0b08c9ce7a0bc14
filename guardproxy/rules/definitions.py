"""What a rule file defines for its rules: lists of values, and KPIs.

Decides their names, what they hold, and in which order KPIs that use each other are compiled. What rules make of them is
left to the expression language.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from sys import float_info
from typing import Final

from guardproxy.decision import Action, Mode, Phase, Scope, Severity, Verdict
from guardproxy.rules.checks import range_check
from guardproxy.rules.context import Context
from guardproxy.rules.language import Kind, OpenNames, Program, compile_expression
from guardproxy.rules.language.flaws import FlawError
from guardproxy.rules.language.nodes import Node as Tree
from guardproxy.rules.language.nodes import Path, children
from guardproxy.rules.language.parser import parse
from guardproxy.rules.language.program import MAX_CHARACTERS
from guardproxy.rules.language.tokens import RESERVED
from guardproxy.rules.model import KPI_RULE, Kpi, Locus, Rule
from guardproxy.rules.written import number_text
from guardproxy.source import Entry, Node, Place, Scalar, SequenceNode, kind_of
from guardproxy.table import Cell

MAX_LISTS: Final = 1_000
MAX_ITEMS: Final = 1_000_000
MAX_KPIS: Final = 200
KPI_KEYS: Final = ("title", "expr", "unit", "owner", "expect")
EXPECT_KEYS: Final = ("min", "max")

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
# A bare name in an expression must mean one thing.
_RESERVED: Final = frozenset(
    (
        *RESERVED,
        *("features", "output", "previous", "profile", "request", "kpi", "lists"),
    )
)


@dataclass(slots=True)
class _Draft:
    """A KPI as written, until all of its model are known. `expr` is None where it could not be read."""

    kpi: Kpi
    expr: Scalar | None
    context: Context
    place: Place


@dataclass(slots=True)
class Definitions:
    """The lists and KPIs of one model. `digests` are of what each holds, under `lists.NAME` and `kpi.NAME`.

    `kpis` are those that compile. `broken` names what does not: it has a stand-in among `programs`, and whatever uses it
    is not to be compiled again.
    """

    lists: dict[str, frozenset[Cell]] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    kpis: tuple[Kpi, ...] = ()
    broken: set[str] = field(default_factory=set)
    items: int = 0
    drafts: dict[str, _Draft] = field(default_factory=dict)
    places: dict[str, tuple[Locus, Place, Context]] = field(default_factory=dict)


def read_lists(entry: Entry, context: Context, found: Definitions) -> None:
    """Read a document's `lists` into those of its model."""
    for name, said in context.reader.anything(entry.value, "lists").items():
        if len(found.lists) >= MAX_LISTS:
            context.reader.report("E308", f"more than {MAX_LISTS:,} lists of one model", said.key)
            return
        if not _named(name, said.key, "list", context) or _taken("lists." + name, said.key, context, found):
            continue
        values = _values(name, said.value, context)
        found.items += len(values)
        if found.items > MAX_ITEMS:
            message = f"the lists of one model hold more than {MAX_ITEMS:,} values"
            context.reader.report("E308", message, said.key, "keep so many in a feature of the model")
            return
        # A list that could not be read is still known, so that its users are not reported too.
        found.lists[name] = values
        found.digests["lists." + name] = _digest(sorted(values, key=repr))


def note_unused_lists(used: frozenset[str], found: Definitions) -> None:
    """Note the lists that no rule and no KPI of the model reads."""
    for name, (_, place, context) in found.places.items():
        if name.startswith("lists.") and name not in used:
            message = f"no rule reads the list '{name.removeprefix('lists.')}'"
            context.reader.report("N409", message, place, "remove it, or use it", "note")


def read_kpis(entry: Entry, context: Context, owner: str, found: Definitions) -> None:
    """Read a document's `kpis` into those of its model; they are compiled once all of them are known."""
    for name, said in context.reader.anything(entry.value, "kpis").items():
        if len(found.drafts) >= MAX_KPIS:
            context.reader.report("E308", f"more than {MAX_KPIS:,} KPIs of one model", said.key)
            return
        if not _named(name, said.key, "KPI", context) or _taken("kpi." + name, said.key, context, found):
            continue
        _differs(name, said.key, context, found)
        found.drafts[name] = _draft(name, said, context, owner)
        found.programs[name] = _anything()
        found.digests["kpi." + name] = ""


def compile_kpis(found: Definitions) -> None:
    """Compile the KPIs of a model, each after those that it uses; those in a circle are reported and left out."""
    order = _ordered({name: _uses_of(draft, found) for name, draft in found.drafts.items()}, found)
    found.broken = {"kpi." + name for name in found.drafts if name not in order}
    good = []
    for name in order:
        draft, full = found.drafts[name], "kpi." + name
        context = draft.context
        context.uses()
        program = None
        if draft.expr is not None:
            with context.at(f"KPI {name}, expr"):
                program = context.expression(draft.expr, f"expr of KPI '{name}'", Kind.NUMBER)
        uses = context.uses()
        found.digests[full] = _digest([draft.kpi.expr, uses])
        if program is None or any(used in found.broken for used, _ in uses):
            found.broken.add(full)
        else:
            found.programs[name] = program
            good.append(draft.kpi)
    found.kpis = tuple(good)


def kpi_rules(found: Definitions) -> Iterator[Rule]:
    """Yield the default shadow rule of every KPI that says what to expect."""
    for kpi in found.kpis:
        if kpi.low is not None or kpi.high is not None:
            rule = _kpi_rule(found.drafts[kpi.name], found)
            if rule is not None:
                yield rule


def kpi_rule_id(name: str) -> str:
    """Return the id of a KPI's default rule: kebab-case as all ids, so `cover_days` has `kpi-cover-days`."""
    return KPI_RULE + "-".join(re.findall(r"[a-z0-9]+", name.lower()))


def _named(name: str, place: Place, what: str, context: Context) -> bool:
    if _NAME.fullmatch(name) and name not in _RESERVED:
        return True
    made = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:80]
    good = _NAME.fullmatch(made) and made not in _RESERVED
    advice = f"write {made}" if good else "use letters, digits and _, beginning with a letter"
    context.reader.report("E218", f"'{name[:60]}' cannot name a {what}", place, advice)
    return False


def _taken(full: str, place: Place, context: Context, found: Definitions) -> bool:
    what, name = ("list", full[6:]) if full.startswith("lists.") else ("KPI", full[4:])
    before = found.places.get(full)
    if before is not None:
        message = f"the {what} '{name}' is taken by the one at {before[0]}"
        context.reader.report("E218", message, place, f"rename one of {context.model}'s two, or join them")
        return True
    found.places[full] = (context.locus(place), place, context)
    return False


def _differs(name: str, place: Place, context: Context, found: Definitions) -> None:
    """Report a KPI whose default rule would have the id of another's."""
    for other in found.drafts:
        if kpi_rule_id(other) == kpi_rule_id(name):
            message = f"the KPIs '{other}' and '{name}' differ in case or underscores alone"
            context.reader.report("E218", message, place, f"both would have the rule {kpi_rule_id(name)}")


def _values(name: str, node: Node, context: Context) -> frozenset[Cell]:
    nodes = context.reader.items(node, f"lists.{name}")
    if not nodes and isinstance(node, SequenceNode):
        context.reader.report("E208", f"lists.{name} must have at least one value", node.place)
    values: list[Cell] = []
    kind: str | None = None
    for item in nodes:
        value = item.value if isinstance(item, Scalar) else None
        if value is None or (isinstance(value, float) and abs(value) > float_info.max) or value != value:
            message = f"lists.{name} must hold text, numbers or true/false, not {kind_of(item)}"
            context.reader.report("E206", message, item.place)
            continue
        mine = _kind(value)
        kind = kind or mine
        if mine != kind:
            message = f"lists.{name} mixes {kind} and {mine}"
            context.reader.report("E206", message, item.place, "quote it if text is meant")
            break
        values.append(value)
    return frozenset(values)


def _kind(value: bool | float | str) -> str:
    return "text" if isinstance(value, str) else "true/false" if isinstance(value, bool) else "numbers"


def _draft(name: str, said: Entry, context: Context, owner: str) -> _Draft:
    what = f"KPI '{name}'"
    if isinstance(said.value, Scalar) and isinstance(said.value.value, str):
        advice = f"write {name}: {{expr: {said.value.value[:60]}}}"
        context.reader.report("E206", f"{what} must be a mapping, not text", said.value.place, advice)
        return _Draft(Kpi(name, "", place=context.locus(said.key)), None, context, said.key)
    entries = context.mapping(said.value, what, KPI_KEYS, required=("expr",))
    texts = {
        key: context.reader.text(entries[key].value, f"{key} of {what}", max_length=500) or ""
        for key in ("title", "unit", "owner")
        if key in entries
    }
    low, high = _expected(entries["expect"].value, context, what) if "expect" in entries else (None, None)
    expr = entries["expr"].value if "expr" in entries else None
    text = context.operand(expr, f"expr of {what}") if expr is not None else None
    kpi = Kpi(
        name,
        (text or "").strip(),
        texts.get("title", ""),
        texts.get("unit", ""),
        texts.get("owner", "") or owner,
        low,
        high,
        context.locus(said.key),
    )
    return _Draft(kpi, expr if text is not None and isinstance(expr, Scalar) else None, context, said.key)


def _expected(node: Node, context: Context, what: str) -> tuple[float | None, float | None]:
    entries = context.mapping(node, f"expect of {what}", EXPECT_KEYS)
    low, high = (
        context.reader.number(entries[key].value, f"expect.{key}", low=-float_info.max, high=float_info.max)
        if key in entries
        else None
        for key in EXPECT_KEYS
    )
    if not entries:
        context.reader.report("E205", f"expect of {what} needs 'min' or 'max'", node.place)
    if low is not None and high is not None and low > high:
        place = entries["min"].value.place
        context.reader.report("E301", f"min {low:g} is above max {high:g}", place, "swap them")
        return None, None
    return low, high


def _anything() -> Program:
    """Stand in for a KPI that could not be compiled, so that its users are not reported too."""
    made = compile_expression("features.x", OpenNames())
    assert isinstance(made, Program)  # noqa: S101 - a literal of ours
    return made


def _uses_of(draft: _Draft, found: Definitions) -> dict[str, tuple[int, int]]:
    """Return the KPIs that a KPI uses, each with where it stands in the expression."""
    if draft.expr is None or len(draft.kpi.expr) > MAX_CHARACTERS:
        return {}
    text = str(draft.expr.value)
    try:
        tree = parse(text)
    except FlawError:
        return {}  # compiling tells
    used = {path.segments[1]: (path.offset, path.length) for path in _kpi_paths(tree)}
    return {name: place for name, place in used.items() if name in found.drafts}


def _kpi_paths(tree: Tree) -> Iterator[Path]:
    waiting: list[Tree] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Path) and len(node.segments) > 1 and node.segments[0] == "kpi":
            yield node
        waiting.extend(children(node))


def _ordered(uses: dict[str, dict[str, tuple[int, int]]], found: Definitions) -> list[str]:
    """Return the KPIs so that each comes after those it uses; report circles and leave their members out."""
    while True:
        sorter = TopologicalSorter({name: tuple(used) for name, used in uses.items()})
        try:
            return [name for name in sorter.static_order() if name in uses]
        except CycleError as error:
            circle: list[str] = list(reversed(error.args[1]))
        first = min(circle, key=list(uses).index)
        start = circle.index(first)
        members = [*circle[start:-1], *circle[:start], first] if start else circle
        _report_circle(members, uses, found)
        uses = {name: used for name, used in uses.items() if name not in circle}


def _report_circle(
    circle: list[str], uses: Mapping[str, Mapping[str, tuple[int, int]]], found: Definitions
) -> None:
    draft = found.drafts[circle[0]]
    offset, length = uses[circle[0]][circle[1]]
    place = draft.expr.locate(offset, length) if draft.expr is not None else draft.place
    shown = [*circle[:6], "...", circle[-1]] if len(circle) > 8 else circle
    message = f"the KPI '{circle[0]}' needs itself: {' -> '.join(shown)}"
    draft.context.reader.report("E219", message, place, "write one of them without the others")


def _kpi_rule(draft: _Draft, found: Definitions) -> Rule | None:
    kpi, context = draft.kpi, draft.context
    low, high = (f"({number_text(end)})" if end is not None else "" for end in (kpi.low, kpi.high))
    check = range_check(f"kpi.{kpi.name}", low, high)
    made = context.compile(check.wants, Kind.FLAG)
    context.uses()
    if not isinstance(made, Program):
        for flaw in made:
            context.reader.report(flaw.code, flaw.message, draft.place, flaw.help)
        return None
    reads = any(ref.space == "output" for ref in made.all_refs)
    full = f"kpi.{kpi.name}"
    return Rule(
        id=kpi_rule_id(kpi.name),
        check=check,
        phase=Phase.RESPONSE if reads else Phase.REQUEST,
        reads_output=reads,
        title=kpi.title,
        owner=kpi.owner,
        severity=Severity.LOW,
        mode=Mode.SHADOW,
        action=Action.WARN,
        counts=frozenset({Verdict.VIOLATED, Verdict.ERROR}),
        place=kpi.place,
        scope=Scope.ROW,
        uses=((full, found.digests[full]),),
    )


def _digest(said: object) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
