"""Every cell outside what was learned is found, every clean one passes, and the reason can be said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.check import BoundCheck, compile_check
from guardproxy.profile.columns import NumberColumn
from guardproxy.profile.learn import Learner
from guardproxy.profile.limits import Position
from guardproxy.profile.model import KNOTS, FieldKind, FieldProfile, Method, Provenance, Role
from guardproxy.table import Cell, Table, table_from_columns, table_from_records

FIELDS = {
    "temp": FieldProfile(
        "temp", FieldKind.NUMBER, rows=7000, required=True, low=-10.0, high=41.3, high_method=Method.GPD
    ),
    "hum": FieldProfile("hum", FieldKind.NUMBER, rows=7000, missing_rate=0.2, low=0.0, high=1.0),
    "hour": FieldProfile("hour", FieldKind.INTEGER, rows=7000, required=True, low=0.0, high=23.0, whole=True),
    "size": FieldProfile(
        "size", FieldKind.INTEGER, rows=7000, missing_rate=0.1, low=1.0, high=9.0, whole=True,
        domain=(1.0, 5.0, 9.0), closed=True,
    ),
    "city": FieldProfile(
        "city", FieldKind.CATEGORY, rows=7000, missing_rate=0.1, domain=("Bonn", "Köln"), closed=True
    ),
    "street": FieldProfile("street", FieldKind.TEXT, rows=7000, missing_rate=0.1, max_length=12),
    "open": FieldProfile("open", FieldKind.BOOLEAN, rows=7000, required=True),
    "when": FieldProfile("when", FieldKind.TIMESTAMP, rows=7000, missing_rate=0.1),
    "unit": FieldProfile("unit", FieldKind.CONSTANT, rows=7000, domain=(3.0,)),
    "order": FieldProfile("order", FieldKind.IDENTIFIER, rows=7000),
    "shop": FieldProfile("shop", FieldKind.INTEGER, Role.KEY, rows=7000, required=True),
}  # fmt: skip
CLEAN: dict[str, Cell] = {
    "temp": 20.5, "hum": 0.4, "hour": 7, "size": 5, "city": "Köln", "street": "Ring 1", "open": True,
    "when": "2024-05-01T10:00:00Z", "unit": 3, "order": 10**9, "shop": 17,
}  # fmt: skip

CASES: list[tuple[str, Cell, Position]] = [
    ("temp", 41.3, Position.INSIDE),
    ("temp", float(np.float32(41.3)), Position.INSIDE),
    ("temp", 41.31, Position.ABOVE),
    ("temp", -10.1, Position.BELOW),
    ("temp", None, Position.MISSING),
    ("temp", "20", Position.TYPE),
    ("temp", True, Position.TYPE),
    ("temp", (1.0, 2.0), Position.TYPE),
    ("temp", float("inf"), Position.NOT_FINITE),
    ("temp", float("-inf"), Position.NOT_FINITE),
    ("temp", 2**70, Position.ABOVE),
    ("temp", -(2**70), Position.BELOW),
    ("hum", None, Position.INSIDE),
    ("hum", 1.5, Position.ABOVE),
    ("hum", "wet", Position.TYPE),
    ("hour", 23.0, Position.INSIDE),
    ("hour", 24, Position.ABOVE),
    ("hour", 7.5, Position.NOT_WHOLE),
    ("hour", None, Position.MISSING),
    ("size", 9, Position.INSIDE),
    ("size", None, Position.INSIDE),
    ("size", 2, Position.UNSEEN),
    ("size", 10, Position.ABOVE),
    ("size", 4.5, Position.NOT_WHOLE),
    ("city", None, Position.INSIDE),
    ("city", "Rom", Position.UNSEEN),
    ("city", 3, Position.TYPE),
    ("street", "x" * 12, Position.INSIDE),
    ("street", "x" * 13, Position.TOO_LONG),
    ("street", 12, Position.TYPE),
    ("open", 1, Position.INSIDE),
    ("open", 2, Position.TYPE),
    ("open", "true", Position.TYPE),
    ("open", None, Position.MISSING),
    ("when", "2024-05-01", Position.INSIDE),
    ("when", "1/5/24", Position.TYPE),
    ("when", 1714557600, Position.TYPE),
    ("unit", 4, Position.INSIDE),
    ("unit", "kg", Position.TYPE),
    ("order", 1, Position.INSIDE),
    ("order", "A1", Position.TYPE),
    ("shop", "anything", Position.INSIDE),
    ("shop", None, Position.INSIDE),
]


def _bind(table: Table) -> BoundCheck:
    return compile_check(FIELDS).bind(table.fields)


def _code(bound: BoundCheck, table: Table, field: str, row: int) -> Position:
    codes = bound.outside(table)
    if codes is None or field not in bound.fields:
        return Position.INSIDE
    return Position(int(codes[bound.fields.index(field), row]))


@pytest.mark.parametrize(("field", "value", "expected"), CASES)
@pytest.mark.parametrize("rows", [1, 5])
def test_a_cell_gets_the_position_it_has(field: str, value: Cell, expected: Position, rows: int) -> None:
    records = [dict(CLEAN) for _ in range(rows)]
    records[rows - 1][field] = value
    table = table_from_records(records)
    bound = _bind(table)
    assert _code(bound, table, field, rows - 1) is expected
    codes = bound.outside(table)
    assert (codes is None) == (expected is Position.INSIDE)
    if codes is not None:
        assert codes.shape == (len(bound.fields), rows)
        assert codes.dtype == np.uint8
        assert np.count_nonzero(codes) == 1


@pytest.mark.parametrize(
    ("field", "value", "expected"), [case for case in CASES if case[2] is not Position.INSIDE]
)
def test_every_position_outside_is_explained_with_its_bound_and_source(
    field: str, value: Cell, expected: Position
) -> None:
    explained = compile_check(FIELDS).explain(field, value, int(expected))
    assert field in explained.sentence
    assert explained.bound
    assert explained.source in explained.sentence
    assert "{" not in explained.sentence + explained.bound


def test_an_explanation_names_the_value_the_bound_and_the_method() -> None:
    explained = compile_check(FIELDS).explain("temp", 451, Position.ABOVE)
    assert explained.sentence == "temp is 451, above 41.3 (learned from 7,000 rows, GPD tail)"
    assert explained.bound == "<= 41.3"
    assert compile_check(FIELDS).explain("temp", -99, Position.BELOW).source == "set in the profile"


def test_a_field_that_was_always_there_is_absent_and_one_that_was_not_is_not() -> None:
    for gone, expected in (("temp", Position.ABSENT), ("order", Position.ABSENT), ("hum", Position.INSIDE)):
        table = table_from_records([{name: cell for name, cell in CLEAN.items() if name != gone}] * 3)
        assert _code(_bind(table), table, gone, 1) is expected


def test_unknown_fields_are_listed_apart_and_flag_nothing() -> None:
    table = table_from_records([{**CLEAN, "colour": "red"}])
    bound = _bind(table)
    assert bound.unknown == ("colour",)
    assert bound.outside(table) is None


def test_the_order_of_the_tables_fields_does_not_matter() -> None:
    table = table_from_records([dict(reversed({**CLEAN, "temp": 99.0}.items()))])
    assert _code(_bind(table), table, "temp", 0) is Position.ABOVE


def test_a_prediction_of_a_whole_numbered_target_need_not_be_whole() -> None:
    # Hires are counted in whole numbers, and a regression still forecasts 12.7 of them.
    learner = Learner("m", rng=np.random.default_rng(1), target=("hires",))
    counts = np.random.default_rng(2).poisson(4.0, size=5_000).astype(np.float64)
    learner.update({"x": NumberColumn(counts), "hires": NumberColumn(counts)})
    profile = learner.finish(Provenance())
    table = table_from_records([{"x": 3.5, "hires": 3.5}])
    as_feature = compile_check(profile.features).bind(table.fields).outside(table)
    assert as_feature is not None
    assert as_feature[0, 0] in (Position.NOT_WHOLE, Position.UNSEEN)
    assert compile_check(profile.outputs).bind(table.fields).outside(table) is None


def test_percentiles_take_the_place_of_the_learned_bounds() -> None:
    knots = tuple(float(percent) for percent in KNOTS)
    fields = {
        "x": FieldProfile(
            "x", FieldKind.NUMBER, rows=1000, required=True, low=-50.0, high=500.0, minimum=0.0, maximum=100.0,
            knots=knots,
        ),
        "city": FIELDS["city"],
    }  # fmt: skip
    check = compile_check(fields, outside=(0.1, 99.9))
    assert check.fields == ("x",)
    table = table_from_columns({"x": [0.05, 0.1, 50.0, 99.95, None]}, 5)
    codes = check.bind(table.fields).outside(table)
    assert codes is not None
    assert codes[0].tolist() == [Position.BELOW, 0, 0, Position.ABOVE, 0]
    assert check.explain("x", 99.95, Position.ABOVE).source == "learned from 1,000 rows, percentile 99.9"


def test_a_check_can_be_limited_to_some_fields() -> None:
    check = compile_check(FIELDS, names=["hum"])
    table = table_from_records([{**CLEAN, "temp": 999.0}])
    bound = check.bind(table.fields)
    assert bound.outside(table) is None
    assert bound.unknown == ()
    with pytest.raises(KeyError):
        compile_check(FIELDS, names=["nothing"])
    with pytest.raises(ValueError, match="percentiles"):
        compile_check(FIELDS, outside=(99.9, 0.1))


def test_a_table_without_rows_is_inside() -> None:
    table = table_from_columns({name: [] for name in CLEAN}, 0)
    assert _bind(table).outside(table) is None


ANY_CELL = (
    st.floats(-50, 50)
    | st.integers(-2, 30).map(float)
    | st.integers(-(2**60), 2**60)
    | st.none()
    | st.booleans()
    | st.sampled_from(["Bonn", "Rom", "2024-01-01", ""])
    | st.just(float("inf"))
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(FIELDS, ANY_CELL)), min_size=1, max_size=5))
def test_one_row_and_many_rows_and_each_field_alone_agree(records: list[dict[str, Cell]]) -> None:
    table = table_from_records(records)
    bound = _bind(table)
    codes = bound.outside(table)
    together = np.zeros((len(bound.fields), len(records)), dtype=np.uint8) if codes is None else codes
    for row, record in enumerate(records):
        single = table_from_records([record])
        alone = _bind(single).outside(single)
        expected = np.zeros(len(bound.fields), dtype=np.uint8) if alone is None else alone[:, 0]
        assert together[:, row].tolist() == expected.tolist()
    for name in bound.fields:
        part = compile_check(FIELDS, names=[name]).bind(table.fields).outside(table)
        row_codes = [0] * len(records) if part is None else part[0].tolist()
        assert together[bound.fields.index(name)].tolist() == row_codes
