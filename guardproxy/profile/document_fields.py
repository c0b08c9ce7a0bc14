"""Reading the fields of a profile's document.

Decides which values a field of each kind may have. How a single value is read is left to `source`, its cells to
`document_cells`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from guardproxy.profile.cells import Cells
from guardproxy.profile.document_cells import read_cells
from guardproxy.profile.document_lines import FIELD_KEYS
from guardproxy.profile.document_take import Taker, any_text, number_or_null
from guardproxy.profile.model import (
    KNOTS,
    NUMERIC,
    Chars,
    FieldKind,
    FieldProfile,
    Method,
    MissingKind,
    Role,
    Sign,
    TimeForm,
)
from guardproxy.profile.shapes import matcher
from guardproxy.source import Entry, Node, Reader, Scalar
from guardproxy.table import Cell

MAX_DOMAIN: Final = 10_000
_HUGE: Final = 1.7e308
_BOUNDED: Final = NUMERIC | {FieldKind.TIMESTAMP, FieldKind.ARRAY}


def read_fields(node: Node, what: str, keys: tuple[str, ...], reader: Reader) -> dict[str, FieldProfile]:
    """Read all fields of a role: `what` is features or outputs; features named in `keys` are keys."""
    fields: dict[str, FieldProfile] = {}
    for name, entry in reader.anything(node, what).items():
        role = Role.OUTPUT if what == "outputs" else Role.KEY if name in keys else Role.FEATURE
        found = _read_field(name, role, entry, reader)
        if found is not None:
            fields[name] = found
    return fields


def _read_field(name: str, role: Role, entry: Entry, reader: Reader) -> FieldProfile | None:
    entries = reader.mapping(entry.value, f"the field '{name}'", FIELD_KEYS, ("kind",))
    if "kind" not in entries:
        if not entries and not isinstance(entry.value, Scalar):
            return None
        if isinstance(entry.value, Scalar) and entry.value.value is None:
            reader.report("E205", f"the field '{name}' needs the key 'kind'", entry.key)
        return None
    kind = reader.enum(entries["kind"].value, f"{name}.kind", FieldKind)
    if kind is None:
        return None
    found = Taker(reader, name, entries)
    found.take(reader.integer, "rows", "distinct")
    found.take(reader.number, "missing_rate", "unseen_mass", "alpha", "pattern_coverage", low=0.0, high=1.0)
    found.take(reader.flag, "required", "whole", "closed")
    found.take(number_or_null(reader), "low", "high", "minimum", "maximum", "mean", low=-_HUGE, high=_HUGE)
    found.take(number_or_null(reader), "std", "norm_low", "norm_high", low=0.0, high=_HUGE)
    found.take(reader.enum, "low_method", "high_method", kind=Method)
    found.take(reader.enum, "sign", kind=Sign)
    found.take(reader.integer, "min_length", "max_length", high=2**31)
    words = _Words(reader)
    found.take(words.several, "charset", kind=Chars)
    found.take(words.several, "formats", kind=TimeForm)
    found.take(words.counted, "missing_kinds")
    found.take(words.sentinels, "sentinels")
    found.take(words.pattern, "pattern")
    found.take(any_text(reader), "note")
    values = _Values(reader, name, kind)
    found.take(values.domain, "domain")
    found.take(values.top, "top")
    found.take(values.knots, "knots")
    found.take(values.cells, "cells")
    field = FieldProfile(name=name, kind=kind, role=role, **found.values)
    _consistent(field, entries, reader)
    return field


class _Words:
    """Reads lists of words and of counts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def several(self, node: Node, what: str, kind: type[StrEnum]) -> tuple[StrEnum, ...]:
        """Read a list of an enumeration's words."""
        read = (self._reader.enum(item, what, kind) for item in self._reader.items(node, what))
        return tuple(dict.fromkeys(word for word in read if word is not None))

    def pattern(self, node: Node, what: str) -> str | None:
        """Read the form that texts have."""
        text = self._reader.text(node, what)
        if text and matcher(text) is None:
            help_ = (
                "+ stands behind A or 9; before any other character that is + or a backslash, put a backslash"
            )
            self._reader.report("E206", f"{what} is no pattern: {text}", node.place, help_)
        return text

    def counted(self, node: Node, what: str) -> tuple[tuple[MissingKind, int], ...]:
        """Read how often a value was missing in which guise."""
        words = tuple(kind.value for kind in MissingKind)
        entries = self._reader.mapping(node, what, words)
        read = [
            (MissingKind(word), self._reader.integer(entry.value, f"{what}.{word}"))
            for word, entry in entries.items()
        ]
        return tuple((kind, count) for kind, count in read if count is not None)

    def sentinels(self, node: Node, what: str) -> tuple[tuple[float, int], ...]:
        """Read pairs of a number and how often it was seen."""
        pairs = []
        for item in self._reader.items(node, what):
            pair = self._reader.items(item, f"an entry of {what}")
            if len(pair) != 2:
                self._reader.report("E206", f"an entry of {what} is [value, count]", item.place)
                continue
            value = self._reader.number(pair[0], f"a value of {what}", low=-_HUGE, high=_HUGE)
            count = self._reader.integer(pair[1], f"a count of {what}")
            if value is not None and count is not None:
                pairs.append((value, count))
        return tuple(pairs)


@dataclass(frozen=True, slots=True)
class _Values:
    """Reads the values of one field, which must be of the field's kind."""

    reader: Reader
    name: str
    kind: FieldKind

    def cell(self, node: Node, what: str) -> tuple[Cell]:
        """Read one value as a tuple of one; wrong ones are reported and stay."""
        value = node.value if isinstance(node, Scalar) else None
        expected, fine = self._expected(value)
        if not isinstance(node, Scalar) or not fine:
            self.reader.report("E206", f"{what} must hold {expected}", node.place)
        return (float(value) if type(value) is int else value,)

    def domain(self, node: Node, what: str) -> tuple[Cell, ...] | None:
        """Read the set of a field's values."""
        items = self.reader.items(node, what)
        if not 0 < len(items) <= MAX_DOMAIN:
            self.reader.report("E208", f"{what} must have 1 to {MAX_DOMAIN} values", node.place)
            return None
        return tuple(self.cell(item, what)[0] for item in items)

    def top(self, node: Node, what: str) -> tuple[tuple[Cell, int], ...]:
        """Read the commonest values with their counts."""
        pairs: list[tuple[Cell, int]] = []
        for item in self.reader.items(node, what):
            pair = self.reader.items(item, f"an entry of {what}")
            if len(pair) != 2:
                self.reader.report("E206", f"an entry of {what} is [value, count]", item.place)
                continue
            count = self.reader.integer(pair[1], f"a count of {what}")
            pairs.append((self.cell(pair[0], what)[0], count or 0))
        return tuple(pairs)

    def knots(self, node: Node, what: str) -> tuple[float, ...]:
        """Read the percentiles KNOTS, which never fall."""
        read = [
            self.reader.number(item, what, low=-_HUGE, high=_HUGE) for item in self.reader.items(node, what)
        ]
        knots = tuple(value for value in read if value is not None)
        if len(read) != len(KNOTS):
            self.reader.report("E208", f"{what} must have {len(KNOTS)} numbers, got {len(read)}", node.place)
        elif any(left > right for left, right in pairwise(knots)):
            self.reader.report("E208", f"{what} must not fall from one number to the next", node.place)
        return knots

    def cells(self, node: Node, what: str) -> Cells | None:
        """Read how the field's values are counted."""
        return read_cells(node, what, self.reader, self.cell)

    def _expected(self, value: object) -> tuple[str, bool]:
        number = type(value) in {int, float} and math.isfinite(value)  # type: ignore[arg-type]
        if self.kind in NUMERIC or self.kind is FieldKind.IDENTIFIER:
            return "finite numbers", number
        if self.kind is FieldKind.BOOLEAN:
            return "true or false", isinstance(value, bool)
        if self.kind is FieldKind.CONSTANT:
            return "numbers or texts", number or value is None or isinstance(value, str)
        return "texts; quote what is meant as text", isinstance(value, str)


def _consistent(field: FieldProfile, entries: Mapping[str, Entry], reader: Reader) -> None:
    for least, most in (("low", "high"), ("min_length", "max_length"), ("norm_low", "norm_high")):
        low, high = getattr(field, least), getattr(field, most)
        if low is not None and high is not None and low > high:
            message = f"{field.name}.{least} is {low:g}, above {most}, which is {high:g}"
            reader.report("E208", message, entries[least].value.place)
    if field.closed and field.domain is None and "domain" not in entries:
        reader.report("E205", f"{field.name} is closed and needs its 'domain'", entries["closed"].value.place)
    for key, kinds in (("low", _BOUNDED), ("high", _BOUNDED), ("knots", NUMERIC)):
        if key in entries and field.kind not in kinds and getattr(field, key) not in (None, ()):
            message = f"{field.name} is of the kind {field.kind} and cannot have '{key}'"
            reader.report("E204", message, entries[key].key, _BOUNDS_HELP)


_BOUNDS_HELP: Final = (
    "bounds belong to number and integer fields, and to the ages of timestamps and the members of arrays"
)
