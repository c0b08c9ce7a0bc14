import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.rules.past import distances
from guardproxy.stats.entity import SEASONS, empty
from guardproxy.stats.memory import MAX_EACH, Answer, OutputMemory
from guardproxy.stats.strangeness import DEFAULT_ESTIMATE, MIN_SCORED, MIN_SCORES, Strangeness

START = 1_700_000_000.0
TOLD = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 40), st.floats(-1e6, 1e6)), min_size=1, max_size=40
)


def learned(memory: OutputMemory, told: list[tuple[int, float, float]], good: bool = True) -> int:
    places = np.array([place for place, _, _ in told], dtype=np.intp)
    times = START + np.array([float(at) for _, at, _ in told])
    return memory.learn(places, times, np.array([value for *_, value in told]), np.full(len(told), good))


@given(TOLD)
def test_answers_learned_at_once_are_as_those_learned_one_by_one(
    told: list[tuple[int, float, float]],
) -> None:
    told = sorted(told, key=lambda one: one[1])[:MAX_EACH]
    # Of one moment an entity has one answer, the last: so that is all that is told one by one.
    last = {(place, at): (place, at, value) for place, at, value in told}
    together, alone = OutputMemory(SEASONS["weekday"]), OutputMemory(SEASONS["weekday"])
    learned(together, told)
    for one in last.values():
        learned(alone, [one])
    places = np.arange(4)
    one, other = (memory.expected(places, START) for memory in (together, alone))
    np.testing.assert_array_equal(np.stack(one), np.stack(other))


@given(TOLD)
def test_answers_put_on_top_of_a_record_are_as_those_that_were_learned(
    told: list[tuple[int, float, float]],
) -> None:
    told = [(0, at, value) for _, at, value in sorted(told, key=lambda one: one[1])][:MAX_EACH]
    told = list({at: (place, at, value) for place, at, value in told}.values())
    memory = OutputMemory(SEASONS["weekday"])
    learned(memory, told)
    merged, _ = memory.merged(empty(1), None, [[Answer(START + at, value) for _, at, value in told]])
    other = OutputMemory(SEASONS["weekday"])
    other.put(np.array([0]), merged, None)
    place = np.array([0])
    np.testing.assert_array_equal(
        np.stack(memory.expected(place, START)), np.stack(other.expected(place, START))
    )


def test_an_entity_that_answers_very_often_is_learned_from_its_newest() -> None:
    memory = OutputMemory(SEASONS["none"])
    thinned = learned(memory, [(0, at, float(at)) for at in range(100)])
    assert thinned == 100 - MAX_EACH
    assert memory.expected(np.array([0]), START).last.tolist() == [99.0]


def test_what_is_no_good_answer_says_how_far_it_lay_and_no_more() -> None:
    memory = OutputMemory(SEASONS["none"])
    for at in range(9):
        learned(memory, [(0, at, 10.0)])
    learned(memory, [(0, 9, 1_000.0)], good=False)
    assert memory.strangeness.count == 2
    assert memory.expected(np.array([0]), START).last.tolist() == [10.0]


def test_a_place_that_was_cleared_knows_nothing() -> None:
    memory = OutputMemory(SEASONS["hour"])
    learned(memory, [(3, 1, 5.0)])
    memory.clear(3)
    memory.clear(1_000)
    found = memory.expected(np.array([3]), START)
    assert np.isnan(found.last[0])
    assert np.isnan(found.seasonal[0])


def walk(entities: int, days: int, spread: float, seed: int = 5) -> tuple[OutputMemory, np.ndarray]:
    """Let entities of different size answer once a day, with a weekly shape and lognormal noise."""
    generator = np.random.default_rng(seed)
    memory = OutputMemory(SEASONS["weekday"])
    level = generator.lognormal(5.0, 1.0, entities)
    week = np.array([1.0, 1.0, 1.1, 1.2, 1.4, 1.8, 0.6])
    places = np.arange(entities)
    for day in range(days):
        values = level * week[day % 7] * generator.lognormal(0.0, spread, entities)
        memory.learn(
            places, np.full(entities, START + day * 86_400.0), values, np.ones(entities, dtype=np.bool_)
        )
    return memory, level * week[days % 7]


def test_a_limit_is_exceeded_by_about_the_share_that_was_asked_for_and_shows_gross_errors() -> None:
    memory, level = walk(entities=400, days=60, spread=0.1)
    limit = memory.strangeness.limit(0.01)
    assert limit is not None
    at = START + 60 * 86_400.0
    found = memory.expected(np.arange(400), at)
    spread = found.spread + memory.strangeness.common
    clean = level * np.random.default_rng(6).lognormal(0.0, 0.1, 400)
    assert np.mean(distances(clean, found.usual, spread) > limit) <= 0.025
    power = memory.strangeness.power(0.01)
    assert power is not None
    for name, factor in (("x10", 10.0), ("/10", 0.1), ("zero", 0.0)):
        share = np.mean(distances(clean * factor, found.usual, spread) > limit)
        assert share == pytest.approx(power[name], abs=0.1)
        assert share > 0.9


def test_there_is_no_limit_before_enough_was_seen() -> None:
    strangeness = Strangeness()
    assert (strangeness.limit(0.001), strangeness.power(0.001)) == (None, None)
    memory, _ = walk(entities=100, days=8 + MIN_SCORES // 100 - 1, spread=0.1)
    assert memory.strangeness.limit(0.001) is None
    memory, _ = walk(entities=100, days=8 + MIN_SCORES // 100, spread=0.1)
    assert memory.strangeness.limit(0.001) is not None


def test_an_entity_that_was_very_steady_is_not_strange_at_its_first_small_step() -> None:
    memory, _ = walk(entities=200, days=40, spread=0.15)
    for day in range(40):
        learned(memory, [(500, day * 86_400.0, 100.0)])
    limit = memory.strangeness.limit(0.01)
    usual = memory.usual(500, START + 40 * 86_400.0)
    assert limit is not None
    assert usual is not None
    assert distances(np.array([115.0]), np.array([usual.value]), np.array([usual.spread]))[0] < limit


def test_auto_takes_the_median_of_three_until_it_has_seen_enough_and_then_what_errs_least() -> None:
    few, _ = walk(entities=1, days=8 + MIN_SCORED // 2, spread=0.05)
    assert (few.errors.best(), few.errors.wape()) == (DEFAULT_ESTIMATE, None)
    many, _ = walk(entities=50, days=40, spread=0.05)
    assert many.errors.best() == "seasonal"
    wape = many.errors.wape()
    assert wape is not None
    assert wape["seasonal"] < 0.5 * wape["last_good"]
