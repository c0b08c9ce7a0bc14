"""The past that a test case gives: an entity's last answers, one a day, the last of them on the day before.

Decides what stands in for what a running proxy would have learned of all entities: a limit of CASE_LIMIT spreads, and the median
of the three estimates for `auto`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from guardproxy.rules import CaseRow
from guardproxy.rules.past import Usual
from guardproxy.stats.entity import SEASONS, Expected, advance, empty, expected
from guardproxy.stats.strangeness import DEFAULT_ESTIMATE, ESTIMATES
from guardproxy.table import Cell

CASE_LIMIT: Final = 10.0
"""How many spreads an answer may lie from what is usual in a test case."""

_DAY_S: Final = 86_400.0


def _noon(date: str) -> float:
    try:
        day = datetime.fromisoformat(date)
    except ValueError:
        # A case may name a day that no calendar has; any Wednesday does for its past.
        day = datetime(2026, 1, 7)  # noqa: DTZ001
    return day.replace(hour=12, tzinfo=UTC).timestamp()


class GivenPast:
    """The past of a case's rows; implements `rules.past.EntityPast`, whichever features name the entity."""

    def __init__(self, rows: Sequence[CaseRow], date: str) -> None:
        """Take what each row gives of its entity's answers before `date` (YYYY-MM-DD)."""
        self._rows = rows
        self._at = _noon(date)

    def usual(self, by: tuple[str, ...], output: str) -> Sequence[Usual | None]:  # noqa: ARG002 - see the class
        """Return what is usual of each row's entity."""
        return [self._usual(row, output) for row in range(len(self._rows))]

    def limit(self, by: tuple[str, ...], output: str, false_alarms: float) -> float | None:  # noqa: ARG002
        """Return CASE_LIMIT."""
        return CASE_LIMIT

    def estimate(
        self,
        kind: str,
        by: tuple[str, ...],  # noqa: ARG002
        row: int,
        output: str,
        max_age_s: float | None,
    ) -> Cell:
        """Return what stands in for a row's answer; the last answer that the case gives is a day old."""
        if max_age_s is not None and max_age_s < _DAY_S:
            return None
        found = self._expected(row, output)
        if found is None:
            before = self._rows[row].previous or {}
            return before.get(output) if kind in ("last_good", "auto") else None
        value = float(getattr(found, ESTIMATES[DEFAULT_ESTIMATE if kind == "auto" else kind])[0])
        return None if value != value else value

    def _usual(self, row: int, output: str) -> Usual | None:
        found = self._expected(row, output)
        if found is None or found.spread[0] != found.spread[0]:
            return None
        return Usual(float(found.usual[0]), float(found.spread[0]))

    def _expected(self, row: int, output: str) -> Expected | None:
        answers = self._rows[row].history.get(output, ())
        if not answers:
            return None
        record, season = empty(1), SEASONS["weekday"]
        for days, answer in zip(range(len(answers), 0, -1), answers, strict=True):
            advance(record, None, np.array([self._at - days * _DAY_S]), np.array([answer]), season)
        return expected(record, None, np.array([self._at]), season)
