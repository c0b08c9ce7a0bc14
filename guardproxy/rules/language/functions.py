"""The functions of the language, as a table.

Decides their names, arguments and results. How `matches` gets its pattern is decided here too: RE2 only, bounded, its
own messages silenced. The arithmetic itself stands in `semantics`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from guardproxy.rules.language.names import Kind

MAX_PATTERN_BYTES: Final = 1 << 20
MAX_MATCH_BYTES: Final = 64 * 1024
"""Text is cut to this many bytes of UTF-8 before it is matched."""

MAX_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Function:
    """One function: how many arguments, their kind, the kind of the result. `shape` is how it is written."""

    shape: str
    least: int
    most: int
    argument: Kind
    result: Kind


_MANY: Final = 256

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {
        "abs": Function("abs(x)", 1, 1, Kind.NUMBER, Kind.NUMBER),
        "min": Function("min(a, b, ...)", 2, _MANY, Kind.NUMBER, Kind.NUMBER),
        "max": Function("max(a, b, ...)", 2, _MANY, Kind.NUMBER, Kind.NUMBER),
        "round": Function("round(x) or round(x, digits)", 1, 2, Kind.NUMBER, Kind.NUMBER),
        "sqrt": Function("sqrt(x)", 1, 1, Kind.NUMBER, Kind.NUMBER),
        "log": Function("log(x)", 1, 1, Kind.NUMBER, Kind.NUMBER),
        "exp": Function("exp(x)", 1, 1, Kind.NUMBER, Kind.NUMBER),
        "clamp": Function("clamp(x, low, high)", 3, 3, Kind.NUMBER, Kind.NUMBER),
        "length": Function("length(text)", 1, 1, Kind.TEXT, Kind.NUMBER),
        "lower": Function("lower(text)", 1, 1, Kind.TEXT, Kind.TEXT),
        "contains": Function('contains(text, "part")', 2, 2, Kind.TEXT, Kind.FLAG),
        "starts_with": Function('starts_with(text, "start")', 2, 2, Kind.TEXT, Kind.FLAG),
        "matches": Function('matches(text, "pattern")', 2, 2, Kind.TEXT, Kind.FLAG),
        "coalesce": Function("coalesce(a, b, ...)", 2, _MANY, Kind.ANY, Kind.ANY),
    }
)


@dataclass(frozen=True, slots=True)
class AggregateFunction:
    """One function over rows: how it is written, the kind of its argument; a `rolling` one has a window as well."""

    shape: str
    argument: Kind
    rolling: bool


AGGREGATES: Final[Mapping[str, AggregateFunction]] = MappingProxyType(
    {
        "batch_mean": AggregateFunction("batch_mean(number)", Kind.NUMBER, rolling=False),
        "batch_min": AggregateFunction("batch_min(number)", Kind.NUMBER, rolling=False),
        "batch_max": AggregateFunction("batch_max(number)", Kind.NUMBER, rolling=False),
        "batch_share": AggregateFunction("batch_share(yes/no)", Kind.FLAG, rolling=False),
        "batch_count": AggregateFunction("batch_count(yes/no)", Kind.FLAG, rolling=False),
        "recent_mean": AggregateFunction("recent_mean(number, 1h)", Kind.NUMBER, rolling=True),
        "recent_p50": AggregateFunction("recent_p50(number, 1h)", Kind.NUMBER, rolling=True),
        "recent_p99": AggregateFunction("recent_p99(number, 1h)", Kind.NUMBER, rolling=True),
        "recent_share": AggregateFunction("recent_share(yes/no, 1h)", Kind.FLAG, rolling=True),
        "recent_count": AggregateFunction("recent_count(yes/no, 1h)", Kind.FLAG, rolling=True),
    }
)
"""All of them give a number."""

KEPT_PATTERNS: Final = 256
"""The rules of one process have fewer."""

MIN_WINDOW_S: Final = 60.0
MAX_WINDOW_S: Final = 90 * 86_400.0


class PatternError(Exception):
    """RE2 refuses a pattern; the message is a sentence of ours with RE2's reason in it."""


class PatternLibraryMissingError(Exception):
    """RE2 is not installed."""


def compile_pattern(pattern: str) -> Any:
    """Compile a pattern with RE2 (linear time, at most 1 MiB of program).

    Raises PatternError, or PatternLibraryMissingError where google-re2 is not installed.
    """
    try:
        import re2
    except ImportError:
        raise PatternLibraryMissingError from None
    options = re2.Options()
    options.max_mem = MAX_PATTERN_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern.encode("utf-8", "replace"), options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown reason"
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        raise PatternError(str(reason)) from None


@lru_cache(KEPT_PATTERNS)
def kept_pattern(pattern: str) -> Any:
    """Do the same as `compile_pattern`, once for each of the patterns that were used last."""
    return compile_pattern(pattern)


def pattern_found(pattern: Any, text: str) -> bool:
    """Tell whether a compiled pattern occurs anywhere in `text`, of which the first 64 KiB are looked at."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > MAX_MATCH_BYTES:
        # A character cut in half would be no character to RE2; dropping its rest keeps `.` honest.
        encoded = encoded[:MAX_MATCH_BYTES].decode("utf-8", "ignore").encode("utf-8")
    return pattern.search(encoded) is not None


def text_was_cut(text: str) -> bool:
    """Tell whether `matches` and its like look at the first 64 KiB of this text only."""
    if len(text) * 4 <= MAX_MATCH_BYTES:
        return False
    return len(text) > MAX_MATCH_BYTES or len(text.encode("utf-8", "replace")) > MAX_MATCH_BYTES
