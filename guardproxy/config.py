"""The configuration: `guardproxy.yaml`, the environment and the flags, checked together.

Decides what a key is called, which values it takes and what it is by default. Reading files is left to the caller, who
hands the text over; relative paths are relative to the file they stand in, those of flags and variables to the working directory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from guardproxy.codecs import PROTOCOLS
from guardproxy.decision import FailureMode
from guardproxy.documents import parse_documents
from guardproxy.source import Entry, MappingNode, Node, Place, Problem, Reader, Scalar
from guardproxy.wire import parse_origin

_NOWHERE: Final = Place(1, 1)
ENVIRONMENT: Final = "GUARDPROXY_"
KEYS: Final = (
    "listen",
    "admin",
    "store",
    "rules",
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
ADMIN_KEYS: Final = ("listen", "tokens_file", "auth")
HOLD_KEYS: Final = ("undo", "max_open")
DEFAULT_METHODS: Final = ("POST", "PUT", "PATCH")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in {"127.0.0.1", "::1", "localhost"} or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """One guarded route. Times are in seconds, sizes in bytes; `profile` is a path or None."""

    path: str
    model: str
    on_failure: FailureMode
    protocol: str = "open-inference"
    upstream: str | None = None
    profile: Path | None = None
    key: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    timeout_s: float = 30.0
    max_body: int = 16 * 1024 * 1024
    methods: tuple[str, ...] = DEFAULT_METHODS
    request_rows: str = ""
    request_columns: str = ""
    response_rows: str = ""
    reject_status: int = 422
    place: Place = _NOWHERE


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `guardproxy serve` needs. `rules` is a directory or a file; `store` a path of a SQLite file."""

    file: str = "guardproxy.yaml"
    listen: Address = Address("127.0.0.1", 8080)
    admin: Address = Address("127.0.0.1", 8081)
    auth: str = "tokens"
    tokens_file: Path | None = None
    store: Path = Path("guardproxy.db")
    rules: Path | None = None
    upstream: str | None = None
    routes: tuple[RouteConfig, ...] = ()
    undo_s: float = 8.0
    max_open_holds: int = 10_000
    timeout_s: float = 30.0
    log: str = "info"
    max_connections: int = 8192
    drain_s: float = 25.0
    notes: tuple[str, ...] = field(default=())


def parse_config(
    text: str, file: str, base: Path, environment: Mapping[str, str], flags: Mapping[str, str] | None = None
) -> tuple[Config, list[Problem]]:
    """Read a configuration; flags win over the environment, and that over the file. All problems at once.

    Paths in the text are relative to `base`; a flag or a variable is typed where the process runs, and means that place.
    """
    documents, problems = parse_documents(text, file)
    reader = Reader(file, problems)
    root: Node | None = documents[0] if documents else None
    if isinstance(root, Scalar) and root.value is None:
        root = None
    entries = reader.mapping(root, "the configuration", KEYS)
    overrides = {**_from_environment(environment), **(flags or {})}
    config = _apply(Config(file=file), entries, reader, base)
    config = _override(config, overrides, reader, Path())
    _check(config, reader, root)
    return config, reader.problems


def schema() -> dict[str, object]:
    """Return the configuration's JSON Schema: flat keys, closed objects."""
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    duration = {"type": "string", "pattern": r"^\d+(\.\d+)?\s?(ms|s|m|h|d)$"}
    size = {"type": "string", "pattern": r"^\d+(\.\d+)?\s?(B|KiB|MiB|GiB|kB|MB|GB)$"}
    pointers = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"rows": text, "columns": text},
    }
    properties: dict[str, object] = {
        **dict.fromkeys(("path", "model", "upstream", "profile"), text),
        **dict.fromkeys(("key", "features", "outputs", "methods"), texts),
        "on_failure": {"enum": [m.value for m in FailureMode]},
        "protocol": {"enum": sorted(PROTOCOLS)},
        "timeout": duration,
        "max_body": size,
        "request": pointers,
        "response": pointers,
        "reject_status": {"type": "integer", "minimum": 400, "maximum": 599},
    }
    route = {
        "type": "object",
        "additionalProperties": False,
        "required": ["path", "model", "on_failure"],
        "properties": {key: properties[key] for key in ROUTE_KEYS},
    }
    admin = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"listen": text, "tokens_file": text, "auth": {"enum": ["tokens", "none"]}},
    }
    holds = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"undo": duration, "max_open": {"type": "integer", "minimum": 1}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "guardproxy.yaml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **dict.fromkeys(("listen", "store", "rules", "upstream"), text),
            "admin": admin,
            "routes": {"type": "array", "items": route},
            "holds": holds,
            "timeout": duration,
            "drain": duration,
            "log": {"enum": list(_LOG_LEVELS)},
            "max_connections": {"type": "integer", "minimum": 1},
        },
    }


_LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_LATER_STORES: Final = ("redis:", "rediss:", "redis+sentinel:", "redis+cluster:")


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Take GUARDPROXY_LISTEN, GUARDPROXY_ADMIN_LISTEN, GUARDPROXY_HOLDS_UNDO ... as flat keys."""
    names = {
        **{key.upper(): key for key in KEYS if key not in {"routes", "admin", "holds"}},
        **{f"ADMIN_{key.upper()}": f"admin.{key}" for key in ADMIN_KEYS},
        **{f"HOLDS_{key.upper()}": f"holds.{key}" for key in HOLD_KEYS},
    }
    return {
        names[key.removeprefix(ENVIRONMENT)]: value
        for key, value in environment.items()
        if key.startswith(ENVIRONMENT) and key.removeprefix(ENVIRONMENT) in names and value
    }


def _override(config: Config, overrides: Mapping[str, str], reader: Reader, base: Path) -> Config:
    for key, value in overrides.items():
        documents, problems = parse_documents(value, f"{reader.file} ({key})")
        node = documents[0] if documents and not problems else Scalar(value, Place(1, 1), value, quoted=True)
        outer, _, inner = key.partition(".")
        if inner:
            node = MappingNode({inner: Entry(Place(1, 1), node)}, Place(1, 1))
        config = _apply(config, {outer: Entry(Place(1, 1), node)}, reader, base)
    return config


def _apply(config: Config, entries: Mapping[str, Entry], reader: Reader, base: Path) -> Config:
    for key, entry in entries.items():
        if key in _SECTIONS:
            change = _SECTIONS[key](entry.value, reader, base)
        else:
            name, read = _ROOT_READERS[key]
            change = {name: read(entry.value, key, reader, base)}
        known = {name: value for name, value in change.items() if value is not None}
        config = replace(config, **known)  # type: ignore[arg-type]
    return config


def _admin(node: Node, reader: Reader, base: Path) -> dict[str, object | None]:
    entries = reader.mapping(node, "admin", ADMIN_KEYS)
    found: dict[str, object | None] = {}
    if "listen" in entries:
        found["admin"] = _address(entries["listen"].value, "admin.listen", reader)
    if "auth" in entries:
        found["auth"] = reader.choice(
            entries["auth"].value, "admin.auth", {"tokens": "tokens", "none": "none"}
        )
    if "tokens_file" in entries:
        found["tokens_file"] = _path(entries["tokens_file"].value, "admin.tokens_file", reader, base)
    return found


def _holds(node: Node, reader: Reader, _base: Path) -> dict[str, object | None]:
    entries = reader.mapping(node, "holds", HOLD_KEYS)
    found: dict[str, object | None] = {}
    if "undo" in entries:
        found["undo_s"] = reader.duration(entries["undo"].value, "holds.undo", high=600)
    if "max_open" in entries:
        found["max_open_holds"] = reader.integer(
            entries["max_open"].value, "holds.max_open", low=1, high=10_000_000
        )
    return found


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


_SECTIONS: Final[Mapping[str, _SectionReader]] = {
    "admin": _admin,
    "holds": _holds,
    "routes": lambda node, reader, base: {"routes": tuple(_routes(node, reader, base))},
}
_ROOT_READERS: Final[Mapping[str, tuple[str, _KeyReader]]] = {
    "listen": ("listen", lambda node, what, reader, _: _address(node, what, reader)),
    "store": ("store", _store),
    "rules": ("rules", _path),
    "upstream": ("upstream", lambda node, what, reader, _: _upstream(node, what, reader)),
    "log": (
        "log",
        lambda node, what, reader, _: reader.choice(node, what, {level: level for level in _LOG_LEVELS}),
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


def _check(config: Config, reader: Reader, root: Node | None) -> None:
    """Check what needs more than one key."""
    place = root.place if root is not None else Place(1, 1)
    if config.auth == "none" and not config.admin.loopback:
        reader.report(
            "E208",
            f"admin.auth: none is refused on {config.admin}, which others can reach",
            place,
            "listen on 127.0.0.1, or use tokens",
        )
    seen: set[str] = set()
    for route in config.routes:
        if route.path in seen:
            reader.report("E201", f"two routes have the path {route.path}", route.place)
        seen.add(route.path)
        if route.upstream is None and config.upstream is None:
            reader.report(
                "E205",
                f"the route {route.path} has no upstream",
                route.place,
                "give the route or the whole configuration an upstream",
            )
        if route.protocol == "json" and not (route.request_rows or route.response_rows):
            reader.report(
                "E205",
                f"the route {route.path} speaks json and must say where its rows are",
                route.place,
                "request: {rows: /data} and response: {rows: /predictions}",
            )
    models: dict[str, Path | None] = {}
    for route in config.routes:
        if models.setdefault(route.model, route.profile) != route.profile:
            reader.report("E208", f"the model {route.model} has two different profiles", route.place)
    if config.upstream is None and not config.routes and root is not None:
        reader.report("E205", "the configuration needs an upstream or routes", place)


def models_of(routes: Sequence[RouteConfig]) -> tuple[str, ...]:
    """Return the models of the routes, each once, in order."""
    return tuple(dict.fromkeys(route.model for route in routes))
