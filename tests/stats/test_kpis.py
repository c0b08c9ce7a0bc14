"""KPIs are tallied from the rows that passed, and follow the rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Decision, Outcome, Verdict
from guardproxy.rules.ruleset import Ruleset
from guardproxy.stats import ModelWindows, Sample
from guardproxy.stats.sketch import ACCURACY, BINS, LARGEST, SMALLEST, Sketch
from guardproxy.table import table_from_records
from tests.rules.build import rules_of

MARGIN = (
    'kpis:\n  margin: {title: Gross margin, unit: "%", expr: (output.price - features.cost) / output.price, '
    "expect: {min: 10%, max: 70%}}\n"
    "  double: {title: Twice the margin, expr: 2 * kpi.margin}\n"
    "  late: {title: Hours, expr: request.hour + features.cost}\n"
    "rules: []\n"
)


def sample(at: float, rows: list[tuple[float | None, float]]) -> Sample:
    codes = np.zeros(len(rows), dtype=np.uint8)
    verdicts = np.full((1, len(rows)), Verdict.OK, dtype=np.uint8)
    decision = Decision("m", "f", len(rows), codes + Outcome.ALLOWED, ("a",), verdicts)
    features = table_from_records([{"cost": cost} for cost, _ in rows])
    return Sample(at, decision, features, table_from_records([{"price": price} for _, price in rows]))


def windows_of(ruleset: Ruleset) -> ModelWindows:
    return ModelWindows("m", None, ruleset.measures)


def test_a_kpi_has_moments_quantiles_and_counts_of_what_was_not_expected() -> None:
    windows = windows_of(rules_of(MARGIN))
    windows.add([sample(5.0, [(50.0, 100.0), (95.0, 100.0)]), sample(70.0, [(20.0, 100.0), (None, 100.0)])])
    said = windows.as_json(80.0)["windows"]["5m"]["kpis"]["kpi.margin"]
    assert (said["title"], said["unit"], said["low"], said["high"]) == ("Gross margin", "%", 0.1, 0.7)
    assert (said["cells"], said["missing"]) == (4, 1)
    assert said["outside"] == {"missing": 1, "below": 1, "above": 1}
    assert said["mean"] == pytest.approx((0.5 + 0.05 + 0.8) / 3)
    assert said["p50"] == pytest.approx(0.5, rel=ACCURACY)
    assert (said["min"], said["max"]) == (pytest.approx(0.05), pytest.approx(0.8))


def test_a_kpi_of_a_kpi_is_tallied_and_one_that_depends_on_the_hour_is_not() -> None:
    windows = windows_of(rules_of(MARGIN))
    windows.add([sample(5.0, [(50.0, 100.0)])])
    kpis = windows.as_json(6.0)["windows"]["1h"]["kpis"]
    assert set(kpis) == {"kpi.margin", "kpi.double"}
    assert kpis["kpi.double"]["mean"] == pytest.approx(1.0)


@pytest.mark.parametrize("price", [100.0, 200.0, 1e15, 1e-9, -3.0])
def test_no_quantile_lies_beyond_the_smallest_and_the_largest_value(price: float) -> None:
    windows = windows_of(rules_of("kpis:\n  price: {expr: output.price}\nrules: []\n"))
    windows.add([sample(5.0, [(None, price)] * 3)])
    said = windows.as_json(6.0)["windows"]["1h"]["kpis"]["kpi.price"]
    assert [said[name] for name in ("min", "p1", "p50", "p99", "max")] == [price] * 5


def test_tallies_follow_a_reload() -> None:
    windows = windows_of(rules_of(MARGIN))
    windows.add([sample(5.0, [(50.0, 100.0)])])
    other = rules_of(
        "kpis:\n  margin: {title: Margin in money, expr: output.price - features.cost}\nrules: []\n"
    )
    windows.follow(other.measures)
    windows.add([sample(6.0, [(50.0, 100.0)])])
    said = windows.as_json(7.0)["windows"]["1h"]["kpis"]
    assert (said["kpi.margin"]["title"], said["kpi.margin"]["cells"]) == ("Margin in money", 1)
    assert said["kpi.margin"]["mean"] == pytest.approx(50.0)
    windows.follow(None)
    windows.add([sample(8.0, [(50.0, 100.0)])])
    assert windows.as_json(9.0)["windows"]["1h"]["kpis"]["kpi.margin"]["cells"] == 1


NUMBERS = st.lists(
    st.floats(SMALLEST, LARGEST) | st.floats(-LARGEST, -SMALLEST) | st.just(0.0), min_size=1, max_size=40
)


@settings(deadline=None)
@given(NUMBERS, st.floats(0, 1))
def test_a_quantile_is_within_its_accuracy(numbers: list[float], share: float) -> None:
    sketch = Sketch()
    sketch.add(np.array(numbers))
    rank = max(1, int(np.ceil(share * len(numbers))))
    exact = sorted(numbers)[rank - 1]
    assert sketch.quantile(share) == pytest.approx(exact, rel=ACCURACY * 1.01, abs=SMALLEST * 1.2)


@settings(deadline=None)
@given(NUMBERS, NUMBERS)
def test_sketches_of_two_stretches_merge_to_that_of_both(one: list[float], other: list[float]) -> None:
    first, second, both = Sketch(), Sketch(), Sketch()
    first.add(np.array(one))
    second.add(np.array(other))
    both.add(np.array(one + other))
    first.merge(second)
    assert (first.counts == both.counts).all()


def test_a_sketch_has_one_size_whatever_it_is_given() -> None:
    sketch = Sketch()
    assert sketch.quantile(0.5) is None
    sketch.add(np.array([1e300, -1e300, 1e-300, 5e-324, 0.0]))
    assert len(sketch.counts) == BINS
    assert sketch.quantile(1.0) == pytest.approx(LARGEST, rel=0.2)
