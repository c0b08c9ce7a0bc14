"""The `missing_share` check: how much of a row, or of a column, is missing.

Decides what a share is of. In scope `row` it is the share of the named fields that a row lacks; in scope `batch` the
share of rows that lack a field, and any one field may break the rule. A field that the message does not have at all is
missing in every row. A star stands for the fields of the message and those that the profile knows beside them: what a
client leaves out of its only row is not a field of the message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.decision import Scope
from guardproxy.profile.model import Profile
from guardproxy.rules.model import Field, Rule, View
from guardproxy.rules.names import profiled_output
from guardproxy.table import Mask, Table

_SPACES: Final = ("features", "output")


class Lacking(NamedTuple):
    """One field and the share of a batch that lacks it."""

    field: Field
    share: float


class _Side(NamedTuple):
    """The named fields of one table: the positions of those it has, and how many it has not."""

    space: str
    fields: tuple[Field, ...]
    positions: NDArray[np.intp]
    absent: tuple[Field, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Absence:
    """A `missing_share` check on one message's fields."""

    share: float
    batch: bool
    sides: tuple[_Side, ...]
    count: int

    def few(self, view: View) -> Mask | None:
        """Return by row whether little enough is missing; None when that is so everywhere."""
        if self._whole(view):
            return None
        missing = self._missing(view)
        if self.batch:
            rows = view.features.rows
            good = rows == 0 or bool((np.count_nonzero(missing, axis=1) / rows <= self.share).all())
            return None if good else np.zeros(rows, dtype=np.bool_)
        few: Mask = np.count_nonzero(missing, axis=0) / self.count <= self.share
        return None if few.all() else few

    def lacking(self, view: View, row: int) -> list[Field]:
        """Return the named fields that a row lacks."""
        missing = self._missing(view)
        return [named for named, cells in zip(self._fields(), missing, strict=True) if cells[row]]

    def worst(self, view: View) -> list[Lacking]:
        """Return the fields that too many rows lack, the worst first."""
        rows = max(1, view.features.rows)
        shares = np.count_nonzero(self._missing(view), axis=1) / rows
        found = [Lacking(*pair) for pair in zip(self._fields(), shares.tolist(), strict=True)]
        return sorted((one for one in found if one.share > self.share), key=lambda one: -one.share)

    def _fields(self) -> list[Field]:
        """Return the named fields in the order of the lines of `_missing`."""
        return [named for side in self.sides for named in (*side.fields, *side.absent)]

    def _whole(self, view: View) -> bool:
        """Tell, cheaply, whether certainly nothing is missing."""
        for side in self.sides:
            table = _table(view, side.space)
            if side.absent:
                return False
            if not table.complete and not _complete_row(table):
                return False
        return True

    def _missing(self, view: View) -> Mask:
        """Return what is missing, shape (named fields, rows)."""
        lines = [_missing_in(_table(view, side.space), side) for side in self.sides]
        return np.concatenate(lines) if lines else np.zeros((0, view.features.rows), dtype=np.bool_)


def bind_absence(
    rule: Rule, features: Sequence[str], outputs: Sequence[str], profile: Profile | None
) -> Absence:
    """Bind a rule's check to a message's field names."""
    known = {"features": features, "output": outputs}
    every = rule.check.every
    names = dict.fromkeys((*known[every], *_learned(every, outputs, profile))) if every else ()
    fields = [Field(every, name) for name in names] if every else list(rule.check.fields)
    sides = []
    for space in _SPACES:
        named = [one for one in fields if one.space == space]
        here = tuple(one for one in named if one.name in known[space])
        if named:
            positions = np.array([known[space].index(one.name) for one in here], dtype=np.intp)
            absent = tuple(one for one in named if one.name not in known[space])
            sides.append(_Side(space, here, positions, absent))
    return Absence(rule.check.share, rule.scope is Scope.BATCH, tuple(sides), len(fields))


def _learned(every: str, outputs: Sequence[str], profile: Profile | None) -> Sequence[str]:
    """Return the fields of one side that a profile knows, an output under the message's own name for it."""
    if profile is None:
        return ()
    if every == "features":
        return tuple(profile.features)
    renamed = {profiled_output(profile, name, tuple(outputs)): name for name in outputs}
    return tuple(renamed.get(name, name) for name in profile.outputs)


def _missing_in(table: Table, side: _Side) -> Mask:
    missing = np.ones((len(side.fields) + len(side.absent), table.rows), dtype=np.bool_)
    missing[: len(side.fields)] = np.isnan(table.block[side.positions])
    if table.exact:
        for line, named in enumerate(side.fields):
            cells = table.exact.get(named.name)
            if cells is not None:
                missing[line] = [cell is None for cell in cells]
    return missing


def _complete_row(table: Table) -> bool:
    """Tell whether a single row certainly lacks nothing, without a detour through numpy."""
    if table.rows != 1:
        return False
    numbers = table.single()
    if not table.exact:
        return not any(number != number for number in numbers)
    return all(
        number == number or table.exact.get(name, (None,))[0] is not None
        for name, number in zip(table.fields, numbers, strict=True)
    )


def _table(view: View, space: str) -> Table:
    if space == "features":
        return view.features
    if view.output is None:
        raise ValueError("a check of predictions needs the response")
    return view.output
