"""The profile's document: YAML that a person reads and edits, and back again.

Decides the words and the order of the file. Both directions are exact: what `dump_profile` writes, `parse_profile` reads as
the same profile. The version is a hash of the content, so an edited profile is another version; a person's approval is of one
version, and no part of it. How fields, cells and the joint check look is left to the modules beside this one.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from guardproxy.documents import parse_documents
from guardproxy.profile.document_fields import read_fields
from guardproxy.profile.document_joint import joint_lines, read_joint
from guardproxy.profile.document_lines import cell_of, field_lines, list_of, text_of, value_of
from guardproxy.profile.document_take import Taker, any_text
from guardproxy.profile.model import Approval, Calibration, FieldProfile, Origin, Profile, Provenance
from guardproxy.source import Entry, Node, Problem, Reader

FORMAT: Final = 1
MAX_TOGETHER: Final = 1_000
MAX_NOTES: Final = 100
MAX_BYTES: Final = 32 * 1024 * 1024
"""A profile of more bytes than this is refused: one of as many fields as `learn` takes has fewer."""

MAX_VALUES: Final = 600_000

_HEADER: Final = """\
# What normal looks like, learned by guardproxy. Edit it: a bound you change counts as yours when its method says `edited`.
# low and high are inclusive; closed: true makes any value outside the set a violation; required: true, a missing one.
"""
_TOP_KEYS: Final = (
    "profile", "model", "version", "rows", "alpha", "keys", "source", "approved", "notes", "together", "provenance",
    "calibration", "output_calibration", "features", "outputs", "joint",
)  # fmt: skip


def dump_profile(profile: Profile) -> str:
    """Write a profile as YAML with comments."""
    return _HEADER + "\n".join(_lines(profile, version=profile.version, comments=True)) + "\n"


def parse_profile(text: str, file: str) -> Profile | list[Problem]:
    """Read a profile; every problem at once when there is any. Its version is computed from what was read."""
    documents, problems = parse_documents(text, file, MAX_BYTES, MAX_VALUES)
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
    yield f"model: {text_of(profile.model)}"
    if version:
        yield f"version: {text_of(version)}"
    yield f"rows: {profile.rows}"
    yield f"alpha: {cell_of(profile.alpha)}" + _remark(
        comments, "the share of clean rows that may be flagged"
    )
    if profile.keys:
        yield f"keys: {list_of(profile.keys)}"
    yield from _origin_lines(profile, approved=bool(version), comments=comments)
    for name, fields in (("features", profile.features), ("outputs", profile.outputs)):
        yield f"{name}:" + ("" if fields else " {}")
        for field in fields.values():
            yield from field_lines(field, comments=comments)
    if profile.joint is not None:
        yield from joint_lines(profile.joint, comments=comments)


def _origin_lines(profile: Profile, *, approved: bool, comments: bool) -> Iterator[str]:
    """Yield where a profile comes from, who approved it, and what the held-back rows said."""
    if profile.source is not Origin.DATA:
        yield f"source: {profile.source}" + _remark(
            comments, "no rule acts on it before a person approves it"
        )
    if profile.approved is not None and approved:
        yield "approved:" + _remark(comments, "counts for this version alone")
        yield from _pairs(profile.approved, ("by", "at", "version"))
    if profile.notes:
        yield f"notes: {list_of(profile.notes)}"
    if profile.together:
        yield f"together: {list_of(profile.together)}" + _remark(
            comments, "every row has all of these or none"
        )
    given = profile.provenance
    if given != Provenance():
        yield "provenance:"
        yield from _pairs(given, ("file", "rows", "learned_at", "sha256", "command"))
    for name in ("calibration", "output_calibration"):
        calibration: Calibration | None = getattr(profile, name)
        if calibration is not None:
            yield f"{name}:" + _remark(comments, "the most recent rows, which the bounds had not seen")
            yield from _pairs(calibration, ("rows", "flagged", "upper", "widened"))


def _pairs(values: Any, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        yield f"  {key}: {value_of(key, getattr(values, key))}"


def _remark(comments: bool, text: str) -> str:
    return f"  # {text}" if comments else ""


def _read(node: Node, reader: Reader) -> Profile:
    entries = reader.mapping(node, "a profile", _TOP_KEYS, ("profile", "model", "alpha", "features"))
    top = Taker(reader, "profile", entries)
    top.take(reader.integer, "profile", low=FORMAT, high=FORMAT)
    top.take(reader.text, "model", "version", max_length=200)
    top.take(reader.integer, "rows")
    top.take(reader.number, "alpha", low=1e-12, high=0.5)
    top.take(reader.texts, "keys")
    top.take(reader.enum, "source", kind=Origin)
    top.take(_texts(reader), "notes", most=MAX_NOTES)
    keys: tuple[str, ...] = top.values.get("keys", ())
    read = {
        name: read_fields(entries[name].value, name, keys, reader) if name in entries else {}
        for name in ("features", "outputs")
    }
    strange = [name for name in keys if name not in read["features"]]
    if strange:
        message = f"the key '{strange[0]}' is no feature of this profile"
        reader.report("E207", message, entries["keys"].value.place)
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
            together=_read_together(entries, read["features"], reader),
            joint=read_joint(entries["joint"].value, read["features"], reader)
            if "joint" in entries
            else None,
            source=top.values.get("source", Origin.DATA),
            approved=_read_approval(entries, reader),
            notes=top.values.get("notes", ()),
        )
    )


def _read_provenance(entries: Mapping[str, Entry], reader: Reader) -> Provenance:
    if "provenance" not in entries:
        return Provenance()
    known = ("file", "rows", "learned_at", "sha256", "command")
    found = Taker(reader, "provenance", reader.mapping(entries["provenance"].value, "provenance", known))
    found.take(any_text(reader), "file", "learned_at", "sha256", "command")
    found.take(reader.integer, "rows")
    return Provenance(**found.values)


def _read_calibration(entries: Mapping[str, Entry], name: str, reader: Reader) -> Calibration | None:
    if name not in entries:
        return None
    found = Taker(
        reader, name, reader.mapping(entries[name].value, name, ("rows", "flagged", "upper", "widened"))
    )
    found.take(reader.integer, "rows", "flagged")
    found.take(reader.number, "upper", low=0.0, high=1.0)
    found.take(reader.texts, "widened")
    return Calibration(**found.values)


def _read_approval(entries: Mapping[str, Entry], reader: Reader) -> Approval | None:
    if "approved" not in entries:
        return None
    words = ("by", "at", "version")
    found = Taker(reader, "approved", reader.mapping(entries["approved"].value, "approved", words, words))
    found.take(reader.text, *words, max_length=200)
    return Approval(**found.values) if len(found.values) == len(words) else None


def _read_together(
    entries: Mapping[str, Entry], features: Mapping[str, FieldProfile], reader: Reader
) -> tuple[tuple[str, ...], ...]:
    if "together" not in entries:
        return ()
    node = entries["together"].value
    items = reader.items(node, "together")
    if len(items) > MAX_TOGETHER:
        reader.report("E208", f"together must have at most {MAX_TOGETHER:,} groups", node.place)
        return ()
    groups = []
    for item in items:
        names = reader.texts(item, "a group of together")
        strange = [name for name in names if name not in features]
        if strange or len(set(names)) < 2:
            told = f"'{strange[0]}' is none" if strange else "one is no group"
            reader.report("E207", f"a group of together must be features of this profile: {told}", item.place)
        groups.append(names)
    return tuple(groups)


def _texts(reader: Reader) -> Callable[..., tuple[str, ...] | None]:
    def read(node: Node, what: str, most: int) -> tuple[str, ...] | None:
        texts = reader.texts(node, what)
        if len(texts) > most:
            reader.report("E208", f"{what} must have at most {most} texts", node.place)
            return None
        return texts

    return read
