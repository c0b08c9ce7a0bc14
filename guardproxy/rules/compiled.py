"""Rules with their expressions compiled for a profile, before a message's fields are known.

Decides which expressions a rule has, folds the profile's statistics into them once, and generates the functions that
judge. Finding a message's cells for them is left to `layout`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from guardproxy.decision import Mode, Phase
from guardproxy.errors import OperatorError
from guardproxy.profile.model import Profile
from guardproxy.rules.blocks import ROW_CHECKS
from guardproxy.rules.language import (
    Column,
    Kind,
    LanguageError,
    Program,
    Ref,
    Template,
    compile_expression,
    compile_template,
    scalar,
    vector,
)
from guardproxy.rules.layout import Slots, make_slots
from guardproxy.rules.model import FINITE_RULE, INSIDE_RULE, Check, Rule
from guardproxy.rules.names import ModelNames, open_names
from guardproxy.table import Cell

Row: TypeAlias = Callable[[Sequence[Cell]], Cell]
Columns: TypeAlias = Callable[[Sequence[Column], int], Column]


@dataclass(frozen=True, slots=True, eq=False)
class Programs:
    """A rule's expressions; `exprs` are those of its fallback chain by (link, output), `stats` what the verdict took
    from the profile.
    """

    rule: Rule
    when: Program | None
    wants: Program | None
    low: Program | None
    high: Program | None
    stake: Program | None
    exprs: Mapping[tuple[int, str], Program]
    message: Template | None
    stats: tuple[Ref, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """A rule and its generated functions, one pair for cells and one for columns; a profile check has no `wants_row`."""

    programs: Programs
    when_row: Row | None
    wants_row: Row | None
    when_columns: Columns | None
    wants_columns: Columns | None

    @property
    def rule(self) -> Rule:
        """The rule itself."""
        return self.programs.rule


@dataclass(frozen=True, slots=True, eq=False)
class CompiledPhase:
    """The rules of one phase and the slots that their functions read."""

    slots: Slots
    rules: tuple[CompiledRule, ...]


def compile_rules(
    rules: tuple[Rule, ...], profile: Profile | None, stats: Mapping[tuple[str, str], float]
) -> Mapping[Phase, CompiledPhase]:
    """Compile the rules that are not off. Raises `OperatorError` for a rule that was never checked by `load_rulesets`.

    Without a profile there is nothing for the built-in profile rule to look at, so it is left out.
    """
    names = open_names(profile, stats)
    active = [rule for rule in rules if rule.mode is not Mode.OFF]
    if profile is None:
        active = [rule for rule in active if not (rule.built_in and rule.id == INSIDE_RULE)]
    programs = [_programs(rule, names) for rule in active]
    return {phase: _phase([one for one in programs if one.rule.phase is phase]) for phase in Phase}


def _phase(programs: Sequence[Programs]) -> CompiledPhase:
    wanted = [
        (ref, one.rule.check.by)
        for one in programs
        for ref in (*_refs(one.when), *_refs(one.wants), *_cells(one.rule.check))
    ]
    whole = any(one.rule.kind == FINITE_RULE for one in programs)
    slots = make_slots(wanted, whole=whole)
    return CompiledPhase(slots, tuple(_functions(one, slots) for one in programs))


def _functions(programs: Programs, slots: Slots) -> CompiledRule:
    check, by = programs.rule.check, programs.rule.check.by
    when_row = when_columns = wants_columns = wants_row = None
    if programs.when is not None:
        when_row = _yes_or_no(programs.when, slots.of(programs.when, by))
        when_columns = vector(programs.when, slots.of(programs.when, by))
    if programs.wants is not None:
        wants_row = _yes_or_no(programs.wants, slots.of(programs.wants, by))
        wants_columns = vector(programs.wants, slots.of(programs.wants, by))
    elif check.kind in ROW_CHECKS:
        wants_row = _many_cells(check, slots)
    return CompiledRule(programs, when_row, wants_row, when_columns, wants_columns)


def _yes_or_no(program: Program, slots: Mapping[Ref, int]) -> Row:
    """Return a yes/no program as a function of gathered cells; anything but yes, no and unknown is an error."""
    made = scalar(program, slots)
    if program.kind is Kind.FLAG:
        return made

    def run(cells: Sequence[Cell]) -> Cell:
        answer = made(cells)
        if answer is None or type(answer) is bool:
            return answer
        raise LanguageError("the answer is neither true nor false")

    return run


def _many_cells(check: Check, slots: Slots) -> Row:
    """Return a check over many cells as a function of gathered cells."""
    judge = ROW_CHECKS[check.kind]
    if check.kind == FINITE_RULE:
        start = slots.missing + 1

        def run_whole(cells: Sequence[Cell]) -> Cell:
            return judge(check, cells[start:])

        return run_whole
    places = [slots.slot(ref) for ref in _cells(check)]

    def run(cells: Sequence[Cell]) -> Cell:
        return judge(check, [cells[place] for place in places])

    return run


def _cells(check: Check) -> tuple[Ref, ...]:
    """Return the cells that a check over many named cells looks at."""
    if check.kind not in ROW_CHECKS:
        return ()
    return tuple(Ref(named.space, named.name) for named in check.fields)


def _refs(program: Program | None) -> tuple[Ref, ...]:
    return () if program is None else program.refs


def _programs(rule: Rule, shared: ModelNames) -> Programs:
    names = replace(shared, used=set())
    check = rule.check
    wants = _program(rule, check.wants, names)
    when = _program(rule, rule.when, names)
    stats = tuple(sorted(names.used))
    return Programs(
        rule=rule,
        when=when,
        wants=wants,
        low=_program(rule, check.low, names),
        high=_program(rule, check.high, names),
        stake=_program(rule, rule.hold.value, names),
        exprs=_exprs(rule, names),
        message=_template(rule, names),
        stats=stats,
    )


def _exprs(rule: Rule, names: ModelNames) -> Mapping[tuple[int, str], Program]:
    found: dict[tuple[int, str], Program] = {}
    for link, spec in enumerate(rule.fallback):
        for output, text in spec.exprs.items():
            program = _program(rule, text, names)
            if program is not None:
                found[link, output] = program
    return found


def _program(rule: Rule, text: str, names: ModelNames) -> Program | None:
    if not text:
        return None
    made = compile_expression(text, names)
    if isinstance(made, Program):
        return made
    raise OperatorError(f"rule '{rule.id}' cannot be compiled: {made[0].message}")


def _template(rule: Rule, names: ModelNames) -> Template | None:
    if not rule.message:
        return None
    made = compile_template(rule.message, names)
    if isinstance(made, Template):
        return made
    raise OperatorError(f"the message of rule '{rule.id}' cannot be compiled: {made[0].message}")
