"""Every promise holds when all went well, and breaks when one thing did not."""

from collections import Counter
from dataclasses import replace

import pytest

from guardproxy.demo.client import OUTCOMES, Reply
from guardproxy.demo.promises import Promise, Review, counted, decided, judge, queued, tally
from guardproxy.demo.scenario import Phase, Step
from tests.demo.replies import perfect

Played = list[tuple[Step, Reply]]


def play(phase: Phase) -> Played:
    """Play a phase against the perfect guard."""
    return [(step, perfect(step)) for step in phase.steps]


def broken(phase: Phase, played: Played) -> list[Promise]:
    """The promises of a phase that did not hold."""
    return [promise for promise in judge(phase, played) if not promise.kept]


def spoil(played: Played, place: int, **changes: object) -> Played:
    """Change one reply."""
    step, reply = played[place]
    return [*played[:place], (step, replace(reply, **changes)), *played[place + 1 :]]  # type: ignore[arg-type]


def counts_without(reply: Reply, outcome: str) -> dict[str, int]:
    """The counts of a reply as if one row of this outcome had been allowed."""
    counts = dict(reply.counts)
    counts[outcome] -= 1
    counts["allowed"] = counts.get("allowed", 0) + 1
    return counts


@pytest.mark.parametrize("key", ["normal", "unit", "shifted", "missing", "nonsense"])
def test_a_perfect_guard_keeps_every_promise(real_phases: dict[str, Phase], key: str) -> None:
    phase = real_phases[key]
    assert judge(phase, play(phase))
    assert not broken(phase, play(phase))


@pytest.mark.parametrize("key", ["normal", "unit", "shifted", "missing", "nonsense"])
def test_an_unguarded_answer_breaks_a_promise(real_phases: dict[str, Phase], key: str) -> None:
    phase = real_phases[key]
    place = len(phase.steps) - 1
    played = spoil(play(phase), place, outcome="unguarded", counts={"unguarded": phase.steps[place].rows})
    assert broken(phase, played)


@pytest.mark.parametrize("key", ["normal", "unit", "shifted", "missing", "nonsense"])
def test_a_failed_request_breaks_a_promise(real_phases: dict[str, Phase], key: str) -> None:
    phase = real_phases[key]
    played = spoil(play(phase), 0, status=502, outcome="", counts={}, body=b'{"error": "gone"}')
    assert broken(phase, played)


def test_too_many_flagged_rows_on_normal_days_break_a_promise(real_phases: dict[str, Phase]) -> None:
    phase = real_phases["normal"]
    few = spoil(play(phase), 0, outcome="warned", counts={"allowed": 62, "warned": 10})
    many = spoil(play(phase), 0, outcome="warned", counts={"allowed": 60, "warned": 12})
    assert not broken(phase, few)
    assert broken(phase, many)


def test_one_byte_added_to_an_allowed_answer_breaks_a_promise(real_phases: dict[str, Phase]) -> None:
    phase = real_phases["normal"]
    played = play(phase)
    assert broken(phase, spoil(played, 3, body=played[3][1].body + b" "))


def test_a_refused_request_that_reached_the_model_breaks_a_promise(real_phases: dict[str, Phase]) -> None:
    phase = real_phases["unit"]
    assert broken(phase, spoil(play(phase), 0, model_calls=1))


def test_a_refusal_in_another_shape_breaks_a_promise(real_phases: dict[str, Phase]) -> None:
    phase = real_phases["unit"]
    assert broken(phase, spoil(play(phase), 1, body=b"<html>no</html>"))


@pytest.mark.parametrize(("key", "place", "outcome"), [("unit", 4, "replaced"), ("missing", 0, "warned")])
def test_a_bad_row_that_was_allowed_breaks_a_promise(
    real_phases: dict[str, Phase], key: str, place: int, outcome: str
) -> None:
    phase = real_phases[key]
    played = play(phase)
    assert broken(phase, spoil(played, place, counts=counts_without(played[place][1], outcome)))


def test_a_hold_on_the_wrong_row_breaks_a_promise(real_phases: dict[str, Phase]) -> None:
    phase = real_phases["shifted"]
    played = play(phase)
    assert broken(phase, spoil(played, 0, held_rows=(0, *played[0][1].held_rows[1:])))


def test_the_models_own_bytes_in_a_bad_row_break_a_promise(real_phases: dict[str, Phase]) -> None:
    phase = real_phases["nonsense"]
    played = play(phase)
    assert broken(phase, spoil(played, 0, body=played[0][1].direct))


def test_a_byte_changed_between_the_values_breaks_a_promise(real_phases: dict[str, Phase]) -> None:
    phase = real_phases["nonsense"]
    played = play(phase)
    assert broken(phase, spoil(played, 1, body=played[1][1].body.replace(b'"p10"', b'"p11"')))


def test_another_value_in_an_allowed_row_breaks_a_promise(real_phases: dict[str, Phase]) -> None:
    phase = real_phases["nonsense"]
    played = play(phase)
    assert 0 not in played[0][0].expected
    assert broken(phase, spoil(played, 0, body=played[0][1].body.replace(b"[2.0", b"[2.5", 1)))


@pytest.mark.parametrize("absurd", ["-2.5", "NaN", "250.0", "null", "0.5"])
def test_an_absurd_number_that_reaches_the_client_breaks_a_promise(
    real_phases: dict[str, Phase], absurd: str
) -> None:
    phase = real_phases["nonsense"]
    played = play(phase)
    body = played[2][1].body.replace(b"2.25", absurd.encode())
    assert any("absurd" in promise.figures for promise in broken(phase, spoil(played, 2, body=body)))


def test_rows_are_tallied_from_the_headers(real_phases: dict[str, Phase]) -> None:
    counts = tally(play(real_phases["unit"]))
    assert counts == {**dict.fromkeys(OUTCOMES, 0), "allowed": 48, "replaced": 24, "rejected": 75}


def test_the_guards_count_must_be_the_clients(real_phases: dict[str, Phase]) -> None:
    played = [play(phase) for phase in real_phases.values()]
    total: Counter[str] = Counter()
    for part in played:
        total.update(tally(part))
    assert counted(total, played).kept
    assert not counted({**total, "held": total["held"] + 1}, played).kept
    assert not counted({}, played).kept


def test_the_queue_must_have_every_held_row(real_phases: dict[str, Phase]) -> None:
    played = [play(real_phases["shifted"])]
    assert queued({"open": 8}, played).kept
    assert not queued({"open": 7}, played).kept
    assert not queued({"open": 9}, played).kept
    assert not queued({"open": 0}, [play(real_phases["normal"])]).kept


def test_a_decision_must_read_back_as_the_final_answer() -> None:
    good = Review("hld", "override", 200, {"departures": 4.0}, "overridden", {"departures": 4.0, "p10": 2.0})
    assert decided(good).kept
    for worse in (
        replace(good, state="deciding"),
        replace(good, state="expired"),
        replace(good, final=None),
        replace(good, final={"departures": 5.0}),
        replace(good, final={"p10": 2.0}),
        replace(good, status=412),
        replace(good, decision="approve"),
    ):
        assert not decided(worse).kept
