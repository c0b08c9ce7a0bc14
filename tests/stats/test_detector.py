"""The detector of a whole model: how long it is silent, how soon it is heard, and what it keeps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.profile.cells import Cells, season_cell
from guardproxy.stats.alarms import NEVER, AlarmSettings
from guardproxy.stats.bands import band_of, nearest
from guardproxy.stats.counts import Sums
from guardproxy.stats.detector import Detector
from guardproxy.stats.detector_state import BYTES_PER_FIELD, decode
from guardproxy.stats.layout import Layout
from tests.stats.drifting import REFERENCE, counted, layout_of, number_cells, run, value_cells

CELLS = number_cells()
ONE = layout_of(CELLS)
LONG = AlarmSettings(run_length_s=1e4 * 60.0)
DETECTOR = Detector(ONE, LONG)
BAND = band_of(np.array(CELLS.counts, dtype=np.float64))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 40), st.lists(st.floats(0.001, 1.0), min_size=20, max_size=20))
def test_evidence_grows_by_no_more_than_one_a_bucket_whatever_the_band_allows(
    seed: int, before: int, weights: list[float]
) -> None:
    """The law of the run length, exactly: E[M' | past] <= M + 1 for a next row of any distribution inside the band."""
    generator = np.random.default_rng(seed)
    state = run(
        DETECTOR,
        DETECTOR.start(NEVER),
        [counted(ONE, [generator.normal(0.4, 1.0, 25)]) for _ in range(before)],
    )
    share = nearest(np.array(weights) / sum(weights), BAND)
    rows = np.eye(20, dtype=np.int64)
    after = [np.exp(DETECTOR.evidence(DETECTOR.step(state, before, row))[0]) for row in rows]
    m = float(np.exp(DETECTOR.evidence(state)[0]))
    assert float(share @ after) <= (m + 1.0) * (1.0 + 1e-5)


def test_sixty_models_without_drift_raise_no_alarm_in_thirty_thousand_rows() -> None:
    fields = 60
    layout = layout_of(*[CELLS] * fields)
    detector = Detector(layout, LONG)
    generator = np.random.default_rng(1)
    state = detector.start(NEVER)
    for bucket in range(600):
        state = detector.step(state, bucket, counted(layout, list(generator.normal(size=(fields, 50)))))
    # Each field is a model of its own here: at a run length of 10,000 buckets up to 4 of 60 may alarm within 600.
    assert int((detector.evidence(state) >= detector.level).sum()) == 0
    assert not state.alarm.stands


@pytest.mark.parametrize(("shift", "rows"), [(0.5, 200), (-0.5, 200), (1.0, 60)])
def test_a_shift_is_heard_within_its_rows(shift: float, rows: int) -> None:
    delays = []
    for seed in range(9):
        generator, state = np.random.default_rng(seed), DETECTOR.start(NEVER)
        while not state.alarm.stands and state.cursor < 100:
            state = DETECTOR.step(state, state.cursor + 1, counted(ONE, [generator.normal(shift, 1.0, 10)]))
        delays.append((state.cursor + 1) * 10)
    assert float(np.median(delays)) <= rows


def test_the_alarm_names_what_drifts_and_nothing_else() -> None:
    layout = layout_of(CELLS, CELLS, CELLS)
    detector = Detector(layout, LONG)
    generator = np.random.default_rng(3)
    calm = [counted(layout, list(generator.normal(size=(3, 50)))) for _ in range(40)]
    moved = [
        counted(
            layout, [generator.normal(size=50), generator.normal(0.8, 1.0, 50), generator.normal(size=50)]
        )
        for _ in range(10)
    ]
    state = run(detector, detector.start(NEVER), calm)
    assert state.named.tolist() == [NEVER] * 3
    state = run(detector, state, moved, 40)
    assert state.alarm.stands
    assert state.named[[0, 2]].tolist() == [NEVER, NEVER]
    assert 40 <= state.named[1] < 50
    assert 39 <= state.since[1] <= 42


@pytest.mark.parametrize(
    ("cell", "share"),
    [(16, 0.01), (17, 0.02), (18, 0.02), (19, 0.05)],
    ids=["below", "above", "missing", "another type"],
)
def test_what_was_never_there_is_soon_heard(cell: int, share: float) -> None:
    generator, state = np.random.default_rng(4), DETECTOR.start(NEVER)
    probabilities = np.array(CELLS.counts) / REFERENCE * (1.0 - share)
    probabilities[cell] += share
    rows = [generator.multinomial(50, probabilities / probabilities.sum()) for _ in range(60)]
    state = run(DETECTOR, state, rows)
    assert state.alarm.stands
    assert state.alarm.raised < 40


def test_a_new_value_and_a_commoner_one_are_heard() -> None:
    layout = layout_of(value_cells({"a": 9_000, "b": 900, "c": 100}))
    detector = Detector(layout, LONG)
    state = run(detector, detector.start(NEVER), [np.array([90, 9, 1, 0, 0, 0, 0])] * 200)
    assert not state.alarm.stands
    assert run(detector, state, [np.array([80, 19, 1, 0, 0, 0, 0])] * 12, 200).alarm.stands
    assert run(detector, state, [np.array([88, 9, 1, 0, 2, 0, 0])] * 12, 200).alarm.stands


def test_what_is_always_missing_and_then_there_is_heard() -> None:
    layout = layout_of(Cells(counts=(0, 0, 0, 5_000, 0)))
    detector = Detector(layout, LONG)
    state = run(detector, detector.start(NEVER), [np.array([0, 0, 0, 50, 0])] * 50)
    assert not state.alarm.stands
    assert run(detector, state, [np.array([5, 0, 0, 45, 0])] * 10, 50).alarm.stands


def test_an_idle_model_never_raises_an_alarm() -> None:
    detector = Detector(ONE, AlarmSettings(run_length_s=600.0))
    state = run(detector, detector.start(NEVER), [np.zeros(ONE.size, dtype=np.int64)] * 500)
    assert not state.alarm.stands
    assert state.cursor == 499


def test_a_model_without_cells_is_never_judged() -> None:
    layout = Layout("00000000", 12, (), ())
    detector = Detector(layout, LONG)
    state = run(detector, detector.start(NEVER), [np.ones(12, dtype=np.int64)] * 3)
    assert state.cursor == 2
    assert detector.model_evidence(state) == -np.inf
    assert decode(state.encode(), detector.shape).cursor == 2


def test_a_bucket_that_comes_late_or_twice_changes_nothing() -> None:
    generator = np.random.default_rng(5)
    buckets = [counted(ONE, [generator.normal(1.0, 1.0, 20)]) for _ in range(4)]
    state = run(DETECTOR, DETECTOR.start(NEVER), buckets)
    assert DETECTOR.step(state, 3, buckets[3]) is state
    assert DETECTOR.step(state, 1, buckets[1]) is state


def test_a_season_is_no_drift_and_a_shift_within_it_is() -> None:
    generator = np.random.default_rng(6)
    times = np.repeat(np.arange(0.0, 28 * 86_400.0, 3_600.0), 60)
    reference = generator.normal(np.sin(times / 86_400.0 * 2 * np.pi), 1.0)
    hourly = AlarmSettings(run_length_s=1e4 * 3_600.0, bucket_s=3_600.0)
    seasonal, flat = (
        (layout, Detector(layout, hourly))
        for layout in (layout_of(number_cells(reference, times)), layout_of(number_cells(reference)))
    )

    def live(hours: range, shift: float) -> list[Sums]:
        centre = [np.sin(hour / 24.0 * 2 * np.pi) + shift for hour in hours]
        return [counted(ONE, [generator.normal(at, 1.0, 60)]) for at in centre]

    calm, moved = live(range(72), 0.0), live(range(72, 84), 0.6)
    quiet = run(seasonal[1], seasonal[1].start(NEVER), calm)
    assert not quiet.alarm.stands
    assert run(flat[1], flat[1].start(NEVER), calm).alarm.stands
    assert run(seasonal[1], quiet, moved, 72).alarm.stands
    assert season_cell(72 * 3_600.0) != season_cell(80 * 3_600.0)


def test_what_days_differ_by_is_no_drift() -> None:
    generator = np.random.default_rng(7)
    shares = np.clip(0.5 + generator.normal(0.0, 0.1, 60), 0.0, 1.0)
    buckets = [np.array([*generator.multinomial(100, [share, 1.0 - share]), 0, 0, 0, 0]) for share in shares]
    plain = Cells(values=("a", "b"), counts=(5_000, 5_000, 0, 0, 0, 0))
    aware = Cells(values=("a", "b"), counts=(5_000, 5_000, 0, 0, 0, 0), spread=(0.1, 0.1, 0.0, 0.0, 0.0, 0.0))
    found = []
    for cells in (plain, aware):
        detector = Detector(layout_of(cells), LONG)
        found.append(run(detector, detector.start(NEVER), buckets).alarm.stands)
    assert found == [True, False]


def test_bursts_are_tempered_by_the_dispersion() -> None:
    generator = np.random.default_rng(8)
    bursts = [counted(ONE, [np.repeat(generator.normal(size=5), 20)]) for _ in range(60)]
    detector = Detector(ONE, AlarmSettings(run_length_s=1e4 * 60.0, dispersion=20.0))
    assert run(DETECTOR, DETECTOR.start(NEVER), bursts).alarm.stands
    assert not run(detector, detector.start(NEVER), bursts).alarm.stands


def test_a_state_goes_on_from_its_bytes_as_it_would_have_from_memory() -> None:
    layout = layout_of(CELLS, value_cells({f"v{place}": 1_000 - place for place in range(16)}, other=400))
    detector = Detector(layout, LONG)
    generator = np.random.default_rng(9)
    buckets = [
        np.concatenate(
            (counted(ONE, [generator.normal(0.3, 1.0, 30)]), generator.multinomial(30, [0.05] * 20))
        )
        for _ in range(30)
    ]
    state = run(detector, detector.start(NEVER), buckets)
    again = decode(state.encode(), detector.shape)
    for _ in range(3):
        state, again = (
            run(detector, one, buckets[:5], one.cursor + 1)
            for one in (state, decode(again.encode(), detector.shape))
        )
    assert state.encode() == again.encode()
    assert (
        max(4 * (alternatives + 4 * cells) + 16 for alternatives, cells in detector.shape) <= BYTES_PER_FIELD
    )


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_state_is_refused(place: int, change: int) -> None:
    blob = bytearray(DETECTOR.start(7).encode())
    blob[place % len(blob)] ^= change
    with pytest.raises(ValueError, match="drift state"):
        decode(bytes(blob), DETECTOR.shape)


@pytest.mark.parametrize("blob", [b"", b"gpd1", b"\0" * 600])
def test_what_is_no_state_at_all_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="drift state"):
        decode(blob, DETECTOR.shape)


def test_a_state_of_other_fields_is_refused() -> None:
    other = Detector(layout_of(CELLS, CELLS), LONG)
    with pytest.raises(ValueError, match="drift state"):
        decode(other.start(1).encode(), DETECTOR.shape)


def test_hours_of_which_the_reference_has_few_rows_or_none_raise_no_alarm() -> None:
    generator = np.random.default_rng(8)
    hours = np.arange(0.0, 28 * 86_400.0, 3_600.0)
    # By day 60 rows an hour around 1, by night 3 around -1, between four and six none at all.
    day = (hours // 3_600 % 24) >= 8
    rows = np.where(day, 60, np.where((hours // 3_600 % 24) < 4, 3, 0))
    times = np.repeat(hours, rows)
    reference = generator.normal(np.repeat(np.where(day, 1.0, -1.0), rows), 1.0)
    layout = layout_of(number_cells(reference, times))
    detector = Detector(layout, AlarmSettings(run_length_s=1e4 * 3_600.0, bucket_s=3_600.0))
    live = [
        counted(
            layout, [generator.normal(1.0 if hour % 24 >= 8 else -1.0, 1.0, 40 if hour % 24 >= 8 else 20)]
        )
        for hour in range(14 * 24)
    ]
    calm = detector.start(NEVER)
    for hour, counts in enumerate(live):
        calm = detector.step(calm, hour, counts)
        assert not calm.alarm.stands, f"hour {hour}"
    moved = [counted(layout, [generator.normal(1.7, 1.0, 40)]) for _ in range(12)]
    assert run(detector, calm, moved, 14 * 24 + 9).alarm.stands
