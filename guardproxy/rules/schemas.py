"""JSON in text: whether it satisfies a JSON Schema, in bounded steps.

Decides which schemas can be used and how long one may take with what a model wrote. How the schema is written in a rule
is left to `schema_checks`, what the verdict means to `texts`.
"""

import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final, TypeAlias

from guardproxy.rules.language import LanguageError
from guardproxy.rules.language.functions import kept_pattern, pattern_found

MAX_JSON_BYTES: Final = 1 << 20
"""A longer text is not read as JSON: its verdict is an error."""
MAX_JSON_DEPTH: Final = 64
MAX_STEPS: Final = 100_000
"""Keywords of a schema that one text is compared with; beyond it the verdict is an error.

A schema with references to itself can ask for more steps than there will ever be time, with a text of sixty characters.
"""
KEPT: Final = 256
"""Compiled schemas that are kept; the rules of one process have fewer."""

_SHOWN: Final = 60
_REFERENCES: Final = ("$ref", "$dynamicRef")
_UNBOUNDED: Final = {
    # The library hands these to Python's own expressions, which a text can keep busy for hours.
    "patternProperties": "name the properties, or use propertyNames",
    # The library looks every name up in a list of all others.
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
}

_Keyword: TypeAlias = Callable[[Any, Any, Any, Any], Any]
_LEFT: Final[ContextVar[list[int]]] = ContextVar("steps_left")


class SchemaLibraryMissingError(Exception):
    """jsonschema is not installed."""


class SchemaError(Exception):
    """A JSON Schema that cannot be used; the message is a sentence with the place in the schema."""


def schema_fault(schema: str, said: str) -> str | None:
    """Return what is wrong with a JSON text, None when nothing is. Raises `LanguageError` when that cannot be told."""
    if len(said) > MAX_JSON_BYTES:
        raise LanguageError(f"the text is longer than {MAX_JSON_BYTES:,} characters, too long to be judged")
    if _deepest(said) > MAX_JSON_DEPTH:
        raise LanguageError(f"the text is nested more than {MAX_JSON_DEPTH} deep, too deep to be judged")
    try:
        value = json.loads(said, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"the text is no JSON: {error.msg[:1].lower()}{error.msg[1:_SHOWN]}"
    except ValueError:
        raise LanguageError("the text holds a number with too many digits to be judged") from None
    fault = _first_fault(compile_schema(schema), value)
    if fault is None:
        return None
    place = "".join(f"/{part}" for part in list(fault.absolute_path)[:8])
    return f"{place or 'the value'}: {_said(fault)}"


def _first_fault(validator: Any, value: object) -> Any:
    before = _LEFT.set([MAX_STEPS])
    try:
        return next(validator.iter_errors(value), None)
    except RecursionError:
        raise LanguageError("the text and its schema are too deep to be judged") from None
    except ArithmeticError:
        raise LanguageError("the text holds a number too large to be judged") from None
    finally:
        _LEFT.reset(before)


def _said(fault: Any) -> str:
    """Say which demand of the schema is not met, without showing the value that the model gave."""
    demand = json.dumps(fault.validator_value)[:_SHOWN] if fault.validator_value is not None else ""
    return f"does not satisfy {fault.validator}: {demand}"


def _refuse(word: str) -> float:
    raise json.JSONDecodeError(f"{word} is no JSON number", word, 0)


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
    keywords = {**base.VALIDATORS, "pattern": _pattern_matches, "uniqueItems": _items_differ}
    strict = extend(base, {name: _counted(keyword) for name, keyword in keywords.items()})  # type: ignore[no-untyped-call]
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
            for key in _REFERENCES:
                target = node.get(key)
                if isinstance(target, str) and not target.startswith("#"):
                    raise SchemaError(f"{key} {target[:_SHOWN]} points outside the schema")
            for key, advice in _UNBOUNDED.items():
                if key in node:
                    raise SchemaError(f"{key} is not supported; {advice}")
            if isinstance(node.get("pattern"), str):
                kept_pattern(node["pattern"])


def _counted(keyword: _Keyword) -> _Keyword:
    """Return a keyword that takes a step of those that are left for the text that is being judged."""

    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        left = _LEFT.get()
        left[0] -= 1
        if left[0] < 0:
            raise LanguageError(
                f"the text and its schema need more than {MAX_STEPS:,} steps, too many to be judged"
            )
        return keyword(validator, value, instance, schema)

    return run


def _pattern_matches(validator: Any, pattern: str, instance: object, schema: object) -> Iterator[Any]:  # noqa: ARG001
    from jsonschema import ValidationError

    if isinstance(instance, str) and not pattern_found(kept_pattern(pattern), instance):
        yield ValidationError("does not match")


def _items_differ(validator: Any, wanted: object, instance: object, schema: object) -> Iterator[Any]:  # noqa: ARG001
    """Look every item up among those before it; the library compares each with all others."""
    from jsonschema import ValidationError

    if wanted and isinstance(instance, list):
        seen: set[str] = set()
        for item in instance:
            spelled = _spelled(item)
            if spelled in seen:
                yield ValidationError("has an item twice")
                return
            seen.add(spelled)


def _spelled(value: object) -> str:
    """Return the same text for what JSON Schema takes for equal: 1 and 1.0, objects in any order; not 1 and true."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_spelled(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spelled, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value)
