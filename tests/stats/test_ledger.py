"""What a process has counted and must still tell the others: exact, whatever is split, repeated, lost or late."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Outcome, Reason
from guardproxy.rules import load_rulesets
from guardproxy.stats import ledger as ledgers
from guardproxy.stats.layout import Layout
from guardproxy.stats.ledger import Ledger, Pending
from guardproxy.stats.recent import Recents, compile_recents
from guardproxy.stats.rollup import Part
from guardproxy.stats.windows import Sample
from guardproxy.table import Cell
from tests.stats.counted import decision, everything, profile, sample, stored

LAYOUT = Layout.of(profile())
VALUES = st.sampled_from([0.5, 1.5, 4.0, 99.0, -1.0, None, "x"])
WORDS: st.SearchStrategy[Cell] = st.sampled_from(["dairy", "fish", "tofu", None])
ROWS = st.lists(st.fixed_dictionaries({"x": VALUES, "kind": WORDS}), min_size=1, max_size=4)
SAMPLES = st.lists(
    st.builds(
        lambda at, rows, answered: sample(
            at, rows, [float(i) for i in range(len(rows))] if answered else None
        ),
        st.floats(0, 300),
        ROWS,
        st.booleans(),
    ),
    max_size=12,
)


def written(ledger: Ledger) -> list[Pending]:
    """Write everything that waits."""
    found = list(ledger.pending(10_000))
    ledger.settled(each.token for each in found)
    return found


def alone(samples: Sequence[Sample]) -> dict[int, Part]:
    """Return what one ledger counts of all samples at once."""
    ledger = Ledger(LAYOUT, 60.0, "a0")
    ledger.add(samples)
    return stored(LAYOUT, written(ledger))


def same(one: dict[int, Part], two: dict[int, Part]) -> None:
    """Compare what is in the store."""
    assert one.keys() == two.keys()
    for bucket, part in one.items():
        assert part.counts.tolist() == two[bucket].counts.tolist()
        assert part.damaged == two[bucket].damaged == 0
        assert np.allclose(part.moments, two[bucket].moments, rtol=1e-9, atol=1e-9)


@given(SAMPLES, st.data())
def test_counts_add_up_over_any_split_into_replicas_flushes_and_orders(
    samples: list[Sample], data: st.DataObject
) -> None:
    replicas = [Ledger(LAYOUT, 60.0, f"r{i}") for i in range(3)]
    writes: list[Pending] = []
    for one in data.draw(st.permutations(samples)):
        replica = data.draw(st.sampled_from(replicas))
        replica.add([one])
        if data.draw(st.booleans()):
            writes += written(replica)
    for replica in replicas:
        writes += written(replica)
    same(stored(LAYOUT, writes), alone(samples))


@given(SAMPLES, st.data())
def test_a_write_that_is_repeated_lost_or_acknowledged_late_counts_nothing_twice(
    samples: list[Sample], data: st.DataObject
) -> None:
    ledger = Ledger(LAYOUT, 60.0, "a0")
    writes: list[Pending] = []
    late: list[Pending] = []
    for one in samples:
        ledger.add([one])
        for each in ledger.pending():
            fate = data.draw(st.sampled_from(["good", "lost", "ack lost", "ack late", "twice"]))
            writes += {"lost": [], "twice": [each, each]}.get(fate, [each])
            if fate in {"good", "twice"}:
                ledger.settled([each.token])
            elif fate == "ack late":
                late.append(each)
        if data.draw(st.booleans()):
            ledger.settled(each.token for each in late)
            late.clear()
        if data.draw(st.booleans()):
            ledger.rewrite()
    writes += written(ledger)
    same(stored(LAYOUT, writes), alone(samples))
    assert ledger.waiting_rows == ledger.lost_rows == ledger.waiting_buckets == 0
    assert not ledger.pending()


def test_what_the_store_has_taken_is_not_written_again() -> None:
    ledger = Ledger(LAYOUT, 60.0, "a0")
    ledger.add([sample(30.0, [{"x": 1.0}])])
    assert ledger.waiting_rows == 1
    (first,) = ledger.pending()
    ledger.add([sample(31.0, [{"x": 1.0}])])
    ledger.settled([first.token])
    assert ledger.waiting_rows == 1, "the second row is not in what was written"
    (second,) = ledger.pending()
    assert second.token.rows == 2
    ledger.settled([second.token, first.token])
    assert not ledger.pending()


def test_a_row_goes_to_the_bucket_of_its_own_time_else_of_its_exchange() -> None:
    rows = [{"x": 1.0}, {"x": 9.0}, {"x": 9.0}]
    timed = sample(600.0, rows, times=np.array([10.0, 130.0, 70.0]))
    ledger = Ledger(LAYOUT, 60.0, "a0")
    ledger.follow_clock(120.0)
    ledger.add([timed, sample(600.0, rows, happened=10.0), sample(600.0, rows)])
    found = stored(LAYOUT, written(ledger))
    assert {bucket: part.rows(LAYOUT) for bucket, part in found.items()} == {0: 4, 1: 1, 2: 1, 12: 3}
    assert found[2].counts[:8].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert found[2].moments[0].tolist() == [1, 9.0, 0.0, 9.0, 9.0]


def test_an_unguarded_exchange_counts_its_reason_and_its_rows_and_no_field() -> None:
    opaque = Sample(5.0, decision([Outcome.UNGUARDED] * 2, Reason.OPAQUE), None, None)
    unread = Sample(65.0, decision([], Reason.UNDECODABLE), None, None)
    ledger = Ledger(LAYOUT, 60.0, "a0")
    ledger.add([opaque, unread])
    found = stored(LAYOUT, written(ledger))
    reasons = [found[bucket].counts[LAYOUT.reasons].tolist() for bucket in (0, 1)]
    assert [sum(each) for each in reasons] == [1, 1]
    assert reasons[0][list(Reason).index(Reason.OPAQUE)] == 1
    assert found[0].counts[LAYOUT.outcomes][Outcome.UNGUARDED] == 2
    assert not found[0].counts[: LAYOUT.outcomes.start].any()


def test_answers_to_a_request_whose_rows_cannot_be_seen_are_counted() -> None:
    answers = sample(5.0, [{"x": 1.0}], [3.0]).predictions
    ledger = Ledger(LAYOUT, 60.0, "a0")
    ledger.add([Sample(5.0, decision([Outcome.ALLOWED]), None, answers)])
    counts = stored(LAYOUT, written(ledger))[0].counts
    assert (counts[:14].sum(), counts[14:22].tolist()) == (0, [0, 0, 1, 0, 0, 0, 0, 0])


def test_beyond_the_bound_the_oldest_buckets_are_dropped_and_their_rows_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledgers, "MAX_OPEN_BUCKETS", 5)
    monkeypatch.setattr(ledgers, "MAX_KEPT_BUCKETS", 3)
    ledger = Ledger(LAYOUT, 60.0, "a0")
    for minute in range(8):
        ledger.add([sample(60.0 * minute, [{"x": 1.0}] * 2)])
    found = ledger.pending(100)
    assert [each.bucket for each in found] == [3, 4, 5, 6, 7]
    assert ledger.lost_rows == 6


@settings(max_examples=30)
@given(st.lists(st.integers(0, 9), max_size=40), st.data())
def test_late_rows_of_a_forgotten_bucket_do_not_stand_in_place_of_what_it_had(
    minutes: list[int], data: st.DataObject
) -> None:
    samples = [sample(60.0 * minute, [{"x": 1.0, "kind": "fish"}], [2.0]) for minute in minutes]
    ledger = Ledger(LAYOUT, 60.0, "a0")
    writes: list[Pending] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledgers, "MAX_KEPT_BUCKETS", 2)
        for one in samples:
            ledger.add([one])
            if data.draw(st.booleans()):
                writes += written(ledger)
        writes += written(ledger)
    same(stored(LAYOUT, writes), alone(samples))
    assert ledger.lost_rows == 0


def rolling(call: str) -> Recents:
    """Compile a rolling function of a model, as a rule file has it."""
    rule = f"  - id: one\n    require: {call} < 1000000\n    action: warn\n"
    text = f"guardproxy: 1\nmodel: demand\nowner: ops\nrules:\n{rule}"
    rulesets, problems = load_rulesets({"a.guard.yaml": text}, outputs={"demand": ("demand",)})
    assert not [each for each in problems if each.severity == "error"], problems
    return compile_recents(rulesets["demand"].recents)


def test_a_tally_of_a_rolling_function_is_in_every_bucket_since_it_was_loaded() -> None:
    recents = rolling("recent_mean(output.demand, 1h)")
    ledger = Ledger(LAYOUT, 60.0, "a0")
    ledger.add([sample(0.0, [{"x": 1.0}], [4.0])])
    ledger.follow(recents)
    ledger.add([sample(60.0, [{"x": 1.0}] * 2, [4.0, 8.0])])
    ledger.add([Sample(120.0, decision([], Reason.UNDECODABLE), None, None)])
    found = stored(LAYOUT, written(ledger))
    (key,) = recents.keys
    assert [key in found[bucket].tallies for bucket in (0, 1, 2)] == [False, True, True]
    assert found[1].tallies[key].value("recent_mean") == 6.0
    assert found[2].tallies[key].value("recent_mean") is None
    assert everything(LAYOUT, found).tallies[key].value("recent_mean") == 6.0
