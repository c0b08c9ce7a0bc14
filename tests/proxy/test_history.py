"""What one process remembers of its entities, and what it lets rules expect of them."""

import numpy as np
import pytest

from guardproxy.decision import Decision, Outcome, Verdict
from guardproxy.guard.guard import RowsPast
from guardproxy.proxy import history as history_module
from guardproxy.proxy.history import History
from guardproxy.stats.entity import MIN_ANSWERS
from guardproxy.stats.strangeness import MIN_SCORES
from guardproxy.table import Cell, table_from_records

BY = ("store",)
START = 1_700_000_000.0
DAY = 86_400.0


def decided(outcome: Outcome, violated: str = "") -> Decision:
    rules = ("unlike", "other")
    codes = [[Verdict.VIOLATED if rule == violated else Verdict.OK] for rule in rules]
    outcomes = np.array([outcome], dtype=np.uint8)
    return Decision("m", "f", 1, outcomes, rules, np.array(codes, dtype=np.uint8))


def remember(
    history: History,
    store: Cell,
    value: Cell,
    at: float = START,
    decision: Decision | None = None,
    **more: Cell,
) -> None:
    features = table_from_records([{"store": store}])
    predictions = table_from_records([{"demand": value, **more}])
    history.remember(features, predictions, decision or decided(Outcome.ALLOWED), at)


def of_many(answers: int = MIN_ANSWERS, season: str = "weekday", **options: float) -> History:
    """A history of many entities that answered once a day: enough to say what is unusual."""
    history = History((BY,), season=season, **options)
    generator = np.random.default_rng(3)
    entities = MIN_SCORES // 4
    features = table_from_records([{"store": float(number)} for number in range(entities)])
    none = np.zeros((0, entities), dtype=np.uint8)
    decision = Decision("m", "f", entities, np.zeros(entities, dtype=np.uint8), (), none)
    for day in range(max(answers, MIN_ANSWERS + 5)):
        values = 100.0 * generator.lognormal(0.0, 0.1, entities)
        predictions = table_from_records([{"demand": value} for value in values.tolist()])
        history.remember(features, predictions, decision, START + day * DAY)
        history.learn()
    return history


def test_the_last_good_answer_is_known_at_once_and_the_rest_once_it_was_learned() -> None:
    history = History((BY,))
    for day in range(MIN_ANSWERS):
        remember(history, "a", 10.0 + day, START + day * DAY)
    assert history.previous(BY, ("a",), START) == {"demand": 17.0}
    now = START + MIN_ANSWERS * DAY
    assert history.usual(BY, [("a",)], "demand", now) == (None,)
    history.learn()
    (usual,) = history.usual(BY, [("a",)], "demand", now)
    assert usual is not None
    assert 13.0 <= usual.value <= 17.0
    assert history.estimate("rolling_median", BY, ("a",), "demand", now, None) == pytest.approx(
        13.5, rel=0.001
    )
    assert history.estimate("seasonal", BY, ("a",), "demand", now, None) is not None
    assert history.estimate("auto", BY, ("a",), "demand", now, None) == pytest.approx(usual.value)


def test_a_late_answer_takes_no_newer_ones_place_and_is_counted() -> None:
    history = History((BY,))
    remember(history, "a", 2.0, START + 10)
    remember(history, "a", 1.0, START)
    assert (history.previous(BY, ("a",), START), history.late_answers) == ({"demand": 2.0}, 1)


def test_rows_that_say_when_they_happened_are_remembered_in_that_order() -> None:
    history = History((BY,))
    features = table_from_records([{"store": "a"}] * 3)
    predictions = table_from_records([{"demand": value} for value in (1.0, 2.0, 3.0)])
    none = np.zeros((0, 3), dtype=np.uint8)
    decision = Decision("m", "f", 3, np.zeros(3, dtype=np.uint8), (), none)
    history.remember(features, predictions, decision, START, np.array([START, START + 20, START + 10]))
    assert history.previous(BY, ("a",), START) == {"demand": 2.0}


def test_what_is_too_old_is_no_past() -> None:
    history = History((BY,), max_age_s=10 * DAY)
    remember(history, "a", 1.0, START)
    now = START + 9 * DAY
    assert history.estimate("last_good", BY, ("a",), "demand", now, None) == 1.0
    assert history.estimate("last_good", BY, ("a",), "demand", now, 8 * DAY) is None
    assert history.estimate("last_good", BY, ("a",), "demand", START + 11 * DAY, None) is None
    assert history.previous(BY, ("a",), now) == {"demand": 1.0}
    assert history.previous(BY, ("a",), START + 11 * DAY) is None, "though nobody else was heard of since"


def test_texts_and_yes_or_no_are_remembered_as_the_last_answer_only() -> None:
    history = History((BY,))
    remember(history, "a", "low", risky=True)
    history.learn()
    assert history.previous(BY, ("a",), START) == {"demand": "low", "risky": True}
    assert history.estimate("auto", BY, ("a",), "demand", START, None) == "low"
    assert history.estimate("seasonal", BY, ("a",), "risky", START, None) is None
    assert history.limit(BY, "demand", 0.001) is None


def test_of_the_model_is_known_what_its_answers_commonly_do_and_one_lookup_is_as_many() -> None:
    history = of_many()
    limit = history.limit(BY, "demand", 0.01)
    assert limit is not None
    now = START + 20 * DAY
    entities = [(float(number),) for number in range(40)]
    many = history.usual(BY, entities, "demand", now)
    for entity, found in zip(entities, many, strict=True):
        (alone,) = history.usual(BY, [entity], "demand", now)
        assert alone == pytest.approx(found)
    history.follow((BY,), {"unlike": 0.01})
    (said,) = history.as_json()
    assert (said["by"], said["output"]) == (["store"], "demand")
    power = said["limits"][0]["power"]
    assert min(power["x10"], power["/10"], power["zero"]) > 0.95


def test_what_only_a_rule_on_unusual_answers_objects_to_is_learned_as_far_and_not_as_good() -> None:
    history = of_many()
    history.follow((BY,), {"unlike": 0.01})
    memory = history.groups[BY].memories["demand"]
    seen = memory.strangeness.count
    now = START + 30 * DAY
    remember(history, 0.0, 9_000.0, now, decided(Outcome.HELD, "unlike"))
    history.learn()
    assert memory.strangeness.count == seen + 1
    remember(history, 0.0, 9_000.0, now + 1, decided(Outcome.HELD, "other"))
    history.learn()
    assert memory.strangeness.count == seen + 1
    before = history.previous(BY, (0.0,), START)
    assert before is not None
    assert before["demand"] != 9_000.0


def test_answers_beyond_the_bound_are_remembered_but_not_learned_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history_module, "MAX_WAITING", 2)
    history = History((BY,))
    for number in range(5):
        remember(history, "a", float(number), START + number)
    assert (history.unlearned, history.previous(BY, ("a",), START)) == (3, {"demand": 4.0})


def test_much_at_once_is_learned_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MAX_AT_ONCE", 5)
    history = History((BY,), season="none")
    for number in range(12):
        remember(history, float(number), 1.0, START + number)
    learned = []
    for _ in range(4):
        history.learn()
        medians = [
            history.estimate("rolling_median", BY, (float(number),), "demand", START, None)
            for number in range(12)
        ]
        learned.append(sum(value is not None for value in medians))
    assert learned == [5, 10, 12, 12]


def test_an_entity_that_was_forgotten_leaves_its_place_empty_to_the_next() -> None:
    history = History((BY,), max_entities=1, season="none")
    remember(history, "a", 50.0)
    history.learn()
    remember(history, "b", 70.0)
    remember(history, "c", 90.0)
    history.learn()
    assert history.estimate("rolling_median", BY, ("c",), "demand", START, None) == pytest.approx(
        90.0, rel=0.001
    )
    assert (len(history), history.forgotten) == (1, 2)


def test_outputs_beyond_the_bound_keep_their_last_answer_only_and_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history_module, "MAX_OUTPUTS", 1)
    history = History((BY,))
    remember(history, "a", 1.0, p10=0.5)
    history.learn()
    assert history.outputs_dropped == 1
    assert history.estimate("last_good", BY, ("a",), "p10", START, None) == 0.5
    assert history.estimate("rolling_median", BY, ("a",), "p10", START, None) is None


def test_a_row_that_says_when_it_happens_is_compared_with_that_day_of_its_week() -> None:
    history = History((BY,))
    for day in range(35):
        remember(history, "a", 1_000.0 if day % 7 == 0 else 100.0, START + day * DAY)
        history.learn()
    days = [START + (35 + day) * DAY for day in range(7)]
    table = table_from_records([{"store": "a", "day": at} for at in days])
    past = RowsPast(table, history, START + 35 * DAY, np.array(days))
    found = [past.estimate("seasonal", BY, row, "demand", None) for row in range(7)]
    assert found[0] > 2 * max(found[1:])
    usual = past.usual(BY, "demand")
    assert [one is not None for one in usual] == [True] * 7
    still = RowsPast(table, history, START + 35 * DAY)
    assert len({still.estimate("seasonal", BY, row, "demand", None) for row in range(7)}) == 1


def test_rows_of_nobody_have_no_past() -> None:
    history = of_many()
    table = table_from_records([{"store": 0.0}, {"store": None}, {"store": -5.0}])
    past = RowsPast(table, history, START + 20 * DAY)
    assert [one is not None for one in past.usual(BY, "demand")] == [True, False, False]
    assert [past.estimate("auto", BY, row, "demand", None) is not None for row in range(3)] == [
        True,
        False,
        False,
    ]
