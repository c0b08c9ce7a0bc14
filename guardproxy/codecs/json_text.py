"""The JSON container: bytes to values, never wrong about a number or a key.

Decides how a body becomes Python values: a fast reading that proves itself, and an exact one for whatever the fast
readers refuse or would change. Where the rows are in a document is left to the protocols, which hand in a `Build`.

The fast readers (orjson; simdjson for large numeric batches) refuse NaN and the infinities, turn whole numbers beyond
64 bits (simdjson: beyond 53) into floats, and keep the last of two equal keys. So a fast reading only counts when
its numbers are below 2**53 and when its document has as many keys as the text has key endings; everything else is
read again by the standard library's reader, which is slow and tells all.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import orjson

from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.message import Message
from guardproxy.table import EXACT_INTEGERS, Floats, Table

Build: TypeAlias = Callable[[Any, bool], tuple[Table, int]]
"""Makes the table of a document. It gets the value and whether the reading is exact, and returns the table and the
number of keys it has passed (in the located part and, by `survey`, in all the rest). On a reading that is not exact
it raises NeedsExactError wherever the fast readers may have changed a value."""


class NeedsExactError(Exception):
    """Only the exact reading can tell what stands here. Never leaves this package."""


class Doubled(dict[str, Any]):
    """An object in which a key stands twice; only the exact reading makes one. It holds the last of the two."""


class SimdParser(Protocol):
    """What is used of a simdjson parser."""

    def parse(self, src: bytes) -> Any:
        """Return a proxy of the document's root."""
        ...


DEFAULT_PARSER: Callable[[], SimdParser] | None
"""simdjson's parser, where it is installed: it has no wheel for the newest Python, and nothing needs it to be right."""
try:
    from simdjson import Parser

    DEFAULT_PARSER = Parser
except ImportError:
    DEFAULT_PARSER = None

SIMD_FROM: Final = 8 * 1024
"""Bodies of fewer bytes are read by orjson as fast."""

SIMD_KEYS: Final = 256
"""Objects of more keys are read by orjson."""

BLOCK_FROM: Final = 32
"""Flat arrays of fewer elements become lists, not blocks."""

DEEPEST_LOCATED: Final = 8
"""How deep the protocols' own nesting may be; a smaller `max_depth` could not read them."""

MAX_DEPTH: Final = 256
"""Far below what the interpreter's own stack can take."""

_UNREAD: Final = object()
_BOM: Final = b"\xef\xbb\xbf"
_KEY_END: Final = re.compile(rb'"[ \t\r\n]*:')
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_NUMPY_FROM: Final = 2048
_OTHER_TYPES: Final = ("application/", "audio/", "image/", "multipart/", "text/csv", "video/")
_JSON_TYPES: Final = ("json", "text/plain")


class JsonReader:
    """Reads JSON bodies. `parser` makes a simdjson parser, None goes without. Keeps no state between calls."""

    __slots__ = ("_max_depth", "_parser")

    def __init__(self, max_depth: int = 64, parser: Callable[[], SimdParser] | None = DEFAULT_PARSER) -> None:
        if not DEEPEST_LOCATED <= max_depth <= MAX_DEPTH:
            raise ValueError(f"max_depth must be from {DEEPEST_LOCATED} to {MAX_DEPTH}")
        self._max_depth = max_depth
        self._parser = parser

    def decode(self, message: Message, build: Build, foreign: bytes = b"") -> Table:
        """Read a body and build its table. Raises DecodeError.

        Raises OpaqueError when the body is no JSON and its content type or the mark `foreign` in it says why.
        """
        body = message.body
        if self._parser is not None and len(body) >= SIMD_FROM:
            table = self._batch(body, build)
            if table is not None:
                return table
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            value = _read_with_nan(body)
        if value is not _UNREAD:
            try:
                table, keys = build(value, False)  # noqa: FBT003 (a Build takes positions; it is called per request)
                if _has_keys(body, keys):
                    return table
            except NeedsExactError:
                pass
        return build(self._exact_or_opaque(message, foreign), True)[0]  # noqa: FBT003

    def exact(self, body: bytes) -> Any:
        """Return a body's values: NaN and infinities as floats, whole numbers whole, equal keys as `Doubled`.

        Raises DecodeError for anything that is not one strict JSON text in UTF-8 (beside those three words), for
        numbers beyond a float64's range and for nesting beyond `max_depth`.
        """
        text = strict_text(body)
        try:
            value = _EXACT.decode(text)
        except RecursionError:
            raise DecodeError(f"the body is nested deeper than {self._max_depth}") from None
        except ValueError as error:
            where = f" (character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
            raise DecodeError(f"the body is not valid JSON{where}") from None
        self.survey(value, 0)
        if _SURROGATE.search(body) and not _encodable(value):
            raise DecodeError("the body has text with half a surrogate pair")
        return value

    def survey(self, value: Any, depth: int) -> int:
        """Count the keys in a value that stands inside `depth` containers. Raises DecodeError when it is too deep."""
        kind = type(value)
        if kind is not list and not isinstance(value, dict):
            return 0
        if depth >= self._max_depth:
            raise DecodeError(f"the body is nested deeper than {self._max_depth}")
        keys = 0
        inside = value
        if kind is not list:
            keys = len(value)
            inside = value.values()
        for item in inside:
            if type(item) is list or isinstance(item, dict):
                keys += self.survey(item, depth + 1)
        return keys

    def others(self, value: Mapping[str, Any], *located: str, depth: int = 1) -> int:
        """Count the keys of an object (the root, or one that deep) and of all its members but the located ones."""
        keys = len(value)
        if keys > len(located):
            for name, item in value.items():
                if name not in located and (
                    type(item) is dict or type(item) is list or type(item) is Doubled
                ):
                    keys += self.survey(item, depth)
        return keys

    def _exact_or_opaque(self, message: Message, foreign: bytes) -> Any:
        try:
            return self.exact(message.body)
        except DecodeError:
            if _is_other_type(message.content_type):
                raise OpaqueError("the body is not JSON and says so in its content type") from None
            if foreign and foreign in message.body:
                raise OpaqueError("the body is in another form of its protocol than JSON") from None
            raise

    def _batch(self, body: bytes, build: Build) -> Table | None:
        """Read a large numeric body; None when it is not one, or when this reading cannot prove itself."""
        raw = np.frombuffer(body, dtype=np.uint8)
        if int(np.count_nonzero(raw == ord("{"))) * 256 > len(body) or body.startswith(_BOM):
            return None
        assert self._parser is not None  # noqa: S101
        hollow = _Hollow(self._max_depth)
        try:
            value = hollow.value(self._parser().parse(body), 0)
        except (ValueError, TypeError, RuntimeError, NeedsExactError):  # RuntimeError: simdjson's own depth
            return None
        if hollow.arrays != int(np.count_nonzero(raw == ord("["))) or not _has_keys(body, hollow.keys):
            return None
        try:
            return build(value, False)[0]  # noqa: FBT003
        except NeedsExactError:
            return None


class _Hollow:
    """A simdjson document as Python values, its large numeric arrays as float64 blocks of one or two axes.

    simdjson flattens nested arrays without a word, so every array that was seen is counted, and the caller compares
    the count with the brackets in the text.
    """

    __slots__ = ("_max_depth", "arrays", "keys")

    def __init__(self, max_depth: int) -> None:
        self.arrays = 0
        self.keys = 0
        self._max_depth = max_depth

    def value(self, proxy: Any, depth: int) -> Any:
        if hasattr(proxy, "as_list"):
            return self._array(proxy, depth)
        if hasattr(proxy, "as_dict"):
            self._descend(depth)
            # Its look-up walks the members: an object of many keys would take their square.
            if len(proxy) > SIMD_KEYS:
                raise NeedsExactError
            # Its items() are no proxies, and its look-up ends a key at a NUL: it would find another member.
            if any("\0" in key for key in proxy):
                raise NeedsExactError
            made = {key: self.value(proxy[key], depth + 1) for key in proxy}
            self.keys += len(made)
            return made
        return proxy

    def _array(self, proxy: Any, depth: int) -> Any:
        self._descend(depth)
        self.arrays += 1
        length = len(proxy)
        first: Any = proxy[0] if length else None
        if hasattr(first, "as_list"):
            return self._matrix(proxy, length, len(first))
        if length < BLOCK_FROM:
            return [self.value(item, depth + 1) for item in proxy]
        if type(first) is float or type(first) is int:
            return self._block(proxy, (length,))
        if type(first) is str:
            return [self.value(item, depth + 1) for item in proxy]
        raise NeedsExactError

    def _matrix(self, proxy: Any, length: int, width: int) -> Floats:
        if set(map(len, proxy)) != {width} or width == 0:
            raise NeedsExactError
        self.arrays += length
        return self._block(proxy, (length, width))

    def _block(self, proxy: Any, shape: tuple[int, ...]) -> Floats:
        block: Floats = np.frombuffer(proxy.as_buffer(of_type="d"), dtype=np.float64)
        if block.size != np.prod(shape) or not is_exact_block(block):
            raise NeedsExactError
        return block.reshape(shape)

    def _descend(self, depth: int) -> None:
        if depth >= self._max_depth:
            raise NeedsExactError


def is_exact_block(block: Floats) -> bool:
    """Tell whether no number of a block is so large that a whole number may have been rounded. NaN is no number."""
    if not block.size:
        return True
    return bool(np.fmax.reduce(block, axis=None) < EXACT_INTEGERS) and bool(
        np.fmin.reduce(block, axis=None) > -EXACT_INTEGERS
    )


def strict_text(body: bytes) -> str:
    """Return a body as text. Raises DecodeError unless it is UTF-8 without a byte order mark."""
    if body.startswith(_BOM):
        raise DecodeError("the body begins with a byte order mark")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise DecodeError("the body is not UTF-8 text") from None


def _read_with_nan(body: bytes) -> Any:
    """Read a body whose only oddity is the word NaN, as numeric batches with gaps have it; `_UNREAD` when it has others.

    The word and null both mean missing. It may only be exchanged where it is no part of a text: without a backslash
    in the body, every second piece between quotes is outside.
    """
    if b"NaN" not in body or b"\\" in body:
        return _UNREAD
    outside = sum(piece.count(b"NaN") for piece in body.split(b'"')[::2])
    if outside != body.count(b"NaN"):
        return _UNREAD
    try:
        return orjson.loads(body.replace(b"NaN", b"null"))
    except orjson.JSONDecodeError:
        return _UNREAD


def as_object(value: Any, what: str) -> dict[str, Any]:
    """Return a value that must be an object with distinct keys. Raises DecodeError that calls it `what`."""
    if type(value) is dict:
        return value
    if type(value) is Doubled:
        raise DecodeError(f"{what} has the same key twice")
    raise DecodeError(f"{what} is not an object")


def _has_keys(body: bytes, keys: int) -> bool:
    """Tell whether the text has no more keys than were read: then none was there twice.

    Every key is followed by a colon of its own, so as many colons as keys is proof enough; text with colons in it
    takes the closer look at quotes that stand before colons, which are never fewer than the keys.
    """
    if len(body) < _NUMPY_FROM:
        colons = body.count(b":")
    else:
        colons = int(np.count_nonzero(np.frombuffer(body, dtype=np.uint8) == ord(":")))
    return colons == keys or len(_KEY_END.findall(body)) == keys


def _is_other_type(content_type: str | None) -> bool:
    if content_type is None:
        return False
    media = content_type.partition(";")[0].strip().lower()
    if any(part in media for part in _JSON_TYPES):
        return False
    return media.startswith(_OTHER_TYPES)


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else Doubled(made)


def _real(text: str) -> float:
    value = float(text)
    if value in {np.inf, -np.inf}:
        raise ValueError("a number beyond the range of a float64")
    return value


def _whole(text: str) -> int:
    if len(text) > 300 and abs(float(text)) == np.inf:
        raise ValueError("a number beyond the range of a float64")
    return int(text)


_EXACT: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=_real, parse_int=_whole)
