"""Real data in time order: hourly bike hires, learned on the first 7,000 hours of 2011, checked on the rest of it."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from guardproxy.profile.check import compile_check
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import Profile, Provenance
from guardproxy.stores.dataset import open_dataset
from guardproxy.table import Floats, Table
from tests.shared import shared_file

FEATURES = (
    "season", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed",
)  # fmt: skip
TARGET = "cnt"
TRAINED = 7_000


def _columns(path: Path) -> dict[str, Floats]:
    with open_dataset(path) as dataset:
        dataset.select(tuple(name for name in dataset.columns if name not in {*FEATURES, TARGET, "yr"}))
        batches = list(dataset)
    return {
        name: np.concatenate([cast("Floats", getattr(batch[name], "values")) for batch in batches])  # noqa: B009
        for name in (*FEATURES, TARGET, "yr")
    }


@pytest.fixture(scope="module")
def columns() -> dict[str, Floats]:
    return _columns(shared_file("data/bike_hour.csv"))


@pytest.fixture(scope="module")
def learned(columns: dict[str, Floats]) -> Profile:
    from guardproxy.profile.columns import NumberColumn

    learner = Learner("demand", rng=np.random.default_rng(0), target=(TARGET,))
    learner.update({name: NumberColumn(columns[name][:TRAINED]) for name in (*FEATURES, TARGET)})
    return learner.finish(Provenance(file="bike_hour.csv"))


def _rest_of_2011(columns: dict[str, Floats], names: tuple[str, ...]) -> Table:
    stop = int((columns["yr"] == 0).sum())
    block = np.array([columns[name][TRAINED:stop] for name in names])
    return Table(names, stop - TRAINED, block, {})


def test_clean_rows_of_the_same_year_are_flagged_at_most_twice_in_a_thousand(
    columns: dict[str, Floats], learned: Profile
) -> None:
    for fields, names in ((learned.features, FEATURES), (learned.outputs, (TARGET,))):
        table = _rest_of_2011(columns, names)
        assert table.rows > 1_500
        codes = compile_check(fields).bind(table.fields).outside(table)
        flagged = 0 if codes is None else int(codes.any(axis=0).sum())
        assert flagged / table.rows <= 0.002


@pytest.mark.parametrize(
    ("field", "factor", "least"),
    [("temp", 100.0, 0.99), ("hum", 100.0, 0.99), ("windspeed", -1.0, 0.8), ("hr", 2.5, 0.5)],
)
def test_unit_and_sign_errors_are_caught(
    columns: dict[str, Floats], learned: Profile, field: str, factor: float, least: float
) -> None:
    table = _rest_of_2011(columns, FEATURES)
    known = ~np.isnan(table.block[table.fields.index(field)])
    block = table.block.copy()
    block[table.fields.index(field)] *= factor
    bound = compile_check(learned.features).bind(table.fields)
    codes = bound.outside(Table(table.fields, table.rows, block, {}))
    assert codes is not None
    caught = codes[bound.fields.index(field)] > 0
    assert caught[known].mean() >= least
