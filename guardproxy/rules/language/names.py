"""What an expression may name, as types.

Decides the spelling of names and the words that are fixed (facts of a request, statistics of a profile). Which fields
a model has, and what a profile learned, is left to whoever implements `Names`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias

from guardproxy.table import Cell

if TYPE_CHECKING:
    from guardproxy.rules.language.nodes import Program


class Kind(StrEnum):
    """What sort of value a node has; `ANY` is known only at run time."""

    NUMBER = "number"
    TEXT = "text"
    FLAG = "yes/no"
    VECTOR = "vector"
    ANY = "any"


class Ref(NamedTuple):
    """One name in an expression.

    `Ref("features", "x")`, `Ref("output", "demand")`, `Ref("kpi", "margin")`, `Ref("request", "hour")`,
    `Ref("previous", "demand")`; a statistic of a profile names its field in full and the statistic beside it:
    `Ref("profile", "output.demand", "p99")`. What a function over a batch or over time gives is a name as well, by the
    canonical text of the call: `Ref("batch", "batch_share(output.demand == 0)")`,
    `Ref("recent", "recent_mean(output.demand, 1h)")`.
    """

    space: str
    name: str
    stat: str = ""

    def __str__(self) -> str:
        """Spell the name as an expression does (a name that is no identifier stands as it is)."""
        if self.space in AGGREGATE_SPACES:
            return self.name
        return f"{self.space}.{self.name}.{self.stat}" if self.stat else f"{self.space}.{self.name}"


AGGREGATE_SPACES: Final[tuple[str, str]] = ("batch", "recent")
"""Spaces of names that stand for calls. No text spells them as `batch.NAME`."""

ROW_SPACES: Final[tuple[str, ...]] = ("features", "output", "previous")
"""Spaces of names whose values differ from row to row."""


class NoConstant(Enum):
    """The type of `NO_CONSTANT`."""

    NO_CONSTANT = "no constant"


NO_CONSTANT: Final = NoConstant.NO_CONSTANT
"""Says that the value of a name is known only with a row."""

Constant: TypeAlias = Cell | Literal[NoConstant.NO_CONSTANT]

REQUEST_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "hour": Kind.NUMBER,
        "weekday": Kind.NUMBER,
        "date": Kind.TEXT,
        "caller": Kind.TEXT,
        "model_version": Kind.TEXT,
    }
)

PROFILE_STATS: Final[tuple[str, ...]] = (
    *("min", "max", "mean", "std"),
    *("p0_1", "p1", "p50", "p99", "p99_9", "values"),
)

SPACES: Final[tuple[str, ...]] = ("features", "output", "kpi", "request", "profile", "previous", "lists")


class Names(Protocol):
    """What is known at load of the names an expression may use.

    `lists` holds named lists; the known values of a field stand there too, under the full name of the statistic
    (`profile.features.category.values`). A `values` statistic that is known by kind but absent from `lists` makes
    `in` unknown.
    """

    @property
    def lists(self) -> Mapping[str, frozenset[Cell]]:
        """The named lists."""
        ...

    @property
    def kpis(self) -> "Mapping[str, Program]":
        """The KPIs, each compiled with these names. One that has mistakes of its own is left out."""
        ...

    def kind(self, ref: Ref) -> Kind | None:
        """Return the kind of a name's values, or None when there is no such name. Never asked about KPIs."""
        ...

    def candidates(self, space: str) -> Sequence[str]:
        """Return the names that exist in a space, for "did you mean"; never asked about KPIs and lists. For `profile`: its fields."""
        ...

    def constant(self, ref: Ref) -> Constant:
        """Return the value of a name that is the same for every row (None: missing), or `NO_CONSTANT`."""
        ...


@dataclass(frozen=True, slots=True)
class OpenNames:
    """Names when no profile is known: every feature, output and previous output may exist, of any kind."""

    lists: Mapping[str, frozenset[Cell]] = field(default_factory=dict)
    kpis: "Mapping[str, Program]" = field(default_factory=dict)

    def kind(self, ref: Ref) -> Kind | None:
        """Return `ANY` for fields, the fixed kind for facts of the request and statistics of a profile."""
        if ref.space in ("features", "output", "previous"):
            return Kind.ANY
        if ref.space == "request":
            return REQUEST_KINDS.get(ref.name)
        if ref.space == "profile" and ref.stat in PROFILE_STATS:
            return Kind.ANY if ref.stat == "values" else Kind.NUMBER
        return None

    def candidates(self, space: str) -> Sequence[str]:
        """Return what is known: the facts of the request."""
        return tuple(REQUEST_KINDS) if space == "request" else ()

    def constant(self, ref: Ref) -> Constant:  # noqa: ARG002 - the protocol's signature
        """Return `NO_CONSTANT`: nothing is known before a row arrives."""
        return NO_CONSTANT
