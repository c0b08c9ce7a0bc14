"""Servers that describe themselves with OpenAPI, such as FastAPI applications: routes of `protocol: json` from their schemas.

Decides where the rows of a message probably are. What cannot be told is left open, for a person to fill in.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from guardproxy.discovery.answers import Answer, word
from guardproxy.discovery.sighting import (
    MAX_MODELS,
    Asked,
    LeftOut,
    Model,
    Route,
    Sighting,
    name_problem,
    path_problem,
    shown,
)

_MAX_HOPS: Final = 8
_MAX_PATHS: Final = 1_000
_MAX_PROPERTIES: Final = 1_000
_ROWS: Final = (
    "instances",
    "rows",
    "inputs",
    "data",
    "records",
    "features",
    "predictions",
    "outputs",
    "output",
    "results",
)
"""What rows are usually called; where none is, the first array holds them."""

_NO_ROWS: Final = "its description does not say where rows stand in its messages"
_NO_PATHS: Final = "its description has no path that takes JSON by POST"
_NO_SUCH: Final = "no path of its description ends in this name"
_Post: TypeAlias = tuple[str, str | None, str | None]
"""A path, with the pointers to the rows of its request and of its response."""

_FILL_IN: Final = "say where the rows are, as JSON Pointers"


def described(said: Mapping[str, Answer], asked: Asked) -> Sighting | None:
    """Recognise a server by its OpenAPI description; each POST of JSON is a route."""
    document = said["/openapi.json"].told
    paths = document.get("paths")
    if not isinstance(document.get("openapi"), str) or not isinstance(paths, dict):
        return None
    info = document.get("info")
    title, version = (
        (word(info.get(key)) for key in ("title", "version")) if isinstance(info, dict) else ("", "")
    )
    named = _named(list(_posts(document, paths))[:MAX_MODELS], asked)
    routes, left = [], [LeftOut(name, _NO_SUCH) for name in asked.models if name not in named]
    for name, (path, request, response) in named.items():
        why = path_problem(path) or name_problem(name, in_path=False)
        if why:
            left.append(LeftOut(shown(path), why))
        else:
            routes.append(_route(path, name, request, response))
    models = tuple(Model(route.model) for route in routes if route.active)
    return Sighting(
        "openapi",
        f"an OpenAPI server ({title})" if title else "an OpenAPI server",
        version,
        models,
        tuple(routes),
        tuple(left),
        problem="" if models else _NO_ROWS if routes else _NO_PATHS,
        help="" if models else "write the routes by hand, with `protocol: json` and where the rows are",
    )


def _named(posts: Sequence[_Post], asked: Asked) -> dict[str, _Post]:
    """Return the paths by the names of their models: their last word, or all their words where that is taken.

    Of several paths those are kept that the operator named; the only one takes the name that the operator gave.
    """
    if len(posts) == len(asked.models) == 1:
        return {asked.models[0]: posts[0]}
    named: dict[str, _Post] = {}
    for post in posts:
        words = [part for part in post[0].split("/") if part and "{" not in part] or ["model"]
        named.setdefault("-".join(words) if words[-1] in named else words[-1], post)
    return {name: post for name, post in named.items() if not asked.models or name in asked.models}


def _route(path: str, name: str, request: str | None, response: str | None) -> Route:
    active = request is not None and response is not None
    return Route(path, name, "json", request, response, active=active, remark="" if active else _FILL_IN)


def _posts(document: Mapping[str, Any], paths: Mapping[str, Any]) -> Iterator[_Post]:
    """Yield the paths that take JSON by POST, each with where the rows of its two messages are."""
    for path, operations in list(paths.items())[:_MAX_PATHS]:
        post = operations.get("post") if isinstance(operations, dict) else None
        if not isinstance(post, dict):
            continue
        request = _schema(post.get("requestBody"))
        if request is None:
            continue
        yield path, _rows(document, request), _rows(document, _schema(_good(post.get("responses"))))


def _good(responses: Any) -> Any:
    """Return what is told of the answer to a good request."""
    told = responses if isinstance(responses, dict) else {}
    return next((told[status] for status in ("200", "201", "default") if status in told), None)


def _schema(message: Any) -> Mapping[str, Any] | None:
    """Return the schema of a message's JSON form; an empty one where it has the form and tells nothing of it."""
    content = message.get("content") if isinstance(message, dict) else None
    for media, told in content.items() if isinstance(content, dict) else ():
        if isinstance(told, dict) and "json" in media:
            schema = told.get("schema")
            return schema if isinstance(schema, dict) else {}
    return None


def _rows(document: Mapping[str, Any], schema: Mapping[str, Any] | None) -> str | None:
    """Return the pointer to the rows of a message, None where the schema does not tell.

    An array is the rows; of an object the array in it, else the object in it, which is one row; else the object is one row.
    """
    found = _resolved(document, schema)
    if _is(found, "array"):
        return ""
    properties = found.get("properties")
    if not isinstance(properties, dict) or not properties:
        return None
    inner = {
        name: _resolved(document, each)
        for name, each in list(properties.items())[:_MAX_PROPERTIES]
        if name.isprintable()
    }
    for kind in ("array", "object"):
        names = [name for name, each in inner.items() if _is(each, kind)]
        likely = next((name for name in _ROWS if name in names), names[0] if names else None)
        if likely is not None:
            return "/" + likely.replace("~", "~0").replace("/", "~1")
    return ""


def _is(schema: Mapping[str, Any], kind: str) -> bool:
    return schema.get("type") == kind or (kind == "object" and isinstance(schema.get("properties"), dict))


def _resolved(document: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:
    """Follow references within the document, and the first of several alternatives that is not `null`."""
    for _ in range(_MAX_HOPS):
        if not isinstance(schema, dict):
            break
        reference = schema.get("$ref")
        choices = next(
            (schema[key] for key in ("anyOf", "oneOf", "allOf") if isinstance(schema.get(key), list)), None
        )
        if isinstance(reference, str):
            schema = _at(document, reference)
        elif choices is not None:
            schema = next(
                (each for each in choices if isinstance(each, dict) and each.get("type") != "null"), {}
            )
        else:
            return schema
    return {}


def _at(document: Mapping[str, Any], reference: str) -> Any:
    found: Any = document
    if not reference.startswith("#/"):
        return {}
    for token in reference[2:].split("/")[:_MAX_HOPS]:
        found = found.get(token.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found
