"""The keys of a configuration and how each is read.

Decides what a key is called and which values it takes. What needs more than one key is left to `parse_config`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from guardproxy.codecs import PROTOCOLS
from guardproxy.config.model import EVENTS, Address, RouteConfig, WebhookConfig
from guardproxy.decision import FailureMode
from guardproxy.recording import redaction_problem
from guardproxy.source import Node, Reader, Scalar
from guardproxy.wire import parse_origin

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
    "timeout",
    "log",
    "max_connections",
    "drain",
)
ROUTE_KEYS: Final = (
    "path", "model", "on_failure", "protocol", "upstream", "profile", "key", "features", "outputs", "timeout",
    "max_body", "methods", "request", "response", "reject_status",
)  # fmt: skip
WEBHOOK_KEYS: Final = ("url", "events", "header_file")
MAX_WEBHOOKS: Final = 16
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_LATER_STORES: Final = ("redis:", "rediss:", "redis+sentinel:", "redis+cluster:")


def _section(key: str) -> "_SectionReader":
    """Return the reader of a section whose keys stand in `_NESTED`."""

    def read(node: Node, reader: Reader, base: Path) -> dict[str, object | None]:
        known = _NESTED[key]
        return {
            known[name][0]: known[name][1](entry.value, f"{key}.{name}", reader, base)
            for name, entry in reader.mapping(node, key, tuple(known)).items()
        }

    return read


def _webhooks(node: Node, reader: Reader, base: Path) -> dict[str, object | None]:
    items = reader.items(node, "webhooks")
    if len(items) > MAX_WEBHOOKS:
        reader.report("E208", f"webhooks may name at most {MAX_WEBHOOKS} addresses", node.place)
    found = (_webhook(item, f"webhook {number}", reader, base) for number, item in enumerate(items, 1))
    return {"webhooks": tuple(item for item in found if item is not None)}


def _webhook(node: Node, what: str, reader: Reader, base: Path) -> WebhookConfig | None:
    entries = reader.mapping(node, what, WEBHOOK_KEYS, required=("url",))
    url = _url(entries["url"].value, f"{what}, url", reader) if "url" in entries else None
    events: tuple[str, ...] = EVENTS
    if "events" in entries:
        given = entries["events"].value
        items = (given,) if isinstance(given, Scalar) else reader.items(given, f"{what}, events")
        words = (reader.choice(item, f"{what}, events", {word: word for word in EVENTS}) for item in items)
        events = tuple(word for word in words if word is not None)
    header = (
        _path(entries["header_file"].value, f"{what}, header_file", reader, base)
        if "header_file" in entries
        else None
    )
    return None if url is None else WebhookConfig(url, events, header, node.place)


def _url(node: Node, what: str, reader: Reader) -> str | None:
    text = reader.text(node, what, max_length=2_000)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, good = urlsplit(""), False
    if not good or not text.isascii() or not text.isprintable() or " " in text:
        reader.report(
            "E208", f"{what} must be an http or https address", node.place, "write https://host/path"
        )
        return None
    if parts.username is not None or parts.password is not None:
        reader.report(
            "E208",
            f"{what} must not carry a password: it would stand in logs",
            node.place,
            "put a line such as `Authorization: Bearer ...` into a file and name it as header_file",
        )
        return None
    return text


def _redact(node: Node, what: str, reader: Reader) -> tuple[str, ...]:
    names = reader.texts(node, what)
    for name in names:
        problem = redaction_problem(name)
        if problem is not None:
            reader.report("E208", f"{what}: {problem}", node.place)
    return tuple(name for name in names if redaction_problem(name) is None)


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
            known = ("rows", "columns") if key == "request" else ("rows",)
            for name, pointer in reader.mapping(entry.value, f"{what}, {key}", known).items():
                values[f"{key}_{name}"] = _pointer(pointer.value, f"{what}, {key}.{name}", reader)
        else:
            name, read = _ROUTE_READERS[key]
            values[name] = read(entry.value, f"{what}, {key}", reader, base)
    known_values = {name: value for name, value in values.items() if value is not None}
    if not {"path", "model", "on_failure"} <= known_values.keys():
        return None
    return RouteConfig(place=node.place, **known_values)  # type: ignore[arg-type]


def _texts(node: Node, what: str, reader: Reader, _base: Path) -> tuple[str, ...]:
    return reader.texts(node, what)


def _route_path(node: Node, what: str, reader: Reader) -> str | None:
    path = reader.text(node, what, max_length=1_000)
    if path is None:
        return None
    if (
        not path.startswith("/")
        or any(not 0x21 <= ord(char) <= 0x7E for char in path)
        or "?" in path
        or "#" in path
    ):
        reader.report("E208", f"{what} must be a path such as /v2/models/demand/infer", node.place)
        return None
    return path


def _pointer(node: Node, what: str, reader: Reader) -> str | None:
    pointer = node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None
    if pointer is None or (pointer and not pointer.startswith("/")):
        reader.report("E206", f"{what} must be a JSON Pointer such as /data/rows", node.place)
        return None
    return pointer


def _path(node: Node, what: str, reader: Reader, base: Path) -> Path | None:
    text = reader.text(node, what)
    return None if text is None else base / text


def _upstream(node: Node, what: str, reader: Reader) -> str | None:
    text = reader.text(node, what)
    if text is None:
        return None
    try:
        parse_origin(text)
    except ValueError as error:
        reader.report("E208", f"{what}: {error}", node.place)
        return None
    return text


def _address(node: Node, what: str, reader: Reader) -> Address | None:
    text = str(node.value) if isinstance(node, Scalar) else ""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        reader.report("E208", f"{what} must be HOST:PORT, such as 127.0.0.1:8080", node.place)
        return None
    return Address(host.strip("[]"), int(port))


def _store(node: Node, _what: str, reader: Reader, base: Path) -> Path | None:
    text = reader.text(node, "store")
    if text is None:
        return None
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        return base / text.removeprefix("sqlite:///")
    known = (
        "this version keeps holds in SQLite only"
        if text.startswith(_LATER_STORES)
        else f"{text!r} is no store"
    )
    reader.report(
        "E208",
        f"store: {known}",
        node.place,
        "write sqlite:///guardproxy.db (four slashes for an absolute path)",
    )
    return None


_KeyReader = Callable[[Node, str, Reader, Path], object | None]
_SectionReader = Callable[[Node, Reader, Path], dict[str, object | None]]

_ROUTE_READERS: Final[Mapping[str, tuple[str, _KeyReader]]] = {
    "path": ("path", lambda node, what, reader, _: _route_path(node, what, reader)),
    "model": ("model", lambda node, what, reader, _: reader.text(node, what, max_length=200)),
    "on_failure": ("on_failure", lambda node, what, reader, _: reader.enum(node, what, FailureMode)),
    "protocol": (
        "protocol",
        lambda node, what, reader, _: reader.choice(node, what, {p: p for p in PROTOCOLS}),
    ),
    "upstream": ("upstream", lambda node, what, reader, _: _upstream(node, what, reader)),
    "profile": ("profile", _path),
    "key": ("key", _texts),
    "features": ("features", _texts),
    "outputs": ("outputs", _texts),
    "timeout": (
        "timeout_s",
        lambda node, what, reader, _: reader.duration(node, what, low=0.01, high=86_400),
    ),
    "max_body": ("max_body", lambda node, what, reader, _: reader.size(node, what, low=1, high=2**32)),
    "methods": ("methods", _texts),
    "reject_status": (
        "reject_status",
        lambda node, what, reader, _: reader.integer(node, what, low=400, high=599),
    ),
}

_NESTED: Final[Mapping[str, Mapping[str, tuple[str, _KeyReader]]]] = {
    "admin": {
        "listen": ("admin", lambda node, what, reader, _: _address(node, what, reader)),
        "tokens_file": ("tokens_file", _path),
        "auth": (
            "auth",
            lambda node, what, reader, _: reader.choice(node, what, {"tokens": "tokens", "none": "none"}),
        ),
    },
    "holds": {
        "undo": ("undo_s", lambda node, what, reader, _: reader.duration(node, what, high=600)),
        "max_open": (
            "max_open_holds",
            lambda node, what, reader, _: reader.integer(node, what, low=1, high=10_000_000),
        ),
    },
    "reload": {
        "every": (
            "reload_every_s",
            lambda node, what, reader, _: reader.duration(node, what, low=0.05, high=3_600),
        ),
        "debounce": (
            "reload_debounce_s",
            lambda node, what, reader, _: reader.duration(node, what, high=600),
        ),
        "tests": ("reload_tests", lambda node, what, reader, _: reader.flag(node, what)),
    },
    "candidate": {
        "sample": (
            "candidate_sample",
            lambda node, what, reader, _: reader.number(node, what, low=0.0, high=1.0),
        ),
    },
    "recording": {
        "dir": ("record_dir", _path),
        "per_minute": (
            "record_per_minute",
            lambda node, what, reader, _: reader.integer(node, what, low=2, high=100_000),
        ),
        "max_size": (
            "record_max_bytes",
            lambda node, what, reader, _: reader.size(node, what, low=64 * 1024, high=2**44),
        ),
        "max_age": (
            "record_max_age_s",
            lambda node, what, reader, _: reader.duration(node, what, low=60, high=3_660 * 86_400),
        ),
        "redact": ("record_redact", lambda node, what, reader, _: _redact(node, what, reader)),
    },
}
NESTED_KEYS: Final = {section: tuple(keys) for section, keys in _NESTED.items()}
"""The keys of each section, for the environment."""

SECTIONS: Final[Mapping[str, _SectionReader]] = {
    **{key: _section(key) for key in _NESTED},
    "webhooks": _webhooks,
    "routes": lambda node, reader, base: {"routes": tuple(_routes(node, reader, base))},
}
ROOT_READERS: Final[Mapping[str, tuple[str, _KeyReader]]] = {
    "listen": ("listen", lambda node, what, reader, _: _address(node, what, reader)),
    "store": ("store", _store),
    "rules": ("rules", _path),
    "rules_candidate": ("rules_candidate", _path),
    "state": ("state", _path),
    "upstream": ("upstream", lambda node, what, reader, _: _upstream(node, what, reader)),
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
