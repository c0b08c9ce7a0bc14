"""The learner keeps its promise on rows it has not seen, in one pass, whatever the batches."""

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from guardproxy.profile.check import compile_check
from guardproxy.profile.columns import Batch, Column, NumberColumn, TextColumn
from guardproxy.profile.document import dump_profile, parse_profile
from guardproxy.profile.learn import MIN_ROWS, Learner
from guardproxy.profile.model import FieldKind, FieldProfile, Method, Profile, Provenance, Role, Sign
from guardproxy.table import Table, table_from_records
from tests.profile.build import text_column

Floats = NDArray[np.float64]


def learn(
    columns: Mapping[str, Column],
    *,
    target: tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
    time: str | None = None,
    alpha: float = 0.001,
    batch: int = 1_000,
) -> Profile:
    learner = Learner("m", rng=np.random.default_rng(0), target=target, keys=keys, time=time, alpha=alpha)
    for part in batches(columns, batch):
        learner.update(part)
    return learner.finish(Provenance(file="data.csv"))


def batches(columns: Mapping[str, Column], size: int) -> list[Batch]:
    rows = max(
        len(column.codes) if isinstance(column, TextColumn) else len(column.values)
        for column in columns.values()
    )
    return [
        {name: column.slice(at, at + size) for name, column in columns.items()} for at in range(0, rows, size)
    ]


def numbers(columns: Mapping[str, Floats]) -> dict[str, Column]:
    return {name: NumberColumn(np.asarray(values, dtype=np.float64)) for name, values in columns.items()}


def flagged(profile: Profile, columns: Mapping[str, Floats]) -> float:
    block = np.array(list(columns.values()))
    table = Table(tuple(columns), block.shape[1], block, {})
    codes = compile_check(profile.features).bind(table.fields).outside(table)
    return 0.0 if codes is None else float(codes.any(axis=0).mean())


def light(rows: int, rng: np.random.Generator) -> dict[str, Floats]:
    return {f"f{number}": rng.normal(size=rows) for number in range(8)}


def heavy(rows: int, rng: np.random.Generator) -> dict[str, Floats]:
    return {
        f"f{number}": rng.lognormal(size=rows) if number % 2 else rng.standard_t(3, size=rows)
        for number in range(8)
    }


def discrete(rows: int, rng: np.random.Generator) -> dict[str, Floats]:
    return {
        "poisson": rng.poisson(3.0, rows).astype(float),
        "geometric": rng.geometric(0.2, rows).astype(float),
        "inflated": np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(5.0, rows)),
        "hour": rng.integers(0, 24, rows).astype(float),
        "day": rng.integers(1, 32, rows).astype(float),
        "uniform": rng.random(rows),
    }


def sluggish(rows: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Five series, each value nine tenths of the one before."""
    steps = rng.normal(size=(rows, 5)) * np.sqrt(1.0 - 0.9**2)
    for row in range(1, rows):
        steps[row] += 0.9 * steps[row - 1]
    return {f"s{number}": steps[:, number] for number in range(5)}


@pytest.mark.parametrize("make", [light, heavy, discrete, sluggish])
@pytest.mark.parametrize("rows", [2_000, 10_000])
def test_clean_rows_are_flagged_at_most_as_often_as_asked(make, rows: int) -> None:  # type: ignore[no-untyped-def]
    rates = []
    for seed in range(4):
        columns = make(rows + 50_000, np.random.default_rng(100 + seed))
        profile = learn(numbers({name: values[:rows] for name, values in columns.items()}))
        rates.append(flagged(profile, {name: values[rows:] for name, values in columns.items()}))
    assert np.mean(rates) <= 0.001


def test_gross_errors_are_outside() -> None:
    columns = discrete(10_000, np.random.default_rng(0))
    profile = learn(numbers(columns))
    clean = {name: float(values[-1]) for name, values in columns.items()}
    for name in columns:
        for wrong in (-999.0, 1e6, float("inf"), "text"):
            table = table_from_records([{**clean, name: wrong}])
            assert compile_check(profile.features).bind(table.fields).outside(table) is not None, (
                name,
                wrong,
            )


@pytest.mark.parametrize("batch", [37, 4_096, 30_000])
def test_the_profile_does_not_depend_on_the_batches(batch: int) -> None:
    rng = np.random.default_rng(2)
    columns: dict[str, Column] = {
        **numbers(discrete(30_000, rng)),
        "colour": text_column(rng.choice(["red", "green", "blue"], 30_000).tolist()),
    }
    one, other = learn(columns, batch=batch), learn(columns, batch=1_000)
    for name, field in one.features.items():
        same = other.features[name]
        assert (field.low, field.high, field.knots) == (same.low, same.high, same.knots)
        assert (field.domain, field.closed, field.top) == (same.domain, same.closed, same.top)
        assert field.std == pytest.approx(same.std or 0.0, rel=1e-5) if field.numeric else field.std is None
    assert one.calibration == other.calibration


def test_the_held_back_rows_are_the_newest_fifth_and_were_not_fitted() -> None:
    values = np.random.default_rng(0).normal(size=4_000)
    values[3_500] = 60.0
    profile = learn(numbers({"x": values}))
    assert profile.calibration is not None
    assert profile.calibration.rows == 800
    # The fit of the first 3,200 rows did not know of it; the profile as a whole does.
    assert profile.calibration.widened
    assert (profile.features["x"].high or 0.0) >= 60.0
    assert profile.features["x"].high_method in {Method.WIDENED, Method.GPD}


def test_bounds_that_the_held_back_rows_break_are_widened_until_they_agree() -> None:
    rng = np.random.default_rng(0)
    older, newer = rng.normal(size=16_000), rng.normal(scale=2.5, size=4_000)
    profile = learn(numbers({"x": np.concatenate((older, newer))}))
    calibration = profile.calibration
    assert calibration is not None
    assert any(word.startswith("x.") for word in calibration.widened)
    assert calibration.upper <= 0.001
    assert flagged(profile, {"x": rng.normal(scale=2.5, size=50_000)}) <= 0.001


def test_what_the_held_back_rows_cannot_prove_is_said() -> None:
    few = learn(numbers({"x": np.random.default_rng(0).normal(size=2_000)})).calibration
    many = learn(numbers({"x": np.random.default_rng(0).normal(size=20_000)})).calibration
    assert few is not None
    assert few.upper > 0.001
    assert many is not None
    assert many.upper <= 0.001


def test_calendar_numbers_that_arrive_in_order_stay_open_and_leave_room() -> None:
    rows = 7_000
    month = np.repeat(np.arange(1.0, 11.0), rows // 10)
    columns = {"month": month, "hour": np.tile(np.arange(24.0), rows)[:rows]}
    profile = learn(numbers(columns))
    field = profile.features["month"]
    assert not field.closed
    assert field.high_method is Method.GROWTH
    assert field.high is not None
    assert 12 <= field.high <= 20
    assert field.low == 1.0
    assert "late" in field.note
    assert (profile.features["hour"].low, profile.features["hour"].high) == (0.0, 23.0)


def test_the_same_numbers_in_no_order_have_their_range_and_nothing_more() -> None:
    month = np.random.default_rng(0).permutation(np.repeat(np.arange(1.0, 11.0), 3_000))
    field = learn(numbers({"month": month})).features["month"]
    assert field.closed
    assert (field.low, field.high) == (1.0, 10.0)


def kind_of(column: Column) -> FieldProfile:
    return learn(
        {"x": column, "y": NumberColumn(np.random.default_rng(0).normal(size=_rows(column)))}
    ).features["x"]


def _rows(column: Column) -> int:
    return len(column.codes) if isinstance(column, TextColumn) else len(column.values)


def test_kinds_are_told_apart() -> None:
    rng = np.random.default_rng(4)
    size = 8_000
    days = [f"2024-{1 + day % 12:02d}-{1 + day % 28:02d}T00:00:00Z" for day in range(size)]
    cases: list[tuple[FieldKind, Column]] = [
        (FieldKind.NUMBER, NumberColumn(rng.normal(size=size))),
        (FieldKind.INTEGER, NumberColumn(rng.integers(0, 1_000, size).astype(float))),
        (FieldKind.IDENTIFIER, NumberColumn(np.arange(size, dtype=float) * 3 + 10**6)),
        (FieldKind.CONSTANT, NumberColumn(np.full(size, 4.0))),
        (FieldKind.CONSTANT, NumberColumn(np.full(size, np.nan))),
        (FieldKind.CONSTANT, text_column(["kg"] * size)),
        (FieldKind.BOOLEAN, text_column(["True", "False"] * (size // 2))),
        (FieldKind.CATEGORY, text_column(["yes", "no"] * (size // 2))),
        (FieldKind.TEXT, text_column([f"note {number}" for number in range(size)])),
        (FieldKind.TIMESTAMP, text_column(days)),
        (FieldKind.CATEGORY, text_column(["01", "02", "03", "04"] * (size // 4), literal=True)),
        (FieldKind.INTEGER, text_column(["1", "2", "3", "4"] * (size // 4))),
    ]
    assert [kind_of(column).kind for _, column in cases] == [kind for kind, _ in cases]


def test_a_closed_set_of_words_needs_enough_rows_and_no_late_words() -> None:
    rng = np.random.default_rng(0)
    words = rng.choice(["red", "green", "blue"], 20_000).tolist()
    assert kind_of(text_column(words)).closed
    assert not kind_of(text_column(words[:1_000])).closed
    assert not kind_of(text_column([*words, *["gold"] * 500])).closed
    rare = [*words[:-1], "gold"]
    assert not kind_of(text_column([*rare, *words[:100]])).closed


def test_stray_texts_in_a_number_column_are_missing_cells() -> None:
    cells = [str(value) for value in np.random.default_rng(0).normal(size=5_000)]
    cells[7] = cells[4_900] = "?"
    field = kind_of(text_column(cells))
    assert field.kind is FieldKind.NUMBER
    assert field.missing_rate == pytest.approx(2 / 5_000)
    assert not field.required
    assert "2 cells" in field.note


def test_a_positive_field_never_gets_a_bound_at_or_below_zero() -> None:
    rng = np.random.default_rng(0)
    fields = learn(
        numbers(
            {
                "price": rng.lognormal(sigma=2.0, size=3_000),
                "loss": -rng.lognormal(size=3_000),
                "n": 1.0 + rng.poisson(9, 3_000),
            }
        )
    ).features
    assert (fields["price"].low or 0.0) > 0.0
    assert fields["price"].sign is Sign.POSITIVE
    assert (fields["loss"].high or 0.0) < 0.0
    assert (fields["n"].low or 0.0) >= 1.0


def test_a_field_is_required_when_it_was_never_missing_in_enough_rows() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 5_000))
    values[1, ::10] = np.nan
    fields = learn(numbers({"always": values[0], "mostly": values[1]})).features
    assert fields["always"].required
    assert not fields["mostly"].required
    assert fields["mostly"].missing_rate == pytest.approx(0.1)
    assert not learn(numbers({"x": values[0][:500]})).features["x"].required


def test_targets_keys_and_time_have_their_places() -> None:
    rng = np.random.default_rng(0)
    columns = numbers({name: rng.normal(size=500) for name in ("shop", "x", "y")})
    columns["at"] = text_column([f"2024-01-{1 + row // 24:02d}T{row % 24:02d}:00:00Z" for row in range(500)])
    profile = learn(columns, target=("y",), keys=("shop",), time="at")
    assert list(profile.features) == ["shop", "x"]
    assert list(profile.outputs) == ["y"]
    assert profile.keys == ("shop",)
    assert profile.features["shop"].role is Role.KEY
    assert profile.features["shop"].high is None
    assert profile.stat("output.y", "p50") == pytest.approx(0.0, abs=0.2)
    assert profile.stat("x", "max") == profile.features["x"].maximum
    assert profile.stat("nothing", "p50") is None
    assert profile.stat("x", "p101") is None
    assert profile.stat("x", "mode") is None


def test_percentiles_are_those_of_the_data() -> None:
    values = np.random.default_rng(0).lognormal(size=40_000)
    profile = learn(numbers({"x": values}))
    for stat, percent in (("p0_1", 0.1), ("p1", 1), ("p25", 25), ("p50", 50), ("p99", 99), ("p99_9", 99.9)):
        assert profile.stat("x", stat) == pytest.approx(float(np.percentile(values, percent)), rel=2e-3)
    rising = [profile.stat("x", f"p{percent}") or 0.0 for percent in range(101)]
    assert rising == sorted(rising)
    assert profile.stat("x", "std") == pytest.approx(values.std(ddof=1), rel=1e-5)


@pytest.mark.parametrize(
    ("clock", "noted"),
    [
        (NumberColumn(np.arange(500.0)), ""),
        (NumberColumn(np.random.default_rng(0).permutation(np.arange(500.0))), "not in order"),
        (text_column([f"2024-01-{1 + row // 24:02d}" for row in range(500)]), ""),
        (text_column([f"2024-01-{1 + row * 7 % 28:02d}" for row in range(500)]), "not in order"),
        (text_column([f"{1 + row // 24}/1/24" for row in range(500)]), "not checked"),
    ],
)
def test_the_order_of_the_rows_is_checked_against_the_time_column(clock: Column, noted: str) -> None:
    learner = Learner("m", rng=np.random.default_rng(0), time="t")
    for part in batches({**numbers({"x": np.random.default_rng(0).normal(size=500)}), "t": clock}, 60):
        learner.update(part)
    learner.finish(Provenance())
    assert [noted in note for note in learner.notes] == ([True] if noted else [])


def test_too_few_rows_and_foreign_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=str(MIN_ROWS)):
        learn(numbers({"x": np.arange(50.0)}))
    with pytest.raises(ValueError, match="no column 'z'"):
        learn(numbers({"x": np.arange(500.0)}), target=("z",))
    learner = Learner("m", rng=np.random.default_rng(0))
    learner.update(numbers({"x": np.arange(5.0)}))
    with pytest.raises(ValueError, match="columns of the first"):
        learner.update(numbers({"y": np.arange(5.0)}))


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.7e308, -1.7e308] * 100),
        np.array([5e-324, 1e-300] * 100),
        np.array([np.inf, 1.0, np.nan, 2.0] * 100),
        np.array([0.0, -0.0] * 100),
        np.full(200, np.nan),
    ],
)
def test_extreme_numbers_make_a_document_that_reads_back(values: Floats) -> None:
    profile = learn(numbers({"x": values}))
    assert parse_profile(dump_profile(profile), "p.yaml") == profile


@pytest.mark.parametrize("batch", [700, 20_000])
def test_of_texts_that_are_too_many_to_count_only_sure_counts_are_told(batch: int) -> None:
    texts = ["usual" if row % 4 == 0 else f"t{row % 14_000}" for row in range(20_000)]
    note = learn({"note": text_column(texts)}, batch=batch).features["note"]
    assert note.kind is FieldKind.TEXT
    (told,) = note.top
    assert told[0] == "usual"
    assert told[1] == pytest.approx(5_000, rel=0.01)


@pytest.mark.parametrize("name", ["x" * 501, "\ud800", "\x01" * 101])
def test_a_column_whose_name_no_profile_can_hold_is_refused_with_its_place(name: str) -> None:
    learner = Learner("m", rng=np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=r"^the name of column 2 is not Unicode text of at most 500 characters"
    ):
        learner.update({"x": NumberColumn(np.ones(3)), name: NumberColumn(np.ones(3))})
