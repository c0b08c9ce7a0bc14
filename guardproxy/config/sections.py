"""The sections of a configuration that map each key to one value, such as `statistics` or `grpc`.

Decides what their keys are called and which values each takes. Lists of routes and webhooks are left to `keys`, the readers of single
values to `readers`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from guardproxy.config.readers import (
    read_address,
    read_bucket,
    read_path,
    read_redact,
    read_statistics_store,
    read_target,
)
from guardproxy.source import Node, Reader

KeyReader = Callable[[Node, str, Reader, Path], object | None]
SectionReader = Callable[[Node, Reader, Path], dict[str, object | None]]

_TIMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("field", "feature", "column"), "name the feature as `time` of the route"),
        **dict.fromkeys(
            ("event", "event_time"), "write header, and send Guardproxy-Event-Time with each request"
        ),
        **dict.fromkeys(("now", "processing", "ingestion"), "write arrival"),
    }
)
"""Words that people have for when a request happened."""

NESTED: Final[Mapping[str, Mapping[str, tuple[str, KeyReader]]]] = {
    "admin": {
        "listen": ("admin", lambda node, what, reader, _: read_address(node, what, reader)),
        "tokens_file": ("tokens_file", read_path),
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
        "dir": ("record_dir", read_path),
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
        "redact": ("record_redact", lambda node, what, reader, _: read_redact(node, what, reader)),
    },
    "grpc": {
        "listen": ("grpc_listen", lambda node, what, reader, _: read_address(node, what, reader)),
        "upstream": ("grpc_upstream", lambda node, what, reader, _: read_target(node, what, reader)),
        "max_message": (
            "grpc_max_message",
            lambda node, what, reader, _: reader.size(node, what, low=4096, high=2**31 - 1),
        ),
    },
    "statistics": {
        "store": ("statistics_store", read_statistics_store),
        "password_file": ("statistics_password_file", read_path),
        "bucket": ("bucket_s", lambda node, what, reader, _: read_bucket(node, what, reader)),
        "grace": ("grace_s", lambda node, what, reader, _: reader.duration(node, what, high=3_600)),
        "time": (
            "event_time",
            lambda node, what, reader, _: reader.choice(
                node, what, {"arrival": False, "header": True}, foreign=_TIMES
            ),
        ),
    },
    "history": {
        "max_entities": (
            "history_max_entities",
            lambda node, what, reader, _: reader.integer(node, what, low=100, high=100_000_000),
        ),
        "max_age": (
            "history_max_age_s",
            lambda node, what, reader, _: reader.duration(node, what, low=1, high=3_660 * 86_400),
        ),
        "season": (
            "history_season",
            lambda node, what, reader, _: reader.choice(
                node, what, {s: s for s in ("weekday", "hour", "none")}
            ),
        ),
        "wait": ("history_wait_s", lambda node, what, reader, _: reader.duration(node, what, high=1)),
    },
    "drift": {
        "run_length": (
            "drift_run_length_s",
            lambda node, what, reader, _: reader.duration(node, what, low=3_600, high=3_660 * 86_400),
        ),
        "tolerance": (
            "drift_tolerance",
            lambda node, what, reader, _: reader.number(node, what, low=0.0, high=1.0),
        ),
        "cooldown": (
            "drift_cooldown_s",
            lambda node, what, reader, _: reader.duration(node, what, high=365 * 86_400),
        ),
    },
}
"""By section and key, the name of the value in `Config` and what reads it."""

NESTED_KEYS: Final = {section: tuple(keys) for section, keys in NESTED.items()}
"""The keys of each section, for the environment."""


def section_reader(key: str) -> SectionReader:
    """Return the reader of a section whose keys stand in `NESTED`."""

    def read(node: Node, reader: Reader, base: Path) -> dict[str, object | None]:
        known = NESTED[key]
        return {
            known[name][0]: known[name][1](entry.value, f"{key}.{name}", reader, base)
            for name, entry in reader.mapping(node, key, tuple(known)).items()
        }

    return read
