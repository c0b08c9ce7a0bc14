"""Words of SQL, Python, spreadsheets and other languages, and how the same is said here.

Decides hints only: what is wrong is decided by `parser` and `checker`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_CONTAINS: Final = 'write contains(text, "part"), starts_with(text, "start") or matches(text, "pattern")'
_MISSING: Final = "write `x is missing`"
_THERE: Final = "write `x is not missing`"
_TERNARY: Final = "write `if condition then a else b`"
_PER_CENT: Final = "a per cent sign stands right behind its number: 30%"
_ROWS: Final = "over the rows of a request write batch_{0}(x), over time recent_{0}(x, 1h)"
_TIME: Final = "write a duration right behind its number: 30s, 15m, 4h or 2d"

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "between": "write 0 <= x <= 9",
        **dict.fromkeys(("like", "ilike", "rlike", "regexp", "contains", "includes", "matches", "match"), _CONTAINS),
        **dict.fromkeys(("starts", "starts_with", "startswith", "ends", "ends_with", "endswith"), _CONTAINS),
        **dict.fromkeys(("exists", "exist", "isnotnull", "notnull", "present", "defined"), _THERE),
        **dict.fromkeys(("isnull", "isnt", "absent", "null", "none"), f"{_MISSING}, or `x is not missing`"),
        **dict.fromkeys(("xor",), "write `a != b`"),
        **dict.fromkeys(("implies", "requires"), "write `not a or b`, or put the condition into when:"),
        **dict.fromkeys(("when", "case", "elif", "elseif", "unless", "where", "end"), _TERNARY),
        "if": _TERNARY,
        "else": _TERNARY,
        "for": "there are no loops: a rule is asked for every row; over rows write batch_share(...)",
        **dict.fromkeys(("und", "et", "y"), "write `and`"),
        **dict.fromkeys(("oder", "ou", "o"), "write `or`"),
        **dict.fromkeys(("nicht", "non"), "write `not`"),
        **dict.fromkeys(("equals", "eq", "equal"), "write `==`"),
        **dict.fromkeys(("ne", "neq"), "write `!=`"),
        **dict.fromkeys(("lt", "less"), "write `<`"),
        **dict.fromkeys(("gt", "greater", "more", "above", "over"), "write `>`"),
        **dict.fromkeys(("le", "lte"), "write `<=`"),
        **dict.fromkeys(("ge", "gte"), "write `>=`"),
        **dict.fromkeys(("mod", "div"), "there is no remainder and no whole-number division"),
        **dict.fromkeys(("plus",), "write `+`"),
        **dict.fromkeys(("minus",), "write `-`"),
        **dict.fromkeys(("times", "x"), "write `*`"),
        **dict.fromkeys(("percent", "pct", "prozent"), _PER_CENT),
        **dict.fromkeys(("ms", "s", "sec", "secs", "second", "seconds", "m", "min", "mins", "minute", "minutes"), _TIME),
        **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "d", "day", "days"), _TIME),
        **dict.fromkeys(("eur", "usd", "chf", "gbp", "euro", "kg", "g", "km", "units", "pcs", "k", "mio"), "write the number alone, without its unit"),
    }
)  # fmt: skip
"""Words where an operator was expected, in small letters."""

FUNCTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("len", "strlen", "char_length", "size"), "did you mean `length`?"),
        **dict.fromkeys(("lowercase", "tolower", "lcase", "upper", "uppercase", "toupper", "ucase"), "did you mean `lower`?"),
        **dict.fromkeys(("startswith", "starts", "prefix"), "did you mean `starts_with`?"),
        **dict.fromkeys(("endswith", "ends_with"), 'write matches(text, "end$")'),
        **dict.fromkeys(("includes", "instr", "search", "find"), "did you mean `contains`?"),
        **dict.fromkeys(("regex", "regexp", "match", "re_match", "regexp_like", "regex_match"), "did you mean `matches`?"),
        **dict.fromkeys(("ifnull", "nvl", "isnull_or", "iferror", "ifna", "default"), "write `x ?? 0`, or coalesce(x, 0)"),
        **dict.fromkeys(("isnull", "is_null", "isna", "is_missing", "isblank", "isnan", "is_none", "empty"), _MISSING),
        **dict.fromkeys(("notnull", "isnotnull", "exists", "defined", "has", "present", "is_present"), _THERE),
        **dict.fromkeys(("if", "iff", "iif", "ifelse", "if_else", "case", "where", "choose", "cond"), "write `if condition then a else b`"),
        "and": "write `a and b`",
        "all": "write `a and b`; over rows write batch_share(...) == 1",
        "or": "write `a or b`",
        "any": "write `a or b`; over rows write batch_count(...) > 0",
        "not": "write `not a`",
        "xor": "write `a != b`",
        "between": "write `0 <= x <= 9`",
        "in": "write `x in [...]`",
        **dict.fromkeys(("mean", "avg", "average"), "write (a + b) / 2; " + _ROWS.format("mean")),
        **dict.fromkeys(("count", "countif", "count_if"), _ROWS.format("count")),
        **dict.fromkeys(("share", "ratio", "fraction", "proportion"), _ROWS.format("share")),
        **dict.fromkeys(("sum", "total", "sumif"), "write a + b; over rows there are batch_mean and batch_count"),
        **dict.fromkeys(("batch_sum", "batch_total"), "write batch_mean(x) * batch_count(x is not missing)"),
        **dict.fromkeys(("batch_std", "batch_var", "batch_median", "batch_p50", "batch_p99"), "there are batch_mean, batch_min, batch_max, batch_share and batch_count"),
        **dict.fromkeys(("recent_min", "recent_max", "recent_std", "recent_sum"), "there are recent_mean, recent_p50, recent_p99, recent_share and recent_count"),
        **dict.fromkeys(("median", "quantile", "percentile", "stdev", "std", "stddev", "var"), "write profile.NAME.p50 or .std for what was learned, recent_p50(x, 1h) over time"),
        **dict.fromkeys(("avg_over_time", "rate", "increase", "rolling_mean", "moving_average"), "write recent_mean(x, 1h)"),
        **dict.fromkeys(("count_over_time", "rolling_count"), "write recent_count(condition, 1h)"),
        **dict.fromkeys(("pow", "power", "square"), "multiply, or write exp(2 * log(x))"),
        "ln": "did you mean `log`?",
        "log10": "write log(x) / log(10)",
        "log2": "write log(x) / log(2)",
        "log1p": "write log(1 + x)",
        **dict.fromkeys(("clip", "limit"), "did you mean `clamp`?"),
        **dict.fromkeys(("floor", "ceil", "ceiling", "trunc", "int", "integer"), "there is round(x), half to even; whole numbers are compared as any other"),
        **dict.fromkeys(("str", "string", "text", "tostring", "to_string", "float", "number", "num", "to_number", "cast", "bool"), "values keep their kinds: compare numbers with numbers and text with text"),
        **dict.fromkeys(("greatest", "maximum"), "did you mean `max`?"),
        **dict.fromkeys(("least", "minimum"), "did you mean `min`?"),
        **dict.fromkeys(("now", "today", "time", "date", "datetime", "hour"), "write request.hour, request.weekday or request.date"),
        **dict.fromkeys(("trim", "strip", "substr", "substring", "replace", "concat", "split"), 'text is not changed; write matches(text, "pattern")'),
        **dict.fromkeys(("zscore", "outlier", "is_outlier"), "write the check profile: {fields: features.*}"),
        **dict.fromkeys(("lag", "prev", "previous"), "write previous.NAME"),
        **dict.fromkeys(("sign", "mod", "rand", "random"), "there is no such function"),
    }
)  # fmt: skip
"""Functions of other languages, in small letters."""

BARE: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("null", "none", "nil", "nan", "na", "undefined"), "write `x is missing`, or `x is not missing`"),
        **dict.fromkeys(("yes", "on"), "write `true`, or quote it if text is meant"),
        **dict.fromkeys(("no", "off"), "write `false`, or quote it if text is meant"),
        "true": "write `true` in small letters",
        "false": "write `false` in small letters",
        **dict.fromkeys(("inf", "infinity"), "leave the bound out: without it there is none"),
        **dict.fromkeys(("today", "now", "date"), "write request.date, request.hour or request.weekday"),
        **dict.fromkeys(("prediction", "result", "y", "score"), "predictions are written output.NAME"),
    }
)  # fmt: skip
"""Words that stand alone as if they were values, in small letters."""

SPACES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("input", "inputs", "row", "data", "record", "x", "feature", "df", "event"), "features"
        ),
        **dict.fromkeys(
            ("prediction", "predictions", "result", "response", "model", "outputs", "y"), "output"
        ),
        **dict.fromkeys(("last", "prev", "before"), "previous"),
        **dict.fromkeys(("stats", "training", "learned"), "profile"),
        **dict.fromkeys(("req", "meta", "context", "headers"), "request"),
        **dict.fromkeys(("list",), "lists"),
        **dict.fromkeys(("kpis", "metrics"), "kpi"),
    }
)
"""First parts of names, in small letters, each with the space that is meant."""

STATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("median", "p500", "q50", "q2"), "p50"),
        **dict.fromkeys(("avg", "average"), "mean"),
        **dict.fromkeys(("maximum", "upper", "high"), "max"),
        **dict.fromkeys(("minimum", "lower", "low"), "min"),
        **dict.fromkeys(("stdev", "stddev", "sigma", "sd"), "std"),
        **dict.fromkeys(("p95", "p95_0", "p97", "p98", "q99"), "p99"),
        **dict.fromkeys(("p99_5", "p99_99", "p999", "p100"), "p99_9"),
    }
)
"""Statistics of a profile that do not exist, each with the nearest that does."""

SIGNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "≥": "write `>=`",
        "≤": "write `<=`",
        "≠": "write `!=`",
        "×": "write `*`",
        "·": "write `*`",
        "÷": "write `/`",
        **dict.fromkeys("–—−", "write a plain `-`"),
        **dict.fromkeys("→⇒", "write `not a or b`, or put the condition into when:"),
        "∈": "write `in`",
        "∧": "write `and`",
        "∨": "write `or`",
        "¬": "write `not`",
        ";": "write a comma between arguments; the expression itself has no end sign",
        ":": "an expression has no colon; a choice is `if a then b else c`",
        "{": "a list stands in brackets: [1, 2, 3]; names stand without braces",
        "}": "a list stands in brackets: [1, 2, 3]; names stand without braces",
        **dict.fromkeys(
            "$@#", 'names stand without a sign before them; an odd name is written features["odd name"]'
        ),
        **dict.fromkeys("€£", "numbers stand without a currency"),
        "~": 'write matches(text, "pattern")',
        "\\": 'put the odd name in brackets and quotes: features["odd name"]',
    }
)
"""Characters that mean something elsewhere."""
