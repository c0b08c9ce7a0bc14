"""Readers of single values of a configuration: addresses, paths, pointers, lists of names.

Decides what such a value looks like and what is said of one that does not. Which key takes which is left to `keys`.
"""

from pathlib import Path
from urllib.parse import urlsplit

from guardproxy.config.model import Address
from guardproxy.errors import StoreError
from guardproxy.recording import redaction_problem
from guardproxy.source import Node, Reader, Scalar
from guardproxy.stores.opening import SQLITE, sqlite_file
from guardproxy.stores.redis_urls import SCHEMES as REDIS_SCHEMES
from guardproxy.stores.redis_urls import read_address as read_redis_address
from guardproxy.wire import parse_origin


def read_url(node: Node, what: str, reader: Reader) -> str | None:
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


def read_redact(node: Node, what: str, reader: Reader) -> tuple[str, ...]:
    names = reader.texts(node, what)
    for name in names:
        problem = redaction_problem(name)
        if problem is not None:
            reader.report("E208", f"{what}: {problem}", node.place)
    return tuple(name for name in names if redaction_problem(name) is None)


def read_texts(node: Node, what: str, reader: Reader, _base: Path) -> tuple[str, ...]:
    return reader.texts(node, what)


def read_names(node: Node, what: str, reader: Reader, _base: Path) -> tuple[str, ...]:
    names = reader.texts(node, what)
    twice = next((name for position, name in enumerate(names) if name in names[:position]), None)
    if twice is not None:
        reader.report(
            "E208", f"{what} names {twice!r} twice", node.place, "each column has a name of its own"
        )
    return names


def read_route_path(node: Node, what: str, reader: Reader) -> str | None:
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


def read_plain_path(node: Node, what: str, reader: Reader) -> str | None:
    path = read_route_path(node, what, reader)
    if path is not None and ("*" in path or "{" in path):
        reader.report("E208", f"{what} must be a path without placeholders", node.place)
        return None
    return path


def read_batch_axis(node: Node, what: str, reader: Reader) -> bool | None:
    return reader.choice(
        node, what, {"first": True, "none": False}, foreign={"no": "write none", "0": "write first"}
    )


def read_pointer(node: Node, what: str, reader: Reader) -> str | None:
    pointer = node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None
    if pointer is None or (pointer and not pointer.startswith("/")):
        reader.report(
            "E206",
            f"{what} must be a JSON Pointer such as /data/rows",
            node.place,
            'write each step behind a slash, an item of an array by its number: /data/0/age; "" is the whole',
        )
        return None
    return pointer


def read_path(node: Node, what: str, reader: Reader, base: Path) -> Path | None:
    text = reader.text(node, what)
    return None if text is None else base / text


def read_upstream(node: Node, what: str, reader: Reader) -> str | None:
    text = reader.text(node, what)
    if text is None:
        return None
    try:
        parse_origin(text)
    except ValueError as error:
        reader.report("E208", f"{what}: {error}", node.place)
        return None
    return text


def read_address(node: Node, what: str, reader: Reader) -> Address | None:
    text = str(node.value) if isinstance(node, Scalar) else ""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        reader.report("E208", f"{what} must be HOST:PORT, such as 127.0.0.1:8080", node.place)
        return None
    return Address(host.strip("[]"), int(port))


def read_target(node: Node, what: str, reader: Reader) -> Address | None:
    address = read_address(node, what, reader)
    if address is None or (address.port and "/" not in address.host):
        return address
    reader.report("E208", f"{what} must be HOST:PORT of a gRPC server, such as 127.0.0.1:8001", node.place)
    return None


def read_store(node: Node, _what: str, reader: Reader, base: Path) -> Path | None:
    """Read the address of the holds: a SQLite file, relative to the configuration's."""
    text = reader.text(node, "store")
    if text is None:
        return None
    file = sqlite_file(text)
    if file is not None:
        return base / file
    if text.partition("://")[0] in REDIS_SCHEMES:
        reader.report(
            "E208",
            "store: this version keeps holds in SQLite only; statistics may stand in Redis",
            node.place,
            f"write statistics: {{store: {(text.partition('@')[2] and 'redis://HOST:6379/0') or text}}}, and leave store as it was",
        )
        return None
    reader.report(
        "E208",
        f"store: {text!r} is no store",
        node.place,
        "write sqlite:///guardproxy.db (four slashes for an absolute path)",
    )
    return None


def read_statistics_store(node: Node, what: str, reader: Reader, base: Path) -> str | None:
    """Read the address of the statistics: that of Redis as it is, that of a SQLite file made absolute."""
    text = reader.text(node, what)
    if text is None:
        return None
    file = sqlite_file(text)
    if file is not None:
        return f"{SQLITE}{base / file}"
    try:
        read_redis_address(text)
    except StoreError as error:
        reader.report("E208", f"{what}: {error}", node.place)
        return None
    return text


def read_bucket(node: Node, what: str, reader: Reader) -> float | None:
    """Read the length of a bucket: whole seconds that divide an hour, so that buckets add up to hours and days."""
    seconds = reader.duration(node, what, low=1, high=3_600)
    if seconds is None or 3_600 % seconds == 0:
        return seconds
    reader.report("E208", f"{what} must divide an hour", node.place, "write 1s, 10s, 60s, 5m or 1h")
    return None
