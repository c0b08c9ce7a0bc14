"""The protocols by name, and the protocol that a path is of."""

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
    """Return the protocol whose requests have such a path (a route's, with placeholders), or None."""
    for preset in PRESETS:
        if any(re.fullmatch(pattern, path) for pattern in preset.paths):
            return preset.name
    return None
