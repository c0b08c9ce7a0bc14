import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.stats.entity import (
    MAX_WORD_BYTES,
    MIN_ANSWERS,
    PHASES,
    QUANTUM,
    RECORD,
    RING,
    SEASONS,
    Records,
    advance,
    empty,
    expected,
    expected_of_one,
    from_blobs,
    from_word,
    has_own_phases,
    moment,
    quantised,
    restored,
    to_word,
)
from guardproxy.stores.statistics import MAX_ENTITY_RECORD

START = 1_700_000_000.0
VALUES = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-12)
STEPS = st.integers(1, 3 * 86_400 * 100).map(lambda hundredths: hundredths / 100)
ANSWERS = st.lists(st.tuples(STEPS, VALUES), min_size=1, max_size=30)
NAMES = st.sampled_from(sorted(SEASONS))


def told(
    answers: list[tuple[float, float]], season: str, *, twice: bool = False
) -> tuple[Records, Records | None]:
    """Tell one record its answers, each so many seconds after the one before."""
    records = empty(1)
    phases = empty(1, PHASES) if season == "hour" else None
    at = START
    for step, value in answers:
        at += step
        for _ in range(1 + twice):
            advance(records, phases, np.array([at]), np.array([value]), SEASONS[season])
    return records, phases


def alike(one: tuple[Records, Records | None], other: tuple[Records, Records | None]) -> bool:
    return [each.tobytes() for each in one if each is not None] == [
        each.tobytes() for each in other if each is not None
    ]


def test_a_record_fits_into_what_a_store_keeps() -> None:
    assert RECORD.itemsize <= MAX_ENTITY_RECORD
    assert PHASES.itemsize <= MAX_ENTITY_RECORD
    assert len(to_word(START, "x" * MAX_WORD_BYTES) or b"") <= MAX_ENTITY_RECORD


@given(ANSWERS, NAMES)
def test_a_record_that_was_packed_is_the_record_that_was(
    answers: list[tuple[float, float]], season: str
) -> None:
    records, phases = told(answers, season)
    unpacked, damaged = from_blobs([records[0].tobytes(), None])
    assert unpacked[:1].tobytes() == records.tobytes()
    assert (unpacked["count"][1], damaged) == (0, 0)
    if phases is not None:
        assert from_blobs([phases[0].tobytes()], PHASES)[0].tobytes() == phases.tobytes()


@given(ANSWERS, NAMES)
def test_its_first_bytes_are_the_second_of_the_last_answer(
    answers: list[tuple[float, float]], season: str
) -> None:
    records, _ = told(answers, season)
    at = START + sum(step for step, _ in answers)
    assert int.from_bytes(records[0].tobytes()[:4], "big") == int(moment(records)[0])
    assert moment(records)[0] == pytest.approx(at, abs=0.001)


@given(ANSWERS, NAMES)
def test_an_answer_that_is_told_twice_counts_once(answers: list[tuple[float, float]], season: str) -> None:
    assert alike(told(answers, season), told(answers, season, twice=True))


@given(ANSWERS, NAMES, st.floats(0, 1e6), VALUES)
def test_a_late_answer_changes_nothing(
    answers: list[tuple[float, float]], season: str, lateness: float, value: float
) -> None:
    records, phases = told(answers, season)
    before = told(answers, season)
    late = np.array([max(0.0, moment(records)[0] - lateness)])
    assert not advance(records, phases, late, np.array([value]), SEASONS[season]).any()
    assert alike((records, phases), before)


@given(st.lists(ANSWERS, min_size=1, max_size=5), NAMES)
def test_many_records_learn_together_what_each_learns_alone(
    entities: list[list[tuple[float, float]]], season: str
) -> None:
    rounds = min(map(len, entities))
    records = empty(len(entities))
    phases = empty(len(entities), PHASES) if season == "hour" else None
    times = np.full(len(entities), START)
    for number in range(rounds):
        times = times + np.array([each[number][0] for each in entities])
        advance(records, phases, times, np.array([each[number][1] for each in entities]), SEASONS[season])
    for line, answers in enumerate(entities):
        alone, own_phases = told(answers[:rounds], season)
        assert records[line : line + 1].tobytes() == alone.tobytes()
        if phases is not None and own_phases is not None:
            assert phases[line : line + 1].tobytes() == own_phases.tobytes()


@given(ANSWERS, NAMES)
def test_the_last_answer_is_exact_and_the_ring_holds_the_last_eight(
    answers: list[tuple[float, float]], season: str
) -> None:
    records, phases = told(answers, season)
    found = expected(records, phases, np.array([START]), SEASONS[season])
    assert found.last[0] == answers[-1][1]
    newest = [value for _, value in answers][-RING:]
    assert found.median[0] == pytest.approx(
        float(np.median(newest)), rel=QUANTUM, abs=QUANTUM * max(map(abs, newest))
    )


@given(ANSWERS, NAMES, st.floats(0, 1e7))
def test_what_is_usual_of_one_is_what_is_usual_of_many(
    answers: list[tuple[float, float]], season: str, later: float
) -> None:
    records, phases = told(answers, season)
    at = START + later
    many = expected(records, phases, np.array([at]), SEASONS[season])
    one = expected_of_one(records, phases, 0, at, SEASONS[season])
    assert (one is None) == (len(answers) < MIN_ANSWERS) == bool(np.isnan(many.spread[0]))
    if one is not None:
        assert one.value == pytest.approx(many.usual[0], rel=1e-9)
        assert one.spread == pytest.approx(many.spread[0], rel=1e-9)


@given(st.floats(1e-12, 1e12), st.booleans())
def test_an_answer_in_the_ring_is_right_within_a_thousandth(size: float, negative: bool) -> None:
    value = -size if negative else size
    assert float(restored(quantised(np.array([value])))[0]) == pytest.approx(value, rel=QUANTUM)


def test_what_is_beyond_the_ring_is_its_largest_and_its_zero() -> None:
    codes = quantised(np.array([1e300, -1e300, 1e-300, -1e-300, 0.0, -0.0]))
    found = restored(codes).tolist()
    assert found[0] == -found[1] > 1e14
    assert found[2:] == [0.0] * 4


@pytest.mark.parametrize("season", ["weekday", "hour"])
def test_a_phase_that_always_differs_is_learned(season: str) -> None:
    length, phases = SEASONS[season].length_s, SEASONS[season].phases
    shape = [100.0 + 50 * (number % 3) for number in range(phases)]
    start = 10 * 7 * 86_400.0
    records, second = empty(1), empty(1, PHASES) if season == "hour" else None
    for step in range(phases * 12):
        at = np.array([start + step * length])
        advance(records, second, at, np.array([shape[step % phases]]), SEASONS[season])
    ahead = [
        float(
            expected(
                records, second, np.array([start + (12 * phases + step) * length]), SEASONS[season]
            ).seasonal[0]
        )
        for step in range(phases)
    ]
    assert ahead == pytest.approx(shape, rel=0.1)


def test_a_phase_that_was_never_seen_has_no_seasonal_estimate() -> None:
    records, _ = told([(86_400.0, 5.0)] * 3, "weekday")
    days = np.array([START + day * 86_400.0 for day in range(7)])
    found = expected(np.repeat(records, 7), None, days, SEASONS["weekday"])
    assert np.count_nonzero(np.isfinite(found.seasonal)) == 3
    assert found.usual.tolist() == pytest.approx([5.0] * 7, rel=0.001)


def test_without_a_season_there_are_only_the_last_and_the_median() -> None:
    records, phases = told([(60.0, 5.0)] * 9, "none")
    found = expected(records, phases, np.array([START]), SEASONS["none"])
    assert (found.last[0], np.isnan(found.seasonal[0])) == (5.0, True)
    assert found.usual[0] == pytest.approx(5.0, rel=QUANTUM)
    assert has_own_phases(SEASONS["weekday"])
    assert not has_own_phases(SEASONS["hour"])


ANY_TEXT = st.text(st.characters(), max_size=60)
"""Half of a pair of surrogates is a character too: JSON can say it."""


@given(ANY_TEXT | st.booleans(), st.floats(1, 4e9))
def test_a_text_or_a_yes_is_kept_whole_or_not_at_all(cell: str | bool, at: float) -> None:
    blob = to_word(at, cell)
    if blob is None:
        assert isinstance(cell, str)
        assert len(cell.encode("utf-8", "surrogatepass")) > MAX_WORD_BYTES
    else:
        assert len(blob) <= MAX_ENTITY_RECORD
        when, said = from_word(blob)
        assert (said, type(said)) == (cell, type(cell))
        assert when == pytest.approx(at, abs=0.001)


@pytest.mark.parametrize("at", [-1.0, 0.0, 2.0**32])
def test_an_answer_of_a_moment_that_no_record_can_say_has_none(at: float) -> None:
    assert to_word(at, "a") is None


@given(st.binary(max_size=80))
def test_damaged_records_are_counted_and_taken_for_none(blob: bytes) -> None:
    for dtype in (RECORD, PHASES):
        records, damaged = from_blobs([blob], dtype)
        assert damaged == (not records["at"][0])
        assert (
            np.isfinite(expected(records, None, np.array([START]), SEASONS["none"]).last[0]) == (not damaged)
            if dtype == RECORD
            else True
        )
    try:
        from_word(blob)
    except ValueError:
        pass
    else:
        at, cell = from_word(blob)
        assert at == 0.0 or to_word(at, cell) is not None
