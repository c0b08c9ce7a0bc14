"""Every mistake is reported with its code at exactly the characters that are wrong: those between « and » below."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.rules import CODES, load_rulesets
from guardproxy.rules.codes import RULE_CODES
from guardproxy.source import Problem, render
from tests.rules.build import HEAD, PROFILE
from tests.rules.mistakes import BAD

_RULE = HEAD + "rules:\n  - id: a\n"
_RANGE = _RULE + "    range: {field: output.demand, min: 0}\n"
_NEXT = "  - id: b\n    range: {field: output.demand, min: 0}\n"
_IDS = [f"{code}-{number}" for number, (code, _) in enumerate(BAD)]
_OUTPUTS = {"two": ("low", "high")}


def _unmark(marked: str) -> tuple[str, int, int, int]:
    """Return the text without marks, and the line, column and length of what stood between them."""
    start, end = marked.index("«"), marked.index("»") - 1
    text = marked.replace("«", "").replace("»", "")
    line = text.count("\n", 0, start) + 1
    return text, line, start - (text.rfind("\n", 0, start) + 1) + 1, max(1, end - start)


def _load(text: str) -> list[Problem]:
    return load_rulesets({"bad.guard.yaml": text}, profiles={"demand": PROFILE}, outputs=_OUTPUTS)[1]


@pytest.mark.parametrize(("code", "marked"), BAD, ids=_IDS)
def test_a_mistake_is_reported_at_its_own_characters(code: str, marked: str) -> None:
    text, line, column, length = _unmark(marked)
    if code == "E305" and "output.low" in text:
        outputs = {"demand": ("low", "high")}
        problems = load_rulesets({"bad.guard.yaml": text}, outputs=outputs)[1]
    else:
        problems = _load(text)
    found = [(one.code, one.line, one.column, one.length) for one in problems]
    assert (code, line, column, length) in found, "\n".join(render(one, text) for one in problems)
    assert all(one.message and one.file == "bad.guard.yaml" for one in problems)
    # One mistake is one error, not an avalanche.
    errors = [one for one in problems if one.severity == "error"]
    assert len(errors) == (0 if code[0] in "NW" else 1), "\n".join(render(one, text) for one in problems)


def test_every_code_of_rule_files_has_a_fixture_and_a_page() -> None:
    shown = {code for code, _ in BAD}
    # E142 needs a library to be absent, E308 a thousand rules, E309 a signature, E330 a proxy, N414 a profile, W404 to W406 a command line, W407 and W408 a day;
    # they have tests of their own.
    assert set(RULE_CODES) - shown == {
        "E142",
        "E308",
        "E309",
        "E330",
        "N414",
        "W404",
        "W405",
        "W406",
        "W407",
        "W408",
    }
    assert shown <= set(CODES)


def test_all_mistakes_of_all_files_are_reported_in_one_run_sorted_by_place() -> None:
    first = (
        _RANGE
        + "    seveirty: high\n    title: no\n    title: x\n    when: features.tmep > 1\n    action: nope\n"
    )
    second = (
        HEAD
        + "rules:\n  - id: a\n    range: {field: output.demand, min: x}\n  - require: output.demand > 0\n"
    )
    problems = load_rulesets({"b.guard.yaml": second, "a.guard.yaml": first}, profiles={"demand": PROFILE})[1]
    assert [(one.file[0], one.line, one.code) for one in problems if one.severity == "error"] == [
        ("a", 7, "E204"),
        ("a", 8, "E202"),
        ("a", 9, "E201"),
        ("a", 10, "E106"),
        ("a", 11, "E207"),
        ("b", 5, "E213"),
        ("b", 6, "E114"),
        ("b", 7, "E205"),
    ]


def test_a_taken_id_names_both_places_whatever_the_order_of_files() -> None:
    texts = {"b.guard.yaml": _RANGE, "a.guard.yaml": _RANGE}
    for files in (texts, dict(reversed(texts.items()))):
        (problem,) = [
            one for one in load_rulesets(files, profiles={"demand": PROFILE})[1] if one.severity == "error"
        ]
        assert (problem.code, problem.file, problem.line, problem.column) == ("E213", "b.guard.yaml", 5, 9)
        assert "a.guard.yaml:5:9" in problem.message


def test_mode_off_is_a_word_and_not_a_yaml_boolean() -> None:
    assert _load(_RANGE + "    mode: off\n") == []
    assert _load(HEAD + "defaults: {mode: off}\nrules: []\n") == []
    # Where the reader knows which word is meant, that is all that is said.
    assert [(one.code, one.help) for one in _load(_RANGE + "    mode: no\n")] == [("E207", "write off")]


def test_a_key_of_a_later_version_gets_no_wrong_suggestion() -> None:
    (problem,) = _load(_RANGE + "    expires: 2027-01-01\n")
    assert problem.code == "E209"
    assert "not supported yet" in problem.message
    assert "did you mean" not in problem.help


def test_a_literal_fallback_that_may_be_allowed_is_not_refused() -> None:
    fine = [
        "    range: {field: output.demand, min: features.temp}\n    fallback: [{value: -1}]\n",
        "    when: output.demand > 0\n    require: output.demand > 10\n    fallback: [{value: -1}]\n",
        "    require: output.demand >= 0 or features.temp is missing\n    fallback: [{value: -1}]\n",
        "    range: {field: output.demand, min: 0}\n    fallback: [{value: 0}]\n",
    ]
    for body in fine:
        assert [
            one for one in _load(_RULE + body + "    action: fallback\n") if one.severity == "error"
        ] == []


def test_names_that_a_profile_cannot_know_are_accepted() -> None:
    # The learned target is called demand, but the server may leave its answer unnamed.
    assert _load(_RULE + "    require: output.prediction >= 0\n") == []
    assert _load(_RULE + '    require: features["temp"] >= 0\n') == []


def test_an_output_beside_the_learned_target_is_accepted_and_a_misspelt_one_is_not() -> None:
    # Quantiles come from the model server; no column of the training data is called so.
    assert _load(_RULE + "    require: output.p10 <= output.demand\n") == []
    assert [one.code for one in _load(_RULE + "    require: output.demnd >= 0\n")] == ["E106"]
    assert [one.code for one in _load(_RULE + "    require: output.demand <= profile.output.p10.p99\n")] == [
        "E106"
    ]


def test_more_rules_than_a_model_may_have_are_refused_once() -> None:
    rules = "".join(f"  - {{id: r{n}, require: output.demand > 0}}\n" for n in range(1_002))
    (problem,) = _load(HEAD + "rules:\n" + rules)
    assert (problem.code, problem.line) == ("E308", 1_005)


def test_a_model_with_too_many_rolling_functions_is_refused() -> None:
    calls = [f"recent_mean(output.demand + {n}, 1h)" for n in range(65)]
    rules = [f"  - {{id: r{n}, scope: window, require: '{call} < 9'}}\n" for n, call in enumerate(calls)]
    assert _load(HEAD + "rules:\n" + "".join(rules[:64]) + rules[0].replace("r0", "again")) == []
    (problem,) = _load(HEAD + "rules:\n" + "".join(rules))
    assert problem.code == "E308"
    assert problem.message == "more than 64 different rolling functions of one model"


def test_a_fallback_for_a_wrong_kind_of_file_is_one_line() -> None:
    (problem,) = _load("model: m\nversion: 01234567\nfeatures: {}\nprovenance: {}\n")
    assert problem.code == "E217"
    assert "profile" in problem.help


_HOSTILE = [
    "", "\0", "\t", "---\n---\n", "&a [*a]", "a: &x {b: *x}", "{" * 200, "[" * 200, "- " * 100, "? a\n: b", "%YAML 9.9\n---\na",
    "guardproxy: 1\nmodel: [a]\nrules: {a: b}\ntests: 3\n", "guardproxy: 1\nmodel: m\nrules: [1, null, [], x]\n",
    "guardproxy: 1\nmodel: m\nrules: [{id: [a], range: [], when: {}, tags: {}, hold: 3, fallback: {}}]\n",
    "guardproxy: 1\nmodel: m\ntests: [{name: {}, given: [], expect: 3}, null, {given: {rows: 3}, expect: [[]]}]\n",
    "guardproxy: 1\nmodel: m\ndefaults: [a]\nowner: {}\n", "guardproxy: {a: b}\n", "? [a, b]\n: c\n", "\ufeffguardproxy: 1\n",
    "guardproxy: 1\nmodel: m\nrules: [{id: a, require: " + "(" * 3_000 + "}]\n", "a: !!python/object:os.system x\n",
    "x: &a [1,1,1]\ny: &b [*a,*a,*a]\nz: &c [*b,*b,*b]\n" + "".join(f"z{n}: &d{n} [*c,*c,*c]\n" for n in range(30)),
]  # fmt: skip


@pytest.mark.parametrize("text", _HOSTILE)
def test_hostile_yaml_gives_problems_and_never_an_exception(text: str) -> None:
    rulesets, problems = load_rulesets({"x.guard.yaml": text})
    assert any(one.severity == "error" for one in problems)
    assert all(one.line >= 1 and one.column >= 1 and one.length >= 1 for one in problems)
    assert all(len(ruleset.rules) <= 1 for ruleset in rulesets.values())


_WHOLE = """\
lists: {shops: [1, 2], bad: [sorry, "no risk"]}
kpis: {twice: {expr: output.demand * 2, expect: {min: 1, max: 9}}, more: {expr: kpi.twice + 1}}
score: {hold_at: 2, reject_at: 3, hold: {queue: q}, fallback: [previous]}
limits: {hold: 10% per 5m, then: warn}
rules:
  - id: a
    require: kpi.more > 0 and features.temp in shops
    unless: [{id: x, when: features.temp > 1, until: 2027-01-01, owner: o, why: w}]
    mode: canary 20%
    action: hold
    limits: {hold: 1% per 1m}
  - {id: b, text: {field: output.note, must_not_contain: bad, max_chars: 9, pii: [card]}, action: score, points: 3}
  - {id: c, scope: batch, require: batch_share(output.demand == 0) < 4%}
  - {id: d, scope: window, for: 15m, require: 'recent_share(output.demand == 0, 1h) < 4%'}
  - {id: e, missing_share: {fields: features.*, max: 5%}}
  - {id: f, confidence: {field: output.probs, min_top: 55%}}
  - {id: g, json_schema: {field: output.note, schema: {type: object}}}
tests:
  - {name: x, given: {features: {}, recent: {'recent_share(output.demand == 0, 1h)': 3}}, expect: {outcome: held}}
"""
_TEXTS = [
    _RANGE + _NEXT + "tests:\n  - {name: x, given: {features: {}}, expect: {outcome: held}}\n",
    HEAD + _WHOLE,
    HEAD.replace("model: demand", "models: [demand, two]") + _WHOLE,
]
_WORDS = [re.findall(r"\S+|\s+", text) for text in _TEXTS]
_NOISE = [
    "",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "null",
    "1",
    "x",
    "'",
    "\n",
    "off",
    "kpi.more",
    "9e999",
    "batch",
    "window",
]


def test_the_text_that_is_mangled_is_a_good_one() -> None:
    assert [one for one in _load(_TEXTS[1]) if one.severity != "note"] == []


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_mangled_file_loads_or_says_why_not(data: st.DataObject) -> None:
    words = list(data.draw(st.sampled_from(_WORDS)))
    given_words = list(words)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at] = data.draw(st.sampled_from([*_NOISE, *given_words]))
    text = "".join(words)
    for problem in load_rulesets({"x.guard.yaml": text}, profiles={"demand": PROFILE})[1]:
        assert render(problem, text)
        assert problem.code in CODES


def test_problems_come_sorted_by_file_and_place() -> None:
    problems = _load(_RANGE + "    a: 1\n    b: 2\n" + _NEXT + "    c: 3\n")
    assert all(one.line <= other.line for one, other in pairwise(problems))
