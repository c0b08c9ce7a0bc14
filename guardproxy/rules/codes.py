"""Every code of a problem in operator text: of YAML (E200 to E208), of expressions (E1xx), of rule files.

Decides the codes of mistakes in rule files and the sentences that explain them. Where they stand is left to the readers.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from guardproxy.rules.language import CODES as EXPRESSION_CODES
from guardproxy.source import CODES as SOURCE_CODES

RULE_CODES: Final[Mapping[str, str]] = {
    "E142": "`json_schema` needs the optional jsonschema library.",
    "E209": "A key, mode, action or fallback of the rule language that this version does not support yet.",
    "E210": "A rule without a check: it must have exactly one of the check keys.",
    "E211": "A rule with more than one check. Split it: each rule is judged, reported and switched by itself. Or a "
    "document with both `model` and `models`.",
    "E212": "A rule's id must be kebab-case, such as demand-plausible, since it appears in headers and metrics.",
    "E213": "Two rules of one model share an id. Ids are unique per model, across all files. Or a document names a "
    "model twice.",
    "E214": "Clamping needs a range or max_change on a prediction: other checks have no nearest allowed value, "
    "and the request goes upstream as the client sent it.",
    "E215": "Something asks for a fallback, but the rule has no fallback chain.",
    "E216": "An enforced rule of high or critical severity must say who owns it and why it exists.",
    "E217": "The document is not a rule file of a version that this guardproxy reads.",
    "E218": "The name of a list or a KPI that is no identifier, means something else already, or is taken. Names are "
    "unique per model, across all files, since all documents of a model share their lists and KPIs.",
    "E219": "KPIs that need each other in a circle: none of them could be worked out first.",
    "E220": "Scores that cannot work: a rule without points, a model without a score block or with two of them, "
    "reject_at that is not above hold_at, or a critical rule, which must act alone.",
    "E221": "An exception whose id is not kebab-case or taken in its rule, or whose `until` is no day as YYYY-MM-DD.",
    "E222": "A limit of the breaker is a share and a stretch of time from 1s to 1h, such as `hold: 10% per 5m`; each "
    "action has one per model, and one per rule.",
    "E223": "The scope of a rule does not go with its check or action: batch takes require, forbid and missing_share; "
    "window takes require and forbid, only warns, and alone takes `for`.",
    "E224": "What a check of text, JSON, confidence or missing values holds makes no sense: an empty list, a list of "
    "numbers searched for in text, a schema that is none.",
    "E301": "The bounds are empty: nothing can lie between them.",
    "E302": "A comparison with the past that cannot be made as written.",
    "E303": "A fallback's value or expression does not fit the model's outputs: one output takes a scalar, "
    "several take a mapping from output to value.",
    "E304": "The message reads predictions, but the rule is judged on the request, before there are any.",
    "E305": "A literal fallback violates the very rule it serves, so it could never be used.",
    "E306": "A test expects a verdict of a rule that does not exist.",
    "E307": "A test's rows and expectations do not match, or it expects nothing.",
    "E308": "More rules, tests, lists, values, KPIs or rolling functions than one model may have.",
    "E309": "A literal fallback that the model's output can never hold: by its signature the output is of another type.",
    "E330": "A test in the rule files fails, or the tests take too long: a running proxy does not take up such rules.",
    "N401": "Field names cannot be checked, because neither a profile nor the route says what they are.",
    "W402": "A part of the rule that its action never uses.",
    "W403": "The first answer of every entity has no past, and the rule counts that as a violation.",
    "W404": "A profile was given that is about a model without a rule file.",
    "W405": "A rule reads a field that no row of the recorded traffic has.",
    "W406": "A rule said the same of every row of the recorded traffic: its `when` was never true, nothing could be judged, "
    "every row was violated, or (a note) none was.",
    "W407": "An exception ends within seven days. Renew it, or let it end.",
    "W408": "An exception has ended: the rule judges its rows again. Remove it, or give it a new date.",
    "N409": "A list that no rule and no KPI reads.",
    "W410": "A sum of the score block that all score rules together do not reach, so that it never holds or rejects.",
    "W411": "`on_unknown: violate` on a rule that reads a rolling function. Such a function is unknown while it warms "
    "up, which never counts as a violation.",
    "W413": "What is written is allowed and hardly meant: a change of 60 instead of 60%, a pattern between slashes, a star in "
    "a text that is sought, a misspelt keyword of JSON Schema, a message that shows a name instead of its value.",
    "N414": "A profile was learned from recorded traffic, and nobody has approved it as it stands: the rules that rest on it "
    "count what they find and act on nothing.",
    "W412": "A test gives a value that no rule reads: of a rolling function, most likely with another argument or window, or "
    "of a field whose name is almost that of one that is read.",
}

CODES: Final[Mapping[str, str]] = MappingProxyType({**EXPRESSION_CODES, **SOURCE_CODES, **RULE_CODES})
"""What every code means, in a sentence or two; `guardproxy explain CODE` prints it."""
