"""Words for values, and phrases for functions.

Decides how a number, a date, a duration and a call are read aloud. How they make a clause is left to `english`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from guardproxy.table import Cell

_UNITS: Final[Mapping[str, str]] = {
    "ms": "millisecond",
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
}
GROUPED: Final = 10_000
AMOUNT: Final = re.compile(r"(-?[0-9_]+(?:\.[0-9]+)?)(ms|[smhd]|%)")
DAY: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
Phrases = Mapping[str, Callable[[list[str]], str]]


def listed(parts: Sequence[str], joint: str = "and") -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {joint} {parts[-1]}"


def number(value: float) -> str:
    """Return a number with no more digits than it has, grouped by threes where it has five before the point or more."""
    if abs(value) < GROUPED:
        return f"{value:.10g}"
    return f"{int(value):,}" if value == value // 1 and abs(value) < 1e15 else f"{value:,.10g}"


def member(value: Cell) -> str:
    """Return a value of a list: numbers without commas, which part the values."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    return cell(value)


def amount(written: str) -> str:
    """Return a number as an operator writes it in words: `8h` is `8 hours`, `30%` stays."""
    match = AMOUNT.fullmatch(written)
    if match is None or match.group(2) == "%":
        return written
    count = match.group(1).replace("_", "")
    return f"{count} {_UNITS[match.group(2)]}{'' if count == '1' else 's'}"


def cell(value: Cell) -> str:
    """Return a value as it is read aloud."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return f"“{value}”"
    if isinstance(value, tuple):
        return f"[{', '.join(cell(one) for one in value)}]"
    return number(value)


def date(text: str) -> str:
    """Return `6 January 2026` for `2026-01-06`; what is no date stays."""
    match = DAY.fullmatch(text)
    if match is None or not 1 <= int(match.group(2)) <= 12:
        return text
    return f"{int(match.group(3))} {_MONTHS[int(match.group(2)) - 1]} {match.group(1)}"


def spaced(name: str) -> str:
    """Return a column's name as words."""
    return name.replace("_", " ").strip() or name


def ordinal(stat: str) -> str:
    """Return `99th` for `p99`, `99.9th` for `p99_9`."""
    digits = stat.removeprefix("p").lstrip("0") or "0"
    if "_" in digits or stat.startswith("p0_"):
        return stat.removeprefix("p").replace("_", ".") + "th"
    ending = {"1": "st", "2": "nd", "3": "rd"}.get(digits[-1], "th") if digits[-2:-1] != "1" else "th"
    return digits + ending


def window_words(spoken: str) -> str:
    """Return `the last hour` for a window."""
    match = AMOUNT.fullmatch(spoken)
    spoken = amount(_largest(match)) if match else spoken
    return f"the last {spoken.removeprefix('1 ')}" if spoken else ""


def _largest(match: "re.Match[str]") -> str:
    """Return a number of seconds in the largest whole unit."""
    seconds = float(match.group(1)) if match.group(2) == "s" else 0.0
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return match.group()


def _extreme(two: str, many: str) -> Callable[[list[str]], str]:
    return lambda spoken: f"the {two if len(spoken) == 2 else many} of {listed(spoken)}"


def _rounded(spoken: list[str]) -> str:
    return f"{spoken[0]} rounded" + (f" to {spoken[1]} digits" if len(spoken) > 1 else "")


CLAUSES: Final[Phrases] = {
    "contains": lambda spoken: f"{spoken[0]} contains {spoken[1]}",
    "starts_with": lambda spoken: f"{spoken[0]} begins with {spoken[1]}",
    "matches": lambda spoken: f"{spoken[0]} matches the pattern {spoken[1]}",
}
NOUNS: Final[Phrases] = {
    "abs": lambda spoken: f"the size of ({spoken[0]})",
    "min": _extreme("smaller", "smallest"),
    "max": _extreme("larger", "largest"),
    "round": _rounded,
    "sqrt": lambda spoken: f"the square root of {spoken[0]}",
    "log": lambda spoken: f"the natural logarithm of {spoken[0]}",
    "exp": lambda spoken: f"e to the power of {spoken[0]}",
    "clamp": lambda spoken: f"{spoken[0]} kept between {spoken[1]} and {spoken[2]}",
    "length": lambda spoken: f"the number of characters of {spoken[0]}",
    "lower": lambda spoken: f"{spoken[0]} in lower case",
    "coalesce": lambda spoken: f"{spoken[0]} (or {', else '.join(spoken[1:])}, where that is missing)",
    "batch_mean": lambda spoken: f"the average over the batch of {spoken[0]}",
    "batch_min": lambda spoken: f"the smallest in the batch of {spoken[0]}",
    "batch_max": lambda spoken: f"the largest in the batch of {spoken[0]}",
    "batch_share": lambda spoken: f"the share of rows of the batch where {spoken[0]}",
    "batch_count": lambda spoken: f"the number of rows of the batch where {spoken[0]}",
    "recent_mean": lambda spoken: f"the average over {window_words(spoken[1])} of {spoken[0]}",
    "recent_p50": lambda spoken: f"the median over {window_words(spoken[1])} of {spoken[0]}",
    "recent_p99": lambda spoken: f"the 99th percentile over {window_words(spoken[1])} of {spoken[0]}",
    "recent_share": lambda spoken: f"the share of rows of {window_words(spoken[1])} where {spoken[0]}",
    "recent_count": lambda spoken: f"the number of rows of {window_words(spoken[1])} where {spoken[0]}",
}
