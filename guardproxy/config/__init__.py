"""The configuration: `guardproxy.yaml`, the environment and the flags, checked together.

Decides which of them wins and what needs more than one key. Reading files is left to the caller, who hands the text over;
relative paths are relative to the file they stand in, those of flags and variables to the working directory.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from guardproxy.config.keys import KEYS, ROOT_READERS, SECTIONS
from guardproxy.config.model import (
    Address,
    Config,
    RouteConfig,
    WebhookConfig,
    models_of,
)
from guardproxy.config.schema import schema
from guardproxy.config.sections import NESTED_KEYS
from guardproxy.documents import parse_documents
from guardproxy.source import Entry, MappingNode, Node, Place, Problem, Reader, Scalar

__all__ = [
    "ENVIRONMENT",
    "Address",
    "Config",
    "RouteConfig",
    "WebhookConfig",
    "models_of",
    "parse_config",
    "schema",
]

ENVIRONMENT: Final = "GUARDPROXY_"


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


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Take GUARDPROXY_LISTEN, GUARDPROXY_ADMIN_LISTEN, GUARDPROXY_HOLDS_UNDO ... as flat keys."""
    names = {
        **{key.upper(): key for key in KEYS if key not in SECTIONS},
        **{
            f"{section}_{key}".upper(): f"{section}.{key}"
            for section, keys in NESTED_KEYS.items()
            for key in keys
        },
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
        if key in SECTIONS:
            change = SECTIONS[key](entry.value, reader, base)
        else:
            name, read = ROOT_READERS[key]
            change = {name: read(entry.value, key, reader, base)}
        known = {name: value for name, value in change.items() if value is not None}
        config = replace(config, **known)  # type: ignore[arg-type]
    return config


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
    if config.rules_candidate is not None and config.rules is None:
        reader.report("E205", "rules_candidate needs rules to be compared with", place)
    if config.record_dir is None and (config.record_redact or _says(root, "recording")):
        reader.report("E205", "recording needs the key 'dir'", place)
    _check_grpc(config, reader, root, place)
    _check_addresses(config, reader, place)
    _check_routes(config, reader)
    given = _says(root, "upstream") or _says(root, "routes")  # what is wrong with them has been said
    if config.upstream is None and not config.routes and root is not None and not given:
        reader.report("E205", "the configuration needs an upstream or routes", place)


def _check_grpc(config: Config, reader: Reader, root: Node | None, place: Place) -> None:
    if config.grpc_listen is None and config.grpc_upstream is None:
        return
    entry = root.entries.get("grpc") if isinstance(root, MappingNode) else None
    place = place if entry is None else entry.key
    lacking = (
        ("listen", config.grpc_listen, "127.0.0.1:8082, where clients call"),
        ("upstream", config.grpc_upstream, "127.0.0.1:8001, the model server's gRPC port"),
    )
    for key, address, example in lacking:
        if address is None and not (entry is not None and _says(entry.value, key)):
            reader.report("E205", f"grpc needs the key '{key}'", place, f"such as {key}: {example}")
    if find_spec("grpc") is None:
        reader.report(
            "E208", "grpc needs a package that is not installed", place, 'pip install "guardproxy[grpc]"'
        )


def _check_addresses(config: Config, reader: Reader, place: Place) -> None:
    """Report listeners that take each other's port, and upstreams that are guardproxy itself."""
    listeners = {"listen": config.listen, "admin.listen": config.admin, "grpc.listen": config.grpc_listen}
    taken: dict[str, str] = {}
    for key, address in listeners.items():
        if address is None or not address.port:  # port 0 is any free one
            continue
        other = taken.setdefault(str(address), key)
        if other != key:
            reader.report(
                "E208", f"{other} and {key} are both {address}", place, "give each a port of its own"
            )
    upstreams = [
        ("upstream", config.upstream, place),
        ("grpc.upstream", None if config.grpc_upstream is None else f"//{config.grpc_upstream}", place),
        *((f"the upstream of the route {each.path}", each.upstream, each.place) for each in config.routes),
    ]
    for what, upstream, where in upstreams:
        own = None if upstream is None else taken.get(upstream.partition("//")[2])
        if own is not None:
            reader.report(
                "E208",
                f"{what} is guardproxy's own address ({own})",
                where,
                "name the model server's address, and give guardproxy another port where they are the same",
            )


def _check_routes(config: Config, reader: Reader) -> None:
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
        if route.protocol == "json" and not route.points:
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


def _says(root: Node | None, key: str) -> bool:
    return isinstance(root, MappingNode) and key in root.entries
