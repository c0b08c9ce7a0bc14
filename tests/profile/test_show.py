"""A profile fits a terminal, and its histograms have the shape of the data."""

import json

import numpy as np
import orjson
from hypothesis import HealthCheck, given, settings

from guardproxy.profile.columns import NumberColumn
from guardproxy.profile.joint_words import describe
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import KNOTS, Calibration, FieldKind, FieldProfile, Profile, Provenance
from guardproxy.profile.show import WIDTH, calibration_lines, histogram, profile_as_json, show_profile
from tests.profile.strategies import profiles


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(profiles())
def test_any_profile_fits_a_hundred_columns_and_is_plain_data(profile: Profile) -> None:
    text = show_profile(profile)
    assert all(len(line) <= WIDTH for line in text.split("\n"))
    assert json.loads(orjson.dumps(profile_as_json(profile)))["percentiles"] == list(KNOTS)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(profiles())
def test_what_is_said_of_the_whole_profile_is_said_to_its_end(profile: Profile) -> None:
    text = " ".join(show_profile(profile).split())
    if profile.joint is not None:
        assert describe(profile.joint) in text
    assert ("count and do not act" in text) == (not profile.acts)


def test_a_histogram_rises_where_the_values_are() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    learner = Learner("m", rng=np.random.default_rng(0))
    learner.update({"x": NumberColumn(values)})
    drawn = histogram(learner.finish(Provenance()).features["x"])
    assert len(drawn) == 20
    assert "█" in drawn[8:12]
    assert drawn[0] in "▁▂"
    assert drawn[-1] in "▁▂"


def test_few_values_get_a_bar_each_in_their_order() -> None:
    field = FieldProfile(
        "x", FieldKind.INTEGER, distinct=3, top=((2.0, 800), (1.0, 100), (3.0, 400)), minimum=1.0, maximum=3.0
    )
    assert histogram(field) == "▁█▄"


def test_an_unproved_budget_is_said_with_what_would_prove_it() -> None:
    lines = calibration_lines("features", Calibration(400, 0, 0.0075), 0.001)
    assert "2,995 held-back rows" in lines[1]
    lines = calibration_lines("features", Calibration(10_000, 90, 0.011, ("x.high x2",)), 0.001)
    assert "differ" in lines[1]
    assert "x.high x2" in lines[2]
    assert calibration_lines("features", None, 0.001) == []
