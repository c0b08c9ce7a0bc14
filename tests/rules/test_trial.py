"""Rules on a profile that nobody approved are judged and act on nothing; all other rules do as they say."""

from dataclasses import replace

import pytest

from guardproxy.decision import Mode
from guardproxy.profile.document import stamp
from guardproxy.profile.model import Approval, Origin, Profile
from guardproxy.rules import default_ruleset
from guardproxy.rules.trial import on_trial
from tests.rules.build import PROFILE, rules_of, view_of

RULES = """\
kpis:
  share: {expr: output.demand / profile.output.demand.max}
rules:
  - {id: inside, profile: {fields: features.*}, action: reject}
  - {id: canary, profile: {fields: features.temp}, action: reject, mode: canary 20%}
  - {id: compared, require: output.demand <= profile.output.demand.max, action: reject}
  - {id: when, when: features.temp > profile.temp.p99, require: output.demand > 0, action: reject}
  - {id: by-kpi, require: kpi.share <= 1, action: reject}
  - {id: own, range: {field: output.demand, min: 0}, action: fallback, fallback: [profile.p50, {value: 5}]}
  - {id: quiet, profile: {fields: features.temp}, mode: off}
"""


def unapproved() -> Profile:
    return stamp(replace(PROFILE, source=Origin.TRAFFIC))


@pytest.mark.parametrize(
    "approved",
    [None, Approval("Ann", "2026-01-01T00:00:00Z", "00000000")],
    ids=["never", "of another version"],
)
def test_what_rests_on_an_unapproved_profile_is_in_shadow(approved: Approval | None) -> None:
    profile = replace(unapproved(), approved=approved)
    found = on_trial(rules_of(RULES, profiles={"demand": profile}))
    modes = {rule.id: rule.mode for rule in found.rules}
    assert {name for name, mode in modes.items() if mode is Mode.SHADOW} == {
        "inside", "canary", "compared", "when", "by-kpi",
    }  # fmt: skip
    assert modes["own"] is Mode.ENFORCE
    assert modes["quiet"] is Mode.OFF
    assert modes["predictions-finite"] is Mode.ENFORCE


def test_an_approved_profile_and_one_of_data_leave_the_rules_as_they_are() -> None:
    traffic = unapproved()
    for profile in (
        PROFILE,
        replace(traffic, approved=Approval("Ann", "2026-01-01T00:00:00Z", traffic.version)),
    ):
        ruleset = rules_of(RULES, profiles={"demand": profile})
        assert on_trial(ruleset) is ruleset
    bare = default_ruleset("demand")
    assert on_trial(bare) is bare


def test_an_unapproved_profile_offers_no_fallback() -> None:
    for profile, offered in ((PROFILE, {"demand": 500.0}), (unapproved(), {})):
        bound = on_trial(rules_of(RULES, profiles={"demand": profile})).bind(("temp",), ("demand",), profile)
        view = view_of([{"temp": 1.0}], [{"demand": -1.0}])
        rule = bound.planned["own"].rule
        first, second = bound.propose(rule, 0, view)
        assert dict(first.values) == offered
        assert dict(second.values) == {"demand": 5}
    assert "not approved" in first.note
