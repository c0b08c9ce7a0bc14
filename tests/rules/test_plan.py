"""Both ways of judging a table give the same verdicts, for whole rulesets and any cells."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Phase, Verdict
from guardproxy.rules import BoundRules, View
from guardproxy.rules.batches import COLUMNS_FROM
from guardproxy.table import Cell, Table, table_from_records
from tests.rules.build import FACTS, PROFILE, no_past, rules_of, view_of

EVERY_KIND = """
rules:
  - {id: in-range, range: {field: output.demand, min: 0, max: 100}}
  - {id: below, message: "{output.demand / features.last_week:.1f} times {features.store}", range: {field: output.demand, max: features.last_week}}
  - {id: change, max_change: {field: output.demand, against: previous, by: [features.store], up: 50%, down: 50%}}
  - {id: change-floor, max_change: {field: output.demand, against: features.last_week, up: 50%, floor: 10}}
  - {id: keyed-change, max_change: {field: output.demand, against: previous, up: 50%}}
  - {id: set, one_of: {field: features.store, values: [a, b]}}
  - {id: numbers-set, one_of: {field: features.temp, values: [0, 1, 9007199254740993]}}
  - {id: ordered, order: [output.p10, output.demand, output.p90]}
  - {id: chances, probabilities: {field: output.probs}}
  - {id: split-chances, probabilities: {fields: [output.p10, output.p90], tolerance: 10%}}
  - {id: asked, when: features.temp > 20, require: output.demand > 0}
  - {id: asked-flag, when: features.store, forbid: output.demand < 0}
  - {id: plain-flag, require: features.store}
  - {id: forbidden, forbid: features.store == "a" and output.demand > 10}
  - {id: late, require: request.hour < 12}
  - {id: learned, message: "{features.temp + features.last_week:.0f} degrees", profile: {fields: features.*}}
  - {id: learned-band, when: features.temp is not missing, profile: {fields: features.*, outside: p1..p99, at_least: 2}}
  - {id: learned-output, profile: {fields: output.*}}
  - {id: unseen-field, require: features.nowhere > 1}
  - {id: shadowed, mode: shadow, range: {field: output.p90, min: 1}}
"""

_NUMBERS = st.sampled_from(
    [
        None,
        0.0,
        -0.0,
        1.0,
        0.5,
        10.0,
        20.5,
        99.0,
        150.0,
        -3.0,
        float("inf"),
        float("-inf"),
        2**53 + 1,
        10**400,
    ]
)
_ODD: st.SearchStrategy[Cell] = st.one_of(
    _NUMBERS, st.sampled_from(["a", "b", "", "10", True, False, (0.5, 0.5)])
)
_PROBS = st.one_of(
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.sampled_from([(0.25, 0.75), (0.5, None), (), (2.0, -1.0), (1,), None, 1.0, "x", (float("inf"), 0.0)]),
)
_FEATURES = ("temp", "last_week", "price", "store")
_OUTPUTS = ("demand", "p10", "p90", "probs")


def _record(names: tuple[str, ...], cell: st.SearchStrategy[Cell]) -> st.SearchStrategy[dict[str, Cell]]:
    cells = st.tuples(*(_PROBS if name == "probs" else cell for name in names))
    return cells.map(lambda drawn: dict(zip(names, drawn, strict=True)))


@st.composite
def _rows(draw: st.DrawFn) -> list[tuple[dict[str, Cell], dict[str, Cell], dict[str, Cell] | None]]:
    cell = draw(st.sampled_from([_NUMBERS, _ODD]))
    past = st.one_of(st.none(), _record(("demand",), cell))
    row = st.tuples(_record(_FEATURES, cell), _record(_OUTPUTS, cell), past)
    return draw(st.lists(row, min_size=1, max_size=6))


@settings(max_examples=150, deadline=None)
@given(_rows())
def test_rows_and_columns_get_the_same_verdicts(
    rows: list[tuple[dict[str, Cell], dict[str, Cell], dict[str, Cell] | None]],
) -> None:
    def previous(by: tuple[str, ...], row: int) -> Mapping[str, Cell] | None:
        return rows[row][2] if by == ("store",) or row % 2 else None

    view = view_of([row[0] for row in rows], [row[1] for row in rows], previous)
    bound = _BOUND
    for phase in Phase:
        plan = bound.plans[phase]
        by_row, by_column = plan.by_row(view), plan.by_column(view)
        for rule, one, other in zip(bound.rules_of(phase), by_row.tolist(), by_column.tolist(), strict=True):
            assert one == other, (rule.id, one, other)
        for number, (features, output, _) in enumerate(rows):
            # A row alone takes the path without numpy; complete rows of numbers the shortest one.
            alone = view_of([features], [output], lambda by, _, number=number: previous(by, number))
            assert list(bind_like(alone).judge_one(phase, alone)) == by_row[:, number].tolist()
        # Explaining any verdict works as well, whatever the cells are.
        for index, rule in enumerate(bound.rules_of(phase)):
            for number, code in enumerate(by_row[index].tolist()):
                finding = bound.finding(rule, number, Verdict(code), view)
                assert finding.message
                assert finding.acts == bound.acts(rule, Verdict(code), view)
                assert bound.clamped(rule, number, view) is None or rule.kind in {"range", "max_change"}


_ALONE = ("temp", "last_week", "price", "demand", "p10", "p90")


@given(st.lists(st.floats(-2000, 2000), min_size=len(_ALONE), max_size=len(_ALONE)))
def test_a_complete_row_of_floats_gets_the_same_verdicts_as_its_block(numbers: list[float]) -> None:
    single = Table(_ALONE[:3], 1, None, single=numbers[:3]), Table(_ALONE[3:], 1, None, single=numbers[3:])
    block = tuple(table_from_records([table.record(0)]) for table in single)
    bound = _RULES.bind(_ALONE[:3], _ALONE[3:], PROFILE)
    for phase in Phase:
        alone = bound.judge_one(phase, View(*single, FACTS, no_past))
        assert (
            list(alone) == bound.plans[phase].by_row(View(block[0], block[1], FACTS, no_past))[:, 0].tolist()
        )


def bind_like(view: View) -> BoundRules:
    assert view.output is not None
    return _RULES.bind(view.features.fields, view.output.fields, PROFILE, key=("price",))


_RULES = rules_of(EVERY_KIND)
_BOUND = _RULES.bind(_FEATURES, _OUTPUTS, PROFILE, key=("price",))


def test_a_table_is_judged_by_column_from_some_size_on_with_the_same_answer() -> None:
    features = [{"temp": float(n), "last_week": 10.0, "price": 2.0, "store": "a"} for n in range(96)]
    output = [{"demand": float(n), "p10": 0.1, "p90": 0.9, "probs": (0.5, 0.5)} for n in range(96)]
    whole = _BOUND.judge(Phase.RESPONSE, view_of(features, output))
    for start in range(0, 96, 16):
        part = view_of(features[start : start + 16], output[start : start + 16])
        assert (_BOUND.judge(Phase.RESPONSE, part) == whole[:, start : start + 16]).all()


def test_no_rules_of_a_phase_give_no_verdicts() -> None:
    bound = rules_of("rules: []\n").bind(("temp",), (), None)
    assert bound.judge(Phase.REQUEST, view_of([{"temp": 1.0}] * 3)).shape == (0, 3)


def test_a_table_with_other_fields_than_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="other features"):
        _BOUND.judge(Phase.REQUEST, view_of([{"temp": 1.0}]))
    with pytest.raises(ValueError, match="other outputs"):
        _BOUND.judge(Phase.RESPONSE, view_of([dict.fromkeys(_FEATURES, 1.0)], [{"demand": 1.0}], no_past))


def test_verdict_codes_are_bytes_by_rule_and_row() -> None:
    codes = _BOUND.judge(
        Phase.RESPONSE, view_of([dict.fromkeys(_FEATURES, 1.0)] * 2, [dict.fromkeys(_OUTPUTS, 1.0)] * 2)
    )
    assert codes.dtype == np.uint8
    assert codes.shape == (len(_BOUND.rules_of(Phase.RESPONSE)), 2)


def test_a_few_rules_on_a_wide_table_read_the_right_columns() -> None:
    ruleset = rules_of(
        "rules:\n"
        "  - {id: a, range: {field: features.x70, min: 70, max: 70}}\n"
        "  - {id: b, require: features.x3 + features.nowhere > 1}\n"
        "  - {id: c, one_of: {field: features.word, values: [yes-please]}}\n"
        "  - {id: d, require: output.demand == features.x99 and output.note == 'fine'}\n".replace("'", '"')
    )
    row: dict[str, Cell] = {f"x{n}": float(n) for n in range(100)} | {"word": "yes-please"}
    for rows in (1, COLUMNS_FROM):
        view = view_of([row] * rows, [{"note": "fine", "demand": 99.0}] * rows)
        bound = ruleset.bind(tuple(row), ("note", "demand"), None)
        assert set(map(tuple, bound.judge(Phase.REQUEST, view).T.tolist())) == {(0, 2, 0)}
        assert set(map(tuple, bound.judge(Phase.RESPONSE, view).T.tolist())) == {(0, 0)}
