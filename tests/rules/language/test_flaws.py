"""Every flaw has a code, a caret on the right characters, and a help that says what to write."""

import sys
from collections.abc import Mapping

import pytest

from guardproxy.decision import Scope
from guardproxy.rules.language import (
    CODES,
    Flaw,
    Kind,
    Names,
    OpenNames,
    Program,
    Ref,
    compile_expression,
    compile_template,
)
from tests.rules.language.strategies import KnownNames

LONG_LIST = f"features.n in [{','.join('1' for _ in range(1_001))}]"

# (text, code, the characters under the caret, what the help must say). `^` at the end means just past the text.
EXPRESSION_FLAWS = [
    ("features.n > 1" + " " * 1_987, "E101", " ", "split"),
    ("features.n" + "+1" * 256 + "> 1", "E102", "features.n" + "+1" * 256 + "> 1", "split"),
    ("(" * 45 + "1" + ")" * 45, "E103", "(", "KPI"),
    ("features.n $ 3", "E105", "$", "features["),
    ("features.n > 1 # why", "E105", "#", ""),
    ("output.yy > 3", "E106", "output.yy", "did you mean `output.y`?"),
    ("features.nn <= 3 * output.y", "E106", "features.nn", "did you mean `features.n`?"),
    ("request.hours > 3", "E106", "request.hours", "did you mean `request.hour`?"),
    ("profile.output.y.p98 > 3", "E106", "profile.output.y.p98", "did you mean `p99`?"),
    ("profile.output.z.p99 > 3", "E106", "profile.output.z.p99", "did you mean `profile.output.y.p99`?"),
    ("profile.output.y.mean > 3", "E106", "profile.output.y.mean", ""),
    ('features["odd nam"] > 3', "E106", 'features["odd nam"]', 'did you mean `features["odd name"]`?'),
    ("feature.n > 3", "E106", "feature.n", "did you mean `features`?"),
    ("features.n.x > 3", "E106", "features.n.x", 'features["n.x"]'),
    ("features.t in wordz", "E106", "wordz", "did you mean `words`?"),
    ("request.features.n > 3", "E106", "request.features.n", "what it holds are features"),
    ("previous.output.y > 3", "E106", "previous.output.y", "write previous.y"),
    ("Stats.n.p99 > 3", "E106", "Stats.n.p99", "did you mean `profile`?"),
    ("zzz.n > 3", "E106", "zzz.n", "names begin with features, output,"),
    ("features.t in list.words", "E106", "list.words", "write words"),
    ("profile.output.y.Median > 3", "E106", "profile.output.y.Median", "did you mean `p50`?"),
    ("kpi.margin > 3", "E106", "kpi.margin", ""),
    ("3 * maxx(1, features.n) > 2", "E107", "maxx", "did you mean `max`?"),
    ("len(features.t) > 2", "E107", "len", "did you mean `length`?"),
    ("Length(features.t) > 2", "E107", "Length", "write `length` in small letters"),
    ("clamp(features.n, 1) > 2", "E108", "clamp(features.n, 1)", "clamp(x, low, high)"),
    ("max(features.n) > 2", "E108", "max(features.n)", "max(a, b, ...)"),
    ("coalesce(features.n) > 2", "E108", "coalesce(features.n)", "coalesce(a, b, ...)"),
    ('features.t == "abc', "E109", '"abc', "closing"),
    ("features.t == 'abc'", "E109", "'", 'write "abc"'),
    (r'features.t == "a\d"', "E109", r"\d", "two backslashes"),
    (r'features.t == "a\u12"', "E109", r"\u", "four hexadecimal"),
    ("features.n >", "E110", "^", ""),
    ("features.n > > 3", "E110", ">", ""),
    ("features.n 3", "E110", "3", "operator between"),
    ("features.n > 3 AND features.m > 3", "E110", "AND", "small letters"),
    ("features.n is null", "E110", "null", "is missing"),
    ("features.n == missing", "E110", "missing", "is missing"),
    ("features.f == not features.g", "E110", "not", "parentheses"),
    ("1 + if features.f then 1 else 2", "E110", "if", "parentheses"),
    ("if features.f then 1", "E110", "^", ""),
    ("features.n is missing == true", "E110", "==", "parentheses"),
    ("features.f) or true", "E110", ")", "no opening"),
    ("features.f not true", "E110", "true", "not in"),
    ("", "E110", "^", ""),
    ("features.f && features.g", "E111", "&&", "`and`"),
    ("features.f || features.g", "E111", "||", "`or`"),
    ("features.n = 3", "E111", "=", "`==`"),
    ("!features.f", "E111", "!", "`not`"),
    ("features.n === 3", "E111", "===", "`==`"),
    ("features.n <> 3", "E111", "<>", "`!=`"),
    ("features.n => 3", "E111", "=>", "`>=`"),
    ("features.n ** 2 > 3", "E111", "**", "power"),
    ("features.n % 2 == 0", "E111", "%", "remainder"),
    ("features.f ? 1 : 2", "E111", "?", "if a then b else c"),
    ("features.n > 1.2.3", "E112", "1.2.3", ""),
    ("features.n > .5", "E112", ".5", "write 0.5"),
    ("features.n > 5.", "E112", "5.", "write 5.0"),
    ("features.n > 5weeks", "E112", "5weeks", "write 35d"),
    ("features.n > 1e999", "E112", "1e999", "largest"),
    ("features.2nd > 1", "E112", "2nd", 'features["2nd"]'),
    ("features.f and features.g or true", "E113", "or", "(features.f and features.g) or"),
    ("features.f or features.g and true", "E113", "and", "(features.f or features.g) and"),
    ("n > 3", "E114", "n", "write features.n"),
    ("demand > 3", "E114", "demand", "features.demand or output.demand"),
    ("words == 3", "E114", "words", "x in words"),
    ("features.n > abc", "E114", "abc", 'write features.abc or output.abc, or "abc" if text is meant'),
    ("features.n > Inf", "E114", "Inf", "leave the bound out"),
    ("features.odd-name > 3", "E114", "name", 'write features["odd-name"] if the name has a dash'),
    ("features.n > features.m - abc", "E114", "abc", "write features.abc or output.abc"),
    ("features > 3", "E115", "features", "features.NAME"),
    ("profile.output.y > 3", "E115", "profile.output.y", "profile.output.y.p99"),
    ("profile > 3", "E115", "profile", "write `profile.NAME.p99`, or another of min, max,"),
    ("profile.features > 3", "E115", "profile.features", "write `profile.NAME.p99`"),
    ("profile.features.min > 3", "E115", "profile.features.min", "write `profile.NAME.min`"),
    ("profile.median > 3", "E115", "profile.median", "write `profile.NAME.p50`"),
    ("profile.n > 3", "E115", "profile.n", "write `profile.n.p99`"),
    ("[1, 2] == features.n", "E116", "[1, 2]", "x in [...]"),
    ("lists.words == features.t", "E116", "lists.words", "x in lists.words"),
    ("features.n in 3", "E116", "3", "x in [...]"),
    ("features.n in []", "E116", "[]", ""),
    ('features.n in [1, "a"]', "E116", '[1, "a"]', "quote"),
    ("features.n in [1, features.m]", "E116", "features.m", "or"),
    ("features.n in profile.values", "E116", "profile.values", "write `==`"),
    ("profile.features.t.values == 1", "E116", "profile.features.t.values", "x in"),
    ("(features.n + 1 > 3", "E117", "(", "add `)`"),
    ("features.n in [1, 2", "E117", "[", "add `]`"),
    ('features["n" > 3', "E110", ">", ""),
    ("features.t * 2 > 3", "E120", "features.t", ""),
    ("-features.t > 3", "E120", "features.t", ""),
    ("max(features.n, features.f) > 3", "E120", "features.f", ""),
    ("features.n and features.f", "E121", "features.n", "x > 0"),
    ("not features.n", "E121", "features.n", "x > 0"),
    ("if features.t then 1 else 2", "E121", "features.t", "x > 0"),
    ("lower(features.n) == features.t", "E122", "features.n", ""),
    ("contains(features.t, 3)", "E122", "3", ""),
    ("features.f or features.t > 3", "E123", "features.t > 3", "quotes"),
    ('features.n == "3"', "E123", 'features.n == "3"', "quotes"),
    ('request.weekday == "Monday"', "E123", 'request.weekday == "Monday"', "0 is Monday"),
    ('"9" == request.hour', "E123", '"9" == request.hour', "from 0 to 23"),
    ("request.date in [20260131]", "E123", "request.date in [20260131]", "a day is text"),
    ("features.f == 1", "E123", "features.f == 1", "true or false"),
    ("0 <= features.n <= features.t", "E123", "features.n <= features.t", "quotes"),
    ("features.n in words", "E123", "features.n in words", ""),
    ("features.f < features.g", "E124", "features.f < features.g", "== or !="),
    ('if features.f then 1 else "a"', "E125", '"a"', "the first is a number"),
    ('(features.n ?? "a") == 1', "E125", '"a"', "the first is a number"),
    ("features.n + 1", "E126", "features.n + 1", "x > 0"),
    ("features.t", "E126", "features.t", 'x == "a"'),
    ("matches(features.t, features.u)", "E127", "features.u", "pattern"),
    ('request.date == "31.01.2026"', "E127", '"31.01.2026"', 'write it as "2026-01-31"'),
    ('request.date in ["2026-01-31", "1.2.2026"]', "E127", '"1.2.2026"', 'write it as "2026-01-31"'),
    ('"2026" <= request.date < "1.2.2026"', "E127", '"1.2.2026"', 'write it as "2026-01-31"'),
    ("round(features.n, features.m) > 1", "E127", "features.m", ""),
    ("round(features.n, 1.5) > 1", "E127", "1.5", ""),
    ("round(features.n, 13) > 1", "E127", "13", ""),
    ("round(features.n, -1) > 1", "E127", "-1", ""),
    ("clamp(features.n, 5, 1) > 1", "E127", "clamp(features.n, 5, 1)", "low, high"),
    ("batch_maen(output.y) > 1", "E107", "batch_maen", "batch_mean"),
    ("recent_p90(output.y, 1h) > 1", "E107", "recent_p90", "did you mean `recent_p99`?"),
    ("avg(output.y) > 1", "E107", "avg", "batch_mean"),
    ("batch_mean(output.y, 1h) > 1", "E108", "batch_mean(output.y, 1h)", "batch_mean(number)"),
    ("recent_mean(output.y) > 1", "E108", "recent_mean(output.y)", "recent_mean(number, 1h)"),
    ("batch_mean(features.t) > 1", "E120", "features.t", ""),
    ("1 + batch_mean( features.f ) > 1", "E120", "features.f", ""),
    ("batch_share(output.y) > 1", "E121", "output.y", "x > 0"),
    ("recent_count(features.t, 1h) > 1", "E121", "features.t", "x > 0"),
    ("2 > recent_mean(output.yy + 1, 1h)", "E106", "output.yy", "did you mean `output.y`?"),
    ("batch_mean(output.y)", "E126", "batch_mean(output.y)", "x > 0"),
    ("batch_mean(batch_max(output.y)) > 1", "E132", "batch_max(output.y)", "beside"),
    ("batch_share(output.y > recent_mean(output.y, 1h)) > 1", "E132", "recent_mean(output.y, 1h)", "beside"),
    ("batch_mean(kpi.relative) > 1", "E132", "kpi.relative", "beside"),
    ("recent_mean(output.y, 3600) > 1", "E133", "3600", "1h"),
    ("recent_mean(output.y, features.n) > 1", "E133", "features.n", "1h"),
    ("recent_mean(output.y, 59s) > 1", "E133", "59s", "1h"),
    ("recent_mean(output.y, 91d) > 1", "E133", "91d", "7d"),
    ("recent_mean(output.y, -1h) > 1", "E133", "-1h", "7d"),
    ("recent_mean(output.y, 30%) > 1", "E133", "30%", "7d"),
    ("recent_mean(output.y, 1h + 1h) > 1", "E133", "1h + 1h", "7d"),
    ("recent_share(request.hour > 3, 1h) > 50%", "E134", "request.hour > 3", "features and outputs"),
    ("kpi.ratoi > 1", "E106", "kpi.ratoi", "did you mean `kpi.ratio`?"),
    ("ratio > 1", "E114", "ratio", "write kpi.ratio"),
    ("kpi.word > 1", "E123", "kpi.word > 1", "quotes"),
    ('matches(features.t, "(?=a)b")', "E140", '"(?=a)b"', "look-around"),
    (r'matches(features.t, "(a)\\1")', "E140", r'"(a)\\1"', "back-references"),
    ('matches(features.t, "a{1001}")', "E140", '"a{1001}"', "1000"),
    (r'matches(features.t, "(\\pL{500}){2}\\pL{500}")', "E140", r'"(\\pL{500}){2}\\pL{500}"', ""),
]

# (scope, text, code, the characters under the caret, what the help must say).
SCOPE_FLAWS = [
    (Scope.BATCH, "output.y > 1", "E131", "output.y", "say which with batch_mean(output.y)"),
    (Scope.BATCH, "batch_mean(output.y) > features.n", "E131", "features.n", "batch_mean(features.n)"),
    (
        Scope.ROW,
        "recent_mean(output.y - previous.y, 1h) > 1",
        "E134",
        "output.y - previous.y",
        "features and outputs",
    ),
    (Scope.BATCH, "previous.y > 1", "E131", "previous.y", "batch_share"),
    (Scope.BATCH, "batch_mean(output.y) > kpi.both", "E131", "kpi.both", "batch_mean(kpi.both)"),
    (Scope.BATCH, "kpi.relative > 1", "E131", "kpi.relative", "batch_mean(kpi.relative)"),
    (Scope.WINDOW, "output.y > 1", "E131", "output.y", "recent_mean(output.y, 1h)"),
    (Scope.WINDOW, "kpi.both > 1", "E131", "kpi.both", "recent_mean(kpi.both, 1h)"),
    (Scope.WINDOW, "batch_mean(output.y) > 1", "E131", "batch_mean(output.y)", "recent_mean(..., 1h)"),
]

TEMPLATE_FLAWS = [
    ("{output.y is far", "E150", "{", "{{"),
    ("output.y} is far", "E150", "}", "}}"),
    ("{} is far", "E150", "{}", "write {"),
    ("{output.y:q} is far", "E151", "q", "formats are"),
    ("{output.y:}", "E151", "", "formats are"),
    ("{output.y:.2d}", "E151", ".2d", "formats are"),
    ("{output.y:99f}", "E151", "99f", "at most 20"),
    ("{output.y:.99f}", "E151", ".99f", "at most 20"),
    ("{features.t:.1f}", "E152", ".1f", "formats are"),
    ("far: {output.yy:.1f}", "E106", "output.yy", "did you mean `output.y`?"),
    ("x" * 4_001, "E153", "x", ""),
    ("{output.y}" * 51, "E153", "{output.y}" * 51, ""),
]


def under_caret(text: str, flaw: Flaw) -> str:
    """Return the characters that a flaw points at; `^` when it points past the end."""
    return text[flaw.offset : flaw.offset + flaw.length] or ("^" if flaw.offset == len(text) else "")


@pytest.mark.parametrize(
    ("text", "code", "caret", "help_"), EXPRESSION_FLAWS, ids=lambda value: str(value)[:50]
)
def test_a_flaw_points_at_the_exact_characters_and_says_what_to_write(
    text: str, code: str, caret: str, help_: str
) -> None:
    found = compile_expression(text, KnownNames(), want=Kind.FLAG)
    assert not isinstance(found, Program)
    assert [(flaw.code, under_caret(text, flaw)) for flaw in found] == [(code, caret)]
    assert help_ in found[0].help


@pytest.mark.parametrize(
    ("text", "code", "caret", "help_"), TEMPLATE_FLAWS, ids=lambda value: str(value)[:50]
)
def test_a_flaw_in_a_message_points_into_the_message(text: str, code: str, caret: str, help_: str) -> None:
    found = compile_template(text, KnownNames())
    assert isinstance(found, tuple)
    assert [(flaw.code, text[flaw.offset : flaw.offset + flaw.length]) for flaw in found] == [(code, caret)]
    assert help_ in found[0].help


@pytest.mark.parametrize(
    ("scope", "text", "code", "caret", "help_"), SCOPE_FLAWS, ids=lambda value: str(value)[:50]
)
def test_a_rule_about_many_rows_is_told_which_name_belongs_to_one(
    scope: Scope, text: str, code: str, caret: str, help_: str
) -> None:
    found = compile_expression(text, ScopeNames(), want=Kind.FLAG, scope=scope)
    assert not isinstance(found, Program)
    assert [(flaw.code, under_caret(text, flaw)) for flaw in found] == [(code, caret)]
    assert help_ in found[0].help
    message = compile_template(f"x {{{text}}}", ScopeNames(), scope=scope)
    assert isinstance(message, tuple)
    assert [flaw.offset for flaw in message] == [found[0].offset + 3]


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        (Scope.ROW, "output.y > batch_mean(output.y) + recent_p99(output.y, 1h) + kpi.relative + kpi.mean"),
        (Scope.BATCH, "batch_share(kpi.both > 1) <= recent_share(kpi.both > 1, 7d) and request.hour > 3"),
        (Scope.BATCH, "kpi.mean > profile.output.y.p99"),
        (Scope.BATCH, "batch_mean(previous.y) > 1"),
        (Scope.WINDOW, "recent_mean(output.y, 1h) > 2 * profile.output.y.p99 and request.hour in [1, 2]"),
        (Scope.WINDOW, "kpi.lately > 1"),
    ],
)
def test_a_rule_of_each_scope_may_read_what_its_scope_has(scope: Scope, text: str) -> None:
    found = compile_expression(text, ScopeNames(), want=Kind.FLAG, scope=scope)
    assert isinstance(found, Program), found


class ScopeNames(KnownNames):
    """With KPIs over rows only, which a rule about many rows may read, and the last answers."""

    @property
    def kpis(self) -> Mapping[str, Program]:
        mean = compile_expression("batch_mean(output.y)", KnownNames(), want=Kind.NUMBER)
        lately = compile_expression("recent_mean(output.y, 1h)", KnownNames(), want=Kind.NUMBER)
        assert isinstance(mean, Program)
        assert isinstance(lately, Program)
        return {**super().kpis, "mean": mean, "lately": lately}

    def kind(self, ref: Ref) -> Kind | None:
        return Kind.NUMBER if ref == Ref("previous", "y") else super().kind(ref)


def test_the_caret_of_a_repeated_word_is_on_the_right_one() -> None:
    text = "features.n > 1 and features.n and features.f"
    found = compile_expression(text, KnownNames())
    assert isinstance(found, tuple)
    assert [(flaw.code, flaw.offset, flaw.length) for flaw in found] == [("E121", 19, 10)]


def test_the_caret_of_what_stands_in_parentheses_includes_them() -> None:
    found = compile_expression('(features.n + 1) > "a"', KnownNames())
    assert isinstance(found, tuple)
    assert (found[0].code, found[0].offset, found[0].length) == ("E123", 0, 22)


def test_all_flaws_of_meaning_are_told_at_once_and_from_left_to_right() -> None:
    found = compile_expression(
        'output.yy > 3 and features.t > 3 and foo(1) and features.n == "a"', KnownNames()
    )
    assert isinstance(found, tuple)
    assert [flaw.code for flaw in found] == ["E106", "E123", "E107", "E123"]


def test_a_name_with_a_dash_is_one_mistake_however_many_there_are() -> None:
    found = compile_expression("features.zz + features.n-n + features.my-odd-field > 3", KnownNames())
    assert isinstance(found, tuple)
    assert [(flaw.code, flaw.help) for flaw in found] == [
        ("E106", "known names: n, m, t, u, f, g, a, b, ..."),
        ("E114", 'write features["n-n"] if the name has a dash in it'),
        ("E114", 'write features["my-odd-field"] if the name has a dash in it'),
    ]


def test_without_a_likely_word_the_help_names_what_is_known_or_says_where_to_define_it() -> None:
    def help_of(text: str, names: Names) -> str:
        found = compile_expression(text, names)
        assert isinstance(found, tuple)
        assert [flaw.code for flaw in found] == ["E106"]
        return found[0].help

    class Wide(KnownNames):
        def __init__(self, count: int) -> None:
            self.count = count

        def candidates(self, space: str) -> tuple[str, ...]:
            return tuple(f"n{number}" for number in range(self.count))

    eight = "known names: n0, n1, n2, n3, n4, n5, n6, n7"
    assert help_of("features.zzzz > 1", Wide(8)) == eight
    assert help_of("features.zzzz > 1", Wide(9)) == f"{eight}, ..."
    assert help_of("features.zzzz > 1", Wide(0)) == ""
    assert help_of("kpi.margin > 1", OpenNames()) == "define it under `kpis:`"
    assert help_of("features.x in words", OpenNames()) == "define it under `lists:`"


def test_a_list_of_more_than_a_thousand_items_is_refused_where_it_gets_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guardproxy.rules.language.program.MAX_CHARACTERS", 10_000)
    found = compile_expression(LONG_LIST, KnownNames())
    assert isinstance(found, tuple)
    assert (found[0].code, found[0].offset, found[0].length) == ("E104", len(LONG_LIST) - 2, 1)


def test_a_vector_is_neither_compared_nor_looked_for() -> None:
    class Vectors(KnownNames):
        def kind(self, ref: object) -> Kind | None:
            return Kind.VECTOR

    for text, caret in (("output.p > 3", "output.p > 3"), ("output.p in [3]", "output.p")):
        found = compile_expression(text, Vectors())
        assert isinstance(found, tuple)
        assert [(flaw.code, under_caret(text, flaw)) for flaw in found] == [("E124", caret)]


def test_without_re2_a_pattern_is_refused_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    text = 'matches(features.t, "a")'
    found = compile_expression(text, KnownNames())
    assert isinstance(found, tuple)
    assert (found[0].code, under_caret(text, found[0])) == ("E141", '"a"')
    assert found[0].help == 'pip install "guardproxy[re2]"'


def test_re2_prints_nothing_of_its_own_when_it_refuses_a_pattern(capfd: pytest.CaptureFixture[str]) -> None:
    assert isinstance(compile_expression('matches(features.t, "(?<!a)b[")', KnownNames()), tuple)
    assert capfd.readouterr() == ("", "")


def test_every_code_is_documented_and_has_a_test() -> None:
    tested = {code for _, code, _, _ in (*EXPRESSION_FLAWS, *TEMPLATE_FLAWS)}
    tested |= {code for _, _, code, _, _ in SCOPE_FLAWS} | {"E104", "E124", "E141"}
    assert tested == set(CODES)


def test_without_a_profile_every_field_is_accepted_but_fixed_words_are_checked() -> None:
    margin = compile_expression("features.cost / output.price", OpenNames(), want=Kind.NUMBER)
    assert isinstance(margin, Program)
    names = OpenNames(kpis={"margin": margin})
    assert isinstance(compile_expression("features.anything > kpi.margin", names, want=Kind.FLAG), Program)
    assert isinstance(compile_expression("profile.output.any.p99_9 > 3", names), Program)
    assert isinstance(compile_expression("features.c in profile.features.c.values", names), Program)
    for text in (
        "request.minute > 3",
        "profile.output.any.p98 > 3",
        "kpi.margen > 3",
        "features.c in nothing",
    ):
        found = compile_expression(text, names)
        assert isinstance(found, tuple)
        assert [flaw.code for flaw in found] == ["E106"]
