"""The check key `text`: what a text must and must not hold.

Decides how it is written, and what is wrong with it before any row is seen. Judging is left to `texts`, JSON in text to
`schema_checks`.
"""

import re
from collections.abc import Mapping
from typing import Final

from guardproxy.rules.context import Context
from guardproxy.rules.foreign import PII
from guardproxy.rules.language.functions import PatternError, PatternLibraryMissingError, compile_pattern
from guardproxy.rules.model import Check, TextCheck
from guardproxy.rules.personal import PERSONAL
from guardproxy.rules.schema_checks import PATTERN_HELP, RE2_HELP
from guardproxy.source import (
    Entry,
    MappingNode,
    Node,
    Scalar,
    SequenceNode,
    did_you_mean,
    likely,
    quoted,
)

MAX_LITERALS: Final = 10_000
MAX_CHARS: Final = 10_000_000
TEXT_KEYS: Final = (
    *("field", "must_contain", "must_not_contain", "whole_words", "case_sensitive"),
    *("must_match", "must_not_match", "min_chars", "max_chars", "pii"),
)
_LITERALS: Final = ("must_contain", "must_not_contain")
_PATTERNS: Final = ("must_match", "must_not_match")
_DEMANDS: Final = (*_LITERALS, *_PATTERNS, "min_chars", "max_chars", "pii")


def read_text(node: Node, context: Context) -> Check | None:
    """Read `text`: what a text must and must not hold."""
    before = context.errors()
    entries = context.mapping(node, "text", TEXT_KEYS, required=("field",))
    named = context.field(entries["field"].value, "text.field") if "field" in entries else None
    if isinstance(node, MappingNode) and not set(_DEMANDS) & set(node.entries):
        context.reader.report("E205", f"text needs one of: {', '.join(_DEMANDS)}", node.place)
    literals = {key: _literals(entries[key].value, context, key) for key in _LITERALS if key in entries}
    patterns = {
        key: _pattern(entries[key].value, context, f"text.{key}") for key in _PATTERNS if key in entries
    }
    flags = {
        key: bool(context.reader.flag(entries[key].value, f"text.{key}"))
        for key in ("whole_words", "case_sensitive")
        if key in entries
    }
    for key in flags:
        if not literals:
            message = f"'{key}' belongs to must_contain and must_not_contain"
            context.reader.report("E224", message, entries[key].key, "remove it, or list what is sought")
    least, most = _lengths(entries, context)
    pii = _pii(entries["pii"].value, context) if "pii" in entries else ()
    if named is None or context.errors() > before:
        return None
    made = TextCheck(
        must_contain=literals.get("must_contain", ()),
        must_not_contain=literals.get("must_not_contain", ()),
        must_match=patterns.get("must_match", ""),
        must_not_match=patterns.get("must_not_match", ""),
        whole_words=flags.get("whole_words", False),
        case_sensitive=flags.get("case_sensitive", False),
        min_chars=least or 0,
        max_chars=most,
        pii=pii,
    )
    return Check("text", (named,), text=made, bound=_said(made))


def _said(check: TextCheck) -> str:
    """Say what a text check asks, in one line."""
    words = [f"with {_quoted(check.must_contain)}"] if check.must_contain else []
    words += [f"without {_quoted(check.must_not_contain)}"] if check.must_not_contain else []
    words += [f"matching {check.must_match[:60]}"] if check.must_match else []
    words += [f"not matching {check.must_not_match[:60]}"] if check.must_not_match else []
    words += [f"at least {check.min_chars:,} characters"] if check.min_chars else []
    words += [f"at most {check.max_chars:,} characters"] if check.max_chars is not None else []
    words += [f"no personal data ({', '.join(check.pii)})"] if check.pii else []
    return ", ".join(words)


def _quoted(parts: tuple[str, ...]) -> str:
    shown = " or ".join(f'"{part[:40]}"' for part in parts[:3])
    return shown + (f" or {len(parts) - 3:,} more" if len(parts) > 3 else "")


def _literals(node: Node, context: Context, key: str) -> tuple[str, ...]:
    """Read what is sought: the name of a list, one text, or a list of texts."""
    what = f"text.{key}"
    if isinstance(node, Scalar) and isinstance(node.value, str):
        found = _listed(node, node.value, context, what)
    else:
        found = tuple(dict.fromkeys(context.reader.texts(node, what)))
        if isinstance(node, SequenceNode) and not node.items:
            context.reader.report("E224", f"{what} must name at least one text", node.place)
    if len(found) > MAX_LITERALS:
        message = f"{what} has {len(found):,} texts; {MAX_LITERALS:,} are allowed"
        context.reader.report("E224", message, node.place)
    return found


def _listed(node: Scalar, text: str, context: Context, what: str) -> tuple[str, ...]:
    name = text.removeprefix("lists.")
    known = context.names.candidates("lists")
    if name not in known:
        close = likely(name, known)
        if text.startswith("lists.") or (close is not None and not node.quoted):
            advice = did_you_mean(name, known) or "define it under `lists:`"
            context.reader.report("E106", f"there is no list '{name[:60]}'", node.place, advice)
            return ()
        read = context.reader.text(node, what)
        if read and re.fullmatch(r"\*.+|.+\*", read):
            message = f"{what} is sought letter by letter, with its star"
            advice = f"write {quoted(read.strip('*')[:80])}: a part of the text is enough"
            context.reader.report("W413", message, node.place, advice, "warning")
        return (read,) if read else ()
    values = context.names.lists[name]
    if not all(isinstance(value, str) for value in values):
        message = f"the list '{name}' holds other things than text"
        context.reader.report("E224", message, node.place, "a text is searched for texts: quote its values")
        return ()
    if "" in values:
        context.reader.report(
            "E224", f"the list '{name}' holds an empty text", node.place, "every text holds it"
        )
        return ()
    return tuple(sorted(str(value) for value in values))


def _pattern(node: Node, context: Context, what: str) -> str:
    text = context.reader.text(node, what)
    if text is None:
        return ""
    if len(text) > 1 and text.startswith("/") and (slash := re.fullmatch(r"/(.+)/([a-z]*)", text)):
        flags = f"(?{slash.group(2)})" if slash.group(2) else ""
        message = f"{what} has slashes around it, which must then stand in the text too"
        advice = f"write '{flags}{slash.group(1)[:80]}'"
        context.reader.report("W413", message, node.place, advice, "warning")
    try:
        compile_pattern(text)
    except PatternLibraryMissingError:
        context.reader.report("E141", f"{what} needs the RE2 library", node.place, RE2_HELP)
    except PatternError as error:
        advice = PATTERN_HELP if "(?" in text or "\\" in text else ""
        context.reader.report("E140", f"RE2 does not accept this pattern: {error}", node.place, advice)
    return text


def _lengths(entries: Mapping[str, Entry], context: Context) -> tuple[int | None, int | None]:
    least, most = (
        context.reader.integer(entries[key].value, f"text.{key}", low=0, high=MAX_CHARS)
        if key in entries
        else None
        for key in ("min_chars", "max_chars")
    )
    if least is not None and most is not None and least > most:
        place = entries["min_chars"].value.place
        context.reader.report("E301", f"min_chars {least} is above max_chars {most}", place, "swap them")
    return least, most


def _pii(node: Node, context: Context) -> tuple[str, ...]:
    words = {kind: kind for kind in PERSONAL}
    items = (node,) if isinstance(node, Scalar) else context.reader.items(node, "text.pii")
    if isinstance(node, SequenceNode) and not items:
        context.reader.report("E224", f"text.pii must name one of: {', '.join(words)}", node.place)
    found = (context.reader.choice(item, "text.pii", words, foreign=PII) for item in items)
    return tuple(dict.fromkeys(kind for kind in found if kind is not None))
