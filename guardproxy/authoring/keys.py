"""The keys of a rule file in words, for editors and starter files.

Decides the one sentence that describes each key. The readers decide which keys there are; tests hold the two together.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from guardproxy.rules.cases import EXPECT_KEYS, GIVEN_KEYS
from guardproxy.rules.definitions import KPI_KEYS
from guardproxy.rules.exceptions import UNLESS_KEYS
from guardproxy.rules.limits import LIMIT_KEYS
from guardproxy.rules.remedies import HOLD_KEYS
from guardproxy.rules.scores import SCORE_KEYS

HOLD_PARTS: Final = HOLD_KEYS
GIVEN_PARTS: Final = GIVEN_KEYS
EXPECT_PARTS: Final = EXPECT_KEYS
EXCEPTION_PARTS: Final = UNLESS_KEYS
KPI_PARTS: Final = KPI_KEYS
LIMIT_PARTS: Final = LIMIT_KEYS
SCORE_PARTS: Final = SCORE_KEYS

CHECK_PARTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "range": ("field", "min", "max"),
        "max_change": ("field", "against", "by", "up", "down", "floor"),
        "one_of": ("field", "values"),
        "probabilities": ("field", "fields", "sum", "tolerance"),
        "confidence": ("field", "fields", "min_top", "min_margin"),
        "profile": ("fields", "outside", "at_least"),
        "text": (
            *("field", "must_contain", "must_not_contain", "whole_words", "case_sensitive"),
            *("must_match", "must_not_match", "min_chars", "max_chars", "pii"),
        ),
        "json_schema": ("field", "schema"),
        "missing_share": ("fields", "max"),
    }
)

_FIELD: Final = 'The field, such as output.demand or features["odd name"].'

DESCRIPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "document.guardproxy": "The version of the format: 1.",
        "document.model": "The model that these rules are about, as the route names it.",
        "document.models": "Several models that share these rules.",
        "document.owner": "Who owns the rules that name no owner of their own.",
        "document.defaults": "What rules of this document take where they say nothing themselves.",
        "document.limits": "The breaker: how much of the traffic the model's rules may act on before they only warn.",
        "document.lists": "Named lists, for `in lists.NAME` and for text checks.",
        "document.kpis": "Numbers that an expert follows; each gets a rolling distribution and a default shadow rule.",
        "document.score": "At which sum of points a row is held or rejected.",
        "document.rules": "The rules. Each has an id, exactly one check, and what happens to a row that breaks it.",
        "document.tests": "Cases: what is given and what must come of it. `guardproxy rules test` runs them.",
        "rule.id": "Kebab-case, unique per model, never reused.",
        "rule.title": "What is wrong with a row that breaks the rule, in a few words.",
        "rule.why": "Why the rule exists. Needed for high and critical severity before it acts.",
        "rule.owner": "Who decides about the rule.",
        "rule.runbook": "Where it stands what to do when the rule fires.",
        "rule.message": "A sentence for people, with values: {output.demand:.0f}.",
        "rule.tags": "Words to find the rule by.",
        "rule.when": "For which rows the rule asks at all; the others are skipped.",
        "rule.scope": "What one verdict is about: a row (default), the batch of an exchange, or a stretch of time.",
        "rule.for": "How long a rule of scope window must be violated before it counts.",
        "rule.unless": "Named exceptions, each with an end, an owner and a reason.",
        "rule.severity": "How bad a violation is.",
        "rule.mode": "off, shadow (judged and counted, never acted on), canary 20% (acts in that share of exchanges), enforce.",
        "rule.action": "What happens to a violating row; the strongest action of a row wins.",
        "rule.on_unknown": "Whether a row whose values are missing counts as a violation.",
        "rule.on_error": "Whether a row of the wrong kind of value counts as a violation.",
        "rule.points": "What a rule of action score adds to its row.",
        "rule.fallback": "What stands in for the prediction: the first usable one of previous, profile.p50, {expr: ...}, {value: ...}.",
        "rule.hold": "How a held row is kept for review.",
        "rule.limits": "The breaker of this rule: how much of the traffic it may act on before it only warns.",
        "rule.range": "The field lies between min and max.",
        "rule.max_change": "The field has not changed by more than up or down.",
        "rule.one_of": "The field is one of the listed values.",
        "rule.order": "The fields ascend: each is at most the next.",
        "rule.probabilities": "Each member lies between 0 and 1, and together they make the sum.",
        "rule.confidence": "The most likely member is likely enough, or far enough ahead of the second.",
        "rule.text": "What a text must and must not hold.",
        "rule.json_schema": "The text is JSON that a schema accepts.",
        "rule.missing_share": "At most this share of the fields is missing.",
        "rule.profile": "The row lies inside what was learned from reference data.",
        "rule.require": "An expression that must be true.",
        "rule.forbid": "An expression that must not be true.",
        "exception.id": "Kebab-case, unique within the rule.",
        "exception.when": "Which rows are excepted.",
        "exception.until": "The last day of the exception, YYYY-MM-DD.",
        "exception.owner": "Who answers for the exception.",
        "exception.why": "Why it is right.",
        "hold.queue": "The queue that the row waits in.",
        "hold.sla": "How long a person has, such as 4h.",
        "hold.meanwhile": "What the client gets at once.",
        "hold.on_expiry": "What becomes final when nobody decides in time.",
        "hold.value": "What is at stake, as an expression; the queue is sorted by it.",
        "limits.hold": "Such as 10% per 5m: at most this share of rows held.",
        "limits.reject": "Such as 1% per 5m: at most this share of rows rejected.",
        "limits.fallback": "Such as 20% per 5m: at most this share of rows replaced.",
        "limits.clamp": "Such as 20% per 5m: at most this share of rows clamped.",
        "limits.then": "What the rule does beyond its limit: warn.",
        "kpi.title": "The KPI's name for people.",
        "kpi.expr": "How it is computed.",
        "kpi.unit": "Its unit.",
        "kpi.owner": "Who follows it.",
        "kpi.expect": "Between which bounds it should stay; gives a default shadow rule.",
        "kpi.expect.min": "The smallest value that is expected.",
        "kpi.expect.max": "The largest value that is expected.",
        "score.hold_at": "A row with this many points is held.",
        "score.reject_at": "A row with this many points is rejected.",
        "score.hold": "How such a row is kept for review.",
        "score.fallback": "What stands in for its prediction meanwhile.",
        "test.name": "What the case shows, as a sentence.",
        "test.given": "The row or rows, and what is known beside them.",
        "test.expect": "What must come of it; a list where several rows are given.",
        "given.features": "The row's features by name.",
        "given.output": "The predictions by name, or the only one.",
        "given.previous": "The entity's last good predictions.",
        "given.profile": "Statistics of the profile, such as output.demand.p99: 900.",
        "given.request": "Facts of the request: hour, weekday, date, caller, model_version.",
        "given.recent": "What rolling functions give, by the call as written.",
        "given.rows": "Several rows of one exchange.",
        "expect.verdicts": "Verdicts by rule: ok, violated, unknown, error, skipped.",
        "expect.outcome": "What happens to the row.",
        "expect.value": "What the client would read.",
        "range.field": _FIELD,
        "range.min": "The smallest allowed value: a number, a share or an expression.",
        "range.max": "The largest allowed value: a number, a share or an expression.",
        "max_change.field": _FIELD,
        "max_change.against": "previous (the entity's last good answer), or another field.",
        "max_change.by": "Which features name the entity; the route's key by default.",
        "max_change.up": "How far up it may go, such as 60%.",
        "max_change.down": "How far down it may go, such as 60%.",
        "max_change.floor": "The smallest base that changes are measured against.",
        "one_of.field": _FIELD,
        "one_of.values": "The allowed values.",
        "probabilities.field": "A field that holds a vector.",
        "probabilities.fields": "Several fields, one for each class.",
        "probabilities.sum": "What they must add up to, 1 by default.",
        "probabilities.tolerance": "How far the sum may be off, 0.1% by default.",
        "confidence.field": "A field that holds a vector.",
        "confidence.fields": "Several fields, one for each class.",
        "confidence.min_top": "How likely the most likely class must be.",
        "confidence.min_margin": "How far ahead of the second it must be.",
        "profile.fields": "features.*, output.*, or a list of fields.",
        "profile.outside": "Percentiles instead of the learned bounds, such as p0.1..p99.9.",
        "profile.at_least": "How many fields must lie outside before the row counts.",
        "text.field": _FIELD,
        "text.must_contain": "A text, a list of texts or the name of a list, one of which must occur.",
        "text.must_not_contain": "A text, a list of texts or the name of a list, none of which may occur.",
        "text.whole_words": "Whether the texts count only as whole words.",
        "text.case_sensitive": "Whether capital letters matter.",
        "text.must_match": "An RE2 pattern that must occur.",
        "text.must_not_match": "An RE2 pattern that must not occur.",
        "text.min_chars": "The smallest number of characters.",
        "text.max_chars": "The largest number of characters.",
        "text.pii": "Personal data that must not occur: card, email, iban, phone.",
        "json_schema.field": _FIELD,
        "json_schema.schema": "The schema itself.",
        "missing_share.fields": "features.*, output.*, or a list of fields.",
        "missing_share.max": "The largest share that may be missing, such as 5%.",
    }
)
