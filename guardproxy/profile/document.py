"""The profile's document: YAML that a person reads and edits, and back again.

Decides the words and the order of the file. Both directions are exact: what `dump_profile` writes, `parse_profile` reads as
the same profile. The version is a hash of the content, so an edited profile is another version.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from guardproxy.documents import parse_documents
from guardproxy.profile.model import (
    KNOTS,
    NUMERIC,
    Calibration,
    FieldKind,
    FieldProfile,
    Method,
    Profile,
    Provenance,
    Role,
    Sign,
)
from guardproxy.source import Entry, Node, Problem, Reader, Scalar
from guardproxy.table import Cell

FORMAT: Final = 1
MAX_DOMAIN: Final = 10_000

_HEADER: Final = """\
# What normal looks like, learned by guardproxy. Edit it: a bound you change counts as yours when its method says `edited`.
# low and high are inclusive; closed: true makes any value outside the set a violation; required: true, a missing one.
"""
_FIELD_KEYS: Final = (
    "kind", "rows", "missing_rate", "required", "low", "low_method", "high", "high_method", "alpha", "whole", "sign",
    "domain", "closed", "unseen_mass", "distinct", "top", "minimum", "maximum", "mean", "std", "knots", "max_length",
    "note",
)  # fmt: skip
_TOP_KEYS: Final = (
    "profile", "model", "version", "rows", "alpha", "keys", "provenance", "calibration", "output_calibration",
    "features", "outputs",
)  # fmt: skip
_HUGE: Final = 1.7e308


def dump_profile(profile: Profile) -> str:
    """Write a profile as YAML with comments."""
    return _HEADER + "\n".join(_lines(profile, version=profile.version, comments=True)) + "\n"


def parse_profile(text: str, file: str) -> Profile | list[Problem]:
    """Read a profile; every problem at once when there is any. Its version is computed from what was read."""
    documents, problems = parse_documents(text, file)
    reader = Reader(file, problems)
    if not documents:
        if not problems:
            problems.append(Problem("E205", "the file is empty; a profile was expected", file, 1, 1))
        return problems
    if len(documents) > 1:
        reader.report("E206", "a profile is one document", documents[1].place)
    profile = _read(documents[0], reader)
    return problems or profile


def stamp(profile: Profile) -> Profile:
    """Return the profile with the version that its content has."""
    content = "\n".join(_lines(profile, version="", comments=False))
    return replace(profile, version=hashlib.sha256(content.encode()).hexdigest()[:8])


def _lines(profile: Profile, *, version: str, comments: bool) -> Iterator[str]:
    yield f"profile: {FORMAT}"
    yield f"model: {_text(profile.model)}"
    if version:
        yield f"version: {_text(version)}"
    yield f"rows: {profile.rows}"
    yield f"alpha: {_cell(profile.alpha)}" + _remark(comments, "the share of clean rows that may be flagged")
    if profile.keys:
        yield f"keys: {_list(profile.keys)}"
    given = profile.provenance
    if given != Provenance():
        yield "provenance:"
        yield from _pairs(given, ("file", "rows", "learned_at", "sha256", "command"))
    for name in ("calibration", "output_calibration"):
        calibration: Calibration | None = getattr(profile, name)
        if calibration is not None:
            yield f"{name}:" + _remark(comments, "the most recent rows, which the bounds had not seen")
            yield from _pairs(calibration, ("rows", "flagged", "upper", "widened"))
    for name, fields in (("features", profile.features), ("outputs", profile.outputs)):
        yield f"{name}:" + ("" if fields else " {}")
        for field in fields.values():
            yield from _field_lines(field, comments)


def _field_lines(field: FieldProfile, comments: bool) -> Iterator[str]:
    yield f"  {_key(field.name)}:"
    blank = FieldProfile(field.name, field.kind)
    for key in _FIELD_KEYS:
        value = getattr(field, key)
        if key != "kind" and value == getattr(blank, key):
            continue
        yield f"    {key}: {_value(key, value)}" + (_comment(field, key) if comments else "")


def _pairs(values: Any, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        yield f"  {key}: {_value(key, getattr(values, key))}"


def _value(key: str, value: Any) -> str:
    if key == "top":
        return "[" + ", ".join(f"[{_cell(cell)}, {count}]" for cell, count in value) + "]"
    return _list(value) if isinstance(value, tuple) else _cell(value)


def _comment(field: FieldProfile, key: str) -> str:
    if key == "low" and field.minimum is not None:
        return f"  # the smallest seen was {_cell(field.minimum)}"
    if key == "high" and field.maximum is not None:
        return f"  # the largest seen was {_cell(field.maximum)}"
    if key == "knots":
        return "  # at percentiles " + " ".join(f"{percent:g}" for percent in KNOTS)
    return "  # share of values not seen yet" if key == "unseen_mass" else ""


def _remark(comments: bool, text: str) -> str:
    return f"  # {text}" if comments else ""


def _list(values: tuple[Any, ...]) -> str:
    return "[" + ", ".join(_cell(value) for value in values) + "]"


def _cell(value: Any) -> str:
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
    return _text(str(value))


_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_PLAIN_TAIL: Final = _PLAIN | frozenset("0123456789-")
_TRAPS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def _key(name: str) -> str:
    return _text(name)


def _text(text: str) -> str:
    """Write a text plainly where YAML cannot mistake it, else in double quotes with everything odd escaped."""
    if text and text[0] in _PLAIN and set(text) <= _PLAIN_TAIL and text.lower() not in _TRAPS:
        return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in {'"', "\\"}:
        return "\\" + char
    return char if char.isprintable() and char != "\ufeff" else f"\\U{ord(char):08X}"


class _Fields:
    """Reads the keys of one mapping into values, each by its own reader; what is wrong is left out and reported."""

    def __init__(self, reader: Reader, what: str, entries: Mapping[str, Entry]) -> None:
        self.reader, self.what, self.entries = reader, what, entries
        self.values: dict[str, Any] = {}

    def take(self, read: Callable[..., Any], *keys: str, **limits: Any) -> None:
        """Read these keys with `read`; null leaves the default where there is one."""
        for key in keys:
            entry = self.entries.get(key)
            if entry is None:
                continue
            value = read(entry.value, f"{self.what}.{key}", **limits)
            if value is not None:
                self.values[key] = value


def _read(node: Node, reader: Reader) -> Profile:
    entries = reader.mapping(node, "a profile", _TOP_KEYS, ("profile", "model", "alpha", "features"))
    top = _Fields(reader, "profile", entries)
    top.take(reader.integer, "profile", low=FORMAT, high=FORMAT)
    top.take(reader.text, "model", "version", max_length=200)
    top.take(reader.integer, "rows")
    top.take(reader.number, "alpha", low=1e-12, high=0.5)
    top.take(reader.texts, "keys")
    keys: tuple[str, ...] = top.values.get("keys", ())
    read = {
        name: _read_fields(entries[name].value, name, keys, reader) if name in entries else {}
        for name in ("features", "outputs")
    }
    if "keys" in entries:
        for name in keys:
            if name not in read["features"]:
                reader.report(
                    "E207", f"the key '{name}' is no feature of this profile", entries["keys"].value.place
                )
    return stamp(
        Profile(
            model=top.values.get("model", ""),
            version="",
            rows=top.values.get("rows", 0),
            alpha=top.values.get("alpha", 0.001),
            features=read["features"],
            outputs=read["outputs"],
            keys=keys,
            provenance=_read_provenance(entries, reader),
            calibration=_read_calibration(entries, "calibration", reader),
            output_calibration=_read_calibration(entries, "output_calibration", reader),
        )
    )


def _read_provenance(entries: Mapping[str, Entry], reader: Reader) -> Provenance:
    if "provenance" not in entries:
        return Provenance()
    known = ("file", "rows", "learned_at", "sha256", "command")
    found = _Fields(reader, "provenance", reader.mapping(entries["provenance"].value, "provenance", known))
    found.take(_any_text(reader), "file", "learned_at", "sha256", "command")
    found.take(reader.integer, "rows")
    return Provenance(**found.values)


def _read_calibration(entries: Mapping[str, Entry], name: str, reader: Reader) -> Calibration | None:
    if name not in entries:
        return None
    found = _Fields(
        reader, name, reader.mapping(entries[name].value, name, ("rows", "flagged", "upper", "widened"))
    )
    found.take(reader.integer, "rows", "flagged")
    found.take(reader.number, "upper", low=0.0, high=1.0)
    found.take(reader.texts, "widened")
    return Calibration(**found.values)


def _read_fields(node: Node, what: str, keys: tuple[str, ...], reader: Reader) -> dict[str, FieldProfile]:
    fields: dict[str, FieldProfile] = {}
    for name, entry in reader.anything(node, what).items():
        role = Role.OUTPUT if what == "outputs" else Role.KEY if name in keys else Role.FEATURE
        found = _read_field(name, role, entry, reader)
        if found is not None:
            fields[name] = found
    return fields


def _read_field(name: str, role: Role, entry: Entry, reader: Reader) -> FieldProfile | None:
    entries = reader.mapping(entry.value, f"the field '{name}'", _FIELD_KEYS, ("kind",))
    if "kind" not in entries:
        if not entries and not isinstance(entry.value, Scalar):
            return None
        if isinstance(entry.value, Scalar) and entry.value.value is None:
            reader.report("E205", f"the field '{name}' needs the key 'kind'", entry.key)
        return None
    kind = reader.enum(entries["kind"].value, f"{name}.kind", FieldKind)
    if kind is None:
        return None
    found = _Fields(reader, name, entries)
    found.take(reader.integer, "rows", "distinct")
    found.take(reader.number, "missing_rate", "unseen_mass", "alpha", low=0.0, high=1.0)
    found.take(reader.flag, "required", "whole", "closed")
    found.take(_number_or_null(reader), "low", "high", "minimum", "maximum", "mean", low=-_HUGE, high=_HUGE)
    found.take(_number_or_null(reader), "std", low=0.0, high=_HUGE)
    found.take(reader.enum, "low_method", "high_method", kind=Method)
    found.take(reader.enum, "sign", kind=Sign)
    found.take(reader.integer, "max_length", high=2**31)
    found.take(_any_text(reader), "note")
    values = _Values(reader, name, kind)
    found.take(values.domain, "domain")
    found.take(values.top, "top")
    found.take(values.knots, "knots")
    field = FieldProfile(name=name, kind=kind, role=role, **found.values)
    _consistent(field, entries, reader)
    return field


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
    if field.low is not None and field.high is not None and field.low > field.high:
        message = f"{field.name}.low is {field.low:g}, above high, which is {field.high:g}"
        reader.report("E208", message, entries["low"].value.place)
    if field.closed and field.domain is None and "domain" not in entries:
        reader.report("E205", f"{field.name} is closed and needs its 'domain'", entries["closed"].value.place)
    for key in ("low", "high", "knots"):
        if key in entries and not field.numeric and getattr(field, key) not in (None, ()):
            message = f"{field.name} is of the kind {field.kind} and cannot have '{key}'"
            reader.report("E204", message, entries[key].key, "bounds belong to number and integer fields")


def _number_or_null(reader: Reader) -> Callable[..., float | None]:
    def read(node: Node, what: str, **limits: float) -> float | None:
        if isinstance(node, Scalar) and node.value is None:
            return None
        return reader.number(node, what, **limits)

    return read


def _any_text(reader: Reader) -> Callable[..., str | None]:
    def read(node: Node, what: str) -> str | None:
        if isinstance(node, Scalar) and node.value == "":
            return ""
        return reader.text(node, what)

    return read
