"""What can be wrong with an expression: at load a `Flaw`, at run time a `LanguageError`.

Decides the codes and what each one means. Where in a file the expression stands, and how a flaw is shown, is left to
`rules`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from guardproxy.errors import GuardproxyError


class LanguageError(GuardproxyError):
    """Kinds of values clash at run time (text compared with a number). The rule's verdict is `error`."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One mistake in an expression. `offset` and `length` count characters of the expression's text."""

    code: str
    message: str
    offset: int
    length: int
    help: str = ""


class FlawError(Exception):
    """Carries the flaw at which reading stopped, inside this package only."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.message)
        self.flaw = flaw


CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "E101": "An expression has more than 2,000 characters. Split it into several rules, or name a part as a KPI.",
        "E102": "An expression has more than 256 operations. Split it into several rules, or name a part as a KPI.",
        "E103": "Parentheses, calls or signs are nested more than 40 deep. Name the inner part as a KPI.",
        "E104": "A list written in an expression has more than 1,000 items. Put it under `lists:` and use its name.",
        "E105": "A character that the language does not use.",
        "E106": "A name that does not exist: a field, a fact of the request, a statistic, a KPI or a list.",
        "E107": "A function that does not exist.",
        "E108": "A function was given too few or too many arguments.",
        "E109": "Text in quotes that is not closed, or has an escape that JSON does not have.",
        "E110": "Something else was expected here.",
        "E111": "An operator of another language; the message says how it is written here.",
        "E112": "A number that cannot be read.",
        "E113": "`and` and `or` are mixed without parentheses, which people read in two ways.",
        "E114": "A name without its space: write `features.NAME`, `output.NAME` and so on.",
        "E115": "A name that is not finished: `features` alone, or `profile.output.demand` without a statistic.",
        "E116": "A list in a place where none can stand, or a list that is empty, mixed or not made of plain values.",
        "E117": "A bracket or parenthesis that is not closed.",
        "E120": "Arithmetic or a numeric function needs numbers.",
        "E121": "`and`, `or`, `not` and the condition of `if` need something that is true or false.",
        "E122": "A function needs text.",
        "E123": "Two values of different kinds are compared, which could never be true.",
        "E124": "Values that have no order are compared with <, <=, > or >=, or a vector is compared at all.",
        "E125": "The possible results of `if`, `??` or `coalesce` are of different kinds.",
        "E126": "The expression gives another kind of value than this place needs.",
        "E127": "An argument must be written out (a pattern, a number of digits), or its value makes no sense.",
        "E131": "A rule of scope `batch` or `window` has one verdict for many rows, so a value that differs from row to "
        "row needs a function over rows around it. A rule of scope `window` has no batch: it only knows `recent_*`, "
        "facts of the request and the profile.",
        "E132": "A function over rows stands inside another one, or in a KPI that is used inside one.",
        "E133": "The window of a `recent_*` function must be a duration that is written out, from 1m to 90d, as in `1h`.",
        "E134": "The argument of a `recent_*` function reads features and outputs only: rows of many requests are counted "
        "together, which have no one time, no one caller and no past.",
        "E140": "RE2 does not accept this pattern. It has no look-around and no back-references.",
        "E141": "`matches`, and the patterns of `text` and `json_schema`, need the optional RE2 library.",
        "E150": "A message template has a brace that is not closed or not opened, or empty braces.",
        "E151": "A message template has a format that is not one of the permitted ones.",
        "E152": "The format in a message template does not suit the value.",
        "E153": "A message template is too long or has too many placeholders.",
    }
)
"""What every code means, in a sentence or two; `guardproxy explain CODE` prints it."""
