"""What changes a rule's revision and the fingerprint: all that changes what rules do, for exactly the rules that do it."""

import pytest

from guardproxy.rules import Ruleset, load_rulesets

TEXT = """guardproxy: 1
model: demand
owner: planning
defaults: {severity: low, on_unknown: ignore, on_error: ignore}
limits: {hold: 20% per 5m}
lists:
  words: [bad, worse]
  known: [1, 2]
kpis:
  ratio: {title: Ratio, expr: features.x / output.demand, unit: x, expect: {min: 1}}
  charted: {expr: 'if features.x in known then 1 else 2'}
score: {hold_at: 4, reject_at: 7, hold: {queue: points}}
rules:
  - id: ranged
    range: {field: output.demand, min: 0, max: 10}
    when: features.x > 1
    action: fallback
    fallback: [previous, {value: {demand: 3}}]
    unless: [{id: odd, when: features.x == 5, until: 2027-01-01, owner: ops, why: agreed}]
  - id: listed
    require: features.x not in known
    action: hold
    hold: {queue: sales, sla: 4h, meanwhile: original, value: features.x}
    limits: {hold: 11% per 5m}
    mode: canary 20%
  - {id: weak, forbid: output.demand > 3, action: score, points: 5}
  - {id: worded, text: {field: output.note, must_not_contain: words}}
  - id: rolling
    scope: window
    for: 15m
    require: 'recent_mean(features.x, 1h) > 3'
  - {id: gaps, missing_share: {fields: features.*, max: 13%}, tags: [data], title: Gaps, why: Why not}
  - {id: uses-kpi, require: kpi.ratio > 2}
  - {id: learned, profile: {fields: features.*, at_least: 2}}
  - {id: steps, max_change: {field: output.demand, against: previous, by: [features.store], up: 17%, down: 10%}}
"""


def loaded(text: str) -> Ruleset:
    rulesets, problems = load_rulesets({"demand.guard.yaml": text})
    assert not [problem for problem in problems if problem.severity == "error"], problems
    return rulesets["demand"]


def changed(old: str, new: str) -> tuple[set[str], bool]:
    """Return the rules with another revision, and whether the fingerprint is another."""
    assert TEXT.count(old) == 1
    before, after = loaded(TEXT), loaded(TEXT.replace(old, new))
    revs = {rule.id for rule in after.rules if before.rev(rule.id) != after.rev(rule.id)}
    return revs, before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("hold: 20%", "hold: 21%", {"score-hold"}),
        ("[bad, worse]", "[bad, worst]", {"worded"}),
        ("known: [1, 2]", "known: [1, 3]", {"listed"}),
        ("title: Ratio", "title: Share", {"kpi-ratio"}),
        ("expr: features.x / ", "expr: features.y / ", {"kpi-ratio", "uses-kpi"}),
        ("expect: {min: 1}", "expect: {min: 2}", {"kpi-ratio"}),
        ("then 1 else 2", "then 1 else 3", set()),
        ("hold_at: 4", "hold_at: 5", {"score-hold"}),
        ("reject_at: 7", "reject_at: 8", {"score-reject"}),
        ("queue: points", "queue: other", {"score-hold"}),
        ("max: 10}\n", "max: 11}\n", {"ranged"}),
        ("features.x > 1", "features.x > 2", {"ranged"}),
        ("[previous, {value: {demand: 3}}]", "[{value: {demand: 3}}, previous]", {"ranged"}),
        ("{demand: 3}", "{demand: 4}", {"ranged"}),
        ("features.x == 5", "features.x == 6", {"ranged"}),
        ("2027-01-01", "2027-01-02", {"ranged"}),
        ("why: agreed", "why: not agreed", {"ranged"}),
        ("sla: 4h", "sla: 5h", {"listed"}),
        ("meanwhile: original", "meanwhile: withhold", {"listed"}),
        ("value: features.x", "value: features.y", {"listed"}),
        ("11% per", "12% per", {"listed"}),
        ("canary 20%", "canary 21%", {"listed"}),
        ("points: 5", "points: 6", {"weak"}),
        ("for: 15m", "for: 16m", {"rolling"}),
        ("max: 13%", "max: 14%", {"gaps"}),
        ("tags: [data]", "tags: [rows]", {"gaps"}),
        ("title: Gaps", "title: Holes", {"gaps"}),
        ("at_least: 2", "at_least: 3", {"learned"}),
        ("features.store", "features.shop", {"steps"}),
        ("up: 17%", "up: 18%", {"steps"}),
    ],
)
def test_what_changes_a_rule_changes_its_revision_and_the_fingerprint(
    old: str, new: str, rules: set[str]
) -> None:
    assert changed(old, new) == (rules, True)


def test_a_list_that_only_a_kpi_reads_changes_the_fingerprint() -> None:
    text = "guardproxy: 1\nmodel: demand\nlists: {known: [1, 2]}\nkpis: {k: {expr: 'if features.x in known then 1 else 2'}}\nrules:\n  - {id: a, require: true}\n"
    first, other = loaded(text), loaded(text.replace("[1, 2]", "[1, 3]"))
    assert first.fingerprint != other.fingerprint
    assert loaded(text.replace("[1, 2]", "[2, 1]")).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[bad, worse]", "[worse, bad]"),
        ("sla: 4h", "sla: 240m"),
        ("max: 13%", "max: 0.13"),
        ("rules:\n", "rules:  # as agreed\n"),
        ("{id: weak, forbid: output.demand > 3, ", "{forbid: output.demand > 3, id: weak, "),
    ],
)
def test_another_way_of_writing_the_same_changes_nothing(old: str, new: str) -> None:
    assert changed(old, new) == (set(), False)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("on_unknown: ignore", "on_unknown: violate", {"rolling", "kpi-ratio", "score-hold", "score-reject"}),
        ("on_error: ignore", "on_error: violate", {"kpi-ratio", "score-hold", "score-reject"}),
        ("severity: low", "severity: medium", {"kpi-ratio", "score-hold", "score-reject"}),
    ],
)
def test_a_default_changes_the_rules_that_take_it(old: str, new: str, same: set[str]) -> None:
    before, after = loaded(TEXT), loaded(TEXT.replace(old, new))
    built_in = {rule.id for rule in after.rules if rule.built_in}
    kept = {rule.id for rule in after.rules if before.rev(rule.id) == after.rev(rule.id)}
    assert kept - built_in == same
