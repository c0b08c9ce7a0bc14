"""A row whose numbers are each fine and do not fit together is found, named and explained; clean rows are left alone."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.joint import MAX_JOINT_FIELDS, MAX_MISSING, QUICK_CENTRES, Joint
from guardproxy.profile.joint_bound import BoundJoint, bind_joint
from guardproxy.profile.joint_centres import ROWS_A_CENTRE, k_means, squared_distances
from guardproxy.profile.joint_fit import fit_joint, shrunk_covariance
from guardproxy.profile.joint_words import describe, explain_joint
from guardproxy.table import Cell, Floats, Table, table_from_records

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("distance", "air_time", "wind", "stops", "extra")
ALPHA = 0.005


def flights(rows: int, seed: int) -> Floats:
    """Flights: the time follows the distance, the wind nothing, stops are few whole numbers, extra is mostly zero."""
    rng = np.random.default_rng(seed)
    distance = rng.lognormal(6.6, 0.7, rows)
    air_time = distance / 8.0 + 20.0 + rng.normal(0.0, 4.0, rows)
    extra = np.where(rng.random(rows) < 0.8, 0.0, rng.exponential(30.0, rows))
    return np.array([distance, air_time, rng.normal(10.0, 3.0, rows), rng.integers(0, 3, rows), extra]).T


def learned(rows: Floats | None = None, held: Floats | None = None, alpha: float = ALPHA) -> Joint:
    rows = flights(4_000, 1) if rows is None else rows
    held = flights(1_000, 2) if held is None else held
    joint, note = fit_joint(NAMES, rows, held, alpha, np.random.default_rng(3))
    assert joint is not None, note
    return joint


JOINT = learned()


def bound(joint: Joint = JOINT, fields: tuple[str, ...] = NAMES, **stand_ins: frozenset[float]) -> BoundJoint:
    found = bind_joint(joint, fields, stand_ins)
    assert found is not None
    return found


def table(rows: Floats) -> Table:
    return Table(NAMES, len(rows), np.ascontiguousarray(rows.T))


def odd(rows: Floats, check: BoundJoint | None = None) -> list[bool]:
    found = (check or bound()).odd(table(rows))
    return [False] * len(rows) if found is None else found.tolist()


def one(**cells: Cell) -> Table:
    known: Mapping[str, Cell] = {
        "distance": 900.0,
        "air_time": 132.0,
        "wind": 10.0,
        "stops": 1.0,
        "extra": 0.0,
    }
    return table_from_records([{**known, **cells}])


def test_clean_rows_are_flagged_no_more_often_than_was_asked_for() -> None:
    assert JOINT.proved
    assert 0.0 < np.mean(odd(flights(40_000, 4))) <= ALPHA


def test_a_row_whose_numbers_are_each_common_and_do_not_fit_together_is_found() -> None:
    rows = flights(1_000, 5)
    rows[:, 1] = rows[::-1, 1]
    far = np.abs(rows[:, 1] - (rows[:, 0] / 8.0 + 20.0)) > 60.0
    assert far.sum() > 300
    assert np.mean(odd(rows[far])) > 0.99


def test_it_is_said_which_feature_fits_least_and_what_the_others_let_expect() -> None:
    found = explain_joint(bound(), one(air_time=321.0))
    assert found is not None
    assert found.field in {"distance", "air_time"}
    assert "does not fit the row's other features" in found.said.sentence
    assert "4,000 rows, at most 0.5 % of clean rows" in found.said.source
    assert explain_joint(bound(), one()) is None


def test_a_row_between_the_groups_that_were_learned_is_named_by_what_is_furthest() -> None:
    rows = np.repeat(np.random.default_rng(6).choice([-5.0, 5.0], (1_500, 1)), 2, axis=1)
    rows += np.random.default_rng(7).normal(0.0, 0.1, rows.shape)
    joint, _ = fit_joint(("a", "b"), rows[:1_000], rows[1_000:], ALPHA, np.random.default_rng(8))
    assert joint is not None
    check = bind_joint(joint, ("a", "b"))
    assert check is not None
    found = explain_joint(check, table_from_records([{"a": 5.0, "b": -5.0}]))
    assert found is not None
    assert found.field in {"a", "b"}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_row_is_judged_alone_as_among_many(data: st.DataObject) -> None:
    odd_numbers = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1e300, 1e300, 1e6, -999.0])
    rows = flights(6, data.draw(st.integers(0, 1_000)))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 4))
        rows[at] = data.draw(odd_numbers | st.floats(-3_000, 3_000))
    fields = data.draw(st.permutations([*NAMES, "new"]))[: data.draw(st.integers(4, 6))]
    stand_ins = {"wind": frozenset({-999.0})}
    check = bind_joint(JOINT, tuple(fields), stand_ins)
    if check is None:
        assert len(set(fields) & set(NAMES)) < len(NAMES) * (1.0 - MAX_MISSING)
        return
    records = [dict(zip(NAMES, row.tolist(), strict=True)) for row in rows]
    tables = [table_from_records([{name: record.get(name, 7.0) for name in fields}]) for record in records]
    many = table_from_records([{name: record.get(name, 7.0) for name in fields} for record in records])
    together = check.odd(many)
    alone = [check.odd(each) is not None for each in tables]
    assert alone == ([False] * 6 if together is None else together.tolist())


def test_a_missing_number_is_not_judged_and_too_many_leave_the_row_unjudged() -> None:
    rows = np.array([[900.0, 132.0, np.nan, 1.0, 0.0], [900.0, 400.0, np.nan, 1.0, 0.0]])
    assert odd(rows) == [False, True]
    rows[1, 3] = np.nan
    assert odd(rows) == [False, False]
    assert bind_joint(JOINT, ("distance", "air_time", "wind")) is None


def test_a_number_that_stands_for_a_missing_one_is_read_as_missing() -> None:
    rows = np.array([[900.0, 132.0, -999.0, 1.0, 0.0]] * 2)
    assert odd(rows) == [True, True]
    check = bound(wind=frozenset({-999.0}))
    assert odd(rows, check) == [False, False]
    assert check.odd(table(rows[:1])) is None


@pytest.mark.parametrize(
    ("rows", "held", "said"),
    [
        (4_000, 100, "199 are needed, so about 995 rows in all"),
        (10, 1_000, "10 rows are too few; 64 are needed"),
    ],
)
def test_too_few_rows_give_no_check_and_say_how_many_are_needed(rows: int, held: int, said: str) -> None:
    found = fit_joint(NAMES, flights(rows, 1), flights(held, 2), ALPHA, np.random.default_rng(0))
    assert found.joint is None
    assert said in found.note


def test_a_model_with_too_many_or_too_few_numbers_that_vary_has_no_check() -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(300, MAX_JOINT_FIELDS + 1))
    names = [f"x{at}" for at in range(MAX_JOINT_FIELDS + 1)]
    assert "more than 256" in fit_joint(names, wide, wide, ALPHA, rng).note
    flat = np.array([np.zeros(300), np.full(300, np.nan), np.arange(300.0), np.full(300, 1e200)]).T
    assert "two number features that vary" in fit_joint(names[:4], flat, flat, ALPHA, rng).note


def test_a_field_that_says_nothing_is_left_out_and_named() -> None:
    rows, held = flights(500, 1), flights(300, 2)
    rows[:, 3] = held[:, 3] = 1.0
    joint, note = fit_joint(NAMES, rows, held, ALPHA, np.random.default_rng(0))
    assert joint is not None
    assert joint.fields == ("distance", "air_time", "wind", "extra")
    assert note == "not in the joint check: stops"


def test_no_row_of_the_data_is_kept() -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate((rng.normal(size=(2_000, 3)), rng.normal(size=(5, 3)) * 100.0))
    centres = k_means(rows, 100, rng)
    assert 10 < len(centres) <= 100
    assert squared_distances(rows, centres).min() > 0.0
    nearest = squared_distances(rows, centres).argmin(axis=1)
    assert np.bincount(nearest).sum() / len(centres) >= ROWS_A_CENTRE


def test_the_covariance_of_few_rows_is_drawn_towards_independence_and_has_an_inverse() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 40))
    drawn = shrunk_covariance(rows)
    assert np.linalg.eigvalsh(drawn).min() > 0.1
    many = np.random.default_rng(0).normal(size=(20_000, 3)) * (1.0, 2.0, 3.0)
    assert np.allclose(shrunk_covariance(many), np.diag((1.0, 4.0, 9.0)), atol=0.25)
    twice = np.repeat(many[:, :1], 2, axis=1)
    assert np.linalg.cond(shrunk_covariance(twice)) < 1e5


def test_what_it_was_learned_from_is_described() -> None:
    said = (
        "5 numbers of 4,000 rows; at most 0.5 % of clean rows flagged by it or the ranges with 95 % confidence "
        "(1,000 held back)"
    )
    assert describe(JOINT) == said
    assert "on average" in describe(replace(JOINT, proved=False))


def test_most_clean_rows_are_settled_by_the_first_centres() -> None:
    assert len(JOINT.centres) > 4 * QUICK_CENTRES
    block = np.ascontiguousarray(flights(2_000, 9).T)
    assert len(bound().scorer.suspects(block, JOINT.threshold)) < 0.1 * 2_000
