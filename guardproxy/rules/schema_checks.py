"""The check key `json_schema`: how a schema is written in a rule.

Decides which schemas a rule may hold, where in the file a schema is wrong, and which of its words are probably misspelt.
What a schema asks of a text is left to `schemas`, the verdict to `texts`.
"""

import json
from typing import Final

from guardproxy.rules.context import Context
from guardproxy.rules.language.functions import PatternError, PatternLibraryMissingError, compile_pattern
from guardproxy.rules.model import Check
from guardproxy.rules.schemas import SchemaError, SchemaLibraryMissingError, compile_schema
from guardproxy.source import MappingNode, Node, Place, Scalar, SequenceNode, kind_of, likely

JSON_SCHEMA_KEYS: Final = ("field", "schema")
MAX_SCHEMA: Final = 65_536
"""Characters of a schema as JSON: every text that is judged walks it."""
RE2_HELP: Final = 'pip install "guardproxy[re2]", or use must_contain and must_not_contain'
PATTERN_HELP: Final = "RE2 has no look-around and no back-references"

_KEYWORDS: Final = (
    *("$schema", "$id", "$ref", "$defs", "$comment", "definitions"),
    *("title", "description", "default", "examples"),
    *("type", "enum", "const", "format", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "items", "prefixItems", "contains"),
    *("minItems", "maxItems", "uniqueItems", "properties", "patternProperties"),
    *("additionalProperties", "propertyNames", "required", "dependentRequired"),
    *("minProperties", "maxProperties", "unevaluatedProperties"),
    *("minContains", "maxContains", "dependentSchemas"),
)


def read_json_schema(node: Node, context: Context) -> Check | None:
    """Read `json_schema`: what the JSON in a text must look like."""
    entries = context.mapping(node, "json_schema", JSON_SCHEMA_KEYS, required=JSON_SCHEMA_KEYS)
    named = context.field(entries["field"].value, "json_schema.field") if "field" in entries else None
    schema = _schema(entries["schema"].value, context) if "schema" in entries else None
    if named is None or schema is None:
        return None
    return Check("json_schema", (named,), schema=schema, bound="JSON that satisfies its schema")


def _schema(node: Node, context: Context) -> str | None:
    """Read a schema as canonical JSON, and compile it."""
    if not isinstance(node, MappingNode):
        message = f"json_schema.schema must be a mapping, not {kind_of(node)}"
        context.reader.report("E206", message, node.place, "write the schema itself, such as {type: object}")
        return None
    text = json.dumps(_plain(node), sort_keys=True)
    if len(text) > MAX_SCHEMA:
        message = f"the schema has {len(text):,} characters; {MAX_SCHEMA:,} are allowed"
        context.reader.report("E224", message, node.place, "ask for less of the answer's shape")
        return None
    try:
        compile_schema(text)
    except SchemaLibraryMissingError:
        advice = 'pip install "guardproxy[schema]"'
        context.reader.report("E142", "json_schema needs the jsonschema library", node.place, advice)
    except PatternLibraryMissingError:
        context.reader.report("E141", "a pattern in a schema needs the RE2 library", node.place, RE2_HELP)
    except PatternError as error:
        message = f"RE2 does not accept a pattern in the schema: {error}"
        context.reader.report("E140", message, _bad_pattern(node), PATTERN_HELP)
    except SchemaError as error:
        context.reader.report("E224", f"the schema cannot be used: {error}", _place(node, str(error)))
    else:
        _warn_of_keywords(node, context)
        return text
    return None


def _warn_of_keywords(node: MappingNode, context: Context) -> None:
    """Warn of keywords of a schema that are misspelt: JSON Schema ignores what it does not know."""
    for key, entry in node.entries.items():
        meant = likely(key, _KEYWORDS) if key not in _KEYWORDS else None
        if meant is not None:
            message = f"JSON Schema has no '{key[:60]}', and ignores it"
            context.reader.report("W413", message, entry.key, f"did you mean '{meant}'?", "warning")


def _plain(node: Node) -> object:
    """Return a node as JSON knows it. Numbers that JSON cannot say become text, which no schema accepts there."""
    if isinstance(node, MappingNode):
        return {key: _plain(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [_plain(item) for item in node.items]
    value = node.value
    finite = not isinstance(value, float) or abs(value) <= 1.7e308
    return value if finite else str(value)


def _place(node: Node, error: str) -> Place:
    """Return where in the file the place in a schema stands that an error begins with, such as `/properties/a:`."""
    place = node.place
    for part in error.partition(":")[0].split("/")[1:]:
        if isinstance(node, MappingNode) and part in node.entries:
            place, node = node.entries[part].key, node.entries[part].value
        elif isinstance(node, SequenceNode) and part.isdigit() and int(part) < len(node.items):
            node = node.items[int(part)]
            place = node.place
        else:
            break
    return place


def _bad_pattern(schema: Node) -> Place:
    """Return where in a schema the first pattern stands that RE2 does not accept."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, SequenceNode):
            waiting.extend(node.items)
        elif isinstance(node, MappingNode):
            waiting.extend(entry.value for entry in node.entries.values())
            found = node.entries.get("pattern")
            if found is not None and isinstance(found.value, Scalar) and not _accepted(found.value.value):
                return found.value.place
    return schema.place


def _accepted(pattern: object) -> bool:
    try:
        compile_pattern(str(pattern))
    except PatternError:
        return False
    return True
