"""Why a rule found what it found, in words and numbers.

Decides what counts as measured, how the bound reads on this row and where it came from. A rule's own message is used
for what it was written for, a violation; an unknown or an error says what stood in the way of judging.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from guardproxy.decision import Verdict
from guardproxy.profile.model import Profile
from guardproxy.rules.blocks import ROW_CHECKS
from guardproxy.rules.compiled import Programs
from guardproxy.rules.language import LanguageError, Program, Ref, interpret
from guardproxy.rules.model import FINITE_RULE, View
from guardproxy.rules.names import ModelNames
from guardproxy.rules.plan import PlannedRule
from guardproxy.table import Cell

MAX_MESSAGE: Final = 500
MAX_NAMED: Final = 3
MANY_DIGITS: Final = 10**21

Lookup: TypeAlias = Callable[[Ref], Cell]


@dataclass(frozen=True, slots=True)
class Report:
    """A verdict's evidence; see `Finding`."""

    message: str
    measured: tuple[tuple[str, Cell], ...]
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
        return names.statistic(ref) if ref.space == "profile" and ref.stat != "values" else None

    return lookup


def evaluate(program: Program, lookup: Lookup) -> Cell:
    """Return an expression's value on one row, None where it cannot be had."""
    try:
        return interpret(program, lookup)
    except LanguageError:
        return None


def report(
    planned: PlannedRule, row: int, verdict: Verdict, view: View, names: ModelNames, profile: Profile | None
) -> Report:
    """Explain a verdict."""
    programs = planned.programs
    lookup = lookup_in(view, row, planned.by, names)
    source = f"profile: {profile.rows:,} rows" if programs.stats and profile is not None else "rule"
    if planned.check.kind == "profile":
        return _inside(planned, row, verdict, view, names, profile)
    refs = _measured_refs(planned)
    measured = tuple((str(ref), lookup(ref)) for ref in refs)
    measured += tuple((str(ref), names.statistic(ref)) for ref in programs.stats)
    message = _message(planned, verdict, measured, lookup)
    return Report(message[:MAX_MESSAGE], measured, _bound(programs, lookup), source)


def show(cell: Cell) -> str:
    """Write a cell for a person."""
    if cell is None:
        return "missing"
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        return f'"{cell[:60]}..."' if len(cell) > 60 else f'"{cell}"'
    if isinstance(cell, tuple):
        return "[" + ", ".join(show(member) for member in cell[:6]) + (", ...]" if len(cell) > 6 else "]")
    if isinstance(cell, int) and abs(cell) >= MANY_DIGITS:
        return f"a whole number of {len(str(cell)) if cell.bit_length() < 4_000 else 'too many'} digits"
    if isinstance(cell, int) or (abs(cell) < 1e15 and cell == int(cell)):
        return f"{int(cell):,}"
    return f"{cell:,.6g}"


def as_number(cell: Cell) -> float | None:
    """Return a cell as a float; None when it is no number, or too large for one."""
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        return None
    try:
        return float(cell)
    except OverflowError:
        return None


def _measured_refs(planned: PlannedRule) -> tuple[Ref, ...]:
    programs = planned.programs
    refs = () if programs.wants is None else programs.wants.refs
    refs += () if programs.when is None else programs.when.refs
    cells = tuple(Ref(named.space, named.name) for named in planned.check.fields)
    if planned.check.kind == FINITE_RULE:
        cells += tuple(Ref("output", name) for name in planned.names)
    return tuple(ref for ref in dict.fromkeys(cells + refs) if ref.space != "profile")


def _message(
    planned: PlannedRule, verdict: Verdict, measured: tuple[tuple[str, Cell], ...], lookup: Lookup
) -> str:
    if verdict is Verdict.VIOLATED:
        return _own_message(planned, lookup) or _SENTENCES[planned.check.kind](planned, measured, lookup)
    if verdict is Verdict.UNKNOWN:
        return _unknown(planned, measured)
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


def _unknown(planned: PlannedRule, measured: tuple[tuple[str, Cell], ...]) -> str:
    lacking = [name for name, cell in measured if cell is None]
    if lacking:
        verb = "is" if len(lacking) == 1 else "are"
        return f"cannot be judged: {', '.join(lacking[:MAX_NAMED])} {verb} missing"
    if planned.check.kind == "max_change":
        return "cannot be judged: a change from zero has no percentage; give the rule a floor"
    return f"cannot be judged: {_values(measured)}"


def _error(planned: PlannedRule, lookup: Lookup) -> str:
    programs = planned.programs
    try:
        for program in (programs.when, programs.wants):
            if program is not None and not isinstance(interpret(program, lookup), (bool, type(None))):
                return "the answer is neither true nor false"
        if planned.check.kind in ROW_CHECKS:
            ROW_CHECKS[planned.check.kind](planned.check, [lookup(ref) for ref in _measured_refs(planned)])
    except LanguageError as error:
        return str(error)
    return "the values do not fit together"


def _range(planned: PlannedRule, measured: tuple[tuple[str, Cell], ...], lookup: Lookup) -> str:
    named, programs = planned.check.fields[0], planned.programs
    value = lookup(Ref(named.space, named.name))
    low = None if programs.low is None else evaluate(programs.low, lookup)
    high = None if programs.high is None else evaluate(programs.high, lookup)
    if isinstance(value, (int, float)) and isinstance(low, (int, float)) and value < low:
        return f"{named.name} is {show(value)}, below {show(low)}"
    if isinstance(value, (int, float)) and isinstance(high, (int, float)) and value > high:
        return f"{named.name} is {show(value)}, above {show(high)}"
    return f"out of range: {_values(measured)}"


def _change(planned: PlannedRule, measured: tuple[tuple[str, Cell], ...], lookup: Lookup) -> str:
    named = planned.check.fields[0]
    value = lookup(Ref(named.space, named.name))
    bases = [cell for name, cell in measured if name != f"{named.space}.{named.name}"]
    number, base = as_number(value), as_number(bases[0]) if bases else None
    if number is not None and base:
        change = (number - base) / abs(base)
        way = "up" if change > 0 else "down"
        return f"{named.name} is {show(value)}, {abs(change):,.1%} {way} from {show(base)} ({planned.check.bound})"
    return f"{named.name} changed too much: {_values(measured)} ({planned.check.bound})"


def _set(planned: PlannedRule, measured: tuple[tuple[str, Cell], ...], lookup: Lookup) -> str:  # noqa: ARG001
    named = planned.check.fields[0]
    return f"{named.name} is {show(measured[0][1])}, not {planned.check.bound}"


def _order(planned: PlannedRule, measured: tuple[tuple[str, Cell], ...], lookup: Lookup) -> str:
    fields = planned.check.fields
    cells = [(named.name, lookup(Ref(named.space, named.name))) for named in fields]
    for (name, cell), (later, other) in pairwise(cells):
        if isinstance(cell, (int, float)) and isinstance(other, (int, float)) and cell > other:
            return f"{name} is {show(cell)}, above {later}, which is {show(other)}"
    return f"not in order: {_values(measured)}"


def _chances(planned: PlannedRule, measured: tuple[tuple[str, Cell], ...], lookup: Lookup) -> str:  # noqa: ARG001
    check = planned.check
    cells = [cell for _, cell in measured]
    first = cells[0] if len(cells) == 1 else None
    members = list(first) if isinstance(first, tuple) else cells
    numbers = [member for member in members if isinstance(member, (int, float))]
    for place, member in enumerate(numbers):
        if not 0 <= member <= 1:
            return f"{check.fields[0].name}[{place}] is {show(member)}, no probability"
    name = check.fields[0].name if len(check.fields) == 1 else "the probabilities"
    return f"{name} add up to {show(float(sum(numbers)))}, not {check.total:g} within {check.tolerance:g}"


def _demand(planned: PlannedRule, measured: tuple[tuple[str, Cell], ...], lookup: Lookup) -> str:  # noqa: ARG001
    word = "not satisfied" if planned.check.sense else "forbidden"
    values = _values(measured)
    return f"{word}: {planned.check.bound[:200]}" + (f" ({values})" if values else "")


def _finite(planned: PlannedRule, measured: tuple[tuple[str, Cell], ...], lookup: Lookup) -> str:  # noqa: ARG001
    for name, cell in measured:
        if cell is None:
            return f"{name.removeprefix('output.')} is missing"
        if isinstance(cell, tuple) or (isinstance(cell, float) and cell - cell != 0):
            numbers = cell if isinstance(cell, tuple) else (cell,)
            if not numbers or any(one is None or one - one != 0 for one in numbers):
                return f"{name.removeprefix('output.')} is not finite and whole: {show(cell)}"
    return "the response has no prediction for this row"


_SENTENCES: Final[Mapping[str, Callable[[PlannedRule, tuple[tuple[str, Cell], ...], Lookup], str]]] = {
    "range": _range,
    "max_change": _change,
    "one_of": _set,
    "order": _order,
    "probabilities": _chances,
    "require": _demand,
    "forbid": _demand,
    FINITE_RULE: _finite,
}


def _values(measured: tuple[tuple[str, Cell], ...]) -> str:
    shown = [
        f"{name.removeprefix('features.').removeprefix('output.')} = {show(cell)}"
        for name, cell in measured[:6]
    ]
    return ", ".join(shown) + (", ..." if len(measured) > 6 else "")


def _bound(programs: Programs, lookup: Lookup) -> str:
    """Return the bound as written, with what it comes to on this row where it is computed."""
    check = programs.rule.check
    if check.kind not in {"range", "max_change"}:
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
