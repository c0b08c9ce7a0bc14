"""Words of other tools: each hint leads to a word that exists here."""

import re
from collections.abc import Mapping

import pytest

from guardproxy.decision import Action, Mode, Outcome, Scope, Severity, Verdict
from guardproxy.rules import foreign, load_rulesets
from guardproxy.rules.cases import EXPECT_KEYS, GIVEN_KEYS
from guardproxy.rules.definitions import KPI_KEYS
from guardproxy.rules.exceptions import UNLESS_KEYS
from guardproxy.rules.language import Flaw, Program, compile_expression
from guardproxy.rules.language import foreign as words
from guardproxy.rules.language.functions import AGGREGATES, FUNCTIONS
from guardproxy.rules.language.names import PROFILE_STATS, SPACES, OpenNames
from guardproxy.rules.limits import LIMIT_KEYS
from guardproxy.rules.personal import PERSONAL
from guardproxy.rules.reader import DEFAULT_KEYS, RULE_KEYS
from guardproxy.rules.remedies import AGE_KEYS, HOLD_KEYS, LINK_KEYS
from guardproxy.rules.scores import SCORE_KEYS
from guardproxy.rules.sheets import DOCUMENT_KEYS
from guardproxy.rules.text_checks import TEXT_KEYS
from guardproxy.rules.unusual import UNUSUAL_KEYS
from guardproxy.source import Problem
from tests.rules.build import HEAD

_KNOWN: Mapping[str, tuple[str, ...]] = {
    "a rule": RULE_KEYS,
    "rule": RULE_KEYS,
    "a rule file": DOCUMENT_KEYS,
    "defaults": DEFAULT_KEYS,
    "range": ("field", "min", "max"),
    "max_change": ("field", "against", "by", "up", "down", "floor"),
    "one_of": ("field", "values"),
    "probabilities": ("field", "fields", "sum", "tolerance"),
    "confidence": ("field", "fields", "min_top", "min_margin"),
    "text": TEXT_KEYS,
    "json_schema": ("field", "schema"),
    "missing_share": ("fields", "max"),
    "profile": ("fields", "outside", "at_least"),
    "hold": HOLD_KEYS,
    "limits": LIMIT_KEYS,
    "an exception": UNLESS_KEYS,
    "KPI": KPI_KEYS,
    "expect of KPI": ("min", "max"),
    "score": SCORE_KEYS,
    "unusual": UNUSUAL_KEYS,
    "a remembered fallback": AGE_KEYS,
    "a fallback": LINK_KEYS,
    "a test": ("name", "given", "expect"),
    "given": GIVEN_KEYS,
    "expect": EXPECT_KEYS,
}


def test_every_key_of_another_tool_leads_to_a_key_or_to_a_sentence() -> None:
    assert foreign.KEYS.keys() <= _KNOWN.keys()
    for what, keys in foreign.KEYS.items():
        for key, meant in keys.items():
            assert " " in meant or meant in _KNOWN[what], (what, key, meant)
            assert key not in _KNOWN[what] or what in ("a rule", "rule", "score"), (what, key)


@pytest.mark.parametrize(
    ("table", "known"),
    [
        (foreign.ACTIONS, {one.name.lower() for one in Action}),
        (foreign.SEVERITIES, {one.name.lower() for one in Severity}),
        (foreign.SCOPES, {one.value for one in Scope}),
        (foreign.COUNTS, {"violate", "ignore"}),
        (foreign.MEANWHILES, {"fallback", "original", "withhold"}),
        (foreign.EXPIRIES, {"fallback", "original", "reject"}),
        (foreign.OUTCOMES, {one.name.lower() for one in Outcome} | {"verdicts"}),
        (foreign.VERDICTS, {one.name.lower() for one in Verdict} | {"outcome"}),
        (foreign.PII, {*PERSONAL, "[card"}),
    ],
)
def test_every_word_of_another_tool_leads_to_a_word_of_this_one(
    table: Mapping[str, str], known: set[str]
) -> None:
    for word, advice in table.items():
        meant = re.search(r"write (\[?\w+)", advice)
        assert word not in known
        assert word == word.casefold()
        assert meant is not None, (word, advice)
        assert meant.group(1) in known | {"it"}, (word, advice)
    assert set(foreign.MODES.values()) <= {mode.value for mode in Mode}


def test_every_function_and_name_of_another_language_leads_to_one_that_exists() -> None:
    for advice in words.FUNCTIONS.values():
        meant = re.fullmatch(r"did you mean `(\w+)`\?", advice)
        assert meant is None or meant.group(1) in {*FUNCTIONS, *AGGREGATES}, advice
    assert set(words.SPACES.values()) <= set(SPACES)
    assert set(words.STATS.values()) <= set(PROFILE_STATS)
    for table in (words.FUNCTIONS, words.WORDS, words.BARE, words.SPACES, words.STATS):
        assert all(word == word.lower() for word in table)


@pytest.mark.parametrize("word", sorted(words.WORDS))
def test_a_word_of_another_language_between_two_values_is_told_with_its_hint(word: str) -> None:
    for written in (word, word.upper()):
        found = compile_expression(f"features.x {written} 3", OpenNames())
        assert not isinstance(found, Program)
        assert (found[0].code, found[0].offset) == ("E110", 11)
        assert found[0].help


@pytest.mark.parametrize("name", sorted(set(words.FUNCTIONS) - {"if", "not", "and", "or", "in", "is"}))
def test_a_function_of_another_language_is_told_with_its_hint(name: str) -> None:
    found = compile_expression(f"{name}(features.x) > 3", OpenNames())
    assert not isinstance(found, Program)
    assert isinstance(found[0], Flaw)
    assert (found[0].code, found[0].help) == ("E107", words.FUNCTIONS[name])


def _problems(body: str) -> list[Problem]:
    found = load_rulesets({"a.guard.yaml": HEAD + body})[1]
    return [problem for problem in found if problem.severity != "note"]


@pytest.mark.parametrize(
    "key", sorted(key for key, meant in foreign.KEYS["rule"].items() if meant == "require")
)
def test_an_expression_under_the_key_of_another_tool_is_one_problem(key: str) -> None:
    (problem,) = _problems(f"rules:\n  - id: a\n    {key}: output.x > 3\n")
    assert (problem.code, problem.help) == ("E204", "write 'require'")


@pytest.mark.parametrize(
    ("written", "share"),
    [
        ("canary 20", "20%"),
        ("canary 0.2", "20%"),
        ('"20 %"', "20%"),
        ("canary 1/5", "20%"),
        ("{canary: 5%}", "5%"),
    ],
)
def test_a_canary_of_another_form_is_told_with_its_share(written: str, share: str) -> None:
    (problem,) = _problems(f"rules:\n  - id: a\n    require: output.x > 3\n    mode: {written}\n")
    assert (problem.code, problem.help) == ("E207", f"write canary {share}")


def test_a_misspelt_key_is_read_as_the_one_it_surely_is_and_its_value_judged_too() -> None:
    problems = _problems("rules:\n  - id: a\n    requires: output.x >\n    when: features.a > 1 &&\n")
    assert [problem.code for problem in problems] == ["E204", "E110", "E111"]


def test_what_another_key_had_to_hold_is_no_second_problem() -> None:
    (problem,) = _problems("rules:\n  - id: a\n    range: {field: output.x, maximum: [1]}\n")
    assert (problem.code, problem.help) == ("E204", "write 'max'")
