"""A profile's document reads back as the same profile, and a broken one is refused with every reason at once."""

import base64
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy.profile.document import dump_profile, parse_profile, stamp
from guardproxy.profile.joint_fit import fit_joint
from guardproxy.profile.model import Approval, FieldKind, FieldProfile, Method, Origin, Profile
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
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(profiles())
def test_what_is_written_reads_back_as_the_same_profile(profile: Profile) -> None:
    assert parse_profile(dump_profile(profile), "p.yaml") == profile


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
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
    assert all(problem.file == "p.yaml" for problem in problems)


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


def _packed(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()


JOINTLY = """\
profile: 1
model: m
alpha: 0.001
features:
  x: {kind: number}
  y: {kind: number}
  word: {kind: text}
"""


def _with_joint() -> str:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 2))
    joint, _ = fit_joint(("x", "y"), rows[:300], rows[300:], 0.05, rng)
    profile = parse_profile(JOINTLY, "p.yaml")
    assert isinstance(profile, Profile)
    return dump_profile(stamp(replace(profile, joint=joint)))


def test_a_joint_check_reads_back_bit_by_bit_and_is_part_of_the_version() -> None:
    text = _with_joint()
    profile = parse_profile(text, "p.yaml")
    assert isinstance(profile, Profile)
    assert profile.joint is not None
    assert dump_profile(profile) == text
    assert stamp(replace(profile, joint=None)).version != profile.version
    assert "# The joint check: whether the numbers of a row fit together." in text


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("fields", "[x, word]", "joint.fields must be number features of this profile, which 'word' is not"),
        ("fields", "[x, x]", "joint.fields must be 2 to 256 different features"),
        ("threshold", "-1", "joint.threshold must lie between 1e-06"),
        ("covariance", "AAAA", "joint.covariance must be numbers of four bytes in base64"),
        ("covariance", "?", "joint.covariance must be numbers of four bytes in base64"),
        ("covariance", base64.b64encode(b"\0" * 12).decode(), "joint.covariance has 3 numbers"),
        ("covariance", base64.b64encode(b"\0" * 16).decode(), "joint.covariance must have an inverse"),
        ("covariance", _packed(1.0, 0.5, 0.4, 1.0), "joint.covariance must be symmetric"),
        ("units", _packed(np.nan, 1.0), "joint.units has a number that is not finite"),
        ("units", _packed(1.0, 0.0), "joint.units must be above zero"),
        ("centres", _packed(1.0, 0.0, 1.0), "joint.centres has 3 numbers, which do not fit 2 fields"),
        ("values", _packed(1.0, 0.0, 1.0, 2.0), "joint.values must have two knots or more, which never fall"),
        ("values", _packed(1.0, 1.0, 1.0, 2.0), "joint.values must vary in every field"),
        ("scores", _packed(1.0, 2.0, 1.0, 2.0), "joint.scores must be as many as the values"),
        ("scores", "", "joint.scores has 0 numbers"),
    ],
)
def test_a_damaged_joint_check_is_refused_where_it_is_damaged(key: str, value: str, said: str) -> None:
    lines = _with_joint().splitlines()
    at = lines.index("joint:")
    start = next(line for line in range(at, len(lines)) if lines[line].startswith(f"  {key}:"))
    stop = next((line for line in range(start + 1, len(lines)) if not lines[line].startswith("    ")), None)
    quoted = value if value.startswith("[") or key == "threshold" else f'"{value}"'
    lines[start:stop] = [f"  {key}: {quoted}"]
    problems = parse_profile("\n".join(lines), "p.yaml")
    assert isinstance(problems, list)
    assert said in problems[0].message
    assert problems[0].line == start + 1


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ('{edges: "1 2", counts: "1 2 3"}', "'counts' must have 7 numbers"),
        ('{edges: "2 1", counts: "1 2 3 0 0 0 0"}', "'edges' must rise"),
        ('{edges: "1 x", counts: "1 2 3 0 0 0 0"}', "must be finite numbers with spaces between them"),
        ('{counts: "1 2 -3 0 0"}', "whole numbers with spaces between them"),
        ('{edges: "1", values: [1], counts: "1 2 3 0 0"}', "either 'edges' or 'values'"),
        ('{counts: "1 0 0 0 0", spread: "0.1"}', "'spread' must have 5 numbers"),
        ('{counts: "1 0 0 0 0", season: "1 2"}', "must have 48 lines of counts"),
        ("{edges: 1}", "needs the key 'counts'"),
        ('{counts: "1 2 3 4 99999999999999999"}', "whole numbers with spaces between them"),
    ],
)
def test_cells_that_cannot_count_are_refused_with_their_place(cells: str, said: str) -> None:
    text = JOINTLY.replace("x: {kind: number}", f"x: {{kind: number, cells: {cells}}}")
    problems = parse_profile(text, "p.yaml")
    assert isinstance(problems, list)
    assert said in problems[0].message
    assert problems[0].line == 5


def test_an_approval_is_no_part_of_the_version_and_everything_else_is() -> None:
    text = JOINTLY + "source: traffic\n"
    profile = parse_profile(text, "p.yaml")
    assert isinstance(profile, Profile)
    approved = replace(profile, approved=Approval("mia", "2026-03-01T10:00:00Z", profile.version))
    assert stamp(approved).version == profile.version
    assert parse_profile(dump_profile(approved), "p.yaml") == approved
    assert approved.acts
    assert not stamp(replace(approved, notes=("seen",))).acts
    for other in (replace(profile, source=Origin.DATA), replace(profile, together=(("x", "y"),))):
        assert stamp(other).version != profile.version


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("approved: {by: mia}", "approved needs the keys 'at' and 'version'"),
        ("together: [[x, z]]", "must be features of this profile: 'z' is none"),
        ("together: [[x]]", "one is no group"),
        ("source: guess", "cannot be guess"),
    ],
)
def test_what_a_person_wrote_wrongly_at_the_top_is_refused(line: str, said: str) -> None:
    problems = parse_profile(JOINTLY + line + "\n", "p.yaml")
    assert isinstance(problems, list)
    assert said in problems[0].message
