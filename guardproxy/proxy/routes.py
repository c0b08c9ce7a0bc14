"""The route table: which guarded route a request target belongs to.

Decides on the raw bytes of the path, before its `?`. A path that is none of a route's own spellings but that an upstream
might read as one (`//`, `%2F`, `/../`, another case, a trailing slash) is refused rather than let past the guard.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_to_bytes

T = TypeVar("T")

MAX_DECODINGS: Final = 6

_PLACEHOLDER: Final = re.compile(rb"\{[A-Za-z_][A-Za-z0-9_]*\}")
_SUSPECT: Final = re.compile(rb"//|/\.|%|;|\\|[/.]$|[^\x21-\x7e]|[A-Z]")


class Ambiguous:
    """The answer for a path that only another reading of it would bring to a guarded route."""


AMBIGUOUS: Final = Ambiguous()


@dataclass(frozen=True, slots=True)
class _Pattern(Generic[T]):
    exact: re.Pattern[bytes]
    loose: re.Pattern[bytes]
    route: T


class RouteTable(Generic[T]):
    """Finds a route by path. Literal paths win over patterns, patterns in the order given."""

    def __init__(self, routes: Sequence[tuple[str, T]]) -> None:
        """Take pairs of a path (with `{name}` placeholders for one segment and a trailing `*`) and its route."""
        self._literal = {path.encode(): route for path, route in routes if not _is_pattern(path)}
        self._patterns = [
            _Pattern(_compile(path.encode(), 0), _compile(path.encode().lower(), re.IGNORECASE), route)
            for path, route in routes
            if _is_pattern(path)
        ]
        self._loose = [_compile(path.lower(), re.IGNORECASE) for path in self._literal]

    def match(self, target: bytes) -> T | Ambiguous | None:
        """Return the route for a request target, None for an unguarded one, AMBIGUOUS for one to refuse."""
        path = target.partition(b"?")[0] if b"?" in target else target
        route = self._literal.get(path)
        if route is not None:
            return route
        for pattern in self._patterns:
            if pattern.exact.fullmatch(path):
                return pattern.route
        if _SUSPECT.search(path) and self._could_be_guarded(path):
            return AMBIGUOUS
        return None

    def _could_be_guarded(self, path: bytes) -> bool:
        loose = [*self._loose, *(pattern.loose for pattern in self._patterns)]
        return any(pattern.fullmatch(reading) for reading in readings(path) for pattern in loose)


def readings(path: bytes) -> set[bytes]:
    """Return how lenient servers may read a path: decoded again and again, slashes merged, dots resolved, `;x` cut."""
    found = set()
    for variant in _decodings(path):
        for cut in (
            variant,
            re.sub(rb";[^/]*", b"", variant),
            variant.partition(b"?")[0],
            variant.partition(b"#")[0],
        ):
            merged = re.sub(rb"/{2,}", b"/", cut.replace(b"\\", b"/").strip(b" \t\x00"))
            for form in (merged, _without_dots(merged)):
                found.add(form)
                found.add(form.rstrip(b"/. \x00") or b"/")
    return found


def _decodings(path: bytes) -> list[bytes]:
    variants = [path]
    while len(variants) <= MAX_DECODINGS and (more := unquote_to_bytes(variants[-1])) != variants[-1]:
        variants.append(more)
    return variants


def _without_dots(path: bytes) -> bytes:
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            # The first segment is the empty one before the leading slash: it stays.
            kept = kept[:-1] if len(kept) > 1 else kept
        elif segment != b".":
            kept.append(segment)
    return b"/".join(kept) or b"/"


def version_pattern(path: str) -> re.Pattern[bytes] | None:
    """Return what finds the model's version in a path that matches a route's; None where the route's has no `{version}`."""
    before, placeholder, after = path.encode().partition(b"{version}")
    if not placeholder:
        return None
    return re.compile(_compile(before, 0).pattern + rb"([^/]+)" + _compile(after, 0).pattern, re.DOTALL)


def _is_pattern(path: str) -> bool:
    return path.endswith("*") or _PLACEHOLDER.search(path.encode()) is not None


def _compile(path: bytes, flags: int) -> re.Pattern[bytes]:
    tail = b""
    if path.endswith(b"*"):
        path, tail = path[:-1], rb".*"
    parts = [re.escape(part) for part in _PLACEHOLDER.split(path)]
    return re.compile(rb"[^/]+".join(parts) + tail, flags | re.DOTALL)
