"""Checks of a row whose subject is no plain number: confidence of a classifier, text, JSON in text.

Decides their verdict on one row and the sentence that says why. Which cells a check looks at, and what many rows make of
it, is left to the plan; what counts as personal data to `personal`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from guardproxy.rules.language import LanguageError
from guardproxy.rules.language.functions import MAX_MATCH_BYTES, compile_pattern, pattern_found
from guardproxy.rules.model import Check, TextCheck
from guardproxy.rules.personal import find_personal
from guardproxy.table import Cell

MAX_JSON_BYTES: Final = 1 << 20
"""A longer text is not read as JSON: its verdict is an error."""
MAX_JSON_DEPTH: Final = 64
KEPT: Final = 256
"""Compiled patterns and schemas that are kept; rules of one process have fewer."""

_SPACES: Final = re.compile(r"\s+")
_SHOWN: Final = 60


class SchemaLibraryMissingError(Exception):
    """jsonschema is not installed."""


class SchemaError(Exception):
    """A JSON Schema that cannot be used; the message is a sentence with the place in the schema."""


# ---------------------------------------------------------------- confidence


def confidence(check: Check, cells: Sequence[Cell]) -> bool | None:
    """Tell whether the largest member, and its distance to the second, reach what is asked; None when one is missing.

    A single field holds the members as a vector. Raises `LanguageError` for anything that is not a number.
    """
    members = members_of(cells)
    if members is None:
        return None
    top, second = _two_largest(members)
    return top >= check.least_top and top - second >= check.least_margin


def members_of(cells: Sequence[Cell]) -> list[float] | None:
    """Return the members of a vector or of several cells as numbers; None when one is missing or there is none.

    Raises `LanguageError` for anything that is not a number.
    """
    first = cells[0] if len(cells) == 1 else None
    members: Sequence[Cell] = first if isinstance(first, tuple) else cells
    found: list[float] = []
    missing = not members
    for member in members:
        if member is None or member != member:
            missing = True
        elif type(member) is float or type(member) is int:
            found.append(member)
        else:
            raise LanguageError("a confidence must be made of numbers")
    return None if missing else found


def _two_largest(members: Sequence[float]) -> tuple[float, float]:
    """Return the largest and the second; a single member of a binary classifier has its complement as the second."""
    if len(members) == 1:
        return max(members[0], 1 - members[0]), min(members[0], 1 - members[0])
    ordered = sorted(members, reverse=True)
    return ordered[0], ordered[1]


def say_confidence(check: Check, cells: Sequence[Cell]) -> str:
    """Say why a confidence is too low."""
    members = members_of(cells)
    if members is None:
        return "a probability is missing"
    top, second = _two_largest(members)
    if top < check.least_top:
        return f"the largest probability is {top:.1%}, below {check.least_top:.1%}"
    return f"the two largest probabilities are {top - second:.1%} apart, less than {check.least_margin:.1%}"


# ---------------------------------------------------------------- text


def text(check: Check, cells: Sequence[Cell]) -> bool | None:
    """Tell whether a text is as its check demands; None when it is missing. Raises `LanguageError` for no text."""
    cell = cells[0]
    if cell is None:
        return None
    return not any(_faults(_demands(check), _text(cell)))


def say_text(check: Check, cells: Sequence[Cell]) -> str:
    """Say what is wrong with a text, without showing personal data."""
    cell = cells[0]
    if cell is None:
        return "the text is missing"
    return next(_faults(_demands(check), _text(cell)), "the text is as it should be")


def _demands(check: Check) -> TextCheck:
    if check.text is None:
        raise ValueError("a text check says what the text must be")
    return check.text


def _text(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    raise LanguageError("a text check needs text")


def cut(whole: str) -> str:
    """Return the part of a text that is looked at: 64 KiB of UTF-8, whole characters."""
    if len(whole) * 4 <= MAX_MATCH_BYTES:
        return whole
    encoded = whole.encode("utf-8", "replace")
    if len(encoded) <= MAX_MATCH_BYTES:
        return whole
    return encoded[:MAX_MATCH_BYTES].decode("utf-8", "ignore")


def _faults(demands: TextCheck, whole: str) -> Iterator[str]:
    """Yield what is wrong with a text. Lengths are of the whole, everything else looks at its first 64 KiB."""
    if len(whole) < demands.min_chars:
        yield f"the text has {len(whole):,} characters, fewer than {demands.min_chars:,}"
    if demands.max_chars is not None and len(whole) > demands.max_chars:
        yield f"the text has {len(whole):,} characters, more than {demands.max_chars:,}"
    said = cut(whole)
    folded = _folded(said, demands.case_sensitive)
    if demands.must_contain and not any(_occurs(part, folded, demands) for part in demands.must_contain):
        yield f"the text holds none of {_listed(demands.must_contain)}"
    for part in demands.must_not_contain:
        if _occurs(part, folded, demands):
            yield f'the text holds "{part[:_SHOWN]}"'
            break
    if demands.must_match and not pattern_found(_pattern(demands.must_match), said):
        yield f"the text does not match {demands.must_match[:_SHOWN]}"
    if demands.must_not_match and pattern_found(_pattern(demands.must_not_match), said):
        yield f"the text matches {demands.must_not_match[:_SHOWN]}"
    personal = find_personal(said, demands.pii) if demands.pii else None
    if personal is not None:
        yield f"the text holds personal data ({personal})"


def _listed(parts: Sequence[str]) -> str:
    shown = ", ".join(f'"{part[:_SHOWN]}"' for part in parts[:3])
    return shown + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")


def _folded(said: str, case_sensitive: bool) -> str:
    """Return a text with runs of white space as one blank, so that a line break hides no phrase."""
    single = _SPACES.sub(" ", said)
    return single if case_sensitive else single.casefold()


def _occurs(part: str, folded: str, demands: TextCheck) -> bool:
    sought = _folded(part, demands.case_sensitive)
    at = folded.find(sought)
    if not demands.whole_words:
        return at >= 0
    while at >= 0:
        end = at + len(sought)
        before, after = folded[at - 1 : at], folded[end : end + 1]
        if not (_inside_word(before, sought[:1]) or _inside_word(after, sought[-1:])):
            return True
        at = folded.find(sought, at + 1)
    return False


def _inside_word(neighbour: str, edge: str) -> bool:
    """Tell whether an edge of the sought text and its neighbour belong to one word."""
    return bool(neighbour) and (neighbour.isalnum() or neighbour == "_") and (edge.isalnum() or edge == "_")


@lru_cache(KEPT)
def _pattern(pattern: str) -> Any:
    return compile_pattern(pattern)


# ---------------------------------------------------------------- JSON in text


def json_schema(check: Check, cells: Sequence[Cell]) -> bool | None:
    """Tell whether a text is JSON that satisfies the check's schema; None when it is missing.

    Raises `LanguageError` for what is no text, and for text that is too long or too deep to be judged.
    """
    cell = cells[0]
    return None if cell is None else schema_fault(check.schema, _text(cell)) is None


def say_schema(check: Check, cells: Sequence[Cell]) -> str:
    """Say what is wrong with a JSON text."""
    cell = cells[0]
    if cell is None:
        return "the text is missing"
    return schema_fault(check.schema, _text(cell)) or "the text satisfies its schema"


def schema_fault(schema: str, said: str) -> str | None:
    """Return what is wrong with a JSON text, None when nothing is. Raises `LanguageError` when that cannot be told."""
    if len(said) > MAX_JSON_BYTES:
        raise LanguageError(f"the text is longer than {MAX_JSON_BYTES:,} characters, too long to be judged")
    if _deepest(said) > MAX_JSON_DEPTH:
        raise LanguageError(f"the text is nested more than {MAX_JSON_DEPTH} deep, too deep to be judged")
    try:
        value = json.loads(said, parse_constant=_refuse)
    except ValueError as error:
        reason = str(error).partition(":")[0][:_SHOWN]
        return f"the text is no JSON: {reason[:1].lower()}{reason[1:]}"
    try:
        fault = next(compile_schema(schema).iter_errors(value), None)
    except RecursionError:
        raise LanguageError("the text and its schema are too deep to be judged") from None
    if fault is None:
        return None
    place = "".join(f"/{part}" for part in list(fault.absolute_path)[:8])
    return f"{place or 'the value'}: {_said(fault)}"


def _said(fault: Any) -> str:
    """Say which demand of the schema is not met, without showing the value that the model gave."""
    demand = json.dumps(fault.validator_value)[:_SHOWN] if fault.validator_value is not None else ""
    return f"does not satisfy {fault.validator}: {demand}"


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _deepest(said: str) -> int:
    """Return how deep brackets are nested, those inside strings left out."""
    deepest = depth = 0
    quoted = escaped = False
    for char in said:
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


@lru_cache(KEPT)
def compile_schema(schema: str) -> Any:
    """Return a validator for a JSON Schema given as JSON text (2020-12 unless it says otherwise).

    Patterns in it run in RE2, references may only point inside it. Raises SchemaError, PatternError,
    PatternLibraryMissingError, or SchemaLibraryMissingError where jsonschema is not installed.
    """
    try:
        import jsonschema
        from jsonschema.exceptions import SchemaError as InvalidSchemaError
        from jsonschema.validators import extend, validator_for
        from referencing import Registry
    except ImportError:
        raise SchemaLibraryMissingError from None
    document = json.loads(schema)
    base = validator_for(document, default=jsonschema.Draft202012Validator)
    try:
        base.check_schema(document)
    except InvalidSchemaError as error:
        place = "".join(f"/{part}" for part in list(error.absolute_path)[:8])
        raise SchemaError(f"{place or 'the schema'}: {error.message[:200]}") from None
    except RecursionError:
        raise SchemaError("the schema is nested too deep") from None
    _check_inside(document)
    strict = extend(base, {"pattern": _schema_pattern})  # type: ignore[no-untyped-call]
    return strict(document, registry=Registry())


def _check_inside(document: object) -> None:
    """Refuse references to other documents, and compile every pattern, before any text is judged."""
    waiting: list[object] = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(node.values())
            for key in ("$ref", "$dynamicRef"):
                target = node.get(key)
                if isinstance(target, str) and not target.startswith("#"):
                    raise SchemaError(f"{key} {target[:_SHOWN]} points outside the schema")
            if "patternProperties" in node:
                # The library hands these to Python's own expressions, which a text can keep busy for hours.
                raise SchemaError(
                    "patternProperties is not supported; name the properties, or use propertyNames"
                )
            if isinstance(node.get("pattern"), str):
                _pattern(node["pattern"])


def _schema_pattern(validator: Any, pattern: str, instance: object, schema: object) -> Iterator[Any]:  # noqa: ARG001
    from jsonschema import ValidationError

    if isinstance(instance, str) and not pattern_found(_pattern(pattern), instance):
        yield ValidationError("does not match")


SENTENCES: Final[Mapping[str, Callable[[Check, Sequence[Cell]], str]]] = {
    "confidence": say_confidence,
    "text": say_text,
    "json_schema": say_schema,
}
"""What is wrong with a row, by the key of the check that found it."""
ROW_CHECKS: Final[Mapping[str, Callable[[Check, Sequence[Cell]], bool | None]]] = {
    "confidence": confidence,
    "text": text,
    "json_schema": json_schema,
}
