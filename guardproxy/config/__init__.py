"""The configuration: `guardproxy.yaml`, the environment and the flags, checked together.

Decides which of them wins and what needs more than one key. Reading files is left to the caller, who hands the text over;
relative paths are relative to the file they stand in, those of flags and variables to the working directory.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from guardproxy.config.keys import KEYS, NESTED_KEYS, ROOT_READERS, SECTIONS
from guardproxy.config.model import (
    Address,
    Config,
    RouteConfig,
    WebhookConfig,
    models_of,
)
from guardproxy.config.schema import schema
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
    _check_grpc(config, reader, place)
    _check_routes(config, reader)
    if config.upstream is None and not config.routes and root is not None:
        reader.report("E205", "the configuration needs an upstream or routes", place)


def _check_grpc(config: Config, reader: Reader, place: Place) -> None:
    if config.grpc_listen is None and config.grpc_upstream is None:
        return
    if config.grpc_listen is None or config.grpc_upstream is None:
        reader.report("E205", "grpc needs both a 'listen' and an 'upstream' address", place)
    if find_spec("grpc") is None:
        reader.report(
            "E208", "grpc needs a package that is not installed", place, 'pip install "guardproxy[grpc]"'
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
