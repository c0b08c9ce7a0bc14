"""What parts of the data say, merged, is what all of them say: however they are cut, in whatever part a row stands."""

import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.columns import ArrayColumn, Batch, Column, NumberColumn, TextColumn
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import FieldKind, Profile, Provenance
from guardproxy.profile.numbers import NumberSummary
from guardproxy.profile.parts import MAGIC, dump_part, load_part
from guardproxy.profile.state import HOLD_BACK, LearnerState, merge
from guardproxy.profile.summary import FieldSummary
from tests.profile.build import text_column

ROWS = 60_000


def table(rows: int = ROWS, seed: int = 0) -> dict[str, Column]:
    rng = np.random.default_rng(seed)
    sparse = np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows))
    return {
        "price": NumberColumn(rng.lognormal(size=rows)),
        "hour": NumberColumn(rng.integers(0, 24, rows).astype(float)),
        "lat": NumberColumn(sparse),
        "lon": NumberColumn(np.where(np.isnan(sparse), np.nan, rng.normal(size=rows))),
        "age": NumberColumn(np.where(rng.random(rows) < 0.02, -1.0, rng.integers(18, 90, rows))),
        "colour": text_column(rng.choice(["red", "green", "blue"], rows).tolist()),
        "code": text_column([f"AB-{number:05d}" for number in rng.integers(0, 99_999, rows)], literal=True),
        "embedding": arrays(rng.normal(size=(rows, 3))),
        "demand": NumberColumn(rng.gamma(5.0, 20.0, rows)),
    }


def arrays(block: np.ndarray) -> ArrayColumn:  # type: ignore[type-arg]
    rows, width = block.shape
    return ArrayColumn(block.ravel(), np.arange(rows + 1) * width, np.zeros(rows, dtype=bool))


def rows_of(columns: Mapping[str, Column], start: int, stop: int) -> Batch:
    return {name: column.slice(start, stop) for name, column in columns.items()}


def learned(columns: Batch, *, seed: int = 0, time: str | None = None) -> LearnerState:
    learner = Learner("m", rng=np.random.default_rng(seed), target=("demand",), time=time)
    rows = len(columns["demand"])
    for start in range(0, rows, 7_001):
        learner.update(rows_of(columns, start, min(rows, start + 7_001)))
    return learner.state()


def parts_of(
    columns: Mapping[str, Column], cuts: Sequence[int], time: str | None = None
) -> list[LearnerState]:
    rows = len(columns["demand"])
    ends = [0, *sorted(cuts), rows]
    return [
        learned(rows_of(columns, start, stop), seed=seed, time=time)
        for seed, (start, stop) in enumerate(pairwise(ends))
        if stop > start
    ]


def finish(state: LearnerState) -> Profile:
    return Learner.resume(state, rng=np.random.default_rng(0)).finish(Provenance())


def by_file(state: LearnerState) -> LearnerState:
    return load_part(dump_part(state), "x.part")


@pytest.mark.parametrize("cuts", [[25_000], [3_000, 4_000, 30_000, 59_990], [100, 200, 300]])
def test_parts_say_what_one_pass_over_all_of_them_says(cuts: list[int]) -> None:
    columns = table()
    whole = learned(columns)
    merged = merge([by_file(state) for state in parts_of(columns, cuts)])
    assert (merged.rows, merged.fitted) == (whole.rows, whole.fitted)
    assert sum(span.rows for span in merged.waiting) == HOLD_BACK
    for name, summary in whole.summaries.items():
        same_facts(merged.summaries[name], summary)


def test_the_profile_of_parts_is_that_of_one_pass_but_for_the_sample() -> None:
    columns = table(50_000)
    one = finish(learned(columns))
    two = finish(merge([by_file(state) for state in parts_of(columns, [3_000, 4_000, 49_990])]))
    assert two.together == one.together == (("lat", "lon"),)
    for name, field in one.features.items():
        other = two.features[name]
        assert (other.kind, other.closed, other.domain) == (field.kind, field.closed, field.domain)
        if field.kind is not FieldKind.TEXT:
            assert other.top == field.top
        if field.low is not None or other.low is not None:
            assert (other.low, other.high) == pytest.approx((field.low, field.high), rel=1e-6)
        assert (other.min_length, other.max_length, other.pattern) == (
            field.min_length,
            field.max_length,
            field.pattern,
        )
        assert (other.sentinels, other.missing_kinds) == (field.sentinels, field.missing_kinds)
        if field.knots:
            # Two samples; the ends come from the exact extremes.
            spread = (field.maximum or 0.0) - (field.minimum or 0.0)
            assert other.knots == pytest.approx(field.knots, abs=0.02 * spread)


def same_facts(merged: FieldSummary, whole: FieldSummary) -> None:
    assert (merged.rows, merged.missing, merged.kinds) == (whole.rows, whole.missing, whole.kinds)
    same_numbers(merged.numbers, whole.numbers)
    assert merged.apart.keys() == whole.apart.keys()
    if whole.texts.exact:
        assert merged.texts.counts == whole.texts.counts
    assert merged.texts.shape.templates == whole.texts.shape.templates
    assert merged.texts.sketch.kept.tolist() == whole.texts.sketch.kept.tolist()
    same_numbers(merged.arrays.norms, whole.arrays.norms)


def same_numbers(merged: NumberSummary, whole: NumberSummary) -> None:
    assert (merged.count, merged.whole, merged.rises, merged.falls) == (
        whole.count,
        whole.whole,
        whole.rises,
        whole.falls,
    )
    for name in ("smallest", "largest", "smallest_at", "largest_at"):
        assert getattr(merged, name).tolist() == getattr(whole, name).tolist()
    assert (merged.at_minimum, merged.at_maximum) == (whole.at_minimum, whole.at_maximum)
    assert merged.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-9)
    assert merged.squares == pytest.approx(whole.squares, rel=1e-9)
    assert merged.distinct == whole.distinct
    assert merged.sketch.kept.tolist() == whole.sketch.kept.tolist()


NUMBERS = st.floats(-1e6, 1e6) | st.integers(-5, 5).map(float)


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBERS, max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_numbers_cut_anywhere_merge_to_the_same_summary(values: list[float], cuts: list[int]) -> None:
    array = np.array(values, dtype=np.float64)
    whole, merged = NumberSummary(), NumberSummary()
    whole.update(array)
    for part in np.split(array, sorted(min(cut, len(array)) for cut in cuts)):
        behind = NumberSummary()
        behind.update(part)
        merged.absorb(behind)
    assert merged.count == whole.count
    if whole.count:
        same_numbers(merged, whole)
        half = merged.course.half()
        assert half is None or half[:2] == (array[: half[2]].min(), array[: half[2]].max())


def test_merging_leaves_the_parts_as_they_are() -> None:
    parts = parts_of(table(30_000), [14_000])
    before = [dump_part(part) for part in parts]
    first = dump_part(merge(parts))
    assert [dump_part(part) for part in parts] == before
    assert dump_part(merge(parts)) == first


def test_the_newest_rows_of_all_parts_are_held_back_when_there_is_a_time_column() -> None:
    columns = table(50_000)
    columns["at"] = NumberColumn(1.7e9 + np.arange(50_000.0))
    odd = np.flatnonzero(np.arange(50_000) % 2)
    # Two regions, each with every second row: the newest rows stand in both.
    regions = [
        {name: column.take(rows) for name, column in columns.items()}
        for rows in (np.setdiff1d(np.arange(50_000), odd), odd)
    ]
    merged = merge([by_file(learned(region, time="at")) for region in reversed(regions)])
    waiting = np.concatenate([span.at for span in merged.waiting])
    assert waiting.tolist() == (1.7e9 + np.arange(30_000.0, 50_000.0)).tolist()
    price = np.concatenate([_values(span.columns["price"]) for span in merged.waiting])
    assert price.tolist() == _values(columns["price"])[30_000:].tolist()
    assert merged.fitted == 30_000


def _values(column: Column) -> np.ndarray:  # type: ignore[type-arg]
    assert isinstance(column, NumberColumn)
    return column.values


def test_every_row_is_as_likely_to_be_in_the_sample_whatever_part_it_stands_in() -> None:
    rows = 120_000
    columns: dict[str, Column] = {"demand": NumberColumn(np.arange(float(rows)))}
    merged = merge(parts_of(columns, [5_000, 100_000]))
    merged.release(0)
    sample = merged.reservoir.rows().numbers[0]
    assert len(sample) == 50_000
    # 50,000 of 120,000: each stretch of 10,000 rows gives 4,167 with a standard deviation below 50.
    counts = np.bincount((sample // 10_000).astype(int), minlength=12)
    assert counts.tolist() == pytest.approx([50_000 / 12] * 12, abs=250)


def test_parts_of_equal_generators_do_not_share_their_draws() -> None:
    one, two = table(3_000, 1), table(3_000, 2)
    keys = [learned(columns, seed=0).waiting[0].keys for columns in (one, two)]
    assert not np.isin(keys[0], keys[1]).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alpha": 0.01}, "a.part and b.part differ in alpha: 0.001 and 0.01"),
        ({"model": "n"}, "a.part and b.part differ in model: m and n"),
        ({"target": ()}, "a.part and b.part differ in target: demand and none"),
    ],
)
def test_parts_that_do_not_belong_together_are_named(change: dict[str, object], said: str) -> None:
    options: dict[str, object] = {"model": "m", "target": ("demand",), "alpha": 0.001}
    states = []
    for name, given_options in (("a.part", options), ("b.part", options | change)):
        learner = Learner(rng=np.random.default_rng(0), **given_options)  # type: ignore[arg-type]
        learner.update(table(200))
        states.append(load_part(dump_part(learner.state()), name))
    with pytest.raises(ValueError, match="differ") as caught:
        merge(states)
    assert str(caught.value) == said


def test_a_column_that_one_part_lacks_is_named() -> None:
    columns = table(200)
    states = [learned(columns), learned({name: columns[name] for name in columns if name != "hour"})]
    named = [
        load_part(dump_part(state), name) for state, name in zip(states, ("a.part", "b.part"), strict=True)
    ]
    with pytest.raises(ValueError, match=r"b\.part has no column 'hour', which a\.part has"):
        merge(named)


def test_a_column_may_hold_numbers_in_one_part_and_texts_in_another() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for number, cells in enumerate((NumberColumn(rng.normal(size=2_000)), text_column(["7.5", "?"] * 1_000))):
        learner = Learner("m", rng=np.random.default_rng(number), time="at")
        learner.update({"x": cells, "at": NumberColumn(1.7e9 + 2.0 * np.arange(2_000) + number)})
        parts.append(by_file(learner.state()))
    merged = merge(parts)
    merged.release(0)
    assert merged.summaries["x"].numbers.count == 3_000
    assert merged.summaries["x"].texts.counts["?"][0] == 1_000


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_part_is_refused_with_a_sentence(data: st.DataObject) -> None:
    whole = _SMALL
    cut = data.draw(st.integers(0, len(whole) - 1))
    broken = bytearray(whole)
    if data.draw(st.booleans()):
        broken = broken[:cut]
    else:
        broken[cut] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"^x\.part: ") as caught:
        load_part(bytes(broken), "x.part")
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_forged_part_is_refused_or_read_but_never_breaks_the_reader(data: st.DataObject) -> None:
    plain = bytearray(zlib.decompress(_SMALL[len(MAGIC) :]))
    for _ in range(data.draw(st.integers(1, 3))):
        plain[data.draw(st.integers(0, min(len(plain), 20_000) - 1))] = data.draw(st.integers(0, 255))
    said = _read(MAGIC + zlib.compress(bytes(plain)))
    assert said is None or said.startswith("x.part: ")


def _read(part: bytes) -> str | None:
    """Read a part and use what was read; return what is said of it when it is refused."""
    try:
        state = load_part(part, "x.part")
    except ValueError as error:
        return str(error)
    merge([state, state])
    return None


def test_what_is_no_part_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="this is no part"):
        load_part(b"profile: 1\n", "p.yaml")
    with pytest.raises(ValueError, match="another format"):
        load_part(b"guardproxy part 2\n...", "p.part")


def test_a_learner_without_rows_has_no_state_and_a_finished_one_none_any_more() -> None:
    learner = Learner("m", rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="nothing to merge"):
        learner.state()
    learner.update({"x": NumberColumn(np.random.default_rng(0).normal(size=500))})
    learner.finish(Provenance())
    with pytest.raises(ValueError, match="finished"):
        learner.state()


def test_columns_of_every_type_come_back_from_a_part() -> None:
    rows = 300
    columns: dict[str, Column] = {
        "nulls": NumberColumn(np.array([1.0, np.nan, np.inf] * 100), np.array([False, True, False] * 100)),
        "texts": text_column(["a", None, "\ud800 \x00 ü"] * 100, literal=True),
        "arrays": ArrayColumn(
            np.arange(300.0), np.repeat(np.arange(0, 303, 3), 3)[: rows + 1], np.arange(rows) % 3 == 1
        ),
    }
    learner = Learner("m", rng=np.random.default_rng(0))
    learner.update(columns)
    back = by_file(learner.state()).waiting[0].columns
    nulls, texts, found = back["nulls"], back["texts"], back["arrays"]
    assert isinstance(nulls, NumberColumn)
    assert isinstance(texts, TextColumn)
    assert isinstance(found, ArrayColumn)
    assert nulls.nulls is not None
    assert nulls.nulls.tolist() == [False, True, False] * 100
    assert [texts.values[code] if code >= 0 else None for code in texts.codes[:3]] == [
        "a",
        None,
        "\ud800 \x00 ü",
    ]
    assert found.members.tolist() == np.arange(300.0).tolist()
    assert found.missing.tolist() == (np.arange(rows) % 3 == 1).tolist()


def test_rows_of_long_arrays_wait_in_smaller_numbers_so_that_memory_is_bounded() -> None:
    rows, width = 3_000, 5_000
    block = np.zeros((1_000, width))
    learner = Learner("m", rng=np.random.default_rng(0))
    for _ in range(rows // 1_000):
        learner.update({"x": arrays(block)})
    state = learner.state()
    assert state.waiting_rows == state.delay == 1_999
    back = by_file(state)
    assert (back.delay, back.fitted) == (1_999, 1_001)


_SMALL = dump_part(learned(table(60)))
