"""Codecs: bytes <-> Table, one preset per protocol."""

from guardproxy.codecs.base import Codec, CodecOptions
from guardproxy.codecs.contents import compress, decompress
from guardproxy.codecs.registry import PROTOCOLS, make_codec, protocol_of_path

__all__ = ["PROTOCOLS", "Codec", "CodecOptions", "compress", "decompress", "make_codec", "protocol_of_path"]
