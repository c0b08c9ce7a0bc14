"""Every code of a problem in operator text: of YAML (E200 to E208), of expressions (E1xx), of rule files.

Decides the codes of mistakes in rule files and the sentences that explain them. Where they stand is left to the readers.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from guardproxy.rules.language import CODES as EXPRESSION_CODES
from guardproxy.source import CODES as SOURCE_CODES

RULE_CODES: Final[Mapping[str, str]] = {
    "E209": "A key, mode, action or fallback of the rule language that this version does not support yet.",
    "E210": "A rule without a check: it must have exactly one of the check keys.",
    "E211": "A rule with more than one check. Split it: each rule is judged, reported and switched by itself.",
    "E212": "A rule's id must be kebab-case, such as demand-plausible, since it appears in headers and metrics.",
    "E213": "Two rules of one model share an id. Ids are unique per model, across all files.",
    "E214": "Clamping needs a range or max_change on a prediction: other checks have no nearest allowed value, "
    "and the request goes upstream as the client sent it.",
    "E215": "Something asks for a fallback, but the rule has no fallback chain.",
    "E216": "An enforced rule of high or critical severity must say who owns it and why it exists.",
    "E217": "The document is not a rule file of a version that this guardproxy reads.",
    "E301": "The bounds are empty: nothing can lie between them.",
    "E302": "A comparison with the past that cannot be made as written.",
    "E303": "A fallback's value or expression does not fit the model's outputs: one output takes a scalar, "
    "several take a mapping from output to value.",
    "E304": "The message reads predictions, but the rule is judged on the request, before there are any.",
    "E305": "A literal fallback violates the very rule it serves, so it could never be used.",
    "E306": "A test expects a verdict of a rule that does not exist.",
    "E307": "A test's rows and expectations do not match.",
    "E308": "More rules or tests than one model may have.",
    "N401": "Field names cannot be checked, because neither a profile nor the route says what they are.",
    "W402": "A part of the rule that its action never uses.",
    "W404": "A profile was given that is about a model without a rule file.",
    "W403": "The first answer of every entity has no past, and the rule counts that as a violation.",
}

CODES: Final[Mapping[str, str]] = MappingProxyType({**EXPRESSION_CODES, **SOURCE_CODES, **RULE_CODES})
"""What every code means, in a sentence or two; `guardproxy explain CODE` prints it."""
