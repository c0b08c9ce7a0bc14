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

_RULE = HEAD + "rules:\n  - id: a\n"
_RANGE = _RULE + "    range: {field: output.demand, min: 0}\n"
_NEXT = "  - id: b\n    range: {field: output.demand, min: 0}\n"
_TWO = "guardproxy: 1\nmodel: two\nrules:\n  - id: a\n    order: [output.low, output.high]\n    action: fallback\n"

BAD: list[tuple[str, str]] = [
    ("E200", _RULE + "    message: a«:» b\n"),
    ("E201", _RANGE + "    title: x\n    «title»: other\n"),
    ("E202", _RANGE + "    title: «no»\n"),
    ("E202", "guardproxy: 1\nmodel: m\nrules:\n  - {id: a, one_of: {field: features.temp, values: [a, «on»]}}\n"),
    ("E203", _RANGE + "    title: «!!str x»\n"),
    ("E204", _RANGE + "    «seveirty»: high\n"),
    ("E204", _RULE + "    range: {field: output.demand, «mn»: 0, max: 1}\n"),
    ("E204", _RULE + "    require: output.demand > 0\n    fallback: [{expr: max(1, «features.temp)»}]\n"),
    ("E204", _RANGE + "tests:\n  - name: x\n    given: {features: {}, profile: {«demand»: 3}}\n    expect: {outcome: allowed}\n"),
    ("E204", _RULE + "    range: {field: output.demand, max: max(1, «features.temp)»}\n"),
    ("E205", HEAD + "rules:\n  - «t»itle: a\n    range: {field: output.demand, min: 0}\n"),
    ("E205", _RULE + "    range: «{»field: output.demand}\n"),
    ("E205", _RULE + "    range: «{»min: 0}\n"),
    ("E205", _RULE + "    max_change: «{»field: output.demand, against: previous}\n"),
    ("E205", _RULE + "    probabilities: «{»sum: 1}\n"),
    ("E206", _RULE + "    range: {field: «demand», min: 0}\n"),
    ("E126", _RULE + "    range: {field: output.demand, min: «true»}\n"),
    ("E206", _RULE + "    order: «output.demand»\n"),
    ("E206", _RULE + "    one_of: {field: features.temp, values: [a, «null»]}\n"),
    ("E206", _RULE + "    profile: {fields: features.*, outside: «1..99»}\n"),
    ("E206", _RULE + "    profile: {fields: «[»features.temp, output.demand]}\n"),
    ("E206", _RANGE + "    action: hold\n    hold: {queue: «a b»}\n"),
    ("E206", _RANGE + "    action: hold\n    hold: {sla: «soon»}\n"),
    ("E206", _RANGE + "    title: «7»\n"),
    ("E206", _RANGE + "    action: fallback\n    fallback: [{value: «null»}]\n"),
    ("E207", _RANGE + "    severity: «hihg»\n"),
    ("E207", _RANGE + "    mode: «enforced»\n"),
    ("E207", _RANGE + "    action: «block»\n"),
    ("E207", _RANGE + "    on_unknown: «allow»\n"),
    ("E207", _RANGE + "    action: fallback\n    fallback: [«previuos»]\n"),
    ("E207", _RANGE + "    action: fallback\n    fallback: [«profile.p500»]\n"),
    ("E207", _RANGE + "tests:\n  - {name: x, given: {features: {}}, expect: {outcome: «held back»}}\n"),
    ("E208", _RULE + "    order: «[»output.demand]\n"),
    ("E208", _RULE + "    range: {field: output.demand, max: «.inf»}\n"),
    ("E208", _RULE + "    one_of: {field: features.temp, values: «[»]}\n"),
    ("E208", _RULE + "    profile: {fields: features.*, at_least: «0»}\n"),
    ("E209", _RANGE + "    «unless»: []\n"),
    ("E209", _RULE + "    «confidence»: {field: output.demand}\n"),
    ("E209", _RANGE + "    mode: «canary 20%»\n"),
    ("E209", _RANGE + "    action: «score»\n"),
    ("E209", _RANGE + "    action: fallback\n    fallback: [{«model»: other}]\n"),
    ("E209", _RANGE + "    action: hold\n    hold: {«reviewers»: 2}\n"),
    ("E209", HEAD + "«kpis»: {}\nrules: []\n"),
    ("E209", "guardproxy: 1\n«models»: [a, b]\nrules: []\n"),
    ("E210", HEAD + "rules:\n  - «i»d: a\n    title: x\n"),
    ("E211", _RANGE + "    «require»: output.demand > 0\n"),
    ("E212", HEAD + "rules:\n  - id: «Demand OK»\n    range: {field: output.demand, min: 0}\n"),
    ("E213", _RANGE + _NEXT + "  - id: «a»\n    require: output.demand > 0\n"),
    ("E214", _RULE + "    require: output.demand > 0\n    action: «clamp»\n"),
    ("E214", _RULE + "    range: {field: features.temp, min: 0}\n    action: «clamp»\n"),
    ("E215", _RANGE + "    action: «fallback»\n"),
    ("E215", _RANGE + "    action: hold\n    hold: {meanwhile: «fallback»}\n"),
    ("E216", HEAD + "rules:\n  - id: «a»\n    severity: high\n    range: {field: output.demand, min: 0}\n"),
    ("E217", "guardproxy: «2»\nmodel: demand\nrules: []\n"),
    ("E217", "«r»outes:\n  - path: /\nlisten: 127.0.0.1:1\n"),
    ("E217", "«» \n"),
    ("E217", "«just text»\n"),
    ("E301", _RULE + "    range: {field: output.demand, min: «9», max: 1}\n"),
    ("E301", _RULE + "    profile: {fields: features.*, outside: «p99..p1»}\n"),
    ("E301", _RULE + "    profile: {fields: [features.temp], at_least: «2»}\n"),
    ("E302", _RULE + "    max_change: {field: features.temp, against: «previous», up: 5%}\n"),
    ("E302", _RULE + "    max_change: {field: output.demand, against: features.temp, «by»: [features.price], up: 5%}\n"),
    ("E302", _RULE + "    max_change: {field: output.demand, against: previous, by: [«output.demand»], up: 5%}\n"),
    ("E303", _TWO + "    fallback: [{value: «0»}]\n"),
    ("E303", _TWO + "    fallback: [{value: {«lo»: 0}}]\n"),
    ("E304", _RULE + '    range: {field: features.temp, min: 0}\n    message: «"{output.demand} is odd"»\n'),
    ("E305", _RANGE + "    action: fallback\n    fallback: [previous, {value: «-1»}]\n"),
    ("E305", _RULE + "    order: [output.low, output.high]\n    action: fallback\n"
             "    fallback: [{value: «{»low: 2, high: 1}}]\n"),
    ("E305", _RULE + "    require: output.demand <= profile.output.demand.p99\n    action: fallback\n"
             "    fallback: [{value: «5000»}]\n"),
    ("E305", _RULE + "    forbid: output.demand < 0 or output.demand is missing\n    action: fallback\n"
             "    fallback: {value: «-3»}\n"),
    ("E305", _RULE + "    probabilities: {field: output.demand}\n    action: fallback\n"
             "    fallback: [{value: «[»0.5, 0.6]}]\n"),
    ("E306", _RANGE + "tests:\n  - {name: x, given: {features: {}}, expect: {verdicts: {«aa»: ok}}}\n"),
    ("E307", _RANGE + "tests:\n  - {name: x, given: {rows: [{features: {}}]}, «expect»: [{outcome: held}, {outcome: held}]}\n"),
    ("E307", _RANGE + "tests:\n  - {name: x, given: {rows: [{}], «features»: {}}, expect: {outcome: held}}\n"),
    ("E307", _RANGE + "tests:\n  - {name: x, given: {features: {}}, expect: «{»}}\n"),
    ("N401", "guardproxy: 1\nmodel: «unknown-model»\nrules: []\n"),
    ("W402", _RANGE + "    «fallback»: [previous]\n"),
    ("W402", _RANGE + "    «hold»: {queue: x}\n"),
    ("W403", HEAD + "rules:\n  - id: «a»\n    max_change: {field: output.demand, against: previous, up: 5%}\n"),
    # Flaws of expressions, through every way YAML has of writing a text.
    ("E106", _RULE + "    require: «output.demnd» <= 3\n"),
    ("E106", _RULE + "    range: {field: «output.demnd», min: 0}\n"),
    ("E106", _RULE + "    when: 'features.temp > 1 and «features.tmep» > 2'\n    require: output.demand > 0\n"),
    ("E106", _RULE + "    require: |\n      output.demand <= 3 *\n      max(1, «features.lost_week»)\n"),
    ("E106", _RULE + '    require: "output.demand > 0 and \\"a\\" == «features.tmep»"\n'),
    ("E106", _RULE + "    require: >-\n      output.demand > 0\n      and «features.tmep» > 2\n"),
    ("E106", _RULE + "    range: {field: output.demand, max: 3 * «profile.output.demnd.p99»}\n"),
    ("E106", _RANGE + "    message: '{«output.demnd»:.0f} units'\n"),
    ("E106", _RANGE + "    action: fallback\n    fallback: [{expr: «features.lost_week»}]\n"),
    ("E106", _RANGE + "    action: hold\n    hold: {value: output.demand * «features.cost»}\n"),
    ("E106", _RULE + "    profile: {fields: [temp, «tmep»]}\n"),
    ("E113", _RULE + "    require: output.demand > 0 or features.temp > 1 «and» features.price > 2\n"),
]  # fmt: skip
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
    # E308 needs a thousand rules and W404 a command line; both have tests of their own.
    assert set(RULE_CODES) - shown == {"E308", "W404"}
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
    assert [one.code for one in _load(_RANGE + "    mode: no\n")] == ["E202", "E207"]


def test_a_rule_of_a_later_version_gets_no_wrong_suggestion() -> None:
    (problem,) = _load(_RANGE + "    scope: batch\n")
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


_WORDS = re.findall(
    r"\S+|\s+", (_RANGE + _NEXT + "tests:\n  - {name: x, given: {features: {}}, expect: {outcome: held}}\n")
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_mangled_file_loads_or_says_why_not(data: st.DataObject) -> None:
    words = list(_WORDS)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at] = data.draw(
            st.sampled_from(["", "[", "]", "{", "}", ": ", "- ", "null", "1", "x", "'", "\n", "off", *_WORDS])
        )
    text = "".join(words)
    for problem in load_rulesets({"x.guard.yaml": text}, profiles={"demand": PROFILE})[1]:
        assert render(problem, text)
        assert problem.code in CODES


def test_problems_come_sorted_by_file_and_place() -> None:
    problems = _load(_RANGE + "    a: 1\n    b: 2\n" + _NEXT + "    c: 3\n")
    assert all(one.line <= other.line for one, other in pairwise(problems))
