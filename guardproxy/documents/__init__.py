"""YAML text to nodes that know where they stand.

Decides what YAML is here: version 1.2 scalars, no tags, no merge keys, no duplicate keys; size, depth and aliases are
bounded before anything is built; and what is said of a text that is not YAML. What the nodes are and how problems in
them are told is left to `source`.
"""

from guardproxy.documents.bytes import decode
from guardproxy.documents.composer import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_documents
from guardproxy.documents.kinds import other_kind

__all__ = ["MAX_ALIASES", "MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "decode", "other_kind", "parse_documents"]
