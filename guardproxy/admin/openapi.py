"""The API's own description (OpenAPI 3.1), built from the table of endpoints.

Decides what programs can rely on. An endpoint of the JSON API that has no entry here makes `document` raise, so the
description cannot fall behind unnoticed.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from guardproxy import __version__
from guardproxy.admin.access import ENDPOINTS, Endpoint
from guardproxy.admin.signals import STATES
from guardproxy.admin.views import REASONS
from guardproxy.holds import State
from guardproxy.stores import MAX_LIMIT, Order

_PATH_NAME: Final = re.compile(r"\{(\w+)\}")
_TEXT: Final = {"type": "string"}
_IF_MATCH: Final = {"name": "If-Match", "in": "header", "schema": _TEXT, "description": "The hold's ETag."}
_LISTING: Final = [
    {"name": "state", "in": "query", "schema": {"type": "array", "items": {"enum": [*State]}}},
    {"name": "queue", "in": "query", "schema": _TEXT},
    {"name": "model", "in": "query", "schema": _TEXT},
    {"name": "order", "in": "query", "schema": {"enum": [*Order]}},
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}},
    {"name": "cursor", "in": "query", "schema": _TEXT},
]
_DECISION: Final = {
    "type": "object",
    "required": ["decision"],
    "additionalProperties": False,
    "properties": {
        "decision": {"enum": [*REASONS]},
        "values": {"type": "object", "description": "For an override: value by prediction."},
        "reason": {"enum": sorted({reason for reasons in REASONS.values() for reason in reasons})},
        "note": _TEXT,
        "force": {"type": "boolean", "description": "Operators only: although an enforced rule is violated."},
    },
}
_SETTLED: Final = {
    "type": "object",
    "required": ["id", "rev", "state", "undo_until"],
    "properties": {
        "id": _TEXT,
        "rev": {"type": "integer"},
        "state": {"enum": [*State]},
        "undo_until": {"type": ["string", "null"], "format": "date-time"},
    },
}
_MOMENT: Final = {"type": "string", "format": "date-time"}
_MOVED: Final = {
    "type": ["object", "null"],
    "required": ["raised_at", "message"],
    "properties": {"raised_at": _MOMENT, "message": _TEXT},
}
_DRIFT: Final = {
    "type": "object",
    "required": ["models"],
    "properties": {
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["model", "alarm", "fields"],
                "properties": {
                    "model": _TEXT,
                    "alarm": _MOVED,
                    "fields": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["field", "state", "alarm"],
                            "properties": {
                                "field": _TEXT,
                                "state": {"enum": [*STATES]},
                                "alarm": _MOVED,
                            },
                        },
                    },
                },
            },
        }
    },
}


def _object(*required: str) -> dict[str, Any]:
    return {"type": "object", "required": list(required)}


_OPERATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "livez": {"summary": "Whether the process lives", "ok": _object("live"), "errors": (503,)},
    "readyz": {
        "summary": "Whether it takes traffic",
        "ok": _object("ready", "reasons", "degraded"),
        "errors": (503,),
    },
    "metrics": {"summary": "Metrics as Prometheus text", "type": "text/plain"},
    "openapi": {"summary": "This description", "ok": _object("openapi", "paths")},
    "list_holds": {
        "summary": "Holds, the most urgent first, with counts by state",
        "parameters": _LISTING,
        "ok": _object("holds", "counts", "cursor"),
        "errors": (400,),
    },
    "get_hold": {
        "summary": "One hold whole",
        "ok": _object("id", "rev", "state", "actions"),
        "errors": (404,),
    },
    "list_events": {"summary": "A hold's history", "ok": _object("events"), "errors": (404,)},
    "decide": {
        "summary": "Approve, override or reject",
        "parameters": [{**_IF_MATCH, "required": True}],
        "body": _DECISION,
        "ok": _SETTLED,
        "errors": (400, 404, 409, 412, 415, 422, 428),
    },
    "undo": {
        "summary": "Take a decision back before it is in effect",
        "parameters": [_IF_MATCH],
        "ok": _SETTLED,
        "errors": (400, 404, 409, 412),
    },
    "get_decision": {"summary": "One decision of the guard", "ok": {"type": "object"}, "errors": (404,)},
    "list_rules": {
        "summary": "The rules in force with their counts; the last reload, the candidate, and what the breaker demoted",
        "ok": _object("rules"),
    },
    "reload_rules": {
        "summary": "Read the rule files now; 422 carries the full diagnosis, and the rules from before are served on",
        "ok": _object("ok", "changed", "ruleset", "problems", "problems_total", "text", "seconds"),
        "errors": (409, 422),
    },
    "rearm_rule": {
        "summary": "Let a rule that the breaker demoted act again",
        "ok": _object("model", "rule", "demoted"),
        "errors": (404, 409),
    },
    "list_windows": {"summary": "Live counters", "ok": {"type": "object"}},
    "list_drift": {
        "summary": "How each model's fields stand against what was learned: states, and alarms with what moved",
        "parameters": [{"name": "model", "in": "query", "schema": _TEXT}],
        "ok": _DRIFT,
        "errors": (400, 404),
    },
    "list_signals": {
        "summary": "Each field's learned shares beside the last hour and day",
        "ok": {"type": "object"},
    },
    "list_routes": {
        "summary": "What is guarded and how, and what could not be judged, by reason",
        "ok": _object("ruleset", "unguarded", "routes", "grpc"),
    },
}
_ERRORS: Final[Mapping[int, str]] = {
    400: "A parameter or the body cannot be read.",
    401: "No valid token.",
    403: "The role does not allow it.",
    404: "No object has this id.",
    409: "The state forbids it.",
    412: "The hold has changed since that revision.",
    415: "The body is not JSON.",
    422: "The values cannot stand, a word is not known, or the rule files are refused.",
    428: "If-Match is missing.",
    429: "Too many wrong tokens.",
    503: "Not now.",
}


def document() -> dict[str, Any]:
    """Return the description as plain JSON values."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        if not endpoint.page and endpoint.name != "static":
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "guardproxy admin plane", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _object("type", "title", "status", "detail")},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    facts = _OPERATIONS[endpoint.name]
    named = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in _PATH_NAME.findall(endpoint.path)
    ]
    parameters = [*named, *facts.get("parameters", ())]
    content = {facts.get("type", "application/json"): {"schema": facts.get("ok", _TEXT)}}
    errors = facts.get("errors", ()) + ((401, 403, 429, 503) if endpoint.role else ())
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": facts["summary"],
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": content}}
        | {str(status): _error(status) for status in sorted(set(errors))},
    }
    if "body" in facts:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": facts["body"]}},
        }
    if endpoint.role:
        operation["security"] = [{"token": []}]
        operation["x-role"] = endpoint.role.word
    return operation


def _error(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": _ERRORS[status],
        "content": {"application/problem+json": {"schema": schema}},
    }
