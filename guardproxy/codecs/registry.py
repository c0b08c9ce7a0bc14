"""The protocols by name, and the protocol that a path is of.

Decides which names and paths there are, by the presets. What a path without a protocol means is left to `config`.
"""

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from guardproxy.codecs.base import Codec, CodecOptions
from guardproxy.codecs.codec import PresetCodec
from guardproxy.codecs.json_text import JsonReader
from guardproxy.codecs.preset import Preset
from guardproxy.codecs.presets import PRESETS

PROTOCOLS: Final[Mapping[str, Preset]] = MappingProxyType({preset.name: preset for preset in PRESETS})


def make_codec(protocol: str | Preset, options: CodecOptions, reader: JsonReader | None = None) -> Codec:
    """Return the codec of a protocol. Raises ValueError, naming the likely word, for one that does not exist, and
    for options that a codec cannot use (a pointer that is none)."""
    preset = PROTOCOLS.get(protocol) if isinstance(protocol, str) else protocol
    if preset is None:
        likely = difflib.get_close_matches(str(protocol), PROTOCOLS, n=1, cutoff=0.5)
        hint = f"did you mean {likely[0]}?" if likely else f"it is one of {', '.join(PROTOCOLS)}"
        raise ValueError(f"there is no protocol '{protocol}'; {hint}")
    return PresetCodec(preset, options, reader)


def protocol_of_path(path: str) -> str | None:
    """Return the protocol whose requests have such a path, a route's: it may have `{name}` placeholders and a trailing `*`.

    None when no protocol has, or when what a `*` stands for may be of several.
    """
    wild = path.endswith("*")
    segments = path.removesuffix("*").split("/")
    found = [
        preset.name
        for preset in PRESETS
        if any(_fits(segments, pattern.split("/"), wild=wild) for pattern in preset.paths)
    ]
    return found[0] if len(found) == 1 or (found and not wild) else None


def _fits(segments: list[str], pattern: list[str], *, wild: bool) -> bool:
    """Tell whether a path may be one of a pattern; of a `wild` path these are the segments before its `*`."""
    if wild:
        *whole, last = segments
        at = len(whole)
        return at < len(pattern) and _are(whole, pattern[:at]) and _begins(last, pattern[at])
    if pattern[0] == "*":
        pattern = pattern[1:]
        segments = segments[-len(pattern) :]
    return _are(segments, pattern)


def _are(segments: list[str], pattern: list[str]) -> bool:
    return len(segments) == len(pattern) and all(map(_is, segments, pattern))


def _is(segment: str, pattern: str) -> bool:
    if _ANY not in pattern:
        return segment == pattern
    end = pattern.removeprefix(_ANY)
    return _PLACEHOLDER.fullmatch(segment) is not None or (segment.endswith(end) and segment != end)


def _begins(segment: str, pattern: str) -> bool:
    return _ANY in pattern or pattern.startswith(segment)


_ANY: Final = "{}"
_PLACEHOLDER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
