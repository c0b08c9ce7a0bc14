"""Who may talk to the admin plane: named tokens with a role, kept only as digests.

Decides how a tokens file is read, how a token is made and recognised. What a role may do is left to `access`.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from guardproxy.documents import parse_documents
from guardproxy.source import Node, Problem, Reader, Scalar

MAX_TOKENS: Final = 1_000
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_KEYS: Final = ("name", "role", "sha256")
NAME_HELP: Final = "a token's name may have letters, digits and . _ @ - only, 64 at most"


class Role(IntEnum):
    """What a person may do, each role including the ones before it."""

    VIEWER = 1
    """Sees holds, rules and windows."""
    REVIEWER = 2
    """Decides holds."""
    OPERATOR = 3
    """Also forces an override that an enforced rule speaks against."""

    @property
    def word(self) -> str:
        """The role as it is written in a tokens file."""
        return self.name.lower()


ROLES: Final[Mapping[str, Role]] = {role.word: role for role in Role}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: who, what they may do, and the SHA-256 of the secret (64 lower-case hexadecimal digits)."""

    name: str
    role: Role
    sha256: str


@dataclass(frozen=True, slots=True)
class TokenBook:
    """All tokens that are valid. `open_to_all` is `auth: none`: whoever reaches the listener is an operator."""

    tokens: tuple[Token, ...] = ()
    open_to_all: bool = False

    def find(self, secret: str) -> Token | None:
        """Return the token of this secret. The time taken does not tell which digests come close."""
        digest = digest_of(secret)
        found: Token | None = None
        for token in self.tokens:
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found

    def named(self, name: str, sha256: str) -> Token | None:
        """Return the token called `name` if it still has this digest: a withdrawn token ends its sessions."""
        return next(
            (token for token in self.tokens if token.name == name and token.sha256 == sha256),
            None,
        )


NO_AUTH: Final = TokenBook(open_to_all=True)
"""`auth: none`. Whoever uses it must see to it that the listener is loopback."""


def new_token(name: str, role: Role) -> tuple[str, Token]:
    """Make a random 256-bit secret; return it with the token that recognises it. It is never shown again."""
    secret = f"gp_{secrets.token_urlsafe(32)}"
    return secret, Token(name, role, digest_of(secret))


def is_token_name(name: str) -> bool:
    """Tell whether a token may be called so."""
    return _NAME.fullmatch(name) is not None


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a secret as hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def read_tokens(text: str, file: str) -> tuple[TokenBook, list[Problem]]:
    """Read a tokens file: a YAML or JSON list of `{name, role, sha256}`. All problems are returned at once."""
    nodes, problems = parse_documents(text, file)
    reader = Reader(file, problems)
    tokens: list[Token] = []
    seen: set[str] = set()
    items = reader.items(nodes[0], "a tokens file") if nodes else ()
    for item in items[:MAX_TOKENS]:
        token = _token(reader, item)
        if token is None:
            continue
        if token.name in seen or token.sha256 in seen:
            reader.report("E201", f"the name or the digest of {token.name!r} stands here twice", item.place)
        seen |= {token.name, token.sha256}
        tokens.append(token)
    if len(items) > MAX_TOKENS:
        reader.report("E203", f"at most {MAX_TOKENS} tokens are read", items[MAX_TOKENS].place)
    return TokenBook(tuple(tokens)), reader.problems


def _token(reader: Reader, node: Node) -> Token | None:
    entries = reader.mapping(node, "a token", _KEYS, required=_KEYS)
    if set(entries) != set(_KEYS):
        return None
    name = reader.text(entries["name"].value, "a token's name", max_length=64)
    role = reader.choice(entries["role"].value, "a role", ROLES)
    sha256 = _digest(reader, entries["sha256"].value)
    if name is not None and not is_token_name(name):
        reader.report("E208", NAME_HELP, entries["name"].value.place)
        return None
    if name is None or role is None or sha256 is None:
        return None
    return Token(name, role, sha256)


def _digest(reader: Reader, node: Node) -> str | None:
    # Sixty-four digits without a letter are a number to YAML, so the text as written counts.
    raw = node.raw.strip("'\"") if isinstance(node, Scalar) else ""
    if _SHA256.fullmatch(raw):
        return raw
    reader.report(
        "E206",
        "sha256 must be 64 lower-case hexadecimal digits",
        node.place,
        "`guardproxy token new` prints the line to put here",
    )
    return None
