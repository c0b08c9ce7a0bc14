"""Upstream addresses: one host and port, and how it is named in a Host line."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Origin:
    """An upstream address. `authority` is what a Host line says where the client sent none."""

    host: str
    port: int
    authority: bytes

    def __str__(self) -> str:
        return f"http://{self.authority.decode('ascii')}"


def parse_origin(address: str) -> Origin:
    """`http://host`, `http://host:port` or `http://[v6]:port` (a final `/` is allowed) as an Origin.

    Raises ValueError with what is wrong: another scheme, no host, a bad port, user information, a path, a query.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{address!r} is not an address: {error}") from None
    if parts.scheme != "http":
        raise ValueError(f"{address!r}: an upstream address begins with http://")
    host = parts.hostname
    if not host:
        raise ValueError(f"{address!r}: an upstream address needs a host, as in http://127.0.0.1:9000")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{address!r}: an upstream address holds no user name or password")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "?" in address or "#" in address:
        raise ValueError(
            f"{address!r}: an upstream address ends after the port; paths come from each request"
        )
    if port == 0:
        raise ValueError(f"{address!r}: port 0 is no port to connect to")
    if not host.isascii() or any(char <= " " or char == "\x7f" for char in host):
        raise ValueError(f"{address!r}: the host must be written in ASCII")
    name = f"[{host}]" if ":" in host else host
    return Origin(host, port or 80, (name if port in (None, 80) else f"{name}:{port}").encode("ascii"))
