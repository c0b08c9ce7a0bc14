"""Laws: three ways to run a program, one answer; any text is read or refused, never anything else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy.rules.language import (
    AGGREGATE_SPACES,
    CODES,
    Flaw,
    Kind,
    LanguageError,
    OpenNames,
    Program,
    Ref,
    aggregate,
    aggregate_cells,
    column_from_cells,
    column_from_table,
    compile_expression,
    compile_template,
    constant_column,
    interpret,
    scalar,
    trace,
    vector,
)
from guardproxy.table import Cell, table_from_columns
from tests.rules.language.strategies import (
    KINDS,
    REFS,
    ROWS,
    SPECIAL_ROWS,
    KnownNames,
    OpenKnownNames,
    expressions,
)

SLOTS = {ref: position for position, ref in enumerate(REFS.values())}

EXPRESSIONS = st.one_of(*(expressions(kind) for kind in (Kind.NUMBER, Kind.TEXT, Kind.FLAG, Kind.FLAG)))
OVER_ROWS = st.one_of(*(expressions(kind, 2, over_rows=True) for kind in (Kind.NUMBER, Kind.FLAG)))


def outcome(run: Callable[[], Cell]) -> tuple[str, Any]:
    """Say what a run gave so that two can be compared: yes apart from 1, -0.0 the same as 0.0."""
    try:
        value = run()
    except LanguageError:
        return ("error", None)
    if value is None:
        return ("missing", None)
    return (type(value).__name__ if isinstance(value, bool | str | tuple) else "number", value)


def over_rows(program: Program, rows: Sequence[Mapping[Ref, Cell]], columns: list[Any]) -> dict[Ref, Cell]:
    """Return what each function over rows gives of these rows; assert that both ways to work it out agree."""
    found: dict[Ref, Cell] = {}
    for ref, one in program.aggregates.items():
        cells = [caught(lambda row=row, one=one: interpret(one.argument, row.__getitem__)) for row in rows]
        found[ref] = aggregate(one.function, vector(one.argument, SLOTS)(columns, len(rows)), len(rows))
        expected = aggregate_cells(one.function, cells)
        assert outcome(lambda ref=ref: found[ref]) == outcome(lambda expected=expected: expected)
    return found


def caught(run: Callable[[], Cell]) -> Cell | LanguageError:
    try:
        return run()
    except LanguageError as error:
        return error


def outcomes_of_all(program: Program, plain: Sequence[Mapping[Ref, Cell]], columns: list[Any]) -> None:
    """Assert that the three back-ends agree on every row."""
    together = over_rows(program, plain, columns)
    rows = [{**row, **together} for row in plain]
    columns = [*columns, *(constant_column(cell, len(rows)) for cell in together.values())]
    slots = {ref: position for position, ref in enumerate((*SLOTS, *together))}
    expected = [outcome(lambda row=row: interpret(program, row.__getitem__)) for row in rows]
    run = scalar(program, slots)
    assert [outcome(lambda row=row: run([row[ref] for ref in slots])) for row in rows] == expected
    result = vector(program, slots)(columns, len(rows))
    found = [
        ("error", None) if result.failed(row) else outcome(lambda row=row: result.cell(row))
        for row in range(len(rows))
    ]
    assert found == expected


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    EXPRESSIONS | OVER_ROWS,
    st.lists(ROWS, min_size=1, max_size=6),
    st.sampled_from([KnownNames(), OpenKnownNames()]),
)
def test_all_back_ends_say_the_same_of_any_expression_on_any_row(text: str, rows: Any, names: Any) -> None:
    program = compile_expression(text, names)
    if not isinstance(program, Program):
        # The generator mixes fields of unknown kind freely; what the checker knows to clash it may refuse.
        assert {flaw.code for flaw in program} <= {
            "E101",
            "E102",
            *["E120", "E121", "E122", "E123", "E125", "E127"],
        }, (text, program)
        return
    if any(ref not in SLOTS and ref.space not in AGGREGATE_SPACES for ref in program.all_refs):
        return
    outcomes_of_all(program, rows, [column_from_cells([row[ref] for row in rows]) for ref in SLOTS])


@settings(max_examples=200, deadline=None)
@given(
    expressions(Kind.NUMBER, 1) | expressions(Kind.FLAG, 1), st.lists(SPECIAL_ROWS, min_size=20, max_size=20)
)
def test_all_back_ends_say_the_same_of_one_operation_on_special_numbers(text: str, rows: Any) -> None:
    program = compile_expression(text, OpenKnownNames())
    if isinstance(program, Program) and all(ref in SLOTS for ref in program.all_refs):
        outcomes_of_all(program, rows, [column_from_cells([row[ref] for row in rows]) for ref in SLOTS])


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(expressions(Kind.FLAG, 2), st.lists(ROWS, min_size=1, max_size=4))
def test_a_wanted_kind_is_kept_by_all_back_ends_and_by_columns_of_a_table(text: str, rows: Any) -> None:
    program = compile_expression(text, KnownNames(), want=Kind.FLAG)
    if isinstance(program, Program):
        table = table_from_columns({str(ref): [row[ref] for row in rows] for ref in SLOTS}, len(rows))
        outcomes_of_all(program, rows, [column_from_table(table, str(ref)) for ref in SLOTS])


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(EXPRESSIONS, ROWS)
def test_a_trace_ends_with_the_result_and_every_step_shows_its_own_text(text: str, row: Any) -> None:
    program = compile_expression(text, KnownNames())
    if not isinstance(program, Program):
        return
    steps = trace(program, row.__getitem__)
    last = steps[-1]
    expected = outcome(lambda: interpret(program, row.__getitem__))
    assert outcome(lambda: _raise(last.value)) == expected
    assert all(step.text == text[step.offset : step.offset + step.length] for step in steps)


def _raise(value: Any) -> Cell:
    if isinstance(value, LanguageError):
        raise value
    return value  # type: ignore[no-any-return]


PIECES = st.sampled_from(
    [
        *KINDS,
        *(
            "features",
            "output.",
            "profile.output.y.p99",
            "request.hour",
            "lists.words",
            "words",
            "a.b.c",
            "x",
        ),
        *(
            "1",
            "30%",
            "15m",
            "1e999",
            "9" * 400,
            "5%5",
            "1.",
            ".5",
            '"a"',
            '"',
            "'a'",
            '"\\x"',
            "true",
            "missing",
        ),
        *(
            "and",
            "or",
            "not",
            "in",
            "is",
            "if",
            "then",
            "else",
            "AND",
            "&&",
            "||",
            "=",
            "!",
            "<",
            "<=",
            "==",
            "!=",
            "??",
        ),
        *(
            "+",
            "-",
            "*",
            "/",
            "**",
            "%",
            "(",
            ")",
            "[",
            "]",
            ",",
            ".",
            "?",
            ":",
            ";",
            "\x00",
            "\n",
            "é",
            "\ud800",
            "💥",
        ),
        *(
            "min(",
            "matches(",
            "batch_mean(",
            "foo(",
            "round(",
            "clamp(",
            "coalesce(",
            "abs",
            '"(?=a)"',
            '"["',
        ),
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(PIECES, max_size=25).map(" ".join),
        st.lists(PIECES, max_size=25).map("".join),
    )
)
def test_any_text_is_a_program_or_flaws_within_the_text(text: str) -> None:
    for names in (KnownNames(), OpenNames()):
        for want in (None, Kind.FLAG):
            check_compiled(text, compile_expression(text, names, want=want))


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60), st.lists(st.one_of(PIECES, st.sampled_from("{}:")), max_size=15).map("".join)
    ),
    ROWS,
)
def test_any_text_is_a_template_that_renders_or_flaws_within_the_text(text: str, row: Any) -> None:
    template = compile_template(text, KnownNames())
    if isinstance(template, tuple):
        check_compiled(text, template)
    else:
        assert isinstance(template.render(row.get), str)


def check_compiled(text: str, found: Program | tuple[Flaw, ...]) -> None:
    """Assert that a result is a program, or flaws with known codes whose carets lie in the text or at its end."""
    if isinstance(found, Program):
        return
    assert found
    for flaw in found:
        assert flaw.code in CODES
        assert 0 <= flaw.offset <= len(text)
        assert flaw.offset + flaw.length <= max(len(text), 1) + 1


@pytest.mark.parametrize(
    "text",
    [
        "(" * 1_999,
        "-" * 1_999 + "1",
        "not " * 400 + "true",
        "[" * 1_500,
        "abs(" * 490,
        "if " * 600,
        "features.x in " * 100,
        "1" + " ?? 1" * 390,
        "1" + "/features.n" * 180,
        "-" + "9" * 1_990,
        "features" + '["a"]' * 390,
        "max(" + "features.n," * 180 + "1)",
    ],
)
def test_no_text_within_the_length_limit_exhausts_the_stack(text: str) -> None:
    program = compile_expression(text, OpenNames())
    check_compiled(text, program)
    if isinstance(program, Program):
        row = dict.fromkeys(program.refs, 2.0)
        slots = {ref: position for position, ref in enumerate(row)}
        expected = outcome(lambda: interpret(program, row.__getitem__))
        assert outcome(lambda: scalar(program, slots)(list(row.values()))) == expected
        columns = [column_from_cells([2.0])] * len(row)
        assert outcome(lambda: vector(program, slots)(columns, 1).cell(0)) == expected
