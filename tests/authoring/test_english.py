"""Rules and expressions read aloud."""

import dataclasses
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.authoring.docs import words_of
from guardproxy.authoring.english import Words, broken, condition, reading
from guardproxy.authoring.opposites import opposite
from guardproxy.authoring.sentences import exception_sentence, rule_sentence
from guardproxy.authoring.wording import amount, date, number, ordinal
from guardproxy.rules import Rule, Ruleset, load_rulesets
from guardproxy.rules.language import OpenNames, Program, Ref, compile_expression, interpret, nodes, spell
from guardproxy.rules.language.functions import FUNCTIONS
from guardproxy.rules.language.parser import parse
from guardproxy.table import Cell

WORDS = Words({"margin": "Gross margin"})


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("features.loan >= 250_000", "the loan is at least 250,000"),
        ("output.pd >= 4% and output.pd < 9%", "the predicted pd is at least 4% and below 9%"),
        ("4% <= output.pd <= 9%", "the predicted pd is between 4% and 9%"),
        ("4% < output.pd <= 9%", "the predicted pd is above 4% and at most 9%"),
        ("3 < output.pd", "the predicted pd is above 3"),
        ("features.a > features.b > 2", "the a is above the b and the b is above 2"),
        ("output.prediction == 0", "the prediction is 0"),
        ('features.tag != "clearance"', "the tag is not “clearance”"),
        ("features.new_device == true", "the new device is “yes”"),
        ("features.new_device == false", "the new device is “no”"),
        ("features.new_device", "the new device"),
        ("not features.new_device", "the new device is “no”"),
        ("not (features.a < 3)", "the a is at least 3"),
        ("not (features.a < 3 and features.b)", "(the a is at least 3 or the b is “no”)"),
        ('features.c in ["a", "b"]', "the c is one of “a” or “b”"),
        ('features.c not in ["a", "b"]', "the c is none of “a” or “b”"),
        ('features.c in ["a"]', "the c is “a”"),
        ("features.c in promises", "the c is in the list “promises”"),
        ("features.c not in lists.promises", "the c is not in the list “promises”"),
        ("features.c in profile.c.values", "the c is one of the known values of c in the training data"),
        ("(output.pd >= 4% and output.pd < 9%) or features.x > 6", "the predicted pd is at least 4% and below 9% or the x is above 6"),
        ("(features.m is missing or features.m < 12) and output.pd < 1%", "(the m is missing or below 12) and the predicted pd is below 1%"),
        ("output.a == output.b", "the predicted a is equal to the predicted b"),
        ("output.a != features.b", "the predicted a is not equal to the b"),
        ("features.c is missing", "the c is missing"),
        ("features.c is not missing", "the c is given"),
        ("(features.a or features.b) and features.c", "(the a is “yes” or the b is “yes”) and the c is “yes”"),
        (
            "if features.a > 1 then features.b else features.c",
            "(the b if the a is above 1, otherwise the c)",
        ),
        ("kpi.margin < 8%", "the KPI “Gross margin” is below 8%"),
        ("kpi.cover_days < 8", "the KPI “cover days” is below 8"),
        ("request.hour in [0, 1]", "the hour of the request (UTC) is one of 0 or 1"),
        ('request.date >= "2025-12-01"', "the date of the request is on or after 1 December 2025"),
        ('request.date < "soon"', "the date of the request is below “soon”"),
        ('request.caller == "a"', "the caller is “a”"),
        ("output.a <= 3 * profile.output.a.p99", "the predicted a is at most 3 times the 99th percentile of a in the training data"),
        ("output.a > profile.b.p99_9", "the predicted a is above the 99.9th percentile of b in the training data"),
        ("output.a > profile.b.mean", "the predicted a is above the average b in the training data"),
        ("output.a > previous.a", "the predicted a is above the last good a"),
        ("output.a > 30% * features.b", "the predicted a is above 30% of the b"),
        ("output.a > 2 * (features.b + features.c) / 3", "the predicted a is above 2 times (the b plus the c) divided by 3"),
        ("output.a > -features.b - 1", "the predicted a is above minus the b minus 1"),
        ("features.a ?? 0 > 1", "the a (or 0, where that is missing) is above 1"),
        ("length(features.text) > 10", "the number of characters of the text is above 10"),
        ('contains(lower(features.text), "x")', "the text in lower case contains “x”"),
        ("batch_share(output.a == 0) <= 40%", "the share of rows of the batch where the predicted a is 0 is at most 40%"),
        ("recent_mean(output.a, 1h) > 3", "the average over the last hour of the predicted a is above 3"),
        ("recent_share(output.a > 1, 7d) > 3", "the share of rows of the last 7 days where the predicted a is above 1 is above 3"),
        ("max(features.a, features.b)", "the larger of the a and the b"),
        ("max(features.a, features.b, 1)", "the largest of the a, the b and 1"),
        ("features.wait > 15m", "the wait is above 15 minutes"),
        ('features["sepal length (cm)"] > 3', "the sepal length (cm) is above 3"),
        ("round(features.a, 2) + abs(features.b)", "the a rounded to 2 digits plus the size of (the b)"),
        ("this is no expression (", "this is no expression ("),
    ],
)  # fmt: skip
def test_an_expression_is_read(text: str, spoken: str) -> None:
    assert reading(text, WORDS) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("output.a <= 3", "the predicted a is above 3"),
        ("0 <= output.a <= 1", "the predicted a is below 0 or above 1"),
        ("output.p10 <= output.p50 <= output.p90", "the predicted p50 is below the predicted p10 or above the predicted p90"),
        ("features.a and features.b > 1", "the a is “no” or the b is at most 1"),
        ("features.a is not missing", "the a is missing"),
        ('matches(features.a, "x")', "it is not so that the a matches the pattern “x”"),
        ("true", "it is not so"),
    ],
)  # fmt: skip
def test_what_is_required_is_read_as_what_breaks_it(text: str, spoken: str) -> None:
    assert broken(text, WORDS) == spoken


def _names(node: object) -> set[type]:
    found = {type(node)}
    for each in dataclasses.fields(node) if dataclasses.is_dataclass(node) else ():
        value = getattr(node, each.name)
        for one in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(one):
                found |= _names(one)
    return found


def test_every_kind_of_node_is_read_without_a_python_word() -> None:
    """The trees of the parser, and those of the checker with names, KPIs and functions over rows."""
    margin = compile_expression("output.a / features.b", OpenNames())
    assert isinstance(margin, Program)
    names = OpenNames({"bad": frozenset({"x"})}, {"margin": margin})
    text = (
        'if features.a > 1 and not (features.c in ["x"]) and features.d is missing then -(features.a + 2) > kpi.margin '
        'else batch_mean(output.a) < (coalesce(features.a, 1) ?? 3) or contains(features.t, "x") or output.l in bad'
    )
    text = text.replace("else batch_mean", "else (batch_mean").replace("in bad", "in bad)")
    checked = compile_expression(text, names)
    assert isinstance(checked, Program), checked
    kinds = _names(parse(text)) | _names(checked.tree)
    assert set(typing.get_args(nodes.Node)) <= kinds
    for tree in (parse(text), checked.tree):
        spoken = WORDS.clause(tree)
        assert "Gross margin" in spoken
        assert "average over the batch of the predicted a" in spoken
        assert not set(spoken) & set("{}<>=\\")
        assert "None" not in spoken


def test_every_function_has_words() -> None:
    from guardproxy.authoring.wording import CLAUSES, NOUNS

    assert set(FUNCTIONS) - {*CLAUSES, *NOUNS} == set()


CELLS: st.SearchStrategy[Cell] = st.one_of(st.none(), st.floats(), st.booleans())


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [
            "features.a < 3",
            "0 <= features.a <= 1",
            "features.a < features.b < 2 <= features.a",
            "features.a in [0, 1]",
            "features.a is missing",
            "features.a > 1 and (features.b < 2 or features.a is missing)",
            "not (features.a > 1 or features.b <= 2)",
            "features.a == features.b",
        ]
    ),
    st.one_of(st.none(), st.floats()),
    st.one_of(st.none(), st.floats()),
)
def test_the_opposite_is_false_where_it_is_true_and_unknown_where_it_is_unknown(
    text: str, a: float | None, b: float | None
) -> None:
    def lookup(ref: Ref) -> Cell:
        value = {"a": a, "b": b}[ref.name]
        return None if value is not None and value != value else value

    straight = compile_expression(text, OpenNames())
    turned = compile_expression(spell(opposite(parse(text))), OpenNames())
    assert isinstance(straight, Program)
    assert isinstance(turned, Program)
    first, second = interpret(straight, lookup), interpret(turned, lookup)
    assert second is (None if first is None else not first)


def test_a_deep_expression_is_read_once() -> None:
    """Twice at every level would be a million times at the deepest."""
    text = "features.a"
    for level in range(19):
        text = f"features.x{level} < 1 {'and' if level % 2 else 'or'} ({text})"
    assert isinstance(compile_expression(text, OpenNames()), Program)
    for spoken in (condition(text, WORDS), broken(text, WORDS), condition(f"not ({text})", WORDS)):
        assert spoken.count("the x") == 19


def test_values_are_read() -> None:
    assert [number(value) for value in (250_000, 0.1, 2.0, -1234.5, -12345.5, float("inf"))] == [
        "250,000",
        "0.1",
        "2",
        "-1234.5",
        "-12,345.5",
        "inf",
    ]
    assert [amount(text) for text in ("8h", "1d", "90s", "30%", "12")] == [
        "8 hours",
        "1 day",
        "90 seconds",
        "30%",
        "12",
    ]
    assert [date(text) for text in ("2026-01-06", "2026-13-06", "soon")] == [
        "6 January 2026",
        "2026-13-06",
        "soon",
    ]
    assert [ordinal(text) for text in ("p1", "p2", "p50", "p99", "p99_9", "p0_1", "p11")] == [
        *("1st", "2nd", "50th", "99th", "99.9th", "0.1th", "11th"),
    ]


def ruleset(body: str, head: str = "") -> Ruleset:
    text = f"guardproxy: 1\nmodel: m\nowner: o\n{head}rules:\n{body}"
    rulesets, problems = load_rulesets({"a.guard.yaml": text})
    assert not [problem for problem in problems if problem.severity == "error"], problems
    return rulesets["m"]


def sentence(rules: Ruleset, name: str = "r") -> str:
    rule = rules.rule(name)
    assert isinstance(rule, Rule)
    return rule_sentence(rule, words_of(rules))


HELD = "the prediction is held for a reviewer of the queue “q” for up to 8 hours; meanwhile nothing is answered; if nobody decides, it is refused."
HOLD = "action: hold\n    hold: {queue: q, sla: 8h, meanwhile: withhold, on_expiry: reject}"


@pytest.mark.parametrize(
    ("check", "clause"),
    [
        ("range: {field: output.a, min: 0, max: 1}", "the predicted a is below 0 or above 1"),
        ("range: {field: output.a, max: 2 * features.b}", "the predicted a is above 2 times the b"),
        (
            "max_change: {field: output.a, against: previous, by: [features.s, features.t], up: 60%}",
            "the predicted a is more than 60% up from the last good a of the same s and t",
        ),
        (
            "max_change: {field: output.a, against: previous, by: [features.s], down: 0.4, up: 60%, floor: 20}",
            (
                "the predicted a is more than 40% down or more than 60% up from the last good a of the same s "
                "(of 20, where that is smaller)"
            ),
        ),
        ("one_of: {field: output.a, values: [5]}", "the predicted a is not 5"),
        ("one_of: {field: features.a, values: [true]}", "the a is not yes"),
        ("one_of: {field: output.a, values: [4829, 10001]}", "the predicted a is none of 4829 or 10001"),
        ("require: if features.f then output.a > 2 else output.a > 10", "the predicted a is at most 2 (where the f is “yes”), otherwise the predicted a is at most 10"),
        ("profile: {fields: [features.a, features.b], outside: p1..p99.9}", "one of the a and the b lies outside the 1st to 99.9th percentile of the training data"),
        ("text: {field: output.t, must_contain: [x, y], case_sensitive: true}", "the predicted t contains neither “x” nor “y”"),
        ("missing_share: {fields: [features.a, features.b], max: 40%}", "more than 40% of these fields (the a and the b) are missing"),
        ("one_of: {field: output.a, values: [x, y]}", "the predicted a is none of “x” or “y”"),
        ("order: [output.a, output.b]", "the predicted a is above the predicted b"),
        (
            "probabilities: {field: output.p, sum: 1, tolerance: 0.1%}",
            "the members of the predicted p do not all lie between 0 and 1, or do not add up to 1 (give or take 0.001)",
        ),
        (
            "confidence: {field: output.p, min_top: 55%, min_margin: 10%}",
            "the most likely class of the predicted p has less than 55% or it is less than 10% ahead of the second",
        ),
        ("profile: {fields: features.*}", "one of the features lies outside what was learned from the training data"),
        (
            "text: {field: output.t, must_not_contain: [bad], max_chars: 4000, pii: [iban]}",
            "the predicted t contains “bad” (in upper or lower case), or has more than 4000 characters, or holds an IBAN",
        ),
        ("missing_share: {fields: features.*, max: 5%}", "more than 5% of the features are missing"),
        ("json_schema: {field: output.t, schema: {type: object}}", "the predicted t is not JSON, or not as its schema demands"),
        ("forbid: features.a > 1 or features.b > 2", "the a is above 1 or the b is above 2"),
        ("require: features.a <= 1", "the a is above 1"),
        (
            "unusual: {field: output.a, by: [features.store_id], false_alarms: 1%}",
            "the predicted a is further from what is usual of its entity by store id than all but 1% of the answers are",
        ),
    ],
)  # fmt: skip
def test_every_check_is_read(check: str, clause: str) -> None:
    rules = ruleset(f"  - id: r\n    {check}\n    {HOLD}\n    severity: medium\n    on_unknown: ignore\n")
    assert sentence(rules) == f"If {clause}, {HELD}"


def test_when_stands_before_what_breaks_the_rule() -> None:
    rules = ruleset(
        f"  - id: r\n    when: features.loan >= 250_000\n    forbid: output.pd > 4% or output.x\n    {HOLD}\n"
    )
    assert sentence(rules).startswith(
        "If the loan is at least 250,000 and (the predicted pd is above 4% or the predicted x is “yes”), "
    )


@pytest.mark.parametrize(
    ("action", "effect"),
    [
        ("action: warn", "a warning is recorded and the answer stays as it is"),
        (
            "action: clamp",
            "the prediction is moved to the nearest allowed value; where another rule objects, nothing is answered",
        ),
        ("action: reject", "the prediction is refused"),
        (
            "action: fallback\n    fallback: [previous]",
            (
                "the prediction is replaced by the last good prediction; "
                "where that is missing or breaks a rule, nothing is answered"
            ),
        ),
        (
            "action: fallback\n    fallback: [previous, profile.p50, {expr: {a: features.b}}, {value: 1}]",
            (
                "the prediction is replaced by the first of these that is there and passes the rules: the last good "
                "prediction; the median of the prediction in the training data; a: the b; 1; where none is, nothing is answered"
            ),
        ),
        (
            "action: hold",
            (
                "the prediction is held for a reviewer for up to 4 hours; meanwhile the model's own prediction is answered; "
                "if nobody decides, the model's own prediction becomes final"
            ),
        ),
    ],
)
def test_every_action_is_read(action: str, effect: str) -> None:
    rules = ruleset(f"  - id: r\n    range: {{field: output.a, max: 1}}\n    {action}\n")
    assert sentence(rules) == f"If the predicted a is above 1, {effect}."


def test_a_batch_is_missing_values_field_by_field_and_is_held_whole() -> None:
    rules = ruleset(
        "  - id: r\n    scope: batch\n    missing_share: {fields: [features.a, features.b], max: 20%}\n    action: hold\n"
        "  - {id: s, scope: batch, missing_share: {fields: features.*, max: 5%}}\n"
    )
    assert sentence(rules).startswith(
        "If the a or the b is missing in more than 20% of the rows of a request, every prediction of the request is held"
    )
    assert sentence(rules, "s").startswith(
        "If one of the features is missing in more than 5% of the rows of a request, "
    )


def test_a_rule_of_the_request_refuses_the_request() -> None:
    rules = ruleset("  - id: r\n    range: {field: features.a, max: 1}\n    action: reject\n")
    assert sentence(rules) == "If the a is above 1, the request is refused."


def test_scopes_scores_and_exceptions_are_read() -> None:
    rules = ruleset(
        "  - {id: b, scope: batch, require: batch_share(output.a == 0) <= 40%}\n"
        "  - {id: w, scope: window, for: 15m, forbid: 'recent_mean(output.a, 1h) > 3'}\n"
        "  - id: s\n    forbid: output.a > 1\n    action: score\n    points: 3\n    unless:\n"
        "      - {id: x, when: features.b, until: 2030-01-06, owner: pricing, why: planned}\n",
        head="score: {hold_at: 3}\n",
    )
    assert sentence(rules, "b").startswith(
        "If, over all rows of a request, the share of rows of the batch where"
    )
    assert sentence(rules, "w").startswith("If, for at least 15 minutes, the average over the last hour of")
    assert sentence(rules, "s") == "If the predicted a is above 1, the row gets 3 points."
    assert sentence(rules, "score-hold").startswith(
        "If the points of the rules that a row breaks come to 3 or more, "
    )
    rule = rules.rule("s")
    assert rule is not None
    assert (
        exception_sentence(rule.unless[0], words_of(rules))
        == "Not where the b is “yes”, until the end of 6 January 2030 in UTC (pricing): planned"
    )


def test_a_kpi_in_per_cent_is_read_so() -> None:
    rules = ruleset(
        "  - {id: r, require: kpi.margin >= 0.08}\n",
        head='kpis: {margin: {title: Gross margin, expr: output.a / features.b, unit: "%", expect: {min: 8%, max: 70%}}}\n',
    )
    assert sentence(rules).startswith("If the KPI “Gross margin” is below 8%, ")
    assert sentence(rules, "kpi-margin").startswith("If the KPI “Gross margin” is below 8% or above 70%, ")


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "rules").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_rule_of_the_examples_makes_a_sentence(path: Path) -> None:
    rulesets, _ = load_rulesets({path.name: path.read_text()})
    for rules in rulesets.values():
        for rule in rules.rules:
            spoken = rule_sentence(rule, words_of(rules))
            assert spoken.startswith("If")
            assert spoken.endswith(".")
            assert not any(word in spoken for word in ("features.", "output.", "previous.", "None", "  "))


def test_condition_of_a_noun_is_a_clause() -> None:
    assert condition("features.a", WORDS) == "the a is “yes”"
