"""`rules new`: a first file that passes as it stands."""

import pytest

from guardproxy.authoring.fmt import format_files
from guardproxy.authoring.promote import verdicts_seen
from guardproxy.authoring.starter import starter
from guardproxy.decision import Mode, Verdict
from guardproxy.guard.cases import run_cases
from guardproxy.profile.model import FieldKind, FieldProfile, Profile, Role
from guardproxy.rules import Ruleset, load_rulesets

FILE = "m.guard.yaml"


def number(name: str, low: float, high: float, role: Role = Role.FEATURE) -> FieldProfile:
    return FieldProfile(
        name, FieldKind.NUMBER, role, rows=100, low=low, high=high, minimum=low, maximum=high, mean=(low + high) / 2, std=1.0
    )  # fmt: skip


def category(name: str, values: tuple[str, ...], role: Role = Role.FEATURE) -> FieldProfile:
    return FieldProfile(
        name, FieldKind.CATEGORY, role, rows=100, domain=values, closed=True, distinct=len(values)
    )


def profile(features: list[FieldProfile], outputs: list[FieldProfile]) -> Profile:
    return Profile(
        "m", "00000000", 100, 0.001, {one.name: one for one in features}, {one.name: one for one in outputs}
    )


def loaded(text: str, known: Profile | None = None) -> Ruleset:
    rulesets, problems = load_rulesets({FILE: text}, profiles={} if known is None else {"m": known})
    assert [problem for problem in problems if problem.severity != "note"] == []
    return next(iter(rulesets.values()))


PROFILES = [
    None,
    profile([number("temp", -20, 45)], [number("demand", 0, 900, Role.OUTPUT)]),
    profile([number("odd name, [x]: 1", 0, 1)], [number("p (50%)", -5, -1, Role.OUTPUT)]),
    profile(
        [category("store", ("a", "b: c", "no", "1", "{x}"))],
        [category("label", ("spam", "ham"), Role.OUTPUT)],
    ),
    profile([number("same", 3, 3)], []),
    profile([number("tiny", 1e-12, 3e-9)], [number("huge", -1e18, 4e20, Role.OUTPUT)]),
    profile([], [number("zero", 0, 0, Role.OUTPUT)]),
    profile([], [number("around zero", -0.5, 0.5, Role.OUTPUT)]),
]


@pytest.mark.parametrize("known", PROFILES, ids=range(len(PROFILES)))
def test_a_new_file_passes_check_test_and_fmt(known: Profile | None) -> None:
    text = starter("m", schema="../s.json", file=FILE, profile=known)
    rules = loaded(text, known)
    own = [rule for rule in rules.rules if not rule.built_in]
    results = run_cases(rules, known)
    assert own
    assert all(rule.mode is Mode.SHADOW for rule in own)
    assert [result.differences for result in results if not result.passed] == []
    for rule in own:
        assert verdicts_seen(rule.id, results) >= {Verdict.OK, Verdict.VIOLATED}, rule.id
    assert format_files({FILE: text})[FILE].text == text


@pytest.mark.parametrize(
    "model", ["demand", "a: b", "no", "1", "x # y", "{a}", "ü-1", 'q"uote', "back\\slash", "*x"]
)
def test_any_models_name_is_written_so_that_it_is_read_back(model: str) -> None:
    rulesets, problems = load_rulesets({FILE: starter(model, schema="s", file="f", owner=model)})
    assert list(rulesets) == [model]
    assert [problem for problem in problems if problem.severity == "error"] == []
    assert {rule.owner for rule in rulesets[model].rules if not rule.built_in} == {model}


def test_paths_in_comments_cannot_leave_them() -> None:
    text = starter("m", schema="a\nmodel: x", file="b\rrules: []")
    assert loaded(text).model == "m"
    assert text.splitlines()[0] == "# yaml-language-server: $schema=a?model: x"
