"""The threshold of the joint check lets through what was promised, counted together with what the ranges flag."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.columns import NumberColumn
from guardproxy.profile.joint_threshold import (
    AIM,
    Threshold,
    held_rows_needed,
    leaves_room,
    threshold_of,
    threshold_rank,
)
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import CONFIDENCE, Profile, Provenance
from guardproxy.profile.tails import share_upper_bound
from guardproxy.proxy.facts import facts_at
from guardproxy.rules import View
from guardproxy.rules.inside import bind_inside
from guardproxy.rules.model import Check
from guardproxy.table import Floats, Mask, Table

NAMES = ("a", "b", "c")


def none_of(misfits: Floats) -> Mask:
    return np.zeros(len(misfits), dtype=np.bool_)


def found(misfits: Floats, flagged: Mask, alpha: float) -> Threshold:
    threshold = threshold_of(misfits, flagged, alpha)
    assert threshold is not None
    return threshold


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3_000), st.floats(1e-4, 0.02))
def test_the_threshold_is_the_smallest_that_keeps_its_promise(held: int, alpha: float) -> None:
    rank, proved = threshold_rank(held, alpha)
    if rank is None:
        assert held < held_rows_needed(alpha)
    elif proved:
        assert share_upper_bound(held - rank, held, CONFIDENCE) <= alpha
        assert rank == 1 or share_upper_bound(held - rank + 1, held, CONFIDENCE) > alpha
    else:
        assert share_upper_bound(0, held, CONFIDENCE) > alpha
        assert (held + 1 - rank) / (held + 1) <= alpha + 1e-9
        assert (held + 2 - rank) / (held + 1) > alpha


def test_a_proved_threshold_keeps_its_promise_in_nineteen_samples_of_twenty() -> None:
    rng = np.random.default_rng(0)
    held, alpha, samples = 2_000, 0.01, 2_000
    rank, proved = threshold_rank(held, alpha)
    assert proved
    assert rank is not None
    # Of uniform misfits the share beyond a threshold is one less the threshold.
    beyond = 1.0 - np.sort(rng.random((samples, held)), axis=1)[:, rank - 1]
    assert 0.03 <= np.mean(beyond > alpha) <= 0.065


@settings(max_examples=100, deadline=None)
@given(st.integers(20, 400), st.floats(0.005, 0.2), st.integers(0, 10), st.integers(0, 1_000))
def test_no_more_held_back_rows_lie_beyond_or_outside_than_the_rank_allows(
    held: int, alpha: float, outside: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    misfits, flagged = rng.pareto(1.0, held), none_of(np.empty(held))
    flagged[rng.permutation(held)[:outside]] = True
    threshold = threshold_of(misfits, flagged, alpha)
    rank, proved = threshold_rank(held, alpha)
    assert (threshold is not None) == leaves_room(outside, held, alpha)
    if threshold is not None:
        assert rank is not None
        assert threshold.proved == proved
        beyond = np.count_nonzero(flagged | (misfits > threshold.misfit * (1.0 + 1e-9)))
        assert beyond <= held - rank


@pytest.mark.parametrize("outside", [0.0, 0.004])
@pytest.mark.parametrize("tail", ["thin", "heavy"])
def test_on_average_about_the_part_that_is_aimed_at_is_flagged_and_never_more_than_the_share(
    tail: str, outside: float
) -> None:
    rng = np.random.default_rng(0)
    alpha, held, shares = 0.01, 250, []
    for _ in range(2_000):
        level = rng.random(held)
        misfits = -np.log(level) if tail == "thin" else 1.0 / level
        flagged = rng.random(held) < outside
        threshold = threshold_of(misfits, flagged, alpha)
        beyond = 0.0
        if threshold is not None:
            assert not threshold.proved
            beyond = float(np.exp(-threshold.misfit) if tail == "thin" else 1.0 / threshold.misfit)
        shares.append(outside + (1.0 - outside) * beyond)
    assert 0.8 * AIM * alpha < np.mean(shares) < alpha
    assert outside or np.mean(shares) < 1.2 * AIM * alpha


def test_a_row_that_is_not_judged_counts_as_the_least_odd() -> None:
    misfits = np.arange(1.0, 3_001.0)
    unjudged = misfits.copy()
    unjudged[:1_000] = np.nan
    assert found(misfits, none_of(misfits), 0.001) == found(unjudged, none_of(misfits), 0.001)
    assert found(misfits, none_of(misfits), 0.001).misfit == pytest.approx(3_000.0)


def test_what_the_ranges_flag_is_not_left_to_the_joint_check() -> None:
    misfits = np.arange(1.0, 2_001.0)
    flagged = none_of(misfits)
    alone = found(misfits, flagged, 0.001)
    assert 1_999.0 < alone.misfit < 2_000.0
    flagged[3] = True
    assert found(misfits, flagged, 0.001).misfit > 2_000.0
    flagged[4] = True
    assert threshold_of(misfits, flagged, 0.001) is None


def test_ranges_and_joint_check_together_flag_no_more_clean_rows_than_was_asked_for() -> None:
    alpha, shares, alone = 0.01, [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        base = rng.lognormal(0.0, 1.0, (6_000, 1))
        rows = np.concatenate(
            (base, base * 3.0 + rng.normal(size=(6_000, 1)), rng.standard_t(3.0, (6_000, 1))), axis=1
        )
        learner = Learner("m", alpha=alpha, rng=rng)
        learner.update({name: NumberColumn(rows[:2_000, at]) for at, name in enumerate(NAMES)})
        profile = learner.finish(Provenance())
        assert profile.joint is not None
        assert profile.joint.alpha == alpha
        shares.append(flagged_share(profile, rows[2_000:]))
        broken = rows[2_000:].copy()
        broken[:, 1] = broken[::-1, 1]
        alone.append(flagged_share(profile, broken))
    assert 0.0 < np.mean(shares) <= alpha
    assert np.mean(alone) > 0.1


def test_it_is_noted_how_many_rows_a_joint_check_takes() -> None:
    rng = np.random.default_rng(0)
    learner = Learner("m", alpha=0.01, rng=rng)
    learner.update({name: NumberColumn(rng.normal(size=300)) for name in NAMES})
    assert learner.finish(Provenance()).joint is None
    few = "60 held-back rows are too few for a share of 1 %; 99 are needed, so about 495 rows in all"
    assert learner.notes == [f"no joint check: {few}"]


def flagged_share(profile: Profile, rows: Floats) -> float:
    inside = bind_inside(Check("profile", every="features"), profile, NAMES, ())
    view = View(
        Table(NAMES, len(rows), np.ascontiguousarray(rows.T)),
        None,
        facts_at(1_700_000_000.0),
        lambda *_: None,
    )
    few = inside.few(view, 1)
    return 0.0 if few is None else float(np.mean(~few))
