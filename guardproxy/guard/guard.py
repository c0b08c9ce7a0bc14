"""A guard: codec, ruleset, profile and entity key of one model, compiled together.

Decides which compiled rules serve a message's field names. What the rules find is left to `rules`, what follows from it
to `screen` and `resolve`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import numpy as np

from guardproxy.codecs import Codec
from guardproxy.decision import Decision
from guardproxy.profile.measures import may_have_happened, moment_of
from guardproxy.profile.model import Profile
from guardproxy.rules import BoundRules, Ruleset
from guardproxy.rules.past import Usual
from guardproxy.table import Cell, Floats, Table

Entity: TypeAlias = tuple[Cell, ...]

MAX_BOUND: Final = 64
"""Clients of one model send few shapes of message; beyond this many the oldest compiled form is made anew."""


class Past(Protocol):
    """What is remembered of earlier answers, frozen as far as one exchange can see."""

    def previous(self, by: tuple[str, ...], entity: Entity, at: float) -> Mapping[str, Cell] | None:
        """Return the last good predictions for the entity whose fields `by` have the values `entity`, or None.

        What is too old at the moment `at` (Unix seconds) is no past.
        """

    def usual(
        self, by: tuple[str, ...], entities: Sequence[Entity], output: str, at: float
    ) -> Sequence[Usual | None]:
        """Return what is usual of an output of each entity at a moment (Unix seconds); None where too little is known."""

    def limit(self, by: tuple[str, ...], output: str, false_alarms: float) -> float | None:
        """Return the distance from what is usual that a share of `false_alarms` of the answers exceeds, or None."""

    def estimate(
        self,
        kind: str,
        by: tuple[str, ...],
        entity: Entity,
        output: str,
        at: float,
        max_age_s: float | None,
    ) -> Cell:
        """Return what stands in for an entity's answer at a moment, or None; see `rules.past.EntityPast`."""


class NoPast:
    """A past without any memory."""

    def previous(self, by: tuple[str, ...], entity: Entity, at: float) -> Mapping[str, Cell] | None:  # noqa: ARG002
        """Return None."""
        return None

    def usual(
        self,
        by: tuple[str, ...],  # noqa: ARG002
        entities: Sequence[Entity],
        output: str,  # noqa: ARG002
        at: float,  # noqa: ARG002
    ) -> Sequence[Usual | None]:
        """Return None for each."""
        return (None,) * len(entities)

    def limit(self, by: tuple[str, ...], output: str, false_alarms: float) -> float | None:  # noqa: ARG002
        """Return None."""
        return None

    def estimate(
        self,
        kind: str,  # noqa: ARG002
        by: tuple[str, ...],  # noqa: ARG002
        entity: Entity,  # noqa: ARG002
        output: str,  # noqa: ARG002
        at: float,  # noqa: ARG002
        max_age_s: float | None,  # noqa: ARG002
    ) -> Cell:
        """Return None."""
        return None


class RowsPast:
    """The past of a table's rows at a moment: what `Past` says of their entities. An entity with a missing part is nobody."""

    __slots__ = ("_at", "_entities", "_past", "_table", "_times", "_usual")

    def __init__(self, table: Table, past: Past, at: float, times: Floats | None = None) -> None:
        """Look entities up by the rows of `table`, as of `at` (Unix seconds), or of `times` by row."""
        self._times = times
        self._table = table
        self._past = past
        self._at = at
        self._entities: dict[tuple[str, ...], Sequence[Entity]] = {}
        self._usual: dict[tuple[tuple[str, ...], str], Sequence[Usual | None]] = {}

    def usual(self, by: tuple[str, ...], output: str) -> Sequence[Usual | None]:
        """Return what is usual of each row's entity; worked out once."""
        found = self._usual.get((by, output))
        if found is None:
            found = self._usual[by, output] = self._asked(by, output)
        return found

    def limit(self, by: tuple[str, ...], output: str, false_alarms: float) -> float | None:
        """Return the model's limit."""
        return self._past.limit(by, output, false_alarms)

    def estimate(
        self, kind: str, by: tuple[str, ...], row: int, output: str, max_age_s: float | None
    ) -> Cell:
        """Return what stands in for a row's answer."""
        entity = self._of(by)[row]
        if not by or None in entity:
            return None
        return self._past.estimate(kind, by, entity, output, self._moment(row), max_age_s)

    def _asked(self, by: tuple[str, ...], output: str) -> Sequence[Usual | None]:
        """Ask about all rows of one moment at a time."""
        found: list[Usual | None] = [None] * self._table.rows
        moments: dict[float, list[int]] = {}
        for row, entity in enumerate(self._of(by)):
            if by and None not in entity:
                moments.setdefault(self._moment(row), []).append(row)
        for at, rows in moments.items():
            entities = [self._of(by)[row] for row in rows]
            for row, usual in zip(rows, self._past.usual(by, entities, output, at), strict=True):
                found[row] = usual
        return found

    def _moment(self, row: int) -> float:
        return self._at if self._times is None else float(self._times[row])

    def _of(self, by: tuple[str, ...]) -> Sequence[Entity]:
        found = self._entities.get(by)
        if found is None:
            columns = [self._table.column(name) for name in by]
            found = self._entities[by] = list(zip(*columns, strict=True)) if by else [()] * self._table.rows
        return found


@dataclass(slots=True, eq=False)
class Guard:
    """Everything that screens one model's exchanges; immutable but for bounded caches: compiled rules by field names, the
    decisions about single rows with nothing but quiet verdicts, and `blind`, the guard without the rules that read features.

    `key` names the features that make an entity, `time` the one that says when a row happened, if any does. `stats` overrides statistics of the profile (in rules' tests), by
    `(field, stat)`.
    """

    model: str
    codec: Codec
    ruleset: Ruleset
    profile: Profile | None = None
    key: tuple[str, ...] = ()
    stats: Mapping[tuple[str, str], float] = field(default_factory=dict)
    quiet: dict[bytes, Decision] = field(default_factory=dict)
    blind: "Guard | None" = None
    time: str | None = None
    _looks_back: bool | None = None
    _bound: dict[tuple[tuple[str, ...], tuple[str, ...]], BoundRules] = field(default_factory=dict)
    _last: list[tuple[tuple[str, ...], tuple[str, ...], BoundRules] | None] = field(
        default_factory=lambda: [None, None]
    )

    @property
    def shapes(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """The field names, features and outputs, for which rules were compiled."""
        return tuple(self._bound)

    def times_of(self, table: Table, at: float) -> Floats | None:
        """Return when each row of a table happened (Unix seconds), `at` where it does not say or cannot be; None where no feature says."""
        if self.time is None:
            return None
        said = map(moment_of, table.column(self.time))
        return np.array([moment if may_have_happened(moment, at) else at for moment in said])

    def past_of(self, table: Table, past: Past, at: float, times: Floats | None) -> RowsPast | None:
        """Return the past of a table's rows at a moment, or at their own; None where no rule asks about it."""
        if self._looks_back is None:
            self._looks_back = bool(self.bind((), ()).history_keys)
        return RowsPast(table, past, at, times) if self._looks_back else None

    def bind(self, features: tuple[str, ...], outputs: tuple[str, ...]) -> BoundRules:
        """Return the rules compiled for these field names."""
        last = self._last[bool(outputs)]
        if last is not None and features is last[0] and outputs is last[1]:
            return last[2]
        bound = self._look_up(features, outputs)
        self._last[bool(outputs)] = (features, outputs, bound)
        return bound

    def _look_up(self, features: tuple[str, ...], outputs: tuple[str, ...]) -> BoundRules:
        names = (features, outputs)
        bound = self._bound.get(names)
        if bound is None:
            if len(self._bound) >= MAX_BOUND:
                del self._bound[next(iter(self._bound))]
            bound = self.ruleset.bind(features, outputs, self.profile, key=self.key, stats=self.stats)
            self._bound[names] = bound
        return bound
