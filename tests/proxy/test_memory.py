"""What the data plane remembers is bounded, and says what it dropped."""

import numpy as np
import pytest

from guardproxy.decision import Decision, Outcome
from guardproxy.proxy import journal as journal_module
from guardproxy.proxy.history import History
from guardproxy.proxy.journal import Entry, Journal
from guardproxy.stats import ModelWindows, Sample
from guardproxy.table import Cell, table_from_records

BY = (("store",),)


def decision(*outcomes: Outcome) -> Decision:
    rows = len(outcomes)
    return Decision(
        "m", "f", rows, np.array(outcomes, dtype=np.uint8), (), np.zeros((0, rows), dtype=np.uint8)
    )


def remember(history: History, store: Cell, value: Cell, outcome: Outcome = Outcome.ALLOWED) -> None:
    features, predictions = table_from_records([{"store": store}]), table_from_records([{"demand": value}])
    history.remember(features, predictions, decision(outcome), at=1_700_000_000.0)


def test_only_rows_that_were_allowed_as_they_are_become_the_past() -> None:
    history = History(BY)
    remember(history, "a", 5.0)
    for outcome in Outcome:
        if outcome is not Outcome.ALLOWED:
            remember(history, "a", 99.0, outcome)
    assert history.previous(BY[0], ("a",), 1_700_000_000.0) == {"demand": 5.0}


@pytest.mark.parametrize("value", [float("inf"), None, (1.0, float("nan"))])
def test_an_answer_that_is_not_whole_and_finite_is_no_good_past(value: Cell) -> None:
    history = History(BY)
    remember(history, "a", value)
    assert history.previous(BY[0], ("a",), 1_700_000_000.0) is None


def test_an_entity_with_a_missing_part_is_nobody() -> None:
    history = History(BY)
    remember(history, None, 5.0)
    assert len(history) == 0


def test_the_entity_not_heard_of_for_longest_is_forgotten_at_the_bound() -> None:
    history = History(BY, max_entities=2)
    for store in ("a", "b", "a", "c"):
        remember(history, store, 1.0)
    assert [history.previous(BY[0], (store,), 1_700_000_000.0) is not None for store in "abc"] == [
        True,
        False,
        True,
    ]
    assert history.forgotten == 1


def test_an_endless_key_is_not_remembered() -> None:
    history = History(BY)
    remember(history, "x" * 10_000, 1.0)
    assert (len(history), history.refused) == (0, 1)


def entry(number: int) -> Entry:
    return Entry(f"dec_{number}", "/r", Sample(1.0, decision(Outcome.ALLOWED), None, None), 200, 0.001, 0.01)


def test_samples_beyond_the_bound_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_PENDING", 3)
    journal = Journal(ModelWindows("m"))
    for number in range(5):
        journal.add(entry(number))
    assert (journal.dropped, journal.flush(), journal.flush()) == (2, 3, 0)


def test_a_recent_decision_is_found_and_an_old_one_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_RECENT", 2)
    journal = Journal(ModelWindows("m"))
    for number in range(3):
        journal.add(entry(number))
    assert journal.find("dec_0") is None
    found = journal.find("dec_2")
    assert found is not None
    assert (found["outcome"], found["status"], found["guard_ms"]) == ("allowed", 200, 1.0)


def test_recent_decisions_of_many_rows_are_forgotten_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_RECENT_CELLS", 100)
    journal = Journal(ModelWindows("m"))
    table = table_from_records([{"x": 1.0, "y": 2.0}] * 20)
    for number in range(4):
        rows = decision(*[Outcome.ALLOWED] * 20)
        large = (
            Sample(1.0, rows, table, None)
            if number < 2
            else Sample(1.0, decision(Outcome.ALLOWED), None, None)
        )
        journal.add(Entry(f"dec_{number}", "/r", large, 200, 0.001, 0.01))
    assert [journal.find(f"dec_{number}") is not None for number in range(4)] == [False, True, True, True]


@pytest.mark.parametrize("rows", [1, 300])
def test_recent_decisions_with_long_texts_are_forgotten_earlier(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(journal_module, "MAX_RECENT_CELLS", 100_000)
    journal = Journal(ModelWindows("m"))
    table = table_from_records([{"prompt": "x" * (600_000 // rows)}] * rows)
    for number in range(3):
        sample = Sample(1.0, decision(*[Outcome.ALLOWED] * rows), table, None)
        journal.add(Entry(f"dec_{number}", "/r", sample, 200, 0.001, 0.01))
    assert [journal.find(f"dec_{number}") is not None for number in range(3)] == [False, False, True]


def test_the_newest_decision_is_found_however_many_rows_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_RECENT_CELLS", 10)
    journal = Journal(ModelWindows("m"))
    for number in range(2):
        journal.add(
            Entry(
                f"dec_{number}",
                "/r",
                Sample(1.0, decision(*[Outcome.ALLOWED] * 50), None, None),
                200,
                0.0,
                0.0,
            )
        )
    assert (journal.find("dec_0"), journal.find("dec_1") is not None) == (None, True)
