"""What reviewers keep approving: a value of a feature that nearly all approved rows of a rule share.

Decides when approvals make a pattern. Proposing an exception from it is left to `suggest`, granting one to a person.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from guardproxy.holds import Hold, State
from guardproxy.rules import Field
from guardproxy.rules.written import ref_text

MIN_APPROVALS: Final = 5
MIN_SHARE: Final = 0.9
"""The share of a pattern's reviewed rows that were approved, at least."""

MAX_VALUES: Final = 20_000
MAX_TEXT: Final = 80
DAYS: Final = 30

_REVIEWED: Final = frozenset({State.APPROVED, State.OVERRIDDEN, State.REJECTED})


@dataclass(frozen=True, slots=True)
class Pattern:
    """Rows of `rule` with one value of one feature, nearly always approved. `until` is DAYS from when it was found."""

    rule: str
    id: str
    when: str
    approved: int
    reviewed: int
    until: str


def find_patterns(holds: Iterable[Hold], at: float) -> list[Pattern]:
    """Find the strongest pattern of each rule; `at` is now, in Unix seconds.

    A value that is in most of the rule's other reviewed rows as well says nothing, and is left out.
    """
    approved: Counter[tuple[str, str, str]] = Counter()
    others: Counter[tuple[str, str, str]] = Counter()
    refused: Counter[str] = Counter()
    for hold in holds:
        if hold.state not in _REVIEWED:
            continue
        good = hold.state is State.APPROVED
        refused[hold.rule] += not good
        counted = approved if good else others
        for name, cell in hold.features.items():
            if isinstance(cell, str) and 0 < len(cell) <= MAX_TEXT and len(counted) < MAX_VALUES:
                counted[hold.rule, name, cell] += 1
    until = (datetime.fromtimestamp(at, UTC) + timedelta(days=DAYS)).date().isoformat()
    best: dict[str, Pattern] = {}
    for (rule, name, cell), times in approved.most_common():
        wrong = others[rule, name, cell]
        tells = refused[rule] == 0 or wrong < refused[rule]
        if rule not in best and times >= MIN_APPROVALS and times / (times + wrong) >= MIN_SHARE and tells:
            when = f"{ref_text(Field('features', name))} == {json.dumps(cell)}"
            best[rule] = Pattern(rule, _slug(name, cell), when, times, times + wrong, until)
    return list(best.values())


def _slug(name: str, cell: str) -> str:
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in f"{name}-{cell}".lower())
    word = "-".join(part for part in plain.split("-") if part)[:50].strip("-")
    return word if word[:1].isalpha() else f"seen-{word}"
