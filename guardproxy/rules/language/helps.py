"""What to write in place of tokens that cannot stand where they do.

Decides hints only, for text whose grammar `parser` has refused.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from guardproxy.rules.language import foreign
from guardproxy.rules.language.functions import AGGREGATES, FUNCTIONS
from guardproxy.rules.language.names import PROFILE_STATS
from guardproxy.rules.language.tokens import RESERVED, Token, TokenKind

VALUE_HELP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "+": "a sign `+` is not needed",
        ".": "a name begins with features, output, previous, profile, request or kpi",
        "*": "there is no star: over rows write batch_count(x is not missing)",
        **dict.fromkeys(
            ("<", ">", "<=", ">=", "==", "!="), "write what is compared before the sign: output.x > 3"
        ),
        "/": "write `or`: it is also true when both are",
    }
)
"""What is meant by a sign that stands where a value was expected."""

TWO_VALUES_HELP: Final = (
    'two values need an operator between them; a name with spaces is written features["odd name"]'
)


def behind_operand_help(before: Token, token: Token, after: Token) -> str:
    """Say what to write in place of a token that stands where only an operator or the end can; empty if nobody knows."""
    lower = token.text.lower()
    word = token.kind is TokenKind.WORD
    if word and lower in RESERVED and token.text not in RESERVED:
        if lower == "is":
            return "write `is not missing`" if after.text.lower() == "not" else "write `is missing`"
        return f"write `{lower}` in small letters"
    if token.text in (")", "]"):
        return f"there is no opening bracket for this `{token.text}`"
    if token.text in ("k", "K", "M") and before.kind is TokenKind.NUMBER:
        return f"write {before.text}{'_000_000' if token.text == 'M' else '_000'}"
    if word and lower in foreign.WORDS:
        return foreign.WORDS[lower]
    return comma_help(before, token, after) if token.text == "," else ""


def comma_help(before: Token, comma: Token, after: Token) -> str:
    """Say what to write in place of a comma that stands in a number, or between values without brackets."""
    glued = before.offset + before.length == comma.offset and comma.offset + 1 == after.offset
    if before.kind is after.kind is TokenKind.NUMBER and glued:
        whole, part = before.text.replace(".", ""), after.text
        if "." not in before.text and re.fullmatch("[0-9]{3}", part):
            return (
                f"a number has no separator of thousands: write {whole}{part}, or {whole}.{part} as a decimal"
            )
        return f"a number has a decimal point: write {whole}.{part}"
    return "a comma only stands between arguments, f(a, b), and in lists, [a, b]"


def part_help(first: Token, token: Token) -> str:
    """Say what may stand behind the dot of a name that begins with `first`."""
    if token.text == "*":
        return "a star stands in checks only, such as profile: {fields: features.*}"
    if first.text == "profile":
        percentiles = (stat for stat in PROFILE_STATS if re.fullmatch(r"p[0-9_]+", stat))
        return f"percentiles are {', '.join(percentiles)}"
    return 'a name that is no plain word is written features["odd name"]'


def index_help(segments: Sequence[str], token: Token) -> str:
    """Say what may stand in brackets behind a name: only a part of the name, in quotes."""
    if token.kind is not TokenKind.NUMBER:
        return 'write features["odd name"]'
    if token.text.endswith(("s", "m", "h", "d")):
        return f"a window is an argument: recent_mean({'.'.join(segments)}, {token.text})"
    return "a value has no parts that can be counted; fields have names"


def call_help(segments: Sequence[str]) -> str:
    """Say how the method of another language, `features.x.lower()`, or `np.log(...)`, is written here."""
    lower = segments[-1].lower()
    rows = "_".join(segments)
    if rows in AGGREGATES:
        return f"write {AGGREGATES[rows].shape}"
    said = foreign.FUNCTIONS.get(lower) or foreign.FUNCTIONS.get(lower.replace("_", ""), "")
    meant = said.removeprefix("did you mean `").removesuffix("`?")
    if said and meant == said:
        return said
    function = meant or (lower if lower in FUNCTIONS or lower in AGGREGATES else "")
    if not function:
        return "functions are written abs(features.x)"
    if segments[0] in ("features", "output", "previous", "request"):
        return f"write {function}({'.'.join(segments[:-1])}{', ...' if _takes_more(function) else ''})"
    return f"write {function}(...)"


def _takes_more(function: str) -> bool:
    return function in FUNCTIONS and FUNCTIONS[function].most > 1
