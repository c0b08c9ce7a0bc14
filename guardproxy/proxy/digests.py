"""Digest lines of a response, made right for a body that was patched.

Decides which algorithms are known; a digest by another one would be a lie about the new body and is left out. All of them
are over the bytes as they are sent, content coding included: that is what Content-MD5 (RFC 1864), Digest (RFC 3230),
Content-Digest and, for a whole representation, Repr-Digest (RFC 9530) say.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

_Hash = Callable[[bytes], bytes]


def _hashed(name: str) -> _Hash:
    return lambda body: hashlib.new(name, body, usedforsecurity=False).digest()


_ALGORITHMS: Final[Mapping[str, _Hash]] = MappingProxyType(
    {
        "md5": _hashed("md5"),
        "sha": _hashed("sha1"),
        "sha-256": _hashed("sha256"),
        "sha-512": _hashed("sha512"),
    }
)


def digested(name: bytes, value: bytes, body: bytes) -> bytes | None:
    """Return the value of a digest line (its name in lower case) for another body; None where no known digest is left."""
    return _LINES[name](value, body)


def _md5(_value: bytes, body: bytes) -> bytes | None:
    return _base64("md5", body)


def _listed(value: bytes, body: bytes) -> bytes | None:
    """Make `sha-256=BASE64, ...` anew."""
    return _each(value, lambda algorithm: _base64(algorithm, body))


def _structured(value: bytes, body: bytes) -> bytes | None:
    """Make `sha-256=:BASE64:, ...` anew."""
    return _each(value, lambda algorithm: b":%b:" % _base64(algorithm, body))


def _each(value: bytes, digest: Callable[[str], bytes]) -> bytes | None:
    members = []
    for member in value.split(b","):
        algorithm = member.partition(b"=")[0].strip()
        known = algorithm.decode("latin-1").lower()
        if known in _ALGORITHMS:
            members.append(b"%b=%b" % (algorithm, digest(known)))
    return b", ".join(members) or None


def _base64(algorithm: str, body: bytes) -> bytes:
    return base64.b64encode(_ALGORITHMS[algorithm](body))


_LINES: Final[Mapping[bytes, Callable[[bytes, bytes], bytes | None]]] = MappingProxyType(
    {
        b"content-md5": _md5,
        b"digest": _listed,
        b"content-digest": _structured,
        b"repr-digest": _structured,
    }
)
DIGESTS: Final = frozenset(_LINES)
"""The lower-case names of the lines that hold digests of the body."""
