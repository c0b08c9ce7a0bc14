"""Rules proposed from traffic: valid files whose own tests pass, with bounds that ordinary traffic keeps."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.authoring.approvals import Pattern, find_patterns
from guardproxy.authoring.fmt import format_files
from guardproxy.authoring.suggest import Suggested, suggest
from guardproxy.decision import Meanwhile, Mode, OnExpiry, Severity
from guardproxy.guard.cases import run_cases
from guardproxy.guard.recorded import Recorded
from guardproxy.holds import Hold, State
from guardproxy.rules import Ruleset, load_rulesets
from guardproxy.table import Cell
from tests.guard.recorded import START, exchange


def traffic(rows: int = 600) -> list[Recorded]:
    """Forecasts of demand with an interval, by shop, near what they were last time."""
    rng = np.random.default_rng(3)
    found = []
    for n in range(rows):
        demand = float(50 + 10 * rng.normal())
        features: dict[str, Cell] = {
            "temp": None if n % 50 == 0 else round(float(15 + 5 * rng.normal()), 1),
            "stock": float(rng.integers(0, 100)),
            "kind": ("dairy", "toys", "bread")[n % 3],
            "shop": f"s{n % 200}",
            "odd name (x)": 1.5 + n % 4,
        }
        output: dict[str, Cell] = {"p10": demand - 5, "demand": demand, "p90": demand + 8}
        before = ({"demand": demand * (1 + 0.1 * float(rng.normal())), "p10": 40.0, "p90": 60.0},)
        found.append(exchange(n, [features], [output], previous={("shop",): before}))
    return found


def proposed(records: list[Recorded], **more: object) -> tuple[Suggested, Ruleset]:
    found = suggest("m", lambda: records, **more)  # type: ignore[arg-type]
    assert isinstance(found, Suggested)
    rulesets, problems = load_rulesets({"m.guard.yaml": found.text})
    assert [one for one in problems if one.severity == "error"] == []
    return found, rulesets["m"]


def test_what_is_proposed_is_a_file_whose_tests_pass_and_see_both_sides_of_each_rule() -> None:
    found, ruleset = proposed(traffic(), key=("shop",))
    results = run_cases(ruleset)
    assert [(one.case.name, one.differences) for one in results if not one.passed] == []
    violated = {rule for result in results for rule in result.violated}
    assert {rule.id for rule in found.rules} <= violated


def test_the_file_is_in_its_canonical_layout() -> None:
    text = proposed(traffic(), key=("shop",))[0].text
    assert format_files({"m.guard.yaml": text})["m.guard.yaml"].text == text


def test_few_whole_numbers_are_codes_and_many_are_a_quantity() -> None:
    records = [
        exchange(
            n, [{"season": float(1 + n % 4), "hour": float(n % 24), "rare": float(n == 3)}], [{"d": n / 9}]
        )
        for n in range(600)
    ]
    found, _ = proposed(records)
    (season,) = [rule for rule in found.rules if rule.id == "season-known"]
    assert season.check[-1] == "  values: [1, 2, 3, 4]"
    assert season.why == "4 values in 600 rows, the rarest in 150 of them"
    assert {rule.id for rule in found.rules} == {"season-known", "hour-range", "rare-range", "d-range"}


def test_every_rule_is_in_shadow_and_says_why() -> None:
    found, ruleset = proposed(traffic(), key=("shop",))
    own = [rule for rule in ruleset.rules if not rule.built_in]
    assert {rule.mode for rule in own} == {Mode.SHADOW}
    assert all(rule.why for rule in own)
    (demand,) = [rule for rule in found.rules if rule.id == "demand-range"]
    assert demand.why.startswith("p0.1-p99.9 of 600 rows (")
    assert demand.why.endswith("), widened 10%")


def test_the_kinds_of_rules_follow_the_traffic() -> None:
    found, _ = proposed(traffic(), key=("shop",))
    ids = [rule.id for rule in found.rules]
    assert set(ids) == {
        "p10-range", "demand-range", "p90-range", "temp-range", "stock-range", "kind-known", "odd-name-x-range",
        "outputs-ordered", "demand-change", "p10-change", "p90-change", "features-missing",
    }  # fmt: skip
    assert 'order: ["output.p10", "output.demand", "output.p90"]' in found.text
    assert "shop" not in ids


def test_the_evidence_counts_what_would_have_been_flagged() -> None:
    records = traffic()
    odd: dict[str, Cell] = {
        "temp": 15.0,
        "stock": 9_999.0,
        "kind": "dairy",
        "shop": "s1",
        "odd name (x)": 1.5,
    }
    # One row in 1,800 lies beyond the 99.9th percentile; two in a thousand would not.
    found, _ = proposed(
        [*records * 3, exchange(7, [odd], [{"p10": 45.0, "demand": 50.0, "p90": 58.0}])], key=("shop",)
    )
    assert found.fired["stock-range"] == 1
    assert "it would have flagged 1 of 1,801 recorded rows (0.06%)" in found.text


def test_the_evidence_of_a_prediction_counts_the_rows_that_have_one() -> None:
    refused = [exchange(n, [{"temp": 15.0, "stock": 5.0}], None) for n in range(400)]
    found, _ = proposed([*traffic(), *refused], key=("shop",))
    assert found.judged["demand-range"] == 600
    assert found.judged["stock-range"] == 1_000
    assert "of 600 recorded rows" in found.text


def test_the_same_traffic_gives_the_same_file() -> None:
    one, other = (proposed(traffic(), key=("shop",))[0].text for _ in range(2))
    assert one == other


def test_nobodys_own_values_stand_in_the_file() -> None:
    records = [
        exchange(n, [{"name": f"customer number {n}", "age": float(20 + n % 50)}], [{"score": n / 600}])
        for n in range(600)
    ]
    assert "customer" not in proposed(records)[0].text


def test_a_redacted_field_is_not_proposed_for() -> None:
    records = [
        exchange(n, [{"age": None, "x": float(n % 9)}], [{"score": n / 600}], redacted=("features.age",))
        for n in range(600)
    ]
    assert "age" not in proposed(records)[0].text


def test_weights_decide_what_is_ordinary() -> None:
    """Loud exchanges are over-represented in a recording; their weight puts that right."""
    from dataclasses import replace

    records = [exchange(n, [{"x": 1.0}], [{"score": n / 500}]) for n in range(500)]
    loud = [exchange(n, [{"x": 1.0}], [{"score": 900.0 + n}]) for n in range(100)]
    plain, _ = proposed(records + loud)
    weighted, _ = proposed([replace(one, weight=1_000.0) for one in records] + loud)
    assert "max: 1.098" in weighted.text
    assert "max: 1.098" not in plain.text


def test_rows_that_an_enforced_rule_acted_on_do_not_widen_the_bounds() -> None:
    honest = traffic()
    wild = [
        replace(one, outcomes=("rejected", "allowed"))
        for one in (
            exchange(1_000 + n, [{"stock": 9e6}, {"stock": 50.0}], [{"demand": 1e9}, {"demand": 50.0}])
            for n in range(60)
        )
    ]
    acted, _ = proposed([*honest, *wild])
    untouched, _ = proposed([*honest, *(replace(one, outcomes=("allowed", "allowed")) for one in wild)])
    assert "9e+06" not in str([one.check for one in acted.rules])
    assert [one.check for one in acted.rules] != [one.check for one in untouched.rules]
    (demand,) = [one for one in acted.rules if one.id == "demand-range"]
    assert max(float(word) for word in re.findall(r"-?[0-9]+\.?[0-9]*", " ".join(demand.check))) < 200


def test_too_little_traffic_is_a_sentence() -> None:
    found = suggest("m", lambda: traffic(20))
    assert found == "20 recorded rows of 'm' say too little; at least 200 are needed"


def test_probabilities_are_recognised() -> None:
    records = [exchange(n, [{"x": 1.0}], [{"probs": (0.25, 0.75)}]) for n in range(300)]
    found, ruleset = proposed(records)
    assert [rule.id for rule in found.rules] == ["probs-probabilities"]
    assert all(result.passed for result in run_cases(ruleset))


CHARACTERS = st.one_of(st.characters(), st.sampled_from('\ud800\udfff\U00010000\x00\x85\ufeff"\\:#'))
ODD = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**70), 2**70),
    st.text(CHARACTERS, max_size=12),
    st.booleans(),
    st.none(),
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.text(CHARACTERS, min_size=1, max_size=8), ODD, max_size=5),
            st.dictionaries(st.sampled_from(["a", "b", "c d", 'e"']), ODD, min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_comes_in_a_proposed_file_is_valid_and_passes_its_own_tests(
    rows: list[tuple[Mapping[str, Cell], Mapping[str, Cell]]],
) -> None:
    records = [exchange(n, [rows[n % len(rows)][0]], [rows[n % len(rows)][1]]) for n in range(240)]
    found = suggest("m", lambda: records)
    if isinstance(found, str):
        return
    assert found.problems == ()
    rulesets, _ = load_rulesets({"m.guard.yaml": found.text})
    assert [one.differences for one in run_cases(rulesets["m"]) if not one.passed] == []


def hold(number: int, state: State, **features: Cell) -> Hold:
    return Hold(
        id=f"h{number}", rev=1, state=state, model="m", route="/m", decision_id=f"d{number}", row=0, queue="q",
        severity=Severity.LOW, rule="jump", meanwhile=Meanwhile.ORIGINAL, on_expiry=OnExpiry.ORIGINAL,
        created_at=START, expires_at=START + 9, features=features, original={}, provisional={},
        provisional_source="original",
    )  # fmt: skip


def test_approvals_of_one_pattern_are_proposed_as_an_exception_that_ends() -> None:
    holds = [hold(n, State.APPROVED, kind="toys", shop=f"s{n}") for n in range(12)]
    holds += [hold(20 + n, State.OVERRIDDEN, kind="dairy", shop="s1") for n in range(4)]
    holds += [hold(40, State.OPEN, kind="bread")]
    (pattern,) = find_patterns(holds, START)
    assert pattern == Pattern("jump", "kind-toys", 'features.kind == "toys"', 12, 12, "2026-01-31")
    text = proposed(traffic(), key=("shop",), patterns=[pattern])[0].text
    assert "  #     - id: kind-toys" in text
    assert "  #       until: 2026-01-31" in text


@pytest.mark.parametrize("refused", [2, 12])
def test_what_is_overridden_as_well_is_no_pattern(refused: int) -> None:
    holds = [hold(n, State.APPROVED, kind="toys") for n in range(12)]
    holds += [hold(20 + n, State.REJECTED, kind="toys") for n in range(refused)]
    assert find_patterns(holds, START) == []


def test_few_approvals_are_no_pattern() -> None:
    assert find_patterns([hold(n, State.APPROVED, kind="toys") for n in range(4)], START) == []


def test_a_sample_keeps_its_quantiles_beyond_its_bound() -> None:
    from guardproxy.authoring.observed import MAX_SAMPLE, Sample

    sample, draw = Sample(), np.random.default_rng(1)
    for part in range(10):
        values = np.arange(part * 10_000, (part + 1) * 10_000, dtype=np.float64)
        sample.add(values, np.ones(10_000), draw)
    assert sample.seen > MAX_SAMPLE
    (middle,) = sample.quantiles((0.5,))
    assert math.isclose(middle, 50_000, rel_tol=0.05)
    assert (sample.low, sample.high) == (0.0, 99_999.0)
