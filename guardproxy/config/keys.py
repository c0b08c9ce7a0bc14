"""The keys of a configuration and how each is read.

Decides what a key is called and which values it takes. Sections that are mappings of single values are left to `sections`, what needs more than
one key to `parse_config`.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from guardproxy.codecs import PROTOCOLS, protocol_of_path
from guardproxy.config.model import EVENTS, RouteConfig, WebhookConfig
from guardproxy.config.readers import (
    read_address,
    read_batch_axis,
    read_names,
    read_path,
    read_plain_path,
    read_pointer,
    read_route_path,
    read_store,
    read_texts,
    read_upstream,
    read_url,
)
from guardproxy.config.sections import NESTED, KeyReader, SectionReader, section_reader
from guardproxy.decision import FailureMode, FailurePolicy, Reason
from guardproxy.source import Entry, MappingNode, Node, Reader, Scalar

KEYS: Final = (
    "listen",
    "admin",
    "store",
    "rules",
    "rules_candidate",
    "candidate",
    "state",
    "reload",
    "webhooks",
    "recording",
    "upstream",
    "routes",
    "holds",
    "grpc",
    "statistics",
    "history",
    "drift",
    "timeout",
    "log",
    "max_connections",
    "drain",
)
ROUTE_KEYS: Final = (
    "path", "model", "on_failure", "protocol", "upstream", "upstream_path", "profile", "signature", "key", "features",
    "outputs", "timeout", "max_body", "methods", "buffer", "batch_axis", "request", "response", "reject_status",
    "time",
)  # fmt: skip
POINTER_KEYS: Final = ("rows", "columns", "fields")
"""What `request` and `response` of a route may say."""
FAILURE_KEYS: Final = ("default", *(reason.value for reason in Reason))
AUTO: Final = "auto"
DEFAULT_PROTOCOL: Final = "open-inference"
"""What a route speaks that names no protocol and whose path tells none."""
MAX_POINTED: Final = 1_000
WEBHOOK_KEYS: Final = ("url", "events", "header_file", "secret_file")
MAX_WEBHOOKS: Final = 16
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def _webhooks(node: Node, reader: Reader, base: Path) -> dict[str, object | None]:
    items = reader.items(node, "webhooks")
    if len(items) > MAX_WEBHOOKS:
        reader.report("E208", f"webhooks may name at most {MAX_WEBHOOKS} addresses", node.place)
    found = (_webhook(item, f"webhook {number}", reader, base) for number, item in enumerate(items, 1))
    return {"webhooks": tuple(item for item in found if item is not None)}


def _webhook(node: Node, what: str, reader: Reader, base: Path) -> WebhookConfig | None:
    entries = reader.mapping(node, what, WEBHOOK_KEYS, required=("url",))
    url = read_url(entries["url"].value, f"{what}, url", reader) if "url" in entries else None
    events: tuple[str, ...] = EVENTS
    if "events" in entries:
        given = entries["events"].value
        items = (given,) if isinstance(given, Scalar) else reader.items(given, f"{what}, events")
        words = (reader.choice(item, f"{what}, events", {word: word for word in EVENTS}) for item in items)
        events = tuple(word for word in words if word is not None)
    header, secret = (
        read_path(entries[key].value, f"{what}, {key}", reader, base) if key in entries else None
        for key in ("header_file", "secret_file")
    )
    return None if url is None else WebhookConfig(url, events, header, secret, node.place)


def _routes(node: Node, reader: Reader, base: Path) -> list[RouteConfig]:
    routes = []
    for position, item in enumerate(reader.items(node, "routes")):
        route = _route(item, f"route {position + 1}", reader, base)
        if route is not None:
            routes.append(route)
    return routes


def _route(node: Node, what: str, reader: Reader, base: Path) -> RouteConfig | None:
    entries = reader.mapping(node, what, ROUTE_KEYS, required=("path", "model", "on_failure"))
    values: dict[str, object | None] = {}
    for key, entry in entries.items():
        if key in {"request", "response"}:
            values |= _pointers(entry.value, key, what, reader)
        else:
            name, read = _ROUTE_READERS[key]
            values[name] = read(entry.value, f"{what}, {key}", reader, base)
    known_values = {name: value for name, value in values.items() if value is not None}
    if not {"path", "model", "on_failure"} <= known_values.keys():
        return None
    protocol = _protocol(known_values, entries, what, reader)
    _idle_keys(protocol, entries, what, reader)
    return RouteConfig(place=node.place, **{**known_values, "protocol": protocol})  # type: ignore[arg-type]


def _protocol(values: Mapping[str, object], entries: Mapping[str, Entry], what: str, reader: Reader) -> str:
    """Return the protocol that a route names, or that its path is of."""
    named = values.get("protocol", AUTO)
    if named != AUTO:
        return str(named)
    found = protocol_of_path(str(values["path"]))
    if found is None and "protocol" in values:
        reader.report(
            "E208",
            f"{what}, protocol: the path {values['path']} is that of no protocol",
            entries["protocol"].value.place,
            f"write one of {', '.join(PROTOCOLS)}",
        )
    return found or DEFAULT_PROTOCOL


def _idle_keys(protocol: str, entries: Mapping[str, Entry], what: str, reader: Reader) -> None:
    """Report the keys that mean something to another protocol only: they would be read, and change nothing."""
    for key, owner in _OWNERS.items():
        if key in entries and protocol != owner:
            reader.report(
                "E208",
                f"{what}, {key} means nothing to the protocol {protocol}",
                entries[key].key,
                f"write protocol: {owner}, or leave {key} out",
            )


_OWNERS: Final[Mapping[str, str]] = MappingProxyType(
    {"request": "json", "response": "json", "batch_axis": DEFAULT_PROTOCOL}
)
"""The one protocol that a key is for."""


def _pointers(node: Node, key: str, what: str, reader: Reader) -> dict[str, object | None]:
    """Read `request` or `response`: where the rows are, and what of them is a field."""
    found: dict[str, object | None] = {}
    entries = reader.mapping(node, f"{what}, {key}", POINTER_KEYS)
    if {"columns", "fields"} <= entries.keys():
        reader.report(
            "E208",
            f"{what}, {key} has both columns and fields",
            entries["columns"].key,
            "columns names the values of rows that are arrays, fields picks cells from rows that are objects: keep one",
        )
    for name, entry in entries.items():
        called = f"{what}, {key}.{name}"
        if name == "fields":
            found[f"{key}_fields"] = _pointed(entry.value, called, reader)
        else:
            found[f"{key}_{name}"] = read_pointer(entry.value, called, reader)
    return found


def _pointed(node: Node, what: str, reader: Reader) -> tuple[tuple[str, str], ...] | None:
    """Read a mapping from a field's name to the pointer that leads from a row to its cell."""
    entries = reader.anything(node, what)
    if len(entries) > MAX_POINTED:
        reader.report("E208", f"{what} may name at most {MAX_POINTED:,} fields", node.place)
        return None
    found = [(name, read_pointer(entry.value, f"{what}.{name}", reader)) for name, entry in entries.items()]
    return tuple((name, pointer) for name, pointer in found if pointer is not None)


def _policy(node: Node, what: str, reader: Reader) -> FailurePolicy | None:
    """Read `on_failure`: one mode, or a mode by reason."""
    if not isinstance(node, MappingNode):
        mode = reader.enum(node, what, FailureMode)
        return None if mode is None else FailurePolicy(mode)
    entries = reader.mapping(node, what, FAILURE_KEYS, foreign=_REASONS)
    if "default" not in entries:
        reader.report(
            "E205",
            f"{what} needs the key 'default'",
            node.place,
            "it is for every reason that is not named: {default: open, opaque: closed}",
        )
    modes = {key: reader.enum(entry.value, f"{what}.{key}", FailureMode) for key, entry in entries.items()}
    default = modes.pop("default", None)
    known = {Reason(key): mode for key, mode in modes.items() if mode is not None}
    return None if default is None else FailurePolicy(default, known)


_SERVERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        word: f"write {protocol}"
        for protocol, words in {
            "open-inference": "v2 kserve-v2 oip triton mlserver openvino kserve open_inference",
            "kserve-v1": "v1 tensorflow tensorflow-serving tf-serving tfserving tfs vertex",
            "mlflow": "databricks azureml",
            "seldon": "seldon-v1 seldon-core",
            "bentoml": "fastapi litserve ray ray-serve",
            "openai": "vllm ollama llm chat",
        }.items()
        for word in words.split()
    }
    | dict.fromkeys(
        ("grpc", "grpcs"), "write open-inference, and where gRPC calls come in under the root key `grpc`"
    )
    | dict.fromkeys(
        ("rest", "http", "custom"), "write json, and where the rows are under request and response"
    )
)
"""Names of servers and of versions that people write for a protocol."""

_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("stream", "streaming", "streams", "sse"), "streamed"),
        **dict.fromkeys(("large", "too_large", "size"), "oversize"),
        **dict.fromkeys(("error", "errors", "exception"), "fault"),
        **dict.fromkeys(("malformed", "invalid", "decode"), "undecodable"),
        **dict.fromkeys(("binary", "image"), "opaque"),
        **dict.fromkeys(("otherwise", "else", "all", "any", "mode"), "default"),
    }
)
"""Words that people have for the reasons."""


_ROUTE_READERS: Final[Mapping[str, tuple[str, KeyReader]]] = {
    "path": ("path", lambda node, what, reader, _: read_route_path(node, what, reader)),
    "model": ("model", lambda node, what, reader, _: reader.text(node, what, max_length=200)),
    "on_failure": ("on_failure", lambda node, what, reader, _: _policy(node, what, reader)),
    "protocol": (
        "protocol",
        lambda node, what, reader, _: reader.choice(
            node, what, {p: p for p in (*PROTOCOLS, AUTO)}, foreign=_SERVERS
        ),
    ),
    "upstream": ("upstream", lambda node, what, reader, _: read_upstream(node, what, reader)),
    "upstream_path": ("upstream_path", lambda node, what, reader, _: read_plain_path(node, what, reader)),
    "profile": ("profile", read_path),
    "signature": ("signature", read_path),
    "key": ("key", read_names),
    "features": ("features", read_names),
    "outputs": ("outputs", read_names),
    "timeout": (
        "timeout_s",
        lambda node, what, reader, _: reader.duration(node, what, low=0.01, high=86_400),
    ),
    "max_body": ("max_body", lambda node, what, reader, _: reader.size(node, what, low=1, high=2**32)),
    "methods": ("methods", read_texts),
    "time": ("time", lambda node, what, reader, _: reader.text(node, what, max_length=200)),
    "buffer": ("buffer", lambda node, what, reader, _: reader.flag(node, what)),
    "batch_axis": ("batch_axis", lambda node, what, reader, _: read_batch_axis(node, what, reader)),
    "reject_status": (
        "reject_status",
        lambda node, what, reader, _: reader.integer(node, what, low=400, high=599),
    ),
}

SECTIONS: Final[Mapping[str, SectionReader]] = {
    **{key: section_reader(key) for key in NESTED},
    "webhooks": _webhooks,
    "routes": lambda node, reader, base: {"routes": tuple(_routes(node, reader, base))},
}
ROOT_READERS: Final[Mapping[str, tuple[str, KeyReader]]] = {
    "listen": ("listen", lambda node, what, reader, _: read_address(node, what, reader)),
    "store": ("store", read_store),
    "rules": ("rules", read_path),
    "rules_candidate": ("rules_candidate", read_path),
    "state": ("state", read_path),
    "upstream": ("upstream", lambda node, what, reader, _: read_upstream(node, what, reader)),
    "log": (
        "log",
        lambda node, what, reader, _: reader.choice(node, what, {level: level for level in LOG_LEVELS}),
    ),
    "max_connections": (
        "max_connections",
        lambda node, what, reader, _: reader.integer(node, what, low=1, high=1_000_000),
    ),
    "timeout": (
        "timeout_s",
        lambda node, what, reader, _: reader.duration(node, what, low=0.01, high=86_400),
    ),
    "drain": ("drain_s", lambda node, what, reader, _: reader.duration(node, what, low=0.0, high=3_600)),
}
