"""Words that people bring to rule files from other tools, and what they are here.

Decides hints only: keys and words are known or not by their readers. A value of `KEYS` with a space in it is a sentence
for the operator, any other is the key that is meant.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_BESIDE_RULES: Final = "belongs to the document, beside rules:"
_IN_HOLD: Final = "belongs into hold: {queue: ..., sla: ...}"
_RULE_MODE: Final = "write mode: enforce, shadow or off"
_KPI_RULE: Final = "a KPI only counts (its rule is in shadow); for more, write a rule that reads kpi.NAME"

_RULE: Final[Mapping[str, str]] = {
    # Prometheus.
    "alert": "write id: and a name such as demand-too-high",
    "record": "write id: and a name such as demand-too-high",
    "labels": "write severity: and tags: in the rule itself",
    "annotations": "write title:, message: and runbook: in the rule itself",
    "keep_firing_for": "there is no such thing; a window rule has for:",
    # The check.
    **dict.fromkeys(("expr", "expression", "assert", "condition", "validate", "check", "ensure"), "require"),
    **dict.fromkeys(("expect", "must", "allow", "rule", "constraint", "requirement"), "require"),
    **dict.fromkeys(("deny", "block_if", "forbidden", "reject_if", "must_not", "fail_if", "violation"), "forbid"),
    **dict.fromkeys(("between", "bounds", "limits_between", "interval"), "range"),
    **dict.fromkeys(("enum", "in_set", "allowed_values", "accepted_values", "isin"), "one_of"),
    "not_in": "write forbid: output.x in [...]",
    **dict.fromkeys(("not_null", "not_missing", "required", "exists"), "write require: output.x is not missing"),
    **dict.fromkeys(("regex", "pattern", "match", "matches"), "write text: {field: output.x, must_match: '...'}"),
    **dict.fromkeys(("contains", "must_contain", "must_not_contain"), "write text: {field: output.x, must_contain: ...}"),
    **dict.fromkeys(("pii", "max_chars", "min_chars"), "it belongs into text: {field: output.x, ...}"),
    **dict.fromkeys(("max", "min", "threshold"), "write range: {field: output.x, min: 0, max: 9}"),
    **dict.fromkeys(("field", "fields"), "it belongs into the check, such as range: {field: output.x, min: 0}"),
    "type": "the key of the check says its type: range:, one_of:, require: and so on",
    "params": "the key of the check holds what it needs, such as range: {field: output.x, min: 0}",
    "unique": "rows are judged one by one; there is no such check",
    "change": "max_change",
    "delta": "max_change",
    **dict.fromkeys(("anomaly", "outlier", "outliers", "strange", "unlike_itself"), "unusual"),
    "schema": "write json_schema: {field: output.x, schema: {...}}",
    # What is done, and when.
    **dict.fromkeys(("on_violation", "on_fail", "on_failure", "then", "effect", "do", "response"), "action"),
    **dict.fromkeys(("if", "where", "only_if", "filter", "applies_to", "match_if"), "when"),
    **dict.fromkeys(("except", "exception", "exceptions", "exclude", "ignore", "skip_if", "unless_if"), "unless"),
    **dict.fromkeys(("enabled", "disabled", "active", "status", "state", "enforcement"), _RULE_MODE),
    "enforce": "write mode: enforce",
    "shadow": "write mode: shadow",
    "dry_run": "write mode: shadow",
    "canary": "write mode: canary 20%",
    "rollout": "write mode: canary 20%",
    "on_missing": "on_unknown",
    "on_null": "on_unknown",
    "window": "write scope: window, and the stretch of time inside recent_mean(..., 1h)",
    "until": "an exception ends, a rule does not: it stands in unless:",
    "reviewers": f"it {_IN_HOLD}",
    **dict.fromkeys(("queue", "sla", "meanwhile", "on_expiry", "timeout"), f"it {_IN_HOLD}"),
    **dict.fromkeys(("weight", "score_points"), "points"),
    "score": "write action: score and points: 3 here, and a score: block beside rules:",
    "default": "write action: fallback and fallback: [{value: 0}]",
    # For people.
    **dict.fromkeys(("name", "rule_id", "key"), "write id: for the name in kebab-case, title: for people"),
    **dict.fromkeys(("description", "desc", "summary", "comment", "doc"), "write title: for what it says, why: for the reason"),
    **dict.fromkeys(("reason", "rationale", "because"), "why"),
    **dict.fromkeys(("msg", "text_message"), "message"),
    **dict.fromkeys(("level", "priority"), "severity"),
    **dict.fromkeys(("team", "contact"), "owner"),
    **dict.fromkeys(("url", "link", "docs"), "runbook"),
    "kpis": f"KPIs: it {_BESIDE_RULES}",
    "lists": f"it {_BESIDE_RULES}",
    "tests": f"it {_BESIDE_RULES}",
    "defaults": f"it {_BESIDE_RULES}",
}  # fmt: skip

_RULE_KEYS: Final = (
    *("id", "title", "why", "message", "when", "unless", "scope", "for", "points", "fallback", "hold"),
    *("range", "max_change", "one_of", "order", "probabilities", "confidence", "text", "json_schema"),
    *("missing_share", "unusual", "require", "forbid"),
)
KEYS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "a rule": _RULE,
        "rule": _RULE,
        "a rule file": {
            "version": "the version of the format stands in guardproxy: 1",
            "name": "write model: for whose rules these are",
            "description": "write a comment: # ...",
            "metadata": "write model: and owner: at the top",
            "groups": "write rules: and the rules themselves under it",
            **dict.fromkeys(("policies", "checks", "alerts", "validations"), "rules"),
            **dict.fromkeys(("team", "contact"), "owner"),
            **dict.fromkeys(("metrics", "indicators"), "kpis"),
            **dict.fromkeys(("mode", "severity", "action"), "it belongs into defaults: {mode: shadow}"),
            **dict.fromkeys(("include", "includes", "import", "imports", "extends"), "files of one model come together by its name: nothing is included"),
            **dict.fromkeys(
                (*_RULE_KEYS,), "it belongs to a rule: indent it like id:"
            ),
            "profile": "pass the profile with --profile FILE, or in the configuration's route",
        },
        "defaults": {"owner": "write owner: beside defaults", "fallback": "write it in each rule"},
        "range": {
            **dict.fromkeys(("minimum", "from", "gte", "ge", "low", "lower", "above", "at_least", "greater_than"), "min"),
            **dict.fromkeys(("maximum", "to", "lte", "le", "high", "upper", "below", "at_most", "less_than"), "max"),
            **dict.fromkeys(("lt", "gt"), "bounds are included: write min: and max:, or require: output.x < 1"),
            **dict.fromkeys(("between", "bounds", "values"), "write min: 0, max: 9"),
            **dict.fromkeys(("column", "name", "feature", "output"), "field"),
            "fields": "a range is of one field: write one rule for each of them",
            "message": "it belongs to the rule, beside range:",
            "severity": "it belongs to the rule, beside range:",
            "action": "it belongs to the rule, beside range:",
        },
        "max_change": {
            **dict.fromkeys(("max", "percent", "pct", "change", "limit", "by_percent", "relative"), "write up: 20%, down: 20%"),
            **dict.fromkeys(("increase", "rise"), "up"),
            **dict.fromkeys(("decrease", "drop"), "down"),
            **dict.fromkeys(("from", "base", "baseline", "compare", "reference", "to", "versus"), "against"),
            **dict.fromkeys(("key", "keys", "entity", "group_by"), "by"),
            **dict.fromkeys(("column", "name"), "field"),
            "min_base": "floor",
        },
        "one_of": {
            **dict.fromkeys(("in", "enum", "allowed", "options", "list", "set", "choices"), "values"),
            **dict.fromkeys(("column", "name"), "field"),
            "not_in": "write forbid: output.x in [...]",
        },
        "probabilities": {"total": "sum", "eps": "tolerance", "epsilon": "tolerance"},
        "confidence": {
            **dict.fromkeys(("min", "top", "threshold", "at_least", "least"), "min_top"),
            **dict.fromkeys(("margin", "gap"), "min_margin"),
        },
        "text": {
            **dict.fromkeys(("contains", "includes", "any_of"), "must_contain"),
            **dict.fromkeys(("not_contains", "forbidden", "forbid", "deny", "blocklist", "exclude"), "must_not_contain"),
            **dict.fromkeys(("regex", "pattern", "matches", "match"), "must_match"),
            **dict.fromkeys(("not_matches", "not_match"), "must_not_match"),
            **dict.fromkeys(("max_length", "maxlength", "max_len", "max"), "max_chars"),
            **dict.fromkeys(("min_length", "minlength", "min_len", "min"), "min_chars"),
            "ignore_case": "write case_sensitive: false; it is so where nothing is said",
            "case_insensitive": "write case_sensitive: false; it is so where nothing is said",
            "personal_data": "pii",
        },
        "json_schema": {
            **dict.fromkeys(("type", "properties", "required", "$schema", "items"), "write schema: {type: object} and the rest of it"),
            "file": "write the schema itself under schema:",
        },
        "missing_share": {"field": "fields", "share": "max", "limit": "max", "max_share": "max"},
        "profile": {"field": "fields", "columns": "fields", "percentiles": "outside", "min_fields": "at_least"},
        "hold": {
            **dict.fromkeys(("timeout", "deadline", "ttl", "expires", "for", "within", "duration"), "sla"),
            **dict.fromkeys(("team", "name"), "queue"),
            **dict.fromkeys(("on_timeout", "then", "after", "on_sla"), "on_expiry"),
            **dict.fromkeys(("serve", "response", "until_then"), "meanwhile"),
            "fallback": "it belongs to the rule, beside hold:",
        },
        "limits": {
            "per": "write it in one, such as hold: 10% per 5m",
            "share": "write it in one, such as hold: 10% per 5m",
            "window": "write it in one, such as hold: 10% per 5m",
            **dict.fromkeys(("holds", "held"), "hold"),
            **dict.fromkeys(("rejects", "rejected"), "reject"),
            **dict.fromkeys(("max_holds", "max_rejects", "max"), "a limit is a share, such as hold: 10% per 5m"),
            "warn": "warnings have no limit: hold, reject, fallback and clamp have one",
            "score": "points have no limit; what they sum up to has one, such as hold: 10% per 5m",
        },
        "an exception": {
            **dict.fromkeys(("if", "where", "condition", "expr"), "when"),
            **dict.fromkeys(("expires", "expiry", "end", "ends", "to", "valid_until", "till", "date"), "until"),
            **dict.fromkeys(("reason", "because", "comment", "description"), "why"),
            **dict.fromkeys(("name",), "id"),
            **dict.fromkeys(("by", "team", "contact", "approved_by"), "owner"),
        },
        "KPI": {
            **dict.fromkeys(("expression", "formula", "value", "calc", "query", "metric"), "expr"),
            **dict.fromkeys(("name", "label"), "title"),
            "description": "title",
            **dict.fromkeys(("min", "max", "target", "threshold", "range"), "write expect: {min: 2, max: 90}"),
            **dict.fromkeys(("mode", "action", "severity", "hold", "fallback"), _KPI_RULE),
        },
        "expect of KPI": {"low": "min", "high": "max", "from": "min", "to": "max"},
        "score": {"action": "hold_at: holds the row, reject_at: rejects it", "points": "write points in the rules", "hold": "hold_at", "threshold": "hold_at", "reject": "reject_at", "hold_above": "hold_at"},
        "unusual": {
            **dict.fromkeys(("key", "keys", "entity", "group_by"), "by"),
            **dict.fromkeys(("column", "name", "output"), "field"),
            **dict.fromkeys(("alpha", "false_alarm_rate", "false_positive_rate", "fpr", "rate", "share"), "false_alarms"),
            **dict.fromkeys(("sigma", "sigmas", "threshold", "limit", "z", "mad"), "the limit is learned: write false_alarms: 0.1%"),
        },
        "a remembered fallback": dict.fromkeys(("age", "ttl", "within", "max", "newer_than", "not_older_than"), "max_age"),
        "a fallback": {
            **dict.fromkeys(("last", "prev", "last_value"), "last_good"),
            **dict.fromkeys(("median", "rolling"), "rolling_median"),
            **dict.fromkeys(("season", "profile_of_entity"), "seasonal"),
            "profile": "write profile.p50, without braces",
            **dict.fromkeys(("constant", "default", "const", "literal"), "value"),
            **dict.fromkeys(("expression", "formula", "field"), "expr"),
        },
        "a test": {
            **dict.fromkeys(("input", "inputs", "when", "with", "request"), "given"),
            **dict.fromkeys(("expected", "then", "assert"), "expect"),
            **dict.fromkeys(("id", "title", "description"), "name"),
            "output": "it belongs into given: {output: ...}; what must come of it is expect:",
            "features": "it belongs into given: {features: ...}",
            "rule": "say it in expect: {verdicts: {RULE: violated}}",
        },
        "given": {
            **dict.fromkeys(("input", "inputs", "feature"), "features"),
            **dict.fromkeys(("outputs", "prediction", "predictions", "response"), "output"),
            **dict.fromkeys(("last", "prev", "past"), "previous"),
            **dict.fromkeys(("answers", "series", "past_answers"), "history"),
            "stats": "profile",
        },
        "expect": {
            "verdict": "verdicts",
            **dict.fromkeys(("held", "rejected", "allowed", "warned", "clamped", "replaced"), "write outcome: and this word"),
            **dict.fromkeys(("result", "status", "action"), "outcome"),
            **dict.fromkeys(("output", "values", "prediction"), "value"),
        },
    }
)  # fmt: skip
"""Keys by what they stand in, as the sentences of the reader name it."""

SHAPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "range": "range: {field: output.x, min: 0, max: 9}",
        "max_change": "max_change: {field: output.x, against: previous, up: 20%, down: 20%}",
        "one_of": "one_of: {field: output.x, values: [a, b]}",
        "probabilities": "probabilities: {field: output.x}, or {fields: [output.a, output.b]}",
        "confidence": "confidence: {field: output.x, min_top: 60%}",
        "text": "text: {field: output.x, must_not_contain: [a, b]}",
        "json_schema": "json_schema: {field: output.x, schema: {type: object}}",
        "missing_share": "missing_share: {fields: features.*, max: 5%}",
        "profile": "profile: {fields: features.*}",
        "unusual": "unusual: {field: output.x, by: [features.id], false_alarms: 0.1%}",
        "a remembered fallback": "{last_good: {max_age: 14d}}",
        "hold": "hold: {queue: NAME, sla: 4h}",
        "limits": "limits: {hold: 10% per 5m, then: warn}",
        "defaults": "defaults: {mode: shadow}",
        "score": "score: {hold_at: 5, reject_at: 9}",
        "KPI": "NAME: {expr: output.x}",
        "expect of KPI": "expect: {min: 2, max: 90}",
        "an exception": "- {id: ..., when: ..., until: 2027-06-30, owner: ..., why: ...}",
        "given": "given: {features: {...}, output: {...}}",
        "expect": "expect: {outcome: allowed, verdicts: {RULE: ok}}",
    }
)
"""How each mapping is written, for those that were written as something else."""

NESTS: Final = frozenset((*SHAPES, "lists", "kpis", "expect", "features", "output", "previous", "verdicts"))
"""Keys that hold mappings: what follows one of them with nothing under it was to stand under it."""

_HARD: Final = "enforce"
MODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("dry-run", "dryrun", "dry run", "monitor", "audit", "log", "log-only", "report"), "shadow"),
        **dict.fromkeys(("report-only", "observe", "passive", "test", "testing", "staging", "silent"), "shadow"),
        **dict.fromkeys(("on", "yes", "true", "enabled", "active", "live", "production", "prod", "blocking"), _HARD),
        **dict.fromkeys(("no", "false", "disabled", "inactive", "none", "paused"), "off"),
    }
)  # fmt: skip
"""Modes of other tools, each with the mode that it is here."""

ACTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("block", "deny", "fail", "error", "refuse", "drop", "abort"), "write reject"),
        **dict.fromkeys(("alert", "log", "notify", "report", "flag", "page", "email", "warning"), "write warn"),
        **dict.fromkeys(("quarantine", "review", "pause", "queue", "escalate"), "write hold"),
        **dict.fromkeys(("replace", "default", "substitute", "override", "impute"), "write fallback"),
        **dict.fromkeys(("cap", "clip", "limit", "truncate", "winsorize"), "write clamp"),
        **dict.fromkeys(("none", "allow", "pass", "ignore"), "write warn, with mode: shadow if nothing is to happen"),
        **dict.fromkeys(("shadow", "enforce", "off"), "that is a mode: write it behind mode:"),
    }
)  # fmt: skip
SEVERITIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("error", "major", "p2", "sev2", "2"), "write high"),
        **dict.fromkeys(("urgent", "blocker", "fatal", "page", "p1", "p0", "sev1", "sev0", "1", "emergency"), "write critical"),
        **dict.fromkeys(("warning", "warn", "moderate", "normal", "p3", "sev3", "3"), "write medium"),
        **dict.fromkeys(("info", "notice", "minor", "debug", "p4", "p5", "sev4", "4", "5"), "write low"),
    }
)  # fmt: skip
COUNTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("pass", "allow", "ok", "skip", "skipped", "none", "true"), "write ignore"),
        **dict.fromkeys(("fail", "block", "deny", "reject", "violated", "error", "false"), "write violate"),
        **dict.fromkeys(("warn", "hold", "fallback"), "write violate: the rule's action then follows"),
    }
)
SCOPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("global", "table", "request", "all", "dataset", "rows"), "write batch: one verdict for the rows of a request"),
        **dict.fromkeys(("record", "item", "instance", "each", "prediction"), "write row"),
        **dict.fromkeys(("time", "rolling", "stream", "recent", "period"), "write window: one verdict over time"),
    }
)  # fmt: skip
MEANWHILES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("block", "nothing", "none", "reject", "wait"), "write withhold"),
        **dict.fromkeys(("pass", "model", "allow", "release", "prediction"), "write original"),
        **dict.fromkeys(("previous", "default"), "write fallback, and the rule's fallback: [previous]"),
    }
)
EXPIRIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("release", "pass", "allow", "model", "approve", "accept"), "write original"),
        **dict.fromkeys(("block", "deny", "drop", "withhold", "cancel"), "write reject"),
        **dict.fromkeys(("previous", "default"), "write fallback, and the rule's fallback: [previous]"),
    }
)
OUTCOMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("passed", "pass", "ok", "allow"), "write allowed"),
        **dict.fromkeys(("fallback", "replace", "default"), "write replaced"),
        **dict.fromkeys(("hold", "queued", "quarantined"), "write held"),
        **dict.fromkeys(("blocked", "denied", "reject", "422", "failed"), "write rejected"),
        **dict.fromkeys(("violated", "unknown", "skipped", "error"), "that is a verdict: write verdicts: {RULE: violated}"),
    }
)  # fmt: skip
VERDICTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("fail", "failed", "false", "violate", "violation", "bad", "fires", "fired"), "write violated"),
        **dict.fromkeys(("pass", "passed", "true", "good", "satisfied"), "write ok"),
        **dict.fromkeys(("missing", "null", "none"), "write unknown"),
        **dict.fromkeys(("skip", "excepted", "not applied"), "write skipped"),
        **dict.fromkeys(("held", "warned", "clamped", "replaced", "rejected", "allowed"), "that is an outcome: write outcome: beside verdicts:"),
    }
)  # fmt: skip
PII: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("true", "all", "any", "yes", "*"), "write [card, email, iban, phone]"),
        **dict.fromkeys(("credit_card", "creditcard", "credit-card", "card_number", "pan"), "write card"),
        **dict.fromkeys(("mail", "e-mail", "emails"), "write email"),
        **dict.fromkeys(("tel", "telephone", "mobile", "phone_number"), "write phone"),
        **dict.fromkeys(("bank_account", "account"), "write iban"),
    }
)
FALLBACKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("last", "prev", "previous_value", "last_value"), "write last_good"),
        **dict.fromkeys(("season", "seasonal_naive", "seasonal naive", "holt_winters"), "write seasonal"),
        **dict.fromkeys(("rolling", "moving_median", "median_of_8"), "write rolling_median"),
        **dict.fromkeys(("best", "automatic"), "write auto"),
        **dict.fromkeys(("median", "p50"), "write profile.p50"),
        **dict.fromkeys(("mean", "average", "avg"), "write profile.mean"),
        **dict.fromkeys(("null", "none", "missing"), "a fallback is a value: write {value: 0}"),
    }
)

_NUMBER: Final = re.compile(r"[0-9]{1,3}(?:[.,][0-9]{1,9})?")


def mapping_of(what: str) -> str:
    """Return the name under which a mapping stands in `KEYS`: what its sentences call it, without its own name."""
    return what.split(" '", 1)[0]


def share_in(text: str) -> str:
    """Return the share that a text most likely means, as `20%`; a number up to 1 is a share, any other per cent."""
    match = _NUMBER.search(text)
    if match is None:
        return ""
    if part := re.search(r"([0-9]{1,3})/([1-9][0-9]{0,2})", text):
        return f"{100 * int(part.group(1)) / int(part.group(2)):.9g}%"
    number = float(match.group().replace(",", "."))
    percent = number if "%" in text or "percent" in text.lower() or number > 1.0 else number * 100
    return f"{percent:.9g}%" if 0.0 < percent <= 100.0 else ""
