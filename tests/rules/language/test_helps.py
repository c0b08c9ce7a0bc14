"""What is written as in another language is answered with how it is written here."""

import pytest

from guardproxy.rules.language import Kind, compile_expression
from guardproxy.rules.language.helps import TWO_VALUES_HELP
from tests.rules.language.strategies import KnownNames

NO_COMMA = "a comma only stands between arguments, f(a, b), and in lists, [a, b]"

# (text, the token under the caret, the whole help).
HELPS = [
    ("+features.n > 3", "+", "a sign `+` is not needed"),
    ("* > 3", "*", "there is no star: over rows write batch_count(x is not missing)"),
    (". > 3", ".", "a name begins with features, output, previous, profile, request or kpi"),
    ("< 3", "<", "write what is compared before the sign: output.x > 3"),
    ("features.f and/or features.g", "/", "write `or`: it is also true when both are"),
    ("features.n Is missing", "Is", "write `is missing`"),
    ("features.n IS NOT missing", "IS", "write `is not missing`"),
    ("features.f AND features.g", "AND", "write `and` in small letters"),
    ("features.n > 3]", "]", "there is no opening bracket for this `]`"),
    ("features.n > 3 M", "M", "write 3_000_000"),
    ("features.n > 3 K", "K", "write 3_000"),
    ("features.n > 3 k", "k", "write 3_000"),
    ("features.n k", "k", "write the number alone, without its unit"),
    ("features.n MOD 2", "MOD", "there is no remainder and no whole-number division"),
    ("features.n > 1,5", ",", "a number has a decimal point: write 1.5"),
    ("features.n > 1,5000", ",", "a number has a decimal point: write 1.5000"),
    ("features.n > 1.000,500", ",", "a number has a decimal point: write 1000.500"),
    (
        "features.n > 1,500",
        ",",
        "a number has no separator of thousands: write 1500, or 1.500 as a decimal",
    ),
    ("features.n > 1, 500", ",", NO_COMMA),
    ("features.n > 1 ,500", ",", NO_COMMA),
    ("features.n,500", ",", NO_COMMA),
    ('features.t in ("a", "b")', "(", "a list stands in brackets: [1, 2, 3]"),
    ("When features.f", "When", "write `if condition then a else b`"),
    ("NOT features.f", "NOT", "write `not` in small letters"),
    ("features.n > x 3", "3", TWO_VALUES_HELP),
    ("features.when features.f", "features", TWO_VALUES_HELP),
    ("features.* > 3", "*", "a star stands in checks only, such as profile: {fields: features.*}"),
    ("profile.n.99 > 1", "99", "percentiles are p0_1, p1, p50, p99, p99_9"),
    ("features.3 > 1", "3", 'a name that is no plain word is written features["odd name"]'),
    ("features[0] > 1", "0", "a value has no parts that can be counted; fields have names"),
    ("features.n[5m] > 1", "5m", "a window is an argument: recent_mean(features.n, 5m)"),
    ("features.n[features.m] > 1", "features", 'write features["odd name"]'),
    ('features.t.lower() == "a"', "(", "write lower(features.t)"),
    ('features.t.contains("a")', "(", "write contains(features.t, ...)"),
    ('features.t.StartsWith("a")', "(", "write starts_with(features.t, ...)"),
    ("features.n.is_null()", "(", "write `x is missing`"),
    ("features.n.batch_mean() > 1", "(", "write batch_mean(features.n)"),
    ("previous.y.abs() > 1", "(", "write abs(previous.y)"),
    ("np.log(features.n) > 1", "(", "write log(...)"),
    ("np.zzz(features.n) > 1", "(", "functions are written abs(features.x)"),
    ("batch.mean(output.y) > 1", "(", "write batch_mean(number)"),
]


@pytest.mark.parametrize(("text", "caret", "help_"), HELPS)
def test_what_another_language_says_is_answered_with_how_it_is_said_here(
    text: str, caret: str, help_: str
) -> None:
    found = compile_expression(text, KnownNames(), want=Kind.FLAG)
    assert isinstance(found, tuple)
    assert [(flaw.code, text[flaw.offset :][: flaw.length], flaw.help) for flaw in found] == [
        ("E110", caret, help_)
    ]
