"""Fields, ids, numbers and cells as they are written in rule files.

Decides their spelling only. Whether a model has such a field, and what is said when it has not, is left to `context`.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from guardproxy.rules.language.tokens import RESERVED
from guardproxy.rules.model import Field
from guardproxy.source import Node, Scalar, SequenceNode

_DOTTED: Final = re.compile(r"(features|output)\.([A-Za-z_][A-Za-z0-9_]*)")
_QUOTED: Final = re.compile(r'(features|output)\[\s*("(?:[^"\\]|\\.)*")\s*\]')


def parse_field(text: str) -> Field | None:
    """Read `features.x`, `output.y` or `features["odd name"]`; None when it is none of these."""
    if match := _DOTTED.fullmatch(text):
        return Field(match.group(1), match.group(2))
    if match := _QUOTED.fullmatch(text):
        try:
            return Field(match.group(1), json.loads(match.group(2)))
        except ValueError:
            return None
    return None


def ref_text(named: Field) -> str:
    """Write a field as it stands in an expression."""
    whole = f"{named.space}.{named.name}"
    if _DOTTED.fullmatch(whole) and named.name not in RESERVED:
        return whole
    return f"{named.space}[{json.dumps(named.name)}]"


def kebab(text: str) -> str:
    """Return a text as an id is written, in plain letters; empty when nothing of it can be."""
    for letter, plain in _LETTERS.items():
        text = text.replace(letter, plain)
    plain_text = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return "-".join(re.findall(r"[a-z0-9]+", plain_text))


_LETTERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "Ä": "Ae",
        "Ö": "Oe",
        "Ü": "Ue",
        "ß": "ss",
        "ø": "o",
        "æ": "ae",
        "ł": "l",
    }
)


def number_text(value: float) -> str:
    """Write a number as an expression's literal."""
    return repr(value)


def plain_cell(node: Node) -> tuple[bool, object]:
    """Return (True, cell) for a leaf or a list of numbers; (False, None) for anything else."""
    if isinstance(node, Scalar):
        value = node.value
        return True, None if value != value else value
    if isinstance(node, SequenceNode):
        cells = tuple(item.value if isinstance(item, Scalar) else "" for item in node.items)
        if cells and all(cell is None or type(cell) in (int, float) for cell in cells):
            return True, cells
    return False, None
