"""Where values stand in a JSON text.

Decides the exact span of every wanted value, so that a patch can replace it and nothing else. Which values are wanted
is left to the protocols. The text must be one that `JsonReader.exact` has read.
"""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from json.decoder import scanstring  # type: ignore[attr-defined] # typeshed leaves it out
from typing import Any, Final, TypeAlias

from guardproxy.errors import PatchError

Path: TypeAlias = tuple[str | int, ...]
"""The way from a document's root to a value: keys and positions."""

Span: TypeAlias = tuple[int, int]
"""Start and end of a value's text, in characters."""

_Wanted: TypeAlias = "dict[str | int, _Wanted] | Path"
"""A tree of steps; its leaves are the paths themselves."""

_BLANK: Final = " \t\n\r"
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NESTING: Final = re.compile(r'["\[{]')
_FLAT_FROM: Final = 64
"""Arrays of fewer characters are walked as fast value by value."""

_scan: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined] # typeshed leaves it out


def value_at(value: Any, path: Path) -> Any:
    """Return the value at a path. Raises LookupError when there is none."""
    for step in path:
        value = value[step]
    return value


def find_spans(text: str, paths: Iterable[Path]) -> dict[Path, Span]:
    """Return the span of the value at each path. Raises PatchError when a path leads nowhere.

    A path may not lead into a value that another path takes whole. Values beside the paths are skipped at the speed
    of the C scanner.
    """
    wanted = set(paths)
    found: dict[Path, Span] = {}
    _walk(text, _skip(text, 0), _tree(wanted), found)
    if len(found) != len(wanted):
        raise PatchError("a value to be replaced is not in the response")
    return found


def replace_values(text: str, texts: Mapping[Path, str]) -> str:
    """Return `text` with the value at each path replaced by its new text. Raises PatchError as `find_spans` does."""
    return replace_spans(text, texts, find_spans(text, texts))


def replace_spans(text: str, texts: Mapping[Path, str], spans: Mapping[Path, Span]) -> str:
    """Return `text` with the span of each path replaced by its new text; all else stays."""
    parts: list[str] = []
    at = 0
    for path in sorted(texts, key=spans.__getitem__):
        start, end = spans[path]
        parts += (text[at:start], texts[path])
        at = end
    parts.append(text[at:])
    return "".join(parts)


def _tree(paths: Iterable[Path]) -> _Wanted:
    root: dict[str | int, Any] = {}
    for path in paths:
        if not path:
            return path
        node = root
        for step in path[:-1]:
            node = node.setdefault(step, {})
        node[path[-1]] = path
    return root


def _walk(text: str, at: int, node: _Wanted, found: dict[Path, Span]) -> int:
    """Walk the value at `at` and return where it ends."""
    if isinstance(node, tuple):
        end: int = _scan(text, at)[1]
        found[node] = (at, end)
        return end
    opening = text[at]
    if opening == "{":
        return _walk_object(text, at + 1, node, found)
    if opening == "[":
        return _walk_array(text, at + 1, node, found)
    raise PatchError("a value to be replaced is not in the response")


def _walk_object(text: str, at: int, node: dict[str | int, _Wanted], found: dict[Path, Span]) -> int:
    at = _skip(text, at)
    while text[at] != "}":
        if text[at] == ",":
            at = _skip(text, at + 1)
        key, at = scanstring(text, at + 1, True)  # noqa: FBT003 (its own signature)
        at = _skip(text, _skip(text, at) + 1)
        child = node.get(key)
        at = _scan(text, at)[1] if child is None else _walk(text, at, child, found)
        at = _skip(text, at)
    return at + 1


def _walk_array(text: str, at: int, node: dict[str | int, _Wanted], found: dict[Path, Span]) -> int:
    end = text.index("]", at)
    if end - at > _FLAT_FROM and _NESTING.search(text, at, end) is None:
        _find_flat(text, at, end, node, found)
        return end + 1
    at = _skip(text, at)
    position = 0
    while text[at] != "]":
        if text[at] == ",":
            at = _skip(text, at + 1)
        child = node.get(position)
        at = _scan(text, at)[1] if child is None else _walk(text, at, child, found)
        at = _skip(text, at)
        position += 1
    return at + 1


def _find_flat(text: str, at: int, end: int, node: dict[str | int, _Wanted], found: dict[Path, Span]) -> None:
    """Find spans in an array of numbers and words: without texts in it, every comma separates two of them."""
    pieces = text[at:end].split(",")
    starts = list(accumulate(map(len, pieces), lambda start, length: start + length + 1, initial=at))
    for position, path in node.items():
        if type(position) is not int or position >= len(pieces) or not isinstance(path, tuple):
            continue
        piece = pieces[position]
        value = piece.strip(_BLANK)
        if value:
            start = starts[position] + len(piece) - len(piece.lstrip(_BLANK))
            found[path] = (start, start + len(value))


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match is not None else at
