"""Where statistics in Redis stand: an address as it is written in the configuration, read into parts.

Decides which addresses there are and what is wrong with one, without ever saying its password. Connections are left to
`redis_links`, who serves which key to `redis_topology`.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from guardproxy.errors import StoreError

EXAMPLES: Final = (
    "write redis://HOST:6379/0, rediss://..., redis+sentinel://HOST:26379,HOST2:26379/NAME/0, redis+cluster://HOST:6379, "
    "or sqlite:///statistics.db"
)
MAX_HOSTS: Final = 64
"""Most servers that an address may name; one with more is refused."""
_TLS_FILES: Final = frozenset({"ca", "cert", "key"})


class Kind(StrEnum):
    """How the servers stand to each other."""

    STANDALONE = "redis"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Server(NamedTuple):
    """Where one server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The parts of an address. `name` is what the sentinels call the primary; `files` are paths of PEM files: `ca` (whom to
    trust in place of the system's authorities), `cert` and `key` (who we are)."""

    kind: Kind
    servers: tuple[Server, ...]
    name: str = ""
    database: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    files: tuple[tuple[str, str], ...] = ()


SCHEMES: Final = {
    "redis": (Kind.STANDALONE, False),
    "rediss": (Kind.STANDALONE, True),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
}
_PORTS: Final = {Kind.STANDALONE: 6379, Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}


def read_address(url: str, password: str | None = None) -> RedisAddress:
    """Read an address; `password` (from a file) stands in for one in the address. Raises StoreError with a sentence."""
    try:
        return _address(urlsplit(url), password)
    except ValueError as error:
        shown = url.rpartition("@")[2]
        raise StoreError(f"the address of statistics {shown!r}: {error}; {EXAMPLES}") from None


def _address(parts: SplitResult, password: str | None) -> RedisAddress:
    if parts.scheme not in SCHEMES:
        raise ValueError(f"{parts.scheme or 'no'} scheme is not known")
    kind, tls = SCHEMES[parts.scheme]
    access, at, hosts = parts.netloc.rpartition("@")
    user, _, secret = access.partition(":")
    name, database = _path(kind, parts.path)
    return RedisAddress(
        kind,
        tuple(_server(host, _PORTS[kind]) for host in _hosts(kind, hosts)),
        name,
        database,
        unquote(user) or None if at else None,
        password or unquote(secret) or None,
        tls,
        _files(parts.query, tls=tls),
    )


def _hosts(kind: Kind, text: str) -> list[str]:
    hosts = text.split(",")
    if kind is Kind.STANDALONE and len(hosts) > 1:
        raise ValueError("it names several servers; with redis+sentinel:// or redis+cluster:// it may")
    if len(hosts) > MAX_HOSTS:
        raise ValueError(f"it names more than {MAX_HOSTS} servers")
    return hosts


def _server(text: str, default: int) -> Server:
    one = urlsplit(f"//{text}")
    if not one.hostname:
        raise ValueError("it names no server")
    return Server(one.hostname, default if one.port is None else one.port)


def _path(kind: Kind, path: str) -> tuple[str, int]:
    """Return the primary's name and the number of the database."""
    steps = [unquote(step) for step in path.strip("/").split("/") if step]
    name = steps.pop(0) if kind is Kind.SENTINEL and steps else ""
    if kind is Kind.SENTINEL and not name:
        raise ValueError("it does not name the primary")
    text = steps.pop(0) if steps else "0"
    if steps or not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise ValueError("the database must be a number")
    if kind is Kind.CLUSTER and int(text):
        raise ValueError("a cluster has only database 0")
    return name, int(text)


def _files(query: str, *, tls: bool) -> tuple[tuple[str, str], ...]:
    found = dict(parse_qsl(query, strict_parsing=True)) if query else {}
    if unknown := sorted(found.keys() - _TLS_FILES):
        raise ValueError(f"{unknown[0]} is no setting; ca, cert and key are, each the path of a PEM file")
    if found and not tls:
        raise ValueError("ca, cert and key go with rediss:// only")
    if ("key" in found) and "cert" not in found:
        raise ValueError("a key needs its cert")
    return tuple(sorted(found.items()))
