"""The request-time comparison: where each cell of a table stands against what was learned.

Decides the position of every cell, fast when all of them are inside. What follows from a cell outside (an action, a
count) is left to the rules. A check is compiled once per profile and bound once per sequence of fields; a bound check
holds no state.

Keys are known but not compared. A constant and an identifier are compared by type only: a change of a constant is
visible in drift, but its range is one point and an identifier's expires with every row. A field that was never
missing and that the table does not have at all is ABSENT. Of fields that every row of the reference data had or lacked as one,
those are APART that a row lacks though it has others of them.
"""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from guardproxy.profile.explain import Explanation, explain
from guardproxy.profile.limits import Limit, Position, limit_of, number_position, position_of
from guardproxy.profile.model import FieldProfile, Role
from guardproxy.profile.together import Group
from guardproxy.table import Cell, Codes, Floats, Table


class Check:
    """What a profile's fields allow, independent of any table. Use `compile_check` to make one."""

    def __init__(
        self,
        limits: Mapping[str, Limit],
        known: frozenset[str],
        band: tuple[float, float] | None,
        together: Sequence[Sequence[str]] = (),
    ) -> None:
        self._limits = limits
        self._known = known
        self._band = band
        self._together = together

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are compared, in the profile's order."""
        return tuple(self._limits)

    def bind(self, fields: tuple[str, ...]) -> "BoundCheck":
        """Prepare for tables with exactly these fields in this order. The caller keeps what it needs again."""
        unknown = tuple(name for name in fields if name not in self._known)
        return BoundCheck(self._limits, fields, unknown, self._together)

    def explain(self, field: str, value: Cell, code: int, at: float = math.nan) -> Explanation:
        """Say in words why a cell of `field` got this code, in a row that happened at `at` (Unix seconds, NaN if unknown).

        KeyError for a field that is not compared.
        """
        return explain(field, self._limits[field], value, Position(code), self._band, at)


class BoundCheck:
    """A check prepared for one sequence of table fields. `fields` names the rows of the codes, `unknown` the fields
    of the table that the profile does not know."""

    __slots__ = ("_absent", "_block", "_groups", "_number_names", "_numbers", "_others", "fields", "unknown")

    def __init__(
        self,
        limits: Mapping[str, Limit],
        fields: tuple[str, ...],
        unknown: tuple[str, ...],
        together: Sequence[Sequence[str]] = (),
    ) -> None:
        places = {name: place for place, name in enumerate(fields)}
        self.fields = tuple(limits)
        self.unknown = unknown
        rows = [(row, name, limit, places.get(name)) for row, (name, limit) in enumerate(limits.items())]
        numbers = [(row, limit, at) for row, _, limit, at in rows if at is not None and limit.numeric]
        self._numbers = tuple((row, self.fields[row], limit, at) for row, limit, at in numbers)
        self._others = tuple(
            (row, name, limit, at) for row, name, limit, at in rows if at is not None and not limit.numeric
        )
        self._absent = tuple(row for row, _, limit, at in rows if at is None and limit.expected)
        self._groups = tuple(Group(group, self.fields, fields) for group in together)
        self._number_names = frozenset(name for _, name, _, _ in self._numbers)
        self._block = _Block([limit for _, limit, _ in numbers], [at for _, _, at in numbers], len(fields))

    def outside(self, table: Table, at: float | Floats | None = None) -> Codes | None:
        """Return the `Position` of every cell, uint8 of shape (fields, rows); None when every cell is inside.

        The table must have the fields that this check was bound to. `at` says when the rows happened, in Unix seconds, for
        all of them or by row (NaN where unknown); without it the lag of moments is not judged.
        """
        if (
            not self._absent
            and (not table.exact or self._number_names.isdisjoint(table.exact))
            and (
                self._block.row_inside(table.single()) if table.rows == 1 else self._block.inside(table.block)
            )
            and (not self._others or self._others_inside(table, at))
            and (not self._groups or all(group.torn(table) is None for group in self._groups))
        ):
            return None
        codes = np.zeros((len(self.fields), table.rows), dtype=np.uint8)
        for row in self._absent:
            codes[row] = Position.ABSENT
        if self._numbers:
            codes[[row for row, _, _, _ in self._numbers]] = self._block.codes(table.block)
        for row, name, limit, _ in self._numbers:
            cells = table.exact.get(name)
            if cells is not None:
                codes[row] = [number_position(limit, cell) for cell in cells]
        for row, name, limit, place in self._others:
            cells = table.exact.get(name)
            values = table.block[place].tolist() if cells is None else cells
            codes[row] = _positions(limit, values, at)
        for group in self._groups:
            group.mark(table, codes)
        return codes if codes.any() else None

    def _others_inside(self, table: Table, at: float | Floats | None) -> bool:
        return all(
            _others_inside(limit, table.exact.get(name), table.block[place], at)
            for _, name, limit, place in self._others
        )


class _Block:
    """The number fields of a check as one comparison."""

    __slots__ = (
        "_all_required",
        "_at",
        "_high",
        "_highs",
        "_low",
        "_lows",
        "_members",
        "_pick",
        "_required",
        "_required_list",
        "_same",
        "_sentinels",
        "_whole",
        "_whole_list",
    )  # fmt: skip

    def __init__(self, limits: Sequence[Limit], at: Sequence[int], width: int) -> None:
        self._lows = tuple(limit.low for limit in limits)
        self._highs = tuple(limit.high for limit in limits)
        self._low = np.array(self._lows).reshape(-1, 1)
        self._high = np.array(self._highs).reshape(-1, 1)
        self._same = list(at) == list(range(width))
        self._at = np.array(at, dtype=np.intp)
        self._pick = tuple(at)
        required = [place for place, limit in enumerate(limits) if limit.required]
        self._all_required = len(required) == len(limits)
        self._required = np.array(required, dtype=np.intp)
        whole = [place for place, limit in enumerate(limits) if limit.whole]
        self._whole = np.array(whole, dtype=np.intp)
        self._required_list, self._whole_list = required, whole
        self._members = tuple(
            (place, limit.closed) for place, limit in enumerate(limits) if limit.closed is not None
        )
        self._sentinels = tuple(
            (place, limit.sentinels, _stand_in(limit))
            for place, limit in enumerate(limits)
            if limit.sentinels
        )

    def inside(self, block: Floats) -> bool:
        """Tell whether every cell is inside; a false No only costs time."""
        if not self._lows:
            return True
        numbers = self._numbers(block)
        if not self._extremes_inside(numbers) and not self._each_inside(numbers):
            return False
        if len(self._whole):
            whole = numbers if len(self._whole) == len(numbers) else numbers[self._whole]
            broken = np.rint(whole) != whole
            if broken.any() and not np.isnan(whole[broken]).all():
                return False
        return all(closed.issuperset(_present(numbers[place].tolist())) for place, closed in self._members)

    def _numbers(self, block: Floats) -> Floats:
        """Return the fields that are compared, with a number that is inside in the place of each sign for a missing value."""
        numbers = block if self._same else block[self._at]
        if self._sentinels:
            numbers = numbers.copy()
            for place, sentinels, inside in self._sentinels:
                for sentinel in sentinels:
                    numbers[place][numbers[place] == sentinel] = inside
        return numbers

    def _extremes_inside(self, numbers: Floats) -> bool:
        """Ask the extremes of each field for all of it; a missing cell makes them NaN, which compares false."""
        if not numbers.shape[1]:
            return False
        lowest, highest = np.minimum.reduce(numbers, axis=1), np.maximum.reduce(numbers, axis=1)
        return bool((lowest >= self._low[:, 0]).all() and (highest <= self._high[:, 0]).all())

    def _each_inside(self, numbers: Floats) -> bool:
        """Ask every cell; only a required one must be there."""
        if self._all_required and numbers.shape[1]:
            return False
        wrong = numbers < self._low
        wrong |= numbers > self._high
        return not (wrong.any() or np.isnan(numbers[self._required]).any())

    def row_inside(self, row: list[float]) -> bool:
        """Tell the same of the numbers of one row."""
        values = row if self._same else [row[at] for at in self._pick]
        if self._sentinels:
            values = list(values)
            for place, sentinels, inside in self._sentinels:
                if values[place] in sentinels:
                    values[place] = inside
        if self._all_required:
            if not (all(map(operator.le, self._lows, values)) and all(map(operator.le, values, self._highs))):
                return False
        elif (
            any(map(operator.lt, values, self._lows))
            or any(map(operator.gt, values, self._highs))
            or any(values[place] != values[place] for place in self._required_list)
        ):
            return False
        # A missing whole number has the remainder NaN, which is not above zero.
        if self._whole_list and any(values[place] % 1.0 > 0.0 for place in self._whole_list):
            return False
        return not self._members or all(
            values[place] in closed or values[place] != values[place] for place, closed in self._members
        )

    def codes(self, block: Floats) -> Codes:
        """Return the positions of the number fields' cells, by their order here."""
        numbers = self._numbers(block)
        codes = np.zeros(numbers.shape, dtype=np.uint8)
        for place, closed in self._members:
            codes[place] = [
                Position.INSIDE if value in closed else Position.UNSEEN for value in numbers[place].tolist()
            ]
        if len(self._whole):
            part = numbers[self._whole]
            codes[self._whole] = np.where(part == np.rint(part), codes[self._whole], Position.NOT_WHOLE)
        codes[numbers < self._low] = Position.BELOW
        codes[numbers > self._high] = Position.ABOVE
        codes[np.isinf(numbers)] = Position.NOT_FINITE
        missing = np.isnan(numbers)
        codes[missing] = Position.INSIDE
        if len(self._required):
            codes[self._required] = np.where(missing[self._required], Position.MISSING, codes[self._required])
        return codes


def compile_check(
    fields: Mapping[str, FieldProfile],
    names: Iterable[str] | None = None,
    outside: tuple[float, float] | None = None,
    together: Sequence[Sequence[str]] = (),
) -> Check:
    """Compile what `fields` (a profile's features or outputs) allow.

    `names` limits the comparison to these fields. `outside`, two percentages, puts percentiles of the reference data
    in the place of the learned bounds: only number fields with knots are then compared, for type and band alone.
    `together` are groups of fields that a row has or lacks as one; a group is compared when all of its fields are.
    Raises KeyError for a name that is not in `fields`, ValueError for percentages that are not 0 <= low < high <= 100.
    """
    if outside is not None and not 0.0 <= outside[0] < outside[1] <= 100.0:
        raise ValueError(f"percentiles must be 0 <= low < high <= 100, got {outside[0]:g} and {outside[1]:g}")
    chosen = fields if names is None else {name: fields[name] for name in names}
    limits = {
        name: limit_of(profile, outside) for name, profile in chosen.items() if profile.role is not Role.KEY
    }
    kept = {name: limit for name, limit in limits.items() if limit is not None}
    groups = () if outside is not None else tuple(group for group in together if kept.keys() >= set(group))
    return Check(kept, frozenset(fields), outside, groups)


def _stand_in(limit: Limit) -> float:
    """Return a number that is inside a field's limits."""
    if limit.closed is not None:
        return next(float(value) for value in limit.closed if isinstance(value, int | float))
    return math.ceil(limit.low) if limit.whole else limit.low


def _present(values: list[float]) -> list[float]:
    return [value for value in values if value == value]


def _others_inside(
    limit: Limit, cells: tuple[Cell, ...] | None, values: Floats, at: float | Floats | None
) -> bool:
    """Tell whether every cell of a field that is no number is inside; a false No only costs time."""
    if cells is not None and limit.closed is not None:
        return limit.closed.issuperset(cells)
    return not any(_positions(limit, values.tolist() if cells is None else cells, at))


def _positions(limit: Limit, cells: Sequence[Cell], at: float | Floats | None) -> list[Position]:
    present = (None if cell != cell else cell for cell in cells)
    if at is None or not limit.timed:
        return [position_of(limit, cell) for cell in present]
    if isinstance(at, float):
        return [position_of(limit, cell, at) for cell in present]
    return [position_of(limit, cell, moment) for cell, moment in zip(present, at.tolist(), strict=True)]
