"""The protocols by name."""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from guardproxy.codecs.base import Codec, CodecOptions
from guardproxy.codecs.open_inference import OpenInference
from guardproxy.codecs.row_protocols import JsonPointers, KServeV1, MLflow

PROTOCOLS: Final[Mapping[str, Callable[[CodecOptions], Codec]]] = MappingProxyType(
    {
        "open-inference": OpenInference,
        "kserve-v1": KServeV1,
        "mlflow": MLflow,
        "json": JsonPointers,
    }
)


def make_codec(protocol: str, options: CodecOptions) -> Codec:
    """Return the codec of a protocol. Raises ValueError, naming the likely word, for one that does not exist, and
    for options that a codec cannot use (a pointer that is none)."""
    maker = PROTOCOLS.get(protocol)
    if maker is None:
        likely = difflib.get_close_matches(protocol, PROTOCOLS, n=1, cutoff=0.5)
        hint = f"did you mean {likely[0]}?" if likely else f"it is one of {', '.join(PROTOCOLS)}"
        raise ValueError(f"there is no protocol '{protocol}'; {hint}")
    return maker(options)
