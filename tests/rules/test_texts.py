"""Checks of confidence, text and JSON in text, one row at a time."""

import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from guardproxy.rules.language import LanguageError
from guardproxy.rules.language.functions import PatternError
from guardproxy.rules.model import Check, TextCheck
from guardproxy.rules.schemas import (
    MAX_JSON_BYTES,
    MAX_JSON_DEPTH,
    MAX_STEPS,
    SchemaError,
    SchemaLibraryMissingError,
    compile_schema,
)
from guardproxy.rules.texts import ROW_CHECKS, SENTENCES
from guardproxy.table import Cell

_JSON_ITEMS = st.lists(
    st.recursive(
        st.sampled_from([0, 1, 1.0, True, False, None, "1", "a", 2**60, 2.0**60, -0.0]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=4,
)


def text_check(**demands: Any) -> Check:
    return Check("text", text=TextCheck(**demands))


def judged(check: Check, *cells: Cell) -> bool | None:
    return ROW_CHECKS[check.kind](check, cells)


def said(check: Check, *cells: Cell) -> str:
    return SENTENCES[check.kind](check, cells)


class TestConfidence:
    CHECK = Check("confidence", least_top=0.55, least_margin=0.10)

    @pytest.mark.parametrize(
        ("probabilities", "verdict"),
        [
            ((0.7, 0.2, 0.1), True),
            ((0.55, 0.45), True),
            ((0.54, 0.26, 0.2), False),
            ((0.56, 0.47), False),
            ((0.6, 0.5), True),
            ((0.55, 0.450001), False),
            ((0.6, None), None),
            ((), None),
            ((0.95,), True),
            ((0.03,), True),
            ((0.5,), False),
        ],
    )
    def test_the_largest_probability_and_its_lead_must_reach_what_is_asked(
        self, probabilities: tuple[float | None, ...], verdict: bool | None
    ) -> None:
        assert judged(self.CHECK, probabilities) is verdict

    def test_several_columns_are_judged_like_one_vector(self) -> None:
        assert judged(self.CHECK, 0.7, 0.2, 0.1) is True
        assert judged(self.CHECK, 0.4, 0.35, 0.25) is False
        assert judged(self.CHECK, 0.4, None, 0.25) is None

    def test_words_are_no_confidence(self) -> None:
        with pytest.raises(LanguageError):
            judged(self.CHECK, ("high", "low"))

    def test_the_sentence_says_which_of_the_two_was_too_low(self) -> None:
        assert said(self.CHECK, (0.5, 0.3, 0.2)) == "the largest probability is 50.0%, below 55.0%"
        assert "5.0% apart, less than 10.0%" in said(self.CHECK, (0.6, 0.55))


class TestText:
    @pytest.mark.parametrize(
        ("demands", "text", "sentence"),
        [
            ({"must_not_contain": ("risk-free",)}, "A RISK-FREE offer", 'the text holds "risk-free"'),
            ({"must_not_contain": ("no risk",)}, "there is no\n  risk", 'the text holds "no risk"'),
            ({"must_contain": ("refund", "return")}, "keep it", 'the text holds none of "refund", "return"'),
            ({"max_chars": 3}, "four", "the text has 4 characters, more than 3"),
            ({"min_chars": 5}, "four", "the text has 4 characters, fewer than 5"),
            ({"must_match": r"^\d+$"}, "12a", r"the text does not match ^\d+$"),
            ({"must_not_match": r"\d+ ?%"}, "yields 12 %", r"the text matches \d+ ?%"),
            ({"pii": ("email",)}, "ask a@example.com", "the text holds personal data (email)"),
        ],
    )
    def test_each_demand_says_how_it_was_broken(
        self, demands: dict[str, Any], text: str, sentence: str
    ) -> None:
        check = text_check(**demands)
        assert judged(check, text) is False
        assert said(check, text) == sentence

    def test_a_text_that_meets_every_demand_is_ok(self) -> None:
        check = text_check(
            must_contain=("refund",), must_not_contain=("guarantee",), max_chars=40, pii=("card",)
        )
        assert judged(check, "Your refund is on its way.") is True

    def test_whole_words_are_not_found_inside_others(self) -> None:
        check = text_check(must_not_contain=("guarantee",), whole_words=True)
        assert judged(check, "guaranteed") is True
        assert judged(check, "a guarantee!") is False
        assert judged(check, "guaranteed, a guarantee") is False
        assert judged(text_check(must_not_contain=("guarantee",)), "guaranteed") is False

    def test_case_matters_only_where_it_is_asked_for(self) -> None:
        assert judged(text_check(must_not_contain=("US",), case_sensitive=True), "tell us") is True
        assert judged(text_check(must_not_contain=("US",)), "tell us") is False

    def test_a_missing_text_is_unknown_and_a_number_is_an_error(self) -> None:
        assert judged(text_check(max_chars=1), None) is None
        with pytest.raises(LanguageError):
            judged(text_check(max_chars=1), 3.0)

    def test_personal_data_is_not_repeated_in_the_sentence(self) -> None:
        assert "4111" not in said(text_check(pii=("card",)), "4111 1111 1111 1111")

    def test_only_the_first_64_kib_are_searched_and_characters_stay_whole(self) -> None:
        check = text_check(must_not_contain=("needle",))
        assert judged(check, "€" * (65_536 // 3 - 6) + "needle") is False
        assert judged(check, "x" * 60_000 + "needle") is False
        assert judged(text_check(must_contain=("needle",)), "x" * 70_000 + "needle") is False

    @pytest.mark.parametrize(
        "demands", [{"must_not_contain": ("needle",)}, {"must_not_match": "needle"}, {"pii": ("email",)}]
    )
    def test_a_text_that_was_not_looked_through_is_unknown_and_not_ok(self, demands: dict[str, Any]) -> None:
        check = text_check(**demands)
        for text in ("x" * 70_000 + " needle a@example.com", "€" * 30_000 + " needle a@example.com"):
            assert judged(check, text) is None
            assert said(check, text) == "only the first 64 KiB of the text were searched"
            assert judged(check, " needle a@example.com " + text) is False
        assert judged(check, "x" * 65_536) is True
        assert judged(text_check(max_chars=80_000, must_contain=("x",)), "x" * 70_000) is True

    @pytest.mark.parametrize(
        "text",
        [
            "a gua\u00adrantee",
            "a guar\u200bantee",
            "a \uff27\uff35\uff21\uff32\uff21\uff2e\uff34\uff25\uff25",
            "no\u00a0 cafe\u0301",
            "no \t caf\u00e9",
            "NO\u2003CAFÉ",
        ],
    )
    def test_another_spelling_of_the_same_characters_hides_no_phrase(self, text: str) -> None:
        assert judged(text_check(must_not_contain=("guarantee", "no café"), whole_words=True), text) is False

    @given(st.text("ab \t\n\x1c\u00a0\u2003", max_size=12))
    def test_a_run_of_white_space_is_one_blank_and_ends_are_kept(self, text: str) -> None:
        single = re.sub(r"\s+", " ", text)
        assert judged(text_check(must_not_contain=(single or "c",)), text) is (not single)
        assert judged(text_check(must_not_contain=(" a ",)), text) is (" a " not in single)

    def test_a_pattern_that_keeps_other_libraries_busy_for_hours_ends(self) -> None:
        assert judged(text_check(must_match=r"^(a+)+$"), "a" * 60_000 + "b") is False

    @given(st.text(max_size=50), st.text(min_size=1, max_size=8))
    def test_a_text_holds_what_it_was_made_of(self, around: str, part: str) -> None:
        if part.strip():
            assert judged(text_check(must_not_contain=(part,)), around + part + around) is False


class TestJsonSchema:
    SCHEMA = json.dumps(
        {
            "type": "object",
            "required": ["intent"],
            "additionalProperties": False,
            "properties": {
                "intent": {"enum": ["refund", "other"]},
                "id": {"type": "string", "pattern": "^[A-Z]{2}$"},
            },
        }
    )
    CHECK = Check("json_schema", schema=SCHEMA)

    def test_json_that_satisfies_the_schema_is_ok(self) -> None:
        assert judged(self.CHECK, '{"intent": "refund", "id": "AB"}') is True

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ('{"intent": "steal"}', '/intent: does not satisfy enum: ["refund", "other"]'),
            ('{"intent": "other", "id": "abc"}', '/id: does not satisfy pattern: "^[A-Z]{2}$"'),
            ("{}", 'the value: does not satisfy required: ["intent"]'),
            ("{", "the text is no JSON: expecting property name enclosed in double quotes"),
            ("NaN", "the text is no JSON: naN is no JSON number"),
            ("", "the text is no JSON: expecting value"),
        ],
    )
    def test_the_sentence_names_the_place_and_the_demand(self, text: str, sentence: str) -> None:
        assert judged(self.CHECK, text) is False
        assert said(self.CHECK, text) == sentence

    def test_text_that_is_too_long_or_too_deep_is_an_error_and_no_crash(self) -> None:
        for text in (
            '"' + "x" * MAX_JSON_BYTES + '"',
            "[" * (MAX_JSON_DEPTH + 1) + "]" * (MAX_JSON_DEPTH + 1),
        ):
            with pytest.raises(LanguageError):
                judged(self.CHECK, text)

    def test_brackets_inside_strings_are_not_depth(self) -> None:
        assert judged(Check("json_schema", schema="{}"), json.dumps("[" * 200 + '\\"[')) is True

    @pytest.mark.parametrize(
        ("schema", "text"),
        [("{}", "9" * 5_000), ('{"multipleOf": 0.5}', "9" * 400), ('{"multipleOf": 0.5}', "1e400")],
    )
    def test_a_number_beyond_all_floats_is_an_error_and_no_crash(self, schema: str, text: str) -> None:
        with pytest.raises(LanguageError, match=r"number (too large|with too many digits)"):
            judged(Check("json_schema", schema=schema), text)

    def test_a_schema_that_calls_itself_twice_ends(self) -> None:
        twice = '{"type": "array", "items": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}'
        with pytest.raises(LanguageError, match=f"{MAX_STEPS:,} steps"):
            judged(Check("json_schema", schema=twice), "[" * 40 + "1" + "]" * 40)
        # What one text used up is not missing for the next.
        assert judged(Check("json_schema", schema=twice), "[[]]") is True

    def test_many_items_are_told_apart_without_comparing_each_with_all(self) -> None:
        check = Check("json_schema", schema='{"uniqueItems": true}')
        items = [{"a": number} for number in range(20_000)]
        assert judged(check, json.dumps(items)) is True
        assert judged(check, json.dumps([*items, {"a": 7.0}])) is False
        assert said(check, "[1, 1]") == "the value: does not satisfy uniqueItems: true"

    @given(_JSON_ITEMS)
    def test_items_are_alike_where_json_schema_says_so(self, items: list[Any]) -> None:
        alike = next(Draft202012Validator({"uniqueItems": True}).iter_errors(items), None) is not None
        check = Check("json_schema", schema='{"uniqueItems": true}')
        assert judged(check, json.dumps(items)) is (not alike)

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "nonsense"},
            {"$ref": "https://example.com/schema.json"},
            {"$ref": "other.json"},
            {"patternProperties": {"(a+)+$": {}}},
            {"unevaluatedProperties": False},
            {"items": {"unevaluatedItems": False}},
        ],
    )
    def test_a_schema_that_cannot_be_trusted_is_refused(self, schema: dict[str, Any]) -> None:
        with pytest.raises(SchemaError):
            compile_schema(json.dumps(schema))

    def test_a_pattern_that_re2_refuses_is_refused_when_the_rule_is_loaded(self) -> None:
        with pytest.raises(PatternError):
            compile_schema('{"pattern": "(?=a)"}')

    def test_without_the_library_it_is_said_which_one_is_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "jsonschema", None)
        with pytest.raises(SchemaLibraryMissingError):
            compile_schema('{"title": "asked for the first time"}')

    def test_a_schema_that_calls_itself_ends_on_deep_text(self) -> None:
        check = Check("json_schema", schema='{"items": {"$ref": "#"}, "type": "array"}')
        assert judged(check, "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH) is True
