"""The files that a webhook names: a header line that lets us in, and a secret that signs what is sent.

Decides what such a file must hold. Reading it, and keeping its content out of every message, is left to `load`.
"""

import re
from typing import Final

MIN_SECRET: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def header_of(text: str) -> tuple[str, str]:
    """Return the name and the value of a header line. Raises ValueError with a sentence that does not show the text."""
    line = text.strip()
    name, _, value = line.partition(":")
    if not value.strip() or not _plain(line) or not _NAME.fullmatch(name):
        raise ValueError("must hold one header line such as Authorization: Bearer ...")
    return name, value.strip()


def secret_of(text: str) -> bytes:
    """Return a secret as it is. Raises ValueError with a sentence that does not show the text."""
    line = text.strip()
    if len(line) < MIN_SECRET or not _plain(line):
        raise ValueError(
            f"must hold one line of at least {MIN_SECRET} plain characters, such as openssl rand -hex 32 prints"
        )
    return line.encode()


def _plain(line: str) -> bool:
    return line.isprintable() and line.isascii()
