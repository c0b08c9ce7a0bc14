"""The detector on streams: silent while nothing changes, and soon heard when something does."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from guardproxy.stats.bands import band_of
from guardproxy.stats.evidence import gather, log_means
from guardproxy.stats.tilts import alternatives_of, bank_of
from guardproxy.table import Floats

EDGES = np.quantile(np.random.default_rng(0).normal(size=20_000), np.arange(1, 16) / 16)


def counts(values: Floats, missing: int = 0) -> Floats:
    """Count values in 16 cells by their order, and what is missing in one behind them."""
    found = np.bincount(np.searchsorted(EDGES, values), minlength=16).astype(np.float64)
    return np.append(found, [missing, 0.0, 0.0, 0.0])


BAND = band_of(counts(np.random.default_rng(0).normal(size=20_000)))
BANK = bank_of(alternatives_of(BAND.share, 16, 16), BAND)


def buckets(seed: int, *, shift: float = 0.0, scale: float = 1.0, size: int = 10) -> Iterator[Floats]:
    generator = np.random.default_rng(seed)
    while True:
        yield counts(generator.normal(shift, scale, size))


NOTHING = np.full(len(BANK.loud), -np.inf)


def log_mean(state: Floats) -> float:
    return float(log_means(state, np.ones(len(state), dtype=np.bool_)))


def first_alarm(stream: Iterator[Floats], run_length: float, limit: int) -> int | None:
    """Return after how many buckets the alarm comes, or None within the limit."""
    state = NOTHING
    for number in range(1, limit + 1):
        state = gather(state, BANK, next(stream))
        if log_mean(state) >= math.log(run_length):
            return number
    return None


def test_no_change_gives_no_alarm() -> None:
    assert [first_alarm(buckets(seed), 1e4, 1_500) for seed in range(12)] == [None] * 12


@pytest.mark.parametrize(("shift", "rows"), [(0.5, 200), (1.0, 60), (-1.0, 60)])
def test_a_shift_is_heard_within_its_rows(shift: float, rows: int) -> None:
    delays = [first_alarm(buckets(seed, shift=shift), 1e4, 300) for seed in range(15)]
    heard = sorted(delay for delay in delays if delay is not None)
    assert len(heard) == len(delays)
    assert heard[len(heard) // 2] * 10 <= rows


def test_a_wider_spread_and_a_gap_are_heard() -> None:
    assert first_alarm(buckets(1, scale=1.5), 1e4, 100) is not None
    half_missing = (counts(np.random.default_rng(seed).normal(size=5), missing=5) for seed in range(100))
    assert (first_alarm(half_missing, 1e4, 100) or 100) <= 5


def test_a_bucket_without_rows_is_no_evidence_against_anything() -> None:
    state = gather(NOTHING, BANK, counts(np.full(3, 1.0)))
    after = state
    for _ in range(100):
        after = gather(after, BANK, counts(np.empty(0)))
    assert after.tolist() == state.tolist()


def test_evidence_beyond_any_float_stays_a_number() -> None:
    state = NOTHING
    for _ in range(50):
        state = gather(state, BANK, counts(np.full(10_000, 5.0)))
    assert math.isfinite(log_mean(state))
    assert log_mean(state) > 1_000


def test_bursts_are_tempered() -> None:
    burst = counts(np.full(10, 2.5))
    plain, tempered = (
        gather(NOTHING, BANK, burst),
        gather(NOTHING, BANK, burst, 10.0),
    )
    assert log_mean(tempered) < log_mean(plain)


def test_what_is_not_counted_is_not_in_the_mean() -> None:
    found = log_means(np.array([[0.0, -math.inf, 9.0]]), np.array([[True, True, False]]))
    assert found.tolist() == pytest.approx([math.log(0.5)])
