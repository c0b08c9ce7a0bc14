"""`rules diff`: what a difference is, and what is none."""

import pytest

from guardproxy.authoring.diff import Change, Difference, Side, compare
from guardproxy.authoring.fmt import format_files
from guardproxy.rules import load_rulesets
from tests.shared import ROOT

BASE = """\
guardproxy: 1
model: m
defaults: {mode: shadow}
lists: {bad: [a, b]}
kpis:
  margin: {title: Margin, expr: output.a / features.b, expect: {min: 8%}}
rules:
  - id: jump
    max_change: {field: output.a, against: features.b, up: 60%, down: 60%}
    action: hold
    hold: {queue: q, sla: 4h}
  - id: label
    forbid: output.label in lists.bad
    unless:
      - {id: one, when: features.b > 3, until: 2030-01-01, owner: o, why: w}
"""


def side(*texts: str) -> Side:
    named = {f"{number}.guard.yaml": text for number, text in enumerate(texts)}
    rulesets, problems = load_rulesets(named)
    assert not [problem for problem in problems if problem.severity == "error"], problems
    return Side(named, rulesets)


def differences(before: str, after: str) -> list[Difference]:
    return compare(side(before), side(after))


def only_change(before: str, after: str) -> Change:
    (found,) = differences(before, after)
    (change,) = found.changes
    return change


def test_the_same_files_do_not_differ() -> None:
    assert differences(BASE, BASE) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("guardproxy: 1", "# a comment\nguardproxy: 1   # and more"),
        ("defaults: {mode: shadow}", "defaults:\n  mode: shadow"),
        ("    action: hold\n", "    action: hold\n    mode: shadow\n"),
        ("output.label in lists.bad", "'output.label   in  (lists.bad)'"),
        ("lists: {bad: [a, b]}", "lists: {bad: [b, a]}"),
        ("sla: 4h", "sla: 240m"),
        ("expect: {min: 8%}", "expect: {min: 0.08}"),
    ],
)
def test_comments_layout_order_and_what_defaults_say_anyway_are_no_difference(old: str, new: str) -> None:
    assert differences(BASE, BASE.replace(old, new)) == []


def test_a_rule_that_moves_to_another_file_is_the_same_rule() -> None:
    head, _, label = BASE.partition("  - id: label\n")
    moved = "guardproxy: 1\nmodel: m\ndefaults: {mode: shadow}\nrules:\n  - id: label\n" + label
    assert compare(side(BASE), side(moved, head)) == []


def test_formatting_makes_no_difference() -> None:
    for path in (ROOT / "rules").glob("*.guard.yaml"):
        text = path.read_text()
        messy = text + "\n\n# the end\n\n"
        new = format_files({"a.guard.yaml": messy})["a.guard.yaml"].text
        assert new != messy
        assert compare(side(text), side(new)) == []


def test_a_threshold_says_by_how_much_it_moved() -> None:
    change = only_change(BASE, BASE.replace("up: 60%", "up: 45%"))
    assert (change.key, change.before, change.after) == ("max_change.up", "60%", "45%")
    assert change.relative == pytest.approx(-0.25)


def test_a_number_that_is_spelled_otherwise_is_no_change_beside_others() -> None:
    after = BASE.replace("sla: 4h", "sla: 240m").replace("up: 60%", "up: 0.5")
    assert only_change(BASE, after) == Change("max_change.up", "60%", "0.5", pytest.approx(-1 / 6))  # type: ignore[arg-type]
    titled = BASE.replace("    action: hold", "    title: '1'\n    action: hold")
    assert only_change(titled, titled.replace("'1'", "'1.0'")).key == "title"


def test_a_duration_says_by_how_much_it_moved() -> None:
    change = only_change(BASE, BASE.replace("sla: 4h", "sla: 30m"))
    assert change.key == "hold.sla"
    assert change.relative == pytest.approx(-0.875)


def test_defaults_that_change_are_changes_of_the_rules_that_take_them() -> None:
    found = differences(BASE, BASE.replace("{mode: shadow}", "{mode: canary 20%}"))
    assert {(one.name, one.changes) for one in found if one.name in {"jump", "label"}} == {
        (name, (Change("mode", "shadow", "canary 20%"),)) for name in ("jump", "label")
    }


def test_items_of_a_list_are_added_and_removed_and_its_readers_change() -> None:
    found = differences(BASE, BASE.replace("[a, b]", "[b, c, d]"))
    (listed,) = [one for one in found if one.what == "list"]
    assert listed.changes == (Change("values", "a", "c, d"),)
    assert [one.name for one in found if one.what == "rule"] == ["label"]


def test_an_exception_is_compared_by_its_id() -> None:
    change = only_change(BASE, BASE.replace("until: 2030-01-01", "until: 2031-02-02"))
    assert change == Change("unless.one.until", "2030-01-01", "2031-02-02")


def test_rules_kpis_and_models_come_and_go() -> None:
    without = BASE[: BASE.index("  - id: label")].replace("margin:", "ratio:")
    found = {(one.what, one.name, one.how) for one in differences(BASE, without)}
    assert found >= {("rule", "label", "removed"), ("kpi", "margin", "removed"), ("kpi", "ratio", "added")}
    other = BASE.replace("model: m", "model: n")
    assert [(one.what, one.name, one.how) for one in differences(BASE, other)] == [
        ("model", "m", "removed"),
        ("model", "n", "added"),
    ]


def test_limits_of_the_model_and_of_a_rule_are_compared() -> None:
    change = [
        one
        for one in differences(BASE, BASE.replace("lists:", "limits: {hold: 5% per 10m}\nlists:"))
        if one.what == "limits"
    ]
    assert change[0].changes[0].after == "5% per 10m"
    rule = BASE.replace("    action: hold\n", "    action: hold\n    limits: {hold: 1% per 5m}\n")
    found = only_change(BASE, rule)
    assert (found.key, found.before, found.after) == ("limits.hold", "10% per 5m", "1% per 5m")


def test_the_score_is_compared() -> None:
    text = BASE.replace("    forbid", "    action: score\n    points: 3\n    forbid").replace(
        "lists:", "score: {hold_at: 3}\nlists:"
    )
    changes = [
        change
        for one in differences(text, text.replace("hold_at: 3", "hold_at: 2"))
        for change in one.changes
    ]
    assert ("points", "3", "2") in [(one.key, one.before, one.after) for one in changes]


def test_the_json_form_has_the_four_words_and_the_changes() -> None:
    (found,) = differences(BASE, BASE.replace("up: 60%", "up: 45%"))
    assert found.as_json() == {
        "model": "m",
        "what": "rule",
        "name": "jump",
        "how": "changed",
        "changes": [
            {"key": "max_change.up", "before": "60%", "after": "45%", "relative": pytest.approx(-0.25)}
        ],
    }
