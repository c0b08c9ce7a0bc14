"""What is offered is either written or counted as dropped, whatever happens."""

from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Outcome
from guardproxy.recording import Draft, Options, is_loud
from guardproxy.recording.recorder import MAX_MODELS
from guardproxy.rules.rollout import draw
from tests.recording.samples import START, decision, draft, offer, read, recorder


def never() -> Draft:
    raise AssertionError("this exchange is not drawn")


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.floats(0, 400), st.booleans(), st.integers(1, 6), st.booleans()),
        max_size=60,
    ),
    st.integers(2, 10),
)
@settings(max_examples=80, deadline=None)
def test_all_that_was_offered_is_written_or_counted(
    tmp_path_factory: pytest.TempPathFactory,
    offers: list[tuple[str, float, bool, int, bool]],
    per_minute: int,
) -> None:
    folder = tmp_path_factory.mktemp("recorded")
    one = recorder(folder, per_minute=per_minute, max_rows=5, max_slice_rows=12)
    for number, (model, after, loud, rows, flushed) in enumerate(offers):
        offer(one, draft(number, START + after, features={"x": [1.0] * rows}), model, loud)
        if flushed:
            one.flush(START + after)
        status = one.status()
        assert status.offered == number + 1
        assert status.pending + status.written + sum(status.dropped.values()) <= number + 1
    one.close()
    status = one.status()
    assert status.offered == len(offers) == status.written + sum(status.dropped.values())
    assert (status.pending, status.pending_bytes) == (0, 0)
    if status.written:
        records = read(folder)
        assert len(records) == status.written
        assert len({record.id for record in records}) == len(records)


def test_a_record_carries_all_that_replay_needs(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    given_ = draft(
        3,
        features={"x": [1.0, None, 2**53 + 1], "s": ["a", "b", None]},
        predictions={"p": [(0.1, 0.9), (1.0, None), None]},
        previous={("s",): ({"p": 4.0}, None, None)},
        found={"violated": {"plausible": [0, 2], "not-negative": [2]}, "outcome": Outcome.REPLACED},
        holds=("hold_1", "hold_2"),
        identity=b"a body of more than sixteen bytes",
    )
    assert offer(one, given_, loud=True)
    one.close()
    (record,) = read(tmp_path)
    assert (record.id, record.at, record.model, record.ruleset) == ("dec_3", START, "demand", "0123456789ab")
    assert record.facts == given_.facts
    assert record.features.column("x") == (1.0, None, 2**53 + 1)
    assert record.predictions is not None
    assert record.predictions.column("p") == ((0.1, 0.9), (1.0, None), None)
    assert record.previous == {("s",): ({"p": 4.0}, None, None)}
    assert record.outcomes == ("replaced", "allowed", "replaced")
    assert record.violated == {"plausible": (0, 2), "not-negative": (2,)}
    assert (record.holds, record.weight, record.redacted) == (("hold_1", "hold_2"), 1.0, ())
    assert len(record.identity) == 16
    assert draw("plausible", record.identity) == draw("plausible", given_.identity)


def test_a_refused_request_has_no_predictions(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    offer(one, draft(1, predictions=None))
    one.close()
    assert read(tmp_path)[0].predictions is None


def test_an_exchange_that_is_not_drawn_is_not_even_made(tmp_path: Path) -> None:
    one = recorder(tmp_path, per_minute=2)
    made = 0

    def make() -> Draft:
        nonlocal made
        made += 1
        return draft(made)

    for _ in range(10_000):
        one.offer("demand", START, False, make)  # noqa: FBT003
    assert 1 <= made < 30


def test_rare_loud_exchanges_keep_their_places_beside_many_quiet_ones(tmp_path: Path) -> None:
    one = recorder(tmp_path, per_minute=20)
    for number in range(5_000):
        offer(one, draft(number, START + number / 100), loud=number % 1_000 == 0)
    one.close()
    records = read(tmp_path)
    loud = [record for record in records if int(record.id[4:]) % 1_000 == 0]
    assert [record.weight for record in loud] == [1.0] * 5
    assert sum(record.weight for record in records) == pytest.approx(5_000)
    assert len(records) == 15


@pytest.mark.parametrize(
    ("outcome", "violated", "loud"),
    [
        (Outcome.ALLOWED, {}, False),
        (Outcome.ALLOWED, {"plausible": [0]}, True),
        (Outcome.HELD, {"plausible": [0]}, True),
    ],
)
def test_an_exchange_is_loud_when_a_rule_had_something_to_say(
    outcome: Outcome, violated: dict[str, list[int]], *, loud: bool
) -> None:
    assert is_loud(decision(1, violated, outcome)) is loud


def test_a_minute_is_written_once_it_is_over(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    offer(one, draft(1, START + 59))
    assert one.flush(START + 59.9) == 0
    assert one.flush(START + 60) == 1
    assert one.flush(START + 61) == 0
    one.close()
    assert (
        one.status().bytes == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) > 0
    )
    assert len(read(tmp_path)) == 1


def test_a_minute_is_over_when_the_next_one_begins(tmp_path: Path) -> None:
    one = recorder(tmp_path, per_minute=2)
    for number in range(4):
        offer(one, draft(number, START + 60 * number))
    assert one.flush(START + 180) == 3


def test_slow_answers_do_not_get_a_reservoir_of_their_own(tmp_path: Path) -> None:
    one = recorder(tmp_path, per_minute=2)
    for second in range(120):
        # Every exchange took half a minute to answer, and each second is flushed.
        offer(one, draft(second, START + second))
        one.flush(START + second + 30)
    one.close()
    assert one.status().written <= 4
    assert sum(record.weight for record in read(tmp_path)) == pytest.approx(120)


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
def test_a_clock_that_is_set_does_not_stop_the_recording(tmp_path: Path, step: float) -> None:
    one = recorder(tmp_path)
    offer(one, draft(1, START))
    one.flush(START)
    offer(one, draft(2, START + step))
    assert one.flush(START + step) == 1
    assert one.flush(START + step + 60) == 1
    offer(one, draft(3, START + step + 61))
    assert one.flush(START + step + 121) == 1
    one.close()
    assert {record.id for record in read(tmp_path)} == {"dec_1", "dec_2", "dec_3"}


def test_large_exchanges_are_left_out_whole(tmp_path: Path) -> None:
    one = recorder(tmp_path, max_rows=10, max_record_bytes=10_000)
    assert not offer(one, draft(1, features={"x": [1.0] * 11}))
    assert not offer(one, draft(2, features={"x": ["a" * 10_000]}))
    assert not offer(one, draft(3, features={"x": [(1.0,) * 1_000]}))
    assert not offer(one, draft(4, features={"x": [1 << 100_000]}))
    assert not offer(one, draft(5, previous={("x",): ({"p": "a" * 10_000},)}))
    assert offer(one, draft(6, features={"x": [1.0] * 10}))
    assert one.status().dropped["too_large"] == 5


def test_an_exchange_that_is_known_to_be_large_is_not_even_made(tmp_path: Path) -> None:
    one = recorder(tmp_path, max_rows=10)
    assert not one.offer("demand", START, False, never, 11)  # noqa: FBT003
    assert one.status().dropped == {"too_large": 1}


def test_a_minute_holds_only_so_many_rows(tmp_path: Path) -> None:
    one = recorder(tmp_path, max_slice_rows=25)
    kept = [offer(one, draft(n, features={"x": [1.0] * 10})) for n in range(4)]
    assert kept == [True, True, False, False]
    assert one.status().dropped["pressure"] == 2
    assert offer(one, draft(9, START + 60, features={"x": [1.0] * 10}))


def test_what_waits_for_a_stuck_disk_is_bounded(tmp_path: Path) -> None:
    one = recorder(tmp_path, max_pending_bytes=50_000)
    for number in range(200):
        offer(one, draft(number, START + 60 * number, features={"x": ["a" * 1_000]}))
        assert one.status().pending_bytes <= 50_000
    assert one.status().dropped["pressure"] > 150
    one.close()
    assert one.status().pending_bytes == 0


def test_models_are_bounded(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    kept = [offer(one, draft(n), f"model-{n}") for n in range(MAX_MODELS + 3)]
    assert kept.count(False) == 3
    status = one.status()
    assert (status.offered, status.dropped["pressure"]) == (MAX_MODELS + 3, 3)


def test_a_fault_in_the_callers_code_costs_that_record_only(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    assert not one.offer("demand", START, False, never)  # noqa: FBT003
    assert offer(one, draft(1))
    one.close()
    assert dict(one.status().dropped) == {"fault": 1, "reservoir": 0}
    assert read(tmp_path)[0].weight == 2.0


def test_a_record_that_cannot_be_written_costs_that_record_only(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    offer(one, draft(1, id="\ud800"))
    offer(one, draft(2))
    one.close()
    assert dict(one.status().dropped) == {"fault": 1, "reservoir": 0}
    assert [record.id for record in read(tmp_path)] == ["dec_2"]


def test_offers_go_on_while_a_write_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = Event(), Event()
    one = recorder(tmp_path)
    append = one._folder.append

    def stuck(*arguments: object) -> None:
        entered.set()
        assert leave.wait(30)
        append(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(one._folder), "append", lambda _, *arguments: stuck(*arguments))
    offer(one, draft(1))
    thread = Thread(target=one.flush, args=(START + 60,))
    thread.start()
    assert entered.wait(30)
    assert offer(one, draft(2, START + 60))
    leave.set()
    thread.join(30)
    one.close()
    assert len(read(tmp_path)) == 2


def test_offers_and_flushes_of_two_threads_lose_nothing(tmp_path: Path) -> None:
    one = recorder(tmp_path, per_minute=10)
    done = Event()

    def write() -> None:
        now = START
        while not done.is_set():
            one.flush(now)
            now += 7

    thread = Thread(target=write)
    thread.start()
    for number in range(3_000):
        offer(one, draft(number, START + number), loud=number % 3 == 0)
    done.set()
    thread.join(30)
    one.close()
    status = one.status()
    assert status.offered == 3_000 == status.written + sum(status.dropped.values())
    assert len(read(tmp_path)) == status.written


@pytest.mark.parametrize(
    "wrong",
    [{"per_minute": 1}, {"max_bytes": 10}, {"max_age_s": 1.0}, {"max_rows": 0}, {"low_water_bytes": -1}],
)
def test_options_that_could_not_work_are_refused_with_a_sentence(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .* at least"):
        Options(tmp_path, **wrong)
