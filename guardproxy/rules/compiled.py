"""Rules with their expressions compiled for a profile, before a message's fields are known.

Decides which expressions a rule has, folds the profile's statistics into them once, and generates the functions that
judge. Finding a message's cells for them is left to `layout`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from guardproxy.decision import Mode, Phase
from guardproxy.errors import OperatorError
from guardproxy.profile.model import Profile
from guardproxy.rules.batches import Columns, CompiledBatches, Row, compile_batches
from guardproxy.rules.blocks import ROW_CHECKS
from guardproxy.rules.kpis import CompiledKpis, compile_kpis, with_kpis
from guardproxy.rules.language import (
    Aggregate,
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
from guardproxy.rules.language.nodes import Name, children
from guardproxy.rules.layout import Slots, make_slots
from guardproxy.rules.model import FINITE_RULE, INSIDE_RULE, Check, Kpi, Rule, Unless
from guardproxy.rules.names import ModelNames, open_names
from guardproxy.rules.quieting import CompiledExceptions, CompiledUnless
from guardproxy.rules.unusual import UNUSUAL, unusual_columns, usual_ref
from guardproxy.table import Cell


@dataclass(frozen=True, slots=True, eq=False)
class Programs:
    """A rule's expressions; `exprs` are those of its fallback chain by (link, output), `stats` what the verdict took
    from the profile, `recents` the rolling functions that the verdict depends on, by their spelling.
    """

    rule: Rule
    when: Program | None
    wants: Program | None
    low: Program | None
    high: Program | None
    stake: Program | None
    exprs: Mapping[tuple[int, str], Program]
    message: Template | None
    unless: tuple[tuple[Unless, Program], ...]
    stats: tuple[Ref, ...]
    recents: tuple[str, ...]

    def all(self) -> Iterator[Program]:
        """Yield every expression, those in the message too."""
        found = (self.when, self.wants, self.low, self.high, self.stake, *self.exprs.values())
        yield from (program for program in found if program is not None)
        yield from (program for _, program in self.unless)

    def aggregates(self) -> Mapping[Ref, Aggregate]:
        """Return the batch and rolling functions of all expressions."""
        found = {} if self.message is None else dict(self.message.aggregates)
        for program in self.all():
            found |= program.aggregates
        return found


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
    """The rules of one phase and the slots that their functions read.

    `batches` are the batch functions that verdicts depend on, `told` all of the phase, for explaining.
    """

    slots: Slots
    rules: tuple[CompiledRule, ...]
    batches: CompiledBatches
    exceptions: CompiledExceptions
    excepted: CompiledBatches
    told: CompiledBatches


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """All rules of a model, by phase, with its KPIs. `recents` are the rolling functions, by their spelling."""

    phases: Mapping[Phase, CompiledPhase]
    kpis: CompiledKpis
    recents: Mapping[str, Aggregate]


def compile_rules(
    rules: tuple[Rule, ...],
    profile: Profile | None,
    stats: Mapping[tuple[str, str], float],
    lists: Mapping[str, frozenset[Cell]],
    kpis: tuple[Kpi, ...],
) -> Compiled:
    """Compile the rules that are not off. Raises `OperatorError` for a rule that was never checked by `load_rulesets`.

    Without a profile there is nothing for the built-in profile rule to look at, so it is left out.
    """
    names = open_names(profile, stats)
    names = with_kpis(replace(names, lists={**names.lists, **lists}), kpis)
    active = [rule for rule in rules if rule.mode is not Mode.OFF]
    if profile is None:
        active = [rule for rule in active if not (rule.built_in and rule.id == INSIDE_RULE)]
    programs = [_programs(rule, names) for rule in active]
    recents: dict[str, Aggregate] = {}
    for found in (
        *(one.aggregates() for one in programs),
        *(names.kpis[kpi.name].aggregates for kpi in kpis),
    ):
        recents |= {ref.name: one for ref, one in found.items() if ref.space == "recent"}
    return Compiled(
        {phase: _phase([one for one in programs if one.rule.phase is phase]) for phase in Phase},
        compile_kpis(kpis, names.kpis),
        recents,
    )


def _phase(programs: Sequence[Programs]) -> CompiledPhase:
    wanted = [
        (ref, one.rule.check.by)
        for one in programs
        for ref in (*_refs(one.when), *_refs(one.wants), *_cells(one.rule.check))
    ]
    whole = any(one.rule.kind == FINITE_RULE for one in programs)
    slots = make_slots(wanted, whole=whole)
    verdicts = [program for one in programs for program in (one.when, one.wants) if program is not None]
    exceptions = [program for one in programs for _, program in one.unless]
    return CompiledPhase(
        slots,
        tuple(_functions(one, slots) for one in programs),
        compile_batches(program.aggregates for program in verdicts),
        _exceptions(programs),
        compile_batches(program.aggregates for program in exceptions),
        compile_batches(one.aggregates() for one in programs),
    )


def _exceptions(programs: Sequence[Programs]) -> CompiledExceptions:
    wanted = [
        (ref, one.rule.check.by) for one in programs for _, program in one.unless for ref in program.refs
    ]
    slots = make_slots(wanted, whole=False)
    found = []
    for index, one in enumerate(programs):
        by = one.rule.check.by
        made = [
            CompiledUnless(
                unless,
                _yes_or_no(program, slots.of(program, by)),
                vector(program, slots.of(program, by)),
            )
            for unless, program in one.unless
        ]
        if made:
            found.append((index, tuple(made)))
    return CompiledExceptions(slots, tuple(found))


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
    if check.kind == UNUSUAL:
        wants_columns = unusual_columns(check, [slots.slot(ref, by) for ref in _cells(check)])
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
    places = [slots.slot(ref, check.by) for ref in _cells(check)]

    def run(cells: Sequence[Cell]) -> Cell:
        return judge(check, [cells[place] for place in places])

    return run


def _cells(check: Check) -> tuple[Ref, ...]:
    """Return the cells that a check over many named cells looks at."""
    if check.kind not in ROW_CHECKS:
        return ()
    cells = tuple(Ref(named.space, named.name) for named in check.fields)
    return (*cells, usual_ref(check)) if check.kind == UNUSUAL else cells


def _refs(program: Program | None) -> tuple[Ref, ...]:
    return () if program is None else program.refs


def _programs(rule: Rule, shared: ModelNames) -> Programs:
    names = replace(shared, used=set())
    check = rule.check
    wants = _program(rule, check.wants, names)
    when = _program(rule, rule.when, names)
    stats = tuple(sorted(names.used | _stats_of_kpis((wants, when))))
    recents = dict.fromkeys(ref.name for ref in (*_refs(wants), *_refs(when)) if ref.space == "recent")
    unless = [(one, _program(rule, one.when, names)) for one in rule.unless]
    return Programs(
        rule=rule,
        when=when,
        wants=wants,
        low=_program(rule, check.low, names),
        high=_program(rule, check.high, names),
        stake=_program(rule, rule.hold.value, names),
        exprs=_exprs(rule, names),
        message=_template(rule, names),
        unless=tuple((one, program) for one, program in unless if program is not None),
        stats=stats,
        recents=tuple(recents),
    )


def _stats_of_kpis(programs: Iterable[Program | None]) -> set[Ref]:
    """Return the profile's statistics that the KPIs of some programs take."""
    found: set[Ref] = set()
    waiting = [kpi for program in programs if program is not None for kpi in program.kpis.values()]
    done: set[int] = set()
    while waiting:
        kpi = waiting.pop()
        if id(kpi) not in done:
            done.add(id(kpi))
            waiting += kpi.kpis.values()
            nodes = [kpi.tree]
            while nodes:
                node = nodes.pop()
                nodes += children(node)
                if isinstance(node, Name) and node.ref.space == "profile" and node.ref.stat != "values":
                    found.add(node.ref)
    return found


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
