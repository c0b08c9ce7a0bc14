"""A profile's document reads back as the same profile, and a broken one is refused with every reason at once."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy.profile.document import dump_profile, parse_profile, stamp
from guardproxy.profile.model import FieldKind, FieldProfile, Method, Profile
from guardproxy.source import Problem
from tests.profile.strategies import profiles

BROKEN = """\
profile: 1
model: demand
alpha: 7
keys: [shop]
features:
  temp:
    kind: numbr
  hum:
    kind: number
    low: 3
    high: 2
    missing: 0.1
    knots: [1, 2]
  city:
    kind: category
    closed: true
    low: 4
  wind:
    kind: integer
    low: five
    domain: [1, two]
  rain: {}
calibraton: {}
"""


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(profiles())
def test_what_is_written_reads_back_as_the_same_profile(profile: Profile) -> None:
    assert parse_profile(dump_profile(profile), "p.yaml") == profile


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(profiles(), st.data())
def test_a_damaged_document_is_read_or_refused_but_never_breaks_the_reader(
    profile: Profile, data: st.DataObject
) -> None:
    text = dump_profile(profile)
    at = data.draw(st.integers(0, len(text)))
    put = data.draw(
        st.sampled_from(
            ["", "\n", " ", ":", "-", "[", "}", '"', "&a ", "*a", "!x ", "null", "1e999", "9" * 40]
        )
    )
    damaged = text[:at] + put + text[at + data.draw(st.integers(0, 30)) :]
    found = parse_profile(damaged, "p.yaml")
    assert isinstance(found, Profile) or all(problem.line >= 1 for problem in found)


def test_every_mistake_is_reported_at_once_with_its_place_and_the_likely_word() -> None:
    problems = parse_profile(BROKEN, "p.yaml")
    assert isinstance(problems, list)
    lines = {problem.line: problem for problem in problems}
    assert set(lines) == {3, 4, 7, 10, 12, 13, 16, 17, 20, 21, 22, 23}
    assert "did you mean 'number'?" in lines[7].help
    assert "missing_rate" in lines[12].help
    assert "did you mean 'calibration'?" in lines[23].help
    assert all(isinstance(problem, Problem) and problem.file == "p.yaml" for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "profile: 2\nmodel: m\nalpha: 0.1\nfeatures: {}\n",
        "profile: 1\n---\nprofile: 1\n",
        "a: [",
        "\x00",
    ],
)
def test_what_is_no_profile_is_refused(text: str) -> None:
    problems = parse_profile(text, "p.yaml")
    assert isinstance(problems, list)
    assert problems


def test_a_field_needs_no_more_than_its_kind() -> None:
    text = "profile: 1\nmodel: m\nalpha: 0.1%\nfeatures:\n  x: {kind: number, low: 0, high: 5}\n"
    profile = parse_profile(text, "p.yaml")
    assert isinstance(profile, Profile)
    assert profile.alpha == pytest.approx(0.001)
    assert profile.features["x"].high == 5.0


def test_an_edited_profile_is_another_version() -> None:
    field = FieldProfile("x", FieldKind.NUMBER, low=0.0, high=1.0, high_method=Method.GPD)
    profile = stamp(Profile("m", "", 100, 0.001, {"x": field}))
    edited = parse_profile(dump_profile(profile).replace("high: 1\n", "high: 2\n"), "p.yaml")
    assert isinstance(edited, Profile)
    assert edited.features["x"].high == 2.0
    assert edited.version != profile.version
    assert stamp(replace(edited, features={"x": field})).version == profile.version


def test_a_key_must_be_a_feature() -> None:
    text = "profile: 1\nmodel: m\nalpha: 0.001\nkeys: [shop]\nfeatures:\n  x: {kind: number}\n"
    problems = parse_profile(text, "p.yaml")
    assert isinstance(problems, list)
    assert "'shop'" in problems[0].message
