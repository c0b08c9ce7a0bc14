"""Lists and KPIs belong to a model, whichever of its files they stand in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Action, Mode, Phase, Verdict
from guardproxy.rules import Ruleset, load_rulesets
from guardproxy.rules.definitions import MAX_KPIS, kpi_rule_id
from guardproxy.source import Problem
from tests.rules.build import HEAD, PROFILE, rules_of

_USER = "rules:\n  - id: a\n    require: {}\n"


def _files(**bodies: str) -> tuple[Ruleset, list[Problem]]:
    texts = {f"{name}.guard.yaml": HEAD + body for name, body in bodies.items()}
    rulesets, problems = load_rulesets(texts, profiles={"demand": PROFILE})
    return rulesets["demand"], [one for one in problems if one.severity == "error"]


def _rev(ruleset: Ruleset, rule: str = "a") -> str:
    found = ruleset.rule(rule)
    assert found is not None
    return found.rev


def test_a_list_of_one_file_is_known_in_another_whatever_their_order() -> None:
    shops, rules = "lists: {shops: [1, 2]}\n", _USER.format("features.temp in shops")
    for bodies in ({"a": shops, "b": rules}, {"b": shops, "a": rules}):
        ruleset, errors = _files(**bodies)
        assert errors == []
        assert ruleset.lists == {"shops": frozenset({1, 2})}


def test_the_order_of_files_and_documents_changes_nothing_in_the_fingerprint() -> None:
    parts = [
        "kpis: {a: {expr: kpi.b * 2, expect: {min: 1}}}\n",
        "kpis: {b: {expr: output.demand}}\n",
        "lists: {shops: [1, 2]}\nlimits: {reject: 1% per 1m}\n",
        _USER.format("kpi.a > 0 and features.temp in shops"),
    ]
    prints = set()
    for order in (parts, parts[::-1], parts[2:] + parts[:2]):
        for text in ("---\n".join(HEAD + part for part in order),):
            rulesets, problems = load_rulesets({"x.guard.yaml": text}, profiles={"demand": PROFILE})
            assert [one for one in problems if one.severity == "error"] == []
            prints.add(rulesets["demand"].fingerprint)
    assert len(prints) == 1


def test_two_lists_of_one_name_are_an_error_that_names_both_places() -> None:
    _, errors = _files(a="lists: {shops: [1]}\n", b="lists: {shops: [2]}\n")
    assert [(one.code, one.file) for one in errors] == [("E218", "b.guard.yaml")]
    assert "a.guard.yaml:4:9" in errors[0].message


def test_a_rule_whose_list_changes_is_another_rule() -> None:
    rule = _USER.format("features.temp in shops")
    first, same, other = (
        _files(a=f"lists: {{shops: {values}}}\n" + rule)[0] for values in ("[1, 2]", "[2, 1, 1]", "[1, 3]")
    )
    assert _rev(first) == _rev(same)
    assert first.fingerprint == same.fingerprint
    assert _rev(first) != _rev(other)
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    "body",
    [
        "    require: output.demand > 0\n    when: features.temp in shops\n",
        "    require: output.demand > 0\n    message: '{features.temp in shops}'\n",
        (
            "    require: output.demand > 0\n    action: fallback\n"
            "    fallback: [{expr: 'if features.temp in shops then 1 else 2'}]\n"
        ),
        (
            "    require: output.demand > 0\n    action: hold\n"
            "    hold: {value: 'if features.temp in shops then 1 else 2'}\n"
        ),
        (
            "    require: output.demand > 0\n"
            "    unless: [{id: x, when: features.temp in shops, until: 2027-01-01, owner: o, why: w}]\n"
        ),
        "    require: kpi.near > 0\n",
    ],
)
def test_every_place_that_reads_a_list_counts_as_use(body: str) -> None:
    kpi = "kpis: {near: {expr: 'if features.temp in shops then 1 else 2'}}\n" if "kpi." in body else ""
    revs = set()
    for values in ("[1]", "[2]"):
        text = f"lists: {{shops: {values}}}\n{kpi}rules:\n  - id: a\n{body}"
        ruleset, errors = _files(a=text)
        assert errors == []
        revs.add(_rev(ruleset))
    assert len(revs) == 2


def test_rules_that_say_the_same_read_the_same() -> None:
    rule = "  - {{id: {}, require: features.temp in shops}}\n"
    ruleset, _ = _files(a="lists: {shops: [1]}\nrules:\n" + rule.format("a") + rule.format("b"))
    first, second = (rule.uses for rule in ruleset.rules[:2])
    assert first == second
    assert [name for name, _ in first] == ["lists.shops"]


def test_a_misspelt_list_leaves_the_one_that_was_meant_alone() -> None:
    text = HEAD + "lists: {shops: [1]}\n" + _USER.format("features.temp in shps")
    assert [one.code for one in load_rulesets({"a": text}, profiles={"demand": PROFILE})[1]] == ["E106"]


def test_a_list_that_nobody_reads_is_noted_and_one_that_a_kpi_reads_is_not() -> None:
    body = "lists: {near: [1], far: [2]}\nkpis: {k: {expr: 'if features.temp in near then 1 else 2'}}\n"
    problems = load_rulesets({"a": HEAD + body}, profiles={"demand": PROFILE})[1]
    assert [(one.code, one.severity, one.line, one.column) for one in problems] == [("N409", "note", 4, 20)]


def test_a_list_that_cannot_be_read_does_not_make_its_users_wrong() -> None:
    _, errors = _files(a="lists: {shops: [1, a]}\n" + _USER.format("features.temp in shops"))
    assert [one.code for one in errors] == ["E206"]


def test_a_kpi_has_a_default_shadow_rule_where_it_says_what_to_expect() -> None:
    ruleset = rules_of(
        "kpis:\n  cover_days: {title: Days of stock, expr: features.price / output.demand, unit: days, expect: {min: 2}}\n"
        "  other: {expr: features.price}\n",
        profiles={"demand": PROFILE},
    )
    assert [kpi.name for kpi in ruleset.kpis] == ["cover_days", "other"]
    (rule,) = [one for one in ruleset.rules if one.id.startswith("kpi-")]
    assert (rule.id, rule.mode, rule.action) == ("kpi-cover-days", Mode.SHADOW, Action.WARN)
    assert (rule.title, rule.owner, rule.phase) == ("Days of stock", "planning", Phase.RESPONSE)
    assert Verdict.UNKNOWN not in rule.counts
    assert not rule.built_in
    assert rule.place == ruleset.kpis[0].place


def test_a_rule_of_the_same_id_replaces_the_default_one() -> None:
    body = (
        "kpis: {margin: {expr: output.demand, expect: {min: 2}}}\n"
        "rules: [{id: kpi-margin, require: kpi.margin > 3}]\n"
    )
    ruleset = rules_of(body, profiles={"demand": PROFILE})
    (rule,) = [one for one in ruleset.rules if one.id == "kpi-margin"]
    assert rule.mode is Mode.ENFORCE
    assert rule.kind == "require"


def test_a_kpi_of_features_alone_is_expected_before_there_is_a_prediction() -> None:
    ruleset = rules_of("kpis: {k: {expr: features.price, expect: {max: 2}}}\n", profiles={"demand": PROFILE})
    rule = ruleset.rule("kpi-k")
    assert rule is not None
    assert rule.phase is Phase.REQUEST


def test_kpis_may_use_each_other_in_any_order() -> None:
    body = "kpis: {a: {expr: kpi.b * 2}, b: {expr: kpi.c + 1}, c: {expr: output.demand}}\n" + _USER.format(
        "kpi.a > 0"
    )
    ruleset, errors = _files(a=body)
    assert errors == []
    assert {kpi.name for kpi in ruleset.kpis} == {"a", "b", "c"}
    found = ruleset.rule("a")
    assert found is not None
    assert found.phase is Phase.RESPONSE  # the prediction is three KPIs away


def test_a_change_of_a_kpi_below_another_reaches_the_rules_above() -> None:
    revs = set()
    for expr in ("output.demand", "output.demand + 1"):
        body = f"kpis: {{a: {{expr: kpi.b * 2}}, b: {{expr: {expr}}}}}\n" + _USER.format("kpi.a > 0")
        revs.add(_rev(_files(a=body)[0]))
    assert len(revs) == 2


def test_a_title_of_a_kpi_does_not_make_its_rules_others() -> None:
    revs = {
        _rev(
            _files(a=f"kpis: {{a: {{title: {title}, expr: output.demand}}}}\n" + _USER.format("kpi.a > 0"))[0]
        )
        for title in ("x", "y")
    }
    assert len(revs) == 1


def test_several_circles_are_reported_once_each_and_their_users_are_not() -> None:
    body = (
        "kpis:\n  a: {expr: kpi.b}\n  b: {expr: kpi.a}\n  c: {expr: kpi.c}\n  d: {expr: kpi.a + kpi.e}\n"
        "  e: {expr: output.demand}\n" + _USER.format("kpi.d > kpi.c")
    )
    ruleset, errors = _files(a=body)
    assert [(one.code, one.line) for one in errors] == [("E219", 5), ("E219", 7)]
    assert "a -> b -> a" in errors[0].message
    assert [kpi.name for kpi in ruleset.kpis] == ["e"]


def test_a_kpi_that_is_wrong_is_one_problem_however_many_use_it() -> None:
    body = "kpis: {a: {expr: features.prize}, b: {expr: kpi.a}}\n" + _USER.format("kpi.b > kpi.a")
    ruleset, errors = _files(a=body)
    assert [one.code for one in errors] == ["E106"]
    assert ruleset.kpis == ()
    assert ruleset.rule("a") is None


def test_kpis_that_double_each_other_meet_the_bound_and_not_the_end_of_memory() -> None:
    chain = "".join(f"  k{n}: {{expr: kpi.k{n - 1} + kpi.k{n - 1}}}\n" for n in range(1, MAX_KPIS - 1))
    _, errors = _files(a="kpis:\n  k0: {expr: output.demand}\n" + chain)
    # Those that use the first one that is too large are not reported for that.
    assert [one.code for one in errors] == ["E102"]


def test_more_kpis_than_a_model_may_have_are_refused_once() -> None:
    many = "".join(f"  k{n}: {{expr: output.demand}}\n" for n in range(MAX_KPIS + 50))
    _, errors = _files(a="kpis:\n" + many)
    assert [(one.code, one.line) for one in errors] == [("E308", 5 + MAX_KPIS)]


def test_a_long_chain_of_kpis_is_read_without_exhausting_the_stack() -> None:
    chain = "".join(f"  k{n}: {{expr: kpi.k{n - 1}}}\n" for n in reversed(range(1, 150)))
    _, errors = _files(a="kpis:\n" + chain + "  k0: {expr: output.demand}\n")
    assert {one.code for one in errors} <= {"E103"}
    assert len(errors) <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_kpis_load_or_a_circle_is_named_whatever_uses_what(uses: list[tuple[int, int]]) -> None:
    exprs = {n: ["output.demand"] for n in range(8)}
    for user, used in uses:
        exprs[user].append(f"kpi.k{used}")
    body = "".join(f"  k{n}: {{expr: {' + '.join(parts)}}}\n" for n, parts in exprs.items())
    ruleset, errors = _files(a="kpis:\n" + body)
    assert {one.code for one in errors} <= {"E219"}
    assert len(ruleset.kpis) == 8 or errors


def test_the_id_of_a_default_rule_is_kebab_case() -> None:
    assert kpi_rule_id("cover_days") == "kpi-cover-days"
    assert kpi_rule_id("LTV") == "kpi-ltv"


def test_a_huge_list_is_read_and_looked_up() -> None:
    values = ", ".join(str(n) for n in range(50_000))
    ruleset, errors = _files(a=f"lists: {{shops: [{values}]}}\n" + _USER.format("features.temp in shops"))
    assert errors == []
    assert len(ruleset.lists["shops"]) == 50_000
