"""A rule about all features asks whether a row's numbers fit together; a rule about named fields, or of percentiles, does not."""

from dataclasses import replace

import numpy as np
import pytest

from guardproxy.decision import Phase, Verdict
from guardproxy.profile.joint_fit import fit_joint
from guardproxy.profile.model import FieldProfile, Profile
from guardproxy.rules import default_ruleset
from guardproxy.rules.model import INSIDE_RULE
from tests.rules.build import number, profile_of, rules_of, view_of

FIELDS = ("area", "rooms", "year")


def _learned() -> Profile:
    rng = np.random.default_rng(0)
    area = rng.uniform(30.0, 200.0, 1_500)
    rows = np.array([area, area / 20.0 + rng.normal(0.0, 0.5, 1_500), rng.uniform(1950.0, 2020.0, 1_500)]).T
    joint, note = fit_joint(FIELDS, rows[:1_000], rows[1_000:], 0.005, rng)
    assert joint is not None, note
    profile = profile_of([number("area", 0, 250), number("rooms", -2, 14), number("year", 1_900, 2_030)])
    return replace(profile, joint=joint)


PROFILE = _learned()
FITS = {"area": 100.0, "rooms": 5.0, "year": 1990.0}
UNLIKE = {"area": 190.0, "rooms": 2.0, "year": 1990.0}
OUTSIDE = {"area": 900.0, "rooms": 5.0, "year": 1990.0}


def verdicts(body: str, *rows: dict[str, float]) -> list[Verdict]:
    bound = rules_of(body, profiles={"demand": PROFILE}).bind(FIELDS, (), PROFILE)
    view = view_of(rows)
    together = bound.judge(Phase.REQUEST, view)[0].tolist()
    alone = [bound.judge(Phase.REQUEST, view_of([row]))[0, 0] for row in rows]
    assert together == alone
    return [Verdict(code) for code in together]


def test_a_row_whose_fields_are_all_inside_and_do_not_fit_together_violates() -> None:
    body = "rules:\n  - {id: far, profile: {fields: features.*}, action: reject}\n"
    found = verdicts(body, FITS, UNLIKE, OUTSIDE)
    assert found == [Verdict.OK, Verdict.VIOLATED, Verdict.VIOLATED]


@pytest.mark.parametrize(
    "check",
    [
        "{fields: [features.area, features.rooms, features.year]}",
        "{fields: features.*, outside: p0.1..p99.9}",
        "{fields: features.*, at_least: 2}",
    ],
)
def test_named_fields_percentiles_and_several_fields_are_another_question(check: str) -> None:
    body = f"rules:\n  - {{id: far, profile: {check}, action: reject}}\n"
    assert verdicts(body, UNLIKE) == [Verdict.OK]


def test_the_finding_names_the_feature_its_value_and_what_was_expected() -> None:
    ruleset = default_ruleset("demand", PROFILE)
    bound = ruleset.bind(FIELDS, (), PROFILE)
    rules = [rule.id for rule in bound.rules_of(Phase.REQUEST)]
    place = rules.index(INSIDE_RULE)
    view = view_of([FITS, UNLIKE])
    assert bound.judge(Phase.REQUEST, view)[place].tolist() == [Verdict.OK, Verdict.VIOLATED]
    found = bound.finding(bound.rules_of(Phase.REQUEST)[place], 1, Verdict.VIOLATED, view)
    assert "does not fit the row's other features" in found.message
    assert "0.5 % of clean rows" in found.message
    assert found.measured[0][0] in {"features.area", "features.rooms"}
    assert found.measured[0][1] in {190.0, 2.0}
    assert found.bound.endswith("beside the row's other features")


def test_a_row_that_lacks_too_much_is_judged_by_its_fields_alone() -> None:
    optional = {
        name: replace(field, required=False, missing_rate=0.5) for name, field in PROFILE.features.items()
    }
    profile = replace(PROFILE, features=optional)
    bound = default_ruleset("demand", profile).bind(("area", "rooms"), (), profile)
    assert bound.judge(Phase.REQUEST, view_of([{"area": 190.0, "rooms": 2.0}])).max() == Verdict.OK


def test_a_number_that_means_missing_does_not_make_a_row_odd() -> None:
    year: FieldProfile = replace(PROFILE.features["year"], sentinels=((-999.0, 40),))
    profile = replace(PROFILE, features={**PROFILE.features, "year": year})
    row = {"area": 100.0, "rooms": 5.0, "year": -999.0}
    for known, wanted in ((profile, Verdict.OK), (PROFILE, Verdict.VIOLATED)):
        bound = default_ruleset("demand", known).bind(FIELDS, (), known)
        assert bound.judge(Phase.REQUEST, view_of([row])).max() == wanted
