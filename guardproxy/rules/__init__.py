"""Rule files to `Ruleset`, and what a ruleset says about the rows of an exchange.

`load` reads files, `ruleset` compiles them, `bound` judges rows, explains verdicts and proposes what may stand in.
What happens to a row is left to `guard`.
"""

from guardproxy.rules.bound import BoundRules
from guardproxy.rules.codes import CODES
from guardproxy.rules.load import load_rulesets
from guardproxy.rules.model import (
    Case,
    CaseRow,
    Check,
    Expected,
    FallbackSpec,
    Field,
    Given,
    HoldSpec,
    Locus,
    Rule,
    View,
)
from guardproxy.rules.ruleset import Ruleset, default_ruleset, make_ruleset

__all__ = [
    "CODES",
    "BoundRules",
    "Case",
    "CaseRow",
    "Check",
    "Expected",
    "FallbackSpec",
    "Field",
    "Given",
    "HoldSpec",
    "Locus",
    "Rule",
    "Ruleset",
    "View",
    "default_ruleset",
    "load_rulesets",
    "make_ruleset",
]
