"""Modes, scopes, models that share a document, and rolling functions: what a rule comes to."""

import pytest

from guardproxy.decision import Mode, Phase, Scope, Verdict
from guardproxy.rules import Rule, load_rulesets
from guardproxy.rules.sheets import MAX_MODELS
from tests.rules.build import HEAD, PROFILE, rules_of

_RANGE = "rules:\n  - id: a\n    range: {field: output.demand, min: 0}\n"
_RULE = "rules:\n  - id: a\n"


def _first(body: str) -> Rule:
    return rules_of(body, profiles={"demand": PROFILE}).rules[0]


@pytest.mark.parametrize(
    ("said", "mode", "share"),
    [
        ("off", Mode.OFF, 1.0),
        ("shadow", Mode.SHADOW, 1.0),
        ("canary 20%", Mode.CANARY, 0.2),
        ("canary  0.5 %", Mode.CANARY, 0.005),
        ("canary 100%", Mode.CANARY, 1.0),
        ("enforce", Mode.ENFORCE, 1.0),
    ],
)
def test_a_mode_says_in_which_share_of_requests_a_rule_acts(said: str, mode: Mode, share: float) -> None:
    rule = _first(_RANGE + f"    mode: {said}\n")
    assert (rule.mode, rule.canary) == (mode, pytest.approx(share))


def test_a_rule_with_a_mode_of_its_own_does_not_take_the_share_of_the_defaults() -> None:
    defaults = "defaults: {mode: canary 20%}\n"
    assert _first(defaults + _RANGE).canary == 0.2
    assert _first(defaults + _RANGE + "    mode: enforce\n").canary == 1.0


def test_a_misspelt_canary_is_told_how_to_write_one() -> None:
    for said in ("canary", "canary 20", "canary: 20%", "canary=20%", "'canary of 20%'", "canray 20%"):
        text = HEAD + _RANGE + f"    mode: {said}\n"
        problems = load_rulesets({"a": text}, profiles={"demand": PROFILE})[1]
        if problems[0].code != "E200":  # `canary: 20%` is no YAML at all in this place
            assert "canary 20%" in problems[0].help, said


def test_a_scope_is_kept_with_how_long_it_must_last() -> None:
    batch = _first(_RULE + "    scope: batch\n    require: batch_share(output.demand == 0) < 40%\n")
    assert (batch.scope, batch.phase, batch.reads_output) == (Scope.BATCH, Phase.RESPONSE, True)
    early = _first(
        _RULE + "    scope: batch\n    require: batch_mean(features.temp) < 40\n    action: reject\n"
    )
    assert (early.scope, early.phase) == (Scope.BATCH, Phase.REQUEST)
    window = _first(
        _RULE + "    scope: window\n    for: 15m\n    require: recent_share(output.demand == 0, 1h) < 40%\n"
    )
    assert (window.scope, window.for_s) == (Scope.WINDOW, 900.0)


def test_a_share_of_missing_fields_may_be_of_a_row_or_of_a_batch() -> None:
    check = "    missing_share: {fields: features.*, max: 5%}\n"
    assert _first(_RULE + check).check.share == 0.05
    assert _first(_RULE + "    scope: batch\n" + check).scope is Scope.BATCH


def test_what_is_still_warming_up_never_counts_as_a_violation() -> None:
    for body in (
        "    require: recent_mean(output.demand, 1h) > 3\n",
        "    when: recent_mean(output.demand, 1h) > 3\n    require: output.demand > 0\n",
        "    require: kpi.level > 0\n",
    ):
        kpis = "kpis: {level: {expr: 'recent_mean(output.demand, 1h)'}}\n"
        assert Verdict.UNKNOWN not in _first(kpis + _RULE + body).counts
    assert Verdict.UNKNOWN in _first(_RULE + "    require: output.demand > 3\n").counts


def test_models_may_share_a_document_and_its_problems_are_told_once() -> None:
    text = (
        "guardproxy: 1\nmodels: [demand, other]\nlists: {shops: [1]}\nkpis: {k: {expr: output.demand}}\n"
        "rules:\n  - {id: a, require: kpi.k > 0 and features.temp in shops}\n"
        "  - {id: b, require: output.demand > 0, severity: hgih}\n"
    )
    rulesets, problems = load_rulesets({"a": text}, profiles={"demand": PROFILE})
    assert set(rulesets) == {"demand", "other"}
    assert [one.code for one in problems] == ["N401", "E207"]
    assert "'other'" in problems[0].message
    for ruleset in rulesets.values():
        assert ruleset.rules[0].id == "a"
        assert ruleset.lists["shops"] == {1}
    assert rulesets["demand"].fingerprint != rulesets["other"].fingerprint


def test_a_model_may_have_a_document_of_its_own_beside_a_shared_one() -> None:
    shared = "guardproxy: 1\nmodels: [demand, other]\n" + _RANGE
    own = HEAD + _RANGE.replace("id: a", "id: b")
    rulesets, problems = load_rulesets({"a": shared, "b": own})
    assert [one.code for one in problems if one.severity == "error"] == []
    assert [rule.id for rule in rulesets["demand"].rules[:2]] == ["a", "b"]
    assert [rule.id for rule in rulesets["other"].rules if not rule.built_in] == ["a"]


def test_an_id_that_is_taken_in_one_of_the_models_is_told() -> None:
    shared = "guardproxy: 1\nmodels: [demand, other]\n" + _RANGE
    _, problems = load_rulesets({"a": shared, "b": HEAD + _RANGE})
    assert [(one.code, one.file) for one in problems if one.severity == "error"] == [("E213", "b")]


def test_too_many_models_of_one_document_are_refused() -> None:
    names = ", ".join(f"m{n}" for n in range(MAX_MODELS + 1))
    _, problems = load_rulesets({"a": f"guardproxy: 1\nmodels: [{names}]\n" + _RANGE})
    assert [one.code for one in problems if one.severity == "error"] == ["E208"]


def test_values_of_rolling_functions_are_given_as_the_rules_spell_them() -> None:
    body = (
        "rules:\n  - id: a\n    require: recent_share( output.demand==0 ,60m ) < 5%\n"
        "tests:\n  - name: x\n    given: {features: {}, recent: {'recent_share(output.demand == 0, 1h)': 20%}}\n"
        "    expect: {outcome: allowed}\n"
    )
    ruleset = rules_of(body, profiles={"demand": PROFILE})
    (spelled,) = ruleset.recents
    assert ruleset.cases[0].given.recent == {spelled: 0.2}


def test_a_problem_says_of_which_rule_and_key_it_is() -> None:
    body = _RULE + "    require: output.demand > 0\n    when: features.tmep > 1\n    severity: hgih\n"
    problems = load_rulesets({"a": HEAD + body}, profiles={"demand": PROFILE})[1]
    assert [(one.code, one.where) for one in problems] == [("E106", "rule a, when"), ("E207", "rule a")]


def test_a_file_of_another_product_is_one_sentence() -> None:
    others = {
        "groups:\n- name: x\n  rules: []\n": "Prometheus",
        "apiVersion: v1\nkind: ConfigMap\ndata: {}\n": "Kubernetes",
        "on: [push]\njobs: {}\nname: no\n": "GitHub",
        "- rule: x\n  condition: y\n  desc: z\n": "",
    }
    for text, name in others.items():
        rulesets, (problem,) = load_rulesets({"a": text})
        assert rulesets == {}
        assert problem.code == "E217"
        assert name in problem.message


def test_a_file_with_more_problems_than_anyone_reads_still_loads_to_an_answer() -> None:
    wrong = "".join(
        f"  - {{id: r{n}, scope: window, range: {{field: output.demand, min: 0}}, action: reject}}\n"
        for n in range(300)
    )
    rulesets, problems = load_rulesets({"a": HEAD + "rules:\n" + wrong}, profiles={"demand": PROFILE})
    assert len(problems) == 201
    assert [rule for rule in rulesets["demand"].rules if not rule.built_in] == []
