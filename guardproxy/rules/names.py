"""Which names an expression may use: the model's own, as far as a profile or the route says what they are.

Decides what exists and of which kind it is, and folds the profile's statistics in as constants. What a message really
carries is only known when the rules are bound to it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from guardproxy.profile.model import FieldKind, FieldProfile, Profile, parse_percentile
from guardproxy.rules.language import NO_CONSTANT, REQUEST_KINDS, Constant, Kind, Program, Ref
from guardproxy.source import likely
from guardproxy.table import Cell

MOMENTS: Final = ("min", "max", "mean", "std")
_UNNAMED: Final = re.compile(r"prediction(?:_\d{1,4})?")
_NUMERIC: Final = frozenset({FieldKind.NUMBER, FieldKind.INTEGER})
_WORDED: Final = frozenset({FieldKind.CATEGORY, FieldKind.TEXT})
_NO_STATS: Final[Mapping[tuple[str, str], float]] = MappingProxyType({})
_NO_LISTS: Final[Mapping[str, frozenset[Cell]]] = MappingProxyType({})
_NO_KPIS: Final[Mapping[str, Program]] = MappingProxyType({})


def is_stat(word: str) -> bool:
    """Tell whether this is the spelling of a profile statistic, such as `mean` or `p99_9`."""
    return word in MOMENTS or parse_percentile(word) is not None


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names of one model. `features` and `outputs` are None where any name may turn up.

    `stats` overrides the profile's statistics, by `(field, stat)` with an output written `output.NAME`.
    `bound_outputs` are the message's own output names: a single unnamed one stands for the profile's single one.
    `used` gathers the statistics that expressions took from here. `lists` holds the operator's own lists by name, and
    the values that the profile knows of a field; `kpis` the model's KPIs, compiled.
    """

    features: Mapping[str, Kind] | None
    outputs: Mapping[str, Kind] | None
    profile: Profile | None = None
    stats: Mapping[tuple[str, str], float] = field(default_factory=lambda: _NO_STATS)
    unnamed_outputs: bool = False
    bound_outputs: tuple[str, ...] = ()
    used: set[Ref] = field(default_factory=set)
    lists: Mapping[str, frozenset[Cell]] = field(default_factory=lambda: _NO_LISTS)
    kpis: Mapping[str, Program] = field(default_factory=lambda: _NO_KPIS)

    def kind(self, ref: Ref) -> Kind | None:
        """Return what a name holds, None when there is no such name."""
        if ref.space == "features":
            return Kind.ANY if self.features is None else self.features.get(ref.name)
        if ref.space in {"output", "previous"}:
            return self._output_kind(ref.name)
        if ref.space == "request":
            return REQUEST_KINDS.get(ref.name)
        if ref.space == "profile":
            return self._stat_kind(ref)
        if ref.space == "kpi":
            return Kind.NUMBER if ref.name in self.kpis else None
        return None

    def candidates(self, space: str) -> Sequence[str]:
        """Return the names of a space, for suggestions."""
        if space == "features":
            return list(self.features or ())
        if space in {"output", "previous"}:
            return list(self.outputs or ())
        if space == "request":
            return list(REQUEST_KINDS)
        if space == "profile":
            return [*(self.features or ()), *(f"output.{name}" for name in self.outputs or ())]
        if space == "kpi":
            return list(self.kpis)
        if space == "lists":
            return [name for name in self.lists if "." not in name]
        return []

    def constant(self, ref: Ref) -> Constant:
        """Return a profile statistic's value, so that it folds into the expression; missing where there is none."""
        if ref.space != "profile" or ref.stat == "values":
            return NO_CONSTANT
        self.used.add(ref)
        return self.statistic(ref)

    def statistic(self, ref: Ref) -> float | None:
        """Return the value of a profile statistic; None where there is none."""
        given = self.stats.get((ref.name.removeprefix("features."), ref.stat))
        if given is not None:
            return given
        if self.profile is None:
            return None
        return self.profile.stat(self._profiled(ref.name), ref.stat)

    def _output_kind(self, name: str) -> Kind | None:
        if self.outputs is None:
            return Kind.ANY
        # A profile knows the targets that it learned; a server may answer more (quantiles), or under its own name.
        # So only a name that looks like a misspelt target is taken for one.
        if self.unnamed_outputs and (_UNNAMED.fullmatch(name) or likely(name, self.outputs) is None):
            return Kind.ANY
        return self.outputs.get(name)

    def _stat_kind(self, ref: Ref) -> Kind | None:
        if not is_stat(ref.stat) and ref.stat != "values":
            return None
        space, name = "features", ref.name.removeprefix("features.")
        if ref.name.startswith("output."):
            space, name = "output", ref.name[7:]
        if self.kind(Ref(space, name)) is None or (space == "output" and not self._has_statistics(name)):
            return None
        return Kind.ANY if ref.stat == "values" else Kind.NUMBER

    def _has_statistics(self, name: str) -> bool:
        """Tell whether a profile could know an output, so that a statistic of it is no mistake."""
        return self.outputs is None or name in self.outputs or _UNNAMED.fullmatch(name) is not None

    def _profiled(self, name: str) -> str:
        if self.profile is None or not name.startswith("output."):
            return name
        own = profiled_output(self.profile, name[7:], self.bound_outputs)
        return name if own is None else f"output.{own}"


def known_names(
    profile: Profile | None,
    features: tuple[str, ...] | None,
    outputs: tuple[str, ...] | None,
    *,
    lists: Mapping[str, frozenset[Cell]] = _NO_LISTS,
    kpis: Mapping[str, Program] = _NO_KPIS,
) -> ModelNames:
    """Return the names that rules are checked against: what the route names, else what the profile knows."""
    kinds = {} if profile is None else {name: _kind(one) for name, one in profile.features.items()}
    out_kinds = {} if profile is None else {name: _kind(one) for name, one in profile.outputs.items()}
    named_features = _named(features, kinds, missing=profile is None)
    named_outputs = _named(outputs, out_kinds, missing=not out_kinds)
    # A profile knows the target's column name; what the server calls its answer is only certain when a route says so.
    unnamed = outputs is None
    return ModelNames(
        named_features,
        named_outputs,
        profile,
        unnamed_outputs=unnamed,
        lists={**_domains(profile), **lists},
        kpis=kpis,
    )


def open_names(
    profile: Profile | None,
    stats: Mapping[tuple[str, str], float],
) -> ModelNames:
    """Return names for expressions that were checked before: any field may turn up, statistics are folded in."""
    return ModelNames(None, None, profile, stats, lists=_domains(profile))


def profiled_output(profile: Profile, name: str, outputs: tuple[str, ...]) -> str | None:
    """Return the profile's name of an output: its own, else the only one where both sides have just one."""
    if name in profile.outputs:
        return name
    if len(profile.outputs) == 1 and outputs in ((name,), ()):
        return next(iter(profile.outputs))
    return None


def _named(
    names: tuple[str, ...] | None, kinds: Mapping[str, Kind], *, missing: bool
) -> Mapping[str, Kind] | None:
    if names is not None:
        return {name: kinds.get(name, Kind.ANY) for name in names}
    return None if missing else kinds


def _kind(one: FieldProfile) -> Kind:
    if one.kind in _NUMERIC:
        return Kind.NUMBER
    worded = one.kind in _WORDED and all(isinstance(value, str) for value, _ in one.top)
    return Kind.TEXT if worded else Kind.ANY


def _domains(profile: Profile | None) -> Mapping[str, frozenset[Cell]]:
    """Return the known values of each field, under every spelling of its `values` statistic."""
    if profile is None:
        return {}
    found: dict[str, frozenset[Cell]] = {}
    for prefixes, fields in ((("", "features."), profile.features), (("output.",), profile.outputs)):
        for name, one in fields.items():
            if one.domain is not None:
                known = frozenset(one.domain)
                found |= {f"profile.{prefix}{name}.values": known for prefix in prefixes}
    return found
