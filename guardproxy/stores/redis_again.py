"""Blobs to write again when another server takes over.

Decides how long a write may still be lost: a primary acknowledges it before its replica has it, and one that is being
replaced acknowledges for a while what nobody will have. Writing again is harmless, as each blob is all that its writer has counted.
Sums are left out: any replica writes them, so an old one could take the place of another's newer one. Each is written a second time anyway.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from guardproxy.stats.rollup import SUM
from guardproxy.stores.statistics import BucketKey, BucketWrite

AGAIN_S: Final = 30.0
"""How long a write is kept after its acknowledgement."""
MAX_AGAIN: Final = 1_024
"""Most writes that are kept; the oldest are let go first, and are lost if their server is within AGAIN_S."""


class Again:
    """The last writes, one per bucket and writer."""

    def __init__(self) -> None:
        self._writes: OrderedDict[tuple[BucketKey, str], tuple[float, BucketWrite]] = OrderedDict()

    def acknowledged(self, writes: Sequence[BucketWrite], at: float) -> None:
        """Note writes that were acknowledged at `at` (seconds of any clock that goes on)."""
        for write in (each for each in writes if each.writer != SUM):
            name = (write.key, write.writer)
            self._writes.pop(name, None)
            self._writes[name] = (at, write)
        while len(self._writes) > MAX_AGAIN or (
            self._writes and next(iter(self._writes.values()))[0] < at - AGAIN_S
        ):
            self._writes.popitem(last=False)

    def writes(self) -> list[BucketWrite]:
        """Return what must be written again."""
        return [write for _, write in self._writes.values()]
