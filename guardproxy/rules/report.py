"""Why a rule found what it found, in words and numbers.

Decides what counts as measured, how the bound reads on this row and where it came from. A rule's own message is used
for what it was written for, a violation; an unknown or an error says what stood in the way of judging.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guardproxy.decision import Scope, Verdict
from guardproxy.profile.model import Profile
from guardproxy.rules.blocks import ROW_CHECKS
from guardproxy.rules.compiled import Programs
from guardproxy.rules.language import LanguageError, Program, Ref, interpret
from guardproxy.rules.language.interpreter import evaluate as evaluate_node
from guardproxy.rules.language.nodes import Compare, Node, children
from guardproxy.rules.layout import usual_cells
from guardproxy.rules.model import Rule, View
from guardproxy.rules.names import ModelNames
from guardproxy.rules.plan import PlannedRule
from guardproxy.rules.sentences import (
    MAX_NAMED,
    SENTENCES,
    Lookup,
    Measured,
    cells_of,
    evaluate,
    kpis_of,
    show,
    spelled,
    values_of,
)
from guardproxy.rules.texts import seen_in_part
from guardproxy.rules.unusual import UNUSUAL, unusual_words, usual_ref
from guardproxy.table import Cell
from guardproxy.units import format_duration

MAX_MESSAGE: Final = 500
MAX_SUMMANDS: Final = 10


@dataclass(frozen=True, slots=True)
class Report:
    """A verdict's evidence; see `Finding`."""

    message: str
    measured: Measured
    bound: str
    source: str


def lookup_in(view: View, row: int, by: tuple[str, ...], names: ModelNames) -> Lookup:
    """Return a function from a name to its value on one row."""

    def lookup(ref: Ref) -> Cell:
        if ref.space == "features":
            return view.features.cell(ref.name, row)
        if ref.space == "output":
            return None if view.output is None else view.output.cell(ref.name, row)
        if ref.space == "request":
            fact: Cell = getattr(view.facts, ref.name, None)
            return fact
        if ref.space == "previous":
            return (view.previous(by, row) or {}).get(ref.name)
        if ref.space == "recent":
            return view.recent.get(ref.name)
        if ref.space == "batch":
            return (view.batch or {}).get(ref.name)
        return names.statistic(ref) if ref.space == "profile" and ref.stat != "values" else None

    return lookup


def report(
    planned: PlannedRule, row: int, verdict: Verdict, view: View, names: ModelNames, profile: Profile | None
) -> Report:
    """Explain a verdict. What batch functions give must have been worked out in the view."""
    programs = planned.programs
    lookup = lookup_in(view, row, planned.by, names)
    source = f"profile: {profile.rows:,} rows" if programs.stats and profile is not None else "rule"
    if planned.check.kind == "profile":
        return _inside(planned, row, verdict, view, names, profile)
    if planned.absence is not None:
        return _absent(planned, row, verdict, view, lookup)
    if planned.check.kind == UNUSUAL:
        return _unusual(planned, row, verdict, view, lookup)
    # A checked text may hold what nobody should read in a log; how long it is says enough.
    hidden = cells_of(planned) if planned.check.kind in _TEXTUAL else ()
    measured = tuple(
        _length(ref, lookup(ref)) if ref in hidden else (spelled(ref), lookup(ref))
        for ref in _measured_refs(planned)
    )
    measured += tuple((f"kpi.{name}", evaluate(kpi, lookup)) for name, kpi in kpis_of(programs).items())
    measured += tuple((spelled(ref), names.statistic(ref)) for ref in programs.stats)
    message = _message(planned, verdict, measured, lookup)
    return Report(message[:MAX_MESSAGE], measured, _bound(programs, lookup), source)


def comparisons(program: Program, lookup: Lookup) -> str:
    """Write the comparisons of an expression with the values on both sides, such as `40,000 <= 2,700`."""
    found: list[str] = []
    waiting: list[Node] = [program.tree]
    while waiting and len(found) < MAX_NAMED:
        node = waiting.pop(0)
        if isinstance(node, Compare):
            sides = [show(_value(operand, lookup)) for operand in node.operands]
            signs = [*(f" {sign} " for sign in node.operators), ""]
            found.append("".join(f"{side}{sign}" for side, sign in zip(sides, signs, strict=True)))
        else:
            waiting[:0] = children(node)
    return "; ".join(found)


def _value(node: Node, lookup: Lookup) -> Cell:
    try:
        return evaluate_node(node, lookup)
    except LanguageError:
        return None


def report_points(rule: Rule, points: Sequence[tuple[str, float]]) -> Report:
    """Explain the verdict of a rule that sums up points, given those of each rule that added some to the row."""
    total = sum(added for _, added in points)
    shown = ", ".join(f"{name} {added:g}" for name, added in points[:MAX_SUMMANDS])
    more = "" if len(points) <= MAX_SUMMANDS else f" and {len(points) - MAX_SUMMANDS} more"
    message = f"{total:g} points of {rule.points:g}" + (f": {shown}{more}" if points else "")
    return Report(message[:MAX_MESSAGE], (("points", total), *points), f"< {rule.points:g} points", "rule")


def _measured_refs(planned: PlannedRule) -> tuple[Ref, ...]:
    programs = planned.programs
    refs = () if programs.wants is None else programs.wants.refs
    refs += () if programs.when is None else programs.when.refs
    return tuple(ref for ref in dict.fromkeys(cells_of(planned) + refs) if ref.space != "profile")


def _length(ref: Ref, cell: Cell) -> tuple[str, Cell]:
    return (f"length({ref})", len(cell)) if isinstance(cell, str) else (str(ref), cell)


def _message(planned: PlannedRule, verdict: Verdict, measured: Measured, lookup: Lookup) -> str:
    if verdict is Verdict.VIOLATED:
        return _own_message(planned, lookup) or SENTENCES[planned.check.kind](planned, measured, lookup)
    if verdict is Verdict.UNKNOWN:
        return _warming(planned, lookup) or _unknown(planned, measured, lookup)
    if verdict is Verdict.ERROR:
        return f"cannot be judged: {_error(planned, lookup)}"
    return "within its bounds" if verdict is Verdict.OK else "does not apply to this row"


def _own_message(planned: PlannedRule, lookup: Lookup) -> str:
    """Return the rule's own message; nothing when it has none, or when its values do not fit together."""
    template = planned.programs.message
    try:
        return "" if template is None else template.render(lookup)
    except LanguageError:
        return ""


def _warming(planned: PlannedRule, lookup: Lookup) -> str:
    """Say which rolling functions have not seen enough yet; nothing when all have."""
    waits = [name for name in planned.programs.recents if lookup(Ref("recent", name)) is None]
    if not waits:
        return ""
    windows = planned.programs.aggregates()
    shown = [
        f"{name} needs {format_duration(windows[Ref('recent', name)].window_s or 0.0)} of traffic"
        for name in waits[:MAX_NAMED]
    ]
    return f"warming up: {'; '.join(shown)}"


def _unknown(planned: PlannedRule, measured: Measured, lookup: Lookup) -> str:
    lacking = [name for name, cell in measured if cell is None]
    if lacking:
        verb = "is" if len(lacking) == 1 else "are"
        return f"cannot be judged: {', '.join(lacking[:MAX_NAMED])} {verb} missing"
    if planned.check.kind == "max_change":
        return "cannot be judged: a change from zero has no percentage; give the rule a floor"
    if planned.check.kind == "text" and seen_in_part(planned.check, lookup(cells_of(planned)[0])):
        return f"cannot be judged: {SENTENCES['text'](planned, measured, lookup)}"
    return f"cannot be judged: {values_of(measured)}"


def _error(planned: PlannedRule, lookup: Lookup) -> str:
    programs = planned.programs
    try:
        for program in (programs.when, programs.wants):
            if program is not None and not isinstance(interpret(program, lookup), (bool, type(None))):
                return "the answer is neither true nor false"
        if planned.check.kind in ROW_CHECKS:
            ROW_CHECKS[planned.check.kind](planned.check, [lookup(ref) for ref in cells_of(planned)])
    except LanguageError as error:
        return str(error)
    return "the values do not fit together"


_TEXTUAL: Final = frozenset({"text", "json_schema"})


def _bound(programs: Programs, lookup: Lookup) -> str:
    """Return the bound as written, with what it comes to on this row where it is computed."""
    check = programs.rule.check
    if check.kind not in {"range", "max_change"} or (programs.low is None and programs.high is None):
        return check.bound
    shown = []
    for sign, program in ((">=", programs.low), ("<=", programs.high)):
        value = None if program is None else evaluate(program, lookup)
        if program is not None and (value is not None or check.kind == "range"):
            text = program.text.removeprefix("(").removesuffix(")")
            computed = bool(program.refs) or bool(programs.stats) or check.kind == "max_change"
            shown.append(
                f"{sign} {show(value)}" + (f" ({text})" if computed and check.kind == "range" else "")
            )
    if check.kind == "max_change":
        return check.bound + (f" ({' and '.join(shown)})" if shown else "")
    return " and ".join(shown)


def _absent(planned: PlannedRule, row: int, verdict: Verdict, view: View, lookup: Lookup) -> Report:
    """Explain a check of what is missing."""
    absence, check = planned.absence, planned.check
    if absence is None:
        raise ValueError("the rule looks at nothing that may be missing")
    bound = check.bound or f"at most {check.share:.1%} missing"
    if planned.rule.scope is Scope.BATCH:
        worst = absence.worst(view)
        measured: Measured = tuple(
            (f"missing share of {one.field.space}.{one.field.name}", one.share) for one in worst
        )
        shown = ", ".join(f"{one.field.name} in {one.share:.1%}" for one in worst[:MAX_NAMED])
        message = f"missing too often in {view.features.rows:,} rows: {shown}{_and_more(len(worst))}"
    else:
        lacking = absence.lacking(view, row)
        measured = (("missing fields", len(lacking)), ("fields", absence.count))
        names = ", ".join(named.name for named in lacking[:MAX_NAMED])
        message = f"{len(lacking)} of {absence.count} fields are missing: {names}{_and_more(len(lacking))}"
    if verdict is Verdict.VIOLATED:
        message = _own_message(planned, lookup) or message
    else:
        message = _NO_FINDING.get(verdict, "little enough is missing")
    return Report(message[:MAX_MESSAGE], measured, bound, "rule")


def _unusual(planned: PlannedRule, row: int, verdict: Verdict, view: View, lookup: Lookup) -> Report:
    """Explain how far an answer lies from what is usual of its entity."""
    check = planned.check
    value = lookup(Ref("output", check.fields[0].name))
    usual = usual_cells(view, planned.by, usual_ref(check))[row]
    message, bound = unusual_words(check, verdict, value, usual)
    measured: Measured = ((f"output.{check.fields[0].name}", value),)
    if isinstance(usual, tuple):
        measured += (("usual", usual[0]),)
    if verdict is Verdict.VIOLATED:
        message = _own_message(planned, lookup) or message
    elif verdict is not Verdict.UNKNOWN:
        message = _NO_FINDING.get(verdict, message)
    return Report(message[:MAX_MESSAGE], measured, bound, "the model's own answers")


def _and_more(count: int) -> str:
    return f" and {count - MAX_NAMED} more" if count > MAX_NAMED else ""


def _inside(
    planned: PlannedRule, row: int, verdict: Verdict, view: View, names: ModelNames, profile: Profile | None
) -> Report:
    check = planned.check
    source = "no profile" if profile is None else f"profile: {profile.rows:,} rows"
    if planned.inside is None:
        return Report("cannot be judged: there is no profile", (), check.bound, source)
    said = planned.inside.sentences(view, row)
    table = planned.inside.table(view)
    space = planned.inside.space
    measured = tuple((f"{space}.{name}", table.cell(name, row)) for name, *_ in said)
    message = "; ".join(sentence for _, sentence, _, _ in said[:MAX_NAMED])
    if len(said) > MAX_NAMED:
        message += f"; and {len(said) - MAX_NAMED} more"
    if verdict is not Verdict.VIOLATED:
        message = _NO_FINDING.get(verdict, message or "inside what was learned")
    else:
        message = _own_message(planned, lookup_in(view, row, planned.by, names)) or message
    bounds = ", ".join(f"{name} {bound}" for name, _, bound, _ in said[:MAX_NAMED])
    return Report(message[:MAX_MESSAGE], measured, bounds or check.bound, source)


_NO_FINDING: Final[Mapping[Verdict, str]] = {
    Verdict.SKIPPED: "does not apply to this row",
    Verdict.UNKNOWN: "cannot be judged: the rule's `when` is unknown",
    Verdict.ERROR: "cannot be judged: the rule's `when` compares values that do not fit together",
}
