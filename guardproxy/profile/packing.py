"""What is kept of a stream, as bytes: named values in a tree, and arrays beside it.

Decides the bytes (a header of JSON and the arrays, packed by zlib), their bounds, and what is said of damaged ones. What the
values mean is left to whoever packs them; the file as a whole to `parts`.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

MAX_BYTES: Final = 2**30
"""So many bytes are packed or unpacked at most; more are refused."""

_DTYPES: Final = ("<f8", "<i8", "<u8", "<i4", "|u1")
_ARRAY: Final = "\0array"
_HEAD: Final = 8

Packed: TypeAlias = "Mapping[str, Any]"
"""A tree: mappings of mappings, numbers, texts, yes and no, null, lists of texts, and arrays as leaves."""


class Node:
    """One mapping of an unpacked tree, whose values are asked for by name and type. Every damage is a ValueError."""

    def __init__(self, values: Mapping[str, Any], arrays: list[NDArray[Any]], name: str) -> None:
        self._values, self._arrays, self._name = values, arrays, name

    def damaged(self, what: str) -> ValueError:
        """Return the error for a value that cannot be."""
        return ValueError(f"{self._name}: the part is damaged: {what}; learn it again")

    def keys(self) -> tuple[str, ...]:
        """Return the names of the values, in the order they were written."""
        return tuple(self._values)

    def node(self, key: str) -> "Node":
        """Return the mapping called `key`."""
        return Node(self._get(key, dict), self._arrays, self._name)

    def maybe(self, key: str) -> "Node | None":
        """Return the mapping called `key`, None where null was written."""
        return None if self._values.get(key) is None else self.node(key)

    def nodes(self, key: str) -> Iterator[tuple[str, "Node"]]:
        """Return the mappings in the mapping called `key`, by name."""
        inner = self.node(key)
        for name in inner.keys():  # noqa: SIM118
            yield name, inner.node(name)

    def integer(self, key: str, low: int = 0, high: int = 2**62) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._get(key, int)
        if isinstance(value, bool) or not low <= value <= high:
            raise self.damaged(f"{key} cannot be {value}")
        return int(value)

    def number(self, key: str) -> float:
        """Return a number; NaN and infinities are numbers here."""
        return float(self._get(key, (int, float)))

    def flag(self, key: str) -> bool:
        """Return a yes or no."""
        return bool(self._get(key, bool))

    def text(self, key: str) -> str:
        """Return a text."""
        return str(self._get(key, str))

    def text_or_none(self, key: str) -> str | None:
        """Return a text, None where null was written."""
        return None if self._values.get(key) is None else self.text(key)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self._get(key, list)
        if not all(isinstance(value, str) for value in values):
            raise self.damaged(f"{key} must be texts")
        return tuple(values)

    def array(
        self, key: str, dtype: type[np.generic], *, ndim: int = 1, most: int = MAX_BYTES
    ) -> NDArray[Any]:
        """Return an array of this type, shape and at most `most` numbers, which may be written to."""
        place = self._get(key, dict).get(_ARRAY)
        if not isinstance(place, int) or not 0 <= place < len(self._arrays):
            raise self.damaged(f"{key} is no array")
        found = self._arrays[place]
        if found.dtype != np.dtype(dtype) or found.ndim != ndim or found.size > most:
            raise self.damaged(f"{key} has the wrong size")
        return found

    def _get(self, key: str, kind: type | tuple[type, ...]) -> Any:
        value = self._values.get(key)
        if not isinstance(value, kind):
            raise self.damaged(f"{key} is missing")
        return value


def pack(tree: Packed) -> bytes:
    """Return a tree as bytes. Texts may hold anything that Python's can. Raises ValueError for more than MAX_BYTES."""
    arrays: list[NDArray[Any]] = []
    header = {"tree": _without_arrays(tree, arrays), "arrays": [[a.dtype.str, list(a.shape)] for a in arrays]}
    head = json.dumps(header, separators=(",", ":")).encode("ascii")
    size = _HEAD + len(head) + sum(array.nbytes for array in arrays)
    if size >= MAX_BYTES:
        raise ValueError(f"a part of {size:,} bytes is larger than {MAX_BYTES:,}: learn fewer columns")
    packer = zlib.compressobj(1)
    packed = [packer.compress(len(head).to_bytes(_HEAD, "little")), packer.compress(head)]
    packed += [packer.compress(array.tobytes()) for array in arrays]
    return b"".join((*packed, packer.flush()))


def unpack(data: bytes, name: str) -> Node:
    """Read what `pack` made; `name` is what the bytes are called in an error. Raises ValueError on any damage."""
    blank = Node({}, [], name)
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, MAX_BYTES)
    except zlib.error:
        raise blank.damaged("its bytes have changed") from None
    if not unpacker.eof:
        raise blank.damaged(
            "it is larger than a part can be" if unpacker.unconsumed_tail else "it is cut short"
        )
    try:
        end = _HEAD + int.from_bytes(plain[:_HEAD], "little")
        header = json.loads(plain[_HEAD:end])
        arrays = list(_arrays(header["arrays"], plain, end))
        return Node(header["tree"], arrays, name)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise blank.damaged("its header cannot be read") from None


def _without_arrays(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value.astype(value.dtype.newbyteorder("<"), copy=False))
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, Mapping):
        return {name: _without_arrays(inner, arrays) for name, inner in value.items()}
    return value


def _arrays(listed: list[Any], plain: bytes, at: int) -> Iterator[NDArray[Any]]:
    for dtype, shape in listed:
        if dtype not in _DTYPES or not all(type(side) is int and 0 <= side < 2**40 for side in shape):
            raise ValueError("an array of a type that no part has")
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=object))
        found = np.frombuffer(plain, kind, count, at).reshape(shape)
        at += found.nbytes
        yield found.copy()
