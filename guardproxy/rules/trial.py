"""Rules that rest on a profile which no person has approved: they are judged and counted, and act on nothing.

Decides which rules these are. What makes a profile approved is left to `profile.model`.
"""

import re
from dataclasses import replace
from typing import Final

from guardproxy.decision import Mode
from guardproxy.rules.compiled import CompiledRule
from guardproxy.rules.ruleset import Ruleset, make_ruleset

_VALUES: Final = re.compile(r"\bprofile\b.*\.values\b")


def on_trial(ruleset: Ruleset) -> Ruleset:
    """Return the ruleset with every rule in shadow whose verdict rests on its profile; itself where the profile may act."""
    profile = ruleset.profile
    if profile is None or profile.acts:
        return ruleset
    resting = {
        one.rule.id
        for phase in ruleset.compiled.phases.values()
        for one in phase.rules
        if one.rule.enforced and _rests_on_profile(one)
    }
    if not resting:
        return ruleset
    return make_ruleset(
        ruleset.model,
        tuple(replace(rule, mode=Mode.SHADOW) if rule.id in resting else rule for rule in ruleset.rules),
        ruleset.cases,
        profile,
        lists=ruleset.lists,
        kpis=ruleset.kpis,
        limits=ruleset.limits,
    )


def _rests_on_profile(compiled: CompiledRule) -> bool:
    rule = compiled.rule
    said = (rule.when, rule.check.wants)
    return (
        rule.kind == "profile" or bool(compiled.programs.stats) or any(_VALUES.search(text) for text in said)
    )
