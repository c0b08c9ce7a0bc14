"""The configuration's JSON Schema, for editors and `guardproxy config schema`."""

from guardproxy.codecs import PROTOCOLS
from guardproxy.config.keys import AUTO, FAILURE_KEYS, LOG_LEVELS, MAX_WEBHOOKS, ROUTE_KEYS
from guardproxy.config.model import EVENTS
from guardproxy.decision import FailureMode


def schema() -> dict[str, object]:
    """Return the configuration's JSON Schema: flat keys, closed objects."""
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    duration = {"type": "string", "pattern": r"^\d+(\.\d+)?\s?(ms|s|m|h|d)$"}
    size = {"type": "string", "pattern": r"^\d+(\.\d+)?\s?(B|KiB|MiB|GiB|kB|MB|GB)$"}
    pointers = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "rows": text,
            "columns": text,
            "fields": {"type": "object", "additionalProperties": text},
        },
    }
    mode = {"enum": [m.value for m in FailureMode]}
    modes = {**_closed(dict.fromkeys(FAILURE_KEYS, mode)), "required": ["default"]}
    properties: dict[str, object] = {
        **dict.fromkeys(("path", "model", "upstream", "upstream_path", "profile", "signature"), text),
        **dict.fromkeys(("key", "features", "outputs", "methods"), texts),
        "on_failure": {"anyOf": [mode, modes]},
        "protocol": {"enum": [*sorted(PROTOCOLS), AUTO]},
        "buffer": {"type": "boolean"},
        "batch_axis": {"enum": ["first", "none"]},
        "timeout": duration,
        "max_body": size,
        "request": pointers,
        "response": pointers,
        "reject_status": {"type": "integer", "minimum": 400, "maximum": 599},
        "time": text,
    }
    route = {
        "type": "object",
        "additionalProperties": False,
        "required": ["path", "model", "on_failure"],
        "properties": {key: properties[key] for key in ROUTE_KEYS},
    }
    positive = {"type": "integer", "minimum": 1}
    share = {"type": ["string", "number"], "pattern": r"^\d+(\.\d+)?\s?%$", "minimum": 0, "maximum": 1}
    times = {"enum": ["arrival", "header"]}
    sections: dict[str, dict[str, object]] = {
        "admin": {"listen": text, "tokens_file": text, "auth": {"enum": ["tokens", "none"]}},
        "holds": {"undo": duration, "max_open": positive},
        "reload": {"every": duration, "debounce": duration, "tests": {"type": "boolean"}},
        "candidate": {"sample": share},
        "grpc": {"listen": text, "upstream": text, "max_message": size},
        "statistics": {"store": text, "password_file": text, "bucket": duration, "grace": duration, "time": times},
        "history": {"max_entities": positive, "max_age": duration, "season": {"enum": ["weekday", "hour", "none"]}, "wait": duration},
        "drift": {"run_length": duration, "tolerance": share, "cooldown": duration},
        "recording": {"dir": text, "per_minute": positive, "max_size": size, "max_age": duration, "redact": texts},
    }  # fmt: skip
    webhook = {
        **_closed(
            {
                "url": text,
                "events": {"type": "array", "items": {"enum": [*EVENTS]}},
                "header_file": text,
                "secret_file": text,
            }
        ),
        "required": ["url"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "guardproxy.yaml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **dict.fromkeys(("listen", "store", "rules", "rules_candidate", "state", "upstream"), text),
            **{key: _closed(keys) for key, keys in sections.items()},
            "routes": {"type": "array", "items": route},
            "webhooks": {"type": "array", "items": webhook, "maxItems": MAX_WEBHOOKS},
            "timeout": duration,
            "drain": duration,
            "log": {"enum": list(LOG_LEVELS)},
            "max_connections": {"type": "integer", "minimum": 1},
        },
    }


def _closed(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "additionalProperties": False, "properties": properties}
