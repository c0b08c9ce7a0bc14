"""A guard: codec, ruleset, profile and entity key of one model, compiled together.

Decides which compiled rules serve a message's field names. What the rules find is left to `rules`, what follows from it
to `screen` and `resolve`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from guardproxy.codecs import Codec
from guardproxy.decision import Decision
from guardproxy.profile.model import Profile
from guardproxy.rules import BoundRules, Ruleset
from guardproxy.table import Cell

MAX_BOUND: Final = 64
"""Clients of one model send few shapes of message; beyond this many the oldest compiled form is made anew."""


class Past(Protocol):
    """What is remembered of earlier answers, frozen as far as one exchange can see."""

    def previous(self, by: tuple[str, ...], entity: tuple[Cell, ...]) -> Mapping[str, Cell] | None:
        """Return the last good predictions for the entity whose fields `by` have the values `entity`, or None."""


class NoPast:
    """A past without any memory."""

    def previous(self, by: tuple[str, ...], entity: tuple[Cell, ...]) -> Mapping[str, Cell] | None:  # noqa: ARG002
        """Return None."""
        return None


@dataclass(slots=True, eq=False)
class Guard:
    """Everything that screens one model's exchanges; immutable but for bounded caches: compiled rules by field names, the
    decisions about single rows with nothing but quiet verdicts, and `blind`, the guard without the rules that read features.

    `key` names the features that make an entity. `stats` overrides statistics of the profile (in rules' tests), by
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
    _bound: dict[tuple[tuple[str, ...], tuple[str, ...]], BoundRules] = field(default_factory=dict)
    _last: list[tuple[tuple[str, ...], tuple[str, ...], BoundRules] | None] = field(
        default_factory=lambda: [None, None]
    )

    @property
    def shapes(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """The field names, features and outputs, for which rules were compiled."""
        return tuple(self._bound)

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
