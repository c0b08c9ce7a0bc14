"""When a request happened, where that is not when it arrived: its header says so, or a feature of each row.

Decides what is believed: a moment that is absent, unreadable, before 1970 or ahead of now is counted, and the arrival stands in its place. Which
bucket follows from it is left to `stats.counting`.
"""

import math
import re
from collections import Counter
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np

from guardproxy.profile.measures import MAX_AHEAD_S, moment_of
from guardproxy.table import Cell, Floats, Table

HEADER: Final = b"guardproxy-event-time"
METADATA: Final = HEADER.decode()
"""The same in gRPC's metadata."""

REFUSALS: Final = ("absent", "unreadable", "ahead")
"""Why the arrival stands in place of a moment."""

_RFC_3339: Final = re.compile(
    rb"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class Times(NamedTuple):
    """When rows happened, shape (rows,), None where a feature does not say; `latest` is the latest moment told of."""

    rows: Floats | None = None
    latest: float | None = None


class EventTime:
    """Reads when requests of a route happened. `refused` counts by REFUSALS, for all routes of a model together."""

    def __init__(self, refused: Counter[str], *, header: bool = False, feature: str | None = None) -> None:
        """Read the header, or a feature of each row, or neither."""
        self.header = header
        self.feature = feature
        self.refused = refused

    def of_header(self, value: bytes | None, now: float) -> float | None:
        """Return the moment that a header says (Unix seconds), None where the arrival stands in its place."""
        if not self.header:
            return None
        if value is None:
            self.refused["absent"] += 1
            return None
        return self._believed(_read(value), now)

    def of_rows(self, table: Table | None, now: float, happened: float | None) -> Times:
        """Return when the rows of a table happened; a row that does not say is taken for `happened`, else for `now`."""
        if self.feature is None or table is None:
            return Times(None, happened)
        otherwise = now if happened is None else happened
        found = [self._of_cell(cell, now) for cell in table.column(self.feature)]
        told = [moment for moment in found if moment is not None]
        rows = np.array([otherwise if moment is None else moment for moment in found], dtype=np.float64)
        return Times(rows, max(told) if told else happened)

    def _of_cell(self, cell: Cell, now: float) -> float | None:
        if cell is None:
            self.refused["absent"] += 1
            return None
        moment = moment_of(cell)
        return self._believed(None if moment is None or math.isnan(moment) else moment, now)

    def _believed(self, moment: float | None, now: float) -> float | None:
        if moment is None or moment < 0.0:
            self.refused["unreadable"] += 1
        elif moment > now + MAX_AHEAD_S:
            self.refused["ahead"] += 1
        else:
            return moment
        return None


def _read(value: bytes) -> float | None:
    """Return the Unix seconds of a moment in RFC 3339, None for anything else; a leap second counts as the one before."""
    if _RFC_3339.fullmatch(value) is None:
        return None
    text = value.decode("ascii").upper()
    try:
        return datetime.fromisoformat(f"{text[:16]}{text[16:].replace(':60', ':59', 1)}").timestamp()
    except (ValueError, OverflowError):
        return None
