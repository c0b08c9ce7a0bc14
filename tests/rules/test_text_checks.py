"""How checks of text, JSON, confidence and missing values are written, and what they say of rows."""

import json
import sys

import pytest

from guardproxy.rules import Check, Rule, load_rulesets
from guardproxy.rules.schemas import compile_schema
from guardproxy.source import Problem
from tests.rules.build import HEAD, PROFILE, rules_of
from tests.rules.test_checks import ERROR, OK, UNKNOWN, VIOLATED, judge

_LISTS = "lists: {promises: [guaranteed, no risk], numbers: [1]}\n"


def _check(said: str) -> Check:
    return _rule(said).check


def _rule(said: str) -> Rule:
    return rules_of(_LISTS + "rules:\n  - id: a\n    " + said + "\n", profiles={"demand": PROFILE}).rules[0]


def _problems(said: str) -> list[Problem]:
    text = HEAD + _LISTS + "rules:\n  - id: a\n    " + said + "\n"
    found = load_rulesets({"a": text}, profiles={"demand": PROFILE})[1]
    return [one for one in found if one.severity == "error"]


def test_what_is_sought_is_a_list_by_name_one_text_or_several() -> None:
    for said, expected in {
        "promises": ("guaranteed", "no risk"),
        '"promises"': ("guaranteed", "no risk"),
        "lists.promises": ("guaranteed", "no risk"),
        "[promises]": ("promises",),
        "for free": ("for free",),
        "[b, a, b]": ("b", "a"),
    }.items():
        found = _check(f"text: {{field: output.demand, must_not_contain: {said}}}").text
        assert found is not None
        assert found.must_not_contain == expected


def test_a_misspelt_list_is_no_text_to_look_for_unless_it_is_quoted() -> None:
    (problem,) = _problems("text: {field: output.demand, must_contain: promisses}")
    assert (problem.code, problem.help) == ("E106", "did you mean 'promises'?")
    assert _problems('text: {field: output.demand, must_contain: "promisses"}') == []


def test_a_text_check_keeps_all_that_it_says() -> None:
    found = _check(
        "text: {field: output.demand, must_contain: [a], must_not_contain: promises, whole_words: true,"
        " case_sensitive: true, must_match: 'x+', must_not_match: '[0-9]{9}', min_chars: 2, max_chars: 90,"
        " pii: [iban, card, iban]}"
    )
    text = found.text
    assert text is not None
    assert (text.must_contain, text.must_match, text.must_not_match) == (("a",), "x+", "[0-9]{9}")
    assert (text.whole_words, text.case_sensitive, text.min_chars, text.max_chars) == (True, True, 2, 90)
    assert text.pii == ("iban", "card")
    assert found.bound.startswith('with "a", without "guaranteed" or "no risk", matching x+')


def test_a_change_of_the_list_that_is_sought_makes_another_rule() -> None:
    body = "rules:\n  - id: a\n    text: {field: output.demand, must_not_contain: bad}\n"
    revs = {rules_of(f"lists: {{bad: {values}}}\n" + body).rules[0].rev for values in ("[x]", "[x, y]")}
    assert len(revs) == 2


def test_texts_are_judged() -> None:
    check = "text: {field: output.demand, must_not_contain: [no risk], max_chars: 20}"
    assert judge(check, {"demand": "There is a risk."}) is OK
    assert judge(check, {"demand": "There is No   Risk."}) is VIOLATED
    assert judge(check, {"demand": "a" * 21}) is VIOLATED
    assert judge(check, {"demand": None}) is UNKNOWN
    assert judge(check, {"demand": 3.0}) is ERROR


def test_personal_data_is_found() -> None:
    check = "text: {field: output.demand, pii: [email]}"
    assert judge(check, {"demand": "Write to someone@example.org, please."}) is VIOLATED
    assert judge(check, {"demand": "Write to us, please."}) is OK


def test_a_confidence_has_a_top_and_a_margin() -> None:
    check = "confidence: {field: output.probs, min_top: 55%, min_margin: 10%}"
    assert judge(check, {"probs": (0.6, 0.4)}) is OK
    assert judge(check, {"probs": (0.5, 0.1, 0.1)}) is VIOLATED
    assert judge(check, {"probs": (0.58, 0.55)}) is VIOLATED
    assert judge(check, {"probs": (0.6, None)}) is UNKNOWN
    assert judge("confidence: {fields: [output.p1, output.p2], min_top: 55%}", {"p1": 0.6, "p2": 0.4}) is OK


def test_json_in_a_text_must_satisfy_its_schema() -> None:
    check = (
        "json_schema: {field: output.demand, schema: {type: object, required: [answer],"
        " properties: {answer: {type: string, pattern: '^[a-z]+$'}}}}"
    )
    assert judge(check, {"demand": '{"answer": "yes"}'}) is OK
    assert judge(check, {"demand": '{"answer": "YES"}'}) is VIOLATED
    assert judge(check, {"demand": '{"reply": "yes"}'}) is VIOLATED
    assert judge(check, {"demand": "yes"}) is VIOLATED
    assert judge(check, {"demand": None}) is UNKNOWN


def test_a_schema_is_kept_in_one_spelling() -> None:
    first, second = (
        _check(f"json_schema: {{field: output.demand, schema: {said}}}").schema
        for said in ("{type: object, minProperties: 1}", "{minProperties: 1, type: object}")
    )
    assert first == second
    assert json.loads(first) == {"type": "object", "minProperties": 1}


def test_a_mistake_deep_in_a_schema_is_shown_where_it_stands() -> None:
    said = "json_schema:\n      field: output.demand\n      schema:\n        properties:\n          answer: {type: strng}"
    (problem,) = _problems(said)
    assert (problem.code, problem.line, problem.column, problem.length) == ("E224", 11, 20, 4)


def test_a_share_of_missing_cells_is_judged_in_a_row() -> None:
    check = "missing_share: {fields: [temp, price, last_week], max: 40%}"
    row = {"temp": 1.0, "price": 1.0, "last_week": 1.0}
    assert judge(check, row) is OK
    assert judge(check, {**row, "temp": None}) is OK
    assert judge(check, {**row, "temp": None, "price": None}) is VIOLATED
    assert judge("missing_share: {fields: features.*, max: 40%}", {"temp": None, "price": 1.0}) is VIOLATED


def test_what_a_message_leaves_out_is_missing_where_the_profile_knows_it() -> None:
    check = "missing_share: {fields: features.*, max: 40%}"
    assert judge(check, {"temp": 1.0}) is VIOLATED
    assert judge(check, {"temp": 1.0}, profile=None) is OK
    assert judge(check, {"temp": 1.0, "price": 1.0}) is OK
    assert judge(check, {"temp": 1.0, "price": 1.0, "odd": None, "more": None}) is VIOLATED
    output = "missing_share: {fields: output.*, max: 40%}"
    assert judge(output, {"temp": 1.0, "p10": 1.0}) is OK
    assert judge(output, {"temp": 1.0, "p10": 1.0, "p50": None}) is VIOLATED


@pytest.mark.parametrize(
    ("library", "said", "code", "advice"),
    [
        ("re2", "text: {field: output.demand, must_match: x}", "E141", "guardproxy[re2]"),
        ("jsonschema", "json_schema: {field: output.demand, schema: {}}", "E142", "guardproxy[schema]"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_how_to_install_it(
    library: str, said: str, code: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_schema.cache_clear()
    assert _problems(said) == []
    compile_schema.cache_clear()
    monkeypatch.setitem(sys.modules, library, None)
    (problem,) = _problems(said)
    compile_schema.cache_clear()
    assert problem.code == code
    assert advice in problem.help


def test_what_is_sought_literally_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    assert _problems("text: {field: output.demand, must_not_contain: promises}") == []


def test_a_text_that_a_rule_allows_may_stand_in() -> None:
    said = (
        "text: {field: output.demand, must_not_contain: promises}\n    action: fallback\n"
        '    fallback: [{value: "I cannot answer that here."}]'
    )
    assert _problems(said) == []
