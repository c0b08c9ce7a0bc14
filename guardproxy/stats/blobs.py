"""Bytes that anybody may have written into the store, unpacked under a bound.

Decides how they are packed (zlib level 1) and that what is cut short, goes on behind its end or is too large is refused whole: a count
that is read wrongly is worse than one that is missing. What the bytes mean is left to whoever reads them.
"""

import json
import zlib
from typing import Any, Final

LEVEL: Final = 1


def deflated(data: bytes) -> bytes:
    """Return bytes packed, for `inflated`."""
    return zlib.compress(data, LEVEL)


def inflated(blob: bytes, most: int) -> bytes:
    """Return at most `most` bytes that a blob was packed of. Raises ValueError for any other blob, without unpacking more."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(blob, most + 1)
    except zlib.error as error:
        raise ValueError(f"they are damaged: {error}") from error
    if len(data) > most or not inflater.eof or inflater.unused_data:
        raise ValueError(f"they are damaged: not one stream of at most {most} bytes")
    return data


def deflated_json(said: Any) -> bytes:
    """Return a JSON value packed, for `inflated_json`."""
    return deflated(json.dumps(said, separators=(",", ":")).encode())


def inflated_json(blob: bytes, most: int) -> Any:
    """Return the JSON value that a blob says in at most `most` bytes. Raises ValueError for any other blob."""
    data = inflated(blob, most)
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("they are damaged: nested too deep") from error
