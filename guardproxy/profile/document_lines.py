"""How the values of a profile are written: one YAML spelling for each, so that equal profiles are equal texts.

Decides how numbers, texts and lists look, and the lines of one field. Which keys a profile has is left to `document`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from guardproxy.profile.document_cells import cells_lines
from guardproxy.profile.model import KNOTS, FieldProfile

FIELD_KEYS: Final = (
    "kind", "rows", "missing_rate", "missing_kinds", "required", "low", "low_method", "high", "high_method", "norm_low",
    "norm_high", "alpha", "whole", "sign", "sentinels", "formats", "domain", "closed", "unseen_mass", "distinct", "top",
    "minimum", "maximum", "mean", "std", "knots", "min_length", "max_length", "charset", "pattern", "pattern_coverage", "note",
    "cells",
)  # fmt: skip
"""The keys of a field, in the order of the file."""


_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_PLAIN_TAIL: Final = _PLAIN | frozenset("0123456789-")
_TRAPS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def field_lines(field: FieldProfile, *, comments: bool) -> Iterator[str]:
    """Yield the lines of one field: all that it does not share with a field of which nothing is known."""
    yield f"  {text_of(field.name)}:"
    blank = FieldProfile(field.name, field.kind)
    for key in FIELD_KEYS:
        value = getattr(field, key)
        if key == "cells":
            if field.cells is not None:
                yield from cells_lines(field.cells, list_of)
        elif key == "kind" or value != getattr(blank, key):
            yield f"    {key}: {value_of(key, value)}" + (_comment(field, key) if comments else "")


def value_of(key: str, value: Any) -> str:
    """Write the value of a key."""
    return (
        _SPECIAL[key](value)
        if key in _SPECIAL
        else list_of(value)
        if isinstance(value, tuple)
        else cell_of(value)
    )


def list_of(values: tuple[Any, ...]) -> str:
    """Write a list on one line."""
    return (
        "["
        + ", ".join(list_of(value) if isinstance(value, tuple) else cell_of(value) for value in values)
        + "]"
    )


def cell_of(value: Any) -> str:
    """Write one value; a number reads back as the same."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return (
            str(int(value))
            if value.is_integer() and abs(value) < 1e15 and math.copysign(1, value) > 0
            else repr(value)
        )
    if isinstance(value, int):
        return str(value)
    return text_of(str(value))


def text_of(text: str) -> str:
    """Write a text plainly where YAML cannot mistake it, else in double quotes with everything odd escaped."""
    if text and text[0] in _PLAIN and set(text) <= _PLAIN_TAIL and text.lower() not in _TRAPS:
        return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in {'"', "\\"}:
        return "\\" + char
    return char if char.isprintable() and char != "\ufeff" else f"\\U{ord(char):08X}"


def _comment(field: FieldProfile, key: str) -> str:
    if key == "low" and field.minimum is not None:
        return f"  # the smallest seen was {cell_of(field.minimum)}"
    if key == "high" and field.maximum is not None:
        return f"  # the largest seen was {cell_of(field.maximum)}"
    if key == "knots":
        return "  # at percentiles " + " ".join(f"{percent:g}" for percent in KNOTS)
    return "  # share of values not seen yet" if key == "unseen_mass" else ""


def _counts(pairs: tuple[tuple[str, int], ...]) -> str:
    return "{" + ", ".join(f"{text_of(name)}: {count}" for name, count in pairs) + "}"


_SPECIAL: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType({"missing_kinds": _counts})
