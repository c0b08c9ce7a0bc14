"""The JSON Schema of rule files, for editors.

Decides what an editor may know of a file: keys, words, plain shapes. Which keys there are comes from the readers' own
tables, so that the two cannot drift apart; what needs more than shapes is left to `rules check`. Every key is optional in
a flat list and nothing is a choice between branches, since editors blame an arbitrary branch of those.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from guardproxy.authoring.keys import DESCRIPTIONS
from guardproxy.decision import Action, Meanwhile, Mode, OnExpiry, Outcome, Scope, Severity, Verdict
from guardproxy.rules.cases import EXPECT_KEYS, GIVEN_KEYS
from guardproxy.rules.checks import CHECK_KEYS, CHECK_PARTS
from guardproxy.rules.definitions import KPI_KEYS
from guardproxy.rules.exceptions import UNLESS_KEYS
from guardproxy.rules.limits import LIMIT_KEYS
from guardproxy.rules.past import REMEMBERED
from guardproxy.rules.personal import PERSONAL
from guardproxy.rules.reader import DEFAULT_KEYS, RULE_KEYS
from guardproxy.rules.remedies import AGE_KEYS, HOLD_KEYS
from guardproxy.rules.scores import SCORE_KEYS
from guardproxy.rules.sheets import DOCUMENT_KEYS, FORMAT

SCHEMA_FILE: Final = ".guardproxy/rules.v1.schema.json"

Shape = dict[str, Any]

_DURATION: Final[Shape] = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*$"}
_SHARE: Final[Shape] = {
    "type": ["number", "string"],
    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$",
    "minimum": 0,
}
_EXPRESSION: Final[Shape] = {"type": ["string", "number", "boolean"], "minLength": 1, "maxLength": 2000}
_TEXT: Final[Shape] = {"type": "string", "minLength": 1}
_TEXTS: Final[Shape] = {"type": ["string", "array"], "minLength": 1, "items": _TEXT}
_FLAG: Final[Shape] = {"type": "boolean"}
_COUNT: Final[Shape] = {"type": "integer", "minimum": 0}
_POINTS: Final[Shape] = {"type": "number", "exclusiveMinimum": 0}
_CELL: Final[Shape] = {
    "type": ["string", "number", "boolean", "null", "array"],
    "items": {"type": ["number", "null"]},
}
_ANSWER: Final[Shape] = {
    "type": ["string", "number", "boolean", "null", "array", "object"],
    "items": {"type": ["number", "null"]},
    "additionalProperties": _CELL,
}
_FIELD: Final[Shape] = {"type": "string", "minLength": 1}
_FIELDS: Final[Shape] = {"type": ["string", "array"], "minLength": 1, "minItems": 1, "items": _FIELD}
_LIMIT: Final[Shape] = {
    "type": "string",
    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%\s+per\s+[0-9]+(\.[0-9]+)?\s*(s|m|h)\s*$",
}


def rules_schema() -> Shape:
    """Return the schema of one document of a rule file (JSON Schema 2020-12, in words that draft 7 knows too)."""
    document = _object(DOCUMENT_KEYS, _DOCUMENT, "document", required=("guardproxy",))
    rule = _object(RULE_KEYS, _RULE, "rule", required=("id",))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "guardproxy rule file",
        "description": "Rules for one model, with their tests. `guardproxy rules check` knows more than this schema.",
        **document,
        "$defs": {
            "rule": rule,
            "test": _object(("name", "given", "expect"), _TEST, "test", required=("name", "given", "expect")),
            "hold": _object(HOLD_KEYS, _HOLD, "hold"),
            "limits": _object(
                LIMIT_KEYS, dict.fromkeys(LIMIT_KEYS, _LIMIT) | {"then": _words(["warn"])}, "limits"
            ),
            "fallback": _FALLBACK,
            **{key: _CHECKS[key] for key in CHECK_KEYS},
        },
    }


def _words(words: Iterable[str]) -> Shape:
    return {"type": "string", "enum": list(words)}


def _ref(name: str) -> Shape:
    return {"$ref": f"#/$defs/{name}"}


def _object(
    keys: Sequence[str], shapes: Mapping[str, Shape], where: str, required: Sequence[str] = ()
) -> Shape:
    """Return a mapping with exactly these keys; a key without a shape or a description is a mistake of ours."""
    properties: Shape = {}
    for key in keys:
        shape = shapes[key]
        # Draft 7 does not read what stands beside a $ref; editors show it all the same, and nothing depends on it.
        properties[key] = {**shape, "description": DESCRIPTIONS[f"{where}.{key}"]}
    found: Shape = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**found, "required": list(required)} if required else found


def _lower(kind: Iterable[Any]) -> list[str]:
    return [member.value if isinstance(member.value, str) else member.name.lower() for member in kind]


def _mapping_of(shape: Shape) -> Shape:
    return {"type": "object", "additionalProperties": shape}


_MODE: Final[Shape] = {
    "type": "string",
    "pattern": r"^(off|shadow|enforce|canary\s+[0-9]+(\.[0-9]+)?\s*%)$",
    "examples": [mode.value if mode is not Mode.CANARY else "canary 20%" for mode in Mode],
}
_SWITCHES: Final[Mapping[str, Shape]] = {
    "severity": _words(_lower(Severity)),
    "mode": _MODE,
    "action": _words(_lower(Action)),
    "on_unknown": _words(["violate", "ignore"]),
    "on_error": _words(["violate", "ignore"]),
}
_AGED: Final[Shape] = {
    "description": "What is remembered of the entity, if it is not older than max_age, such as 14d.",
    "type": "object",
    "additionalProperties": False,
    "required": list(AGE_KEYS),
    "properties": {"max_age": {**_DURATION, "description": DESCRIPTIONS["fallback.max_age"]}},
}
_FALLBACK: Final[Shape] = {
    "description": "One link of a fallback chain.",
    "type": ["string", "object"],
    "pattern": rf"^(previous|{'|'.join(REMEMBERED)}|profile\..+)$",
    "additionalProperties": False,
    "properties": {
        "expr": {
            "description": "An expression, or one for each output.",
            "type": ["string", "number", "boolean", "object"],
            "additionalProperties": _EXPRESSION,
        },
        "value": {
            "description": "A fixed value, or one for each output.",
            "type": ["string", "number", "boolean", "array", "object"],
            "items": {"type": ["number", "null"]},
            "additionalProperties": _CELL,
        },
        **dict.fromkeys(("previous", *REMEMBERED), _AGED),
    },
}
_CHAIN: Final[Shape] = {
    **_FALLBACK,
    "type": ["string", "object", "array"],
    "items": _ref("fallback"),
    "maxItems": 16,
}
_HOLD: Final[Mapping[str, Shape]] = {
    "queue": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
    "sla": _DURATION,
    "meanwhile": _words(_lower(Meanwhile)),
    "on_expiry": _words(_lower(OnExpiry)),
    "value": _EXPRESSION,
}
_EXCEPTION: Final[Mapping[str, Shape]] = {
    "id": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
    "when": _EXPRESSION,
    "until": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    "owner": _TEXT,
    "why": _TEXT,
}
_PART_SHAPES: Final[Mapping[str, Mapping[str, Shape]]] = {
    "range": {"field": _FIELD, "min": _EXPRESSION, "max": _EXPRESSION},
    "max_change": {
        "field": _FIELD,
        "against": _FIELD,
        "by": _FIELDS,
        **dict.fromkeys(("up", "down", "floor"), _EXPRESSION),
    },
    "one_of": {
        "field": _FIELD,
        "values": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1000,
            "items": {"type": ["string", "number", "boolean"]},
        },
    },
    "probabilities": {"field": _FIELD, "fields": _FIELDS, "sum": _SHARE, "tolerance": _SHARE},
    "confidence": {"field": _FIELD, "fields": _FIELDS, "min_top": _SHARE, "min_margin": _SHARE},
    "profile": {
        "fields": _FIELDS,
        "outside": {"type": "string", "pattern": r"^p[0-9.]+\s*\.\.\s*p[0-9.]+$"},
        "at_least": {"type": "integer", "minimum": 1},
    },
    "text": {
        "field": _FIELD,
        **dict.fromkeys(("must_contain", "must_not_contain"), _TEXTS),
        **dict.fromkeys(("must_match", "must_not_match"), _TEXT),
        **dict.fromkeys(("whole_words", "case_sensitive"), _FLAG),
        **dict.fromkeys(("min_chars", "max_chars"), _COUNT),
        "pii": {
            **_TEXTS,
            "items": _words(PERSONAL),
        },
    },
    "json_schema": {"field": _FIELD, "schema": {"type": "object"}},
    "missing_share": {"fields": _FIELDS, "max": _SHARE},
    "unusual": {"field": _FIELD, "by": _FIELDS, "false_alarms": _SHARE},
}
_REQUIRED_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "range": ("field",),
    "max_change": ("field", "against"),
    "one_of": ("field", "values"),
    "confidence": (),
    "profile": ("fields",),
    "text": ("field",),
    "json_schema": ("field", "schema"),
    "missing_share": ("fields", "max"),
    "unusual": ("field",),
}
_CHECKS: Final[Mapping[str, Shape]] = {
    "order": {"type": "array", "minItems": 2, "maxItems": 64, "items": _FIELD},
    "require": _EXPRESSION,
    "forbid": _EXPRESSION,
    **{
        key: _object(CHECK_PARTS[key], shapes, key, _REQUIRED_PARTS.get(key, ()))
        for key, shapes in _PART_SHAPES.items()
    },
}
_RULE: Final[Mapping[str, Shape]] = {
    "id": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 80},
    **dict.fromkeys(("title", "why", "owner", "runbook", "message"), _TEXT),
    "tags": _TEXTS,
    "when": _EXPRESSION,
    "scope": _words(_lower(Scope)),
    "for": _DURATION,
    "unless": {
        "type": "array",
        "items": _object(UNLESS_KEYS, _EXCEPTION, "exception", UNLESS_KEYS),
        "maxItems": 100,
    },
    **_SWITCHES,
    "points": _POINTS,
    "fallback": _CHAIN,
    "hold": _ref("hold"),
    "limits": _ref("limits"),
    **{key: _ref(key) for key in CHECK_KEYS},
}
_ROW: Final[Mapping[str, Shape]] = {
    "features": _mapping_of(_CELL),
    "output": _ANSWER,
    "previous": _ANSWER,
    "history": {
        "type": ["array", "object"],
        "items": {"type": "number"},
        "additionalProperties": {"type": "array", "items": {"type": "number"}},
    },
}
_GIVEN: Final[Mapping[str, Shape]] = {
    **_ROW,
    "profile": _mapping_of({"type": "number"}),
    "request": _mapping_of(_CELL),
    "recent": _mapping_of(_CELL),
    "rows": {
        "type": "array",
        "minItems": 1,
        "maxItems": 1000,
        "items": _object(tuple(_ROW), _ROW, "given"),
    },
}
_EXPECT: Final[Mapping[str, Shape]] = {
    "verdicts": _mapping_of(_words(_lower(Verdict))),
    "outcome": _words(word for word in _lower(Outcome) if word != "unguarded"),
    "value": _ANSWER,
}
_EXPECT_ONE: Final = _object(EXPECT_KEYS, _EXPECT, "expect")
_TEST: Final[Mapping[str, Shape]] = {
    "name": _TEXT,
    "given": _object(GIVEN_KEYS, _GIVEN, "given"),
    "expect": {**_EXPECT_ONE, "type": ["object", "array"], "items": _EXPECT_ONE},
}
_KPI: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(("title", "unit", "owner"), _TEXT),
    "expr": _EXPRESSION,
    "expect": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            key: {"description": DESCRIPTIONS[f"kpi.expect.{key}"], "type": ["number", "string"]}
            for key in ("min", "max")
        },
    },
}
_DOCUMENT: Final[Mapping[str, Shape]] = {
    "guardproxy": {"type": "integer", "enum": [FORMAT]},
    "model": _TEXT,
    "models": {"type": "array", "minItems": 1, "items": _TEXT},
    "owner": _TEXT,
    "defaults": _object(DEFAULT_KEYS, _SWITCHES, "rule"),
    "limits": _ref("limits"),
    "lists": _mapping_of({"type": "array", "items": {"type": ["string", "number", "boolean"]}}),
    "kpis": _mapping_of(_object(KPI_KEYS, _KPI, "kpi", ("expr",))),
    "score": _object(
        SCORE_KEYS,
        {
            **dict.fromkeys(("hold_at", "reject_at"), _POINTS),
            "hold": _ref("hold"),
            "fallback": _CHAIN,
        },
        "score",
    ),
    "rules": {"type": "array", "items": _ref("rule")},
    "tests": {"type": "array", "items": _ref("test")},
}
