"""Functions over rows: what they give, what they leave out, and what they add to an expression."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy.rules.language import (
    AGGREGATES,
    Kind,
    LanguageError,
    OpenNames,
    Program,
    Ref,
    aggregate,
    aggregate_cells,
    column_from_cells,
    compile_expression,
    compile_template,
    interpret,
    vector,
)
from guardproxy.table import Cell
from tests.rules.language.strategies import NUMBERS, ROWS, KnownNames, OpenKnownNames, aggregates
from tests.rules.language.test_laws import SLOTS, outcomes_of_all

INF = math.inf
BIG = 2**53 + 1
X = Ref("features", "x")


def given_by(call: str, cells: list[Cell]) -> Cell:
    """Return what a call gives where `features.x` has these cells; assert that column and cells say the same."""
    program = compile_expression(call, OpenNames())
    assert isinstance(program, Program), program
    ((ref, one),) = program.aggregates.items()
    assert program.refs == (ref,)
    column = vector(one.argument, {X: 0})([column_from_cells(cells)], len(cells))
    found = aggregate(one.function, column, len(cells))
    results = [_caught(lambda cell=cell: interpret(one.argument, {X: cell}.__getitem__)) for cell in cells]
    assert aggregate_cells(one.function, results) == found
    return found


def _caught(run: Callable[[], Cell]) -> Cell | LanguageError:
    try:
        return run()
    except LanguageError as error:
        return error


@pytest.mark.parametrize(
    ("call", "cells", "expected"),
    [
        ("batch_mean(features.x)", [1.0, 2.0, 6.0], 3.0),
        ("batch_mean(features.x * 2)", [1, 2, 6], 6.0),
        ("batch_min(features.x)", [3.0, -1.0, 2.0], -1.0),
        ("batch_max(features.x)", [3.0, -1.0, 2.0], 3.0),
        ("batch_share(features.x > 1)", [1.0, 2.0, 3.0, 4.0], 0.75),
        ("batch_share(features.x)", [True, False, False, False], 0.25),
        ("batch_count(features.x > 1)", [1.0, 2.0, 3.0, 4.0], 3.0),
        ("batch_count(features.x > 9)", [1.0, 2.0], 0.0),
        ("recent_mean(features.x, 1h)", [1.0, 2.0, 6.0], 3.0),
        ("recent_share(features.x > 1, 1h)", [1.0, 2.0], 0.5),
        ("recent_count(features.x > 1, 1h)", [1.0, 2.0], 1.0),
        ("recent_p50(features.x, 1h)", [5.0, 1.0, 3.0, 2.0], 2.0),
        ("recent_p50(features.x, 1h)", [7.0], 7.0),
        ("recent_p99(features.x, 1h)", [float(n) for n in range(100, 0, -1)], 99.0),
        ("recent_p99(features.x, 1h)", [float(n) for n in range(101)], 99.0),
        # What is missing or unknown is left out above and below the line.
        ("batch_mean(features.x)", [1.0, None, 3.0, math.nan], 2.0),
        ("batch_share(features.x > 1)", [1.0, None, 3.0], 0.5),
        ("batch_count(features.x > 1)", [1.0, None, 3.0], 1.0),
        ("batch_mean(features.x / 0)", [1.0], None),
        ("batch_mean(features.x)", [None, None], None),
        ("batch_min(features.x)", [None], None),
        ("batch_share(features.x > 1)", [None], None),
        ("batch_count(features.x > 1)", [None], None),
        ("batch_mean(features.x)", [], None),
        ("batch_count(features.x > 1)", [], None),
        # One row whose kinds clash spoils the whole.
        ("batch_mean(features.x)", [1.0, "2"], None),
        ("batch_mean(features.x + 1)", [1.0, "2"], None),
        ("batch_max(features.x)", [1.0, True], None),
        ("batch_share(features.x > 1)", [1.0, 2.0, "2"], None),
        ("batch_count(features.x)", [True, 1.0], None),
        ("recent_share(features.x, 1h)", [True, "yes"], None),
        # Infinities, sums beyond float64, whole numbers beyond 2**53, and sums that rounding would spoil.
        ("batch_mean(features.x)", [INF, 1.0], INF),
        ("batch_mean(features.x)", [INF, -INF], None),
        ("batch_mean(features.x)", [1e308, 1e308], 1e308),
        ("batch_mean(features.x)", [1e308, 1e308, -1e308, -1e308], 0.0),
        ("batch_mean(features.x)", [1e16, 1.0, -1e16, 1.0], 0.5),
        ("batch_mean(features.x)", [10**400, 1.0], INF),
        ("batch_max(features.x)", [2.0**53, BIG], BIG),
        ("batch_min(features.x)", [-BIG, -(2.0**53)], -BIG),
        ("recent_p50(features.x, 1h)", [BIG, 2.0**53, BIG], BIG),
    ],
)
def test_a_function_over_rows_gives(call: str, cells: list[Cell], expected: Cell) -> None:
    found = given_by(call, cells)
    assert found == expected
    assert (type(found) is int) == (type(expected) is int)


def test_every_function_over_rows_is_a_number_of_its_argument() -> None:
    for name, function in AGGREGATES.items():
        good = "features.x" if function.argument is Kind.NUMBER else "features.x > 1"
        program = compile_expression(f"{name}({good}{', 1h' if function.rolling else ''})", OpenNames())
        assert isinstance(program, Program), program
        assert program.kind is Kind.NUMBER
        assert next(iter(program.aggregates.values())).argument.kind is function.argument


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS.filter(lambda cell: cell is None or abs(cell) < 1e300), max_size=30), st.randoms())
def test_what_a_function_over_rows_gives_does_not_depend_on_their_order(cells: Any, luck: Any) -> None:
    mixed = luck.sample(cells, len(cells))
    for name, function in AGGREGATES.items():
        if function.argument is Kind.NUMBER:
            assert aggregate_cells(name, cells) == aggregate_cells(name, mixed)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    aggregates(),
    st.lists(ROWS, min_size=0, max_size=12),
    st.sampled_from([KnownNames(), OpenKnownNames()]),
)
def test_a_column_and_its_cells_give_the_same_over_any_rows(text: str, rows: Any, names: Any) -> None:
    program = compile_expression(text, names)
    assert isinstance(program, Program), (text, program)
    if any(ref.space == "profile" for ref in program.all_refs):
        return
    outcomes_of_all(program, rows, [column_from_cells([row[ref] for row in rows]) for ref in SLOTS])


def test_columns_of_flags_that_are_cells_count_as_their_codes_do() -> None:
    cells: list[Cell] = [True, False, None, True]
    assert aggregate("batch_share", column_from_cells(cells), 4) == 2 / 3
    assert aggregate("batch_share", column_from_cells([True, 1.0]), 2) is None
    assert aggregate("batch_share", column_from_cells([1.0]), 1) is None
    assert aggregate("batch_max", column_from_cells([1.0, "a"]), 2) is None
    assert aggregate_cells("batch_max", [1.0, LanguageError("clash")]) is None


def test_a_call_is_a_name_by_its_canonical_text_so_equal_calls_are_one() -> None:
    text = (
        'recent_share( output.label=="fraud",60m ) > 2 * recent_share(output.label == "fraud", 1h) '
        "and batch_mean(output.y)<3"
    )
    program = compile_expression(text, OpenNames())
    assert isinstance(program, Program)
    share, mean = (
        Ref("recent", 'recent_share(output.label == "fraud", 1h)'),
        Ref("batch", "batch_mean(output.y)"),
    )
    assert program.refs == (share, mean)
    assert program.all_refs == (share, mean, Ref("output", "label"), Ref("output", "y"))
    assert (program.aggregates[share].function, program.aggregates[share].window_s) == ("recent_share", 3_600)
    assert (program.aggregates[mean].function, program.aggregates[mean].window_s) == ("batch_mean", None)
    assert str(share) == share.name
    assert program.aggregates[share].argument.text == 'output.label=="fraud"'


@pytest.mark.parametrize(
    ("window", "spelled"),
    [("60s", "1m"), ("90s", "90s"), ("1_440m", "1d"), ("36h", "36h"), ("90d", "90d"), ("60_500ms", "60.5s")],
)
def test_a_window_is_spelled_in_its_largest_whole_unit(window: str, spelled: str) -> None:
    program = compile_expression(f"recent_mean(output.y, {window})", OpenNames())
    assert isinstance(program, Program), program
    assert program.refs == (Ref("recent", f"recent_mean(output.y, {spelled})"),)


def test_the_cost_of_a_call_is_its_own_and_that_of_its_argument() -> None:
    program = compile_expression("batch_mean(features.x + 1) > 2", OpenNames())
    assert isinstance(program, Program)
    assert (program.operations, program.depth) == (3, 4)


def test_a_message_may_hold_functions_over_rows_with_quotes_in_them() -> None:
    text = 'Fraud share fell to {recent_share(output.label == "fraud", 1h):.3%}, of {batch_count(output.y > 1):d}'
    template = compile_template(text, OpenNames())
    assert not isinstance(template, tuple), template
    share = Ref("recent", 'recent_share(output.label == "fraud", 1h)')
    count = Ref("batch", "batch_count(output.y > 1)")
    assert template.refs == (share, count)
    assert template.all_refs == (share, count, Ref("output", "label"), Ref("output", "y"))
    assert set(template.aggregates) == {share, count}
    assert template.render({share: 0.01234, count: 7.0}.get) == "Fraud share fell to 1.234%, of 7"
    assert template.render({}.get) == "Fraud share fell to missing, of missing"


def test_a_name_that_has_no_row_of_its_own_is_missing_until_it_is_fed() -> None:
    program = compile_expression("recent_mean(output.y, 1h) > 3", OpenNames(), want=Kind.FLAG)
    assert isinstance(program, Program)
    assert interpret(program, {}.get) is None
    assert interpret(program, {program.refs[0]: 4.0}.get) is True


def test_a_mean_of_many_rows_is_that_of_numpy() -> None:
    numbers = np.random.default_rng(7).lognormal(size=1_000)
    found = aggregate("batch_mean", column_from_cells(numbers.tolist()), 1_000)
    assert found == pytest.approx(float(numbers.mean()), rel=1e-14)


@pytest.mark.parametrize("call", [call for call in AGGREGATES if "count" not in call and "share" not in call])
def test_a_column_of_plain_numbers_is_not_walked_row_by_row(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    numbers = column_from_cells([1.0, 2.0, None])
    expected = aggregate_cells(call, [1.0, 2.0, None])
    monkeypatch.delattr("guardproxy.rules.language.aggregates.aggregate_cells")
    assert aggregate(call, numbers, 3) == expected
