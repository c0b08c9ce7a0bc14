"""JSON Pointers (RFC 6901): parsed once, followed in every document.

Decides what a pointer is and what stands where it leads. What that means is left to the forms.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import NeedsExactError, as_object
from guardproxy.errors import DecodeError

Pointer: TypeAlias = tuple[str | int, ...]
"""Tokens; the number -1 is the last item of an array."""

LAST: Final = -1

ROOT: Final[Pointer] = ()

_POSITION: Final = re.compile(r"0|[1-9][0-9]{0,8}")


class Found(NamedTuple):
    """What stands where a pointer leads, and the path to it."""

    value: Any
    path: Path


def parse_pointer(pointer: str, *, literal: bool = True) -> Pointer:
    """Return the tokens of a JSON Pointer; `-1` is the last item of an array unless it is `literal`.

    Raises ValueError with a sentence for the operator.
    """
    if not pointer:
        return ROOT
    if not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is not a JSON Pointer; it begins with a slash, such as /data/rows")
    if re.search(r"~(?![01])", pointer):
        raise ValueError(f"{pointer!r} is not a JSON Pointer; write ~0 for a tilde and ~1 for a slash")
    tokens = (token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))
    return tuple(LAST if part == "-1" and not literal else part for part in tokens)


def spelled(pointer: Sequence[str | int]) -> str:
    """Return a pointer as text."""
    return "".join(f"/{token}" for token in pointer)


def step_into(value: list[Any], token: str | int) -> int:
    """Return the position that a token means in an array. Raises DecodeError when there is no such item."""
    at = position(value, token)
    if at is None:
        raise DecodeError("a pointer leads to no item of an array")
    return at


def position(value: list[Any], token: str | int) -> int | None:
    """Return the position that a token means in an array; None when there is no such item."""
    if token == LAST:
        return len(value) - 1 if value else None
    at = int(token) if _POSITION.fullmatch(str(token)) else len(value)
    return at if at < len(value) else None


def find(value: Any, pointer: Pointer) -> Found | None:
    """Return what stands where a pointer leads; None when nothing does.

    Raises DecodeError for an object on the way that has the same key twice, NeedsExactError for one that another reading
    must take apart.
    """
    path: list[str | int] = []
    for token in pointer:
        step: str | int | None
        if type(value) is list:
            step = position(value, token)
            if step is None:
                return None
        elif isinstance(value, dict):
            if token not in as_object(value, "a value on the way to a field"):
                return None
            step = token
        elif isinstance(value, np.ndarray):
            raise NeedsExactError
        else:
            return None
        value = value[step]
        path.append(step)
    return Found(value, tuple(path))


def leads(value: Any, pointer: Pointer, *, nested: bool = False) -> bool:
    """Tell whether something (an array or an object, if `nested`) stands where a pointer leads."""
    for token in pointer:
        step: str | int | None = token
        if type(value) is list:
            step = position(value, token)
            if step is None:
                return False
        elif not isinstance(value, dict) or token not in value:
            return False
        value = value[step]
    return not nested or isinstance(value, (list, dict, np.ndarray))
