"""Every type of field has the facts that it needs, and a cell that breaks one is told why."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.check import Check, compile_check
from guardproxy.profile.columns import ArrayColumn, Column, NumberColumn, cells_of
from guardproxy.profile.document import dump_profile, parse_profile
from guardproxy.profile.learn import Learner
from guardproxy.profile.limits import Position
from guardproxy.profile.model import (
    Chars,
    FieldKind,
    FieldProfile,
    MissingKind,
    Profile,
    Provenance,
    TimeForm,
)
from guardproxy.profile.shapes import TextShape, char_matcher, matcher
from guardproxy.table import Cell, table_from_columns
from tests.profile.build import text_column

ROWS = 20_000
START = datetime(2025, 1, 1, tzinfo=UTC)


def learn(columns: Mapping[str, Column], *, time: str | None = None, alpha: float = 0.001) -> Profile:
    learner = Learner("m", rng=np.random.default_rng(0), time=time, alpha=alpha)
    rows = len(next(iter(columns.values())))
    for start in range(0, rows, 3_000):
        learner.update(
            {name: column.slice(start, min(rows, start + 3_000)) for name, column in columns.items()}
        )
    profile = learner.finish(Provenance())
    assert parse_profile(dump_profile(profile), "p.yaml") == profile
    return profile


def field(column: Column) -> FieldProfile:
    return learn({"x": column}).features["x"]


def place(profile: FieldProfile, cell: Cell, at: float | None = None) -> Position:
    codes = _check(profile).bind(("x",)).outside(table_from_columns({"x": [cell]}, 1), at)
    return Position.INSIDE if codes is None else Position(int(codes[0, 0]))


def said(profile: FieldProfile, cell: Cell, at: float = float("nan")) -> str:
    check = _check(profile)
    codes = check.bind(("x",)).outside(table_from_columns({"x": [cell]}, 1), at)
    assert codes is not None
    return check.explain("x", cell, int(codes[0, 0]), at).sentence


def _check(profile: FieldProfile) -> Check:
    return compile_check({"x": profile})


def codes_column(rows: int = ROWS) -> Column:
    rng = np.random.default_rng(0)
    return text_column([f"AB-{number:04d}" for number in rng.integers(0, 10_000, rows)], literal=True)


def test_a_text_with_one_form_is_held_to_its_form_its_characters_and_its_length() -> None:
    profile = field(codes_column())
    assert profile.kind is FieldKind.TEXT
    assert (profile.min_length, profile.max_length) == (7, 7)
    assert profile.charset == (Chars.UPPER, Chars.DIGIT, Chars.MARK)
    assert profile.pattern == "AA-9999"
    assert profile.pattern_coverage == 1.0
    assert place(profile, "XY-0001") is Position.INSIDE
    assert place(profile, "XY-00011") is Position.TOO_LONG
    assert place(profile, "XY-001") is Position.TOO_SHORT
    assert place(profile, "ab-0001") is Position.CHARACTERS
    assert place(profile, "X-00011") is Position.PATTERN
    assert "not of the form AA-9999 (learned from 20,000 rows)" in said(profile, "X-00011")
    assert "characters of a class never seen (lower)" in said(profile, "ab-0001")


def test_a_form_of_varying_length_has_runs() -> None:
    numbers = np.random.default_rng(0).integers(1, 10**9, ROWS)
    profile = field(text_column([f"order {number}" for number in numbers], literal=True))
    assert profile.pattern == "A+ 9+"
    assert place(profile, "order 7") in {Position.INSIDE, Position.TOO_SHORT}
    assert place(profile, "order 77;drop") is Position.CHARACTERS


def test_a_form_that_some_texts_lack_is_not_enforced() -> None:
    cells = [f"AB-{number:05d}" for number in range(ROWS)]
    cells[::50] = [f"note no. {number}" for number in range(len(cells[::50]))]
    profile = field(text_column(np.random.default_rng(0).permutation(cells).tolist(), literal=True))
    assert profile.pattern is None
    assert place(profile, "free text") is Position.INSIDE


def test_few_texts_prove_no_form() -> None:
    profile = field(codes_column(1_000))
    assert profile.pattern is None
    assert profile.charset == ()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=70))
def test_a_text_has_its_own_pattern_and_its_own_characters(text: str) -> None:
    shape = TextShape()
    shape.add(text, 1)
    assert char_matcher(shape.charset()[0]).fullmatch(text) if text else not shape.charset()[0]
    found = shape.pattern()
    if found is not None:
        compiled = matcher(found[0])
        assert compiled is not None
        assert compiled.fullmatch(text)


def test_a_text_that_is_no_pattern_has_no_matcher() -> None:
    assert matcher("+9") is None
    assert matcher("A\\") is None
    plus = matcher("9+\\+A")
    assert plus is not None
    assert plus.fullmatch("123+x")


def test_the_letters_of_a_pattern_are_those_of_the_characters_that_may_occur() -> None:
    upper = matcher("AA-9", (Chars.UPPER, Chars.DIGIT, Chars.MARK))
    none = matcher("A+9", (Chars.DIGIT,))
    assert upper is not None
    assert none is not None
    assert upper.fullmatch("XY-1")
    assert not upper.fullmatch("Xy-1")
    assert not none.fullmatch("X1")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pattern: AA-9999", 'pattern: "+AA"', "x.pattern is no pattern: +AA"),
        ("min_length: 7", "min_length: 9", "x.min_length is 9, above max_length, which is 7"),
    ],
)
def test_facts_of_a_text_edited_into_nonsense_are_refused_with_their_place(
    old: str, new: str, said: str
) -> None:
    text = dump_profile(learn({"x": codes_column()}))
    assert old in text
    problems = parse_profile(text.replace(old, new), "p.yaml")
    assert isinstance(problems, list)
    assert problems[0].message == said
    assert problems[0].line == 1 + text[: text.index(old)].count("\n")


def moments(lags: np.ndarray, form: str) -> Column:  # type: ignore[type-arg]
    times = [START + timedelta(minutes=row) - timedelta(seconds=float(lag)) for row, lag in enumerate(lags)]
    return text_column([time.strftime(form) for time in times])


def clock(rows: int = ROWS) -> Column:
    return text_column(
        [(START + timedelta(minutes=row)).strftime("%Y-%m-%dT%H:%M:%SZ") for row in range(rows)]
    )


def test_a_moment_is_judged_by_its_age_when_there_is_a_time_column() -> None:
    lags = np.random.default_rng(0).exponential(3_600.0, ROWS) + 10.0
    columns = {"x": moments(lags, "%Y-%m-%dT%H:%M:%SZ"), "at": clock()}
    profile = learn(columns, time="at").features["x"]
    assert profile.kind is FieldKind.TIMESTAMP
    assert profile.formats == (TimeForm.ISO,)
    assert profile.low is not None
    assert profile.high is not None
    assert -10.0 < profile.low <= 10.0
    assert 30_000 < profile.high < 200_000
    # Years later a moment of an hour ago is as good as it was.
    now = datetime(2031, 7, 1, 12, tzinfo=UTC).timestamp()
    assert place(profile, "2031-07-01T11:00:00Z", now) is Position.INSIDE
    assert place(profile, "2031-07-01T13:00:00+01:00", now) is Position.INSIDE
    assert place(profile, "2025-07-01T11:00:00Z", now) is Position.TOO_OLD
    assert place(profile, "2031-07-01T14:00:00Z", now) is Position.TOO_RECENT
    assert "2 h after the request, later than" in said(profile, "2031-07-01T14:00:00Z", now)
    # Without a time of the request only the form is known.
    assert place(profile, "2025-07-01T11:00:00Z") is Position.INSIDE
    assert place(profile, "yesterday", now) is Position.TYPE
    assert place(profile, "2031-02-30", now) is Position.TYPE
    assert "not a date or time in iso 8601" in said(profile, "2031-02-30", now)


def test_ages_are_judged_row_by_row() -> None:
    lags = np.random.default_rng(0).exponential(3_600.0, ROWS)
    profile = learn({"x": moments(lags, "%Y-%m-%dT%H:%M:%SZ"), "at": clock()}, time="at").features["x"]
    cells = ["2031-07-01T11:00:00Z"] * 3
    now = datetime(2031, 7, 1, 12, tzinfo=UTC).timestamp()
    codes = (
        _check(profile)
        .bind(("x",))
        .outside(table_from_columns({"x": cells}, 3), np.array([now, now + 1e7, np.nan]))
    )
    assert codes is not None
    assert codes[0].tolist() == [Position.INSIDE, Position.TOO_OLD, Position.INSIDE]


def test_days_leave_room_for_the_hour_at_which_a_request_comes() -> None:
    rng = np.random.default_rng(0)
    days = [START + timedelta(days=row // 40) for row in range(ROWS)]
    ordered = [
        day - timedelta(days=int(back)) for day, back in zip(days, rng.integers(0, 5, ROWS), strict=True)
    ]
    columns = {
        "x": text_column([day.strftime("%Y-%m-%d") for day in ordered]),
        "at": text_column([day.strftime("%Y-%m-%d") for day in days]),
    }
    profile = learn(columns, time="at").features["x"]
    late = datetime(2031, 7, 5, 23, tzinfo=UTC).timestamp()
    assert place(profile, "2031-07-01", late) is Position.INSIDE
    assert place(profile, "2031-06-01", late) is Position.TOO_OLD


def test_without_a_time_column_a_moment_has_a_form_and_no_bounds() -> None:
    profile = field(moments(np.zeros(ROWS), "%Y-%m-%d %H:%M"))
    assert profile.kind is FieldKind.TIMESTAMP
    assert (profile.low, profile.high) == (None, None)
    assert "only its form" in profile.note


def test_dates_in_three_forms_are_counted_and_all_accepted() -> None:
    days = [START + timedelta(days=int(day)) for day in np.random.default_rng(0).integers(0, 900, ROWS)]
    forms = ["%Y-%m-%d", "%Y-%m-%d", "%m/%d/%Y", "%d.%m.%Y"]
    profile = field(text_column([day.strftime(forms[row % 4]) for row, day in enumerate(days)]))
    assert profile.kind is FieldKind.TIMESTAMP
    assert set(profile.formats) == {TimeForm.ISO, TimeForm.SLASHED, TimeForm.DOTTED}
    assert profile.formats[0] is TimeForm.ISO
    assert "in 3 forms, iso 8601 (10,000)" in profile.note
    assert place(profile, "12/31/2026") is Position.INSIDE
    assert place(profile, "2026/12/31") is Position.TYPE


@pytest.mark.parametrize(
    ("unit", "form"), [(1.0, TimeForm.EPOCH_SECONDS), (1e3, TimeForm.EPOCH_MILLISECONDS)]
)
def test_numbers_that_move_with_the_time_column_are_moments(unit: float, form: TimeForm) -> None:
    rng = np.random.default_rng(0)
    at = 1.7e9 + 60.0 * np.arange(ROWS)
    columns = {"x": NumberColumn((at - rng.exponential(600.0, ROWS)) * unit), "at": NumberColumn(at)}
    profile = learn(columns, time="at").features["x"]
    assert (profile.kind, profile.formats) == (FieldKind.TIMESTAMP, (form,))
    assert place(profile, 1.9e9 * unit, 1.9e9 + 60.0) is Position.INSIDE
    assert place(profile, 1.8e9 * unit, 1.9e9 + 60.0) is Position.TOO_OLD
    assert place(profile, 5.0) is Position.TYPE
    amounts = {"x": NumberColumn(rng.uniform(1e9, 2e9, ROWS)), "at": NumberColumn(at)}
    assert learn(amounts, time="at").features["x"].kind is FieldKind.NUMBER


def embeddings(block: np.ndarray, missing: np.ndarray | None = None) -> ArrayColumn:  # type: ignore[type-arg]
    rows, width = block.shape
    ends = np.arange(rows + 1) * width
    return ArrayColumn(block.ravel(), ends, np.zeros(rows, dtype=bool) if missing is None else missing)


def test_an_array_has_a_length_members_and_a_norm() -> None:
    block = np.random.default_rng(0).normal(size=(ROWS, 8))
    block /= np.linalg.norm(block, axis=1, keepdims=True)
    profile = field(embeddings(block))
    assert profile.kind is FieldKind.ARRAY
    assert (profile.min_length, profile.max_length) == (8, 8)
    assert profile.norm_low == pytest.approx(1.0, abs=1e-4)
    assert profile.norm_high == pytest.approx(1.0, abs=1e-4)
    assert profile.required
    clean = tuple(np.float32(block[5]).tolist())
    assert place(profile, clean) is Position.INSIDE
    assert place(profile, clean[:7]) is Position.TOO_SHORT
    assert place(profile, (*clean, 0.0)) is Position.TOO_LONG
    assert place(profile, (*clean[:7], None)) is Position.NOT_FINITE
    assert place(profile, (*clean[:7], float("inf"))) is Position.NOT_FINITE
    assert place(profile, (*clean[:7], 9.0)) is Position.ABOVE
    assert place(profile, (*clean[:7], -9.0)) is Position.BELOW
    assert place(profile, tuple(0.5 * member for member in clean)) is Position.NORM_BELOW
    assert place(profile, 3.0) is Position.TYPE
    assert place(profile, None) is Position.MISSING
    assert "x has 7 members, fewer than 8" in said(profile, clean[:7])
    assert "x has the norm 0.5, below 0.9999" in said(profile, tuple(0.5 * member for member in clean))
    assert "x has the member 9, above" in said(profile, (*clean[:7], 9.0))
    assert "x is a vector" not in said(profile, (*clean[:7], None))


def test_arrays_of_many_lengths_that_lack_members_or_are_missing_are_known_as_such() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, ROWS)
    members = rng.normal(size=int(lengths.sum()))
    members[:50] = np.nan
    missing = np.arange(ROWS) % 10 == 1
    ends = np.concatenate(([0], np.cumsum(lengths)))
    profile = field(ArrayColumn(members, ends, missing))
    assert (profile.min_length, profile.max_length) == (3, 8)
    assert not profile.required
    assert dict(profile.missing_kinds)[MissingKind.NULL] == int(missing.sum())
    assert MissingKind.NAN in dict(profile.missing_kinds)
    assert place(profile, (0.1, None, 0.3)) is Position.INSIDE


def test_a_recurring_number_apart_from_all_others_stands_for_a_missing_value() -> None:
    rng = np.random.default_rng(0)
    ages = rng.integers(18, 90, ROWS).astype(float)
    ages[::40], ages[7::100] = -1.0, -999.0
    profile = field(NumberColumn(rng.permutation(ages)))
    assert dict(profile.sentinels) == {-1.0: int((ages == -1).sum()), -999.0: int((ages == -999).sum())}
    assert (profile.minimum, profile.maximum) == (18.0, 89.0)
    assert (profile.low or 0.0) > 0.0
    assert "-999, -1 stands for a missing value" in profile.note
    assert [place(profile, cell) for cell in (-1, -999, 40)] == [Position.INSIDE] * 3
    assert place(profile, -2) is Position.BELOW
    assert place(profile, 999) is Position.ABOVE
    assert place(profile, -998.0) is Position.BELOW
    assert profile.knots[0] >= 18.0


def test_signs_for_missing_values_are_inside_one_by_one_and_in_batches() -> None:
    rng = np.random.default_rng(0)
    size = np.where(rng.random(ROWS) < 0.03, 9999.0, rng.gamma(2.0, 3.0, ROWS))
    profile = learn({"size": NumberColumn(size), "other": NumberColumn(rng.normal(size=ROWS))})
    check = compile_check(profile.features).bind(("size", "other"))
    assert profile.features["size"].high is not None
    assert profile.features["size"].high < 500.0
    for cells in ([9999.0], [1.0, 9999.0, 2.0]):
        assert (
            check.outside(table_from_columns({"size": cells, "other": [0.0] * len(cells)}, len(cells)))
            is None
        )
    codes = check.outside(table_from_columns({"size": [9999.0, 9998.0], "other": [0.0, 0.0]}, 2))
    assert codes is not None
    assert codes[0].tolist() == [Position.INSIDE, Position.ABOVE]


@pytest.mark.parametrize(
    "values",
    [
        np.array([-1.0, 0.0, 1.0] * 2_000),
        np.arange(-50.0, 50.0).repeat(60),
        np.arange(0.0, 100.0).repeat(60),
        np.concatenate((np.random.default_rng(0).normal(size=6_000), [999.0] * 3)),
    ],
    ids=["signs", "down to -50", "up to 99", "too rare"],
)
def test_a_number_that_belongs_to_the_others_is_no_sign(values: np.ndarray) -> None:  # type: ignore[type-arg]
    profile = field(NumberColumn(np.random.default_rng(1).permutation(values)))
    assert profile.sentinels == ()
    assert (profile.minimum, profile.maximum) == (values.min(), values.max())


def test_the_guises_of_missing_values_are_counted() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=ROWS)
    values[:30], values[30:35] = np.nan, np.inf
    nulls = np.zeros(ROWS, dtype=bool)
    nulls[:20] = True
    known = field(NumberColumn(values, nulls))
    assert known.missing_kinds == ((MissingKind.NULL, 20), (MissingKind.NAN, 10), (MissingKind.INFINITE, 5))
    texts = field(text_column(["", "a", None, "b"] * 2_000, literal=True))
    assert texts.missing_kinds == ((MissingKind.NULL, 2_000), (MissingKind.EMPTY, 2_000))
    stray = field(text_column(["?", *(f"{value:.3f}" for value in values[40:])]))
    assert stray.missing_kinds == ((MissingKind.TEXT, 1),)
    assert "1 cells hold text (such as '?')" in stray.note


def test_numbers_among_texts_are_told_with_their_share_and_examples() -> None:
    profile = field(text_column((["small", "large"] * 45 + ["7", "8", "9"] * 4) * 50))
    assert profile.kind is FieldKind.CATEGORY
    assert "12 % of the cells are numbers, the others texts (such as 'small', 'large')" in profile.note


def test_fields_that_are_missing_in_the_same_rows_belong_together() -> None:
    rng = np.random.default_rng(0)
    gone = rng.random(4_000) < 0.2
    other = rng.permutation(gone)
    profile = learn(
        {
            "lat": NumberColumn(np.where(gone, np.nan, rng.normal(size=4_000))),
            "place": text_column([None if missing else "a" for missing in gone]),
            "lon": NumberColumn(np.where(gone, np.nan, rng.normal(size=4_000))),
            "height": NumberColumn(np.where(other, np.nan, rng.normal(size=4_000))),
            "depth": NumberColumn(rng.normal(size=4_000)),
        }
    )
    assert profile.together == (("lat", "place", "lon"),)
    check = compile_check(profile.features, together=profile.together)
    whole = ("lat", "place", "lon", "height", "depth")
    rows: dict[str, list[Cell]] = {
        "lat": [0.1, 0.1, None, 0.1],
        "place": ["a", "a", None, None],
        "lon": [0.2, None, None, None],
        "height": [0.0, 0.0, 0.0, None],
        "depth": [0.0] * 4,
    }
    codes = check.bind(whole).outside(table_from_columns(rows, 4))
    assert codes is not None
    apart = [[int(code == Position.APART) for code in line] for line in codes.tolist()]
    assert apart == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert "lon is missing, though fields that always come and go with it are there" in (
        check.explain("lon", None, Position.APART).sentence
    )
    # A message without the column lacks it in every row.
    alone = {name: cells[:1] for name, cells in rows.items() if name != "lon"}
    codes = check.bind(tuple(alone)).outside(table_from_columns(alone, 1))
    assert codes is not None
    assert codes[2].tolist() == [Position.APART]
    assert (
        check.bind(whole).outside(table_from_columns({name: cells[:1] for name, cells in rows.items()}, 1))
        is None
    )


def test_a_column_of_nothing_but_missing_cells_is_a_constant_that_is_never_wrong() -> None:
    profile = field(NumberColumn(np.full(500, np.nan)))
    assert profile.kind is FieldKind.CONSTANT
    assert profile.note == "nothing but missing cells"
    assert place(profile, 7.0) is Position.INSIDE


def test_one_row_is_refused_with_a_sentence() -> None:
    learner = Learner("m", rng=np.random.default_rng(0))
    learner.update({"x": NumberColumn(np.array([1.0]))})
    with pytest.raises(ValueError, match="1 row is too few to learn from; 100 are needed"):
        learner.finish(Provenance())


def test_a_hundred_thousand_columns_are_refused_with_the_limit() -> None:
    column = NumberColumn(np.zeros(1))
    learner = Learner("m", rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="100,000 columns, expected 1 to 4,000; leave out"):
        learner.update({f"c{number}": column for number in range(100_000)})


def test_clean_rows_of_every_type_are_flagged_at_most_as_often_as_asked() -> None:
    rng = np.random.default_rng(3)
    rows, held = 20_000, 20_000
    total = rows + held
    at = 1.7e9 + 60.0 * np.arange(total)
    columns: dict[str, Column] = {
        "code": text_column([f"AB-{number:04d}" for number in rng.integers(0, 10_000, total)], literal=True),
        "words": text_column(["x" * int(size) for size in rng.geometric(0.05, total)], literal=True),
        "seen": NumberColumn(at - rng.exponential(600.0, total)),
        "vector": embeddings(rng.normal(size=(total, 4))),
        "age": NumberColumn(np.where(rng.random(total) < 0.01, -1.0, rng.integers(18, 90, total))),
        "at": NumberColumn(at),
    }
    profile = learn({name: column.slice(0, rows) for name, column in columns.items()}, time="at")
    cells = {
        "code": _cells(columns["code"], rows),
        "words": _cells(columns["words"], rows),
        "seen": _cells(columns["seen"], rows),
        "vector": _cells(columns["vector"], rows),
        "age": _cells(columns["age"], rows),
    }
    check = compile_check(profile.features).bind(tuple(cells))
    codes = check.outside(table_from_columns(cells, held), at[rows:])
    assert codes is None or codes.any(axis=0).mean() <= 0.001


def _cells(column: Column, start: int) -> tuple[Cell, ...]:
    return cells_of(column.slice(start, len(column)))
