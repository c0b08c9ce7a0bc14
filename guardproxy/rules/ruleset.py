"""All rules of one model, compiled and fingerprinted.

Decides which rules every model has without asking for them. Reading files is left to `load`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from guardproxy.decision import Action, Mode, Phase, Severity, Verdict
from guardproxy.profile.model import Profile
from guardproxy.rules.bound import BoundRules, bind_rules
from guardproxy.rules.compiled import Compiled, compile_rules
from guardproxy.rules.kpis import CompiledKpis
from guardproxy.rules.language import Aggregate
from guardproxy.rules.model import (
    FINITE_RULE,
    INSIDE_RULE,
    Case,
    Check,
    Kpi,
    Limit,
    Rule,
    fingerprint,
    revisions,
)
from guardproxy.rules.names import ModelNames
from guardproxy.table import Cell

_NO_STATS: Final[Mapping[tuple[str, str], float]] = MappingProxyType({})
_NO_LISTS: Final[Mapping[str, frozenset[Cell]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Ruleset:
    """The rules of a model in file order, the built-in ones last, with the cases that test them.

    `fingerprint` is 12 hex digits of what the rules do. `history_keys` are the entity keys that rules name in `by`;
    rules without `by` use the route's own key. `profile` is what the rules were compiled for. `limits` are what the
    breaker allows the model as a whole; each rule has its own.
    """

    model: str
    rules: tuple[Rule, ...]
    cases: tuple[Case, ...]
    fingerprint: str
    history_keys: tuple[tuple[str, ...], ...]
    profile: Profile | None = None
    lists: Mapping[str, frozenset[Cell]] = field(default_factory=lambda: _NO_LISTS, repr=False)
    kpis: tuple[Kpi, ...] = ()
    limits: tuple[Limit, ...] = ()
    revs: Mapping[str, str] = field(default_factory=dict, repr=False)
    compiled: Compiled = field(kw_only=True, repr=False)

    def rev(self, rule_id: str) -> str:
        """Return a rule's revision, 12 hex digits; an empty text for a rule that is not here."""
        return self.revs.get(rule_id, "")

    @property
    def recents(self) -> Mapping[str, Aggregate]:
        """The rolling functions that rules, messages and KPIs read, by the spelling under which a `View` gives them."""
        return self.compiled.recents

    @property
    def measures(self) -> CompiledKpis:
        """The model's KPIs, ready to be bound to a message's fields."""
        return self.compiled.kpis

    def rule(self, rule_id: str) -> Rule | None:
        """Return the rule of this id, or None."""
        return next((rule for rule in self.rules if rule.id == rule_id), None)

    def bind(
        self,
        features: tuple[str, ...],
        outputs: tuple[str, ...],
        profile: Profile | None = None,
        *,
        key: tuple[str, ...] = (),
        stats: Mapping[tuple[str, str], float] = _NO_STATS,
    ) -> BoundRules:
        """Compile the rules for messages with exactly these field names; the caller keeps the result.

        `key` names the entity where a rule has no `by`. `stats` overrides statistics of the profile, by
        `(field, stat)` with an output written `output.NAME`.
        """
        names = ModelNames(None, None, profile, stats, bound_outputs=outputs)
        same = profile is self.profile and not stats
        compiled = self.compiled if same else compile_rules(self.rules, profile, stats, self.lists, self.kpis)
        return bind_rules(compiled, features, outputs, profile, names, key, self.revs)


def make_ruleset(
    model: str,
    rules: tuple[Rule, ...],
    cases: tuple[Case, ...] = (),
    profile: Profile | None = None,
    *,
    lists: Mapping[str, frozenset[Cell]] = _NO_LISTS,
    kpis: tuple[Kpi, ...] = (),
    limits: tuple[Limit, ...] = (),
) -> Ruleset:
    """Complete a model's rules with the built-in ones and compile them.

    `lists` are the model's named lists, `kpis` its KPIs in any order, `limits` those of the model as a whole.
    """
    complete = rules + _built_in(rules, profile)
    revs = revisions(complete)
    keys = dict.fromkeys(rule.check.by for rule in complete if rule.check.by and rule.mode is not Mode.OFF)
    return Ruleset(
        model,
        complete,
        cases,
        fingerprint(model, revs, kpis, limits, lists),
        tuple(keys),
        profile,
        lists,
        kpis,
        limits,
        revs,
        compiled=compile_rules(complete, profile, _NO_STATS, lists, kpis),
    )


def default_ruleset(model: str, profile: Profile | None = None) -> Ruleset:
    """Return the rules of a model that has no rule file."""
    return make_ruleset(model, (), (), profile)


def _built_in(rules: tuple[Rule, ...], profile: Profile | None) -> tuple[Rule, ...]:
    """Return the built-in rules that the model's own rules do not replace."""
    ids = {rule.id for rule in rules}
    found = []
    if FINITE_RULE not in ids:
        found.append(_FINITE)
    learned = any(rule.kind == "profile" and not rule.reads_output for rule in rules)
    if profile is not None and not learned and INSIDE_RULE not in ids:
        found.append(_INSIDE)
    return tuple(found)


_FINITE: Final = Rule(
    id=FINITE_RULE,
    check=Check(FINITE_RULE, bound="present and finite"),
    phase=Phase.RESPONSE,
    reads_output=True,
    title="Every prediction is there and finite",
    severity=Severity.MEDIUM,
    mode=Mode.ENFORCE,
    action=Action.WARN,
    counts=frozenset({Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.ERROR}),
)
_INSIDE: Final = Rule(
    id=INSIDE_RULE,
    check=Check("profile", every="features", bound="inside the learned bounds"),
    phase=Phase.REQUEST,
    reads_output=False,
    title="The row lies inside what was learned",
    severity=Severity.LOW,
    mode=Mode.SHADOW,
    action=Action.WARN,
)
