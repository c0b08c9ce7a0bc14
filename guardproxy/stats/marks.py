"""Where in event time something was counted: one writer's buckets of an hour, each with how many rows it has.

Decides the form in which replicas tell each other. Arrival time needs none of it, since everybody knows which buckets still grow; a
replayed history grows wherever it likes.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Final, NamedTuple

from guardproxy.stats.blobs import deflated, inflated
from guardproxy.stats.rollup import HOUR_S

SERIES: Final = "marks"
MAX_HOURS: Final = 64
"""Hours that a writer keeps marks of; one that it comes back to later begins anew under another name."""
MAX_MARKS: Final = HOUR_S
"""Marks of an hour of the shortest buckets."""
_MARK: Final = struct.Struct("<II")


class Mark(NamedTuple):
    """An hour's marks under the name of their writer."""

    hour: int
    writer: str
    blob: bytes


class Marks:
    """The marks of this process."""

    def __init__(self, bucket_s: int, writer: str) -> None:
        """Mark buckets of `bucket_s` seconds under the name `writer`, which no other process has or had."""
        self._an_hour = HOUR_S // bucket_s
        self._writer = writer
        self._names = count()
        self._name = writer
        self._hours: OrderedDict[int, tuple[str, dict[int, int]]] = OrderedDict()

    def add(self, buckets: Iterable[tuple[int, int]]) -> list[Mark]:
        """Mark buckets with how many rows they have now; return what is to be written."""
        touched: dict[int, None] = {}
        for number, rows in buckets:
            hour, place = divmod(number, self._an_hour)
            touched[hour] = None
            if hour not in self._hours:
                self._hours[hour] = (self._name, {})
            self._hours.move_to_end(hour)
            self._hours[hour][1][place] = rows
        marks = [Mark(hour, self._hours[hour][0], pack_marks(self._hours[hour][1])) for hour in touched]
        while len(self._hours) > MAX_HOURS:
            self._hours.popitem(last=False)
            self._name = f"{self._writer}.{next(self._names)}"
        return marks


def pack_marks(rows: Mapping[int, int]) -> bytes:
    """Write the rows of each marked bucket, by its place in the hour."""
    marks = (_MARK.pack(place, min(number, 0xFFFFFFFF)) for place, number in sorted(rows.items()))
    return deflated(b"".join(marks))


def unpack_marks(blob: bytes) -> dict[int, int]:
    """Read what `pack_marks` wrote. Raises ValueError where the blob is anything else."""
    data = inflated(blob, MAX_MARKS * _MARK.size)
    if len(data) % _MARK.size:
        raise ValueError("the marks are damaged: they end in the middle")
    return dict(_MARK.iter_unpack(data))
