"""Rulesets: what is in them, and when two of them are the same."""

import pytest

from guardproxy.decision import Action, Meanwhile, Mode, OnExpiry, Phase, Severity, Verdict
from guardproxy.errors import OperatorError
from guardproxy.rules import Check, HoldSpec, Rule, default_ruleset, load_rulesets, make_ruleset
from guardproxy.rules.model import Kpi
from guardproxy.source import Problem
from tests.rules.build import HEAD, PROFILE, load, rules_of, view_of

A = "  - {id: a, range: {field: output.demand, min: 0}}\n"
B = "  - {id: b, require: output.demand < 9}\n"


def errors_of(problems: list[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]


def test_comments_quotes_tests_and_the_order_of_rules_and_files_do_not_change_the_fingerprint() -> None:
    plain = rules_of("rules:\n" + A + B)
    same = [
        rules_of("# a comment\nrules:\n" + B + "  # another\n" + A),
        rules_of('rules:\n  - id: "a"\n    range:\n      min: 0\n      field: output.demand\n' + B),
        rules_of("defaults: {severity: medium}\nrules:\n" + A + B),
        rules_of(
            "rules:\n" + A + B + "tests:\n  - {name: x, given: {output: 1}, expect: {outcome: allowed}}\n"
        ),
        load_rulesets({"x.guard.yaml": HEAD + "rules:\n" + B, "y.guard.yaml": HEAD + "rules:\n" + A})[0][
            "demand"
        ],
    ]
    assert len(plain.fingerprint) == 12
    assert int(plain.fingerprint, 16) >= 0
    assert {one.fingerprint for one in same} == {plain.fingerprint}


def test_whatever_a_rule_does_changes_the_fingerprint_and_its_own_rev() -> None:
    plain = rules_of("rules:\n" + A + B)
    other = [
        rules_of("rules:\n" + A.replace("min: 0", "min: 1") + B),
        rules_of("rules:\n" + A.replace("id: a", "id: a, mode: shadow") + B),
        rules_of("rules:\n" + A.replace("id: a", "id: a, on_unknown: ignore") + B),
        rules_of("rules:\n" + A.replace("id: a", "id: a, when: features.x > 1") + B),
    ]
    assert len({plain.fingerprint, *(one.fingerprint for one in other)}) == 5
    revs = {one.rules[0].rev for one in other}
    assert plain.rules[0].rev not in revs
    assert {one.rules[1].rev for one in other} == {plain.rules[1].rev}


def test_several_documents_and_models_may_share_a_file() -> None:
    text = (
        HEAD
        + "rules:\n"
        + A
        + "---\nguardproxy: 1\nmodel: other\nrules:\n"
        + A
        + "---\n"
        + HEAD
        + "rules:\n"
        + B
    )
    rulesets, problems = load_rulesets({"x.guard.yaml": text})
    assert errors_of(problems) == []
    assert {name: [rule.id for rule in one.rules if not rule.built_in] for name, one in rulesets.items()} == {
        "demand": ["a", "b"],
        "other": ["a"],
    }
    assert rulesets["demand"].rules[0].owner == "planning"
    assert rulesets["other"].rules[0].owner == ""
    assert str(rulesets["demand"].rules[1].place) == "x.guard.yaml:16:10"


def test_defaults_of_a_document_hold_where_a_rule_says_nothing() -> None:
    ruleset = rules_of(
        "defaults: {severity: low, mode: shadow, action: reject, on_unknown: ignore, on_error: ignore}\n"
        "rules:\n"
        + A
        + "  - {id: b, mode: enforce, severity: medium, on_error: violate, require: output.demand > 1}\n"
    )
    one, other = ruleset.rules[:2]
    assert (one.severity, one.mode, one.action) == (Severity.LOW, Mode.SHADOW, Action.REJECT)
    assert one.counts == {Verdict.VIOLATED}
    assert (other.severity, other.mode, other.action) == (Severity.MEDIUM, Mode.ENFORCE, Action.REJECT)
    assert other.counts == {Verdict.VIOLATED, Verdict.ERROR}


def test_a_rule_without_more_warns_at_medium_severity_when_enforced() -> None:
    (rule,) = [rule for rule in rules_of("rules:\n" + A).rules if not rule.built_in]
    assert (rule.severity, rule.mode, rule.action) == (Severity.MEDIUM, Mode.ENFORCE, Action.WARN)
    assert rule.counts == {Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.ERROR}


@pytest.mark.parametrize(
    ("more", "hold"),
    [
        ("", HoldSpec()),
        ("fallback: previous", HoldSpec(meanwhile=Meanwhile.FALLBACK, on_expiry=OnExpiry.FALLBACK)),
        ("hold: {queue: q, sla: 5m}", HoldSpec("q", 300.0)),
        ("hold: {meanwhile: withhold}", HoldSpec(meanwhile=Meanwhile.WITHHOLD, on_expiry=OnExpiry.REJECT)),
        (
            "hold: {on_expiry: reject, value: 2 * output.demand}, fallback: [previous]",
            HoldSpec(meanwhile=Meanwhile.FALLBACK, on_expiry=OnExpiry.REJECT, value="2 * output.demand"),
        ),
    ],
)
def test_a_hold_has_sensible_defaults(more: str, hold: HoldSpec) -> None:
    body = "rules:\n  - {id: a, action: hold, range: {field: output.demand, min: 0}" + (
        f", {more}" if more else ""
    )
    assert rules_of(body + "}\n").rules[0].hold == hold


def test_every_model_has_the_built_in_rules_unless_a_file_has_its_own() -> None:
    assert [rule.id for rule in default_ruleset("demand").rules] == ["predictions-finite"]
    finite, inside = default_ruleset("demand", PROFILE).rules
    assert (finite.mode, finite.action, finite.phase) == (Mode.ENFORCE, Action.WARN, Phase.RESPONSE)
    assert (inside.id, inside.mode, inside.phase) == ("inside-profile", Mode.SHADOW, Phase.REQUEST)
    own = "rules:\n  - {id: mine, profile: {fields: features.*}}\n  - {id: predictions-finite, require: output.demand > 0}\n"
    assert [rule.id for rule in rules_of(own, profiles={"demand": PROFILE}).rules] == [
        "mine",
        "predictions-finite",
    ]
    output_only = "rules:\n  - {id: mine, profile: {fields: output.*}}\n"
    assert [rule.id for rule in rules_of(output_only, profiles={"demand": PROFILE}).rules] == [
        "mine",
        "predictions-finite",
        "inside-profile",
    ]


def test_the_built_in_profile_rule_is_silent_without_a_profile() -> None:
    ruleset = default_ruleset("demand", PROFILE)
    assert ruleset.bind(("temp",), ("demand",), PROFILE).rule_ids == ("inside-profile", "predictions-finite")
    assert ruleset.bind(("temp",), ("demand",), None).rule_ids == ("predictions-finite",)


def test_statistics_given_at_binding_override_the_profile() -> None:
    ruleset = rules_of("rules:\n  - {id: a, range: {field: output.demand, max: profile.output.demand.p99}}\n")
    view = view_of([{"temp": 1.0}], [{"demand": 950.0}])
    assert ruleset.bind(("temp",), ("demand",), PROFILE).judge(Phase.RESPONSE, view)[0, 0] == Verdict.OK
    stats = {("output.demand", "p99"): 900.0}
    bound = ruleset.bind(("temp",), ("demand",), PROFILE, stats=stats)
    assert bound.judge(Phase.RESPONSE, view)[0, 0] == Verdict.VIOLATED
    assert bound.finding(bound.rules_of(Phase.RESPONSE)[0], 0, Verdict.VIOLATED, view).bound.startswith(
        "<= 900"
    )
    assert ruleset.bind(("temp",), ("demand",), None).judge(Phase.RESPONSE, view)[0, 0] == Verdict.UNKNOWN


def test_a_rule_that_never_was_checked_cannot_be_compiled() -> None:
    rule = Rule("a", Check("require", wants="output.demand >"), Phase.RESPONSE, reads_output=True)
    with pytest.raises(OperatorError, match="rule 'a' cannot be compiled"):
        make_ruleset("demand", (rule,))


def test_a_broken_rule_is_left_out_and_the_others_are_kept() -> None:
    ruleset, problems = load("rules:\n" + A + "  - {id: c, nonsense: 1}\n" + B)
    assert [problem.code for problem in errors_of(problems)] == ["E204"]
    assert [rule.id for rule in ruleset.rules if not rule.built_in] == ["a", "b"]


def test_cases_are_read_with_their_rows_and_places() -> None:
    ruleset = rules_of(
        "rules:\n" + A + "tests:\n"
        "  - name: two rows\n"
        "    given:\n"
        "      rows: [{features: {x: 1, s: a, v: [1, 2]}, output: 3, previous: {demand: 2}}, {output: {demand: null}}]\n"
        "      profile: {output.demand.p99: 30%, temp.mean: 4, features.temp.p0_1: 1}\n"
        "      request: {hour: 3, caller: shop}\n"
        "    expect: [{outcome: replaced, value: 3, verdicts: {a: ok}}, {verdicts: {a: unknown}}]\n"
    )
    (case,) = ruleset.cases
    assert (case.name, str(case.place)) == ("two rows", "demand.guard.yaml:7:11")
    first, second = case.given.rows
    assert first.features == {"x": 1, "s": "a", "v": (1, 2)}
    assert first.output == {"prediction": 3}
    assert first.previous == {"demand": 2}
    assert (second.features, second.output, second.previous) == ({}, {"demand": None}, None)
    assert case.given.stats == {("output.demand", "p99"): 0.3, ("temp", "mean"): 4.0, ("temp", "p0_1"): 1.0}
    assert case.given.request == {"hour": 3, "caller": "shop"}
    one, other = case.expect
    assert one.value == {"prediction": 3}
    assert one.verdicts == {"a": Verdict.OK}
    assert (other.outcome, other.value, other.verdicts) == (None, None, {"a": Verdict.UNKNOWN})


def test_one_expectation_holds_for_every_row_and_built_in_rules_may_be_named() -> None:
    ruleset = rules_of(
        "rules:\n" + A + "tests:\n"
        "  - {name: x, given: {rows: [{output: 1}, {output: 2}]}, expect: {verdicts: {predictions-finite: ok}}}\n"
    )
    assert ruleset.cases[0].expect[0] == ruleset.cases[0].expect[1]


def test_kpis_and_limits_of_the_model_count_in_the_fingerprint_and_their_order_does_not() -> None:
    rules = "rules:\n  - {id: a, require: output.demand > 0}\n"
    two = "kpis:\n  one: {title: One, expr: output.demand}\n  two: {title: Two, expr: kpi.one * 2}\n"
    turned = "kpis:\n  two: {title: Two, expr: kpi.one * 2}\n  one: {title: One, expr: output.demand}\n"
    limit = "limits: {hold: 5% per 5m, then: warn}\n"
    texts = ("", two, limit, limit.replace("5%", "6%"), two.replace("* 2", "* 3"))
    assert len({rules_of(head + rules).fingerprint for head in texts}) == len(texts)
    assert rules_of(turned + rules).fingerprint == rules_of(two + rules).fingerprint


def test_a_list_that_changes_changes_the_rules_that_read_it_and_no_other() -> None:
    text = (
        "lists:\n  known: [ITEMS]\nrules:\n  - {id: reads, require: features.store in known}\n"
        "  - {id: other, require: output.demand > 0}\n"
    )
    one, other = (rules_of(text.replace("ITEMS", items)) for items in ("a, b", "a, c"))
    assert one.rev("reads") != other.rev("reads")
    assert one.rev("other") == other.rev("other")
    assert one.fingerprint != other.fingerprint


def test_a_ruleset_knows_the_rolling_functions_of_verdicts_messages_and_kpis() -> None:
    ruleset = rules_of(
        "kpis:\n  level: {title: Level, expr: 'recent_mean(output.demand, 2h)'}\nrules:\n"
        "  - {id: a, require: 'recent_share(output.demand>3, 1h) > 20%', message: 'p99 {recent_p99(output.demand, 1d):.1f}'}\n"
    )
    assert {name: one.window_s for name, one in ruleset.recents.items()} == {
        "recent_share(output.demand > 3, 1h)": 3_600.0,
        "recent_p99(output.demand, 1d)": 86_400.0,
        "recent_mean(output.demand, 2h)": 7_200.0,
    }


def test_kpis_may_use_each_other_in_any_order_and_a_broken_one_is_named() -> None:
    kpis = (Kpi("c", "kpi.b + 1"), Kpi("b", "kpi.a * 2"), Kpi("a", "output.demand"))
    ruleset = make_ruleset("demand", (), kpis=kpis)
    bound = ruleset.bind(("x",), ("demand",))
    view = view_of([{"x": 1.0}] * 2, [{"demand": 3.0}, {"demand": None}])
    assert {name: (column.cell(0), column.cell(1)) for name, column in bound.kpis(view).items()} == {
        "c": (7.0, None),
        "b": (6.0, None),
        "a": (3.0, None),
    }
    with pytest.raises(OperatorError, match="KPI 'c' cannot be compiled"):
        make_ruleset("demand", (), kpis=(Kpi("c", "kpi.d"), Kpi("d", "kpi.c")))
