"""The layout of a model's counts: which place of one vector counts what.

Decides the order: the cells of each field that the profile has cells for, then the outcomes of rows, then the reasons for which
exchanges are unguarded. What falls into a cell is left to `profile.cells`; when it is counted, to `ledger`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from guardproxy.decision import Outcome, Reason
from guardproxy.profile.cells import Cells
from guardproxy.profile.model import FieldProfile, Profile

OUTPUT: Final = "output."
NO_PROFILE: Final = "00000000"
"""The version of the layout of a model without a profile: it counts outcomes and reasons only."""


class Span(NamedTuple):
    """One field's cells: `counts[start:start + cells.size]`. Features have their own name, outputs `output.NAME`."""

    name: str
    start: int
    cells: Cells

    @property
    def end(self) -> int:
        """The place after the last cell."""
        return self.start + self.cells.size

    @property
    def part(self) -> slice:
        """Where the cells are in a vector of counts."""
        return slice(self.start, self.end)


@dataclass(frozen=True, slots=True)
class Layout:
    """Names every counted cell of a model. Counts of one version add; those of two versions have nothing in common.

    `numbers` are the fields whose moments are kept, in the order of the rows of the moments.
    """

    version: str
    size: int
    spans: tuple[Span, ...]
    numbers: tuple[str, ...]

    @staticmethod
    def of(profile: Profile | None) -> "Layout":
        """Return the layout of a profile's fields, or of a model without one."""
        fields = () if profile is None else tuple(_fields(profile))
        spans = []
        start = 0
        for name, field in fields:
            if field.cells is not None:
                spans.append(Span(name, start, field.cells))
                start += field.cells.size
        version = NO_PROFILE if profile is None else _digest(profile.version, spans)
        numbers = tuple(name for name, field in fields if field.numeric)
        return Layout(version, start + len(Outcome) + len(Reason), tuple(spans), numbers)

    def span(self, name: str) -> Span | None:
        """Return the cells of a field (`x`, `output.demand`), None where it has none."""
        return next((span for span in self.spans if span.name == name), None)

    @property
    def outcomes(self) -> slice:
        """Where the rows by outcome are, in the order of `Outcome`."""
        start = self.size - len(Reason) - len(Outcome)
        return slice(start, start + len(Outcome))

    @property
    def reasons(self) -> slice:
        """Where the unguarded exchanges by reason are, in the order of `Reason`."""
        return slice(self.size - len(Reason), self.size)


def _fields(profile: Profile) -> Iterator[tuple[str, FieldProfile]]:
    yield from profile.features.items()
    yield from ((f"{OUTPUT}{name}", field) for name, field in profile.outputs.items())


def _digest(version: str, spans: list[Span]) -> str:
    """Return 8 hex digits of the layout's SHA-256: the same cells at the same places, or another version."""
    digest = hashlib.sha256(f"counts 1\n{version}\n".encode())
    for name, start, cells in spans:
        meaning = (
            cells.measure.value,
            cells.edges,
            cells.low,
            cells.high,
            cells.values,
            sorted(map(repr, cells.known)),
        )
        digest.update(f"{name!r} {start} {meaning!r}\n".encode())
    digest.update(f"{[one.name for one in Outcome]} {[one.value for one in Reason]}".encode())
    return digest.hexdigest()[:8]
