"""Rules of scope `window`: when they fire and when that has ended. Every clock is a bucket's number."""

import zlib
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.decision import RequestFacts
from guardproxy.rules import load_rulesets
from guardproxy.stats.window_rules import (
    MAX_STATES,
    Change,
    Judged,
    Key,
    State,
    WindowJudge,
    advance,
    decode,
    encode,
    window_judge,
)
from tests.shared import ROOT
from tests.stats.test_recent import ruleset

KEY = Key("zeros", "abc")
SHARE = "recent_share(output.y == 0, 1h)"
FACTS = RequestFacts(0.0, 12, 3, "2026-11-26")


def judged(violated: bool | None, for_s: float = 900.0, rule: str = "zeros") -> Judged:
    return Judged(rule, "abc", for_s, violated, told=True, message="")


def run(
    verdicts: Iterable[tuple[int, bool | None]], for_s: float = 900.0, bucket_s: float = 60.0
) -> tuple[list[str], list[tuple[bool, int]]]:
    states: Mapping[Key, State] = {}
    words, told = [], []
    for bucket, violated in verdicts:
        states, changes = advance(states, [judged(violated, for_s)], bucket, bucket_s)
        words.append(states[KEY].word)
        told += [(change.firing, change.bucket) for change in changes]
    return words, told


def test_a_rule_fires_once_it_was_violated_in_every_bucket_for_its_time() -> None:
    words, told = run((bucket, True) for bucket in range(100, 130))
    assert words == ["violated"] * 15 + ["firing"] * 15
    assert told == [(True, 115)]


def test_without_a_time_a_rule_fires_at_once_and_ends_when_it_is_kept() -> None:
    words, told = run([(1, False), (2, True), (3, True), (4, False), (5, True)], for_s=0.0)
    assert words == ["ok", "firing", "firing", "ok", "firing"]
    assert told == [(True, 2), (False, 4), (True, 5)]


@pytest.mark.parametrize("between", [[(105, None)], [(105, False)], []])
def test_a_gap_or_what_is_not_known_begins_the_time_anew(between: list[tuple[int, bool | None]]) -> None:
    verdicts: list[tuple[int, bool | None]] = [(bucket, True) for bucket in range(95, 105)]
    verdicts += between
    verdicts += [(bucket, True) for bucket in range(106, 122)]
    _, told = run(verdicts)
    assert told == [(True, 121)]


def test_not_knowing_ends_nothing() -> None:
    words, told = run([(1, True), (2, None), (3, None), (9, True), (10, False)], for_s=0.0)
    assert words == ["firing"] * 4 + ["ok"]
    assert told == [(True, 1), (False, 10)]


def test_where_buckets_are_shorter_than_a_beat_a_missed_one_is_no_gap() -> None:
    _, told = run([(0, True), (2, True), (5, True), (8, True), (10, True)], for_s=10.0, bucket_s=1.0)
    assert told == [(True, 10)]
    _, told = run([(0, True), (2, True), (6, True), (8, True), (10, True)], for_s=10.0, bucket_s=1.0)
    assert told == []


def test_a_bucket_that_was_judged_already_is_left_as_it_is() -> None:
    states, _ = advance({}, [judged(violated=True, for_s=0.0)], 7, 60.0)
    again, changes = advance(states, [judged(violated=False)], 7, 60.0)
    assert (again, changes) == (states, [])
    again, changes = advance(states, [judged(violated=False)], 6, 60.0)
    assert (again, changes) == (states, [])


def test_a_rule_that_is_no_longer_judged_is_forgotten_and_no_longer_fires() -> None:
    states, _ = advance({}, [judged(violated=True, for_s=0.0)], 100, 60.0)
    other = judged(violated=False, rule="other")
    states, changes = advance(states, [other], 160, 60.0)
    assert KEY in states
    assert changes == []
    states, changes = advance(states, [other], 161, 60.0)
    assert states.keys() == {Key("other", "abc")}
    assert changes == [Change(KEY, firing=False, since=100, bucket=161, judged=None)]


def test_of_more_states_than_are_kept_those_judged_longest_ago_are_forgotten() -> None:
    states = {
        Key(f"r{n:05}", "abc"): State(90 if n < 10 else 95, violated=False) for n in range(MAX_STATES + 4)
    }
    kept, _ = advance(states, [judged(violated=False)], 100, 60.0)
    assert len(kept) == MAX_STATES
    assert KEY in kept
    assert sum(key.rule < "r00010" for key in kept) == 5


STATES = st.dictionaries(
    st.builds(Key, st.text(max_size=8), st.text(max_size=12)),
    st.builds(
        State,
        st.integers(0, 2**40),
        st.sampled_from([None, True, False]),
        st.none() | st.integers(0, 2**40),
        st.none() | st.integers(0, 2**40),
    ),
    max_size=8,
)


@given(STATES)
def test_states_survive_their_bytes(states: dict[Key, State]) -> None:
    assert decode(encode(states)) == states
    assert decode(None) == {}


@given(st.binary(max_size=60))
def test_damaged_bytes_are_refused(noise: bytes) -> None:
    for blob in (noise, zlib.compress(noise)):
        with pytest.raises(ValueError, match="damaged"):
            decode(blob)


@pytest.mark.parametrize(
    "said",
    [
        b"[2,[]]", b"[1,[[1,2]]]", b'[1,[["a","b",1.5,null,null,null]]]', b'[1,[["a",1,1,null,null,null]]]',
        b'[1,[["a","b",1,"x",null,null]]]', b'[1,[["a","b",1,true,"x",null]]]', b'{"a":1}', b"7",
    ],
)  # fmt: skip
def test_states_that_cannot_be_are_refused(said: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        decode(zlib.compress(said))


@given(st.lists(st.sampled_from([True, False, None]), max_size=60), st.integers(0, 5))
def test_a_rule_fires_and_ends_in_turn_and_never_before_its_time(
    verdicts: list[bool | None], minutes: int
) -> None:
    _, told = run(enumerate(verdicts), for_s=minutes * 60.0)
    assert [firing for firing, _ in told] == [place % 2 == 0 for place in range(len(told))]
    for firing, bucket in told:
        if firing:
            assert all(verdicts[bucket - minutes : bucket + 1])
        else:
            assert verdicts[bucket] is False


def judge_of(*rules: str) -> WindowJudge:
    return window_judge(ruleset(*rules))


def test_each_rule_is_judged_on_what_rolling_functions_give() -> None:
    judge = judge_of(
        f'{{id: zeros, scope: window, for: 15m, forbid: "{SHARE} > 30%", message: "{{{SHARE}:.0%}} are zero"}}',
        f'{{id: night, scope: window, when: "request.hour < 6", forbid: "{SHARE} > 30%"}}',
        f'{{id: silent, scope: window, mode: shadow, require: "{SHARE} < 30%"}}',
        f'{{id: "off", scope: window, mode: "off", require: "{SHARE} < 30%"}}',
        '{id: row, forbid: "output.y < 0"}',
    )
    zeros, night, silent = judge.judge({SHARE: 0.5}, FACTS)
    assert (zeros.rule, zeros.violated, zeros.told, zeros.for_s) == ("zeros", True, True, 900.0)
    assert zeros.message == "50% are zero"
    assert (night.violated, silent.violated, silent.told) == (False, True, False)
    assert [one.violated for one in judge.judge({SHARE: 0.1}, FACTS)] == [False, False, False]


def test_a_rule_that_warms_up_is_not_known_and_says_what_it_waits_for() -> None:
    (one,) = judge_of(f'{{id: zeros, scope: window, forbid: "{SHARE} > 30%"}}').judge({}, FACTS)
    assert one.violated is None
    assert one.message == f"warming up: {SHARE} needs 1h of traffic"


@pytest.mark.parametrize(("until", "violated"), [("2026-11-26", False), ("2026-11-25", True)])
def test_an_exception_holds_for_windows_until_its_day_ends(until: str, violated: bool) -> None:
    unless = f"unless: [{{id: x, when: 'request.hour == 12', until: {until}, owner: o, why: w}}]"
    (one,) = judge_of(f'{{id: zeros, scope: window, forbid: "{SHARE} > 30%", {unless}}}').judge(
        {SHARE: 0.9}, FACTS
    )
    assert one.violated is violated


def test_the_worked_examples_are_judged_whatever_other_rules_stand_beside_them() -> None:
    texts = {path.name: path.read_text() for path in sorted((ROOT / "rules").glob("*.guard.yaml"))}
    rulesets, _ = load_rulesets(texts)
    found = [judged for one in rulesets.values() for judged in window_judge(one).judge({}, FACTS)]
    assert {judged.rule for judged in found} >= {
        "forecast-has-drifted",
        "fraud-share-collapsed",
        "spam-share-rose",
    }
    assert all(judged.violated is None for judged in found)
    kinds = ruleset(
        f'{{id: zeros, scope: window, forbid: "{SHARE} > 30%"}}',
        "{id: batch, scope: batch, require: batch_mean(output.y) > 1, on_unknown: ignore}",
        "{id: jump, max_change: {field: output.y, against: previous, up: 60%}, on_unknown: ignore}",
        "{id: odd, unusual: {field: output.y, by: [features.x]}, on_unknown: ignore}",
        "{id: lacking, missing_share: {fields: [features.x], max: 5%}}",
        "{id: known, profile: {fields: features.*}}",
    )
    (judged,) = window_judge(kinds).judge({SHARE: 0.4}, FACTS)
    assert (judged.rule, judged.violated) == ("zeros", True)
